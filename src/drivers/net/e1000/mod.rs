//! Intel's PCI gigabit controllers 8254x (PCI/PCI-X Family of Gigabit Ethernet Controllers
//! Software Developer's Manual).

pub mod ring;

use std::rc::Rc;

use crate::graph::{Consumes, Member, Produces, QemuArgs, Site};
use crate::qemu::Vm;
use crate::qos::net;
use crate::qos::pci::{Bar, ExpectedBar, Identity, PciBus};
use crate::qos::pci::{PciDevice, PciFunction, Space};
use crate::qos::registers::Registers;
use crate::qos::wait_until;
use crate::{Error, Result, driver};

/// The members of the family by name, with their device IDs (5.2). `e1000` is what QEMU
/// calls the 82540EM.
const MEMBERS: [Member<u16>; 4] = [
    Member::new("e1000", 0x100e),
    Member::alias("e1000-82540em", "e1000", 0x100e),
    Member::new("e1000-82544gc", 0x100c),
    Member::new("e1000-82545em", 0x100f),
];

/// Device Control (13.4.1).
pub const CTRL: u64 = 0x0000;
/// Device Status (13.4.2), never zero: QEMU's link is up from the start.
pub const STATUS: u64 = 0x0008;
/// EEPROM Read (13.4.4).
pub const EERD: u64 = 0x0014;
/// Interrupt Cause Read (13.4.17): reading clears it, and writing ones clears those.
pub const ICR: u64 = 0x00c0;
/// Interrupt Cause Set (13.4.19).
pub const ICS: u64 = 0x00c8;
/// Interrupt Mask Set/Read (13.4.20).
pub const IMS: u64 = 0x00d0;
/// Interrupt Mask Clear (13.4.21).
pub const IMC: u64 = 0x00d8;
/// Receive Control (13.4.22).
pub const RCTL: u64 = 0x0100;
/// Transmit Control (13.4.33).
pub const TCTL: u64 = 0x0400;
/// Receive Descriptor Base Address Low (13.4.25); High follows, then Length at +0x08,
/// Head at +0x10 and Tail at +0x18.
pub const RDBAL: u64 = 0x2800;
/// Transmit Descriptor Base Address Low (13.4.35), followed as for [`RDBAL`].
pub const TDBAL: u64 = 0x3800;
/// From a ring's base address to its length in bytes.
pub const LEN: u64 = 0x08;
/// From a ring's base address to its head.
pub const HEAD: u64 = 0x10;
/// From a ring's base address to its tail.
pub const TAIL: u64 = 0x18;
/// Receive Address Low 0 (13.5.2).
pub const RAL0: u64 = 0x5400;
/// Receive Address High 0 (13.5.3).
pub const RAH0: u64 = 0x5404;

/// RAH: the address is valid.
pub const RAH_AV: u32 = 1 << 31;

/// Interrupt cause: transmit descriptor written back.
pub const ICR_TXDW: u32 = 1 << 0;
/// Interrupt cause: transmit queue empty.
pub const ICR_TXQE: u32 = 1 << 1;
/// Interrupt cause: link status change.
pub const ICR_LSC: u32 = 1 << 2;
/// Interrupt cause: receive descriptors become few.
pub const ICR_RXDMT0: u32 = 1 << 4;
/// Interrupt cause: receiver overrun.
pub const ICR_RXO: u32 = 1 << 6;
/// Interrupt cause: receiver timer, that is a frame received.
pub const ICR_RXT0: u32 = 1 << 7;
/// The causes that all members know; above them is what only later ones have.
pub const ICR_CAUSES: u32 = 0x1_ffff;

/// RCTL: the receiver is on.
pub const RCTL_EN: u32 = 1 << 1;
/// RCTL: unicast promiscuous, every station's frames are received.
pub const RCTL_UPE: u32 = 1 << 3;
/// RCTL: multicast promiscuous.
pub const RCTL_MPE: u32 = 1 << 4;
/// RCTL: long packets, over 1522 bytes, are received.
pub const RCTL_LPE: u32 = 1 << 5;
/// RCTL: broadcast accept.
pub const RCTL_BAM: u32 = 1 << 15;
/// RCTL: buffers are of 256 bytes; of 2048 without.
pub const RCTL_BSIZE_256: u32 = 3 << 16;
/// RCTL: strip the frame check sequence from what is received.
pub const RCTL_SECRC: u32 = 1 << 26;
/// TCTL: the transmitter is on.
pub const TCTL_EN: u32 = 1 << 1;
/// TCTL: pad short packets.
pub const TCTL_PSP: u32 = 1 << 3;

