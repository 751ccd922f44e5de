//! What QEMU says of its own faults: reports of sanitizers, failed assertions, panics. Looks
//! for them in what it wrote to standard error; what follows from them is in `judge`.

use crate::harness::outcome::{Evidence, Verdict};

/// What was found in QEMU's words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Diagnosis {
    /// In one line: what is wrong, and where.
    pub summary: String,
    /// The lines that say so.
    pub report: String,
    /// A sanitizer's: wrong even in a QEMU that goes on.
    pub is_sanitizer: bool,
}

/// The longest report that is shown, in lines.
const MOST_LINES: usize = 60;

/// What a line says, the gravest first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    /// Address-, Thread-, Leak-, MemorySanitizer: a report of several lines.
    Sanitizer,
    /// UndefinedBehaviorSanitizer.
    Undefined,
    /// A panic of a device in Rust.
    Panic,
    Assertion,
    Critical,
}

const SANITIZERS: [&str; 5] = [
    "AddressSanitizer",
    "ThreadSanitizer",
    "LeakSanitizer",
    "MemorySanitizer",
    "UndefinedBehaviorSanitizer",
];

/// How QEMU's `hw_error` and `cpu_abort` begin. All registers of all CPUs follow.
const WITH_REGISTERS: [&str; 2] = ["qemu: hardware error: ", "qemu: fatal: "];

/// How glibc begins what it says before it aborts.
const HEAP: [&str; 9] = [
    "malloc(): ",
    "malloc_consolidate(): ",
    "free(): ",
    "realloc(): ",
    "munmap_chunk(): ",
    "double free or corruption",
    "corrupted ",
    "*** stack smashing detected ",
    "*** buffer overflow detected ",
];

fn kind(line: &str) -> Option<Kind> {
    let begins = |name: &&str| {
        line.contains(&format!("ERROR: {name}: ")) || line.contains(&format!("WARNING: {name}: "))
    };
    if SANITIZERS.iter().any(begins) {
        Some(Kind::Sanitizer)
    } else if line.contains(": runtime error: ") {
        Some(Kind::Undefined)
    } else if line.starts_with("thread '") && line.contains(" panicked at ") {
        Some(Kind::Panic)
    } else if line.starts_with("ERROR:")
        || line.starts_with("Bail out! ERROR:")
        || line.starts_with("Bail out! FATAL-")
        || line.contains(": Assertion `")
        || line.contains("-ERROR **: ")
        || line.starts_with("Unexpected error in ")
        || WITH_REGISTERS.iter().any(|words| line.starts_with(words))
        || HEAP.iter().any(|words| line.starts_with(words))
    {
        Some(Kind::Assertion)
    } else if line.contains("-CRITICAL **: ") {
        Some(Kind::Critical)
    } else {
        None
    }
}

/// The gravest fault that `output` tells of; of several such, the first.
pub(super) fn diagnose(output: &str) -> Option<Diagnosis> {
    let lines: Vec<&str> = output.lines().collect();
    let found = lines.iter().enumerate().filter_map(|(at, line)| Some((kind(line)?, at)));
    let (kind, at) = found.min()?;
    let (summary, length) = match kind {
        Kind::Sanitizer => sanitizer(&lines[at..]),
        Kind::Undefined => (without_addresses(&source(lines[at])), 1),
        Kind::Panic => panic(&lines[at..]),
        Kind::Critical => (critical(lines[at]), 1),
        Kind::Assertion => {
            // GLib says the same twice.
            let said = lines[at].strip_prefix("Bail out! ").unwrap_or(lines[at]);
            let said = match said.strip_prefix("ERROR:") {
                Some(place) => source(place),
                None if said.contains(" **: ") => critical(said),
                None => said.strip_prefix("qemu: ").unwrap_or(said).to_owned(),
            };
            // What the unexpected error is stands in the next line.
            match lines.get(at + 1).filter(|_| said.starts_with("Unexpected error in ")) {
                Some(error) => (format!("{said} {error}"), 2),
                None => (said, 1),
            }
        }
    };
    let report = &lines[at..(at + length.min(MOST_LINES)).min(lines.len())];
    Some(Diagnosis {
        summary: summary.trim().to_owned(),
        report: report.join("\n"),
        is_sanitizer: matches!(kind, Kind::Sanitizer | Kind::Undefined),
    })
}

