//! The TCO timer, the watchdog of Intel's ICH9 south bridge (Intel, I/O Controller Hub 9 data sheet,
//! 316972-004, section 13.9): at ports above its power management's.

use std::rc::Rc;

use crate::graph::{Produces, QemuArgs};
use crate::protocol::Endian;
use crate::qemu::Vm;
use crate::qos::interrupt::InterruptLine;
use crate::qos::registers::{
    AnyRegister, Mmio, Ports, Register, RegisterBlock, Registers, RegistersExt,
};
use crate::qos::timer::Tick;
use crate::qos::watchdog::{Lock, Moments, Profile, Watchdog};
use crate::{Error, Result, driver};

/// Reload: a write starts the timer anew.
const RLD: Register<u16> =
    Register::new("TCO_RLD", 0x00).section("13.9.1").volatile(0x3ff).side_effect();
/// First status.
const STS1: Register<u16> =
    Register::new("TCO1_STS", 0x04).section("13.9.4").reset(0).undefined(0x0300).w1c(0x0008);
/// Second status.
const STS2: Register<u16> =
    Register::new("TCO2_STS", 0x06).section("13.9.5").reset(0).undefined(0xffe9).w1c(0x0006);
/// First control.
const CNT1: Register<u16> =
    Register::new("TCO1_CNT", 0x08).section("13.9.6").reset(0).kept(HALT as u64).acts(0x1300);
/// Messages, which mean nothing to the hardware.
const MESSAGE1: Register<u8> =
    Register::new("TCO_MESSAGE1", 0x0c).section("13.9.8").reset(0).kept(0xff);
const MESSAGE2: Register<u8> =
    Register::new("TCO_MESSAGE2", 0x0d).section("13.9.8").reset(0).kept(0xff);
/// What the BIOS has done.
const WDCNT: Register<u8> = Register::new("TCO_WDCNT", 0x0e).section("13.9.9").reset(0).kept(0xff);
/// Interrupts of the keyboard and the mouse, when software wants them.
const SW_IRQ_GEN: Register<u8> =
    Register::new("SW_IRQ_GEN", 0x10).section("13.9.10").reset(0x03).kept(0x03);
/// How many ticks the timer runs.
const TMR: Register<u16> =
    Register::new("TCO_TMR", 0x12).section("13.9.11").reset(0x0004).kept(0x03ff);

const TABLE: &[&dyn AnyRegister] =
    &[&RLD, &STS1, &STS2, &CNT1, &MESSAGE1, &MESSAGE2, &WDCNT, &SW_IRQ_GEN, &TMR];

/// TCO1_CNT: the timer stands.
const HALT: u16 = 1 << 11;
/// TCO1_STS: the timer has run out.
const TIMEOUT: u16 = 1 << 3;
/// TCO2_STS: the timer has run out twice; the machine was reset for that and not started since.
const SECOND_TO_STS: u16 = 1 << 1;
const BOOT_STS: u16 = 1 << 2;

/// The LPC bridge, device 31: its power management base and enable, and root complex base, in
/// configuration space (13.1.13, 13.1.14, 13.1.35).
const LPC: u32 = 0x8000_0000 | 31 << 11;
const PMBASE: u32 = 0x40;
const ACPI_CNTL: u32 = 0x44;
const RCBA: u32 = 0xf0;
/// Where this driver puts them: ports, and memory.
const PORTS: u16 = 0x0600;
const CHIPSET: u64 = 0xfed1_c000;
/// Where the timer's registers are above the power management's.
const TCO: u16 = 0x60;
/// General Control and Status, in the chipset's memory (10.1.75): bit 5 keeps the timer from
/// resetting the machine.
const GCS: Register<u32> = Register::new("GCS", 0x3410);
const NO_REBOOT: u32 = 1 << 5;

