//! Names that no emulator at hand knows: of machines, and of devices that edges plug in. Those
//! are misspelt, or of another version of QEMU.

use std::collections::BTreeSet;
use std::fmt;

use petgraph::visit::EdgeRef;

use super::model::{Kind, Model};
use crate::qemu::Capabilities;

/// A name that no emulator at hand knows.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Unknown {
    /// The node that needs it.
    pub node: &'static str,
    /// The device type, or the machine type without its architecture.
    pub name: &'static str,
    /// Whether it is a machine type.
    pub is_machine: bool,
    /// What an emulator at hand has that is spelt much like it.
    pub near: Option<String>,
}

impl fmt::Display for Unknown {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let Self { node, name, is_machine, near } = self;
        let kind = if *is_machine { "machine" } else { "device" };
        write!(f, "{node}: no emulator at hand has the {kind} {name}")?;
        near.iter().try_for_each(|near| write!(f, "; the nearest is {near}"))
    }
}

/// How much alike two names are that one may stand for: 1 is the same.
const ALIKE: f64 = 0.9;

fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a String>) -> Option<String> {
    let alike = known.map(|it| (strsim::normalized_damerau_levenshtein(it, name), it));
    let alike = alike.filter(|(alike, _)| *alike >= ALIKE);
    alike.max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, it)| it.clone())
}

impl Model {
    /// The machine and device types of the graph that none of `emulators` has, in the order of
    /// their nodes. A machine counts only where an emulator of its architecture is among them,
    /// a device only where there is any.
    pub fn unknown_to(&self, emulators: &[&Capabilities]) -> Vec<Unknown> {
        let mut unknown = BTreeSet::new();
        for node in self.nodes().filter(|node| node.kind == Kind::Machine) {
            let Some((arch, name)) = node.name.split_once('/') else { continue };
            let known: Vec<_> = emulators.iter().filter(|it| it.arch == arch).collect();
            if !known.is_empty() && !known.iter().any(|it| it.machines.contains_key(name)) {
                let near = nearest(name, known.iter().flat_map(|it| it.machines.keys()));
                unknown.insert(Unknown { node: node.name, name, is_machine: true, near });
            }
        }
        for edge in self.graph.edge_references() {
            let node = self.graph[edge.target()].name;
            let Some(name) = edge.weight().offer.args.device_name(node) else { continue };
            let name = self.find(name).map_or(name, |entry| entry.device);
            if !emulators.is_empty() && !emulators.iter().any(|it| it.has_device(name)) {
                let near = nearest(name, emulators.iter().flat_map(|it| &it.devices));
                unknown.insert(Unknown { node, name, is_machine: false, near });
            }
        }
        unknown.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Would catch a misspelt name that is not told, a name told although an emulator has it, or
    /// one of another architecture.
    #[test]
    fn misspelt_names() {
        let has = |arch: &str, machine: &str, device: &str| Capabilities {
            arch: arch.to_owned(),
            machines: [(machine.to_owned(), Default::default())].into(),
            devices: [device.to_owned()].into(),
            ..Capabilities::default()
        };
        let model = Model::registered();
        let one = has("x86_64", "pc", "virtio-blk-pcii");
        let said: Vec<String> = model.unknown_to(&[&one]).iter().map(ToString::to_string).collect();
        let near = "virtio-blk-pci: no emulator at hand has the device virtio-blk-pci; the nearest \
                    is virtio-blk-pcii";
        assert!(said.iter().any(|it| it == near), "{said:#?}");
        assert!(said.iter().any(|it| it.starts_with("x86_64/q35: ")), "{said:#?}");
        assert!(!said.iter().any(|it| it.starts_with("arm/") || it.starts_with("x86_64/pc:")));
        let other = has("arm", "virt", "virtio-blk-pci");
        let said = model.unknown_to(&[&one, &other]);
        assert!(!said.iter().any(|it| it.node == "virtio-blk-pci" || it.node == "arm/virt"));
        assert_eq!(model.unknown_to(&[]), []);
    }
}
