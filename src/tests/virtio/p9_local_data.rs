//! The virtio 9P device on a folder of the host: content of files and folders, numbers of files,
//! lengths of messages, extended attributes and how many of them there can be.

use std::os::unix::fs::MetadataExt;
use std::rc::Rc;

use super::p9_local::{
    ONE, READ_WRITE, ROOT, SHARE, SHARED, TWO, content, make_file, names, on_host, shared,
};
use crate::graph::QemuArgs;
use crate::qemu::Vm;
use crate::qos::settle;
use crate::qos::virtio::p9::{Client, Entry, Fields, Outcome, Virtio9p, errno, kind};
use crate::{Result, tests};

tests!(Virtio9p, "virtio-9p-tests":
    readdir_offsets = "local/readdir-offsets",
    readdir_changes = "local/readdir-changes",
    open_flags = "local/open-flags",
    create_flags = "local/create-flags",
    open_folder = "local/open-folder",
    long_transfers = "local/long-transfers",
    end_of_file = "local/end-of-file",
    fids_twice = "local/fids-twice",
    long_walk = "local/long-walk",
    message_sizes = "local/message-sizes",
    xattr = "local/xattr",
    xattr_refused = "local/xattr-refused",
    file_system = "local/file-system";
    with SHARED);

/// What QEMU says that does not know how many extended attributes can be open at once.
const NO_LIMIT: &[&str] = &["Invalid parameter 'max_xattr'"];
tests!(Virtio9p, "virtio-9p-tests": local_default = "local/xattr_limit/default";
    with SHARED.before("-fsdev local,id=local0,path={share},security_model=mapped-xattr,max_xattr=1024")
        .may_refuse(NO_LIMIT));
tests!(Virtio9p, "virtio-9p-tests": local_custom = "local/xattr_limit/custom";
    with SHARED.before("-fsdev local,id=local0,path={share},security_model=mapped-xattr,max_xattr=5")
        .may_refuse(NO_LIMIT));
tests!(Virtio9p, "virtio-9p-tests": local_unlimited = "local/xattr_limit/unlimited";
    with SHARED.before("-fsdev local,id=local0,path={share},security_model=mapped-xattr,max_xattr=0")
        .may_refuse(NO_LIMIT));

const SYNTH: QemuArgs = QemuArgs::NONE.after("-set device.p9.fsdev=limited").may_refuse(NO_LIMIT);
tests!(Virtio9p, "virtio-9p-tests": synth_default = "synth/xattr_limit/default";
    with SYNTH.before("-fsdev synth,id=limited,max_xattr=1024"));
tests!(Virtio9p, "virtio-9p-tests": synth_custom = "synth/xattr_limit/custom";
    with SYNTH.before("-fsdev synth,id=limited,max_xattr=5"));
tests!(Virtio9p, "virtio-9p-tests": synth_unlimited = "synth/xattr_limit/unlimited";
    with SYNTH.before("-fsdev synth,id=limited,max_xattr=0"));

/// Flags of `open`.
const WRITE: u32 = 1;
const CREATE: u32 = 0o100;
const EXCLUSIVE: u32 = 0o200;
const TRUNCATE: u32 = 0o1000;
const APPEND: u32 = 0o2000;
const FOLDER: u32 = 0o200_000;
/// Flags of `xattrcreate`: the attribute is new, or is not.
const XATTR_CREATE: u32 = 1;
const XATTR_REPLACE: u32 = 2;

/// All entries of the open folder `fid` from `offset` on.
fn entries(client: &Client, fid: u32, mut offset: u64, count: u32) -> Result<Vec<Entry>> {
    let mut entries: Vec<Entry> = Vec::new();
    loop {
        let more = client.readdir(fid, offset, count)?;
        let Some(last) = more.last() else { return Ok(entries) };
        offset = last.next;
        entries.extend(more);
        assert!(entries.len() < 1000, "{} entries", entries.len());
    }
}

