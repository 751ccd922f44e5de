//! Replaying a reproducer on an emulator, and saying whether it still fails: what was
//! compared, and with what result. Which emulator, and what is printed, is for the caller.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::harness::diagnose::{diagnose, without_registers};
use crate::harness::outcome::Verdict;
use crate::harness::reproduce::recorder::{Recorder, is_guard_check};
use crate::harness::reproduce::reproducer::{Action, Reproducer, Step};
use crate::harness::start::NoStart;
use crate::protocol;
use crate::protocol::answer::{self, Wrong};
use crate::protocol::message::Message;
use crate::qemu::{Between, Emulator, Ending, LaunchError, Limits, Vm};
use crate::{Error, Result};

/// How long a QEMU that closed its sockets may take to end.
const LAST_MOMENTS: Duration = Duration::from_secs(5);

/// How long a QEMU may take to end that was told nothing wrong, and answered all: what it
/// does between requests can end it.
const AFTERWARDS: Duration = Duration::from_secs(1);

/// How the cause begins of a start that a signal ended.
const KILLED: &str = "it was killed by signal ";

/// How long to wait for guest memory to be as recorded, each time and altogether.
const ONE_WAIT: Duration = Duration::from_millis(200);
const ALL_WAITS: Duration = Duration::from_secs(5);

/// How a replay ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum End {
    /// All requests were answered, and QEMU was still there, or quit as it was told.
    Answered,
    /// QEMU ended: how.
    Ended(Ending),
    /// It closed its connection and stayed.
    Closed,
    /// A request got no answer.
    Hung,
    /// QEMU did not get as far as the first request: why.
    NoStart(String),
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Answered => f.write_str("answered all requests"),
            Self::Ended(ending) => f.write_str(&ending.without_core()),
            Self::Closed => f.write_str("closed its connection"),
            Self::Hung => f.write_str("gave no answer"),
            Self::NoStart(cause) => write!(f, "did not start, because {cause}"),
        }
    }
}

/// What came of a replay.
#[derive(Debug, Clone)]
pub struct Replay {
    pub(crate) end: End,
    /// The steps up to the end, with what was answered now.
    pub(crate) steps: Vec<Step>,
    /// What QEMU said of its own faults, in one line; empty if nothing.
    pub(crate) diagnosis: String,
    /// Whether a sanitizer said it.
    is_sanitizer: bool,
    /// What QEMU wrote.
    pub output: String,
}

/// Whether a failure is still there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Judgement {
    /// It fails as it did: what was compared.
    StillFails(String),
    /// It does not: what was compared.
    Passes(String),
    /// That cannot be told from the answers: why.
    Unknown(String),
}

/// Replays `reproducer` on `emulator`, every answer within `patience`.
///
/// # Errors
/// QEMU could not be started at all.
pub fn replay(
    reproducer: &Reproducer,
    emulator: &Arc<Emulator>,
    patience: Duration,
) -> Result<Replay, LaunchError> {
    // However long it takes altogether: somebody waits for it and can stop it.
    let limits = Limits { request: patience, whole: Duration::MAX };
    let vm = match Vm::launch(emulator, reproducer.about.config.clone(), limits) {
        Ok(vm) => vm,
        Err(e @ LaunchError::NoGreeting { .. }) => {
            let NoStart { cause, output, .. } = NoStart::from(e);
            return Ok(Replay::new(End::NoStart(cause), Vec::new(), output));
        }
        Err(e) => return Err(e),
    };
    let recorder = Recorder::attach(&vm);
    let mut quits = false;
    let mut broken = None;
    // How often each request was made that has an answer.
    let mut tries = Vec::new();
    let mut waited = Duration::ZERO;
    for step in &reproducer.steps {
        quits = step.is_quit();
        let begun = Instant::now();
        let mut count = 0;
        let result = loop {
            count += 1;
            let result = take(step, &vm);
            let is_there = result.as_ref().is_ok_and(|now| is_expected(step, now));
            if is_there || result.is_err() || begun.elapsed() > ONE_WAIT || waited > ALL_WAITS {
                break result;
            }
        };
        if count > 1 {
            waited += begun.elapsed();
        }
        if step.is_answered() {
            tries.push(count);
        }
        // Requests that QEMU refuses are part of many tests.
        if let Err(e) = result
            && let Some(e) = e.into_protocol()
            && matches!(e, protocol::Error::Deadline { .. } | protocol::Error::Closed { .. })
        {
            broken = Some(e);
            break;
        }
    }
    let record = recorder.record();
    vm.transcript().set_tap(None);
    // A QEMU that is about to end has answered all the same.
    if broken.is_none() && !quits {
        broken = vm.qtest().endianness().err();
    }
    let may_end = matches!(reproducer.about.verdict, Verdict::Passed | Verdict::Crashed(_));
    let patience = match broken {
        Some(protocol::Error::Closed { .. }) => vm.at_its_pace(LAST_MOMENTS),
        None if quits => vm.deadline().limit(),
        None if may_end => AFTERWARDS,
        _ => Duration::ZERO,
    };
    let ending = vm.ending_within(patience);
    if emulator.is_debugged() && ending.is_none() {
        vm.leave_to_debugger();
    }
    vm.kill();
    let end = match (ending, broken) {
        (Some(ending), _) if quits && ending.is_success() => End::Answered,
        (Some(ending), _) => End::Ended(ending),
        (None, Some(protocol::Error::Closed { .. })) => End::Closed,
        (None, Some(_)) => End::Hung,
        (None, None) if quits => End::Hung,
        (None, None) => End::Answered,
    };
    let output = vm.output();
    Ok(Replay::new(end, last_tries(record.steps, &tries), output))
}

