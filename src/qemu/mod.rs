//! One emulator: the binary, what it can do, its qtest accelerator, and a running process.

pub mod accel;
