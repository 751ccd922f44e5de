//! What Intel's gigabit controllers do besides moving frames: statistics, checksums, segmentation,
//! tags, the PHY, filters' every mode, interrupt causes and their moderation (PCI/PCI-X Family of
//! Gigabit Ethernet Controllers Software Developer's Manual; 82574 GbE Controller Family
//! Datasheet, which has the same registers).

mod advanced;
pub(super) mod basics;
mod bench;
mod causes;
mod offload;
mod phy;
mod receive;
mod statistics;
mod vlan;
