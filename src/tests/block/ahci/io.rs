//! Commands of a disk behind an AHCI controller: identification, every way of moving data, memory
//! in pieces of every shape, commands without data (ATA8-ACS; Serial ATA AHCI Specification
//! 1.3.1, whose sections are cited).

use std::rc::Rc;

use crate::qemu::Vm;
use crate::qos::ahci::command::Command;
use crate::qos::ahci::port::{Fis, Port};
use crate::qos::ahci::{self as ahci, AhciHba, SECTOR, SLOTS, Unit};
use crate::qos::block::{DISK, Piece, SERIAL};
use crate::qos::ide::{ERROR_ABORT, command};
use crate::qos::registers::RegistersExt;
use crate::{Result, attacks, tests};

tests!(AhciHba, "ahci":
    identify,
    pio_28 = "io/pio/lba28",
    pio_48 = "io/pio/lba48",
    dma_28 = "io/dma/lba28",
    dma_48 = "io/dma/lba48",
    far = "io/dma/lba48/far",
    fragmented = "io/dma/lba28/fragmented",
    max,
    short_memory = "short-memory",
    long_memory = "long-memory",
    no_memory_pio = "no-memory/pio",
    no_memory_dma = "no-memory/dma",
    moved_none = "no-memory/moved",
    diagnostic,
    slots,
    setup,
    flush = "flush/simple",
    refused,
    every_command = "every-command",
    verify,
    features,
    no_master = "no-bus-master",
);
attacks!(AhciHba, "ahci-attacks": dma_28 = "io/dma/lba28", fragmented = "io/dma/lba28/fragmented");

/// Sectors of the disk.
const SECTORS: u64 = DISK.size / SECTOR as u64;

/// Bytes of which no two sectors are equal.
fn pattern(seed: usize, length: usize) -> Vec<u8> {
    (0..length).map(|at| (at * 5 + at / SECTOR * 3 + at / 65536 * 11 + seed) as u8).collect()
}

/// Would catch a disk that tells less than it can, or another size with 28 bits than with 48.
fn identify(hba: &AhciHba, vm: &Rc<Vm>) -> Result<()> {
    let port = Port::start(hba, Unit::Disk)?;
    vm.set_up_ends()?;
    let words = port.identify(command::IDENTIFY)?;
    assert_eq!(words[0], 0x0040, "word 0: a fixed ATA device");
    assert_eq!(words[49] & 0x300, 0x300, "word 49: DMA and LBA");
    let small = u32::from(words[60]) | u32::from(words[61]) << 16;
    assert_eq!(u64::from(small), SECTORS, "words 60 and 61: sectors by 28 bits");
    let large = u64::from(words[100]) | u64::from(words[101]) << 16;
    assert_eq!((large, words[102], words[103]), (SECTORS, 0, 0), "words 100 to 103");
    assert_eq!(words[75], 31, "word 75: the depth of the queue");
    assert_eq!(words[76], 1 << 8, "word 76: queued commands");
    assert_eq!(words[83] & 0xc000, 0x4000, "word 83 is valid");
    assert_eq!(words[83] & 0x3400, 0x3400, "word 83: sectors by 48 bits, flush of both kinds");
    assert_eq!(words[86] & 0x3400, 0x3400, "word 86: and they are enabled");
    assert_eq!(words[169] & 1, 1, "word 169: trim");
    let serial: Vec<u8> = words[10..20].iter().flat_map(|word| word.to_be_bytes()).collect();
    assert_eq!(serial, format!("{SERIAL:20}").into_bytes(), "words 10 to 19");
    let model: Vec<u8> = words[27..47].iter().flat_map(|word| word.to_be_bytes()).collect();
    assert_eq!(model, format!("{:40}", "QEMU HARDDISK").into_bytes(), "words 27 to 46");
    // The same again, by IDENTIFY of another slot.
    assert_eq!(port.identify(command::IDENTIFY)?, words, "IDENTIFY DEVICE again");
    Ok(())
}

/// A way of moving data: the commands that read and write.
struct Way {
    read: u8,
    write: u8,
    is_short: bool,
    is_pio: bool,
}

