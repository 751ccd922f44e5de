//! xHCI: interrupters that are not there, entries and contexts that a driver must not write, data in the
//! controller's own registers, and a number of microframes that is longer than 32 bits (xHCI 1.1). What is
//! refused may be told by an event or by an error of the controller; it works after a reset.

use std::rc::Rc;
use std::time::Duration;

use serde_json::json;

use super::hcd::{ended, frames};
use crate::drivers::usb::xhci::raw::*;
use crate::drivers::usb::xhci::*;
use crate::graph::Plug;
use crate::qemu::{Buffer, Vm};
use crate::qos::registers::RegistersExt;
use crate::qos::usb::device::UsbDevice;
use crate::qos::usb::models::{Plugged, STORAGE, TABLET, give_address, open, plug};
use crate::qos::usb::{Endpoint, Speed};
use crate::qos::wait_event;
use crate::{Error, Result, tests};

tests!(dyn RawXhci, "xhci-hostile-tests":
    absent_interrupters = "absent-interrupters",
    data_stages = "data-stages",
    immediate_data = "immediate-data",
    absent_streams = "absent-streams",
    unequal_streams = "unequal-streams",
    isochronous_nak = "isochronous-nak",
    intervals,
    own_registers = "own-registers",
    late_interval = "late-interval",
);

/// Kinds of entries (table 6-91), and their flags.
const NORMAL: u32 = 1 << 10;
const SETUP: u32 = 2 << 10 | IMMEDIATE;
const DATA: u32 = 3 << 10;
const STATUS_STAGE: u32 = 4 << 10;
const ISOCHRONOUS: u32 = 5 << 10;
const INTERRUPT: u32 = 1 << 5;
const IMMEDIATE: u32 = 1 << 6;
const INPUT: u32 = 1 << 16;
/// Commands: an endpoint is given another place in its ring; it is stopped.
const STOP_ENDPOINT: u32 = 15;
const SET_DEQUEUE: u32 = 16;
/// The size of a context.
const CONTEXT: usize = 32;

fn started(hcd: &dyn RawXhci) -> Result<()> {
    hcd.vm().hurry();
    hcd.reaches_ram()?;
    hcd.start()
}

/// Sees that the controller works after a reset.
fn works(hcd: &dyn RawXhci, plugged: &Plugged, when: &str) -> Result<()> {
    hcd.start()?;
    let usb = plugged.connect(hcd, 2)?;
    assert_eq!(usb.text(1)?, "QEMU", "{when}: the device's first text");
    Ok(())
}

/// Has something done with the rings.
fn with(hcd: &dyn RawXhci, what: impl Fn(&mut Raw) -> Result<()>) -> Result<()> {
    hcd.with_core(&mut |raw| what(raw))
}

/// Would catch an interrupter above HCSPARAMS1.MaxIntrs that is one, and by which QEMU reaches what is
/// behind its array (5.3.3 and 5.5.2).
fn absent_interrupters(hcd: &dyn RawXhci, vm: &Rc<Vm>) -> Result<()> {
    started(hcd)?;
    let registers = hcd.registers();
    let count = u64::from(registers.get(PARAMETERS_1)? >> 8 & 0x7ff);
    let (table, segment) = (vm.ram().alloc(64, 64)?, vm.ram().alloc(2048, 64)?);
    table.write_le64(0, segment.address().0)?;
    table.write_le32(8, 128)?;
    let plugged = plug(hcd, 0, TABLET)?;
    // As many as there is room for before the doorbells.
    let room = u64::from(registers.get(DOORBELLS)? - registers.get(RUNTIME)?) / 0x20 - 1;
    for number in 1..room.min(1024) {
        // Those that are there have an event ring, too, and nothing in it.
        if number > count + 16 && number % 16 != 0 {
            continue;
        }
        let command = registers.get(COMMAND)?;
        registers.set(COMMAND, command | COMMAND_INTERRUPTS)?;
        let own = |at: crate::qos::registers::Register<u32>| at.nth(number, 0x20);
        registers.set(own(MANAGEMENT), MANAGEMENT_ENABLED)?;
        registers.set(own(SEGMENTS), 1)?;
        registers.set(own(SEGMENT_TABLE), table.address().0 as u32)?;
        registers.set(own(SEGMENT_TABLE).above(4), (table.address().0 >> 32) as u32)?;
        for offset in [0, 16, 32] {
            let place = segment.address().0 + offset;
            registers.set(own(DEQUEUE), place as u32 | DEQUEUE_BUSY)?;
            registers.set(own(DEQUEUE).above(4), (place >> 32) as u32)?;
            registers.set(own(MANAGEMENT), MANAGEMENT_ENABLED | MANAGEMENT_PENDING)?;
        }
        registers.set(own(MANAGEMENT), 0)?;
    }
    works(hcd, &plugged, "after interrupters that are not there")?;
    plugged.unplug(vm)
}

