//! Edges to device types that a user can plug in, which an emulator says of itself: one driver
//! that knows none of them takes every type of its bus, an edge each.
//!
//! Such edges hold for the emulator that was asked, and for no other.

use std::collections::HashSet;
use std::ops::Deref;
use std::rc::Rc;
use std::sync::Arc;

use super::args::{Addition, QemuArgs};
use super::decl::Object;
use super::discovered::{Discovery, DiscoveryDecl, Drives, intern};
use super::model::{Edge, EdgeKind, Model, Offer, Step};
use super::node::{Node, Plug, Site};
use crate::qemu::Image;
use crate::qemu::discovery::{Description, Pluggable};
use crate::{Error, Result};

/// A device type that a user of one emulator can plug in.
#[derive(Clone)]
pub struct DeviceType {
    emulator: Arc<Description>,
    number: usize,
}

impl DeviceType {
    /// Whether a user of the emulator can plug in devices of the type `ty`.
    pub fn is_beside(&self, ty: &str) -> bool {
        self.emulator.pluggable.binary_search_by(|device| device.ty.as_str().cmp(ty)).is_ok()
    }
}

impl Deref for DeviceType {
    type Target = Pluggable;

    fn deref(&self) -> &Pluggable {
        &self.emulator.pluggable[self.number]
    }
}

/// What the edge to a device type adds to the command line. As in [`QemuArgs`], options are
/// separated by blanks, properties by commas, and `{bus}`, `{addr}` and images stand for what
/// the path has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PlugArgs {
    /// Options before `-device`.
    pub before: String,
    /// Properties of the device.
    pub properties: String,
    /// Options after it.
    pub after: String,
    /// Images that the options name.
    pub images: &'static [Image],
}

impl PlugArgs {
    fn kept(self, ty: &str) -> QemuArgs {
        let added = Addition::NONE.before(intern(&self.before)).after(intern(&self.after));
        let args = QemuArgs::named(intern(ty), intern(&self.properties));
        args.add(added).images(self.images)
    }
}

/// A driver that takes every device type of a bus, and knows none of them.
///
/// QEMU may refuse to start with such a device, as when it wants hardware of the host. That is
/// no failure if QEMU says why: the path is skipped then.
pub trait PluggedIn: Node + Sized {
    /// The node that the devices are plugged into.
    type Bus: ?Sized + Node;
    /// QEMU's word for the kind of bus, such as `PCI`.
    const BUS: &'static str;

    /// What a device of this type needs on the command line.
    ///
    /// # Errors
    /// Returns why no such device is plugged in: its paths are skipped for that reason.
    fn args(device: &DeviceType) -> Result<PlugArgs, &'static str>;

    /// The driver of a device of this type that the path has plugged in.
    ///
    /// # Errors
    /// Returns an error if the device is not as the driver needs it, or
    /// [`Error::Skipped`](crate::Error::Skipped) if the driver does not apply to it.
    fn attach(bus: Rc<Self::Bus>, site: &Site, device: &DeviceType) -> Result<Self>;
}

/// A kind of bus that some machines have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BusKind {
    /// QEMU's word for it, which is the QOM type of such buses as well.
    pub word: &'static str,
    /// A device with such a bus, for machines that have none, and the bus that it goes on; empty
    /// if there is no such device.
    pub carrier: (&'static str, &'static str),
}

/// A driver that takes every device type of some kinds of buses on some machines, and knows none
/// of them: nobody drives these buses. QEMU finds the bus itself, and may refuse to start as for
/// [`PluggedIn`].
pub trait PluggedAnywhere: Node + Sized {
    /// The machine types, without their architecture, whose buses are used.
    const MACHINES: &'static [&'static str];
    /// The kinds of buses.
    const BUSES: &'static [BusKind];

    /// What a device of this type needs on the command line, where `carrier` is a device whose
    /// bus it goes on, if the machine has none.
    ///
    /// # Errors
    /// The reason why a device of this type cannot be plugged in.
    fn args(device: &DeviceType, carrier: Option<&str>) -> Result<PlugArgs, &'static str>;

    /// The driver of a device of this type that the path has plugged in.
    ///
    /// # Errors
    /// Returns an error if the device is not there, or is not as it should be.
    fn attach(site: &Site, device: &DeviceType) -> Result<Self>;
}

