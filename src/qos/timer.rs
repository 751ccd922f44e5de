//! Timers: what a counter with an interrupt does, whichever chip it is, and the time of its ticks.

use std::rc::Rc;
use std::time::Duration;

use serde_json::json;

use super::interrupt::InterruptLine;
use super::rtc;
use crate::graph::FoundDevice;
use crate::qemu::Vm;
use crate::{Error, Result, interface};

/// The time of one tick, which need not be whole nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tick {
    /// Nanoseconds of [`Tick::per`] ticks.
    nanoseconds: u128,
    per: u128,
}

impl Tick {
    /// That of a clock of `frequency` Hz.
    ///
    /// # Panics
    /// Panics, which ends compilation in a constant, if `frequency` is zero.
    pub const fn hertz(frequency: u64) -> Self {
        assert!(frequency != 0, "a clock that stands still has no ticks");
        Self { nanoseconds: 1_000_000_000, per: frequency as u128 }
    }

    /// One of so many nanoseconds.
    pub const fn nanoseconds(count: u64) -> Self {
        Self { nanoseconds: count as u128, per: 1 }
    }

    /// That of the clock input `name` of a device, as QEMU tells it to tests, or, before QEMU 9.1,
    /// to people, in three digits.
    ///
    /// # Errors
    /// Returns an error if there is no such clock, or if it stands still.
    pub fn of_clock(vm: &Vm, device: &FoundDevice, name: &str) -> Result<Self> {
        let clock = format!("{}/{name}", device.path);
        let arguments = json!({ "path": clock, "property": "qtest-clock-period" });
        match vm.qmp().execute("qom-get", arguments) {
            // In units of 2^-32 ns.
            Ok(period) => match period.as_u64() {
                Some(period @ 1..) => Ok(Self { nanoseconds: period.into(), per: 1 << 32 }),
                _ => Err(Error::failed(format!("the period of the clock {clock} is {period}"))),
            },
            Err(_) => {
                let tree = json!({ "command-line": "info qtree" });
                let tree = vm.qmp().execute("human-monitor-command", tree)?;
                let frequency = frequency_in(tree.as_str().unwrap_or_default(), device, name);
                let none = || Error::failed(format!("QEMU tells no frequency of {clock}"));
                frequency.map(Self::hertz).ok_or_else(none)
            }
        }
    }

    /// A tick of so many of these.
    pub fn times(self, count: u64) -> Self {
        Self { nanoseconds: self.nanoseconds * u128::from(count), ..self }
    }

    /// The time of `count` ticks, in whole nanoseconds, the last one begun but not over.
    pub fn earliest(self, count: u64) -> Duration {
        nanoseconds(self.nanoseconds * u128::from(count) / self.per)
    }

    /// The time in which `count` ticks are over, in whole nanoseconds.
    pub fn latest(self, count: u64) -> Duration {
        nanoseconds((self.nanoseconds * u128::from(count)).div_ceil(self.per))
    }

    /// The middle of the tick that follows `count` others; `None` if a tick is too short to have
    /// one that is a whole nanosecond.
    pub fn middle(self, count: u64) -> Option<Duration> {
        (self.nanoseconds >= 4 * self.per)
            .then(|| nanoseconds(self.nanoseconds * (2 * u128::from(count) + 1) / (2 * self.per)))
    }

    /// Whether a tick is whole nanoseconds.
    pub fn is_whole(self) -> bool {
        self.nanoseconds.is_multiple_of(self.per)
    }
}

/// The frequency in Hz of the clock input `name` of a device, out of what `info qtree` says.
fn frequency_in(tree: &str, device: &FoundDevice, name: &str) -> Option<u64> {
    let kind = format!("{},", device.ty);
    let devices = tree.split("dev: ").filter(|text| text.starts_with(&kind));
    let devices: Vec<_> = devices.collect();
    // Regions within those of another device are not told here.
    let region = device.base().map(|base| format!("mmio {base:016x}/"));
    let is_it = |text: &&&str| region.as_ref().is_ok_and(|region| text.contains(region));
    let text = devices.iter().find(is_it).or(devices.first()).copied().unwrap_or_default();
    text.lines().find_map(|line| frequency_of(line.trim(), name))
}

