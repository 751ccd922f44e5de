//! QEMU's command line: what a path asks for ([`Config`]), and the words that ask it.

use std::os::fd::RawFd;
use std::path::Path;

use serde::{Deserialize, Deserializer, Serialize};

use super::backend::Backend;
use super::folder::Folder;

/// Where a machine has its RAM.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct RamSpec {
    /// The guest-physical address of its first byte.
    pub base: u64,
    /// How much the machine gets, in bytes.
    pub size: u64,
    /// The part that tests may use, as offsets in bytes from `base`: what firmware, device
    /// trees and the holes of the memory map leave free.
    pub usable: (u64, u64),
}

/// What stands for the size of the machine's RAM in options, in bytes.
const RAM_SIZE: &str = "{ram}";
/// One mebibyte.
pub const MIB: u64 = 1 << 20;

impl RamSpec {
    /// `size` bytes at `base`, the middle half of it for tests: boards keep firmware at
    /// the bottom and device trees at either end.
    pub const fn new(base: u64, size: u64) -> Self {
        Self { base, size, usable: (size / 4, size / 4 * 3) }
    }
}

/// A disk or card image. It lives in memory as long as the QEMU that uses it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
pub struct Image {
    /// Its name: options say `{NAME}` where its file belongs.
    pub name: &'static str,
    /// Its size in bytes. It is all zeroes at first.
    pub size: u64,
}

/// A socket that QEMU inherits: a stream, whose other end is the harness's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
pub struct Socket {
    /// Its name: options say `{NAME}` where the number of QEMU's end belongs, or, where a back
    /// end listens, its address.
    pub name: &'static str,
    /// What a line for a shell has instead of the word that names the socket: there nobody
    /// holds the other end.
    pub by_hand: &'static str,
    /// Who has the harness's end, from before QEMU starts; nobody but the test otherwise.
    #[serde(skip)]
    pub backend: Option<Backend>,
}

impl Socket {
    /// A socket whose other end the test has.
    pub const fn new(name: &'static str, by_hand: &'static str) -> Self {
        Self { name, by_hand, backend: None }
    }

    /// This socket, with a back end that serves the other end from before QEMU starts.
    pub const fn served_by(self, backend: Backend) -> Self {
        Self { backend: Some(backend), ..self }
    }

    fn placeholder(&self) -> String {
        format!("{{{}}}", self.name)
    }
}

impl<'de> Deserialize<'de> for Image {
    /// The name stays in memory: a program that reads any reads a few in its life.
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Written {
            name: String,
            size: u64,
        }
        let Written { name, size } = Written::deserialize(from)?;
        Ok(Self { name: name.leak(), size })
    }
}

impl<'de> Deserialize<'de> for Socket {
    /// The words stay in memory, as those of an [`Image`].
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Written {
            name: String,
            by_hand: String,
        }
        let Written { name, by_hand } = Written::deserialize(from)?;
        Ok(Self::new(name.leak(), by_hand.leak()))
    }
}

/// What a path asks QEMU to be: everything but the sockets and files that connect it.
/// Two equal configurations can be served by the same process.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Config {
    /// The machine type.
    pub machine: String,
    /// Properties of the machine, `a=b,c=d`; empty for none.
    pub properties: String,
    /// Its RAM.
    pub ram: RamSpec,
    /// Whether that is memory which the machine has anyway, whatever it is asked for: it is
    /// asked for none then, and none is mapped.
    #[serde(default)]
    pub ram_is_given: bool,
    /// Whether it may have QEMU's default devices; most machines run without.
    pub defaults: bool,
    /// All further options, a word each.
    pub options: Vec<String>,
    /// The images that the options name.
    pub images: Vec<Image>,
    /// The sockets that the options name.
    pub sockets: Vec<Socket>,
    /// The folders that the options name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub folders: Vec<Folder>,
    /// Whether the options are the whole command line but for what connects us to it:
    /// `machine` only says which machine they name.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub verbatim: bool,
    /// Whether the machine may move to another QEMU.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub moves: bool,
    /// The options where the machine moves to, if they are others there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub options_there: Vec<String>,
}

/// The open files that QEMU inherits, by the numbers they have there.
#[derive(Debug, Clone)]
pub struct Wiring {
    /// Its end of the qtest socket.
    pub qtest: RawFd,
    /// Whether the qtest socket is its standard input and output, for a QEMU before 7.0,
    /// which cannot take a character device for it.
    pub qtest_on_stdio: bool,
    /// Its end of the QMP socket.
    pub qmp: RawFd,
    /// The memory that is its RAM, when that is mapped, and the name it has there.
    pub ram: Option<(RawFd, String)>,
    /// The images, in the order of [`Config::images`].
    pub images: Vec<RawFd>,
    /// QEMU's ends of the sockets, in the order of [`Config::sockets`]: a number of a file each,
    /// or the address to connect to.
    pub sockets: Vec<String>,
    /// The paths of the folders, as parts of options, in the order of [`Config::folders`].
    pub folders: Vec<String>,
}

