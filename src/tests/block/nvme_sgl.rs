//! Scatter gather lists of NVMe: data in pieces at any byte, segments, and lists that
//! are wrong (NVM Express 1.4, 4.4, whose sections are cited).

use std::rc::Rc;

use super::nvme::{assert_status, enabled};
use super::nvme_queues::{UNTAKEN, read};
use crate::drivers::block::nvme::Nvme;
use crate::drivers::block::nvme::command::{Command, admin, io, status};
use crate::drivers::block::nvme::controller::{Controller, identify};
use crate::drivers::block::nvme::disk::{NAMESPACE, number};
use crate::drivers::block::nvme::queue::QueuePair;
use crate::drivers::block::nvme::sgl::{self, DESCRIPTOR_BYTES, Descriptor, PSDT_RESERVED, kind};
use crate::qemu::{Buffer, Vm};
use crate::qos::block::{DISK, PAGE};
use crate::{Error, Result, attacks, tests};

tests!(Nvme, "nvme-sgl-tests":
    data_block = "data-block",
    segments,
    chains,
    many_descriptors = "many-descriptors",
    nothing,
    lengths,
    descriptor_types = "descriptor-types",
    segments_refused = "segments-refused",
    nowhere,
    endless,
    admin_commands = "admin-commands",
    reserved,
);
attacks!(Nvme, "nvme-attacks": segments, lengths);

/// SGLS: SGL Bit Bucket descriptors are supported (5.15.2.2).
const BIT_BUCKETS: u32 = 1 << 16;
/// SGLS: a list may be longer than the data.
const EXCESS: u32 = 1 << 18;
/// No machine has RAM there.
const NOWHERE: u64 = 0x00f0_0000_0000;
/// What guest memory holds that no command writes.
const UNTOUCHED: u8 = 0xa5;

/// A queue, memory for data and for lists, and what the controller says of SGLs.
struct Sgl {
    controller: Controller,
    queue: QueuePair,
    data: Buffer,
    lists: Buffer,
    supported: u32,
}

impl Sgl {
    /// Skipped where the controller has no SGLs.
    fn start(nvme: &Nvme, vm: &Rc<Vm>) -> Result<Self> {
        let controller = enabled(nvme, vm)?;
        let supported = number(&controller.identify(1, 0)?, 536, 4) as u32;
        if supported & 3 == 0 {
            return Err(Error::skipped(format!("no SGLs: SGLS is {supported:#x}")));
        }
        let queue = controller.create(1, (4, 4), 0)?;
        let data = vm.ram().alloc(8 * PAGE, PAGE as u64)?;
        let lists = vm.ram().alloc(8 * PAGE, PAGE as u64)?;
        Ok(Self { controller, queue, data, lists, supported })
    }

    /// `length` bytes of the data from `offset` on.
    fn at(&self, offset: usize, length: usize) -> Descriptor {
        Descriptor::data(self.data.address().0 + offset as u64, length as u32)
    }

    /// Has `blocks` blocks from 0 on moved, where `descriptor` says: how that ended.
    fn run(&self, opcode: u8, blocks: usize, descriptor: Descriptor, what: &str) -> Result<u16> {
        let command = Command::transfer(opcode, NAMESPACE, 0, blocks).sgl(descriptor);
        Ok(self.queue.run(&command, what)?.status)
    }

    /// Asserts that a read of `blocks` puts `expected` into the data memory, and nothing elsewhere.
    #[track_caller]
    fn reads(
        &self,
        blocks: usize,
        descriptor: Descriptor,
        expected: &[u8],
        what: &str,
    ) -> Result<()> {
        self.data.write(0, &vec![UNTOUCHED; self.data.len()])?;
        assert_eq!(self.run(io::READ, blocks, descriptor, what)?, status::SUCCESS, "{what}");
        assert!(self.data.to_vec()? == expected, "{what}: guest memory");
        Ok(())
    }

    /// Asserts that a read and a write of `blocks` end with one of `expected`, and that the disk and
    /// the memory are as they were.
    #[track_caller]
    fn refuses(
        &self,
        vm: &Vm,
        blocks: usize,
        descriptor: Descriptor,
        expected: &[u16],
        what: &str,
    ) -> Result<()> {
        let disk = image(vm, blocks)?;
        self.data.write(0, &vec![UNTOUCHED; self.data.len()])?;
        for opcode in [io::READ, io::WRITE] {
            let status = self.run(opcode, blocks, descriptor, what)?;
            let codes: Vec<u16> = expected.iter().map(|code| code & !status::DNR).collect();
            let code = status & !status::DNR;
            assert!(
                codes.contains(&code),
                "{what}, opcode {opcode}: {status:#x} of {expected:#x?}"
            );
        }
        assert!(image(vm, blocks)? == disk, "{what}: the disk was written to");
        let memory = self.data.to_vec()?;
        assert!(
            memory.iter().all(|byte| *byte == UNTOUCHED),
            "{what}: guest memory was written to"
        );
        Ok(())
    }
}

