//! Commands of NVMe and how they end (NVM Express 1.4, 4.2, 4.6), and the lists of pages that
//! their data is in (4.3).

use std::rc::Rc;

use crate::qemu::{Buffer, Ram};
use crate::qos::block::{PAGE, Piece};
use crate::{Error, Result};

/// Admin commands (chapter 5).
pub mod admin {
    /// Delete I/O Submission Queue.
    pub const DELETE_SQ: u8 = 0x00;
    /// Create I/O Submission Queue.
    pub const CREATE_SQ: u8 = 0x01;
    /// Get Log Page.
    pub const GET_LOG_PAGE: u8 = 0x02;
    /// Delete I/O Completion Queue.
    pub const DELETE_CQ: u8 = 0x04;
    /// Create I/O Completion Queue.
    pub const CREATE_CQ: u8 = 0x05;
    /// Identify.
    pub const IDENTIFY: u8 = 0x06;
    /// Abort.
    pub const ABORT: u8 = 0x08;
    /// Set Features.
    pub const SET_FEATURES: u8 = 0x09;
    /// Get Features.
    pub const GET_FEATURES: u8 = 0x0a;
    /// Asynchronous Event Request.
    pub const ASYNC_EVENT: u8 = 0x0c;
    /// Namespace Attachment.
    pub const NAMESPACE_ATTACHMENT: u8 = 0x15;
    /// Directive Send.
    pub const DIRECTIVE_SEND: u8 = 0x19;
    /// Virtualization Management.
    pub const VIRTUALIZATION: u8 = 0x1c;
    /// Doorbell Buffer Config.
    pub const DOORBELL_BUFFER: u8 = 0x7c;
    /// Format NVM.
    pub const FORMAT: u8 = 0x80;
}

/// Commands of the NVM command set (chapter 6).
pub mod io {
    /// Flush.
    pub const FLUSH: u8 = 0x00;
    /// Write.
    pub const WRITE: u8 = 0x01;
    /// Read.
    pub const READ: u8 = 0x02;
    /// Write Uncorrectable.
    pub const WRITE_UNCORRECTABLE: u8 = 0x04;
    /// Compare.
    pub const COMPARE: u8 = 0x05;
    /// Write Zeroes.
    pub const WRITE_ZEROES: u8 = 0x08;
    /// Dataset Management.
    pub const DATASET_MANAGEMENT: u8 = 0x09;
    /// Verify.
    pub const VERIFY: u8 = 0x0c;
    /// Copy (NVM Command Set 1.0, 3.2.2).
    pub const COPY: u8 = 0x19;
    /// Zone Management Send (Zoned Namespace Command Set 1.1, 3.4.3).
    pub const ZONE_SEND: u8 = 0x79;
    /// Zone Management Receive (3.4.2).
    pub const ZONE_RECEIVE: u8 = 0x7a;
    /// Zone Append (3.4.1).
    pub const ZONE_APPEND: u8 = 0x7d;
}

