//! The UART of NXP's i.MX (i.MX 6 reference manual, chapter "Universal Asynchronous
//! Receiver/Transmitter").

use std::rc::Rc;

use crate::graph::{Discovered, FoundDevice, Produces, QemuArgs};
use crate::qemu::{Version, Vm};
use crate::qos::interrupt::{InterruptLine, Pin};
use crate::qos::registers::{
    AnyRegister, Fault, Mmio, Register, RegisterBlock, Registers, RegistersExt, Rule,
};
use crate::qos::uart::{self, Event, Line, Loopback, Profile, Uart};
use crate::qos::wait_until;
use crate::{Error, Result, discovered, driver};

/// A register of the memory map of the chapter.
const fn register(name: &'static str, offset: u64) -> Register<u32> {
    Register::new(name, offset).section("UART memory map")
}

/// Received byte; above it, how it was received.
const RECEIVED: Register<u32> = register("UARTx_URXD", 0x00).read_effect().side_effect();
/// Byte to be sent.
const TRANSMIT: Register<u32> = register("UARTx_UTXD", 0x40).write_only().side_effect();
/// Control 1. QEMU has the UART on at first, as the ROM would leave it.
const CONTROL_1: Register<u32> =
    register("UARTx_UCR1", 0x80).reset(0).undefined(0x0001).kept(0xffef).acts(0x0010);
/// Control 2: a zero in bit 0 resets the UART.
const CONTROL_2: Register<u32> =
    register("UARTx_UCR2", 0x84).reset(1).undefined(0x4006).kept(0xfffe).acts(0x0001);
/// Control 3.
const CONTROL_3: Register<u32> = register("UARTx_UCR3", 0x88).reset(0x0700).kept(0xffff);
/// Control 4.
const CONTROL_4: Register<u32> = register("UARTx_UCR4", 0x8c).reset(0x8000).kept(0xffff);
/// FIFO control: trigger levels.
const FIFO_CONTROL: Register<u32> = register("UARTx_UFCR", 0x90).reset(0x0801).kept(0xffff);
/// Status 1. The inputs of the modem are not the device's.
const STATUS_1: Register<u32> =
    register("UARTx_USR1", 0x94).reset(0x2040).undefined(0x4000).w1c(0x9db0);
/// Status 2. The inputs of the modem are not the device's.
const STATUS_2: Register<u32> =
    register("UARTx_USR2", 0x98).reset(0x4008).undefined(0x0220).w1c(0xbdd6);
/// Escape character.
const ESCAPE: Register<u32> = register("UARTx_UESC", 0x9c).reset(0x2b).kept(0xff);
/// Escape timer.
const ESCAPE_TIMER: Register<u32> = register("UARTx_UTIM", 0xa0).reset(0).kept(0x0fff);
/// Numerator and denominator of the baud rate.
const INCREMENTAL: Register<u32> = register("UARTx_UBIR", 0xa4).reset(0).kept(0xffff);
const MODULATOR: Register<u32> = register("UARTx_UBMR", 0xa8).reset(0).kept(0xffff);
/// Count of the baud rate.
const COUNT: Register<u32> = register("UARTx_UBRC", 0xac).reset(4).read_only();
/// One millisecond.
const MILLISECOND: Register<u32> = register("UARTx_ONEMS", 0xb0).reset(0).kept(0xffff);
/// Test: FIFOs are empty or full, and output is input.
const TEST: Register<u32> = register("UARTx_UTS", 0xb4).reset(0x60).kept(0x2a00).acts(0x1401);

/// All registers.
const TABLE: &[&dyn AnyRegister] = &[
    &RECEIVED,
    &TRANSMIT,
    &CONTROL_1,
    &CONTROL_2,
    &CONTROL_3,
    &CONTROL_4,
    &FIFO_CONTROL,
    &STATUS_1,
    &STATUS_2,
    &ESCAPE,
    &ESCAPE_TIMER,
    &INCREMENTAL,
    &MODULATOR,
    &COUNT,
    &MILLISECOND,
    &TEST,
];

