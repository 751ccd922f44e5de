//! The MAX34451 power-supply manager: its pages, what it measures, limits and faults.

use std::rc::Rc;

use crate::drivers::sensor::max34451::{self as max, Max34451, SENSORS, SUPPLIES, command};
use crate::qemu::{Version, Vm};
use crate::qos::registers::{Register, Registers, RegistersExt};
use crate::{Error, Result, tests};

tests!(Max34451, "max34451-tests":
    test_defaults,
    test_temperature,
    test_voltage,
    test_rw_regs,
    test_ro_regs,
    test_ov_faults,
    test_ot_faults,
    test_all_pages,
    pages,
    wrong_page = "wrong-page",
    vout_limits = "vout-limits",
    temperature_limits = "temperature-limits",
    clear_faults = "clear-faults",
    peaks,
    switched_off = "switched-off",
);

/// The page of a temperature sensor.
fn page_of(sensor: u8) -> u8 {
    SUPPLIES + sensor
}

/// Would catch a register that has another reset value than the data sheet's.
fn test_defaults(max: &Max34451, _: &Rc<Vm>) -> Result<()> {
    for sensor in 0..SENSORS {
        assert_eq!(max.temperature(sensor)?, 2500);
        let page = max.page(page_of(sensor))?;
        assert_eq!(page.get(command::READ_TEMPERATURE_1)?, 2500, "sensor {sensor}");
        assert_eq!(page.get(command::OT_FAULT_LIMIT)?, 0x7fff, "sensor {sensor}");
        assert_eq!(page.get(command::OT_WARN_LIMIT)?, 0x7fff, "sensor {sensor}");
    }
    for supply in 0..SUPPLIES {
        assert_eq!(max.vout(supply)?, 0);
        let page = max.page(supply)?;
        for (command, value) in [
            (command::READ_VOUT, 0),
            (command::VOUT_OV_FAULT_LIMIT, 0x7fff),
            (command::VOUT_OV_WARN_LIMIT, 0x7fff),
            (command::VOUT_UV_WARN_LIMIT, 0),
            (command::VOUT_UV_FAULT_LIMIT, 0),
            (command::MFR_VOUT_MIN, 0x7fff),
        ] {
            assert_eq!(page.get(command)?, value, "{command}, supply {supply}");
        }
        assert_eq!(page.get(command::VOUT_MODE)?, 0x40, "DIRECT format, supply {supply}");
        assert_eq!(page.get(command::ON_OFF_CONFIG)?, 0x1a, "supply {supply}");
    }
    assert_eq!(max.registers().get(command::PMBUS_REVISION)?, 0x11, "PMBus 1.1");
    assert_eq!(max.registers().get(command::CAPABILITY)?, 0x20);
    assert_eq!(max.registers().get(command::MFR_ID)?, 0x4d);
    assert_eq!(max.registers().get(command::MFR_MODEL)?, 0x59);
    Ok(())
}

/// Would catch sensors that are mixed up, and temperatures that lose bits: DIRECT format
/// with m = 1, b = 0, R = 2, in two's complement.
fn test_temperature(max: &Max34451, _: &Rc<Vm>) -> Result<()> {
    for low in [0xff00_u16, 0x2ee0, 0] {
        for sensor in 0..SENSORS {
            max.set_temperature(sensor, low + u16::from(sensor))?;
            assert_eq!(max.temperature(sensor)?, i64::from(low + u16::from(sensor)));
        }
        for sensor in 0..SENSORS {
            let read = max.page(page_of(sensor))?.get(command::READ_TEMPERATURE_1)?;
            assert_eq!(read, low + u16::from(sensor), "sensor {sensor}");
        }
    }
    Ok(())
}

/// Would catch supplies that are mixed up, voltages that lose bits, and peaks of another
/// supply.
fn test_voltage(max: &Max34451, _: &Rc<Vm>) -> Result<()> {
    for supply in 0..SUPPLIES {
        max.set_vout(supply, 3000 + u16::from(supply))?;
        assert_eq!(max.vout(supply)?, 3000 + i64::from(supply));
    }
    for supply in 0..SUPPLIES {
        let (page, value) = (max.page(supply)?, 3000 + u16::from(supply));
        for command in [command::READ_VOUT, command::MFR_VOUT_PEAK, command::MFR_VOUT_MIN] {
            assert_eq!(page.get(command)?, value, "{command}, supply {supply}");
        }
    }
    for millivolts in [1, 0x5aa5, 0x7fff] {
        max.set_vout(9, millivolts)?;
        assert_eq!(max.page(9)?.get(command::READ_VOUT)?, millivolts);
    }
    Ok(())
}