/// Declares that a driver takes every device type of some kinds of buses:
/// `plugged_anywhere!(BusDevice);`.
#[macro_export]
macro_rules! plugged_anywhere {
    ($t:ty) => {
        $crate::inventory::submit! { $crate::graph::DiscoveryDecl::of_plugged_anywhere::<$t>() }
    };
}

/// Declares that a driver takes every device type of its bus: `plugged_in!(PciCard);`.
#[macro_export]
macro_rules! plugged_in {
    ($t:ty) => {
        $crate::inventory::submit! { $crate::graph::DiscoveryDecl::of_plugged_in::<$t>() }
    };
}

/// How a path comes to a device of a type that was discovered.
pub(super) type Attach = fn(&Object, &Site, &DeviceType) -> Result<Object>;

/// A driver of all device types of a bus, its type erased.
#[derive(Clone, Copy)]
pub(super) struct Sockets {
    /// The nodes that the devices are plugged into.
    pub from: &'static [&'static str],
    bus: &'static str,
    args: fn(&DeviceType) -> Result<PlugArgs, &'static str>,
    attach: Attach,
}

/// A driver of all device types of some kinds of buses, its type erased.
#[derive(Clone, Copy)]
pub(super) struct Anywhere {
    machines: &'static [&'static str],
    buses: &'static [BusKind],
    args: fn(&DeviceType, Option<&str>) -> Result<PlugArgs, &'static str>,
    attach: Attach,
}

/// A device of a type that was discovered, as a path comes to it.
#[derive(Clone)]
pub(super) struct PluggedType {
    attach: Attach,
    device: DeviceType,
    /// Why no such device is plugged in, if none is.
    left_out: Option<&'static str>,
}

impl PluggedType {
    /// The driver of the device.
    pub(super) fn follow(&self, at: &Object, site: &Site) -> Result<Object> {
        match self.left_out {
            Some(why) => Err(Error::skipped(format!("{}: {why}", self.device.ty))),
            None => (self.attach)(at, site, &self.device),
        }
    }
}

impl DiscoveryDecl {
    /// The declaration of the driver `D` of all device types of a bus.
    pub const fn of_plugged_in<D: PluggedIn>() -> Self {
        let attach: Attach = |at, site, device| {
            Ok(Object::new(Rc::new(D::attach(at.get::<D::Bus>()?, site, device)?)))
        };
        let (from, bus, args) = (D::Bus::NAMES, D::BUS, D::args);
        let drives = Drives::Types(Sockets { from, bus, args, attach });
        Self { to: D::NAMES, args: QemuArgs::NONE, is_generic: true, drives }
    }
}

impl DiscoveryDecl {
    /// The declaration of the driver `D` of all device types of some kinds of buses.
    pub const fn of_plugged_anywhere<D: PluggedAnywhere>() -> Self {
        let attach: Attach = |_, site, device| Ok(Object::new(Rc::new(D::attach(site, device)?)));
        let (machines, buses, args) = (D::MACHINES, D::BUSES, D::args);
        let drives = Drives::Anywhere(Anywhere { machines, buses, args, attach });
        Self { to: D::NAMES, args: QemuArgs::NONE, is_generic: true, drives }
    }
}

impl Anywhere {
    /// The device types that can be plugged in on this machine.
    fn types(self, machine: &Arc<Description>) -> Vec<(Offer, PluggedType)> {
        if !self.machines.contains(&&*machine.machine) {
            return Vec::new();
        }
        let types = |machine: &Arc<Description>| -> Vec<DeviceType> {
            let emulator = machine.clone();
            let device = move |number| DeviceType { emulator: emulator.clone(), number };
            (0..machine.pluggable.len()).map(device).collect()
        };
        let has = |word: &str| {
            let mut buses = machine.devices.iter().flat_map(|device| &device.buses);
            buses.any(|bus| machine.types.is_a(&bus.ty, word))
        };
        let mut all = Vec::new();
        for device in types(machine) {
            let Some(kind) = self.buses.iter().find(|kind| device.bus == *kind.word) else {
                continue;
            };
            let (carrier, on) = kind.carrier;
            let name = carrier.split(',').next().unwrap_or_default();
            let carrier = match () {
                () if has(kind.word) => None,
                () if device.is_beside(name) && has(on) => Some(carrier),
                () => continue,
            };
            let made = (self.args)(&device, carrier);
            all.push(plugged(device, made, self.attach));
        }
        all
    }
}

