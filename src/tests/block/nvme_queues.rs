//! Queues of NVMe: creation, wrapping, doorbells, events, errors of commands and of their memory
//! (NVM Express 1.4, whose sections are cited).

use std::rc::Rc;

use super::nvme::{assert_status, enabled};
use crate::drivers::block::nvme::Nvme;
use crate::drivers::block::nvme::command::{Command, Completion, admin, io, status};
use crate::drivers::block::nvme::controller::{Controller, create_cq, create_sq};
use crate::drivers::block::nvme::disk::NAMESPACE;
use crate::drivers::block::nvme::queue::QueuePair;
use crate::qemu::Vm;
use crate::qos::block::{DISK, PAGE};
use crate::qos::pci::msix::{Control, Msix};
use crate::qos::{settle, wait_until};
use crate::{Error, Result, attacks, tests};

tests!(Nvme, "nvme-queue-tests":
    wrap,
    full,
    several,
    create_refused = "create-refused",
    delete_refused = "delete-refused",
    deleted,
    doorbells,
    events,
    event_limit = "event-limit",
    abort,
    vectors,
);
attacks!(Nvme, "nvme-attacks": wrap, several);

/// Why a QEMU is not used again: it counts completions that were not taken, and a reset of the
/// controller or the machine does not start that anew, so that the pin stays asserted.
pub(super) const UNTAKEN: &str = "completions that were not taken";

/// A read of the block `block` into `address`.
pub(super) fn read(block: u64, address: u64) -> Command {
    Command::transfer(io::READ, NAMESPACE, block, 1).at(address)
}

/// Would catch a queue that loses or repeats commands where it wraps, a phase tag that is not
/// inverted, and a head that is told wrong: with queues of sizes that do not divide each other.
fn wrap(nvme: &Nvme, vm: &Rc<Vm>) -> Result<()> {
    let controller = enabled(nvme, vm)?;
    let page = controller.page()?;
    for (number, entries) in [(1, (2, 2)), (2, (3, 7)), (3, (7, 3)), (4, (64, 16))] {
        let queue = controller.create(number, entries, 0)?;
        for turn in 0..40u64 {
            let data = [turn as u8 + 1; 512];
            vm.write_image(DISK.name, turn * 512, &data)?;
            // The head and the identifier are checked by the queue.
            let completion = queue.run(&read(turn, page.address().0), "a read")?;
            assert_status(completion, status::SUCCESS, &format!("read {turn} of queue {number}"));
            let mut found = vec![0; 512];
            page.read(0, &mut found)?;
            assert_eq!(found, data, "read {turn} of queue {number}");
        }
        controller.delete(queue)?;
    }
    Ok(())
}

/// Would catch completions that overwrite others which were not taken, or come twice or never,
/// while the completion queue is full (4.1.3).
fn full(nvme: &Nvme, vm: &Rc<Vm>) -> Result<()> {
    let controller = enabled(nvme, vm)?;
    let page = controller.page()?;
    let queue = controller.create(1, (16, 4), 0)?;
    for round in 0..3 {
        let ids = (0..9).map(|_| queue.put(&read(0, page.address().0)));
        let ids = ids.collect::<Result<Vec<u16>>>()?;
        queue.ring()?;
        let mut found = Vec::new();
        while found.len() < ids.len() {
            // There is room for three; the fourth waits for the head to move.
            let expected = (ids.len() - found.len()).min(3);
            for _ in 0..expected {
                let completion = queue.wait("one of nine reads")?;
                assert_eq!(completion.status, 0, "round {round}: {completion:x?}");
                found.push(completion.id);
            }
            settle(vm)?;
            assert!(!queue.has_completion()?, "a completion more than there is room for");
            queue.release()?;
        }
        found.sort_unstable();
        assert_eq!(found, ids, "identifiers of nine reads, round {round}");
    }
    Ok(())
}