/// What QEMU wrote, without the registers of all CPUs that follow some fatal errors.
pub(super) fn without_registers(output: &str) -> String {
    if !WITH_REGISTERS.iter().any(|words| output.contains(words)) {
        return output.to_owned();
    }
    let mut kept = String::with_capacity(output.len());
    let mut lines = output.lines().peekable();
    while let Some(line) = lines.next() {
        kept.push_str(line);
        kept.push('\n');
        let is_dump = |next: &&str| next.starts_with("CPU #") || line.starts_with("qemu: fatal: ");
        if WITH_REGISTERS.iter().any(|words| line.starts_with(words))
            && lines.peek().is_some_and(is_dump)
        {
            // It aborts behind them.
            let count = lines.by_ref().count();
            kept.push_str(&format!("[{count} lines with the registers of the CPUs left out]\n"));
        }
    }
    kept
}

/// The text without what differs from run to run.
fn without_addresses(text: &str) -> String {
    let is_address = |word: &&str| word.starts_with("0x") && word.len() > 8;
    let words = text.split(' ').map(|word| if is_address(&word) { "0x…" } else { word });
    words.collect::<Vec<_>>().join(" ")
}

/// `DOMAIN-CRITICAL: MESSAGE` of a line that has a process and a time of day too.
fn critical(line: &str) -> String {
    let (domain, said) = line.split_once(" **: ").unwrap_or(("", line));
    let domain = domain.rsplit(' ').next().unwrap_or_default();
    let is_time = |word: &str| word.trim_end_matches(':').contains(':');
    let message = said.split_once(' ').filter(|(word, _)| is_time(word));
    format!("{domain}: {}", message.map_or(said, |(_, message)| message))
}

/// The text from the path of a source file on, without where it was built.
fn source(text: &str) -> String {
    let mut text = text;
    while let Some(rest) = text.strip_prefix("../") {
        text = rest;
    }
    text.to_owned()
}

/// Summary and length of a report that begins here: `AddressSanitizer: heap-buffer-overflow
/// … in FUNCTION FILE:LINE`.
fn sanitizer(lines: &[&str]) -> (String, usize) {
    let first = lines[0];
    let from = SANITIZERS.iter().filter_map(|name| first.find(&format!("{name}: "))).min();
    // Addresses and processes differ from run to run.
    let what = &first[from.unwrap_or(0)..];
    let what = [" on address ", " on unknown address ", " (pid=", " 0x"]
        .iter()
        .filter_map(|end| what.find(end))
        .min()
        .map_or(what, |end| &what[..end]);
    let end = lines.iter().position(|line| line.starts_with("SUMMARY: "));
    let length = end.map_or(MOST_LINES, |end| end + 1);
    let leak = end.map(|end| lines[end]).filter(|line| line.contains(" leaked in "));
    if let Some(leak) = leak.and_then(|line| line.rsplit_once("Sanitizer: ")) {
        return (format!("{what}: {}", leak.1), length);
    }
    let place = lines.iter().take(length).find_map(|line| frame(line));
    (place.map_or(what.to_owned(), |place| format!("{what} in {place}")), length)
}

/// `FUNCTION FILE:LINE` of a line such as `#1 0x5581 in FUNCTION ../FILE:LINE:COLUMN`, or
/// `FUNCTION` of `#1 0x5581 in FUNCTION (PROGRAM+OFFSET)` where debugging information is left out, if
/// that is in QEMU itself: the innermost frames are often in the sanitizer.
fn frame(line: &str) -> Option<String> {
    let line = line.trim_start().strip_prefix('#')?;
    let line = line.trim_start_matches(|c: char| c.is_ascii_digit()).trim_start();
    // ThreadSanitizer has the address at the end.
    let rest = line.split_once(" in ").map_or(line, |(_, rest)| rest);
    let mut words = rest.split_whitespace();
    let (function, place) = (words.next()?, words.next()?);
    let foreign = ["sanitizer", "compiler-rt", "sysdeps", "csu/", "glib", "<null>"];
    if let Some(object) = place.strip_prefix('(') {
        // Modules of QEMU are shared objects as libraries are, in a folder of its name.
        let is_library = object.contains(".so") && !object.contains("/qemu/");
        return (!is_library).then(|| function.to_owned());
    }
    let (file, line) = place.split_once(':')?;
    let line = line.split(':').next().filter(|line| line.parse::<u32>().is_ok())?;
    (!foreign.iter().any(|word| file.contains(word)))
        .then(|| format!("{function} {}:{line}", source(file)))
}

