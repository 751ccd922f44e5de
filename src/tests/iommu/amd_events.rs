//! The event log of AMD's IOMMU ("AMD I/O Virtualization Technology (IOMMU)
//! Specification", 48882, revision 3.00, 2.5), and its interrupts.

use std::cell::Cell;
use std::rc::Rc;

use super::amd_bench::{Bench, DOMAIN, HERE, MAY, OFFSET, tables, with_tables};
use super::amd_commands::{NOWHERE, function};
use super::riscv_bench::{BOTH, Dma};
use crate::drivers::iommu::amd::words::{
    COMMAND_HEAD, COMMAND_TAIL, CONTROL, DEVICE_TABLE, EVENT_BASE, EVENT_HEAD, EVENT_TAIL,
    FORGET_DEVICE, INTERRUPT, STATUS, WAIT, control, device, event, status,
};
use crate::drivers::iommu::amd::{AmdLevels, RING, RING_SIZE, RUNNING};
use crate::qemu::Vm;
use crate::qos::iommu::{Access, PAGE};
use crate::qos::local_apic;
use crate::qos::pci::PciDevice;
use crate::qos::registers::RegistersExt;
use crate::{Error, Result, tests};

tests!(AmdLevels, "amd-iommu-event-tests":
    page_fault = "page-fault",
    device_wrong = "device",
    no_memory = "no-memory",
    log_wraps = "wrap",
    log_full = "overflow",
    log_off = "off",
    wait_interrupt = "interrupts/wait",
    wait_no_interrupt = "interrupts/wait-off",
    log_interrupt = "interrupts/events",
    machine_reset,
);

/// Would catch an event of a page that says another device, domain or address, or takes a read for a
/// write, or a page that is there for one that is not (2.5.3).
fn page_fault(iommu: &AmdLevels, vm: &Rc<Vm>) -> Result<()> {
    let bench = Bench::new(iommu, vm)?;
    let none = bench.mapped(vm, 0)?;
    let reads = bench.mapped(vm, 1 | device::IR)?;
    let writes = bench.mapped(vm, 1 | device::IW)?;
    let cases = [
        (none, Dma::Read, false, "a page that is not there"),
        (none, Dma::Write, false, "a page that is not there"),
        (reads, Dma::Write, true, "a page for reads"),
        (writes, Dma::Read, true, "a page for writes"),
    ];
    for (entry, dma, is_present, what) in cases {
        let [who, at] = bench.event_of(entry, HERE + OFFSET, dma, what)?;
        let found = [who, at & !(PAGE - 1)];
        let expected = bench.page_fault(is_present, HERE, dma);
        assert_eq!(
            found, expected,
            "{what}: {dma:?}: the event {found:#x?} should be {expected:#x?}"
        );
    }
    Ok(())
}

/// Would catch an entry of a device that is wrong and is not told so, or as another one (2.5.2).
fn device_wrong(iommu: &AmdLevels, vm: &Rc<Vm>) -> Result<()> {
    let bench = Bench::new(iommu, vm)?;
    let good = bench.mapped(vm, bench.page(Access::BOTH) & MAY | 1)?;
    for (entry, what) in [(good | 1 << 4, "a reserved bit"), (good | 7 << device::MODE, "mode 7")] {
        for dma in BOTH {
            let [who, at] = bench.event_of(entry, HERE + OFFSET, dma, what)?;
            let ids = who & !(0xfff << 48);
            assert_eq!(ids, bench.from_device(event::DEVICE), "{what}: the event {who:#x} {at:#x}");
            let rw = u64::from(dma == Dma::Write);
            assert_eq!(who >> 53 & 1, rw, "{what}: {dma:?}: RW in the event {who:#x}");
            assert_eq!(at & !0xfff, HERE, "{what}: the address in the event {who:#x} {at:#x}");
        }
    }
    Ok(())
}

