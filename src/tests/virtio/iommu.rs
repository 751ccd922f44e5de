//! The virtio IOMMU device: what requests do and which are refused, with no DMA behind it.

use std::rc::Rc;

use crate::qemu::Vm;
use crate::qos;
use crate::qos::registers::RegistersExt;
use crate::qos::virtio::iommu::{
    ATTACH_BYPASS, BYPASS, DOMAIN_END, DOMAIN_START, INPUT_END, INPUT_START, INVAL, Live, MMIO,
    NOENT, OK, PAGE_SIZE_MASK, PROBE_SIZE, RANGE, READ, Reserved, T_ATTACH, T_DETACH, VirtioIommu,
    WRITE, request,
};
use crate::{Result, attacks, tests};

tests!(VirtioIommu, "virtio-iommu-tests":
    config,
    config_writes = "config-writes",
    attach_detach,
    endpoint_numbers = "endpoint-numbers",
    attach_reserved = "attach-reserved",
    map_unmap,
    map_refused = "map-refused",
    map_unaligned = "map-unaligned",
    map_out_of_range = "map-out-of-range",
    map_inverted = "map-inverted",
    map_reserved = "map-reserved-region",
    partial_unmap = "partial-unmap",
    partial_unmap_of_several = "partial-unmap-of-several",
    bypass_domain = "bypass-domain",
    forgets = "forgets-at-reset",
);
attacks!(VirtioIommu, "virtio-iommu-attacks": map_unmap);

/// A domain.
pub(super) const DOMAIN: u32 = 7;

/// A live device, and the number of an endpoint that it has: itself.
pub(super) fn start(device: &VirtioIommu) -> Result<(Live, u32)> {
    Ok((device.start_whole()?, VirtioIommu::endpoint(device.at)))
}

/// Starts the device, and attaches the endpoint to [`DOMAIN`].
pub(super) fn start_attached(device: &VirtioIommu) -> Result<(Live, u32)> {
    let (live, endpoint) = start(device)?;
    assert_eq!(live.attach(DOMAIN, endpoint, 0)?, OK, "the endpoint is attached");
    Ok((live, endpoint))
}

/// The page size.
pub(super) fn page(device: &VirtioIommu) -> Result<u64> {
    let mask = device.field64(PAGE_SIZE_MASK)?;
    assert_ne!(mask, 0, "page_size_mask");
    Ok(mask & mask.wrapping_neg())
}

/// Asserts that exactly these ranges, in pages, are mapped in [`DOMAIN`]: on each page another
/// mapping is refused or not. What it maps it takes away again.
#[track_caller]
pub(super) fn assert_mapped(
    live: &Live,
    page: u64,
    mapped: &[(u64, u64)],
    what: &str,
) -> Result<()> {
    for number in 0..24 {
        let (start, end) = (number * page, number * page + page - 1);
        let is = mapped.iter().any(|&(first, last)| (first..=last).contains(&number));
        let status = live.map(DOMAIN, start, end, 0, READ)?;
        assert_eq!(status, if is { INVAL } else { OK }, "{what}: page {number} mapped once more");
        if !is {
            assert_eq!(live.unmap(DOMAIN, start, end)?, OK, "{what}: page {number} unmapped");
        }
    }
    Ok(())
}

/// Maps from page `first` to page `last`.
pub(super) fn map(live: &Live, page: u64, first: u64, last: u64) -> Result<u8> {
    live.map(DOMAIN, first * page, last * page + page - 1, 0x10_0000 + first * page, READ | WRITE)
}

/// Unmaps from page `first` to page `last`.
pub(super) fn unmap(live: &Live, page: u64, first: u64, last: u64) -> Result<u8> {
    live.unmap(DOMAIN, first * page, last * page + page - 1)
}

