//! Shares of a plan, for several machines that run it together: which share is ours, and
//! which paths belong to it. What a path is, and how long one took, is for others to know.

use std::ffi::OsString;
use std::num::NonZeroUsize;
use std::str::FromStr;

use crate::files::sum::fnv1a;

/// More machines than anybody has; a share is looked for among all of them.
const MOST_SHARDS: usize = 10_000;

/// The environment variable that names a share, `K/N`.
pub const ENVIRONMENT: &str = "QGRAPH_SHARD";

/// One of several equal shares of a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Shard {
    /// Counted from 0.
    index: usize,
    of: NonZeroUsize,
}

/// No share is called this.
#[derive(Debug, thiserror::Error)]
pub enum BadShard {
    /// Not `K/N`.
    #[error("not a shard K/N with numbers from 1 to {MOST_SHARDS} and K at most N")]
    Text,
    /// What the environment says.
    #[error(
        "{0} in the environment name no shard: {1}; mend them, or say --shard K/N, or run \
         everything with --shard 1/1"
    )]
    Environment(String, &'static str),
}

impl Shard {
    /// All there is.
    pub const WHOLE: Self = Self { index: 0, of: NonZeroUsize::MIN };

    /// Share `number`, counted from 1, of `of`.
    pub fn new(number: usize, of: usize) -> Option<Self> {
        let of = NonZeroUsize::new(of).filter(|of| of.get() <= MOST_SHARDS)?;
        (1..=of.get()).contains(&number).then(|| Self { index: number - 1, of })
    }

    /// The share that `variable`, a way to look up the environment, gives to this machine,
    /// and the variables that said so.
    ///
    /// # Errors
    /// The variables are there, but name no share.
    pub fn from_environment(
        variable: impl Fn(&str) -> Option<OsString>,
    ) -> Result<Option<(Self, String)>, BadShard> {
        let said = |name: &str| match variable(name) {
            None => format!("{name} (not set)"),
            Some(value) => format!("{name}={}", value.to_string_lossy()),
        };
        if let Some(shard) = variable(ENVIRONMENT) {
            let shard = shard.to_str().and_then(|text| text.parse().ok());
            let bad =
                || BadShard::Environment(said(ENVIRONMENT), "it is to be K/N, with K of 1 to N");
            return Ok(Some((shard.ok_or_else(bad)?, said(ENVIRONMENT))));
        }
        for by in PAIRS {
            if variable(by.index).is_none() {
                continue;
            }
            let said = format!("{} and {}", said(by.index), said(by.total));
            let number = |name| variable(name)?.to_str()?.parse::<usize>().ok();
            let shard = || {
                let from_one = number(by.index)?.checked_sub(by.first)?.checked_add(1)?;
                Self::new(from_one, number(by.total)?)
            };
            return match shard() {
                Some(shard) => Ok(Some((shard, said))),
                None => Err(BadShard::Environment(said, by.rule)),
            };
        }
        Ok(None)
    }

    /// Whether it is all there is.
    pub fn is_whole(self) -> bool {
        self.of.get() == 1
    }

    /// How many shares there are.
    pub fn of(self) -> usize {
        self.of.get()
    }

    /// Whether it is the first share.
    pub fn is_first(self) -> bool {
        self.index == 0
    }

    /// Which of `loads` belong to it: a word for each, in their order.
    pub(crate) fn picks(self, loads: &[Load], rule: Rule) -> Vec<bool> {
        assign(loads, self.of, rule).into_iter().map(|shard| shard == self.index).collect()
    }
}

impl FromStr for Shard {
    type Err = BadShard;

    fn from_str(text: &str) -> Result<Self, BadShard> {
        let numbers = text
            .split_once('/')
            .and_then(|(number, of)| Self::new(number.parse().ok()?, of.parse().ok()?));
        numbers.ok_or(BadShard::Text)
    }
}

impl std::fmt::Display for Shard {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        write!(f, "{}/{}", self.index + 1, self.of)
    }
}

/// Two variables by which a system numbers the machines of one job.
struct Pair {
    index: &'static str,
    total: &'static str,
    /// The first index.
    first: usize,
    rule: &'static str,
}

const PAIRS: [Pair; 2] = [
    // GitLab CI, a job with `parallel:`.
    Pair {
        index: "CI_NODE_INDEX",
        total: "CI_NODE_TOTAL",
        first: 1,
        rule: "the index counts from 1 to the total",
    },
    // Kubernetes, an indexed Job. It does not tell the total to its pods.
    Pair {
        index: "JOB_COMPLETION_INDEX",
        total: "JOB_COMPLETIONS",
        first: 0,
        rule: "the index counts from 0 to the total less 1, and JOB_COMPLETIONS is for you to \
               set, to the Job's spec.completions",
    },
];

