//! The core of the Am53C974 (data sheet 18681): its FIFO, its count, and a command without DMA.

use std::rc::Rc;

use crate::drivers::scsi::am53c974::{self as esp, Am53c974, command};
use crate::qemu::Vm;
use crate::qos::registers::RegistersExt;
use crate::qos::scsi::{self, cdb};
use crate::qos::wait_until;
use crate::{Result, attacks, tests};

tests!(Am53c974, "am53c974-tests": reset, fifo, by_program = "by-program", bus_reset = "bus-reset",
    dma_registers = "dma-registers");
attacks!(Am53c974, "am53c974-attacks": fifo, by_program = "by-program");

/// Resets the chip.
fn start(card: &Am53c974) -> Result<()> {
    let registers = &card.plug.registers;
    registers.set(esp::COMMAND, command::RESET)?;
    registers.set(esp::COMMAND, command::NONE)?;
    registers.get(esp::INTERRUPT).map(drop)
}

/// Waits for an interrupt; returns its cause and the phase.
fn interrupt(card: &Am53c974, vm: &Rc<Vm>, what: &str) -> Result<(u8, u8)> {
    let registers = &card.plug.registers;
    wait_until(vm, what, || Ok(registers.get(esp::STATUS)? & esp::STATUS_INTERRUPT != 0))?;
    let phase = registers.get(esp::STATUS)? & 7;
    assert!(card.plug.device.asserts_interrupt()?, "{what}: INTA#");
    let cause = registers.get(esp::INTERRUPT)?;
    assert!(!card.plug.device.asserts_interrupt()?, "{what}: INTA# after INSTREG was read");
    Ok((cause, phase))
}

/// Would catch a chip that tells another ID, or keeps what was in its registers (CTCREG, CNTLREG1).
fn reset(card: &Am53c974, _: &Rc<Vm>) -> Result<()> {
    start(card)?;
    let registers = &card.plug.registers;
    for _ in 0..2 {
        assert_eq!(registers.get(esp::COUNT_HIGH)?, 0x12, "the chip's ID");
        assert_eq!(registers.get(esp::CONTROL_1)?, 7, "its own ID on the bus");
        registers.set(esp::CONTROL_1, 0x43)?;
        assert_eq!(registers.get(esp::CONTROL_1)?, 0x43, "control one, written");
        registers.set(esp::COUNT_HIGH, 0x05)?;
        registers.set(esp::COUNT_MIDDLE, 0x34)?;
        registers.set(esp::COUNT, 0x21)?;
        // A command with DMA loads the count.
        registers.set(esp::COMMAND, command::NONE | command::DMA)?;
        let count = (
            registers.get(esp::COUNT_HIGH)?,
            registers.get(esp::COUNT_MIDDLE)?,
            registers.get(esp::COUNT)?,
        );
        assert_eq!(count, (0x05, 0x34, 0x21), "the count");
        registers.set(esp::FIFO, 0x77)?;
        start(card)?;
        assert_eq!(registers.get(esp::FIFO_STATE)? & 0x1f, 0, "bytes in the FIFO after a reset");
    }
    Ok(())
}

/// Would catch a FIFO that loses, swaps or invents bytes, or does not say how many it has.
fn fifo(card: &Am53c974, _: &Rc<Vm>) -> Result<()> {
    start(card)?;
    let registers = &card.plug.registers;
    for count in [1u8, 2, 7, 15, 16] {
        for byte in 0..count {
            registers.set(esp::FIFO, byte.wrapping_mul(0x35) ^ count)?;
            assert_eq!(registers.get(esp::FIFO_STATE)? & 0x1f, byte + 1, "bytes in the FIFO");
        }
        for byte in 0..count {
            let expected = byte.wrapping_mul(0x35) ^ count;
            assert_eq!(registers.get(esp::FIFO)?, expected, "byte {byte} of {count}");
            assert_eq!(registers.get(esp::FIFO_STATE)? & 0x1f, count - byte - 1, "bytes left");
        }
    }
    registers.set(esp::FIFO, 1)?;
    registers.set(esp::COMMAND, command::CLEAR_FIFO)?;
    assert_eq!(registers.get(esp::FIFO_STATE)? & 0x1f, 0, "bytes after CLEAR FIFO");
    Ok(())
}

