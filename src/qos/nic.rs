//! Network interface controllers as a class: [`Nic`] shows what a test of Ethernet frames
//! needs of any of them: frames, a filter, events, the link. Registers and descriptors are
//! known to the drivers alone; [`Wire`](super::net::Wire) is the other end of the cable. The
//! parts that the NICs of boards share are in [`board`] and [`rings`], serial EEPROMs in
//! [`microwire`], published hashes in [`scaling`]. [`nic!`](crate::nic) has a driver produce these interfaces.

pub mod board;
pub mod microwire;
pub mod rings;
pub mod scaling;

use std::cell::{Ref, RefCell};
use std::rc::Rc;

use self::board::Wiring;
use self::rings::Rings;
use super::interrupt::InterruptLine;
use super::net::{Address, MAC, SOCKET};
use super::pci::PciDevice;
use crate::qemu::{Buffer, Vm};
use crate::{Error, Result, interface};

/// Which frames a NIC receives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Filter {
    /// The station's own address, whose frames are always received.
    pub own: Address,
    /// Whether broadcasts are received.
    pub broadcast: bool,
    /// Which multicast frames are received.
    pub groups: Groups,
    /// Whether the frames of all other stations are received.
    pub foreign: bool,
}

/// Which multicast frames a NIC receives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Groups {
    /// None.
    None,
    /// Those to one address, and to others of the same hash.
    One(Address),
    /// All.
    All,
}

impl Filter {
    /// Own frames and broadcasts.
    pub const PLAIN: Self =
        Self { own: MAC, broadcast: true, groups: Groups::None, foreign: false };
    /// Own frames and no others.
    pub const OWN: Self = Self { broadcast: false, ..Self::PLAIN };
    /// Every frame.
    pub const PROMISCUOUS: Self = Self { groups: Groups::All, foreign: true, ..Self::PLAIN };
}

/// What a NIC reports, and can interrupt for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Events {
    /// Frames were sent.
    pub sent: bool,
    /// Frames were received.
    pub received: bool,
    /// A frame came for which there was no descriptor, or the last descriptor was used.
    pub overrun: bool,
    /// The link went up or down.
    pub link: bool,
}

impl Events {
    /// No event.
    pub const NONE: Self = Self { sent: false, received: false, overrun: false, link: false };
    /// Every event.
    pub const ALL: Self = Self { sent: true, received: true, overrun: true, link: true };
    /// Frames were sent, and nothing else.
    pub const SENT: Self = Self { sent: true, ..Self::NONE };
    /// Frames were received, and nothing else.
    pub const RECEIVED: Self = Self { received: true, ..Self::NONE };
    /// The link changed, and nothing else.
    pub const LINK: Self = Self { link: true, ..Self::NONE };
}

/// The bits of a register that report events, and in another mask them.
#[derive(Debug, Clone, Copy)]
pub struct EventBits {
    /// Frames were sent.
    pub sent: u32,
    /// Frames were received.
    pub received: u32,
    /// A frame came for which there was no descriptor.
    pub overrun: u32,
    /// The link changed; zero if that is not reported.
    pub link: u32,
    /// What may come besides.
    pub besides: u32,
}

impl EventBits {
    /// The bits of `events`.
    pub fn of(&self, events: Events) -> u32 {
        let bits = |on: bool, bits: u32| if on { bits } else { 0 };
        bits(events.sent, self.sent)
            | bits(events.received, self.received)
            | bits(events.overrun, self.overrun)
            | bits(events.link, self.link)
    }

    /// The events that `status` reports.
    ///
    /// # Errors
    /// Returns an error if it reports something else besides.
    pub fn events(&self, status: u32) -> Result<Events> {
        let other = status & !(self.of(Events::ALL) | self.besides);
        if other != 0 {
            return Err(Error::failed(format!(
                "the device reports {status:#x}, in which {other:#x} should not be"
            )));
        }
        Ok(Events {
            sent: status & self.sent != 0,
            received: status & self.received != 0,
            overrun: status & self.overrun != 0,
            link: status & self.link != 0,
        })
    }
}

