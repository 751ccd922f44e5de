//! UFS host controllers: the list of requests and the queues, queries, commands to logical units,
//! and requests that break the rules (JESD223E, UFSHCI 4.0; JESD220F, UFS 4.0).

use std::rc::Rc;

use crate::drivers::block::ufs::host::{ENTRIES, Host};
use crate::drivers::block::ufs::registers::{self as regs, queue};
use crate::drivers::block::ufs::upiu::{self, Done, Query, Request};
use crate::drivers::block::ufs::{BLOCK, UNIT, Ufs, ZEROES};
use crate::qemu::Vm;
use crate::qos::block::{DISK, Piece};
use crate::qos::registers::RegistersExt;
use crate::qos::scsi::cdb;
use crate::{Error, Result, attacks, tests};

tests!(Ufs, "ufs-tests":
    reg_read = "reg-read",
    init,
    legacy_read_write = "legacy-read-write",
    mcq_read_write = "mcq-read-write",
    mcq_cq_wraparound = "mcq-cq-wraparound",
    all_slots = "all-slots",
    pieces,
    residual,
    units,
    unit_attention = "unit-attention",
    restart,
    hostile_requests = "hostile-requests",
    hostile_list = "hostile-list",
);
attacks!(Ufs, "ufs-attacks": legacy_read_write = "legacy-read-write", mcq_read_write = "mcq-read-write");

/// The flag of operations in the background (JESD220F, 14.2).
pub(super) const BACKGROUND: u8 = 0x04;
/// The descriptor of the device (14.1).
pub(super) const DEVICE: u8 = 0x00;

pub(super) fn started(ufs: &Ufs, vm: &Rc<Vm>, with_queues: bool) -> Result<Host> {
    ufs.plug.device.bus().reaches_ram()?;
    let host = Host::start(&ufs.plug.registers, vm, with_queues)?;
    for unit in [UNIT, ZEROES] {
        settle(&host, unit)?;
    }
    Ok(host)
}

/// Has a unit tell what it has to tell first.
pub(super) fn settle(host: &Host, unit: u8) -> Result<()> {
    for _ in 0..8 {
        let ready = Request::command(unit, &cdb::TEST_UNIT_READY, false, &[]);
        if host.run(ready, "TEST UNIT READY")?.status() == 0 {
            return Ok(());
        }
    }
    Err(Error::failed(format!("unit {unit} does not become ready")))
}

/// Runs a command that must end with GOOD.
pub(super) fn good(host: &Host, request: Request, what: &str) -> Result<Done> {
    let done = host.run(request, what)?;
    assert_eq!((done.response(), done.status()), (0, 0), "{what}: {:x?}", done.sense());
    Ok(done)
}

fn transfer(unit: u8, is_write: bool, block: u32, memory: &[Piece]) -> Request {
    let length: usize = memory.iter().map(|piece| piece.length).sum();
    let cdb = cdb::transfer(10, is_write, block, (length / BLOCK) as u16);
    Request::command(unit, &cdb, is_write, memory)
}

/// Would catch capabilities that the controller does not have, and a version that is none.
fn reg_read(ufs: &Ufs, _: &Rc<Vm>) -> Result<()> {
    let registers = &ufs.plug.registers;
    let cap = registers.get(regs::CAP)?;
    assert_eq!(cap & regs::CAP_NUTRS, 31, "CAP.NUTRS: {cap:#x}");
    assert_eq!(cap >> 16 & 7, 7, "CAP.NUTMRS: {cap:#x}");
    assert_eq!(cap & regs::CAP_64AS, regs::CAP_64AS, "CAP.64AS: {cap:#x}");
    let version = registers.get(regs::VER)?;
    // 4.0 and 4.1 (5.2.3).
    assert!([0x400, 0x410].contains(&version), "VER: {version:#x}");
    assert_eq!(registers.get(regs::HCE)? & 1, 0, "HCE before it was set");
    assert_eq!(registers.get(regs::HCS)? & regs::HCS_DP, 0, "HCS.DP before the link was started");
    for register in [regs::IS, regs::IE, regs::UTRLDBR, regs::UTRLRSR] {
        assert_eq!(registers.get(register)?, 0, "{register} at first");
    }
    Ok(())
}

