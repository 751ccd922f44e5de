//! Files that a host sends to a media player or deletes (MTP, D.2.11 to D.2.13); what became of them is
//! looked at on the host of QEMU.

use std::fs;
use std::rc::Rc;

use super::{Responder, code, content, make, object, on_host, session, wait_until, write};
use crate::drivers::usb::mtp::{
    ObjectInfo, ROOT, Response, STORAGE, UsbMtp, container, operation, response,
};
use crate::qemu::Vm;
use crate::{Error, Result, attacks, tests};

tests!(UsbMtp, "usb-mtp-tests":
    send,
    send_folder = "send-folder",
    send_empty = "send-empty",
    send_ends = "send-ends",
    send_short = "send-short",
    long_name = "long-name",
    send_without_info = "send-without-info",
    info_twice = "info-twice",
    info_cut = "info-cut",
    info_refused = "info-refused",
    parent_gone = "parent-gone",
    same_beginning = "same-beginning",
    outside,
    delete,
    delete_without_format = "delete-without-format",
    delete_folder = "delete-folder",
    delete_root = "delete-root",
    delete_all = "delete-all",
);
attacks!(UsbMtp, "usb-mtp-attacks": send, delete, send_folder = "send-folder");

/// Announces an object; returns its handle.
fn announce(responder: &Responder, parent: u32, info: &ObjectInfo) -> Result<u32> {
    let destination = [STORAGE, parent];
    match responder.run_out(operation::SEND_OBJECT_INFO, &destination, &info.bytes())? {
        Response(response::OK, of) if of.len() == 3 && of[0] == STORAGE => {
            let told = if parent == ROOT { [0, ROOT].contains(&of[1]) } else { of[1] == parent };
            assert!(told, "the parent of {}: {of:x?}", info.name);
            Ok(of[2])
        }
        other => Err(Error::failed(format!("{} is announced: {other:x?}", info.name))),
    }
}

/// Sends a file; returns its handle.
fn send_file(responder: &Responder, parent: u32, name: &str, data: &[u8]) -> Result<u32> {
    let handle = announce(responder, parent, &ObjectInfo::file(name, data.len()))?;
    let told = responder.run_out(operation::SEND_OBJECT, &[], data)?;
    assert_eq!(told, Response(response::OK, vec![]), "{name} is sent");
    Ok(handle)
}

/// Waits until the device has noticed an object that was made on the host; returns its handle.
fn noticed(responder: &Responder, vm: &Vm, parent: u32, name: &str) -> Result<u32> {
    let mut found = None;
    wait_until(vm, &format!("{name} among the objects"), || {
        found = responder.find(parent, name)?;
        Ok(found.is_some())
    })?;
    Ok(found.unwrap_or_default())
}

/// Would catch a file that is sent and not made, elsewhere, or with other content, and one that cannot be
/// read back.
fn send(mtp: &UsbMtp, vm: &Rc<Vm>) -> Result<()> {
    let (responder, share) = session(mtp, vm, |share| make(&share.join("folder")))?;
    let folder = object(&responder, ROOT, "folder")?;
    responder.handles(folder)?;
    for (parent, name, length) in [(ROOT, "one", 20), (folder, "two", 1500), (ROOT, "three", 1)] {
        let length = length + container::HEAD;
        let handle = send_file(&responder, parent, name, &content(length))?;
        let path = if parent == ROOT { share.join(name) } else { share.join("folder").join(name) };
        let made = fs::read(&path).map_err(|e| on_host(&path, &e))?;
        assert!(made == content(length), "{name} has {} bytes on the host", made.len());
        assert_eq!(noticed(&responder, vm, parent, name)?, handle, "the handle of {name}");
        let told = responder.get(operation::GET_OBJECT, &[handle])?;
        assert!(told == content(length), "{name} is read back with {} bytes", told.len());
    }
    Ok(())
}

/// Would catch a folder that is sent and not made, or not with the handle that is told.
fn send_folder(mtp: &UsbMtp, vm: &Rc<Vm>) -> Result<()> {
    let (responder, share) = session(mtp, vm, |_| Ok(()))?;
    responder.handles(ROOT)?;
    let handle = announce(&responder, ROOT, &ObjectInfo::folder("made"))?;
    assert!(share.join("made").is_dir(), "the folder on the host");
    assert_eq!(noticed(&responder, vm, ROOT, "made")?, handle, "the handle of the folder");
    assert_eq!(responder.handles(handle)?, [0u32; 0], "what is in the folder");
    Ok(())
}

