//! JUnit's XML, as Jenkins, GitLab and others read it: a suite for each machine and emulator.
//!
//! An attempt that failed before another one passed is a `flakyFailure`, one before another
//! failure a `rerunFailure`, as Maven's Surefire calls them. XML has no place for a failure
//! that was expected: it is skipped, of type `expected-failure`.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use quick_junit::{
    NonSuccessKind, Property, Report as Xml, TestCase, TestCaseStatus, TestRerun, TestSuite,
    XmlString,
};

use super::text::first_line;
use super::{Output, Summary};
use crate::files::output_file::OutputFile;
use crate::guests::{Part, PartKind};
use crate::harness::environment::{Environment, emulator_facts, facts_with};
use crate::harness::outcome::{Attempt, Evidence, Outcome, Verdict, abridged, here};
use crate::shown::shown;

/// Writes a file of it at the end.
pub struct Junit {
    file: OutputFile,
    /// By machine and emulator.
    suites: BTreeMap<(String, String), TestSuite>,
    environments: Vec<Environment>,
}

impl Junit {
    /// To be written to this file.
    ///
    /// # Errors
    /// Nothing can be written there.
    pub fn new(file: PathBuf) -> io::Result<Self> {
        let (suites, environments) = (BTreeMap::new(), Vec::new());
        Ok(Self { file: OutputFile::with_folder(file)?, suites, environments })
    }
}

impl Output for Junit {
    fn name(&self) -> String {
        format!("the JUnit report {}", self.file.name().display())
    }

    fn environment(&mut self, environments: &[Environment]) -> io::Result<()> {
        self.environments = environments.to_vec();
        Ok(())
    }

    fn outcome(&mut self, outcome: &Outcome, _: &str) -> io::Result<()> {
        // `/ARCH/MACHINE/…/SUITE/CASE`.
        let mut parts = outcome.name.trim_start_matches('/').splitn(3, '/');
        let (arch, machine) = (parts.next().unwrap_or(""), parts.next().unwrap_or(""));
        let rest = parts.next().unwrap_or("");
        let suite = rest.split('/').rfind(|part| part.ends_with("-tests")).unwrap_or(rest);
        let mut case = TestCase::new(shown(&outcome.name), status(outcome));
        case.set_classname(shown(suite)).set_time(outcome.took);
        if let Some(evidence) = &outcome.evidence {
            case.system_out = written(&format!("{}{}", evidence.transcript, evidence.console));
            case.system_err = written(&evidence.output);
        }
        if outcome.verdict.is_notable() {
            let word = outcome.verdict.word();
            case.add_property(Property::new(word, first_line(&outcome.verdict)));
        }
        let key = (shown(&format!("{arch}/{machine}")), shown(&outcome.emulator));
        let environments = &self.environments;
        let suite = self.suites.entry(key).or_insert_with_key(|(machine, emulator)| {
            let mut suite = TestSuite::new(machine);
            suite.add_property(Property::new("emulator", emulator));
            let facts = emulator_facts(environments, &outcome.emulator);
            let general = facts_with(environments, &outcome.emulator);
            for (name, value) in facts.into_iter().chain(general) {
                suite.add_property(Property::new(name, shown(&value)));
            }
            suite
        });
        suite.time = Some(suite.time.unwrap_or(Duration::ZERO) + outcome.took);
        let class = case.classname.clone();
        suite.add_test_case(case);
        for part in &outcome.parts {
            let name = format!("{}: {} (line {})", outcome.name, part.text, part.line);
            let mut case = TestCase::new(shown(&name), status_of_part(part));
            case.classname.clone_from(&class);
            suite.add_test_case(case);
        }
        Ok(())
    }

    fn end(&mut self, _: &Summary) -> io::Result<()> {
        let mut xml = Xml::new("qgraph");
        xml.set_time(self.suites.values().filter_map(|suite| suite.time).sum());
        xml.add_test_suites(std::mem::take(&mut self.suites).into_values());
        let text = xml.to_string().map_err(io::Error::other)?;
        self.file.write(text.as_bytes())
    }
}

