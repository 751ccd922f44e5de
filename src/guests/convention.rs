//! How a guest says how it fared when it ends, and what its end means. Different
//! architectures and programs have different conventions; an end that none of them explains is
//! a crash.

use serde::Deserialize;

use super::log::Log;
use super::parts::{Part, PartKind};

/// How a guest says how it fared.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Convention {
    /// QEMU exits with (CODE << 1) | 1, as its devices `isa-debug-exit` and `testdev` do; or, where
    /// it exits otherwise, a line `EXIT: STATUS=` has that number. CODE is 0 for a pass, 1 for
    /// a failure, 38 if all was skipped, so that QEMU exits with 77, and 63 for an abort (127).
    DebugExit,
    /// The first line `EXIT: STATUS=` has (CODE << 1) | 1; QEMU's own exit status says nothing.
    ExitLine,
    /// QEMU exits with the guest's status, as semihosting does: 0 for a pass, 77 if all was
    /// skipped, and anything else for a failure.
    ExitStatus,
    /// The guest powers the machine off when it passes.
    PowerOff,
    /// A line of the console has one of these texts; QEMU is ended then.
    Lines {
        /// What a line has when the guest passes.
        pass: String,
        /// What a line has when it fails, if there is such a line.
        #[serde(default)]
        fail: Option<String>,
    },
}

/// What was seen of a guest until it ended or its limit was over.
#[derive(Debug, Clone, Copy)]
pub struct Seen<'a> {
    /// The status with which QEMU exited; `None` if it was killed, or did not end.
    pub status: Option<i32>,
    /// Why the machine shut down, as QEMU said: `guest-shutdown`, `guest-reset`, …
    pub shutdown: Option<&'a str>,
    /// What it wrote.
    pub log: &'a Log,
}

/// What a guest's end means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Judged {
    /// It passed.
    Passed,
    /// It failed: what.
    Failed(String),
    /// All of it was skipped: why.
    Skipped(String),
    /// It died: how.
    Crashed(String),
}

/// How many failed checks the words of a verdict name.
const MOST_NAMED: usize = 10;

/// Codes behind which one bit is added: QEMU's status is 77, or 127.
const SKIPPED: i64 = 77 >> 1;
const ABORTED: i64 = 127 >> 1;

impl Convention {
    /// The texts that are to be looked for in the lines of the log.
    pub fn marks(&self) -> Vec<String> {
        match self {
            Self::Lines { pass, fail } => [pass].into_iter().chain(fail).cloned().collect(),
            _ => Vec::new(),
        }
    }

    /// Whether the log says all there is to say, so that nothing more is waited for.
    pub fn is_over(&self, log: &Log) -> bool {
        self.marks().iter().any(|text| log.first_with(text).is_some())
    }

    /// What the end of a guest means that QEMU had started.
    pub fn judge(&self, seen: Seen) -> Judged {
        let shifted = |status: i64| (status & 1 == 1).then_some(status >> 1);
        let code = match self {
            Self::DebugExit => {
                let status = seen.status.filter(|status| *status != 0).map(i64::from);
                status.or(seen.log.parts.exit).and_then(shifted)
            }
            Self::ExitLine => seen.log.parts.exit.and_then(shifted),
            Self::ExitStatus => match seen.shutdown {
                // The machine was turned off: the guest has said nothing.
                Some("guest-shutdown" | "guest-reset" | "guest-panic") => None,
                _ => seen.status.map(|status| if status == 77 { SKIPPED } else { status.into() }),
            },
            Self::PowerOff => match (seen.status, seen.shutdown) {
                (Some(0), Some("guest-shutdown")) => Some(0),
                _ => None,
            },
            Self::Lines { pass, fail } => return self.judge_lines(seen, pass, fail.as_deref()),
        };
        let Some(code) = code else { return died(seen) };
        judge_code(code, seen)
    }