impl Config {
    /// A machine with this RAM and nothing else.
    pub fn new(machine: &str, properties: &str, ram: RamSpec) -> Self {
        Self {
            machine: machine.to_owned(),
            properties: properties.to_owned(),
            ram,
            ram_is_given: false,
            defaults: false,
            options: Vec::new(),
            images: Vec::new(),
            sockets: Vec::new(),
            folders: Vec::new(),
            verbatim: false,
            moves: false,
            options_there: Vec::new(),
        }
    }

    /// What it is asked to be where it moves to.
    pub(super) fn there(&self) -> Self {
        let mut there = self.clone();
        if !there.options_there.is_empty() {
            there.options = std::mem::take(&mut there.options_there);
        }
        there
    }

    /// Whether an option makes the memory that is the machine's RAM, of `{ram}` bytes: none is
    /// mapped then.
    pub(super) fn brings_ram(&self) -> bool {
        self.options.iter().any(|word| word.contains(RAM_SIZE))
    }

    /// Whether QEMU is told how much RAM the machine gets.
    pub(super) fn asks_for_ram(&self) -> bool {
        self.ram.size > 0 && !self.ram_is_given
    }

    fn common(&self, backend: Option<&str>) -> Vec<String> {
        if self.verbatim {
            return Vec::new();
        }
        let mut machine = self.machine.clone();
        for property in [&*self.properties].into_iter().chain(backend) {
            if !property.is_empty() {
                machine.push(',');
                machine.push_str(property);
            }
        }
        let mut words: Vec<String> =
            ["-machine", &machine, "-accel", "qtest", "-display", "none"].map(str::to_owned).into();
        if self.defaults {
            // Those that would talk to our terminal or the network.
            let none = ["-serial", "-parallel", "-monitor", "-nic"];
            words.extend(none.iter().flat_map(|&option| [option.to_owned(), "none".to_owned()]));
        } else {
            words.push("-nodefaults".to_owned());
        }
        if self.asks_for_ram() {
            // In bytes: `-m` alone would count in MiB.
            words.extend(["-m".to_owned(), format!("{}B", self.ram.size)]);
        }
        words
    }

    /// The options, with what `file` says for an image, what `path` says for a folder, and what
    /// `connected` makes of a word that names a socket.
    fn placed(
        &self,
        file: impl Fn(usize, &Image) -> String,
        path: impl Fn(usize, &Folder) -> String,
        connected: impl Fn(usize, &Socket, &str) -> String,
    ) -> Vec<String> {
        let size = self.ram.size.to_string();
        let place = |word: &String| {
            let word = &word.replace(RAM_SIZE, &size);
            let images = self.images.iter().enumerate();
            let word = images.fold(word.clone(), |word, (number, image)| {
                word.replace(&format!("{{{}}}", image.name), &file(number, image))
            });
            let folders = self.folders.iter().enumerate();
            let word = folders.fold(word, |word, (number, folder)| {
                word.replace(&format!("{{{}}}", folder.name), &path(number, folder))
            });
            let mut sockets = self.sockets.iter().enumerate();
            match sockets.find(|(_, socket)| word.contains(&socket.placeholder())) {
                Some((number, socket)) => connected(number, socket, &word),
                None => word,
            }
        };
        self.options.iter().map(place).collect()
    }

    /// The words after the program's name, for a QEMU that inherits `wiring`.
    pub fn arguments(&self, wiring: &Wiring) -> Vec<String> {
        let ram = wiring.ram.as_ref();
        let backend = ram.map(|(_, id)| format!("memory-backend={id}"));
        let mut words = self.common(backend.as_deref());
        if let Some((fd, id)) = ram {
            words.extend([
                "-object".to_owned(),
                format!(
                    "memory-backend-file,id={id},mem-path=/proc/self/fd/{fd},size={},share=on",
                    self.ram.size
                ),
            ]);
        }
        words.extend(wiring.qtest());
        words.extend(wiring.qmp());
        let file = |number, _: &Image| match wiring.images.get(number) {
            Some(fd) => format!("/proc/self/fd/{fd}"),
            None => "/dev/null".to_owned(),
        };
        let path = |number, _: &Folder| {
            wiring.folders.get(number).map_or("/nonexistent", String::as_str).to_owned()
        };
        words.extend(self.placed(file, path, |number, socket, word| {
            let there = wiring.sockets.get(number).map_or("-1", String::as_str);
            // A socket by its path stands where a file was to be inherited.
            let inherited = format!("fd={}", socket.placeholder());
            match there.starts_with("path=") {
                true => word.replace(&inherited, there),
                false => word.replace(&socket.placeholder(), there),
            }
        }));
        words
    }

    /// A line for a shell that starts the same machine, qtest on the terminal: images and folders
    /// are made in the current folder, and words that name sockets are replaced by
    /// [`Socket::by_hand`].
    pub fn pasteable(&self, emulator: &Path, module_dir: Option<&Path>) -> String {
        let mut line = String::new();
        for image in &self.images {
            line.push_str(&format!("truncate -s {} {}.img && ", image.size, image.name));
        }
        for folder in &self.folders {
            line.push_str(&format!("mkdir -p {}.dir && ", folder.name));
        }
        if let Some(folder) = module_dir {
            line.push_str(&format!("QEMU_MODULE_DIR={} ", quote(&folder.to_string_lossy())));
        }
        line.push_str(&quote(&emulator.to_string_lossy()));
        for word in self.words_on_stdio() {
            line.push(' ');
            line.push_str(&quote(&word));
        }
        line
    }

