//! General-purpose inputs and outputs: what a port of pins does, whichever chip it is, and the
//! world outside of its pins.

use std::rc::Rc;

use super::interrupt::InterruptLine;
use crate::graph::FoundDevice;
use crate::qemu::Vm;
use crate::{Result, interface};

/// What has a pin interrupt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trigger {
    /// It gets high.
    Rising,
    /// It gets low.
    Falling,
    /// It changes.
    Both,
    /// It is high.
    High,
    /// It is low.
    Low,
}

/// All of them.
pub const TRIGGERS: [Trigger; 5] =
    [Trigger::Rising, Trigger::Falling, Trigger::Both, Trigger::High, Trigger::Low];

/// What a port is known to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Profile {
    /// Its pins, a bit each.
    pub pins: u32,
    /// What can have a pin interrupt.
    pub triggers: &'static [Trigger],
    /// Whether what is read of an output is its pin, so that its level is not defined where
    /// something outside drives it as well.
    pub reads_pads: bool,
    /// The fault of this QEMU by which an interrupt stays asserted after a reset of the machine, if
    /// it has that fault.
    pub asserts_after_reset: Option<&'static str>,
}

/// A port of up to 32 pins, a bit each in all that is read and written.
pub trait Gpio {
    /// What it is known to be.
    fn profile(&self) -> Profile;

    /// Makes these pins outputs and all others inputs.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    fn set_outputs(&self, pins: u32) -> Result<()>;

    /// Which pins are outputs.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    fn outputs(&self) -> Result<u32>;

    /// Sets all pins that are outputs.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    fn write(&self, levels: u32) -> Result<()>;

    /// Sets those of `pins` and no others in one access; `None` if the chip has none for that.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    fn write_masked(&self, pins: u32, levels: u32) -> Result<Option<()>>;

    /// The level of all pins, inputs and outputs.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    fn read(&self) -> Result<u32>;

    /// Has the pin number `pin` interrupt so.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    fn set_trigger(&self, pin: u32, trigger: Trigger) -> Result<()>;

    /// Lets the interrupts of these pins out and those of no others.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    fn enable(&self, pins: u32) -> Result<()>;

    /// Pins whose interrupt is pending, masked or not.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer, or if the status before and behind the mask
    /// contradict each other.
    fn pending(&self) -> Result<u32>;

    /// Clears the interrupts of these pins.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    fn clear(&self, pins: u32) -> Result<()>;

    /// The interrupt line of pin number `pin`, watched from now on; `None` if QEMU cannot watch it.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer, or the lines of another interrupt controller are
    /// watched already.
    fn interrupt(&self, pin: u32) -> Result<Option<InterruptLine>>;

    /// What is outside of its pins.
    fn outside(&self) -> &Outside;
}

interface!(dyn Gpio = "gpio");

/// What is outside of the pins of a port: qtest drives its inputs and watches its outputs.
pub struct Outside {
    vm: Rc<Vm>,
    path: String,
}

impl Outside {
    /// That of a device whose pins are its lines without a name.
    pub fn new(vm: &Rc<Vm>, device: &FoundDevice) -> Self {
        Self { vm: vm.clone(), path: device.path.to_string() }
    }

    /// Drives the pin number `pin`.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    pub fn drive(&self, pin: u32, is_high: bool) -> Result<()> {
        let qtest = self.vm.qtest();
        Ok(qtest.set_irq_in(&self.path, "unnamed-gpio-in", pin, is_high.into())?)
    }

    /// Lets go of the pin number `pin`, which is driven by nothing outside from now on.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    pub fn release(&self, pin: u32) -> Result<()> {
        // So QEMU's models of pins say it.
        Ok(self.vm.qtest().set_irq_in(&self.path, "unnamed-gpio-in", pin, -1)?)
    }

    /// Watches the outputs from now on. The interrupt line cannot be watched after that.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer, or other lines are watched already.
    pub fn watch(&self) -> Result<()> {
        Ok(self.vm.qtest().irq_intercept_out(&self.path)?)
    }

    /// How often the output number `pin` was raised and lowered since the outputs are watched, and
    /// whether it is high, if it has changed since.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    pub fn seen(&self, pin: u32) -> Result<(u64, u64, bool)> {
        let qtest = self.vm.qtest();
        qtest.poll_irqs()?;
        Ok((qtest.irq_raised(pin), qtest.irq_lowered(pin), qtest.irq_level(pin)))
    }
}
