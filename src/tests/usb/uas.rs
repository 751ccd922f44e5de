//! USB Attached SCSI below what a SCSI adapter shows: pipes, information units, tags and streams
//! (T10/2095-D, "UAS", whose sections are cited).

use std::rc::Rc;

use super::hcd::{ended, frames};
use crate::drivers::usb::uas::UsbUas;
use crate::qemu::Vm;
use crate::qos::scsi::{CDROM, CHECK_CONDITION, DISK, GOOD, IMAGE, SLOW, Unit, cdb};
use crate::qos::usb::device::request;
use crate::qos::usb::uas::{Answer, Uas, command, function, id, response, task};
use crate::qos::usb::{Endpoint, Speed, Status};
use crate::{Error, Result, attacks, tests};

tests!(UsbUas, "usb-uas-tests":
    pipes,
    tags,
    tag_reuse = "tag-reuse",
    overlapped_tag = "overlapped-tag",
    side_by_side = "side-by-side",
    late_status = "late-status",
    status_twice = "status-twice",
    stream_0 = "stream-0",
    no_stream = "no-stream",
    unknown_unit = "unknown-unit",
    unknown_answer = "unknown-answer",
    short_unit = "short-unit",
    long_cdb = "long-cdb",
    abort_task = "abort-task",
    functions,
    absent_inquiry = "absent-inquiry",
    early_data = "early-data",
);
attacks!(UsbUas, "usb-uas-attacks":
    tags,
    side_by_side = "side-by-side",
    abort_task = "abort-task",
    functions,
    early_data = "early-data",
);

/// A unit that is there no more than its target.
const NOBODY: u8 = 9;
/// A unit was reset, and the sense data of that: key, code, qualifier.
const WAS_RESET: (u8, u8, u8) = (6, 0x29, 0);
/// A tag is in use.
const OVERLAPPED: (u8, u8, u8) = (0xb, 0x4e, 0);

/// Key, code and qualifier of sense data of fixed format.
fn code(sense: &[u8]) -> (u8, u8, u8) {
    match *sense {
        [0x70, _, key, _, _, _, _, _, _, _, _, _, code, qualifier, ..] => (key, code, qualifier),
        _ => panic!("sense data {sense:02x?}"),
    }
}

/// Configures the device, and has each unit tell that it was reset.
fn started(device: &UsbUas) -> Result<Uas<'_>> {
    let uas = device.start()?;
    for unit in [DISK, CDROM, SLOW] {
        let lun = unit.of_target();
        match uas.ask(1, &command(1, lun, &cdb::TEST_UNIT_READY))? {
            Answer::Sense(1, GOOD, sense) if sense.is_empty() => continue,
            Answer::Sense(1, CHECK_CONDITION, sense) => {
                assert_eq!(code(&sense), WAS_RESET, "what {unit:?} tells first");
            }
            other => panic!("what {unit:?} tells first: {other:?}"),
        }
        ready(&uas, 1, unit)?;
    }
    Ok(uas)
}

/// Sees that a unit is ready.
fn ready(uas: &Uas, tag: u16, unit: Unit) -> Result<()> {
    let answer = uas.ask(tag, &command(tag, unit.of_target(), &cdb::TEST_UNIT_READY))?;
    assert_eq!(answer, Answer::Sense(tag, GOOD, Vec::new()), "{unit:?}, tag {tag:#x}");
    Ok(())
}

/// A device that is configured, if it has streams.
fn with_streams(device: &UsbUas) -> Result<Uas<'_>> {
    let uas = started(device)?;
    match uas.pipes.have_streams() {
        true => Ok(uas),
        false => Err(Error::skipped("at high speed there are no streams")),
    }
}

/// Has a pipe go on that has stopped. Whether the device takes the request for that is the affair of
/// other tests.
fn go_on(uas: &Uas, pipe: Endpoint) -> Result<()> {
    let _ = uas.usb.tell(2, request::CLEAR_FEATURE, 0, pipe.address.into())?;
    uas.usb.hcd.clear_halt(&uas.usb.device, &pipe)
}

