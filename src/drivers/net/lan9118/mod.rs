//! SMSC's LAN9118 (data sheet, revision 1.5, whose sections are cited): a controller with FIFOs
//! instead of descriptors, which moves no memory by itself.

pub mod registers;

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use self::registers as reg;
use crate::graph::{Discovered, FoundDevice, Produces};
use crate::qemu::Vm;
use crate::qos::interrupt::InterruptLine;
use crate::qos::net::{self, Address};
use crate::qos::nic::board::Wiring;
use crate::qos::nic::{EventBits, Events, Filter, Groups, Limits, Nic, Overrun, Promise};
use crate::qos::registers::{Access, Mmio, RegisterBlock, Registers, RegistersExt, Width};
use crate::{Error, Result, discovered, driver, nic};

/// Interrupt status.
const EVENTS: EventBits = EventBits {
    sent: reg::TX_COMPLETE,
    received: reg::RX_LEVEL,
    overrun: reg::RX_DROPPED,
    link: reg::PHY,
    besides: reg::TX_LEVEL | reg::RX_STOPPED,
};

/// TX command A (3.12.1): interrupt on completion, the first segment, the last segment.
pub const COMPLETION: u32 = 1 << 31;
/// The first segment of a frame.
pub const FIRST: u32 = 1 << 13;
/// The last segment of a frame.
pub const LAST: u32 = 1 << 12;
/// RX status: filtering failed.
pub const FILTERED: u32 = 1 << 30;
/// RX status: a broadcast, a group.
pub const KINDS: u32 = 1 << 13 | 1 << 10;

/// Registers of the PHY (5.5): control, status, interrupt source, interrupt mask.
pub const PHY_CONTROL: u32 = 0;
/// Status.
pub const PHY_STATUS: u32 = 1;
/// Interrupt source; reading clears it.
pub const PHY_SOURCE: u32 = 29;
/// Interrupt mask.
pub const PHY_MASK: u32 = 30;
/// PHY interrupts: the link is down; negotiation is complete.
pub const PHY_LINK: u32 = 1 << 4 | 1 << 6;
/// PHY control: loops back; negotiates.
const PHY_LOOPBACK: u32 = 1 << 14;
/// PHY control as it starts: 100 Mbit/s, negotiates.
const PHY_NORMAL: u32 = 0x3000;

/// Commands of the EEPROM (5.3.23).
#[derive(Debug, Clone, Copy)]
pub enum Eeprom {
    /// Reads a byte.
    Read = 0,
    /// Protects all.
    WriteDisable = 1,
    /// Protects nothing.
    WriteEnable = 2,
    /// Writes a byte.
    Write = 3,
    /// Writes all bytes.
    WriteAll = 4,
    /// Erases a byte.
    Erase = 5,
    /// Erases all.
    EraseAll = 6,
    /// Has the MAC read its address again.
    Reload = 7,
}

/// QEMU's `lan9118`.
pub struct Lan9118 {
    registers: Rc<Mmio>,
    wiring: Wiring,
    queued: RefCell<Vec<Vec<u8>>>,
    tag: Cell<u16>,
    sequence: Cell<Option<[u8; 4]>>,
}

impl Lan9118 {
    fn new(registers: Rc<Mmio>, wiring: Wiring) -> Self {
        let (queued, tag, sequence) = (RefCell::default(), Cell::default(), Cell::default());
        Self { registers, wiring, queued, tag, sequence }
    }

    /// Its registers.
    pub fn registers(&self) -> &dyn Registers {
        &*self.registers
    }