/// Would catch queues that are mixed up: commands of one that another executes, and completions
/// that go to another queue than the submission queue was created with.
fn several(nvme: &Nvme, vm: &Rc<Vm>) -> Result<()> {
    vm.note_lasting(UNTAKEN);
    let controller = enabled(nvme, vm)?;
    let registers = &nvme.plug.registers;
    let pages = vm.ram().alloc(4 * PAGE, PAGE as u64)?;
    let mut queues = Vec::new();
    for number in [1u16, 2, 9, 64] {
        queues.push(controller.create(number, (4, 4), 0)?);
    }
    for (at, _) in queues.iter().enumerate() {
        vm.write_image(DISK.name, at as u64 * 512, &[at as u8 + 1; 512])?;
    }
    let page = |at: usize| pages.address().0 + (at * PAGE) as u64;
    for (at, queue) in queues.iter().enumerate().rev() {
        queue.put(&read(at as u64, page(at)))?;
        queue.ring()?;
    }
    for (at, queue) in queues.iter().enumerate() {
        let completion = queue.wait("a read")?;
        queue.release()?;
        let expected = Completion { status: 0, head: 1, queue: queue.number(), ..completion };
        assert_eq!(completion, expected, "queue {}", queue.number());
        assert_eq!(pages.to_vec()?[at * PAGE], at as u8 + 1, "data of queue {}", queue.number());
        assert!(!queue.has_completion()?, "a second completion in queue {}", queue.number());
    }
    // A submission queue whose completions go to the completion queue of another number.
    let other = QueuePair::new(registers, vm, 5, (4, 4))?;
    controller.admin().succeed(&create_sq(&other, 2), "submission queue 5")?;
    let id = other.put(&read(1, page(0)))?;
    other.ring()?;
    let to = queues[1].completion();
    let at = 16 * usize::from(queues[1].head());
    wait_until(vm, "the completion of queue 5 in queue 2", || {
        Ok(to.read_le16(at + 12)? == id && to.read_le16(at + 14)? & 1 == 1)
    })?;
    settle(vm)?;
    assert_eq!(to.read_le16(at + 10)?, 5, "the submission queue of the completion");
    assert_eq!(pages.to_vec()?[0], 2, "the data");
    let delete = Command::new(admin::DELETE_SQ, 0).with(10, &[5]);
    controller.admin().succeed(&delete, "delete submission queue 5").map(drop)
}

/// Would catch a queue that is created although its number, size, memory or vector cannot be, and
/// one that is there after it was refused (5.3, 5.4).
fn create_refused(nvme: &Nvme, vm: &Rc<Vm>) -> Result<()> {
    let controller = enabled(nvme, vm)?;
    let admin = controller.admin();
    let first = controller.create(1, (4, 4), 0)?;
    let pair = QueuePair::new(&nvme.plug.registers, vm, 2, (4, 4))?;
    let (cq, sq) = (create_cq(&pair, 0), create_sq(&pair, 1));
    let dword = |command: Command, number: usize, value: u32| command.with(number, &[value]);
    for (what, command, expected) in [
        ("completion queue 0", dword(cq, 10, 3 << 16), status::INVALID_QID),
        ("completion queue 1, again", dword(cq, 10, 3 << 16 | 1), status::INVALID_QID),
        ("completion queue 65", dword(cq, 10, 3 << 16 | 65), status::INVALID_QID),
        ("completion queue 65535", dword(cq, 10, 3 << 16 | 0xffff), status::INVALID_QID),
        ("a completion queue of one entry", dword(cq, 10, 2), status::INVALID_QUEUE_SIZE),
        ("a completion queue of 2049", dword(cq, 10, 2048 << 16 | 2), status::INVALID_QUEUE_SIZE),
        ("a completion queue not at a page", cq.at(cq.prp1 + 16), status::INVALID_PRP_OFFSET),
        ("vector 1 without MSI-X", dword(cq, 11, 1 << 16 | 3), status::INVALID_VECTOR),
        ("vector 65535", dword(cq, 11, 0xffff << 16 | 3), status::INVALID_VECTOR),
        ("a completion queue in pieces", dword(cq, 11, 2), status::INVALID_FIELD),
        ("submission queue 0", dword(sq, 10, 3 << 16), status::INVALID_QID),
        ("submission queue 1, again", dword(sq, 10, 3 << 16 | 1), status::INVALID_QID),
        ("submission queue 65", dword(sq, 10, 3 << 16 | 65), status::INVALID_QID),
        ("completions to queue 0", dword(sq, 11, 1), status::INVALID_CQ),
        ("completions to queue 2", dword(sq, 11, 2 << 16 | 1), status::INVALID_CQ),
        ("completions to queue 65535", dword(sq, 11, 0xffff << 16 | 1), status::INVALID_CQ),
        ("a submission queue of one entry", dword(sq, 10, 2), status::INVALID_QUEUE_SIZE),
        ("a submission queue of 2049", dword(sq, 10, 2048 << 16 | 2), status::INVALID_QUEUE_SIZE),
        ("a submission queue not at a page", sq.at(sq.prp1 + 64), status::INVALID_PRP_OFFSET),
        ("a submission queue in pieces", dword(sq, 11, 1 << 16), status::INVALID_FIELD),
    ] {
        assert_status(admin.run(&command, what)?, expected, what);
        let delete = Command::new(admin::DELETE_CQ, 0).with(10, &[2]);
        assert_status(admin.run(&delete, what)?, status::INVALID_CQ, &format!("2 after {what}"));
        let delete = Command::new(admin::DELETE_SQ, 0).with(10, &[2]);
        assert_status(admin.run(&delete, what)?, status::INVALID_QID, &format!("2 after {what}"));
    }
    let page = controller.page()?;
    assert_status(first.run(&read(0, page.address().0), "a read")?, 0, "queue 1 after all that");
    // The largest there can be, and the highest number.
    controller.create(64, (2048, 2048), 0).map(drop)
}

