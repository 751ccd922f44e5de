//! The emulators times the graph: what is to run.

pub(crate) mod cover;
pub(crate) mod durations;
pub(crate) mod filter;
pub(crate) mod fleet;
pub(crate) mod glob;
pub(crate) mod order;
pub(crate) mod shard;

use std::collections::{BTreeMap, HashSet};
use std::num::NonZeroUsize;
use std::sync::Arc;

use crate::graph::{Availability, Model, Path};
use crate::parallel::in_parallel;
use crate::qemu::{Config, Emulator, Probed, Unusable};
use shard::{Load, Rule};

pub use cover::{BadCover, Cover, Size};
pub use durations::Durations;
pub use filter::{BadPattern, Filter, Form};
pub use fleet::Fleet;
pub use order::Order;
pub use shard::{BadShard, Shard};

/// One path on one emulator.
#[derive(Debug, Clone)]
pub struct Trial {
    /// The path.
    pub path: Path,
    /// The emulator.
    pub emulator: Arc<Emulator>,
    /// How often an emulator before this one has the same path.
    pub copies_before: usize,
    /// How many builds of an emulator before this one have the same path: less than the copies
    /// where one build has several emulators for one architecture.
    pub builds_before: usize,
}

impl Trial {
    /// The command line of the path on this emulator.
    pub fn config(&self) -> Config {
        self.path.config_on(&self.emulator)
    }

    /// The path's name; where several emulators have the path, all but the first add
    /// theirs, so that names are unique.
    pub fn unique_name(&self) -> String {
        match self.copies_before {
            0 => self.path.name(),
            _ => format!("{}@{}", self.path.name(), outcome_name(&self.emulator)),
        }
    }

    /// Whether one QEMU can run both, one after the other.
    pub fn shares_qemu_with(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.emulator, &other.emulator) && self.config() == other.config()
    }
}

/// How outcomes name an emulator.
pub(crate) fn outcome_name(emulator: &Emulator) -> String {
    let path = crate::files::path_text::text(&emulator.path);
    match &emulator.environment {
        Some(environment) => format!("{path} [{}]", environment.name),
        None => path,
    }
}

/// Whether two emulators are of one build: of one folder and version, and the one's name is the
/// other's with a word more, as `qemu-system-x86_64-microvm` of Debian.
fn are_of_one_build(one: &Emulator, other: &Emulator) -> bool {
    let version = |it: &Emulator| (it.capabilities.version, it.capabilities.package.clone());
    let name = |it: &Emulator| it.path.file_name().unwrap_or_default().as_encoded_bytes().to_vec();
    let extends = |long: &[u8], short: &[u8]| {
        long.strip_prefix(short).is_some_and(|rest| rest.first() == Some(&b'-'))
    };
    let (first, second) = (name(one), name(other));
    one.path.parent() == other.path.parent()
        && version(one) == version(other)
        && (extends(&first, &second) || extends(&second, &first))
}

/// What is to run.
#[derive(Clone)]
pub struct Plan {
    model: Arc<Model>,
    emulators: Vec<Arc<Emulator>>,
    /// What each of them has of the model.
    available: Vec<Arc<Availability>>,
    filter: Filter,
    /// The names of the paths in our share; `None` for all.
    share: Option<Arc<HashSet<String>>>,
    /// The paths, each with the path of an emulator, to which the plan is restricted.
    pairs: Option<Arc<HashSet<(String, String)>>>,
}

impl Plan {
    /// All that `filter` wants of what these emulators have of `model`.
    pub fn new(model: Arc<Model>, emulators: Vec<Arc<Emulator>>, filter: Filter) -> Self {
        let available =
            emulators.iter().map(|it| model.availability_on(&it.capabilities, &it.path)).collect();
        Self { model, emulators, available, filter, share: None, pairs: None }
    }

    /// The graph.
    pub fn model(&self) -> &Arc<Model> {
        &self.model
    }

    /// Only the share of one of several machines. A path is in exactly one share, with all
    /// emulators that have it. Shares are of like size, in trials, or in the time that
    /// they took when `durations` were measured.
    pub fn share(&self, shard: Shard, durations: Option<&Durations>) -> Self {
        if shard.is_whole() {
            return self.clone();
        }
        let mut loads = BTreeMap::<String, Load>::new();
        for trial in self.trials() {
            let name = trial.path.name();
            let weight = durations.map_or(1, |it| it.micros(&name, &trial.emulator.path));
            let load = loads.entry(name).or_insert_with_key(|name| Load {
                name: name.clone(),
                group: format!("{} {:?}", trial.path.machine(), trial.config()),
                weight: 0,
            });
            load.weight += weight;
        }
        let loads: Vec<Load> = loads.into_values().collect();
        let rule = if durations.is_some() { Rule::LongestFirst } else { Rule::Stable };
        let picks = shard.picks(&loads, rule);
        let picked = loads.into_iter().zip(picks).filter(|(_, picked)| *picked);
        let share = picked.map(|(load, _)| load.name).collect();
        Self { share: Some(Arc::new(share)), ..self.clone() }
    }

