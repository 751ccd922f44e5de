//! Queued commands behind an AHCI controller: several at once, done in another order, errors,
//! counts and memory at their limits (SATA 3.2, 13.6; Serial ATA AHCI Specification 1.3.1, 5.6.4
//! and 6.2).

use std::rc::Rc;
use std::time::Duration;

use crate::qemu::{Buffer, Vm};
use crate::qos::ahci::ata::{READ_QUEUED, WRITE_QUEUED};
use crate::qos::ahci::command::Command;
use crate::qos::ahci::port::{Fis, Port};
use crate::qos::ahci::{self as ahci, AhciHba, SECTOR, SLOTS, Unit};
use crate::qos::block::{DISK, Piece};
use crate::qos::ide::command;
use crate::qos::{wait_until, wait_with_clock_still};
use crate::{Result, attacks, tests};

tests!(AhciHba, "ahci":
    first = "io/ncq/first",
    simple = "io/ncq/simple",
    all = "io/ncq/all-tags",
    bits = "io/ncq/device-bits",
    order = "io/ncq/out-of-order",
    max = "io/ncq/max",
    far = "io/ncq/far",
    past_the_end = "io/ncq/past-the-end",
    short_memory = "io/ncq/short-memory",
    unknown = "io/ncq/unknown",
    twice = "io/ncq/same-tag-twice",
    waits = "io/ncq/with-others",
);
attacks!(AhciHba, "ahci-attacks": simple = "io/ncq/simple");

/// A port whose device has had a command done, so that its error register is clear.
fn started(hba: &AhciHba, unit: Unit) -> Result<Port> {
    let port = Port::start(hba, unit)?;
    port.good(&Command::new(command::FLUSH_EXT), "a flush")?;
    Ok(port)
}

fn pattern(seed: usize, length: usize) -> Vec<u8> {
    (0..length).map(|at| (at * 3 + at / SECTOR * 7 + seed) as u8).collect()
}

/// Issues the commands that are put into these slots, as queued ones (5.6.4.1: PxSACT first).
fn issue(port: &Port, slots: u32) -> Result<()> {
    port.set(ahci::PX_SACT, slots)?;
    port.set(ahci::PX_CI, slots)
}

/// Waits until no command is left, all of which must have succeeded.
fn done(port: &Port, what: &str) -> Result<()> {
    wait_until(&port.vm, what, || Ok(port.get(ahci::PX_SACT)? == 0))?;
    port.expect(ahci::PX_CI, 0, what)?;
    port.expect(ahci::PX_TFD, ahci::TFD_READY, what)?;
    // A queued command's registers are told without an interrupt.
    port.expect(ahci::PX_IS, ahci::IS_SDBS, what)?;
    port.expect(ahci::PX_SERR, 0, what)?;
    port.set(ahci::PX_IS, ahci::IS_SDBS)?;
    port.expect(ahci::PX_IS, 0, what)
}

/// Would catch a first command that is queued and shows an error register that is not its own:
/// the code of the diagnostics (ACS-3, 11.7: zero with success).
fn first(hba: &AhciHba, vm: &Rc<Vm>) -> Result<()> {
    let port = Port::start(hba, Unit::Disk)?;
    let memory = vm.ram().alloc(SECTOR, 2)?;
    port.put(0, &Command::queued(READ_QUEUED, 0, 0, 1).into(&[Piece::whole(&memory)]))?;
    issue(&port, 1)?;
    done(&port, "the first command")
}

