//! Standalone scripts, as `make standalone` of kvm-unit-tests makes them: one guest each, with
//! its image inside. The script is read and not run; its image goes to a file of the cache.

use std::io::Read;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use flate2::read::GzDecoder;

use super::guest::Guest;
use super::read::{BadGuests, Choice};
use super::unittests::{Build, Entry, guest};
use crate::files::{atomic, bounded, sum};
use crate::qemu::cache;

/// The largest script that is read, in bytes, and the largest image in one.
const MOST: u64 = 64 << 20;
const MOST_IMAGE: u64 = 256 << 20;
/// What every such script says of itself near its beginning.
const MARK: &[u8] = b"export KUT_STANDALONE=yes";

/// The guest of the script; `None` if the file is no such script.
///
/// # Errors
/// Returns [`BadGuests`] if it is one and cannot be understood.
pub(super) fn read(file: &Path, choice: &Choice) -> Result<Option<Guest>, BadGuests> {
    let mut beginning = [0; 512];
    let read = std::fs::File::open(file).and_then(|mut file| file.read(&mut beginning));
    let is_script = read.is_ok_and(|length| {
        beginning.starts_with(b"#!") && memchr::memmem::find(&beginning[..length], MARK).is_some()
    });
    if !is_script {
        return Ok(None);
    }
    let bad = |why: String| BadGuests::Format { file: file.to_owned(), why };
    let bytes = bounded::read(file, MOST);
    let bytes = bytes.map_err(|source| BadGuests::Read { file: file.to_owned(), source })?;
    let text = String::from_utf8_lossy(&bytes);
    let script = Script::of(&text).map_err(bad)?;
    let image = script.image.as_deref().map(keep).transpose().map_err(bad)?;
    let firmware = script.firmware.as_deref().map(keep).transpose().map_err(bad)?;
    let mut entry = script.entry;
    entry.file = image.map_or(String::new(), |image| image.to_string_lossy().into_owned());
    let (folder, arch) = (PathBuf::from("/"), script.arch);
    let build = Build { folder, arch, cpu: script.cpu, firmware };
    if build.arches().is_empty() {
        return Err(bad(format!("its architecture {} is not known", build.arch)));
    }
    Ok(Some(guest(&entry, &build, file, choice)))
}

/// What a script says.
struct Script {
    arch: String,
    cpu: Option<String>,
    entry: Entry,
    image: Option<Vec<u8>>,
    firmware: Option<Vec<u8>>,
}

impl Script {
    fn of(text: &str) -> Result<Self, String> {
        let value = |name: &str| {
            let mut lines = text.lines().filter_map(|line| line.strip_prefix("export "));
            let value = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
            value.map(|value| value.trim_matches('"').to_owned()).filter(|it| !it.is_empty())
        };
        let call = text.lines().rev().find(|line| line.starts_with("run "));
        let call = call.ok_or("it has no line `run …` that says what it tests")?;
        Ok(Self {
            arch: value("ARCH").ok_or("it has no line `export ARCH=…`")?,
            cpu: value("TARGET_CPU").or_else(|| value("DEFAULT_QEMU_CPU")),
            entry: entry(call)?,
            image: inside(text, "bin")?,
            firmware: inside(text, "FIRMWARE")?,
        })
    }
}

/// What the script hands to its runner: the values of `unittests.cfg`, quoted.
fn entry(call: &str) -> Result<Entry, String> {
    if call.contains("$'") {
        return Err("its values have characters in a notation that is not understood".to_owned());
    }
    let words = shlex::split(call).ok_or("its line `run …` has a quote without its other one")?;
    let word = |number: usize| words.get(number).map_or("", String::as_str);
    let behind = |text: &str, option: &str| text.trim().strip_prefix(option).map(str::to_owned);
    let value = |number, option| behind(word(number), option).unwrap_or_default();
    Ok(Entry {
        name: word(1).to_owned(),
        groups: word(2).to_owned(),
        smp: value(3, "-smp"),
        file: String::new(),
        test_args: value(5, "-append"),
        params: word(6).trim().to_owned(),
        arch: word(7).to_owned(),
        machine: word(8).to_owned(),
        check: word(9).to_owned(),
        accel: word(10).to_owned(),
        timeout: word(11).to_owned(),
        disabled_if: word(12).to_owned(),
    })
}