/// Would catch a data stage that goes the other way than the request says, or has its data inside though
/// they come from the device, and by which QEMU uses a list that it has given back (6.4.1.2.2).
fn data_stages(hcd: &dyn RawXhci, vm: &Rc<Vm>) -> Result<()> {
    started(hcd)?;
    let plugged = plug(hcd, 0, TABLET)?;
    let memory = vm.ram().alloc(4096, 64)?;
    let get = 0x0012_0000_0100_0680;
    let set = 0x0008_0000_0200_0921;
    for (setup, flags, length, what) in [
        (get, 0, 18, "data to the device that come from it"),
        (set, INPUT, 8, "data from the device that go to it"),
        (get, INPUT | IMMEDIATE, 8, "data from the device inside"),
        (set, IMMEDIATE, 9, "nine bytes inside"),
        (get, IMMEDIATE, 0x1_ffff, "131071 bytes inside, the other way"),
    ] {
        hcd.start()?;
        let usb = plugged.connect(hcd, 2)?;
        let stages = [
            Entry { parameter: setup, status: 8, control: SETUP | 3 << 16 },
            Entry { parameter: memory.address().0, status: length, control: DATA | flags },
            Entry { parameter: 0, status: 0, control: STATUS_STAGE | INTERRUPT },
        ];
        with(hcd, |raw| {
            raw.push(&usb.device, 1, 0, &stages)?;
            raw.ring(usb.device.slot, 1)
        })?;
        frames(hcd, 4)?;
        works(hcd, &plugged, what)?;
    }
    plugged.unplug(vm)
}

/// Would catch the same of an endpoint's data (6.4.1.1).
fn immediate_data(hcd: &dyn RawXhci, vm: &Rc<Vm>) -> Result<()> {
    started(hcd)?;
    for model in [TABLET, STORAGE] {
        let plugged = plug(hcd, 0, model)?;
        for length in [0, 8, 9, 31, 0x1_ffff] {
            for again in [false, true] {
                hcd.start()?;
                let usb = plugged.connect(hcd, 2)?;
                for end in usb.configure()? {
                    let control = NORMAL | IMMEDIATE | INTERRUPT;
                    let entry = Entry { parameter: 0x5555, status: length, control };
                    with(hcd, |raw| {
                        raw.push(&usb.device, index(&end), 0, &[entry, entry])?;
                        raw.ring(usb.device.slot, index(&end))
                    })?;
                    frames(hcd, if again { 12 } else { 0 })?;
                }
                works(hcd, &plugged, &format!("{} bytes inside, {}", length, model.driver))?;
            }
        }
        let port = plugged.port(hcd);
        plugged.unplug(vm)?;
        hcd.acknowledge_port(port)?;
    }
    Ok(())
}

/// The identifier of the device with streams.
const ID: &str = "streams";

/// Starts the controller, and plugs a device with streams in.
fn with_streams(hcd: &dyn RawXhci) -> Result<()> {
    started(hcd)?;
    let (profile, vm) = (hcd.profile(), hcd.vm());
    if profile.bus == Plug::CLOSED.bus {
        return Err(Error::skipped("QEMU has no name for its bus"));
    }
    if profile.streams == 0 {
        return Err(Error::skipped("the controller has no streams"));
    }
    let uas = json!({ "driver": "usb-uas", "id": ID, "bus": profile.bus, "port": "1" });
    vm.qmp().execute("device_add", uas)?;
    let attached = json!({ "path": format!("/machine/peripheral/{ID}"),
        "property": "attached", "value": true });
    vm.qmp().execute("qom-set", attached)?;
    Ok(())
}

