//! What a virtio sound device plays, heard as it was played, and what it records: silence. Messages
//! that are with the device when a stream stops, is released or reset; those that are wrong have a file
//! of their own.

use std::rc::Rc;
use std::time::Duration;

use crate::drivers::virtio::sound::STREAMS;
use crate::qemu::Vm;
use crate::qos::settle;
use crate::qos::sound::{assert_heard_within, plays_into_file};
use crate::qos::virtio::sound::{
    FMT_FLOAT, FMT_S8, FMT_S16, FMT_S32, FMT_U8, FMT_U16, FMT_U32, Live, Message, Params,
    R_PCM_PREPARE, R_PCM_RELEASE, R_PCM_START, R_PCM_STOP, RATE_44100, RATE_48000, RATES, S_IO_ERR,
    S_NONE, S_OK, STATUS_SIZE, VirtioSound, words,
};
use crate::qos::virtio::{Queue, Segment, features};
use crate::{Error, Result, attacks, tests};

tests!(VirtioSound, "virtio-sound-pcm-tests":
    playback,
    playback_of_unsigned = "playback-of-unsigned",
    playback_in_pieces = "playback-in-pieces",
    record,
    record_of_unsigned = "record-of-unsigned",
    lengths_recorded = "lengths-recorded",
    pace,
    before_start = "before-start",
    stop,
    release,
    release_of_recording = "release-of-recording",
    reset,
    interrupts,
    many,
);
attacks!(VirtioSound, "virtio-sound-pcm-attacks": playback, record, release, many);

/// A stream that plays.
pub(super) const OUT: u32 = 0;
/// A stream that records.
pub(super) const IN: u32 = STREAMS - 1;

/// The device without what earlier tests have left to its streams.
pub(super) fn start(device: &VirtioSound) -> Result<Live> {
    device.0.vm().note_lasting("streams that outlive a reset");
    device.start(device.0.acceptable()?)
}

/// Stops a stream and releases it.
pub(super) fn end(live: &Live, stream: u32) -> Result<()> {
    live.pcm_ok(R_PCM_STOP, stream)?;
    live.pcm_ok(R_PCM_RELEASE, stream)
}

/// Samples of 16 bits, none of which is silent, and no two runs alike.
fn tone(count: usize, seed: u32) -> Vec<i16> {
    let mut state = seed.wrapping_mul(0x9e37_79b9) | 1;
    let mut sample = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 16) as i16 & !0xff | 0x100
    };
    (0..count).map(|_| sample()).collect()
}

/// These samples in a format; those of 8 bits lose nothing.
fn in_format(samples: &[i16], format: u8) -> Vec<u8> {
    let wide = |sample: i16| i32::from(sample) << 16;
    samples
        .iter()
        .flat_map(|&sample| match format {
            FMT_S8 => vec![(sample >> 8) as u8],
            FMT_U8 => vec![(sample >> 8) as u8 ^ 0x80],
            FMT_S16 => sample.to_le_bytes().to_vec(),
            FMT_U16 => (sample as u16 ^ 0x8000).to_le_bytes().to_vec(),
            FMT_S32 => wide(sample).to_le_bytes().to_vec(),
            FMT_U32 => (wide(sample) as u32 ^ 0x8000_0000).to_le_bytes().to_vec(),
            _ => (f32::from(sample) / 32768.0).to_le_bytes().to_vec(),
        })
        .collect()
}

/// Formats with a sign.
const SIGNED: &[u8] = &[FMT_S8, FMT_S16, FMT_S32, FMT_FLOAT];
/// Formats without.
const UNSIGNED: &[u8] = &[FMT_U8, FMT_U16, FMT_U32];

pub(super) fn step(vm: &Vm, milliseconds: u64) -> Result<()> {
    vm.qtest().clock_step(Some(Duration::from_millis(milliseconds)))?;
    settle(vm)
}

/// Skips a test of what is heard where nobody hears it.
fn needs_ears(vm: &Vm) -> Result<()> {
    match plays_into_file(vm) {
        true => Ok(()),
        false => Err(Error::skipped("nobody hears what is played; the variant `wav` does")),
    }
}

/// Skips a test of what is recorded where it cannot be.
fn needs_microphone(vm: &Vm) -> Result<()> {
    match plays_into_file(vm) {
        true => Err(Error::skipped("a file cannot be recorded from")),
        false => Ok(()),
    }
}

