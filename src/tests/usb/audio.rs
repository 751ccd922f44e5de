//! A speaker of USB: its descriptors, the alternate settings of its interface, the controls of its
//! feature unit, and what it plays, heard as it was sent (Universal Serial Bus Device Class Definition
//! for Audio Devices 1.0, "Audio 1.0"; for Terminal Types 1.0; for Audio Data Formats 1.0).

use std::rc::Rc;

use crate::drivers::usb::audio::control_of::{MUTE, VOLUME};
use crate::drivers::usb::audio::request::{GET_CUR, GET_MAX, GET_MIN, GET_RES, SET_CUR, SET_MIN};
use crate::drivers::usb::audio::{PACKET, PLAYING, STREAMING, Speaker, UsbAudio, ask, set};
use crate::qemu::Vm;
use crate::qos::sound::{Format, assert_heard_at_a_volume, heard_of, plays_into_file};
use crate::qos::usb::device::{UsbDevice, descriptor, request, setup};
use crate::qos::usb::{Completion, Status};
use crate::{Error, Result, attacks, tests};

tests!(UsbAudio, "usb-audio-tests":
    descriptors,
    protocol,
    settings,
    mute,
    volume_range = "volume-range",
    volume,
    volume_kept_apart = "volume-kept-apart",
    read_only = "read-only",
    undeclared_controls = "undeclared-controls",
    short_requests = "short-requests",
    playback,
    level,
    half,
    muted,
    off,
    again,
    short_packets = "short-packets",
    long_packets = "long-packets",
    controls_while_playing = "controls-while-playing",
);
attacks!(UsbAudio, "usb-audio-attacks": settings, volume, playback, again);

pub(super) const STEREO: Format = Format { is_wide: true, is_stereo: true };
/// Controls of channels.
const ALL_MUTE: (u8, u8) = (MUTE, 0);
const LEFT: (u8, u8) = (VOLUME, 1);
const RIGHT: (u8, u8) = (VOLUME, 2);

/// So many samples may be like others by chance.
const SOME: usize = 16;

/// So many milliseconds of noise without silence, unlike that of another `seed`.
pub(super) fn tone(milliseconds: usize, seed: u32) -> Vec<u8> {
    let mut state = seed;
    let sample = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (((state >> 16) as i16 / 2) | 1).to_le_bytes()
    };
    (0..PACKET / 2 * milliseconds).flat_map(sample).collect()
}

pub(super) fn hears(vm: &Vm) -> Result<()> {
    match plays_into_file(vm) {
        true => Ok(()),
        false => Err(Error::skipped("nobody hears what is played; the variant `wav` does")),
    }
}

/// Takes back the refusal of a request.
fn refused(usb: &UsbDevice, completion: Completion, what: &str) -> Result<()> {
    assert_eq!(completion.status, Status::Stall, "{what}");
    usb.hcd.clear_halt(&usb.device, &usb.device.control())
}

/// The value of a control of two bytes.
fn value(usb: &UsbDevice, request: u8, control: (u8, u8)) -> Result<i16> {
    let what = format!("request {request:#x} of control {control:?}");
    let (completion, bytes) = ask(usb, request, control, 2)?;
    assert_eq!(completion.done(&what)?, 2, "{what}");
    Ok(i16::from_le_bytes([bytes[0], bytes[1]]))
}

