//! Where the registers are of a device that was plugged into a machine that runs.

use serde_json::json;

use super::description::{Access, Region};
use super::mtree::{self, Owner};
use crate::Result;
use crate::protocol::Qmp;

/// The blocks of registers, in memory and behind ports, of the device with this id and of what it
/// is made of.
///
/// # Errors
/// Returns an error if QEMU does not answer.
pub fn registers_of(qmp: &Qmp, id: &str) -> Result<Vec<Region>> {
    let question = json!({ "command-line": "info mtree -f -o" });
    let answer = qmp.execute("human-monitor-command", question)?;
    let path = format!("/machine/peripheral/{id}");
    let is_own = |owner: &Owner| match owner {
        Owner::Id(other) => *other == id,
        Owner::Path(other) => {
            other.strip_prefix(&path).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        }
        Owner::Unknown => false,
    };
    let all = mtree::regions(answer.as_str().unwrap_or_default()).into_iter();
    let own = all.filter(|(owner, it)| is_own(owner) && it.access == Access::Registers);
    Ok(own.map(|(_, region)| region).collect())
}
