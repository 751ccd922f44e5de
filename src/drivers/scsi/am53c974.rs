//! AMD's Am53C974A PCscsi (data sheet 18681) as QEMU's `am53c974` and `dc390`: an NCR 53C94 core,
//! which the host steps through the phases of the bus, and a DMA engine.

use std::cell::RefCell;
use std::rc::Rc;

use crate::graph::{Consumes, Member, Produces, QemuArgs, Site};
use crate::qemu::{Buffer, Vm};
use crate::qos::pci::{ExpectedBar, Identity, PciBus, PciFunction, PciPlug, Space};
use crate::qos::registers::{Register, RegistersExt};
use crate::qos::scsi::{
    self, Answer, CHECK_CONDITION, Data, Profile, Reach, Reply, SENSE, ScsiHba, Unit, address32,
    cdb,
};
use crate::qos::wait_until;
use crate::{Error, Result, driver};

/// Transfer count, bits 7:0, 15:8 and 23:16. Read, what is left; after a reset the upper one is
/// the chip's ID.
pub const COUNT: Register<u8> = Register::new("CTCREG", 0x00);
/// Transfer count, bits 15:8.
pub const COUNT_MIDDLE: Register<u8> = Register::new("CTCREG middle", 0x04);
/// Transfer count, bits 23:16.
pub const COUNT_HIGH: Register<u8> = Register::new("CTCREG high", 0x38);
/// The FIFO.
pub const FIFO: Register<u8> = Register::new("FFREG", 0x08);
/// Command.
pub const COMMAND: Register<u8> = Register::new("CMDREG", 0x0c);
/// Status.
pub const STATUS: Register<u8> = Register::new("STATREG", 0x10);
/// The target to select, which is written where the status is read.
pub const DESTINATION: Register<u8> = Register::new("SDIDREG", 0x10);
/// Interrupt status; a read clears it.
pub const INTERRUPT: Register<u8> = Register::new("INSTREG", 0x14);
/// How far a selection has come.
pub const STEP: Register<u8> = Register::new("ISREG", 0x18);
/// How many bytes are in the FIFO.
pub const FIFO_STATE: Register<u8> = Register::new("CFISREG", 0x1c);
/// Control one: the adapter's own ID.
pub const CONTROL_1: Register<u8> = Register::new("CNTLREG1", 0x20);
/// DMA: command.
pub const DMA_COMMAND: Register<u32> = Register::new("DMA CMD", 0x40);
/// DMA: starting count in bytes.
pub const DMA_COUNT: Register<u32> = Register::new("DMA STC", 0x44);
/// DMA: starting address.
pub const DMA_ADDRESS: Register<u32> = Register::new("DMA SPA", 0x48);
/// DMA: count that is left.
pub const DMA_LEFT: Register<u32> = Register::new("DMA WBC", 0x4c);
/// DMA: status.
pub const DMA_STATUS: Register<u32> = Register::new("DMA STATUS", 0x54);

/// Commands of the core; bit 7 says that its data goes by DMA.
pub mod command {
    /// By DMA.
    pub const DMA: u8 = 0x80;
    /// Clear the FIFO.
    pub const CLEAR_FIFO: u8 = 0x01;
    /// Reset the chip.
    pub const RESET: u8 = 0x02;
    /// Reset the bus.
    pub const RESET_BUS: u8 = 0x03;
    /// Move the data of this phase.
    pub const TRANSFER: u8 = 0x10;
    /// Receive status and message.
    pub const COMPLETE: u8 = 0x11;
    /// Accept the message.
    pub const ACCEPT: u8 = 0x12;
    /// Select a target, without a message.
    pub const SELECT: u8 = 0x41;
    /// Select a target, with an IDENTIFY message.
    pub const SELECT_ATN: u8 = 0x42;
    /// No command.
    pub const NONE: u8 = 0;
}