/// Would catch a controller that does not find its device, or answers no request.
fn init(ufs: &Ufs, vm: &Rc<Vm>) -> Result<()> {
    let host = started(ufs, vm, false)?;
    let done = host.run(Request::nop(), "NOP OUT")?;
    assert_eq!((done.kind(), done.response()), (upiu::NOP | upiu::ANSWER, 0), "NOP IN");
    let memory = vm.ram().alloc(36, 4)?;
    let inquiry = Request::command(UNIT, &cdb::inquiry(36), false, &[Piece::whole(&memory)]);
    good(&host, inquiry, "INQUIRY")?;
    let found = memory.to_vec()?;
    assert_eq!(found[0], 0, "a disk: {found:02x?}");
    assert_eq!(&found[8..16], b"QEMU    ", "its vendor");
    Ok(())
}

/// Moves blocks of both units and compares with the image.
fn read_write(host: &Host, vm: &Rc<Vm>) -> Result<()> {
    let buffer = vm.ram().alloc(4 * BLOCK, BLOCK as u64)?;
    let last = (DISK.size / BLOCK as u64) as u32;
    for (number, (block, count)) in [(0, 1), (7, 4), (last - 2, 2)].into_iter().enumerate() {
        let what = format!("{count} blocks at {block}");
        let length = count * BLOCK;
        let data: Vec<u8> = (0..length).map(|at| (at * 7 + at / 256 + number) as u8).collect();
        buffer.write(0, &data)?;
        let write = transfer(UNIT, true, block, &[Piece::of(&buffer, 0, length)]);
        assert_eq!(good(host, write, &what)?.residual(), 0, "{what}");
        let mut found = vec![0; length];
        vm.read_image(DISK.name, u64::from(block) * BLOCK as u64, &mut found)?;
        assert!(found == data, "what was written, {what}");
        let other: Vec<u8> = data.iter().map(|byte| !byte).collect();
        vm.write_image(DISK.name, u64::from(block) * BLOCK as u64, &other)?;
        let read = transfer(UNIT, false, block, &[Piece::of(&buffer, 0, length)]);
        assert_eq!(good(host, read, &what)?.residual(), 0, "{what}");
        assert!(buffer.to_vec()?[..length] == other, "what was read, {what}");
    }
    let past = transfer(UNIT, false, last, &[Piece::of(&buffer, 0, BLOCK)]);
    let done = host.run(past, "a read past the end")?;
    let found = (done.response(), done.status(), done.sense());
    assert_eq!(found, (1, 2, Some((5, 0x21, 0))), "a read past the end");
    Ok(())
}

/// Would catch blocks that are lost, moved or another unit's, through the list of requests.
fn legacy_read_write(ufs: &Ufs, vm: &Rc<Vm>) -> Result<()> {
    read_write(&started(ufs, vm, false)?, vm)
}

/// Would catch the same through queues.
fn mcq_read_write(ufs: &Ufs, vm: &Rc<Vm>) -> Result<()> {
    read_write(&started(ufs, vm, true)?, vm)
}

/// Would catch an entry that is written past the end of a completion queue, or over another.
fn mcq_cq_wraparound(ufs: &Ufs, vm: &Rc<Vm>) -> Result<()> {
    let host = started(ufs, vm, true)?;
    for round in 1..=3 * ENTRIES {
        let count = (round % (ENTRIES - 1) + 1) as usize;
        for done in host.run_all(&vec![Request::nop(); count])? {
            done.carried_out(&Request::nop(), &format!("round {round}"))?;
        }
    }
    Ok(())
}

