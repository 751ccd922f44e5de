//! The virtio IOMMU device with devices behind it whose DMA it translates: what reaches memory,
//! what does not, and what is reported.

use std::rc::Rc;

use crate::graph::QemuArgs;
use crate::qemu::{Buffer, Vm};
use crate::qos;
use crate::qos::iommu::{Copier, Engine, NO_ENGINES, TWO_ENGINES};
use crate::qos::pci::PciDevice;
use crate::qos::registers::RegistersExt;
use crate::qos::virtio::VirtioPci;
use crate::qos::virtio::iommu::{
    ATTACH_BYPASS, BYPASS, FAULT_ADDRESS, FAULT_READ, FAULT_WRITE, INPUT_END, Live, MMIO, OK,
    PAGE_SIZE_MASK, R_DOMAIN, R_MAPPING, R_UNKNOWN, READ, Report, VirtioIommu, WRITE,
};
use crate::{Error, Result, tests};

tests!(VirtioIommu, "virtio-iommu-dma-tests":
    bypass,
    bypass_config = "bypass-config",
    translation,
    permissions,
    unmapped,
    no_domain = "no-domain",
    unmap,
    attach_elsewhere = "attach-elsewhere",
    detach,
    domains,
    shared_domain = "shared-domain",
    bypass_domain = "bypass-domain",
    ranges,
    whole_range = "whole-range",
    no_room_for_reports = "no-room-for-reports",
    small_room_for_reports = "small-room-for-reports",
    own_registers = "own-registers",
    reset_of_device = "reset-of-device",
    reset_of_machine = "reset-of-machine";
    with QemuArgs::NONE.after(TWO_ENGINES).may_refuse(&[NO_ENGINES])
);

/// The size of a page: QEMU's smallest one.
const PAGE: u64 = 0x1000;
/// Where each engine reaches the memory through which tests see its data.
const WINDOW: u64 = 0x7000_0000;
/// Where tests map what they look at.
const HERE: u64 = 0x4000_0000;
/// What memory is filled with.
const FILL: u8 = 0xa5;

/// Two engines, each in a domain of its own, in which its window is mapped.
struct Setup {
    live: Live,
    engines: [Copier; 2],
    /// Memory of 16 pages that tests map.
    memory: Buffer,
    windows: [Rc<Buffer>; 2],
}

/// The endpoint of an engine.
fn endpoint(engine: &Copier) -> u32 {
    engine.engine().requester().into()
}

impl Setup {
    /// With all domains there.
    fn new(device: &VirtioIommu, vm: &Rc<Vm>) -> Result<Self> {
        let setup = Self::unattached(device, vm, WINDOW)?;
        for number in 0..2 {
            setup.attach(number, number as u32 + 1)?;
        }
        setup.live.take_reports(8)?;
        Ok(setup)
    }

    /// With no domain, and windows where the memory is if `at` is 0.
    fn unattached(device: &VirtioIommu, vm: &Rc<Vm>, at: u64) -> Result<Self> {
        if device.field64(PAGE_SIZE_MASK)? & PAGE == 0 {
            return Err(Error::skipped("the device has no pages of 4 KiB"));
        }
        let live = device.start_whole()?;
        let window = || vm.ram().alloc(PAGE as usize, PAGE).map(Rc::new);
        let windows = [window()?, window()?];
        let at = |window: &Rc<Buffer>| if at == 0 { window.address().0 } else { at };
        let [first, second] = Engine::two(vm, &device.bus)?;
        let engines = [
            Copier::new(&first, &windows[0], at(&windows[0])),
            Copier::new(&second, &windows[1], at(&windows[1])),
        ];
        let memory = vm.ram().alloc(16 * PAGE as usize, PAGE)?;
        memory.write(0, &[FILL; 16 * PAGE as usize])?;
        Ok(Self { live, engines, memory, windows })
    }

    /// Attaches engine `number` to a domain in which its window is mapped.
    fn attach(&self, number: usize, domain: u32) -> Result<()> {
        let it = endpoint(&self.engines[number]);
        assert_eq!(self.live.attach(domain, it, 0)?, OK, "engine {number} attached");
        let to = self.windows[number].address().0;
        let status = self.live.map(domain, WINDOW, WINDOW + PAGE - 1, to, READ | WRITE)?;
        assert_eq!(status, OK, "the window of engine {number}");
        Ok(())
    }

