//! Requests of 9P2000.L that make, change and remove files, for the client of `p9`. Their names
//! are those of the protocol.

use super::p9::{Client, Fields, Outcome, Qid, kind};
use crate::Result;

/// Flag of `unlinkat`: what is removed is a folder.
pub const REMOVE_FOLDER: u32 = 0x200;
/// Attributes for `getattr`: all that every file has.
const BASIC: u64 = 0x7ff;

/// Attributes of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attributes {
    /// Which of these are valid.
    pub valid: u64,
    /// What it is.
    pub qid: Qid,
    /// Its kind and permissions, as Linux has them.
    pub mode: u32,
    /// Its owner.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// How many names it has.
    pub nlink: u64,
    /// The number of the device that it stands for.
    pub rdev: u64,
    /// Its length in bytes.
    pub size: u64,
    /// When it was changed, in seconds and nanoseconds.
    pub mtime: (u64, u64),
}

/// What `setattr` changes; everything else stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Its permissions.
    Mode(u32),
    /// Its owner and group.
    Owner(u32, u32),
    /// Its length in bytes.
    Size(u64),
    /// When it was changed, in seconds and nanoseconds.
    Mtime(u64, u64),
}

impl Change {
    fn fields(self, fid: u32) -> Fields {
        let (valid, mode, uid, gid, size, (seconds, nanos)) = match self {
            Self::Mode(mode) => (0x1, mode, 0, 0, 0, (0, 0)),
            Self::Owner(uid, gid) => (0x2 | 0x4, 0, uid, gid, 0, (0, 0)),
            Self::Size(size) => (0x8, 0, 0, 0, size, (0, 0)),
            Self::Mtime(seconds, nanos) => (0x20 | 0x100, 0, 0, 0, 0, (seconds, nanos)),
        };
        let fields = Fields::new().u32(fid).u32(valid).u32(mode).u32(uid).u32(gid).u64(size);
        fields.u64(0).u64(0).u64(seconds).u64(nanos)
    }
}

impl Client {
    /// Asks for the file `name` in the folder `fid`, which becomes that file, open with `flags`.
    ///
    /// # Errors
    /// Returns an error if no answer comes.
    pub fn try_lcreate(&self, fid: u32, name: &str, flags: u32, mode: u32) -> Result<Outcome> {
        let fields = Fields::new().u32(fid).text(name).u32(flags).u32(mode).u32(0);
        self.call(kind::LCREATE, fields)
    }

    /// Makes the file `name` in the folder `fid`, which becomes that file, open with `flags`.
    ///
    /// # Errors
    /// Returns an error if it is refused.
    pub fn lcreate(&self, fid: u32, name: &str, flags: u32, mode: u32) -> Result<Qid> {
        let mut body = self.try_lcreate(fid, name, flags, mode)?.done("lcreate")?;
        let qid = body.qid()?;
        body.u32()?;
        body.end()?;
        Ok(qid)
    }

    /// Asks for the folder `name` in the folder `fid`.
    ///
    /// # Errors
    /// Returns an error if no answer comes.
    pub fn try_mkdir(&self, fid: u32, name: &str, mode: u32) -> Result<Outcome> {
        self.call(kind::MKDIR, Fields::new().u32(fid).text(name).u32(mode).u32(0))
    }

    /// Makes the folder `name` in the folder `fid`.
    ///
    /// # Errors
    /// Returns an error if it is refused.
    pub fn mkdir(&self, fid: u32, name: &str, mode: u32) -> Result<Qid> {
        self.one_qid(self.try_mkdir(fid, name, mode)?, "mkdir")
    }

    /// Asks for the symbolic link `name` to `target` in the folder `fid`.
    ///
    /// # Errors
    /// Returns an error if no answer comes.
    pub fn try_symlink(&self, fid: u32, name: &str, target: &str) -> Result<Outcome> {
        self.call(kind::SYMLINK, Fields::new().u32(fid).text(name).text(target).u32(0))
    }

    /// Makes the symbolic link `name` to `target` in the folder `fid`.
    ///
    /// # Errors
    /// Returns an error if it is refused.
    pub fn symlink(&self, fid: u32, name: &str, target: &str) -> Result<Qid> {
        self.one_qid(self.try_symlink(fid, name, target)?, "symlink")
    }

    /// Where the symbolic link `fid` leads.
    ///
    /// # Errors
    /// Returns an error if it is refused.
    pub fn readlink(&self, fid: u32) -> Result<String> {
        let mut body = self.call(kind::READLINK, Fields::new().u32(fid))?.done("readlink")?;
        let target = body.text()?;
        body.end()?;
        Ok(target)
    }

    /// Asks for the special file `name` in the folder `fid`.
    ///
    /// # Errors
    /// Returns an error if no answer comes.
    pub fn try_mknod(
        &self,
        fid: u32,
        name: &str,
        mode: u32,
        device: (u32, u32),
    ) -> Result<Outcome> {
        let fields = Fields::new().u32(fid).text(name).u32(mode);
        self.call(kind::MKNOD, fields.u32(device.0).u32(device.1).u32(0))
    }

    /// Asks for another name of the file `fid`: `name` in `folder`.
    ///
    /// # Errors
    /// Returns an error if no answer comes.
    pub fn try_link(&self, folder: u32, fid: u32, name: &str) -> Result<Outcome> {
        self.call(kind::LINK, Fields::new().u32(folder).u32(fid).text(name))
    }

