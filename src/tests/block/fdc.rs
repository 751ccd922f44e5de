//! The floppy controller of a PC: its commands and their results, data without DMA compared with
//! the image, drives with and without a disk, and guests that send what they should not (Intel
//! 82078 datasheet, chapter 5).

use std::rc::Rc;

use serde_json::json;
use vm_memory::GuestAddress;

use crate::drivers::block::isa_fdc::{self as fdc, FLOPPY, IsaFdc, SECTOR, SECTORS, command};
use crate::drivers::dma::i8257::{I8257, Transfer};
use crate::qemu::Vm;
use crate::qos::interrupt::InterruptLine;
use crate::qos::registers::{Registers, RegistersExt, Width};
use crate::{Error, Result, attacks, tests};

tests!(IsaFdc, "fdc":
    version,
    reset,
    dump,
    step_rate = "dump/step-rate",
    lock,
    seek,
    recalibrate,
    sense_interrupt,
    relative_seek,
    read_id,
    read_one = "read_no_dma_1",
    read_track = "read_no_dma_18",
    write = "write_no_dma",
    write_ends = "write_no_dma/result",
    dma,
    dma_verify = "dma/verify",
    verify,
    past_the_end = "past-the-end",
    last_track = "past-the-end/first-track",
    no_media = "no_media_on_start",
    read_without = "read_without_media",
    media_change,
    drives,
    line = "interrupt",
    every_command = "fuzz/every-command",
    registers = "fuzz-registers";
    with IsaFdc::ARGS;
);
attacks!(IsaFdc, "fdc-attacks": read_one = "read_no_dma_1");

fn pattern(seed: usize, length: usize) -> Vec<u8> {
    (0..length).map(|at| (at * 3 + at / SECTOR * 17 + seed) as u8).collect()
}

/// Would catch a controller that takes itself for another.
fn version(fdc: &IsaFdc, _: &Rc<Vm>) -> Result<()> {
    fdc.reset(0)?;
    assert_eq!(fdc.run(&[command::VERSION], 1)?, [0x90], "VERSION: enhanced");
    assert_eq!(fdc.run(&[command::PART_ID], 1)?, [0x41], "PART ID: the 82078");
    Ok(())
}

/// Would catch a reset that does not interrupt for each drive, or once more (5.2.5).
fn reset(fdc: &IsaFdc, _: &Rc<Vm>) -> Result<()> {
    for _ in 0..2 {
        fdc.reset(0)?;
        for drive in 0..4 {
            assert_eq!(fdc.sense()?, (0xc0 | drive, 0), "the interrupt of drive {drive}");
        }
        let none = fdc.run(&[command::SENSE_INTERRUPT], 1)?;
        assert_eq!(none, [0x80], "SENSE INTERRUPT STATUS with none");
    }
    // The data rate's register resets as well, and ends that by itself.
    fdc.registers.set(fdc::DSR, 0x80)?;
    fdc.expect_idle("after a reset by DSR")?;
    assert_eq!(fdc.sense()?, (0xc0, 0), "the first interrupt after a reset by DSR");
    Ok(())
}

/// Has the four interrupts of a reset sensed.
fn started(fdc: &IsaFdc, drive: u8) -> Result<()> {
    fdc.reset(drive)?;
    for _ in 0..4 {
        fdc.sense()?;
    }
    Ok(())
}

/// Would catch parameters that are lost, or mixed up (5.2.6: DUMPREG).
fn dump(fdc: &IsaFdc, vm: &Rc<Vm>) -> Result<()> {
    started(fdc, 0)?;
    fdc.run(&[command::SPECIFY, 0xa5, 0x37], 0)?;
    fdc.run(&[command::CONFIGURE, 0, 0x57, 0x42], 0)?;
    fdc.run(&[command::SEEK, 0, 13], 0)?;
    assert_eq!(fdc.sense()?, (0x20, 13), "the end of a seek");
    vm.set_up_ends()?;
    let found = fdc.run(&[command::DUMP], 10)?;
    assert_eq!(found[0], 13, "the track of drive 0: {found:02x?}");
    assert_eq!(found[1..4], [0, 0, 0], "the tracks of the others: {found:02x?}");
    assert_eq!(found[5] >> 1, 0x37 >> 1, "the head's load time: {found:02x?}");
    assert_eq!(found[8..], [0x57, 0x42], "the configuration: {found:02x?}");
    Ok(())
}

