//! The bytes on the two sockets to one QEMU: the qtest protocol and QMP.
//!
//! Both clients are single-threaded (`&self` methods, to be shared by [`Rc`](std::rc::Rc)) and
//! share one [`Deadline`] and one [`Transcript`]. Nothing here knows of processes: who made the
//! sockets and who listens at their far ends is the business of the floors above.
//!
//! | file | holds |
//! |---|---|
//! | `line` | bytes to lines; no input or output, no clock |
//! | `poll` | waiting for one file |
//! | `channel` | lines over a socket, within a deadline |
//! | `deadline`, `timer` | how long that may take, by the time that QEMU could use |
//! | `answer` | what a line of the qtest protocol says; no input or output |
//! | `qtest`, `irq`, `bulk`, `batch`, `width` | the qtest client |
//! | `message`, `qmp` | QMP messages, and the QMP client |
//! | `pulse` | a sign of life of a thread that makes requests |
//! | `transcript`, `tap` | what is kept of all that, and listening in |
//! | `spoil` | a driver that errs: other values than were meant |
//! | `fuzz` | what fuzzers feed, and the test that replays what they found |

pub mod answer;
mod batch;
mod bulk;
mod channel;
mod deadline;
mod error;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod irq;
pub mod line;
pub mod message;
#[cfg(test)]
mod peer;
mod poll;
mod pulse;
mod qmp;
mod qtest;
mod spoil;
mod tap;
mod timer;
mod transcript;
mod width;

pub use answer::Endian;
pub use batch::{Answer, Answers, Batch, Slot};
pub use deadline::Deadline;
pub use error::{Error, Result};
pub use message::{Event, Greeting};
pub(crate) use poll::poll;
pub(crate) use pulse::{note_waiting, pulse};
pub use qmp::Qmp;
pub(crate) use qtest::MOST_POSTED;
pub use qtest::Qtest;
pub(crate) use spoil::Spoiler;
pub use tap::{Passage, Tap, Wire};
pub use timer::{Lost, Meter, Timer};
pub use transcript::Transcript;
pub use width::Width;
