//! Tests of a USB media player on a folder of the host: descriptions of the device and its files
//! (`objects`), files that are sent and deleted (`changes`), and errors, events and resets (here).

mod changes;
mod objects;

use std::fs;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use crate::drivers::usb::mtp::{
    Dataset, ROOT, Responder, Response, SHARE, STORAGE, UsbMtp, bytes, container, event, operation,
    response,
};
use crate::graph::QemuArgs;
use crate::qemu::Vm;
use crate::qos::usb::device::setup;
use crate::qos::wait_until;
use crate::{Error, Result, attacks, tests};

tests!(UsbMtp, "usb-mtp-tests":
    device_info = "device-info",
    sessions,
    wrong_operations = "wrong-operations",
    wrong_objects = "wrong-objects",
    events,
    changed_size = "changed-size",
    cancel,
    device_status = "device-status",
    bus_reset = "bus-reset",
    broken_containers = "broken-containers",
);
tests!(UsbMtp, "usb-mtp-readonly-tests":
    read_only = "read-only",
    read_only_send = "send";
    with QemuArgs::NONE.after("-set device.function.readonly=on"));
attacks!(UsbMtp, "usb-mtp-attacks": events, broken_containers = "broken-containers");

fn on_host(path: &Path, e: &std::io::Error) -> Error {
    Error::failed(format!("{} on the host: {e}", path.display()))
}

/// Writes a file of the host.
fn write(path: &Path, content: &[u8]) -> Result<()> {
    fs::write(path, content).map_err(|e| on_host(path, &e))
}

/// Makes a folder of the host.
fn make(path: &Path) -> Result<()> {
    fs::create_dir(path).map_err(|e| on_host(path, &e))
}

/// Bytes that differ from one place to the next.
fn content(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at * 7 + at / 251) as u8).collect()
}

/// A device that is configured, and the folder that it shares, which is empty.
fn connected<'a>(mtp: &'a UsbMtp, vm: &Vm) -> Result<(Responder<'a>, PathBuf)> {
    let share = vm.folder(SHARE.name)?;
    for entry in fs::read_dir(&share).map_err(|e| on_host(&share, &e))? {
        let path = entry.map_err(|e| on_host(&share, &e))?.path();
        let removed =
            if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        removed.map_err(|e| on_host(&path, &e))?;
    }
    Ok((mtp.configured()?, share))
}

/// The folder with what `fill` puts into it, and a session.
fn session<'a>(
    mtp: &'a UsbMtp,
    vm: &Vm,
    fill: impl FnOnce(&Path) -> Result<()>,
) -> Result<(Responder<'a>, PathBuf)> {
    let (responder, share) = connected(mtp, vm)?;
    fill(&share)?;
    responder.open()?;
    Ok((responder, share))
}

/// The handle of an object that must be there.
fn object(responder: &Responder, parent: u32, name: &str) -> Result<u32> {
    let found = responder.find(parent, name)?;
    found.ok_or_else(|| Error::failed(format!("the device does not tell {name}")))
}

/// The code of the response to an operation.
fn code(responder: &Responder, of: u16, parameters: &[u32]) -> Result<u16> {
    Ok(responder.run(of, parameters)?.0.0)
}

/// Would catch a device that tells another version, maker or format, or does not tell an operation that
/// it has (MTP, 5.1.1); it does so without a session.
fn device_info(mtp: &UsbMtp, vm: &Rc<Vm>) -> Result<()> {
    let (responder, _) = connected(mtp, vm)?;
    vm.set_up_ends()?;
    let data = responder.get(operation::GET_DEVICE_INFO, &[])?;
    let mut info = Dataset(&data);
    // Version 1.00; the vendor extension of MTP.
    assert_eq!((info.u16()?, info.u32()?, info.u16()?), (100, 6, 100), "versions");
    assert_eq!((info.text()?, info.u16()?), (String::new(), 0), "extensions, mode");
    let mut operations = info.halves()?;
    operations.sort_unstable();
    let mut expected =
        [&(0x1001..=0x1009).collect::<Vec<u16>>(), &[0x100b, 0x100c, 0x100d][..]].concat();
    expected.extend([0x101b, 0x9801, 0x9802, 0x9803]);
    assert_eq!(operations, expected, "operations");
    let _events = info.halves()?;
    assert_eq!((info.halves()?, info.halves()?), (vec![], vec![]), "properties, captures");
    assert_eq!(info.halves()?, [0x3000, 0x3001], "formats");
    assert_eq!((info.text()?, info.text()?), ("QEMU".into(), "QEMU filesharing".into()), "maker");
    assert!(!info.text()?.is_empty(), "the version of the device");
    let serial = info.text()?;
    assert_eq!(serial.len(), 32, "the letters of the serial number: {serial}");
    info.end()
}

