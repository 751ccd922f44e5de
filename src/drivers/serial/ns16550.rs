//! The 16550A UART (National Semiconductor, data sheet "PC16550D", section 8), behind ports or in
//! memory, where a board may space its registers out.

use std::cell::Cell;
use std::rc::Rc;

use crate::graph::{Discovered, FoundDevice, Produces, QemuArgs};
use crate::protocol::Endian;
use crate::qemu::Vm;
use crate::qemu::discovery::Space;
use crate::qos::interrupt::{InterruptLine, Pin};
use crate::qos::pci::PciPlug;
use crate::qos::registers::{
    AnyRegister, Fault, Mmio, Ports, Register, RegisterBlock, Registers, RegistersExt, Width,
};
use crate::qos::uart::{self, Event, Line, Loopback, Profile, Uart};
use crate::{Error, Result, discovered, driver, interface};

/// Receiver Buffer and Transmitter Holding Register; the low half of the divisor while
/// the divisor latch access bit is set.
pub const DATA: Register<u8> = Register::new("RBR", 0).section("8.0").read_effect().side_effect();
/// Interrupt Enable Register.
pub const IER: Register<u8> = Register::new("IER", 1).section("8.7").reset(0).kept(0x0f);
/// Interrupt Identification Register; FIFO Control Register when it is written.
pub const IIR: Register<u8> =
    Register::new("IIR", 2).section("8.6").reset(0x01).volatile(0x0f).read_effect().side_effect();
/// Line Control Register. DLAB puts other registers in the place of these.
pub const LCR: Register<u8> =
    Register::new("LCR", 3).section("8.1").reset(0).kept(0x3f).acts(BREAK as u64 | DLAB as u64);
/// Modem Control Register. QEMU has all its outputs set at first, as firmware would leave them.
pub const MCR: Register<u8> =
    Register::new("MCR", 4).section("8.8").undefined(0x08).reset(0).kept(0x0f).acts(0x10);
/// Line Status Register: the transmitter is empty.
pub const LSR: Register<u8> =
    Register::new("LSR", 5).section("8.4").reset(0x60).read_effect().side_effect();
/// Modem Status Register: what is at the other end of the line decides.
pub const MSR: Register<u8> =
    Register::new("MSR", 6).section("8.9").volatile(0xff).read_effect().side_effect();
/// Scratchpad Register.
pub const SCR: Register<u8> = Register::new("SCR", 7).section("8.10").undefined(0xff).kept(0xff);

/// All registers.
pub(super) const TABLE: &[&dyn AnyRegister] = &[&DATA, &IER, &IIR, &LCR, &MCR, &LSR, &MSR, &SCR];

/// What QEMU does otherwise.
const FAULTS: &[Fault] = &[];

/// A 16550A as its own suite uses it, wherever it is.
pub trait Chip16550: Uart {
    /// Its registers, one behind the other.
    fn registers(&self) -> &dyn Registers;
}

interface!(dyn Chip16550 = "16550");

/// LCR: eight bits.
pub const EIGHT_BITS: u8 = 0x03;
/// LCR: a break is sent.
const BREAK: u8 = 0x40;
/// LCR: the divisor latch access bit puts the divisor in the place of [`DATA`] and [`IER`].
pub const DLAB: u8 = 0x80;
/// FCR: FIFOs on, and both emptied; a byte is told at once.
pub const FIFOS: u8 = 0x07;
/// MCR: output is input.
const LOOPBACK: u8 = 0x10;
/// MCR: ready, and, on a PC, the interrupt is connected.
const READY: u8 = 0x0b;
/// LSR: there is a byte to be read.
pub const HAS_DATA: u8 = 0x01;
/// LSR: a byte was lost, as there was no room for it.
pub const OVERRUN: u8 = 0x02;
/// LSR: a break was received, as a byte that is zero.
const BREAK_RECEIVED: u8 = 0x10;
/// LSR: an overrun, or an error of a byte.
const ERRORS: u8 = 0x9e;
/// LSR: a byte can be written.
const HAS_ROOM: u8 = 0x20;

/// Registers a power of two apart.
struct Spaced {
    to: Rc<dyn Registers>,
    shift: u64,
}

impl Registers for Spaced {
    fn read(&self, offset: u64, width: Width) -> Result<u64> {
        self.to.read(offset << self.shift, width)
    }

    fn write(&self, offset: u64, width: Width, value: u64) -> Result<()> {
        self.to.write(offset << self.shift, width, value)
    }
}

/// Where the chip is.
enum Place {
    /// On a board.
    Board(FoundDevice),
    /// On a PCI card, with the QOM path of that.
    Card(PciPlug, &'static str),
}

/// QEMU's `serial-mm` and `isa-serial`, and the chip on its PCI cards.
pub struct Ns16550 {
    vm: Rc<Vm>,
    place: Place,
    registers: Rc<dyn Registers>,
    /// An overrun that a read of LSR has told and cleared.
    has_overrun: Cell<bool>,
}

impl Ns16550 {
    /// The chip on a PCI card that has the QOM path `path`.
    pub fn on_card(vm: &Rc<Vm>, card: PciPlug, path: &'static str) -> Self {
        let registers = card.registers.clone();
        Self::at(vm, Place::Card(card, path), registers)
    }

    fn at(vm: &Rc<Vm>, place: Place, registers: Rc<dyn Registers>) -> Self {
        Self { vm: vm.clone(), place, registers, has_overrun: Cell::new(false) }
    }

    fn registers(&self) -> &dyn Registers {
        &*self.registers
    }

