//! How outcomes are reported: the arguments that `run` and whatever else has outcomes share.

use std::io;
use std::path::{Path, PathBuf};

use super::files::Named;
use super::warn;
use crate::graph::Drawing;
use crate::harness::report::{Github, Html, Json, Junit, Pretty, Tap};
use crate::harness::{Environment, Report};

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
}

impl ReportArguments {
    /// The files that it is written to.
    pub fn files(&self) -> [Named<'_>; 2] {
        [("--junit", self.junit.as_deref()), ("--html", self.html.as_deref())]
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
        let mut report = Report::new(total).with_environments(environments);
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