/// The first blocks of the disk.
fn image(vm: &Vm, blocks: usize) -> Result<Vec<u8>> {
    let mut bytes = vec![0; 512 * blocks];
    vm.read_image(DISK.name, 0, &mut bytes)?;
    Ok(bytes)
}

/// Bytes of `blocks` blocks, no two blocks alike.
fn pattern(seed: usize, blocks: usize) -> Vec<u8> {
    (0..512 * blocks).map(|at| (at * 7 + at / 512 * 3 + seed) as u8).collect()
}

/// Would catch data that begin elsewhere than at the byte a descriptor says, and that are written
/// or read beyond its length: in the only descriptor, that in the command.
fn data_block(nvme: &Nvme, vm: &Rc<Vm>) -> Result<()> {
    let sgl = Sgl::start(nvme, vm)?;
    // Where bits 1:0 of SGLS are 2, addresses and lengths are multiples of four.
    let step = if sgl.supported & 3 == 1 { 1 } else { 4 };
    for (blocks, offset) in [(1, 0), (1, step), (3, PAGE - step), (16, 511 * step), (40, 7 * step)]
    {
        let what = format!("{blocks} blocks at {offset}");
        let bytes = pattern(blocks, blocks);
        vm.write_image(DISK.name, 0, &bytes)?;
        let mut expected = vec![UNTOUCHED; sgl.data.len()];
        expected[offset..][..bytes.len()].copy_from_slice(&bytes);
        sgl.reads(blocks, sgl.at(offset, bytes.len()), &expected, &what)?;
        vm.write_image(DISK.name, 0, &vec![0; bytes.len() + 512])?;
        let status = sgl.run(io::WRITE, blocks, sgl.at(offset, bytes.len()), &what)?;
        assert_eq!(status, status::SUCCESS, "a write of {what}");
        let mut behind = bytes;
        behind.extend([0; 512]);
        assert!(image(vm, blocks + 1)? == behind, "the disk after a write of {what}");
    }
    Ok(())
}

/// Would catch pieces that are taken in another order, with another length or twice where a segment
/// ends, and a last segment that is looked for elsewhere than the one before says.
fn segments(nvme: &Nvme, vm: &Rc<Vm>) -> Result<()> {
    moved_in(nvme, vm, &[&[6], &[1, 5], &[5, 1]])
}

/// Would catch a segment between the first and the last that is taken for the last one, or skipped.
fn chains(nvme: &Nvme, vm: &Rc<Vm>) -> Result<()> {
    moved_in(nvme, vm, &[&[2, 2, 2], &[1, 4, 1], &[1, 1, 1, 1, 1, 1]])
}

/// Asserts that blocks in six pieces move, with as many of them in each segment as each of `chains`
/// says.
fn moved_in(nvme: &Nvme, vm: &Rc<Vm>, chains: &[&[usize]]) -> Result<()> {
    let sgl = Sgl::start(nvme, vm)?;
    let blocks = 8;
    let bytes = pattern(1, blocks);
    vm.write_image(DISK.name, 0, &bytes)?;
    // Where each piece is, and how long; the places are not in the order of the data.
    let pieces = [(9000, 12), (20, 500), (4096, 1000), (600, 8), (20_000, 2000), (700, 576)];
    assert_eq!(pieces.iter().map(|piece| piece.1).sum::<usize>(), bytes.len());
    let mut expected = vec![UNTOUCHED; sgl.data.len()];
    let mut from = 0;
    for (offset, length) in pieces {
        expected[offset..][..length].copy_from_slice(&bytes[from..][..length]);
        from += length;
    }
    let all: Vec<Descriptor> =
        pieces.iter().map(|(offset, length)| sgl.at(*offset, *length)).collect();
    for parts in chains {
        let what = format!("segments of {parts:?}");
        let first = chain(&sgl, &all, parts)?;
        sgl.reads(blocks, first, &expected, &what)?;
        vm.write_image(DISK.name, 0, &vec![0; bytes.len()])?;
        assert_eq!(sgl.run(io::WRITE, blocks, first, &what)?, status::SUCCESS, "write, {what}");
        assert!(image(vm, blocks)? == bytes, "the disk after a write, {what}");
    }
    Ok(())
}

