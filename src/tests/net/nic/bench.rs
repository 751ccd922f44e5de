//! A NIC between guest memory and its cable, and the frames that a test sends both ways.

use std::borrow::Cow;
use std::rc::Rc;

use crate::qemu::Vm;
use crate::qos::interrupt::InterruptLine;
use crate::qos::net::{self, MAC, PEER, Wire, assert_frame, frame, wait_received};
use crate::qos::nic::{Events, Nic, Promise};
use crate::qos::{settle, wait_until};
use crate::{Error, Result};

/// A NIC that is started, and the far end of its cable.
pub(super) struct Bench<'a> {
    pub nic: &'a dyn Nic,
    pub vm: &'a Rc<Vm>,
    pub wire: Wire,
    lines: Vec<InterruptLine>,
}

impl<'a> Bench<'a> {
    /// Starts the NIC.
    pub fn new(nic: &'a dyn Nic, vm: &'a Rc<Vm>) -> Result<Self> {
        if let Some(function) = nic.function() {
            function.bus().reaches_ram()?;
        }
        let wire = Wire::on(vm, nic.cable()?)?;
        let lines = nic.lines()?;
        nic.start(vm)?;
        vm.set_up_ends()?;
        Ok(Self { nic, vm, wire, lines })
    }

    /// Sends these frames out of the NIC, and asserts that they come out of the cable, whole and
    /// in order, and that the NIC reports as many as sent.
    pub fn assert_sent<F: AsRef<[u8]>>(&self, frames: &[F], what: &str) -> Result<()> {
        self.send_out(frames)?;
        for (number, sent) in frames.iter().enumerate() {
            let what = format!("{what}, number {number} out");
            assert_equal(&self.wire.receive(&what)?, sent.as_ref(), &what);
        }
        self.assert_reported_sent(frames.len(), what)
    }

    /// Has the NIC send these frames.
    pub fn send_out<F: AsRef<[u8]>>(&self, frames: &[F]) -> Result<()> {
        frames.iter().try_for_each(|frame| self.nic.queue(frame.as_ref()))?;
        self.nic.send()
    }

    /// Asserts that the NIC reports this many frames more as sent, and no more.
    pub fn assert_reported_sent(&self, count: usize, what: &str) -> Result<()> {
        let mut sent = 0;
        wait_received(self.vm, &format!("{what}, reported as sent"), || {
            sent += self.nic.sent()?;
            Ok(sent >= count)
        })?;
        sent += self.nic.sent()?;
        assert_eq!(sent, count, "{what}: how many frames are reported as sent");
        Ok(())
    }

    /// Sends these frames to the NIC, and asserts that they are received, whole and in order.
    /// Their descriptors are not recycled.
    pub fn assert_kept<F: AsRef<[u8]>>(&self, frames: &[F], what: &str) -> Result<()> {
        frames.iter().try_for_each(|frame| self.wire.send(frame.as_ref()))?;
        self.assert_taken(frames, what)
    }

    /// Waits until these frames are received, takes them, and asserts that they are whole and in
    /// order.
    fn assert_taken<F: AsRef<[u8]>>(&self, frames: &[F], what: &str) -> Result<()> {
        let got = self.receive(frames.len(), what)?;
        for (number, (got, sent)) in got.iter().zip(frames).enumerate() {
            assert_equal(got, &self.padded(sent.as_ref()), &format!("{what}, number {number} in"));
        }
        Ok(())
    }

