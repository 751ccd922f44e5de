//! What an Arm GIC does beyond its inputs: software interrupts, masks by priority and groups of
//! priorities, active and pending bits that software writes, targets, and ends in two steps.

use std::rc::Rc;

use crate::drivers::intc::arm_gic::{
    ArmGic, FIRST_SHARED, GICC_BPR, GICC_CTLR, GICC_DIR, GICC_EOIR, GICC_HPPIR, GICC_PMR, GICC_RPR,
    GICD_CTLR, GICD_ICACTIVER, GICD_ICENABLER, GICD_ICPENDR, GICD_IPRIORITYR, GICD_ISACTIVER,
    GICD_ISENABLER, GICD_ISPENDR, GICD_ITARGETSR, GICD_SGIR, Gic, REVISION_OF_ARM11, SPURIOUS,
};
use crate::qemu::Vm;
use crate::qos::intc::{InterruptController, Trigger};
use crate::qos::interrupt::InterruptLine;
use crate::qos::registers::RegistersExt;
use crate::{Error, Result, tests};

tests!(ArmGic, "arm_gic-tests":
    software_interrupts = "software-interrupts",
    priority_mask = "priority-mask",
    binary_point = "binary-point",
    active_bits = "active-bits",
    pending_bits = "pending-bits",
    targets,
    retarget,
    one_of_many = "one-of-many",
    switches,
    end_of_nothing = "end-of-nothing",
    split_end = "split-end",
);

/// The first input, and one in the next word of all arrays.
const INPUTS: [u32; 2] = [FIRST_SHARED, FIRST_SHARED + 31];
/// The priority with which nothing runs (4.4.6).
const IDLE: u32 = 0xff;

/// A controller that is ready, with all inputs low and both of [`INPUTS`] edges.
fn ready(gic: &ArmGic, vm: &Vm) -> Result<(Rc<Gic>, Option<InterruptLine>)> {
    let gic = gic.gic().clone();
    if gic.revision == REVISION_OF_ARM11 {
        return Err(Error::skipped("the controller of the ARM11 MPCore is before version 1"));
    }
    for input in INPUTS {
        gic.outside().drive(input, false)?;
    }
    gic.make_ready()?;
    for input in INPUTS {
        gic.set_trigger(input, Trigger::Edge)?;
        gic.enable(input, true)?;
    }
    let line = gic.output()?;
    vm.set_up_ends()?;
    Ok((gic, line))
}

/// Makes an input pending by an edge.
fn pulse(gic: &Gic, input: u32) -> Result<()> {
    gic.outside().drive(input, true)?;
    gic.outside().drive(input, false)
}

/// Asserts what the CPU is told.
#[track_caller]
fn assert_told(gic: &Gic, line: Option<&InterruptLine>, next: u32, when: &str) -> Result<()> {
    assert_eq!(gic.interface.get(GICC_HPPIR)? & 0x3ff, next, "GICC_HPPIR {when}");
    if let Some(line) = line {
        assert_eq!(line.is_high()?, next != SPURIOUS, "the line to the CPU {when}");
    }
    Ok(())
}

/// Would catch a software interrupt that goes to CPUs that it is not for, or not to those that it
/// is for, has the number of another, tells the wrong sender, or is counted.
fn software_interrupts(gic: &ArmGic, vm: &Rc<Vm>) -> Result<()> {
    let (gic, line) = ready(gic, vm)?;
    let (list, others, own) = (0u32 << 24, 1u32 << 24, 2u32 << 24);
    for number in 0..16 {
        gic.write_bit(GICD_ISENABLER, number)?;
        for (what, filter, comes) in [
            ("the list has it", list | 1 << 16, true),
            ("the list has others", list | 0xfe << 16, false),
            ("the list has none", list, false),
            ("all others", others | 1 << 16, false),
            ("itself", own, true),
        ] {
            let when = format!("of {number}, {what}");
            for _ in 0..2 {
                gic.distributor.set(GICD_SGIR, filter | number)?;
            }
            let next = if comes { number } else { SPURIOUS };
            assert_told(&gic, line.as_ref(), next, &when)?;
            assert_eq!(gic.take()?, (next, 0), "GICC_IAR {when}");
            if comes {
                assert_eq!(gic.ones(GICD_ISACTIVER)?, [number], "active {when}");
                gic.interface.set(GICC_EOIR, number)?;
                assert_eq!(gic.take()?, (SPURIOUS, 0), "once {when}");
            }
        }
    }
    Ok(())
}

