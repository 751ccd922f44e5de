//! The third layer: a virtqueue as a well-behaved driver uses it (2.6), over a split or a
//! packed ring.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use super::device::Virtio;
use super::packed::{self, PackedRing};
use super::split::{self, SplitRing};
use super::transport::{RingAddresses, Transport};
use super::{DESC_F_INDIRECT, DESC_F_NEXT, DESC_F_WRITE, Segment, features};
use crate::qemu::{Buffer, Vm};
use crate::qos::wait_until;
use crate::{Error, Result};

/// A buffer that the device has used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Used {
    /// The buffer's number, as [`Queue::add`] returned it.
    pub id: u16,
    /// How many bytes the device says it has written.
    pub written: u32,
}

/// A ring, and how far the driver is with it.
enum Ring {
    Split { ring: SplitRing, available: u16, used: u16 },
    Packed { ring: PackedRing, available: Place, used: Place },
}

/// A place in a packed ring and the wrap counter there.
#[derive(Debug, Clone, Copy)]
struct Place {
    index: u16,
    wrap: bool,
}

impl Place {
    const START: Self = Self { index: 0, wrap: true };

    fn advance(&mut self, by: u16, size: u16) {
        self.index += by;
        if self.index >= size {
            self.index -= size;
            self.wrap = !self.wrap;
        }
    }

    fn offset_wrap(self) -> u16 {
        self.index | u16::from(self.wrap) << 15
    }
}

/// What the device has not given back yet.
struct InFlight {
    /// The descriptors it takes; in a packed ring only their number matters.
    descriptors: Vec<u16>,
    /// How many bytes the device may write: not known where there is a table.
    writable: Option<u32>,
    _table: Option<Buffer>,
}

/// A live queue.
pub struct Queue {
    vm: Rc<Vm>,
    transport: Rc<dyn Transport>,
    index: u16,
    size: u16,
    accepted: u64,
    ring: RefCell<Ring>,
    /// Descriptors of a split ring, buffer IDs of a packed one.
    free: RefCell<Vec<u16>>,
    in_flight: RefCell<BTreeMap<u16, InFlight>>,
    /// How many descriptors the device has.
    taken: Cell<usize>,
    /// How many buffers (split) or descriptors (packed) were added since the last kick.
    unannounced: Cell<u16>,
}

impl Queue {
    /// Makes queue `index` of `device` live, of at most `limit` descriptors, with the
    /// features that were accepted.
    ///
    /// # Errors
    /// There is no such queue, or no memory for it.
    pub fn new(device: &Virtio, index: u16, accepted: u64, limit: u16) -> Result<Self> {
        let (vm, transport) = (device.vm(), device.transport());
        let largest = device.max_queue_size(index)?;
        if largest == 0 {
            return Err(Error::failed(format!("the device has no queue {index}")));
        }
        let size = if transport.can_size_queues() { largest.min(limit) } else { largest };
        let (ring, at) = if accepted & features::RING_PACKED != 0 {
            let ring = PackedRing::new(vm.ram(), size)?;
            let at = ring.addresses();
            (Ring::Packed { ring, available: Place::START, used: Place::START }, at)
        } else {
            let legacy = !transport.is_modern();
            let ring = SplitRing::new(vm.ram(), size, transport.byte_order(), legacy)?;
            let at = ring.addresses();
            (Ring::Split { ring, available: 0, used: 0 }, at)
        };
        transport.enable_queue(index, size, at)?;
        Ok(Self {
            vm: vm.clone(),
            transport: transport.clone(),
            index,
            size,
            accepted,
            ring: ring.into(),
            free: RefCell::new((0..size).rev().collect()),
            in_flight: RefCell::default(),
            taken: Cell::new(0),
            unannounced: Cell::new(0),
        })
    }

    /// The number of descriptors.
    pub fn size(&self) -> u16 {
        self.size
    }

    /// Where its ring is.
    pub fn addresses(&self) -> RingAddresses {
        match &*self.ring.borrow() {
            Ring::Split { ring, .. } => ring.addresses(),
            Ring::Packed { ring, .. } => ring.addresses(),
        }
    }

