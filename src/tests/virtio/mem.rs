//! The virtio memory device: blocks that are plugged and unplugged, with the memory in them looked
//! at, what the host asks for, and requests that are refused.

use std::rc::Rc;

use serde_json::{Value, json};
use vm_memory::GuestAddress;

use crate::drivers::virtio::mem::{BLOCK, ID, REGION, REQUESTED};
use crate::qemu::{MIB, Vm};
use crate::qos::virtio::mem::{
    ADDR, BLOCK_SIZE, Config, Live, PLUGGED_SIZE, REGION_SIZE, REQ_PLUG, REQ_STATE, REQ_UNPLUG,
    REQ_UNPLUG_ALL, REQUEST_SIZE, REQUESTED_SIZE, RESP_ACK, RESP_ERROR, RESP_NACK, RESPONSE_SIZE,
    STATE_MIXED, STATE_PLUGGED, STATE_UNPLUGGED, USABLE_REGION_SIZE, VirtioMem, request,
};
use crate::qos::virtio::{self, DEVICE_NEEDS_RESET, Segment, features};
use crate::qos::{reset, settle, wait_event, wait_until};
use crate::{Error, Result, attacks, tests};

tests!(VirtioMem, "virtio-mem-tests":
    config,
    plug,
    memory,
    states,
    outside,
    wrong_state = "wrong-state",
    unplug_all = "unplug-all",
    requested,
    wrong_sizes = "wrong-sizes",
    usable_region = "usable-region",
    host,
    device_reset = "device-reset",
    machine_reset = "machine-reset",
    pieces,
    malformed,
    requests_in_blocks = "requests-in-blocks",
    many,
);
attacks!(VirtioMem, "virtio-mem-attacks": plug, memory, unplug_all = "unplug-all", many);

/// A device with nothing plugged, which asks for [`REQUESTED`] bytes.
fn start(device: &VirtioMem, vm: &Vm) -> Result<(Live, Config)> {
    vm.note_lasting("blocks that outlive a reset of the device");
    let live = device.start()?;
    live.done(REQ_UNPLUG_ALL, 0, 0)?;
    let config = device.config()?;
    Ok((live, config))
}

/// The address of a block.
fn at(config: &Config, block: u64) -> u64 {
    config.addr + block * BLOCK
}

/// A page of something.
fn content(seed: u64) -> Vec<u8> {
    (0..4096).map(|at| (at * 7 + seed * 13 + at / 256) as u8 | 1).collect()
}

fn read(vm: &Vm, address: u64) -> Result<Vec<u8>> {
    let mut page = vec![0xa5; 4096];
    vm.qtest().b64read(GuestAddress(address), &mut page)?;
    Ok(page)
}

fn write(vm: &Vm, address: u64, page: &[u8]) -> Result<()> {
    vm.qtest().b64write(GuestAddress(address), page)?;
    Ok(())
}

/// Asserts which of the first 16 blocks are plugged, and the sum of them.
#[track_caller]
fn assert_plugged(device: &VirtioMem, live: &Live, plugged: &[u64], what: &str) -> Result<()> {
    let config = device.config()?;
    for block in 0..16 {
        let expected = if plugged.contains(&block) { STATE_PLUGGED } else { STATE_UNPLUGGED };
        assert_eq!(live.state(at(&config, block), 1)?, expected, "block {block}, {what}");
    }
    assert_eq!(config.plugged_size, plugged.len() as u64 * BLOCK, "plugged, {what}");
    Ok(())
}

