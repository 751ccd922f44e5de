//! Guests as tests: programs that run on the CPUs of a machine and say how they fare. What a
//! guest is, from which files guests are read, what their lines mean, and what their end means.
//!
//! Nothing here starts a QEMU or knows the graph. No shell evaluates anything of a file that is
//! read: the few constructs in use are understood, all others are refused by name.

mod convention;
mod elf;
mod fixture;
mod folder;
mod guest;
mod listed;
mod log;
mod parts;
mod read;
mod standalone;
mod unittests;

pub use convention::{Convention, Judged, Seen};
pub use fixture::Fixture;
pub use guest::{Guest, Way};
pub use log::Log;
pub use parts::{Part, PartKind, Parts};
pub use read::{BadGuests, Choice, read};
pub use unittests::with_time;
