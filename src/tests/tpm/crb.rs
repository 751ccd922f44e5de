//! The registers of the command response buffer interface of a TPM (TCG PC Client Platform TPM
//! Profile Specification 1.05, 6.5.3).

use std::rc::Rc;

use crate::drivers::tpm::crb::{
    BE_IDLE, BE_READY, COMMAND_ADDRESS, COMMAND_ADDRESS_HIGH, COMMAND_SIZE, CTRL_REQ, CTRL_START,
    CTRL_STS, ERROR, GIVE_UP, GRANTED, IDLE, INTF_ID, INTF_ID_HIGH, LOC_CTRL, LOC_STATE, LOC_STS,
    RESPONSE_ADDRESS, RESPONSE_SIZE, TAKE, TpmCrb,
};
use crate::qemu::Vm;
use crate::qos::registers::RegistersExt;
use crate::qos::tpm::{Manner, Tpm, TpmBackend, command, response};
use crate::qos::{reset, settle, wait_until};
use crate::{Result, tests};

tests!(TpmCrb, "tpm-crb-tests":
    test,
    locality,
    idle,
    start_without_locality = "start-without-locality",
    start_values = "start-values",
    buffer_kept = "buffer-kept",
    machine_reset = "machine-reset",
);

/// LOC_STATE: no dynamic root of trust was established; a locality has the TPM; it is valid.
const NOT_ESTABLISHED: u32 = 1 << 0;
const ASSIGNED: u32 = 1 << 1;
const VALID: u32 = 1 << 7;

/// A TPM that nobody has, and that is idle.
fn begin(crb: &TpmCrb) -> Result<&TpmBackend> {
    crb.registers().set(LOC_CTRL, GIVE_UP)?;
    crb.registers().set(CTRL_REQ, BE_IDLE)?;
    let back_end = TpmBackend::of(crb.vm())?;
    back_end.set_manner(Manner::Answers);
    Ok(back_end)
}

/// Would catch an interface that says to be another, or buffers that are not where it says.
fn test(crb: &TpmCrb, _: &Rc<Vm>) -> Result<()> {
    let registers = crb.registers();
    let id = registers.get(INTF_ID)?;
    assert_eq!(id & 0xf, 1, "INTF_ID {id:#x}: CRB is active");
    assert_eq!(id >> 4 & 0xf, 1, "INTF_ID {id:#x}: its version");
    assert_eq!(id >> 8 & 1, 0, "INTF_ID {id:#x}: locality 0 alone");
    assert_eq!(id >> 11 & 3, 3, "INTF_ID {id:#x}: transfers of 64 bytes");
    assert_eq!(id >> 13 & 3, 2, "INTF_ID {id:#x}: CRB is supported, FIFO is not");
    assert_eq!(id >> 17 & 3, 1, "INTF_ID {id:#x}: CRB is selected");
    assert_eq!(registers.get(INTF_ID_HIGH)? & 0xffff, 0x1014, "the vendor");
    let (size, at) = (registers.get(COMMAND_SIZE)?, registers.get(COMMAND_ADDRESS)?);
    assert!(size >= 128, "a command has {size} bytes");
    assert!(at >= 0xfed4_0080, "commands are at {at:#x}");
    assert!(at + size <= 0xfed4_1000, "commands are at {at:#x}, {size:#x} bytes");
    assert_eq!(registers.get(COMMAND_ADDRESS_HIGH)?, 0, "the upper half of their address");
    assert!(registers.get(RESPONSE_SIZE)? >= 128, "a response");
    assert!(registers.get(RESPONSE_ADDRESS)? >= 0xfed4_0080, "responses");
    begin(crb)?;
    crb.prepare()?;
    let sent = command(17, 33);
    crb.hand_in(&sent)?;
    crb.go()?;
    wait_until(crb.vm(), "a response", || crb.is_done())?;
    assert_eq!(registers.get(CTRL_STS)? & ERROR, 0, "an error");
    assert_eq!(crb.take()?, response(&sent), "the response");
    Ok(())
}