    /// What LSR says, which a read clears of errors.
    fn status(&self) -> Result<u8> {
        let status = self.registers().get(LSR)?;
        self.has_overrun.set(self.has_overrun.get() || status & OVERRUN != 0);
        Ok(status)
    }
}

impl Uart for Ns16550 {
    fn profile(&self) -> Profile {
        Profile {
            loopback: Some(Loopback::Closed),
            levels: &[1, 4, 8, 14],
            has_timeout: true,
            reports_overrun: true,
            reports_break: true,
            ..Profile::of(16)
        }
    }

    fn enable(&self) -> Result<()> {
        let registers = self.registers();
        registers.set(IER, 0)?;
        registers.set(LCR, DLAB)?;
        registers.set(DATA, 1)?;
        registers.set(IER, 0)?;
        registers.set(LCR, EIGHT_BITS)?;
        registers.set(IIR, FIFOS)?;
        registers.set(MCR, READY)
    }

    fn has_room(&self) -> Result<bool> {
        Ok(self.status()? & HAS_ROOM != 0)
    }

    fn has_data(&self) -> Result<bool> {
        let status = self.status()?;
        match status & ERRORS {
            0 => Ok(status & HAS_DATA != 0),
            _ => Err(Error::failed(format!("LSR reports an error: {status:#04x}"))),
        }
    }

    fn write(&self, byte: u8) -> Result<()> {
        self.registers().set(DATA, byte)
    }

    fn read(&self) -> Result<u8> {
        self.registers().get(DATA)
    }

    fn enable_interrupt(&self, event: Option<Event>) -> Result<()> {
        let enable = match event {
            None => 0,
            Some(Event::Received) => 0x01,
            Some(Event::Sent) => 0x02,
        };
        self.registers().set(IER, enable)
    }

    fn interrupts(&self, event: Event) -> Result<bool> {
        // The two at the top say that FIFOs are on.
        let pending = self.registers().get(IIR)?;
        match (pending & 0x0f, event) {
            (0x01, _) => Ok(false),
            (0x04 | 0x0c, Event::Received) | (0x02, Event::Sent) => Ok(true),
            _ => Err(Error::failed(format!("IIR is {pending:#04x}, of what was not asked for"))),
        }
    }

    fn acknowledge_sent(&self) -> Result<()> {
        // Reading it is what does it (8.6), if it is the source.
        self.registers().get(IIR).map(|_| ())
    }

    fn set_loopback(&self, is_on: bool) -> Result<()> {
        self.registers().set(MCR, if is_on { READY | LOOPBACK } else { READY })
    }

    fn set_level(&self, level: usize) -> Result<()> {
        let number = match level {
            1 => 0,
            4 => 1,
            8 => 2,
            _ => 3,
        };
        self.registers().set(IIR, FIFOS | number << 6)
    }

    fn take_overrun(&self) -> Result<bool> {
        self.status()?;
        Ok(self.has_overrun.replace(false))
    }

    fn take_break(&self) -> Result<Option<bool>> {
        let status = self.status()?;
        if status & HAS_DATA == 0 {
            return Ok(None);
        }
        let (byte, is_break) = (self.read()?, status & BREAK_RECEIVED != 0);
        match is_break && byte != 0 {
            false => Ok(Some(is_break)),
            true => Err(Error::failed(format!("LSR reports a break, and the byte is {byte:#x}"))),
        }
    }

    fn interrupt(&self, _: Event) -> Result<Option<InterruptLine>> {
        match &self.place {
            Place::Board(device) => Pin::of(device, 0).map(|pin| pin.watch(&self.vm)).transpose(),
            Place::Card(card, _) => card.device.watch_pin(),
        }
    }

    fn after_reset(&self) -> Result<Option<Rc<dyn Uart>>> {
        match &self.place {
            Place::Board(_) => Ok(None),
            Place::Card(card, path) => {
                Ok(Some(Rc::new(Self::on_card(&self.vm, card.again()?, path))))
            }
        }
    }

    fn line(&self) -> Result<Line> {
        match &self.place {
            Place::Board(device) => Line::of_found(&self.vm, device),
            Place::Card(_, path) => Line::of(&self.vm, path),
        }
    }
}

impl Chip16550 for Ns16550 {
    fn registers(&self) -> &dyn Registers {
        &*self.registers
    }
}

impl Produces<dyn Chip16550> for Ns16550 {
    const ARGS: QemuArgs = uart::ARGS;

    fn produced(self: Rc<Self>) -> Rc<dyn Chip16550> {
        self
    }
}

impl Produces<dyn Uart> for Ns16550 {
    const ARGS: QemuArgs = uart::ARGS;

    fn produced(self: Rc<Self>) -> Rc<dyn Uart> {
        self
    }
}

impl Produces<RegisterBlock> for Ns16550 {
    fn produced(self: Rc<Self>) -> Rc<RegisterBlock> {
        Rc::new(RegisterBlock::new("PC16550D", self.registers.clone(), TABLE).faults(FAULTS))
    }
}

impl Discovered for Ns16550 {
    const QOM_TYPES: &'static [&'static str] = &["serial-mm", "isa-serial"];

    fn found(device: &FoundDevice, vm: &Rc<Vm>) -> Result<Self> {
        let region = device.regions.iter().find(|region| region.space == Space::Ports);
        let to: Rc<dyn Registers> = match region.map(|region| u16::try_from(region.base)) {
            Some(Ok(port)) => Rc::new(Ports::new(vm, port)),
            // Registers of a byte have no order.
            _ => Rc::new(Mmio::new(vm, device.base()?, Endian::Little)),
        };
        let shift = device.number("regshift").unwrap_or(0);
        let registers = Rc::new(Spaced { to, shift });
        Ok(Self::at(vm, Place::Board(device.clone()), registers))
    }
}

driver!(Ns16550 = "ns16550"; produces dyn Uart, dyn Chip16550, RegisterBlock);
discovered!(Ns16550);
