//! IDE controllers of every kind with their disks (ATA8-ACS, ATA8-APT): identification, PIO, DMA
//! by tables that fit or do not, 28 and 48 bits, errors, devices 0 and 1, resets.

use std::rc::Rc;

use crate::qemu::{Buffer, Vm};
use crate::qos::block::{DISK, Piece};
use crate::qos::ide::disk::text;
use crate::qos::ide::prd::Table;
use crate::qos::ide::{
    self, ERROR_ABORT, ERROR_NOT_FOUND, End, FAILED, IdeChannel, IdeController, READY, SECTOR,
    SEEK, Task, command, master, offset,
};
use crate::qos::wait_until;
use crate::{Result, attacks, tests};

tests!(IdeController, "ide":
    identify,
    diagnostic,
    registers,
    signature = "reset/signature",
    reset_busy = "reset/in-flight",
    devices,
    absent,
    pio,
    multiple,
    multiple_told = "multiple-told",
    simple_rw = "bmdma/simple_rw",
    trim = "bmdma/trim",
    various_prdts = "bmdma/various_prdts",
    short_prdt = "bmdma/short_prdt",
    long_prdt = "bmdma/long_prdt",
    no_busmaster = "bmdma/no_busmaster",
    errors,
    flush,
    flush_nodev = "flush/nodev",
    flush_empty = "flush/empty_drive",
    interrupt,
    native_max = "native-max",
    features,
);
attacks!(IdeController, "ide-attacks": pio);

/// The sectors of the disk.
pub(super) const SECTORS: u64 = DISK.size / SECTOR as u64;

pub(super) fn pattern(seed: usize, sectors: usize) -> Vec<u8> {
    (0..sectors * SECTOR).map(|at| (at * 7 + at / SECTOR * 13 + seed * 29) as u8).collect()
}

pub(super) fn image(vm: &Vm, sector: u64, length: usize) -> Result<Vec<u8>> {
    let mut bytes = vec![0; length];
    vm.read_image(DISK.name, sector * SECTOR as u64, &mut bytes)?;
    Ok(bytes)
}

pub(super) fn set_image(vm: &Vm, sector: u64, bytes: &[u8]) -> Result<()> {
    vm.write_image(DISK.name, sector * SECTOR as u64, bytes)
}

/// The first channel, after a reset.
pub(super) fn start(ide: &IdeController) -> Result<&IdeChannel> {
    let channel = &ide.channels[0];
    channel.reset()?;
    channel.vm.set_up_ends()?;
    Ok(channel)
}

/// An error of this kind, and nothing else.
#[track_caller]
pub(super) fn assert_failed(end: End, errors: &[u8], what: &str) {
    assert_eq!(end.status & !SEEK, READY | FAILED, "{what}: status");
    assert!(errors.contains(&end.error), "{what}: error {:#x}", end.error);
}

/// Would catch a disk that tells another capacity, serial number, model, or way of transfer than
/// it has.
fn identify(ide: &IdeController, _: &Rc<Vm>) -> Result<()> {
    let channel = start(ide)?;
    for (device, serial, sectors) in [(0, "qgraph-disk", SECTORS), (1, "second", 4096)] {
        let words = channel.identify(device, command::IDENTIFY)?;
        assert_eq!(text(&words[10..20]), serial, "the serial number");
        assert_eq!(text(&words[27..47]), "QEMU HARDDISK", "the model");
        let short = u64::from(words[60]) | u64::from(words[61]) << 16;
        let long = (100..104).rev().fold(0, |all, at| all << 16 | u64::from(words[at]));
        assert_eq!((short, long), (sectors, sectors), "sectors of 28 and of 48 bits");
        // Not a packet device, fixed; LBA and DMA; words 64 to 70 and 88 are valid.
        assert_eq!(words[0] & 0x8080, 0, "word 0 is {:#x}", words[0]);
        assert_eq!(words[49] & 0x300, 0x300, "word 49 is {:#x}", words[49]);
        assert_eq!(words[53] & 6, 6, "word 53 is {:#x}", words[53]);
        // 48 bits, flushes of both kinds, and that they are on.
        for word in [83, 86] {
            assert_eq!(words[word] & 0x3400, 0x3400, "word {word} is {:#x}", words[word]);
        }
        assert_eq!(words[83] >> 14, 1, "word 83 is {:#x}", words[83]);
        // The sectors of READ MULTIPLE.
        assert_eq!(words[47] >> 8, 0x80, "word 47 is {:#x}", words[47]);
        // TRIM, of blocks of one sector.
        assert_eq!(words[169] & 1, 1, "word 169 is {:#x}", words[169]);
        // What words 255 says of them all: a signature, and a sum that comes to 0.
        if words[255] & 0xff == 0xa5 {
            let sum = words.iter().flat_map(|word| word.to_le_bytes()).fold(0, u8::wrapping_add);
            assert_eq!(sum, 0, "the sum of all bytes");
        }
    }
    Ok(())
}