/// Would catch the deletion of a queue that is not there, of the admin queues, and of a completion
/// queue that a submission queue still has (5.5, 5.6).
fn delete_refused(nvme: &Nvme, vm: &Rc<Vm>) -> Result<()> {
    let controller = enabled(nvme, vm)?;
    let queue = controller.create(1, (4, 4), 0)?;
    for (opcode, number, expected) in [
        (admin::DELETE_SQ, 0, status::INVALID_QID),
        (admin::DELETE_SQ, 2, status::INVALID_QID),
        (admin::DELETE_SQ, 0xffff, status::INVALID_QID),
        (admin::DELETE_CQ, 0, status::INVALID_CQ),
        (admin::DELETE_CQ, 2, status::INVALID_CQ),
        (admin::DELETE_CQ, 0xffff, status::INVALID_CQ),
        (admin::DELETE_CQ, 1, status::INVALID_DELETION),
    ] {
        let what = format!("command {opcode} of queue {number:#x}");
        let command = Command::new(opcode, 0).with(10, &[number]);
        assert_status(controller.admin().run(&command, &what)?, expected, &what);
    }
    let page = controller.page()?;
    assert_status(queue.run(&read(0, page.address().0), "a read")?, 0, "queue 1 after all that");
    controller.delete(queue)
}

/// Would catch a queue that lives on when it was deleted, and a number that cannot be used again.
fn deleted(nvme: &Nvme, vm: &Rc<Vm>) -> Result<()> {
    let controller = enabled(nvme, vm)?;
    let page = controller.page()?;
    for round in 0..3u16 {
        let queue = controller.create(3, (4 + round, 4), 0)?;
        assert_status(queue.run(&read(0, page.address().0), "a read")?, 0, "a read");
        for opcode in [admin::DELETE_SQ, admin::DELETE_CQ] {
            controller.admin().succeed(&Command::new(opcode, 0).with(10, &[3]), "delete")?;
        }
        let before = queue.completion().to_vec()?;
        queue.put(&read(0, page.address().0))?;
        queue.ring()?;
        controller.identify(1, 0)?;
        assert_eq!(queue.completion().to_vec()?, before, "a queue that was deleted, round {round}");
    }
    Ok(())
}

/// An Asynchronous Event Request; returns its identifier.
fn expect_event(controller: &Controller) -> Result<u16> {
    let id = controller.admin().put(&Command::new(admin::ASYNC_EVENT, 0))?;
    controller.admin().ring()?;
    Ok(id)
}

/// Waits for an event, and reads the log page that it is about, which unmasks others of its kind.
fn event(controller: &Controller, id: u16, what: &str) -> Result<u32> {
    let completion = controller.admin().wait(what)?;
    controller.admin().release()?;
    assert_eq!((completion.id, completion.status), (id, 0), "{what}: {completion:x?}");
    let page = controller.page()?;
    let log = completion.result >> 16;
    let command = Command::new(admin::GET_LOG_PAGE, u32::MAX)
        .with(10, &[log | 15 << 16])
        .at(page.address().0);
    controller.admin().succeed(&command, "its log page")?;
    Ok(completion.result)
}