/// Would catch a descriptor that is missing or has another length, terminal, unit or format than the
/// device (Audio 1.0, 4.3 to 4.6).
fn descriptors(speaker: &UsbAudio, _: &Rc<Vm>) -> Result<()> {
    let usb = speaker.function.connect()?;
    let device = usb.descriptor(descriptor::DEVICE, 0, 0, 18)?;
    assert_eq!(device[4..8], [0, 0, 0, 64], "class, and the packets of the default endpoint");
    assert_eq!((device[0], device[1], device[17]), (18, descriptor::DEVICE, 1), "its head");
    let all = usb.configuration()?;
    let (mut rest, mut parts) = (&all[..], Vec::new());
    while let [length, ..] = *rest {
        let (part, after) = rest.split_at(length.into());
        parts.push(part);
        rest = after;
    }
    // Texts are those of indices that differ between versions.
    let shown = parts.iter().map(|part| part[1..part.len() - 1].to_vec());
    let mut shown: Vec<Vec<u8>> = shown.collect();
    // The protocol has a test of its own.
    shown[1].truncate(6);
    let expected: [&[u8]; 12] = [
        &[2, 0x71, 0, 2, 1, 4, 0xc0],
        // AudioControl, whose units follow in 0x2b bytes.
        &[4, 0, 0, 0, 1, 1],
        &[0x24, 1, 0, 1, 0x2b, 0, 1],
        // The input terminal 1: USB streaming, left and right.
        &[0x24, 2, 1, 0x01, 0x01, 0, 2, 3, 0, 0],
        // The feature unit 2, behind it: mute of all, volume of each.
        &[0x24, 6, 2, 1, 2, 1, 0, 2, 0, 2, 0],
        // The output terminal 3, behind it: a speaker.
        &[0x24, 3, 3, 0x01, 0x03, 0, 2],
        &[4, 1, 0, 0, 1, 2, 0],
        &[4, 1, 1, 1, 1, 2, 0],
        // PCM from terminal 1: two channels, two bytes of 16 bits, 48000 a second.
        &[0x24, 1, 1, 0, 1],
        &[0x24, 2, 1, 2, 2, 16, 1, 0x80, 0xbb],
        &[5, 0x01, 0x0d, PACKET as u8, 0, 1, 0],
        &[0x25, 1, 0, 0, 0],
    ];
    assert_eq!(shown, expected, "descriptors, without their length and their last byte");
    let lengths: Vec<usize> = parts.iter().map(|part| part.len()).collect();
    assert_eq!(lengths, [9, 9, 9, 12, 13, 9, 9, 9, 7, 11, 9, 7], "lengths");
    assert_eq!(parts[0][8], 0x32, "the power");
    assert_eq!((parts[8][6], parts[9][10]), (0, 0), "the ends of the format");
    for index in [device[14], device[15], all[6], parts[1][8], parts[3][11], parts[4][12]] {
        assert!(!usb.text(index)?.is_empty(), "text {index}");
    }
    Ok(())
}

/// Would catch a protocol of an interface where this version of the class has none (Audio 1.0, 4.3.1 and
/// 4.5.1).
fn protocol(speaker: &UsbAudio, _: &Rc<Vm>) -> Result<()> {
    let usb = speaker.function.connect()?;
    let all = usb.configuration()?;
    let (mut rest, mut protocols) = (&all[..], Vec::new());
    while let [length, kind, ..] = *rest {
        if kind == descriptor::INTERFACE {
            protocols.push(rest[7]);
        }
        rest = &rest[usize::from(length)..];
    }
    assert_eq!(protocols, [0; 3], "protocols of the interfaces");
    Ok(())
}

/// Would catch a setting that is not kept or told, or that is taken and is none (USB 2.0, 9.4.10).
fn settings(speaker: &UsbAudio, vm: &Rc<Vm>) -> Result<()> {
    let usb = speaker.configured()?;
    vm.set_up_ends()?;
    let now = |interface: u8| {
        let asked = setup(0x81, request::GET_INTERFACE, 0, interface.into(), 1);
        usb.get(asked, &format!("the setting of interface {interface}"))
    };
    assert_eq!((now(0)?, now(STREAMING)?), (vec![0], vec![0]), "settings at first");
    for setting in [PLAYING, 0, PLAYING, PLAYING] {
        usb.set_interface(STREAMING, setting)?;
        assert_eq!(now(STREAMING)?, [setting], "the setting");
    }
    for (interface, setting) in [(STREAMING, 2), (STREAMING, 0xff), (0, 1), (2, 0), (2, 1)] {
        let what = format!("setting {setting} of interface {interface}");
        let told = usb.tell(1, request::SET_INTERFACE, setting, interface.into())?;
        refused(&usb, told, &what)?;
        assert_eq!((now(0)?, now(STREAMING)?), (vec![0], vec![PLAYING]), "after {what}");
    }
    // A configuration that is set puts all interfaces back (USB 2.0, 9.4.7).
    usb.configure()?;
    assert_eq!(now(STREAMING)?, [0], "the setting after a configuration");
    Ok(())
}

/// Would catch a mute that is on at first, or is not kept (Audio 1.0, 5.2.2.4.3.1).
fn mute(speaker: &UsbAudio, vm: &Rc<Vm>) -> Result<()> {
    let usb = speaker.configured()?;
    vm.set_up_ends()?;
    let now = || ask(&usb, GET_CUR, ALL_MUTE, 1);
    let told = |is_on: u8| (Completion { status: Status::Done, moved: 1 }, vec![is_on]);
    assert_eq!(now()?, told(0), "the mute at first");
    for is_on in [1, 0, 1, 1, 0] {
        set(&usb, SET_CUR, ALL_MUTE, &[is_on])?.done("the mute")?;
        assert_eq!(now()?, told(is_on), "the mute");
    }
    Ok(())
}

