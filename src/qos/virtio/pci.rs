//! A virtio device that is a PCI function: which interface it has, and its interrupts.

use std::rc::Rc;

use super::pci_legacy::LegacyPci;
use super::pci_modern::ModernPci;
use super::transport::Transport;
use crate::qemu::Vm;
use crate::qos::pci::{PciAddress, PciBus, PciDevice, msix, regs};
use crate::{Error, Result};

/// The vendor of virtio devices (4.1.2).
pub const VENDOR_ID: u16 = 0x1af4;
/// Device IDs from here on are 0x1040 plus the device type; below it are transitional
/// ones, which have their type in the subsystem ID (4.1.2.1, 4.1.2.3).
const MODERN: u16 = 0x1040;
/// Subsystem ID in configuration space (PCI 3.0, 6.2.4).
const SUBSYSTEM_ID: u16 = 0x2e;

/// Which kind of device a function is.
pub(super) fn type_of(device: &PciDevice) -> Result<u32> {
    match device.device_id()?.checked_sub(MODERN) {
        Some(kind) => Ok(kind.into()),
        None => Ok(device.config_read16(SUBSYSTEM_ID)?.into()),
    }
}

/// Which MSI-X vectors the device uses (4.1.5.1.2). Both return what the register reads
/// as afterwards: the same, or [`super::VirtioPci::NO_VECTOR`] if the device cannot.
pub trait Vectors {
    /// Sets the vector of configuration changes.
    ///
    /// # Errors
    /// QEMU does not answer.
    fn set_config_vector(&self, vector: u16) -> Result<u16>;

    /// Sets the vector of a queue.
    ///
    /// # Errors
    /// QEMU does not answer.
    fn set_queue_vector(&self, queue: u16, vector: u16) -> Result<u16>;
}

/// A virtio device on a PCI bus.
pub struct VirtioPci {
    device: PciDevice,
    /// Status without the interrupt, which alone changes.
    status: u16,
    msix: Option<msix::Control>,
    transport: Rc<dyn Transport>,
    vectors: Rc<dyn Vectors>,
}

impl VirtioPci {
    /// Reads back when a vector cannot be had.
    pub const NO_VECTOR: u16 = 0xffff;

    /// The device at `at`: through its legacy interface if its ID says that it has one, and
    /// the bus has I/O ports, where that is.
    ///
    /// # Errors
    /// None is there, or it is not virtio, or its registers cannot be mapped.
    pub fn find(bus: &Rc<dyn PciBus>, at: PciAddress, vm: &Vm) -> Result<Self> {
        let device = PciDevice::find(bus, at)?;
        let (vendor, id) = (device.vendor_id()?, device.device_id()?);
        if vendor != VENDOR_ID {
            return Err(Error::failed(format!("{at} is no virtio device: {vendor:04x}:{id:04x}")));
        }
        let capabilities = device.capabilities()?;
        let msix = msix::Control::find(&device, &capabilities)?;
        let (transport, vectors): (Rc<dyn Transport>, Rc<dyn Vectors>) =
            if id < MODERN && bus.windows().has_ports() {
                let legacy = Rc::new(LegacyPci::new(&device, msix.clone(), vm.endian()?)?);
                (legacy.clone(), legacy)
            } else {
                let modern = Rc::new(ModernPci::new(&device, &capabilities)?);
                (modern.clone(), modern)
            };
        device.enable()?;
        let status = device.config_read16(regs::STATUS)? & !regs::STATUS_INTERRUPT;
        Ok(Self { device, status, msix, transport, vectors })
    }

    /// The PCI function.
    pub fn device(&self) -> &PciDevice {
        &self.device
    }

    /// Its registers.
    pub fn transport(&self) -> &Rc<dyn Transport> {
        &self.transport
    }

    /// Its MSI-X, if it has that.
    pub fn msix(&self) -> Option<&msix::Control> {
        self.msix.as_ref()
    }

    /// Its interrupt vectors.
    pub fn vectors(&self) -> &dyn Vectors {
        &*self.vectors
    }

    /// Whether the function asserts its INTx line.
    ///
    /// # Errors
    /// Another bit of Status has changed.
    pub fn asserts_intx(&self) -> Result<bool> {
        let now = self.device.config_read16(regs::STATUS)?;
        if now & !regs::STATUS_INTERRUPT != self.status {
            return Err(Error::failed(format!(
                "{}: Status was {:#06x} and is {now:#06x}",
                self.device.address(),
                self.status
            )));
        }
        Ok(now & regs::STATUS_INTERRUPT != 0)
    }
}
