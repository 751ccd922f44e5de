//! The GPIO controllers of Aspeed's AST2400, AST2500, AST2600 and AST1030: sets of 32 pins, four
//! groups of eight each (AST2500 data sheet, chapter "GPIO Controller"; AST2600 data sheet, the
//! chapter of the same title).

use std::rc::Rc;

use crate::graph::{Discovered, FoundDevice, Produces};
use crate::qemu::Vm;
use crate::qos::gpio::{
    Gpio, Inputs, Outputs, Outside, Ports, Profile, Release, TRIGGERS, Trigger,
};
use crate::qos::interrupt::{InterruptLine, Pin};
use crate::qos::registers::{Fault, Mmio, Register, RegisterBlock, Registers, RegistersExt, Rule};
use crate::{Error, Result, discovered, driver};

/// Where the registers of a set are: data and direction, the seven of interrupts, the latch of
/// outputs, the mask of inputs, and the two of the command source.
struct Places {
    data: u64,
    interrupts: u64,
    source: u64,
    debounce: u64,
    latch: u64,
    mask: u64,
}

/// Those of each set, as the data sheet has them grown over the years.
const PLACES: [Places; 8] = [
    Places { data: 0x00, interrupts: 0x08, source: 0x60, debounce: 0x40, latch: 0xc0, mask: 0x1d0 },
    Places { data: 0x20, interrupts: 0x28, source: 0x68, debounce: 0x48, latch: 0xc4, mask: 0x1d4 },
    Places { data: 0x70, interrupts: 0x98, source: 0x90, debounce: 0xb0, latch: 0xc8, mask: 0xb8 },
    Places {
        data: 0x78,
        interrupts: 0xe8,
        source: 0xe0,
        debounce: 0x100,
        latch: 0xcc,
        mask: 0x108,
    },
    Places {
        data: 0x80,
        interrupts: 0x118,
        source: 0x110,
        debounce: 0x130,
        latch: 0xd0,
        mask: 0x138,
    },
    Places {
        data: 0x88,
        interrupts: 0x148,
        source: 0x140,
        debounce: 0x160,
        latch: 0xd4,
        mask: 0x168,
    },
    Places {
        data: 0x1e0,
        interrupts: 0x178,
        source: 0x170,
        debounce: 0x190,
        latch: 0xd8,
        mask: 0x198,
    },
    Places {
        data: 0x1e8,
        interrupts: 0x1a8,
        source: 0x1a0,
        debounce: 0x1c0,
        latch: 0xdc,
        mask: 0x1c8,
    },
];

/// What a set of a chip is: which pins can be inputs and outputs, and the names of its groups.
pub struct SetOfPins {
    /// Pins that can be inputs.
    pub inputs: u32,
    /// Pins that can be outputs.
    pub outputs: u32,
    /// The names of its groups, pins 0 to 7 first.
    pub groups: &'static [&'static str],
}

const fn set(inputs: u32, outputs: u32, groups: &'static [&'static str]) -> SetOfPins {
    SetOfPins { inputs, outputs, groups }
}

const ALL: u32 = 0xffff_ffff;
/// The sets that all chips with 3.3 V pins have.
const A_TO_P: [SetOfPins; 4] = [
    set(ALL, ALL, &["A", "B", "C", "D"]),
    set(ALL, ALL, &["E", "F", "G", "H"]),
    set(ALL, ALL, &["I", "J", "K", "L"]),
    set(ALL, ALL, &["M", "N", "O", "P"]),
];
/// Sets five and up of each chip. Groups W and X of the AST2400 and AST2500, and T and U of the
/// AST2600, can be inputs only: they share their pins with the converters.
const AST2400: [SetOfPins; 3] = [
    set(ALL, ALL, &["Q", "R", "S", "T"]),
    set(ALL, 0x0000_ffff, &["U", "V", "W", "X"]),
    set(0x0000_000f, 0x0fff_ff0f, &["Y", "Z", "AA", "AB"]),
];
const AST2500: [SetOfPins; 4] = [
    set(ALL, ALL, &["Q", "R", "S", "T"]),
    set(ALL, 0x0000_ffff, &["U", "V", "W", "X"]),
    set(0x0fff_ffff, 0x0fff_ffff, &["Y", "Z", "AA", "AB"]),
    set(0x0000_00ff, 0x0000_00ff, &["AC"]),
];
const AST2600: [SetOfPins; 3] = [
    set(ALL, 0x00ff_ffff, &["Q", "R", "S", "T"]),
    set(ALL, 0xffff_ff00, &["U", "V", "W", "X"]),
    set(0x0000_ffff, 0x0000_ffff, &["Y", "Z"]),
];
/// The second controller of the AST2600, of pins with 1.8 V.
const AST2600_1_8V: [SetOfPins; 2] =
    [set(ALL, ALL, &["18A", "18B", "18C", "18D"]), set(0x0000_000f, 0x0000_000f, &["18E"])];
