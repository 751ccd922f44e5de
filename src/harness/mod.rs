//! Running paths: which of them, on which emulators, in parallel, and what came of each.
//! Nothing here knows what a device is.

mod cargo_test;
mod diagnose;
pub mod journal;
pub mod mutate;
mod outcome;
mod plan;
pub mod report;
mod reproduce;
mod run;

pub use cargo_test::main as cargo_test;
pub use journal::{Journal, Merge};
pub use outcome::{Attempt, Evidence, Outcome, Phases, Verdict};
pub use plan::{BadPattern, BadShard, Durations, Filter, Fleet, Order, Plan, Shard, Trial};
pub use report::Report;
pub use reproduce::{
    About, BadReproducer, Judgement, Minimizer, Replay, Reproducer, Reproducers, Step, replay,
};
pub use run::{BadExpectations, CpuTime, Expectations, Settings, Totals, run_all, run_alone};
