//! AHCI: the disk's identity, every way of moving data, queued commands, errors, interrupts
//! (Serial ATA AHCI Specification 1.3.1).

use std::rc::Rc;

use crate::drivers::block::ahci::{self as ahci, Ahci, Command, Port, SECTOR, ata};
use crate::qemu::Vm;
use crate::qos::block::{DISK, Piece, SERIAL};
use crate::qos::pci::intx;
use crate::qos::registers::RegistersExt;
use crate::qos::wait_until;
use crate::{Result, tests};

tests!(Ahci, "ahci-tests":
    ports,
    identify,
    commands,
    refused,
    queued,
    short_memory = "short-memory",
    interrupt_line = "interrupt-line",
);

fn started(hba: &Ahci, vm: &Rc<Vm>) -> Result<Port> {
    hba.plug.device.bus().reaches_ram()?;
    Port::start(&hba.plug.registers, vm)
}

/// Bytes of which no two sectors are equal.
fn pattern(seed: usize, length: usize) -> Vec<u8> {
    (0..length).map(|at| (at * 5 + at / SECTOR * 3 + seed) as u8).collect()
}

/// Would catch ports without a device that tell of one, or the reverse.
fn ports(hba: &Ahci, vm: &Rc<Vm>) -> Result<()> {
    let _port = started(hba, vm)?;
    for number in 0..ahci::PORTS {
        let status = hba.plug.registers.get(ahci::PX_SSTS.nth(number, ahci::PORT_STRIDE))?;
        // A device, communication, the first generation, active; or none.
        let expected = if number == 0 { 0x113 } else { 0 };
        assert_eq!(status, expected, "PxSSTS of port {number}");
    }
    let signature = hba.plug.registers.get(ahci::PX_SIG)?;
    assert_eq!(signature, 0x101, "PxSIG: a disk");
    Ok(())
}

/// Would catch a disk that tells less than it can, or another size with 28 bits than with 48.
fn identify(hba: &Ahci, vm: &Rc<Vm>) -> Result<()> {
    let words = started(hba, vm)?.identify()?;
    let sectors = (DISK.size / SECTOR as u64) as u32;
    assert_eq!(words[0] & 1 << 15, 0, "word 0: an ATA device");
    assert_eq!(words[49] & 0x300, 0x300, "word 49: DMA and LBA");
    let small = u32::from(words[60]) | u32::from(words[61]) << 16;
    assert_eq!(small, sectors, "words 60 and 61: sectors by 28 bits");
    let large = u32::from(words[100]) | u32::from(words[101]) << 16;
    assert_eq!((large, words[102], words[103]), (sectors, 0, 0), "words 100 to 103");
    assert_eq!(words[75], 31, "word 75: the depth of the queue");
    assert_eq!(words[76] & 1 << 8, 1 << 8, "word 76: queued commands");
    assert_eq!(words[83] & 1 << 10, 1 << 10, "word 83: sectors by 48 bits");
    assert_eq!(words[169] & 1, 1, "word 169: trim");
    let serial: Vec<u8> = words[10..20].iter().flat_map(|word| word.to_be_bytes()).collect();
    assert_eq!(serial, format!("{SERIAL:20}").into_bytes(), "words 10 to 19");
    Ok(())
}

/// Would catch a way of moving data, by PIO or DMA, by 28 bits or 48, that moves others than
/// meant.
fn commands(hba: &Ahci, vm: &Rc<Vm>) -> Result<()> {
    let port = started(hba, vm)?;
    let memory = vm.ram().alloc(64 * SECTOR, 2)?;
    for (seed, code) in [
        ata::READ_SECTORS,
        ata::READ_SECTORS_EXT,
        ata::READ_DMA,
        ata::READ_DMA_EXT,
        ata::WRITE_SECTORS_EXT,
        ata::WRITE_DMA,
        ata::WRITE_DMA_EXT,
    ]
    .into_iter()
    .enumerate()
    {
        for (first, count) in [(0u64, 1u16), (7, 3), (32_767, 1), (1000, 64)] {
            let what = format!("command {code:#x}, {count} sectors at {first}");
            let length = usize::from(count) * SECTOR;
            let data = pattern(seed * 11 + usize::from(count), length);
            let writes = [ata::WRITE_SECTORS_EXT, ata::WRITE_DMA, ata::WRITE_DMA_EXT];
            let writes = writes.contains(&code);
            let at = first * SECTOR as u64;
            if writes {
                memory.write(0, &data)?;
            } else {
                vm.write_image(DISK.name, at, &data)?;
            }
            let pieces = [Piece::of(&memory, 0, length)];
            let command =
                Command { command: code, features: 0, first, count, writes, memory: &pieces };
            assert_eq!(port.run(&command, &what)?, None, "{what}: its error");
            let mut found = vec![0; length];
            match writes {
                true => vm.read_image(DISK.name, at, &mut found)?,
                false => memory.read(0, &mut found)?,
            }
            assert!(found == data, "{what}: the data");
        }
    }
    Ok(())
}

