//! The ADM1272 hot-swap controller: what it measures, its peaks, limits and faults.

use std::rc::Rc;

use crate::drivers::sensor::adm1272::{self as adm, Adm1272};
use crate::qemu::Vm;
use crate::qos::i2c::pmbus;
use crate::qos::registers::{Register, RegistersExt};
use crate::{Error, Result, tests};

tests!(Adm1272, "adm1272-tests":
    test_tx_rx,
    test_defaults,
    test_rw_regs,
    test_ro_regs,
    test_ov_faults,
    limits,
    peaks,
    power_cycle = "power-cycle",
    text,
);

/// A voltage in the range of 100 V as a number of the device's: DIRECT format with m = 4062, b = 0,
/// R = -2 (data sheet, table of coefficients).
fn volts(millivolts: u16) -> u16 {
    (u32::from(millivolts) * 4062 / 100_000) as u16
}

/// Would catch quantities that are mixed up, and a conversion with another coefficient.
fn test_tx_rx(adm: &Adm1272, _: &Rc<Vm>) -> Result<()> {
    for (millivolts, other) in [(1000, 2000), (12_000, 5000), (48_000, 54_321)] {
        adm.set("vin", millivolts)?;
        adm.set("vout", other)?;
        for (quantity, register, value) in
            [("vin", pmbus::READ_VIN, millivolts), ("vout", pmbus::READ_VOUT, other)]
        {
            let read = adm.registers().get(register)?;
            assert_eq!(read, volts(value), "{register} at {value} mV");
            let back = adm.get(quantity)?;
            let step = 100_000 / 4062 + 1;
            let near = i64::from(value) - step..=i64::from(value);
            assert!(near.contains(&back), "{quantity}: {back} mV, set to {value}");
        }
    }
    let current = |milliamperes: u16| -> Result<u16> {
        adm.set("iout", milliamperes)?;
        adm.registers().get(pmbus::READ_IOUT)
    };
    // m = 663 times the shunt of 0.3 milliohms, b = 20480, R = -1; QEMU rounds m to an integer.
    assert_eq!(current(0)?, 2048, "READ_IOUT at 0 A");
    let at = [current(10_000)?, current(20_000)?, current(30_000)?];
    for (tens, read) in (1..).zip(at) {
        let exact = 2048 + tens * 199;
        assert!(read.abs_diff(exact) <= 3 * tens, "READ_IOUT at {tens}0 A: {read}, not {exact}");
    }
    let power = |watts: u16| -> Result<u16> {
        adm.set("pin", watts)?;
        adm.registers().get(pmbus::READ_PIN)
    };
    // m = 10535 times 0.3, b = 0, R = -3.
    assert_eq!([power(0)?, power(100)?, power(1000)?], [0, 316, 3160], "READ_PIN");
    Ok(())
}

/// Would catch a measurement, a limit or a setting that is another at first.
fn test_defaults(adm: &Adm1272, _: &Rc<Vm>) -> Result<()> {
    let registers = adm.registers();
    for (register, value) in [
        (pmbus::READ_VIN, 487),
        (pmbus::READ_VOUT, 487),
        (pmbus::READ_PIN, 948),
        (pmbus::READ_TEMPERATURE_1, 0),
        (pmbus::VOUT_OV_WARN_LIMIT, 0xfff),
        (pmbus::VOUT_UV_WARN_LIMIT, 0),
        (pmbus::IOUT_OC_WARN_LIMIT, 0xfff),
        (pmbus::OT_FAULT_LIMIT, 0xfff),
        (pmbus::OT_WARN_LIMIT, 0xfff),
        (pmbus::VIN_OV_WARN_LIMIT, 0xfff),
        (pmbus::VIN_UV_WARN_LIMIT, 0),
        (pmbus::PIN_OP_WARN_LIMIT, 0x7fff),
        (adm::PMON_CONFIG, 0x3f35),
        (adm::HYSTERESIS_LOW, 0),
        (adm::HYSTERESIS_HIGH, 0xffff),
    ] {
        assert_eq!(registers.get(register)?, value, "{register}");
    }
    for (register, value) in [
        (pmbus::OPERATION, 0x80),
        (pmbus::CAPABILITY, 0x30),
        (pmbus::VOUT_MODE, 0x40),
        (pmbus::PMBUS_REVISION, 0x22),
        (pmbus::STATUS_VOUT, 0),
        (pmbus::STATUS_INPUT, 0),
        (adm::RESTART_TIME, 0x64),
    ] {
        assert_eq!(registers.get(register)?, value, "{register}");
    }
    // 25 A, which QEMU rounds down.
    let current = registers.get(pmbus::READ_IOUT)?;
    assert!((2540..=2545).contains(&current), "READ_IOUT at 25 A: {current}");
    Ok(())
}

