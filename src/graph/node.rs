//! The four kinds of node and the three kinds of edge, as traits that content implements.

use std::rc::Rc;

use super::args::{Addition, QemuArgs, When};
use super::family::Member;
use crate::qemu::{Config, RamSpec, Version, Vm};
use crate::{Error, Result};

/// What a path can arrive at: a machine, a driver, or an interface (a `dyn Trait`).
pub trait Node: 'static {
    /// The names of the nodes this type stands for. A family of devices that differ in
    /// little more than their name (`i82550`, `i82551`, …) is one type with several
    /// names: one node a name. Names are QEMU's where QEMU has one.
    const NAMES: &'static [&'static str];
    /// Nodes that are called by an alias that QEMU has for a device type: (node, type).
    /// QEMU's `-device` knows aliases; the list of the devices that a QEMU has does not.
    const ALIASES: &'static [(&'static str, &'static str)] = &[];
}

/// Where the next device on a path is plugged in, as QEMU's command line names it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Plug {
    /// The bus as `bus=` of `-device` takes it; empty where QEMU finds it.
    pub bus: &'static str,
    /// A free address on it in the bus's own notation (`04.0` on PCI), or the device's own.
    pub address: &'static str,
}

impl Plug {
    /// Neither bus nor address.
    pub const NONE: Self = Self { bus: "", address: "" };

    /// Nothing can be plugged in: QEMU's command line has no name for this bus, or takes no
    /// device there. No path goes on to a device that consumes what the edge leads to.
    pub const CLOSED: Self = Self { bus: "(closed)", address: "" };

    /// A bus and an address, either of which may be empty.
    pub const fn new(bus: &'static str, address: &'static str) -> Self {
        Self { bus, address }
    }

    /// Whether nothing can be plugged in.
    pub fn is_closed(self) -> bool {
        self.bus == Self::CLOSED.bus
    }

    /// What `other` has, and for the rest what this has.
    pub fn with(self, other: Self) -> Self {
        let choose = |a: &'static str, b: &'static str| if a.is_empty() { b } else { a };
        Self { bus: choose(other.bus, self.bus), address: choose(other.address, self.address) }
    }
}

/// The step of a path at which a node is being built.
pub struct Site<'a> {
    /// The running QEMU.
    pub vm: &'a Rc<Vm>,
    /// The name of the node being built, one of [`Node::NAMES`].
    pub node: &'static str,
    /// The variant of the edge that led here, empty for the plain one.
    pub variant: &'static str,
    /// Where the node is plugged in; the command line says the same.
    pub plug: Plug,
}

impl Site<'_> {
    /// The value of the member of a family that is being built.
    ///
    /// # Errors
    /// Returns [`Error::Failed`] if no member is called like the node.
    pub fn member<'m, T>(&self, members: &'m [Member<T>]) -> Result<&'m T> {
        let member = members.iter().find(|member| member.name == self.node);
        let value = member.map(|member| &member.value);
        value.ok_or_else(|| Error::failed(format!("no member of this family is {}", self.node)))
    }
}

/// What a machine needs on its command line besides `-machine NAME`.
#[derive(Debug, Clone, Copy)]
pub struct Setup {
    /// Machine properties, `secure=on,gic-version=3`; empty for none.
    pub properties: &'static str,
    /// Options of the machine's own, separated by blanks.
    pub options: &'static str,
    /// Whether it needs QEMU's default devices. Most run without (`-nodefaults`).
    pub defaults: bool,
    /// Where its RAM is, how much it gets, and which part of it tests may use.
    pub ram: RamSpec,
    /// Options and machine properties for some versions of QEMU only.
    pub when: &'static [When],
}

impl Setup {
    /// A machine that needs nothing but its RAM.
    pub const fn bare(ram: RamSpec) -> Self {
        Self { properties: "", options: "", defaults: false, ram, when: &[] }
    }

    /// What a QEMU of this version is asked to be by a machine of this type alone.
    pub(super) fn config(&self, machine: &str, version: Version) -> Config {
        let mut config = Config::new(machine, self.properties, self.ram);
        config.defaults = self.defaults;
        let mut options = vec![self.options];
        for piece in self.when.iter().filter_map(|when| when.piece(version)) {
            options.extend([piece.before, piece.after]);
            for group in piece.properties {
                if !config.properties.is_empty() {
                    config.properties.push(',');
                }
                config.properties.push_str(group);
            }
        }
        let words = options.iter().flat_map(|options| options.split_whitespace());
        config.options.extend(words.map(str::to_owned));
        config
    }

