//! What every IOMMU does: which of a device's accesses reach memory and where, what is recorded
//! of the others, and what invalidations bring about.

use std::rc::Rc;

use super::bench::{Bench, DOMAINS, FILL, HERE, PAGES, WINDOW, assert_identity, assert_off, plain};
use crate::qemu::Vm;
use crate::qos;
use crate::qos::iommu::{Access, Copier, Iommu, PAGE, Reason, Scope};
use crate::{Result, tests};

tests!(dyn Iommu, "iommu-tests":
    off,
    blocked,
    translation,
    last_byte = "last-byte",
    permissions,
    permissions_cached = "permissions-cached",
    unmapped,
    ends_of_a_write = "ends-of-a-write",
    addresses,
    beyond,
    large_pages = "large-pages",
    map_needs_nothing = "map-needs-nothing",
    invalidate_all = "invalidate-all",
    invalidate_domain = "invalidate-domain",
    invalidate_page = "invalidate-page",
    invalidate_pages = "invalidate-pages",
    invalidate_large = "invalidate-large",
    permissions_change = "permissions-change",
    domains,
    shared_domain = "shared-domain",
    move_to_domain = "move-to-domain",
    detach,
    pass,
    many_pages = "many-pages",
    many_faults = "many-faults",
    faults_of_two = "faults-of-two",
    stop,
    start_again = "start-again",
    machine_reset = "machine-reset",
);

/// Would catch an IOMMU that translates or blocks before anybody has set it up.
fn off(iommu: &dyn Iommu, _: &Rc<Vm>) -> Result<()> {
    for (number, engine) in plain(iommu)?.iter().enumerate() {
        assert_off(iommu, engine, &format!("engine {number}, nothing set up"))?;
    }
    Ok(())
}

/// Would catch a device without a domain that reaches memory, and is not recorded.
fn blocked(iommu: &dyn Iommu, _: &Rc<Vm>) -> Result<()> {
    let bench = Bench::blocked(iommu)?;
    for number in [0, 1, 0] {
        for at in [bench.at(2), HERE, 0, bench.at(15) + 0xffc] {
            bench.assert_refused(number, at, Reason::NoDomain, "no domain")?;
        }
    }
    bench.attach(0, DOMAINS[0])?;
    bench.map_window(0, DOMAINS[0])?;
    bench.map(0, HERE, 3, Access::BOTH)?;
    bench.assert_reaches(0, HERE, 3, "with a domain")?;
    bench.assert_refused(1, HERE, Reason::NoDomain, "the other, without one")
}

/// Would catch an address that leads to another, data moved or cut off where pages end, and pages
/// that follow each other in memory instead of as they are mapped.
fn translation(iommu: &dyn Iommu, _: &Rc<Vm>) -> Result<()> {
    let bench = Bench::new(iommu)?;
    let order = [5, 0, 7, 2];
    for (number, &page) in (0..).zip(&order) {
        bench.map(0, HERE + number * PAGE, page, Access::BOTH)?;
    }
    let data: Vec<u8> = (0..4095_u32).map(|at| (at * 7 + at / 256) as u8).collect();
    for (offset, length) in
        [(0, 4), (1, 1), (3, 5), (0xffc, 4), (0xffe, 4), (0x800, 4095), (0x1ffe, 3), (0x1001, 4094)]
    {
        let (what, data) = (format!("{length} bytes at {offset:#x}"), &data[..length]);
        bench.engines[0].write(HERE + offset, data)?;
        assert_eq!(bench.engines[0].read(HERE + offset, length)?, data, "{what}");
        let (mut pieces, mut rest, mut from) = (Vec::new(), data, offset);
        while !rest.is_empty() {
            let room = (PAGE - from % PAGE) as usize;
            let (piece, after) = rest.split_at(room.min(rest.len()));
            pieces.push((order[(from / PAGE) as usize] * PAGE + from % PAGE, piece));
            (rest, from) = (after, from + piece.len() as u64);
        }
        bench.assert_written(&pieces, &what)?;
    }
    bench.assert_no_fault("what is mapped")
}

