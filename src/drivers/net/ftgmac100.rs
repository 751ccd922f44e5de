//! Faraday's FTGMAC100 as Aspeed's SoCs have it (Aspeed AST2500 Software Programming Guide,
//! chapter 15, "10/100/1000M bits Ethernet MAC Controller").

use std::rc::Rc;

use crate::graph::{Discovered, FoundDevice, Produces};
use crate::qemu::Vm;
use crate::qos::net::{self, Address};
use crate::qos::nic::board::Wiring;
use crate::qos::nic::rings::{Layout, Ring, Rings};
use crate::qos::nic::{
    Attack, EventBits, Events, Filter, Groups, Limits, Nic, Promise, RingNic, Started,
};
use crate::qos::registers::{
    AnyRegister, Fault, Mmio, Register, RegisterBlock, Registers, RegistersExt, Rule,
};
use crate::{Error, Result, discovered, driver, nic};

/// Interrupt status.
pub const STATUS: Register<u32> =
    Register::new("MAC00", 0x00).section("15.3").reset(0).side_effect();
/// Interrupt enable.
pub const ENABLE: Register<u32> =
    Register::new("MAC04", 0x04).section("15.3").reset(0).kept(0x7ff).reserved(0xffff_f800);
/// The upper two bytes of the address.
pub const ADDRESS_HIGH: Register<u32> =
    Register::new("MAC08", 0x08).section("15.3").reset(0).kept(0xffff).survives_software_reset();
/// The lower four bytes of the address.
pub const ADDRESS_LOW: Register<u32> = Register::new("MAC0C", 0x0c)
    .section("15.3")
    .reset(0)
    .kept(0xffff_ffff)
    .survives_software_reset();
/// The hash table of groups, its lower half.
pub const HASH_LOW: Register<u32> =
    Register::new("MAC10", 0x10).section("15.3").reset(0).kept(0xffff_ffff);
/// The hash table of groups, its upper half.
pub const HASH_HIGH: Register<u32> =
    Register::new("MAC14", 0x14).section("15.3").reset(0).kept(0xffff_ffff);
/// Has it look at the transmit ring.
pub const TRANSMIT_POLL: Register<u32> =
    Register::new("MAC18", 0x18).section("15.3").write_only().side_effect();
/// Has it look at the receive ring.
pub const RECEIVE_POLL: Register<u32> =
    Register::new("MAC1C", 0x1c).section("15.3").write_only().side_effect();
/// Where the transmit ring is.
pub const TRANSMIT_RING: Register<u32> =
    Register::new("MAC20", 0x20).section("15.3").reset(0).kept(0xffff_fff0).reserved(0xf);
/// Where the receive ring is.
pub const RECEIVE_RING: Register<u32> =
    Register::new("MAC24", 0x24).section("15.3").reset(0).kept(0xffff_fff0).reserved(0xf);
/// Interrupt timer control.
pub const INTERRUPT_TIMER: Register<u32> =
    Register::new("MAC30", 0x30).section("15.3").reset(0).kept(0xffff).reserved(0xffff_0000);
/// DMA burst length and the sizes of descriptors.
pub const DMA: Register<u32> = Register::new("MAC38", 0x38)
    .section("15.3")
    .reset(0x0002_2f00)
    .kept(0x00ff_ffff)
    .reserved(0xff00_0000)
    .values(&[0x0002_2f00, 0x0003_3f00, 0x0004_3f00, 0x00a2_2f00]);
/// The size of a receive buffer.
pub const BUFFER_SIZE: Register<u32> =
    Register::new("MAC4C", 0x4c).section("15.3").reset(0x640).kept(0x3ff8);
/// MAC control.
pub const CONTROL: Register<u32> = Register::new("MAC50", 0x50)
    .section("15.3")
    .reset(0)
    .kept(0xf_fff0)
    .acts(0x8000_000f)
    .reserved(0x7ff0_0000);
/// PHY control.
pub const PHY_CONTROL: Register<u32> =
    Register::new("MAC60", 0x60).section("15.3").reset(0).volatile(0xffff_ffff).side_effect();
/// PHY data: what is written in the lower half, what is read in the upper.
pub const PHY_DATA: Register<u32> =
    Register::new("MAC64", 0x64).section("15.3").reset(0).kept(0xffff).volatile(0xffff_0000);
/// Flow control.
pub const FLOW: Register<u32> =
    Register::new("MAC68", 0x68).section("15.3").reset(0x400).kept(0xffff_fe00).volatile(0x1ff);
/// Where the rings are, their upper bits, on an AST2700.
const TRANSMIT_RING_HIGH: Register<u32> = Register::new("MAC17C", 0x17c);
const RECEIVE_RING_HIGH: Register<u32> = Register::new("MAC18C", 0x18c);

