//! The registers of an NVMe controller (NVM Express 1.4, 3.1, whose sections are cited), as QEMU
//! has them with a controller memory buffer and a persistent memory region.

use crate::qos::registers::{AnyRegister, Fault, Register, Rule};

/// Controller Capabilities: 2048 entries in a queue, which must be contiguous, 7.5 seconds until
/// it is ready, pages of up to 64 KiB, both memories. The command sets depend on the version.
pub const CAP: Register<u64> = Register::new("CAP", 0x00)
    .section("3.1.1")
    .reset(0x0300_0000_0f01_07ff | 4 << 52)
    .undefined(0xff << 37)
    .read_only();
/// Version.
pub const VS: Register<u32> =
    Register::new("VS", 0x08).section("3.1.2").reset(0x1_0400).read_only();
/// Interrupt Mask Set.
pub const INTMS: Register<u32> = Register::new("INTMS", 0x0c)
    .section("3.1.3")
    .reset(0)
    .w1s(0xffff_ffff)
    .cleared_through(Register::new("INTMC", 0x10));
/// Interrupt Mask Clear.
pub const INTMC: Register<u32> =
    Register::new("INTMC", 0x10).section("3.1.4").reset(0).side_effect();
/// Controller Configuration.
pub const CC: Register<u32> = Register::new("CC", 0x14)
    .section("3.1.5")
    .reset(0)
    .kept(0x00ff_3ff0)
    .acts(CC_EN as u64 | 3 << 14)
    .reserved(0xff00_000e);
/// Controller Status.
pub const CSTS: Register<u32> =
    Register::new("CSTS", 0x1c).section("3.1.6").reset(0).reserved(0xffff_ffc0);
/// Admin Queue Attributes.
pub const AQA: Register<u32> = Register::new("AQA", 0x24)
    .section("3.1.8")
    .reset(0)
    .kept(0x0fff_0fff)
    .reserved(0xf000_f000)
    .survives_software_reset();
/// Admin Submission Queue Base Address.
pub const ASQ: Register<u64> = Register::new("ASQ", 0x28)
    .section("3.1.9")
    .reset(0)
    .kept(0xffff_ffff_ffff_f000)
    .reserved(0xfff)
    .survives_software_reset();
/// Admin Completion Queue Base Address.
pub const ACQ: Register<u64> = Register::new("ACQ", 0x30)
    .section("3.1.10")
    .reset(0)
    .kept(0xffff_ffff_ffff_f000)
    .reserved(0xfff)
    .survives_software_reset();
/// Controller Memory Buffer Location: nothing until CMBMSC says so.
pub const CMBLOC: Register<u32> =
    Register::new("CMBLOC", 0x38).section("3.1.11").reset(0).read_only();
/// Controller Memory Buffer Size: likewise.
pub const CMBSZ: Register<u32> =
    Register::new("CMBSZ", 0x3c).section("3.1.12").reset(0).read_only();
/// Controller Memory Buffer Memory Space Control.
pub const CMBMSC: Register<u64> =
    Register::new("CMBMSC", 0x50).section("3.1.16").reset(0).side_effect();
/// Controller Memory Buffer Status.
pub const CMBSTS: Register<u32> =
    Register::new("CMBSTS", 0x58).section("3.1.17").reset(0).read_only();
/// Persistent Memory Region Capabilities: read and written through the host's window, by BAR 4;
/// reading PMRSTS makes sure of what was written; it can be an address of commands.
pub const PMRCAP: Register<u32> =
    Register::new("PMRCAP", 0xe00).section("3.1.18").reset(0x0100_0098 | 2 << 10).read_only();
/// Persistent Memory Region Control.
pub const PMRCTL: Register<u32> =
    Register::new("PMRCTL", 0xe04).section("3.1.19").reset(0).side_effect();
/// Persistent Memory Region Status.
pub const PMRSTS: Register<u32> =
    Register::new("PMRSTS", 0xe08).section("3.1.20").reset(0).undefined(1 << 8).read_only();

/// CAP: there is a controller memory buffer.
pub const CAP_CMBS: u64 = 1 << 57;
/// CAP: there is a persistent memory region.
pub const CAP_PMRS: u64 = 1 << 56;
/// CC: the controller is enabled.
pub const CC_EN: u32 = 1;
/// CC: entries of completion queues have 16 bytes, those of submission queues 64.
pub const CC_ENTRIES: u32 = 4 << 20 | 6 << 16;
/// CC: all I/O command sets that the controller has (CSS).
pub const CC_CSS_ALL: u32 = 6 << 4;
/// CC: the device shuts down as usual, or at once.
pub const CC_SHN: u32 = 3 << 14;
/// CSTS: it takes commands.
pub const CSTS_RDY: u32 = 1;
/// CSTS: it could not be enabled, or has failed since.
pub const CSTS_CFS: u32 = 2;
/// CSTS: it has shut down.
pub const CSTS_SHST: u32 = 3 << 2;
/// CSTS: it has shut down: the value of CSTS_SHST then.
pub const CSTS_SHST_COMPLETE: u32 = 2 << 2;
/// PMRCTL: the memory is enabled.
pub const PMRCTL_EN: u32 = 1;
/// PMRSTS: the memory is not ready.
pub const PMRSTS_NRDY: u32 = 1 << 8;
/// CMBMSC: CMBLOC and CMBSZ tell what there is.
pub const CMBMSC_CRE: u64 = 1;
/// CMBMSC: commands may have addresses in the controller memory buffer.
pub const CMBMSC_CMSE: u64 = 2;

/// The first doorbell: the tail of submission queue 0. The head of completion queue 0 follows,
/// then those of queue 1 (3.1.25, 3.1.26).
pub const DOORBELLS: u64 = 0x1000;

/// All registers.
pub const TABLE: &[&dyn AnyRegister] = &[
    &CAP, &VS, &INTMS, &INTMC, &CC, &CSTS, &AQA, &ASQ, &ACQ, &CMBLOC, &CMBSZ, &CMBMSC, &CMBSTS,
    &PMRCAP, &PMRCTL, &PMRSTS,
];

/// What QEMU does otherwise.
pub const FAULTS: &[Fault] = &[Fault::new(
    &["AQA", "ASQ", "ACQ"],
    &[Rule::MachineReset],
    "QEMU's nvme does not reset AQA, ASQ and ACQ with the machine",
)];
