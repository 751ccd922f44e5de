//! Edges that come from a running machine: a driver declares by which QOM types it is
//! recognised and how it is made from what was found, and every match is a *contains* edge.
//!
//! Nothing is written per board. A machine that nobody declared is a node all the same. Such
//! edges hold for the emulator whose machine was asked, and for no other.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::ops::Deref;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};

use super::args::QemuArgs;
use super::decl::Object;
use super::model::{Boot, Edge, EdgeKind, Kind, Model, Offer, Step};
use super::node::{Node, Plug};
use super::plugged::{Anywhere, Sockets};
use crate::qemu::Vm;
use crate::qemu::discovery::{Description, Found, FoundBus};
use crate::{Error, Result};

/// What one emulator says of one machine.
#[derive(Clone)]
pub struct Discovery {
    /// The emulator's program.
    pub emulator: PathBuf,
    /// The node of the machine, `ARCH/MACHINE`.
    pub machine: String,
    /// What the machine has.
    pub description: Arc<Description>,
}

/// A device that was found on a machine.
#[derive(Clone)]
pub struct FoundDevice {
    machine: Arc<Description>,
    number: usize,
}

impl FoundDevice {
    /// All of the machine.
    pub fn machine(&self) -> &Description {
        &self.machine
    }

    /// Whether its QOM type is `ty` or derived from it.
    pub fn is_a(&self, ty: &str) -> bool {
        *self.ty == *ty || self.machine.types.is_a(&self.ty, ty)
    }

    /// Whether it is one of these types, or derived from one, and the first CPU sees registers of
    /// it in memory. Others that a machine has are covered, or seen by other CPUs alone.
    pub fn is_mapped_one_of(&self, types: &[&str]) -> bool {
        types.iter().any(|ty| self.is_a(ty)) && self.base().is_ok()
    }

    /// The device that it is a part of, if it is a part of one.
    pub fn parent(&self) -> Option<Self> {
        let (parent, _) = self.path.rsplit_once('/')?;
        let devices = &self.machine.devices;
        let number = devices.binary_search_by(|device| device.path.as_str().cmp(parent)).ok()?;
        Some(Self { machine: self.machine.clone(), number })
    }

    /// The address of its first block of registers in memory.
    ///
    /// # Errors
    /// As [`unreachable`](Self::unreachable) says, if it has none.
    pub fn base(&self) -> Result<u64> {
        let region = self.registers().next();
        region.map(|region| region.base).ok_or_else(|| self.unreachable())
    }

    /// What to say of a device without registers in memory: the path is skipped. On a machine with
    /// several systems, or with memory that only secure software sees, its registers are in
    /// another memory than that which qtest reads.
    pub fn unreachable(&self) -> Error {
        Error::skipped(format!("{} has no registers in the memory that qtest reads", self.path))
    }

    /// The value of its property `name`, if it has one of that name that is a number.
    pub fn number(&self, name: &str) -> Option<u64> {
        let property = self.properties.iter().find(|property| *property.name == *name)?;
        property.value.as_ref()?.parse().ok()
    }

    /// Where a device is plugged into the first bus that it offers.
    pub fn first_bus(&self) -> Plug {
        self.buses.first().map_or(Plug::CLOSED, |bus| self.plug_into(bus))
    }

    /// Where a device is plugged into one of its buses: by the bus's name, if no other bus of the
    /// machine is called so. Where several are, QEMU plugs a device whose bus is not named into
    /// that of the device that was made last, which is taken to be the one with the highest
    /// address; the others are closed.
    pub fn plug_into(&self, bus: &FoundBus) -> Plug {
        if self.machine.bus_is_unique(&bus.name) {
            return Plug::new(intern(&bus.name), "");
        }
        let own = self.base().unwrap_or(0);
        let alike = self.machine.devices.iter().filter(|other| other.ty == self.ty);
        let mut bases = alike.flat_map(|other| other.registers().map(|region| region.base));
        if bases.any(|base| base > own) { Plug::CLOSED } else { Plug::NONE }
    }

    /// What tells it from others: the last part of its QOM path, or, where that is a mere
    /// number, its address.
    pub fn short_name(&self) -> String {
        let last = self.last_part();
        match self.base() {
            Ok(base) if last.starts_with("device[") => format!("{base:#x}"),
            _ => last.replace(['[', ']'], ""),
        }
    }
}

impl Deref for FoundDevice {
    type Target = Found;

    fn deref(&self) -> &Found {
        &self.machine.devices[self.number]
    }
}