/// Would catch a diagnostic that finds fault, or does not select device 0 (ATA8-ACS, 7.11).
fn diagnostic(ide: &IdeController, _: &Rc<Vm>) -> Result<()> {
    let channel = start(ide)?;
    for device in [0, 1] {
        channel.issue(device, &Task::new(command::DIAGNOSTIC))?;
        let end = channel.wait("EXECUTE DEVICE DIAGNOSTIC")?;
        assert_eq!(end.error, 1, "the diagnostic code");
        assert_eq!(end.status & !(READY | SEEK), 0, "the status");
        assert_eq!(channel.get(offset::DEVICE)? & 0x1f, 0, "device 0 is selected");
        let signature = [offset::COUNT, offset::LBA_LOW, offset::LBA_MIDDLE, offset::LBA_HIGH];
        let found: Vec<u8> =
            signature.map(|at| channel.get(at)).into_iter().collect::<Result<_>>()?;
        assert_eq!(found, [1, 1, 0, 0], "the signature");
    }
    Ok(())
}

/// Would catch registers that do not keep what is written, or whose upper halves are lost
/// (ATA8-ACS, 6.1.4: HOB).
fn registers(ide: &IdeController, _: &Rc<Vm>) -> Result<()> {
    let channel = start(ide)?;
    let all = [offset::COUNT, offset::LBA_LOW, offset::LBA_MIDDLE, offset::LBA_HIGH];
    for seed in [0x11u8, 0xa5, 0xff, 0] {
        for (number, at) in all.into_iter().enumerate() {
            channel.set(at, seed ^ number as u8)?;
            channel.set(at, (seed ^ number as u8).wrapping_add(0x40))?;
        }
        for (number, at) in all.into_iter().enumerate() {
            let expected = (seed ^ number as u8).wrapping_add(0x40);
            assert_eq!(channel.get(at)?, expected, "register {at}");
        }
        channel.set_control(ide::CONTROL_HIGH)?;
        for (number, at) in all.into_iter().enumerate() {
            assert_eq!(channel.get(at)?, seed ^ number as u8, "the upper half of register {at}");
        }
        channel.set_control(0)?;
        for device in [0u8, 1] {
            channel.set(offset::DEVICE, 0x40 | device << 4 | 0xa)?;
            let found = channel.get(offset::DEVICE)?;
            assert_eq!(found & 0x5f, 0x4a | device << 4, "device {device}");
        }
    }
    Ok(())
}