    /// Only these paths, each on the emulator that is named with it as outcomes name it.
    pub fn only(self, pairs: HashSet<(String, String)>) -> Self {
        Self { pairs: Some(Arc::new(pairs)), ..self }
    }

    /// The same with what `change` makes of each emulator on which something is to run.
    ///
    /// # Errors
    /// Returns the first that cannot be used so.
    pub fn with_emulators(
        mut self,
        change: impl Fn(&Emulator) -> Probed + Sync,
    ) -> Result<Self, Unusable> {
        let used = self.used();
        let workers = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        let mut changed = Ok(());
        let change = |number: usize| (number, change(&self.emulators[number]));
        let mut all = Vec::new();
        in_parallel(used.into_iter(), workers, change, |result| all.push(result));
        for (number, probed) in all {
            match probed {
                Ok(emulator) => self.emulators[number] = Arc::new(emulator),
                Err(unusable) => changed = changed.and(Err(unusable)),
            }
        }
        changed.map(|()| self)
    }

    /// The numbers of the emulators on which something is to run.
    fn used(&self) -> Vec<usize> {
        let is_used = |number: &usize| {
            let emulator = &self.emulators[*number];
            let only = Self {
                emulators: vec![emulator.clone()],
                available: vec![self.available[*number].clone()],
                ..self.clone()
            };
            only.trials().next().is_some()
        };
        (0..self.emulators.len()).filter(is_used).collect()
    }

    /// Whether a debugger starts an emulator on which something is to run.
    pub fn is_debugged(&self) -> bool {
        let any = self.emulators.iter().any(|emulator| emulator.is_debugged());
        any && self.used().into_iter().any(|number| self.emulators[number].is_debugged())
    }

    fn wants(&self, name: &str) -> bool {
        self.filter.wants_path(name) && self.share.as_ref().is_none_or(|share| share.contains(name))
    }

    /// The first of the emulators that is of the same build as emulator `number`.
    fn build(&self, number: usize) -> usize {
        let emulator = &self.emulators[number];
        let first = self.emulators[..number].iter().position(|it| are_of_one_build(it, emulator));
        first.unwrap_or(number)
    }

    /// The trials, emulator by emulator, made as they are asked for.
    pub fn trials(&self) -> impl Iterator<Item = Trial> + use<> {
        let plan = self.clone();
        (0..plan.emulators.len()).flat_map(move |number| {
            let emulator = plan.emulators[number].clone();
            let before = plan.available[..number].to_vec();
            let builds: Vec<_> = (0..=number).map(|number| plan.build(number)).collect();
            let pairs = plan.pairs.clone().map(|pairs| (pairs, outcome_name(&emulator)));
            let is_paired = move |path: &Path| {
                let pair = |name: &String| (path.name(), name.clone());
                pairs.as_ref().is_none_or(|(pairs, name)| pairs.contains(&pair(name)))
            };
            let environment = emulator.environment.clone();
            let is_here = move |path: &Path| {
                environment.as_ref().is_none_or(|it| it.has_machine(path.machine()))
            };
            let paths = plan.wanted(Some(plan.available[number].clone()));
            let paths = paths.filter(is_here).filter(is_paired);
            paths.map(move |path| {
                let copies = before.iter().zip(&builds).filter(|(it, _)| path.is_in(it));
                let mut others: Vec<_> = copies.map(|(_, build)| build).collect();
                let copies_before = others.len();
                others.retain(|&build| *build != builds[number]);
                others.sort_unstable();
                others.dedup();
                let builds_before = others.len();
                Trial { copies_before, builds_before, path, emulator: emulator.clone() }
            })
        })
    }

    /// The paths that none of the emulators has.
    pub fn missing(&self) -> impl Iterator<Item = Path> + use<> {
        let available = self.available.clone();
        self.wanted(None).filter(move |path| !available.iter().any(|it| path.is_in(it)))
    }