/// `panicked at FILE:LINE: MESSAGE`, in the words of an old or a new Rust.
fn panic(lines: &[&str]) -> (String, usize) {
    let at = lines[0].find("panicked at ").unwrap_or(0);
    let said = &lines[0][at..];
    match lines.get(1).filter(|_| said.ends_with(':')) {
        Some(message) => (format!("{said} {message}"), 2),
        None => (said.to_owned(), 1),
    }
}

/// Puts what QEMU said of its own faults into the outcome: a path that passed while a
/// sanitizer found something has failed.
pub(super) fn judge(verdict: Verdict, mut evidence: Evidence) -> (Verdict, Evidence) {
    evidence.output = without_registers(&evidence.output);
    let Some(Diagnosis { summary, report, is_sanitizer }) = diagnose(&evidence.output) else {
        return (verdict, evidence);
    };
    let and = |why: String| format!("{why}: {summary}");
    let verdict = match verdict {
        Verdict::Crashed(why) => Verdict::Crashed(and(why)),
        Verdict::Failed(why) => Verdict::Failed(and(why)),
        Verdict::Hung(why) => Verdict::Hung(and(why)),
        Verdict::Passed if is_sanitizer => {
            Verdict::Failed(and("the test passed, but QEMU reported".to_owned()))
        }
        other => other,
    };
    (verdict, Evidence { diagnosis: report, ..evidence })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary(output: &str) -> String {
        diagnose(output).map_or(String::new(), |found| found.summary)
    }

    const ASAN: &str = "\
fake: hello
=================================================================
==123==ERROR: AddressSanitizer: heap-buffer-overflow on address 0x602000000011 at pc 0x55 bp 0x7f
WRITE of size 4 at 0x602000000011 thread T0
    #0 0x7f12 in memcpy ../../../../src/libsanitizer/sanitizer_common/x.inc:827
    #1 0x5581 in foo_write ../hw/foo/foo.c:123:5
    #2 0x5582 in memory_region_write_accessor ../softmmu/memory.c:493:5
SUMMARY: AddressSanitizer: heap-buffer-overflow ../hw/foo/foo.c:123:5 in foo_write
fake: bye
";

    /// Catches a summary without what happened or where, an innermost frame that is the
    /// sanitizer's, and a report with more in it than the report.
    #[test]
    fn an_address_sanitizer_report() {
        let found = diagnose(ASAN).unwrap();
        assert_eq!(
            found.summary,
            "AddressSanitizer: heap-buffer-overflow in foo_write hw/foo/foo.c:123"
        );
        assert!(found.is_sanitizer && found.report.starts_with("==123==ERROR"));
        assert!(found.report.ends_with("in foo_write"));
    }

    /// Catches a report of a build without debugging information that names a function of the C
    /// library, which is the only one with a line, and not QEMU's.
    #[test]
    fn a_report_without_lines() {
        let report = "\
==5==ERROR: AddressSanitizer: heap-buffer-overflow on address 0x616000020c88 at pc 0x55
READ of size 8 at 0x616000020c88 thread T0
    #0 0x7f8840 in memcpy (/lib/x86_64-linux-gnu/libasan.so.8+0x3a0)
    #1 0x55f318 in foo_process (/opt/q/qemu-system-x86_64+0x33f21e4)
    #2 0x7f883f in __libc_start_main_impl ../csu/libc-start.c:360
SUMMARY: AddressSanitizer: heap-buffer-overflow (/opt/q/qemu-system-x86_64+0x33) in foo_process
";
        assert_eq!(summary(report), "AddressSanitizer: heap-buffer-overflow in foo_process");
        let module = report.replace("qemu-system-x86_64", "lib/qemu/hw-foo.so");
        assert_eq!(summary(&module), "AddressSanitizer: heap-buffer-overflow in foo_process");
    }

    /// Catches words of each kind of report that are not known.
    #[test]
    fn all_kinds() {
        assert_eq!(
            summary("../hw/x.c:5:17: runtime error: shift exponent 32 is too large\n"),
            "hw/x.c:5:17: runtime error: shift exponent 32 is too large"
        );
        assert_eq!(
            summary(
                "WARNING: ThreadSanitizer: data race (pid=9)\n  Write of size 4 at 0x7b by main:\n\
                 \x20   #0 foo_set ../hw/foo.c:7:3 (qemu+0x12)\nSUMMARY: ThreadSanitizer: data race\n"
            ),
            "ThreadSanitizer: data race in foo_set hw/foo.c:7"
        );
        assert_eq!(
            summary(
                "==1==ERROR: LeakSanitizer: detected memory leaks\n\n\
                 SUMMARY: AddressSanitizer: 32 byte(s) leaked in 1 allocation(s).\n"
            ),
            "LeakSanitizer: detected memory leaks: 32 byte(s) leaked in 1 allocation(s)."
        );
        assert_eq!(
            summary("**\nERROR:../hw/core/x.c:5:f: assertion failed: (a == b)\nBail out! ERROR:…"),
            "hw/core/x.c:5:f: assertion failed: (a == b)"
        );
        let assertion = "qemu-system-x86_64: ../hw/x.c:5: f: Assertion `a < b' failed.";
        assert_eq!(summary(assertion), assertion);
        assert_eq!(
            summary(
                "thread '<unnamed>' panicked at rust/hw/x/src/lib.rs:5:9:\nindex out of bounds"
            ),
            "panicked at rust/hw/x/src/lib.rs:5:9: index out of bounds"
        );
        assert_eq!(
            summary("thread 'main' panicked at 'boom', src/lib.rs:5:9"),
            "panicked at 'boom', src/lib.rs:5:9"
        );
        let critical = "(process:1): GLib-CRITICAL **: 12:00:00.000: g_x: assertion 'y' failed";
        assert_eq!(summary(critical), "GLib-CRITICAL: g_x: assertion 'y' failed");
        assert_eq!(
            summary("a.c:1:2: runtime error: load of misaligned address 0x7f12345678ab for type"),
            "a.c:1:2: runtime error: load of misaligned address 0x… for type"
        );
        assert_eq!(summary("qemu-system-x86_64: warning: nothing special\n"), "");
    }

    /// Would catch a crash of which only the signal is told, although QEMU or a library says
    /// which call of a device it was.
    #[test]
    fn what_is_said_before_an_abort() {
        let bail = "Bail out! ERROR:../hw/x.c:5:f: assertion failed: (a == b)";
        assert_eq!(summary(bail), "hw/x.c:5:f: assertion failed: (a == b)");
        let glib =
            "\n(process:1): GLib-ERROR **: 12:00:00.000: ../glib/gmem.c:1: failed to allocate";
        assert_eq!(summary(glib), "GLib-ERROR: ../glib/gmem.c:1: failed to allocate");
        assert_eq!(summary("double free or corruption (out)"), "double free or corruption (out)");
        let smashed = "*** stack smashing detected ***: terminated";
        assert_eq!(summary(smashed), smashed);
        assert_eq!(
            summary("Unexpected error in f() at ../hw/x.c:5:\nqemu: no such thing\n"),
            "Unexpected error in f() at ../hw/x.c:5: qemu: no such thing"
        );
    }

    /// Would catch a message that fills a screen with the registers of CPUs that do nothing, or
    /// goes with them.
    #[test]
    fn a_hardware_error() {
        let registers = "CPU #0:\nRAX=0000000000000000 RBX=0\nXMM00=0\nCPU #1:\nRAX=0\n";
        let error = "qemu: hardware error: x_write: Bad size 0x1";
        let output = format!("fake: before\n{error}\n{registers}");
        let evidence = Evidence { output, ..Evidence::default() };
        let (verdict, evidence) = judge(Verdict::Crashed("QEMU ended".to_owned()), evidence);
        let why = "QEMU ended: hardware error: x_write: Bad size 0x1";
        assert_eq!(verdict, Verdict::Crashed(why.to_owned()));
        assert_eq!(evidence.diagnosis, error);
        let left_out = "[5 lines with the registers of the CPUs left out]";
        assert_eq!(evidence.output, format!("fake: before\n{error}\n{left_out}\n"));
        assert_eq!(without_registers("qemu: hardware error: x\nfake: y\n").lines().count(), 2);
    }

    /// Catches a harmless message that hides a grave one.
    #[test]
    fn the_gravest_counts() {
        let output = format!("(p:1): GLib-CRITICAL **: 1: g\na.c:1: runtime error: b\n{ASAN}");
        assert!(summary(&output).starts_with("AddressSanitizer: "));
    }

    /// Catches a sanitizer's finding that a passing test hides, and a mere complaint of
    /// GLib that fails one.
    #[test]
    fn what_fails_a_test_that_passed() {
        let judge = |output: &str| {
            let evidence = Evidence { output: output.to_owned(), ..Evidence::default() };
            judge(Verdict::Passed, evidence).0
        };
        assert_eq!(judge("(p:1): GLib-CRITICAL **: 1: g"), Verdict::Passed);
        assert_eq!(
            judge("x.c:1:2: runtime error: y"),
            Verdict::Failed(
                "the test passed, but QEMU reported: x.c:1:2: runtime error: y".to_owned()
            )
        );
    }
}
