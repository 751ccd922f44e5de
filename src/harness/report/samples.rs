//! Outcomes of every kind, with everything that a format can stumble over, for the tests of
//! the formats.

use std::cell::RefCell;
use std::io::{self, Write};
use std::rc::Rc;
use std::time::Duration;

use crate::harness::outcome::{Attempt, Evidence, Outcome, Phases, Verdict};

/// What has a meaning in some format.
pub(super) const NASTY: &str = "a # TODO <b>&\"'|`*_ ]]> </script><!-- %0A \\# ::error::x\u{1b}[31m\
     \u{7}\u{0}\u{2028}\u{202e}\u{fffe} \u{fffd} ##[error]y,z:\nok 7 - no\r\n...\nBail out! ";

/// An outcome that took 1.5 s.
pub(crate) fn outcome(name: &str, verdict: Verdict) -> Outcome {
    Outcome {
        name: name.to_owned(),
        verdict,
        took: Duration::from_millis(1500),
        emulator: "/usr/bin/qemu-system-arm".to_owned(),
        phases: Phases { launch: 0.25, attach: 0.0, test: 1.0, leave: 0.25 },
        attempts: Vec::new(),
        parts: Vec::new(),
        answers: Default::default(),
        reproducer: None,
        evidence: None,
    }
}

/// Evidence full of it.
pub(super) fn evidence() -> Evidence {
    Evidence {
        kept: String::new(),
        no_start: None,
        diagnosis: NASTY.to_owned(),
        command_line: "qemu-system-arm -M virt -name 'a b'".to_owned(),
        transcript: NASTY.to_owned(),
        output: NASTY.to_owned(),
        console: NASTY.to_owned(),
        file: Some("src/tests/sdhci.rs".to_owned()),
    }
}

/// An outcome of every kind.
pub(super) fn all() -> Vec<Outcome> {
    let why = || NASTY.to_owned();
    let test = |name: &str| format!("/arm/virt/bus/dev/dev-tests/{name}");
    let attempt = Attempt {
        verdict: Verdict::Failed("the first time".to_owned()),
        took: Duration::from_millis(500),
        after: vec![test("one"), test("two")],
        evidence: Some(evidence()),
    };
    let at = "left: 1, right: 2 (src/tests/sdhci.rs:42)".to_owned();
    let with = |outcome: Outcome| Outcome { evidence: Some(evidence()), ..outcome };
    let tried = |outcome: Outcome| Outcome { attempts: vec![attempt.clone()], ..outcome };
    let replay = Some("/tmp/replay it.sh".into());
    vec![
        outcome(&test("passed"), Verdict::Passed),
        with(outcome(&test("failed"), Verdict::Failed(at))),
        with(outcome(&format!("/arm/{NASTY}/x"), Verdict::Failed(why()))),
        with(Outcome { reproducer: replay, ..outcome(&test("crashed"), Verdict::Crashed(why())) }),
        tried(with(outcome(&test("hung"), Verdict::Hung(why())))),
        outcome(&test("skipped"), Verdict::Skipped(why())),
        tried(outcome(&test("dependent"), Verdict::Dependent(why()))),
        tried(outcome(&test("flaky"), Verdict::Flaky(why()))),
        with(outcome(&test("known"), Verdict::ExpectedFailure(why()))),
        outcome(&test("surprise"), Verdict::UnexpectedPass(why())),
        outcome(&test("stopped"), Verdict::Stopped),
    ]
}

/// Where a test can read what was written.
#[derive(Clone, Default)]
pub(super) struct Shared(Rc<RefCell<Vec<u8>>>);

impl Shared {
    pub fn text(&self) -> String {
        String::from_utf8(self.0.borrow().clone()).expect("UTF-8")
    }
}

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.borrow_mut().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
