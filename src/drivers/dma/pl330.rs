//! The PL330 (Arm, CoreLink DMA-330 technical reference manual, DDI 0424D, chapters 3 and 4),
//! whose channels run programs. A piece of work is a part of a program here.

use std::cell::RefCell;
use std::rc::Rc;

use crate::graph::{Discovered, FoundDevice, Produces};
use crate::qemu::{Buffer, Vm};
use crate::qos::dma::{DmaEngine, Next, Profile, Step, Transfer, nowhere};
use crate::qos::interrupt::{InterruptLine, Pin};
use crate::qos::registers::{AnyRegister, Mmio, Register, RegisterBlock, Registers, RegistersExt};
use crate::qos::wait_until;
use crate::{Error, Result, discovered, driver};

/// Interrupt enable: an event interrupts.
const INTEN: Register<u32> = Register::new("INTEN", 0x020).section("3.3.3").reset(0);
/// Events and interrupts, before the mask.
const RIS: Register<u32> =
    Register::new("INT_EVENT_RIS", 0x024).section("3.3.4").reset(0).read_only();
/// Interrupts.
const MIS: Register<u32> = Register::new("INTMIS", 0x028).section("3.3.5").reset(0).read_only();
/// Interrupt clear.
const CLEAR: Register<u32> =
    Register::new("INTCLR", 0x02c).section("3.3.6").write_only().side_effect();
/// Channels that have met a fault.
const FAULTY: Register<u32> = Register::new("FSRC", 0x034).section("3.3.8").reset(0).read_only();
/// The status of a channel; eight bytes more for the next.
const STATUS: Register<u32> = Register::new("CSRn", 0x100).section("3.3.11").reset(0).read_only();
/// The debugger's instruction, by which software starts channels.
const DEBUG_STATUS: Register<u32> =
    Register::new("DBGSTATUS", 0xd00).section("3.3.18").reset(0).read_only();
const DEBUG_COMMAND: Register<u32> =
    Register::new("DBGCMD", 0xd04).section("3.3.19").write_only().side_effect();
const DEBUG_LOW: Register<u32> =
    Register::new("DBGINST0", 0xd08).section("3.3.20").write_only().side_effect();
const DEBUG_HIGH: Register<u32> =
    Register::new("DBGINST1", 0xd0c).section("3.3.21").write_only().side_effect();

/// A byte of the identification.
const fn id(name: &'static str, offset: u64, value: u64) -> Register<u32> {
    Register::new(name, offset).section("3.3.29").reset(value).read_only()
}

/// The registers that do not depend on how the engine is built.
const TABLE: &[&dyn AnyRegister] = &[
    &Register::<u32>::new("DSR", 0x000).section("3.3.1").reset(0).undefined(0x200).read_only(),
    &Register::<u32>::new("DPC", 0x004).section("3.3.2").reset(0).read_only(),
    // Others have no event, or none of a channel's.
    &INTEN.kept(0xff).reserved(0xffff_ff00),
    &RIS,
    &MIS,
    &CLEAR,
    &Register::<u32>::new("FSRD", 0x030).section("3.3.7").reset(0).read_only(),
    &FAULTY,
    &Register::<u32>::new("FTRD", 0x038).section("3.3.9").reset(0).read_only(),
    &DEBUG_STATUS,
    &DEBUG_COMMAND,
    &DEBUG_LOW,
    &DEBUG_HIGH,
    &id("periph_id_0", 0xfe0, 0x30),
    &id("periph_id_1", 0xfe4, 0x13),
    &id("pcell_id_0", 0xff0, 0x0d),
    &id("pcell_id_1", 0xff4, 0xf0),
    &id("pcell_id_2", 0xff8, 0x05),
    &id("pcell_id_3", 0xffc, 0xb1),
];
/// Those of each channel, with the bytes to that of the next.
const OF_CHANNELS: &[(Register<u32>, u64)] = &[
    (Register::new("FTRn", 0x040).section("3.3.10").reset(0).read_only(), 4),
    (STATUS, 8),
    (Register::new("CPCn", 0x104).section("3.3.12").reset(0).read_only(), 8),
    (Register::new("SARn", 0x400).section("3.3.13").reset(0).read_only(), 0x20),
    (Register::new("DARn", 0x404).section("3.3.14").reset(0).read_only(), 0x20),
];

