//! VMware's vmxnet3 as a [`Nic`], with one queue to send from and one to receive from.

use std::cell::{Cell, Ref};
use std::rc::Rc;

use super::Vmxnet3;
use super::registers::*;
use super::rings::{COUNT, ReceiveQueue, SendQueue};
use crate::qemu::{Buffer, Vm};
use crate::qos::net::Address;
use crate::qos::nic::{
    Attack, Events, Filter, Groups, Limits, Nic, Overrun, Promise, RingNic, Started,
};
use crate::qos::pci::PciDevice;
use crate::qos::registers::RegistersExt;
use crate::{Error, Result, nic};

/// How many frames are counted as sent, as received, and as without a buffer.
type Counts = (u64, u64, u64);

/// What a started device works on.
pub struct Parts {
    /// What driver and device share.
    pub shared: Buffer,
    /// The descriptions of both queues, that to send from first.
    pub queues: Buffer,
    /// The list of groups.
    groups: Buffer,
    /// The queue to send from.
    pub send: SendQueue,
    /// The queue to receive from.
    pub receive: ReceiveQueue,
    counted: Cell<Counts>,
}

impl Parts {
    fn new(vm: &Vm) -> Result<Self> {
        Ok(Self {
            shared: vm.ram().alloc(shared::LENGTH, 64)?,
            queues: vm.ram().alloc(2 * queue::LENGTH, 128)?,
            groups: vm.ram().alloc(64, 64)?,
            send: SendQueue::new(vm)?,
            receive: ReceiveQueue::new(vm)?,
            counted: Cell::default(),
        })
    }

    /// Writes what is shared: one queue each way, and `address` is that of a ring.
    fn describe(&self, address: impl Fn(u64) -> u64) -> Result<()> {
        let at = &self.shared;
        at.write_le32(0, shared::MAGIC)?;
        // Linux, 64 bits.
        at.write_le32(shared::SYSTEM, 1 << 2 | 2)?;
        at.write_le32(shared::REVISIONS, 1)?;
        at.write_le32(shared::REVISIONS + 4, 1)?;
        at.write_le64(shared::QUEUES, self.queues.address().0)?;
        at.write_le32(shared::QUEUES_LENGTH, self.queues.len() as u32)?;
        at.write_le32(shared::MTU, 1500)?;
        at.write_le16(shared::MOST_BUFFERS, 8)?;
        at.write(shared::COUNTS, &[1, 1])?;
        at.write(shared::AUTO_MASK, &[0, 1, 0])?;
        at.write_le64(shared::GROUPS, self.groups.address().0)?;
        let (send, receive, count) = (0, queue::LENGTH, COUNT as u32);
        let queues = &self.queues;
        queues.write_le64(send + queue::RING, address(self.send.ring.address()))?;
        queues.write_le64(send + queue::COMPLETIONS, address(self.send.completions.address()))?;
        queues.write_le32(send + queue::RING_SIZE, count)?;
        queues.write_le32(send + queue::COMPLETIONS_SIZE, count)?;
        for (which, ring) in self.receive.rings.iter().enumerate() {
            queues.write_le64(receive + queue::RING + 8 * which, address(ring.address()))?;
            queues.write_le32(receive + queue::RING_SIZE + 4 * which, count)?;
        }
        queues.write_le64(
            receive + queue::COMPLETIONS,
            address(self.receive.completions.address()),
        )?;
        queues.write_le32(receive + queue::COMPLETIONS_SIZE, 2 * count)
    }

    /// Statistic `number` of the queue to send from, or to receive from.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    pub fn statistic(&self, receives: bool, number: usize) -> Result<u64> {
        let begin = if receives { queue::LENGTH } else { 0 };
        self.queues.read_le64(begin + queue::STATISTICS + 8 * number)
    }

    fn counts(&self) -> Result<Counts> {
        let all = [queue::STATIONS, queue::GROUPS, queue::BROADCASTS];
        let sum = |receives: bool, which: &[usize]| {
            which.iter().try_fold(0, |sum, number| {
                self.statistic(receives, *number).map(|count| sum + count)
            })
        };
        let failed = sum(false, &[queue::SEND_ERRORS, queue::SEND_DISCARDS])?;
        Ok((sum(false, &all)? + failed, sum(true, &all)?, sum(true, &[queue::NO_BUFFER])?))
    }
}

impl Vmxnet3 {
    /// What it works on, since it was started.
    ///
    /// # Errors
    /// Returns an error if it was not started.
    pub fn parts(&self) -> Result<Ref<'_, Parts>> {
        self.parts.get()
    }

    /// Has it do `command`; returns its answer.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    pub fn command(&self, command: u32) -> Result<u32> {
        self.plug.registers.set(COMMAND, command)?;
        self.plug.registers.get(COMMAND)
    }

    /// Starts it with what is shared.
    ///
    /// # Errors
    /// Returns an error if it does not start.
    pub fn activate(&self) -> Result<()> {
        let at = self.parts()?.shared.address().0;
        self.plug.registers.set(SHARED_LOW, at as u32)?;
        self.plug.registers.set(SHARED_HIGH, (at >> 32) as u32)?;
        match self.command(command::ACTIVATE)? {
            0 => Ok(()),
            status => Err(Error::failed(format!("it is not activated: {status:#x}"))),
        }
    }

    /// Tells it that there is something to send.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    pub fn kick(&self) -> Result<()> {
        self.queues.set(TXPROD, self.parts()?.send.producer())
    }
}

impl Nic for Vmxnet3 {
    fn function(&self) -> Option<&PciDevice> {
        Some(&self.plug.device)
    }