/// Plays frames in messages of these lengths, and the rest in one, and waits until all are played.
fn play_all(live: &Live, stream: u32, frames: &[u8], lengths: &[usize]) -> Result<()> {
    let (mut rest, mut messages) = (frames, Vec::new());
    for &length in lengths.iter().chain([&frames.len()]) {
        let (now, behind) = rest.split_at(length.min(rest.len()));
        if !now.is_empty() {
            messages.push(live.play(stream, now)?);
        }
        rest = behind;
    }
    live.pcm_ok(R_PCM_START, stream)?;
    for message in &messages {
        let written = live.finish(&live.transmit, message)?;
        assert_eq!(written as usize, STATUS_SIZE, "the length of a status");
        let (_, latency) = message.status()?;
        // No more than a second.
        assert!(latency <= RATES[6] * 8, "a latency of {latency} bytes");
    }
    Ok(())
}

/// Would catch samples that are lost, repeated, swapped or changed between guest memory and what is
/// heard, in any format that the device offers, in one channel or two.
fn playback(device: &VirtioSound, vm: &Rc<Vm>) -> Result<()> {
    check_playback(device, vm, SIGNED)
}

/// Would catch the same of samples without a sign, and a middle of theirs that is not silence.
fn playback_of_unsigned(device: &VirtioSound, vm: &Rc<Vm>) -> Result<()> {
    check_playback(device, vm, UNSIGNED)
}

fn check_playback(device: &VirtioSound, vm: &Rc<Vm>, formats: &[u8]) -> Result<()> {
    needs_ears(vm)?;
    let live = start(device)?;
    let offered = live.streams(STREAMS)?[OUT as usize].formats;
    let mut seed = 0;
    for stream in [OUT, OUT + 1] {
        for &format in formats.iter().filter(|&format| offered & 1 << format != 0) {
            for channels in [1, 2] {
                seed += 1;
                let params = Params { format, channels, ..Params::CD };
                live.prepare(stream, &params)?;
                let played = tone(usize::from(channels) * 3000, seed);
                play_all(&live, stream, &in_format(&played, format), &[1024, 4096, 512])?;
                step(vm, 100)?;
                end(&live, stream)?;
                let both: Vec<i16> = match channels {
                    1 => played.iter().flat_map(|&sample| [sample, sample]).collect(),
                    _ => played,
                };
                let what = format!("stream {stream}, format {format}, {channels} channels");
                assert_heard_within(vm, &both, &what)?;
            }
        }
    }
    Ok(())
}

/// Would catch frames that are not put together from the pieces of a message, or of which those of an
/// earlier message are played again.
fn playback_in_pieces(device: &VirtioSound, vm: &Rc<Vm>) -> Result<()> {
    needs_ears(vm)?;
    let live = start(device)?;
    let ram = vm.ram();
    for (seed, piece) in (100..).zip([256, 300, 1000, 4095]) {
        live.prepare(OUT, &Params::CD)?;
        let played = tone(8192, seed);
        let (bytes, mut kept) = (in_format(&played, FMT_S16), Vec::new());
        for (number, part) in bytes.chunks(4096).enumerate() {
            // The header is in two pieces, or with the first frames.
            let mut message = words(&[OUT]);
            message.extend_from_slice(part);
            let first = if number % 2 == 0 { 3 } else { 4 + piece / 10 };
            let (head, tail) = message.split_at(first);
            let pieces = std::iter::once(head).chain(tail.chunks(piece.max(1000)));
            let status = ram.alloc(STATUS_SIZE, 4)?;
            let mut segments = Vec::new();
            for bytes in pieces {
                let buffer = ram.alloc(bytes.len(), 1)?;
                buffer.write(0, bytes)?;
                segments.push(Segment::readable(&buffer));
                kept.push(buffer);
            }
            let halves = [0, 3].map(|at| status.address().0 + at);
            segments.push(Segment { address: halves[0], length: 3, writable: true });
            segments.push(Segment { address: halves[1], length: 5, writable: true });
            live.transmit.add(&segments)?;
            kept.push(status);
        }
        live.transmit.kick()?;
        live.pcm_ok(R_PCM_START, OUT)?;
        for _ in 0..bytes.len() / 4096 {
            assert_eq!(live.transmit.wait_used()?.written as usize, STATUS_SIZE, "the status");
        }
        step(vm, 100)?;
        end(&live, OUT)?;
        for status in kept.iter().filter(|buffer| buffer.len() == STATUS_SIZE) {
            assert_eq!(status.read_le32(0)?, S_OK, "the status of a message in pieces");
        }
        assert_heard_within(vm, &played, &format!("pieces of {piece} bytes"))?;
    }
    Ok(())
}

