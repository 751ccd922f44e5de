//! LSI's MegaRAID SAS 1078 as QEMU's `megasas`, and its successor as `megasas-gen2`: a SCSI
//! controller whose firmware takes frames (the MFI of the drivers of Linux and FreeBSD).

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use crate::graph::{Consumes, Member, Produces, QemuArgs, Site};
use crate::qemu::{Buffer, Vm};
use crate::qos::pci::{ExpectedBar, Identity, PciBus, PciFunction, PciPlug, Space, msix};
use crate::qos::registers::{Register, RegistersExt};
use crate::qos::scsi::{self, Answer, Data, Profile, Reply, SENSE, ScsiHba, Unit, address32};
use crate::qos::wait_until;
use crate::{Error, Result, driver};

/// Requests to the firmware: abort all, become ready.
pub const INBOUND_DOORBELL: Register<u32> = Register::new("inbound doorbell", 0x20);
/// The state of the firmware.
pub const OUTBOUND_MESSAGE: Register<u32> = Register::new("outbound message 0", 0x18);
/// Interrupts that are pending.
pub const OUTBOUND_STATUS: Register<u32> = Register::new("outbound interrupt status", 0x30);
/// Interrupts that are held back.
pub const OUTBOUND_MASK: Register<u32> = Register::new("outbound interrupt mask", 0x34);
/// The queue of frames: the address of one, and how many frames belong to it.
pub const INBOUND_QUEUE: Register<u32> = Register::new("inbound queue port", 0x40);
/// Interrupts that are cleared.
pub const DOORBELL_CLEAR: Register<u32> = Register::new("outbound doorbell clear", 0xa0);
/// The state of the firmware, as the chip that QEMU models has it.
pub const OUTBOUND_SCRATCH_PAD: Register<u32> = Register::new("outbound scratch pad", 0xb0);
/// State of the firmware, in bits 31:28: it takes frames.
pub const STATE_READY: u32 = 0xb;
/// State of the firmware: it has a queue of replies.
pub const STATE_OPERATIONAL: u32 = 0xc;
/// Requests to the firmware: abort all, and become ready.
pub const DOORBELL_ABORT: u32 = 1 << 0;
/// Request to the firmware: become ready.
pub const DOORBELL_READY: u32 = 1 << 1;

/// Commands of frames.
pub mod frame {
    /// Set the queue of replies up.
    pub const INIT: u8 = 0x00;
    /// Read a logical disk.
    pub const LD_READ: u8 = 0x01;
    /// Write a logical disk.
    pub const LD_WRITE: u8 = 0x02;
    /// A SCSI command for a logical disk.
    pub const LD_SCSI: u8 = 0x03;
    /// A SCSI command for a physical disk.
    pub const PD_SCSI: u8 = 0x04;
    /// A command of the firmware's own.
    pub const DCMD: u8 = 0x05;
    /// Abort a frame.
    pub const ABORT: u8 = 0x06;
}

/// Statuses of frames.
pub mod status {
    /// It was done.
    pub const OK: u8 = 0x00;
    /// The frame's command is not known.
    pub const INVALID_COMMAND: u8 = 0x01;
    /// There is no such device.
    pub const NOT_FOUND: u8 = 0x0c;
    /// The SCSI status says how it ended.
    pub const SCSI_ERROR: u8 = 0x2d;
    /// The firmware has not written it.
    pub const NONE: u8 = 0xff;
}

/// Flags of a frame: the list of memory has addresses of 64 bits, and sense data; its direction.
const FLAG_LIST64: u16 = 1 << 1;
const FLAG_WRITE: u16 = 1 << 3;
const FLAG_READ: u16 = 1 << 4;
/// The size of a frame in bytes, of which a command has two.
pub const FRAME: usize = 64;
/// The mask that lets the interrupts of replies through: of the 1078, and of its successor.
const MASK_1078: u32 = !0x8000_0000;
const MASK_GEN2: u32 = !0x0000_0005;

/// What sets a member of the family apart.
#[derive(Debug, Clone, Copy)]
pub struct Chip {
    identity: Identity,
    /// The BAR of the registers in memory.
    bar: u8,
    mask: u32,
    /// What the interrupt status is while a reply waits.
    pub pending: u32,
}

