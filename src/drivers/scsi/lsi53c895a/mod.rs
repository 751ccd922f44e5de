//! LSI's 53C895A and 53C810 (PCI to Ultra2 SCSI I/O processor, LSI53C895A technical manual) as
//! QEMU's `lsi53c895a` and `lsi53c810`: a processor that runs SCRIPTS from memory, by which it
//! steps through the phases of the bus.

pub mod script;

use std::cell::RefCell;
use std::rc::Rc;

use self::script::{Phase, Script};
use crate::graph::{Consumes, Member, Produces, QemuArgs, Site};
use crate::qemu::{Buffer, Vm};
use crate::qos::pci::{ExpectedBar, Identity, PciBus, PciFunction, PciPlug, Space};
use crate::qos::registers::{AnyRegister, Register, RegisterBlock, RegistersExt};
use crate::qos::scsi::{
    self, Answer, CHECK_CONDITION, Data, Profile, Reach, Reply, SENSE, ScsiHba, Unit, address32,
    cdb,
};
use crate::qos::wait_until;
use crate::{Error, Result, driver};

/// SCSI control zero: how it arbitrates.
pub const SCNTL0: Register<u8> = Register::new("SCNTL0", 0x00).section("4.2").reset(0xc0);
/// SCSI control one: the reset of the bus.
pub const SCNTL1: Register<u8> = Register::new("SCNTL1", 0x01).section("4.2").reset(0);
/// SCSI control two.
pub const SCNTL2: Register<u8> = Register::new("SCNTL2", 0x02).section("4.2").reset(0);
/// SCSI control three: clocks.
pub const SCNTL3: Register<u8> = Register::new("SCNTL3", 0x03).section("4.2").reset(0);
/// General purpose.
pub const SCRATCH_A: Register<u32> =
    Register::new("SCRATCHA", 0x34).section("4.2").kept(0xffff_ffff);
/// General purpose.
pub const SCRATCH_B: Register<u32> =
    Register::new("SCRATCHB", 0x5c).section("4.2").kept(0xffff_ffff);
/// The data structure address.
pub const DSA: Register<u32> = Register::new("DSA", 0x10).section("4.2").kept(0xffff_ffff);
/// DMA status; a read clears it.
pub const DSTAT: Register<u8> = Register::new("DSTAT", 0x0c).section("4.2");
/// Interrupt status zero, and resets.
pub const ISTAT0: Register<u8> = Register::new("ISTAT0", 0x14).section("4.2");
/// What is left of a MOVE, 24 bits, and the command.
pub const DBC: Register<u32> = Register::new("DBC", 0x24).section("4.2");
/// Where SCRIPTS are read; the upper byte starts them.
pub const DSP: Register<u32> = Register::new("DSP", 0x2c).section("4.2");
/// The second word of the last instruction.
pub const DSPS: Register<u32> = Register::new("DSPS", 0x30).section("4.2");
/// DMA mode.
pub const DMODE: Register<u8> = Register::new("DMODE", 0x38).section("4.2").reset(0);
/// DMA interrupt enable.
pub const DIEN: Register<u8> =
    Register::new("DIEN", 0x39).section("4.2").reset(0).kept(0x7d).reserved(0x82);
/// DMA control: one instruction at a time, and the start of the next.
pub const DCNTL: Register<u8> = Register::new("DCNTL", 0x3b).section("4.2").reset(0);
/// SCSI interrupt enable zero.
pub const SIEN0: Register<u8> = Register::new("SIEN0", 0x40).section("4.2").reset(0).kept(0xff);
/// SCSI interrupt enable one.
pub const SIEN1: Register<u8> =
    Register::new("SIEN1", 0x41).section("4.2").reset(0).kept(0x17).reserved(0xe8);
/// SCSI interrupt status zero; a read clears it.
pub const SIST0: Register<u8> = Register::new("SIST0", 0x42).section("4.2");
/// SCSI interrupt status one; a read clears it.
pub const SIST1: Register<u8> = Register::new("SIST1", 0x43).section("4.2");

/// ISTAT0: a DMA interrupt; a SCSI interrupt.
pub const ISTAT0_DMA: u8 = 1 << 0;
/// ISTAT0: a SCSI interrupt.
pub const ISTAT0_SCSI: u8 = 1 << 1;
/// ISTAT0: reset the chip; stop SCRIPTS.
pub const ISTAT0_RESET: u8 = 1 << 6;
/// ISTAT0: stop SCRIPTS.
pub const ISTAT0_ABORT: u8 = 1 << 7;
/// DSTAT: an INT instruction; one of its own; stopped; an illegal one.
pub const DSTAT_INT: u8 = 1 << 2;
/// DSTAT: stopped.
pub const DSTAT_ABORTED: u8 = 1 << 4;
/// DSTAT: an illegal instruction.
pub const DSTAT_ILLEGAL: u8 = 1 << 0;
/// DSTAT: one instruction was carried out.
pub const DSTAT_STEP: u8 = 1 << 3;
/// SIST0: the bus is in another phase than the instruction says; the bus was reset.
pub const SIST0_PHASE: u8 = 1 << 7;
/// SIST0: the bus was reset.
pub const SIST0_RESET: u8 = 1 << 1;
/// SIST1: a target does not answer its selection.
pub const SIST1_TIMEOUT: u8 = 1 << 2;