/// Reads so many bytes by a command with this tag.
fn read(uas: &Uas, tag: u16, unit: Unit, cdb: &[u8], length: usize) -> Result<Vec<u8>> {
    let memory = uas.usb.hcd.vm().ram().alloc(length, 64)?;
    let iu = command(tag, unit.of_target(), cdb);
    let what = format!("data of {unit:?}, tag {tag:#x}");
    let (status, data) = if uas.pipes.have_streams() {
        let (data, status) = (uas.data(tag, false, &memory, length)?, uas.listen(tag)?);
        uas.send(&iu)?.done("a command")?;
        (status, data)
    } else {
        assert_eq!(uas.ask(tag, &iu)?, Answer::ReadReady(tag), "{what}");
        (uas.listen(tag)?, uas.data(tag, false, &memory, length)?)
    };
    assert_eq!(ended(uas.usb.hcd, data, &what)?.done(&what)?, length, "{what}");
    assert_eq!(uas.hear(&status)?, Answer::Sense(tag, GOOD, Vec::new()), "{what}: status");
    memory.to_vec()
}

/// Would catch a pipe whose usage is another's, one in the wrong direction or without streams,
/// and a device that claims another protocol (5.2.3).
fn pipes(device: &UsbUas, _: &Rc<Vm>) -> Result<()> {
    let uas = started(device)?;
    let all = uas.usb.configuration()?;
    assert_eq!(all[9..18], [9, 4, 0, 0, 4, 8, 6, 0x62, 0], "the interface");
    let pipes = uas.pipes;
    let list = [pipes.command, pipes.status, pipes.input, pipes.output];
    assert_eq!(list.map(|it| it.is_in()), [false, true, true, false], "directions");
    let is_super = uas.usb.device.speed == Speed::Super;
    assert_eq!(list.map(|it| it.packet), [if is_super { 1024 } else { 512 }; 4], "packets");
    let streams = list.map(|it| it.streams != 0);
    assert_eq!(streams, [false, is_super, is_super, is_super], "streams");
    Ok(())
}

/// Would catch a status with another tag, or data that are put into another command's memory.
fn tags(device: &UsbUas, vm: &Rc<Vm>) -> Result<()> {
    let uas = started(device)?;
    vm.set_up_ends()?;
    let last = (IMAGE.size / cdb::BLOCK as u64 - 1) as u32;
    let mut capacity = last.to_be_bytes().to_vec();
    capacity.extend((cdb::BLOCK as u32).to_be_bytes());
    for tag in [1, 2, 15, 0x100, 0x1234, 0xffff].map(|tag: u16| tag.min(uas.pipes.most())) {
        ready(&uas, tag, DISK)?;
        let found = read(&uas, tag, DISK, &cdb::READ_CAPACITY_10, 8)?;
        assert_eq!(found, capacity, "the capacity by tag {tag:#x}");
    }
    Ok(())
}

/// Would catch a tag that is of no use after its command is done.
fn tag_reuse(device: &UsbUas, _: &Rc<Vm>) -> Result<()> {
    let uas = started(device)?;
    for round in 0..70u8 {
        let length = 1 + round % 36;
        let found = read(&uas, 3, DISK, &cdb::inquiry(length), length.into())?;
        assert_eq!(found.len(), usize::from(length), "round {round}");
        ready(&uas, 3, CDROM)?;
    }
    Ok(())
}

/// Would catch a command with the tag of another that is done, or gets the other's data; the
/// sense key is ABORTED COMMAND, or the response OVERLAPPED TAG (6.2.5; SAM-4, 5.10).
fn overlapped_tag(device: &UsbUas, vm: &Rc<Vm>) -> Result<()> {
    let uas = started(device)?;
    let slow = command(7, SLOW.of_target(), &cdb::transfer(10, false, 0, 1));
    let memory = vm.ram().alloc(cdb::BLOCK, 64)?;
    let streams = uas.pipes.have_streams();
    let data = streams.then(|| uas.data(7, false, &memory, cdb::BLOCK)).transpose()?;
    uas.send(&slow)?.done("a command")?;
    let again = command(7, DISK.of_target(), &cdb::TEST_UNIT_READY);
    match uas.ask(7, &again)? {
        Answer::Response(7, response::OVERLAPPED_TAG) => {}
        Answer::Sense(7, CHECK_CONDITION, sense) => assert_eq!(code(&sense), OVERLAPPED),
        other => panic!("a tag that is in use: {other:?}"),
    }
    // The first command is done or aborted; the device goes on.
    data.map_or(Ok(()), |data| uas.usb.hcd.cancel(data))?;
    let uas = started(device)?;
    ready(&uas, 7, DISK)
}