/// What the configuration space of the 1078 says.
const IDENTITY: Identity = Identity {
    vendor: 0x1000,
    device: 0x0060,
    revision: 0,
    class: 0x01_04_00,
    subsystem: (0x1000, 0x1013),
    pin: 1,
    bars: &[
        ExpectedBar { number: 0, space: Space::Memory, size: 0x4000, witness: None },
        ExpectedBar { number: 2, space: Space::Io, size: 0x100, witness: None },
        ExpectedBar { number: 3, space: Space::Memory, size: 0x4_0000, witness: None },
    ],
    capabilities: &[msix::CAPABILITY, 0x05],
};

/// The members of the family.
const MEMBERS: [Member<Chip>; 2] = [
    Member::new(
        "megasas",
        Chip { identity: IDENTITY, bar: 0, mask: MASK_1078, pending: 0x8000_0001 },
    ),
    Member::new(
        "megasas-gen2",
        Chip {
            identity: Identity { device: 0x0079, ..IDENTITY },
            bar: 1,
            mask: MASK_GEN2,
            pending: 0x0000_0001,
        },
    ),
];

/// QEMU's `megasas` and `megasas-gen2`.
pub struct Megasas {
    /// Where it is plugged in, and its registers.
    pub plug: PciPlug,
    /// Which of the family it is.
    pub chip: Chip,
}

impl Consumes<dyn PciBus> for Megasas {
    const ARGS: QemuArgs = QemuArgs::device("bus={bus},addr={addr},id=scsi0")
        .before(scsi::BACKEND)
        .after(scsi::BEHIND_WITH_LUNS)
        .images(&[scsi::IMAGE]);

    fn attach(bus: Rc<dyn PciBus>, site: &Site) -> Result<Self> {
        let chip = *site.member(&MEMBERS)?;
        Ok(Self { plug: PciPlug::attach(&bus, site, chip.bar)?, chip })
    }
}

impl Produces<PciFunction> for Megasas {
    fn produced(self: Rc<Self>) -> Rc<PciFunction> {
        if self.chip.bar == 0 {
            return self.plug.function(self.chip.identity);
        }
        let (device, mapped) = (self.plug.device.clone(), vec![self.plug.registers.clone()]);
        Rc::new(PciFunction { device, identity: None, mapped })
    }
}

impl Produces<dyn ScsiHba> for Megasas {
    fn produced(self: Rc<Self>) -> Rc<dyn ScsiHba> {
        let (queue, under_way, next) = (RefCell::default(), RefCell::default(), Cell::new(1));
        Rc::new(MfiHba { card: self, queue, under_way, next })
    }
}

driver!(Megasas as MEMBERS; consumes dyn PciBus; produces PciFunction, dyn ScsiHba);

/// The queue of replies, with the indices of both sides.
pub struct ReplyQueue {
    vm: Rc<Vm>,
    entries: Buffer,
    /// The firmware's index, then the driver's.
    indices: Buffer,
}