/// Segments of `parts` descriptors each, in pages of the list memory: the descriptor of the first.
fn chain(sgl: &Sgl, descriptors: &[Descriptor], parts: &[usize]) -> Result<Descriptor> {
    let (mut next, mut end) = (None, descriptors.len());
    for (page, part) in parts.iter().enumerate().rev() {
        let mut here = descriptors[end - part..end].to_vec();
        end -= part;
        here.extend(next);
        let address = sgl::write(&sgl.lists, page * PAGE + 16 * page, &here)?;
        next = Some(Descriptor::segment(address, here.len(), page + 1 == parts.len()));
    }
    next.ok_or_else(|| Error::failed("a list of no segment"))
}

/// Would catch descriptors that are lost where a long segment is read in parts: every byte of one
/// or two blocks has a descriptor of its own.
fn many_descriptors(nvme: &Nvme, vm: &Rc<Vm>) -> Result<()> {
    let sgl = Sgl::start(nvme, vm)?;
    let lists = vm.ram().alloc(16 * PAGE, PAGE as u64)?;
    let step = if sgl.supported & 3 == 1 { 1 } else { 4 };
    for blocks in [1, 2] {
        let bytes = pattern(5, blocks);
        vm.write_image(DISK.name, 0, &bytes)?;
        let mut expected = vec![UNTOUCHED; sgl.data.len()];
        let mut descriptors = Vec::new();
        for (number, piece) in bytes.chunks(step).enumerate() {
            let offset = 8 * number;
            expected[offset..][..step].copy_from_slice(piece);
            descriptors.push(sgl.at(offset, step));
        }
        let what = format!("{} descriptors in the last segment", descriptors.len());
        let address = sgl::write(&lists, 0, &descriptors)?;
        let last = Descriptor::segment(address, descriptors.len(), true);
        sgl.reads(blocks, last, &expected, &what)?;
        // As many, with another segment behind that has the last one.
        let end = descriptors.pop();
        let address = sgl::write(&sgl.lists, 0, &Vec::from_iter(end))?;
        descriptors.push(Descriptor::segment(address, 1, true));
        let first = Descriptor::segment(lists.address().0, descriptors.len(), false);
        sgl::write(&lists, 0, &descriptors)?;
        sgl.reads(blocks, first, &expected, &format!("{what}, one of them behind it"))?;
    }
    Ok(())
}

/// Would catch a descriptor of no byte that ends the list, counts, or is refused (4.4: a Data Block
/// of length zero is valid).
fn nothing(nvme: &Nvme, vm: &Rc<Vm>) -> Result<()> {
    let sgl = Sgl::start(nvme, vm)?;
    let bytes = pattern(3, 2);
    vm.write_image(DISK.name, 0, &bytes)?;
    let mut expected = vec![UNTOUCHED; sgl.data.len()];
    expected[100..][..1000].copy_from_slice(&bytes[..1000]);
    expected[4000..][..24].copy_from_slice(&bytes[1000..]);
    let nothing = Descriptor::data(NOWHERE, 0);
    let list = [nothing, sgl.at(100, 1000), nothing, nothing, sgl.at(4000, 24)];
    let last = Descriptor::segment(sgl::write(&sgl.lists, 0, &list)?, list.len(), true);
    sgl.reads(2, last, &expected, "descriptors of no byte among others")
}

/// Would catch a list with less room than the data that is taken, and one with more, unless the
/// controller says that it takes these (SGLS bit 18).
fn lengths(nvme: &Nvme, vm: &Rc<Vm>) -> Result<()> {
    let sgl = Sgl::start(nvme, vm)?;
    vm.write_image(DISK.name, 0, &pattern(2, 2))?;
    let invalid = [status::INVALID_SGL_LENGTH];
    for short in [0, 4, 1000, 1020] {
        let what = format!("a descriptor of {short} bytes for 1024");
        sgl.refuses(vm, 2, sgl.at(0, short), &invalid, &what)?;
        let list = [sgl.at(2000, 0), sgl.at(0, short)];
        let last = Descriptor::segment(sgl::write(&sgl.lists, 0, &list)?, 2, true);
        sgl.refuses(vm, 2, last, &invalid, &format!("{what} in a segment"))?;
    }
    if sgl.supported & EXCESS == 0 {
        let list = [sgl.at(0, 1024), sgl.at(2000, 4)];
        let last = Descriptor::segment(sgl::write(&sgl.lists, 0, &list)?, 2, true);
        sgl.refuses(vm, 2, last, &invalid, "four bytes more than the data")?;
    }
    Ok(())
}