/// What becomes of a frame for which there is no descriptor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overrun {
    /// It waits for one, at least as one of a few.
    Waits,
    /// It is discarded, and [`Events::overrun`] reported.
    Discards,
    /// As [`Overrun::Discards`], but the receiver stops with that: what comes after it waits until
    /// descriptors are recycled.
    Stops,
}

/// What a NIC, set up by [`Nic::start`], is able to do. Lengths are in bytes, without the frame
/// check sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// How many frames can be queued and sent at once.
    pub transmit: usize,
    /// How many frames of [`LONGEST`](super::net::LONGEST) bytes can be received before any is
    /// recycled.
    pub receive: usize,
    /// The longest frame that is surely sent.
    pub longest_sent: usize,
    /// The longest frame that is surely received.
    pub longest_received: usize,
    /// The shortest frame that is too long to be received, if there is one.
    pub too_long: Option<usize>,
    /// Whether frames shorter than [`SHORTEST`](super::net::SHORTEST) are padded with zeros when
    /// they are sent.
    pub pads: bool,
    /// What becomes of a frame for which there is no descriptor.
    pub overrun: Overrun,
    /// Whether each event has a mask of its own; if not, unmasking one unmasks all.
    pub single_masks: bool,
    /// Whether a change of the link is an event.
    pub link_event: bool,
    /// Whether an event that happens while it is masked is pending when it is unmasked.
    pub latches_masked: bool,
    /// Whether it reads and writes guest memory itself, as a bus master does.
    pub masters: bool,
    /// Whether it has a FIFO instead of descriptors: a frame that is taken frees its place, without
    /// being recycled.
    pub fifo: bool,
    /// Whether [`Events::received`] is reported as long as frames are there that were not taken,
    /// and cannot be acknowledged otherwise than by taking them.
    pub received_is_level: bool,
    /// To how many bytes a shorter frame is padded with zeros when it is received; zero if it is
    /// received as it was sent.
    pub pads_received_to: usize,
}

impl Limits {
    /// The limits of a NIC with nothing of its own, but for its rings: frames with a tag, no
    /// padding, frames that wait for descriptors.
    pub const PLAIN: Self = Self {
        transmit: 0,
        receive: 0,
        longest_sent: 1518,
        longest_received: 1518,
        too_long: None,
        pads: false,
        overrun: Overrun::Waits,
        single_masks: true,
        link_event: true,
        latches_masked: true,
        masters: true,
        fifo: false,
        received_is_level: false,
        pads_received_to: 0,
    };
}

/// What every NIC of a class promises, and some device of QEMU does not keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Promise {
    /// Broadcasts are not received if they are not asked for.
    NoBroadcast,
    /// Short frames are padded as [`Limits::pads`] says.
    Pads,
    /// Nothing is sent while the function is no bus master.
    SilentWithoutMaster,
    /// A reset by software stops everything and takes back the interrupt.
    SoftwareReset,
    /// A reset of the machine restores the address.
    AddressAfterReset,
    /// A reset takes back the interrupt.
    PinAfterReset,
    /// An overrun is reported.
    OverrunEvent,
    /// The frame check sequence that is stored with a frame is the frame's.
    CheckSequence,
    /// A frame is received with the length that it was sent with.
    LengthReceived,
    /// What loops back is not sent out of the cable, and nothing is received from there.
    ClosedLoop,
}

/// What a guest that breaks the rules does to a [`RingNic`] that was started.
#[derive(Debug, Clone, Copy)]
pub enum Attack {
    /// Both rings begin at this guest-physical address.
    Rings(u64),
    /// All descriptors of both rings are the device's.
    Buffers {
        /// The guest-physical address of all their buffers.
        at: u64,
        /// The length in bytes of what is to be sent from each, cut to what a descriptor can hold.
        length: usize,
    },
}

/// A network interface controller whose cable is a [`Wire`](super::net::Wire). Until
/// [`Nic::start`] it neither sends nor receives, and the methods that move frames fail.
pub trait Nic {
    /// Its function on the PCI bus, if it is on one.
    fn function(&self) -> Option<&PciDevice> {
        None
    }

