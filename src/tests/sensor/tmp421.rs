//! The TMP421 family: conversion on every channel, the extended range, shutdown, software reset.

use std::rc::Rc;
use std::time::Duration;

use crate::drivers::sensor::tmp421::{
    CONFIGURATION_1, CONFIGURATION_2, DEVICE, HIGH, LOW, MANUFACTURER, ONE_SHOT, RANGE, RATE,
    RESET, SHUTDOWN, STATUS, Tmp42x, Tmp421, Tmp422, Tmp423,
};
use crate::qemu::Vm;
use crate::qos::registers::RegistersExt;
use crate::qos::rtc::step;
use crate::{Result, tests};

macro_rules! suite {
    ($device:ty, $name:literal) => {
        tests!($device, $name:
            identity,
            below_zero = "below-zero",
            above_zero = "above-zero",
            within_a_step = "within-a-step",
            channels,
            extended_range = "extended-range",
            range_changed = "range-changed",
            shutdown,
            software_reset = "software-reset",
            reads,
        );
    };
}

suite!(Tmp421, "tmp421-tests");
suite!(Tmp422, "tmp422-tests");
suite!(Tmp423, "tmp423-tests");

/// One conversion a second is the slowest rate but four; what is longer than 16 s has at least one.
fn await_conversion(vm: &Vm) -> Result<()> {
    step(vm, Duration::from_secs(17))
}

/// Would catch a sensor that drivers take for another member of the family, or for none.
fn identity<const M: usize>(sensor: &Tmp42x<M>, _: &Rc<Vm>) -> Result<()> {
    let registers = sensor.registers();
    assert_eq!(registers.get(MANUFACTURER)?, 0x55);
    assert_eq!(registers.get(DEVICE)?, sensor.device_id());
    assert_eq!(registers.get(CONFIGURATION_1)?, 0);
    assert_eq!(registers.get(CONFIGURATION_2)?, sensor.enabled());
    assert_eq!(registers.get(RATE)?, 7);
    for register in [MANUFACTURER, DEVICE, STATUS] {
        let before = registers.get(register)?;
        registers.set(register, !before)?;
        assert_eq!(registers.get(register)?, before, "{register}, which is read-only");
    }
    Ok(())
}

/// Sees that every channel shows each of these temperatures as that register, exactly.
fn converts<const M: usize>(
    sensor: &Tmp42x<M>,
    vm: &Vm,
    temperatures: &[(i64, u16)],
) -> Result<()> {
    for channel in 0..sensor.channels() {
        for &(millidegrees, register) in temperatures {
            sensor.set_temperature(channel, millidegrees)?;
            await_conversion(vm)?;
            let read = sensor.read(channel)?.cast_unsigned();
            assert_eq!(
                read, register,
                "channel {channel}, {millidegrees} m°C: {read:#06x} is not {register:#06x}"
            );
        }
    }
    Ok(())
}

/// Would catch temperatures at and below zero that are off (tables 1 and 2, standard binary).
fn below_zero<const M: usize>(sensor: &Tmp42x<M>, vm: &Rc<Vm>) -> Result<()> {
    let temperatures = [
        (0, 0x0000),
        (-250, 0xffc0),
        (-1000, 0xff00),
        (-25_000, 0xe700),
        (-39_500, 0xd880),
        (-40_000, 0xd800),
    ];
    converts(sensor, vm, &temperatures)
}

/// Would catch temperatures above zero that are off (tables 1 and 2, standard binary): each of these
/// is a multiple of the step of 1/16 °C.
fn above_zero<const M: usize>(sensor: &Tmp42x<M>, vm: &Rc<Vm>) -> Result<()> {
    let temperatures = [
        (250, 0x0040),
        (500, 0x0080),
        (1000, 0x0100),
        (5000, 0x0500),
        (25_000, 0x1900),
        (50_000, 0x3200),
        (100_000, 0x6400),
        (125_000, 0x7d00),
    ];
    converts(sensor, vm, &temperatures)
}

/// Would catch temperatures that are more than a step of 1/16 °C off, and bits below the step that
/// are not zero. A conversion may round up or down.
fn within_a_step<const M: usize>(sensor: &Tmp42x<M>, vm: &Rc<Vm>) -> Result<()> {
    for channel in 0..sensor.channels() {
        for millidegrees in (-40_000..127_000).step_by(3333).chain([1, 63, 126_999]) {
            sensor.set_temperature(channel, millidegrees)?;
            await_conversion(vm)?;
            let read = sensor.read(channel)?;
            let what = format!("channel {channel}, {millidegrees} m°C: {read:#06x}");
            assert_eq!(read & 0xf, 0, "{what}: bits below the step");
            let off = (i64::from(read) * 1000 / 256 - millidegrees).abs();
            assert!(off <= 63, "{what}: {off} m°C off");
            assert!((sensor.temperature(channel)? - millidegrees).abs() <= 8, "{what}, outside");
        }
    }
    Ok(())
}

/// Would catch channels that are mixed up, and a low byte that another register has than the
/// channel's own.
fn channels<const M: usize>(sensor: &Tmp42x<M>, vm: &Rc<Vm>) -> Result<()> {
    // In units of 1/16 °C, each with another low byte.
    let sixteenths = |channel: u64| -(33 + 18 * channel as i64);
    for channel in 0..sensor.channels() {
        sensor.set_temperature(channel, sixteenths(channel) * 125 / 2)?;
    }
    await_conversion(vm)?;
    for channel in 0..sensor.channels() {
        let expected = (sixteenths(channel) * 16) as i16;
        assert_eq!(sensor.read(channel)?, expected, "channel {channel}");
        let [high, low] = expected.to_be_bytes();
        let registers = sensor.registers();
        assert_eq!(registers.get(HIGH.nth(channel, 1))?, high, "high byte of channel {channel}");
        assert_eq!(registers.get(LOW.nth(channel, 1))?, low, "low byte of channel {channel}");
        registers.set(HIGH.nth(channel, 1), !high)?;
        registers.set(LOW.nth(channel, 1), !low)?;
        assert_eq!(sensor.read(channel)?, expected, "channel {channel}, after it was written");
    }
    Ok(())
}

