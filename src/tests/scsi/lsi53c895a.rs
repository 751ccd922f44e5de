//! The SCRIPTS processor of the LSI53C895A (technical manual, chapters 4 and 5): its arithmetic,
//! moves of memory, interrupts and single steps. Commands have the suite of all adapters.

use std::rc::Rc;

use serde_json::json;

use crate::drivers::scsi::lsi53c895a::script::{Phase, Script};
use crate::drivers::scsi::lsi53c895a::{self as lsi, Lsi53c895a, Stop};
use crate::qemu::{Buffer, Vm};
use crate::qos::registers::RegistersExt;
use crate::qos::scsi::{SLOW, address32, cdb};
use crate::qos::wait_until;
use crate::{Result, attacks, tests};

tests!(Lsi53c895a, "lsi53c895a-tests":
    interrupts,
    arithmetic,
    jumps,
    memory_moves = "memory-moves",
    load_store = "load-store",
    single_step = "single-step",
    illegal,
    selection_timeout = "selection-timeout",
    halted,
    last_tag = "last-tag",
    reset_alone = "reset-alone",
);
attacks!(Lsi53c895a, "lsi53c895a-attacks": memory_moves = "memory-moves", jumps);

/// SCRATCHA, bits 7:0, as instructions name it.
const SCRATCH: u32 = 0x34;
/// Operators of register instructions (5.5).
const MOVE: u32 = 0;
const SHIFT_LEFT: u32 = 1;
const OR: u32 = 2;
const XOR: u32 = 3;
const AND: u32 = 4;
const SHIFT_RIGHT: u32 = 5;
const ADD: u32 = 6;

/// Memory with a script, which `write` writes for its address.
fn script(vm: &Vm, write: impl FnOnce(&mut Script)) -> Result<(Buffer, u32)> {
    let buffer = vm.ram().alloc(512, 4)?;
    let base = address32(&buffer)?;
    let mut steps = Script::new(base);
    write(&mut steps);
    buffer.write(0, &steps.bytes())?;
    Ok((buffer, base))
}

fn start(card: &Lsi53c895a) -> Result<()> {
    card.plug.device.bus().reaches_ram()?;
    card.reset()
}

/// A register instruction that changes SCRATCHA, bits 7:0.
fn change(steps: &mut Script, operator: u32, data: u8) {
    steps.put(0x7800_0000 | operator << 24 | SCRATCH << 16 | u32::from(data) << 8, 0);
}

/// Would catch an INT instruction with another number, an interrupt that is let through although
/// it is not enabled, or is not although it is, and a status that a read does not clear.
fn interrupts(card: &Lsi53c895a, vm: &Rc<Vm>) -> Result<()> {
    start(card)?;
    let registers = &card.plug.registers;
    for (enabled, number) in [(false, 0x1234_5678), (true, 0xfedc_ba98u32)] {
        let (_memory, base) = script(vm, |steps| steps.int(number))?;
        registers.set(lsi::DIEN, if enabled { lsi::DSTAT_INT } else { 0 })?;
        assert!(!card.plug.device.asserts_interrupt()?, "INTA# before");
        card.run(base)?;
        assert_eq!(registers.get(lsi::ISTAT0)? & 3, lsi::ISTAT0_DMA, "ISTAT0");
        assert_eq!(card.plug.device.asserts_interrupt()?, enabled, "INTA#, {enabled}");
        assert_eq!(registers.get(lsi::DSP)?, base + 8, "DSP behind the instruction");
        assert_eq!(card.stop(vm)?, Stop::Int(number), "why SCRIPTS have stopped");
        assert!(!card.plug.device.asserts_interrupt()?, "INTA# after DSTAT was read");
        assert_eq!(registers.get(lsi::DSTAT)? & 0x7f, 0, "DSTAT read again");
    }
    Ok(())
}

