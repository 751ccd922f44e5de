//! The gigabit Ethernet controller of Allwinner's H3 and its kin (Allwinner H3 Datasheet 1.2, 8.10,
//! "EMAC"), as a [`Nic`].

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

const fn long(name: &'static str, offset: u64) -> Register<u32> {
    Register::new(name, offset).section("8.10.6")
}

/// Basic control: speed, duplex, loop.
pub const BASIC_CTL_0: Register<u32> =
    long("BASIC_CTL0", 0x00).reset(0).kept(0x0f).reserved(0xffff_fff0);
/// Basic control: bit 0 resets it, which clears itself; the length of bursts.
pub const BASIC_CTL_1: Register<u32> =
    long("BASIC_CTL1", 0x04).reset(0x0800_0000).kept(0x3f00_0002).acts(1).reserved(0xc0ff_fffc);
/// Events.
pub const INT_STA: Register<u32> = long("INT_STA", 0x08).reset(0).side_effect();
/// Which events interrupt.
pub const INT_EN: Register<u32> = long("INT_EN", 0x0c).reset(0).kept(0x3f3f).reserved(0xffff_c0c0);
/// Transmit control: bit 31 turns it on.
pub const TX_CTL_0: Register<u32> =
    long("TX_CTL0", 0x10).reset(0).kept(0x4000_0000).acts(1 << 31).reserved(0x3fff_ffff);
/// Transmit control: bit 31 starts DMA, bit 30 turns it on.
pub const TX_CTL_1: Register<u32> = long("TX_CTL1", 0x14).reset(0).side_effect();
/// Where the transmit list begins.
pub const TX_LIST: Register<u32> =
    long("TX_DMA_DESC_LIST", 0x20).reset(0).kept(0xffff_fffc).reserved(3);
/// Receive control: bit 31 turns it on.
pub const RX_CTL_0: Register<u32> =
    long("RX_CTL0", 0x24).reset(0).kept(0x1800_0000).acts(1 << 31).reserved(0x67ff_ffff);
/// Receive control: bit 31 starts DMA, bit 30 turns it on.
pub const RX_CTL_1: Register<u32> = long("RX_CTL1", 0x28).side_effect();
/// Where the receive list begins.
pub const RX_LIST: Register<u32> =
    long("RX_DMA_DESC_LIST", 0x34).reset(0).kept(0xffff_fffc).reserved(3);
/// The receive filter.
pub const RX_FILTER: Register<u32> =
    long("RX_FRM_FLT", 0x38).reset(0).kept(0x8003_0333).reserved(0x7ffc_fccc);
/// The hash table of groups, its upper half, and the lower behind it.
pub const RX_HASH: Register<u32> = long("RX_HASH", 0x40).reset(0).kept(0xffff_ffff);
/// An access to the PHY: bit 0 is set while it goes on.
pub const MII_CMD: Register<u32> = long("MII_CMD", 0x48).reset(0).side_effect();
/// The PHY's data.
pub const MII_DATA: Register<u32> =
    long("MII_DATA", 0x4c).reset(0).kept(0xffff).reserved(0xffff_0000);
/// The address's last two bytes.
pub const ADDR_HIGH: Register<u32> = long("ADDR0_HIGH", 0x50).kept(0xffff).reserved(0xffff_0000);
/// The address's first four bytes.
pub const ADDR_LOW: Register<u32> = long("ADDR0_LOW", 0x54).kept(0xffff_ffff);
/// Where the descriptor is that is worked on, both ways.
pub const TX_CURRENT: Register<u32> = long("TX_CUR_DESC", 0xb4).reset(0);
/// As [`TX_CURRENT`].
pub const RX_CURRENT: Register<u32> = long("RX_CUR_DESC", 0xc4).reset(0);

/// All that are not arrays.
const TABLE: &[&dyn AnyRegister] = &[
    &BASIC_CTL_0,
    &BASIC_CTL_1,
    &INT_STA,
    &INT_EN,
    &TX_CTL_0,
    &TX_CTL_1,
    &TX_LIST,
    &RX_CTL_0,
    &RX_CTL_1,
    &RX_LIST,
    &RX_FILTER,
    &MII_CMD,
    &MII_DATA,
    &ADDR_HIGH,
    &ADDR_LOW,
    &TX_CURRENT,
    &RX_CURRENT,
];