impl Way {
    fn command(&self, code: u8, first: u64, count: u16) -> Command<'static> {
        Command { is_short: self.is_short, ..Command::long(code, first, count) }
    }

    /// Reads and writes from the first sector on, in the middle, and to the last one, as many
    /// bytes as QEMU's own test does.
    fn check(&self, hba: &AhciHba, vm: &Rc<Vm>) -> Result<()> {
        let port = Port::start(hba, Unit::Disk)?;
        let memory = vm.ram().alloc(64 * 4096, 4096)?;
        for (seed, length) in [512, 4096, 8192, 64 * 4096].into_iter().enumerate() {
            let count = (length / SECTOR) as u64;
            for first in [0, SECTORS / 2 - 3, SECTORS - count] {
                self.exchange(&port, vm, &memory, (seed, length, first))?;
            }
        }
        Ok(())
    }

    fn exchange(
        &self,
        port: &Port,
        vm: &Rc<Vm>,
        memory: &crate::qemu::Buffer,
        (seed, length, first): (usize, usize, u64),
    ) -> Result<()> {
        let pieces = [Piece::of(memory, 0, length)];
        let (count, at) = ((length / SECTOR) as u16, first * SECTOR as u64);
        let what = |code: u8| format!("command {code:#x}, {count} sectors at {first:#x}");
        let (there, new) =
            (pattern(seed * 16 + first as usize, length), pattern(200 + seed, length));
        vm.write_image(DISK.name, at, &there)?;
        memory.write(0, &vec![0; length])?;
        port.good(&self.command(self.read, first, count).into(&pieces), &what(self.read))?;
        self.after(port, first + u64::from(count), &what(self.read))?;
        let mut found = vec![0; length];
        memory.read(0, &mut found)?;
        assert!(found == there, "the data of {}", what(self.read));
        memory.write(0, &new)?;
        port.good(&self.command(self.write, first, count).from(&pieces), &what(self.write))?;
        self.after(port, first + u64::from(count), &what(self.write))?;
        vm.read_image(DISK.name, at, &mut found)?;
        assert!(found == new, "the data of {}", what(self.write));
        memory.read(0, &mut found)?;
        assert!(found == new, "the memory of {}", what(self.write));
        Ok(())
    }

    /// What a command leaves in what is received: the set-up by PIO, or none, with the device's
    /// registers of before the end.
    fn after(&self, port: &Port, end: u64, what: &str) -> Result<()> {
        let setup = port.fis(Fis::PioSetup)?;
        assert_eq!(setup.is_some(), self.is_pio, "whether a PIO set-up is received, {what}");
        let registers = port.fis(Fis::Registers)?.expect("the device's registers");
        assert_eq!(registers[12..14], [0, 0], "the sectors left, {what}");
        if self.is_pio {
            return Ok(());
        }
        // QEMU counts the sector on, as older standards let it.
        let [a, b, c, d, ..] = end.to_le_bytes();
        assert_eq!(registers[4..7], [a, b, c], "the sector, {what}: {registers:02x?}");
        let upper = if self.is_short { registers[7] & 0xf } else { registers[8] };
        assert_eq!(upper, d, "the sector, {what}: {registers:02x?}");
        Ok(())
    }
}

/// Would catch PIO with 28 bits that moves other data than meant, or another amount.
fn pio_28(hba: &AhciHba, vm: &Rc<Vm>) -> Result<()> {
    let way = Way { read: command::READ, write: command::WRITE, is_short: true, is_pio: true };
    // 64 sectors and more take several set-ups.
    way.check(hba, vm)
}

/// Would catch PIO with 48 bits that moves other data than meant, or another amount.
fn pio_48(hba: &AhciHba, vm: &Rc<Vm>) -> Result<()> {
    let (read, write) = (command::READ_EXT, command::WRITE_EXT);
    Way { read, write, is_short: false, is_pio: true }.check(hba, vm)
}

/// Would catch DMA with 28 bits that moves other data than meant, or another amount.
fn dma_28(hba: &AhciHba, vm: &Rc<Vm>) -> Result<()> {
    let (read, write) = (command::READ_DMA, command::WRITE_DMA);
    Way { read, write, is_short: true, is_pio: false }.check(hba, vm)
}

/// Would catch DMA with 48 bits that moves other data than meant, or another amount.
fn dma_48(hba: &AhciHba, vm: &Rc<Vm>) -> Result<()> {
    let (read, write) = (command::READ_DMA_EXT, command::WRITE_DMA_EXT);
    Way { read, write, is_short: false, is_pio: false }.check(hba, vm)
}