/// How a command ended: status code type and code (4.6.1), and that it is of no use to try again.
pub mod status {
    /// Do Not Retry.
    pub const DNR: u16 = 1 << 14;
    /// It was done.
    pub const SUCCESS: u16 = 0;
    /// Invalid Command Opcode.
    pub const INVALID_OPCODE: u16 = 0x01 | DNR;
    /// Invalid Field in Command.
    pub const INVALID_FIELD: u16 = 0x02 | DNR;
    /// Data Transfer Error.
    pub const DATA_TRANSFER: u16 = 0x04;
    /// Command Abort Requested.
    pub const ABORTED: u16 = 0x07;
    /// Invalid Namespace or Format.
    pub const INVALID_NAMESPACE: u16 = 0x0b | DNR;
    /// Command Sequence Error.
    pub const SEQUENCE: u16 = 0x0c | DNR;
    /// Invalid SGL Segment Descriptor.
    pub const INVALID_SEGMENT: u16 = 0x0d | DNR;
    /// Invalid Number of SGL Descriptors.
    pub const INVALID_DESCRIPTOR_COUNT: u16 = 0x0e | DNR;
    /// Data SGL Length Invalid.
    pub const INVALID_SGL_LENGTH: u16 = 0x0f | DNR;
    /// SGL Descriptor Type Invalid.
    pub const INVALID_DESCRIPTOR_TYPE: u16 = 0x11 | DNR;
    /// Invalid PRP Offset.
    pub const INVALID_PRP_OFFSET: u16 = 0x13 | DNR;
    /// LBA Out of Range.
    pub const LBA_RANGE: u16 = 0x80 | DNR;
    /// Completion Queue Invalid.
    pub const INVALID_CQ: u16 = 0x100 | DNR;
    /// Invalid Queue Identifier.
    pub const INVALID_QID: u16 = 0x101 | DNR;
    /// Invalid Queue Size.
    pub const INVALID_QUEUE_SIZE: u16 = 0x102 | DNR;
    /// Asynchronous Event Request Limit Exceeded.
    pub const EVENT_LIMIT: u16 = 0x105;
    /// Invalid Interrupt Vector.
    pub const INVALID_VECTOR: u16 = 0x108 | DNR;
    /// Invalid Log Page.
    pub const INVALID_LOG: u16 = 0x109 | DNR;
    /// Invalid Queue Deletion.
    pub const INVALID_DELETION: u16 = 0x10c;
    /// Invalid Format.
    pub const INVALID_FORMAT: u16 = 0x10a | DNR;
    /// Feature Identifier Not Saveable.
    pub const NOT_SAVEABLE: u16 = 0x10d | DNR;
    /// Feature Not Changeable.
    pub const NOT_CHANGEABLE: u16 = 0x10e | DNR;
    /// Invalid Protection Information.
    pub const INVALID_PROTECTION: u16 = 0x181 | DNR;
    /// Command Size Limit Exceeded (NVM Command Set 1.0, 3.2.2.1).
    pub const SIZE_LIMIT: u16 = 0x183 | DNR;
    /// Zone Boundary Error (Zoned Namespace Command Set 1.1, 3.1, as those below).
    pub const ZONE_BOUNDARY: u16 = 0x1b8 | DNR;
    /// Zone Is Full.
    pub const ZONE_FULL: u16 = 0x1b9 | DNR;
    /// Zone Invalid Write.
    pub const ZONE_INVALID_WRITE: u16 = 0x1bc | DNR;
    /// Too Many Active Zones.
    pub const TOO_MANY_ACTIVE: u16 = 0x1bd | DNR;
    /// Too Many Open Zones.
    pub const TOO_MANY_OPEN: u16 = 0x1be | DNR;
    /// Invalid Zone State Transition.
    pub const ZONE_TRANSITION: u16 = 0x1bf | DNR;
    /// End-to-end Guard Check Error.
    pub const GUARD: u16 = 0x282;
    /// End-to-end Application Tag Check Error.
    pub const APPLICATION_TAG: u16 = 0x283;
    /// End-to-end Reference Tag Check Error.
    pub const REFERENCE_TAG: u16 = 0x284;
    /// Compare Failure.
    pub const COMPARE: u16 = 0x285;
    /// Deallocated or Unwritten Logical Block.
    pub const DEALLOCATED: u16 = 0x287;
}

/// The length of a command in bytes.
pub const COMMAND_BYTES: usize = 64;

/// A command, but for its identifier, which the queue gives it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Command {
    /// What to do.
    pub opcode: u8,
    /// Fused operation (FUSE), and whether the data are in pages or an SGL (PSDT); see [`super::sgl`].
    pub flags: u8,
    /// The namespace, 0 for none.
    pub namespace: u32,
    /// Metadata Pointer: where metadata is that is not among the data.
    pub metadata: u64,
    /// PRP Entry 1: the address of the data.
    pub prp1: u64,
    /// PRP Entry 2: the address of the data's second page, or of the list of all but the first.
    pub prp2: u64,
    /// Dwords 10 to 15.
    pub dwords: [u32; 6],
}

impl Command {
    /// A command without data.
    pub fn new(opcode: u8, namespace: u32) -> Self {
        Self { opcode, namespace, ..Self::default() }
    }

    /// This command with dwords from number `first` on.
    pub fn with(mut self, first: usize, dwords: &[u32]) -> Self {
        self.dwords[first - 10..][..dwords.len()].copy_from_slice(dwords);
        self
    }

    /// This command with its data in the page at `address`.
    pub fn at(self, address: u64) -> Self {
        Self { prp1: address, ..self }
    }

    /// This command with data in these pages.
    pub fn pages(self, pages: &Pages) -> Self {
        Self { prp1: pages.prp1, prp2: pages.prp2, ..self }
    }

    /// A read or write of `blocks`, at least one, from `first` on.
    pub fn transfer(opcode: u8, namespace: u32, first: u64, blocks: usize) -> Self {
        let count = (blocks as u32).wrapping_sub(1) & 0xffff;
        Self::new(opcode, namespace).with(10, &[first as u32, (first >> 32) as u32, count])
    }

    /// Its bytes, with the identifier `id`.
    pub fn bytes(&self, id: u16) -> [u8; COMMAND_BYTES] {
        let mut bytes = [0; COMMAND_BYTES];
        bytes[..2].copy_from_slice(&[self.opcode, self.flags]);
        bytes[2..4].copy_from_slice(&id.to_le_bytes());
        bytes[4..8].copy_from_slice(&self.namespace.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.metadata.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.prp1.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.prp2.to_le_bytes());
        for (at, dword) in bytes[40..].chunks_exact_mut(4).zip(self.dwords) {
            at.copy_from_slice(&dword.to_le_bytes());
        }
        bytes
    }
}

/// The length of a completion in bytes.
pub const COMPLETION_BYTES: usize = 16;

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Completion {
    /// What the command says of dword 0.
    pub result: u32,
    /// How far the controller has read its submission queue.
    pub head: u16,
    /// The submission queue that the command was in.
    pub queue: u16,
    /// The identifier of the command.
    pub id: u16,
    /// One of [`status`], without the phase tag.
    pub status: u16,
}

