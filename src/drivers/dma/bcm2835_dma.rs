//! The DMA engine of the BCM2835 and its kind (Broadcom, BCM2835 ARM Peripherals, chapter 4).

use std::cell::RefCell;
use std::rc::Rc;

use crate::graph::{Discovered, FoundDevice, Produces};
use crate::qemu::{Buffer, Vm};
use crate::qos::dma::{DmaEngine, Next, Profile, Step, Transfer};
use crate::qos::interrupt::{InterruptLine, Pin};
use crate::qos::registers::{
    AnyRegister, Fault, Mmio, Register, RegisterBlock, Registers, RegistersExt, Rule,
};
use crate::{Error, Result, discovered, driver};

/// Control and status of a channel.
const STATUS: Register<u32> =
    Register::new("CS", 0x00).section("4.2.1.2").reset(0).acts(1).volatile(0x70).side_effect();
/// The address of its control block.
const BLOCK: Register<u32> =
    Register::new("CONBLK_AD", 0x04).section("4.2.1.2").reset(0).kept(0xffff_ffe0);
/// Debug.
const DEBUG: Register<u32> = Register::new("DEBUG", 0x20).section("4.2.1.2").side_effect();
/// Interrupts of all channels.
const INTERRUPTS: Register<u32> =
    Register::new("INT_STATUS", 0xfe0).section("4.2.1.1").reset(0).read_only();
/// Channels that can be used.
const ENABLED: Register<u32> = Register::new("ENABLE", 0xff0)
    .section("4.2.1.1")
    .reset(0x7fff)
    .kept(0x7fff)
    .reserved(0xffff_8000);

/// The registers of a channel.
const OF_CHANNELS: &[&dyn AnyRegister] = &[
    &STATUS,
    &BLOCK,
    &Register::<u32>::new("TI", 0x08).section("4.2.1.2").read_only(),
    &Register::<u32>::new("SOURCE_AD", 0x0c).section("4.2.1.2").read_only(),
    &Register::<u32>::new("DEST_AD", 0x10).section("4.2.1.2").read_only(),
    &Register::<u32>::new("TXFR_LEN", 0x14).section("4.2.1.2").read_only(),
    &Register::<u32>::new("STRIDE", 0x18).section("4.2.1.2").read_only(),
    &Register::<u32>::new("NEXTCONBK", 0x1c).section("4.2.1.2").read_only(),
    &DEBUG,
];

/// What QEMU does otherwise.
const FAULTS: &[Fault] = &[Fault::new(
    &["CONBLK_AD"],
    &[Rule::ReadOnly, Rule::Kept],
    "QEMU's bcm2835-dma keeps what is written to bits 4 to 0 of CONBLK_AD",
)];

/// The channels that the CPU has; the sixteenth is the GPU's.
const CHANNELS: usize = 15;
/// By how much the registers of the next channel are above.
const STRIDE: u64 = 0x100;

/// CS: the channel works; its end and its interrupt, which ones clear; an error; it is reset.
const ACTIVE: u32 = 1 << 0;
const END: u32 = 1 << 1;
const INTERRUPT: u32 = 1 << 2;
const ERROR: u32 = 1 << 8;
const RESET: u32 = 1 << 31;
/// TI: the end interrupts; writes are waited for; the addresses increment.
const TELL: u32 = 1 << 0;
const WAIT: u32 = 1 << 3;
const DESTINATION_INCREMENT: u32 = 1 << 4;
const SOURCE_INCREMENT: u32 = 1 << 8;

/// Where the engine sees RAM without a cache, and peripherals (1.2.3).
const BUS_RAM: u32 = 0xc000_0000;
const BUS_PERIPHERALS: u32 = 0x7e00_0000;
const PERIPHERALS_SIZE: u64 = 0x100_0000;
/// Where its own registers are among those.
const OWN: u64 = 0x7000;
/// Bytes of a control block.
const SIZE: usize = 32;

/// QEMU's `bcm2835-dma`.
pub struct Bcm2835Dma {
    vm: Rc<Vm>,
    registers: Rc<Mmio>,
    pins: Vec<Option<Pin>>,
    /// The control blocks of the channels.
    blocks: RefCell<Vec<Option<Buffer>>>,
}

impl Bcm2835Dma {
    fn registers(&self) -> &dyn Registers {
        &*self.registers
    }

    fn of(channel: usize, register: Register<u32>) -> Register<u32> {
        register.above(channel as u64 * STRIDE)
    }

    fn status(&self, channel: usize) -> Result<u32> {
        self.registers().get(Self::of(channel, STATUS))
    }

    /// The address at which the engine sees what the CPU sees at `address`.
    fn on_bus(&self, address: u64) -> u32 {
        let peripherals = self.registers.base() - OWN;
        match address.checked_sub(peripherals) {
            Some(offset) if offset < PERIPHERALS_SIZE => BUS_PERIPHERALS + offset as u32,
            _ => BUS_RAM | address as u32,
        }
    }

    /// The bus address of the control block that a channel begins with.
    fn first_block(&self, channel: usize) -> Result<u32> {
        let blocks = self.blocks.borrow();
        let none = || Error::failed("a channel was not prepared");
        Ok(self.on_bus(blocks[channel].as_ref().ok_or_else(none)?.address().0))
    }
}

