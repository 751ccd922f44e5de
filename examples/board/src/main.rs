//! The whole `qgraph` program, with the nodes of this crate in its graph.

use std::process::ExitCode;

use board_tests as _;

fn main() -> ExitCode {
    qgraph::cli::main()
}
