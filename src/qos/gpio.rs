//! General-purpose inputs and outputs: what a port of pins does, whichever chip it is, and the
//! world outside of its pins.

use std::rc::Rc;

use serde_json::json;

use super::interrupt::InterruptLine;
use crate::graph::FoundDevice;
use crate::qemu::{Version, Vm};
use crate::{Error, Result, interface};

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
    /// What can have a pin interrupt; empty if the port has no interrupts.
    pub triggers: &'static [Trigger],
    /// Whether an interrupt that is masked becomes pending nonetheless.
    pub latches_masked: bool,
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

/// The ports of one device.
pub struct Ports(pub Vec<Rc<dyn Gpio>>);

interface!(Ports = "gpio");

impl Ports {
    /// Those of a device that has one.
    pub fn one(port: &Rc<impl Gpio + 'static>) -> Rc<Self> {
        Rc::new(Self(vec![port.clone()]))
    }
}

/// QEMU's name for inputs without one.
const UNNAMED: &str = "unnamed-gpio-in";

/// How QEMU has the pins of a port driven from outside.
pub enum Inputs {
    /// By the device's input lines without a name, pin 0 by the line of this number.
    Lines(u32),
    /// By a property of the device for each pin; `None` where there is no pin.
    Properties(Vec<Option<String>>),
    /// Not at all: this model has no inputs.
    None,
}

/// How QEMU has a pin let go that was driven from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Release {
    /// By the level -1 of the input line.
    Level,
    /// By this property of the device, which takes a mask of pins.
    Property(&'static str),
    /// Not at all.
    None,
}

/// The lines of the device by which QEMU tells the levels of outputs.
pub enum Outputs {
    /// Those without a name, pin 0 by the line of this number.
    Lines(u32),
    /// Interrupt lines of a device on the system bus, a number for each pin that has one.
    Interrupts(Vec<Option<u32>>),
}

/// What is outside of the pins of a port: qtest drives its inputs and watches its outputs.
pub struct Outside {
    vm: Rc<Vm>,
    path: String,
    inputs: Inputs,
    release: Release,
    outputs: Outputs,
}

impl Outside {
    /// That of a device whose pins are its lines without a name, let go by a level of -1.
    pub fn new(vm: &Rc<Vm>, device: &FoundDevice) -> Self {
        Self::with(vm, device, Inputs::Lines(0), Release::Level, Outputs::Lines(0))
    }

    /// That of a device whose pins are otherwise.
    pub fn with(
        vm: &Rc<Vm>,
        device: &FoundDevice,
        inputs: Inputs,
        release: Release,
        outputs: Outputs,
    ) -> Self {
        // A device may pass its lines on to the system on a chip that it is a part of, which has
        // links to them then.
        let first = format!("{}/{UNNAMED}[0]", device.path);
        let is_passed = |parent: &FoundDevice| {
            let links = parent.outputs.iter().filter(|it| &*it.name == UNNAMED);
            links.flat_map(|it| &it.connected).any(|(_, to)| **to == *first)
        };
        let path =
            device.parent().filter(is_passed).map_or(device.path.clone(), |it| it.path.clone());
        let path = path.to_string();
        Self { vm: vm.clone(), path, inputs, release, outputs }
    }

    /// Whether the pins can be driven.
    pub fn can_drive(&self) -> bool {
        !matches!(self.inputs, Inputs::None)
    }

    /// Drives the pin number `pin`.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer; skipped if this model has no inputs.
    pub fn drive(&self, pin: u32, is_high: bool) -> Result<()> {
        match &self.inputs {
            Inputs::Lines(first) => {
                let qtest = self.vm.qtest();
                let level = is_high.into();
                Ok(qtest.set_irq_in(&self.path, UNNAMED, first + pin, level)?)
            }
            Inputs::Properties(names) => match names.get(pin as usize) {
                Some(Some(name)) => self.set(name, &json!(is_high)),
                _ => Err(Error::failed(format!("{} has no pin {pin} to drive", self.path))),
            },
            Inputs::None => Err(Error::skipped("QEMU's model of this port has no inputs")),
        }
    }

    /// Lets go of the pin number `pin`, which is driven by nothing outside from now on.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    pub fn release(&self, pin: u32) -> Result<()> {
        match (self.release, &self.inputs) {
            (Release::Level, Inputs::Lines(first)) => {
                let qtest = self.vm.qtest();
                Ok(qtest.set_irq_in(&self.path, UNNAMED, first + pin, -1)?)
            }
            (Release::Property(name), _) => self.set(name, &json!(1_u32 << pin)),
            _ => Ok(()),
        }
    }

    /// Sets a property of the device.
    fn set(&self, name: &str, value: &serde_json::Value) -> Result<()> {
        let arguments = json!({ "path": self.path, "property": name, "value": value });
        self.vm.qmp().execute("qom-set", arguments)?;
        Ok(())
    }

    /// Watches the outputs from now on. The interrupt line cannot be watched after that.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer, or other lines are watched already; skipped if
    /// this QEMU cannot watch lines that have a name.
    pub fn watch(&self) -> Result<()> {
        let qtest = self.vm.qtest();
        match self.outputs {
            Outputs::Lines(_) => Ok(qtest.irq_intercept_out(&self.path)?),
            Outputs::Interrupts(_) => {
                if self.vm.emulator().capabilities.version < Version::new(8, 2, 0) {
                    return Err(Error::skipped("QEMU before 8.2 cannot watch lines with a name"));
                }
                Ok(qtest.irq_intercept_out_named(&self.path, "sysbus-irq")?)
            }
        }
    }

    /// How often the output number `pin` was raised and lowered since the outputs are watched, and
    /// whether it is high, if it has changed since.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer, or if there is no such output.
    pub fn seen(&self, pin: u32) -> Result<(u64, u64, bool)> {
        let line = match &self.outputs {
            Outputs::Lines(first) => first + pin,
            Outputs::Interrupts(lines) => lines
                .get(pin as usize)
                .copied()
                .flatten()
                .ok_or_else(|| Error::failed(format!("{} has no output {pin}", self.path)))?,
        };
        let qtest = self.vm.qtest();
        qtest.poll_irqs()?;
        Ok((qtest.irq_raised(line), qtest.irq_lowered(line), qtest.irq_level(line)))
    }
}
