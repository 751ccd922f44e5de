//! Every interrupt controller: inputs that are seen, masked, latched, taken in the order of their
//! urgency, nested, ended, and forgotten by a reset.

use std::rc::Rc;

use fastrand::Rng;

use crate::qemu::Vm;
use crate::qos::intc::{InterruptController, Profile, Trigger};
use crate::qos::interrupt::InterruptLine;
use crate::qos::reset;
use crate::{Error, Result, tests};

tests!(dyn InterruptController, "interrupt-controller-tests":
    inputs,
    enable,
    edges,
    levels,
    order,
    priorities,
    nesting,
    machine_reset = "machine-reset",
);

/// At most so many inputs are looked at.
const MANY: usize = 40;

/// The controller and those of its inputs that a test drives.
struct Bench<'a> {
    chip: &'a dyn InterruptController,
    profile: Profile,
    inputs: Vec<u32>,
    line: Option<InterruptLine>,
}

impl<'a> Bench<'a> {
    /// A controller that is ready, with at most `count` inputs: the first, the last, and others
    /// between them, in the order of their urgency.
    fn new(chip: &'a dyn InterruptController, vm: &Vm, count: usize) -> Result<Self> {
        let profile = chip.profile();
        let all = profile.inputs.len();
        let chosen = |it: usize| if all <= count { it } else { it * (all - 1) / (count - 1) };
        let inputs: Vec<u32> = (0..all.min(count)).map(|it| profile.inputs[chosen(it)]).collect();
        for &input in &inputs {
            chip.outside().drive(input, false)?;
        }
        chip.make_ready()?;
        let line = chip.output()?;
        assert_eq!(chip.pending()?, [0; 0], "before any input is high");
        vm.set_up_ends()?;
        Ok(Self { chip, profile, inputs, line })
    }

    fn drive(&self, input: u32, is_high: bool) -> Result<()> {
        self.chip.outside().drive(input, is_high)
    }

    /// Chooses what triggers all inputs; those that cannot have that are not used any more.
    fn trigger(&mut self, trigger: Trigger) -> Result<()> {
        if !self.profile.triggers.contains(&trigger) {
            let what = format!("no input of this controller is triggered by {trigger:?}");
            return Err(Error::skipped(what));
        }
        let mut able = Vec::new();
        for &input in &self.inputs {
            if self.chip.set_trigger(input, trigger)? {
                able.push(input);
            }
        }
        self.inputs = able;
        Ok(())
    }

    /// Chooses the trigger that every controller has.
    fn first_trigger(&mut self) -> Result<Trigger> {
        let trigger = self.profile.triggers[0];
        self.trigger(trigger)?;
        Ok(trigger)
    }

    fn enable_all(&self) -> Result<()> {
        self.inputs.iter().try_for_each(|&input| self.chip.enable(input, true))
    }

    /// Makes each input less urgent than the one before it.
    fn rank_all(&self) -> Result<()> {
        let (ranks, count) = (self.profile.ranks, self.inputs.len() as u32);
        for (at, &input) in (0..).zip(&self.inputs) {
            if ranks > 1 {
                self.chip.set_rank(input, (at + 1) * ranks / (count + 2))?;
            }
        }
        Ok(())
    }

    /// Asserts what is pending, and what of that the CPU is told.
    #[track_caller]
    fn assert_state(&self, pending: &[u32], next: Option<u32>, when: &str) -> Result<()> {
        let mut pending = pending.to_vec();
        pending.sort_unstable();
        assert_eq!(self.chip.pending()?, pending, "pending {when}");
        self.assert_next(next, when)
    }

    /// Asserts what the CPU is told.
    #[track_caller]
    fn assert_next(&self, next: Option<u32>, when: &str) -> Result<()> {
        if let Some(told) = self.chip.next()? {
            assert_eq!(told, next, "the next {when}");
        }
        if let Some(line) = &self.line {
            assert_eq!(line.is_high()?, next.is_some(), "the line to the CPU {when}");
        }
        // What is not told cannot be taken either.
        if self.profile.acknowledges && next.is_none() {
            assert_eq!(self.chip.acknowledge()?, None, "taken {when}");
        }
        Ok(())
    }

