//! One page with everything, for a browser: the paths as a tree, what led to each outcome
//! that is not a pass, and the graph. It needs nothing from anywhere else.
//!
//! The page is in `html/`: its frame, its looks, and the program that shows the outcomes,
//! which are handed to it as JSON. Text of others becomes text of the page in that program
//! alone, and never markup.

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use super::{Output, Summary, WORDS};
use crate::files::output_file::OutputFile;
use crate::graph::{Drawing, State};
use crate::guests::Part;
use crate::harness::environment::{Environment, Fact, emulator_facts, facts};
use crate::harness::outcome::{Attempt, Evidence, Outcome, Verdict, abridged, here};
use crate::shown::shown;

const PAGE: &str = include_str!("html/page.html");
const STYLE: &str = include_str!("html/page.css");
const SCRIPT: &str = include_str!("html/page.js");

/// How many bytes of requests, answers and output a page holds, so that a browser can still
/// show it when everything fails. What comes later goes without.
const MOST_EVIDENCE: usize = 4 << 20;

/// Writes the page at the end.
pub struct Html {
    file: OutputFile,
    drawing: Drawing,
    rows: Vec<Value>,
    /// The emulators, and the place of each in the list.
    emulators: HashMap<String, usize>,
    states: Vec<(String, State)>,
    environments: Vec<Environment>,
    /// How much evidence there is already.
    evidence: usize,
}

impl Html {
    /// To be written to this file. `drawing` is the graph, or nothing, before the run.
    ///
    /// # Errors
    /// Nothing can be written there.
    pub fn new(file: PathBuf, drawing: Drawing) -> io::Result<Self> {
        Ok(Self {
            file: OutputFile::with_folder(file)?,
            drawing,
            rows: Vec::new(),
            emulators: HashMap::new(),
            states: Vec::new(),
            environments: Vec::new(),
            evidence: 0,
        })
    }

    fn page(&self, summary: &Summary) -> String {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let mut emulators: Vec<_> = self.emulators.iter().collect();
        emulators.sort_by_key(|(_, place)| **place);
        let build = |(name, _): &(&String, &usize)| said(emulator_facts(&self.environments, name));
        let builds: Vec<Value> = emulators.iter().map(build).collect();
        let data = json!({
            "version": env!("CARGO_PKG_VERSION"),
            "written": now.map_or(0, millis),
            "total": summary.total,
            "left": summary.left,
            "words": WORDS.iter().copied().chain([Verdict::Stopped.word()]).collect::<Vec<_>>(),
            "environment": said(facts(&self.environments)),
            "builds": builds,
            "emulators": emulators.iter().map(|(name, _)| shown(name)).collect::<Vec<_>>(),
            "rows": self.rows,
        });
        let paths = self.states.iter().map(|(name, state)| (name.as_str(), *state));
        let whole = self.drawing.clone().after(paths);
        let ran = whole.without_missing();
        let picture = |drawing: &Drawing| match drawing.is_empty() {
            true => String::new(),
            false => drawing.svg(),
        };
        let whole = if whole.is_all_run() { Drawing::default() } else { whole };
        // Should text of others ever come to be a script, no browser runs it.
        let nonce = format!("{:032x}", fastrand::u128(..));
        fill(&[
            ("nonce", &nonce),
            ("summary", &text(&summary.to_string())),
            ("style", STYLE),
            ("graph-ran", &picture(&ran)),
            ("graph-whole", &picture(&whole)),
            ("data", &inside_script(&data)),
            ("same-nonce", &nonce),
            ("script", SCRIPT),
        ])
    }

    /// What led to an outcome, or to an attempt.
    fn evidence(&mut self, evidence: &Evidence) -> Value {
        let Evidence { diagnosis, transcript, output, console, .. } = evidence;
        let mut value = json!({
            "command": shown(&evidence.command_line),
            "file": evidence.file.as_deref().map(|file| shown(here(file))),
        });
        let texts = [diagnosis, transcript, output, console].map(|text| abridged(text).join("\n"));
        let size: usize = texts.iter().map(String::len).sum();
        if self.evidence + size > MOST_EVIDENCE {
            value["cut"] = json!(true);
        } else {
            self.evidence += size;
            let [diagnosis, transcript, output, console] = texts;
            value["diagnosis"] = json!(diagnosis);
            value["transcript"] = json!(transcript);
            value["output"] = json!(output);
            value["console"] = json!(console);
        }
        value
    }

