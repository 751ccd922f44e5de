//! Ethernet as the harness sees it: the far end of a network device's cable, and the frames
//! on it. The devices are their drivers' affair.

use std::cell::RefCell;
use std::rc::Rc;

use super::stream::{Stream, answered};
use super::wait_until;
use crate::graph::QemuArgs;
use crate::qemu::{Socket, Vm};
use crate::{Error, Result};

/// The socket that is the cable.
pub const SOCKET: Socket = Socket::new("net", "hubport,id=net,hubid=0");
/// The option of QEMU that plugs it in, for a device with the property `netdev=net`.
pub const BACKEND: &str = "-netdev socket,id=net,fd={net}";

/// The arguments of a PCI network device that is plugged in and has the address
/// [`MAC`].
pub const PCI_DEVICE: QemuArgs =
    QemuArgs::device("bus={bus},addr={addr},romfile=,mac=02:11:22:33:44:55,netdev=net")
        .before(BACKEND)
        .sockets(&[SOCKET]);

/// What gives a cable to each of a board's own NICs, which all have the address [`MAC`]. Which
/// NIC has which, [`board::Wiring`](super::nic::board::Wiring) finds out: boards count as they
/// like.
pub const BOARD: QemuArgs = QemuArgs::NONE
    .before(
        "-netdev socket,id=net,fd={net} -net nic,netdev=net,macaddr=02:11:22:33:44:55 \
         -netdev socket,id=net1,fd={net1} -net nic,netdev=net1,macaddr=02:11:22:33:44:55 \
         -netdev socket,id=net2,fd={net2} -net nic,netdev=net2,macaddr=02:11:22:33:44:55 \
         -netdev socket,id=net3,fd={net3} -net nic,netdev=net3,macaddr=02:11:22:33:44:55",
    )
    .sockets(&BOARD_SOCKETS);

/// The sockets that are the cables of a board; each is called as its back end.
pub const BOARD_SOCKETS: [Socket; 4] = [
    SOCKET,
    Socket::new("net1", "hubport,id=net1,hubid=1"),
    Socket::new("net2", "hubport,id=net2,hubid=2"),
    Socket::new("net3", "hubport,id=net3,hubid=3"),
];

/// The type of frames by which QEMU says for its cards where they are, after a move (RFC 903).
const RARP: [u8; 2] = [0x80, 0x35];

/// An Ethernet address.
pub type Address = [u8; 6];
/// The address that the devices are given.
pub const MAC: Address = [0x02, 0x11, 0x22, 0x33, 0x44, 0x55];
/// The address of everybody.
pub const BROADCAST: Address = [0xff; 6];
/// The address of one station that the harness plays.
pub const PEER: Address = [0x02, 0xaa, 0xbb, 0xcc, 0xdd, 0xee];

/// The length in bytes of the shortest frame of Ethernet, without its frame check sequence
/// (IEEE 802.3, 4.4.2: minFrameSize less 32 bits).
pub const SHORTEST: usize = 60;
/// The length in bytes of the longest, without frame check sequence and tags.
pub const LONGEST: usize = 1514;

/// A frame of `length` bytes, none of them like its neighbours, nor like those of a frame
/// with another `number`. Its type is one for experiments (IEEE 802, 9.2.4: 88-b5).
pub fn frame(to: Address, from: Address, length: usize, number: u8) -> Vec<u8> {
    let mut frame = [&to[..], &from, &[0x88, 0xb5, number]].concat();
    let payload = (frame.len()..length).map(|at| (at * 37 + at / 256) as u8 ^ number);
    frame.extend(payload);
    frame.truncate(length);
    frame
}

/// The frame check sequence of `frame` (IEEE 802.3, 3.2.9), whose first byte on the cable is the
/// lowest.
pub fn check_sequence(frame: &[u8]) -> u32 {
    let step = |crc: u32, _| crc >> 1 ^ if crc & 1 != 0 { 0xedb8_8320 } else { 0 };
    !frame.iter().fold(!0, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), step))
}

