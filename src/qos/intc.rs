//! Interrupt controllers: what one does with its inputs, whichever chip it is, and the world that
//! drives the inputs.

use std::rc::Rc;

use super::interrupt::InterruptLine;
use crate::graph::FoundDevice;
use crate::qemu::Vm;
use crate::{Result, interface};

/// What of an input makes its interrupt pending.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trigger {
    /// It rises; the interrupt stays pending until it is acknowledged or cleared.
    Edge,
    /// It is high, for as long as it is.
    Level,
}

/// What a controller is known to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    /// The inputs that a test may drive, the most urgent of those of one priority first.
    pub inputs: Vec<u32>,
    /// What can trigger them.
    pub triggers: &'static [Trigger],
    /// How many priorities can be told apart; 1 if the number of the input alone decides.
    pub ranks: u32,
    /// Whether software takes interrupts from it; false if only a CPU that runs does.
    pub acknowledges: bool,
    /// Whether it holds back those that are not more urgent than the one that is served.
    pub nests: bool,
}

/// An interrupt controller, as the first CPU sees it.
pub trait InterruptController {
    /// What it is known to be.
    fn profile(&self) -> Profile;

    /// What is outside of its inputs.
    fn outside(&self) -> &Inputs;

    /// Makes it ready: it passes interrupts on, all are disabled and of one priority, none is
    /// pending or served. All inputs are low.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer, or a skip if the controller shows qtest none.
    fn make_ready(&self) -> Result<()>;

    /// Chooses what triggers an input; false if it cannot have that.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    fn set_trigger(&self, input: u32, trigger: Trigger) -> Result<bool>;

    /// Gives an input a priority: 0, the most urgent, to [`Profile::ranks`] less one.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer, or the controller does not keep it.
    fn set_rank(&self, input: u32, rank: u32) -> Result<()>;

    /// Lets the interrupt of an input through, or not.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    fn enable(&self, input: u32, is_enabled: bool) -> Result<()>;

    /// All inputs whose interrupt is pending, enabled or not, in ascending order.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    fn pending(&self) -> Result<Vec<u32>>;

    /// Has no interrupt of an input pending any more, unless its level has it; false if software
    /// cannot do that.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    fn clear(&self, input: u32) -> Result<bool>;

    /// The input that would be acknowledged next, or none of them; the outer `None` if the
    /// controller does not tell it without acknowledging.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    fn next(&self) -> Result<Option<Option<u32>>>;

    /// Takes the most urgent interrupt: its input, if there is any. It is served from then on.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    fn acknowledge(&self) -> Result<Option<u32>>;

    /// Ends the service of the interrupt of an input, which was acknowledged last.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    fn end(&self, input: u32) -> Result<()>;

    /// The line to the CPU, which is low, watched from now on; `None` if QEMU cannot watch it.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer, or other lines are watched already.
    fn output(&self) -> Result<Option<InterruptLine>>;
}

interface!(dyn InterruptController = "interrupt-controller");

/// What is outside of the inputs of a controller: qtest drives them, for the devices that are
/// wired to them keep quiet.
pub struct Inputs {
    vm: Rc<Vm>,
    /// Devices with inputs without a name, and the number of the first of each.
    chips: Vec<(String, u32)>,
}

impl Inputs {
    /// Those of a device whose lines without a name they are.
    pub fn new(vm: &Rc<Vm>, device: &FoundDevice) -> Self {
        Self::at(vm, vec![(device.path.to_string(), 0)])
    }

    /// Those of several devices, by their QOM paths, each with the number of its first input.
    pub fn at(vm: &Rc<Vm>, chips: Vec<(String, u32)>) -> Self {
        Self { vm: vm.clone(), chips }
    }

    /// Drives the input number `input`.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer, or has no such input.
    pub fn drive(&self, input: u32, is_high: bool) -> Result<()> {
        let chip = self.chips.iter().rev().find(|(_, first)| *first <= input);
        let Some((path, first)) = chip else {
            return Err(crate::Error::failed(format!("the controller has no input {input}")));
        };
        let (qtest, number) = (self.vm.qtest(), input - first);
        Ok(qtest.set_irq_in(path, "unnamed-gpio-in", number, is_high.into())?)
    }
}
