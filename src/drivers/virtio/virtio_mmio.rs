//! A board's slots for virtio devices in memory.

use std::rc::Rc;

use crate::driver;
use crate::graph::Produces;
use crate::qemu::Vm;
use crate::qos::virtio::{Slots, VirtioBus};

/// The option that makes slots those of version 2.
pub const MODERN: &str = "-global virtio-mmio.force-legacy=false";

/// The slots of a machine.
pub struct VirtioMmio {
    vm: Rc<Vm>,
    slots: Slots,
}

impl VirtioMmio {
    /// The slots that `slots` says this machine has.
    pub fn new(vm: &Rc<Vm>, slots: Slots) -> Self {
        Self { vm: vm.clone(), slots }
    }
}

impl Produces<VirtioBus> for VirtioMmio {
    fn produced(self: Rc<Self>) -> Rc<VirtioBus> {
        Rc::new(VirtioBus::new(&self.vm, self.slots))
    }
}

driver!(VirtioMmio = "virtio-mmio"; produces VirtioBus);