/// Would catch an entry that is lost, doubled or another file's, wherever reading goes on.
fn readdir_offsets(device: &Virtio9p, vm: &Rc<Vm>) -> Result<()> {
    let (client, share) = shared(device, vm)?;
    for number in 0..40 {
        // Names of many lengths, so that pieces end anywhere.
        make_file(&client, ROOT, &format!("{number:02}{}", "x".repeat(number * 6)), b"")?;
    }
    client.walk(ROOT, ONE, &[])?;
    client.open(ONE, 0)?;
    let all = entries(&client, ONE, 0, 60_000)?;
    let mut found: Vec<&str> = all.iter().map(|entry| entry.name.as_str()).collect();
    found.sort_unstable();
    let mut expected = names(&share)?;
    expected.extend([".".to_owned(), "..".to_owned()]);
    expected.sort();
    assert_eq!(found, expected, "the names");
    for count in [300, 511, 4096] {
        assert_eq!(entries(&client, ONE, 0, count)?, all, "in pieces of {count} bytes");
    }
    for (at, entry) in all.iter().enumerate().rev() {
        assert_eq!(entries(&client, ONE, entry.next, 2000)?, all[at + 1..], "behind {at}");
        if !entry.name.starts_with('.') {
            let walked = client.walk(ROOT, TWO, &[&entry.name])?;
            assert_eq!(walked[0].path, entry.qid.path, "{}", entry.name);
            client.clunk(TWO)?;
        }
    }
    // Less room than the first entry takes.
    assert_eq!(client.readdir(ONE, 0, 20)?, [], "in 20 bytes");
    Ok(())
}

/// Would catch an entry that stays, or is there twice, while a folder is read.
fn readdir_changes(device: &Virtio9p, vm: &Rc<Vm>) -> Result<()> {
    let (client, _) = shared(device, vm)?;
    for number in 0..30 {
        make_file(&client, ROOT, &format!("stays{number}"), b"")?;
        make_file(&client, ROOT, &format!("goes{number}"), b"")?;
    }
    client.walk(ROOT, ONE, &[])?;
    client.open(ONE, 0)?;
    let first = client.readdir(ONE, 0, 400)?;
    let offset = first.last().map_or(0, |entry| entry.next);
    for number in 0..30 {
        client.unlinkat(ROOT, &format!("goes{number}"), 0)?;
    }
    let rest = entries(&client, ONE, offset, 400)?;
    for number in 0..30 {
        let name = format!("stays{number}");
        let count = first.iter().chain(&rest).filter(|entry| entry.name == name).count();
        assert_eq!(count, 1, "how often {name} is there");
    }
    let again = entries(&client, ONE, 0, 4000)?;
    assert!(!again.iter().any(|entry| entry.name.starts_with("goes")), "{again:?}");
    Ok(())
}

/// Would catch an open file that can do what it was not opened for, or was not cut, or is not
/// written at its end.
fn open_flags(device: &Virtio9p, vm: &Rc<Vm>) -> Result<()> {
    let (client, share) = shared(device, vm)?;
    make_file(&client, ROOT, "file", b"content")?;
    let read = |fid: u32| Fields::new().u32(fid).u64(0).u32(10);
    let write = |fid: u32| Fields::new().u32(fid).u64(0).u32(1).u8(b'x');
    client.walk(ROOT, ONE, &["file"])?;
    client.call(kind::READ, read(ONE))?.refused("a read of what is not open")?;
    client.open(ONE, 0)?;
    assert_eq!(client.read(ONE, 0, 10)?, b"content");
    let refused =
        client.call(kind::WRITE, write(ONE))?.refused("a write of what is for reading")?;
    assert_eq!(refused, errno::EBADF, "a write of what is open for reading");
    client.clunk(ONE)?;
    client.walk(ROOT, ONE, &["file"])?;
    client.open(ONE, WRITE | APPEND)?;
    let refused = client.call(kind::READ, read(ONE))?.refused("a read of what is for writing")?;
    assert_eq!(refused, errno::EBADF, "a read of what is open for writing");
    client.clunk(ONE)?;
    client.walk(ROOT, ONE, &["file"])?;
    let refused = client.try_open(ONE, FOLDER)?.refused("a file as a folder")?;
    assert_eq!(refused, errno::ENOTDIR, "a file as a folder");
    client.open(ONE, READ_WRITE | TRUNCATE)?;
    assert_eq!(content(share.join("file"))?, b"", "what was cut");
    assert_eq!(client.write(ONE, 0, b"new")?, 3);
    assert_eq!(content(share.join("file"))?, b"new");
    Ok(())
}

