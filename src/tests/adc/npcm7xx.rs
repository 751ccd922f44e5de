//! Conversions of the NPCM7xx: each input and reference, at which nanosecond a result is there, the
//! interrupt, what stops a conversion, and the calibration in the fuses.

use std::rc::Rc;
use std::time::Duration;

use crate::drivers::adc::npcm7xx_adc::{
    CONTROL, CONVERSION, CONVERT, DATA, DIVIDER, ENABLE, INPUTS, INTERNAL, INTERRUPT,
    INTERRUPT_ENABLE, MUX, Npcm7xxAdc, REFERENCE, RESET, STEPS, TICK,
};
use crate::qemu::Vm;
use crate::qos::registers::{Mmio, Register, RegistersExt};
use crate::qos::reset;
use crate::qos::timer::Stopwatch;
use crate::{Error, Result, tests};

tests!(Npcm7xxAdc, "npcm7xx-adc-tests":
    inputs,
    references,
    full_scale = "full-scale",
    divider,
    hold,
    stop,
    interrupt,
    masked,
    software_reset = "software-reset",
    machine_reset = "machine-reset",
    calibration,
);

/// Microvolts that are measured with a reference of 2 V, from which no result is a neighbour's.
const VOLTAGES: [u64; 6] = [0, 1_954, 500_000, 1_000_000, 1_499_999, 1_800_000];

/// What a voltage is converted to.
fn result(microvolts: u64, reference: u64) -> u32 {
    (microvolts * STEPS / reference).min(STEPS - 1) as u32
}

/// The time of a conversion, as the nanosecond before its end and that of its end.
fn duration(divider: u32) -> (Duration, Duration) {
    let clocks = CONVERSION * 2 * u64::from(divider + 1);
    (TICK.earliest(clocks) - Duration::from_nanos(1), TICK.latest(clocks))
}

/// Starts a conversion of an input with these further bits of ADCCON.
fn start(adc: &Npcm7xxAdc, input: u32, bits: u32) -> Result<u32> {
    let control = input << MUX | ENABLE | bits;
    adc.registers().set(CONTROL, control | INTERRUPT | CONVERT)?;
    assert_eq!(adc.registers().get(CONTROL)?, control | CONVERT, "ADCCON, converting");
    Ok(control)
}

/// Converts an input to its end, and returns the result.
fn convert(adc: &Npcm7xxAdc, vm: &Vm, input: u32, bits: u32) -> Result<u32> {
    let control = start(adc, input, bits)?;
    Stopwatch::new(vm).until(duration(0).1)?;
    assert_eq!(adc.registers().get(CONTROL)?, control, "ADCCON, input {input} is converted");
    adc.registers().get(DATA)
}

/// Would catch an input that is another's, and a result that is off by one step.
fn inputs(adc: &Npcm7xxAdc, vm: &Rc<Vm>) -> Result<()> {
    let voltage = |input: u32| 100_000 + 210_007 * u64::from(input);
    for input in 0..INPUTS {
        adc.set_input(input, voltage(input))?;
    }
    for input in (0..INPUTS).chain((0..INPUTS).rev()) {
        let expected = result(voltage(input), REFERENCE);
        assert_eq!(convert(adc, vm, input, INTERNAL)?, expected, "input {input}");
    }
    for microvolts in VOLTAGES {
        adc.set_input(3, microvolts)?;
        let expected = result(microvolts, REFERENCE);
        assert_eq!(convert(adc, vm, 3, INTERNAL)?, expected, "{microvolts} µV");
    }
    Ok(())
}

/// Would catch a conversion by the other reference than the selected one.
fn references(adc: &Npcm7xxAdc, vm: &Rc<Vm>) -> Result<()> {
    for reference in [1_800_000, 2_000_000, 2_200_000, 2_500_000] {
        adc.set_reference(reference)?;
        for microvolts in VOLTAGES {
            adc.set_input(5, microvolts)?;
            let read = (convert(adc, vm, 5, 0)?, convert(adc, vm, 5, INTERNAL)?);
            let expected = (result(microvolts, reference), result(microvolts, REFERENCE));
            assert_eq!(read, expected, "{microvolts} µV by {reference} µV and internally");
        }
    }
    Ok(())
}

/// Would catch a result of more than ten bits, or one that begins anew, for an input at and above
/// its reference.
fn full_scale(adc: &Npcm7xxAdc, vm: &Rc<Vm>) -> Result<()> {
    for microvolts in [1_998_047, 2_000_000, 2_000_001, 2_500_000, 3_300_000] {
        adc.set_input(0, microvolts)?;
        assert_eq!(convert(adc, vm, 0, INTERNAL)?, 1023, "{microvolts} µV by 2 V");
    }
    adc.set_input(0, 1_998_046)?;
    assert_eq!(convert(adc, vm, 0, INTERNAL)?, 1022, "one microvolt less than the last step");
    Ok(())
}

