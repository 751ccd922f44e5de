//! The whole `qgraph` program, with the nodes of this crate in its graph.

qgraph::main!(board_tests);
