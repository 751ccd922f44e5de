//! The PL190, a vectored interrupt controller of 32 inputs (Arm, PrimeCell Vectored Interrupt
//! Controller technical reference manual, DDI 0181E, chapter 3).

use std::cell::RefCell;
use std::rc::Rc;

use crate::graph::{Discovered, FoundDevice, Produces};
use crate::qemu::Vm;
use crate::qos::intc::{Inputs, InterruptController, Profile, Trigger};
use crate::qos::interrupt::{InterruptLine, Pin};
use crate::qos::registers::{AnyRegister, Mmio, Register, RegisterBlock, RegistersExt};
use crate::{Error, Result, discovered, driver};

/// Interrupts that are enabled and go to IRQ.
const IRQ_STATUS: Register<u32> =
    Register::new("VICIRQSTATUS", 0x000).section("3.3.1").reset(0).read_only();
/// Interrupts that are enabled and go to FIQ.
const FIQ_STATUS: Register<u32> =
    Register::new("VICFIQSTATUS", 0x004).section("3.3.2").reset(0).read_only();
/// Interrupts, enabled or not.
const RAW: Register<u32> =
    Register::new("VICRAWINTR", 0x008).section("3.3.3").volatile(0xffff_ffff).read_only();
/// Which go to FIQ.
const SELECT: Register<u32> =
    Register::new("VICINTSELECT", 0x00c).section("3.3.4").reset(0).kept(0xffff_ffff);
/// Enables.
const ENABLE: Register<u32> = Register::new("VICINTENABLE", 0x010)
    .section("3.3.5")
    .reset(0)
    .w1s(0xffff_ffff)
    .cleared_through(CLEAR);
/// Disables.
const CLEAR: Register<u32> =
    Register::new("VICINTENCLEAR", 0x014).section("3.3.6").write_only().side_effect();
/// Interrupts that software raises.
const SOFT: Register<u32> = Register::new("VICSOFTINT", 0x018)
    .section("3.3.7")
    .reset(0)
    .w1s(0xffff_ffff)
    .cleared_through(SOFT_CLEAR);
/// Takes those away.
const SOFT_CLEAR: Register<u32> =
    Register::new("VICSOFTINTCLEAR", 0x01c).section("3.3.8").write_only().side_effect();
/// Protection. Accesses of qtest are privileged.
const PROTECTION: Register<u32> =
    Register::new("VICPROTECTION", 0x020).section("3.3.9").reset(0).kept(1);
/// The vector of the most urgent interrupt; a read begins its service, a write ends it.
const VECTOR: Register<u32> =
    Register::new("VICVECTADDR", 0x030).section("3.3.10").read_effect().side_effect();
/// The vector of interrupts that have none.
const DEFAULT: Register<u32> =
    Register::new("VICDEFVECTADDR", 0x034).section("3.3.11").reset(0).kept(0xffff_ffff);
/// The vectors, of which the first is the most urgent.
const VECTORS: Register<u32> =
    Register::new("VICVECTADDR0", 0x100).section("3.3.12").reset(0).kept(0xffff_ffff);
/// Whose they are.
const CONTROLS: Register<u32> =
    Register::new("VICVECTCNTL0", 0x200).section("3.3.13").reset(0).kept(0x3f);

/// A byte of the identification.
const fn id(name: &'static str, offset: u64, value: u64) -> Register<u32> {
    Register::new(name, offset).section("3.3.14").reset(value).read_only()
}

const TABLE: &[&dyn AnyRegister] = &[
    &IRQ_STATUS,
    &FIQ_STATUS,
    &RAW,
    &SELECT,
    &ENABLE,
    &CLEAR,
    &SOFT,
    &SOFT_CLEAR,
    &PROTECTION,
    &VECTOR,
    &DEFAULT,
    &id("VICPERIPHID0", 0xfe0, 0x90),
    &id("VICPERIPHID1", 0xfe4, 0x11),
    &id("VICPERIPHID2", 0xfe8, 0x04),
    &id("VICPERIPHID3", 0xfec, 0x00),
    &id("VICPCELLID0", 0xff0, 0x0d),
    &id("VICPCELLID1", 0xff4, 0xf0),
    &id("VICPCELLID2", 0xff8, 0x05),
    &id("VICPCELLID3", 0xffc, 0xb1),
];

/// How many vectors there are.
const COUNT: u32 = 16;
/// VICVECTCNTL: the vector is used.
const USED: u32 = 1 << 5;

/// The input that has a vector, by the number of that: each has one, in no order.
const fn input_of(vector: u32) -> u32 {
    (vector * 5 + 3) % 32
}

/// What a vector is.
const fn address_of(input: u32) -> u32 {
    0x4567_0001 + (input << 8)
}

/// The controller, of which the inputs that have vectors are used.
struct Vic {
    vm: Rc<Vm>,
    registers: Rc<Mmio>,
    inputs: Inputs,
    pin: Option<Pin>,
    /// The vectors whose interrupts are served, the last begun last.
    served: RefCell<Vec<u32>>,
}

