//! The DP8390 of an NE2000 (National Semiconductor, data sheet DP8390D, chapter 10): its registers
//! in four pages, and its memory behind a port of data. Where it is plugged in is of no matter.

use std::rc::Rc;

use crate::qos::registers::{
    Access, AnyRegister, Fault, Register, Registers, RegistersExt, Rule, Width,
};
use crate::{Error, Result};

const fn byte(name: &'static str, offset: u64) -> Register<u8> {
    Register::new(name, offset).section("10.3")
}

/// Command: page, remote DMA, transmit, start, stop.
pub const CR: Register<u8> = byte("CR", 0x00).reset(0x21).side_effect();
/// Pages that exist: the memory of 32 KiB begins at 0x4000 (RTL8029AS, 6.1).
const PAGES: &[u64] = &[0x40, 0x46, 0x55, 0x6a, 0x9f, 0xbf];
/// Page Start: the first page of the receive ring.
pub const PSTART: Register<u8> = byte("PSTART", 0x01).kept(0xff).values(PAGES);
/// Page Stop: the page behind the last of the receive ring.
pub const PSTOP: Register<u8> = byte("PSTOP", 0x02).kept(0xff).values(PAGES);
/// Boundary: the page before the first that is not read yet.
pub const BNRY: Register<u8> = byte("BNRY", 0x03).kept(0xff).values(PAGES);
/// Transmit Page Start.
pub const TPSR: Register<u8> = byte("TPSR", 0x04).kept(0xff).values(PAGES);
/// Transmit Byte Count, its lower byte; the upper follows.
pub const TBCR: Register<u8> = byte("TBCR", 0x05).write_only().side_effect();
/// Interrupt Status: bit 7 is set while the chip is stopped.
pub const ISR: Register<u8> = byte("ISR", 0x07).reset(0x80).side_effect();
/// Remote Start Address, its lower byte; the upper follows. What is read goes on with a transfer.
pub const RSAR: Register<u8> = byte("RSAR", 0x08).kept(0xff);
/// Remote Byte Count, its lower byte; the upper follows.
pub const RBCR: Register<u8> = byte("RBCR", 0x0a).write_only().side_effect();
/// Receive Configuration.
pub const RCR: Register<u8> = byte("RCR", 0x0c).kept(0x3f).reserved(0xc0);
/// Transmit Configuration.
pub const TCR: Register<u8> = byte("TCR", 0x0d).kept(0x1f).reserved(0xe0);
/// Data Configuration.
pub const DCR: Register<u8> = byte("DCR", 0x0e).kept(0x7f).reserved(0x80);
/// Interrupt Mask.
pub const IMR: Register<u8> = byte("IMR", 0x0f).reset(0).kept(0x7f).reserved(0x80);
/// Physical Address, six registers of page 1.
pub const PAR: Register<u8> = byte("PAR", 0x11).kept(0xff);
/// Current: the page that the next frame is written to, of page 1.
pub const CURR: Register<u8> = byte("CURR", 0x17).kept(0xff).values(PAGES);
/// Multicast Address, eight registers of page 1.
pub const MAR: Register<u8> = byte("MAR", 0x18).kept(0xff);
/// Transmit Status, of page 0 as it is read.
pub const TSR: Register<u8> = byte("TSR", 0x44).side_effect();
/// Receive Status, of page 0 as it is read.
pub const RSR: Register<u8> = byte("RSR", 0x4c).side_effect();
/// What an RTL8029 has there to be known by (RTL8029AS, 5.3).
pub const ID_LOW: Register<u8> = byte("8029ID0", 0x4a).reset(0x50);
/// As [`ID_LOW`].
pub const ID_HIGH: Register<u8> = byte("8029ID1", 0x4b).reset(0x43);
/// The port that resets the chip when it is read.
pub const RESET: Register<u8> = byte("RESET", 0x5f).read_effect().side_effect();

/// All of them that are not arrays.
pub const TABLE: &[&dyn AnyRegister] = &[
    &CR, &PSTART, &PSTOP, &BNRY, &TPSR, &TBCR, &ISR, &RBCR, &RCR, &TCR, &DCR, &IMR, &CURR, &TSR,
    &RSR, &RESET,
];

/// Those of an RTL8029 besides.
pub const RTL8029_TABLE: &[&dyn AnyRegister] = &[&ID_LOW, &ID_HIGH];

/// What QEMU does otherwise.
pub const FAULTS: &[Fault] = &[
    Fault::new(
        &["TPSR", "RCR", "TCR", "DCR", "IMR"],
        &[Rule::Kept],
        "ne2k: of page 2 only PSTART and PSTOP are there",
    ),
    Fault::new(
        &["CR", "ISR"],
        &[Rule::ResetValue, Rule::MachineReset, Rule::SoftwareReset],
        "ne2k: a reset does not stop it",
    ),
];

