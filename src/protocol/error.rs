//! What can go wrong between harness and QEMU. Values only: whether a missing answer means
//! "hung" and a closed connection "crashed" is for the harness to say.

use std::io;
use std::time::Duration;

/// The result of a request.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a request has no result. All texts are escaped and shortened, fit to be printed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No answer in time. The connection stays usable: an answer that comes later is dropped.
    #[error(
        "`{what}` got no {}answer within {waited:.1?}{}{}",
        if partial.is_empty() { "" } else { "whole " },
        if partial.is_empty() { String::new() } else { format!(", only `{partial}`") },
        if lost.is_zero() { String::new() } else {
            format!(" (for {lost:.1?} of that the computer did not let it run)")
        }
    )]
    Deadline {
        /// The request.
        what: String,
        /// The part of a line that had come; empty if none.
        partial: String,
        /// How long the answer, or the last part of several, was waited for.
        waited: Duration,
        /// The part of that time in which QEMU could not work, as far as is known.
        lost: Duration,
    },

    /// QEMU closed the connection: it crashed, or ended.
    #[error(
        "QEMU closed the connection before `{what}` was answered{}",
        if partial.is_empty() { String::new() } else { format!(", in the middle of `{partial}`") }
    )]
    Closed {
        /// The request.
        what: String,
        /// The part of a line that had come; empty if none.
        partial: String,
    },

    /// An answer without end. The rest of it is dropped when it comes.
    #[error("the answer to `{what}` is longer than {limit} bytes, which no answer of QEMU is")]
    LineTooLong {
        /// The request.
        what: String,
        /// The longest line that is accepted, in bytes.
        limit: usize,
    },

    /// An answer that is not of the protocol, or not one to this request.
    #[error("`{request}` was answered with `{answer}`, where {expected} was expected")]
    Garbled {
        /// The request.
        request: String,
        /// The answer.
        answer: String,
        /// What a proper answer would have been.
        expected: String,
    },

    /// QEMU answered `FAIL` or `ERR` on the qtest socket.
    #[error("QEMU refused `{request}`: {answer}")]
    Refused {
        /// The request.
        request: String,
        /// The answer, starting with `FAIL` or `ERR`.
        answer: String,
    },

    /// QEMU answered a QMP command with an error.
    #[error("the QMP command `{command}` failed: {desc} ({class})")]
    Qmp {
        /// The command's name.
        command: String,
        /// The error class, such as `GenericError` or `CommandNotFound`.
        class: String,
        /// The description, for people.
        desc: String,
    },

    /// The request cannot be put into the protocol's words, and was not sent.
    #[error("`{request}` was not sent: {why}")]
    Argument {
        /// The request.
        request: String,
        /// What is wrong with it.
        why: String,
    },

    /// The socket itself failed.
    #[error("`{what}` failed on the socket to QEMU")]
    Io {
        /// The request.
        what: String,
        /// The system's reason.
        source: io::Error,
    },
}
