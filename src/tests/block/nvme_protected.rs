//! A namespace of NVMe with metadata, and the protection information in it (NVM Express 1.4, 8.2 and
//! 8.3, whose sections are cited).

use std::rc::Rc;

use crc::{CRC_16_T10_DIF, Crc};

use super::nvme::enabled;
use super::nvme_data::assert_code;
use crate::Result;
use crate::drivers::block::nvme::Nvme;
use crate::drivers::block::nvme::command::{Command, Completion, io, status};
use crate::drivers::block::nvme::controller::Controller;
use crate::drivers::block::nvme::disk::{NAMESPACE, number};
use crate::drivers::block::nvme::queue::QueuePair;
use crate::qemu::{Buffer, Vm};
use crate::qos::block::PAGE;

/// The guard: a CRC of the data, and of metadata in front of the protection information (8.3.1.1).
pub(super) const GUARD: Crc<u16> = Crc::<u16>::new(&CRC_16_T10_DIF);
/// PRINFO, bits 29:26 of dword 12: the controller makes and takes away protection information
/// (PRACT), and checks its guard, application tag and reference tag (PRCHK).
pub(super) const PRACT: u32 = 1 << 29;
pub(super) const CHECK_GUARD: u32 = 1 << 28;
pub(super) const CHECK_APPLICATION: u32 = 1 << 27;
pub(super) const CHECK_REFERENCE: u32 = 1 << 26;
pub(super) const CHECK_ALL: u32 = CHECK_GUARD | CHECK_APPLICATION | CHECK_REFERENCE;
/// The application tag of these tests.
pub(super) const TAG: u16 = 0x5aa5;
/// The length of protection information in bytes.
pub(super) const TUPLE: usize = 8;

/// Protection information of a block (8.3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tuple {
    pub(super) guard: u16,
    pub(super) application: u16,
    pub(super) reference: u32,
}

impl Tuple {
    pub(super) fn bytes(self) -> [u8; TUPLE] {
        let whole = u64::from(self.guard) << 48 | u64::from(self.application) << 32;
        (whole | u64::from(self.reference)).to_be_bytes()
    }
}

/// A namespace with metadata, a queue to it, and memory for blocks and their metadata.
pub(super) struct Protected {
    pub(super) queue: QueuePair,
    pub(super) memory: Buffer,
    pub(super) about: Vec<u8>,
    /// The sizes of a block's data and metadata in bytes.
    pub(super) data: usize,
    pub(super) metadata: usize,
    /// Whether metadata is behind the data of each block, and not in memory of its own.
    pub(super) among_data: bool,
    /// The type of protection information, 0 for none.
    pub(super) kind: u8,
    /// Whether protection information is the first of the metadata, and not the last.
    pub(super) first: bool,
    /// The namespace's controller, which must last as long.
    _controller: Controller,
}

/// Where metadata of its own is in the memory.
pub(super) const METADATA_AT: usize = 4 * PAGE;

impl Protected {
    pub(super) fn start(nvme: &Nvme, vm: &Rc<Vm>) -> Result<Self> {
        let controller = enabled(nvme, vm)?;
        let queue = controller.create(1, (4, 4), 0)?;
        let memory = vm.ram().alloc(5 * PAGE, PAGE as u64)?;
        let about = controller.identify(0, NAMESPACE)?;
        let format = &about[128 + 4 * usize::from(about[26] & 0xf)..][..4];
        Ok(Self {
            queue,
            memory,
            data: 1 << format[2],
            metadata: number(format, 0, 2) as usize,
            among_data: about[26] & 1 << 4 != 0,
            kind: about[29] & 7,
            first: about[29] & 1 << 3 != 0,
            about,
            _controller: controller,
        })
    }

    /// Where protection information begins in a block's metadata.
    pub(super) fn at(&self) -> usize {
        if self.first { 0 } else { self.metadata - TUPLE }
    }

    /// The reference tag of block `block` in commands: those of type 2 begin anywhere.
    pub(super) fn reference(&self, block: u64) -> u32 {
        if self.kind == 2 { block as u32 + 0x0123_4567 } else { block as u32 }
    }

    /// What protection information of a block says, whose data and metadata these are.
    pub(super) fn tuple(&self, block: u64, data: &[u8], metadata: &[u8]) -> Tuple {
        let mut digest = GUARD.digest();
        digest.update(data);
        digest.update(&metadata[..self.at()]);
        let reference = self.reference(block);
        Tuple { guard: digest.finalize(), application: TAG, reference }
    }