/// Channels of which the work is over: stopped, and with a fault (3.3.11).
const STOPPED: u32 = 0;
const FAULT: u32 = 15;
/// How many channels those of boards have.
const CHANNELS: usize = 8;
/// Bits of the control register of a channel (3.3.15): the addresses increment; the units of both
/// sides, in powers of two.
const SOURCE_INCREMENT: u32 = 1 << 0;
const SOURCE_SIZE: u32 = 1;
const DESTINATION_INCREMENT: u32 = 1 << 14;
const DESTINATION_SIZE: u32 = 15;

/// Instructions (4.3).
const END: u8 = 0x00;
const KILL: u8 = 0x01;
const LOAD: u8 = 0x04;
const STORE: u8 = 0x08;
const WRITE_BARRIER: u8 = 0x13;
const LOOP: u8 = 0x20;
const LOOP_FOREVER_END: u8 = 0x28;
const SEND_EVENT: u8 = 0x34;
const LOOP_END: u8 = 0x38;
const GO: u8 = 0xa0;
const MOVE: u8 = 0xbc;
/// What is moved to.
const SOURCE: u8 = 0;
const CONTROL: u8 = 1;
const DESTINATION: u8 = 2;

/// QEMU's `pl330`.
pub struct Pl330 {
    vm: Rc<Vm>,
    registers: Rc<Mmio>,
    pins: Vec<Option<Pin>>,
    nowhere: Option<u64>,
    is_wide: bool,
    /// The programs of the channels.
    programs: RefCell<Vec<Option<Buffer>>>,
}

impl Pl330 {
    fn registers(&self) -> &dyn Registers {
        &*self.registers
    }

    fn state(&self, channel: usize) -> Result<u32> {
        Ok(self.registers().get(STATUS.nth(channel as u64, 8))? & 0xf)
    }

    /// Has the manager, or a channel, execute an instruction of up to six bytes.
    fn execute(&self, instruction: [u8; 6], channel: Option<usize>) -> Result<()> {
        let idle = || Ok(self.registers().get(DEBUG_STATUS)? & 1 == 0);
        wait_until(&self.vm, "the debugger of the engine to be idle", idle)?;
        for (register, value) in debug_writes(instruction, channel) {
            self.registers().set(register, value)?;
        }
        Ok(())
    }

    /// The instruction that starts a channel, by a manager that is secure.
    fn go(&self, channel: usize) -> [u8; 6] {
        let program = self.programs.borrow();
        let at = program[channel].as_ref().map_or(0, |program| program.address().0 as u32);
        let [a, b, c, d] = at.to_le_bytes();
        [GO, channel as u8, a, b, c, d]
    }
}

/// The writes by which an instruction is executed.
fn debug_writes(instruction: [u8; 6], channel: Option<usize>) -> [(Register<u32>, u32); 3] {
    let [first, second, rest @ ..] = instruction;
    let thread = channel.map_or(0, |channel| 1 | (channel as u32) << 8);
    let low = thread | u32::from(first) << 16 | u32::from(second) << 24;
    [(DEBUG_LOW, low), (DEBUG_HIGH, u32::from_le_bytes(rest)), (DEBUG_COMMAND, 0)]
}

fn move_to(program: &mut Vec<u8>, what: u8, value: u32) {
    program.extend([MOVE, what]);
    program.extend(value.to_le_bytes());
}

