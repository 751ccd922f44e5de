//! LSI's SAS1068 as QEMU's `mptsas1068`: firmware that takes messages (Fusion-MPT Message Passing
//! Interface Specification 1.5), through a doorbell or through queues.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use crate::graph::{Consumes, Produces, QemuArgs, Site};
use crate::qemu::{Buffer, Vm};
use crate::qos::pci::{PciBus, PciFunction, PciPlug};
use crate::qos::registers::{Register, RegistersExt};
use crate::qos::scsi::{
    self, Answer, Data, Profile, Reach, Reply, SENSE, ScsiHba, Unit, address32,
};
use crate::qos::wait_until;
use crate::{Error, Result, driver};

/// The doorbell: functions and handshakes; read, the state.
pub const DOORBELL: Register<u32> = Register::new("doorbell", 0x00);
/// Five keys that make the diagnostic register writable.
pub const WRITE_SEQUENCE: Register<u32> = Register::new("write sequence", 0x04);
/// Diagnostics, with the reset of the adapter.
pub const DIAGNOSTIC: Register<u32> = Register::new("host diagnostic", 0x08);
/// Interrupts that are pending.
pub const INTERRUPT_STATUS: Register<u32> = Register::new("host interrupt status", 0x30);
/// Interrupts that are held back.
pub const INTERRUPT_MASK: Register<u32> = Register::new("host interrupt mask", 0x34);
/// The queue of requests, by the address of a message.
pub const REQUESTS: Register<u32> = Register::new("request FIFO", 0x40);
/// The queue of replies; written, memory for replies.
pub const REPLIES: Register<u32> = Register::new("reply FIFO", 0x44);

/// Functions of the doorbell, in bits 31:24.
const UNIT_RESET: u32 = 0x40 << 24;
const HANDSHAKE: u32 = 0x42 << 24;
/// Bit 27 of the doorbell, read: a handshake is under way.
pub const DOORBELL_ACTIVE: u32 = 1 << 27;
/// The keys of the write sequence, in their order.
const KEYS: [u32; 5] = [0x4, 0xb, 0x2, 0x7, 0xd];
/// Diagnostics: resets the adapter, as a reset of the bus does.
const RESET_ADAPTER: u32 = 1 << 2;
/// States, in bits 31:28.
pub const STATE_READY: u32 = 1;
/// State: messages are taken.
pub const STATE_OPERATIONAL: u32 = 2;
/// Interrupts: of the doorbell; of a reply.
pub const INTERRUPT_DOORBELL: u32 = 1 << 0;
/// Interrupt: of a reply.
pub const INTERRUPT_REPLY: u32 = 1 << 3;

/// Functions of messages.
pub mod function {
    /// A SCSI command.
    pub const SCSI_IO: u8 = 0x00;
    /// Task management.
    pub const TASK_MANAGEMENT: u8 = 0x01;
    /// The first message of a driver.
    pub const IOC_INIT: u8 = 0x02;
    /// What the firmware is.
    pub const IOC_FACTS: u8 = 0x03;
    /// What a port is.
    pub const PORT_FACTS: u8 = 0x05;
    /// Use a port.
    pub const PORT_ENABLE: u8 = 0x06;
}

/// IOC statuses: the target's number is too large; nobody is there; more data; less data; aborted.
const BAD_TARGET: u16 = 0x42;
const NOT_THERE: u16 = 0x43;
const OVERRUN: u16 = 0x44;
const UNDERRUN: u16 = 0x45;
const TASK_TERMINATED: u16 = 0x48;
const IOC_TERMINATED: u16 = 0x4b;
/// Task management: abort a task; reset a unit.
const ABORT_TASK: u8 = 1;
const RESET_UNIT: u8 = 5;
/// An element of a list of memory: the last of it, with an address of 64 bits.
const ELEMENT: u32 = 0xd300_0000;
/// An element that more follow.
const ELEMENT_MORE: u32 = 0x1200_0000;
const TO_UNIT: u32 = 1 << 26;
/// Control of a SCSI command: its direction.
const CONTROL_WRITE: u32 = 1 << 24;
const CONTROL_READ: u32 = 2 << 24;

