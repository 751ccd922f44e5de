//! Confining QEMU to the files it needs, by the kernel's Landlock: for command lines that
//! somebody else has written. What is confined is the thread that starts all children, and
//! with it every child from then on, for as long as this program lives.

use std::io;
use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, PathBeneath, PathFd, Ruleset, RulesetAttr,
    RulesetCreatedAttr, RulesetError, RulesetStatus, Scope,
};

use super::emulator::Emulator;
use super::folder::in_one_place;
use super::process::on_spawner;

/// The newest rules that are asked for; an older kernel keeps those it knows.
const ABI: ABI = landlock::ABI::V6;

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Confinement {
    /// The kernel keeps all the rules.
    Whole,
    /// An older kernel keeps some of them.
    Partial,
    /// The kernel has no Landlock, or it is switched off.
    None,
}

/// Where the libraries, firmware and modules of an emulator are, on any system.
const READABLE: [&str; 14] = [
    "/usr",
    "/lib",
    "/lib64",
    "/lib32",
    "/bin",
    "/sbin",
    "/opt",
    "/nix/store",
    "/gnu/store",
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/localtime",
    "/sys/devices/system",
    "/proc",
];
/// Devices that an emulator opens.
const DEVICES: [&str; 5] = ["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"];
/// Devices that a debugger around it opens.
const TERMINALS: [&str; 3] = ["/dev/tty", "/dev/ptmx", "/dev/pts"];

/// Confines every child from now on: it reads what `emulator` needs to run, reads and writes
/// in `folder` and in the folders that machines share, and neither listens nor connects by TCP. Behind a wrapper, which keeps files of
/// its own, temporary files can be written as well.
///
/// # Errors
/// The kernel has Landlock and refuses the rules, or the thread could not be reached.
pub fn confine(emulator: &Emulator, folder: &Path) -> io::Result<Confinement> {
    let mut readable: Vec<PathBuf> = READABLE.iter().map(PathBuf::from).collect();
    readable.extend(places_of(&emulator.path));
    if let Some(behind) = &emulator.behind {
        readable.extend(places_of(behind.path()));
    }
    readable.extend(emulator.module_dir().map(Path::to_owned));
    if let Some(to) = &emulator.moves_to {
        let behind = to.behind.as_ref().map(|behind| behind.path().to_owned());
        readable
            .extend([Some(to.path.clone()), behind].iter().flatten().flat_map(|it| places_of(it)));
        readable.extend(to.module_dir().map(Path::to_owned));
    }
    let libraries = std::env::var_os("LD_LIBRARY_PATH").unwrap_or_default();
    readable.extend(std::env::split_paths(&libraries).filter(|path| path.is_absolute()));
    let mut writable = vec![folder.to_owned(), in_one_place()?.to_owned()];
    let mut devices = DEVICES.to_vec();
    if let Some(wrapper) = &emulator.wrapper {
        readable.extend(places_of(wrapper.program()));
        writable.push(std::env::temp_dir());
        devices.extend(TERMINALS);
    }
    let devices: Vec<PathBuf> = devices.iter().map(PathBuf::from).collect();
    let restricted = on_spawner(move || restrict(&readable, &writable, &devices))?;
    restricted.map_err(io::Error::other)
}

/// The folders in which an emulator has what belongs to it: its own, and the one above,
/// where `share` and `lib` of an installation or the sources of a build are.
fn places_of(program: &Path) -> Vec<PathBuf> {
    let real = program.canonicalize().unwrap_or_else(|_| program.to_owned());
    let own = real.parent().map(Path::to_owned);
    let above = own.as_ref().and_then(|own| own.parent()).filter(|above| {
        let home = std::env::home_dir();
        above.components().count() > 2 && home.as_deref() != Some(*above)
    });
    let above = above.map(Path::to_owned);
    own.into_iter().chain(above).collect()
}

fn restrict(
    readable: &[PathBuf],
    writable: &[PathBuf],
    devices: &[PathBuf],
) -> Result<Confinement, RulesetError> {
    let all = AccessFs::from_all(ABI);
    let read = AccessFs::from_read(ABI);
    let mut rules = Ruleset::default()
        .handle_access(all)?
        .handle_access(AccessNet::from_all(ABI))?
        .scope(Scope::from_all(ABI))?
        .create()?;
    let device = read | AccessFs::WriteFile | AccessFs::IoctlDev;
    let lists = [(readable, read), (writable, all), (devices, device)];
    for (paths, access) in lists {
        for path in paths {
            // What is not there needs no rule.
            let Ok(opened) = PathFd::new(path) else { continue };
            rules = rules.add_rule(PathBeneath::new(opened, fitting(path, access)))?;
        }
    }
    Ok(match rules.restrict_self()?.ruleset {
        RulesetStatus::FullyEnforced => Confinement::Whole,
        RulesetStatus::PartiallyEnforced => Confinement::Partial,
        RulesetStatus::NotEnforced => Confinement::None,
    })
}

/// The part of `access` that makes sense for `path`: a file has no entries.
fn fitting(path: &Path, access: BitFlags<AccessFs>) -> BitFlags<AccessFs> {
    if path.is_dir() { access } else { access & AccessFs::from_file(ABI) }
}
