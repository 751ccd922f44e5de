//! The serial device (5.3): its ports, and the control queues that announce them.

use super::device::Virtio;
use super::queue::Queue;
use super::{Features, Ordered, Plain, Segment};
use crate::qemu::Buffer;
use crate::qos::registers::RegistersExt;
use crate::qos::wait_until;
use crate::{Error, Result, interface};
use std::cell::RefCell;
use std::collections::BTreeMap;

/// The device type.
pub const DEVICE_TYPE: u32 = 3;
/// Feature: there are several ports, and control queues.
pub const F_MULTIPORT: u64 = 1 << 1;
/// Feature: a character can be written through the configuration.
pub const F_EMERG_WRITE: u64 = 1 << 2;

/// What QEMU's serial devices offer.
pub const FEATURES: Features =
    Features { must: F_MULTIPORT | F_EMERG_WRITE, may: 0, legacy_may: 0 };

/// Fields of the configuration (5.3.4): the largest number of ports, 32 bits.
pub const MAX_NR_PORTS: u64 = 4;

/// Control messages (5.3.6.2): the driver is ready.
pub const DEVICE_READY: u16 = 0;
/// There is a new port.
pub const PORT_ADD: u16 = 1;
/// A port is gone.
pub const PORT_REMOVE: u16 = 2;
/// The driver is ready to use a port.
pub const PORT_READY: u16 = 3;
/// A port is a console.
pub const CONSOLE_PORT: u16 = 4;
/// A port is open, or not.
pub const PORT_OPEN: u16 = 6;
/// A port's name, behind the message.
pub const PORT_NAME: u16 = 7;

/// The queue of control messages to the driver.
const CONTROL_IN: u16 = 2;
/// The queue of control messages to the device.
const CONTROL_OUT: u16 = 3;
/// How long a control message may be, its name included.
const MESSAGE: usize = 64;

/// A serial device, through any transport.
pub struct VirtioSerial(
    /// The device.
    pub Virtio,
);

interface!(VirtioSerial = "virtio-serial");

/// A control message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// The port that it is about.
    pub port: u32,
    /// What it says: one of the constants.
    pub event: u16,
    /// A number that belongs to that.
    pub value: u16,
    /// What is behind it.
    pub name: String,
}

impl Message {
    /// One without a name.
    pub fn new(port: u32, event: u16, value: u16) -> Self {
        Self { port, event, value, name: String::new() }
    }
}

/// A message that the driver has failed to add a port that is not there, which changes nothing.
///
/// # Errors
/// No guest memory is left.
pub fn plain(device: &Virtio) -> Result<Plain> {
    let buffer = device.vm().ram().alloc(8, 1)?;
    let order = device.transport().byte_order();
    buffer.put32(order, 0, 30)?;
    buffer.put16(order, 4, PORT_READY)?;
    let segments = vec![Segment::readable(&buffer)];
    let check = move |written| match (written, &buffer) {
        (0, _) => Ok(()),
        (written, _) => Err(Error::failed(format!("a message was sent, {written} written"))),
    };
    Ok(Plain { queue: CONTROL_OUT, segments, check: Box::new(check) })
}

/// A device whose control queues and one port are live.
pub struct Live {
    device: Virtio,
    control_in: Queue,
    control_out: Queue,
    messages: RefCell<BTreeMap<u16, Buffer>>,
    /// The queue of what the port receives.
    pub receive: Queue,
    /// The queue of what it sends.
    pub transmit: Queue,
}

impl VirtioSerial {
    /// Negotiates everything, makes the control queues and those of `port` live, gives buffers
    /// for messages, and makes the driver ready.
    ///
    /// # Errors
    /// The device does not agree.
    pub fn start(&self, port: u16) -> Result<Live> {
        let accepted = self.0.negotiate(self.0.acceptable()?)?;
        let first = if port == 0 { 0 } else { 2 + 2 * port };
        let queue = |index| self.0.queue(index, accepted);
        let live = Live {
            device: self.0.clone(),
            control_in: queue(CONTROL_IN)?,
            control_out: queue(CONTROL_OUT)?,
            messages: RefCell::default(),
            receive: queue(first)?,
            transmit: queue(first + 1)?,
        };
        self.0.driver_ok()?;
        (0..8).try_for_each(|_| live.offer_message())?;
        live.control_in.kick()?;
        Ok(live)
    }

    /// The largest number of ports.
    ///
    /// # Errors
    /// QEMU does not answer.
    pub fn max_ports(&self) -> Result<u32> {
        self.0.transport().config().read32(MAX_NR_PORTS)
    }
}

impl Live {
    fn offer_message(&self) -> Result<()> {
        let buffer = self.device.vm().ram().alloc(MESSAGE, 1)?;
        let id = self.control_in.add(&[Segment::writable(&buffer)])?;
        self.messages.borrow_mut().insert(id, buffer);
        Ok(())
    }

    /// Sends a control message.
    ///
    /// # Errors
    /// The device does not take it.
    pub fn tell(&self, port: u32, event: u16, value: u16) -> Result<()> {
        let order = self.device.transport().byte_order();
        let buffer = self.device.vm().ram().alloc(8, 1)?;
        buffer.put32(order, 0, port)?;
        buffer.put16(order, 4, event)?;
        buffer.put16(order, 6, value)?;
        let id = self.control_out.add(&[Segment::readable(&buffer)])?;
        self.control_out.kick()?;
        match self.control_out.wait_used()? {
            used if used.id == id && used.written == 0 => Ok(()),
            used => Err(Error::failed(format!("message {id} was sent, {used:?} came back"))),
        }
    }

    /// Gives the device a control message of these pieces, and does not wait until it has it.
    ///
    /// # Errors
    /// The queue is full, or QEMU does not answer.
    pub fn give(&self, segments: &[Segment]) -> Result<()> {
        self.control_out.add_indirect(segments)?;
        self.control_out.notify()
    }

    /// Waits for the next control message. `what` says which.
    ///
    /// # Errors
    /// None comes, or it is none.
    pub fn hear(&self, what: &str) -> Result<Message> {
        let mut used = None;
        wait_until(self.device.vm(), &format!("a control message, {what}"), || {
            used = self.control_in.take_used()?;
            Ok(used.is_some())
        })?;
        let used = used.ok_or_else(|| Error::failed("a message came and went"))?;
        let buffer = self.messages.borrow_mut().remove(&used.id);
        let buffer = buffer.ok_or_else(|| Error::failed("a message in no buffer of ours"))?;
        let order = self.device.transport().byte_order();
        let bytes = buffer.to_vec()?;
        let name = bytes.get(8..used.written as usize);
        let name = name.ok_or_else(|| Error::failed(format!("{} bytes", used.written)))?;
        let message = Message {
            port: buffer.get32(order, 0)?,
            event: buffer.get16(order, 4)?,
            value: buffer.get16(order, 6)?,
            name: String::from_utf8_lossy(name).trim_end_matches('\0').to_owned(),
        };
        self.offer_message()?;
        self.control_in.kick()?;
        Ok(message)
    }

    /// Whether no message waits.
    ///
    /// # Errors
    /// QEMU does not answer.
    pub fn is_silent(&self) -> Result<bool> {
        Ok(self.control_in.take_used()?.is_none())
    }
}