/// Would catch a field that is another's, is no multiple of a block, or can be written (5.15.4.2).
fn config(device: &VirtioMem, vm: &Rc<Vm>) -> Result<()> {
    let (_live, config) = start(device, vm)?;
    assert_eq!(device.0.queue_count(), 1, "queues");
    let Config { addr, usable_region_size, .. } = config;
    let expected = Config {
        block_size: BLOCK,
        addr,
        region_size: REGION,
        usable_region_size,
        plugged_size: 0,
        requested_size: REQUESTED,
    };
    assert_eq!(config, expected, "the configuration");
    let spec = vm.ram().spec();
    assert!(addr % BLOCK == 0 && addr >= spec.base + spec.size, "{config:x?}");
    let usable = usable_region_size;
    assert!(usable % BLOCK == 0 && (REQUESTED..=REGION).contains(&usable), "{config:x?}");
    for field in [BLOCK_SIZE, ADDR, REGION_SIZE, USABLE_REGION_SIZE, PLUGGED_SIZE, REQUESTED_SIZE] {
        device.0.set_config_le32(field, 0x1234_5678)?;
        device.0.set_config_le32(field + 4, 0x9abc_def0)?;
    }
    assert_eq!(device.config()?, config, "after the driver wrote to it");
    Ok(())
}

/// Would catch blocks that are not plugged or unplugged, others that are, a size that is not told
/// (5.15.6.2.2), or a notification of it.
fn plug(device: &VirtioMem, vm: &Rc<Vm>) -> Result<()> {
    let (live, config) = start(device, vm)?;
    let steps: [(u16, u64, u16, &[u64]); 8] = [
        (REQ_PLUG, 3, 1, &[3]),
        (REQ_PLUG, 0, 2, &[0, 1, 3]),
        (REQ_PLUG, 10, 4, &[0, 1, 3, 10, 11, 12, 13]),
        (REQ_UNPLUG, 1, 1, &[0, 3, 10, 11, 12, 13]),
        (REQ_UNPLUG, 11, 2, &[0, 3, 10, 13]),
        (REQ_PLUG, 1, 2, &[0, 1, 2, 3, 10, 13]),
        (REQ_UNPLUG, 0, 4, &[10, 13]),
        (REQ_PLUG, 4, 6, &[4, 5, 6, 7, 8, 9, 10, 13]),
    ];
    device.0.transport().take_interrupts()?;
    for (kind, first, count, plugged) in steps {
        live.done(kind, at(&config, first), count)?;
        let what = format!("request {kind} of {count} from {first} on");
        assert_plugged(device, &live, plugged, &what)?;
    }
    settle(vm)?;
    let interrupts = device.0.transport().take_interrupts()?;
    assert_eq!(interrupts & virtio::ISR_CONFIG, 0, "notifications of what the driver did itself");
    live.done(REQ_UNPLUG_ALL, 0, 0)
}

/// Would catch memory of a plugged block that cannot be used, is that of another, changes when others
/// are plugged or unplugged (5.15.6.1), or is kept by the host when it is unplugged.
fn memory(device: &VirtioMem, vm: &Rc<Vm>) -> Result<()> {
    let (live, config) = start(device, vm)?;
    let pages = |block: u64| [at(&config, block), at(&config, block + 1) - 4096];
    let fill = |block: u64| {
        pages(block).iter().try_for_each(|&page| write(vm, page, &content(page >> 12)))
    };
    let check = |block: u64, kept: bool, what: &str| {
        for page in pages(block) {
            let expected = if kept { content(page >> 12) } else { vec![0; 4096] };
            assert!(read(vm, page)? == expected, "block {block}, page {page:#x}, {what}");
        }
        Ok::<_, Error>(())
    };
    live.done(REQ_PLUG, at(&config, 0), 8)?;
    for block in 0..8 {
        check(block, false, "new")?;
        fill(block)?;
    }
    for block in [2, 5] {
        live.done(REQ_UNPLUG, at(&config, block), 1)?;
    }
    for block in [0, 1, 3, 4, 6, 7] {
        check(block, true, "after others were unplugged")?;
    }
    for block in [2, 5] {
        live.done(REQ_PLUG, at(&config, block), 1)?;
        check(block, false, "plugged again")?;
        fill(block)?;
    }
    for block in 0..8 {
        check(block, true, "after others were plugged again")?;
    }
    live.done(REQ_UNPLUG_ALL, 0, 0)?;
    live.done(REQ_PLUG, at(&config, 0), 8)?;
    (0..8).try_for_each(|block| check(block, false, "after all were unplugged"))?;
    live.done(REQ_UNPLUG_ALL, 0, 0)
}

