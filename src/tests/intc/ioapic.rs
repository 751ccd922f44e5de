//! The I/O APIC: its redirection table, edges and levels up to the local APIC of a CPU, and their
//! ends.

use std::collections::BTreeMap;
use std::rc::Rc;

use fastrand::Rng;

use crate::drivers::intc::ioapic::{
    DESTINATION, IOAPICARB, IOAPICID, IOAPICVER, IOREDTBL, Ioapic, LEVEL, MASKED, REMOTE_IRR,
};
use crate::qemu::Vm;
use crate::qos::reset;
use crate::{Result, tests};

tests!(Ioapic, "ioapic-tests":
    registers,
    table,
    edges,
    levels,
    ends,
    destinations,
    modes,
    machine_reset = "machine-reset",
);

/// How many inputs there are, of which number 0 is not wired (QEMU has number 2 for it).
const INPUTS: u32 = 24;
/// The first vector that an interrupt may have (3.2.4).
const FIRST_VECTOR: u8 = 0x10;
/// What of an entry software writes: the vector, the modes, polarity, trigger, mask, destination.
const WRITABLE: u64 = 0xff00_0000_0001_afff;

/// The inputs that a test drives.
fn inputs() -> impl Iterator<Item = u32> {
    1..INPUTS
}

/// The vector of a test for an input, in one of several rounds.
fn vector_of(input: u32, round: u32) -> u8 {
    FIRST_VECTOR + (input + round * INPUTS) as u8
}

/// Has all inputs low and masked.
fn quiet(apic: &Ioapic, vm: &Vm) -> Result<()> {
    for input in inputs() {
        apic.inputs().drive(input, false)?;
        apic.set_entry(input, MASKED)?;
    }
    assert_eq!(apic.received()?, BTreeMap::new(), "what the local APIC has got at first");
    vm.set_up_ends()
}

/// What the local APIC has got, all of which a test expects.
#[derive(Default)]
struct Expected(BTreeMap<u8, bool>);

impl Expected {
    /// Asserts that the vector came now, as an edge or a level.
    #[track_caller]
    fn assert_came(&mut self, apic: &Ioapic, vector: u8, is_level: bool, why: &str) -> Result<()> {
        self.0.insert(vector, is_level);
        self.assert_same(apic, why)
    }

    /// Asserts that nothing else came.
    #[track_caller]
    fn assert_same(&self, apic: &Ioapic, why: &str) -> Result<()> {
        assert_eq!(apic.received()?, self.0, "vectors that the local APIC has got, {why}");
        Ok(())
    }
}

/// Would catch an identification that is not kept or keeps more, one for arbitration that is
/// another, and a version or a count that can be written.
fn registers(apic: &Ioapic, vm: &Rc<Vm>) -> Result<()> {
    quiet(apic, vm)?;
    let version = apic.version() | (INPUTS - 1) << 16;
    for id in [0x0f00_0000, 0x0500_0000, 0] {
        apic.set(IOAPICID, id | 0xf0ff_ffff)?;
        assert_eq!(apic.get(IOAPICID)?, id, "IOAPICID");
        assert_eq!(apic.get(IOAPICARB)?, id, "IOAPICARB, which follows");
        for register in [IOAPICVER, IOAPICARB] {
            apic.set(register, !0)?;
        }
        assert_eq!(apic.get(IOAPICVER)?, version, "IOAPICVER");
        assert_eq!(apic.get(IOAPICARB)?, id, "IOAPICARB, after a write");
    }
    // Nothing is behind the table.
    for register in [0x03, 0x0f, IOREDTBL + 2 * INPUTS as u8, 0xff] {
        apic.set(register, 0x1234_5678)?;
        assert_eq!(apic.get(register)?, 0, "register {register:#x}, which does not exist");
    }
    Ok(())
}

/// Would catch an entry that keeps what is written elsewhere, or not at all, and status bits that
/// software can write.
fn table(apic: &Ioapic, vm: &Rc<Vm>) -> Result<()> {
    for input in 0..INPUTS {
        assert_eq!(apic.entry(input)?, MASKED, "entry {input} at first");
    }
    quiet(apic, vm)?;
    let mut rng = Rng::with_seed(0xa91c);
    let mut written = Vec::new();
    for round in 0..4 {
        written.clear();
        for input in 0..INPUTS {
            // Masked, so that nothing is sent.
            let entry = if round == 0 { WRITABLE } else { rng.u64(..) & WRITABLE | MASKED };
            apic.set_entry(input, entry | REMOTE_IRR | 1 << 12)?;
            written.push(entry);
        }
        for (input, entry) in (0..).zip(&written) {
            assert_eq!(apic.entry(input)?, *entry, "entry {input}");
        }
    }
    assert_eq!(apic.received()?, BTreeMap::new(), "what the local APIC has got");
    Ok(())
}

