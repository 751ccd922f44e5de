//! A PCI device that copies between memory and a buffer of its own, as a guest tells it: QEMU's
//! `edu` (QEMU's specification "EDU device"). With it a test has DMA of any address and length.
//! It knows no IOMMU.

use std::rc::Rc;
use std::time::Duration;

use crate::qemu::{Buffer, Vm};
use crate::qos::pci::{PciAddress, PciBus, PciPlug};
use crate::qos::registers::{Access, Registers, Width};
use crate::{Error, Result};

/// The options that bring two of them to a root bus, at [`PLACES`].
pub const TWO_ENGINES: &str = "-device edu,addr=05.0,dma_mask=0xffffffffffffffff \
                               -device edu,addr=07.0,dma_mask=0xffffffffffffffff";
/// Where they are.
pub const PLACES: [PciAddress; 2] = [PciAddress::new(5, 0), PciAddress::new(7, 0)];
/// What a QEMU says that is built without them.
pub const NO_ENGINES: &str = "'edu' is not a valid device model name";

/// The most bytes of a copy: one less than a device's own buffer has, for QEMU 7.2 takes a copy of
/// all of it for one beyond its end.
pub const LONGEST: usize = 4095;

/// Identification: version 1.0 of the device.
const ID: (u64, u32) = (0x00, 0x0100_00ed);
/// Interrupts that are raised, and acknowledged.
const RAISE: u64 = 0x60;
const ACKNOWLEDGE: u64 = 0x64;
/// The capability of PCI for messages that interrupt.
const MSI: u8 = 0x05;
/// Where a copy comes from.
const SOURCE: u64 = 0x80;
/// Where it goes to.
const DESTINATION: u64 = 0x88;
/// How long it is.
const COUNT: u64 = 0x90;
/// The command; its bit 0 is set as long as a copy is under way.
const COMMAND: u64 = 0x98;
const RUN: u64 = 1;
const TO_MEMORY: u64 = 2;
/// Where the device's own buffer is, as it sees it.
const OWN: u64 = 0x4_0000;
/// More virtual time than a copy takes.
const TIME: Duration = Duration::from_millis(110);

/// Vendor and device of an `edu`.
const IDS: (u16, u16) = (0x1234, 0x11e8);

/// One such device, enabled.
#[derive(Clone)]
pub struct Engine {
    vm: Rc<Vm>,
    plug: PciPlug,
    /// Whether its registers are in the other byte order.
    swapped: bool,
}

/// `value` of this width with its bytes the other way round.
fn swap(value: u64, width: Width) -> u64 {
    match width {
        Width::Quad => value.swap_bytes(),
        _ => u64::from((value as u32).swap_bytes()),
    }
}

impl Engine {
    /// The engine at `at`.
    ///
    /// # Errors
    /// There is none.
    pub fn find(vm: &Rc<Vm>, bus: &Rc<dyn PciBus>, at: PciAddress) -> Result<Self> {
        let device = crate::qos::pci::PciDevice::find(bus, at)?;
        if device.ids() != IDS {
            return Err(Error::failed(format!("{at} should be an edu, not {:x?}", device.ids())));
        }
        let plug = PciPlug::of(device, 0)?;
        let id = plug.registers.read(ID.0, Width::Long)? as u32;
        let swapped = match id {
            _ if id == ID.1 => false,
            _ if id == ID.1.swap_bytes() => true,
            _ => return Err(Error::failed(format!("{at}: the edu's identification is {id:#x}"))),
        };
        Ok(Self { vm: vm.clone(), plug, swapped })
    }

    /// The two of [`TWO_ENGINES`].
    ///
    /// # Errors
    /// They are not there.
    pub fn two(vm: &Rc<Vm>, bus: &Rc<dyn PciBus>) -> Result<[Self; 2]> {
        Ok([Self::find(vm, bus, PLACES[0])?, Self::find(vm, bus, PLACES[1])?])
    }

    /// The machine that it is in.
    pub fn vm(&self) -> &Rc<Vm> {
        &self.vm
    }

    /// Where it is.
    pub fn address(&self) -> PciAddress {
        self.plug.device.address()
    }

    /// Where its own registers are, as addresses on its bus.
    pub fn registers_at(&self) -> u64 {
        self.plug.registers.address()
    }