/// Would catch the last byte of a page that is translated as the page behind it is.
fn last_byte(iommu: &dyn Iommu, _: &Rc<Vm>) -> Result<()> {
    let bench = Bench::new(iommu)?;
    let order = [5, 0, 7, 2, 11, 4, 9];
    for (number, &page) in (0..).zip(&order) {
        bench.map(0, HERE + number * PAGE, page, Access::BOTH)?;
    }
    for (number, &page) in (0..).zip(&order) {
        let at = HERE + number * PAGE + PAGE - 1;
        bench.engines[0].write(at, &[number as u8 + 1])?;
        bench.assert_written(&[(page * PAGE + PAGE - 1, &[number as u8 + 1])], "a last byte")?;
        assert_eq!(bench.engines[0].read(at, 1)?, [FILL], "the last byte of page {number}");
    }
    bench.assert_no_fault("last bytes")
}

/// Would catch a write to a page that is to be read only, a read of one that is to be written
/// only, and a record that takes one for the other.
fn permissions(iommu: &dyn Iommu, _: &Rc<Vm>) -> Result<()> {
    let bench = Bench::new(iommu)?;
    bench.map(0, HERE, 1, Access::READ)?;
    bench.map(0, HERE + PAGE, 2, Access::BOTH)?;
    bench.map(0, HERE + 2 * PAGE, 3, Access::READ)?;
    bench.assert_write_refused(0, HERE + 8, Reason::Permission, "read only")?;
    let read = bench.engines[0].read(HERE + 2 * PAGE + 8, 100)?;
    assert_eq!(read, [FILL; 100], "read only");
    bench.assert_no_fault("read only, a read")?;
    bench.assert_reaches(0, HERE + PAGE, 2, "between them")?;
    if iommu.limits()?.write_only {
        bench.map(0, HERE + 3 * PAGE, 4, Access::WRITE)?;
        bench.map(0, HERE + 4 * PAGE, 5, Access::WRITE)?;
        let at = HERE + 3 * PAGE + 40;
        bench.assert_read_refused(0, at, Reason::Permission, "write only")?;
        bench.engines[0].write(at + PAGE, &[0x42; 8])?;
        bench.assert_written(&[(5 * PAGE + 40, &[0x42; 8])], "write only")?;
        bench.assert_no_fault("write only, a write")?;
    }
    Ok(())
}

/// Would catch the same where the page was used before as it may be, so that a cache has it.
fn permissions_cached(iommu: &dyn Iommu, _: &Rc<Vm>) -> Result<()> {
    let bench = Bench::new(iommu)?;
    bench.map(0, HERE, 1, Access::READ)?;
    for _ in 0..2 {
        assert_eq!(bench.engines[0].read(HERE + 8, 100)?, [FILL; 100], "read only");
        bench.assert_no_fault("read only, a read")?;
        bench.assert_write_refused(0, HERE + 8, Reason::Permission, "read only")?;
    }
    if iommu.limits()?.write_only {
        bench.map(0, HERE + PAGE, 4, Access::WRITE)?;
        let at = HERE + PAGE + 40;
        bench.engines[0].write(at, &[0x42; 8])?;
        bench.assert_written(&[(4 * PAGE + 40, &[0x42; 8])], "write only")?;
        bench.assert_no_fault("write only, a write")?;
        bench.assert_read_refused(0, at, Reason::Permission, "write only")?;
    }
    Ok(())
}

/// Would catch an address that is not mapped and leads anywhere, near one that is or far away,
/// and a record with another address.
fn unmapped(iommu: &dyn Iommu, _: &Rc<Vm>) -> Result<()> {
    let bench = Bench::new(iommu)?;
    bench.map(0, HERE, 0, Access::BOTH)?;
    bench.map(0, HERE + PAGE, 1, Access::BOTH)?;
    for at in [
        HERE - 4,
        HERE + 2 * PAGE,
        HERE + 0x123 * PAGE + 0x100,
        0,
        bench.at(0),
        HERE + (1 << 21),
        HERE | 1 << 31,
        HERE | 1 << 35,
        HERE | 1 << 37,
    ] {
        bench.assert_refused(0, at, Reason::Unmapped, "not mapped")?;
    }
    bench.assert_refused(1, HERE, Reason::Unmapped, "not mapped in the other domain")?;
    bench.assert_reaches(0, HERE + PAGE, 1, "what is mapped")
}

