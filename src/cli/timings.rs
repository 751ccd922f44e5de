//! Where the time of a run went.

use std::io::{self, Write};
use std::num::NonZeroUsize;
use std::time::Duration;

use crate::harness::{CpuTime, Totals};

/// What `--timings` prints.
pub(super) struct Timings<'a> {
    totals: &'a Totals,
    wall: Duration,
    jobs: NonZeroUsize,
}

impl<'a> Timings<'a> {
    /// Of a run that took as long as `wall`.
    pub fn new(totals: &'a Totals, wall: Duration, jobs: NonZeroUsize) -> Self {
        Self { totals, wall, jobs }
    }

    /// Prints them to standard error, where they are in no report's way.
    ///
    /// # Errors
    /// Nothing is known of CPU time.
    pub fn print(&self) -> io::Result<()> {
        let cpu = CpuTime::now()?;
        let (own, qemu) = (cpu.own.as_secs_f64(), cpu.children.as_secs_f64());
        let (wall, phases) = (self.wall.as_secs_f64(), &self.totals.phases);
        let all = phases.launch + phases.attach + phases.test + phases.leave;
        let mut text = format!(
            "\nwall time                    {wall:9.2} s, {} at once\n\
             QEMUs started                {:9}\n\
             reset and used again         {:9}\n",
            self.jobs, self.totals.launches, self.totals.resets,
        );
        for (what, seconds) in [
            ("waiting for start or reset", phases.launch),
            ("attaching", phases.attach),
            ("testing", phases.test),
            ("waiting for QEMU's end", phases.leave),
        ] {
            let share = 100.0 * seconds / all.max(f64::MIN_POSITIVE);
            text.push_str(&format!("{what:28} {seconds:9.2} s  {share:5.1} % of all workers\n"));
        }
        let cores = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        let share = 100.0 * own / (own + qemu).max(f64::MIN_POSITIVE);
        let kernel = cpu.own_in_kernel.as_secs_f64();
        let kernel_share = 100.0 * kernel / (own + qemu).max(f64::MIN_POSITIVE);
        let ratio = wall / (qemu / cores.get() as f64).max(f64::MIN_POSITIVE);
        text.push_str(&format!(
            "CPU time of QEMU             {qemu:9.2} s\n\
             CPU time of qgraph           {own:9.2} s  {share:5.1} % of both\n\
             of that in the kernel        {kernel:9.2} s  {kernel_share:5.1} % of both\n\
             wall / (QEMU's CPU / cores)  {ratio:9.2}    on {cores} cores\n",
        ));
        let _ = io::stderr().write_all(text.as_bytes());
        Ok(())
    }
}
