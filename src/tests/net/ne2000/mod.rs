//! The NE2000: its station address, memory by remote DMA, and pages of registers (DP8390D, chapters
//! 7 and 10).

mod ring;

use std::rc::Rc;

use crate::drivers::net::ne2000::Ne2000;
use crate::qemu::Vm;
use crate::qos::net::MAC;
use crate::qos::registers::RegistersExt;
use crate::{Result, tests};

tests!(Ne2000, "ne2000-tests": station_address = "station-address", memory, pages);

/// Registers of page 0: command, remote start address, remote byte count, data configuration.
const COMMAND: u64 = 0x00;
const START: u64 = 0x08;
const COUNT: u64 = 0x0a;
const DATA_CONFIGURATION: u64 = 0x0e;
/// The port of data.
const DATA: u64 = 0x10;
/// Command: stopped, no remote DMA; and page 1.
const STOPPED: u8 = 0x21;
const PAGE_1: u8 = 0x40;
/// Command: started, remote read or write.
const READ: u8 = 0x0a;
const WRITE: u8 = 0x12;

/// Sets up a transfer of `count` bytes of the card's memory from `address` on.
fn transfer(nic: &Ne2000, command: u8, address: u16, count: u16) -> Result<()> {
    let registers = &nic.registers;
    registers.write8(COMMAND, STOPPED)?;
    // Bytes, not words.
    registers.write8(DATA_CONFIGURATION, 0x48)?;
    for (at, value) in [(START, address), (COUNT, count)] {
        let [low, high] = value.to_le_bytes();
        registers.write8(at, low)?;
        registers.write8(at + 1, high)?;
    }
    registers.write8(COMMAND, command)
}

/// Would catch an address that is another than the card was given: each byte is in its memory
/// twice, and the mark of an NE2000 behind it.
fn station_address(nic: &Ne2000, _: &Rc<Vm>) -> Result<()> {
    transfer(nic, READ, 0, 32)?;
    let mut bytes = Vec::new();
    for _ in 0..32 {
        bytes.push(nic.registers.read8(DATA)?);
    }
    let address: Vec<u8> = MAC.iter().flat_map(|byte| [*byte, *byte]).collect();
    assert_eq!(bytes[..12], address[..], "the station's address, every byte twice");
    assert_eq!(bytes[28..], [0x57; 4], "the mark of an NE2000");
    Ok(())
}

/// Would catch memory of the card that loses or moves what is written, at either end.
fn memory(nic: &Ne2000, _: &Rc<Vm>) -> Result<()> {
    let registers = &nic.registers;
    for (address, count) in [(0x4000, 64u16), (0x7f00, 256), (0x5555, 3)] {
        let byte = |at: u16| (at * 7 + at / 16 + address) as u8;
        transfer(nic, WRITE, address, count)?;
        for at in 0..count {
            registers.write8(DATA, byte(at))?;
        }
        transfer(nic, READ, address, count)?;
        for at in 0..count {
            assert_eq!(registers.read8(DATA)?, byte(at), "byte {at} at {address:#x}");
        }
    }
    Ok(())
}

/// Would catch registers of page 1 that are those of page 0, or lose what is written.
fn pages(nic: &Ne2000, _: &Rc<Vm>) -> Result<()> {
    let registers = &nic.registers;
    registers.write8(COMMAND, STOPPED | PAGE_1)?;
    for at in 1..=15u64 {
        registers.write8(at, 0x30 + at as u8)?;
    }
    registers.write8(COMMAND, STOPPED)?;
    // The page of the last frame that is kept: not what was written to page 1.
    registers.write8(3, 0x46)?;
    assert_eq!(registers.read8(3)?, 0x46, "BNRY");
    registers.write8(COMMAND, STOPPED | PAGE_1)?;
    for at in (1..=6u64).chain(8..=15) {
        assert_eq!(registers.read8(at)?, 0x30 + at as u8, "register {at} of page 1");
    }
    registers.write8(COMMAND, STOPPED)
}
