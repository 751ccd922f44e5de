//! The virtio 9P device on a folder of the host, and a guest that tries to get out of it. Links
//! of the guest's are links of the host's here (`security_model=none`).

use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::p9_local::{ONE, READ_WRITE, ROOT, SHARE, TWO, content, make_file, names};
use crate::graph::QemuArgs;
use crate::qemu::Vm;
use crate::qos::virtio::p9::{Client, Fields, Outcome, Qid, Virtio9p, errno, kind};
use crate::qos::virtio::p9_files::{Change, REMOVE_FOLDER};
use crate::{Result, tests};

/// A device that shares a folder, whose links are the host's.
const LINKS: QemuArgs = QemuArgs::NONE
    .folders(&[SHARE])
    .before("-fsdev local,id=local0,path={share},security_model=none")
    .after("-set device.p9.fsdev=local0");
const READ_ONLY: QemuArgs =
    LINKS.before("-fsdev local,id=local0,path={share},security_model=none,readonly=on");
const IN_FILES: QemuArgs =
    LINKS.before("-fsdev local,id=local0,path={share},security_model=mapped-file");

tests!(Virtio9p, "virtio-9p-escape-tests":
    dotdot,
    names_with_slashes = "names-with-slashes",
    link_to_root = "link-to-root",
    link_upwards = "link-upwards",
    link_as_file = "link-as-file",
    link_instead_of_folder = "link-instead-of-folder";
    with LINKS);
tests!(Virtio9p, "virtio-9p-readonly-tests": refuses_changes = "refuses-changes"; with READ_ONLY);
tests!(Virtio9p, "virtio-9p-mapped-file-tests": hides_metadata = "hides-metadata"; with IN_FILES);

fn shared(device: &Virtio9p, vm: &Rc<Vm>) -> Result<(Client, PathBuf)> {
    let client = device.start()?;
    client.attach(ROOT)?;
    Ok((client, vm.folder(SHARE.name)?))
}

/// A name that nothing outside of the folder has.
fn mark(share: &Path) -> String {
    let own = share.file_name().unwrap_or_default().to_string_lossy();
    format!("{own}-escaped")
}

/// Asserts that nothing of this name came to be beside the folder.
fn nothing_outside(share: &Path) {
    let mark = mark(share);
    for place in [share.parent().unwrap_or(share), Path::new("/")] {
        assert!(!place.join(&mark).exists(), "{mark} is in {}", place.display());
    }
}

/// Would catch a way upwards and out of the folder, from anywhere in it.
fn dotdot(device: &Virtio9p, vm: &Rc<Vm>) -> Result<()> {
    let (client, share) = shared(device, vm)?;
    let root = client.walk(ROOT, ONE, &[".."])?[0];
    client.clunk(ONE)?;
    client.mkdir(ROOT, "a", 0o755)?;
    let walked = client.walk(ROOT, ONE, &["a", "..", "..", "..", ".."])?;
    assert_eq!(walked[4].path, root.path, "above the root");
    make_file(&client, ONE, &mark(&share), b"x")?;
    assert_eq!(names(&share)?, ["a".to_owned(), mark(&share)], "where it is made");
    nothing_outside(&share);
    Ok(())
}

/// Would catch a name of a new or old file that leads elsewhere.
fn names_with_slashes(device: &Virtio9p, vm: &Rc<Vm>) -> Result<()> {
    let (client, share) = shared(device, vm)?;
    client.mkdir(ROOT, "a", 0o755)?;
    client.walk(ROOT, ONE, &["a"])?;
    make_file(&client, ROOT, "file", b"x")?;
    client.walk(ROOT, TWO, &["file"])?;
    let mark = mark(&share);
    let names_out = [
        format!("../{mark}"),
        format!("../../{mark}"),
        format!("/{mark}"),
        "..".to_owned(),
        ".".to_owned(),
    ];
    for name in &names_out {
        client.walk(ROOT, 3, &[])?;
        client.try_lcreate(3, name, READ_WRITE, 0o600)?.refused(&format!("lcreate {name}"))?;
        client.clunk(3)?;
        client.try_mkdir(ROOT, name, 0o755)?.refused(&format!("mkdir {name}"))?;
        client.try_symlink(ROOT, name, "x")?.refused(&format!("symlink {name}"))?;
        client.try_mknod(ROOT, name, 0o100_600, (0, 0))?.refused(&format!("mknod {name}"))?;
        client.try_link(ROOT, TWO, name)?.refused(&format!("link {name}"))?;
        client.try_renameat(ROOT, "file", ROOT, name)?.refused(&format!("renameat {name}"))?;
        client.try_renameat(ROOT, name, ROOT, "y")?.refused(&format!("renameat from {name}"))?;
        client.try_rename(TWO, ONE, name)?.refused(&format!("rename {name}"))?;
        client.try_unlinkat(ROOT, name, 0)?.refused(&format!("unlinkat {name}"))?;
        client.try_unlinkat(ROOT, name, REMOVE_FOLDER)?.refused(&format!("rmdir {name}"))?;
    }
    client.try_walk(ONE, 3, &["../file"])?.refused("a walk with a slash")?;
    assert_eq!(names(&share)?, ["a", "file"], "what is there");
    nothing_outside(&share);
    Ok(())
}