/// Would catch a step rate or a head's unload time that DUMPREG does not tell as SPECIFY gave them.
fn step_rate(fdc: &IsaFdc, _: &Rc<Vm>) -> Result<()> {
    started(fdc, 0)?;
    fdc.run(&[command::SPECIFY, 0xa5, 0x37], 0)?;
    let found = fdc.run(&[command::DUMP], 10)?;
    assert_eq!(found[4], 0xa5, "the step rate and the head's unload time: {found:02x?}");
    Ok(())
}

/// Would catch a lock that does not keep the configuration in a reset, or does without it (5.2.8).
fn lock(fdc: &IsaFdc, _: &Rc<Vm>) -> Result<()> {
    started(fdc, 0)?;
    fdc.run(&[command::CONFIGURE, 0, 0x57, 0x42], 0)?;
    assert_eq!(fdc.run(&[command::LOCK], 1)?, [0x10], "LOCK");
    started(fdc, 0)?;
    let found = fdc.run(&[command::DUMP], 10)?;
    assert_eq!(found[7] & 0x80, 0x80, "locked: {found:02x?}");
    assert_eq!(found[8..], [0x57, 0x42], "the configuration, locked: {found:02x?}");
    assert_eq!(fdc.run(&[command::UNLOCK], 1)?, [0], "LOCK, cleared");
    let found = fdc.run(&[command::DUMP], 10)?;
    assert_eq!(found[7] & 0x80, 0, "unlocked: {found:02x?}");
    Ok(())
}

/// Would catch a seek to another track, or one that does not interrupt.
fn seek(fdc: &IsaFdc, vm: &Rc<Vm>) -> Result<()> {
    started(fdc, 0)?;
    for track in [0, 1, 79, 40] {
        fdc.run(&[command::SEEK, 0, track], 0)?;
        assert_eq!(fdc.sense()?, (0x20, track), "a seek to {track}");
        let none = fdc.run(&[command::SENSE_INTERRUPT], 1)?;
        assert_eq!(none, [0x80], "SENSE INTERRUPT STATUS with none");
    }
    vm.set_up_ends()?;
    assert_eq!(fdc.run(&[command::DUMP], 10)?[0], 40, "the track");
    Ok(())
}

/// Would catch a head that does not return to track 0, or a drive that does not say so.
fn recalibrate(fdc: &IsaFdc, _: &Rc<Vm>) -> Result<()> {
    started(fdc, 0)?;
    fdc.run(&[command::SEEK, 0, 33], 0)?;
    assert_eq!(fdc.sense()?, (0x20, 33), "a seek");
    let status = fdc.run(&[command::SENSE_DRIVE, 0], 1)?[0];
    assert_eq!(status & 0x13, 0, "status 3: {status:#x}, drive 0, not at track 0");
    fdc.run(&[command::RECALIBRATE, 0], 0)?;
    assert_eq!(fdc.sense()?, (0x20, 0), "RECALIBRATE");
    let status = fdc.run(&[command::SENSE_DRIVE, 0], 1)?[0];
    assert_eq!(status & 0x13, 0x10, "status 3: {status:#x}, drive 0, at track 0");
    Ok(())
}

/// Would catch an interrupt that is sensed although there is none.
fn sense_interrupt(fdc: &IsaFdc, _: &Rc<Vm>) -> Result<()> {
    started(fdc, 0)?;
    for _ in 0..2 {
        assert_eq!(fdc.run(&[command::SENSE_INTERRUPT], 1)?, [0x80], "with none");
    }
    Ok(())
}

