//! The SMBus host controllers of PCs, with the EEPROMs of memory modules at the other end: every
//! protocol, byte by byte and buffered, and what the status says (System Management Bus Specification
//! 2.0, section 5.5).

use std::rc::Rc;

use crate::drivers::i2c::pm_smbus::{
    AUXILIARY, BLOCK, BYTE_DONE, COMMAND, CONTROL, DATA0, DATA1, DEVICE_ERROR, DONE, FAILED,
    INTERRUPTS, KILL, LAST_BYTE, PmSmbus, Protocol, STATUS,
};
use crate::qemu::Vm;
use crate::qos::i2c::I2cBus;
use crate::qos::registers::RegistersExt;
use crate::qos::wait_until;
use crate::{Error, Result, tests};

tests!(PmSmbus, "pm-smbus-tests":
    bytes,
    byte_data = "byte-data",
    word_data = "word-data",
    two_devices = "two-devices",
    blocks,
    block_by_bytes = "block-by-bytes",
    longest_block = "longest-block",
    i2c_read = "i2c-read",
    nobody,
    kill,
);

/// Two of the EEPROMs, of 256 bytes each.
const EEPROMS: [u8; 2] = [0x50, 0x53];

fn read(bus: &PmSmbus, at: u8) -> Result<u8> {
    let mut byte = [0];
    bus.send_recv(EEPROMS[0], &[at], &mut byte)?;
    Ok(byte[0])
}

/// Would catch a byte that is not sent or is not received: one that is sent says where the EEPROM
/// reads, and each that is received is the next.
fn bytes(bus: &PmSmbus, _: &Rc<Vm>) -> Result<()> {
    for (at, value) in (0x30..).zip([0x11, 0x5a, 0xa5, 0x00, 0xff]) {
        bus.send(EEPROMS[0], &[at, value])?;
    }
    bus.send(EEPROMS[0], &[0x31])?;
    for expected in [0x5a, 0xa5, 0x00, 0xff] {
        let mut byte = [!expected];
        bus.recv(EEPROMS[0], &mut byte)?;
        assert_eq!(byte[0], expected);
    }
    assert!(bus.probe(EEPROMS[0])?, "a quick command");
    Ok(())
}

/// Would catch a byte of data that loses bits, or is written behind another command.
fn byte_data(bus: &PmSmbus, _: &Rc<Vm>) -> Result<()> {
    for at in 0..=0xff_u8 {
        bus.send(EEPROMS[0], &[at, at.wrapping_mul(151) ^ 0x3c])?;
    }
    for at in (0..=0xff_u8).rev() {
        assert_eq!(read(bus, at)?, at.wrapping_mul(151) ^ 0x3c, "byte {at:#x}");
    }
    Ok(())
}

/// Would catch a word with its bytes swapped, or with one of them only: the low one is first.
fn word_data(bus: &PmSmbus, _: &Rc<Vm>) -> Result<()> {
    bus.send(EEPROMS[0], &[0x42, 0x77])?;
    for [low, high] in [[0x12, 0x34], [0xff, 0x00], [0x00, 0xff], [0x5a, 0xa5]] {
        bus.send(EEPROMS[0], &[0x40, low, high])?;
        assert_eq!([read(bus, 0x40)?, read(bus, 0x41)?, read(bus, 0x42)?], [low, high, 0x77]);
        let mut word = [0; 2];
        bus.send_recv(EEPROMS[0], &[0x40], &mut word)?;
        assert_eq!(word, [low, high]);
        bus.send_recv(EEPROMS[0], &[0x41], &mut word)?;
        assert_eq!(word, [high, 0x77]);
    }
    Ok(())
}

/// Would catch an address that is another's.
fn two_devices(bus: &PmSmbus, _: &Rc<Vm>) -> Result<()> {
    for (address, value) in EEPROMS.into_iter().zip([0x6b, 0x94]) {
        bus.send(address, &[0x80, value])?;
    }
    for (address, value) in EEPROMS.into_iter().zip([0x6b, 0x94]) {
        let mut byte = [0];
        bus.send_recv(address, &[0x80], &mut byte)?;
        assert_eq!(byte[0], value, "of {address:#04x}");
    }
    Ok(())
}

