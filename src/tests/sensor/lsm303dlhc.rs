//! The magnetometer of the LSM303DLHC: field and temperature, gain, numbers of registers that wrap.

use std::rc::Rc;

use crate::drivers::sensor::lsm303dlhc::{
    CRA, CRA_TEMP_EN, CRB, IR, Lsm303dlhcMag, OUT_X_H, SR, TEMP_OUT_H,
};
use crate::qemu::Vm;
use crate::qos::registers::RegistersExt;
use crate::{Result, tests};

tests!(Lsm303dlhcMag, "lsm303dlhc_mag-tests":
    tx_rx = "tx-rx",
    regwrap,
    gains,
    temperature,
);

/// One gauss, in the units of QEMU's properties.
const GAUSS: i64 = 100_000;

/// The field as X, Z and Y tell it.
fn field(mag: &Lsm303dlhcMag) -> Result<[i16; 3]> {
    let bytes = mag.device().read_from::<6>(OUT_X_H)?;
    Ok([0, 2, 4].map(|at| i16::from_be_bytes([bytes[at], bytes[at + 1]])))
}

/// Would catch axes that are mixed up (the order is X, Z, Y), bytes that are swapped, and a
/// temperature that is told while the thermometer is off.
fn tx_rx(mag: &Lsm303dlhcMag, _: &Rc<Vm>) -> Result<()> {
    assert_eq!(field(mag)?, [0; 3], "the field at first");
    for (property, gauss) in [("mag-x", 1), ("mag-y", 1), ("mag-z", 1)] {
        mag.outside().set(property, gauss * GAUSS)?;
        assert_eq!(mag.outside().get(property)?, gauss * GAUSS, "{property}");
    }
    // 1100 steps a gauss, and 980 of Z, with a gain of 1 (table 75).
    assert_eq!(field(mag)?, [1100, 980, 1100], "one gauss on every axis");
    mag.outside().set("mag-x", GAUSS / 2)?;
    mag.outside().set("mag-y", GAUSS / 4)?;
    assert_eq!(field(mag)?, [550, 980, 275], "three fields");
    mag.outside().set("temperature", 23_625)?;
    assert_eq!(mag.device().read_from::<2>(TEMP_OUT_H)?, [0, 0], "the thermometer is off");
    for (register, byte) in IR.into_iter().zip(*b"H43") {
        assert_eq!(mag.registers().get(register)?, byte, "{register}");
    }
    Ok(())
}

/// Would catch a number that does not go back to X after Y, or to the first register after the
/// last (5.1.1).
fn regwrap(mag: &Lsm303dlhcMag, _: &Rc<Vm>) -> Result<()> {
    mag.outside().set("mag-x", GAUSS)?;
    mag.outside().set("mag-y", GAUSS / 2)?;
    mag.outside().set("mag-z", GAUSS / 4)?;
    let [x, z, y] = [1100i16, 245, 550].map(i16::to_be_bytes);
    let twice = [x, z, y, x, z, y].concat();
    assert_eq!(mag.device().read_from::<12>(OUT_X_H)?, *twice, "from X on");
    assert_eq!(mag.device().read_from::<4>(7)?, *[y, x].concat(), "from Y on");
    // IRA, IRB, IRC, then CRA, CRB, MR.
    let found = mag.device().read_from::<6>(0x0a)?;
    assert_eq!(found, [0x48, 0x34, 0x33, 0x10, 0x20, 0x03], "from IRA on");
    // While data are read they are kept still.
    let status = mag.registers().get(SR)?;
    assert_eq!(status, 0b11, "SR_REG_M, read: data are ready and locked");
    Ok(())
}

/// Would catch a gain that is another's, and a field that is told with the gain of before
/// (table 75).
fn gains(mag: &Lsm303dlhcMag, _: &Rc<Vm>) -> Result<()> {
    for (gain, xy, z) in [
        (1, 1100, 980),
        (2, 855, 760),
        (3, 670, 600),
        (4, 450, 400),
        (5, 400, 355),
        (6, 330, 295),
        (7, 230, 205),
    ] {
        mag.registers().set(CRB, gain << 5)?;
        for property in ["mag-x", "mag-y", "mag-z"] {
            mag.outside().set(property, GAUSS)?;
        }
        assert_eq!(field(mag)?, [xy, z, xy], "one gauss with a gain of {gain}");
    }
    Ok(())
}

/// Would catch a temperature with another unit, sign or order of bytes (7.2.9).
fn temperature(mag: &Lsm303dlhcMag, _: &Rc<Vm>) -> Result<()> {
    mag.registers().set(CRA, CRA_TEMP_EN | 0x10)?;
    for (millidegrees, eighths) in
        [(0, 0i16), (125, 1), (23_625, 189), (85_000, 680), (-125, -1), (-40_000, -320)]
    {
        mag.outside().set("temperature", millidegrees)?;
        assert_eq!(mag.outside().get("temperature")?, millidegrees, "outside");
        let found = i16::from_be_bytes(mag.device().read_from(TEMP_OUT_H)?);
        assert_eq!(found, eighths, "at {millidegrees} thousandths of a degree");
    }
    mag.registers().set(CRA, 0x10)?;
    assert_eq!(mag.device().read_from::<2>(TEMP_OUT_H)?, [0, 0], "turned off");
    Ok(())
}
