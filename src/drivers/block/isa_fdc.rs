//! The floppy controller of a PC (Intel 82078 datasheet, whose sections are cited), with a disk in
//! its first drive and none in its second. Data are moved by the FIFO, without DMA.

use std::rc::Rc;

use crate::graph::QemuArgs;
use crate::qemu::{Image, Vm};
use crate::qos::registers::{Ports, Register, RegistersExt};
use crate::qos::wait_until;
use crate::{Error, Result, driver};

/// The disk in the first drive: 1.44 MB.
pub const FLOPPY: Image = Image { name: "floppy", size: (TRACKS * HEADS * SECTORS) as u64 * 512 };
/// Tracks of the disk.
pub const TRACKS: usize = 80;
/// Sides of the disk.
pub const HEADS: usize = 2;
/// Sectors of a track.
pub const SECTORS: usize = 18;
/// The size of a sector in bytes.
pub const SECTOR: usize = 512;

/// Digital output: the drive, reset, DMA and the interrupt, motors.
pub const DOR: Register<u8> = Register::new("DOR", 2).section("2.1.2").side_effect();
/// Main status.
pub const MSR: Register<u8> = Register::new("MSR", 4).section("2.1.5").read_only();
/// Written, data rate select.
pub const DSR: Register<u8> = Register::new("DSR", 4).section("2.1.4").side_effect();
/// The FIFO.
pub const FIFO: Register<u8> = Register::new("FIFO", 5).section("2.1.6").side_effect();
/// Digital input; written, the data rate.
pub const DIR: Register<u8> = Register::new("DIR", 7).section("2.1.7").side_effect();

/// DOR: not in reset.
pub const DOR_RUNS: u8 = 1 << 2;
/// DOR: DMA and the interrupt.
pub const DOR_DMA: u8 = 1 << 3;
/// DOR: both motors.
pub const DOR_MOTORS: u8 = 3 << 4;
/// MSR: a command is under way.
pub const MSR_BUSY: u8 = 1 << 4;
/// MSR: the FIFO is to be read.
pub const MSR_READ: u8 = 1 << 6;
/// MSR: the FIFO is ready.
pub const MSR_READY: u8 = 1 << 7;
/// DIR: the disk has been changed.
pub const DIR_CHANGED: u8 = 1 << 7;

/// Commands (5.1), with MFM where that is a bit of theirs.
pub mod command {
    /// SPECIFY.
    pub const SPECIFY: u8 = 0x03;
    /// SENSE DRIVE STATUS.
    pub const SENSE_DRIVE: u8 = 0x04;
    /// WRITE DATA.
    pub const WRITE: u8 = 0x45;
    /// READ DATA.
    pub const READ: u8 = 0x46;
    /// RECALIBRATE.
    pub const RECALIBRATE: u8 = 0x07;
    /// SENSE INTERRUPT STATUS.
    pub const SENSE_INTERRUPT: u8 = 0x08;
    /// READ ID.
    pub const READ_ID: u8 = 0x4a;
    /// DUMPREG.
    pub const DUMP: u8 = 0x0e;
    /// SEEK.
    pub const SEEK: u8 = 0x0f;
    /// VERSION.
    pub const VERSION: u8 = 0x10;
    /// PERPENDICULAR MODE.
    pub const PERPENDICULAR: u8 = 0x12;
    /// CONFIGURE.
    pub const CONFIGURE: u8 = 0x13;
    /// LOCK, set.
    pub const LOCK: u8 = 0x94;
    /// LOCK, cleared.
    pub const UNLOCK: u8 = 0x14;
    /// VERIFY.
    pub const VERIFY: u8 = 0x56;
    /// PART ID.
    pub const PART_ID: u8 = 0x18;
    /// RELATIVE SEEK, outwards.
    pub const SEEK_OUT: u8 = 0x8f;
    /// RELATIVE SEEK, inwards.
    pub const SEEK_IN: u8 = 0xcf;
}

/// QEMU's `isa-fdc` at the ports of old.
pub struct IsaFdc {
    vm: Rc<Vm>,
    /// Its registers.
    pub registers: Ports,
}

