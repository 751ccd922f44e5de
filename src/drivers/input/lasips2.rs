//! The PS/2 ports of LASI, the peripheral chip of HP's PA-RISC workstations (HP, "LASI ERS",
//! revision 1.1, section "PS/2 Interface").

use std::rc::Rc;

use crate::graph::{Discovered, FoundDevice, Produces};
use crate::protocol::Endian;
use crate::qemu::Vm;
use crate::qos::interrupt::{InterruptLine, Pin};
use crate::qos::ps2::{Keyboard, Mouse, Port};
use crate::qos::registers::{Mmio, Register, RegistersExt};
use crate::{Error, Result, discovered, driver};

/// What is plugged in: 0, a keyboard; 1, a mouse.
pub const ID: Register<u8> = Register::new("ID", 0x0);
/// What was received, and what is sent.
pub const DATA: Register<u8> = Register::new("RCVDATA", 0x4);
/// Control.
pub const CONTROL: Register<u8> = Register::new("CONTROL", 0x8);
/// Status.
pub const STATUS: Register<u8> = Register::new("STATUS", 0xc);

/// CONTROL: the port works.
pub const ENABLE: u8 = 1 << 0;
/// CONTROL: what is sent is received.
pub const LOOPBACK: u8 = 1 << 1;
/// STATUS: a byte is there.
pub const NOT_EMPTY: u8 = 1 << 0;
/// STATUS: one of the ports interrupts.
pub const INTERRUPT: u8 = 1 << 4;

/// One of the two ports.
pub struct LasiPort {
    vm: Rc<Vm>,
    registers: Mmio,
    /// Where the line that both ports share ends.
    pin: Option<Pin>,
}

impl LasiPort {
    fn found(device: &FoundDevice, vm: &Rc<Vm>, id: u8) -> Result<Rc<Self>> {
        let registers = Mmio::new(vm, device.base()?, Endian::Big);
        // The line is that of the device of which the ports are parts.
        let pin = device.path.rsplit_once('/').and_then(|(whole, _)| Pin::at(device, whole, 0));
        match registers.get(ID)? {
            told if told == id => Ok(Rc::new(Self { vm: vm.clone(), registers, pin })),
            told => Err(Error::failed(format!("the port says that it is {told}, not {id}"))),
        }
    }

    /// Its registers.
    pub fn registers(&self) -> &Mmio {
        &self.registers
    }
}

impl Port for LasiPort {
    fn make_ready(&self) -> Result<()> {
        self.registers.set(CONTROL, ENABLE)
    }

    fn send(&self, byte: u8) -> Result<()> {
        self.registers.set(DATA, byte)
    }

    fn receive(&self) -> Result<Option<u8>> {
        let status = self.registers.get(STATUS)?;
        if status & NOT_EMPTY == 0 {
            return Ok(None);
        }
        if status & INTERRUPT == 0 {
            return Err(Error::failed("a byte is there, and the port does not interrupt"));
        }
        self.registers.get(DATA).map(Some)
    }

    fn interrupt(&self) -> Result<Option<InterruptLine>> {
        self.pin.as_ref().map(|pin| pin.watch(&self.vm)).transpose()
    }
}

macro_rules! port {
    ($name:ident = $node:literal, $id:literal; $interface:ident) => {
        #[doc = concat!("QEMU's `", $node, "`.")]
        pub struct $name(Rc<LasiPort>);

        impl Produces<$interface> for $name {
            fn produced(self: Rc<Self>) -> Rc<$interface> {
                Rc::new($interface(self.0.clone()))
            }
        }

        impl Produces<LasiPort> for $name {
            fn produced(self: Rc<Self>) -> Rc<LasiPort> {
                self.0.clone()
            }
        }

        impl Discovered for $name {
            const QOM_TYPES: &'static [&'static str] = &[$node];

            fn drives(device: &FoundDevice) -> bool {
                device.is_mapped_one_of(Self::QOM_TYPES)
            }

            fn found(device: &FoundDevice, vm: &Rc<Vm>) -> Result<Self> {
                Ok(Self(LasiPort::found(device, vm, $id)?))
            }
        }

        driver!($name = $node; produces $interface, LasiPort);
        discovered!($name);
    };
}

crate::interface!(LasiPort = "lasips2-port");

port!(LasiKeyboard = "lasips2-kbd-port", 0; Keyboard);
port!(LasiMouse = "lasips2-mouse-port", 1; Mouse);
