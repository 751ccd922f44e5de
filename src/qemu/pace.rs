//! How slow an emulator is, so that limits of time suit one that runs under valgrind, was built
//! with a sanitizer, or is started by a script that takes its time. The limits themselves are
//! `Limits`.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The CPU time that an emulator may take for the probe without being called slow; usual ones
/// take a tenth to a third of that.
const USUAL: Duration = Duration::from_millis(600);
/// What a measured factor is at the most: beyond it, somebody has to say so.
const MOST: f64 = 100.0;
/// How many times as long as at the probe a start may take, beside the limit of a request.
const STARTS: u32 = 3;

/// Sanitizers by a function that every program built with one has, and how many times slower
/// than others such a program is at least taken to be.
const SANITIZERS: [(&str, &str, f64); 3] = [
    ("__asan_init", "AddressSanitizer", 4.0),
    ("__msan_init", "MemorySanitizer", 4.0),
    ("__tsan_init", "ThreadSanitizer", 10.0),
];

/// What is known of an emulator's speed.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Pace {
    /// How long it took to be ready without a machine, not counting the time that it could not
    /// use.
    pub start: Duration,
    /// The CPU time it took for that and for saying what it has, with all that started it.
    pub cpu: Duration,
    /// The sanitizer it was built with, if one was seen in its file.
    pub sanitizer: Option<String>,
    /// How many times slower than usual it is, if somebody said so; infinite for no limits.
    #[serde(skip)]
    pub told: Option<f64>,
}

impl Pace {
    /// How many times as long as usual all limits of time are; at least 1.
    pub fn factor(&self) -> f64 {
        let measured = (self.cpu.as_secs_f64() / USUAL.as_secs_f64()).min(MOST);
        let built = |name: &String| SANITIZERS.iter().find(|(_, it, _)| it == name);
        let built = self.sanitizer.as_ref().and_then(built).map_or(1.0, |(_, _, factor)| *factor);
        self.told.unwrap_or(measured.max(built)).max(1.0)
    }

    /// What its start may take beside the limit of a request.
    pub(super) fn start_allowance(&self) -> Duration {
        self.start.saturating_mul(STARTS)
    }

    /// The sanitizer that a program with these bytes was built with: one whose symbol is a string
    /// of its own, as tables of symbols have them. A program that only speaks of it is none.
    pub(super) fn sanitizer_of(program: &[u8]) -> Option<String> {
        let has = |symbol: &str| {
            let symbol = [b"\0", symbol.as_bytes(), b"\0"].concat();
            memchr::memmem::find(program, &symbol).is_some()
        };
        let found = SANITIZERS.iter().find(|(symbol, ..)| has(symbol));
        found.map(|(_, name, _)| (*name).to_owned())
    }
}

/// `time` times `factor`; as long as can be if that is too long.
pub(super) fn scaled(time: Duration, factor: f64) -> Duration {
    Duration::try_from_secs_f64(time.as_secs_f64() * factor).unwrap_or(Duration::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Would catch a usual emulator given more time than before, and a slow one given none.
    #[test]
    fn only_slow_emulators_get_more_time() {
        let with_cpu = |seconds: f64| {
            let cpu = Duration::from_secs_f64(seconds);
            Pace { cpu, ..Pace::default() }.factor()
        };
        assert_eq!(with_cpu(0.2), 1.0);
        assert_eq!(with_cpu(6.0), 10.0);
        assert_eq!(with_cpu(6e6), MOST);
    }

    /// Would catch a build with a sanitizer that is not recognised, and an emulator without one
    /// called such a build.
    #[test]
    fn sanitizers_are_recognised() {
        let sanitizer = Pace::sanitizer_of(b"\0malloc\0__asan_init\0");
        assert_eq!(sanitizer.as_deref(), Some("AddressSanitizer"));
        assert_eq!(Pace { sanitizer, ..Pace::default() }.factor(), 4.0);
        assert_eq!(Pace::sanitizer_of(b"\0malloc\0asan_init\0"), None);
        assert_eq!(Pace::sanitizer_of(b"looks for __asan_init, as we do"), None);
    }

    /// Would catch a word of the user that is overruled, or a limit that overflows.
    #[test]
    fn what_the_user_says_counts() {
        let cpu = Duration::from_secs(60);
        let told = |factor| Pace { cpu, told: Some(factor), ..Pace::default() }.factor();
        assert_eq!(told(2.0), 2.0);
        assert_eq!(told(0.1), 1.0);
        let second = Duration::from_secs(1);
        assert_eq!(scaled(second, told(2.5)), second * 5 / 2);
        assert_eq!(scaled(second, told(f64::INFINITY)), Duration::MAX);
        assert_eq!(scaled(Duration::MAX, 1.0), Duration::MAX);
    }
}
