//! The registers of an extensible host controller (xHCI 1.1, whose sections are cited).

use crate::qos::registers::{AnyRegister, Fault, Register, Rule};

/// CAPLENGTH and HCIVERSION.
pub const VERSION: Register<u32> =
    Register::new("CAPLENGTH", 0x00).section("5.3.1").reset(0x0100_0040).read_only();
/// HCSPARAMS1: ports, interrupters, slots.
pub const PARAMETERS_1: Register<u32> =
    Register::new("HCSPARAMS1", 0x04).section("5.3.3").reset(0x0800_1040).read_only();
/// HCSPARAMS2.
pub const PARAMETERS_2: Register<u32> =
    Register::new("HCSPARAMS2", 0x08).section("5.3.4").reset(0x0f).read_only();
/// HCSPARAMS3.
pub const PARAMETERS_3: Register<u32> =
    Register::new("HCSPARAMS3", 0x0c).section("5.3.5").reset(0).read_only();
/// HCCPARAMS1: where extended capabilities are, in its upper half; the size of contexts.
pub const CAPABILITIES: Register<u32> =
    Register::new("HCCPARAMS1", 0x10).section("5.3.6").reset(0x0008_7001).read_only();
/// DBOFF: where doorbells are.
pub const DOORBELLS: Register<u32> =
    Register::new("DBOFF", 0x14).section("5.3.7").reset(0x2000).read_only();
/// RTSOFF: where runtime registers are.
pub const RUNTIME: Register<u32> =
    Register::new("RTSOFF", 0x18).section("5.3.8").reset(0x1000).read_only();

/// Where QEMU has the operational and the runtime registers; a driver asks.
const OPERATIONAL_AT: u64 = 0x40;
const RUNTIME_AT: u64 = 0x1000;

/// USBCMD.
pub const COMMAND: Register<u32> =
    Register::new("USBCMD", OPERATIONAL_AT).section("5.4.1").reset(0).kept(0x0c).acts(0xf83);
/// USBSTS.
pub const STATUS: Register<u32> =
    Register::new("USBSTS", OPERATIONAL_AT + 4).section("5.4.2").reset(1).w1c(0x41c);
/// PAGESIZE.
pub const PAGE_SIZE: Register<u32> =
    Register::new("PAGESIZE", OPERATIONAL_AT + 8).section("5.4.3").reset(1).read_only();
/// DNCTRL.
pub const NOTIFICATIONS: Register<u32> =
    Register::new("DNCTRL", OPERATIONAL_AT + 0x14).section("5.4.4").reset(0).kept(0xffff);
/// CRCR, whose pointer reads as zero.
pub const COMMAND_RING: Register<u32> = Register::new("CRCR", OPERATIONAL_AT + 0x18)
    .section("5.4.5")
    .reset(0)
    .write_only()
    .side_effect();
/// DCBAAP.
pub const CONTEXTS: Register<u32> =
    Register::new("DCBAAP", OPERATIONAL_AT + 0x30).section("5.4.6").reset(0).kept(0xffff_ffc0);
/// Its upper half.
pub const CONTEXTS_HIGH: Register<u32> =
    Register::new("DCBAAP-high", OPERATIONAL_AT + 0x34).section("5.4.6").reset(0).kept(0xffff_ffff);
/// CONFIG: the number of slots in use.
pub const CONFIG: Register<u32> =
    Register::new("CONFIG", OPERATIONAL_AT + 0x38).section("5.4.7").reset(0).kept(0xff);
/// PORTSC of the first port; those of the others follow.
pub const PORT: Register<u32> = Register::new("PORTSC", OPERATIONAL_AT + 0x400)
    .section("5.4.8")
    .reset(0x2a0)
    .kept(0x0e00_0000)
    .acts(0x8001_03f2)
    .w1c(0x00fe_0000)
    .undefined(0x3c00);

/// MFINDEX.
pub const FRAME: Register<u32> =
    Register::new("MFINDEX", RUNTIME_AT).section("5.5.1").volatile(0x3fff);