    /// Takes an interrupt, whose input is low afterwards, and ends it.
    #[track_caller]
    fn assert_served(&self, input: u32, when: &str) -> Result<()> {
        if self.profile.acknowledges {
            assert_eq!(self.chip.acknowledge()?, Some(input), "acknowledged {when}");
            self.drive(input, false)?;
            self.chip.end(input)
        } else {
            self.drive(input, false)?;
            self.chip.clear(input).map(drop)
        }
    }

    fn needs_acknowledge(&self) -> Result<()> {
        if self.profile.acknowledges || self.chip.next()?.is_some() {
            return Ok(());
        }
        Err(Error::skipped("this controller does not tell which interrupt is the most urgent"))
    }
}

/// Would catch an input that is not seen, inverted or mixed up with another, an interrupt that is
/// acknowledged by the number of another, and a line to the CPU that does not follow.
fn inputs(chip: &dyn InterruptController, vm: &Rc<Vm>) -> Result<()> {
    let mut bench = Bench::new(chip, vm, usize::MAX)?;
    let trigger = bench.first_trigger()?;
    bench.enable_all()?;
    bench.assert_state(&[], None, "while all are low")?;
    for &input in &bench.inputs {
        bench.drive(input, true)?;
        bench.assert_state(&[input], Some(input), &format!("while {input} is high"))?;
        if trigger == Trigger::Level {
            bench.drive(input, false)?;
            bench.assert_state(&[], None, &format!("after {input} has gone low"))?;
            bench.drive(input, true)?;
        }
        bench.assert_served(input, "while it alone is high")?;
        bench.assert_state(&[], None, &format!("after {input} was served"))?;
    }
    if bench.profile.acknowledges {
        assert_eq!(chip.acknowledge()?, None, "nothing is pending");
    }
    Ok(())
}

/// Would catch an enable bit that is not looked at, inverted or that of another input, an input
/// that is lost while it is disabled, and one that is still told or taken after it was disabled.
fn enable(chip: &dyn InterruptController, vm: &Rc<Vm>) -> Result<()> {
    let mut bench = Bench::new(chip, vm, MANY)?;
    bench.first_trigger()?;
    for &input in &bench.inputs {
        bench.drive(input, true)?;
    }
    let all = bench.inputs.clone();
    bench.assert_state(&all, None, "while all are high and disabled")?;
    for &input in &all {
        chip.enable(input, true)?;
        bench.assert_state(&all, Some(input), &format!("while {input} alone is enabled"))?;
        chip.enable(input, false)?;
        bench.assert_state(&all, None, &format!("after {input} was disabled"))?;
    }
    for &input in &all {
        bench.drive(input, false)?;
        chip.clear(input)?;
    }
    Ok(())
}

