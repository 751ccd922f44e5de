//! The registers of AMD's IOMMU, and the words of its commands, its events and its device table
//! ("AMD I/O Virtualization Technology (IOMMU) Specification", 48882, revision 3.00).

use crate::qos::registers::{self, AnyRegister, Register, Rule};

/// Bits of an address that is aligned to pages.
pub const PAGES: u64 = 0xf_ffff_ffff_f000;
/// Bits of the length of a ring, as a power of two of entries.
pub const LENGTH: u64 = 0xf << 56;

/// Where the device table is, and its size.
pub const DEVICE_TABLE: Register<u64> = Register::new("Device Table Base Address", 0x00)
    .section("3.4.1")
    .reset(0)
    .kept(PAGES | 0x1ff)
    .reserved(!(PAGES | 0x1ff));
/// Where the command buffer is, and its length.
pub const COMMAND_BASE: Register<u64> = Register::new("Command Buffer Base Address", 0x08)
    .section("3.4.1")
    .kept(PAGES | LENGTH)
    .reserved(!(PAGES | LENGTH));
/// Where the event log is, likewise.
pub const EVENT_BASE: Register<u64> = Register::new("Event Log Base Address", 0x10)
    .section("3.4.1")
    .kept(PAGES | LENGTH)
    .reserved(!(PAGES | LENGTH));
/// What is on.
pub const CONTROL: Register<u64> =
    Register::new("IOMMU Control", 0x18).section("3.4.1").reset(0).acts(0x1c).side_effect();
/// A range that is not translated.
pub const EXCLUSION_BASE: Register<u64> = Register::new("Exclusion Base", 0x20)
    .section("3.4.2")
    .reset(0)
    .kept(PAGES)
    .acts(3)
    .reserved(!(PAGES | 3));
/// Its last page.
pub const EXCLUSION_LIMIT: Register<u64> = Register::new("Exclusion Range Limit", 0x28)
    .section("3.4.2")
    .reset(0)
    .kept(PAGES)
    .reserved(!PAGES);
/// What it is able to.
pub const FEATURES: Register<u64> =
    Register::new("Extended Feature", 0x30).section("3.4.3").read_only();
/// How far the command buffer was read.
pub const COMMAND_HEAD: Register<u64> = Register::new("Command Buffer Head Pointer", 0x2000)
    .section("3.4.12")
    .reset(0)
    .acts(0x7_fff0)
    .reserved(!0x7_fff0);
/// How far it was written.
pub const COMMAND_TAIL: Register<u64> = Register::new("Command Buffer Tail Pointer", 0x2008)
    .section("3.4.12")
    .reset(0)
    .acts(0x7_fff0)
    .reserved(!0x7_fff0);
/// How far the event log was read.
pub const EVENT_HEAD: Register<u64> = Register::new("Event Log Head Pointer", 0x2010)
    .section("3.4.12")
    .reset(0)
    .acts(0x7_fff0)
    .reserved(!0x7_fff0);
/// How far it was written.
pub const EVENT_TAIL: Register<u64> = Register::new("Event Log Tail Pointer", 0x2018)
    .section("3.4.12")
    .reset(0)
    .acts(0x7_fff0)
    .reserved(!0x7_fff0);
/// What it is at, and what is pending.
pub const STATUS: Register<u64> =
    Register::new("IOMMU Status", 0x2020).section("3.4.12").reset(0).w1c(0x67).reserved(!0xff);

/// All of them.
pub const TABLE: &[&dyn AnyRegister] = &[
    &DEVICE_TABLE,
    &COMMAND_BASE,
    &EVENT_BASE,
    &CONTROL,
    &EXCLUSION_BASE,
    &EXCLUSION_LIMIT,
    &FEATURES,
    &COMMAND_HEAD,
    &COMMAND_TAIL,
    &EVENT_HEAD,
    &EVENT_TAIL,
    &STATUS,
];