/// Would catch a reset after which a disk or CD-ROM is not known by what is in its registers
/// (ATA8-ACS, 9.1).
fn signature(ide: &IdeController, _: &Rc<Vm>) -> Result<()> {
    for (channel, expected) in [(0, [1, 1, 0, 0]), (1, [1, 1, 0x14, 0xeb])] {
        let channel = &ide.channels[channel];
        channel.set(offset::DEVICE, 0xe0)?;
        for at in 2..6 {
            channel.set(at, 0x77)?;
        }
        channel.reset()?;
        let found: Vec<u8> = (2..6).map(|at| channel.get(at)).collect::<Result<_>>()?;
        assert_eq!(found, expected, "the signature");
        assert_eq!(channel.get(offset::ERROR)?, 1, "the diagnostic code");
        assert_eq!(channel.get(offset::DEVICE)? & 0x10, 0, "device 0 is selected");
        let status = channel.get(offset::STATUS)?;
        // A packet device is not ready yet.
        let ready = if expected[3] == 0 { READY } else { 0 };
        assert_eq!(status & !SEEK, ready, "the status");
    }
    Ok(())
}

/// Would catch a reset that leaves a transfer under way.
fn reset_busy(ide: &IdeController, vm: &Rc<Vm>) -> Result<()> {
    let channel = start(ide)?;
    let data = pattern(3, 8);
    set_image(vm, 50, &data)?;
    // PIO in the middle of its data.
    channel.issue(0, &Task::short(command::READ, 50, 8))?;
    let first = channel.wait("the first data")?;
    assert_eq!(first.status & ide::REQUEST, ide::REQUEST, "data is there");
    channel.read_data(100)?;
    channel.reset()?;
    assert_eq!(channel.status()? & !SEEK, READY, "the status after a reset in the middle of PIO");
    // DMA that has begun.
    let memory = vm.ram().alloc(data.len(), 4096)?;
    let table = Table::of(vm, &[Piece::whole(&memory)])?;
    channel.start_dma(0, &Task::long(command::READ_DMA_EXT, 50, 8), true, &table)?;
    channel.reset()?;
    channel.master_set(master::COMMAND, 0)?;
    let (end, read) =
        channel.read_pio(0, &Task::short(command::READ, 50, 8), data.len(), SECTOR)?;
    end.good("READ SECTORS after the resets")?;
    assert!(read == data, "the data after the resets");
    Ok(())
}

/// Would catch a device that answers for the other.
fn devices(ide: &IdeController, vm: &Rc<Vm>) -> Result<()> {
    let channel = start(ide)?;
    set_image(vm, 7, &[0x99; SECTOR])?;
    for round in 0..2 {
        for (device, byte) in [(0, 0x99), (1, 0)] {
            let task = Task::short(command::READ, 7, 1);
            let (end, data) = channel.read_pio(device, &task, SECTOR, SECTOR)?;
            end.good("READ SECTORS")?;
            assert!(data == [byte; SECTOR], "sector 7 of device {device}, round {round}");
            assert_eq!(channel.get(offset::DEVICE)? >> 4 & 1, device, "the selected device");
        }
    }
    Ok(())
}

/// Would catch a device that is not there and answers, or does away with the other.
fn absent(ide: &IdeController, _: &Rc<Vm>) -> Result<()> {
    let channel = &ide.channels[1];
    channel.reset()?;
    channel.set(offset::DEVICE, 0xf0)?;
    for _ in 0..2 {
        assert_eq!(channel.status()?, 0, "the status of nobody");
        assert_eq!(channel.get(offset::STATUS)?, 0, "the status of nobody");
        channel.set(offset::STATUS, command::IDENTIFY)?;
    }
    channel.set(offset::DEVICE, 0xe0)?;
    let words = channel.identify(0, command::IDENTIFY_PACKET)?;
    assert_eq!(text(&words[27..47]), "QEMU DVD-ROM", "the other device");
    Ok(())
}

