//! What holds of every network interface controller: frames out and in, whole and in order,
//! around the ends of rings and at the limits of length. Its interrupts, link, resets and bus
//! mastering are in `control`, its filter in `filter`.

mod attacks;
mod bench;
mod control;
mod filter;

use std::rc::Rc;

use self::bench::{Bench, assert_equal, into, lengths, out};
use crate::qemu::Vm;
use crate::qos::net::{self, MAC, PEER, assert_short_frame, frame, wait_received};
use crate::qos::nic::{Events, Nic, Overrun, Promise};
use crate::qos::wait_until;
use crate::{Error, Result, attacks, tests};

tests!(dyn Nic, "nic-tests":
    transmit,
    transmit_ring = "transmit-ring",
    receive,
    receive_ring = "receive-ring",
    lengths_out = "lengths-out",
    lengths_in = "lengths-in",
    no_descriptor = "no-descriptor",
    flood,
    check_sequences = "check-sequences",
);
attacks!(dyn Nic, "nic-attacks": transmit_ring = "transmit-ring", receive_ring = "receive-ring");

/// Would catch a frame that is lost, cut, doubled or changed on its way out, or sent before the
/// device is told, and a descriptor or an event that does not report it.
fn transmit(nic: &dyn Nic, vm: &Rc<Vm>) -> Result<()> {
    let bench = Bench::new(nic, vm)?;
    assert_eq!(nic.events()?, Events::NONE, "events before the first frame");
    for (number, length) in [net::SHORTEST, net::LONGEST].into_iter().enumerate() {
        let sent = out(length, number as u8);
        nic.queue(&sent)?;
        bench.wire.assert_silent("before the device is told")?;
        assert_eq!(nic.sent()?, 0, "frames reported as sent before the device is told");
        nic.send()?;
        assert_equal(&bench.wire.receive("the frame")?, &sent, "the frame");
        bench.assert_reported_sent(1, "the frame")?;
        bench.assert_events(Events::SENT, "after a frame is sent")?;
    }
    bench.wire.assert_silent("after both frames")
}

/// Would catch a ring that does not wrap or wraps too early, frames out of order, and frames
/// lost when as many are queued as there are descriptors.
fn transmit_ring(nic: &dyn Nic, vm: &Rc<Vm>) -> Result<()> {
    let bench = Bench::new(nic, vm)?;
    let most = nic.limits().transmit;
    let mut number = 0;
    // Every count of frames begins at every descriptor sooner or later.
    for count in (1..=most).chain([most, most, 1, most]) {
        let frames: Vec<_> = lengths(count)
            .map(|length| {
                number += 1;
                out(length, number as u8)
            })
            .collect();
        bench.assert_sent(&frames, &format!("{count} frames at once"))?;
    }
    bench.wire.assert_silent("at the end")
}

/// Would catch a frame that is lost, cut, doubled or changed on its way in, one that is written
/// without being reported, and an event that does not report it.
fn receive(nic: &dyn Nic, vm: &Rc<Vm>) -> Result<()> {
    let bench = Bench::new(nic, vm)?;
    bench.assert_none_arrived("before the first")?;
    for (number, length) in [net::SHORTEST, net::LONGEST].into_iter().enumerate() {
        bench.assert_reported(&[into(length, number as u8)], &format!("{length} bytes"), || {
            bench.assert_events(Events::RECEIVED, "after a frame is received")
        })?;
        assert_eq!(nic.events()?, Events::NONE, "the events after the only frame is taken");
        bench.assert_none_arrived("after the only one")?;
    }
    Ok(())
}

/// Would catch a ring that does not wrap or wraps too early, frames out of order, and frames
/// lost when several come at once.
fn receive_ring(nic: &dyn Nic, vm: &Rc<Vm>) -> Result<()> {
    let bench = Bench::new(nic, vm)?;
    let most = nic.limits().receive;
    let mut number = 0;
    for count in (1..most).chain([1, most - 1, most - 1, 2, most - 1]) {
        let frames: Vec<_> = lengths(count)
            .map(|length| {
                number += 1;
                into(length, number as u8)
            })
            .collect();
        bench.assert_received(&frames, &format!("{count} frames at once"))?;
    }
    bench.assert_none_arrived("after the last")?;
    Ok(())
}

