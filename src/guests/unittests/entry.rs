//! A section of `unittests.cfg` as a guest.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::build::Build;
use super::words;
use crate::guests::guest::Guest;
use crate::guests::read::{Choice, plain_name};

/// How long a guest may take that says nothing of it.
const USUAL_LIMIT: Duration = Duration::from_secs(90);
/// The suite of all of them.
const SUITE: &str = "kvm-unit-tests";

/// A section as it is written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::guests) struct Entry {
    pub name: String,
    pub file: String,
    pub smp: String,
    pub test_args: String,
    pub params: String,
    pub groups: String,
    pub arch: String,
    pub machine: String,
    pub check: String,
    pub accel: String,
    pub timeout: String,
    pub disabled_if: String,
}

impl Entry {
    /// Takes in a key. Those of other hypervisors are left out.
    pub fn set(&mut self, key: &str, value: &str) {
        let field = match key {
            "file" => &mut self.file,
            "smp" => &mut self.smp,
            "test_args" => &mut self.test_args,
            "qemu_params" | "extra_params" => &mut self.params,
            "groups" => &mut self.groups,
            "arch" => &mut self.arch,
            "machine" => &mut self.machine,
            "check" => &mut self.check,
            "accel" => &mut self.accel,
            "timeout" => &mut self.timeout,
            "disabled_if" => &mut self.disabled_if,
            _ => return,
        };
        *field = value.trim().to_owned();
    }
}

/// The guest of an entry of a build. What cannot be understood, and what does not apply, is a
/// guest that is skipped.
pub(in crate::guests) fn guest(
    entry: &Entry,
    build: &Build,
    source: &Path,
    choice: &Choice,
) -> Guest {
    let mut guest = Guest {
        suite: SUITE.to_owned(),
        name: plain_name(&entry.name),
        image: build.folder.join(&entry.file),
        source: source.to_owned(),
        arches: build.arches(),
        machine: Some(entry.machine.clone()).filter(|it| !it.is_empty()),
        usual_machine: build.usual_machine(),
        properties: String::new(),
        way: build.way(),
        smp: "1".to_owned(),
        append: None,
        fixtures: build.fixtures(),
        cpu: build.cpu.clone(),
        options: build.options(),
        limit: Some(USUAL_LIMIT),
        accel: Some(entry.accel.clone()).filter(|it| !it.is_empty()),
        checks: Vec::new(),
        groups: entry.groups.split_whitespace().map(str::to_owned).collect(),
        convention: build.convention(),
        skip: None,
    };
    let understood = guest.understand(entry);
    let machine = guest.machine.as_deref().or(guest.usual_machine).unwrap_or_default();
    guest.add_properties(build.properties(machine));
    let name = &guest.name;
    let refused = understood.err().map(|why| format!("{} of {SUITE}: {why}", entry.name));
    let is_other = !entry.arch.is_empty() && !is_same_arch(&entry.arch, &build.arch);
    let other = is_other.then(|| format!("it is for {} alone", entry.arch));
    let no_image = entry.file.is_empty().then(|| "its entry names no file".to_owned());
    guest.skip = other.or(no_image).or(refused).or_else(|| group_that_is_left_out(&guest, choice));
    if choice.names(name) && guest.groups.iter().any(|group| group == "nodefault") {
        guest.skip = guest.skip.filter(|why| why != NODEFAULT);
    }
    guest
}

fn is_same_arch(wanted: &str, build: &str) -> bool {
    let plain = |arch: &str| if arch == "aarch64" { "arm64".to_owned() } else { arch.to_owned() };
    plain(wanted) == plain(build)
}

const NODEFAULT: &str = "it is run only if it is asked for: name it, or use --group";

