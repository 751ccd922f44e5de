//! The 10/100 Ethernet controller of Nuvoton's NPCM7xx, which is that of its NUC970 (NUC970
//! technical reference manual, 5.23, whose registers are cited).

use std::rc::Rc;

use crate::graph::{Discovered, FoundDevice, Produces};
use crate::qemu::Vm;
use crate::qos::net::{self, Address};
use crate::qos::nic::board::Wiring;
use crate::qos::nic::rings::{Layout, Ring, Rings};
use crate::qos::nic::{
    Attack, EventBits, Events, Filter, Groups, Limits, Nic, Overrun, Promise, RingNic, Started,
};
use crate::qos::registers::{
    AnyRegister, Fault, Mmio, Register, RegisterBlock, Registers, RegistersExt, Rule,
};
use crate::{Error, Result, discovered, driver, nic};

/// CAM command: which frames are received.
pub const CAMCMR: Register<u32> =
    Register::new("CAMCMR", 0x00).section("5.23").reset(0).kept(0x1f).reserved(0xffff_ffe0);
/// Which of sixteen addresses are on.
pub const CAMEN: Register<u32> =
    Register::new("CAMEN", 0x04).section("5.23").reset(0).kept(0xffff).reserved(0xffff_0000);
/// The upper four bytes of the first of sixteen addresses.
pub const CAMM: Register<u32> =
    Register::new("CAMxM", 0x08).section("5.23").reset(0).kept(0xffff_ffff);
/// The lower two bytes of it.
pub const CAML: Register<u32> =
    Register::new("CAMxL", 0x0c).section("5.23").reset(0).kept(0xffff_0000).reserved(0xffff);
/// Where the transmit list begins.
pub const TXDLSA: Register<u32> = Register::new("TXDLSA", 0x88)
    .section("5.23")
    .reset(0xffff_fffc)
    .kept(0xffff_fffc)
    .reserved(0b11);
/// Where the receive list begins.
pub const RXDLSA: Register<u32> = TXDLSA.above(4).named("RXDLSA");
/// MAC command.
pub const MCMDR: Register<u32> = Register::new("MCMDR", 0x90)
    .section("5.23")
    .reset(0)
    .kept(0x000e_023e)
    .acts(0x0131_0101)
    .reserved(0xfec0_fcc0);
/// The PHY's data.
pub const MIID: Register<u32> =
    Register::new("MIID", 0x94).section("5.23").reset(0).kept(0xffff).reserved(0xffff_0000);
/// An access to the PHY.
pub const MIIDA: Register<u32> = Register::new("MIIDA", 0x98)
    .section("5.23")
    .reset(0x0090_0000)
    .kept(0x1f1f)
    .volatile(1 << 17)
    .reserved(0xfffd_e0e0);
/// FIFO thresholds.
pub const FFTCR: Register<u32> = Register::new("FFTCR", 0x9c)
    .section("5.23")
    .reset(0x0101)
    .kept(0x0030_0303)
    .reserved(0xffcf_fcfc);
/// Has it look at the transmit list.
pub const TSDR: Register<u32> =
    Register::new("TSDR", 0xa0).section("5.23").write_only().side_effect();
/// Has it look at the receive list.
pub const RSDR: Register<u32> =
    Register::new("RSDR", 0xa4).section("5.23").write_only().side_effect();
/// The longest frame that is received.
pub const DMARFC: Register<u32> =
    Register::new("DMARFC", 0xa8).section("5.23").reset(0x0800).kept(0xffff).reserved(0xffff_0000);
/// Interrupt enable.
pub const MIEN: Register<u32> =
    Register::new("MIEN", 0xac).section("5.23").reset(0).kept(0x01ff_7fff).reserved(0xfe00_8000);
/// Interrupt status.
pub const MISTA: Register<u32> =
    Register::new("MISTA", 0xb0).section("5.23").reset(0).volatile(0xffff_ffff).side_effect();
/// General status.
pub const MGSTA: Register<u32> =
    Register::new("MGSTA", 0xb4).section("5.23").reset(0).volatile(0xffff_ffff).side_effect();
/// Missed frames.
pub const MPCNT: Register<u32> =
    Register::new("MPCNT", 0xb8).section("5.23").reset(0x7fff).volatile(0xffff).side_effect();
