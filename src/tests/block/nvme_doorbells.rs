//! Doorbells of NVMe that are in guest memory (NVM Express 1.4, 5.7 and 7.13, whose sections are
//! cited).

use std::rc::Rc;

use super::nvme::{assert_status, enabled};
use super::nvme_data::assert_code;
use super::nvme_queues::read;
use crate::drivers::block::nvme::Nvme;
use crate::drivers::block::nvme::command::{Command, Completion, admin, status};
use crate::drivers::block::nvme::controller::Controller;
use crate::drivers::block::nvme::disk::number;
use crate::drivers::block::nvme::queue::QueuePair;
use crate::qemu::{Buffer, Vm};
use crate::qos::block::{DISK, PAGE};
use crate::{Error, Result, tests};

tests!(Nvme, "nvme-doorbell-tests":
    used,
    queues_of_before = "queues-of-before",
    wrong_values = "wrong-values",
    refused,
    forgotten,
);

/// The doorbells in memory, and the values of them that the controller wants to be told of.
struct Shadow {
    doorbells: Buffer,
    events: Buffer,
}

/// Has the controller take doorbells from memory: how that ends.
fn configure(controller: &Controller, doorbells: u64, events: u64) -> Result<Completion> {
    let command = Command::new(admin::DOORBELL_BUFFER, 0);
    let command = Command { prp1: doorbells, prp2: events, ..command };
    controller.admin().run(&command, "Doorbell Buffer Config")
}

impl Shadow {
    fn new(controller: &Controller) -> Result<Self> {
        Ok(Self { doorbells: controller.page()?, events: controller.page()? })
    }

    /// Skipped where the controller has none (OACS).
    fn start(controller: &Controller) -> Result<Self> {
        let oacs = number(&controller.identify(1, 0)?, 256, 2);
        if oacs & 1 << 8 == 0 {
            return Err(Error::skipped(format!("no Doorbell Buffer Config: OACS is {oacs:#x}")));
        }
        let shadow = Self::new(controller)?;
        let (doorbells, events) = (shadow.doorbells.address().0, shadow.events.address().0);
        assert_status(configure(controller, doorbells, events)?, 0, "Doorbell Buffer Config");
        Ok(shadow)
    }

    /// Tells the controller of what was put into the queue: in memory, and where it wants to be told,
    /// by its register.
    fn ring(&self, queue: &QueuePair) -> Result<()> {
        let at = 8 * usize::from(queue.number());
        self.doorbells.write_le32(at, queue.tail().into())?;
        queue.ring()
    }

    /// Waits for `count` reads to be done, and tells the controller that they were taken.
    fn take(&self, queue: &QueuePair, count: usize) -> Result<()> {
        for _ in 0..count {
            let completion = queue.wait("a read")?;
            assert_eq!(completion.status, status::SUCCESS, "a read: {completion:x?}");
        }
        self.doorbells.write_le32(8 * usize::from(queue.number()) + 4, queue.head().into())?;
        queue.release()
    }

    /// Asserts that reads by `queue` are done and that the controller keeps up with its doorbells.
    fn assert_used(&self, vm: &Vm, queue: &QueuePair, page: &Buffer) -> Result<()> {
        let at = 8 * usize::from(queue.number());
        for turn in 0..20usize {
            let count = 1 + turn % 3;
            for part in 0..count {
                let data = [(turn + part) as u8 + 1; 512];
                vm.write_image(DISK.name, 512 * part as u64, &data)?;
                queue.put(&read(part as u64, page.address().0 + 512 * part as u64))?;
            }
            self.ring(queue)?;
            self.take(queue, count)?;
            for part in 0..count {
                let mut found = [0; 512];
                page.read(512 * part, &mut found)?;
                assert_eq!(found, [(turn + part) as u8 + 1; 512], "turn {turn}, read {part}");
            }
            let event = self.events.read_le32(at)?;
            assert_eq!(event, u32::from(queue.tail()), "turn {turn}: EventIdx of the tail");
        }
        Ok(())
    }
}

/// Would catch a controller that does not take its doorbells from where it was told, or never says
/// when it wants to be told of more.
fn used(nvme: &Nvme, vm: &Rc<Vm>) -> Result<()> {
    let controller = enabled(nvme, vm)?;
    let shadow = Shadow::start(&controller)?;
    let page = controller.page()?;
    // Numbers whose doorbells are not beside each other.
    let queues = [1, 2, 40].map(|number| controller.create(number, (5, 7), 0));
    for queue in queues {
        let queue = queue?;
        shadow.assert_used(vm, &queue, &page)?;
        controller.delete(queue)?;
    }
    controller.identify(1, 0).map(drop)
}

