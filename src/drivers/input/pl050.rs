//! The PL050, a PS/2 port of a keyboard or of a mouse (Arm, PrimeCell PS2 Keyboard/Mouse Interface
//! technical reference manual, DDI 0143C, chapter 3).

use std::rc::Rc;

use crate::graph::{Discovered, FoundDevice, Produces};
use crate::qemu::Vm;
use crate::qos::interrupt::{InterruptLine, Pin};
use crate::qos::ps2::{Keyboard, Mouse, Port};
use crate::qos::registers::{AnyRegister, Mmio, Register, RegisterBlock, RegistersExt};
use crate::{Result, discovered, driver};

/// Control. The lowest bits force the lines of the port low.
const CONTROL: Register<u32> =
    Register::new("KMICR", 0x00).section("3.3.1").reset(0).kept(0x27).acts(0x18);
/// Status. The last bits are those of the lines, and of the parity of what came last.
const STATUS: Register<u32> =
    Register::new("KMISTAT", 0x04).section("3.3.2").reset(0x40).undefined(0x07).read_only();
/// What was received, and what is sent.
const DATA: Register<u32> =
    Register::new("KMIDATA", 0x08).section("3.3.3").read_effect().side_effect();
/// How the port's clock is divided.
const DIVISOR: Register<u32> =
    Register::new("KMICLKDIV", 0x0c).section("3.3.4").reset(0).kept(0x0f);
/// Interrupts. There is room to send from the start.
const INTERRUPTS: Register<u32> =
    Register::new("KMIIR", 0x10).section("3.3.5").reset(0).undefined(0x02).read_only();

/// KMICR: it works, and interrupts when a byte is there.
const ENABLE: u32 = 1 << 2;
const RECEIVED: u32 = 1 << 4;
/// KMISTAT: a byte is there.
const FULL: u32 = 1 << 4;

/// A byte of the identification.
const fn id(name: &'static str, offset: u64, value: u64) -> Register<u32> {
    Register::new(name, offset).section("3.3.6").reset(value).read_only()
}

const TABLE: &[&dyn AnyRegister] = &[
    &CONTROL,
    &STATUS,
    &DATA,
    &DIVISOR,
    &INTERRUPTS,
    &id("KMIPeriphID0", 0xfe0, 0x50),
    &id("KMIPeriphID1", 0xfe4, 0x10),
    &id("KMIPeriphID2", 0xfe8, 0x04),
    &id("KMIPeriphID3", 0xfec, 0x00),
    &id("KMIPCellID0", 0xff0, 0x0d),
    &id("KMIPCellID1", 0xff4, 0xf0),
    &id("KMIPCellID2", 0xff8, 0x05),
    &id("KMIPCellID3", 0xffc, 0xb1),
];

/// The port.
struct Pl050 {
    vm: Rc<Vm>,
    registers: Rc<Mmio>,
    pin: Option<Pin>,
}

impl Pl050 {
    fn found(device: &FoundDevice, vm: &Rc<Vm>) -> Result<Rc<Self>> {
        let registers = Rc::new(Mmio::new(vm, device.base()?, vm.endian()?));
        Ok(Rc::new(Self { vm: vm.clone(), registers, pin: Pin::of(device, 0) }))
    }

    fn block(&self) -> Rc<RegisterBlock> {
        Rc::new(RegisterBlock::new("DDI 0143C", self.registers.clone(), TABLE))
    }
}

impl Port for Pl050 {
    fn make_ready(&self) -> Result<()> {
        self.registers.set(CONTROL, ENABLE | RECEIVED)
    }

    fn send(&self, byte: u8) -> Result<()> {
        self.registers.set(DATA, byte.into())
    }

    fn receive(&self) -> Result<Option<u8>> {
        let is_full = self.registers.get(STATUS)? & FULL != 0;
        is_full.then(|| Ok(self.registers.get(DATA)? as u8)).transpose()
    }

    fn interrupt(&self) -> Result<Option<InterruptLine>> {
        self.pin.as_ref().map(|pin| pin.watch(&self.vm)).transpose()
    }
}

/// One of the two, which differ in what is plugged into them.
macro_rules! port {
    ($name:ident = $node:literal, $what:literal; $interface:ident) => {
        #[doc = concat!("QEMU's `", $node, "`, with ", $what, ".")]
        pub struct $name(Rc<Pl050>);

        impl Produces<$interface> for $name {
            fn produced(self: Rc<Self>) -> Rc<$interface> {
                Rc::new($interface(self.0.clone()))
            }
        }

        impl Produces<RegisterBlock> for $name {
            fn produced(self: Rc<Self>) -> Rc<RegisterBlock> {
                self.0.block()
            }
        }

        impl Discovered for $name {
            const QOM_TYPES: &'static [&'static str] = &[$node];

            fn drives(device: &FoundDevice) -> bool {
                device.is_mapped_one_of(Self::QOM_TYPES)
            }

            fn found(device: &FoundDevice, vm: &Rc<Vm>) -> Result<Self> {
                Ok(Self(Pl050::found(device, vm)?))
            }
        }

        driver!($name = $node; produces $interface, RegisterBlock);
        discovered!($name);
    };
}

port!(Pl050Keyboard = "pl050_keyboard", "a keyboard"; Keyboard);
port!(Pl050Mouse = "pl050_mouse", "a mouse"; Mouse);