/// Would catch a range of volumes that is empty or has no steps, and one of a channel that is unlike
/// the other's (Audio 1.0, 5.2.2.4.3.2).
fn volume_range(speaker: &UsbAudio, _: &Rc<Vm>) -> Result<()> {
    let usb = speaker.configured()?;
    set_volumes(&usb, 0)?;
    let range = |channel| -> Result<[i16; 4]> {
        Ok([
            value(&usb, GET_MIN, channel)?,
            value(&usb, GET_CUR, channel)?,
            value(&usb, GET_MAX, channel)?,
            value(&usb, GET_RES, channel)?,
        ])
    };
    let [min, now, max, step] = range(LEFT)?;
    assert!(min <= now && now <= max && min < max, "{min} to {now} to {max}");
    assert!(step > 0, "steps of {step}");
    // 8000h is silence and no volume of a range.
    assert_ne!(min, i16::MIN, "the smallest volume");
    assert_eq!(range(RIGHT)?, [min, now, max, step], "the other channel");
    Ok(())
}

/// Would catch a volume that is not kept, up to a step, or one out of the range that is none of it
/// (Audio 1.0, 5.2.2.4.3.2).
fn volume(speaker: &UsbAudio, vm: &Rc<Vm>) -> Result<()> {
    let usb = speaker.configured()?;
    let (min, max) = (value(&usb, GET_MIN, LEFT)?, value(&usb, GET_MAX, LEFT)?);
    let step = value(&usb, GET_RES, LEFT)?;
    vm.set_up_ends()?;
    for wanted in [0, min, max, -0x100, -0x600, -0x1400, -0x3c00, 0x100, 0x7fff, i16::MIN, 1, 0] {
        set(&usb, SET_CUR, LEFT, &wanted.to_le_bytes())?.done("a volume")?;
        let now = value(&usb, GET_CUR, LEFT)?;
        let nearest = if wanted == i16::MIN { wanted } else { wanted.clamp(min, max) };
        let off = i32::from(now) - i32::from(nearest);
        assert!(
            off.abs() <= step.into(),
            "the volume {wanted:#x}: {now:#x}, in steps of {step:#x}"
        );
    }
    Ok(())
}

/// Would catch a volume of one channel that is another's.
fn volume_kept_apart(speaker: &UsbAudio, vm: &Rc<Vm>) -> Result<()> {
    let usb = speaker.configured()?;
    let step = value(&usb, GET_RES, LEFT)?;
    set(&usb, SET_CUR, LEFT, &(-0x1000i16).to_le_bytes())?.done("a volume")?;
    set(&usb, SET_CUR, RIGHT, &(-0x2000i16).to_le_bytes())?.done("a volume")?;
    vm.set_up_ends()?;
    for (channel, wanted) in [(LEFT, -0x1000), (RIGHT, -0x2000)] {
        let off = value(&usb, GET_CUR, channel)? - wanted;
        assert!(off.abs() <= step, "{channel:?}: off by {off:#x}");
    }
    Ok(())
}

/// Would catch a range that can be written to though the device has one of its own, and reads that are
/// taken for writes.
fn read_only(speaker: &UsbAudio, _: &Rc<Vm>) -> Result<()> {
    let usb = speaker.configured()?;
    let before = value(&usb, GET_MIN, LEFT)?;
    for number in [SET_MIN, 3, 4, 5, 0x41] {
        let told = set(&usb, number, LEFT, &[0, 0])?;
        refused(&usb, told, &format!("request {number:#x}"))?;
    }
    for number in [0x85, 0xc1] {
        refused(&usb, ask(&usb, number, LEFT, 2)?.0, &format!("request {number:#x}"))?;
    }
    assert_eq!(value(&usb, GET_MIN, LEFT)?, before, "the smallest volume after that");
    Ok(())
}

