//! How outcomes are reported: the arguments that `run` and whatever else has outcomes share.

use std::io;
use std::path::{Path, PathBuf};

use super::files::Named;
use super::warn;
use crate::graph::Drawing;
use crate::harness::report::{Github, Html, Json, Junit, Pretty, Tap};
use crate::harness::{Conclusion, Environment, Report, Verdict};

/// How outcomes are written to standard output.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// For people.
    Pretty,
    /// The Test Anything Protocol, for Meson or prove.
    Tap,
    /// One JSON object a line.
    Json,
    /// For a GitHub workflow: annotations, and a summary of the job.
    Github,
}

/// The outcomes that fail no run by themselves.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
enum Notable {
    Dependent,
    Flaky,
    UnexpectedPass,
    Skipped,
}

impl Notable {
    fn word(self) -> &'static str {
        match self {
            Self::Dependent => "dependent",
            Self::Flaky => "flaky",
            Self::UnexpectedPass => "unexpected-pass",
            Self::Skipped => "skipped",
        }
    }
}

/// How outcomes are reported.
#[derive(clap::Args)]
pub(super) struct ReportArguments {
    /// How outcomes are written to standard output.
    #[arg(long, value_enum, default_value = "pretty", help_heading = "Reports")]
    format: Format,
    /// Write a report in JUnit's XML to this file as well.
    #[arg(long, value_name = "FILE", help_heading = "Reports")]
    junit: Option<PathBuf>,
    /// Write a page for a browser to this file as well.
    #[arg(long, value_name = "FILE", help_heading = "Reports")]
    html: Option<PathBuf>,
    /// Outcomes that fail the run as well, separated by commas.
    #[arg(long, value_name = "OUTCOMES", value_enum, value_delimiter = ',')]
    fail_on: Vec<Notable>,
}

impl ReportArguments {
    /// The files that it is written to.
    pub fn files(&self) -> [Named<'_>; 2] {
        [("--junit", self.junit.as_deref()), ("--html", self.html.as_deref())]
    }

    /// Whether standard output is for people.
    pub fn is_for_people(&self) -> bool {
        self.format == Format::Pretty
    }

    /// Whether this outcome fails the run.
    pub fn is_failure(&self, verdict: &Verdict) -> bool {
        verdict.is_failure() || self.fail_on.iter().any(|chosen| chosen.word() == verdict.word())
    }

    /// Says why the run fails although nothing did by itself.
    pub fn say_chosen(&self, conclusion: &Conclusion) {
        if conclusion.failed_by_choice > 0 {
            let words: Vec<&str> = self.fail_on.iter().map(|chosen| chosen.word()).collect();
            warn(format!(
                "{} {}: --fail-on says that this fails the run",
                conclusion.failed_by_choice,
                words.join(" or ")
            ));
        }
    }

    /// The report that was asked for, of `total` outcomes. A file that cannot be written
    /// costs a warning, and the report is not all written. `drawing` makes the graph, for the
    /// page.
    pub fn report(
        &self,
        total: impl Into<Option<usize>>,
        environments: Vec<Environment>,
        drawing: impl FnOnce() -> Drawing,
    ) -> Report {
        let mut words: Vec<&str> = self.fail_on.iter().map(|chosen| chosen.word()).collect();
        words.sort_unstable();
        words.dedup();
        let report = Report::new(total).with_environments(environments);
        let mut report = report.fail_on(words);
        match self.format {
            Format::Pretty => report.add_output(Pretty::new()),
            Format::Tap => report.add_output(Tap::new(io::stdout())),
            Format::Json => report.add_output(Json(io::stdout())),
            Format::Github => {
                let summary = std::env::var_os("GITHUB_STEP_SUMMARY").filter(|it| !it.is_empty());
                report.add_output(Github::new(io::stdout(), summary.map(PathBuf::from)));
            }
        }
        if let Some(file) = &self.junit {
            match Junit::new(file.clone()) {
                Ok(junit) => report.add_output(junit),
                Err(e) => cannot(&mut report, file, &e),
            }
        }
        if let Some(file) = &self.html {
            match Html::new(file.clone(), drawing()) {
                Ok(html) => report.add_output(html),
                Err(e) => cannot(&mut report, file, &e),
            }
        }
        report
    }
}

fn cannot(report: &mut Report, file: &Path, e: &io::Error) {
    report.note_broken();
    warn(format!("there will be no report, nothing can be written to {}: {e}", file.display()));
}