/// Would catch a mask that is compared the wrong way round, with the wrong bits, or not at all, and
/// a change of it that the line to the CPU does not follow.
fn priority_mask(gic: &ArmGic, vm: &Rc<Vm>) -> Result<()> {
    let (gic, line) = ready(gic, vm)?;
    let input = INPUTS[1];
    pulse(&gic, input)?;
    for priority in (0..0x100).step_by(0x10) {
        gic.interface.set(GICC_PMR, 0)?;
        gic.distributor.set(GICD_IPRIORITYR.nth(input.into(), 1), priority as u8)?;
        for mask in (0..0x100u32).step_by(0x10) {
            gic.interface.set(GICC_PMR, mask)?;
            assert_eq!(gic.interface.get(GICC_PMR)?, mask, "GICC_PMR");
            let when = format!("with the priority {priority:#x} and the mask {mask:#x}");
            // GICC_HPPIR may tell of those that are masked; the line does not.
            if let Some(line) = &line {
                assert_eq!(line.is_high()?, priority < mask, "the line to the CPU {when}");
            }
            if priority >= mask {
                assert_eq!(gic.take()?, (SPURIOUS, 0), "GICC_IAR {when}");
            }
        }
    }
    gic.interface.set(GICC_PMR, 0xf8)?;
    assert_eq!(gic.take()?, (input, 0), "GICC_IAR, masked no more");
    gic.interface.set(GICC_EOIR, input)
}

/// Would catch a binary point that is not looked at, or shifted, by which interrupts of one group
/// interrupt each other, and a running priority that is wrong while one is served or afterwards.
fn binary_point(gic: &ArmGic, vm: &Rc<Vm>) -> Result<()> {
    let (gic, line) = ready(gic, vm)?;
    let [low, high] = INPUTS;
    for point in 0..8 {
        gic.interface.set(GICC_BPR, point)?;
        // A chip may have a higher least value than 0 (4.4.3).
        let point = gic.interface.get(GICC_BPR)?;
        let group = 0xff << (point + 1) & 0xff;
        for (served, pending) in [(0xe0, 0xd0), (0xc0, 0x80), (0x80, 0x70), (0x40, 0x30), (0x80, 0)]
        {
            let when = format!("with GICC_BPR {point}, {pending:#x} after {served:#x}");
            gic.distributor.set(GICD_IPRIORITYR.nth(low.into(), 1), served as u8)?;
            gic.distributor.set(GICD_IPRIORITYR.nth(high.into(), 1), pending as u8)?;
            assert_eq!(gic.interface.get(GICC_RPR)?, IDLE, "GICC_RPR before, {when}");
            pulse(&gic, low)?;
            assert_eq!(gic.take()?, (low, 0), "the first {when}");
            assert_eq!(gic.interface.get(GICC_RPR)?, served & group, "GICC_RPR {when}");
            pulse(&gic, high)?;
            let comes = pending & group < served & group;
            if let Some(line) = &line {
                assert_eq!(line.is_high()?, comes, "the line to the CPU {when}");
            }
            assert_eq!(gic.take()?, (if comes { high } else { SPURIOUS }, 0), "GICC_IAR {when}");
            if comes {
                assert_eq!(gic.interface.get(GICC_RPR)?, pending & group, "inner, {when}");
                gic.interface.set(GICC_EOIR, high)?;
                assert_eq!(gic.interface.get(GICC_RPR)?, served & group, "outer, {when}");
                gic.interface.set(GICC_EOIR, low)?;
            } else {
                gic.interface.set(GICC_EOIR, low)?;
                assert_eq!(gic.take()?, (high, 0), "after the first, {when}");
                gic.interface.set(GICC_EOIR, high)?;
            }
        }
    }
    assert_eq!(gic.interface.get(GICC_RPR)?, IDLE, "GICC_RPR after all");
    assert_told(&gic, line.as_ref(), SPURIOUS, "after all")
}

/// Would catch an active bit that is not set while its interrupt is served, that is not cleared
/// afterwards or by software, and an interrupt that comes while software has it active.
fn active_bits(gic: &ArmGic, vm: &Rc<Vm>) -> Result<()> {
    let (gic, line) = ready(gic, vm)?;
    for input in INPUTS {
        assert_eq!(gic.ones(GICD_ISACTIVER)?, [0; 0], "active at first");
        pulse(&gic, input)?;
        assert_eq!(gic.take()?, (input, 0), "a pulse");
        assert_eq!(gic.ones(GICD_ISACTIVER)?, [input], "active while it is served");
        if gic.revision == 1 {
            // Version 1 has no way to write them.
            gic.interface.set(GICC_EOIR, input)?;
            continue;
        }
        assert_eq!(gic.ones(GICD_ICACTIVER)?, [input], "by the other array");
        gic.interface.set(GICC_EOIR, input)?;
        assert_eq!(gic.ones(GICD_ISACTIVER)?, [0; 0], "active after it was served");
        gic.write_bit(GICD_ISACTIVER, input)?;
        pulse(&gic, input)?;
        assert_told(&gic, line.as_ref(), SPURIOUS, "while software has it active")?;
        assert_eq!(gic.ones(GICD_ISPENDR)?, [input], "it is pending too");
        gic.write_bit(GICD_ICACTIVER, input)?;
        assert_eq!(gic.ones(GICD_ISACTIVER)?, [0; 0], "after software has cleared it");
        assert_told(&gic, line.as_ref(), input, "when it is active no more")?;
        assert_eq!(gic.take()?, (input, 0), "it comes");
        gic.interface.set(GICC_EOIR, input)?;
    }
    Ok(())
}

