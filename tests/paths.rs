//! Every path of the graph as a trial of `cargo test` and nextest.

use std::process::ExitCode;

fn main() -> ExitCode {
    qgraph::harness::cargo_test()
}