impl InterruptController for Vic {
    fn profile(&self) -> Profile {
        Profile {
            inputs: (0..COUNT).map(input_of).collect(),
            triggers: &[Trigger::Level],
            ranks: 1,
            acknowledges: true,
            nests: true,
        }
    }

    fn outside(&self) -> &Inputs {
        &self.inputs
    }

    fn make_ready(&self) -> Result<()> {
        // What is served still is ended.
        for _ in 0..self.served.take().len() {
            self.registers.set(VECTOR, 0)?;
        }
        self.registers.set(CLEAR, !0)?;
        self.registers.set(SOFT_CLEAR, !0)?;
        self.registers.set(SELECT, 0)?;
        self.registers.set(DEFAULT, 0)?;
        for vector in 0..COUNT {
            let input = input_of(vector);
            self.registers.set(VECTORS.nth(vector.into(), 4), address_of(input))?;
            self.registers.set(CONTROLS.nth(vector.into(), 4), USED | input)?;
        }
        Ok(())
    }

    fn set_trigger(&self, _: u32, trigger: Trigger) -> Result<bool> {
        Ok(trigger == Trigger::Level)
    }

    fn set_rank(&self, _: u32, rank: u32) -> Result<()> {
        Err(Error::failed(format!("this driver gives no input the priority {rank}")))
    }

    fn enable(&self, input: u32, is_enabled: bool) -> Result<()> {
        self.registers.set(if is_enabled { ENABLE } else { CLEAR }, 1 << input)?;
        match self.registers.get(ENABLE)? {
            all if (all >> input & 1 == 1) == is_enabled => Ok(()),
            all => Err(Error::failed(format!("VICINTENABLE is {all:#x}, {input} {is_enabled}"))),
        }
    }

    fn pending(&self) -> Result<Vec<u32>> {
        let (raw, enabled) = (self.registers.get(RAW)?, self.registers.get(ENABLE)?);
        let status = [self.registers.get(IRQ_STATUS)?, self.registers.get(FIQ_STATUS)?];
        if status != [raw & enabled, 0] {
            let what = format!("{status:x?} are told to the CPU, of {raw:#x}, {enabled:#x}");
            return Err(Error::failed(what));
        }
        Ok((0..32).filter(|input| raw >> input & 1 == 1).collect())
    }

    fn clear(&self, _: u32) -> Result<bool> {
        Ok(false)
    }

    fn next(&self) -> Result<Option<Option<u32>>> {
        Ok(None)
    }

    fn acknowledge(&self) -> Result<Option<u32>> {
        let status = self.registers.get(IRQ_STATUS)?;
        let first = (0..COUNT).find(|vector| status >> input_of(*vector) & 1 == 1);
        let mut served = self.served.borrow_mut();
        // A read that nothing interrupts for has no meaning (3.3.10).
        let Some(vector) = first.filter(|it| served.last().is_none_or(|last| it < last)) else {
            return Ok(None);
        };
        let told = self.registers.get(VECTOR)?;
        let input = (0..COUNT).map(input_of).find(|input| address_of(*input) == told);
        let Some(input) = input else {
            return Err(Error::failed(format!("VICVECTADDR is {told:#x}, which is no vector")));
        };
        served.push(vector);
        Ok(Some(input))
    }

    fn end(&self, _: u32) -> Result<()> {
        self.served.borrow_mut().pop();
        self.registers.set(VECTOR, 0)
    }

    fn output(&self) -> Result<Option<InterruptLine>> {
        self.pin.as_ref().map(|pin| pin.watch(&self.vm)).transpose()
    }
}

/// QEMU's `pl190`.
pub struct Pl190 {
    vic: Rc<Vic>,
}

impl Produces<dyn InterruptController> for Pl190 {
    fn produced(self: Rc<Self>) -> Rc<dyn InterruptController> {
        self.vic.clone()
    }
}

impl Produces<RegisterBlock> for Pl190 {
    fn produced(self: Rc<Self>) -> Rc<RegisterBlock> {
        let block = RegisterBlock::new("DDI 0181E", self.vic.registers.clone(), TABLE);
        let block = block.with_array(&VECTORS, COUNT.into(), 4);
        Rc::new(block.with_array(&CONTROLS, COUNT.into(), 4))
    }
}

impl Discovered for Pl190 {
    const QOM_TYPES: &'static [&'static str] = &["pl190"];

    fn drives(device: &FoundDevice) -> bool {
        device.is_mapped_one_of(Self::QOM_TYPES)
    }

    fn found(device: &FoundDevice, vm: &Rc<Vm>) -> Result<Self> {
        let vic = Vic {
            vm: vm.clone(),
            registers: Rc::new(Mmio::new(vm, device.base()?, vm.endian()?)),
            inputs: Inputs::new(vm, device),
            pin: Pin::of(device, 0),
            served: RefCell::default(),
        };
        Ok(Self { vic: Rc::new(vic) })
    }
}

driver!(Pl190 = "pl190"; produces dyn InterruptController, RegisterBlock);
discovered!(Pl190);
