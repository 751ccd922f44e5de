//! The emulators of a run: found, probed, and told apart by whether they can be used.

use std::path::PathBuf;
use std::sync::Arc;

use crate::qemu::{Emulator, Prober, Unusable, binary};

/// All emulators that were named or found.
pub struct Fleet {
    /// Those that can be used.
    pub usable: Vec<Arc<Emulator>>,
    /// Those that cannot, and why.
    pub unusable: Vec<Unusable>,
    /// Whether somebody named them. Then each that cannot be used is an error.
    pub named: bool,
}

impl Fleet {
    /// Finds and probes the emulators: those of `named`, or what
    /// [`binary::find`] finds without. Warnings go to `warn`.
    pub fn gather(named: &[PathBuf], prober: &Prober, warn: impl Fn(String) + Sync) -> Self {
        let found = binary::find(named);
        let mut fleet = Self { usable: Vec::new(), unusable: Vec::new(), named: found.named };
        fleet.unusable.extend(found.refused.map(|(path, why)| Unusable { path, why }));
        for probed in prober.probe_all(&found.binaries, warn) {
            let wrapped = match &found.wrapper {
                Some(wrapper) => probed.and_then(|emulator| prober.wrap(&emulator, wrapper)),
                None => probed,
            };
            match wrapped {
                Ok(emulator) => fleet.usable.push(Arc::new(emulator)),
                Err(unusable) => fleet.unusable.push(unusable),
            }
        }
        fleet
    }

    /// What to say when none of them can be used; `None` when one can.
    pub fn nothing_usable(&self) -> Option<String> {
        if !self.usable.is_empty() {
            return None;
        }
        let mut message = String::from("no usable QEMU");
        for unusable in &self.unusable {
            message.push_str(&format!("\n  {unusable}"));
        }
        if self.unusable.is_empty() {
            message.push_str(&format!(
                ": there is no qemu-system-* on PATH; install one (Debian: apt install \
                 qemu-system-x86 qemu-system-arm …), or name it with --qemu or {}",
                binary::ENVIRONMENT
            ));
        }
        Some(message)
    }
}
