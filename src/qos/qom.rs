//! Properties of a device in QEMU's object model: the world outside a device, such as the
//! temperature that a sensor measures.

use std::rc::Rc;

use serde_json::{Value, json};

use crate::qemu::Vm;
use crate::{Error, Result};

/// The paths of the machine's own devices of QEMU's type `kind`, in the order in which QEMU
/// has them.
///
/// # Errors
/// QEMU does not answer.
pub fn find(vm: &Vm, kind: &str) -> Result<Vec<String>> {
    let kind = format!("child<{kind}>");
    let mut found = Vec::new();
    for parent in ["/machine", "/machine/unattached"] {
        let children = vm.qmp().execute("qom-list", json!({ "path": parent }))?;
        let children = children.as_array().into_iter().flatten();
        let names = children.filter(|child| child["type"] == kind.as_str());
        let names = names.filter_map(|child| child["name"].as_str());
        found.extend(names.map(|name| format!("{parent}/{name}")));
    }
    Ok(found)
}

/// The path of the machine's own device of QEMU's type `kind` that has a region at `base`, an
/// address in memory as the region's owner gave it. Paths of devices without a name are numbered,
/// and an option that adds a device moves the numbers.
///
/// # Errors
/// Returns an error if QEMU does not answer.
pub fn find_at(vm: &Vm, kind: &str, base: u64) -> Result<Option<String>> {
    for path in find(vm, kind)? {
        let children = vm.qmp().execute("qom-list", json!({ "path": path }))?;
        let children = children.as_array().into_iter().flatten();
        let regions = children.filter(|child| child["type"] == "child<memory-region>");
        for name in regions.filter_map(|child| child["name"].as_str()) {
            let region = json!({ "path": format!("{path}/{name}"), "property": "addr" });
            if vm.qmp().execute("qom-get", region)?.as_u64() == Some(base) {
                return Ok(Some(path));
            }
        }
    }
    Ok(None)
}

/// The path of the only one of them.
///
/// # Errors
/// There is none, or there are several.
pub fn find_one(vm: &Vm, kind: &str) -> Result<String> {
    match &mut find(vm, kind)?[..] {
        [path] => Ok(std::mem::take(path)),
        paths => Err(Error::failed(format!("wanted one device {kind}, found {paths:?}"))),
    }
}

/// A device whose properties are looked at or changed.
pub struct Peripheral {
    vm: Rc<Vm>,
    path: String,
}

impl Peripheral {
    /// The device that the command line gave this `id`.
    pub fn new(vm: &Rc<Vm>, id: &str) -> Self {
        Self { vm: vm.clone(), path: format!("/machine/peripheral/{id}") }
    }

    /// The device at `path` in QEMU's object model.
    pub fn at(vm: &Rc<Vm>, path: &str) -> Self {
        Self { vm: vm.clone(), path: path.to_owned() }
    }

    /// Its path in QEMU's object model.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The value of a property that is a number.
    ///
    /// # Errors
    /// There is none of that name.
    pub fn get(&self, property: &str) -> Result<i64> {
        let arguments = json!({ "path": self.path, "property": property });
        let value: Value = self.vm.qmp().execute("qom-get", arguments)?;
        value.as_i64().ok_or_else(|| Error::failed(format!("{property} is no number: {value}")))
    }

    /// Sets a property that is a number.
    ///
    /// # Errors
    /// There is none of that name, or the device refuses the value.
    pub fn set(&self, property: &str, value: i64) -> Result<()> {
        let arguments = json!({ "path": self.path, "property": property, "value": value });
        self.vm.qmp().execute("qom-set", arguments)?;
        Ok(())
    }
}
