//! IDE channels (ATA8-APT, ATA8-ACS; the bus master of SFF-8038i 1.0): the registers of two
//! devices, commands by PIO and DMA. Which controller a channel is of is its driver's affair.

pub mod disk;
pub mod prd;

use std::rc::Rc;

use self::prd::Table;
use super::registers::{Access, Registers, Width};
use super::wait_until;
use crate::qemu::{Buffer, Vm};
use crate::{Error, Result, interface};

/// The size of a sector in bytes.
pub const SECTOR: usize = 512;

/// Offsets in the command block.
pub mod offset {
    /// Data, 16 bits.
    pub const DATA: u64 = 0;
    /// Error; written, features.
    pub const ERROR: u64 = 1;
    /// How many sectors.
    pub const COUNT: u64 = 2;
    /// The sector, bits 7:0.
    pub const LBA_LOW: u64 = 3;
    /// The sector, bits 15:8.
    pub const LBA_MIDDLE: u64 = 4;
    /// The sector, bits 23:16.
    pub const LBA_HIGH: u64 = 5;
    /// The device, and with 28 bits the sector's bits 27:24.
    pub const DEVICE: u64 = 6;
    /// Status; written, the command.
    pub const STATUS: u64 = 7;
}

/// Status: busy.
pub const BUSY: u8 = 1 << 7;
/// Status: ready.
pub const READY: u8 = 1 << 6;
/// Status: a fault of the device.
pub const FAULT: u8 = 1 << 5;
/// Status: a seek is done; obsolete.
pub const SEEK: u8 = 1 << 4;
/// Status: data is wanted or there.
pub const REQUEST: u8 = 1 << 3;
/// Status: an error.
pub const FAILED: u8 = 1 << 0;
/// Error: the command was aborted.
pub const ERROR_ABORT: u8 = 1 << 2;
/// Error: there is no such sector.
pub const ERROR_NOT_FOUND: u8 = 1 << 4;
/// Device control: the upper halves are read.
pub const CONTROL_HIGH: u8 = 1 << 7;
/// Device control: reset both devices.
pub const CONTROL_RESET: u8 = 1 << 2;
/// Device control: no interrupts.
pub const CONTROL_NO_INTERRUPT: u8 = 1 << 1;

/// Bus master: command, status, and the table's address.
pub mod master {
    /// Command.
    pub const COMMAND: u64 = 0;
    /// Status.
    pub const STATUS: u64 = 2;
    /// The address of the table of memory, 32 bits.
    pub const TABLE: u64 = 4;
    /// Command: start.
    pub const START: u8 = 1 << 0;
    /// Command: to memory.
    pub const TO_MEMORY: u8 = 1 << 3;
    /// Status: it is at it.
    pub const ACTIVE: u8 = 1 << 0;
    /// Status: an error; ones clear it.
    pub const ERROR: u8 = 1 << 1;
    /// Status: the device has interrupted; ones clear it.
    pub const INTERRUPT: u8 = 1 << 2;
}

