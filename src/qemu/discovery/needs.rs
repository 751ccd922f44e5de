//! What machines need to start that start with nothing else: the one table of it.
//!
//! A machine that wants a firmware or kernel file gets a stand-in of zeroes, which no CPU
//! ever runs.

use crate::qemu::command_line::{Config, Image, RamSpec};

/// What a machine type needs.
struct Needs {
    /// The machine type, or its beginning and a `*`.
    machine: &'static str,
    /// Options, which may name the stand-in as `{stand-in}`.
    options: &'static [&'static str],
    /// The size of the stand-in in bytes; 0 for none.
    stand_in: u64,
}

const NEEDS: &[Needs] = &[
    // They look for a firmware by a name that not every distribution has.
    Needs { machine: "mpc8544ds", options: &["-bios", "{stand-in}"], stand_in: 4096 },
    Needs { machine: "ppce500", options: &["-bios", "{stand-in}"], stand_in: 4096 },
];

/// What starts the machine type `machine` with this RAM and nothing that it does not need.
pub(super) fn config(machine: &str, ram: RamSpec) -> Config {
    let mut config = Config::new(machine, "", ram);
    let matches = |needs: &&Needs| match needs.machine.strip_suffix('*') {
        Some(start) => machine.starts_with(start),
        None => machine == needs.machine,
    };
    for needs in NEEDS.iter().filter(matches) {
        config.options.extend(needs.options.iter().map(|&word| word.to_owned()));
        if needs.stand_in > 0 {
            config.images.push(Image { name: "stand-in", size: needs.stand_in });
        }
    }
    config
}
