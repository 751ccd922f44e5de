//! The DPS310: what it is, calibration, register numbers that go up, soft reset.

use std::rc::Rc;

use crate::drivers::sensor::dps310::{
    COEFFICIENT_SOURCE, COEFFICIENTS, CONFIGURATION, Dps310, MEASUREMENT, PRESSURE,
    PRESSURE_CONFIGURATION, PRODUCT, READY, RESET, SOFT_RESET, TEMPERATURE_CONFIGURATION,
};
use crate::qemu::Vm;
use crate::qos::registers::RegistersExt;
use crate::{Result, tests};

tests!(Dps310, "dps310-tests":
    identity,
    ready,
    calibration,
    goes_up = "goes-up",
    soft_reset = "soft-reset",
);

/// Would catch a sensor that drivers take for none: the product ID is 0, the revision 1.
fn identity(sensor: &Dps310, _: &Rc<Vm>) -> Result<()> {
    assert_eq!(sensor.registers().get(PRODUCT)?, 0x10);
    Ok(())
}

/// Would catch a sensor that never says that it is ready, for which drivers wait (MEAS_CFG).
fn ready(sensor: &Dps310, _: &Rc<Vm>) -> Result<()> {
    let measurement = sensor.registers().get(MEASUREMENT)?;
    assert_eq!(measurement & READY, READY, "MEAS_CFG is {measurement:#04x}");
    assert_eq!(measurement & 7, 0, "nothing is measured at first: {measurement:#04x}");
    sensor.registers().set(MEASUREMENT, 7)?;
    let measurement = sensor.registers().get(MEASUREMENT)?;
    assert_eq!(measurement & 7, 7, "all is measured: {measurement:#04x}");
    Ok(())
}

/// Would catch a calibration that is missing, that a guest can change, or that differs when it is
/// read byte by byte.
fn calibration(sensor: &Dps310, _: &Rc<Vm>) -> Result<()> {
    let all = sensor.device().read_from::<18>(COEFFICIENTS)?;
    assert!(all.iter().any(|byte| *byte != all[0]), "{all:02x?}");
    for (number, expected) in (COEFFICIENTS..).zip(all) {
        assert_eq!(sensor.device().read_from(number)?, [expected], "register {number:#04x}");
        sensor.device().write_from(number, &[!expected])?;
    }
    assert_eq!(sensor.device().read_from::<18>(COEFFICIENTS)?, all, "written");
    let source = sensor.registers().get(COEFFICIENT_SOURCE)?;
    sensor.registers().set(COEFFICIENT_SOURCE, !source)?;
    assert_eq!(sensor.registers().get(COEFFICIENT_SOURCE)?, source, "COEF_SRCE, written");
    Ok(())
}

/// Would catch a number that does not go up with each byte that is read.
fn goes_up(sensor: &Dps310, _: &Rc<Vm>) -> Result<()> {
    let registers = sensor.registers();
    registers.set(PRESSURE_CONFIGURATION, 0x12)?;
    registers.set(TEMPERATURE_CONFIGURATION, 0xa3)?;
    registers.set(CONFIGURATION, 0x0c)?;
    let all = sensor.device().read_from::<10>(PRESSURE.offset() as u8)?;
    assert_eq!([all[6], all[7], all[9]], [0x12, 0xa3, 0x0c], "from PRS_B2 on: {all:02x?}");
    let bytes = sensor.device().read_from::<4>(PRESSURE_CONFIGURATION.offset() as u8)?;
    assert_eq!(bytes, all[6..], "from PRS_CFG on");
    Ok(())
}

/// Would catch a soft reset that leaves a register as it was, or that another value causes.
fn soft_reset(sensor: &Dps310, _: &Rc<Vm>) -> Result<()> {
    let registers = sensor.registers();
    let read = || -> Result<[u8; 2]> {
        Ok([registers.get(PRESSURE_CONFIGURATION)?, registers.get(CONFIGURATION)?])
    };
    registers.set(PRESSURE_CONFIGURATION, 0x35)?;
    registers.set(CONFIGURATION, 0x0c)?;
    for value in [0x00, 0x01, 0x08, 0x06] {
        registers.set(RESET, value)?;
        assert_eq!(read()?, [0x35, 0x0c], "after {value:#04x}");
    }
    registers.set(RESET, SOFT_RESET)?;
    assert_eq!(read()?, [0, 0], "after a soft reset");
    Ok(())
}
