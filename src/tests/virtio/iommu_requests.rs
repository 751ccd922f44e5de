//! The virtio IOMMU device: how requests are read and answered, whatever they ask for.

use std::rc::Rc;

use super::iommu::{DOMAIN, assert_mapped, map, page, start, start_attached, unmap};
use crate::qemu::Vm;
use crate::qos::virtio::iommu::{
    DEVERR, INVAL, NOENT, OK, PROBE_SIZE, READ, Reserved, T_ATTACH, T_DETACH, T_PROBE, T_UNMAP,
    UNSUPP, VirtioIommu, WRITE, map_request, request,
};
use crate::qos::virtio::{DEVICE_NEEDS_RESET, Segment, features};
use crate::{Result, qos, tests};

tests!(VirtioIommu, "virtio-iommu-tests":
    probe,
    probe_sizes = "probe-sizes",
    unknown_type = "unknown-type",
    short = "short-requests",
    pieces,
    in_flight = "in-flight",
    many,
);

/// Would catch properties that are no list, ranges that overlap or end before they begin, more
/// than one range for messages, and an endpoint that is not there and has some (5.13.6.7).
fn probe(device: &VirtioIommu, _: &Rc<Vm>) -> Result<()> {
    let size = device.field32(PROBE_SIZE)? as usize;
    let (live, endpoint) = start(device)?;
    let before = live.reserved(endpoint, size)?;
    let mut sorted = before.clone();
    sorted.sort_by_key(|it| it.start);
    for Reserved { subtype, start, end } in &sorted {
        assert!(*subtype < 2 && start < end, "{before:x?}");
    }
    assert!(sorted.windows(2).all(|it| it[0].end < it[1].start), "overlap: {before:x?}");
    assert!(before.iter().filter(|it| it.subtype == 1).count() < 2, "messages: {before:x?}");
    assert_eq!(live.attach(DOMAIN, endpoint, 0)?, OK, "attached");
    assert_eq!(live.reserved(endpoint, size)?, before, "once it is attached");
    // What is reserved in the request is not looked at.
    let mut numbers = [!0; 17];
    numbers[0] = endpoint;
    let answer = live.ask(&[&request(T_PROBE, &numbers)], &[size + 4])?;
    assert_eq!(answer.get(size), Some(&OK), "{answer:x?}");
    for other in [endpoint ^ 0xff, 0xff00, 0x8000] {
        let (properties, status) = live.probe(other, size)?;
        assert_eq!(status, NOENT, "endpoint {other:#x}");
        assert!(properties.iter().all(|&byte| byte == 0), "endpoint {other:#x}: {properties:x?}");
    }
    Ok(())
}

/// Would catch properties written past the memory for them: too little of it is refused, more of
/// it is left alone (5.13.6.6.2).
fn probe_sizes(device: &VirtioIommu, _: &Rc<Vm>) -> Result<()> {
    let size = device.field32(PROBE_SIZE)? as usize;
    let (live, endpoint) = start(device)?;
    let mut numbers = [0; 17];
    numbers[0] = endpoint;
    let bytes = request(T_PROBE, &numbers);
    for room in [4, 8, 24, size - 4, size, size + 3] {
        // What is behind the bytes that are written may be anything (2.7.8.2).
        let (answer, _) = live.ask_loosely(&[&bytes], &[room])?;
        // Where the end of the request is in so little memory, nobody can say.
        let failed = answer.is_empty() || answer.contains(&INVAL) || answer.contains(&DEVERR);
        assert!(failed && answer.len() <= room, "{room} bytes of memory: {answer:x?}");
    }
    for pieces in [vec![size + 4], vec![4; size / 4 + 1], vec![size, 1, 1, 1, 1], vec![size + 100]]
    {
        let answer = live.ask(&[&bytes], &pieces)?;
        assert_eq!(answer.len(), size + 4, "{} pieces", pieces.len());
        assert_eq!(answer[size..], [OK, 0, 0, 0], "{} pieces", pieces.len());
    }
    Ok(())
}