/// The length of memory for a reply in bytes.
const REPLY: usize = 128;
/// How many replies there is memory for.
const REPLY_COUNT: usize = 4;

/// QEMU's `mptsas1068`.
pub struct Mptsas1068 {
    /// Where it is plugged in, and its registers.
    pub plug: PciPlug,
}

impl Consumes<dyn PciBus> for Mptsas1068 {
    const ARGS: QemuArgs = QemuArgs::device("bus={bus},addr={addr},id=scsi0")
        .before(scsi::BACKEND)
        .after(scsi::BEHIND)
        .images(&[scsi::IMAGE]);

    fn attach(bus: Rc<dyn PciBus>, site: &Site) -> Result<Self> {
        Ok(Self { plug: PciPlug::attach(&bus, site, 1)? })
    }
}

impl Produces<PciFunction> for Mptsas1068 {
    fn produced(self: Rc<Self>) -> Rc<PciFunction> {
        let (device, mapped) = (self.plug.device.clone(), vec![self.plug.registers.clone()]);
        Rc::new(PciFunction { device, identity: None, mapped })
    }
}

impl Produces<dyn ScsiHba> for Mptsas1068 {
    fn produced(self: Rc<Self>) -> Rc<dyn ScsiHba> {
        Rc::new(MptHba {
            card: self,
            queues: RefCell::default(),
            under_way: RefCell::default(),
            next: Cell::new(1),
        })
    }
}

driver!(Mptsas1068 = "mptsas1068"; consumes dyn PciBus; produces PciFunction, dyn ScsiHba);

impl Mptsas1068 {
    /// The state of the firmware.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    pub fn state(&self) -> Result<u32> {
        Ok(self.plug.registers.get(DOORBELL)? >> 28)
    }

    /// Resets the firmware by the doorbell, and waits until it is ready.
    ///
    /// # Errors
    /// Returns an error if it does not become ready.
    pub fn reset(&self, vm: &Rc<Vm>) -> Result<()> {
        let registers = &self.plug.registers;
        registers.set(INTERRUPT_MASK, INTERRUPT_DOORBELL | INTERRUPT_REPLY)?;
        registers.set(DOORBELL, UNIT_RESET)?;
        wait_until(vm, "the firmware to be ready", || Ok(self.state()? == STATE_READY))
    }

    /// Resets the adapter by its diagnostic register, which the write sequence unlocks and locks,
    /// and waits until the firmware is ready.
    ///
    /// # Errors
    /// Returns an error if it does not become ready.
    pub fn reset_adapter(&self, vm: &Rc<Vm>) -> Result<()> {
        let registers = &self.plug.registers;
        // A key that is none ends a sequence that was begun.
        registers.set(WRITE_SEQUENCE, 0)?;
        KEYS.into_iter().try_for_each(|key| registers.set(WRITE_SEQUENCE, key))?;
        registers.set(DIAGNOSTIC, RESET_ADAPTER)?;
        registers.set(WRITE_SEQUENCE, 0)?;
        wait_until(vm, "the firmware to be ready", || Ok(self.state()? == STATE_READY))
    }

    /// Waits for the interrupt of the doorbell.
    fn wait_doorbell(&self, vm: &Rc<Vm>, what: &str) -> Result<()> {
        let status = || self.plug.registers.get(INTERRUPT_STATUS);
        wait_until(vm, what, || Ok(status()? & INTERRUPT_DOORBELL != 0))
    }

    /// Begins a handshake for a message of `length` bytes, and hands over `part`, its first words.
    ///
    /// # Errors
    /// Returns an error if the firmware does not take it.
    pub fn begin_handshake(&self, vm: &Rc<Vm>, length: usize, part: &[u8]) -> Result<()> {
        let registers = &self.plug.registers;
        registers.set(INTERRUPT_STATUS, 0)?;
        registers.set(DOORBELL, HANDSHAKE | (length as u32 / 4) << 16)?;
        self.wait_doorbell(vm, "the handshake to begin")?;
        registers.set(INTERRUPT_STATUS, 0)?;
        part.chunks_exact(4).try_for_each(|word| {
            registers.set(DOORBELL, u32::from_le_bytes([word[0], word[1], word[2], word[3]]))
        })
    }

    /// The next half word of a reply, without the acknowledgement that it was read.
    ///
    /// # Errors
    /// Returns an error if the firmware does not answer.
    pub fn half_of_reply(&self, vm: &Rc<Vm>) -> Result<u16> {
        self.wait_doorbell(vm, "a part of the reply")?;
        Ok(self.plug.registers.get(DOORBELL)? as u16)
    }

    /// Hands a message over through the doorbell, word by word, and returns the reply, half a word
    /// at a time (3.5.2).
    ///
    /// # Errors
    /// Returns an error if the firmware does not take or answer it.
    pub fn handshake(&self, vm: &Rc<Vm>, message: &[u8]) -> Result<Vec<u8>> {
        self.begin_handshake(vm, message.len(), message)?;
        let mut reply = Vec::new();
        loop {
            reply.extend(self.half_of_reply(vm)?.to_le_bytes());
            self.plug.registers.set(INTERRUPT_STATUS, 0)?;
            // The third byte says how many words there are.
            if reply.len() >= 4 && reply.len() == 4 * usize::from(reply[2]) {
                break;
            }
            if reply.len() > 1024 {
                return Err(Error::failed("the reply does not end"));
            }
        }
        Ok(reply)
    }
}