/// Would catch a length that is one too many or too few on its way out, a short frame that is
/// not padded although it should be, or padded with what was there before, and a long one that
/// is cut.
fn lengths_out(nic: &dyn Nic, vm: &Rc<Vm>) -> Result<()> {
    let bench = Bench::new(nic, vm)?;
    let limits = nic.limits();
    let near = |length: usize| length - 2..=length;
    for (number, length) in (near(64).chain(near(256)).chain(near(512)).chain(near(1024)))
        .chain(net::SHORTEST..64)
        .chain(net::LONGEST - 2..=limits.longest_sent)
        .enumerate()
    {
        bench.assert_sent(&[out(length, number as u8)], &format!("a frame of {length} bytes"))?;
    }
    let mut unpadded = None;
    // A long frame before, of which nothing may show in the padding.
    for length in [net::SHORTEST - 1, 42, 15] {
        bench.assert_sent(&[out(net::LONGEST, 0xff)], "a long frame before a short one")?;
        let short = out(length, 0xfe);
        bench.send_out(&[&short])?;
        let got = bench.wire.receive("a short frame")?;
        bench.assert_reported_sent(1, "a short frame")?;
        assert_short_frame(&got, &short, "a short frame, sent");
        if (got.len() == net::SHORTEST) != limits.pads {
            unpadded = Some(format!("{length} bytes were sent as {}", got.len()));
        }
    }
    bench.wire.assert_silent("at the end")?;
    unpadded.map_or(Ok(()), |seen| Err(bench.broken(Promise::Pads, seen)))
}

/// Would catch a length that is one too many or too few on its way in, a short frame that is
/// lost, a long one that is received without leave or written past its descriptor.
fn lengths_in(nic: &dyn Nic, vm: &Rc<Vm>) -> Result<()> {
    let bench = Bench::new(nic, vm)?;
    let limits = nic.limits();
    let near = |length: usize| length - 2..=length;
    for (number, length) in (near(64).chain(near(256)).chain(near(512)).chain(near(1024)))
        .chain(net::SHORTEST..64)
        .chain(net::LONGEST - 2..=limits.longest_received)
        .enumerate()
    {
        bench.assert_received(&[into(length, number as u8)], &format!("{length} bytes"))?;
    }
    for length in [net::SHORTEST - 1, 42, 15] {
        bench.assert_received(&[into(net::LONGEST, 0xff)], "a long frame before a short one")?;
        let short = into(length, 0xfe);
        bench.wire.send(&short)?;
        let got = bench.receive(1, &format!("a frame of {length} bytes"))?.remove(0);
        match limits.pads_received_to {
            0 => assert_short_frame(&got, &short, "a short frame, received"),
            _ => assert_equal(&got, &bench.padded(&short), "a short frame, received"),
        }
        nic.recycle()?;
    }
    let too_long = limits.too_long.into_iter().flat_map(|length| [length, length + 1, 2000]);
    for length in too_long {
        bench.wire.send(&into(length, 0xfd))?;
        let got = bench.received_before(&into(100, 0xfc), "a frame too long")?;
        assert_eq!(got.len(), 0, "frames received when {length} bytes, too many, were sent");
    }
    match limits.pads_received_to {
        0..=net::SHORTEST => Ok(()),
        length => {
            let seen = format!("frames of {} bytes are received as {length}", net::SHORTEST);
            Err(bench.broken(Promise::LengthReceived, seen))
        }
    }
}