    fn judge_lines(&self, seen: Seen, pass: &str, fail: Option<&str>) -> Judged {
        if let Some((text, line)) = fail.and_then(|it| Some((it, seen.log.first_with(it)?))) {
            return Judged::Failed(format!("line {line} of its log has {text:?}"));
        }
        match seen.log.first_with(pass) {
            Some(_) => judge_code(0, seen),
            None => died(seen),
        }
    }
}

/// What a guest means that ended with this code.
fn judge_code(code: i64, seen: Seen) -> Judged {
    let parts = &seen.log.parts;
    if let Some(why) = &parts.abort {
        return Judged::Crashed(format!("the guest aborted: {why}{}", checks(seen)));
    }
    match code {
        0 if seen.log.length() == 0 => Judged::Failed(
            "the guest wrote nothing, and QEMU ended as after a pass: nothing shows that the \
             guest started at all"
                .to_owned(),
        ),
        0 if parts.failures() == 0 => Judged::Passed,
        0 => Judged::Failed(format!("it ended as after a pass, with {}", failures(seen))),
        SKIPPED if parts.failures() == 0 => Judged::Skipped(skips(seen)),
        ABORTED => Judged::Crashed(format!("the guest aborted{}", checks(seen))),
        _ if parts.failures() > 0 => Judged::Failed(failures(seen)),
        _ => Judged::Failed(format!("it ended with code {code}{}", checks(seen))),
    }
}

/// What a guest means that ended without saying how it fared.
fn died(seen: Seen) -> Judged {
    let how = match (seen.shutdown, seen.status) {
        (Some("guest-reset"), _) => {
            "the guest reset the machine, as a triple fault does".to_owned()
        }
        (Some("guest-shutdown"), _) => "the guest turned the machine off".to_owned(),
        (Some("guest-panic"), _) => "the guest panicked".to_owned(),
        (Some(reason), _) => format!("the machine shut down ({reason})"),
        (None, Some(status)) => format!("QEMU exited with status {status}"),
        (None, None) => "QEMU ended".to_owned(),
    };
    let abort = seen.log.parts.abort.as_ref().map_or(String::new(), |it| format!(": ABORT: {it}"));
    let nothing = if seen.log.length() == 0 { ", and had written nothing" } else { "" };
    Judged::Crashed(format!(
        "{how} without having said how it fared{nothing}{abort}{}",
        checks(seen)
    ))
}

/// The numbers of its checks, behind a semicolon; nothing without checks.
fn checks(seen: Seen) -> String {
    let parts = &seen.log.parts;
    let named = named(seen, |kind| kind.is_failure());
    match parts.total() {
        0 => String::new(),
        _ => format!("; of its checks {}{named}", parts.in_words()),
    }
}

/// What failed, each with its place in the log.
fn failures(seen: Seen) -> String {
    let parts = &seen.log.parts;
    format!("{}{}", parts.in_words(), named(seen, |kind| kind.is_failure()))
}

fn skips(seen: Seen) -> String {
    let first = seen.log.parts.kept().iter().find(|part| part.result == PartKind::Skip);
    first.map_or_else(|| "the guest skipped all of it".to_owned(), |part| part.text.clone())
}

