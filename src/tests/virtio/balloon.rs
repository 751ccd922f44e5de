//! The virtio memory balloon: pages that the guest gives and takes back, with its RAM looked at,
//! the size that the host wants, statistics, and reports of free pages.

use std::rc::Rc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::drivers::virtio::balloon::QOM_PATH;
use crate::qemu::{Buffer, Vm};
use crate::qos::virtio::balloon::{
    ACTUAL, F_PAGE_POISON, Live, NUM_PAGES, PAGE, POISON_VAL, VirtioBalloon, page_number,
};
use crate::qos::virtio::{self, Segment, features};
use crate::qos::{settle, wait_event, wait_until};
use crate::{Result, attacks, tests};

tests!(VirtioBalloon, "virtio-balloon-tests":
    target,
    actual,
    inflate,
    outside_ram = "outside-ram",
    deflate,
    stats,
    stats_interval = "stats-interval",
    stats_after_reset = "stats-after-reset",
    reports,
    poison,
    many,
);
attacks!(VirtioBalloon, "virtio-balloon-attacks": inflate, stats);

/// What a page is filled with.
fn content(page: usize) -> Vec<u8> {
    (0..PAGE).map(|at| (at * 7 + page * 13 + at / 256) as u8 | 1).collect()
}

/// Memory of `count` pages, each with content of its own.
fn pages(vm: &Vm, count: usize) -> Result<Buffer> {
    let buffer = vm.ram().alloc(count * PAGE, PAGE as u64)?;
    buffer.write(0, &(0..count).flat_map(content).collect::<Vec<_>>())?;
    Ok(buffer)
}

/// The numbers of these pages of `buffer`.
fn numbers(buffer: &Buffer, which: &[usize]) -> Vec<u32> {
    let first = page_number(buffer.address().0);
    which.iter().map(|&page| first + page as u32).collect()
}

/// Asserts that these pages of `buffer` read as zeroes, and all others as they were filled.
#[track_caller]
fn assert_gone(buffer: &Buffer, gone: &[usize], what: &str) -> Result<()> {
    for (page, is) in buffer.to_vec()?.chunks(PAGE).enumerate() {
        let expected = if gone.contains(&page) { vec![0; PAGE] } else { content(page) };
        let differs = is.iter().zip(&expected).position(|(is, expected)| is != expected);
        assert_eq!(differs, None, "page {page}, {what}: the first byte that is not as expected");
    }
    Ok(())
}

/// How many bytes of RAM the machine has.
fn ram_size(vm: &Vm) -> u64 {
    vm.ram().spec().size
}

/// Would catch a wish of the host that does not come to the guest, comes without an interrupt or
/// a new generation of the configuration (5.5.6, 2.5.1), is rounded wrong, goes beyond the RAM, or
/// is overwritten by the guest.
fn target(device: &VirtioBalloon, vm: &Rc<Vm>) -> Result<()> {
    let live = device.start(device.0.acceptable()?)?;
    let (transport, size) = (device.0.transport(), ram_size(vm));
    for wanted in [size - (1 << 20), size, 1, 4095, 4096, 4097, size / 2, size - 1, size + 1] {
        transport.take_interrupts()?;
        let before = transport.config_generation()?;
        vm.qmp().execute("balloon", json!({ "value": wanted }))?;
        wait_until(vm, "a configuration change", || {
            Ok(transport.take_interrupts()? & virtio::ISR_CONFIG != 0)
        })?;
        settle(vm)?;
        assert_eq!(transport.take_interrupts()?, 0, "interrupts after the one");
        let after = transport.config_generation()?;
        assert!(before.is_none() || after != before, "generation {before:?} and {after:?}");
        let pages = (size - wanted.min(size)) / PAGE as u64;
        assert_eq!(u64::from(device.field(NUM_PAGES)?), pages, "{wanted} of {size} bytes wanted");
        device.set_field(NUM_PAGES, 0x1234)?;
        assert_eq!(u64::from(device.field(NUM_PAGES)?), pages, "after the guest wrote it");
    }
    vm.qmp().execute("balloon", json!({ "value": 0 })).unwrap_err();
    assert_eq!(transport.take_interrupts()?, 0, "a wish for no memory is refused");
    vm.qmp().execute("balloon", json!({ "value": size }))?;
    drop(live);
    Ok(())
}