/// Would catch one queued command whose data are another's, at either end and in the middle.
fn simple(hba: &AhciHba, vm: &Rc<Vm>) -> Result<()> {
    let port = started(hba, Unit::Disk)?;
    vm.set_up_ends()?;
    let memory = vm.ram().alloc(128 * SECTOR, 4096)?;
    let last = DISK.size / SECTOR as u64;
    for (tag, first, count) in [(0, 0, 1), (31, last - 1, 1), (7, 4000, 128), (1, last - 9, 9)] {
        let length = usize::from(count) * SECTOR;
        let (there, new) = (pattern(tag, length), pattern(tag + 100, length));
        let pieces = [Piece::of(&memory, 0, length)];
        vm.write_image(DISK.name, first * SECTOR as u64, &there)?;
        port.put(tag, &Command::queued(READ_QUEUED, tag, first, count).into(&pieces))?;
        issue(&port, 1 << tag)?;
        done(&port, &format!("{count} sectors read at {first:#x}"))?;
        let mut found = vec![0; length];
        memory.read(0, &mut found)?;
        assert!(found == there, "{count} sectors read at {first:#x}");
        memory.write(0, &new)?;
        port.put(tag, &Command::queued(WRITE_QUEUED, tag, first, count).from(&pieces))?;
        issue(&port, 1 << tag)?;
        done(&port, &format!("{count} sectors written at {first:#x}"))?;
        vm.read_image(DISK.name, first * SECTOR as u64, &mut found)?;
        assert!(found == new, "{count} sectors written at {first:#x}");
    }
    Ok(())
}

/// Puts a command of four sectors for every slot, each with memory and sectors of its own.
fn put_all(port: &Port, memory: &Buffer, code: u8) -> Result<()> {
    for slot in 0..SLOTS {
        // Every other piece of memory is cut in two.
        let at = 4 * SECTOR * slot;
        let halves =
            [Piece::of(memory, at, 2 * SECTOR), Piece::of(memory, at + 2 * SECTOR, 2 * SECTOR)];
        let whole = [Piece::of(memory, at, 4 * SECTOR)];
        let pieces: &[Piece] = if slot % 2 == 0 { &whole } else { &halves };
        let command = Command::queued(code, slot, 100 + 4 * (SLOTS - 1 - slot) as u64, 4);
        let command =
            if code == WRITE_QUEUED { command.from(pieces) } else { command.into(pieces) };
        port.put(slot, &command)?;
    }
    Ok(())
}

/// Would catch queued commands whose data are another's, that are not reported as done, or are
/// left behind when every tag is in use.
fn all(hba: &AhciHba, vm: &Rc<Vm>) -> Result<()> {
    let port = started(hba, Unit::Disk)?;
    vm.set_up_ends()?;
    let length = 4 * SECTOR * SLOTS;
    let memory = vm.ram().alloc(length, 4096)?;
    let mut found = vec![0; length];
    let reversed = |data: &[u8]| -> Vec<u8> {
        data.chunks_exact(4 * SECTOR).rev().flatten().copied().collect()
    };
    for round in 0..2 {
        let (there, new) = (pattern(round, length), pattern(round + 50, length));
        vm.write_image(DISK.name, 100 * SECTOR as u64, &there)?;
        put_all(&port, &memory, READ_QUEUED)?;
        issue(&port, u32::MAX)?;
        done(&port, "32 commands that read")?;
        assert!(memory.to_vec()? == reversed(&there), "what was read, round {round}");
        memory.write(0, &new)?;
        put_all(&port, &memory, WRITE_QUEUED)?;
        issue(&port, u32::MAX)?;
        done(&port, "32 commands that write")?;
        vm.read_image(DISK.name, 100 * SECTOR as u64, &mut found)?;
        assert!(found == reversed(&new), "what was written, round {round}");
    }
    port.identify(command::IDENTIFY).map(drop)
}

