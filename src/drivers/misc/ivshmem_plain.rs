//! Memory that several machines share (QEMU's specification "Device Specification for Inter-VM
//! shared memory device"), without interrupts.

use std::rc::Rc;

use crate::graph::{Consumes, Produces, QemuArgs, Site};
use crate::qemu::Image;
use crate::qos::pci::{Bar, ExpectedBar, Identity, PciBus, PciFunction, PciPlug, Space};
use crate::{Result, driver};

/// The memory, from outside.
pub const SHARED: Image = Image { name: "shared", size: 1 << 20 };
/// The BAR of the registers.
const REGISTER_BAR: u8 = 0;
/// The BAR of the memory.
const MEMORY_BAR: u8 = 2;

/// Interrupt Mask, 32 bits.
pub const INTERRUPT_MASK: u64 = 0;
/// Interrupt Status, 32 bits.
pub const INTERRUPT_STATUS: u64 = 4;
/// IVPosition, 32 bits: the number of this machine among those that share the memory.
pub const IV_POSITION: u64 = 8;
/// Doorbell, 32 bits, write-only.
pub const DOORBELL: u64 = 12;

/// What its configuration space says.
const IDENTITY: Identity = Identity {
    vendor: 0x1af4,
    device: 0x1110,
    revision: 1,
    class: 0x05_00_00,
    subsystem: (0x1af4, 0x1100),
    pin: 0,
    bars: &[
        ExpectedBar { number: REGISTER_BAR, space: Space::Memory, size: 256, witness: None },
        ExpectedBar { number: MEMORY_BAR, space: Space::Memory, size: SHARED.size, witness: None },
    ],
    capabilities: &[],
};

/// QEMU's `ivshmem-plain`.
pub struct IvshmemPlain {
    /// Where it is plugged in, and its registers.
    pub plug: PciPlug,
    /// The memory that is shared.
    pub memory: Rc<Bar>,
}

impl IvshmemPlain {
    /// The same device after a reset of the machine.
    ///
    /// # Errors
    /// Returns an error if it cannot be set up again.
    pub fn again(&self) -> Result<Self> {
        Self::of(self.plug.again()?)
    }

    fn of(plug: PciPlug) -> Result<Self> {
        let memory = plug.device.map_bar(MEMORY_BAR)?;
        Ok(Self { plug, memory })
    }
}

impl Consumes<dyn PciBus> for IvshmemPlain {
    const ARGS: QemuArgs = QemuArgs::device("bus={bus},addr={addr},memdev=shared0")
        .before("-object memory-backend-file,id=shared0,mem-path={shared},size=1048576,share=on")
        .images(&[SHARED]);

    fn attach(bus: Rc<dyn PciBus>, site: &Site) -> Result<Self> {
        Self::of(PciPlug::attach(&bus, site, REGISTER_BAR)?)
    }
}

impl Produces<PciFunction> for IvshmemPlain {
    fn produced(self: Rc<Self>) -> Rc<PciFunction> {
        self.plug.function(IDENTITY)
    }
}

driver!(IvshmemPlain = "ivshmem-plain"; consumes dyn PciBus; produces PciFunction);
