//! A driver: what stands between a bus and the tests of a device.
//!
//! The device is `edu`, which QEMU has for teaching how to write drivers. It answers with
//! its version, inverts what it is told, computes factorials and raises interrupts. Its
//! specification is docs/specs/edu in QEMU's documentation; the numbers here are from
//! there.

use std::rc::Rc;

use qgraph::graph::{Consumes, QemuArgs, Site};
use qgraph::qos::pci::{Bar, PciBus, PciDevice, regs};
use qgraph::qos::registers::{Registers, RegistersExt, Width};
use qgraph::{Error, Result};

/// PCI vendor ID.
pub const VENDOR: u16 = 0x1234;
/// PCI device ID.
pub const DEVICE: u16 = 0x11e8;

/// Identification, read-only: 0xRRrr00ed, RR the major and rr the minor version.
pub const IDENTIFICATION: u64 = 0x00;
/// Liveness check: reads as the inverse of what was written.
pub const LIVENESS: u64 = 0x04;
/// Factorial: takes a number, gives its factorial once [`COMPUTING`] is clear.
pub const FACTORIAL: u64 = 0x08;
/// Status.
pub const STATUS: u64 = 0x20;
/// Interrupt status, read-only: the bits raised and not yet acknowledged.
pub const INTERRUPT_STATUS: u64 = 0x24;
/// Interrupt raise, write-only: sets bits of the interrupt status.
pub const INTERRUPT_RAISE: u64 = 0x60;
/// Interrupt acknowledge, write-only: clears bits of the interrupt status.
pub const INTERRUPT_ACKNOWLEDGE: u64 = 0x64;

/// DMA source address.
pub const DMA_SOURCE: u64 = 0x80;
/// DMA destination address.
pub const DMA_DESTINATION: u64 = 0x88;
/// DMA transfer count, in bytes.
pub const DMA_COUNT: u64 = 0x90;
/// DMA command.
pub const DMA_COMMAND: u64 = 0x98;
/// The address at which DMA sees the device's own buffer of 4 KiB.
pub const DMA_BUFFER: u64 = 0x40000;
/// DMA command: start; reads as set until the transfer is done.
pub const DMA_START: u64 = 0x01;
/// DMA command: from the device's buffer to RAM.
pub const DMA_TO_RAM: u64 = 0x02;

/// Status, read-only: a factorial is being computed.
pub const COMPUTING: u32 = 0x01;
/// Status: raise [`FACTORIAL_INTERRUPT`] when a factorial is there.
pub const RAISE_WHEN_COMPUTED: u32 = 0x80;
/// Interrupt status: a factorial is there.
pub const FACTORIAL_INTERRUPT: u32 = 0x01;

/// What a path arrives at when it arrives at this node, and what tests get.
pub struct Edu {
    device: PciDevice,
    bar: Rc<Bar>,
    swapped: bool,
}

/// An edge of the graph: `pci-bus <--consumes-- edu`. The bus is an interface, a trait:
/// this file does not know whether there are ports behind it, or memory, or calls of
/// firmware. That the bus comes from a host bridge that fits is the compiler's concern.
impl Consumes<dyn PciBus> for Edu {
    /// What the command line needs for it: `-device edu,addr=04.0`.
    const ARGS: QemuArgs = QemuArgs::device("bus={bus},addr={addr}");

    /// Finds the device in the QEMU that was started with that option.
    fn attach(bus: Rc<dyn PciBus>, site: &Site) -> Result<Self> {
        let device = PciDevice::plugged(&bus, site)?;
        let bar = device.map_bar(0)?;
        device.enable()?;
        let mut edu = Self { device, bar, swapped: false };
        let identification = edu.registers().read32(IDENTIFICATION)?;
        edu.swapped = match identification.to_le_bytes() {
            [0xed, ..] => false,
            [.., 0xed] => true,
            _ => return Err(Error::failed(format!("no edu, it says it is {identification:#x}"))),
        };
        Ok(edu)
    }
}

/// A BAR's registers are little-endian, as PCI has it. Those of this device are not: the
/// specification does not tell their byte order, and QEMU 7.2 gives them that of the
/// target's CPU. So this driver looks, and suites see numbers.
impl Registers for Edu {
    fn read(&self, offset: u64, width: Width) -> Result<u64> {
        let value = self.bar.read(offset, width)?;
        Ok(if self.swapped { width.swap(value) } else { value })
    }

    fn write(&self, offset: u64, width: Width, value: u64) -> Result<()> {
        self.bar.write(offset, width, if self.swapped { width.swap(value) } else { value })
    }
}

// The node of that name. A driver that can be used through an interface would say here
// `; produces dyn ThatInterface`, and the suites of that interface would run on it.
qgraph::driver!(Edu = "edu"; consumes dyn PciBus);

impl Edu {
    /// The PCI function.
    pub fn device(&self) -> &PciDevice {
        &self.device
    }

    /// The BAR with the registers, for its size.
    pub fn bar(&self) -> &Bar {
        &self.bar
    }

    /// The registers. All below 0x80 are 32 bits wide.
    pub fn registers(&self) -> &dyn Registers {
        self
    }

    /// Whether the device asserts its interrupt line.
    ///
    /// # Errors
    /// QEMU does not answer.
    pub fn asserts_interrupt(&self) -> Result<bool> {
        Ok(self.device.config_read16(regs::STATUS)? & regs::STATUS_INTERRUPT != 0)
    }
}