/// Bytes of a block, each like none beside it.
fn block(len: u8) -> Vec<u8> {
    (0..len).map(|at| at.wrapping_mul(29) ^ len).collect()
}

/// Would catch a block that loses or doubles bytes, has another count, or is longer than it: the
/// EEPROM keeps the count before the bytes.
fn blocks(bus: &PmSmbus, _: &Rc<Vm>) -> Result<()> {
    for len in [1, 2, 3, 8, 31, 32] {
        bus.send(EEPROMS[0], &[0x21 + len, 0xe7])?;
        bus.write_block(EEPROMS[0], 0x20, &block(len))?;
        assert_eq!(read(bus, 0x20)?, len, "the count");
        for (at, &expected) in (0x21..).zip(&block(len)) {
            assert_eq!(read(bus, at)?, expected, "byte {at:#x} of a block of {len}");
        }
        assert_eq!(read(bus, 0x21 + len)?, 0xe7, "behind a block of {len}");
        assert_eq!(bus.read_block(EEPROMS[0], 0x20)?, block(len), "read");
    }
    Ok(())
}

/// The ICH9, which alone has no buffer if it is not told to have one.
fn unbuffered(bus: &PmSmbus) -> Result<()> {
    if !bus.is_ich9() {
        return Err(Error::skipped("the PIIX4 has blocks in a buffer only"));
    }
    bus.registers().set(AUXILIARY, 0)
}

/// Waits until a byte of a block is done.
fn await_byte(bus: &PmSmbus, vm: &Vm) -> Result<()> {
    wait_until(vm, "a byte of a block", || Ok(bus.registers().get(STATUS)? & BYTE_DONE != 0))
}

/// Writes a block of which each byte is handed in when the one before is done.
fn write_by_bytes(bus: &PmSmbus, vm: &Vm, data: &[u8]) -> Result<()> {
    let registers = bus.registers();
    registers.set(COMMAND, 0x60)?;
    registers.set(DATA0, data.len() as u8)?;
    registers.set(BLOCK, data[0])?;
    bus.begin(EEPROMS[0], false, Protocol::Block, 0)?;
    for &byte in &data[1..] {
        await_byte(bus, vm)?;
        registers.set(BLOCK, byte)?;
        registers.set(STATUS, BYTE_DONE)?;
    }
    await_byte(bus, vm)?;
    registers.set(STATUS, BYTE_DONE)?;
    assert!(bus.end()?, "a block of {} bytes was written", data.len());
    assert_eq!(usize::from(read(bus, 0x60)?), data.len(), "the count");
    Ok(())
}

/// Reads a block of which each byte is fetched when it is done, and sees that it is `data`.
fn read_by_bytes(bus: &PmSmbus, vm: &Vm, data: &[u8]) -> Result<()> {
    let (registers, len) = (bus.registers(), data.len());
    registers.set(COMMAND, 0x60)?;
    bus.begin(EEPROMS[0], true, Protocol::Block, 0)?;
    await_byte(bus, vm)?;
    assert_eq!(usize::from(registers.get(DATA0)?), len, "the count that is read");
    for (number, &byte) in (1..).zip(&data[..len - 1]) {
        await_byte(bus, vm)?;
        assert_eq!(registers.get(BLOCK)?, byte, "byte {number} of {len}");
        if number + 1 == len {
            registers.set(CONTROL, (Protocol::Block as u8) << 2 | LAST_BYTE)?;
        }
        registers.set(STATUS, BYTE_DONE)?;
    }
    wait_until(vm, "the end of a block", || Ok(registers.get(STATUS)? & DONE != 0))?;
    assert_eq!(registers.get(BLOCK)?, data[len - 1], "the last byte of {len}");
    registers.set(STATUS, !0)
}