    /// Whether it is a packed ring.
    pub fn is_packed(&self) -> bool {
        matches!(&*self.ring.borrow(), Ring::Packed { .. })
    }

    fn has(&self, feature: u64) -> bool {
        self.accepted & feature != 0
    }

    /// Makes a buffer available, of one descriptor a segment. The device need not look
    /// before [`Queue::kick`].
    ///
    /// # Errors
    /// The ring is full.
    pub fn add(&self, segments: &[Segment]) -> Result<u16> {
        let described: Vec<_> = segments.iter().map(|&segment| (segment, 0)).collect();
        self.put(&described, None)
    }

    /// As [`Queue::add`], for a device that says of up to `most` bytes that it has written them,
    /// although it may write less: QEMU's SCSI adapter counts what it has read as well.
    ///
    /// # Errors
    /// The ring is full.
    pub fn add_miscounted(&self, segments: &[Segment], most: u32) -> Result<u16> {
        let id = self.add(segments)?;
        if let Some(in_flight) = self.in_flight.borrow_mut().get_mut(&id) {
            in_flight.writable = Some(most);
        }
        Ok(id)
    }

    /// Makes a buffer available by one descriptor of an indirect table (2.7.5.3, 2.8.7).
    ///
    /// # Errors
    /// The ring is full, or the feature was not accepted.
    pub fn add_indirect(&self, segments: &[Segment]) -> Result<u16> {
        let table = self.indirect_table(segments)?;
        let whole = Segment::readable(&table);
        self.put(&[(whole, DESC_F_INDIRECT)], Some(table))
    }

    /// An indirect table with these segments, for [`Queue::put`] with
    /// [`DESC_F_INDIRECT`]: as often as it is wanted.
    ///
    /// # Errors
    /// The feature was not accepted.
    pub fn indirect_table(&self, segments: &[Segment]) -> Result<Buffer> {
        if !self.has(features::INDIRECT_DESC) {
            return Err(Error::failed("indirect descriptors were not negotiated"));
        }
        match &*self.ring.borrow() {
            Ring::Split { .. } => {
                split::indirect_table(self.vm.ram(), self.transport.byte_order(), segments)
            }
            Ring::Packed { .. } => packed::indirect_table(self.vm.ram(), segments),
        }
    }

    /// Makes these descriptors available as one buffer, each with flags of its own.
    ///
    /// # Errors
    /// The ring is full.
    pub fn put(&self, described: &[(Segment, u16)], table: Option<Buffer>) -> Result<u16> {
        let count = described.len();
        let busy = self.taken.get();
        if count == 0 || busy + count > usize::from(self.size) {
            return Err(Error::failed(format!(
                "no room for a buffer of {count} descriptors: {busy} of {} are taken",
                self.size
            )));
        }
        let mut free = self.free.borrow_mut();
        let (id, descriptors, announced) = match &mut *self.ring.borrow_mut() {
            Ring::Split { ring, available, .. } => {
                let at = free.len() - count;
                let taken: Vec<u16> = free.drain(at..).rev().collect();
                for (number, &(segment, flags)) in described.iter().enumerate() {
                    let next = taken.get(number + 1);
                    let flags = if next.is_some() { flags | DESC_F_NEXT } else { flags };
                    let next = next.copied().unwrap_or_default();
                    ring.set_descriptor(taken[number], segment, flags, next)?;
                }
                ring.set_available(*available, taken[0])?;
                *available = available.wrapping_add(1);
                ring.set_available_index(*available)?;
                (taken[0], taken, 1)
            }
            Ring::Packed { ring, available, .. } => {
                let id = free.pop().ok_or_else(|| Error::failed("no buffer ID is left"))?;
                let mut places = Vec::with_capacity(count);
                for _ in 0..count {
                    places.push(*available);
                    available.advance(1, self.size);
                }
                // The first descriptor makes all of them available (2.8.6), so it is last.
                for (number, &(segment, flags)) in described.iter().enumerate().rev() {
                    let Place { index, wrap } = places[number];
                    let flags =
                        flags | if wrap { packed::DESC_F_AVAIL } else { packed::DESC_F_USED };
                    let more = if number + 1 < count { DESC_F_NEXT } else { 0 };
                    ring.set_descriptor(index, segment, id, flags | more)?;
                }
                (id, places.iter().map(|place| place.index).collect(), count as u16)
            }
        };
        let writable = described.iter().filter(|(segment, _)| segment.writable);
        let writable = writable.map(|(segment, _)| segment.length);
        let is_indirect = described.iter().any(|(_, flags)| flags & DESC_F_INDIRECT != 0);
        let writable =
            (!is_indirect).then(|| writable.fold(0, |sum: u32, length| sum.saturating_add(length)));
        self.taken.set(busy + count);
        let in_flight = InFlight { descriptors, writable, _table: table };
        self.in_flight.borrow_mut().insert(id, in_flight);
        self.unannounced.set(self.unannounced.get().wrapping_add(announced));
        Ok(id)
    }

