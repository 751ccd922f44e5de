//! UFS Protocol Information Units (JESD220F, UFS 4.0, chapter 10) and the requests that carry them
//! to the host controller (JESD223E, 6.1).

use crate::qos::block::Piece;
use crate::{Error, Result};

/// The length of a header in bytes.
pub const HEADER: usize = 12;
/// The length of a unit without data in bytes.
pub const BASIC: usize = 32;

/// Types of units (10.5.1). An answer's is the request's and [`ANSWER`].
pub const NOP: u8 = 0x00;
/// A command to a logical unit.
pub const COMMAND: u8 = 0x01;
/// A question of flags, attributes and descriptors.
pub const QUERY: u8 = 0x16;
/// What a type of an answer has more.
pub const ANSWER: u8 = 0x20;

/// Flags of a command (10.7.1): data is read, or written.
pub const READ: u8 = 0x40;
/// Flag of a command: data is written.
pub const WRITE: u8 = 0x20;

/// Overall command status of a request that was carried out (JESD223E, 6.1.1).
pub const OCS_SUCCESS: u8 = 0;
/// What software writes there before: an invalid value.
pub const OCS_INVALID: u8 = 0x0f;

/// Functions of a query (10.7.8.2): standard read and write.
pub const STANDARD_READ: u8 = 0x01;
/// Function of a query: standard write.
pub const STANDARD_WRITE: u8 = 0x81;

/// Operations of a query (10.7.8.4), each with its function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Query {
    ReadDescriptor = 1,
    WriteDescriptor = 2,
    ReadAttribute = 3,
    WriteAttribute = 4,
    ReadFlag = 5,
    SetFlag = 6,
    ClearFlag = 7,
    ToggleFlag = 8,
}

/// Responses to a query (10.7.9.1).
pub mod response {
    #![allow(missing_docs)]
    pub const SUCCESS: u8 = 0x00;
    pub const NOT_READABLE: u8 = 0xf6;
    pub const NOT_WRITEABLE: u8 = 0xf7;
    pub const INVALID_INDEX: u8 = 0xfc;
    pub const INVALID_IDN: u8 = 0xfd;
    pub const INVALID_OPCODE: u8 = 0xfe;
}

/// A request: a unit, its data in pieces of memory, and what the descriptor says of both.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The unit.
    pub upiu: Vec<u8>,
    /// The direction in the descriptor: 0, 1 to the device, 2 to the host.
    pub direction: u8,
    /// The pieces: address, and length less one.
    pub pieces: Vec<(u64, u32)>,
    /// The number of pieces that the descriptor tells, if that is another.
    pub told_pieces: Option<u16>,
    /// Where the descriptor says that the answer goes, in words of 4 bytes, if that is elsewhere.
    pub told_answer: Option<(u16, u16)>,
    /// The command type of the descriptor: 1 for UFS storage.
    pub kind: u8,
}

impl Request {
    fn new(upiu: Vec<u8>) -> Self {
        let (told_pieces, told_answer) = (None, None);
        Self { upiu, direction: 0, pieces: Vec::new(), told_pieces, told_answer, kind: 1 }
    }

    /// A unit of a type that asks for nothing.
    pub fn nop() -> Self {
        Self::new(vec![0; BASIC])
    }

    /// A command to the unit `lun`, whose data is read or written.
    pub fn command(lun: u8, cdb: &[u8], is_write: bool, memory: &[Piece]) -> Self {
        let length: usize = memory.iter().map(|piece| piece.length).sum();
        let mut upiu = vec![0; BASIC];
        let flags = match (length, is_write) {
            (0, _) => 0,
            (_, true) => WRITE,
            (_, false) => READ,
        };
        upiu[..3].copy_from_slice(&[COMMAND, flags, lun]);
        upiu[HEADER..HEADER + 4].copy_from_slice(&(length as u32).to_be_bytes());
        upiu[HEADER + 4..HEADER + 4 + cdb.len()].copy_from_slice(cdb);
        let pieces =
            memory.iter().map(|piece| (piece.address, (piece.length as u32).wrapping_sub(1)));
        let direction = [0, 1, 2][usize::from(length > 0) * if is_write { 1 } else { 2 }];
        Self { direction, pieces: pieces.collect(), ..Self::new(upiu) }
    }

    /// A query: the number of the flag, attribute or descriptor, its index, a value, and data.
    pub fn query(what: Query, (idn, index): (u8, u8), value: u32, data: &[u8]) -> Self {
        let is_read =
            matches!(what, Query::ReadDescriptor | Query::ReadAttribute | Query::ReadFlag);
        let function = if is_read { STANDARD_READ } else { STANDARD_WRITE };
        let mut upiu = vec![0; BASIC];
        (upiu[0], upiu[5]) = (QUERY, function);
        let length = match what {
            Query::ReadDescriptor => value as u16,
            _ => data.len() as u16,
        };
        upiu[10..12].copy_from_slice(&(data.len() as u16).to_be_bytes());
        upiu[HEADER..HEADER + 3].copy_from_slice(&[what as u8, idn, index]);
        upiu[HEADER + 6..HEADER + 8].copy_from_slice(&length.to_be_bytes());
        if what == Query::WriteAttribute {
            upiu[HEADER + 8..HEADER + 12].copy_from_slice(&value.to_be_bytes());
        }
        upiu.extend(data);
        Self::new(upiu)
    }
}

/// What became of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Done {
    /// The overall command status of the host controller.
    pub ocs: u8,
    /// The answer: a unit.
    pub upiu: Vec<u8>,
}

impl Done {
    /// The type of the answer.
    pub fn kind(&self) -> u8 {
        self.upiu[0]
    }

    /// The response of the device: 0 for success.
    pub fn response(&self) -> u8 {
        self.upiu[6]
    }

    /// The status of a command.
    pub fn status(&self) -> u8 {
        self.upiu[7]
    }

    /// How many bytes of a command's data were not moved.
    pub fn residual(&self) -> u32 {
        self.word(HEADER)
    }

    /// The value of a flag or attribute.
    pub fn value(&self) -> u32 {
        self.word(HEADER + 8)
    }

    fn word(&self, at: usize) -> u32 {
        u32::from_be_bytes([self.upiu[at], self.upiu[at + 1], self.upiu[at + 2], self.upiu[at + 3]])
    }

    /// The data behind the unit.
    pub fn data(&self) -> &[u8] {
        let length = usize::from(u16::from_be_bytes([self.upiu[10], self.upiu[11]]));
        &self.upiu[BASIC..(BASIC + length).min(self.upiu.len())]
    }

    /// The sense key and both additional codes of a command that ended with CHECK CONDITION.
    pub fn sense(&self) -> Option<(u8, u8, u8)> {
        let sense = self.data().get(2..)?;
        Some((sense.get(2)? & 0xf, *sense.get(12)?, *sense.get(13)?))
    }

    /// Makes sure that the controller has carried the request out, and that the answer is one to
    /// it.
    ///
    /// # Errors
    /// Returns an error if not.
    pub fn carried_out(self, request: &Request, what: &str) -> Result<Self> {
        let expected = request.upiu[0] & 0x1f | ANSWER;
        match (self.ocs, self.kind() == expected) {
            (OCS_SUCCESS, true) => Ok(self),
            (ocs, _) => Err(Error::failed(format!(
                "{what}: overall command status {ocs:#x}, an answer of type {:#x}",
                self.kind()
            ))),
        }
    }
}
