//! SCSI host adapters as an interface: a command goes to a logical unit with data in one
//! direction, and comes back with a status, sense data and a residual. How it gets there (rings,
//! frames, a script, phases of the bus) is the affair of the adapter's driver.
//!
//! Behind every adapter are the same units: see [`Units`].

pub mod cdb;

use std::rc::Rc;

use crate::qemu::{Buffer, Image, MIB, Vm};
use crate::{Error, Result, interface};

/// The image of the disk at [`DISK`].
pub const IMAGE: Image = Image { name: "disk", size: 16 * MIB };
/// The size in bytes of the disk that reads as zeroes.
pub const ZEROES_SIZE: u64 = 2 * MIB;
/// The serial number of the disk at [`DISK`].
pub const SERIAL: &str = "qgraph-disk";

/// The back ends of all units, for the command line.
pub const BACKEND: &str = "-drive if=none,id=drive0,format=raw,auto-read-only=off,discard=unmap,file={disk} \
     -blockdev null-co,node-name=zeroes,read-zeroes=on,size=2097152 \
     -blockdev null-co,node-name=slow,read-zeroes=on,size=2097152,latency-ns=50000000 \
     -drive if=none,id=medium,driver=null-co,read-zeroes=on,size=2097152,read-only=on";
/// The units behind an adapter with the ID `scsi0` whose targets have several.
pub const BEHIND_WITH_LUNS: &str = "-device scsi-hd,bus=scsi0.0,scsi-id=1,lun=0,drive=drive0,serial=qgraph-disk \
     -device scsi-hd,bus=scsi0.0,scsi-id=1,lun=2,drive=zeroes \
     -device scsi-cd,bus=scsi0.0,scsi-id=2,lun=0,drive=medium,id=cd \
     -device scsi-hd,bus=scsi0.0,scsi-id=4,lun=0,drive=slow";
/// The units behind an adapter with the ID `scsi0` whose targets have one each.
pub const BEHIND: &str = "-device scsi-hd,bus=scsi0.0,scsi-id=1,lun=0,drive=drive0,serial=qgraph-disk \
     -device scsi-hd,bus=scsi0.0,scsi-id=3,lun=0,drive=zeroes \
     -device scsi-cd,bus=scsi0.0,scsi-id=2,lun=0,drive=medium,id=cd \
     -device scsi-hd,bus=scsi0.0,scsi-id=4,lun=0,drive=slow";

/// The units behind an adapter with the ID `scsi0` that is one target.
pub const BEHIND_TARGET: &str = "-device scsi-hd,bus=scsi0.0,scsi-id=0,lun=0,drive=drive0,serial=qgraph-disk \
     -device scsi-hd,bus=scsi0.0,scsi-id=0,lun=2,drive=zeroes \
     -device scsi-cd,bus=scsi0.0,scsi-id=0,lun=1,drive=medium,id=cd \
     -device scsi-hd,bus=scsi0.0,scsi-id=0,lun=3,drive=slow";

/// A logical unit: the number of its target, and its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unit {
    /// The target.
    pub target: u8,
    /// The logical unit number.
    pub lun: u8,
}

impl Unit {
    /// Unit `lun` of `target`.
    pub const fn new(target: u8, lun: u8) -> Self {
        Self { target, lun }
    }
}

/// The disk with the image [`IMAGE`].
pub const DISK: Unit = Unit::new(1, 0);
/// A CD-ROM whose medium reads as zeroes.
pub const CDROM: Unit = Unit::new(2, 0);
/// A disk that takes 50 ms for each command with data, and reads as zeroes.
pub const SLOW: Unit = Unit::new(4, 0);

/// The units that depend on what an adapter can address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Units {
    /// A disk of [`ZEROES_SIZE`] bytes that reads as zeroes.
    pub zeroes: Unit,
    /// A unit that is not there, of a target that is.
    pub no_lun: Option<Unit>,
    /// Targets that are not there.
    pub no_targets: &'static [u8],
    /// A target that takes a disk while the machine runs, and the driver sees it.
    pub spare: Unit,
    /// The numbers of the logical units of the targets of [`DISK`] and [`CDROM`]; none where the latter
    /// is no unit 0, which alone tells them.
    pub luns: [&'static [u8]; 2],
}

/// The units behind an adapter whose targets have several.
pub const UNITS_WITH_LUNS: Units = Units {
    zeroes: Unit::new(1, 2),
    no_lun: Some(Unit::new(1, 1)),
    no_targets: &[0, 3, 5],
    spare: Unit::new(6, 0),
    luns: [&[0, 2], &[0]],
};
/// The units behind an adapter whose targets have one each.
pub const UNITS: Units = Units {
    zeroes: Unit::new(3, 0),
    no_lun: None,
    no_targets: &[0, 5],
    spare: Unit::new(6, 0),
    luns: [&[0], &[0]],
};
/// The units behind an adapter that is one target: target `n` stands for its logical unit `n` - 1,
/// and target 0 for the target itself.
pub const UNITS_OF_TARGET: Units = Units {
    zeroes: Unit::new(3, 0),
    no_lun: None,
    no_targets: &[7, 9],
    spare: Unit::new(0, 6),
    luns: [&[0, 1, 2, 3], &[]],
};