/// Would catch an operation on registers with another result (5.5).
fn arithmetic(card: &Lsi53c895a, vm: &Rc<Vm>) -> Result<()> {
    start(card)?;
    for (steps, expected) in [
        (&[(MOVE, 0x5a)][..], 0x5au8),
        (&[(MOVE, 0x5a), (OR, 0x81)], 0xdb),
        (&[(MOVE, 0xdb), (AND, 0x3c)], 0x18),
        (&[(MOVE, 0x18), (XOR, 0xff)], 0xe7),
        (&[(MOVE, 0xe7), (ADD, 0x07)], 0xee),
        (&[(MOVE, 0xf0), (ADD, 0x20)], 0x10),
        // The carry is clear.
        (&[(MOVE, 0x41), (ADD, 0), (SHIFT_LEFT, 0)], 0x82),
        (&[(MOVE, 0x82), (ADD, 0), (SHIFT_RIGHT, 0)], 0x41),
    ] {
        let (_memory, base) = script(vm, |script| {
            // CLEAR CARRY.
            script.put(0x6000_0400, 0);
            steps.iter().for_each(|(operator, data)| change(script, *operator, *data));
            script.int(1);
        })?;
        card.plug.registers.set(lsi::SCRATCH_A, 0x7766_5544)?;
        card.run(base)?;
        assert_eq!(card.stop(vm)?, Stop::Int(1), "{steps:x?}");
        let found = card.plug.registers.get(lsi::SCRATCH_A)?;
        assert_eq!(found, 0x7766_5500 | u32::from(expected), "{steps:x?}");
    }
    Ok(())
}

/// Would catch a JUMP that is taken though its condition does not hold, or the other way round.
fn jumps(card: &Lsi53c895a, vm: &Rc<Vm>) -> Result<()> {
    start(card)?;
    for (byte, carry, instruction, taken) in [
        // JUMP; its opposite, which is never taken.
        (0, false, 0x8008_0000u32, true),
        // IF the byte that was received first is 0x42; NOT; with a mask of the lower half.
        (0x42, false, 0x800c_0042, true),
        (0x43, false, 0x800c_0042, false),
        (0x43, false, 0x8004_0042, true),
        (0x42, false, 0x8004_0042, false),
        (0x42, false, 0x800c_0f40, true),
        (0x52, false, 0x800c_0f40, false),
        // IF carry; NOT.
        (0, true, 0x8028_0000, true),
        (0, false, 0x8028_0000, false),
        (0, true, 0x8020_0000, false),
        (0, false, 0x8020_0000, true),
    ] {
        let (_memory, base) = script(vm, |steps| {
            steps.put(if carry { 0x5800_0400 } else { 0x6000_0400 }, 0);
            // MOVE data to SCRATCHA, and that to SFBR.
            change(steps, MOVE, byte);
            steps.put(0x7200_0000 | SCRATCH << 16, 0);
            let target = steps.next() + 16;
            steps.put(instruction, target);
            steps.int(0);
            steps.int(1);
        })?;
        card.run(base)?;
        let what = format!("{instruction:#x} with {byte:#x}, carry {carry}");
        assert_eq!(card.stop(vm)?, Stop::Int(taken.into()), "{what}");
    }
    // Relative, CALL and RETURN.
    let (_memory, base) = script(vm, |steps| {
        steps.put(0x8888_0000, 16);
        steps.int(0);
        // RETURN's way back ends here.
        steps.int(7);
        // The jump comes here.
        let target = steps.next() + 16;
        steps.put(0x8808_0000, target);
        steps.int(9);
        steps.put(0x9008_0000, 0);
    })?;
    card.run(base)?;
    assert_eq!(card.stop(vm)?, Stop::Int(9), "a CALL and its RETURN");
    Ok(())
}

