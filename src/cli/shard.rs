//! The arguments and variables that give this machine its share of the paths.

use std::path::PathBuf;

use anstyle::AnsiColor;

use super::files::Named;
use super::{Stop, say, warn};
use crate::harness::journal::read::{Damaged, Reader};
use crate::harness::{Durations, Plan, Shard};

/// Which share.
#[derive(clap::Args)]
pub(super) struct ShardArguments {
    /// Only the K-th of N shares, for N machines that run the paths together [default: as
    /// the environment of a CI job says, else all].
    #[arg(long, value_name = "K/N", help_heading = "Shards")]
    shard: Option<Shard>,
    /// Make shares that take as long as each other, by the times in this journal of an
    /// earlier run. All N machines must be given the same journal.
    #[arg(long, value_name = "JOURNAL", help_heading = "Shards")]
    durations: Option<PathBuf>,
}

impl ShardArguments {
    /// Whether a share was asked for by an argument.
    pub fn is_given(&self) -> bool {
        self.shard.is_some()
    }

    /// The journal that durations come from.
    pub fn durations_file(&self) -> Named<'_> {
        ("--durations", self.durations.as_deref())
    }

    /// This machine's share of `plan`, and which one it is.
    ///
    /// # Errors
    /// The environment names no share, or there is no such journal.
    pub fn share(&self, plan: Plan) -> Result<(Plan, Shard), Stop> {
        let durations = self.durations()?;
        let (shard, said) = match self.shard {
            Some(shard) => (shard, None),
            None => match Shard::from_environment(|name| std::env::var_os(name)) {
                Ok(None) => (Shard::WHOLE, None),
                Ok(Some((shard, said))) => (shard, Some(said)),
                Err(e) => return Err(Stop::Usage(e.to_string())),
            },
        };
        if shard.is_whole() {
            return Ok((plan, shard));
        }
        if let (Some(file), Some(durations)) = (&self.durations, &durations)
            && !plan.trials().any(|trial| durations.knows(&trial.path.name()))
        {
            warn(format!("{} has none of these paths; shares are of equal number", file.display()));
        }
        let share = plan.share(shard, durations.as_ref());
        if let Some(said) = said {
            let text = format!("shard {shard}, by {said}; --shard 1/1 is everything");
            say(AnsiColor::Cyan, "note", text);
        }
        if share.trials().next().is_none() {
            warn(format!("no path is left for shard {shard}: there are more shards than paths"));
        }
        Ok((share, shard))
    }

    fn durations(&self) -> Result<Option<Durations>, Stop> {
        let Some(file) = &self.durations else { return Ok(None) };
        // To go on without it would be to make other shares than the other machines do.
        let journal = Reader::open(file)
            .map_err(|e| Stop::Usage(format!("cannot read {}: {e}", file.display())))?;
        let told = |read: Result<_, Damaged>| read.inspect_err(|e| warn(e.to_string())).ok();
        Ok(Some(Durations::new(journal.filter_map(told))))
    }
}
