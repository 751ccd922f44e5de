//! qgraph tests QEMU's device models: machines, drivers, interfaces and tests are nodes of
//! a graph, and a test runs on every machine from which a path leads to it.
//!
//! The modules stand on each other like floors of a house; each uses only those before it.

mod error;
mod files;
mod parallel;
mod shown;

pub mod protocol;

pub mod qemu;

pub mod graph;

pub mod qos;

pub mod machines {
    //! The machines, one file each.
    include!(concat!(env!("OUT_DIR"), "/machines.rs"));
}

pub mod drivers {
    //! The drivers, buses among them, one file each.
    include!(concat!(env!("OUT_DIR"), "/drivers.rs"));
}

pub mod tests {
    //! The suites, one file each.
    include!(concat!(env!("OUT_DIR"), "/tests.rs"));
}

pub mod harness;

pub mod cli;

pub use error::{Error, Result};
/// A guest-physical address, as the methods of [`qemu::Vm`]'s handles take it.
pub use vm_memory::GuestAddress;
// For the macros, wherever they are used.
#[doc(hidden)]
pub use inventory;
