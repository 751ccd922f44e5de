//! What machines need to start, or to be asked, that most do not: the one table of it.
//!
//! A machine that wants a firmware or kernel file gets a stand-in of zeroes, which no CPU
//! ever runs.

use crate::qemu::command_line::{Config, Image, RamSpec};

/// What a machine type needs.
struct Needs {
    /// The machine types.
    machines: &'static [&'static str],
    /// Options, which may name the stand-in as `{stand-in}`.
    options: &'static [&'static str],
    /// The size of the stand-in in bytes; 0 for none.
    stand_in: u64,
    /// Whether QEMU never finishes telling whose a region is.
    hides_owners: bool,
}

const NOTHING: Needs = Needs { machines: &[], options: &[], stand_in: 0, hides_owners: false };

const NEEDS: &[Needs] = &[
    // Of QEMU 7.2, `info mtree -o` does not end; without `-o` it does.
    Needs { machines: &["magnum", "pica61"], hides_owners: true, ..NOTHING },
];

fn of(machine: &str) -> &'static Needs {
    NEEDS.iter().find(|needs| needs.machines.contains(&machine)).unwrap_or(&NOTHING)
}

/// What starts the machine type `machine` with this RAM and nothing that it does not need.
pub(super) fn config(machine: &str, ram: RamSpec) -> Config {
    let needs = of(machine);
    let mut config = Config::new(machine, "", ram);
    config.options.extend(needs.options.iter().map(|&word| word.to_owned()));
    if needs.stand_in > 0 {
        config.images.push(Image { name: "stand-in", size: needs.stand_in });
    }
    config
}

/// Whether the machine type `machine` must not be asked whose its regions are.
pub(super) fn hides_owners(machine: &str) -> bool {
    of(machine).hides_owners
}