/// All registers that generic suites look at.
const TABLE: &[&dyn AnyRegister] = &[
    &STATUS,
    &ENABLE,
    &ADDRESS_HIGH,
    &ADDRESS_LOW,
    &HASH_LOW,
    &HASH_HIGH,
    &TRANSMIT_POLL,
    &RECEIVE_POLL,
    &TRANSMIT_RING,
    &RECEIVE_RING,
    &INTERRUPT_TIMER,
    &DMA,
    &BUFFER_SIZE,
    &CONTROL,
    &PHY_CONTROL,
    &PHY_DATA,
    &FLOW,
];

/// What QEMU does otherwise.
const FAULTS: &[Fault] = &[
    Fault::new(
        &["MAC08", "MAC0C"],
        &[Rule::ResetValue, Rule::MachineReset],
        "ftgmac100: the address that QEMU is given is there from the start, and no reset clears it",
    ),
    Fault::new(
        &["MAC4C"],
        &[Rule::ResetValue, Rule::Kept, Rule::MachineReset, Rule::SoftwareReset],
        "ftgmac100: the size of a receive buffer reads as zero",
    ),
];

/// MAC control: what moves frames, in both directions.
const DMA_AND_MAC: u32 = 0xf;
/// MAC control: tags are taken out of frames that are received.
pub const REMOVE_TAG: u32 = 1 << 4;
/// MAC control: full duplex.
const FULL_DUPLEX: u32 = 1 << 8;
/// MAC control: check sequences are appended.
const APPEND_SEQUENCE: u32 = 1 << 10;
/// MAC control: frames shorter than 64 bytes are received.
const RUNTS: u32 = 1 << 12;
/// MAC control: frames of up to 9,216 bytes are received.
pub const JUMBO: u32 = 1 << 13;
/// MAC control: all frames are received.
const ALL: u32 = 1 << 14;
/// MAC control: groups by their hash.
const GROUPS_BY_HASH: u32 = 1 << 15;
/// MAC control: all groups.
const ALL_GROUPS: u32 = 1 << 16;
/// MAC control: broadcasts.
const BROADCASTS: u32 = 1 << 17;
/// MAC control: a reset by software, which clears itself.
const RESET: u32 = 1 << 31;

/// Interrupt status.
const EVENTS: EventBits = EventBits {
    sent: 1 << 4,
    received: 1 << 0,
    overrun: 1 << 2,
    link: 0,
    // Received and sent in the FIFO; no transmit descriptor is left.
    besides: 1 << 1 | 1 << 5 | 1 << 6,
};
/// Interrupt status: a frame was lost on its way out, as one that is too long.
pub const LOST: u32 = 1 << 7;
/// Interrupt status: memory could not be reached.
pub const BUS_ERROR: u32 = 1 << 8;

/// Descriptors: the device's to send; ready to be taken, received.
pub const OWN: u32 = 1 << 31;
/// Descriptors: the last of a ring.
pub const END_OF_RING: u32 = 1 << 30;
/// Descriptors: the first segment of a frame, and the last.
pub const FIRST: u32 = 1 << 29;
/// Descriptors: the last segment of a frame.
pub const LAST: u32 = 1 << 28;
/// Receive descriptor: a frame that was too long and is cut.
pub const TOO_LONG: u32 = 1 << 20;
/// Receive descriptor: broadcast, group.
const KINDS: u32 = 1 << 17 | 1 << 16;
/// Transmit descriptor, second word: a tag is put into the frame.
pub const INSERT_TAG: u32 = 1 << 16;
/// Transmit descriptor, second word: the checksum of the IP header is put into the frame, and that
/// of TCP and UDP.
pub const IP_CHECKSUM: u32 = 1 << 19;
/// Receive descriptor, second word: the frame had a tag.
pub const HAD_TAG: u32 = 1 << 24;
/// Descriptors: bits of a length.
const LENGTH: u32 = 0x3fff;

/// PHY control: read.
const PHY_READ: u32 = 1 << 26;
/// PHY control: write.
const PHY_WRITE: u32 = 1 << 27;
/// PHY status: the link is up (IEEE 802.3, 22.2.4.2).
const LINK_UP: u32 = 1 << 2;

/// How many descriptors each ring has, their bytes, and the bytes of a buffer.
const RINGS: (usize, usize, usize) = (8, 16, 0x640);

/// The descriptors (15.4): length and status; options; upper bits of the address; address.
pub struct Words;

