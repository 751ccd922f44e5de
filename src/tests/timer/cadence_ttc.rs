//! What the Triple Timer Counter of the Zynq-7000 has besides an interval (Xilinx, UG585, chapter 8):
//! all 16 bits, the other direction, values that the counter is compared with, and a status that
//! a read clears.
//!
//! Where time matters to these cases they look at multiples of 125 ns, at which QEMU's counter has
//! no error of rounding.

use std::rc::Rc;
use std::time::Duration;

use crate::drivers::timer::cadence_ttc::{
    CadenceTtc, Counter, DECREMENT, ENABLED, INTERVAL, INTERVAL_MODE, INTERVAL_OVER, MATCH,
    MATCH_1, MATCH_2, MATCH_3, MATCHED, MICROSECOND, OVERFLOW, STATUS, VALUE,
};
use crate::qemu::Vm;
use crate::qos::timer::{Stopwatch, Timer};
use crate::{Result, tests};

tests!(CadenceTtc, "cadence-ttc-tests":
    any_interval = "any-interval",
    overflow,
    decrement,
    matches,
    matches_disabled = "matches-disabled",
    read_clears = "read-clears",
    counters_apart = "counters-apart",
);

/// A moment, over which 16 ticks pass.
const MOMENT: Duration = Duration::from_nanos(125);

/// A time in microseconds.
const fn us(count: u32) -> Duration {
    Duration::from_micros(count as u64)
}

/// Starts a counter with an interval of so many microseconds.
fn begin<'a>(
    counter: &Counter,
    vm: &'a Rc<Vm>,
    control: u32,
    interval: u32,
) -> Result<Stopwatch<'a>> {
    counter.set(INTERVAL, interval * MICROSECOND - 1)?;
    counter.begin(control | INTERVAL_MODE, 1)?;
    vm.set_up_ends()?;
    Ok(Stopwatch::new(vm))
}

/// Would catch an interval that does not end, or at whose end the timer needs time for itself,
/// unless it is a whole number of nanoseconds.
fn any_interval(ttc: &CadenceTtc, vm: &Rc<Vm>) -> Result<()> {
    for counter in &ttc.counters {
        counter.set(INTERVAL, 999)?;
        counter.begin(INTERVAL_MODE, 1)?;
        let watch = Stopwatch::new(vm);
        for (ticks, status) in [(998, 0), (1001, INTERVAL_OVER), (1998, 0), (2001, INTERVAL_OVER)] {
            let nanoseconds = ticks * 1000 / u64::from(MICROSECOND);
            watch.until(Duration::from_nanos(nanoseconds))?;
            let seen = counter.get(STATUS)? & INTERVAL_OVER;
            assert_eq!(seen, status, "after {ticks} ticks");
        }
        counter.stop()?;
    }
    Ok(())
}

/// Would catch a counter that is not free-running without interval mode, has not 16 bits, or
/// shows its end as that of an interval.
fn overflow(ttc: &CadenceTtc, vm: &Rc<Vm>) -> Result<()> {
    for counter in &ttc.counters {
        counter.set(INTERVAL, 99)?;
        counter.begin(0, 1)?;
        let watch = Stopwatch::new(vm);
        // 65536 ticks are 492.75 microseconds.
        for (time, status) in [(1, 0), (490, 0), (493, OVERFLOW), (500, 0)] {
            watch.until(us(time))?;
            let value = counter.get(VALUE)?;
            assert_eq!(value, (time * MICROSECOND) & 0xffff, "after {time} us");
            let seen = counter.get(STATUS)? & (OVERFLOW | INTERVAL_OVER);
            assert_eq!(seen, status, "after {time} us");
        }
        counter.stop()?;
    }
    Ok(())
}

/// Would catch a counter that does not count down from the interval, at whose zero no interrupt
/// comes, or that has another period than when it counts up.
fn decrement(ttc: &CadenceTtc, vm: &Rc<Vm>) -> Result<()> {
    for counter in &ttc.counters {
        let watch = begin(counter, vm, DECREMENT, 100)?;
        watch.until(us(10))?;
        let first = counter.get(VALUE)?;
        // It began at zero or, one tick later, at the interval.
        assert!(first.abs_diff(90 * MICROSECOND) <= 1, "10 us down from 100 us: {first}");
        counter.get(STATUS)?;
        for period in [100, 200, 300] {
            for (time, status) in [(period - 1, 0), (period + 1, INTERVAL_OVER), (period + 50, 0)] {
                watch.until(us(time))?;
                let expected =
                    (first + (300 + 10 + 100 - time) * MICROSECOND) % (100 * MICROSECOND);
                assert_eq!(counter.get(VALUE)?, expected, "after {time} us");
                let seen = counter.get(STATUS)? & (OVERFLOW | INTERVAL_OVER);
                assert_eq!(seen, status, "after {time} us");
            }
        }
        counter.stop()?;
    }
    Ok(())
}