/// Resets it, gives it an address and configures it; returns its endpoints with streams.
fn connected(hcd: &dyn RawXhci) -> Result<(UsbDevice<'_>, Vec<Endpoint>)> {
    hcd.start()?;
    let port = hcd.port_of(0, Speed::Super);
    let usb = give_address(open(hcd, port, Speed::Super, ID)?, 2)?;
    let mut endpoints = usb.configure()?;
    endpoints.retain(|it| it.streams > 0);
    assert!(!endpoints.is_empty(), "endpoints with streams");
    Ok((usb, endpoints))
}

/// Takes the device with streams away.
fn gone(hcd: &dyn RawXhci, vm: &Vm) -> Result<()> {
    hcd.start()?;
    vm.qmp().execute("device_del", json!({ "id": ID }))?;
    while wait_event(vm, "DEVICE_DELETED")?.data["device"] != ID {}
    hcd.acknowledge_port(hcd.port_of(0, Speed::Super))
}

/// Would catch a stream that is not there, the reserved 0 and 65535 among them, to whose doorbell or place in
/// the ring QEMU looks (4.12.2 and 6.4.3.9).
fn absent_streams(hcd: &dyn RawXhci, vm: &Rc<Vm>) -> Result<()> {
    with_streams(hcd)?;
    let ring = vm.ram().alloc(1024, 1024)?;
    for stream in [0u32, 17, 32, 33, 0x100, 0xfffd, 0xfffe, 0xffff] {
        let (usb, endpoints) = connected(hcd)?;
        for end in &endpoints {
            let (slot, dci) = (usb.device.slot, index(end));
            with(hcd, |raw| {
                raw.ring(slot, dci | stream << 16)?;
                let control = slot << 24 | dci << 16;
                raw.command(0, 0, STOP_ENDPOINT, control)?;
                raw.command(ring.address().0 | 3, stream << 16, SET_DEQUEUE, control)?;
                raw.ring(slot, dci | stream << 16)
            })?;
            frames(hcd, 2)?;
        }
        let (usb, _) = connected(hcd)?;
        assert_eq!(usb.text(1)?, "QEMU", "after the stream {stream:#x}");
    }
    gone(hcd, vm)
}

/// Would catch endpoints of one device that are given different numbers of streams, or arrays of another
/// kind, and that end QEMU (6.2.3).
fn unequal_streams(hcd: &dyn RawXhci, vm: &Rc<Vm>) -> Result<()> {
    with_streams(hcd)?;
    for (most, is_linear) in [(0u32, true), (1, true), (2, true), (15, true), (3, false)] {
        for which in 0..2 {
            let (usb, endpoints) = connected(hcd)?;
            let at = CONTEXT * (1 + index(&endpoints[which]) as usize);
            hcd.with_core(&mut |raw| {
                raw.configure(&usb.device, &endpoints, &mut |input: &Buffer| {
                    input.write_le32(at, u32::from(is_linear) << 15 | most << 10)
                })?;
                raw.ring(usb.device.slot, index(&endpoints[which]) | 1 << 16)
            })?;
            frames(hcd, 2)?;
            let (usb, _) = connected(hcd)?;
            assert_eq!(usb.text(1)?, "QEMU", "after {most} for one of the endpoints");
        }
    }
    gone(hcd, vm)
}

/// The interrupt endpoint of a tablet, whose context `change` has changed.
fn changed(
    hcd: &dyn RawXhci,
    usb: &UsbDevice,
    change: impl Fn(&Buffer, usize) -> Result<()>,
) -> Result<(Endpoint, u32)> {
    let end = endpoint(&usb.configure()?, true)?;
    let mut code = 0;
    hcd.with_core(&mut |raw| {
        code = raw.configure(&usb.device, &[end], &mut |input: &Buffer| {
            change(input, CONTEXT * (1 + index(&end) as usize))
        })?;
        Ok(())
    })?;
    Ok((end, code))
}