impl Megasas {
    /// The state of the firmware.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    pub fn state(&self) -> Result<u32> {
        Ok(self.plug.registers.get(OUTBOUND_SCRATCH_PAD)? >> 28)
    }

    /// Has the firmware drop all frames, and makes it ready.
    ///
    /// # Errors
    /// Returns an error if it does not become ready.
    pub fn reset(&self, vm: &Rc<Vm>) -> Result<()> {
        let registers = &self.plug.registers;
        registers.set(INBOUND_DOORBELL, DOORBELL_ABORT | DOORBELL_READY)?;
        registers.set(OUTBOUND_MASK, !0)?;
        wait_until(vm, "the firmware to be ready", || Ok(self.state()? == STATE_READY))
    }

    /// Sets a queue of replies up, and lets their interrupt through.
    ///
    /// # Errors
    /// Returns an error if the firmware does not do it, or no guest memory is left.
    pub fn set_up(&self, vm: &Rc<Vm>) -> Result<ReplyQueue> {
        let (ram, registers) = (vm.ram(), &self.plug.registers);
        // The queue has room for as many frames as the firmware takes.
        let count = registers.get(OUTBOUND_SCRATCH_PAD)? & 0xffff;
        let entries = ram.alloc(4 * count as usize, 64)?;
        let (indices, info, init) = (ram.alloc(8, 8)?, ram.alloc(32, 64)?, ram.alloc(FRAME, 64)?);
        info.write_le32(4, count)?;
        info.write_le64(8, entries.address().0)?;
        info.write_le64(16, indices.address().0)?;
        info.write_le64(24, indices.address().0 + 4)?;
        init.write(0, &[frame::INIT, 0, status::NONE])?;
        init.write_le32(20, 32)?;
        init.write_le64(24, info.address().0)?;
        registers.set(INBOUND_QUEUE, address32(&init)?)?;
        wait_until(vm, "the first frame", || Ok(init.to_vec()?[2] != status::NONE))?;
        let (ended, state) = (init.to_vec()?[2], self.state()?);
        if (ended, state) != (status::OK, STATE_OPERATIONAL) {
            let why = format!("the first frame: status {ended:#x}, state {state:#x}");
            return Err(Error::failed(why));
        }
        registers.set(OUTBOUND_MASK, self.chip.mask)?;
        Ok(ReplyQueue { vm: vm.clone(), entries, indices })
    }

    /// Hands a frame over, whose context is in it, and waits for its reply.
    ///
    /// # Errors
    /// Returns an error if it does not come back, or another does.
    pub fn run(&self, queue: &ReplyQueue, frame: &Buffer) -> Result<()> {
        self.plug.registers.set(INBOUND_QUEUE, address32(frame)?)?;
        self.take(queue, frame)
    }

    /// Waits for the reply to a frame.
    ///
    /// # Errors
    /// Returns an error if it does not come, or another does.
    pub fn take(&self, queue: &ReplyQueue, frame: &Buffer) -> Result<()> {
        let registers = &self.plug.registers;
        let before = queue.indices.read_le32(4)?;
        wait_until(
            &queue.vm,
            "the reply to a frame",
            || Ok(queue.indices.read_le32(0)? != before),
        )?;
        let told = queue.entries.read_le32(4 * before as usize)?;
        let (now, expected) = (queue.indices.read_le32(0)?, frame.read_le32(8)?);
        let pending = registers.get(OUTBOUND_STATUS)?;
        queue.indices.write_le32(4, now)?;
        registers.set(DOORBELL_CLEAR, !0)?;
        let cleared = registers.get(OUTBOUND_STATUS)?;
        if told != expected || pending != self.chip.pending || cleared != 0 {
            return Err(Error::failed(format!(
                "context {told:#x}, not {expected:#x}; interrupt status {pending:#x}, then \
                 {cleared:#x}; reply {before} to {now}"
            )));
        }
        Ok(())
    }
}

/// A command under way.
struct UnderWay {
    is_out: bool,
    room: usize,
    memory: Option<Buffer>,
    sense: Buffer,
    frame: Buffer,
    /// Memory for the list of a command without data, which must have one.
    _none: Option<Buffer>,
}

/// The adapter.
struct MfiHba {
    card: Rc<Megasas>,
    queue: RefCell<Option<Rc<ReplyQueue>>>,
    under_way: RefCell<Option<UnderWay>>,
    /// The context of the next frame.
    next: Cell<u32>,
}

impl MfiHba {
    fn queue(&self) -> Result<Rc<ReplyQueue>> {
        self.queue.borrow().clone().ok_or_else(|| Error::failed("the adapter was not started"))
    }
}

impl ScsiHba for MfiHba {
    fn profile(&self) -> Profile {
        Profile {
            units: scsi::UNITS_WITH_LUNS,
            tells_residual: false,
            refuses_overrun: false,
            // The firmware clears what units tell when it is made ready.
            reset: None,
            aborts: true,
            most: 1 << 20,
            moves_all: Some("QEMU's scsi-disk moves as much as the list of memory holds"),
        }
    }

    fn start(&self, vm: &Rc<Vm>) -> Result<()> {
        self.card.plug.device.bus().reaches_ram()?;
        self.card.reset(vm)?;
        self.under_way.take();
        self.queue.replace(Some(Rc::new(self.card.set_up(vm)?)));
        Ok(())
    }