    /// Its requester ID: bus, device and function in 16 bits.
    pub fn requester(&self) -> u16 {
        let at = self.address();
        u16::from(at.bus) << 8 | u16::from(at.devfn())
    }

    /// Copies `length` bytes, at most [`LONGEST`], from the DMA address `from` to the device.
    ///
    /// # Errors
    /// The copy does not end.
    pub fn load(&self, from: u64, length: usize) -> Result<()> {
        self.copy(from, OWN, length, RUN)
    }

    /// Copies the first `length` bytes of the device's buffer to the DMA address `to`.
    ///
    /// # Errors
    /// The copy does not end.
    pub fn store(&self, to: u64, length: usize) -> Result<()> {
        self.copy(OWN, to, length, RUN | TO_MEMORY)
    }

    /// Has the device send a message of `data` to `to`, which is how it interrupts with MSI.
    ///
    /// # Errors
    /// Returns an error if the device has no MSI of 64 bits.
    pub fn send_message(&self, to: u64, data: u16) -> Result<()> {
        let device = &self.plug.device;
        let all = device.capabilities()?;
        let msi = all.iter().find(|it| it.id == MSI).map(|it| it.offset);
        let at = msi.ok_or_else(|| Error::failed("the engine has no MSI"))?;
        device.config_write32(at + 4, to as u32)?;
        device.config_write32(at + 8, (to >> 32) as u32)?;
        device.config_write16(at + 12, data)?;
        device.config_write16(at + 2, 1)?;
        let swapped = |value| if self.swapped { swap(value, Width::Long) } else { value };
        self.plug.registers.sequence(&[
            Access::Write(RAISE, Width::Long, swapped(1)),
            Access::Write(ACKNOWLEDGE, Width::Long, swapped(1)),
        ])?;
        Ok(())
    }

    fn copy(&self, from: u64, to: u64, length: usize, command: u64) -> Result<()> {
        if length > LONGEST {
            return Err(Error::failed(format!("{length} bytes are more than an edu copies")));
        }
        let write = |register, value| {
            let value = if self.swapped { swap(value, Width::Quad) } else { value };
            Access::Write(register, Width::Quad, value)
        };
        self.plug.registers.sequence(&[
            write(SOURCE, from),
            write(DESTINATION, to),
            write(COUNT, length as u64),
            write(COMMAND, command),
        ])?;
        self.vm.qtest().clock_step(Some(TIME))?;
        let now = self.plug.registers.read(COMMAND, Width::Long)?;
        let now = if self.swapped { swap(now, Width::Long) } else { now };
        match now & RUN {
            0 => Ok(()),
            _ => Err(Error::failed(format!(
                "a copy of {length} bytes from {from:#x} to {to:#x} did not end"
            ))),
        }
    }
}

/// An engine and a piece of memory that it always reaches, through which a test sees its data.
#[derive(Clone)]
pub struct Copier {
    engine: Engine,
    memory: Rc<Buffer>,
    at: u64,
}

/// What memory has that no DMA has reached.
const NOTHING: u8 = 0x11;

impl Copier {
    /// `engine`, which reaches `memory` at the DMA address `at`.
    pub fn new(engine: &Engine, memory: &Rc<Buffer>, at: u64) -> Self {
        Self { engine: engine.clone(), memory: memory.clone(), at }
    }

    /// The engine.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Has the device write `data` to the DMA address `to`. That may be refused.
    ///
    /// # Errors
    /// The copy does not end.
    pub fn write(&self, to: u64, data: &[u8]) -> Result<()> {
        self.memory.write(0, data)?;
        self.engine.load(self.at, data.len())?;
        self.engine.store(to, data.len())
    }

    /// Has the device read `length` bytes at the DMA address `from`. Where that is refused the
    /// bytes are of no meaning.
    ///
    /// # Errors
    /// A copy does not end.
    pub fn read(&self, from: u64, length: usize) -> Result<Vec<u8>> {
        self.memory.write(0, &vec![NOTHING; length])?;
        self.engine.load(self.at, length)?;
        self.engine.load(from, length)?;
        self.engine.store(self.at, length)?;
        let mut data = vec![0; length];
        self.memory.read(0, &mut data)?;
        Ok(data)
    }
}