/// Would catch a session that is not needed, is opened twice, or is not closed (MTP, D.2.2 and D.2.3).
fn sessions(mtp: &UsbMtp, vm: &Rc<Vm>) -> Result<()> {
    let (responder, _) = connected(mtp, vm)?;
    vm.set_up_ends()?;
    for of in [operation::GET_STORAGE_IDS, operation::CLOSE_SESSION] {
        assert_eq!(code(&responder, of, &[])?, response::SESSION_NOT_OPEN, "{of:#x} at first");
    }
    let open = |session: u32| Ok::<_, Error>(responder.run(operation::OPEN_SESSION, &[session])?.0);
    assert_eq!(open(0)?, Response(response::INVALID_PARAMETER, vec![]), "session 0");
    for session in [7, 1, u32::MAX] {
        assert_eq!(open(session)?, Response(response::OK, vec![]), "session {session}");
        let again = Response(response::SESSION_ALREADY_OPEN, vec![session]);
        assert_eq!(open(8)?, again, "a second session");
        responder.get(operation::GET_STORAGE_IDS, &[])?;
        responder.get(operation::CLOSE_SESSION, &[])?;
        let ids = code(&responder, operation::GET_STORAGE_IDS, &[])?;
        assert_eq!(ids, response::SESSION_NOT_OPEN, "after the end of a session");
    }
    Ok(())
}

/// Would catch an operation that there is not and that is done (MTP, F.2.5).
fn wrong_operations(mtp: &UsbMtp, vm: &Rc<Vm>) -> Result<()> {
    let (responder, _) = session(mtp, vm, |_| Ok(()))?;
    vm.set_up_ends()?;
    for of in [0x100a, 0x100e, 0x100f, 0x1012, 0x1019, 0x101a, 0x1fff, 0x9804, 0xffff] {
        let expected = Response(response::OPERATION_NOT_SUPPORTED, vec![]);
        assert_eq!(responder.run(of, &[0, 0, 0, 0, 0])?, (expected, vec![]), "operation {of:#x}");
    }
    responder.get(operation::GET_STORAGE_IDS, &[]).map(drop)
}

/// Would catch an object, a folder or a storage that is not there, or is of the wrong kind, and that is
/// told or deleted.
fn wrong_objects(mtp: &UsbMtp, vm: &Rc<Vm>) -> Result<()> {
    let (responder, share) = session(mtp, vm, |share| {
        make(&share.join("folder"))?;
        write(&share.join("file"), b"of the host")
    })?;
    let folder = object(&responder, ROOT, "folder")?;
    let file = object(&responder, ROOT, "file")?;
    for handle in [file + folder + 100, 0x7fff_ffff, 0xffff_fffe] {
        for of in [
            operation::GET_OBJECT_INFO,
            operation::GET_OBJECT,
            operation::DELETE_OBJECT,
            operation::GET_PARTIAL_OBJECT,
        ] {
            let told = code(&responder, of, &[handle, 0, 10])?;
            assert_eq!(told, response::INVALID_OBJECT, "operation {of:#x} of {handle:#x}");
        }
    }
    for of in [operation::GET_OBJECT, operation::GET_PARTIAL_OBJECT] {
        let told = code(&responder, of, &[folder, 0, 10])?;
        assert_eq!(told, response::INVALID_OBJECT, "operation {of:#x} of a folder");
    }
    for of in [operation::GET_OBJECT_HANDLES, operation::GET_NUM_OBJECTS] {
        let told = code(&responder, of, &[STORAGE, 0, file])?;
        assert_eq!(told, response::INVALID_PARENT, "operation {of:#x} in a file");
        let told = code(&responder, of, &[2, 0, ROOT])?;
        assert_eq!(told, response::INVALID_STORAGE, "operation {of:#x} of another storage");
    }
    assert!(share.join("file").exists() && share.join("folder").exists(), "what is on the host");
    Ok(())
}

