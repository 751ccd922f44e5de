//! The generic interrupt controller of Arm, versions 1 and 2 (Arm, "Generic Interrupt Controller
//! Architecture Specification", IHI 0048B), and that of the ARM11 MPCore (DDI 0360F, chapter 10).

use std::rc::Rc;

use crate::graph::{Discovered, FoundDevice, Produces};
use crate::qemu::Vm;
use crate::qos::intc::{Inputs, InterruptController, Profile, Trigger};
use crate::qos::interrupt::{InterruptLine, Pin};
use crate::qos::registers::{
    AnyRegister, Fault, Mmio, Register, RegisterBlock, RegistersExt, Rule,
};
use crate::{Error, Result, discovered, driver};

/// All bits of a register.
const ALL: u64 = 0xffff_ffff;
/// Distributor: control.
pub const GICD_CTLR: Register<u32> =
    Register::new("GICD_CTLR", 0x000).section("4.3.1").reset(0).kept(1);
/// What the distributor has.
pub const GICD_TYPER: Register<u32> =
    Register::new("GICD_TYPER", 0x004).section("4.3.2").volatile(ALL).read_only();
/// Enables the interrupts whose bits are ones; an array.
pub const GICD_ISENABLER: Register<u32> =
    Register::new("GICD_ISENABLER", 0x100).section("4.3.5").volatile(ALL).side_effect();
/// Disables them.
pub const GICD_ICENABLER: Register<u32> =
    Register::new("GICD_ICENABLER", 0x180).section("4.3.6").volatile(ALL).side_effect();
/// Makes them pending.
pub const GICD_ISPENDR: Register<u32> =
    Register::new("GICD_ISPENDR", 0x200).section("4.3.7").volatile(ALL).side_effect();
/// Makes them pending no more.
pub const GICD_ICPENDR: Register<u32> =
    Register::new("GICD_ICPENDR", 0x280).section("4.3.8").volatile(ALL).side_effect();
/// Which are active, and makes them so.
pub const GICD_ISACTIVER: Register<u32> =
    Register::new("GICD_ISACTIVER", 0x300).section("4.3.9").volatile(ALL).side_effect();
/// Makes them inactive.
pub const GICD_ICACTIVER: Register<u32> =
    Register::new("GICD_ICACTIVER", 0x380).section("4.3.10").volatile(ALL).side_effect();
/// The priority of an interrupt; a byte each, of which a chip need not have the lower half.
pub const GICD_IPRIORITYR: Register<u8> =
    Register::new("GICD_IPRIORITYR", 0x400).section("4.3.11").reset(0).kept(0xf0).volatile(0x0f);
/// The CPUs that an interrupt goes to; a byte each.
pub const GICD_ITARGETSR: Register<u8> =
    Register::new("GICD_ITARGETSR", 0x800).section("4.3.12").reset(0);
/// Two bits of each interrupt, of which the upper tells an edge from a level.
pub const GICD_ICFGR: Register<u32> = Register::new("GICD_ICFGR", 0xc00)
    .section("4.3.13")
    .reset(0)
    .undefined(0x5555_5555)
    .kept(0xaaaa_aaaa);
/// Software interrupts.
pub const GICD_SGIR: Register<u32> =
    Register::new("GICD_SGIR", 0xf00).section("4.3.15").write_only().side_effect();

/// CPU interface: control.
pub const GICC_CTLR: Register<u32> =
    Register::new("GICC_CTLR", 0x00).section("4.4.1").reset(0).kept(1);
/// The priority below which an interrupt must be.
pub const GICC_PMR: Register<u32> =
    Register::new("GICC_PMR", 0x04).section("4.4.2").reset(0).kept(0xf0);
/// The binary point.
pub const GICC_BPR: Register<u32> = Register::new("GICC_BPR", 0x08).section("4.4.3").volatile(7);
/// Acknowledges.
pub const GICC_IAR: Register<u32> =
    Register::new("GICC_IAR", 0x0c).section("4.4.4").volatile(ALL).read_only().read_effect();
