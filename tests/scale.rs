//! A graph of 100,000 nodes and a million paths, and how much memory its list takes.

mod generated;

use std::alloc::System;
use std::sync::Mutex;

use cap::Cap;
use qgraph::harness::Filter;

#[global_allocator]
static ALLOCATOR: Cap<System> = Cap::new(System, usize::MAX);

/// One test at a time, as they share the allocator.
static ALONE: Mutex<()> = Mutex::new(());

const MACHINES: usize = 20;
const DEVICES: usize = 25_000;

/// What may be held at any path beyond what is held at the thousandth, in bytes. The thousand
/// is for what is allocated only once, and grows up to its size.
const SLACK: usize = 16 << 10;

/// Would catch paths that are held when they are no longer needed, or made before they are
/// asked for, and any that are missing.
#[test]
fn a_million_paths_in_constant_memory() {
    let _alone = ALONE.lock();
    let model = generated::model(MACHINES, DEVICES);
    assert!(model.nodes().count() >= 100_000);
    let plan = generated::plan(&model, 2, Filter::default());
    let before = ALLOCATOR.allocated();
    let (mut count, mut at_first, mut most, mut last) = (0, 0, 0, None);
    for trial in plan.trials() {
        count += 1;
        assert_eq!(trial.copies_before, count / (MACHINES * DEVICES * generated::TESTS + 1));
        // Held while the next is made, as it may be.
        last = Some(trial);
        if count == 1000 {
            at_first = ALLOCATOR.allocated();
        }
        most = most.max(ALLOCATOR.allocated());
    }
    assert_eq!(count, 2 * MACHINES * DEVICES * generated::TESTS);
    let last = last.expect("a path").unique_name();
    assert_eq!(last, "/x/m9/host9/bus/dev9999/if9999/tests9999/t1@qemu-1");
    println!(
        "{} KiB for the walk, {} bytes more later",
        (at_first - before) >> 10,
        most - at_first
    );
    assert!(most - at_first <= SLACK, "{} bytes more than at first", most - at_first);
}

/// Would catch a filter that loses paths of a large graph.
#[test]
fn a_machine_and_a_name_out_of_a_million() {
    let _alone = ALONE.lock();
    let model = generated::model(MACHINES, DEVICES);
    let count = |wanted: &[&str], machines: &[&str], exact| {
        let own = |list: &[&str]| list.iter().map(|&text| text.to_owned()).collect::<Vec<_>>();
        let filter = Filter::new(&own(wanted), &[], &own(machines), exact).expect("a filter");
        generated::plan(&model, 1, filter).trials().count()
    };
    assert_eq!(count(&[], &["m7"], false), DEVICES * generated::TESTS);
    assert_eq!(count(&["/x/m7/host7/bus/dev77/*"], &[], false), generated::TESTS);
    assert_eq!(count(&["/x/m7/host7/bus/dev77/if77/tests77/t1"], &[], true), 1);
}
