//! qgraph tests QEMU's device models: machines, drivers, interfaces and tests are nodes of
//! a graph, and a test runs on every machine from which a path leads to it.
//!
//! Most people run it: `qgraph run`, see the README. This is the library for those who write
//! machines, drivers and tests of their own, without a change to qgraph. The crate `board-tests`
//! in its `examples/board` has one of each.
//!
//! # What a test author needs
//!
//! | | |
//! |---|---|
//! | [`machine!`] | declares a machine: where paths begin |
//! | [`driver!`], [`interface!`], [`edge!`] | declare a device, what devices are used through, and further edges |
//! | [`tests!`] | declares the cases of a suite |
//! | [`main!`], [`test_main!`] | make a program of it, and a target of `cargo test` |
//! | [`graph::Contains`], [`graph::Produces`], [`graph::Consumes`] | the three kinds of edge, as traits |
//! | [`graph::QemuArgs`], [`graph::Setup`] | what an edge, and a machine, adds to the command line |
//! | [`graph::Site`] | where a driver is being attached |
//! | [`qemu::Vm`] | the running QEMU: its RAM, images, sockets, clock, and QMP |
//! | [`protocol::Qtest`] | ports, memory, clock and interrupts, request by request |
//! | [`qos::pci::PciDevice`], [`qos::i2c::I2cDevice`] | a device on a bus |
//! | [`qos::registers::Registers`], [`qos::registers::RegisterBlock`] | its registers, and what their data sheet says of them |
//! | [`qos::wait_until`] | waits, and steps the clock as far as needed |
//! | [`qos::interrupt::InterruptLine`] | whether an interrupt is asserted |
//! | [`Error`] | how a driver or test says that something is wrong, or does not apply |
//!
//! [`prelude`] has them all.
//!
//! The modules stand on each other like floors of a house; each uses only those before it.

mod error;
mod files;
mod parallel;
mod program;
mod shown;

pub mod protocol;

pub mod qemu;

pub mod guests;

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

pub mod prelude {
    //! What the files of machines, drivers and tests use most.
    //!
    //! ```
    //! use qgraph::prelude::*;
    //!
    //! /// The teaching device of QEMU.
    //! pub struct Edu(Rc<Bar>);
    //!
    //! impl Consumes<dyn PciBus> for Edu {
    //!     const ARGS: QemuArgs = QemuArgs::device("bus={bus},addr={addr}");
    //!
    //!     fn attach(bus: Rc<dyn PciBus>, site: &Site) -> Result<Self> {
    //!         let device = PciDevice::plugged(&bus, site)?;
    //!         let bar = device.map_bar(0)?;
    //!         device.enable()?;
    //!         Ok(Self(bar))
    //!     }
    //! }
    //!
    //! driver!(Edu = "edu"; consumes dyn PciBus);
    //!
    //! /// Would catch a device that does not answer.
    //! fn liveness(edu: &Edu, _: &Rc<Vm>) -> Result<()> {
    //!     edu.0.write32(0x04, 0x1234_5678)?;
    //!     assert_eq!(edu.0.read32(0x04)?, !0x1234_5678);
    //!     Ok(())
    //! }
    //!
    //! tests!(Edu, "edu-tests": liveness);
    //! ```

    pub use std::rc::Rc;

    pub use crate::graph::{
        Addition, Consumes, Contains, Instance, Plug, Produces, QemuArgs, Setup, Site, Variant,
        When,
    };
    pub use crate::qemu::{Backend, Image, MIB, RamSpec, Socket, Version, Vm};
    pub use crate::qos::i2c::{I2cBus, I2cDevice};
    pub use crate::qos::interrupt::InterruptLine;
    pub use crate::qos::pci::{Bar, PciBus, PciDevice};
    pub use crate::qos::registers::{Register, RegisterBlock, Registers, RegistersExt};
    pub use crate::qos::wait_until;
    pub use crate::{Error, GuestAddress, Result, driver, edge, interface, machine, tests};
}

pub use error::{Error, Result};
pub use program::Program;
/// A guest-physical address, as the methods of [`qemu::Vm`]'s handles take it.
pub use vm_memory::GuestAddress;
// For the macros, wherever they are used.
#[doc(hidden)]
pub use inventory;
