//! Interrupt causes: which there are after what, and how interrupts are moderated (13.4.17 to
//! 13.4.21).

use std::rc::Rc;
use std::time::Duration;

use super::bench::{Bench, COUNT, WHOLE};
use crate::drivers::net::e1000::nic::GigabitNic;
use crate::drivers::net::e1000::ring::{CMD_RS, STA_DD};
use crate::drivers::net::e1000::{self, ICR, ICS, IMC, IMS, ITR, TCTL};
use crate::drivers::net::igb::CAUSES;
use crate::qemu::{Version, Vm};
use crate::qos::net::{MAC, PEER, frame};
use crate::qos::settle;
use crate::{Error, Result, tests};

tests!(GigabitNic, "gigabit-tests":
    sending = "causes-of-sending",
    every_cause = "every-cause",
    throttled,
    stopped,
);

/// The causes of sending: a status was written, and the queue is empty, which the 82576 does not
/// tell.
const SENDING: u32 = e1000::ICR_TXDW | e1000::ICR_TXQE;

/// Skips what rests on causes that are cleared by reading.
fn needs_reading(nic: &GigabitNic, vm: &Vm) -> Result<()> {
    match nic.is_82574() && vm.emulator().capabilities.version < Version::new(6, 0, 0) {
        true => Err(Error::skipped("e1000e: reading ICR clears nothing in QEMU 5.2")),
        false => Ok(()),
    }
}

/// Would catch a status or a cause that is reported without being asked for, or not although it
/// is, and a queue that is not reported as empty.
fn sending(nic: &GigabitNic, vm: &Rc<Vm>) -> Result<()> {
    let bench = Bench::new(nic, vm, 2048)?;
    let out = frame(PEER, MAC, 100, 1);
    let known = if nic.is_82576() { e1000::ICR_TXDW } else { SENDING };
    for round in 0..COUNT + 2 {
        let what = format!("round {round}");
        bench.send(&out)?;
        bench.wire.receive(&what)?;
        assert_eq!(bench.get(ICR)? & SENDING, known, "the causes with a status, {what}");
        let quiet = bench.queue(&out, u64::from(WHOLE & !CMD_RS) << 24)?;
        bench.transmit.ring()?;
        bench.wire.receive(&what)?;
        settle(vm)?;
        assert_eq!(bench.transmit.status(quiet)? & STA_DD, 0, "a status nobody wants, {what}");
        let causes = bench.get(ICR)? & SENDING;
        assert_eq!(causes, known & e1000::ICR_TXQE, "the causes without a status, {what}");
    }
    Ok(())
}

/// Would catch a cause that no mask lets out or holds back, that clears another or is cleared
/// with it, or that stays when it is read.
fn every_cause(nic: &GigabitNic, vm: &Rc<Vm>) -> Result<()> {
    needs_reading(nic, vm)?;
    let bench = Bench::new(nic, vm, 2048)?;
    if !nic.is_82576() {
        bench.set(ITR, 0)?;
    }
    let pin = || nic.device().asserts_interrupt();
    // Bits 3 and 10 to 14 are reserved in the 82574 (10.2.4.1).
    let known = match () {
        () if nic.is_82576() => CAUSES as u32 & 0x1_ffff,
        () if nic.is_82574() => 0x1_82d7,
        () => 0x1_82df,
    };
    let causes = (0..17).map(|bit| 1u32 << bit).filter(|bit| known & bit != 0);
    for cause in causes {
        let what = |text: &str| format!("cause {cause:#x}, {text}");
        bench.set(IMC, !0)?;
        bench.get(ICR)?;
        bench.set(ICR, !0)?;
        bench.set(IMS, !cause & known)?;
        bench.set(ICS, cause)?;
        assert!(!pin()?, "{}", what("the pin, others unmasked"));
        bench.set(IMS, cause)?;
        crate::qos::wait_until(vm, &what("the pin"), pin)?;
        bench.set(IMC, !cause)?;
        assert_eq!(bench.get(IMS)?, cause, "{}", what("the mask"));
        assert!(pin()?, "{}", what("the pin, others masked"));
        bench.set(ICR, !cause & known)?;
        assert!(pin()?, "{}", what("the pin, others cleared"));
        bench.set(ICR, cause)?;
        assert!(!pin()?, "{}", what("the pin, cleared by a one"));
        bench.set(ICS, cause)?;
        crate::qos::wait_until(vm, &what("the pin again"), pin)?;
        let read = bench.get(ICR)?;
        assert_eq!(read & known, cause, "{}", what("ICR"));
        assert!(!pin()?, "{}", what("the pin, cleared by reading"));
        assert_eq!(bench.get(ICR)? & known, 0, "{}", what("ICR, read twice"));
    }
    bench.set(IMC, !0)
}

/// Would catch interrupts that come more often than ITR lets them, or never again (13.4.18).
fn throttled(nic: &GigabitNic, vm: &Rc<Vm>) -> Result<()> {
    needs_reading(nic, vm)?;
    if nic.is_82576() {
        return Err(Error::skipped("the 82576 has a register for each vector instead of ITR"));
    }
    let bench = Bench::new(nic, vm, 2048)?;
    let pin = || nic.device().asserts_interrupt();
    // In units of 256 ns.
    for units in [2000u32, 8000] {
        bench.set(IMC, !0)?;
        bench.get(ICR)?;
        bench.step(Duration::from_millis(10))?;
        bench.set(ITR, units)?;
        bench.set(IMS, e1000::ICR_LSC)?;
        bench.set(ICS, e1000::ICR_LSC)?;
        crate::qos::wait_until(vm, "the first interrupt", pin)?;
        bench.get(ICR)?;
        assert!(!pin()?, "the pin, cleared");
        // The interval may have begun at the cause, or when it was let out.
        bench.set(ICS, e1000::ICR_LSC)?;
        assert!(!pin()?, "an interrupt within the interval, ITR {units}");
        bench.step(Duration::from_nanos(u64::from(units) * 256 / 2))?;
        assert!(!pin()?, "an interrupt after half of the interval, ITR {units}");
        bench.step(Duration::from_nanos(u64::from(units) * 256))?;
        assert!(pin()?, "an interrupt after the interval, ITR {units}");
        bench.get(ICR)?;
    }
    bench.set(ITR, 0)?;
    bench.set(IMC, !0)
}

/// Would catch a transmitter that sends although it is off, or forgets what waits.
fn stopped(nic: &GigabitNic, vm: &Rc<Vm>) -> Result<()> {
    let bench = Bench::new(nic, vm, 2048)?;
    bench.set(TCTL, 0)?;
    let out = frame(PEER, MAC, 100, 1);
    let at = bench.queue(&out, u64::from(WHOLE) << 24)?;
    bench.transmit.ring()?;
    settle(vm)?;
    bench.wire.assert_silent("with the transmitter off")?;
    assert_eq!(bench.transmit.status(at)? & STA_DD, 0, "the status with the transmitter off");
    bench.set(TCTL, e1000::TCTL_EN)?;
    bench.tell(at)?;
    assert!(bench.wire.receive("with the transmitter on")? == out, "what waited");
    Ok(())
}
