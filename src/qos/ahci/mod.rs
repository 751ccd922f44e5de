//! AHCI controllers (Serial ATA AHCI Specification 1.3.1, whose sections are cited): their
//! registers, and what is plugged into their ports. Where the registers are is their driver's
//! affair.
//!
//! | file | holds |
//! |---|---|
//! | `mod` | registers, bits, and the interface of a controller |
//! | `port` | a port that takes commands |
//! | `command` | commands and their memory |
//! | `disk` | the disk at the first port as a block device |

pub mod command;
pub mod disk;
pub mod port;

use std::rc::Rc;

use super::interrupt::Pin;
use super::pci::PciDevice;
use super::registers::{AnyRegister, Register, Registers, RegistersExt};
use super::wait_until;
use crate::qemu::{Image, MIB, Vm};
use crate::{Error, Result, interface};

/// Host capabilities; bits 4:0 are the number of ports less one.
pub const CAP: Register<u32> = Register::new("CAP", 0x00).section("3.1.1").read_only();
/// Global host control: reset, interrupts.
pub const GHC: Register<u32> =
    Register::new("GHC", 0x04).section("3.1.2").reset(1 << 31).kept(GHC_IE as u64).acts(1);
/// Which ports have an interrupt pending.
pub const IS: Register<u32> = Register::new("IS", 0x08).section("3.1.3").reset(0).w1c(0x3f);
/// Which ports there are.
pub const PI: Register<u32> = Register::new("PI", 0x0c).section("3.1.4").read_only();
/// The version.
pub const VS: Register<u32> =
    Register::new("VS", 0x10).section("3.1.5").reset(0x1_0000).read_only();

/// Where the list of commands of a port is.
pub const PX_CLB: Register<u32> =
    Register::new("PxCLB", 0x100).section("3.3.1").kept(0xffff_fc00).reserved(0x3ff);
/// Its upper half.
pub const PX_CLBU: Register<u32> =
    Register::new("PxCLBU", 0x104).section("3.3.2").kept(0xffff_ffff);
/// Where what a port receives is put.
pub const PX_FB: Register<u32> =
    Register::new("PxFB", 0x108).section("3.3.3").kept(0xffff_ff00).reserved(0xff);
/// Its upper half.
pub const PX_FBU: Register<u32> = Register::new("PxFBU", 0x10c).section("3.3.4").kept(0xffff_ffff);
/// What of a port is pending.
pub const PX_IS: Register<u32> =
    Register::new("PxIS", 0x110).section("3.3.5").reset(0).w1c(0xfd80_00af).volatile(0x50);
/// What of it interrupts.
pub const PX_IE: Register<u32> =
    Register::new("PxIE", 0x114).section("3.3.6").reset(0).kept(0xfdc0_00ff);
/// What a port does.
pub const PX_CMD: Register<u32> = Register::new("PxCMD", 0x118).section("3.3.7").side_effect();
/// Status and error of the port's device.
pub const PX_TFD: Register<u32> = Register::new("PxTFD", 0x120).section("3.3.8").volatile(0xffff);
/// What kind of device that is.
pub const PX_SIG: Register<u32> = Register::new("PxSIG", 0x124).section("3.3.9").read_only();
/// Whether it is there.
pub const PX_SSTS: Register<u32> = Register::new("PxSSTS", 0x128).section("3.3.10").read_only();
/// Resets the port's link.
pub const PX_SCTL: Register<u32> = Register::new("PxSCTL", 0x12c).section("3.3.11").side_effect();
/// Errors of the link.
pub const PX_SERR: Register<u32> = Register::new("PxSERR", 0x130).section("3.3.12").side_effect();
/// Which queued commands are not done.
pub const PX_SACT: Register<u32> = Register::new("PxSACT", 0x134).section("3.3.13").side_effect();
/// Which commands the controller shall take.
pub const PX_CI: Register<u32> = Register::new("PxCI", 0x138).section("3.3.14").side_effect();
/// From a port's registers to the next one's.
pub const PORT_STRIDE: u64 = 0x80;

/// The registers of every port that the generic suite tries.
pub const PORT: &[&dyn AnyRegister] =
    &[&PX_CLB, &PX_CLBU, &PX_FB, &PX_FBU, &PX_IS, &PX_IE, &PX_TFD, &PX_SIG, &PX_SSTS];

