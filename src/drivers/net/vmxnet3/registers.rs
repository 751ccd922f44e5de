//! What VMware's driver knows of vmxnet3: registers, commands, and what is shared in memory.

use crate::qos::registers::{AnyRegister, Register};

/// BAR 0: the mask of interrupt 0; others follow, 8 bytes apart.
pub const IMR: Register<u32> = Register::new("IMR", 0x000).reset(1).kept(1);
/// BAR 0: there is something to send; the index behind the last descriptor.
pub const TXPROD: Register<u32> = Register::new("TXPROD", 0x600).write_only().side_effect();
/// BAR 0: there are buffers to receive into, of ring 0 and of ring 1.
pub const RXPROD: Register<u32> = Register::new("RXPROD", 0x800).write_only().side_effect();
/// As [`RXPROD`].
pub const RXPROD2: Register<u32> = Register::new("RXPROD2", 0xa00).write_only().side_effect();
/// How far apart the registers of two interrupts or queues are, in bytes.
pub const STRIDE: u64 = 8;
/// How many interrupts there are.
pub const INTERRUPTS: u64 = 25;

/// BAR 1: the revisions of the device, and of the pass-through interface, as bits.
pub const REVISION: Register<u32> = Register::new("VRRS", 0x00).reset(1).side_effect();
/// As [`REVISION`].
pub const UPT_REVISION: Register<u32> = Register::new("UVRS", 0x08).reset(1).side_effect();
/// Where the shared memory is, its lower half.
pub const SHARED_LOW: Register<u32> = Register::new("DSAL", 0x10).write_only().side_effect();
/// Its upper half, which is written last.
pub const SHARED_HIGH: Register<u32> = Register::new("DSAH", 0x18).write_only().side_effect();
/// Command, and its answer.
pub const COMMAND: Register<u32> = Register::new("CMD", 0x20).read_effect().side_effect();
/// The station's address, its first four bytes.
pub const ADDRESS_LOW: Register<u32> = Register::new("MACL", 0x28).side_effect();
/// Its last two bytes, which are written last.
pub const ADDRESS_HIGH: Register<u32> = Register::new("MACH", 0x30).side_effect();
/// Interrupt Cause: whether the pin is asserted, which a read takes back.
pub const CAUSE: Register<u32> = Register::new("ICR", 0x38).reset(0).clears_on_read();
/// Event Cause: ones clear bits of [`shared::EVENTS`].
pub const EVENT_CAUSE: Register<u32> = Register::new("ECR", 0x40).write_only().side_effect();

/// The registers of BAR 1 that generic tests look at.
pub const TABLE: &[&dyn AnyRegister] =
    &[&REVISION, &UPT_REVISION, &SHARED_LOW, &SHARED_HIGH, &COMMAND, &CAUSE, &EVENT_CAUSE];

/// Commands that set something.
pub mod command {
    /// Starts the device with what is shared.
    pub const ACTIVATE: u32 = 0xcafe_0000;
    /// Stops it.
    pub const QUIESCE: u32 = 0xcafe_0001;
    /// Resets it.
    pub const RESET: u32 = 0xcafe_0002;
    /// Looks at the modes of the receive filter.
    pub const UPDATE_MODE: u32 = 0xcafe_0003;
    /// Looks at the groups of the receive filter.
    pub const UPDATE_GROUPS: u32 = 0xcafe_0004;
    /// Looks at the VLANs of the receive filter.
    pub const UPDATE_VLANS: u32 = 0xcafe_0005;
    /// Looks at the features.
    pub const UPDATE_FEATURES: u32 = 0xcafe_0009;
    /// Writes the statistics of all queues.
    pub const GET_STATISTICS: u32 = 0xf00d_0001;
    /// Whether the link is up, in bit 0, and its speed in Mbit/s from bit 16 on.
    pub const GET_LINK: u32 = 0xf00d_0002;
    /// The permanent address, its first four bytes and its last two.
    pub const GET_ADDRESS_LOW: u32 = 0xf00d_0003;
    /// As [`GET_ADDRESS_LOW`].
    pub const GET_ADDRESS_HIGH: u32 = 0xf00d_0004;
    /// The device's number.
    pub const GET_DEVICE: u32 = 0xf00d_0005;
    /// The device's revision.
    pub const GET_DEVICE_REVISION: u32 = 0xf00d_0006;
    /// How interrupts are to be set up.
    pub const GET_INTERRUPTS: u32 = 0xf00d_0008;
}

