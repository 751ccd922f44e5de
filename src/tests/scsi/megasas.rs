//! The frames of QEMU's `megasas`: commands that are refused, and ones that are wrong.

use std::rc::Rc;

use crate::drivers::scsi::megasas::{self as mega, Megasas};
use crate::qemu::{Buffer, Vm};
use crate::qos::registers::RegistersExt;
use crate::qos::settle;
use crate::{Result, tests};

tests!(Megasas, "megasas-tests": state, fuzz = "dcmd/pd-get-info/fuzz", no_command = "no-command");

/// A frame's fields: command, status.
const STATUS: usize = 2;
/// The command of the firmware's own.
const DCMD: u8 = 0x05;
/// Statuses: the command is not known; there is no such device.
const INVALID_COMMAND: u8 = 0x01;
const DEVICE_NOT_FOUND: u8 = 0x0c;
/// What stands in the status before the firmware writes it.
const NONE: u8 = 0xff;

/// Hands a frame to the firmware, and returns its status afterwards.
fn run(card: &Megasas, vm: &Vm, frame: &Buffer) -> Result<u8> {
    card.plug.registers.set(mega::INBOUND_QUEUE, frame.address().0 as u32)?;
    settle(vm)?;
    Ok(frame.to_vec()?[STATUS])
}

/// The firmware takes frames.
fn assert_ready(card: &Megasas, when: &str) -> Result<()> {
    let state = card.plug.registers.get(mega::OUTBOUND_SCRATCH_PAD)?;
    assert_eq!(state >> 28, mega::STATE_READY, "the state of the firmware {when}: {state:#x}");
    Ok(())
}

/// Would catch firmware that never gets ready, or tells so in one of two registers only.
fn state(card: &Megasas, _: &Rc<Vm>) -> Result<()> {
    assert_ready(card, "at first")?;
    let message = card.plug.registers.get(mega::OUTBOUND_MESSAGE)?;
    let scratch = card.plug.registers.get(mega::OUTBOUND_SCRATCH_PAD)?;
    assert!([0, scratch].contains(&message), "outbound message 0: {message:#x}");
    Ok(())
}

/// Would catch a request for the data of a disk that is not there which is done, overwrites memory,
/// or ends QEMU (the case that a fuzzer found).
fn fuzz(card: &Megasas, vm: &Rc<Vm>) -> Result<()> {
    card.plug.device.bus().reaches_ram()?;
    let frame = vm.ram().alloc(1024, 64)?;
    let mut words = [0x4141_4141u32; 256];
    words[0] = 0x0505_0505;
    words[1] = 0x0101_0101;
    words[6] = 0x0202_0000;
    words[7] = 0;
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    frame.write(0, &bytes)?;
    let status = run(card, vm, &frame)?;
    let after = frame.to_vec()?;
    assert_eq!(after[32..], bytes[32..], "memory behind the frame's header");
    assert_eq!(after[0], DCMD, "the frame's command");
    assert_eq!(status, DEVICE_NOT_FOUND, "the frame's status");
    assert_ready(card, "afterwards")
}

/// Would catch a command that nobody knows and that is done.
fn no_command(card: &Megasas, vm: &Rc<Vm>) -> Result<()> {
    card.plug.device.bus().reaches_ram()?;
    for command in [0x0b, 0x40, 0xff] {
        let frame = vm.ram().alloc(1024, 64)?;
        frame.write(0, &[command, 0, NONE])?;
        let status = run(card, vm, &frame)?;
        assert_eq!(status, INVALID_COMMAND, "the status of command {command:#x}");
        assert_ready(card, "afterwards")?;
    }
    Ok(())
}
