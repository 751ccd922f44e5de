//! The disk on the first channel of an IDE controller as a [`BlockDevice`], by DMA with 48 bits.

use std::rc::Rc;

use super::prd::Table;
use super::{
    ERROR_ABORT, ERROR_NOT_FOUND, FAILED, IdeChannel, IdeController, SECTOR, Task, command,
};
use crate::graph::Produces;
use crate::qemu::Vm;
use crate::qos::block::{BlockDevice, Identity, Limits, Outcome, Piece};
use crate::{Error, Result};

/// The most sectors that the suite of disks asks for.
const MOST_SECTORS: usize = 1024;

/// The text in words, in each of which the first character is the upper byte.
pub fn text(words: &[u16]) -> String {
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
    String::from_utf8_lossy(&bytes).trim_end_matches(' ').to_owned()
}

/// The disk.
struct IdeDisk {
    ide: Rc<IdeController>,
}

impl IdeDisk {
    fn channel(&self) -> &IdeChannel {
        &self.ide.channels[0]
    }

    fn outcome(&self, (end, master): (super::End, u8), what: &str) -> Result<Outcome> {
        match (end.status & FAILED != 0, end.error) {
            // The disk does not tell one from the other.
            (true, ERROR_ABORT | ERROR_NOT_FOUND) => Ok(Outcome::PastTheEnd),
            _ => {
                end.good(what)?;
                match master {
                    super::master::INTERRUPT => Ok(Outcome::Done),
                    other => Err(Error::failed(format!("{what}: bus master status {other:#x}"))),
                }
            }
        }
    }

    fn transfer(&self, task: Task, to_memory: bool, memory: &[Piece]) -> Result<Outcome> {
        let table = Table::of(&self.channel().vm, memory)?;
        let what = format!("command {:#x} at {:#x}", task.command, task.first);
        self.outcome(self.channel().dma(0, &task, to_memory, &table)?, &what)
    }
}

fn sectors(memory: &[Piece]) -> u16 {
    (memory.iter().map(|piece| piece.length).sum::<usize>() / SECTOR) as u16
}

impl BlockDevice for IdeDisk {
    fn start(&self, _: &Rc<Vm>) -> Result<()> {
        self.channel().master()?;
        self.channel().reset()
    }

    fn identify(&self) -> Result<Identity> {
        let words = self.channel().identify(0, command::IDENTIFY)?;
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
        self.transfer(Task::long(command::READ_DMA_EXT, first, sectors(memory)), true, memory)
    }

    fn write(&self, first: u64, memory: &[Piece]) -> Result<Outcome> {
        self.transfer(Task::long(command::WRITE_DMA_EXT, first, sectors(memory)), false, memory)
    }

    fn flush(&self) -> Result<Outcome> {
        self.channel().no_data(0, &Task::new(command::FLUSH_EXT))?.good("FLUSH CACHE EXT")?;
        Ok(Outcome::Done)
    }

    fn trim(&self, first: u64, count: usize) -> Result<Outcome> {
        let ranges = self.channel().vm.ram().alloc(SECTOR, 2)?;
        ranges.write_le64(0, first | (count as u64) << 48)?;
        let task = Task { features: 1, ..Task::long(command::DATA_SET_MANAGEMENT, 0, 1) };
        self.transfer(task, false, &[Piece::whole(&ranges)])
    }

    fn remapped(&self) -> Result<Rc<dyn BlockDevice>> {
        Err(Error::skipped("the driver does not find its bus master again after a reset"))
    }
}

impl Produces<dyn BlockDevice> for IdeController {
    fn produced(self: Rc<Self>) -> Rc<dyn BlockDevice> {
        Rc::new(IdeDisk { ide: self })
    }
}