impl DmaEngine for Bcm2835Dma {
    fn profile(&self) -> Profile {
        Profile {
            channels: CHANNELS,
            // The length is one of bytes, but QEMU goes on for ever with one that is not whole
            // words.
            units: &[4],
            fixed_units: &[4],
            steps: &[
                (Step::Fixed, Step::Increment),
                (Step::Increment, Step::Fixed),
                (Step::Fixed, Step::Fixed),
            ],
            register_unit: 4,
            most: 0x3fff,
            has_empty: false,
            has_lists: true,
            hangs_on_loops: Some("QEMU's bcm2835-dma goes through a list without end for ever"),
            takes_long: Some(
                "QEMU's bcm2835-dma copies up to 4 GiB at once, and goes on for ever if the length is odd",
            ),
            always_tells: false,
            latches: false,
            shares_line: false,
        }
    }

    fn nowhere(&self) -> Option<u64> {
        // Every address of the bus is one of RAM or of a peripheral, or seen as such.
        None
    }

    fn enable(&self, _: bool) -> Result<Option<()>> {
        Ok(None)
    }

    fn prepare(&self, channel: usize, work: &[Transfer], next: Next) -> Result<()> {
        self.registers().set(Self::of(channel, STATUS), RESET)?;
        let buffer = self.vm.ram().alloc(work.len() * SIZE, 32)?;
        let at = |index: usize| self.on_bus(buffer.address().0 + (index * SIZE) as u64);
        for (index, it) in work.iter().enumerate() {
            let follows = match next {
                _ if index + 1 < work.len() => at(index + 1),
                Next::End => 0,
                Next::Second => at(1),
                Next::At(address) => address as u32,
            };
            let increments = |step, bit| if step == Step::Increment { bit } else { 0 };
            let information = WAIT
                | increments(it.source_step, SOURCE_INCREMENT)
                | increments(it.destination_step, DESTINATION_INCREMENT)
                | if it.tells { TELL } else { 0 };
            let (from, to) = (self.on_bus(it.source), self.on_bus(it.destination));
            let words = [information, from, to, it.length as u32, 0, follows, 0, 0];
            for (number, word) in words.into_iter().enumerate() {
                buffer.write_le32(index * SIZE + number * 4, word)?;
            }
        }
        self.blocks.borrow_mut()[channel] = Some(buffer);
        self.registers().set(Self::of(channel, BLOCK), self.first_block(channel)?)
    }

    fn start(&self, channel: usize) -> Result<()> {
        self.registers().set(Self::of(channel, STATUS), ACTIVE)
    }

    fn hold(&self, _: usize, _: bool) -> Result<Option<()>> {
        Ok(None)
    }

    fn is_active(&self, channel: usize) -> Result<bool> {
        Ok(self.status(channel)? & ACTIVE != 0)
    }

    fn enable_interrupt(&self, _: usize, _: bool) -> Result<()> {
        // A control block says whether its end interrupts; there is no mask.
        Ok(())
    }

    fn is_done(&self, channel: usize) -> Result<bool> {
        let status = self.status(channel)?;
        let is_done = status & INTERRUPT != 0;
        let interrupts = self.registers().get(INTERRUPTS)?;
        if (interrupts >> channel & 1 == 1) != is_done {
            let text = format!("INT_STATUS is {interrupts:#x}, CS of {channel} {status:#x}");
            return Err(Error::failed(text));
        }
        Ok(is_done)
    }

    fn has_failed(&self, channel: usize) -> Result<bool> {
        Ok(self.status(channel)? & ERROR != 0)
    }

    fn clear(&self, channel: usize) -> Result<()> {
        self.registers().set(Self::of(channel, STATUS), INTERRUPT | END)
    }

    fn interrupt(&self, channel: usize) -> Result<Option<InterruptLine>> {
        self.pins[channel].as_ref().map(|pin| pin.watch(&self.vm)).transpose()
    }

    fn registers(&self) -> (u64, u64) {
        (self.registers.base(), CHANNELS as u64 * STRIDE)
    }

    fn starting_writes(&self, channel: usize) -> Vec<(u64, u32)> {
        let at = |register| self.registers.base() + Self::of(channel, register).offset();
        let block = self.first_block(channel).unwrap_or_default();
        vec![(at(STATUS), RESET), (at(BLOCK), block), (at(STATUS), ACTIVE)]
    }
}

impl Produces<dyn DmaEngine> for Bcm2835Dma {
    fn produced(self: Rc<Self>) -> Rc<dyn DmaEngine> {
        self
    }
}

impl Produces<RegisterBlock> for Bcm2835Dma {
    fn produced(self: Rc<Self>) -> Rc<RegisterBlock> {
        let table: &[&dyn AnyRegister] = &[&INTERRUPTS, &ENABLED];
        let block = RegisterBlock::new("BCM2835 ARM Peripherals", self.registers.clone(), table);
        let with = |block: RegisterBlock, it: &&dyn AnyRegister| {
            block.with_array(*it, CHANNELS as u64, STRIDE)
        };
        Rc::new(OF_CHANNELS.iter().fold(block, with).faults(FAULTS))
    }
}

impl Discovered for Bcm2835Dma {
    const QOM_TYPES: &'static [&'static str] = &["bcm2835-dma"];

    fn drives(device: &FoundDevice) -> bool {
        device.is_mapped_one_of(Self::QOM_TYPES)
    }

    fn found(device: &FoundDevice, vm: &Rc<Vm>) -> Result<Self> {
        let registers = Rc::new(Mmio::new(vm, device.base()?, vm.endian()?));
        let pins = (0..CHANNELS).map(|channel| Pin::of(device, channel as u32)).collect();
        let blocks = RefCell::new((0..CHANNELS).map(|_| None).collect());
        Ok(Self { vm: vm.clone(), registers, pins, blocks })
    }
}

driver!(Bcm2835Dma = "bcm2835-dma"; produces dyn DmaEngine, RegisterBlock);
discovered!(Bcm2835Dma);
