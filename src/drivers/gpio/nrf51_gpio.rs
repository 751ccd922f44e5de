//! The pins of Nordic's nRF51 (nRF51 series reference manual, version 3.0, chapter 14 "General
//! Purpose Input/Output").

use std::rc::Rc;

use crate::graph::{Discovered, FoundDevice, Produces};
use crate::qemu::Vm;
use crate::qos::gpio::{Gpio, Outside, Ports, Profile, Trigger};
use crate::qos::interrupt::InterruptLine;
use crate::qos::registers::{AnyRegister, Mmio, Register, RegisterBlock, Registers, RegistersExt};
use crate::{Result, discovered, driver};

/// A register of a bit for each pin.
const fn bits(name: &'static str, offset: u64) -> Register<u32> {
    Register::new(name, offset).section("14.2").reset(0)
}

/// Levels of outputs.
pub const OUT: Register<u32> = bits("OUT", 0x504).kept(0xffff_ffff);
/// Ones that set levels of outputs; what is read is OUT.
pub const OUTSET: Register<u32> = bits("OUTSET", 0x508).volatile(0xffff_ffff).side_effect();
/// Ones that clear levels of outputs; what is read is OUT.
pub const OUTCLR: Register<u32> = bits("OUTCLR", 0x50c).volatile(0xffff_ffff).side_effect();
/// Levels of the pins.
const IN: Register<u32> = bits("IN", 0x510).volatile(0xffff_ffff).read_only();
/// Directions: a one is an output.
pub const DIR: Register<u32> = bits("DIR", 0x514).kept(0xffff_ffff);
/// Ones that make pins outputs; what is read is DIR.
pub const DIRSET: Register<u32> = bits("DIRSET", 0x518).volatile(0xffff_ffff).side_effect();
/// Ones that make pins inputs; what is read is DIR.
pub const DIRCLR: Register<u32> = bits("DIRCLR", 0x51c).volatile(0xffff_ffff).side_effect();
/// The configuration of pin 0.
const PIN_CNF: Register<u32> =
    Register::new("PIN_CNF", 0x700).section("14.2.8").reset(2).kept(0x0003_070e).volatile(1);

/// PIN_CNF: it is an output; its input is disconnected; how it is pulled; how it is driven.
pub const CNF_OUTPUT: u32 = 1 << 0;
/// Input buffer disconnected.
pub const CNF_NO_INPUT: u32 = 1 << 1;
/// Pull-down.
pub const CNF_PULL_DOWN: u32 = 1 << 2;
/// Pull-up.
pub const CNF_PULL_UP: u32 = 3 << 2;
/// Where DRIVE begins.
pub const CNF_DRIVE: u32 = 8;

/// The registers but the configurations.
const TABLE: &[&dyn AnyRegister] = &[&OUT, &OUTSET, &OUTCLR, &IN, &DIR, &DIRSET, &DIRCLR];
const PINS: u64 = 32;

/// The pins.
pub struct Port {
    registers: Rc<Mmio>,
    outside: Outside,
}

impl Port {
    /// Its registers.
    pub fn registers(&self) -> &dyn Registers {
        &*self.registers
    }

    /// Configures a pin.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    pub fn configure(&self, pin: u32, configuration: u32) -> Result<()> {
        self.registers().set(PIN_CNF.nth(pin.into(), 4), configuration)
    }

    /// How a pin is configured.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    pub fn configuration(&self, pin: u32) -> Result<u32> {
        self.registers().get(PIN_CNF.nth(pin.into(), 4))
    }
}

impl Gpio for Port {
    fn profile(&self) -> Profile {
        Profile {
            pins: 0xffff_ffff,
            // Those are GPIOTE's.
            triggers: &[],
            latches_masked: false,
            reads_pads: true,
            asserts_after_reset: None,
        }
    }

    fn set_outputs(&self, pins: u32) -> Result<()> {
        (0..32).try_for_each(|pin| self.configure(pin, pins >> pin & CNF_OUTPUT))
    }

    fn outputs(&self) -> Result<u32> {
        self.registers().get(DIR)
    }

    fn write(&self, levels: u32) -> Result<()> {
        self.registers().set(OUT, levels)
    }

    fn write_masked(&self, pins: u32, levels: u32) -> Result<Option<()>> {
        self.registers().set(OUTSET, pins & levels)?;
        self.registers().set(OUTCLR, pins & !levels).map(Some)
    }

    fn read(&self) -> Result<u32> {
        self.registers().get(IN)
    }

    fn set_trigger(&self, _: u32, _: Trigger) -> Result<()> {
        Ok(())
    }

    fn enable(&self, _: u32) -> Result<()> {
        Ok(())
    }

    fn pending(&self) -> Result<u32> {
        Ok(0)
    }

    fn clear(&self, _: u32) -> Result<()> {
        Ok(())
    }

    fn interrupt(&self, _: u32) -> Result<Option<InterruptLine>> {
        Ok(None)
    }

    fn outside(&self) -> &Outside {
        &self.outside
    }
}

/// QEMU's `nrf51_soc.gpio`.
pub struct Nrf51Gpio {
    /// The pins.
    pub port: Rc<Port>,
}

impl Produces<Ports> for Nrf51Gpio {
    fn produced(self: Rc<Self>) -> Rc<Ports> {
        Ports::one(&self.port)
    }
}

impl Produces<RegisterBlock> for Nrf51Gpio {
    fn produced(self: Rc<Self>) -> Rc<RegisterBlock> {
        let block = RegisterBlock::new("nRF51 RM", self.port.registers.clone(), TABLE);
        Rc::new(block.with_array(&PIN_CNF.side_effect(), PINS, 4))
    }
}

impl Discovered for Nrf51Gpio {
    const QOM_TYPES: &'static [&'static str] = &["nrf51_soc.gpio"];

    fn drives(device: &FoundDevice) -> bool {
        device.is_mapped_one_of(Self::QOM_TYPES)
    }

    fn found(device: &FoundDevice, vm: &Rc<Vm>) -> Result<Self> {
        let registers = Rc::new(Mmio::new(vm, device.base()?, vm.endian()?));
        Ok(Self { port: Rc::new(Port { registers, outside: Outside::new(vm, device) }) })
    }
}

driver!(Nrf51Gpio = "nrf51.gpio"; produces Ports, RegisterBlock);
discovered!(Nrf51Gpio);