/// Would catch PIO of other sectors, more or fewer, or not to the image.
fn pio(ide: &IdeController, vm: &Rc<Vm>) -> Result<()> {
    let channel = start(ide)?;
    let places = [(0, 1), (3, 2), (0x1234, 5), (SECTORS - 3, 3), (SECTORS - 1, 1), (100, 256)];
    for (seed, (first, count)) in places.into_iter().enumerate() {
        // Words go one by one: the largest count of 28 bits is moved once.
        for is_long in [false, true].into_iter().filter(|is_long| !is_long || count < 256) {
            let what = format!("{count} sectors at {first:#x}, of 48 bits: {is_long}");
            let (read, write) = match is_long {
                false => (command::READ, command::WRITE),
                true => (command::READ_EXT, command::WRITE_EXT),
            };
            let task = |command| match is_long {
                // 0 stands for 256.
                false => Task::short(command, first, count & 0xff),
                true => Task::long(command, first, count),
            };
            let data = pattern(seed * 2 + usize::from(is_long), count.into());
            let (end, done) = channel.write_pio(0, &task(write), &data, SECTOR)?;
            end.good(&format!("{what}, written"))?;
            assert_eq!(done, data.len(), "{what}: bytes that were taken");
            assert!(image(vm, first, data.len())? == data, "{what}: the image");
            let other = pattern(seed + 50, count.into());
            set_image(vm, first, &other)?;
            let (end, found) = channel.read_pio(0, &task(read), other.len(), SECTOR)?;
            end.good(&format!("{what}, read"))?;
            assert!(found == other, "{what}: what was read");
        }
    }
    Ok(())
}

/// Would catch READ and WRITE MULTIPLE that do not move as many sectors at once as was set, or are
/// done although none was set.
fn multiple(ide: &IdeController, vm: &Rc<Vm>) -> Result<()> {
    let channel = start(ide)?;
    for size in [1u16, 2, 8, 16] {
        let set = Task { count: size, ..Task::new(command::SET_MULTIPLE) };
        channel.no_data(0, &set)?.good("SET MULTIPLE MODE")?;
        for count in [1, 7, 16, 33u16] {
            let what = format!("{count} sectors, {size} at a time");
            let data = pattern(usize::from(count), count.into());
            let block = usize::from(size) * SECTOR;
            let task = Task::short(command::WRITE_MULTIPLE, 9, count);
            let (end, done) = channel.write_pio(0, &task, &data, block)?;
            end.good(&what)?;
            assert_eq!(done, data.len(), "{what}: bytes that were taken");
            assert!(image(vm, 9, data.len())? == data, "{what}: the image");
            let task = Task::long(command::READ_MULTIPLE_EXT, 9, count);
            let (end, found) = channel.read_pio(0, &task, data.len(), block)?;
            end.good(&what)?;
            assert!(found == data, "{what}: what was read");
        }
    }
    for size in [3, 17, 255] {
        let set = Task { count: size, ..Task::new(command::SET_MULTIPLE) };
        assert_failed(channel.no_data(0, &set)?, &[ERROR_ABORT], &format!("{size} at a time"));
    }
    // None is set.
    channel.no_data(0, &Task::new(command::SET_MULTIPLE))?.good("SET MULTIPLE MODE of 0")?;
    let end = channel.no_data(0, &Task::short(command::READ_MULTIPLE, 0, 1))?;
    assert_failed(end, &[ERROR_ABORT], "READ MULTIPLE of 0");
    Ok(())
}

/// Would catch a disk that does not tell how many sectors it moves at once (ATA8-ACS, 7.16.7.30).
fn multiple_told(ide: &IdeController, _: &Rc<Vm>) -> Result<()> {
    let channel = start(ide)?;
    for size in [4u16, 16] {
        let set = Task { count: size, ..Task::new(command::SET_MULTIPLE) };
        channel.no_data(0, &set)?.good("SET MULTIPLE MODE")?;
        let words = channel.identify(0, command::IDENTIFY)?;
        assert_eq!(words[59], 0x100 | size, "word 59");
    }
    Ok(())
}

/// DMA between the disk and memory; it must end well.
fn dma(channel: &IdeChannel, task: Task, memory: &Buffer) -> Result<()> {
    let is_write = [command::WRITE_DMA, command::WRITE_DMA_EXT].contains(&task.command);
    let table = Table::of(&channel.vm, &[Piece::whole(memory)])?;
    let (end, status) = channel.dma(0, &task, !is_write, &table)?;
    end.good(&format!("command {:#x}", task.command))?;
    assert_eq!(status, master::INTERRUPT, "the bus master after {:#x}", task.command);
    Ok(())
}

