//! Queues of NVMe: creation, wrapping, doorbells, events, errors of commands and of their memory
//! (NVM Express 1.4, whose sections are cited).

use std::rc::Rc;

use super::nvme::{assert_status, enabled};
use crate::drivers::block::nvme::Nvme;
use crate::drivers::block::nvme::command::{Command, Completion, Pages, admin, io, status};
use crate::drivers::block::nvme::controller::{Controller, create_cq, create_sq, identify};
use crate::drivers::block::nvme::disk::NAMESPACE;
use crate::drivers::block::nvme::queue::QueuePair;
use crate::drivers::block::nvme::registers::{self as regs};
use crate::graph::QemuArgs;
use crate::qemu::Vm;
use crate::qos::block::{DISK, PAGE, Piece};
use crate::qos::pci::msix::{Control, Msix};
use crate::qos::registers::RegistersExt;
use crate::qos::{settle, wait_until};
use crate::{Error, Result, attacks, tests};

// QEMU saves no controller with memory of its own.
tests!(Nvme, "nvme-tests": migrate;
    with QemuArgs::NONE.after("-set device.nvme0.cmb_size_mb=0 -set device.nvme0.pmrdev="));

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
    opcodes,
    namespaces,
    compare,
    page_lists = "page-lists",
    page_lists_refused = "page-lists-refused",
    memory_refused = "memory-refused",
    reset_in_flight = "reset-in-flight",
    without_bus_master = "without-bus-master",
);
attacks!(Nvme, "nvme-attacks": wrap, several);

/// Why a QEMU is not used again: it counts completions that were not taken, and a reset of the
/// controller or the machine does not start that anew, so that the pin stays asserted.
pub(super) const UNTAKEN: &str = "completions that were not taken";