/// Would catch a page size that is none, ranges that are empty, another number of queues, and
/// fields in the wrong places (5.13.4).
fn config(device: &VirtioIommu, _: &Rc<Vm>) -> Result<()> {
    for _ in 0..2 {
        let (page, mask) = (page(device)?, device.field64(PAGE_SIZE_MASK)?);
        assert!([0x1000, 0x2000, 0x4000, 0x1_0000].contains(&page), "page_size_mask {mask:#x}");
        assert_eq!(mask, page.wrapping_neg(), "page_size_mask: all larger sizes");
        assert_eq!(device.field64(INPUT_START)?, 0, "the first address");
        let end = device.field64(INPUT_END)?;
        assert!(end >= 0xffff_ffff, "the last address: {end:#x}");
        assert!(end.wrapping_add(1) & end == 0, "the last address: {end:#x}");
        assert_eq!(device.field32(DOMAIN_START)?, 0, "the first domain");
        assert_eq!(device.field32(DOMAIN_END)?, u32::MAX, "the last domain");
        assert_eq!(device.field32(PROBE_SIZE)?, 512, "the size of properties");
        assert_eq!(device.field32(BYPASS)?, 1, "bypass, and what is reserved");
        assert_eq!(device.device.queue_count(), 2, "queues");
        device.device.reset()?;
    }
    Ok(())
}

/// Would catch fields that a driver can write, a value of `bypass` that is kept although it is
/// none, `bypass` changed by a reset of the device, or kept over one of the machine (5.13.4.2).
fn config_writes(device: &VirtioIommu, vm: &Rc<Vm>) -> Result<()> {
    let fields = || (0..9).map(|at| device.field32(4 * at)).collect::<Result<Vec<u32>>>();
    let before = fields()?;
    let live = device.start_whole()?;
    let config = device.device.transport().config();
    for at in 0..9 {
        device.device.set_config_le32(4 * at, 0x5a5a_a5a5)?;
    }
    assert_eq!(fields()?, before, "after they were written");
    for value in [0, 1, 0] {
        config.write8(BYPASS, value)?;
        assert_eq!(config.read8(BYPASS)?, value, "bypass");
    }
    drop(live);
    device.device.reset()?;
    assert_eq!(config.read8(BYPASS)?, 0, "bypass after a reset of the device");
    let live = device.start_whole()?;
    config.write8(BYPASS, 2)?;
    let bypass = config.read8(BYPASS)?;
    assert!(bypass < 2, "bypass is {bypass}");
    drop(live);
    qos::reset(vm)?;
    let found = crate::qos::pci::PciDevice::find(&device.bus, device.at)?;
    let again = crate::qos::virtio::VirtioPci::new(found, vm)?;
    assert_eq!(again.transport().config().read8(BYPASS)?, 1, "bypass after a reset of the machine");
    Ok(())
}

/// Would catch an endpoint that is there and not found, or the other way round, a domain that
/// does not begin with its first endpoint or end with its last, and an attachment that is kept
/// when the next one is made (5.13.6.3, 5.13.6.4).
fn attach_detach(device: &VirtioIommu, _: &Rc<Vm>) -> Result<()> {
    let page = page(device)?;
    let (live, endpoint) = start(device)?;
    assert_eq!(map(&live, page, 0, 0)?, NOENT, "a page mapped in no domain");
    assert_eq!(live.attach(DOMAIN, endpoint, 0)?, OK, "attached");
    assert_eq!(map(&live, page, 0, 0)?, OK, "a page mapped");
    for other in [endpoint ^ 0xff, 0xff00, 0x8000] {
        assert_eq!(live.attach(DOMAIN, other, 0)?, NOENT, "attaching {other:#x}");
        assert_eq!(live.detach(DOMAIN, other)?, NOENT, "detaching {other:#x}");
    }
    for flags in [2, 3, 1 << 31, u32::MAX] {
        let status = live.attach(DOMAIN, endpoint, flags)?;
        assert_eq!(status, INVAL, "attached with the flags {flags:#x}");
    }
    assert_eq!(live.detach(DOMAIN + 1, endpoint)?, INVAL, "detached from another domain");
    assert_mapped(&live, page, &[(0, 0)], "after requests that were refused")?;
    // The same domain again: as if it were detached first, which ends the domain.
    assert_eq!(live.attach(DOMAIN, endpoint, 0)?, OK, "attached once more");
    assert_mapped(&live, page, &[], "a domain that began anew")?;
    assert_eq!(map(&live, page, 1, 1)?, OK, "a page mapped");
    for domain in [0, u32::MAX, DOMAIN + 1] {
        assert_eq!(live.attach(domain, endpoint, 0)?, OK, "attached to domain {domain}");
        assert_eq!(map(&live, page, 2, 2)?, NOENT, "a page of a domain that ended");
        assert_eq!(live.detach(DOMAIN, endpoint)?, INVAL, "detached from that");
        assert_eq!(live.map(domain, 0, page - 1, 0, READ)?, OK, "a page of domain {domain}");
    }
    assert_eq!(live.detach(DOMAIN + 1, endpoint)?, OK, "detached");
    let again = live.detach(DOMAIN + 1, endpoint)?;
    assert!([NOENT, INVAL].contains(&again), "detached twice: status {again}");
    assert_eq!(live.unmap(DOMAIN + 1, 0, page - 1)?, NOENT, "a page of no domain");
    assert_eq!(live.attach(DOMAIN, endpoint, 0)?, OK, "attached again");
    assert_mapped(&live, page, &[], "a new domain of the same number")
}

