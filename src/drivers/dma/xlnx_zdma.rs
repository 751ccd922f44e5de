//! A channel of the general-purpose DMA engines of Zynq UltraScale+ (AMD, UG1085, chapter "DMA
//! Controller", and UG1087, module ZDMA).

use std::cell::RefCell;
use std::rc::Rc;

use crate::graph::{Discovered, FoundDevice, Produces};
use crate::protocol::Endian;
use crate::qemu::{Buffer, Vm};
use crate::qos::dma::{DmaEngine, Next, Profile, Step, Transfer, nowhere};
use crate::qos::interrupt::{InterruptLine, Pin};
use crate::qos::registers::{AnyRegister, Mmio, Register, RegisterBlock, Registers, RegistersExt};
use crate::{Error, Result, discovered, driver};

/// A register of the module.
const fn register(name: &'static str, offset: u64) -> Register<u32> {
    Register::new(name, offset).section(name)
}

/// Interrupt status; ones clear.
const STATUS: Register<u32> = register("ZDMA_CH_ISR", 0x100).reset(0).w1c(0xfff);
/// Interrupt mask: ones keep interrupts in.
const MASK: Register<u32> = register("ZDMA_CH_IMR", 0x104).reset(0xfff).read_only();
/// Ones clear bits of the mask, or set them.
const ENABLE: Register<u32> = register("ZDMA_CH_IEN", 0x108).write_only().side_effect();
const DISABLE: Register<u32> = register("ZDMA_CH_IDS", 0x10c).write_only().side_effect();
/// Control.
const CONTROL: Register<u32> = register("ZDMA_CH_CTRL0", 0x110).reset(0x80).kept(0xf8).acts(0x6);
/// What the channel does now.
const STATE: Register<u32> = register("ZDMA_CH_STATUS", 0x11c).reset(0).read_only();
/// How data are read and written.
const DATA: Register<u32> =
    register("ZDMA_CH_DATA_ATTR", 0x120).reset(0x0483_d20f).kept(0x0fff_ffff);
/// The descriptors, of four words each, where they are not in memory.
const SOURCE: Register<u32> = register("ZDMA_CH_SRC_DSCR_WORD0", 0x128).reset(0).kept(0xffff_ffff);
const DESTINATION: Register<u32> =
    register("ZDMA_CH_DST_DSCR_WORD0", 0x138).reset(0).kept(0xffff_ffff);
/// Where they are in memory.
const SOURCE_START: Register<u32> =
    register("ZDMA_CH_SRC_START_LSB", 0x158).reset(0).kept(0xffff_ffff);
const SOURCE_START_HIGH: Register<u32> =
    register("ZDMA_CH_SRC_START_MSB", 0x15c).reset(0).kept(0x1_ffff);
const DESTINATION_START: Register<u32> =
    register("ZDMA_CH_DST_START_LSB", 0x160).reset(0).kept(0xffff_ffff);
const DESTINATION_START_HIGH: Register<u32> =
    register("ZDMA_CH_DST_START_MSB", 0x164).reset(0).kept(0x1_ffff);
/// How many ends of descriptors were told since it was read.
const SOURCE_COUNT: Register<u32> =
    register("ZDMA_CH_IRQ_SRC_ACCT", 0x190).reset(0).clears_on_read();
const DESTINATION_COUNT: Register<u32> =
    register("ZDMA_CH_IRQ_DST_ACCT", 0x194).reset(0).clears_on_read();
/// Starts the channel.
const START: Register<u32> = register("ZDMA_CH_CTRL2", 0x200).reset(0).acts(1);

/// The registers.
const TABLE: &[&dyn AnyRegister] = &[
    &STATUS,
    &MASK,
    &ENABLE,
    &DISABLE,
    &CONTROL,
    &register("ZDMA_CH_CTRL1", 0x114).reset(0x3ff).kept(0x3ff),
    &STATE,
    &DATA,
    &register("ZDMA_CH_DSCR_ATTR", 0x124).reset(0).kept(0x1ff),
    &SOURCE,
    &register("ZDMA_CH_SRC_DSCR_WORD1", 0x12c).reset(0).kept(0x1_ffff),
    &register("ZDMA_CH_SRC_DSCR_WORD2", 0x130).reset(0).kept(0x3fff_ffff),
    &register("ZDMA_CH_SRC_DSCR_WORD3", 0x134).reset(0).kept(0x1f),
    &DESTINATION,
    &register("ZDMA_CH_DST_DSCR_WORD1", 0x13c).reset(0).kept(0x1_ffff),
    &register("ZDMA_CH_DST_DSCR_WORD2", 0x140).reset(0).kept(0x3fff_ffff),
    &register("ZDMA_CH_DST_DSCR_WORD3", 0x144).reset(0).kept(0x5),
    &register("ZDMA_CH_WR_ONLY_WORD0", 0x148).reset(0).kept(0xffff_ffff),
    &register("ZDMA_CH_WR_ONLY_WORD1", 0x14c).reset(0).kept(0xffff_ffff),
    &register("ZDMA_CH_WR_ONLY_WORD2", 0x150).reset(0).kept(0xffff_ffff),
    &register("ZDMA_CH_WR_ONLY_WORD3", 0x154).reset(0).kept(0xffff_ffff),
    &SOURCE_START,
    &SOURCE_START_HIGH,
    &DESTINATION_START,
    &DESTINATION_START_HIGH,
    &register("ZDMA_CH_SRC_CUR_PYLD_LSB", 0x168).reset(0).read_only(),
    &register("ZDMA_CH_DST_CUR_PYLD_LSB", 0x170).reset(0).read_only(),
    &register("ZDMA_CH_SRC_CUR_DSCR_LSB", 0x178).reset(0).read_only(),
    &register("ZDMA_CH_DST_CUR_DSCR_LSB", 0x180).reset(0).read_only(),
    &register("ZDMA_CH_RATE_CNTL", 0x18c).reset(0).kept(0xfff),
    &SOURCE_COUNT,
    &DESTINATION_COUNT,
    &START,
];

