//! A virtio device of any kind as a PCI function.

use std::marker::PhantomData;
use std::rc::Rc;

use crate::Result;
use crate::graph::{Addition, Consumes, Node, Produces, QemuArgs, Site, Variant};
use crate::qos::pci::{PciBus, PciDevice, PciFunction};
use crate::qos::virtio::{Kind, Virtio, VirtioPci};

/// A device of the kind `K` on a PCI bus.
pub struct OverPci<K> {
    pci: VirtioPci,
    bus: Rc<dyn PciBus>,
    virtio: Virtio,
    kind: PhantomData<K>,
}

impl<K: Kind> OverPci<K> {
    /// Without a legacy interface, with a split ring.
    const SPLIT: Variant =
        Variant { name: "modern", add: Addition::properties(&["disable-legacy=on", K::MODERN]) };
    /// Without a legacy interface, with packed rings.
    const PACKED: Variant = Variant {
        name: "packed",
        add: Addition::properties(&["disable-legacy=on", K::MODERN, "packed=on"]),
    };
    /// With packed rings, of a device that never has a legacy interface.
    const NEW_PACKED: Variant =
        Variant { name: "packed", add: Addition::properties(&[K::MODERN, "packed=on"]) };

    /// The variant of the kind, if it has one, or else any.
    const OWN: Variant = match K::OWN {
        Some(own) => own,
        None => Self::NEW_PACKED,
    };

    /// The function.
    pub fn pci(&self) -> &VirtioPci {
        &self.pci
    }

    /// The bus it is on.
    pub fn bus(&self) -> &Rc<dyn PciBus> {
        &self.bus
    }

    /// The device as the tests of its kind use it.
    pub fn interface(&self) -> K::Interface {
        K::interface(self.virtio.clone())
    }
}

impl<K: Kind> Consumes<dyn PciBus> for OverPci<K>
where
    Self: Node,
{
    const ARGS: QemuArgs = QemuArgs::device(K::PROPERTIES)
        .add(Addition::properties(&["bus={bus},addr={addr}"]).before(K::BACKEND).after(K::BEHIND))
        .images(K::IMAGES)
        .sockets(K::SOCKETS)
        .may_refuse(K::REFUSALS)
        .on_root_only(K::ON_ROOT_ONLY);
    const VARIANTS: &'static [Variant] = match (K::IS_TRANSITIONAL, K::OWN.is_some()) {
        (true, false) => &[Self::SPLIT, Self::PACKED],
        (true, true) => &[Self::SPLIT, Self::PACKED, Self::OWN],
        (false, false) => &[Self::NEW_PACKED],
        (false, true) => &[Self::NEW_PACKED, Self::OWN],
    };

    fn attach(bus: Rc<dyn PciBus>, site: &Site) -> Result<Self> {
        let pci = VirtioPci::new(PciDevice::plugged(&bus, site)?, site.vm)?;
        let virtio = Virtio::of_kind::<K>(site.vm, pci.transport().clone())?;
        Ok(Self { pci, bus, virtio, kind: PhantomData })
    }
}

impl<K: Kind> Produces<Virtio> for OverPci<K>
where
    Self: Node,
{
    fn produced(self: Rc<Self>) -> Rc<Virtio> {
        Rc::new(self.virtio.clone())
    }
}

impl<K: Kind> Produces<PciFunction> for OverPci<K>
where
    Self: Node,
{
    fn produced(self: Rc<Self>) -> Rc<PciFunction> {
        let device = self.pci.device().clone();
        Rc::new(PciFunction { device, identity: None, mapped: Vec::new() })
    }
}

/// Declares the nodes of a kind, one for each transport, which all produce its interface:
/// `virtio_kind!(Blk as VirtioBlk: pci "virtio-blk-pci", mmio "virtio-blk-device");`. A kind whose
/// devices QEMU has as PCI functions only names no other.
macro_rules! virtio_kind {
    ($kind:ty as $interface:ty: pci $pci:literal) => {
        impl $crate::graph::Produces<$interface> for $crate::drivers::virtio::pci::OverPci<$kind> {
            fn produced(self: std::rc::Rc<Self>) -> std::rc::Rc<$interface> {
                std::rc::Rc::new(self.interface())
            }
        }
        $crate::driver!(
            $crate::drivers::virtio::pci::OverPci<$kind> = $pci;
            consumes dyn $crate::qos::pci::PciBus;
            produces $interface, $crate::qos::virtio::Virtio, $crate::qos::pci::PciFunction
        );
    };
    ($kind:ty as $interface:ty: pci $pci:literal, mmio $mmio:literal) => {
        $crate::drivers::virtio::pci::virtio_kind!($kind as $interface: pci $pci);
        impl $crate::graph::Produces<$interface> for $crate::drivers::virtio::mmio::InSlot<$kind> {
            fn produced(self: std::rc::Rc<Self>) -> std::rc::Rc<$interface> {
                std::rc::Rc::new(self.interface())
            }
        }
        $crate::driver!(
            $crate::drivers::virtio::mmio::InSlot<$kind> = $mmio;
            consumes $crate::qos::virtio::VirtioBus;
            produces $interface, $crate::qos::virtio::Virtio
        );
    };
}
pub(crate) use virtio_kind;