/// Would catch a state that is not that of all blocks, of one too many, or of one too few (5.15.6.5).
fn states(device: &VirtioMem, vm: &Rc<Vm>) -> Result<()> {
    let (live, config) = start(device, vm)?;
    let plugged = [2, 3, 4, 7];
    live.done(REQ_PLUG, at(&config, 2), 3)?;
    live.done(REQ_PLUG, at(&config, 7), 1)?;
    for first in 0..10 {
        for count in 1..=10 {
            let range = first..first + count;
            let is = range.clone().filter(|block| plugged.contains(block)).count() as u64;
            let expected = match is {
                0 => STATE_UNPLUGGED,
                all if all == count => STATE_PLUGGED,
                _ => STATE_MIXED,
            };
            assert_eq!(live.state(at(&config, first), count as u16)?, expected, "{range:?}");
        }
    }
    // All that can be used.
    let all = (config.usable_region_size / BLOCK) as u16;
    assert_eq!(live.state(config.addr, all)?, STATE_MIXED, "all blocks");
    live.done(REQ_UNPLUG_ALL, 0, 0)?;
    assert_eq!(live.state(config.addr, all)?, STATE_UNPLUGGED, "all blocks");
    Ok(())
}

/// Would catch blocks that are not there, that are no blocks, or none, and that are not refused
/// (5.15.6.2.2), or taken for others when a number overflows.
fn outside(device: &VirtioMem, vm: &Rc<Vm>) -> Result<()> {
    let (live, config) = start(device, vm)?;
    live.done(REQ_PLUG, at(&config, 0), 2)?;
    let end = config.addr + config.usable_region_size;
    let wrong = [
        (config.addr + 1, 1),
        (config.addr + BLOCK / 2, 1),
        (config.addr + 4096, 1),
        (config.addr, 0),
        (config.addr - BLOCK, 1),
        (config.addr - BLOCK, 2),
        (end, 1),
        (end - BLOCK, 2),
        (end + BLOCK, 1),
        (config.addr + config.region_size, 1),
        (config.addr, u16::MAX),
        (0, 1),
        (u64::MAX - BLOCK + 1, 1),
        (u64::MAX - BLOCK + 1, 2),
        (0u64.wrapping_sub(config.addr), u16::MAX),
        (config.addr | 1 << 63, 1),
        (config.addr & 0xffff_ffff, 1),
    ];
    for kind in [REQ_PLUG, REQ_UNPLUG, REQ_STATE] {
        for (addr, blocks) in wrong {
            if addr >= config.addr && addr % BLOCK == 0 && blocks == 1 && addr < end {
                continue;
            }
            let response = live.response(kind, addr, blocks)?;
            let what = format!("request {kind} of {blocks} blocks at {addr:#x}");
            assert_eq!(response, RESP_ERROR, "{what}");
            assert_eq!(device.config()?.plugged_size, 2 * BLOCK, "plugged, {what}");
        }
    }
    assert_plugged(device, &live, &[0, 1], "after wrong requests")?;
    live.done(REQ_UNPLUG_ALL, 0, 0)
}