/// The file that the script unpacks into the variable of this name, if it does.
fn inside(text: &str, name: &str) -> Result<Option<Vec<u8>>, String> {
    let begin = format!("| zcat > ${name} ");
    let Some(at) = text.find(&begin) else { return Ok(None) };
    let lines = text[at..].lines().skip(1);
    let encoded: String = lines.take_while(|line| *line != "BIN_EOF").map(str::trim).collect();
    let packed = BASE64_STANDARD.decode(&encoded);
    let packed = packed.map_err(|e| format!("its file {name} is damaged: {e}"))?;
    let mut bytes = Vec::new();
    let read = GzDecoder::new(&packed[..]).take(MOST_IMAGE + 1).read_to_end(&mut bytes);
    read.map_err(|e| format!("its file {name} is damaged: {e}"))?;
    match bytes.len() as u64 > MOST_IMAGE {
        true => Err(format!("its file {name} is larger than {} MiB", MOST_IMAGE >> 20)),
        false => Ok(Some(bytes)),
    }
}

/// The file of the cache with these bytes.
fn keep(bytes: &[u8]) -> Result<PathBuf, String> {
    let folder = cache::folder().join("guests");
    let file = folder.join(format!("{:016x}-{}.img", sum::fnv1a(bytes), bytes.len()));
    let is_there = bounded::read(&file, MOST_IMAGE).is_ok_and(|it| it == bytes);
    if !is_there {
        let cannot = |e| format!("its image cannot be put into the cache: {e}");
        atomic::make_folder(&folder).map_err(cannot)?;
        atomic::replace(&file, bytes, 0o644).map_err(cannot)?;
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn script(call: &str) -> String {
        let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
        packed.write_all(b"image").unwrap();
        let packed = BASE64_STANDARD.encode(packed.finish().unwrap());
        format!(
            "#!/usr/bin/env bash\nexport KUT_STANDALONE=yes\nexport ARCH=x86_64\n\
             base64 -d << 'BIN_EOF' | zcat > $bin || exit 2\n{packed}\nBIN_EOF\n{call}\n"
        )
    }

    /// Would catch a value that is taken for its neighbour, or an image that is another.
    #[test]
    fn a_script_is_read() {
        let call = r"run vmexit vm\ exits -smp\ 2 $bin -append\ \'cpuid\' \ -cpu\ max x86_64 '' '' '' 30 ''";
        let script = Script::of(&script(call)).unwrap();
        let Entry { name, groups, smp, test_args, params, arch, timeout, .. } = script.entry;
        assert_eq!((&*name, &*groups, smp.trim()), ("vmexit", "vm exits", "2"));
        assert_eq!((test_args.trim(), &*params), ("'cpuid'", "-cpu max"));
        assert_eq!((&*arch, &*timeout), ("x86_64", "30"));
        assert_eq!(script.image.as_deref(), Some(&b"image"[..]));
        assert_eq!(script.firmware, None);
    }

    /// Would catch a damaged script that is run as far as it goes.
    #[test]
    fn a_damaged_script_has_a_message() {
        let why = |text: &str| Script::of(text).err().unwrap();
        assert!(why("export ARCH=x86_64\n").contains("run"));
        assert!(why("run a\n").contains("ARCH"));
        assert!(
            why(&script("run a").replace("BIN_EOF\nrun", "!\nBIN_EOF\nrun")).contains("damaged")
        );
        assert!(why(&script("run $'a\\n'")).contains("notation"));
    }
}
