//! The PL080, eight channels (Arm, PrimeCell DMA Controller technical reference manual,
//! DDI 0196G, chapter 3), and the PL081, which has two of them (DDI 0218E).

use std::cell::RefCell;
use std::rc::Rc;

use crate::graph::{Discovered, FoundDevice, Produces};
use crate::qemu::{Buffer, Vm};
use crate::qos::dma::{DmaEngine, Next, Profile, Step, Transfer, nowhere};
use crate::qos::interrupt::{InterruptLine, Pin};
use crate::qos::registers::{
    AnyRegister, Fault, Mmio, Register, RegisterBlock, Registers, RegistersExt, Rule,
};
use crate::{Error, Result, discovered, driver};

/// Interrupt status behind the masks, a bit a channel.
const INT_STATUS: Register<u32> =
    Register::new("DMACIntStatus", 0x000).section("3.4.1").reset(0).read_only();
/// Terminal counts, cleared and before the mask.
const TC_CLEAR: Register<u32> =
    Register::new("DMACIntTCClear", 0x008).section("3.4.3").write_only().side_effect();
const RAW_TC: Register<u32> =
    Register::new("DMACRawIntTCStatus", 0x014).section("3.4.6").reset(0).read_only();
/// Errors.
const ERROR_CLEAR: Register<u32> =
    Register::new("DMACIntErrClr", 0x010).section("3.4.5").write_only().side_effect();
const RAW_ERROR: Register<u32> =
    Register::new("DMACRawIntErrorStatus", 0x018).section("3.4.7").reset(0).read_only();
/// Channels that are enabled.
const ENABLED: Register<u32> =
    Register::new("DMACEnbldChns", 0x01c).section("3.4.8").reset(0).read_only();
/// The whole engine.
const CONFIGURATION: Register<u32> =
    Register::new("DMACConfiguration", 0x030).section("3.4.13").reset(0).acts(7);
/// The registers of a channel.
const SOURCE: Register<u32> =
    Register::new("DMACCxSrcAddr", 0x100).section("3.4.15").reset(0).kept(0xffff_ffff);
const DESTINATION: Register<u32> =
    Register::new("DMACCxDestAddr", 0x104).section("3.4.16").reset(0).kept(0xffff_ffff);
const LIST: Register<u32> =
    Register::new("DMACCxLLI", 0x108).section("3.4.17").reset(0).kept(0xffff_fffc);
/// Widths that are reserved stay out.
const CONTROL: Register<u32> =
    Register::new("DMACCxControl", 0x10c).section("3.4.18").reset(0).kept(0xfc00_ffff);
const CHANNEL: Register<u32> =
    Register::new("DMACCxConfiguration", 0x110).section("3.4.19").reset(0).acts(0x7_ffff);

/// By how much those of the next channel are above.
const STRIDE: u64 = 0x20;

/// A byte of the identification.
const fn id(name: &'static str, offset: u64, value: u64) -> Register<u32> {
    Register::new(name, offset).section("3.4.20").reset(value).read_only()
}

/// The registers that both have.
const TABLE: &[&dyn AnyRegister] = &[
    &INT_STATUS,
    &Register::<u32>::new("DMACIntTCStatus", 0x004).section("3.4.2").reset(0).read_only(),
    &TC_CLEAR,
    &Register::<u32>::new("DMACIntErrorStatus", 0x00c).section("3.4.4").reset(0).read_only(),
    &ERROR_CLEAR,
    &RAW_TC,
    &RAW_ERROR,
    &ENABLED,
    &CONFIGURATION,
    &Register::<u32>::new("DMACSync", 0x034).section("3.4.14").reset(0).kept(0xffff),
    &id("DMACPeriphID1", 0xfe4, 0x10),
    &id("DMACPCellID0", 0xff0, 0x0d),
    &id("DMACPCellID1", 0xff4, 0xf0),
    &id("DMACPCellID2", 0xff8, 0x05),
    &id("DMACPCellID3", 0xffc, 0xb1),
];

/// What QEMU does otherwise.
const FAULTS: &[Fault] = &[Fault::new(
    &["DMACConfiguration", "DMACSync", "DMACCxLLI", "DMACCxControl", "DMACCxConfiguration"],
    &[Rule::ReadOnly, Rule::Kept],
    "QEMU's pl080 keeps what is written to reserved bits",
)];

/// Configuration: it works.
const ENABLE: u32 = 1 << 0;
/// A channel's configuration: it is enabled; its error and its terminal count interrupt; it
/// ignores requests.
const CHANNEL_ENABLE: u32 = 1 << 0;
const INTERRUPTS: u32 = 3 << 14;
const HALT: u32 = 1 << 18;
/// Control: the terminal count is told; the addresses increment; widths in powers of two.
const TELL: u32 = 1 << 31;
const DESTINATION_INCREMENT: u32 = 1 << 27;
const SOURCE_INCREMENT: u32 = 1 << 26;
const DESTINATION_WIDTH: u32 = 21;
const SOURCE_WIDTH: u32 = 18;