/// Would catch a descriptor of a type that does not exist, or is not supported, and is taken for
/// data or ends QEMU (4.4).
fn descriptor_types(nvme: &Nvme, vm: &Rc<Vm>) -> Result<()> {
    let sgl = Sgl::start(nvme, vm)?;
    vm.write_image(DISK.name, 0, &pattern(2, 2))?;
    // The first of a command must be data, or a segment.
    let whole = [status::INVALID_DESCRIPTOR_TYPE, status::INVALID_SEGMENT];
    let inside = [status::INVALID_DESCRIPTOR_TYPE];
    let bucket = (sgl.supported & BIT_BUCKETS == 0).then_some(kind::BIT_BUCKET);
    for identifier in bucket.into_iter().chain([0x40, 0x60, 0x70, 0xf0]) {
        let wrong = Descriptor { identifier, ..sgl.at(0, 1024) };
        sgl.refuses(vm, 2, wrong, &whole, &format!("a descriptor {identifier:#x} in the command"))?;
        for at in 0..2 {
            let mut list = [sgl.at(0, 512), sgl.at(512, 512)];
            list[at].identifier = identifier;
            let last = Descriptor::segment(sgl::write(&sgl.lists, 0, &list)?, 2, true);
            let what = format!("a descriptor {identifier:#x}, number {at} of a segment");
            sgl.refuses(
                vm,
                2,
                last,
                &if at == 0 { inside.to_vec() } else { whole.to_vec() },
                &what,
            )?;
        }
    }
    Ok(())
}

/// Would catch a segment of no descriptor, or of a part of one, or that is not the last thing in the
/// segment before, or that follows on a last segment, and that is taken (4.4).
fn segments_refused(nvme: &Nvme, vm: &Rc<Vm>) -> Result<()> {
    let sgl = Sgl::start(nvme, vm)?;
    vm.write_image(DISK.name, 0, &pattern(2, 2))?;
    let good = [sgl.at(0, 1024)];
    let address = sgl::write(&sgl.lists, PAGE, &good)?;
    let segment = [status::INVALID_SEGMENT];
    for length in [0, 1, 8, 15, 17, 24] {
        for last in [false, true] {
            let wrong = Descriptor { length, ..Descriptor::segment(address, 1, last) };
            let what = format!("a segment of {length} bytes");
            sgl.refuses(vm, 2, wrong, &segment, &what)?;
            let list = [sgl.at(0, 512), wrong];
            let first = Descriptor::segment(sgl::write(&sgl.lists, 0, &list)?, 2, false);
            sgl.refuses(vm, 2, first, &segment, &format!("{what} behind another"))?;
        }
    }
    let count = [status::INVALID_SEGMENT, status::INVALID_DESCRIPTOR_COUNT];
    for last in [false, true] {
        let next = Descriptor::segment(address, 1, last);
        let list = [sgl.at(0, 512), next];
        let first = Descriptor::segment(sgl::write(&sgl.lists, 0, &list)?, 2, true);
        sgl.refuses(vm, 2, first, &count, &format!("a segment behind the last (last: {last})"))?;
        let list = [sgl.at(0, 512), next, sgl.at(512, 512)];
        for ends in [false, true] {
            let first = Descriptor::segment(sgl::write(&sgl.lists, 0, &list)?, 3, ends);
            sgl.refuses(vm, 2, first, &count, "a segment in the middle of another")?;
        }
    }
    Ok(())
}