    /// The metadata of a block: `bytes`, with `tuple` in its place.
    pub(super) fn metadata_of(&self, bytes: &[u8], tuple: Tuple) -> Vec<u8> {
        let mut metadata = bytes.to_vec();
        metadata[self.at()..][..TUPLE].copy_from_slice(&tuple.bytes());
        metadata
    }

    /// Puts blocks, each of data and metadata, into memory; `bare` ones without metadata.
    pub(super) fn put(&self, blocks: &[(Vec<u8>, Vec<u8>)], bare: bool) -> Result<()> {
        self.memory.write(0, &vec![0xa5; self.memory.len()])?;
        for (at, (data, metadata)) in blocks.iter().enumerate() {
            let step = if self.among_data && !bare { self.data + self.metadata } else { self.data };
            self.memory.write(at * step, data)?;
            match (bare, self.among_data) {
                (true, _) => {}
                (false, true) => self.memory.write(at * step + self.data, metadata)?,
                (false, false) => self.memory.write(METADATA_AT + at * self.metadata, metadata)?,
            }
        }
        Ok(())
    }

    /// Takes `count` blocks from memory.
    pub(super) fn take(&self, count: usize, bare: bool) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
        let memory = self.memory.to_vec()?;
        let step = if self.among_data && !bare { self.data + self.metadata } else { self.data };
        let blocks = (0..count).map(|at| {
            let data = memory[at * step..][..self.data].to_vec();
            let metadata = match (bare, self.among_data) {
                (true, _) => 0..0,
                (false, true) => at * step + self.data..(at + 1) * step,
                (false, false) => {
                    METADATA_AT + at * self.metadata..METADATA_AT + (at + 1) * self.metadata
                }
            };
            (data, memory[metadata].to_vec())
        });
        Ok(blocks.collect())
    }

    /// A command for `count` blocks from `first` on, with `info` in PRINFO, and these tags.
    pub(super) fn run(
        &self,
        opcode: u8,
        (first, count): (u64, usize),
        info: u32,
        (application, mask): (u16, u16),
        reference: u32,
    ) -> Result<Completion> {
        let command = Command::transfer(opcode, NAMESPACE, first, count);
        let count = command.dwords[2] | info;
        let tags = u32::from(application) | u32::from(mask) << 16;
        let at = self.memory.address().0;
        let command = command.with(12, &[count, 0, reference, tags]);
        // At most two pages of data.
        let metadata = if self.among_data { 0 } else { at + METADATA_AT as u64 };
        let command = Command { prp1: at, prp2: at + PAGE as u64, metadata, ..command };
        self.queue.run(&command, &format!("command {opcode} of block {first}, PRINFO {info:#x}"))
    }

    /// [`Protected::run`] with the tags that belong to the blocks.
    pub(super) fn plain(&self, opcode: u8, blocks: (u64, usize), info: u32) -> Result<Completion> {
        self.run(opcode, blocks, info, (TAG, 0xffff), self.reference(blocks.0))
    }

    /// Writes blocks with their metadata as they are, without a check.
    pub(super) fn store(&self, first: u64, blocks: &[(Vec<u8>, Vec<u8>)]) -> Result<()> {
        self.put(blocks, false)?;
        let completion = self.plain(io::WRITE, (first, blocks.len()), 0)?;
        assert_code(completion, status::SUCCESS, "a write without checks");
        Ok(())
    }

    /// The blocks with their metadata as they are, without a check.
    pub(super) fn load(&self, first: u64, count: usize) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
        self.memory.write(0, &vec![0xa5; self.memory.len()])?;
        let completion = self.plain(io::READ, (first, count), 0)?;
        assert_code(completion, status::SUCCESS, "a read without checks");
        self.take(count, false)
    }

    /// Blocks from `first` on, with the metadata that they should have.
    pub(super) fn blocks(&self, first: u64, count: usize) -> Vec<(Vec<u8>, Vec<u8>)> {
        let block = |block: u64| {
            let data: Vec<u8> =
                (0..self.data).map(|at| (at * 7 + at / 256 + 3 * block as usize) as u8).collect();
            let bytes: Vec<u8> =
                (0..self.metadata).map(|at| (0x80 + at * 5 + block as usize) as u8).collect();
            if self.kind == 0 {
                return (data, bytes);
            }
            let tuple = self.tuple(block, &data, &bytes);
            (data, self.metadata_of(&bytes, tuple))
        };
        (first..first + count as u64).map(block).collect()
    }
}
