//! The command line of a stranger's reproducer, made into one that QEMU is started with:
//! what belongs to the accelerator and to the connection is replaced, what has no effect is
//! left out, images that are missing get one to stand in for them, and what is not allowed
//! is refused.

use std::path::Path;

use super::allowed::{Leads, Look, Place, Policy, option};
use super::options::Parts;
use crate::qemu::{Config, Image, MIB, RamSpec};

/// The size of an image that stands in for a missing one, in bytes: a power of two, as
/// cards must have.
const STAND_IN: u64 = 64 * MIB;
/// That of a floppy disk.
const FLOPPY: u64 = 1440 << 10;

/// A command line that QEMU can be started with.
#[derive(Debug, Clone)]
pub struct Adapted {
    /// What QEMU is asked to be.
    pub config: Config,
    /// What was changed, and why.
    pub notes: Vec<String>,
    /// What is not allowed: each option, and why. With `--trust` it stays.
    pub refused: Vec<String>,
}

/// Makes a command line of these arguments. `folder` is that of the file; with `trust`,
/// nothing is refused.
pub fn adapt(arguments: &[String], folder: &Path, trust: bool) -> Adapted {
    let mut adapter = Adapter::new(Place { folder, names: &[] }, trust);
    adapter.read(arguments);
    adapter.finish()
}

/// What is wrong with the options of one of qgraph's own reproducers.
pub(super) fn objections(options: &[String], place: &Place) -> Vec<String> {
    let mut adapter = Adapter::new(*place, false);
    adapter.read(options);
    adapter.refused
}

struct Adapter<'a> {
    place: Place<'a>,
    trust: bool,
    words: Vec<String>,
    machine: Option<String>,
    images: Vec<Image>,
    notes: Vec<String>,
    refused: Vec<String>,
    nodefaults: bool,
    has_serial: bool,
    has_parallel: bool,
}

impl<'a> Adapter<'a> {
    fn new(place: Place<'a>, trust: bool) -> Self {
        Self {
            place,
            trust,
            words: Vec::new(),
            machine: None,
            images: Vec::new(),
            notes: Vec::new(),
            refused: Vec::new(),
            nodefaults: false,
            has_serial: false,
            has_parallel: false,
        }
    }

    fn read(&mut self, arguments: &[String]) {
        let mut words = arguments.iter();
        while let Some(word) = words.next() {
            let Some(name) = word.strip_prefix('-') else {
                self.positional(word);
                continue;
            };
            let name = name.strip_prefix('-').unwrap_or(name);
            match option(name) {
                Some((policy, true)) => {
                    let Some(value) = words.next() else {
                        self.notes.push(format!("-{name} is left out: its value is missing"));
                        return;
                    };
                    self.option(name, Some(value), &policy);
                }
                Some((policy, false)) => self.option(name, None, &policy),
                None => {
                    let shown = format!("-{name}");
                    let why = "it is not among the options that reproducers need".to_owned();
                    let mut unknown = vec![shown.clone()];
                    // Whether it has a value is not known.
                    if let Some(value) = words.clone().next().filter(|v| !v.starts_with('-')) {
                        unknown.push(value.clone());
                        words.next();
                    }
                    self.refuse(&unknown, why);
                }
            }
        }
    }

    /// A word that is no option: an image.
    fn positional(&mut self, word: &str) {
        if word.chars().all(|c| c.is_ascii_punctuation()) {
            if !word.is_empty() {
                self.notes.push(format!("`{word}` is left out: it is neither option nor image"));
            }
            return;
        }
        match self.image(word, STAND_IN) {
            Ok(file) => self.words.push(file),
            Err(why) => self.refuse(&[word.to_owned()], why),
        }
    }

    fn option(&mut self, name: &str, value: Option<&str>, policy: &Policy) {
        let mut shown = vec![format!("-{name}")];
        shown.extend(value.map(str::to_owned));
        match (policy, value) {
            (Policy::Keep, _) => {
                self.nodefaults |= name == "nodefaults";
                self.words.extend(shown);
            }
            (Policy::Drop(why), _) => {
                let quiet = matches!(value, Some("none" | "stdio" | "null" | "/dev/null"));
                if let Some(why) = why.filter(|_| !quiet) {
                    self.notes.push(format!("{} is left out: {why}", shown.join(" ")));
                }
            }
            (Policy::Look(look), Some(value)) => match self.look(name, value, *look) {
                Ok(words) => self.words.extend(words),
                Err(why) => self.refuse(&shown, why),
            },
            (Policy::Look(_), None) => {}
        }
    }

