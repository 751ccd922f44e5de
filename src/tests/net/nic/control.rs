//! What every network interface controller does besides moving frames: interrupts, link,
//! resets, and nothing at all while it is no bus master.

use std::rc::Rc;
use std::time::Duration;

use serde_json::json;

use super::bench::{Bench, into, out};
use crate::qemu::Vm;
use crate::qos::net::{MAC, assert_frame};
use crate::qos::nic::{Events, Filter, Nic, Promise};
use crate::qos::pci::{intx, regs};
use crate::qos::{reset, wait_until};
use crate::{Error, Result, tests};

tests!(dyn Nic, "nic-tests":
    interrupts,
    interrupt_line = "interrupt-line",
    link,
    bus_master = "bus-master",
    software_reset = "software-reset",
    machine_reset = "machine-reset",
    loopback,
);

/// Would catch a pin that does not follow events and mask, an interrupt for another event than
/// the unmasked one, and an event that is lost while it is masked or stays when it is
/// acknowledged.
fn interrupts(nic: &dyn Nic, vm: &Rc<Vm>) -> Result<()> {
    let bench = Bench::new(nic, vm)?;
    if !nic.limits().latches_masked {
        return unlatched_interrupts(&bench);
    }
    for round in 0..2 {
        bench.assert_no_pin("before a frame")?;
        bench.assert_sent(&[out(60, round)], "with all events masked")?;
        bench.assert_no_pin("with all events masked, a frame sent")?;
        nic.unmask(Events::SENT)?;
        bench.wait_for_pin("when what has happened is unmasked")?;
        nic.unmask(Events::NONE)?;
        bench.assert_no_pin("when it is masked again")?;
        nic.unmask(Events::SENT)?;
        bench.wait_for_pin("when it is unmasked again")?;
        bench.assert_events(Events::SENT, "with a frame sent")?;
        bench.assert_no_pin("when it is acknowledged")?;

        if nic.limits().single_masks {
            one_unmasked(&bench, round)?;
        }
        nic.unmask(Events::RECEIVED)?;
        bench.assert_sent(&[out(62, round)], "before a frame is received")?;
        bench.assert_reported(&[into(61, round)], "with reception unmasked", || {
            bench.wait_for_pin("with both events pending, one unmasked")?;
            let both = Events { sent: true, received: true, ..Events::NONE };
            bench.assert_events(both, "with both events pending")
        })?;
        bench.assert_no_pin("when both are acknowledged")?;
        nic.unmask(Events::NONE)?;
    }
    Ok(())
}

/// The pin of a device that forgets, as far as the pin is concerned, what happens while it is
/// masked.
fn unlatched_interrupts(bench: &Bench) -> Result<()> {
    let nic = bench.nic;
    for round in 0..2 {
        nic.unmask(Events::NONE)?;
        bench.assert_sent(&[out(60, round)], "with all events masked")?;
        bench.assert_no_pin("with all events masked, a frame sent")?;
        nic.unmask(Events::SENT)?;
        bench.assert_no_pin("when what happened while it was masked is unmasked")?;
        bench.assert_events(Events::SENT, "with a frame sent while that was masked")?;
        bench.assert_sent(&[out(61, round)], "with a frame sent unmasked")?;
        bench.wait_for_pin("when a frame was sent")?;
        bench.assert_events(Events::SENT, "with a frame sent")?;
        bench.assert_no_pin("when it is acknowledged")?;
        bench.assert_received(&[into(60, round)], "with reception masked")?;
        bench.assert_no_pin("with another event unmasked than reception")?;
        bench.assert_events(Events::RECEIVED, "with a frame received")?;
        nic.unmask(Events::RECEIVED)?;
        bench.assert_sent(&[out(62, round)], "with transmission masked")?;
        bench.assert_no_pin("with another event unmasked than transmission")?;
        bench.assert_received(&[into(61, round)], "with reception unmasked")?;
        bench.wait_for_pin("when a frame was received")?;
        let both = Events { sent: true, received: true, ..Events::NONE };
        bench.assert_events(both, "with both events pending")?;
        bench.assert_no_pin("when both are acknowledged")?;
    }
    Ok(())
}

