//! The virtio SCSI host adapter as a PCI function with a thread of its own for requests: its disk gets
//! another node in the middle, its driver breaks the rules.

use std::rc::Rc;

use serde_json::{Value, json};

use crate::drivers::virtio::pci::OverPci;
use crate::drivers::virtio::scsi::Scsi;
use crate::graph::QemuArgs;
use crate::qemu::{Image, MIB, Version, Vm};
use crate::qos::scsi::ZEROES_SIZE;
use crate::qos::virtio::scsi::{BLOCK, GOOD, S_OK, ZEROES};
use crate::qos::virtio::{DEVICE_NEEDS_RESET, Segment};
use crate::qos::{wait_event, wait_until};
use crate::{Error, Result, tests};

/// What the overlay is made of.
const OVERLAY: Image = Image { name: "overlay", size: 4 * MIB };

tests!(OverPci<Scsi>, "virtio-scsi-pci-tests":
    iothread_attach_node = "iothread-attach-node",
    iothread_virtio_error = "iothread-virtio-error";
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

/// Would catch a request that is none, which the thread of the adapter finds, and that ends QEMU, is
/// not told to the driver, or leaves an adapter that a reset does not mend.
fn iothread_virtio_error(device: &OverPci<Scsi>, vm: &Rc<Vm>) -> Result<()> {
    let scsi = device.interface();
    let transport = scsi.0.transport();
    let room = vm.ram().alloc(64, 64)?;
    let at = room.address().0;
    // Less than the header of a request; no room for the answer; room before the request.
    let header = Segment { address: at, length: 51, writable: false };
    let wrong: [&[Segment]; 3] = [
        &[Segment { length: 1, ..header }],
        &[header],
        &[Segment { length: 8, writable: true, ..header }, header],
    ];
    for (number, segments) in wrong.into_iter().enumerate() {
        let live = scsi.start()?;
        let queue = &live.requests[0];
        if queue.is_packed() && vm.emulator().capabilities.version < Version::new(11, 1, 0) {
            return Err(Error::skipped(
                "QEMU up to 10.2 spins for ever on a packed ring that it has given up",
            ));
        }
        queue.add(segments)?;
        queue.notify()?;
        if transport.is_modern() {
            wait_until(vm, &format!("DEVICE_NEEDS_RESET after request {number}"), || {
                Ok(transport.status()? & DEVICE_NEEDS_RESET != 0)
            })?;
        }
        scsi.0.reset()?;
        assert_eq!(transport.status()?, 0, "the status after a reset");
        let live = scsi.start()?;
        let inquiry = live.command(ZEROES, &[0x12, 0, 0, 0, 36, 0], &[], 36)?;
        let told = (inquiry.response, inquiry.status, inquiry.data[0]);
        assert_eq!(told, (S_OK, GOOD, 0), "INQUIRY after request {number} and a reset");
    }
    Ok(())
}
