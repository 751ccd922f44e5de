//! The UART of Samsung's Exynos 4210 (user's manual, chapter "Universal Asynchronous Receiver and
//! Transmitter").

use std::rc::Rc;

use crate::graph::{Discovered, FoundDevice, Produces, QemuArgs};
use crate::qemu::Vm;
use crate::qos::interrupt::{InterruptLine, Pin};
use crate::qos::registers::{
    AnyRegister, Fault, Mmio, Register, RegisterBlock, Registers, RegistersExt, Rule,
};
use crate::qos::uart::{self, Event, Line, Loopback, Profile, Uart};
use crate::{Error, Result, discovered, driver};

/// A register of the map of the chapter.
const fn register(name: &'static str, offset: u64) -> Register<u32> {
    Register::new(name, offset).section("UART register map")
}

/// Line control: eight bits are three.
const LINE: Register<u32> = register("ULCONn", 0x00).reset(0).kept(0x7f);
/// Control.
const CONTROL: Register<u32> = register("UCONn", 0x04).reset(0x3000).kept(0xf_ffcf).acts(0x30);
/// FIFO control. Two of its bits empty the FIFOs.
const FIFO: Register<u32> = register("UFCONn", 0x08).reset(0).kept(0x771).acts(0x006);
/// Modem control.
const MODEM: Register<u32> = register("UMCONn", 0x0c).reset(0).kept(0xf9);
/// Transmitter and receiver; a one clears the timeout.
const STATUS: Register<u32> = register("UTRSTATn", 0x10).reset(0x06).side_effect();
/// Errors. A read clears them.
const ERRORS: Register<u32> = register("UERSTATn", 0x14).reset(0).clears_on_read();
/// How many bytes are in the FIFOs.
const COUNTS: Register<u32> = register("UFSTATn", 0x18).reset(0).read_only();
/// Byte to be sent.
const TRANSMIT: Register<u32> = register("UTXHn", 0x20).write_only().side_effect();
/// Received byte.
const RECEIVED: Register<u32> = register("URXHn", 0x24).read_effect().side_effect();
/// Divisor of the baud rate, and its sixteenths.
const DIVISOR: Register<u32> = register("UBRDIVn", 0x28).reset(0).kept(0xffff);
const FRACTION: Register<u32> = register("UFRACVALn", 0x2c).reset(0).kept(0x0f);
/// Interrupts that are pending and not masked; a one clears.
const PENDING: Register<u32> = register("UINTPn", 0x30).reset(0).volatile(0xf).side_effect();
/// Interrupts that are pending; a one clears.
const SOURCES: Register<u32> = register("UINTSPn", 0x34).volatile(0xf).side_effect();
/// Interrupt mask: a one masks.
const MASK: Register<u32> = register("UINTMn", 0x38).reset(0).kept(0xf);

/// All registers but the status of a modem.
const TABLE: &[&dyn AnyRegister] = &[
    &LINE, &CONTROL, &FIFO, &MODEM, &STATUS, &ERRORS, &COUNTS, &TRANSMIT, &RECEIVED, &DIVISOR,
    &FRACTION, &PENDING, &SOURCES, &MASK,
];

/// What QEMU does otherwise.
const FAULTS: &[Fault] = &[Fault::new(
    &["ULCONn", "UCONn", "UFCONn", "UMCONn", "UBRDIVn", "UFRACVALn", "UINTMn"],
    &[Rule::ReadOnly],
    "QEMU's exynos4210.uart keeps what is written to reserved bits",
)];

/// UCONn: bytes are received and sent by interrupts; output is input; a timeout of a few bytes.
const READY: u32 = 1 << 0 | 1 << 2 | 1 << 7 | 3 << 12;
const LOOPBACK: u32 = 1 << 5;
/// UFCONn: FIFOs are on; both are emptied; where the level of the receiver stands.
const FIFOS: u32 = 1 << 0;
const EMPTY: u32 = 3 << 1;
const LEVEL: u32 = 4;
/// UTRSTATn: bytes are waiting and no more came; there is room for a byte.
const TIMEOUT: u32 = 1 << 3;
const HAS_ROOM: u32 = 1 << 1;
/// UERSTATn: a break; a byte was lost.
const BREAK: u32 = 1 << 3;
const OVERRUN: u32 = 1 << 0;
/// UFSTATn: the receive FIFO is full; the transmit FIFO is full.
const RECEIVE_FULL: u32 = 1 << 8;
const TRANSMIT_FULL: u32 = 1 << 24;
/// Interrupts: received; sent.
const RXD: u32 = 1 << 0;
const TXD: u32 = 1 << 2;

/// QEMU's `exynos4210.uart`.
pub struct ExynosUart {
    vm: Rc<Vm>,
    device: FoundDevice,
    registers: Rc<Mmio>,
}

impl ExynosUart {
    fn registers(&self) -> &dyn Registers {
        &*self.registers
    }

    /// Which of the UARTs it is decides how deep it is and by how many bytes its levels differ.
    fn depth(&self) -> usize {
        match self.device.number("channel") {
            Some(0) => 256,
            Some(1 | 4) => 64,
            _ => 16,
        }
    }
}

