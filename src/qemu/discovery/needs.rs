//! What machines need to start, or to be asked, that most do not: the one table of it.
//!
//! A machine that wants a firmware or kernel file gets a stand-in of zeroes, which no CPU
//! ever runs.

use crate::qemu::capabilities::Version;
use crate::qemu::command_line::{Config, Image, RamSpec};

/// What a machine type needs.
struct Needs {
    /// The machine types; the last character of one may be a `*`.
    machines: &'static [&'static str],
    /// The first version of QEMU of which this is so.
    since: Version,
    /// The first version of which it is no longer so.
    before: Version,
    /// Options, which may name the stand-in as `{stand-in}`.
    options: &'static [&'static str],
    /// The size of the stand-in in bytes; 0 for none.
    stand_in: u64,
    /// Whether QEMU never finishes telling whose a region is.
    hides_owners: bool,
}

const NOTHING: Needs = Needs {
    machines: &[],
    since: Version::new(0, 0, 0),
    before: Version::new(u32::MAX, 0, 0),
    options: &[],
    stand_in: 0,
    hides_owners: false,
};

const NEEDS: &[Needs] = &[
    // Of QEMU 7.2, `info mtree -o` does not end; without `-o` it does.
    Needs { machines: &["magnum", "pica61"], hides_owners: true, ..NOTHING },
    // So on one more in old versions; 5.2 was tried.
    Needs { machines: &["q800"], before: Version::new(7, 0, 0), hides_owners: true, ..NOTHING },
    // A boot ROM that distributions left out at first; 5.2 was tried.
    Needs {
        machines: &["npcm750-evb", "quanta-gsj"],
        before: Version::new(6, 0, 0),
        options: &["-bios", "{stand-in}"],
        stand_in: 4096,
        ..NOTHING
    },
    // Their sound chips want some audio backend, and `-nodefaults` leaves none.
    Needs {
        machines: &[
            "amigaone",
            "fuloong2e",
            "integratorcp",
            "musicpal",
            "pegasos1",
            "pegasos2",
            "q800",
            "realview-*",
            "versatileab",
            "versatilepb",
            "vexpress-*",
            "xlnx-zcu102",
        ],
        since: Version::new(8, 2, 0),
        options: &["-audio", "none"],
        ..NOTHING
    },
    // Another boot ROM that distributions leave out.
    Needs {
        machines: &["ast2700*"],
        since: Version::new(10, 1, 0),
        options: &["-bios", "{stand-in}"],
        stand_in: 4096,
        ..NOTHING
    },
];

/// Boards that have their own NIC only if the command line asks for NICs.
const NICS_ON_DEMAND: &[&str] = &[
    "highbank",
    "integratorcp",
    "kzm",
    "magnum",
    "mcf5208evb",
    "midway",
    "mipssim",
    "pica61",
    "realview-*",
    "smdkc210",
    "versatileab",
    "versatilepb",
    "vexpress-*",
];

/// Whether `machine` is that of a table, where it may end with a `*`.
fn is(machine: &str, pattern: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(start) => machine.starts_with(start),
        None => machine == pattern,
    }
}

/// Boards that refuse to start when they are asked for more than one NIC.
const ONE_NIC: &[&str] = &["mcf5208evb"];

/// Has a board that has its NIC on demand have it, unless the options say which NICs there are, and
/// asks a board that has no more than one for the first alone.
pub(crate) fn give_nic(config: &mut Config) {
    if ONE_NIC.contains(&config.machine.as_str()) {
        let mut kept = Vec::new();
        let mut words = std::mem::take(&mut config.options).into_iter();
        while let Some(word) = words.next() {
            let value = if word == "-net" { words.next() } else { None };
            if value.is_none() || !kept.contains(&word) {
                kept.push(word);
                kept.extend(value);
            }
        }
        config.options = kept;
    }
    let on_demand = NICS_ON_DEMAND.iter().any(|pattern| is(&config.machine, pattern));
    if on_demand && !config.options.iter().any(|word| word == "-net") {
        config.options.extend(["-net", "nic"].map(str::to_owned));
    }
}

/// What the machine type `machine` needs of a QEMU of this version.
fn of(machine: &str, version: Version) -> &'static Needs {
    let needed = |needs: &&Needs| {
        (needs.since..needs.before).contains(&version)
            && needs.machines.iter().any(|p| is(machine, p))
    };
    NEEDS.iter().find(needed).unwrap_or(&NOTHING)
}

/// What starts the machine type `machine` with this RAM and nothing that it does not need.
pub(crate) fn config(machine: &str, version: Version, ram: RamSpec) -> Config {
    let needs = of(machine, version);
    let mut config = Config::new(machine, "", ram);
    config.options.extend(needs.options.iter().map(|&word| word.to_owned()));
    if needs.stand_in > 0 {
        config.images.push(Image { name: "stand-in", size: needs.stand_in });
    }
    config
}

/// Whether the machine type `machine` must not be asked whose its regions are.
pub(super) fn hides_owners(machine: &str, version: Version) -> bool {
    of(machine, version).hides_owners
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Would catch options given to a machine, or a version, that does not take them.
    #[test]
    fn a_machine_gets_what_it_needs() {
        let options = |machine: &str, version: Version| {
            let config = config(machine, version, RamSpec::new(0, 0));
            (config.options.join(" "), config.images.len())
        };
        let nics = |machine: &str, word: &str| {
            let mut config = Config::new(machine, "", RamSpec::new(0, 0));
            config.options.extend(word.split_whitespace().map(str::to_owned));
            give_nic(&mut config);
            config.options.join(" ")
        };
        let (old, new) = (Version::new(7, 2, 0), Version::new(11, 1, 0));
        assert_eq!(options("vexpress-a9", new), ("-audio none".to_owned(), 0));
        assert_eq!(options("vexpress-a9", old), (String::new(), 0));
        assert_eq!(options("ast2700fc", new), ("-bios {stand-in}".to_owned(), 1));
        assert_eq!(options("virt", new), (String::new(), 0));
        assert_eq!(nics("versatilepb", ""), "-net nic");
        assert_eq!(nics("versatilepb", "-net"), "-net");
        assert_eq!(nics("virt", ""), "");
        let two = "-netdev a -net nic,a -netdev b -net nic,b";
        assert_eq!(nics("mcf5208evb", two), "-netdev a -net nic,a -netdev b");
        assert_eq!(nics("kzm", two), two);
        assert!(hides_owners("magnum", old) && !hides_owners("malta", old));
    }
}
