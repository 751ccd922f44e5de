//! The virtio 9P device on the files that QEMU makes up for tests: sessions, walks, files and
//! folders, requests that are cancelled, and requests that break the rules.

use std::collections::BTreeSet;
use std::rc::Rc;

use crate::drivers::virtio::p9::TAG;
use crate::qemu::Vm;
use crate::qos::settle;
use crate::qos::virtio::p9::{Client, Entry, Fields, NO_FID, Outcome, Qid, Virtio9p, errno, kind};
use crate::{Error, Result, attacks, tests};

tests!(Virtio9p, "virtio-9p-tests":
    config = "synth/config",
    version = "synth/version/basic",
    attach = "synth/attach/basic",
    walk = "synth/walk/basic",
    walk_slash = "synth/walk/no_slash",
    walk_none = "synth/walk/none",
    walk_dotdot = "synth/walk/dotdot_from_root",
    walk_missing = "synth/walk/non_existent",
    walk_second_missing = "synth/walk/2nd_non_existent",
    lopen = "synth/lopen/basic",
    write = "synth/write/basic",
    flush_success = "synth/flush/success",
    flush_ignored = "synth/flush/ignored",
    readdir = "synth/readdir/basic",
    readdir_512 = "synth/readdir/split_512",
    readdir_256 = "synth/readdir/split_256",
    readdir_128 = "synth/readdir/split_128",
    fids = "synth/fids",
    malformed = "synth/malformed",
);
attacks!(Virtio9p, "virtio-9p-attacks": version = "synth/version/basic", walk = "synth/walk/basic");

/// The numbers that the cases give to the root and to a file.
const ROOT: u32 = 0;
const FILE: u32 = 1;
/// Flag of `open`: for writing.
const WRITE_ONLY: u32 = 1;
/// The most names of one walk.
const DEEPEST: usize = 16;
/// How many files the folder for readings has, and its name.
const FILES: usize = 100;
const FOLDER: &str = "ReadDirDir";

/// A session whose root is attached.
fn attached(device: &Virtio9p) -> Result<(Client, Qid)> {
    let client = device.start()?;
    let root = client.attach(ROOT)?;
    Ok((client, root))
}

/// Would catch another tag than that of the command line, or bytes behind it.
fn config(device: &Virtio9p, _: &Rc<Vm>) -> Result<()> {
    assert_eq!(device.tag()?, TAG.as_bytes(), "the tag");
    Ok(())
}

/// Would catch a version that is not spoken, one that is spoken though nobody knows it, and longer
/// messages than were asked for.
fn version(device: &Virtio9p, _: &Rc<Vm>) -> Result<()> {
    let client = device.start()?;
    for (version, answer) in [("9P2000.u", "9P2000.u"), ("9P2000.x", "unknown"), ("", "unknown")] {
        assert_eq!(client.version(8192, version)?, (8192, answer.to_owned()), "{version:?}");
    }
    assert_eq!(client.version(4096, "9P2000.L")?.0, 4096, "the least length");
    Ok(())
}

/// Would catch a root that is no folder, or two roots that differ.
fn attach(device: &Virtio9p, _: &Rc<Vm>) -> Result<()> {
    let (client, root) = attached(device)?;
    assert_eq!(root.kind, Qid::FOLDER, "the kind of the root");
    assert_eq!(client.attach(7)?, root, "the root, attached again");
    // A new session forgets all numbers.
    client.version(client.msize, "9P2000.L")?;
    assert_eq!(client.try_walk(7, 8, &[])?.refused("a walk from before")?, errno::ENOENT);
    assert_eq!(client.attach(7)?, root, "the root of a new session");
    Ok(())
}