/// Would catch a command that comes through the FIFO and is not carried out, or whose bytes are
/// wrong on their way back, one by one.
fn by_program(card: &Am53c974, vm: &Rc<Vm>) -> Result<()> {
    const ROOM: u8 = 12;
    start(card)?;
    let registers = &card.plug.registers;
    registers.set(esp::DESTINATION, scsi::CDROM.target)?;
    registers.set(esp::FIFO, 0x80)?;
    for byte in cdb::inquiry(ROOM) {
        registers.set(esp::FIFO, byte)?;
    }
    registers.set(esp::COMMAND, command::SELECT_ATN)?;
    let (cause, phase) = interrupt(card, vm, "the selection")?;
    assert_eq!((cause, phase), (esp::SERVICE | esp::DONE, 1), "the selection: cause, phase");
    assert_eq!(registers.get(esp::STEP)? & 7, 4, "the step of the selection");
    let mut data = Vec::new();
    for number in 0..ROOM {
        registers.set(esp::COMMAND, command::TRANSFER)?;
        let (cause, phase) = interrupt(card, vm, "a byte")?;
        assert_eq!(cause, esp::SERVICE, "byte {number}: cause");
        assert_eq!(phase, if number + 1 == ROOM { 3 } else { 1 }, "byte {number}: phase");
        assert_eq!(registers.get(esp::FIFO_STATE)? & 0x1f, 1, "byte {number}: bytes there");
        data.push(registers.get(esp::FIFO)?);
    }
    assert_eq!(data[..2], [5, 0x80], "the data");
    assert_eq!(&data[8..], b"QEMU", "the data");
    registers.set(esp::COMMAND, command::COMPLETE)?;
    let (cause, _) = interrupt(card, vm, "status and message")?;
    assert_eq!(cause, esp::DONE, "status and message: cause");
    assert_eq!((registers.get(esp::FIFO)?, registers.get(esp::FIFO)?), (0, 0), "status, message");
    registers.set(esp::COMMAND, command::ACCEPT)?;
    let (cause, _) = interrupt(card, vm, "the end")?;
    assert_eq!(cause, esp::DISCONNECTED, "the end: cause");
    Ok(())
}

/// Would catch a reset of the bus that is not told, and one that is although it was not to be
/// (CNTLREG1 bit 6).
fn bus_reset(card: &Am53c974, vm: &Rc<Vm>) -> Result<()> {
    start(card)?;
    let registers = &card.plug.registers;
    registers.set(esp::COMMAND, command::RESET_BUS)?;
    let (cause, _) = interrupt(card, vm, "the reset of the bus")?;
    assert_eq!(cause, esp::BUS_RESET, "the cause");
    registers.set(esp::CONTROL_1, 0x47)?;
    registers.set(esp::COMMAND, command::RESET_BUS)?;
    assert_eq!(registers.get(esp::STATUS)? & esp::STATUS_INTERRUPT, 0, "not to be told");
    assert_eq!(registers.get(esp::INTERRUPT)?, 0, "not to be told");
    Ok(())
}

/// Would catch DMA registers that do not keep a start, or working ones that can be written.
fn dma_registers(card: &Am53c974, _: &Rc<Vm>) -> Result<()> {
    start(card)?;
    let registers = &card.plug.registers;
    for (count, address) in [(0x1234, 0x8765_4320), (0, 0xffff_fffc), (0xff_ffff, 0)] {
        registers.set(esp::DMA_COUNT, count)?;
        registers.set(esp::DMA_ADDRESS, address)?;
        assert_eq!(registers.get(esp::DMA_COUNT)?, count, "the starting count");
        assert_eq!(registers.get(esp::DMA_ADDRESS)?, address, "the starting address");
        let left = registers.get(esp::DMA_LEFT)?;
        registers.set(esp::DMA_LEFT, 0x55)?;
        assert_eq!(registers.get(esp::DMA_LEFT)?, left, "the working count");
    }
    assert_eq!(registers.get(esp::DMA_STATUS)? & 0x1e, 0, "DMA status");
    Ok(())
}