/// Would catch a request that is lost, or another's answer, where all slots are in use.
fn all_slots(ufs: &Ufs, vm: &Rc<Vm>) -> Result<()> {
    for with_queues in [false, true] {
        let host = started(ufs, vm, with_queues)?;
        let count = host.slots()? as usize;
        let buffer = vm.ram().alloc(count * BLOCK, BLOCK as u64)?;
        for number in 0..count {
            let place = (number * BLOCK) as u64;
            vm.write_image(DISK.name, place, &vec![number as u8 + 1; BLOCK])?;
        }
        for _ in 0..2 {
            buffer.write(0, &vec![0; count * BLOCK])?;
            let piece = |number: usize| Piece::of(&buffer, number * BLOCK, BLOCK);
            let requests: Vec<Request> = (0..count)
                .map(|number| transfer(UNIT, false, number as u32, &[piece(number)]))
                .collect();
            for (number, done) in host.run_all(&requests)?.into_iter().enumerate() {
                let done = done.carried_out(&requests[number], &format!("request {number}"))?;
                assert_eq!((done.status(), done.upiu[3]), (0, number as u8), "status and tag");
            }
            for (number, found) in buffer.to_vec()?.chunks_exact(BLOCK).enumerate() {
                assert!(found.iter().all(|byte| *byte == number as u8 + 1), "block {number}");
            }
        }
    }
    Ok(())
}

/// Would catch data that is moved or lost where it is in many pieces of odd sizes.
fn pieces(ufs: &Ufs, vm: &Rc<Vm>) -> Result<()> {
    let host = started(ufs, vm, false)?;
    let length = 8 * BLOCK;
    let data: Vec<u8> = (0..length).map(|at| (at * 13 + at / 512) as u8).collect();
    vm.write_image(DISK.name, 0, &data)?;
    let buffer = vm.ram().alloc(3 * length, BLOCK as u64)?;
    for sizes in [&[4][..], &[512, 4, 1020], &[4096], &[12_288, 4, 8], &[length]] {
        buffer.write(0, &vec![0x5a; 3 * length])?;
        let (mut pieces, mut done, mut at) = (Vec::new(), 0, 4);
        for size in sizes.iter().cycle() {
            // At the most as many as there is room for in a list; the rest is in one.
            let size =
                if pieces.len() == 300 { length - done } else { *size.min(&(length - done)) };
            pieces.push(Piece::of(&buffer, at, size));
            (done, at) = (done + size, at + size + 4);
            if done == length {
                break;
            }
        }
        good(&host, transfer(UNIT, false, 0, &pieces), "a read")?;
        let found = buffer.to_vec()?;
        let mut expected = vec![0x5a; 3 * length];
        let mut from = 0;
        for piece in &pieces {
            let to = (piece.address - buffer.address().0) as usize;
            expected[to..to + piece.length].copy_from_slice(&data[from..from + piece.length]);
            from += piece.length;
        }
        let wrong = found.iter().zip(&expected).position(|(found, expected)| found != expected);
        assert_eq!(wrong, None, "the first wrong byte, in pieces of {sizes:?}");
    }
    Ok(())
}

/// Would catch a residual that is not what is left, and data beyond what there is (10.7.2).
fn residual(ufs: &Ufs, vm: &Rc<Vm>) -> Result<()> {
    let host = started(ufs, vm, false)?;
    let buffer = vm.ram().alloc(512, 4)?;
    buffer.write(0, &[0x5a; 512])?;
    let inquiry = Request::command(UNIT, &cdb::inquiry(36), false, &[Piece::whole(&buffer)]);
    let done = good(&host, inquiry, "INQUIRY with too much room")?;
    // The flag U, and how much of the room is left.
    assert_eq!((done.upiu[1] & 0x60, done.residual()), (0x20, 512 - 36), "flags and residual");
    assert_eq!(buffer.to_vec()?[36..], [0x5a; 512 - 36], "behind the data");
    Ok(())
}