/// Asserts that a message is full of silence, and came back with the length of it and the status.
#[track_caller]
fn assert_silence(message: &Message, written: u32, format: u8) -> Result<()> {
    let (frames, silence) = (message.frames()?, in_format(&[0], format));
    assert_eq!(written as usize, frames.len() + STATUS_SIZE, "format {format}: bytes written");
    let wrong = frames.iter().zip(silence.iter().cycle()).position(|(is, should)| is != should);
    let wrong = wrong.map(|at| (at, frames[at]));
    assert_eq!(wrong, None, "format {format}: what is not silent of {}", frames.len());
    Ok(())
}

/// Would catch what is recorded at another place, or not at all, and a status that is in it: silence,
/// as there is no microphone.
fn record(device: &VirtioSound, vm: &Rc<Vm>) -> Result<()> {
    check_record(device, vm, SIGNED)
}

/// Would catch the same of samples without a sign, whose silence is not zero.
fn record_of_unsigned(device: &VirtioSound, vm: &Rc<Vm>) -> Result<()> {
    check_record(device, vm, UNSIGNED)
}

fn check_record(device: &VirtioSound, vm: &Rc<Vm>, formats: &[u8]) -> Result<()> {
    needs_microphone(vm)?;
    let live = start(device)?;
    let offered = live.streams(STREAMS)?[IN as usize].formats;
    for stream in [IN - 1, IN] {
        for &format in formats.iter().filter(|&format| offered & 1 << format != 0) {
            for channels in [1, 2] {
                let params = Params { format, channels, ..Params::CD };
                live.prepare(stream, &params)?;
                let room = params.period_bytes as usize;
                let messages =
                    (0..6).map(|_| live.record(stream, room)).collect::<Result<Vec<_>>>()?;
                live.pcm_ok(R_PCM_START, stream)?;
                for message in &messages {
                    let written = live.finish(&live.receive, message)?;
                    assert_silence(message, written, format)?;
                }
                end(&live, stream)?;
            }
        }
    }
    Ok(())
}

/// Would catch a message to record that comes back before it is full, or with the status elsewhere
/// than at its end, because it is not as long as a period (5.14.6.8.2.1).
fn lengths_recorded(device: &VirtioSound, vm: &Rc<Vm>) -> Result<()> {
    needs_microphone(vm)?;
    let live = start(device)?;
    for length in [4, 256, 4092, 4100, 16_384] {
        live.prepare(IN, &Params::CD)?;
        let messages = [live.record(IN, length)?, live.record(IN, length)?];
        live.pcm_ok(R_PCM_START, IN)?;
        for message in &messages {
            let written = live.finish(&live.receive, message)?;
            assert_silence(message, written, FMT_S16)?;
        }
        end(&live, IN)?;
    }
    Ok(())
}

/// Would catch a stream that runs at another rate than was set: half a second of it takes as long.
fn pace(device: &VirtioSound, vm: &Rc<Vm>) -> Result<()> {
    needs_microphone(vm)?;
    let live = start(device)?;
    let offered = live.streams(STREAMS)?[OUT as usize].rates;
    for (rate, &hertz) in (0..).zip(&RATES).filter(|&(rate, _)| offered & 1 << rate != 0) {
        for stream in [OUT, IN] {
            let period_bytes = hertz / 40 * 4;
            let params =
                Params { rate, period_bytes, buffer_bytes: 4 * period_bytes, ..Params::CD };
            live.prepare(stream, &params)?;
            let queue = if stream == OUT { &live.transmit } else { &live.receive };
            let messages = (0..20)
                .map(|_| match stream {
                    OUT => live.play(stream, &vec![1; period_bytes as usize]),
                    _ => live.record(stream, period_bytes as usize),
                })
                .collect::<Result<Vec<_>>>()?;
            live.pcm_ok(R_PCM_START, stream)?;
            let mut done = Vec::new();
            for time in (10..=1000).step_by(10) {
                step(vm, 10)?;
                while queue.take_used()?.is_some() {
                    done.push(time);
                }
            }
            end(&live, stream)?;
            assert_eq!(done.len(), messages.len(), "stream {stream}, {hertz} Hz: messages done");
            // QEMU's own buffers let an eighth of a second ahead, or hold as much back.
            let last = done.last().copied().unwrap_or_default();
            assert!((360..=680).contains(&last), "stream {stream}, {hertz} Hz: after {done:?} ms");
        }
    }
    Ok(())
}