/// Commands.
pub mod command {
    /// DATA SET MANAGEMENT; trim.
    pub const DATA_SET_MANAGEMENT: u8 = 0x06;
    /// READ SECTORS.
    pub const READ: u8 = 0x20;
    /// READ SECTORS EXT.
    pub const READ_EXT: u8 = 0x24;
    /// READ DMA EXT.
    pub const READ_DMA_EXT: u8 = 0x25;
    /// READ NATIVE MAX ADDRESS EXT.
    pub const READ_NATIVE_MAX_EXT: u8 = 0x27;
    /// READ MULTIPLE EXT.
    pub const READ_MULTIPLE_EXT: u8 = 0x29;
    /// WRITE SECTORS.
    pub const WRITE: u8 = 0x30;
    /// WRITE SECTORS EXT.
    pub const WRITE_EXT: u8 = 0x34;
    /// WRITE DMA EXT.
    pub const WRITE_DMA_EXT: u8 = 0x35;
    /// WRITE MULTIPLE EXT.
    pub const WRITE_MULTIPLE_EXT: u8 = 0x39;
    /// READ VERIFY SECTORS.
    pub const VERIFY: u8 = 0x40;
    /// EXECUTE DEVICE DIAGNOSTIC.
    pub const DIAGNOSTIC: u8 = 0x90;
    /// INITIALIZE DEVICE PARAMETERS.
    pub const INITIALIZE: u8 = 0x91;
    /// PACKET.
    pub const PACKET: u8 = 0xa0;
    /// IDENTIFY PACKET DEVICE.
    pub const IDENTIFY_PACKET: u8 = 0xa1;
    /// READ MULTIPLE.
    pub const READ_MULTIPLE: u8 = 0xc4;
    /// WRITE MULTIPLE.
    pub const WRITE_MULTIPLE: u8 = 0xc5;
    /// SET MULTIPLE MODE.
    pub const SET_MULTIPLE: u8 = 0xc6;
    /// READ DMA.
    pub const READ_DMA: u8 = 0xc8;
    /// WRITE DMA.
    pub const WRITE_DMA: u8 = 0xca;
    /// CHECK POWER MODE.
    pub const CHECK_POWER: u8 = 0xe5;
    /// FLUSH CACHE.
    pub const FLUSH: u8 = 0xe7;
    /// FLUSH CACHE EXT.
    pub const FLUSH_EXT: u8 = 0xea;
    /// IDENTIFY DEVICE.
    pub const IDENTIFY: u8 = 0xec;
    /// SET FEATURES.
    pub const SET_FEATURES: u8 = 0xef;
}

/// A register, as a block of registers and the offset at which it begins.
pub type At = (Rc<dyn Registers>, u64);

/// A channel with up to two devices: on the first channel a disk with the image of
/// [`block::DISK`](super::block::DISK) and a second one that reads as zeroes; on the second one
/// a CD-ROM, and nothing.
#[derive(Clone)]
pub struct IdeChannel {
    /// The machine.
    pub vm: Rc<Vm>,
    /// The command block.
    pub command: At,
    /// Device control; read, the status without an effect.
    pub control: At,
    /// The bus master, if there is one.
    pub master: Option<At>,
}

/// A controller with two channels.
#[derive(Clone)]
pub struct IdeController {
    /// The channels.
    pub channels: [IdeChannel; 2],
    /// What lets the controller be a bus master or not, if there is such a thing.
    pub set_master: Option<Rc<dyn Fn(bool) -> Result<()>>>,
}

interface!(IdeController = "ide"; produces dyn super::block::BlockDevice);

/// What is in the registers of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Task {
    /// The command.
    pub command: u8,
    /// Features.
    pub features: u16,
    /// How many sectors.
    pub count: u16,
    /// The first sector.
    pub first: u64,
    /// Whether the registers are written twice, for 48 bits.
    pub is_long: bool,
    /// Whether `first` is no number but an address: a sector, a cylinder and a head, from bits 0, 8
    /// and 24 on (ATA/ATAPI-5).
    pub is_chs: bool,
}

impl Task {
    /// A command without anything else.
    pub const fn new(command: u8) -> Self {
        Self { command, features: 0, count: 0, first: 0, is_long: false, is_chs: false }
    }

    /// For sectors of 28 bits.
    pub const fn short(command: u8, first: u64, count: u16) -> Self {
        Self { count, first, ..Self::new(command) }
    }

    /// For sectors from number `sector` of a track on, the first being 1.
    pub const fn chs(command: u8, (cylinder, head, sector): (u16, u8, u8), count: u16) -> Self {
        let first = sector as u64 | (cylinder as u64) << 8 | (head as u64) << 24;
        Self { count, first, is_chs: true, ..Self::new(command) }
    }

    /// For sectors of 48 bits.
    pub const fn long(command: u8, first: u64, count: u16) -> Self {
        Self { count, first, is_long: true, ..Self::new(command) }
    }
}

/// How a command has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub struct End {
    /// The status.
    pub status: u8,
    /// The error register.
    pub error: u8,
}