    /// What is shown when the path is opened; nothing for a plain pass.
    fn detail(&mut self, outcome: &Outcome) -> Value {
        let is_plain = outcome.attempts.is_empty() && outcome.parts.is_empty();
        if outcome.verdict == Verdict::Passed && is_plain {
            return Value::Null;
        }
        let mut value = self.judged(&outcome.verdict, outcome.evidence.as_ref());
        if let Some(file) = &outcome.reproducer {
            value["replay"] = json!(shown(&file.display().to_string()));
        }
        let parts = self.parts(outcome);
        if !parts.is_empty() {
            value["parts"] = json!(parts);
        }
        let attempts: Vec<Value> =
            outcome.attempts.iter().map(|attempt| self.attempt(attempt)).collect();
        if !attempts.is_empty() {
            value["attempts"] = json!(attempts);
        }
        value
    }

    /// The checks of a guest, those that failed first.
    fn parts(&mut self, outcome: &Outcome) -> String {
        let mut parts: Vec<&Part> = outcome.parts.iter().collect();
        parts.sort_by_key(|part| part.result);
        let lines: Vec<String> = parts.iter().map(|part| shown(&part.to_string())).collect();
        let text = lines.join("\n");
        if self.evidence + text.len() > MOST_EVIDENCE {
            return String::new();
        }
        self.evidence += text.len();
        text
    }

    fn attempt(&mut self, attempt: &Attempt) -> Value {
        let mut value = self.judged(&attempt.verdict, attempt.evidence.as_ref());
        value["word"] = json!(attempt.verdict.word());
        value["millis"] = json!(millis(attempt.took));
        value["after"] = attempt.after.iter().map(|name| shown(name)).collect();
        value
    }

    fn judged(&mut self, verdict: &Verdict, evidence: Option<&Evidence>) -> Value {
        let mut value = evidence.map_or_else(|| json!({}), |evidence| self.evidence(evidence));
        value["message"] = json!(abridged(verdict.message()).join("\n"));
        value
    }
}

impl Output for Html {
    fn name(&self) -> String {
        format!("the page {}", self.file.name().display())
    }

    fn environment(&mut self, environments: &[Environment]) -> io::Result<()> {
        self.environments = environments.to_vec();
        Ok(())
    }

    fn outcome(&mut self, outcome: &Outcome, _: &str) -> io::Result<()> {
        let verdict = &outcome.verdict;
        self.states.push((outcome.name.clone(), state(verdict)));
        let known = self.emulators.len();
        let emulator = *self.emulators.entry(outcome.emulator.clone()).or_insert(known);
        let word = WORDS.iter().position(|&word| word == verdict.word()).unwrap_or(WORDS.len());
        let phases = &outcome.phases;
        let phases = [phases.launch, phases.attach, phases.test, phases.leave];
        let phases = phases.map(|seconds| (seconds * 1000.0).round().max(0.0) as u64);
        let phases = if phases == [0; 4] { Value::Null } else { json!(phases) };
        let (name, detail) = (shown(&outcome.name), self.detail(outcome));
        self.rows.push(json!([name, word, millis(outcome.took), emulator, phases, detail]));
        Ok(())
    }

    fn end(&mut self, summary: &Summary) -> io::Result<()> {
        self.file.write(self.page(summary).as_bytes())
    }
}

fn state(verdict: &Verdict) -> State {
    match verdict {
        Verdict::Stopped => State::Missing,
        Verdict::Skipped(_) | Verdict::ExpectedFailure(_) => State::Plain,
        verdict if verdict.is_failure() => State::Failed,
        _ => State::Passed,
    }
}

