//! The four kinds of node and the three kinds of edge, as traits that content implements.

use std::rc::Rc;

use super::args::QemuArgs;
use crate::Result;
use crate::qemu::{RamSpec, Vm};

/// What a path can arrive at: a machine, a driver, or an interface (a `dyn Trait`).
pub trait Node: 'static {
    /// The names of the nodes this type stands for. A family of devices that differ in
    /// little more than their name (`i82550`, `i82551`, …) is one type with several
    /// names: one node a name. Names are QEMU's where QEMU has one.
    const NAMES: &'static [&'static str];
}

/// Where on a path a node is being built.
pub struct Place<'a> {
    /// The running QEMU.
    pub vm: &'a Rc<Vm>,
    /// The name of the node being built, one of [`Node::NAMES`].
    pub node: &'static str,
    /// The variant of the edge that led here, empty for the plain one.
    pub variant: &'static str,
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
}

impl Setup {
    /// A machine that needs nothing but its RAM.
    pub const fn bare(ram: RamSpec) -> Self {
        Self { properties: "", options: "", defaults: false, ram }
    }

    /// The same with machine properties.
    pub const fn properties(self, properties: &'static str) -> Self {
        Self { properties, ..self }
    }

    /// The same with QEMU's default devices.
    pub const fn with_defaults(self) -> Self {
        Self { defaults: true, ..self }
    }

    /// The same with further options.
    pub const fn options(self, options: &'static str) -> Self {
        Self { options, ..self }
    }
}

/// A machine boots; what it returns is where every path begins. Its names are
/// `ARCH/MACHINE`: the target of the emulator and the machine type.
pub trait Machine: Node + Sized {
    /// The command line that the machine needs.
    const SETUP: Setup;

    /// Takes possession of the machine in `place.vm`, which has just started.
    fn boot(place: &Place) -> Result<Self>;
}

/// One further device of a kind that `M` contains: its name, which stands behind the
/// node's in the path, and how it is found.
pub type Further<M, D> = (&'static str, fn(&M) -> Result<D>);

/// `Self --contains--> D`: D is soldered on, no command line is needed to have it.
pub trait Contains<D: Node>: Node {
    /// Further edges of the same kind, for a machine that has several such devices.
    const MORE: &'static [Further<Self, D>] = &[];

    /// The contained device.
    fn contained(&self) -> Result<D>;
}

/// `Self --produces--> I`: Self can be used through the interface I.
pub trait Produces<I: ?Sized + Node>: Node {
    /// Self, seen as the interface.
    fn produced(self: Rc<Self>) -> Rc<I>;
}

/// One further way to plug a device in, a path of its own: its name becomes part of the
/// path's name.
#[derive(Debug, Clone, Copy)]
pub struct Variant {
    /// What stands behind the node's name in the path: `virtio-blk-pci:modern`.
    pub name: &'static str,
    /// The arguments instead of those of the plain edge.
    pub args: QemuArgs,
}

/// `Self --consumes--> I`: Self is plugged into I by the arguments that `ARGS` adds.
pub trait Consumes<I: ?Sized + Node>: Node + Sized {
    /// What the plain edge adds to the command line.
    const ARGS: QemuArgs = QemuArgs::DEVICE;
    /// Further edges with arguments of their own.
    const MORE: &'static [Variant] = &[];

    /// Finds the device, which QEMU has created, behind `to`.
    fn attach(to: Rc<I>, place: &Place) -> Result<Self>;
}
