//! One graph for everything that can be wrong with one.

use super::*;

/// A machine with a driver, its interface, and a test of that.
fn sound() -> Plain {
    let mut plain = Plain {
        machines: vec!["x/m".into()],
        drivers: vec!["d".into()],
        interfaces: vec!["i".into()],
        ..Plain::default()
    };
    plain.edge("x/m", "d").edge("d", "i").test("s/t", "i");
    plain
}

/// What is found in `plain`, which must have a word for people, too.
fn findings(plain: &Plain) -> Vec<Finding> {
    let findings = plain.model().check();
    assert!(findings.iter().all(|finding| finding.to_string().contains(": ")));
    findings
}

/// Would catch a finding where there is nothing to find.
#[test]
fn a_sound_graph() {
    assert_eq!(findings(&sound()), []);
}

/// Would catch content of this crate that is never run, or named twice.
#[test]
fn the_registered_graph_is_sound() {
    let model = Model::registered();
    assert_eq!(model.check(), []);
    assert!(model.find("x86_64/pc").is_some_and(|node| node.kind == Kind::Machine));
}

/// Would catch a node that is missing because its file is.
#[test]
fn an_edge_to_a_node_that_nobody_declares() {
    let mut plain = sound();
    plain.edge("d", "nobody");
    plain.test("s/u", "nobody");
    let finding = Finding::Undeclared { node: "nobody", beside: "d" };
    assert_eq!(findings(&plain), [finding]);

    let mut plain = sound();
    plain.edge("nobody", "d");
    let finding = Finding::Undeclared { node: "nobody", beside: "d" };
    assert_eq!(findings(&plain), [finding]);
}

/// Would catch a driver or test that never runs because no machine leads to it.
#[test]
fn a_node_that_no_machine_reaches() {
    let mut plain = sound();
    plain.drivers.push("island".into());
    plain.test("s/u", "island");
    let unreached = |node| Finding::Unreached { node };
    assert_eq!(findings(&plain), [unreached("island"), unreached("s/u")]);
}

/// Would catch two things that are mixed up because they have one name.
#[test]
fn two_nodes_of_one_name() {
    let mut plain = sound();
    plain.drivers.push("d".into());
    assert_eq!(findings(&plain), [Finding::Duplicate { node: "d", times: 2 }]);

    let mut plain = sound();
    plain.test("s/t", "d");
    assert_eq!(findings(&plain), [Finding::Duplicate { node: "s/t", times: 2 }]);

    let mut plain = sound();
    plain.machines.extend(["x/m".into(), "x/m".into()]);
    assert_eq!(findings(&plain), [Finding::Duplicate { node: "x/m", times: 3 }]);
}

/// Would catch two paths that only their order tells apart.
#[test]
fn two_equal_edges() {
    let mut plain = sound();
    plain.edge("d", "i");
    let finding = Finding::DuplicateEdge { from: "d", to: "i", variant: "" };
    assert_eq!(findings(&plain), [finding]);

    let mut plain = sound();
    plain.edges[0].2 = 2;
    assert_eq!(findings(&plain), [], "variants are edges of their own");
    plain.edges.push(("x/m".into(), "d".into(), 2));
    let variant = |variant| Finding::DuplicateEdge { from: "x/m", to: "d", variant };
    assert_eq!(findings(&plain), [variant(""), variant("v"), variant("w")]);
}

/// Would catch a cycle that is never left, and a finding where there is a way out.
#[test]
fn a_cycle_without_a_test() {
    let mut plain = sound();
    plain.drivers.extend(["a".into(), "b".into()]);
    plain.edge("d", "a").edge("a", "b").edge("b", "a");
    assert_eq!(findings(&plain), [Finding::Cycle { nodes: vec!["a", "b"] }]);
    plain.test("s/u", "b");
    assert_eq!(findings(&plain), []);

    let mut plain = sound();
    plain.drivers.push("a".into());
    plain.edge("d", "a").edge("a", "a");
    assert_eq!(findings(&plain), [Finding::Cycle { nodes: vec!["a"] }]);
}

/// Would catch an interface for which somebody forgot the tests.
#[test]
fn an_interface_that_nobody_consumes() {
    let mut plain = sound();
    plain.interfaces.push("unused".into());
    plain.edge("d", "unused");
    assert_eq!(findings(&plain), [Finding::Unconsumed { node: "unused" }]);
}

/// Would catch names from which no name of a path can be made.
#[test]
fn names_that_break_the_names_of_paths() {
    let names = |change: fn(&mut Plain)| {
        let mut plain = sound();
        change(&mut plain);
        findings(&plain)
            .into_iter()
            .map(|finding| match finding {
                Finding::Name { name, .. } => name,
                other => panic!("{other:?}"),
            })
            .collect::<Vec<_>>()
    };
    assert_eq!(
        names(|plain| {
            for name in ["m", "/m", "x/", "x/m/n"] {
                plain.machines.push(name.into());
                plain.edge(name, "d");
            }
        }),
        ["/m", "m", "x/", "x/m/n"]
    );
    assert_eq!(
        names(|plain| {
            for name in ["a/b", "a:b"] {
                plain.drivers.push(name.into());
                plain.edge("x/m", name).edge(name, "i");
            }
        }),
        ["a/b", "a:b"]
    );
    assert_eq!(
        names(|plain| {
            for name in ["t", "s/", "/t", "s//t", "s/t/u"] {
                plain.test(name, "i");
            }
        }),
        ["/t", "s/", "s//t", "t"]
    );
}

/// Would catch two paths of one name: over a driver to a test, and to a test that is
/// called like both.
#[test]
fn a_suite_that_is_called_like_a_driver_beside_it() {
    let mut plain = sound();
    plain.drivers.push("e1000".into());
    plain.edges.push(("i".into(), "e1000".into(), 2));
    plain.test("s/u", "e1000");
    plain.test("e1000-tests/t", "i");
    assert_eq!(findings(&plain), []);
    plain.test("e1000/s/u", "i");
    plain.test("e1000:v/s/u", "i");
    let finding =
        |beside: &str, test| Finding::Ambiguous { from: "i", beside: beside.into(), test };
    assert_eq!(
        findings(&plain),
        [finding("e1000", "e1000/s/u"), finding("e1000:v", "e1000:v/s/u")]
    );
    let names: Vec<_> = plain.model().walk(None, |_| true).map(|path| path.name()).collect();
    let twice = names.iter().filter(|name| *name == "/x/m/d/i/e1000/s/u").count();
    assert_eq!(twice, 2, "that is why");
}