/// Would catch a packet of an isochronous endpoint, for a frame to come, that the device does not take yet,
/// and that ends QEMU: an endpoint that is none to the device (4.10.2 and 6.2.3).
fn isochronous_nak(hcd: &dyn RawXhci, vm: &Rc<Vm>) -> Result<()> {
    started(hcd)?;
    let plugged = plug(hcd, 0, TABLET)?;
    let memory = vm.ram().alloc(64, 64)?;
    for wait in [0, 1, 3] {
        hcd.start()?;
        let usb = plugged.connect(hcd, 2)?;
        let (end, _) = changed(hcd, &usb, |input, at| {
            // An isochronous one from the device, which is not tried again.
            let word = input.read_le32(at + 4)? & 0xffff_0000;
            input.write_le32(at + 4, word | 5 << 3)
        })?;
        let frame = (hcd.frame()? + wait) & 0x7ff;
        let control = ISOCHRONOUS | INTERRUPT | frame << 20;
        let entry = Entry { parameter: memory.address().0, status: 8, control };
        with(hcd, |raw| {
            raw.push(&usb.device, index(&end), 0, &[entry, entry])?;
            raw.ring(usb.device.slot, index(&end))
        })?;
        frames(hcd, 12)?;
        works(hcd, &plugged, &format!("a packet {wait} frames later"))?;
    }
    plugged.unplug(vm)
}

/// Would catch an interval of an endpoint, up to 255 where 15 is the most, by which QEMU computes what it
/// cannot, or asks the device never (6.2.3 and 6.2.3.6).
fn intervals(hcd: &dyn RawXhci, vm: &Rc<Vm>) -> Result<()> {
    started(hcd)?;
    let plugged = plug(hcd, 0, TABLET)?;
    let memory = vm.ram().alloc(64, 64)?;
    for interval in [0u32, 1, 3, 15, 16, 17, 30, 31, 32, 33, 63, 64, 128, 255] {
        hcd.start()?;
        let usb = plugged.connect(hcd, 2)?;
        let (end, _) = changed(hcd, &usb, |input, at| input.write_le32(at, interval << 16))?;
        let entry = Entry { parameter: memory.address().0, status: 8, control: NORMAL | INTERRUPT };
        with(hcd, |raw| {
            raw.push(&usb.device, index(&end), 0, &[entry, entry])?;
            raw.ring(usb.device.slot, index(&end))
        })?;
        frames(hcd, 12)?;
        works(hcd, &plugged, &format!("the interval {interval}"))?;
    }
    plugged.unplug(vm)
}

/// Presses the left button of the tablet, or the right one instead, at the place zero.
fn press(vm: &Vm, is_left: bool) -> Result<()> {
    let button = |name, down| json!({ "type": "btn", "data": { "button": name, "down": down } });
    let axis = |name| json!({ "type": "abs", "data": { "axis": name, "value": 0 } });
    let events = [button("left", is_left), button("right", !is_left), axis("x"), axis("y")];
    vm.qmp().execute("input-send-event", json!({ "events": events }))?;
    Ok(())
}

/// Has the tablet polled once, from when on all input is its own, and reads what it has to tell.
fn polled(hcd: &dyn RawXhci, vm: &Vm, usb: &UsbDevice, end: Endpoint) -> Result<()> {
    let data = vm.ram().alloc(64, 64)?;
    for number in 0..2 {
        let ticket = hcd.submit(&usb.request(end, &data, (0, 8)))?;
        frames(hcd, 2)?;
        let axis = json!({ "type": "abs", "data": { "axis": "x", "value": 9 + number } });
        vm.qmp().execute("input-send-event", json!({ "events": [axis] }))?;
        let _ = ended(hcd, ticket, "a report")?;
    }
    Ok(())
}

