//! The network device (5.1): frames with a header, a control queue, a status of the link.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::os::fd::AsRawFd;

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, recv};

use super::device::Virtio;
use super::queue::Queue;
use super::{Features, Ordered, Plain, Segment, features};
use crate::protocol::Endian;
use crate::qemu::{Buffer, Vm};
use crate::qos::net::{MAC, PEER, SOCKET, frame};
use crate::qos::registers::RegistersExt;
use crate::qos::wait_until;
use crate::{Error, Result, interface};

/// The device type.
pub const DEVICE_TYPE: u32 = 1;

/// Feature: the driver can leave checksums to the device.
pub const F_CSUM: u64 = 1 << 0;
/// Feature: the device can leave checksums to the driver.
pub const F_GUEST_CSUM: u64 = 1 << 1;
/// Feature: offloads can be changed while the device runs.
pub const F_CTRL_GUEST_OFFLOADS: u64 = 1 << 2;
/// Feature, legacy: the device takes segments of any kind.
pub const F_GSO: u64 = 1 << 6;
/// Feature: the address is in the configuration.
pub const F_MAC: u64 = 1 << 5;
/// Feature: the driver takes segments of TCP over IPv4 that are left to it.
pub const F_GUEST_TSO4: u64 = 1 << 7;
/// Feature: the driver takes segments of TCP over IPv6.
pub const F_GUEST_TSO6: u64 = 1 << 8;
/// Feature: the driver takes segments of TCP with congestion notification.
pub const F_GUEST_ECN: u64 = 1 << 9;
/// Feature: the driver takes fragments of UDP.
pub const F_GUEST_UFO: u64 = 1 << 10;
/// Feature: the device takes segments of TCP over IPv4.
pub const F_HOST_TSO4: u64 = 1 << 11;
/// Feature: the device takes segments of TCP over IPv6.
pub const F_HOST_TSO6: u64 = 1 << 12;
/// Feature: the device takes segments of TCP with congestion notification.
pub const F_HOST_ECN: u64 = 1 << 13;
/// Feature: the device takes fragments of UDP.
pub const F_HOST_UFO: u64 = 1 << 14;
/// Feature: the driver can merge receive buffers.
pub const F_MRG_RXBUF: u64 = 1 << 15;
/// Feature: the status of the link is in the configuration.
pub const F_STATUS: u64 = 1 << 16;
/// Feature: there is a control queue.
pub const F_CTRL_VQ: u64 = 1 << 17;
/// Feature: modes of the filter.
pub const F_CTRL_RX: u64 = 1 << 18;
/// Feature: a filter of VLANs.
pub const F_CTRL_VLAN: u64 = 1 << 19;
/// Feature: further modes of the filter.
pub const F_CTRL_RX_EXTRA: u64 = 1 << 20;
/// Feature: the driver can be asked to announce itself.
pub const F_GUEST_ANNOUNCE: u64 = 1 << 21;
/// Feature: there are several pairs of queues.
pub const F_MQ: u64 = 1 << 22;
/// Feature: the address can be set by the control queue.
pub const F_CTRL_MAC_ADDR: u64 = 1 << 23;
/// Feature: notifications can be put off, by the control queue.
pub const F_NOTF_COAL: u64 = 1 << 53;
/// Feature: the driver takes segments of UDP over IPv4.
pub const F_GUEST_USO4: u64 = 1 << 54;
/// Feature: the driver takes segments of UDP over IPv6.
pub const F_GUEST_USO6: u64 = 1 << 55;
/// Feature: the device takes segments of UDP.
pub const F_HOST_USO: u64 = 1 << 56;
/// Feature: hash values are reported for received frames.
pub const F_HASH_REPORT: u64 = 1 << 57;
/// Feature: received frames are spread over queues.
pub const F_RSS: u64 = 1 << 60;
/// Feature: the reports of segments that were merged.
pub const F_RSC_EXT: u64 = 1 << 61;

/// What a device offers only when the far end of the cable knows the header.
pub const OFFLOADS: u64 = F_CSUM
    | F_GUEST_CSUM
    | F_GUEST_TSO4
    | F_GUEST_TSO6
    | F_GUEST_ECN
    | F_GUEST_UFO
    | F_HOST_TSO4
    | F_HOST_TSO6
    | F_HOST_ECN
    | F_HOST_UFO
    | F_GUEST_USO4
    | F_GUEST_USO6
    | F_HOST_USO
    | F_HASH_REPORT
    | F_RSS
    | F_RSC_EXT;

