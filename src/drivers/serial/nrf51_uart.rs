//! The UART of Nordic's nRF51 (nRF51 Series reference manual, chapter 29).

use std::cell::Cell;
use std::rc::Rc;

use crate::graph::{Discovered, FoundDevice, Produces, QemuArgs};
use crate::qemu::Vm;
use crate::qos::interrupt::{InterruptLine, Pin};
use crate::qos::registers::{
    AnyRegister, Fault, Mmio, Register, RegisterBlock, Registers, RegistersExt, Rule,
};
use crate::qos::uart::{self, Event, Line, Profile, Uart};
use crate::{Error, Result, discovered, driver};

/// A register of table 29.10.
const fn register(name: &'static str, offset: u64) -> Register<u32> {
    Register::new(name, offset).section("29.10")
}

/// Tasks: receiver and transmitter begin and end.
const START_RECEIVER: Register<u32> = register("STARTRX", 0x000).write_only().side_effect();
const STOP_RECEIVER: Register<u32> = register("STOPRX", 0x004).write_only().side_effect();
const START_TRANSMITTER: Register<u32> = register("STARTTX", 0x008).write_only().side_effect();
const STOP_TRANSMITTER: Register<u32> = register("STOPTX", 0x00c).write_only().side_effect();
/// Events: a byte was received; one was sent; an error.
const RECEIVED: Register<u32> = register("RXDRDY", 0x108).reset(0).side_effect();
const SENT: Register<u32> = register("TXDRDY", 0x11c).reset(0).side_effect();
const ERROR: Register<u32> = register("ERROR", 0x124).reset(0).side_effect();
/// Interrupts for events: ones enable and disable them.
const ENABLE_INTERRUPT: Register<u32> = register("INTENSET", 0x304).reset(0).side_effect();
const DISABLE_INTERRUPT: Register<u32> = register("INTENCLR", 0x308).reset(0).side_effect();
/// What error it was; a one clears.
const ERROR_SOURCE: Register<u32> = register("ERRORSRC", 0x480).reset(0).w1c(0xf);
/// A four turns the UART on.
const ENABLE: Register<u32> = register("ENABLE", 0x500).side_effect();
/// Which pins are used.
const PIN_RTS: Register<u32> = register("PSELRTS", 0x508).reset(0xffff_ffff).kept(0xffff_ffff);
const PIN_TXD: Register<u32> = register("PSELTXD", 0x50c).reset(0xffff_ffff).kept(0xffff_ffff);
const PIN_CTS: Register<u32> = register("PSELCTS", 0x510).reset(0xffff_ffff).kept(0xffff_ffff);
const PIN_RXD: Register<u32> = register("PSELRXD", 0x514).reset(0xffff_ffff).kept(0xffff_ffff);
/// The oldest byte that was received; a byte to be sent.
const DATA_IN: Register<u32> = register("RXD", 0x518).read_effect().side_effect();
const DATA_OUT: Register<u32> = register("TXD", 0x51c).write_only().side_effect();
/// Baud rate.
const BAUD: Register<u32> = register("BAUDRATE", 0x524).reset(0x0400_0000).kept(0xffff_ffff);
/// Parity and flow control.
const CONFIG: Register<u32> = register("CONFIG", 0x56c).reset(0).kept(0xf);

/// All registers.
const TABLE: &[&dyn AnyRegister] = &[
    &START_RECEIVER,
    &STOP_RECEIVER,
    &START_TRANSMITTER,
    &STOP_TRANSMITTER,
    &RECEIVED,
    &SENT,
    &ERROR,
    &ENABLE_INTERRUPT,
    &DISABLE_INTERRUPT,
    &ERROR_SOURCE,
    &ENABLE,
    &PIN_RTS,
    &PIN_TXD,
    &PIN_CTS,
    &PIN_RXD,
    &DATA_IN,
    &DATA_OUT,
    &BAUD,
    &CONFIG,
];

/// What QEMU does otherwise.
const FAULTS: &[Fault] = &[
    Fault::new(
        &["PSELRTS", "PSELTXD", "PSELCTS", "PSELRXD", "BAUDRATE"],
        &[Rule::ResetValue, Rule::MachineReset],
        "all registers of QEMU's nrf51_soc.uart are zero until ENABLE is written",
    ),
    Fault::new(
        &["CONFIG"],
        &[Rule::ReadOnly],
        "QEMU's nrf51_soc.uart keeps what is written to reserved bits",
    ),
];

/// ENABLE: the UART is on.
const ON: u32 = 4;
/// Interrupts for RXDRDY and TXDRDY.
const FOR_RECEIVED: u32 = 1 << 2;
const FOR_SENT: u32 = 1 << 7;
/// ERRORSRC: a break.
const BREAK: u32 = 1 << 3;

/// QEMU's `nrf51_soc.uart`.
pub struct Nrf51Uart {
    vm: Rc<Vm>,
    device: FoundDevice,
    registers: Rc<Mmio>,
    /// A byte was written, and TXDRDY was not seen since.
    is_sending: Cell<bool>,
}

