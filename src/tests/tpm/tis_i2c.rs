//! The registers of a TPM on an I2C bus (TCG PC Client Platform TPM Profile Specification 1.05,
//! section 7): which locality they are of, reads of parts of TPM_STS, checksums.

use std::rc::Rc;

use crate::drivers::tpm::tis::{ACTIVE, GO, NOT_ESTABLISHED, PENDING, READY, REQUEST, VALID};
use crate::drivers::tpm::tis_i2c::{
    ACCESS, CHECKSUM_ENABLE, DID_VID, INT_CAPABILITY, INT_ENABLE, INTERFACE_CAPABILITY, LOC_SEL,
    RID, STS, TpmTisI2c,
};
use crate::qemu::Vm;
use crate::qos::registers::RegistersExt;
use crate::qos::tpm::{Manner, Tpm, TpmBackend, command, response};
use crate::qos::{reset, wait_until};
use crate::{Result, tests};

tests!(TpmTisI2c, "tpm-tis-i2c-tests":
    identity,
    localities,
    access,
    waits,
    parts_of_sts = "parts-of-sts",
    transmit,
    checksum,
    machine_reset = "machine-reset",
);

/// A TPM that nobody has, whose back end answers.
fn begin(tpm: &TpmTisI2c) -> Result<&TpmBackend> {
    for locality in 0..4 {
        tpm.registers().set(LOC_SEL, locality)?;
        tpm.registers().set(ACCESS, ACTIVE)?;
    }
    tpm.registers().set(LOC_SEL, 0)?;
    let back_end = TpmBackend::of(tpm.vm())?;
    back_end.set_manner(Manner::Answers);
    back_end.take_commands();
    Ok(back_end)
}

/// Sees that a locality's ACCESS has these bits beside those that it always has.
#[track_caller]
fn assert_access(tpm: &TpmTisI2c, locality: u8, bits: u8, when: &str) -> Result<()> {
    tpm.registers().set(LOC_SEL, locality)?;
    let (found, expected) = (tpm.registers().get(ACCESS)?, VALID | NOT_ESTABLISHED | bits);
    assert_eq!(found, expected, "TPM_ACCESS of locality {locality}, {when}: {found:#04x}");
    Ok(())
}

/// Writes the ACCESS of a locality.
fn set_access(tpm: &TpmTisI2c, locality: u8, bits: u8) -> Result<()> {
    tpm.registers().set(LOC_SEL, locality)?;
    tpm.registers().set(ACCESS, bits)
}

/// Would catch a TPM that drivers take for another, or for one of another interface, in a locality.
fn identity(tpm: &TpmTisI2c, _: &Rc<Vm>) -> Result<()> {
    begin(tpm)?;
    let registers = tpm.registers();
    for locality in 0..5 {
        registers.set(LOC_SEL, locality)?;
        assert_eq!(registers.get(DID_VID)?, 0x0001_1014, "TPM_DID_VID");
        assert_eq!(registers.get(RID)?, 1, "TPM_RID");
        let capability = registers.get(INTERFACE_CAPABILITY)?;
        assert_eq!(capability & 0xf, 2, "{capability:#x}: FIFO over I2C");
        assert_eq!(capability >> 4 & 7, 0, "{capability:#x}: version 1.0");
        assert_eq!(capability >> 7 & 3, 1, "{capability:#x}: TPM 2.0");
        assert_eq!(capability >> 25 & 3, 1, "{capability:#x}: localities 0 to 4");
        assert_eq!(registers.get(INT_CAPABILITY)?, 0, "no interrupts");
        registers.set(INT_ENABLE, !0)?;
        // Bits 4:3 are how an interrupt would be told.
        let enabled = registers.get(INT_ENABLE)? & !0x18;
        assert_eq!(enabled, 0, "interrupts that there are none of, enabled");
    }
    Ok(())
}

/// Would catch a locality that cannot be selected, and one that there is none of, which can.
fn localities(tpm: &TpmTisI2c, _: &Rc<Vm>) -> Result<()> {
    begin(tpm)?;
    let registers = tpm.registers();
    for locality in [0, 1, 2, 3, 4, 2, 0] {
        registers.set(LOC_SEL, locality)?;
        assert_eq!(registers.get(LOC_SEL)?, locality);
        for other in [5, 0x10, 0xff] {
            registers.set(LOC_SEL, other)?;
            assert_eq!(registers.get(LOC_SEL)?, locality, "locality {other} was selected");
        }
    }
    Ok(())
}

/// Would catch a request that is not granted where nobody has the TPM, one that is granted to
/// another locality than that which is selected, or a TPM that is not given up.
fn access(tpm: &TpmTisI2c, _: &Rc<Vm>) -> Result<()> {
    begin(tpm)?;
    for locality in 0..4 {
        set_access(tpm, locality, REQUEST)?;
        assert_access(tpm, locality, ACTIVE, "that took it")?;
        for other in (0..5).filter(|other| *other != locality) {
            assert_access(tpm, other, 0, "that did not take it")?;
        }
        set_access(tpm, locality, ACTIVE)?;
        assert_access(tpm, locality, 0, "that gave it up")?;
    }
    Ok(())
}