/// Would catch a file that is made although it is there, or in what is none of the folders.
fn create_flags(device: &Virtio9p, vm: &Rc<Vm>) -> Result<()> {
    let (client, share) = shared(device, vm)?;
    make_file(&client, ROOT, "file", b"content")?;
    client.walk(ROOT, ONE, &[])?;
    let flags = READ_WRITE | CREATE | EXCLUSIVE;
    let refused = client.try_lcreate(ONE, "file", flags, 0o600)?.refused("a second file")?;
    assert_eq!(refused, errno::EEXIST, "a second file");
    assert_eq!(content(share.join("file"))?, b"content");
    // The number is the folder's still.
    client.lcreate(ONE, "other", flags, 0o600)?;
    assert_eq!(names(&share)?, ["file", "other"]);
    client.try_lcreate(ONE, "below", flags, 0o600)?.refused("a file in a file")?;
    Ok(())
}

/// Would catch a folder that is opened for writing.
fn open_folder(device: &Virtio9p, vm: &Rc<Vm>) -> Result<()> {
    let (client, _) = shared(device, vm)?;
    for flags in [WRITE, READ_WRITE] {
        client.walk(ROOT, ONE, &[])?;
        let refused = client.try_open(ONE, flags)?.refused("a folder for writing")?;
        assert_eq!(refused, errno::EISDIR, "a folder opened with {flags}");
        client.clunk(ONE)?;
    }
    Ok(())
}

/// Would catch content that is lost, cut or moved where a message is long, or the file has holes.
fn long_transfers(device: &Virtio9p, vm: &Rc<Vm>) -> Result<()> {
    let (client, share) = shared(device, vm)?;
    client.walk(ROOT, ONE, &[])?;
    client.lcreate(ONE, "file", READ_WRITE, 0o600)?;
    let mut expected = Vec::new();
    let most = client.msize as usize - 24;
    for (offset, length) in [(0, 32 << 10), (32 << 10, most), (200_001, 40_000), (100, 1), (7, 0)] {
        let data: Vec<u8> = (0..length).map(|at| (at * 7 + offset) as u8).collect();
        assert_eq!(client.write(ONE, offset as u64, &data)? as usize, length, "at {offset}");
        if length > 0 {
            expected.resize(expected.len().max(offset + length), 0);
            expected[offset..offset + length].copy_from_slice(&data);
        }
    }
    assert_eq!(content(share.join("file"))?, expected, "on the host");
    for count in [32 << 10, most, 4097] {
        let mut found = Vec::new();
        while found.len() < expected.len() {
            let more = client.read(ONE, found.len() as u64, count as u32)?;
            assert!(!more.is_empty(), "nothing at {}", found.len());
            found.extend(more);
        }
        assert_eq!(found, expected, "read in pieces of {count} bytes");
    }
    client.call(kind::FSYNC, Fields::new().u32(ONE).u32(0))?.done("fsync")?.end()
}

/// Would catch bytes beyond the end of a file, and offsets that wrap around.
fn end_of_file(device: &Virtio9p, vm: &Rc<Vm>) -> Result<()> {
    let (client, share) = shared(device, vm)?;
    client.walk(ROOT, ONE, &[])?;
    client.lcreate(ONE, "file", READ_WRITE, 0o600)?;
    client.write(ONE, 0, b"content")?;
    assert_eq!(client.read(ONE, 5, 100)?, b"nt");
    for offset in [7, 8, 1 << 20, 1 << 40] {
        assert_eq!(client.read(ONE, offset, 100)?, b"", "at {offset:#x}");
    }
    for offset in [1 << 63, u64::MAX] {
        let read = Fields::new().u32(ONE).u64(offset).u32(100);
        client.call(kind::READ, read)?.refused("a read at a negative offset")?;
        let write = Fields::new().u32(ONE).u64(offset).u32(1).u8(b'x');
        client.call(kind::WRITE, write)?.refused("a write at a negative offset")?;
    }
    // More data is said to be there than is: the device may give up.
    let short = Fields::new().u32(ONE).u64(0).u32(1000).raw(b"xyz");
    let request = client.send(kind::WRITE, &short)?;
    settle(vm)?;
    if let Some(used) = client.queue.take_used()?
        && let Some(Outcome::Done(mut body)) = client.finish(&request, used.written)?
    {
        assert!(body.u32()? <= 3, "more was written than there was");
    }
    let length = content(share.join("file"))?.len();
    assert_eq!(length, 7, "bytes of the file");
    Ok(())
}