    /// Where its driver holds its rings, if these are [`Rings`]. The methods that move frames work
    /// on them then, unless the driver has its own.
    fn started(&self) -> Option<&Started<Rings>> {
        None
    }

    /// Its rings.
    ///
    /// # Errors
    /// Returns an error if it has no [`Rings`], or was not started.
    fn rings(&self) -> Result<Ref<'_, Rings>> {
        self.started().ok_or_else(|| Error::failed("the device has no such rings"))?.get()
    }

    /// How it is wired, if it is a board's own.
    fn wiring(&self) -> Option<&Wiring> {
        None
    }

    /// Its interrupt lines, watched from now on, if it is on no PCI bus; none if QEMU cannot watch
    /// them.
    ///
    /// # Errors
    /// Returns an error if another device's lines are watched.
    fn lines(&self) -> Result<Vec<InterruptLine>> {
        self.wiring().map_or(Ok(Vec::new()), Wiring::lines)
    }

    /// The socket that is its cable.
    ///
    /// # Errors
    /// Returns [`Error::Skipped`] if it has none.
    fn cable(&self) -> Result<&'static str> {
        self.wiring().map_or(Ok(SOCKET.name), Wiring::cable)
    }

    /// Has it receive what it sends, or takes that back. Returns `false` if it cannot.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    fn set_loopback(&self, _: bool) -> Result<bool> {
        Ok(false)
    }

    /// The frame check sequence that was stored with the frame [taken](Nic::take) last, as bytes
    /// on the cable; `None` if the device stores none.
    ///
    /// # Errors
    /// Returns an error if no frame was taken.
    fn check_sequence(&self) -> Result<Option<[u8; 4]>> {
        self.started().map_or(Ok(None), |rings| Ok(rings.get()?.check_sequence()))
    }

    /// What it is able to do.
    fn limits(&self) -> Limits;

    /// Why the device of this emulator is known to break `promise`. A test asks when it sees the
    /// promise broken, and is skipped with this reason.
    fn known_fault(&self, _: &Vm, _: Promise) -> Option<&'static str> {
        None
    }

    /// Resets it by software, sets up its rings and lets it send and receive, with
    /// [`Filter::PLAIN`], all interrupts masked and no event pending. All receive descriptors are
    /// the device's then.
    ///
    /// # Errors
    /// Returns an error if the device does not do it, or no guest memory is left.
    fn start(&self, vm: &Rc<Vm>) -> Result<()>;

    /// Resets it by software: it neither sends nor receives, and does not interrupt.
    ///
    /// # Errors
    /// Returns an error if the reset does not end.
    fn reset(&self, vm: &Rc<Vm>) -> Result<()>;

    /// The same device after a reset of the machine, mapped again.
    ///
    /// # Errors
    /// Returns an error if it cannot be mapped.
    fn remapped(&self) -> Result<Rc<dyn Nic>>;

    /// The station's own address as the device has it.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    fn station_address(&self) -> Result<Address>;

    /// Receives the frames that `filter` lets in, and no others. What is in flight meanwhile may
    /// be lost.
    ///
    /// # Errors
    /// Returns an error if the device does not take the filter.
    fn set_filter(&self, filter: &Filter) -> Result<()>;

    /// Puts a frame into the next transmit descriptor. The device is not told yet.
    ///
    /// # Errors
    /// Returns an error if the frame is too long for a descriptor.
    fn queue(&self, frame: &[u8]) -> Result<()> {
        self.rings()?.queue(frame).map(drop)
    }

    /// Tells the device to send what is queued.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    fn send(&self) -> Result<()>;

    /// How many frames more the device has reported as sent since this was asked.
    ///
    /// # Errors
    /// Returns an error if a descriptor has the status of an error.
    fn sent(&self) -> Result<usize> {
        self.rings()?.sent()
    }

    /// How many frames the device has reported as received that were not taken yet. It may still
    /// be writing the last of them until QEMU has answered a request, as
    /// [`wait_received`](super::net::wait_received) knows.
    ///
    /// # Errors
    /// Returns an error if a descriptor has another status than that of a whole frame.
    fn arrived(&self) -> Result<usize> {
        self.rings()?.arrived()
    }

    /// Takes the next of the frames that have [`arrived`](Nic::arrived), without its frame check
    /// sequence.
    ///
    /// # Errors
    /// Returns an error if none has arrived, or if its descriptor reports an error.
    fn take(&self) -> Result<Vec<u8>> {
        self.rings()?.take()
    }

    /// Gives back to the device the descriptors of all frames that were [taken](Nic::take).
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    fn recycle(&self) -> Result<()>;

    /// Lets the device interrupt for these events only.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    fn unmask(&self, events: Events) -> Result<()>;

    /// The events that are pending, masked or not, which are acknowledged by that.
    ///
    /// # Errors
    /// Returns an error if the device reports something else besides.
    fn events(&self) -> Result<Events>;

    /// Whether the link is up, if the device says so.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    fn link_is_up(&self) -> Result<Option<bool>>;

    /// What is in all memory that the device may write.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    fn memory(&self) -> Result<Vec<u8>> {
        self.rings()?.memory()
    }
}