/// Ends.
pub const GICC_EOIR: Register<u32> =
    Register::new("GICC_EOIR", 0x10).section("4.4.5").write_only().side_effect();
/// The priority of what is served.
pub const GICC_RPR: Register<u32> =
    Register::new("GICC_RPR", 0x14).section("4.4.6").reset(0xff).volatile(0xff).read_only();
/// The most urgent pending interrupt.
pub const GICC_HPPIR: Register<u32> =
    Register::new("GICC_HPPIR", 0x18).section("4.4.7").reset(0x3ff).volatile(ALL).read_only();

/// Deactivates, where the end only drops the priority.
pub const GICC_DIR: Register<u32> =
    Register::new("GICC_DIR", 0x1000).section("4.4.16").write_only().side_effect();

/// Registers of the distributor that are the same for every one.
const DISTRIBUTOR: &[&dyn AnyRegister] = &[&GICD_CTLR, &GICD_TYPER];

/// What QEMU does otherwise.
const FAULTS: &[Fault] = &[Fault::new(
    &["GICD_ITARGETSR"],
    &[Rule::ReadOnly],
    "QEMU's arm_gic keeps bits of CPUs that it does not have",
)];

/// What QEMU has as the version of the ARM11 MPCore's.
pub const REVISION_OF_ARM11: u64 = 0;
/// The number that stands for no interrupt (3.2.5).
pub const SPURIOUS: u32 = 1023;
/// The first shared peripheral interrupt (2.2.1).
pub const FIRST_SHARED: u32 = 32;

/// The controller as the first CPU sees it.
pub struct Gic {
    vm: Rc<Vm>,
    /// The registers of the distributor.
    pub distributor: Rc<Mmio>,
    /// The registers of the CPU interface.
    pub interface: Rc<Mmio>,
    /// How many interrupts it has, with those that are no inputs.
    pub interrupts: u32,
    /// The version of its architecture, or that of the ARM11 MPCore.
    pub revision: u64,
    /// How many CPUs it serves.
    pub cpus: u32,
    /// Whether [`GICC_DIR`] is where it belongs; a board may have the second page elsewhere.
    pub has_second_page: bool,
    inputs: Inputs,
    pin: Option<Pin>,
    /// Whether accesses that are not secure see no interrupts.
    is_secure: bool,
}

impl Gic {
    /// The machine that it is in.
    pub fn vm(&self) -> &Rc<Vm> {
        &self.vm
    }

    /// Writes the bit of an interrupt to one of the arrays with a bit each.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    pub fn write_bit(&self, array: Register<u32>, interrupt: u32) -> Result<()> {
        self.distributor.set(array.nth((interrupt / 32).into(), 4), 1 << (interrupt % 32))
    }

    /// The bit of an interrupt in one of the arrays with a bit each.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    pub fn bit(&self, array: Register<u32>, interrupt: u32) -> Result<bool> {
        let word = self.distributor.get(array.nth((interrupt / 32).into(), 4))?;
        Ok(word >> (interrupt % 32) & 1 == 1)
    }

    /// All interrupts, in ascending order, whose bits are ones in one of the arrays.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    pub fn ones(&self, array: Register<u32>) -> Result<Vec<u32>> {
        let mut ones = Vec::new();
        for word in 0..self.interrupts.div_ceil(32) {
            let bits = self.distributor.get(array.nth(word.into(), 4))?;
            ones.extend((0..32).filter(|bit| bits >> bit & 1 == 1).map(|bit| word * 32 + bit));
        }
        Ok(ones)
    }

    /// Acknowledges: the number of the interrupt, [`SPURIOUS`] if there is none, and the CPU that
    /// made it by software.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer, or bits that mean nothing are set.
    pub fn take(&self) -> Result<(u32, u32)> {
        let taken = self.interface.get(GICC_IAR)?;
        match taken >> 13 {
            0 => Ok((taken & 0x3ff, taken >> 10)),
            _ => Err(Error::failed(format!("GICC_IAR is {taken:#x}"))),
        }
    }

    fn set_configuration(&self, interrupt: u32, is_edge: bool) -> Result<()> {
        let word = GICD_ICFGR.nth((interrupt / 16).into(), 4);
        let bit = 2 << (interrupt % 16 * 2);
        let others = self.distributor.get(word)? & !bit;
        self.distributor.set(word, if is_edge { others | bit } else { others })
    }
}