/// Tries to get at `inner` through the link `name`, in every way that there is.
fn through_link(client: &Client, name: &str, mark: &str) -> Result<()> {
    let walked = client.walk(ROOT, ONE, &[name])?;
    assert_eq!(walked[0].kind, Qid::LINK, "the kind of {name}");
    for inner in ["etc", "..", "proc", "tmp"] {
        let passed = client.try_walk(ROOT, TWO, &[name, inner])?;
        // Half of a walk gives no number.
        if let Outcome::Done(mut body) = passed {
            let count = body.u16()?;
            if inner == ".." {
                // By the protocol's own way upwards: it stays inside.
                if count == 2 {
                    client.clunk(TWO)?;
                }
                continue;
            }
            assert_eq!(count, 1, "files passed on the way to {name}/{inner}");
        }
        client.try_walk(ONE, TWO, &[inner])?.refused(&format!("{inner} behind {name}"))?;
    }
    client.try_open(ONE, 0)?.refused(&format!("{name}, opened"))?;
    client.try_lcreate(ONE, mark, READ_WRITE, 0o600)?.refused(&format!("a file in {name}"))?;
    client.try_mkdir(ONE, mark, 0o755)?.refused(&format!("a folder in {name}"))?;
    client.try_symlink(ONE, mark, "x")?.refused(&format!("a link in {name}"))?;
    client.try_mknod(ONE, mark, 0o100_600, (0, 0))?.refused(&format!("a node in {name}"))?;
    client.try_unlinkat(ONE, "etc", REMOVE_FOLDER)?.refused(&format!("unlinkat in {name}"))?;
    client.try_renameat(ROOT, "file", ONE, mark)?.refused(&format!("renameat to {name}"))?;
    client.try_renameat(ONE, "etc", ROOT, "x")?.refused(&format!("renameat from {name}"))?;
    client.clunk(ONE)
}

/// Would catch a link to the host's root that is followed.
fn link_to_root(device: &Virtio9p, vm: &Rc<Vm>) -> Result<()> {
    let (client, share) = shared(device, vm)?;
    make_file(&client, ROOT, "file", b"x")?;
    client.symlink(ROOT, "out", "/")?;
    through_link(&client, "out", &mark(&share))?;
    assert_eq!(names(&share)?, ["file", "out"], "what is there");
    nothing_outside(&share);
    Ok(())
}

/// Would catch a link to the folder above that is followed.
fn link_upwards(device: &Virtio9p, vm: &Rc<Vm>) -> Result<()> {
    let (client, share) = shared(device, vm)?;
    make_file(&client, ROOT, "file", b"x")?;
    client.symlink(ROOT, "out", "../../../../..")?;
    client.symlink(ROOT, "chain", "out")?;
    through_link(&client, "out", &mark(&share))?;
    through_link(&client, "chain", &mark(&share))?;
    nothing_outside(&share);
    Ok(())
}

/// Would catch a file of the host's that is read, cut or changed through a link of the guest's.
fn link_as_file(device: &Virtio9p, vm: &Rc<Vm>) -> Result<()> {
    let (client, share) = shared(device, vm)?;
    make_file(&client, ROOT, "file", b"content")?;
    let target = share.join("file").to_string_lossy().into_owned();
    for (name, target) in [("inside", target.as_str()), ("outside", "/etc/passwd")] {
        client.symlink(ROOT, name, target)?;
        client.walk(ROOT, ONE, &[name])?;
        assert_eq!(client.readlink(ONE)?, target, "where {name} leads");
        for flags in [0, 1, READ_WRITE, 0o1001] {
            let refused = client.try_open(ONE, flags)?.refused(&format!("{name}, opened"))?;
            assert_eq!(refused, errno::ELOOP, "{name}, opened with {flags:#o}");
        }
        client.try_setattr(ONE, Change::Size(0))?.refused(&format!("the size of {name}"))?;
        client.try_setattr(ONE, Change::Mode(0o777))?.refused(&format!("the mode of {name}"))?;
        client.clunk(ONE)?;
        // `create` follows no link either.
        client.walk(ROOT, ONE, &[])?;
        client.try_lcreate(ONE, name, READ_WRITE | 0o100, 0o600)?.refused(name)?;
        client.clunk(ONE)?;
    }
    assert_eq!(content(share.join("file"))?, b"content");
    Ok(())
}

