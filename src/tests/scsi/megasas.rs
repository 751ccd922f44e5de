//! The frames of QEMU's `megasas`: commands that are refused, and ones that are wrong.

use std::rc::Rc;

use crate::drivers::scsi::megasas::{self as mega, Megasas, ReplyQueue, frame, status};
use crate::qemu::{Buffer, Vm};
use crate::qos::registers::RegistersExt;
use crate::qos::scsi::cdb::BLOCK;
use crate::qos::scsi::{CDROM, CHECK_CONDITION, DISK, IMAGE, SENSE, address32};
use crate::qos::settle;
use crate::{Result, attacks, tests};

tests!(Megasas, "megasas-tests":
    state,
    fuzz = "dcmd/pd-get-info/fuzz",
    no_command = "no-command",
    logical_io = "logical-io",
    bad_frames = "bad-frames",
    interrupt,
);
attacks!(Megasas, "megasas-attacks": logical_io = "logical-io", bad_frames = "bad-frames");

/// A frame's fields: command, status.
const STATUS: usize = 2;
/// The command of the firmware's own.
const DCMD: u8 = frame::DCMD;
/// Statuses: the command is not known; there is no such device.
const INVALID_COMMAND: u8 = status::INVALID_COMMAND;
const DEVICE_NOT_FOUND: u8 = status::NOT_FOUND;
/// What stands in the status before the firmware writes it.
const NONE: u8 = status::NONE;

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

/// A read or write of a logical disk (MFI's LD_READ, LD_WRITE): its frame, and its sense data.
struct Io {
    frame: Buffer,
    sense: Buffer,
}

impl Io {
    /// `count` blocks of `target` from `block` on, with this memory.
    fn new(
        vm: &Vm,
        command: u8,
        target: u8,
        (block, count): (u64, u32),
        memory: &Buffer,
    ) -> Result<Self> {
        let (buffer, sense) = (vm.ram().alloc(mega::FRAME, 64)?, vm.ram().alloc(SENSE, 4)?);
        buffer.write(0, &[command, SENSE as u8, NONE, 0xee, target, 0, 0, 1])?;
        buffer.write_le32(8, 0x5151)?;
        // Addresses of 32 bits.
        buffer.write_le16(16, if command == frame::LD_WRITE { 1 << 3 } else { 1 << 4 })?;
        buffer.write_le32(20, count)?;
        buffer.write_le32(24, address32(&sense)?)?;
        buffer.write_le64(32, block)?;
        // QEMU and drivers have the lower half first.
        buffer.write_le32(40, address32(memory)?)?;
        buffer.write_le32(44, memory.len() as u32)?;
        Ok(Self { frame: buffer, sense })
    }

    /// Its two statuses when it comes back.
    fn run(&self, card: &Megasas, queue: &ReplyQueue) -> Result<(u8, u8)> {
        card.run(queue, &self.frame)?;
        let header = self.frame.to_vec()?;
        Ok((header[2], header[3]))
    }
}

/// Starts the firmware.
fn start(card: &Megasas, vm: &Rc<Vm>) -> Result<ReplyQueue> {
    card.plug.device.bus().reaches_ram()?;
    card.reset(vm)?;
    card.set_up(vm)
}

