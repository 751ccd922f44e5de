//! The ports of NXP's i.MX, 32 pins each (i.MX 6 reference manual, chapter "General Purpose
//! Input/Output").

use std::rc::Rc;

use crate::graph::{Discovered, FoundDevice, Produces};
use crate::qemu::Vm;
use crate::qos::gpio::{Gpio, Outside, Ports, Profile, TRIGGERS, Trigger};
use crate::qos::interrupt::{InterruptLine, Pin};
use crate::qos::registers::{AnyRegister, Mmio, Register, RegisterBlock, Registers, RegistersExt};
use crate::{Result, discovered, driver};

/// A register of a bit for each pin, or of two for each of half of them.
const fn bits(name: &'static str, offset: u64) -> Register<u32> {
    Register::new(name, offset).section("GPIO memory map").reset(0)
}

/// Data: outputs as they were written, inputs as they are.
const DATA: Register<u32> = bits("GPIO_DR", 0x00).side_effect();
/// Direction: a one is an output.
const DIRECTION: Register<u32> = bits("GPIO_GDIR", 0x04).kept(0xffff_ffff);
/// Pad status.
const PADS: Register<u32> = bits("GPIO_PSR", 0x08).volatile(0xffff_ffff).read_only();
/// Interrupt configuration of pins 0 to 15, two bits each.
const CONFIGURATION: Register<u32> = bits("GPIO_ICR1", 0x0c).kept(0xffff_ffff);
/// Interrupt configuration of pins 16 to 31, two bits each.
const CONFIGURATION_HIGH: Register<u32> = bits("GPIO_ICR2", 0x10).kept(0xffff_ffff);
/// Interrupt mask: a one lets it through.
const MASK: Register<u32> = bits("GPIO_IMR", 0x14).kept(0xffff_ffff);
/// Interrupt status; a one clears.
const STATUS: Register<u32> = bits("GPIO_ISR", 0x18).volatile(0xffff_ffff).side_effect();
/// Interrupt by both edges, whatever the configuration is.
const BOTH: Register<u32> = bits("GPIO_EDGE_SEL", 0x1c).kept(0xffff_ffff);

/// The registers that all have.
const TABLE: &[&dyn AnyRegister] =
    &[&DATA, &DIRECTION, &PADS, &CONFIGURATION, &CONFIGURATION_HIGH, &MASK, &STATUS];

/// The port.
struct Port {
    vm: Rc<Vm>,
    registers: Rc<Mmio>,
    has_both: bool,
    /// The lines of the lower and of the upper half.
    pins: [Option<Pin>; 2],
    outside: Outside,
}

impl Port {
    fn registers(&self) -> &dyn Registers {
        &*self.registers
    }
}

impl Gpio for Port {
    fn profile(&self) -> Profile {
        const WITHOUT_BOTH: &[Trigger] =
            &[Trigger::Rising, Trigger::Falling, Trigger::High, Trigger::Low];
        Profile {
            pins: 0xffff_ffff,
            triggers: if self.has_both { &TRIGGERS } else { WITHOUT_BOTH },
            latches_masked: true,
            reads_pads: false,
            asserts_after_reset: None,
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

    fn write_masked(&self, _: u32, _: u32) -> Result<Option<()>> {
        Ok(None)
    }

    fn read(&self) -> Result<u32> {
        self.registers().get(DATA)
    }

    fn set_trigger(&self, pin: u32, trigger: Trigger) -> Result<()> {
        let registers = self.registers();
        if self.has_both {
            let both = registers.get(BOTH)? & !(1 << pin);
            registers.set(BOTH, both | u32::from(trigger == Trigger::Both) << pin)?;
        }
        let kind = match trigger {
            Trigger::Low => 0,
            Trigger::High => 1,
            Trigger::Rising => 2,
            Trigger::Falling | Trigger::Both => 3,
        };
        let register = if pin < 16 { CONFIGURATION } else { CONFIGURATION_HIGH };
        let shift = pin % 16 * 2;
        let rest = registers.get(register)? & !(3 << shift);
        registers.set(register, rest | kind << shift)
    }

    fn enable(&self, pins: u32) -> Result<()> {
        self.registers().set(MASK, pins)
    }

    fn pending(&self) -> Result<u32> {
        self.registers().get(STATUS)
    }

    fn clear(&self, pins: u32) -> Result<()> {
        self.registers().set(STATUS, pins)
    }

    fn interrupt(&self, pin: u32) -> Result<Option<InterruptLine>> {
        let line = &self.pins[usize::from(pin >= 16)];
        line.as_ref().map(|pin| pin.watch(&self.vm)).transpose()
    }

    fn outside(&self) -> &Outside {
        &self.outside
    }
}

/// QEMU's `imx.gpio`.
pub struct ImxGpio {
    port: Rc<Port>,
}

impl Produces<Ports> for ImxGpio {
    fn produced(self: Rc<Self>) -> Rc<Ports> {
        Ports::one(&self.port)
    }
}

impl Produces<RegisterBlock> for ImxGpio {
    fn produced(self: Rc<Self>) -> Rc<RegisterBlock> {
        let block = RegisterBlock::new("i.MX 6 RM", self.port.registers.clone(), TABLE);
        Rc::new(if self.port.has_both { block.with(&[&BOTH]) } else { block })
    }
}

impl Discovered for ImxGpio {
    const QOM_TYPES: &'static [&'static str] = &["imx.gpio"];

    fn drives(device: &FoundDevice) -> bool {
        device.is_mapped_one_of(Self::QOM_TYPES)
    }

    fn found(device: &FoundDevice, vm: &Rc<Vm>) -> Result<Self> {
        let has_two = device.property("has-upper-pin-irq") == Some("true");
        let port = Port {
            vm: vm.clone(),
            registers: Rc::new(Mmio::new(vm, device.base()?, vm.endian()?)),
            has_both: device.property("has-edge-sel") == Some("true"),
            pins: [Pin::of(device, 0), Pin::of(device, if has_two { 1 } else { 0 })],
            outside: Outside::new(vm, device),
        };
        Ok(Self { port: Rc::new(port) })
    }
}

driver!(ImxGpio = "imx.gpio"; produces Ports, RegisterBlock);
discovered!(ImxGpio);
