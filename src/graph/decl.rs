//! Declarations: what content says of itself, collected at link time by `inventory`.
//!
//! The macros are all that content uses. They turn trait implementations into
//! declarations with the types erased; only this file casts back, and a cast cannot fail
//! in a sound graph, since an edge is declared by the very types that it casts to.

use std::any::Any;
use std::rc::Rc;

use super::args::{Addition, QemuArgs};
use super::model::{EdgeKind, Offer};
use super::node::{Consumes, Contains, Machine, Node, Produces, Setup, Site};
use crate::qemu::Vm;
use crate::{Error, Result};

/// What a path has arrived at: an `Rc<T>` of some `T: Node`, its type erased. Only the
/// graph sees this; content sees `Rc<T>`.
pub struct Object(Box<dyn Any>);

impl Object {
    pub(super) fn new<T: ?Sized + Node>(node: Rc<T>) -> Self {
        Self(Box::new(node))
    }

    /// What a path begins with at a machine that nobody declared: edges that were discovered
    /// need nothing of it.
    pub(super) fn none() -> Self {
        Self(Box::new(()))
    }

    /// The node behind the erased type. Used by the macros.
    ///
    /// # Errors
    /// It is of another type: two declarations share the name of a node.
    #[doc(hidden)]
    pub fn get<T: ?Sized + Node>(&self) -> Result<Rc<T>> {
        self.0.downcast_ref::<Rc<T>>().cloned().ok_or_else(|| {
            Error::failed(format!(
                "what the path has come to is no {}: two nodes have the same name; \
                 `qgraph check` says which",
                std::any::type_name::<T>()
            ))
        })
    }
}

/// A machine, declared by [`machine!`](crate::machine).
pub struct MachineDecl {
    /// `ARCH/MACHINE`, one node each.
    pub names: &'static [&'static str],
    /// What its command line needs.
    pub setup: Setup,
    /// Its type, with the modules in which that is.
    pub type_name: fn() -> &'static str,
    /// Makes the object at which a path begins.
    pub boot: fn(&Site) -> Result<Object>,
}

/// A driver or an interface, declared by [`driver!`](crate::driver) or
/// [`interface!`](crate::interface).
pub struct NodeDecl {
    /// Its names, one node each.
    pub names: &'static [&'static str],
    /// Which of them are aliases of a device type: (node, type).
    pub aliases: &'static [(&'static str, &'static str)],
    /// Whether it is an interface.
    pub interface: bool,
    /// The interface as which a path counts it, where that is another.
    pub counts_as: Option<&'static str>,
    /// The module it stands in; that begins with the crate.
    pub module: &'static str,
}

/// An edge, with all its variants.
pub struct EdgeDecl {
    /// The names of the nodes it leaves; an edge from each.
    pub from: &'static [&'static str],
    /// The names of the nodes it leads to; an edge to each.
    pub to: &'static [&'static str],
    /// Which of the three kinds it is.
    pub kind: EdgeKind,
    /// The plain edge first, then the named ones.
    pub offers: fn() -> Vec<Offer>,
    /// Goes along it; the number says which of `offers`.
    pub follow: fn(&Object, &Site, usize) -> Result<Object>,
}

/// A test, declared by [`tests!`](crate::tests!) or [`attacks!`](crate::attacks!).
pub struct TestDecl {
    /// `SUITE/CASE`.
    pub name: &'static str,
    /// The nodes it is run on.
    pub of: &'static [&'static str],
    /// What it adds to the command line.
    pub args: QemuArgs,
    /// The source file it stands in.
    pub file: &'static str,
    /// The module it stands in; that begins with the crate.
    pub module: &'static str,
    /// Whether its driver errs: QEMU must survive that, and what the test finds does not matter.
    pub errs: bool,
    /// Runs it.
    pub run: fn(&Object, &Rc<Vm>) -> Result<()>,
}

inventory::collect!(MachineDecl);
inventory::collect!(NodeDecl);
inventory::collect!(EdgeDecl);
inventory::collect!(TestDecl);

impl MachineDecl {
    /// The declaration of the machine `M`.
    pub const fn of<M: Machine>() -> Self {
        Self {
            names: M::NAMES,
            setup: M::SETUP,
            type_name: std::any::type_name::<M>,
            boot: |site| Ok(Object::new(Rc::new(M::boot(site)?))),
        }
    }
}