/// Would catch a limit that does not keep what is written, or keeps it in another register, or with
/// its bytes swapped.
fn test_rw_regs(adm: &Adm1272, _: &Rc<Vm>) -> Result<()> {
    for (number, register) in (1u16..).zip(adm::LIMITS) {
        adm.registers().set(register, 0x0230 + number)?;
    }
    for (number, register) in (1u16..).zip(adm::LIMITS) {
        assert_eq!(adm.registers().get(register)?, 0x0230 + number, "{register}");
        let bytes = adm.device().read_from::<2>(register.offset() as u8)?;
        assert_eq!(bytes, [0x30 + number as u8, 0x02], "{register}, in bytes");
    }
    Ok(())
}

/// Would catch a measurement or an identity that a guest can write.
fn test_ro_regs(adm: &Adm1272, _: &Rc<Vm>) -> Result<()> {
    for register in [
        pmbus::READ_VIN,
        pmbus::READ_VOUT,
        pmbus::READ_IOUT,
        pmbus::READ_TEMPERATURE_1,
        pmbus::READ_PIN,
    ] {
        let before = adm.registers().get(register)?;
        adm.registers().set(register, !before)?;
        assert_eq!(adm.registers().get(register)?, before, "{register}");
    }
    for register in [pmbus::CAPABILITY, pmbus::PMBUS_REVISION] {
        let before = adm.registers().get(register)?;
        adm.registers().set(register, !before)?;
        assert_eq!(adm.registers().get(register)?, before, "{register}");
    }
    Ok(())
}

/// Sets a limit, then a quantity to it and beyond it, and looks at the bits that tell.
fn check_limit(
    adm: &Adm1272,
    limit: Register<u16>,
    (quantity, at, beyond): (&str, u16, u16),
    (status, bit, word): (Register<u8>, u8, u16),
) -> Result<()> {
    let registers = adm.registers();
    let read = match quantity {
        "vin" => pmbus::READ_VIN,
        "vout" => pmbus::READ_VOUT,
        "iout" => pmbus::READ_IOUT,
        _ => pmbus::READ_PIN,
    };
    adm.set(quantity, at)?;
    registers.set(limit, registers.get(read)?)?;
    let told = || -> Result<(u8, u16)> {
        Ok((registers.get(status)? & bit, registers.get(pmbus::STATUS_WORD)? & word))
    };
    // QEMU compares with limits for faults too, which the chip does not have: the word may tell
    // of those.
    assert_eq!(told()?.0, 0, "{limit}: {quantity} at {at}");
    adm.set(quantity, beyond)?;
    assert_eq!(told()?, (bit, word), "{limit}: {quantity} at {beyond}");
    adm.set(quantity, at)?;
    assert_eq!(told()?, (bit, word), "{limit}: {quantity} at {at} again: the bit stays");
    Ok(())
}

/// Would catch an overvoltage of the output that is not told, or before there is one.
fn test_ov_faults(adm: &Adm1272, _: &Rc<Vm>) -> Result<()> {
    let told = (pmbus::STATUS_VOUT, pmbus::OV_WARNING, pmbus::WORD_VOUT);
    check_limit(adm, pmbus::VOUT_OV_WARN_LIMIT, ("vout", 12_000, 12_050), told)
}