const AST1030: [SetOfPins; 6] = [
    set(ALL, ALL, &["A", "B", "C", "D"]),
    set(ALL, ALL, &["E", "F", "G", "H"]),
    set(ALL, ALL, &["I", "J", "K", "L"]),
    set(0xffff_ff3f, 0xffff_ff3f, &["M", "N", "O", "P"]),
    set(0xff06_0c1f, 0x0006_0c1f, &["Q", "R", "S", "T"]),
    set(0x0000_00ff, 0, &["U"]),
];

/// The sets of the chip that QEMU's type names.
fn sets_of(device: &FoundDevice) -> Option<Vec<&'static SetOfPins>> {
    let with_first = |more: &'static [SetOfPins]| A_TO_P.iter().chain(more).collect();
    Some(match device.ty.rsplit_once("aspeed.gpio-")?.1 {
        "ast2400" => with_first(&AST2400),
        "ast2500" => with_first(&AST2500),
        "ast2600" => with_first(&AST2600),
        "ast2600-1_8v" => AST2600_1_8V.iter().collect(),
        "ast1030" => AST1030.iter().collect(),
        _ => return None,
    })
}

/// The registers of a set, a bit for each pin.
#[derive(Clone, Copy)]
pub struct SetRegisters {
    /// Data value: what is read are the pins, what is written the latch of outputs.
    pub data: Register<u32>,
    /// Direction: a one is an output.
    pub direction: Register<u32>,
    /// Interrupt enable.
    pub enable: Register<u32>,
    /// Interrupt sensitivity types 0, 1 and 2.
    pub sensitivity: [Register<u32>; 3],
    /// Interrupt status; a one clears.
    pub status: Register<u32>,
    /// Reset tolerant.
    pub tolerant: Register<u32>,
    /// Debounce settings 1 and 2.
    pub debounce: [Register<u32>; 2],
    /// Command source 0 and 1, a bit for each group.
    pub source: [Register<u32>; 2],
    /// Data read: the latch of outputs.
    pub latch: Register<u32>,
    /// Input mask: a one has the data value of an input stay as it is.
    pub mask: Register<u32>,
}