/// Would catch a file that the host makes, changes or removes while the session lasts and of which the
/// device does not tell (MTP, G.2), or tells with another handle.
fn events(mtp: &UsbMtp, vm: &Rc<Vm>) -> Result<()> {
    let (responder, share) = session(mtp, vm, |_| Ok(()))?;
    assert_eq!(responder.handles(ROOT)?, [0u32; 0], "an empty folder");
    let path = share.join("new.txt");
    write(&path, b"")?;
    let added = told(&responder, event::OBJECT_ADDED)?;
    assert_eq!(responder.handles(ROOT)?, [added], "the handle of the new file");
    assert_eq!(responder.info(added)?.name, "new.txt", "the name of the new file");
    write(&path, b"changed")?;
    assert_eq!(told(&responder, event::OBJECT_INFO_CHANGED)?, added, "the file that changed");
    fs::remove_file(&path).map_err(|e| on_host(&path, &e))?;
    assert_eq!(told(&responder, event::OBJECT_REMOVED)?, added, "the file that is gone");
    let info = code(&responder, operation::GET_OBJECT_INFO, &[added])?;
    assert_eq!(info, response::INVALID_OBJECT, "the file that is gone");
    assert_eq!(responder.handles(ROOT)?, [0u32; 0], "the folder at last");
    Ok(())
}

/// The object of the next event of this kind.
fn told(responder: &Responder, kind: u16) -> Result<u32> {
    let hcd = responder.usb.hcd;
    for _ in 0..8 {
        let memory = hcd.vm().ram().alloc(64, 64)?;
        let what = format!("event {kind:#x}");
        let moved = responder.usb.transfer(responder.interrupt, &memory, (0, 64), &what)?;
        let mut all = memory.to_vec()?;
        all.truncate(moved.done(&what)?);
        let [b0, b1, b2, b3] =
            all.get(12..16).and_then(|it| it.try_into().ok()).unwrap_or_default();
        let handle = u32::from_le_bytes([b0, b1, b2, b3]);
        let code = u16::from_le_bytes([all[6], all[7]]);
        let expected = bytes(16, container::EVENT, code, 0, &handle.to_le_bytes());
        assert_eq!(all, expected, "an event");
        if code == kind {
            return Ok(handle);
        }
        // A file that is made is written, too.
        assert_eq!(code, event::OBJECT_INFO_CHANGED, "an event before {kind:#x}");
    }
    Err(Error::failed(format!("among eight events is no {kind:#x}")))
}

/// Would catch a file of which the device tells that it has changed, and tells the old size.
fn changed_size(mtp: &UsbMtp, vm: &Rc<Vm>) -> Result<()> {
    let (responder, share) = session(mtp, vm, |share| write(&share.join("file"), b"short"))?;
    let file = object(&responder, ROOT, "file")?;
    assert_eq!(responder.info(file)?.size, 5, "the size at first");
    write(&share.join("file"), b"much longer")?;
    assert_eq!(told(&responder, event::OBJECT_INFO_CHANGED)?, file, "the file that changed");
    assert_eq!(responder.info(file)?.size, 11, "the size afterwards");
    assert_eq!(responder.get(operation::GET_OBJECT, &[file])?, b"much longer", "the content");
    Ok(())
}

/// Would catch a transaction that is cancelled and goes on (SICD, 5.2.1).
fn cancel(mtp: &UsbMtp, vm: &Rc<Vm>) -> Result<()> {
    let (responder, _) = session(mtp, vm, |share| write(&share.join("file"), &content(5000)))?;
    let file = object(&responder, ROOT, "file")?;
    let cancel = || -> Result<()> {
        let memory = vm.ram().alloc(6, 16)?;
        memory.write(0, &[0x01, 0x40, 0, 0, 0, 0])?;
        let usb = &responder.usb;
        let sent = setup(0x21, 0x64, 0, 0, 6);
        crate::qos::usb::device::control(usb.hcd, &usb.device, sent, Some(&memory), "a cancel")?
            .done("a cancel")
            .map(drop)
    };
    responder.command(operation::GET_OBJECT, &[file])?;
    assert_eq!(responder.packet()?.len(), responder.input.packet, "the first packet");
    cancel()?;
    assert_eq!(responder.get(operation::GET_OBJECT, &[file])?, content(5000), "afterwards");
    responder.command(operation::GET_STORAGE_IDS, &[])?;
    cancel()?;
    assert_eq!(responder.handles(ROOT)?, [file], "after another");
    Ok(())
}

