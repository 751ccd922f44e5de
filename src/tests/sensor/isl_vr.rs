//! Voltage regulators of Renesas: what they measure, their pages, limits and faults.

use std::rc::Rc;

use crate::drivers::sensor::isl_vr::{Isl69260, IslVr, Raa228000, Raa229004};
use crate::qemu::{Version, Vm};
use crate::qos::i2c::pmbus;
use crate::qos::registers::{Register, RegistersExt};
use crate::{Error, Result, tests};

macro_rules! suite {
    ($member:ty, $name:literal) => {
        tests!($member, $name:
            tx_rx = "test_tx_rx",
            defaults = "test_defaults",
            rw_regs = "test_rw_regs",
            ro_regs = "test_ro_regs",
            pages_rw = "test_pages_rw",
            ov_faults = "test_ov_faults",
            limits,
            clear_faults = "clear-faults",
        );
    };
}

suite!(Isl69260, "isl69260-tests");
suite!(Raa228000, "raa228000-tests");
suite!(Raa229004, "raa229004-tests");

/// What the properties of page 0 are about, where each is read, and what it is at first.
const MEASURED: [(&str, Register<u16>, u16); 9] = [
    ("vin", pmbus::READ_VIN, 1100),
    ("vout", pmbus::READ_VOUT, 1000),
    ("iin", pmbus::READ_IIN, 40),
    ("iout", pmbus::READ_IOUT, 40),
    ("pin", pmbus::READ_PIN, 4),
    ("pout", pmbus::READ_POUT, 4),
    ("temp1", pmbus::READ_TEMPERATURE_1, 25),
    ("temp2", pmbus::READ_TEMPERATURE_2, 25),
    ("temp3", pmbus::READ_TEMPERATURE_3, 25),
];

/// Would catch quantities that are mixed up, lose bits, or are another page's.
fn tx_rx<const MEMBER: usize>(vr: &IslVr<MEMBER>, _: &Rc<Vm>) -> Result<()> {
    for seed in [1, 0x1000, 0x7f00] {
        for (number, (quantity, _, _)) in (0..).zip(MEASURED) {
            vr.set(quantity, 0, seed + number)?;
            assert_eq!(vr.get(quantity, 0)?, i64::from(seed + number), "{quantity}");
        }
        for (number, (quantity, register, _)) in (0..).zip(MEASURED) {
            assert_eq!(vr.page(0)?.get(register)?, seed + number, "{quantity}: {register}");
        }
    }
    if vr.chip().pages > 1 {
        for (value, quantity, register) in
            [(0x123, "vout", pmbus::READ_VOUT), (0x456, "iout", pmbus::READ_IOUT)]
        {
            vr.set(quantity, 1, value)?;
            assert_eq!(vr.page(1)?.get(register)?, value, "{register} of page 1");
            assert_ne!(vr.page(0)?.get(register)?, value, "{register} of page 0");
        }
    }
    Ok(())
}

/// Would catch a measurement or a limit that is not what it should be at first.
fn defaults<const MEMBER: usize>(vr: &IslVr<MEMBER>, _: &Rc<Vm>) -> Result<()> {
    let at_first = |value: u16| if vr.chip().measures { value } else { 0 };
    for (quantity, register, value) in MEASURED {
        assert_eq!(vr.page(0)?.get(register)?, at_first(value), "{quantity}: {register}");
    }
    for page in 0..vr.chip().pages {
        let registers = vr.page(page)?;
        for (register, value) in [
            (pmbus::VOUT_COMMAND, 0x384),
            (pmbus::VOUT_MAX, 0x8fc),
            (pmbus::VOUT_OV_FAULT_LIMIT, 0x76c),
            (pmbus::READ_VOUT, at_first(1000)),
            (pmbus::STATUS_WORD, 0),
        ] {
            assert_eq!(registers.get(register)?, value, "{register}, page {page}");
        }
        for (register, value) in [
            (pmbus::PAGE, page),
            (pmbus::OPERATION, 0x80),
            (pmbus::ON_OFF_CONFIG, 0x16),
            (pmbus::CAPABILITY, 0x40),
            (pmbus::VOUT_MODE, 0x40),
            (pmbus::PMBUS_REVISION, 0x33),
        ] {
            assert_eq!(registers.get(register)?, value, "{register}, page {page}");
        }
    }
    Ok(())
}

