//! Moves from one emulator to another, which may be another build or version: which machine type
//! both take for the same, and what the other one lacks.

use super::capabilities::{Capabilities, Version};
use super::command_line::Config;
use super::discovery::is_versioned;

/// The machine type that `machine` of `from` is on both emulators: a version of it that both
/// know, the one that `from` takes or else the one that `to` takes. Builds of one version share
/// every type.
///
/// # Errors
/// There is none: why.
pub(crate) fn machine_on_both(
    machine: &str,
    from: &Capabilities,
    to: &Capabilities,
) -> Result<String, String> {
    let release = |version: Version| (version.major, version.minor);
    let is_same = release(from.version) == release(to.version);
    let candidates = [from, to].map(|it| it.real_name(machine).to_owned());
    let holds = |name: &&String| {
        let is_known = [from, to].iter().all(|it| it.machines.contains_key(*name));
        is_known && (is_same || is_versioned(name))
    };
    if let Some(name) = candidates.iter().find(holds) {
        return Ok(name.clone());
    }
    let [here, there] = [from, to].map(|it| it.version);
    Err(match candidates.iter().find(|name| is_versioned(name)) {
        Some(name) => {
            format!("QEMU {here} and {there} know no version of {machine} together, as {name}")
        }
        None if to.machines.contains_key(machine) => format!(
            "{machine} has no versions: that its state of QEMU {here} fits {there}, nobody \
             promises"
        ),
        None => format!("QEMU {there} has no machine {machine}"),
    })
}

/// Why a machine that is started as `config` says cannot move, for a thing that `to` does not
/// have.
pub(super) fn lacks(config: &Config, from: &Capabilities, to: &Capabilities) -> Option<String> {
    if let Err(why) = machine_on_both(&config.machine, from, to) {
        return Some(why);
    }
    let devices = config.options.windows(2).filter(|pair| pair[0] == "-device");
    let types = devices.filter_map(|pair| pair[1].split(',').next());
    // A type under another name than its own is known to neither.
    let mut lost = types.filter(|ty| from.has_device(ty) && !to.has_device(ty));
    lost.next().map(|ty| format!("QEMU {} has no device {ty}", to.version))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::qemu::{MachineType, RamSpec};

    fn emulator(version: Version, machines: &[(&str, Option<&str>)]) -> Capabilities {
        let machine = |(name, alias_of): &(&str, Option<&str>)| {
            let alias_of = alias_of.map(str::to_owned);
            (name.to_string(), MachineType { alias_of, ..MachineType::default() })
        };
        let machines = machines.iter().map(machine).collect();
        Capabilities { version, machines, ..Capabilities::default() }
    }

    fn both() -> [Capabilities; 2] {
        let old = [
            ("pc", Some("pc-i440fx-7.2")),
            ("pc-i440fx-7.2", None),
            ("virt", Some("virt-7.2")),
            ("virt-7.2", None),
            ("n800", None),
            ("gone", None),
        ];
        let new = [
            ("pc", Some("pc-i440fx-11.1")),
            ("pc-i440fx-11.1", None),
            ("pc-i440fx-7.2", None),
            ("virt", Some("virt-11.1")),
            ("virt-11.1", None),
            ("n800", None),
        ];
        [emulator(Version::new(7, 2, 22), &old), emulator(Version::new(11, 1, 0), &new)]
    }

    /// Would catch a state restored in a machine of another version than it was saved in, and a
    /// fault told of a pair that nobody promises to fit.
    #[test]
    fn machines_have_one_version_on_both() {
        let [old, new] = both();
        for (from, to) in [(&old, &new), (&new, &old)] {
            assert_eq!(machine_on_both("pc", from, to).unwrap(), "pc-i440fx-7.2");
            let why = machine_on_both("virt", from, to).unwrap_err();
            assert!(why.contains("know no version of virt together"), "{why}");
            let why = machine_on_both("n800", from, to).unwrap_err();
            assert!(why.contains("n800 has no versions"), "{why}");
        }
        let why = machine_on_both("gone", &old, &new).unwrap_err();
        assert_eq!(why, "QEMU 11.1.0 has no machine gone");
        let mut build = old.clone();
        build.version.micro += 1;
        assert_eq!(machine_on_both("n800", &old, &build).unwrap(), "n800");
        assert_eq!(machine_on_both("virt", &old, &build).unwrap(), "virt-7.2");
    }

    /// Would catch a device that the other QEMU does not have told as a fault of the move.
    #[test]
    fn devices_are_on_both() {
        let [mut old, mut new] = both();
        for it in [&mut old, &mut new] {
            it.devices.insert("e1000".to_owned());
        }
        new.devices.insert("igb".to_owned());
        let mut config = Config::new("pc-i440fx-7.2", "", RamSpec::new(0, 0));
        let plug = |config: &mut Config, device: &str| {
            config.options.extend(["-device".to_owned(), device.to_owned()]);
        };
        plug(&mut config, "e1000,netdev=net");
        assert_eq!(lacks(&config, &new, &old), None);
        plug(&mut config, "igb,netdev=net");
        let why = lacks(&config, &new, &old).unwrap();
        assert_eq!(why, "QEMU 7.2.22 has no device igb");
    }
}