impl End {
    /// Makes sure that the command has ended well: ready, with nothing else but the obsolete bit
    /// of a seek.
    ///
    /// # Errors
    /// Returns an error if it has not.
    pub fn good(self, what: &str) -> Result<()> {
        match (self.status & !SEEK, self.error) {
            (READY, 0) => Ok(()),
            _ => Err(Error::failed(format!("{what}: {self:x?}"))),
        }
    }
}

impl IdeChannel {
    /// Reads a byte of the command block.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    pub fn get(&self, offset: u64) -> Result<u8> {
        Ok(self.command.0.read(self.command.1 + offset, Width::Byte)? as u8)
    }

    /// Writes a byte of the command block.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    pub fn set(&self, offset: u64, value: u8) -> Result<()> {
        self.command.0.write(self.command.1 + offset, Width::Byte, value.into())
    }

    /// The status, without an effect on the interrupt.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    pub fn status(&self) -> Result<u8> {
        Ok(self.control.0.read(self.control.1, Width::Byte)? as u8)
    }

    /// Writes device control.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    pub fn set_control(&self, value: u8) -> Result<()> {
        self.control.0.write(self.control.1, Width::Byte, value.into())
    }

    /// The bus master.
    ///
    /// # Errors
    /// Returns [`Error::Skipped`] if there is none.
    pub fn master(&self) -> Result<&At> {
        self.master.as_ref().ok_or_else(|| Error::skipped("the channel has no bus master"))
    }

    /// Reads a byte of the bus master.
    ///
    /// # Errors
    /// Returns [`Error::Skipped`] if there is none.
    pub fn master_get(&self, offset: u64) -> Result<u8> {
        let (registers, base) = self.master()?;
        Ok(registers.read(base + offset, Width::Byte)? as u8)
    }

    /// Writes a byte of the bus master.
    ///
    /// # Errors
    /// Returns [`Error::Skipped`] if there is none.
    pub fn master_set(&self, offset: u64, value: u8) -> Result<()> {
        let (registers, base) = self.master()?;
        registers.write(base + offset, Width::Byte, value.into())
    }

    /// Resets both devices (ATA8-APT, 6.2: SRST), and waits until they are not busy.
    ///
    /// # Errors
    /// Returns an error if they stay busy.
    pub fn reset(&self) -> Result<()> {
        self.set_control(CONTROL_RESET | CONTROL_NO_INTERRUPT)?;
        self.set_control(0)?;
        wait_until(&self.vm, "both devices after their reset", || Ok(self.status()? & BUSY == 0))
    }

    /// Selects device 0 or 1, and waits until it is not busy.
    ///
    /// # Errors
    /// Returns an error if it stays busy.
    pub fn select(&self, device: u8) -> Result<()> {
        self.set(offset::DEVICE, 0xe0 | device << 4)?;
        wait_until(&self.vm, "the device to be free", || Ok(self.status()? & (BUSY | REQUEST) == 0))
    }

    /// Writes the registers of a command to device 0 or 1, the command last.
    ///
    /// # Errors
    /// Returns an error if the device stays busy.
    pub fn issue(&self, device: u8, task: &Task) -> Result<()> {
        self.select(device)?;
        let lba = task.first.to_le_bytes();
        if task.is_long {
            self.set(offset::ERROR, (task.features >> 8) as u8)?;
            self.set(offset::COUNT, (task.count >> 8) as u8)?;
            self.set(offset::LBA_LOW, lba[3])?;
            self.set(offset::LBA_MIDDLE, lba[4])?;
            self.set(offset::LBA_HIGH, lba[5])?;
        }
        self.set(offset::ERROR, task.features as u8)?;
        self.set(offset::COUNT, task.count as u8)?;
        self.set(offset::LBA_LOW, lba[0])?;
        self.set(offset::LBA_MIDDLE, lba[1])?;
        self.set(offset::LBA_HIGH, lba[2])?;
        let upper = if task.is_long { 0 } else { lba[3] & 0xf };
        let select = if task.is_chs { 0xa0 } else { 0xe0 };
        self.set(offset::DEVICE, select | device << 4 | upper)?;
        self.set(offset::STATUS, task.command)
    }

    /// Waits until the device is not busy; returns its status and error.
    ///
    /// # Errors
    /// Returns an error if it stays busy.
    pub fn wait(&self, what: &str) -> Result<End> {
        wait_until(&self.vm, what, || Ok(self.status()? & BUSY == 0))?;
        Ok(End { status: self.get(offset::STATUS)?, error: self.get(offset::ERROR)? })
    }

    /// A command without data.
    ///
    /// # Errors
    /// Returns an error if it does not end.
    pub fn no_data(&self, device: u8, task: &Task) -> Result<End> {
        self.issue(device, task)?;
        self.wait(&format!("command {:#x}", task.command))
    }

    /// Reads words of data.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    pub fn read_data(&self, length: usize) -> Result<Vec<u8>> {
        let at = Access::Read(self.command.1 + offset::DATA, Width::Word);
        let words = self.command.0.sequence(&vec![at; length / 2])?;
        Ok(words.into_iter().flat_map(|word| (word as u16).to_le_bytes()).collect())
    }

    /// Writes words of data.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    pub fn write_data(&self, data: &[u8]) -> Result<()> {
        let words = data.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]]));
        let at = self.command.1 + offset::DATA;
        let accesses: Vec<Access> =
            words.map(|word| Access::Write(at, Width::Word, word.into())).collect();
        self.command.0.sequence(&accesses).map(drop)
    }

    /// A command that reads `length` bytes by PIO, `block` bytes at a time.
    ///
    /// # Errors
    /// Returns an error if it does not end, or wants data for longer than that.
    pub fn read_pio(
        &self,
        device: u8,
        task: &Task,
        length: usize,
        block: usize,
    ) -> Result<(End, Vec<u8>)> {
        self.issue(device, task)?;
        let (what, mut data) = (format!("command {:#x}", task.command), Vec::new());
        loop {
            let end = self.wait(&what)?;
            match end.status & REQUEST != 0 {
                false => return Ok((end, data)),
                true if data.len() < length => {
                    data.extend(self.read_data(block.min(length - data.len()))?);
                }
                true => return Err(Error::failed(format!("{what}: more than {length} bytes"))),
            }
        }
    }

    /// A command that writes data by PIO, `block` bytes at a time; how many bytes were taken.
    ///
    /// # Errors
    /// Returns an error if it does not end, or wants data for longer than that.
    pub fn write_pio(
        &self,
        device: u8,
        task: &Task,
        data: &[u8],
        block: usize,
    ) -> Result<(End, usize)> {
        self.issue(device, task)?;
        let (what, mut done) = (format!("command {:#x}", task.command), 0);
        loop {
            let end = self.wait(&what)?;
            match end.status & REQUEST != 0 {
                false => return Ok((end, done)),
                true if done < data.len() => {
                    let next = (done + block).min(data.len());
                    self.write_data(&data[done..next])?;
                    done = next;
                }
                true => return Err(Error::failed(format!("{what}: wants more data"))),
            }
        }
    }

    /// A command with DMA by a table of memory; how it ends, and the bus master's status then.
    ///
    /// # Errors
    /// Returns an error if it does not end.
    pub fn dma(
        &self,
        device: u8,
        task: &Task,
        to_memory: bool,
        table: &Table,
    ) -> Result<(End, u8)> {
        self.start_dma(device, task, to_memory, table)?;
        self.end_dma(&format!("command {:#x}", task.command))
    }

    /// Starts a command with DMA.
    ///
    /// # Errors
    /// Returns [`Error::Skipped`] if there is no bus master.
    pub fn start_dma(&self, device: u8, task: &Task, to_memory: bool, table: &Table) -> Result<()> {
        let (registers, base) = self.master()?;
        let direction = if to_memory { master::TO_MEMORY } else { 0 };
        self.master_set(master::COMMAND, 0)?;
        self.master_set(master::STATUS, master::ERROR | master::INTERRUPT)?;
        registers.write(base + master::TABLE, Width::Long, table.address()?.into())?;
        self.master_set(master::COMMAND, direction)?;
        self.issue(device, task)?;
        self.master_set(master::COMMAND, direction | master::START)
    }

    /// Waits for the interrupt of a command with DMA, and stops the bus master.
    ///
    /// # Errors
    /// Returns an error if it does not come.
    pub fn end_dma(&self, what: &str) -> Result<(End, u8)> {
        wait_until(&self.vm, what, || {
            Ok(self.master_get(master::STATUS)? & master::INTERRUPT != 0)
        })?;
        let status = self.master_get(master::STATUS)?;
        let end = self.wait(what)?;
        self.master_set(master::COMMAND, 0)?;
        self.master_set(master::STATUS, master::ERROR | master::INTERRUPT)?;
        match self.master_get(master::STATUS)? & 7 {
            0 => Ok((end, status & 7)),
            left => Err(Error::failed(format!("{what}: the bus master's status stays {left:#x}"))),
        }
    }

    /// What IDENTIFY DEVICE tells, or IDENTIFY PACKET DEVICE.
    ///
    /// # Errors
    /// Returns an error if the command does not succeed.
    pub fn identify(&self, device: u8, command: u8) -> Result<Vec<u16>> {
        let (end, data) = self.read_pio(device, &Task::new(command), SECTOR, SECTOR)?;
        end.good("IDENTIFY DEVICE")?;
        if data.len() != SECTOR {
            return Err(Error::failed(format!("IDENTIFY DEVICE: {} bytes", data.len())));
        }
        Ok(data.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]])).collect())
    }

    /// A packet command that reads up to `room` bytes by PIO, at most `limit` at a time; how it
    /// ends, and how large each of the parts is.
    ///
    /// # Errors
    /// Returns an error if it does not end.
    pub fn packet_pio(
        &self,
        device: u8,
        cdb: &[u8],
        room: usize,
        limit: u16,
    ) -> Result<(End, Vec<u8>, Vec<usize>)> {
        let task = Task { first: u64::from(limit) << 8, ..Task::new(command::PACKET) };
        self.issue(device, &task)?;
        self.send_packet(cdb)?;
        let (mut data, mut parts) = (Vec::new(), Vec::new());
        loop {
            let end = self.wait("a packet command")?;
            if end.status & REQUEST == 0 {
                return Ok((end, data, parts));
            }
            let part = usize::from(self.get(offset::LBA_MIDDLE)?)
                | usize::from(self.get(offset::LBA_HIGH)?) << 8;
            let reason = self.get(offset::COUNT)? & 3;
            if reason != 2 || part == 0 || data.len() + part > room {
                let why = format!("{part} bytes after {} of {room}, reason {reason}", data.len());
                return Err(Error::failed(format!("a packet command: {why}")));
            }
            data.extend(self.read_data(part.next_multiple_of(2))?);
            data.truncate(data.len() - part % 2);
            parts.push(part);
        }
    }

    /// Waits until a packet is wanted, and sends it.
    fn send_packet(&self, cdb: &[u8]) -> Result<()> {
        let end = self.wait("the packet to be wanted")?;
        // The reason: a command, to the device.
        let reason = self.get(offset::COUNT)? & 3;
        if end.status & (REQUEST | FAILED) != REQUEST || reason != 1 {
            return Err(Error::failed(format!("no packet is wanted: {end:x?}, reason {reason}")));
        }
        let mut packet = [0; 12];
        packet[..cdb.len()].copy_from_slice(cdb);
        self.write_data(&packet)
    }

    /// A packet command that reads by DMA into memory.
    ///
    /// # Errors
    /// Returns an error if it does not end.
    pub fn packet_dma(&self, device: u8, cdb: &[u8], memory: &Buffer) -> Result<End> {
        let table = Table::of(&self.vm, &[super::block::Piece::whole(memory)])?;
        let task = Task { features: 1, ..Task::new(command::PACKET) };
        let (registers, base) = self.master()?;
        self.master_set(master::COMMAND, 0)?;
        self.master_set(master::STATUS, master::ERROR | master::INTERRUPT)?;
        registers.write(base + master::TABLE, Width::Long, table.address()?.into())?;
        self.issue(device, &task)?;
        self.send_packet(cdb)?;
        self.master_set(master::COMMAND, master::TO_MEMORY | master::START)?;
        Ok(self.end_dma("a packet command with DMA")?.0)
    }
}
