//! The platform DMA engine of SiFive's FU540 (SiFive, FU540-C000 manual, v1p4, chapter 12).

use std::cell::Cell;
use std::rc::Rc;

use crate::graph::{Discovered, FoundDevice, Produces};
use crate::protocol::Endian;
use crate::qemu::Vm;
use crate::qos::dma::{DmaEngine, Next, Profile, Transfer, nowhere};
use crate::qos::interrupt::{InterruptLine, Pin};
use crate::qos::registers::{
    AnyRegister, Fault, Mmio, Register, RegisterBlock, Registers, RegistersExt, Rule,
};
use crate::{Error, Result, discovered, driver};

/// Control of a channel.
const CONTROL: Register<u32> = Register::new("Control", 0x000)
    .section("12.3")
    .reset(0)
    .kept(0xc000)
    .acts(0xc000_0003)
    .reserved(0x3fff_3ffc);
/// What is to be done next; a claim resets it.
const CONFIGURATION: Register<u32> = Register::new("NextConfig", 0x004).section("12.4");
const BYTES: Register<u64> = Register::new("NextBytes", 0x008).section("12.4");
const DESTINATION: Register<u64> = Register::new("NextDestination", 0x010).section("12.4");
const SOURCE: Register<u64> = Register::new("NextSource", 0x018).section("12.4");

/// The registers of a channel of which a reset value is known.
const OF_CHANNELS: &[&dyn AnyRegister] = &[
    &CONTROL,
    // Nothing keeps what is written before a claim, nor need it be lost.
    &BYTES.reset(0).side_effect(),
    &DESTINATION.reset(0).side_effect(),
    &SOURCE.reset(0).side_effect(),
    &Register::<u32>::new("ExecConfig", 0x104).section("12.5").reset(0).read_only(),
    &Register::<u64>::new("ExecBytes", 0x108).section("12.5").reset(0).read_only(),
    &Register::<u64>::new("ExecDestination", 0x110).section("12.5").reset(0).read_only(),
    &Register::<u64>::new("ExecSource", 0x118).section("12.5").reset(0).read_only(),
];

/// What QEMU does otherwise.
const FAULTS: &[Fault] =
    &[Fault::new(&[], &[Rule::MachineReset], "QEMU's sifive.pdma has no reset")];

const CHANNELS: usize = 4;
/// By how much the registers of the next channel are above.
const STRIDE: u64 = 0x1000;

/// Control: a driver has claimed the channel.
const CLAIM: u32 = 1 << 0;
/// Control: the channel works.
const RUN: u32 = 1 << 1;
/// Control: the end of a transfer and an error interrupt.
const INTERRUPTS: u32 = 3 << 14;
/// Control: a transfer has ended.
const DONE: u32 = 1 << 30;
/// Control: an error has occurred.
const ERROR: u32 = 1 << 31;

/// QEMU's `sifive.pdma`.
pub struct SifivePdma {
    vm: Rc<Vm>,
    registers: Rc<Mmio>,
    pins: Vec<Option<Pin>>,
    nowhere: Option<u64>,
    /// Channels whose interrupts are enabled.
    interrupting: Cell<u32>,
}

impl SifivePdma {
    fn registers(&self) -> &dyn Registers {
        &*self.registers
    }

    fn control(&self, channel: usize) -> Register<u32> {
        CONTROL.above(channel as u64 * STRIDE)
    }

    fn interrupts(&self, channel: usize) -> u32 {
        if self.interrupting.get() >> channel & 1 == 1 { INTERRUPTS } else { 0 }
    }
}