/// Appends the end of the loop that began at `start`.
fn loop_end(program: &mut Vec<u8>, opcode: u8, start: usize) -> Result<()> {
    let back = u8::try_from(program.len() - start);
    program.extend([opcode, back.map_err(|_| Error::failed("a loop is too long"))?]);
    Ok(())
}

/// Appends `count` times a load and a store.
fn repeat(program: &mut Vec<u8>, count: usize) -> Result<()> {
    // Both loop counters have eight bits.
    let (whole, rest) = (count / 256, count % 256);
    if whole > 0 {
        program.extend([LOOP, (whole - 1) as u8]);
        let outer = program.len();
        inner(program, 256)?;
        loop_end(program, LOOP_END, outer)?;
    }
    if rest > 0 { inner(program, rest) } else { Ok(()) }
}

fn inner(program: &mut Vec<u8>, count: usize) -> Result<()> {
    program.extend([LOOP | 1 << 1, (count - 1) as u8]);
    let start = program.len();
    program.extend([LOAD, STORE]);
    loop_end(program, LOOP_END | 1 << 2, start)
}

/// Appends a piece of work of a channel.
fn piece(program: &mut Vec<u8>, channel: usize, it: &Transfer) -> Result<()> {
    let narrow = |address: u64| {
        let beyond = || Error::skipped(format!("{address:#x} is beyond the engine's addresses"));
        u32::try_from(address).map_err(|_| beyond())
    };
    let size = it.unit.trailing_zeros();
    let increments = |step, bit| if step == Step::Increment { bit } else { 0 };
    let control = size << SOURCE_SIZE
        | size << DESTINATION_SIZE
        | increments(it.source_step, SOURCE_INCREMENT)
        | increments(it.destination_step, DESTINATION_INCREMENT);
    move_to(program, CONTROL, control);
    move_to(program, SOURCE, narrow(it.source)?);
    move_to(program, DESTINATION, narrow(it.destination)?);
    repeat(program, (it.length / it.unit) as usize)?;
    if it.tells {
        program.extend([WRITE_BARRIER, SEND_EVENT, (channel as u8) << 3]);
    }
    Ok(())
}

impl DmaEngine for Pl330 {
    fn profile(&self) -> Profile {
        Profile {
            channels: CHANNELS,
            units: if self.is_wide { &[1, 2, 4, 8] } else { &[1, 2, 4] },
            fixed_units: &[1, 2, 4],
            steps: &[
                (Step::Fixed, Step::Increment),
                (Step::Increment, Step::Fixed),
                (Step::Fixed, Step::Fixed),
            ],
            register_unit: 4,
            most: 0x4102,
            has_empty: true,
            has_lists: true,
            hangs_on_loops: Some("QEMU's pl330 runs a program without end for ever"),
            takes_long: None,
            always_tells: false,
            latches: false,
            shares_line: false,
        }
    }

    fn nowhere(&self) -> Option<u64> {
        self.nowhere
    }

    fn enable(&self, _: bool) -> Result<Option<()>> {
        Ok(None)
    }

    fn prepare(&self, channel: usize, work: &[Transfer], next: Next) -> Result<()> {
        if self.state(channel)? != STOPPED {
            self.execute([KILL, 0, 0, 0, 0, 0], Some(channel))?;
        }
        let mut program = Vec::new();
        let mut second = 0;
        for (index, it) in work.iter().enumerate() {
            if index == 1 {
                second = program.len();
            }
            piece(&mut program, channel, it)?;
        }
        match next {
            Next::End => program.push(END),
            Next::Second => loop_end(&mut program, LOOP_FOREVER_END, second)?,
            Next::At(_) => return Err(Error::skipped("a program cannot go on elsewhere")),
        }
        let buffer = self.vm.ram().alloc(program.len(), 64)?;
        buffer.write(0, &program)?;
        self.programs.borrow_mut()[channel] = Some(buffer);
        Ok(())
    }

