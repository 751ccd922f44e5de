//! Cadence's gigabit Ethernet controller, the GEM (Zynq-7000 technical reference manual, UG585,
//! chapter 16 and B.18, whose sections are cited).

use std::rc::Rc;

use crate::graph::{Discovered, FoundDevice, Produces};
use crate::qemu::{Buffer, Vm};
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

/// Network control.
pub const CONTROL: Register<u32> =
    Register::new("net_ctrl", 0x00).section("B.18").reset(0).kept(0x12).acts(0x1fff_ffed);
/// Network configuration.
pub const CONFIG: Register<u32> = Register::new("net_cfg", 0x04)
    .section("B.18")
    .reset(0x0008_0000)
    .kept(0x7fff_ffff)
    .reserved(1 << 31);
/// Network status.
pub const STATUS: Register<u32> =
    Register::new("net_status", 0x08).section("B.18").reset(0x6).read_only();
/// DMA configuration.
pub const DMA: Register<u32> = Register::new("dma_cfg", 0x10)
    .section("B.18")
    .reset(0x0002_0784)
    .kept(0x00ff_0fdf)
    .reserved(0xff00_f020);
/// Transmit status.
pub const TX_STATUS: Register<u32> =
    Register::new("tx_status", 0x14).section("B.18").reset(0).volatile(0x1ff).side_effect();
/// Where the receive ring is.
pub const RX_RING: Register<u32> =
    Register::new("rx_qbar", 0x18).section("B.18").reset(0).kept(0xffff_fffc);
/// Where the transmit ring is.
pub const TX_RING: Register<u32> =
    Register::new("tx_qbar", 0x1c).section("B.18").reset(0).kept(0xffff_fffc);
/// Receive status.
pub const RX_STATUS: Register<u32> =
    Register::new("rx_status", 0x20).section("B.18").reset(0).volatile(0xf).side_effect();
/// Interrupt status; reading clears it.
pub const INTERRUPTS: Register<u32> =
    Register::new("intr_status", 0x24).section("B.18").reset(0).clears_on_read().side_effect();
/// Unmasks interrupts.
pub const UNMASK: Register<u32> =
    Register::new("intr_en", 0x28).section("B.18").write_only().side_effect();
/// Masks interrupts.
pub const MASK: Register<u32> =
    Register::new("intr_dis", 0x2c).section("B.18").write_only().side_effect();
/// The mask of interrupts.
pub const MASKED: Register<u32> =
    Register::new("intr_mask", 0x30).section("B.18").reset(0x07ff_ffff).read_only();
/// An access to the PHY.
pub const PHY: Register<u32> =
    Register::new("phy_maint", 0x34).section("B.18").reset(0).side_effect();
/// The pause time that was received.
pub const RX_PAUSE: Register<u32> =
    Register::new("rx_pauseq", 0x38).section("B.18").reset(0).read_only();
/// The pause time that is sent.
pub const TX_PAUSE: Register<u32> = Register::new("tx_pauseq", 0x3c)
    .section("B.18")
    .reset(0xffff)
    .kept(0xffff)
    .reserved(0xffff_0000);
/// The lower half of the table of groups.
pub const HASH_LOW: Register<u32> =
    Register::new("hash_bot", 0x80).section("B.18").reset(0).kept(0xffff_ffff);
/// The upper half of the table of groups.
pub const HASH_HIGH: Register<u32> =
    Register::new("hash_top", 0x84).section("B.18").reset(0).kept(0xffff_ffff);
/// The lower four bytes of the first of four addresses, which turns it off.
pub const ADDRESS_LOW: Register<u32> =
    Register::new("spec_addr1_bot", 0x88).section("B.18").reset(0).kept(0xffff_ffff);
/// The upper two bytes of the first of four addresses, which turn it on.
pub const ADDRESS_HIGH: Register<u32> = Register::new("spec_addr1_top", 0x8c)
    .section("B.18")
    .reset(0)
    .kept(0xffff)
    .reserved(0xffff_0000);
/// The first of four types to be matched.
pub const TYPE: Register<u32> = Register::new("type_id_match1", 0xa8)
    .section("B.18")
    .reset(0)
    .kept(0xffff)
    .reserved(0xffff_0000);