/// A read of the block `block` into `address`.
fn read(block: u64, address: u64) -> Command {
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

/// Would catch an Abort of a command that is not there, which must do nothing, and one that is
/// said to have worked (5.1).
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

/// Would catch a command that nobody knows and that is done, in both kinds of queues.
fn opcodes(nvme: &Nvme, vm: &Rc<Vm>) -> Result<()> {
    let controller = enabled(nvme, vm)?;
    let queue = controller.create(1, (4, 4), 0)?;
    let page = controller.page()?;
    for opcode in [0x03, 0x07, 0x0b, 0x7e, 0xc0, 0xff] {
        let what = format!("admin command {opcode:#x}");
        let command = Command::new(opcode, NAMESPACE).at(page.address().0);
        assert_status(controller.admin().run(&command, &what)?, status::INVALID_OPCODE, &what);
    }
    for opcode in [0x03, 0x0a, 0x79, 0x7e, 0x80, 0xff] {
        let what = format!("I/O command {opcode:#x}");
        let command = Command::new(opcode, NAMESPACE).at(page.address().0);
        assert_status(queue.run(&command, &what)?, status::INVALID_OPCODE, &what);
    }
    assert_eq!(page.to_vec()?, [0; PAGE], "memory that no command has written");
    Ok(())
}

/// Would catch data of one namespace that are read and written as another's, and a namespace that
/// is not there and takes commands.
fn namespaces(nvme: &Nvme, vm: &Rc<Vm>) -> Result<()> {
    let controller = enabled(nvme, vm)?;
    let queue = controller.create(1, (4, 4), 0)?;
    let page = controller.page()?;
    page.write(0, &[0x77; PAGE])?;
    for opcode in [io::READ, io::WRITE, io::WRITE_ZEROES, io::COMPARE, io::DATASET_MANAGEMENT] {
        // The second could be there; the others cannot.
        for (namespace, expected) in [
            (2, status::INVALID_FIELD),
            (0, status::INVALID_NAMESPACE),
            (0x1_0000, status::INVALID_NAMESPACE),
        ] {
            let what = format!("command {opcode:#x} of namespace {namespace:#x}");
            let command = Command::transfer(opcode, namespace, 0, 1).at(page.address().0);
            assert_status(queue.run(&command, &what)?, expected, &what);
        }
    }
    let mut first = vec![0; 512];
    vm.read_image(DISK.name, 0, &mut first)?;
    assert_eq!(first, [0; 512], "the first block of the namespace there is");
    assert_eq!(page.to_vec()?, [0x77; PAGE], "the memory for the data");
    // A flush is of all namespaces, if it says so.
    let flush = queue.run(&Command::new(io::FLUSH, u32::MAX), "a flush of all")?;
    assert_status(flush, 0, "a flush of all");
    Ok(())
}

/// Would catch a comparison that finds what differs equal, or the reverse, and one that writes.
fn compare(nvme: &Nvme, vm: &Rc<Vm>) -> Result<()> {
    let controller = enabled(nvme, vm)?;
    let queue = controller.create(1, (4, 4), 0)?;
    let page = controller.page()?;
    let data: Vec<u8> = (0..1024u32).map(|at| (at * 13 + at / 256) as u8).collect();
    vm.write_image(DISK.name, 20 * 512, &data)?;
    let command = Command::transfer(io::COMPARE, NAMESPACE, 20, 2).at(page.address().0);
    page.write(0, &data)?;
    assert_status(queue.run(&command, "equal")?, 0, "equal");
    for at in [0, 511, 512, 1023] {
        page.write(at, &[data[at] ^ 0x10])?;
        let completion = queue.run(&command, "different")?;
        // Whether it is of use to try again is the controller's word.
        let found = Completion { status: completion.status & !status::DNR, ..completion };
        assert_status(found, status::COMPARE, &format!("byte {at} differs"));
        page.write(at, &data[at..=at])?;
    }
    page.write(1024, &[1; 16])?;
    assert_status(queue.run(&command, "equal")?, 0, "equal, but for what is behind it");
    let past = Command::transfer(io::COMPARE, NAMESPACE, DISK.size / 512 - 1, 2);
    let completion = queue.run(&past.at(page.address().0), "past the end")?;
    assert_status(completion, status::LBA_RANGE, "past the end");
    Ok(())
}

/// Would catch a list of pages that is read from another place than where it begins, one that does
/// not go on where its last entry says, and a second page that is taken for a list (4.3).
fn page_lists(nvme: &Nvme, vm: &Rc<Vm>) -> Result<()> {
    let controller = enabled(nvme, vm)?;
    let queue = controller.create(1, (4, 4), 0)?;
    let memory = vm.ram().alloc(24 * PAGE, PAGE as u64)?;
    let expected: Vec<u8> =
        (0..20 * PAGE).map(|at| (at * 7 + at / 512 * 3 + at / PAGE) as u8).collect();
    vm.write_image(DISK.name, 0, &expected)?;
    for (offset, blocks) in [(0, 160), (512, 160), (4092, 160), (4, 9), (0, 16), (2048, 12)] {
        for entries in [2, 3, 8, 19, 512] {
            let what = format!("{blocks} blocks at {offset}, {entries} entries in the first list");
            memory.write(0, &vec![0xa5; memory.len()])?;
            let piece = Piece::of(&memory, offset, blocks * 512);
            let pages = Pages::new(vm.ram(), &[piece], entries)?;
            let command = Command::transfer(io::READ, NAMESPACE, 0, blocks).pages(&pages);
            assert_status(queue.run(&command, &what)?, 0, &what);
            let found = memory.to_vec()?;
            assert!(found[..offset].iter().all(|byte| *byte == 0xa5), "{what}: before");
            let (data, behind) = found[offset..].split_at(blocks * 512);
            assert!(data == &expected[..blocks * 512], "{what}: the data");
            assert!(behind.iter().all(|byte| *byte == 0xa5), "{what}: behind");
        }
    }
    Ok(())
}

/// Would catch pages of a list that do not begin at a page and are taken (4.3).
fn page_lists_refused(nvme: &Nvme, vm: &Rc<Vm>) -> Result<()> {
    let controller = enabled(nvme, vm)?;
    let queue = controller.create(1, (4, 4), 0)?;
    let memory = vm.ram().alloc(8 * PAGE, PAGE as u64)?;
    let list = controller.page()?;
    let at = |page: usize| memory.address().0 + (page * PAGE) as u64;
    let refused = |what: &str, blocks: usize, prp1: u64, prp2: u64| -> Result<()> {
        let command = Command::transfer(io::READ, NAMESPACE, 0, blocks);
        let completion = queue.run(&Command { prp1, prp2, ..command }, what)?;
        assert_status(completion, status::INVALID_PRP_OFFSET, what);
        assert_eq!(memory.to_vec()?, vec![0; memory.len()], "{what}: the memory");
        Ok(())
    };
    vm.write_image(DISK.name, 0, &[0x5a; 8 * PAGE])?;
    refused("a second page that begins behind its start", 16, at(0), at(1) + 8)?;
    for (entry, value) in [(0, at(1) + 4), (1, at(2) + 2048), (2, at(3) + 8)] {
        for (number, page) in [at(1), at(2), at(3)].into_iter().enumerate() {
            list.write_le64(8 * number, page)?;
        }
        list.write_le64(8 * entry, value)?;
        refused(&format!("entry {entry} of a list"), 32, at(0), list.address().0)?;
    }
    Ok(())
}

/// Would catch a command whose data or list is in no memory, and that is said to be done, or ends
/// QEMU; and a controller that is of no use afterwards.
fn memory_refused(nvme: &Nvme, vm: &Rc<Vm>) -> Result<()> {
    /// No machine has RAM there.
    const NOWHERE: u64 = 0x00f0_0000_0000;
    let controller = enabled(nvme, vm)?;
    let queue = controller.create(1, (4, 4), 0)?;
    let page = controller.page()?;
    for opcode in [io::READ, io::WRITE] {
        let command = Command::transfer(opcode, NAMESPACE, 0, 32);
        for (what, prp1, prp2) in [
            ("data in no memory", NOWHERE, NOWHERE + PAGE as u64),
            ("a list in no memory", page.address().0, NOWHERE),
        ] {
            let completion = queue.run(&Command { prp1, prp2, ..command }, what)?;
            assert_ne!(completion.status, status::SUCCESS, "{what}, command {opcode}");
        }
    }
    assert_status(queue.run(&read(0, page.address().0), "a read")?, 0, "a read after that");
    controller.identify(1, 0).map(drop)
}

/// Would catch a reset in the middle of commands that leaves the controller busy, or commands that
/// write to guest memory after it (7.3.2).
fn reset_in_flight(nvme: &Nvme, vm: &Rc<Vm>) -> Result<()> {
    vm.note_lasting(UNTAKEN);
    let memory = vm.ram().alloc(128 * PAGE, PAGE as u64)?;
    for round in 0..4 {
        let controller = enabled(nvme, vm)?;
        let queue = controller.create(1, (16, 16), 0)?;
        let mut lists = Vec::new();
        for part in 0..8 {
            let piece = Piece::of(&memory, part * 16 * PAGE, 16 * PAGE);
            let pages = Pages::new(vm.ram(), &[piece], 512)?;
            let opcode = if round % 2 == 0 { io::READ } else { io::WRITE };
            let first = (part * 128) as u64;
            queue.put(&Command::transfer(opcode, NAMESPACE, first, 128).pages(&pages))?;
            lists.push(pages);
        }
        queue.ring()?;
        Controller::disable(&nvme.plug.registers, vm)?;
        assert_eq!(nvme.plug.registers.get(regs::CSTS)?, 0, "CSTS, round {round}");
        settle(vm)?;
        memory.write(0, &vec![0xc3; memory.len()])?;
        let before = queue.completion().to_vec()?;
        settle(vm)?;
        assert!(memory.to_vec()?.iter().all(|byte| *byte == 0xc3), "data after a reset");
        assert_eq!(queue.completion().to_vec()?, before, "completions after a reset");
    }
    enabled(nvme, vm)?.identify(1, 0).map(drop)
}

/// Would catch a function that reads or writes memory while it is no bus master.
fn without_bus_master(nvme: &Nvme, vm: &Rc<Vm>) -> Result<()> {
    use crate::qos::pci::regs::{COMMAND, COMMAND_MASTER};
    let controller = enabled(nvme, vm)?;
    let device = &nvme.plug.device;
    let page = controller.page()?;
    let command = device.config_read16(COMMAND)?;
    device.config_write16(COMMAND, command & !COMMAND_MASTER)?;
    controller.admin().put(&identify(1, 0).at(page.address().0))?;
    controller.admin().ring()?;
    settle(vm)?;
    assert_eq!(page.to_vec()?, [0; PAGE], "what Identify has told without bus master");
    assert!(!controller.admin().has_completion()?, "a completion without bus master");
    device.config_write16(COMMAND, command)?;
    drop(controller);
    enabled(nvme, vm)?.identify(1, 0).map(drop)
}

/// Would catch a queue, a feature or data that does not come along when the machine moves to another
/// QEMU, and a controller that is disabled there.
fn migrate(nvme: &Nvme, vm: &Rc<Vm>) -> Result<()> {
    let controller = enabled(nvme, vm)?;
    let queue = controller.create(1, (4, 4), 0)?;
    let registers = &nvme.plug.registers;
    let state = || {
        Ok::<_, Error>((
            registers.get(regs::CC)?,
            registers.get(regs::AQA)?,
            registers.get(regs::ASQ)?,
            registers.get(regs::ACQ)?,
            registers.get(regs::CSTS)?,
        ))
    };
    let page = controller.page()?;
    let piece = |block: u64| page.write(0, &vec![0x40 + block as u8; PAGE]);
    let blocks = PAGE / 512;
    // Not a whole turn of the queues: their pointers are in the middle.
    for block in 0..5 {
        piece(block)?;
        let write = Command::transfer(io::WRITE, NAMESPACE, 8 * block, blocks);
        let write = write.at(page.address().0);
        assert_status(queue.run(&write, "a write")?, 0, "a write");
    }
    let (before, about) = (state()?, controller.identify(1, 0)?);
    vm.set_up_ends()?;
    // On the form of the path that resets the machine, the path begins anew instead.
    assert_eq!(state()?, before, "CC, AQA, ASQ, ACQ, CSTS");
    for block in 0..5 {
        page.write(0, &vec![0; PAGE])?;
        let read = Command::transfer(io::READ, NAMESPACE, 8 * block, blocks);
        let read = read.at(page.address().0);
        assert_status(queue.run(&read, "a read after the move")?, 0, "a read after the move");
        assert!(page.to_vec()? == vec![0x40 + block as u8; PAGE], "block {block} after the move");
    }
    assert!(controller.identify(1, 0)? == about, "Identify Controller after the move");
    controller.delete(queue)
}