    /// Whether the device wants to hear of what was added since the last kick (2.7.10,
    /// 2.8.21).
    ///
    /// # Errors
    /// QEMU does not answer.
    pub fn wants_kick(&self) -> Result<bool> {
        let new = self.unannounced.get();
        Ok(match &*self.ring.borrow() {
            Ring::Split { ring, available, .. } if self.has(features::EVENT_IDX) => {
                let event = ring.available_event()?;
                available.wrapping_sub(event).wrapping_sub(1) < new
            }
            Ring::Split { ring, .. } => match ring.used_flags()? {
                0 => true,
                split::USED_F_NO_NOTIFY => false,
                flags => return Err(Error::failed(format!("used ring flags: {flags:#x}"))),
            },
            Ring::Packed { ring, available, .. } => match ring.device_event_flags()? {
                packed::EVENT_DISABLE => false,
                packed::EVENT_DESC if self.has(features::EVENT_IDX) => {
                    let event = ring.device_event_offset()?;
                    // Counted in descriptors, back from the next free place.
                    let index = event & 0x7fff;
                    let wrapped = if (event >> 15 != 0) == available.wrap { 0 } else { self.size };
                    let back = (available.index + wrapped).wrapping_sub(index).wrapping_sub(1);
                    back < new
                }
                packed::EVENT_ENABLE => true,
                event => {
                    return Err(Error::failed(format!("device event suppression: {event:x?}")));
                }
            },
        })
    }

    /// Tells the device of new buffers, if it wants to hear of them; returns whether.
    ///
    /// # Errors
    /// QEMU does not answer.
    pub fn kick(&self) -> Result<bool> {
        let wanted = self.wants_kick()?;
        if wanted {
            self.transport.notify(self.index)?;
        }
        self.unannounced.set(0);
        Ok(wanted)
    }

    /// Tells the device of new buffers, whether it wants to hear of them or not.
    ///
    /// # Errors
    /// QEMU does not answer.
    pub fn notify(&self) -> Result<()> {
        self.unannounced.set(0);
        self.transport.notify(self.index)
    }

