//! The first layer: how a driver reaches a device, whatever it is behind.

use std::rc::Rc;

use super::{ISR_CONFIG, ISR_QUEUE};
use crate::protocol::Endian;
use crate::qos::pci::PciDevice;
use crate::qos::registers::{Registers, Width};
use crate::{Error, Result};

/// Where the three parts of a virtqueue are, as guest-physical addresses (2.6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RingAddresses {
    /// The descriptor area.
    pub descriptors: u64,
    /// The driver area: the available ring of a split ring.
    pub driver: u64,
    /// The device area: the used ring of a split ring.
    pub device: u64,
}

/// Reads a register that is 0 or `one`; returns whether it is `one`.
///
/// # Errors
/// It is anything else.
pub(super) fn flag(what: &str, value: u32, one: u32) -> Result<bool> {
    match value {
        0 => Ok(false),
        value if value == one => Ok(true),
        value => Err(Error::failed(format!("{what} reads {value:#x}, neither 0 nor {one:#x}"))),
    }
}

/// Checks the interrupt status (4.1.4.5, 4.2.2): no bits but those of the specification.
///
/// # Errors
/// Others are set.
pub(super) fn interrupts(status: u32) -> Result<u8> {
    match status & !u32::from(ISR_QUEUE | ISR_CONFIG) {
        0 => Ok(status as u8),
        _ => Err(Error::failed(format!("interrupt status {status:#x} has reserved bits set"))),
    }
}

/// A virtio device's registers (chapter 4). Every method fails when QEMU does not answer.
pub trait Transport {
    /// Whether it is a device of version 1 or later, used as such; a legacy interface is
    /// not, also when the device has both.
    fn is_modern(&self) -> bool;

    /// The byte order of rings, headers and device configuration: that of the guest's CPU
    /// behind a legacy interface (2.7.3), little-endian otherwise (1.4).
    fn byte_order(&self) -> Endian;

    /// What kind of device it is (chapter 5).
    fn device_type(&self) -> Result<u32>;

    /// The features that the device offers.
    fn device_features(&self) -> Result<u64>;

    /// Tells the device which of them the driver accepts.
    fn set_driver_features(&self, features: u64) -> Result<()>;

    /// The device status field.
    fn status(&self) -> Result<u8>;

    /// Writes the device status field; 0 resets the device.
    fn set_status(&self, status: u8) -> Result<()>;

    /// The configuration's generation, which a legacy device does not have.
    fn config_generation(&self) -> Result<Option<u32>>;

    /// The device configuration.
    fn config(&self) -> &dyn Registers;

    /// Reads the interrupt status and acknowledges what it says.
    fn take_interrupts(&self) -> Result<u8>;

    /// The largest size that queue `queue` can have, 0 where there is no such queue.
    fn max_queue_size(&self, queue: u16) -> Result<u16>;

    /// Whether the size of a queue can be less than the largest.
    fn can_size_queues(&self) -> bool;

    /// Makes a queue live.
    fn enable_queue(&self, queue: u16, size: u16, at: RingAddresses) -> Result<()>;

    /// Whether a queue is live.
    fn is_queue_enabled(&self, queue: u16) -> Result<bool>;

    /// Has the device reset a queue (2.6.1). For a driver that has accepted RING_RESET.
    fn reset_queue(&self, queue: u16) -> Result<()>;

    /// Whether that reset goes on.
    fn is_queue_resetting(&self, queue: u16) -> Result<bool>;

    /// Tells the device that there are new buffers in `queue`.
    fn notify(&self, queue: u16) -> Result<()>;

    /// Makes a queue the one that the following three concern, whether it is there or not. These
    /// write to registers what a driver that follows the rules does not.
    fn select_queue(&self, queue: u16) -> Result<()>;

    /// Writes the size of the queue that is selected, where the interface has a register for that.
    fn write_queue_size(&self, size: u16) -> Result<()>;

    /// Writes where the rings of the queue that is selected are. A legacy interface takes the
    /// number of a page, of the first.
    fn write_queue_addresses(&self, at: RingAddresses) -> Result<()>;

    /// Writes whether the queue that is selected is live, where the interface has a register for
    /// that.
    fn write_queue_enable(&self, value: u16) -> Result<()>;

    /// Notifies a queue by its number, whether it is live, or there at all, or not.
    fn notify_any(&self, queue: u16) -> Result<()>;

    /// All registers, for accesses of every width at every offset.
    fn areas(&self) -> Vec<Area>;

    /// Where the device's own registers are in the memory that it reaches itself, if they are.
    fn own_memory(&self) -> Option<u64>;

    /// The window to the registers that is in the configuration space of a PCI function, if there
    /// is one (4.1.4.9).
    fn window(&self) -> Option<&Window> {
        None
    }
}

/// A device's registers as plain bytes.
pub struct Area {
    /// What they are.
    pub name: &'static str,
    /// The access to them.
    pub registers: Rc<dyn Registers>,
    /// How many bytes there are.
    pub length: u64,
    /// The widths of the accesses that are possible there.
    pub widths: &'static [Width],
}

/// The widths of accesses to memory.
pub(super) const MEMORY_WIDTHS: &[Width] = &[Width::Byte, Width::Word, Width::Long, Width::Quad];
/// The widths of accesses to ports.
pub(super) const PORT_WIDTHS: &[Width] = &[Width::Byte, Width::Word, Width::Long];

/// The window of 4.1.4.9: an access to its data is one to a BAR of the function.
pub struct Window {
    device: PciDevice,
    capability: u16,
    /// The BAR of the common configuration, and where it is in that.
    common: (u8, u32),
}

impl Window {
    /// The one of `device` whose capability is at `capability`, where the common configuration is
    /// in the BAR and at the offset of `common`.
    pub(super) fn new(device: &PciDevice, capability: u16, common: (u8, u32)) -> Self {
        Self { device: device.clone(), capability, common }
    }

    /// The BAR of the common configuration, and the offset at which that begins.
    pub fn common(&self) -> (u8, u32) {
        self.common
    }

    /// Points it at `length` bytes at `offset` of a BAR.
    ///
    /// # Errors
    /// QEMU does not answer.
    pub fn point(&self, bar: u8, offset: u32, length: u32) -> Result<()> {
        self.device.config_write8(self.capability + 4, bar)?;
        self.device.config_write32(self.capability + 8, offset)?;
        self.device.config_write32(self.capability + 12, length)
    }

    /// Reads its data.
    ///
    /// # Errors
    /// QEMU does not answer.
    pub fn read(&self, width: Width) -> Result<u32> {
        let at = self.capability + 16;
        Ok(match width {
            Width::Byte => self.device.config_read8(at)?.into(),
            Width::Word => self.device.config_read16(at)?.into(),
            _ => self.device.config_read32(at)?,
        })
    }

    /// Writes its data.
    ///
    /// # Errors
    /// QEMU does not answer.
    pub fn write(&self, width: Width, value: u32) -> Result<()> {
        let at = self.capability + 16;
        match width {
            Width::Byte => self.device.config_write8(at, value as u8),
            Width::Word => self.device.config_write16(at, value as u16),
            _ => self.device.config_write32(at, value),
        }
    }
}
