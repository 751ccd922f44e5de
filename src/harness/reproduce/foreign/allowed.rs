//! What a foreign file may make QEMU do: the options, devices, back ends and QMP
//! commands that reproducers need. Whatever runs programs, or reads or writes files outside
//! of the file's own folder, is not among them. It is a list of what is allowed: what is
//! not known is refused. Requests are in `requests`.

use std::path::{Path, PathBuf};

use super::options::Parts;

/// What to do about an option.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Policy {
    /// It stays as it is.
    Keep,
    /// It is left out, because it has no effect here or would be in the way: why, if that
    /// is worth telling.
    Drop(Option<&'static str>),
    /// Its value decides.
    Look(Look),
}

/// Which kind of value an option has that must be looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Look {
    Machine,
    Cpu,
    Device,
    Drive,
    Blockdev,
    /// An image for a drive.
    Image,
    /// A file for the guest's CPU, which does not run.
    Firmware,
    Netdev,
    Nic,
    Chardev,
    Serial,
    Object,
    Global,
    Audiodev,
    FwCfg,
    Fsdev,
    Set,
    Incoming,
}

/// Why options of the guest's CPU or of debugging are left out.
const DEBUGGING: &str = "it only logs or debugs";
const DISPLAY: &str = "nobody looks at a display";
const PROCESS: &str = "qgraph looks after the process";

/// Options that have a value, and what to do about them.
const VALUED: &[(&str, Policy)] = &[
    ("M", Policy::Look(Look::Machine)),
    ("machine", Policy::Look(Look::Machine)),
    ("cpu", Policy::Look(Look::Cpu)),
    ("device", Policy::Look(Look::Device)),
    ("drive", Policy::Look(Look::Drive)),
    ("blockdev", Policy::Look(Look::Blockdev)),
    ("hda", Policy::Look(Look::Image)),
    ("hdb", Policy::Look(Look::Image)),
    ("hdc", Policy::Look(Look::Image)),
    ("hdd", Policy::Look(Look::Image)),
    ("cdrom", Policy::Look(Look::Image)),
    ("fda", Policy::Look(Look::Image)),
    ("fdb", Policy::Look(Look::Image)),
    ("sd", Policy::Look(Look::Image)),
    ("mtdblock", Policy::Look(Look::Image)),
    ("pflash", Policy::Look(Look::Image)),
    ("kernel", Policy::Look(Look::Firmware)),
    ("initrd", Policy::Look(Look::Firmware)),
    ("dtb", Policy::Look(Look::Firmware)),
    ("bios", Policy::Look(Look::Firmware)),
    ("option-rom", Policy::Look(Look::Firmware)),
    ("netdev", Policy::Look(Look::Netdev)),
    ("nic", Policy::Look(Look::Nic)),
    ("net", Policy::Look(Look::Nic)),
    ("chardev", Policy::Look(Look::Chardev)),
    ("serial", Policy::Look(Look::Serial)),
    ("parallel", Policy::Look(Look::Serial)),
    ("object", Policy::Look(Look::Object)),
    ("global", Policy::Look(Look::Global)),
    ("audiodev", Policy::Look(Look::Audiodev)),
    ("audio", Policy::Look(Look::Audiodev)),
    ("fw_cfg", Policy::Look(Look::FwCfg)),
    ("fsdev", Policy::Look(Look::Fsdev)),
    ("set", Policy::Look(Look::Set)),
    ("incoming", Policy::Look(Look::Incoming)),
    ("m", Policy::Keep),
    ("smp", Policy::Keep),
    ("numa", Policy::Keep),
    ("boot", Policy::Keep),
    ("vga", Policy::Keep),
    ("rtc", Policy::Keep),
    ("name", Policy::Keep),
    ("uuid", Policy::Keep),
    ("action", Policy::Keep),
    ("watchdog", Policy::Keep),
    ("watchdog-action", Policy::Keep),
    ("prom-env", Policy::Keep),
    ("usbdevice", Policy::Keep),
    ("soundhw", Policy::Keep),
    ("overcommit", Policy::Keep),
    ("loadvm", Policy::Keep),
    ("k", Policy::Keep),
    ("g", Policy::Keep),
    ("accel", Policy::Drop(None)),
    ("qtest", Policy::Drop(None)),
    ("qtest-log", Policy::Drop(None)),
    ("display", Policy::Drop(None)),
    ("monitor", Policy::Drop(None)),
    ("qmp", Policy::Drop(Some("qgraph has the monitor"))),
    ("qmp-pretty", Policy::Drop(Some("qgraph has the monitor"))),
    ("mon", Policy::Drop(Some("qgraph has the monitor"))),
    ("append", Policy::Drop(Some("no CPU runs"))),
    ("icount", Policy::Drop(Some("no CPU runs"))),
    ("semihosting-config", Policy::Drop(Some("no CPU runs"))),
    ("L", Policy::Drop(Some("QEMU finds its own firmware"))),
    ("vnc", Policy::Drop(Some(DISPLAY))),
    ("spice", Policy::Drop(Some(DISPLAY))),
    ("trace", Policy::Drop(Some(DEBUGGING))),
    ("d", Policy::Drop(Some(DEBUGGING))),
    ("D", Policy::Drop(Some(DEBUGGING))),
    ("dfilter", Policy::Drop(Some(DEBUGGING))),
    ("gdb", Policy::Drop(Some(DEBUGGING))),
    ("msg", Policy::Drop(Some(DEBUGGING))),
    ("pidfile", Policy::Drop(Some(PROCESS))),
    ("sandbox", Policy::Drop(Some(PROCESS))),
    ("run-with", Policy::Drop(Some(PROCESS))),
    ("tb-size", Policy::Drop(Some("no CPU runs"))),
];

