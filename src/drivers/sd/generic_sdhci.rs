//! An SD host controller in the memory of a board.

use std::rc::Rc;

use crate::driver;
use crate::graph::Produces;
use crate::protocol::Endian;
use crate::qemu::Vm;
use crate::qos::registers::{Mmio, Registers};
use crate::qos::sdhci::{Profile, Sdhci};

/// A memory-mapped controller.
pub struct GenericSdhci {
    registers: Mmio,
    profile: Profile,
}

impl GenericSdhci {
    /// The controller whose registers begin at `base`.
    pub fn new(vm: &Rc<Vm>, base: u64, profile: Profile) -> Self {
        Self { registers: Mmio::new(vm, base, Endian::Little), profile }
    }
}

impl Sdhci for GenericSdhci {
    fn registers(&self) -> &dyn Registers {
        &self.registers
    }

    fn profile(&self) -> Profile {
        self.profile
    }
}

impl Produces<dyn Sdhci> for GenericSdhci {
    fn produced(self: Rc<Self>) -> Rc<dyn Sdhci> {
        self
    }
}

driver!(GenericSdhci = "generic-sdhci"; produces dyn Sdhci);