/// Would catch a bit of a sector's 48 or 28 that is lost or is at another's place: one sector of
/// a huge disk is broken, and each that differs from it in one bit is not.
fn far(hba: &AhciHba, vm: &Rc<Vm>) -> Result<()> {
    let port = Port::start(hba, Unit::Broken)?;
    let words = port.identify(command::IDENTIFY)?;
    let sectors = (100..104).rev().fold(0, |all, at| all << 16 | u64::from(words[at]));
    assert_eq!(sectors, ahci::BROKEN_SECTORS, "words 100 to 103");
    assert_eq!(words[60..62], [0xffff, 0x0fff], "words 60 and 61: as many as 28 bits have");
    let memory = vm.ram().alloc(SECTOR, 2)?;
    let pieces = [Piece::whole(&memory)];
    let ways = [
        (command::READ_DMA_EXT, ahci::BROKEN_READ, 48, false),
        (command::READ_EXT, ahci::BROKEN_READ, 48, false),
        (command::WRITE_DMA_EXT, ahci::BROKEN_WRITE, 48, true),
        (command::WRITE_EXT, ahci::BROKEN_WRITE, 48, true),
        (command::READ_DMA, ahci::BROKEN_BOTH, 28, false),
        (command::WRITE_DMA, ahci::BROKEN_BOTH, 28, true),
    ];
    for (code, broken, bits, writes) in ways {
        let run = |first: u64| {
            let command = Command { is_short: bits == 28, ..Command::long(code, first, 1) };
            let command = if writes { command.from(&pieces) } else { command.into(&pieces) };
            port.run(&command, &format!("command {code:#x} at {first:#x}"))
        };
        for bit in 0..bits {
            let first = broken ^ 1 << bit;
            let expected = if first < sectors { None } else { Some(ERROR_ABORT) };
            assert_eq!(run(first)?, expected, "command {code:#x} at {first:#x}");
        }
        assert_eq!(run(broken)?, Some(ERROR_ABORT), "command {code:#x} at {broken:#x}");
        assert_eq!(run(broken + 1)?, None, "command {code:#x} behind what is broken");
    }
    Ok(())
}

/// Would catch pieces of memory that are mixed up, rounded, or too many, where a sector is in
/// several of them (4.2.3.3: any even length at any even address).
fn fragmented(hba: &AhciHba, vm: &Rc<Vm>) -> Result<()> {
    let port = Port::start(hba, Unit::Disk)?;
    for (seed, length) in [2usize, 6, 126, 510, 514, 4098].into_iter().enumerate() {
        // Each behind a gap, from the last to the first, so that no two can be joined.
        let count = (96 * SECTOR).div_ceil(length).min(250);
        let whole = count * length / SECTOR * SECTOR;
        let stride = length + 6;
        let memory = vm.ram().alloc(count * stride, 4096)?;
        memory.write(0, &vec![0xa5; count * stride])?;
        let mut left = whole;
        let mut pieces = Vec::new();
        for at in (0..count).rev() {
            let part = length.min(left);
            if part > 0 {
                pieces.push(Piece::of(&memory, at * stride, part));
            }
            left -= part;
        }
        if whole == 0 {
            continue;
        }
        let sectors = (whole / SECTOR) as u16;
        let there = pattern(seed, whole);
        vm.write_image(DISK.name, 70 * SECTOR as u64, &there)?;
        let what = format!("{sectors} sectors in pieces of {length} bytes");
        for code in [command::READ_DMA, command::READ] {
            memory.write(0, &vec![0xa5; count * stride])?;
            port.good(&Command::short(code, 70, sectors).into(&pieces), &what)?;
            let mut expected = vec![0xa5; count * stride];
            let mut from = &there[..];
            for piece in &pieces {
                let (part, rest) = from.split_at(piece.length);
                let at = (piece.address - memory.address().0) as usize;
                expected[at..at + piece.length].copy_from_slice(part);
                from = rest;
            }
            assert!(memory.to_vec()? == expected, "command {code:#x}: {what}, read");
        }
        for code in [command::WRITE_DMA, command::WRITE] {
            let zeroes = vec![0; whole];
            vm.write_image(DISK.name, 900 * SECTOR as u64, &zeroes)?;
            port.good(&Command::short(code, 900, sectors).from(&pieces), &what)?;
            let mut found = vec![0; whole];
            vm.read_image(DISK.name, 900 * SECTOR as u64, &mut found)?;
            assert!(found == there, "command {code:#x}: {what}, written");
        }
    }
    Ok(())
}