/// Statistics (13.7): missed packets. Real ones are cleared by reading, QEMU's is not.
pub const MPC: u64 = 0x4010;
/// Oversize packets received.
pub const ROC: u64 = 0x40ac;
/// Good packets received.
pub const GPRC: u64 = 0x4074;
/// Good broadcast packets received.
pub const BPRC: u64 = 0x4078;
/// Good multicast packets received.
pub const MPRC: u64 = 0x407c;
/// Good packets transmitted.
pub const GPTC: u64 = 0x4080;

/// EEPROM Read: start the read.
const EERD_START: u32 = 1 << 0;
/// EEPROM Read: it is done.
const EERD_DONE: u32 = 1 << 4;

/// What all members have in common; QEMU's subsystem is its own.
const FAMILY: Identity = Identity {
    vendor: 0x8086,
    device: 0,
    revision: 0x03,
    class: 0x02_00_00,
    subsystem: (0x1af4, 0x1100),
    pin: 1,
    bars: &[
        ExpectedBar { number: 0, space: Space::Memory, size: 0x2_0000, witness: Some(STATUS) },
        ExpectedBar { number: 1, space: Space::Io, size: 0x40, witness: None },
    ],
    capabilities: &[],
};

/// QEMU's `e1000` and its relatives.
pub struct E1000 {
    device: PciDevice,
    registers: Rc<Bar>,
    identity: Identity,
}

impl E1000 {
    /// Its place on the PCI bus.
    pub fn device(&self) -> &PciDevice {
        &self.device
    }

    /// Its registers.
    pub fn registers(&self) -> &dyn Registers {
        &*self.registers
    }

    /// The BAR that they are behind.
    pub fn bar(&self) -> &Rc<Bar> {
        &self.registers
    }

    /// The same device after a reset, at a new address.
    ///
    /// # Errors
    /// It cannot be mapped.
    pub fn remap(&self) -> Result<Self> {
        let device = self.device.clone();
        let registers = device.map_bar(0)?;
        device.enable()?;
        Ok(Self { device, registers, identity: self.identity })
    }

    /// Its device ID, which depends on the member.
    pub fn device_id(&self) -> u16 {
        self.identity.device
    }

    /// Reads a word of the EEPROM.
    ///
    /// # Errors
    /// The read is never done.
    pub fn eeprom(&self, vm: &Vm, word: u8) -> Result<u16> {
        self.registers().write32(EERD, u32::from(word) << 8 | EERD_START)?;
        let mut value = 0;
        wait_until(vm, "the EEPROM's word", || {
            value = self.registers().read32(EERD)?;
            Ok(value & EERD_DONE != 0)
        })?;
        let done = u32::from(word) << 8 | EERD_DONE;
        if value & 0xffff != done {
            let why = format!("EERD for word {word:#x} is {value:#010x}, not …{done:04x}");
            return Err(Error::failed(why));
        }
        Ok((value >> 16) as u16)
    }
}

impl Consumes<dyn PciBus> for E1000 {
    const ARGS: QemuArgs = net::PCI_DEVICE;

    fn attach(bus: Rc<dyn PciBus>, site: &Site) -> Result<Self> {
        let device = PciDevice::plugged(&bus, site)?;
        let registers = device.map_bar(0)?;
        device.enable()?;
        Ok(Self {
            device,
            registers,
            identity: Identity { device: *site.member(&MEMBERS)?, ..FAMILY },
        })
    }
}

impl Produces<PciFunction> for E1000 {
    fn produced(self: Rc<Self>) -> Rc<PciFunction> {
        Rc::new(PciFunction {
            device: self.device.clone(),
            identity: Some(self.identity),
            mapped: vec![self.registers.clone()],
        })
    }
}

driver!(
    E1000 as MEMBERS;
    consumes dyn PciBus; produces PciFunction
);