/// What QEMU does otherwise.
pub const FAULTS: &[registers::Fault] = &[registers::Fault::new(
    &["Exclusion Base"],
    &[Rule::Kept],
    "amd-iommu: nothing is written to Exclusion Base",
)];

/// Bits of IOMMU Control.
pub mod control {
    /// It translates, IommuEn.
    pub const IOMMU: u64 = 1 << 0;
    /// Events are logged, EventLogEn.
    pub const LOG: u64 = 1 << 2;
    /// They interrupt, EventIntEn.
    pub const LOG_INTERRUPT: u64 = 1 << 3;
    /// A wait interrupts that wants to, ComWaitIntEn.
    pub const WAIT_INTERRUPT: u64 = 1 << 4;
    /// Commands are carried out, CmdBufEn.
    pub const COMMANDS: u64 = 1 << 12;
}

/// Bits of IOMMU Status.
pub mod status {
    /// An event was lost: EventOverflow.
    pub const OVERFLOW: u64 = 1 << 0;
    /// An event interrupts: EventLogInt.
    pub const LOG_INTERRUPT: u64 = 1 << 1;
    /// A wait interrupts: ComWaitInt.
    pub const WAIT_INTERRUPT: u64 = 1 << 2;
    /// Events are logged: EventLogRun.
    pub const LOG: u64 = 1 << 3;
    /// Commands are carried out: CmdBufRun.
    pub const COMMANDS: u64 = 1 << 4;
}

/// Extended Feature: all can be forgotten by one command, IASup.
pub const FORGETS_ALL: u64 = 1 << 6;
/// Extended Feature: how many levels tables have, HATS, less four.
pub const LEVELS: u64 = 3 << 10;

/// The bits of an entry of the device table (2.2.2.1), in its first 64.
pub mod device {
    /// The entry is valid.
    pub const V: u64 = 1 << 0;
    /// What it says of translation is.
    pub const TV: u64 = 1 << 1;
    /// How many levels the tables have, from bit 9 on: none translates nothing.
    pub const MODE: u32 = 9;
    /// The device may read.
    pub const IR: u64 = 1 << 61;
    /// It may write.
    pub const IW: u64 = 1 << 62;
}

/// Commands (2.4): a wait, entries of the device table, pages, tables of interrupts, and all.
pub const WAIT: u64 = 1 << 60;
/// An entry of the device table is to be forgotten.
pub const FORGET_DEVICE: u64 = 2 << 60;
/// Pages of a domain are.
pub const FORGET_PAGES: u64 = 3 << 60;
/// Everything is.
pub const FORGET_ALL: u64 = 8 << 60;
/// A wait stores its data in memory.
pub const STORE: u64 = 1 << 0;
/// A wait interrupts.
pub const INTERRUPT: u64 = 1 << 1;
/// Of pages: more than one, as the address says.
pub const SEVERAL: u64 = 1 << 0;
/// Of pages: what leads to them as well.
pub const DIRECTORIES: u64 = 1 << 1;
/// The address of all pages of a domain (2.4.3).
pub const ALL_PAGES: u64 = 0x7fff_ffff_ffff_f000;
/// What waits store.
pub const DONE: u64 = 0x600d_d0e5;

/// Codes of events (2.5.1).
pub mod event {
    /// An entry of the device table is wrong, or there is none: ILLEGAL_DEV_TABLE_ENTRY.
    pub const DEVICE: u64 = 1;
    /// A page may not be used so: IO_PAGE_FAULT.
    pub const PAGE: u64 = 2;
    /// An entry of the device table is in no memory: DEV_TAB_HARDWARE_ERROR.
    pub const DEVICE_MEMORY: u64 = 3;
    /// An entry of a page table is: PAGE_TAB_HARDWARE_ERROR.
    pub const PAGE_MEMORY: u64 = 4;
    /// A command is wrong: ILLEGAL_COMMAND_ERROR.
    pub const COMMAND: u64 = 5;
    /// A command is in no memory: COMMAND_HARDWARE_ERROR.
    pub const COMMAND_MEMORY: u64 = 6;
}