/// Would catch queues that were created before, and go on with doorbells that nobody writes.
fn queues_of_before(nvme: &Nvme, vm: &Rc<Vm>) -> Result<()> {
    let controller = enabled(nvme, vm)?;
    let queue = controller.create(3, (5, 7), 0)?;
    let page = controller.page()?;
    for block in 0..3 {
        assert_status(queue.run(&read(block, page.address().0), "a read")?, 0, "a read");
    }
    let shadow = Shadow::new(&controller)?;
    let at = 8 * usize::from(queue.number());
    shadow.doorbells.write_le32(at, queue.tail().into())?;
    shadow.doorbells.write_le32(at + 4, queue.head().into())?;
    // The admin queues have theirs as well.
    let (doorbells, events) = (shadow.doorbells.address().0, shadow.events.address().0);
    let oacs = number(&controller.identify(1, 0)?, 256, 2);
    if oacs & 1 << 8 == 0 {
        return Err(Error::skipped(format!("no Doorbell Buffer Config: OACS is {oacs:#x}")));
    }
    assert_status(configure(&controller, doorbells, events)?, 0, "Doorbell Buffer Config");
    shadow.assert_used(vm, &queue, &page)
}

/// Would catch a value in memory that no queue has room for, and which ends QEMU or is taken: the
/// controller goes on with other queues.
fn wrong_values(nvme: &Nvme, vm: &Rc<Vm>) -> Result<()> {
    let controller = enabled(nvme, vm)?;
    let shadow = Shadow::start(&controller)?;
    let page = controller.page()?;
    page.write(0, &[0xa5; PAGE])?;
    let queue = controller.create(1, (4, 4), 0)?;
    let other = controller.create(2, (4, 4), 0)?;
    for wrong in [4, 5, 0xffff, 0x1_0000, 0x1_0001, u32::MAX] {
        shadow.doorbells.write_le32(8, wrong)?;
        shadow.doorbells.write_le32(12, wrong)?;
        queue.ring_tail(0)?;
        queue.ring_head(0)?;
        crate::qos::settle(vm)?;
    }
    shadow.assert_used(vm, &other, &page)
}

/// Would catch doorbells that do not begin at a page, or are in no memory, and are taken (5.7).
fn refused(nvme: &Nvme, vm: &Rc<Vm>) -> Result<()> {
    let controller = enabled(nvme, vm)?;
    let shadow = Shadow::start(&controller)?;
    let (doorbells, events) = (shadow.doorbells.address().0, shadow.events.address().0);
    for (what, doorbells, events) in [
        ("doorbells at byte 4 of a page", doorbells + 4, events),
        ("events at byte 8 of a page", doorbells, events + 8),
        ("both in the middle of a page", doorbells + 2048, events + 2048),
    ] {
        let completion = configure(&controller, doorbells, events)?;
        let code = completion.status | status::DNR;
        let is_offset = code == status::INVALID_PRP_OFFSET;
        if !is_offset {
            assert_code(completion, status::INVALID_FIELD, what);
        }
    }
    let page = controller.page()?;
    let queue = controller.create(1, (5, 7), 0)?;
    shadow.assert_used(vm, &queue, &page)
}

/// Would catch doorbells in memory that outlive a reset of the controller (5.7).
fn forgotten(nvme: &Nvme, vm: &Rc<Vm>) -> Result<()> {
    let controller = enabled(nvme, vm)?;
    let shadow = Shadow::start(&controller)?;
    let page = controller.page()?;
    let queue = controller.create(1, (5, 7), 0)?;
    shadow.assert_used(vm, &queue, &page)?;
    drop(controller);
    let controller = enabled(nvme, vm)?;
    for memory in [&shadow.doorbells, &shadow.events] {
        memory.write(0, &[0xa5; PAGE])?;
    }
    let queue = controller.create(1, (5, 7), 0)?;
    for block in 0..12 {
        assert_status(queue.run(&read(block, page.address().0), "a read")?, 0, "a read");
    }
    for memory in [&shadow.doorbells, &shadow.events] {
        assert!(memory.to_vec()? == [0xa5; PAGE], "memory of before was written to");
    }
    Ok(())
}