/// The upper six bits of the check sequence over an address as many controllers compute it, the
/// highest bit first and not inverted, by which their hash tables find a group.
pub fn group_hash(address: &Address) -> u32 {
    (!check_sequence(address)).reverse_bits() >> 26
}

/// `frame` without the frame check sequence that it ends with.
///
/// # Errors
/// Returns an error if that is another than the frame's.
pub fn without_check_sequence(mut frame: Vec<u8>) -> Result<Vec<u8>> {
    let sequence = frame.split_off(frame.len().saturating_sub(4));
    if sequence != check_sequence(&frame).to_le_bytes() {
        return Err(Error::failed(format!(
            "a frame of {} bytes with the check sequence {}",
            frame.len(),
            hex::encode(sequence)
        )));
    }
    Ok(frame)
}

/// Asserts that the frame `got` is `expected`; `what` says which frame it is.
#[track_caller]
pub fn assert_frame(got: &[u8], expected: &[u8], what: &str) {
    let differs = got.iter().zip(expected).position(|(got, expected)| got != expected);
    let lengths = (got.len(), expected.len());
    if let Some(at) = differs {
        let (got, expected) = (&got[at..], &expected[at..]);
        let some = |bytes: &[u8]| hex::encode(&bytes[..bytes.len().min(16)]);
        panic!(
            "{what}: of {} bytes, expected {}; from byte {at} on it is {}, not {}",
            lengths.0,
            lengths.1,
            some(got),
            some(expected)
        );
    }
    assert_eq!(lengths.0, lengths.1, "{what}: its length in bytes");
}

/// Asserts that the frame `got` is `sent`, which is shorter than [`SHORTEST`]: as it is, for
/// the cable takes frames of any length, or padded with zeros.
#[track_caller]
pub fn assert_short_frame(got: &[u8], sent: &[u8], what: &str) {
    let mut padded = sent.to_vec();
    padded.resize(SHORTEST, 0);
    assert_frame(got, if got.len() == sent.len() { sent } else { &padded }, what);
}

/// Waits until `received` says that the device has received a frame, and QEMU is through
/// with it: a device writes status, data and causes one after the other, and where RAM is
/// mapped the first shows before the last. `what` says which frame is awaited.
///
/// # Errors
/// As for [`wait_until`].
pub fn wait_received(vm: &Vm, what: &str, received: impl FnMut() -> Result<bool>) -> Result<()> {
    wait_until(vm, &format!("{what}, received"), received)?;
    answered(vm)
}

/// The far end of a network device's cable: the harness is all that is on it.
///
/// On the socket a frame is its length, four bytes, the highest first, and its bytes
/// without the frame check sequence.
pub struct Wire {
    vm: Rc<Vm>,
    cable: Stream,
    /// What has come, whole frames or not.
    arrived: RefCell<Vec<u8>>,
}

impl Wire {
    /// The cable of this machine's network device.
    ///
    /// # Errors
    /// It has none: its device was not started with [`SOCKET`].
    pub fn new(vm: &Rc<Vm>) -> Result<Self> {
        Self::on(vm, SOCKET.name)
    }

    /// The cable that is the socket `name`.
    ///
    /// # Errors
    /// Returns an error if the machine has no socket of that name.
    pub fn on(vm: &Rc<Vm>, name: &'static str) -> Result<Self> {
        let cable = Stream::new(vm, name)?;
        Ok(Self { vm: vm.clone(), cable, arrived: RefCell::default() })
    }

    /// Sends a frame to the device. It is there when this returns, but QEMU may still have to
    /// take it off the cable.
    ///
    /// # Errors
    /// Returns an error if QEMU does not take what was sent before, within the limits of
    /// [`Vm::deadline`].
    pub fn send(&self, frame: &[u8]) -> Result<()> {
        self.send_together(&[frame])
    }