/// Would catch a pending bit of software's that does not interrupt, is not cleared, clears a level,
/// or is set by zeroes.
fn pending_bits(gic: &ArmGic, vm: &Rc<Vm>) -> Result<()> {
    let (gic, line) = ready(gic, vm)?;
    for input in INPUTS {
        for trigger in gic.profile().triggers {
            let when = format!("of {input}, triggered by {trigger:?}");
            gic.set_trigger(input, *trigger)?;
            gic.write_bit(GICD_ISPENDR, input)?;
            assert_eq!(gic.ones(GICD_ISPENDR)?, [input], "pending {when}");
            assert_told(&gic, line.as_ref(), input, &format!("after software set {when}"))?;
            gic.write_bit(GICD_ICPENDR, input)?;
            assert_told(&gic, line.as_ref(), SPURIOUS, &format!("after software cleared {when}"))?;
            gic.write_bit(GICD_ISPENDR, input)?;
            assert_eq!(gic.take()?, (input, 0), "taken {when}");
            assert_eq!(gic.ones(GICD_ISPENDR)?, [0; 0], "pending while it is served {when}");
            gic.interface.set(GICC_EOIR, input)?;
            assert_told(&gic, line.as_ref(), SPURIOUS, &format!("after it was served {when}"))?;
        }
    }
    Ok(())
}

/// Would catch an interrupt that comes to a CPU that it is not for.
fn targets(gic: &ArmGic, vm: &Rc<Vm>) -> Result<()> {
    let (gic, line) = ready(gic, vm)?;
    if gic.cpus < 2 {
        return Err(Error::skipped("this controller serves one CPU"));
    }
    let [first, second] = INPUTS;
    gic.distributor.set(GICD_ITARGETSR.nth(first.into(), 1), 2)?;
    pulse(&gic, first)?;
    assert_eq!(gic.ones(GICD_ISPENDR)?, [first], "pending for the second CPU");
    assert_told(&gic, line.as_ref(), SPURIOUS, "while it is for the second CPU")?;
    pulse(&gic, second)?;
    assert_told(&gic, line.as_ref(), second, "while only the other is for the second CPU")?;
    assert_eq!(gic.take()?, (second, 0), "the other");
    gic.interface.set(GICC_EOIR, second)?;
    gic.write_bit(GICD_ICPENDR, first)?;
    gic.distributor.set(GICD_ITARGETSR.nth(first.into(), 1), 3)?;
    pulse(&gic, first)?;
    assert_eq!(gic.take()?, (first, 0), "when it is for both CPUs");
    gic.interface.set(GICC_EOIR, first)
}

/// Would catch an interrupt of several CPUs that comes to each of them (1.4.3, the 1-N model).
fn one_of_many(gic: &ArmGic, vm: &Rc<Vm>) -> Result<()> {
    let (gic, _) = ready(gic, vm)?;
    if gic.cpus < 2 {
        return Err(Error::skipped("this controller serves one CPU"));
    }
    for input in INPUTS {
        gic.distributor.set(GICD_ITARGETSR.nth(input.into(), 1), 3)?;
        pulse(&gic, input)?;
        assert_eq!(gic.take()?, (input, 0), "when it is for both CPUs");
        assert_eq!(gic.ones(GICD_ISPENDR)?, [0; 0], "pending though one CPU has it");
        gic.interface.set(GICC_EOIR, input)?;
    }
    Ok(())
}

/// Would catch a pending interrupt that does not go where its targets are when they change
/// (4.3.12).
fn retarget(gic: &ArmGic, vm: &Rc<Vm>) -> Result<()> {
    let (gic, line) = ready(gic, vm)?;
    if gic.cpus < 2 {
        return Err(Error::skipped("this controller serves one CPU"));
    }
    for input in INPUTS {
        let target = GICD_ITARGETSR.nth(input.into(), 1);
        gic.distributor.set(target, 2)?;
        pulse(&gic, input)?;
        assert_told(&gic, line.as_ref(), SPURIOUS, "while it is for the second CPU")?;
        gic.distributor.set(target, 1)?;
        assert_told(&gic, line.as_ref(), input, "while it is for the first CPU")?;
        gic.distributor.set(target, 2)?;
        assert_told(&gic, line.as_ref(), SPURIOUS, "when it is for the second CPU")?;
        gic.distributor.set(target, 1)?;
        assert_told(&gic, line.as_ref(), input, "when it is for the first CPU again")?;
        assert_eq!(gic.take()?, (input, 0), "it comes");
        gic.interface.set(GICC_EOIR, input)?;
    }
    Ok(())
}

