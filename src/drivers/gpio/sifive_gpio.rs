//! The GPIO controllers of SiFive's FE310 (32 pins) and FU540 (16 pins), with an interrupt line for
//! each pin (FE310-G002 manual, v1p0, chapter 17; FU540-C000 manual, v1p0, chapter 17).

use std::cell::Cell;
use std::rc::Rc;

use crate::graph::{Discovered, FoundDevice, Produces};
use crate::qemu::Vm;
use crate::qos::gpio::{Gpio, Outside, Ports, Profile, TRIGGERS, Trigger};
use crate::qos::interrupt::{InterruptLine, Pin};
use crate::qos::registers::{Declaration, Mmio, Register, RegisterBlock, Registers, RegistersExt};
use crate::{Error, Result, discovered, driver};

/// A register of a bit for each pin.
const fn bits(name: &'static str, offset: u64) -> Register<u32> {
    Register::new(name, offset).section("17.2").reset(0)
}

/// A register that keeps what is written.
const fn kept(name: &'static str, offset: u64) -> Register<u32> {
    bits(name, offset).kept(0xffff_ffff)
}

/// A register of pending interrupts; ones clear.
const fn pending(name: &'static str, offset: u64) -> Register<u32> {
    bits(name, offset).undefined(0xffff_ffff).volatile(0xffff_ffff).side_effect()
}

/// Levels of the pins whose input is enabled.
pub const VALUE: Register<u32> = bits("input_val", 0x00).volatile(0xffff_ffff).read_only();
/// Input enable.
pub const INPUT_ENABLE: Register<u32> = kept("input_en", 0x04);
/// Output enable.
pub const OUTPUT_ENABLE: Register<u32> = kept("output_en", 0x08);
/// Levels of outputs.
pub const OUTPUT: Register<u32> = kept("output_val", 0x0c);
/// Pull-up enable.
pub const PULL_UP: Register<u32> = kept("pue", 0x10);
/// Drive strength.
const STRENGTH: Register<u32> = kept("ds", 0x14);
/// Interrupt enable and pending, by rising and falling edges, high and low levels.
const ENABLES: [Register<u32>; 4] =
    [kept("rise_ie", 0x18), kept("fall_ie", 0x20), kept("high_ie", 0x28), kept("low_ie", 0x30)];
const PENDINGS: [Register<u32>; 4] = [
    pending("rise_ip", 0x1c),
    pending("fall_ip", 0x24),
    pending("high_ip", 0x2c),
    pending("low_ip", 0x34),
];
/// Output inverted.
pub const INVERTED: Register<u32> = kept("out_xor", 0x40);

/// The port.
pub struct Port {
    vm: Rc<Vm>,
    registers: Rc<Mmio>,
    pins: u32,
    /// The pins that there are, those included that do something else on this board.
    all: u32,
    lines: Vec<Option<Pin>>,
    /// Which pins have interrupts by which of the four kinds.
    triggers: [Cell<u32>; 4],
    outside: Outside,
}

impl Port {
    /// Its registers.
    pub fn registers(&self) -> &dyn Registers {
        &*self.registers
    }
}

impl Gpio for Port {
    fn profile(&self) -> Profile {
        Profile {
            pins: self.pins,
            triggers: &TRIGGERS,
            latches_masked: true,
            reads_pads: true,
            asserts_after_reset: Some("a reset of QEMU's sifive.gpio lowers no interrupt"),
        }
    }

    fn set_outputs(&self, pins: u32) -> Result<()> {
        self.registers().set(INPUT_ENABLE, self.pins)?;
        self.registers().set(OUTPUT_ENABLE, pins)
    }

    fn outputs(&self) -> Result<u32> {
        self.registers().get(OUTPUT_ENABLE)
    }

    fn write(&self, levels: u32) -> Result<()> {
        self.registers().set(OUTPUT, levels)
    }

    fn write_masked(&self, _: u32, _: u32) -> Result<Option<()>> {
        Ok(None)
    }

    fn read(&self) -> Result<u32> {
        self.registers().get(VALUE)
    }

