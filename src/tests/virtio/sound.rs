//! The virtio sound device: its configuration, what it says of its streams, parameters, and requests
//! in every order and of every wrong form. `sound_pcm.rs` has what is played and recorded.

use std::rc::Rc;

use crate::drivers::virtio::sound::{CHMAPS, JACKS, STREAMS};
use crate::qemu::Vm;
use crate::qos::virtio::sound::{
    self, D_INPUT, D_OUTPUT, F_CTLS, FMT_S16, FMT_U8, FORMATS, Live, PCM_INFO_SIZE, Params,
    PcmInfo, R_CHMAP_INFO, R_JACK_INFO, R_JACK_REMAP, R_PCM_INFO, R_PCM_PREPARE, R_PCM_RELEASE,
    R_PCM_SET_PARAMS, R_PCM_START, R_PCM_STOP, RATE_48000, RATES, S_BAD_MSG, S_IO_ERR, S_NOT_SUPP,
    S_OK, VirtioSound, words,
};
use crate::qos::virtio::{self, Segment, features};
use crate::qos::{settle, wait_until};
use crate::{Error, Result, attacks, tests};

tests!(VirtioSound, "virtio-sound-tests":
    config,
    legacy_bits = "legacy-bits",
    streams,
    parts_of_streams = "parts-of-streams",
    streams_beyond = "streams-beyond",
    sizes_of_streams = "sizes-of-streams",
    streams_stay = "streams-stay",
    jacks,
    channel_maps = "channel-maps",
    unknown,
    short_messages = "short-messages",
    no_header = "no-header",
    pieces,
    no_streams = "no-streams",
    no_stream_to_set = "no-stream-to-set",
    no_stream_to_release = "no-stream-to-release",
    parameters,
    features_of_streams = "features-of-streams",
    periods,
    orders,
    many,
    event_queue = "event-queue",
);
attacks!(VirtioSound, "virtio-sound-attacks": streams, orders, many);

/// The size of what is told of a stream.
const SIZE: u32 = PCM_INFO_SIZE as u32;
/// Numbers of no stream.
const NO_STREAMS: [u32; 7] =
    [STREAMS, STREAMS + 1, 0x100, 0x1_0000, 0x100_0001, 0x8000_0000, u32::MAX];

fn start(device: &VirtioSound) -> Result<Live> {
    device.0.vm().note_lasting("streams that outlive a reset");
    device.start(device.0.acceptable()?)
}

/// Asserts that the device answers a good request and can be set up to play.
#[track_caller]
fn assert_works(live: &Live, what: &str) -> Result<()> {
    let works = live.streams(STREAMS).and_then(|_| live.prepare(0, &Params::CD));
    works.map_err(|e| e.context(format!("the next good requests, {what}")))
}

/// Would catch a number of jacks, streams or channel maps that is another's, lost by a reset, or
/// that the driver can change (5.14.4).
fn config(device: &VirtioSound, _: &Rc<Vm>) -> Result<()> {
    let fields = || {
        let of = |at| device.field(at);
        Ok::<_, Error>([of(sound::JACKS)?, of(sound::STREAMS)?, of(sound::CHMAPS)?])
    };
    assert_eq!(device.0.queue_count(), 4, "queues");
    assert_eq!(device.0.offered()? & F_CTLS, 0, "control elements are offered");
    for _ in 0..2 {
        assert_eq!(fields()?, [JACKS, STREAMS, CHMAPS], "jacks, streams and channel maps");
        for at in [sound::JACKS, sound::STREAMS, sound::CHMAPS] {
            device.0.set_config_le32(at, 1)?;
        }
        assert_eq!(fields()?, [JACKS, STREAMS, CHMAPS], "after the driver wrote them");
        device.0.reset()?;
    }
    Ok(())
}

/// Would catch features of a legacy interface that are offered through a modern one (6.3).
fn legacy_bits(device: &VirtioSound, _: &Rc<Vm>) -> Result<()> {
    if !device.0.transport().is_modern() {
        return Err(Error::skipped("the interface is a legacy one"));
    }
    assert_eq!(device.0.offered()? & features::LEGACY, 0, "features of legacy interfaces");
    Ok(())
}