/// Would catch a command to a unit that is not there and is done, or hangs (10.6.8), and
/// well-known units that do not answer (10.6.8.5).
fn units(ufs: &Ufs, vm: &Rc<Vm>) -> Result<()> {
    let host = started(ufs, vm, false)?;
    let buffer = vm.ram().alloc(256, 4)?;
    let memory = [Piece::whole(&buffer)];
    for unit in [1, 2, 31, 0x7f] {
        let request = Request::command(unit, &cdb::TEST_UNIT_READY, false, &[]);
        let done = host.run(request, &format!("a command to unit {unit}"))?;
        assert_ne!((done.response(), done.status()), (0, 0), "unit {unit}");
    }
    // REPORT LUNS, UFS device, boot, RPMB.
    let luns = Request::command(0x81, &cdb::report_luns(255), false, &memory);
    good(&host, luns, "REPORT LUNS")?;
    let found = buffer.to_vec()?;
    assert_eq!(found[..4], [0, 0, 0, 16], "the length of the list");
    assert_eq!((found[9], found[17]), (UNIT, ZEROES), "the units: {:02x?}", &found[..24]);
    for unit in [0xd0, 0x81] {
        let request = Request::command(unit, &cdb::inquiry(36), false, &memory);
        good(&host, request, &format!("INQUIRY of {unit:#x}"))?;
        assert_eq!(buffer.to_vec()?[0] & 0x1f, 0x1e, "a well-known unit");
    }
    settle(&host, UNIT)
}

/// Would catch a unit that does not say that it was reset, or says it for ever (JESD220F, 7.1).
fn unit_attention(ufs: &Ufs, vm: &Rc<Vm>) -> Result<()> {
    ufs.plug.device.bus().reaches_ram()?;
    let host = Host::start(&ufs.plug.registers, vm, false)?;
    for unit in [UNIT, ZEROES] {
        let ready = Request::command(unit, &cdb::TEST_UNIT_READY, false, &[]);
        let done = host.run(ready.clone(), "the first command")?;
        let found = (done.response(), done.status(), done.sense());
        assert_eq!(found, (1, 2, Some((6, 0x29, 0))), "the first command to unit {unit}");
        good(&host, ready, "the second command")?;
    }
    Ok(())
}

/// Would catch a controller that does not work again once it was disabled, or goes on with what it
/// was told before.
fn restart(ufs: &Ufs, vm: &Rc<Vm>) -> Result<()> {
    for with_queues in [false, true, false, true, true] {
        let host = started(ufs, vm, with_queues)?;
        host.query(Query::SetFlag, (BACKGROUND, 0), 0)?;
        host.run(Request::nop(), "NOP OUT")?;
        host.leave_queues();
        vm.note_lasting("queues that a reset of the controller leaves");
        drop(host);
        let registers = &ufs.plug.registers;
        assert_eq!(registers.get(regs::HCE)? & 1, 0, "HCE");
        registers.set(regs::UTRLDBR, 1)?;
        crate::qos::settle(vm)?;
        // A controller that is enabled has its registers' first values (5.3.4).
        registers.set(regs::HCE, 1)?;
        let base = u64::from(registers.get(regs::MCQCAP)? >> 16 & 0xff) * 0x200;
        for (queue, attributes) in [("submission", queue::SQATTR), ("completion", queue::CQATTR)] {
            let enabled = registers.read32(base + attributes)? & queue::ENABLED;
            assert_eq!(enabled, 0, "whether the {queue} queue is enabled from before");
        }
    }
    Ok(())
}