/// Options without a value.
const BARE: &[(&str, Policy)] = &[
    ("nodefaults", Policy::Keep),
    ("no-user-config", Policy::Keep),
    ("S", Policy::Keep),
    ("usb", Policy::Keep),
    ("no-reboot", Policy::Keep),
    ("no-shutdown", Policy::Keep),
    ("no-hpet", Policy::Keep),
    ("no-acpi", Policy::Keep),
    ("no-fd-bootchk", Policy::Keep),
    ("snapshot", Policy::Keep),
    ("only-migratable", Policy::Keep),
    ("preconfig", Policy::Drop(Some("qgraph starts the machine at once"))),
    ("nographic", Policy::Drop(None)),
    ("full-screen", Policy::Drop(None)),
    ("curses", Policy::Drop(None)),
    ("enable-kvm", Policy::Drop(None)),
    ("semihosting", Policy::Drop(Some("no CPU runs"))),
    ("s", Policy::Drop(Some(DEBUGGING))),
    ("singlestep", Policy::Drop(Some("no CPU runs"))),
    ("daemonize", Policy::Drop(Some(PROCESS))),
];

/// What to do about the option `name`, and whether it has a value; `None` if it is not
/// known, and then it is refused.
pub(super) fn option(name: &str) -> Option<(Policy, bool)> {
    let find = |list: &[(&str, Policy)]| {
        list.iter().find(|(own, _)| *own == name).map(|(_, policy)| policy.clone())
    };
    let valued = find(VALUED).map(|policy| (policy, true));
    valued.or_else(|| find(BARE).map(|policy| (policy, false)))
}

/// Drivers of the block layer that reach nothing but the files they are given.
const BLOCK_DRIVERS: [&str; 13] = [
    "null-co",
    "null-aio",
    "raw",
    "file",
    "copy-on-read",
    "throttle",
    "quorum",
    "qcow2",
    "qed",
    "vmdk",
    "vdi",
    "vhdx",
    "vpc",
];

/// Devices that reach the host's hardware, files or network by themselves.
const HOST_DEVICES: [&str; 14] = [
    "vfio",
    "vhost",
    "usb-host",
    "usb-mtp",
    "usb-redir",
    "virtio-input-host",
    "loader",
    "guest-loader",
    "xen",
    "u2f",
    "canokey",
    "igd-passthrough",
    "ccid-card-emulated",
    "x-remote",
];

/// Properties of devices and back ends that name files, programs or sockets.
const FILE_PROPERTIES: [&str; 12] = [
    "romfile",
    "rootdir",
    "evdev",
    "file",
    "filename",
    "path",
    "mem-path",
    "sysfsdev",
    "script",
    "downscript",
    "helper",
    "database",
];

