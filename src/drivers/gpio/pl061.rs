//! The PL061, eight pins (Arm, PrimeCell GPIO technical reference manual, DDI 0190B, chapter 3),
//! and the one in Stellaris chips, which has more registers.

use std::rc::Rc;

use crate::graph::{Discovered, FoundDevice, Produces};
use crate::qemu::Vm;
use crate::qos::gpio::{Gpio, Outside, Ports, Profile, TRIGGERS, Trigger};
use crate::qos::interrupt::{InterruptLine, Pin};
use crate::qos::registers::{AnyRegister, Mmio, Register, RegisterBlock, Registers, RegistersExt};
use crate::{Error, Result, discovered, driver};

/// Data of all pins. Bits 9 to 2 of the address are a mask; here they are all ones.
const DATA: Register<u32> =
    Register::new("GPIODATA", 0x3fc).section("3.3.1").volatile(0xff).side_effect();
/// Direction: a one is an output.
const DIRECTION: Register<u32> =
    Register::new("GPIODIR", 0x400).section("3.3.2").reset(0).kept(0xff);
/// Interrupt sense: a one is a level.
const SENSE: Register<u32> = Register::new("GPIOIS", 0x404).section("3.3.3").reset(0).kept(0xff);
/// Interrupt by both edges.
const BOTH: Register<u32> = Register::new("GPIOIBE", 0x408).section("3.3.4").reset(0).kept(0xff);
/// Interrupt event: a one is high, or rising.
const EVENT: Register<u32> = Register::new("GPIOIEV", 0x40c).section("3.3.5").reset(0).kept(0xff);
/// Interrupt mask: a one lets it through.
const MASK: Register<u32> = Register::new("GPIOIE", 0x410).section("3.3.6").reset(0).kept(0xff);
/// Raw interrupt status.
const RAW_STATUS: Register<u32> =
    Register::new("GPIORIS", 0x414).section("3.3.7").volatile(0xff).read_only();
/// Masked interrupt status.
const MASKED_STATUS: Register<u32> =
    Register::new("GPIOMIS", 0x418).section("3.3.8").volatile(0xff).read_only();
/// Interrupt clear.
const CLEAR: Register<u32> =
    Register::new("GPIOIC", 0x41c).section("3.3.9").write_only().side_effect();

/// A byte of the identification.
const fn id(name: &'static str, offset: u64, value: u64) -> Register<u32> {
    Register::new(name, offset).section("3.3.11").reset(value).read_only()
}

/// The registers that both have, but the choice of functions, which Stellaris locks.
const TABLE: &[&dyn AnyRegister] = &[
    &DATA,
    &DIRECTION,
    &SENSE,
    &BOTH,
    &EVENT,
    &MASK,
    &RAW_STATUS,
    &MASKED_STATUS,
    &CLEAR,
    &id("GPIOPeriphID0", 0xfe0, 0x61),
    &id("GPIOPCellID0", 0xff0, 0x0d),
    &id("GPIOPCellID1", 0xff4, 0xf0),
    &id("GPIOPCellID2", 0xff8, 0x05),
    &id("GPIOPCellID3", 0xffc, 0xb1),
];
/// What Arm's has.
const OF_ARM: &[&dyn AnyRegister] = &[
    &Register::<u32>::new("GPIOAFSEL", 0x420).section("3.3.10").reset(0).kept(0xff),
    &id("GPIOPeriphID1", 0xfe4, 0x10),
    &id("GPIOPeriphID2", 0xfe8, 0x04),
    &id("GPIOPeriphID3", 0xfec, 0x00),
];

/// The port.
struct Port {
    vm: Rc<Vm>,
    registers: Rc<Mmio>,
    pin: Option<Pin>,
    outside: Outside,
}

impl Port {
    fn registers(&self) -> &dyn Registers {
        &*self.registers
    }

    fn set_bit(&self, register: Register<u32>, pin: u32, is_set: bool) -> Result<()> {
        let bits = self.registers().get(register)?;
        let bits = if is_set { bits | 1 << pin } else { bits & !(1 << pin) };
        self.registers().set(register, bits)
    }
}