/// Would catch a register whose bytes are swapped, PMBus sends the low one first, and one that
/// does not keep what is written or hands it to another.
fn rw_regs<const MEMBER: usize>(vr: &IslVr<MEMBER>, _: &Rc<Vm>) -> Result<()> {
    let registers = [
        pmbus::VOUT_COMMAND,
        pmbus::VOUT_MARGIN_HIGH,
        pmbus::VOUT_MARGIN_LOW,
        pmbus::VOUT_OV_FAULT_LIMIT,
        pmbus::OT_WARN_LIMIT,
        pmbus::VIN_UV_WARN_LIMIT,
    ];
    for (number, register) in (1..).zip(registers) {
        vr.page(0)?.set(register, 0x1200 + number)?;
    }
    for (number, register) in (1..).zip(registers) {
        assert_eq!(vr.page(0)?.get(register)?, 0x1200 + number, "{register}");
        let bytes = vr.device().read_from::<2>(register.offset() as u8)?;
        assert_eq!(bytes, [number as u8, 0x12], "{register}, in bytes");
    }
    for config in [0x12, 0x1a, 0x16] {
        vr.page(0)?.set(pmbus::ON_OFF_CONFIG, config)?;
        assert_eq!(vr.page(0)?.get(pmbus::ON_OFF_CONFIG)?, config, "ON_OFF_CONFIG");
    }
    Ok(())
}

/// Would catch a measurement that a guest can write.
fn ro_regs<const MEMBER: usize>(vr: &IslVr<MEMBER>, _: &Rc<Vm>) -> Result<()> {
    for (number, (quantity, register, _)) in (1..).zip(MEASURED) {
        vr.set(quantity, 0, 77 * number)?;
        vr.page(0)?.set(register, 0xdead)?;
        assert_eq!(vr.page(0)?.get(register)?, 77 * number, "{quantity}: {register}");
        assert_eq!(vr.get(quantity, 0)?, i64::from(77 * number), "{quantity}");
    }
    for register in [pmbus::CAPABILITY, pmbus::PMBUS_REVISION] {
        let before = vr.page(0)?.get(register)?;
        vr.page(0)?.set(register, !before)?;
        assert_eq!(vr.page(0)?.get(register)?, before, "{register}");
    }
    Ok(())
}

/// Would catch pages that share registers, and a write to PAGE 255 that does not get to all.
fn pages_rw<const MEMBER: usize>(vr: &IslVr<MEMBER>, _: &Rc<Vm>) -> Result<()> {
    let pages = vr.chip().pages;
    for register in [pmbus::VOUT_COMMAND, pmbus::VOUT_OV_FAULT_LIMIT, pmbus::OT_WARN_LIMIT] {
        for page in 0..pages {
            vr.page(page)?.set(register, 0x300 + u16::from(page))?;
        }
        for page in 0..pages {
            let value = vr.page(page)?.get(register)?;
            assert_eq!(value, 0x300 + u16::from(page), "{register}, page {page}");
        }
        vr.page(0xff)?.set(register, 0x0456)?;
        assert_eq!(vr.device().get(pmbus::PAGE)?, 0xff, "PAGE, of all");
        for page in 0..pages {
            assert_eq!(vr.page(page)?.get(register)?, 0x0456, "{register}, page {page} of all");
            assert_eq!(vr.device().get(pmbus::PAGE)?, page, "PAGE");
        }
    }
    Ok(())
}

