//! A serial port of FTDI: data both ways, the status before received data, requests of the vendor
//! (Linux, `drivers/usb/serial/ftdi_sio.h`, "ftdi_sio.h").

use std::rc::Rc;

use super::hcd::{ended, frames};
use crate::drivers::usb::serial::{BREAK, EMPTY, ERRORS, MODEM, ONE, Port, UsbSerial, request};
use crate::qemu::Vm;
use crate::qos::usb::Status;
use crate::qos::usb::device::{descriptor, setup};
use crate::{Result, attacks, tests};

tests!(UsbSerial, "usb-serial-tests":
    identity,
    receive,
    receive_many = "receive-many",
    send,
    status,
    status_in_data = "status-in-data",
    latency,
    first_latency = "first-latency",
    purge,
    reset,
    formats,
    rates,
    break_told = "break",
    break_wakes = "break-wakes",
    unknown_request = "unknown-request",
);
attacks!(UsbSerial, "usb-serial-attacks": receive, send, purge, formats, break_told = "break");

/// The most bytes of a packet, and those of the status in front.
const PACKET: usize = 64;
const STATUS: usize = 2;

/// Bytes that are unlike their neighbours.
fn pattern(length: usize, seed: usize) -> Vec<u8> {
    (0..length).map(|at| (at * 7 + at / 64 * 11 + seed) as u8).collect()
}

/// The next data: those of one packet, and the second byte of the status of each packet.
fn next(port: &Port) -> Result<(Vec<u8>, Vec<u8>)> {
    let memory = port.usb.hcd.vm().ram().alloc(PACKET, 64)?;
    let what = "received data";
    let moved = port.usb.transfer(port.input, &memory, (0, PACKET), what)?.done(what)?;
    let mut bytes = memory.to_vec()?;
    bytes.truncate(moved);
    let (mut data, mut statuses) = (Vec::new(), Vec::new());
    for packet in bytes.chunks(PACKET) {
        assert!(packet.len() >= STATUS, "a packet is {packet:02x?}");
        assert_eq!(packet[0], MODEM | ONE, "the state of the modem's lines");
        statuses.push(packet[1]);
        data.extend(&packet[STATUS..]);
    }
    Ok((data, statuses))
}

/// The next `count` bytes.
fn received(port: &Port, count: usize) -> Result<Vec<u8>> {
    let mut all = Vec::new();
    while all.len() < count {
        let (data, statuses) = next(port)?;
        let told = statuses.iter().fold(0, |all, status| all | status);
        assert_eq!(told & (ERRORS | BREAK), 0, "errors of received data: {statuses:02x?}");
        all.extend(data);
    }
    Ok(all)
}

/// Would catch another vendor or product than the driver of the device looks for, or another class.
fn identity(device: &UsbSerial, _: &Rc<Vm>) -> Result<()> {
    let port = device.start()?;
    let found = port.usb.descriptor(descriptor::DEVICE, 0, 0, 18)?;
    let [low, high] = device.product.to_le_bytes();
    // The release is that of an FT8U232AM (ftdi_sio.h).
    assert_eq!(found[8..14], [0x03, 0x04, low, high, 0, 4], "vendor, product and release");
    let all = port.usb.configuration()?;
    assert_eq!(all[9..18], [9, 4, 0, 0, 2, 0xff, 0xff, 0xff, 0], "the interface");
    assert_eq!((port.input.address, port.output.address), (0x81, 0x02), "endpoints");
    assert_eq!((port.input.packet, port.output.packet), (PACKET, PACKET), "packets");
    Ok(())
}

/// Would catch data that are lost at the edge of a packet, or a packet without a status.
fn receive(device: &UsbSerial, vm: &Rc<Vm>) -> Result<()> {
    let port = device.start()?;
    vm.set_up_ends()?;
    for (seed, length) in [1, 2, 61, 62, 63, 124, 125, 200, 384, 1].into_iter().enumerate() {
        let sent = pattern(length, seed);
        port.line.send_through(&sent)?;
        assert_eq!(received(&port, length)?, sent, "{length} bytes");
    }
    Ok(())
}

/// Would catch a buffer that overflows, or whose end is not followed by its beginning.
fn receive_many(device: &UsbSerial, _: &Rc<Vm>) -> Result<()> {
    let port = device.start()?;
    for seed in 0..4 {
        let sent = pattern(700 + 13 * seed, seed);
        port.line.send(&sent)?;
        assert_eq!(received(&port, sent.len())?, sent, "round {seed}");
    }
    Ok(())
}

