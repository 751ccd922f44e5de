//! Isochronous packets on any controller, with a speaker as the device: each in its frame, of every
//! length, over the edge of a page, too late, taken back, and to a device that goes (USB 2.0, 5.6 and
//! 5.12.4).

use std::rc::Rc;

use serde_json::json;

use super::audio::{STEREO, hears, tone};
use super::hcd::frames;
use crate::drivers::usb::audio::{PACKET, Speaker, UsbAudio, back_end};
use crate::graph::Plug;
use crate::qemu::Vm;
use crate::qos::sound::{assert_heard_at_a_volume, heard_of};
use crate::qos::usb::models::{give_address, open};
use crate::qos::usb::{Completion, Device, Packets, Speed, Status};
use crate::qos::wait_event;
use crate::{Error, Result, attacks, tests};

tests!(UsbAudio, "usb-isochronous-tests":
    schedule,
    data_of_the_frame = "data-of-the-frame",
    lengths,
    empty,
    page_boundary = "page-boundary",
    missed,
    partly_missed = "partly-missed",
    interrupt,
    cancel,
    stop,
    crowd,
    nobody,
    wild_memory = "wild-memory",
    unplug,
    reset,
);
attacks!(UsbAudio, "usb-isochronous-attacks": schedule, missed, crowd, wild_memory = "wild-memory");

/// A packet that was sent whole.
const SENT: Completion = Completion { status: Status::Done, moved: PACKET };

/// How many frames the current one is after `first`.
fn since(speaker: &Speaker, first: u32) -> Result<u32> {
    let modulus = speaker.usb.hcd.profile().frames;
    Ok((speaker.usb.hcd.frame()? + modulus - first) % modulus)
}

/// Would catch packets that are moved before their frame, or that end in another than their last.
fn schedule(device: &UsbAudio, vm: &Rc<Vm>) -> Result<()> {
    let speaker = device.start()?;
    vm.set_up_ends()?;
    let data = vm.ram().alloc(8 * PACKET, 64)?;
    for (wait, count) in [(20, 1), (40, 8), (100, 3), (12, 2)] {
        let first = speaker.frame_in(wait)?;
        let ticket = speaker.submit(first, data.address().0, &vec![PACKET; count])?;
        frames(speaker.usb.hcd, wait as usize - 4)?;
        assert_eq!(speaker.usb.hcd.packets(ticket)?, None, "4 frames before {first}");
        let ended = speaker.ended(ticket)?;
        let late = since(&speaker, first)?;
        assert_eq!(ended, vec![SENT; count], "{count} packets from frame {first} on");
        let most = count as u32 + 2;
        assert!((count as u32 - 1..=most).contains(&late), "{count} packets, {late} frames later");
    }
    speaker.drain()
}

/// Would catch a controller that reads data when it is told of them and not in their frame.
fn data_of_the_frame(device: &UsbAudio, vm: &Rc<Vm>) -> Result<()> {
    hears(vm)?;
    let speaker = device.start()?;
    // Before, so that what is heard is whole.
    speaker.play(&tone(40, 100))?;
    let (early, late) = (tone(24, 101), tone(24, 102));
    let data = vm.ram().alloc(early.len(), 64)?;
    data.write(0, &early)?;
    let ticket = speaker.submit(speaker.frame_in(12)?, data.address().0, &[PACKET; 24])?;
    data.write(0, &late)?;
    assert_eq!(speaker.ended(ticket)?, [SENT; 24], "packets");
    speaker.play(&tone(100, 103))?;
    speaker.drain()?;
    let [early, late] = [early, late].map(|bytes| heard_of(vm, &STEREO.samples(&bytes)));
    assert!(late > 1000 && early < 16, "{late} samples were heard, and {early} of before");
    Ok(())
}

/// Would catch a packet that is sent with another length than it has, or is refused for it.
fn lengths(device: &UsbAudio, vm: &Rc<Vm>) -> Result<()> {
    let speaker = device.start()?;
    let data = vm.ram().alloc(8 * PACKET, 64)?;
    for length in [4, 8, 100, 188, PACKET, 1, 3, 191] {
        let ended = speaker.send(&data, &[length; 8])?;
        let sent = Completion { status: Status::Done, moved: length };
        assert_eq!(ended, [sent; 8], "packets of {length} bytes");
    }
    speaker.drain()
}