/// The pin when one event is unmasked and another happens.
fn one_unmasked(bench: &Bench, round: u8) -> Result<()> {
    let nic = bench.nic;
    bench.assert_reported(&[into(60, round)], "with reception masked", || {
        bench.assert_no_pin("with another event unmasked than reception")?;
        nic.unmask(Events::RECEIVED)?;
        bench.wait_for_pin("when reception is unmasked")?;
        bench.assert_events(Events::RECEIVED, "with a frame received")
    })?;
    bench.assert_no_pin("when reception is acknowledged")?;
    bench.assert_sent(&[out(61, round)], "with transmission masked")?;
    bench.assert_no_pin("with another event unmasked than transmission")?;
    bench.assert_events(Events::SENT, "with another frame sent")
}

/// Would catch an interrupt that does not get to the interrupt controller, that Interrupt Disable
/// does not hold back or that it hides from Status, and one that a reset of the machine leaves.
fn interrupt_line(nic: &dyn Nic, vm: &Rc<Vm>) -> Result<()> {
    let bench = Bench::new(nic, vm)?;
    nic.unmask(Events::SENT)?;
    let raise = || bench.assert_sent(&[out(60, 7)], "a frame for its interrupt");
    let lower = || nic.events().map(drop);
    if let Some(function) = nic.function() {
        return intx::check(function, vm, raise, lower);
    }
    if bench.asserts_interrupt()?.is_none() {
        return Err(Error::skipped("QEMU cannot watch where its interrupt line ends"));
    }
    for _ in 0..3 {
        raise()?;
        bench.wait_for_pin("raised")?;
        lower()?;
        bench.assert_no_pin("lowered")?;
    }
    raise()?;
    bench.wait_for_pin("before a reset")?;
    reset(vm)?;
    match bench.asserts_interrupt()? {
        Some(true) => {
            Err(bench.broken(Promise::PinAfterReset, "the line is high after a reset".into()))
        }
        _ => Ok(()),
    }
}

/// The link of a cable, which goes up again when this is dropped.
struct Link<'a>(&'a Vm, &'static str);

impl Link<'_> {
    fn set(&self, up: bool) -> Result<()> {
        self.0.qmp().execute("set_link", json!({"name": self.1, "up": up}))?;
        Ok(())
    }
}

impl Drop for Link<'_> {
    fn drop(&mut self) {
        // A QEMU that no longer answers is not used again.
        let _ = self.set(true);
    }
}

/// Would catch a link whose state or change is not reported, frames that pass while it is down,
/// and a device that does not work again when it is up.
fn link(nic: &dyn Nic, vm: &Rc<Vm>) -> Result<()> {
    let bench = Bench::new(nic, vm)?;
    let says = nic.link_is_up()?;
    let told = nic.limits().link_event;
    let shows = |up: bool| -> Result<()> {
        if says.is_none() {
            return Ok(());
        }
        let what = format!("the link to be reported {}", if up { "up" } else { "down" });
        wait_until(vm, &what, || Ok(nic.link_is_up()? == Some(up)))
    };
    shows(true)?;
    bench.assert_received(&[into(60, 0)], "before the link is down")?;
    nic.events()?;
    let link = Link(vm, nic.cable()?);
    for round in 1..3 {
        nic.unmask(Events::LINK)?;
        bench.assert_no_pin("before the link is down")?;
        link.set(false)?;
        shows(false)?;
        if told {
            bench.wait_for_pin("when the link went down")?;
            bench.assert_events(Events::LINK, "when the link went down")?;
        }
        bench.assert_no_pin("when that is acknowledged")?;
        bench.wire.send(&into(60, 0xee))?;
        bench.send_out(&[out(60, 0xee)])?;
        bench.let_frames_arrive()?;
        bench.wire.assert_silent("while the link is down")?;
        bench.assert_none_arrived("while the link is down")?;
        link.set(true)?;
        shows(true)?;
        if told {
            bench.wait_for_pin("when the link is up")?;
        }
        nic.start(vm)?;
        bench.assert_sent(&[out(60, round), out(1514, round)], "after the link was down")?;
        bench.assert_received(&[into(60, round), into(1514, round)], "after the link was down")?;
        nic.events()?;
    }
    Ok(())
}