    /// The words after the program's name, for a QEMU whose qtest socket is its standard
    /// input and output. The image `NAME` is the file `NAME.img` of the current folder, the folder
    /// `NAME` is `NAME.dir` there.
    pub fn words_on_stdio(&self) -> Vec<String> {
        let qtest = ["-qtest", "stdio"].map(str::to_owned);
        let file = |_, image: &Image| format!("{}.img", image.name);
        let path = |_, folder: &Folder| format!("{}.dir", folder.name);
        let options = self.placed(file, path, |_, socket, _| socket.by_hand.to_owned());
        self.common(None).into_iter().chain(qtest).chain(options).collect()
    }
}

impl Wiring {
    /// The options that connect the qtest socket.
    fn qtest(&self) -> Vec<String> {
        if self.qtest_on_stdio {
            return ["-qtest", "stdio", "-qtest-log", "none"].map(str::to_owned).into();
        }
        vec![
            "-chardev".to_owned(),
            format!("socket,id=qtest,fd={}", self.qtest),
            "-object".to_owned(),
            // The log costs half the speed.
            "qtest,id=qtest0,chardev=qtest,log=none".to_owned(),
        ]
    }

    /// The options that connect the QMP socket.
    fn qmp(&self) -> Vec<String> {
        vec![
            "-chardev".to_owned(),
            format!("socket,id=qmp,fd={}", self.qmp),
            "-qmp".to_owned(),
            "chardev:qmp".to_owned(),
        ]
    }

    /// The words that start an emulator without any machine: with the accelerator and both
    /// sockets, or with whatever accelerator there is and QMP alone.
    pub fn no_machine(&self, with_qtest: bool) -> Vec<String> {
        let bare = ["-machine", "none", "-nodefaults", "-display", "none"];
        let mut words: Vec<String> = bare.map(str::to_owned).into();
        if with_qtest {
            words.extend(["-accel", "qtest"].map(str::to_owned));
            words.extend(self.qtest());
        }
        words.extend(self.qmp());
        words
    }
}

/// The word as a POSIX shell wants it.
pub(crate) fn quote(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_=,./:+@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> Config {
        let mut config = Config::new("virt", "gic-version=3", RamSpec::new(1 << 30, 64 * MIB));
        let options = "-drive file={sd},if=sd -netdev socket,id=net,fd={net} -fsdev path={share} \
                       -device";
        config.options = options.split(' ').chain(["x,name=a b"]).map(str::to_owned).collect();
        config.images = vec![Image { name: "sd", size: 4096 }];
        config.folders = vec![Folder { name: "share" }];
        config.sockets = vec![Socket::new("net", "hubport,id=net,hubid=0")];
        config
    }

    /// Would catch a socket, image or memory that is not handed to QEMU.
    #[test]
    fn arguments_connect_everything() {
        let wiring = Wiring {
            qtest: 7,
            qtest_on_stdio: false,
            qmp: 8,
            ram: Some((9, "mach-virt.ram".to_owned())),
            images: vec![10],
            sockets: vec!["11".to_owned()],
            folders: vec!["/tmp/a,,b".to_owned()],
        };
        let line = config().arguments(&wiring).join(" ");
        assert_eq!(
            line,
            "-machine virt,gic-version=3,memory-backend=mach-virt.ram -accel qtest -display \
             none -nodefaults -m 67108864B -object memory-backend-file,id=mach-virt.ram,\
             mem-path=/proc/self/fd/9,size=67108864,share=on -chardev socket,id=qtest,fd=7 \
             -object qtest,id=qtest0,chardev=qtest,log=none -chardev socket,id=qmp,fd=8 \
             -qmp chardev:qmp -drive file=/proc/self/fd/10,if=sd -netdev socket,id=net,fd=11 \
             -fsdev path=/tmp/a,,b -device x,name=a b"
        );
    }

    /// Would catch a line that a shell takes apart differently, or one that names a socket
    /// which is not there.
    #[test]
    fn the_line_to_paste_is_quoted() {
        let line = config().pasteable(Path::new("/opt/my qemu/q"), Some(Path::new("/c")));
        assert_eq!(
            line,
            "truncate -s 4096 sd.img && mkdir -p share.dir && QEMU_MODULE_DIR=/c '/opt/my qemu/q' \
             -machine virt,gic-version=3 -accel qtest -display none -nodefaults -m 67108864B \
             -qtest stdio -drive file=sd.img,if=sd -netdev hubport,id=net,hubid=0 \
             -fsdev path=share.dir -device 'x,name=a b'"
        );
        assert_eq!(quote("it's"), r"'it'\''s'");
        assert_eq!(quote(""), "''");
    }
}