/// Would catch a device that does not tell its status: its length, and OK (SICD, 5.2.4).
fn device_status(mtp: &UsbMtp, vm: &Rc<Vm>) -> Result<()> {
    let (responder, _) = connected(mtp, vm)?;
    let status = responder.usb.get(setup(0xa1, 0x67, 0, 0, 64), "the status of the device")?;
    assert_eq!(status, [4, 0, 0x01, 0x20], "the status of the device");
    Ok(())
}

/// Would catch a reset of the bus that leaves the session, data or a response, and handles by which the
/// root is not zero any more (MTP, 5.3.1: ParentObject).
fn bus_reset(mtp: &UsbMtp, vm: &Rc<Vm>) -> Result<()> {
    let (responder, _) = session(mtp, vm, |share| write(&share.join("file"), &content(500)))?;
    let file = object(&responder, ROOT, "file")?;
    assert_eq!(responder.info(file)?.parent, 0, "what a file is in");
    responder.command(operation::GET_OBJECT, &[file])?;
    let responder = mtp.configured()?;
    let ids = code(&responder, operation::GET_STORAGE_IDS, &[])?;
    assert_eq!(ids, response::SESSION_NOT_OPEN, "the session");
    responder.get(operation::OPEN_SESSION, &[1])?;
    let file = object(&responder, ROOT, "file")?;
    assert_eq!(responder.info(file)?.parent, 0, "what a file is in after a reset");
    Ok(())
}

/// Would catch a container whose length, type or transaction lies, or that is sent in the wrong place,
/// and that the device fails by.
fn broken_containers(mtp: &UsbMtp, vm: &Rc<Vm>) -> Result<()> {
    let (_, share) = session(mtp, vm, |share| write(&share.join("file"), &content(100)))?;
    for length in [0, 1, 11, 12, 13, 16, 32, 36, 0x7fff_ffff, 0xffff_ffff] {
        for kind in [0, container::COMMAND, container::DATA, container::RESPONSE, 5, 0xffff] {
            for (of, payload) in [
                (operation::OPEN_SESSION, &[0xff; 4][..]),
                (operation::GET_OBJECT_HANDLES, &[][..]),
                (operation::GET_OBJECT_INFO, &[0; 20]),
                (operation::SEND_OBJECT, &[1; 60]),
                (operation::SEND_OBJECT_INFO, &[0; 3]),
            ] {
                let responder = mtp.configured()?;
                let _ = responder.send(&bytes(length, kind, of, 1, payload))?;
            }
        }
    }
    let responder = mtp.configured()?;
    responder.open()?;
    let file = object(&responder, ROOT, "file")?;
    assert_eq!(responder.get(operation::GET_OBJECT, &[file])?, content(100), "a file at last");
    assert!(share.join("file").exists(), "the file on the host");
    Ok(())
}

/// Would catch a storage that is told to be writable and is not, and a file that is deleted all the same
/// (MTP, 5.2.2.3: AccessCapability 1 is read-only without deletion).
fn read_only(mtp: &UsbMtp, vm: &Rc<Vm>) -> Result<()> {
    let (responder, share) = session(mtp, vm, |share| write(&share.join("file"), b"stays"))?;
    let info = responder.get(operation::GET_STORAGE_INFO, &[STORAGE])?;
    assert_eq!(info[4..6], [1, 0], "what a host may do to the storage");
    let file = object(&responder, ROOT, "file")?;
    let deleted = code(&responder, operation::DELETE_OBJECT, &[file, 0])?;
    assert_eq!(deleted, response::STORE_READ_ONLY, "a file is deleted");
    assert_eq!(responder.get(operation::GET_OBJECT, &[file])?, b"stays", "the file");
    assert!(share.join("file").exists(), "the file on the host");
    Ok(())
}

/// Would catch a file that is sent to a storage that is read-only, and made or not refused.
fn read_only_send(mtp: &UsbMtp, vm: &Rc<Vm>) -> Result<()> {
    let (responder, share) = session(mtp, vm, |_| Ok(()))?;
    let info = crate::drivers::usb::mtp::ObjectInfo::file("new", 5).bytes();
    let told = responder.run_out(operation::SEND_OBJECT_INFO, &[STORAGE, ROOT], &info)?;
    assert_eq!(told, Response(response::STORE_READ_ONLY, vec![]), "a file is sent");
    assert!(!share.join("new").exists(), "the file on the host");
    Ok(())
}
