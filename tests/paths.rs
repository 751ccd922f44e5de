//! Every path of the graph as a trial of `cargo test` and nextest.

qgraph::test_main!();