/// Would catch an edge that is lost, doubled, sent with the vector of another input or as a level,
/// or kept while its input is masked.
fn edges(apic: &Ioapic, vm: &Rc<Vm>) -> Result<()> {
    quiet(apic, vm)?;
    let mut expected = Expected::default();
    let pulse = |input| {
        apic.inputs().drive(input, true)?;
        apic.inputs().drive(input, false)
    };
    for input in inputs() {
        let first = vector_of(input, 0);
        apic.set_entry(input, MASKED | u64::from(first))?;
        pulse(input)?;
        expected.assert_same(apic, &format!("with a pulse of {input}, which is masked"))?;
        apic.set_entry(input, u64::from(first))?;
        expected.assert_same(apic, &format!("when {input} is masked no more"))?;
        apic.inputs().drive(input, true)?;
        expected.assert_came(apic, first, false, &format!("when {input} has risen"))?;
        assert_eq!(apic.entry(input)?, u64::from(first), "entry {input} after an edge");
        // An input that stays high is no edge.
        let second = vector_of(input, 1);
        apic.set_entry(input, u64::from(second))?;
        apic.inputs().drive(input, false)?;
        expected.assert_same(apic, &format!("when {input} has fallen"))?;
        apic.inputs().drive(input, true)?;
        expected.assert_came(apic, second, false, &format!("when {input} has risen again"))?;
        apic.inputs().drive(input, false)?;
        apic.set_entry(input, MASKED)?;
    }
    Ok(())
}

/// Would catch a level that is lost, sent again before its end, not sent again after it though the
/// input is high, or sent although it is low; and a Remote IRR that is wrong.
fn levels(apic: &Ioapic, vm: &Rc<Vm>) -> Result<()> {
    quiet(apic, vm)?;
    let mut expected = Expected::default();
    for input in inputs() {
        let vectors = [0, 1, 2, 3].map(|round| vector_of(input, round));
        let entry = |round: usize| LEVEL | u64::from(vectors[round]);
        apic.set_entry(input, MASKED | entry(0))?;
        apic.inputs().drive(input, true)?;
        expected.assert_same(apic, &format!("while {input} is high and masked"))?;
        assert_eq!(apic.entry(input)?, MASKED | entry(0), "entry {input}, masked");
        apic.set_entry(input, entry(0))?;
        expected.assert_came(apic, vectors[0], true, &format!("when {input} is unmasked"))?;
        assert_eq!(apic.entry(input)?, entry(0) | REMOTE_IRR, "entry {input} after it was sent");
        apic.set_entry(input, entry(1))?;
        expected.assert_same(apic, &format!("before the end of {input}"))?;
        assert_eq!(apic.entry(input)?, entry(1) | REMOTE_IRR, "entry {input} with another vector");
        apic.end(vectors[1])?;
        let when = format!("after the end of {input}, which is high");
        expected.assert_came(apic, vectors[1], true, &when)?;
        assert_eq!(apic.entry(input)?, entry(1) | REMOTE_IRR, "entry {input} after the second");
        apic.inputs().drive(input, false)?;
        apic.end(vectors[1])?;
        assert_eq!(apic.entry(input)?, entry(1), "entry {input} after the end, with a low input");
        apic.set_entry(input, entry(2))?;
        expected.assert_same(apic, &format!("while {input} is low"))?;
        apic.inputs().drive(input, true)?;
        expected.assert_came(apic, vectors[2], true, &format!("when {input} is high again"))?;
        // An entry that is an edge has no Remote IRR.
        apic.set_entry(input, u64::from(vectors[3]))?;
        assert_eq!(apic.entry(input)? & REMOTE_IRR, 0, "Remote IRR of {input}, now an edge");
        apic.inputs().drive(input, false)?;
        apic.set_entry(input, MASKED)?;
        // Whether the level that was pending comes once as an edge is nobody's promise.
        let mut received = apic.received()?;
        received.remove(&vectors[3]);
        assert_eq!(received, expected.0, "vectors beside that of {input} as an edge");
        expected.0 = apic.received()?;
    }
    Ok(())
}