impl Completion {
    /// Reads it, and its phase tag.
    ///
    /// # Errors
    /// Returns an error if dword 1 is not zero, which is reserved.
    pub fn parse(bytes: [u8; COMPLETION_BYTES]) -> Result<(Self, bool)> {
        let whole = u128::from_le_bytes(bytes);
        let word = |number: u32| (whole >> (16 * number)) as u16;
        if (whole >> 32) as u32 != 0 {
            return Err(Error::failed(format!("dword 1 of a completion is not zero: {whole:#x}")));
        }
        let completion = Self {
            result: whole as u32,
            head: word(4),
            queue: word(5),
            id: word(6),
            status: word(7) >> 1,
        };
        Ok((completion, word(7) & 1 != 0))
    }
}

/// Physical region pages: where the data of a command is.
pub struct Pages {
    /// PRP Entry 1.
    pub prp1: u64,
    /// PRP Entry 2.
    pub prp2: u64,
    /// The lists, which must last as long as the command.
    _lists: Vec<Buffer>,
}

/// The entries of a page of a list.
const ENTRIES: usize = PAGE / 8;

impl Pages {
    /// The pages of `memory`. A list begins `first_list` entries before the end of its page.
    ///
    /// # Errors
    /// Returns an error if pieces do not meet at pages, or no guest memory is left.
    pub fn new(ram: &Rc<Ram>, memory: &[Piece], first_list: usize) -> Result<Self> {
        let mut pages = Vec::new();
        for piece in memory {
            let (mut at, end) = (piece.address, piece.address + piece.length as u64);
            while at < end {
                if !pages.is_empty() && at % PAGE as u64 != 0 {
                    return Err(Error::failed(format!("{at:#x} is not the start of a page")));
                }
                pages.push(at);
                at = (at / PAGE as u64 + 1) * PAGE as u64;
            }
        }
        let (prp1, rest) = pages.split_first().map_or((0, &[][..]), |(first, rest)| (*first, rest));
        match rest {
            [] => Ok(Self { prp1, prp2: 0, _lists: Vec::new() }),
            [second] => Ok(Self { prp1, prp2: *second, _lists: Vec::new() }),
            rest => {
                let (prp2, lists) = list(ram, rest, first_list)?;
                Ok(Self { prp1, prp2, _lists: lists })
            }
        }
    }
}

/// A list of `pages`, in as many pages as it takes: where it begins, and what holds it.
fn list(ram: &Rc<Ram>, pages: &[u64], first: usize) -> Result<(u64, Vec<Buffer>)> {
    let (mut rest, mut room) = (pages, first.clamp(2, ENTRIES));
    let (mut start, mut lists): (u64, Vec<Buffer>) = (0, Vec::new());
    loop {
        let list = ram.alloc(PAGE, PAGE as u64)?;
        let offset = PAGE - 8 * room;
        let at = list.address().0 + offset as u64;
        match lists.last() {
            None => start = at,
            // The last entry of a list that goes on is where.
            Some(before) => before.write_le64(PAGE - 8, at)?,
        }
        let count = if rest.len() > room { room - 1 } else { rest.len() };
        let (here, after) = rest.split_at(count);
        let bytes: Vec<u8> = here.iter().flat_map(|page| page.to_le_bytes()).collect();
        list.write(offset, &bytes)?;
        lists.push(list);
        (rest, room) = (after, ENTRIES);
        if rest.is_empty() {
            return Ok((start, lists));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Would catch a field of a command at another's place.
    #[test]
    fn fields_of_a_command() {
        let command = Command {
            flags: 0x40,
            metadata: 0x1817_1615_1413_1211,
            prp2: 0x0807_0605_0403_0201,
            ..Command::transfer(io::READ, 7, 0x1_2345_6789, 8).at(0x1000)
        };
        let bytes = command.bytes(0x1234);
        assert_eq!(bytes[..8], [2, 0x40, 0x34, 0x12, 7, 0, 0, 0]);
        assert_eq!(bytes[16..24], [0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18]);
        assert_eq!(bytes[24..40], [0, 0x10, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!(bytes[40..52], [0x89, 0x67, 0x45, 0x23, 1, 0, 0, 0, 7, 0, 0, 0]);
    }

    /// Would catch a status with the phase tag in it, and reserved bits that nobody looks at.
    #[test]
    fn fields_of_a_completion() {
        let bytes = [1, 2, 3, 4, 0, 0, 0, 0, 5, 0, 6, 0, 7, 0, 0x01, 0x81];
        let (completion, phase) = Completion::parse(bytes).unwrap();
        let expected =
            Completion { result: 0x0403_0201, head: 5, queue: 6, id: 7, status: 0x80 | 1 << 14 };
        assert_eq!((completion, phase), (expected, true));
        Completion::parse([1; 16]).unwrap_err();
    }
}
