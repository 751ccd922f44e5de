//! What one emulator has: its version, its machine types, its devices.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A version of QEMU, such as 7.2.22.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Version {
    /// The 7 of 7.2.22.
    pub major: u32,
    /// The 2 of 7.2.22.
    pub minor: u32,
    /// The 22 of 7.2.22; 50 and more on a development build.
    pub micro: u32,
}

impl Version {
    /// A version by its three numbers.
    pub const fn new(major: u32, minor: u32, micro: u32) -> Self {
        Self { major, minor, micro }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.micro)
    }
}

/// A text that is no version of the form 7.2.22.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is no version of QEMU, such as 7.2.22")]
pub struct ParseVersionError(String);

impl FromStr for Version {
    type Err = ParseVersionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let numbers: Result<Vec<u32>, _> = text.split('.').map(str::parse).collect();
        match numbers.as_deref() {
            Ok(&[major, minor, micro]) => Ok(Version { major, minor, micro }),
            _ => Err(ParseVersionError(text.to_owned())),
        }
    }
}

/// What is known of a machine type.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MachineType {
    /// The name under which the machine takes a memory backend for its RAM; `None` where
    /// it takes none.
    pub default_ram_id: Option<String>,
    /// The name that it has itself, where this is another name for it: `pc-q35-7.2` of `q35`.
    #[serde(default)]
    pub alias_of: Option<String>,
}

/// What an emulator says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capabilities {
    /// The architecture it emulates, as QEMU calls it: `x86_64`, `aarch64`, …
    pub arch: String,
    /// Its version.
    pub version: Version,
    /// What its packager added to the version, often empty.
    pub package: String,
    /// Its machine types, under all their names.
    pub machines: BTreeMap<String, MachineType>,
    /// The machine type that it takes where none is named, if there is one.
    #[serde(default)]
    pub default_machine: Option<String>,
    /// Its device types.
    pub devices: BTreeSet<String>,
}

impl Capabilities {
    /// Whether it has the machine of the node `ARCH/MACHINE`.
    pub fn has_machine(&self, node: &str) -> bool {
        node.split_once('/')
            .is_some_and(|(arch, machine)| arch == self.arch && self.machines.contains_key(machine))
    }

    /// What the machine type is called that `machine` names, if need be by another name.
    pub fn real_name<'a>(&'a self, machine: &'a str) -> &'a str {
        let known = self.machines.get(machine);
        known.and_then(|known| known.alias_of.as_deref()).unwrap_or(machine)
    }

    /// Whether it has this device type.
    pub fn has_device(&self, device: &str) -> bool {
        self.devices.contains(device)
    }
}