/// What QEMU's network devices offer.
pub const FEATURES: Features = Features {
    must: F_MAC
        | F_MRG_RXBUF
        | F_STATUS
        | F_CTRL_VQ
        | F_CTRL_RX
        | F_CTRL_VLAN
        | F_CTRL_RX_EXTRA
        | F_GUEST_ANNOUNCE
        | F_CTRL_MAC_ADDR,
    may: F_CTRL_GUEST_OFFLOADS | F_MQ | OFFLOADS,
    // A legacy interface has no bits above 31.
    legacy_may: F_CTRL_GUEST_OFFLOADS | F_MQ | F_GSO | OFFLOADS,
};

/// Fields of the configuration (5.1.4): the address, six bytes.
pub const CONFIG_MAC: u64 = 0;
/// The status, 16 bits.
pub const CONFIG_STATUS: u64 = 6;
/// Status: the link is up.
pub const S_LINK_UP: u16 = 1;
/// Status: the driver is to announce itself.
pub const S_ANNOUNCE: u16 = 2;

/// Classes of the control queue (5.1.6.5): modes of the filter, addresses, VLANs, announcements,
/// numbers of queues.
pub const CTRL_RX: u8 = 0;
/// Addresses: the table is command 0, the own address command 1.
pub const CTRL_MAC: u8 = 1;
/// VLANs: one is added by command 0 and taken away by command 1.
pub const CTRL_VLAN: u8 = 2;
/// Announcements: command 0 acknowledges one.
pub const CTRL_ANNOUNCE: u8 = 3;
/// Multiqueue.
pub const CTRL_MQ: u8 = 4;
/// Offloads: command 0 sets which ones are on.
pub const CTRL_GUEST_OFFLOADS: u8 = 5;
/// Answer of the control queue: done.
pub const CTRL_OK: u8 = 0;
/// Answer of the control queue: refused.
pub const CTRL_ERR: u8 = 1;

/// Receive queue.
const RECEIVE: u16 = 0;
/// Transmit queue.
const TRANSMIT: u16 = 1;
/// The control queue of a device of one pair of queues.
const CONTROL: u16 = 2;

/// A network device, through any transport.
pub struct VirtioNet(
    /// The device.
    pub Virtio,
);

interface!(VirtioNet = "virtio-net");

/// The length of the header in bytes, by what was accepted (5.1.6).
fn header_length(accepted: u64) -> usize {
    match accepted {
        _ if accepted & F_HASH_REPORT != 0 => 20,
        _ if accepted & (F_MRG_RXBUF | features::VERSION_1) != 0 => 12,
        _ => 10,
    }
}

/// Takes what is on the cable, whatever it is: a frame of a broken rule may be cut there.
fn drain(vm: &Vm, into: &mut Vec<u8>) -> Result<()> {
    let mut room = [0; 65_536];
    loop {
        match recv(vm.socket(SOCKET.name)?.as_raw_fd(), &mut room, MsgFlags::MSG_DONTWAIT) {
            Ok(0) => return Err(Error::failed("QEMU has closed the cable")),
            Ok(count) => into.extend_from_slice(&room[..count]),
            Err(Errno::EAGAIN) => return Ok(()),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(Error::failed(format!("the cable: {errno}"))),
        }
    }
}

/// A frame to [`PEER`] that the harness must see.
///
/// # Errors
/// No guest memory is left.
pub fn plain(device: &Virtio) -> Result<Plain> {
    let (vm, accepted) = (device.vm().clone(), device.acceptable()?);
    // A cable that is full takes no frame.
    drain(&vm, &mut Vec::new())?;
    let header = vm.ram().alloc(header_length(accepted), 1)?;
    let sent = frame(PEER, MAC, 64, 0x5c);
    let data = vm.ram().alloc(sent.len(), 1)?;
    data.write(0, &sent)?;
    let segments = vec![Segment::readable(&header), Segment::readable(&data)];
    let check = move |written| {
        if written != 0 {
            return Err(Error::failed(format!("a frame was sent, and {written} bytes written")));
        }
        let (mut came, _memory) = (Vec::new(), (&header, &data));
        wait_until(&vm, "the good frame on the cable", || {
            drain(&vm, &mut came)?;
            Ok(memchr::memmem::find(&came, &sent).is_some())
        })
    };
    Ok(Plain { queue: TRANSMIT, segments, check: Box::new(check) })
}

