//! VMware's paravirtual SCSI adapter as QEMU's `pvscsi`: rings of requests and completions in
//! memory (the header of Linux's `vmw_pvscsi` is what is published of it).

use std::cell::RefCell;
use std::rc::Rc;

use crate::graph::{Consumes, Produces, QemuArgs, Site};
use crate::qemu::{Buffer, Vm};
use crate::qos::pci::{PciBus, PciFunction, PciPlug};
use crate::qos::registers::{Register, RegistersExt};
use crate::qos::scsi::{self, Answer, Data, Profile, Reach, Reply, SENSE, ScsiHba, Unit};
use crate::qos::wait_until;
use crate::{Error, Result, driver};

/// A command to the adapter.
pub const COMMAND: Register<u32> = Register::new("command", 0x0);
/// Its parameters, a word at a time.
pub const COMMAND_DATA: Register<u32> = Register::new("command data", 0x4);
/// How the last command ended.
pub const COMMAND_STATUS: Register<u32> = Register::new("command status", 0x8);
/// Interrupts that are pending, which ones clear.
pub const INTERRUPT_STATUS: Register<u32> = Register::new("interrupt status", 0x100c);
/// Interrupts that are let through.
pub const INTERRUPT_MASK: Register<u32> = Register::new("interrupt mask", 0x2010);
/// There are requests other than reads and writes.
pub const KICK: Register<u32> = Register::new("kick", 0x3014);
/// There are reads or writes.
pub const KICK_TRANSFER: Register<u32> = Register::new("kick read or write", 0x4018);

/// Commands to the adapter.
pub mod command {
    /// Reset the adapter.
    pub const RESET: u32 = 1;
    /// The rings of requests and completions.
    pub const SETUP_RINGS: u32 = 3;
    /// Reset the bus.
    pub const RESET_BUS: u32 = 4;
    /// Reset a unit.
    pub const RESET_UNIT: u32 = 5;
    /// Abort a request.
    pub const ABORT: u32 = 6;
    /// The configuration, of which QEMU has none.
    pub const CONFIG: u32 = 7;
    /// The ring of messages.
    pub const SETUP_MESSAGES: u32 = 8;
}

/// Interrupts: completions; messages.
pub const INTERRUPT_COMPLETION: u32 = 1;
/// Interrupt: messages.
pub const INTERRUPT_MESSAGE: u32 = 4;

/// The size of a page.
const PAGE: usize = 4096;
/// The size of a request in bytes.
const REQUEST: usize = 128;
/// The size of a completion in bytes.
const COMPLETION: usize = 32;
/// Fields of the state of the rings.
const REQUESTS_PRODUCED: usize = 0;
const REQUESTS_CONSUMED: usize = 4;
const REQUESTS_LOG2: usize = 8;
const COMPLETIONS_PRODUCED: usize = 12;
const COMPLETIONS_CONSUMED: usize = 16;
const COMPLETIONS_LOG2: usize = 20;
/// Flags of a request: a list of memory; no data; to the host; to the unit.
const LIST: u32 = 1 << 0;
const NO_DATA: u32 = 1 << 2;
const TO_HOST: u32 = 1 << 3;
const TO_UNIT: u32 = 1 << 4;
/// How the adapter fared: well; nobody answers; more or less data; aborted, in two ways.
const SUCCESS: u16 = 0;
const NOBODY: u16 = 0x11;
const DATA_RUN: u16 = 0x12;
const BUS_RESET: u16 = 0x25;
const ABORTED: u16 = 0x26;

/// QEMU's `pvscsi`.
pub struct Pvscsi {
    /// Where it is plugged in, and its registers.
    pub plug: PciPlug,
}

impl Consumes<dyn PciBus> for Pvscsi {
    const ARGS: QemuArgs = QemuArgs::device("bus={bus},addr={addr},id=scsi0")
        .before(scsi::BACKEND)
        .after(scsi::BEHIND)
        .images(&[scsi::IMAGE]);

    fn attach(bus: Rc<dyn PciBus>, site: &Site) -> Result<Self> {
        Ok(Self { plug: PciPlug::attach(&bus, site, 0)? })
    }
}

impl Produces<PciFunction> for Pvscsi {
    fn produced(self: Rc<Self>) -> Rc<PciFunction> {
        let (device, mapped) = (self.plug.device.clone(), vec![self.plug.registers.clone()]);
        Rc::new(PciFunction { device, identity: None, mapped })
    }
}

impl Produces<dyn ScsiHba> for Pvscsi {
    fn produced(self: Rc<Self>) -> Rc<dyn ScsiHba> {
        Rc::new(PvscsiHba { card: self, rings: RefCell::default(), under_way: RefCell::default() })
    }
}

