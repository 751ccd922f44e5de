//! A virtio device of any kind, through any transport: its initialisation (3.1).

use std::rc::Rc;

use super::kind::{self, Features, Kind, Plain};
use super::queue::Queue;
use super::transport::Transport;
use super::{ACKNOWLEDGE, DRIVER, DRIVER_OK, FEATURES_OK, Segment, features};
use crate::protocol::Endian;
use crate::qemu::{Buffer, Vm};
use crate::qos::registers::{Registers, RegistersExt};
use crate::{Error, Result};

/// How often the configuration may change while it is read.
const CONFIG_READS: usize = 10;

/// The most descriptors that a queue can have (2.6).
const MOST_DESCRIPTORS: u16 = 32_768;
/// The most queues that are looked for; QEMU has no more.
const MOST_QUEUES: u16 = 1024;

/// What a device has not written of memory that is for it to write.
pub(super) const UNTOUCHED: u8 = 0xee;

/// A device, and the machine it is in.
#[derive(Clone)]
pub struct Virtio {
    vm: Rc<Vm>,
    transport: Rc<dyn Transport>,
    /// What it offered at first, which must not change.
    offered: u64,
    /// Features of its kind without which it does not work.
    needed: u64,
    /// How large each of its queues can be, likewise.
    sizes: Rc<[u16]>,
    plain: fn(&Self) -> Result<Option<Plain>>,
}

/// How large each queue of a device can be.
fn queue_sizes(transport: &dyn Transport) -> Result<Vec<u16>> {
    let mut sizes = Vec::new();
    for queue in 0..MOST_QUEUES {
        let size = transport.max_queue_size(queue)?;
        if size == 0 {
            break;
        }
        if !size.is_power_of_two() || size > MOST_DESCRIPTORS {
            return Err(Error::failed(format!("queue {queue} has {size} descriptors")));
        }
        sizes.push(size);
    }
    Ok(sizes)
}

impl Virtio {
    /// The device of the kind `K` behind `transport`.
    ///
    /// # Errors
    /// Returns [`Error::Failed`] if it is of another type, if it offers what none of its kind
    /// does or not what all do, or if a queue has a size that no queue can have.
    pub fn of_kind<K: Kind>(vm: &Rc<Vm>, transport: Rc<dyn Transport>) -> Result<Self> {
        Self::new(vm, transport, (K::DEVICE_TYPE, K::FEATURES, K::NEEDED), K::plain)
    }

    fn new(
        vm: &Rc<Vm>,
        transport: Rc<dyn Transport>,
        (device_type, own, needed): (u32, Features, u64),
        plain: fn(&Self) -> Result<Option<Plain>>,
    ) -> Result<Self> {
        match transport.device_type()? {
            found if found == device_type => {}
            found => {
                let why = format!("a virtio device of type {found}, not {device_type}");
                return Err(Error::failed(why));
            }
        }
        let offered = transport.device_features()?;
        // A back end of the user's offers what it likes.
        if !vm.has_user_backend() {
            kind::check(own, transport.is_modern(), offered)?;
        }
        let sizes = queue_sizes(&*transport)?;
        let needed = needed & offered;
        Ok(Self { vm: vm.clone(), transport, offered, needed, sizes: sizes.into(), plain })
    }

    /// This device with the queues that it has now: some have others when a feature was accepted
    /// (5.1.2).
    ///
    /// # Errors
    /// A queue has a size that no queue can have.
    pub fn with_queues_of_now(&self) -> Result<Self> {
        Ok(Self { sizes: queue_sizes(&*self.transport)?.into(), ..self.clone() })
    }

    /// How many queues it has.
    pub fn queue_count(&self) -> u16 {
        self.sizes.len() as u16
    }

    /// The machine that it is in.
    pub fn vm(&self) -> &Rc<Vm> {
        &self.vm
    }

    /// Its registers.
    pub fn transport(&self) -> &Rc<dyn Transport> {
        &self.transport
    }

    /// Resets the device (2.4), which QEMU does before it answers.
    ///
    /// # Errors
    /// The status is not 0 afterwards.
    pub fn reset(&self) -> Result<()> {
        self.set_status(0)
    }

    /// Writes the device status, which must then read as what was written.
    ///
    /// # Errors
    /// It does not.
    pub fn set_status(&self, status: u8) -> Result<()> {
        self.transport.set_status(status)?;
        match self.transport.status()? {
            now if now == status => Ok(()),
            now => Err(Error::failed(format!("status: wrote {status:#x}, read {now:#x}"))),
        }
    }

    /// A good request of its kind, if that has one.
    ///
    /// # Errors
    /// No guest memory is left.
    pub fn plain(&self) -> Result<Option<Plain>> {
        (self.plain)(self)
    }

