//! Ciphers with two keys of a crypto device (5.9.7.5, 5.9.8.5): RSA.

use super::crypto::{AKCIPHER_CREATE_SESSION, AKCIPHER_DESTROY_SESSION, Live, OK, header};
use crate::{Error, Result};

/// The algorithm.
pub const RSA: u32 = 1;
/// The key is a public one.
pub const PUBLIC: u32 = 1;
/// The key is a private one.
pub const PRIVATE: u32 = 2;
/// No padding: numbers are as long as the modulus.
pub const RAW: u32 = 0;
/// The padding of PKCS #1, version 1.5.
pub const PKCS1: u32 = 1;
/// No hash.
pub const NO_HASH: u32 = 0;
/// The hash SHA-256.
pub const SHA256: u32 = 6;

/// Operations: by the public key.
pub const ENCRYPT: u32 = 4 << 8;
/// By the private key.
pub const DECRYPT: u32 = 4 << 8 | 1;
/// A signature by the private key.
pub const SIGN: u32 = 4 << 8 | 2;
/// Whether a signature is right, by the public key.
pub const VERIFY: u32 = 4 << 8 | 3;

/// Status: the signature is wrong.
pub const KEY_REJECTED: u8 = 6;

/// A request for a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RsaSession {
    /// The algorithm.
    pub algorithm: u32,
    /// Which of the two keys it is.
    pub key_type: u32,
    /// How long the key is said to be.
    pub key_length: u32,
    /// The padding.
    pub padding: u32,
    /// The hash.
    pub hash: u32,
}

impl Live {
    /// Asks for a session with a key in DER; returns the status and its number.
    ///
    /// # Errors
    /// The device does not answer as it must.
    pub fn create_rsa(&self, session: RsaSession, key: &[u8]) -> Result<(u8, u64)> {
        let RsaSession { algorithm, key_type, key_length, padding, hash } = session;
        let head = header(&[
            (0, AKCIPHER_CREATE_SESSION),
            (4, algorithm),
            (16, algorithm),
            (20, key_type),
            (24, key_length),
            (28, padding),
            (32, hash),
        ]);
        self.create_by(&[&head, key])
    }

    /// Ends a session of RSA; returns the status.
    ///
    /// # Errors
    /// The device does not answer as it must.
    pub fn destroy_rsa(&self, session: u64) -> Result<u8> {
        self.destroy_by(AKCIPHER_DESTROY_SESSION, session)
    }

    /// Has an operation of RSA carried out on these bytes, with room for a result of this length;
    /// returns the status and the result.
    ///
    /// # Errors
    /// The device does not answer as it must.
    pub fn rsa(
        &self,
        operation: u32,
        session: u64,
        bytes: &[u8],
        length: usize,
    ) -> Result<(u8, Vec<u8>)> {
        let lengths = (bytes.len() as u32, length as u32);
        self.rsa_by(operation, session, lengths, &[bytes], length)
    }

    /// Whether a signature is that of a digest; returns the status.
    ///
    /// # Errors
    /// The device does not answer as it must.
    pub fn rsa_verify(&self, session: u64, signature: &[u8], digest: &[u8]) -> Result<u8> {
        let lengths = (signature.len() as u32, digest.len() as u32);
        self.rsa_by(VERIFY, session, lengths, &[signature, digest], 0).map(|(status, _)| status)
    }

    /// Has an operation carried out with lengths that are said to be those of what it is about and
    /// of the result.
    ///
    /// # Errors
    /// The device does not answer as it must.
    pub fn rsa_by(
        &self,
        operation: u32,
        session: u64,
        (length, result_length): (u32, u32),
        bytes: &[&[u8]],
        room: usize,
    ) -> Result<(u8, Vec<u8>)> {
        let (low, high) = (session as u32, (session >> 32) as u32);
        let head = header(&[
            (0, operation),
            (4, RSA),
            (8, low),
            (12, high),
            (24, length),
            (28, result_length),
        ]);
        let request: Vec<&[u8]> = [&head[..]].into_iter().chain(bytes.iter().copied()).collect();
        let whole = self.data_loosely(&request, &[room, 1])?;
        let (status, result) =
            whole.split_last().ok_or_else(|| Error::failed("an answer without a status"))?;
        Ok((*status, result.to_vec()))
    }

    /// A session with a key in DER.
    ///
    /// # Errors
    /// Returns [`Error::Failed`] if the device refuses it.
    pub fn rsa_session(&self, key_type: u32, key: &[u8], how: (u32, u32)) -> Result<u64> {
        let (padding, hash) = how;
        let key_length = key.len() as u32;
        let asked = RsaSession { algorithm: RSA, key_type, key_length, padding, hash };
        match self.create_rsa(asked, key)? {
            (OK, session) => Ok(session),
            (status, _) => Err(Error::failed(format!("{asked:?}: status {status}"))),
        }
    }
}