/// Would catch an endpoint that is found by a number of which only the lower half is its own.
fn endpoint_numbers(device: &VirtioIommu, _: &Rc<Vm>) -> Result<()> {
    let size = device.field32(PROBE_SIZE)? as usize;
    let (live, endpoint) = start(device)?;
    for other in [0x1_0000 | endpoint, 0x100_0000 | endpoint, 1 << 31 | endpoint] {
        assert_eq!(live.detach(DOMAIN, other)?, NOENT, "detaching {other:#x}");
        assert_eq!(live.probe(other, size)?.1, NOENT, "PROBE of {other:#x}");
        assert_eq!(live.attach(DOMAIN, other, 0)?, NOENT, "attaching {other:#x}");
    }
    Ok(())
}

/// Would catch an attachment although what is reserved is not zero (5.13.6.3.2), and reserved
/// fields elsewhere that are looked at although they must not be.
fn attach_reserved(device: &VirtioIommu, _: &Rc<Vm>) -> Result<()> {
    let (live, endpoint) = start(device)?;
    assert_eq!(live.status(&request(T_DETACH, &[DOMAIN, endpoint, 1, !0]))?, NOENT, "DETACH");
    let mut bytes = request(T_ATTACH, &[DOMAIN, endpoint, 0, 0]);
    bytes[1..4].copy_from_slice(&[1, 2, 3]);
    assert_eq!(live.status(&bytes)?, OK, "ATTACH with a head that is not zero");
    assert_eq!(live.status(&request(T_DETACH, &[DOMAIN, endpoint, 1, !0]))?, OK, "DETACH");
    let status = live.status(&request(T_ATTACH, &[DOMAIN, endpoint, 0, 1]))?;
    assert_eq!(status, INVAL, "ATTACH with a reserved field that is not zero");
    Ok(())
}