/// Would catch a request that is lost while another locality has the TPM.
fn waits(tpm: &TpmTisI2c, _: &Rc<Vm>) -> Result<()> {
    begin(tpm)?;
    for (locality, other) in [(0, 3), (3, 0), (1, 2)] {
        set_access(tpm, locality, REQUEST)?;
        set_access(tpm, other, REQUEST)?;
        assert_access(tpm, other, REQUEST, "that asks")?;
        assert_access(tpm, locality, ACTIVE | PENDING, "that another asks")?;
        set_access(tpm, locality, ACTIVE)?;
        assert_access(tpm, other, ACTIVE, "that has asked")?;
        set_access(tpm, other, ACTIVE)?;
    }
    Ok(())
}

/// Would catch a read of part of TPM_STS that is of another part, and bits that must be zero.
fn parts_of_sts(tpm: &TpmTisI2c, _: &Rc<Vm>) -> Result<()> {
    begin(tpm)?;
    tpm.prepare_at(0)?;
    let at = STS.offset() as u8;
    let whole = tpm.device().read_from::<4>(at)?;
    let status = u32::from_le_bytes(whole);
    assert_eq!(status >> 26, 0, "TPM_STS {status:#010x}: bits 31:26");
    assert_eq!(status & READY, READY, "TPM_STS {status:#010x}");
    let burst = status >> 8 & 0xffff;
    assert_ne!(burst, 0, "TPM_STS {status:#010x}: burstCount");
    assert_eq!(tpm.device().read_from::<1>(at)?, whole[..1], "the first byte");
    assert_eq!(tpm.device().read_from::<2>(at + 1)?, whole[1..3], "burstCount");
    assert_eq!(tpm.device().read_from::<1>(at + 3)?, whole[3..], "the last byte");
    Ok(())
}

/// Has a command carried out, up to its response.
fn run(tpm: &TpmTisI2c, sent: &[u8]) -> Result<()> {
    tpm.hand_in(sent)?;
    tpm.registers().set(STS, GO)?;
    wait_until(tpm.vm(), "a response", || tpm.is_done())
}

/// Would catch a command of any locality that does not come byte for byte, or a response.
fn transmit(tpm: &TpmTisI2c, _: &Rc<Vm>) -> Result<()> {
    let back_end = begin(tpm)?;
    for locality in 0..4 {
        tpm.prepare_at(locality)?;
        let sent = command(13 + usize::from(locality), 23);
        run(tpm, &sent)?;
        assert_eq!(back_end.take_commands(), [&sent[..]], "at the back end");
        assert_eq!(tpm.take()?, response(&sent), "the response");
        tpm.registers().set(ACCESS, ACTIVE)?;
    }
    Ok(())
}

/// The CRC-CCITT of `data`: polynomial x^16 + x^12 + x^5 + 1, lowest bit first, from 0 on (7.1.9).
fn crc(data: &[u8]) -> u16 {
    data.iter().fold(0, |crc, byte| {
        (0..8).fold(crc ^ u16::from(*byte), |crc, _| match crc & 1 {
            1 => crc >> 1 ^ 0x8408,
            _ => crc >> 1,
        })
    })
}

/// Would catch a checksum that is not enabled, is of other bytes than those of the command and of
/// the response, or has its bytes in the wrong order.
fn checksum(tpm: &TpmTisI2c, _: &Rc<Vm>) -> Result<()> {
    begin(tpm)?;
    for enable in [0, 1] {
        tpm.registers().set(CHECKSUM_ENABLE, enable)?;
        assert_eq!(tpm.registers().get(CHECKSUM_ENABLE)?, enable);
    }
    for length in [12, 77, 300] {
        tpm.prepare_at(0)?;
        let sent = command(length, length + 9);
        tpm.hand_in(&sent)?;
        assert_eq!(tpm.checksum()?, crc(&sent).to_be_bytes(), "a command of {length} bytes");
        tpm.registers().set(STS, GO)?;
        wait_until(tpm.vm(), "a response", || tpm.is_done())?;
        assert_eq!(tpm.take()?, response(&sent));
    }
    tpm.registers().set(CHECKSUM_ENABLE, 0)
}

/// Would catch a reset of the machine that leaves a locality selected, the TPM taken, or checksums
/// enabled.
fn machine_reset(tpm: &TpmTisI2c, vm: &Rc<Vm>) -> Result<()> {
    begin(tpm)?;
    tpm.prepare_at(2)?;
    tpm.registers().set(CHECKSUM_ENABLE, 1)?;
    reset(vm)?;
    assert_eq!(tpm.registers().get(LOC_SEL)?, 0, "TPM_LOC_SEL");
    assert_eq!(tpm.registers().get(CHECKSUM_ENABLE)?, 0, "TPM_DATA_CSUM_ENABLE");
    for locality in 0..5 {
        assert_access(tpm, locality, 0, "after a reset")?;
    }
    Ok(())
}
