//! Shell scripts that give requests to a QEMU, read without a shell: what a pipeline would
//! hand to the emulator is worked out from here-documents, `echo`, `printf`, variables and
//! loops. Commands that would have to run are passed over.

mod evaluate;
mod lex;
mod parse;
mod syntax;
#[cfg(test)]
mod tests;

pub(super) use evaluate::{MISSING, read, split};
