//! The first layer: how a driver reaches a device, whatever it is behind.

use super::{ISR_CONFIG, ISR_QUEUE};
use crate::protocol::Endian;
use crate::qos::registers::Registers;
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
}