/// Would catch a number of an open file that becomes another file's, or is opened twice.
fn fids_twice(device: &Virtio9p, vm: &Rc<Vm>) -> Result<()> {
    let (client, share) = shared(device, vm)?;
    client.mkdir(ROOT, "folder", 0o755)?;
    make_file(&client, ROOT, "one", b"1")?;
    make_file(&client, ROOT, "two", b"2")?;
    client.walk(ROOT, ONE, &["one"])?;
    client.open(ONE, READ_WRITE)?;
    client.try_open(ONE, 0)?.refused("a number that is open")?;
    client.try_walk(ROOT, ONE, &["two"])?.refused("a walk to a number that is taken")?;
    client.try_xattrcreate(ONE, "user.x", 1, 0)?;
    client.clunk(ONE)?;
    // In place: the number itself moves, if all of the walk succeeds.
    client.walk(ROOT, ONE, &["folder"])?;
    client.walk(ONE, ONE, &["..", "two"])?;
    client.open(ONE, 0)?;
    assert_eq!(client.read(ONE, 0, 10)?, b"2");
    client.walk(ROOT, TWO, &["folder"])?;
    assert_eq!(client.walk(TWO, TWO, &["..", "missing"])?.len(), 1, "half a walk in place");
    make_file(&client, TWO, "here", b"x")?;
    assert_eq!(names(&share.join("folder"))?, ["here"], "where the number still is");
    // The number is gone, even if the removal is refused (`remove` is also a `clunk`).
    let remove = client.call(kind::REMOVE, Fields::new().u32(TWO))?.refused("a full folder")?;
    assert_eq!(remove, errno::ENOTEMPTY, "a full folder");
    client.call(kind::CLUNK, Fields::new().u32(TWO))?.refused("a number that was given up")?;
    Ok(())
}

/// Would catch a walk of more names than a message may have (16), and one that is cut.
fn long_walk(device: &Virtio9p, vm: &Rc<Vm>) -> Result<()> {
    let (client, share) = shared(device, vm)?;
    client.mkdir(ROOT, "a", 0o755)?;
    client.walk(ROOT, ONE, &["a"])?;
    make_file(&client, ONE, "file", b"x")?;
    let names: Vec<&str> = ["a", ".."].into_iter().cycle().take(16).collect();
    assert_eq!(client.walk(ROOT, TWO, &names)?.len(), 16, "files passed");
    client.clunk(TWO)?;
    for count in [17, 18, 100, 1000, 0xffff] {
        let names: Vec<&str> = ["a", ".."].into_iter().cycle().take(count).collect();
        let fields = Fields::new().u32(ROOT).u32(TWO).u16(names.len() as u16);
        let fields = match count {
            // Said, and not there.
            0xffff => fields.text("a"),
            _ => names.iter().fold(fields, |fields, name| fields.text(name)),
        };
        client.call(kind::WALK, fields)?.refused(&format!("a walk of {count} names"))?;
    }
    client.walk(ROOT, TWO, &["a", "file"])?;
    assert_eq!(content(share.join("a/file"))?, b"x");
    Ok(())
}

/// Would catch an answer that is longer than was agreed on.
fn message_sizes(device: &Virtio9p, vm: &Rc<Vm>) -> Result<()> {
    let (client, _) = shared(device, vm)?;
    let data: Vec<u8> = (0..20_000_u32).map(|at| at as u8).collect();
    make_file(&client, ROOT, "file", &data)?;
    for size in [4096, 8192] {
        let (agreed, _) = client.version(size, "9P2000.L")?;
        assert!(agreed <= size, "{agreed} bytes, where {size} were asked for");
        client.attach(ROOT)?;
        client.walk(ROOT, ONE, &["file"])?;
        client.open(ONE, 0)?;
        for count in [agreed - 11, agreed, 60_000, u32::MAX] {
            let read = Fields::new().u32(ONE).u64(0).u32(count);
            // Refused or cut.
            let outcome = client.call(kind::READ, read)?;
            if let Outcome::Done(mut body) = outcome {
                let length = body.u32()?;
                assert!(length <= agreed - 11, "{length} bytes, where {agreed} were agreed on");
                assert_eq!(body.take(length as usize)?, &data[..length as usize]);
            }
        }
    }
    Ok(())
}