/// One of a guest's own checks, which is a case of its own.
fn status_of_part(part: &Part) -> TestCaseStatus {
    let mut status = match part.result {
        PartKind::Pass => return TestCaseStatus::success(),
        kind if kind.is_failure() => TestCaseStatus::non_success(NonSuccessKind::Failure),
        _ => TestCaseStatus::skipped(),
    };
    status.set_type(part.result.word()).set_message(shown(&part.to_string()));
    status
}

fn status(outcome: &Outcome) -> TestCaseStatus {
    let verdict = &outcome.verdict;
    let mut status = match verdict {
        Verdict::Skipped(_) | Verdict::ExpectedFailure(_) => TestCaseStatus::skipped(),
        Verdict::Stopped => {
            let mut status = TestCaseStatus::skipped();
            status.set_type("stopped").set_message("the run was stopped");
            return status;
        }
        verdict if verdict.is_failure() => TestCaseStatus::non_success(kind(verdict)),
        _ => TestCaseStatus::success(),
    };
    if !matches!(verdict, Verdict::Skipped(_) | Verdict::ExpectedFailure(_)) {
        status.add_reruns(outcome.attempts.iter().map(rerun));
    }
    if !matches!(status, TestCaseStatus::Success { .. }) {
        status.set_type(verdict.word()).set_message(abridged(verdict.message()).join("\n"));
        if verdict.is_failure() {
            status.set_description(description(verdict, outcome.evidence.as_ref(), outcome));
        }
    }
    status
}

/// A test that found something wrong, or something wrong around it.
fn kind(verdict: &Verdict) -> NonSuccessKind {
    match verdict {
        Verdict::Crashed(_) | Verdict::Hung(_) => NonSuccessKind::Error,
        _ => NonSuccessKind::Failure,
    }
}

fn rerun(attempt: &Attempt) -> TestRerun {
    let mut rerun = TestRerun::new(kind(&attempt.verdict));
    rerun
        .set_time(attempt.took)
        .set_type(attempt.verdict.word())
        .set_message(abridged(attempt.verdict.message()).join("\n"));
    if !attempt.after.is_empty() {
        let after: Vec<String> = attempt.after.iter().map(|name| shown(name)).collect();
        rerun.set_description(format!("after {}", after.join(", ")));
    }
    if let Some(evidence) = &attempt.evidence {
        rerun.system_out = written(&evidence.transcript);
        rerun.system_err = written(&evidence.output);
    }
    rerun
}

/// A text as an element, if there is any.
fn written(text: &str) -> Option<XmlString> {
    Some(abridged(text).join("\n")).filter(|text| !text.is_empty()).map(XmlString::new)
}