/// Objects that reach nothing outside of QEMU.
const OBJECTS: [&str; 13] = [
    "memory-backend-ram",
    "memory-backend-memfd",
    "iothread",
    "main-loop",
    "thread-context",
    "throttle-group",
    "cryptodev-backend-builtin",
    "cryptodev-backend",
    "rng-builtin",
    "rng-egd",
    "can-bus",
    "authz-simple",
    "filter-buffer",
];

/// Properties of a network that is QEMU's own, which open nothing on the host.
const USER_NET: [&str; 18] = [
    "type",
    "id",
    "net",
    "host",
    "restrict",
    "hostname",
    "dhcpstart",
    "dns",
    "domainname",
    "ipv4",
    "ipv6",
    "ipv6-prefix",
    "ipv6-prefixlen",
    "ipv6-host",
    "ipv6-dns",
    "dnssearch",
    "model",
    "macaddr",
];

/// A file of a stranger, and what is its own.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'a> {
    /// The folder in which it is.
    pub folder: &'a Path,
    /// Names in braces that stand for images, folders and sockets which qgraph makes.
    pub names: &'a [String],
}

/// What a path leads to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Leads {
    /// To a file in the own folder, or to a device that gives nothing away.
    Own(PathBuf),
    /// To nothing.
    Nowhere,
}