/// IMAN of the first interrupter.
pub const MANAGEMENT: Register<u32> =
    Register::new("IMAN", RUNTIME_AT + 0x20).section("5.5.2.1").reset(0).kept(2).w1c(1);
/// IMOD.
pub const MODERATION: Register<u32> =
    Register::new("IMOD", RUNTIME_AT + 0x24).section("5.5.2.2").reset(0xfa0).kept(0xffff_ffff);
/// ERSTSZ.
pub const SEGMENTS: Register<u32> =
    Register::new("ERSTSZ", RUNTIME_AT + 0x28).section("5.5.2.3.1").reset(0).kept(0xffff);
/// ERSTBA. A write begins the event ring anew.
pub const SEGMENT_TABLE: Register<u32> =
    Register::new("ERSTBA", RUNTIME_AT + 0x30).section("5.5.2.3.2").reset(0).side_effect();
/// ERDP.
pub const DEQUEUE: Register<u32> =
    Register::new("ERDP", RUNTIME_AT + 0x38).section("5.5.2.3.3").reset(0).side_effect();

/// USBCMD: run.
pub const COMMAND_RUN: u32 = 1 << 0;
/// USBCMD: reset.
pub const COMMAND_RESET: u32 = 1 << 1;
/// USBCMD: interrupts.
pub const COMMAND_INTERRUPTS: u32 = 1 << 2;
/// USBSTS: stopped.
pub const STATUS_HALTED: u32 = 1 << 0;
/// USBSTS: an error of the host.
pub const STATUS_HOST_ERROR: u32 = 1 << 2;
/// USBSTS: an event is pending.
pub const STATUS_EVENT: u32 = 1 << 3;
/// USBSTS: a port has changed.
pub const STATUS_PORT: u32 = 1 << 4;
/// USBSTS: not ready after a reset.
pub const STATUS_NOT_READY: u32 = 1 << 11;
/// USBSTS: an internal error.
pub const STATUS_CONTROLLER_ERROR: u32 = 1 << 12;
/// IMAN: pending; enabled.
pub const MANAGEMENT_PENDING: u32 = 1 << 0;
/// IMAN: enabled.
pub const MANAGEMENT_ENABLED: u32 = 1 << 1;
/// ERDP: the handler of events is busy; written as a one, it is not.
pub const DEQUEUE_BUSY: u32 = 1 << 3;
/// PORTSC: there is a device.
pub const PORT_CONNECTED: u32 = 1 << 0;
/// PORTSC: enabled; a one disables.
pub const PORT_ENABLED: u32 = 1 << 1;
/// PORTSC: in reset.
pub const PORT_RESET: u32 = 1 << 4;
/// PORTSC: powered.
pub const PORT_POWER: u32 = 1 << 9;
/// PORTSC: a device has come or gone.
pub const PORT_CHANGED: u32 = 1 << 17;
/// PORTSC: all changes.
pub const PORT_CHANGES: u32 = 0x00fe_0000;
/// PORTSC: a reset is over.
pub const PORT_RESET_CHANGED: u32 = 1 << 21;

/// The registers that generic tests look at.
pub const TABLE: &[&dyn AnyRegister] = &[
    &VERSION,
    &PARAMETERS_2,
    &PARAMETERS_3,
    &DOORBELLS,
    &RUNTIME,
    &COMMAND,
    &STATUS,
    &PAGE_SIZE,
    &NOTIFICATIONS,
    &CONTEXTS,
    &CONTEXTS_HIGH,
    &CONFIG,
    &MANAGEMENT,
    &MODERATION,
    &SEGMENTS,
];

/// What QEMU does otherwise.
pub const FAULTS: &[Fault] = &[
    Fault::new(
        &["IMOD"],
        &[Rule::ResetValue, Rule::SoftwareReset, Rule::MachineReset],
        "QEMU's xHCI has zero in IMOD after a reset",
    ),
    Fault::new(
        &["PORTSC"],
        &[Rule::ResetValue, Rule::SoftwareReset, Rule::MachineReset],
        "QEMU's xHCI reports a change of every port after a reset",
    )
    .bits(PORT_CHANGED as u64),
];