/// Would catch device bits that say other than what was done (SATA 3.2, 10.5.7), or registers
/// that interrupt when a queued command is accepted.
fn bits(hba: &AhciHba, vm: &Rc<Vm>) -> Result<()> {
    let port = started(hba, Unit::Disk)?;
    let memory = vm.ram().alloc(SECTOR, 2)?;
    let pieces = [Piece::whole(&memory)];
    for tag in [0, 9, 31] {
        port.forget()?;
        port.put(tag, &Command::queued(READ_QUEUED, tag, 5, 1).into(&pieces))?;
        issue(&port, 1 << tag)?;
        done(&port, "a queued command")?;
        let fis = port.fis(Fis::DeviceBits)?.expect("device bits");
        let [a, b, c, d] = (1u32 << tag).to_le_bytes();
        assert_eq!(fis, [0xa1, 0x40, 0x50, 0, a, b, c, d], "the device bits of tag {tag}");
        let fis = port.fis(Fis::Registers)?.expect("the command is accepted");
        // The bit of a seek aside, it is ready, and has no error; no interrupt.
        assert_eq!((fis[0], fis[1], fis[2] & 0xef, fis[3]), (0x34, 0, 0x40, 0), "{fis:02x?}");
        port.received_only(&[Fis::DeviceBits, Fis::Registers], "a queued command")?;
    }
    Ok(())
}

/// Would catch a command that is done before others and not reported until they are, or is
/// reported with them.
fn order(hba: &AhciHba, vm: &Rc<Vm>) -> Result<()> {
    let port = started(hba, Unit::Slow)?;
    let memory = vm.ram().alloc(4 * SECTOR, 2)?;
    let pieces = [Piece::of(&memory, 0, SECTOR)];
    for round in 0..2 {
        // One write is done at once, or after its time; the others wait.
        let writes = [3, 8, 20];
        for (at, tag) in writes.into_iter().enumerate() {
            let command = Command::queued(WRITE_QUEUED, tag, at as u64, 1);
            port.put(tag, &command.from(&pieces))?;
        }
        port.put(15, &Command::queued(READ_QUEUED, 15, 9, 1).into(&pieces))?;
        let all = 1 << 3 | 1 << 8 | 1 << 20 | 1 << 15;
        issue(&port, all)?;
        port.expect(ahci::PX_CI, 0, "all are accepted")?;
        wait_with_clock_still(vm, "the first write, and the command that reads", || {
            Ok(port.get(ahci::PX_SACT)? & (1 << 3 | 1 << 15) == 0)
        })?;
        let left = port.get(ahci::PX_SACT)?;
        assert_eq!(left & (1 << 8 | 1 << 20), 1 << 8 | 1 << 20, "PxSACT {left:#x}: two wait");
        let pending = port.get(ahci::PX_IS)?;
        assert_eq!(pending, ahci::IS_SDBS, "PxIS, round {round}");
        let fis = port.fis(Fis::DeviceBits)?.expect("device bits");
        let ended = u32::from_le_bytes([fis[4], fis[5], fis[6], fis[7]]);
        assert_eq!(ended & left, 0, "device bits {fis:02x?} of commands that wait");
        port.set(ahci::PX_IS, ahci::IS_SDBS)?;
        // One after the other.
        for count in [2, 1] {
            let before = port.get(ahci::PX_SACT)?;
            assert_eq!(before.count_ones(), count, "PxSACT {before:#x} with the clock still");
            port.expect(ahci::PX_IS, 0, "nothing has ended")?;
            wait_until(vm, "one write more", || Ok(port.get(ahci::PX_SACT)? != before))?;
            port.expect(ahci::PX_IS, ahci::IS_SDBS, "one has ended")?;
            let now = port.get(ahci::PX_SACT)?;
            let fis = port.fis(Fis::DeviceBits)?.expect("device bits");
            let ended = u32::from_le_bytes([fis[4], fis[5], fis[6], fis[7]]);
            assert_eq!(ended, before & !now, "device bits {fis:02x?}");
            assert_eq!(now, before & !ended, "PxSACT {now:#x} after {before:#x}");
            port.set(ahci::PX_IS, ahci::IS_SDBS)?;
        }
        vm.qtest().clock_step(Some(Duration::from_secs(5)))?;
    }
    Ok(())
}