/// Why a guest of one of the groups with a meaning is not run.
fn group_that_is_left_out(guest: &Guest, choice: &Choice) -> Option<String> {
    let is_in = |group: &str| guest.groups.iter().any(|it| it == group);
    let why = if is_in("nodefault") && !choice.names_groups() {
        NODEFAULT
    } else if is_in("migration") {
        "it waits for its migration, which is not done here (group migration)"
    } else if is_in("panic") {
        "it passes by a panic, which is not awaited here (group panic)"
    } else if is_in("pv-host") {
        "it needs a protected image, which is not made here (group pv-host)"
    } else {
        return None;
    };
    Some(why.to_owned())
}

impl Guest {
    fn understand(&mut self, entry: &Entry) -> Result<(), String> {
        let in_key = |key: &'static str| move |why: String| format!("{key}: {why}");
        if words::is_disabled(&entry.disabled_if).map_err(in_key("disabled_if"))? {
            return Err(format!("disabled by `{}`", entry.disabled_if));
        }
        self.smp = words::smp(&entry.smp).map_err(in_key("smp"))?;
        self.limit = Some(limit(&entry.timeout).map_err(in_key("timeout"))?);
        self.checks = checks(&entry.check).map_err(in_key("check"))?;
        let mut arguments = words::words(&entry.test_args).map_err(in_key("test_args"))?;
        let options = words::words(&entry.params).map_err(in_key("qemu_params"))?;
        if !arguments.is_empty() {
            // Its own runner writes `-append VALUE`, so that a second word is an option.
            self.append = Some(arguments.remove(0));
            self.options.append(&mut arguments);
        }
        self.take_options(options)
    }

    /// Adds options; those of the machine become the machine's.
    fn take_options(&mut self, options: Vec<String>) -> Result<(), String> {
        let mut options = options.into_iter();
        while let Some(option) = options.next() {
            match option.trim_start_matches('-') {
                "M" | "machine" if option.starts_with('-') => {
                    let value = options.next().ok_or("-machine without a value")?;
                    self.take_machine(&value);
                }
                "enable-kvm" if option.starts_with('-') => self.accel = Some("kvm".to_owned()),
                "accel" if option.starts_with('-') => {
                    self.accel = Some(options.next().ok_or("-accel without a value")?);
                }
                _ => self.options.push(option),
            }
        }
        Ok(())
    }

    fn take_machine(&mut self, value: &str) {
        for (number, part) in value.split(',').enumerate() {
            match part.split_once('=') {
                None if number == 0 => self.machine = Some(part.to_owned()),
                Some(("type", ty)) => self.machine = Some(ty.to_owned()),
                Some(("accel", accel)) => self.accel = Some(accel.to_owned()),
                _ => self.add_properties(part),
            }
        }
    }

    fn add_properties(&mut self, more: &str) {
        if !self.properties.is_empty() && !more.is_empty() {
            self.properties.push(',');
        }
        self.properties.push_str(more);
    }
}

/// A time as the program `timeout` takes it; none is the usual one.
fn limit(text: &str) -> Result<Duration, String> {
    if text.is_empty() {
        return Ok(USUAL_LIMIT);
    }
    let (number, unit) = match text.char_indices().last() {
        Some((at, c)) if c.is_ascii_alphabetic() => (&text[..at], c),
        _ => (text, 's'),
    };
    let factor = [('s', 1.0), ('m', 60.0), ('h', 3600.0), ('d', 86400.0)];
    let factor = factor.into_iter().find(|(it, _)| *it == unit).map(|(_, factor)| factor);
    let seconds = number.parse::<f64>().ok().zip(factor).map(|(number, factor)| number * factor);
    let limit = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    limit.ok_or_else(|| format!("`{text}` is no time"))
}