    /// `frame` as the NIC receives it.
    pub fn padded<'f>(&self, frame: &'f [u8]) -> Cow<'f, [u8]> {
        let length = self.nic.limits().pads_received_to;
        if frame.len() >= length {
            return frame.into();
        }
        let mut padded = frame.to_vec();
        padded.resize(length, 0);
        padded.into()
    }

    /// The next `count` frames that the NIC receives.
    pub fn receive(&self, count: usize, what: &str) -> Result<Vec<Vec<u8>>> {
        wait_received(self.vm, what, || Ok(self.nic.arrived()? >= count))?;
        (0..count).map(|_| self.nic.take()).collect()
    }

    /// Asserts that the NIC has received no frame but those taken. It does not wait.
    #[track_caller]
    pub fn assert_none_arrived(&self, when: &str) -> Result<()> {
        assert_eq!(self.nic.arrived()?, 0, "frames that have arrived {when}");
        Ok(())
    }

    /// As [`Bench::assert_kept`], and then recycles the descriptors.
    pub fn assert_received<F: AsRef<[u8]>>(&self, frames: &[F], what: &str) -> Result<()> {
        self.assert_kept(frames, what)?;
        self.nic.recycle()
    }

    /// As [`Bench::assert_received`], and has `check` look at the event that reports the frames:
    /// before they are taken if that takes it back, else afterwards.
    pub fn assert_reported<F: AsRef<[u8]>>(
        &self,
        frames: &[F],
        what: &str,
        check: impl FnOnce() -> Result<()>,
    ) -> Result<()> {
        if !self.nic.limits().received_is_level {
            self.assert_received(frames, what)?;
            return check();
        }
        frames.iter().try_for_each(|frame| self.wire.send(frame.as_ref()))?;
        wait_received(self.vm, what, || Ok(self.nic.arrived()? >= frames.len()))?;
        check()?;
        self.assert_taken(frames, what)?;
        self.nic.recycle()
    }

    /// Sends `marker` to the NIC and returns the frames that it receives before it. Recycles
    /// their descriptors.
    pub fn received_before(&self, marker: &[u8], what: &str) -> Result<Vec<Vec<u8>>> {
        self.wire.send(marker)?;
        let mut before = Vec::new();
        loop {
            let got = self.receive(1, &format!("the marker after {what}"))?.remove(0);
            self.nic.recycle()?;
            if got == marker {
                return Ok(before);
            }
            before.push(got);
        }
    }

    /// Sends `marker` out of the NIC and returns the frames that come out of the cable before.
    pub fn sent_before(&self, marker: &[u8], what: &str) -> Result<Vec<Vec<u8>>> {
        self.send_out(&[marker])?;
        let mut before = Vec::new();
        loop {
            let got = self.wire.receive(&format!("the marker after {what}"))?;
            if got == marker {
                return Ok(before);
            }
            before.push(got);
        }
    }

    /// Waits until the NIC reports `event`, and asserts that it reports nothing else and forgets
    /// what is acknowledged.
    #[track_caller]
    pub fn assert_events(&self, expected: Events, when: &str) -> Result<()> {
        let mut seen = Events::NONE;
        wait_until(self.vm, &format!("{expected:?} {when}"), || {
            let now = self.nic.events()?;
            seen = Events {
                sent: seen.sent | now.sent,
                received: seen.received | now.received,
                overrun: seen.overrun | now.overrun,
                link: seen.link | now.link,
            };
            Ok(seen == expected || now == Events::NONE && seen != Events::NONE)
        })?;
        assert_eq!(seen, expected, "the events {when}");
        let received = expected.received && self.nic.limits().received_is_level;
        let left = Events { received, ..Events::NONE };
        assert_eq!(self.nic.events()?, left, "the events {when}, acknowledged before");
        Ok(())
    }

    /// Whether the NIC asserts its interrupt pin or line; `None` if QEMU cannot tell.
    pub fn asserts_interrupt(&self) -> Result<Option<bool>> {
        if let Some(function) = self.nic.function() {
            return function.asserts_interrupt().map(Some);
        }
        let mut asserted = None;
        for line in &self.lines {
            asserted = Some(asserted.unwrap_or(false) | line.is_high()?);
        }
        Ok(asserted)
    }

    /// Waits until the NIC asserts its interrupt pin, if that can be told.
    pub fn wait_for_pin(&self, when: &str) -> Result<()> {
        let pin = || Ok(self.asserts_interrupt()? != Some(false));
        wait_until(self.vm, &format!("the interrupt pin {when}"), pin)
    }

    /// Asserts that the NIC does not assert its interrupt pin.
    #[track_caller]
    pub fn assert_no_pin(&self, when: &str) -> Result<()> {
        assert_ne!(self.asserts_interrupt()?, Some(true), "the interrupt pin {when}");
        Ok(())
    }

    /// Lets QEMU take from the cable what is on it, as far as the device lets it.
    pub fn let_frames_arrive(&self) -> Result<()> {
        // The socket is looked at once in each turn of QEMU's main loop.
        (0..20).try_for_each(|_| settle(self.vm))
    }

    /// The broken promise as the outcome of the test: known of this emulator, or a failure.
    pub fn broken(&self, promise: Promise, seen: String) -> Error {
        match self.nic.known_fault(self.vm, promise) {
            Some(fault) => Error::skipped(fault),
            None => Error::failed(seen),
        }
    }
}

/// Compares whole frames; [`assert_frame`] says where they differ.
#[track_caller]
pub(super) fn assert_equal(got: &[u8], expected: &[u8], what: &str) {
    if got != expected {
        assert_frame(got, expected, what);
    }
}

/// A frame out of the NIC.
pub(super) fn out(length: usize, number: u8) -> Vec<u8> {
    frame(PEER, MAC, length, number)
}

/// A frame into the NIC, to its own address.
pub(super) fn into(length: usize, number: u8) -> Vec<u8> {
    frame(MAC, PEER, length, number)
}

/// `count` different lengths between the limits of Ethernet, the limits among them.
pub(super) fn lengths(count: usize) -> impl Iterator<Item = usize> {
    let span = net::LONGEST - net::SHORTEST;
    (0..count).map(move |number| net::SHORTEST + span * number / count.max(2).saturating_sub(1))
}
