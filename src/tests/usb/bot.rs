//! Mass storage with several logical units by the bulk-only transport: command and status blocks, and
//! what the host and the device do not agree on (USB Mass Storage Class, Bulk-Only Transport 1.0, "BOT",
//! whose sections are cited).

use std::rc::Rc;

use crate::drivers::usb::bot::UsbBot;
use crate::qemu::{Buffer, Vm};
use crate::qos::usb::Status;
use crate::qos::usb::device::setup;
use crate::qos::usb::storage::{Data, Storage};
use crate::{Result, attacks, tests};

tests!(UsbBot, "usb-bot-tests":
    units,
    unit_apart = "unit-apart",
    lengths,
    lengths_recovered = "lengths-recovered",
    absent_unit = "absent-unit",
    command_lengths = "command-lengths",
    fewer_data = "fewer-data",
    more_data = "more-data",
    other_direction = "other-direction",
    status_twice = "status-twice",
    reset_between = "reset-between",
);
attacks!(UsbBot, "usb-bot-attacks": units, lengths, other_direction = "other-direction");

const INQUIRY: [u8; 6] = [0x12, 0, 0, 0, 36, 0];

/// A command block (5.1).
fn block(lun: u8, length: u32, is_in: bool, command: &[u8]) -> Vec<u8> {
    let mut bytes = b"USBC\x01\x02\x03\x04".to_vec();
    bytes.extend(length.to_le_bytes());
    bytes.extend([u8::from(is_in) << 7, lun, command.len() as u8]);
    bytes.extend(command);
    bytes.resize(31, 0);
    bytes
}

/// Memory with bytes at its start.
fn memory(vm: &Vm, bytes: &[u8]) -> Result<Buffer> {
    let memory = vm.ram().alloc(512.max(bytes.len()), 64)?;
    memory.write(0, bytes)?;
    Ok(memory)
}

/// Has INQUIRY answered by a unit: its type.
fn kind(storage: &Storage, lun: u8, vm: &Vm) -> Result<u8> {
    let data = memory(vm, &[0xa5; 36])?;
    let what = format!("INQUIRY of unit {lun}");
    storage.command_to(lun, 7, &INQUIRY, Data::In(&data, 36))?.done(&what)?;
    assert_eq!(storage.data(Data::In(&data, 36), &what)?.done(&what)?, 36, "{what}");
    assert_eq!(storage.status(7)?, (0, 0), "{what}: residue and status");
    Ok(data.to_vec()?[0])
}

/// Would catch another number of units than there are, or one that is another's (3.2).
fn units(device: &UsbBot, vm: &Rc<Vm>) -> Result<()> {
    let storage = device.start()?;
    vm.set_up_ends()?;
    assert_eq!(storage.usb.get(setup(0xa1, 0xfe, 0, 0, 1), "Get Max LUN")?, [3], "the last unit");
    let kinds = (0..4).map(|lun| kind(&storage, lun, vm)).collect::<Result<Vec<_>>>()?;
    assert_eq!(kinds, [0, 5, 0, 0], "the types of units");
    Ok(())
}