/// The members of the family, with their device IDs.
const MEMBERS: [Member<u16>; 2] =
    [Member::new("lsi53c895a", 0x0012), Member::new("lsi53c810", 0x0001)];

/// What their configuration space says.
const FAMILY: Identity = Identity {
    vendor: 0x1000,
    device: 0,
    revision: 0,
    class: 0x01_00_00,
    subsystem: (0, 0x1000),
    pin: 1,
    bars: &[
        ExpectedBar { number: 0, space: Space::Io, size: 0x100, witness: None },
        ExpectedBar { number: 1, space: Space::Memory, size: 0x400, witness: None },
        ExpectedBar { number: 2, space: Space::Memory, size: 0x2000, witness: None },
    ],
    capabilities: &[],
};

/// The registers that the generic suite looks at.
const TABLE: &[&dyn AnyRegister] = &[&DSA, &DIEN, &SIEN0, &SIEN1];

/// QEMU's `lsi53c895a` and `lsi53c810`.
pub struct Lsi53c895a {
    /// Where it is plugged in, and its registers.
    pub plug: PciPlug,
    device: u16,
}

impl Consumes<dyn PciBus> for Lsi53c895a {
    const ARGS: QemuArgs = QemuArgs::device("bus={bus},addr={addr},id=scsi0")
        .before(scsi::BACKEND)
        .after(scsi::BEHIND)
        .images(&[scsi::IMAGE]);

    fn attach(bus: Rc<dyn PciBus>, site: &Site) -> Result<Self> {
        Ok(Self { plug: PciPlug::attach(&bus, site, 1)?, device: *site.member(&MEMBERS)? })
    }
}

impl Produces<PciFunction> for Lsi53c895a {
    fn produced(self: Rc<Self>) -> Rc<PciFunction> {
        self.plug.function(Identity { device: self.device, ..FAMILY })
    }
}

impl Produces<RegisterBlock> for Lsi53c895a {
    fn produced(self: Rc<Self>) -> Rc<RegisterBlock> {
        Rc::new(self.plug.block("LSI53C895A technical manual", TABLE))
    }
}

impl Produces<dyn ScsiHba> for Lsi53c895a {
    fn produced(self: Rc<Self>) -> Rc<dyn ScsiHba> {
        Rc::new(LsiHba { card: self, vm: RefCell::default(), under_way: RefCell::default() })
    }
}

driver!(
    Lsi53c895a as MEMBERS;
    consumes dyn PciBus;
    produces PciFunction, RegisterBlock, dyn ScsiHba
);

/// Why SCRIPTS have stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// An INT instruction with this number.
    Int(u32),
    /// The bus is in another phase than a MOVE says; so many bytes of it are left.
    Phase(usize),
    /// The target does not answer.
    Timeout,
    /// DSTAT says this.
    Dma(u8),
}

impl Lsi53c895a {
    /// Resets the bus, and the chip.
    ///
    /// # Errors
    /// Returns an error if interrupts stay.
    pub fn reset(&self) -> Result<()> {
        let registers = &self.plug.registers;
        registers.set(SCNTL1, 1 << 3)?;
        let told = registers.get(SIST0)?;
        registers.set(SCNTL1, 0)?;
        registers.set(ISTAT0, ISTAT0_RESET)?;
        registers.set(ISTAT0, 0)?;
        let after = (registers.get(ISTAT0)?, registers.get(SCNTL0)?);
        match told & SIST0_RESET {
            0 => Err(Error::failed(format!("SIST0 is {told:#x} after a reset of the bus"))),
            _ if after != (0, 0xc0) => {
                Err(Error::failed(format!("ISTAT0 and SCNTL0 after a reset: {after:x?}")))
            }
            _ => Ok(()),
        }
    }