/// Would catch a file without data that is not made, or refused.
fn send_empty(mtp: &UsbMtp, vm: &Rc<Vm>) -> Result<()> {
    let (responder, share) = session(mtp, vm, |_| Ok(()))?;
    send_file(&responder, ROOT, "empty", b"")?;
    let path = share.join("empty");
    assert_eq!(fs::read(&path).map_err(|e| on_host(&path, &e))?, b"", "the file on the host");
    Ok(())
}

/// Would catch data whose last packet is full, empty or short, and that are not taken (SICD, 7).
fn send_ends(mtp: &UsbMtp, vm: &Rc<Vm>) -> Result<()> {
    let (responder, share) = session(mtp, vm, |_| Ok(()))?;
    let packet = responder.output.packet;
    for length in [packet - container::HEAD, 2 * packet + 1 - container::HEAD] {
        let name = format!("of-{length}");
        send_file(&responder, ROOT, &name, &content(length))?;
        let path = share.join(name);
        let made = fs::read(&path).map_err(|e| on_host(&path, &e))?;
        assert!(made == content(length), "{} of {length} bytes", made.len());
    }
    Ok(())
}

/// Would catch fewer or more data than were announced that end the device, or are told to be all (MTP,
/// D.2.13: Incomplete_Transfer).
fn send_short(mtp: &UsbMtp, vm: &Rc<Vm>) -> Result<()> {
    let (responder, _) = session(mtp, vm, |_| Ok(()))?;
    announce(&responder, ROOT, &ObjectInfo::file("short", 100))?;
    let told = responder.run_out(operation::SEND_OBJECT, &[], &content(30))?;
    assert_eq!(told.0, response::INCOMPLETE_TRANSFER, "30 bytes of 100");
    responder.get(operation::GET_STORAGE_IDS, &[]).map(drop)
}

/// Would catch a name that is cut, or goes on with what is in memory, where the announcement takes more
/// than one packet.
fn long_name(mtp: &UsbMtp, vm: &Rc<Vm>) -> Result<()> {
    let (responder, share) = session(mtp, vm, |_| Ok(()))?;
    let name = "x".repeat(28);
    send_file(&responder, ROOT, &name, &content(20))?;
    let names = fs::read_dir(&share).map_err(|e| on_host(&share, &e))?;
    let names: Vec<_> = names.flatten().map(|it| it.file_name()).collect();
    assert_eq!(names, [name.as_str()], "the files on the host");
    Ok(())
}

/// Would catch data that nobody has announced and that are taken (MTP, D.2.13: No_Valid_ObjectInfo).
fn send_without_info(mtp: &UsbMtp, vm: &Rc<Vm>) -> Result<()> {
    let (responder, share) = session(mtp, vm, |_| Ok(()))?;
    let told = responder.run_out(operation::SEND_OBJECT, &[], &content(30))?;
    assert_eq!(told, Response(response::NO_OBJECT_INFO, vec![]), "data without announcement");
    assert!(fs::read_dir(&share).is_ok_and(|mut it| it.next().is_none()), "the folder");
    Ok(())
}

/// Would catch a second announcement before any data that ends the device: it replaces the first (MTP,
/// D.2.12).
fn info_twice(mtp: &UsbMtp, vm: &Rc<Vm>) -> Result<()> {
    let (responder, share) = session(mtp, vm, |_| Ok(()))?;
    announce(&responder, ROOT, &ObjectInfo::file("first", 20))?;
    send_file(&responder, ROOT, "second", &content(20))?;
    let made = (share.join("first").exists(), share.join("second").exists());
    assert_eq!(made, (false, true), "which files are made");
    Ok(())
}

