//! The UART of SiFive (FU540-C000 manual, chapter 13).

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

/// Byte to be sent; bit 31 says that there is no room for it.
const TRANSMIT: Register<u32> =
    Register::new("txdata", 0x00).section("13.4").reset(0).side_effect();
/// Received byte; bit 31 says that there is none.
const RECEIVED: Register<u32> =
    Register::new("rxdata", 0x04).section("13.5").read_effect().side_effect();
/// Transmitter: it is on, stop bits, level.
const TRANSMITTER: Register<u32> =
    Register::new("txctrl", 0x08).section("13.6").reset(0).kept(0x7_0003);
/// Receiver: it is on, level.
const RECEIVER: Register<u32> =
    Register::new("rxctrl", 0x0c).section("13.7").reset(0).kept(0x7_0001);
/// Interrupt enables.
const ENABLE: Register<u32> = Register::new("ie", 0x10).section("13.8").reset(0).kept(0x3);
/// Interrupts that are pending.
const PENDING: Register<u32> = Register::new("ip", 0x14).section("13.8").volatile(0x3);
/// Divisor of the baud rate.
const DIVISOR: Register<u32> =
    Register::new("div", 0x18).section("13.9").undefined(0xffff).reset(0).kept(0xffff);

/// All registers.
const TABLE: &[&dyn AnyRegister] =
    &[&TRANSMIT, &RECEIVED, &TRANSMITTER, &RECEIVER, &ENABLE, &PENDING, &DIVISOR];

/// What QEMU does otherwise.
const FAULTS: &[Fault] = &[Fault::new(
    &["txctrl", "rxctrl", "ie", "div"],
    &[Rule::ReadOnly],
    "QEMU's riscv.sifive.uart keeps what is written to reserved bits",
)];

/// txdata and rxdata: full; empty.
const FULL: u32 = 1 << 31;
const EMPTY: u32 = 1 << 31;
/// txctrl and rxctrl: on; the level.
const ON: u32 = 1 << 0;
const LEVEL: u32 = 16;
/// ie and ip: fewer bytes to be sent than the level; more that were received.
const SENT: u32 = 1 << 0;
const RECEIVED_MORE: u32 = 1 << 1;

/// QEMU's `riscv.sifive.uart`.
pub struct SifiveUart {
    vm: Rc<Vm>,
    device: FoundDevice,
    registers: Rc<Mmio>,
    /// More bytes than so many interrupt.
    level: Cell<u32>,
}

impl SifiveUart {
    fn registers(&self) -> &dyn Registers {
        &*self.registers
    }

    fn set_receiver(&self, level: u32) -> Result<()> {
        self.registers().set(RECEIVER, ON | level << LEVEL)
    }
}

impl Uart for SifiveUart {
    fn profile(&self) -> Profile {
        Profile { levels: &[1, 2, 3, 7, 8], sent_is_level: true, ..Profile::of(8) }
    }

    fn enable(&self) -> Result<()> {
        let registers = self.registers();
        registers.set(ENABLE, 0)?;
        registers.set(TRANSMITTER, ON | 1 << LEVEL)?;
        self.level.set(0);
        self.set_receiver(0)?;
        // It has no other way to empty its FIFO.
        for _ in 0..=self.profile().depth {
            if registers.get(RECEIVED)? & EMPTY != 0 {
                return Ok(());
            }
        }
        Err(Error::failed("rxdata does not get empty"))
    }

    fn has_room(&self) -> Result<bool> {
        Ok(self.registers().get(TRANSMIT)? & FULL == 0)
    }

    fn has_data(&self) -> Result<bool> {
        // rxdata tells it, and takes the byte. The level of a byte does not take it.
        let level = self.level.get();
        if level != 0 {
            self.set_receiver(0)?;
        }
        let pending = self.registers().get(PENDING)?;
        if level != 0 {
            self.set_receiver(level)?;
        }
        Ok(pending & RECEIVED_MORE != 0)
    }

    fn write(&self, byte: u8) -> Result<()> {
        self.registers().set(TRANSMIT, byte.into())
    }

    fn read(&self) -> Result<u8> {
        let data = self.registers().get(RECEIVED)?;
        u8::try_from(data).map_err(|_| Error::failed(format!("rxdata is {data:#x}")))
    }

    fn enable_interrupt(&self, event: Option<Event>) -> Result<()> {
        let enable = match event {
            None => 0,
            Some(Event::Received) => RECEIVED_MORE,
            Some(Event::Sent) => SENT,
        };
        self.registers().set(ENABLE, enable)
    }

    fn interrupts(&self, event: Event) -> Result<bool> {
        let registers = self.registers();
        let enabled = registers.get(ENABLE)?;
        let wanted = if event == Event::Sent { SENT } else { RECEIVED_MORE };
        match enabled & !wanted {
            0 => Ok(registers.get(PENDING)? & enabled != 0),
            others => Err(Error::failed(format!("ie has {others:#x}, not asked for"))),
        }
    }

    fn set_level(&self, level: usize) -> Result<()> {
        self.level.set(level as u32 - 1);
        self.set_receiver(level as u32 - 1)
    }

    fn interrupt(&self, _: Event) -> Result<Option<InterruptLine>> {
        Pin::of(&self.device, 0).map(|pin| pin.watch(&self.vm)).transpose()
    }

    fn line(&self) -> Result<Line> {
        Line::of_found(&self.vm, &self.device)
    }
}

impl Produces<dyn Uart> for SifiveUart {
    const ARGS: QemuArgs = uart::ARGS;

    fn produced(self: Rc<Self>) -> Rc<dyn Uart> {
        self
    }
}

impl Produces<RegisterBlock> for SifiveUart {
    fn produced(self: Rc<Self>) -> Rc<RegisterBlock> {
        Rc::new(RegisterBlock::new("FU540-C000", self.registers.clone(), TABLE).faults(FAULTS))
    }
}

impl Discovered for SifiveUart {
    const QOM_TYPES: &'static [&'static str] = &["riscv.sifive.uart"];

    fn drives(device: &FoundDevice) -> bool {
        device.is_mapped_one_of(Self::QOM_TYPES)
    }

    fn found(device: &FoundDevice, vm: &Rc<Vm>) -> Result<Self> {
        let registers = Rc::new(Mmio::new(vm, device.base()?, vm.endian()?));
        Ok(Self { vm: vm.clone(), device: device.clone(), registers, level: Cell::new(0) })
    }
}

driver!(SifiveUart = "riscv.sifive.uart"; produces dyn Uart, RegisterBlock);
discovered!(SifiveUart);