impl Place<'_> {
    /// Whether a word stands for what qgraph makes.
    pub(super) fn is_made(&self, word: &str) -> bool {
        self.names.iter().any(|name| word == format!("{{{name}}}"))
    }

    /// Where `path` leads.
    ///
    /// # Errors
    /// Outside of the own folder.
    pub(super) fn path(&self, path: &str) -> Result<Leads, String> {
        let harmless = ["/dev/null", "/dev/zero", "/dev/random", "/dev/urandom"];
        if harmless.contains(&path) {
            return Ok(Leads::Own(path.into()));
        }
        let Ok(real) = self.folder.join(path).canonicalize() else { return Ok(Leads::Nowhere) };
        let folder = self.folder.canonicalize().unwrap_or_else(|_| self.folder.to_owned());
        // A file of the root folder's would make everything its own.
        let is_own = real.starts_with(&folder) && folder.parent().is_some() && real.is_file();
        if is_own {
            return Ok(Leads::Own(real));
        }
        Err(format!("it names {path}, which is outside of the folder of the file"))
    }

    /// A device and its properties.
    pub(super) fn device(&self, parts: &Parts) -> Result<(), String> {
        let driver = parts.get("driver").unwrap_or_default();
        if HOST_DEVICES.iter().any(|prefix| driver.starts_with(prefix)) {
            return Err(format!("the device {driver} reaches the host"));
        }
        self.properties(parts, &["driver", "bus", "id"])
    }

    /// Properties that name no file.
    fn properties(&self, parts: &Parts, free: &[&str]) -> Result<(), String> {
        for (name, value) in parts.iter().filter(|(name, _)| !free.contains(name)) {
            let last = name.rsplit('.').next().unwrap_or(name);
            let names_file = FILE_PROPERTIES.contains(&last) && !value.is_empty();
            if (names_file || value.contains('/')) && !self.is_made(value) {
                return Err(format!("the property {name} names {value}"));
            }
        }
        Ok(())
    }

    /// A machine's properties.
    pub(super) fn machine(&self, parts: &Parts) -> Result<(), String> {
        let files = ["dumpdtb", "firmware", "kernel", "initrd", "dtb", "append"];
        if let Some((name, _)) = parts.iter().find(|(name, _)| files.contains(name)) {
            return Err(format!("the property {name} names a file"));
        }
        self.properties(parts, &["type"])
    }

    /// A setting for all devices of a kind.
    pub(super) fn global(&self, parts: &Parts) -> Result<(), String> {
        if parts.get("property").is_some_and(|name| FILE_PROPERTIES.contains(&name)) {
            return Err("it names a file".to_owned());
        }
        self.properties(parts, &[])
    }

    /// The files of a 9P device: made up by QEMU, or of a folder that qgraph makes.
    pub(super) fn fsdev(&self, parts: &Parts) -> Result<(), String> {
        match parts.get("driver").unwrap_or_default() {
            "synth" => self.properties(parts, &[]),
            "local" if parts.get("path").is_some_and(|path| self.is_made(path)) => {
                self.properties(parts, &["path"])
            }
            kind => Err(format!("files of the kind {kind} reach the host")),
        }
    }

    /// A setting for one device, or that a drive cannot be written.
    pub(super) fn set(&self, value: &str) -> Result<(), String> {
        let (name, value) = value.split_once('=').unwrap_or((value, ""));
        let mut words = name.splitn(3, '.');
        let (group, _, property) = (words.next(), words.next(), words.next().unwrap_or_default());
        match (group, property) {
            (Some("drive"), "readonly") => Ok(()),
            (Some("device"), _) if FILE_PROPERTIES.contains(&property) || value.contains('/') => {
                Err(format!("the property {property} names {value}"))
            }
            (Some("device"), _) => Ok(()),
            _ => Err("it changes something else than a device".to_owned()),
        }
    }

    /// An object; `None` if QEMU may have it as it is, else what it becomes.
    pub(super) fn object(&self, parts: &Parts) -> Result<Option<Parts>, String> {
        let kind = parts.get("qom-type").unwrap_or_default();
        if kind == "memory-backend-file" && parts.get("mem-path").is_none_or(|p| !self.is_made(p)) {
            let mut own = parts.clone();
            for name in ["mem-path", "pmem", "readonly", "align", "rom", "discard-data", "offset"] {
                own.remove(name);
            }
            let text = own.text().replacen("memory-backend-file", "memory-backend-memfd", 1);
            return Ok(Some(Parts::read(&text, "qom-type")));
        }
        let entropy = ["/dev/random", "/dev/urandom"];
        if kind == "rng-random" && parts.get("filename").is_none_or(|f| entropy.contains(&f)) {
            return Ok(None);
        }
        if kind == "secret" && parts.get("file").is_none() {
            return Ok(None);
        }
        if kind == "memory-backend-file" || OBJECTS.contains(&kind) {
            self.properties(parts, &["qom-type", "id"])?;
            return Ok(None);
        }
        Err(format!("the object {kind} is not among those that reproducers need"))
    }

    /// A network.
    pub(super) fn netdev(&self, parts: &Parts) -> Result<(), String> {
        match parts.get("type").unwrap_or_default() {
            "none" | "nic" | "hubport" => Ok(()),
            "user" => match parts.iter().find(|(name, _)| !USER_NET.contains(name)) {
                Some((name, _)) => Err(format!("the network's property {name} reaches the host")),
                None => Ok(()),
            },
            "socket" if parts.get("fd").is_some_and(|fd| self.is_made(fd)) => Ok(()),
            kind => Err(format!("a network of the kind {kind} reaches the host")),
        }
    }

    /// The driver and the further parts of a drive, but not its file.
    pub(super) fn block(&self, parts: &Parts) -> Result<(), String> {
        for (name, value) in parts.iter() {
            let last = name.rsplit('.').next().unwrap_or(name);
            let is_driver = last == "driver" || name == "format";
            if is_driver && !BLOCK_DRIVERS.contains(&value) {
                return Err(format!("the block driver {value} may reach the host"));
            }
            if !matches!(last, "file" | "filename") && value.contains('/') {
                return Err(format!("its part {name} names {value}"));
            }
        }
        Ok(())
    }

    /// A character device. `Ok(false)`: one that gives nothing takes its place.
    pub(super) fn chardev(&self, parts: &Parts) -> Result<bool, String> {
        match parts.get("backend").unwrap_or_default() {
            "null" | "ringbuf" | "memory" | "msmouse" | "wctablet" | "testdev" => Ok(true),
            "vc" | "stdio" | "pty" | "console" | "spicevmc" | "spiceport" | "braille" => Ok(false),
            "socket" if parts.get("fd").is_some_and(|fd| self.is_made(fd)) => Ok(true),
            kind => Err(format!("a character device of the kind {kind} reaches the host")),
        }
    }
}
