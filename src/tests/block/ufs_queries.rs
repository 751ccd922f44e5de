//! Queries of UFS: flags, attributes and descriptors, and those that are refused (JESD220F, 10.7.8
//! and 14).

use std::rc::Rc;

use super::ufs::{BACKGROUND, DEVICE, started};
use crate::drivers::block::ufs::upiu::{self, Query, Request, response};
use crate::drivers::block::ufs::{BLOCK, UNIT, Ufs, ZEROES, ZEROES_SIZE};
use crate::qemu::Vm;
use crate::qos::block::DISK;
use crate::{Error, Result, tests};

tests!(Ufs, "ufs-tests":
    query_flag = "query-flag",
    query_attribute = "query-attribute",
    query_descriptor = "query-desciptor",
    query_refused = "query-refused",
);

/// Attributes by number (14.3).
const ACTIVE_ICC_LEVEL: u8 = 0x03;
const MAX_DATA_IN: u8 = 0x07;
/// Descriptors by number (14.1).
const UNIT_DESCRIPTOR: u8 = 0x02;
const INTERCONNECT: u8 = 0x04;
const STRING: u8 = 0x05;
const GEOMETRY: u8 = 0x07;
const POWER: u8 = 0x08;
const HEALTH: u8 = 0x09;

/// Would catch a flag that is not set, cleared or toggled, and others that change with it.
fn query_flag(ufs: &Ufs, vm: &Rc<Vm>) -> Result<()> {
    let host = started(ufs, vm, false)?;
    let read = |flag| Ok::<_, Error>(host.query(Query::ReadFlag, (flag, 0), 0)?.value());
    let before: Result<Vec<u32>> = [0x03, 0x05, 0x0b].map(read).into_iter().collect();
    let before = before?;
    assert_eq!(read(BACKGROUND)?, 0, "fBackgroundOpsEn at first");
    for (operation, expected) in [
        (Query::SetFlag, 1),
        (Query::SetFlag, 1),
        (Query::ToggleFlag, 0),
        (Query::ToggleFlag, 1),
        (Query::ClearFlag, 0),
    ] {
        host.query(operation, (BACKGROUND, 0), 0)?;
        assert_eq!(read(BACKGROUND)?, expected, "fBackgroundOpsEn after {operation:?}");
    }
    let after: Result<Vec<u32>> = [0x03, 0x05, 0x0b].map(read).into_iter().collect();
    assert_eq!(after?, before, "other flags");
    Ok(())
}

/// Would catch an attribute that is not kept, or another value than the data sheet's default.
fn query_attribute(ufs: &Ufs, vm: &Rc<Vm>) -> Result<()> {
    let host = started(ufs, vm, false)?;
    let read =
        |attribute| Ok::<_, Error>(host.query(Query::ReadAttribute, (attribute, 0), 0)?.value());
    assert_eq!(read(ACTIVE_ICC_LEVEL)?, 0, "bActiveICCLevel at first");
    for value in [5, 0xf, 0] {
        host.query(Query::WriteAttribute, (ACTIVE_ICC_LEVEL, 0), value)?;
        assert_eq!(read(ACTIVE_ICC_LEVEL)?, value, "bActiveICCLevel");
    }
    assert_eq!(read(MAX_DATA_IN)?, 8, "bMaxDataInSize");
    Ok(())
}

