//! The virtio SCSI host adapter as a PCI function with a thread of its own for requests, whose
//! disk gets another node in the middle.

use std::rc::Rc;

use serde_json::{Value, json};

use crate::drivers::virtio::pci::OverPci;
use crate::drivers::virtio::scsi::Scsi;
use crate::graph::QemuArgs;
use crate::qemu::{Image, MIB, Vm};
use crate::qos::scsi::ZEROES_SIZE;
use crate::qos::virtio::scsi::{BLOCK, GOOD, S_OK, ZEROES};
use crate::qos::wait_event;
use crate::{Error, Result, tests};

/// What the overlay is made of.
const OVERLAY: Image = Image { name: "overlay", size: 4 * MIB };

tests!(OverPci<Scsi>, "virtio-scsi-pci-tests":
    iothread_attach_node = "iothread-attach-node";
    with QemuArgs::NONE
        .before("-object iothread,id=thread0")
        .after("-set device.scsi0.iothread=thread0")
        .images(&[OVERLAY]));

/// Adds a node over the disk that reads as zeroes, whose data go to [`OVERLAY`].
fn attach_overlay(vm: &Vm) -> Result<()> {
    let execute = |command, arguments: Value| vm.qmp().execute(command, arguments);
    let file = vm.image_path(OVERLAY.name)?;
    execute(
        "blockdev-add",
        json!({ "driver": "file", "node-name": "overlay-file", "filename": file }),
    )?;
    let options = json!({ "driver": "qcow2", "file": "overlay-file", "size": ZEROES_SIZE });
    execute("blockdev-create", json!({ "job-id": "create", "options": options }))?;
    while wait_event(vm, "JOB_STATUS_CHANGE")?.data["status"] != "concluded" {}
    execute("job-dismiss", json!({ "id": "create" }))?;
    execute(
        "blockdev-add",
        json!({ "driver": "qcow2", "node-name": "overlay", "file": "overlay-file",
            "backing": null }),
    )?;
    execute("blockdev-snapshot", json!({ "node": "zeroes", "overlay": "overlay" }))?;
    Ok(())
}

/// Would catch a node that stays with the main thread though the thread of the adapter uses it,
/// which crashes or hangs QEMU at the next request, and one that is attached and not used.
fn iothread_attach_node(device: &OverPci<Scsi>, vm: &Rc<Vm>) -> Result<()> {
    let live = device.interface().start()?;
    let command = |cdb: &[u8], out: &[u8], room: usize| {
        // The first requests tell that the unit was reset.
        for _ in 0..3 {
            let reply = live.command(ZEROES, cdb, out, room)?;
            if reply.status == GOOD {
                assert_eq!((reply.response, reply.residual), (S_OK, 0), "{cdb:x?}");
                return Ok(reply.data);
            }
        }
        Err(Error::failed(format!("the command {cdb:x?} is refused")))
    };
    let read = |block: u8| command(&[0x28, 0, 0, 0, 0, block, 0, 0, 1, 0], &[], BLOCK);
    let write = |block: u8, data: &[u8]| command(&[0x2a, 0, 0, 0, 0, block, 0, 0, 1, 0], data, 0);
    write(3, &[0x11; BLOCK])?;
    assert_eq!(read(3)?, [0; BLOCK], "the disk below reads as zeroes");
    attach_overlay(vm)?;
    for block in 0..8 {
        let data = [block + 1; BLOCK];
        assert_eq!(read(block)?, [0; BLOCK], "block {block} before it is written");
        write(block, &data)?;
        assert_eq!(read(block)?, data, "block {block} of the overlay");
    }
    Ok(())
}
