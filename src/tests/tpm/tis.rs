//! The registers of the FIFO interface of a TPM (TCG PC Client Platform TPM Profile Specification
//! 1.05, 6.5.2): localities, the state of a command, the FIFO, interrupts.

use std::rc::Rc;

use crate::drivers::tpm::tis::{
    ACCESS, ACTIVE, AVAILABLE, CAPABILITY, DID_VID, EXPECT, FAMILY_2, FIFO, GO, INT_ENABLE,
    INT_STATUS, INTERFACE_ID, NOT_ESTABLISHED, PENDING, READY, REQUEST, RETRY, RID, SEIZE, SEIZED,
    STS, STS_VALID, TisRegisters, VALID, XFIFO,
};
use crate::qemu::Vm;
use crate::qos::registers::RegistersExt;
use crate::qos::tpm::{Manner, Tpm, TpmBackend, command, response};
use crate::qos::{reset, settle, wait_until};
use crate::{Result, tests};

tests!(TisRegisters, "tpm-tis-tests":
    test_check_localities,
    test_check_access_reg,
    test_check_access_reg_seize,
    test_check_access_reg_release,
    test_check_transmit,
    higher_wins = "higher-wins",
    others_cannot = "others-cannot",
    locality_told = "locality-told",
    expect,
    burst,
    retry,
    abort,
    abort_running = "abort-running",
    wide,
    interrupts,
    interrupt_locality = "interrupt-locality",
    interrupt_line = "interrupt-line",
    interrupt_lowered = "interrupt-lowered",
    machine_reset = "machine-reset",
);

/// INT_ENABLE: all.
const ALL: u32 = 1 << 31;
/// Interrupts: bytes of a response, STS valid, another locality, ready for a command.
const ON_DATA: u32 = 1 << 0;
const ON_VALID: u32 = 1 << 1;
const ON_LOCALITY: u32 = 1 << 2;
const ON_READY: u32 = 1 << 7;

/// A TPM that nobody has, whose back end answers.
fn begin(tis: &TisRegisters) -> Result<&TpmBackend> {
    for locality in 0..4 {
        tis.0.locality(locality).set(ACCESS, ACTIVE)?;
        tis.0.locality(locality).set(ACCESS, SEIZED)?;
        tis.0.locality(locality).set(INT_ENABLE, 0)?;
        tis.0.locality(locality).set(INT_STATUS, 0xff)?;
    }
    let back_end = TpmBackend::of(tis.0.vm())?;
    back_end.set_manner(Manner::Answers);
    Ok(back_end)
}

/// Sees that a locality's ACCESS has these bits beside those that it always has.
#[track_caller]
fn assert_access(tis: &TisRegisters, locality: usize, bits: u8, when: &str) -> Result<()> {
    let found = tis.0.locality(locality).get(ACCESS)?;
    let expected = VALID | NOT_ESTABLISHED | bits;
    assert_eq!(found, expected, "ACCESS of locality {locality}, {when}: {found:#04x}");
    Ok(())
}

/// Has a command carried out by a locality, up to its response.
fn run(tis: &TisRegisters, locality: usize, sent: &[u8]) -> Result<()> {
    tis.0.hand_in_at(locality, sent)?;
    tis.0.locality(locality).set(STS, GO)?;
    await_data(tis, locality)
}

fn await_data(tis: &TisRegisters, locality: usize) -> Result<()> {
    let registers = tis.0.locality(locality);
    wait_until(tis.0.vm(), "a response", || Ok(registers.get(STS)? & AVAILABLE != 0))
}