/// What QEMU does otherwise.
const FAULTS: &[Fault] = &[
    Fault::new(&["RX_HASH"], &[Rule::Kept], "allwinner-sun8i-emac: QEMU has no hash table"),
    Fault::new(
        &["BASIC_CTL1"],
        &[Rule::SoftwareReset],
        "allwinner-sun8i-emac: what is written along with a reset stays after it",
    ),
    Fault::new(
        &["TX_CUR_DESC", "RX_CUR_DESC"],
        &[Rule::Neighbours],
        "allwinner-sun8i-emac: a descriptor is the current one as soon as its list is written",
    ),
];

/// BASIC_CTL1: a reset.
const RESET: u32 = 1;
/// TX_CTL0 and RX_CTL0: on. TX_CTL1 and RX_CTL1: start.
const ON: u32 = 1 << 31;
/// TX_CTL1 and RX_CTL1: DMA is on.
const DMA_ON: u32 = 1 << 30;
/// RX_FRM_FLT: everything; no broadcasts; all groups; groups by their hash.
const FILTER_OFF: u32 = 1 << 31;
const NO_BROADCASTS: u32 = 1 << 17;
const ALL_GROUPS: u32 = 1 << 16;
const GROUPS_BY_HASH: u32 = 1 << 9;
/// PHY status: the link is up (IEEE 802.3, 22.2.4.2).
const LINK_UP: u32 = 1 << 2;

/// Events: of frames; what may come besides are buffers that run out, and DMA that stops.
const EVENTS: EventBits = EventBits {
    sent: 1 << 0,
    received: 1 << 8,
    overrun: 1 << 9,
    link: 0,
    besides: 1 << 1 | 1 << 2 | 1 << 10,
};

/// Descriptors, status: the device's.
pub const OWN: u32 = 1 << 31;
/// Transmit descriptor, second word: reported; last and first of a frame; checksums are put in.
pub const REPORT: u32 = 1 << 31;
/// As [`REPORT`].
pub const LAST: u32 = 1 << 30;
/// As [`REPORT`].
pub const FIRST: u32 = 1 << 29;
/// As [`REPORT`].
pub const CHECKSUMS: u32 = 3 << 27;
/// Receive descriptor, status: first and last of a frame, and its errors.
pub const RECEIVED_FIRST: u32 = 1 << 9;
/// As [`RECEIVED_FIRST`].
pub const RECEIVED_LAST: u32 = 1 << 8;
/// As [`RECEIVED_FIRST`].
const ERRORS: u32 = 1 << 14 | 1 << 6 | 1 << 4 | 1 << 3 | 1 << 1;
/// Descriptors, second word: a length.
const LENGTH: u32 = 0x7ff;

/// How many descriptors each list has, their bytes, and the bytes of a buffer.
const RINGS: (usize, usize, usize) = (8, 16, 1600);

/// The descriptors (8.10.4): status, control, address, and the next descriptor's.
pub struct Words;

impl Layout for Words {
    fn put(&self, ring: &Ring, index: usize, buffer: u64, length: usize) -> Result<()> {
        ring.set_word(index, 3, ring.address_of(index + 1) as u32)?;
        ring.set_word(index, 2, buffer as u32)?;
        ring.set_word(index, 1, REPORT | LAST | FIRST | length as u32 & LENGTH)?;
        ring.set_word(index, 0, OWN)
    }

    fn is_sent(&self, ring: &Ring, index: usize) -> Result<bool> {
        Ok(ring.word(index, 0)? & OWN == 0)
    }

    fn give(&self, ring: &Ring, index: usize, buffer: u64) -> Result<()> {
        ring.set_word(index, 3, ring.address_of(index + 1) as u32)?;
        ring.set_word(index, 2, buffer as u32)?;
        ring.set_word(index, 1, RINGS.2 as u32)?;
        ring.set_word(index, 0, OWN)
    }

    fn received(&self, ring: &Ring, index: usize) -> Result<Option<usize>> {
        let status = ring.word(index, 0)?;
        if status & OWN != 0 {
            return Ok(None);
        }
        let whole = RECEIVED_FIRST | RECEIVED_LAST;
        if status & (whole | ERRORS) != whole {
            return Err(Error::failed(format!("a frame with the status {status:#010x}")));
        }
        Ok(Some((status >> 16 & 0x3fff) as usize))
    }
}