/// Would catch a memory move of other bytes, more or fewer, or to somewhere else (5.7).
fn memory_moves(card: &Lsi53c895a, vm: &Rc<Vm>) -> Result<()> {
    start(card)?;
    let (from, to) = (vm.ram().alloc(8192, 4)?, vm.ram().alloc(8192, 4)?);
    let data: Vec<u8> = (0..8192u32).map(|at| (at * 7 + at / 256) as u8).collect();
    from.write(0, &data)?;
    for (offset, length) in [(0, 1usize), (4, 3), (0, 512), (1, 4097), (0, 8192)] {
        to.write(0, &[0xa5; 8192])?;
        let (source, target) = (address32(&from)? + offset as u32, address32(&to)? + offset as u32);
        let (_memory, base) = script(vm, |steps| {
            steps.put(0xc000_0000 | length as u32, source);
            // The third word is the target; an INT follows.
            steps.put(target, 0x9808_0000);
            steps.put(5, 0);
        })?;
        card.run(base)?;
        assert_eq!(card.stop(vm)?, Stop::Int(5), "a move of {length} bytes");
        let found = to.to_vec()?;
        let end = (offset + length).min(8192);
        assert!(found[offset..end] == data[offset..end], "{length} bytes at {offset}");
        assert!(found[..offset].iter().all(|byte| *byte == 0xa5), "before {length} bytes");
        assert!(found[end..].iter().all(|byte| *byte == 0xa5), "behind {length} bytes");
    }
    Ok(())
}

/// Would catch a LOAD or STORE of another register, or of more or fewer bytes (5.8).
fn load_store(card: &Lsi53c895a, vm: &Rc<Vm>) -> Result<()> {
    start(card)?;
    let registers = &card.plug.registers;
    let data = vm.ram().alloc(64, 4)?;
    let at = address32(&data)?;
    for length in 1..=4u32 {
        data.write(0, &[0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88])?;
        registers.set(lsi::SCRATCH_A, 0)?;
        registers.set(lsi::DSA, at)?;
        let (_memory, base) = script(vm, |steps| {
            steps.put(0xe100_0000 | SCRATCH << 16 | length, at);
            // Relative to DSA.
            steps.put(0xf000_0000 | SCRATCH << 16 | length, 32);
            steps.int(3);
        })?;
        card.run(base)?;
        assert_eq!(card.stop(vm)?, Stop::Int(3), "LOAD and STORE of {length} bytes");
        let mask = u32::MAX >> (8 * (4 - length));
        let loaded = registers.get(lsi::SCRATCH_A)?;
        assert_eq!(loaded, 0x4433_2211 & mask, "LOAD of {length} bytes");
        assert_eq!(data.read_le32(32)?, 0x4433_2211 & mask, "STORE of {length} bytes");
    }
    Ok(())
}

/// Would catch SCRIPTS that go on where they are to stop behind each instruction (DCNTL bit 4).
fn single_step(card: &Lsi53c895a, vm: &Rc<Vm>) -> Result<()> {
    start(card)?;
    let registers = &card.plug.registers;
    let (_memory, base) = script(vm, |steps| {
        change(steps, MOVE, 1);
        change(steps, MOVE, 2);
        steps.int(4);
    })?;
    registers.set(lsi::DCNTL, 0x10)?;
    card.run(base)?;
    for step in 1..=2u32 {
        assert_eq!(card.stop(vm)?, Stop::Dma(lsi::DSTAT_STEP), "step {step}");
        assert_eq!(registers.get(lsi::SCRATCH_A)? & 0xff, step, "step {step}");
        assert_eq!(registers.get(lsi::DSP)?, base + 8 * step, "DSP after step {step}");
        // The next one (DCNTL bit 2), the last without a stop.
        registers.set(lsi::DCNTL, if step == 2 { 0x04 } else { 0x14 })?;
    }
    assert_eq!(card.stop(vm)?, Stop::Int(4), "the last step");
    Ok(())
}

/// Would catch an instruction that is none and does not stop SCRIPTS, and SCRIPTS that do not run
/// after it.
fn illegal(card: &Lsi53c895a, vm: &Rc<Vm>) -> Result<()> {
    start(card)?;
    for instruction in [0xa008_0000u32, 0xa808_0000, 0xb808_0000] {
        let (_memory, base) = script(vm, |steps| {
            steps.put(instruction, 0);
            steps.int(1);
        })?;
        card.run(base)?;
        assert_eq!(card.stop(vm)?, Stop::Dma(lsi::DSTAT_ILLEGAL), "{instruction:#x}");
        let (_memory, base) = script(vm, |steps| steps.int(6))?;
        card.run(base)?;
        assert_eq!(card.stop(vm)?, Stop::Int(6), "SCRIPTS after {instruction:#x}");
    }
    Ok(())
}