driver!(Pvscsi = "pvscsi"; consumes dyn PciBus; produces PciFunction, dyn ScsiHba);

impl Pvscsi {
    /// Gives the adapter a command with parameters; returns the status.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    pub fn command(&self, command: u32, words: &[u32]) -> Result<u32> {
        let registers = &self.plug.registers;
        registers.set(COMMAND, command)?;
        for word in words {
            registers.set(COMMAND_DATA, *word)?;
        }
        registers.get(COMMAND_STATUS)
    }
}

/// The rings.
struct Rings {
    vm: Rc<Vm>,
    state: Buffer,
    requests: Buffer,
    completions: Buffer,
}

/// A request under way.
struct UnderWay {
    unit: Unit,
    context: u64,
    is_out: bool,
    room: usize,
    memory: Option<Buffer>,
    sense: Buffer,
    /// The list of the memory's pieces.
    _list: Option<Buffer>,
}

/// The adapter.
struct PvscsiHba {
    card: Rc<Pvscsi>,
    rings: RefCell<Option<Rc<Rings>>>,
    under_way: RefCell<Option<UnderWay>>,
}

impl PvscsiHba {
    fn rings(&self) -> Result<Rc<Rings>> {
        self.rings.borrow().clone().ok_or_else(|| Error::failed("the adapter was not started"))
    }

    fn command(&self, command: u32, words: &[u32]) -> Result<()> {
        match self.card.command(command, words)? {
            0 => Ok(()),
            status => Err(Error::failed(format!("command {command}: status {status:#x}"))),
        }
    }

    fn set_up(&self, rings: &Rings) -> Result<()> {
        let page =
            |buffer: &Buffer, number: usize| buffer.address().0 / PAGE as u64 + number as u64;
        let mut words = vec![1, 1];
        let mut put = |value: u64| words.extend([value as u32, (value >> 32) as u32]);
        put(page(&rings.state, 0));
        for buffer in [&rings.requests, &rings.completions] {
            put(page(buffer, 0));
            (1..32).for_each(|_| put(0));
        }
        self.command(command::SETUP_RINGS, &words)?;
        let field = |at| rings.state.read_le32(at);
        let sizes = (field(REQUESTS_LOG2)?, field(COMPLETIONS_LOG2)?);
        let expected = ((PAGE / REQUEST).ilog2(), (PAGE / COMPLETION).ilog2());
        if sizes != expected {
            let why = format!("the sizes of the rings are 2 to the {sizes:?}, not {expected:?}");
            return Err(Error::failed(why));
        }
        Ok(())
    }
}

impl ScsiHba for PvscsiHba {
    fn profile(&self) -> Profile {
        Profile {
            units: scsi::UNITS,
            tells_residual: false,
            refuses_overrun: false,
            reset: Some(Reach::Unit),
            aborts: true,
            most: 1 << 20,
            moves_all: Some("QEMU's scsi-disk moves as much as the list of memory holds"),
        }
    }

    fn start(&self, vm: &Rc<Vm>) -> Result<()> {
        self.card.plug.device.bus().reaches_ram()?;
        self.command(command::RESET, &[])?;
        self.under_way.take();
        let page = || vm.ram().alloc(PAGE, PAGE as u64);
        let rings =
            Rings { vm: vm.clone(), state: page()?, requests: page()?, completions: page()? };
        self.set_up(&rings)?;
        self.rings.replace(Some(Rc::new(rings)));
        self.card.plug.registers.set(INTERRUPT_MASK, INTERRUPT_COMPLETION)
    }