/// Would catch steps in the wrong direction, or another number of them.
fn relative_seek(fdc: &IsaFdc, _: &Rc<Vm>) -> Result<()> {
    started(fdc, 0)?;
    for (code, steps, track) in [
        (command::SEEK_IN, 1, 1),
        (command::SEEK_IN, 19, 20),
        (command::SEEK_OUT, 5, 15),
        (command::SEEK_OUT, 15, 0),
    ] {
        fdc.run(&[code, 0, steps], 0)?;
        let (status, found) = fdc.sense()?;
        assert_eq!((status & 0xe3, found), (0x20, track), "command {code:#x} by {steps}");
    }
    Ok(())
}

/// Would catch an address mark of another side, or one that no sector has.
fn read_id(fdc: &IsaFdc, _: &Rc<Vm>) -> Result<()> {
    started(fdc, 0)?;
    for (track, head) in [(0u8, 0u8), (0, 1), (8, 1), (8, 0)] {
        fdc.run(&[command::SEEK, head << 2, track], 0)?;
        fdc.sense()?;
        let found = fdc.run(&[command::READ_ID, head << 2], 7)?;
        assert_eq!(found[0] & 0xc7, head << 2, "status 0: {found:02x?}");
        assert_eq!((found[1], found[2]), (0, 0), "status 1 and 2: {found:02x?}");
        assert_eq!((found[3], found[4], found[6]), (track, head, 2), "the mark: {found:02x?}");
        assert!((1..=SECTORS as u8).contains(&found[5]), "the sector: {found:02x?}");
    }
    Ok(())
}

/// How a command that moved data has ended: well, or at the end of the track, as without a
/// terminal count.
fn ended(found: &[u8], what: &str) {
    let is_good = found[0] & 0xc0 == 0 && found[1] == 0;
    let is_end = found[0] & 0xc0 == 0x40 && found[1] == 0x80;
    assert!((is_good || is_end) && found[2] == 0, "{what}: {found:02x?}");
    assert_eq!(found[6], 2, "{what}, the size: {found:02x?}");
}

/// Reads sectors by the FIFO, up to `last`, and compares them with the image.
fn read(fdc: &IsaFdc, vm: &Vm, from: (u8, u8, u8), last: u8) -> Result<()> {
    let length = usize::from(last - from.2 + 1) * SECTOR;
    let there = pattern(usize::from(from.0) + usize::from(from.2) * 7, length);
    vm.write_image(FLOPPY.name, fdc::place(from), &there)?;
    fdc.run(&[command::SEEK, from.1 << 2, from.0], 0)?;
    fdc.sense()?;
    for byte in fdc::transfer(command::READ, 0, from, last) {
        fdc.send(byte)?;
    }
    let found: Vec<u8> = (0..length).map(|_| fdc.receive()).collect::<Result<_>>()?;
    assert!(found == there, "the data from {from:?} to {last}");
    ended(&fdc.results(7, "READ DATA")?, "READ DATA");
    Ok(())
}

/// Would catch one sector that is another's.
fn read_one(fdc: &IsaFdc, vm: &Rc<Vm>) -> Result<()> {
    started(fdc, 0)?;
    for from in [(0, 0, 1), (0, 1, 1), (1, 0, 18), (79, 1, 18), (40, 1, 9)] {
        read(fdc, vm, from, from.2)?;
    }
    Ok(())
}

/// Would catch sectors of a track of which some are missing, or out of order.
fn read_track(fdc: &IsaFdc, vm: &Rc<Vm>) -> Result<()> {
    started(fdc, 0)?;
    read(fdc, vm, (3, 1, 1), 18)?;
    read(fdc, vm, (3, 0, 5), 7)
}

/// Would catch data that are written elsewhere than meant, or cut off.
fn write(fdc: &IsaFdc, vm: &Rc<Vm>) -> Result<()> {
    for (seed, (from, last)) in
        [((0, 0, 1), 1), ((79, 1, 17), 18), ((12, 1, 3), 9)].iter().enumerate()
    {
        let length = usize::from(last - from.2 + 1) * SECTOR;
        let mut expected = vec![0; FLOPPY.size as usize];
        vm.read_image(FLOPPY.name, 0, &mut expected)?;
        let new = pattern(seed + 99, length);
        let at = fdc::place(*from) as usize;
        expected[at..at + length].copy_from_slice(&new);
        started(fdc, 0)?;
        fdc.run(&[command::SEEK, from.1 << 2, from.0], 0)?;
        fdc.sense()?;
        for byte in fdc::transfer(command::WRITE, 0, *from, *last).iter().chain(&new) {
            fdc.send(*byte)?;
        }
        let mut found = vec![0; expected.len()];
        vm.read_image(FLOPPY.name, 0, &mut found)?;
        assert!(found == expected, "the disk after {from:?} to {last}");
    }
    Ok(())
}