/// A path as far as shares are concerned.
#[derive(Debug, Clone)]
pub(crate) struct Load {
    /// Its name.
    pub name: String,
    /// Paths of one group can use the same running QEMU, and better stay together.
    pub group: String,
    /// How much work it is, in any unit.
    pub weight: u64,
}

/// How shares are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rule {
    /// Nobody knows how long a path takes: few of them shall move when others come and go.
    Stable,
    /// Weights are times: all shares shall end at the same time.
    LongestFirst,
}

/// Paths of one group that are never parted.
struct Chunk {
    key: u64,
    weight: u64,
    members: Vec<usize>,
}

/// A share has room for at least this many chunks, so that shares come out alike.
const CHUNKS: u64 = 8;
/// After so many paths it no longer matters that their QEMU had to be started.
const MOST_TOGETHER: u64 = 16;

/// The heaviest chunk that is made on purpose. By the stable rule it is a power of two:
/// it rarely changes with the number of paths, and everything moves when it does.
fn limit(loads: &[Load], shards: NonZeroUsize, rule: Rule) -> u64 {
    let total: u64 = loads.iter().map(|load| load.weight).sum();
    let heaviest = loads.iter().map(|load| load.weight).max().unwrap_or(0);
    let part = (total / (CHUNKS * shards.get() as u64)).max(1);
    match rule {
        Rule::Stable => (1 << part.ilog2()).min(MOST_TOGETHER * heaviest),
        Rule::LongestFirst => part,
    }
}

/// The share of each of `loads`, whatever their order: the same on every machine.
fn assign(loads: &[Load], shards: NonZeroUsize, rule: Rule) -> Vec<usize> {
    let mut chunks = chunks(loads, limit(loads, shards, rule));
    let mut filled = vec![0; shards.get()];
    let mut shares = vec![0; loads.len()];
    let total: u64 = chunks.iter().map(|chunk| chunk.weight).sum();
    let largest = chunks.iter().map(|chunk| chunk.weight).max().unwrap_or(0);
    // There is always a share in which the largest chunk has room: not all are above average.
    let room = total.div_ceil(shards.get() as u64) + largest.saturating_sub(1);
    match rule {
        Rule::Stable => chunks.sort_by_key(|chunk| chunk.key),
        Rule::LongestFirst => {
            chunks.sort_by_key(|chunk| (std::cmp::Reverse(chunk.weight), chunk.key));
        }
    }
    for chunk in chunks {
        let all = 0..shards.get();
        let share = match rule {
            // Rendezvous hashing with bounded loads: each chunk has its own order of
            // preference, whatever else there is, and takes the first share with room.
            Rule::Stable => all
                .filter(|&share| filled[share] + chunk.weight <= room)
                .max_by_key(|&share| mix(chunk.key ^ mix(share as u64 + 1))),
            Rule::LongestFirst => all.min_by_key(|&share| filled[share]),
        };
        let share = share.unwrap_or(0);
        filled[share] += chunk.weight;
        for member in chunk.members {
            shares[member] = share;
        }
    }
    shares
}

/// The groups, cut into chunks of at most `limit`, or of one path.
fn chunks(loads: &[Load], limit: u64) -> Vec<Chunk> {
    let mut order: Vec<usize> = (0..loads.len()).collect();
    order.sort_by_key(|&it| (&loads[it].group, &loads[it].name));
    let mut chunks: Vec<Chunk> = Vec::new();
    let (mut group, mut number) = (None, 0_u64);
    for it in order {
        let load = &loads[it];
        let fits = |chunk: &Chunk| chunk.weight + load.weight <= limit;
        if group == Some(&load.group) && chunks.last().is_some_and(fits) {
            let chunk = chunks.last_mut().expect("there is a last one");
            chunk.weight += load.weight;
            chunk.members.push(it);
            continue;
        }
        number = if group == Some(&load.group) { number + 1 } else { 0 };
        group = Some(&load.group);
        let key = mix(fnv1a(load.group.as_bytes()) ^ mix(number));
        chunks.push(Chunk { key, weight: load.weight, members: vec![it] });
    }
    chunks
}

/// Every bit of the result depends on every bit of `x` (the finaliser of SplitMix64).
fn mix(x: u64) -> u64 {
    let x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests;