/// Would catch a logical disk whose blocks are not those of the image, are off the end, or of a
/// disk that is not there.
fn logical_io(card: &Megasas, vm: &Rc<Vm>) -> Result<()> {
    let queue = start(card, vm)?;
    let last = IMAGE.size / BLOCK as u64 - 1;
    for (seed, (block, count)) in [(0, 1), (7, 8), (0x1234, 3), (last, 1)].into_iter().enumerate() {
        let data: Vec<u8> =
            (0..count as usize * BLOCK).map(|at| (at * 5 + at / 512 + seed) as u8).collect();
        let memory = vm.ram().alloc(data.len(), 16)?;
        memory.write(0, &data)?;
        let write = Io::new(vm, frame::LD_WRITE, DISK.target, (block, count), &memory)?;
        assert_eq!(write.run(card, &queue)?, (status::OK, 0), "{count} blocks at {block}, write");
        let mut image = vec![0; data.len()];
        vm.read_image(IMAGE.name, block * BLOCK as u64, &mut image)?;
        assert!(image == data, "{count} blocks at {block}: the image");
        let other: Vec<u8> = data.iter().map(|byte| !byte).collect();
        vm.write_image(IMAGE.name, block * BLOCK as u64, &other)?;
        let read = Io::new(vm, frame::LD_READ, DISK.target, (block, count), &memory)?;
        assert_eq!(read.run(card, &queue)?, (status::OK, 0), "{count} blocks at {block}, read");
        assert!(memory.to_vec()? == other, "{count} blocks at {block}: what is read");
    }
    let memory = vm.ram().alloc(2 * BLOCK, 16)?;
    for (block, count) in [(last, 2), (last + 1, 1), (1 << 40, 1)] {
        let read = Io::new(vm, frame::LD_READ, DISK.target, (block, count), &memory)?;
        let statuses = read.run(card, &queue)?;
        assert_eq!(statuses, (status::SCSI_ERROR, CHECK_CONDITION), "{count} blocks at {block}");
        let sense = read.sense.to_vec()?;
        assert_eq!((sense[0], sense[2], sense[12]), (0x70, 5, 0x21), "{count} blocks at {block}");
        assert!(memory.to_vec()? == [0; 2 * BLOCK], "{count} blocks at {block}: memory");
    }
    for target in [0, 5, 63, 64, 255] {
        let read = Io::new(vm, frame::LD_READ, target, (0, 1), &memory)?;
        assert_eq!(read.run(card, &queue)?.0, status::NOT_FOUND, "target {target}");
    }
    Ok(())
}

/// Would catch a frame with a command that is too long or without memory that is carried out.
fn bad_frames(card: &Megasas, vm: &Rc<Vm>) -> Result<()> {
    let queue = start(card, vm)?;
    let memory = vm.ram().alloc(64, 16)?;
    for (length, pieces, code) in [(17u8, 1u8, 0x20), (6, 0, 0x44), (255, 1, 0x20)] {
        let io = Io::new(vm, frame::LD_SCSI, CDROM.target, (0, 0), &memory)?;
        io.frame.write(6, &[length, pieces])?;
        io.frame.write_le32(20, 64)?;
        io.frame.write(32, &[0x12, 0, 0, 0, 64, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])?;
        io.frame.write_le32(48, address32(&memory)?)?;
        io.frame.write_le32(52, 64)?;
        let what = format!("a command of {length} bytes, {pieces} pieces of memory");
        assert_eq!(io.run(card, &queue)?, (status::SCSI_ERROR, CHECK_CONDITION), "{what}");
        assert_eq!(io.sense.to_vec()?[12], code, "{what}: the additional sense code");
        assert!(memory.to_vec()? == [0; 64], "{what}: memory");
    }
    // What is right is done afterwards.
    let io = Io::new(vm, frame::LD_SCSI, CDROM.target, (0, 0), &memory)?;
    io.frame.write(6, &[6, 1])?;
    io.frame.write_le32(20, 36)?;
    io.frame.write(32, &[0x12, 0, 0, 0, 36, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])?;
    io.frame.write_le32(48, address32(&memory)?)?;
    io.frame.write_le32(52, 64)?;
    assert_eq!(io.run(card, &queue)?, (status::OK, 0), "an INQUIRY");
    assert_eq!(&memory.to_vec()?[8..16], b"QEMU    ", "an INQUIRY");
    Ok(())
}

/// Would catch an interrupt that is not asserted while a reply waits, stays when it was taken, or
/// comes although it is held back.
fn interrupt(card: &Megasas, vm: &Rc<Vm>) -> Result<()> {
    let queue = start(card, vm)?;
    let registers = &card.plug.registers;
    assert!(!card.plug.device.asserts_interrupt()?, "INTA# at first");
    let memory = vm.ram().alloc(BLOCK, 16)?;
    let io = Io::new(vm, frame::LD_READ, 60, (0, 1), &memory)?;
    registers.set(mega::INBOUND_QUEUE, address32(&io.frame)?)?;
    settle(vm)?;
    assert!(card.plug.device.asserts_interrupt()?, "INTA# while a reply waits");
    assert_eq!(registers.get(mega::OUTBOUND_STATUS)?, card.chip.pending, "what is pending");
    card.take(&queue, &io.frame)?;
    assert!(!card.plug.device.asserts_interrupt()?, "INTA# when it was taken");
    // Held back, and with it all else: the firmware becomes ready anew.
    registers.set(mega::OUTBOUND_MASK, !0)?;
    assert_eq!(registers.get(mega::OUTBOUND_MASK)?, !0, "the mask");
    assert_eq!(card.state()?, mega::STATE_READY, "the state of firmware without interrupts");
    Ok(())
}