/// Would catch a write up to the end of the track that has no result.
fn write_ends(fdc: &IsaFdc, _: &Rc<Vm>) -> Result<()> {
    started(fdc, 0)?;
    let command = fdc::transfer(command::WRITE, 0, (0, 0, 18), 18);
    for byte in command.iter().chain(&pattern(1, SECTOR)) {
        fdc.send(*byte)?;
    }
    ended(&fdc.results(7, "WRITE DATA")?, "WRITE DATA");
    Ok(())
}

/// Memory that the channel reaches: below 16 MiB. Nothing else is there, as no CPU runs.
const MEMORY: GuestAddress = GuestAddress(0x2_0000);
/// The channel of the controller.
const CHANNEL: usize = 2;

/// Has a command move sectors by DMA.
fn by_dma(fdc: &IsaFdc, code: u8, from: (u8, u8, u8), last: u8) -> Result<()> {
    fdc.run(&[command::SEEK, from.1 << 2, from.0], 0)?;
    fdc.sense()?;
    fdc.registers.set(fdc::DOR, fdc::DOR_RUNS | fdc::DOR_DMA | fdc::DOR_MOTORS)?;
    // The bit ND of SPECIFY is clear: with DMA.
    fdc.run(&[command::SPECIFY, 0xdf, 0x02], 0)?;
    let found = fdc.run(&fdc::transfer(code, 0, from, last), 7)?;
    ended(&found, &format!("command {code:#x} by DMA"));
    Ok(())
}

/// Would catch data by DMA that are another sector's, or come from or go to other memory.
fn dma(fdc: &IsaFdc, vm: &Rc<Vm>) -> Result<()> {
    let channels = I8257::of_pc(vm);
    for (seed, (from, last)) in [((0, 0, 1), 1), ((12, 1, 3), 6)].into_iter().enumerate() {
        let length = usize::from(last - from.2 + 1) * SECTOR;
        let (there, new) = (pattern(seed + 5, length), pattern(seed + 77, length));
        vm.write_image(FLOPPY.name, fdc::place(from), &there)?;
        started(fdc, 0)?;
        channels.give(CHANNEL, Transfer::ToMemory, MEMORY, length)?;
        by_dma(fdc, command::READ, from, last)?;
        let mut moved = vec![0; length];
        vm.ram().read(MEMORY, &mut moved)?;
        assert!(moved == there, "the memory after a read from {from:?} to {last}");
        vm.ram().write(MEMORY, &new)?;
        let mut expected = vec![0; FLOPPY.size as usize];
        vm.read_image(FLOPPY.name, 0, &mut expected)?;
        let at = fdc::place(from) as usize;
        expected[at..at + length].copy_from_slice(&new);
        started(fdc, 0)?;
        channels.give(CHANNEL, Transfer::ToDevice, MEMORY, length)?;
        by_dma(fdc, command::WRITE, from, last)?;
        let mut found = vec![0; expected.len()];
        vm.read_image(FLOPPY.name, 0, &mut found)?;
        assert!(found == expected, "the disk after a write from {from:?} to {last}");
    }
    Ok(())
}

