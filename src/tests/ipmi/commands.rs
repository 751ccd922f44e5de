//! A management controller, whatever interface a system reaches it by: what it says of itself, its
//! enables and flags, events, and requests that it must refuse (IPMI v2.0, chapters 20 to 22, 28
//! and 29).

use std::rc::Rc;

use crate::qemu::Vm;
use crate::qos::ipmi::netfn::{APP, CHASSIS, SENSOR, STORAGE};
use crate::qos::ipmi::{Ipmi, code};
use crate::{Result, attacks, tests};

tests!(dyn Ipmi, "ipmi-tests":
    device_id = "device-id",
    guid,
    power_state = "power-state",
    chassis,
    enables,
    cold_reset = "cold-reset",
    unknown,
    lengths,
);
attacks!(dyn Ipmi, "ipmi-attacks": enables, lengths);

/// Get Device ID; Cold Reset; Set and Get ACPI Power State; Get Device GUID (20.1 to 20.8).
const GET_DEVICE_ID: u8 = 0x01;
const COLD_RESET: u8 = 0x02;
const SET_POWER_STATE: u8 = 0x06;
const GET_POWER_STATE: u8 = 0x07;
const GET_GUID: u8 = 0x08;
/// Set and Get BMC Global Enables; Clear and Get Message Flags; Get Message; Read Event Message
/// Buffer (22.1 to 22.8).
const SET_ENABLES: u8 = 0x2e;
const GET_ENABLES: u8 = 0x2f;
const CLEAR_FLAGS: u8 = 0x30;
const GET_FLAGS: u8 = 0x31;
const GET_MESSAGE: u8 = 0x33;
const READ_EVENT: u8 = 0x35;
/// Platform Event Message (29.3).
const PLATFORM_EVENT: u8 = 0x02;

/// Enables: the buffer of events (22.1).
const EVENT_BUFFER: u8 = 1 << 2;

/// Would catch a controller that says of itself another number, revision, version, manufacturer
/// or product than it was given, or puts one where another belongs (20.1).
fn device_id(bmc: &dyn Ipmi, _: &Rc<Vm>) -> Result<()> {
    is_there(bmc)?;
    assert_eq!(bmc.get(APP, GET_DEVICE_ID, &[])?[0], 0x42, "the ID of the device");
    Ok(())
}

/// The controller answers, and is the one that it was made to be, but for its ID.
fn is_there(bmc: &dyn Ipmi) -> Result<()> {
    let said = bmc.get(APP, GET_DEVICE_ID, &[])?;
    assert!(matches!(said.len(), 11 | 15), "{} bytes without the completion code", said.len());
    assert_eq!(said[1], 0x03, "the revision");
    assert_eq!(said[2..4], [0x05, 0x12], "the revision of the firmware, which is in operation");
    assert_eq!(said[4], 0x02, "the version of IPMI, 2.0");
    assert_eq!(said[6..9], [0x56, 0x34, 0x12], "the manufacturer, least byte first");
    assert_eq!(said[9..11], [0xab, 0x89], "the product, least byte first");
    Ok(())
}

/// Would catch a GUID with another byte, or whose bytes are not in the order of 20.8: the least
/// one first.
fn guid(bmc: &dyn Ipmi, _: &Rc<Vm>) -> Result<()> {
    let mut expected: Vec<u8> = (0..16).map(|number| number * 0x11).collect();
    expected.reverse();
    assert_eq!(bmc.get(APP, GET_GUID, &[])?, expected, "the GUID");
    Ok(())
}

/// Would catch a power state that is not what was set, and one that is set although the request
/// says that it is not to be (20.6, 20.7).
fn power_state(bmc: &dyn Ipmi, _: &Rc<Vm>) -> Result<()> {
    bmc.get(APP, SET_POWER_STATE, &[0x81, 0x83])?;
    assert_eq!(bmc.get(APP, GET_POWER_STATE, &[])?, [0x01, 0x03], "both set");
    bmc.get(APP, SET_POWER_STATE, &[0x05, 0x80])?;
    assert_eq!(bmc.get(APP, GET_POWER_STATE, &[])?, [0x01, 0x00], "that of the device set");
    bmc.get(APP, SET_POWER_STATE, &[0x80, 0x02])?;
    assert_eq!(bmc.get(APP, GET_POWER_STATE, &[])?, [0x00, 0x00], "that of the system set");
    Ok(())
}