/// Would catch an edge that is forgotten when the input falls, one that is not cleared by the
/// acknowledge, one that is lost while the interrupt is served, a falling edge that is taken for
/// a rising one, and a level, or one that is told again, that is taken for an edge.
fn edges(chip: &dyn InterruptController, vm: &Rc<Vm>) -> Result<()> {
    let mut bench = Bench::new(chip, vm, MANY)?;
    bench.trigger(Trigger::Edge)?;
    bench.enable_all()?;
    for &input in &bench.inputs {
        bench.drive(input, true)?;
        bench.drive(input, false)?;
        bench.assert_state(&[input], Some(input), &format!("after a pulse of {input}"))?;
        bench.drive(input, false)?;
        if bench.profile.acknowledges {
            assert_eq!(chip.acknowledge()?, Some(input), "a pulse");
            bench.assert_state(&[], None, &format!("while {input} is served"))?;
            bench.drive(input, true)?;
            let when = format!("after another edge of {input} while it is served");
            bench.assert_state(&[input], (!bench.profile.nests).then_some(input), &when)?;
            chip.end(input)?;
            bench.assert_state(&[input], Some(input), &format!("after the first of {input}"))?;
            assert_eq!(chip.acknowledge()?, Some(input), "the other edge");
            chip.end(input)?;
            bench.drive(input, true)?;
            bench.assert_state(&[], None, &format!("while {input} stays high"))?;
            bench.drive(input, false)?;
            bench.assert_state(&[], None, &format!("after {input} has gone low"))?;
        }
        if bench.profile.acknowledges {
            bench.drive(input, true)?;
            bench.drive(input, false)?;
            if !chip.clear(input)? {
                bench.assert_served(input, "a third edge")?;
            }
        } else {
            assert!(chip.clear(input)?, "software clears what it cannot acknowledge");
        }
        bench.assert_state(&[], None, &format!("after {input} was cleared"))?;
    }
    Ok(())
}

/// Would catch a level that is latched, one that is not seen any more after it was served once,
/// and one that software can clear.
fn levels(chip: &dyn InterruptController, vm: &Rc<Vm>) -> Result<()> {
    let mut bench = Bench::new(chip, vm, MANY)?;
    bench.trigger(Trigger::Level)?;
    bench.enable_all()?;
    for &input in &bench.inputs {
        bench.drive(input, true)?;
        chip.clear(input)?;
        bench.assert_state(&[input], Some(input), &format!("while {input} is high"))?;
        if bench.profile.acknowledges {
            for time in 0..3 {
                assert_eq!(chip.acknowledge()?, Some(input), "time {time}");
                chip.end(input)?;
                bench
                    .assert_next(Some(input), &format!("after {input} was served {time} times"))?;
            }
        }
        bench.drive(input, false)?;
        bench.assert_state(&[], None, &format!("after {input} has gone low"))?;
    }
    Ok(())
}

/// Would catch inputs of one priority that are not taken in the order of their numbers, and one
/// that is lost, or taken twice, among many.
fn order(chip: &dyn InterruptController, vm: &Rc<Vm>) -> Result<()> {
    let mut bench = Bench::new(chip, vm, MANY)?;
    bench.first_trigger()?;
    bench.enable_all()?;
    bench.needs_acknowledge()?;
    let mut rng = Rng::with_seed(0x0b0);
    for share in [1, 3, 8] {
        let high: Vec<u32> =
            bench.inputs.iter().copied().filter(|_| rng.u32(0..share) == 0).collect();
        // The last to come may be the first to go.
        let mut driven = high.clone();
        rng.shuffle(&mut driven);
        driven.iter().try_for_each(|&input| bench.drive(input, true))?;
        for (at, &input) in high.iter().enumerate() {
            bench.assert_state(&high[at..], Some(input), &format!("after {at} of {high:?}"))?;
            bench.assert_served(input, "in its turn")?;
        }
        bench.assert_state(&[], None, "after all were served")?;
    }
    Ok(())
}

/// Would catch a priority that is not kept, is that of another input, or is compared the wrong
/// way round, and bits of it that are not looked at.
fn priorities(chip: &dyn InterruptController, vm: &Rc<Vm>) -> Result<()> {
    let mut bench = Bench::new(chip, vm, 12)?;
    let ranks = bench.profile.ranks;
    if ranks == 1 {
        return Err(Error::skipped("this controller has no priorities"));
    }
    bench.first_trigger()?;
    bench.enable_all()?;
    bench.needs_acknowledge()?;
    let mut rng = Rng::with_seed(0x0b1);
    for round in 0..8 {
        let mut ranked: Vec<(u32, usize, u32)> = Vec::new();
        for (at, &input) in bench.inputs.iter().enumerate() {
            // Neighbours, some of them equal, and any at all.
            let rank = if round < 3 { rng.u32(0..ranks.min(4)) } else { rng.u32(0..ranks) };
            chip.set_rank(input, rank)?;
            ranked.push((rank, at, input));
        }
        for (_, _, input) in &ranked {
            bench.drive(*input, true)?;
        }
        ranked.sort_unstable();
        for (rank, _, input) in &ranked {
            bench.assert_next(Some(*input), &format!("of {ranked:?}"))?;
            bench.assert_served(*input, &format!("by its priority {rank} of {ranked:?}"))?;
        }
        bench.assert_state(&[], None, "after all were served")?;
    }
    Ok(())
}

