//! What GitHub's workflows show: annotations by workflow commands, folded evidence, and a
//! summary of the job in Markdown. See "Workflow commands for GitHub Actions" in GitHub's
//! documentation.

use std::collections::hash_map::RandomState;
use std::fs::File;
use std::hash::{BuildHasher, Hasher};
use std::io::{self, Write};
use std::path::PathBuf;

use super::text::{first_line, told};
use super::{Output, Summary};
use crate::harness::outcome::{Outcome, Verdict, abridged, here};
use crate::shown::shown;

/// How many paths the summary lists: GitHub takes a MiB from one step.
const MOST_LISTED: usize = 500;

/// Writes the log of a step, and at the end its summary.
pub struct Github<W> {
    out: W,
    summary: Option<PathBuf>,
    /// The rows of the summary's table.
    rows: Vec<String>,
}

impl<W: Write> Github<W> {
    /// The log goes to `out`; the summary is appended to this file, which GitHub names in
    /// `GITHUB_STEP_SUMMARY`.
    pub fn new(out: W, summary: Option<PathBuf>) -> Self {
        Self { out, summary, rows: Vec::new() }
    }
}

impl<W: Write> Output for Github<W> {
    fn outcome(&mut self, outcome: &Outcome, label: &str) -> io::Result<()> {
        let verdict = &outcome.verdict;
        let (word, millis) = (verdict.word(), outcome.took.as_millis());
        let mut text = format!("{word:16}{millis:6} ms  {}\n", shown(label));
        let level = match (verdict.is_failure(), verdict.is_notable()) {
            (true, _) => Some("error"),
            (_, true) => Some("warning"),
            _ => None,
        };
        if let Some(level) = level {
            text.push_str(&command(level, outcome, label));
            // What QEMU or a test wrote must not be taken for a command.
            let token = format!("qgraph-{:016x}", RandomState::new().build_hasher().finish());
            text.push_str(&format!("::group::What led to it\n::stop-commands::{token}\n"));
            told(outcome).iter().for_each(|line| text.push_str(&format!("    {line}\n")));
            text.push_str(&format!("::{token}::\n::endgroup::\n"));
            let (label, said) = (markdown(label), markdown(&first_line(verdict)));
            self.rows.push(format!("| {word} | {label} | {said} |\n"));
        }
        self.out.write_all(text.as_bytes())?;
        self.out.flush()
    }

    fn end(&mut self, summary: &Summary) -> io::Result<()> {
        writeln!(self.out, "\n{summary}")?;
        self.out.flush()?;
        let Some(file) = &self.summary else { return Ok(()) };
        let mut text = format!("### qgraph: {summary}\n\n");
        if !self.rows.is_empty() {
            text.push_str("| outcome | path | what was wrong |\n|---|---|---|\n");
            self.rows.iter().take(MOST_LISTED).for_each(|row| text.push_str(row));
            text.push('\n');
        }
        if let Some(more) = self.rows.len().checked_sub(MOST_LISTED).filter(|&more| more > 0) {
            text.push_str(&format!("… and {more} more\n\n"));
        }
        // Others write to this file as well, so it is appended to, at once.
        let written = File::options().append(true).create(true).open(file);
        written
            .and_then(|mut file| file.write_all(text.as_bytes()))
            .map_err(|e| io::Error::new(e.kind(), format!("{}: {e}", file.display())))
    }
}

/// An annotation, at the line of the test if that is known.
fn command(level: &str, outcome: &Outcome, label: &str) -> String {
    let verdict = &outcome.verdict;
    let mut properties = String::new();
    let evidence = outcome
        .evidence
        .as_ref()
        .or_else(|| outcome.attempts.iter().rev().find_map(|attempt| attempt.evidence.as_ref()));
    let file = evidence.and_then(|evidence| evidence.file.as_deref()).map(here);
    if let Some((file, line)) = panicked_at(verdict) {
        properties = format!("file={},line={line},", property(file));
    } else if let Some(file) = file {
        properties = format!("file={},", property(file));
    }
    let title = property(&shown(&format!("{}: {label}", verdict.word())));
    let mut message = abridged(verdict.message());
    message.extend(evidence.map(|evidence| format!("QEMU: {}", shown(&evidence.command_line))));
    format!("::{level} {properties}title={title}::{}\n", data(&message.join("\n")))
}