/// Would catch an extended attribute that is lost, cut or another's, or that lacks in the list.
fn xattr(device: &Virtio9p, vm: &Rc<Vm>) -> Result<()> {
    let (client, _) = shared(device, vm)?;
    make_file(&client, ROOT, "file", b"content")?;
    let set = |name, value: &[u8], flags| {
        client.try_set_xattr((ROOT, TWO), &["file"], (name, value), flags)
    };
    set("user.one", b"1", 0)?.done("an attribute")?;
    set("user.two", &[2; 3000], XATTR_CREATE)?.done("a new attribute")?;
    client.walk(ROOT, ONE, &["file"])?;
    assert_eq!(client.xattr(ONE, TWO, "user.one")?, b"1");
    assert_eq!(client.xattr(ONE, TWO, "user.two")?, [2; 3000]);
    set("user.one", b"other", XATTR_REPLACE)?.done("another value")?;
    assert_eq!(client.xattr(ONE, TWO, "user.one")?, b"other");
    let list = client.xattr(ONE, TWO, "")?;
    let mut list: Vec<&[u8]> = list.split(|byte| *byte == 0).filter(|it| !it.is_empty()).collect();
    list.retain(|name| name.starts_with(b"user."));
    list.sort_unstable();
    // What QEMU keeps there itself is not for the guest.
    assert_eq!(list, [&b"user.one"[..], b"user.two"], "the names");
    // Of no bytes: it is removed (as Linux's client does it).
    set("user.one", b"", XATTR_REPLACE)?.done("no value")?;
    let gone = client.try_xattrwalk(ONE, TWO, "user.one")?.refused("an attribute that is gone")?;
    assert_eq!(gone, errno::ENODATA, "an attribute that is gone");
    assert_eq!(client.xattr(ONE, TWO, "user.two")?, [2; 3000]);
    Ok(())
}

/// Would catch an attribute that is set although its flags or length forbid it, and one of QEMU's
/// own that the guest reads or changes: it would own files as it likes.
fn xattr_refused(device: &Virtio9p, vm: &Rc<Vm>) -> Result<()> {
    let (client, _) = shared(device, vm)?;
    make_file(&client, ROOT, "file", b"content")?;
    client.walk(ROOT, ONE, &["file"])?;
    let set = |name, value: &[u8], flags| {
        client.try_set_xattr((ROOT, TWO), &["file"], (name, value), flags)
    };
    let missing =
        set("user.one", b"1", XATTR_REPLACE)?.refused("an attribute that is not there")?;
    assert_eq!(missing, errno::ENODATA, "an attribute that is not there");
    set("user.one", b"1", 0)?.done("an attribute")?;
    let there = set("user.one", b"2", XATTR_CREATE)?.refused("an attribute that is there")?;
    assert_eq!(there, errno::EEXIST, "an attribute that is there");
    assert_eq!(client.xattr(ONE, TWO, "user.one")?, b"1");
    // More than the kernel takes (64 KiB), more than there can be, and less than was said.
    for size in [(64 << 10) + 1, 1 << 40, u64::MAX] {
        client.walk(ROOT, TWO, &["file"])?;
        client.try_xattrcreate(TWO, "user.long", size, 0)?.refused("a long attribute")?;
        client.clunk(TWO)?;
    }
    client.walk(ROOT, TWO, &["file"])?;
    client.try_xattrcreate(TWO, "user.short", 10, 0)?.done("xattrcreate")?;
    client.write(TWO, 0, b"x")?;
    let beyond = Fields::new().u32(TWO).u64(11).u32(1).u8(1);
    client.call(kind::WRITE, beyond)?.refused("a write beyond the attribute")?;
    client.call(kind::CLUNK, Fields::new().u32(TWO))?.refused("an attribute that is cut")?;
    client.try_xattrwalk(ONE, TWO, "user.short")?.refused("an attribute that was cut")?;
    // mapped-xattr keeps attributes of the guest's files in these.
    client.try_xattrwalk(ONE, TWO, "user.virtfs.uid")?.refused("QEMU's own attribute")?;
    set("user.virtfs.uid", &[0; 4], 0)?.refused("QEMU's own attribute")?;
    client.getattr(ONE).map(|_| ())
}

