//! The program `qgraph`; everything is in the library.

qgraph::main!();