/// Would catch a block that is plugged or unplugged twice, or blocks of which only some are
/// (5.15.6.2.2, 5.15.6.3.2).
fn wrong_state(device: &VirtioMem, vm: &Rc<Vm>) -> Result<()> {
    let (live, config) = start(device, vm)?;
    live.done(REQ_PLUG, at(&config, 2), 2)?;
    write(vm, at(&config, 2), &content(2))?;
    let wrong = [
        (REQ_PLUG, 2, 1),
        (REQ_PLUG, 3, 1),
        (REQ_PLUG, 1, 2),
        (REQ_PLUG, 3, 2),
        (REQ_PLUG, 0, 6),
        (REQ_UNPLUG, 0, 1),
        (REQ_UNPLUG, 1, 2),
        (REQ_UNPLUG, 3, 2),
        (REQ_UNPLUG, 0, 6),
    ];
    for (kind, first, count) in wrong {
        let what = format!("request {kind} of {count} from {first} on");
        assert_eq!(live.response(kind, at(&config, first), count)?, RESP_ERROR, "{what}");
        assert_plugged(device, &live, &[2, 3], &what)?;
        assert!(read(vm, at(&config, 2))? == content(2), "the memory, {what}");
    }
    live.done(REQ_UNPLUG_ALL, 0, 0)
}

/// Would catch blocks that stay plugged when all are unplugged, or a request whose other fields are
/// looked at (5.15.6.4.2).
fn unplug_all(device: &VirtioMem, vm: &Rc<Vm>) -> Result<()> {
    let (live, config) = start(device, vm)?;
    for (addr, blocks) in [(0, 0), (config.addr, 1), (u64::MAX, u16::MAX)] {
        live.done(REQ_PLUG, at(&config, 1), 3)?;
        live.done(REQ_PLUG, at(&config, 9), 2)?;
        live.done(REQ_UNPLUG_ALL, addr, blocks)?;
        assert_plugged(device, &live, &[], &format!("with {blocks} blocks at {addr:#x}"))?;
        live.done(REQ_UNPLUG_ALL, addr, blocks)?;
    }
    Ok(())
}

/// Would catch more plugged than is asked for (5.15), a wish that does not come to the guest, or comes
/// without an interrupt or another generation, and blocks that are unplugged without the guest.
fn requested(device: &VirtioMem, vm: &Rc<Vm>) -> Result<()> {
    let (live, config) = start(device, vm)?;
    let (transport, most) = (device.0.transport(), (REQUESTED / BLOCK) as u16);
    assert_eq!(live.response(REQ_PLUG, config.addr, most + 1)?, RESP_NACK, "a block too many");
    assert_plugged(device, &live, &[], "a block too many")?;
    live.done(REQ_PLUG, config.addr, most)?;
    assert_eq!(live.response(REQ_PLUG, at(&config, most.into()), 1)?, RESP_NACK, "one more");
    let before: Vec<u64> = (0..most.into()).collect();
    for wanted in [24 * MIB, 4 * MIB, 0, 2 * MIB, 32 * MIB, REQUESTED] {
        transport.take_interrupts()?;
        let generation = transport.config_generation()?;
        device.1(vm, wanted)?;
        wait_until(vm, "a configuration change", || {
            Ok(transport.take_interrupts()? & virtio::ISR_CONFIG != 0)
        })?;
        assert_ne!(transport.config_generation()?, generation, "the generation");
        assert_eq!(device.config()?.requested_size, wanted, "as the guest reads it");
        assert_plugged(device, &live, &before, &format!("{wanted} bytes wanted"))?;
        let more = live.response(REQ_PLUG, at(&config, 15), 1)?;
        let expected = if wanted > REQUESTED { RESP_ACK } else { RESP_NACK };
        assert_eq!(more, expected, "one more of {wanted} bytes wanted");
        if more == RESP_ACK {
            live.done(REQ_UNPLUG, at(&config, 15), 1)?;
        }
    }
    live.done(REQ_UNPLUG_ALL, 0, 0)
}