/// Would catch a device that reads or writes memory although it is no bus master (PCI 3.0,
/// 6.2.2).
fn bus_master(nic: &dyn Nic, vm: &Rc<Vm>) -> Result<()> {
    let Some(device) = nic.function() else {
        return Err(Error::skipped("it is on no PCI bus"));
    };
    if !nic.limits().masters {
        return Err(Error::skipped("it neither reads nor writes memory"));
    }
    let bench = Bench::new(nic, vm)?;
    bench.assert_sent(&[out(60, 1)], "as a bus master")?;
    bench.assert_received(&[into(60, 1)], "as a bus master")?;
    let command = device.config_read16(regs::COMMAND)?;
    nic.queue(&out(77, 2))?;
    device.config_write16(regs::COMMAND, command & !regs::COMMAND_MASTER)?;
    let before = nic.memory()?;
    bench.wire.send(&into(77, 3))?;
    nic.send()?;
    bench.let_frames_arrive()?;
    assert!(nic.memory()? == before, "memory changed although the function is no bus master");
    // What a device sends that cannot read memory is not what is there.
    let secret = out(77, 2);
    let leaked = bench.wire.waiting("while the function is no bus master")?;
    assert!(!leaked.contains(&secret), "a frame was read by a function that is no bus master");

    // A bus master again, it may send what still waits.
    nic.reset(vm)?;
    device.config_write16(regs::COMMAND, command)?;
    nic.start(vm)?;
    let late = bench.received_before(&into(100, 4), "a frame without bus master")?;
    assert!(late.iter().all(|late| *late == into(77, 3)), "{} frames late", late.len());
    bench.assert_received(&[into(1514, 5)], "as a bus master again")?;
    let late = bench.sent_before(&out(100, 6), "a frame without bus master")?;
    assert!(!late.contains(&secret), "a frame was sent that a reset should have cleared");
    bench.assert_reported_sent(1, "as a bus master again")?;
    match leaked.first() {
        None => Ok(()),
        Some(frame) => {
            let seen = format!("{} bytes were sent by what is no bus master", frame.len());
            Err(bench.broken(Promise::SilentWithoutMaster, seen))
        }
    }
}

/// Frames in the order in which they were sent.
type Frames = Vec<Vec<u8>>;

/// Fills the device with frames in both directions, of which some wait; returns those that are
/// sent to it, and out of it.
fn traffic(bench: &Bench, round: u8) -> Result<(Frames, Frames)> {
    let limits = bench.nic.limits();
    bench.nic.unmask(Events::ALL)?;
    let inward: Vec<_> =
        (0..limits.receive + 2).map(|number| into(1514, round * 64 + number as u8)).collect();
    let outward: Vec<_> =
        (0..limits.transmit).map(|number| out(900, round * 64 + number as u8)).collect();
    inward.iter().try_for_each(|frame| bench.wire.send(frame))?;
    bench.send_out(&outward)?;
    // Some have been received, so that the reset finds frames, events and an interrupt.
    bench.receive(1, "a frame before the reset")?;
    bench.wait_for_pin("before the reset")?;
    Ok((inward, outward))
}

/// Asserts of frames that came late that each was sent, once, in this order.
fn assert_in_order(late: &[Vec<u8>], sent: &[Vec<u8>], what: &str) {
    let mut left = sent.iter();
    for frame in late {
        if !left.any(|sent| sent == frame) {
            let nearest = sent.iter().find(|sent| sent[14] == frame[14]).unwrap_or(&sent[0]);
            assert_frame(frame, nearest, what);
            panic!("{what}: frame {} came out of order or twice", frame[14]);
        }
    }
}

/// What shows that the device was not stopped by a reset, if something does.
fn not_stopped(bench: &Bench) -> Result<Option<&'static str>> {
    let nic = bench.nic;
    let asserts = || -> Result<bool> { Ok(bench.asserts_interrupt()? == Some(true)) };
    let before = (asserts()?, nic.memory()?);
    bench.wire.send(&into(300, 0xdd))?;
    bench.let_frames_arrive()?;
    let memory = nic.memory()?;
    Ok(match (before.0, memory == before.1, asserts()?) {
        (true, ..) => Some("the interrupt pin is asserted after a reset"),
        (_, false, _) => Some("memory is written after a reset"),
        (.., true) => Some("a frame after a reset asserts the interrupt pin"),
        _ => None,
    })
}

/// Would catch a reset by software that leaves an interrupt, an event, a receiver that goes on,
/// or a ring in the middle, and frames that are torn, doubled or mixed up by it.
fn software_reset(nic: &dyn Nic, vm: &Rc<Vm>) -> Result<()> {
    let bench = Bench::new(nic, vm)?;
    let mut seen = None;
    for round in 0..3 {
        let (inward, outward) = traffic(&bench, round)?;
        nic.reset(vm)?;
        seen = seen.or(not_stopped(&bench)?);
        nic.start(vm)?;
        assert_works_after(&bench, inward, &outward)?;
    }
    seen.map_or(Ok(()), |seen| Err(bench.broken(Promise::SoftwareReset, seen.into())))
}