    /// Sends frames to the device as one piece, all of which QEMU finds when it looks at the cable.
    ///
    /// # Errors
    /// Returns an error if QEMU does not take what was sent before, within the limits of
    /// [`Vm::deadline`].
    pub fn send_together<F: AsRef<[u8]>>(&self, frames: &[F]) -> Result<()> {
        let mut bytes = Vec::new();
        for frame in frames {
            let frame = frame.as_ref();
            bytes.extend((frame.len() as u32).to_be_bytes());
            bytes.extend(frame);
        }
        self.cable.send(&bytes, || format!("{} frames to the network device", frames.len()))
    }

    /// Waits for the next frame that the device sends. `what` says which one is awaited, for
    /// the error.
    ///
    /// # Errors
    /// None comes, as for [`wait_until`], or QEMU has closed the socket.
    pub fn receive(&self, what: &str) -> Result<Vec<u8>> {
        let mut frame = None;
        wait_until(&self.vm, &format!("a frame from the network device, {what}"), || {
            frame = self.take(what)?;
            Ok(frame.is_some())
        })?;
        Ok(frame.unwrap_or_default())
    }

    /// Asserts that the device has sent no other frame than those received. It does not wait:
    /// a device that sends later than it is told to needs a frame behind, as a marker.
    ///
    /// # Errors
    /// QEMU does not answer, or has closed the socket.
    #[track_caller]
    pub fn assert_silent(&self, when: &str) -> Result<()> {
        answered(&self.vm)?;
        match self.take(when)? {
            None => Ok(()),
            Some(frame) => panic!(
                "{when}: an unexpected frame of {} bytes: {}",
                frame.len(),
                hex::encode(&frame[..frame.len().min(32)])
            ),
        }
    }

    /// All frames that the device has sent so far, besides those received. It does not wait.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer, or has closed the socket.
    pub fn waiting(&self, when: &str) -> Result<Vec<Vec<u8>>> {
        answered(&self.vm)?;
        std::iter::from_fn(|| self.take(when).transpose()).collect()
    }

