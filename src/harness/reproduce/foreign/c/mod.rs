//! Tests in C against QEMU's `libqtest`, read without a compiler: the requests that a test
//! makes, as far as they do not depend on what QEMU answers.

mod expression;
mod frame;
mod lex;
mod library;
mod source;
mod statement;
#[cfg(test)]
mod tests;
mod value;

use std::collections::HashMap;

pub(super) use library::formatted;
pub(super) use source::read;

/// One test.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Test {
    /// The function.
    pub name: String,
    /// The rows that it takes, from 0.
    pub rows: (usize, usize),
    /// What `qtest_init` is given.
    pub arguments: Option<String>,
    /// The requests; QMP commands begin with `{`.
    pub requests: Vec<String>,
    /// What a reader should know.
    pub notes: Vec<String>,
    /// The targets for which the file adds the test.
    pub targets: Vec<String>,
}

/// The value of a sum such as `$((…))` holds, with the values of variables.
pub(super) fn calculate(text: &str, variables: &HashMap<String, String>) -> Option<u64> {
    source::calculate(text, variables)
}