/// A driver that is recognised on machines that describe themselves.
pub trait Discovered: Node + Sized {
    /// The QOM types that it drives, and with them those derived from them.
    const QOM_TYPES: &'static [&'static str];
    /// Whether it knows nothing of the devices that it drives. That such a driver reaches a
    /// device does not mean that a suite of the device's own does.
    const GENERIC: bool = false;
    /// What the edge to the device adds to the command line of its machine.
    const ARGS: QemuArgs = QemuArgs::NONE;

    /// Whether it drives this device.
    fn drives(device: &FoundDevice) -> bool {
        Self::QOM_TYPES.iter().any(|ty| device.is_a(ty))
    }

    /// What the edge to this device is called, which its QOM path tells from others by `name`.
    fn instance_name(_: &FoundDevice, name: String) -> String {
        name
    }

    /// Where what the device offers takes further devices.
    fn plug(_: &FoundDevice) -> Plug {
        Plug::NONE
    }

    /// The driver of this device.
    ///
    /// # Errors
    /// Returns an error if the device is not as the driver needs it, or
    /// [`Error::Skipped`](crate::Error::Skipped) if this QEMU cannot show it.
    fn found(device: &FoundDevice, vm: &Rc<Vm>) -> Result<Self>;
}

/// A driver of every machine that describes itself, as a whole.
pub trait DiscoveredMachine: Node + Sized {
    /// What the edge to it adds to the command line of the machine.
    const ARGS: QemuArgs = QemuArgs::NONE;

    /// The driver of the machine that says this of itself.
    ///
    /// # Errors
    /// Returns an error if the machine is not as the driver needs it, or
    /// [`Error::Skipped`](crate::Error::Skipped) if this QEMU cannot show it.
    fn found(machine: &Arc<Description>, vm: &Rc<Vm>) -> Result<Self>;
}

/// A driver that is recognised, declared by [`discovered!`](crate::discovered) or
/// [`discovered_machine!`](crate::discovered_machine).
pub struct DiscoveryDecl {
    pub(super) to: &'static [&'static str],
    pub(super) args: QemuArgs,
    pub(super) is_generic: bool,
    pub(super) drives: Drives,
}

/// What a driver that is recognised drives.
pub(super) enum Drives {
    /// Some devices.
    Devices {
        drives: fn(&FoundDevice) -> bool,
        name: fn(&FoundDevice, String) -> String,
        plug: fn(&FoundDevice) -> Plug,
        found: fn(&FoundDevice, &Rc<Vm>) -> Result<Object>,
    },
    /// Every machine.
    Machines(fn(&Arc<Description>, &Rc<Vm>) -> Result<Object>),
    /// All device types of a bus.
    Types(Sockets),
    /// All device types of some kinds of buses.
    Anywhere(Anywhere),
}

inventory::collect!(DiscoveryDecl);

impl DiscoveryDecl {
    /// The declaration of the driver `D`.
    pub const fn of<D: Discovered>() -> Self {
        let drives = Drives::Devices {
            drives: D::drives,
            name: D::instance_name,
            plug: D::plug,
            found: |device, vm| Ok(Object::new(Rc::new(D::found(device, vm)?))),
        };
        Self { to: D::NAMES, args: D::ARGS, is_generic: D::GENERIC, drives }
    }

    /// The declaration of the driver `D` of every machine.
    pub const fn of_machines<D: DiscoveredMachine>() -> Self {
        let found = |machine: &_, vm: &_| Ok(Object::new(Rc::new(D::found(machine, vm)?)));
        let drives = Drives::Machines(found);
        Self { to: D::NAMES, args: D::ARGS, is_generic: true, drives }
    }

    /// The devices of a machine that it drives; none if it drives the machine as a whole.
    pub(super) fn driven(&self, of: &Arc<Description>) -> impl Iterator<Item = FoundDevice> + '_ {
        let machine = of.clone();
        let device = move |number| FoundDevice { machine: machine.clone(), number };
        let is_driven = |device: &FoundDevice| match self.drives {
            Drives::Devices { drives, .. } => drives(device),
            Drives::Machines(_) | Drives::Types(_) | Drives::Anywhere(_) => false,
        };
        (0..of.devices.len()).map(device).filter(is_driven)
    }
}

/// Declares that a driver is recognised on machines that describe themselves:
/// `discovered!(ImxI2c);`.
#[macro_export]
macro_rules! discovered {
    ($t:ty) => {
        $crate::inventory::submit! { $crate::graph::DiscoveryDecl::of::<$t>() }
    };
}

/// Declares that a driver drives every machine that describes itself:
/// `discovered_machine!(AnyMachine);`.
#[macro_export]
macro_rules! discovered_machine {
    ($t:ty) => {
        $crate::inventory::submit! { $crate::graph::DiscoveryDecl::of_machines::<$t>() }
    };
}

/// How a path finds what a discovered edge leads to.
#[derive(Clone)]
pub(super) enum Find {
    /// A device.
    Device(FoundDevice, fn(&FoundDevice, &Rc<Vm>) -> Result<Object>),
    /// The whole machine.
    Machine(Arc<Description>, fn(&Arc<Description>, &Rc<Vm>) -> Result<Object>),
}