impl InterruptController for Gic {
    fn profile(&self) -> Profile {
        Profile {
            inputs: (FIRST_SHARED..self.interrupts).collect(),
            // The ARM11 MPCore latches levels as well (DDI 0360F, 10.3).
            triggers: match self.revision {
                REVISION_OF_ARM11 => &[Trigger::Edge],
                _ => &[Trigger::Level, Trigger::Edge],
            },
            // The lowest priority of the ARM11 MPCore is masked by every mask (10.4.3).
            ranks: if self.revision == REVISION_OF_ARM11 { 15 } else { 16 },
            acknowledges: true,
            nests: true,
        }
    }

    fn outside(&self) -> &Inputs {
        &self.inputs
    }

    fn make_ready(&self) -> Result<()> {
        if self.is_secure {
            return Err(Error::skipped(
                "all interrupts of this controller are secure, and accesses of qtest are not",
            ));
        }
        let registers = &self.distributor;
        registers.set(GICD_CTLR, 0)?;
        for word in 0..u64::from(self.interrupts.div_ceil(32)) {
            for array in [GICD_ICENABLER, GICD_ICPENDR, GICD_ICACTIVER] {
                registers.set(array.nth(word, 4), !0)?;
            }
        }
        for interrupt in 0..self.interrupts {
            if interrupt.is_multiple_of(4) {
                let priority = GICD_IPRIORITYR.offset() + u64::from(interrupt);
                registers.write32(priority, 0x8080_8080)?;
                if interrupt >= FIRST_SHARED {
                    registers
                        .write32(GICD_ITARGETSR.offset() + u64::from(interrupt), 0x0101_0101)?;
                }
            }
            if interrupt.is_multiple_of(16) && interrupt >= FIRST_SHARED {
                registers.set(GICD_ICFGR.nth((interrupt / 16).into(), 4), 0)?;
            }
        }
        self.interface.set(GICC_PMR, 0xf8)?;
        self.interface.set(GICC_BPR, 0)?;
        self.interface.set(GICC_CTLR, 1)?;
        registers.set(GICD_CTLR, 1)
    }

    fn set_trigger(&self, input: u32, trigger: Trigger) -> Result<bool> {
        self.set_configuration(input, trigger == Trigger::Edge)?;
        Ok(true)
    }

    fn set_rank(&self, input: u32, rank: u32) -> Result<()> {
        // The lowest priority is masked whatever the mask is (4.4.2).
        let priority = (rank as u8) << 4;
        let register = GICD_IPRIORITYR.nth(input.into(), 1);
        self.distributor.set(register, priority)?;
        match self.distributor.get(register)? {
            kept if kept == priority => Ok(()),
            kept => Err(Error::failed(format!("the priority {priority:#x} is kept as {kept:#x}"))),
        }
    }

    fn enable(&self, input: u32, is_enabled: bool) -> Result<()> {
        let array = if is_enabled { GICD_ISENABLER } else { GICD_ICENABLER };
        self.write_bit(array, input)?;
        let told = (self.bit(GICD_ISENABLER, input)?, self.bit(GICD_ICENABLER, input)?);
        if told == (is_enabled, is_enabled) {
            return Ok(());
        }
        Err(Error::failed(format!("after {array:?}, interrupt {input} is enabled: {told:?}")))
    }

    fn pending(&self) -> Result<Vec<u32>> {
        let (set, clear) = (self.ones(GICD_ISPENDR)?, self.ones(GICD_ICPENDR)?);
        if set != clear {
            return Err(Error::failed(format!("GICD_ISPENDR is {set:?}, GICD_ICPENDR {clear:?}")));
        }
        Ok(set)
    }