/// Would catch a name on the way that is left out or another file's.
fn walk(device: &Virtio9p, _: &Rc<Vm>) -> Result<()> {
    let (client, root) = attached(device)?;
    let names: Vec<String> = (0..DEEPEST).map(|depth| format!("WALK{depth}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut all = BTreeSet::from([root.path]);
    let whole = client.walk(ROOT, FILE, &names)?;
    assert_eq!(whole.len(), DEEPEST, "files passed");
    for (depth, qid) in whole.iter().enumerate() {
        assert_eq!(qid.kind, Qid::FOLDER, "the kind of {}", names[depth]);
        assert!(all.insert(qid.path), "{} is another file: {qid:?}", names[depth]);
        let to = 10 + depth as u32;
        assert_eq!(client.walk(ROOT, to, &names[..=depth])?, whole[..=depth], "{}", names[depth]);
        client.clunk(to)?;
    }
    client.clunk(FILE)
}

/// Would catch a slash that divides a name (it is none).
fn walk_slash(device: &Virtio9p, _: &Rc<Vm>) -> Result<()> {
    let (client, _) = attached(device)?;
    for name in [" /", "WALK0/WALK1", "/", "WALK0/", ""] {
        let refused = client.try_walk(ROOT, FILE, &[name])?.refused(name)?;
        assert_eq!(refused, errno::ENOENT, "a walk to {name:?}");
    }
    Ok(())
}

/// Would catch a walk to nowhere that does not give the same file.
fn walk_none(device: &Virtio9p, _: &Rc<Vm>) -> Result<()> {
    let (client, root) = attached(device)?;
    assert_eq!(client.walk(ROOT, FILE, &[])?, [], "files passed");
    let mut body =
        client.call(kind::GETATTR, Fields::new().u32(FILE).u64(0x7ff))?.done("getattr")?;
    let _valid = body.u64()?;
    assert_eq!(body.qid()?, root, "what the second number is");
    // The first is still there.
    client.walk(ROOT, 2, &["WALK0"]).map(|_| ())
}

/// Would catch a way out of the root, upwards.
fn walk_dotdot(device: &Virtio9p, _: &Rc<Vm>) -> Result<()> {
    let (client, root) = attached(device)?;
    assert_eq!(client.walk(ROOT, FILE, &[".."])?, [root], "above the root");
    Ok(())
}

/// Would catch a file that is found though it is not there.
fn walk_missing(device: &Virtio9p, _: &Rc<Vm>) -> Result<()> {
    let (client, _) = attached(device)?;
    let refused = client.try_walk(ROOT, FILE, &["non-existent"])?.refused("a missing file")?;
    assert_eq!(refused, errno::ENOENT, "a missing file");
    // The number is free all the same.
    client.walk(ROOT, FILE, &["WALK0"]).map(|_| ())
}

/// Would catch a walk that fails whole where only its second step does, or that gives a number to
/// what was not reached.
fn walk_second_missing(device: &Virtio9p, _: &Rc<Vm>) -> Result<()> {
    let (client, root) = attached(device)?;
    let passed = client.walk(ROOT, FILE, &["WALK0", "non-existent"])?;
    assert_eq!(passed.len(), 1, "files passed: {passed:?}");
    assert_ne!(passed[0], root, "the first");
    let refused = client.try_walk(FILE, 2, &[])?.refused("a number that was not given")?;
    assert_eq!(refused, errno::ENOENT, "a number that was not given");
    Ok(())
}

/// Would catch a file that cannot be opened, or can be opened twice, and a number that is none.
fn lopen(device: &Virtio9p, _: &Rc<Vm>) -> Result<()> {
    let (client, _) = attached(device)?;
    let found = client.walk(ROOT, FILE, &["LOPEN"])?;
    let (qid, unit) = client.open(FILE, WRITE_ONLY)?;
    assert_eq!(qid, found[0], "what was opened");
    assert!(unit == 0 || unit <= client.msize, "{unit} bytes at once");
    client.clunk(FILE)?;
    let gone = client.try_open(FILE, WRITE_ONLY)?.refused("a number that was given up")?;
    assert_eq!(gone, errno::ENOENT, "a number that was given up");
    Ok(())
}

/// Would catch a write that is cut short.
fn write(device: &Virtio9p, _: &Rc<Vm>) -> Result<()> {
    let (client, _) = attached(device)?;
    client.walk(ROOT, FILE, &["WRITE"])?;
    client.open(FILE, WRITE_ONLY)?;
    for length in [1, 2, 4095, 4096, 10_000] {
        let data = vec![0x5a; length as usize];
        assert_eq!(client.write(FILE, 0, &data)?, length, "bytes written");
    }
    Ok(())
}

/// Makes a write that waits for ever if `waits`, then a request to cancel it. Returns how the
/// write went, after the answer to the other.
fn flush(client: &Client, waits: bool) -> Result<Option<Outcome>> {
    client.walk(ROOT, FILE, &["FLUSH"])?;
    client.open(FILE, WRITE_ONLY)?;
    let fields = Fields::new().u32(FILE).u64(0).u32(1).raw(&[u8::from(waits)]);
    let write = client.send(kind::WRITE, &fields)?;
    let cancel = client.send(kind::FLUSH, &Fields::new().u16(write.tag))?;
    let first = client.queue.wait_used()?;
    if !client.is_of(&write, first) {
        return Err(Error::failed("the answer to the cancelling came before the write's"));
    }
    let went = client.finish(&write, first.written)?;
    client.wait(&cancel)?.done("the cancelling")?.end()?;
    client.clunk(FILE)?;
    Ok(went)
}

/// Would catch a request that waits on although it was cancelled, or is answered.
fn flush_success(device: &Virtio9p, _: &Rc<Vm>) -> Result<()> {
    let (client, _) = attached(device)?;
    for _ in 0..3 {
        let went = flush(&client, true)?;
        assert!(went.is_none(), "a request that was cancelled: {went:?}");
    }
    Ok(())
}

/// Would catch a request that is lost because somebody would have cancelled it, had it waited.
fn flush_ignored(device: &Virtio9p, _: &Rc<Vm>) -> Result<()> {
    let (client, _) = attached(device)?;
    for _ in 0..3 {
        let went = flush(&client, false)?.ok_or_else(|| Error::failed("the write is lost"))?;
        assert_eq!(went.done("the write")?.u32()?, 1, "bytes written");
    }
    // Nobody's.
    client.call(kind::FLUSH, Fields::new().u16(0x1234))?.done("cancelling nobody")?.end()
}

/// Reads the folder in pieces of at most `count` bytes; asserts that all is there once.
fn read_folder(device: &Virtio9p, count: u32) -> Result<Vec<Entry>> {
    let (client, _) = attached(device)?;
    client.walk(ROOT, FILE, &[FOLDER])?;
    client.open(FILE, 0)?;
    let (mut entries, mut offset) = (Vec::<Entry>::new(), 0);
    loop {
        let more = client.readdir(FILE, offset, count)?;
        let Some(last) = more.last() else { break };
        offset = last.next;
        entries.extend(more);
        assert!(entries.len() <= FILES + 2, "{} entries", entries.len());
    }
    let names: BTreeSet<&str> = entries.iter().map(|entry| entry.name.as_str()).collect();
    let expected: Vec<String> = (0..FILES).map(|number| format!("ReadDirFile{number}")).collect();
    let expected = expected.iter().map(String::as_str).chain([".", ".."]).collect();
    assert_eq!(names, expected, "the names");
    assert_eq!(entries.len(), FILES + 2, "entries");
    // Each is what a walk finds, and reading goes on behind each.
    for (at, entry) in entries.iter().enumerate().filter(|(at, _)| at % 20 == 3) {
        let found = client.walk(FILE, 2, &[&entry.name]);
        match found {
            Ok(found) => assert_eq!(found[0].path, entry.qid.path, "{}", entry.name),
            // An open folder is no place to walk from.
            Err(_) => client.walk(ROOT, 2, &[FOLDER, &entry.name]).map(|_| ())?,
        }
        client.clunk(2)?;
        let behind = client.readdir(FILE, entry.next, 4096)?;
        let first = behind.first().map(|entry| &entry.name);
        assert_eq!(first, entries.get(at + 1).map(|entry| &entry.name), "behind {}", entry.name);
    }
    Ok(entries)
}

/// Would catch an entry of a folder that is lost, doubled, or another file's.
fn readdir(device: &Virtio9p, _: &Rc<Vm>) -> Result<()> {
    read_folder(device, 8192).map(|_| ())
}

/// Would catch the same where it takes many requests.
fn readdir_512(device: &Virtio9p, _: &Rc<Vm>) -> Result<()> {
    read_folder(device, 512).map(|_| ())
}

/// Would catch the same where it takes more.
fn readdir_256(device: &Virtio9p, _: &Rc<Vm>) -> Result<()> {
    read_folder(device, 256).map(|_| ())
}

/// Would catch the same where few entries are read at once.
fn readdir_128(device: &Virtio9p, _: &Rc<Vm>) -> Result<()> {
    read_folder(device, 128).map(|_| ())
}

/// Would catch a number that is nobody's and taken, one that is somebody's and given again, and
/// one that outlasts its end.
fn fids(device: &Virtio9p, _: &Rc<Vm>) -> Result<()> {
    let (client, _) = attached(device)?;
    let fid = |fid: u32| Fields::new().u32(fid);
    for (kind, fields) in [
        (kind::CLUNK, fid(99)),
        (kind::LOPEN, fid(99).u32(0)),
        (kind::READ, fid(99).u64(0).u32(10)),
        (kind::WRITE, fid(99).u64(0).u32(1).u8(1)),
        (kind::READDIR, fid(99).u64(0).u32(1000)),
        (kind::GETATTR, fid(99).u64(0x7ff)),
        (kind::STATFS, fid(99)),
        (kind::WALK, fid(99).u32(5).u16(0)),
    ] {
        let refused = client.call(kind, fields)?.refused(&format!("request {kind} of nobody"))?;
        assert!(
            [errno::ENOENT, errno::EBADF, errno::EINVAL].contains(&refused),
            "{kind}: {refused}"
        );
    }
    let again = Fields::new().u32(ROOT).u32(NO_FID).text("root").text("").u32(0);
    client.call(kind::ATTACH, again)?.refused("a number that is taken")?;
    client.walk(ROOT, FILE, &["WALK0"])?;
    client.try_walk(ROOT, FILE, &["LOPEN"])?.refused("a walk to a number that is taken")?;
    client.clunk(FILE)?;
    client.call(kind::CLUNK, fid(FILE))?.refused("a number that was given up")?;
    Ok(())
}

/// Would catch a request that is cut short, too long or of no kind, and ends QEMU or is done: the
/// device answers with an error, or gives up until it is reset.
fn malformed(device: &Virtio9p, vm: &Rc<Vm>) -> Result<()> {
    for (what, bytes) in [
        ("a kind that is none", &[7, 0, 0, 0, 250, 1, 0][..]),
        ("a walk without fields", &[7, 0, 0, 0, kind::WALK, 1, 0]),
        (
            "a walk with a name that is cut short",
            &[19, 0, 0, 0, kind::WALK, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 50, 0],
        ),
        (
            "a walk with more names than there are",
            &[17, 0, 0, 0, kind::WALK, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 255, 255],
        ),
        ("a size of 0", &[0, 0, 0, 0, kind::CLUNK, 1, 0, 0, 0, 0, 0]),
        ("a size beyond the end", &[255, 255, 255, 127, kind::CLUNK, 1, 0, 9, 0, 0, 0]),
        ("half a header", &[7, 0, 0]),
    ] {
        let (client, root) = attached(device)?;
        let request = client.send_bytes(bytes, bytes.get(4).copied().unwrap_or(0), 1)?;
        settle(vm)?;
        if let Some(used) = client.queue.take_used()?
            && let Some(outcome) = client.finish(&request, used.written)?
        {
            // QEMU goes by the length of the buffer, not by the size in the message.
            if !what.starts_with("a size") {
                outcome.refused(what)?;
            }
        }
        device.0.reset()?;
        let (client, again) = attached(device)?;
        assert_eq!(again, root, "the root after {what}");
        client
            .walk(ROOT, FILE, &["WALK0"])
            .map_err(|e: Error| e.context(format!("after {what}")))?;
    }
    Ok(())
}