impl Find {
    /// The QOM type of the device; none for a machine.
    pub(super) fn device_type(&self) -> Option<&str> {
        match self {
            Self::Device(device, _) => Some(&device.ty),
            Self::Machine(..) => None,
        }
    }

    pub(super) fn follow(&self, vm: &Rc<Vm>) -> Result<Object> {
        match self {
            Self::Device(device, found) => found(device, vm),
            Self::Machine(machine, found) => found(machine, vm),
        }
    }
}

/// `text`, kept for as long as the program runs; equal texts are kept once. Names of what is
/// discovered live as long as those that are declared.
pub(super) fn intern(text: &str) -> &'static str {
    static NAMES: Mutex<Option<HashSet<&'static str>>> = Mutex::new(None);
    let mut names = NAMES.lock().unwrap_or_else(PoisonError::into_inner);
    let names = names.get_or_insert_default();
    match names.get(text) {
        Some(name) => name,
        None => {
            let name: &'static str = text.to_owned().leak();
            names.insert(name);
            name
        }
    }
}

impl Model {
    /// Adds what these drivers recognise on machines that described themselves. Where a
    /// machine is declared to contain a driver, its declaration holds and nothing is added.
    pub fn discover(&mut self, discoveries: &[Discovery]) {
        let drivers: Vec<_> = inventory::iter::<DiscoveryDecl>.into_iter().collect();
        self.discover_by(discoveries, &drivers);
    }

    pub(super) fn discover_by(
        &mut self,
        discoveries: &[Discovery],
        drivers: &[&'static DiscoveryDecl],
    ) {
        for discovery in discoveries {
            let machine = intern(&discovery.machine);
            if self.find(machine).is_none_or(|entry| entry.kind == Kind::Undeclared) {
                self.declare(machine, Kind::Machine).boot = Some(Boot::Discovered);
            }
            let node = self.index[machine];
            let described = self.described.entry(node).or_default();
            described.insert(discovery.emulator.clone(), discovery.description.clone());
            for driver in drivers {
                for &to in driver.to {
                    if !self.contains(machine, to) {
                        self.add_found(discovery, machine, to, driver);
                    }
                }
            }
        }
        self.plug_in(discoveries, drivers);
        self.sort();
    }

    /// Whether the machine is declared to contain the driver.
    fn contains(&self, machine: &str, driver: &str) -> bool {
        let (Some(&machine), Some(&driver)) = (self.index.get(machine), self.index.get(driver))
        else {
            return false;
        };
        let mut edges = self.graph.edges_connecting(machine, driver);
        edges.any(|edge| edge.weight().emulator.is_none())
    }

    fn add_found(
        &mut self,
        discovery: &Discovery,
        machine: &'static str,
        to: &'static str,
        driver: &'static DiscoveryDecl,
    ) {
        let description = &discovery.description;
        let mut add = |name, plug, find| {
            let offer = Offer { name, args: driver.args, plug, ..Offer::NOTHING };
            let (kind, step) = (EdgeKind::Contains, Step::Find(find));
            let emulator = Some(discovery.emulator.clone());
            self.connect(machine, to, Edge { kind, offer, step, emulator });
        };
        match driver.drives {
            Drives::Devices { name, plug, found, .. } => {
                for (name, device) in named(driver.driven(description), name) {
                    add(name, plug(&device), Find::Device(device, found));
                }
            }
            Drives::Machines(found) => {
                add("", Plug::NONE, Find::Machine(description.clone(), found));
            }
            Drives::Types(_) | Drives::Anywhere(_) => {}
        }
    }
}

/// Gives each device a name that no other has. `name` makes it of what tells the device from
/// others.
fn named(
    devices: impl Iterator<Item = FoundDevice>,
    name: fn(&FoundDevice, String) -> String,
) -> Vec<(&'static str, FoundDevice)> {
    let devices: Vec<_> = devices.collect();
    let short = |device: &FoundDevice| name(device, device.short_name());
    let mut times = BTreeMap::<String, usize>::new();
    for device in &devices {
        *times.entry(short(device)).or_default() += 1;
    }
    let mut taken = BTreeSet::new();
    let unique = |device: FoundDevice| {
        let mut own = short(&device);
        if times.get(&own).is_some_and(|times| *times > 1) {
            // The whole path is its own.
            let path = device.path.trim_start_matches("/machine/");
            own = name(&device, path.replace(['[', ']'], ""));
        }
        let own = own.replace('/', ".");
        let mut candidate = own.clone();
        let mut number = 2;
        while !taken.insert(candidate.clone()) {
            candidate = format!("{own}-{number}");
            number += 1;
        }
        (intern(&candidate), device)
    };
    devices.into_iter().map(unique).collect()
}