/// Whether `now` is what followed `OK ` in the recorded answer of a step that reads memory.
/// QEMU works on while a test does; where that waited for a device, so must we.
fn is_expected(step: &Step, now: &str) -> bool {
    let then = step.answer.as_ref().filter(|_| step.reads_memory());
    then.is_none_or(|then| then.strip_prefix("OK ") == Some(now))
}

/// Of each step, made as often as `tries` says, the last one.
fn last_tries(steps: Vec<Step>, tries: &[usize]) -> Vec<Step> {
    let mut steps = steps.into_iter().filter(Step::is_answered);
    let last = |&count: &usize| {
        let all = steps.by_ref().take(count);
        all.reduce(|before, mut last| {
            last.interrupts.splice(0..0, before.interrupts);
            last
        })
    };
    tries.iter().filter_map(last).collect()
}

/// Does what the step says; returns what followed `OK ` in a qtest answer.
fn take(step: &Step, vm: &Vm) -> Result<String> {
    match step.action() {
        Action::Qtest => return Ok(vm.qtest().command(&step.text)?),
        Action::Qmp => {
            let command: serde_json::Value = serde_json::from_str(&step.text)
                .map_err(|e| Error::failed(format!("`{}` is no QMP command: {e}", step.text)))?;
            let name = command["execute"].as_str().unwrap_or_default();
            vm.qmp().execute(name, command["arguments"].clone())?;
        }
        Action::WaitEvent(name) => {
            vm.qmp().wait_event(name)?;
        }
        Action::ReadImage(name, offset, length) => {
            vm.read_image(name, offset, &mut vec![0; length])?;
        }
        Action::WriteImage(name, offset, bytes) => vm.write_image(name, offset, &bytes)?,
        Action::Between(Between::Reset) => vm.reset_between()?,
        Action::Between(Between::Migrate) => vm.migrate()?,
        // What was sent is what was spoiled.
        Action::Between(Between::Fuzz) => {}
        Action::Nothing => {}
    }
    Ok(String::new())
}

impl Replay {
    fn new(end: End, steps: Vec<Step>, output: String) -> Self {
        let found = diagnose(&output);
        let is_sanitizer = found.as_ref().is_some_and(|found| found.is_sanitizer);
        let diagnosis = found.map_or(String::new(), |found| found.summary);
        Self { end, steps, diagnosis, is_sanitizer, output: without_registers(&output) }
    }

    /// How it went, where no earlier run says how it should go; `None` if QEMU did not get
    /// as far as the first request.
    pub fn verdict(&self) -> Option<Verdict> {
        Some(match &self.end {
            End::NoStart(cause) if cause.starts_with(KILLED) => Verdict::Crashed(self.in_words()),
            End::NoStart(_) => return None,
            End::Answered if self.is_sanitizer => {
                Verdict::Failed(format!("{SANITIZER}{}", self.diagnosis))
            }
            End::Answered => Verdict::Passed,
            End::Ended(_) | End::Closed => Verdict::Crashed(self.in_words()),
            End::Hung => Verdict::Hung(self.in_words()),
        })
    }