/// STATREG: an interrupt is pending; the count is at zero.
pub const STATUS_INTERRUPT: u8 = 0x80;
/// STATREG: the count is at zero.
pub const STATUS_ZERO: u8 = 0x10;
/// STATREG: phases in bits 2:0.
const DATA_OUT: u8 = 0;
const DATA_IN: u8 = 1;
const STATUS_PHASE: u8 = 3;
/// INSTREG: the bus was reset; disconnected; the target wants service; done.
pub const BUS_RESET: u8 = 0x80;
/// INSTREG: an illegal command.
pub const ILLEGAL: u8 = 0x40;
/// INSTREG: disconnected.
pub const DISCONNECTED: u8 = 0x20;
/// INSTREG: the target wants service.
pub const SERVICE: u8 = 0x10;
/// INSTREG: done.
pub const DONE: u8 = 0x08;
/// DMA CMD: start; and from the bus to memory.
const DMA_IDLE: u32 = 0;
const DMA_START: u32 = 3;
const DMA_TO_MEMORY: u32 = 1 << 7;

/// The most bytes that are moved at once: the count has 16 bits that every chip has.
const PIECE: usize = 0xf000;

/// The members of the family; `dc390` is Tekram's card with an EEPROM.
const MEMBERS: [Member<()>; 2] = [Member::new("am53c974", ()), Member::new("dc390", ())];

/// What its configuration space says.
const IDENTITY: Identity = Identity {
    vendor: 0x1022,
    device: 0x2020,
    revision: 0x10,
    class: 0x01_00_00,
    subsystem: (0x1af4, 0x1100),
    pin: 1,
    bars: &[ExpectedBar { number: 0, space: Space::Io, size: 0x80, witness: None }],
    capabilities: &[],
};

/// QEMU's `am53c974` and `dc390`.
pub struct Am53c974 {
    /// Where it is plugged in, and its registers.
    pub plug: PciPlug,
}

impl Consumes<dyn PciBus> for Am53c974 {
    const ARGS: QemuArgs = QemuArgs::device("bus={bus},addr={addr},id=scsi0")
        .before(scsi::BACKEND)
        .after(scsi::BEHIND_WITH_LUNS)
        .images(&[scsi::IMAGE]);

    fn attach(bus: Rc<dyn PciBus>, site: &Site) -> Result<Self> {
        Ok(Self { plug: PciPlug::attach(&bus, site, 0)? })
    }
}

impl Produces<PciFunction> for Am53c974 {
    fn produced(self: Rc<Self>) -> Rc<PciFunction> {
        self.plug.function(IDENTITY)
    }
}

impl Produces<dyn ScsiHba> for Am53c974 {
    fn produced(self: Rc<Self>) -> Rc<dyn ScsiHba> {
        let (vm, under_way) = (RefCell::default(), RefCell::default());
        Rc::new(EspHba { card: self, vm, under_way })
    }
}

driver!(Am53c974 as MEMBERS; consumes dyn PciBus; produces PciFunction, dyn ScsiHba);

/// A command under way.
struct UnderWay {
    unit: Unit,
    is_out: bool,
    room: usize,
    memory: Option<Buffer>,
    /// The message and the command.
    _selection: Buffer,
}

/// The adapter.
struct EspHba {
    card: Rc<Am53c974>,
    vm: RefCell<Option<Rc<Vm>>>,
    under_way: RefCell<Option<UnderWay>>,
}

/// Why the core has interrupted, and in which phase the bus is.
struct Interrupt {
    cause: u8,
    phase: u8,
}

impl EspHba {
    fn vm(&self) -> Result<Rc<Vm>> {
        self.vm.borrow().clone().ok_or_else(|| Error::failed("the adapter was not started"))
    }

    /// Waits for an interrupt.
    fn interrupt(&self, what: &str) -> Result<Interrupt> {
        let registers = &self.card.plug.registers;
        wait_until(&*self.vm()?, what, || Ok(registers.get(STATUS)? & STATUS_INTERRUPT != 0))?;
        let phase = registers.get(STATUS)? & 7;
        let cause = registers.get(INTERRUPT)?;
        if registers.get(STATUS)? & STATUS_INTERRUPT != 0 {
            return Err(Error::failed(format!("{what}: the interrupt {cause:#x} stays")));
        }
        Ok(Interrupt { cause, phase })
    }