/// Offsets in the memory that driver and device share, in bytes.
pub mod shared {
    /// The bytes of it.
    pub const LENGTH: usize = 720;
    /// What it begins with.
    pub const MAGIC: u32 = 0xbabe_fee1;
    /// The driver's system.
    pub const SYSTEM: usize = 12;
    /// The revisions that the driver speaks, of the device and of the pass-through interface.
    pub const REVISIONS: usize = 16;
    /// Features.
    pub const FEATURES: usize = 24;
    /// Where the descriptions of the queues are, and how many bytes.
    pub const QUEUES: usize = 40;
    /// As [`QUEUES`].
    pub const QUEUES_LENGTH: usize = 52;
    /// The longest payload.
    pub const MTU: usize = 56;
    /// How many buffers a frame may have; how many queues there are to send and to receive.
    pub const MOST_BUFFERS: usize = 60;
    /// As [`MOST_BUFFERS`].
    pub const COUNTS: usize = 62;
    /// Whether an interrupt that is sent is masked by that; how many there are; that of events.
    pub const AUTO_MASK: usize = 80;
    /// As [`AUTO_MASK`].
    pub const INTERRUPTS: usize = 81;
    /// As [`AUTO_MASK`].
    pub const EVENT_INTERRUPT: usize = 82;
    /// The receive filter: modes, length of the list of groups, where it is, VLANs.
    pub const MODE: usize = 120;
    /// As [`MODE`].
    pub const GROUPS_LENGTH: usize = 124;
    /// As [`MODE`].
    pub const GROUPS: usize = 128;
    /// As [`MODE`].
    pub const VLANS: usize = 136;
    /// Events.
    pub const EVENTS: usize = 696;
    /// Event: the link changed.
    pub const EVENT_LINK: u32 = 1 << 2;
    /// Feature: tags are taken out.
    pub const FEATURE_TAGS: u32 = 1 << 2;

    /// Mode: own frames, groups of the list, broadcasts, all groups, all stations.
    pub const MODE_OWN: u32 = 1 << 0;
    /// As [`MODE_OWN`].
    pub const MODE_GROUPS: u32 = 1 << 1;
    /// As [`MODE_OWN`].
    pub const MODE_BROADCASTS: u32 = 1 << 2;
    /// As [`MODE_OWN`].
    pub const MODE_ALL_GROUPS: u32 = 1 << 3;
    /// As [`MODE_OWN`].
    pub const MODE_ALL: u32 = 1 << 4;
}

/// Offsets in the description of a queue, in bytes.
pub mod queue {
    /// The bytes of it.
    pub const LENGTH: usize = 256;
    /// Where its ring is; of a queue to receive from, its two rings.
    pub const RING: usize = 16;
    /// Where its ring of completions is.
    pub const COMPLETIONS: usize = 32;
    /// How many descriptors its ring has; of a queue to receive from, its two rings.
    pub const RING_SIZE: usize = 56;
    /// How many descriptors its ring of completions has.
    pub const COMPLETIONS_SIZE: usize = 64;
    /// Its interrupt.
    pub const INTERRUPT: usize = 72;
    /// Its ten statistics of 8 bytes.
    pub const STATISTICS: usize = 88;

    /// Statistics: frames to stations, groups and all, that were sent or received; their bytes
    /// follow each.
    pub const STATIONS: usize = 2;
    /// As [`STATIONS`].
    pub const GROUPS: usize = 4;
    /// As [`STATIONS`].
    pub const BROADCASTS: usize = 6;
    /// Statistics of a queue to receive from: there was no buffer.
    pub const NO_BUFFER: usize = 8;
    /// Statistics of a queue to send from: frames with an error.
    pub const SEND_ERRORS: usize = 8;
    /// Statistics of a queue to send from: frames that were discarded.
    pub const SEND_DISCARDS: usize = 9;
}

/// Bits of descriptors.
pub mod descriptor {
    /// To send, third word: its generation.
    pub const SEND_GENERATION: u32 = 1 << 14;
    /// To send, fourth word: the end of a frame; its completion is reported; a tag is put in.
    pub const SEND_END: u32 = 1 << 12;
    /// As [`SEND_END`].
    pub const SEND_REPORT: u32 = 1 << 13;
    /// As [`SEND_END`].
    pub const SEND_TAG: u32 = 1 << 15;
    /// To send, fourth word: a checksum is put in.
    pub const SEND_CHECKSUM: u32 = 2 << 10;
    /// To send, fourth word: the frame is cut to segments.
    pub const SEND_SEGMENTS: u32 = 3 << 10;
    /// To receive, third word: a buffer that no frame begins in.
    pub const BODY: u32 = 1 << 14;
    /// All others: the generation, in the last bit.
    pub const GENERATION: u32 = 1 << 31;
    /// Completion, first word: the end and the begin of a frame.
    pub const END: u32 = 1 << 14;
    /// As [`END`].
    pub const BEGIN: u32 = 1 << 15;
    /// Completion, first word: no checksum was looked at.
    pub const UNCHECKED: u32 = 1 << 30;
    /// Completion, third word: an error; a tag was taken out.
    pub const ERROR: u32 = 1 << 14;
    /// As [`ERROR`].
    pub const HAD_TAG: u32 = 1 << 15;
    /// Bits of a length.
    pub const LENGTH: u32 = 0x3fff;
}