/// Would catch an extended range (RANGE) that does not begin 64 °C lower (table 1, extended binary),
/// or does not reach below -40 °C and above 127 °C.
fn extended_range<const M: usize>(sensor: &Tmp42x<M>, vm: &Rc<Vm>) -> Result<()> {
    sensor.registers().set(CONFIGURATION_1, RANGE)?;
    assert_eq!(sensor.registers().get(CONFIGURATION_1)?, RANGE);
    for channel in 0..sensor.channels() {
        for (millidegrees, high) in
            [(-55_000, 0x09), (-50_000, 0x0e), (-25_000, 0x27), (-1000, 0x3f), (0, 0x40)]
        {
            sensor.set_temperature(channel, millidegrees)?;
            await_conversion(vm)?;
            let read = sensor.read(channel)?.to_be_bytes();
            assert_eq!(read, [high, 0], "channel {channel}, {millidegrees} m°C");
        }
        // Which way it is rounded does not matter here.
        for (millidegrees, sixteenths) in [(1000, 65 * 16), (127_500, 191 * 16 + 8)] {
            sensor.set_temperature(channel, millidegrees)?;
            await_conversion(vm)?;
            let read = sensor.read(channel)?.cast_unsigned();
            assert!(
                (i32::from(read >> 4) - sixteenths).abs() <= 1 && read & 0xf == 0,
                "channel {channel}, {millidegrees} m°C: {read:#06x}"
            );
        }
    }
    Ok(())
}

/// Would catch a range that does not hold for the next conversion: the temperature stays, and is
/// told in another way.
fn range_changed<const M: usize>(sensor: &Tmp42x<M>, vm: &Rc<Vm>) -> Result<()> {
    for channel in 0..sensor.channels() {
        sensor.set_temperature(channel, -20_000)?;
    }
    sensor.registers().set(CONFIGURATION_1, RANGE)?;
    await_conversion(vm)?;
    for channel in 0..sensor.channels() {
        assert_eq!(sensor.read(channel)?, (64 - 20) << 8, "channel {channel}, extended");
    }
    sensor.registers().set(CONFIGURATION_1, 0)?;
    await_conversion(vm)?;
    for channel in 0..sensor.channels() {
        assert_eq!(sensor.read(channel)?, -20 << 8, "channel {channel}, standard again");
    }
    Ok(())
}

/// Would catch conversions in shutdown that nobody asked for, and a one-shot that does not convert.
fn shutdown<const M: usize>(sensor: &Tmp42x<M>, vm: &Rc<Vm>) -> Result<()> {
    sensor.set_temperature(0, -10_000)?;
    await_conversion(vm)?;
    sensor.registers().set(CONFIGURATION_1, SHUTDOWN)?;
    assert_eq!(sensor.registers().get(CONFIGURATION_1)?, SHUTDOWN);
    await_conversion(vm)?;
    sensor.set_temperature(0, -20_000)?;
    await_conversion(vm)?;
    assert_eq!(sensor.read(0)?, -10 << 8, "in shutdown");
    sensor.registers().set(ONE_SHOT, 0)?;
    await_conversion(vm)?;
    assert_eq!(sensor.read(0)?, -20 << 8, "after a one-shot");
    Ok(())
}

/// Would catch a software reset that leaves a register as it was, or that other registers cause.
fn software_reset<const M: usize>(sensor: &Tmp42x<M>, _: &Rc<Vm>) -> Result<()> {
    let registers = sensor.registers();
    let write = || -> Result<()> {
        registers.set(CONFIGURATION_1, RANGE)?;
        registers.set(CONFIGURATION_2, 0x04)?;
        registers.set(RATE, 2)
    };
    let read = || -> Result<[u8; 3]> {
        Ok([registers.get(CONFIGURATION_1)?, registers.get(CONFIGURATION_2)?, registers.get(RATE)?])
    };
    write()?;
    for other in [0xfb, 0xfd, 0x7c] {
        sensor.device().write_from(other, &[0])?;
        assert_eq!(read()?, [RANGE, 0x04, 2], "after a write to {other:#04x}");
    }
    for value in [0, 0xff] {
        write()?;
        registers.set(RESET, value)?;
        assert_eq!(read()?, [0, sensor.enabled(), 7], "after a reset with {value:#x}");
    }
    Ok(())
}

/// Would catch a pointer that does not stay where it is between reads, and a second byte that is
/// another than the low one.
fn reads<const M: usize>(sensor: &Tmp42x<M>, vm: &Rc<Vm>) -> Result<()> {
    sensor.set_temperature(0, -33_250)?;
    await_conversion(vm)?;
    sensor.device().send(&[HIGH.offset() as u8])?;
    for _ in 0..3 {
        assert_eq!(sensor.device().recv::<2>()?, [0xde, 0xc0]);
        assert_eq!(sensor.device().recv::<1>()?, [0xde]);
    }
    let mut bytes = [0; 2];
    let (bus, address) = (sensor.device().bus(), sensor.device().address());
    bus.send_recv(address, &[HIGH.offset() as u8], &mut bytes)?;
    assert_eq!(bytes, [0xde, 0xc0], "after a repeated start");
    Ok(())
}