interface!(dyn Nic = "nic");

/// A NIC with rings of descriptors, whose driver can break their rules.
pub trait RingNic: Nic {
    /// The guest-physical address of its registers.
    fn base(&self) -> u64;

    /// Breaks the rules while it runs, and has it look at its receive ring.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    fn attack(&self, attack: Attack) -> Result<()>;
}

interface!(dyn RingNic = "nic-rings");

/// Has a driver that is a [`Nic`], or a [`RingNic`] as well, produce itself as such. What the
/// command line needs for it stands at the end: [`BOARD`](super::net::BOARD) for a NIC of a board.
///
/// ```ignore
/// nic!(Rtl8139: Nic);
/// nic!(Ftgmac100: Nic, RingNic; with net::BOARD);
/// ```
#[macro_export]
macro_rules! nic {
    ($t:ty: $($interface:ident),+ $(; with $arguments:expr)?) => {
        $crate::nic!(@each $t; [$($interface)+] $(; $arguments)?);
    };
    (@each $t:ty; [$interface:ident $($more:ident)*] $(; $arguments:expr)?) => {
        impl $crate::graph::Produces<dyn $crate::qos::nic::$interface> for $t {
            $(const ARGS: $crate::graph::QemuArgs = $arguments;)?

            fn produced(
                self: std::rc::Rc<Self>,
            ) -> std::rc::Rc<dyn $crate::qos::nic::$interface> {
                self
            }
        }
        $crate::nic!(@each $t; [$($more)*] $(; $arguments)?);
    };
    (@each $t:ty; [] $(; $arguments:expr)?) => {};
}

/// What a driver holds from [`Nic::start`] on, such as rings and its places in them.
pub struct Started<T>(RefCell<Option<T>>);

impl<T> Default for Started<T> {
    fn default() -> Self {
        Self(RefCell::new(None))
    }
}

impl<T> Started<T> {
    /// Holds `parts` from now on, instead of what was held before.
    pub fn set(&self, parts: T) {
        self.0.replace(Some(parts));
    }

    /// What is held.
    ///
    /// # Errors
    /// Returns an error if the device was not started.
    pub fn get(&self) -> Result<Ref<'_, T>> {
        let parts = Ref::filter_map(self.0.borrow(), Option::as_ref);
        parts.map_err(|_| Error::failed("the network device was not started"))
    }
}

/// What is in these buffers, one after the other.
///
/// # Errors
/// Returns an error if QEMU does not answer.
pub fn contents<'a>(buffers: impl IntoIterator<Item = &'a Buffer>) -> Result<Vec<u8>> {
    let all = buffers.into_iter().map(Buffer::to_vec).collect::<Result<Vec<_>>>()?;
    Ok(all.concat())
}