/// Would catch a number of pages given that does not come to the host, or another, an event that
/// is missing, and an interrupt for what the driver does itself.
fn actual(device: &VirtioBalloon, vm: &Rc<Vm>) -> Result<()> {
    let live = device.start(device.0.acceptable()?)?;
    let size = ram_size(vm);
    let query = || vm.qmp().execute("query-balloon", Value::Null).map(|it| it["actual"].clone());
    device.0.transport().take_interrupts()?;
    for (number, pages) in [1, 2, 0x100, 0x1ff, 0].into_iter().enumerate() {
        device.set_field(ACTUAL, pages)?;
        assert_eq!(device.field(ACTUAL)?, pages, "as the guest reads it");
        let left = size - u64::from(pages) * PAGE as u64;
        assert_eq!(query()?, left, "as the host reads it, {pages} pages given");
        if number == 0 {
            // Further ones are held back: one a second.
            let event = wait_event(vm, "BALLOON_CHANGE")?;
            assert_eq!(event.data["actual"], left, "{event:?}");
        }
    }
    assert_eq!(device.0.transport().take_interrupts()?, 0, "interrupts");
    assert_eq!(device.field(NUM_PAGES)?, 0, "what the host wants");
    drop(live);
    Ok(())
}

/// Would catch a page that is given and kept by the guest, a wrong one that is taken, a list that
/// is read past its end, at a wrong step, or not across its pieces, and a used length.
fn inflate(device: &VirtioBalloon, vm: &Rc<Vm>) -> Result<()> {
    // Where events have no index every buffer has its interrupt.
    for wanted in [device.0.required(), device.0.acceptable()? & !features::EVENT_IDX] {
        let live = device.start(wanted)?;
        let transport = device.0.transport();
        let lists: [(&[usize], &[u32]); 6] = [
            (&[3], &[]),
            (&[0, 8], &[]),
            (&[5, 4, 1], &[1, 3, 4, 9]),
            (&[7, 7, 2], &[4]),
            (&[8, 6, 4, 2], &[2, 14]),
            (&[0, 1, 2, 3, 4, 5, 6, 7, 8], &[]),
        ];
        for (which, cuts) in lists {
            let buffer = pages(vm, 9)?;
            transport.take_interrupts()?;
            live.tell(&live.inflate, &numbers(&buffer, which), cuts)?;
            let interrupts = transport.take_interrupts()?;
            assert_eq!(interrupts, virtio::ISR_QUEUE, "interrupts, pages {which:?}");
            assert_gone(&buffer, which, &format!("pages {which:?} given"))?;
            // They are the guest's again as soon as it writes to them.
            buffer.write(0, &(0..9).flat_map(content).collect::<Vec<_>>())?;
            assert_gone(&buffer, &[], "written again")?;
        }
        // One number and three bytes of another.
        let buffer = pages(vm, 2)?;
        let list = vm.ram().alloc(8, 4)?;
        for (at, number) in numbers(&buffer, &[0, 1]).into_iter().enumerate() {
            use virtio::Ordered;
            list.put32(transport.byte_order(), 4 * at, number)?;
        }
        let most = Segment { length: 7, ..Segment::readable(&list) };
        assert_eq!(live.inflate.carry_out(&[most])?, 0, "written");
        assert_gone(&buffer, &[0], "a list of seven bytes")?;
        let least = Segment { length: 3, ..Segment::readable(&list) };
        assert_eq!(live.inflate.carry_out(&[least])?, 0, "written");
        assert_gone(&buffer, &[0], "a list of three bytes")?;
    }
    Ok(())
}

/// Would catch a number of no page of RAM that ends QEMU, or the list, or is another page's when
/// it is cut off.
fn outside_ram(device: &VirtioBalloon, vm: &Rc<Vm>) -> Result<()> {
    let live = device.start(device.0.acceptable()?)?;
    let spec = vm.ram().spec();
    let end = page_number(spec.base + spec.size);
    for outside in [end, end + 1, u32::MAX, u32::MAX - 1, 0x8000_0000] {
        for (queue, gone) in [(&live.inflate, &[1, 3][..]), (&live.deflate, &[])] {
            let buffer = pages(vm, 5)?;
            let within = numbers(&buffer, &[1, 3]);
            live.tell(queue, &[outside, within[0], outside, within[1], outside], &[])?;
            assert_gone(&buffer, gone, &format!("page {outside:#x} given as well"))?;
        }
    }
    Ok(())
}