impl Uart for ExynosUart {
    fn profile(&self) -> Profile {
        let levels: &[usize] = match self.depth() {
            256 => &[32, 64, 224, 256],
            64 => &[8, 16, 56, 64],
            _ => &[2, 4, 8, 14, 16],
        };
        Profile {
            loopback: Some(Loopback::Closed),
            levels,
            has_timeout: true,
            reports_overrun: true,
            reports_break: true,
            sent_is_level: true,
            asserts_after_reset: Some(
                "a reset of QEMU's exynos4210.uart does not lower its interrupt",
            ),
            ..Profile::of(self.depth())
        }
    }

    fn enable(&self) -> Result<()> {
        let registers = self.registers();
        registers.set(MASK, 0xf)?;
        registers.set(LINE, 0x03)?;
        registers.set(DIVISOR, 12)?;
        registers.set(CONTROL, READY)?;
        registers.set(FIFO, FIFOS | EMPTY)?;
        registers.set(STATUS, TIMEOUT)?;
        registers.get(ERRORS)?;
        registers.set(SOURCES, 0xf)?;
        registers.set(PENDING, 0xf)
    }

    fn has_room(&self) -> Result<bool> {
        let registers = self.registers();
        Ok(registers.get(STATUS)? & HAS_ROOM != 0 || registers.get(COUNTS)? & TRANSMIT_FULL == 0)
    }

    fn has_data(&self) -> Result<bool> {
        // The FIFO's own count and flag, as UTRSTATn is that of the mode without FIFOs.
        Ok(self.registers().get(COUNTS)? & (RECEIVE_FULL | 0xff) != 0)
    }

    fn write(&self, byte: u8) -> Result<()> {
        self.registers().set(TRANSMIT, byte.into())
    }

    fn read(&self) -> Result<u8> {
        let registers = self.registers();
        let data = registers.get(RECEIVED)?;
        // The interrupt stays until it is cleared, and comes again if there is a reason for it.
        registers.set(STATUS, TIMEOUT)?;
        registers.set(SOURCES, RXD)?;
        registers.set(PENDING, RXD)?;
        u8::try_from(data).map_err(|_| Error::failed(format!("URXHn is {data:#x}")))
    }

    fn enable_interrupt(&self, event: Option<Event>) -> Result<()> {
        let enable = match event {
            None => 0,
            Some(Event::Received) => RXD,
            Some(Event::Sent) => TXD,
        };
        self.registers().set(MASK, 0xf & !enable)
    }

    fn interrupts(&self, event: Event) -> Result<bool> {
        let pending = self.registers().get(PENDING)?;
        let wanted = if event == Event::Sent { TXD } else { RXD };
        match pending & !wanted {
            0 => Ok(pending != 0),
            others => Err(Error::failed(format!("UINTPn has {others:#x}, not asked for"))),
        }
    }

    fn set_loopback(&self, is_on: bool) -> Result<()> {
        self.registers().set(CONTROL, if is_on { READY | LOOPBACK } else { READY })
    }

    fn set_level(&self, level: usize) -> Result<()> {
        let number = level * 8 / self.depth() - 1;
        self.registers().set(FIFO, FIFOS | (number as u32) << LEVEL)
    }

    fn is_full(&self) -> Result<Option<bool>> {
        Ok(Some(self.registers().get(COUNTS)? & RECEIVE_FULL != 0))
    }

    fn take_overrun(&self) -> Result<bool> {
        Ok(self.registers().get(ERRORS)? & OVERRUN != 0)
    }

    fn take_break(&self) -> Result<Option<bool>> {
        if !self.has_data()? {
            return Ok(None);
        }
        let is_break = self.registers().get(ERRORS)? & BREAK != 0;
        let byte = self.read()?;
        match is_break && byte != 0 {
            false => Ok(Some(is_break)),
            true => Err(Error::failed(format!("a break is reported, and the byte is {byte:#x}"))),
        }
    }

    fn interrupt(&self, _: Event) -> Result<Option<InterruptLine>> {
        Pin::of(&self.device, 0).map(|pin| pin.watch(&self.vm)).transpose()
    }

    fn line(&self) -> Result<Line> {
        Line::of_found(&self.vm, &self.device)
    }
}

impl Produces<dyn Uart> for ExynosUart {
    const ARGS: QemuArgs = uart::ARGS;

    fn produced(self: Rc<Self>) -> Rc<dyn Uart> {
        self
    }
}

impl Produces<RegisterBlock> for ExynosUart {
    fn produced(self: Rc<Self>) -> Rc<RegisterBlock> {
        Rc::new(RegisterBlock::new("Exynos 4210 UM", self.registers.clone(), TABLE).faults(FAULTS))
    }
}

impl Discovered for ExynosUart {
    const QOM_TYPES: &'static [&'static str] = &["exynos4210.uart"];

    fn drives(device: &FoundDevice) -> bool {
        device.is_mapped_one_of(Self::QOM_TYPES)
    }

    fn found(device: &FoundDevice, vm: &Rc<Vm>) -> Result<Self> {
        let registers = Rc::new(Mmio::new(vm, device.base()?, vm.endian()?));
        Ok(Self { vm: vm.clone(), device: device.clone(), registers })
    }
}

driver!(ExynosUart = "exynos4210.uart"; produces dyn Uart, RegisterBlock);
discovered!(ExynosUart);
