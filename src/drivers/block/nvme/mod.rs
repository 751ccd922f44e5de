//! QEMU's NVMe controller with one namespace, a controller memory buffer and a persistent memory
//! region (NVM Express 1.4).

pub mod command;
pub mod controller;
pub mod disk;
pub mod queue;
pub mod registers;
pub mod sgl;

use std::rc::Rc;

use crate::graph::{Consumes, Produces, QemuArgs, Site};
use crate::qemu::{Image, MIB};
use crate::qos::block::{BlockDevice, DISK};
use crate::qos::pci::regs::CAPABILITY_POWER_MANAGEMENT;
use crate::qos::pci::{ExpectedBar, Identity, PciBus, PciFunction, PciPlug, Space, msix};
use crate::qos::registers::{RegisterBlock, RegistersExt};
use crate::{Result, driver};

/// The memory of the persistent memory region.
pub const PERSISTENT: Image = Image { name: "pmr", size: MIB };
/// The BAR that it is behind.
pub const PERSISTENT_BAR: u8 = 4;
/// The size of the controller memory buffer in bytes.
pub const MEMORY_BUFFER: u64 = 2 * MIB;
/// The BAR that it is behind.
pub const MEMORY_BUFFER_BAR: u8 = 2;

/// What its configuration space says.
const IDENTITY: Identity = Identity {
    vendor: 0x1b36,
    device: 0x0010,
    revision: 0x02,
    class: 0x01_08_02,
    subsystem: (0x1af4, 0x1100),
    pin: 1,
    bars: &[
        ExpectedBar {
            number: 0,
            space: Space::Memory,
            size: 0x4000,
            witness: Some(registers::VS.offset()),
        },
        ExpectedBar {
            number: MEMORY_BUFFER_BAR,
            space: Space::Memory,
            size: MEMORY_BUFFER,
            witness: None,
        },
        ExpectedBar {
            number: PERSISTENT_BAR,
            space: Space::Memory,
            size: PERSISTENT.size,
            witness: None,
        },
    ],
    // PCI Express (0x10) is in between.
    capabilities: &[msix::CAPABILITY, 0x10, CAPABILITY_POWER_MANAGEMENT],
};

/// QEMU's `nvme`.
pub struct Nvme {
    /// Where it is plugged in, and its registers.
    pub plug: PciPlug,
}

impl Nvme {
    /// Maps the controller again after a reset of the machine.
    ///
    /// # Errors
    /// Returns an error if it cannot be mapped.
    pub fn again(&self) -> Result<Self> {
        Ok(Self { plug: self.plug.again()? })
    }
}

impl Consumes<dyn PciBus> for Nvme {
    const ARGS: QemuArgs = QemuArgs::device(
        "bus={bus},addr={addr},id=nvme0,drive=drive0,serial=qgraph-disk,cmb_size_mb=2,pmrdev=pmr0",
    )
    .before(
        "-drive if=none,id=drive0,format=raw,discard=unmap,auto-read-only=off,file={disk} \
         -object memory-backend-file,id=pmr0,share=on,mem-path={pmr},size=1M",
    )
    .images(&[DISK, PERSISTENT]);

    fn attach(bus: Rc<dyn PciBus>, site: &Site) -> Result<Self> {
        Ok(Self { plug: PciPlug::attach(&bus, site, 0)? })
    }
}

impl Produces<PciFunction> for Nvme {
    fn produced(self: Rc<Self>) -> Rc<PciFunction> {
        self.plug.function(IDENTITY)
    }
}

impl Produces<RegisterBlock> for Nvme {
    fn produced(self: Rc<Self>) -> Rc<RegisterBlock> {
        let block = self
            .plug
            .block("NVM Express 1.4", registers::TABLE)
            .prepare(|registers| registers.set(registers::CC, 0))
            .software_reset(|registers| {
                registers.set(registers::CC, registers::CC_EN | registers::CC_ENTRIES)?;
                registers.set(registers::CC, 0)
            })
            .faults(registers::FAULTS);
        Rc::new(block)
    }
}

driver!(Nvme = "nvme"; consumes dyn PciBus; produces PciFunction, RegisterBlock, dyn BlockDevice);
