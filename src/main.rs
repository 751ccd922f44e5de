//! The program `qgraph`; everything is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    qgraph::cli::main()
}
