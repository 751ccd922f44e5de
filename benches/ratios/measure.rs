//! Rounds and medians, and how much CPU time this process and its children have used.

use std::time::{Duration, Instant};

use crate::Result;

/// How often things are compared.
const ROUNDS: usize = 15;

/// The middle one.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// How long `work` takes, in seconds.
pub fn seconds(work: impl FnOnce() -> Result) -> Result<f64> {
    let begun = Instant::now();
    work()?;
    Ok(begun.elapsed().as_secs_f64())
}

/// One of the things compared: does its work and says how many seconds a unit of it took.
pub type Contender<'a> = &'a mut dyn FnMut() -> Result<f64>;

/// Lets all contenders take turns, round after round, and returns for each but the first
/// how many times as long the first takes: the median over the rounds, so that what slows
/// the machine down for a while slows down both.
pub fn times_the_first(contenders: &mut [Contender]) -> Result<Vec<f64>> {
    for contender in contenders.iter_mut() {
        contender()?; // to warm up
    }
    let mut ratios = vec![Vec::new(); contenders.len()];
    for round in 0..ROUNDS {
        let mut took = vec![0.0; contenders.len()];
        // The next one begins, so that nobody is always the one after the slowest.
        for turn in 0..contenders.len() {
            let number = (turn + round) % contenders.len();
            took[number] = contenders[number]()?;
        }
        for (ratios, took_it) in ratios.iter_mut().zip(&took) {
            ratios.push(took[0] / took_it);
        }
    }
    Ok(ratios.into_iter().skip(1).map(median).collect())
}

/// CPU time, user and system together.
#[derive(Clone, Copy)]
pub struct CpuTime {
    /// Of this process.
    pub own: Duration,
    /// Of its children that have ended and were waited for, and of theirs.
    pub children: Duration,
}

impl CpuTime {
    /// That used so far, by `/proc/self/stat` (proc(5), fields 14 to 17).
    pub fn now() -> Result<Self> {
        let stat = std::fs::read_to_string("/proc/self/stat")?;
        // The name of the program, field 2, may hold anything; no `)` comes after it.
        let (_, fields) = stat.rsplit_once(')').ok_or("/proc/self/stat is strange")?;
        let ticks = fields.split_whitespace().skip(11).take(4).map(str::parse);
        let ticks = ticks.collect::<std::result::Result<Vec<u64>, _>>()?;
        let [user, system, children_user, children_system] = ticks[..] else {
            return Err("/proc/self/stat is too short".into());
        };
        let time = |ticks: u64| Duration::from_secs(ticks) / TICKS_PER_SECOND;
        Ok(Self { own: time(user + system), children: time(children_user + children_system) })
    }

    /// That used since `earlier`.
    pub fn since(self, earlier: Self) -> Self {
        Self { own: self.own - earlier.own, children: self.children - earlier.children }
    }
}

/// `USER_HZ`, which Linux keeps at 100 for programs whatever its own clock does.
const TICKS_PER_SECOND: u32 = 100;