/// Would catch a command that waits for another unit's, and answers that are mixed up.
fn side_by_side(device: &UsbUas, vm: &Rc<Vm>) -> Result<()> {
    let uas = started(device)?;
    vm.set_up_ends()?;
    let memory = vm.ram().alloc(cdb::BLOCK, 64)?;
    for round in 0..4 {
        memory.write(0, &[0xa5; cdb::BLOCK])?;
        let slow = command(4, SLOW.of_target(), &cdb::transfer(10, false, 3, 1));
        let what = format!("the slow command, round {round}");
        if uas.pipes.have_streams() {
            let (data, status) = (uas.data(4, false, &memory, cdb::BLOCK)?, uas.listen(4)?);
            uas.send(&slow)?.done(&what)?;
            ready(&uas, 5, DISK)?;
            ready(&uas, 6, CDROM)?;
            assert_eq!(uas.heard(&status)?, None, "{what}: its status");
            assert_eq!(ended(uas.usb.hcd, data, &what)?.done(&what)?, cdb::BLOCK, "{what}");
            assert_eq!(uas.hear(&status)?, Answer::Sense(4, GOOD, Vec::new()), "{what}");
        } else {
            uas.send(&slow)?.done(&what)?;
            for (tag, unit) in [(5, DISK), (6, CDROM)] {
                let iu = command(tag, unit.of_target(), &cdb::TEST_UNIT_READY);
                uas.send(&iu)?.done(&what)?;
            }
            // What is ready first is told first.
            let mut all = Vec::new();
            for _ in 0..3 {
                all.push(uas.hear(&uas.listen(0)?)?);
            }
            for expected in [
                Answer::ReadReady(4),
                Answer::Sense(5, GOOD, Vec::new()),
                Answer::Sense(6, GOOD, Vec::new()),
            ] {
                assert!(all.contains(&expected), "{what}: {expected:?} is not in {all:?}");
            }
            let data = uas.data(4, false, &memory, cdb::BLOCK)?;
            assert_eq!(ended(uas.usb.hcd, data, &what)?.done(&what)?, cdb::BLOCK, "{what}");
            let status = uas.hear(&uas.listen(0)?)?;
            assert_eq!(status, Answer::Sense(4, GOOD, Vec::new()), "{what}");
        }
        assert_eq!(memory.to_vec()?, [0; cdb::BLOCK], "{what}: its data");
    }
    Ok(())
}

/// Would catch the status of a command that is held up because nobody has asked for that of
/// another, on another stream (UAS, 5.3).
fn late_status(device: &UsbUas, _: &Rc<Vm>) -> Result<()> {
    let uas = started(device)?;
    let unit = DISK.of_target();
    let turns = if uas.pipes.have_streams() { [3, 2, 1] } else { [1, 2, 3] };
    for tag in 1..=3 {
        uas.send(&command(tag, unit, &cdb::TEST_UNIT_READY))?.done("a command")?;
    }
    for tag in turns {
        let status = uas.hear(&uas.listen(tag)?)?;
        assert_eq!(status, Answer::Sense(tag, GOOD, Vec::new()), "the status of tag {tag}");
    }
    // The same while both are asked for, the later one first.
    if uas.pipes.have_streams() {
        uas.send(&command(1, unit, &cdb::TEST_UNIT_READY))?.done("a command")?;
        let second = uas.listen(2)?;
        uas.send(&command(2, unit, &cdb::TEST_UNIT_READY))?.done("a command")?;
        assert_eq!(uas.hear(&second)?, Answer::Sense(2, GOOD, Vec::new()), "the second");
        let first = uas.hear(&uas.listen(1)?)?;
        assert_eq!(first, Answer::Sense(1, GOOD, Vec::new()), "the first");
    }
    Ok(())
}

/// Would catch a device that fails when it is asked for the status of one tag twice at a time.
fn status_twice(device: &UsbUas, _: &Rc<Vm>) -> Result<()> {
    let uas = with_streams(device)?;
    let pending = [uas.listen(5)?, uas.listen(5)?];
    frames(uas.usb.hcd, 3)?;
    for pending in pending {
        uas.send(&command(5, DISK.of_target(), &cdb::TEST_UNIT_READY))?.done("a command")?;
        assert_eq!(uas.hear(&pending)?, Answer::Sense(5, GOOD, Vec::new()));
    }
    Ok(())
}