/// QEMU's `allwinner-sun8i-emac`.
pub struct Sun8iEmac {
    registers: Rc<Mmio>,
    wiring: Wiring,
    rings: Started<Rings>,
}

impl Sun8iEmac {
    /// Its registers.
    pub fn registers(&self) -> &dyn Registers {
        &*self.registers
    }

    /// Register `number` of PHY `phy`.
    ///
    /// # Errors
    /// Returns an error if the access does not end.
    pub fn phy(&self, phy: u32, number: u32) -> Result<u32> {
        self.registers.set(MII_DATA, 0xffff)?;
        self.registers.set(MII_CMD, 3 << 20 | phy << 12 | number << 4 | 1)?;
        self.phy_done()?;
        self.registers.get(MII_DATA)
    }

    /// Writes register `number` of PHY `phy`.
    ///
    /// # Errors
    /// Returns an error if the access does not end.
    pub fn set_phy(&self, phy: u32, number: u32, value: u32) -> Result<()> {
        self.registers.set(MII_DATA, value)?;
        self.registers.set(MII_CMD, 3 << 20 | phy << 12 | number << 4 | 3)?;
        self.phy_done()
    }

    fn phy_done(&self) -> Result<()> {
        match self.registers.get(MII_CMD)? & 1 {
            0 => Ok(()),
            _ => Err(Error::failed("an access to the PHY does not end")),
        }
    }

    /// The address of a PHY that answers; `None` if none does.
    ///
    /// # Errors
    /// Returns an error if an access does not end.
    pub fn find_phy(&self) -> Result<Option<u32>> {
        for phy in 0..16 {
            if self.phy(phy, 2)? != 0xffff {
                return Ok(Some(phy));
            }
        }
        Ok(None)
    }
}

