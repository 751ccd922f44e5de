//! Running paths: which of them, on which emulators, in parallel, and what came of each.
//! Nothing here knows what a device is.

mod cargo_test;
mod cpu;
mod desk;
mod diagnose;
mod durations;
mod expectations;
mod filter;
mod fleet;
pub mod journal;
mod merge;
mod minimize;
pub mod mutate;
mod order;
mod outcome;
mod plan;
mod pool;
mod recorder;
mod replay;
pub mod report;
mod reproducer;
mod run;
mod shard;
mod worker;

pub use cargo_test::main as cargo_test;
pub use cpu::CpuTime;
pub use durations::Durations;
pub use expectations::{BadExpectations, Expectations};
pub use filter::{BadPattern, Filter};
pub use fleet::Fleet;
pub use journal::Journal;
pub use merge::Merge;
pub use minimize::Minimizer;
pub use order::Order;
pub use outcome::{Attempt, Evidence, Outcome, Phases, Verdict};
pub use plan::{Plan, Trial};
pub use pool::{Settings, Totals, run_all};
pub use replay::{Judgement, Replay, replay};
pub use report::Report;
pub use reproducer::{About, BadReproducer, Reproducer, Reproducers, Step};
pub use shard::{BadShard, Shard};
pub use worker::run_alone;
