//! Running trials in parallel on QEMUs that are used again, and what counts as a pass.
//!
//! A session is a QEMU and what ran on it; a worker decides when a path gets a fresh QEMU and
//! when it runs again; the pool hands work to the workers.

pub(crate) mod cpu;
pub(crate) mod expectations;
mod fuzz;
mod guest;
mod jobs;
pub(crate) mod pool;
pub(crate) mod queue;
pub(crate) mod session;
mod silence;
pub(crate) mod starts;
pub(crate) mod trace;
pub(crate) mod worker;

pub use cpu::CpuTime;
pub use expectations::{BadExpectations, Expectations};
pub use jobs::possible_jobs;
pub use pool::{Settings, Totals, run_all};
pub use trace::Trace;
pub use worker::run_alone;
