//! Failures to take away: what a test asked of QEMU, kept as a file, run again, made small.

pub mod foreign;
mod guest;
pub(crate) mod minimize;
pub(crate) mod recorder;
pub(crate) mod replay;
pub(crate) mod reproducer;

pub use minimize::Minimizer;
pub use replay::{Judgement, Replay, replay};
pub use reproducer::{About, BadReproducer, Reproducer, Reproducers, Step};
