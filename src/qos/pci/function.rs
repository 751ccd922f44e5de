//! The interface `pci-device`: a function on a PCI bus, and what its data sheet says of the
//! configuration space.

use std::rc::Rc;

use super::{Bar, PciDevice, Space};
use crate::interface;

/// A base address register that a device must have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExpectedBar {
    /// Which one, 0 to 5.
    pub number: u8,
    /// The space it maps into.
    pub space: Space,
    /// Its size in bytes.
    pub size: u64,
    /// The offset of a 32-bit register behind it that can be read without effect and then
    /// is neither all zeroes nor all ones, if there is one: by it one sees where the device
    /// answers.
    pub witness: Option<u64>,
}

/// What the configuration space says of a device that is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// Vendor ID.
    pub vendor: u16,
    /// Device ID.
    pub device: u16,
    /// Revision ID.
    pub revision: u8,
    /// Base class, sub-class and programming interface, 24 bits.
    pub class: u32,
    /// Subsystem vendor ID and subsystem ID.
    pub subsystem: (u16, u16),
    /// Interrupt pin: 0 for none, 1 for INTA#.
    pub pin: u8,
    /// Its BARs; it has no others.
    pub bars: &'static [ExpectedBar],
    /// The ids of its capabilities, in the order of the list.
    pub capabilities: &'static [u8],
}

/// A function on a PCI bus, enabled.
pub struct PciFunction {
    /// The function.
    pub device: PciDevice,
    /// What is known of it. Without it, tests check what holds of every function.
    pub identity: Option<Identity>,
    /// BARs that the driver has mapped, so that they stay so.
    pub mapped: Vec<Rc<Bar>>,
}

interface!(PciFunction = "pci-device");
