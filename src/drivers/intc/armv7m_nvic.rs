//! The nested vectored interrupt controller of a Cortex-M (Arm, "ARMv7-M Architecture Reference
//! Manual", DDI 0403E, B3.4). Interrupts are taken by a CPU that runs alone, so that software
//! sees here which is the most urgent, and clears it.

use std::rc::Rc;

use crate::graph::{Discovered, FoundDevice, Produces};
use crate::protocol::Endian;
use crate::qemu::Vm;
use crate::qos::intc::{Inputs, InterruptController, Profile, Trigger};
use crate::qos::interrupt::InterruptLine;
use crate::qos::registers::{Mmio, Register, Registers, RegistersExt};
use crate::{Error, Result, discovered, driver};

/// The System Control Space (B3.2.1).
const BASE: u64 = 0xe000_e000;
/// Enables the interrupts whose bits are ones; an array.
const NVIC_ISER: Register<u32> = Register::new("NVIC_ISER", 0x100).section("B3.4.4");
/// Disables them.
const NVIC_ICER: Register<u32> = Register::new("NVIC_ICER", 0x180).section("B3.4.5");
/// Makes them pending.
const NVIC_ISPR: Register<u32> = Register::new("NVIC_ISPR", 0x200).section("B3.4.6");
/// Makes them pending no more.
const NVIC_ICPR: Register<u32> = Register::new("NVIC_ICPR", 0x280).section("B3.4.7");
/// The priority of an interrupt; a byte each.
const NVIC_IPR: Register<u8> = Register::new("NVIC_IPR", 0x400).section("B3.4.9");
/// Interrupt Control and State.
const ICSR: Register<u32> = Register::new("ICSR", 0xd04).section("B3.2.4");
/// ICSR: whether an external interrupt is pending, and the number of the most urgent exception.
const ISRPENDING: u32 = 1 << 22;
const VECTPENDING: u32 = 0x1ff << 12;
/// The exception number of the first external interrupt (B1.5.2).
const FIRST: u32 = 16;

/// CPUs with the Security Extension, after whose reset all interrupts belong to secure software.
const SECURE: &[&str] = &["cortex-m33", "cortex-m55"];

/// The controller.
struct Nvic {
    registers: Rc<Mmio>,
    count: u32,
    inputs: Inputs,
    /// Whether secure software alone sees its interrupts (Armv8-M with the Security Extension).
    is_secure: bool,
}

impl Nvic {
    fn registers(&self) -> &dyn Registers {
        &*self.registers
    }

    fn word(array: Register<u32>, input: u32) -> (Register<u32>, u32) {
        (array.nth((input / 32).into(), 4), 1 << (input % 32))
    }

    fn ones(&self, array: Register<u32>) -> Result<Vec<u32>> {
        let mut ones = Vec::new();
        for first in (0..self.count).step_by(32) {
            let (word, _) = Self::word(array, first);
            let bits = self.registers().get(word)?;
            ones.extend((0..32).filter(|bit| bits >> bit & 1 == 1).map(|bit| first + bit));
        }
        Ok(ones)
    }
}

impl InterruptController for Nvic {
    fn profile(&self) -> Profile {
        Profile {
            inputs: (0..self.count).collect(),
            triggers: &[Trigger::Edge],
            // Every implementation has the upper two bits (B3.4.9: at least three in Armv7-M).
            ranks: 4,
            acknowledges: false,
            nests: false,
        }
    }

    fn outside(&self) -> &Inputs {
        &self.inputs
    }

    fn make_ready(&self) -> Result<()> {
        if self.is_secure {
            return Err(Error::skipped("its interrupts are secure, and accesses of qtest are not"));
        }
        for first in (0..self.count).step_by(32) {
            let (pending, _) = Self::word(NVIC_ICPR, first);
            self.registers().set(pending, !0)?;
            let (enable, _) = Self::word(NVIC_ICER, first);
            self.registers().set(enable, !0)?;
        }
        for input in 0..self.count {
            self.registers().set(NVIC_IPR.nth(input.into(), 1), 0)?;
        }
        Ok(())
    }

    fn set_trigger(&self, _: u32, trigger: Trigger) -> Result<bool> {
        Ok(trigger == Trigger::Edge)
    }

