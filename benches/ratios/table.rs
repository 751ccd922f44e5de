//! The rows of the result, each printed as soon as it is known.

use std::fmt::Display;

/// What was measured so far.
pub struct Table {
    missed: usize,
}

impl Table {
    /// Prints the head.
    pub fn begin() -> Self {
        println!("{:<56} {:>10}  {:>8}", "ratio", "measured", "goal");
        Self { missed: 0 }
    }

    /// A ratio that shall be at least `goal`.
    pub fn at_least(&mut self, name: &str, measured: f64, goal: f64) {
        let reached = measured >= goal;
        let (goal, verdict) = (format!(">= {goal}"), if reached { "reached" } else { "MISSED" });
        println!("{name:<56} {measured:>10.2}  {goal:>8}  {verdict}");
        self.missed += usize::from(!reached);
    }

    /// Something to know, without a goal.
    pub fn note(&self, name: &str, value: impl Display) {
        println!("    {name:<52} {value:>10}");
    }

    /// A group that could not be measured.
    pub fn failed(&mut self, group: &str, why: impl Display) {
        println!("{group}: not measured: {why}");
        self.missed += 1;
    }

    /// Whether every goal was reached.
    pub fn all_reached(&self) -> bool {
        self.missed == 0
    }
}