/// Would catch a count of zero that is not the largest (ATA8-ACS, 7.24: 256; 7.25: 65,536).
fn max(hba: &AhciHba, vm: &Rc<Vm>) -> Result<()> {
    let port = Port::start(hba, Unit::Broken)?;
    let memory = vm.ram().alloc(1 << 20, 4096)?;
    let small = [Piece::of(&memory, 0, 256 * SECTOR)];
    for (code, writes) in [
        (command::READ_DMA, false),
        (command::READ, false),
        (command::WRITE_DMA, true),
        (command::WRITE, true),
    ] {
        let command = Command::short(code, 0x10, 0);
        let command = if writes { command.from(&small) } else { command.into(&small) };
        port.good(&command, &format!("command {code:#x} with a count of zero"))?;
    }
    let large = [Piece::whole(&memory); 32];
    for (code, writes) in [(command::READ_DMA_EXT, false), (command::WRITE_DMA_EXT, true)] {
        let command = Command::long(code, 0x1000, 0);
        let command = if writes { command.from(&large) } else { command.into(&large) };
        port.good(&command, &format!("command {code:#x} with a count of zero"))?;
    }
    Ok(())
}

/// Would catch memory that is too short for a command's data and written past its end, or that
/// ends the emulator.
fn short_memory(hba: &AhciHba, vm: &Rc<Vm>) -> Result<()> {
    let port = Port::start(hba, Unit::Disk)?;
    let memory = vm.ram().alloc(8 * SECTOR, 2)?;
    let there = pattern(9, 4 * SECTOR);
    vm.write_image(DISK.name, 0, &there)?;
    for short in [2, SECTOR, 2 * SECTOR - 2, 2 * SECTOR] {
        for code in [command::READ_DMA_EXT, command::READ_EXT] {
            memory.write(0, &[0xa5; 8 * SECTOR])?;
            let second = 2 * SECTOR - short;
            let mut pieces = vec![Piece::of(&memory, 0, 2 * SECTOR)];
            if second > 0 {
                pieces.push(Piece::of(&memory, 4 * SECTOR, second));
            }
            port.put(0, &Command::long(code, 0, 4).into(&pieces))?;
            port.set(ahci::PX_CI, 1)?;
            crate::qos::wait_until(vm, "a command with too little memory", || {
                Ok(port.get(ahci::PX_CI)? == 0 || port.get(ahci::PX_IS)? & ahci::IS_TFES != 0)
            })?;
            if code == command::READ_DMA_EXT {
                let moved = port.moved(0)?;
                assert!(moved <= 4 * SECTOR - short, "{moved} bytes moved, {short} too few");
            }
            port.resume()?;
            let found = memory.to_vec()?;
            for (at, byte) in found.iter().enumerate() {
                let is_in_use = at < 2 * SECTOR || (4 * SECTOR..4 * SECTOR + second).contains(&at);
                assert!(is_in_use || *byte == 0xa5, "byte {at:#x} of the memory has changed");
            }
            port.identify(command::IDENTIFY)?;
        }
    }
    Ok(())
}

/// Would catch memory beyond a command's data that is touched, or counted.
fn long_memory(hba: &AhciHba, vm: &Rc<Vm>) -> Result<()> {
    let port = Port::start(hba, Unit::Disk)?;
    let memory = vm.ram().alloc(8 * SECTOR, 2)?;
    let there = pattern(5, 3 * SECTOR);
    vm.write_image(DISK.name, 0, &there)?;
    for code in [command::READ_DMA_EXT, command::READ_EXT] {
        memory.write(0, &[0xa5; 8 * SECTOR])?;
        let pieces =
            [Piece::of(&memory, 0, 2 * SECTOR), Piece::of(&memory, 2 * SECTOR, 4 * SECTOR)];
        let end = port.issue(7, &Command::long(code, 0, 3).into(&pieces))?;
        assert_eq!((end.task, end.moved), (ahci::TFD_READY, 3 * SECTOR), "command {code:#x}");
        let found = memory.to_vec()?;
        assert!(found[..3 * SECTOR] == there, "the data of command {code:#x}");
        assert!(found[3 * SECTOR..] == [0xa5; 5 * SECTOR], "the memory behind, {code:#x}");
        port.set(ahci::PX_IS, !0)?;
    }
    Ok(())
}