/// Memory for replies.
struct Queues {
    vm: Rc<Vm>,
    replies: Vec<Buffer>,
}

/// A command under way.
struct UnderWay {
    unit: Unit,
    context: u32,
    is_out: bool,
    room: usize,
    memory: Option<Buffer>,
    sense: Buffer,
    message: Buffer,
}

/// The adapter.
struct MptHba {
    card: Rc<Mptsas1068>,
    queues: RefCell<Option<Rc<Queues>>>,
    under_way: RefCell<Option<UnderWay>>,
    /// The context of the next message.
    next: Cell<u32>,
}

impl MptHba {
    fn queues(&self) -> Result<Rc<Queues>> {
        self.queues.borrow().clone().ok_or_else(|| Error::failed("the adapter was not started"))
    }

    fn context(&self) -> u32 {
        self.next.replace(self.next.get() % 0x7fff_fff0 + 1)
    }

    /// Waits for a reply: that of the message with this context, or nothing more than that it is
    /// done.
    fn reply(&self, context: u32, what: &str) -> Result<Option<Vec<u8>>> {
        let (queues, registers) = (self.queues()?, &self.card.plug.registers);
        wait_until(&queues.vm, what, || {
            Ok(registers.get(INTERRUPT_STATUS)? & INTERRUPT_REPLY != 0)
        })?;
        let first = registers.get(REPLIES)?;
        if first & 1 << 31 == 0 {
            return match first {
                first if first == context => Ok(None),
                other => {
                    Err(Error::failed(format!("{what}: context {other:#x}, not {context:#x}")))
                }
            };
        }
        let (address, mut found) = (first << 1, None);
        for reply in &queues.replies {
            if address32(reply)? == address {
                found = Some(reply.to_vec()?);
            }
        }
        let found = found.ok_or_else(|| Error::failed(format!("no reply is at {address:#x}")))?;
        // The memory can be used again.
        registers.set(REPLIES, address)?;
        match u32::from_le_bytes([found[8], found[9], found[10], found[11]]) {
            right if right == context => Ok(Some(found)),
            other => Err(Error::failed(format!("{what}: context {other:#x}, not {context:#x}"))),
        }
    }

    /// Nothing more is in the queue of replies, and it says so.
    fn is_quiet(&self) -> Result<()> {
        let registers = &self.card.plug.registers;
        let more = registers.get(REPLIES)?;
        match (more, registers.get(INTERRUPT_STATUS)? & INTERRUPT_REPLY) {
            (u32::MAX, 0) => Ok(()),
            other => Err(Error::failed(format!("replies and interrupts at the end: {other:x?}"))),
        }
    }