/// Would catch a write over the end of what is mapped that reaches more, or nothing of it.
fn ends_of_a_write(iommu: &dyn Iommu, _: &Rc<Vm>) -> Result<()> {
    let bench = Bench::new(iommu)?;
    bench.map(0, HERE, 4, Access::BOTH)?;
    bench.map(0, HERE + 2 * PAGE, 6, Access::BOTH)?;
    bench.engines[0].write(HERE + PAGE - 8, &[0x71; 12])?;
    bench.assert_written(&[(5 * PAGE - 8, &[0x71; 8])], "over the end")?;
    bench.assert_recorded(0, HERE + PAGE, true, Reason::Unmapped, "over the end")?;
    bench.engines[0].write(HERE + 2 * PAGE - 4, &[0x72; 12])?;
    bench.assert_written(&[(6 * PAGE, &[0x72; 8])], "over the start")?;
    bench.assert_recorded(0, HERE + PAGE, true, Reason::Unmapped, "over the start")
}

/// Would catch bits of an address that are not looked at: pages with addresses that differ in one
/// bit lead to different memory.
fn addresses(iommu: &dyn Iommu, _: &Rc<Vm>) -> Result<()> {
    let bench = Bench::new(iommu)?;
    let last = iommu.limits()?.last;
    let mut all = vec![HERE];
    let bits = (12..64).filter(|&bit| 1 << bit <= last && 1 << bit != HERE);
    all.extend(bits.map(|bit| HERE ^ 1 << bit).filter(|&at| at != WINDOW && at <= last));
    all.extend([last & !(PAGE - 1), 0]);
    for (number, &at) in (0..).zip(&all) {
        bench.map(0, at, number % PAGES, Access::BOTH)?;
    }
    for (number, &at) in (0..).zip(&all) {
        bench.assert_reaches(0, at, number % PAGES, "one of many addresses")?;
    }
    for &at in &all {
        bench.live.unmap(DOMAINS[0], at, 12)?;
        bench.live.invalidate(Scope::Pages(DOMAINS[0], at, 0))?;
        bench.assert_write_refused(0, at, Reason::Unmapped, "one of many, unmapped")?;
    }
    Ok(())
}

/// Would catch an address above all that are translated and that is taken for a lower one.
fn beyond(iommu: &dyn Iommu, _: &Rc<Vm>) -> Result<()> {
    let limits = iommu.limits()?;
    if !limits.has_bound || limits.last == u64::MAX {
        return Err(crate::Error::skipped("there is no address above those that are translated"));
    }
    let bench = Bench::new(iommu)?;
    bench.map(0, HERE, 1, Access::BOTH)?;
    bench.map(0, 0, 2, Access::BOTH)?;
    for at in [limits.last + 1, limits.last + 1 + HERE, HERE | 1 << 60, HERE | 1 << 63, !0 - 3] {
        bench.assert_refused(0, at, Reason::TooHigh, "beyond")?;
    }
    bench.assert_reaches(0, HERE, 1, "what is mapped")
}

/// Memory in the middle of a page of `1 << order` bytes that is mapped to RAM at its own
/// alignment: the address at which it is seen.
fn map_large(bench: &Bench, order: u32, access: Access) -> Result<u64> {
    let size = 1 << order;
    let (there, at) = (bench.at(0) & !(size - 1), 0x100_0000_u64.max(size) * 4);
    bench.live.map(DOMAINS[0], at, there, order, access)?;
    Ok(at + (bench.at(0) - there))
}