/// Would catch a chassis that is said to be off while the machine runs, or to have a fault
/// (28.1, 28.2), and an operation of it that is none (28.3).
fn chassis(bmc: &dyn Ipmi, _: &Rc<Vm>) -> Result<()> {
    let capabilities = bmc.get(CHASSIS, 0x00, &[])?;
    assert!(matches!(capabilities.len(), 5 | 6), "Get Chassis Capabilities: {capabilities:02x?}");
    let status = bmc.get(CHASSIS, 0x01, &[])?;
    assert!(matches!(status.len(), 3 | 4), "Get Chassis Status: {status:02x?}");
    assert_eq!(status[0] & 0x1f, 1, "the power is on, without a fault: {:#x}", status[0]);
    for operation in [0x06, 0x0f] {
        let (code, _) = bmc.ask(CHASSIS, 0x02, &[operation])?;
        assert_eq!(code, code::DATA, "Chassis Control {operation:#x}");
    }
    Ok(())
}

/// Would catch an enable that is not kept or that another one changes (22.1, 22.2), and one that
/// a reset of the controller keeps.
fn enables(bmc: &dyn Ipmi, _: &Rc<Vm>) -> Result<()> {
    for enables in [0x00, 0x01, 0x02, 0x04, 0x08, 0x0f, 0x00] {
        bmc.get(APP, SET_ENABLES, &[enables])?;
        assert_eq!(bmc.get(APP, GET_ENABLES, &[])?, [enables], "enables");
    }
    Ok(())
}

/// Would catch a reset of the controller that keeps flags or a message (20.2), and a controller
/// that is lost after it.
fn cold_reset(bmc: &dyn Ipmi, _: &Rc<Vm>) -> Result<()> {
    bmc.get(APP, SET_ENABLES, &[EVENT_BUFFER])?;
    bmc.get(APP, COLD_RESET, &[])?;
    assert_eq!(bmc.get(APP, GET_FLAGS, &[])?, [0], "the flags after a reset");
    assert!(!bmc.has_attention()?, "attention after a reset");
    assert_eq!(bmc.ask(APP, GET_MESSAGE, &[])?.0, code::NOT_AVAILABLE, "a message after a reset");
    assert_eq!(bmc.ask(APP, READ_EVENT, &[])?.0, code::NOT_AVAILABLE, "an event after a reset");
    is_there(bmc)
}

/// Would catch a command that is none and is not refused, and a controller that is lost after it.
fn unknown(bmc: &dyn Ipmi, _: &Rc<Vm>) -> Result<()> {
    for (netfn, command) in [(APP, 0x00), (APP, 0x7f), (APP, 0xff), (CHASSIS, 0x70), (SENSOR, 0x60)]
        .into_iter()
        .chain([(STORAGE, 0x01), (STORAGE, 0xf0), (0x08, 0x01), (0x0c, 0x55), (0x2e, 0x01)])
    {
        let (code, data) = bmc.ask(netfn, command, &[1, 2, 3])?;
        assert_eq!(code, code::INVALID_COMMAND, "command {command:#x} of {netfn:#x}");
        assert!(data.is_empty(), "data of command {command:#x} of {netfn:#x}: {data:02x?}");
    }
    is_there(bmc)
}

/// Would catch a request that is too short and is done with bytes that are not there.
fn lengths(bmc: &dyn Ipmi, _: &Rc<Vm>) -> Result<()> {
    for (netfn, command, needed) in [
        (APP, SET_POWER_STATE, 2),
        (APP, SET_ENABLES, 1),
        (APP, CLEAR_FLAGS, 1),
        (APP, 0x24, 6),
        (CHASSIS, 0x02, 1),
        (SENSOR, PLATFORM_EVENT, 8),
        (SENSOR, 0x2d, 1),
        (STORAGE, 0x10, 1),
        (STORAGE, 0x23, 6),
        (STORAGE, 0x43, 6),
        (STORAGE, 0x44, 16),
        (STORAGE, 0x47, 6),
        (STORAGE, 0x49, 4),
    ] {
        for length in [0, needed - 1] {
            let (code, _) = bmc.ask(netfn, command, &vec![0; length])?;
            let is_refused = matches!(code, code::TRUNCATED | code::LENGTH);
            assert!(is_refused, "{length} bytes for {command:#x} of {netfn:#x}: {code:#x}");
        }
    }
    is_there(bmc)
}