/// What many viewers show instead of the message.
fn description(verdict: &Verdict, evidence: Option<&Evidence>, outcome: &Outcome) -> String {
    let mut lines = abridged(verdict.message());
    if let Some(evidence) = evidence {
        lines.push(format!("QEMU: {}", shown(&evidence.command_line)));
        lines.extend(evidence.file.as_deref().map(|file| format!("test: {}", shown(here(file)))));
    }
    let file = outcome.reproducer.as_ref();
    lines.extend(file.map(|file| format!("to replay it: {}", shown(&file.display().to_string()))));
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::super::{Report, samples};
    use super::*;

    /// Would catch a guest's check that is lost, or counted as another result.
    #[test]
    fn checks_of_a_guest_are_cases() {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("junit.xml");
        let part = |(result, line)| Part { result, text: "adds \u{1b}".to_owned(), line };
        let parts = PartKind::ALL.into_iter().zip(1..).map(part).collect();
        let mut report = Report::new(1);
        report.add_output(Junit::new(file.clone()).unwrap());
        let failed = Verdict::Failed("1 FAIL".to_owned());
        report.add(&Outcome { parts, ..samples::outcome("/x86_64/pc/multiboot/s/t", failed) });
        report.finish();
        let text = std::fs::read_to_string(&file).unwrap();
        let xml = Xml::deserialize_from_str(&text).unwrap();
        assert_eq!((xml.tests, xml.failures, xml.skipped), (7, 3, 3), "{text}");
        let last = xml.test_suites[0].test_cases.last().unwrap();
        assert_eq!(last.name.as_str(), "/x86_64/pc/multiboot/s/t: adds \u{fffd} (line 6)");
    }

    /// Would catch XML that no parser takes, an outcome that is lost or counted as another,
    /// and an attempt or evidence that is left out.
    #[test]
    fn it_reads_back() {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("junit.xml");
        let mut report = Report::new(11);
        report.add_output(Junit::new(file.clone()).unwrap());
        samples::all().iter().for_each(|outcome| report.add(outcome));
        report.add(&Outcome {
            emulator: "other".to_owned(),
            ..samples::outcome("/arm/virt/bus/dev/dev-tests/passed", Verdict::Passed)
        });
        report.finish();

        let text = std::fs::read_to_string(&file).unwrap();
        let allowed = |c: char| c == '\n' || !(c.is_control() || c == '\u{fffe}');
        assert!(text.chars().all(allowed), "{text}");
        let xml = Xml::deserialize_from_str(&text).unwrap();
        assert_eq!((xml.tests, xml.failures, xml.errors, xml.skipped), (12, 2, 2, 3));
        let suites: Vec<_> = xml.test_suites.iter().map(|s| (s.name.as_str(), s.tests)).collect();
        assert_eq!(suites.len(), 3, "{suites:?}");
        assert_eq!(suites[1..], [("arm/virt", 10), ("arm/virt", 1)]);
        let cases = &xml.test_suites[1].test_cases;
        let case = |name: &str| {
            let name = format!("/arm/virt/bus/dev/dev-tests/{name}");
            cases.iter().find(|case| case.name.as_str() == name).unwrap()
        };
        assert_eq!(case("passed").status, TestCaseStatus::success());
        assert_eq!(case("passed").classname.as_ref().unwrap().as_str(), "dev-tests");
        assert_eq!(case("passed").time, Some(Duration::from_millis(1500)));
        let TestCaseStatus::NonSuccess { kind, message, description, .. } = &case("failed").status
        else {
            panic!("{text}")
        };
        assert_eq!(*kind, NonSuccessKind::Failure);
        let place = "left: 1, right: 2 (src/tests/sdhci.rs:42)";
        assert_eq!(message.as_ref().unwrap().as_str(), place);
        assert!(description.as_ref().unwrap().as_str().contains("QEMU: qemu-system-arm -M virt"));
        let TestCaseStatus::NonSuccess { kind, reruns, .. } = &case("hung").status else {
            panic!("{text}")
        };
        assert_eq!((*kind, reruns.runs.len()), (NonSuccessKind::Error, 1));
        for name in ["flaky", "dependent"] {
            let TestCaseStatus::Success { flaky_runs } = &case(name).status else {
                panic!("{text}")
            };
            assert_eq!(flaky_runs.len(), 1);
            assert_eq!(flaky_runs[0].message.as_ref().unwrap().as_str(), "the first time");
            assert!(flaky_runs[0].system_err.as_ref().unwrap().as_str().contains("]]> </script>"));
        }
        assert_eq!(text.matches("<flakyFailure").count(), 2);
        let TestCaseStatus::Skipped { ty, .. } = &case("known").status else { panic!("{text}") };
        assert_eq!(ty.as_ref().unwrap().as_str(), "expected-failure");
        let nothing = xml.test_suites[2].test_cases[0].system_err.as_ref();
        assert_eq!(nothing, None);
        assert!(case("crashed").system_out.as_ref().unwrap().as_str().contains("ok 7 - no"));
    }
}
