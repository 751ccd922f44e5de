//! How to test a device of your own with qgraph, without a change to qgraph.
//!
//! This crate adds these things to the graph, a file each:
//!
//! | file | adds |
//! |---|---|
//! | [`edu`] | a driver for a device, QEMU's PCI device for teaching |
//! | [`edu_tests`] | a suite for that device |
//! | [`xtensa_virt`] | a machine, a made-up board of the Xtensa emulator |
//! | [`system_control`] | a device on machines that are declared in qgraph |
//! | [`serial`] | a device whose other end is a thread of this program |
//!
//! Read them in that order. Nobody lists which test runs where: the driver says that it is
//! plugged into a PCI bus, and so the suite runs on every machine of qgraph that has one.
//! The new machine says that it has a PCI bus, and so whatever qgraph can plug into one is
//! tested on it, too. With the emulators of these at hand:
//!
//! ```text
//! cargo test -p board-tests                           all paths, qgraph's own among them
//! cargo test -p board-tests --test paths edu-tests    those of the suite
//! cargo run -p board-tests -- why edu                 where the device is available
//! ```
//!
//! Two things to keep in mind. A file that no `mod` line names is not part of the program,
//! and neither are its nodes. And a program that does not mention a library is not linked
//! with it: hence the names in `qgraph::main!(board_tests);` of `src/main.rs` and
//! `qgraph::test_main!(board_tests);` of `tests/paths.rs`.

pub mod edu;
pub mod edu_tests;
pub mod serial;
pub mod system_control;
pub mod xtensa_virt;

#[cfg(test)]
mod tests {
    use qgraph::graph::Model;

    /// Would catch a node that cannot be reached, or a name that qgraph has already given
    /// to something else. `cargo run -- check` says the same.
    #[test]
    fn the_graph_is_sound() {
        let model = Model::registered();
        assert_eq!(model.check(), []);
        for name in ["xtensa/virt", "edu", "edu-tests/liveness"] {
            assert!(model.find(name).is_some(), "{name} is not registered");
        }
    }
}
