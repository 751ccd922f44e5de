//! The crypto device (5.9): sessions, and what is enciphered and deciphered in them. All numbers
//! are little-endian, through any interface.

use serde_json::json;

use super::device::UNTOUCHED;
use super::device::Virtio;
use super::queue::Queue;
use super::{Plain, Segment};
use crate::qemu::Buffer;
use crate::{Error, Result, interface};

/// The device type.
pub const DEVICE_TYPE: u32 = 20;

/// Fields of the configuration (5.9.4), 32 bits each but the last: whether the device is ready.
pub const STATUS: u64 = 0;
/// How many queues there are for data.
pub const MAX_DATAQUEUES: u64 = 4;
/// Which services there are, a bit each.
pub const CRYPTO_SERVICES: u64 = 8;
/// Which ciphers there are, a bit each.
pub const CIPHER_ALGO_L: u64 = 12;
/// Which hashes there are, a bit each.
pub const HASH_ALGO: u64 = 20;
/// Which codes of authentication there are, a bit each.
pub const MAC_ALGO_L: u64 = 24;
/// The longest key of a cipher in bytes.
pub const MAX_CIPHER_KEY_LEN: u64 = 36;
/// The longest request in bytes, 64 bits.
pub const MAX_SIZE: u64 = 48;

/// How a request came back (5.9.7): done.
pub const OK: u8 = 0;
/// It failed.
pub const ERR: u8 = 1;
/// The device has nothing of the kind.
pub const NOTSUPP: u8 = 3;
/// There is no such session.
pub const INVSESS: u8 = 4;

/// Ciphers (5.9.7.2.1.3): AES, each block by itself.
pub const AES_ECB: u32 = 2;
/// AES, each block with the one before.
pub const AES_CBC: u32 = 3;
/// AES of a counter.
pub const AES_CTR: u32 = 4;

/// What a session is for: to encipher.
pub const ENCRYPT: u32 = 1;
/// To decipher.
pub const DECRYPT: u32 = 2;

/// Services: hashes.
pub const SERVICE_HASH: u32 = 1 << 1;
/// Services: codes of authentication.
pub const SERVICE_MAC: u32 = 1 << 2;
/// Services: ciphers with two keys.
pub const SERVICE_AKCIPHER: u32 = 1 << 4;

/// Operations of the control queue: a session for a cipher.
pub const CIPHER_CREATE_SESSION: u32 = 2;
/// Its end.
pub const CIPHER_DESTROY_SESSION: u32 = 3;
/// A session for a hash.
pub const HASH_CREATE_SESSION: u32 = 1 << 8 | 2;
/// A session for codes of authentication.
pub const MAC_CREATE_SESSION: u32 = 2 << 8 | 2;
/// A session for ciphers with two keys.
pub const AKCIPHER_CREATE_SESSION: u32 = 4 << 8 | 4;
/// Its end.
pub const AKCIPHER_DESTROY_SESSION: u32 = 4 << 8 | 5;

/// A request for a cipher alone, the only one of QEMU's algorithms.
pub const SYM_OP_CIPHER: u32 = 1;

/// The lengths of what stands before keys and data.
const HEADER: usize = 72;
/// The length of what a new session comes back with.
const SESSION: usize = 16;

/// A crypto device, through any transport.
pub struct VirtioCrypto(
    /// The device.
    pub Virtio,
);

interface!(VirtioCrypto = "virtio-crypto");

/// A crypto device whose queues are live.
pub struct Live {
    device: Virtio,
    /// The queue of data.
    pub data: Queue,
    /// The queue of sessions.
    pub control: Queue,
}

/// A request of the control queue, as its 72 bytes have it.
#[derive(Debug, Clone, Copy)]
pub struct Session {
    /// The operation.
    pub operation: u32,
    /// The cipher.
    pub cipher: u32,
    /// How long the key is said to be.
    pub key_length: u32,
    /// What it is for.
    pub direction: u32,
    /// What kind of request it is.
    pub kind: u32,
}

/// A request of the data queue, likewise.
#[derive(Debug, Clone, Copy)]
pub struct Operation {
    /// The operation: 0 to encipher, 1 to decipher.
    pub operation: u32,
    /// The session.
    pub session: u64,
    /// How long the initial vector is said to be.
    pub iv_length: u32,
    /// How long the data is.
    pub length: u32,
    /// How long the result is.
    pub result_length: u32,
    /// What kind of request it is.
    pub kind: u32,
}

