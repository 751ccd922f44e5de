//! How many QEMUs can usefully run at once. More than that only wait for each other, for
//! memory, or for files, and none gets done.

use std::num::NonZeroUsize;

use nix::sys::resource::{Resource, getrlimit};

/// How many run at once for each CPU at the most.
const FOR_EACH_CPU: usize = 32;
/// What one needs, with the next one that starts meanwhile: memory in bytes, open files here,
/// and processes and threads here and there.
const MEMORY: u64 = 200 << 20;
const FILES: u64 = 48;
const THREADS: u64 = 24;
/// What the program needs itself of files and threads.
const OWN: u64 = 64;

/// Returns how many of `wanted` can run at once, and what limits them if that is fewer.
pub fn possible_jobs(wanted: NonZeroUsize) -> (NonZeroUsize, Option<String>) {
    let cpus = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let of = |limit: u64, each: u64| limit.saturating_sub(OWN) / each;
    let limit = |resource| getrlimit(resource).map_or(u64::MAX, |(soft, _)| soft);
    let bounds = [
        ((FOR_EACH_CPU * cpus) as u64, format!("{FOR_EACH_CPU} for each CPU")),
        (available_memory() / MEMORY, format!("{} MiB of memory each", MEMORY >> 20)),
        (of(limit(Resource::RLIMIT_NOFILE), FILES), format!("{FILES} open files each, ulimit -n")),
        (of(limit(Resource::RLIMIT_NPROC), THREADS), format!("{THREADS} threads each, ulimit -u")),
    ];
    bounded(wanted, bounds)
}

fn bounded(
    wanted: NonZeroUsize,
    bounds: impl IntoIterator<Item = (u64, String)>,
) -> (NonZeroUsize, Option<String>) {
    let Some((most, why)) = bounds.into_iter().min_by_key(|(most, _)| *most) else {
        return (wanted, None);
    };
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    let most = NonZeroUsize::new(most).unwrap_or(NonZeroUsize::MIN);
    if wanted <= most {
        return (wanted, None);
    }
    let why =
        format!("{most} run at once, for {wanted} are more than this computer can do ({why})");
    (most, Some(why))
}

/// The memory that programs can still have, in bytes, as far as the kernel tells.
fn available_memory() -> u64 {
    let told = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = told.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kilobytes.map_or(u64::MAX, |kilobytes| kilobytes.saturating_mul(1024))
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn jobs(count: usize) -> NonZeroUsize {
        NonZeroUsize::new(count).unwrap()
    }

    /// Would catch a number that is bounded in silence, bounded although it is possible, or
    /// bounded to none.
    #[test]
    fn the_lowest_bound_counts_and_is_named() {
        let bounds = || [(64, "CPUs".to_owned()), (20, "memory".to_owned())];
        assert_eq!(bounded(jobs(20), bounds()), (jobs(20), None));
        let (most, why) = bounded(jobs(20_000), bounds());
        assert_eq!(most, jobs(20));
        assert!(why.is_some_and(|why| why.contains("20000") && why.contains("memory")));
        assert_eq!(bounded(jobs(2), [(0, String::new())]).0, jobs(1));
    }

    /// Would catch a limit of this computer that is read as none, or as nothing left.
    #[test]
    fn this_computer_can_run_some_but_not_all() {
        assert_eq!(possible_jobs(jobs(1)), (jobs(1), None));
        let cpus = std::thread::available_parallelism().unwrap().get();
        assert!(possible_jobs(jobs(1_000_000)).0.get() <= FOR_EACH_CPU * cpus);
        assert!(available_memory() > 1 << 20);
    }
}
