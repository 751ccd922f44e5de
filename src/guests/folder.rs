//! A folder of images and standalone scripts, or one such file: what is an ELF file is an image.

use std::path::{Path, PathBuf};

use super::elf::{self, Kind};
use super::guest::{Guest, Way};
use super::read::{BadGuests, Choice, plain_name};
use super::{Convention, fixture, standalone};

/// How many files of a folder are looked at.
const MOST_FILES: usize = 10_000;

/// The guests of a folder, by the names of their files; or that of a file.
///
/// # Errors
/// Returns [`BadGuests::Read`] if the folder cannot be read.
pub(super) fn read(from: &Path, choice: &Choice) -> Result<Vec<Guest>, BadGuests> {
    let cannot = |source| BadGuests::Read { file: from.to_owned(), source };
    let (folder, mut files) = if std::fs::metadata(from).map_err(cannot)?.is_dir() {
        let entries = std::fs::read_dir(from).map_err(cannot)?.take(MOST_FILES);
        let files = entries.filter_map(|entry| Some(entry.ok()?.path()));
        (from, files.collect::<Vec<PathBuf>>())
    } else {
        (from.parent().unwrap_or(from), vec![from.to_owned()])
    };
    files.sort();
    let suite = plain_name(&folder.file_name().unwrap_or_default().to_string_lossy());
    let guest = |file: &PathBuf| {
        if let Some(kind) = elf::kind(file) {
            return Some(Ok(of_image(file, &suite, kind)));
        }
        standalone::read(file, choice).transpose()
    };
    files.iter().filter(|file| file.is_file()).filter_map(guest).collect()
}

/// A guest of which only the image is known.
pub(super) fn of_image(file: &Path, suite: &str, kind: Kind) -> Guest {
    let name = plain_name(&file.file_stem().unwrap_or_default().to_string_lossy());
    let is_x86 = kind.arches.contains(&"x86_64");
    let convention = if is_x86 { Convention::DebugExit } else { Convention::ExitLine };
    Guest {
        suite: suite.to_owned(),
        name,
        image: file.to_owned(),
        source: file.to_owned(),
        arches: kind.arches,
        machine: None,
        usual_machine: None,
        properties: String::new(),
        way: kind.way,
        smp: "1".to_owned(),
        append: None,
        fixtures: fixtures(kind.way, is_x86),
        cpu: None,
        options: Vec::new(),
        limit: None,
        accel: None,
        checks: Vec::new(),
        groups: Vec::new(),
        convention,
        skip: None,
    }
}

/// What an image gets by which it can say how it fared.
fn fixtures(way: Way, is_x86: bool) -> &'static [fixture::Fixture] {
    const PC: &[fixture::Fixture] = &[fixture::DEBUG_EXIT];
    match (way, is_x86) {
        (_, true) => PC,
        _ => &[],
    }
}
