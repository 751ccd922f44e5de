//! Graphs with more paths than anybody can wait for, and with more nodes than a recursive
//! walk has stack for.

use super::*;

/// Would catch a walk that makes all paths before it hands out the first: this one would
/// never end.
#[test]
fn the_first_of_very_many_paths_come_at_once() {
    let model = diamonds(40).model();
    let first: Vec<_> = model.walk(None, |_| true).take(10).collect();
    assert_eq!(first.len(), 10);
    assert!(first[0].name().starts_with("/x/m/n0/a0/n1/a1/n2/"));
    assert!(first[0].name().ends_with("/a38/n39/a39/n40/s/t"));
    assert!(first[1].name().ends_with("/a38/n39/b39/n40/s/t"));
    assert!(first[9].name().ends_with("/b36/n37/a37/n38/a38/n39/b39/n40/s/t"));
    assert_eq!(model.check(), []);
}

/// Would catch a walk that looks into every one of very many ways that lead to no test:
/// it would never end.
#[test]
fn dead_ends_are_not_entered() {
    let mut plain = diamonds(40);
    plain.tests.clear();
    assert_eq!(plain.model().walk(None, |_| true).count(), 0);

    let mut plain = diamonds(40);
    plain.tests.clear();
    plain.test("s/t", "last");
    plain.drivers.push("last".into());
    plain.edges.push(("n40".into(), "last".into(), 1));
    let model = plain.model();
    let lacking = model.availability(&emulator("x", ["m"], []));
    assert_eq!(model.walk(Some(lacking), |_| true).count(), 0);
    let having = model.availability(&emulator("x", ["m"], ["last"]));
    assert!(model.walk(Some(having), |_| true).next().is_some());
}

/// Would catch a function that calls itself for every node of a long chain: the stack
/// would overflow.
#[test]
fn a_long_chain_is_no_trouble() {
    const LENGTH: usize = 100_000;
    let mut plain = Plain { machines: vec!["x/m".into()], ..Plain::default() };
    plain.drivers = (0..LENGTH).map(|number| format!("n{number}")).collect();
    plain.edge("x/m", "n0");
    for number in 1..LENGTH {
        plain.edge(format!("n{}", number - 1), format!("n{number}"));
    }
    plain.test("s/t", &format!("n{}", LENGTH - 1));
    let model = plain.model();
    assert_eq!(model.check(), []);
    let paths: Vec<_> = model.walk(None, |_| true).collect();
    assert_eq!(paths.len(), 1);
    assert_eq!(paths[0].nodes().count(), LENGTH + 2);
    assert!(matches!(model.subject(&paths[0].name()), Subject::Path(_)));
}