    /// Runs SCRIPTS from `address` on.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    pub fn run(&self, address: u32) -> Result<()> {
        self.plug.registers.set(DSP, address)
    }

    /// Waits until SCRIPTS stop.
    ///
    /// # Errors
    /// Returns an error if they do not, or for more than one reason.
    pub fn stop(&self, vm: &Vm) -> Result<Stop> {
        let registers = &self.plug.registers;
        let mut status = 0;
        wait_until(vm, "SCRIPTS to stop", || {
            status = registers.get(ISTAT0)? & (ISTAT0_DMA | ISTAT0_SCSI);
            Ok(status != 0)
        })?;
        let left = (registers.get(DBC)? & 0xff_ffff) as usize;
        let (dma, number) = (registers.get(DSTAT)? & 0x7f, registers.get(DSPS)?);
        let (zero, one) = (registers.get(SIST0)?, registers.get(SIST1)?);
        if registers.get(ISTAT0)? & (ISTAT0_DMA | ISTAT0_SCSI) != 0 {
            return Err(Error::failed(format!("interrupts stay: {dma:#x} {zero:#x} {one:#x}")));
        }
        match (dma, zero, one) {
            (DSTAT_INT, 0, 0) => Ok(Stop::Int(number)),
            (0, SIST0_PHASE, 0) => Ok(Stop::Phase(left)),
            (0, 0, SIST1_TIMEOUT) => Ok(Stop::Timeout),
            (dma, 0, 0) if dma != 0 => Ok(Stop::Dma(dma)),
            other => Err(Error::failed(format!("DSTAT, SIST0, SIST1 are {other:x?}"))),
        }
    }
}

/// A command under way.
struct UnderWay {
    unit: Unit,
    is_out: bool,
    room: usize,
    memory: Option<Buffer>,
    /// Messages, command and status.
    bytes: Buffer,
    script: Buffer,
}

/// Where in [`UnderWay::bytes`] they are.
const COMMAND: usize = 8;
const STATUS: usize = 24;
const MESSAGE: usize = 25;
/// What a target says too much, where a command has no memory.
const SPARE: usize = 26;

/// The numbers of the INT instructions: done, more data than memory, all else.
const DONE: u32 = 0x100;
const MORE: u32 = 0x101;
const WRONG_PHASE: u32 = 0x102;
const WRONG_MESSAGE: u32 = 0x103;

/// Where in a command's script it goes on after data.
const LOOP: usize = 3 * 8;

/// The adapter.
struct LsiHba {
    card: Rc<Lsi53c895a>,
    vm: RefCell<Option<Rc<Vm>>>,
    under_way: RefCell<Option<UnderWay>>,
}

impl LsiHba {
    fn vm(&self) -> Result<Rc<Vm>> {
        self.vm.borrow().clone().ok_or_else(|| Error::failed("the adapter was not started"))
    }

    /// The script of a command, and its memory.
    fn prepare(&self, vm: &Vm, unit: Unit, cdb: &[u8], data: Data) -> Result<UnderWay> {
        let ram = vm.ram();
        let (memory, bytes, script) = (data.memory(vm)?, ram.alloc(32, 4)?, ram.alloc(8 * 40, 4)?);
        bytes.write(0, &[0x80 | unit.lun])?;
        bytes.write(COMMAND, cdb)?;
        bytes.write(STATUS, &[0xee, 0xee])?;
        let (at, base) = (address32(&bytes)?, address32(&script)?);
        let phase = if data.is_out() { Phase::DataOut } else { Phase::DataIn };
        let message = at + MESSAGE as u32;
        let mut steps = Script::new(base);
        steps.select(unit.target);
        steps.transfer(Phase::MessageOut, 1, at);
        steps.transfer(Phase::Command, cdb.len() as u32, at + COMMAND as u32);
        assert_eq!(steps.len(), LOOP, "where the script goes on");
        let (status, incoming) = (base + 9 * 8, base + 15 * 8);
        steps.jump_when(phase, base + 7 * 8);
        steps.jump_when(Phase::Status, status);
        steps.jump_when(Phase::MessageIn, incoming);
        steps.int(WRONG_PHASE);
        // Data.
        match &memory {
            Some(memory) => steps.transfer(phase, data.len() as u32, address32(memory)?),
            // A target that has no data yet may be in this phase until it knows: INT would be early.
            None => steps.transfer(phase, 1, at + SPARE as u32),
        }
        steps.jump(base + 22 * 8);
        // Status.
        steps.transfer(Phase::Status, 1, at + STATUS as u32);
        steps.transfer(Phase::MessageIn, 1, message);
        steps.expect_disconnect();
        steps.clear_acknowledge();
        steps.wait_disconnect();
        steps.int(DONE);
        // A message: pointers are to be saved, or the target disconnects.
        steps.transfer(Phase::MessageIn, 1, message);
        steps.jump_if(0x04, base + 24 * 8);
        steps.jump_if(0x02, base + 20 * 8);
        steps.int(WRONG_MESSAGE);
        steps.no_operation();
        steps.clear_acknowledge();
        steps.jump(base + LOOP as u32);
        // After data: the same phase again is more data than memory.
        steps.jump_when(phase, base + 30 * 8);
        steps.jump(base + LOOP as u32);
        // Disconnected: it comes back with an IDENTIFY message.
        steps.expect_disconnect();
        steps.clear_acknowledge();
        steps.wait_disconnect();
        steps.wait_reselect(base + 31 * 8);
        steps.transfer(Phase::MessageIn, 1, message);
        steps.jump(base + 20 * 8);
        steps.int(MORE);
        steps.int(WRONG_MESSAGE);
        script.write(0, &steps.bytes())?;
        Ok(UnderWay { unit, is_out: data.is_out(), room: data.len(), memory, bytes, script })
    }