/// Would catch any of the examples of 5.13.6.5 gone wrong, ranges compared wrong at their ends,
/// and mappings of one domain in another.
fn map_unmap(device: &VirtioIommu, _: &Rc<Vm>) -> Result<()> {
    let page = page(device)?;
    let (live, endpoint) = start_attached(device)?;
    type Ranges = &'static [(u64, u64)];
    // Mapped; unmapped; the status; what is left.
    let cases: [(Ranges, (u64, u64), u8, Ranges); 11] = [
        (&[], (0, 4), OK, &[]),
        (&[(0, 9)], (0, 9), OK, &[]),
        (&[(0, 4), (5, 9)], (0, 9), OK, &[]),
        (&[(0, 4), (5, 9)], (0, 4), OK, &[(5, 9)]),
        (&[(0, 4), (5, 9)], (5, 9), OK, &[(0, 4)]),
        (&[(0, 4)], (0, 9), OK, &[]),
        (&[(3, 4)], (0, 4), OK, &[]),
        (&[(0, 4), (10, 14)], (0, 14), OK, &[]),
        (&[(0, 4), (6, 6), (10, 14)], (5, 9), OK, &[(0, 4), (10, 14)]),
        (&[(2, 2), (4, 4)], (3, 3), OK, &[(2, 2), (4, 4)]),
        (
            &[(20, 20), (10, 10), (15, 15), (0, 0), (5, 5)],
            (10, 15),
            OK,
            &[(20, 20), (0, 0), (5, 5)],
        ),
    ];
    for (mapped, (first, last), status, left) in cases {
        let what = format!("{mapped:?} mapped, {first} to {last} unmapped");
        for &(first, last) in mapped {
            assert_eq!(map(&live, page, first, last)?, OK, "{what}: {first} to {last} mapped");
        }
        assert_mapped(&live, page, mapped, &format!("{what}, before that"))?;
        assert_eq!(unmap(&live, page, first, last)?, status, "{what}");
        assert_mapped(&live, page, left, &what)?;
        assert_eq!(live.unmap(DOMAIN, 0, u64::MAX)?, OK, "all unmapped");
        assert_mapped(&live, page, &[], "all unmapped")?;
    }
    assert_eq!(live.attach(DOMAIN, endpoint, 0)?, OK);
    assert_eq!(live.unmap(DOMAIN, 0, u64::MAX)?, OK, "all of nothing unmapped");
    for domain in [0, DOMAIN + 1, DOMAIN | 1 << 16, u32::MAX] {
        assert_eq!(live.map(domain, 0, page - 1, 0, READ)?, NOENT, "mapped in domain {domain}");
        assert_eq!(live.unmap(domain, 0, page - 1)?, NOENT, "unmapped in domain {domain}");
    }
    // The ends of all that there is.
    let end = device.field64(INPUT_END)?;
    let last = end - page + 1;
    assert_eq!(live.map(DOMAIN, last, end, 0, READ)?, OK, "the last page");
    assert_eq!(live.map(DOMAIN, last, end, 0, READ)?, INVAL, "the last page again");
    assert_eq!(live.map(DOMAIN, 0, last - 1, 0, READ)?, OK, "all the others at once");
    assert_eq!(live.map(DOMAIN, 0, end, 0, READ)?, INVAL, "all together");
    assert_eq!(live.unmap(DOMAIN, last, end)?, OK, "the last page");
    assert_eq!(live.unmap(DOMAIN, 0, last - 1)?, OK, "all the others");
    assert_eq!(live.map(DOMAIN, 0, end, 0, READ)?, OK, "all together");
    assert_eq!(live.unmap(DOMAIN, 0, end)?, OK, "all together");
    Ok(())
}

/// Would catch a mapping over another, whatever part of it, one with flags that there are not, and
/// a refusal that leaves anything behind.
fn map_refused(device: &VirtioIommu, _: &Rc<Vm>) -> Result<()> {
    let page = page(device)?;
    let (live, _) = start_attached(device)?;
    assert_eq!(map(&live, page, 8, 11)?, OK, "a mapping");
    for (first, last) in [(8, 11), (8, 8), (11, 11), (9, 10), (7, 8), (11, 12), (0, 20), (0, 11)] {
        assert_eq!(map(&live, page, first, last)?, INVAL, "{first} to {last} over 8 to 11");
        assert_mapped(&live, page, &[(8, 11)], "after another was refused")?;
    }
    for flags in [8, 8 | READ, 1 << 31, u32::MAX] {
        let status = live.map(DOMAIN, 0, page - 1, 0, flags)?;
        assert_eq!(status, INVAL, "mapped with the flags {flags:#x}");
    }
    for flags in [READ, WRITE, READ | WRITE, READ | MMIO, READ | WRITE | MMIO] {
        assert_eq!(live.map(DOMAIN, 0, page - 1, 0, flags)?, OK, "the flags {flags:#x}");
        assert_eq!(live.unmap(DOMAIN, 0, page - 1)?, OK, "the flags {flags:#x}");
    }
    assert_mapped(&live, page, &[(8, 11)], "in the end")
}