impl SetRegisters {
    fn of(number: usize, pins: &SetOfPins) -> Self {
        let places = &PLACES[number];
        let bits = |name, offset| Register::new(name, offset).section("GPIO registers").reset(0);
        let index = number as u64;
        let at = |register: Register<u32>| register.nth(index, 0);
        // Pins that are no inputs are outputs, whatever is written.
        let fixed = u64::from(pins.outputs & !pins.inputs);
        let both = u64::from(pins.outputs & pins.inputs);
        let kept = |register: Register<u32>| at(register.kept(0xffff_ffff));
        let groups = 0x0101_0101;
        let i = places.interrupts;
        Self {
            data: at(bits("GPIO Data Value", places.data).side_effect().volatile(0xffff_ffff)),
            direction: at(bits("GPIO Direction", places.data + 4).kept(both).reserved(fixed)),
            enable: kept(bits("GPIO Interrupt Enable", i)),
            sensitivity: [
                kept(bits("GPIO Interrupt Sensitivity Type 0", i + 4)),
                kept(bits("GPIO Interrupt Sensitivity Type 1", i + 8)),
                kept(bits("GPIO Interrupt Sensitivity Type 2", i + 0xc)),
            ],
            status: at(bits("GPIO Interrupt Status", i + 0x10).w1c(0xffff_ffff)),
            tolerant: kept(bits("GPIO Reset Tolerant", i + 0x14)),
            debounce: [
                kept(bits("GPIO Debounce Setting 1", places.debounce)),
                kept(bits("GPIO Debounce Setting 2", places.debounce + 4)),
            ],
            source: [
                at(bits("GPIO Command Source 0", places.source).kept(groups).side_effect()),
                at(bits("GPIO Command Source 1", places.source + 4).kept(groups).side_effect()),
            ],
            latch: at(bits("GPIO Data Read", places.latch).volatile(0xffff_ffff)),
            mask: at(bits("GPIO Input Mask", places.mask).kept(pins.inputs.into())),
        }
    }
}

/// The times of debouncing.
const TIMER: Register<u32> = Register::new("Debounce Timer Setting", 0x50)
    .section("GPIO registers")
    .reset(0)
    .kept(0xff_ffff)
    .reserved(0xff00_0000);
/// What QEMU does otherwise.
const FAULTS: &[Fault] = &[Fault::new(
    &["Debounce Timer Setting"],
    &[Rule::MachineReset],
    "a reset of the machine leaves the times of debouncing of QEMU's aspeed.gpio",
)];
/// GPIO index: the registers of one pin in one access (AST2600).
pub const INDEX: Register<u32> = Register::new("GPIO Index", 0x2ac).write_only().side_effect();

/// A set of pins.
pub struct Set {
    vm: Rc<Vm>,
    memory: Rc<Mmio>,
    /// Its number.
    pub number: usize,
    /// Which pins it has.
    pub pins: &'static SetOfPins,
    /// Where its registers are.
    pub at: SetRegisters,
    line: Option<Pin>,
    outside: Outside,
}

impl Set {
    /// The registers of the controller.
    pub fn registers(&self) -> &dyn Registers {
        &*self.memory
    }

    fn set_bit(&self, register: Register<u32>, pin: u32, is_set: bool) -> Result<()> {
        let bits = self.registers().get(register)?;
        let bits = if is_set { bits | 1 << pin } else { bits & !(1 << pin) };
        self.registers().set(register, bits)
    }
}

impl Gpio for Set {
    fn profile(&self) -> Profile {
        Profile {
            pins: self.pins.inputs & self.pins.outputs,
            triggers: &TRIGGERS,
            // The data sheet does not say.
            latches_masked: false,
            reads_pads: false,
            asserts_after_reset: None,
        }
    }

    fn set_outputs(&self, pins: u32) -> Result<()> {
        self.registers().set(self.at.direction, pins)
    }

    fn outputs(&self) -> Result<u32> {
        Ok(self.registers().get(self.at.direction)? & self.profile().pins)
    }

    fn write(&self, levels: u32) -> Result<()> {
        self.registers().set(self.at.data, levels)?;
        let (latch, outputs) = (self.registers().get(self.at.latch)?, self.pins.outputs);
        if latch & outputs != levels & outputs {
            return Err(Error::failed(format!("the latch is {latch:#x}, {levels:#x} was written")));
        }
        Ok(())
    }

    fn write_masked(&self, _: u32, _: u32) -> Result<Option<()>> {
        Ok(None)
    }

    fn read(&self) -> Result<u32> {
        self.registers().get(self.at.data)
    }

    fn set_trigger(&self, pin: u32, trigger: Trigger) -> Result<()> {
        let is_high = matches!(trigger, Trigger::High | Trigger::Rising);
        let is_level = matches!(trigger, Trigger::High | Trigger::Low);
        let bits = [is_high, is_level, trigger == Trigger::Both];
        let registers = self.at.sensitivity.into_iter().zip(bits);
        registers.into_iter().try_for_each(|(register, bit)| self.set_bit(register, pin, bit))
    }