    /// The requests that were made, with their answers; the last one has none if QEMU ended
    /// or hung.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// The last request that was made.
    fn last_request(&self) -> String {
        let text = self.steps.last().map_or("(none)", |step| &step.text);
        match text.char_indices().nth(MOST_SHOWN) {
            Some((at, _)) => format!("`{}…`", &text[..at]),
            None => format!("`{text}`"),
        }
    }

    /// How many requests QEMU answered `FAIL` or `ERR`, and which was the first, in a
    /// sentence; `None` if there was none. Of a file that somebody changed, or of another
    /// emulator, such a request did not do what the failure needs.
    pub fn refusals(&self) -> Option<String> {
        let refusal = |step: &&Step| {
            let answer = step.answer.as_deref().unwrap_or_default().as_bytes();
            let is_refused = answer::payload(answer) == Err(Wrong::Refused);
            step.action() == Action::Qtest && is_refused
        };
        let refused: Vec<&Step> = self.steps.iter().filter(refusal).collect();
        let first = refused.first()?;
        let of = self.steps.iter().filter(|step| step.action() == Action::Qtest).count();
        Some(format!(
            "{} of {of} requests {} answered FAIL or ERR, the first `{:.100}`: {:.100}",
            refused.len(),
            if refused.len() == 1 { "was" } else { "were" },
            first.text,
            first.answer.as_deref().unwrap_or_default()
        ))
    }

    /// Whether it fails as `reproducer` says, as far as can be told.
    pub fn judge(&self, reproducer: &Reproducer) -> Judgement {
        let about = &reproducer.about;
        let verdict = &about.verdict;
        let (now, then) = (self.in_words(), verdict.message());
        if !self.diagnosis.is_empty() && then.contains(&self.diagnosis) {
            return Judgement::StillFails(format!(
                "QEMU says of itself what it said then: {}",
                self.diagnosis
            ));
        }
        match (verdict, &self.end) {
            (_, End::NoStart(cause)) if about.no_start.as_ref() == Some(cause) => {
                Judgement::StillFails(format!("{now}, as then"))
            }
            (_, End::NoStart(_)) => Judgement::Unknown(match &about.no_start {
                Some(then) => format!("{now}; then because {then}"),
                None => now,
            }),
            (_, End::Answered) if about.no_start.is_some() => {
                Judgement::Passes(format!("QEMU starts; then: {then}"))
            }
            (Verdict::Crashed(_), End::Ended(_) | End::Closed) => {
                let same = match self.ends_as(then) {
                    true => "as then".to_owned(),
                    false => format!("in another way than then: {then}"),
                };
                Judgement::StillFails(format!("{now}, {same}"))
            }
            (Verdict::Hung(_), End::Hung) => Judgement::StillFails(format!("{now}, as then")),
            (Verdict::Crashed(_) | Verdict::Hung(_), End::Answered) => Judgement::Passes(format!(
                "{now}; then it {}",
                if matches!(verdict, Verdict::Hung(_)) { "hung" } else { "crashed" }
            )),
            (Verdict::Failed(_), End::Answered) if then.contains(SANITIZER) => {
                Judgement::Passes(format!("{now}, and it says nothing of a fault of its own"))
            }
            (Verdict::Failed(_), End::Answered) => self.compare(reproducer),
            _ => Judgement::Unknown(format!("it fails in another way: {now}; then: {then}")),
        }
    }

    /// Whether it fails as `before`, a replay of the same on the same emulator.
    pub(crate) fn is_same(&self, before: &Self, reproducer: &Reproducer) -> bool {
        if is_about_an_answer(reproducer) {
            return matches!(self.judge(reproducer), Judgement::StillFails(_));
        }
        (self.end.to_string(), &self.diagnosis) == (before.end.to_string(), &before.diagnosis)
    }

    fn ends_as(&self, then: &str) -> bool {
        then.contains(&self.end.to_string())
    }

