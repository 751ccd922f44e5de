//! The little operating system that drivers and tests lean on: registers, PCI, SD, I2C,
//! Ethernet, as traits and the logic that all their drivers share. It does not know which
//! machine it runs on.

pub mod ahci;
pub mod block;
pub mod can;
pub mod display;
pub mod dma;
mod failed_waits;
pub mod flash;
pub mod fuzz;
pub mod fw_cfg;
pub mod gpio;
pub mod i2c;
pub mod ide;
pub mod intc;
pub mod interrupt;
pub mod iommu;
pub mod ipmi;
pub mod isa;
pub mod local_apic;
pub mod net;
pub mod nic;
pub mod packets;
pub mod pci;
pub mod platform_bus;
pub mod ps2;
pub mod pvpanic;
pub mod qom;
pub mod registers;
mod reset;
pub mod rtc;
pub mod scsi;
pub mod sd;
pub mod sdhci;
pub mod sound;
pub mod spi;
mod stream;
pub mod sweep;
pub mod tap;
pub mod timer;
pub mod tpm;
pub mod uart;
pub mod usb;
pub mod vhost;
pub mod virtio;

mod wait;
pub mod watchdog;

pub use reset::{reset, reset_from_any_state};
pub use wait::{settle, wait_event, wait_until, wait_with_clock_still};