/// Would catch a file system of other sizes than the host's.
fn file_system(device: &Virtio9p, vm: &Rc<Vm>) -> Result<()> {
    let (client, share) = shared(device, vm)?;
    let mut body = client.call(kind::STATFS, Fields::new().u32(ROOT))?.done("statfs")?;
    let (_, block) = (body.u32()?, body.u32()?);
    let (blocks, free, available) = (body.u64()?, body.u64()?, body.u64()?);
    let (files, free_files, _, name) = (body.u64()?, body.u64()?, body.u64()?, body.u32()?);
    body.end()?;
    assert!(blocks >= free && free >= available && files >= free_files, "more free than there is");
    let found = nix::sys::statvfs::statvfs(&share);
    let found = found.map_err(|e| on_host("the file system", &e.into()))?;
    // QEMU counts in blocks of what one message moves.
    let (bytes, block) = (found.blocks() * found.fragment_size(), u64::from(block));
    let expected = bytes.saturating_sub(block)..=bytes;
    assert!(expected.contains(&(blocks * block)), "{blocks} blocks of {block}, of {bytes} bytes");
    assert_eq!(u64::from(name), found.name_max(), "the longest name");
    let made = make_file(&client, ROOT, &"n".repeat(name as usize), b"")?;
    client.walk(ROOT, ONE, &[])?;
    let long = "n".repeat(name as usize + 1);
    client.try_lcreate(ONE, &long, READ_WRITE, 0o600)?.refused("a longer name")?;
    assert_eq!(names(&vm.folder(SHARE.name)?)?.len(), 1, "files");
    let host = std::fs::metadata(share.join("n".repeat(name as usize)));
    assert_ne!(host.map_err(|e| on_host("the file", &e))?.ino(), 0);
    assert_eq!(made.kind, 0);
    Ok(())
}

/// Opens extended attributes of the file `name` until one is refused or `most` are open; asserts
/// that `limit` could be, that each that is given up makes room for one, and that nothing else
/// suffers.
fn limit(client: &Client, name: &str, limit: Option<u32>) -> Result<()> {
    let most = limit.unwrap_or(3000);
    client.walk(ROOT, ONE, &[name])?;
    let first = 100;
    for fid in first..first + most {
        // The attribute that names all: every file has it.
        client.walk(ROOT, fid, &[name])?;
        let opened = client.try_xattrcreate(fid, "user.x", 1, 0)?;
        opened.done(&format!("extended attribute {}", fid - first))?;
    }
    client.walk(ROOT, TWO, &[name])?;
    if limit.is_some() {
        for _ in 0..3 {
            client.try_xattrcreate(TWO, "user.x", 1, 0)?.refused("one more than the limit")?;
        }
        // What was given up makes room, however it ends.
        client.call(kind::CLUNK, Fields::new().u32(first))?;
        client.try_xattrcreate(TWO, "user.x", 1, 0)?.done("one for another")?;
        client.walk(ROOT, first, &[name])?;
        client.try_xattrcreate(first, "user.x", 1, 0)?.refused("one more than the limit")?;
    }
    client.getattr(ONE)?;
    // A new session has all of it.
    client.version(client.msize, "9P2000.L")?;
    client.attach(ROOT)?;
    client.walk(ROOT, TWO, &[name])?;
    client.try_xattrcreate(TWO, "user.x", 1, 0)?.done("one of a new session").map(|_| ())
}

fn limit_of_shared(device: &Virtio9p, vm: &Rc<Vm>, most: Option<u32>) -> Result<()> {
    let (client, _) = shared(device, vm)?;
    make_file(&client, ROOT, "file", b"")?;
    limit(&client, "file", most)
}

fn limit_of_made_up(device: &Virtio9p, most: Option<u32>) -> Result<()> {
    let client = device.start()?;
    client.attach(ROOT)?;
    limit(&client, "WRITE", most)
}

/// Would catch a guest that takes as much of the host's memory as it likes.
fn local_default(device: &Virtio9p, vm: &Rc<Vm>) -> Result<()> {
    limit_of_shared(device, vm, Some(1024))
}

/// Would catch a limit that is not that of the command line.
fn local_custom(device: &Virtio9p, vm: &Rc<Vm>) -> Result<()> {
    limit_of_shared(device, vm, Some(5))
}

/// Would catch a limit where none is wanted.
fn local_unlimited(device: &Virtio9p, vm: &Rc<Vm>) -> Result<()> {
    limit_of_shared(device, vm, None)
}

/// Would catch a guest that takes as much of the host's memory as it likes.
fn synth_default(device: &Virtio9p, _: &Rc<Vm>) -> Result<()> {
    limit_of_made_up(device, Some(1024))
}

/// Would catch a limit that is not that of the command line.
fn synth_custom(device: &Virtio9p, _: &Rc<Vm>) -> Result<()> {
    limit_of_made_up(device, Some(5))
}

/// Would catch a limit where none is wanted.
fn synth_unlimited(device: &Virtio9p, _: &Rc<Vm>) -> Result<()> {
    limit_of_made_up(device, None)
}