    fn begin(&self, unit: Unit, cdb: &[u8], data: Data) -> Result<()> {
        let queue = self.queue()?;
        let ram = queue.vm.ram();
        let (memory, sense) = (data.memory(&queue.vm)?, ram.alloc(SENSE, 4)?);
        let frame = ram.alloc(2 * FRAME, 64)?;
        let none = if memory.is_none() { Some(ram.alloc(16, 4)?) } else { None };
        let context = self.next.replace(self.next.get() + 1);
        let list = memory.as_ref().or(none.as_ref());
        let (address, length) = list.map_or((0, 0), |list| (list.address().0, list.len()));
        // Long data is in two pieces.
        let first = if length >= 1024 { length / 2 } else { length };
        let count = if first == length { 1 } else { 2 };
        // Logical disks have unit 0 only.
        let command = if unit.lun == 0 { frame::LD_SCSI } else { frame::PD_SCSI };
        let flags = FLAG_LIST64
            | match data {
                Data::None => 0,
                Data::In(_) => FLAG_READ,
                Data::Out(_) => FLAG_WRITE,
            };
        frame.write(0, &[command, SENSE as u8, status::NONE, 0])?;
        frame.write(4, &[unit.target, unit.lun, cdb.len() as u8, count])?;
        frame.write_le32(8, context)?;
        frame.write_le16(16, flags)?;
        frame.write_le32(20, data.len() as u32)?;
        frame.write_le32(24, address32(&sense)?)?;
        frame.write(32, cdb)?;
        frame.write_le64(48, address)?;
        frame.write_le32(56, first as u32)?;
        if count == 2 {
            frame.write_le64(60, address + first as u64)?;
            frame.write_le32(68, (length - first) as u32)?;
        }
        // Bits 4:1: one more frame belongs to it.
        self.card.plug.registers.set(INBOUND_QUEUE, address32(&frame)? | 1 << 1)?;
        let (is_out, room) = (data.is_out(), data.len());
        self.under_way.replace(Some(UnderWay { is_out, room, memory, sense, frame, _none: none }));
        Ok(())
    }

    fn end(&self) -> Result<Answer> {
        let way = self.under_way.take().ok_or_else(|| Error::failed("no command is under way"))?;
        self.card.take(&*self.queue()?, &way.frame)?;
        let header = way.frame.to_vec()?;
        let scsi_status = match (header[2], header[3]) {
            (status::OK, scsi::GOOD) => scsi::GOOD,
            (status::SCSI_ERROR, other) if other != scsi::GOOD => other,
            (status::NOT_FOUND, _) => return Ok(Answer::Absent),
            other => return Err(Error::failed(format!("a frame's statuses are {other:x?}"))),
        };
        let mut sense = way.sense.to_vec()?;
        sense.truncate(if scsi_status == scsi::GOOD { 0 } else { header[1].into() });
        let data = match &way.memory {
            Some(memory) if !way.is_out => memory.to_vec()?,
            _ => vec![0; if way.is_out { 0 } else { way.room }],
        };
        Ok(Answer::Replied(Reply { status: scsi_status, sense, residual: None, data }))
    }

    fn abort(&self) -> Result<Answer> {
        let queue = self.queue()?;
        let way = self.under_way.take().ok_or_else(|| Error::failed("no command is under way"))?;
        let abort = queue.vm.ram().alloc(FRAME, 64)?;
        abort.write(0, &[frame::ABORT, 0, status::NONE])?;
        abort.write_le32(8, self.next.replace(self.next.get() + 1))?;
        abort.write_le64(24, way.frame.read_le64(8)?)?;
        abort.write_le64(32, way.frame.address().0)?;
        let registers = &self.card.plug.registers;
        registers.set(INBOUND_QUEUE, address32(&abort)?)?;
        // The frame that is aborted comes back first, and its interrupt with it.
        wait_until(&queue.vm, "two replies", || {
            Ok(queue.indices.read_le32(0)?.wrapping_sub(queue.indices.read_le32(4)?) == 2)
        })?;
        let before = queue.indices.read_le32(4)? as usize;
        let told = [before, before + 1].map(|at| queue.entries.read_le32(4 * at));
        let expected = [way.frame.read_le32(8)?, abort.read_le32(8)?];
        if told.iter().zip(expected).any(|(told, right)| !matches!(told, Ok(it) if *it == right)) {
            return Err(Error::failed(format!("replies {told:x?}, not {expected:x?}")));
        }
        queue.indices.write_le32(4, before as u32 + 2)?;
        registers.set(DOORBELL_CLEAR, !0)?;
        match abort.to_vec()?[2] {
            status::OK => Ok(Answer::Aborted),
            other => Err(Error::failed(format!("an abort: status {other:#x}"))),
        }
    }
}