/// Would catch data that do not come out as they were sent, or with more.
fn send(device: &UsbSerial, vm: &Rc<Vm>) -> Result<()> {
    let port = device.start()?;
    vm.set_up_ends()?;
    let memory = vm.ram().alloc(256, 64)?;
    for (seed, length) in [1, 2, 63, 64, 65, 128, 200].into_iter().enumerate() {
        let sent = pattern(length, seed);
        memory.write(0, &sent)?;
        let what = format!("{length} bytes sent");
        let moved = port.usb.transfer(port.output, &memory, (0, length), &what)?;
        assert_eq!(moved.done(&what)?, length, "{what}");
        assert_eq!(port.line.receive(length, &what)?, sent, "{what}");
        port.line.assert_silent(&what)?;
    }
    Ok(())
}

/// Would catch a line of the modem or a state of the transmitter that is told wrongly.
fn status(device: &UsbSerial, _: &Rc<Vm>) -> Result<()> {
    let port = device.start()?;
    let asked = setup(0xc0, request::MODEM_STATUS, 0, 0, 2);
    assert_eq!(port.usb.get(asked, "the status")?, [MODEM | ONE, EMPTY], "the status");
    for value in [0x0303, 0x0300, 0x0101, 0x0202] {
        port.set(request::MODEM_CONTROL, value, 0)?;
        assert_eq!(port.usb.get(asked, "the status")?, [MODEM | ONE, EMPTY], "after {value:#x}");
    }
    Ok(())
}

/// Would catch a transmitter that is never told to be empty in the status before received data.
fn status_in_data(device: &UsbSerial, _: &Rc<Vm>) -> Result<()> {
    let port = device.start()?;
    port.line.send_through(b"x")?;
    let (data, statuses) = next(&port)?;
    assert_eq!((&data[..], &statuses[..]), (&b"x"[..], &[EMPTY][..]), "the data, and the status");
    Ok(())
}

/// Would catch a latency that is not kept.
fn latency(device: &UsbSerial, _: &Rc<Vm>) -> Result<()> {
    let port = device.start()?;
    let asked = setup(0xc0, request::GET_LATENCY, 0, 0, 1);
    for value in [1u8, 16, 0x7f, 0xff] {
        port.set(request::SET_LATENCY, value.into(), 0)?;
        assert_eq!(port.usb.get(asked, "the latency")?, [value], "the latency");
    }
    Ok(())
}

/// Would catch another latency at first than that of 16 ms (FTDI, AN232B-04, section 3).
fn first_latency(device: &UsbSerial, _: &Rc<Vm>) -> Result<()> {
    let port = device.start()?;
    let asked = setup(0xc0, request::GET_LATENCY, 0, 0, 1);
    assert_eq!(port.usb.get(asked, "the latency")?, [16], "the latency at first");
    Ok(())
}

/// Asserts that nothing is received.
fn nothing(port: &Port, when: &str) -> Result<()> {
    let memory = port.usb.hcd.vm().ram().alloc(PACKET, 64)?;
    let request = port.usb.request(port.input, &memory, (0, PACKET));
    let ticket = port.usb.hcd.submit(&request)?;
    frames(port.usb.hcd, 4)?;
    match port.usb.hcd.completion(ticket)? {
        // A status without data is what a chip sends when the latency is over.
        Some(completion) => assert_eq!(completion.done(when)?, STATUS, "{when}: received data"),
        None => port.usb.hcd.cancel(ticket)?,
    }
    Ok(())
}

/// Would catch received data that outlive their purge, and those that one of what is to be sent takes.
fn purge(device: &UsbSerial, vm: &Rc<Vm>) -> Result<()> {
    /// FTDI_SIO_RESET_PURGE_RX and _TX.
    const RECEIVED: u16 = 1;
    const TO_BE_SENT: u16 = 2;
    let port = device.start()?;
    vm.set_up_ends()?;
    for length in [1, 100] {
        port.line.send_through(&pattern(length, 1))?;
        port.set(request::RESET, RECEIVED, 0)?;
        nothing(&port, "after a purge of received data")?;
        let kept = pattern(length, 2);
        port.line.send_through(&kept)?;
        port.set(request::RESET, TO_BE_SENT, 0)?;
        assert_eq!(received(&port, length)?, kept, "after a purge of data to be sent");
    }
    Ok(())
}