/// Would catch an announcement that ends within its fields or its name, and by which the device fails or
/// makes a file of what is behind it in memory.
fn info_cut(mtp: &UsbMtp, vm: &Rc<Vm>) -> Result<()> {
    let (_, share) = session(mtp, vm, |_| Ok(()))?;
    let whole = ObjectInfo::file("abcdef", 20).bytes();
    for length in [0, 1, 4, 8, 51, 52, 53, 54, 60] {
        let responder = mtp.configured()?;
        responder.open()?;
        responder.command(operation::SEND_OBJECT_INFO, &[STORAGE, ROOT])?;
        let head = (container::HEAD + length) as u32;
        let all = crate::drivers::usb::mtp::bytes(
            head,
            container::DATA,
            operation::SEND_OBJECT_INFO,
            4,
            &whole[..length],
        );
        let _ = responder.send(&all)?;
    }
    let responder = mtp.configured()?;
    responder.open()?;
    assert_eq!(responder.handles(ROOT)?, [0u32; 0], "the objects at last");
    assert!(fs::read_dir(&share).is_ok_and(|mut it| it.next().is_none()), "the folder");
    Ok(())
}

/// Would catch an announcement that is refused and after which no response comes (MTP, D.2.12: the host
/// sends its data all the same).
fn info_refused(mtp: &UsbMtp, vm: &Rc<Vm>) -> Result<()> {
    let (responder, _) = session(mtp, vm, |_| Ok(()))?;
    let info = ObjectInfo::file("lost", 20).bytes();
    let told = responder.run_out(operation::SEND_OBJECT_INFO, &[STORAGE, 0x7777], &info)?;
    assert_eq!(told.0, response::INVALID_OBJECT, "a parent that there is not");
    Ok(())
}

/// Would catch a folder that goes on the host while a file for it is announced, which ends the device.
fn parent_gone(mtp: &UsbMtp, vm: &Rc<Vm>) -> Result<()> {
    let (responder, share) = session(mtp, vm, |share| make(&share.join("folder")))?;
    let folder = object(&responder, ROOT, "folder")?;
    responder.command(operation::SEND_OBJECT_INFO, &[STORAGE, folder])?;
    let path = share.join("folder");
    fs::remove_dir(&path).map_err(|e| on_host(&path, &e))?;
    super::told(&responder, crate::drivers::usb::mtp::event::OBJECT_REMOVED)?;
    responder.data(operation::SEND_OBJECT_INFO, &ObjectInfo::file("lost", 20).bytes())?;
    assert_ne!(responder.response()?.0, response::OK, "a folder that is gone");
    Ok(())
}

/// Would catch a file that is taken for another whose name begins with its own.
fn same_beginning(mtp: &UsbMtp, vm: &Rc<Vm>) -> Result<()> {
    let (responder, share) = session(mtp, vm, |share| write(&share.join("longer"), b"stays"))?;
    let longer = object(&responder, ROOT, "longer")?;
    let handle = send_file(&responder, ROOT, "long", &content(20))?;
    assert_ne!(handle, longer, "the handle of a new file");
    assert!(share.join("long").exists(), "the file on the host");
    assert_eq!(noticed(&responder, vm, ROOT, "long")?, handle, "the handle that is told");
    Ok(())
}

/// Would catch a name by which a file is made outside of the folder, or in another one.
fn outside(mtp: &UsbMtp, vm: &Rc<Vm>) -> Result<()> {
    let (responder, share) = session(mtp, vm, |share| make(&share.join("folder")))?;
    for name in ["../escaped", "/tmp/qgraph-escaped", "folder/inner", "..", "."] {
        for mut info in [ObjectInfo::file(name, 20), ObjectInfo::folder(name)] {
            // With a date, the last packet is not one of those that `send_ends` is about.
            if name.len() < 3 {
                info.dates[0] = "20260102T030405".into();
            }
            let to = [STORAGE, ROOT];
            let told = responder.run_out(operation::SEND_OBJECT_INFO, &to, &info.bytes())?;
            if told.0 == response::OK {
                let told = responder.run_out(operation::SEND_OBJECT, &[], &content(20))?;
                assert_ne!(told.0, response::OK, "{name} is sent");
            }
        }
    }
    let beside = share.parent().map(|it| it.join("escaped").exists());
    assert_eq!(beside, Some(false), "a file beside the folder");
    assert!(!share.join("folder/inner").exists(), "a file in another folder");
    assert!(!std::path::Path::new("/tmp/qgraph-escaped").exists(), "a file somewhere");
    Ok(())
}

