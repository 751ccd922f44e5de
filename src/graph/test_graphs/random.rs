//! Random graphs, against an enumeration that is as simple as can be: machines, cycles,
//! parallel edges, names that are like each other's beginnings, emulators that lack things.

use std::collections::BTreeSet;
use std::sync::Mutex;

use proptest::prelude::*;

use super::*;

const MACHINES: &[&str] = &["x/m", "x/n", "y/m"];
/// Interfaces are those with an i. One is called like a suite, one like a variant's edge,
/// and the last is not declared.
const NODES: &[&str] = &["a", "b", "c", "d", "s", "i", "ii", "a:v", "undeclared"];
const TESTS: &[&str] = &["s/t", "s/t/u", "t/u", "v/w"];

pub(crate) fn graph() -> impl Strategy<Value = Plain> {
    let inner = prop::collection::vec((0..NODES.len(), 0..NODES.len(), 0..OFFERS.len()), 0..12);
    let first = prop::collection::vec((0..MACHINES.len(), 0..NODES.len(), 0..OFFERS.len()), 1..5);
    let of = [NODES, MACHINES].concat();
    let of = prop::collection::vec(prop::sample::subsequence(of, 0..4), TESTS.len());
    (inner, first, of).prop_map(|(inner, first, of)| {
        let own = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
        let declared = own(&NODES[..NODES.len() - 1]);
        let (interfaces, drivers) = declared.into_iter().partition(|name| name.contains('i'));
        let inner = inner.into_iter().map(|(from, to, offers)| (NODES[from], NODES[to], offers));
        let first = first.into_iter().map(|(from, to, offers)| (MACHINES[from], NODES[to], offers));
        let edges = inner.chain(first);
        let tests = TESTS.iter().zip(of);
        Plain {
            machines: own(MACHINES),
            drivers,
            interfaces,
            edges: edges.map(|(from, to, offers)| (from.into(), to.into(), offers)).collect(),
            tests: tests.map(|(&test, of)| (test.to_owned(), own(&of))).collect(),
        }
    })
}

fn some_emulator() -> impl Strategy<Value = Capabilities> {
    let arch = prop::sample::select(vec!["x", "y", "z"]);
    let machines = prop::sample::subsequence(vec!["m", "n"], 0..=2);
    let devices = [NODES, &["other"]].concat();
    let count = 0..=devices.len();
    (arch, machines, prop::sample::subsequence(devices, count))
        .prop_map(|(arch, machines, devices)| emulator(arch, machines, devices))
}

/// The names of all paths with no node twice but for one interface, sorted, without the model.
fn enumerate(plain: &Plain, has: Option<&Capabilities>) -> Vec<String> {
    fn visit(
        plain: &Plain,
        has: Option<&Capabilities>,
        before: &mut Vec<String>,
        name: &str,
        paths: &mut Vec<String>,
    ) {
        let at = before.last().expect("a machine").clone();
        for (test, _) in plain.tests.iter().filter(|(_, of)| of.contains(&at)) {
            paths.push(format!("{name}/{test}"));
        }
        for (from, to, offers) in &plain.edges {
            let times = before.iter().filter(|node| *node == to).count();
            let distinct: BTreeSet<_> = before.iter().collect();
            let may_return = distinct.len() == before.len() && plain.interfaces.contains(to);
            if *from != at || times > usize::from(may_return) {
                continue;
            }
            for &(variant, device) in OFFERS[*offers] {
                let device = device.map(|device| if device.is_empty() { to } else { device });
                if let (Some(has), Some(device)) = (has, device)
                    && !has.devices.contains(device)
                {
                    continue;
                }
                let colon = if variant.is_empty() { "" } else { ":" };
                before.push(to.clone());
                visit(plain, has, before, &format!("{name}/{to}{colon}{variant}"), paths);
                before.pop();
            }
        }
    }
    let mut paths = Vec::new();
    for machine in &plain.machines {
        let (arch, kind) = machine.split_once('/').expect("a machine's name");
        if has.is_none_or(|has| has.arch == arch && has.machines.contains_key(kind)) {
            let name = format!("/{machine}");
            visit(plain, has, &mut vec![machine.clone()], &name, &mut paths);
        }
    }
    paths.sort();
    paths
}

fn walk(model: &Arc<Model>, has: Option<&Capabilities>) -> Vec<Path> {
    model.walk(has.map(|has| model.availability(has)), |_| true).collect()
}

fn sorted(paths: &[Path]) -> Vec<String> {
    let mut names: Vec<_> = paths.iter().map(Path::name).collect();
    names.sort();
    names
}

/// Would catch a look ahead that counts on more returns than a path has: `a` then seems
/// to lead back over both interfaces to the test.
#[test]
fn the_look_ahead_counts_returns() {
    let mut plain = Plain {
        machines: vec!["x/m".into()],
        drivers: vec!["a".into(), "d".into()],
        interfaces: vec!["i".into(), "ii".into()],
        ..Plain::default()
    };
    plain.edge("x/m", "i").edge("i", "ii").edge("ii", "a").edge("a", "d").edge("d", "i");
    plain.test("s/t", "ii");
    let asked = Arc::new(Mutex::new(Vec::new()));
    let kept = asked.clone();
    let walk = plain.model().walk(None, |_| true).within(move |start| {
        kept.lock().unwrap().push(start.to_owned());
        true
    });
    let names: Vec<_> = walk.map(|path| path.name()).collect();
    assert_eq!(names, ["/x/m/i/ii/s/t"]);
    assert_eq!(*asked.lock().unwrap(), ["/x/m/", "/x/m/i/", "/x/m/i/ii/"]);
}