/// QEMU's `pl080` and `pl081`.
pub struct Pl080 {
    vm: Rc<Vm>,
    registers: Rc<Mmio>,
    pin: Option<Pin>,
    nowhere: Option<u64>,
    is_pl081: bool,
    /// The lists of the channels.
    lists: RefCell<Vec<Option<Buffer>>>,
}

impl Pl080 {
    fn registers(&self) -> &dyn Registers {
        &*self.registers
    }

    fn channels(&self) -> usize {
        if self.is_pl081 { 2 } else { 8 }
    }

    fn of(channel: usize, register: Register<u32>) -> Register<u32> {
        register.above(channel as u64 * STRIDE)
    }

    /// Changes bits of a channel's configuration.
    fn change(&self, channel: usize, clear: u32, set: u32) -> Result<()> {
        let register = Self::of(channel, CHANNEL);
        let value = self.registers().get(register)?;
        self.registers().set(register, value & !clear | set)
    }

    fn bit(&self, channel: usize, register: Register<u32>) -> Result<bool> {
        Ok(self.registers().get(register)? >> channel & 1 == 1)
    }
}

/// The four words of a piece: source, destination, what follows, control (3.4.15 to 3.4.18).
fn words(it: &Transfer, next: u64) -> Result<[u32; 4]> {
    let narrow = |address| u32::try_from(address).map_err(|_| beyond(address));
    let width = match it.unit {
        1 => 0,
        2 => 1,
        4 => 2,
        unit => return Err(Error::failed(format!("no width is {unit} bytes"))),
    };
    let count = it.length / it.unit;
    if count > 0xfff || !it.length.is_multiple_of(it.unit) {
        return Err(Error::failed(format!("{count} units are too many, or not whole")));
    }
    let increments = |step, bit| if step == Step::Increment { bit } else { 0 };
    let control = count as u32
        | width << SOURCE_WIDTH
        | width << DESTINATION_WIDTH
        | increments(it.source_step, SOURCE_INCREMENT)
        | increments(it.destination_step, DESTINATION_INCREMENT)
        | if it.tells { TELL } else { 0 };
    Ok([narrow(it.source)?, narrow(it.destination)?, narrow(next)?, control])
}

fn beyond(address: u64) -> Error {
    Error::skipped(format!("{address:#x} is beyond the addresses of the engine"))
}

impl DmaEngine for Pl080 {
    fn profile(&self) -> Profile {
        Profile {
            channels: self.channels(),
            units: &[1, 2, 4],
            fixed_units: &[1, 2, 4],
            steps: &[
                (Step::Fixed, Step::Increment),
                (Step::Increment, Step::Fixed),
                (Step::Fixed, Step::Fixed),
            ],
            register_unit: 4,
            most: 0xfff,
            has_empty: false,
            has_lists: true,
            hangs_on_loops: Some("QEMU's pl080 goes through a list without end for ever"),
            takes_long: None,
            always_tells: false,
            latches: true,
            shares_line: true,
        }
    }

    fn nowhere(&self) -> Option<u64> {
        self.nowhere
    }

    fn enable(&self, is_enabled: bool) -> Result<Option<()>> {
        self.registers().set(CONFIGURATION, if is_enabled { ENABLE } else { 0 }).map(Some)
    }

    fn prepare(&self, channel: usize, work: &[Transfer], next: Next) -> Result<()> {
        let (first, further) = work.split_first().ok_or_else(|| Error::failed("no work"))?;
        self.change(channel, CHANNEL_ENABLE | HALT, 0)?;
        // The first piece is in registers.
        let list = self.vm.ram().alloc(further.len() * 16, 16)?;
        let at = |index: usize| match next {
            _ if index < further.len() => list.address().0 + index as u64 * 16,
            Next::End => 0,
            Next::Second => list.address().0,
            Next::At(address) => address,
        };
        for (index, it) in further.iter().enumerate() {
            for (number, word) in words(it, at(index + 1))?.into_iter().enumerate() {
                list.write_le32(index * 16 + number * 4, word)?;
            }
        }
        let registers = [SOURCE, DESTINATION, LIST, CONTROL];
        for (register, word) in registers.into_iter().zip(words(first, at(0))?) {
            self.registers().set(Self::of(channel, register), word)?;
        }
        self.lists.borrow_mut()[channel] = Some(list);
        Ok(())
    }

    fn start(&self, channel: usize) -> Result<()> {
        self.change(channel, 0, CHANNEL_ENABLE)
    }

    fn hold(&self, channel: usize, is_held: bool) -> Result<Option<()>> {
        self.change(channel, HALT, if is_held { HALT } else { 0 }).map(Some)
    }

    fn is_active(&self, channel: usize) -> Result<bool> {
        self.bit(channel, ENABLED)
    }

    fn enable_interrupt(&self, channel: usize, is_enabled: bool) -> Result<()> {
        self.change(channel, INTERRUPTS, if is_enabled { INTERRUPTS } else { 0 })
    }