    /// Waits for an interrupt that has this cause.
    fn expect(&self, cause: u8, what: &str) -> Result<Interrupt> {
        match self.interrupt(what)? {
            interrupt if interrupt.cause == cause => Ok(interrupt),
            other => Err(Error::failed(format!("{what}: {:#x}, not {cause:#x}", other.cause))),
        }
    }

    /// Starts a command of the core with data by DMA.
    fn start_dma(&self, command: u8, address: u32, length: usize, to_memory: bool) -> Result<()> {
        let registers = &self.card.plug.registers;
        let direction = if to_memory { DMA_TO_MEMORY } else { 0 };
        registers.set(DMA_COMMAND, DMA_IDLE | direction)?;
        registers.set(COUNT, length as u8)?;
        registers.set(COUNT_MIDDLE, (length >> 8) as u8)?;
        registers.set(COUNT_HIGH, (length >> 16) as u8)?;
        registers.set(DMA_COUNT, length as u32)?;
        registers.set(DMA_ADDRESS, address)?;
        registers.set(COMMAND, command | command::DMA)?;
        registers.set(DMA_COMMAND, DMA_START | direction)
    }

    /// What is left of the transfer count.
    fn left(&self) -> Result<usize> {
        let registers = &self.card.plug.registers;
        let low = usize::from(registers.get(COUNT)?);
        Ok(low | usize::from(registers.get(COUNT_MIDDLE)?) << 8)
    }

    /// Moves data in pieces while the bus is in its phase; returns how much, and the interrupt
    /// of the next phase, or `None` if there is more data than memory.
    fn data(&self, way: &UnderWay, mut now: Interrupt) -> Result<(usize, Option<Interrupt>)> {
        let (mut done, phase) = (0, if way.is_out { DATA_OUT } else { DATA_IN });
        while now.phase == phase {
            let Some(memory) = way.memory.as_ref().filter(|_| done < way.room) else {
                return Ok((done, None));
            };
            let piece = (way.room - done).min(PIECE);
            let address = address32(memory)? + done as u32;
            self.start_dma(command::TRANSFER, address, piece, !way.is_out)?;
            now = self.interrupt("data")?;
            // The count of the core says it for both directions; that of the DMA engine counts
            // what was written to memory.
            let left = match way.is_out {
                true => self.left()?,
                false => self.card.plug.registers.get(DMA_LEFT)? as usize,
            };
            if now.cause != SERVICE || left > piece {
                let why = format!("data: interrupt {:#x}, {left} left of {piece}", now.cause);
                return Err(Error::failed(why));
            }
            done += piece - left;
        }
        self.card.plug.registers.set(DMA_COMMAND, DMA_IDLE)?;
        Ok((done, Some(now)))
    }

    /// Receives status and message; the bus is free afterwards.
    fn complete(&self) -> Result<u8> {
        let registers = &self.card.plug.registers;
        registers.set(COMMAND, command::COMPLETE)?;
        self.expect(DONE, "status and message")?;
        let count = registers.get(FIFO_STATE)? & 0x1f;
        let (status, message) = (registers.get(FIFO)?, registers.get(FIFO)?);
        if (count, message) != (2, 0) {
            let why =
                format!("{count} bytes in the FIFO, status {status:#x}, message {message:#x}");
            return Err(Error::failed(why));
        }
        registers.set(COMMAND, command::ACCEPT)?;
        self.expect(DISCONNECTED, "the bus to be free")?;
        Ok(status)
    }

