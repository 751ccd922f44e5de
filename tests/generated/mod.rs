//! A graph of any size, and emulators that have it: for the test of what a walk costs in memory,
//! and the measurement of what it costs in time.

use std::rc::Rc;
use std::sync::Arc;

use qgraph::Error;
use qgraph::graph::{
    Declarations, EdgeDecl, EdgeKind, MachineDecl, Model, NodeDecl, Object, Offer, QemuArgs, Setup,
    TestDecl,
};
use qgraph::harness::{Filter, Plan};
use qgraph::qemu::{Capabilities, Emulator, MIB, MachineType, RamSpec, Vm};
use serde_json::json;

/// How many tests each device has.
pub const TESTS: usize = 2;

/// Declarations live as long as the program.
fn leak<T>(value: T) -> &'static T {
    Box::leak(Box::new(value))
}

fn names(name: String) -> &'static [&'static str] {
    leak([&*name.leak()])
}

fn no_object() -> qgraph::Result<Object> {
    Err(Error::failed("this graph is only looked at"))
}

fn edge(
    from: &'static [&'static str],
    to: &'static [&'static str],
    kind: EdgeKind,
) -> &'static EdgeDecl {
    let offers = match kind {
        EdgeKind::ConsumedBy => || vec![Offer { args: QemuArgs::DEVICE, ..Offer::NOTHING }],
        _ => || vec![Offer::NOTHING],
    };
    leak(EdgeDecl { from, to, kind, offers, follow: |_, _, _| no_object() })
}

/// `machines` machines, `x/m0` and so on, each with a host of its own to one bus, `devices`
/// devices on that bus, and an interface with [`TESTS`] tests for each of them. Bridges lead
/// from the bus back to it. That makes `machines * devices * TESTS` paths.
pub fn model(machines: usize, devices: usize) -> Arc<Model> {
    const BRIDGES: usize = 10;
    let mut all = Declarations { machines: vec![], nodes: vec![], edges: vec![], tests: vec![] };
    let mut node = |names, interface| {
        all.nodes.push(leak(NodeDecl {
            names,
            aliases: &[],
            interface,
            counts_as: None,
            module: "",
        }))
    };
    let bus = names("bus".to_owned());
    // A driver, not an interface, so that no path is behind a bridge: all of them are dead ends.
    node(bus, false);
    for number in 0..machines {
        let (machine, host) = (names(format!("x/m{number}")), names(format!("host{number}")));
        node(host, false);
        let setup = Setup::bare(RamSpec::new(0, MIB));
        all.machines.push(leak(MachineDecl {
            names: machine,
            setup,
            type_name: || "",
            boot: |_| no_object(),
        }));
        all.edges.push(edge(machine, host, EdgeKind::Contains));
        all.edges.push(edge(host, bus, EdgeKind::Produces));
    }
    for number in 0..BRIDGES {
        let bridge = names(format!("bridge{number}"));
        node(bridge, false);
        all.edges.push(edge(bus, bridge, EdgeKind::ConsumedBy));
        all.edges.push(edge(bridge, bus, EdgeKind::Produces));
    }
    for number in 0..devices {
        let (device, interface) = (names(format!("dev{number}")), names(format!("if{number}")));
        node(device, false);
        node(interface, true);
        all.edges.push(edge(bus, device, EdgeKind::ConsumedBy));
        all.edges.push(edge(device, interface, EdgeKind::Produces));
        for test in 0..TESTS {
            let name = format!("tests{number}/t{test}").leak();
            let run = |_: &Object, _: &Rc<Vm>| Ok(());
            all.tests.push(leak(TestDecl {
                name,
                of: interface,
                args: QemuArgs::NONE,
                file: file!(),
                module: module_path!(),
                errs: false,
                run,
            }));
        }
    }
    Arc::new(Model::new(&all))
}

/// All paths of `model` that `filter` wants, on `emulators` emulators with all machines and
/// devices.
pub fn plan(model: &Arc<Model>, emulators: usize, filter: Filter) -> Plan {
    let names = || model.nodes().map(|node| node.name);
    let machine = |name: &str| Some((name.strip_prefix("x/")?.to_owned(), MachineType::default()));
    let capabilities = Capabilities {
        arch: "x".to_owned(),
        machines: names().filter_map(machine).collect(),
        devices: names().map(str::to_owned).collect(),
        ..Capabilities::default()
    };
    let known = json!({"accelerator": "built-in", "capabilities": capabilities});
    let emulator: Emulator = serde_json::from_value(known).expect("an emulator");
    let emulator =
        |number| Arc::new(Emulator { path: format!("qemu-{number}").into(), ..emulator.clone() });
    Plan::new(model.clone(), (0..emulators).map(emulator).collect(), filter)
}
