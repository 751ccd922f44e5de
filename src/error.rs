//! The error that drivers and tests return: what went wrong with QEMU, or what was found
//! wrong with the device.

use crate::protocol;

/// What stops a test.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The conversation with QEMU broke off, or QEMU refused a request.
    #[error(transparent)]
    Protocol(#[from] protocol::Error),
    /// A driver or a test found something that should not be.
    #[error("{0}")]
    Failed(String),
    /// The test does not apply here; the reason.
    #[error("{0}")]
    Skipped(String),
    /// The set-up of a test has ended, after which the machine is reset and the path begins anew:
    /// see [`Vm::set_up_ends`](crate::qemu::Vm::set_up_ends).
    #[error("the set-up ends here; the machine is to be reset")]
    SetUpEnds,
    /// An error, and what was being done.
    #[error("{what}: {source}")]
    Context {
        /// What was being done.
        what: String,
        /// What went wrong.
        source: Box<Error>,
    },
}

impl Error {
    /// A finding of a driver or test.
    pub fn failed(what: impl Into<String>) -> Self {
        Self::Failed(what.into())
    }

    /// The reason why a test does not apply here.
    pub fn skipped(why: impl Into<String>) -> Self {
        Self::Skipped(why.into())
    }

    /// The same error, with what was being done.
    pub fn context(self, what: impl Into<String>) -> Self {
        Self::Context { what: what.into(), source: Box::new(self) }
    }

    /// What broke off the conversation with QEMU, if that is what stopped the test.
    pub fn into_protocol(self) -> Option<protocol::Error> {
        match self {
            Self::Protocol(e) => Some(e),
            Self::Context { source, .. } => source.into_protocol(),
            _ => None,
        }
    }

    /// The error without what was being done.
    pub fn root(&self) -> &Self {
        match self {
            Self::Context { source, .. } => source.root(),
            other => other,
        }
    }
}

/// The result of reading a register, attaching a driver, running a test.
pub type Result<T, E = Error> = std::result::Result<T, E>;