/// Would catch a control that no descriptor announces and that is there: of another unit, another
/// selector, another channel (Audio 1.0, 5.2.2.4: a request that the unit does not know is refused).
fn undeclared_controls(speaker: &UsbAudio, _: &Rc<Vm>) -> Result<()> {
    let usb = speaker.configured()?;
    let mut taken = Vec::new();
    let controls = (0..12u8).flat_map(|selector| [0u8, 1, 2, 3, 9, 0xff].map(|it| (selector, it)));
    for control in controls {
        if matches!(control, ALL_MUTE | LEFT | RIGHT) {
            continue;
        }
        let (completion, _) = ask(&usb, GET_CUR, control, 2)?;
        if completion.status == Status::Done {
            taken.push(control);
        }
        usb.hcd.clear_halt(&usb.device, &usb.device.control())?;
    }
    for unit in [0u16, 1, 3, 0xff] {
        let (completion, _) =
            usb.ask(setup(0xa1, GET_CUR, 0x0100, unit << 8, 1), "another unit")?;
        refused(&usb, completion, &format!("the mute of unit {unit}"))?;
    }
    assert!(taken.is_empty(), "controls (selector, channel) that are announced nowhere: {taken:?}");
    Ok(())
}

/// Would catch an answer that is longer than what was asked for, or a value that is set by fewer or
/// more bytes than it has and by which the device fails (Audio 1.0, 5.2.2.4.3).
fn short_requests(speaker: &UsbAudio, _: &Rc<Vm>) -> Result<()> {
    let usb = speaker.configured()?;
    let before = value(&usb, GET_CUR, LEFT)?;
    for length in [0, 1, 2, 3, 64, 4095] {
        for request in [GET_CUR, GET_MIN, GET_MAX, GET_RES] {
            let (completion, bytes) = ask(&usb, request, LEFT, length)?;
            let what = format!("request {request:#x} of {length} bytes");
            assert_eq!(completion.status, Status::Done, "{what}");
            assert!(bytes.len() <= usize::from(length.min(2)), "{what}: {bytes:02x?}");
        }
    }
    for length in [0, 1, 3, 64, 1000] {
        let _ = set(&usb, SET_CUR, LEFT, &vec![0; length])?;
        usb.hcd.clear_halt(&usb.device, &usb.device.control())?;
    }
    set(&usb, SET_CUR, LEFT, &before.to_le_bytes())?.done("a volume")?;
    assert_eq!(value(&usb, GET_CUR, LEFT)?, before, "the volume after that");
    Ok(())
}

/// Sets both volumes.
fn set_volumes(usb: &UsbDevice, volume: i16) -> Result<()> {
    for channel in [LEFT, RIGHT] {
        set(usb, SET_CUR, channel, &volume.to_le_bytes())?.done("a volume")?;
    }
    Ok(())
}

/// Plays some sound, and says by what factor it was heard.
fn factor(playing: &Speaker, vm: &Vm, seed: u32, what: &str) -> Result<f64> {
    let bytes = tone(250, seed);
    playing.play(&bytes)?;
    playing.drain()?;
    assert_heard_at_a_volume(vm, &STEREO.samples(&bytes), what)
}

/// Would catch samples that are lost, repeated, swapped or changed.
fn playback(speaker: &UsbAudio, vm: &Rc<Vm>) -> Result<()> {
    hears(vm)?;
    let playing = speaker.start()?;
    set_volumes(&playing.usb, 0)?;
    vm.set_up_ends()?;
    let factor = factor(&playing, vm, 0, "what was played")?;
    assert!(factor > 0.5 && factor < 2.0, "at 0 dB by {factor}");
    Ok(())
}

/// Would catch a volume of 0 dB by which samples are changed (Audio 1.0, 5.2.2.4.3.2).
fn level(speaker: &UsbAudio, vm: &Rc<Vm>) -> Result<()> {
    hears(vm)?;
    let playing = speaker.start()?;
    set_volumes(&playing.usb, 0)?;
    let factor = factor(&playing, vm, 1, "at 0 dB")?;
    assert!((factor - 1.0).abs() < 0.002, "at 0 dB by {factor}");
    Ok(())
}

/// Would catch a volume of -6 dB by which samples are not half as large as at 0 dB.
fn half(speaker: &UsbAudio, vm: &Rc<Vm>) -> Result<()> {
    hears(vm)?;
    let playing = speaker.start()?;
    set_volumes(&playing.usb, 0)?;
    let whole = factor(&playing, vm, 2, "at 0 dB")?;
    set_volumes(&playing.usb, -0x605)?;
    let half = factor(&playing, vm, 3, "at -6 dB")?;
    let part = half / whole;
    assert!((part - 0.5).abs() < 0.02, "at -6 dB {part} of what it is at 0 dB");
    Ok(())
}

