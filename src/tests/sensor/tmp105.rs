//! The TMP105 temperature sensor: registers, conversion, alert, shutdown.

use std::rc::Rc;

use crate::drivers::sensor::tmp105::{self, Tmp105};
use crate::qemu::{Version, Vm};
use crate::qos::registers::RegistersExt;
use crate::{Error, Result, tests};

tests!(Tmp105, "tmp105-tests":
    tx_rx = "tx-rx",
    conversion,
    resolution,
    out_of_range = "out-of-range",
    comparator_mode = "comparator-mode",
    interrupt_mode = "interrupt-mode",
    fault_queue = "fault-queue",
    shutdown,
);

/// Would catch a register that has another reset value than the data sheet's, that does
/// not keep what is written or takes its neighbour's, and a temperature that the guest can
/// write.
fn tx_rx(tmp105: &Tmp105, _: &Rc<Vm>) -> Result<()> {
    let registers = tmp105.registers();
    assert_eq!(registers.get(tmp105::TEMPERATURE)?, 0);
    assert_eq!(registers.get(tmp105::CONFIGURATION)?, 0);
    assert_eq!(registers.get(tmp105::T_LOW)?, 75 << 8);
    assert_eq!(registers.get(tmp105::T_HIGH)?, 80 << 8);

    tmp105.set_temperature(20_000)?;
    assert_eq!(tmp105.temperature()?, 20_000);
    registers.set(tmp105::CONFIGURATION, 3 << tmp105::RESOLUTION_SHIFT)?;
    registers.set(tmp105::T_LOW, 0xe120)?;
    registers.set(tmp105::T_HIGH, 0x4230)?;
    registers.set(tmp105::TEMPERATURE, 0x5550)?;
    assert_eq!(registers.get(tmp105::TEMPERATURE)?, 20 << 8, "the temperature is read-only");
    assert_eq!(registers.get(tmp105::CONFIGURATION)?, 3 << tmp105::RESOLUTION_SHIFT);
    assert_eq!(registers.get(tmp105::T_LOW)?, 0xe120);
    assert_eq!(registers.get(tmp105::T_HIGH)?, 0x4230);
    // The pointer stays where it is until it is written.
    assert_eq!(tmp105.device().recv()?, [0x42, 0x30]);
    assert_eq!(tmp105.device().recv()?, [0x42]);
    Ok(())
}

/// The configuration for 9, 10, 11 or 12 bits (R1, R0).
fn resolution_of(bits: u32) -> u8 {
    ((bits - 9) as u8) << tmp105::RESOLUTION_SHIFT
}

/// Would catch temperatures that are off, above all below zero and at both ends of the
/// range: the values of the data sheet's "Temperature Data Format", with 12 bits.
fn conversion(tmp105: &Tmp105, _: &Rc<Vm>) -> Result<()> {
    tmp105.registers().set(tmp105::CONFIGURATION, resolution_of(12))?;
    for (millidegrees, register) in [
        (127_938, 0x7ff0),
        (125_000, 0x7d00),
        (100_000, 0x6400),
        (80_000, 0x5000),
        (75_000, 0x4b00),
        (50_000, 0x3200),
        (25_000, 0x1900),
        (250, 0x0040),
        (63, 0x0010),
        (0, 0x0000),
        (-63, 0xfff0),
        (-250, 0xffc0),
        (-25_000, 0xe700),
        (-55_000, 0xc900),
        (-128_000, 0x8000),
    ] {
        tmp105.set_temperature(millidegrees)?;
        let read = tmp105.registers().get(tmp105::TEMPERATURE)?;
        assert_eq!(read, register, "{millidegrees} m°C: {read:#06x} is not {register:#06x}");
        // QEMU keeps 1/256 °C.
        assert!((tmp105.temperature()? - millidegrees).abs() < 4, "{millidegrees} m°C");
    }
    Ok(())
}

/// Would catch a resolution that is another, bits below it that are not zero, and a
/// temperature that is more than one step off. Whether to round up or down is left open
/// by the data sheet; what is a multiple of the step must be exact.
fn resolution(tmp105: &Tmp105, _: &Rc<Vm>) -> Result<()> {
    for bits in 9..=12 {
        tmp105.registers().set(tmp105::CONFIGURATION, resolution_of(bits))?;
        let step = 1_i32 << (16 - bits);
        // In units of 1/256 °C. 125 m°C are 32 of them.
        for eighths in
            [-440, -439, -437, -201, -9, -8, -5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 7, 999, 1000]
        {
            tmp105.set_temperature(i64::from(eighths) * 125)?;
            let exact = eighths * 32;
            let register = tmp105.registers().get(tmp105::TEMPERATURE)?;
            let read = i32::from(register.cast_signed());
            let what = format!("{bits} bits, {exact}/256 °C: {register:#06x}");
            assert_eq!(read % step, 0, "{what}: bits below the resolution");
            assert!((read - exact).abs() < step, "{what}: off by more than a step");
        }
    }
    Ok(())
}

/// Would catch a temperature that the register cannot hold and that wraps around.
fn out_of_range(tmp105: &Tmp105, _: &Rc<Vm>) -> Result<()> {
    tmp105.set_temperature(-12_500)?;
    for beyond in [128_000, 1_000_000, -128_001] {
        assert!(tmp105.set_temperature(beyond).is_err(), "{beyond} m°C were taken");
        assert_eq!(tmp105.registers().get(tmp105::TEMPERATURE)?, 0xf380);
    }
    Ok(())
}