/// Frames that were sent.
pub const TX_FRAMES: Register<u32> =
    Register::new("frames_tx", 0x108).section("B.18").clears_on_read().side_effect();
/// Broadcasts that were sent.
pub const TX_BROADCASTS: Register<u32> = TX_FRAMES.above(4).named("broadcast_frames_tx");
/// Frames to groups that were sent.
pub const TX_GROUPS: Register<u32> = TX_FRAMES.above(8).named("multi_frames_tx");
/// Frames of 64 bytes that were sent; those of greater lengths follow.
pub const TX_64: Register<u32> = TX_FRAMES.above(0x10).named("frames_64b_tx");
/// Frames that were received.
pub const RX_FRAMES: Register<u32> = TX_FRAMES.above(0x50).named("frames_rx");
/// Broadcasts that were received.
pub const RX_BROADCASTS: Register<u32> = TX_FRAMES.above(0x54).named("bdcast_fames_rx");
/// Frames to groups that were received.
pub const RX_GROUPS: Register<u32> = TX_FRAMES.above(0x58).named("multi_frames_rx");
/// Frames of 64 bytes that were received; those of greater lengths follow.
pub const RX_64: Register<u32> = TX_FRAMES.above(0x60).named("frames_64b_rx");
/// Further queues' transmit and receive rings.
const QUEUE_TX: Register<u32> = Register::new("transmit_q1_ptr", 0x440);
const QUEUE_RX: Register<u32> = Register::new("receive_q1_ptr", 0x480);
/// What this controller was made with, its queues among it.
const DESIGN: Register<u32> = Register::new("design_cfg6", 0x294);

/// All registers that generic suites look at.
const TABLE: &[&dyn AnyRegister] = &[
    &CONTROL,
    &CONFIG,
    &STATUS,
    &DMA,
    &TX_STATUS,
    &RX_RING,
    &TX_RING,
    &RX_STATUS,
    &INTERRUPTS,
    &UNMASK,
    &MASK,
    &MASKED,
    &PHY,
    &RX_PAUSE,
    &TX_PAUSE,
    &HASH_LOW,
    &HASH_HIGH,
    &ADDRESS_LOW,
    &ADDRESS_HIGH,
    &TYPE,
];

/// What QEMU does otherwise.
const FAULTS: &[Fault] = &[
    Fault::new(
        &["spec_addr1_bot", "spec_addr1_top"],
        &[Rule::ResetValue, Rule::MachineReset],
        "cadence_gem: the address that QEMU is given is in the registers after a reset",
    ),
    Fault::new(
        &["rx_pauseq"],
        &[Rule::ReadOnly],
        "cadence_gem: the pause time that was received can be written",
    ),
];

/// Network control: a loop inside; the receiver; the transmitter; access to the PHY.
pub const LOOP: u32 = 1 << 1;
/// Network control: the receiver.
pub const RECEIVE: u32 = 1 << 2;
/// Network control: the transmitter.
pub const TRANSMIT: u32 = 1 << 3;
/// Network control: access to the PHY.
const PHY_ACCESS: u32 = 1 << 4;
/// Network control: clears statistics.
pub const CLEAR_STATISTICS: u32 = 1 << 5;
/// Network control: sends.
pub const START: u32 = 1 << 9;

/// Network configuration: 100 Mbit/s, full duplex.
const FAST: u32 = 0b11;
/// Network configuration: promiscuous.
const PROMISCUOUS: u32 = 1 << 4;
/// Network configuration: no broadcasts.
const NO_BROADCASTS: u32 = 1 << 5;
/// Network configuration: groups by their hash.
const GROUPS_BY_HASH: u32 = 1 << 6;
/// Network configuration: stations by their hash.
pub const STATIONS_BY_HASH: u32 = 1 << 7;
/// Network configuration: frames of 1,536 bytes.
const LONG: u32 = 1 << 8;
/// Network configuration: the bit by which received data are moved.
pub const OFFSET: u32 = 14;
/// Network configuration: frames whose length field says more than they have are discarded.
pub const CHECK_LENGTH: u32 = 1 << 16;
/// Network configuration: check sequences are taken off.
pub const REMOVE_SEQUENCE: u32 = 1 << 17;
/// Network configuration as the reset leaves it.
const DEFAULT: u32 = 0x0008_0000;