    /// Where page `page` of the memory is.
    fn at(&self, page: u64) -> u64 {
        self.memory.address().0 + page * PAGE
    }

    /// Maps `count` pages at `start` in `domain` to page `page` of the memory and those behind.
    fn map(&self, domain: u32, start: u64, page: u64, count: u64, flags: u32) -> Result<()> {
        let status =
            self.live.map(domain, start, start + (count * PAGE - 1), self.at(page), flags)?;
        assert_eq!(status, OK, "{count} pages at {start:#x} mapped");
        Ok(())
    }

    /// Asserts that of the memory exactly these pieces were written, at their offsets, and fills
    /// it anew.
    #[track_caller]
    fn assert_written(&self, pieces: &[(u64, &[u8])], what: &str) -> Result<()> {
        let mut expected = vec![FILL; self.memory.len()];
        for &(at, data) in pieces {
            expected[at as usize..at as usize + data.len()].copy_from_slice(data);
        }
        let found = self.memory.to_vec()?;
        let differs = found.iter().zip(&expected).position(|(is, expected)| is != expected);
        assert_eq!(differs, None, "{what}: the first byte of memory that is not as expected");
        self.memory.write(0, &vec![FILL; expected.len()])
    }

    /// Asserts that the accesses since the last call were reported as these: reason, flags, engine
    /// and address. Faults of pages are reported for each access that is refused.
    #[track_caller]
    fn assert_reported(&self, expected: &[(u8, u32, usize, u64)], what: &str) -> Result<()> {
        qos::settle(self.engines[0].engine().vm())?;
        let mut found = Vec::new();
        while let Some(report) = self.live.report()? {
            found.push(report);
        }
        let expected: Vec<Report> = expected
            .iter()
            .map(|&(reason, flags, engine, address)| {
                let endpoint = endpoint(&self.engines[engine]);
                Report { reason, flags: flags | FAULT_ADDRESS, endpoint, address }
            })
            .collect();
        assert_eq!(found, expected, "{what}: reports");
        self.live.take_reports(found.len())
    }

    /// Asserts that engine `number` reads and writes page `page` of the memory at `address`.
    #[track_caller]
    fn assert_reaches(&self, number: usize, address: u64, page: u64, what: &str) -> Result<()> {
        let data: Vec<u8> = (0..64).map(|at| at ^ number as u8 ^ page as u8).collect();
        self.engines[number].write(address + 32, &data)?;
        let read = self.engines[number].read(address + 32, data.len())?;
        assert_eq!(read, data, "{what}: read at {address:#x}");
        self.assert_written(&[(page * PAGE + 32, &data)], what)?;
        self.assert_reported(&[], what)
    }

    /// Asserts that engine `number` does neither at `address`, for this reason.
    #[track_caller]
    fn assert_refused(&self, number: usize, address: u64, reason: u8, what: &str) -> Result<()> {
        self.engines[number].write(address, &[0x77; 4])?;
        self.assert_written(&[], what)?;
        self.assert_reported(&[(reason, 0, number, address)], &format!("{what}: a write"))?;
        let read = self.engines[number].read(address, 4)?;
        assert_ne!(read, [FILL; 4], "{what}: read at {address:#x}");
        self.assert_reported(&[(reason, 0, number, address)], &format!("{what}: a read"))
    }
}

/// Would catch devices that are translated or held back although nobody has asked for that.
fn bypass(device: &VirtioIommu, vm: &Rc<Vm>) -> Result<()> {
    let setup = Setup::unattached(device, vm, 0)?;
    for number in 0..2 {
        setup.assert_reaches(number, setup.at(3), 3, "before anything is attached")?;
    }
    Ok(())
}

/// Would catch a field `bypass` without effect, with one on endpoints that have a domain, or one
/// that lasts only until the device is reset.
fn bypass_config(device: &VirtioIommu, vm: &Rc<Vm>) -> Result<()> {
    let setup = Setup::unattached(device, vm, WINDOW)?;
    setup.attach(0, 1)?;
    setup.map(1, HERE, 2, 1, READ | WRITE)?;
    setup.live.take_reports(8)?;
    let config = device.device.transport().config();
    for round in 0..3 {
        config.write8(BYPASS, 0)?;
        setup.engines[1].engine().store(setup.at(3), 4)?;
        setup.assert_written(&[], "no bypass")?;
        let (reason, address) = (R_UNKNOWN, setup.at(3));
        setup.assert_reported(&[(reason, 0, 1, address)], &format!("round {round}"))?;
        setup.assert_reaches(0, HERE, 2, "an endpoint with a domain, no bypass")?;
        config.write8(BYPASS, 1)?;
        setup.windows[1].write(0, &[0x99; 8])?;
        setup.engines[1].engine().load(setup.windows[1].address().0, 8)?;
        setup.engines[1].engine().store(setup.at(3), 8)?;
        setup.assert_written(&[(3 * PAGE, &[0x99; 8])], "bypass")?;
        setup.assert_reaches(0, HERE, 2, "an endpoint with a domain, bypass")?;
    }
    Ok(())
}

