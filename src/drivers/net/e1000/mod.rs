//! Intel's PCI gigabit controllers 8254x (PCI/PCI-X Family of Gigabit Ethernet Controllers
//! Software Developer's Manual).

pub mod nic;
mod registers;
pub mod ring;

use std::rc::Rc;

use self::nic::GigabitNic;
pub use self::registers::*;
use crate::graph::{Consumes, Member, Produces, QemuArgs, Site};
use crate::qemu::Vm;
use crate::qos::net;
use crate::qos::nic::{Nic, RingNic};
use crate::qos::pci::{Bar, ExpectedBar, Identity, PciBus, PciDevice, PciFunction, PciPlug, Space};
use crate::qos::registers::{RegisterBlock, Registers, RegistersExt};
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

/// What all members have in common; QEMU's subsystem is its own.
const FAMILY: Identity = Identity {
    vendor: 0x8086,
    device: 0,
    revision: 0x03,
    class: 0x02_00_00,
    subsystem: (0x1af4, 0x1100),
    pin: 1,
    bars: &[
        ExpectedBar {
            number: 0,
            space: Space::Memory,
            size: 0x2_0000,
            witness: Some(STATUS.offset()),
        },
        ExpectedBar { number: 1, space: Space::Io, size: 0x40, witness: None },
    ],
    capabilities: &[],
};

/// QEMU's `e1000` and its relatives.
pub struct E1000 {
    plug: PciPlug,
    identity: Identity,
}

impl E1000 {
    /// Its place on the PCI bus.
    pub fn device(&self) -> &PciDevice {
        &self.plug.device
    }

    /// Its registers.
    pub fn registers(&self) -> &dyn Registers {
        &*self.plug.registers
    }

    /// The BAR that they are behind.
    pub fn bar(&self) -> &Rc<Bar> {
        &self.plug.registers
    }

    /// The same device after a reset, at a new address.
    ///
    /// # Errors
    /// It cannot be mapped.
    pub fn remap(&self) -> Result<Self> {
        Ok(Self { plug: self.plug.again()?, identity: self.identity })
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
        self.registers().set(EERD, u32::from(word) << 8 | EERD_START)?;
        let mut value = 0;
        wait_until(vm, "the EEPROM's word", || {
            value = self.registers().get(EERD)?;
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
        Ok(Self {
            plug: PciPlug::attach(&bus, site, 0)?,
            identity: Identity { device: *site.member(&MEMBERS)?, ..FAMILY },
        })
    }
}

impl Produces<PciFunction> for E1000 {
    fn produced(self: Rc<Self>) -> Rc<PciFunction> {
        self.plug.function(self.identity)
    }
}

driver!(
    E1000 as MEMBERS;
    consumes dyn PciBus; produces PciFunction, RegisterBlock, dyn Nic, dyn RingNic, GigabitNic
);