    /// Notes that the words are not allowed; with trust they stay.
    fn refuse(&mut self, words: &[String], why: String) {
        if self.trust {
            self.words.extend_from_slice(words);
        } else {
            self.refused.push(format!("{}: {why}", words.join(" ")));
        }
    }

    /// The words that an option becomes whose value must be looked at.
    fn look(&mut self, name: &str, value: &str, look: Look) -> Result<Vec<String>, String> {
        let same = || Ok(vec![format!("-{name}"), value.to_owned()]);
        let with = |value: String| Ok(vec![format!("-{name}"), value]);
        match look {
            Look::Machine => {
                let mut parts = Parts::read(value, "type");
                self.place.machine(&parts)?;
                for part in ["accel", "kernel-irqchip", "kernel_irqchip"] {
                    parts.remove(part);
                }
                if let Some(machine) = parts.get("type").filter(|machine| !machine.is_empty()) {
                    self.machine = Some(machine.to_owned());
                }
                if parts.iter().all(|(name, value)| name == "type" && value.is_empty()) {
                    return Ok(Vec::new());
                }
                with(parts.text().replacen("type=", "", usize::from(parts.get("type").is_some())))
            }
            Look::Cpu if value.starts_with("host") => {
                self.notes.push("-cpu host is left out: no CPU runs".to_owned());
                Ok(Vec::new())
            }
            Look::Cpu => same(),
            Look::Device => {
                self.place.device(&Parts::read(value, "driver"))?;
                same()
            }
            Look::Drive | Look::Blockdev => self.drive(name, value),
            Look::Image => {
                let size = if name.starts_with("fd") { FLOPPY } else { STAND_IN };
                with(self.image(value, size)?)
            }
            Look::Firmware => match self.place.path(value) {
                Ok(Leads::Own(path)) => with(path.to_string_lossy().into_owned()),
                _ if self.trust => same(),
                _ => {
                    self.notes.push(format!("-{name} {value} is left out: no CPU runs"));
                    Ok(Vec::new())
                }
            },
            Look::Netdev | Look::Nic => {
                let mut parts = Parts::read(value, "type");
                self.place.netdev(&parts)?;
                if parts.get("type") == Some("user") && !self.trust {
                    // What the guest sends stays inside of QEMU.
                    parts.set("restrict", "on");
                    return with(parts.text().replacen("type=", "", 1));
                }
                same()
            }
            Look::Chardev => {
                let parts = Parts::read(value, "backend");
                if self.place.chardev(&parts)? {
                    return same();
                }
                let id = parts.get("id").unwrap_or_default();
                self.notes.push(format!("-{name} {value} gives nothing and takes everything"));
                with(format!("null,id={id}"))
            }
            Look::Serial => {
                self.has_serial |= name == "serial";
                self.has_parallel |= name == "parallel";
                match value {
                    "none" | "null" => same(),
                    _ if value.starts_with("chardev:") => same(),
                    "vc" | "stdio" | "mon:stdio" | "pty" | "msmouse" => with("null".to_owned()),
                    _ => Err("it reaches the host".to_owned()),
                }
            }
            Look::Object => {
                let parts = Parts::read(value, "qom-type");
                match self.place.object(&parts)? {
                    None => same(),
                    Some(_) if self.trust => same(),
                    Some(other) => {
                        self.notes.push(format!("-{name} {value} is memory without a file"));
                        with(other.text().replacen("qom-type=", "", 1))
                    }
                }
            }
            Look::Global => {
                self.place.global(&Parts::read(value, ""))?;
                same()
            }
            Look::Audiodev => {
                let mut parts = Parts::read(value, "driver");
                if parts.get("driver") == Some("none") {
                    return same();
                }
                let kept = ["id", "model"];
                let others: Vec<String> = parts
                    .iter()
                    .map(|(name, _)| name.to_owned())
                    .filter(|name| !kept.contains(&&**name))
                    .collect();
                others.iter().for_each(|name| parts.remove(name));
                self.notes.push(format!("-{name} {value} makes no sound"));
                let rest = parts.text();
                let comma = if rest.is_empty() { "" } else { "," };
                with(format!("driver=none{comma}{rest}"))
            }
            Look::FwCfg => {
                let parts = Parts::read(value, "name");
                match parts.get("file") {
                    None => same(),
                    Some(file) => match self.place.path(file)? {
                        Leads::Own(path) => {
                            let mut parts = parts.clone();
                            parts.set("file", &path.to_string_lossy());
                            with(parts.text())
                        }
                        Leads::Nowhere => Err("its file is missing".to_owned()),
                    },
                }
            }
            Look::Fsdev => {
                self.place.fsdev(&Parts::read(value, "driver"))?;
                same()
            }
            Look::Set => {
                self.place.set(value)?;
                same()
            }
            Look::Incoming if value == "defer" => same(),
            Look::Incoming => Err("it takes a machine's state from the host".to_owned()),
        }
    }