    fn begin(&self, unit: Unit, cdb: &[u8], data: Data) -> Result<()> {
        let rings = self.rings()?;
        let (memory, sense) = (data.memory(&rings.vm)?, rings.vm.ram().alloc(SENSE, 4)?);
        let produced = rings.state.read_le32(REQUESTS_PRODUCED)?;
        let at = REQUEST * (produced as usize % (PAGE / REQUEST));
        let context = 0x5a00_0000_0000_0000 | u64::from(produced);
        let mut flags = match data {
            Data::None => NO_DATA,
            Data::In(_) => TO_HOST,
            Data::Out(_) => TO_UNIT,
        };
        // Long data is in two pieces that a list names.
        let list = match &memory {
            Some(memory) if memory.len() >= 1024 => {
                flags |= LIST;
                let list = rings.vm.ram().alloc(32, 16)?;
                let half = memory.len() / 2;
                for (at, offset, length) in [(0, 0, half), (16, half, memory.len() - half)] {
                    list.write_le64(at, memory.address().0 + offset as u64)?;
                    list.write_le32(at + 8, length as u32)?;
                }
                Some(list)
            }
            _ => None,
        };
        let address = list.as_ref().or(memory.as_ref()).map_or(0, |buffer| buffer.address().0);
        let request = &rings.requests;
        request.write(at, &[0; REQUEST])?;
        request.write_le64(at, context)?;
        request.write_le64(at + 8, address)?;
        request.write_le64(at + 16, data.len() as u64)?;
        request.write_le64(at + 24, sense.address().0)?;
        request.write_le32(at + 32, SENSE as u32)?;
        request.write_le32(at + 36, flags)?;
        request.write(at + 40, cdb)?;
        request.write(at + 56, &[cdb.len() as u8])?;
        request.write(at + 57, &[0, unit.lun, 0, 0, 0, 0, 0, 0, 0x20, 0, unit.target])?;
        rings.state.write_le32(REQUESTS_PRODUCED, produced + 1)?;
        let kick = if data.is_empty() { KICK } else { KICK_TRANSFER };
        self.card.plug.registers.set(kick, 0)?;
        let (is_out, room) = (data.is_out(), data.len());
        let way = UnderWay { unit, context, is_out, room, memory, sense, _list: list };
        self.under_way.replace(Some(way));
        Ok(())
    }

    fn end(&self) -> Result<Answer> {
        let way = self.under_way.take().ok_or_else(|| Error::failed("no command is under way"))?;
        let rings = self.rings()?;
        let (state, registers) = (&rings.state, &self.card.plug.registers);
        let consumed = state.read_le32(COMPLETIONS_CONSUMED)?;
        wait_until(&rings.vm, "the completion of a request", || {
            Ok(state.read_le32(COMPLETIONS_PRODUCED)? != consumed)
        })?;
        let produced = state.read_le32(COMPLETIONS_PRODUCED)?;
        let taken = state.read_le32(REQUESTS_CONSUMED)?;
        let given = state.read_le32(REQUESTS_PRODUCED)?;
        if produced != consumed + 1 || taken != given {
            return Err(Error::failed(format!(
                "completions produced {produced}, consumed {consumed}; requests produced {given}, \
                 consumed {taken}"
            )));
        }
        wait_until(&rings.vm, "the interrupt of a completion", || {
            Ok(registers.get(INTERRUPT_STATUS)? & INTERRUPT_COMPLETION != 0)
        })?;
        registers.set(INTERRUPT_STATUS, INTERRUPT_COMPLETION)?;
        let status = registers.get(INTERRUPT_STATUS)?;
        let at = COMPLETION * (consumed as usize % (PAGE / COMPLETION));
        let mut entry = [0; COMPLETION];
        rings.completions.read(at, &mut entry)?;
        state.write_le32(COMPLETIONS_CONSUMED, produced)?;
        let context = rings.completions.read_le64(at)?;
        if context != way.context || status != 0 {
            let why = format!("context {context:#x}, not {:#x}; {status:#x}", way.context);
            return Err(Error::failed(why));
        }
        let sense_length = rings.completions.read_le32(at + 16)? as usize;
        let host = u16::from_le_bytes([entry[20], entry[21]]);
        let status = u16::from_le_bytes([entry[22], entry[23]]) as u8;
        match host {
            SUCCESS | DATA_RUN => {}
            NOBODY => return Ok(Answer::Absent),
            ABORTED | BUS_RESET => return Ok(Answer::Aborted),
            other => return Err(Error::failed(format!("the adapter's status is {other:#x}"))),
        }
        let data = match &way.memory {
            Some(memory) if !way.is_out => memory.to_vec()?,
            _ => vec![0; if way.is_out { 0 } else { way.room }],
        };
        let mut sense = way.sense.to_vec()?;
        sense.truncate(sense_length);
        Ok(Answer::Replied(Reply { status, sense, residual: None, data }))
    }

    fn abort(&self) -> Result<Answer> {
        let way = self.under_way.borrow().as_ref().map(|way| (way.context, way.unit.target));
        let (context, target) = way.ok_or_else(|| Error::failed("no command is under way"))?;
        let target = u32::from(target);
        self.command(command::ABORT, &[context as u32, (context >> 32) as u32, target, 0])?;
        self.end()
    }

    fn reset(&self, unit: Unit) -> Result<()> {
        let lun = u32::from(unit.lun) << 8;
        self.command(command::RESET_UNIT, &[unit.target.into(), lun, 0])?;
        if self.under_way.borrow().is_some() {
            self.end()?;
        }
        Ok(())
    }
}