    /// Takes the next used buffer, if there is one.
    ///
    /// # Errors
    /// The device gives back what it was not given, or has written more than there is room.
    pub fn take_used(&self) -> Result<Option<Used>> {
        let (id, written) = match &mut *self.ring.borrow_mut() {
            Ring::Split { ring, used, .. } => {
                let index = ring.used_index()?;
                let (new, most) = (index.wrapping_sub(*used), self.in_flight.borrow().len());
                if usize::from(new) > most {
                    return Err(Error::failed(format!(
                        "the used index moved from {used} to {index}, but the device has {most} \
                         buffers"
                    )));
                }
                if new == 0 {
                    return Ok(None);
                }
                let (id, written) = ring.used(*used)?;
                *used = used.wrapping_add(1);
                (id, written)
            }
            Ring::Packed { ring, used, .. } => {
                let flags = ring.flags(used.index)?;
                let flag = |bit: u16| (flags & bit != 0) == used.wrap;
                let in_flight = self.in_flight.borrow();
                match (flag(packed::DESC_F_AVAIL), flag(packed::DESC_F_USED)) {
                    (true, true) => {}
                    // As long as the device has any buffer, this descriptor is available.
                    (false, _) if !in_flight.is_empty() => {
                        return Err(Error::failed(format!(
                            "an available descriptor's flags: {flags:#06x}"
                        )));
                    }
                    _ => return Ok(None),
                }
                let others = !(packed::DESC_F_AVAIL | packed::DESC_F_USED | DESC_F_WRITE);
                if flags & others != 0 {
                    let why = format!("a used descriptor's flags: {flags:#06x}");
                    return Err(Error::failed(why));
                }
                let (id, written) = ring.used(used.index)?;
                let count = in_flight.get(&id).map_or(1, |f| f.descriptors.len() as u16);
                used.advance(count, self.size);
                (id.into(), written)
            }
        };
        let known = u16::try_from(id).ok().and_then(|id| {
            self.in_flight.borrow_mut().remove(&id).map(|in_flight| (id, in_flight))
        });
        let (id, in_flight) = known.ok_or_else(|| {
            Error::failed(format!("the device gave back buffer {id}, which it does not have"))
        })?;
        if let Some(writable) = in_flight.writable.filter(|&most| written > most) {
            return Err(Error::failed(format!(
                "the device wrote {written} bytes to buffer {id}, which has room for {writable}"
            )));
        }
        self.taken.set(self.taken.get() - in_flight.descriptors.len());
        let mut free = self.free.borrow_mut();
        match &*self.ring.borrow() {
            Ring::Split { .. } => free.extend(in_flight.descriptors.iter().rev()),
            Ring::Packed { .. } => free.push(id),
        }
        Ok(Some(Used { id, written }))
    }

    /// Waits for the next used buffer.
    ///
    /// # Errors
    /// None comes, or the device gives back what it was not given.
    pub fn wait_used(&self) -> Result<Used> {
        let mut used = None;
        wait_until(&self.vm, &format!("a used buffer of queue {}", self.index), || {
            used = self.take_used()?;
            Ok(used.is_some())
        })?;
        used.ok_or_else(|| Error::failed("a used buffer came and went"))
    }

    /// Has the device use one buffer of these segments, with no other in flight; returns how many
    /// bytes it says it has written.
    ///
    /// # Errors
    /// The ring is full, the device does not use it, or gives back another.
    pub fn carry_out(&self, segments: &[Segment]) -> Result<u32> {
        let id = self.add(segments)?;
        self.kick()?;
        match self.wait_used()? {
            used if used.id == id => Ok(used.written),
            used => Err(Error::failed(format!("waited for buffer {id}, got {used:?}"))),
        }
    }

    /// Says whether used buffers are to be notified, all of them or none. It is a hint:
    /// the device may notify all the same.
    ///
    /// # Errors
    /// QEMU does not answer.
    pub fn want_interrupts(&self, wanted: bool) -> Result<()> {
        match &*self.ring.borrow() {
            Ring::Split { ring, .. } => {
                ring.set_available_flags(if wanted { 0 } else { split::AVAIL_F_NO_INTERRUPT })
            }
            Ring::Packed { ring, .. } => {
                let flags = if wanted { packed::EVENT_ENABLE } else { packed::EVENT_DISABLE };
                ring.set_driver_event(0, flags)
            }
        }
    }

    /// Asks for one notification, when `more` further buffers of `descriptors` descriptors
    /// each were used (2.7.7, 2.8.10).
    ///
    /// # Errors
    /// The feature was not accepted.
    pub fn want_interrupt_after(&self, more: u16, descriptors: u16) -> Result<()> {
        if !self.has(features::EVENT_IDX) {
            return Err(Error::failed("event indices were not negotiated"));
        }
        match &*self.ring.borrow() {
            Ring::Split { ring, used, .. } => {
                ring.set_used_event(used.wrapping_add(more).wrapping_sub(1))
            }
            Ring::Packed { ring, used, .. } => {
                let mut event = *used;
                event.advance((more - 1) * descriptors, self.size);
                ring.set_driver_event(event.offset_wrap(), packed::EVENT_DESC)
            }
        }
    }
}
