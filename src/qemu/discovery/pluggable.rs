//! The device types that a user can plug in, as one emulator says of itself: on which kind of
//! bus each goes, and which of its properties name something that must be there before.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::name::Name;
use crate::protocol::{Error, Result};
use crate::qemu::vm::Vm;

/// A device type that a user can plug in.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pluggable {
    /// Its QOM type, as `-device` takes it.
    #[serde(rename = "type")]
    pub ty: Name,
    /// The kind of bus that it goes on, in QEMU's words, such as `PCI` or `usb-bus`; empty if on
    /// none.
    pub bus: Name,
    /// Its properties that are texts or links to other objects; none if QEMU does not survive
    /// being asked.
    pub takes: Vec<Takes>,
}

/// A property of a device type that names something else, or is a text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Takes {
    /// The property.
    pub property: Name,
    /// What it names: `drive`, `netdev`, `chardev` or `audiodev`; the QOM type for a link to an
    /// object; `str` for any other text.
    pub kind: Name,
}

impl Pluggable {
    /// What its property `name` names.
    pub fn takes(&self, name: &str) -> Option<&Name> {
        self.takes.iter().find(|takes| takes.property == *name).map(|takes| &takes.kind)
    }
}

/// The device types in the text that the monitor answers to `device_add help`.
fn listed(text: &str) -> Vec<Pluggable> {
    let line = |line: &str| {
        let (name, rest) = line.trim_end().strip_prefix("name \"")?.split_once('"')?;
        let bus = rest.strip_prefix(", bus ").unwrap_or_default();
        let bus = bus.split(',').next().unwrap_or_default();
        Some(Pluggable { ty: name.into(), bus: bus.into(), takes: Vec::new() })
    };
    let mut all: Vec<Pluggable> = text.lines().filter_map(line).collect();
    // One that belongs to several categories is listed in each.
    all.sort_by(|a, b| a.ty.cmp(&b.ty));
    all.dedup_by(|a, b| a.ty == b.ty);
    all
}

/// What a property of this type and description names; `None` if it is a mere value.
fn kind<'p>(ty: &'p str, description: &str) -> Option<&'p str> {
    /// QEMU's descriptions of properties, and what these name.
    const DESCRIBED: [(&str, &str); 4] = [
        ("Node name or ID of a block device", "drive"),
        ("ID of a netdev", "netdev"),
        ("ID of a chardev", "chardev"),
        ("ID of an audiodev", "audiodev"),
    ];
    if let Some(linked) = ty.strip_prefix("link<") {
        return linked.strip_suffix('>');
    }
    let described = DESCRIBED.iter().find(|(start, _)| description.starts_with(start));
    described.map(|(_, kind)| *kind).or_else(|| (ty == "str").then_some(ty))
}

/// Asks a running machine what can be plugged into a bus. QEMU may not survive being asked for
/// the properties of a type: `again` starts the machine once more then.
///
/// # Errors
/// Returns an error if there is no answer, or the machine does not start again.
pub(super) fn ask(vm: Vm, again: impl Fn() -> Option<Vm>) -> Result<Arc<Vec<Pluggable>>> {
    let help = json!({ "command-line": "device_add help" });
    let help = vm.qmp().execute("human-monitor-command", help)?;
    let mut all = listed(help.as_str().unwrap_or_default());
    let mut vm = Some(vm);
    for device in all.iter_mut().filter(|device| !device.bus.is_empty()) {
        let Some(running) = &vm else { break };
        let arguments = json!({ "typename": &*device.ty });
        match running.qmp().execute("device-list-properties", arguments) {
            Ok(properties) => device.takes = takes(&properties),
            Err(Error::Qmp { .. }) => {}
            Err(_) => {
                running.kill();
                vm = again();
            }
        }
    }
    if let Some(vm) = vm {
        vm.kill();
    }
    Ok(Arc::new(all))
}

/// The properties that name something, of those that QEMU lists.
fn takes(properties: &Value) -> Vec<Takes> {
    let all = properties.as_array().map(Vec::as_slice).unwrap_or_default();
    let taken = all.iter().filter_map(|property| {
        let description = property["description"].as_str().unwrap_or_default();
        let kind = kind(property["type"].as_str()?, description)?;
        Some(Takes { property: property["name"].as_str()?.into(), kind: kind.into() })
    });
    taken.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Would catch a type whose bus is misread, one of several categories that is there twice,
    /// and headings that are taken for types.
    #[test]
    fn the_list_of_device_types_is_read() {
        let text = "Network devices:\r\nname \"e1000\", bus PCI, alias \"e1\", desc \"Intel, G\"\r\n\
                    \nMisc devices:\nname \"guest-loader\", desc \"x, bus y\"\nname \"e1000\", bus \
                    PCI\nname \"usb-kbd\", bus usb-bus\n";
        let all = listed(text);
        let all: Vec<_> = all.iter().map(|it| (&*it.ty, &*it.bus)).collect();
        assert_eq!(all, [("e1000", "PCI"), ("guest-loader", ""), ("usb-kbd", "usb-bus")]);
    }

    /// Would catch a property of which it is not seen that it names a back end, and a number
    /// that is taken for one.
    #[test]
    fn properties_that_name_something() {
        let property = |name: &str, ty: &str, description: Option<&str>| json!({ "name": name, "type": ty, "description": description });
        let all = json!([
            property("netdev", "str", Some("ID of a netdev to use as a backend")),
            property("memdev", "link<memory-backend>", None),
            property("serial", "str", None),
            property("addr", "int32", Some("Slot and optional function number")),
        ]);
        let device = Pluggable { takes: takes(&all), ..Pluggable::default() };
        assert_eq!(device.takes("netdev"), Some(&"netdev".into()));
        assert_eq!(device.takes("memdev"), Some(&"memory-backend".into()));
        assert_eq!(device.takes("serial"), Some(&"str".into()));
        assert_eq!(device.takes("addr"), None);
    }
}