/// Would catch tables in no memory that are not told so: of pages, and of devices (2.5.4, 2.5.5).
fn no_memory(iommu: &AmdLevels, vm: &Rc<Vm>) -> Result<()> {
    let bench = Bench::new(iommu, vm)?;
    let tables = tables(vm, 4)?;
    tables.lead(HERE, 1, NOWHERE)?;
    let what = "a table of pages in no memory";
    let [who, at] = bench.event_of(with_tables(&tables), HERE + OFFSET, Dma::Write, what)?;
    let ids = who & !(0xfff << 48);
    let expected = bench.from_device(event::PAGE_MEMORY) | DOMAIN << 32;
    assert_eq!(ids, expected, "{what}: the event {who:#x} {at:#x}");
    assert_eq!(at, NOWHERE + 8 * (HERE >> 12 & 0x1ff), "{what}: the address in the event");

    let registers = bench.live.registers();
    registers.set(DEVICE_TABLE, NOWHERE | 1)?;
    let id = u64::from(bench.engine.requester());
    bench.live.carry_out(&[[FORGET_DEVICE | id, 0]])?;
    bench.events()?;
    bench.engine.store(HERE, 4)?;
    let events = bench.events()?;
    assert_eq!(events.len(), 1, "a table of devices in no memory: events: {events:x?}");
    let [who, at] = events[0];
    let ids = who & !(0xfff << 48);
    assert_eq!(ids, bench.from_device(event::DEVICE_MEMORY), "the event {who:#x} {at:#x}");
    assert_eq!(at, NOWHERE + 32 * id, "the address in the event {who:#x} {at:#x}");
    Ok(())
}

/// Has the device fault at so many pages, and says at which.
fn fault_at(bench: &Bench, count: u64) -> Result<()> {
    (0..count).try_for_each(|number| bench.engine.store(HERE + number * PAGE, 4))
}

/// The entry of a device that reaches nothing.
fn nothing(bench: &Bench, vm: &Rc<Vm>) -> Result<()> {
    let none = bench.mapped(vm, 0)?;
    bench.set(none)?;
    bench.events().map(drop)
}

/// Would catch a log that goes on behind its end, or that loses events where it begins anew.
fn log_wraps(iommu: &AmdLevels, vm: &Rc<Vm>) -> Result<()> {
    let bench = Bench::new(iommu, vm)?;
    nothing(&bench, vm)?;
    let registers = bench.live.registers();
    for round in 0..6 {
        let before = registers.get(EVENT_TAIL)?;
        fault_at(&bench, 100)?;
        let after = registers.get(EVENT_TAIL)?;
        assert_eq!(after, (before + 1600) % RING_SIZE, "round {round}: the tail");
        let events = bench.events()?;
        assert_eq!(events.len(), 100, "round {round}: how many events there are");
        for [who, _] in events {
            let ids = who & 0xf000_0000_0000_ffff;
            assert_eq!(ids, bench.from_device(event::PAGE), "round {round}: {who:#x}");
        }
    }
    Ok(())
}

/// Would catch a log that is full and goes on, over what nobody has read: it stops, says so, and is
/// started anew (2.5.1).
fn log_full(iommu: &AmdLevels, vm: &Rc<Vm>) -> Result<()> {
    let bench = Bench::new(iommu, vm)?;
    nothing(&bench, vm)?;
    let registers = bench.live.registers();
    let log = bench.live.events();
    let first = registers.get(EVENT_TAIL)?;
    registers.set(EVENT_HEAD, first)?;
    fault_at(&bench, (1 << RING) - 1)?;
    let now = registers.get(STATUS)?;
    assert_eq!(now & status::OVERFLOW, 0, "a full log: EventOverflow in {now:#x}");
    let before = log.to_vec()?;
    fault_at(&bench, 3)?;
    assert!(log.to_vec()? == before, "events were lost, and the log changed");
    let now = registers.get(STATUS)?;
    let of_log = now & (status::OVERFLOW | status::LOG);
    assert_eq!(of_log, status::OVERFLOW, "events were lost: IOMMU Status {now:#x}");
    registers.set(CONTROL, RUNNING & !control::LOG)?;
    registers.set(STATUS, status::OVERFLOW)?;
    let now = registers.get(STATUS)?;
    assert_eq!(now & status::OVERFLOW, 0, "acknowledged: EventOverflow in {now:#x}");
    registers.set(EVENT_HEAD, registers.get(EVENT_TAIL)?)?;
    registers.set(CONTROL, RUNNING)?;
    let now = registers.get(STATUS)?;
    assert_eq!(now & status::LOG, status::LOG, "started anew: EventLogRun in {now:#x}");
    fault_at(&bench, 2)?;
    assert_eq!(bench.events()?.len(), 2, "started anew: how many events there are");
    Ok(())
}