impl Nrf51Uart {
    fn registers(&self) -> &dyn Registers {
        &*self.registers
    }
}

impl Uart for Nrf51Uart {
    fn profile(&self) -> Profile {
        Profile {
            reports_break: true,
            asserts_after_reset: Some(
                "a reset of QEMU's nrf51_soc.uart does not lower its interrupt",
            ),
            ..Profile::of(6)
        }
    }

    fn enable(&self) -> Result<()> {
        let registers = self.registers();
        registers.set(ENABLE, ON)?;
        registers.set(DISABLE_INTERRUPT, 0xffff_ffff)?;
        registers.set(START_RECEIVER, 1)?;
        registers.set(START_TRANSMITTER, 1)?;
        // Nothing else empties the FIFO (29.6).
        while self.has_data()? {
            self.read()?;
        }
        registers.set(SENT, 0)?;
        registers.set(ERROR, 0)?;
        registers.set(ERROR_SOURCE, 0xf)?;
        self.is_sending.set(false);
        Ok(())
    }

    fn has_room(&self) -> Result<bool> {
        Ok(!self.is_sending.get() || self.registers().get(SENT)? != 0)
    }

    fn has_data(&self) -> Result<bool> {
        Ok(self.registers().get(RECEIVED)? != 0)
    }

    fn write(&self, byte: u8) -> Result<()> {
        self.registers().set(SENT, 0)?;
        self.is_sending.set(true);
        self.registers().set(DATA_OUT, byte.into())
    }

    fn read(&self) -> Result<u8> {
        // The event comes again for the next byte of the FIFO, after RXD was read (29.6).
        self.registers().set(RECEIVED, 0)?;
        let data = self.registers().get(DATA_IN)?;
        u8::try_from(data).map_err(|_| Error::failed(format!("RXD is {data:#x}")))
    }

    fn enable_interrupt(&self, event: Option<Event>) -> Result<()> {
        let registers = self.registers();
        registers.set(DISABLE_INTERRUPT, 0xffff_ffff)?;
        match event {
            None => Ok(()),
            Some(Event::Received) => registers.set(ENABLE_INTERRUPT, FOR_RECEIVED),
            Some(Event::Sent) => registers.set(ENABLE_INTERRUPT, FOR_SENT),
        }
    }

    fn interrupts(&self, event: Event) -> Result<bool> {
        let registers = self.registers();
        let enabled = registers.get(ENABLE_INTERRUPT)?;
        let (wanted, register) = match event {
            Event::Received => (FOR_RECEIVED, RECEIVED),
            Event::Sent => (FOR_SENT, SENT),
        };
        match enabled & !wanted {
            0 => Ok(enabled != 0 && registers.get(register)? != 0),
            others => Err(Error::failed(format!("INTENSET has {others:#x}, not asked for"))),
        }
    }

    fn acknowledge_sent(&self) -> Result<()> {
        self.is_sending.set(false);
        self.registers().set(SENT, 0)
    }

    fn take_break(&self) -> Result<Option<bool>> {
        let registers = self.registers();
        let source = registers.get(ERROR_SOURCE)?;
        registers.set(ERROR_SOURCE, source)?;
        if source != 0 {
            return Ok(Some(source & BREAK != 0));
        }
        Ok(if self.has_data()? { self.read().map(|_| Some(false))? } else { None })
    }

    fn interrupt(&self, _: Event) -> Result<Option<InterruptLine>> {
        Pin::of(&self.device, 0).map(|pin| pin.watch(&self.vm)).transpose()
    }

    fn line(&self) -> Result<Line> {
        Line::of_found(&self.vm, &self.device)
    }
}

impl Produces<dyn Uart> for Nrf51Uart {
    const ARGS: QemuArgs = uart::ARGS;

    fn produced(self: Rc<Self>) -> Rc<dyn Uart> {
        self
    }
}

impl Produces<RegisterBlock> for Nrf51Uart {
    fn produced(self: Rc<Self>) -> Rc<RegisterBlock> {
        let block = RegisterBlock::new("nRF51 RM", self.registers.clone(), TABLE);
        Rc::new(block.prepare(|registers| registers.set(ENABLE, ON)).faults(FAULTS))
    }
}

impl Discovered for Nrf51Uart {
    const QOM_TYPES: &'static [&'static str] = &["nrf51_soc.uart"];

    fn drives(device: &FoundDevice) -> bool {
        device.is_mapped_one_of(Self::QOM_TYPES)
    }

    fn found(device: &FoundDevice, vm: &Rc<Vm>) -> Result<Self> {
        let registers = Rc::new(Mmio::new(vm, device.base()?, vm.endian()?));
        let is_sending = Cell::new(false);
        Ok(Self { vm: vm.clone(), device: device.clone(), registers, is_sending })
    }
}

driver!(Nrf51Uart = "nrf51_soc.uart"; produces dyn Uart, RegisterBlock);
discovered!(Nrf51Uart);