/// Would catch frames that are written over others when no descriptor is left, that change
/// their order or are lost while they should wait, and an overrun that is not reported.
fn no_descriptor(nic: &dyn Nic, vm: &Rc<Vm>) -> Result<()> {
    let bench = Bench::new(nic, vm)?;
    let limits = nic.limits();
    let kept: Vec<_> = (0..limits.receive).map(|number| into(net::LONGEST, number as u8)).collect();
    let mut untold = false;
    for round in 0..3 {
        let what = format!("the frames with a descriptor, round {round}");
        if limits.fifo {
            kept.iter().try_for_each(|frame| bench.wire.send(frame))?;
            wait_received(vm, &what, || Ok(nic.arrived()? >= kept.len()))?;
        } else {
            bench.assert_kept(&kept, &what)?;
        }
        let left = nic.arrived()?;
        let earlier = nic.events()?;
        let memory = nic.memory()?;
        let late: Vec<_> = (0..2).map(|number| into(net::LONGEST, 0xf0 + number)).collect();
        // What becomes of the second must not depend on whether QEMU sees it with the first.
        bench.wire.send_together(&late)?;
        bench.let_frames_arrive()?;
        assert_eq!(nic.arrived()?, left, "frames that have arrived without a descriptor");
        assert!(nic.memory()? == memory, "memory changed when no descriptor was left");
        if limits.overrun != Overrun::Waits {
            let mut told = earlier;
            told.overrun |= nic.events()?.overrun;
            if !told.overrun && nic.known_fault(vm, Promise::OverrunEvent).is_some() {
                untold = true;
            } else {
                wait_until(vm, "the event of an overrun", || {
                    told.overrun |= nic.events()?.overrun;
                    Ok(told.overrun)
                })?;
            }
        }
        if limits.fifo {
            let got = bench.receive(kept.len(), &what)?;
            for (got, kept) in got.iter().zip(&kept) {
                assert_equal(got, kept, &what);
            }
        }
        nic.recycle()?;
        let expected = match limits.overrun {
            Overrun::Waits => &late[..],
            Overrun::Discards => &[],
            Overrun::Stops => &late[1..],
        };
        let got = bench.received_before(&into(99, round), "frames without a descriptor")?;
        assert!(got == expected, "{} of {} late frames came", got.len(), expected.len());
        nic.events()?;
    }
    match untold {
        false => Ok(()),
        true => Err(bench.broken(Promise::OverrunEvent, "an overrun is not reported".into())),
    }
}

/// Would catch a frame in thousands that is lost, doubled, out of order or changed, in either
/// direction while the other is busy too.
fn flood(nic: &dyn Nic, vm: &Rc<Vm>) -> Result<()> {
    let bench = Bench::new(nic, vm)?;
    // Every access to memory that is not mapped is a request of its own.
    let limits = nic.limits();
    let total: usize = if vm.ram().is_mapped() && !limits.fifo { 10_000 } else { 500 };
    let (outward, inward) = (frame(PEER, MAC, net::LONGEST, 1), frame(MAC, PEER, net::LONGEST, 2));
    let numbered = |template: &[u8], number: usize| {
        let mut frame = template[..net::SHORTEST + number * 31 % 440].to_vec();
        frame[15..19].copy_from_slice(&(number as u32).to_be_bytes());
        frame
    };
    let mut number = 0;
    while number < total {
        let span = |from: usize, most: usize| from..(from + most).min(total);
        let sent: Vec<_> =
            span(number, limits.transmit).map(|number| numbered(&outward, number)).collect();
        number += sent.len();
        let came: Vec<_> =
            span(number, limits.receive - 1).map(|number| numbered(&inward, number)).collect();
        number += came.len();
        came.iter().try_for_each(|frame| bench.wire.send(frame))?;
        bench.assert_sent(&sent, &format!("frames before {number}"))?;
        let got = bench.receive(came.len(), &format!("frames before {number}"))?;
        for (got, came) in got.iter().zip(&came) {
            assert_equal(got, &bench.padded(came), &format!("a frame in before {number}"));
        }
        nic.recycle()?;
    }
    bench.wire.assert_silent("after the flood")?;
    bench.assert_none_arrived("after the flood")?;
    Ok(())
}

/// Would catch a check sequence that is stored behind a frame and is not the frame's.
fn check_sequences(nic: &dyn Nic, vm: &Rc<Vm>) -> Result<()> {
    let bench = Bench::new(nic, vm)?;
    for (number, length) in [60, 61, 62, 63, 64, 1000, 1514].into_iter().enumerate() {
        let sent = into(length, number as u8);
        bench.assert_received(&[&sent], "a frame with its check sequence")?;
        let Some(stored) = nic.check_sequence()? else {
            return Err(Error::skipped("it stores no check sequences"));
        };
        let expected = net::check_sequence(&sent).to_le_bytes();
        if stored != expected {
            let (stored, expected) = (hex::encode(stored), hex::encode(expected));
            let seen = format!("behind {length} bytes is {stored}, not {expected}");
            return Err(bench.broken(Promise::CheckSequence, seen));
        }
    }
    Ok(())
}
