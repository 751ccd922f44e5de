//! An engine with memory to work on, of which all is compared, guards and sources included.

use std::rc::Rc;

use crate::qemu::{Buffer, Vm};
use crate::qos::dma::{DmaEngine, Next, Profile, Step, Transfer};
use crate::qos::interrupt::InterruptLine;
use crate::qos::wait_until;
use crate::{Error, Result};

/// Bytes before and behind what a transfer may write.
pub const GUARD: usize = 64;

pub struct Bench<'a> {
    pub engine: &'a dyn DmaEngine,
    pub vm: &'a Rc<Vm>,
    pub profile: Profile,
}

/// Two areas of memory, between which a transfer goes.
pub struct Areas {
    source: Buffer,
    destination: Buffer,
    read: Vec<u8>,
    written: Vec<u8>,
}

/// Bytes of which no four at different places are alike, for the most part; `seed` gives others.
pub fn pattern(length: usize, seed: u32) -> Vec<u8> {
    let byte = |index: usize| {
        let mixed = (index as u32 ^ seed.wrapping_mul(0x9e37_79b9)).wrapping_mul(0x85eb_ca6b);
        (mixed >> 13 ^ mixed >> 24) as u8
    };
    (0..length).map(byte).collect()
}

impl Areas {
    /// Areas that have room for `length` bytes behind an offset of up to four times `GUARD`.
    pub fn new(vm: &Rc<Vm>, length: usize, seed: u32) -> Result<Self> {
        let size = length + 6 * GUARD;
        let (source, destination) = (vm.ram().alloc(size, 64)?, vm.ram().alloc(size, 64)?);
        let (read, written) = (pattern(size, seed), pattern(size, !seed));
        source.write(0, &read)?;
        destination.write(0, &written)?;
        Ok(Self { source, destination, read, written })
    }

    /// The address so many bytes behind the first guard of the source.
    pub fn source(&self, offset: usize) -> u64 {
        self.source.address().0 + (GUARD + offset) as u64
    }

    /// The address so many bytes behind the first guard of the destination.
    pub fn destination(&self, offset: usize) -> u64 {
        self.destination.address().0 + (GUARD + offset) as u64
    }

    /// A copy from one offset to another.
    pub fn copy(&self, from: usize, to: usize, length: usize, unit: u64) -> Transfer {
        Transfer::copy(self.source(from), self.destination(to), length as u64, unit)
    }

    /// Notes what the memory is after this transfer.
    pub fn expect(&mut self, it: &Transfer) {
        let from = (it.source - self.source.address().0) as usize;
        let to = (it.destination - self.destination.address().0) as usize;
        let unit = it.unit as usize;
        for at in (0..it.length as usize).step_by(unit) {
            let offset = |step| if step == Step::Increment { at } else { 0 };
            let (from, to) = (from + offset(it.source_step), to + offset(it.destination_step));
            for byte in 0..unit {
                self.written[to + byte] = self.read[from + byte];
            }
        }
    }

    /// Asserts that all of the memory is as it was noted.
    #[track_caller]
    pub fn assert_as_expected(&self, when: &str) -> Result<()> {
        let written = self.destination.to_vec()?;
        if let Some(at) = (0..written.len()).find(|&at| written[at] != self.written[at]) {
            let (is, should) = (written[at], self.written[at]);
            let wrong = (0..written.len()).filter(|&at| written[at] != self.written[at]).count();
            let offset = at as i64 - GUARD as i64;
            panic!(
                "{when}: byte {offset} of the destination is {is:#04x}, not {should:#04x}; \
                 {wrong} bytes are wrong"
            );
        }
        assert!(self.source.to_vec()? == self.read, "{when}: the source has changed");
        Ok(())
    }
}

impl<'a> Bench<'a> {
    /// The engine, turned on.
    pub fn new(engine: &'a dyn DmaEngine, vm: &'a Rc<Vm>) -> Result<Self> {
        engine.enable(true)?;
        Ok(Self { engine, vm, profile: engine.profile() })
    }

    /// Some unit for copies.
    pub fn unit(&self) -> u64 {
        self.profile.units[0]
    }

    /// Prepares a channel, with its interrupt enabled or not.
    pub fn prepare(&self, channel: usize, work: &[Transfer], interrupts: bool) -> Result<()> {
        self.engine.clear(channel)?;
        self.engine.enable_interrupt(channel, interrupts)?;
        self.engine.prepare(channel, work, Next::End)
    }

    /// Waits until a channel has nothing to do any more.
    pub fn wait_idle(&self, channel: usize) -> Result<()> {
        let what = format!("channel {channel} to end its work");
        wait_until(self.vm, &what, || Ok(!self.engine.is_active(channel)?))
    }

    /// Has a channel do this work, and sees that it says so.
    #[track_caller]
    pub fn run(&self, channel: usize, work: &[Transfer], when: &str) -> Result<()> {
        self.prepare(channel, work, false)?;
        assert!(!self.engine.is_done(channel)?, "{when}: done before it was started");
        self.engine.start(channel)?;
        self.wait_idle(channel)?;
        assert!(!self.engine.has_failed(channel)?, "{when}: an error");
        let tells = self.profile.always_tells || work.iter().any(|it| it.tells);
        assert_eq!(self.engine.is_done(channel)?, tells, "{when}: done");
        self.engine.clear(channel)?;
        assert!(!self.engine.is_done(channel)?, "{when}: done is cleared");
        Ok(())
    }

    /// Sees that a copy goes well.
    #[track_caller]
    pub fn works(&self, channel: usize, when: &str) -> Result<()> {
        let mut areas = Areas::new(self.vm, 256, 0x77)?;
        let copy = areas.copy(0, 0, 256, self.unit());
        areas.expect(&copy);
        self.run(channel, &[copy], when)?;
        areas.assert_as_expected(when)
    }

    /// The line of a channel, low.
    pub fn line(&self, channel: usize) -> Result<InterruptLine> {
        let none = || Error::skipped("QEMU cannot watch the interrupt line");
        self.engine.interrupt(channel)?.ok_or_else(none)
    }

    /// A skip of what only engines with lists have.
    pub fn need_lists(&self) -> Result<()> {
        let none = || Error::skipped("this engine has no lists");
        self.profile.has_lists.then_some(()).ok_or_else(none)
    }

    /// An address behind which nothing is.
    pub fn nowhere(&self) -> Result<u64> {
        let none = || Error::skipped("the machine has no address that is known to be free");
        self.engine.nowhere().ok_or_else(none)
    }
}