proptest! {
    /// Would catch a path that is missing, comes twice, goes in a circle, or goes over
    /// something that the emulator lacks.
    #[test]
    fn every_simple_path_comes_once(plain in graph(), has in some_emulator()) {
        let model = plain.model();
        prop_assert_eq!(sorted(&walk(&model, None)), enumerate(&plain, None));
        prop_assert_eq!(sorted(&walk(&model, Some(&has))), enumerate(&plain, Some(&has)));
    }

    /// Would catch a walk that goes where no path goes on: there may be very many such ways.
    #[test]
    fn no_dead_end_is_entered(plain in graph()) {
        let model = plain.model();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let kept = asked.clone();
        let walk = model.walk(None, |_| true).within(move |start| {
            kept.lock().unwrap().push(start.to_owned());
            true
        });
        let names: Vec<_> = walk.map(|path| path.name()).collect();
        for start in asked.lock().unwrap().iter() {
            // A machine without a path costs nothing.
            let is_machine = start.matches('/').count() == 3;
            let goes_on = names.iter().any(|name| name.starts_with(start));
            prop_assert!(is_machine || goes_on, "{} in {:?}", start, names);
        }
    }

    /// Would catch a filter that loses paths or lets others through.
    #[test]
    fn only_wanted_machines_are_entered(plain in graph()) {
        let model = plain.model();
        let paths: Vec<_> = model.walk(None, |machine| machine == "x/n").collect();
        prop_assert!(paths.iter().all(|path| path.machine() == "x/n"));
        let all = enumerate(&plain, None);
        let expected: Vec<_> = all.into_iter().filter(|name| name.starts_with("/x/n/")).collect();
        prop_assert_eq!(sorted(&paths), expected);
    }

    /// Would catch an order of paths that hangs on that of declarations, which the linker
    /// chooses.
    #[test]
    fn the_order_is_not_that_of_declarations(plain in graph()) {
        let turned = Plain {
            machines: plain.machines.iter().rev().cloned().collect(),
            drivers: plain.drivers.iter().rev().cloned().collect(),
            interfaces: plain.interfaces.iter().rev().cloned().collect(),
            edges: plain.edges.iter().rev().cloned().collect(),
            tests: plain.tests.iter().rev().cloned().collect(),
        };
        let names = |plain: &Plain| walk(&plain.model(), None).iter().map(Path::name).collect();
        let (one, other): (Vec<_>, Vec<_>) = (names(&plain), names(&turned));
        prop_assert_eq!(one, other);
        prop_assert_eq!(plain.model().check(), turned.model().check());
    }

    /// Would catch a graph that is called sound although two of its paths have one name,
    /// or a listed path that cannot be asked for by its name.
    #[test]
    fn names_lead_back_to_paths(plain in graph()) {
        // The names of these nodes are unsound by themselves, which is not the point here.
        let odd = |name: &str| name.contains(':');
        let mut plain = plain;
        plain.drivers.retain(|name| !odd(name));
        plain.edges.retain(|(from, to, _)| !odd(from) && !odd(to));
        plain.tests.iter_mut().for_each(|(_, of)| of.retain(|of| !odd(of)));
        let model = plain.model();
        let double = model.check().into_iter().any(|finding| {
            matches!(
                finding,
                Finding::Duplicate { .. } | Finding::DuplicateEdge { .. }
                    | Finding::Name { .. } | Finding::Ambiguous { .. }
            )
        });
        let paths = walk(&model, None);
        let names: BTreeSet<_> = paths.iter().map(Path::name).collect();
        prop_assert!(double || names.len() == paths.len(), "two paths have one name");
        if double {
            return Ok(());
        }
        for path in &paths {
            let name = path.name();
            let Subject::Path(found) = model.subject(&name) else {
                return Err(TestCaseError::fail(format!("{name} is no path")));
            };
            prop_assert_eq!(found.name(), &*name);
            prop_assert_eq!(found.nodes().collect::<Vec<_>>(), path.nodes().collect::<Vec<_>>());
            for (end, _) in name.match_indices('/').skip(3) {
                let shortened = &name[..end];
                let subject = model.subject(shortened);
                prop_assert!(
                    matches!(subject, Subject::NoEdge { .. }) || names.contains(shortened),
                    "{} is {:?}", shortened, subject
                );
            }
        }
    }

    /// Would catch a path that `why` calls available and `list` does not have, or the
    /// other way round.
    #[test]
    fn why_and_list_agree(plain in graph(), has in some_emulator()) {
        let model = plain.model();
        let all = walk(&model, None);
        let (without, lacking): (Vec<_>, Vec<_>) =
            all.iter().cloned().partition(|path| model.first_lack(path, &has).is_none());
        let listed = walk(&model, Some(&has));
        prop_assert_eq!(sorted(&without), sorted(&listed));
        let available = model.availability(&has);
        for path in &all {
            prop_assert_eq!(path.is_in(&available), model.first_lack(path, &has).is_none());
        }
        for path in &lacking {
            let subject = Subject::Path(Box::new(path.clone()));
            let lack = model.first_lack(path, &has);
            prop_assert_eq!(model.answer(&subject, &has), Some(Answer::Path(lack)));
        }
        for node in model.nodes().filter(|node| node.kind != Kind::Undeclared) {
            let over = |paths: &[Path]| {
                paths.iter().filter(|path| path.nodes().any(|name| name == node.name)).count()
            };
            let subject = model.subject(node.name);
            let Some(Answer::Node { paths, lacks }) = model.answer(&subject, &has) else {
                return Err(TestCaseError::fail(format!("{}: {subject:?}", node.name)));
            };
            prop_assert_eq!(paths, over(&listed));
            prop_assert_eq!(lacks.is_empty(), paths > 0 || over(&all) == 0);
        }
    }
}