    /// Asserts that it works from a reset on, as its kind does: everything is as it was at first,
    /// all that it offers is accepted, its queues are made live, and a good request is done.
    ///
    /// # Errors
    /// It does not.
    pub fn assert_works(&self) -> Result<()> {
        let accepted = self.negotiate(self.acceptable()?)?;
        let plain = self.plain()?;
        let mut queues = Vec::new();
        for index in 0..self.queue_count() {
            if self.transport.is_queue_enabled(index)? {
                return Err(Error::failed(format!("queue {index} is live after a reset")));
            }
            self.max_queue_size(index)?;
            // Of many queues that are alike the first tell enough.
            let is_wanted = plain.as_ref().is_some_and(|plain| plain.queue == index);
            if index < 4 || is_wanted {
                queues.push((index, Queue::new(self, index, accepted, u16::MAX)?));
            }
        }
        self.driver_ok()?;
        let Some(plain) = plain else { return Ok(()) };
        let queue = queues.iter().find(|(index, _)| *index == plain.queue);
        let (_, queue) = queue.ok_or_else(|| Error::failed("the queue of a request is missing"))?;
        let id = queue.add(&plain.segments)?;
        queue.kick()?;
        match queue.wait_used()? {
            used if used.id == id => (plain.check)(used.written),
            used => Err(Error::failed(format!("waited for buffer {id}, got {used:?}"))),
        }
    }

    /// The features that the device offers.
    ///
    /// # Errors
    /// They are not those that it offered at first (2.2.1).
    pub fn offered(&self) -> Result<u64> {
        match self.transport.device_features()? {
            now if now == self.offered => Ok(now),
            now => Err(Error::failed(format!(
                "the device offered the features {:#x}, and now {now:#x}",
                self.offered
            ))),
        }
    }

    /// The largest size that queue `index` can have, 0 where there is no such queue.
    ///
    /// # Errors
    /// It is not what it was at first.
    pub fn max_queue_size(&self, index: u16) -> Result<u16> {
        let first = self.sizes.get(usize::from(index)).copied().unwrap_or_default();
        match self.transport.max_queue_size(index)? {
            now if now == first => Ok(now),
            now => Err(Error::failed(format!(
                "queue {index} could have {first} descriptors, and now {now}"
            ))),
        }
    }

    /// The features without which the device does not work with a driver.
    pub fn required(&self) -> u64 {
        self.needed | if self.transport.is_modern() { features::VERSION_1 } else { 0 }
    }

    /// All that the device offers and a driver may accept.
    ///
    /// # Errors
    /// QEMU does not answer.
    pub fn acceptable(&self) -> Result<u64> {
        let others =
            if self.transport.is_modern() { features::LEGACY } else { features::UNUSED_30 };
        Ok(self.offered()? & !others)
    }

    /// Skips a test of `feature`, which is `what`, where the device does not offer it.
    ///
    /// # Errors
    /// [`Error::Skipped`]: it does not.
    pub fn needs(&self, feature: u64, what: &str) -> Result<()> {
        match self.offered()? & feature {
            0 => Err(Error::skipped(format!("the device does not offer {what}"))),
            _ => Ok(()),
        }
    }

    /// Reads from the configuration what takes several reads; `None` if it changed in between
    /// (2.5.1): its generation tells, or, where it has none, a second reading.
    fn try_config<T: PartialEq>(
        &self,
        read: &mut impl FnMut(&dyn Registers) -> Result<T>,
    ) -> Result<Option<T>> {
        let (config, generation) = (self.transport.config(), || self.transport.config_generation());
        let before = generation()?;
        let value = read(config)?;
        let same = match before {
            Some(_) => generation()? == before,
            None => read(config)? == value,
        };
        Ok(same.then_some(value))
    }

    /// Reads from the configuration what takes several reads, again if it changed in between.
    ///
    /// # Errors
    /// It changes all the time, or `read` fails.
    pub fn read_config<T: PartialEq>(
        &self,
        mut read: impl FnMut(&dyn Registers) -> Result<T>,
    ) -> Result<T> {
        for _ in 0..CONFIG_READS {
            if let Some(value) = self.try_config(&mut read)? {
                return Ok(value);
            }
        }
        Err(Error::failed(format!("the configuration changed during {CONFIG_READS} reads of it")))
    }

    /// The same of a configuration that nobody changes. QEMU does so only when QMP says so, and
    /// before it replies.
    ///
    /// # Errors
    /// It changes, or `read` fails.
    pub fn read_still_config<T: PartialEq>(
        &self,
        mut read: impl FnMut(&dyn Registers) -> Result<T>,
    ) -> Result<T> {
        self.try_config(&mut read)?.ok_or_else(|| {
            Error::failed("the configuration changed while it was read, and nobody told it to")
        })
    }