/// Would catch a request of no known type that is answered, for nobody knows where in it the
/// status is (5.13.6.2), or that has an effect.
fn unknown_type(device: &VirtioIommu, _: &Rc<Vm>) -> Result<()> {
    let page = page(device)?;
    let (live, endpoint) = start_attached(device)?;
    for kind in [0, 6, 0x7f, 0x80, 0x81, 0xff] {
        let answer = live.ask(&[&request(kind, &[DOMAIN + 1, endpoint, 0, 0])], &[4])?;
        assert!(answer.is_empty(), "type {kind}: {answer:x?} is written");
        assert_eq!(map(&live, page, 0, 0)?, OK, "the next request after type {kind}");
        assert_eq!(unmap(&live, page, 0, 0)?, OK, "the next request after type {kind}");
    }
    Ok(())
}

/// Would catch a request that is carried out although a part of it is missing, a status in memory
/// that is too small for it, and a device that stays out of order after that.
fn short(device: &VirtioIommu, _: &Rc<Vm>) -> Result<()> {
    let page = page(device)?;
    let (live, endpoint) = start_attached(device)?;
    let whole = [
        request(T_ATTACH, &[DOMAIN + 1, endpoint, 0, 0]),
        request(T_DETACH, &[DOMAIN, endpoint, 0, 0]),
        map_request(DOMAIN, 0, page - 1, 0, READ),
        request(T_UNMAP, &[DOMAIN, 0, 0, !0, 0, 0]),
    ];
    assert_eq!(map(&live, page, 3, 3)?, OK, "a page");
    for bytes in &whole {
        for length in [4, 5, 8, 12, bytes.len() - 1] {
            let answer = live.ask(&[&bytes[..length]], &[4])?;
            let what = format!("{length} bytes of {bytes:x?}");
            let refused = matches!(answer[..], [] | [INVAL | UNSUPP | DEVERR, 0, 0, 0]);
            assert!(refused, "{what}: {answer:x?}");
            assert_mapped(&live, page, &[(3, 3)], &what)?;
        }
    }
    drop(live);
    // Where the head or the status has no room the device cannot answer.
    for (asked, room) in [(3, 4), (1, 4), (0, 4), (20, 3), (20, 1), (20, 0)] {
        let (live, _) = start_attached(device)?;
        let ram = device.device.vm().ram();
        let (there, back) = (ram.alloc(20, 1)?, ram.alloc(4, 1)?);
        there.write(0, &whole[0])?;
        back.write(0, &[0xee; 4])?;
        let cut = |segment: Segment, length| Segment { length, ..segment };
        let segments = [cut(Segment::readable(&there), asked), cut(Segment::writable(&back), room)];
        let segments: Vec<_> = segments.into_iter().filter(|it| it.length > 0).collect();
        live.requests.add(&segments)?;
        live.requests.kick()?;
        qos::settle(device.device.vm())?;
        let used = live.requests.take_used()?;
        let needs_reset = device.device.transport().status()? & DEVICE_NEEDS_RESET != 0;
        let what = format!("{asked} bytes asked, room for {room}: {used:?}");
        assert!(used.is_some_and(|it| it.written == 0) || needs_reset, "{what}");
        assert_eq!(back.to_vec()?, [0xee; 4], "{what}");
        drop(live);
        let (live, _) = start_attached(device)?;
        assert_eq!(map(&live, page, 3, 3)?, OK, "after a reset, {what}");
    }
    Ok(())
}