/// Would catch an address that is translated to another, data cut off or moved at the end of a
/// page, and pages that follow each other in memory instead of as they are mapped.
fn translation(device: &VirtioIommu, vm: &Rc<Vm>) -> Result<()> {
    let setup = Setup::new(device, vm)?;
    let data: Vec<u8> = (0..4095_u32).map(|at| (at * 7 + at / 256) as u8).collect();
    // Pages in another order than in memory.
    let order = [5, 0, 7, 2];
    for (number, &page) in order.iter().enumerate() {
        setup.map(1, HERE + number as u64 * PAGE, page, 1, READ | WRITE)?;
    }
    for (offset, length) in
        [(0, 4), (1, 1), (3, 5), (0xffc, 4), (0xffe, 4), (0x800, 4095), (0x1fff, 2), (0x1001, 4094)]
    {
        let what = format!("{length} bytes at {offset:#x}");
        let data = &data[..length];
        setup.engines[0].write(HERE + offset, data)?;
        assert_eq!(setup.engines[0].read(HERE + offset, length)?, data, "{what}");
        let mut pieces = Vec::new();
        let mut rest = data;
        let mut from = offset;
        while !rest.is_empty() {
            let room = (PAGE - from % PAGE) as usize;
            let (piece, after) = rest.split_at(room.min(rest.len()));
            pieces.push((order[(from / PAGE) as usize] * PAGE + from % PAGE, piece));
            (rest, from) = (after, from + piece.len() as u64);
        }
        setup.assert_written(&pieces, &what)?;
    }
    setup.assert_reported(&[], "what is mapped")
}

/// Would catch a write that is let through although only reads are, or the other way round, and
/// a report that does not tell which of them it was.
fn permissions(device: &VirtioIommu, vm: &Rc<Vm>) -> Result<()> {
    let setup = Setup::new(device, vm)?;
    let flags = [READ, WRITE, READ | WRITE, 0, READ | MMIO, WRITE | MMIO];
    for (number, flags) in flags.into_iter().enumerate() {
        let at = HERE + number as u64 * PAGE;
        setup.map(1, at, number as u64, 1, flags)?;
        let (what, engine) = (format!("flags {flags:#x}"), &setup.engines[0]);
        engine.write(at + 8, &[0x42; 4])?;
        if flags & WRITE != 0 {
            setup.assert_written(&[(number as u64 * PAGE + 8, &[0x42; 4])], &what)?;
            setup.assert_reported(&[], &what)?;
        } else {
            setup.assert_written(&[], &what)?;
            setup.assert_reported(&[(R_MAPPING, FAULT_WRITE, 0, at + 8)], &what)?;
        }
        let read = engine.read(at + 16, 4)?;
        if flags & READ != 0 {
            assert_eq!(read, [FILL; 4], "{what}: read");
            setup.assert_reported(&[], &what)?;
        } else {
            assert_ne!(read, [FILL; 4], "{what}: read");
            setup.assert_reported(&[(R_MAPPING, FAULT_READ, 0, at + 16)], &what)?;
        }
    }
    // Neighbours of different kinds in one access.
    setup.engines[0].write(HERE + PAGE - 4, &[0x43; 8])?;
    setup.assert_written(&[(PAGE, &[0x43; 4])], "a write from a page to the next")?;
    setup.assert_reported(&[(R_MAPPING, FAULT_WRITE, 0, HERE + PAGE - 4)], "that write")
}

