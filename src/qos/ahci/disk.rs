//! The disk at the first port of an AHCI controller as a [`BlockDevice`], by DMA with 48 bits.

use std::cell::RefCell;
use std::rc::Rc;

use super::command::Command;
use super::port::Port;
use super::{AhciHba, SECTOR, Unit};
use crate::graph::Produces;
use crate::qemu::Vm;
use crate::qos::block::{BlockDevice, Identity, Limits, Outcome, Piece};
use crate::qos::ide::disk::text;
use crate::qos::ide::{ERROR_ABORT, ERROR_NOT_FOUND, command};
use crate::{Error, Result};

/// The most sectors that the suite of disks asks for; a command could have more than the disk has.
const MOST_SECTORS: usize = 1024;

/// The disk.
struct AhciDisk {
    hba: Rc<AhciHba>,
    port: RefCell<Option<Rc<Port>>>,
}

impl AhciDisk {
    fn port(&self) -> Result<Rc<Port>> {
        self.port.borrow().clone().ok_or_else(|| Error::failed("the disk was not started"))
    }

    fn run(&self, command: &Command) -> Result<Outcome> {
        let what = format!("command {:#x} at {:#x}", command.command, command.first);
        match self.port()?.run(command, &what)? {
            None => Ok(Outcome::Done),
            // The disk does not tell one from the other.
            Some(ERROR_ABORT | ERROR_NOT_FOUND) => Ok(Outcome::PastTheEnd),
            Some(error) => Err(Error::failed(format!("{what}: error {error:#x}"))),
        }
    }
}

fn sectors(memory: &[Piece]) -> u16 {
    (memory.iter().map(|piece| piece.length).sum::<usize>() / SECTOR) as u16
}

impl BlockDevice for AhciDisk {
    fn start(&self, _: &Rc<Vm>) -> Result<()> {
        self.port.replace(None);
        let port = Port::start(&self.hba, Unit::Disk)?;
        self.port.replace(Some(Rc::new(port)));
        Ok(())
    }

    fn identify(&self) -> Result<Identity> {
        let words = self.port()?.identify(command::IDENTIFY)?;
        let blocks = (100..104).rev().fold(0, |all, at| all << 16 | u64::from(words[at]));
        Ok(Identity {
            blocks,
            block_size: SECTOR,
            serial: text(&words[10..20]),
            model: Some(text(&words[27..47])),
        })
    }

    fn limits(&self) -> Result<Limits> {
        Ok(Limits {
            most_blocks: MOST_SECTORS,
            too_many: None,
            alignment: 2,
            model: Some("QEMU HARDDISK"),
            trims: true,
            trim_is_hint: false,
            writes_zeroes: false,
        })
    }

    fn read(&self, first: u64, memory: &[Piece]) -> Result<Outcome> {
        self.run(&Command::long(command::READ_DMA_EXT, first, sectors(memory)).into(memory))
    }

    fn write(&self, first: u64, memory: &[Piece]) -> Result<Outcome> {
        self.run(&Command::long(command::WRITE_DMA_EXT, first, sectors(memory)).from(memory))
    }

    fn flush(&self) -> Result<Outcome> {
        self.run(&Command::new(command::FLUSH_EXT))
    }

    fn trim(&self, first: u64, count: usize) -> Result<Outcome> {
        let ranges = self.hba.vm.ram().alloc(SECTOR, 2)?;
        ranges.write_le64(0, first | (count as u64) << 48)?;
        let memory = [Piece::whole(&ranges)];
        self.run(&Command::long(command::DATA_SET_MANAGEMENT, 0, 1).features(1).from(&memory))
    }

    fn remapped(&self) -> Result<Rc<dyn BlockDevice>> {
        Ok(Rc::new(Self { hba: (self.hba.again)()?, port: RefCell::default() }))
    }
}

impl Produces<dyn BlockDevice> for AhciHba {
    fn produced(self: Rc<Self>) -> Rc<dyn BlockDevice> {
        Rc::new(AhciDisk { hba: self, port: RefCell::default() })
    }
}