impl Unit {
    /// The number of the logical unit behind an adapter that is one target.
    pub const fn of_target(self) -> u8 {
        if self.target == 0 { self.lun } else { self.target - 1 }
    }
}

/// How far a reset by software reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// The unit that is named.
    Unit,
    /// All units of all targets.
    Bus,
}

/// What an adapter can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Profile {
    /// The units behind it.
    pub units: Units,
    /// Whether it tells how many bytes it has moved.
    pub tells_residual: bool,
    /// Whether it refuses a command whose data is longer than the memory for it.
    pub refuses_overrun: bool,
    /// How far [`ScsiHba::reset`] reaches; `None` if there is no such thing.
    pub reset: Option<Reach>,
    /// Whether [`ScsiHba::abort`] is possible.
    pub aborts: bool,
    /// The largest number of bytes of a command's data that the suite asks for.
    pub most: usize,
    /// Why a command with more memory than it has data moves more than it has, if it does so.
    pub moves_all: Option<&'static str>,
}

/// The data of a command.
#[derive(Debug, Clone, Copy)]
pub enum Data<'a> {
    /// None.
    None,
    /// Memory of so many bytes for what is read.
    In(usize),
    /// What is written.
    Out(&'a [u8]),
}

impl Data<'_> {
    /// The length in bytes.
    pub fn len(&self) -> usize {
        match self {
            Self::None => 0,
            Self::In(room) => *room,
            Self::Out(bytes) => bytes.len(),
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether it goes to the unit.
    pub fn is_out(&self) -> bool {
        matches!(self, Self::Out(_))
    }

    /// Memory for it, with what is written; `None` without data.
    ///
    /// # Errors
    /// Returns an error if no guest memory is left.
    pub fn memory(&self, vm: &Vm) -> Result<Option<Buffer>> {
        if self.is_empty() {
            return Ok(None);
        }
        let buffer = vm.ram().alloc(self.len(), 16)?;
        if let Self::Out(bytes) = self {
            buffer.write(0, bytes)?;
        }
        Ok(Some(buffer))
    }
}

/// The address of a buffer for an adapter with addresses of 32 bits.
///
/// # Errors
/// Returns [`Error::Skipped`] if the buffer is above 4 GiB.
pub fn address32(buffer: &Buffer) -> Result<u32> {
    u32::try_from(buffer.address().0)
        .map_err(|_| Error::skipped("the adapter does not reach memory above 4 GiB"))
}

/// SCSI status: the command was carried out.
pub const GOOD: u8 = 0;
/// SCSI status: it was not, and sense data says why.
pub const CHECK_CONDITION: u8 = 2;
/// The length of the sense data that is asked for in bytes: fixed format (SPC-4, 4.5.3).
pub const SENSE: usize = 18;

/// How a unit has answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The status.
    pub status: u8,
    /// Sense data, if the status is [`CHECK_CONDITION`].
    pub sense: Vec<u8>,
    /// How many bytes of the memory were not used, if the adapter tells.
    pub residual: Option<usize>,
    /// All of the memory for what is read.
    pub data: Vec<u8>,
}

/// What became of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The unit has answered.
    Replied(Reply),
    /// There is no such unit.
    Absent,
    /// The unit has more data than there is memory for.
    Overrun,
    /// It was aborted.
    Aborted,
}

/// A SCSI host adapter with the units of [`Profile::units`], [`DISK`], [`CDROM`] and [`SLOW`].
/// Until [`ScsiHba::start`] it takes no commands, and it is given one at a time.
pub trait ScsiHba {
    /// What it can do.
    fn profile(&self) -> Profile;

    /// Resets the adapter by software and sets it up, so that it takes commands.
    ///
    /// # Errors
    /// Returns an error if the adapter does not do it, or no guest memory is left.
    fn start(&self, vm: &Rc<Vm>) -> Result<()>;

    /// Hands a command over, without waiting for it.
    ///
    /// # Errors
    /// Returns an error if the adapter does not take it, or no guest memory is left.
    fn begin(&self, unit: Unit, cdb: &[u8], data: Data) -> Result<()>;

    /// Waits for the command that was handed over.
    ///
    /// # Errors
    /// Returns an error if it does not come back, or as no adapter may give it back.
    fn end(&self) -> Result<Answer>;

    /// Aborts the command that was handed over, and waits for it.
    ///
    /// # Errors
    /// Returns [`Error::Skipped`] if the adapter cannot; or an error if it does not come back.
    fn abort(&self) -> Result<Answer> {
        Err(Error::skipped("the adapter has no abort"))
    }

    /// Resets `unit`, or as much as [`Profile::reset`] says. A command under way is dropped; the
    /// adapter takes new ones afterwards.
    ///
    /// # Errors
    /// Returns [`Error::Skipped`] if the adapter cannot; or an error if it does not end.
    fn reset(&self, _unit: Unit) -> Result<()> {
        Err(Error::skipped("the adapter has no reset of units"))
    }
}

interface!(dyn ScsiHba = "scsi-hba");

impl dyn ScsiHba + '_ {
    /// Has a unit carry out a command.
    ///
    /// # Errors
    /// Returns an error if it does not come back.
    pub fn send(&self, unit: Unit, cdb: &[u8], data: Data) -> Result<Answer> {
        self.begin(unit, cdb, data)?;
        self.end()
    }
}
