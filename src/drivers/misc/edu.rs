//! QEMU's `edu`, a PCI device to learn with (docs/specs/edu in QEMU's documentation, whose sections
//! are cited by name).

use std::rc::Rc;

use crate::graph::{Consumes, Produces, QemuArgs, Site};
use crate::qos::pci::{ExpectedBar, Identity, PciBus, PciFunction, PciPlug, Space};
use crate::qos::registers::{AnyRegister, Register, RegisterBlock};
use crate::{Result, driver};

/// Identification: 0xRRrr00ed.
pub const IDENTITY: Register<u32> =
    Register::new("identification", 0x00).section("MMIO area").reset(0x0100_00ed).read_only();
/// Card liveness check: reads as the inverse of what was written.
pub const LIVENESS: Register<u32> =
    Register::new("liveness", 0x04).section("MMIO area").side_effect();
/// Factorial computation.
pub const FACTORIAL: Register<u32> =
    Register::new("factorial", 0x08).section("MMIO area").side_effect();
/// Status.
pub const STATUS: Register<u32> =
    Register::new("status", 0x20).section("MMIO area").reset(0).kept(0x80);
/// Interrupt status.
pub const INTERRUPTS: Register<u32> =
    Register::new("interrupt status", 0x24).section("MMIO area").reset(0).read_only();
/// Interrupt raise.
pub const RAISE: Register<u32> =
    Register::new("interrupt raise", 0x60).section("MMIO area").write_only().side_effect();
/// Interrupt acknowledge.
pub const ACKNOWLEDGE: Register<u32> =
    Register::new("interrupt acknowledge", 0x64).section("MMIO area").write_only().side_effect();
/// DMA source address.
pub const DMA_SOURCE: Register<u64> =
    Register::new("DMA source", 0x80).section("MMIO area").reset(0).kept(u64::MAX);
/// DMA destination address.
pub const DMA_TARGET: Register<u64> =
    Register::new("DMA destination", 0x88).section("MMIO area").reset(0).kept(u64::MAX);
/// DMA transfer count.
pub const DMA_COUNT: Register<u64> =
    Register::new("DMA count", 0x90).section("MMIO area").reset(0).kept(u64::MAX);
/// DMA command.
pub const DMA_COMMAND: Register<u64> =
    Register::new("DMA command", 0x98).section("MMIO area").side_effect();

/// Status: a factorial is computed.
pub const STATUS_COMPUTING: u32 = 1 << 0;
/// Status: an interrupt when it is.
pub const STATUS_INTERRUPTS: u32 = 1 << 7;
/// Interrupt status: a factorial was computed.
pub const INTERRUPT_FACTORIAL: u32 = 1 << 0;
/// Interrupt status: a transfer has ended.
pub const INTERRUPT_DMA: u32 = 1 << 8;
/// DMA command: start; from the device to memory; with an interrupt.
pub const DMA_START: u64 = 1 << 0;
/// DMA command: from the device to memory.
pub const DMA_TO_MEMORY: u64 = 1 << 1;
/// DMA command: an interrupt at the end.
pub const DMA_INTERRUPT: u64 = 1 << 2;
/// Where the buffer in the device begins, and its size in bytes.
pub const BUFFER: (u64, usize) = (0x4_0000, 4096);

/// All registers that generic tests look at.
const TABLE: &[&dyn AnyRegister] =
    &[&IDENTITY, &STATUS, &INTERRUPTS, &DMA_SOURCE, &DMA_TARGET, &DMA_COUNT];

/// What its configuration space says: message-signalled interrupts (5).
const FUNCTION: Identity = Identity {
    vendor: 0x1234,
    device: 0x11e8,
    revision: 0x10,
    class: 0x00_ff_00,
    subsystem: (0x1af4, 0x1100),
    pin: 1,
    bars: &[ExpectedBar {
        number: 0,
        space: Space::Memory,
        size: 0x10_0000,
        witness: Some(IDENTITY.offset()),
    }],
    capabilities: &[5],
};

/// QEMU's `edu`. It reaches all of memory here, not 256 MiB of it.
pub struct Edu {
    /// Where it is plugged in, and its registers.
    pub plug: PciPlug,
}

impl Consumes<dyn PciBus> for Edu {
    const ARGS: QemuArgs = QemuArgs::device("bus={bus},addr={addr},dma_mask=0xffffffffffff");

    fn attach(bus: Rc<dyn PciBus>, site: &Site) -> Result<Self> {
        Ok(Self { plug: PciPlug::attach(&bus, site, 0)? })
    }
}

impl Produces<PciFunction> for Edu {
    fn produced(self: Rc<Self>) -> Rc<PciFunction> {
        self.plug.function(FUNCTION)
    }
}

impl Produces<RegisterBlock> for Edu {
    fn produced(self: Rc<Self>) -> Rc<RegisterBlock> {
        Rc::new(self.plug.block("EDU device", TABLE).faults(FAULTS))
    }
}

/// What QEMU does otherwise.
const FAULTS: &[crate::qos::registers::Fault] = &[crate::qos::registers::Fault::new(
    &["status", "DMA source", "DMA destination", "DMA count"],
    &[crate::qos::registers::Rule::MachineReset],
    "QEMU's edu is not reset with the machine",
)];

driver!(Edu = "edu"; consumes dyn PciBus; produces PciFunction, RegisterBlock);