/// Would catch a register that does not keep what is written, and one that has its bytes
/// swapped: PMBus sends the low one first. The other registers are the generic suite's matter.
fn test_rw_regs(max: &Max34451, _: &Rc<Vm>) -> Result<()> {
    let page = max.page(11)?;
    assert_eq!(page.get(command::PAGE)?, 11);
    for config in [0x12, 0x16, 0x1a] {
        page.set(command::ON_OFF_CONFIG, config)?;
        assert_eq!(page.get(command::ON_OFF_CONFIG)?, config);
    }
    for operation in [0, max::ON] {
        page.set(command::OPERATION, operation)?;
        assert_eq!(page.get(command::OPERATION)?, operation);
    }
    let word = command::VOUT_MARGIN_HIGH;
    page.set(word, 0x1234)?;
    assert_eq!(page.get(word)?, 0x1234, "{word}");
    assert_eq!(max.device().read_from(word.offset() as u8)?, [0x34, 0x12], "{word}, in bytes");
    Ok(())
}

/// Would catch a read-only register that takes what is written, or hands it to another.
fn test_ro_regs(max: &Max34451, _: &Rc<Vm>) -> Result<()> {
    max.set_vout(1, 1200)?;
    for page in [1, page_of(0)] {
        let page = max.page(page)?;
        for command in
            [command::CAPABILITY, command::PMBUS_REVISION, command::MFR_ID, command::MFR_MODEL]
        {
            let value = page.get(command)?;
            page.set(command, !value)?;
            assert_eq!(page.get(command)?, value, "{command}");
        }
        assert_eq!(page.get(command::ON_OFF_CONFIG)?, 0x1a, "a register that was not written");
    }
    let page = max.page(1)?;
    page.set(command::READ_VOUT, 0xdead)?;
    assert_eq!(page.get(command::READ_VOUT)?, 1200);
    page.set(command::READ_IOUT, 0xdead)?;
    assert_eq!(page.get(command::READ_IOUT)?, 0);
    let page = max.page(page_of(0))?;
    page.set(command::READ_TEMPERATURE_1, 0xabba)?;
    assert_eq!(page.get(command::READ_TEMPERATURE_1)?, 2500);
    Ok(())
}

/// Would catch an overvoltage that is not told, is told before there is one, or by the
/// status of another supply.
fn test_ov_faults(max: &Max34451, _: &Rc<Vm>) -> Result<()> {
    for supply in 0..SUPPLIES {
        let page = max.page(supply)?;
        page.set(command::VOUT_OV_FAULT_LIMIT, 5000)?;
        assert_eq!(page.get(command::STATUS_VOUT)?, 0, "supply {supply}");
        max.set_vout(supply, 5100)?;
        let word = page.get(command::STATUS_WORD)?;
        assert_eq!(word & max::STATUS_WORD_VOUT, max::STATUS_WORD_VOUT, "supply {supply}");
        assert_eq!(page.get(command::STATUS_VOUT)?, max::VOUT_OV_FAULT, "supply {supply}");
    }
    Ok(())
}

/// Would catch an overtemperature that is not told, is told before there is one, or by the
/// status of another sensor.
fn test_ot_faults(max: &Max34451, _: &Rc<Vm>) -> Result<()> {
    for sensor in 0..SENSORS {
        let page = max.page(page_of(sensor))?;
        page.set(command::OT_FAULT_LIMIT, 6000)?;
        assert_eq!(page.get(command::STATUS_TEMPERATURE)?, 0, "sensor {sensor}");
        max.set_temperature(sensor, 6100)?;
        let word = page.get(command::STATUS_WORD)?;
        assert_ne!(word & max::STATUS_WORD_TEMPERATURE, 0, "sensor {sensor}");
        assert_eq!(page.get(command::STATUS_TEMPERATURE)?, max::OT_FAULT, "sensor {sensor}");
    }
    Ok(())
}

/// Would catch a write to PAGE 255 that does not get to every page.
fn test_all_pages(max: &Max34451, _: &Rc<Vm>) -> Result<()> {
    let all = max.page(max::ALL_PAGES)?;
    assert_eq!(all.get(command::PAGE)?, max::ALL_PAGES);
    all.set(command::ON_OFF_CONFIG, 0x12)?;
    all.set(command::MFR_MODE, 0x3456)?;
    all.set(command::VOUT_OV_WARN_LIMIT, 0x1234)?;
    for page in 0..SUPPLIES + SENSORS {
        let registers = max.page(page)?;
        assert_eq!(registers.get(command::PAGE)?, page);
        assert_eq!(registers.get(command::ON_OFF_CONFIG)?, 0x12, "page {page}");
        assert_eq!(registers.get(command::MFR_MODE)?, 0x3456, "page {page}");
        if page < SUPPLIES {
            assert_eq!(registers.get(command::VOUT_OV_WARN_LIMIT)?, 0x1234, "page {page}");
        }
    }
    Ok(())
}

