//! The watchdog of a management controller (IPMI v2.0, chapter 27).

use std::rc::Rc;
use std::time::Duration;

use crate::qemu::Vm;
use crate::qos::ipmi::netfn::APP;
use crate::qos::ipmi::{Ipmi, code};
use crate::{Result, attacks, tests};

tests!(dyn Ipmi, "ipmi-watchdog-tests":
    settings,
    not_initialized = "not-initialized",
    countdown,
    running,
    expiration,
    resets,
    pretimeout,
    pretimeout_countdown = "pretimeout-countdown",
    refused,
);
attacks!(dyn Ipmi, "ipmi-watchdog-attacks": settings, countdown, pretimeout);

/// Commands (27.5 to 27.7).
const RESET: u8 = 0x22;
const SET: u8 = 0x24;
const GET: u8 = 0x25;
const GET_FLAGS: u8 = 0x31;
/// Use of the timer: SMS/OS. With it, the timer goes on over a Set.
const SMS_OS: u8 = 0x04;
const DONT_STOP: u8 = 1 << 6;
/// The timer runs.
const RUNS: u8 = 1 << 6;
/// Actions: none, hard reset; before it, an interrupt of messages.
const NOTHING: u8 = 0x00;
const HARD_RESET: u8 = 0x01;
const BEFORE: u8 = 0x30;
/// Message flags: the time before the timeout has come.
const PRETIMEOUT: u8 = 1 << 3;

/// What Get Watchdog Timer says.
#[derive(Debug, PartialEq, Eq)]
struct State {
    timer_use: u8,
    actions: u8,
    pretimeout: u8,
    expired: u8,
    initial: u16,
    present: u16,
}

fn state(bmc: &dyn Ipmi) -> Result<State> {
    let said = bmc.get(APP, GET, &[])?;
    let [timer_use, actions, pretimeout, expired, a, b, c, d] = said[..] else {
        panic!("Get Watchdog Timer: {said:02x?}");
    };
    let (initial, present) = (u16::from_le_bytes([a, b]), u16::from_le_bytes([c, d]));
    Ok(State { timer_use, actions, pretimeout, expired, initial, present })
}

/// Sets the timer: its use, its actions, seconds before the timeout, flags to be cleared, tenths
/// of a second.
fn set(
    (bmc, vm): (&dyn Ipmi, &Vm),
    [first, actions, before, flags]: [u8; 4],
    tenths: u16,
) -> Result<u8> {
    // QEMU's controller keeps that over a reset of the machine.
    vm.note_lasting("the watchdog of a management controller");
    let [low, high] = tenths.to_le_bytes();
    Ok(bmc.ask(APP, SET, &[first, actions, before, flags, low, high])?.0)
}

fn step(vm: &Vm, tenths: u64) -> Result<()> {
    vm.qtest().clock_step(Some(Duration::from_millis(100 * tenths)))?;
    Ok(())
}

/// Would catch a setting that is not told as it was made, and a timer that runs before it was
/// started (27.6, 27.7).
fn settings(bmc: &dyn Ipmi, vm: &Rc<Vm>) -> Result<()> {
    for (first, actions, pretimeout, initial) in [
        (SMS_OS, HARD_RESET, 0, 10),
        (0x01, NOTHING, 0, 0xffff),
        (0x85, HARD_RESET | BEFORE, 3, 100),
    ] {
        assert_eq!(set((bmc, vm), [first, actions, pretimeout, 0x3e], initial)?, code::OK, "Set");
        let said = state(bmc)?;
        let (timer_use, expired) = (first, 0);
        let present = said.present;
        let expected = State { timer_use, actions, pretimeout, expired, initial, present };
        assert_eq!(said, expected, "the settings");
        assert!(present == 0 || present == initial, "a timer that does not run: {said:?}");
    }
    Ok(())
}

/// Would catch a timer that starts although nobody has said how it is to run (27.5).
fn not_initialized(bmc: &dyn Ipmi, vm: &Rc<Vm>) -> Result<()> {
    assert_eq!(bmc.ask(APP, RESET, &[])?.0, code::NOT_INITIALIZED, "Reset before Set");
    assert_eq!(set((bmc, vm), [SMS_OS, HARD_RESET, 0, 0], 100)?, code::OK, "Set");
    assert_eq!(bmc.ask(APP, RESET, &[])?.0, code::OK, "Reset after Set");
    Ok(())
}

/// Would catch a timer that runs at another speed, is not set back, or goes on when it is set
/// anew (27.5 to 27.7).
fn countdown(bmc: &dyn Ipmi, vm: &Rc<Vm>) -> Result<()> {
    set((bmc, vm), [SMS_OS, HARD_RESET, 0, 0x3e], 200)?;
    bmc.get(APP, RESET, &[])?;
    assert_eq!(state(bmc)?.present, 200, "at the start");
    for (tenths, left) in [(50, 150), (1, 149), (99, 50)] {
        step(vm, tenths)?;
        assert_eq!(state(bmc)?.present, left, "{tenths} tenths later");
    }
    bmc.get(APP, RESET, &[])?;
    assert_eq!(state(bmc)?.present, 200, "set back");
    step(vm, 30)?;
    set((bmc, vm), [SMS_OS | DONT_STOP, HARD_RESET, 0, 0], 300)?;
    step(vm, 10)?;
    assert_eq!(state(bmc)?.present, 290, "set anew, without a stop");
    set((bmc, vm), [SMS_OS, HARD_RESET, 0, 0], 10)?;
    step(vm, 50)?;
    assert_eq!(state(bmc)?.expired, 0, "a timer that was stopped");
    Ok(())
}