/// A device whose queues are live.
pub struct Live {
    device: Virtio,
    /// What was accepted.
    pub accepted: u64,
    /// The receive queue.
    pub receive: Queue,
    /// The transmit queue.
    pub transmit: Queue,
    control: Option<Queue>,
    buffers: RefCell<BTreeMap<u16, Buffer>>,
}

impl VirtioNet {
    /// Negotiates `wanted`, makes the queues live, and the driver ready.
    ///
    /// # Errors
    /// The device does not agree.
    pub fn start(&self, wanted: u64) -> Result<Live> {
        let accepted = self.0.negotiate(wanted)?;
        let (receive, transmit) =
            (self.0.queue(RECEIVE, accepted)?, self.0.queue(TRANSMIT, accepted)?);
        let control = match accepted & F_CTRL_VQ {
            0 => None,
            _ => Some(self.0.queue(CONTROL, accepted)?),
        };
        self.0.driver_ok()?;
        let (device, buffers) = (self.0.clone(), RefCell::default());
        Ok(Live { device, accepted, receive, transmit, control, buffers })
    }

    /// Starts the device with every feature that it offers and that the driver knows.
    ///
    /// # Errors
    /// As for [`VirtioNet::start`].
    pub fn start_with_everything(&self) -> Result<Live> {
        self.start(self.0.acceptable()?)
    }

    /// The address in the configuration.
    ///
    /// # Errors
    /// The configuration changes meanwhile.
    pub fn address(&self) -> Result<Vec<u8>> {
        self.0.read_still_config(|config| {
            (0..6).map(|at| config.read8(CONFIG_MAC + at)).collect::<Result<_>>()
        })
    }

    /// The status in the configuration.
    ///
    /// # Errors
    /// QEMU does not answer.
    pub fn status(&self) -> Result<u16> {
        self.0.transport().config().read16(CONFIG_STATUS)
    }
}

impl Live {
    /// The byte order of headers and commands.
    pub fn order(&self) -> Endian {
        self.device.transport().byte_order()
    }

    /// The length of the header in bytes.
    pub fn header(&self) -> usize {
        header_length(self.accepted)
    }

    /// Sends a frame, in pieces of these lengths and a last one of the rest, and waits until the
    /// device is done with it.
    ///
    /// # Errors
    /// The device does not use it, or says that it has written something.
    pub fn send(&self, frame: &[u8], pieces: &[usize]) -> Result<()> {
        self.send_with(&[], frame, pieces)
    }

    /// As [`Live::send`], with these bytes at the start of the header.
    ///
    /// # Errors
    /// The device does not use the frame, or says that it has written something.
    pub fn send_with(&self, header: &[u8], frame: &[u8], pieces: &[usize]) -> Result<()> {
        let ram = self.device.vm().ram();
        let (mut rest, mut buffers) = (frame, vec![ram.alloc(self.header(), 1)?]);
        buffers[0].write(0, header)?;
        for &length in pieces.iter().chain([&frame.len()]) {
            let (piece, behind) = rest.split_at(length.min(rest.len()));
            if !piece.is_empty() {
                let buffer = ram.alloc(piece.len(), 1)?;
                buffer.write(0, piece)?;
                buffers.push(buffer);
            }
            rest = behind;
        }
        let id = self.transmit.add(&buffers.iter().map(Segment::readable).collect::<Vec<_>>())?;
        self.transmit.kick()?;
        match self.transmit.wait_used()? {
            used if used.id == id && used.written == 0 => Ok(()),
            used => Err(Error::failed(format!("sent buffer {id}, and {used:?} came back"))),
        }
    }

    /// Gives the device `count` buffers of `length` bytes, header and all, to receive.
    ///
    /// # Errors
    /// The queue is full.
    pub fn offer(&self, length: usize, count: usize) -> Result<()> {
        for _ in 0..count {
            let buffer = self.device.vm().ram().alloc(length, 1)?;
            // What the device does not write is no header of its.
            buffer.write(0, &vec![0xee; length])?;
            let id = self.receive.add(&[Segment::writable(&buffer)])?;
            self.buffers.borrow_mut().insert(id, buffer);
        }
        self.receive.kick().map(|_| ())
    }