/// Would catch pages that share registers.
fn pages(max: &Max34451, _: &Rc<Vm>) -> Result<()> {
    for page in 0..SUPPLIES + SENSORS {
        let limit =
            if page < SUPPLIES { command::VOUT_UV_WARN_LIMIT } else { command::OT_WARN_LIMIT };
        max.page(page)?.set(limit, 0x0100 + u16::from(page))?;
        max.registers().set(command::ON_OFF_CONFIG, 0x10 + page)?;
    }
    for page in 0..SUPPLIES + SENSORS {
        let limit =
            if page < SUPPLIES { command::VOUT_UV_WARN_LIMIT } else { command::OT_WARN_LIMIT };
        assert_eq!(max.page(page)?.get(limit)?, 0x0100 + u16::from(page), "page {page}");
        assert_eq!(max.registers().get(command::ON_OFF_CONFIG)?, 0x10 + page, "page {page}");
    }
    Ok(())
}

/// Would catch a reserved page (21 to 254) that can be used, and one that nobody complains
/// of (PMBus 1.1, part II, 10.9).
fn wrong_page(max: &Max34451, vm: &Rc<Vm>) -> Result<()> {
    if vm.emulator().capabilities.version < Version::new(7, 0, 0) {
        return Err(Error::skipped("QEMU before 7.0 does not tell of pages that do not exist"));
    }
    assert_eq!(max.page(0)?.get(command::STATUS_BYTE)? & max::STATUS_WORD_CML as u8, 0);
    for wrong in [SUPPLIES + SENSORS, 254] {
        max.page(wrong)?;
        max.registers().set(command::ON_OFF_CONFIG, 0x05)?;
        // Older QEMUs find out when something is read, newer ones go back to page 0.
        max.registers().get(command::READ_VOUT)?;
        let status = max.page(1)?.get(command::STATUS_BYTE)?;
        assert_ne!(status & max::STATUS_WORD_CML as u8, 0, "CML after page {wrong}");
        for page in 1..SUPPLIES + SENSORS {
            let config = max.page(page)?.get(command::ON_OFF_CONFIG)?;
            assert_eq!(config, 0x1a, "page {page}, after a write to page {wrong}");
        }
    }
    Ok(())
}

fn status(page: &dyn Registers, register: Register<u8>, bit: u16) -> Result<(u8, bool)> {
    Ok((page.get(register)?, page.get(command::STATUS_WORD)? & bit != 0))
}

/// Would catch a limit that is off by one, on the wrong side, or tells the wrong bit, and
/// bits of STATUS_WORD that do not follow. Each limit on a supply of its own.
fn vout_limits(max: &Max34451, _: &Rc<Vm>) -> Result<()> {
    for (supply, limit, good, bad, bit) in [
        (2, command::VOUT_OV_FAULT_LIMIT, 3000, 3001, max::VOUT_OV_FAULT),
        (3, command::VOUT_OV_WARN_LIMIT, 3000, 3001, max::VOUT_OV_WARNING),
        (4, command::VOUT_UV_WARN_LIMIT, 3000, 2999, max::VOUT_UV_WARNING),
        (15, command::VOUT_UV_FAULT_LIMIT, 3000, 2999, max::VOUT_UV_FAULT),
    ] {
        max.set_vout(supply, good)?;
        let page = max.page(supply)?;
        page.set(limit, 3000)?;
        let vout = || status(page, command::STATUS_VOUT, max::STATUS_WORD_VOUT);
        assert_eq!(vout()?, (0, false), "{limit}, at {good}");
        max.set_vout(supply, bad)?;
        assert_eq!(vout()?, (bit, true), "{limit}, at {bad}");
        max.set_vout(supply, good)?;
        assert_eq!(vout()?, (bit, true), "{limit}, at {good} again: the bit stays");
    }
    let others = max.page(5)?;
    assert_eq!(status(others, command::STATUS_VOUT, max::STATUS_WORD_VOUT)?, (0, false));

    let page = max.page(6)?;
    page.set(command::VOUT_OV_WARN_LIMIT, 3000)?;
    page.set(command::VOUT_OV_FAULT_LIMIT, 3200)?;
    max.set_vout(6, 3300)?;
    let both = max::VOUT_OV_FAULT | max::VOUT_OV_WARNING;
    assert_eq!(page.get(command::STATUS_VOUT)?, both, "above both limits");
    Ok(())
}

