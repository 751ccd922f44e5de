//! Running paths: which of them, on which emulators, in parallel, and what came of each.
//! Nothing here knows what a device is.

mod cargo_test;
mod filter;
mod fleet;
mod outcome;
mod plan;
mod pool;
mod report;
mod run;

pub use cargo_test::main as cargo_test;
pub use filter::{BadPattern, Filter};
pub use fleet::Fleet;
pub use outcome::{Attempt, Evidence, Outcome, Phases, Verdict};
pub use plan::{Plan, Trial};
pub use pool::run_all;
pub use report::Report;
pub use run::run;
