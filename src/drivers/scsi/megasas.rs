//! LSI's MegaRAID SAS 1078 as QEMU's `megasas`: a SCSI controller whose firmware takes frames (the
//! MFI of the drivers of Linux and FreeBSD).

use std::rc::Rc;

use crate::graph::{Consumes, Produces, QemuArgs, Site};
use crate::qos::pci::{ExpectedBar, Identity, PciBus, PciFunction, PciPlug, Space, msix};
use crate::qos::registers::Register;
use crate::{Result, driver};

/// The queue of frames: the address of one, and how many frames belong to it.
pub const INBOUND_QUEUE: Register<u32> = Register::new("inbound queue port", 0x40);
/// The state of the firmware.
pub const OUTBOUND_MESSAGE: Register<u32> = Register::new("outbound message 0", 0x18);
/// The state of the firmware, as the chip that QEMU models has it.
pub const OUTBOUND_SCRATCH_PAD: Register<u32> = Register::new("outbound scratch pad", 0xb0);
/// State of the firmware, in bits 31:28: it takes frames.
pub const STATE_READY: u32 = 0xb;

/// What its configuration space says.
const IDENTITY: Identity = Identity {
    vendor: 0x1000,
    device: 0x0060,
    revision: 0,
    class: 0x01_04_00,
    subsystem: (0x1000, 0x1013),
    pin: 1,
    bars: &[
        ExpectedBar { number: 0, space: Space::Memory, size: 0x4000, witness: None },
        ExpectedBar { number: 2, space: Space::Io, size: 0x100, witness: None },
        ExpectedBar { number: 3, space: Space::Memory, size: 0x4_0000, witness: None },
    ],
    capabilities: &[msix::CAPABILITY, 0x05],
};

/// QEMU's `megasas`.
pub struct Megasas {
    /// Where it is plugged in, and its registers.
    pub plug: PciPlug,
}

impl Consumes<dyn PciBus> for Megasas {
    const ARGS: QemuArgs = QemuArgs::device("bus={bus},addr={addr}");

    fn attach(bus: Rc<dyn PciBus>, site: &Site) -> Result<Self> {
        Ok(Self { plug: PciPlug::attach(&bus, site, 0)? })
    }
}

impl Produces<PciFunction> for Megasas {
    fn produced(self: Rc<Self>) -> Rc<PciFunction> {
        self.plug.function(IDENTITY)
    }
}

driver!(Megasas = "megasas"; consumes dyn PciBus; produces PciFunction);