/// Would catch a packet without data that is not sent, or by which those after it are lost (USB 2.0,
/// 5.6.3: a packet may have any length up to the most).
fn empty(device: &UsbAudio, vm: &Rc<Vm>) -> Result<()> {
    let speaker = device.start()?;
    let data = vm.ram().alloc(8 * PACKET, 64)?;
    let lengths = [PACKET, 0, PACKET, 0, 0, PACKET, PACKET, PACKET];
    let ended = speaker.send(&data, &lengths)?;
    let sent = lengths.map(|moved| Completion { status: Status::Done, moved });
    assert_eq!(ended, sent, "packets with and without data");
    speaker.drain()
}

/// Would catch a packet whose data go over the edge of a page and that is read from elsewhere.
fn page_boundary(device: &UsbAudio, vm: &Rc<Vm>) -> Result<()> {
    hears(vm)?;
    let speaker = device.start()?;
    for (seed, before) in [(104, 100), (105, 4), (106, 188), (107, 96)] {
        let bytes = tone(200, seed);
        let data = vm.ram().alloc(0x1000 + bytes.len(), 0x1000)?;
        let at = 0x1000 - before;
        data.write(at, &bytes)?;
        let mut first = speaker.frame_in(8)?;
        let mut tickets = Vec::new();
        for (number, _) in bytes.chunks(8 * PACKET).enumerate() {
            let address = data.address().0 + (at + number * 8 * PACKET) as u64;
            tickets.push(speaker.submit(first, address, &[PACKET; 8])?);
            first = (first + 8) % speaker.usb.hcd.profile().frames;
            if number >= 2 {
                assert_eq!(speaker.ended(tickets.remove(0))?, [SENT; 8], "{before} bytes before");
            }
        }
        for ticket in tickets {
            assert_eq!(speaker.ended(ticket)?, [SENT; 8], "{before} bytes before");
        }
        speaker.drain()?;
        let what = format!("packets that begin {before} bytes before a page");
        assert_heard_at_a_volume(vm, &STEREO.samples(&bytes), &what)?;
    }
    Ok(())
}

/// Would catch packets whose frame is over and that are said to be sent, or are sent later.
fn missed(device: &UsbAudio, vm: &Rc<Vm>) -> Result<()> {
    let speaker = device.start()?;
    vm.set_up_ends()?;
    let data = vm.ram().alloc(8 * PACKET, 64)?;
    frames(speaker.usb.hcd, 40)?;
    let modulus = speaker.usb.hcd.profile().frames;
    let late = Completion { status: Status::Missed, moved: 0 };
    for ago in [20, 12, 30] {
        let ticket =
            speaker.submit(speaker.frame_in(modulus - ago)?, data.address().0, &[PACKET; 4])?;
        assert_eq!(speaker.ended(ticket)?, [late; 4], "packets of {ago} frames ago");
    }
    // Those that come after them are sent.
    speaker.play(&tone(16, 108))?;
    speaker.drain()
}

/// Would catch packets that are lost because others before them were too late.
fn partly_missed(device: &UsbAudio, vm: &Rc<Vm>) -> Result<()> {
    let speaker = device.start()?;
    let data = vm.ram().alloc(8 * PACKET, 64)?;
    frames(speaker.usb.hcd, 20)?;
    let modulus = speaker.usb.hcd.profile().frames;
    let ticket = speaker.submit(speaker.frame_in(modulus - 3)?, data.address().0, &[PACKET; 8])?;
    let ended = speaker.ended(ticket)?;
    let late = Completion { status: Status::Missed, moved: 0 };
    assert_eq!((&ended[..2], &ended[6..]), (&[late; 2][..], &[SENT; 2][..]), "{ended:?}");
    assert!(ended.iter().all(|it| [late, SENT].contains(it)), "{ended:?}");
    speaker.drain()
}