    fn clear(&self, input: u32) -> Result<bool> {
        self.write_bit(GICD_ICPENDR, input)?;
        Ok(true)
    }

    fn next(&self) -> Result<Option<Option<u32>>> {
        let next = self.interface.get(GICC_HPPIR)?;
        Ok(Some((next != SPURIOUS).then_some(next)))
    }

    fn acknowledge(&self) -> Result<Option<u32>> {
        match self.take()? {
            (SPURIOUS, 0) => Ok(None),
            (interrupt, 0) => Ok(Some(interrupt)),
            other => Err(Error::failed(format!("GICC_IAR tells a CPU with an input: {other:?}"))),
        }
    }

    fn end(&self, input: u32) -> Result<()> {
        self.interface.set(GICC_EOIR, input)
    }

    fn output(&self) -> Result<Option<InterruptLine>> {
        self.pin.as_ref().map(|pin| pin.watch(&self.vm)).transpose()
    }
}

/// QEMU's `arm_gic`.
pub struct ArmGic {
    gic: Rc<Gic>,
}

impl ArmGic {
    /// The controller.
    pub fn gic(&self) -> &Rc<Gic> {
        &self.gic
    }
}

impl Produces<dyn InterruptController> for ArmGic {
    fn produced(self: Rc<Self>) -> Rc<dyn InterruptController> {
        self.gic.clone()
    }
}

impl Produces<RegisterBlock> for ArmGic {
    fn produced(self: Rc<Self>) -> Rc<RegisterBlock> {
        let gic = &self.gic;
        let block =
            RegisterBlock::new("IHI 0048B", gic.distributor.clone(), DISTRIBUTOR).faults(FAULTS);
        if gic.is_secure {
            return Rc::new(block);
        }
        let (inputs, first) = (u64::from(gic.interrupts - FIRST_SHARED), FIRST_SHARED.into());
        let block = block.with_array(&GICD_IPRIORITYR.nth(first, 1), inputs, 1);
        if gic.revision == REVISION_OF_ARM11 {
            return Rc::new(block);
        }
        // Version 2 has groups without the Security Extensions as well.
        let control = if gic.revision == 2 { GICD_CTLR.kept(3) } else { GICD_CTLR };
        // One without a choice of CPUs has no bits for it (4.3.12).
        let target = match gic.cpus {
            1 => GICD_ITARGETSR.read_only(),
            cpus => GICD_ITARGETSR.kept((1 << cpus) - 1),
        };
        let block = block.replace(&control).with_array(&target.nth(first, 1), inputs, 1);
        let word = GICD_ICFGR.nth(u64::from(FIRST_SHARED) / 16, 4);
        Rc::new(block.with_array(&word, inputs / 16, 4))
    }
}

impl Discovered for ArmGic {
    const QOM_TYPES: &'static [&'static str] = &["arm_gic"];

    fn drives(device: &FoundDevice) -> bool {
        device.is_mapped_one_of(Self::QOM_TYPES)
    }

    fn found(device: &FoundDevice, vm: &Rc<Vm>) -> Result<Self> {
        let find = |name| device.region(name).ok_or_else(|| device.unreachable());
        let region = |name| Ok::<_, Error>(Rc::new(Mmio::new(vm, find(name)?.base, vm.endian()?)));
        let number = |name: &str| device.number(name).unwrap_or(0);
        let gic = Gic {
            vm: vm.clone(),
            distributor: region("gic_dist")?,
            interface: region("gic_cpu")?,
            interrupts: number("num-irq") as u32,
            revision: number("revision"),
            cpus: number("num-cpu") as u32,
            has_second_page: find("gic_cpu")?.size() > GICC_DIR.offset(),
            inputs: Inputs::at(vm, vec![(device.path.to_string(), FIRST_SHARED)]),
            pin: Pin::of(device, 0),
            is_secure: device.property("has-security-extensions") == Some("true"),
        };
        Ok(Self { gic: Rc::new(gic) })
    }
}

driver!(ArmGic = "arm_gic"; produces dyn InterruptController, RegisterBlock);
discovered!(ArmGic);