/// ISR: the end of a source descriptor that tells it; an error of data or descriptors.
const SOURCE_DONE: u32 = 1 << 1;
const ERRORS: u32 = 0xf << 6;
const ALL: u32 = 0xfff;
/// CTRL0: descriptors are fetched ahead; they are in memory.
const FETCH_AHEAD: u32 = 1 << 7;
const IN_MEMORY: u32 = 1 << 6;
/// STATUS: the channel is busy.
const BUSY: u32 = 2;
/// DATA_ATTR: reads and writes of addresses that increment; else they stay.
const READ_INCREMENT: u32 = 1 << 26;
const WRITE_INCREMENT: u32 = 1 << 12;
const BURSTS: u32 = 3 << 26 | 3 << 12;
/// The last word of a descriptor: the work is over; the end is told; the next one is linked.
const STOP: u32 = 2 << 3;
const TELL: u32 = 1 << 2;
const LINKED: u32 = 1 << 1;
/// Why no list goes on nowhere.
const NOWHERE: &str =
    "QEMU's xlnx.zdma takes what is nowhere for a list of empty pieces without end";
/// Bytes of a linked descriptor in memory.
const LINK: usize = 32;

/// QEMU's `xlnx.zdma`.
pub struct XlnxZdma {
    vm: Rc<Vm>,
    registers: Rc<Mmio>,
    pin: Option<Pin>,
    nowhere: Option<u64>,
    is_wide: bool,
    /// The descriptors of source and destination.
    lists: RefCell<Option<[Buffer; 2]>>,
}

impl XlnxZdma {
    fn registers(&self) -> &dyn Registers {
        &*self.registers
    }

    /// Writes descriptors to memory, the first of them last.
    fn list(&self, work: &[Transfer], next: Next, side: Side) -> Result<(Buffer, u64)> {
        let buffer = self.vm.ram().alloc(work.len() * LINK, 64)?;
        let place = |index: usize| (work.len() - 1 - index) * LINK;
        let address = |index: usize| buffer.address().0 + place(index) as u64;
        for (index, it) in work.iter().enumerate() {
            let is_last = index + 1 == work.len();
            let follows = match next {
                _ if !is_last => address(index + 1),
                Next::End => 0,
                Next::Second => address(1),
                Next::At(_) => return Err(Error::skipped(NOWHERE)),
            };
            let is_end = is_last && next == Next::End && matches!(side, Side::Source);
            let words = descriptor(it, side, if is_end { STOP } else { 0 } | LINKED);
            let link = [follows as u32, (follows >> 32) as u32];
            for (number, word) in words.into_iter().chain(link).enumerate() {
                buffer.write_le32(place(index) + number * 4, word)?;
            }
        }
        let first = address(0);
        Ok((buffer, first))
    }
}

/// Whose descriptor it is.
#[derive(Clone, Copy)]
enum Side {
    Source,
    Destination,
}

/// The four words of a descriptor: address, size, and what is done with it.
fn descriptor(it: &Transfer, side: Side, what: u32) -> [u32; 4] {
    let (address, tells) = match side {
        Side::Source => (it.source, it.tells),
        Side::Destination => (it.destination, false),
    };
    let what = what | if tells { TELL } else { 0 };
    [address as u32, (address >> 32) as u32, it.length as u32, what]
}

impl DmaEngine for XlnxZdma {
    fn profile(&self) -> Profile {
        Profile {
            channels: 1,
            units: &[1],
            fixed_units: if self.is_wide { &[16] } else { &[8] },
            steps: &[
                (Step::Fixed, Step::Increment),
                (Step::Increment, Step::Fixed),
                (Step::Fixed, Step::Fixed),
            ],
            register_unit: 1,
            most: 0x1_2345,
            has_empty: false,
            has_lists: true,
            hangs_on_loops: Some("QEMU's xlnx.zdma goes through a list without end for ever"),
            takes_long: Some("QEMU's xlnx.zdma copies up to 1 GiB at once, eight bytes at a time"),
            always_tells: false,
            latches: true,
            shares_line: false,
        }
    }