/// Would catch a timer that does not say whether it runs (27.7).
fn running(bmc: &dyn Ipmi, vm: &Rc<Vm>) -> Result<()> {
    set((bmc, vm), [SMS_OS, HARD_RESET, 0, 0x3e], 200)?;
    assert_eq!(state(bmc)?.timer_use & RUNS, 0, "before it was started");
    bmc.get(APP, RESET, &[])?;
    assert_eq!(state(bmc)?.timer_use & RUNS, RUNS, "once it was started");
    set((bmc, vm), [SMS_OS, HARD_RESET, 0, 0], 200)?;
    assert_eq!(state(bmc)?.timer_use & RUNS, 0, "set anew, it stops");
    Ok(())
}

/// Would catch a timer without an action that does not run out, goes on, or does not say for what
/// it ran; and a flag that a one does not clear, or a zero does (27.6, 27.7).
fn expiration(bmc: &dyn Ipmi, vm: &Rc<Vm>) -> Result<()> {
    for timer_use in [1u8, 2, 3, 4, 5] {
        set((bmc, vm), [timer_use, NOTHING, 0, 0x3e], 10)?;
        bmc.get(APP, RESET, &[])?;
        step(vm, 9)?;
        assert_eq!(state(bmc)?.expired, 0, "before it has run out, use {timer_use}");
        step(vm, 3)?;
        let said = state(bmc)?;
        let expected = (1 << timer_use, 0, 0);
        assert_eq!(
            (said.expired, said.present, said.timer_use & RUNS),
            expected,
            "use {timer_use}"
        );
        set((bmc, vm), [timer_use, NOTHING, 0, 0], 10)?;
        assert_eq!(state(bmc)?.expired, 1 << timer_use, "a zero clears no flag");
    }
    set((bmc, vm), [SMS_OS, NOTHING, 0, 0x3e], 10)?;
    assert_eq!(state(bmc)?.expired, 0, "ones clear the flags");
    Ok(())
}

/// Would catch a timer that does not reset the machine, or too early (27.6).
fn resets(bmc: &dyn Ipmi, vm: &Rc<Vm>) -> Result<()> {
    let reset = || -> Result<bool> {
        vm.qmp().execute("query-status", serde_json::Value::Null)?;
        Ok(vm.qmp().events().iter().any(|event| event.name == "RESET"))
    };
    reset()?;
    set((bmc, vm), [SMS_OS, HARD_RESET, 0, 0x3e], 20)?;
    bmc.get(APP, RESET, &[])?;
    step(vm, 18)?;
    assert!(!reset()?, "the machine is reset too early");
    step(vm, 4)?;
    vm.qmp().wait_event("RESET")?;
    Ok(())
}

/// Would catch a warning before the timeout that does not come, comes at another time, or gets no
/// attention (27.6).
fn pretimeout(bmc: &dyn Ipmi, vm: &Rc<Vm>) -> Result<()> {
    set((bmc, vm), [SMS_OS, HARD_RESET | BEFORE, 2, 0x3e], 100)?;
    bmc.get(APP, RESET, &[])?;
    step(vm, 78)?;
    let seen = |when: &str| -> Result<(u8, bool)> {
        let flags = bmc.get(APP, GET_FLAGS, &[])?;
        assert_eq!(flags.len(), 1, "Get Message Flags {when}: {flags:02x?}");
        Ok((flags[0] & PRETIMEOUT, bmc.has_attention()?))
    };
    assert_eq!(seen("before")?, (0, false), "before the time");
    step(vm, 4)?;
    assert_eq!(seen("then")?, (PRETIMEOUT, true), "two seconds before the timeout");
    set((bmc, vm), [SMS_OS, NOTHING, 0, 0x3e], 100)?;
    Ok(())
}

/// Would catch a timer whose time is that to the warning, not that to the timeout (27.7).
fn pretimeout_countdown(bmc: &dyn Ipmi, vm: &Rc<Vm>) -> Result<()> {
    set((bmc, vm), [SMS_OS, HARD_RESET | BEFORE, 2, 0x3e], 100)?;
    bmc.get(APP, RESET, &[])?;
    assert_eq!(state(bmc)?.present, 100, "at the start");
    step(vm, 30)?;
    assert_eq!(state(bmc)?.present, 70, "3 s later");
    set((bmc, vm), [SMS_OS, NOTHING, 0, 0x3e], 100)?;
    Ok(())
}

/// Would catch a use or an action that is none and is taken (27.6).
fn refused(bmc: &dyn Ipmi, vm: &Rc<Vm>) -> Result<()> {
    set((bmc, vm), [SMS_OS, HARD_RESET, 0, 0x3e], 77)?;
    let before = state(bmc)?;
    for [first, actions] in
        [[0x00, 0x01], [0x06, 0x01], [0x07, 0x01], [SMS_OS, 0x04], [SMS_OS, 0x07]]
    {
        let code = set((bmc, vm), [first, actions, 0, 0], 11)?;
        assert_eq!(code, code::DATA, "use {first:#x}, actions {actions:#x}");
        assert_eq!(state(bmc)?, before, "after use {first:#x}, actions {actions:#x}");
    }
    Ok(())
}