/// Would catch a locality whose constant registers are missing, or another's.
fn test_check_localities(tis: &TisRegisters, _: &Rc<Vm>) -> Result<()> {
    begin(tis)?;
    for locality in 0..5 {
        let registers = tis.0.locality(locality);
        assert_access(tis, locality, 0, "that nobody has")?;
        let capability = registers.get(CAPABILITY)?;
        // Version 1.3 for TPM 2.0, transfers of 64 bytes, interrupts by a low level, and the four.
        assert_eq!(capability >> 28, 3, "CAPABILITY {capability:#x}: the version");
        assert_eq!(capability & 0x87, 0x87, "CAPABILITY {capability:#x}: the interrupts");
        assert_eq!(capability >> 9 & 3, 3, "CAPABILITY {capability:#x}: the transfers");
        let id = registers.get(INTERFACE_ID)?;
        // The FIFO interface of TPM 2.0 with five localities, which is supported.
        assert_eq!(id & 0x21ff, 0x2100, "INTERFACE_ID {id:#x}");
        assert_eq!(registers.get(DID_VID)?, 0x0001_1014, "DID_VID");
        assert_eq!(registers.get(RID)?, 1, "RID");
        assert_eq!(registers.get(STS)?, !0, "STS of a locality that has not the TPM");
        assert_eq!(registers.get(FIFO)?, 0xff, "the FIFO of such a one");
    }
    Ok(())
}

/// Would catch a request that is not granted where nobody has the TPM, one that is where somebody
/// has, or a TPM that is not given up.
fn test_check_access_reg(tis: &TisRegisters, _: &Rc<Vm>) -> Result<()> {
    begin(tis)?;
    for locality in 0..4 {
        let registers = tis.0.locality(locality);
        registers.set(ACCESS, REQUEST)?;
        assert_access(tis, locality, ACTIVE, "that took it")?;
        for other in (0..4).filter(|other| *other != locality) {
            assert_access(tis, other, 0, "that did not take it")?;
        }
        let status = registers.get(STS)?;
        assert_eq!(status & FAMILY_2, FAMILY_2, "STS {status:#x}: the family");
        registers.set(ACCESS, ACTIVE)?;
        assert_access(tis, locality, 0, "that gave it up")?;
    }
    Ok(())
}

/// Would catch a TPM that a lower locality, or the same one, seizes, one that a higher one does
/// not, or a locality that is not told that it was seized.
fn test_check_access_reg_seize(tis: &TisRegisters, _: &Rc<Vm>) -> Result<()> {
    begin(tis)?;
    for locality in 0..4 {
        tis.0.locality(locality).set(ACCESS, REQUEST)?;
        for lower in 0..locality {
            tis.0.locality(lower).set(ACCESS, SEIZE)?;
            assert_access(tis, lower, 0, "that is lower and seized it")?;
            assert_access(tis, locality, ACTIVE, "that a lower one seized")?;
        }
        tis.0.locality(locality).set(ACCESS, SEIZE)?;
        assert_access(tis, locality, ACTIVE, "that seized its own")?;
        let mut has = locality;
        for higher in locality + 1..4 {
            tis.0.locality(higher).set(ACCESS, SEIZE)?;
            assert_access(tis, higher, ACTIVE, "that is higher and seized it")?;
            assert_access(tis, has, SEIZED, "that was seized")?;
            tis.0.locality(has).set(ACCESS, SEIZED)?;
            assert_access(tis, has, 0, "that knows")?;
            has = higher;
        }
        tis.0.locality(has).set(ACCESS, ACTIVE)?;
        assert_access(tis, has, 0, "that gave it up")?;
    }
    Ok(())
}

/// Would catch a request that is lost while another has the TPM, or that is not granted when that
/// gives it up.
fn test_check_access_reg_release(tis: &TisRegisters, _: &Rc<Vm>) -> Result<()> {
    begin(tis)?;
    for locality in 0..4 {
        for other in (0..4).filter(|other| *other != locality) {
            tis.0.locality(locality).set(ACCESS, REQUEST)?;
            tis.0.locality(other).set(ACCESS, REQUEST)?;
            assert_access(tis, other, REQUEST, "that asks")?;
            assert_access(tis, locality, ACTIVE | PENDING, "that another asks")?;
            tis.0.locality(locality).set(ACCESS, ACTIVE)?;
            assert_access(tis, other, ACTIVE, "that has asked")?;
            assert_access(tis, locality, 0, "that gave it up")?;
            tis.0.locality(other).set(ACCESS, ACTIVE)?;
        }
    }
    Ok(())
}