/// Would catch a tag of zero, which is no stream, that is used as one (UAS, 6.2.1).
fn stream_0(device: &UsbUas, _: &Rc<Vm>) -> Result<()> {
    let uas = with_streams(device)?;
    uas.send(&command(0, DISK.of_target(), &cdb::TEST_UNIT_READY))?.done("a command")?;
    frames(uas.usb.hcd, 2)?;
    ready(&started(device)?, 2, DISK)
}

/// Would catch a tag for which there is no stream that is used as one, whatever that leads to.
fn no_stream(device: &UsbUas, _: &Rc<Vm>) -> Result<()> {
    for tag in [17, 18, 0x21, 0x40, 0x81, 0x100, 0x1000, 0x8000, 0xffff] {
        let uas = with_streams(device)?;
        for iu in [
            command(tag, DISK.of_target(), &cdb::TEST_UNIT_READY),
            task(tag, function::LOGICAL_UNIT_RESET, 0, SLOW.of_target()),
        ] {
            uas.send(&iu)?.done("an information unit")?;
            frames(uas.usb.hcd, 2)?;
        }
    }
    let uas = started(device)?;
    ready(&uas, 2, DISK)
}

/// Information units that are none.
const UNKNOWN: [u8; 6] = [0, id::SENSE, id::RESPONSE, 2, 0x7f, 0xff];

/// Would catch an information unit of an unknown kind after which the device is of no use.
fn unknown_unit(device: &UsbUas, _: &Rc<Vm>) -> Result<()> {
    let uas = started(device)?;
    for unknown in UNKNOWN {
        let mut iu = command(9, DISK.of_target(), &cdb::TEST_UNIT_READY);
        iu[0] = unknown;
        let pending = uas.listen(9)?;
        if uas.send(&iu)?.status == Status::Stall {
            go_on(&uas, uas.pipes.command)?;
            uas.usb.hcd.cancel(pending.ticket)?;
        } else {
            uas.hear(&pending)?;
        }
        ready(&uas, 9, DISK)?;
    }
    Ok(())
}

/// Would catch an information unit of an unknown kind that is not answered by the response
/// INVALID INFORMATION UNIT (6.2.5).
fn unknown_answer(device: &UsbUas, _: &Rc<Vm>) -> Result<()> {
    let uas = started(device)?;
    for unknown in UNKNOWN {
        let mut iu = command(9, DISK.of_target(), &cdb::TEST_UNIT_READY);
        iu[0] = unknown;
        let answer = uas.ask(9, &iu)?;
        assert_eq!(answer, Answer::Response(9, response::INVALID), "the kind {unknown:#x}");
    }
    Ok(())
}

/// Would catch a command that is cut off, and done all the same with what is in memory behind it
/// (6.2.5).
fn short_unit(device: &UsbUas, _: &Rc<Vm>) -> Result<()> {
    let uas = started(device)?;
    for length in [31, 16, 8, 4] {
        ready(&uas, 9, DISK)?;
        let iu = command(9, DISK.of_target(), &cdb::TEST_UNIT_READY);
        let answer = uas.ask(9, &iu[..length])?;
        assert_eq!(answer, Answer::Response(9, response::INVALID), "{length} bytes of a command");
    }
    ready(&uas, 9, DISK)
}

/// Would catch a command with more than 16 bytes whose end is taken for another, or that nobody
/// refuses (6.2.2; SPC-4, 4.5.6).
fn long_cdb(device: &UsbUas, _: &Rc<Vm>) -> Result<()> {
    let uas = started(device)?;
    for more in [1u8, 4, 0x3f] {
        let mut iu = command(9, DISK.of_target(), &[0x7f, 0, 0, 0, 0, 0, 0, 16, 0, 9]);
        iu[6] = more << 2;
        iu.resize(32 + 4 * usize::from(more), 0);
        match uas.ask(9, &iu)? {
            Answer::Response(9, response::INVALID) => {}
            Answer::Sense(9, CHECK_CONDITION, sense) => {
                assert_eq!(code(&sense).0, 5, "the sense key of {more} further words");
            }
            other => panic!("a command with {more} further words: {other:?}"),
        }
        ready(&uas, 9, DISK)?;
    }
    Ok(())
}