    fn nowhere(&self) -> Option<u64> {
        self.nowhere
    }

    fn enable(&self, _: bool) -> Result<Option<()>> {
        Ok(None)
    }

    fn prepare(&self, _: usize, work: &[Transfer], next: Next) -> Result<()> {
        let registers = self.registers();
        let first = work.first().ok_or_else(|| Error::failed("no work"))?;
        let bursts = |step, bit| if step == Step::Increment { bit } else { 0 };
        let data = registers.get(DATA)? & !BURSTS
            | bursts(first.source_step, READ_INCREMENT)
            | bursts(first.destination_step, WRITE_INCREMENT);
        registers.set(DATA, data)?;
        if work.len() == 1 && next == Next::End {
            registers.set(CONTROL, FETCH_AHEAD)?;
            let sides = [(SOURCE, Side::Source), (DESTINATION, Side::Destination)];
            for (register, side) in sides {
                for (number, word) in (0..).zip(descriptor(first, side, 0)) {
                    registers.set(register.nth(number, 4), word)?;
                }
            }
            return Ok(());
        }
        registers.set(CONTROL, FETCH_AHEAD | IN_MEMORY)?;
        let (from, source) = self.list(work, next, Side::Source)?;
        let (to, destination) = self.list(work, next, Side::Destination)?;
        registers.set(SOURCE_START, source as u32)?;
        registers.set(SOURCE_START_HIGH, (source >> 32) as u32)?;
        registers.set(DESTINATION_START, destination as u32)?;
        registers.set(DESTINATION_START_HIGH, (destination >> 32) as u32)?;
        *self.lists.borrow_mut() = Some([from, to]);
        Ok(())
    }

    fn start(&self, _: usize) -> Result<()> {
        self.registers().set(START, 1)
    }

    fn hold(&self, _: usize, _: bool) -> Result<Option<()>> {
        Ok(None)
    }

    fn is_active(&self, _: usize) -> Result<bool> {
        let state = self.registers().get(STATE)? & 3;
        Ok(state == BUSY || self.registers().get(START)? & 1 == 1)
    }

    fn enable_interrupt(&self, _: usize, is_enabled: bool) -> Result<()> {
        self.registers().set(if is_enabled { ENABLE } else { DISABLE }, SOURCE_DONE | ERRORS)
    }

    fn is_done(&self, _: usize) -> Result<bool> {
        Ok(self.registers().get(STATUS)? & SOURCE_DONE != 0)
    }

    fn has_failed(&self, _: usize) -> Result<bool> {
        Ok(self.registers().get(STATUS)? & ERRORS != 0)
    }

    fn clear(&self, _: usize) -> Result<()> {
        self.registers().get(SOURCE_COUNT)?;
        self.registers().get(DESTINATION_COUNT)?;
        self.registers().set(STATUS, ALL)
    }

    fn interrupt(&self, _: usize) -> Result<Option<InterruptLine>> {
        self.pin.as_ref().map(|pin| pin.watch(&self.vm)).transpose()
    }

    fn registers(&self) -> (u64, u64) {
        (self.registers.base(), 0x204)
    }

    fn starting_writes(&self, _: usize) -> Vec<(u64, u32)> {
        vec![(self.registers.base() + START.offset(), 1)]
    }
}

impl Produces<dyn DmaEngine> for XlnxZdma {
    fn produced(self: Rc<Self>) -> Rc<dyn DmaEngine> {
        self
    }
}

impl Produces<RegisterBlock> for XlnxZdma {
    fn produced(self: Rc<Self>) -> Rc<RegisterBlock> {
        Rc::new(RegisterBlock::new("UG1087", self.registers.clone(), TABLE))
    }
}

impl Discovered for XlnxZdma {
    const QOM_TYPES: &'static [&'static str] = &["xlnx.zdma"];

    fn drives(device: &FoundDevice) -> bool {
        device.is_mapped_one_of(Self::QOM_TYPES)
    }

    fn found(device: &FoundDevice, vm: &Rc<Vm>) -> Result<Self> {
        let registers = Rc::new(Mmio::new(vm, device.base()?, Endian::Little));
        let (pin, nowhere) = (Pin::of(device, 0), nowhere(device.machine()));
        let is_wide = device.number("bus-width").is_some_and(|bits| bits > 64);
        Ok(Self { vm: vm.clone(), registers, pin, nowhere, is_wide, lists: RefCell::default() })
    }
}

driver!(XlnxZdma = "xlnx.zdma"; produces dyn DmaEngine, RegisterBlock);
discovered!(XlnxZdma);
