//! A machine as a whole, whichever it is: what every machine has, and nothing else.

use std::rc::Rc;
use std::sync::Arc;

use super::mmio_device::ARGS;
use crate::graph::{DiscoveredMachine, QemuArgs};
use crate::qemu::Vm;
use crate::qemu::discovery::Description;
use crate::{Result, discovered_machine, driver};

/// Any machine.
pub struct AnyMachine {
    description: Arc<Description>,
}

impl AnyMachine {
    /// What the machine says of itself.
    pub fn description(&self) -> &Description {
        &self.description
    }
}

impl DiscoveredMachine for AnyMachine {
    const ARGS: QemuArgs = ARGS;

    fn found(description: &Arc<Description>, _: &Rc<Vm>) -> Result<Self> {
        Ok(Self { description: description.clone() })
    }
}

driver!(AnyMachine = "machine");
discovered_machine!(AnyMachine);

/// Any machine as it is when it has just been started: no other path shares its command line,
/// and so none has run on its QEMU before.
pub struct FirstBoot {
    description: Arc<Description>,
}

impl FirstBoot {
    /// What the machine says of itself.
    pub fn description(&self) -> &Description {
        &self.description
    }
}

impl DiscoveredMachine for FirstBoot {
    const ARGS: QemuArgs = ARGS.after("-name first-boot");

    fn found(description: &Arc<Description>, _: &Rc<Vm>) -> Result<Self> {
        Ok(Self { description: description.clone() })
    }
}

driver!(FirstBoot = "first-boot");
discovered_machine!(FirstBoot);