/// 32-bit numbers at their offsets, in so many bytes.
pub(super) fn header(numbers: &[(usize, u32)]) -> Vec<u8> {
    let mut bytes = vec![0; HEADER];
    for &(at, number) in numbers {
        bytes[at..at + 4].copy_from_slice(&number.to_le_bytes());
    }
    bytes
}

impl Operation {
    fn header(&self) -> Vec<u8> {
        let (low, high) = (self.session as u32, (self.session >> 32) as u32);
        let ids = [(0, self.operation), (8, low), (12, high)];
        let lengths = [(24, self.iv_length), (28, self.length), (32, self.result_length)];
        header(&[&ids[..], &lengths, &[(64, self.kind)]].concat())
    }
}

impl VirtioCrypto {
    /// Negotiates `wanted`, makes both queues live, and the driver ready.
    ///
    /// # Errors
    /// The device does not agree.
    pub fn start(&self, wanted: u64) -> Result<Live> {
        let accepted = self.0.negotiate(wanted)?;
        let queue = |index| self.0.queue(index, accepted);
        let live = Live { device: self.0.clone(), data: queue(0)?, control: queue(1)? };
        self.0.driver_ok()?;
        Ok(live)
    }

    /// A field of the configuration.
    ///
    /// # Errors
    /// QEMU does not answer.
    pub fn field(&self, at: u64) -> Result<u32> {
        self.0.config_le32(at)
    }
}

impl Live {
    /// Sends a request to the control queue, and has `answer` bytes written, of which it returns
    /// those that the device says it has written. What is behind them must be as it was.
    ///
    /// # Errors
    /// The device does not take it, or writes elsewhere.
    pub fn control(&self, request: &[&[u8]], answer: usize) -> Result<Vec<u8>> {
        self.device.exchange(&self.control, request, &[answer]).map(|(bytes, _)| bytes)
    }

    /// Asks for a session; returns the status and its number.
    ///
    /// # Errors
    /// The device does not answer as it must.
    pub fn create(&self, session: Session, key: &[u8]) -> Result<(u8, u64)> {
        let Session { operation, cipher, key_length, direction, kind } = session;
        let head = header(&[
            (0, operation),
            (4, cipher),
            (16, cipher),
            (20, key_length),
            (24, direction),
            (64, kind),
        ]);
        self.create_by(&[&head, key])
    }

    /// Asks for a session by a request of any bytes; returns the status and the number of the
    /// session.
    ///
    /// # Errors
    /// The device does not answer as it must.
    pub fn create_by(&self, request: &[&[u8]]) -> Result<(u8, u64)> {
        let answer = self.control(request, SESSION)?;
        match answer[..] {
            [a, b, c, d, e, f, g, h, status, 0, 0, 0, 0, 0, 0, 0] => {
                match u64::from_le_bytes([a, b, c, d, e, f, g, h]) {
                    number if status != OK && number != 0 => Err(Error::failed(format!(
                        "a session was refused with status {status}, and has number {number:#x}"
                    ))),
                    number => Ok((status, number)),
                }
            }
            _ => Err(Error::failed(format!("a session was asked for, {answer:x?} came back"))),
        }
    }

    /// Whether this QEMU is built without GnuTLS, with which it has `tls-cipher-suites`: then it
    /// may have no ciphers at all, which it offers all the same.
    fn has_no_ciphers(&self) -> Result<bool> {
        let types = json!({ "implements": "tls-cipher-suites" });
        let types = self.device.vm().qmp().execute("qom-list-types", types)?;
        Ok(types.as_array().is_some_and(Vec::is_empty))
    }

    /// Asks for a session of a cipher with this key, for one direction.
    ///
    /// # Errors
    /// The device does not give one.
    pub fn session(&self, cipher: u32, key: &[u8], direction: u32) -> Result<u64> {
        let session = Session {
            operation: CIPHER_CREATE_SESSION,
            cipher,
            key_length: key.len() as u32,
            direction,
            kind: SYM_OP_CIPHER,
        };
        match self.create(session, key)? {
            (OK, number) => Ok(number),
            (ERR, _) if self.has_no_ciphers()? => {
                Err(Error::skipped("this QEMU is built without a library of ciphers"))
            }
            (status, _) => Err(Error::failed(format!("no session was given: status {status}"))),
        }
    }

    /// Ends a session; returns the status.
    ///
    /// # Errors
    /// The device does not answer as it must.
    pub fn destroy(&self, session: u64) -> Result<u8> {
        self.destroy_by(CIPHER_DESTROY_SESSION, session)
    }

