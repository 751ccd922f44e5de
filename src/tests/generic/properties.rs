//! Looks at every property of a device and of the objects in it.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::protocol;
use crate::qemu::Vm;
use crate::{Error, Result};

/// How many objects of one device are looked at; no device has more, but a circle would.
const MOST_OBJECTS: usize = 500;

/// Asks for every property of the device at `device` in QEMU's object model, and of its children
/// but those that have paths of their own, as `has_own_path` says.
pub(in crate::tests) fn check(
    vm: &Vm,
    device: &str,
    has_own_path: impl Fn(&str) -> bool,
) -> Result<()> {
    let mut objects = vec![device.to_owned()];
    let mut seen: BTreeSet<String> = objects.iter().cloned().collect();
    while let Some(path) = objects.pop() {
        for (name, ty) in properties(vm, &path)? {
            let child = format!("{path}/{name}");
            let is_child = ty.starts_with("child<") && !has_own_path(&child);
            if is_child && seen.len() < MOST_OBJECTS && seen.insert(child.clone()) {
                objects.push(child);
            }
        }
    }
    Ok(())
}

/// The properties of the object at `path`, each with its type, all of which QEMU has told or
/// refused to tell in words.
fn properties(vm: &Vm, path: &str) -> Result<Vec<(String, String)>> {
    let list = vm.qmp().execute("qom-list", json!({ "path": path }))?;
    let text = |property: &Value, key: &str| property[key].as_str().map(str::to_owned);
    let listed: Option<Vec<(String, String)>> = list
        .as_array()
        .into_iter()
        .flatten()
        .map(|property| Some((text(property, "name")?, text(property, "type")?)))
        .collect();
    let listed = listed.ok_or_else(|| Error::failed(format!("qom-list of {path}: {list}")))?;
    let arguments = |name: &str| json!({ "path": path, "property": name });
    let questions: Vec<_> = listed.iter().map(|(name, _)| ("qom-get", arguments(name))).collect();
    let answers = vm.qmp().execute_all(&questions)?;
    for ((name, _), answer) in listed.iter().zip(answers) {
        match answer {
            Ok(_) => {}
            Err(protocol::Error::Qmp { desc, .. }) if !desc.trim().is_empty() => {}
            Err(e) => return Err(Error::from(e).context(format!("the property {name} of {path}"))),
        }
    }
    Ok(listed)
}