/// Would catch a limit on the wrong side, or one that tells another bit than its own.
fn limits(adm: &Adm1272, _: &Rc<Vm>) -> Result<()> {
    let input = |bit: u8| (pmbus::STATUS_INPUT, bit, pmbus::WORD_INPUT);
    check_limit(
        adm,
        pmbus::VOUT_UV_WARN_LIMIT,
        ("vout", 12_000, 11_950),
        (pmbus::STATUS_VOUT, pmbus::UV_WARNING, pmbus::WORD_VOUT),
    )?;
    check_limit(
        adm,
        pmbus::IOUT_OC_WARN_LIMIT,
        ("iout", 20_000, 20_100),
        (pmbus::STATUS_IOUT, pmbus::IOUT_OC_WARNING, pmbus::WORD_IOUT),
    )?;
    let over = input(pmbus::VIN_OV_WARNING);
    check_limit(adm, pmbus::VIN_OV_WARN_LIMIT, ("vin", 12_000, 12_050), over)?;
    let status = adm.registers().get(pmbus::STATUS_TEMPERATURE)?;
    assert_eq!(status, 0, "STATUS_TEMPERATURE");
    Ok(())
}

/// Would catch a peak that follows what is measured down, or is another quantity's.
fn peaks(adm: &Adm1272, _: &Rc<Vm>) -> Result<()> {
    let registers = adm.registers();
    for (quantity, read, peak, values) in [
        ("vin", pmbus::READ_VIN, adm::PEAK_VIN, [20_000, 30_000, 10_000]),
        ("vout", pmbus::READ_VOUT, adm::PEAK_VOUT, [21_000, 31_000, 11_000]),
        ("iout", pmbus::READ_IOUT, adm::PEAK_IOUT, [26_000, 36_000, 16_000]),
        ("pin", pmbus::READ_PIN, adm::PEAK_PIN, [400, 500, 200]),
    ] {
        let mut highest = 0;
        for value in values {
            adm.set(quantity, value)?;
            highest = highest.max(registers.get(read)?);
            assert_eq!(registers.get(peak)?, highest, "{peak}: {quantity} at {value}");
        }
        assert_ne!(registers.get(read)?, highest, "{read} is lower at last");
    }
    Ok(())
}

/// Would catch POWER_CYCLE that leaves a setting, or does nothing.
fn power_cycle(adm: &Adm1272, _: &Rc<Vm>) -> Result<()> {
    let registers = adm.registers();
    registers.set(pmbus::VOUT_OV_WARN_LIMIT, 0x0123)?;
    registers.set(adm::RESTART_TIME, 1)?;
    registers.set(adm::HYSTERESIS_LOW, 0x4567)?;
    adm.device().send(&[adm::POWER_CYCLE, 0])?;
    assert_eq!(registers.get(pmbus::VOUT_OV_WARN_LIMIT)?, 0xfff, "VOUT_OV_WARN_LIMIT");
    assert_eq!(registers.get(adm::RESTART_TIME)?, 0x64, "RESTART_TIME");
    assert_eq!(registers.get(adm::HYSTERESIS_LOW)?, 0, "HYSTERESIS_LOW");
    Ok(())
}

/// Would catch a text of the manufacturer's that is another, or has another length than it says:
/// blocks, whose first byte is their length.
fn text(adm: &Adm1272, _: &Rc<Vm>) -> Result<()> {
    assert_eq!(adm.device().read_from(0x99)?, *b"\x03ADI", "MFR_ID");
    assert_eq!(adm.device().read_from(0x9a)?, *b"\x0aADM1272-A1", "MFR_MODEL");
    assert_eq!(adm.device().read_from(0x9b)?, *b"\x0225", "MFR_REVISION");
    match adm.device().read_from::<7>(0x9d)? {
        [0xff, ..] => Err(Error::skipped("QEMU's adm1272 has no MFR_DATE here")),
        date => {
            assert_eq!(date, *b"\x06160301", "MFR_DATE");
            Ok(())
        }
    }
}