/// Asserts that what a device says of a stream can be (5.14.6.6.2).
#[track_caller]
fn assert_possible(info: &PcmInfo, stream: usize) {
    let PcmInfo { features, formats, rates, .. } = *info;
    assert_eq!(features >> 5, 0, "undefined features of stream {stream}: {info:x?}");
    assert_ne!(formats & 1 << FMT_S16, 0, "16 bits of stream {stream}: {info:x?}");
    assert_eq!(formats >> FORMATS, 0, "undefined formats of stream {stream}: {info:x?}");
    assert_ne!(rates & 1 << RATE_48000, 0, "48,000 a second of stream {stream}: {info:x?}");
    assert_eq!(rates >> RATES.len(), 0, "undefined rates of stream {stream}: {info:x?}");
    let channels = (info.channels_min, info.channels_max);
    assert_eq!(channels, (1, 2), "channels of stream {stream}: {info:x?}");
    assert_eq!(info.padding, [0; 5], "padding of stream {stream}: {info:x?}");
}

/// Would catch a direction, feature, format, rate or number of channels that cannot be, padding that
/// is not zero (5.14.6.6.2.1), or an interrupt that does not come.
fn streams(device: &VirtioSound, vm: &Rc<Vm>) -> Result<()> {
    for wanted in [device.0.required(), device.0.acceptable()? & !features::EVENT_IDX] {
        let live = device.start(wanted)?;
        device.0.transport().take_interrupts()?;
        let all = live.streams(STREAMS)?;
        wait_until(vm, "an interrupt of the control queue", || {
            Ok(device.0.transport().take_interrupts()? == virtio::ISR_QUEUE)
        })?;
        let directions: Vec<u8> = all.iter().map(|info| info.direction).collect();
        assert_eq!(directions, [D_OUTPUT, D_OUTPUT, D_INPUT, D_INPUT], "{all:x?}");
        for (stream, info) in all.iter().enumerate() {
            assert_possible(info, stream);
        }
    }
    Ok(())
}

/// Would catch information that begins at another stream than was asked, or is of more of them.
fn parts_of_streams(device: &VirtioSound, _: &Rc<Vm>) -> Result<()> {
    let live = start(device)?;
    let all = live.streams(STREAMS)?;
    for first in 0..=STREAMS {
        for count in 0..=STREAMS - first {
            let (status, bytes) = live.info(R_PCM_INFO, first, count, SIZE)?;
            assert_eq!(status, S_OK, "{count} streams from {first} on");
            assert_eq!(bytes.len(), count as usize * PCM_INFO_SIZE, "{count} from {first} on");
            let infos =
                bytes.chunks(PCM_INFO_SIZE).map(PcmInfo::read).collect::<Result<Vec<_>>>()?;
            let (first, count) = (first as usize, count as usize);
            assert_eq!(infos, all[first..first + count], "{count} streams from {first} on");
        }
    }
    Ok(())
}

/// Would catch streams that are not there and told of, or a sum that overflows (5.14.6.2).
fn streams_beyond(device: &VirtioSound, _: &Rc<Vm>) -> Result<()> {
    let live = start(device)?;
    let beyond = [
        (0, STREAMS + 1),
        (STREAMS, 1),
        (STREAMS - 1, 2),
        (STREAMS + 1, 0),
        (1, u32::MAX),
        (u32::MAX, 1),
        (u32::MAX - 1, 3),
        (0x8000_0000, 0x8000_0001),
        (0x100, 1),
    ];
    for (first, count) in beyond {
        let (status, bytes) = live.info(R_PCM_INFO, first, count, SIZE)?;
        assert_eq!(status, S_BAD_MSG, "{count:#x} streams from {first:#x} on");
        assert_eq!(bytes.len(), 0, "what is told of {count:#x} streams from {first:#x} on");
        assert_works(&live, &format!("after {count:#x} streams from {first:#x} on"))?;
    }
    Ok(())
}

