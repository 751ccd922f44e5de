//! The operational registers of an enhanced host controller (EHCI 1.0, whose sections are cited), at
//! offsets from CAPLENGTH on.

use crate::qos::registers::{AnyRegister, Fault, Register, Rule};

/// USBCMD.
pub const COMMAND: Register<u32> =
    Register::new("USBCMD", 0x00).section("2.3.1").reset(0x0008_0000).kept(0x00ff_0000).acts(0x7f);
/// USBSTS.
pub const STATUS: Register<u32> =
    Register::new("USBSTS", 0x04).section("2.3.2").reset(0x1000).w1c(0x3f);
/// USBINTR.
pub const INTERRUPTS: Register<u32> =
    Register::new("USBINTR", 0x08).section("2.3.3").reset(0).kept(0x3f);
/// FRINDEX.
pub const FRAME: Register<u32> =
    Register::new("FRINDEX", 0x0c).section("2.3.4").reset(0).side_effect();
/// CTRLDSSEGMENT: addresses have 32 bits.
pub const SEGMENT: Register<u32> =
    Register::new("CTRLDSSEGMENT", 0x10).section("2.3.5").reset(0).read_only();
/// PERIODICLISTBASE.
pub const PERIODIC: Register<u32> =
    Register::new("PERIODICLISTBASE", 0x14).section("2.3.6").reset(0).kept(0xffff_f000);
/// ASYNCLISTADDR.
pub const ASYNC: Register<u32> =
    Register::new("ASYNCLISTADDR", 0x18).section("2.3.7").reset(0).kept(0xffff_ffe0);
/// CONFIGFLAG.
pub const CONFIGURED: Register<u32> =
    Register::new("CONFIGFLAG", 0x40).section("2.3.8").reset(0).acts(1);
/// PORTSC of the first port; those of the others follow. Port power cannot be switched.
pub const PORT: Register<u32> = Register::new("PORTSC", 0x44)
    .section("2.3.9")
    .reset(0x1000)
    .kept(0x0070_0000)
    .acts(0x000f_21c4)
    .w1c(0x2a);

/// USBCMD: run.
pub const COMMAND_RUN: u32 = 1 << 0;
/// USBCMD: reset.
pub const COMMAND_RESET: u32 = 1 << 1;
/// USBCMD: both schedules, an interrupt at most every microframe.
pub const COMMAND_SCHEDULES: u32 = 3 << 4 | 1 << 16;
/// USBCMD: interrupt when the asynchronous list was passed.
pub const COMMAND_DOORBELL: u32 = 1 << 6;
/// USBSTS: a transfer has ended.
pub const STATUS_INTERRUPT: u32 = 1 << 0;
/// USBSTS: a transfer has ended with an error.
pub const STATUS_ERROR: u32 = 1 << 1;
/// USBSTS: a port has changed.
pub const STATUS_PORT: u32 = 1 << 2;
/// USBSTS: the number of frames has begun anew.
pub const STATUS_ROLLOVER: u32 = 1 << 3;
/// USBSTS: an error of the host's bus.
pub const STATUS_HOST_ERROR: u32 = 1 << 4;
/// USBSTS: the asynchronous list was passed.
pub const STATUS_ADVANCE: u32 = 1 << 5;
/// USBSTS: all that ones clear.
pub const STATUS_ALL: u32 = 0x3f;
/// USBSTS: stopped.
pub const STATUS_HALTED: u32 = 1 << 12;
/// USBSTS: a schedule is worked at.
pub const STATUS_SCHEDULES: u32 = 3 << 14;
/// PORTSC: there is a device.
pub const PORT_CONNECTED: u32 = 1 << 0;
/// PORTSC: a device has come or gone.
pub const PORT_CHANGED: u32 = 1 << 1;
/// PORTSC: enabled.
pub const PORT_ENABLED: u32 = 1 << 2;
/// PORTSC: what ones clear.
pub const PORT_CHANGES: u32 = 0x2a;
/// PORTSC: in reset.
pub const PORT_RESET: u32 = 1 << 8;
/// PORTSC: powered.
pub const PORT_POWER: u32 = 1 << 12;
/// PORTSC: a companion has it.
pub const PORT_OWNER: u32 = 1 << 13;

/// All registers but those of ports.
pub const TABLE: &[&dyn AnyRegister] =
    &[&COMMAND, &STATUS, &INTERRUPTS, &FRAME, &SEGMENT, &PERIODIC, &ASYNC, &CONFIGURED];

/// What QEMU does otherwise.
pub const FAULTS: &[Fault] = &[Fault::new(
    &["PERIODICLISTBASE", "ASYNCLISTADDR", "CTRLDSSEGMENT", "USBCMD"],
    &[Rule::ReadOnly, Rule::Kept, Rule::SoftwareReset],
    "QEMU's EHCI keeps reserved bits of PERIODICLISTBASE, ASYNCLISTADDR, CTRLDSSEGMENT and USBCMD",
)];