/// Would catch a command of one unit that another has: capacities differ (SBC-3, 5.15).
fn unit_apart(device: &UsbBot, vm: &Rc<Vm>) -> Result<()> {
    let storage = device.start()?;
    let data = memory(vm, &[0; 8])?;
    let mut blocks = Vec::new();
    for lun in [0, 2, 0, 2] {
        // A unit attention comes first.
        for _ in 0..2 {
            storage.command_to(lun, 1, &[0; 6], Data::None)?.done("TEST UNIT READY")?;
            storage.status(1)?;
        }
        let command = [0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        storage.command_to(lun, 2, &command, Data::In(&data, 8))?.done("READ CAPACITY")?;
        storage.data(Data::In(&data, 8), "READ CAPACITY")?.done("READ CAPACITY")?;
        assert_eq!(storage.status(2)?, (0, 0), "READ CAPACITY of unit {lun}");
        blocks
            .push(u32::from_be_bytes([0, 1, 2, 3].map(|at| data.to_vec().unwrap_or_default()[at])));
    }
    let (disk, zeroes) = (0x7fff, 0xfff);
    assert_eq!(blocks, [disk, zeroes, disk, zeroes], "last blocks of units 0 and 2");
    Ok(())
}

/// Sends bytes in the place of a command.
fn send(storage: &Storage, vm: &Vm, bytes: &[u8]) -> Result<Status> {
    let data = memory(vm, bytes)?;
    let sent = storage.usb.transfer(storage.output, &data, (0, bytes.len()), "a command block")?;
    Ok(sent.status)
}

/// Would catch a command block of another length than 31 bytes that is taken (6.2.1).
fn lengths(device: &UsbBot, vm: &Rc<Vm>) -> Result<()> {
    let storage = device.start()?;
    for length in [1, 15, 30, 32, 63, 64] {
        let mut bytes = block(0, 36, true, &INQUIRY);
        bytes.resize(length, 0);
        assert_eq!(send(&storage, vm, &bytes)?, Status::Stall, "a block of {length} bytes");
        storage.usb.hcd.clear_halt(&storage.usb.device, &storage.output)?;
        storage.recover()?;
    }
    Ok(())
}

/// Would catch a device that takes no command after one that is none and its recovery (5.3.4).
fn lengths_recovered(device: &UsbBot, vm: &Rc<Vm>) -> Result<()> {
    let storage = device.start()?;
    vm.set_up_ends()?;
    for length in [1, 30, 32, 64] {
        let mut bytes = block(0, 36, true, &INQUIRY);
        bytes.resize(length, 0);
        let _ = send(&storage, vm, &bytes)?;
        storage.usb.hcd.clear_halt(&storage.usb.device, &storage.output)?;
        storage.recover()?;
        assert_eq!(kind(&storage, 0, vm)?, 0, "after a block of {length} bytes");
    }
    Ok(())
}

/// Would catch a command to a unit that is not there by which QEMU fails, or that another unit has
/// (6.2.2: such a block is not meaningful).
fn absent_unit(device: &UsbBot, vm: &Rc<Vm>) -> Result<()> {
    let storage = device.start()?;
    for lun in [4, 7, 15, 16, 0x80, 0xff] {
        if send(&storage, vm, &block(lun, 36, true, &INQUIRY))? == Status::Done {
            let data = memory(vm, &[0xa5; 36])?;
            let what = format!("INQUIRY of unit {lun}");
            let moved = storage.data(Data::In(&data, 36), &what)?;
            let found = data.to_vec()?[0];
            let is_none = moved.moved == 0 || found == 0x7f;
            assert!(is_none, "{what}: a unit of type {found:#x}");
        }
        storage.usb.hcd.clear_halt(&storage.usb.device, &storage.output)?;
        storage.usb.hcd.clear_halt(&storage.usb.device, &storage.input)?;
        storage.recover()?;
        assert_eq!(kind(&storage, 1, vm)?, 5, "unit 1 after unit {lun}");
    }
    Ok(())
}

/// Would catch a length of a command that cannot be and by which QEMU fails (5.1: 1 to 16).
fn command_lengths(device: &UsbBot, vm: &Rc<Vm>) -> Result<()> {
    let storage = device.start()?;
    for length in [0, 1, 5, 17, 31, 0x80, 0xff] {
        let mut bytes = block(0, 36, true, &INQUIRY);
        bytes[14] = length;
        if send(&storage, vm, &bytes)? == Status::Done {
            let data = memory(vm, &[0; 36])?;
            let _ = storage.data(Data::In(&data, 36), "the data of a wrong command")?;
        }
        storage.usb.hcd.clear_halt(&storage.usb.device, &storage.output)?;
        storage.usb.hcd.clear_halt(&storage.usb.device, &storage.input)?;
        storage.recover()?;
        assert_eq!(kind(&storage, 0, vm)?, 0, "after a command of {length} bytes");
    }
    Ok(())
}

/// Would catch fewer data than were announced whose residue is not told (6.7.2, case 5).
fn fewer_data(device: &UsbBot, vm: &Rc<Vm>) -> Result<()> {
    let storage = device.start()?;
    for announced in [37usize, 64, 100, 512] {
        let data = memory(vm, &[0xa5; 512])?;
        let what = format!("INQUIRY of 36 bytes of {announced}");
        storage.command_to(0, 3, &INQUIRY, Data::In(&data, announced))?.done(&what)?;
        let _ = storage.data(Data::In(&data, announced), &what)?;
        assert_eq!(storage.status(3)?, (announced as u32 - 36, 0), "{what}: residue and status");
    }
    Ok(())
}

/// Would catch more data than were announced that are sent, or that are not told to be an error (6.7.2,
/// case 7).
fn more_data(device: &UsbBot, vm: &Rc<Vm>) -> Result<()> {
    let storage = device.start()?;
    let data = memory(vm, &[0xa5; 512])?;
    let what = "INQUIRY of 36 bytes of 8";
    storage.command_to(0, 4, &INQUIRY, Data::In(&data, 8))?.done(what)?;
    let moved = storage.data(Data::In(&data, 8), what)?.moved;
    let bytes = data.to_vec()?;
    assert_eq!((moved, &bytes[8..36]), (8, &[0xa5; 28][..]), "{what}: what came");
    assert_eq!(storage.status(4)?.1, 2, "{what}: a phase error");
    storage.recover()?;
    assert_eq!(kind(&storage, 0, vm)?, 0, "after that");
    Ok(())
}

/// Would catch data in the other direction than the command has by which QEMU fails, or that are told to
/// be done (6.7, cases 8 and 10).
fn other_direction(device: &UsbBot, vm: &Rc<Vm>) -> Result<()> {
    let storage = device.start()?;
    let write = [0x2a, 0, 0, 0, 0, 0, 0, 0, 1, 0];
    for (command, is_in) in [(&INQUIRY[..], false), (&write[..], true)] {
        let data = memory(vm, &[0x5a; 512])?;
        let data = if is_in { Data::In(&data, 512) } else { Data::Out(&data, 512) };
        let what = format!("command {:#x}, the other direction", command[0]);
        // A unit attention comes first.
        for _ in 0..2 {
            storage.command(1, &[0; 6], Data::None)?.done("TEST UNIT READY")?;
            storage.status(1)?;
        }
        let sent = storage.command(5, command, data)?;
        if sent.status == Status::Done {
            let request = match data {
                Data::In(buffer, length) => storage.usb.request(storage.input, buffer, (0, length)),
                Data::Out(buffer, length) => {
                    storage.usb.request(storage.output, buffer, (0, length))
                }
                Data::None => continue,
            };
            let ticket = storage.usb.hcd.submit(&request)?;
            super::hcd::frames(storage.usb.hcd, 40)?;
            match storage.usb.hcd.completion(ticket)? {
                None => storage.usb.hcd.cancel(ticket)?,
                Some(ended) => assert_eq!(ended.status, Status::Stall, "{what}: its data"),
            }
        }
        for endpoint in [storage.input, storage.output] {
            storage.usb.hcd.clear_halt(&storage.usb.device, &endpoint)?;
        }
        storage.recover()?;
        assert_eq!(kind(&storage, 0, vm)?, 0, "after {what}");
    }
    Ok(())
}

/// Would catch a status that is told twice, or a device that fails when it is asked for one too many
/// (6.3).
fn status_twice(device: &UsbBot, vm: &Rc<Vm>) -> Result<()> {
    let storage = device.start()?;
    assert_eq!(kind(&storage, 0, vm)?, 0, "at first");
    let data = memory(vm, &[0xa5; 13])?;
    let request = storage.usb.request(storage.input, &data, (0, 13));
    let ticket = storage.usb.hcd.submit(&request)?;
    super::hcd::frames(storage.usb.hcd, 20)?;
    match storage.usb.hcd.completion(ticket)? {
        None => storage.usb.hcd.cancel(ticket)?,
        Some(ended) => assert_eq!((ended.status, ended.moved), (Status::Stall, 0), "a status"),
    }
    storage.usb.hcd.clear_halt(&storage.usb.device, &storage.input)?;
    storage.recover()?;
    assert_eq!(kind(&storage, 0, vm)?, 0, "after that");
    Ok(())
}

/// Would catch a device that is reset between a command and its status and that goes on with it, or
/// takes no more (3.1).
fn reset_between(device: &UsbBot, vm: &Rc<Vm>) -> Result<()> {
    for moves in [false, true] {
        let storage = device.start()?;
        vm.set_up_ends()?;
        let data = memory(vm, &[0; 36])?;
        storage.command(6, &INQUIRY, Data::In(&data, 36))?.done("INQUIRY")?;
        if moves {
            storage.data(Data::In(&data, 36), "INQUIRY")?.done("INQUIRY")?;
        }
        storage.recover()?;
        assert_eq!(kind(&storage, 1, vm)?, 5, "after a reset, data moved: {moves}");
        // A reset of the port as well.
        let storage = device.start()?;
        assert_eq!(kind(&storage, 1, vm)?, 5, "after a reset of the port");
    }
    Ok(())
}