/// Would catch a count of zero that is not 65,536 sectors.
fn max(hba: &AhciHba, vm: &Rc<Vm>) -> Result<()> {
    let port = started(hba, Unit::Broken)?;
    let memory = vm.ram().alloc(1 << 20, 4096)?;
    let end = vm.ram().alloc(1 << 20, 4096)?;
    end.write(0, &vec![0xa5; 1 << 20])?;
    let mut pieces = [Piece::whole(&memory); 32];
    pieces[31] = Piece::whole(&end);
    port.put(4, &Command::queued(READ_QUEUED, 4, 0x77, 0).into(&pieces))?;
    issue(&port, 1 << 4)?;
    done(&port, "65,536 sectors, read")?;
    assert!(end.to_vec()?.iter().all(|byte| *byte == 0), "the memory of the last sectors");
    // One piece less is too short for them.
    port.put(4, &Command::queued(READ_QUEUED, 4, 0x77, 0).into(&pieces[1..]))?;
    issue(&port, 1 << 4)?;
    let pending = port.get(ahci::PX_IS)?;
    assert_eq!(pending & ahci::IS_OFS, ahci::IS_OFS, "PxIS {pending:#x}: memory is too short");
    port.reset_link()
}

/// Would catch a bit of a queued command's sector that is lost or at another's place.
fn far(hba: &AhciHba, vm: &Rc<Vm>) -> Result<()> {
    let port = started(hba, Unit::Broken)?;
    let memory = vm.ram().alloc(SECTOR, 2)?;
    let pieces = [Piece::whole(&memory)];
    for (code, broken) in [(READ_QUEUED, ahci::BROKEN_READ), (WRITE_QUEUED, ahci::BROKEN_WRITE)] {
        for bit in 0..47 {
            let first = broken ^ 1 << bit;
            let command = Command::queued(code, 2, first, 1);
            let is_write = code == WRITE_QUEUED;
            port.put(2, &if is_write { command.from(&pieces) } else { command.into(&pieces) })?;
            issue(&port, 1 << 2)?;
            done(&port, &format!("command {code:#x} at {first:#x}"))?;
        }
        fails(&port, &pieces, code, broken, &format!("command {code:#x} at what is broken"))?;
    }
    Ok(())
}

/// Has a queued command with tag 6 fail, and the port recovered from it (6.2.2.2).
fn fails(port: &Port, pieces: &[Piece], code: u8, first: u64, what: &str) -> Result<()> {
    let command = Command::queued(code, 6, first, (pieces[0].length / SECTOR) as u16);
    let command = if code == WRITE_QUEUED { command.from(pieces) } else { command.into(pieces) };
    port.put(6, &command)?;
    port.forget()?;
    issue(port, 1 << 6)?;
    wait_until(&port.vm, what, || Ok(port.get(ahci::PX_IS)? & ahci::IS_TFES != 0))?;
    port.expect(ahci::PX_IS, ahci::IS_TFES, what)?;
    // Aborted, with an error, ready. The tag stays for recovery.
    port.expect(ahci::PX_TFD, 0x0441, what)?;
    port.expect(ahci::PX_SACT, 1 << 6, what)?;
    port.expect(ahci::PX_CI, 0, what)?;
    let fis = port.fis(Fis::DeviceBits)?.expect("device bits");
    assert_eq!(fis, [0xa1, 0x40, 0x41, 0x04, 0, 0, 0, 0], "the device bits, {what}");
    port.reset_link()
}

/// Would catch a queued command past the end that is done, or does not show its error.
fn past_the_end(hba: &AhciHba, vm: &Rc<Vm>) -> Result<()> {
    let port = started(hba, Unit::Disk)?;
    let memory = vm.ram().alloc(2 * SECTOR, 2)?;
    let pieces = [Piece::whole(&memory)];
    let last = DISK.size / SECTOR as u64;
    for code in [READ_QUEUED, WRITE_QUEUED] {
        for first in [last, last - 1, last + 5, 1 << 40] {
            fails(&port, &pieces, code, first, &format!("command {code:#x} at {first:#x}"))?;
            port.put(6, &Command::queued(READ_QUEUED, 6, 0, 2).into(&pieces))?;
            issue(&port, 1 << 6)?;
            done(&port, "a command after one that failed")?;
        }
    }
    Ok(())
}

