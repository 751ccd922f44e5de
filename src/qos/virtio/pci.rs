//! A virtio device that is a PCI function: which interface it has, and its interrupts.

use std::rc::Rc;

use super::pci_legacy::LegacyPci;
use super::pci_modern::{self, ModernPci};
use super::registers;
use super::transport::Transport;
use crate::qemu::Vm;
use crate::qos::pci::{Capability, PciAddress, PciBus, PciDevice, msix, regs};
use crate::qos::registers::{RegisterBlock, Registers};
use crate::{Error, Result};

/// The vendor of virtio devices (4.1.2).
pub const VENDOR_ID: u16 = 0x1af4;
/// Device IDs from here on are 0x1040 plus the device type; below it are transitional ones
/// (4.1.2).
const MODERN: u16 = 0x1040;
/// The last Device ID (4.1.2).
const LAST: u16 = 0x107f;
/// Transitional Device IDs, and the device types (4.1.2.1, chapter 5), which such devices have
/// in the Subsystem Device ID (4.1.2.3).
const TRANSITIONAL: [(u16, u16); 7] =
    [(0x1000, 1), (0x1001, 2), (0x1002, 5), (0x1003, 3), (0x1004, 8), (0x1005, 4), (0x1009, 9)];

/// The device type of a function, and whether it is a transitional device.
fn type_of(device: &PciDevice) -> Result<(u32, bool)> {
    let (vendor, id) = device.ids();
    let error = |what: &str| {
        Error::failed(format!("{} is {what}: {vendor:04x}:{id:04x}", device.address()))
    };
    match id {
        _ if vendor != VENDOR_ID => Err(error("no virtio device")),
        MODERN..=LAST => Ok(((id - MODERN).into(), false)),
        _ => match device.config_read16(regs::SUBSYSTEM_ID)? {
            kind if TRANSITIONAL.contains(&(id, kind)) => Ok((kind.into(), true)),
            kind => Err(error(&format!("no virtio device of type {kind}"))),
        },
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
    capabilities: Vec<Capability>,
    msix: Option<msix::Control>,
    transport: Rc<dyn Transport>,
    vectors: Rc<dyn Vectors>,
    interface: Interface,
}

/// Which interface of the function is used.
enum Interface {
    Legacy(Rc<LegacyPci>),
    Modern(Rc<ModernPci>),
}

impl Interface {
    /// The registers that the generic suite checks.
    fn registers(&self) -> Rc<dyn Registers> {
        match self {
            Self::Legacy(legacy) => legacy.bar().clone(),
            Self::Modern(modern) => modern.common_part().0,
        }
    }
}

impl VirtioPci {
    /// Reads back when a vector cannot be had.
    pub const NO_VECTOR: u16 = 0xffff;
    /// QEMU's name of the device in the PCI function.
    pub const PART: &str = "virtio-backend";

    /// The device at `at`.
    ///
    /// # Errors
    /// None is there, or as for [`VirtioPci::new`].
    pub fn find(bus: &Rc<dyn PciBus>, at: PciAddress, vm: &Vm) -> Result<Self> {
        Self::new(PciDevice::find(bus, at)?, vm)
    }

    /// The virtio device that `device` is: through its legacy interface if its ID says that it
    /// has one, and the bus has I/O ports, where that is.
    ///
    /// # Errors
    /// It is not virtio as its IDs and capabilities should say, or its registers cannot be
    /// mapped.
    pub fn new(device: PciDevice, vm: &Vm) -> Result<Self> {
        let bus = device.bus();
        let (device_type, is_transitional) = type_of(&device)?;
        let capabilities = device.capabilities()?;
        let msix = msix::Control::find(&device, &capabilities)?;
        let (transport, vectors, interface): (Rc<dyn Transport>, Rc<dyn Vectors>, _) =
            if is_transitional && bus.windows().has_ports() {
                let order = vm.endian()?;
                let window = pci_modern::window(&device, &capabilities)?;
                let legacy = LegacyPci::new(&device, device_type, msix.clone(), order, window)?;
                let legacy = Rc::new(legacy);
                (legacy.clone(), legacy.clone(), Interface::Legacy(legacy))
            } else {
                let modern = Rc::new(ModernPci::new(&device, device_type, &capabilities)?);
                (modern.clone(), modern.clone(), Interface::Modern(modern))
            };
        device.enable()?;
        let virtio = Self { device, capabilities, msix, transport, vectors, interface };
        virtio.asserts_intx()?;
        Ok(virtio)
    }

    /// Its registers as the generic suite takes them, with the first queue selected.
    ///
    /// # Errors
    /// QEMU does not answer.
    pub fn block(&self, vm: &Rc<Vm>) -> Result<RegisterBlock> {
        let (device, vm) = (self.device.clone(), vm.clone());
        let again = move || -> Result<Rc<dyn Registers>> {
            device.bus().reopen()?;
            Ok(Self::new(device.clone(), &vm)?.interface.registers())
        };
        let registers = self.interface.registers();
        match &self.interface {
            Interface::Legacy(_) => registers::legacy(registers, again),
            Interface::Modern(modern) => {
                let length = modern.common_part().1;
                registers::common(registers, length, self.msix.is_some(), again)
            }
        }
    }

    /// The PCI function.
    pub fn device(&self) -> &PciDevice {
        &self.device
    }

    /// Its capability list, in its order.
    pub fn capabilities(&self) -> &[Capability] {
        &self.capabilities
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
    /// Status says more than that, and that there is a capability list: QEMU's virtio devices
    /// claim no abilities of their bus interface.
    pub fn asserts_intx(&self) -> Result<bool> {
        let status = self.device.status()?;
        let others = status & !regs::STATUS_INTERRUPT;
        if others != regs::STATUS_CAP_LIST {
            let at = self.device.address();
            return Err(Error::failed(format!("{at}: Status is {status:#06x}")));
        }
        Ok(status != others)
    }
}
