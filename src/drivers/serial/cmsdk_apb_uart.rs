//! The UART of the Cortex-M System Design Kit (Arm, technical reference manual, DDI 0479D,
//! section 4.3).

use std::rc::Rc;

use crate::graph::{Discovered, FoundDevice, Produces, QemuArgs};
use crate::qemu::Vm;
use crate::qos::interrupt::{InterruptLine, Pin};
use crate::qos::registers::{
    AnyRegister, Fault, Mmio, Register, RegisterBlock, Registers, RegistersExt,
};
use crate::qos::uart::{self, Event, Line, Profile, Uart};
use crate::{Error, Result, discovered, driver};

/// Data.
pub const DATA: Register<u32> =
    Register::new("DATA", 0x00).section("table 4-6").read_effect().side_effect();
/// State: buffers are full, and have overrun; a one clears an overrun.
pub const STATE: Register<u32> =
    Register::new("STATE", 0x04).section("table 4-6").reset(0).w1c(0xc);
/// Control. The transmitter and the receiver are not switched on without a divider.
pub const CONTROL: Register<u32> =
    Register::new("CTRL", 0x08).section("table 4-6").reset(0).kept(0x7c).acts(0x03);
/// Interrupt status; a one clears.
pub const STATUS: Register<u32> =
    Register::new("INTSTATUS", 0x0c).section("table 4-6").reset(0).w1c(0x0f);
/// Baud rate divider; 16 at least.
pub const DIVIDER: Register<u32> =
    Register::new("BAUDDIV", 0x10).section("table 4-6").reset(0).kept(0xf_ffff);

/// A byte of the identification.
const fn id(name: &'static str, offset: u64, value: u64) -> Register<u32> {
    Register::new(name, offset).section("table 4-6").reset(value).read_only()
}

/// All registers.
const TABLE: &[&dyn AnyRegister] = &[
    &DATA,
    &STATE,
    &CONTROL,
    &STATUS,
    &DIVIDER,
    &id("PID4", 0xfd0, 0x04),
    &id("PID5", 0xfd4, 0x00),
    &id("PID6", 0xfd8, 0x00),
    &id("PID7", 0xfdc, 0x00),
    &id("PID0", 0xfe0, 0x21),
    &id("PID1", 0xfe4, 0xb8),
    &id("PID2", 0xfe8, 0x1b),
    &id("PID3", 0xfec, 0x00),
    &id("CID0", 0xff0, 0x0d),
    &id("CID1", 0xff4, 0xf0),
    &id("CID2", 0xff8, 0x05),
    &id("CID3", 0xffc, 0xb1),
];

/// What QEMU does otherwise.
const FAULTS: &[Fault] = &[];

/// STATE: the transmit and the receive buffer, a byte each, are full; overruns.
const TRANSMIT_FULL: u32 = 1 << 0;
const RECEIVE_FULL: u32 = 1 << 1;
const OVERRUNS: u32 = 3 << 2;
/// CTRL: transmitter and receiver are on.
const ENABLE: u32 = 3;
/// CTRL and INTSTATUS: sent, received.
const SENT_ENABLE: u32 = 1 << 2;
const RECEIVED_ENABLE: u32 = 1 << 3;
const SENT: u32 = 1 << 0;
const RECEIVED: u32 = 1 << 1;

/// QEMU's `cmsdk-apb-uart`.
pub struct CmsdkApbUart {
    vm: Rc<Vm>,
    device: FoundDevice,
    registers: Rc<Mmio>,
}

impl CmsdkApbUart {
    fn registers(&self) -> &dyn Registers {
        &*self.registers
    }
}

impl Uart for CmsdkApbUart {
    fn profile(&self) -> Profile {
        Profile {
            latches: true,
            asserts_after_reset: Some(
                "a reset of QEMU's cmsdk-apb-uart does not lower its interrupts",
            ),
            ..Profile::of(1)
        }
    }

    fn enable(&self) -> Result<()> {
        let registers = self.registers();
        registers.set(CONTROL, 0)?;
        registers.set(DIVIDER, 16)?;
        registers.set(STATUS, 0x0f)?;
        registers.set(CONTROL, ENABLE)?;
        if registers.get(STATE)? & RECEIVE_FULL != 0 {
            registers.get(DATA)?;
        }
        Ok(())
    }

    fn has_room(&self) -> Result<bool> {
        Ok(self.registers().get(STATE)? & TRANSMIT_FULL == 0)
    }

    fn has_data(&self) -> Result<bool> {
        let state = self.registers().get(STATE)?;
        match state & OVERRUNS {
            0 => Ok(state & RECEIVE_FULL != 0),
            _ => Err(Error::failed(format!("STATE reports an overrun: {state:#x}"))),
        }
    }

    fn write(&self, byte: u8) -> Result<()> {
        self.registers().set(DATA, byte.into())
    }

    fn read(&self) -> Result<u8> {
        let data = self.registers().get(DATA)?;
        // A byte that was read does not interrupt any more, once that is cleared.
        self.registers().set(STATUS, RECEIVED)?;
        u8::try_from(data).map_err(|_| Error::failed(format!("DATA is {data:#x}")))
    }

    fn enable_interrupt(&self, event: Option<Event>) -> Result<()> {
        let enable = match event {
            None => 0,
            Some(Event::Received) => RECEIVED_ENABLE,
            Some(Event::Sent) => SENT_ENABLE,
        };
        self.registers().set(CONTROL, ENABLE | enable)
    }

    fn interrupts(&self, event: Event) -> Result<bool> {
        let status = self.registers().get(STATUS)?;
        let wanted = if event == Event::Sent { SENT } else { RECEIVED };
        match status & !wanted {
            0 => Ok(status != 0),
            others => Err(Error::failed(format!("INTSTATUS has {others:#x}, not asked for"))),
        }
    }

    fn acknowledge_sent(&self) -> Result<()> {
        self.registers().set(STATUS, SENT)
    }

    fn is_full(&self) -> Result<Option<bool>> {
        Ok(Some(self.registers().get(STATE)? & RECEIVE_FULL != 0))
    }

    fn interrupt(&self, event: Event) -> Result<Option<InterruptLine>> {
        let number = if event == Event::Sent { 0 } else { 1 };
        Pin::of(&self.device, number).map(|pin| pin.watch(&self.vm)).transpose()
    }

    fn line(&self) -> Result<Line> {
        Line::of_found(&self.vm, &self.device)
    }
}

impl Produces<dyn Uart> for CmsdkApbUart {
    const ARGS: QemuArgs = uart::ARGS;

    fn produced(self: Rc<Self>) -> Rc<dyn Uart> {
        self
    }
}

impl Produces<RegisterBlock> for CmsdkApbUart {
    fn produced(self: Rc<Self>) -> Rc<RegisterBlock> {
        Rc::new(RegisterBlock::new("DDI 0479D", self.registers.clone(), TABLE).faults(FAULTS))
    }
}

impl Discovered for CmsdkApbUart {
    const QOM_TYPES: &'static [&'static str] = &["cmsdk-apb-uart"];

    fn found(device: &FoundDevice, vm: &Rc<Vm>) -> Result<Self> {
        let registers = Rc::new(Mmio::new(vm, device.base()?, vm.endian()?));
        Ok(Self { vm: vm.clone(), device: device.clone(), registers })
    }
}

driver!(CmsdkApbUart = "cmsdk-apb-uart"; produces dyn Uart, RegisterBlock);
discovered!(CmsdkApbUart);