/// Would catch two that wait of which the lower one is first, or a request that cannot be taken
/// back.
fn higher_wins(tis: &TisRegisters, _: &Rc<Vm>) -> Result<()> {
    begin(tis)?;
    tis.0.locality(1).set(ACCESS, REQUEST)?;
    for locality in [0, 2, 3] {
        tis.0.locality(locality).set(ACCESS, REQUEST)?;
    }
    tis.0.locality(3).set(ACCESS, ACTIVE)?;
    assert_access(tis, 3, PENDING, "that took its request back")?;
    tis.0.locality(1).set(ACCESS, ACTIVE)?;
    assert_access(tis, 2, ACTIVE | PENDING, "that is the highest that waits")?;
    tis.0.locality(2).set(ACCESS, ACTIVE)?;
    assert_access(tis, 0, ACTIVE, "that waits last")?;
    tis.0.locality(0).set(ACCESS, ACTIVE)
}

/// Would catch a command of several localities that does not come byte for byte, or a response
/// that does not.
fn test_check_transmit(tis: &TisRegisters, _: &Rc<Vm>) -> Result<()> {
    let back_end = begin(tis)?;
    for locality in 0..4 {
        tis.0.prepare_at(locality)?;
        let sent = command(13 + locality, 23);
        run(tis, locality, &sent)?;
        assert_eq!(back_end.take_commands(), [&sent[..]], "at the back end");
        assert_eq!(tis.0.take_at(locality)?, response(&sent), "the response");
        tis.0.locality(locality).set(ACCESS, ACTIVE)?;
    }
    Ok(())
}

/// Would catch a locality that has not the TPM, and whose bytes or commands count.
fn others_cannot(tis: &TisRegisters, vm: &Rc<Vm>) -> Result<()> {
    let back_end = begin(tis)?;
    tis.0.prepare_at(1)?;
    let sent = command(20, 20);
    tis.0
        .hand_in_at(1, &sent[..19])
        .map_or_else(|_| Ok(()), |()| Err(crate::Error::failed("19 of 20 bytes were enough")))?;
    for other in [0, 2, 3, 4] {
        tis.0.locality(other).set(FIFO, 0xee)?;
        tis.0.locality(other).set(STS, READY)?;
        tis.0.locality(other).set(STS, GO)?;
    }
    let registers = tis.0.locality(1);
    assert_eq!(registers.get(STS)? & EXPECT, EXPECT, "one byte is to come");
    registers.set(FIFO, sent[19])?;
    for other in [0, 2, 3, 4] {
        tis.0.locality(other).set(STS, GO)?;
    }
    settle(vm)?;
    assert_eq!(back_end.waiting(), 0, "commands that another began");
    registers.set(STS, GO)?;
    await_data(tis, 1)?;
    assert_eq!(tis.0.locality(0).get(FIFO)?, 0xff, "what another reads");
    assert_eq!(tis.0.take_at(1)?, response(&sent), "the response");
    // The fourth cannot be taken by software (6.5.2.4).
    registers.set(ACCESS, ACTIVE)?;
    tis.0.locality(4).set(ACCESS, REQUEST)?;
    assert_access(tis, 4, 0, "that software cannot take")
}

/// Would catch a back end that is not told whose command it is.
fn locality_told(tis: &TisRegisters, _: &Rc<Vm>) -> Result<()> {
    let back_end = begin(tis)?;
    for locality in [0, 3, 1, 2, 0] {
        tis.0.prepare_at(locality)?;
        run(tis, locality, &command(12, 12))?;
        assert_eq!(back_end.locality(), Some(locality as u8), "the locality at the back end");
        tis.0.take_at(locality)?;
        tis.0.locality(locality).set(ACCESS, ACTIVE)?;
    }
    Ok(())
}

/// Would catch a command that is begun before it is whole, or bytes that are taken behind it.
fn expect(tis: &TisRegisters, vm: &Rc<Vm>) -> Result<()> {
    let back_end = begin(tis)?;
    tis.0.prepare_at(0)?;
    let registers = tis.0.locality(0);
    let sent = command(16, 16);
    for (number, byte) in sent.iter().enumerate() {
        registers.set(FIFO, *byte)?;
        let status = registers.get(STS)? & (STS_VALID | EXPECT);
        let expected = if number + 1 < sent.len() { STS_VALID | EXPECT } else { STS_VALID };
        assert_eq!(status, expected, "STS after byte {number}");
        if number + 1 < sent.len() {
            registers.set(STS, GO)?;
        }
    }
    settle(vm)?;
    assert_eq!(back_end.waiting(), 0, "commands that were not whole");
    for _ in 0..4 {
        registers.set(FIFO, 0xdd)?;
    }
    registers.set(STS, GO)?;
    await_data(tis, 0)?;
    assert_eq!(back_end.take_commands(), [&sent[..]], "at the back end");
    assert_eq!(tis.0.take_at(0)?, response(&sent), "the response");
    registers.set(ACCESS, ACTIVE)
}

