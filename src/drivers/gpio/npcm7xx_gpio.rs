//! The GPIO modules of Nuvoton's NPCM7xx, 32 pins each (NPCM7xx data sheet, chapter "GPIO").

use std::rc::Rc;

use crate::graph::{Discovered, FoundDevice, Produces};
use crate::qemu::Vm;
use crate::qos::gpio::{Gpio, Outside, Ports, Profile, TRIGGERS, Trigger};
use crate::qos::interrupt::{InterruptLine, Pin};
use crate::qos::registers::{AnyRegister, Mmio, Register, RegisterBlock, Registers, RegistersExt};
use crate::{Result, discovered, driver};

/// A register of a bit for each pin.
const fn bits(name: &'static str, offset: u64) -> Register<u32> {
    Register::new(name, offset).section("GPIO registers").reset(0)
}

/// Temporary lock: a write locks all other registers.
pub const LOCK_1: Register<u32> = bits("GPnTLOCK1", 0x00).side_effect();
/// Levels of the inputs, behind mask and polarity.
pub const INPUT: Register<u32> = bits("GPnDIN", 0x04).volatile(0xffff_ffff);
/// Polarity: a one inverts input and output.
pub const POLARITY: Register<u32> = bits("GPnPOL", 0x08).kept(0xffff_ffff);
/// Levels of the outputs.
pub const OUTPUT: Register<u32> = bits("GPnDOUT", 0x0c).kept(0xffff_ffff);
/// Which pins are outputs.
pub const OUTPUT_ENABLE: Register<u32> = bits("GPnOE", 0x10).kept(0xffff_ffff);
/// Which outputs are open drain.
pub const OPEN_DRAIN: Register<u32> = bits("GPnOTYP", 0x14).kept(0xffff_ffff);
/// Pins that are pulled up. The board says which are after a reset.
pub const PULL_UP: Register<u32> = bits("GPnPU", 0x1c).undefined(0xffff_ffff).kept(0xffff_ffff);
/// Pins that are pulled down. The board says which are after a reset.
pub const PULL_DOWN: Register<u32> = bits("GPnPD", 0x20).undefined(0xffff_ffff).kept(0xffff_ffff);
/// Debouncing.
const DEBOUNCE: Register<u32> = bits("GPnDBNC", 0x24).kept(0xffff_ffff);
/// Event type: a one is an edge.
pub const EVENT_TYPE: Register<u32> = bits("GPnEVTYP", 0x28).kept(0xffff_ffff);
/// Events by both edges.
pub const EVENT_BOTH: Register<u32> = bits("GPnEVBE", 0x2c).kept(0xffff_ffff);
/// Event enable: a one lets it through; ones that set and clear it.
const EVENT_ENABLE: Register<u32> = bits("GPnEVEN", 0x40).kept(0xffff_ffff);
const EVENT_ENABLE_SET: Register<u32> = bits("GPnEVENS", 0x44).write_only().side_effect();
const EVENT_ENABLE_CLEAR: Register<u32> = bits("GPnEVENC", 0x48).write_only().side_effect();
/// Event status; a one clears.
pub const STATUS: Register<u32> = bits("GPnEVST", 0x4c).volatile(0xffff_ffff).side_effect();
/// Input mask: a one lets the pin through.
pub const INPUT_ENABLE: Register<u32> = bits("GPnIEM", 0x58).kept(0xffff_ffff);
/// Slew rate and drive strength. The board says which they are after a reset.
const SLEW: Register<u32> = bits("GPnOSRC", 0x5c).undefined(0xffff_ffff).kept(0xffff_ffff);
const STRENGTH: Register<u32> = bits("GPnODSC", 0x60).undefined(0xffff_ffff).kept(0xffff_ffff);
/// Ones that set and clear levels of outputs.
const OUTPUT_SET: Register<u32> = bits("GPnDOS", 0x68).write_only().side_effect();
const OUTPUT_CLEAR: Register<u32> = bits("GPnDOC", 0x6c).write_only().side_effect();
/// Ones that make pins outputs.
pub const OUTPUT_ENABLE_SET: Register<u32> = bits("GPnOES", 0x70).write_only().side_effect();
/// Ones that make pins inputs.
pub const OUTPUT_ENABLE_CLEAR: Register<u32> = bits("GPnOEC", 0x74).write_only().side_effect();
/// The second half of the temporary lock.
pub const LOCK_2: Register<u32> = bits("GPnTLOCK2", 0x7c).write_only().side_effect();

