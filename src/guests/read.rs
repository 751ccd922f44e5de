//! Reads the guests of a folder or file, whatever kind it is.

use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};

use super::guest::Guest;
use super::unittests::{self, Build};
use super::{folder, listed};

/// Why no guests can be read.
#[derive(Debug, thiserror::Error)]
pub enum BadGuests {
    /// A file cannot be read.
    #[error("cannot read {}: {source}", file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// The kernel's word.
        source: io::Error,
    },
    /// A file is not what it should be.
    #[error("{}: {why}", file.display())]
    Format {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// There is no guest.
    #[error(
        "no guest is in {}: neither unittests.cfg (after `./configure && make` in a checkout of \
         kvm-unit-tests), nor guests.toml, nor an ELF image or standalone script",
        .0.display()
    )]
    Nothing(PathBuf),
}

/// Which guests are asked for.
#[derive(Debug, Clone, Default)]
pub struct Choice {
    /// The groups of which one must have a guest; all guests if there are none.
    pub groups: Vec<String>,
    /// Words that may be the name of a guest.
    pub names: Vec<String>,
}

impl Choice {
    pub(super) fn names_groups(&self) -> bool {
        !self.groups.is_empty()
    }

    pub(super) fn names(&self, guest: &str) -> bool {
        self.names.iter().any(|name| name.rsplit('/').next() == Some(guest))
    }

    fn wants(&self, guest: &Guest) -> bool {
        self.groups.is_empty() || guest.groups.iter().any(|group| self.groups.contains(group))
    }
}

/// The guests of a folder: a build of kvm-unit-tests, one with a `guests.toml`, or one of images
/// and standalone scripts; or of one such file.
///
/// # Errors
/// Returns [`BadGuests`] if there are none, or if the file that lists them is damaged.
pub fn read(from: &Path, choice: &Choice) -> Result<Vec<Guest>, BadGuests> {
    let from = std::path::absolute(from).unwrap_or_else(|_| from.to_owned());
    let is_unittests = from.join("config.mak").is_file() || unittests::is_in(&from);
    let guests = if from.join(listed::FILE).is_file() {
        listed::read(&from)?
    } else if is_unittests {
        unittests::read(&Build::of(&from)?, choice)?
    } else {
        folder::read(&from, choice)?
    };
    if guests.is_empty() {
        return Err(BadGuests::Nothing(from));
    }
    let mut guests: Vec<Guest> = guests.into_iter().filter(|it| choice.wants(it)).collect();
    name_apart(&mut guests);
    Ok(guests)
}

/// Gives guests of one suite that share a name names of their own.
fn name_apart(guests: &mut [Guest]) {
    let mut taken = HashSet::new();
    for guest in guests {
        let (own, mut number) = (guest.name.clone(), 2);
        while !taken.insert((guest.suite.clone(), guest.name.clone())) {
            guest.name = format!("{own}-{number}");
            number += 1;
        }
    }
}

/// The longest name, in characters.
const MOST_NAME: usize = 100;

/// A text as a part of the name of a path.
pub(super) fn plain_name(text: &str) -> String {
    let plain = |c: char| match c {
        c if c.is_ascii_alphanumeric() || "-_.+=".contains(c) => c,
        _ => '_',
    };
    let name: String = text.trim().chars().map(plain).take(MOST_NAME).collect();
    if name.is_empty() { "_".to_owned() } else { name }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Would catch a name that makes another path of a path, and a folder without guests that is
    /// taken for one in which all pass.
    #[test]
    fn names_and_nothing() {
        assert_eq!(plain_name("a/b c\u{7}é"), "a_b_c__");
        assert_eq!(plain_name(" "), "_");
        let root = tempfile::tempdir().unwrap();
        std::fs::write(root.path().join("README"), "no image").unwrap();
        let nothing = read(root.path(), &Choice::default());
        assert!(matches!(nothing, Err(BadGuests::Nothing(_))), "{nothing:?}");
        let absent = read(&root.path().join("absent"), &Choice::default());
        assert!(matches!(absent, Err(BadGuests::Read { .. })), "{absent:?}");
    }

    /// Would catch two guests of one name of which one is never run.
    #[test]
    fn guests_of_one_name_are_told_apart() {
        let root = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(root.path().join(name), text).unwrap();
        write("config.mak", "ARCH=x86_64\nTEST_DIR=x86\n");
        std::fs::create_dir(root.path().join("x86")).unwrap();
        write("x86/unittests.cfg", "[a]\nfile=a.flat\n[b]\nfile=a.flat\ngroups = g\n");
        let all = read(root.path(), &Choice::default()).unwrap();
        assert_eq!(all.iter().map(|it| &*it.name).collect::<Vec<_>>(), ["a", "b"]);
        let group = Choice { groups: vec!["g".to_owned()], names: Vec::new() };
        assert_eq!(read(&root.path().join("x86"), &group).unwrap().len(), 1);
        let mut twice = vec![all[0].clone(), all[0].clone()];
        name_apart(&mut twice);
        assert_eq!(twice[1].name, "a-2");
    }
}
