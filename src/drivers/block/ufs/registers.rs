//! The registers of a UFS host controller (JESD223E, UFSHCI 4.0, whose sections are cited).

use crate::qos::registers::Register;

/// Controller Capabilities.
pub const CAP: Register<u32> = Register::new("CAP", 0x00).section("5.2.1").read_only();
/// Multi-Circular Queue Capabilities.
pub const MCQCAP: Register<u32> = Register::new("MCQCAP", 0x04).section("5.2.2").read_only();
/// UFS Version.
pub const VER: Register<u32> = Register::new("VER", 0x08).section("5.2.3").read_only();
/// Interrupt Status.
pub const IS: Register<u32> = Register::new("IS", 0x20).section("5.3.1");
/// Interrupt Enable.
pub const IE: Register<u32> = Register::new("IE", 0x24).section("5.3.2");
/// Host Controller Status.
pub const HCS: Register<u32> = Register::new("HCS", 0x30).section("5.3.3").read_only();
/// Host Controller Enable.
pub const HCE: Register<u32> = Register::new("HCE", 0x34).section("5.3.4");
/// UTP Transfer Request List Base Address, both halves.
pub const UTRLBA: Register<u32> = Register::new("UTRLBA", 0x50).section("5.4.1");
/// Its upper half.
pub const UTRLBAU: Register<u32> = Register::new("UTRLBAU", 0x54).section("5.4.2");
/// UTP Transfer Request List Door Bell.
pub const UTRLDBR: Register<u32> = Register::new("UTRLDBR", 0x58).section("5.4.3");
/// UTP Transfer Request List Run Stop.
pub const UTRLRSR: Register<u32> = Register::new("UTRLRSR", 0x60).section("5.4.5");
/// UTP Transfer Request List Completion Notification.
pub const UTRLCNR: Register<u32> = Register::new("UTRLCNR", 0x64).section("5.4.6");
/// UIC Command.
pub const UICCMD: Register<u32> = Register::new("UICCMD", 0x90).section("5.6.1");
/// UIC Command Argument 2: the result.
pub const UCMDARG2: Register<u32> = Register::new("UCMDARG2", 0x98).section("5.6.3");
/// Global Configuration.
pub const CONFIG: Register<u32> = Register::new("CONFIG", 0x300).section("5.8.1");

/// CAP: the number of transfer request slots, less one.
pub const CAP_NUTRS: u32 = 0x1f;
/// CAP: addresses of 64 bits; queues.
pub const CAP_64AS: u32 = 1 << 24;
/// CAP: queues beside the list of requests.
pub const CAP_MCQS: u32 = 1 << 30;
/// IS, IE: a transfer request is complete.
pub const UTRCS: u32 = 1 << 0;
/// IS, IE: a UIC command is complete.
pub const UCCS: u32 = 1 << 10;
/// IS, IE: there is an entry in a completion queue.
pub const CQES: u32 = 1 << 20;
/// HCS: a device is there; the lists of requests are ready; a UIC command can be given.
pub const HCS_DP: u32 = 1 << 0;
/// HCS: the list of transfer requests is ready.
pub const HCS_UTRLRDY: u32 = 1 << 1;
/// HCS: the list of task management requests is ready.
pub const HCS_UTMRLRDY: u32 = 1 << 2;
/// HCS: a UIC command can be given.
pub const HCS_UCRDY: u32 = 1 << 3;
/// UIC command: start the link (5.6.1).
pub const DME_LINK_STARTUP: u32 = 0x16;

/// Registers of a queue, from its own base on (5.9).
pub mod queue {
    /// The distance of two queues in bytes.
    pub const STRIDE: u64 = 0x40;
    /// Submission Queue Attributes: its size, its completion queue, whether it is enabled.
    pub const SQATTR: u64 = 0x00;
    /// Submission Queue Lower Base Address; the upper one is next.
    pub const SQLBA: u64 = 0x04;
    /// Where its doorbells are.
    pub const SQDAO: u64 = 0x0c;
    /// Completion Queue Attributes.
    pub const CQATTR: u64 = 0x20;
    /// Completion Queue Lower Base Address; the upper one is next.
    pub const CQLBA: u64 = 0x24;
    /// Where its doorbells are.
    pub const CQDAO: u64 = 0x2c;
    /// Where its interrupt status is.
    pub const CQISAO: u64 = 0x30;
    /// In both attributes: the queue is enabled.
    pub const ENABLED: u32 = 1 << 31;
}