/// What the edge to a device of this type offers, and how a path follows it.
fn plugged(
    device: DeviceType,
    made: Result<PlugArgs, &'static str>,
    attach: Attach,
) -> (Offer, PluggedType) {
    let name = intern(&device.ty);
    let (args, left_out) = match made {
        Ok(args) => (args.kept(name), None),
        Err(why) => (QemuArgs::NONE, Some(why)),
    };
    let offer = Offer { name, args, plug: Plug::CLOSED, ..Offer::NOTHING };
    (offer, PluggedType { attach, device, left_out })
}

impl Sockets {
    /// The device types of this bus that the emulator has which described a machine so.
    fn types(self, emulator: &Arc<Description>) -> impl Iterator<Item = (Offer, PluggedType)> {
        let emulator = emulator.clone();
        let numbers = 0..emulator.pluggable.len();
        let all = numbers.map(move |number| DeviceType { emulator: emulator.clone(), number });
        let of_bus = all.filter(move |device| device.bus == *self.bus);
        of_bus.map(move |device| {
            let made = (self.args)(&device);
            plugged(device, made, self.attach)
        })
    }
}

impl Model {
    /// Adds the edges to the device types that these emulators have, once for each emulator.
    pub(super) fn plug_in(
        &mut self,
        discoveries: &[Discovery],
        drivers: &[&'static DiscoveryDecl],
    ) {
        for discovery in discoveries {
            let machine = intern(&discovery.machine);
            for driver in drivers {
                let Drives::Anywhere(anywhere) = driver.drives else { continue };
                for (offer, plugged) in anywhere.types(&discovery.description) {
                    for &to in driver.to {
                        let (kind, step) = (EdgeKind::Contains, Step::Plug(plugged.clone()));
                        let emulator = Some(discovery.emulator.clone());
                        self.connect(machine, to, Edge { kind, offer, step, emulator });
                    }
                }
            }
        }
        let mut seen = HashSet::new();
        let first = |it: &&Discovery| seen.insert(it.emulator.clone());
        for Discovery { emulator, description, .. } in discoveries.iter().filter(first) {
            for driver in drivers {
                let Drives::Types(sockets) = driver.drives else { continue };
                for (offer, plugged) in sockets.types(description) {
                    for (&from, &to) in sockets
                        .from
                        .iter()
                        .flat_map(|from| driver.to.iter().map(move |to| (from, to)))
                    {
                        let (kind, step) = (EdgeKind::ConsumedBy, Step::Plug(plugged.clone()));
                        let emulator = Some(emulator.clone());
                        self.connect(from, to, Edge { kind, offer, step, emulator });
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::Endian;
    use crate::qemu::Version;

    fn emulator(types: &[(&str, &str)]) -> Arc<Description> {
        let of = |&(ty, bus): &(&str, &str)| Pluggable {
            ty: ty.into(),
            bus: bus.into(),
            takes: Vec::new(),
        };
        Arc::new(Description {
            machine: "m".into(),
            endian: Endian::Little,
            ram: None,
            devices: Vec::new(),
            others: Vec::new(),
            types: Arc::default(),
            pluggable: Arc::new(types.iter().map(of).collect()),
        })
    }

    /// Would catch a device of another bus that is plugged in, one that gets other options than
    /// its driver says, and one that is left out without its reason.
    #[test]
    fn types_of_a_bus_become_edges() {
        let args = |device: &DeviceType| match &*device.ty {
            "a" => Err("it wants a server"),
            _ if device.is_beside("c") => {
                let properties = "id=x,addr={addr}".to_owned();
                Ok(PlugArgs { before: "-z".to_owned(), properties, ..PlugArgs::default() })
            }
            _ => Err("no c"),
        };
        let attach: Attach = |_, _, _| Ok(Object::none());
        let sockets = Sockets { from: &["bus"], bus: "PCI", args, attach };
        let all = emulator(&[("a", "PCI"), ("b", "PCI"), ("c", "ISA")]);
        let edges: Vec<_> = sockets.types(&all).collect();
        let names: Vec<_> = edges.iter().map(|(offer, _)| offer.name).collect();
        assert_eq!(names, ["a", "b"]);
        assert_eq!(edges[0].1.left_out, Some("it wants a server"));
        assert_eq!(edges[0].0.args.device_name("node"), None);
        let words = edges[1].0.args.words(
            "node",
            &Addition::NONE,
            Plug::new("", "04.0"),
            Version::new(7, 2, 0),
        );
        assert_eq!(words, ["-z", "-device", "b,id=x,addr=04.0"]);
        assert_eq!(edges[1].1.left_out, None);
    }
}