impl EdgeDecl {
    /// The declaration of `M --contains--> D`.
    pub const fn contains<M: Contains<D>, D: Node>() -> Self {
        Self {
            from: M::NAMES,
            to: D::NAMES,
            kind: EdgeKind::Contains,
            offers: || {
                let named = M::INSTANCES.iter().map(|it| (it.name, it.plug));
                let all = std::iter::once(("", M::PLUG)).chain(named);
                all.map(|(name, plug)| Offer { name, plug, ..Offer::NOTHING }).collect()
            },
            follow: |at, _, offer| {
                let machine = at.get::<M>()?;
                let device = match offer.checked_sub(1) {
                    None => machine.contained()?,
                    Some(further) => (M::INSTANCES[further].find)(&machine)?,
                };
                Ok(Object::new(Rc::new(device)))
            },
        }
    }

    /// The declaration of `D --produces--> I`.
    pub const fn produces<D: ?Sized + Produces<I>, I: ?Sized + Node>() -> Self {
        Self {
            from: D::NAMES,
            to: I::NAMES,
            kind: EdgeKind::Produces,
            offers: || vec![Offer { plug: D::PLUG, args: D::ARGS, ..Offer::NOTHING }],
            follow: |at, _, _| Ok(Object::new(at.get::<D>()?.produced())),
        }
    }

    /// The declaration of `D --consumes--> I`; the edge leads from `I` to `D`.
    pub const fn consumes<D: Consumes<I>, I: ?Sized + Node>() -> Self {
        Self {
            from: I::NAMES,
            to: D::NAMES,
            kind: EdgeKind::ConsumedBy,
            offers: || {
                let named = D::VARIANTS.iter().map(|variant| (variant.name, variant.add));
                let all = std::iter::once(("", Addition::NONE)).chain(named);
                let offer =
                    |(name, variant)| Offer { name, variant, args: D::ARGS, ..Offer::NOTHING };
                all.map(offer).collect()
            },
            follow: |at, site, _| Ok(Object::new(Rc::new(D::attach(at.get::<I>()?, site)?))),
        }
    }
}

/// All that a graph is made of.
pub struct Declarations {
    /// The machines.
    pub machines: Vec<&'static MachineDecl>,
    /// The drivers and interfaces.
    pub nodes: Vec<&'static NodeDecl>,
    /// The edges.
    pub edges: Vec<&'static EdgeDecl>,
    /// The tests.
    pub tests: Vec<&'static TestDecl>,
}

impl Declarations {
    /// Whether any of it stands in another crate than qgraph itself.
    pub fn has_others(&self) -> bool {
        let own = |module: &str| module.split("::").next() == Some(env!("CARGO_CRATE_NAME"));
        let mut nodes = self.nodes.iter().map(|it| it.module);
        let mut tests = self.tests.iter().map(|it| it.module);
        let mut machines = self.machines.iter().map(|it| (it.type_name)());
        !(nodes.all(own) && tests.all(own) && machines.all(own))
    }

    /// Everything that was registered in this program, from whichever crate.
    pub fn registered() -> Self {
        Self {
            machines: inventory::iter::<MachineDecl>.into_iter().collect(),
            nodes: inventory::iter::<NodeDecl>.into_iter().collect(),
            edges: inventory::iter::<EdgeDecl>.into_iter().collect(),
            tests: inventory::iter::<TestDecl>.into_iter().collect(),
        }
    }
}

/// Declares an interface: `interface!(dyn Sdhci = "sdhci");`. One that is a special form of
/// another names it, so that a path that is bounded in the other is bounded in both:
/// `interface!(PcieBus = "pcie-bus"; counts as dyn PciBus);`. After `; produces` stands what
/// every implementor can be used through besides.
#[macro_export]
macro_rules! interface {
    ($t:ty = $name:literal; counts as $other:ty) => {
        impl $crate::graph::Node for $t {
            const NAMES: &'static [&'static str] = &[$name];
        }
        $crate::inventory::submit! {
            $crate::graph::NodeDecl {
                names: <$t as $crate::graph::Node>::NAMES,
                aliases: &[],
                interface: true,
                counts_as: Some(<$other as $crate::graph::Node>::NAMES[0]),
                module: module_path!(),
            }
        }
    };
    ($t:ty = $($name:literal),+ $(; produces $($p:ty),+)? $(;)? $(,)?) => {
        impl $crate::graph::Node for $t {
            const NAMES: &'static [&'static str] = &[$($name),+];
        }
        $crate::inventory::submit! {
            $crate::graph::NodeDecl {
                names: <$t as $crate::graph::Node>::NAMES,
                aliases: <$t as $crate::graph::Node>::ALIASES,
                interface: true,
                counts_as: None,
                module: module_path!(),
            }
        }
        $($($crate::inventory::submit! { $crate::graph::EdgeDecl::produces::<$t, $p>() })+)?
    };
}