/// Would catch a conversion that ends a nanosecond too early or too late, with any divider, or
/// whose result is there before its end.
fn divider(adc: &Npcm7xxAdc, vm: &Rc<Vm>) -> Result<()> {
    for (number, divider) in [0, 1, 2, 3, 7, 15, 128, 255].into_iter().enumerate() {
        let microvolts = 200_000 * (number as u64 + 1);
        adc.set_input(1, microvolts)?;
        let before = adc.registers().get(DATA)?;
        let control = start(adc, 1, INTERNAL | divider << DIVIDER)?;
        vm.set_up_ends()?;
        let watch = Stopwatch::new(vm);
        let (almost, end) = duration(divider);
        watch.until(almost)?;
        let read = (adc.registers().get(CONTROL)?, adc.registers().get(DATA)?);
        assert_eq!(read, (control | CONVERT, before), "ADC_DIV is {divider}, a moment before");
        watch.until(end)?;
        let read = (adc.registers().get(CONTROL)?, adc.registers().get(DATA)?);
        assert_eq!(read, (control, result(microvolts, REFERENCE)), "ADC_DIV is {divider}");
    }
    Ok(())
}

/// Would catch a result that follows the input without a conversion, a conversion without
/// ADC_EN, and a write of ADCDATA.
fn hold(adc: &Npcm7xxAdc, vm: &Rc<Vm>) -> Result<()> {
    adc.set_input(2, 700_000)?;
    let held = convert(adc, vm, 2, INTERNAL)?;
    adc.set_input(2, 1_700_000)?;
    let watch = Stopwatch::new(vm);
    watch.until(duration(255).1)?;
    assert_eq!(adc.registers().get(DATA)?, held, "ADCDATA, the input has changed");
    adc.registers().set(DATA, !held)?;
    assert_eq!(adc.registers().get(DATA)?, held, "ADCDATA, written");
    adc.registers().set(CONTROL, 2 << MUX | INTERNAL | CONVERT)?;
    watch.until(duration(255).1 * 2)?;
    assert_eq!(adc.registers().get(DATA)?, held, "ADCDATA, ADC_EN is not set");
    Ok(())
}

/// Would catch a conversion that goes on when ADC_CONV is cleared, and one that is not begun anew
/// after that, with its whole time.
fn stop(adc: &Npcm7xxAdc, vm: &Rc<Vm>) -> Result<()> {
    adc.set_input(4, 300_000)?;
    let held = convert(adc, vm, 4, INTERNAL)?;
    adc.set_input(4, 1_300_000)?;
    let control = start(adc, 4, INTERNAL | INTERRUPT_ENABLE)?;
    let watch = Stopwatch::new(vm);
    watch.until(duration(0).1 / 2)?;
    adc.registers().set(CONTROL, control)?;
    watch.until(duration(0).1 * 3)?;
    let read = (adc.registers().get(CONTROL)?, adc.registers().get(DATA)?);
    assert_eq!(read, (control, held), "ADCCON and ADCDATA, stopped");
    let control = start(adc, 4, INTERNAL)?;
    let watch = Stopwatch::new(vm);
    let (almost, end) = duration(0);
    watch.until(almost)?;
    assert_eq!(adc.registers().get(CONTROL)?, control | CONVERT, "ADCCON, begun anew");
    watch.until(end)?;
    assert_eq!(adc.registers().get(DATA)?, result(1_300_000, REFERENCE), "ADCDATA, begun anew");
    Ok(())
}

/// Would catch an interrupt that comes before the result, does not get to the interrupt
/// controller, is cleared by a zero or by a read of the result, or does not come again.
fn interrupt(adc: &Npcm7xxAdc, vm: &Rc<Vm>) -> Result<()> {
    let line = adc.interrupt()?;
    let is_high = || line.as_ref().map_or(Ok(None), |line| line.is_high().map(Some));
    let expect = |high: bool| line.as_ref().map(|_| high);
    for round in 0..3 {
        let control = start(adc, 6, INTERNAL | INTERRUPT_ENABLE)?;
        let watch = Stopwatch::new(vm);
        let (almost, end) = duration(0);
        watch.until(almost)?;
        let before = (adc.registers().get(CONTROL)?, is_high()?);
        assert_eq!(before, (control | CONVERT, expect(false)), "round {round}, a moment before");
        watch.until(end)?;
        adc.registers().get(DATA)?;
        for when in ["over", "zero written"] {
            let after = (adc.registers().get(CONTROL)?, is_high()?);
            assert_eq!(after, (control | INTERRUPT, expect(true)), "round {round}, {when}");
            adc.registers().set(CONTROL, control)?;
        }
        adc.registers().set(CONTROL, control | INTERRUPT)?;
        let cleared = (adc.registers().get(CONTROL)?, is_high()?);
        assert_eq!(cleared, (control, expect(false)), "round {round}, cleared");
    }
    Ok(())
}