/// Would catch a distributor, a CPU interface or an interrupt that is switched off and passes
/// interrupts on, or forgets them.
fn switches(gic: &ArmGic, vm: &Rc<Vm>) -> Result<()> {
    let (gic, line) = ready(gic, vm)?;
    let input = INPUTS[0];
    pulse(&gic, input)?;
    assert_told(&gic, line.as_ref(), input, "while all is on")?;
    let off_and_on = |off: &dyn Fn() -> Result<()>, on: &dyn Fn() -> Result<()>, what: &str| {
        off()?;
        if let Some(line) = &line {
            assert!(!line.is_high()?, "the line to the CPU while {what} is off");
        }
        assert_eq!(gic.take()?, (SPURIOUS, 0), "taken while {what} is off");
        assert_eq!(gic.ones(GICD_ISPENDR)?, [input], "pending while {what} is off");
        on()?;
        assert_told(&gic, line.as_ref(), input, &format!("when {what} is on again"))
    };
    let distributor = |value| gic.distributor.set(GICD_CTLR, value);
    off_and_on(&|| distributor(0), &|| distributor(1), "the distributor")?;
    let interface = |value| gic.interface.set(GICC_CTLR, value);
    off_and_on(&|| interface(0), &|| interface(1), "the CPU interface")?;
    let one = |array| gic.write_bit(array, input);
    off_and_on(&|| one(GICD_ICENABLER), &|| one(GICD_ISENABLER), "the interrupt")?;
    assert_eq!(gic.take()?, (input, 0), "it comes in the end");
    gic.interface.set(GICC_EOIR, input)
}

/// Would catch an end of what is not served that changes the running priority, or after which an
/// interrupt does not come.
fn end_of_nothing(gic: &ArmGic, vm: &Rc<Vm>) -> Result<()> {
    let (gic, line) = ready(gic, vm)?;
    for nothing in [INPUTS[0], INPUTS[1], SPURIOUS] {
        gic.interface.set(GICC_EOIR, nothing)?;
        assert_eq!(gic.interface.get(GICC_RPR)?, IDLE, "GICC_RPR after the end of {nothing}");
        assert_told(&gic, line.as_ref(), SPURIOUS, "after the end of nothing")?;
    }
    for input in INPUTS {
        pulse(&gic, input)?;
        assert_eq!(gic.take()?, (input, 0), "an interrupt after the end of nothing");
        gic.interface.set(GICC_EOIR, input)?;
    }
    Ok(())
}

/// Would catch an end that deactivates though it should only drop the priority, and a deactivation
/// that is not looked at.
fn split_end(gic: &ArmGic, vm: &Rc<Vm>) -> Result<()> {
    let (gic, line) = ready(gic, vm)?;
    let [first, second] = INPUTS;
    if gic.revision != 2 {
        return Err(Error::skipped("version 2 alone ends in two steps"));
    }
    if !gic.has_second_page {
        return Err(Error::skipped("this board has GICC_DIR elsewhere"));
    }
    // EOImode (4.4.1).
    gic.interface.set(GICC_CTLR, 1 | 1 << 9)?;
    pulse(&gic, first)?;
    assert_eq!(gic.take()?, (first, 0), "a pulse");
    gic.interface.set(GICC_EOIR, first)?;
    assert_eq!(gic.interface.get(GICC_RPR)?, IDLE, "GICC_RPR after GICC_EOIR");
    assert_eq!(gic.ones(GICD_ISACTIVER)?, [first], "active after GICC_EOIR");
    pulse(&gic, first)?;
    assert_told(&gic, line.as_ref(), SPURIOUS, "while the first is active")?;
    pulse(&gic, second)?;
    assert_eq!(gic.take()?, (second, 0), "another is not held back");
    gic.interface.set(GICC_EOIR, second)?;
    gic.interface.set(GICC_DIR, second)?;
    assert_eq!(gic.ones(GICD_ISACTIVER)?, [first], "after GICC_DIR of the other");
    gic.interface.set(GICC_DIR, first)?;
    assert_eq!(gic.ones(GICD_ISACTIVER)?, [0; 0], "after GICC_DIR");
    assert_eq!(gic.take()?, (first, 0), "the second pulse");
    gic.interface.set(GICC_EOIR, first)?;
    gic.interface.set(GICC_DIR, first)?;
    gic.interface.set(GICC_CTLR, 1)
}