/// Writes where the buffer of a descriptor is.
fn set_buffer(ring: &Ring, index: usize, address: u64) -> Result<()> {
    ring.set_word(index, 2, (address >> 32 << 16) as u32)?;
    ring.set_word(index, 3, address as u32)
}

/// The bit of the last descriptor of a ring.
fn end(ring: &Ring, index: usize) -> u32 {
    if ring.is_last(index) { END_OF_RING } else { 0 }
}

impl Layout for Words {
    fn put(&self, ring: &Ring, index: usize, buffer: u64, length: usize) -> Result<()> {
        set_buffer(ring, index, buffer)?;
        ring.set_word(index, 1, 0)?;
        ring.set_word(index, 0, OWN | FIRST | LAST | end(ring, index) | length as u32 & LENGTH)
    }

    fn is_sent(&self, ring: &Ring, index: usize) -> Result<bool> {
        Ok(ring.word(index, 0)? & OWN == 0)
    }

    fn give(&self, ring: &Ring, index: usize, buffer: u64) -> Result<()> {
        set_buffer(ring, index, buffer)?;
        ring.set_word(index, 1, 0)?;
        ring.set_word(index, 0, end(ring, index))
    }

    fn received(&self, ring: &Ring, index: usize) -> Result<Option<usize>> {
        let status = ring.word(index, 0)?;
        if status & OWN == 0 {
            return Ok(None);
        }
        if status & !(KINDS | LENGTH | END_OF_RING) != OWN | FIRST | LAST {
            return Err(Error::failed(format!("a frame with the status {status:#010x}")));
        }
        Ok(Some((status & LENGTH) as usize))
    }
}

/// QEMU's `ftgmac100`.
pub struct Ftgmac100 {
    registers: Rc<Mmio>,
    wiring: Wiring,
    rings: Started<Rings>,
}

impl Ftgmac100 {
    /// Its registers.
    pub fn registers(&self) -> &dyn Registers {
        &*self.registers
    }

    /// Sets these bits of MAC control, and no others of `mask`.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    pub fn control(&self, mask: u32, bits: u32) -> Result<()> {
        let control = self.registers.get(CONTROL)? & !mask;
        self.registers.set(CONTROL, control | bits)
    }

    /// Register `number` of the PHY.
    ///
    /// # Errors
    /// Returns an error if the access does not end.
    pub fn phy(&self, number: u32) -> Result<u32> {
        self.registers.set(PHY_CONTROL, PHY_READ | number << 21)?;
        if self.registers.get(PHY_CONTROL)? & PHY_READ != 0 {
            return Err(Error::failed("a read of the PHY does not end"));
        }
        Ok(self.registers.get(PHY_DATA)? >> 16)
    }

    /// Writes register `number` of the PHY.
    ///
    /// # Errors
    /// Returns an error if the access does not end.
    pub fn set_phy(&self, number: u32, value: u32) -> Result<()> {
        self.registers.set(PHY_DATA, value)?;
        self.registers.set(PHY_CONTROL, PHY_WRITE | number << 21)?;
        match self.registers.get(PHY_CONTROL)? & PHY_WRITE {
            0 => Ok(()),
            _ => Err(Error::failed("a write to the PHY does not end")),
        }
    }

    /// Tells the device where both rings begin.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    pub fn set_rings(&self, transmit: u64, receive: u64) -> Result<()> {
        self.registers.set(TRANSMIT_RING, transmit as u32)?;
        self.registers.set(RECEIVE_RING, receive as u32)?;
        if (transmit | receive) >> 32 != 0 {
            self.registers.set(TRANSMIT_RING_HIGH, (transmit >> 32) as u32)?;
            self.registers.set(RECEIVE_RING_HIGH, (receive >> 32) as u32)?;
        }
        Ok(())
    }
}

impl Nic for Ftgmac100 {
    fn started(&self) -> Option<&Started<Rings>> {
        Some(&self.rings)
    }

    fn wiring(&self) -> Option<&Wiring> {
        Some(&self.wiring)
    }

    fn limits(&self) -> Limits {
        Limits {
            transmit: RINGS.0,
            receive: RINGS.0,
            longest_received: 1514,
            link_event: false,
            ..Limits::PLAIN
        }
    }