/// Would catch a selection of nobody that does not end, and the adapter's own number that is
/// taken for a target.
fn selection_timeout(card: &Lsi53c895a, vm: &Rc<Vm>) -> Result<()> {
    start(card)?;
    let registers = &card.plug.registers;
    let message = vm.ram().alloc(1, 1)?;
    for target in [0, 5, 7, 12] {
        registers.set(lsi::SIEN1, lsi::SIST1_TIMEOUT)?;
        let at = address32(&message)?;
        let (_memory, base) = script(vm, |steps| {
            steps.select(target);
            steps.transfer(Phase::MessageOut, 1, at);
            steps.int(1);
        })?;
        card.run(base)?;
        assert_eq!(registers.get(lsi::ISTAT0)? & 3, lsi::ISTAT0_SCSI, "target {target}");
        assert!(card.plug.device.asserts_interrupt()?, "INTA# of target {target}");
        assert_eq!(card.stop(vm)?, Stop::Timeout, "target {target}");
        assert!(!card.plug.device.asserts_interrupt()?, "INTA# afterwards");
    }
    Ok(())
}

/// Has the slow unit say that it was reset, which it does before it takes another command. `bytes` have
/// room for messages, the command and the status.
fn take_attention(card: &Lsi53c895a, vm: &Vm, bytes: &Buffer) -> Result<()> {
    const IDENTIFY: u8 = 0x80;
    let at = address32(bytes)?;
    bytes.write(0, &[IDENTIFY])?;
    bytes.write(4, &cdb::TEST_UNIT_READY)?;
    let (_memory, base) = script(vm, |steps| {
        steps.select(SLOW.target);
        steps.transfer(Phase::MessageOut, 1, at);
        steps.transfer(Phase::Command, cdb::TEST_UNIT_READY.len() as u32, at + 4);
        steps.transfer(Phase::Status, 1, at + 1);
        steps.transfer(Phase::MessageIn, 1, at + 2);
        steps.expect_disconnect();
        steps.clear_acknowledge();
        steps.wait_disconnect();
        steps.int(0);
    })?;
    card.run(base)?;
    assert_eq!(card.stop(vm)?, Stop::Int(0), "TEST UNIT READY");
    Ok(())
}

/// Would catch SCRIPTS that an INT instruction halted and that run on, without a write to DSP,
/// when the command that is under way ends (5.6).
fn halted(card: &Lsi53c895a, vm: &Rc<Vm>) -> Result<()> {
    start(card)?;
    let bytes = vm.ram().alloc(16, 4)?;
    let at = address32(&bytes)?;
    take_attention(card, vm, &bytes)?;
    bytes.write(4, &cdb::SYNCHRONIZE_CACHE)?;
    let (_memory, base) = script(vm, |steps| {
        steps.select(SLOW.target);
        steps.transfer(Phase::MessageOut, 1, at);
        steps.transfer(Phase::Command, cdb::SYNCHRONIZE_CACHE.len() as u32, at + 4);
        steps.int(1);
        steps.int(2);
    })?;
    let flushed = || -> Result<u64> {
        let all = vm.qmp().execute("query-blockstats", json!({}))?;
        let counts = all.as_array().into_iter().flatten();
        Ok(counts.filter_map(|it| it["stats"]["flush_operations"].as_u64()).sum())
    };
    let before = flushed()?;
    card.run(base)?;
    assert_eq!(card.stop(vm)?, Stop::Int(1), "why SCRIPTS have stopped");
    wait_until(vm, "the slow disk to be flushed", || Ok(flushed()? > before))?;
    let registers = &card.plug.registers;
    assert_eq!(registers.get(lsi::DSP)?, base + 4 * 8, "DSP when the command has ended");
    assert_eq!(registers.get(lsi::ISTAT0)? & 3, 0, "ISTAT0 when the command has ended");
    card.reset()
}