/// Would catch a descriptor of another kind, length or unit, and one that is cut elsewhere than
/// was asked for.
fn query_descriptor(ufs: &Ufs, vm: &Rc<Vm>) -> Result<()> {
    let host = started(ufs, vm, false)?;
    let read = |idn, index, length| host.query(Query::ReadDescriptor, (idn, index), length);
    for (idn, index, length) in [
        (DEVICE, 0, 0x59),
        (UNIT_DESCRIPTOR, UNIT, 0x2d),
        (UNIT_DESCRIPTOR, ZEROES, 0x2d),
        (INTERCONNECT, 0, 0x06),
        (GEOMETRY, 0, 0x57),
        (POWER, 0, 0x62),
        (HEALTH, 0, 0x2d),
    ] {
        let what = format!("descriptor {idn:#x} of {index}");
        let whole = read(idn, index, 0xff)?;
        let data = whole.data();
        // Later versions of the standard append to it.
        assert!(data.len() >= length, "the length of {what}: {}", data.len());
        let length = data.len();
        assert_eq!(data[..2], [length as u8, idn], "the header of {what}");
        for short in [2, length / 2] {
            let cut = read(idn, index, short as u32)?;
            assert_eq!(cut.data(), &data[..short], "the first {short} bytes of {what}");
        }
    }
    let device = read(DEVICE, 0, 0xff)?;
    assert_eq!(device.data()[6], 2, "bNumberLU");
    for (unit, bytes) in [(UNIT, DISK.size), (ZEROES, ZEROES_SIZE)] {
        let done = read(UNIT_DESCRIPTOR, unit, 0xff)?;
        let data = done.data();
        assert_eq!((data[2], data[3]), (unit, 1), "bUnitIndex, bLUEnable");
        assert_eq!(data[0x0a], 12, "bLogicalBlockSize of unit {unit}");
        let blocks = data[0x0b..0x13].iter().fold(0, |all, byte| all << 8 | u64::from(*byte));
        assert_eq!(blocks, bytes / BLOCK as u64, "qLogicalBlockCount of unit {unit}");
    }
    // The strings that the device descriptor names: manufacturer, product, serial number.
    for at in [0x14, 0x15, 0x16] {
        let string = read(STRING, device.data()[at], 0xff)?;
        let data = string.data();
        assert_eq!((usize::from(data[0]), data[1]), (data.len(), STRING), "string {at:#x}");
    }
    Ok(())
}

/// Would catch a query of what there is not that is done, or refused for another reason (14.1 to
/// 14.3, 10.7.9.1).
fn query_refused(ufs: &Ufs, vm: &Rc<Vm>) -> Result<()> {
    let host = started(ufs, vm, false)?;
    for (what, which, expected) in [
        (Query::ReadFlag, (0xf0, 0), response::INVALID_IDN),
        (Query::SetFlag, (0xf0, 0), response::INVALID_IDN),
        (Query::ReadAttribute, (0xf0, 0), response::INVALID_IDN),
        (Query::WriteAttribute, (0xf0, 0), response::INVALID_IDN),
        (Query::ReadDescriptor, (0xf0, 0), response::INVALID_IDN),
        (Query::ReadDescriptor, (UNIT_DESCRIPTOR, 1), response::INVALID_INDEX),
        (Query::ReadDescriptor, (UNIT_DESCRIPTOR, 0x7f), response::INVALID_INDEX),
        (Query::ReadDescriptor, (STRING, 0xff), response::INVALID_INDEX),
        // bCurrentPowerMode, bPurgeStatus, bDeviceCaseRoughTemperature can only be read.
        (Query::WriteAttribute, (0x02, 0), response::NOT_WRITEABLE),
        (Query::WriteAttribute, (0x06, 0), response::NOT_WRITEABLE),
        (Query::WriteAttribute, (0x18, 0), response::NOT_WRITEABLE),
        // fPurgeEnable can only be written.
        (Query::ReadFlag, (0x06, 0), response::NOT_READABLE),
        // fPermanentlyDisableFwUpdate is written once; it is 1 here.
        (Query::ClearFlag, (0x0b, 0), response::NOT_WRITEABLE),
    ] {
        let found = host.try_query(what, which, 0xff)?.response();
        assert_eq!(found, expected, "{what:?} {which:x?}");
    }
    let mut unknown = Request::query(Query::ReadFlag, (BACKGROUND, 0), 0, &[]);
    unknown.upiu[upiu::HEADER] = 0x3f;
    let done = host.run(unknown, "an operation that is none")?;
    assert_eq!(done.response(), response::INVALID_OPCODE, "an operation that is none");
    // The function must be the operation's.
    let mut wrong = Request::query(Query::SetFlag, (BACKGROUND, 0), 0, &[]);
    wrong.upiu[5] = upiu::STANDARD_READ;
    let done = host.run(wrong, "a write by a read function")?;
    assert_ne!(done.response(), response::SUCCESS, "a write by a read function");
    assert_eq!(host.query(Query::ReadFlag, (BACKGROUND, 0), 0)?.value(), 0, "the flag");
    Ok(())
}
