//! Shares, against what whoever divides work relies on.

use proptest::prelude::*;

use super::*;

fn of(shards: usize) -> NonZeroUsize {
    NonZeroUsize::new(shards).expect("some")
}

fn load(name: usize, group: usize, weight: u64) -> Load {
    Load { name: format!("/path/{name}"), group: format!("machine {group}"), weight }
}

fn some_loads() -> impl Strategy<Value = Vec<Load>> {
    prop::collection::vec((0..30_usize, 0..200_u64), 0..300).prop_map(|all| {
        let numbered = all.into_iter().enumerate();
        numbered.map(|(name, (group, weight))| load(name, group, weight)).collect()
    })
}

fn rule() -> impl Strategy<Value = Rule> {
    prop::sample::select(vec![Rule::Stable, Rule::LongestFirst])
}

proptest! {
    /// Would catch a path that no machine runs, or that two of them do.
    #[test]
    fn each_path_is_in_exactly_one_share(loads in some_loads(), n in 1..40_usize, rule in rule()) {
        let mut count = vec![0; loads.len()];
        for number in 1..=n {
            let picks = Shard::new(number, n).unwrap().picks(&loads, rule);
            prop_assert_eq!(picks.len(), loads.len());
            count.iter_mut().zip(picks).for_each(|(count, picked)| *count += usize::from(picked));
        }
        prop_assert!(count.iter().all(|&count| count == 1), "{count:?}");
    }

    /// Would catch shares that depend on the order in which a machine meets the paths.
    #[test]
    fn machines_agree(
        (loads, mut other) in some_loads().prop_flat_map(|it| (Just(it.clone()), Just(it).prop_shuffle())),
        n in 1..40_usize,
        rule in rule(),
    ) {
        let here = assign(&loads, of(n), rule);
        let there = assign(&other, of(n), rule);
        for (load, share) in other.drain(..).zip(there) {
            let number = loads.iter().position(|it| it.name == load.name).unwrap();
            prop_assert_eq!(here[number], share);
        }
    }

    /// Would catch a machine that has far more to do than the others.
    #[test]
    fn no_share_is_much_more_than_the_others(loads in some_loads(), n in 1..40_usize, rule in rule()) {
        let mut filled = vec![0; n];
        for (load, share) in loads.iter().zip(assign(&loads, of(n), rule)) {
            filled[share] += load.weight;
        }
        let total: u64 = filled.iter().sum();
        let heaviest = loads.iter().map(|load| load.weight).max().unwrap_or(0);
        // What cannot be parted: one path, or a chunk, an eighth of a share at most.
        let unit = heaviest.max(total / (8 * n as u64));
        let most = filled.iter().max().unwrap();
        prop_assert!(*most <= total.div_ceil(n as u64) + unit, "{most} of {total}, {n} shares");
        if rule == Rule::LongestFirst {
            let least = filled.iter().min().unwrap();
            prop_assert!(most - least <= unit, "{least} to {most}, {n} shares");
        }
    }

    /// Would catch a QEMU that every machine has to start for itself.
    #[test]
    fn small_groups_stay_together(groups in 1..40_usize, size in 1..=16_usize, n in 1..4_usize) {
        prop_assume!(groups * size >= 8 * n * size.next_power_of_two());
        let loads: Vec<Load> = (0..groups * size).map(|it| load(it, it / size, 1)).collect();
        let shares = assign(&loads, of(n), Rule::Stable);
        for group in shares.chunks(size) {
            prop_assert!(group.iter().all(|share| *share == group[0]), "{group:?}");
        }
    }
}

/// Would catch a new test that moves every other path to another machine.
#[test]
fn a_new_path_moves_few() {
    let mut loads: Vec<Load> = (0..2000).map(|it| load(it, it / 40, 1)).collect();
    let before = assign(&loads, of(4), Rule::Stable);
    for group in 0..50 {
        loads.push(load(3000, group, 1));
        let after = assign(&loads, of(4), Rule::Stable);
        let moved = before.iter().zip(&after).filter(|(before, after)| before != after).count();
        assert!(moved <= 100, "{moved} of 2000 moved for a path in group {group}");
        loads.pop();
    }
}

/// Would catch a rule that depends on the compiler, the machine or the day: shares of a run
/// need not come from one build.
#[test]
fn the_rule_is_what_it_was() {
    let loads: Vec<Load> = (0..12).map(|it| load(it, it % 5, 1)).collect();
    let shares = assign(&loads, of(3), Rule::Stable);
    assert_eq!(shares, [0, 2, 0, 2, 0, 1, 1, 2, 1, 1, 0, 2]);
}

/// Would catch a share that is misread, or taken although there is none like it.
#[test]
fn shares_by_name() {
    let shard = |text: &str| text.parse::<Shard>().ok().map(|shard| (shard.index, shard.of.get()));
    assert_eq!(shard("1/1"), Some((0, 1)));
    assert_eq!(shard("3/4"), Some((2, 4)));
    assert_eq!(shard("10000/10000"), Some((9999, 10_000)));
    for bad in
        ["", "/", "1", "0/3", "4/3", "1/0", "0/0", "-1/3", "1/3/3", "a/b", "1/10001", "1.5/3"]
    {
        assert_eq!(shard(bad), None, "{bad}");
    }
    assert_eq!("3/4".parse::<Shard>().unwrap().to_string(), "3/4");
}

/// Would catch a machine of a fleet that takes the share of another, or none.
#[test]
fn shares_by_the_environment() {
    let ask = |variables: &[(&str, &str)]| {
        Shard::from_environment(|name| {
            variables.iter().find(|(it, _)| *it == name).map(|(_, value)| value.into())
        })
        .map(|found| found.map(|(shard, _)| shard.to_string()))
        .map_err(|e| e.to_string())
    };
    let some = |text: &str| Ok(Some(text.to_owned()));
    assert_eq!(ask(&[]), Ok(None));
    // GitLab sets the total in every job, the index only where there are several.
    assert_eq!(ask(&[("CI_NODE_TOTAL", "1")]), Ok(None));
    assert_eq!(ask(&[("CI_NODE_INDEX", "2"), ("CI_NODE_TOTAL", "3")]), some("2/3"));
    let pod = [("JOB_COMPLETION_INDEX", "2"), ("JOB_COMPLETIONS", "3")];
    assert_eq!(ask(&pod), some("3/3"));
    assert_eq!(ask(&[pod[0], pod[1], ("QGRAPH_SHARD", "1/2")]), some("1/2"));
    for bad in [
        &[("CI_NODE_INDEX", "0"), ("CI_NODE_TOTAL", "3")][..],
        &[("CI_NODE_INDEX", "4"), ("CI_NODE_TOTAL", "3")],
        &[("CI_NODE_INDEX", "x"), ("CI_NODE_TOTAL", "3")],
        &[("CI_NODE_INDEX", "1")],
        &[("JOB_COMPLETION_INDEX", "3"), ("JOB_COMPLETIONS", "3")],
        &[("JOB_COMPLETION_INDEX", "18446744073709551615"), ("JOB_COMPLETIONS", "3")],
        &[("JOB_COMPLETION_INDEX", "0")],
        &[("QGRAPH_SHARD", "")],
        &[("QGRAPH_SHARD", "3/2"), ("CI_NODE_INDEX", "1"), ("CI_NODE_TOTAL", "1")],
    ] {
        let message = ask(bad).expect_err("no shard");
        let (name, value) = bad[0];
        assert!(message.contains(&format!("{name}={value}")), "{message}");
        assert!(message.contains("--shard 1/1"), "{message}");
    }
}
