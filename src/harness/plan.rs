//! The emulators times the graph: what is to run.

use std::sync::Arc;

use super::filter::Filter;
use crate::graph::{Model, Path};
use crate::qemu::Emulator;

/// One path on one emulator.
#[derive(Debug, Clone)]
pub struct Trial {
    /// The path.
    pub path: Path,
    /// The emulator.
    pub emulator: Arc<Emulator>,
    /// How often an emulator before this one has the same path.
    pub copies_before: usize,
}

impl Trial {
    /// The path's name; where several emulators have the path, all but the first add
    /// theirs, so that names are unique.
    pub fn unique_name(&self) -> String {
        match self.copies_before {
            0 => self.path.name(),
            _ => format!("{}@{}", self.path.name(), self.emulator.path.display()),
        }
    }

    /// Whether one QEMU can run both, one after the other.
    pub fn shares_qemu_with(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.emulator, &other.emulator) && self.path.config() == other.path.config()
    }
}

/// What is to run.
#[derive(Clone)]
pub struct Plan {
    model: Arc<Model>,
    emulators: Vec<Arc<Emulator>>,
    filter: Filter,
}

impl Plan {
    /// All that `filter` wants of what these emulators have of `model`.
    pub fn new(model: Arc<Model>, emulators: Vec<Arc<Emulator>>, filter: Filter) -> Self {
        Self { model, emulators, filter }
    }

    /// The trials, emulator by emulator, made as they are asked for.
    pub fn trials(&self) -> impl Iterator<Item = Trial> + use<> {
        let plan = self.clone();
        (0..plan.emulators.len()).flat_map(move |number| {
            let (plan, wanted) = (plan.clone(), plan.clone());
            let emulator = plan.emulators[number].clone();
            let available = plan.model.availability(&emulator.capabilities);
            plan.model
                .walk(Some(available), |machine| plan.filter.wants_machine(machine))
                .filter(move |path| wanted.filter.wants_path(&path.name()))
                .map(move |path| {
                    let copies_before = plan.copies_before(&path, number);
                    Trial { path, emulator: emulator.clone(), copies_before }
                })
        })
    }

    /// The paths that none of the emulators has.
    pub fn missing(&self) -> impl Iterator<Item = Path> + use<> {
        let plan = self.clone();
        let everything = plan.model.walk(None, |machine| plan.filter.wants_machine(machine));
        everything.filter(move |path| {
            plan.copies_before(path, plan.emulators.len()) == 0
                && plan.filter.wants_path(&path.name())
        })
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

    fn copies_before(&self, path: &Path, number: usize) -> usize {
        let has = |emulator: &&Arc<Emulator>| {
            self.model.first_lack(path, &emulator.capabilities).is_none()
        };
        self.emulators[..number].iter().filter(has).count()
    }
}