    /// This setup with machine properties.
    pub const fn properties(self, properties: &'static str) -> Self {
        Self { properties, ..self }
    }

    /// This setup with QEMU's default devices.
    pub const fn with_defaults(self) -> Self {
        Self { defaults: true, ..self }
    }

    /// This setup with properties of the machine and options that only some versions of QEMU get.
    pub const fn when(self, when: &'static [When]) -> Self {
        Self { when, ..self }
    }

    /// This setup with further options.
    pub const fn options(self, options: &'static str) -> Self {
        Self { options, ..self }
    }
}

/// A machine boots; what it returns is where every path begins. Its names are
/// `ARCH/MACHINE`: the target of the emulator and the machine type.
pub trait Machine: Node + Sized {
    /// The command line that the machine needs.
    const SETUP: Setup;

    /// Takes possession of the machine in `site.vm`, which has just started.
    fn boot(site: &Site) -> Result<Self>;
}

/// One device of a kind of which `M` contains several.
pub struct Instance<M, D> {
    /// Stands behind the node's name in the path: `generic-sdhci:sd1`.
    pub name: &'static str,
    /// Where what the device offers takes further devices.
    pub plug: Plug,
    /// Finds the device.
    pub find: fn(&M) -> Result<D>,
}

impl<M, D> Instance<M, D> {
    /// A further device that takes no others.
    pub const fn new(name: &'static str, find: fn(&M) -> Result<D>) -> Self {
        Self { name, plug: Plug::NONE, find }
    }

    /// This device with a bus of this name on QEMU's command line.
    pub const fn bus(self, bus: &'static str) -> Self {
        Self { plug: Plug { bus, ..self.plug }, ..self }
    }

    /// This device where nothing can be plugged in.
    pub const fn closed(self) -> Self {
        Self { plug: Plug::CLOSED, ..self }
    }

    /// This device with a free address for another.
    pub const fn address(self, address: &'static str) -> Self {
        Self { plug: Plug { address, ..self.plug }, ..self }
    }
}

/// `Self --contains--> D`: D is soldered on, no command line is needed to have it.
pub trait Contains<D: Node>: Node + Sized {
    /// Where what the plain device offers takes further devices.
    const PLUG: Plug = Plug::NONE;
    /// Further edges of the same kind, for a machine that has several such devices.
    const INSTANCES: &'static [Instance<Self, D>] = &[];

    /// The contained device.
    ///
    /// # Errors
    /// Returns an error if the machine does not have it where it should be.
    fn contained(&self) -> Result<D>;
}

/// `Self --produces--> I`: Self can be used through the interface I.
pub trait Produces<I: ?Sized + Node>: Node {
    /// Where the interface, if it is a bus, takes devices: what is not empty of it counts
    /// before what an edge to Self says.
    const PLUG: Plug = Plug::NONE;
    /// What the command line needs for Self to be used through the interface, such as the time
    /// at which a clock starts. No device is added.
    const ARGS: QemuArgs = QemuArgs::NONE;

    /// Self, seen as the interface.
    fn produced(self: Rc<Self>) -> Rc<I>;
}

/// One further way to plug a device in, a path of its own: its name becomes part of the
/// path's name.
#[derive(Debug, Clone, Copy)]
pub struct Variant {
    /// What stands behind the node's name in the path: `virtio-blk-pci:modern`.
    pub name: &'static str,
    /// What it adds to the arguments of the plain edge.
    pub add: Addition,
}

/// `Self --consumes--> I`: Self is plugged into I by the arguments that `ARGS` adds.
pub trait Consumes<I: ?Sized + Node>: Node + Sized {
    /// What the plain edge adds to the command line.
    const ARGS: QemuArgs = QemuArgs::DEVICE;
    /// Further edges, which add to the arguments of the plain one.
    const VARIANTS: &'static [Variant] = &[];

    /// Finds the device, which QEMU has created, behind `to`.
    ///
    /// # Errors
    /// Returns an error if the device is not there, or is not as it should be.
    fn attach(to: Rc<I>, site: &Site) -> Result<Self>;
}
