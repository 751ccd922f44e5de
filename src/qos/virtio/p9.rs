//! The 9P transport (5.15 of later drafts; device type 9) and a client of the protocol 9P2000.L that
//! runs over it: messages, each a size, a kind, a tag and fields in little-endian order.

use std::cell::Cell;

use super::device::Virtio;
use super::queue::Queue;
use super::{Features, Plain, Segment};
use crate::qemu::Buffer;
use crate::qos::registers::RegistersExt;
use crate::{Error, Result, interface};

/// The device type.
pub const DEVICE_TYPE: u32 = 9;
/// Feature: the configuration has a tag.
pub const F_MOUNT_TAG: u64 = 1;
/// What QEMU's devices offer.
pub const FEATURES: Features = Features { must: F_MOUNT_TAG, may: 0, legacy_may: 0 };

/// The version of the protocol.
pub const VERSION: &str = "9P2000.L";
/// The longest message that the client asks for, in bytes.
pub const MSIZE: u32 = 65_536;
/// The length of a message without fields, in bytes.
pub const HEADER: usize = 7;
/// A tag that is no request's.
pub const NO_TAG: u16 = 0xffff;
/// A number that is no file's.
pub const NO_FID: u32 = u32::MAX;

/// Kinds of requests. The answer to each is the next number.
#[allow(missing_docs)]
pub mod kind {
    pub const LERROR: u8 = 7;
    pub const STATFS: u8 = 8;
    pub const LOPEN: u8 = 12;
    pub const LCREATE: u8 = 14;
    pub const SYMLINK: u8 = 16;
    pub const MKNOD: u8 = 18;
    pub const RENAME: u8 = 20;
    pub const READLINK: u8 = 22;
    pub const GETATTR: u8 = 24;
    pub const SETATTR: u8 = 26;
    pub const XATTRWALK: u8 = 30;
    pub const XATTRCREATE: u8 = 32;
    pub const READDIR: u8 = 40;
    pub const FSYNC: u8 = 50;
    pub const LOCK: u8 = 52;
    pub const LINK: u8 = 70;
    pub const MKDIR: u8 = 72;
    pub const RENAMEAT: u8 = 74;
    pub const UNLINKAT: u8 = 76;
    pub const VERSION: u8 = 100;
    pub const ATTACH: u8 = 104;
    pub const FLUSH: u8 = 108;
    pub const WALK: u8 = 110;
    pub const READ: u8 = 116;
    pub const WRITE: u8 = 118;
    pub const CLUNK: u8 = 120;
    pub const REMOVE: u8 = 122;
}

/// Errors by their numbers, which are those of Linux.
#[allow(missing_docs)]
pub mod errno {
    pub const ENOENT: u32 = 2;
    pub const EBADF: u32 = 9;
    pub const EEXIST: u32 = 17;
    pub const ENOTDIR: u32 = 20;
    pub const EISDIR: u32 = 21;
    pub const EINVAL: u32 = 22;
    pub const ENOSPC: u32 = 28;
    pub const EROFS: u32 = 30;
    pub const ENOTEMPTY: u32 = 39;
    pub const ELOOP: u32 = 40;
    pub const ENODATA: u32 = 61;
    pub const EOPNOTSUPP: u32 = 95;
}

/// A file's identity: its kind, a version, a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Qid {
    /// Its kind: [`Qid::FOLDER`], a link, or 0.
    pub kind: u8,
    /// Changes with the file.
    pub version: u32,
    /// Which file it is.
    pub path: u64,
}

impl Qid {
    /// The kind of a folder.
    pub const FOLDER: u8 = 0x80;
    /// The kind of a symbolic link.
    pub const LINK: u8 = 0x02;
}

/// The fields of a request.
#[derive(Debug, Clone, Default)]
pub struct Fields(Vec<u8>);

impl Fields {
    /// None.
    pub fn new() -> Self {
        Self::default()
    }