/// Would catch a verify transfer of the 8237A, in which neither memory nor the device is accessed
/// (8237A data sheet, "Verify"), that changes memory, or in which a sector is written with what the
/// memory holds or with data of the sector before.
fn dma_verify(fdc: &IsaFdc, vm: &Rc<Vm>) -> Result<()> {
    let channels = I8257::of_pc(vm);
    let (secret, from) = ((5, 0, 2), (7, 1, 4));
    let mut kept = vec![0; SECTOR];
    let held = pattern(33, SECTOR);
    vm.ram().write(MEMORY, &held)?;
    let before = pattern(44, SECTOR);
    vm.write_image(FLOPPY.name, fdc::place(from), &before)?;
    started(fdc, 0)?;
    read(fdc, vm, secret, secret.2)?;
    channels.give(CHANNEL, Transfer::Verify, MEMORY, SECTOR)?;
    by_dma(fdc, command::READ, from, from.2)?;
    vm.ram().read(MEMORY, &mut kept)?;
    assert!(kept == held, "the memory after a read that moves nothing");
    started(fdc, 0)?;
    read(fdc, vm, secret, secret.2)?;
    channels.give(CHANNEL, Transfer::Verify, MEMORY, SECTOR)?;
    by_dma(fdc, command::WRITE, from, from.2)?;
    let mut found = vec![0; SECTOR];
    vm.read_image(FLOPPY.name, fdc::place(from), &mut found)?;
    // What a bus reads as that nobody drives is one value throughout.
    let is_one = found.iter().all(|byte| *byte == found[0]);
    assert!(is_one || found == before, "a sector that nobody gives data has {:02x?}", &found[..32]);
    Ok(())
}

/// Would catch a check of sectors that does not end.
fn verify(fdc: &IsaFdc, _: &Rc<Vm>) -> Result<()> {
    started(fdc, 0)?;
    fdc.registers.set(fdc::DOR, fdc::DOR_RUNS | fdc::DOR_DMA | fdc::DOR_MOTORS)?;
    let found = fdc.run(&fdc::transfer(command::VERIFY, 0, (0, 0, 1), 18), 7)?;
    ended(&found, "VERIFY");
    Ok(())
}

/// Would catch a sector, side or track that no disk has which is read.
fn past_the_end(fdc: &IsaFdc, vm: &Rc<Vm>) -> Result<()> {
    started(fdc, 0)?;
    for from in [(81, 0, 1), (0, 0, 19), (255, 1, 1), (0, 0, 0xff)] {
        let found = fdc.run(&fdc::transfer(command::READ, 0, from, from.2), 7)?;
        assert_eq!(found[0] & 0xc0, 0x40, "{from:?}: {found:02x?}");
    }
    read(fdc, vm, (79, 1, 18), 18)
}

/// Would catch the first track that a disk does not have which is read.
fn last_track(fdc: &IsaFdc, _: &Rc<Vm>) -> Result<()> {
    started(fdc, 0)?;
    let found = fdc.run(&fdc::transfer(command::READ, 0, (fdc::TRACKS as u8, 0, 1), 1), 7)?;
    assert_eq!(found[0] & 0xc0, 0x40, "the first track that is not there: {found:02x?}");
    Ok(())
}

/// Would catch a drive without a disk that says that it has one.
fn no_media(fdc: &IsaFdc, _: &Rc<Vm>) -> Result<()> {
    started(fdc, 1)?;
    let changed = || Ok::<_, Error>(fdc.registers.get(fdc::DIR)? & fdc::DIR_CHANGED != 0);
    assert!(changed()?, "the drive without a disk");
    for track in [1, 0] {
        fdc.run(&[command::SEEK, 1, track], 0)?;
        fdc.sense()?;
        assert!(changed()?, "the drive without a disk, after a step");
    }
    Ok(())
}

/// Would catch a read without a disk that is done, or never ends.
fn read_without(fdc: &IsaFdc, vm: &Rc<Vm>) -> Result<()> {
    started(fdc, 1)?;
    let found = fdc.run(&fdc::transfer(command::READ, 1, (0, 0, 1), 1), 7)?;
    assert_eq!(found[0] & 0xc3, 0x41, "a read without a disk: {found:02x?}");
    started(fdc, 0)?;
    read(fdc, vm, (0, 0, 1), 1)
}