impl Nic for Sun8iEmac {
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
            link_event: false,
            pads: true,
            pads_received_to: 64,
            ..Limits::PLAIN
        }
    }

    fn known_fault(&self, _: &Vm, promise: Promise) -> Option<&'static str> {
        match promise {
            Promise::Pads => Some("allwinner-sun8i-emac: short frames are not padded"),
            Promise::LengthReceived => {
                Some("allwinner-sun8i-emac: frames are padded to 64 bytes without check sequence")
            }
            Promise::CheckSequence => {
                Some("allwinner-sun8i-emac: no check sequence is written behind a frame")
            }
            Promise::AddressAfterReset => {
                Some("allwinner-sun8i-emac: a reset leaves the address that was set up")
            }
            Promise::SoftwareReset | Promise::PinAfterReset => {
                Some("allwinner-sun8i-emac: a reset leaves the interrupt line high")
            }
            _ => None,
        }
    }

    fn start(&self, vm: &Rc<Vm>) -> Result<()> {
        self.reset(vm)?;
        let rings = Rings::new(vm, Words, RINGS, true)?;
        for index in 0..RINGS.0 {
            // The device reads ahead: what is not its own is linked as well.
            let next = rings.transmit.address_of(index + 1) as u32;
            rings.transmit.set_word(index, 3, next)?;
        }
        self.registers.set(TX_LIST, rings.transmit.address() as u32)?;
        self.registers.set(RX_LIST, rings.receive.address() as u32)?;
        self.rings.set(rings);
        self.set_filter(&Filter::PLAIN)?;
        self.registers.set(INT_EN, 0)?;
        self.registers.set(BASIC_CTL_0, 3 << 2 | 1)?;
        self.registers.set(TX_CTL_0, ON)?;
        self.registers.set(RX_CTL_0, ON)?;
        self.registers.set(RX_CTL_1, DMA_ON | ON)?;
        self.registers.set(INT_STA, !0)
    }

    fn reset(&self, _: &Rc<Vm>) -> Result<()> {
        self.registers.set(BASIC_CTL_1, RESET)?;
        match self.registers.get(BASIC_CTL_1)? & RESET {
            0 => Ok(()),
            _ => Err(Error::failed("BASIC_CTL1: a reset by software does not end")),
        }
    }

    fn remapped(&self) -> Result<Rc<dyn Nic>> {
        let (registers, wiring) = (self.registers.clone(), self.wiring.clone());
        Ok(Rc::new(Self { registers, wiring, rings: Started::default() }))
    }

    fn station_address(&self) -> Result<Address> {
        let [a, b, c, d] = self.registers.get(ADDR_LOW)?.to_le_bytes();
        let [e, f, ..] = self.registers.get(ADDR_HIGH)?.to_le_bytes();
        Ok([a, b, c, d, e, f])
    }

    fn set_filter(&self, filter: &Filter) -> Result<()> {
        let [a, b, c, d, e, f] = filter.own;
        self.registers.set(ADDR_HIGH, u16::from_le_bytes([e, f]).into())?;
        self.registers.set(ADDR_LOW, u32::from_le_bytes([a, b, c, d]))?;
        let (hash, groups) = match filter.groups {
            Groups::None => (0_u64, GROUPS_BY_HASH),
            Groups::All => (0, ALL_GROUPS),
            // The check sequence, its bits turned round, has the place in its upper six.
            Groups::One(group) => {
                (1 << (net::check_sequence(&group).reverse_bits() >> 26), GROUPS_BY_HASH)
            }
        };
        self.registers.set(RX_HASH, (hash >> 32) as u32)?;
        self.registers.set(RX_HASH.nth(1, 4), hash as u32)?;
        let broadcasts = if filter.broadcast { 0 } else { NO_BROADCASTS };
        let all = if filter.foreign { FILTER_OFF } else { 0 };
        self.registers.set(RX_FILTER, groups | broadcasts | all)
    }

    fn send(&self) -> Result<()> {
        self.registers.set(TX_CTL_1, DMA_ON | ON)
    }

    fn recycle(&self) -> Result<()> {
        self.rings.get()?.recycle()?;
        self.registers.set(RX_CTL_1, DMA_ON | ON)
    }

    fn unmask(&self, events: Events) -> Result<()> {
        self.registers.set(INT_EN, EVENTS.of(events))
    }

    fn events(&self) -> Result<Events> {
        let status = self.registers.get(INT_STA)?;
        self.registers.set(INT_STA, status)?;
        // Its last buffer is used: no frame is lost by that.
        let status = status & !EVENTS.overrun;
        EVENTS.events(status)
    }

    fn link_is_up(&self) -> Result<Option<bool>> {
        let Some(phy) = self.find_phy()? else {
            return Ok(None);
        };
        Ok(Some(self.phy(phy, 1)? & LINK_UP != 0))
    }
}

impl RingNic for Sun8iEmac {
    fn base(&self) -> u64 {
        self.registers.base()
    }

    fn attack(&self, attack: Attack) -> Result<()> {
        match attack {
            Attack::Rings(at) => {
                self.registers.set(RX_LIST, at as u32)?;
                self.registers.set(TX_LIST, at as u32)?;
            }
            Attack::Buffers { at, length } => self.rings.get()?.fill(at, length)?,
        }
        self.registers.set(RX_CTL_1, DMA_ON | ON)
    }
}

impl Produces<RegisterBlock> for Sun8iEmac {
    fn produced(self: Rc<Self>) -> Rc<RegisterBlock> {
        let block = RegisterBlock::new("Allwinner H3 Datasheet", self.registers.clone(), TABLE)
            .with_array(&RX_HASH, 2, 4)
            .software_reset(|registers| registers.set(BASIC_CTL_1, RESET))
            .faults(FAULTS);
        Rc::new(block)
    }
}

impl Discovered for Sun8iEmac {
    const QOM_TYPES: &'static [&'static str] = &["allwinner-sun8i-emac"];

    fn found(device: &FoundDevice, vm: &Rc<Vm>) -> Result<Self> {
        let registers = Rc::new(Mmio::new(vm, device.base()?, vm.endian()?));
        Ok(Self { registers, wiring: Wiring::of(device, vm), rings: Started::default() })
    }
}

nic!(Sun8iEmac: Nic, RingNic; with net::BOARD);
driver!(Sun8iEmac = "allwinner-sun8i-emac"; produces dyn Nic, dyn RingNic, RegisterBlock);
discovered!(Sun8iEmac);
