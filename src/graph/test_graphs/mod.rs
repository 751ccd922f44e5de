//! Tests of the graph without any QEMU: graphs of plain data, leaked because declarations
//! live as long as the program.

mod check;
mod large;
pub(crate) mod random;
mod run;

use std::rc::Rc;
use std::sync::Arc;

use super::*;
use crate::qemu::{Capabilities, MIB, MachineType, RamSpec, Version, Vm};
use crate::{Error, Result};

/// The edges that a declaration offers: of each the variant's name, and the device that
/// must be there, `""` for that which is called like the node.
type Offers = &'static [(&'static str, Option<&'static str>)];

/// What declarations may offer.
const OFFERS: [Offers; 4] = [PLAIN, DEVICE, VARIANTS, OTHER_DEVICE];
/// The functions that say so.
const SAYING: [fn() -> Vec<Offer>; 4] =
    [|| offers(PLAIN), || offers(DEVICE), || offers(VARIANTS), || offers(OTHER_DEVICE)];
const PLAIN: Offers = &[("", None)];
const DEVICE: Offers = &[("", Some(""))];
const VARIANTS: Offers = &[("", Some("")), ("v", None), ("w", Some("other"))];
const OTHER_DEVICE: Offers = &[("", Some("other"))];

fn offers(offers: Offers) -> Vec<Offer> {
    let device = |device| match device {
        None => DeviceOption::None,
        Some("") => DeviceOption::Node,
        Some(name) => DeviceOption::Named(name),
    };
    let offer = |&(name, needs)| {
        let args = QemuArgs { device: device(needs), ..QemuArgs::NONE };
        Offer { name, args, ..Offer::NOTHING }
    };
    offers.iter().map(offer).collect()
}

/// A graph as plain data.
#[derive(Debug, Clone, Default)]
pub(crate) struct Plain {
    pub(crate) machines: Vec<String>,
    pub(crate) drivers: Vec<String>,
    pub(crate) interfaces: Vec<String>,
    /// From, to, and which of [`OFFERS`].
    edges: Vec<(String, String, usize)>,
    /// Name, and what it is a test of.
    tests: Vec<(String, Vec<String>)>,
}

fn leak<T>(value: T) -> &'static T {
    Box::leak(Box::new(value))
}

fn name(name: &str) -> &'static str {
    name.to_owned().leak()
}

fn names(one: &str) -> &'static [&'static str] {
    leak([name(one)])
}

fn no_object() -> Result<Object> {
    Err(Error::failed("this graph is only looked at"))
}

impl Plain {
    pub(crate) fn model(&self) -> Arc<Model> {
        let machine = |machine: &String| {
            let (names, setup) = (names(machine), Setup::bare(RamSpec::new(0, MIB)));
            leak(MachineDecl { names, setup, type_name: || "", boot: |_| no_object() })
        };
        let node = |node: &String, interface| {
            leak(NodeDecl {
                names: names(node),
                aliases: &[],
                interface,
                counts_as: None,
                module: "",
            })
        };
        let edge = |(from, to, offers): &(String, String, usize)| {
            leak(EdgeDecl {
                from: names(from),
                to: names(to),
                kind: EdgeKind::Produces,
                offers: SAYING[*offers],
                follow: |_, _, _| no_object(),
            })
        };
        let test = |(test, of): &(String, Vec<String>)| {
            let of = of.iter().map(|of| name(of)).collect::<Vec<_>>().leak();
            let run = |_: &Object, _: &Rc<Vm>| Ok(());
            leak(TestDecl {
                name: name(test),
                of,
                args: QemuArgs::NONE,
                file: "tests/a.rs",
                module: "",
                errs: false,
                run,
            })
        };
        let drivers = self.drivers.iter().map(|driver| node(driver, false));
        let interfaces = self.interfaces.iter().map(|interface| node(interface, true));
        Arc::new(Model::new(&Declarations {
            machines: self.machines.iter().map(machine).collect(),
            nodes: drivers.chain(interfaces).collect(),
            edges: self.edges.iter().map(edge).collect(),
            tests: self.tests.iter().map(test).collect(),
        }))
    }

    /// Adds an edge that offers the plain one only.
    pub(crate) fn edge(&mut self, from: impl ToString, to: impl ToString) -> &mut Self {
        self.edges.push((from.to_string(), to.to_string(), 0));
        self
    }

    pub(crate) fn test(&mut self, name: &str, of: &str) -> &mut Self {
        self.tests.push((name.to_owned(), vec![of.to_owned()]));
        self
    }
}

/// `count` diamonds behind each other: a path for every choice of a side in each.
pub(crate) fn diamonds(count: usize) -> Plain {
    let mut plain = Plain { machines: vec!["x/m".into()], ..Plain::default() };
    plain.edge("x/m", "n0");
    for number in 0..count {
        for side in ["a", "b"] {
            plain.edge(format!("n{number}"), format!("{side}{number}"));
            plain.edge(format!("{side}{number}"), format!("n{}", number + 1));
            plain.drivers.push(format!("{side}{number}"));
        }
    }
    plain.interfaces = (0..=count).map(|number| format!("n{number}")).collect();
    plain.test("s/t", &format!("n{count}"));
    plain
}

/// An emulator of `arch` with these machine types and devices.
pub(crate) fn emulator<'a>(
    arch: &str,
    machines: impl IntoIterator<Item = &'a str>,
    devices: impl IntoIterator<Item = &'a str>,
) -> Capabilities {
    let machines = machines.into_iter().map(|name| (name.to_owned(), MachineType::default()));
    Capabilities {
        arch: arch.to_owned(),
        machines: machines.collect(),
        devices: devices.into_iter().map(str::to_owned).collect(),
        ..Capabilities::default()
    }
}