/// The files whose values are asked for.
fn checks(text: &str) -> Result<Vec<(PathBuf, String)>, String> {
    let check = |word: &str| {
        let parts = word.split_once('=').filter(|(file, _)| file.starts_with('/'));
        let (file, value) = parts.ok_or_else(|| format!("`{word}` is no /FILE=VALUE"))?;
        Ok((PathBuf::from(file), value.to_owned()))
    };
    text.split_whitespace().map(check).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn build(arch: &str) -> Build {
        let (folder, arch) = (PathBuf::from("/kut/x86"), arch.to_owned());
        Build { folder, arch, cpu: None, firmware: None }
    }

    fn of(keys: &[(&str, &str)], arch: &str, choice: &Choice) -> Guest {
        let mut entry = Entry { name: "t".to_owned(), ..Entry::default() };
        entry.set("file", "t.flat");
        keys.iter().for_each(|(key, value)| entry.set(key, value));
        guest(&entry, &build(arch), Path::new("/kut/x86/unittests.cfg"), choice)
    }

    /// Would catch a guest that runs on another machine or accelerator than its options say, and
    /// an option of the machine that names it twice.
    #[test]
    fn options_of_the_machine_are_the_machines() {
        let any = Choice::default();
        let params = "-M q35,kernel-irqchip=split -device edu -machine pit=off";
        let guest = of(&[("qemu_params", params)], "x86_64", &any);
        assert_eq!(guest.machine.as_deref(), Some("q35"));
        assert_eq!(guest.properties, "kernel-irqchip=split,pit=off");
        assert_eq!(guest.options, ["-device", "edu"]);
        assert!(guest.runs_on("x86_64/q35") && !guest.runs_on("x86_64/pc"));
        assert!(!guest.runs_on("i386/q35"));
        let guest = of(&[("qemu_params", "-enable-kvm -m 2048")], "x86_64", &any);
        assert_eq!((guest.accel.as_deref(), &*guest.options.join(" ")), (Some("kvm"), "-m 2048"));
        assert!(guest.lacks("tcg").unwrap().contains("kvm alone"));
        let single = of(&[("accel", "tcg,thread=single")], "x86_64", &any);
        assert_eq!(single.accel("tcg"), "tcg,thread=single");
        assert_eq!(single.accel("tcg,tb-size=1"), "tcg,tb-size=1");
        assert!(single.lacks("kvm").unwrap().contains("thread=single alone"));
    }

    /// Would catch a guest that runs although it does not apply, or is skipped without a reason.
    #[test]
    fn what_does_not_apply_is_skipped() {
        let any = Choice::default();
        let skip = |keys: &[(&str, &str)]| of(keys, "x86_64", &any).skip;
        assert_eq!(skip(&[]), None);
        assert!(skip(&[("arch", "i386")]).unwrap().contains("i386 alone"));
        assert!(skip(&[("file", "")]).unwrap().contains("no file"));
        let refused = skip(&[("smp", "$(nproc)")]).unwrap();
        assert!(refused.contains("smp: `$(nproc)` is a command substitution"), "{refused}");
        assert!(skip(&[("timeout", "soon")]).unwrap().contains("no time"));
        assert!(skip(&[("check", "x")]).unwrap().contains("/FILE=VALUE"));
        let manual = [("groups", "vmx nodefault")];
        assert_eq!(skip(&manual).as_deref(), Some(NODEFAULT));
        let group = Choice { groups: vec!["vmx".to_owned()], names: Vec::new() };
        assert_eq!(of(&manual, "x86_64", &group).skip, None);
        let named = Choice { groups: Vec::new(), names: vec!["t".to_owned()] };
        assert_eq!(of(&manual, "x86_64", &named).skip, None);
    }

    /// Would catch a limit that is lost, and an argument that loses its quotes.
    #[test]
    fn limits_and_arguments() {
        let any = Choice::default();
        let guest = of(&[("timeout", "2m"), ("test_args", "'a b'")], "x86_64", &any);
        assert_eq!(guest.limit, Some(Duration::from_secs(120)));
        assert_eq!(guest.append.as_deref(), Some("a b"));
        assert_eq!(of(&[("timeout", "0")], "x86_64", &any).limit, Some(Duration::ZERO));
        assert_eq!(of(&[], "x86_64", &any).limit, Some(USUAL_LIMIT));
    }
}