/// The frequency in a line such as `clock-in "pclk" freq_hz=12.5 MHz`, if it is of that clock.
fn frequency_of(line: &str, name: &str) -> Option<u64> {
    let rest = line.strip_prefix(&format!("clock-in \"{name}\" freq_hz="))?;
    let (number, unit) = rest.split_once(' ')?;
    let scale = match unit {
        "Hz" => 1.0,
        "KHz" => 1e3,
        "MHz" => 1e6,
        "GHz" => 1e9,
        _ => return None,
    };
    let frequency = (number.parse::<f64>().ok()? * scale).round() as u64;
    (frequency > 0).then_some(frequency)
}

fn nanoseconds(count: u128) -> Duration {
    Duration::from_nanos(u64::try_from(count).unwrap_or(u64::MAX))
}

/// What a timer does when it has run out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// It stops.
    OneShot,
    /// It begins anew.
    Periodic,
}

/// How an interrupt is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// The line is high from then on, until the interrupt is cleared or masked.
    Level,
    /// The line changes so many times, by itself. There is nothing to be cleared.
    Edges(u64),
}

/// What a count of zero does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Zero {
    /// The interrupt comes at once.
    AtOnce,
    /// None comes.
    Never,
    /// The data sheet leaves it open, or the driver has no count of zero.
    Open,
}

/// What a timer is known to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Profile {
    /// A tick without prescaler.
    pub tick: Tick,
    /// By how much the prescaler divides; 1 comes first.
    pub prescalers: &'static [u64],
    /// What it can do when it has run out.
    pub modes: &'static [Mode],
    /// The least ticks for which it can be started.
    pub least: u64,
    /// The most.
    pub most: u64,
    /// How many ticks later than the first interrupt came each further one comes.
    pub extra: u64,
    /// What a count of zero does.
    pub zero: Zero,
    /// How an interrupt is told.
    pub signal: Signal,
    /// Whether an interrupt that is masked is pending, and comes when it is enabled.
    pub latches: bool,
    /// Whether it goes on where it was stopped; else it begins anew.
    pub resumes: bool,
    /// Whether a new count holds at once; else from the next period on.
    pub reloads_at_once: bool,
    /// Whether its interrupt stays out when it is stopped.
    pub interrupts_when_stopped: bool,
    /// Whether QEMU's counter changes when a tick begins, not when it is over.
    pub is_early: bool,
    /// What the counter is after a reset of the machine.
    pub reset_value: u64,
    /// The fault of this QEMU by which a reset of the machine does nothing, if it has that fault.
    pub survives_reset: Option<&'static str>,
    /// The fault of this QEMU by which an interrupt stays asserted after a reset of the machine, if
    /// it has that fault.
    pub asserts_after_reset: Option<&'static str>,
}

impl Profile {
    /// A counter down from a number of 32 bits, with an interrupt that stays until it is cleared.
    pub const fn new(tick: Tick) -> Self {
        Self {
            tick,
            prescalers: &[1],
            modes: &[Mode::OneShot, Mode::Periodic],
            least: 1,
            most: 0xffff_ffff,
            extra: 0,
            zero: Zero::Open,
            signal: Signal::Level,
            latches: true,
            resumes: true,
            reloads_at_once: true,
            interrupts_when_stopped: true,
            is_early: false,
            reset_value: 0,
            survives_reset: None,
            asserts_after_reset: None,
        }
    }
}

/// One timer of a chip.
pub trait Timer {
    /// What it is known to be.
    fn profile(&self) -> Profile;

    /// Stops it, clears its interrupt, and starts it, so that the interrupt comes `ticks` ticks
    /// from now, of the prescaler's. Whether the interrupt is enabled stays as it is.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    fn start(&self, ticks: u64, mode: Mode, prescaler: u64) -> Result<()>;

    /// Stops it. The counter holds its value.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    fn stop(&self) -> Result<()>;