/// Would catch a locality that is not granted, not given up, or whose state does not say so.
fn locality(crb: &TpmCrb, _: &Rc<Vm>) -> Result<()> {
    begin(crb)?;
    let registers = crb.registers();
    for _ in 0..2 {
        assert_eq!(registers.get(LOC_STATE)?, VALID | NOT_ESTABLISHED, "LOC_STATE of nobody");
        assert_eq!(registers.get(LOC_STS)?, 0, "LOC_STS of nobody");
        registers.set(LOC_CTRL, TAKE)?;
        let state = registers.get(LOC_STATE)?;
        assert_eq!(state, VALID | NOT_ESTABLISHED | ASSIGNED, "LOC_STATE of locality 0");
        assert_eq!(registers.get(LOC_STS)?, GRANTED, "LOC_STS of locality 0");
        registers.set(LOC_CTRL, GIVE_UP)?;
    }
    // Neither can be written.
    registers.set(LOC_STATE, !0)?;
    registers.set(LOC_STS, !0)?;
    assert_eq!(registers.get(LOC_STATE)?, VALID | NOT_ESTABLISHED, "LOC_STATE, written");
    assert_eq!(registers.get(LOC_STS)?, 0, "LOC_STS, written");
    Ok(())
}

/// Would catch a TPM that does not become ready or idle, or that is not idle at first.
fn idle(crb: &TpmCrb, _: &Rc<Vm>) -> Result<()> {
    begin(crb)?;
    let registers = crb.registers();
    registers.set(LOC_CTRL, TAKE)?;
    for _ in 0..2 {
        assert_eq!(registers.get(CTRL_STS)? & (IDLE | ERROR), IDLE, "idle");
        registers.set(CTRL_REQ, BE_READY)?;
        assert_eq!(registers.get(CTRL_REQ)?, 0, "the request to be ready, when it is");
        assert_eq!(registers.get(CTRL_STS)? & (IDLE | ERROR), 0, "ready");
        registers.set(CTRL_REQ, BE_IDLE)?;
        assert_eq!(registers.get(CTRL_REQ)?, 0, "the request to be idle, when it is");
    }
    registers.set(CTRL_STS, !0)?;
    assert_eq!(registers.get(CTRL_STS)? & (IDLE | ERROR), IDLE, "CTRL_STS, written");
    Ok(())
}

/// Would catch a command that is carried out for a locality that has not the TPM.
fn start_without_locality(crb: &TpmCrb, vm: &Rc<Vm>) -> Result<()> {
    let back_end = begin(crb)?;
    crb.hand_in(&command(20, 20))?;
    crb.go()?;
    settle(vm)?;
    assert_eq!(crb.registers().get(CTRL_START)?, 0, "START");
    assert_eq!(back_end.waiting(), 0, "commands at the back end");
    Ok(())
}

/// Would catch a command that is begun by a write without the bit for that.
fn start_values(crb: &TpmCrb, vm: &Rc<Vm>) -> Result<()> {
    let back_end = begin(crb)?;
    crb.prepare()?;
    crb.hand_in(&command(20, 20))?;
    for value in [0, 2, 0x8000_0000] {
        crb.registers().set(CTRL_START, value)?;
        settle(vm)?;
        assert_eq!(crb.registers().get(CTRL_START)?, 0, "START after {value:#x}");
    }
    assert_eq!(back_end.waiting(), 0, "commands at the back end");
    Ok(())
}

/// Would catch a buffer that does not keep what is written, in every width, up to its end, or that
/// goes on behind that.
fn buffer_kept(crb: &TpmCrb, _: &Rc<Vm>) -> Result<()> {
    begin(crb)?;
    crb.prepare()?;
    let (buffer, size) = (crb.command_buffer()?, u64::from(crb.registers().get(COMMAND_SIZE)?));
    for at in [0, 4, 256, size - 8, size - 4] {
        let word = 0x8040_2010 ^ at as u32;
        buffer.write32(at, word)?;
        assert_eq!(buffer.read32(at)?, word, "the word at {at:#x}");
        for (number, byte) in word.to_le_bytes().into_iter().enumerate() {
            assert_eq!(buffer.read8(at + number as u64)?, byte, "byte {number} at {at:#x}");
        }
        buffer.write8(at + 1, 0x77)?;
        assert_eq!(buffer.read16(at)?, (word & 0xff) as u16 | 0x7700, "the half at {at:#x}");
    }
    Ok(())
}

/// Would catch a locality, or a state of the interface, that outlives a reset of the machine.
fn machine_reset(crb: &TpmCrb, vm: &Rc<Vm>) -> Result<()> {
    begin(crb)?;
    crb.prepare()?;
    reset(vm)?;
    let registers = crb.registers();
    assert_eq!(registers.get(LOC_STATE)?, VALID | NOT_ESTABLISHED, "LOC_STATE");
    assert_eq!(registers.get(LOC_STS)?, 0, "LOC_STS");
    assert_eq!(registers.get(CTRL_STS)? & (IDLE | ERROR), IDLE, "CTRL_STS");
    assert_eq!(registers.get(CTRL_START)?, 0, "CTRL_START");
    test(crb, vm)
}