/// Would catch memory too short for a queued command's data that is written past its end, or is
/// not reported (6.1.5: PxIS.OFS).
fn short_memory(hba: &AhciHba, vm: &Rc<Vm>) -> Result<()> {
    let port = started(hba, Unit::Disk)?;
    let memory = vm.ram().alloc(4 * SECTOR, 2)?;
    for length in [2, SECTOR, 2 * SECTOR - 2] {
        memory.write(0, &[0xa5; 4 * SECTOR])?;
        let pieces = [Piece::of(&memory, 0, length)];
        port.put(11, &Command::queued(READ_QUEUED, 11, 0, 2).into(&pieces))?;
        issue(&port, 1 << 11)?;
        let pending = port.get(ahci::PX_IS)?;
        assert_eq!(pending & ahci::IS_OFS, ahci::IS_OFS, "PxIS {pending:#x}");
        let found = memory.to_vec()?;
        assert!(found[length..].iter().all(|it| *it == 0xa5), "memory behind {length} bytes");
        port.reset_link()?;
        port.identify(command::IDENTIFY)?;
    }
    Ok(())
}

/// Would catch a queued command that the disk does not have and that never ends (ATA8-ACS: it is
/// aborted).
fn unknown(hba: &AhciHba, vm: &Rc<Vm>) -> Result<()> {
    let port = started(hba, Unit::Disk)?;
    let memory = vm.ram().alloc(SECTOR, 2)?;
    let pieces = [Piece::whole(&memory)];
    for code in [0x63, 0x64, 0x65] {
        port.put(6, &Command::queued(code, 6, 0, 1).into(&pieces))?;
        issue(&port, 1 << 6)?;
        wait_until(vm, "a command that is not there to fail", || {
            Ok(port.get(ahci::PX_IS)? & ahci::IS_TFES != 0)
        })?;
        port.resume()?;
    }
    Ok(())
}

/// Would catch a tag that is given out twice and ends the emulator.
fn twice(hba: &AhciHba, vm: &Rc<Vm>) -> Result<()> {
    let port = started(hba, Unit::Slow)?;
    let memory = vm.ram().alloc(SECTOR, 2)?;
    let pieces = [Piece::whole(&memory)];
    for slot in [0, 1, 2] {
        port.put(slot, &Command::queued(WRITE_QUEUED, 1, 0, 1).from(&pieces))?;
    }
    issue(&port, 7)?;
    vm.qtest().clock_step(Some(Duration::from_secs(5)))?;
    port.get(ahci::PX_SACT)?;
    hba.reset()?;
    port.resume()?;
    port.identify(command::IDENTIFY).map(drop)
}

/// Would catch a queued command that is lost beside others that wait, when the port is stopped.
fn waits(hba: &AhciHba, vm: &Rc<Vm>) -> Result<()> {
    let port = started(hba, Unit::Slow)?;
    let memory = vm.ram().alloc(SECTOR, 2)?;
    let pieces = [Piece::whole(&memory)];
    for slot in [0, 1, 2] {
        port.put(slot, &Command::queued(WRITE_QUEUED, slot, 0, 1).from(&pieces))?;
    }
    issue(&port, 7)?;
    let left = port.get(ahci::PX_SACT)?;
    assert_eq!(left & 6, 6, "PxSACT {left:#x}: two wait");
    hba.reset()?;
    port.expect(ahci::PX_SACT, 0, "after a reset with commands under way")?;
    port.expect(ahci::PX_IS, 0, "after a reset with commands under way")?;
    port.resume()?;
    vm.qtest().clock_step(Some(Duration::from_secs(5)))?;
    port.expect(ahci::PX_IS, 0, "what was under way does not end")?;
    port.good(&Command::new(command::FLUSH_EXT), "a flush after a reset")?;
    port.put(1, &Command::queued(READ_QUEUED, 1, 0, 1).into(&pieces))?;
    issue(&port, 2)?;
    done(&port, "a command after a reset")
}
