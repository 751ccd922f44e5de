//! A gigabit controller with rings of this suite's own, whose descriptors a test writes itself.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use crate::drivers::net::e1000::nic::GigabitNic;
use crate::drivers::net::e1000::ring::{CMD_EOP, CMD_IFCS, CMD_RS, Ring, STA_DD, STA_EOP};
use crate::drivers::net::e1000::{self, RCTL, TCTL};
use crate::qemu::Vm;
use crate::qos::net::{Wire, wait_received};
use crate::qos::nic::Nic;
use crate::qos::registers::{Register, RegistersExt};
use crate::{Error, Result};

/// The descriptors of a ring.
pub(super) const COUNT: usize = 16;
/// The receiver is on, takes broadcasts, and strips the frame check sequence.
pub(super) const RECEIVE: u32 = e1000::RCTL_EN | e1000::RCTL_BAM | e1000::RCTL_SECRC;
/// The command of a whole frame whose status is reported.
pub(super) const WHOLE: u8 = CMD_EOP | CMD_IFCS | CMD_RS;

/// What was received into one descriptor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Received {
    pub data: Vec<u8>,
    pub status: u8,
    pub errors: u8,
    pub special: u16,
}

/// A started controller.
pub(super) struct Bench<'a> {
    pub nic: &'a GigabitNic,
    pub vm: &'a Rc<Vm>,
    pub wire: Wire,
    pub transmit: Ring,
    pub receive: Ring,
    next: Cell<usize>,
}

impl<'a> Bench<'a> {
    /// Rings with buffers of `size` bytes to receive into.
    pub fn new(nic: &'a GigabitNic, vm: &'a Rc<Vm>, size: usize) -> Result<Self> {
        nic.device().bus().reaches_ram()?;
        nic.start(vm)?;
        let registers = nic.registers();
        registers.set(RCTL, 0)?;
        registers.set(TCTL, 0)?;
        let transmit = nic.ring(vm, e1000::TDBAL, COUNT, 4096)?;
        let receive = nic.ring(vm, e1000::RDBAL, COUNT, size)?;
        let wire = Wire::new(vm)?;
        let bench = Self { nic, vm, wire, transmit, receive, next: Cell::new(0) };
        bench.set(TCTL, e1000::TCTL_EN)?;
        bench.receive.give(COUNT - 1)?;
        bench.set(RCTL, RECEIVE)?;
        // QEMU's 8254x receives a second after that.
        bench.step(Duration::from_millis(1001))?;
        bench.get(e1000::ICR)?;
        Ok(bench)
    }

    pub fn get(&self, register: Register<u32>) -> Result<u32> {
        self.nic.registers().get(register)
    }

    pub fn set(&self, register: Register<u32>, value: u32) -> Result<()> {
        self.nic.registers().set(register, value)
    }

    /// Queues a whole packet behind a descriptor with these bits besides address and length.
    pub fn queue(&self, data: &[u8], bits: u64) -> Result<usize> {
        self.queue_part(data, bits, data.len())
    }

    /// As [`Bench::queue`] for a part of a packet of `total` bytes.
    pub fn queue_part(&self, data: &[u8], bits: u64, total: usize) -> Result<usize> {
        let buffer = self.transmit.buffer(self.transmit.tail());
        buffer.write(0, data)?;
        let kind = self.transmit.data_bits(total);
        self.transmit.put_raw(buffer.address().0, data.len() as u64 | bits | kind)
    }

    /// Sends a whole frame by a legacy descriptor, and waits until it is done.
    pub fn send(&self, frame: &[u8]) -> Result<usize> {
        let at = self.queue(frame, u64::from(WHOLE) << 24)?;
        self.tell(at)
    }

    /// Tells the device of what is queued, and waits until descriptor `last` is done.
    pub fn tell(&self, last: usize) -> Result<usize> {
        self.transmit.ring()?;
        wait_received(self.vm, "the end of a frame out", || {
            Ok(self.transmit.status(last)? & STA_DD != 0)
        })?;
        Ok(last)
    }

    /// The next descriptor that a frame has come into, which is given back.
    pub fn take(&self, what: &str) -> Result<Received> {
        let at = self.next.get();
        wait_received(self.vm, what, || Ok(self.receive.status(at)? & STA_DD != 0))?;
        let received = Received {
            data: self.receive.received(at)?,
            status: self.receive.status(at)?,
            errors: self.receive.errors(at)?,
            special: self.receive.special(at)?,
        };
        self.next.set(self.receive.wrap(at, 1));
        self.receive.give(1)?;
        Ok(received)
    }

    /// Sends `frame` to the device and takes it, from as many descriptors as it comes into.
    pub fn through(&self, frame: &[u8], what: &str) -> Result<Vec<Received>> {
        self.wire.send(frame)?;
        let mut all = Vec::new();
        loop {
            all.push(self.take(what)?);
            if all.last().is_some_and(|last| last.status & STA_EOP != 0) {
                return Ok(all);
            }
            if all.len() == COUNT {
                return Err(Error::failed(format!("{what}: no descriptor ends the frame")));
            }
        }
    }

    /// Whether a frame comes in before one that is surely received, which is taken as well.
    pub fn comes(&self, frame: &[u8], marker: &[u8], what: &str) -> Result<bool> {
        self.wire.send(frame)?;
        self.wire.send(marker)?;
        let first = self.take(what)?;
        match first.data == marker {
            true => Ok(false),
            false => {
                assert_eq!(first.data, frame, "{what}: the frame");
                assert_eq!(self.take(what)?.data, marker, "{what}: the frame after it");
                Ok(true)
            }
        }
    }

    /// Lets virtual time pass.
    pub fn step(&self, time: Duration) -> Result<()> {
        self.vm.qtest().clock_step(Some(time))?;
        Ok(())
    }
}