/// Interrupts.
const EVENTS: EventBits = EventBits {
    sent: 1 << 7,
    received: 1 << 1,
    overrun: 1 << 2,
    link: 0,
    // A transmit descriptor is the driver's.
    besides: 1 << 3,
};

/// Descriptors: the last of a ring, of the transmit ring.
const TX_END: u32 = 1 << 30;
/// Transmit descriptor: the driver's.
pub const USED: u32 = 1 << 31;
/// Transmit descriptor: the last buffer of a frame.
pub const LAST: u32 = 1 << 15;
/// Receive descriptor, first word: the driver's; the last of the ring.
const OWN: u32 = 1;
/// Receive descriptor, first word: the last of the ring.
const RX_END: u32 = 2;
/// Receive descriptor, second word: the first and the last buffer of a frame.
pub const WHOLE: u32 = 0b11 << 14;
/// Bits of a length.
const LENGTH: u32 = 0x1fff;

/// How many descriptors each ring has, their bytes, and the bytes of a buffer.
const RINGS: (usize, usize, usize) = (8, 8, 0x600);

/// The descriptors (16.3.5): two words.
pub struct Words;

impl Layout for Words {
    fn put(&self, ring: &Ring, index: usize, buffer: u64, length: usize) -> Result<()> {
        ring.set_word(index, 0, buffer as u32)?;
        let end = if ring.is_last(index) { TX_END } else { 0 };
        // The one behind it stops the controller until it holds a frame too.
        ring.set_word(index, 1, LAST | end | length as u32 & LENGTH)
    }

    fn is_sent(&self, ring: &Ring, index: usize) -> Result<bool> {
        Ok(ring.word(index, 1)? & USED != 0)
    }

    fn give(&self, ring: &Ring, index: usize, buffer: u64) -> Result<()> {
        ring.set_word(index, 1, 0)?;
        let end = if ring.is_last(index) { RX_END } else { 0 };
        ring.set_word(index, 0, buffer as u32 & !0b11 | end)
    }

    fn received(&self, ring: &Ring, index: usize) -> Result<Option<usize>> {
        if ring.word(index, 0)? & OWN == 0 {
            return Ok(None);
        }
        let status = ring.word(index, 1)?;
        if status & WHOLE != WHOLE {
            return Err(Error::failed(format!("a frame with the status {status:#010x}")));
        }
        Ok(Some((status & LENGTH) as usize))
    }
}

/// QEMU's `cadence_gem`.
pub struct CadenceGem {
    registers: Rc<Mmio>,
    wiring: Wiring,
    rings: Started<Rings>,
    unused: Started<Buffer>,
}

impl CadenceGem {
    /// Its registers.
    pub fn registers(&self) -> &dyn Registers {
        &*self.registers
    }

    /// Runs `with` on its rings.
    ///
    /// # Errors
    /// Returns an error if it was not started, or that of `with`.
    pub fn with_rings<T>(&self, with: impl FnOnce(&Rings) -> Result<T>) -> Result<T> {
        with(&*self.rings.get()?)
    }

    /// Register `number` of the PHY at address `phy`.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    pub fn phy(&self, phy: u32, number: u32) -> Result<u32> {
        self.registers.set(PHY, 0x6002_0000 | phy << 23 | number << 18)?;
        Ok(self.registers.get(PHY)? & 0xffff)
    }

    /// Writes register `number` of the PHY at address `phy`.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    pub fn set_phy(&self, phy: u32, number: u32, value: u32) -> Result<()> {
        self.registers.set(PHY, 0x5002_0000 | phy << 23 | number << 18 | value)
    }

    /// The address of its PHY, the first that answers.
    ///
    /// # Errors
    /// Returns [`Error::Skipped`] if none does.
    pub fn phy_address(&self) -> Result<u32> {
        for phy in 0..32 {
            if self.phy(phy, 2)? != 0xffff {
                return Ok(phy);
            }
        }
        Err(Error::skipped("no PHY is at this controller"))
    }

    /// Writes address number `index` of four, from 0.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    pub fn set_address(&self, index: u64, [a, b, c, d, e, f]: Address) -> Result<()> {
        self.registers.set(ADDRESS_LOW.nth(index, 8), u32::from_le_bytes([a, b, c, d]))?;
        self.registers.set(ADDRESS_HIGH.nth(index, 8), u16::from_le_bytes([e, f]).into())
    }

    /// Sets these bits of the network configuration, and no others of `mask`.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    pub fn configure(&self, mask: u32, bits: u32) -> Result<()> {
        let config = self.registers.get(CONFIG)? & !mask;
        self.registers.set(CONFIG, config | bits)
    }
}