impl IsaFdc {
    /// What a suite adds to the machine's command line: the drives, and the disk.
    pub const ARGS: QemuArgs = QemuArgs::NONE
        .before("-drive if=none,id=floppy0,format=raw,auto-read-only=off,file={floppy}")
        .after(
            "-device floppy,drive=floppy0,unit=0,drive-type=144,id=fd0 \
             -device floppy,unit=1,drive-type=144,id=fd1",
        )
        .images(&[FLOPPY]);

    /// The controller of a PC.
    pub fn of_pc(vm: &Rc<Vm>) -> Self {
        Self { vm: vm.clone(), registers: Ports::new(vm, 0x3f0) }
    }

    /// Resets the controller, and selects drive 0 or 1, without DMA, at 500 kbit/s.
    ///
    /// # Errors
    /// Returns an error if it is not ready afterwards.
    pub fn reset(&self, drive: u8) -> Result<()> {
        self.registers.set(DOR, 0)?;
        self.registers.set(DOR, DOR_RUNS | DOR_MOTORS | drive)?;
        self.registers.set(DIR, 0)?;
        self.expect_idle("after a reset")
    }

    /// Makes sure that no command is under way.
    ///
    /// # Errors
    /// Returns an error if one is.
    pub fn expect_idle(&self, when: &str) -> Result<()> {
        match self.registers.get(MSR)? {
            MSR_READY => Ok(()),
            status => Err(Error::failed(format!("{MSR} is {status:#x}, {when}"))),
        }
    }

    /// Sends a byte of a command.
    ///
    /// # Errors
    /// Returns an error if the controller does not take it.
    pub fn send(&self, byte: u8) -> Result<()> {
        wait_until(&self.vm, "the FIFO to take a byte", || {
            Ok(self.registers.get(MSR)? & (MSR_READY | MSR_READ) == MSR_READY)
        })?;
        self.registers.set(FIFO, byte)
    }

    /// Receives a byte.
    ///
    /// # Errors
    /// Returns an error if the controller has none.
    pub fn receive(&self) -> Result<u8> {
        wait_until(&self.vm, "the FIFO to have a byte", || {
            let both = MSR_READY | MSR_READ;
            Ok(self.registers.get(MSR)? & both == both)
        })?;
        self.registers.get(FIFO)
    }

    /// Has a command done whose result is `count` bytes long.
    ///
    /// # Errors
    /// Returns an error if the controller does not take it, or has more or fewer results.
    pub fn run(&self, bytes: &[u8], count: usize) -> Result<Vec<u8>> {
        self.expect_idle(&format!("before command {bytes:02x?}"))?;
        for byte in bytes {
            self.send(*byte)?;
        }
        self.results(count, &format!("command {bytes:02x?}"))
    }

    /// The result of a command, of `count` bytes.
    ///
    /// # Errors
    /// Returns an error if it is longer or shorter.
    pub fn results(&self, count: usize, what: &str) -> Result<Vec<u8>> {
        let found = (0..count).map(|_| self.receive()).collect::<Result<_>>()?;
        self.expect_idle(&format!("after {what}"))?;
        Ok(found)
    }

    /// SENSE INTERRUPT STATUS: status 0 and the track.
    ///
    /// # Errors
    /// Returns an error if there is no interrupt.
    pub fn sense(&self) -> Result<(u8, u8)> {
        let result = self.run(&[command::SENSE_INTERRUPT], 2)?;
        Ok((result[0], result[1]))
    }
}

/// The bytes of a command that moves sectors from this one on, up to the last of the track.
pub fn transfer(code: u8, drive: u8, (track, head, sector): (u8, u8, u8), last: u8) -> [u8; 9] {
    [code, head << 2 | drive, track, head, sector, 2, last, 0x1b, 0xff]
}

/// Where a sector is in the image, in bytes.
pub fn place((track, head, sector): (u8, u8, u8)) -> u64 {
    let track = (usize::from(track) * HEADS + usize::from(head)) * SECTORS;
    ((track + usize::from(sector) - 1) * SECTOR) as u64
}

driver!(IsaFdc = "isa-fdc");