/// Would catch information that is longer than the driver has said that it knows, beyond its room, or
/// at another distance (5.14.6.1).
fn sizes_of_streams(device: &VirtioSound, _: &Rc<Vm>) -> Result<()> {
    let live = start(device)?;
    let whole = live.info(R_PCM_INFO, 0, STREAMS, SIZE)?.1;
    for size in [SIZE, 27, 24, 16, 4] {
        let (status, bytes) = live.info(R_PCM_INFO, 0, STREAMS, size)?;
        if status != S_OK {
            assert_eq!((status, bytes.len()), (S_NOT_SUPP, 0), "items of {size} bytes");
            continue;
        }
        let expected: Vec<u8> = whole
            .chunks(PCM_INFO_SIZE)
            .flat_map(|item| item[..size as usize].iter().copied())
            .collect();
        assert_eq!(bytes, expected, "items of {size} bytes");
    }
    // Room for less than there is.
    let request = words(&[R_PCM_INFO, 0, 2, SIZE]);
    for room in [4, 5, 36, 67] {
        let (written, _) = device.0.exchange(&live.control, &[&request], &[room])?;
        assert_eq!(written, S_BAD_MSG.to_le_bytes(), "two streams in {room} bytes");
    }
    for (count, size) in [(1, u32::MAX), (2, 0x8000_0000), (4, 0x4000_0000), (4, 0x4000_0008)] {
        let (status, bytes) = live.info(R_PCM_INFO, 0, count, size)?;
        assert_eq!((status, bytes.len()), (S_BAD_MSG, 0), "{count} items of {size:#x} bytes");
    }
    assert_works(&live, "after sizes that do not fit")
}

/// Would catch information of what a stream can do that changes with what it does.
fn streams_stay(device: &VirtioSound, _: &Rc<Vm>) -> Result<()> {
    let live = start(device)?;
    let before = live.streams(STREAMS)?;
    for stream in 0..STREAMS {
        for channels in [2, 1] {
            let params = Params { channels, format: FMT_U8, ..Params::CD };
            live.prepare(stream, &params)?;
            let now = live.streams(STREAMS)?;
            assert_eq!(now, before, "with {channels} channels of stream {stream}");
        }
        live.prepare(stream, &Params::CD)?;
    }
    Ok(())
}

/// Asserts what is told of `count` items, each of `size` bytes: it is told, or there is none.
fn check_items(live: &Live, code: u32, count: u32, size: u32) -> Result<Vec<u8>> {
    let (status, bytes) = live.info(code, 0, count, size)?;
    assert_eq!(status, S_OK, "{count} items, which the configuration has");
    assert_eq!(bytes.len(), (count * size) as usize, "{count} items");
    let (status, bytes) = live.info(code, 0, count + 1, size)?;
    assert_eq!((status, bytes.len()), (S_BAD_MSG, 0), "an item more than there are");
    live.info(code, 0, count, size).map(|(_, bytes)| bytes)
}

/// Would catch jacks of the configuration that the device does not know of, with undefined features
/// or padding that is not zero (5.14.6.4.1).
fn jacks(device: &VirtioSound, _: &Rc<Vm>) -> Result<()> {
    let live = start(device)?;
    for item in check_items(&live, R_JACK_INFO, JACKS, 24)?.chunks(24) {
        assert_eq!(item[4] & !1, 0, "undefined features: {item:x?}");
        assert!(item[16] <= 1, "connected or not: {item:x?}");
        assert_eq!(item[17..], [0; 7], "padding: {item:x?}");
    }
    Ok(())
}

/// Would catch channel maps of the configuration that the device does not know of, with more channels
/// than there can be, or an undefined direction (5.14.6.9.1).
fn channel_maps(device: &VirtioSound, _: &Rc<Vm>) -> Result<()> {
    let live = start(device)?;
    for item in check_items(&live, R_CHMAP_INFO, CHMAPS, 24)?.chunks(24) {
        assert!(item[4] <= 1, "direction: {item:x?}");
        assert!((1..=18).contains(&item[5]), "channels: {item:x?}");
        assert!(item[6..].iter().all(|&position| position <= 36), "positions: {item:x?}");
    }
    Ok(())
}