/// Would catch a wish that is no number of blocks or more than there are, and that is granted.
fn wrong_sizes(device: &VirtioMem, vm: &Rc<Vm>) -> Result<()> {
    let (_live, config) = start(device, vm)?;
    for wanted in [1, BLOCK - 1, BLOCK + 4096, REGION + BLOCK, 1 << 40, REGION + 1] {
        device.0.transport().take_interrupts()?;
        device.1(vm, wanted).expect_err("a size that cannot be");
        assert_eq!(device.config()?, config, "the configuration, {wanted} bytes wanted");
        let interrupts = device.0.transport().take_interrupts()?;
        assert_eq!(interrupts, 0, "interrupts, {wanted} bytes wanted");
    }
    Ok(())
}

/// Would catch a region that can be used and does not grow with what is asked for, shrinks without
/// leave, or whose end is not where it is told (5.15.4.2).
fn usable_region(device: &VirtioMem, vm: &Rc<Vm>) -> Result<()> {
    let (live, _) = start(device, vm)?;
    let mut least = device.config()?.usable_region_size;
    for wanted in [64 * MIB, 2 * MIB, REGION, 0, REQUESTED] {
        device.1(vm, wanted)?;
        let config = device.config()?;
        let usable = config.usable_region_size;
        assert!(usable >= least.max(wanted), "{wanted} bytes wanted, {least} before: {config:x?}");
        assert!(usable % BLOCK == 0 && usable <= REGION, "{wanted} bytes wanted: {config:x?}");
        let last = config.addr + usable - BLOCK;
        assert_eq!(live.state(last, 1)?, STATE_UNPLUGGED, "the last block of {config:x?}");
        let beyond = live.response(REQ_STATE, last + BLOCK, 1)?;
        assert_eq!(beyond, RESP_ERROR, "the block behind the last of {config:x?}");
        least = usable;
    }
    // This may make it shrink, to no less than is wanted.
    live.done(REQ_UNPLUG_ALL, 0, 0)?;
    let usable = device.config()?.usable_region_size;
    assert!((REQUESTED..=least).contains(&usable), "{usable} bytes can be used");
    Ok(())
}

/// Would catch a host that is told of another size than is plugged, or is not told at all.
fn host(device: &VirtioMem, vm: &Rc<Vm>) -> Result<()> {
    let (live, config) = start(device, vm)?;
    let told = || {
        let all = vm.qmp().execute("query-memory-devices", Value::Null)?;
        let data = &all[0]["data"];
        let number = |name: &str| data[name].as_u64();
        assert_eq!(data["id"], ID, "{all}");
        assert_eq!(number("memaddr"), Some(config.addr), "{all}");
        assert_eq!(number("max-size"), Some(REGION), "{all}");
        assert_eq!(number("block-size"), Some(BLOCK), "{all}");
        assert_eq!(number("requested-size"), Some(REQUESTED), "{all}");
        Ok::<_, Error>(number("size"))
    };
    assert_eq!(told()?, Some(0), "as the host reads it");
    live.done(REQ_PLUG, at(&config, 1), 3)?;
    assert_eq!(told()?, Some(3 * BLOCK), "as the host reads it");
    let event = wait_event(vm, "MEMORY_DEVICE_SIZE_CHANGE")?;
    assert_eq!(event.data["id"], ID, "{event:?}");
    live.done(REQ_UNPLUG, at(&config, 2), 1)?;
    assert_eq!(told()?, Some(2 * BLOCK), "as the host reads it");
    let get = json!({ "path": format!("/machine/peripheral/{ID}"), "property": "size" });
    assert_eq!(vm.qmp().execute("qom-get", get)?, 2 * BLOCK, "as a property");
    live.done(REQ_UNPLUG_ALL, 0, 0)?;
    assert_eq!(told()?, Some(0), "as the host reads it");
    Ok(())
}

/// Would catch a reset of the device that unplugs blocks, or changes what is in them (5.15.5.2).
fn device_reset(device: &VirtioMem, vm: &Rc<Vm>) -> Result<()> {
    let (live, config) = start(device, vm)?;
    live.done(REQ_PLUG, at(&config, 4), 2)?;
    write(vm, at(&config, 5), &content(5))?;
    device.0.reset()?;
    assert_eq!(device.config()?.plugged_size, 2 * BLOCK, "plugged after a reset of the device");
    let live = device.start()?;
    assert_plugged(device, &live, &[4, 5], "after a reset of the device")?;
    assert!(read(vm, at(&config, 5))? == content(5), "memory after a reset of the device");
    live.done(REQ_UNPLUG_ALL, 0, 0)
}

