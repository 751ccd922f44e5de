//! Trusted Platform Modules (TCG PC Client Platform TPM Profile Specification, version 1.05): what
//! a front end does with a command, whichever its registers are, and the back end in the process
//! of the test.

mod backend;

use std::rc::Rc;

pub use backend::{
    BUFFER, CANCELED, FAILURE, HEADER, Manner, NAME, OPTIONS, SOCKET, TpmBackend, command, header,
    response,
};

use crate::qemu::Vm;
use crate::{Result, interface};

/// A front end of a TPM.
pub trait Tpm {
    /// The machine that it is in.
    fn vm(&self) -> &Rc<Vm>;

    /// The largest command in bytes.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    fn largest(&self) -> Result<usize>;

    /// Takes locality 0, and makes the TPM ready for a command.
    ///
    /// # Errors
    /// Returns an error if it does not get ready.
    fn prepare(&self) -> Result<()>;

    /// Hands in a command, without having it carried out.
    ///
    /// # Errors
    /// Returns an error if the TPM does not take it.
    fn hand_in(&self, command: &[u8]) -> Result<()>;

    /// Has the command carried out.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    fn go(&self) -> Result<()>;

    /// Whether there is a response.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    fn is_done(&self) -> Result<bool>;

    /// Takes the response, of as many bytes as it says.
    ///
    /// # Errors
    /// Returns an error if it is longer than the TPM can have any.
    fn take(&self) -> Result<Vec<u8>>;

    /// Whether the TPM says that it has failed, so that there is no response to take.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    fn has_failed(&self) -> Result<bool> {
        Ok(false)
    }

    /// Cancels the command that is carried out.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    fn cancel(&self) -> Result<()>;
}

interface!(dyn Tpm = "tpm");
