//! The virtio block device as a [`BlockDevice`], with one queue and every feature it offers.

use std::cell::RefCell;
use std::rc::Rc;

use super::blk::{self, Request, SECTOR, VirtioBlk};
use super::{Queue, Segment};
use crate::graph::Produces;
use crate::protocol::Endian;
use crate::qemu::Vm;
use crate::qos::block::{BlockDevice, Identity, Limits, Outcome, Piece};
use crate::qos::registers::RegistersExt;
use crate::{Error, Result};

/// The most sectors that the suite of disks asks for. The specification has no limit.
const MOST_SECTORS: usize = 1024;

/// The disk.
pub struct VirtioDisk {
    blk: Rc<VirtioBlk>,
    queue: RefCell<Option<Rc<Queue>>>,
}

impl VirtioDisk {
    fn run(&self, request: &Request, data: &[Segment], what: &str) -> Result<Outcome> {
        let queue = self.queue.borrow().clone();
        let queue = queue.ok_or_else(|| Error::failed("the disk was not started"))?;
        let mut segments = request.segments();
        // The status comes last.
        segments.splice(segments.len() - 1..segments.len() - 1, data.iter().copied());
        let id = queue.add(&segments)?;
        queue.kick()?;
        let used = queue.wait_used()?;
        let writable: u32 = segments.iter().filter(|s| s.writable).map(|s| s.length).sum();
        if (used.id, used.written) != (id, writable) {
            return Err(Error::failed(format!(
                "{what}: {used:?} should be buffer {id}, and {writable} bytes written"
            )));
        }
        match request.status()? {
            blk::S_OK => Ok(Outcome::Done),
            blk::S_IOERR => Ok(Outcome::PastTheEnd),
            other => Err(Error::failed(format!("{what}: status {other}"))),
        }
    }

    fn transfer(&self, kind: u32, first: u64, memory: &[Piece]) -> Result<Outcome> {
        let request = Request::new(&self.blk.0, kind, first)?;
        let segment = |piece: &Piece| Segment {
            address: piece.address,
            length: piece.length as u32,
            writable: kind == blk::T_IN,
        };
        let data: Vec<Segment> = memory.iter().map(segment).collect();
        self.run(&request, &data, &format!("request {kind} at {first:#x}"))
    }

    /// A request with one range of sectors as its data (5.2.6).
    fn clear(&self, kind: u32, first: u64, count: usize) -> Result<Outcome> {
        let (low, words) = match self.blk.0.transport().byte_order() {
            Endian::Little => (first.to_le_bytes(), (count as u64).to_le_bytes()),
            Endian::Big => (first.to_be_bytes(), ((count as u64) << 32).to_be_bytes()),
        };
        let request = Request::new(&self.blk.0, kind, 0)?;
        let request = request.with_data(&self.blk.0, &[low, words].concat())?;
        self.run(&request, &[], &format!("request {kind} of {count} sectors at {first:#x}"))
    }

    fn offers(&self, feature: u64) -> Result<bool> {
        Ok(self.blk.0.offered()? & feature != 0)
    }
}

impl BlockDevice for VirtioDisk {
    fn start(&self, _: &Rc<Vm>) -> Result<()> {
        self.blk.0.reset()?;
        self.queue.replace(Some(Rc::new(self.blk.start_with_everything()?)));
        Ok(())
    }

    fn identify(&self) -> Result<Identity> {
        let request = Request::new(&self.blk.0, blk::T_GET_ID, 0)?;
        let request = request.with_room(&self.blk.0, blk::ID_BYTES)?;
        self.run(&request, &[], "the ID")?.done("the ID")?;
        let id = request.data()?;
        let end = id.iter().position(|byte| *byte == 0).unwrap_or(id.len());
        let serial = String::from_utf8(id[..end].to_vec());
        let serial = serial.map_err(|_| Error::failed(format!("the ID {id:?} is no text")))?;
        let block_size = match self.offers(blk::F_BLK_SIZE)? {
            true => self.blk.0.transport().config().read32(blk::BLK_SIZE)? as usize,
            false => SECTOR,
        };
        Ok(Identity { blocks: self.blk.capacity()?, block_size, serial, model: None })
    }

    fn limits(&self) -> Result<Limits> {
        Ok(Limits {
            most_blocks: MOST_SECTORS,
            too_many: None,
            alignment: 1,
            model: None,
            trim_is_hint: false,
            trims: self.offers(blk::F_DISCARD)?,
            writes_zeroes: self.offers(blk::F_WRITE_ZEROES)?,
        })
    }

    fn read(&self, first: u64, memory: &[Piece]) -> Result<Outcome> {
        self.transfer(blk::T_IN, first, memory)
    }

    fn write(&self, first: u64, memory: &[Piece]) -> Result<Outcome> {
        self.transfer(blk::T_OUT, first, memory)
    }

    fn flush(&self) -> Result<Outcome> {
        self.blk.0.needs(blk::F_FLUSH, "flush")?;
        self.run(&Request::new(&self.blk.0, blk::T_FLUSH, 0)?, &[], "flush")
    }

    fn trim(&self, first: u64, count: usize) -> Result<Outcome> {
        self.clear(blk::T_DISCARD, first, count)
    }

    fn write_zeroes(&self, first: u64, count: usize) -> Result<Outcome> {
        self.clear(blk::T_WRITE_ZEROES, first, count)
    }

    fn remapped(&self) -> Result<Rc<dyn BlockDevice>> {
        Err(Error::skipped("a virtio device's driver does not find it again after a reset"))
    }
}

impl Produces<dyn BlockDevice> for VirtioBlk {
    fn produced(self: Rc<Self>) -> Rc<dyn BlockDevice> {
        Rc::new(VirtioDisk { blk: self, queue: RefCell::default() })
    }
}