/// Would catch a page that is lost when it is taken back, and one that cannot be used afterwards.
fn deflate(device: &VirtioBalloon, vm: &Rc<Vm>) -> Result<()> {
    let live = device.start(device.0.acceptable()?)?;
    let buffer = pages(vm, 6)?;
    live.tell(&live.inflate, &numbers(&buffer, &[1, 2, 4]), &[])?;
    assert_gone(&buffer, &[1, 2, 4], "given")?;
    buffer.write(PAGE, &content(1))?;
    live.tell(&live.deflate, &numbers(&buffer, &[0, 1, 2, 4]), &[5])?;
    assert_gone(&buffer, &[2, 4], "taken back")?;
    buffer.write(0, &(0..6).flat_map(content).collect::<Vec<_>>())?;
    live.tell(&live.deflate, &numbers(&buffer, &[2]), &[])?;
    assert_gone(&buffer, &[], "written after they were taken back")?;
    live.tell(&live.inflate, &numbers(&buffer, &[2]), &[])?;
    assert_gone(&buffer, &[2], "given again")
}

/// The names of statistics as QEMU has them since 2.8 or so, by their number (5.5.6.4).
const STATS: [&str; 10] = [
    "stat-swap-in",
    "stat-swap-out",
    "stat-major-faults",
    "stat-minor-faults",
    "stat-free-memory",
    "stat-total-memory",
    "stat-available-memory",
    "stat-disk-caches",
    "stat-htlb-pgalloc",
    "stat-htlb-pgfail",
];

/// Has the host ask for statistics every so many seconds.
fn set_interval(vm: &Vm, seconds: u64) -> Result<()> {
    let property = "guest-stats-polling-interval";
    let set = json!({ "path": QOM_PATH, "property": property, "value": seconds });
    vm.qmp().execute("qom-set", set)?;
    Ok(())
}

/// Asserts that the host has these statistics and no others.
#[track_caller]
fn assert_stats(vm: &Vm, given: &[(u16, u64)], what: &str) -> Result<()> {
    let get = json!({ "path": QOM_PATH, "property": "guest-stats" });
    let has = vm.qmp().execute("qom-get", get)?;
    for (number, name) in (0..).zip(STATS) {
        let value = given.iter().rev().find(|(stat, _)| *stat == number);
        let value = value.map_or(u64::MAX, |(_, value)| *value);
        let is = &has["stats"][name];
        // A number above 2^63 may come as a negative one.
        let is = is.as_u64().or_else(|| is.as_i64().map(|it| it as u64));
        assert_eq!(is, Some(value), "{name}, {what}: {has}");
    }
    Ok(())
}

/// Gives statistics, and waits until the host has taken them, with the clock still.
fn give(live: &Live, vm: &Vm, stats: &[(u16, u64)]) -> Result<(u16, Buffer)> {
    vm.note_lasting("statistics, which a reset of the machine leaves");
    let given = live.give_stats(stats, 10 * stats.len())?;
    settle(vm)?;
    Ok(given)
}

/// All statistics with values of which no two bytes are alike.
fn all_stats(first: u64) -> Vec<(u16, u64)> {
    (0..10).map(|stat| (stat, first + 0x0102_0304_0506_0708 * (u64::from(stat) + 1))).collect()
}