/// GHC: resets the controller; it reads as one until that is done.
pub const GHC_HR: u32 = 1 << 0;
/// GHC: interrupts are enabled.
pub const GHC_IE: u32 = 1 << 1;
/// GHC: the controller is an AHCI one, and nothing else.
pub const GHC_AE: u32 = 1 << 31;
/// PxCMD: commands are taken.
pub const CMD_ST: u32 = 1 << 0;
/// PxCMD: spun up and powered.
pub const CMD_ON: u32 = 3 << 1;
/// PxCMD: what comes is received.
pub const CMD_FRE: u32 = 1 << 4;
/// PxCMD: it receives.
pub const CMD_FR: u32 = 1 << 14;
/// PxCMD: it takes commands.
pub const CMD_CR: u32 = 1 << 15;
/// PxCMD: it receives; it takes commands.
pub const CMD_RUNNING: u32 = CMD_FR | CMD_CR;
/// PxIS: the device has sent its registers.
pub const IS_DHRS: u32 = 1 << 0;
/// PxIS: data by PIO have been moved.
pub const IS_PSS: u32 = 1 << 1;
/// PxIS: a queued command has ended.
pub const IS_SDBS: u32 = 1 << 3;
/// PxIS: the memory of a command is too short for its data.
pub const IS_OFS: u32 = 1 << 24;
/// PxIS: a fatal error on the bus to the memory.
pub const IS_HBFS: u32 = 1 << 29;
/// PxIS: a command has ended with an error.
pub const IS_TFES: u32 = 1 << 30;
/// PxTFD: an error.
pub const TFD_ERR: u32 = 1 << 0;
/// PxTFD: the device is busy, or wants data.
pub const TFD_BUSY: u32 = 0x88;
/// PxTFD of a device that is ready, and has nothing to report but the obsolete bit of a seek.
pub const TFD_READY: u32 = 0x50;
/// PxTFD when a device has told nothing since a reset (3.3.8).
pub const TFD_RESET: u32 = 0x7f;
/// PxSIG when a device has told nothing since a reset (3.3.9).
pub const SIG_NONE: u32 = u32::MAX;
/// PxSIG of a disk (ATA8-APT, 6.2).
pub const SIG_DISK: u32 = 0x0000_0101;
/// PxSIG of a device that takes packets.
pub const SIG_PACKET: u32 = 0xeb14_0101;
/// PxSSTS: a device, with communication, the first generation's speed, active.
pub const SSTS_DEVICE: u32 = 0x113;
/// The slots for commands.
pub const SLOTS: usize = 32;
/// The size of a sector in bytes.
pub const SECTOR: usize = 512;

/// Commands of ATA that queue; those without a queue are in [`ide::command`](super::ide::command).
pub mod ata {
    /// READ FPDMA QUEUED.
    pub const READ_QUEUED: u8 = 0x60;
    /// WRITE FPDMA QUEUED.
    pub const WRITE_QUEUED: u8 = 0x61;
}

/// The medium of the CD-ROM.
pub const MEDIUM: Image = Image { name: "cdrom", size: 2 * MIB };
/// The sectors of the disk of [`Unit::Broken`]: few less than 48 bits can number.
pub const BROKEN_SECTORS: u64 = (1 << 48) - 1024;
/// The sector of [`Unit::Broken`] that cannot be read.
pub const BROKEN_READ: u64 = 0xabcd_ef12_3456;
/// The sector of [`Unit::Broken`] that cannot be written.
pub const BROKEN_WRITE: u64 = 0x5432_10fe_dcba;
/// The sector of [`Unit::Broken`] within 28 bits that can neither be read nor written.
pub const BROKEN_BOTH: u64 = 0x0a5_c3e7;
/// The sector of [`Unit::Stopping`] that can neither be read nor written the first time.
pub const STOPPING_SECTOR: u64 = 1000;

