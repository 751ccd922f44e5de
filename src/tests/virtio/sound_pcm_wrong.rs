//! Messages to play and to record that are wrong: for no stream, cut short, or without room for their
//! status.

use std::rc::Rc;

use super::sound_pcm::{IN, OUT, assert_plays, end, start, step};
use crate::drivers::virtio::sound::STREAMS;
use crate::qemu::Vm;
use crate::qos::virtio::sound::{
    Message, Params, R_PCM_START, S_IO_ERR, S_NONE, S_OK, STATUS_SIZE, VirtioSound, words,
};
use crate::qos::virtio::{Queue, Segment};
use crate::{Result, tests};

tests!(VirtioSound, "virtio-sound-pcm-tests":
    no_stream = "no-stream",
    no_stream_to_record = "no-stream-to-record",
    error_status = "error-status",
    short_header = "short-header",
    no_room_for_status = "no-room-for-status",
);

/// Asserts that a message that is wrong comes back with an error.
fn assert_wrong(queue: &Queue, message: &Message, what: &str) -> Result<()> {
    let used = queue.wait_used()?;
    assert_eq!((used.id, used.written), (message.id, 8), "{what}");
    let (status, _) = message.status()?;
    assert!(![S_OK, S_NONE].contains(&status), "{what}: status {status:#x}");
    Ok(())
}

/// Would catch messages for no stream, or one of the other direction, that do not come back, are taken
/// for another's, or succeed.
fn no_stream(device: &VirtioSound, vm: &Rc<Vm>) -> Result<()> {
    let live = start(device)?;
    for stream in 0..STREAMS {
        live.prepare(stream, &Params::CD)?;
    }
    for stream in [IN, IN - 1, STREAMS, STREAMS + 1, 0x100, 0x8000_0000, u32::MAX] {
        let message = live.play(stream, &[1; 64])?;
        assert_wrong(&live.transmit, &message, &format!("a message for stream {stream:#x}"))?;
    }
    step(vm, 500)?;
    assert_plays(&live, "after messages for no stream")
}

/// Would catch room to record of no stream, or one that plays, that does not come back, is taken for
/// another's, or is told to be wrong elsewhere than behind the frames (5.14.6.8).
fn no_stream_to_record(device: &VirtioSound, vm: &Rc<Vm>) -> Result<()> {
    let live = start(device)?;
    for stream in [OUT, OUT + 1, STREAMS, STREAMS + 1, 0x103, 0x8000_0003, u32::MAX] {
        let message = live.record(stream, 64)?;
        assert_wrong(&live.receive, &message, &format!("room for stream {stream:#x}"))?;
        assert_eq!(message.frames()?, [0xee; 64], "frames of stream {stream:#x}");
    }
    step(vm, 500)?;
    assert_plays(&live, "after room for no stream")
}

/// Would catch an error of a message that is told by another status than that (5.14.6.8).
fn error_status(device: &VirtioSound, _: &Rc<Vm>) -> Result<()> {
    let live = start(device)?;
    let message = live.play(IN, &[1; 64])?;
    assert_eq!(live.transmit.wait_used()?.id, message.id, "the message");
    assert_eq!(message.status()?.0, S_IO_ERR, "its status");
    Ok(())
}

/// Would catch a message whose header is cut off and that is played, or not given back.
fn short_header(device: &VirtioSound, vm: &Rc<Vm>) -> Result<()> {
    let live = start(device)?;
    let ram = vm.ram();
    let (header, status) = (ram.alloc(4, 4)?, ram.alloc(STATUS_SIZE, 4)?);
    for queue in [&live.transmit, &live.receive] {
        header.write(0, &words(&[if std::ptr::eq(queue, &live.transmit) { OUT } else { IN }]))?;
        for length in 0..4 {
            status.write(0, &[0xee; STATUS_SIZE])?;
            let mut segments = vec![Segment { length, ..Segment::readable(&header) }];
            if length == 0 {
                segments.clear();
            }
            segments.push(Segment::writable(&status));
            assert_eq!(queue.carry_out(&segments)?, 8, "a header of {length} bytes: written");
            let is = status.read_le32(0)?;
            assert!(![S_OK, S_NONE].contains(&is), "a header of {length} bytes: status {is:#x}");
        }
    }
    assert_plays(&live, "after headers that were cut off")
}

/// Would catch a message without room for its status that ends QEMU, is written to outside of its
/// room, or stops all others.
fn no_room_for_status(device: &VirtioSound, vm: &Rc<Vm>) -> Result<()> {
    let live = start(device)?;
    let ram = vm.ram();
    let header = ram.alloc(4, 4)?;
    let room = ram.alloc(64, 4)?;
    for (stream, queue) in [(OUT, &live.transmit), (IN, &live.receive), (STREAMS, &live.receive)] {
        header.write(0, &words(&[stream]))?;
        for length in [0, 1, 4, 7] {
            live.prepare(stream % STREAMS, &Params::CD)?;
            room.write(0, &[0xee; 64])?;
            let mut segments = vec![Segment::readable(&header)];
            if length > 0 {
                segments.push(Segment { length, ..Segment::writable(&room) });
            }
            let most = 8 + 4;
            queue.add_miscounted(&segments, most)?;
            queue.kick()?;
            live.pcm_ok(R_PCM_START, stream % STREAMS)?;
            step(vm, 500)?;
            end(&live, stream % STREAMS)?;
            let behind = &room.to_vec()?[length as usize..];
            assert!(behind.iter().all(|&byte| byte == 0xee), "behind {length} bytes: {behind:x?}");
            while queue.take_used()?.is_some() {}
        }
    }
    assert_plays(&live, "after messages without room for a status")
}
