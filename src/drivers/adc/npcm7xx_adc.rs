//! The analog-to-digital converter of Nuvoton's NPCM7xx BMCs: ten bits, eight inputs, one conversion
//! at a time.
//!
//! Nuvoton publishes no data sheet. Registers and their bits are those of Linux's driver,
//! `drivers/iio/adc/npcm_adc.c`, which Nuvoton wrote. What that driver does not say is a value that
//! QEMU's model has: the state after a reset, the number of clocks, the calibration in the fuses,
//! and an internal reference of 2 V, where Linux has 2.048 V.

use std::rc::Rc;

use crate::graph::{Discovered, FoundDevice, Produces};
use crate::qemu::Vm;
use crate::qos::interrupt::{InterruptLine, Pin};
use crate::qos::qom::Peripheral;
use crate::qos::registers::{AnyRegister, Mmio, Register, RegisterBlock, Registers};
use crate::qos::timer::Tick;
use crate::{Result, discovered, driver};

/// Control and status. A reset selects the internal reference.
pub const CONTROL: Register<u32> = Register::new("ADCCON", 0x00)
    .section("Linux, npcm_adc.c")
    .reset(0x000c_0001)
    .kept((MUX_MASK | INTERRUPT_ENABLE | INTERNAL | ENABLE | DIVIDER_MASK) as u64)
    .acts((RESET | CONVERT) as u64)
    .w1c(INTERRUPT as u64)
    .reserved(0xf0d0_de01);
/// The result of the last conversion.
pub const DATA: Register<u32> =
    Register::new("ADCDATA", 0x04).section("Linux, npcm_adc.c").reset(0).read_only();
const TABLE: &[&dyn AnyRegister] = &[&CONTROL, &DATA];

/// Where the number of the input is.
pub const MUX: u32 = 24;
const MUX_MASK: u32 = 0xf << MUX;
/// ADC_INT_EN: the interrupt gets out.
pub const INTERRUPT_ENABLE: u32 = 1 << 21;
/// REFSEL: the reference is the internal one.
pub const INTERNAL: u32 = 1 << 19;
/// ADC_INT_ST: a conversion is over; a one clears.
pub const INTERRUPT: u32 = 1 << 18;
/// ADC_EN.
pub const ENABLE: u32 = 1 << 17;
/// ADC_RST.
pub const RESET: u32 = 1 << 16;
/// ADC_CONV: starts a conversion, and is cleared when it is over.
pub const CONVERT: u32 = 1 << 13;
/// Where ADC_DIV is; the clock is divided by twice its value and two.
pub const DIVIDER: u32 = 1;
const DIVIDER_MASK: u32 = 0xff << DIVIDER;

/// The clock after a reset: CLKSEL selects the reference of 25 MHz for the timers, and CLKDIV1 has it
/// divided by 32 for the converter.
pub const TICK: Tick = Tick::hertz(25_000_000 / 32);
/// How many clocks a conversion takes in QEMU's model.
pub const CONVERSION: u64 = 20;
/// How many inputs there are.
pub const INPUTS: u32 = 8;
/// The steps of a result.
pub const STEPS: u64 = 1024;
/// The internal reference of QEMU's model in microvolts.
pub const REFERENCE: u64 = 2_000_000;

/// QEMU's `npcm7xx-adc`.
pub struct Npcm7xxAdc {
    vm: Rc<Vm>,
    registers: Rc<Mmio>,
    pin: Option<Pin>,
    outside: Peripheral,
}

impl Npcm7xxAdc {
    /// Its registers.
    pub fn registers(&self) -> &dyn Registers {
        &*self.registers
    }

    /// Puts an input at so many microvolts.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer, or has no such input.
    pub fn set_input(&self, input: u32, microvolts: u64) -> Result<()> {
        self.outside.set(&format!("adci[{input}]"), microvolts.cast_signed())
    }

    /// Puts the external reference at so many microvolts.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    pub fn set_reference(&self, microvolts: u64) -> Result<()> {
        self.outside.set("vref", microvolts.cast_signed())
    }

    /// The interrupt line, watched from now on; `None` if QEMU cannot watch it.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    pub fn interrupt(&self) -> Result<Option<InterruptLine>> {
        self.pin.as_ref().map(|pin| pin.watch(&self.vm)).transpose()
    }
}

impl Produces<RegisterBlock> for Npcm7xxAdc {
    fn produced(self: Rc<Self>) -> Rc<RegisterBlock> {
        Rc::new(RegisterBlock::new("Linux's npcm_adc.c", self.registers.clone(), TABLE))
    }
}

impl Discovered for Npcm7xxAdc {
    const QOM_TYPES: &'static [&'static str] = &["npcm7xx-adc"];

    fn drives(device: &FoundDevice) -> bool {
        device.is_mapped_one_of(Self::QOM_TYPES)
    }

    fn found(device: &FoundDevice, vm: &Rc<Vm>) -> Result<Self> {
        let registers = Rc::new(Mmio::new(vm, device.base()?, vm.endian()?));
        let (pin, outside) = (Pin::of(device, 0), Peripheral::at(vm, &device.path));
        Ok(Self { vm: vm.clone(), registers, pin, outside })
    }
}

driver!(Npcm7xxAdc = "npcm7xx-adc"; produces RegisterBlock);
discovered!(Npcm7xxAdc);
