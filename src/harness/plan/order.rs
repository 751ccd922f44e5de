//! In which order trials come, and how often.

use fastrand::Rng;

use crate::harness::plan::{Plan, Trial};

/// The order of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Order {
    /// What the order is made from; none for that of the list.
    pub seed: Option<u64>,
    /// How often everything comes.
    pub times: usize,
}

impl Default for Order {
    fn default() -> Self {
        Self { seed: None, times: 1 }
    }
}

impl Order {
    /// The trials of `plan` in this order. Shuffled, those that one QEMU can run stay
    /// together, in an order of their own, and every round has another order.
    pub fn trials(self, plan: Plan) -> Box<dyn Iterator<Item = Trial> + Send> {
        match self.seed {
            None => Box::new((0..self.times).flat_map(move |_| plan.trials())),
            Some(seed) => Box::new((0..self.times).flat_map(move |round| {
                let rng = Rng::with_seed(seed.wrapping_add(round as u64));
                shuffled(plan.trials(), rng)
            })),
        }
    }
}

fn shuffled(trials: impl Iterator<Item = Trial>, mut rng: Rng) -> impl Iterator<Item = Trial> {
    let mut groups: Vec<Vec<Trial>> = Vec::new();
    for trial in trials {
        match groups.last_mut() {
            Some(group) if group[0].shares_qemu_with(&trial) => group.push(trial),
            _ => groups.push(vec![trial]),
        }
    }
    rng.shuffle(&mut groups);
    groups.iter_mut().for_each(|group| rng.shuffle(group));
    groups.into_iter().flatten()
}