/// Would catch a request that no device knows and that is carried out, is not answered, or spoils the
/// next.
fn unknown(device: &VirtioSound, _: &Rc<Vm>) -> Result<()> {
    let live = start(device)?;
    // The last ones are events and statuses, and requests for control elements.
    for code in [
        0,
        3,
        0xff,
        0x106,
        0x1ff,
        0x201,
        0x300,
        0x302,
        0x306,
        0x1000,
        0x1100,
        0x8000,
        0x1_0100,
        0x8000_0104,
        u32::MAX,
    ] {
        let status = live.ask(&words(&[code, 0, 0, 0]))?;
        let refused = [S_BAD_MSG, S_NOT_SUPP].contains(&status);
        assert!(refused, "request {code:#x}: status {status:#x}");
        assert_works(&live, &format!("after request {code:#x}"))?;
    }
    let remap = live.ask(&words(&[R_JACK_REMAP, 0, 1, 1]))?;
    assert!([S_BAD_MSG, S_NOT_SUPP].contains(&remap), "a jack that is fixed: status {remap:#x}");
    Ok(())
}

/// The requests of which the device has to know more than the code.
fn requests() -> Vec<Vec<u8>> {
    let pcm = |code| words(&[code, 0]);
    vec![
        words(&[R_PCM_INFO, 0, 1, SIZE]),
        Params::CD.request(0),
        pcm(R_PCM_PREPARE),
        pcm(R_PCM_START),
        pcm(R_PCM_STOP),
        pcm(R_PCM_RELEASE),
    ]
}

/// Would catch a message that is cut off and is carried out with what was in memory before.
fn short_messages(device: &VirtioSound, _: &Rc<Vm>) -> Result<()> {
    let live = start(device)?;
    for request in requests() {
        for length in 4..request.len() {
            let status = live.ask(&request[..length])?;
            assert_eq!(status, S_BAD_MSG, "{length} bytes of {request:x?}");
        }
        assert_works(&live, &format!("after parts of {request:x?}"))?;
    }
    Ok(())
}

/// Would catch a message without a whole code that is never given back, with which the queue has a
/// place less for ever.
fn no_header(device: &VirtioSound, _: &Rc<Vm>) -> Result<()> {
    let live = start(device)?;
    for length in [0, 1, 2, 3] {
        let status = live.ask(&words(&[R_PCM_START])[..length])?;
        assert_eq!(status, S_BAD_MSG, "a message of {length} bytes");
    }
    assert_works(&live, "after messages without a header")
}

/// Would catch requests or answers that are not put together from their pieces, and what is behind a
/// request and is taken for a part of it.
fn pieces(device: &VirtioSound, _: &Rc<Vm>) -> Result<()> {
    let live = start(device)?;
    for request in requests() {
        let room = if request.len() == 16 { 4 + PCM_INFO_SIZE } else { 4 };
        let whole = device.0.exchange(&live.control, &[&request], &[room])?.0;
        assert_eq!(whole[..4], S_OK.to_le_bytes(), "{request:x?}");
        for cut in [1, 3, 4, 5, 7] {
            let parts: Vec<&[u8]> = request.chunks(cut).collect();
            let rooms: Vec<usize> = (0..room).step_by(cut).map(|at| cut.min(room - at)).collect();
            let answer = device.0.exchange(&live.control, &parts, &rooms)?.0;
            assert_eq!(answer, whole, "{request:x?} in pieces of {cut} bytes");
        }
        let answer = device.0.exchange(&live.control, &[&request, &[0xff; 40]], &[room, 9])?.0;
        assert_eq!(answer, whole, "{request:x?} with more behind it");
    }
    Ok(())
}

fn check_no_streams(device: &VirtioSound, codes: &[u32]) -> Result<()> {
    let live = start(device)?;
    for &code in codes {
        for stream in NO_STREAMS {
            let status = match code {
                R_PCM_SET_PARAMS => live.set_params(stream, &Params::CD)?,
                code => live.pcm(code, stream)?,
            };
            assert_eq!(status, S_BAD_MSG, "request {code:#x} for stream {stream:#x}");
            assert_works(&live, &format!("after request {code:#x} for stream {stream:#x}"))?;
        }
    }
    Ok(())
}

/// Would catch a number of no stream that is another's when it is cut off, or ends QEMU.
fn no_streams(device: &VirtioSound, _: &Rc<Vm>) -> Result<()> {
    check_no_streams(device, &[R_PCM_PREPARE, R_PCM_START, R_PCM_STOP])
}