/// What QEMU does otherwise.
const FAULTS: &[Fault] = &[
    Fault::new(
        &["UARTx_UCR2"],
        &[Rule::ResetValue, Rule::MachineReset],
        "QEMU's imx.serial says that a reset by software goes on after one of the machine",
    )
    .bits(0x0001),
    Fault::new(
        &["UARTx_UCR4"],
        &[Rule::ResetValue, Rule::MachineReset],
        "QEMU's imx.serial does not reset UCR4",
    ),
    Fault::new(
        &["UARTx_UFCR"],
        &[Rule::ResetValue, Rule::MachineReset],
        "QEMU's imx.serial does not reset UFCR",
    )
    .before(9, 0),
    Fault::new(&["UARTx_ONEMS"], &[Rule::MachineReset], "QEMU's imx.serial does not reset ONEMS"),
    Fault::new(
        &["UARTx_UESC", "UARTx_UTIM"],
        &[Rule::ResetValue, Rule::Kept, Rule::MachineReset],
        "QEMU's imx.serial has no UESC and no UTIM",
    ),
    Fault::new(
        &["UARTx_UBIR"],
        &[Rule::Kept],
        "QEMU's imx.serial keeps what is written to UBIR in UBRC",
    ),
    Fault::new(
        &["UARTx_UBRC"],
        &[Rule::Neighbours],
        "QEMU's imx.serial keeps what is written to UBIR in UBRC",
    ),
    Fault::new(&["UARTx_UTS"], &[Rule::Kept], "QEMU's imx.serial ignores writes of UTS"),
];

/// URXD: there is a byte; it has an error; it is in the last place of the FIFO; it is a break.
const IS_VALID: u32 = 1 << 15;
const HAS_ERROR: u32 = 1 << 14;
const IS_LAST: u32 = 1 << 13;
const IS_BREAK: u32 = 1 << 11;
/// UCR1: the UART is on; interrupts for USR1.TRDY and USR1.RRDY, which are at the same places.
const ENABLE: u32 = 1 << 0;
const TRANSMIT_READY: u32 = 1 << 13;
const RECEIVE_READY: u32 = 1 << 9;
/// UCR2: no reset; receiver, transmitter; an interrupt for USR1.AGTIM; eight bits; no RTS.
const NO_RESET: u32 = 1 << 0;
const READY: u32 = NO_RESET | 1 << 1 | 1 << 2 | 1 << 5 | 1 << 14;
const AGING: u32 = 1 << 3;
/// USR1: bytes are in the FIFO, fewer than the level, and nobody has read them for a time.
const AGED: u32 = 1 << 8;
/// USR2: a break; a byte was lost; there is a byte.
const BREAK: u32 = 1 << 2;
const OVERRUN: u32 = 1 << 1;
const HAS_DATA: u32 = 1 << 0;
/// UFCR: the level of the transmitter, and no division of the clock.
const LEVELS: u32 = 2 << 10 | 5 << 7;
/// UTS: output is input; the receive FIFO is full.
const LOOP: u32 = 1 << 12;
const RECEIVE_FULL: u32 = 1 << 3;

/// QEMU's `imx.serial`.
pub struct ImxSerial {
    vm: Rc<Vm>,
    device: FoundDevice,
    registers: Rc<Mmio>,
}

impl ImxSerial {
    fn registers(&self) -> &dyn Registers {
        &*self.registers
    }

    /// What is received; `None` if URXD says that nothing is.
    fn received(&self) -> Result<Option<u32>> {
        let data = self.registers().get(RECEIVED)?;
        // The manual has no way but this one to take back the interrupt of an aged byte.
        self.registers().set(STATUS_1, AGED)?;
        Ok((data & IS_VALID != 0).then_some(data & !IS_VALID))
    }
}

impl Uart for ImxSerial {
    fn profile(&self) -> Profile {
        let is_deep = self.vm.emulator().capabilities.version >= Version::new(9, 0, 0);
        Profile {
            shallow: (!is_deep)
                .then_some((1, "QEMU's imx.serial holds one byte, and the one of i.MX 32")),
            loopback: Some(Loopback::Closed),
            levels: &[1, 2, 3, 8, 16, 31, 32],
            has_timeout: true,
            reports_overrun: true,
            reports_break: true,
            sent_is_level: true,
            asserts_after_reset: Some("a reset of QEMU's imx.serial does not lower its interrupt"),
            ..Profile::of(32)
        }
    }

    fn enable(&self) -> Result<()> {
        let registers = self.registers();
        registers.set(CONTROL_1, 0)?;
        registers.set(CONTROL_2, 0)?;
        wait_until(&self.vm, "the end of a reset by UCR2.SRST", || {
            Ok(registers.get(CONTROL_2)? & NO_RESET != 0)
        })?;
        registers.set(CONTROL_3, 0x0700)?;
        registers.set(CONTROL_4, 0x8000)?;
        registers.set(FIFO_CONTROL, LEVELS | 1)?;
        registers.set(TEST, 0x60)?;
        registers.set(CONTROL_1, ENABLE)?;
        registers.set(STATUS_1, 0x9db0)?;
        registers.set(STATUS_2, 0xbdd6)?;
        registers.set(CONTROL_2, READY)
    }