/// All registers but those of blinking and of permanent locks.
const TABLE: &[&dyn AnyRegister] = &[
    &LOCK_1,
    &INPUT,
    &POLARITY,
    &OUTPUT,
    &OUTPUT_ENABLE,
    &OPEN_DRAIN,
    &PULL_UP,
    &PULL_DOWN,
    &DEBOUNCE,
    &EVENT_TYPE,
    &EVENT_BOTH,
    &EVENT_ENABLE,
    &EVENT_ENABLE_SET,
    &EVENT_ENABLE_CLEAR,
    &STATUS,
    &INPUT_ENABLE,
    &SLEW,
    &STRENGTH,
    &OUTPUT_SET,
    &OUTPUT_CLEAR,
    &OUTPUT_ENABLE_SET,
    &OUTPUT_ENABLE_CLEAR,
    &LOCK_2,
];

/// The module.
pub struct Module {
    vm: Rc<Vm>,
    registers: Rc<Mmio>,
    pin: Option<Pin>,
    outside: Outside,
}

impl Module {
    /// Its registers.
    pub fn registers(&self) -> &dyn Registers {
        &*self.registers
    }

    fn set_bit(&self, register: Register<u32>, pin: u32, is_set: bool) -> Result<()> {
        let bits = self.registers().get(register)?;
        let bits = if is_set { bits | 1 << pin } else { bits & !(1 << pin) };
        self.registers().set(register, bits)
    }
}

impl Gpio for Module {
    fn profile(&self) -> Profile {
        Profile {
            pins: 0xffff_ffff,
            triggers: &TRIGGERS,
            latches_masked: true,
            reads_pads: true,
            asserts_after_reset: None,
        }
    }

    fn set_outputs(&self, pins: u32) -> Result<()> {
        self.registers().set(INPUT_ENABLE, 0xffff_ffff)?;
        self.registers().set(OUTPUT_ENABLE, pins)
    }

    fn outputs(&self) -> Result<u32> {
        self.registers().get(OUTPUT_ENABLE)
    }

    fn write(&self, levels: u32) -> Result<()> {
        self.registers().set(OUTPUT, levels)
    }

    fn write_masked(&self, pins: u32, levels: u32) -> Result<Option<()>> {
        self.registers().set(OUTPUT_SET, pins & levels)?;
        self.registers().set(OUTPUT_CLEAR, pins & !levels).map(Some)
    }

    fn read(&self) -> Result<u32> {
        self.registers().get(INPUT)
    }

    fn set_trigger(&self, pin: u32, trigger: Trigger) -> Result<()> {
        // It knows high levels and rising edges; the polarity makes others of them.
        let is_inverted = matches!(trigger, Trigger::Falling | Trigger::Low);
        self.set_bit(POLARITY, pin, is_inverted)?;
        self.set_bit(EVENT_BOTH, pin, trigger == Trigger::Both)?;
        self.set_bit(EVENT_TYPE, pin, !matches!(trigger, Trigger::High | Trigger::Low))
    }

    fn enable(&self, pins: u32) -> Result<()> {
        let registers = self.registers();
        registers.set(EVENT_ENABLE_CLEAR, !pins)?;
        registers.set(EVENT_ENABLE_SET, pins)?;
        assert_eq!(registers.get(EVENT_ENABLE)?, pins, "GPnEVEN");
        Ok(())
    }

    fn pending(&self) -> Result<u32> {
        self.registers().get(STATUS)
    }

    fn clear(&self, pins: u32) -> Result<()> {
        self.registers().set(STATUS, pins)
    }

    fn interrupt(&self, _: u32) -> Result<Option<InterruptLine>> {
        self.pin.as_ref().map(|pin| pin.watch(&self.vm)).transpose()
    }

    fn outside(&self) -> &Outside {
        &self.outside
    }
}

/// QEMU's `npcm7xx-gpio`.
pub struct Npcm7xxGpio {
    /// The module.
    pub module: Rc<Module>,
}

impl Produces<Ports> for Npcm7xxGpio {
    fn produced(self: Rc<Self>) -> Rc<Ports> {
        Ports::one(&self.module)
    }
}

impl Produces<RegisterBlock> for Npcm7xxGpio {
    fn produced(self: Rc<Self>) -> Rc<RegisterBlock> {
        Rc::new(RegisterBlock::new("NPCM7xx", self.module.registers.clone(), TABLE))
    }
}

impl Discovered for Npcm7xxGpio {
    const QOM_TYPES: &'static [&'static str] = &["npcm7xx-gpio"];

    fn drives(device: &FoundDevice) -> bool {
        device.is_mapped_one_of(Self::QOM_TYPES)
    }

    fn found(device: &FoundDevice, vm: &Rc<Vm>) -> Result<Self> {
        let registers = Rc::new(Mmio::new(vm, device.base()?, vm.endian()?));
        let outside = Outside::new(vm, device);
        let module = Module { vm: vm.clone(), registers, pin: Pin::of(device, 0), outside };
        Ok(Self { module: Rc::new(module) })
    }
}

driver!(Npcm7xxGpio = "npcm7xx-gpio"; produces Ports, RegisterBlock);
discovered!(Npcm7xxGpio);