    fn start(&self, channel: usize) -> Result<()> {
        self.execute(self.go(channel), None)
    }

    fn hold(&self, _: usize, _: bool) -> Result<Option<()>> {
        Ok(None)
    }

    fn is_active(&self, channel: usize) -> Result<bool> {
        Ok(![STOPPED, FAULT].contains(&self.state(channel)?))
    }

    fn enable_interrupt(&self, channel: usize, is_enabled: bool) -> Result<()> {
        let enabled = self.registers().get(INTEN)? & !(1 << channel);
        self.registers().set(INTEN, enabled | u32::from(is_enabled) << channel)
    }

    fn is_done(&self, channel: usize) -> Result<bool> {
        let registers = self.registers();
        let (raw, masked) = (registers.get(RIS)?, registers.get(MIS)?);
        if masked & !raw != 0 {
            return Err(Error::failed(format!("INTMIS is {masked:#x}, of {raw:#x}")));
        }
        Ok(raw >> channel & 1 == 1)
    }

    fn has_failed(&self, channel: usize) -> Result<bool> {
        Ok(self.registers().get(FAULTY)? >> channel & 1 == 1)
    }

    fn clear(&self, channel: usize) -> Result<()> {
        // Only what interrupts can be cleared (3.3.6).
        let enabled = self.registers().get(INTEN)?;
        self.registers().set(INTEN, enabled | 1 << channel)?;
        self.registers().set(CLEAR, 1 << channel)?;
        self.registers().set(INTEN, enabled)?;
        if self.state(channel)? == FAULT {
            self.execute([KILL, 0, 0, 0, 0, 0], Some(channel))?;
        }
        Ok(())
    }

    fn interrupt(&self, channel: usize) -> Result<Option<InterruptLine>> {
        self.pins[channel].as_ref().map(|pin| pin.watch(&self.vm)).transpose()
    }

    fn registers(&self) -> (u64, u64) {
        (self.registers.base(), 0x1000)
    }

    fn starting_writes(&self, channel: usize) -> Vec<(u64, u32)> {
        let at = |register: Register<u32>| self.registers.base() + register.offset();
        let writes = debug_writes(self.go(channel), None);
        writes.into_iter().map(|(register, value)| (at(register), value)).collect()
    }
}

impl Produces<dyn DmaEngine> for Pl330 {
    fn produced(self: Rc<Self>) -> Rc<dyn DmaEngine> {
        self
    }
}

impl Produces<RegisterBlock> for Pl330 {
    fn produced(self: Rc<Self>) -> Rc<RegisterBlock> {
        let block = RegisterBlock::new("DDI 0424D", self.registers.clone(), TABLE);
        let with = |block: RegisterBlock, (register, stride): &(Register<u32>, u64)| {
            block.with_array(register, CHANNELS as u64, *stride)
        };
        Rc::new(OF_CHANNELS.iter().fold(block, with))
    }
}

impl Discovered for Pl330 {
    const QOM_TYPES: &'static [&'static str] = &["pl330"];

    fn drives(device: &FoundDevice) -> bool {
        device.is_mapped_one_of(Self::QOM_TYPES)
    }

    fn found(device: &FoundDevice, vm: &Rc<Vm>) -> Result<Self> {
        let registers = Rc::new(Mmio::new(vm, device.base()?, vm.endian()?));
        // The first line is that of faults.
        let pins = (0..CHANNELS).map(|channel| Pin::of(device, channel as u32 + 1)).collect();
        let is_wide = device.number("data_width").is_some_and(|bits| bits >= 64);
        let programs = RefCell::new((0..CHANNELS).map(|_| None).collect());
        let (vm, nowhere) = (vm.clone(), nowhere(device.machine()));
        Ok(Self { vm, registers, pins, nowhere, is_wide, programs })
    }
}

driver!(Pl330 = "pl330"; produces dyn DmaEngine, RegisterBlock);
discovered!(Pl330);
