//! virtio, the driver's side, in three layers: [`Transport`] (PCI and MMIO, legacy and
//! modern), rings of raw descriptors ([`SplitRing`], [`PackedRing`]), and [`Queue`], which
//! uses a ring as the specification wants it. Section numbers are those of the virtio
//! specification, version 1.2. What a kind of device does is in a file of its own.

pub mod balloon;
pub mod blk;
mod blk_disk;
pub mod crypto;
pub mod crypto_rsa;
mod device;
pub mod gpu;
pub mod input;
pub mod iommu;
mod iommu_translation;
mod kind;
pub mod mem;
mod mmio;
pub mod net;
pub mod net_header;
pub mod p9;
pub mod p9_files;
mod packed;
mod pci;
mod pci_legacy;
mod pci_modern;
pub mod pmem;
mod queue;
mod raw;
mod registers;
pub mod rng;
pub mod scsi;
mod scsi_hba;
pub mod serial;
pub mod sound;
mod split;
mod transport;

use crate::Result;
use crate::interface;
use crate::protocol::Endian;
use crate::qemu::Buffer;

pub use device::Virtio;
pub use kind::{Features, Kind, Plain};
pub use mmio::{Slot, Slots, VirtioBus};
pub use packed::PackedRing;
pub use pci::{VENDOR_ID, VirtioPci};
pub use queue::{Queue, Used};
pub use raw::RawQueue;
pub use split::SplitRing;
pub use transport::{Area, RingAddresses, Transport, Window};

interface!(Virtio = "virtio");

/// Device status (2.1): the guest has noticed the device.
pub const ACKNOWLEDGE: u8 = 1;
/// Device status: the guest knows how to drive it.
pub const DRIVER: u8 = 2;
/// Device status: the driver is ready.
pub const DRIVER_OK: u8 = 4;
/// Device status: feature negotiation is complete.
pub const FEATURES_OK: u8 = 8;
/// Device status: the device is in a state from which only a reset helps.
pub const DEVICE_NEEDS_RESET: u8 = 64;
/// Device status: the guest has given up on the device.
pub const FAILED: u8 = 128;

/// Interrupt status (4.1.4.5, 4.2.2): a used buffer notification.
pub const ISR_QUEUE: u8 = 1;
/// Interrupt status: a configuration change notification.
pub const ISR_CONFIG: u8 = 2;

/// Feature bits that are not those of one kind of device (chapter 6; 6.3 for legacy).
pub mod features {
    /// Legacy: notify the driver when the available ring is empty, even if suppressed.
    pub const NOTIFY_ON_EMPTY: u64 = 1 << 24;
    /// Legacy: the device takes buffers split up in any way.
    pub const ANY_LAYOUT: u64 = 1 << 27;
    /// Descriptors may point to tables of descriptors (2.7.5.3, 2.8.7).
    pub const INDIRECT_DESC: u64 = 1 << 28;
    /// Notifications are suppressed by index (2.7.7, 2.8.10).
    pub const EVENT_IDX: u64 = 1 << 29;
    /// Never used by the specification; QEMU offers it to legacy drivers, and takes one
    /// that accepts it for one that accepts whatever it sees.
    pub const UNUSED_30: u64 = 1 << 30;
    /// What only legacy interfaces offer (6.3), or QEMU through those.
    pub const LEGACY: u64 = NOTIFY_ON_EMPTY | ANY_LAYOUT | UNUSED_30;
    /// The device complies with version 1.
    pub const VERSION_1: u64 = 1 << 32;
    /// The device uses the platform's translation of addresses.
    pub const ACCESS_PLATFORM: u64 = 1 << 33;
    /// Packed rings (2.8).
    pub const RING_PACKED: u64 = 1 << 34;
    /// Buffers are used in the order in which they were made available.
    pub const IN_ORDER: u64 = 1 << 35;
    /// The driver tells more in its notifications.
    pub const NOTIFICATION_DATA: u64 = 1 << 38;
    /// One queue can be reset.
    pub const RING_RESET: u64 = 1 << 40;
}

/// Descriptor flag (2.7.5): the buffer goes on in another descriptor.
pub const DESC_F_NEXT: u16 = 1;
/// Descriptor flag: the device writes, instead of reading.
pub const DESC_F_WRITE: u16 = 2;
/// Descriptor flag: what it points to is a table of descriptors.
pub const DESC_F_INDIRECT: u16 = 4;

/// A piece of guest memory, as one element of a buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// Guest-physical address.
    pub address: u64,
    /// Length in bytes.
    pub length: u32,
    /// Whether the device writes it.
    pub writable: bool,
}

impl Segment {
    /// All of `buffer`, for the device to read.
    pub fn readable(buffer: &Buffer) -> Self {
        Self { address: buffer.address().0, length: buffer.len() as u32, writable: false }
    }

    /// All of `buffer`, for the device to write.
    pub fn writable(buffer: &Buffer) -> Self {
        Self { writable: true, ..Self::readable(buffer) }
    }

    fn flags(self) -> u16 {
        if self.writable { DESC_F_WRITE } else { 0 }
    }
}

/// Numbers in a buffer, in the byte order that the device uses.
pub trait Ordered {
    /// Reads 16 bits at `offset`.
    ///
    /// # Errors
    /// The range is not in the buffer, or QEMU does not answer; so for all of these.
    fn get16(&self, order: Endian, offset: usize) -> Result<u16>;
    /// Writes 16 bits at `offset`.
    ///
    /// # Errors
    /// As for [`Ordered::get16`].
    fn put16(&self, order: Endian, offset: usize, value: u16) -> Result<()>;
    /// Reads 32 bits at `offset`.
    ///
    /// # Errors
    /// As for [`Ordered::get16`].
    fn get32(&self, order: Endian, offset: usize) -> Result<u32>;
    /// Writes 32 bits at `offset`.
    ///
    /// # Errors
    /// As for [`Ordered::get16`].
    fn put32(&self, order: Endian, offset: usize, value: u32) -> Result<()>;
    /// Writes 64 bits at `offset`.
    ///
    /// # Errors
    /// As for [`Ordered::get16`].
    fn put64(&self, order: Endian, offset: usize, value: u64) -> Result<()>;
}

impl Ordered for Buffer {
    fn get16(&self, order: Endian, offset: usize) -> Result<u16> {
        match order {
            Endian::Little => self.read_le16(offset),
            Endian::Big => self.read_be16(offset),
        }
    }

    fn put16(&self, order: Endian, offset: usize, value: u16) -> Result<()> {
        match order {
            Endian::Little => self.write_le16(offset, value),
            Endian::Big => self.write_be16(offset, value),
        }
    }

    fn get32(&self, order: Endian, offset: usize) -> Result<u32> {
        match order {
            Endian::Little => self.read_le32(offset),
            Endian::Big => self.read_be32(offset),
        }
    }

    fn put32(&self, order: Endian, offset: usize, value: u32) -> Result<()> {
        match order {
            Endian::Little => self.write_le32(offset, value),
            Endian::Big => self.write_be32(offset, value),
        }
    }

    fn put64(&self, order: Endian, offset: usize, value: u64) -> Result<()> {
        match order {
            Endian::Little => self.write_le64(offset, value),
            Endian::Big => self.write_be64(offset, value),
        }
    }
}
