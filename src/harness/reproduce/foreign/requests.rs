//! Which requests and QMP commands a foreign file may give to QEMU, and what a file
//! of qgraph's that somebody may have changed would do.

use std::path::Path;

use super::allowed::Place;
use super::options::Parts;
use crate::harness::reproduce::reproducer::{Action, Reproducer, Step};

/// QMP commands that reach nothing outside of QEMU.
const QMP: [&str; 36] = [
    "qmp_capabilities",
    "stop",
    "cont",
    "quit",
    "system_reset",
    "system_powerdown",
    "system_wakeup",
    "device_del",
    "object-del",
    "netdev_del",
    "blockdev-del",
    "chardev-remove",
    "set_link",
    "balloon",
    "qom-list",
    "qom-get",
    "qom-set",
    "qom-list-types",
    "qom-list-properties",
    "device-list-properties",
    "inject-nmi",
    "send-key",
    "input-send-event",
    "rtc-reset-reinjection",
    "watchdog-set-action",
    "eject",
    "blockdev-open-tray",
    "blockdev-close-tray",
    "blockdev-remove-medium",
    "blockdev-insert-medium",
    "block_resize",
    "block_set_io_throttle",
    "job-dismiss",
    "migrate-set-capabilities",
    "migrate_cancel",
    "ringbuf-write",
];

impl Place<'_> {
    /// Whether QEMU may be given this QMP command.
    ///
    /// # Errors
    /// It is none, or reaches files, programs or the network.
    pub(super) fn qmp(&self, text: &str) -> Result<(), String> {
        let command: serde_json::Value = serde_json::from_str(text)
            .map_err(|e| format!("`{text:.80}` is no QMP command: {e}"))?;
        let name = command["execute"].as_str().unwrap_or_default();
        let arguments = command["arguments"].to_string();
        let parts = |implied| Parts::read(&arguments, implied);
        let checked = match name {
            "device_add" => self.device(&parts("driver")),
            "netdev_add" => self.netdev(&parts("type")),
            "object-add" => self.object(&parts("qom-type")).and_then(|other| match other {
                None => Ok(()),
                Some(_) => Err("the object names a file".to_owned()),
            }),
            "blockdev-add" => {
                let parts = parts("driver");
                let names = parts
                    .iter()
                    .any(|(name, value)| name.ends_with("filename") && !self.is_made(value));
                if names { Err("it names a file".to_owned()) } else { self.block(&parts) }
            }
            "chardev-add" => {
                let backend = command["arguments"]["backend"]["type"].as_str().unwrap_or_default();
                match backend {
                    "null" | "ringbuf" => Ok(()),
                    kind => Err(format!("a character device of the kind {kind} reaches the host")),
                }
            }
            _ if name.starts_with("query-") || QMP.contains(&name) => Ok(()),
            _ => Err("it is not among those that reproducers need".to_owned()),
        };
        checked.map_err(|why| format!("the QMP command {name}: {why}"))
    }

    /// Whether QEMU may be given this request.
    pub(super) fn request(&self, text: &str) -> Result<(), String> {
        if text.starts_with('{') {
            return self.qmp(text);
        }
        if text.starts_with("module_load") {
            return Err(format!("the request `{text:.80}` loads a program into QEMU"));
        }
        Ok(())
    }
}

/// What a reproducer that qgraph wrote, and that somebody may have changed, would make QEMU
/// do beyond what is allowed; nothing if all is well. `folder` is that of its file.
pub fn refused(reproducer: &Reproducer, folder: &Path) -> Vec<String> {
    let config = &reproducer.about.config;
    let images = config.images.iter().map(|image| image.name.to_owned());
    let folders = config.folders.iter().map(|folder| folder.name.to_owned());
    let sockets = config.sockets.iter().map(|socket| socket.name.to_owned());
    let names: Vec<String> = images.chain(folders).chain(sockets).collect();
    let place = Place { folder, names: &names };
    let mut refused = super::command_line::objections(&config.options, &place);
    refused.extend(super::command_line::objections(&config.options_there, &place));
    let machine = format!("{},{}", config.machine, config.properties);
    if let Err(why) = place.machine(&Parts::read(&machine, "type")) {
        refused.push(format!("-machine {machine}: {why}"));
    }
    let requests = reproducer
        .steps
        .iter()
        .filter(|step: &&Step| matches!(step.action(), Action::Qtest | Action::Qmp));
    refused.extend(requests.filter_map(|step| place.request(&step.text).err()));
    refused
}

/// Which of these requests of a stranger are not allowed.
pub fn refused_requests(requests: &[String], folder: &Path) -> Vec<String> {
    let place = Place { folder, names: &[] };
    requests.iter().filter_map(|request| place.request(request).err()).collect()
}
