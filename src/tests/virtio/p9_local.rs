//! The virtio 9P device on a folder of the host, with attributes that QEMU keeps beside the files:
//! making, linking, renaming and removing. What the guest did is looked at on the host.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::PathBuf;
use std::rc::Rc;

use crate::graph::QemuArgs;
use crate::qemu::{Folder, Vm};
use crate::qos::virtio::p9::{Client, Fields, Outcome, Qid, Virtio9p, errno, kind};
use crate::qos::virtio::p9_files::{Change, REMOVE_FOLDER};
use crate::{Error, Result, tests};

/// The folder that the device shares.
pub(super) const SHARE: Folder = Folder { name: "share" };
/// What makes the device share it instead of the files that QEMU makes up.
pub(super) const SHARED: QemuArgs = QemuArgs::NONE
    .folders(&[SHARE])
    .before("-fsdev local,id=local0,path={share},security_model=mapped-xattr")
    .after("-set device.p9.fsdev=local0");

tests!(Virtio9p, "virtio-9p-tests":
    config = "local/config",
    create_dir = "local/create_dir",
    unlinkat_dir = "local/unlinkat_dir",
    create_file = "local/create_file",
    unlinkat_file = "local/unlinkat_file",
    symlink_file = "local/symlink_file",
    readlink_refused = "local/readlink-refused",
    unlinkat_symlink = "local/unlinkat_symlink",
    hardlink_file = "local/hardlink_file",
    unlinkat_hardlink = "local/unlinkat_hardlink",
    use_after_unlink = "local/use_after_unlink",
    deep_absolute_path = "local/deep_absolute_path",
    rename = "local/rename",
    rename_open = "local/rename-open",
    rename_folder = "local/rename-folder",
    rename_refused = "local/rename-refused",
    unlinkat_refused = "local/unlinkat-refused",
    special_files = "local/special-files",
    attributes = "local/attributes";
    with SHARED);

/// The root, and numbers for files.
pub(super) const ROOT: u32 = 0;
pub(super) const ONE: u32 = 1;
pub(super) const TWO: u32 = 2;
/// Flags of `open`.
pub(super) const READ_WRITE: u32 = 2;
/// The kinds of files in a mode.
const KIND: u32 = 0o170_000;
const FIFO: u32 = 0o010_000;
const CHARACTER: u32 = 0o020_000;
const REGULAR: u32 = 0o100_000;

/// A session whose root is attached, and the folder on the host.
pub(super) fn shared(device: &Virtio9p, vm: &Rc<Vm>) -> Result<(Client, PathBuf)> {
    let client = device.start()?;
    client.attach(ROOT)?;
    // QEMU keeps the guest's attributes in extended ones of the host.
    match client.try_mkdir(ROOT, "probe", 0o700)? {
        Outcome::Refused(errno::EOPNOTSUPP) => {
            return Err(Error::skipped("temporary files cannot have extended attributes here"));
        }
        other => other.done("mkdir")?,
    };
    client.unlinkat(ROOT, "probe", REMOVE_FOLDER)?;
    Ok((client, vm.folder(SHARE.name)?))
}

/// Makes the file `name` in the folder `fid` with this content.
pub(super) fn make_file(client: &Client, fid: u32, name: &str, content: &[u8]) -> Result<Qid> {
    client.walk(fid, 90, &[])?;
    let qid = client.lcreate(90, name, READ_WRITE, 0o644)?;
    assert_eq!(client.write(90, 0, content)?, content.len() as u32, "bytes of {name}");
    client.clunk(90)?;
    Ok(qid)
}

