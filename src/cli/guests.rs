//! The options that name guests.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::Stop;
use crate::guests::{self, Choice, Guest};

/// Which guests.
#[derive(Args, Default)]
pub(super) struct GuestArguments {
    /// The tests are the guests of this folder: a build of kvm-unit-tests, images with a
    /// guests.toml, or images and standalone scripts; may be given several times.
    #[arg(long, value_name = "DIR", help_heading = "Guests")]
    pub guests: Vec<PathBuf>,
    /// Only guests of this group; may be given several times.
    #[arg(long, value_name = "GROUP", requires = "guests", help_heading = "Guests")]
    pub group: Vec<String>,
}

impl GuestArguments {
    /// Whether guests are asked for.
    pub fn are_given(&self) -> bool {
        !self.guests.is_empty()
    }

    /// The guests. `names` are words that may name some, and `limit` is how long each may take,
    /// if the user says so.
    ///
    /// # Errors
    /// There are none, or a list of them is damaged.
    pub fn read(&self, names: &[String], limit: Option<Duration>) -> Result<Vec<Guest>, Stop> {
        let choice = Choice { groups: self.group.clone(), names: names.to_vec() };
        let mut all: Vec<Guest> = Vec::new();
        for folder in &self.guests {
            let guests = guests::read(folder, &choice);
            for mut guest in guests.map_err(|e| Stop::Usage(format!("--guests: {e}")))? {
                guest.limit = limit.or(guest.limit);
                let is_same = |other: &&Guest| {
                    (&other.suite, &other.name) == (&guest.suite, &guest.name)
                        && other.arches.iter().any(|arch| guest.arches.contains(arch))
                };
                if let Some(other) = all.iter().find(is_same) {
                    return Err(Stop::Usage(format!(
                        "--guests: {} has a guest {}/{}, and so has {}; run them one after the \
                         other",
                        guest.source.display(),
                        guest.suite,
                        guest.name,
                        other.source.display()
                    )));
                }
                all.push(guest);
            }
        }
        match all.is_empty() && self.are_given() {
            true => {
                Err(Stop::Usage(format!("no guest is in the group {}", self.group.join(" or "))))
            }
            false => Ok(all),
        }
    }
}