/// Would catch a mapping that does not begin and end with pages (5.13.6.5.2).
fn map_unaligned(device: &VirtioIommu, _: &Rc<Vm>) -> Result<()> {
    let page = page(device)?;
    let (live, _) = start_attached(device)?;
    for (start, end, to) in [
        (1, page - 1, 0),
        (0, page - 2, 0),
        (0, page, 0),
        (0, page - 1, 1),
        (page / 2, page - 1, 0),
        (0, page - 1, page / 2),
    ] {
        let status = live.map(DOMAIN, start, end, to, READ)?;
        assert_eq!(status, RANGE, "{start:#x} to {end:#x} mapped to {to:#x}");
        assert_mapped(&live, page, &[], "after that")?;
    }
    Ok(())
}

/// Would catch a mapping of addresses that the device says it does not translate (5.13.6).
fn map_out_of_range(device: &VirtioIommu, _: &Rc<Vm>) -> Result<()> {
    let page = page(device)?;
    let end = device.field64(INPUT_END)?;
    if end == u64::MAX {
        return Err(crate::Error::skipped("the device translates all addresses"));
    }
    let (live, _) = start_attached(device)?;
    for (start, end) in [(end + 1, end + page), (end - page + 1, end + page), (0, u64::MAX)] {
        let status = live.map(DOMAIN, start, end, 0, READ)?;
        assert_ne!(status, OK, "{start:#x} to {end:#x} mapped");
        assert_mapped(&live, page, &[], "after that")?;
    }
    Ok(())
}

/// Would catch a range that ends before it begins (5.13.6.5.1) and is mapped, or that has
/// mappings taken away or lost when there are others.
fn map_inverted(device: &VirtioIommu, _: &Rc<Vm>) -> Result<()> {
    let page = page(device)?;
    let (live, _) = start_attached(device)?;
    let others = [(2, 2), (4, 6), (9, 9)];
    for (first, last) in others {
        assert_eq!(map(&live, page, first, last)?, OK, "{first} to {last}");
    }
    for (start, end) in [
        (8 * page, 7 * page - 1),
        (20 * page, page - 1),
        (page, 0),
        (u64::MAX - page + 1, page - 1),
    ] {
        let status = live.map(DOMAIN, start, end, 0, READ)?;
        assert_ne!(status, OK, "{start:#x} to {end:#x} mapped");
        assert_mapped(&live, page, &others, "after that")?;
    }
    let status = live.unmap(DOMAIN, 9 * page, 5 * page - 1)?;
    assert!([OK, INVAL, RANGE].contains(&status), "an inverted range unmapped: {status}");
    assert_mapped(&live, page, &others, "after an inverted range was unmapped")
}

/// Would catch a mapping over a range that the device itself says is reserved (5.13.6.7.1.2).
fn map_reserved(device: &VirtioIommu, _: &Rc<Vm>) -> Result<()> {
    let size = device.field32(PROBE_SIZE)? as usize;
    let (live, endpoint) = start_attached(device)?;
    let reserved = live.reserved(endpoint, size)?;
    if reserved.is_empty() {
        return Err(crate::Error::skipped("no range is reserved"));
    }
    let page = page(device)?;
    for Reserved { start, end, .. } in reserved {
        for (start, end) in [(start, start + page - 1), (end - page + 1, end), (start - page, end)]
        {
            let status = live.map(DOMAIN, start, end, 0, READ)?;
            assert_ne!(status, OK, "{start:#x} to {end:#x} mapped");
        }
    }
    Ok(())
}