    fn set_rank(&self, input: u32, rank: u32) -> Result<()> {
        let (register, priority) = (NVIC_IPR.nth(input.into(), 1), (rank as u8) << 6);
        self.registers().set(register, priority)?;
        match self.registers().get(register)? {
            kept if kept == priority => Ok(()),
            kept => Err(Error::failed(format!("the priority {priority:#x} is kept as {kept:#x}"))),
        }
    }

    fn enable(&self, input: u32, is_enabled: bool) -> Result<()> {
        let (array, bit) = Self::word(if is_enabled { NVIC_ISER } else { NVIC_ICER }, input);
        self.registers().set(array, bit)?;
        let told = [NVIC_ISER, NVIC_ICER].map(|array| {
            let (word, bit) = Self::word(array, input);
            Ok::<_, Error>(self.registers().get(word)? & bit != 0)
        });
        let [set, clear] = told;
        match (set?, clear?) {
            told if told == (is_enabled, is_enabled) => Ok(()),
            told => {
                let what = format!("after {array:?}, interrupt {input} is enabled: {told:?}");
                Err(Error::failed(what))
            }
        }
    }

    fn pending(&self) -> Result<Vec<u32>> {
        let (set, clear) = (self.ones(NVIC_ISPR)?, self.ones(NVIC_ICPR)?);
        if set != clear {
            return Err(Error::failed(format!("NVIC_ISPR is {set:?}, NVIC_ICPR {clear:?}")));
        }
        let is_pending = self.registers().get(ICSR)? & ISRPENDING != 0;
        if is_pending == set.is_empty() {
            return Err(Error::failed(format!("ISRPENDING is {is_pending}, with {set:?}")));
        }
        Ok(set)
    }

    fn clear(&self, input: u32) -> Result<bool> {
        let (word, bit) = Self::word(NVIC_ICPR, input);
        self.registers().set(word, bit)?;
        Ok(true)
    }

    fn next(&self) -> Result<Option<Option<u32>>> {
        match (self.registers().get(ICSR)? & VECTPENDING) >> 12 {
            0 => Ok(Some(None)),
            exception if exception >= FIRST => Ok(Some(Some(exception - FIRST))),
            exception => Err(Error::failed(format!("exception {exception} is pending"))),
        }
    }

    fn acknowledge(&self) -> Result<Option<u32>> {
        Err(Error::failed("a CPU that runs alone acknowledges interrupts of an NVIC"))
    }

    fn end(&self, input: u32) -> Result<()> {
        Err(Error::failed(format!("interrupt {input} of an NVIC is not served")))
    }

    fn output(&self) -> Result<Option<InterruptLine>> {
        Ok(None)
    }
}

/// QEMU's `armv7m_nvic`, that of the first CPU.
pub struct Armv7mNvic {
    nvic: Rc<Nvic>,
}

impl Produces<dyn InterruptController> for Armv7mNvic {
    fn produced(self: Rc<Self>) -> Rc<dyn InterruptController> {
        self.nvic.clone()
    }
}

impl Discovered for Armv7mNvic {
    const QOM_TYPES: &'static [&'static str] = &["armv7m_nvic"];

    fn drives(device: &FoundDevice) -> bool {
        let mut all = device.machine().devices_of("armv7m_nvic");
        device.is_mapped_one_of(Self::QOM_TYPES)
            && all.next().is_some_and(|first| first.path == device.path)
    }

    fn found(device: &FoundDevice, vm: &Rc<Vm>) -> Result<Self> {
        // The core has passed its inputs on to the container.
        let core = device.parent();
        let inputs = Inputs::new(vm, core.as_ref().unwrap_or(device));
        let cpu = core.as_ref().and_then(|core| core.property("cpu-type")).unwrap_or_default();
        let is_secure = SECURE.iter().any(|secure| cpu.contains(secure));
        // QEMU counts the exceptions of the core among them.
        let count = device.number("num-irq").and_then(|it| it.checked_sub(FIRST.into()));
        let Some(count) = count else {
            return Err(Error::skipped("QEMU does not tell how many interrupts it has"));
        };
        let registers = Rc::new(Mmio::new(vm, BASE, Endian::Little));
        let count = count as u32;
        Ok(Self { nvic: Rc::new(Nvic { registers, count, inputs, is_secure }) })
    }
}

driver!(Armv7mNvic = "armv7m_nvic"; produces dyn InterruptController);
discovered!(Armv7mNvic);