/// Where the next transmit descriptor is, and the buffer of this one; then the same of receiving.
pub const CTXDSA: Register<u32> =
    Register::new("CTXDSA", 0xcc).section("5.23").reset(0).read_only();
/// The buffer of the transmit descriptor that is worked on.
pub const CTXBSA: Register<u32> = CTXDSA.above(4).named("CTXBSA");
/// Where the receive descriptor is that is next.
pub const CRXDSA: Register<u32> = CTXDSA.above(8).named("CRXDSA");
/// The buffer of the receive descriptor that is worked on.
pub const CRXBSA: Register<u32> = CTXDSA.above(12).named("CRXBSA");

/// All registers.
const TABLE: &[&dyn AnyRegister] = &[
    &CAMCMR, &CAMEN, &CAMM, &CAML, &TXDLSA, &RXDLSA, &MCMDR, &MIID, &MIIDA, &FFTCR, &TSDR, &RSDR,
    &DMARFC, &MIEN, &MISTA, &MGSTA, &MPCNT, &CTXDSA, &CTXBSA, &CRXDSA, &CRXBSA,
];

/// What QEMU does otherwise.
const FAULTS: &[Fault] = &[
    Fault::new(
        &["CAMEN"],
        &[Rule::Kept],
        "npcm7xx-emc: only the first of sixteen addresses is there",
    )
    .bits(0xfffe),
    Fault::new(
        &["CAMxM", "CAMxL"],
        &[Rule::ResetValue, Rule::SoftwareReset, Rule::MachineReset],
        "npcm7xx-emc: a reset puts the address of the command line into the first entry",
    )
    .since(8, 0),
    Fault::new(&["MIID"], &[Rule::Kept], "npcm7xx-emc: QEMU has no PHY, and MIID reads as zero"),
    Fault::new(&["FFTCR"], &[Rule::Kept], "npcm7xx-emc: QEMU has no FIFO thresholds"),
];

/// MCMDR: a reset by software; an internal loop; full duplex; the transmitter; check sequences are
/// taken off; long frames; short frames; the receiver.
const RESET: u32 = 1 << 24;
/// MCMDR: full duplex.
const FULL_DUPLEX: u32 = 1 << 18;
/// MCMDR: the transmitter.
pub const TXON: u32 = 1 << 8;
/// MCMDR: check sequences are taken off.
pub const STRIP: u32 = 1 << 5;
/// MCMDR: frames shorter than 64 bytes are received.
const RUNTS: u32 = 1 << 2;
/// MCMDR: frames longer than 1,518 bytes are received.
pub const LONG: u32 = 1 << 1;
/// MCMDR: the receiver.
pub const RXON: u32 = 1 << 0;

/// CAMCMR: addresses are compared; complemented; broadcasts; groups; stations.
const COMPARE: u32 = 1 << 4;
/// CAMCMR: what matches is not received, and all else is.
pub const COMPLEMENT: u32 = 1 << 3;
/// CAMCMR: broadcasts.
pub const BROADCASTS: u32 = 1 << 2;
/// CAMCMR: all groups.
const GROUPS: u32 = 1 << 1;
/// CAMCMR: all stations.
const STATIONS: u32 = 1 << 0;

/// MISTA, MIEN.
const EVENTS: EventBits = EventBits {
    sent: 1 << 18,
    received: 1 << 4,
    overrun: 1 << 10,
    link: 0,
    // Summaries of both directions; no transmit descriptor; the type of a frame came.
    besides: 1 << 16 | 1 | 1 << 23 | 1 << 9,
};
/// MISTA, MIEN: memory could not be read, or not be written.
pub const BUS_ERRORS: u32 = 1 << 24 | 1 << 11;
/// MISTA: a frame was longer than DMARFC says, or than 1,518 bytes.
pub const TOO_LONG: u32 = 1 << 8 | 1 << 3;
/// MIEN: interrupts of both directions.
const SUMMARIES: u32 = 1 << 16 | 1;

/// Descriptors: the device's.
pub const OWN: u32 = 1 << 31;
/// Transmit descriptor, first word: interrupts, appends the check sequence.
const SEND: u32 = 0b110;
/// Transmit descriptor, first word: pads.
const PAD: u32 = 1;
/// Transmit descriptor, third word: sent.
const SENT: u32 = 1 << 19;
/// Receive descriptor: a whole frame; it interrupted; it is longer than 1,518 bytes.
const GOOD: u32 = 1 << 20;
/// Receive descriptor: it interrupted.
const INTERRUPTED: u32 = 1 << 16;
/// Receive descriptor: longer than 1,518 bytes.
pub const WAS_LONG: u32 = 1 << 19;

