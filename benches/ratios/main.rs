//! `cargo bench`: how fast qgraph is, as ratios within one run. Machines differ and are noisy,
//! so nothing here is held against a fixed time. A goal that is missed makes the exit status 1.
//!
//! | file | holds |
//! |---|---|
//! | `measure` | rounds, medians, and the CPU time of processes; knows no QEMU |
//! | `table` | the rows and how they are printed |
//! | `socket` | requests on one QEMU's socket, guest memory |
//! | `whole` | one path, all paths, the list |
//! | `scale` | the list of a million paths; needs no QEMU |
//!
//! `cargo bench -- WORD…` runs only the groups that are named: `ports`, `memory`, `path`,
//! `list`, `scale`, `all`.

#[path = "../../tests/generated/mod.rs"]
mod generated;
mod measure;
mod scale;
mod socket;
mod table;
mod whole;

use std::process::ExitCode;
use std::sync::Arc;

use qgraph::graph::Model;
use qgraph::harness::{Filter, Fleet, Plan, Trial};
use qgraph::qemu::Prober;

use table::Table;

/// Whatever stops a measurement.
type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error>>;

/// A group of measurements: its name, and what adds its rows.
type Group = (&'static str, fn(&Bench, &mut Table) -> Result);

const GROUPS: [Group; 6] = [
    ("ports", socket::ports),
    ("memory", socket::memory),
    ("path", whole::one_path),
    ("list", whole::list),
    ("scale", scale::many_paths),
    ("all", whole::all_paths),
];

/// What is measured on.
struct Bench {
    fleet: Fleet,
    plan: Plan,
}

impl Bench {
    /// A path for what needs an x86 PC: ports, and RAM that can be mapped.
    fn on_a_pc(&self) -> Result<Trial> {
        let pc = |trial: &Trial| matches!(trial.path.machine(), "x86_64/pc" | "x86_64/q35");
        self.plan.trials().find(pc).ok_or_else(|| {
            "there is no emulator with an x86 PC (Debian: apt install qemu-system-x86)".into()
        })
    }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if !arguments.iter().any(|word| word == "--bench") {
        println!("nothing is timed among tests; `cargo bench` does");
        return ExitCode::SUCCESS;
    }
    let wanted: Vec<&String> = arguments.iter().filter(|word| !word.starts_with('-')).collect();
    let known = |word: &&&String| GROUPS.iter().any(|(name, _)| name == *word);
    if let Some(word) = wanted.iter().find(|word| !known(word)) {
        let names = GROUPS.map(|(name, _)| name).join(", ");
        eprintln!("error: there is no group of measurements called {word}; there are {names}");
        return ExitCode::from(2);
    }

    let fleet = Fleet::gather(&[], &Prober::new(), |warning| eprintln!("warning: {warning}"));
    if let Some(why) = fleet.nothing_usable() {
        eprintln!("error: {why}");
        return ExitCode::from(2);
    }
    let model = Arc::new(Model::registered());
    let plan = Plan::new(model, fleet.usable.clone(), Filter::default());
    let bench = Bench { fleet, plan };
    let mut table = Table::begin();
    for (name, measure) in GROUPS {
        if (wanted.is_empty() || wanted.iter().any(|word| *word == name))
            && let Err(e) = measure(&bench, &mut table)
        {
            table.failed(name, &*e);
        }
    }
    if table.all_reached() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
