//! The two 8259A programmable interrupt controllers of a PC (Intel, "8259A Programmable Interrupt
//! Controller", order number 231468-003), and the Edge/Level Control Registers of its south bridge
//! (Intel 82371SB data sheet, 2.3.6). Initialization and operation command words are ICW and OCW.

use std::rc::Rc;

use crate::graph::{Discovered, FoundDevice, Produces};
use crate::qemu::Vm;
use crate::qemu::discovery::Space;
use crate::qos::intc::{Inputs, InterruptController, Profile, Trigger};
use crate::qos::interrupt::{InterruptLine, Pin};
use crate::qos::registers::{Ports, Register, RegistersExt};
use crate::{Error, Result, discovered, driver};

/// With address bit 0 low: ICW1, OCW2 and OCW3 are written, IRR, ISR or the poll word is read.
pub const COMMAND: Register<u8> = Register::new("A0 = 0", 0);
/// With address bit 0 high: ICW2 to ICW4 and OCW1, which is the Interrupt Mask Register, IMR.
pub const MASK: Register<u8> = Register::new("A0 = 1", 1);
/// Edge/Level Control: a bit an input, of which ones are levels.
pub const ELCR: Register<u8> = Register::new("ELCR", 0x4d0).section("2.3.6");

/// ICW1: initialize, edges, cascaded, ICW4 follows.
pub const ICW1: u8 = 0x11;
/// ICW4: the CPU is an 8086 or later.
pub const OF_8086: u8 = 0x01;
/// ICW4: interrupts end when they are acknowledged.
pub const AUTO_EOI: u8 = 0x02;
/// ICW4: special fully nested mode, in which the first lets the second interrupt itself.
pub const NESTED: u8 = 0x10;
/// OCW2: end of interrupt, that with the highest priority.
pub const NONSPECIFIC_EOI: u8 = 0x20;
/// OCW2: end of this interrupt.
pub const SPECIFIC_EOI: u8 = 0x60;
/// OCW3: reads give the Interrupt Request Register.
pub const READ_IRR: u8 = 0x0a;
/// OCW3: reads give the In-Service Register.
pub const READ_ISR: u8 = 0x0b;
/// OCW3: the next read acknowledges.
pub const POLL: u8 = 0x0c;
/// What a poll word has if there is an interrupt.
pub const POLLED: u8 = 0x80;

/// The input of the first at which the second is.
pub const CASCADE: u32 = 2;
/// Inputs that cannot be levels: those of the timer, the keyboard, the cascade, the clock and the
/// coprocessor.
const EDGES_ALONE: u32 = 1 << 0 | 1 << 1 | 1 << CASCADE | 1 << 8 | 1 << 13;

/// Both controllers, whose inputs are numbers 0 to 7 and 8 to 15.
pub struct Pair {
    vm: Rc<Vm>,
    chips: [Ports; 2],
    inputs: Inputs,
    pin: Option<Pin>,
}

impl Pair {
    /// The first or the second.
    pub fn chip(&self, number: usize) -> &Ports {
        &self.chips[number]
    }

    /// What is outside of their inputs.
    pub fn inputs(&self) -> &Inputs {
        &self.inputs
    }

    /// A register of one of them that an OCW3 chooses.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    pub fn chosen(&self, number: usize, ocw3: u8) -> Result<u8> {
        self.chips[number].set(COMMAND, ocw3)?;
        self.chips[number].get(COMMAND)
    }

    /// The register of each that an OCW3 chooses, that of the first in the lower half.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    pub fn both(&self, ocw3: u8) -> Result<u32> {
        let [first, second] = [self.chosen(0, ocw3)?, self.chosen(1, ocw3)?];
        Ok(u16::from_le_bytes([first, second]).into())
    }

    /// Initializes both with these bits of ICW4 beside [`OF_8086`].
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    pub fn initialize(&self, icw4: [u8; 2]) -> Result<()> {
        let icw2_and_3 = [[0x20, 1 << CASCADE], [0x28, CASCADE as u8]];
        for (chip, (words, icw4)) in self.chips.iter().zip(icw2_and_3.into_iter().zip(icw4)) {
            chip.set(COMMAND, ICW1)?;
            for word in words.into_iter().chain([OF_8086 | icw4]) {
                chip.set(MASK, word)?;
            }
        }
        Ok(())
    }

    /// Polls one of them, which acknowledges: its input, if there is an interrupt.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer, or the poll word has bits that mean nothing.
    pub fn poll(&self, number: usize) -> Result<Option<u8>> {
        match self.chosen(number, POLL)? {
            0 => Ok(None),
            word @ 0x80..0x88 => Ok(Some(word & 7)),
            word => Err(Error::failed(format!("the poll word is {word:#x}"))),
        }
    }
}

impl InterruptController for Pair {
    fn profile(&self) -> Profile {
        Profile {
            // Those of the second are as urgent as the input that it is at (Cascade Mode).
            inputs: [0, 1].into_iter().chain(8..16).chain(3..8).collect(),
            triggers: &[Trigger::Edge, Trigger::Level],
            ranks: 1,
            acknowledges: true,
            nests: true,
        }
    }