/// Would catch a large page that is taken for a table, or of which only the first small one is
/// mapped, or more than it is large.
fn large_pages(iommu: &dyn Iommu, _: &Rc<Vm>) -> Result<()> {
    for &order in iommu.limits()?.larger {
        let bench = Bench::new(iommu)?;
        let what = format!("a page of 2^{order} bytes");
        let at = map_large(&bench, order, Access::BOTH)?;
        for page in [0, 1, 7, 15] {
            bench.assert_reaches(0, at + page * PAGE, page, &what)?;
        }
        let start = at & !((1 << order) - 1);
        for outside in [start - 4, start + (1 << order)] {
            bench.assert_refused(0, outside, Reason::Unmapped, &format!("{what}: outside"))?;
        }
        bench.live.stop()?;
        let bench = Bench::new(iommu)?;
        let at = map_large(&bench, order, Access::READ)?;
        bench.assert_write_refused(0, at + 3 * PAGE, Reason::Permission, &what)?;
        assert_eq!(bench.engines[0].read(at + 3 * PAGE, 8)?, [FILL; 8], "{what}, read only");
        bench.live.stop()?;
    }
    Ok(())
}

/// Would catch an IOMMU that remembers that a page was not there.
fn map_needs_nothing(iommu: &dyn Iommu, _: &Rc<Vm>) -> Result<()> {
    let bench = Bench::new(iommu)?;
    for page in 0..4 {
        let at = HERE + page * 5 * PAGE;
        bench.assert_refused(0, at, Reason::Unmapped, "not mapped")?;
        bench.map(0, at, page, Access::BOTH)?;
        bench.assert_reaches(0, at, page, "mapped after it was refused")?;
    }
    Ok(())
}

/// Pages that are mapped in both domains, used, and then unmapped in the tables, or mapped to
/// others: what `scope` is told. Those of `gone`, as engine and page, are gone then.
fn check_invalidation(iommu: &dyn Iommu, scope: Scope, gone: &[(usize, u64)]) -> Result<()> {
    let bench = Bench::new(iommu)?;
    let place = |page: u64| HERE + page * PAGE;
    for number in 0..2 {
        for page in 0..8 {
            bench.map(number, place(page), page + 8 * number as u64, Access::BOTH)?;
        }
    }
    let assert_all_there = |but: &[(usize, u64)]| -> Result<()> {
        for number in 0..2 {
            for page in (0..8).filter(|&page| !but.contains(&(number, page))) {
                let there = page + 8 * number as u64;
                bench.assert_reaches(number, place(page), there, &format!("{scope:x?}"))?;
            }
        }
        Ok(())
    };
    assert_all_there(&[])?;
    for &(number, page) in gone {
        bench.live.unmap(DOMAINS[number], place(page), 12)?;
    }
    bench.live.invalidate(scope)?;
    for &(number, page) in gone {
        bench.assert_refused(number, place(page), Reason::Unmapped, &format!("{scope:x?}"))?;
    }
    assert_all_there(gone)?;
    // The same pages again, and other memory for them.
    for &(number, page) in gone {
        bench.map(number, place(page), page + 8 * number as u64, Access::BOTH)?;
    }
    assert_all_there(&[])?;
    for &(number, page) in gone {
        bench.live.remap(DOMAINS[number], place(page), bench.at(15 - page), Access::BOTH)?;
    }
    bench.live.invalidate(scope)?;
    for &(number, page) in gone {
        bench.assert_reaches(number, place(page), 15 - page, &format!("{scope:x?}, elsewhere"))?;
    }
    assert_all_there(gone)?;
    bench.live.stop()
}

/// Would catch translations that outlive the invalidation of all.
fn invalidate_all(iommu: &dyn Iommu, _: &Rc<Vm>) -> Result<()> {
    check_invalidation(iommu, Scope::All, &[(0, 0), (0, 7), (1, 0), (1, 3)])
}

/// Would catch translations that outlive the invalidation of their domain.
fn invalidate_domain(iommu: &dyn Iommu, _: &Rc<Vm>) -> Result<()> {
    check_invalidation(iommu, Scope::Domain(DOMAINS[0]), &[(0, 0), (0, 5), (0, 7)])?;
    check_invalidation(iommu, Scope::Domain(DOMAINS[1]), &[(1, 2)])
}

/// Would catch a translation that outlives the invalidation of its page.
fn invalidate_page(iommu: &dyn Iommu, _: &Rc<Vm>) -> Result<()> {
    for (number, page) in [(0, 0), (0, 7), (1, 3)] {
        let scope = Scope::Pages(DOMAINS[number], HERE + page * PAGE, 0);
        check_invalidation(iommu, scope, &[(number, page)])?;
    }
    Ok(())
}