impl Gpio for Port {
    fn profile(&self) -> Profile {
        Profile {
            pins: 0xff,
            triggers: &TRIGGERS,
            latches_masked: true,
            reads_pads: false,
            asserts_after_reset: Some("a reset of QEMU's pl061 does not lower its interrupt"),
        }
    }

    fn set_outputs(&self, pins: u32) -> Result<()> {
        self.registers().set(DIRECTION, pins)
    }

    fn outputs(&self) -> Result<u32> {
        self.registers().get(DIRECTION)
    }

    fn write(&self, levels: u32) -> Result<()> {
        self.registers().set(DATA, levels)
    }

    fn write_masked(&self, pins: u32, levels: u32) -> Result<Option<()>> {
        let before = self.read()?;
        let read = self.registers().read32(u64::from(pins) << 2)?;
        if read != before & pins {
            return Err(Error::failed(format!("{read:#x} of {before:#x} by the mask {pins:#x}")));
        }
        self.registers().write32(u64::from(pins) << 2, levels).map(Some)
    }

    fn read(&self) -> Result<u32> {
        self.registers().get(DATA)
    }

    fn set_trigger(&self, pin: u32, trigger: Trigger) -> Result<()> {
        let is_level = matches!(trigger, Trigger::High | Trigger::Low);
        let is_high = matches!(trigger, Trigger::High | Trigger::Rising);
        self.set_bit(SENSE, pin, is_level)?;
        self.set_bit(BOTH, pin, trigger == Trigger::Both)?;
        self.set_bit(EVENT, pin, is_high)
    }

    fn enable(&self, pins: u32) -> Result<()> {
        self.registers().set(MASK, pins)
    }

    fn pending(&self) -> Result<u32> {
        let registers = self.registers();
        let (raw, mask) = (registers.get(RAW_STATUS)?, registers.get(MASK)?);
        match registers.get(MASKED_STATUS)? {
            masked if masked == raw & mask => Ok(raw),
            masked => Err(Error::failed(format!("GPIOMIS is {masked:#x}, of {raw:#x}, {mask:#x}"))),
        }
    }

    fn clear(&self, pins: u32) -> Result<()> {
        self.registers().set(CLEAR, pins & 0xff)
    }

    fn interrupt(&self, _: u32) -> Result<Option<InterruptLine>> {
        self.pin.as_ref().map(|pin| pin.watch(&self.vm)).transpose()
    }

    fn outside(&self) -> &Outside {
        &self.outside
    }
}

/// QEMU's `pl061` and `pl061_luminary`.
pub struct Pl061 {
    port: Rc<Port>,
    is_stellaris: bool,
}

impl Produces<Ports> for Pl061 {
    fn produced(self: Rc<Self>) -> Rc<Ports> {
        Ports::one(&self.port)
    }
}

impl Produces<RegisterBlock> for Pl061 {
    fn produced(self: Rc<Self>) -> Rc<RegisterBlock> {
        let block = RegisterBlock::new("DDI 0190B", self.port.registers.clone(), TABLE);
        Rc::new(if self.is_stellaris { block } else { block.with(OF_ARM) })
    }
}

impl Discovered for Pl061 {
    const QOM_TYPES: &'static [&'static str] = &["pl061"];

    fn drives(device: &FoundDevice) -> bool {
        device.is_mapped_one_of(Self::QOM_TYPES)
    }

    fn found(device: &FoundDevice, vm: &Rc<Vm>) -> Result<Self> {
        let registers = Rc::new(Mmio::new(vm, device.base()?, vm.endian()?));
        let outside = Outside::new(vm, device);
        let port = Port { vm: vm.clone(), registers, pin: Pin::of(device, 0), outside };
        Ok(Self { port: Rc::new(port), is_stellaris: device.is_a("pl061_luminary") })
    }
}

driver!(Pl061 = "pl061"; produces Ports, RegisterBlock);
discovered!(Pl061);
