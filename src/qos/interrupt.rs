//! Interrupt lines as the interrupt controller sees them, watched through qtest.

use std::rc::Rc;

use crate::Result;
use crate::qemu::Vm;

/// One input of the machine's interrupt controller, watched.
pub struct InterruptLine {
    vm: Rc<Vm>,
    input: u32,
}

impl InterruptLine {
    /// From now on, watches input number `input`, which must be low, of the controller that
    /// is at `path` in QEMU's object model.
    ///
    /// # Errors
    /// There is no such controller, or another's lines are watched already.
    pub fn watch(vm: &Rc<Vm>, path: &str, input: u32) -> Result<Self> {
        vm.qtest().irq_intercept_in(path)?;
        Ok(Self { vm: vm.clone(), input })
    }

    /// How often it was raised and lowered since it is watched.
    ///
    /// # Errors
    /// QEMU does not answer.
    pub fn edges(&self) -> Result<(u64, u64)> {
        let qtest = self.vm.qtest();
        qtest.poll_irqs()?;
        Ok((qtest.irq_raised(self.input), qtest.irq_lowered(self.input)))
    }

    /// Whether it is high.
    ///
    /// # Errors
    /// QEMU does not answer.
    pub fn is_high(&self) -> Result<bool> {
        self.vm.qtest().poll_irqs()?;
        Ok(self.vm.qtest().irq_level(self.input))
    }
}