/// Declares a machine: its names, what its command line needs, what it contains and what it
/// can be used through.
///
/// ```
/// use qgraph::Result;
/// use qgraph::drivers::rtc::mc146818rtc::Mc146818;
/// use qgraph::graph::{Contains, Setup};
/// use qgraph::qemu::{MIB, RamSpec};
///
/// qgraph::machine! {
///     /// A PC of which only the clock is of interest.
///     pub struct Clock = "x86_64/isapc";
///     setup Setup::bare(RamSpec::new(0, 16 * MIB));
///     contains Mc146818
/// }
///
/// impl Contains<Mc146818> for Clock {
///     fn contained(&self) -> Result<Mc146818> {
///         Ok(Mc146818::of_pc(self.vm()))
///     }
/// }
/// ```
///
/// A type that is there already and implements [`Machine`](crate::graph::Machine) itself, for
/// it holds more than the running QEMU, is declared without `struct` and `setup`:
/// `machine!(Board = "arm/board"; contains Uart);`.
#[macro_export]
macro_rules! machine {
    ($(#[$doc:meta])* $vis:vis struct $t:ident = $($name:literal),+; setup $setup:expr
     $(; contains $($d:ty),+)? $(; produces $($p:ty),+)? $(;)?) => {
        $(#[$doc])*
        $vis struct $t {
            vm: ::std::rc::Rc<$crate::qemu::Vm>,
        }

        impl $t {
            /// The running QEMU.
            pub fn vm(&self) -> &::std::rc::Rc<$crate::qemu::Vm> {
                &self.vm
            }
        }

        impl $crate::graph::Machine for $t {
            const SETUP: $crate::graph::Setup = $setup;

            fn boot(site: &$crate::graph::Site) -> $crate::Result<Self> {
                Ok(Self { vm: site.vm.clone() })
            }
        }

        $crate::machine!($t = $($name),+ $(; contains $($d),+)? $(; produces $($p),+)?);
    };
    ($t:ty = $($name:literal),+ $(; contains $($d:ty),+)? $(; produces $($p:ty),+)? $(;)?) => {
        impl $crate::graph::Node for $t {
            const NAMES: &'static [&'static str] = &[$($name),+];
        }
        $crate::inventory::submit! { $crate::graph::MachineDecl::of::<$t>() }
        $($($crate::inventory::submit! { $crate::graph::EdgeDecl::contains::<$t, $d>() })+)?
        $($($crate::inventory::submit! { $crate::graph::EdgeDecl::produces::<$t, $p>() })+)?
    };
}

/// Declares a driver, its names, and its edges:
/// `driver!(SdhciPci = "sdhci-pci"; consumes dyn PciBus; produces dyn Sdhci);`. A family takes
/// its names from its table of [`Member`](crate::graph::Member)s:
/// `driver!(E1000 as MEMBERS; consumes dyn PciBus);`.
#[macro_export]
macro_rules! driver {
    ($t:ty = $($name:literal),+ $(; $($edges:tt)*)?) => {
        impl $crate::graph::Node for $t {
            const NAMES: &'static [&'static str] = &[$($name),+];
        }
        $crate::driver_edges!($t $(; $($edges)*)?);
    };
    ($t:ty as $members:ident $(; $($edges:tt)*)?) => {
        impl $crate::graph::Node for $t {
            const NAMES: &'static [&'static str] = &$crate::graph::names(&$members);
            const ALIASES: &'static [(&'static str, &'static str)] =
                &$crate::graph::aliases(&$members);
        }
        $crate::driver_edges!($t $(; $($edges)*)?);
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! driver_edges {
    ($t:ty $(; contains $($d:ty),+)? $(; consumes $($c:ty),+)? $(; produces $($p:ty),+)? $(;)?) => {
        $crate::inventory::submit! {
            $crate::graph::NodeDecl {
                names: <$t as $crate::graph::Node>::NAMES,
                aliases: <$t as $crate::graph::Node>::ALIASES,
                interface: false,
                counts_as: None,
                module: module_path!(),
            }
        }
        $($($crate::inventory::submit! { $crate::graph::EdgeDecl::contains::<$t, $d>() })+)?
        $($($crate::inventory::submit! { $crate::graph::EdgeDecl::consumes::<$t, $c>() })+)?
        $($($crate::inventory::submit! { $crate::graph::EdgeDecl::produces::<$t, $p>() })+)?
    };
}

/// Declares further edges of nodes that are declared elsewhere, in another crate for instance:
/// `edge!(Pc; contains MyDevice);` says that qgraph's PC has a device of one's own, which a
/// patched QEMU solders on. What it needs is what [`driver!`](crate::driver) and
/// [`machine!`](crate::machine) need for the same words: that the traits are implemented.
///
/// ```
/// use std::rc::Rc;
///
/// use qgraph::Result;
/// use qgraph::graph::Contains;
/// use qgraph::machines::x86::pc::Pc;
/// use qgraph::qemu::Vm;
///
/// /// A device that a patched QEMU has at port 0x510 of its PC.
/// pub struct Lamp(Rc<Vm>);
///
/// impl Contains<Lamp> for Pc {
///     fn contained(&self) -> Result<Lamp> {
///         Ok(Lamp(self.vm().clone()))
///     }
/// }
///
/// qgraph::driver!(Lamp = "lamp");
/// qgraph::edge!(Pc; contains Lamp);
/// ```
#[macro_export]
macro_rules! edge {
    ($t:ty $(; contains $($d:ty),+)? $(; consumes $($c:ty),+)? $(; produces $($p:ty),+)? $(;)?) => {
        $($($crate::inventory::submit! { $crate::graph::EdgeDecl::contains::<$t, $d>() })+)?
        $($($crate::inventory::submit! { $crate::graph::EdgeDecl::consumes::<$t, $c>() })+)?
        $($($crate::inventory::submit! { $crate::graph::EdgeDecl::produces::<$t, $p>() })+)?
    };
}

/// Declares the cases of a suite, functions of `&T` and `&Rc<Vm>`. A case is called like its
/// function unless a name follows. What the command line needs for these cases alone stands
/// at the end, without a device of its own.
///
/// ```
/// use std::rc::Rc;
/// use std::time::Duration;
///
/// use qgraph::Result;
/// use qgraph::graph::QemuArgs;
/// use qgraph::qemu::Vm;
/// use qgraph::qos::rtc::{self, Rtc};
///
/// /// Would catch a clock that stands still.
/// fn runs(clock: &dyn Rtc, vm: &Rc<Vm>) -> Result<()> {
///     let before = clock.time()?;
///     rtc::step(vm, Duration::from_secs(5))?;
///     assert_eq!((clock.time()? - before).num_seconds(), 5);
///     Ok(())
/// }
///
/// qgraph::tests!(dyn Rtc, "clocks-of-two-cpus": runs = "still-runs";
///     with QemuArgs::NONE.after("-smp 2"));
/// ```
#[macro_export]
macro_rules! tests {
    ($of:ty, $suite:literal: $($case:ident $(= $name:literal)?),+ $(,)? $(; with $args:expr)? $(;)?) => {
        $crate::tests!(@args [$($args)?] $of, $suite: $($case $(= $name)?),+);
    };
    (@args [] $of:ty, $($rest:tt)+) => {
        $crate::tests!(@declare $crate::graph::QemuArgs::NONE, $of, $($rest)+);
    };
    (@args [$args:expr] $($rest:tt)+) => {
        $crate::tests!(@declare $args, $($rest)+);
    };
    (@declare $args:expr, $of:ty, $suite:literal: $($case:ident $(= $name:literal)?),+) => {
        $($crate::inventory::submit! {
            $crate::graph::TestDecl {
                name: $crate::case_name!($suite, $case $(, $name)?),
                of: <$of as $crate::graph::Node>::NAMES,
                args: $args,
                file: file!(),
                module: module_path!(),
                errs: false,
                run: |at, vm| $case(&*at.get::<$of>()?, vm),
            }
        })+
    };
}

/// Declares that cases of a suite are attacks, too: each runs several times with other errors of
/// its driver, as a path of the form fuzz does, and what counts is that QEMU survives. The suite of
/// the attacks has a name of its own.
///
/// ```
/// use std::rc::Rc;
///
/// use qgraph::Result;
/// use qgraph::qemu::Vm;
/// use qgraph::qos::rtc::Rtc;
///
/// /// Would catch a clock that is not a time.
/// fn tells(clock: &dyn Rtc, _: &Rc<Vm>) -> Result<()> {
///     clock.time().map(drop)
/// }
///
/// qgraph::tests!(dyn Rtc, "clocks-that-tell": tells);
/// qgraph::attacks!(dyn Rtc, "attacks-on-clocks-that-tell": tells);
/// ```
#[macro_export]
macro_rules! attacks {
    ($of:ty, $suite:literal: $($case:ident $(= $name:literal)?),+ $(,)?) => {
        $($crate::inventory::submit! {
            $crate::graph::TestDecl {
                name: $crate::case_name!($suite, $case $(, $name)?),
                of: <$of as $crate::graph::Node>::NAMES,
                args: $crate::graph::QemuArgs::NONE,
                file: file!(),
                module: module_path!(),
                errs: true,
                run: |at, vm| $case(&*at.get::<$of>()?, vm),
            }
        })+
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! case_name {
    ($suite:literal, $case:ident) => {
        concat!($suite, "/", stringify!($case))
    };
    ($suite:literal, $case:ident, $name:literal) => {
        concat!($suite, "/", $name)
    };
}