/// Would catch an address that is let through although it is not mapped, on either side of one
/// that is, and a report of another address, endpoint or reason.
fn unmapped(device: &VirtioIommu, vm: &Rc<Vm>) -> Result<()> {
    let setup = Setup::new(device, vm)?;
    setup.map(1, HERE, 0, 2, READ | WRITE)?;
    for address in [
        HERE - 4,
        HERE + 2 * PAGE,
        0,
        setup.at(0),
        HERE | 1 << 32,
        HERE | 1 << 40,
        HERE + (1 << 30),
    ] {
        setup.assert_refused(0, address, R_MAPPING, "not mapped")?;
    }
    setup.assert_refused(1, HERE, R_MAPPING, "not mapped in the other domain")?;
    setup.assert_reaches(0, HERE + PAGE, 1, "what is mapped")
}

/// Would catch an endpoint without a domain that is let through although nobody allows that.
fn no_domain(device: &VirtioIommu, vm: &Rc<Vm>) -> Result<()> {
    let setup = Setup::new(device, vm)?;
    device.device.transport().config().write8(BYPASS, 0)?;
    setup.map(1, HERE, 0, 1, READ | WRITE)?;
    setup.engines[0].write(HERE, &[0x31; 4])?;
    setup.assert_written(&[(0, &[0x31; 4])], "attached")?;
    assert_eq!(setup.live.detach(1, endpoint(&setup.engines[0]))?, OK, "detached");
    for address in [HERE, setup.at(2), 0] {
        setup.engines[0].engine().store(address, 4)?;
        setup.assert_written(&[], "detached")?;
        let report = setup.take_report()?;
        let reasons = [R_DOMAIN, R_UNKNOWN];
        assert!(reasons.contains(&report.reason), "no domain, at {address:#x}: {report:x?}");
        assert_eq!((report.address, report.endpoint), (address, endpoint(&setup.engines[0])));
    }
    setup.assert_refused(1, HERE, R_MAPPING, "the other endpoint")?;
    setup.attach(0, 1)?;
    setup.map(1, HERE, 4, 1, READ | WRITE)?;
    setup.assert_reaches(0, HERE, 4, "attached again")
}

impl Setup {
    /// The one report that there is.
    #[track_caller]
    fn take_report(&self) -> Result<Report> {
        qos::settle(self.engines[0].engine().vm())?;
        let report = self.live.report()?.ok_or_else(|| Error::failed("no report has come"))?;
        self.live.take_reports(1)?;
        self.assert_reported(&[], "one report")?;
        Ok(report)
    }
}

/// Would catch a mapping that goes on after it was taken away, one taken away with it, and one to
/// another page that leads to the page of before.
fn unmap(device: &VirtioIommu, vm: &Rc<Vm>) -> Result<()> {
    let setup = Setup::new(device, vm)?;
    for page in 0..4 {
        setup.map(1, HERE + page * PAGE, page, 1, READ | WRITE)?;
    }
    setup.map(2, HERE + PAGE, 9, 1, READ | WRITE)?;
    setup.assert_reaches(0, HERE + PAGE, 1, "mapped")?;
    assert_eq!(setup.live.unmap(1, HERE + PAGE, HERE + 2 * PAGE - 1)?, OK, "unmapped");
    setup.assert_refused(0, HERE + PAGE, R_MAPPING, "unmapped")?;
    setup.assert_refused(0, HERE + 2 * PAGE - 4, R_MAPPING, "unmapped")?;
    for page in [0, 2, 3] {
        setup.assert_reaches(0, HERE + page * PAGE, page, "a neighbour of what was unmapped")?;
    }
    setup.assert_reaches(1, HERE + PAGE, 9, "the other domain")?;
    setup.map(1, HERE + PAGE, 12, 1, READ)?;
    setup.engines[0].write(HERE + PAGE, &[0x66; 4])?;
    setup.assert_written(&[], "mapped again, to be read")?;
    setup.assert_reported(&[(R_MAPPING, FAULT_WRITE, 0, HERE + PAGE)], "to be read")?;
    assert_eq!(setup.live.unmap(1, HERE, HERE + 4 * PAGE - 1)?, OK, "all unmapped");
    setup.map(1, HERE + PAGE, 13, 1, READ | WRITE)?;
    setup.assert_reaches(0, HERE + PAGE, 13, "mapped to another page")?;
    setup.assert_refused(0, HERE, R_MAPPING, "unmapped")
}