/// Would catch a number of a folder that leads out once a link has the folder's name.
fn link_instead_of_folder(device: &Virtio9p, vm: &Rc<Vm>) -> Result<()> {
    let (client, share) = shared(device, vm)?;
    client.mkdir(ROOT, "folder", 0o755)?;
    client.walk(ROOT, ONE, &["folder"])?;
    client.walk(ROOT, TWO, &["folder"])?;
    client.unlinkat(ROOT, "folder", REMOVE_FOLDER)?;
    client.symlink(ROOT, "folder", "/")?;
    client.try_mkdir(ONE, &mark(&share), 0o755)?.refused("a folder behind the link")?;
    client.try_walk(ONE, 3, &["etc"])?.refused("a walk behind the link")?;
    client.try_open(TWO, 0)?.refused("the link, opened")?;
    nothing_outside(&share);
    Ok(())
}

/// Would catch a change of what is shared for reading alone.
fn refuses_changes(device: &Virtio9p, vm: &Rc<Vm>) -> Result<()> {
    let (client, share) = shared(device, vm)?;
    client.walk(ROOT, ONE, &[])?;
    let outcomes = [
        ("mkdir", client.try_mkdir(ROOT, "x", 0o755)?),
        ("lcreate", client.try_lcreate(ONE, "x", READ_WRITE, 0o600)?),
        ("symlink", client.try_symlink(ROOT, "x", "y")?),
        ("mknod", client.try_mknod(ROOT, "x", 0o100_600, (0, 0))?),
        ("link", client.try_link(ROOT, ONE, "x")?),
        ("renameat", client.try_renameat(ROOT, "x", ROOT, "y")?),
        ("rename", client.try_rename(ONE, ROOT, "y")?),
        ("unlinkat", client.try_unlinkat(ROOT, "x", 0)?),
        ("setattr", client.try_setattr(ROOT, Change::Mode(0o40_777))?),
        ("xattrcreate", client.try_xattrcreate(ONE, "user.x", 1, 0)?),
    ];
    for (what, outcome) in outcomes {
        assert_eq!(outcome.refused(what)?, errno::EROFS, "{what}");
    }
    client.walk(ROOT, TWO, &[])?;
    let remove = client.call(kind::REMOVE, Fields::new().u32(TWO))?.refused("remove")?;
    assert_eq!(remove, errno::EROFS, "remove");
    assert_eq!(names(&share)?, [""; 0], "what is there");
    Ok(())
}

/// Would catch a guest that reads or changes the files in which QEMU keeps its attributes.
fn hides_metadata(device: &Virtio9p, vm: &Rc<Vm>) -> Result<()> {
    const OWN: &str = ".virtfs_metadata";
    let (client, share) = shared(device, vm)?;
    make_file(&client, ROOT, "file", b"content")?;
    client.walk(ROOT, ONE, &["file"])?;
    client.setattr(ONE, Change::Owner(1234, 5678))?;
    let found = client.getattr(ONE)?;
    assert_eq!((found.uid, found.gid), (1234, 5678), "the owner");
    assert_eq!(names(&share)?, [OWN, "file"], "on the host");
    client.walk(ROOT, TWO, &[])?;
    client.open(TWO, 0)?;
    let listed = client.readdir(TWO, 0, 8192)?;
    assert!(!listed.iter().any(|entry| entry.name == OWN), "{listed:?}");
    client.try_walk(ROOT, 3, &[OWN])?.refused("a walk to QEMU's own folder")?;
    client.try_mkdir(ROOT, OWN, 0o755)?.refused("QEMU's own folder")?;
    client.try_unlinkat(ROOT, OWN, REMOVE_FOLDER)?.refused("QEMU's own folder, removed")?;
    client.try_renameat(ROOT, OWN, ROOT, "x")?.refused("QEMU's own folder, renamed")?;
    client.try_renameat(ROOT, "file", ROOT, OWN)?.refused("a file as QEMU's own folder")?;
    assert_eq!(names(&share)?, [OWN, "file"], "on the host");
    Ok(())
}
