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

/// Would catch a walk that goes all of very many ways whose only way on is over a node that
/// they came by: it would never end.
#[test]
fn ways_that_come_back_to_themselves_are_not_entered() {
    let mut plain = diamonds(40);
    plain.tests.clear();
    // Interfaces may be come back to.
    let interfaces = std::mem::take(&mut plain.interfaces);
    plain.drivers.extend(interfaces);
    plain.edge("n40", "n0").test("s/t", "n0").test("s/u", "x/m");
    let model = plain.model();
    let names: Vec<_> = model.walk(None, |_| true).map(|path| path.name()).collect();
    assert_eq!(names, ["/x/m/n0/s/t", "/x/m/s/u"]);
    // With another way out they are; and it is found behind the last of them.
    plain.test("s/v", "b39");
    let model = plain.model();
    let mut walk = model.walk(None, |_| true);
    assert!(walk.next().unwrap().name().ends_with("/n38/a38/n39/b39/s/v"));
    assert!(walk.next().unwrap().name().ends_with("/n38/b38/n39/b39/s/v"));
}

/// Would catch a walk for one name that goes more than one way.
#[test]
fn a_walk_keeps_within_what_may_begin() {
    let model = diamonds(40).model();
    let name = model.walk(None, |_| true).nth(9).unwrap().name();
    let wanted = name.clone();
    let walk = model.walk(None, |_| true).within(move |start| wanted.starts_with(start));
    assert_eq!(walk.map(|path| path.name()).collect::<Vec<_>>(), [name]);
    assert_eq!(model.walk(None, |_| true).within(|start| start != "/x/m/").count(), 0);
    let to_n1 = |start: &str| !start.starts_with("/x/m/n0/a0/n1/") || start.len() == 14;
    let first = model.walk(None, |_| true).within(to_n1).next().unwrap().name();
    assert!(first.starts_with("/x/m/n0/b0/n1/a1/"), "{first}");
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