/// How many descriptors each ring has, their bytes, and the bytes of a buffer.
const RINGS: (usize, usize, usize) = (8, 16, 0x800);

/// The descriptors: four words, the last of which is where the next descriptor is.
pub struct Words;

impl Layout for Words {
    fn put(&self, ring: &Ring, index: usize, buffer: u64, length: usize) -> Result<()> {
        ring.set_word(index, 1, buffer as u32)?;
        ring.set_word(index, 2, length as u32 & 0xffff)?;
        ring.set_word(index, 3, ring.address_of(index + 1) as u32)?;
        // Frames that need no padding are sent without, for QEMU pads them to 64 bytes.
        let pads = if length < net::SHORTEST { PAD } else { 0 };
        ring.set_word(index, 0, OWN | SEND | pads)
    }

    fn is_sent(&self, ring: &Ring, index: usize) -> Result<bool> {
        let (flags, status) = (ring.word(index, 0)?, ring.word(index, 2)?);
        match (flags & OWN, status & SENT) {
            (OWN, _) => Ok(false),
            (_, SENT) => Ok(true),
            _ => Err(Error::failed(format!("a frame sent with the status {status:#010x}"))),
        }
    }

    fn give(&self, ring: &Ring, index: usize, buffer: u64) -> Result<()> {
        ring.set_word(index, 1, buffer as u32)?;
        ring.set_word(index, 3, ring.address_of(index + 1) as u32)?;
        ring.set_word(index, 0, OWN)
    }

    fn received(&self, ring: &Ring, index: usize) -> Result<Option<usize>> {
        let status = ring.word(index, 0)?;
        if status & OWN != 0 {
            return Ok(None);
        }
        if status & !(0xffff | INTERRUPTED) != GOOD {
            return Err(Error::failed(format!("a frame with the status {status:#010x}")));
        }
        Ok(Some((status & 0xffff) as usize))
    }
}

/// QEMU's `npcm7xx-emc`.
pub struct Npcm7xxEmc {
    registers: Rc<Mmio>,
    wiring: Wiring,
    rings: Started<Rings>,
}

impl Npcm7xxEmc {
    /// Its registers.
    pub fn registers(&self) -> &dyn Registers {
        &*self.registers
    }

    /// Sets these bits of MCMDR, and no others of `mask`.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    pub fn command(&self, mask: u32, bits: u32) -> Result<()> {
        let command = self.registers.get(MCMDR)? & !mask;
        self.registers.set(MCMDR, command | bits)
    }

    fn set_address(&self, index: u64, [a, b, c, d, e, f]: Address) -> Result<()> {
        self.registers.set(CAMM.nth(index, 8), u32::from_be_bytes([a, b, c, d]))?;
        self.registers.set(CAML.nth(index, 8), u32::from_be_bytes([e, f, 0, 0]))
    }
}

impl Nic for Npcm7xxEmc {
    fn started(&self) -> Option<&Started<Rings>> {
        Some(&self.rings)
    }

    fn wiring(&self) -> Option<&Wiring> {
        Some(&self.wiring)
    }

    fn limits(&self) -> Limits {
        Limits {
            // The controller stops at a descriptor that is the driver's.
            transmit: RINGS.0 - 1,
            receive: RINGS.0,
            longest_sent: 1514,
            longest_received: 1514,
            too_long: Some(1515),
            pads: true,
            overrun: Overrun::Stops,
            link_event: false,
            ..Limits::PLAIN
        }
    }