/// The names in a folder of the host, in order.
pub(super) fn names(folder: &std::path::Path) -> Result<Vec<String>> {
    let entries = fs::read_dir(folder).map_err(|e| on_host("a folder", &e))?;
    let mut names = Vec::new();
    for entry in entries {
        let name = entry.map_err(|e| on_host("a folder", &e))?.file_name();
        names.push(name.to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

pub(super) fn on_host(what: &str, e: &std::io::Error) -> Error {
    Error::failed(format!("{what} on the host: {e}"))
}

/// The content of a file of the host.
pub(super) fn content(path: PathBuf) -> Result<Vec<u8>> {
    fs::read(&path).map_err(|e| on_host(&path.display().to_string(), &e))
}

/// Would catch another tag than that of the command line because the files are others.
fn config(device: &Virtio9p, _: &Rc<Vm>) -> Result<()> {
    assert_eq!(device.tag()?, crate::drivers::virtio::p9::TAG.as_bytes(), "the tag");
    Ok(())
}

/// Would catch a folder that is made elsewhere, as a file, or for others to read on the host.
fn create_dir(device: &Virtio9p, vm: &Rc<Vm>) -> Result<()> {
    let (client, share) = shared(device, vm)?;
    let made = client.mkdir(ROOT, "01", 0o755)?;
    assert_eq!(made.kind, Qid::FOLDER, "the kind");
    assert_eq!(client.walk(ROOT, ONE, &["01"])?, [made], "what a walk finds");
    assert_eq!(client.getattr(ONE)?.mode, 0o040_755, "the mode that the guest sees");
    let found = fs::metadata(share.join("01")).map_err(|e| on_host("01", &e))?;
    assert!(found.is_dir(), "a folder on the host");
    assert_eq!(found.mode() & 0o777, 0o700, "its mode on the host");
    assert_eq!(client.try_mkdir(ROOT, "01", 0o755)?.refused("once more")?, errno::EEXIST);
    Ok(())
}

/// Would catch a folder that stays, or one that goes with what is in it.
fn unlinkat_dir(device: &Virtio9p, vm: &Rc<Vm>) -> Result<()> {
    let (client, share) = shared(device, vm)?;
    client.mkdir(ROOT, "02", 0o755)?;
    client.walk(ROOT, ONE, &["02"])?;
    make_file(&client, ONE, "file", b"x")?;
    let full = client.try_unlinkat(ROOT, "02", REMOVE_FOLDER)?.refused("a full folder")?;
    assert_eq!(full, errno::ENOTEMPTY, "a full folder");
    assert_eq!(names(&share.join("02"))?, ["file"]);
    client.unlinkat(ONE, "file", 0)?;
    client.unlinkat(ROOT, "02", REMOVE_FOLDER)?;
    assert_eq!(names(&share)?, [""; 0], "what is left");
    let gone = client.try_walk(ROOT, TWO, &["02"])?.refused("a folder that is gone")?;
    assert_eq!(gone, errno::ENOENT, "a folder that is gone");
    Ok(())
}

/// Would catch a file that is made elsewhere, with another mode, or not open.
fn create_file(device: &Virtio9p, vm: &Rc<Vm>) -> Result<()> {
    let (client, share) = shared(device, vm)?;
    client.mkdir(ROOT, "03", 0o755)?;
    client.walk(ROOT, ONE, &["03"])?;
    let made = client.lcreate(ONE, "1st_file", READ_WRITE, 0o640)?;
    assert_eq!(made.kind, 0, "the kind");
    assert_eq!(client.write(ONE, 3, b"four")?, 4, "bytes written");
    assert_eq!(client.read(ONE, 0, 100)?, b"\0\0\0four", "what is in it");
    let found = client.getattr(ONE)?;
    assert_eq!((found.mode, found.size, found.nlink), (REGULAR | 0o640, 7, 1), "attributes");
    assert_eq!(found.qid.path, made.path, "what the number is now");
    assert_eq!(content(share.join("03/1st_file"))?, b"\0\0\0four", "on the host");
    assert_eq!(names(&share.join("03"))?, ["1st_file"]);
    Ok(())
}

/// Would catch a file that stays, or another that goes.
fn unlinkat_file(device: &Virtio9p, vm: &Rc<Vm>) -> Result<()> {
    let (client, share) = shared(device, vm)?;
    client.mkdir(ROOT, "04", 0o755)?;
    client.walk(ROOT, ONE, &["04"])?;
    make_file(&client, ONE, "doa_file", b"x")?;
    make_file(&client, ONE, "doa_file2", b"y")?;
    client.unlinkat(ONE, "doa_file", 0)?;
    assert_eq!(names(&share.join("04"))?, ["doa_file2"]);
    let again = client.try_unlinkat(ONE, "doa_file", 0)?.refused("once more")?;
    assert_eq!(again, errno::ENOENT, "once more");
    Ok(())
}

/// Would catch a link to elsewhere, one that is followed, and one that the host would follow.
fn symlink_file(device: &Virtio9p, vm: &Rc<Vm>) -> Result<()> {
    let (client, share) = shared(device, vm)?;
    make_file(&client, ROOT, "real_file", b"content")?;
    let made = client.symlink(ROOT, "symlink_file", "real_file")?;
    assert_eq!(made.kind, Qid::LINK, "the kind");
    assert_eq!(client.walk(ROOT, ONE, &["symlink_file"])?, [made], "what a walk finds");
    assert_eq!(client.readlink(ONE)?, "real_file", "where it leads");
    assert_eq!(client.getattr(ONE)?.mode & KIND, 0o120_000, "the kind in the mode");
    let found = fs::symlink_metadata(share.join("symlink_file"));
    let found = found.map_err(|e| on_host("symlink_file", &e))?;
    // security_model=mapped-xattr: no link of the guest's is one of the host's.
    assert!(found.is_file(), "a plain file on the host: {found:?}");
    assert_eq!(content(share.join("symlink_file"))?, b"real_file", "what is in it");
    Ok(())
}

/// Would catch a file whose content is taken for the target of a link.
fn readlink_refused(device: &Virtio9p, vm: &Rc<Vm>) -> Result<()> {
    let (client, _) = shared(device, vm)?;
    make_file(&client, ROOT, "real_file", b"content")?;
    client.walk(ROOT, ONE, &["real_file"])?;
    for fid in [ONE, ROOT] {
        let refused = client.call(kind::READLINK, Fields::new().u32(fid))?.refused("no link")?;
        assert_eq!(refused, errno::EINVAL, "where {fid} leads");
    }
    Ok(())
}

/// Would catch a file that goes with the link to it.
fn unlinkat_symlink(device: &Virtio9p, vm: &Rc<Vm>) -> Result<()> {
    let (client, share) = shared(device, vm)?;
    make_file(&client, ROOT, "real_file", b"content")?;
    client.symlink(ROOT, "symlink_file", "real_file")?;
    client.unlinkat(ROOT, "symlink_file", 0)?;
    assert_eq!(names(&share)?, ["real_file"]);
    Ok(())
}

/// Would catch a copy instead of a second name.
fn hardlink_file(device: &Virtio9p, vm: &Rc<Vm>) -> Result<()> {
    let (client, share) = shared(device, vm)?;
    let made = make_file(&client, ROOT, "real_file", b"content")?;
    client.walk(ROOT, ONE, &["real_file"])?;
    client.try_link(ROOT, ONE, "hardlink_file")?.done("link")?.end()?;
    assert_eq!(client.walk(ROOT, TWO, &["hardlink_file"])?[0].path, made.path, "the same file");
    assert_eq!(client.getattr(TWO)?.nlink, 2, "its names");
    let found = |name: &str| fs::metadata(share.join(name)).map_err(|e| on_host(name, &e));
    assert_eq!(found("real_file")?.ino(), found("hardlink_file")?.ino(), "on the host");
    let again = client.try_link(ROOT, ONE, "hardlink_file")?.refused("once more")?;
    assert_eq!(again, errno::EEXIST, "once more");
    Ok(())
}

/// Would catch a file that goes with one of its names.
fn unlinkat_hardlink(device: &Virtio9p, vm: &Rc<Vm>) -> Result<()> {
    let (client, share) = shared(device, vm)?;
    make_file(&client, ROOT, "real_file", b"content")?;
    client.walk(ROOT, ONE, &["real_file"])?;
    client.try_link(ROOT, ONE, "hardlink_file")?.done("link")?.end()?;
    client.unlinkat(ROOT, "real_file", 0)?;
    assert_eq!(names(&share)?, ["hardlink_file"]);
    assert_eq!(content(share.join("hardlink_file"))?, b"content");
    client.walk(ROOT, TWO, &["hardlink_file"])?;
    assert_eq!(client.getattr(TWO)?.nlink, 1, "its names");
    Ok(())
}

/// Would catch an open file that cannot be used once its name is gone.
fn use_after_unlink(device: &Virtio9p, vm: &Rc<Vm>) -> Result<()> {
    let (client, share) = shared(device, vm)?;
    make_file(&client, ROOT, "doa_file", b"before")?;
    client.walk(ROOT, ONE, &["doa_file"])?;
    client.open(ONE, READ_WRITE)?;
    client.unlinkat(ROOT, "doa_file", 0)?;
    assert_eq!(names(&share)?, [""; 0]);
    // Of the same name, and another file.
    make_file(&client, ROOT, "doa_file", b"other")?;
    let data: Vec<u8> = (0..client.msize / 2).map(|at| at as u8).collect();
    assert_eq!(client.write(ONE, 0, &data)?, data.len() as u32, "bytes written");
    assert_eq!(client.getattr(ONE)?.size, data.len() as u64, "the size");
    client.setattr(ONE, Change::Size(2001))?;
    let found = client.getattr(ONE)?;
    assert_eq!((found.size, found.nlink), (2001, 0), "the size, and the names");
    assert_eq!(client.read(ONE, 0, 4000)?, data[..2001], "what is in it");
    assert_eq!(content(share.join("doa_file"))?, b"other", "the other");
    Ok(())
}

/// Would catch a file that cannot be made, read or removed because its path on the host is longer
/// than the kernel takes at once (4096 bytes).
fn deep_absolute_path(device: &Virtio9p, vm: &Rc<Vm>) -> Result<()> {
    const DEPTH: usize = 30;
    let (client, _) = shared(device, vm)?;
    let name = "d".repeat(200);
    client.walk(ROOT, ONE, &[])?;
    for depth in 0..DEPTH {
        client.mkdir(ONE, &name, 0o755).map_err(|e| e.context(format!("at depth {depth}")))?;
        client.walk(ONE, TWO, &[&name])?;
        client.clunk(ONE)?;
        client.walk(TWO, ONE, &[])?;
        client.clunk(TWO)?;
    }
    make_file(&client, ONE, "file", b"deep")?;
    client.walk(ONE, TWO, &["file"])?;
    client.open(TWO, 0)?;
    assert_eq!(client.read(TWO, 0, 10)?, b"deep", "what is in it");
    client.clunk(TWO)?;
    client.unlinkat(ONE, "file", 0)?;
    client.clunk(ONE)?;
    // All the way back: what lies so deep is hard to remove for others.
    for depth in (0..DEPTH).rev() {
        client.walk(ROOT, ONE, &[])?;
        for _ in 0..depth {
            client.walk(ONE, TWO, &[&name])?;
            client.clunk(ONE)?;
            client.walk(TWO, ONE, &[])?;
            client.clunk(TWO)?;
        }
        client.unlinkat(ONE, &name, REMOVE_FOLDER)?;
        client.clunk(ONE)?;
    }
    assert_eq!(names(&vm.folder(SHARE.name)?)?, [""; 0], "what is left");
    Ok(())
}

/// Would catch a file that has both names or none, and one that is not replaced.
fn rename(device: &Virtio9p, vm: &Rc<Vm>) -> Result<()> {
    let (client, share) = shared(device, vm)?;
    client.mkdir(ROOT, "folder", 0o755)?;
    client.walk(ROOT, ONE, &["folder"])?;
    let one = make_file(&client, ROOT, "one", b"1")?;
    make_file(&client, ONE, "two", b"2")?;
    client.try_renameat(ROOT, "one", ROOT, "three")?.done("renameat")?.end()?;
    assert_eq!(names(&share)?, ["folder", "three"]);
    client.try_renameat(ROOT, "three", ONE, "two")?.done("over another")?.end()?;
    assert_eq!(names(&share)?, ["folder"]);
    assert_eq!(content(share.join("folder/two"))?, b"1");
    assert_eq!(client.walk(ROOT, TWO, &["folder", "two"])?[1].path, one.path, "the file");
    // The older request, by the file's number, which goes with it.
    client.try_rename(TWO, ROOT, "four")?.done("rename")?.end()?;
    assert_eq!(
        (names(&share)?, names(&share.join("folder"))?.len()),
        (vec!["folder".to_owned(), "four".to_owned()], 0)
    );
    client.open(TWO, 0)?;
    assert_eq!(client.read(TWO, 0, 10)?, b"1", "through the number");
    Ok(())
}

/// Would catch an open file that is another one, or none, after it got another name.
fn rename_open(device: &Virtio9p, vm: &Rc<Vm>) -> Result<()> {
    let (client, share) = shared(device, vm)?;
    make_file(&client, ROOT, "before", b"1")?;
    client.walk(ROOT, ONE, &["before"])?;
    client.open(ONE, READ_WRITE)?;
    client.try_renameat(ROOT, "before", ROOT, "after")?.done("renameat")?.end()?;
    make_file(&client, ROOT, "before", b"other")?;
    assert_eq!(client.write(ONE, 1, b"23")?, 2, "bytes written");
    assert_eq!(content(share.join("after"))?, b"123");
    assert_eq!(content(share.join("before"))?, b"other");
    Ok(())
}

/// Would catch numbers of files that do not follow the folder in which they are.
fn rename_folder(device: &Virtio9p, vm: &Rc<Vm>) -> Result<()> {
    let (client, share) = shared(device, vm)?;
    client.mkdir(ROOT, "one", 0o755)?;
    client.mkdir(ROOT, "one2", 0o755)?;
    client.walk(ROOT, ONE, &["one"])?;
    make_file(&client, ONE, "file", b"1")?;
    client.walk(ONE, TWO, &["file"])?;
    client.walk(ROOT, 3, &["one2"])?;
    make_file(&client, 3, "file", b"2")?;
    client.try_renameat(ROOT, "one", ROOT, "two")?.done("renameat")?.end()?;
    // In the place of the old one, and not it.
    client.mkdir(ROOT, "one", 0o755)?;
    make_file(&client, ONE, "second", b"3")?;
    assert_eq!(names(&share.join("two"))?, ["file", "second"], "through the folder's number");
    assert_eq!(names(&share.join("one"))?, [""; 0], "the new folder");
    client.open(TWO, 0)?;
    assert_eq!(client.read(TWO, 0, 10)?, b"1", "through the file's number");
    // A folder whose name only begins so stays where it is.
    make_file(&client, 3, "third", b"4")?;
    assert_eq!(names(&share.join("one2"))?, ["file", "third"], "the other folder");
    Ok(())
}

/// Would catch a folder that is moved into itself, over one that is not empty, or over a file.
fn rename_refused(device: &Virtio9p, vm: &Rc<Vm>) -> Result<()> {
    let (client, share) = shared(device, vm)?;
    client.mkdir(ROOT, "a", 0o755)?;
    client.mkdir(ROOT, "b", 0o755)?;
    client.walk(ROOT, ONE, &["a"])?;
    client.walk(ROOT, TWO, &["b"])?;
    make_file(&client, TWO, "x", b"1")?;
    make_file(&client, ROOT, "file", b"2")?;
    for (from, folder, to, expected) in [
        ("a", ONE, "inner", errno::EINVAL),
        ("a", ROOT, "b", errno::ENOTEMPTY),
        ("a", ROOT, "file", errno::ENOTDIR),
        ("file", ROOT, "a", errno::EISDIR),
        ("missing", ROOT, "a", errno::ENOENT),
    ] {
        let refused = client.try_renameat(ROOT, from, folder, to)?.refused(from)?;
        assert_eq!(refused, expected, "{from} to {to}");
    }
    assert_eq!(names(&share)?, ["a", "b", "file"]);
    assert_eq!(names(&share.join("a"))?, [""; 0]);
    Ok(())
}

/// Would catch a file that is removed as a folder, or the other way round, and a root that is
/// removed.
fn unlinkat_refused(device: &Virtio9p, vm: &Rc<Vm>) -> Result<()> {
    let (client, share) = shared(device, vm)?;
    client.mkdir(ROOT, "folder", 0o755)?;
    client.walk(ROOT, ONE, &["folder"])?;
    make_file(&client, ROOT, "file", b"x")?;
    for (fid, name, flags, expected) in [
        (ROOT, "folder", 0, errno::EISDIR),
        (ROOT, "file", REMOVE_FOLDER, errno::ENOTDIR),
        (ROOT, "missing", 0, errno::ENOENT),
        (ROOT, "file", 0x8000, errno::EINVAL),
    ] {
        let refused = client.try_unlinkat(fid, name, flags)?.refused(name)?;
        assert_eq!(refused, expected, "unlinkat {name:?} with {flags:#x}");
    }
    for name in [".", "..", "folder/", "../folder", ""] {
        client.try_unlinkat(ONE, name, REMOVE_FOLDER)?.refused(name)?;
    }
    assert_eq!(names(&share)?, ["file", "folder"]);
    Ok(())
}

/// Would catch a device, a pipe or a set-user-ID bit of the guest's that is one of the host's.
fn special_files(device: &Virtio9p, vm: &Rc<Vm>) -> Result<()> {
    let (client, share) = shared(device, vm)?;
    for (name, mode, numbers) in
        [("pipe", FIFO | 0o600, (0, 0)), ("null", CHARACTER | 0o666, (1, 3))]
    {
        client.try_mknod(ROOT, name, mode, numbers)?.done(name)?;
        client.walk(ROOT, ONE, &[name])?;
        let found = client.getattr(ONE)?;
        assert_eq!(found.mode, mode, "the mode of {name}");
        let device = u64::from(numbers.0) << 8 | u64::from(numbers.1);
        assert_eq!(found.rdev, device, "the device of {name}");
        client.clunk(ONE)?;
        let found = fs::symlink_metadata(share.join(name)).map_err(|e| on_host(name, &e))?;
        let kind = found.file_type();
        assert!(!kind.is_fifo() && !kind.is_char_device(), "{name} on the host: {found:?}");
    }
    make_file(&client, ROOT, "suid", b"x")?;
    client.walk(ROOT, ONE, &["suid"])?;
    client.setattr(ONE, Change::Mode(REGULAR | 0o4755))?;
    assert_eq!(client.getattr(ONE)?.mode, REGULAR | 0o4755, "the mode that the guest sees");
    let found = fs::metadata(share.join("suid")).map_err(|e| on_host("suid", &e))?;
    assert_eq!(found.mode() & 0o7777, 0o600, "the mode on the host");
    Ok(())
}

/// Would catch a change of attributes that is lost, changes others, or reaches the host's.
fn attributes(device: &Virtio9p, vm: &Rc<Vm>) -> Result<()> {
    let (client, share) = shared(device, vm)?;
    make_file(&client, ROOT, "file", b"content")?;
    client.walk(ROOT, ONE, &["file"])?;
    let before = client.getattr(ONE)?;
    client.setattr(ONE, Change::Mode(REGULAR | 0o751))?;
    client.setattr(ONE, Change::Owner(1234, 5678))?;
    client.setattr(ONE, Change::Size(10_000))?;
    client.setattr(ONE, Change::Mtime(1_000_000_001, 500_000_000))?;
    let found = client.getattr(ONE)?;
    assert_eq!(found.mode, REGULAR | 0o751, "the mode");
    assert_eq!((found.uid, found.gid), (1234, 5678), "the owner");
    assert_eq!(found.mtime, (1_000_000_001, 500_000_000), "the time");
    assert_eq!((found.size, found.nlink, found.rdev), (10_000, 1, before.rdev), "the rest");
    assert_eq!(found.qid.path, before.qid.path, "what it is");
    assert_ne!(found.qid.version, before.qid.version, "the version of a file that was changed");
    let mut expected = b"content".to_vec();
    expected.resize(10_000, 0);
    assert_eq!(content(share.join("file"))?, expected);
    let host = fs::metadata(share.join("file")).map_err(|e| on_host("file", &e))?;
    let root = fs::metadata(&share).map_err(|e| on_host("the folder", &e))?;
    assert_eq!((host.uid(), host.mtime()), (root.uid(), 1_000_000_001), "on the host");
    Ok(())
}