/// The back ends of all units.
pub const BACKENDS: &str = "\
     -drive if=none,id=drive0,format=raw,discard=unmap,auto-read-only=off,file={disk} \
     -drive if=none,id=medium,format=raw,read-only=on,file={cdrom} \
     -blockdev driver=raw,node-name=broken,file.driver=blkdebug,file.image.driver=null-co,\
     file.image.size=144115188075331584,file.image.read-zeroes=on,\
     file.inject-error.0.event=none,file.inject-error.0.iotype=read,\
     file.inject-error.0.sector=188900967593046,\
     file.inject-error.1.event=none,file.inject-error.1.iotype=write,\
     file.inject-error.1.sector=92574010236090,\
     file.inject-error.2.event=none,file.inject-error.2.iotype=read,\
     file.inject-error.2.sector=10863591,\
     file.inject-error.3.event=none,file.inject-error.3.iotype=write,\
     file.inject-error.3.sector=10863591 \
     -blockdev driver=raw,node-name=stopping,file.driver=blkdebug,file.image.driver=null-co,\
     file.image.size=16777216,file.image.read-zeroes=on,\
     file.inject-error.0.event=none,file.inject-error.0.iotype=read,\
     file.inject-error.0.sector=1000,file.inject-error.0.once=on,\
     file.inject-error.1.event=none,file.inject-error.1.iotype=write,\
     file.inject-error.1.sector=1000,file.inject-error.1.once=on,\
     file.inject-error.2.event=none,file.inject-error.2.iotype=flush,\
     file.inject-error.2.once=on \
     -drive if=none,id=slow,driver=null-co,size=16777216,read-zeroes=on,\
     throttling.iops-write=1";

/// What is at a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// A disk with the image [`block::DISK`](super::block::DISK).
    Disk,
    /// A CD-ROM with the medium [`MEDIUM`].
    CdRom,
    /// A disk as large as can be, which reads as zeroes, keeps nothing, and some of whose sectors
    /// are broken.
    Broken,
    /// A disk that reads as zeroes and keeps nothing, whose first error of each kind stops the
    /// machine.
    Stopping,
    /// A disk that reads as zeroes and keeps nothing, and that does one write a second of the
    /// virtual clock. It reads at once.
    Slow,
    /// Nothing.
    Empty,
}

impl Unit {
    /// All, in the order of the ports that they are at.
    pub const ALL: [Self; 6] =
        [Self::Disk, Self::CdRom, Self::Broken, Self::Stopping, Self::Slow, Self::Empty];

    /// What PxSSTS and PxSIG say of it.
    pub const fn told(self) -> (u32, u32) {
        match self {
            Self::Empty => (0, SIG_NONE),
            Self::CdRom => (SSTS_DEVICE, SIG_PACKET),
            _ => (SSTS_DEVICE, SIG_DISK),
        }
    }
}

/// A controller.
#[derive(Clone)]
pub struct AhciHba {
    /// The machine.
    pub vm: Rc<Vm>,
    /// Its registers.
    pub registers: Rc<dyn Registers>,
    /// What is at its ports, from the first on.
    pub units: &'static [Unit],
    /// The function that it is, if it is on PCI.
    pub function: Option<PciDevice>,
    /// Where its interrupt line ends, if that is known and it is not on PCI.
    pub pin: Option<Pin>,
    /// Finds the controller again after a reset of the machine.
    pub again: Rc<dyn Fn() -> Result<Rc<Self>>>,
}

interface!(AhciHba = "ahci"; produces dyn super::block::BlockDevice);

impl AhciHba {
    /// The number of the port of `unit`.
    ///
    /// # Errors
    /// Returns [`Error::Skipped`] if there is none.
    pub fn port_of(&self, unit: Unit) -> Result<u64> {
        let found = self.units.iter().position(|it| *it == unit);
        found.map(|at| at as u64).ok_or_else(|| {
            Error::skipped(format!("no port of this machine's controller has a unit {unit:?}"))
        })
    }

    /// Makes sure that it reaches the machine's RAM.
    ///
    /// # Errors
    /// Returns [`Error::Skipped`] if the bus that it is on does not lead there.
    pub fn reaches_ram(&self) -> Result<()> {
        self.function.as_ref().map_or(Ok(()), |function| function.bus().reaches_ram())
    }

    /// Resets the controller (10.4.3).
    ///
    /// # Errors
    /// Returns an error if that does not end, or leaves global host control otherwise than 3.1.2
    /// says.
    pub fn reset(&self) -> Result<()> {
        let registers = &self.registers;
        registers.set(GHC, GHC_HR)?;
        wait_until(&self.vm, "the controller's reset", || Ok(registers.get(GHC)? & GHC_HR == 0))?;
        match registers.get(GHC)? {
            GHC_AE => Ok(()),
            control => Err(Error::failed(format!("{GHC}: {control:#x} after a reset"))),
        }
    }
}