    /// Resets the device and accepts what it offers of `wanted`; returns that.
    ///
    /// # Errors
    /// The device does not agree.
    pub fn negotiate(&self, wanted: u64) -> Result<u64> {
        let transport = &self.transport;
        self.reset()?;
        transport.set_status(ACKNOWLEDGE)?;
        self.set_status(ACKNOWLEDGE | DRIVER)?;
        let offered = self.offered()?;
        let accepted = offered & wanted;
        transport.set_driver_features(accepted)?;
        if transport.is_modern() {
            self.set_status(ACKNOWLEDGE | DRIVER | FEATURES_OK).map_err(|e| {
                e.context(format!("{accepted:#x} of the offered features {offered:#x} accepted"))
            })?;
        }
        Ok(accepted)
    }

    /// Makes queue `index` live, as large as it can be.
    ///
    /// # Errors
    /// There is no such queue.
    pub fn queue(&self, index: u16, accepted: u64) -> Result<Queue> {
        Queue::new(self, index, accepted, u16::MAX)
    }

    /// The status of a device that its driver has initialised (3.1.1).
    pub fn ready_status(&self) -> u8 {
        let negotiated = if self.transport.is_modern() { FEATURES_OK } else { 0 };
        ACKNOWLEDGE | DRIVER | negotiated | DRIVER_OK
    }

    /// The 32-bit field at `at` of a configuration that is little-endian through any interface.
    ///
    /// # Errors
    /// QEMU does not answer.
    pub fn config_le32(&self, at: u64) -> Result<u32> {
        self.transport().config().read32(at).map(|value| self.to_le32(value))
    }

    /// Writes the 32-bit field at `at` of a configuration that is little-endian through any
    /// interface.
    ///
    /// # Errors
    /// QEMU does not answer.
    pub fn set_config_le32(&self, at: u64, value: u32) -> Result<()> {
        self.transport().config().write32(at, self.to_le32(value))
    }

    /// `value` in the byte order of the transport, for one that is little-endian, or back.
    fn to_le32(&self, value: u32) -> u32 {
        match self.transport().byte_order() {
            Endian::Little => value,
            Endian::Big => value.swap_bytes(),
        }
    }

    /// Sends what is in `request`, a piece of memory for each that is not empty, and has pieces of
    /// memory of these lengths written. Returns the bytes that the device says it has written, and
    /// all; what is behind the former must be as it was.
    ///
    /// # Errors
    /// The device does not use the buffer, or writes elsewhere.
    pub fn exchange(
        &self,
        queue: &Queue,
        request: &[&[u8]],
        answer: &[usize],
    ) -> Result<(Vec<u8>, Vec<u8>)> {
        let (written, whole) = self.exchange_loosely(queue, request, answer)?;
        if whole[written.len()..].iter().any(|&byte| byte != UNTOUCHED) {
            let count = written.len();
            return Err(Error::failed(format!("{count} bytes were written, and more: {whole:x?}")));
        }
        Ok((written, whole))
    }

    /// As [`Virtio::exchange`], where the device may write behind what it says it has written.
    ///
    /// # Errors
    /// The device does not use the buffer.
    pub fn exchange_loosely(
        &self,
        queue: &Queue,
        request: &[&[u8]],
        answer: &[usize],
    ) -> Result<(Vec<u8>, Vec<u8>)> {
        let ram = self.vm.ram();
        let (mut read, mut written) = (Vec::new(), Vec::new());
        for bytes in request.iter().filter(|bytes| !bytes.is_empty()) {
            let buffer = ram.alloc(bytes.len(), 1)?;
            buffer.write(0, bytes)?;
            read.push(buffer);
        }
        for &length in answer.iter().filter(|&&length| length > 0) {
            let buffer = ram.alloc(length, 1)?;
            buffer.write(0, &vec![UNTOUCHED; length])?;
            written.push(buffer);
        }
        let segments = read.iter().map(Segment::readable);
        let segments: Vec<_> = segments.chain(written.iter().map(Segment::writable)).collect();
        let count = queue.carry_out(&segments)? as usize;
        let whole = written.iter().map(Buffer::to_vec).collect::<Result<Vec<_>>>()?.concat();
        Ok((whole[..count].to_vec(), whole))
    }

    /// Tells the device that the driver is ready, after [`Virtio::negotiate`]. With this the set-up
    /// of a test [ends](Vm::set_up_ends), unless it has ended before.
    ///
    /// # Errors
    /// The status does not stay; or those of the end of the set-up.
    pub fn driver_ok(&self) -> Result<()> {
        self.set_status(self.ready_status())?;
        self.vm().set_up_ends()
    }
}