/// Would catch DMA of other sectors, more or fewer, or not to the image, of 28 and of 48 bits.
fn simple_rw(ide: &IdeController, vm: &Rc<Vm>) -> Result<()> {
    let channel = start(ide)?;
    let places = [(0, 1), (0x10, 3), (0x7654, 17), (SECTORS - 1, 1), (300, 256)];
    for (seed, (first, count)) in places.into_iter().enumerate() {
        let data = pattern(seed, count);
        let memory = vm.ram().alloc(data.len(), 16)?;
        // Words go one by one: the largest count of 28 bits is moved once.
        for is_long in [false, true].into_iter().filter(|is_long| !is_long || count < 256) {
            let what = format!("{count} sectors at {first:#x}, of 48 bits: {is_long}");
            let task = |commands: [u8; 2]| match is_long {
                false => Task::short(commands[0], first, count as u16 & 0xff),
                true => Task::long(commands[1], first, count as u16),
            };
            memory.write(0, &data)?;
            set_image(vm, first, &vec![0; data.len()])?;
            dma(channel, task([command::WRITE_DMA, command::WRITE_DMA_EXT]), &memory)?;
            assert!(image(vm, first, data.len())? == data, "{what}: the image");
            let other = pattern(seed + 70, count);
            set_image(vm, first, &other)?;
            dma(channel, task([command::READ_DMA, command::READ_DMA_EXT]), &memory)?;
            assert!(memory.to_vec()? == other, "{what}: what was read");
        }
    }
    Ok(())
}

/// Would catch a TRIM that gives up other sectors, fewer than it says, or some off the end.
fn trim(ide: &IdeController, vm: &Rc<Vm>) -> Result<()> {
    let channel = start(ide)?;
    let ranges = vm.ram().alloc(SECTOR, 16)?;
    let table = Table::of(vm, &[Piece::whole(&ranges)])?;
    let task = Task { features: 1, ..Task::long(command::DATA_SET_MANAGEMENT, 0, 1) };
    set_image(vm, 0, &[0x66; 64 * SECTOR])?;
    ranges.write_le64(0, 8 | 16 << 48)?;
    ranges.write_le64(8, 32 | 8 << 48)?;
    let (end, _) = channel.dma(0, &task, false, &table)?;
    end.good("DATA SET MANAGEMENT")?;
    let found = image(vm, 0, 64 * SECTOR)?;
    for sector in 0..64 {
        let is_trimmed = (8..24).contains(&sector) || (32..40).contains(&sector);
        let byte = if is_trimmed { 0 } else { 0x66 };
        assert!(found[sector * SECTOR..][..SECTOR] == [byte; SECTOR], "sector {sector}");
    }
    for range in [SECTORS | 1 << 48, (SECTORS - 1) | 2 << 48, 0xffff_ffff_fff0 | 9 << 48] {
        ranges.write(0, &[0; 16])?;
        ranges.write_le64(0, range)?;
        let (end, _) = channel.dma(0, &task, false, &table)?;
        assert_failed(end, &[ERROR_ABORT], &format!("a TRIM of {range:#x}"));
    }
    Ok(())
}