/// Would catch received data that outlive a reset of the port.
fn reset(device: &UsbSerial, _: &Rc<Vm>) -> Result<()> {
    let port = device.start()?;
    port.line.send_through(&pattern(90, 1))?;
    port.set(request::RESET, 0, 0)?;
    nothing(&port, "after a reset")?;
    port.line.send_through(b"again")?;
    assert_eq!(received(&port, 5)?, b"again", "after a reset");
    Ok(())
}

/// Would catch a format of characters that is refused and is one, and one that is none and is taken.
fn formats(device: &UsbSerial, vm: &Rc<Vm>) -> Result<()> {
    let port = device.start()?;
    vm.set_up_ends()?;
    for bits in [7, 8] {
        for parity in 0..3 {
            for stop in [0, 2] {
                port.set(request::DATA, bits | parity << 8 | stop << 11, 0)?;
            }
        }
    }
    for none in [8 | 5 << 8, 8 | 7 << 8, 8 | 3 << 11] {
        let refused = port.usb.tell(0x40, request::DATA, none, 0)?;
        assert_eq!(refused.status, Status::Stall, "the format {none:#x}");
        port.usb.hcd.clear_halt(&port.usb.device, &port.usb.device.control())?;
    }
    port.line.send_through(b"as before")?;
    assert_eq!(received(&port, 9)?, b"as before", "after that");
    Ok(())
}

/// Would catch a divisor that ends QEMU or is refused; 0 and 1 stand for 3 and 2 Mbit/s.
fn rates(device: &UsbSerial, _: &Rc<Vm>) -> Result<()> {
    let port = device.start()?;
    for (value, index) in
        [(0, 0), (1, 0), (2, 0), (0x4138, 0), (0x1a, 0), (0x3fff, 1), (0xffff, 1), (0x8000, 0)]
    {
        port.set(request::BAUD_RATE, value, index)?;
    }
    for value in [0, 0x1311, 0xffff] {
        for flow in [0, 0x100, 0x200, 0x400, 0xff00] {
            port.set(request::FLOW_CONTROL, value, flow)?;
        }
        port.set(request::EVENT_CHARACTER, value, 0)?;
        port.set(request::ERROR_CHARACTER, value, 0)?;
    }
    port.set(request::FLOW_CONTROL, 0, 0)?;
    port.line.send_through(b"hello")?;
    assert_eq!(received(&port, 5)?, b"hello", "after that");
    Ok(())
}

/// Would catch a break that is lost, told twice, or takes data with it.
fn break_told(device: &UsbSerial, vm: &Rc<Vm>) -> Result<()> {
    let port = device.start()?;
    vm.set_up_ends()?;
    for round in 0..3 {
        port.line.send_break()?;
        port.line.send_through(b"ab")?;
        let (mut data, mut told) = (Vec::new(), 0);
        while data.len() < 2 {
            let (some, statuses) = next(&port)?;
            data.extend(some);
            told += statuses.iter().filter(|status| **status & BREAK != 0).count();
        }
        assert_eq!((&data[..], told), (&b"ab"[..], 1), "data and breaks, round {round}");
    }
    Ok(())
}

/// Would catch a break that is not told before there are data.
fn break_wakes(device: &UsbSerial, vm: &Rc<Vm>) -> Result<()> {
    let port = device.start()?;
    let memory = vm.ram().alloc(PACKET, 64)?;
    let request = port.usb.request(port.input, &memory, (0, PACKET));
    let ticket = port.usb.hcd.submit(&request)?;
    frames(port.usb.hcd, 3)?;
    port.line.send_break()?;
    let moved = ended(port.usb.hcd, ticket, "the status of a break")?.done("a break")?;
    let bytes = memory.to_vec()?;
    assert_eq!((moved, bytes[1] & BREAK), (STATUS, BREAK), "the status of a break: {bytes:02x?}");
    Ok(())
}

/// Would catch a request of the vendor that nobody knows and that is done.
fn unknown_request(device: &UsbSerial, _: &Rc<Vm>) -> Result<()> {
    let port = device.start()?;
    for unknown in [0x20u8, 0x77, 0xff] {
        for kind in [0x40, 0xc0] {
            let refused = port.usb.tell(kind, unknown, 0, 0)?;
            assert_eq!(refused.status, Status::Stall, "request {unknown:#x} of {kind:#x}");
            port.usb.hcd.clear_halt(&port.usb.device, &port.usb.device.control())?;
        }
    }
    let asked = setup(0xc0, request::MODEM_STATUS, 0, 0, 2);
    assert_eq!(port.usb.get(asked, "the status")?.len(), 2, "the status after that");
    Ok(())
}