/// How much is plugged as the host reads it.
fn told_size(vm: &Vm) -> Result<Option<u64>> {
    let all = vm.qmp().execute("query-memory-devices", Value::Null)?;
    Ok(all[0]["data"]["size"].as_u64())
}

/// Would catch a reset of the machine after which blocks are plugged (5.15.6.1).
fn machine_reset(device: &VirtioMem, vm: &Rc<Vm>) -> Result<()> {
    let (live, config) = start(device, vm)?;
    live.done(REQ_PLUG, at(&config, 4), 2)?;
    write(vm, at(&config, 5), &content(5))?;
    reset(vm)?;
    assert_eq!(told_size(vm)?, Some(0), "plugged after a reset of the machine");
    Ok(())
}

/// Would catch requests and responses that are not put together from their pieces.
fn pieces(device: &VirtioMem, vm: &Rc<Vm>) -> Result<()> {
    let (live, config) = start(device, vm)?;
    for (block, cut) in (0..).zip([1, 3, 7, 8, 12, 23]) {
        let asked = request(REQ_PLUG, at(&config, block), 1);
        let parts: Vec<&[u8]> = asked.chunks(cut).collect();
        let rooms: Vec<usize> =
            (0..RESPONSE_SIZE).step_by(cut).map(|at| cut.min(RESPONSE_SIZE - at)).collect();
        let (written, _) = device.0.exchange(&live.requests, &parts, &rooms)?;
        assert_eq!(written.len(), RESPONSE_SIZE, "pieces of {cut} bytes");
        assert_eq!(written[..2], RESP_ACK.to_le_bytes(), "pieces of {cut} bytes");
        assert_eq!(live.state(at(&config, block), 1)?, STATE_PLUGGED, "pieces of {cut} bytes");
    }
    live.done(REQ_UNPLUG_ALL, 0, 0)
}

/// Would catch a request that is cut off, of no type, or without room for the response, of which QEMU
/// dies, or that is carried out, or after which a reset does not help.
fn malformed(device: &VirtioMem, vm: &Rc<Vm>) -> Result<()> {
    let (live, config) = start(device, vm)?;
    live.done(REQ_PLUG, at(&config, 6), 1)?;
    drop(live);
    let good = request(REQ_PLUG, config.addr, 1);
    let mut wrong: Vec<(Vec<u8>, usize)> =
        [0, 1, 2, 8, 18, 23].map(|length| (good[..length].to_vec(), RESPONSE_SIZE)).to_vec();
    wrong.extend([0, 1, 2, 8, 9].map(|room| (good.clone(), room)));
    wrong.extend(
        [4, 0x100, 0x8000, u16::MAX].map(|kind| (request(kind, config.addr, 1), RESPONSE_SIZE)),
    );
    for (bytes, room) in wrong {
        let live = device.start()?;
        let what = format!("{} bytes, room for {room}: {bytes:x?}", bytes.len());
        let (asked, answer) = (vm.ram().alloc(REQUEST_SIZE, 8)?, vm.ram().alloc(16, 8)?);
        asked.write(0, &bytes)?;
        answer.write(0, &[0xee; 16])?;
        let read = Segment { length: bytes.len() as u32, ..Segment::readable(&asked) };
        let written = Segment { length: room as u32, ..Segment::writable(&answer) };
        let segments: Vec<_> =
            [read, written].into_iter().filter(|segment| segment.length > 0).collect();
        live.requests.add(&segments)?;
        live.requests.kick()?;
        settle(vm)?;
        // A device may give up until it is reset, or say that the request is wrong.
        let is_done = live.requests.take_used()?.is_some();
        let status = device.0.transport().status()?;
        let gave_up = status & DEVICE_NEEDS_RESET != 0 || !device.0.transport().is_modern();
        assert!(is_done || gave_up, "{what}: neither used nor given up, status {status:#x}");
        let told = answer.to_vec()?;
        assert!(told[room..].iter().all(|&byte| byte == 0xee), "{what}: {told:x?}");
        let live = device.start()?;
        assert_plugged(device, &live, &[6], &what)?;
    }
    let live = device.start()?;
    live.done(REQ_UNPLUG_ALL, 0, 0)
}