    /// Ends a session by this operation; returns the status.
    ///
    /// # Errors
    /// The device does not answer as it must.
    pub fn destroy_by(&self, operation: u32, session: u64) -> Result<u8> {
        let (low, high) = (session as u32, (session >> 32) as u32);
        let request = header(&[(0, operation), (16, low), (20, high)]);
        match self.control(&[&request], 1)?[..] {
            [status] => Ok(status),
            ref other => Err(Error::failed(format!("a session was ended: {other:x?} came back"))),
        }
    }

    /// Sends a request to the queue of data, and has pieces of these lengths written. Returns all
    /// that is in them.
    ///
    /// # Errors
    /// The device does not take it, or writes behind what it says it has written.
    pub fn data(&self, request: &[&[u8]], pieces: &[usize]) -> Result<Vec<u8>> {
        self.device.exchange(&self.data, request, pieces).map(|(_, whole)| whole)
    }

    /// As [`Live::data`], for an operation whose result may be shorter than the room for it: the
    /// status is behind all of that, and QEMU counts the result alone.
    ///
    /// # Errors
    /// The device does not take it.
    pub fn data_loosely(&self, request: &[&[u8]], pieces: &[usize]) -> Result<Vec<u8>> {
        self.device.exchange_loosely(&self.data, request, pieces).map(|(_, whole)| whole)
    }

    /// Has data enciphered or deciphered, the result in pieces of these lengths; returns the
    /// status and the result.
    ///
    /// # Errors
    /// The device does not answer as it must.
    pub fn run(
        &self,
        operation: Operation,
        iv: &[u8],
        data: &[&[u8]],
        pieces: &[usize],
    ) -> Result<(u8, Vec<u8>)> {
        let head = operation.header();
        let request: Vec<&[u8]> = [&head, iv].into_iter().chain(data.iter().copied()).collect();
        let pieces: Vec<usize> = pieces.iter().copied().chain([1]).collect();
        let whole = self.data(&request, &pieces)?;
        let (status, result) = whole.split_last().map_or((0xff, &[][..]), |(&s, rest)| (s, rest));
        if status != OK && result.iter().any(|&byte| byte != UNTOUCHED) {
            let why = format!("data came back with status {status}, and a result: {result:x?}");
            return Err(Error::failed(why));
        }
        Ok((status, result.to_vec()))
    }

    /// Has all of `data` enciphered or deciphered as the session is.
    ///
    /// # Errors
    /// The device does not answer as it must, or it fails.
    pub fn cipher(&self, session: u64, operation: u32, iv: &[u8], data: &[u8]) -> Result<Vec<u8>> {
        let length = data.len() as u32;
        let iv_length = iv.len() as u32;
        let kind = SYM_OP_CIPHER;
        let operation =
            Operation { operation, session, iv_length, length, result_length: length, kind };
        match self.run(operation, iv, &[data], &[data.len()])? {
            (OK, result) => Ok(result),
            (status, _) => Err(Error::failed(format!("{length} bytes: status {status}"))),
        }
    }

    /// A request of the data queue in one piece of memory.
    ///
    /// # Errors
    /// No guest memory is left.
    pub fn request(&self, operation: Operation, iv: &[u8], data: &[u8]) -> Result<Buffer> {
        let bytes = [&operation.header(), iv, data].concat();
        let buffer = self.device.vm().ram().alloc(bytes.len(), 1)?;
        buffer.write(0, &bytes)?;
        Ok(buffer)
    }
}

/// Data for a session that is not there, which is refused.
///
/// # Errors
/// No guest memory is left.
pub fn plain(device: &Virtio) -> Result<Plain> {
    let operation = Operation {
        operation: 0,
        session: 0xffff_ffff_0000,
        iv_length: 16,
        length: 16,
        result_length: 16,
        kind: SYM_OP_CIPHER,
    };
    let ram = device.vm().ram();
    let request = ram.alloc(HEADER + 32, 1)?;
    request.write(0, &operation.header())?;
    let answer = ram.alloc(17, 1)?;
    answer.write(0, &[UNTOUCHED; 17])?;
    let segments = vec![Segment::readable(&request), Segment::writable(&answer)];
    let check = move |written| {
        let _keep = &request;
        match (written, answer.to_vec()?.split_last()) {
            (1..=17, Some((&INVSESS, _))) => Ok(()),
            (written, answer) => Err(Error::failed(format!(
                "data for no session: {written} bytes written, {answer:x?}"
            ))),
        }
    };
    Ok(Plain { queue: 0, segments, check: Box::new(check) })
}