    /// Register `number` of the MAC.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    pub fn mac(&self, number: u32) -> Result<u32> {
        self.registers.set(reg::MAC_CMD, 0xc000_0000 | number)?;
        self.registers.get(reg::MAC_DATA)
    }

    /// Writes register `number` of the MAC.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    pub fn set_mac(&self, number: u32, value: u32) -> Result<()> {
        self.registers.set(reg::MAC_DATA, value)?;
        self.registers.set(reg::MAC_CMD, 0x8000_0000 | number)
    }

    /// Register `number` of the PHY.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    pub fn phy(&self, number: u32) -> Result<u32> {
        self.set_mac(reg::MII_ACC, 1 << 11 | number << 6 | 1)?;
        self.mac(reg::MII_DATA)
    }

    /// Writes register `number` of the PHY.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    pub fn set_phy(&self, number: u32, value: u32) -> Result<()> {
        self.set_mac(reg::MII_DATA, value)?;
        self.set_mac(reg::MII_ACC, 1 << 11 | number << 6 | 0b11)
    }

    /// Has the EEPROM do `command` at a byte's address; returns E2P_DATA.
    ///
    /// # Errors
    /// Returns an error if the command does not end.
    pub fn eeprom(&self, command: Eeprom, at: u32) -> Result<u32> {
        self.registers.set(reg::E2P_CMD, 1 << 31 | (command as u32) << 28 | at)?;
        match self.registers.get(reg::E2P_CMD)? >> 31 {
            0 => self.registers.get(reg::E2P_DATA),
            _ => Err(Error::failed(format!("the EEPROM does not end {command:?}"))),
        }
    }

    /// Writes a segment of a frame of `length` bytes into the transmit FIFO, `offset` bytes into
    /// its first word.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    pub fn put(
        &self,
        flags: u32,
        (tag, length): (u16, usize),
        segment: &[u8],
        offset: usize,
    ) -> Result<()> {
        let command = flags | (offset as u32) << 16 | segment.len() as u32;
        let mut bytes = vec![0xa5; offset];
        bytes.extend(segment);
        bytes.resize(bytes.len().next_multiple_of(4), 0x5a);
        let words = bytes
            .chunks_exact(4)
            .map(|word| u32::from_le_bytes([word[0], word[1], word[2], word[3]]));
        let all = [command, u32::from(tag) << 16 | length as u32].into_iter().chain(words);
        let port = reg::TX_DATA.offset();
        let writes: Vec<_> =
            all.map(|word| Access::Write(port, Width::Long, word.into())).collect();
        self.registers.sequence(&writes).map(drop)
    }

    /// Sends a frame in one segment.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    pub fn send_one(&self, frame: &[u8]) -> Result<()> {
        self.put(FIRST | LAST, (0, frame.len()), frame, 0)
    }

    /// Takes the next status of a frame that was received.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    pub fn status(&self) -> Result<u32> {
        self.registers.get(reg::RX_STATUS)
    }

    /// The next `count` words of the receive data FIFO, as bytes.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    pub fn data(&self, count: usize) -> Result<Vec<u8>> {
        let words = self.registers.sequence(&vec![Access::Read(0, Width::Long); count])?;
        Ok(words.into_iter().flat_map(|word| (word as u32).to_le_bytes()).collect())
    }
}

impl Nic for Lan9118 {
    fn lines(&self) -> Result<Vec<InterruptLine>> {
        let lines = self.wiring.lines()?;
        // Asserted is high from now on; it is low when it is watched.
        self.registers.set(reg::IRQ_CFG, reg::IRQ_ON)?;
        Ok(lines)
    }

    fn wiring(&self) -> Option<&Wiring> {
        Some(&self.wiring)
    }

    fn set_loopback(&self, is_on: bool) -> Result<bool> {
        self.set_phy(PHY_CONTROL, if is_on { PHY_LOOPBACK } else { PHY_NORMAL })?;
        self.phy(PHY_SOURCE)?;
        Ok(true)
    }

    fn limits(&self) -> Limits {
        Limits {
            // What is in a FIFO of 4,608 bytes with two command words each.
            transmit: 3,
            // What is in a FIFO of 10,560 bytes.
            receive: 6,
            longest_received: 1514,
            pads: true,
            overrun: Overrun::Discards,
            fifo: true,
            ..Limits::PLAIN
        }
    }

