//! Every path of the graph as a test of `cargo test` and nextest: those of this crate and
//! those of qgraph.

use std::process::ExitCode;

use board_tests as _;

fn main() -> ExitCode {
    qgraph::harness::cargo_test()
}