/// Would catch an endpoint that keeps what was mapped in the domain that it left.
fn attach_elsewhere(device: &VirtioIommu, vm: &Rc<Vm>) -> Result<()> {
    let mut setup = Setup::new(device, vm)?;
    setup.map(1, HERE, 1, 1, READ | WRITE)?;
    setup.map(2, HERE, 2, 1, READ | WRITE)?;
    setup.assert_reaches(0, HERE, 1, "in its domain")?;
    let engine = setup.engines[0].engine().clone();
    for (domain, window, page) in [(2, 1, 2), (3, 0, 3), (2, 1, 2)] {
        let what = format!("attached to domain {domain}");
        assert_eq!(setup.live.attach(domain, engine.requester().into(), 0)?, OK, "{what}");
        setup.engines[0] = Copier::new(&engine, &setup.windows[window], WINDOW);
        if domain == 3 {
            let to = setup.windows[window].address().0;
            let status = setup.live.map(3, WINDOW, WINDOW + PAGE - 1, to, READ | WRITE)?;
            assert_eq!(status, OK, "its window");
            setup.assert_refused(0, HERE, R_MAPPING, "nothing is mapped in the new domain")?;
            setup.map(3, HERE, page, 1, READ | WRITE)?;
        }
        setup.assert_reaches(0, HERE, page, &what)?;
        setup.assert_reaches(1, HERE, 2, "the endpoint that was there")?;
    }
    Ok(())
}

/// Would catch an endpoint that is translated on after it was detached, or whose detachment takes
/// the other with it.
fn detach(device: &VirtioIommu, vm: &Rc<Vm>) -> Result<()> {
    let setup = Setup::new(device, vm)?;
    setup.map(1, HERE, 1, 1, READ | WRITE)?;
    setup.map(2, HERE, 2, 1, READ | WRITE)?;
    setup.assert_reaches(0, HERE, 1, "attached")?;
    assert_eq!(setup.live.detach(1, endpoint(&setup.engines[0]))?, OK, "detached");
    let (engine, window) = (setup.engines[0].engine(), &setup.windows[0]);
    window.write(0, &[0x5c; 8])?;
    engine.load(window.address().0, 8)?;
    engine.store(setup.at(6), 8)?;
    setup.assert_written(&[(6 * PAGE, &[0x5c; 8])], "detached, so in bypass")?;
    setup.assert_reaches(1, HERE, 2, "the other")?;
    setup.assert_reported(&[], "in bypass")
}

/// Would catch domains that share mappings.
fn domains(device: &VirtioIommu, vm: &Rc<Vm>) -> Result<()> {
    let setup = Setup::new(device, vm)?;
    setup.map(1, HERE, 1, 1, READ | WRITE)?;
    setup.map(2, HERE, 2, 1, READ | WRITE)?;
    setup.map(2, HERE + PAGE, 3, 1, READ | WRITE)?;
    for _ in 0..2 {
        setup.assert_reaches(0, HERE, 1, "the first domain")?;
        setup.assert_reaches(1, HERE, 2, "the second domain")?;
        setup.assert_reaches(1, HERE + PAGE, 3, "the second domain")?;
        setup.assert_refused(0, HERE + PAGE, R_MAPPING, "the first domain")?;
    }
    assert_eq!(setup.live.unmap(2, 0, WINDOW - 1)?, OK, "unmapped in the second");
    setup.assert_refused(1, HERE, R_MAPPING, "unmapped in the second domain")?;
    setup.assert_reaches(0, HERE, 1, "the first domain")
}

/// Would catch a mapping that only some of a domain's endpoints have, and a domain that ends with
/// the first endpoint that leaves it.
fn shared_domain(device: &VirtioIommu, vm: &Rc<Vm>) -> Result<()> {
    let setup = Setup::new(device, vm)?;
    let second = &setup.engines[1];
    setup.map(1, HERE, 1, 1, READ | WRITE)?;
    assert_eq!(setup.live.attach(1, endpoint(second), 0)?, OK, "both in one domain");
    // Both see the window of the first.
    let window = &setup.windows[0];
    let both = [setup.engines[0].clone(), Copier::new(second.engine(), window, WINDOW)];
    let setup = Setup { engines: both, ..setup };
    setup.map(1, HERE + PAGE, 2, 1, READ | WRITE)?;
    for number in 0..2 {
        setup.assert_reaches(number, HERE, 1, "mapped before")?;
        setup.assert_reaches(number, HERE + PAGE, 2, "mapped after")?;
        setup.assert_refused(number, HERE + 2 * PAGE, R_MAPPING, "not mapped")?;
    }
    assert_eq!(setup.live.detach(1, endpoint(&setup.engines[0]))?, OK, "the first leaves");
    setup.assert_reaches(1, HERE, 1, "the second stays")?;
    assert_eq!(setup.live.unmap(1, HERE, HERE + PAGE - 1)?, OK, "unmapped");
    setup.assert_refused(1, HERE, R_MAPPING, "unmapped")
}

