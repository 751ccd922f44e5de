//! A namespace of an NVMe controller as a [`BlockDevice`] (NVM Express 1.4, chapter 6).

use std::cell::RefCell;
use std::rc::Rc;

use super::Nvme;
use super::command::{Command, Pages, io, status};
use super::controller::Controller;
use super::queue::QueuePair;
use crate::graph::Produces;
use crate::qemu::Vm;
use crate::qos::block::{BlockDevice, Identity, Limits, Outcome, PAGE, Piece};
use crate::{Error, Result};

/// The number of the only namespace.
pub const NAMESPACE: u32 = 1;
/// The entries of the I/O queues, few, so that they wrap.
const ENTRIES: (u16, u16) = (8, 5);
/// Dataset Management, dword 11: blocks are given up.
const DEALLOCATE: u32 = 1 << 2;

/// What [`BlockDevice::start`] sets up. The controller goes first, which writes to queues.
struct Session {
    controller: Controller,
    queue: QueuePair,
    block_size: usize,
}

/// The disk.
pub struct NvmeDisk {
    nvme: Rc<Nvme>,
    session: RefCell<Option<Rc<Session>>>,
}

/// The text in `bytes`, which blanks pad.
pub fn text(bytes: &[u8]) -> Result<String> {
    let text = std::str::from_utf8(bytes).ok().filter(|text| text.is_ascii());
    let text = text.ok_or_else(|| Error::failed(format!("{bytes:?} is no text")))?;
    Ok(text.trim_end_matches(' ').to_owned())
}

/// The 64-bit number at `at`.
pub fn number(bytes: &[u8], at: usize, length: usize) -> u64 {
    bytes[at..at + length].iter().rev().fold(0, |all, byte| all << 8 | u64::from(*byte))
}

impl NvmeDisk {
    fn session(&self) -> Result<Rc<Session>> {
        self.session.borrow().clone().ok_or_else(|| Error::failed("the disk was not started"))
    }

    fn run(&self, command: &Command, what: &str) -> Result<Outcome> {
        match self.session()?.queue.run(command, what)?.status {
            status::SUCCESS => Ok(Outcome::Done),
            status::LBA_RANGE => Ok(Outcome::PastTheEnd),
            // The data is longer than MDTS says (5.15.2.2).
            status::INVALID_FIELD => Ok(Outcome::TooMany),
            other => Err(Error::failed(format!("{what}: status {other:#x}"))),
        }
    }

    fn transfer(&self, opcode: u8, first: u64, memory: &[Piece]) -> Result<Outcome> {
        let session = self.session()?;
        let length: usize = memory.iter().map(|piece| piece.length).sum();
        let pages = Pages::new(session.controller.vm().ram(), memory, PAGE / 8)?;
        let blocks = length / session.block_size;
        let command = Command::transfer(opcode, NAMESPACE, first, blocks).pages(&pages);
        self.run(&command, &format!("command {opcode} of {blocks} blocks at {first:#x}"))
    }
}

impl BlockDevice for NvmeDisk {
    fn start(&self, vm: &Rc<Vm>) -> Result<()> {
        self.nvme.plug.device.bus().reaches_ram()?;
        self.session.replace(None);
        let controller = Controller::enable(&self.nvme.plug.registers, vm)?;
        let queue = controller.create(1, ENTRIES, 0)?;
        let about = controller.identify(0, NAMESPACE)?;
        let block_size = block_size(&about)?;
        self.session.replace(Some(Rc::new(Session { controller, queue, block_size })));
        Ok(())
    }

    fn identify(&self) -> Result<Identity> {
        let session = self.session()?;
        let namespace = session.controller.identify(0, NAMESPACE)?;
        let controller = session.controller.identify(1, 0)?;
        Ok(Identity {
            blocks: number(&namespace, 0, 8),
            block_size: block_size(&namespace)?,
            serial: text(&controller[4..24])?,
            model: Some(text(&controller[24..64])?),
        })
    }

    fn limits(&self) -> Result<Limits> {
        let session = self.session()?;
        let controller = session.controller.identify(1, 0)?;
        // MDTS: in pages of the smallest size, as a power of two.
        let most_blocks = (PAGE << controller[77]) / session.block_size;
        Ok(Limits {
            most_blocks,
            too_many: Some(most_blocks + 1),
            alignment: 4,
            model: Some("QEMU NVMe Ctrl"),
            trims: true,
            // "The controller may choose to take no action" (6.7).
            trim_is_hint: true,
            writes_zeroes: true,
        })
    }

    fn read(&self, first: u64, memory: &[Piece]) -> Result<Outcome> {
        self.transfer(io::READ, first, memory)
    }

    fn write(&self, first: u64, memory: &[Piece]) -> Result<Outcome> {
        self.transfer(io::WRITE, first, memory)
    }

    fn flush(&self) -> Result<Outcome> {
        self.run(&Command::new(io::FLUSH, NAMESPACE), "flush")
    }

    fn trim(&self, first: u64, count: usize) -> Result<Outcome> {
        let page = self.session()?.controller.page()?;
        page.write_le32(4, count as u32)?;
        page.write_le64(8, first)?;
        let command = Command::new(io::DATASET_MANAGEMENT, NAMESPACE).with(10, &[0, DEALLOCATE]);
        self.run(&command.at(page.address().0), &format!("trim {count} blocks at {first:#x}"))
    }

    fn write_zeroes(&self, first: u64, count: usize) -> Result<Outcome> {
        let command = Command::transfer(io::WRITE_ZEROES, NAMESPACE, first, count);
        self.run(&command, &format!("clear {count} blocks at {first:#x}"))
    }

    fn remapped(&self) -> Result<Rc<dyn BlockDevice>> {
        Ok(Rc::new(Self { nvme: Rc::new(self.nvme.again()?), session: RefCell::default() }))
    }
}

/// The size of a block in bytes, as the namespace's format in use says (5.15.2.1).
fn block_size(namespace: &[u8]) -> Result<usize> {
    let format = usize::from(namespace[26] & 0xf);
    let power = namespace[128 + 4 * format + 2];
    match power {
        9..=16 => Ok(1 << power),
        _ => Err(Error::failed(format!("blocks of 2 to the power of {power} bytes"))),
    }
}

impl Produces<dyn BlockDevice> for Nvme {
    fn produced(self: Rc<Self>) -> Rc<dyn BlockDevice> {
        Rc::new(NvmeDisk { nvme: self, session: RefCell::default() })
    }
}