/// Would catch events that are logged while the log is off.
fn log_off(iommu: &AmdLevels, vm: &Rc<Vm>) -> Result<()> {
    let bench = Bench::new(iommu, vm)?;
    nothing(&bench, vm)?;
    let registers = bench.live.registers();
    registers.set(CONTROL, RUNNING & !control::LOG)?;
    let now = registers.get(STATUS)?;
    assert_eq!(now & status::LOG, 0, "off: EventLogRun in {now:#x}");
    let (before, tail) = (bench.live.events().to_vec()?, registers.get(EVENT_TAIL)?);
    fault_at(&bench, 3)?;
    assert_eq!(registers.get(EVENT_TAIL)?, tail, "off: the tail");
    assert!(bench.live.events().to_vec()? == before, "off: the log changed");
    // A log elsewhere is the one that is written.
    let elsewhere = vm.ram().alloc(RING_SIZE as usize, 4096)?;
    registers.set(EVENT_BASE, elsewhere.address().0 | RING << 56)?;
    registers.set(EVENT_HEAD, 0)?;
    registers.set(EVENT_TAIL, 0)?;
    registers.set(CONTROL, RUNNING)?;
    fault_at(&bench, 1)?;
    let who = elsewhere.read_le64(0)?;
    assert_eq!(who >> 60, event::PAGE, "the log elsewhere: the first event {who:#x}");
    assert!(bench.live.events().to_vec()? == before, "the log elsewhere: the old one changed");
    Ok(())
}

/// The messages of the IOMMU, each of which has a vector of its own.
struct Messages<'a> {
    vm: &'a Vm,
    function: PciDevice,
    /// Where the message's data are in the configuration space.
    data: u16,
    vector: Cell<u8>,
}

impl<'a> Messages<'a> {
    /// Messages to the first CPU.
    fn new(iommu: &AmdLevels, vm: &'a Vm) -> Result<Self> {
        let (function, _) = function(iommu)?;
        let all = function.capabilities()?;
        let at = all.iter().find(|it| it.id == 0x05).map(|it| it.offset);
        let at = at.ok_or_else(|| Error::failed("the IOMMU has no MSI"))?;
        function.enable()?;
        function.config_write32(at + 4, 0xfee0_0000)?;
        let control = function.config_read16(at + 2)?;
        let is_wide = control & 1 << 7 != 0;
        if is_wide {
            function.config_write32(at + 8, 0)?;
        }
        function.config_write16(at + 2, control & !0x70 | 1)?;
        let data = at + if is_wide { 12 } else { 8 };
        let messages = Self { vm, function, data, vector: Cell::new(0x50) };
        messages.next()?;
        Ok(messages)
    }

    /// Gives the next message another vector.
    fn next(&self) -> Result<()> {
        self.vector.set(self.vector.get() + 1);
        self.function.config_write16(self.data, self.vector.get().into())
    }

    /// Whether the message came.
    fn taken(&self) -> Result<bool> {
        let all = local_apic::received(self.vm)?;
        let vector = self.vector.get();
        let others = all.keys().any(|it| (0x51..0xa0).contains(it) && *it > vector);
        assert!(!others, "messages with vectors above {vector:#x}, which none has yet: {all:x?}");
        let came = all.contains_key(&vector);
        self.next()?;
        Ok(came)
    }
}