/// Would catch sound that is heard though it is muted, or that is not when it is no more.
fn muted(speaker: &UsbAudio, vm: &Rc<Vm>) -> Result<()> {
    hears(vm)?;
    let playing = speaker.start()?;
    set(&playing.usb, SET_CUR, ALL_MUTE, &[1])?.done("the mute")?;
    let bytes = tone(200, 4);
    playing.play(&bytes)?;
    playing.drain()?;
    let count = heard_of(vm, &STEREO.samples(&bytes)[64..]);
    assert!(count < SOME, "{count} samples that were heard though they were muted");
    set(&playing.usb, SET_CUR, ALL_MUTE, &[0])?.done("the mute")?;
    factor(&playing, vm, 5, "no more muted").map(drop)
}

/// Would catch a speaker that plays in the setting in which it is off.
fn off(speaker: &UsbAudio, vm: &Rc<Vm>) -> Result<()> {
    hears(vm)?;
    let playing = speaker.start()?;
    playing.usb.set(1, request::SET_INTERFACE, 0, STREAMING.into())?;
    let bytes = tone(100, 6);
    let data = vm.ram().alloc(bytes.len(), 64)?;
    data.write(0, &bytes)?;
    playing.send(&data, &[PACKET; 100])?;
    playing.drain()?;
    let count = heard_of(vm, &STEREO.samples(&bytes));
    assert!(count < SOME, "{count} samples that were heard though the speaker was off");
    Ok(())
}

/// Would catch sound of before that is heard after the interface was off, and a speaker that does not
/// play again.
fn again(speaker: &UsbAudio, vm: &Rc<Vm>) -> Result<()> {
    hears(vm)?;
    let playing = speaker.start()?;
    vm.set_up_ends()?;
    for seed in 7..10 {
        playing.usb.set_interface(STREAMING, 0)?;
        playing.usb.set_interface(STREAMING, PLAYING)?;
        factor(&playing, vm, seed, &format!("round {seed}"))?;
    }
    Ok(())
}

/// Would catch packets of fewer samples than the most that are not heard: an adaptive endpoint takes
/// what comes (Audio 1.0, 3.7.2.2; Data Formats 1.0, 2.2.1).
fn short_packets(speaker: &UsbAudio, vm: &Rc<Vm>) -> Result<()> {
    hears(vm)?;
    let playing = speaker.start()?;
    let bytes = tone(200, 10);
    let data = vm.ram().alloc(bytes.len(), 64)?;
    data.write(0, &bytes)?;
    // 47 and 48 pairs of samples in turn.
    let lengths: Vec<usize> = (0..200).map(|at| PACKET - 4 * (at % 2)).collect();
    let sent: usize = lengths.iter().sum();
    for (at, completion) in playing.send(&data, &lengths)?.into_iter().enumerate() {
        let what = format!("packet {at} of {} bytes", lengths[at]);
        assert_eq!(completion.done(&what)?, lengths[at], "{what}: bytes sent");
    }
    playing.drain()?;
    assert_heard_at_a_volume(vm, &STEREO.samples(&bytes[..sent]), "packets of 47 and 48 samples")
        .map(drop)
}

/// Would catch a packet of more bytes than the endpoint takes by which a device fails, or after which
/// it does not play.
fn long_packets(speaker: &UsbAudio, vm: &Rc<Vm>) -> Result<()> {
    let playing = speaker.start()?;
    let data = vm.ram().alloc(8 * 1023, 64)?;
    for length in [193, 194, 256, 512, 1023] {
        let completions = playing.send(&data, &[length; 8])?;
        assert_eq!(completions.len(), 8, "packets of {length} bytes");
    }
    playing.usb.set_interface(STREAMING, 0)?;
    playing.usb.set_interface(STREAMING, PLAYING)?;
    playing.play(&tone(20, 11))?;
    playing.drain()
}

/// Would catch a request by which packets are lost or late, or one that is lost between packets.
fn controls_while_playing(speaker: &UsbAudio, vm: &Rc<Vm>) -> Result<()> {
    let playing = speaker.start()?;
    let bytes = tone(8, 12);
    let data = vm.ram().alloc(bytes.len(), 64)?;
    data.write(0, &bytes)?;
    for round in 0..8 {
        let ticket = playing.submit(playing.frame_in(20)?, data.address().0, &[PACKET; 8])?;
        let what = format!("round {round}");
        assert_eq!(value(&playing.usb, GET_RES, LEFT)?, 0x88, "{what}: the step of volumes");
        for completion in playing.ended(ticket)? {
            assert_eq!(completion, Completion { status: Status::Done, moved: PACKET }, "{what}");
        }
    }
    playing.drain()
}