/// Would catch a reset of the machine that leaves what [`software_reset`] is about, or an
/// address or filter that a driver has changed.
fn machine_reset(nic: &dyn Nic, vm: &Rc<Vm>) -> Result<()> {
    let bench = Bench::new(nic, vm)?;
    let (inward, outward) = traffic(&bench, 0)?;
    reset(vm)?;
    if let Some(function) = nic.function() {
        function.bus().reopen()?;
    }
    let pin = bench.asserts_interrupt()? == Some(true);
    let again = nic.remapped()?;
    let bench = Bench::new(&*again, vm)?;
    assert_works_after(&bench, inward, &outward)?;

    again.set_filter(&Filter { own: [2, 4, 6, 8, 10, 12], ..Filter::PROMISCUOUS })?;
    reset(vm)?;
    let again = again.remapped()?;
    let address = again.station_address()?;
    let bench = Bench::new(&*again, vm)?;
    bench.assert_received(&[into(60, 1)], "after a reset")?;
    bench.assert_sent(&[out(60, 1)], "after a reset")?;
    if pin {
        return Err(
            bench.broken(Promise::PinAfterReset, "the pin is asserted after a reset".into())
        );
    }
    if address != MAC {
        let seen = format!("the address after a reset is {}", hex::encode(address));
        return Err(bench.broken(Promise::AddressAfterReset, seen));
    }
    Ok(())
}

/// Asserts that of the frames before a reset what comes late comes whole and in order, and that
/// others pass after it.
fn assert_works_after(bench: &Bench, inward: Vec<Vec<u8>>, outward: &[Vec<u8>]) -> Result<()> {
    bench.assert_no_pin("after the start")?;
    let mut inward = inward;
    inward.push(into(300, 0xdd));
    let late = bench.received_before(&into(200, 0xee), "frames before the reset")?;
    assert_in_order(&late, &inward, "a frame in, after the reset");
    let late = bench.sent_before(&out(200, 0xee), "frames before the reset")?;
    assert_in_order(&late, outward, "a frame out, after the reset");
    bench.assert_reported_sent(1, "after the reset")?;
    bench.nic.events()?;
    let most = bench.nic.limits();
    let frames: Vec<_> = (0..most.transmit).map(|number| out(100, number as u8)).collect();
    bench.assert_sent(&frames, "after the reset")?;
    let frames: Vec<_> = (0..most.receive - 1).map(|number| into(100, number as u8)).collect();
    bench.assert_received(&frames, "after the reset")?;
    bench.nic.events().map(drop)
}

/// Would catch a loop that does not come back or that lets frames out of the cable or in, and one
/// that does not end.
fn loopback(nic: &dyn Nic, vm: &Rc<Vm>) -> Result<()> {
    let bench = Bench::new(nic, vm)?;
    if !nic.set_loopback(false)? {
        return Err(Error::skipped("it cannot receive what it sends"));
    }
    let mut open = None;
    for round in 0..2 {
        nic.set_loopback(true)?;
        // QEMU's e1000 takes nothing for a second after its receiver was switched on: what comes
        // over the cable waits, what loops back does not.
        vm.qtest().clock_step(Some(Duration::from_millis(1001)))?;
        for (number, length) in [60, 700, 1514].into_iter().enumerate() {
            let own = into(length, round * 8 + number as u8);
            bench.send_out(&[&own])?;
            let got = bench.receive(1, "a frame that loops back")?.remove(0);
            assert_frame(&got, &bench.padded(&own), "a frame that loops back");
            nic.recycle()?;
            bench.assert_reported_sent(1, "a frame that loops back")?;
        }
        if !bench.wire.waiting("while frames loop back")?.is_empty() {
            open = Some("a frame that loops back was sent as well");
        }
        nic.set_loopback(false)?;
        bench.assert_sent(&[out(200, round)], "when nothing loops back any more")?;
        bench.assert_received(&[into(201, round)], "when nothing loops back any more")?;
        bench.assert_none_arrived("when nothing loops back any more")?;
    }
    open.map_or(Ok(()), |seen| Err(bench.broken(Promise::ClosedLoop, seen.into())))
}