    /// How it ended, in words: what QEMU did, at which request, and what it said of it.
    pub fn in_words(&self) -> String {
        let is_answered = self.steps.last().is_some_and(|step| step.answer.is_some());
        let at = match self.end {
            End::Answered | End::NoStart(_) => String::new(),
            _ if is_answered => format!(" after {}", self.last_request()),
            _ => format!(" at {}", self.last_request()),
        };
        let of = if self.diagnosis.is_empty() { "" } else { ": " };
        format!("QEMU {}{at}{of}{}", self.end, self.diagnosis)
    }

    /// Compares answer by answer.
    fn compare(&self, reproducer: &Reproducer) -> Judgement {
        let then: Vec<&Step> = reproducer.steps.iter().filter(|step| step.is_answered()).collect();
        let about = &reproducer.about;
        let message = about.verdict.message();
        let judging = then.iter().rposition(|step| is_judged(step));
        let Some(judging) = judging.filter(|at| then[*at].answer.is_some()) else {
            return Judgement::Unknown("the file has no recorded answers to compare".to_owned());
        };
        let same = |at: usize| {
            self.steps.get(at).is_some_and(|now| {
                now.interrupts == then[at].interrupts && is_same_answer(now, then[at])
            })
        };
        let different: Vec<usize> = (0..then.len()).filter(|&at| !same(at)).collect();
        let shown = |step: Option<&Step>| match step.and_then(|step| step.answer.as_ref()) {
            Some(answer) => format!("`{:.100}`", answer),
            None => "no answer".to_owned(),
        };
        let the_last = format!("the last one, to `{:.100}`", then[judging].text);
        let Some(&first) = different.first() else {
            return Judgement::StillFails(format!(
                "all {} answers are as recorded; {the_last}, is {}: {message}",
                then.len(),
                shown(self.steps.get(judging))
            ));
        };
        if !same(judging) {
            return Judgement::Passes(format!(
                "{the_last}, is {} now and was {} when the test objected: {message}",
                shown(self.steps.get(judging)),
                shown(Some(then[judging]))
            ));
        }
        Judgement::Unknown(format!(
            "{the_last}, is as recorded, but {} of {} others are not; the first, to `{:.100}`, is \
             {} and was {}. Only the test itself can judge: qgraph run --exact {}",
            different.len(),
            then.len() - 1,
            then[first].text,
            shown(self.steps.get(first)),
            shown(Some(then[first])),
            about.path
        ))
    }
}

/// How many characters of a request are shown.
const MOST_SHOWN: usize = 100;
/// What the message of a test says that passed while a sanitizer found something.
const SANITIZER: &str = "the test passed, but QEMU reported: ";

/// Whether the test objected to an answer: without that nothing is left of the failure.
pub(crate) fn is_about_an_answer(reproducer: &Reproducer) -> bool {
    matches!(&reproducer.about.verdict, Verdict::Failed(why) if !why.contains(SANITIZER))
}

/// Whether a test may object to the answer, rather than to one before.
pub(crate) fn is_judged(step: &Step) -> bool {
    step.is_answered() && !is_guard_check(step)
}