/// Would catch plugged memory that a device cannot reach: the requests themselves are in it.
fn requests_in_blocks(device: &VirtioMem, vm: &Rc<Vm>) -> Result<()> {
    let (live, config) = start(device, vm)?;
    live.done(REQ_PLUG, at(&config, 1), 2)?;
    // Across the border of two blocks.
    let (asked, answer) = (at(&config, 2) - 12, at(&config, 1) + 4096);
    let mut page = vec![0xee; 4096];
    write(vm, answer, &page)?;
    page.truncate(0);
    page.extend(request(REQ_PLUG, at(&config, 7), 1));
    vm.qtest().b64write(GuestAddress(asked), &page)?;
    let read_here = Segment { address: asked, length: REQUEST_SIZE as u32, writable: false };
    let here = Segment { address: answer, length: RESPONSE_SIZE as u32, writable: true };
    assert_eq!(live.requests.carry_out(&[read_here, here])?, RESPONSE_SIZE as u32, "written");
    let told = read(vm, answer)?;
    assert_eq!(told[..2], RESP_ACK.to_le_bytes(), "the response");
    assert!(told[RESPONSE_SIZE..].iter().all(|&byte| byte == 0xee), "behind the response");
    assert_plugged(device, &live, &[1, 2, 7], "by a request in a block")?;
    live.done(REQ_UNPLUG_ALL, 0, 0)
}

/// Would catch requests that are lost, or answered for one another, when many are waiting, and a
/// notification for each that does not come.
fn many(device: &VirtioMem, vm: &Rc<Vm>) -> Result<()> {
    start(device, vm)?;
    let accepted = device.0.negotiate(device.0.acceptable()? & !features::EVENT_IDX)?;
    let queue = device.0.queue(0, accepted)?;
    device.0.driver_ok()?;
    let config = device.config()?;
    let ram = vm.ram();
    let mut asked = Vec::new();
    // The second request for a block is refused.
    for number in 0..16 {
        let (request_buffer, answer) = (ram.alloc(REQUEST_SIZE, 8)?, ram.alloc(RESPONSE_SIZE, 8)?);
        request_buffer.write(0, &request(REQ_PLUG, at(&config, number / 2), 1))?;
        let segments = [Segment::readable(&request_buffer), Segment::writable(&answer)];
        asked.push((queue.add(&segments)?, request_buffer, answer));
    }
    queue.kick()?;
    for (number, (id, _, answer)) in asked.iter().enumerate() {
        let used = queue.wait_used()?;
        assert_eq!((used.id, used.written), (*id, RESPONSE_SIZE as u32), "requests in turn");
        // More than is asked for is refused before the state is looked at.
        let expected: &[u16] = match number % 2 {
            0 => &[RESP_ACK],
            _ => &[RESP_ERROR, RESP_NACK],
        };
        assert!(expected.contains(&answer.read_le16(0)?), "request {number}");
    }
    wait_until(vm, "an interrupt", || {
        Ok(device.0.transport().take_interrupts()? & virtio::ISR_QUEUE != 0)
    })?;
    assert_eq!(device.config()?.plugged_size, 8 * BLOCK, "plugged");
    drop(queue);
    let live = device.start()?;
    live.done(REQ_UNPLUG_ALL, 0, 0)
}
