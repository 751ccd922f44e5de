//! A small set of paths that leaves nothing of the graph out: for a look in seconds before the
//! whole.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet};
use std::hash::Hash;
use std::str::FromStr;

use super::{Form, Plan, Trial, outcome_name};

/// The environment variable that names a [`Cover`], for `cargo test`.
pub const ENVIRONMENT: &str = "QGRAPH_COVER";

/// What of the graph is to be on some path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cover {
    /// Every machine, driver, interface and test.
    Nodes,
    /// Every edge, and with them every node.
    Edges,
    /// Every node, every suite on each driver that has it, and every test somewhere.
    Cases,
    /// Every test, on every architecture that has a path to it.
    Tests,
}

/// Nothing to cover is called this.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is none of nodes, edges, cases and tests")]
pub struct BadCover(String);

impl FromStr for Cover {
    type Err = BadCover;

    fn from_str(text: &str) -> Result<Self, BadCover> {
        match text {
            "nodes" => Ok(Self::Nodes),
            "edges" => Ok(Self::Edges),
            "cases" => Ok(Self::Cases),
            "tests" => Ok(Self::Tests),
            _ => Err(BadCover(text.to_owned())),
        }
    }
}

/// How good a covering set is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// How many trials are in it.
    pub trials: usize,
    /// How many there are.
    pub of: usize,
    /// No covering set has fewer: a path has one first and one last part, and each of those
    /// is to be covered.
    pub least: usize,
}

