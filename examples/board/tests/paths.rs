//! Every path of the graph as a test of `cargo test` and nextest: those of this crate and
//! those of qgraph.

qgraph::test_main!(board_tests);