/// Would catch a domain of bypass that is translated, or whose endpoints are held back where
/// those without a domain are.
fn bypass_domain(device: &VirtioIommu, vm: &Rc<Vm>) -> Result<()> {
    let setup = Setup::unattached(device, vm, 0)?;
    setup.live.take_reports(4)?;
    let config = device.device.transport().config();
    for bypass in [1, 0] {
        config.write8(BYPASS, bypass)?;
        for number in 0..2 {
            let it = endpoint(&setup.engines[number]);
            assert_eq!(setup.live.attach(9, it, ATTACH_BYPASS)?, OK, "attached to bypass");
            setup.assert_reaches(number, setup.at(3), 3, "a domain of bypass")?;
        }
    }
    assert_eq!(setup.live.detach(9, endpoint(&setup.engines[0]))?, OK, "detached");
    setup.engines[0].engine().store(setup.at(3), 4)?;
    setup.assert_written(&[], "detached, without bypass")?;
    setup.take_report()?;
    setup.assert_reaches(1, setup.at(4), 4, "the one that is still there")
}

/// Would catch ranges of many pages that are translated by their first one, wherever in all
/// addresses they are.
fn ranges(device: &VirtioIommu, vm: &Rc<Vm>) -> Result<()> {
    let setup = Setup::new(device, vm)?;
    let end = device.field64(INPUT_END)?;
    for start in [0, PAGE, 0xffff_8000, 0x1_0000_0000, (1 << 38) - 8 * PAGE, end - (16 * PAGE - 1)]
    {
        setup.map(1, start, 0, 16, READ | WRITE)?;
        for page in [0, 7, 8, 15] {
            setup.assert_reaches(
                0,
                start + page * PAGE,
                page,
                &format!("a range at {start:#x}"),
            )?;
        }
        setup.engines[0].write(start + (16 * PAGE - 4), &[0x1d; 4])?;
        setup.assert_written(&[(16 * PAGE - 4, &[0x1d; 4])], "the last bytes")?;
        assert_eq!(setup.live.unmap(1, start, start + (16 * PAGE - 1))?, OK, "unmapped");
        setup.assert_refused(0, start + 8 * PAGE, R_MAPPING, "unmapped")?;
    }
    Ok(())
}

/// Would catch a mapping of all addresses that reaches nothing, or does not end.
fn whole_range(device: &VirtioIommu, vm: &Rc<Vm>) -> Result<()> {
    let setup = Setup::unattached(device, vm, 0)?;
    let end = device.field64(INPUT_END)?;
    for number in 0..2 {
        let domain = number as u32 + 1;
        let it = endpoint(&setup.engines[number]);
        assert_eq!(setup.live.attach(domain, it, 0)?, OK, "attached");
        assert_eq!(setup.live.map(domain, 0, end, 0, READ | WRITE)?, OK, "all addresses");
        setup.assert_reaches(number, setup.at(5), 5, "all addresses mapped to themselves")?;
        assert_eq!(setup.live.unmap(domain, 0, end)?, OK, "all addresses unmapped");
    }
    setup.live.take_reports(1)?;
    setup.engines[0].engine().store(setup.at(3), 4)?;
    setup.assert_written(&[], "all addresses unmapped")?;
    setup.assert_reported(&[(R_MAPPING, 0, 0, setup.at(3))], "all addresses unmapped")
}

/// Would catch a fault that nobody has given memory for and that is let through, kills QEMU, or
/// is in the way of the next one.
fn no_room_for_reports(device: &VirtioIommu, vm: &Rc<Vm>) -> Result<()> {
    let setup = Setup::unattached(device, vm, WINDOW)?;
    setup.attach(0, 1)?;
    for _ in 0..300 {
        setup.engines[0].engine().store(HERE, 4)?;
    }
    setup.assert_written(&[], "faults without room")?;
    setup.live.take_reports(8)?;
    let rest = setup.live.report()?;
    assert_eq!(rest, None, "a report of a fault for which there was no room");
    setup.assert_refused(0, HERE, R_MAPPING, "with room again")?;
    setup.map(1, HERE, 1, 1, READ | WRITE)?;
    setup.assert_reaches(0, HERE, 1, "mapped in the end")
}