/// Would catch an interrupt that gets out though ADC_INT_EN is not set.
fn masked(adc: &Npcm7xxAdc, vm: &Rc<Vm>) -> Result<()> {
    let none = || Error::skipped("QEMU cannot watch the line of this converter");
    let line = adc.interrupt()?.ok_or_else(none)?;
    for input in 0..INPUTS {
        convert(adc, vm, input, INTERNAL)?;
    }
    assert_eq!(line.edges()?, (0, 0), "edges of the line");
    Ok(())
}

/// Would catch a reset by ADC_RST that leaves a conversion under way, its result, or a bit of
/// ADCCON.
fn software_reset(adc: &Npcm7xxAdc, vm: &Rc<Vm>) -> Result<()> {
    adc.set_input(7, 900_000)?;
    assert_ne!(convert(adc, vm, 7, INTERNAL)?, 0, "a result before the reset");
    let control = start(adc, 7, 3 << DIVIDER)?;
    let watch = Stopwatch::new(vm);
    adc.registers().set(CONTROL, control | RESET)?;
    watch.until(duration(3).1 * 2)?;
    adc.registers().set(CONTROL, adc.registers().get(CONTROL)? & !RESET | INTERRUPT)?;
    let read = (adc.registers().get(CONTROL)? & !1, adc.registers().get(DATA)?);
    assert_eq!(read, (INTERNAL, 0), "ADCCON and ADCDATA");
    Ok(())
}

/// Would catch a reset of the machine that leaves a conversion under way or the line high.
fn machine_reset(adc: &Npcm7xxAdc, vm: &Rc<Vm>) -> Result<()> {
    let line = adc.interrupt()?;
    adc.set_input(0, 900_000)?;
    start(adc, 0, INTERNAL | INTERRUPT_ENABLE)?;
    Stopwatch::new(vm).until(duration(0).1)?;
    start(adc, 0, INTERNAL | INTERRUPT_ENABLE)?;
    Stopwatch::new(vm).until(duration(0).1)?;
    let control = adc.registers().get(CONTROL)?;
    adc.registers().set(CONTROL, control & !INTERRUPT | CONVERT)?;
    reset(vm)?;
    for when in ["after a reset", "long after a reset"] {
        let read = (adc.registers().get(CONTROL)? & !1, adc.registers().get(DATA)?);
        assert_eq!(read, (INTERNAL | INTERRUPT, 0), "ADCCON and ADCDATA, {when}");
        let is_high = line.as_ref().map(|line| line.is_high()).transpose()?;
        assert!(!is_high.unwrap_or(false), "the line, {when}");
        Stopwatch::new(vm).until(duration(255).1)?;
    }
    Ok(())
}

/// The controller of the fuses: status, address, data, control.
const FUSES: u64 = 0xf018_a000;
const FUSE_STATUS: Register<u32> = Register::new("FST", 0x00);
const FUSE_ADDRESS: Register<u32> = Register::new("FADDR", 0x04);
const FUSE_DATA: Register<u32> = Register::new("FDATA", 0x08);
const FUSE_CONTROL: Register<u32> = Register::new("FCTL", 0x14);
/// FST: a read is done. FCTL: what reads.
const READ_DONE: u32 = 1 << 1;
const READ: u32 = 2;
/// Where in the fuses the calibration is, eight bytes with a nibble each.
const CALIBRATION: u32 = 24;

/// Would catch a calibration in the fuses that is not what 0.5 V and 1.5 V are converted to, so
/// that firmware which corrects results by it spoils them.
fn calibration(adc: &Npcm7xxAdc, vm: &Rc<Vm>) -> Result<()> {
    let fuses = Mmio::new(vm, FUSES, vm.endian()?);
    let mut nibbles = Vec::new();
    for at in CALIBRATION..CALIBRATION + 8 {
        fuses.set(FUSE_ADDRESS, at)?;
        fuses.set(FUSE_CONTROL, READ)?;
        assert_eq!(fuses.get(FUSE_STATUS)? & READ_DONE, READ_DONE, "FST, fuse {at} is read");
        // The other bits are the parity.
        nibbles.push(fuses.get(FUSE_DATA)? & 0xf);
        fuses.set(FUSE_DATA, 1)?;
    }
    let value = |from: usize| (0..4).fold(0, |all, at| all | nibbles[from + at] << (4 * at));
    for (microvolts, calibrated) in [(500_000, value(0)), (1_500_000, value(4))] {
        adc.set_input(1, microvolts)?;
        assert_eq!(convert(adc, vm, 1, INTERNAL)?, calibrated, "{microvolts} µV, by the fuses");
    }
    Ok(())
}