/// Facts as pairs.
fn said(facts: Vec<Fact>) -> Value {
    facts.into_iter().map(|(name, value)| json!([name, shown(&value)])).collect()
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// The page with `{{NAME}}` replaced, each once, in this order. What is put in is not looked
/// through for more.
fn fill(parts: &[(&str, &str)]) -> String {
    let (mut page, mut rest) = (String::new(), PAGE);
    for (name, part) in parts {
        let (before, after) =
            rest.split_once(&format!("{{{{{name}}}}}")).expect("the page has its parts in order");
        page.push_str(before);
        page.push_str(part);
        rest = after;
    }
    page + rest
}

fn text(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// JSON in which nothing can end the element that it stands in, or begin another one.
fn inside_script(data: &Value) -> String {
    let escaped = [('<', "\\u003c"), ('>', "\\u003e"), ('&', "\\u0026")];
    escaped.iter().fold(data.to_string(), |text, (from, to)| text.replace(*from, to))
}

#[cfg(test)]
mod tests {
    use super::super::{Report, samples};
    use super::*;
    use crate::graph::Model;

    fn written(outcomes: &[Outcome], drawing: Drawing) -> String {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("report.html");
        let mut report = Report::new(outcomes.len());
        report.add_output(Html::new(file.clone(), drawing).unwrap());
        outcomes.iter().for_each(|outcome| report.add(outcome));
        report.finish();
        std::fs::read_to_string(file).unwrap()
    }

    fn data(page: &str) -> Value {
        let begin = "<script type=\"application/json\" id=\"data\">";
        let (_, rest) = page.split_once(begin).expect("data");
        serde_json::from_str(rest.split_once("</script>").expect("an end").0).expect("JSON")
    }

    /// Would catch an outcome or its evidence that does not reach the page, or that becomes
    /// markup in it.
    #[test]
    fn everything_reaches_the_page_as_text() {
        let page = written(&samples::all(), Drawing::default());
        let data = data(&page);
        assert_eq!((&data["total"], &data["left"]), (&json!(11), &json!(1)));
        let rows = data["rows"].as_array().unwrap();
        let word = |row: &Value| data["words"][row[1].as_u64().unwrap() as usize].clone();
        for (row, outcome) in rows.iter().zip(samples::all()) {
            assert_eq!(row[0], shown(&outcome.name));
            assert_eq!(word(row), outcome.verdict.word());
            assert_eq!((&row[2], &row[4]), (&json!(1500), &json!([250, 0, 1000, 250])));
        }
        assert_eq!(rows.len(), 11);
        assert_eq!(rows[0][5], Value::Null);
        let crashed = &rows[3][5];
        assert_eq!(crashed["command"], "qemu-system-arm -M virt -name 'a b'");
        assert_eq!(crashed["replay"], "/tmp/replay it.sh");
        for text in ["message", "diagnosis", "transcript", "output"] {
            let text = crashed[text].as_str().unwrap();
            assert!(text.contains("]]> </script><!-- %0A"), "{text}");
            assert!(!text.contains(['\u{1b}', '\0']) && text.contains("\nok 7 - no\n"), "{text}");
        }
        let flaky = &rows[7][5]["attempts"][0];
        assert_eq!(
            (&flaky["word"], &flaky["message"]),
            (&json!("failed"), &json!("the first time"))
        );
        assert_eq!(flaky["after"].as_array().unwrap().len(), 2);

        // One element for the data, one for the program, and nothing of others.
        assert_eq!(page.matches("<script").count(), 2);
        assert_eq!(page.matches("</script").count(), 2);
        assert!(!page.contains("<b>") && !page.contains("<!--"));
        for from_elsewhere in [" src=", " href=\"http", "@import", "url(http"] {
            assert!(!page.contains(from_elsewhere), "{from_elsewhere}");
        }
    }

    /// Would catch a graph that is not on the page, or without what ran.
    #[test]
    fn the_graph_is_on_the_page() {
        let drawing = Model::registered().drawing(&[], |machine| machine == "arm/raspi2b");
        let name = "/arm/raspi2b/generic-sdhci/sdhci/sdhci-tests/registers";
        let failed = samples::outcome(name, Verdict::Failed("x".to_owned()));
        let page = written(&[failed], drawing);
        assert_eq!(page.matches("<svg ").count(), 2);
        assert!(page.contains("<g class=\"machine failed\">"), "{page}");
        assert!(page.contains(">did not run<"));
    }

    /// Would catch a page that no browser can open because everything failed at length, and
    /// one that is slow to load although all is well.
    #[test]
    fn the_page_has_its_limits() {
        let long = "x".repeat(900) + "\n";
        let evidence = Evidence { output: long.repeat(50), ..samples::evidence() };
        let name = |number| format!("/x86_64/pc/{}/dev-tests/{number}", "a-long-node/".repeat(6));
        let failed = |number| Outcome {
            evidence: Some(evidence.clone()),
            ..samples::outcome(&name(number), Verdict::Failed("x".to_owned()))
        };
        let page = written(&(0..200).map(failed).collect::<Vec<_>>(), Drawing::default());
        let rows = &data(&page)["rows"];
        assert!(rows[0][5]["output"].as_str().unwrap().len() > 40_000);
        assert_eq!((&rows[199][5]["cut"], &rows[199][5]["output"]), (&json!(true), &Value::Null));
        assert!(page.len() < MOST_EVIDENCE + (1 << 20), "{}", page.len());

        let passed = |number| samples::outcome(&name(number), Verdict::Passed);
        let page = written(&(0..5000).map(passed).collect::<Vec<_>>(), Drawing::default());
        assert!(page.len() < 2 << 20, "{}", page.len());
    }
}