/// Would catch a command with PIO data but no memory that ends the emulator.
fn no_memory_pio(hba: &AhciHba, _: &Rc<Vm>) -> Result<()> {
    no_memory(hba, &[command::READ_EXT, command::WRITE_EXT])
}

/// Would catch a command with DMA but no memory that ends the emulator.
fn no_memory_dma(hba: &AhciHba, _: &Rc<Vm>) -> Result<()> {
    no_memory(hba, &[command::READ_DMA_EXT, command::WRITE_DMA_EXT])
}

/// Would catch data that are counted as moved although there is no memory for them (4.2.2).
fn moved_none(hba: &AhciHba, _: &Rc<Vm>) -> Result<()> {
    let port = Port::start(hba, Unit::Disk)?;
    port.put(0, &Command::long(command::READ_EXT, 0, 1))?;
    port.set(ahci::PX_CI, 1)?;
    crate::qos::wait_until(&port.vm, "a command without memory", || {
        Ok(port.get(ahci::PX_CI)? == 0)
    })?;
    assert_eq!(port.moved(0)?, 0, "bytes moved");
    Ok(())
}

/// Would catch a diagnostic that does not end, or says that the device is broken (ATA8-ACS, 7.9).
fn diagnostic(hba: &AhciHba, vm: &Rc<Vm>) -> Result<()> {
    let port = Port::start(hba, Unit::Disk)?;
    port.put(0, &Command::new(command::DIAGNOSTIC))?;
    port.set(ahci::PX_CI, 1)?;
    crate::qos::wait_until(vm, "the diagnostic", || Ok(port.get(ahci::PX_CI)? == 0))?;
    assert_eq!(port.get(ahci::PX_TFD)? >> 8, 1, "the code: the device has passed");
    Ok(())
}

fn no_memory(hba: &AhciHba, codes: &[u8]) -> Result<()> {
    let port = Port::start(hba, Unit::Disk)?;
    for &code in codes {
        port.put(0, &Command::long(code, 0, 1))?;
        port.set(ahci::PX_CI, 1)?;
        crate::qos::wait_until(&port.vm, "a command without memory", || {
            Ok(port.get(ahci::PX_CI)? == 0 || port.get(ahci::PX_IS)? & ahci::IS_TFES != 0)
        })?;
        port.resume()?;
        port.identify(command::IDENTIFY)?;
    }
    Ok(())
}

/// Would catch a slot that is not taken, that is another's, or commands of which one is left
/// behind when all slots are in use.
fn slots(hba: &AhciHba, vm: &Rc<Vm>) -> Result<()> {
    let port = Port::start(hba, Unit::Disk)?;
    vm.set_up_ends()?;
    let memory = vm.ram().alloc(SLOTS * SECTOR, 2)?;
    let there = pattern(77, SLOTS * SECTOR);
    vm.write_image(DISK.name, 50 * SECTOR as u64, &there)?;
    for round in 0..2 {
        memory.write(0, &[0; SLOTS * SECTOR])?;
        for slot in 0..SLOTS {
            let pieces = [Piece::of(&memory, slot * SECTOR, SECTOR)];
            let command = Command::long(command::READ_DMA_EXT, 50 + slot as u64, 1).into(&pieces);
            if round == 0 {
                let end = port.issue(slot, &command)?;
                assert_eq!((end.task, end.moved), (ahci::TFD_READY, SECTOR), "slot {slot}");
                port.expect(ahci::PX_CI, 0, "done")?;
            } else {
                port.put(slot, &command)?;
            }
        }
        if round == 1 {
            port.set(ahci::PX_CI, u32::MAX)?;
            crate::qos::wait_until(vm, "32 commands", || Ok(port.get(ahci::PX_CI)? == 0))?;
            for slot in 0..SLOTS {
                assert_eq!(port.moved(slot)?, SECTOR, "bytes moved by slot {slot}");
            }
        }
        assert!(memory.to_vec()? == there, "the data, round {round}");
    }
    port.resume()
}

