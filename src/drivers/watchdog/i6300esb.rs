//! The watchdog of Intel's 6300ESB I/O controller hub (Intel, data sheet 300641, chapter 16, and
//! the i6300ESB driver's view of it), a PCI function.

use std::rc::Rc;

use crate::graph::{Consumes, Produces, QemuArgs, Site};
use crate::qos::interrupt::InterruptLine;
use crate::qos::pci::{ExpectedBar, Identity, PciBus, PciFunction, PciPlug, Space};
use crate::qos::registers::RegistersExt;
use crate::qos::timer::Tick;
use crate::qos::watchdog::{self, Lock, Moments, Profile, Watchdog};
use crate::{Error, Result, driver};

/// What its configuration space says.
const IDENTITY: Identity = Identity {
    vendor: 0x8086,
    device: 0x25ab,
    revision: 0,
    class: 0x08_80_00,
    subsystem: (0x1af4, 0x1100),
    pin: 0,
    bars: &[ExpectedBar { number: 0, space: Space::Memory, size: 16, witness: None }],
    capabilities: &[],
};

/// Configuration space: how it counts and what it does at the end (16.1.16), and whether it runs
/// (16.1.17).
const CONFIG: u16 = 0x60;
const LOCK: u16 = 0x68;
/// Offsets of registers: counts of both stages (16.2.1, 16.2.2), reload (16.2.4).
const PRELOAD: [u64; 2] = [0x00, 0x04];
const RELOAD: u64 = 0x0c;

/// What is written to the reload register before each write that counts.
const KEYS: [u8; 2] = [0x80, 0x86];
/// CONFIG: counts of 1 MHz, not of 1 kHz; no interrupt at the end of the first stage.
const FAST: u16 = 1 << 2;
const NO_INTERRUPT: u16 = 3;
/// LOCK: it runs, for ever.
const ENABLE: u8 = 1 << 1;
const LOCKED: u8 = 1 << 0;
/// RELOAD: begin anew; it has reset the machine.
const ANEW: u16 = 1 << 8;
const TIMED_OUT: u16 = 1 << 9;

/// QEMU's `i6300esb`.
pub struct I6300Esb {
    plug: PciPlug,
}

impl I6300Esb {
    /// Allows the next write.
    fn unlock(&self) -> Result<()> {
        KEYS.iter().try_for_each(|&key| self.plug.registers.write8(RELOAD, key))
    }
}

impl Watchdog for I6300Esb {
    fn profile(&self) -> Profile {
        Profile {
            // 32 ticks of the clock of PCI, which is 30 ns to QEMU.
            tick: Tick::nanoseconds(960),
            periods: &[2, 4, 2000, 131_074, 0x1f_fffe],
            stops: true,
            lock: Lock::ForEver,
        }
    }

    fn moments(&self, period: u64) -> Moments {
        Moments { warning: None, bite: period }
    }

    fn start(&self, period: u64) -> Result<()> {
        let device = &self.plug.device;
        device.config_write8(LOCK, 0)?;
        device.config_write16(CONFIG, FAST | NO_INTERRUPT)?;
        // Two stages, of different length.
        let second = period / 2 - u64::from(period > 4 && period < 0x10_0000);
        for (offset, count) in PRELOAD.into_iter().zip([period - second, second]) {
            self.unlock()?;
            self.plug.registers.write32(offset, count as u32)?;
        }
        device.config_write8(LOCK, ENABLE)?;
        match device.config_read8(LOCK)? {
            ENABLE => Ok(()),
            other => Err(Error::failed(format!("the lock register is {other:#x}, enabled"))),
        }
    }

    fn stop(&self) -> Result<()> {
        self.plug.device.config_write8(LOCK, 0)
    }

    fn kick(&self) -> Result<()> {
        self.unlock()?;
        self.plug.registers.write16(RELOAD, ANEW)
    }

    fn kick_wrongly(&self) -> Result<()> {
        let registers = &self.plug.registers;
        // Without keys, with one of them, and with both, but without the bit.
        registers.write16(RELOAD, ANEW)?;
        for key in [KEYS[1], KEYS[0]] {
            registers.write8(RELOAD, key)?;
            registers.write16(RELOAD, ANEW)?;
        }
        self.unlock()?;
        registers.write16(RELOAD, 0)?;
        // One that was allowed is over with the write.
        registers.write16(RELOAD, ANEW)
    }

    fn set_lock(&self, is_locked: bool) -> Result<()> {
        self.plug.device.config_write8(LOCK, ENABLE | if is_locked { LOCKED } else { 0 })
    }

    fn warns(&self) -> Result<Option<bool>> {
        Ok(None)
    }

    fn has_bitten(&self) -> Result<Option<bool>> {
        let told = self.plug.registers.read16(RELOAD)? & TIMED_OUT != 0;
        if told {
            // It is told until it is cleared.
            self.unlock()?;
            self.plug.registers.write16(RELOAD, TIMED_OUT)?;
            if self.plug.registers.read16(RELOAD)? & TIMED_OUT != 0 {
                return Err(Error::failed("a one does not clear that it has reset the machine"));
            }
        }
        Ok(Some(told))
    }

    fn interrupt(&self) -> Result<Option<InterruptLine>> {
        Ok(None)
    }

    fn after_reset(&self) -> Result<Option<Rc<dyn Watchdog>>> {
        Ok(Some(Rc::new(Self { plug: self.plug.again()? })))
    }
}

impl Consumes<dyn PciBus> for I6300Esb {
    const ARGS: QemuArgs = QemuArgs::device("bus={bus},addr={addr}");

    fn attach(bus: Rc<dyn PciBus>, site: &Site) -> Result<Self> {
        Ok(Self { plug: PciPlug::attach(&bus, site, 0)? })
    }
}

impl Produces<dyn Watchdog> for I6300Esb {
    const ARGS: QemuArgs = watchdog::ARGS;

    fn produced(self: Rc<Self>) -> Rc<dyn Watchdog> {
        self
    }
}

impl Produces<PciFunction> for I6300Esb {
    fn produced(self: Rc<Self>) -> Rc<PciFunction> {
        self.plug.function(IDENTITY)
    }
}

driver!(I6300Esb = "i6300esb"; consumes dyn PciBus; produces dyn Watchdog, PciFunction);