    fn set_trigger(&self, pin: u32, trigger: Trigger) -> Result<()> {
        let kinds = match trigger {
            Trigger::Rising => [true, false, false, false],
            Trigger::Falling => [false, true, false, false],
            Trigger::Both => [true, true, false, false],
            Trigger::High => [false, false, true, false],
            Trigger::Low => [false, false, false, true],
        };
        for (pins, is_on) in self.triggers.iter().zip(kinds) {
            pins.set(pins.get() & !(1 << pin) | u32::from(is_on) << pin);
        }
        Ok(())
    }

    fn enable(&self, pins: u32) -> Result<()> {
        let kinds = ENABLES.into_iter().zip(&self.triggers);
        kinds
            .into_iter()
            .try_for_each(|(register, kind)| self.registers().set(register, pins & kind.get()))
    }

    fn pending(&self) -> Result<u32> {
        let mut all = 0;
        for (register, kind) in PENDINGS.into_iter().zip(&self.triggers) {
            all |= self.registers().get(register)? & kind.get();
        }
        Ok(all)
    }

    fn clear(&self, pins: u32) -> Result<()> {
        PENDINGS.into_iter().try_for_each(|register| self.registers().set(register, pins))
    }

    fn interrupt(&self, pin: u32) -> Result<Option<InterruptLine>> {
        let line = self.lines.get(pin as usize).and_then(Option::as_ref);
        line.map(|pin| pin.watch(&self.vm)).transpose()
    }

    fn outside(&self) -> &Outside {
        &self.outside
    }
}

/// QEMU's `sifive_soc.gpio`.
pub struct SifiveGpio {
    /// The port.
    pub port: Rc<Port>,
}

impl Produces<Ports> for SifiveGpio {
    fn produced(self: Rc<Self>) -> Rc<Ports> {
        Ports::one(&self.port)
    }
}

impl Produces<RegisterBlock> for SifiveGpio {
    fn produced(self: Rc<Self>) -> Rc<RegisterBlock> {
        let port = &self.port;
        let block = RegisterBlock::new("FE310-G002", port.registers.clone(), &[]);
        let block = block.with(&[
            &VALUE,
            &INPUT_ENABLE,
            &OUTPUT_ENABLE,
            &OUTPUT,
            &PULL_UP,
            &STRENGTH,
            &INVERTED,
            &ENABLES[0],
            &ENABLES[1],
            &ENABLES[2],
            &ENABLES[3],
            &PENDINGS[0],
            &PENDINGS[1],
            &PENDINGS[2],
            &PENDINGS[3],
        ]);
        // Pins that are not there, and those by which a board is reset, are left alone.
        let (pins, acting) = (u64::from(port.pins), u64::from(port.all & !port.pins));
        Rc::new(block.map(move |it| Declaration {
            kept: it.kept & pins,
            acts: if it.kept == 0 { 0 } else { acting },
            volatile: if it.volatile == 0 { 0 } else { pins | acting },
            reserved: 0xffff_ffff & !(pins | acting),
            ..it
        }))
    }
}

impl Discovered for SifiveGpio {
    const QOM_TYPES: &'static [&'static str] = &["sifive_soc.gpio"];

    fn drives(device: &FoundDevice) -> bool {
        device.is_mapped_one_of(Self::QOM_TYPES)
    }

    fn found(device: &FoundDevice, vm: &Rc<Vm>) -> Result<Self> {
        let none = || Error::failed(format!("{} tells no ngpio", device.path));
        let count = device.number("ngpio").filter(|it| (1..=32).contains(it)).ok_or_else(none)?;
        let all = u32::MAX >> (32 - count);
        // An output of pin 10 resets the HiFive Unleashed.
        let taken = if *device.machine().machine == *"sifive_u" { 1 << 10 } else { 0 };
        let port = Port {
            vm: vm.clone(),
            registers: Rc::new(Mmio::new(vm, device.base()?, vm.endian()?)),
            pins: all & !taken,
            all,
            lines: (0..count as u32).map(|pin| Pin::of(device, pin)).collect(),
            triggers: Default::default(),
            outside: Outside::new(vm, device),
        };
        Ok(Self { port: Rc::new(port) })
    }
}

driver!(SifiveGpio = "sifive.gpio"; produces Ports, RegisterBlock);
discovered!(SifiveGpio);
