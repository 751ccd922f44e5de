//! Large graphs: whether the time for the list of paths grows with the paths and nothing else,
//! and whether a filter saves it.

use std::sync::Arc;
use std::time::Instant;

use qgraph::graph::Model;
use qgraph::harness::{Filter, Plan};

use crate::generated;
use crate::measure::{seconds, times_the_first};
use crate::table::Table;
use crate::{Bench, Result};

const MACHINES: usize = 20;

/// A million paths; the small graph has a tenth.
const DEVICES: usize = 25_000;

/// What is listed, and how many names that must be.
struct List {
    plan: Plan,
    paths: usize,
}

impl List {
    /// Makes the names, and returns how many seconds that took.
    fn names(&self) -> Result<f64> {
        let mut count = 0;
        let took = seconds(|| {
            for trial in self.plan.trials() {
                std::hint::black_box(trial.path.name());
                count += 1;
            }
            Ok(())
        })?;
        match count == self.paths {
            true => Ok(took),
            false => Err(format!("{count} paths where {} are", self.paths).into()),
        }
    }

    fn per_path(&self) -> Result<f64> {
        Ok(self.names()? / self.paths as f64)
    }
}

/// A million paths against a hundred thousand, against those of a machine, and against one.
pub fn many_paths(_: &Bench, table: &mut Table) -> Result {
    let list =
        |model: &Arc<Model>, filter, paths| List { plan: generated::plan(model, 1, filter), paths };
    let begun = Instant::now();
    let large = generated::model(MACHINES, DEVICES);
    let built = begun.elapsed().as_secs_f64();
    let small = generated::model(MACHINES, DEVICES / 10);
    let paths = MACHINES * DEVICES * generated::TESTS;
    let all = list(&large, Filter::default(), paths);
    let tenth = list(&small, Filter::default(), paths / 10);
    let machine = Filter::new(&[], &[], &["x/m7".to_owned()], false)?;
    let of_a_machine = list(&large, machine, paths / MACHINES);
    let name = "/x/m7/host7/bus/dev7/if7/tests7/t1".to_owned();
    let one = list(&large, Filter::new(&[name], &[], &[], true)?, 1);

    let nodes = large.nodes().count();
    table.note(&format!("a graph of {nodes} nodes, ms to build"), format!("{:.0}", built * 1e3));
    let took = all.names()?;
    table.note(&format!("its {paths} paths, ms to list"), format!("{:.0}", took * 1e3));
    let ratios = times_the_first(&mut [&mut || tenth.per_path(), &mut || all.per_path()])?;
    table.at_least("time a path, of 100,000 / of 1,000,000", ratios[0], 0.4);
    let ratios =
        times_the_first(&mut [&mut || all.names(), &mut || of_a_machine.names(), &mut || {
            one.names()
        }])?;
    table.at_least("time for all / for one of 20 machines", ratios[0], 5.0);
    table.at_least("time for all / for one name", ratios[1], 5.0);
    Ok(())
}