    fn has_room(&self) -> Result<bool> {
        Ok(self.registers().get(STATUS_1)? & TRANSMIT_READY != 0)
    }

    fn has_data(&self) -> Result<bool> {
        Ok(self.registers().get(STATUS_2)? & HAS_DATA != 0)
    }

    fn write(&self, byte: u8) -> Result<()> {
        self.registers().set(TRANSMIT, byte.into())
    }

    fn read(&self) -> Result<u8> {
        match self.received()? {
            None => Err(Error::failed("URXD says that there is no byte")),
            // A byte in the last place says so, as the next one may be lost.
            Some(data) if data & 0xff00 == HAS_ERROR | IS_LAST => Ok(data as u8),
            Some(data) => u8::try_from(data)
                .map_err(|_| Error::failed(format!("URXD is {data:#x}: an error"))),
        }
    }

    fn enable_interrupt(&self, event: Option<Event>) -> Result<()> {
        let (control, aging) = match event {
            None => (0, 0),
            Some(Event::Received) => (RECEIVE_READY, AGING),
            Some(Event::Sent) => (TRANSMIT_READY, 0),
        };
        self.registers().set(CONTROL_2, READY | aging)?;
        self.registers().set(CONTROL_1, ENABLE | control)
    }

    fn interrupts(&self, event: Event) -> Result<bool> {
        let registers = self.registers();
        let enabled = registers.get(CONTROL_1)? & (TRANSMIT_READY | RECEIVE_READY);
        let aging = if registers.get(CONTROL_2)? & AGING != 0 { AGED } else { 0 };
        let pending = registers.get(STATUS_1)? & (enabled | aging);
        let wanted = if event == Event::Sent { TRANSMIT_READY } else { RECEIVE_READY | AGED };
        match pending & !wanted {
            0 => Ok(pending != 0),
            others => Err(Error::failed(format!("USR1 has {others:#x}, not asked for"))),
        }
    }

    fn set_loopback(&self, is_on: bool) -> Result<()> {
        self.registers().set(TEST, if is_on { LOOP } else { 0 })
    }

    fn set_level(&self, level: usize) -> Result<()> {
        self.registers().set(FIFO_CONTROL, LEVELS | level as u32)
    }

    fn is_full(&self) -> Result<Option<bool>> {
        Ok(Some(self.registers().get(TEST)? & RECEIVE_FULL != 0))
    }

    fn take_overrun(&self) -> Result<bool> {
        let is_there = self.registers().get(STATUS_2)? & OVERRUN != 0;
        self.registers().set(STATUS_2, OVERRUN)?;
        Ok(is_there)
    }

    fn take_break(&self) -> Result<Option<bool>> {
        let Some(data) = self.received()? else { return Ok(None) };
        let is_break = data & IS_BREAK != 0;
        let is_told = self.registers().get(STATUS_2)? & BREAK != 0;
        self.registers().set(STATUS_2, BREAK)?;
        let is_whole = data & 0xff == 0 && data & HAS_ERROR != 0;
        match is_told == is_break && (is_whole || !is_break) {
            true => Ok(Some(is_break)),
            false => Err(Error::failed(format!("URXD is {data:#x}, and USR2.BRCD {is_told}"))),
        }
    }

    fn interrupt(&self, _: Event) -> Result<Option<InterruptLine>> {
        Pin::of(&self.device, 0).map(|pin| pin.watch(&self.vm)).transpose()
    }

    fn line(&self) -> Result<Line> {
        Line::of_found(&self.vm, &self.device)
    }
}

impl Produces<dyn Uart> for ImxSerial {
    const ARGS: QemuArgs = uart::ARGS;

    fn produced(self: Rc<Self>) -> Rc<dyn Uart> {
        self
    }
}

impl Produces<RegisterBlock> for ImxSerial {
    fn produced(self: Rc<Self>) -> Rc<RegisterBlock> {
        Rc::new(RegisterBlock::new("i.MX 6 RM", self.registers.clone(), TABLE).faults(FAULTS))
    }
}

impl Discovered for ImxSerial {
    const QOM_TYPES: &'static [&'static str] = &["imx.serial"];

    fn drives(device: &FoundDevice) -> bool {
        device.is_mapped_one_of(Self::QOM_TYPES)
    }

    fn found(device: &FoundDevice, vm: &Rc<Vm>) -> Result<Self> {
        let registers = Rc::new(Mmio::new(vm, device.base()?, vm.endian()?));
        Ok(Self { vm: vm.clone(), device: device.clone(), registers })
    }
}

driver!(ImxSerial = "imx.serial"; produces dyn Uart, RegisterBlock);
discovered!(ImxSerial);