/// Would catch a command that nobody knows which is done, and a port that is of no use after an
/// error.
fn refused(hba: &Ahci, vm: &Rc<Vm>) -> Result<()> {
    let port = started(hba, vm)?;
    for code in [0x02, 0x1f, 0x9d, 0xff] {
        let what = format!("command {code:#x}");
        let command =
            Command { command: code, features: 0, first: 0, count: 1, writes: false, memory: &[] };
        assert_eq!(port.run(&command, &what)?, Some(ata::ERROR_ABORT), "{what}");
        assert_eq!(port.identify()?.len(), 256, "IDENTIFY DEVICE after {what}");
    }
    Ok(())
}

/// Would catch queued commands whose data are another's, that are not reported as done, or are
/// before they are.
fn queued(hba: &Ahci, vm: &Rc<Vm>) -> Result<()> {
    let port = started(hba, vm)?;
    let registers = &hba.plug.registers;
    const COUNT: usize = 9;
    const PART: usize = 4 * SECTOR;
    let memory = vm.ram().alloc(COUNT * PART, 2)?;
    let there = pattern(3, COUNT * PART);
    for (code, first) in [(ata::READ_QUEUED, 64u64), (ata::WRITE_QUEUED, 512)] {
        let writes = code == ata::WRITE_QUEUED;
        if !writes {
            vm.write_image(DISK.name, first * SECTOR as u64, &there)?;
        }
        // Slots in another order than sectors, and not from the first on.
        let slots: Vec<usize> = (0..COUNT).map(|at| (at * 7 + 5) % ahci::SLOTS).collect();
        let mut all = 0u32;
        for (at, slot) in slots.iter().enumerate() {
            let pieces = [Piece::of(&memory, at * PART, PART)];
            let command = Command {
                command: code,
                features: 4,
                first: first + 4 * at as u64,
                count: (*slot as u16) << 3,
                writes,
                memory: &pieces,
            };
            port.put(*slot, &command)?;
            all |= 1 << slot;
        }
        registers.set(ahci::PX_SACT, all)?;
        registers.set(ahci::PX_CI, all)?;
        wait_until(vm, "the queued commands", || Ok(registers.get(ahci::PX_SACT)? == 0))?;
        assert_eq!(registers.get(ahci::PX_CI)?, 0, "PxCI when all are done");
        let pending = registers.get(ahci::PX_IS)?;
        assert_eq!(pending & (ahci::IS_SDBS | ahci::IS_TFES), ahci::IS_SDBS, "PxIS: {pending:#x}");
        registers.set(ahci::PX_IS, pending)?;
        let mut found = vec![0; there.len()];
        match writes {
            true => vm.read_image(DISK.name, first * SECTOR as u64, &mut found)?,
            false => memory.read(0, &mut found)?,
        }
        assert!(found == there, "the data of command {code:#x}");
    }
    Ok(())
}

/// Would catch memory that is too short for a command's data and written past its end.
fn short_memory(hba: &Ahci, vm: &Rc<Vm>) -> Result<()> {
    let port = started(hba, vm)?;
    let memory = vm.ram().alloc(8 * SECTOR, 2)?;
    memory.write(0, &[0xa5; 8 * SECTOR])?;
    let there = pattern(9, 4 * SECTOR);
    vm.write_image(DISK.name, 0, &there)?;
    let pieces = [Piece::of(&memory, 0, SECTOR), Piece::of(&memory, 4 * SECTOR, SECTOR)];
    port.put(
        0,
        &Command {
            command: ata::READ_DMA_EXT,
            features: 0,
            first: 0,
            count: 4,
            writes: false,
            memory: &pieces,
        },
    )?;
    hba.plug.registers.set(ahci::PX_CI, 1)?;
    hba.plug.registers.get(ahci::PX_CI)?;
    port.resume()?;
    let found = memory.to_vec()?;
    for (sector, bytes) in found.chunks_exact(SECTOR).enumerate() {
        if ![0, 4].contains(&sector) {
            assert!(bytes == [0xa5; SECTOR], "sector {sector} of the memory, which is not in use");
        }
    }
    port.identify().map(drop)
}

/// Would catch an interrupt that does not reach the machine's interrupt controller, or stays there.
fn interrupt_line(hba: &Ahci, vm: &Rc<Vm>) -> Result<()> {
    let port = started(hba, vm)?;
    let registers = &hba.plug.registers;
    registers.set(ahci::IS, !0)?;
    registers.set(ahci::PX_IE, ahci::IS_DHRS)?;
    registers.set(ahci::GHC, ahci::GHC_IE | 1 << 31)?;
    let flush = Command {
        command: ata::FLUSH_EXT,
        features: 0,
        first: 0,
        count: 0,
        writes: false,
        memory: &[],
    };
    let raise = || -> Result<()> {
        port.put(0, &flush)?;
        registers.set(ahci::PX_CI, 1)?;
        wait_until(vm, "a flush", || Ok(registers.get(ahci::PX_IS)? & ahci::IS_DHRS != 0))
    };
    let lower = || -> Result<()> {
        registers.set(ahci::PX_IS, !0)?;
        registers.set(ahci::IS, !0)
    };
    intx::check(&hba.plug.device, vm, raise, lower)
}
