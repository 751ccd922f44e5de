//! The virtio serial device: its control messages, data in both directions, and ports that are
//! plugged in and out.

use std::io::{Read, Write};
use std::rc::Rc;

use serde_json::json;

use crate::drivers::virtio::serial::{NAME, SOCKET};
use crate::qemu::{MIB, Vm};
use crate::qos::virtio::Segment;
use crate::qos::virtio::serial::{
    CONSOLE_PORT, DEVICE_READY, Live, Message, PORT_ADD, PORT_NAME, PORT_OPEN, PORT_READY,
    PORT_REMOVE, VirtioSerial,
};
use crate::qos::{settle, wait_event, wait_until};
use crate::{Error, Result, attacks, tests};

tests!(VirtioSerial, "virtio-serial-tests":
    serialport_nop = "serialport-nop",
    console_nop = "console-nop",
    control,
    sent,
    received,
    hotplug,
    endless_message = "endless-message",
);
attacks!(VirtioSerial, "virtio-serial-attacks": control, sent);

/// The port that is there from the start.
const PORT: u32 = 1;

/// Tells the device that the driver is ready, hears of the port, and opens it.
fn open(device: &VirtioSerial) -> Result<Live> {
    let live = device.start(PORT as u16)?;
    live.tell(0, DEVICE_READY, 1)?;
    assert_eq!(live.hear("of the port")?, Message::new(PORT, PORT_ADD, 1), "first message");
    live.tell(PORT, PORT_READY, 1)?;
    let name = Message { name: NAME.to_owned(), ..Message::new(PORT, PORT_NAME, 1) };
    assert_eq!(live.hear("of its name")?, name, "second message");
    assert_eq!(live.hear("that it is open")?, Message::new(PORT, PORT_OPEN, 1), "third message");
    live.tell(PORT, PORT_OPEN, 1)?;
    Ok(live)
}

/// Would catch a device with a port that cannot be found at all.
fn serialport_nop(device: &VirtioSerial, _: &Rc<Vm>) -> Result<()> {
    assert_eq!(device.max_ports()?, 31, "max_nr_ports");
    Ok(())
}

/// Would catch a console that is not told of as one (5.3.6.2).
fn console_nop(device: &VirtioSerial, vm: &Rc<Vm>) -> Result<()> {
    let live = open(device)?;
    vm.qmp()
        .execute("chardev-add", json!({"id": "con", "backend": {"type": "null", "data": {}}}))?;
    let console = json!({"driver": "virtconsole", "id": "hot", "bus": "serial0.0", "nr": 2,
        "chardev": "con"});
    vm.qmp().execute("device_add", console)?;
    let is_open = Message::new(2, PORT_OPEN, 1);
    let first = live.hear("of the console")?;
    // QEMU says that the port is open before it says that there is one.
    let added = if first == is_open { live.hear("of the console")? } else { first };
    assert_eq!(added, Message::new(2, PORT_ADD, 1));
    live.tell(2, PORT_READY, 1)?;
    assert_eq!(live.hear("that it is a console")?, Message::new(2, CONSOLE_PORT, 1));
    assert_eq!(live.hear("that it is open")?, is_open);
    vm.qmp().execute("device_del", json!({"id": "hot"}))?;
    assert_eq!(live.hear("that it is gone")?, Message::new(2, PORT_REMOVE, 1));
    wait_event(vm, "DEVICE_DELETED")?;
    vm.qmp().execute("chardev-remove", json!({"id": "con"}))?;
    Ok(())
}

/// Would catch messages that are missing, changed, doubled or sent before the driver is ready, and
/// what they say of a port that is not there.
fn control(device: &VirtioSerial, vm: &Rc<Vm>) -> Result<()> {
    for _ in 0..3 {
        let live = device.start(PORT as u16)?;
        settle(vm)?;
        assert!(live.is_silent()?, "a message before the driver is ready");
        let live = open(device)?;
        for port in [0, 5, 30, 31, 1000, u32::MAX] {
            live.tell(port, PORT_READY, 1)?;
            live.tell(port, PORT_OPEN, 1)?;
        }
        live.tell(PORT, 0x55, 1)?;
        live.tell(PORT, PORT_OPEN, 0)?;
        live.tell(PORT, PORT_OPEN, 1)?;
        settle(vm)?;
        assert!(live.is_silent()?, "a message that nothing asked for");
    }
    Ok(())
}

/// Bytes of which no four in a row come twice.
fn pattern(length: usize) -> Vec<u8> {
    (0..length as u32).map(|at| (at.wrapping_mul(0x9e37_79b1) >> 13) as u8).collect()
}