/// Would catch packets whose end is not told, or is before it.
fn interrupt(device: &UsbAudio, vm: &Rc<Vm>) -> Result<()> {
    let speaker = device.start()?;
    let hcd = speaker.usb.hcd;
    let data = vm.ram().alloc(PACKET, 64)?;
    for round in 0..3 {
        for _ in 0..2 {
            frames(hcd, 2)?;
            hcd.acknowledge()?;
        }
        let ticket = speaker.submit(speaker.frame_in(20)?, data.address().0, &[PACKET])?;
        frames(hcd, 12)?;
        assert!(!hcd.interrupts()?, "before the frame, round {round}");
        assert_eq!(speaker.ended(ticket)?, [SENT], "round {round}");
        frames(hcd, 2)?;
        assert!(hcd.interrupts()?, "after the frame, round {round}");
    }
    speaker.drain()
}

/// Would catch packets that are sent though they were taken back.
fn cancel(device: &UsbAudio, vm: &Rc<Vm>) -> Result<()> {
    let speaker = device.start()?;
    let bytes = tone(24, 109);
    let data = vm.ram().alloc(bytes.len(), 64)?;
    data.write(0, &bytes)?;
    let ticket = speaker.submit(speaker.frame_in(80)?, data.address().0, &[PACKET; 24])?;
    frames(speaker.usb.hcd, 4)?;
    speaker.usb.hcd.cancel(ticket)?;
    frames(speaker.usb.hcd, 120)?;
    speaker.drain()?;
    if hears(vm).is_ok() {
        let count = heard_of(vm, &STEREO.samples(&bytes));
        assert!(count < 16, "{count} samples of what was taken back");
    }
    speaker.play(&tone(16, 110))?;
    speaker.drain()
}

/// Would catch packets that are sent while the controller is stopped, or never end after that.
fn stop(device: &UsbAudio, vm: &Rc<Vm>) -> Result<()> {
    let speaker = device.start()?;
    let hcd = speaker.usb.hcd;
    let data = vm.ram().alloc(8 * PACKET, 64)?;
    for round in 0..3 {
        let ticket = speaker.submit(speaker.frame_in(10)?, data.address().0, &[PACKET; 8])?;
        frames(hcd, 2)?;
        hcd.set_running(false)?;
        frames(hcd, 5)?;
        assert_eq!(hcd.packets(ticket)?, None, "stopped, round {round}");
        hcd.set_running(true)?;
        let ended = speaker.ended(ticket)?;
        let is_told = |it: &Completion| *it == SENT || it.status == Status::Missed;
        assert!(ended.iter().all(is_told), "round {round}: {ended:?}");
    }
    speaker.play(&tone(16, 111))?;
    speaker.drain()
}

/// Would catch packets of one frame that are lost for others that were submitted later, and an order
/// of theirs that is another than that of frames.
fn crowd(device: &UsbAudio, vm: &Rc<Vm>) -> Result<()> {
    let speaker = device.start()?;
    vm.set_up_ends()?;
    let data = vm.ram().alloc(8 * PACKET, 64)?;
    let modulus = speaker.usb.hcd.profile().frames;
    for _ in 0..4 {
        let first = speaker.frame_in(24)?;
        let tickets: Vec<_> = (0..6)
            .map(|part| {
                let frame = (first + 8 * part) % modulus;
                speaker.submit(frame, data.address().0, &[PACKET; 8])
            })
            .collect::<Result<_>>()?;
        for (part, ticket) in tickets.into_iter().enumerate() {
            assert_eq!(speaker.ended(ticket)?, [SENT; 8], "part {part} from {first} on");
        }
    }
    speaker.drain()
}