/// Would catch parameters for no stream that are set for another, or after which the device needs a
/// reset instead of saying that the message was bad.
fn no_stream_to_set(device: &VirtioSound, _: &Rc<Vm>) -> Result<()> {
    check_no_streams(device, &[R_PCM_SET_PARAMS])
}

/// Would catch the release of no stream that releases another, or after which the device needs a
/// reset instead of saying that the message was bad.
fn no_stream_to_release(device: &VirtioSound, _: &Rc<Vm>) -> Result<()> {
    check_no_streams(device, &[R_PCM_RELEASE])
}

/// Would catch a format, rate or number of channels that the device offers and refuses, or the other
/// way round, and one of 64 or more that is taken for another.
fn parameters(device: &VirtioSound, _: &Rc<Vm>) -> Result<()> {
    let live = start(device)?;
    for stream in [0, STREAMS - 1] {
        live.prepare(stream, &Params::CD)?;
        let info = live.streams(STREAMS)?[stream as usize];
        let check = |params: &Params, good: bool| {
            let status = live.set_params(stream, params)?;
            match good {
                true => live.prepare(stream, params),
                false => {
                    let refused = [S_NOT_SUPP, S_BAD_MSG].contains(&status);
                    assert!(refused, "stream {stream} with {params:?}: status {status:#x}");
                    Ok(())
                }
            }
        };
        let offers = |set: u64, bit: u8| bit < 64 && set & 1 << bit != 0;
        for value in 0..=u8::MAX {
            let format = Params { format: value, ..Params::CD };
            check(&format, offers(info.formats, value))?;
            let rate = Params { rate: value, ..Params::CD };
            check(&rate, offers(info.rates, value))?;
        }
        for channels in [0, 1, 2, 17, 0x81, 0xff] {
            let can = (info.channels_min..=info.channels_max).contains(&channels);
            check(&Params { channels, ..Params::CD }, can)?;
        }
        live.prepare(stream, &Params::CD)?;
    }
    assert_works(&live, "after all parameters")
}

/// Asserts that these parameters are refused.
#[track_caller]
fn assert_refused(live: &Live, params: &Params) -> Result<()> {
    let status = live.set_params(0, params)?;
    let refused = [S_NOT_SUPP, S_BAD_MSG].contains(&status);
    assert!(refused, "{params:?}: status {status:#x}");
    Ok(())
}

/// Would catch a feature that the stream does not have and that is selected with success
/// (5.14.6.6.3.2).
fn features_of_streams(device: &VirtioSound, _: &Rc<Vm>) -> Result<()> {
    let live = start(device)?;
    let offered = live.streams(STREAMS)?[0].features;
    for bit in (0..32).map(|bit| 1 << bit).filter(|bit| offered & bit == 0) {
        assert_refused(&live, &Params { features: bit, ..Params::CD })?;
    }
    assert_works(&live, "after features that are not offered")
}

/// Would catch a period that does not divide the buffer, or is nothing, and that is taken
/// (5.14.6.6.3.2).
fn periods(device: &VirtioSound, _: &Rc<Vm>) -> Result<()> {
    let live = start(device)?;
    for (buffer_bytes, period_bytes) in [(4096, 4095), (4096, 8192), (1, 2), (4096, 0)] {
        assert_refused(&live, &Params { buffer_bytes, period_bytes, ..Params::CD })?;
    }
    assert_works(&live, "after periods that cannot be")
}

/// What may follow a request (5.14.6.6.1).
fn may_follow(before: u32, code: u32) -> bool {
    let next: &[u32] = match before {
        R_PCM_SET_PARAMS => &[R_PCM_SET_PARAMS, R_PCM_PREPARE],
        R_PCM_PREPARE => &[R_PCM_SET_PARAMS, R_PCM_PREPARE, R_PCM_START, R_PCM_RELEASE],
        R_PCM_START => &[R_PCM_STOP],
        R_PCM_STOP => &[R_PCM_START, R_PCM_RELEASE],
        _ => &[R_PCM_SET_PARAMS, R_PCM_PREPARE],
    };
    next.contains(&code)
}