/// Would catch bytes that are lost, doubled, changed or out of turn on their way to the host, a
/// buffer that is not given back, and a used length for what the device only reads.
fn sent(device: &VirtioSerial, vm: &Rc<Vm>) -> Result<()> {
    let live = open(device)?;
    let mut far = vm.socket(SOCKET.name)?;
    for lengths in [&[1][..], &[2, 3], &[100, 1, 1, 28], &[4096], &[5000, 7]] {
        let data = pattern(lengths.iter().sum());
        let (mut rest, mut buffers) = (&data[..], Vec::new());
        for &length in lengths {
            let buffer = vm.ram().alloc(length, 1)?;
            buffer.write(0, &rest[..length])?;
            rest = &rest[length..];
            buffers.push(buffer);
        }
        let id = live.transmit.add(&buffers.iter().map(Segment::readable).collect::<Vec<_>>())?;
        live.transmit.kick()?;
        let used = live.transmit.wait_used()?;
        assert_eq!((used.id, used.written), (id, 0), "the buffer of {lengths:?} bytes");
        let mut came = vec![0; data.len()];
        far.read_exact(&mut came).map_err(|e| crate::Error::failed(e.to_string()))?;
        assert!(came == data, "{lengths:?} bytes at the far end");
    }
    Ok(())
}

/// Would catch bytes that are lost or changed on their way to the guest, a buffer filled beyond
/// its end, or a used length that is not theirs, and bytes that come while the port is closed.
fn received(device: &VirtioSerial, vm: &Rc<Vm>) -> Result<()> {
    let live = open(device)?;
    let mut far = vm.socket(SOCKET.name)?;
    for (length, room) in [(1, 16), (16, 16), (17, 16), (300, 64), (4096, 1000)] {
        let data = pattern(length);
        let buffers = (0..length.div_ceil(room))
            .map(|_| vm.ram().alloc(room, 1))
            .collect::<Result<Vec<_>>>()?;
        let mut ids = Vec::new();
        for buffer in &buffers {
            ids.push(live.receive.add(&[Segment::writable(buffer)])?);
        }
        live.receive.kick()?;
        far.write_all(&data).map_err(|e| crate::Error::failed(e.to_string()))?;
        let mut came = Vec::new();
        for (buffer, id) in buffers.iter().zip(ids) {
            let used = live.receive.wait_used()?;
            assert_eq!(used.id, id, "buffers in turn");
            let expected = room.min(length - came.len());
            assert_eq!(used.written as usize, expected, "{length} bytes in buffers of {room}");
            let bytes = buffer.to_vec()?;
            assert!(bytes[expected..].iter().all(|byte| *byte == 0), "beyond what came");
            came.extend_from_slice(&bytes[..expected]);
        }
        assert!(came == data, "{length} bytes in buffers of {room}");
    }
    Ok(())
}

/// Would catch a port that comes or goes without a message, with another number, or whose number
/// cannot be had again.
fn hotplug(device: &VirtioSerial, vm: &Rc<Vm>) -> Result<()> {
    let live = open(device)?;
    for number in [2, 30, 2] {
        let port = json!({"driver": "virtserialport", "id": "hot", "bus": "serial0.0",
            "nr": number, "name": "another"});
        vm.qmp().execute("device_add", port)?;
        assert_eq!(live.hear("of a new port")?, Message::new(number, PORT_ADD, 1));
        live.tell(number, PORT_READY, 1)?;
        let name = Message { name: "another".to_owned(), ..Message::new(number, PORT_NAME, 1) };
        assert_eq!(live.hear("of its name")?, name);
        vm.qmp().execute("device_del", json!({"id": "hot"}))?;
        assert_eq!(live.hear("of a port that goes")?, Message::new(number, PORT_REMOVE, 1));
        wait_event(vm, "DEVICE_DELETED")?;
    }
    wait_until(vm, "no message more", || live.is_silent())
}

/// How many descriptors a table may have that QEMU takes.
const MOST_DESCRIPTORS: usize = 1024;

/// How much of RAM may be in pieces.
const LOW: u64 = 16 * MIB;

/// Whether the host certainly refuses a program so many bytes at once, so that none of them is used.
fn is_refused(bytes: u64) -> bool {
    let overcommits = std::fs::read_to_string("/proc/sys/vm/overcommit_memory");
    let memory = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kilobytes = |line: &str| line.split_ascii_whitespace().nth(1)?.parse::<u64>().ok();
    let has = |name: &str| memory.lines().find(|line| line.starts_with(name)).and_then(kilobytes);
    match (has("MemTotal:"), has("SwapTotal:")) {
        (Some(memory), Some(swap)) => {
            overcommits.is_ok_and(|it| it.trim() != "1") && (memory + swap) * 1024 < bytes
        }
        _ => false,
    }
}

/// Would catch a control message that is copied to memory of its length, whatever that is: all of
/// RAM, a thousand times over, ends QEMU (5.3.6.2: a message has eight bytes and a name).
fn endless_message(device: &VirtioSerial, vm: &Rc<Vm>) -> Result<()> {
    let ram = vm.ram().spec();
    // Below that a PC has holes in its RAM.
    let length = u32::try_from(ram.size.saturating_sub(LOW)).unwrap_or(1 << 31);
    let all = Segment { address: ram.base + LOW, length, writable: false };
    let bytes = u64::from(length) * MOST_DESCRIPTORS as u64;
    if !is_refused(bytes) {
        return Err(Error::skipped(format!("this host may have the {bytes} bytes of the message")));
    }
    for count in [MOST_DESCRIPTORS, MOST_DESCRIPTORS / 2 + 1] {
        let live = open(device)?;
        live.give(&vec![all; count])?;
        settle(vm)?;
        device.0.reset()?;
        device.0.assert_works()?;
    }
    open(device).map(drop)
}