/// Would catch a disk that is taken out and still there (2.1.7: DSKCHG).
fn media_change(fdc: &IsaFdc, vm: &Rc<Vm>) -> Result<()> {
    started(fdc, 0)?;
    let changed = || Ok::<_, Error>(fdc.registers.get(fdc::DIR)? & fdc::DIR_CHANGED != 0);
    for track in [1, 0] {
        fdc.run(&[command::SEEK, 0, track], 0)?;
        fdc.sense()?;
    }
    assert!(!changed()?, "a disk, after a step");
    vm.qmp().execute("eject", json!({ "id": "fd0", "force": true }))?;
    assert!(changed()?, "the disk taken out");
    fdc.run(&[command::SEEK, 0, 2], 0)?;
    fdc.sense()?;
    assert!(changed()?, "the disk taken out, after a step");
    let found = fdc.run(&fdc::transfer(command::READ, 0, (0, 0, 1), 1), 7)?;
    assert_eq!(found[0] & 0xc0, 0x40, "a read without a disk: {found:02x?}");
    Ok(())
}

/// Would catch a seek that moves another drive's head.
fn drives(fdc: &IsaFdc, _: &Rc<Vm>) -> Result<()> {
    started(fdc, 0)?;
    fdc.run(&[command::SEEK, 0, 7], 0)?;
    assert_eq!(fdc.sense()?, (0x20, 7), "drive 0");
    fdc.registers.set(fdc::DOR, fdc::DOR_RUNS | fdc::DOR_MOTORS | 1)?;
    let status = fdc.run(&[command::SENSE_DRIVE, 1], 1)?[0];
    assert_eq!(status & 0x13, 0x11, "status 3: {status:#x}, drive 1, at track 0");
    let found = fdc.run(&[command::DUMP], 10)?;
    assert_eq!(found[..2], [7, 0], "the tracks: {found:02x?}");
    Ok(())
}

/// Would catch an interrupt that does not reach the machine, or stays.
fn line(fdc: &IsaFdc, vm: &Rc<Vm>) -> Result<()> {
    started(fdc, 0)?;
    let line = InterruptLine::watch(vm, "ioapic", 6)?;
    for track in [3, 4] {
        assert!(!line.is_high()?, "before a seek");
        fdc.run(&[command::SEEK, 0, track], 0)?;
        assert!(line.is_high()?, "after a seek");
        fdc.sense()?;
        assert!(!line.is_high()?, "sensed");
    }
    Ok(())
}

/// Would catch a command, with parameters of any kind or too few of them, that ends the emulator
/// or leaves the controller of no use after a reset.
fn every_command(fdc: &IsaFdc, vm: &Rc<Vm>) -> Result<()> {
    vm.note_lasting("commands that write the disk");
    for dor in [fdc::DOR_RUNS, fdc::DOR_RUNS | fdc::DOR_DMA] {
        for code in 0..=255u8 {
            for parameter in [0, 1, 0xff] {
                for most in [0, 2, 40] {
                    fdc.reset(0)?;
                    fdc.registers.set(fdc::DOR, dor | fdc::DOR_MOTORS)?;
                    fdc.registers.set(fdc::FIFO, code)?;
                    for _ in 0..most {
                        match fdc.registers.get(fdc::MSR)? {
                            status if status & fdc::MSR_READY == 0 => break,
                            status if status & fdc::MSR_READ != 0 => {
                                fdc.registers.get(fdc::FIFO)?;
                            }
                            status if status & fdc::MSR_BUSY == 0 => break,
                            _ => fdc.registers.set(fdc::FIFO, parameter)?,
                        }
                    }
                }
            }
        }
        version(fdc, vm)?;
    }
    Ok(())
}

/// Would catch registers that end the emulator when they are written in no order.
fn registers(fdc: &IsaFdc, vm: &Rc<Vm>) -> Result<()> {
    vm.note_lasting("commands that write the disk");
    let mut random = fastrand::Rng::with_seed(0x0fdc);
    for _ in 0..4000 {
        let at = random.u64(0..8);
        match random.bool() {
            true => fdc.registers.write(at, Width::Byte, random.u8(..).into())?,
            false => drop(fdc.registers.read(at, Width::Byte)?),
        }
    }
    version(fdc, vm)
}