/// Bits 0 to 5 of the exclusive or of an address's eight groups of six bits (16.3.6).
pub fn hash(address: &Address) -> u32 {
    let bits = u64::from_le_bytes([&address[..], &[0; 2]].concat().try_into().unwrap_or_default());
    (0..8).fold(0, |hash, group| hash ^ (bits >> (6 * group) & 0x3f) as u32)
}

impl Nic for CadenceGem {
    fn started(&self) -> Option<&Started<Rings>> {
        Some(&self.rings)
    }

    fn wiring(&self) -> Option<&Wiring> {
        Some(&self.wiring)
    }

    fn set_loopback(&self, is_on: bool) -> Result<bool> {
        let control = self.registers.get(CONTROL)? & !LOOP;
        self.registers.set(CONTROL, control | if is_on { LOOP } else { 0 })?;
        Ok(true)
    }

    fn limits(&self) -> Limits {
        Limits {
            // The descriptor behind the last frame is the driver's, and stops the controller.
            transmit: RINGS.0 - 1,
            receive: RINGS.0,
            longest_sent: 1518,
            longest_received: 1518,
            overrun: Overrun::Waits,
            pads: true,
            link_event: false,
            // What is masked does not get into intr_status.
            latches_masked: false,
            ..Limits::PLAIN
        }
    }