/// Would catch a stream that plays or records before it has been started (5.14.6.6.1).
fn before_start(device: &VirtioSound, vm: &Rc<Vm>) -> Result<()> {
    let live = start(device)?;
    live.prepare(OUT, &Params::CD)?;
    let message = live.play(OUT, &[1; 4096])?;
    live.prepare(IN, &Params::CD)?;
    let room = live.record(IN, 4096)?;
    step(vm, 1000)?;
    assert_eq!(live.transmit.take_used()?, None, "a message that was played before the start");
    assert_eq!(live.receive.take_used()?, None, "a message that was recorded before the start");
    assert_eq!((message.status()?.0, room.status()?.0), (S_NONE, S_NONE), "statuses");
    live.pcm_ok(R_PCM_START, OUT)?;
    live.finish(&live.transmit, &message)?;
    step(vm, 1000)?;
    assert_eq!(live.receive.take_used()?, None, "the other stream was not started");
    end(&live, OUT)?;
    end(&live, IN)
}

/// Would catch a stream that goes on when it was stopped, or does not go on when it is started again.
fn stop(device: &VirtioSound, vm: &Rc<Vm>) -> Result<()> {
    let live = start(device)?;
    let streams: &[u32] = if plays_into_file(vm) { &[OUT] } else { &[OUT, IN] };
    for &stream in streams {
        let queue = if stream == OUT { &live.transmit } else { &live.receive };
        live.prepare(stream, &Params::CD)?;
        for round in 0..3 {
            // As long as nothing of the stream is with the device, it may do as it likes.
            live.pcm_ok(R_PCM_START, stream)?;
            let message = give(&live, stream)?;
            live.finish(queue, &message)?;
            live.pcm_ok(R_PCM_STOP, stream)?;
            let late = give(&live, stream)?;
            step(vm, 1000)?;
            assert_eq!(queue.take_used()?, None, "stream {stream}, round {round}: while stopped");
            live.pcm_ok(R_PCM_START, stream)?;
            live.finish(queue, &late)?;
            live.pcm_ok(R_PCM_STOP, stream)?;
        }
        live.pcm_ok(R_PCM_RELEASE, stream)?;
    }
    Ok(())
}

/// A message of one period for a stream.
fn give(live: &Live, stream: u32) -> Result<Message> {
    if stream < STREAMS / 2 { live.play(stream, &[1; 4096]) } else { live.record(stream, 4096) }
}

/// Asserts that these messages have all come back, with a status of success or of an error.
#[track_caller]
fn assert_all_back(queue: &Queue, messages: &[Message], what: &str) -> Result<()> {
    for message in messages {
        let used = queue.take_used()?.map(|used| used.id);
        assert_eq!(used, Some(message.id), "{what}: the next message of {}", messages.len());
        let (status, _) = message.status()?;
        assert!([S_OK, S_IO_ERR].contains(&status), "{what}: its status is {status:#x}");
    }
    assert_eq!(queue.take_used()?, None, "{what}: more than all messages");
    Ok(())
}

/// Would catch messages that are with the device when their stream is released and do not come back
/// before the release is told, or those of another stream that do (5.14.6.6.5.1).
fn release(device: &VirtioSound, vm: &Rc<Vm>) -> Result<()> {
    let live = start(device)?;
    for is_started in [false, true] {
        for stream in [OUT, OUT + 1] {
            live.prepare(stream, &Params::CD)?;
        }
        if is_started {
            live.pcm_ok(R_PCM_START, OUT)?;
            live.pcm_ok(R_PCM_STOP, OUT)?;
        }
        let messages = (0..5).map(|_| give(&live, OUT)).collect::<Result<Vec<_>>>()?;
        let other = give(&live, OUT + 1)?;
        live.pcm_ok(R_PCM_RELEASE, OUT)?;
        assert_all_back(&live.transmit, &messages, "a release")?;
        assert_eq!(other.status()?.0, S_NONE, "the status of another stream's message");
        step(vm, 500)?;
        live.pcm_ok(R_PCM_RELEASE, OUT + 1)?;
        assert_all_back(&live.transmit, &[other], "a release of the other stream")?;
    }
    Ok(())
}

/// Would catch room to record that does not come back when its stream is released, or whose status is
/// elsewhere than at its end.
fn release_of_recording(device: &VirtioSound, _: &Rc<Vm>) -> Result<()> {
    let live = start(device)?;
    live.prepare(IN, &Params::CD)?;
    let messages = (0..5).map(|_| give(&live, IN)).collect::<Result<Vec<_>>>()?;
    live.pcm_ok(R_PCM_RELEASE, IN)?;
    assert_all_back(&live.receive, &messages, "a release")
}

