//! Interrupt lines as the interrupt controller sees them, watched through qtest.

use std::rc::Rc;

use crate::Result;
use crate::graph::FoundDevice;
use crate::qemu::Vm;
use crate::qemu::discovery::Found;

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

/// Where an interrupt line ends: the QOM path of a device and the number of its input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pin {
    /// The device.
    pub path: String,
    /// The input.
    pub input: u32,
}

impl Pin {
    /// Where the interrupt line `number` of a device on the system bus ends, if that is one of
    /// the unnamed inputs of a device, which are those that QEMU can watch.
    pub fn of(device: &FoundDevice, number: u32) -> Option<Self> {
        Self::of_found(device, device, number)
    }

    /// The same of the device with the QOM path `path` on the machine of `device`.
    pub fn at(device: &FoundDevice, path: &str, number: u32) -> Option<Self> {
        Self::of_found(device, device.machine().device(path)?, number)
    }

    fn of_found(on: &FoundDevice, device: &Found, number: u32) -> Option<Self> {
        let end = on.machine().interrupt(device, number)?;
        let (to, name, input) = on.machine().input(&end)?;
        // A device that passes its inputs on to the one that it is a part of, as the interrupt
        // controller of a Cortex-M does, has none any more that can be watched. The other has
        // links to them, which look like outputs. A system on a chip may have links of that name
        // to the inputs of another part.
        let owner = to.path.rsplit_once('/').and_then(|(owner, _)| on.machine().device(owner));
        let passes = |owner: &&Found| {
            let mut links = owner.outputs.iter().filter(|it| *it.name == *name);
            links.any(|it| it.connected.iter().any(|(_, to)| **to == *end))
        };
        let to = owner.filter(passes).unwrap_or(to);
        (name == "unnamed-gpio-in").then(|| Self { path: to.path.to_string(), input })
    }

    /// Watches it from now on.
    ///
    /// # Errors
    /// Returns an error if there is no such device, or another's lines are watched already.
    pub fn watch(&self, vm: &Rc<Vm>) -> Result<InterruptLine> {
        InterruptLine::watch(vm, &self.path, self.input)
    }
}
