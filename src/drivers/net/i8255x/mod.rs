//! Intel's PCI fast Ethernet controllers 82550 to 82562 (8255x 10/100 Mbps Ethernet
//! Controller Family Open Source Software Developer Manual).

pub mod blocks;
mod nic;
mod registers;

use std::rc::Rc;

pub use self::registers::*;
use crate::graph::{Consumes, Member, Produces, QemuArgs, Site};
use crate::qemu::Vm;
use crate::qos::net;
use crate::qos::nic::Nic;
use crate::qos::nic::microwire::Microwire;
use crate::qos::pci::regs::CAPABILITY_POWER_MANAGEMENT;
use crate::qos::pci::{ExpectedBar, Identity, PciBus, PciDevice, PciFunction, PciPlug, Space};
use crate::qos::registers::{RegisterBlock, Registers, RegistersExt, Width};
use crate::qos::wait_until;
use crate::{Error, Result, driver};

/// What a device has that its maker did not put there: QEMU's subsystem.
const QEMU: (u16, u16) = (0x1af4, 0x1100);
/// An 82559 of Intel's own on an adapter: a PRO/100+.
const PRO_100: (u16, u16) = (0x8086, 0x0040);

/// Device ID, revision ID (chapter 4), and subsystem.
type Ids = (u16, u8, (u16, u16));

/// The family.
const MEMBERS: [Member<Ids>; 13] = [
    Member::new("i82550", (0x1209, 0x0e, QEMU)),
    Member::new("i82551", (0x1209, 0x0f, QEMU)),
    Member::new("i82557a", (0x1229, 0x01, QEMU)),
    Member::new("i82557b", (0x1229, 0x02, QEMU)),
    Member::new("i82557c", (0x1229, 0x03, QEMU)),
    Member::new("i82558a", (0x1229, 0x04, QEMU)),
    Member::new("i82558b", (0x1229, 0x05, QEMU)),
    Member::new("i82559a", (0x1229, 0x06, QEMU)),
    Member::new("i82559b", (0x1229, 0x07, QEMU)),
    Member::new("i82559c", (0x1229, 0x0c, PRO_100)),
    Member::new("i82559er", (0x1209, 0x09, QEMU)),
    Member::new("i82562", (0x1209, 0x0e, QEMU)),
    Member::new("i82801", (0x2449, 0x03, QEMU)),
];

/// SCB Status: command unit suspended; idle is zero.
pub const CU_SUSPENDED: u8 = 1 << 6;
/// SCB Status: receive unit suspended; idle is zero.
pub const RU_SUSPENDED: u8 = 1 << 2;
/// SCB Status: receive unit without resources.
pub const RU_NO_RESOURCES: u8 = 2 << 2;
/// SCB Status: receive unit ready.
pub const RU_READY: u8 = 4 << 2;

/// SCB Command: start the command unit at the pointer.
pub const CU_START: u8 = 0x10;
/// SCB Command: let the command unit go on.
pub const CU_RESUME: u8 = 0x20;
/// SCB Command: the pointer is where statistics are dumped to.
pub const CU_LOAD_DUMP_ADDRESS: u8 = 0x40;
/// SCB Command: the pointer is the base of the command unit's addresses.
pub const CU_LOAD_BASE: u8 = 0x60;
/// SCB Command: dump statistics, and begin them anew.
pub const CU_DUMP_AND_RESET: u8 = 0x70;
/// SCB Command: start the receive unit at the pointer.
pub const RU_START: u8 = 1;
/// SCB Command: let the receive unit go on.
pub const RU_RESUME: u8 = 2;
/// SCB Command: stop the receive unit.
pub const RU_ABORT: u8 = 4;
/// SCB Command: the pointer is the base of the receive unit's addresses.
pub const RU_LOAD_BASE: u8 = 6;

/// Interrupt cause: the receive unit is not ready any more.
pub const ACK_RNR: u8 = 1 << 4;
/// Interrupt cause: the command unit is not active any more.
pub const ACK_CNA: u8 = 1 << 5;
/// Interrupt cause: a frame is received.
pub const ACK_FR: u8 = 1 << 6;
/// Interrupt cause: a command with the bit I is done.
pub const ACK_CX: u8 = 1 << 7;
/// Interrupt cause: software interrupt.
pub const ACK_SWI: u8 = 1 << 2;
/// Interrupt cause: an MDI transfer is over.
pub const ACK_MDI: u8 = 1 << 3;
/// Interrupt mask: all causes.
pub const MASK_ALL: u8 = 1 << 0;
/// Among the masks: raise a software interrupt.
pub const SOFTWARE_INTERRUPT: u8 = 1 << 1;

/// PORT: software reset.
pub const PORT_SOFTWARE_RESET: u32 = 0;
/// PORT: self-test.
pub const PORT_SELF_TEST: u32 = 1;

/// PORT: selective reset.
pub const PORT_SELECTIVE_RESET: u32 = 2;

/// MDI: the transfer is over.
const MDI_READY: u32 = 1 << 28;
/// MDI: interrupt when it is.
pub const MDI_INTERRUPT: u32 = 1 << 29;
/// The address of the PHY.
const PHY: u32 = 1;

/// EEPROM Control (6.3.6).
const EEPROM: Microwire = Microwire {
    offset: EEPROM_CONTROL.offset(),
    width: Width::Byte,
    always: 0,
    clock: 1 << 0,
    select: 1 << 1,
    input: 1 << 2,
    output: 1 << 3,
    others: 0,
};