/// Would catch a wait that wants to interrupt and does not, or does without being asked to, and a
/// status that is not cleared.
fn wait_interrupt(iommu: &AmdLevels, vm: &Rc<Vm>) -> Result<()> {
    let bench = Bench::new(iommu, vm)?;
    let registers = bench.live.registers();
    let messages = Messages::new(iommu, vm)?;
    registers.set(CONTROL, RUNNING | control::WAIT_INTERRUPT)?;
    bench.live.carry_out(&[])?;
    assert!(!messages.taken()?, "a wait that wants no interrupt");
    for round in 0..3 {
        bench.live.carry_out(&[[WAIT | INTERRUPT, 0]])?;
        let now = registers.get(STATUS)?;
        let pending = now & (status::WAIT_INTERRUPT | status::LOG_INTERRUPT | status::OVERFLOW);
        assert_eq!(pending, status::WAIT_INTERRUPT, "round {round}: IOMMU Status {now:#x}");
        assert!(messages.taken()?, "round {round}: no message came");
        registers.set(STATUS, status::WAIT_INTERRUPT)?;
        let now = registers.get(STATUS)?;
        assert_eq!(now & status::WAIT_INTERRUPT, 0, "round {round}, acknowledged: {now:#x}");
    }
    Ok(())
}

/// Would catch a wait that interrupts although such interrupts are off.
fn wait_no_interrupt(iommu: &AmdLevels, vm: &Rc<Vm>) -> Result<()> {
    let bench = Bench::new(iommu, vm)?;
    let messages = Messages::new(iommu, vm)?;
    bench.live.carry_out(&[[WAIT | INTERRUPT, 0]])?;
    assert!(!messages.taken()?, "ComWaitIntEn is off, and a message came");
    let now = bench.live.registers().get(STATUS)?;
    assert_eq!(now & status::WAIT_INTERRUPT, status::WAIT_INTERRUPT, "IOMMU Status {now:#x}");
    Ok(())
}

/// Would catch an event that does not interrupt, or does although such interrupts are off.
fn log_interrupt(iommu: &AmdLevels, vm: &Rc<Vm>) -> Result<()> {
    let bench = Bench::new(iommu, vm)?;
    nothing(&bench, vm)?;
    let registers = bench.live.registers();
    let messages = Messages::new(iommu, vm)?;
    fault_at(&bench, 1)?;
    assert!(!messages.taken()?, "EventIntEn is off, and a message came");
    registers.set(STATUS, status::LOG_INTERRUPT)?;
    registers.set(CONTROL, RUNNING | control::LOG_INTERRUPT)?;
    for round in 0..3 {
        assert!(!messages.taken()?, "round {round}: a message came before an event");
        fault_at(&bench, 1)?;
        let now = registers.get(STATUS)?;
        let pending = now & (status::WAIT_INTERRUPT | status::LOG_INTERRUPT | status::OVERFLOW);
        assert_eq!(pending, status::LOG_INTERRUPT, "round {round}: IOMMU Status {now:#x}");
        assert!(messages.taken()?, "round {round}: no message came");
        registers.set(STATUS, status::LOG_INTERRUPT)?;
        let now = registers.get(STATUS)?;
        assert_eq!(now & status::LOG_INTERRUPT, 0, "round {round}, acknowledged: {now:#x}");
    }
    Ok(())
}

/// Would catch an IOMMU that goes on after a reset of the machine, or has pointers of before.
fn machine_reset(iommu: &AmdLevels, vm: &Rc<Vm>) -> Result<()> {
    let bench = Bench::new(iommu, vm)?;
    nothing(&bench, vm)?;
    fault_at(&bench, 3)?;
    let live = bench.live;
    crate::qos::reset(vm)?;
    let registers = live.registers();
    for pointer in [COMMAND_HEAD, COMMAND_TAIL, EVENT_HEAD, EVENT_TAIL, CONTROL, DEVICE_TABLE] {
        assert_eq!(registers.get(pointer)?, 0, "{} after a reset", pointer.name());
    }
    let now = registers.get(STATUS)?;
    assert_eq!(now & 0xff, 0, "IOMMU Status after a reset");
    drop(live);
    let bench = Bench::new(iommu, vm)?;
    let entry = bench.mapped(vm, bench.page(Access::BOTH) & MAY | 1)?;
    bench.assert_done(entry, HERE + OFFSET, Dma::Write, "set up after a reset")
}