    fn is_done(&self, channel: usize) -> Result<bool> {
        self.bit(channel, RAW_TC)
    }

    fn has_failed(&self, channel: usize) -> Result<bool> {
        self.bit(channel, RAW_ERROR)
    }

    fn clear(&self, channel: usize) -> Result<()> {
        self.registers().set(TC_CLEAR, 1 << channel)?;
        self.registers().set(ERROR_CLEAR, 1 << channel)
    }

    fn interrupt(&self, _: usize) -> Result<Option<InterruptLine>> {
        self.pin.as_ref().map(|pin| pin.watch(&self.vm)).transpose()
    }

    fn registers(&self) -> (u64, u64) {
        (self.registers.base(), 0x100 + self.channels() as u64 * STRIDE)
    }

    fn starting_writes(&self, channel: usize) -> Vec<(u64, u32)> {
        let at = Self::of(channel, CHANNEL).offset();
        vec![(self.registers.base() + at, CHANNEL_ENABLE)]
    }
}

impl Produces<dyn DmaEngine> for Pl080 {
    fn produced(self: Rc<Self>) -> Rc<dyn DmaEngine> {
        self
    }
}

/// What a channel is to do, as its registers have it (3.4.15 to 3.4.18).
#[derive(Debug, Clone, Copy)]
pub struct Raw {
    /// DMACCxSrcAddr.
    pub source: u32,
    /// DMACCxDestAddr.
    pub destination: u32,
    /// DMACCxLLI.
    pub list: u32,
    /// DMACCxControl.
    pub control: u32,
}

/// DMACCxControl: so many units from addresses that increment, to such; the widths are the codes of
/// their fields. The terminal count is told.
pub const fn control(count: u32, source_width: u32, destination_width: u32) -> u32 {
    count
        | source_width << SOURCE_WIDTH
        | destination_width << DESTINATION_WIDTH
        | SOURCE_INCREMENT
        | DESTINATION_INCREMENT
        | TELL
}

impl Pl080 {
    /// The machine that it is in.
    pub fn vm(&self) -> &Rc<Vm> {
        &self.vm
    }

    /// Writes the registers of a channel that is off, and has both its causes interrupt.
    ///
    /// # Errors
    /// QEMU does not answer.
    pub fn prepare_raw(&self, channel: usize, raw: &Raw) -> Result<()> {
        self.registers().set(Self::of(channel, CHANNEL), INTERRUPTS)?;
        let words = [raw.source, raw.destination, raw.list, raw.control];
        let registers = [SOURCE, DESTINATION, LIST, CONTROL];
        registers.into_iter().zip(words).try_for_each(|(register, word)| {
            self.registers().set(Self::of(channel, register), word)
        })
    }

    /// The registers of a channel as they are.
    ///
    /// # Errors
    /// QEMU does not answer.
    pub fn raw(&self, channel: usize) -> Result<Raw> {
        let get = |register| self.registers().get(Self::of(channel, register));
        Ok(Raw {
            source: get(SOURCE)?,
            destination: get(DESTINATION)?,
            list: get(LIST)?,
            control: get(CONTROL)?,
        })
    }

    /// Enables a channel with one of the eight kinds of flow control (3.4.19).
    ///
    /// # Errors
    /// QEMU does not answer.
    pub fn start_with_flow(&self, channel: usize, flow: u32) -> Result<()> {
        self.change(channel, 0, flow << 11 | CHANNEL_ENABLE)
    }
}

impl Produces<RegisterBlock> for Pl080 {
    fn produced(self: Rc<Self>) -> Rc<RegisterBlock> {
        let part = id("DMACPeriphID0", 0xfe0, if self.is_pl081 { 0x81 } else { 0x80 });
        let block = RegisterBlock::new("DDI 0196G", self.registers.clone(), TABLE).with(&[&part]);
        let channels = [SOURCE, DESTINATION, LIST, CONTROL, CHANNEL];
        let count = self.channels() as u64;
        let with = |block: RegisterBlock, it: &Register<u32>| block.with_array(it, count, STRIDE);
        Rc::new(channels.iter().fold(block, with).faults(FAULTS))
    }
}

impl Discovered for Pl080 {
    const QOM_TYPES: &'static [&'static str] = &["pl080"];

    fn drives(device: &FoundDevice) -> bool {
        device.is_mapped_one_of(Self::QOM_TYPES)
    }

    fn found(device: &FoundDevice, vm: &Rc<Vm>) -> Result<Self> {
        let registers = Rc::new(Mmio::new(vm, device.base()?, vm.endian()?));
        let (pin, nowhere) = (Pin::of(device, 0), nowhere(device.machine()));
        let is_pl081 = device.is_a("pl081");
        let lists = RefCell::new((0..8).map(|_| None).collect());
        Ok(Self { vm: vm.clone(), registers, pin, nowhere, is_pl081, lists })
    }
}

driver!(Pl080 = "pl080"; produces dyn DmaEngine, RegisterBlock);
discovered!(Pl080);
