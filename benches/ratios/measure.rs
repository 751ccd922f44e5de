//! Rounds and medians.

use std::time::Instant;

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