    /// These and one byte.
    pub fn u8(mut self, value: u8) -> Self {
        self.0.push(value);
        self
    }

    /// These and 16 bits.
    pub fn u16(self, value: u16) -> Self {
        self.raw(&value.to_le_bytes())
    }

    /// These and 32 bits.
    pub fn u32(self, value: u32) -> Self {
        self.raw(&value.to_le_bytes())
    }

    /// These and 64 bits.
    pub fn u64(self, value: u64) -> Self {
        self.raw(&value.to_le_bytes())
    }

    /// These and a text with its length.
    pub fn text(self, text: &str) -> Self {
        self.u16(text.len() as u16).raw(text.as_bytes())
    }

    /// These and bytes.
    pub fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }
}

/// The fields of an answer, to be read in order.
#[derive(Debug)]
pub struct Body {
    bytes: Vec<u8>,
    at: usize,
}

impl Body {
    /// The next `count` bytes.
    ///
    /// # Errors
    /// There are less; so for all of these.
    pub fn take(&mut self, count: usize) -> Result<&[u8]> {
        let (at, length) = (self.at, self.bytes.len());
        self.at += count;
        self.bytes.get(at..at + count).ok_or_else(|| {
            Error::failed(format!("an answer of {length} bytes has no {count} more at {at}"))
        })
    }