/// Would catch a part of a mapping that is taken away, or one that is lost when that is refused.
fn partial_unmap(device: &VirtioIommu, _: &Rc<Vm>) -> Result<()> {
    let page = page(device)?;
    let (live, _) = start_attached(device)?;
    assert_eq!(map(&live, page, 4, 9)?, OK, "a mapping");
    for (first, last) in [(4, 4), (9, 9), (6, 7), (4, 8), (5, 9), (0, 4), (9, 20), (0, 8), (5, 20)]
    {
        let what = format!("4 to 9 mapped, {first} to {last} unmapped");
        assert_eq!(unmap(&live, page, first, last)?, RANGE, "{what}");
        assert_mapped(&live, page, &[(4, 9)], &what)?;
    }
    assert_eq!(live.unmap(DOMAIN, 4 * page, 10 * page - 2)?, RANGE, "all but the last byte");
    assert_mapped(&live, page, &[(4, 9)], "all but the last byte unmapped")?;
    assert_eq!(unmap(&live, page, 3, 10)?, OK, "more than the mapping unmapped");
    assert_mapped(&live, page, &[], "in the end")
}

/// Would catch whole mappings that are taken away when another of the range would be split: none
/// may be (5.13.6.6.2).
fn partial_unmap_of_several(device: &VirtioIommu, _: &Rc<Vm>) -> Result<()> {
    let page = page(device)?;
    let (live, _) = start_attached(device)?;
    let mapped = [(0, 2), (4, 6), (8, 8), (10, 12)];
    for (first, last) in mapped {
        assert_eq!(map(&live, page, first, last)?, OK, "{first} to {last}");
    }
    for (first, last) in [(0, 5), (5, 12), (1, 12), (0, 11), (2, 10)] {
        let what = format!("{mapped:?} mapped, {first} to {last} unmapped");
        assert_eq!(unmap(&live, page, first, last)?, RANGE, "{what}");
        assert_mapped(&live, page, &mapped, &what)?;
    }
    Ok(())
}

/// Would catch a domain that is of bypass and is not, or the other way round, whichever endpoint
/// comes, and mappings in one of bypass (5.13.6.3.2, 5.13.6.5.2).
fn bypass_domain(device: &VirtioIommu, _: &Rc<Vm>) -> Result<()> {
    let page = page(device)?;
    let (live, endpoint) = start(device)?;
    assert_eq!(live.attach(DOMAIN, endpoint, ATTACH_BYPASS)?, OK, "attached to bypass");
    assert_eq!(map(&live, page, 0, 0)?, INVAL, "mapped in a domain of bypass");
    assert_eq!(unmap(&live, page, 0, 0)?, INVAL, "unmapped in a domain of bypass");
    // Its only endpoint makes the domain anew.
    assert_eq!(live.attach(DOMAIN, endpoint, 0)?, OK, "attached without bypass");
    assert_eq!(map(&live, page, 0, 0)?, OK, "mapped");
    assert_eq!(live.attach(DOMAIN, endpoint, ATTACH_BYPASS)?, OK, "attached to bypass");
    assert_eq!(map(&live, page, 1, 1)?, INVAL, "mapped in a domain of bypass");
    assert_eq!(live.detach(DOMAIN, endpoint)?, OK, "detached from it");
    assert_eq!(map(&live, page, 0, 0)?, NOENT, "mapped in none");
    Ok(())
}

/// Would catch domains, mappings or attachments that outlive a reset of the device (5.13.5).
fn forgets(device: &VirtioIommu, _: &Rc<Vm>) -> Result<()> {
    let page = page(device)?;
    for round in 0..3 {
        let (live, endpoint) = start(device)?;
        let status = map(&live, page, 0, 0)?;
        assert_eq!(status, NOENT, "round {round}: mapped in a domain of before");
        let status = live.detach(DOMAIN, endpoint)?;
        assert!([NOENT, INVAL].contains(&status), "an attachment of before: {status}");
        assert_eq!(live.attach(DOMAIN, endpoint, 0)?, OK, "attached");
        assert_mapped(&live, page, &[], "what was mapped before")?;
        assert_eq!(map(&live, page, 0, 10)?, OK, "mapped");
        drop(live);
        let (live, endpoint) = start(device)?;
        assert_eq!(live.attach(DOMAIN, endpoint, ATTACH_BYPASS)?, OK, "attached to bypass");
        drop(live);
    }
    Ok(())
}