/// Would catch a doorbell that takes a value beyond its queue, or that of a queue which is not
/// there, without a word, or that does something (3.1.25, 5.2: error status, log page 1).
fn doorbells(nvme: &Nvme, vm: &Rc<Vm>) -> Result<()> {
    let controller = enabled(nvme, vm)?;
    let queue = controller.create(1, (4, 4), 0)?;
    let absent = QueuePair::new(&nvme.plug.registers, vm, 7, (4, 4))?;
    let page = controller.page()?;
    // Invalid Doorbell Register and Invalid Doorbell Write Value.
    let (register, value) = (1 << 16, 1 << 16 | 1 << 8);
    for (what, expected, write) in [
        ("the tail 4 of 4", value, &(|| queue.ring_tail(4)) as &dyn Fn() -> Result<()>),
        ("the tail 65535 of 4", value, &|| queue.ring_tail(0xffff)),
        ("the head 4 of 4", value, &|| queue.ring_head(4)),
        ("the head 65535 of 4", value, &|| queue.ring_head(0xffff)),
        ("the tail of no queue", register, &|| absent.ring_tail(1)),
        ("the head of no queue", register, &|| absent.ring_head(1)),
        ("the admin tail 16 of 16", value, &|| controller.admin().ring_tail(16)),
        ("the admin head 16 of 16", value, &|| controller.admin().ring_head(16)),
    ] {
        // Without a request nobody is told.
        write()?;
        let id = expect_event(&controller)?;
        settle(vm)?;
        assert!(!controller.admin().has_completion()?, "{what}: an event of before");
        write()?;
        assert_eq!(event(&controller, id, what)?, expected, "{what}");
        assert_status(queue.run(&read(0, page.address().0), "a read")?, 0, what);
    }
    Ok(())
}

/// Would catch an event that is lost while nobody has asked for one, or that comes twice or
/// without being enabled: a temperature that crosses its threshold (5.2, 5.21.1.4).
fn events(nvme: &Nvme, vm: &Rc<Vm>) -> Result<()> {
    let controller = enabled(nvme, vm)?;
    let admin = controller.admin();
    let feature = |feature: u32, value: u32| -> Result<()> {
        let command = Command::new(admin::SET_FEATURES, 0).with(10, &[feature, value]);
        admin.succeed(&command, "a feature").map(drop)
    };
    let id = expect_event(&controller)?;
    // SMART / health status, the temperature is over the threshold, log page 2.
    let temperature = 1 | 1 << 8 | 2 << 16;
    feature(0x0b, 0)?;
    feature(0x04, 0x100)?;
    settle(vm)?;
    assert!(!admin.has_completion()?, "an event that is not enabled");
    feature(0x04, 0x157)?;
    feature(0x0b, 0x02)?;
    // The event and the end of the command come in either order.
    let command = Command::new(admin::SET_FEATURES, 0).with(10, &[0x04, 0x100]);
    let by = admin.put(&command)?;
    admin.ring()?;
    let both = [admin.wait("the first of two")?, admin.wait("the second of two")?];
    admin.release()?;
    let found = both.map(|completion| (completion.id, completion.status, completion.result));
    let (told, ended) = ((id, 0, temperature), (by, 0, 0));
    assert!(found == [told, ended] || found == [ended, told], "{both:x?}");
    feature(0x04, 0x157)?;
    feature(0x0b, 0)
}

/// Would catch more requests for events than AERL says, and requests that a reset keeps.
fn event_limit(nvme: &Nvme, vm: &Rc<Vm>) -> Result<()> {
    for _ in 0..2 {
        let controller = enabled(nvme, vm)?;
        for _ in 0..4 {
            expect_event(&controller)?;
        }
        settle(vm)?;
        assert!(!controller.admin().has_completion()?, "one of four requests has ended");
        let id = expect_event(&controller)?;
        let completion = controller.admin().wait("the fifth")?;
        controller.admin().release()?;
        let found = (completion.id, completion.status, completion.result);
        assert_eq!(found, (id, status::EVENT_LIMIT, 0), "the fifth: {completion:x?}");
    }
    Ok(())
}

