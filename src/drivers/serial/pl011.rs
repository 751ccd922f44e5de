//! The PL011 UART (Arm, PrimeCell UART technical reference manual, DDI 0183G, chapter 3), and the
//! one in Stellaris chips, which differs in its identification.

use std::rc::Rc;

use crate::graph::{Discovered, FoundDevice, Produces, QemuArgs};
use crate::qemu::{Version, Vm};
use crate::qos::interrupt::{InterruptLine, Pin};
use crate::qos::registers::{
    AnyRegister, Fault, Mmio, Register, RegisterBlock, Registers, RegistersExt, Rule,
};
use crate::qos::uart::{self, Event, Line, Loopback, Profile, Uart};
use crate::{Error, Result, discovered, driver};

/// Data; above the byte, how it was received.
pub const DATA: Register<u32> =
    Register::new("UARTDR", 0x000).section("3.3.1").read_effect().side_effect();
/// Receive status; a write clears errors.
pub const RECEIVE_STATUS: Register<u32> =
    Register::new("UARTRSR", 0x004).section("3.3.2").reset(0).side_effect();
/// Flags. Those of the modem are not the device's.
pub const FLAG: Register<u32> =
    Register::new("UARTFR", 0x018).section("3.3.3").reset(0x90).undefined(0x107).read_only();
/// IrDA low-power counter.
pub const ILPR: Register<u32> =
    Register::new("UARTILPR", 0x020).section("3.3.4").reset(0).kept(0xff);
/// Integer baud rate.
pub const IBRD: Register<u32> =
    Register::new("UARTIBRD", 0x024).section("3.3.5").reset(0).kept(0xffff);
/// Fractional baud rate.
pub const FBRD: Register<u32> =
    Register::new("UARTFBRD", 0x028).section("3.3.6").reset(0).kept(0x3f);
/// Line control. A break is sent while bit 0 is set.
pub const LINE_CONTROL: Register<u32> =
    Register::new("UARTLCR_H", 0x02c).section("3.3.7").reset(0).kept(0xfe).acts(1);
/// Control.
pub const CONTROL: Register<u32> = Register::new("UARTCR", 0x030)
    .section("3.3.8")
    .reset(0x300)
    .kept(0xff07 & !LOOPBACK as u64)
    .acts(LOOPBACK as u64);
/// Interrupt FIFO level select.
pub const FIFO_LEVEL: Register<u32> =
    Register::new("UARTIFLS", 0x034).section("3.3.9").reset(0x12).kept(0x3f);
/// Interrupt mask: 1 lets an interrupt through.
pub const MASK: Register<u32> =
    Register::new("UARTIMSC", 0x038).section("3.3.10").reset(0).kept(0x7ff);
/// Raw interrupt status. Those of the modem are not the device's.
pub const RAW_STATUS: Register<u32> =
    Register::new("UARTRIS", 0x03c).section("3.3.11").reset(0).undefined(0xf).read_only();
/// Masked interrupt status.
pub const MASKED_STATUS: Register<u32> =
    Register::new("UARTMIS", 0x040).section("3.3.12").reset(0).read_only();
/// Interrupt clear.
pub const CLEAR: Register<u32> =
    Register::new("UARTICR", 0x044).section("3.3.13").write_only().side_effect();
/// DMA control.
pub const DMA: Register<u32> =
    Register::new("UARTDMACR", 0x048).section("3.3.14").reset(0).side_effect();

/// A byte of the identification.
const fn id(name: &'static str, offset: u64, value: u64) -> Register<u32> {
    Register::new(name, offset).section("3.3.15").reset(value).read_only()
}

/// All registers but the peripheral's identification.
const TABLE: &[&dyn AnyRegister] = &[
    &DATA,
    &RECEIVE_STATUS,
    &FLAG,
    &ILPR,
    &IBRD,
    &FBRD,
    &LINE_CONTROL,
    &CONTROL,
    &FIFO_LEVEL,
    &MASK,
    &RAW_STATUS,
    &MASKED_STATUS,
    &CLEAR,
    &DMA,
    &id("UARTPCellID0", 0xff0, 0x0d),
    &id("UARTPCellID1", 0xff4, 0xf0),
    &id("UARTPCellID2", 0xff8, 0x05),
    &id("UARTPCellID3", 0xffc, 0xb1),
];
/// The identification of Arm's, of which QEMU models an r1p3.
const OF_ARM: &[&dyn AnyRegister] = &[
    &id("UARTPeriphID0", 0xfe0, 0x11),
    &id("UARTPeriphID1", 0xfe4, 0x10),
    &id("UARTPeriphID2", 0xfe8, 0x14),
    &id("UARTPeriphID3", 0xfec, 0x00),
];
/// That of the Stellaris chips (LM3S6965 data sheet, registers UARTPeriphID0 to 3).
const OF_STELLARIS: &[&dyn AnyRegister] = &[
    &id("UARTPeriphID0", 0xfe0, 0x11),
    &id("UARTPeriphID1", 0xfe4, 0x00),
    &id("UARTPeriphID2", 0xfe8, 0x18),
    &id("UARTPeriphID3", 0xfec, 0x01),
];