/// Would catch the same of temperatures.
fn temperature_limits(max: &Max34451, _: &Rc<Vm>) -> Result<()> {
    for (sensor, limit, bit) in
        [(0, command::OT_FAULT_LIMIT, max::OT_FAULT), (4, command::OT_WARN_LIMIT, max::OT_WARNING)]
    {
        max.set_temperature(sensor, 8500)?;
        let page = max.page(page_of(sensor))?;
        page.set(limit, 8500)?;
        let now = || status(page, command::STATUS_TEMPERATURE, max::STATUS_WORD_TEMPERATURE);
        assert_eq!(now()?, (0, false), "{limit}, at it");
        max.set_temperature(sensor, 8501)?;
        assert_eq!(now()?, (bit, true), "{limit}, above it");
        assert_ne!(u16::from(page.get(command::STATUS_BYTE)?) & max::STATUS_WORD_TEMPERATURE, 0);
        max.set_temperature(sensor, 2500)?;
        assert_eq!(now()?, (bit, true), "{limit}, below again: the bit stays");
    }
    let page = max.page(page_of(2))?;
    assert_eq!(page.get(command::STATUS_TEMPERATURE)?, 0);
    Ok(())
}

/// Would catch CLEAR_FAULTS that leaves a bit, or limits and measurements that it clears,
/// too; and a fault that is still there and does not come back (PMBus 1.1, part II, 15.1).
fn clear_faults(max: &Max34451, vm: &Rc<Vm>) -> Result<()> {
    if vm.emulator().capabilities.version < Version::new(8, 2, 0) {
        return Err(Error::skipped("QEMU before 8.2 overlooks CLEAR_FAULTS without data"));
    }
    let supply = max.page(3)?;
    supply.set(command::VOUT_OV_FAULT_LIMIT, 1000)?;
    max.set_vout(3, 1100)?;
    max.page(page_of(1))?.set(command::OT_WARN_LIMIT, 3000)?;
    max.set_temperature(1, 3100)?;
    max.set_temperature(1, 2900)?;
    max.set_vout(3, 900)?;

    max.page(max::ALL_PAGES)?;
    max.device().send(&[command::CLEAR_FAULTS])?;
    for page in 0..SUPPLIES + SENSORS {
        let registers = max.page(page)?;
        let is_supply = page < SUPPLIES;
        assert_eq!(registers.get(command::STATUS_WORD)?, 0, "page {page}");
        let detail = if is_supply { command::STATUS_VOUT } else { command::STATUS_TEMPERATURE };
        assert_eq!(registers.get(detail)?, 0, "page {page}");
    }
    assert_eq!(max.page(3)?.get(command::VOUT_OV_FAULT_LIMIT)?, 1000);
    assert_eq!(max.registers().get(command::READ_VOUT)?, 900);

    max.set_vout(3, 1100)?;
    max.device().send(&[command::CLEAR_FAULTS])?;
    // QEMU looks again at the next write.
    max.registers().set(command::VOUT_OV_FAULT_LIMIT, 1000)?;
    assert_eq!(max.registers().get(command::STATUS_VOUT)?, max::VOUT_OV_FAULT);
    Ok(())
}

/// Would catch peaks that follow the value down, miss one, or cannot be started anew.
fn peaks(max: &Max34451, _: &Rc<Vm>) -> Result<()> {
    let highest_and_lowest = || -> Result<(u16, u16)> {
        let page = max.page(7)?;
        Ok((page.get(command::MFR_VOUT_PEAK)?, page.get(command::MFR_VOUT_MIN)?))
    };
    for (millivolts, peaks) in
        [(2000, (2000, 2000)), (2500, (2500, 2000)), (1500, (2500, 1500)), (1800, (2500, 1500))]
    {
        max.set_vout(7, millivolts)?;
        assert_eq!(highest_and_lowest()?, peaks, "at {millivolts}");
    }
    max.registers().set(command::MFR_VOUT_PEAK, 0)?;
    max.registers().set(command::MFR_VOUT_MIN, 0x7fff)?;
    max.set_vout(7, 1900)?;
    assert_eq!(highest_and_lowest()?, (1900, 1900), "started anew");

    for (centidegrees, peak) in [(4000, 4000), (5000, 5000), (3000, 5000)] {
        max.set_temperature(3, centidegrees)?;
        let read = max.page(page_of(3))?.get(command::MFR_TEMPERATURE_PEAK)?;
        assert_eq!(read, peak, "at {centidegrees}");
    }
    Ok(())
}

/// Would catch OPERATION that does not turn the supply off, or turns off another, and an
/// undervoltage told of a supply that is off.
fn switched_off(max: &Max34451, _: &Rc<Vm>) -> Result<()> {
    for supply in [8, 9] {
        max.set_vout(supply, 3300)?;
        max.page(supply)?.set(command::VOUT_UV_FAULT_LIMIT, 3000)?;
    }
    max.page(8)?.set(command::OPERATION, 0)?;
    assert_eq!(max.registers().get(command::READ_VOUT)?, 0);
    assert_eq!(max.registers().get(command::STATUS_VOUT)?, 0);
    assert_eq!(max.page(9)?.get(command::READ_VOUT)?, 3300, "the other supply stays on");
    assert_eq!(max.registers().get(command::OPERATION)?, max::ON);
    Ok(())
}