    fn known_fault(&self, _: &Vm, promise: Promise) -> Option<&'static str> {
        match promise {
            Promise::Pads => Some("cadence_gem: QEMU does not pad short frames (16.2.2)"),
            Promise::SoftwareReset => {
                Some("cadence_gem: an interrupt that is masked stays pending")
            }
            _ => None,
        }
    }

    fn start(&self, vm: &Rc<Vm>) -> Result<()> {
        self.reset(vm)?;
        let rings = Rings::new(vm, Words, RINGS, true)?;
        (0..RINGS.0).try_for_each(|index| rings.transmit.set_word(index, 1, USED))?;
        // A queue that is not used has a descriptor that is the driver's.
        let unused = vm.ram().alloc(64, 64)?;
        unused.write_le32(0, OWN | RX_END)?;
        unused.write_le32(36, USED | TX_END)?;
        for queue in 0..8 {
            if self.registers.get(DESIGN)? & 2 << queue != 0 {
                let at = unused.address().0 as u32;
                self.registers.set(QUEUE_RX.nth(queue, 4), at)?;
                self.registers.set(QUEUE_TX.nth(queue, 4), at + 32)?;
            }
        }
        self.registers.set(RX_RING, rings.receive.address() as u32)?;
        self.registers.set(TX_RING, rings.transmit.address() as u32)?;
        // Buffers of 1,536 bytes, and no checksums.
        self.registers.set(DMA, 0x0018_0704)?;
        self.rings.set(rings);
        self.unused.set(unused);
        self.set_filter(&Filter::PLAIN)?;
        self.registers.set(CONTROL, RECEIVE | TRANSMIT | PHY_ACCESS)?;
        // What is reported is unmasked, for what is masked is not even pending.
        self.registers.set(UNMASK, 0)?;
        self.registers.get(INTERRUPTS).map(drop)
    }

    fn reset(&self, _: &Rc<Vm>) -> Result<()> {
        // There is no reset by software: all is turned off (16.3.1).
        self.registers.set(CONTROL, PHY_ACCESS)?;
        self.registers.set(MASK, 0x07ff_ffff)?;
        self.registers.set(TX_STATUS, 0x1ff)?;
        self.registers.set(RX_STATUS, 0xf)?;
        self.registers.get(INTERRUPTS).map(drop)
    }

    fn remapped(&self) -> Result<Rc<dyn Nic>> {
        let (registers, wiring) = (self.registers.clone(), self.wiring.clone());
        Ok(Rc::new(Self {
            registers,
            wiring,
            rings: Started::default(),
            unused: Started::default(),
        }))
    }

    fn station_address(&self) -> Result<Address> {
        let [a, b, c, d] = self.registers.get(ADDRESS_LOW)?.to_le_bytes();
        let [e, f, ..] = self.registers.get(ADDRESS_HIGH)?.to_le_bytes();
        Ok([a, b, c, d, e, f])
    }

    fn set_filter(&self, filter: &Filter) -> Result<()> {
        self.set_address(0, filter.own)?;
        let (table, groups) = match filter.groups {
            Groups::None => (0, 0),
            Groups::One(group) => (1_u64 << hash(&group), GROUPS_BY_HASH),
            Groups::All => (!0, GROUPS_BY_HASH),
        };
        self.registers.set(HASH_LOW, table as u32)?;
        self.registers.set(HASH_HIGH, (table >> 32) as u32)?;
        let broadcasts = if filter.broadcast { 0 } else { NO_BROADCASTS };
        let foreign = if filter.foreign { PROMISCUOUS } else { 0 };
        self.registers.set(CONFIG, DEFAULT | FAST | LONG | broadcasts | groups | foreign)
    }

    fn send(&self) -> Result<()> {
        let control = self.registers.get(CONTROL)?;
        self.registers.set(CONTROL, control | START)
    }

    fn recycle(&self) -> Result<()> {
        self.rings.get()?.recycle()?;
        // The controller looks at the descriptor that was the driver's again.
        let control = self.registers.get(CONTROL)?;
        self.registers.set(CONTROL, control)
    }

    fn unmask(&self, events: Events) -> Result<()> {
        self.registers.set(MASK, 0x07ff_ffff)?;
        self.registers.set(UNMASK, EVENTS.of(events))
    }

    fn events(&self) -> Result<Events> {
        // The status registers tell what is masked as well.
        let (sent, received) = (self.registers.get(TX_STATUS)?, self.registers.get(RX_STATUS)?);
        let pending = self.registers.get(INTERRUPTS)?;
        self.registers.set(TX_STATUS, sent)?;
        self.registers.set(RX_STATUS, received)?;
        let mut events = EVENTS.events(pending)?;
        events.sent |= sent & 1 << 5 != 0;
        events.received |= received & 1 << 1 != 0;
        events.overrun |= received & 1 << 0 != 0;
        Ok(events)
    }

    fn link_is_up(&self) -> Result<Option<bool>> {
        match self.phy_address() {
            Ok(phy) => Ok(Some(self.phy(phy, 1)? & 1 << 2 != 0)),
            Err(Error::Skipped { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

impl RingNic for CadenceGem {
    fn base(&self) -> u64 {
        self.registers.base()
    }

    fn attack(&self, attack: Attack) -> Result<()> {
        match attack {
            Attack::Rings(at) => {
                self.registers.set(RX_RING, at as u32)?;
                self.registers.set(TX_RING, at as u32)?;
            }
            Attack::Buffers { at, length } => self.rings.get()?.fill(at, length)?,
        }
        let control = self.registers.get(CONTROL)?;
        self.registers.set(CONTROL, control)
    }
}

impl Produces<RegisterBlock> for CadenceGem {
    fn produced(self: Rc<Self>) -> Rc<RegisterBlock> {
        Rc::new(RegisterBlock::new("UG585", self.registers.clone(), TABLE).faults(FAULTS))
    }
}

impl Discovered for CadenceGem {
    const QOM_TYPES: &'static [&'static str] = &["cadence_gem"];

    fn found(device: &FoundDevice, vm: &Rc<Vm>) -> Result<Self> {
        let registers = Rc::new(Mmio::new(vm, device.base()?, vm.endian()?));
        Ok(Self {
            registers,
            wiring: Wiring::of(device, vm),
            rings: Started::default(),
            unused: Started::default(),
        })
    }
}

nic!(CadenceGem: Nic, RingNic; with net::BOARD);
driver!(CadenceGem = "cadence_gem"; produces dyn Nic, dyn RingNic, RegisterBlock);
discovered!(CadenceGem);
