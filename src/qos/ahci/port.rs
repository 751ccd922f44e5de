//! A port that takes commands: its memory, how commands get into its slots, and what has come of
//! them (Serial ATA AHCI Specification 1.3.1; SATA 3.2 for what is received).

use std::rc::Rc;

use super::command::Command;
use super::*;
use crate::qemu::Buffer;
use crate::qos::block::Piece;
use crate::qos::registers::Value;

/// The entries of a command's table of memory.
const PIECES: usize = 256;
/// Where a command's packet is in its table (4.2.3).
const PACKET_AT: usize = 0x40;
/// Where a command's table of memory is in its table.
const PIECES_AT: usize = 0x80;
/// The length of a command's table in bytes.
const TABLE_BYTES: usize = PIECES_AT + 16 * PIECES;

/// What is received, by where it is put (4.2.1) and how long it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fis {
    /// The set-up of data by PIO.
    PioSetup,
    /// The device's registers.
    Registers,
    /// The device's bits: its status, and which queued commands have ended.
    DeviceBits,
}

impl Fis {
    /// Where it is, and its length in bytes.
    const fn place(self) -> (usize, usize) {
        match self {
            Self::PioSetup => (0x20, 20),
            Self::Registers => (0x40, 20),
            Self::DeviceBits => (0x58, 8),
        }
    }
}

/// What memory of what is received has before anything is.
const UNTOUCHED: u8 = 0xcc;

/// How a command has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub struct End {
    /// PxTFD: the status, and the error above it.
    pub task: u32,
    /// PxIS.
    pub pending: u32,
    /// How many bytes the controller says it has moved.
    pub moved: usize,
}

impl End {
    /// The error register, if there is an error.
    pub fn error(&self) -> Option<u8> {
        (self.task & TFD_ERR != 0).then_some((self.task >> 8) as u8)
    }
}

/// A port, started.
pub struct Port {
    /// The machine.
    pub vm: Rc<Vm>,
    /// Its number.
    pub number: u64,
    registers: Rc<dyn Registers>,
    list: Buffer,
    /// What comes from the device.
    pub received: Buffer,
    tables: Vec<Buffer>,
}

impl Port {
    /// Resets the controller and starts the port of `unit` (10.1.2).
    ///
    /// # Errors
    /// Returns an error if the port does not start or stays busy, or no guest memory is left;
    /// [`Error::Skipped`] if the controller does not have that unit or does not reach RAM.
    pub fn start(hba: &AhciHba, unit: Unit) -> Result<Self> {
        let number = hba.port_of(unit)?;
        hba.reaches_ram()?;
        hba.reset()?;
        let port = Self::prepare(hba, number)?;
        port.resume()?;
        Ok(port)
    }

    /// The port of this number with memory of its own, not started.
    ///
    /// # Errors
    /// Returns an error if no guest memory is left.
    pub fn prepare(hba: &AhciHba, number: u64) -> Result<Self> {
        let ram = hba.vm.ram();
        let tables = (0..SLOTS).map(|_| ram.alloc(TABLE_BYTES, 128)).collect::<Result<_>>()?;
        let port = Self {
            vm: hba.vm.clone(),
            number,
            registers: hba.registers.clone(),
            list: ram.alloc(32 * SLOTS, 1024)?,
            received: ram.alloc(256, 256)?,
            tables,
        };
        port.forget()?;
        port.place(port.list.address().0, port.received.address().0)?;
        Ok(port)
    }