/// What QEMU does otherwise.
const FAULTS: &[Fault] = &[
    Fault::new(
        &["UARTILPR", "UARTIBRD", "UARTFBRD", "UARTLCR_H", "UARTCR", "UARTIFLS", "UARTIMSC"],
        &[Rule::ReadOnly],
        "QEMU's pl011 keeps what is written to reserved bits",
    ),
    Fault::new(&[], &[Rule::MachineReset], "QEMU's pl011 has no reset").before(8, 0),
];

/// UARTFR: the receive FIFO is empty; the transmit FIFO is full; the receive FIFO is full.
const RECEIVE_EMPTY: u32 = 1 << 4;
const TRANSMIT_FULL: u32 = 1 << 5;
const RECEIVE_FULL: u32 = 1 << 6;
/// UARTDR: the byte is a break.
const BREAK_DATA: u32 = 1 << 10;
/// UARTDR: a byte was lost.
const OVERRUN_DATA: u32 = 1 << 11;
/// UARTLCR_H: FIFOs are on; eight bits.
const FIFOS: u32 = 1 << 4;
const EIGHT_BITS: u32 = 3 << 5;
/// UARTCR: the UART, its transmitter and its receiver are on; output is input.
const ENABLE: u32 = 1 << 0 | 1 << 8 | 1 << 9;
const LOOPBACK: u32 = 1 << 7;
/// Interrupts: received, to a level or not followed by more; sent; a byte was lost.
const RECEIVED: u32 = 1 << 4 | 1 << 6;
const SENT: u32 = 1 << 5;
const OVERRUN: u32 = 1 << 10;

/// QEMU's `pl011` and `pl011_luminary`.
pub struct Pl011 {
    vm: Rc<Vm>,
    device: FoundDevice,
    registers: Rc<Mmio>,
}

impl Pl011 {
    fn registers(&self) -> &dyn Registers {
        &*self.registers
    }

    /// Whether this QEMU is of this version or a later one.
    fn is_since(&self, major: u32, minor: u32) -> bool {
        self.vm.emulator().capabilities.version >= Version::new(major, minor, 0)
    }
}

impl Uart for Pl011 {
    fn profile(&self) -> Profile {
        Profile {
            levels: &[2, 4, 8, 12, 14],
            has_timeout: true,
            reports_overrun: true,
            reports_break: true,
            // QEMU 8.2 is the first that has it. The manual does not say that the output is silent
            // (3.3.8).
            loopback: self.is_since(8, 2).then_some(Loopback::Open),
            keeps_data: (!self.is_since(8, 0))
                .then_some("QEMU's pl011 empties its FIFO, and does not set UARTFR.RXFE"),
            survives_reset: (!self.is_since(8, 0)).then_some("QEMU's pl011 has no reset"),
            asserts_after_reset: Some("a reset of QEMU's pl011 does not lower its interrupt"),
            ..Profile::of(16)
        }
    }

    fn enable(&self) -> Result<()> {
        let registers = self.registers();
        registers.set(CONTROL, 0)?;
        registers.set(MASK, 0)?;
        registers.set(LINE_CONTROL, 0)?;
        registers.set(IBRD, 1)?;
        registers.set(FBRD, 0)?;
        // Switching the FIFOs on empties them (3.3.7).
        registers.set(LINE_CONTROL, EIGHT_BITS | FIFOS)?;
        registers.set(CLEAR, 0x7ff)?;
        registers.set(CONTROL, ENABLE)
    }

    fn has_room(&self) -> Result<bool> {
        Ok(self.registers().get(FLAG)? & TRANSMIT_FULL == 0)
    }