    /// The paths that are wanted of those that `available` has; of all without, which are in
    /// no share.
    fn wanted(&self, available: Option<Arc<Availability>>) -> impl Iterator<Item = Path> + use<> {
        let is_available = available.is_some();
        let mut walk = self.model.walk(available, |machine| self.filter.wants_machine(machine));
        if self.filter.is_bound() {
            let filter = self.filter.clone();
            walk = walk.within(move |start| filter.may_want(start));
        }
        let plan = self.clone();
        let share = self.share.clone().filter(|_| is_available);
        let plan = Self { share, ..plan };
        let wants_all = plan.filter.wants_all() && plan.share.is_none();
        let forms = plan.filter.forms();
        let formed = walk.flat_map(move |path| {
            // A guest has no mark, and a machine of its own; an attack is of a form already.
            let is_plain = path.guest().is_some() || path.errs();
            let forms = forms.clone().into_iter().filter(move |form| form.is_none() || !is_plain);
            forms.map(move |between| path.with_between(between))
        });
        formed.filter(move |path| wants_all || plan.wants(&path.name()))
    }

    /// Why none of the emulators has `path`: the reason of the one that comes closest.
    pub fn why_missing(&self, path: &Path) -> String {
        let lacks = self.emulators.iter().filter_map(|emulator| {
            Some((self.model.first_lack(path, &emulator.capabilities)?, emulator))
        });
        match lacks.max_by(|a, b| a.0.cmp(&b.0)) {
            Some((crate::graph::Lack::Arch { needs, .. }, _)) => {
                format!("no emulator of {needs} at hand")
            }
            Some((lack, emulator)) => format!("{} {lack}", emulator.path.display()),
            None => "no usable emulator at hand".to_owned(),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use serde_json::json;

    use super::*;
    use crate::graph::test_graphs::{Plain, diamonds, emulator};

    /// 2^40 paths of each of the machines `x/m` and `x/n`, on these emulators of both.
    fn plan(emulators: &[&str], filter: Filter) -> Plan {
        let mut graph = diamonds(40);
        graph.machines.push("x/n".to_owned());
        graph.edge("x/n", "n0").test("s/short", "x/n").test("s/shorter", "x/n");
        plan_of(&graph, emulators, filter)
    }

    /// What `filter` wants of `graph`, on these emulators of the machines `x/m` and `x/n`.
    pub(crate) fn plan_of(graph: &Plain, emulators: &[&str], filter: Filter) -> Plan {
        let capabilities = emulator("x", ["m", "n"], []);
        let known = json!({"accelerator": "built-in", "capabilities": capabilities});
        let emulator = |path: &&str| {
            let emulator: Emulator = serde_json::from_value(known.clone()).expect("an emulator");
            Arc::new(Emulator { path: path.into(), ..emulator })
        };
        Plan::new(graph.model(), emulators.iter().map(emulator).collect(), filter)
    }

    fn filter(wanted: &[&str], exact: bool) -> Filter {
        let wanted: Vec<_> = wanted.iter().map(|&text| text.to_owned()).collect();
        Filter::new(&wanted, &[], &[], exact).unwrap()
    }

    /// Would catch a name, or the beginning of one, that is looked for on all paths: there
    /// are too many to wait for.
    #[test]
    fn names_are_looked_for_where_they_may_be() {
        let names = |wanted: &[&str], exact| {
            let trials = plan(&["a"], filter(wanted, exact)).trials();
            trials.map(|trial| trial.path.name()).collect::<Vec<_>>()
        };
        let all = plan(&["a"], Filter::default());
        let long = all.trials().nth(99).unwrap().path.name();
        assert_eq!(names(&[&long], true), *std::slice::from_ref(&long));
        assert_eq!(names(&["/x/n/s/short", "/x/m/s/short"], true), ["/x/n/s/short"]);
        assert_eq!(names(&["/x/n/s/*"], false), ["/x/n/s/short", "/x/n/s/shorter"]);
        let (start, _) = long.split_at(long.len() - "n39/a39/n40/s/t".len());
        assert_eq!(names(&[&format!("{start}n39/*")], false).len(), 2);
        assert!(names(&["/y/*"], false).is_empty());
        assert_eq!(plan(&[], filter(&["/x/n/s/s*r"], false)).missing().count(), 1);
    }

    /// Would catch the path of a second emulator that is called like that of the first.
    #[test]
    fn copies_are_counted() {
        let trials = plan(&["a", "b", "c"], filter(&["/x/n/s/short"], true)).trials();
        let names: Vec<_> = trials.map(|trial| trial.unique_name()).collect();
        assert_eq!(names, ["/x/n/s/short", "/x/n/s/short@b", "/x/n/s/short@c"]);
    }
}