/// Would catch an invalidation of several pages that leaves some of them.
fn invalidate_pages(iommu: &dyn Iommu, _: &Rc<Vm>) -> Result<()> {
    let pages = |first, order| Scope::Pages(DOMAINS[0], HERE + first * PAGE, order);
    check_invalidation(iommu, pages(4, 2), &[(0, 4), (0, 5), (0, 6), (0, 7)])?;
    check_invalidation(iommu, pages(2, 1), &[(0, 2), (0, 3)])?;
    check_invalidation(iommu, pages(0, 9), &[(0, 0), (0, 3), (0, 7)])
}

/// Would catch a large page that outlives an invalidation.
fn invalidate_large(iommu: &dyn Iommu, _: &Rc<Vm>) -> Result<()> {
    for &order in iommu.limits()?.larger {
        let by_page = [false, true];
        for by_page in by_page {
            let bench = Bench::new(iommu)?;
            let what = format!("a page of 2^{order} bytes");
            let at = map_large(&bench, order, Access::BOTH)?;
            bench.assert_reaches(0, at, 0, &what)?;
            bench.assert_reaches(0, at + 9 * PAGE, 9, &what)?;
            let start = at & !((1 << order) - 1);
            bench.live.unmap(DOMAINS[0], start, order)?;
            let pages = (order - 12) as u8;
            let scope = match by_page {
                true => Scope::Pages(DOMAINS[0], start, pages),
                false => Scope::Domain(DOMAINS[0]),
            };
            bench.live.invalidate(scope)?;
            for page in [0, 9, 3] {
                let at = at + page * PAGE;
                bench.assert_refused(0, at, Reason::Unmapped, &format!("{what}, {scope:x?}"))?;
            }
            bench.live.stop()?;
        }
    }
    Ok(())
}

/// Would catch a page that can be written although that was taken away, or not although it was
/// given.
fn permissions_change(iommu: &dyn Iommu, _: &Rc<Vm>) -> Result<()> {
    let bench = Bench::new(iommu)?;
    bench.map(0, HERE, 1, Access::BOTH)?;
    bench.assert_reaches(0, HERE, 1, "reads and writes")?;
    for _ in 0..2 {
        for scope in [Scope::Pages(DOMAINS[0], HERE, 0), Scope::Domain(DOMAINS[0])] {
            bench.live.remap(DOMAINS[0], HERE, bench.at(1), Access::READ)?;
            bench.live.invalidate(scope)?;
            bench.assert_write_refused(0, HERE, Reason::Permission, "reads only")?;
            assert_eq!(bench.engines[0].read(HERE, 8)?, [FILL; 8], "reads only");
            bench.live.remap(DOMAINS[0], HERE, bench.at(1), Access::BOTH)?;
            bench.live.invalidate(scope)?;
            bench.assert_reaches(0, HERE, 1, "reads and writes again")?;
        }
    }
    Ok(())
}

/// Would catch domains that are mixed up: the same addresses lead to different memory.
fn domains(iommu: &dyn Iommu, _: &Rc<Vm>) -> Result<()> {
    let bench = Bench::new(iommu)?;
    bench.map(0, HERE, 1, Access::BOTH)?;
    bench.map(1, HERE, 2, Access::BOTH)?;
    bench.map(1, HERE + PAGE, 3, Access::BOTH)?;
    for _ in 0..3 {
        bench.assert_reaches(0, HERE, 1, "the first domain")?;
        bench.assert_reaches(1, HERE, 2, "the second domain")?;
        bench.assert_reaches(1, HERE + PAGE, 3, "the second domain")?;
        bench.assert_refused(0, HERE + PAGE, Reason::Unmapped, "the first domain")?;
    }
    Ok(())
}