/// Would catch tables of several regions, odd lengths among them, whose data is not in order.
fn various_prdts(ide: &IdeController, vm: &Rc<Vm>) -> Result<()> {
    let channel = start(ide)?;
    let memory = vm.ram().alloc(0x3_0000, 0x1_0000)?;
    let base = memory.address().0;
    for lengths in [
        &[SECTOR][..],
        &[SECTOR, SECTOR],
        &[2, 510],
        &[2; 256],
        &[1000, 24, 2, 4094, 512],
        &[0x1_0000],
        &[0x1_0000, 512],
        &[0xfffe, 2, 1024],
    ] {
        let total: usize = lengths.iter().sum();
        let sectors = total / SECTOR;
        let total = sectors * SECTOR;
        let data = pattern(lengths.len(), sectors);
        set_image(vm, 40, &data)?;
        memory.write(0, &vec![0xa5; memory.len()])?;
        // The regions are in memory in the other order; none crosses 64 KiB.
        let (mut at, mut regions) = (base, Vec::new());
        for length in lengths.iter().rev() {
            let last = at + *length as u64 - 1;
            at = if at >> 16 == last >> 16 { at } else { at.next_multiple_of(0x1_0000) };
            regions.push((at, *length));
            at += *length as u64;
        }
        regions.reverse();
        let table = Table::of_regions(vm, &regions)?;
        let task = Task::long(command::READ_DMA_EXT, 40, sectors as u16);
        let (end, _) = channel.dma(0, &task, true, &table)?;
        end.good("READ DMA EXT")?;
        let mut found = Vec::new();
        for (address, length) in &regions {
            let mut part = vec![0; *length];
            memory.read((address - base) as usize, &mut part)?;
            found.extend(part);
        }
        assert!(found[..total] == data, "regions of {lengths:?} bytes");
        assert!(found[total..].iter().all(|byte| *byte == 0xa5), "{lengths:?}: behind the data");
    }
    Ok(())
}

/// Would catch a table that is shorter than the data, after which the bus master is not idle with
/// the transfer unfinished (SFF-8038i, 3.1), or memory behind it that is written.
fn short_prdt(ide: &IdeController, vm: &Rc<Vm>) -> Result<()> {
    let channel = start(ide)?;
    let memory = vm.ram().alloc(4096, 4096)?;
    for (length, sectors) in [(2, 1), (16, 1), (512, 2), (1024, 4)] {
        memory.write(0, &[0xa5; 4096])?;
        let table = Table::of_regions(vm, &[(memory.address().0, length)])?;
        let task = Task::long(command::READ_DMA_EXT, 0, sectors);
        let what = format!("a table of {length} bytes for {sectors} sectors");
        channel.start_dma(0, &task, true, &table)?;
        wait_until(vm, &what, || Ok(channel.master_get(master::STATUS)? & master::ACTIVE == 0))?;
        // The device is not done, so that it does not interrupt.
        assert_eq!(channel.master_get(master::STATUS)? & 7, 0, "{what}: the bus master");
        assert_eq!(channel.status()? & (ide::BUSY | FAILED), 0, "{what}: the status");
        channel.master_set(master::COMMAND, 0)?;
        let found = memory.to_vec()?;
        assert!(found[length..].iter().all(|byte| *byte == 0xa5), "{what}: behind the table");
        channel.reset()?;
    }
    Ok(())
}

/// Would catch a table that is longer than the data, and memory that is written behind it, or a
/// bus master that is not told to be at it still (SFF-8038i, 3.1).
fn long_prdt(ide: &IdeController, vm: &Rc<Vm>) -> Result<()> {
    let channel = start(ide)?;
    let memory = vm.ram().alloc(8192, 4096)?;
    let data = pattern(5, 1);
    set_image(vm, 0, &data)?;
    memory.write(0, &[0xa5; 8192])?;
    let table = Table::of_regions(vm, &[(memory.address().0, 8192)])?;
    let task = Task::long(command::READ_DMA_EXT, 0, 1);
    let (end, status) = channel.dma(0, &task, true, &table)?;
    end.good("READ DMA EXT with a long table")?;
    assert_eq!(status, master::ACTIVE | master::INTERRUPT, "the bus master");
    let found = memory.to_vec()?;
    assert!(found[..SECTOR] == data, "the data");
    assert!(found[SECTOR..].iter().all(|byte| *byte == 0xa5), "behind the data");
    Ok(())
}