    fn known_fault(&self, _: &Vm, promise: Promise) -> Option<&'static str> {
        match promise {
            Promise::Pads => Some("lan9118: QEMU does not pad short frames (3.12.6.2)"),
            Promise::CheckSequence => {
                Some("lan9118: the check sequence behind a frame is of another start value")
            }
            Promise::OverrunEvent => Some("lan9118: QEMU does not report frames that it drops"),
            Promise::PinAfterReset => Some("lan9118: a reset leaves the interrupt line high"),
            _ => None,
        }
    }

    fn start(&self, vm: &Rc<Vm>) -> Result<()> {
        self.reset(vm)?;
        self.queued.take();
        self.set_phy(PHY_CONTROL, PHY_NORMAL)?;
        self.set_phy(PHY_MASK, PHY_LINK)?;
        self.phy(PHY_SOURCE)?;
        self.registers.set(reg::TX_CFG, reg::TX_ON)?;
        self.set_filter(&Filter::PLAIN)?;
        self.registers.set(reg::INT_STS, !0)
    }

    fn reset(&self, _: &Rc<Vm>) -> Result<()> {
        self.registers.set(reg::IRQ_CFG, reg::IRQ_ON)?;
        self.registers.set(reg::HW_CFG, reg::RESET)?;
        if self.registers.get(reg::HW_CFG)? & reg::RESET != 0 {
            return Err(Error::failed("HW_CFG: a reset by software does not end"));
        }
        self.registers.set(reg::IRQ_CFG, reg::IRQ_ON)
    }

    fn remapped(&self) -> Result<Rc<dyn Nic>> {
        Ok(Rc::new(Self::new(self.registers.clone(), self.wiring.clone())))
    }

    fn station_address(&self) -> Result<Address> {
        let [a, b, c, d] = self.mac(reg::ADDRL)?.to_le_bytes();
        let [e, f, ..] = self.mac(reg::ADDRH)?.to_le_bytes();
        Ok([a, b, c, d, e, f])
    }

    fn set_filter(&self, filter: &Filter) -> Result<()> {
        let [a, b, c, d, e, f] = filter.own;
        self.set_mac(reg::ADDRL, u32::from_le_bytes([a, b, c, d]))?;
        self.set_mac(reg::ADDRH, u16::from_le_bytes([e, f]).into())?;
        let (hash, groups) = match filter.groups {
            Groups::None => (0, reg::GROUPS_BY_HASH),
            Groups::One(group) => (1_u64 << net::group_hash(&group), reg::GROUPS_BY_HASH),
            Groups::All => (0, reg::ALL_GROUPS),
        };
        self.set_mac(reg::HASHL, hash as u32)?;
        self.set_mac(reg::HASHH, (hash >> 32) as u32)?;
        let broadcasts = if filter.broadcast { 0 } else { reg::NO_BROADCASTS };
        let foreign = if filter.foreign { reg::PROMISCUOUS } else { 0 };
        let on = reg::SEND | reg::RECEIVE | reg::FULL_DUPLEX;
        self.set_mac(reg::MAC_CR, on | broadcasts | groups | foreign)
    }

    fn queue(&self, frame: &[u8]) -> Result<()> {
        self.queued.borrow_mut().push(frame.to_vec());
        Ok(())
    }

    fn send(&self) -> Result<()> {
        self.queued.take().iter().try_for_each(|frame| {
            self.tag.set(self.tag.get().wrapping_add(1));
            let of = (self.tag.get(), frame.len());
            self.put(COMPLETION | FIRST | LAST, of, frame, 0)
        })
    }

    fn sent(&self) -> Result<usize> {
        let count = self.registers.get(reg::TX_FIFO_INF)? >> 16 & 0xff;
        for _ in 0..count {
            let status = self.registers.get(reg::TX_STATUS)?;
            if status & 0xffff != 0 {
                return Err(Error::failed(format!("a frame sent with the status {status:#010x}")));
            }
        }
        Ok(count as usize)
    }

    fn arrived(&self) -> Result<usize> {
        Ok((self.registers.get(reg::RX_FIFO_INF)? >> 16 & 0xff) as usize)
    }

    fn take(&self) -> Result<Vec<u8>> {
        if self.arrived()? == 0 {
            return Err(Error::failed("no frame has arrived"));
        }
        let status = self.status()?;
        let length = (status >> 16 & 0x3fff) as usize;
        if status & !(0x3fff << 16 | KINDS) != 0 || length < 4 {
            return Err(Error::failed(format!("a frame with the status {status:#010x}")));
        }
        let mut frame = self.data(length.div_ceil(4))?;
        frame.truncate(length);
        self.sequence.set(frame.split_off(length - 4).try_into().ok());
        Ok(frame)
    }

    fn check_sequence(&self) -> Result<Option<[u8; 4]>> {
        Ok(self.sequence.get())
    }

    fn recycle(&self) -> Result<()> {
        Ok(())
    }

    fn unmask(&self, events: Events) -> Result<()> {
        self.registers.set(reg::INT_EN, EVENTS.of(events))
    }

    fn events(&self) -> Result<Events> {
        let status = self.registers.get(reg::INT_STS)?;
        if status & reg::PHY != 0 {
            self.phy(PHY_SOURCE)?;
        }
        self.registers.set(reg::INT_STS, status)?;
        EVENTS.events(status)
    }

    fn link_is_up(&self) -> Result<Option<bool>> {
        Ok(Some(self.phy(PHY_STATUS)? & 1 << 2 != 0))
    }

    fn memory(&self) -> Result<Vec<u8>> {
        Ok(Vec::new())
    }
}

impl Produces<RegisterBlock> for Lan9118 {
    fn produced(self: Rc<Self>) -> Rc<RegisterBlock> {
        let block = RegisterBlock::new("LAN9118", self.registers.clone(), reg::TABLE)
            .software_reset(|registers| registers.set(reg::HW_CFG, reg::RESET))
            .faults(reg::FAULTS);
        Rc::new(block)
    }
}

impl Discovered for Lan9118 {
    const QOM_TYPES: &'static [&'static str] = &["lan9118"];

    fn found(device: &FoundDevice, vm: &Rc<Vm>) -> Result<Self> {
        let registers = Rc::new(Mmio::new(vm, device.base()?, vm.endian()?));
        Ok(Self::new(registers, Wiring::of(device, vm)))
    }
}

nic!(Lan9118: Nic; with net::BOARD);
driver!(Lan9118 = "lan9118"; produces dyn Nic, RegisterBlock);
discovered!(Lan9118);
