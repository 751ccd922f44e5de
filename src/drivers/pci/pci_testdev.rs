//! QEMU's PCI test device (QEMU's specification "pci-testdev"): two BARs with registers that
//! tell a text, by which one sees whether an access reaches it.

use std::rc::Rc;

use crate::graph::{Consumes, QemuArgs, Site};
use crate::qos::pci::{Bar, PciBus, PciDevice};
use crate::qos::registers::RegistersExt;
use crate::{Result, driver};

/// The BAR in memory.
pub const MEMORY_BAR: u8 = 0;
/// The BAR of ports.
pub const IO_BAR: u8 = 1;
/// Selects a test, 8 bits; what follows tells of it.
const TEST: u64 = 0x00;
/// The name of the selected test, a byte each.
const NAME: u64 = 0x10;

/// QEMU's `pci-testdev`.
pub struct PciTestdev {
    device: PciDevice,
}

impl PciTestdev {
    /// The function.
    pub fn device(&self) -> &PciDevice {
        &self.device
    }

    /// The first four letters of the name of the first test, as read through `bar`. No other
    /// device answers so.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    pub fn letters(&self, bar: &Bar) -> Result<[u8; 4]> {
        bar.write8(TEST, 0)?;
        let mut letters = [0; 4];
        for (offset, letter) in (NAME..).zip(&mut letters) {
            *letter = bar.read8(offset)?;
        }
        Ok(letters)
    }
}

impl Consumes<dyn PciBus> for PciTestdev {
    const ARGS: QemuArgs = QemuArgs::device("bus={bus},addr={addr}");

    fn attach(bus: Rc<dyn PciBus>, site: &Site) -> Result<Self> {
        Ok(Self { device: PciDevice::plugged(&bus, site)? })
    }
}

driver!(PciTestdev = "pci-testdev"; consumes dyn PciBus);