/// Would catch a domain that only its first device is in.
fn shared_domain(iommu: &dyn Iommu, _: &Rc<Vm>) -> Result<()> {
    let mut bench = Bench::new(iommu)?;
    bench.map(0, HERE, 1, Access::BOTH)?;
    bench.assert_reaches(0, HERE, 1, "alone")?;
    bench.attach(1, DOMAINS[0])?;
    let second = bench.engines[1].engine().clone();
    bench.engines[1] = Copier::new(&second, &bench.windows[0], WINDOW);
    bench.map(0, HERE + PAGE, 2, Access::BOTH)?;
    for number in 0..2 {
        bench.assert_reaches(number, HERE, 1, "mapped before")?;
        bench.assert_reaches(number, HERE + PAGE, 2, "mapped after")?;
        bench.assert_refused(number, HERE + 2 * PAGE, Reason::Unmapped, "not mapped")?;
    }
    bench.live.unmap(DOMAINS[0], HERE, 12)?;
    bench.live.invalidate(Scope::Pages(DOMAINS[0], HERE, 0))?;
    for number in 0..2 {
        bench.assert_refused(number, HERE, Reason::Unmapped, "unmapped for both")?;
        bench.assert_reaches(number, HERE + PAGE, 2, "still mapped")?;
    }
    Ok(())
}

/// Would catch a device that goes on with the translations of the domain that it left.
fn move_to_domain(iommu: &dyn Iommu, _: &Rc<Vm>) -> Result<()> {
    let mut bench = Bench::new(iommu)?;
    bench.map(0, HERE, 1, Access::BOTH)?;
    bench.map(0, HERE + PAGE, 4, Access::BOTH)?;
    bench.map(1, HERE, 2, Access::BOTH)?;
    bench.assert_reaches(0, HERE, 1, "in its domain")?;
    bench.assert_reaches(0, HERE + PAGE, 4, "in its domain")?;
    bench.attach(0, DOMAINS[1])?;
    let first = bench.engines[0].engine().clone();
    bench.engines[0] = Copier::new(&first, &bench.windows[1], WINDOW);
    bench.assert_reaches(0, HERE, 2, "in the other's domain")?;
    bench.assert_refused(0, HERE + PAGE, Reason::Unmapped, "in the other's domain")?;
    bench.assert_reaches(1, HERE, 2, "the other")
}

/// Would catch a device that goes on after its domain was taken away.
fn detach(iommu: &dyn Iommu, _: &Rc<Vm>) -> Result<()> {
    let bench = Bench::new(iommu)?;
    bench.map(0, HERE, 1, Access::BOTH)?;
    bench.map(1, HERE, 2, Access::BOTH)?;
    bench.assert_reaches(0, HERE, 1, "with its domain")?;
    bench.live.detach(bench.requester(0))?;
    for at in [HERE, WINDOW, bench.at(3)] {
        bench.assert_refused(0, at, Reason::NoDomain, "without")?;
    }
    bench.assert_reaches(1, HERE, 2, "the other")
}

/// Would catch a device that is translated although it is to pass, or the other with it.
fn pass(iommu: &dyn Iommu, _: &Rc<Vm>) -> Result<()> {
    let bench = Bench::new(iommu)?;
    bench.map(0, HERE, 1, Access::BOTH)?;
    bench.map(1, HERE, 2, Access::BOTH)?;
    bench.assert_reaches(0, HERE, 1, "before")?;
    for _ in 0..2 {
        bench.live.pass(bench.requester(0))?;
        let window = &bench.windows[0];
        let passing = Copier::new(bench.engines[0].engine(), window, window.address().0);
        assert_identity(iommu, &passing, "a device that passes")?;
        bench.assert_reaches(1, HERE, 2, "the other")?;
        bench.assert_refused(1, bench.at(4), Reason::Unmapped, "the other")?;
        bench.live.detach(bench.requester(0))?;
        bench.assert_refused(0, bench.at(4), Reason::NoDomain, "after that")?;
    }
    Ok(())
}