/// Would catch packets to a device or an endpoint that is not there and that never end, or by which the
/// controller fails: nobody acknowledges such packets (USB 2.0, 8.5.5).
fn nobody(device: &UsbAudio, vm: &Rc<Vm>) -> Result<()> {
    let speaker = device.start()?;
    let hcd = speaker.usb.hcd;
    if !hcd.profile().addresses {
        return Err(Error::skipped(
            "the controller sends packets to endpoints that it knows alone",
        ));
    }
    let data = vm.ram().alloc(8 * PACKET, 64)?;
    let stranger = Device::new(0, Speed::Full, 0, 0);
    stranger.address.set(99);
    for (device, address) in [(&stranger, 1), (&*speaker.usb.device, 7)] {
        let mut endpoint = speaker.endpoint;
        endpoint.address = address;
        let (address, lengths) = (data.address().0, &[PACKET; 4][..]);
        let packets = Packets { device, endpoint, address, lengths, first: speaker.frame_in(6)? };
        let ticket = hcd.submit_packets(&packets)?;
        frames(hcd, 20)?;
        if hcd.packets(ticket)?.is_none() {
            hcd.cancel(ticket)?;
        }
        speaker.play(&tone(16, 112))?;
    }
    speaker.drain()
}

/// Would catch data where there is no RAM by which QEMU fails, or after which a controller that is
/// started anew does not work.
fn wild_memory(device: &UsbAudio, _: &Rc<Vm>) -> Result<()> {
    for address in [0xffff_ff00u64, 0xf000_0000, 0xfee0_0f80, 0, 0xffff_ffff] {
        let speaker = device.start()?;
        let ticket = speaker.submit(speaker.frame_in(6)?, address, &[PACKET; 8])?;
        frames(speaker.usb.hcd, 20)?;
        // It may have stopped by itself.
        let _ = speaker.usb.hcd.packets(ticket);
    }
    let speaker = device.start()?;
    speaker.play(&tone(16, 113))?;
    speaker.drain()
}

/// Would catch a device that goes while packets to it are to be sent, and by which the controller
/// fails or others lose theirs.
fn unplug(device: &UsbAudio, vm: &Rc<Vm>) -> Result<()> {
    const ID: &str = "leaving";
    let speaker = device.start()?;
    let hcd = speaker.usb.hcd;
    let profile = hcd.profile();
    if profile.ports < 2 || profile.bus == Plug::CLOSED.bus {
        return Err(Error::skipped("there is no second port"));
    }
    let data = vm.ram().alloc(24 * PACKET, 64)?;
    for wait in [0, 1, 7, 12] {
        let port = hcd.port_of(1, Speed::Full);
        vm.qmp().execute(
            "device_add",
            json!({ "driver": "usb-audio", "id": ID, "bus": profile.bus, "port": "2",
                "audiodev": back_end(vm) }),
        )?;
        let other = give_address(open(hcd, port, Speed::Full, ID)?, 6)?;
        other.configure()?;
        let other = Speaker::on(other)?;
        let first = other.frame_in(6)?;
        let gone = other.submit(first, data.address().0, &[PACKET; 24])?;
        let stays = speaker.submit(first, data.address().0, &[PACKET; 24])?;
        frames(hcd, wait)?;
        vm.qmp().execute("device_del", json!({ "id": ID }))?;
        while wait_event(vm, "DEVICE_DELETED")?.data["device"] != ID {}
        assert_eq!(speaker.ended(stays)?, [SENT; 24], "gone after {wait}: packets of another");
        frames(hcd, 8)?;
        if hcd.packets(gone)?.is_none() {
            hcd.cancel(gone)?;
        }
        hcd.close(&other.usb.device)?;
        hcd.acknowledge_port(port)?;
        assert!(!hcd.port(port)?.connected, "gone after {wait}: its port");
    }
    speaker.drain()
}

/// Would catch a controller that is reset while packets are to be sent and that goes on with them, or
/// does not send others.
fn reset(device: &UsbAudio, vm: &Rc<Vm>) -> Result<()> {
    let data = vm.ram().alloc(32 * PACKET, 64)?;
    for wait in [0, 5, 9, 20] {
        let speaker = device.start()?;
        speaker.submit(speaker.frame_in(8)?, data.address().0, &[PACKET; 32])?;
        frames(speaker.usb.hcd, wait)?;
    }
    let speaker = device.start()?;
    frames(speaker.usb.hcd, 60)?;
    speaker.play(&tone(16, 114))?;
    speaker.drain()
}
