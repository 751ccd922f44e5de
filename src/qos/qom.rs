//! Properties of a device in QEMU's object model: the world outside a device, such as the
//! temperature that a sensor measures.

use std::rc::Rc;

use serde_json::{Value, json};

use crate::qemu::Vm;
use crate::{Error, Result};

/// A device that the command line gave an `id`.
pub struct Peripheral {
    vm: Rc<Vm>,
    path: String,
}

impl Peripheral {
    /// The device with this `id`.
    pub fn new(vm: &Rc<Vm>, id: &str) -> Self {
        Self { vm: vm.clone(), path: format!("/machine/peripheral/{id}") }
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
