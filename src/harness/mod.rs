//! Running paths: which of them, on which emulators, in parallel, and what came of each.
//! Nothing here knows what a device is.

mod cargo_test;
pub mod compare;
mod diagnose;
mod environment;
mod host;
pub mod journal;
mod matrix;
pub mod mutate;
mod outcome;
mod plan;
pub mod report;
mod reproduce;
mod run;
pub(crate) mod start;

pub use cargo_test::main as cargo_test;
pub use environment::{EmulatorFacts, Environment};
pub use journal::{Header, Journal, Merge, Missing, Shares};
pub use matrix::{Differing, Matrix, MatrixOutput};
pub use outcome::{Attempt, Evidence, Outcome, Phases, Verdict};
pub(crate) use plan::outcome_name;
pub use plan::{
    BadCover, BadPattern, BadShard, Cover, Durations, Filter, Fleet, Form, Order, Plan, Shard,
    Size, Trial,
};
pub use report::{Conclusion, Report};
pub use reproduce::{
    About, BadReproducer, Judgement, Minimizer, Replay, Reproducer, Reproducers, Step, foreign,
    replay,
};
pub use run::{
    BadExpectations, CpuTime, Expectations, Settings, Totals, Trace, possible_jobs, run_all,
    run_alone,
};