/// Would catch a block of which each byte is to be fetched or handed in when the one before is done,
/// and that loses one, or does not end with the last (20.2.1, DS; 20.2.2, LAST_BYTE).
fn block_by_bytes(bus: &PmSmbus, vm: &Rc<Vm>) -> Result<()> {
    unbuffered(bus)?;
    for len in [2, 5, 31] {
        write_by_bytes(bus, vm, &block(len))?;
        read_by_bytes(bus, vm, &block(len))?;
    }
    Ok(())
}

/// Would catch a block of 32 bytes, the most that there are, that does not end.
fn longest_block(bus: &PmSmbus, vm: &Rc<Vm>) -> Result<()> {
    unbuffered(bus)?;
    write_by_bytes(bus, vm, &block(32))?;
    read_by_bytes(bus, vm, &block(32))
}

/// Would catch a read without a count that has its bytes from elsewhere, or does not end (5.21.1.1,
/// "I2C Read").
fn i2c_read(bus: &PmSmbus, vm: &Rc<Vm>) -> Result<()> {
    unbuffered(bus)?;
    let registers = bus.registers();
    let data = block(6);
    for (at, &byte) in (0xa0..).zip(&data) {
        bus.send(EEPROMS[0], &[at, byte])?;
    }
    registers.set(DATA1, 0xa0)?;
    bus.begin(EEPROMS[0], true, Protocol::I2cRead, 0)?;
    for (number, &byte) in (1..).zip(&data[..5]) {
        await_byte(bus, vm)?;
        assert_eq!(registers.get(BLOCK)?, byte, "byte {number}");
        if number == 5 {
            registers.set(CONTROL, (Protocol::I2cRead as u8) << 2 | LAST_BYTE)?;
        }
        registers.set(STATUS, BYTE_DONE)?;
    }
    wait_until(vm, "the end of a read", || Ok(registers.get(STATUS)? & DONE != 0))?;
    assert_eq!(registers.get(BLOCK)?, data[5], "the last byte");
    registers.set(STATUS, !0)?;
    assert_eq!(read(bus, 0xa1)?, data[1], "the next transaction");
    Ok(())
}

/// Would catch an address that nobody acknowledges and that ends well, in any protocol, with
/// interrupts or without.
fn nobody(bus: &PmSmbus, vm: &Rc<Vm>) -> Result<()> {
    let registers = bus.registers();
    for protocol in [Protocol::Quick, Protocol::Byte, Protocol::ByteData, Protocol::WordData] {
        for (reads, control) in [(false, 0), (true, 0), (false, INTERRUPTS), (true, INTERRUPTS)] {
            bus.begin(0x1a, reads, protocol, control)?;
            let mut status = 0;
            wait_until(vm, "the end of a transaction", || {
                status = registers.get(STATUS)?;
                Ok(status & !1 != 0)
            })?;
            assert_eq!(status, DEVICE_ERROR, "{protocol:?}, a read: {reads}");
            registers.set(STATUS, DEVICE_ERROR)?;
            assert_eq!(registers.get(STATUS)?, 0, "cleared");
            assert!(bus.probe(EEPROMS[0])?, "the next transaction");
        }
    }
    Ok(())
}

/// Would catch a transaction that cannot be stopped, or is not said to have failed (20.2.2, KILL).
fn kill(bus: &PmSmbus, _: &Rc<Vm>) -> Result<()> {
    let registers = bus.registers();
    registers.set(COMMAND, 0x10)?;
    registers.set(STATUS, !0)?;
    registers.set(CONTROL, KILL)?;
    assert_eq!(registers.get(STATUS)?, FAILED);
    registers.set(CONTROL, 0)?;
    registers.set(STATUS, FAILED)?;
    assert_eq!(registers.get(STATUS)?, 0, "cleared");
    assert!(bus.probe(EEPROMS[0])?, "the next transaction");
    Ok(())
}