    /// Runs a command to its status, without asking for sense data.
    fn finish(&self) -> Result<Answer> {
        let way = self.under_way.take().ok_or_else(|| Error::failed("no command is under way"))?;
        let vm = self.vm()?;
        let mut left = way.room;
        let mut moved = false;
        loop {
            match self.card.stop(&vm)? {
                Stop::Timeout => return Ok(Answer::Absent),
                Stop::Phase(rest) if !moved && rest <= way.room.max(1) => {
                    (left, moved) = (rest, true);
                    self.card.run(address32(&way.script)? + LOOP as u32)?;
                }
                Stop::Int(MORE) => {
                    self.card.reset()?;
                    return Ok(Answer::Overrun);
                }
                Stop::Int(DONE) => break,
                other => return Err(Error::failed(format!("SCRIPTS have stopped: {other:x?}"))),
            }
        }
        let bytes = way.bytes.to_vec()?;
        if bytes[MESSAGE] != 0 {
            let why = format!("the message at the end is {:#x}", bytes[MESSAGE]);
            return Err(Error::failed(why));
        }
        let data = match &way.memory {
            Some(memory) if !way.is_out => memory.to_vec()?,
            _ => Vec::new(),
        };
        // A whole MOVE interrupts nobody; nor does a command that has no data phase.
        let residual = (moved && way.memory.is_some()).then_some(left);
        Ok(Answer::Replied(Reply { status: bytes[STATUS], sense: Vec::new(), residual, data }))
    }
}

impl ScsiHba for LsiHba {
    fn profile(&self) -> Profile {
        Profile {
            units: scsi::UNITS,
            tells_residual: false,
            refuses_overrun: true,
            reset: Some(Reach::Bus),
            aborts: true,
            most: 1 << 20,
            moves_all: None,
        }
    }

    fn start(&self, vm: &Rc<Vm>) -> Result<()> {
        self.card.plug.device.bus().reaches_ram()?;
        self.vm.replace(Some(vm.clone()));
        self.under_way.take();
        self.card.reset()
    }

    fn begin(&self, unit: Unit, cdb: &[u8], data: Data) -> Result<()> {
        let way = self.prepare(&*self.vm()?, unit, cdb, data)?;
        let script = address32(&way.script)?;
        self.under_way.replace(Some(way));
        self.card.run(script)
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
                Answer::Replied(Reply { status: scsi::GOOD, data, .. }) => reply.sense = data,
                other => return Err(Error::failed(format!("REQUEST SENSE: {other:?}"))),
            }
        }
        Ok(Answer::Replied(reply))
    }

    /// Stops SCRIPTS, selects the target again, and sends the message ABORT.
    fn abort(&self) -> Result<Answer> {
        let way = self.under_way.take().ok_or_else(|| Error::failed("no command is under way"))?;
        let vm = self.vm()?;
        let registers = &self.card.plug.registers;
        registers.set(ISTAT0, ISTAT0_ABORT)?;
        match self.card.stop(&vm)? {
            Stop::Dma(DSTAT_ABORTED) => registers.set(ISTAT0, 0)?,
            // The command was done before.
            Stop::Dma(both) if both == DSTAT_ABORTED | DSTAT_INT => {
                registers.set(ISTAT0, 0)?;
                return Ok(Answer::Aborted);
            }
            other => return Err(Error::failed(format!("SCRIPTS that are stopped: {other:x?}"))),
        }
        let (at, base) = (address32(&way.bytes)?, address32(&way.script)?);
        way.bytes.write(0, &[0x80 | way.unit.lun, 0x06])?;
        let mut steps = Script::new(base);
        steps.select(way.unit.target);
        steps.expect_disconnect();
        steps.transfer(Phase::MessageOut, 2, at);
        steps.wait_disconnect();
        steps.int(DONE);
        way.script.write(0, &steps.bytes())?;
        self.card.run(base)?;
        match self.card.stop(&vm)? {
            Stop::Int(DONE) => Ok(Answer::Aborted),
            other => Err(Error::failed(format!("the message ABORT: {other:x?}"))),
        }
    }

    fn reset(&self, _: Unit) -> Result<()> {
        self.under_way.take();
        self.card.reset()
    }
}