/// Would catch an abort that is not done, takes another command with it, or after which the
/// status of the command comes (6.2.6).
fn abort_task(device: &UsbUas, vm: &Rc<Vm>) -> Result<()> {
    let uas = started(device)?;
    vm.set_up_ends()?;
    let slow = SLOW.of_target();
    for round in 0..3 {
        uas.send(&command(2, slow, &cdb::transfer(10, false, 0, 1)))?.done("a command")?;
        let answer = uas.ask(8, &task(8, function::ABORT_TASK, 2, slow))?;
        assert_eq!(answer, Answer::Response(8, response::COMPLETE), "the abort, round {round}");
        let pending = uas.listen(2)?;
        frames(uas.usb.hcd, 200)?;
        assert_eq!(uas.heard(&pending)?, None, "the aborted command, round {round}");
        uas.usb.hcd.cancel(pending.ticket)?;
        ready(&uas, 2, SLOW)?;
        // There is nothing to abort, which is as well.
        let answer = uas.ask(8, &task(8, function::ABORT_TASK, 3, slow))?;
        assert_eq!(answer, Answer::Response(8, response::COMPLETE), "no task, round {round}");
    }
    Ok(())
}

/// Would catch a task management function with the response of another, a unit that is reset with
/// its neighbour, and one that is done for a unit that is not there (6.2.5, 6.2.6).
fn functions(device: &UsbUas, vm: &Rc<Vm>) -> Result<()> {
    let uas = started(device)?;
    vm.set_up_ends()?;
    let disk = DISK.of_target();
    for (function, lun, expected) in [
        (function::ABORT_TASK, NOBODY, response::INCORRECT_LUN),
        (function::LOGICAL_UNIT_RESET, NOBODY, response::INCORRECT_LUN),
        (0x7e, disk, response::NOT_SUPPORTED),
        (0, disk, response::NOT_SUPPORTED),
        (function::LOGICAL_UNIT_RESET, disk, response::COMPLETE),
    ] {
        let answer = uas.ask(8, &task(8, function, 1, lun))?;
        let what = format!("function {function:#x} of unit {lun}");
        assert_eq!(answer, Answer::Response(8, expected), "{what}");
    }
    match uas.ask(2, &command(2, disk, &cdb::TEST_UNIT_READY))? {
        Answer::Sense(2, CHECK_CONDITION, sense) => assert_eq!(code(&sense), WAS_RESET),
        other => panic!("what a unit tells after its reset: {other:?}"),
    }
    ready(&uas, 2, DISK)?;
    ready(&uas, 2, CDROM)?;
    // The tag of a command that is under way.
    uas.send(&command(6, SLOW.of_target(), &cdb::transfer(10, false, 0, 1)))?.done("a command")?;
    let answer = uas.ask(6, &task(6, function::LOGICAL_UNIT_RESET, 0, disk))?;
    assert_eq!(answer, Answer::Response(6, response::OVERLAPPED_TAG), "a tag that is in use");
    Ok(())
}

/// Would catch an INQUIRY of a unit that is not there and that is refused, where the answer is
/// that there is none (SPC-4, 6.6.2).
fn absent_inquiry(device: &UsbUas, _: &Rc<Vm>) -> Result<()> {
    let uas = started(device)?;
    let found = read(&uas, 2, Unit::new(NOBODY + 1, 0), &cdb::inquiry(36), 36)?;
    assert_eq!(found[0], 0x7f, "the qualifier and the type");
    ready(&uas, 2, DISK)
}

/// Would catch data that are moved without a command, and a device that is of no use when the
/// driver takes back what it wanted to read.
fn early_data(device: &UsbUas, vm: &Rc<Vm>) -> Result<()> {
    let uas = started(device)?;
    vm.set_up_ends()?;
    let hcd = uas.usb.hcd;
    let memory = vm.ram().alloc(512, 64)?;
    memory.write(0, &[0xa5; 512])?;
    for is_out in [false, true] {
        let data = uas.data(3, is_out, &memory, 512)?;
        frames(hcd, 3)?;
        match hcd.completion(data)? {
            None => hcd.cancel(data)?,
            Some(completion) => {
                assert_eq!(completion.status, Status::Stall, "data without a command");
                let pipes = uas.pipes;
                go_on(&uas, if is_out { pipes.output } else { pipes.input })?;
            }
        }
        assert_eq!(memory.to_vec()?, [0xa5; 512], "memory that nothing was read into");
        ready(&uas, 3, DISK)?;
        assert_eq!(read(&uas, 3, DISK, &cdb::inquiry(5), 5)?[..2], [0, 0], "an INQUIRY");
    }
    Ok(())
}