/// Sets limits of 20 and 30 °C and this configuration, at 25 °C, watching ALERT.
fn set_up_alert(tmp105: &Tmp105, configuration: u8) -> Result<()> {
    tmp105.watch_alert()?;
    tmp105.registers().set(tmp105::T_LOW, 20 << 8)?;
    tmp105.registers().set(tmp105::T_HIGH, 30 << 8)?;
    tmp105.set_temperature(25_000)?;
    assert!(tmp105.alert_is_high()?, "ALERT, which is active low, between the limits");
    tmp105.registers().set(tmp105::CONFIGURATION, configuration)
}

/// The configurations for ALERT active low and active high.
const POLARITIES: [(u8, bool); 2] = [(0, false), (tmp105::POLARITY, true)];

/// Would catch an ALERT that does not come at T_HIGH, goes before the temperature is below
/// T_LOW (hysteresis), or has the wrong polarity.
fn comparator_mode(tmp105: &Tmp105, _: &Rc<Vm>) -> Result<()> {
    set_up_alert(tmp105, 0)?;
    for (polarity, active) in POLARITIES {
        tmp105.registers().set(tmp105::CONFIGURATION, polarity)?;
        for (millidegrees, alert) in [
            (25_000, false),
            (29_938, false),
            (30_000, true),
            (125_000, true),
            (29_938, true),
            (20_000, true),
            (19_938, false),
            (-55_000, false),
            (29_938, false),
            (30_063, true),
            (0, false),
        ] {
            tmp105.set_temperature(millidegrees)?;
            // Unlike in interrupt mode, reading does not change it.
            tmp105.registers().get(tmp105::TEMPERATURE)?;
            let is_active = tmp105.alert_is_high()? == active;
            assert_eq!(is_active, alert, "ALERT at {millidegrees} m°C, polarity {active}");
        }
    }
    Ok(())
}

/// Would catch an ALERT that does not come at T_HIGH and then below T_LOW, comes twice for
/// one crossing, is not cleared by reading a register, or has the wrong polarity.
fn interrupt_mode(tmp105: &Tmp105, _: &Rc<Vm>) -> Result<()> {
    set_up_alert(tmp105, tmp105::THERMOSTAT_INTERRUPT)?;
    for (polarity, active) in POLARITIES {
        let configuration = tmp105::THERMOSTAT_INTERRUPT | polarity;
        tmp105.registers().set(tmp105::CONFIGURATION, configuration)?;
        for (millidegrees, alert) in [
            (25_000, false),
            (30_000, true),
            (35_000, false),
            (25_000, false),
            (31_000, false),
            (20_000, false),
            (19_938, true),
            (0, false),
            (29_938, false),
            (19_000, false),
            (30_063, true),
            (10_000, true),
        ] {
            tmp105.set_temperature(millidegrees)?;
            let is_active = tmp105.alert_is_high()? == active;
            assert_eq!(is_active, alert, "ALERT at {millidegrees} m°C, polarity {active}");
            tmp105.registers().get(tmp105::CONFIGURATION)?;
            assert_ne!(tmp105.alert_is_high()?, active, "a read clears ALERT");
        }
    }
    Ok(())
}

/// Would catch a fault queue (F1, F0) that is not kept, or does not let ALERT come after
/// six faults in a row. QEMU does not count faults: it comes with the first.
fn fault_queue(tmp105: &Tmp105, _: &Rc<Vm>) -> Result<()> {
    let configuration = tmp105::SIX_FAULTS | tmp105::POLARITY;
    set_up_alert(tmp105, configuration)?;
    assert_eq!(tmp105.registers().get(tmp105::CONFIGURATION)?, configuration);
    assert!(!tmp105.alert_is_high()?);
    for fault in 0..6 {
        tmp105.set_temperature(40_000 + fault * 1000)?;
    }
    assert!(tmp105.alert_is_high()?, "ALERT after six faults");
    Ok(())
}

/// Would catch conversions in shutdown that nobody asked for, a one-shot that does not
/// convert, and one that ends shutdown.
fn shutdown(tmp105: &Tmp105, vm: &Rc<Vm>) -> Result<()> {
    if vm.emulator().capabilities.version < Version::new(7, 0, 0) {
        // That is where the answers of qtest are.
        return Err(Error::skipped("QEMU writes of a shutdown to standard output"));
    }
    let configuration = tmp105::SHUTDOWN | tmp105::POLARITY;
    set_up_alert(tmp105, tmp105::POLARITY)?;
    tmp105.registers().set(tmp105::CONFIGURATION, configuration)?;
    for (millidegrees, before, after) in
        [(40_000, false, true), (25_000, true, true), (10_000, true, false)]
    {
        tmp105.set_temperature(millidegrees)?;
        assert_eq!(tmp105.alert_is_high()?, before, "{millidegrees} m°C, not converted");
        let one_shot = configuration | tmp105::ONE_SHOT;
        tmp105.registers().set(tmp105::CONFIGURATION, one_shot)?;
        assert_eq!(tmp105.alert_is_high()?, after, "{millidegrees} m°C, converted once");
        let read = tmp105.registers().get(tmp105::CONFIGURATION)?;
        assert_eq!(read, configuration, "still in shutdown, OS reads as 0");
    }
    tmp105.set_temperature(50_000)?;
    assert!(!tmp105.alert_is_high()?);
    tmp105.registers().set(tmp105::CONFIGURATION, tmp105::POLARITY)?;
    tmp105.set_temperature(50_000)?;
    assert!(tmp105.alert_is_high()?, "ALERT after shutdown");
    Ok(())
}