/// Would catch a statistic that is another's, cut off, kept from before, or made up, one read
/// past the end of the buffer, and a buffer that is given back with a length (5.5.6.3).
fn stats(device: &VirtioBalloon, vm: &Rc<Vm>) -> Result<()> {
    let live = device.start(device.0.acceptable()?)?;
    assert_stats(vm, &[], "at first")?;
    let sets = [
        all_stats(0),
        vec![(4, 77)],
        vec![(9, 1 << 62), (0, 0), (5, 1), (5, 2)],
        vec![(16, 5), (1, 6), (0xffff, 7), (0x100, 8), (3, 9)],
        all_stats(5),
        vec![(200, 1)],
    ];
    let mut held = give(&live, vm, &[(0, 42)])?;
    assert_stats(vm, &[(0, 42)], "one")?;
    for set in sets {
        // The device gives the older buffer back when it gets another.
        let next = give(&live, vm, &set)?;
        let used = live.stats.wait_used()?;
        assert_eq!((used.id, used.written), (held.0, 0), "the buffer of before");
        assert_stats(vm, &set, &format!("of {set:x?}"))?;
        held = next;
    }
    for (length, whole) in [(19, 1), (20, 2), (29, 2), (9, 0)] {
        let set = [(1, 10), (2, 20), (3, 30)];
        let next = live.give_stats(&set, length)?;
        settle(vm)?;
        assert_eq!(live.stats.wait_used()?.id, held.0, "the buffer of before");
        assert_stats(vm, &set[..whole], &format!("in {length} bytes"))?;
        held = next;
    }
    Ok(())
}

/// Would catch statistics that the host asks for too early, too late, not again, or still when it
/// wants none any more, and a request without an interrupt.
fn stats_interval(device: &VirtioBalloon, vm: &Rc<Vm>) -> Result<()> {
    let live = device.start(device.0.acceptable()? & !features::EVENT_IDX)?;
    let transport = device.0.transport();
    let step = |ms| vm.qtest().clock_step(Some(Duration::from_millis(ms))).map(|_| ());
    let _first = give(&live, vm, &[(0, 1)])?;
    step(100_000)?;
    assert_eq!(live.stats.take_used()?, None, "the host has not asked");
    set_interval(vm, 2)?;
    wait_until(vm, "the first request", || Ok(live.stats.take_used()?.is_some()))?;
    for interval in [2, 2, 5, 1] {
        set_interval(vm, interval)?;
        let held = give(&live, vm, &[(0, interval)])?;
        assert_stats(vm, &[(0, interval)], "as given")?;
        transport.take_interrupts()?;
        step(interval * 1000 - 1)?;
        settle(vm)?;
        assert_eq!(live.stats.take_used()?, None, "a request before {interval} seconds");
        assert_eq!(transport.take_interrupts()?, 0, "interrupts before {interval} seconds");
        step(1)?;
        settle(vm)?;
        let used = live.stats.take_used()?.map(|used| (used.id, used.written));
        assert_eq!(used, Some((held.0, 0)), "a request after {interval} seconds");
        assert_eq!(transport.take_interrupts()?, virtio::ISR_QUEUE, "its interrupt");
        step(interval * 3000)?;
        assert_eq!(live.stats.take_used()?, None, "a request without a buffer");
    }
    let _last = give(&live, vm, &[(0, 9)])?;
    set_interval(vm, 0)?;
    step(100_000)?;
    assert_eq!(live.stats.take_used()?, None, "the host asks no more");
    Ok(())
}

/// Would catch a buffer for statistics that outlives a reset of the device, and comes back in
/// another ring.
fn stats_after_reset(device: &VirtioBalloon, vm: &Rc<Vm>) -> Result<()> {
    set_interval(vm, 1)?;
    for round in 0..3 {
        let live = device.start(device.0.acceptable()?)?;
        let held = give(&live, vm, &all_stats(round))?;
        device.0.reset()?;
        vm.qtest().clock_step(Some(Duration::from_secs(3)))?;
        let again = device.start(device.0.acceptable()?)?;
        vm.qtest().clock_step(Some(Duration::from_secs(3)))?;
        settle(vm)?;
        assert_eq!(again.stats.take_used()?, None, "a buffer of before the reset");
        let (id, _held) = give(&again, vm, &[(6, round)])?;
        assert_stats(vm, &[(6, round)], "after the reset")?;
        wait_until(vm, "a request after the reset", || {
            let used = again.stats.take_used()?;
            assert!(used.is_none_or(|used| (used.id, used.written) == (id, 0)), "{used:?}");
            Ok(used.is_some())
        })?;
        drop((live, held));
    }
    set_interval(vm, 0)
}

/// Pages of `buffer` in one segment.
fn segment(buffer: &Buffer, first: usize, count: usize) -> Segment {
    let address = buffer.address().0 + (first * PAGE) as u64;
    Segment { address, length: (count * PAGE) as u32, writable: true }
}