    fn number(&mut self, count: usize) -> Result<u64> {
        let bytes = self.take(count)?;
        Ok(bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    /// One byte.
    ///
    /// # Errors
    /// As for [`Body::take`].
    pub fn u8(&mut self) -> Result<u8> {
        Ok(self.number(1)? as u8)
    }

    /// 16 bits.
    ///
    /// # Errors
    /// As for [`Body::take`].
    pub fn u16(&mut self) -> Result<u16> {
        Ok(self.number(2)? as u16)
    }

    /// 32 bits.
    ///
    /// # Errors
    /// As for [`Body::take`].
    pub fn u32(&mut self) -> Result<u32> {
        Ok(self.number(4)? as u32)
    }

    /// 64 bits.
    ///
    /// # Errors
    /// As for [`Body::take`].
    pub fn u64(&mut self) -> Result<u64> {
        self.number(8)
    }

    /// A text with its length.
    ///
    /// # Errors
    /// As for [`Body::take`], or it is no UTF-8.
    pub fn text(&mut self) -> Result<String> {
        let length = self.u16()?.into();
        let text = String::from_utf8(self.take(length)?.to_vec());
        text.map_err(|e| Error::failed(format!("a text of an answer: {e}")))
    }

    /// A file's identity.
    ///
    /// # Errors
    /// As for [`Body::take`].
    pub fn qid(&mut self) -> Result<Qid> {
        Ok(Qid { kind: self.u8()?, version: self.u32()?, path: self.u64()? })
    }

    /// Whether all was read.
    pub fn is_over(&self) -> bool {
        self.at == self.bytes.len()
    }

    /// Asserts that all was read.
    ///
    /// # Errors
    /// There is more.
    pub fn end(&self) -> Result<()> {
        match self.bytes.len() - self.at.min(self.bytes.len()) {
            0 => Ok(()),
            more => Err(Error::failed(format!("{more} bytes too many in an answer"))),
        }
    }
}

/// How a request went.
#[derive(Debug)]
pub enum Outcome {
    /// It was done, and answered with these fields.
    Done(Body),
    /// It was refused with an error of [`errno`].
    Refused(u32),
}

impl Outcome {
    /// The answer.
    ///
    /// # Errors
    /// It was refused.
    pub fn done(self, what: &str) -> Result<Body> {
        match self {
            Self::Done(body) => Ok(body),
            Self::Refused(errno) => {
                Err(Error::failed(format!("{what} was refused with error {errno}")))
            }
        }
    }

    /// The error.
    ///
    /// # Errors
    /// It was done.
    pub fn refused(self, what: &str) -> Result<u32> {
        match self {
            Self::Done(body) => Err(Error::failed(format!("{what} was done: {body:x?}"))),
            Self::Refused(errno) => Ok(errno),
        }
    }
}

/// A 9P device, through any transport.
pub struct Virtio9p(
    /// The device.
    pub Virtio,
);

interface!(Virtio9p = "virtio-9p");

/// A request that was made.
pub struct Request {
    /// Its tag.
    pub tag: u16,
    kind: u8,
    /// Its number in the queue.
    id: u16,
    _sent: Buffer,
    room: Buffer,
}

/// A client, whose session was begun.
pub struct Client {
    device: Virtio,
    /// The queue.
    pub queue: Queue,
    next: Cell<u16>,
    /// The longest message, in bytes.
    pub msize: u32,
}

/// The request for the version of the protocol.
fn version_message(msize: u32, version: &str) -> Vec<u8> {
    message(kind::VERSION, NO_TAG, &Fields::new().u32(msize).text(version))
}

/// A message.
fn message(kind: u8, tag: u16, fields: &Fields) -> Vec<u8> {
    let size = (HEADER + fields.0.len()) as u32;
    [&size.to_le_bytes()[..], &[kind], &tag.to_le_bytes(), &fields.0].concat()
}

/// A request for the version.
///
/// # Errors
/// No guest memory is left.
pub fn plain(device: &Virtio) -> Result<Plain> {
    let ram = device.vm().ram();
    let bytes = version_message(MSIZE, VERSION);
    let (sent, room) = (ram.alloc(bytes.len(), 1)?, ram.alloc(256, 1)?);
    sent.write(0, &bytes)?;
    let segments = vec![Segment::readable(&sent), Segment::writable(&room)];
    let check = move |written| {
        let mut expected = bytes.clone();
        expected[4] += 1;
        let (came, _sent) = (room.to_vec()?, &sent);
        match written as usize == expected.len() && came.starts_with(&expected) {
            true => Ok(()),
            false => Err(Error::failed(format!("the version: {written} bytes, {came:x?}"))),
        }
    };
    Ok(Plain { queue: 0, segments, check: Box::new(check) })
}

impl Virtio9p {
    /// Starts the device with every feature that it offers, and a session on it.
    ///
    /// # Errors
    /// The device does not agree, or speaks another version.
    pub fn start(&self) -> Result<Client> {
        let accepted = self.0.negotiate(self.0.acceptable()?)?;
        let queue = self.0.queue(0, accepted)?;
        self.0.driver_ok()?;
        let client = Client { device: self.0.clone(), queue, next: Cell::new(0), msize: MSIZE };
        let (msize, version) = client.version(MSIZE, VERSION)?;
        if (msize, &*version) != (MSIZE, VERSION) {
            return Err(Error::failed(format!("version {version} of {msize} bytes")));
        }
        Ok(client)
    }

    /// The tag in the configuration.
    ///
    /// # Errors
    /// QEMU does not answer.
    pub fn tag(&self) -> Result<Vec<u8>> {
        self.0.read_still_config(|config| {
            let length = config.read16(0)?;
            (0..u64::from(length)).map(|at| config.read8(2 + at)).collect()
        })
    }
}

impl Client {
    /// Makes a request of these bytes, whatever they are.
    ///
    /// # Errors
    /// The queue is full.
    pub fn send_bytes(&self, bytes: &[u8], kind: u8, tag: u16) -> Result<Request> {
        let ram = self.device.vm().ram();
        let (sent, room) = (ram.alloc(bytes.len(), 1)?, ram.alloc(self.msize as usize, 1)?);
        sent.write(0, bytes)?;
        let id = self.queue.add(&[Segment::readable(&sent), Segment::writable(&room)])?;
        self.queue.kick()?;
        Ok(Request { tag, kind, id, _sent: sent, room })
    }

    /// Makes a request.
    ///
    /// # Errors
    /// The queue is full.
    pub fn send(&self, kind: u8, fields: &Fields) -> Result<Request> {
        let tag = self.next.get();
        self.next.set((tag + 1) % NO_TAG);
        self.send_bytes(&message(kind, tag, fields), kind, tag)
    }

    /// How a request went whose buffer came back with so many bytes written: with an answer, or
    /// `None` without any, as one that was cancelled.
    ///
    /// # Errors
    /// The answer is not one to this request.
    pub fn finish(&self, request: &Request, written: u32) -> Result<Option<Outcome>> {
        if written == 0 {
            return Ok(None);
        }
        let room = request.room.len();
        if written as usize > room {
            return Err(Error::failed(format!("{written} bytes written, of {room}")));
        }
        // No more than that: what a reproducer reads again should be short.
        let mut bytes = vec![0; written as usize];
        request.room.read(0, &mut bytes)?;
        let mut header = Body { bytes, at: 0 };
        let (size, kind, tag) = (header.u32()?, header.u8()?, header.u16()?);
        let is_answer = kind == request.kind + 1 || kind == kind::LERROR;
        if (size, tag, is_answer) != (written, request.tag, true) {
            return Err(Error::failed(format!(
                "the answer to request {} of kind {}: {written} bytes written, {size} in it, kind \
                 {kind}, tag {tag}",
                request.tag, request.kind
            )));
        }
        if kind != kind::LERROR {
            return Ok(Some(Outcome::Done(header)));
        }
        let errno = header.u32()?;
        header.end()?;
        Ok(Some(Outcome::Refused(errno)))
    }

    /// Waits for the answer to a request, which must be the next one.
    ///
    /// # Errors
    /// It is another's, or none comes.
    pub fn wait(&self, request: &Request) -> Result<Outcome> {
        let used = self.queue.wait_used()?;
        if used.id != request.id {
            return Err(Error::failed(format!("waited for buffer {}, got {used:?}", request.id)));
        }
        let outcome = self.finish(request, used.written)?;
        outcome.ok_or_else(|| Error::failed(format!("request {} has no answer", request.tag)))
    }

    /// Whether `used` is the buffer of `request`.
    pub fn is_of(&self, request: &Request, used: super::Used) -> bool {
        used.id == request.id
    }

    /// Makes a request and waits for its answer.
    ///
    /// # Errors
    /// As for [`Client::wait`].
    pub fn call(&self, kind: u8, fields: Fields) -> Result<Outcome> {
        self.wait(&self.send(kind, &fields)?)
    }

    /// Begins a session with messages of at most `msize` bytes; returns what the device takes.
    ///
    /// # Errors
    /// As for [`Client::wait`].
    pub fn version(&self, msize: u32, version: &str) -> Result<(u32, String)> {
        let bytes = version_message(msize, version);
        let request = self.send_bytes(&bytes, kind::VERSION, NO_TAG)?;
        let mut body = self.wait(&request)?.done("the version")?;
        let answer = (body.u32()?, body.text()?);
        body.end()?;
        Ok(answer)
    }

    /// Makes `fid` the root.
    ///
    /// # Errors
    /// The device refuses.
    pub fn attach(&self, fid: u32) -> Result<Qid> {
        let fields = Fields::new().u32(fid).u32(NO_FID).text("root").text("").u32(0);
        let mut body = self.call(kind::ATTACH, fields)?.done("attach")?;
        let qid = body.qid()?;
        body.end()?;
        Ok(qid)
    }

    /// Asks for `to` to be what is at `names` from `from` on.
    ///
    /// # Errors
    /// As for [`Client::wait`].
    pub fn try_walk(&self, from: u32, to: u32, names: &[&str]) -> Result<Outcome> {
        let fields = Fields::new().u32(from).u32(to).u16(names.len() as u16);
        self.call(kind::WALK, names.iter().fold(fields, |fields, name| fields.text(name)))
    }

    /// Makes `to` what is at `names` from `from` on; returns what was passed.
    ///
    /// # Errors
    /// It is refused.
    pub fn walk(&self, from: u32, to: u32, names: &[&str]) -> Result<Vec<Qid>> {
        let mut body = self.try_walk(from, to, names)?.done(&format!("a walk to {names:?}"))?;
        let count = body.u16()?;
        let passed = (0..count).map(|_| body.qid()).collect::<Result<_>>()?;
        body.end()?;
        Ok(passed)
    }

    /// Opens `fid` with flags of Linux's `open`.
    ///
    /// # Errors
    /// As for [`Client::wait`].
    pub fn try_open(&self, fid: u32, flags: u32) -> Result<Outcome> {
        self.call(kind::LOPEN, Fields::new().u32(fid).u32(flags))
    }

    /// Opens `fid`; returns what it is and how much can be read or written at once.
    ///
    /// # Errors
    /// It is refused.
    pub fn open(&self, fid: u32, flags: u32) -> Result<(Qid, u32)> {
        let mut body = self.try_open(fid, flags)?.done("open")?;
        let opened = (body.qid()?, body.u32()?);
        body.end()?;
        Ok(opened)
    }

    /// Writes `data` at `offset`; returns how much was written.
    ///
    /// # Errors
    /// It is refused.
    pub fn write(&self, fid: u32, offset: u64, data: &[u8]) -> Result<u32> {
        let fields = Fields::new().u32(fid).u64(offset).u32(data.len() as u32).raw(data);
        let mut body = self.call(kind::WRITE, fields)?.done("a write")?;
        let count = body.u32()?;
        body.end()?;
        Ok(count)
    }

    /// Reads up to `count` bytes at `offset`.
    ///
    /// # Errors
    /// It is refused.
    pub fn read(&self, fid: u32, offset: u64, count: u32) -> Result<Vec<u8>> {
        let fields = Fields::new().u32(fid).u64(offset).u32(count);
        let mut body = self.call(kind::READ, fields)?.done("a read")?;
        let length = body.u32()?;
        let data = body.take(length as usize)?.to_vec();
        body.end()?;
        Ok(data)
    }

    /// Reads entries of the open folder `fid` from `offset` on, as many as are in `count` bytes:
    /// what each is, the offset behind it, its kind, its name.
    ///
    /// # Errors
    /// It is refused.
    pub fn readdir(&self, fid: u32, offset: u64, count: u32) -> Result<Vec<Entry>> {
        let fields = Fields::new().u32(fid).u64(offset).u32(count);
        let mut body = self.call(kind::READDIR, fields)?.done("readdir")?;
        let length = body.u32()?;
        if length > count {
            return Err(Error::failed(format!("{length} bytes of entries, of {count} at most")));
        }
        let mut entries = Vec::new();
        while !body.is_over() {
            let (qid, next) = (body.qid()?, body.u64()?);
            entries.push(Entry { qid, next, kind: body.u8()?, name: body.text()? });
        }
        let taken: usize = entries.iter().map(|entry| 24 + entry.name.len()).sum();
        match taken == length as usize {
            true => Ok(entries),
            false => Err(Error::failed(format!("{taken} bytes of entries, said to be {length}"))),
        }
    }

    /// Forgets `fid`.
    ///
    /// # Errors
    /// It is refused.
    pub fn clunk(&self, fid: u32) -> Result<()> {
        self.call(kind::CLUNK, Fields::new().u32(fid))?.done("clunk")?.end()
    }
}

/// An entry of a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// What it is.
    pub qid: Qid,
    /// The offset behind it.
    pub next: u64,
    /// Its kind, as Linux's `readdir` has it.
    pub kind: u8,
    /// Its name.
    pub name: String,
}
