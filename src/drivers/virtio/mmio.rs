//! A board's slots for virtio devices in memory, and a device of any kind in one.

use std::marker::PhantomData;
use std::rc::Rc;

use crate::graph::{Addition, Consumes, Node, Produces, QemuArgs, Site, Variant};
use crate::qemu::Vm;
use crate::qos::virtio::{Kind, Slot, Slots, Virtio, VirtioBus};
use crate::{Result, driver};

/// The option that makes slots those of version 2.
const MODERN: &str = "-global virtio-mmio.force-legacy=false";

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

/// The device of the kind `K` with its properties.
const fn plain_args<K: Kind>() -> QemuArgs {
    match K::IN_SLOT {
        Some(name) => QemuArgs::named(name, K::PROPERTIES),
        None => QemuArgs::device(K::PROPERTIES),
    }
}

/// A device of the kind `K` in a slot.
pub struct InSlot<K> {
    virtio: Virtio,
    slot: Rc<Slot>,
    kind: PhantomData<K>,
}

impl<K: Kind> InSlot<K> {
    /// In a slot of version 2, with a split ring.
    const SPLIT: Variant =
        Variant { name: "modern", add: Addition::properties(&[K::MODERN]).after(MODERN) };
    /// In a slot of version 2, with packed rings.
    const PACKED: Variant = Variant {
        name: "packed",
        add: Addition::properties(&[K::MODERN, "packed=on"]).after(MODERN),
    };

    /// The slot it is in.
    pub fn slot(&self) -> &Slot {
        &self.slot
    }

    /// The device as the tests of its kind use it.
    pub fn interface(&self) -> K::Interface {
        K::interface(self.virtio.clone())
    }
}

impl<K: Kind> Consumes<VirtioBus> for InSlot<K>
where
    Self: Node,
{
    const ARGS: QemuArgs =
        plain_args::<K>().before(K::BACKEND).after(K::BEHIND).images(K::IMAGES).sockets(K::SOCKETS);
    const VARIANTS: &'static [Variant] = match K::OWN {
        None => &[Self::SPLIT, Self::PACKED],
        Some(own) => &[Self::SPLIT, Self::PACKED, own],
    };

    fn attach(bus: Rc<VirtioBus>, site: &Site) -> Result<Self> {
        let slot = bus.find(K::DEVICE_TYPE)?;
        let virtio = Virtio::of_kind::<K>(site.vm, slot.clone())?;
        Ok(Self { virtio, slot, kind: PhantomData })
    }
}

impl<K: Kind> Produces<Virtio> for InSlot<K>
where
    Self: Node,
{
    fn produced(self: Rc<Self>) -> Rc<Virtio> {
        Rc::new(self.virtio.clone())
    }
}