/// What is to be covered, or is welcome: counted for each build of an emulator, so that two
/// builds are covered both.
#[derive(Clone, PartialEq, Eq, Hash)]
enum Part {
    Node(usize, &'static str),
    Edge(usize, usize),
    Suite(usize, &'static str, &'static str),
    Test(usize, &'static str, &'static str, Form),
}

/// The parts of one trial, by number.
struct Candidate {
    /// Those to be covered, from the machine on.
    parts: Vec<u32>,
    /// Its edges. Between equals, the one that shows more of the graph is taken.
    edges: Vec<u32>,
}

impl Cover {
    fn parts(self, trial: &Trial) -> Vec<Part> {
        let (path, build) = (&trial.path, trial.builds_before);
        match self {
            Self::Nodes => path.nodes().map(|node| Part::Node(build, node)).collect(),
            Self::Edges => path.edges().map(|edge| Part::Edge(build, edge)).collect(),
            Self::Cases => {
                let nodes = path.nodes().map(|node| Part::Node(build, node));
                let suite = Part::Suite(build, path.device(), path.suite());
                nodes.chain([suite, Part::Test(build, "", path.test(), path.between())]).collect()
            }
            Self::Tests => {
                let arch = path.machine().split('/').next().unwrap_or_default();
                vec![Part::Test(build, arch, path.test(), path.between())]
            }
        }
    }
}

/// Numbers things in the order in which they come.
struct Numbers<T>(HashMap<T, u32>);

impl<T: Eq + Hash> Numbers<T> {
    /// The numbers of these things, each once.
    fn of(&mut self, things: impl IntoIterator<Item = T>) -> Vec<u32> {
        let mut numbers = Vec::new();
        for thing in things {
            let next = u32::try_from(self.0.len()).expect("fewer things than memory holds");
            let number = *self.0.entry(thing).or_insert(next);
            if !numbers.contains(&number) {
                numbers.push(number);
            }
        }
        numbers
    }
}

impl Plan {
    /// Only a small set of trials that together have what `cover` says, of all that this plan
    /// has. Equal plans give equal sets.
    ///
    /// The set is found by taking, again and again, the trial that adds most; then those that
    /// the later ones have made needless are dropped.
    pub fn covering(self, cover: Cover) -> (Self, Size) {
        let (mut parts, mut edges) = (Numbers(HashMap::new()), Numbers(HashMap::new()));
        let candidate = |trial: Trial| Candidate {
            parts: parts.of(cover.parts(&trial)),
            edges: edges.of(trial.path.edges().map(|edge| (trial.builds_before, edge))),
        };
        let candidates: Vec<_> = self.trials().map(candidate).collect();
        let taken = greedy(&candidates, parts.0.len(), edges.0.len());
        let ends = |end: fn(&[u32]) -> Option<&u32>| {
            let ends = candidates.iter().filter_map(|candidate| end(&candidate.parts));
            ends.collect::<HashSet<_>>().len()
        };
        let size = Size {
            trials: taken.len(),
            of: candidates.len(),
            least: ends(<[u32]>::first).max(ends(<[u32]>::last)),
        };
        let trials = self.trials().enumerate().filter(|(number, _)| taken.contains(number));
        let pair = |trial: &Trial| (trial.path.name(), outcome_name(&trial.emulator));
        let pairs = trials.map(|(_, trial)| pair(&trial)).collect();
        (self.only(pairs), size)
    }
}

/// The numbers of the candidates that are taken.
fn greedy(candidates: &[Candidate], parts: usize, edges: usize) -> HashSet<usize> {
    let (mut times, mut seen) = (vec![0_u32; parts], vec![false; edges]);
    let gain = |candidate: &Candidate, times: &[u32], seen: &[bool]| {
        let new = candidate.parts.iter().filter(|&&part| times[part as usize] == 0).count();
        let unseen = candidate.edges.iter().filter(|&&edge| !seen[edge as usize]).count();
        (new, unseen)
    };
    let numbered = candidates.iter().enumerate();
    let mut heap: BinaryHeap<_> =
        numbered.map(|(number, it)| (gain(it, &times, &seen), Reverse(number))).collect();
    let mut taken = Vec::new();
    // A gain only falls. What has kept its own since it was put in is the best.
    while let Some((known, Reverse(number))) = heap.pop() {
        let candidate = &candidates[number];
        let now = gain(candidate, &times, &seen);
        if now.0 == 0 {
            continue;
        }
        if now != known {
            heap.push((now, Reverse(number)));
            continue;
        }
        candidate.parts.iter().for_each(|&part| times[part as usize] += 1);
        candidate.edges.iter().for_each(|&edge| seen[edge as usize] = true);
        taken.push(number);
    }
    let mut needed = HashSet::new();
    for number in taken.into_iter().rev() {
        let parts = &candidates[number].parts;
        if parts.iter().all(|&part| times[part as usize] > 1) {
            parts.iter().for_each(|&part| times[part as usize] -= 1);
        } else {
            needed.insert(number);
        }
    }
    needed
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::graph::test_graphs::{Plain, diamonds, random};
    use crate::harness::plan::Filter;
    use crate::harness::plan::tests::plan_of;
    use crate::qemu::Between;

    fn size(trials: usize, of: usize, least: usize) -> Size {
        Size { trials, of, least }
    }

    /// Would catch a set that is larger than it must be, and a second build of an emulator that
    /// is taken for covered by the first.
    #[test]
    fn two_sides_of_every_diamond() {
        let cover = |emulators: &[&str], cover| {
            plan_of(&diamonds(4), emulators, Filter::default()).covering(cover).1
        };
        assert_eq!(cover(&["a"], Cover::Nodes), size(2, 16, 1));
        assert_eq!(cover(&["a"], Cover::Edges), size(2, 16, 1));
        assert_eq!(cover(&["a"], Cover::Cases), size(2, 16, 1));
        assert_eq!(cover(&["a"], Cover::Tests), size(1, 16, 1));
        assert_eq!(cover(&["a", "b"], Cover::Edges), size(4, 32, 2));
    }

    /// Would catch a second emulator of one build that is covered once more, and emulators of two
    /// builds that are taken for one.
    #[test]
    fn variants_of_one_build() {
        let trials = |emulators: &[&str]| {
            plan_of(&diamonds(4), emulators, Filter::default()).covering(Cover::Edges).1.trials
        };
        assert_eq!(trials(&["bin/a", "bin/a-microvm"]), 2);
        assert_eq!(trials(&["bin/a-microvm", "bin/a"]), 2);
        assert_eq!(trials(&["old/a", "new/a-microvm"]), 4);
        assert_eq!(trials(&["bin/a", "bin/amicrovm"]), 4);
        assert_eq!(trials(&["bin/a", "bin/a-microvm", "b"]), 4);
    }

    /// Would catch a form of a test that is taken for covered by another.
    #[test]
    fn every_form_of_a_test() {
        let filter = Filter::default().with_forms(vec![None, Some(Between::Reset)]);
        let size_of = |cover| plan_of(&diamonds(1), &["a"], filter.clone()).covering(cover).1;
        assert_eq!(size_of(Cover::Tests).trials, 2);
        assert_eq!(size_of(Cover::Nodes).trials, 2, "both sides, in any form");
    }

    /// Would catch a test that is run on the poorest path that has it.
    #[test]
    fn the_paths_of_tests_show_much() {
        let mut graph = diamonds(1);
        graph.test("s/u", "n1");
        let (plan, _) = plan_of(&graph, &["a"], Filter::default()).covering(Cover::Tests);
        let names: Vec<_> = plan.trials().map(|trial| trial.path.name()).collect();
        assert_eq!(names, ["/x/m/n0/a0/n1/s/t", "/x/m/n0/b0/n1/s/u"]);
    }

    /// Would catch a device on which a suite of many devices is left out because the suite's
    /// tests have run on another.
    #[test]
    fn every_suite_on_every_driver() {
        let mut graph = Plain::default();
        graph.machines.push("x/m".to_owned());
        graph.interfaces.push("i".to_owned());
        for device in ["a", "b", "c"] {
            graph.drivers.push(device.to_owned());
            graph.edge("x/m", device).edge(device, "i");
        }
        graph.test("s/one", "i").test("s/two", "i").test("t/one", "i");
        let plan = |cover| plan_of(&graph, &["a"], Filter::default()).covering(cover);
        assert_eq!(plan(Cover::Tests).1, size(3, 9, 3));
        let (plan, size_of) = plan(Cover::Cases);
        assert_eq!(size_of, size(6, 9, 3));
        let names: Vec<_> = plan.trials().map(|trial| trial.path.name()).collect();
        for (device, suite) in ["a", "b", "c"].iter().flat_map(|it| [(it, "s"), (it, "t")]) {
            let begin = format!("/x/m/{device}/i/{suite}/");
            assert!(names.iter().any(|name| name.starts_with(&begin)), "{begin}: {names:?}");
        }
    }

    proptest! {
        /// Would catch a set that leaves something out, and one of which a path is needless.
        #[test]
        fn everything_is_covered(graph in random::graph()) {
            for cover in [Cover::Nodes, Cover::Edges, Cover::Cases, Cover::Tests] {
                let whole = plan_of(&graph, &["a"], Filter::default());
                let parts = |trials: &[Trial]| -> HashSet<Part> {
                    trials.iter().flat_map(|trial| cover.parts(trial)).collect()
                };
                let all: Vec<_> = whole.trials().collect();
                // Two edges of one name are an error that `qgraph check` tells.
                let names: HashSet<_> = all.iter().map(|trial| trial.path.name()).collect();
                prop_assume!(names.len() == all.len());
                let (plan, size) = whole.covering(cover);
                let mut taken: Vec<_> = plan.trials().collect();
                prop_assert!(parts(&taken) == parts(&all));
                prop_assert_eq!((size.trials, size.of), (taken.len(), all.len()));
                prop_assert!(size.least <= size.trials);
                for number in 0..taken.len() {
                    let without = taken.remove(number);
                    prop_assert!(parts(&taken) != parts(&all), "{}", without.path.name());
                    taken.insert(number, without);
                }
            }
        }
    }
}