/// Would catch a request that breaks the rules and ends or hangs QEMU, or keeps others from being
/// done.
fn hostile_requests(ufs: &Ufs, vm: &Rc<Vm>) -> Result<()> {
    vm.note_lasting("requests that a reset of the controller leaves");
    let buffer = vm.ram().alloc(BLOCK, BLOCK as u64)?;
    let read = transfer(UNIT, false, 0, &[Piece::whole(&buffer)]);
    let outside = [0x40_0000_0000, u64::MAX - 3, 0];
    let mut requests: Vec<(String, Request)> = Vec::new();
    for address in outside {
        let pieces = vec![(address, BLOCK as u32 - 1)];
        requests.push((format!("data at {address:#x}"), Request { pieces, ..read.clone() }));
    }
    for length in [0, 2, 0x3_ffff, u32::MAX] {
        let pieces = vec![(buffer.address().0, length)];
        requests.push((format!("a piece of {length:#x}"), Request { pieces, ..read.clone() }));
    }
    for count in [0, 2, 1000, u16::MAX] {
        let told_pieces = Some(count);
        requests.push((format!("{count} pieces"), Request { told_pieces, ..read.clone() }));
    }
    for answer in [(0, 0), (u16::MAX, u16::MAX), (0x100, 0), (0x100, u16::MAX)] {
        let told_answer = Some(answer);
        requests
            .push((format!("an answer at {answer:x?}"), Request { told_answer, ..read.clone() }));
    }
    for kind in [0, 2, 7, 15] {
        requests.push((format!("the command type {kind}"), Request { kind, ..read.clone() }));
    }
    for kind in [0x02, 0x04, 0x20, 0x3f, 0xff] {
        let mut request = Request::nop();
        request.upiu[0] = kind;
        requests.push((format!("a unit of type {kind:#x}"), request));
    }
    for (at, value) in [(8, 0xff), (10, 0xff), (12, 0xff), (14, 0xff)] {
        let mut request = read.clone();
        request.upiu[at] = value;
        requests.push((format!("{value:#x} at {at} of a command"), request));
    }
    for value in [0xff, 0xf0] {
        let mut request = Request::query(Query::WriteDescriptor, (DEVICE, 0), 0, &[value; 64]);
        request.upiu[10..12].copy_from_slice(&[value, value]);
        request.upiu[18..20].copy_from_slice(&[value, value]);
        requests.push((format!("a descriptor of {value:#x}{value:x} bytes"), request));
    }
    for (what, request) in requests {
        let context = |e: Error| e.context(what.clone());
        for with_queues in [false, true] {
            let host = started(ufs, vm, with_queues).map_err(context)?;
            // It may be refused, done or ignored; the controller works on, at the latest once it
            // was disabled.
            let _ = attempt(&host, &request);
            drop(host);
            let host = started(ufs, vm, with_queues).map_err(context)?;
            good(&host, read.clone(), &what)?;
        }
    }
    Ok(())
}

/// Makes a request without waiting for long: it may never end.
fn attempt(host: &Host, request: &Request) -> Result<()> {
    host.hand_over(request)?;
    crate::qos::settle(host.vm())
}

/// Would catch a list or a command descriptor outside of RAM that ends or hangs QEMU.
fn hostile_list(ufs: &Ufs, vm: &Rc<Vm>) -> Result<()> {
    vm.note_lasting("requests that a reset of the controller leaves");
    for address in [0x40_0000_0000_u64, 0xffff_ffff_ffff_fc00, 0] {
        let host = started(ufs, vm, false)?;
        let registers = host.registers();
        registers.set(regs::UTRLBA, address as u32)?;
        registers.set(regs::UTRLBAU, (address >> 32) as u32)?;
        registers.set(regs::UTRLDBR, u32::MAX)?;
        crate::qos::settle(vm)?;
        drop(host);
        let host = started(ufs, vm, false)?;
        host.run(Request::nop(), &format!("NOP OUT after a list at {address:#x}"))?;
    }
    // What is asked for while the list is not to be run (5.4.5).
    let host = started(ufs, vm, false)?;
    host.registers().set(regs::UTRLRSR, 0)?;
    host.hand_over(&Request::nop())?;
    crate::qos::settle(vm)?;
    Ok(())
}
