//! Where the time goes: in one path, in all paths, in the list of them.

use std::ops::ControlFlow;
use std::process::{Command, Stdio};
use std::rc::Rc;
use std::time::{Duration, Instant};

use qgraph::harness::{CpuTime, Settings, Verdict, run_all};
use qgraph::qemu::{Limits, Vm};

use crate::measure::{median, seconds, times_the_first};
use crate::table::Table;
use crate::{Bench, Result};

/// How often the path is run.
const RUNS: usize = 15;

/// How long QEMU may take to quit.
const PATIENCE: Duration = Duration::from_secs(10);

/// Launch, test and end of one path, and whether asking QEMU to quit is dearer than killing it.
pub fn one_path(bench: &Bench, table: &mut Table) -> Result {
    let trial = bench.on_a_pc()?;
    let launch = || Vm::launch(&trial.emulator, trial.config(), Limits::default());
    let [mut launches, mut tests, mut ends, mut wholes] = [(); 4].map(|()| Vec::new());
    for _ in 0..RUNS {
        let begun = Instant::now();
        let vm = Rc::new(launch()?);
        launches.push(begun.elapsed().as_secs_f64());
        tests.push(seconds(|| Ok(trial.path.run(&vm)?))?);
        ends.push(seconds(|| quit(&vm))?);
        drop(vm);
        wholes.push(begun.elapsed().as_secs_f64());
    }
    let whole = median(wholes);
    table.note("one path on a PC, ms", format!("{:.1}", whole * 1e3));
    let steps = [("launch to greeting", launches), ("attach and test", tests), ("quit", ends)];
    for (step, took) in steps {
        let percent = median(took) / whole * 100.0;
        table.note(&format!("of that {step}"), format!("{percent:.0} %"));
    }

    let ratios = times_the_first(&mut [
        &mut || {
            let vm = launch()?;
            seconds(|| quit(&vm))
        },
        &mut || {
            let vm = launch()?;
            seconds(|| {
                vm.kill();
                Ok(())
            })
        },
    ])?;
    table.note("time to quit / time to kill", format!("{:.2}", ratios[0]));
    Ok(())
}

fn quit(vm: &Vm) -> Result {
    match vm.quit(PATIENCE) {
        Ok(ending) if ending.is_success() => Ok(()),
        Ok(ending) => Err(format!("QEMU {ending}").into()),
        Err(why) => Err(why.into()),
    }
}

/// `qgraph list` when all emulators are known.
pub fn list(bench: &Bench, table: &mut Table) -> Result {
    let once = || {
        let mut list = Command::new(env!("CARGO_BIN_EXE_qgraph"));
        seconds(|| match list.arg("list").stdout(Stdio::null()).status()? {
            status if status.success() => Ok(()),
            status => Err(format!("qgraph list: {status}").into()),
        })
    };
    once()?;
    let took = (0..RUNS).map(|_| once()).collect::<Result<Vec<f64>>>()?;
    let known = bench.fleet.usable.len();
    let name = format!("qgraph list, {known} emulators known, ms");
    table.note(&name, format!("{:.1}", median(took) * 1e3));
    Ok(())
}

/// Everything, as `qgraph run` does it: what of the CPU time is ours, and whether cores idle.
pub fn all_paths(bench: &Bench, table: &mut Table) -> Result {
    let settings = Settings::default();
    let cores = settings.jobs;
    let (before, begun) = (CpuTime::now()?, Instant::now());
    let (mut passed, mut others) = (0, 0);
    run_all(bench.plan.trials(), &settings, |outcome| {
        match outcome.verdict {
            Verdict::Passed => passed += 1,
            _ => others += 1,
        };
        ControlFlow::Continue(())
    });
    let wall = begun.elapsed().as_secs_f64();
    let used = CpuTime::now()?.since(before);
    let (own, qemu) = (used.own.as_secs_f64(), used.children.as_secs_f64());
    table.note(&format!("{passed} paths passed, {others} did not, s"), format!("{wall:.2}"));
    table.note("CPU time of QEMU, s", format!("{qemu:.2}"));
    let share = own / (own + qemu) * 100.0;
    table.note("all paths, CPU time of the harness / of all", format!("{share:.1} %"));
    let name = format!("all paths, wall time / (CPU time of QEMU / {cores} cores)");
    table.note(&name, format!("{:.2}", wall / (qemu / cores.get() as f64)));
    Ok(())
}