    fn known_fault(&self, _: &Vm, promise: Promise) -> Option<&'static str> {
        match promise {
            Promise::CheckSequence => {
                Some("ftgmac100: the check sequence behind a frame is of another start value")
            }
            Promise::AddressAfterReset => {
                Some("ftgmac100: a reset leaves the address that was set up")
            }
            Promise::PinAfterReset => Some("ftgmac100: a reset leaves the interrupt line high"),
            _ => None,
        }
    }

    fn start(&self, vm: &Rc<Vm>) -> Result<()> {
        self.reset(vm)?;
        let rings = Rings::new(vm, Words, RINGS, true)?;
        self.set_rings(rings.transmit.address(), rings.receive.address())?;
        self.registers.set(BUFFER_SIZE, RINGS.2 as u32)?;
        self.rings.set(rings);
        self.set_filter(&Filter::PLAIN)?;
        self.registers.set(STATUS, !0)
    }

    fn reset(&self, _: &Rc<Vm>) -> Result<()> {
        self.registers.set(CONTROL, RESET)?;
        match self.registers.get(CONTROL)? & RESET {
            0 => Ok(()),
            _ => Err(Error::failed("MAC50: a reset by software does not end")),
        }
    }

    fn remapped(&self) -> Result<Rc<dyn Nic>> {
        let (registers, wiring) = (self.registers.clone(), self.wiring.clone());
        Ok(Rc::new(Self { registers, wiring, rings: Started::default() }))
    }

    fn station_address(&self) -> Result<Address> {
        let (high, low) = (self.registers.get(ADDRESS_HIGH)?, self.registers.get(ADDRESS_LOW)?);
        let ([.., a, b], [c, d, e, f]) = (high.to_be_bytes(), low.to_be_bytes());
        Ok([a, b, c, d, e, f])
    }

    fn set_filter(&self, filter: &Filter) -> Result<()> {
        let [a, b, c, d, e, f] = filter.own;
        self.registers.set(ADDRESS_HIGH, u16::from_be_bytes([a, b]).into())?;
        self.registers.set(ADDRESS_LOW, u32::from_be_bytes([c, d, e, f]))?;
        let (mut hash, mut groups) = (0_u64, 0);
        match filter.groups {
            Groups::None => {}
            Groups::All => groups = ALL_GROUPS,
            Groups::One(group) => {
                groups = GROUPS_BY_HASH;
                // Bits 2 to 7 of the check sequence over the address.
                hash = 1 << (net::check_sequence(&group) >> 2 & 0x3f);
            }
        }
        self.registers.set(HASH_LOW, hash as u32)?;
        self.registers.set(HASH_HIGH, (hash >> 32) as u32)?;
        let broadcasts = if filter.broadcast { BROADCASTS } else { 0 };
        let all = if filter.foreign { ALL } else { 0 };
        let always = DMA_AND_MAC | FULL_DUPLEX | APPEND_SEQUENCE | RUNTS;
        self.registers.set(CONTROL, always | broadcasts | groups | all)
    }

    fn send(&self) -> Result<()> {
        self.registers.set(TRANSMIT_POLL, 1)
    }

    fn recycle(&self) -> Result<()> {
        self.rings.get()?.recycle()?;
        self.registers.set(RECEIVE_POLL, 1)
    }

    fn unmask(&self, events: Events) -> Result<()> {
        self.registers.set(ENABLE, EVENTS.of(events))
    }

    fn events(&self) -> Result<Events> {
        let status = self.registers.get(STATUS)?;
        self.registers.set(STATUS, status)?;
        EVENTS.events(status)
    }

    fn link_is_up(&self) -> Result<Option<bool>> {
        Ok(Some(self.phy(1)? & LINK_UP != 0))
    }
}

impl RingNic for Ftgmac100 {
    fn base(&self) -> u64 {
        self.registers.base()
    }

    fn attack(&self, attack: Attack) -> Result<()> {
        match attack {
            Attack::Rings(at) => self.set_rings(at, at)?,
            Attack::Buffers { at, length } => self.rings.get()?.fill(at, length)?,
        }
        self.registers.set(RECEIVE_POLL, 1)
    }
}

impl Produces<RegisterBlock> for Ftgmac100 {
    fn produced(self: Rc<Self>) -> Rc<RegisterBlock> {
        let block = RegisterBlock::new("AST2500 Programming Guide", self.registers.clone(), TABLE)
            .software_reset(|registers| registers.set(CONTROL, RESET))
            .faults(FAULTS);
        Rc::new(block)
    }
}

impl Discovered for Ftgmac100 {
    const QOM_TYPES: &'static [&'static str] = &["ftgmac100"];

    fn found(device: &FoundDevice, vm: &Rc<Vm>) -> Result<Self> {
        let registers = Rc::new(Mmio::new(vm, device.base()?, vm.endian()?));
        Ok(Self { registers, wiring: Wiring::of(device, vm), rings: Started::default() })
    }
}

nic!(Ftgmac100: Nic, RingNic; with net::BOARD);
driver!(Ftgmac100 = "ftgmac100"; produces dyn Nic, dyn RingNic, RegisterBlock);
discovered!(Ftgmac100);