/// Would catch an order of requests that is good and refused, or of which QEMU dies, hangs, or does
/// not answer.
fn orders(device: &VirtioSound, vm: &Rc<Vm>) -> Result<()> {
    const CODES: [u32; 5] =
        [R_PCM_SET_PARAMS, R_PCM_PREPARE, R_PCM_RELEASE, R_PCM_START, R_PCM_STOP];
    let live = start(device)?;
    for stream in [0, STREAMS - 1] {
        for number in 0..125 {
            let codes = [CODES[number / 25], CODES[number / 5 % 5], CODES[number % 5]];
            // A stream is released before it gets new parameters.
            let (mut before, mut is_good) = (R_PCM_RELEASE, true);
            for code in codes {
                is_good &= may_follow(before, code);
                before = code;
                let status = match code {
                    R_PCM_SET_PARAMS => live.set_params(stream, &Params::CD)?,
                    code => live.pcm(code, stream)?,
                };
                let is_status = [S_OK, S_BAD_MSG, S_NOT_SUPP, S_IO_ERR].contains(&status);
                assert!(is_status, "stream {stream}, {codes:x?}: status {status:#x}");
                assert!(status == S_OK || !is_good, "stream {stream}, {codes:x?}: {status:#x}");
            }
            live.pcm(R_PCM_STOP, stream)?;
            live.pcm(R_PCM_RELEASE, stream)?;
            live.prepare(stream, &Params::CD)?;
            live.pcm_ok(R_PCM_START, stream)?;
            live.pcm_ok(R_PCM_STOP, stream)?;
            live.pcm_ok(R_PCM_RELEASE, stream)?;
        }
    }
    settle(vm)
}

/// Would catch requests that are lost, answered twice, or for one another, when many are waiting.
fn many(device: &VirtioSound, vm: &Rc<Vm>) -> Result<()> {
    let live = start(device)?;
    let ram = vm.ram();
    let count = usize::from(live.control.size()) / 2;
    for round in 0..3 {
        let mut asked = Vec::new();
        for number in 0..count as u32 {
            let (request, answer) = (ram.alloc(16, 4)?, ram.alloc(4 + PCM_INFO_SIZE, 4)?);
            request.write(0, &words(&[R_PCM_INFO, number % (STREAMS + 1), 1, SIZE]))?;
            let id =
                live.control.add(&[Segment::readable(&request), Segment::writable(&answer)])?;
            asked.push((id, request, answer));
        }
        live.control.kick()?;
        for (number, (id, _, answer)) in asked.iter().enumerate() {
            let stream = number as u32 % (STREAMS + 1);
            let used = live.control.wait_used()?;
            assert_eq!(used.id, *id, "round {round}: requests in turn");
            let (status, length) = match stream {
                STREAMS => (S_BAD_MSG, 4),
                _ => (S_OK, 4 + SIZE),
            };
            assert_eq!((answer.read_le32(0)?, used.written), (status, length), "stream {stream}");
            if stream < STREAMS {
                let direction = answer.to_vec()?[28];
                assert_eq!(direction, u8::from(stream >= STREAMS / 2), "stream {stream}");
            }
        }
        assert_eq!(live.control.take_used()?, None, "round {round}: one too many");
    }
    Ok(())
}

/// Would catch an event of which nobody has asked to hear, in a buffer of the event queue.
fn event_queue(device: &VirtioSound, vm: &Rc<Vm>) -> Result<()> {
    let live = start(device)?;
    let buffer = vm.ram().alloc(8, 4)?;
    buffer.write(0, &[0xee; 8])?;
    for _ in 0..4 {
        live.event.add(&[Segment::writable(&buffer)])?;
    }
    live.event.kick()?;
    live.prepare(0, &Params::CD)?;
    live.pcm_ok(R_PCM_START, 0)?;
    vm.qtest().clock_step(Some(std::time::Duration::from_millis(500)))?;
    live.pcm_ok(R_PCM_STOP, 0)?;
    live.pcm_ok(R_PCM_RELEASE, 0)?;
    settle(vm)?;
    assert_eq!(live.event.take_used()?, None, "an event");
    assert_eq!(buffer.to_vec()?, [0xee; 8], "the buffer for events");
    Ok(())
}