    fn limits(&self) -> Limits {
        Limits {
            transmit: COUNT,
            receive: COUNT,
            overrun: Overrun::Discards,
            single_masks: false,
            ..Limits::PLAIN
        }
    }

    fn known_fault(&self, _: &Vm, promise: Promise) -> Option<&'static str> {
        match promise {
            Promise::AddressAfterReset => {
                Some("vmxnet3: a reset leaves the address that was set up")
            }
            _ => None,
        }
    }

    fn start(&self, vm: &Rc<Vm>) -> Result<()> {
        self.reset(vm)?;
        let parts = Parts::new(vm)?;
        parts.describe(|at| at)?;
        self.parts.set(parts);
        self.activate()?;
        self.set_filter(&Filter::PLAIN)?;
        self.queues.set(IMR, 1)?;
        self.events().map(drop)
    }

    fn reset(&self, _: &Rc<Vm>) -> Result<()> {
        self.command(command::RESET).map(drop)
    }

    fn remapped(&self) -> Result<Rc<dyn Nic>> {
        let plug = self.plug.again()?;
        let queues = plug.device.map_bar(0)?;
        Ok(Rc::new(Self { plug, queues, parts: Started::default() }))
    }

    fn station_address(&self) -> Result<Address> {
        let registers = &self.plug.registers;
        let [a, b, c, d] = registers.get(ADDRESS_LOW)?.to_le_bytes();
        let [e, f, ..] = registers.get(ADDRESS_HIGH)?.to_le_bytes();
        Ok([a, b, c, d, e, f])
    }

    fn set_filter(&self, filter: &Filter) -> Result<()> {
        let [a, b, c, d, e, f] = filter.own;
        self.plug.registers.set(ADDRESS_LOW, u32::from_le_bytes([a, b, c, d]))?;
        self.plug.registers.set(ADDRESS_HIGH, u32::from_le_bytes([e, f, 0, 0]))?;
        let parts = self.parts()?;
        let bit = |on: bool, bit: u32| if on { bit } else { 0 };
        let mut mode = shared::MODE_OWN
            | bit(filter.broadcast, shared::MODE_BROADCASTS)
            | bit(filter.foreign, shared::MODE_ALL);
        let mut length = 0;
        match filter.groups {
            Groups::None => {}
            Groups::All => mode |= shared::MODE_ALL_GROUPS,
            Groups::One(group) => {
                mode |= shared::MODE_GROUPS;
                parts.groups.write(0, &group)?;
                length = group.len() as u16;
            }
        }
        parts.shared.write_le32(shared::MODE, mode)?;
        parts.shared.write_le16(shared::GROUPS_LENGTH, length)?;
        self.command(command::UPDATE_GROUPS)?;
        self.command(command::UPDATE_MODE).map(drop)
    }

    fn queue(&self, frame: &[u8]) -> Result<()> {
        let flags = descriptor::SEND_END | descriptor::SEND_REPORT;
        self.parts()?.send.put(frame, flags).map(drop)
    }

    fn send(&self) -> Result<()> {
        self.kick()
    }

    fn sent(&self) -> Result<usize> {
        self.parts()?.send.sent()
    }

    fn arrived(&self) -> Result<usize> {
        self.parts()?.receive.arrived()
    }

    fn take(&self) -> Result<Vec<u8>> {
        self.parts()?.receive.take()
    }

    fn recycle(&self) -> Result<()> {
        let producer = self.parts()?.receive.recycle()?;
        self.queues.set(RXPROD, producer)
    }

    fn unmask(&self, events: Events) -> Result<()> {
        // One interrupt is that of both queues and of events.
        self.queues.set(IMR, u32::from(events == Events::NONE))
    }

    fn events(&self) -> Result<Events> {
        // What is masked cannot be acknowledged.
        let masked = self.queues.get(IMR)?;
        self.queues.set(IMR, 0)?;
        self.plug.registers.get(CAUSE)?;
        self.queues.set(IMR, masked)?;
        self.command(command::GET_STATISTICS)?;
        let parts = self.parts()?;
        let now = parts.counts()?;
        let before = parts.counted.replace(now);
        let link = parts.shared.read_le32(shared::EVENTS)?;
        self.plug.registers.set(EVENT_CAUSE, link)?;
        if link & !shared::EVENT_LINK != 0 {
            return Err(Error::failed(format!("the device reports the events {link:#x}")));
        }
        Ok(Events {
            sent: now.0 != before.0,
            received: now.1 != before.1,
            overrun: now.2 != before.2,
            link: link != 0,
        })
    }

    fn link_is_up(&self) -> Result<Option<bool>> {
        Ok(Some(self.command(command::GET_LINK)? & 1 != 0))
    }

    fn memory(&self) -> Result<Vec<u8>> {
        let parts = self.parts()?;
        let rings = [&parts.send.ring, &parts.receive.rings[0], &parts.receive.rings[1]];
        let all = rings.into_iter().map(|ring| ring.memory()).collect::<Result<Vec<_>>>()?;
        Ok(all.concat())
    }
}

impl RingNic for Vmxnet3 {
    fn base(&self) -> u64 {
        self.plug.registers.address()
    }

    fn attack(&self, attack: Attack) -> Result<()> {
        // Rings are looked at when the device is activated.
        self.command(command::QUIESCE)?;
        let parts = self.parts()?;
        match attack {
            Attack::Rings(at) => parts.describe(|_| at)?,
            Attack::Buffers { at, length } => {
                parts.send.fill(at, length)?;
                parts.receive.fill(at, length)?;
            }
        }
        self.activate()?;
        self.queues.set(IMR, 0)
    }
}

nic!(Vmxnet3: Nic, RingNic);