/// Would catch a report that is written past the memory for it.
fn small_room_for_reports(device: &VirtioIommu, vm: &Rc<Vm>) -> Result<()> {
    for room in [1, 8, 23] {
        let setup = Setup::unattached(device, vm, WINDOW)?;
        setup.attach(0, 1)?;
        let buffer = vm.ram().alloc(24, 1)?;
        buffer.write(0, &[0xee; 24])?;
        let segment = qos::virtio::Segment::writable(&buffer);
        setup.live.events.add(&[qos::virtio::Segment { length: room, ..segment }])?;
        setup.live.events.kick()?;
        setup.engines[0].engine().store(HERE, 4)?;
        qos::settle(vm)?;
        let after = buffer.to_vec()?;
        assert_eq!(after[room as usize..], vec![0xee; 24 - room as usize], "{room} bytes of room");
        drop(setup);
        let again = Setup::new(device, vm)?;
        again.assert_refused(0, HERE, R_MAPPING, "after a reset")?;
        assert_eq!(again.live.detach(1, endpoint(&again.engines[0]))?, OK);
    }
    Ok(())
}

/// Would catch a mapping to registers that kills QEMU: those of the device that accesses them, of
/// the IOMMU itself, and addresses where nothing is.
fn own_registers(device: &VirtioIommu, vm: &Rc<Vm>) -> Result<()> {
    let setup = Setup::new(device, vm)?;
    let own = device.device.transport().own_memory();
    let others = [1 << 45, 1 << 40, !0 - 0xfff, 0xfec0_0000];
    for (number, to) in own.into_iter().chain(others).enumerate() {
        let at = HERE + number as u64 * PAGE;
        let to = to & !0xfff;
        let status = setup.live.map(1, at, at + PAGE - 1, to, READ | WRITE | MMIO)?;
        assert_eq!(status, OK, "{to:#x} mapped");
        setup.engines[0].read(at, 64)?;
        setup.engines[0].write(at + 0x800, &[0; 64])?;
    }
    setup.map(1, HERE + 64 * PAGE, 1, 1, READ | WRITE)?;
    setup.assert_reaches(0, HERE + 64 * PAGE, 1, "memory, in the end")
}

/// Would catch mappings that go on when the device is reset, and endpoints that stay attached.
fn reset_of_device(device: &VirtioIommu, vm: &Rc<Vm>) -> Result<()> {
    let setup = Setup::new(device, vm)?;
    setup.map(1, HERE, 1, 1, READ | WRITE)?;
    setup.assert_reaches(0, HERE, 1, "before the reset")?;
    drop(setup);
    let setup = Setup::unattached(device, vm, 0)?;
    for number in 0..2 {
        setup.assert_reaches(number, setup.at(4), 4, "in bypass after the reset")?;
    }
    Ok(())
}

/// Would catch mappings or an absence of bypass that outlive a reset of the machine.
fn reset_of_machine(device: &VirtioIommu, vm: &Rc<Vm>) -> Result<()> {
    let setup = Setup::new(device, vm)?;
    device.device.transport().config().write8(BYPASS, 0)?;
    setup.map(1, HERE, 1, 1, READ | WRITE)?;
    setup.assert_reaches(0, HERE, 1, "before the reset")?;
    drop(setup);
    qos::reset(vm)?;
    let window = Rc::new(vm.ram().alloc(PAGE as usize, PAGE)?);
    let memory = vm.ram().alloc(PAGE as usize, PAGE)?;
    for engine in Engine::two(vm, &device.bus)? {
        let copier = Copier::new(&engine, &window, window.address().0);
        copier.write(memory.address().0 + 4, &[0x3e; 4])?;
        let found = memory.to_vec()?;
        assert_eq!(found[..12], [0, 0, 0, 0, 0x3e, 0x3e, 0x3e, 0x3e, 0, 0, 0, 0], "memory");
        memory.write(4, &[0; 4])?;
    }
    let found = VirtioPci::new(PciDevice::find(&device.bus, device.at)?, vm)?;
    assert_eq!(found.transport().config().read8(BYPASS)?, 1, "bypass");
    Ok(())
}
