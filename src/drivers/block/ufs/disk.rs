//! A logical unit of a UFS device as a [`BlockDevice`] (JESD220F, chapter 11).

use std::cell::RefCell;
use std::rc::Rc;

use super::host::{Host, MOST_PIECES};
use super::upiu::{Done, Query, Request};
use super::{BLOCK, UNIT, Ufs};
use crate::graph::Produces;
use crate::qemu::Vm;
use crate::qos::block::{BlockDevice, Identity, Limits, Outcome, PAGE, Piece};
use crate::qos::scsi::cdb;
use crate::{Error, Result};

/// The device descriptor, and strings.
const DEVICE: u8 = 0;
const STRING: u8 = 5;
/// SCSI status: sense data says why not.
const CHECK_CONDITION: u8 = 2;

/// The disk.
pub struct UfsDisk {
    ufs: Rc<Ufs>,
    host: RefCell<Option<Rc<Host>>>,
}

impl UfsDisk {
    fn host(&self) -> Result<Rc<Host>> {
        self.host.borrow().clone().ok_or_else(|| Error::failed("the disk was not started"))
    }

    fn command(&self, cdb: &[u8], is_write: bool, memory: &[Piece]) -> Result<Done> {
        let what = format!("command {cdb:02x?}");
        self.host()?.run(Request::command(UNIT, cdb, is_write, &split(memory)), &what)
    }

    fn outcome(&self, cdb: &[u8], is_write: bool, memory: &[Piece]) -> Result<Outcome> {
        let done = self.command(cdb, is_write, memory)?;
        match (done.status(), done.sense()) {
            (0, _) => Ok(Outcome::Done),
            // LOGICAL BLOCK ADDRESS OUT OF RANGE.
            (CHECK_CONDITION, Some((5, 0x21, 0))) => Ok(Outcome::PastTheEnd),
            (status, sense) => {
                Err(Error::failed(format!("command {cdb:02x?}: status {status}, {sense:x?}")))
            }
        }
    }

    fn transfer(&self, is_write: bool, first: u64, memory: &[Piece]) -> Result<Outcome> {
        let length: usize = memory.iter().map(|piece| piece.length).sum();
        let cdb = cdb::transfer_far(is_write, first, (length / BLOCK) as u16);
        self.outcome(&cdb, is_write, memory)
    }

    fn string(&self, index: u8) -> Result<String> {
        let done = self.host()?.query(Query::ReadDescriptor, (STRING, index), 0xff)?;
        let units: Vec<u16> = done
            .data()
            .iter()
            .skip(2)
            .collect::<Vec<_>>()
            .chunks_exact(2)
            .map(|pair| u16::from_be_bytes([*pair[0], *pair[1]]))
            .take_while(|unit| *unit != 0)
            .collect();
        String::from_utf16(&units).map_err(|e| Error::failed(format!("string {index}: {e}")))
    }
}

/// Pieces of at most the 256 KiB that an entry of the list can have (JESD223E, 6.1.3).
fn split(memory: &[Piece]) -> Vec<Piece> {
    let mut pieces = Vec::new();
    for piece in memory {
        let mut rest = *piece;
        while rest.length > 0 {
            let length = rest.length.min(256 << 10);
            pieces.push(Piece { address: rest.address, length });
            rest = Piece { address: rest.address + length as u64, length: rest.length - length };
        }
    }
    pieces
}

impl BlockDevice for UfsDisk {
    fn start(&self, vm: &Rc<Vm>) -> Result<()> {
        self.ufs.plug.device.bus().reaches_ram()?;
        self.host.replace(None);
        let host = Rc::new(Host::start(&self.ufs.plug.registers, vm, false)?);
        self.host.replace(Some(host));
        // What the unit has to tell first.
        for _ in 0..8 {
            if self.command(&cdb::TEST_UNIT_READY, false, &[])?.status() == 0 {
                return Ok(());
            }
        }
        Err(Error::failed("the logical unit does not become ready"))
    }

    fn identify(&self) -> Result<Identity> {
        let host = self.host()?;
        let memory = host.vm().ram().alloc(PAGE, PAGE as u64)?;
        let capacity = cdb::read_capacity_16(32);
        self.outcome(&capacity, false, &[Piece::of(&memory, 0, 32)])?.done("READ CAPACITY")?;
        let mut found = [0; 12];
        memory.read(0, &mut found)?;
        let number = |bytes: &[u8]| bytes.iter().fold(0, |all, byte| all << 8 | u64::from(*byte));
        let device = host.query(Query::ReadDescriptor, (DEVICE, 0), 0x59)?;
        let index = |at: usize| device.data().get(at).copied().unwrap_or_default();
        Ok(Identity {
            blocks: number(&found[..8]) + 1,
            block_size: number(&found[8..]) as usize,
            serial: self.string(index(0x16))?,
            model: Some(self.string(index(0x15))?),
        })
    }

    fn limits(&self) -> Result<Limits> {
        Ok(Limits {
            most_blocks: MOST_PIECES,
            too_many: None,
            alignment: 4,
            model: Some("QEMU UFS"),
            trims: true,
            trim_is_hint: false,
            writes_zeroes: false,
        })
    }

    fn read(&self, first: u64, memory: &[Piece]) -> Result<Outcome> {
        self.transfer(false, first, memory)
    }

    fn write(&self, first: u64, memory: &[Piece]) -> Result<Outcome> {
        self.transfer(true, first, memory)
    }

    fn flush(&self) -> Result<Outcome> {
        self.outcome(&cdb::SYNCHRONIZE_CACHE, false, &[])
    }

    fn trim(&self, first: u64, count: usize) -> Result<Outcome> {
        let page = self.host()?.vm().ram().alloc(PAGE, PAGE as u64)?;
        // UNMAP (SBC-3, 5.28) of one range.
        let mut list = vec![0, 22, 0, 16, 0, 0, 0, 0];
        list.extend(first.to_be_bytes());
        list.extend((count as u32).to_be_bytes());
        list.extend([0; 4]);
        page.write(0, &list)?;
        let cdb = [0x42, 0, 0, 0, 0, 0, 0, 0, 24, 0];
        self.outcome(&cdb, true, &[Piece::of(&page, 0, 24)])
    }

    fn remapped(&self) -> Result<Rc<dyn BlockDevice>> {
        let ufs = Rc::new(Ufs { plug: self.ufs.plug.again()? });
        Ok(Rc::new(Self { ufs, host: RefCell::default() }))
    }
}

impl Produces<dyn BlockDevice> for Ufs {
    fn produced(self: Rc<Self>) -> Rc<dyn BlockDevice> {
        Rc::new(UfsDisk { ufs: self, host: RefCell::default() })
    }
}