/// Would catch an end that is that of another vector or of edges, or of one input only where
/// several have the vector.
fn ends(apic: &Ioapic, vm: &Rc<Vm>) -> Result<()> {
    quiet(apic, vm)?;
    let (shared, other, edge) = (0x41, 0x42, 0x43);
    let entries = [(5, LEVEL | shared), (9, LEVEL | shared), (10, LEVEL | other), (11, edge)];
    for (input, entry) in entries {
        apic.set_entry(input, entry)?;
        apic.inputs().drive(input, true)?;
    }
    let remote = || {
        let is_set = |input| Ok(apic.entry(input)? & REMOTE_IRR != 0);
        entries.iter().map(|(input, _)| is_set(*input)).collect::<Result<Vec<bool>>>()
    };
    assert_eq!(remote()?, [true, true, true, false], "Remote IRR while all are high");
    for (input, _) in entries {
        apic.inputs().drive(input, false)?;
    }
    assert_eq!(remote()?, [true, true, true, false], "Remote IRR while all are low");
    for vector in [edge, 0x40, 0x00, 0xff] {
        apic.end(vector as u8)?;
        assert_eq!(remote()?, [true, true, true, false], "Remote IRR after the end of {vector:#x}");
    }
    apic.end(shared as u8)?;
    assert_eq!(remote()?, [false, false, true, false], "Remote IRR after the shared end");
    apic.end(other as u8)?;
    assert_eq!(remote()?, [false; 4], "Remote IRR after both ends");
    Ok(())
}

/// Would catch an interrupt for another CPU that comes to the first.
fn destinations(apic: &Ioapic, vm: &Rc<Vm>) -> Result<()> {
    quiet(apic, vm)?;
    let mut expected = Expected::default();
    for (round, destination) in [1_u64, 7, 0xf].into_iter().enumerate() {
        for (input, level) in [(4, 0), (20, LEVEL)] {
            let vector = vector_of(input, round as u32);
            let entry = u64::from(vector) | level | destination << DESTINATION;
            apic.set_entry(input, entry)?;
            apic.inputs().drive(input, true)?;
            apic.inputs().drive(input, false)?;
            expected.assert_same(apic, &format!("for the CPU {destination:#x}"))?;
            apic.set_entry(input, MASKED)?;
            let vector = vector_of(input, round as u32 + 4);
            apic.set_entry(input, u64::from(vector) | level)?;
            apic.inputs().drive(input, true)?;
            expected.assert_came(apic, vector, level != 0, "for the first CPU")?;
            apic.inputs().drive(input, false)?;
            apic.set_entry(input, MASKED)?;
        }
    }
    // 0xff is all of them.
    let vector = vector_of(4, 8);
    apic.set_entry(4, u64::from(vector) | 0xff << DESTINATION)?;
    apic.inputs().drive(4, true)?;
    expected.assert_came(apic, vector, false, "for all CPUs")
}

/// Would catch a delivery mode that is taken for another: with the lowest priority an interrupt has
/// its vector, an SMI or an NMI has none.
fn modes(apic: &Ioapic, vm: &Rc<Vm>) -> Result<()> {
    quiet(apic, vm)?;
    let mut expected = Expected::default();
    let pulse = |input, mode: u64, vector: u8| {
        apic.set_entry(input, mode << 8 | u64::from(vector))?;
        apic.inputs().drive(input, true)?;
        apic.inputs().drive(input, false)
    };
    for (input, mode) in [(3, 0), (4, 1)] {
        pulse(input, mode, vector_of(input, 0))?;
        expected.assert_came(apic, vector_of(input, 0), false, &format!("in the mode {mode}"))?;
    }
    // The reserved ones do nothing.
    for (input, mode) in [(5, 3), (6, 6), (7, 2), (8, 4)] {
        pulse(input, mode, vector_of(input, 0))?;
        expected.assert_same(apic, &format!("in the mode {mode}"))?;
    }
    Ok(())
}

/// Would catch a reset that leaves entries, an identification, levels or edges behind.
fn machine_reset(apic: &Ioapic, vm: &Rc<Vm>) -> Result<()> {
    quiet(apic, vm)?;
    apic.set(IOAPICID, 0x0a00_0000)?;
    for (input, level) in [(5, LEVEL), (6, 0)] {
        apic.set_entry(input, level | u64::from(vector_of(input, 0)))?;
        apic.inputs().drive(input, true)?;
        apic.inputs().drive(input, false)?;
    }
    assert_eq!(apic.entry(5)? & REMOTE_IRR, REMOTE_IRR, "Remote IRR before the reset");
    reset(vm)?;
    assert_eq!(apic.get(IOAPICID)?, 0, "IOAPICID after the reset");
    for input in 0..INPUTS {
        assert_eq!(apic.entry(input)?, MASKED, "entry {input} after the reset");
    }
    let mut expected = Expected::default();
    expected.assert_same(apic, "after the reset")?;
    for (input, level) in [(5, LEVEL), (6, 0)] {
        let vector = vector_of(input, 1);
        apic.set_entry(input, level | u64::from(vector))?;
        expected.assert_same(apic, "while its input is low")?;
        apic.inputs().drive(input, true)?;
        expected.assert_came(apic, vector, level != 0, "when its input is high")?;
        apic.inputs().drive(input, false)?;
    }
    Ok(())
}