/// Would catch a burst count that is zero while bytes can be moved, or that does not go down with
/// them.
fn burst(tis: &TisRegisters, _: &Rc<Vm>) -> Result<()> {
    begin(tis)?;
    tis.0.prepare_at(0)?;
    let room = tis.0.burst(0)?;
    assert!(room > 0, "no room for a command");
    let sent = command(300, 290);
    let registers = tis.0.locality(0);
    for (number, byte) in sent[..100].iter().enumerate() {
        assert_eq!(tis.0.burst(0)?, room - number, "room before byte {number}");
        registers.set(FIFO, *byte)?;
    }
    sent[100..].iter().try_for_each(|byte| registers.set(FIFO, *byte))?;
    registers.set(STS, GO)?;
    await_data(tis, 0)?;
    let expected = response(&sent);
    for (number, byte) in expected.iter().enumerate() {
        assert_eq!(tis.0.burst(0)?, expected.len() - number, "bytes before byte {number}");
        assert_eq!(registers.get(FIFO)?, *byte, "byte {number}");
    }
    let status = registers.get(STS)? & (STS_VALID | AVAILABLE);
    assert_eq!(status, STS_VALID, "STS behind the last byte");
    assert_eq!(registers.get(FIFO)?, 0xff, "a byte behind the last one");
    registers.set(ACCESS, ACTIVE)
}

/// Would catch a response that cannot be read again, or only from where it was left.
fn retry(tis: &TisRegisters, _: &Rc<Vm>) -> Result<()> {
    begin(tis)?;
    tis.0.prepare_at(0)?;
    let sent = command(20, 50);
    run(tis, 0, &sent)?;
    let registers = tis.0.locality(0);
    let expected = response(&sent);
    for read in [5, 0, 49, 50] {
        for (number, byte) in expected[..read].iter().enumerate() {
            assert_eq!(registers.get(FIFO)?, *byte, "byte {number} of {read}");
        }
        registers.set(STS, RETRY)?;
        assert_eq!(registers.get(STS)? & AVAILABLE, AVAILABLE, "STS after {read} bytes again");
    }
    assert_eq!(tis.0.take_at(0)?, expected, "all of it");
    registers.set(ACCESS, ACTIVE)
}

/// Would catch bytes of a command or response that are left when the TPM is made ready.
fn abort(tis: &TisRegisters, _: &Rc<Vm>) -> Result<()> {
    let back_end = begin(tis)?;
    tis.0.prepare_at(0)?;
    let registers = tis.0.locality(0);
    for count in [1, 5, 9, 10, 30] {
        command(31, 20)[..count].iter().try_for_each(|byte| registers.set(FIFO, *byte))?;
        registers.set(STS, READY)?;
        let status = registers.get(STS)?;
        assert_eq!(status & (READY | EXPECT), READY, "STS after {count} bytes: {status:#x}");
        let sent = command(12 + count, 20);
        run(tis, 0, &sent)?;
        assert_eq!(back_end.take_commands(), [&sent[..]], "at the back end, after {count} bytes");
        registers.get(FIFO)?;
        registers.set(STS, READY)?;
        let status = registers.get(STS)? & (READY | AVAILABLE);
        assert_eq!(status, READY, "STS in the middle of a response");
    }
    registers.set(ACCESS, ACTIVE)
}