    /// Says where its list of commands is, and what it receives.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    pub fn place(&self, list: u64, received: u64) -> Result<()> {
        for (lower, upper, address) in [(PX_CLB, PX_CLBU, list), (PX_FB, PX_FBU, received)] {
            self.set(lower, address as u32)?;
            self.set(upper, (address >> 32) as u32)?;
        }
        Ok(())
    }

    /// Says that they are in the port's own memory.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    pub fn place_own(&self) -> Result<()> {
        self.place(self.list.address().0, self.received.address().0)
    }

    /// This port's own register, of that of the first port.
    fn own<T: Value>(&self, register: Register<T>) -> Register<T> {
        register.nth(self.number, PORT_STRIDE)
    }

    /// Reads a register of the port.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    pub fn get(&self, register: Register<u32>) -> Result<u32> {
        self.registers.get(self.own(register))
    }

    /// Writes a register of the port.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    pub fn set(&self, register: Register<u32>, value: u32) -> Result<()> {
        self.registers.set(self.own(register), value)
    }

    /// Makes sure that a register of the port has this value.
    ///
    /// # Errors
    /// Returns an error if it has another.
    pub fn expect(&self, register: Register<u32>, value: u32, when: &str) -> Result<()> {
        match self.get(register)? {
            found if found == value => Ok(()),
            found => Err(Error::failed(format!(
                "{} is {found:#x}, not {value:#x}, {when}",
                self.own(register)
            ))),
        }
    }

    /// Fills the memory of what is received, so that it shows what is received from now on.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    pub fn forget(&self) -> Result<()> {
        self.received.write(0, &[UNTOUCHED; 256])
    }

    /// What was received last; `None` if nothing was since [`Port::forget`].
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    pub fn fis(&self, fis: Fis) -> Result<Option<Vec<u8>>> {
        let (at, length) = fis.place();
        let mut bytes = vec![0; length];
        self.received.read(at, &mut bytes)?;
        Ok(bytes.iter().any(|byte| *byte != UNTOUCHED).then_some(bytes))
    }

    /// Makes sure that nothing was received but these, since [`Port::forget`].
    ///
    /// # Errors
    /// Returns an error if something else was.
    pub fn received_only(&self, kinds: &[Fis], what: &str) -> Result<()> {
        let bytes = self.received.to_vec()?;
        let is_of = |at: usize| {
            kinds.iter().any(|kind| {
                let (from, length) = kind.place();
                (from..from + length).contains(&at)
            })
        };
        let other = bytes.iter().enumerate().position(|(at, it)| *it != UNTOUCHED && !is_of(at));
        match other {
            None => Ok(()),
            Some(at) => Err(Error::failed(format!(
                "{what}: byte {at:#x} of what is received has been written"
            ))),
        }
    }

    /// Stops taking commands and receiving (10.3).
    ///
    /// # Errors
    /// Returns an error if it goes on.
    pub fn stop(&self) -> Result<()> {
        self.set(PX_CMD, CMD_ON)?;
        wait_until(&self.vm, "the port to stop", || Ok(self.get(PX_CMD)? & CMD_RUNNING == 0))?;
        self.expect(PX_CMD, CMD_ON, "stopped")
    }

    /// Stops, clears errors, and starts (6.2.2.1).
    ///
    /// # Errors
    /// Returns an error if it does not start, or stays busy.
    pub fn resume(&self) -> Result<()> {
        self.stop()?;
        self.expect(PX_CI, 0, "stopped")?;
        self.expect(PX_SACT, 0, "stopped")?;
        self.set(PX_SERR, !0)?;
        self.set(PX_CMD, CMD_ON | CMD_FRE)?;
        self.set(PX_CMD, CMD_ON | CMD_FRE | CMD_ST)?;
        wait_until(&self.vm, "the port to start", || {
            let running = self.get(PX_CMD)? & CMD_RUNNING == CMD_RUNNING;
            Ok(running && self.get(PX_TFD)? & TFD_BUSY == 0)
        })?;
        self.expect(PX_CMD, CMD_ON | CMD_FRE | CMD_ST | CMD_RUNNING, "started")?;
        self.set(PX_IS, !0)?;
        self.expect(PX_IS, 0, "cleared")?;
        self.expect(PX_SERR, 0, "cleared")
    }

    /// Resets the link and starts again (6.2.2.2), after which the device has no error any more.
    ///
    /// # Errors
    /// Returns an error if the port does not start, or the first command fails.
    pub fn reset_link(&self) -> Result<()> {
        self.stop()?;
        self.set(PX_SCTL, 1)?;
        self.set(PX_SCTL, 0)?;
        self.resume()?;
        self.good(&Command::new(crate::qos::ide::command::FLUSH_EXT), "a flush after a reset")
    }

    /// Puts a command into a slot. The controller is not told.
    ///
    /// # Errors
    /// Returns an error if it has more pieces than there is room for.
    pub fn put(&self, slot: usize, command: &Command) -> Result<()> {
        let entry = |piece: &Piece| (piece.address, piece.length as u32 - 1);
        let entries: Vec<(u64, u32)> = command.memory.iter().map(entry).collect();
        if let Some(packet) = command.packet {
            let mut bytes = [0; 16];
            bytes[..packet.len()].copy_from_slice(packet);
            self.tables[slot].write(PACKET_AT, &bytes)?;
        }
        let flags = u32::from(command.packet.is_some()) << 5 | u32::from(command.writes) << 6;
        self.put_raw(slot, &command.fis(), flags, &entries)
    }

    /// Puts a FIS into a slot, with further bits of the first word of its header (4.2.2), and
    /// entries of memory as they are: an address, and the last word.
    ///
    /// # Errors
    /// Returns an error if it has more entries than there is room for.
    pub fn put_raw(
        &self,
        slot: usize,
        fis: &[u8; 20],
        flags: u32,
        entries: &[(u64, u32)],
    ) -> Result<()> {
        if entries.len() > PIECES {
            return Err(Error::failed(format!("{} pieces of memory", entries.len())));
        }
        let table = &self.tables[slot];
        table.write(0, fis)?;
        for (at, (address, last)) in entries.iter().enumerate() {
            table.write_le64(PIECES_AT + 16 * at, *address)?;
            table.write_le64(PIECES_AT + 16 * at + 8, u64::from(*last) << 32)?;
        }
        // The length of the FIS is told in words of 32 bits.
        self.header(slot, 5 | flags | (entries.len() as u32) << 16, table.address().0)
    }

    /// Writes the header of a slot: its first word, no bytes moved, and where its table is.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    pub fn header(&self, slot: usize, first: u32, table: u64) -> Result<()> {
        self.list.write_le32(32 * slot, first)?;
        self.list.write_le32(32 * slot + 4, 0)?;
        self.list.write_le64(32 * slot + 8, table)
    }

    /// How many bytes the controller says that it has moved for the command of a slot.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    pub fn moved(&self, slot: usize) -> Result<usize> {
        Ok(self.list.read_le32(32 * slot + 4)? as usize)
    }

    /// Has a command done in a slot; how it has ended. The port is as it is then: nothing is
    /// cleared.
    ///
    /// # Errors
    /// Returns an error if it does not end.
    pub fn issue(&self, slot: usize, command: &Command) -> Result<End> {
        self.put(slot, command)?;
        self.set(PX_CI, 1 << slot)?;
        let what = format!("command {:#x}", command.command);
        wait_until(&self.vm, &what, || {
            let failed = self.get(PX_IS)? & (IS_TFES | IS_HBFS) != 0;
            Ok(failed || self.get(PX_CI)? & 1 << slot == 0)
        })?;
        Ok(End { task: self.get(PX_TFD)?, pending: self.get(PX_IS)?, moved: self.moved(slot)? })
    }

    /// Has the command done: its error register if it ends with an error, which the port is
    /// recovered from then. All that a command leaves in the registers and in memory is compared.
    ///
    /// # Errors
    /// Returns an error if it does not end, moves another number of bytes than it should, or
    /// leaves something in the registers that it should not.
    pub fn run(&self, command: &Command, what: &str) -> Result<Option<u8>> {
        self.forget()?;
        let slot = usize::from(command.command) % SLOTS;
        let end = self.issue(slot, command)?;
        if let Some(error) = end.error() {
            self.check_failed(slot, &end, what)?;
            self.resume()?;
            return Ok(Some(error));
        }
        self.expect(PX_CI, 0, what)?;
        self.expect(PX_SACT, 0, what)?;
        self.expect(PX_SERR, 0, what)?;
        // By PIO a set-up was received before the data, and interrupts when it says so.
        let pending = end.pending & !IS_PSS;
        if end.task != TFD_READY || pending != IS_DHRS || end.moved != command.length() {
            let length = command.length();
            return Err(Error::failed(format!("{what}: {end:x?}, with {length:#x} bytes")));
        }
        self.check_registers(end.task, what)?;
        self.set(PX_IS, end.pending)?;
        self.expect(PX_IS, 0, what)?;
        Ok(None)
    }

    /// Makes sure that a command has failed as it should: its slot stays, and is told.
    fn check_failed(&self, slot: usize, end: &End, what: &str) -> Result<()> {
        let is_told = end.pending & (IS_TFES | IS_DHRS) & !IS_DHRS == IS_TFES;
        if !is_told || end.task & 0xff != 0x41 {
            return Err(Error::failed(format!("{what}: failed with {end:x?}")));
        }
        self.expect(PX_CI, 1 << slot, what)?;
        self.check_registers(end.task, what)
    }

    /// Makes sure that the device's registers were received, and say the same as PxTFD.
    fn check_registers(&self, task: u32, what: &str) -> Result<()> {
        let Some(fis) = self.fis(Fis::Registers)? else {
            return Err(Error::failed(format!("{what}: no registers were received")));
        };
        let is_empty = fis[11] == 0 && fis[14..] == [0; 6];
        if fis[..4] != [0x34, 0x40, task as u8, (task >> 8) as u8] || !is_empty {
            return Err(Error::failed(format!("{what}: PxTFD {task:#x}, registers {fis:02x?}")));
        }
        self.received_only(&[Fis::Registers, Fis::PioSetup], what)
    }

    /// A command that has to succeed.
    ///
    /// # Errors
    /// Returns an error if it does not.
    pub fn good(&self, command: &Command, what: &str) -> Result<()> {
        match self.run(command, what)? {
            None => Ok(()),
            Some(error) => Err(Error::failed(format!("{what}: error {error:#x}"))),
        }
    }

    /// What IDENTIFY DEVICE tells, or IDENTIFY PACKET DEVICE.
    ///
    /// # Errors
    /// Returns an error if the command does not succeed.
    pub fn identify(&self, command: u8) -> Result<Vec<u16>> {
        let data = self.vm.ram().alloc(SECTOR, 2)?;
        let memory = [Piece::whole(&data)];
        self.good(&Command::new(command).into(&memory), "IDENTIFY DEVICE")?;
        let bytes = data.to_vec()?;
        Ok(bytes.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]])).collect())
    }
}