/// Would catch a tag that is mixed with the one before: where a message to the target has two, the last
/// one is that of the command, by which it comes back (SCSI-2, 5.6.7).
fn last_tag(card: &Lsi53c895a, vm: &Rc<Vm>) -> Result<()> {
    /// IDENTIFY, with the right to disconnect, and SIMPLE QUEUE TAG (SCSI-2, 5.6).
    const IDENTIFY: u8 = 0xc0;
    const TAG: u8 = 0x20;
    start(card)?;
    let bytes = vm.ram().alloc(64, 4)?;
    let at = address32(&bytes)?;
    for tags in [&[0x55][..], &[0x55, 0x2a], &[0x01, 0x02, 0x04], &[0xff, 0x00]] {
        take_attention(card, vm, &bytes)?;
        let mut messages = vec![IDENTIFY];
        messages.extend(tags.iter().flat_map(|tag| [TAG, *tag]));
        bytes.write(0, &messages)?;
        let command = cdb::transfer(10, false, 0, 1);
        bytes.write(16, &command)?;
        bytes.write(32, &[0xee; 8])?;
        let (_memory, base) = script(vm, |steps| {
            steps.select(SLOW.target);
            steps.transfer(Phase::MessageOut, messages.len() as u32, at);
            steps.transfer(Phase::Command, command.len() as u32, at + 16);
            // SAVE DATA POINTER, and DISCONNECT.
            steps.transfer(Phase::MessageIn, 2, at + 32);
            steps.expect_disconnect();
            steps.clear_acknowledge();
            steps.wait_disconnect();
            let signalled = steps.next();
            steps.wait_reselect(signalled);
            steps.transfer(Phase::MessageIn, 3, at + 36);
            steps.clear_acknowledge();
            steps.int(3);
        })?;
        card.run(base)?;
        assert_eq!(card.stop(vm)?, Stop::Int(3), "the tags {tags:x?}");
        let found = bytes.to_vec()?;
        let last = *tags.last().unwrap_or(&0);
        assert_eq!(
            found[36..39],
            [0x80, TAG, last],
            "{tags:x?}: what the target says at its return"
        );
        card.reset()?;
    }
    Ok(())
}

/// Would catch a chip that does something else when it is to be reset (ISTAT0 bit 6, 4.2): that tells
/// of SCRIPTS that were stopped, or runs on those that wait, because another bit is set as well.
fn reset_alone(card: &Lsi53c895a, vm: &Rc<Vm>) -> Result<()> {
    /// ISTAT0: signals SCRIPTS that wait for a target.
    const SIGNAL: u8 = 1 << 5;
    start(card)?;
    let registers = &card.plug.registers;
    for others in [0, SIGNAL, lsi::ISTAT0_ABORT, SIGNAL | lsi::ISTAT0_ABORT] {
        let mark = vm.ram().alloc(8, 4)?;
        mark.write_le32(0, 0x600d_600d)?;
        let at = address32(&mark)?;
        let (_memory, base) = script(vm, |steps| {
            let signalled = steps.next() + 16;
            steps.wait_reselect(signalled);
            steps.int(1);
            // A move of memory, whose third word is the target.
            steps.put(0xc000_0004, at);
            steps.put(at + 4, 0x9808_0000);
            steps.put(2, 0);
        })?;
        registers.set(lsi::DIEN, 0x7d)?;
        card.run(base)?;
        assert_eq!(registers.get(lsi::ISTAT0)? & 3, 0, "{others:#x}: SCRIPTS wait");
        registers.set(lsi::ISTAT0, lsi::ISTAT0_RESET | others)?;
        registers.set(lsi::ISTAT0, 0)?;
        assert_eq!(mark.read_le32(4)?, 0, "{others:#x}: SCRIPTS ran");
        assert!(!card.plug.device.asserts_interrupt()?, "{others:#x}: INTA#");
        assert_eq!(registers.get(lsi::ISTAT0)?, 0, "{others:#x}: ISTAT0");
        assert_eq!(registers.get(lsi::DSTAT)? & 0x7f, 0, "{others:#x}: DSTAT");
        assert_eq!(registers.get(lsi::DSP)?, 0, "{others:#x}: DSP");
        let (_memory, base) = script(vm, |steps| steps.int(6))?;
        card.run(base)?;
        assert_eq!(card.stop(vm)?, Stop::Int(6), "{others:#x}: SCRIPTS after the reset");
    }
    Ok(())
}