/// Would catch data of the device that go to the controller's own registers and reset it while the transfer
/// is under way: QEMU goes on with what it has given back.
fn own_registers(hcd: &dyn RawXhci, vm: &Rc<Vm>) -> Result<()> {
    started(hcd)?;
    let Some(base) = hcd.base() else {
        return Err(Error::skipped("the address of its registers is not known"));
    };
    let plugged = plug(hcd, 0, TABLET)?;
    let memory = vm.ram().alloc(64, 64)?;
    let doorbells = u64::from(hcd.registers().get(DOORBELLS)?);
    // The report of the right button is 2 and four zeroes: USBCMD.HCRST, or a doorbell.
    for place in [COMMAND.offset(), doorbells, doorbells + 4, PORT.offset(), DEQUEUE.offset()] {
        for is_late in [false, true] {
            hcd.start()?;
            let usb = plugged.connect(hcd, 2)?;
            let end = endpoint(&usb.configure()?, true)?;
            let entry = |parameter| Entry { parameter, status: 6, control: NORMAL | INTERRUPT };
            polled(hcd, vm, &usb, end)?;
            // The first report comes at once, the second an interval later.
            press(vm, true)?;
            press(vm, false)?;
            let first = if is_late { memory.address().0 } else { base + place };
            with(hcd, |raw| {
                let entries = [entry(first), entry(base + place)];
                raw.push(&usb.device, index(&end), 0, &entries)?;
                raw.ring(usb.device.slot, index(&end))
            })?;
            frames(hcd, 20)?;
            works(hcd, &plugged, &format!("data at {place:#x}, late: {is_late}"))?;
        }
    }
    plugged.unplug(vm)
}

/// How many microframes after the first of two reports the second comes.
fn apart(hcd: &dyn RawXhci, vm: &Vm, usb: &UsbDevice, end: Endpoint) -> Result<usize> {
    let data = vm.ram().alloc(64, 64)?;
    press(vm, true)?;
    press(vm, false)?;
    let tickets = [
        hcd.submit(&usb.request(end, &data, (0, 8)))?,
        hcd.submit(&usb.request(end, &data, (8, 8)))?,
    ];
    let mut ends = [None; 2];
    for microframe in 0..200 {
        for (ticket, end) in tickets.iter().zip(&mut ends) {
            if end.is_none() && hcd.completion(*ticket)?.is_some() {
                *end = Some(microframe);
            }
        }
        vm.qtest().clock_step(Some(Duration::from_micros(125)))?;
    }
    match ends {
        [Some(first), Some(second)] => Ok(second - first),
        _ => {
            let data = data.to_vec()?;
            Err(Error::failed(format!("two reports end after {ends:?} microframes: {data:02x?}")))
        }
    }
}

/// Would catch an interrupt endpoint that is asked again without regard to its interval, above all when the
/// number of microframes has become longer than 32 bits, as after a week (4.14.2 and 6.2.3.6).
fn late_interval(hcd: &dyn RawXhci, vm: &Rc<Vm>) -> Result<()> {
    if ["x86_64", "i386"].contains(&&*vm.emulator().capabilities.arch) {
        return Err(Error::skipped("the clock of a PC ticks all the week, which takes long"));
    }
    hcd.reaches_ram()?;
    hcd.start()?;
    let plugged = plug(hcd, 0, TABLET)?;
    let usb = plugged.connect(hcd, 2)?;
    let end = endpoint(&usb.configure()?, true)?;
    let expected = match plugged.speed {
        Speed::Low | Speed::Full => 64,
        Speed::High | Speed::Super => 1 << (end.interval - 1),
    };
    for (wait, when) in [(0, "at first"), (0x1_0000_0000u64, "after 2^32 microframes")] {
        // In parts, as other devices of the machine have something to do all the while.
        for _ in 0..wait >> 22 {
            vm.qtest().clock_step(Some(Duration::from_micros(125 << 22)))?;
        }
        polled(hcd, vm, &usb, end)?;
        assert_eq!(apart(hcd, vm, &usb, end)?, expected, "{when}: microframes between reports");
    }
    plugged.unplug(vm)
}