impl DmaEngine for SifivePdma {
    fn profile(&self) -> Profile {
        Profile {
            channels: CHANNELS,
            units: &[1, 2, 4, 8, 32, 64],
            fixed_units: &[],
            steps: &[],
            register_unit: 4,
            most: 0x2345,
            has_empty: true,
            has_lists: false,
            hangs_on_loops: None,
            takes_long: Some("QEMU's sifive.pdma copies up to 2^64 bytes at once"),
            always_tells: true,
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

    fn prepare(&self, channel: usize, work: &[Transfer], next: Next) -> Result<()> {
        let ([it], Next::End) = (work, next) else {
            return Err(Error::failed("this engine does one piece of work"));
        };
        let (registers, above) = (self.registers(), channel as u64 * STRIDE);
        registers.set(self.control(channel), 0)?;
        registers.set(self.control(channel), CLAIM | self.interrupts(channel))?;
        let size = it.unit.trailing_zeros();
        registers.set(CONFIGURATION.above(above), size << 24 | size << 28)?;
        registers.set(BYTES.above(above), it.length)?;
        registers.set(DESTINATION.above(above), it.destination)?;
        registers.set(SOURCE.above(above), it.source)
    }

    fn start(&self, channel: usize) -> Result<()> {
        self.registers().set(self.control(channel), CLAIM | RUN | self.interrupts(channel))
    }

    fn hold(&self, _: usize, _: bool) -> Result<Option<()>> {
        Ok(None)
    }

    fn is_active(&self, channel: usize) -> Result<bool> {
        Ok(self.registers().get(self.control(channel))? & RUN != 0)
    }

    fn enable_interrupt(&self, channel: usize, is_enabled: bool) -> Result<()> {
        let others = self.interrupting.get() & !(1 << channel);
        self.interrupting.set(others | u32::from(is_enabled) << channel);
        let control = self.registers().get(self.control(channel))? & !(INTERRUPTS | RUN);
        if control & CLAIM == 0 {
            return Ok(());
        }
        self.registers().set(self.control(channel), control | self.interrupts(channel))
    }

    fn is_done(&self, channel: usize) -> Result<bool> {
        Ok(self.registers().get(self.control(channel))? & DONE != 0)
    }

    fn has_failed(&self, channel: usize) -> Result<bool> {
        Ok(self.registers().get(self.control(channel))? & ERROR != 0)
    }

    fn clear(&self, channel: usize) -> Result<()> {
        self.registers().set(self.control(channel), CLAIM | self.interrupts(channel))
    }

    fn interrupt(&self, channel: usize) -> Result<Option<InterruptLine>> {
        self.pins[channel].as_ref().map(|pin| pin.watch(&self.vm)).transpose()
    }

    fn registers(&self) -> (u64, u64) {
        (self.registers.base(), 0x120)
    }

    fn starting_writes(&self, channel: usize) -> Vec<(u64, u32)> {
        let control = self.registers.base() + self.control(channel).offset();
        vec![(control, CLAIM | RUN)]
    }
}

impl Produces<dyn DmaEngine> for SifivePdma {
    fn produced(self: Rc<Self>) -> Rc<dyn DmaEngine> {
        self
    }
}

impl Produces<RegisterBlock> for SifivePdma {
    fn produced(self: Rc<Self>) -> Rc<RegisterBlock> {
        let block = RegisterBlock::new("FU540-C000 manual", self.registers.clone(), &[]);
        let with = |block: RegisterBlock, it: &&dyn AnyRegister| {
            block.with_array(*it, CHANNELS as u64, STRIDE)
        };
        Rc::new(OF_CHANNELS.iter().fold(block, with).faults(FAULTS))
    }
}

impl Discovered for SifivePdma {
    const QOM_TYPES: &'static [&'static str] = &["sifive.pdma"];

    fn drives(device: &FoundDevice) -> bool {
        device.is_mapped_one_of(Self::QOM_TYPES)
    }

    fn found(device: &FoundDevice, vm: &Rc<Vm>) -> Result<Self> {
        let registers = Rc::new(Mmio::new(vm, device.base()?, Endian::Little));
        // Each channel has a line for its end and one for errors.
        let pins = (0..CHANNELS).map(|channel| Pin::of(device, channel as u32 * 2)).collect();
        let (vm, nowhere) = (vm.clone(), nowhere(device.machine()));
        Ok(Self { vm, registers, pins, nowhere, interrupting: Cell::new(0) })
    }
}

driver!(SifivePdma = "sifive.pdma"; produces dyn DmaEngine, RegisterBlock);
discovered!(SifivePdma);
