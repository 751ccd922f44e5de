//! The first line of a journal: what the run was to do, and on what. With it, whoever joins
//! journals knows which share one is of, and whether all its outcomes are there.

use std::io;

use serde::{Deserialize, Serialize};

use crate::harness::environment::Environment;
use crate::shown;

/// How a header's line begins, and no outcome's.
pub(super) const BEGINNING: &str = "{\"run\":{\"";

/// What a run was to do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// The share `K/N` of one of several machines; `None` for everything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shard: Option<String>,
    /// How many paths there are to run, one on several emulators counted for each; `None` if
    /// the run may end before it has run them all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paths: Option<usize>,
    /// On what they are run.
    pub environment: Environment,
}

/// The line as it is written.
#[derive(Serialize, Deserialize)]
struct Line<H> {
    run: H,
}

impl Header {
    /// Whether `line` is to be read as a header, rather than as an outcome.
    pub(super) fn is_meant(line: &[u8]) -> bool {
        line.starts_with(BEGINNING.as_bytes())
    }

    /// Reads a line.
    ///
    /// # Errors
    /// Returns the error of the JSON.
    pub(super) fn parse(line: &[u8]) -> serde_json::Result<Self> {
        serde_json::from_slice::<Line<Self>>(line).map(|line| line.run)
    }

    /// The line, without an end.
    ///
    /// # Errors
    /// Returns the error of the serialization.
    pub(super) fn line(&self) -> io::Result<String> {
        shown::json(&Line { run: self })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Would catch a header that is taken for an outcome, or that does not survive its line.
    #[test]
    fn it_reads_back() {
        let environment = Environment { host: "a\u{9b}\n".to_owned(), ..Environment::default() };
        let shard = Some("2/3".to_owned());
        for header in [
            Header { shard, paths: Some(7), environment },
            Header { shard: None, paths: None, environment: Environment::default() },
        ] {
            let line = header.line().unwrap();
            assert!(Header::is_meant(line.as_bytes()) && !line.contains('\n'), "{line}");
            assert_eq!(Header::parse(line.as_bytes()).unwrap(), header);
        }
    }
}