/// Would catch an overvoltage that is not told, is told at the limit, or by another page.
fn ov_faults<const MEMBER: usize>(vr: &IslVr<MEMBER>, _: &Rc<Vm>) -> Result<()> {
    for page in 0..vr.chip().pages {
        let what = format!("page {page}");
        vr.page(page)?.set(pmbus::VOUT_OV_FAULT_LIMIT, 0x1000)?;
        vr.set("vout", page, 0x1000)?;
        let status = || -> Result<(u8, u16)> {
            let registers = vr.page(page)?;
            let word = registers.get(pmbus::STATUS_WORD)?;
            // The members have no limit for warnings, with which QEMU compares too.
            let fault = registers.get(pmbus::STATUS_VOUT)? & pmbus::OV_FAULT;
            Ok((fault, word & pmbus::WORD_VOUT))
        };
        assert_eq!(status()?.0, 0, "{what}, at the limit");
        vr.set("vout", page, 0x1001)?;
        assert_eq!(status()?, (pmbus::OV_FAULT, pmbus::WORD_VOUT), "{what}, above the limit");
        vr.set("vout", page, 0x0fff)?;
        assert_eq!(status()?, (pmbus::OV_FAULT, pmbus::WORD_VOUT), "{what}, below: it stays");
    }
    Ok(())
}

/// Would catch a limit of the input that is off by one, on the wrong side, or tells another bit.
fn limits<const MEMBER: usize>(vr: &IslVr<MEMBER>, _: &Rc<Vm>) -> Result<()> {
    // QEMU before 8.2 overlooks CLEAR_FAULTS without data.
    let clear = || vr.device().send(&[pmbus::CLEAR_FAULTS, 0]);
    for (quantity, limit, bad, bit) in [
        ("vin", pmbus::VIN_OV_WARN_LIMIT, 0x3001, pmbus::VIN_OV_WARNING),
        ("vin", pmbus::VIN_UV_WARN_LIMIT, 0x2fff, pmbus::VIN_UV_WARNING),
    ] {
        let registers = vr.page(0)?;
        registers.set(pmbus::VIN_OV_WARN_LIMIT, 0xffff)?;
        registers.set(pmbus::VIN_UV_WARN_LIMIT, 0)?;
        registers.set(pmbus::IIN_OC_FAULT_LIMIT, 0xffff)?;
        vr.set(quantity, 0, 0x3000)?;
        registers.set(limit, 0x3000)?;
        clear()?;
        let before = registers.get(pmbus::STATUS_INPUT)? & bit;
        assert_eq!(before, 0, "{limit}, at it");
        vr.set(quantity, 0, bad)?;
        assert_eq!(registers.get(pmbus::STATUS_INPUT)? & bit, bit, "{limit}, beyond it");
        let word = registers.get(pmbus::STATUS_WORD)? & pmbus::WORD_INPUT;
        assert_eq!(word, pmbus::WORD_INPUT, "{limit}, beyond it");
    }
    let registers = vr.page(0)?;
    registers.set(pmbus::IIN_OC_FAULT_LIMIT, 0x3000)?;
    vr.set("iin", 0, 0x3001)?;
    match registers.get(pmbus::STATUS_INPUT)? & pmbus::IIN_OC_FAULT {
        0 => Err(Error::skipped("QEMU's regulators do not look at IIN_OC_FAULT_LIMIT")),
        _ => Ok(()),
    }
}

/// Would catch CLEAR_FAULTS that leaves a fault, or a fault that is still there and is not told
/// again (15.1).
fn clear_faults<const MEMBER: usize>(vr: &IslVr<MEMBER>, vm: &Rc<Vm>) -> Result<()> {
    if vm.emulator().capabilities.version < Version::new(8, 2, 0) {
        return Err(Error::skipped("QEMU before 8.2 overlooks CLEAR_FAULTS without data"));
    }
    vr.page(0)?.set(pmbus::VOUT_OV_FAULT_LIMIT, 0x1000)?;
    vr.set("vout", 0, 0x1001)?;
    let fault = || Ok::<_, Error>(vr.page(0)?.get(pmbus::STATUS_VOUT)? & pmbus::OV_FAULT);
    assert_eq!(fault()?, pmbus::OV_FAULT, "above the limit");
    vr.set("vout", 0, 0x0800)?;
    vr.page(0)?;
    vr.device().send(&[pmbus::CLEAR_FAULTS])?;
    assert_eq!(fault()?, 0, "cleared");
    assert_eq!(vr.page(0)?.get(pmbus::VOUT_OV_FAULT_LIMIT)?, 0x1000, "the limit");
    vr.set("vout", 0, 0x1001)?;
    assert_eq!(fault()?, pmbus::OV_FAULT, "above it again");
    Ok(())
}