/// Would catch a report of free pages (5.5.6.7) that takes others, not all, or parts of pages,
/// or is given back with a length although nothing was written.
fn reports(device: &VirtioBalloon, vm: &Rc<Vm>) -> Result<()> {
    let live = device.start(device.0.acceptable()?)?;
    for runs in [&[(2, 1)][..], &[(0, 3)], &[(1, 2), (5, 1), (7, 2)], &[(0, 9)]] {
        let buffer = pages(vm, 9)?;
        let segments: Vec<_> =
            runs.iter().map(|&(at, count)| segment(&buffer, at, count)).collect();
        assert_eq!(live.reports.carry_out(&segments)?, 0, "written, {runs:?}");
        let gone: Vec<_> = runs.iter().flat_map(|&(at, count)| at..at + count).collect();
        assert_gone(&buffer, &gone, &format!("{runs:?} reported"))?;
    }
    // What is no page is kept.
    let buffer = pages(vm, 4)?;
    let whole = segment(&buffer, 1, 1);
    for (by, length) in [(0, 4095), (1, 4096), (16, 4080), (0, 4097), (4095, 1)] {
        let odd = Segment { address: whole.address + by, length, ..whole };
        let last = segment(&buffer, 3, 1);
        assert_eq!(live.reports.carry_out(&[odd, last])?, 0, "written");
        assert_gone(&buffer, &[3], &format!("{length} bytes from {by} on reported"))?;
    }
    Ok(())
}

/// Would catch a page that loses what the guest fills free pages with (5.5.6.6), a value that is
/// another, that counts although it was not negotiated, or that outlives a reset.
fn poison(device: &VirtioBalloon, vm: &Rc<Vm>) -> Result<()> {
    let all = device.0.acceptable()?;
    for (accepted, value, kept) in [
        (all, 0xaaaa_aaaa, true),
        (all, 1, true),
        (all, 0x8000_0000, true),
        (all, 0, false),
        (all & !F_PAGE_POISON, 0xaaaa_aaaa, false),
        (all, 0, false),
    ] {
        let live = device.start(accepted)?;
        assert_eq!(device.field(POISON_VAL)?, 0, "after a reset");
        let has = accepted & F_PAGE_POISON != 0;
        if value != 0 {
            device.set_field(POISON_VAL, value)?;
            assert_eq!(device.field(POISON_VAL)?, if has { value } else { 0 }, "as written");
        }
        let buffer = pages(vm, 3)?;
        assert_eq!(live.reports.carry_out(&[segment(&buffer, 1, 1)])?, 0, "written");
        let gone: &[usize] = if kept { &[] } else { &[1] };
        assert_gone(&buffer, gone, &format!("poison {value:#x}, accepted {accepted:#x}"))?;
    }
    Ok(())
}

/// Would catch lists that are lost, or done for one another, when many are waiting, by descriptors
/// of either kind.
fn many(device: &VirtioBalloon, vm: &Rc<Vm>) -> Result<()> {
    use virtio::Ordered;
    let live = device.start(device.0.acceptable()? & !features::EVENT_IDX)?;
    let order = device.0.transport().byte_order();
    for is_indirect in [false, true] {
        let buffer = pages(vm, 64)?;
        let all: Vec<usize> = (0..64).filter(|page| page % 3 != 1).collect();
        let list = vm.ram().alloc(4 * all.len(), 4)?;
        let mut ids = Vec::new();
        for (at, &page) in numbers(&buffer, &all).iter().enumerate() {
            list.put32(order, 4 * at, page)?;
            let address = list.address().0 + 4 * at as u64;
            let segment = [Segment { address, length: 4, writable: false }];
            let queue = &live.inflate;
            ids.push(if is_indirect {
                queue.add_indirect(&segment)?
            } else {
                queue.add(&segment)?
            });
        }
        live.inflate.kick()?;
        for id in ids {
            let used = live.inflate.wait_used()?;
            assert_eq!((used.id, used.written), (id, 0), "buffers in turn");
        }
        assert_gone(&buffer, &all, "many lists")?;
    }
    Ok(())
}
