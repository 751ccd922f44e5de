//! The argument that leaves a few paths of many, on which everything is all the same.

use super::note;
use crate::harness::{Cover, Plan};

/// How much of the graph is enough.
#[derive(clap::Args)]
pub(super) struct CoverArguments {
    /// Only a small set of paths, on which is every node (machine, driver, interface and suite),
    /// every edge, with cases every test once and every suite on each driver that has it, or, with
    /// tests, every test once on each architecture.
    #[arg(long, value_name = "nodes|edges|cases|tests", help_heading = "Filters")]
    cover: Option<Cover>,
}

impl CoverArguments {
    /// What is left of `plan`. Says how much that is.
    pub fn cover(&self, plan: Plan) -> Plan {
        let Some(cover) = self.cover else { return plan };
        let (plan, size) = plan.covering(cover);
        let least = match size.least == size.trials {
            true => "fewer cannot do".to_owned(),
            false => format!("{} is the least that might do", size.least),
        };
        note(format!("{} of {} paths; {least}", size.trials, size.of));
        plan
    }
}