/// The checks of these kinds, a line each.
fn named(seen: Seen, wanted: impl Fn(PartKind) -> bool) -> String {
    let wanted: Vec<&Part> =
        seen.log.parts.kept().iter().filter(|part| wanted(part.result)).collect();
    let lines = wanted.iter().take(MOST_NAMED).map(|part| format!("\n{part}"));
    let mut text: String = lines.collect();
    if wanted.len() > MOST_NAMED {
        text.push_str(&format!("\n… and {} more", wanted.len() - MOST_NAMED));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(text: &str, convention: &Convention) -> Log {
        let mut log = Log::new(convention.marks());
        log.push(text.as_bytes());
        log.finish();
        log
    }

    fn judged(convention: &Convention, status: i32, shutdown: Option<&str>, text: &str) -> Judged {
        let log = log(text, convention);
        convention.judge(Seen { status: Some(status), shutdown, log: &log })
    }

    fn word(judged: Judged) -> (&'static str, String) {
        match judged {
            Judged::Passed => ("passed", String::new()),
            Judged::Failed(why) => ("failed", why),
            Judged::Skipped(why) => ("skipped", why),
            Judged::Crashed(why) => ("crashed", why),
        }
    }

    /// Would catch an abort shown as a skip, a failed check that the exit code hides, and a
    /// triple fault or silence taken for a pass.
    #[test]
    fn ends_of_debug_exit() {
        let of = |status, text: &str| word(judged(&Convention::DebugExit, status, None, text));
        assert_eq!(of(1, "PASS: a\n").0, "passed");
        assert_eq!(of(1, "hello\n").0, "passed");
        let (verdict, why) = of(3, "PASS: a\nFAIL: b\nFAIL: c\n");
        assert_eq!(verdict, "failed");
        assert!(why.starts_with("2 FAIL, 1 PASS\nFAIL: b (line 2 of its log)\nFAIL: c"), "{why}");
        assert_eq!(of(1, "XPASS: a\n").0, "failed");
        assert_eq!(of(1, "XFAIL: a\nKFAIL: b\n").0, "passed");
        assert_eq!(of(77, "SKIP: no svm\n"), ("skipped", "no svm".to_owned()));
        assert_eq!(of(77, "FAIL: a\nSKIP: b\n").0, "failed");
        assert_eq!(of(127, "x\n").0, "crashed");
        assert_eq!(of(3, "ABORT: assert failed: x\n").0, "crashed");
        assert_eq!(of(35, "x\n"), ("failed", "it ended with code 17".to_owned()));
        let (verdict, why) = of(1, "");
        assert!(verdict == "failed" && why.contains("started at all"), "{why}");
        let reset = judged(&Convention::DebugExit, 0, Some("guest-reset"), "PASS: a\n");
        let (verdict, why) = word(reset);
        assert!(verdict == "crashed" && why.contains("triple fault"), "{why}");
        assert_eq!(of(0, "EXIT: STATUS=1\n").0, "passed");
    }

    /// Would catch a convention that is read as another one.
    #[test]
    fn ends_of_other_conventions() {
        let of = |it: &Convention, status, shutdown, text: &str| {
            word(judged(it, status, shutdown, text)).0
        };
        let line = Convention::ExitLine;
        assert_eq!(of(&line, 0, None, "PASS: a\n\nEXIT: STATUS=1\n"), "passed");
        assert_eq!(of(&line, 0, None, "FAIL: a\n\nEXIT: STATUS=3\n"), "failed");
        assert_eq!(of(&line, 1, None, "PASS: a\n"), "crashed");
        let status = Convention::ExitStatus;
        assert_eq!(of(&status, 0, None, "x\n"), "passed");
        assert_eq!(of(&status, 2, None, "x\n"), "failed");
        assert_eq!(of(&status, 77, None, "x\n"), "skipped");
        assert_eq!(of(&status, 0, Some("guest-reset"), "x\n"), "crashed");
        let off = Convention::PowerOff;
        assert_eq!(of(&off, 0, Some("guest-shutdown"), "x\n"), "passed");
        assert_eq!(of(&off, 0, Some("guest-reset"), "x\n"), "crashed");
        let lines = Convention::Lines { pass: "login:".to_owned(), fail: Some("panic".to_owned()) };
        assert_eq!(of(&lines, 0, None, "up\nhost login:\n"), "passed");
        assert_eq!(of(&lines, 0, None, "Kernel panic\nlogin:\n"), "failed");
        assert_eq!(of(&lines, 0, None, "up\n"), "crashed");
        assert!(lines.is_over(&log("login:\n", &lines)));
        assert!(!Convention::DebugExit.is_over(&log("login:\n", &Convention::DebugExit)));
    }
}