/// The place that a message names at its end, as those of assertions do: `(FILE:LINE)`.
fn panicked_at(verdict: &Verdict) -> Option<(&str, u32)> {
    let message = verdict.message();
    let (_, place) = message.strip_suffix(')')?.rsplit_once(" (")?;
    let (file, line) = place.rsplit_once(':')?;
    Some((file, line.parse().ok()?)).filter(|(file, _)| file.ends_with(".rs"))
}

/// As the message of a command wants it.
fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

/// As a property of a command wants it.
fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

/// As text of a cell of a table: Markdown lets every punctuation be an entity.
fn markdown(text: &str) -> String {
    let mut out = String::new();
    for c in shown(text).chars() {
        match c {
            c if c.is_ascii_punctuation() && !"/-.,:".contains(c) => {
                out.push_str(&format!("&#{};", u32::from(c)));
            }
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::{Report, samples};
    use super::*;

    /// What GitHub's runner would take for commands, after its rules: `::name …::` at the
    /// beginning of a line, `##[name…]` anywhere, nothing while they are stopped.
    fn commands(log: &str) -> Vec<String> {
        let (mut commands, mut stopped) = (Vec::new(), None::<String>);
        for line in log.lines() {
            let line = line.trim_start();
            if let Some(token) = &stopped {
                if line == format!("::{token}::") {
                    stopped = None;
                }
            } else if let Some(token) = line.strip_prefix("::stop-commands::") {
                stopped = Some(token.to_owned());
            } else if line.starts_with("::") || line.contains("##[") {
                commands.push(line.to_owned());
            }
        }
        assert_eq!(stopped, None);
        commands
    }

    /// Would catch an annotation that is lost, made up by what QEMU wrote, at the wrong
    /// place or cut short.
    #[test]
    fn annotations_are_ours_alone() {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("summary.md");
        fs::write(&file, "before\n").unwrap();
        let out = samples::Shared::default();
        let mut report = Report::new(11);
        report.add_output(Github::new(out.clone(), Some(file.clone())));
        samples::all().iter().for_each(|outcome| report.add(outcome));
        report.finish();

        let commands = commands(&out.text());
        let annotations: Vec<&String> = commands.iter().filter(|c| c.contains("title=")).collect();
        assert_eq!(commands.len(), 3 * annotations.len());
        let errors = annotations.iter().filter(|c| c.starts_with("::error file=")).count();
        let warnings = annotations.iter().filter(|c| c.starts_with("::warning ")).count();
        assert_eq!((errors, warnings, annotations.len()), (4, 3, 7));
        assert_eq!(
            *annotations[0],
            "::error file=src/tests/sdhci.rs,line=42,\
             title=failed%3A /arm/virt/bus/dev/dev-tests/failed::\
             left: 1, right: 2 (src/tests/sdhci.rs:42)%0AQEMU: qemu-system-arm -M virt -name 'a b'"
        );
        let nasty = annotations[1];
        assert!(nasty.contains(" %250A \\# %3A%3Aerror%3A%3Ax"), "{nasty}");
        assert!(nasty.contains("y%2Cz%3A"), "{nasty}");
        assert!(nasty.contains("%0Aok 7 - no%0A"), "{nasty}");
        assert!(out.text().contains("\n    ok 7 - no\n"), "the evidence is in the log");

        let text = fs::read_to_string(&file).unwrap();
        let heading = "before\n### qgraph: 1 crashed, 1 hung, 2 failed, ";
        assert!(text.starts_with(heading), "{text}");
        assert_eq!(text.lines().filter(|line| line.matches('|').count() == 4).count(), 2 + 7);
        assert!(!text.contains("<b>") && text.contains("&#60;b&#62;"), "{text}");
    }

    /// Would catch a summary that is lost without a word, and one longer than GitHub takes.
    #[test]
    fn the_summary_has_its_limits() {
        let mut github = Github::new(io::sink(), Some("/dev/full".into()));
        let failed = samples::outcome("/a/b/c", Verdict::Failed("x".to_owned()));
        for _ in 0..MOST_LISTED + 2 {
            github.outcome(&failed, "/a/b/c").unwrap();
        }
        let e = github.end(&Summary::default()).unwrap_err();
        assert!(e.to_string().starts_with("/dev/full: "), "{e}");
        let file = tempfile::NamedTempFile::new().unwrap();
        github.summary = Some(file.path().to_owned());
        github.end(&Summary::default()).unwrap();
        let text = fs::read_to_string(file.path()).unwrap();
        assert_eq!(text.matches("/a/b/c").count(), MOST_LISTED);
        assert!(text.contains("… and 2 more"), "{text}");
    }
}