/// Would catch DMA by a function that may not be a bus master.
fn no_busmaster(ide: &IdeController, vm: &Rc<Vm>) -> Result<()> {
    let channel = start(ide)?;
    let Some(set_master) = &ide.set_master else { return Ok(()) };
    let memory = vm.ram().alloc(SECTOR, 4096)?;
    memory.write(0, &[0xa5; SECTOR])?;
    set_image(vm, 0, &[0x11; SECTOR])?;
    let table = Table::of(vm, &[Piece::whole(&memory)])?;
    set_master(false)?;
    channel.start_dma(0, &Task::long(command::READ_DMA_EXT, 0, 1), true, &table)?;
    crate::qos::settle(vm)?;
    assert!(memory.to_vec()? == [0xa5; SECTOR], "memory that nobody may write");
    set_master(true)?;
    channel.master_set(master::COMMAND, 0)?;
    channel.reset()?;
    dma(channel, Task::long(command::READ_DMA_EXT, 0, 1), &memory)?;
    assert!(memory.to_vec()? == [0x11; SECTOR], "memory afterwards");
    Ok(())
}

/// Would catch a sector off the end that is there, an unknown command that is done, and an error
/// that stays.
fn errors(ide: &IdeController, vm: &Rc<Vm>) -> Result<()> {
    let channel = start(ide)?;
    let off = [ERROR_ABORT, ERROR_NOT_FOUND];
    let memory = vm.ram().alloc(4 * SECTOR, 4096)?;
    let table = Table::of(vm, &[Piece::whole(&memory)])?;
    for (first, count) in [(SECTORS, 1), (SECTORS - 1, 2), (0xfff_ffff, 1)] {
        let what = format!("{count} sectors at {first:#x}");
        let before = image(vm, SECTORS - 1, SECTOR)?;
        let (end, data) =
            channel.read_pio(0, &Task::short(command::READ, first, count), 2 * SECTOR, SECTOR)?;
        assert_failed(end, &off, &format!("{what}, READ"));
        assert!(data.len() < usize::from(count) * SECTOR, "{what}, READ: data");
        let (end, _) = channel.write_pio(
            0,
            &Task::short(command::WRITE, first, count),
            &before.repeat(2),
            SECTOR,
        )?;
        assert_failed(end, &off, &format!("{what}, WRITE"));
        for long in [first, 1 << 40, (1 << 48) - 1] {
            let task = Task::long(command::READ_DMA_EXT, long, count);
            let (end, _) = channel.dma(0, &task, true, &table)?;
            assert_failed(end, &off, &format!("{count} sectors at {long:#x}, READ DMA EXT"));
        }
        let end = channel.no_data(0, &Task::short(command::CHECK_POWER, 0, 0))?;
        end.good("CHECK POWER MODE afterwards")?;
        assert_eq!(channel.get(offset::COUNT)?, 0xff, "active or idle");
    }
    for unknown in [0x01, 0x80, 0xa0, 0xa1, 0xff] {
        let end = channel.no_data(0, &Task::new(unknown))?;
        assert_failed(end, &[ERROR_ABORT], &format!("the command {unknown:#x}"));
    }
    Ok(())
}

/// Would catch a flush that fails, or leaves data.
fn flush(ide: &IdeController, vm: &Rc<Vm>) -> Result<()> {
    let channel = start(ide)?;
    let data = pattern(8, 2);
    let (end, _) = channel.write_pio(0, &Task::short(command::WRITE, 20, 2), &data, SECTOR)?;
    end.good("WRITE SECTORS")?;
    for code in [command::FLUSH, command::FLUSH_EXT] {
        channel.no_data(0, &Task::new(code))?.good(&format!("the flush {code:#x}"))?;
        assert_eq!(channel.get(offset::DEVICE)? & 0x10, 0, "the device of the flush");
    }
    assert!(image(vm, 20, data.len())? == data, "the image after a flush");
    Ok(())
}

/// Would catch a flush of a device that is not there which ends QEMU, or is never over.
fn flush_nodev(ide: &IdeController, _: &Rc<Vm>) -> Result<()> {
    let channel = &ide.channels[1];
    channel.set(offset::DEVICE, 0xf0)?;
    channel.set(offset::STATUS, command::FLUSH)?;
    assert_eq!(channel.status()?, 0, "the status of nobody");
    Ok(())
}