    fn known_fault(&self, _: &Vm, promise: Promise) -> Option<&'static str> {
        match promise {
            Promise::CheckSequence => {
                Some("npcm7xx-emc: the check sequence behind a frame is of another start value")
            }
            Promise::PinAfterReset => Some("npcm7xx-emc: a reset leaves the interrupt line high"),
            _ => None,
        }
    }

    fn start(&self, vm: &Rc<Vm>) -> Result<()> {
        self.reset(vm)?;
        let rings = Rings::new(vm, Words, RINGS, true)?;
        self.registers.set(TXDLSA, rings.transmit.address() as u32)?;
        self.registers.set(RXDLSA, rings.receive.address() as u32)?;
        self.rings.set(rings);
        self.set_filter(&Filter::PLAIN)?;
        self.registers.set(MCMDR, FULL_DUPLEX | RUNTS | TXON | RXON)?;
        self.registers.set(RSDR, 1)?;
        self.registers.set(MISTA, !0)
    }

    fn reset(&self, _: &Rc<Vm>) -> Result<()> {
        self.registers.set(MCMDR, RESET)?;
        match self.registers.get(MCMDR)? & RESET {
            0 => Ok(()),
            _ => Err(Error::failed("MCMDR: a reset by software does not end")),
        }
    }

    fn remapped(&self) -> Result<Rc<dyn Nic>> {
        let (registers, wiring) = (self.registers.clone(), self.wiring.clone());
        Ok(Rc::new(Self { registers, wiring, rings: Started::default() }))
    }

    fn station_address(&self) -> Result<Address> {
        let [a, b, c, d] = self.registers.get(CAMM)?.to_be_bytes();
        let [e, f, ..] = self.registers.get(CAML)?.to_be_bytes();
        Ok([a, b, c, d, e, f])
    }

    fn set_filter(&self, filter: &Filter) -> Result<()> {
        self.set_address(0, filter.own)?;
        let mut enabled = 1;
        let groups = match filter.groups {
            Groups::None => 0,
            Groups::All => GROUPS,
            Groups::One(group) => {
                self.set_address(1, group)?;
                enabled |= 2;
                0
            }
        };
        self.registers.set(CAMEN, enabled)?;
        let broadcasts = if filter.broadcast { BROADCASTS } else { 0 };
        let stations = if filter.foreign { STATIONS } else { 0 };
        self.registers.set(CAMCMR, COMPARE | broadcasts | groups | stations)
    }

    fn send(&self) -> Result<()> {
        self.registers.set(TSDR, 1)
    }

    fn recycle(&self) -> Result<()> {
        self.rings.get()?.recycle()?;
        self.registers.set(RSDR, 1)
    }

    fn unmask(&self, events: Events) -> Result<()> {
        let summaries = if events == Events::NONE { 0 } else { SUMMARIES };
        self.registers.set(MIEN, EVENTS.of(events) | summaries)
    }

    fn events(&self) -> Result<Events> {
        let status = self.registers.get(MISTA)?;
        self.registers.set(MISTA, status)?;
        EVENTS.events(status & !TOO_LONG)
    }

    fn link_is_up(&self) -> Result<Option<bool>> {
        Ok(None)
    }
}

impl RingNic for Npcm7xxEmc {
    fn base(&self) -> u64 {
        self.registers.base()
    }

    fn attack(&self, attack: Attack) -> Result<()> {
        match attack {
            Attack::Rings(at) => {
                self.command(TXON | RXON, 0)?;
                self.registers.set(TXDLSA, at as u32)?;
                self.registers.set(RXDLSA, at as u32)?;
                self.command(0, TXON | RXON)?;
            }
            Attack::Buffers { at, length } => self.rings.get()?.fill(at, length)?,
        }
        self.registers.set(RSDR, 1)
    }
}

impl Produces<RegisterBlock> for Npcm7xxEmc {
    fn produced(self: Rc<Self>) -> Rc<RegisterBlock> {
        let block = RegisterBlock::new("NUC970", self.registers.clone(), TABLE)
            .software_reset(|registers| registers.set(MCMDR, RESET))
            .faults(FAULTS);
        Rc::new(block)
    }
}

impl Discovered for Npcm7xxEmc {
    const QOM_TYPES: &'static [&'static str] = &["npcm7xx-emc"];

    fn found(device: &FoundDevice, vm: &Rc<Vm>) -> Result<Self> {
        let registers = Rc::new(Mmio::new(vm, device.base()?, vm.endian()?));
        let wiring = Wiring::with_lines(device, vm, 2);
        Ok(Self { registers, wiring, rings: Started::default() })
    }
}

nic!(Npcm7xxEmc: Nic, RingNic; with net::BOARD);
driver!(Npcm7xxEmc = "npcm7xx-emc"; produces dyn Nic, dyn RingNic, RegisterBlock);
discovered!(Npcm7xxEmc);