    /// Manages tasks (5.3), and makes sure that it was done.
    fn manage(&self, unit: Unit, task: u8, of: u32) -> Result<()> {
        let queues = self.queues()?;
        let context = self.context();
        let message = queues.vm.ram().alloc(0x34, 64)?;
        message.write(0, &[unit.target, 0, 0, function::TASK_MANAGEMENT, 0, task])?;
        message.write_le32(8, context)?;
        message.write(0xc, &[0, unit.lun])?;
        message.write_le32(0x30, of)?;
        self.card.plug.registers.set(REQUESTS, address32(&message)?)?;
        // What is dropped comes back first.
        if let Some(way) = self.under_way.take() {
            self.reply(way.context, "the command that is dropped")?;
        }
        let reply = self.reply(context, "task management")?;
        let reply = reply.ok_or_else(|| Error::failed("task management: no message"))?;
        match (reply[3], reply[4], u16::from_le_bytes([reply[14], reply[15]])) {
            (function::TASK_MANAGEMENT, 0, 0) => self.is_quiet(),
            other => Err(Error::failed(format!("task management: {other:x?}"))),
        }
    }
}

impl ScsiHba for MptHba {
    fn profile(&self) -> Profile {
        Profile {
            units: scsi::UNITS,
            tells_residual: true,
            refuses_overrun: true,
            reset: Some(Reach::Unit),
            aborts: true,
            most: 1 << 20,
            moves_all: Some("QEMU's scsi-disk moves as much as the list of memory holds"),
        }
    }

    fn start(&self, vm: &Rc<Vm>) -> Result<()> {
        self.card.plug.device.bus().reaches_ram()?;
        self.under_way.take();
        self.card.reset(vm)?;
        let ram = vm.ram();
        let replies: Vec<Buffer> =
            (0..REPLY_COUNT).map(|_| ram.alloc(REPLY, 64)).collect::<Result<_>>()?;
        let context = self.context();
        let mut init = [0; 44];
        (init[0], init[3], init[5], init[6]) = (4, function::IOC_INIT, 8, 1);
        init[8..12].copy_from_slice(&context.to_le_bytes());
        init[12] = REPLY as u8;
        let reply = self.card.handshake(vm, &init)?;
        let told = u32::from_le_bytes([reply[8], reply[9], reply[10], reply[11]]);
        let status = u16::from_le_bytes([reply[14], reply[15]]);
        let state = self.card.state()?;
        if (reply[3], told, status, state) != (function::IOC_INIT, context, 0, STATE_OPERATIONAL) {
            return Err(Error::failed(format!("IOC_INIT: {reply:02x?}, state {state}")));
        }
        for buffer in &replies {
            self.card.plug.registers.set(REPLIES, address32(buffer)?)?;
        }
        self.queues.replace(Some(Rc::new(Queues { vm: vm.clone(), replies })));
        let context = self.context();
        let message = ram.alloc(12, 64)?;
        message.write(3, &[function::PORT_ENABLE])?;
        message.write_le32(8, context)?;
        self.card.plug.registers.set(REQUESTS, address32(&message)?)?;
        let reply = self.reply(context, "PORT_ENABLE")?;
        match reply.map(|reply| (reply[3], reply[14], reply[15])) {
            Some((function::PORT_ENABLE, 0, 0)) => self.is_quiet(),
            other => Err(Error::failed(format!("PORT_ENABLE: {other:x?}"))),
        }
    }