/// Would catch translations that are lost or mixed up when there are more than a cache holds.
fn many_pages(iommu: &dyn Iommu, _: &Rc<Vm>) -> Result<()> {
    let bench = Bench::new(iommu)?;
    let place = |number: u64| HERE + number * 3 * PAGE;
    for number in 0..1500 {
        bench.map(0, place(number), number % PAGES, Access::BOTH)?;
    }
    let window = &bench.windows[0];
    let engine = bench.engines[0].engine();
    for round in 0..2 {
        for number in (0..1500).map(|number| number * 7 % 1500) {
            window.write(0, &[round + 1, number as u8, (number >> 8) as u8, 0x55])?;
            engine.load(WINDOW, 4)?;
            engine.store(place(number) + 4 * (number / PAGES), 4)?;
        }
        let mut pieces = Vec::new();
        for number in 0..1500_u64 {
            let data = [round + 1, number as u8, (number >> 8) as u8, 0x55];
            pieces.push((number % PAGES * PAGE + 4 * (number / PAGES), data));
        }
        let pieces: Vec<(u64, &[u8])> = pieces.iter().map(|(at, data)| (*at, &data[..])).collect();
        bench.assert_written(&pieces, &format!("round {round} of 1500 pages"))?;
    }
    bench.assert_no_fault("many pages")
}

/// Would catch an IOMMU that has had enough of faults: that lets them through, records no more of
/// them, or does not translate what is mapped.
fn many_faults(iommu: &dyn Iommu, _: &Rc<Vm>) -> Result<()> {
    let bench = Bench::new(iommu)?;
    bench.map(0, HERE, 1, Access::BOTH)?;
    let engine = bench.engines[0].engine();
    for number in 0..600 {
        engine.store(HERE + PAGE + number % 100 * PAGE, 4)?;
    }
    bench.assert_written(&[], "writes that are refused")?;
    let first = bench.live.fault()?;
    assert!(
        first.is_some_and(|it| it.page.is_none_or(|page| page > HERE)),
        "a record of the first ones"
    );
    bench.forget_faults()?;
    bench.assert_reaches(0, HERE, 1, "what is mapped")?;
    for page in 1..5 {
        bench.assert_refused(0, HERE + page * PAGE, Reason::Unmapped, "after many")?;
    }
    Ok(())
}

/// Would catch records that are of the wrong device when two of them fault in turn.
fn faults_of_two(iommu: &dyn Iommu, _: &Rc<Vm>) -> Result<()> {
    let bench = Bench::new(iommu)?;
    for page in 0..6 {
        for number in [1, 0] {
            let at = HERE + (2 * page + number as u64) * PAGE + 4 * page;
            bench.assert_refused(number, at, Reason::Unmapped, "in turn")?;
        }
    }
    Ok(())
}

/// Would catch an IOMMU that translates or blocks after it was turned off.
fn stop(iommu: &dyn Iommu, _: &Rc<Vm>) -> Result<()> {
    let bench = Bench::new(iommu)?;
    bench.map(0, HERE, 1, Access::BOTH)?;
    bench.assert_reaches(0, HERE, 1, "before")?;
    bench.live.stop()?;
    drop(bench);
    for engine in plain(iommu)? {
        assert_identity(iommu, &engine, "turned off")?;
    }
    Ok(())
}

/// Would catch translations of before that are there when the IOMMU is set up anew.
fn start_again(iommu: &dyn Iommu, _: &Rc<Vm>) -> Result<()> {
    for round in 0..3 {
        let bench = Bench::new(iommu)?;
        for page in 0..3 {
            let at = HERE + page * PAGE;
            bench.assert_refused(0, at, Reason::Unmapped, &format!("round {round}"))?;
        }
        bench.map(0, HERE, round, Access::BOTH)?;
        bench.map(0, HERE + PAGE, round + 5, Access::BOTH)?;
        bench.assert_reaches(0, HERE, round, "mapped")?;
        bench.assert_reaches(0, HERE + PAGE, round + 5, "mapped")?;
        bench.live.stop()?;
    }
    Ok(())
}

/// Would catch translations, tables or an order to translate that outlive a reset of the machine.
fn machine_reset(iommu: &dyn Iommu, vm: &Rc<Vm>) -> Result<()> {
    let bench = Bench::new(iommu)?;
    bench.map(0, HERE, 1, Access::BOTH)?;
    bench.assert_reaches(0, HERE, 1, "before the reset")?;
    bench.engines[1].engine().store(HERE, 4)?;
    drop(bench);
    qos::reset(vm)?;
    for engine in plain(iommu)? {
        assert_off(iommu, &engine, "after the reset")?;
    }
    Ok(())
}