    /// A drive: its file is that of the folder, or gets another to stand in for it.
    fn drive(&mut self, name: &str, value: &str) -> Result<Vec<String>, String> {
        let mut parts = Parts::read(value, if name == "drive" { "file" } else { "driver" });
        self.place.block(&parts)?;
        let files: Vec<(String, String)> = parts
            .iter()
            .filter(|(name, _)| matches!(name.rsplit('.').next(), Some("file" | "filename")))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        let is_floppy = parts.get("if") == Some("floppy");
        let mut changed = false;
        for (part, file) in files {
            // `file` of a `-blockdev` names another node.
            if name == "blockdev" && part.ends_with("file") {
                continue;
            }
            let other = self.image(&file, if is_floppy { FLOPPY } else { STAND_IN })?;
            if other != file {
                if other.starts_with('{') && name == "drive" {
                    parts.set("format", "raw");
                }
                parts.set(&part, &other);
                changed = true;
            }
        }
        let value = if changed { parts.text() } else { value.to_owned() };
        Ok(vec![format!("-{name}"), value])
    }

    /// What QEMU is told instead of the name of an image.
    fn image(&mut self, file: &str, size: u64) -> Result<String, String> {
        let nothing = ["null-co:", "null-aio:"];
        if file.is_empty() || nothing.iter().any(|head| file.starts_with(head)) {
            return Ok(file.to_owned());
        }
        if self.place.is_made(file) {
            return Ok(file.to_owned());
        }
        let protocol = file
            .split_once(':')
            .map(|(head, _)| head)
            .filter(|head| !head.is_empty() && !head.contains('/') && !head.contains('.'));
        if let Some(protocol) = protocol {
            if self.trust {
                return Ok(file.to_owned());
            }
            return Err(format!("an image by `{protocol}:` may reach the host"));
        }
        match self.place.path(file) {
            Ok(Leads::Own(path)) => Ok(path.to_string_lossy().into_owned()),
            Ok(Leads::Nowhere) => {
                let name = format!("stand-in-{}", self.images.len());
                self.notes.push(format!(
                    "the image {file} is missing: {} KiB of zeroes stand in for it",
                    size >> 10
                ));
                self.images.push(Image { name: name.clone().leak(), size });
                Ok(format!("{{{name}}}"))
            }
            Err(_) if self.trust => Ok(file.to_owned()),
            Err(why) => Err(why),
        }
    }

    /// A drive that a device names is not plugged in by the machine as well. Older QEMUs
    /// took `if=sd` and the like for it with a warning.
    fn unplug(&mut self) {
        let device_of = |words: &[String], id: &str| {
            words.windows(2).any(|pair| {
                pair[0] == "-device" && Parts::read(&pair[1], "driver").get("drive") == Some(id)
            })
        };
        for at in 1..self.words.len() {
            if self.words[at - 1] != "-drive" {
                continue;
            }
            let mut parts = Parts::read(&self.words[at], "file");
            let interface = parts.get("if").unwrap_or("none").to_owned();
            let used = parts.get("id").is_some_and(|id| device_of(&self.words, id));
            if used && interface != "none" {
                parts.set("if", "none");
                self.notes.push(format!(
                    "-drive {} has if=none instead of if={interface}: a device names it",
                    self.words[at]
                ));
                self.words[at] = parts.text();
            }
        }
    }

    fn finish(mut self) -> Adapted {
        self.unplug();
        let mut options: Vec<String> =
            ["-accel", "qtest", "-display", "none", "-monitor", "none"].map(str::to_owned).into();
        if !self.nodefaults {
            // Devices are as QEMU makes them; they are connected to nothing of ours.
            let missing =
                [("-serial", self.has_serial), ("-parallel", self.has_parallel)].into_iter();
            for (name, _) in missing.filter(|(_, has)| !has) {
                options.extend([name.to_owned(), "null".to_owned()]);
            }
        }
        options.append(&mut self.words);
        let mut config =
            Config::new(self.machine.as_deref().unwrap_or_default(), "", RamSpec::new(0, 0));
        config.verbatim = true;
        config.options = options;
        config.images = self.images;
        Adapted { config, notes: self.notes, refused: self.refused }
    }
}