/// Would catch messages of before a reset that come back in the rings of after it, are written to, or
/// are played.
fn reset(device: &VirtioSound, vm: &Rc<Vm>) -> Result<()> {
    for is_started in [false, true] {
        let before = start(device)?;
        before.prepare(OUT, &Params::CD)?;
        before.prepare(IN, &Params::CD)?;
        if is_started {
            before.pcm_ok(R_PCM_START, OUT)?;
            before.pcm_ok(R_PCM_START, IN)?;
        }
        let messages = [OUT, IN].map(|stream| give(&before, stream));
        let messages = messages.into_iter().collect::<Result<Vec<_>>>()?;
        device.0.reset()?;
        let after = start(device)?;
        step(vm, 1000)?;
        for stream in [OUT, IN] {
            after.prepare(stream, &Params::CD)?;
            after.pcm_ok(R_PCM_START, stream)?;
            step(vm, 1000)?;
            end(&after, stream)?;
        }
        assert_eq!(after.transmit.take_used()?, None, "what was to be played before the reset");
        assert_eq!(after.receive.take_used()?, None, "what was to be recorded before the reset");
        for message in &messages {
            assert_eq!(message.status()?.0, S_NONE, "a status of before the reset");
        }
    }
    Ok(())
}

/// Asserts that one message is played.
pub(super) fn assert_plays(live: &Live, what: &str) -> Result<()> {
    let play = || {
        live.prepare(OUT, &Params::CD)?;
        live.pcm_ok(R_PCM_START, OUT)?;
        let message = give(live, OUT)?;
        live.finish(&live.transmit, &message)?;
        end(live, OUT)
    };
    play().map_err(|e: Error| e.context(format!("the next good message, {what}")))
}

/// Would catch a message that is done without an interrupt.
fn interrupts(device: &VirtioSound, vm: &Rc<Vm>) -> Result<()> {
    device.0.vm().note_lasting("streams that outlive a reset");
    let live = device.start(device.0.acceptable()? & !features::EVENT_IDX)?;
    let transport = device.0.transport();
    let streams: &[u32] = if plays_into_file(vm) { &[OUT] } else { &[OUT, IN] };
    for &stream in streams {
        let queue = if stream == OUT { &live.transmit } else { &live.receive };
        live.prepare(stream, &Params::CD)?;
        live.pcm_ok(R_PCM_START, stream)?;
        step(vm, 100)?;
        for _ in 0..3 {
            transport.take_interrupts()?;
            let message = give(&live, stream)?;
            settle(vm)?;
            live.finish(queue, &message)?;
            settle(vm)?;
            assert_eq!(transport.take_interrupts()?, 1, "an interrupt, stream {stream}");
        }
        end(&live, stream)?;
    }
    Ok(())
}

/// Would catch messages that are lost, or of which another comes first, when the queue is full of
/// those of two streams.
fn many(device: &VirtioSound, vm: &Rc<Vm>) -> Result<()> {
    let live = start(device)?;
    let params = Params { rate: RATE_48000, ..Params::CD };
    assert_ne!(params.rate, RATE_44100, "another rate than at first");
    for stream in [OUT, OUT + 1] {
        live.prepare(stream, &params)?;
        live.pcm_ok(R_PCM_START, stream)?;
    }
    let count = u32::from(live.transmit.size()) / 3;
    for round in 0..2 {
        let messages = (0..count).map(|number| Ok((number % 2, live.play(number % 2, &[1; 512])?)));
        let messages = messages.collect::<Result<Vec<_>>>()?;
        let mut left: [Vec<u16>; 2] = [0, 1].map(|stream| {
            messages.iter().filter(|(of, _)| *of == stream).map(|(_, it)| it.id).collect()
        });
        for _ in 0..count {
            let id = live.transmit.wait_used()?.id;
            let of = left.iter_mut().find(|left| left.first() == Some(&id));
            let of = of.ok_or_else(|| Error::failed(format!("round {round}: {id} is not next")))?;
            of.remove(0);
        }
        for (stream, message) in &messages {
            assert_eq!(message.status()?.0, S_OK, "stream {stream}, round {round}");
        }
    }
    for stream in [OUT, OUT + 1] {
        end(&live, stream)?;
    }
    settle(vm)?;
    live.pcm_ok(R_PCM_PREPARE, OUT)
}