/// Would catch an Abort of a command that is not there, or of a queue that is not, which must do
/// nothing, and one that is said to have worked or reads behind the queues there are (5.1).
fn abort(nvme: &Nvme, vm: &Rc<Vm>) -> Result<()> {
    let controller = enabled(nvme, vm)?;
    let queue = controller.create(1, (4, 4), 0)?;
    let abort = |queue: u32, id: u32| {
        let command = Command::new(admin::ABORT, 0).with(10, &[queue | id << 16]);
        controller.admin().run(&command, "an Abort")
    };
    for (number, id) in [(0, 0xdead), (1, 1), (1, 0xffff)] {
        let completion = abort(number, id)?;
        let found = (completion.status, completion.result);
        assert_eq!(found, (0, 1), "command {id:#x} of queue {number}, which is not there");
    }
    for number in [2, 64, 65, 1024, 0x8000, 0xffff] {
        let completion = abort(number, 0)?;
        let refused = completion.status | status::DNR == status::INVALID_FIELD;
        assert_eq!(completion.result, 1, "command 0 of queue {number}: {completion:x?}");
        assert!(refused || completion.status == 0, "queue {number}: {completion:x?}");
    }
    let page = controller.page()?;
    assert_status(queue.run(&read(0, page.address().0), "a read")?, 0, "a read after that");
    Ok(())
}

/// Would catch a completion that is sent as another queue's message, or although its queue was
/// created without interrupts (5.3, 7.5.1).
fn vectors(nvme: &Nvme, vm: &Rc<Vm>) -> Result<()> {
    let device = &nvme.plug.device;
    if !device.bus().messages_reach_memory() {
        return Err(Error::skipped("on this bus a message to RAM does not get there"));
    }
    device.bus().reaches_ram()?;
    let control = msix(nvme)?;
    assert_eq!(control.size(), 65, "the number of vectors");
    let msix = Msix::enable(&control)?;
    let controller = enabled(nvme, vm)?;
    let sent = vm.ram().alloc(4 * 65, 4)?;
    for vector in 0..65u16 {
        let at = sent.address().0 + 4 * u64::from(vector);
        msix.set_message(vector, at, 0x100 + u32::from(vector))?;
        msix.mask(vector, false)?;
    }
    let assert_sent = |vector: Option<u16>, what: &str| -> Result<()> {
        settle(vm)?;
        let mut expected = vec![0; 4 * 65];
        if let Some(vector) = vector {
            let at = 4 * usize::from(vector);
            expected[at..at + 4].copy_from_slice(&(0x100 + u32::from(vector)).to_le_bytes());
        }
        assert_eq!(sent.to_vec()?, expected, "messages {what}");
        sent.write(0, &vec![0; 4 * 65])
    };
    let page = controller.page()?;
    for (number, vector) in [(1, 3), (2, 1), (64, 64), (5, 0)] {
        let queue = controller.create(number, (4, 4), vector)?;
        assert_sent(Some(0), "of the admin queue")?;
        assert_status(queue.run(&read(0, page.address().0), "a read")?, 0, "a read");
        assert_sent(Some(vector), &format!("of queue {number}"))?;
        assert!(!device.asserts_interrupt()?, "the pin with MSI-X");
    }
    let silent = QueuePair::new(&nvme.plug.registers, vm, 6, (4, 4))?;
    let create = create_cq(&silent, 2).with(11, &[2 << 16 | 1]);
    controller.admin().succeed(&create, "a completion queue without interrupts")?;
    controller.admin().succeed(&create_sq(&silent, 6), "its submission queue")?;
    assert_sent(Some(0), "of the admin queue")?;
    assert_status(silent.run(&read(0, page.address().0), "a read")?, 0, "a read");
    assert_sent(None, "of a queue without interrupts")?;
    let pair = QueuePair::new(&nvme.plug.registers, vm, 7, (4, 4))?;
    let completion = controller.admin().run(&create_cq(&pair, 65), "vector 65")?;
    assert_status(completion, status::INVALID_VECTOR, "vector 65 of 65");
    Ok(())
}

/// The MSI-X of the controller, whose registers share a BAR with its table.
pub(super) fn msix(nvme: &Nvme) -> Result<Control> {
    let device = &nvme.plug.device;
    let control = Control::find(device, &device.capabilities()?)?;
    let control = control.ok_or_else(|| Error::skipped("the function has no MSI-X here"))?;
    Ok(control.sharing(0, nvme.plug.registers.clone()))
}