/// Would catch a command that is carried out and not cancelled when the TPM is to be ready, or when
/// a higher locality seizes it.
fn abort_running(tis: &TisRegisters, _: &Rc<Vm>) -> Result<()> {
    for seizes in [false, true] {
        let back_end = begin(tis)?;
        tis.0.prepare_at(0)?;
        back_end.set_manner(Manner::Holds);
        tis.0.hand_in_at(0, &command(20, 20))?;
        tis.0.locality(0).set(STS, GO)?;
        wait_until(tis.0.vm(), "a command at the back end", || Ok(back_end.waiting() == 1))?;
        let before = back_end.cancels();
        match seizes {
            true => tis.0.locality(2).set(ACCESS, SEIZE)?,
            false => tis.0.locality(0).set(STS, READY)?,
        }
        let now = if seizes { 2 } else { 0 };
        wait_until(tis.0.vm(), "the end of the command", || {
            let has = tis.0.locality(now).get(ACCESS)? & ACTIVE != 0;
            Ok(has && (seizes || tis.0.locality(0).get(STS)? & READY != 0))
        })?;
        assert_eq!(back_end.cancels(), before + 1, "cancels, seized: {seizes}");
        back_end.set_manner(Manner::Answers);
        let sent = command(25, 25);
        tis.0.prepare_at(now)?;
        run(tis, now, &sent)?;
        assert_eq!(tis.0.take_at(now)?, response(&sent), "the response, seized: {seizes}");
        tis.0.locality(now).set(ACCESS, ACTIVE)?;
    }
    begin(tis).map(drop)
}

/// Would catch a FIFO that takes or gives the bytes of a wider access in another order, or only
/// some of them.
fn wide(tis: &TisRegisters, _: &Rc<Vm>) -> Result<()> {
    let back_end = begin(tis)?;
    tis.0.prepare_at(0)?;
    let registers = tis.0.locality(0);
    let sent = command(32, 40);
    for (number, word) in sent.as_chunks().0.iter().enumerate() {
        registers.set(XFIFO.nth(number as u64, 4), u32::from_le_bytes(*word))?;
    }
    assert_eq!(registers.get(STS)? & EXPECT, 0, "all is there");
    registers.set(STS, GO)?;
    await_data(tis, 0)?;
    assert_eq!(back_end.take_commands(), [&sent[..]], "at the back end");
    let mut found = Vec::new();
    for number in 0..10 {
        found.extend(registers.get(XFIFO.nth(number, 4))?.to_le_bytes());
    }
    assert_eq!(found, response(&sent), "the response, by words");
    registers.set(STS, READY)?;
    registers.set(ACCESS, ACTIVE)
}

/// Would catch an interrupt that is pending although it is not enabled, that is not although it
/// is, or that a one does not clear, alone.
fn interrupts(tis: &TisRegisters, _: &Rc<Vm>) -> Result<()> {
    begin(tis)?;
    let registers = tis.0.locality(0);
    tis.0.prepare_at(0)?;
    run(tis, 0, &command(20, 20))?;
    tis.0.take_at(0)?;
    assert_eq!(registers.get(INT_STATUS)?, 0, "without any that is enabled");
    registers.set(INT_ENABLE, ON_DATA | ON_VALID)?;
    run(tis, 0, &command(20, 20))?;
    tis.0.take_at(0)?;
    assert_eq!(registers.get(INT_STATUS)?, 0, "without the enable of all");
    registers.set(INT_ENABLE, ALL | ON_DATA | ON_READY)?;
    let kept = registers.get(INT_ENABLE)?;
    assert_eq!(kept & !0x18, ALL | ON_DATA | ON_READY, "INT_ENABLE");
    run(tis, 0, &command(20, 20))?;
    let pending = registers.get(INT_STATUS)?;
    assert_eq!(pending & ON_DATA, ON_DATA, "with bytes of a response: {pending:#x}");
    assert_eq!(pending & ON_READY, 0, "before the TPM is ready again: {pending:#x}");
    registers.set(STS, READY)?;
    assert_eq!(registers.get(INT_STATUS)? & ON_READY, ON_READY, "when it is ready");
    registers.set(INT_STATUS, ON_DATA)?;
    assert_eq!(registers.get(INT_STATUS)? & (ON_DATA | ON_READY), ON_READY, "one is cleared");
    registers.set(INT_STATUS, !0)?;
    assert_eq!(registers.get(INT_STATUS)?, 0, "all are cleared");
    registers.set(ACCESS, ACTIVE)?;
    begin(tis).map(drop)
}