/// Would catch a segment in no memory with which a command is said to be done, data in no memory that
/// end QEMU, and a controller that is of no use afterwards.
fn nowhere(nvme: &Nvme, vm: &Rc<Vm>) -> Result<()> {
    let sgl = Sgl::start(nvme, vm)?;
    vm.write_image(DISK.name, 0, &pattern(2, 2))?;
    let next = Descriptor::segment(NOWHERE, 2, true);
    let list = sgl::write(&sgl.lists, 0, &[sgl.at(0, 512), next])?;
    // Whether a write on the bus has arrived anywhere, no function of PCI knows.
    for (what, descriptor) in [
        ("data in no memory", Descriptor::data(NOWHERE, 1024)),
        ("data at the end of addresses", Descriptor::data(u64::MAX - 511, 1024)),
    ] {
        for opcode in [io::READ, io::WRITE] {
            sgl.run(opcode, 2, descriptor, what)?;
        }
    }
    for (what, descriptor) in [
        ("a segment in no memory", next),
        ("a segment at the end of addresses", Descriptor::segment(u64::MAX - 15, 4, true)),
        ("a second segment in no memory", Descriptor::segment(list, 2, false)),
        ("a segment of 4 GiB", Descriptor { length: 0xffff_fff0, ..next }),
    ] {
        for opcode in [io::READ, io::WRITE] {
            let status = sgl.run(opcode, 2, descriptor, what)?;
            assert_ne!(status, status::SUCCESS, "{what}, opcode {opcode}");
        }
    }
    let page = sgl.data.address().0;
    assert_status(sgl.queue.run(&read(0, page), "a read")?, status::SUCCESS, "a read after that");
    Ok(())
}

/// Would catch a controller that follows segments without end: one whose last descriptor is itself,
/// with no byte of data on the way. The command may be refused, but QEMU goes on.
fn endless(nvme: &Nvme, vm: &Rc<Vm>) -> Result<()> {
    vm.note_lasting(UNTAKEN);
    let sgl = Sgl::start(nvme, vm)?;
    vm.hurry();
    let here = sgl.lists.address().0;
    let again =
        |at: usize, count| Descriptor::segment(here + (at * DESCRIPTOR_BYTES) as u64, count, false);
    for (what, list, first) in [
        ("a segment that is only itself", vec![again(0, 1)], again(0, 1)),
        ("a segment of no byte, and itself", vec![sgl.at(0, 0), again(0, 2)], again(0, 2)),
        ("two segments in a circle", vec![again(1, 1), again(0, 1)], again(0, 1)),
    ] {
        sgl::write(&sgl.lists, 0, &list)?;
        let status = sgl.run(io::READ, 2, first, what)?;
        assert_ne!(status, status::SUCCESS, "{what}");
    }
    sgl.controller.identify(1, 0).map(drop)
}

/// Would catch an admin command with an SGL that is done, which controllers of PCI Express do not
/// take (4.2).
fn admin_commands(nvme: &Nvme, vm: &Rc<Vm>) -> Result<()> {
    let sgl = Sgl::start(nvme, vm)?;
    sgl.data.write(0, &vec![UNTOUCHED; sgl.data.len()])?;
    let log = Command::new(admin::GET_LOG_PAGE, u32::MAX).with(10, &[2 | 127 << 16]);
    for (what, command) in [("Identify", identify(1, 0)), ("Get Log Page", log)] {
        let command = command.sgl(sgl.at(0, PAGE));
        let completion = sgl.controller.admin().run(&command, what)?;
        assert_status(completion, status::INVALID_FIELD, what);
    }
    let memory = sgl.data.to_vec()?;
    assert!(memory.iter().all(|byte| *byte == UNTOUCHED), "what was refused was written");
    Ok(())
}

/// Would catch a reserved value of PSDT, and halves of a fused operation, which the controller says
/// it does not have (FUSES), that are taken (4.2).
fn reserved(nvme: &Nvme, vm: &Rc<Vm>) -> Result<()> {
    let sgl = Sgl::start(nvme, vm)?;
    vm.write_image(DISK.name, 0, &pattern(2, 2))?;
    let before = image(vm, 2)?;
    let fuses = number(&sgl.controller.identify(1, 0)?, 522, 2);
    assert_eq!(fuses & 1, 0, "FUSES: Compare and Write");
    sgl.data.write(0, &vec![UNTOUCHED; sgl.data.len()])?;
    for flags in [PSDT_RESERVED, 1, 2, 3] {
        for opcode in [io::READ, io::WRITE] {
            let command = Command::transfer(opcode, NAMESPACE, 0, 2).at(sgl.data.address().0);
            let what = format!("opcode {opcode} with flags {flags:#x}");
            let completion = sgl.queue.run(&Command { flags, ..command }, &what)?;
            // Whether it is of use to try again is the controller's word.
            let code = completion.status | status::DNR;
            assert_eq!(code, status::INVALID_FIELD, "{what}: {completion:x?}");
        }
    }
    assert!(image(vm, 2)? == before, "the disk was written to");
    let memory = sgl.data.to_vec()?;
    assert!(memory.iter().all(|byte| *byte == UNTOUCHED), "guest memory was written to");
    Ok(())
}