/// Would catch a file or an empty folder that is deleted and stays, or goes with another one.
fn delete(mtp: &UsbMtp, vm: &Rc<Vm>) -> Result<()> {
    let (responder, share) = session(mtp, vm, |share| {
        make(&share.join("empty"))?;
        write(&share.join("goes"), b"")?;
        write(&share.join("stays"), b"")
    })?;
    for name in ["goes", "empty"] {
        let handle = object(&responder, ROOT, name)?;
        responder.get(operation::DELETE_OBJECT, &[handle, 0])?;
        assert!(!share.join(name).exists(), "{name} on the host");
        let told = code(&responder, operation::GET_OBJECT_INFO, &[handle])?;
        assert_eq!(told, response::INVALID_OBJECT, "{name} afterwards");
    }
    let stays = object(&responder, ROOT, "stays")?;
    assert_eq!(responder.handles(ROOT)?, [stays], "what is left");
    assert!(share.join("stays").exists(), "what is left on the host");
    Ok(())
}

/// Would catch a file that is deleted without a format, which a host may leave out, and stays (MTP,
/// D.2.11).
fn delete_without_format(mtp: &UsbMtp, vm: &Rc<Vm>) -> Result<()> {
    let (responder, share) = session(mtp, vm, |share| write(&share.join("goes"), b""))?;
    let handle = object(&responder, ROOT, "goes")?;
    // What a command before has left.
    code(&responder, 0x1fff, &[0x55aa_55aa; 5])?;
    responder.get(operation::DELETE_OBJECT, &[handle])?;
    assert!(!share.join("goes").exists(), "the file on the host");
    Ok(())
}

/// Would catch a folder that is deleted without what is in it (MTP, D.2.11).
fn delete_folder(mtp: &UsbMtp, vm: &Rc<Vm>) -> Result<()> {
    let (responder, share) = session(mtp, vm, |share| {
        make(&share.join("folder"))?;
        make(&share.join("folder/deeper"))?;
        for name in ["folder/a", "folder/b", "folder/deeper/c", "folder/deeper/d"] {
            write(&share.join(name), b"")?;
        }
        Ok(())
    })?;
    let folder = object(&responder, ROOT, "folder")?;
    let deeper = object(&responder, folder, "deeper")?;
    object(&responder, deeper, "c")?;
    let told = code(&responder, operation::DELETE_OBJECT, &[folder, 0])?;
    assert_eq!(told, response::OK, "a folder with files");
    assert!(!share.join("folder").exists(), "the folder on the host");
    Ok(())
}

/// Would catch the shared folder itself that a guest deletes: zero is the handle of no object.
fn delete_root(mtp: &UsbMtp, vm: &Rc<Vm>) -> Result<()> {
    let (responder, share) = session(mtp, vm, |_| Ok(()))?;
    let told = code(&responder, operation::DELETE_OBJECT, &[0, 0])?;
    let stays = share.exists();
    if !stays {
        make(&share)?;
    }
    assert_eq!((told, stays), (response::INVALID_OBJECT, true), "the root is deleted");
    Ok(())
}

/// Would catch a request to delete all objects that is refused (MTP, D.2.11: 0xffffffff), and a number
/// beside it that deletes anything.
fn delete_all(mtp: &UsbMtp, vm: &Rc<Vm>) -> Result<()> {
    let (responder, share) = session(mtp, vm, |share| {
        ["a", "b"].iter().try_for_each(|name| write(&share.join(name), b""))
    })?;
    assert_eq!(responder.handles(ROOT)?.len(), 2, "the files at first");
    let beside = code(&responder, operation::DELETE_OBJECT, &[0x0fff_ffff, 0])?;
    let told = code(&responder, operation::DELETE_OBJECT, &[ROOT, 0])?;
    let left = ["a", "b"].map(|name| share.join(name).exists());
    let codes = (beside, told);
    assert_eq!(codes, (response::INVALID_OBJECT, response::OK), "0x0fffffff, and all objects");
    assert_eq!(left, [false; 2], "what is left on the host");
    Ok(())
}