/// CR: stopped, started; and transmit.
pub const STOP: u8 = 1 << 0;
/// As [`STOP`].
pub const START: u8 = 1 << 1;
/// As [`STOP`].
pub const TRANSMIT: u8 = 1 << 2;
/// CR: remote DMA reads, writes, or does nothing.
pub const READ: u8 = 1 << 3;
/// As [`READ`].
pub const WRITE: u8 = 1 << 4;
/// As [`READ`].
pub const ABORT: u8 = 1 << 5;
/// ISR: reset.
pub const ISR_RESET: u8 = 1 << 7;
/// ISR: a remote transfer is complete.
pub const ISR_REMOTE_DONE: u8 = 1 << 6;
/// RCR: runts, broadcasts, groups by their hash, all stations; and nothing is written.
pub const RCR_RUNTS: u8 = 1 << 1;
/// As [`RCR_RUNTS`].
pub const RCR_BROADCASTS: u8 = 1 << 2;
/// As [`RCR_RUNTS`].
pub const RCR_GROUPS: u8 = 1 << 3;
/// As [`RCR_RUNTS`].
pub const RCR_ALL: u8 = 1 << 4;
/// As [`RCR_RUNTS`].
pub const RCR_MONITOR: u8 = 1 << 5;
/// DCR: words, bytes in their order, no loop, a threshold of 8 bytes.
pub const DCR_WORDS: u8 = 0x49;
/// DCR: as [`DCR_WORDS`], with bytes instead of words.
pub const DCR_BYTES: u8 = 0x48;

/// The port of data.
const DATA: u64 = 0x10;
/// The port of a reset.
const RESET_PORT: u64 = 0x1f;

/// The registers of all pages, each at an offset of its own: 0x00 what page 0 writes, 0x10 page 1,
/// 0x30 page 3, 0x40 what page 0 reads, 0x5f the port of a reset. What page 0 writes is read where
/// page 2 has it.
pub struct Pages(pub Rc<dyn Registers>);

impl Pages {
    /// The page and the number in it of the register at `offset`.
    fn place(offset: u64, width: Width, reads: bool) -> Result<(u8, u64)> {
        let number = offset & 0xf;
        let page = match offset >> 4 {
            0 if reads && matches!(number, 1 | 2 | 4 | 0xc..=0xf) => 2,
            0 | 4 => 0,
            1 => 1,
            3 => 3,
            _ => return Err(Error::failed(format!("no register of a DP8390 is at {offset:#x}"))),
        };
        match width {
            Width::Byte => Ok((page, number)),
            _ => Err(Error::failed("the registers of a DP8390 are bytes")),
        }
    }

    /// Makes `access` in `page`, and goes back to page 0.
    fn within(&self, page: u8, access: Access) -> Result<Vec<u64>> {
        if page == 0 {
            return self.0.sequence(&[access]);
        }
        let command = self.0.read8(0)? & 0x3f;
        let turn = |page: u8| Access::Write(0, Width::Byte, (command | page << 6).into());
        self.0.sequence(&[turn(page), access, turn(0)])
    }
}

impl Registers for Pages {
    fn read(&self, offset: u64, width: Width) -> Result<u64> {
        if offset == RESET.offset() {
            return self.0.read(RESET_PORT, width);
        }
        let (page, number) = Self::place(offset, width, true)?;
        let seen = self.within(page, Access::Read(number, width))?;
        seen.first().copied().ok_or_else(|| Error::failed("a read without an answer"))
    }

    fn write(&self, offset: u64, width: Width, value: u64) -> Result<()> {
        if offset == RESET.offset() {
            return self.0.write(RESET_PORT, width, value);
        }
        let (page, number) = Self::place(offset, width, false)?;
        self.within(page, Access::Write(number, width, value)).map(drop)
    }
}

impl Pages {
    /// Sets up a remote transfer of `count` bytes of the chip's memory from `address` on. The chip
    /// stays started or stopped.
    fn transfer(&self, direction: u8, address: u16, count: u16) -> Result<()> {
        let run = self.get(CR)? & (STOP | START);
        let [low, high] = address.to_le_bytes();
        let [few, many] = count.to_le_bytes();
        let set = |register: Register<u8>, value: u8| {
            Access::Write(register.offset(), Width::Byte, value.into())
        };
        let accesses = [
            set(CR, ABORT | run),
            set(DCR, DCR_WORDS),
            set(RSAR, low),
            set(RSAR.above(1), high),
            set(RBCR, few),
            set(RBCR.above(1), many),
            set(CR, direction | run),
        ];
        self.0.sequence(&accesses).map(drop)
    }

    /// `length` bytes of the chip's memory from `address` on.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    pub fn read_memory(&self, address: u16, length: usize) -> Result<Vec<u8>> {
        if length == 0 {
            return Ok(Vec::new());
        }
        let count = length.next_multiple_of(2);
        self.transfer(READ, address, count as u16)?;
        let words = self.0.sequence(&vec![Access::Read(DATA, Width::Word); count / 2])?;
        let mut bytes: Vec<u8> =
            words.into_iter().flat_map(|word| (word as u16).to_le_bytes()).collect();
        bytes.truncate(length);
        Ok(bytes)
    }

    /// Writes `bytes` to the chip's memory from `address` on, and a zero behind an odd number.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    pub fn write_memory(&self, address: u16, bytes: &[u8]) -> Result<()> {
        self.transfer(WRITE, address, bytes.len().next_multiple_of(2) as u16)?;
        let word = |pair: &[u8]| {
            u64::from(pair[0]) | u64::from(pair.get(1).copied().unwrap_or_default()) << 8
        };
        let accesses: Vec<_> =
            bytes.chunks(2).map(|pair| Access::Write(DATA, Width::Word, word(pair))).collect();
        self.0.sequence(&accesses).map(drop)
    }
}