/// Would catch an interrupt that interrupts a more urgent one, one that does not interrupt a less
/// urgent one, and an end that is that of another.
fn nesting(chip: &dyn InterruptController, vm: &Rc<Vm>) -> Result<()> {
    let mut bench = Bench::new(chip, vm, 6)?;
    if !bench.profile.acknowledges || !bench.profile.nests {
        return Err(Error::skipped("this controller does not hold interrupts back"));
    }
    let trigger = bench.first_trigger()?;
    bench.enable_all()?;
    bench.rank_all()?;
    let inputs = bench.inputs.clone();
    for low in 1..inputs.len() {
        for high in 0..low {
            let (low, high) = (inputs[low], inputs[high]);
            bench.drive(low, true)?;
            assert_eq!(chip.acknowledge()?, Some(low), "it is alone");
            bench.assert_next(None, &format!("while {low} is served and high"))?;
            bench.drive(low, false)?;
            bench.assert_next(None, &format!("while {low} is served"))?;
            bench.drive(high, true)?;
            bench.assert_next(Some(high), &format!("while {low} is served and {high} high"))?;
            assert_eq!(chip.acknowledge()?, Some(high), "it interrupts {low}");
            bench.drive(high, false)?;
            bench.drive(low, true)?;
            bench.assert_next(None, &format!("while {low} is high and {high} is served"))?;
            chip.end(high)?;
            bench.assert_next(None, &format!("while {low} is served and high again"))?;
            chip.end(low)?;
            bench.assert_state(&[low], Some(low), &format!("after {low} was served once"))?;
            bench.assert_served(low, "the second time")?;
            bench.assert_state(&[], None, &format!("after all, triggered by {trigger:?}"))?;
        }
    }
    Ok(())
}

/// Would catch a reset after which an interrupt is still pending, served or told to the CPU, or
/// after which the controller holds interrupts back.
fn machine_reset(chip: &dyn InterruptController, vm: &Rc<Vm>) -> Result<()> {
    let mut bench = Bench::new(chip, vm, 5)?;
    // Edges are what stays pending by itself.
    let latches = bench.profile.triggers.contains(&Trigger::Edge);
    let trigger = if latches { Trigger::Edge } else { Trigger::Level };
    bench.trigger(trigger)?;
    bench.enable_all()?;
    bench.rank_all()?;
    let [first, second, third, ..] = bench.inputs[..] else {
        return Err(Error::skipped("this controller has not enough inputs"));
    };
    bench.drive(third, true)?;
    if bench.profile.acknowledges {
        assert_eq!(chip.acknowledge()?, Some(third), "before the reset");
        bench.drive(third, false)?;
        bench.drive(third, true)?;
    }
    for input in [second, first] {
        bench.drive(input, true)?;
        bench.assert_next(Some(input), "before the reset")?;
    }
    for input in [first, second, third] {
        bench.drive(input, false)?;
    }
    reset(vm)?;
    assert_eq!(chip.pending()?, [0; 0], "pending after the reset");
    chip.make_ready()?;
    bench.trigger(trigger)?;
    bench.enable_all()?;
    bench.assert_state(&[], None, "when it is ready after the reset")?;
    for input in [third, second, first] {
        bench.drive(input, true)?;
        bench.assert_state(&[input], Some(input), "after the reset")?;
        bench.assert_served(input, "after the reset")?;
    }
    bench.assert_state(&[], None, "when all were served")
}