    fn begin(&self, unit: Unit, cdb: &[u8], data: Data) -> Result<()> {
        let queues = self.queues()?;
        let ram = queues.vm.ram();
        let (memory, sense) = (data.memory(&queues.vm)?, ram.alloc(SENSE, 4)?);
        let (message, context) = (ram.alloc(0x30 + 24, 64)?, self.context());
        let (control, to_unit) = match data {
            Data::None => (0, 0),
            Data::In(_) => (CONTROL_READ, 0),
            Data::Out(_) => (CONTROL_WRITE, TO_UNIT),
        };
        message.write(0, &[unit.target, 0, 0, function::SCSI_IO, cdb.len() as u8, SENSE as u8])?;
        message.write_le32(8, context)?;
        message.write(0xc, &[0, unit.lun])?;
        message.write_le32(0x14, control)?;
        message.write(0x18, cdb)?;
        message.write_le32(0x28, data.len() as u32)?;
        message.write_le32(0x2c, address32(&sense)?)?;
        let address = memory.as_ref().map_or(0, |memory| memory.address().0);
        let length = data.len();
        // Long data is in two pieces.
        let first = if length >= 1024 { length / 2 } else { length };
        let mut at = 0x30;
        if first != length {
            message.write_le32(at, ELEMENT_MORE | to_unit | first as u32)?;
            message.write_le64(at + 4, address)?;
            at += 12;
            message.write_le32(at, ELEMENT | to_unit | (length - first) as u32)?;
            message.write_le64(at + 4, address + first as u64)?;
        } else {
            message.write_le32(at, ELEMENT | to_unit | length as u32)?;
            message.write_le64(at + 4, address)?;
        }
        self.card.plug.registers.set(REQUESTS, address32(&message)?)?;
        let (is_out, room) = (data.is_out(), length);
        let way = UnderWay { unit, context, is_out, room, memory, sense, message };
        self.under_way.replace(Some(way));
        Ok(())
    }

    fn end(&self) -> Result<Answer> {
        let way = self.under_way.take().ok_or_else(|| Error::failed("no command is under way"))?;
        let reply = self.reply(way.context, "the reply to a command")?;
        self.is_quiet()?;
        let data = match &way.memory {
            Some(memory) if !way.is_out => memory.to_vec()?,
            _ => Vec::new(),
        };
        let Some(reply) = reply else {
            let (status, sense) = (scsi::GOOD, Vec::new());
            return Ok(Answer::Replied(Reply { status, sense, residual: Some(0), data }));
        };
        let same = (reply[0], reply[3], reply[4]);
        if same != (way.unit.target, function::SCSI_IO, way.message.to_vec()?[4]) {
            return Err(Error::failed(format!("target, function and length of CDB: {same:x?}")));
        }
        let word = |at: usize| {
            u32::from_le_bytes([reply[at], reply[at + 1], reply[at + 2], reply[at + 3]]) as usize
        };
        let (status, state) = (reply[12], reply[13]);
        match u16::from_le_bytes([reply[14], reply[15]]) {
            BAD_TARGET | NOT_THERE => return Ok(Answer::Absent),
            OVERRUN => return Ok(Answer::Overrun),
            TASK_TERMINATED | IOC_TERMINATED => return Ok(Answer::Aborted),
            0 | UNDERRUN => {}
            other => return Err(Error::failed(format!("IOC status {other:#x}"))),
        }
        let (moved, sense_length) = (word(20), word(24));
        let mut sense = way.sense.to_vec()?;
        sense.truncate(sense_length);
        // Sense data is there if the state says so.
        if (state & 1 != 0) != (sense_length != 0) || moved > way.room {
            let why = format!("state {state:#x}, {sense_length} bytes of sense, {moved} moved");
            return Err(Error::failed(why));
        }
        let residual = (status == scsi::GOOD).then_some(way.room - moved);
        Ok(Answer::Replied(Reply { status, sense, residual, data }))
    }

    fn abort(&self) -> Result<Answer> {
        let way = self.under_way.borrow().as_ref().map(|way| (way.unit, way.context));
        let (unit, context) = way.ok_or_else(|| Error::failed("no command is under way"))?;
        self.manage(unit, ABORT_TASK, context)?;
        Ok(Answer::Aborted)
    }

    fn reset(&self, unit: Unit) -> Result<()> {
        self.manage(unit, RESET_UNIT, 0)
    }
}