/// What all members have in common.
const FAMILY: Identity = Identity {
    vendor: 0x8086,
    device: 0,
    revision: 0,
    class: 0x02_00_00,
    subsystem: QEMU,
    pin: 1,
    bars: &[
        ExpectedBar {
            number: 0,
            space: Space::Memory,
            size: 0x1000,
            witness: Some(MDI_CONTROL.offset()),
        },
        ExpectedBar {
            number: 1,
            space: Space::Io,
            size: 0x40,
            witness: Some(MDI_CONTROL.offset()),
        },
        ExpectedBar { number: 2, space: Space::Memory, size: 0x2_0000, witness: None },
    ],
    capabilities: &[CAPABILITY_POWER_MANAGEMENT],
};

/// QEMU's `i82550` and its relatives.
pub struct I8255x {
    plug: PciPlug,
    identity: Identity,
}

impl I8255x {
    /// Its place on the PCI bus.
    pub fn device(&self) -> &PciDevice {
        &self.plug.device
    }

    /// Its registers.
    pub fn registers(&self) -> &dyn Registers {
        &*self.plug.registers
    }

    /// The same device after a reset of the machine, mapped again.
    ///
    /// # Errors
    /// Returns an error if it cannot be mapped.
    pub fn remap(&self) -> Result<Self> {
        Ok(Self { plug: self.plug.again()?, identity: self.identity })
    }

    /// Whether it is an 82557, the first of the family, without power management and
    /// extended transmit command blocks.
    pub fn is_82557(&self) -> bool {
        self.identity.device == 0x1229 && self.identity.revision < 4
    }

    /// Gives the units a command and waits until it is accepted.
    ///
    /// # Errors
    /// It is not.
    pub fn command(&self, vm: &Vm, command: u8, pointer: u32) -> Result<()> {
        self.registers().set(SCB_POINTER, pointer)?;
        self.registers().set(SCB_COMMAND, command)?;
        wait_until(vm, &format!("the SCB command {command:#x} to be accepted"), || {
            Ok(self.registers().get(SCB_COMMAND)? == 0)
        })
    }

    /// Clears the interrupt causes; returns what they were.
    pub fn acknowledge(&self) -> Result<u8> {
        let causes = self.registers().get(SCB_ACK)?;
        self.registers().set(SCB_ACK, causes)?;
        Ok(causes)
    }

    /// Reads a word of the EEPROM of 64 words (chapter 5): a start bit, the opcode 10, six
    /// bits of address; then its 16 bits come, the highest first. The pins are looked at with
    /// every bit.
    ///
    /// # Errors
    /// The pins are not as they are driven.
    pub fn eeprom(&self, word: u16) -> Result<u16> {
        EEPROM.read(self.registers(), word)
    }

    fn mdi(&self, vm: &Vm, request: u32) -> Result<u16> {
        self.registers().set(MDI_CONTROL, request | PHY << 21)?;
        let mut value = 0;
        wait_until(vm, "the MDI transfer", || {
            value = self.registers().get(MDI_CONTROL)?;
            Ok(value & MDI_READY != 0)
        })?;
        let done = request | PHY << 21 | MDI_READY;
        if value >> 16 != done >> 16 {
            let why = format!("MDI Control: {request:#010x} was written, {value:#010x} read");
            return Err(Error::failed(why));
        }
        Ok(value as u16)
    }

    /// Reads a register of the PHY; `flags` may be [`MDI_INTERRUPT`].
    ///
    /// # Errors
    /// The transfer does not end.
    pub fn phy_read(&self, vm: &Vm, register: u32, flags: u32) -> Result<u16> {
        self.mdi(vm, 2 << 26 | register << 16 | flags)
    }

    /// Reads a register of a PHY at another address than that of the one there is.
    ///
    /// # Errors
    /// The transfer does not end.
    pub fn other_phy_read(&self, vm: &Vm, address: u32, register: u32) -> Result<u16> {
        let request = 2 << 26 | address << 21 | register << 16;
        self.registers().set(MDI_CONTROL, request)?;
        let mut value = 0;
        wait_until(vm, "the MDI transfer", || {
            value = self.registers().get(MDI_CONTROL)?;
            Ok(value & MDI_READY != 0)
        })?;
        Ok(value as u16)
    }

    /// Writes a register of the PHY.
    ///
    /// # Errors
    /// As for [`I8255x::phy_read`].
    pub fn phy_write(&self, vm: &Vm, register: u32, value: u16) -> Result<()> {
        self.mdi(vm, 1 << 26 | register << 16 | u32::from(value)).map(drop)
    }
}

impl Consumes<dyn PciBus> for I8255x {
    const ARGS: QemuArgs = net::PCI_DEVICE;

    fn attach(bus: Rc<dyn PciBus>, site: &Site) -> Result<Self> {
        let &(id, revision, subsystem) = site.member(&MEMBERS)?;
        let identity = Identity { device: id, revision, subsystem, ..FAMILY };
        let mut nic = Self { plug: PciPlug::attach(&bus, site, 0)?, identity };
        if nic.is_82557() {
            // Power management came with the 82558 (chapter 3).
            nic.identity.capabilities = &[];
        }
        Ok(nic)
    }
}

impl Produces<PciFunction> for I8255x {
    fn produced(self: Rc<Self>) -> Rc<PciFunction> {
        self.plug.function(self.identity)
    }
}

driver!(
    I8255x as MEMBERS;
    consumes dyn PciBus; produces PciFunction, dyn Nic, RegisterBlock
);