/// Would catch a locality that gets the TPM, and is not told by an interrupt.
fn interrupt_locality(tis: &TisRegisters, _: &Rc<Vm>) -> Result<()> {
    begin(tis)?;
    tis.0.prepare_at(0)?;
    tis.0.locality(0).set(ACCESS, ACTIVE)?;
    let other = tis.0.locality(1);
    other.set(INT_ENABLE, ALL | ON_LOCALITY)?;
    other.set(ACCESS, REQUEST)?;
    assert_eq!(other.get(INT_STATUS)?, ON_LOCALITY, "another locality");
    begin(tis).map(drop)
}

/// Would catch a line that does not follow what is pending.
fn interrupt_line(tis: &TisRegisters, _: &Rc<Vm>) -> Result<()> {
    begin(tis)?;
    let none = || crate::Error::skipped("its interrupt line cannot be watched");
    let line = tis.0.interrupt()?.ok_or_else(none)?;
    let registers = tis.0.locality(0);
    tis.0.prepare_at(0)?;
    run(tis, 0, &command(20, 20))?;
    tis.0.take_at(0)?;
    assert!(!line.is_high()?, "an interrupt that is not enabled");
    registers.set(INT_ENABLE, ALL | ON_DATA | ON_READY)?;
    run(tis, 0, &command(20, 20))?;
    assert!(line.is_high()?, "bytes of a response");
    registers.set(INT_STATUS, ON_READY)?;
    assert!(line.is_high()?, "another is cleared");
    registers.set(INT_STATUS, ON_DATA)?;
    assert!(!line.is_high()?, "cleared");
    registers.set(INT_STATUS, !0)?;
    begin(tis).map(drop)
}

/// Would catch a line that stays high though each interrupt that was pending has been cleared, or
/// that is lowered while one is pending.
fn interrupt_lowered(tis: &TisRegisters, _: &Rc<Vm>) -> Result<()> {
    begin(tis)?;
    let none = || crate::Error::skipped("its interrupt line cannot be watched");
    let line = tis.0.interrupt()?.ok_or_else(none)?;
    let registers = tis.0.locality(0);
    tis.0.prepare_at(0)?;
    registers.set(INT_ENABLE, ALL | ON_DATA | ON_VALID | ON_LOCALITY | ON_READY)?;
    for round in 0..2 {
        run(tis, 0, &command(20, 20))?;
        assert!(line.is_high()?, "bytes of a response, round {round}");
        tis.0.take_at(0)?;
        let pending = registers.get(INT_STATUS)?;
        assert_ne!(pending, 0, "INT_STATUS, round {round}");
        for bit in (0..32).map(|bit| 1 << bit).filter(|bit| pending & bit != 0) {
            assert!(line.is_high()?, "{bit:#x} of {pending:#x} is pending, round {round}");
            registers.set(INT_STATUS, bit)?;
        }
        assert_eq!(registers.get(INT_STATUS)?, 0, "all cleared, round {round}");
        assert!(!line.is_high()?, "all cleared, round {round}");
    }
    begin(tis).map(drop)
}

/// Would catch a locality, interrupts or a command that outlive a reset of the machine.
fn machine_reset(tis: &TisRegisters, vm: &Rc<Vm>) -> Result<()> {
    begin(tis)?;
    let registers = tis.0.locality(2);
    let before = registers.get(INT_ENABLE)?;
    tis.0.prepare_at(2)?;
    registers.set(INT_ENABLE, ALL | ON_DATA)?;
    run(tis, 2, &command(20, 20))?;
    assert_ne!(registers.get(INT_STATUS)?, 0, "pending before the reset");
    tis.0.locality(3).set(ACCESS, REQUEST)?;
    reset(vm)?;
    for locality in 0..5 {
        assert_access(tis, locality, 0, "after a reset")?;
    }
    assert_eq!(registers.get(INT_STATUS)?, 0, "INT_STATUS");
    assert_eq!(registers.get(INT_ENABLE)? & !0x18, before & !0x18, "INT_ENABLE");
    tis.0.prepare_at(0)?;
    assert_eq!(tis.0.locality(0).get(STS)? & AVAILABLE, 0, "bytes of a response before");
    tis.0.locality(0).set(ACCESS, ACTIVE)
}
