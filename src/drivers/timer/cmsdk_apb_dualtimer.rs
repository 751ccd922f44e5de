//! The dual timer of the Cortex-M System Design Kit (Arm, technical reference manual, DDI 0479D,
//! section 4.5): two counters as the SP804 has them.

use std::rc::Rc;

use super::sp804::{Counter, SECOND, profile, with_counters};
use crate::graph::{Discovered, FoundDevice, Produces};
use crate::qemu::Vm;
use crate::qos::interrupt::Pin;
use crate::qos::registers::{AnyRegister, Mmio, Register, RegisterBlock};
use crate::qos::timer::{Profile, Tick, Timer, Timers, Zero};
use crate::{Result, discovered, driver};

/// A byte of the identification.
const fn id(name: &'static str, offset: u64, value: u64) -> Register<u32> {
    Register::new(name, offset).section("table 4-11").reset(value).read_only()
}

/// The registers that it has besides those of the counters.
const OTHERS: &[&dyn AnyRegister] = &[
    // What is written to TIMERITOP drives the interrupts while this is set.
    &Register::<u32>::new("TIMERITCR", 0xf00).section("table 4-11").reset(0).acts(1),
    &id("TIMERPERIPHID4", 0xfd0, 0x04),
    &id("TIMERPERIPHID5", 0xfd4, 0x00),
    &id("TIMERPERIPHID6", 0xfd8, 0x00),
    &id("TIMERPERIPHID7", 0xfdc, 0x00),
    &id("TIMERPERIPHID0", 0xfe0, 0x23),
    &id("TIMERPERIPHID1", 0xfe4, 0xb8),
    &id("TIMERPERIPHID2", 0xfe8, 0x1b),
    &id("TIMERPERIPHID3", 0xfec, 0x00),
    &id("TIMERPCELLID0", 0xff0, 0x0d),
    &id("TIMERPCELLID1", 0xff4, 0xf0),
    &id("TIMERPCELLID2", 0xff8, 0x05),
    &id("TIMERPCELLID3", 0xffc, 0xb1),
];

/// QEMU's `cmsdk-apb-dualtimer`.
pub struct CmsdkApbDualtimer {
    registers: Rc<Mmio>,
    timers: Vec<Rc<dyn Timer>>,
}

impl Produces<Timers> for CmsdkApbDualtimer {
    fn produced(self: Rc<Self>) -> Rc<Timers> {
        Rc::new(Timers(self.timers.clone()))
    }
}

impl Produces<RegisterBlock> for CmsdkApbDualtimer {
    fn produced(self: Rc<Self>) -> Rc<RegisterBlock> {
        let block = RegisterBlock::new("DDI 0479D", self.registers.clone(), OTHERS);
        Rc::new(with_counters(block))
    }
}

impl Discovered for CmsdkApbDualtimer {
    const QOM_TYPES: &'static [&'static str] = &["cmsdk-apb-dualtimer"];

    fn drives(device: &FoundDevice) -> bool {
        device.is_mapped_one_of(Self::QOM_TYPES)
    }

    fn found(device: &FoundDevice, vm: &Rc<Vm>) -> Result<Self> {
        let base = device.base()?;
        let registers = Rc::new(Mmio::new(vm, base, vm.endian()?));
        let profile = Profile {
            // A counter stays at zero for a tick, before it begins anew.
            extra: 1,
            zero: Zero::Open,
            reset_value: 0xffff_ffff,
            asserts_after_reset: Some(
                "a reset of QEMU's cmsdk-apb-dualtimer does not lower its interrupts",
            ),
            ..profile(Tick::of_clock(vm, device, "TIMCLK")?)
        };
        // The first line is that of both together.
        let pin = |number: u32| Pin::of(device, number + 1).or_else(|| Pin::of(device, 0));
        let timers = [
            Counter::attach(vm, base, pin(0), profile)?,
            Counter::attach(vm, base + SECOND, pin(1), profile)?,
        ];
        Ok(Self { registers, timers: timers.into() })
    }
}

driver!(CmsdkApbDualtimer = "cmsdk-apb-dualtimer"; produces Timers, RegisterBlock);
discovered!(CmsdkApbDualtimer);