    /// The next frame, if all of it has come.
    fn take(&self, what: &str) -> Result<Option<Vec<u8>>> {
        let mut arrived = self.arrived.borrow_mut();
        loop {
            if let Some((length, rest)) = arrived.split_first_chunk::<4>() {
                let length = u32::from_be_bytes(*length) as usize;
                if length <= rest.len() {
                    let frame = rest[..length].to_vec();
                    arrived.drain(..4 + length);
                    // One that follows a move is not the device's.
                    if frame.get(12..14) == Some(&RARP) && self.vm.take_announcement() {
                        continue;
                    }
                    return Ok(Some(frame));
                }
            }
            if !self.cable.take(&mut arrived, what)? {
                return Ok(None);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::Shutdown;
    use std::os::unix::net::UnixStream;
    use std::time::Duration;

    use super::*;
    use crate::protocol;

    /// A wire whose far end, QEMU's, is the test's.
    fn wire() -> (Wire, Rc<Vm>, UnixStream) {
        let (near, far) = UnixStream::pair().expect("a socket");
        let vm = Vm::fake_with_sockets(vec![(SOCKET, near)]).expect("a machine");
        (Wire::new(&vm).expect("it has a cable"), vm, far)
    }

    /// Would catch frames that are taken before they are whole, lost when two come at once,
    /// or mixed up with their lengths.
    #[test]
    fn frames_come_in_pieces() {
        let (wire, _, mut far) = wire();
        assert_eq!(wire.take("none").unwrap(), None);
        for piece in [&[0, 0][..], &[0, 3, 7], &[8]] {
            far.write_all(piece).unwrap();
            assert_eq!(wire.take("a part").unwrap(), None);
        }
        far.write_all(&[9, 0, 0, 0, 1, 5, 0, 0, 0, 0, 0]).unwrap();
        for expected in [&[7, 8, 9][..], &[5], &[]] {
            assert_eq!(wire.receive("the next").unwrap(), expected);
        }
        assert_eq!(wire.take("none").unwrap(), None);
    }

    /// Would catch a length in another byte order, and a machine without cable that is
    /// thought to have one.
    #[test]
    fn a_frame_goes_out_behind_its_length() {
        let (wire, _, mut far) = wire();
        wire.send(&[7; 258]).unwrap();
        let mut sent = [0; 262];
        far.read_exact(&mut sent).unwrap();
        assert_eq!((&sent[..4], &sent[4..]), (&[0, 0, 1, 2][..], &[7; 258][..]));
        let bare = Vm::fake().unwrap();
        let said = Wire::new(&bare).err().map(|e| e.to_string());
        assert_eq!(said.as_deref(), Some("this machine has no socket called net"));
    }

    /// Would catch waiting for ever, or an error that does not tell a QEMU that is busy from
    /// one that is gone.
    #[test]
    fn errors_of_the_cable() {
        let (wire, vm, far) = wire();
        vm.deadline().set_limit(Duration::ZERO);
        let full = (0..10_000).find_map(|_| wire.send(&[0; 1500]).err()).expect("a full socket");
        assert!(matches!(full, Error::Protocol(protocol::Error::Deadline { .. })), "{full}");
        // Not merely closed here: a process that another test starts at this moment may hold a
        // copy until it has become another program.
        far.shutdown(Shutdown::Both).unwrap();
        for gone in [wire.send(&[0]).err(), wire.receive("the first").err()] {
            let gone = gone.expect("an error");
            assert!(matches!(gone, Error::Protocol(protocol::Error::Closed { .. })), "{gone}");
        }
    }

    /// Would catch frames that are not as long as asked for, are not addressed, or cannot be
    /// told apart.
    #[test]
    fn frames_differ_by_number() {
        let (one, two) = (frame(BROADCAST, PEER, 300, 1), frame(BROADCAST, PEER, 300, 2));
        assert_eq!((one.len(), two.len()), (300, 300));
        assert_eq!(
            (&one[..6], &one[6..12], &one[12..14]),
            (&[0xff; 6][..], &PEER[..], &[0x88, 0xb5][..])
        );
        assert!(one[14..].iter().zip(&two[14..]).all(|(one, two)| one != two));
        assert_eq!(frame(BROADCAST, PEER, 14, 1), one[..14]);
        assert_eq!(frame(BROADCAST, PEER, 4, 1), one[..4]);
    }

    /// Would catch a check sequence of another polynomial, order of bits or preset: its value for
    /// these digits is well known.
    #[test]
    fn check_sequences() {
        assert_eq!(check_sequence(b"123456789"), 0xcbf4_3926);
        let frame = frame(BROADCAST, PEER, 60, 1);
        let sent = [&frame[..], &check_sequence(&frame).to_le_bytes()].concat();
        assert_eq!(without_check_sequence(sent.clone()).unwrap(), frame);
        let wrong = [&sent[..63], &[sent[63] ^ 1]].concat();
        for wrong in [&wrong[..], &frame, &[1, 2]] {
            assert!(without_check_sequence(wrong.to_vec()).is_err(), "{}", hex::encode(wrong));
        }
    }

    /// Would catch a comparison that overlooks a byte or a missing end.
    #[test]
    fn a_frame_is_compared_whole() {
        let sent = frame(BROADCAST, PEER, 60, 1);
        let said = |got: &[u8]| {
            let panic = std::panic::catch_unwind(|| assert_frame(got, &sent, "it")).unwrap_err();
            panic.downcast_ref::<String>().cloned().unwrap_or_default()
        };
        assert_frame(&sent, &sent, "it");
        let mut wrong = sent.clone();
        wrong[59] ^= 1;
        assert!(said(&wrong).contains("from byte 59 on it is"), "{}", said(&wrong));
        assert!(said(&sent[..59]).contains("its length"), "{}", said(&sent[..59]));
        assert_short_frame(&sent[..42], &sent[..42], "as it is");
        assert_short_frame(&[&sent[..42], &[0; 18]].concat(), &sent[..42], "padded");
        let cut = std::panic::catch_unwind(|| assert_short_frame(&[0; 41], &[0; 42], "cut"));
        assert!(cut.is_err(), "a short frame that is cut");
    }
}