/// Would catch a request that is read from one piece of memory only.
fn pieces(device: &VirtioIommu, _: &Rc<Vm>) -> Result<()> {
    let page = page(device)?;
    for wanted in [device.device.required(), device.device.acceptable()?] {
        let live = device.start(wanted)?;
        let endpoint = VirtioIommu::endpoint(device.at);
        let attach = request(T_ATTACH, &[DOMAIN, endpoint, 0, 0]);
        let (head, rest) = attach.split_at(4);
        assert_eq!(live.ask(&[head, rest], &[1, 3])?, [OK, 0, 0, 0], "ATTACH in two pieces");
        let map = map_request(DOMAIN, 5 * page, 7 * page - 1, 0x10_0000, READ | WRITE);
        let bytes: Vec<&[u8]> = map.chunks(3).collect();
        assert_eq!(live.ask(&bytes, &[1, 1, 1, 1])?, [OK, 0, 0, 0], "MAP in pieces of 3 bytes");
        assert_mapped(&live, page, &[(5, 6)], "after that")?;
        let answer = live.ask(&[&map, &[1; 40]], &[40])?;
        assert_eq!(answer, [INVAL, 0, 0, 0], "MAP again, with more memory than it takes");
    }
    Ok(())
}

/// Would catch requests that are carried out in another order than they were made, lost when there
/// are many, or answered without an interrupt.
fn in_flight(device: &VirtioIommu, vm: &Rc<Vm>) -> Result<()> {
    let page = page(device)?;
    let live = device.start(device.device.acceptable()? & !features::EVENT_IDX)?;
    let endpoint = VirtioIommu::endpoint(device.at);
    let mut all = vec![request(T_ATTACH, &[DOMAIN, endpoint, 0, 0])];
    let end = [page as u32 - 1, 0];
    for _ in 0..16 {
        all.push(map_request(DOMAIN, 0, page - 1, 0, READ));
        all.push(map_request(DOMAIN, 0, page - 1, 0, READ));
        all.push(request(T_UNMAP, &[DOMAIN, 0, 0, end[0], end[1], 0]));
    }
    let mut buffers = Vec::new();
    for bytes in &all {
        let (asked, answer) = (vm.ram().alloc(bytes.len(), 1)?, vm.ram().alloc(4, 1)?);
        asked.write(0, bytes)?;
        answer.write(0, &[0xee; 4])?;
        let id = live.requests.add(&[Segment::readable(&asked), Segment::writable(&answer)])?;
        buffers.push((id, asked, answer));
    }
    let transport = device.device.transport();
    transport.take_interrupts()?;
    live.requests.kick()?;
    for (number, (id, _asked, answer)) in buffers.iter().enumerate() {
        let used = live.requests.wait_used()?;
        assert_eq!((used.id, used.written), (*id, 4), "request {number}");
        let expected = if number > 0 && number % 3 == 2 { INVAL } else { OK };
        assert_eq!(answer.to_vec()?, [expected, 0, 0, 0], "request {number}");
    }
    qos::settle(vm)?;
    assert_eq!(transport.take_interrupts()?, qos::virtio::ISR_QUEUE, "interrupts");
    Ok(())
}

/// Would catch mappings that are lost or mixed up when there are many, in any order.
fn many(device: &VirtioIommu, _: &Rc<Vm>) -> Result<()> {
    let page = page(device)?;
    let (live, _) = start_attached(device)?;
    let order = |number: u64| number * 73 % 256;
    for number in (0..256).map(order) {
        assert_eq!(map(&live, page, 2 * number, 2 * number)?, OK, "mapping {number}");
    }
    for number in (0..256).map(order) {
        assert_eq!(map(&live, page, 2 * number, 2 * number)?, INVAL, "mapping {number} again");
        let between = 2 * number + 1;
        assert_eq!(map(&live, page, between, between)?, OK, "a page after mapping {number}");
        assert_eq!(unmap(&live, page, between, between)?, OK, "a page after mapping {number}");
    }
    for number in (0..256).map(order).filter(|number| number % 2 == 1) {
        assert_eq!(unmap(&live, page, 2 * number, 2 * number)?, OK, "mapping {number} ends");
    }
    for number in (0..256).map(order) {
        let status = map(&live, page, 2 * number, 2 * number)?;
        assert_eq!(status, if number % 2 == 1 { OK } else { INVAL }, "mapping {number} at last");
    }
    assert_eq!(live.unmap(DOMAIN, 0, u64::MAX)?, OK, "all of them end");
    assert_mapped(&live, page, &[], "in the end")
}
