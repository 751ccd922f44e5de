//! An 82576 that is started, and any of its queues, whose descriptors are advanced ones.

use std::cell::Cell;
use std::rc::Rc;

use crate::drivers::net::e1000::ring::{CMD_EOP, CMD_IFCS, CMD_RS, Format, Ring, STA_DD};
use crate::drivers::net::e1000::{self, RCTL_BAM, RCTL_EN, RCTL_SECRC, TCTL_EN};
use crate::drivers::net::igb::{self, Igb, QUEUE_ENABLE, QUEUE_STRIDE};
use crate::qemu::Vm;
use crate::qos::net::{Wire, wait_received};
use crate::qos::nic::Nic;
use crate::qos::registers::{Register, RegistersExt};
use crate::{Error, Result};

/// The descriptors of a ring.
pub(super) const COUNT: usize = 16;
/// The receiver is on, takes broadcasts, and strips the frame check sequence.
pub(super) const RECEIVE: u32 = RCTL_EN | RCTL_BAM | RCTL_SECRC;
/// The command of a whole frame whose status is reported.
pub(super) const WHOLE: u8 = CMD_EOP | CMD_IFCS | CMD_RS;

/// A started controller.
pub(super) struct Bench<'a> {
    pub nic: &'a Igb,
    pub vm: &'a Rc<Vm>,
    pub wire: Wire,
}

/// A queue to receive into.
pub(super) struct Receiver<'a> {
    bench: &'a Bench<'a>,
    pub number: u64,
    pub ring: Ring,
    next: Cell<usize>,
}

/// What was received into one descriptor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Received {
    pub data: Vec<u8>,
    pub status: u8,
    /// The first half of the descriptor, written back.
    pub first: u64,
}

impl<'a> Bench<'a> {
    /// The transmitter is on, the receiver off.
    pub fn new(nic: &'a Igb, vm: &'a Rc<Vm>) -> Result<Self> {
        nic.plug.device.bus().reaches_ram()?;
        nic.nic().start(vm)?;
        let bench = Self { nic, vm, wire: Wire::new(vm)? };
        bench.set(e1000::RCTL, 0)?;
        bench.set(e1000::TCTL, TCTL_EN)?;
        bench.set(of_queue(igb::RXDCTL, 0), 0)?;
        bench.set(of_queue(igb::TXDCTL, 0), 0)?;
        Ok(bench)
    }

    pub fn get(&self, register: Register<u32>) -> Result<u32> {
        self.nic.plug.registers.get(register)
    }

    pub fn set(&self, register: Register<u32>, value: u32) -> Result<()> {
        self.nic.plug.registers.set(register, value)
    }

    /// A ring of queue `number` to send from, and the queue enabled.
    pub fn transmitter(&self, number: u64) -> Result<Ring> {
        let ring = self.ring(of_queue(igb::TDBAL, number), COUNT, 2048)?;
        self.set(of_queue(igb::TXDCTL, number), QUEUE_ENABLE)?;
        Ok(ring)
    }

    /// A ring of queue `number` to receive into, the queue enabled, buffers of `size` bytes that
    /// are given to the device.
    pub fn receiver(&self, number: u64, count: usize, size: usize) -> Result<Receiver<'_>> {
        let ring = self.ring(of_queue(igb::RDBAL, number), count, size)?;
        let control = igb::ONE_BUFFER | (size / 1024) as u32;
        self.set(of_queue(igb::SRRCTL, number), control)?;
        self.set(of_queue(igb::RXDCTL, number), QUEUE_ENABLE)?;
        ring.give(count - 1)?;
        Ok(Receiver { bench: self, number, ring, next: Cell::new(0) })
    }

    fn ring(&self, base: Register<u32>, count: usize, size: usize) -> Result<Ring> {
        let registers = &self.nic.plug.registers;
        Ring::of_format(registers, self.vm, base, (count, size), Format::Advanced)
    }

    /// Sends a frame from `ring`, and waits until its descriptor is done.
    pub fn send(&self, ring: &Ring, frame: &[u8]) -> Result<()> {
        let at = ring.put(frame, WHOLE)?;
        ring.ring()?;
        wait_received(self.vm, "the end of a frame out", || Ok(ring.status(at)? & STA_DD != 0))
    }
}

/// `register` of queue `number`.
pub(super) fn of_queue(register: Register<u32>, number: u64) -> Register<u32> {
    register.nth(number, QUEUE_STRIDE)
}

impl Receiver<'_> {
    /// Whether nothing came that was not taken.
    pub fn is_empty(&self) -> Result<bool> {
        Ok(self.ring.status(self.next.get())? & STA_DD == 0)
    }

    /// The next frame, whose descriptor is given back.
    pub fn take(&self, what: &str) -> Result<Received> {
        let at = self.next.get();
        let what = format!("{what}, into queue {}", self.number);
        wait_received(self.bench.vm, &what, || Ok(!self.is_empty()?))?;
        let errors = self.ring.errors(at)?;
        if errors != 0 {
            return Err(Error::failed(format!("{what}: the errors {errors:#x}")));
        }
        let (first, _) = self.ring.halves(at)?;
        let (data, status) = (self.ring.received(at)?, self.ring.status(at)?);
        self.next.set(self.ring.wrap(at, 1));
        self.ring.give(1)?;
        Ok(Received { data, status, first })
    }
}