/// Would catch a match that comes for another value, sets another's bit, is missed, or does not
/// come again; and one of a register that the mask does not hold back.
fn matches(ttc: &CadenceTtc, vm: &Rc<Vm>) -> Result<()> {
    for counter in &ttc.counters {
        let line = counter.interrupt()?;
        // Not in the order of their numbers.
        for (register, value) in [(MATCH_1, 50), (MATCH_2, 20), (MATCH_3, 70)] {
            counter.set(register, value * MICROSECOND)?;
        }
        counter.set(ENABLED, MATCHED << 1)?;
        let watch = begin(counter, vm, MATCH, 100)?;
        for period in [0, 100, 200] {
            for (value, number) in [(20, 1), (50, 0), (70, 2)] {
                watch.until(us(period + value) - MOMENT)?;
                let early = counter.get(STATUS)? & !INTERVAL_OVER;
                assert_eq!(early, 0, "before {value} us, after {period}");
                watch.until(us(period + value))?;
                if let Some(line) = &line {
                    assert_eq!(line.is_high()?, number == 1, "at {value} us: the line");
                }
                let seen = counter.get(STATUS)?;
                assert_eq!(seen, MATCHED << number, "at {value} us, after {period}");
            }
        }
        counter.stop()?;
        counter.set(ENABLED, 0)?;
    }
    Ok(())
}

/// Would catch a match that comes although Counter_Control does not have the match registers
/// interrupt.
fn matches_disabled(ttc: &CadenceTtc, vm: &Rc<Vm>) -> Result<()> {
    for counter in &ttc.counters {
        for register in [MATCH_1, MATCH_2, MATCH_3] {
            counter.set(register, 50 * MICROSECOND)?;
        }
        let watch = begin(counter, vm, 0, 100)?;
        watch.until(us(60))?;
        assert_eq!(counter.get(STATUS)?, 0, "60 us, over three matches");
        watch.until(us(100))?;
        assert_eq!(counter.get(STATUS)?, INTERVAL_OVER, "100 us");
        counter.stop()?;
    }
    Ok(())
}

/// Would catch a status that a read does not clear, or that something else than a read clears.
fn read_clears(ttc: &CadenceTtc, vm: &Rc<Vm>) -> Result<()> {
    for counter in &ttc.counters {
        let line = counter.interrupt()?;
        counter.set(MATCH_1, 10 * MICROSECOND)?;
        counter.set(ENABLED, INTERVAL_OVER)?;
        let watch = begin(counter, vm, MATCH, 100)?;
        watch.until(us(101))?;
        counter.set(STATUS, 0)?;
        counter.set(STATUS, INTERVAL_OVER)?;
        counter.get(ENABLED)?;
        for is_high in [true, false] {
            if let Some(line) = &line {
                assert_eq!(line.is_high()?, is_high, "the line, before the read");
            }
            // The other registers match the zero from which it began.
            let seen = counter.get(STATUS)? & (INTERVAL_OVER | MATCHED);
            let status = if is_high { INTERVAL_OVER | MATCHED } else { 0 };
            assert_eq!(seen, status, "Interrupt_Register");
        }
        counter.stop()?;
        counter.set(ENABLED, 0)?;
    }
    Ok(())
}

/// Would catch a register of one counter that is another's, too.
fn counters_apart(ttc: &CadenceTtc, _: &Rc<Vm>) -> Result<()> {
    let value = |number: usize| 0x1000 + number as u32;
    for register in [INTERVAL, MATCH_1, MATCH_2, MATCH_3] {
        for (number, counter) in ttc.counters.iter().enumerate() {
            counter.set(register, value(number))?;
        }
        for (number, counter) in ttc.counters.iter().enumerate() {
            assert_eq!(counter.get(register)?, value(number), "{register} of counter {number}");
        }
    }
    Ok(())
}
