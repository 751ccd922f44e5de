//! One emulator: the binary, what it can do, its qtest accelerator, and a running process.

pub mod accel;
mod backend;
pub mod binary;
pub mod cache;
mod capabilities;
pub mod command_line;
mod confine;
pub mod discovery;
mod emulator;
mod heap;
mod keep;
mod limits;
mod lost_time;
mod pace;
mod probe;
pub(crate) mod proc_stat;
mod process;
mod ram;
mod vm;
mod wrapper;

pub use backend::{Backend, Served};
pub use capabilities::{Capabilities, MachineType, ParseVersionError, Version};
pub use command_line::{Config, Image, MIB, RamSpec, Socket};
pub use confine::{Confinement, confine};
pub use emulator::Emulator;
pub use heap::Heap;
pub use keep::{Keep, Kept};
pub use limits::Limits;
pub(crate) use lost_time::{LostTime, this_thread};
pub use pace::Pace;
pub use probe::{Probed, Prober, Unusable};
pub use process::{Ending, is_stopping, stop_all};
pub(crate) use ram::GUARD_PATTERN;
pub use ram::{Buffer, Ram};
pub use vm::{LaunchError, ResetError, Starting, Vm};
pub use wrapper::{BadWrapper, Wrapper};