/// Would catch a flush of a CD-ROM that fails, though there is nothing to do.
fn flush_empty(ide: &IdeController, _: &Rc<Vm>) -> Result<()> {
    let channel = &ide.channels[1];
    channel.reset()?;
    let end = channel.no_data(0, &Task::new(command::FLUSH))?;
    assert_eq!(end.status & (ide::BUSY | ide::FAULT | ide::REQUEST), 0, "{end:x?}");
    Ok(())
}

/// Would catch an interrupt that the bus master is not told of, or is although it is off
/// (device control, bit 1), and one that a read of the status does not clear.
fn interrupt(ide: &IdeController, _: &Rc<Vm>) -> Result<()> {
    let channel = start(ide)?;
    let told = || Ok::<_, crate::Error>(channel.master_get(master::STATUS)? & master::INTERRUPT);
    for is_off in [false, true, false] {
        channel.set_control(if is_off { ide::CONTROL_NO_INTERRUPT } else { 0 })?;
        channel.master_set(master::STATUS, master::INTERRUPT)?;
        assert_eq!(told()?, 0, "the bus master's interrupt, cleared");
        channel.no_data(0, &Task::new(command::CHECK_POWER))?.good("CHECK POWER MODE")?;
        let expected = if is_off { 0 } else { master::INTERRUPT };
        assert_eq!(told()?, expected, "the bus master's interrupt, off: {is_off}");
    }
    channel.set_control(0)?;
    channel.master_set(master::STATUS, master::INTERRUPT)
}

/// Would catch a highest sector that is not the last.
fn native_max(ide: &IdeController, _: &Rc<Vm>) -> Result<()> {
    let channel = start(ide)?;
    channel
        .no_data(0, &Task::long(command::READ_NATIVE_MAX_EXT, 0, 0))?
        .good("READ NATIVE MAX ADDRESS EXT")?;
    let low = [offset::LBA_LOW, offset::LBA_MIDDLE, offset::LBA_HIGH];
    let read = || -> Result<u64> {
        low.iter().rev().try_fold(0, |all, at| Ok(all << 8 | u64::from(channel.get(*at)?)))
    };
    let lower = read()?;
    channel.set_control(ide::CONTROL_HIGH)?;
    let upper = read()?;
    channel.set_control(0)?;
    assert_eq!(upper << 24 | lower, SECTORS - 1, "the highest sector");
    Ok(())
}

/// Would catch a feature that nobody knows and that is set, or a cache that does not say whether
/// it is on (ATA8-ACS, 7.45).
fn features(ide: &IdeController, _: &Rc<Vm>) -> Result<()> {
    let channel = start(ide)?;
    for (features, is_on) in [(0x82, false), (0x02, true)] {
        let task = Task { features, ..Task::new(command::SET_FEATURES) };
        channel.no_data(0, &task)?.good(&format!("the feature {features:#x}"))?;
        let words = channel.identify(0, command::IDENTIFY)?;
        assert_eq!(words[85] & 0x20 != 0, is_on, "the cache for writes, word 85");
    }
    for features in [0x01, 0x77, 0xfe] {
        let task = Task { features, ..Task::new(command::SET_FEATURES) };
        let end = channel.no_data(0, &task)?;
        assert_failed(end, &[ERROR_ABORT], &format!("the feature {features:#x}"));
    }
    // Ultra DMA 5, then multiword DMA 2.
    for (mode, word, bits) in [(0x45, 88, 0x2000), (0x22, 63, 0x0400)] {
        let task = Task { features: 3, count: mode, ..Task::new(command::SET_FEATURES) };
        channel.no_data(0, &task)?.good(&format!("the mode {mode:#x}"))?;
        let words = channel.identify(0, command::IDENTIFY)?;
        assert_eq!(words[word] & 0xff00, bits, "the mode {mode:#x} in word {word}");
    }
    Ok(())
}