/// The ports of the timer, with the bridge told where they are.
fn attach(vm: &Rc<Vm>) -> Result<Ports> {
    let configuration = Ports::new(vm, 0xcf8);
    let write = |register: u32, value: u32| {
        configuration.write32(0, LPC | register)?;
        configuration.write32(4, value)
    };
    write(PMBASE, u32::from(PORTS) | 1)?;
    write(ACPI_CNTL, 1 << 7)?;
    write(RCBA, CHIPSET as u32 | 1)?;
    let chipset = Mmio::new(vm, CHIPSET, Endian::Little);
    let status = chipset.get(GCS)?;
    chipset.set(GCS, status & !NO_REBOOT)?;
    Ok(Ports::new(vm, PORTS + TCO))
}

/// The timer.
struct Timer {
    vm: Rc<Vm>,
    ports: Ports,
}

impl Watchdog for Timer {
    fn profile(&self) -> Profile {
        Profile {
            tick: Tick::nanoseconds(600_000_000),
            periods: &[4, 5, 0x80, 0x3ff],
            stops: true,
            lock: Lock::None,
        }
    }

    fn moments(&self, period: u64) -> Moments {
        Moments { warning: Some(period), bite: 2 * period }
    }

    fn start(&self, period: u64) -> Result<()> {
        self.ports.set(CNT1, HALT)?;
        self.ports.set(STS1, TIMEOUT)?;
        self.ports.set(STS2, SECOND_TO_STS | BOOT_STS)?;
        self.ports.set(TMR, period as u16)?;
        self.ports.set(CNT1, 0)?;
        self.ports.set(RLD, 1)?;
        match self.ports.get(RLD)? & 0x3ff {
            left if u64::from(left) == period => Ok(()),
            left => Err(Error::failed(format!("TCO_RLD is {left}, started with {period}"))),
        }
    }

    fn stop(&self) -> Result<()> {
        self.ports.set(CNT1, HALT)
    }

    fn kick(&self) -> Result<()> {
        self.ports.set(RLD, 1)?;
        self.ports.set(STS1, TIMEOUT)
    }

    fn kick_wrongly(&self) -> Result<()> {
        self.ports.set(MESSAGE1, 1)?;
        self.ports.set(WDCNT, 1)?;
        self.ports.set(STS1, 0)?;
        let period = self.ports.get(TMR)?;
        self.ports.set(TMR, period)
    }

    fn set_lock(&self, _: bool) -> Result<()> {
        Err(Error::failed("this watchdog has no lock"))
    }

    fn warns(&self) -> Result<Option<bool>> {
        Ok(Some(self.ports.get(STS1)? & TIMEOUT != 0))
    }

    fn has_bitten(&self) -> Result<Option<bool>> {
        // Power is what clears it.
        Ok(None)
    }

    fn interrupt(&self) -> Result<Option<InterruptLine>> {
        Ok(None)
    }

    fn after_reset(&self) -> Result<Option<Rc<dyn Watchdog>>> {
        Ok(Some(Rc::new(Self { vm: self.vm.clone(), ports: attach(&self.vm)? })))
    }
}

/// The timer of QEMU's `ICH9-LPC`.
pub struct Tco {
    timer: Rc<Timer>,
}

impl Tco {
    /// That of a `q35`.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    pub fn of_q35(vm: &Rc<Vm>) -> Result<Self> {
        Ok(Self { timer: Rc::new(Timer { vm: vm.clone(), ports: attach(vm)? }) })
    }
}

impl Produces<dyn Watchdog> for Tco {
    /// Before 8.0 the machine is strapped so that the timer does not reset it.
    const ARGS: QemuArgs =
        QemuArgs::NONE.before("-watchdog-action pause -global ICH9-LPC.noreboot=off");

    fn produced(self: Rc<Self>) -> Rc<dyn Watchdog> {
        self.timer.clone()
    }
}

impl Produces<RegisterBlock> for Tco {
    fn produced(self: Rc<Self>) -> Rc<RegisterBlock> {
        let vm = self.timer.vm.clone();
        let registers = Rc::new(Ports::new(&vm, PORTS + TCO));
        let find = move || Ok(Rc::new(attach(&vm)?) as Rc<dyn Registers>);
        Rc::new(RegisterBlock::new("ICH9 316972", registers, TABLE).attach(find))
    }
}

driver!(Tco = "tco"; produces dyn Watchdog, RegisterBlock);