    fn outside(&self) -> &Inputs {
        &self.inputs
    }

    fn make_ready(&self) -> Result<()> {
        self.initialize([NESTED, 0])?;
        let ports = Ports::new(&self.vm, 0);
        ports.set(ELCR, 0)?;
        ports.set(ELCR.nth(1, 1), 0)?;
        self.chips[0].set(MASK, !(1 << CASCADE))?;
        self.chips[1].set(MASK, 0xff)
    }

    fn set_trigger(&self, input: u32, trigger: Trigger) -> Result<bool> {
        let (ports, bit) = (Ports::new(&self.vm, 0), 1 << (input % 8));
        let register = ELCR.nth((input / 8).into(), 1);
        let others = ports.get(register)? & !bit;
        let wanted = if trigger == Trigger::Level { others | bit } else { others };
        ports.set(register, wanted)?;
        let kept = ports.get(register)?;
        let able = trigger == Trigger::Edge || EDGES_ALONE >> input & 1 == 0;
        match if able { wanted } else { others } {
            expected if kept == expected => Ok(able),
            _ => Err(Error::failed(format!("{wanted:#x} is kept as {kept:#x} by {register:?}"))),
        }
    }

    fn set_rank(&self, _: u32, rank: u32) -> Result<()> {
        Err(Error::failed(format!("an 8259A has no priority {rank} of an input")))
    }

    fn enable(&self, input: u32, is_enabled: bool) -> Result<()> {
        let (chip, bit) = (&self.chips[input as usize / 8], 1 << (input % 8));
        let mask = chip.get(MASK)?;
        let wanted = if is_enabled { mask & !bit } else { mask | bit };
        chip.set(MASK, wanted)?;
        match chip.get(MASK)? {
            kept if kept == wanted => Ok(()),
            kept => Err(Error::failed(format!("the mask {wanted:#x} is kept as {kept:#x}"))),
        }
    }

    fn pending(&self) -> Result<Vec<u32>> {
        let requests = self.both(READ_IRR)?;
        Ok((0..16).filter(|it| requests >> it & 1 == 1 && *it != CASCADE).collect())
    }

    fn clear(&self, _: u32) -> Result<bool> {
        Ok(false)
    }

    fn next(&self) -> Result<Option<Option<u32>>> {
        Ok(None)
    }

    fn acknowledge(&self) -> Result<Option<u32>> {
        match self.poll(0)? {
            None => Ok(None),
            Some(2) => match self.poll(1)? {
                Some(input) => Ok(Some(u32::from(input) + 8)),
                // It had one when it told the first (Cascade Mode), whose latch stays set.
                None => {
                    self.chips[0].set(COMMAND, SPECIFIC_EOI | CASCADE as u8)?;
                    self.acknowledge()
                }
            },
            Some(input) => Ok(Some(input.into())),
        }
    }

    fn end(&self, input: u32) -> Result<()> {
        if input >= 8 {
            self.chips[1].set(COMMAND, SPECIFIC_EOI | (input as u8 - 8))?;
            // The first serves the second as long as that serves another.
            if self.chosen(1, READ_ISR)? != 0 {
                return Ok(());
            }
        }
        let of_first = if input >= 8 { CASCADE } else { input };
        self.chips[0].set(COMMAND, SPECIFIC_EOI | of_first as u8)
    }

    fn output(&self) -> Result<Option<InterruptLine>> {
        self.pin.as_ref().map(|pin| pin.watch(&self.vm)).transpose()
    }
}

/// QEMU's `isa-i8259`, both of them.
pub struct I8259 {
    pair: Rc<Pair>,
}

impl I8259 {
    /// Both controllers.
    pub fn pair(&self) -> &Rc<Pair> {
        &self.pair
    }
}

impl Produces<dyn InterruptController> for I8259 {
    fn produced(self: Rc<Self>) -> Rc<dyn InterruptController> {
        self.pair.clone()
    }
}

/// The I/O ports of the two.
const BASES: [u16; 2] = [0x20, 0xa0];

impl Discovered for I8259 {
    const QOM_TYPES: &'static [&'static str] = &["isa-i8259"];

    fn drives(device: &FoundDevice) -> bool {
        device.is_a("isa-i8259")
            && device.number("iobase") == Some(BASES[0].into())
            && device.regions.iter().any(|region| region.space == Space::Ports)
    }

    fn found(device: &FoundDevice, vm: &Rc<Vm>) -> Result<Self> {
        let mut all = device.machine().devices_of("isa-i8259");
        let second = all.find(|it| it.number("iobase") == Some(BASES[1].into()));
        let Some(second) = second else {
            return Err(Error::skipped("this machine has no second 8259A"));
        };
        let chips = vec![(device.path.to_string(), 0), (second.path.to_string(), 8)];
        let pair = Pair {
            vm: vm.clone(),
            chips: BASES.map(|base| Ports::new(vm, base)),
            inputs: Inputs::at(vm, chips),
            pin: Pin::of(device, 0),
        };
        Ok(Self { pair: Rc::new(pair) })
    }
}

driver!(I8259 = "i8259"; produces dyn InterruptController);
discovered!(I8259);