/// Whether two answers say the same. Replies of the monitor are numbered.
fn is_same_answer(now: &Step, then: &Step) -> bool {
    let reply = |step: &Step| match Message::parse(step.answer.as_ref()?.as_bytes()) {
        Some(Message::Reply { result, .. }) => Some(result),
        _ => None,
    };
    match then.action() {
        Action::Qmp => reply(now) == reply(then),
        _ => now.answer == then.answer,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::harness::About;
    use crate::qemu::{Config, RamSpec};

    fn steps(answers: &[&str]) -> Vec<Step> {
        let step = |(number, answer): (usize, &&str)| Step {
            answer: Some(answer.to_string()).filter(|answer| !answer.is_empty()),
            ..Step::new(format!("inb {number:#x}"))
        };
        answers.iter().enumerate().map(step).collect()
    }

    fn judge(verdict: Verdict, then: &[&str], end: End, now: &[&str]) -> Judgement {
        Replay::new(end, steps(now), String::new()).judge(&reproducer(verdict, then))
    }

    fn reproducer(verdict: Verdict, then: &[&str]) -> Reproducer {
        let about = About {
            path: "/a/b".to_owned(),
            verdict,
            emulator: "q".into(),
            version: String::new(),
            module_dir: None,
            migrate_to: None,
            config: Config::new("pc", "", RamSpec::new(0, 0)),
            no_start: None,
            is_whole: true,
            minimized_from: None,
        };
        Reproducer { about, steps: steps(then) }
    }

    /// Catches a wrong value that is said to be mended, or there, when the answers do not
    /// say so.
    #[test]
    fn a_wrong_value() {
        let failed = || Verdict::Failed("left: 1".to_owned());
        let judge = |then: &[&str], now: &[&str]| judge(failed(), then, End::Answered, now);
        let same = judge(&["OK", "OK 0x1"], &["OK", "OK 0x1"]);
        let text =
            "all 2 answers are as recorded; the last one, to `inb 0x1`, is `OK 0x1`: left: 1";
        assert_eq!(same, Judgement::StillFails(text.to_owned()));
        let Judgement::Passes(why) = judge(&["OK", "OK 0x1"], &["OK", "OK 0x2"]) else { panic!() };
        assert!(why.contains("is `OK 0x2` now and was `OK 0x1`"), "{why}");
        let Judgement::Unknown(why) = judge(&["OK", "OK 0x1"], &["OK 0x7", "OK 0x1"]) else {
            panic!()
        };
        assert!(why.contains("1 of 1 others are not") && why.contains("qgraph run --exact /a/b"));
        assert!(matches!(judge(&["OK", ""], &["OK", "OK"]), Judgement::Unknown(_)));
    }

    /// Would catch an emulator that never started taken for one that still fails, or a start
    /// that fails as it was recorded taken for another failure.
    #[test]
    fn a_start_that_fails() {
        let no_start = || End::NoStart("'x' is not a valid device model name".to_owned());
        for verdict in [Verdict::Crashed("x".to_owned()), Verdict::Failed("x".to_owned())] {
            let Judgement::Unknown(why) = judge(verdict, &["OK", ""], no_start(), &[]) else {
                panic!()
            };
            assert_eq!(why, "QEMU did not start, because 'x' is not a valid device model name");
        }
        let then = |cause: &str, end: End| {
            let mut reproducer = reproducer(Verdict::Failed("y".to_owned()), &[]);
            reproducer.about.no_start = Some(cause.to_owned());
            Replay::new(end, Vec::new(), String::new()).judge(&reproducer)
        };
        let same = then("'x' is not a valid device model name", no_start());
        assert!(matches!(same, Judgement::StillFails(_)), "{same:?}");
        let other = then("no firmware", no_start());
        assert!(
            matches!(&other, Judgement::Unknown(why) if why.ends_with("then because no firmware"))
        );
        assert!(matches!(then("z", End::Answered), Judgement::Passes(_)));
    }

    /// Would catch requests that QEMU refused, and that therefore do nothing, kept quiet.
    #[test]
    fn requests_that_were_refused() {
        let refusals =
            |answers: &[&str]| Replay::new(End::Answered, steps(answers), String::new()).refusals();
        assert_eq!(refusals(&["OK", "OK 0x1"]), None);
        assert_eq!(
            refusals(&["OK", "FAIL no", "ERR", "OK FAIL"]).as_deref(),
            Some("2 of 4 requests were answered FAIL or ERR, the first `inb 0x1`: FAIL no")
        );
    }

    /// Catches an end taken for another.
    #[test]
    fn ends() {
        let hung = || Verdict::Hung("x".to_owned());
        let crashed = || Verdict::Crashed("x".to_owned());
        let judge = |verdict, end| judge(verdict, &["OK", ""], end, &["OK", ""]);
        assert!(matches!(judge(hung(), End::Hung), Judgement::StillFails(_)));
        assert!(matches!(judge(hung(), End::Answered), Judgement::Passes(_)));
        assert!(matches!(judge(hung(), End::Closed), Judgement::Unknown(_)));
        assert!(matches!(judge(crashed(), End::Closed), Judgement::StillFails(_)));
        assert!(matches!(judge(crashed(), End::Hung), Judgement::Unknown(_)));
        assert!(matches!(judge(crashed(), End::Answered), Judgement::Passes(_)));
    }
}