/// Would catch a PIO set-up that says other than what follows (SATA 3.2, 10.5.11).
fn setup(hba: &AhciHba, vm: &Rc<Vm>) -> Result<()> {
    let port = Port::start(hba, Unit::Disk)?;
    let memory = vm.ram().alloc(4 * SECTOR, 2)?;
    for (code, writes, pending) in [
        (command::READ, false, ahci::IS_PSS),
        (command::IDENTIFY, false, ahci::IS_PSS),
        // The first data that a host sends are not told by an interrupt.
        (command::WRITE, true, 0),
    ] {
        let pieces = [Piece::of(&memory, 0, SECTOR)];
        let command = Command::short(code, 0x12_3456 & 0x7fff, 1);
        let command = if writes { command.from(&pieces) } else { command.into(&pieces) };
        port.forget()?;
        let end = port.issue(1, &command)?;
        assert_eq!(end.task, ahci::TFD_READY, "command {code:#x}");
        assert_eq!(end.pending & !ahci::IS_DHRS, pending, "PxIS of command {code:#x}");
        let fis = port.fis(Fis::PioSetup)?.expect("a PIO set-up");
        let flags = if pending == 0 { 0 } else { 0x40 };
        // The status with which the data come: ready, and data are wanted.
        assert_eq!(fis[..4], [0x5f, flags, 0x58, 0], "command {code:#x}: {fis:02x?}");
        assert_eq!(fis[16..], [0, 2, 0, 0], "the length, command {code:#x}: {fis:02x?}");
        assert_eq!((fis[11], fis[14]), (0, 0), "command {code:#x}: {fis:02x?}");
        port.set(ahci::PX_IS, !0)?;
    }
    Ok(())
}

/// Would catch a flush that moves data, is not answered, or loses what was written.
fn flush(hba: &AhciHba, vm: &Rc<Vm>) -> Result<()> {
    let port = Port::start(hba, Unit::Disk)?;
    vm.set_up_ends()?;
    let memory = vm.ram().alloc(SECTOR, 2)?;
    let pieces = [Piece::whole(&memory)];
    for (seed, code) in [command::FLUSH, command::FLUSH_EXT].into_iter().enumerate() {
        let data = pattern(90 + seed, SECTOR);
        memory.write(0, &data)?;
        port.good(&Command::long(command::WRITE_DMA_EXT, 33, 1).from(&pieces), "a write")?;
        port.good(&Command::new(code), "a flush")?;
        let mut found = vec![0; SECTOR];
        vm.read_image(DISK.name, 33 * SECTOR as u64, &mut found)?;
        assert!(found == data, "the data after flush {code:#x}");
    }
    Ok(())
}

/// Would catch a command that nobody knows which is done, and a port that is of no use after an
/// error.
fn refused(hba: &AhciHba, _: &Rc<Vm>) -> Result<()> {
    let port = Port::start(hba, Unit::Disk)?;
    // READ LOG EXT is among them, for QEMU's disks have no logs.
    for code in [0x02, 0x1f, 0x2f, 0x9d, 0xa0, 0xa1, 0xff] {
        let what = format!("command {code:#x}");
        let command = Command { count: 1, ..Command::new(code) };
        assert_eq!(port.run(&command, &what)?, Some(ERROR_ABORT), "{what}");
        assert_eq!(port.identify(command::IDENTIFY)?.len(), 256, "IDENTIFY DEVICE after {what}");
    }
    Ok(())
}

/// Would catch a command of the 256 there are that neither ends nor is refused, or after which
/// the port is of no use.
fn every_command(hba: &AhciHba, vm: &Rc<Vm>) -> Result<()> {
    let port = Port::start(hba, Unit::Disk)?;
    let memory = vm.ram().alloc(SECTOR, 2)?;
    let pieces = [Piece::whole(&memory)];
    // Queued commands and the diagnostic have cases of their own.
    let others = [0x60, 0x61, 0x63, 0x64, 0x65, command::DIAGNOSTIC];
    for code in (0..=255u8).filter(|code| !others.contains(code)) {
        memory.write(0, &[0; SECTOR])?;
        let what = format!("command {code:#x}");
        // A trim of no sectors, features of 0, one sector.
        let end = port.issue(6, &Command::long(code, 20, 1).features(1).into(&pieces))?;
        let status = end.task & 0xff & !0x10;
        match end.error() {
            None => assert_eq!(status, 0x40, "{what}: {end:x?}"),
            Some(error) => {
                assert_eq!((status, error), (0x41, ERROR_ABORT), "{what}: {end:x?}");
                assert_ne!(end.pending & ahci::IS_TFES, 0, "{what}: {end:x?}");
            }
        }
        port.resume()?;
        hba.reset()?;
        port.resume()?;
    }
    port.identify(command::IDENTIFY).map(drop)
}

