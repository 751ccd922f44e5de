//! Any bytes to the qtest client; what must hold is said in `qgraph::protocol::fuzz`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| qgraph::protocol::fuzz::qtest_reader(input));
