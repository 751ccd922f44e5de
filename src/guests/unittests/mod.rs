//! `unittests.cfg` of kvm-unit-tests: one section a guest. Its own runner hands the values to a
//! shell; here they are read as data, and what only a shell could make something of is refused.

mod build;
mod entry;
mod words;

use std::path::Path;

use ini::{Ini, ParseOption};

pub(super) use build::Build;
pub(super) use entry::{Entry, guest};

pub use words::with_time;

use super::guest::Guest;
use super::read::{BadGuests, Choice};

/// The name of the file.
pub(super) const FILE: &str = "unittests.cfg";
/// The largest file that is read, in bytes.
const MOST: u64 = 4 << 20;

/// The guests of a build of kvm-unit-tests.
///
/// # Errors
/// Returns [`BadGuests`] if the file cannot be read or is no such file.
pub(super) fn read(build: &Build, choice: &Choice) -> Result<Vec<Guest>, BadGuests> {
    let file = build.folder.join(FILE);
    let bytes = crate::files::bounded::read(&file, MOST);
    let bytes = bytes.map_err(|source| BadGuests::Read { file: file.clone(), source })?;
    let entries = entries(&String::from_utf8_lossy(&bytes));
    let entries = entries.map_err(|why| BadGuests::Format { file: file.clone(), why })?;
    if entries.is_empty() {
        return Err(BadGuests::Format { file, why: "it has no section [NAME]".to_owned() });
    }
    Ok(entries.iter().map(|entry| guest(entry, build, &file, choice)).collect())
}

/// Whether the folder has such a file.
pub(super) fn is_in(folder: &Path) -> bool {
    folder.join(FILE).is_file()
}

/// The sections of the file, in their order.
fn entries(text: &str) -> Result<Vec<Entry>, String> {
    let text = without_blocks(text)?;
    let options = ParseOption { enabled_quote: false, enabled_escape: false, ..Default::default() };
    let ini = Ini::load_from_str_opt(&text, options).map_err(|e| e.to_string())?;
    let mut entries = Vec::new();
    for (name, values) in ini.iter() {
        let Some(name) = name else { continue };
        let mut entry = Entry { name: name.to_owned(), ..Entry::default() };
        for (key, value) in values.iter() {
            entry.set(key, value);
        }
        entries.push(entry);
    }
    Ok(entries)
}

/// The text with every block `"""…"""` in one line: a backslash before a line's end joins lines,
/// as in a shell, and any other end of a line is a blank.
fn without_blocks(text: &str) -> Result<String, String> {
    const QUOTES: &str = "\"\"\"";
    let mut out = String::new();
    let mut lines = text.lines().enumerate();
    while let Some((number, line)) = lines.next() {
        let opening = line.find(QUOTES).filter(|_| !line.trim_start().starts_with('#'));
        let Some(at) = opening else {
            out.push_str(line);
            out.push('\n');
            continue;
        };
        let (before, mut rest) = (&line[..at], &line[at + QUOTES.len()..]);
        out.push_str(before);
        loop {
            if let Some(end) = rest.find(QUOTES) {
                out.push_str(&rest[..end]);
                out.push('\n');
                break;
            }
            match rest.strip_suffix('\\') {
                Some(joined) if !joined.ends_with('\\') => out.push_str(joined),
                _ => {
                    out.push_str(rest);
                    out.push(' ');
                }
            }
            let next = lines.next().ok_or_else(|| {
                format!("the block {QUOTES} that begins in line {} has no end", number + 1)
            });
            rest = next?.1;
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Would catch a value that loses its quotes or backslashes, a comment taken for a value,
    /// an older key that is lost, and the last section's keys that are.
    #[test]
    fn sections_and_their_values() {
        let text = "# [no]\n[first]\nfile = a.flat\nsmp = 2\ntest_args = 'x \"y\"'\n\
                    extra_params = -cpu max,+vmx\n#arch = i386\n\n[last]\nfile=b.flat\n\
                    qemu_params = \"\"\"-cpu max \\\n  -smp 2\n-m 1G\n\"\"\"\n\
                    disabled_if = [[ \"$TARGET\" != qemu ]]\ngroups = a nodefault\n";
        let entries = entries(text).unwrap();
        let [first, last] = &entries[..] else { panic!("{entries:?}") };
        assert_eq!((&*first.name, &*first.file, &*first.smp), ("first", "a.flat", "2"));
        assert_eq!((&*first.test_args, &*first.params), ("'x \"y\"'", "-cpu max,+vmx"));
        assert_eq!(first.arch, "");
        assert_eq!(
            last.params.split_whitespace().collect::<Vec<_>>().join(" "),
            "-cpu max -smp 2 -m 1G"
        );
        assert_eq!(last.disabled_if, "[[ \"$TARGET\" != qemu ]]");
        assert_eq!(last.groups, "a nodefault");
    }

    /// Would catch a file that is damaged and read as an empty one, or as half of it.
    #[test]
    fn a_damaged_file_has_a_message() {
        assert!(entries("[a]\nqemu_params = \"\"\"-m\n").unwrap_err().contains("line 2"));
        assert!(entries("[a\nfile = b\n").is_err());
        assert!(entries("\u{fffd}\u{0}\u{1b}[").is_err() || entries("\0").is_ok());
    }
}