    /// Has it go on after [`Timer::stop`].
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    fn resume(&self) -> Result<()>;

    /// While it runs, has its interrupt come `ticks` ticks from now, or from the end of this
    /// period, as [`Profile::reloads_at_once`] says.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    fn reload(&self, ticks: u64) -> Result<()>;

    /// The counter, as the chip shows it.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    fn value(&self) -> Result<u64>;

    /// How many ticks are over since it was started or has begun anew, by its counter.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer, or if the counter has a value that it cannot
    /// have.
    fn elapsed(&self) -> Result<u64>;

    /// Lets its interrupt out, or not.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    fn enable_interrupt(&self, is_enabled: bool) -> Result<()>;

    /// Whether it has run out since its interrupt was cleared, by the chip's status before the
    /// mask; `None` if the chip does not tell.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    fn is_pending(&self) -> Result<Option<bool>>;

    /// Whether it interrupts, by the chip's status behind the mask; `None` if the chip does not
    /// tell.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    fn interrupts(&self) -> Result<Option<bool>>;

    /// Clears its interrupt.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    fn clear(&self) -> Result<()>;

    /// Its interrupt line, watched from now on; `None` if QEMU cannot watch it.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer, or the lines of another interrupt controller are
    /// watched already.
    fn interrupt(&self) -> Result<Option<InterruptLine>>;
}

/// The timers of a chip. They have nothing in common but, maybe, an interrupt line.
pub struct Timers(pub Vec<Rc<dyn Timer>>);

interface!(Timers = "timer");

/// The machine's virtual clock, with a moment to count from.
pub struct Stopwatch<'a> {
    vm: &'a Vm,
    begun: Duration,
}

impl<'a> Stopwatch<'a> {
    /// Counts from now on.
    pub fn new(vm: &'a Vm) -> Self {
        Self { vm, begun: vm.qtest().clock_last_seen() }
    }

    /// How much time is over since the beginning.
    pub fn gone(&self) -> Duration {
        self.vm.qtest().clock_last_seen() - self.begun
    }

    /// Moves the clock on until `time` is over since the beginning.
    ///
    /// # Errors
    /// Returns an error as [`rtc::step`] does, or if more is over already.
    pub fn until(&self, time: Duration) -> Result<()> {
        let gone = self.gone();
        let left = time.checked_sub(gone).ok_or_else(|| {
            Error::failed(format!("{gone:?} are over, and {time:?} should be next"))
        })?;
        if left.is_zero() { Ok(()) } else { rtc::step(self.vm, left) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Would catch a unit that is mistaken, and the clock of another name.
    #[test]
    fn frequencies_are_read() {
        let of = |line| frequency_of(line, "pclk");
        assert_eq!(of("clock-in \"pclk\" freq_hz=12.5 MHz"), Some(12_500_000));
        assert_eq!(of("clock-in \"pclk\" freq_hz=32.8 KHz"), Some(32_800));
        assert_eq!(of("clock-in \"pclk\" freq_hz=0 Hz"), None);
        assert_eq!(of("clock-in \"other\" freq_hz=25 MHz"), None);
    }

    /// Would catch times that are rounded the wrong way, and ticks mistaken for nanoseconds.
    #[test]
    fn ticks_are_exact() {
        let tick = Tick::hertz(24_000_000);
        assert!(!tick.is_whole() && Tick::hertz(25_000_000).is_whole());
        assert_eq!(tick.earliest(1), Duration::from_nanos(41));
        assert_eq!(tick.latest(1), Duration::from_nanos(42));
        assert_eq!(tick.earliest(3), Duration::from_nanos(125));
        assert_eq!(tick.latest(3), Duration::from_nanos(125));
        assert_eq!(tick.middle(1), Some(Duration::from_nanos(62)));
        assert_eq!(Tick::hertz(1_000_000_000).middle(1), None);
        assert_eq!(tick.times(24).earliest(1), Duration::from_micros(1));
        assert_eq!(tick.latest(24_000_000), Duration::from_secs(1));
    }
}