    fn enable(&self, pins: u32) -> Result<()> {
        self.registers().set(self.at.enable, pins)
    }

    fn pending(&self) -> Result<u32> {
        self.registers().get(self.at.status)
    }

    fn clear(&self, pins: u32) -> Result<()> {
        self.registers().set(self.at.status, pins)
    }

    fn interrupt(&self, _: u32) -> Result<Option<InterruptLine>> {
        self.line.as_ref().map(|pin| pin.watch(&self.vm)).transpose()
    }

    fn outside(&self) -> &Outside {
        &self.outside
    }
}

/// QEMU's `aspeed.gpio-*`.
pub struct AspeedGpio {
    /// Its sets.
    pub sets: Vec<Rc<Set>>,
    memory: Rc<Mmio>,
    /// Whether it has the register that is called GPIO index.
    pub has_index: bool,
}

impl Produces<Ports> for AspeedGpio {
    fn produced(self: Rc<Self>) -> Rc<Ports> {
        Rc::new(Ports(self.sets.iter().map(|set| set.clone() as Rc<dyn Gpio>).collect()))
    }
}

impl Produces<RegisterBlock> for AspeedGpio {
    fn produced(self: Rc<Self>) -> Rc<RegisterBlock> {
        let block = RegisterBlock::new("AST2500", self.memory.clone(), &[]);
        let with_set = |block: RegisterBlock, set: &Rc<Set>| {
            let at = &set.at;
            let [zero, one, two] = &at.sensitivity;
            let [first, second] = &at.debounce;
            block.with(&[
                &at.data,
                &at.direction,
                &at.enable,
                zero,
                one,
                two,
                &at.status,
                &at.tolerant,
                first,
                second,
                &at.source[0],
                &at.source[1],
                &at.latch,
                &at.mask,
            ])
        };
        let block = self.sets.iter().fold(block, with_set);
        Rc::new(block.with_array(&TIMER, 3, 4).faults(FAULTS))
    }
}

impl Discovered for AspeedGpio {
    const QOM_TYPES: &'static [&'static str] = &["aspeed.gpio"];

    fn drives(device: &FoundDevice) -> bool {
        device.is_mapped_one_of(Self::QOM_TYPES) && sets_of(device).is_some()
    }

    fn found(device: &FoundDevice, vm: &Rc<Vm>) -> Result<Self> {
        let memory = Rc::new(Mmio::new(vm, device.base()?, vm.endian()?));
        let unknown = || Error::failed(format!("{} has pins that are not known", device.ty));
        let all = sets_of(device).ok_or_else(unknown)?;
        // Line 0 is the interrupt, and one of each pin follows.
        let mut next = 1;
        let mut sets = Vec::new();
        for (number, pins) in all.into_iter().enumerate() {
            let is_pin = |pin: &u32| (pins.inputs | pins.outputs) >> pin & 1 == 1;
            let name = |pin: u32| Some(format!("gpio{}{}", pins.groups[pin as usize / 8], pin % 8));
            let names = (0..32).map(|pin| Some(pin).filter(is_pin).and_then(name)).collect();
            let mut number_of = |pin: u32| {
                let line = is_pin(&pin).then_some(next)?;
                next += 1;
                Some(line)
            };
            let lines = (0..32).map(&mut number_of).collect();
            let (inputs, outputs) = (Inputs::Properties(names), Outputs::Interrupts(lines));
            sets.push(Rc::new(Set {
                vm: vm.clone(),
                memory: memory.clone(),
                number,
                pins,
                at: SetRegisters::of(number, pins),
                line: Pin::of(device, 0),
                outside: Outside::with(vm, device, inputs, Release::None, outputs),
            }));
        }
        Ok(Self { sets, memory, has_index: device.is_a("aspeed.gpio-ast2600") })
    }
}

driver!(AspeedGpio = "aspeed.gpio"; produces Ports, RegisterBlock);
discovered!(AspeedGpio);