    fn has_data(&self) -> Result<bool> {
        Ok(self.registers().get(FLAG)? & RECEIVE_EMPTY == 0)
    }

    fn write(&self, byte: u8) -> Result<()> {
        self.registers().set(DATA, byte.into())
    }

    fn read(&self) -> Result<u8> {
        let data = self.registers().get(DATA)?;
        // An overrun, which another byte has had, is told with this one.
        u8::try_from(data & !OVERRUN_DATA)
            .map_err(|_| Error::failed(format!("UARTDR is {data:#x}: an error")))
    }

    fn enable_interrupt(&self, event: Option<Event>) -> Result<()> {
        let mask = match event {
            None => 0,
            Some(Event::Received) => RECEIVED,
            Some(Event::Sent) => SENT,
        };
        self.registers().set(MASK, mask)
    }

    fn interrupts(&self, event: Event) -> Result<bool> {
        let registers = self.registers();
        let (before, mask) = (registers.get(RAW_STATUS)?, registers.get(MASK)?);
        let masked = registers.get(MASKED_STATUS)?;
        let raw = registers.get(RAW_STATUS)?;
        // A byte may come in between.
        if before == raw && masked != raw & mask {
            return Err(Error::failed(format!("UARTMIS is {masked:#x}, of {raw:#x}, {mask:#x}")));
        }
        let wanted = if event == Event::Sent { SENT } else { RECEIVED };
        match masked & !wanted {
            0 => Ok(masked != 0),
            others => Err(Error::failed(format!("UARTMIS has {others:#x}, not asked for"))),
        }
    }

    fn acknowledge_sent(&self) -> Result<()> {
        self.registers().set(CLEAR, SENT)
    }

    fn set_loopback(&self, is_on: bool) -> Result<()> {
        self.registers().set(CONTROL, if is_on { ENABLE | LOOPBACK } else { ENABLE })
    }

    fn set_level(&self, level: usize) -> Result<()> {
        let number = match level {
            2 => 0,
            4 => 1,
            8 => 2,
            12 => 3,
            _ => 4,
        };
        self.registers().set(FIFO_LEVEL, number << 3)
    }

    fn is_full(&self) -> Result<Option<bool>> {
        Ok(Some(self.registers().get(FLAG)? & RECEIVE_FULL != 0))
    }

    fn take_overrun(&self) -> Result<bool> {
        let is_there = self.registers().get(RAW_STATUS)? & OVERRUN != 0;
        self.registers().set(CLEAR, OVERRUN)?;
        Ok(is_there)
    }

    fn take_break(&self) -> Result<Option<bool>> {
        if !self.has_data()? {
            return Ok(None);
        }
        let data = self.registers().get(DATA)?;
        self.registers().set(RECEIVE_STATUS, 0)?;
        match data & BREAK_DATA {
            0 => Ok(Some(false)),
            _ if data & 0xff == 0 => Ok(Some(true)),
            _ => Err(Error::failed(format!("UARTDR is {data:#x}, a break that is not zero"))),
        }
    }

    fn interrupt(&self, _: Event) -> Result<Option<InterruptLine>> {
        Pin::of(&self.device, 0).map(|pin| pin.watch(&self.vm)).transpose()
    }

    fn line(&self) -> Result<Line> {
        Line::of_found(&self.vm, &self.device)
    }
}

impl Produces<dyn Uart> for Pl011 {
    const ARGS: QemuArgs = uart::ARGS;

    fn produced(self: Rc<Self>) -> Rc<dyn Uart> {
        self
    }
}

impl Produces<RegisterBlock> for Pl011 {
    fn produced(self: Rc<Self>) -> Rc<RegisterBlock> {
        let of = if self.device.is_a("pl011_luminary") { OF_STELLARIS } else { OF_ARM };
        let block = RegisterBlock::new("DDI 0183G", self.registers.clone(), TABLE);
        Rc::new(block.with(of).faults(FAULTS))
    }
}

impl Discovered for Pl011 {
    const QOM_TYPES: &'static [&'static str] = &["pl011"];

    fn found(device: &FoundDevice, vm: &Rc<Vm>) -> Result<Self> {
        let registers = Rc::new(Mmio::new(vm, device.base()?, vm.endian()?));
        Ok(Self { vm: vm.clone(), device: device.clone(), registers })
    }
}

driver!(Pl011 = "pl011"; produces dyn Uart, RegisterBlock);
discovered!(Pl011);
