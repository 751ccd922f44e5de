//! The keyboard controller style interface to a management controller: its states, and a system
//! that leaves the order of a transfer (IPMI v2.0, chapter 9).

use std::rc::Rc;

use crate::qemu::Vm;
use crate::qos::ipmi::netfn::APP;
use crate::qos::ipmi::{
    Ipmi, KCS_ABORT, KCS_READ, KCS_WRITE_END, KCS_WRITE_START, Kcs, KcsState, code,
};
use crate::{Result, attacks, tests};

tests!(Kcs, "ipmi-kcs-tests":
    states,
    abort_write = "abort-write",
    abort_read = "abort-read",
    wrong_codes = "wrong-codes",
    wrong_reads = "wrong-reads",
    too_long = "too-long",
);
attacks!(Kcs, "ipmi-kcs-attacks": states, abort_read = "abort-read", too_long = "too-long");

/// Get Device ID.
const GET_DEVICE_ID: [u8; 2] = [APP << 2, 0x01];
/// Status codes of an abort (9.12): no error, aborted by command, illegal control code, length
/// error.
const ABORTED: u8 = 0x01;
const ILLEGAL: u8 = 0x02;
const LENGTH: u8 = 0x06;

/// The interface works: a request is answered.
fn works(kcs: &Kcs) -> Result<()> {
    let response = kcs.exchange(&GET_DEVICE_ID)?;
    assert_eq!(response[..3], [(APP | 1) << 2, 0x01, code::OK], "a request afterwards");
    Ok(())
}

/// Sends a request, but does not read the response.
fn send(kcs: &Kcs) -> Result<KcsState> {
    kcs.control(KCS_WRITE_START)?;
    kcs.put(GET_DEVICE_ID[0])?;
    kcs.control(KCS_WRITE_END)?;
    kcs.put(GET_DEVICE_ID[1])
}

/// Would catch a state that is not that of 9.7 at some step of a transfer, and a response whose
/// bytes or end are not told by it.
fn states(kcs: &Kcs, _: &Rc<Vm>) -> Result<()> {
    assert_eq!(kcs.state()?, KcsState::Idle, "at first");
    assert_eq!(kcs.take()?, None, "a byte at first");
    assert_eq!(kcs.control(KCS_WRITE_START)?, KcsState::Write, "after WRITE_START");
    assert_eq!(kcs.put(GET_DEVICE_ID[0])?, KcsState::Write, "after a byte");
    assert!(kcs.take()?.is_some(), "a byte is there after each that is written (9.15)");
    assert_eq!(kcs.control(KCS_WRITE_END)?, KcsState::Write, "after WRITE_END");
    assert_eq!(kcs.put(GET_DEVICE_ID[1])?, KcsState::Read, "after the last byte");
    let response = kcs.read()?;
    assert_eq!(response[..3], [(APP | 1) << 2, 0x01, code::OK], "the response");
    assert_eq!(kcs.state()?, KcsState::Idle, "at the end");
    assert_eq!(kcs.take()?, None, "a byte at the end");
    works(kcs)
}

/// Would catch a request that is done although it was aborted, and an abort that does not say so
/// (9.12, 9.14).
fn abort_write(kcs: &Kcs, _: &Rc<Vm>) -> Result<()> {
    kcs.control(KCS_WRITE_START)?;
    kcs.put(0x18)?;
    assert_eq!(kcs.abort()?, ABORTED, "the code of an abort in a write");
    works(kcs)
}

/// Would catch a response that goes on after an abort, or comes with the next request.
fn abort_read(kcs: &Kcs, _: &Rc<Vm>) -> Result<()> {
    assert_eq!(send(kcs)?, KcsState::Read, "a response waits");
    kcs.take()?;
    assert_eq!(kcs.put(KCS_READ)?, KcsState::Read, "and goes on");
    assert_eq!(kcs.abort()?, ABORTED, "the code of an abort in a read");
    works(kcs)
}

/// Would catch a control code that is none and is taken, or after which nothing works (9.10,
/// 9.12).
fn wrong_codes(kcs: &Kcs, _: &Rc<Vm>) -> Result<()> {
    for wrong in [0x00, 0x5f, 0x63, 0x67, 0x69, 0xff] {
        assert_eq!(kcs.control(wrong)?, KcsState::Error, "after the control code {wrong:#x}");
        assert_eq!(kcs.abort()?, ILLEGAL, "the code after the control code {wrong:#x}");
        works(kcs)?;
    }
    Ok(())
}

/// Would catch a byte in place of READ that is taken for it (9.8, 9.15).
fn wrong_reads(kcs: &Kcs, _: &Rc<Vm>) -> Result<()> {
    for wrong in [0x00, KCS_ABORT, KCS_READ + 1] {
        assert_eq!(send(kcs)?, KcsState::Read, "a response waits");
        kcs.take()?;
        assert_eq!(kcs.put(wrong)?, KcsState::Error, "after {wrong:#x} in place of READ");
        kcs.abort()?;
        works(kcs)?;
    }
    // Data without a request.
    kcs.put(0x12)?;
    kcs.abort()?;
    works(kcs)
}

/// Would catch a request that is longer than the buffer of the controller and is written behind
/// it, or is done (9.12).
fn too_long(kcs: &Kcs, _: &Rc<Vm>) -> Result<()> {
    kcs.control(KCS_WRITE_START)?;
    let mut state = KcsState::Write;
    for byte in 0..2000u32 {
        state = kcs.put(byte as u8)?;
        kcs.take()?;
        if state == KcsState::Error {
            break;
        }
    }
    if state == KcsState::Error {
        assert_eq!(kcs.abort()?, LENGTH, "the code of a request that is too long");
    } else {
        kcs.control(KCS_WRITE_END)?;
        assert_eq!(kcs.put(0)?, KcsState::Read, "a response to a request that is too long");
        let response = kcs.read()?;
        let is_refused = matches!(response[2], code::TOO_LONG | code::LENGTH | code::TRUNCATED);
        assert!(is_refused, "the response to a request that is too long: {response:02x?}");
    }
    works(kcs)
}
