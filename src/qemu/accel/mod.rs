//! The qtest accelerator of an emulator: built in, shipped, or brought as a module.