    /// Asks for the file `from` in the folder `fid` to be `to` in the folder `folder`.
    ///
    /// # Errors
    /// Returns an error if no answer comes.
    pub fn try_renameat(&self, fid: u32, from: &str, folder: u32, to: &str) -> Result<Outcome> {
        self.call(kind::RENAMEAT, Fields::new().u32(fid).text(from).u32(folder).text(to))
    }

    /// Asks for the file `fid` to be `name` in `folder`.
    ///
    /// # Errors
    /// Returns an error if no answer comes.
    pub fn try_rename(&self, fid: u32, folder: u32, name: &str) -> Result<Outcome> {
        self.call(kind::RENAME, Fields::new().u32(fid).u32(folder).text(name))
    }

    /// Asks for `name` to be removed from the folder `fid`.
    ///
    /// # Errors
    /// Returns an error if no answer comes.
    pub fn try_unlinkat(&self, fid: u32, name: &str, flags: u32) -> Result<Outcome> {
        self.call(kind::UNLINKAT, Fields::new().u32(fid).text(name).u32(flags))
    }

    /// Removes `name` from the folder `fid`.
    ///
    /// # Errors
    /// Returns an error if it is refused.
    pub fn unlinkat(&self, fid: u32, name: &str, flags: u32) -> Result<()> {
        self.try_unlinkat(fid, name, flags)?.done("unlinkat")?.end()
    }

    /// Asks for the attributes that every file has.
    ///
    /// # Errors
    /// Returns an error if it is refused.
    pub fn getattr(&self, fid: u32) -> Result<Attributes> {
        let fields = Fields::new().u32(fid).u64(BASIC);
        let mut body = self.call(kind::GETATTR, fields)?.done("getattr")?;
        let (valid, qid, mode) = (body.u64()?, body.qid()?, body.u32()?);
        let (uid, gid, nlink) = (body.u32()?, body.u32()?, body.u64()?);
        let (rdev, size) = (body.u64()?, body.u64()?);
        // The size of a block, the number of blocks, the time of the last access.
        body.take(8 * 4)?;
        let mtime = (body.u64()?, body.u64()?);
        // The times of the last change of attributes and of the birth, the generation, the version.
        body.take(8 * 6)?;
        body.end()?;
        Ok(Attributes { valid, qid, mode, uid, gid, nlink, rdev, size, mtime })
    }

    /// Asks for a change of attributes.
    ///
    /// # Errors
    /// Returns an error if no answer comes.
    pub fn try_setattr(&self, fid: u32, change: Change) -> Result<Outcome> {
        self.call(kind::SETATTR, change.fields(fid))
    }

    /// Changes attributes.
    ///
    /// # Errors
    /// Returns an error if it is refused.
    pub fn setattr(&self, fid: u32, change: Change) -> Result<()> {
        self.try_setattr(fid, change)?.done("setattr")?.end()
    }

    /// Asks for `to` to be the extended attribute `name` of `fid`, or the list of all with an
    /// empty name, for reading.
    ///
    /// # Errors
    /// Returns an error if no answer comes.
    pub fn try_xattrwalk(&self, fid: u32, to: u32, name: &str) -> Result<Outcome> {
        self.call(kind::XATTRWALK, Fields::new().u32(fid).u32(to).text(name))
    }

    /// Reads the extended attribute `name` of `fid`, or the names of all with an empty name,
    /// through the number `to`, which is free before and after.
    ///
    /// # Errors
    /// Returns an error if it is refused.
    pub fn xattr(&self, fid: u32, to: u32, name: &str) -> Result<Vec<u8>> {
        let mut body = self.try_xattrwalk(fid, to, name)?.done("xattrwalk")?;
        let size = body.u64()?;
        body.end()?;
        let value = self.read(to, 0, self.msize - 11)?;
        assert_eq!(value.len() as u64, size, "the length of the extended attribute {name}");
        self.clunk(to)?;
        Ok(value)
    }

    /// Asks for `fid` to be the extended attribute `name` of what it is, of `size` bytes, for
    /// writing.
    ///
    /// # Errors
    /// Returns an error if no answer comes.
    pub fn try_xattrcreate(&self, fid: u32, name: &str, size: u64, flags: u32) -> Result<Outcome> {
        let fields = Fields::new().u32(fid).text(name).u64(size).u32(flags);
        self.call(kind::XATTRCREATE, fields)
    }

    /// Sets the extended attribute `name` of the file that is walked to from `fid` by `names`,
    /// through the number `to`. Returns how the last request went, which sets it.
    ///
    /// # Errors
    /// Returns an error if a request before that is refused.
    pub fn try_set_xattr(
        &self,
        (fid, to): (u32, u32),
        names: &[&str],
        (name, value): (&str, &[u8]),
        flags: u32,
    ) -> Result<Outcome> {
        self.walk(fid, to, names)?;
        self.try_xattrcreate(to, name, value.len() as u64, flags)?.done("xattrcreate")?.end()?;
        if !value.is_empty() {
            assert_eq!(self.write(to, 0, value)?, value.len() as u32, "bytes of the attribute");
        }
        self.call(kind::CLUNK, Fields::new().u32(to))
    }

    fn one_qid(&self, outcome: Outcome, what: &str) -> Result<Qid> {
        let mut body = outcome.done(what)?;
        let qid = body.qid()?;
        body.end()?;
        Ok(qid)
    }
}