    /// Runs a command to its status, without asking for sense data.
    fn finish(&self) -> Result<Answer> {
        let way = self.under_way.take().ok_or_else(|| Error::failed("no command is under way"))?;
        let first = self.interrupt("the command to be taken")?;
        if first.cause == DISCONNECTED {
            return Ok(Answer::Absent);
        }
        if first.cause != SERVICE | DONE {
            return Err(Error::failed(format!("a selection: interrupt {:#x}", first.cause)));
        }
        let step = self.card.plug.registers.get(STEP)? & 7;
        if step != 4 {
            return Err(Error::failed(format!("a selection came to step {step}")));
        }
        let (done, next) = self.data(&way, first)?;
        match next {
            None => {
                self.reset_bus()?;
                return Ok(Answer::Overrun);
            }
            Some(Interrupt { phase: STATUS_PHASE, .. }) => {}
            Some(other) => {
                let why = format!("phase {} after {done} bytes of {}", other.phase, way.room);
                return Err(Error::failed(why));
            }
        }
        let status = self.complete()?;
        let data = match &way.memory {
            Some(memory) if !way.is_out => memory.to_vec()?,
            _ => Vec::new(),
        };
        Ok(Answer::Replied(Reply {
            status,
            sense: Vec::new(),
            residual: Some(way.room - done),
            data,
        }))
    }

    fn reset_bus(&self) -> Result<()> {
        let registers = &self.card.plug.registers;
        registers.set(DMA_COMMAND, DMA_IDLE)?;
        registers.set(COMMAND, command::RESET_BUS)?;
        let interrupt = self.interrupt("a reset of the bus")?;
        if interrupt.cause & BUS_RESET == 0 {
            return Err(Error::failed(format!("a reset of the bus: {:#x}", interrupt.cause)));
        }
        self.reset_chip()
    }

    fn reset_chip(&self) -> Result<()> {
        let registers = &self.card.plug.registers;
        registers.set(COMMAND, command::RESET)?;
        // The chip takes no other command before this one.
        registers.set(COMMAND, command::NONE)?;
        registers.get(INTERRUPT)?;
        match (registers.get(STATUS)?, registers.get(FIFO_STATE)? & 0x1f) {
            (status, 0) if status & STATUS_INTERRUPT == 0 => Ok(()),
            other => Err(Error::failed(format!("status and FIFO after a reset: {other:x?}"))),
        }
    }
}

impl ScsiHba for EspHba {
    fn profile(&self) -> Profile {
        Profile {
            units: scsi::UNITS_WITH_LUNS,
            tells_residual: true,
            refuses_overrun: true,
            reset: Some(Reach::Bus),
            aborts: false,
            most: 1 << 18,
            moves_all: None,
        }
    }

    fn start(&self, vm: &Rc<Vm>) -> Result<()> {
        self.card.plug.device.bus().reaches_ram()?;
        self.vm.replace(Some(vm.clone()));
        self.under_way.take();
        self.reset_chip()?;
        self.reset_bus()
    }

    fn begin(&self, unit: Unit, cdb: &[u8], data: Data) -> Result<()> {
        let vm = self.vm()?;
        let registers = &self.card.plug.registers;
        let selection = vm.ram().alloc(1 + cdb.len(), 4)?;
        selection.write(0, &[0x80 | unit.lun])?;
        selection.write(1, cdb)?;
        let memory = data.memory(&vm)?;
        registers.set(COMMAND, command::CLEAR_FIFO)?;
        registers.set(DESTINATION, unit.target)?;
        self.start_dma(command::SELECT_ATN, address32(&selection)?, 1 + cdb.len(), false)?;
        let (is_out, room) = (data.is_out(), data.len());
        let way = UnderWay { unit, is_out, room, memory, _selection: selection };
        self.under_way.replace(Some(way));
        Ok(())
    }

    fn end(&self) -> Result<Answer> {
        let unit = self.under_way.borrow().as_ref().map(|way| way.unit);
        let answer = self.finish()?;
        let (Some(unit), Answer::Replied(mut reply)) = (unit, answer.clone()) else {
            return Ok(answer);
        };
        if reply.status == CHECK_CONDITION {
            self.begin(unit, &cdb::request_sense(SENSE as u8), Data::In(SENSE))?;
            match self.finish()? {
                Answer::Replied(Reply { status: scsi::GOOD, data, residual: Some(0), .. }) => {
                    reply.sense = data;
                }
                other => return Err(Error::failed(format!("REQUEST SENSE: {other:?}"))),
            }
        }
        Ok(Answer::Replied(reply))
    }

    fn reset(&self, _: Unit) -> Result<()> {
        self.reset_bus()?;
        self.under_way.take();
        Ok(())
    }
}