    /// Waits for the next frame: the bytes behind its header in all buffers.
    ///
    /// # Errors
    /// None comes, or its header is not that of a plain frame.
    pub fn receive(&self, what: &str) -> Result<Vec<u8>> {
        let (header, frame) = self.receive_with_header(what)?;
        if header[..10].iter().any(|byte| *byte != 0) {
            let why = format!("{what}: the header should tell of no offload: {header:x?}");
            return Err(Error::failed(why));
        }
        Ok(frame)
    }

    /// Waits for the next frame: its header, whatever it says, and the bytes behind that in all
    /// buffers.
    ///
    /// # Errors
    /// None comes, or it is shorter than a header.
    pub fn receive_with_header(&self, what: &str) -> Result<(Vec<u8>, Vec<u8>)> {
        let vm = self.device.vm();
        let mut bytes = Vec::new();
        let mut left = 1;
        while left > 0 {
            let mut used = None;
            wait_until(vm, &format!("a buffer with {what}"), || {
                used = self.receive.take_used()?;
                Ok(used.is_some())
            })?;
            let used = used.ok_or_else(|| Error::failed("a used buffer came and went"))?;
            let buffer = self.buffers.borrow_mut().remove(&used.id);
            let buffer = buffer.ok_or_else(|| Error::failed("a buffer of another queue"))?;
            if bytes.is_empty() {
                left = self.buffers_of(&buffer, what)?;
            }
            bytes.extend_from_slice(&buffer.to_vec()?[..used.written as usize]);
            left -= 1;
        }
        match bytes.len().checked_sub(self.header()) {
            Some(_) => {
                let frame = bytes.split_off(self.header());
                Ok((bytes, frame))
            }
            None => Err(Error::failed(format!("{what}: {} bytes are no header", bytes.len()))),
        }
    }

    /// How many buffers the frame is in whose header is at the start of `buffer`.
    fn buffers_of(&self, buffer: &Buffer, what: &str) -> Result<u16> {
        if self.header() == 10 {
            return Ok(1);
        }
        match buffer.get16(self.order(), 10)? {
            count if self.accepted & F_MRG_RXBUF != 0 => Ok(count),
            1 => Ok(1),
            // Not written: QEMU before 9.2 forgets it where buffers are not merged.
            0xeeee => Ok(1),
            count => Err(Error::failed(format!("{what}: num_buffers is {count}, not 1"))),
        }
    }

    /// Whether a frame has arrived that was not received yet.
    ///
    /// # Errors
    /// QEMU does not answer.
    pub fn nothing_arrived(&self) -> Result<bool> {
        Ok(self.receive.take_used()?.is_none())
    }

    /// Has a command of the control queue carried out; returns the answer.
    ///
    /// # Errors
    /// There is no control queue, or the device does not answer.
    pub fn command(&self, class: u8, command: u8, data: &[u8]) -> Result<u8> {
        let control = self.control.as_ref();
        let control = control.ok_or_else(|| Error::failed("there is no control queue"))?;
        let ram = self.device.vm().ram();
        let (header, answer) = (ram.alloc(2, 1)?, ram.alloc(1, 1)?);
        header.write(0, &[class, command])?;
        answer.write(0, &[0xee])?;
        let mut segments = vec![Segment::readable(&header)];
        let body = ram.alloc(data.len().max(1), 1)?;
        if !data.is_empty() {
            body.write(0, data)?;
            segments.push(Segment::readable(&body));
        }
        segments.push(Segment::writable(&answer));
        let id = control.add(&segments)?;
        control.kick()?;
        match control.wait_used()? {
            used if used.id == id && used.written == 1 => Ok(answer.to_vec()?[0]),
            used => Err(Error::failed(format!("command {id}, and {used:?} came back"))),
        }
    }

    /// Numbers of 16 bits as commands have them.
    pub fn bytes16(&self, value: u16) -> [u8; 2] {
        match self.order() {
            Endian::Little => value.to_le_bytes(),
            Endian::Big => value.to_be_bytes(),
        }
    }

    /// Numbers of 32 bits as commands have them.
    pub fn bytes32(&self, value: u32) -> [u8; 4] {
        match self.order() {
            Endian::Little => value.to_le_bytes(),
            Endian::Big => value.to_be_bytes(),
        }
    }
}