/// Would catch a check of sectors that moves data or is done past the end, and a disk that says
/// another last sector than it has.
fn verify(hba: &AhciHba, _: &Rc<Vm>) -> Result<()> {
    let port = Port::start(hba, Unit::Disk)?;
    port.good(&Command::short(command::VERIFY, 7, 3), "READ VERIFY SECTORS")?;
    port.good(&Command::new(command::READ_NATIVE_MAX_EXT), "READ NATIVE MAX ADDRESS EXT")?;
    let fis = port.fis(Fis::Registers)?.expect("the device's registers");
    let [a, b, c, d, ..] = (SECTORS - 1).to_le_bytes();
    assert_eq!(fis[4..7], [a, b, c], "the last sector: {fis:02x?}");
    assert_eq!(fis[8..11], [d, 0, 0], "the last sector: {fis:02x?}");
    port.good(&Command::new(command::CHECK_POWER), "CHECK POWER MODE")?;
    let fis = port.fis(Fis::Registers)?.expect("the device's registers");
    assert_eq!(fis[12], 0xff, "active: {fis:02x?}");
    Ok(())
}

/// Would catch features that are taken although they are not there, or do not show.
fn features(hba: &AhciHba, _: &Rc<Vm>) -> Result<()> {
    let port = Port::start(hba, Unit::Disk)?;
    let set = |features: u16, count: u16| {
        let command = Command { features, count, ..Command::new(command::SET_FEATURES) };
        port.run(&command, &format!("SET FEATURES {features:#x}, {count:#x}"))
    };
    for (features, bit) in [(0x82, 0), (0x02, 1 << 5)] {
        assert_eq!(set(features, 0)?, None, "SET FEATURES {features:#x}");
        let words = port.identify(command::IDENTIFY)?;
        assert_eq!(words[85] & 1 << 5, bit, "word 85: the write cache");
    }
    // Multiword DMA 1, ultra DMA 3.
    for (mode, word, bits) in [(0x21, 63, 0x0200), (0x43, 88, 0x0800)] {
        assert_eq!(set(0x03, mode)?, None, "mode {mode:#x}");
        let words = port.identify(command::IDENTIFY)?;
        assert_eq!(words[word] & 0xff00, bits, "word {word} with mode {mode:#x}");
    }
    for (features, count) in [(0x01, 0), (0x03, 0x33), (0xfe, 0)] {
        assert_eq!(set(features, count)?, Some(ERROR_ABORT), "SET FEATURES {features:#x}");
    }
    Ok(())
}

/// Would catch DMA by a function that must not be a bus master (PCI 3.0, 6.2.2).
fn no_master(hba: &AhciHba, vm: &Rc<Vm>) -> Result<()> {
    use crate::qos::pci::regs;
    let Some(function) = &hba.function else {
        return Err(crate::Error::skipped("the controller is not on PCI"));
    };
    let port = Port::start(hba, Unit::Disk)?;
    let memory = vm.ram().alloc(SECTOR, 2)?;
    memory.write(0, &[0xa5; SECTOR])?;
    vm.write_image(DISK.name, 0, &pattern(8, SECTOR))?;
    let pieces = [Piece::whole(&memory)];
    port.put(0, &Command::long(command::READ_DMA_EXT, 0, 1).into(&pieces))?;
    let before = function.config_read16(regs::COMMAND)?;
    function.config_write16(regs::COMMAND, before & !regs::COMMAND_MASTER)?;
    port.set(ahci::PX_CI, 1)?;
    port.get(ahci::PX_CI)?;
    assert!(memory.to_vec()? == [0xa5; SECTOR], "memory, with the function no bus master");
    function.config_write16(regs::COMMAND, before)?;
    hba.reset()?;
    port.resume()?;
    assert_eq!(hba.registers.get(ahci::IS)?, 0, "IS");
    port.good(&Command::long(command::READ_DMA_EXT, 0, 1).into(&pieces), "bus master again")?;
    assert!(memory.to_vec()? == pattern(8, SECTOR), "the data, bus master again");
    Ok(())
}
