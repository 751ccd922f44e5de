//! Zones of NVMe: what a zone says of itself, writes in order, and appends
//! (Zoned Namespace Command Set 1.1, whose sections are cited).

use std::rc::Rc;

use super::nvme_data::{NO_NAMESPACES, assert_code};
use crate::drivers::block::nvme::Nvme;
use crate::drivers::block::nvme::command::{Command, Completion, Pages, io, status};
use crate::drivers::block::nvme::controller::{Controller, identify};
use crate::drivers::block::nvme::disk::{NAMESPACE, number};
use crate::drivers::block::nvme::queue::QueuePair;
use crate::drivers::block::nvme::registers::CC_CSS_ALL;
use crate::graph::QemuArgs;
use crate::qemu::{Buffer, Vm};
use crate::qos::block::{DISK, PAGE, Piece};
use crate::{Result, tests};

tests!(Nvme, "nvme-zones-tests":
    told,
    in_order = "in-order",
    full,
    boundary,
    append,
    append_refused = "append-refused",
    refused,
    after_reset = "after-reset";
    with ZONED);

/// Zones of 64 KiB, of which 48 KiB can be written; two may be open, and three active.
pub(super) const ZONED: QemuArgs = QemuArgs::NONE
    .after(
        "-set device.nvme0.drive= -device nvme-ns,drive=drive0,bus=nvme0,nsid=1,zoned=true,\
         zoned.zone_size=64K,zoned.zone_capacity=48K,zoned.max_open=2,zoned.max_active=3",
    )
    .may_refuse(&NO_NAMESPACES);

/// Blocks from the start of a zone to that of the next, and how many of them can be written.
pub(super) const ZONE: u64 = 128;
pub(super) const CAPACITY: u64 = 96;
/// The entries of a list of pages.
pub(super) const ENTRIES: usize = PAGE / 8;
/// The number of zones.
pub(super) const ZONES: u64 = DISK.size / 512 / ZONE;

/// Zone Send Actions (3.4.3).
pub(super) mod action {
    pub(in super::super) const CLOSE: u32 = 1;
    pub(in super::super) const FINISH: u32 = 2;
    pub(in super::super) const OPEN: u32 = 3;
    pub(in super::super) const RESET: u32 = 4;
    pub(in super::super) const OFFLINE: u32 = 5;
    /// Select All.
    pub(in super::super) const ALL: u32 = 1 << 8;
}

/// Zone states (2.1.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Empty = 1,
    ImplicitlyOpen = 2,
    ExplicitlyOpen = 3,
    Closed = 4,
    Full = 14,
}

/// A zone descriptor (3.4.2.2.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Zone {
    pub(super) kind: u8,
    pub(super) state: u8,
    pub(super) capacity: u64,
    pub(super) start: u64,
    /// The write pointer, which is not valid of a full zone.
    pub(super) pointer: u64,
}

/// The controller with its zones, a queue, and memory for data.
pub(super) struct Zones {
    pub(super) controller: Controller,
    pub(super) queue: QueuePair,
    pub(super) memory: Buffer,
}

impl Zones {
    pub(super) fn start(nvme: &Nvme, vm: &Rc<Vm>) -> Result<Self> {
        nvme.plug.device.bus().reaches_ram()?;
        vm.note_lasting("the states of its zones");
        let zones = Self::enable(nvme, vm)?;
        zones.done(0, action::RESET | action::ALL, "a reset of all zones")?;
        Ok(zones)
    }

    pub(super) fn enable(nvme: &Nvme, vm: &Rc<Vm>) -> Result<Self> {
        let controller = Controller::enable_with(&nvme.plug.registers, vm, CC_CSS_ALL)?;
        let queue = controller.create(1, (4, 4), 0)?;
        let memory = vm.ram().alloc(16 * PAGE, PAGE as u64)?;
        Ok(Self { controller, queue, memory })
    }

    /// Zone Management Send: how it ends.
    pub(super) fn send(&self, block: u64, action: u32, what: &str) -> Result<Completion> {
        let dwords = [block as u32, (block >> 32) as u32, 0, action];
        self.queue.run(&Command::new(io::ZONE_SEND, NAMESPACE).with(10, &dwords), what)
    }

    /// A Zone Management Send that must succeed.
    #[track_caller]
    pub(super) fn done(&self, block: u64, action: u32, what: &str) -> Result<()> {
        assert_code(self.send(block, action, what)?, status::SUCCESS, what);
        Ok(())
    }

    /// Zone Management Receive of `length` bytes for zones from `block` on, with these bits of dword
    /// 13: how it ends, and what is in memory.
    pub(super) fn receive(
        &self,
        block: u64,
        length: usize,
        bits: u32,
    ) -> Result<(Completion, Vec<u8>)> {
        self.memory.write(0, &vec![0xa5; self.memory.len()])?;
        let dwords = [block as u32, (block >> 32) as u32, (length / 4) as u32 - 1, bits];
        let at = self.memory.address().0;
        let command = Command::new(io::ZONE_RECEIVE, NAMESPACE).with(10, &dwords);
        let command = Command { prp1: at, prp2: at + PAGE as u64, ..command };
        Ok((self.queue.run(&command, "a report of zones")?, self.memory.to_vec()?))
    }

    /// The zones from `block` on that `bits` ask for, of at most `most`: how many there are, and
    /// their descriptors.
    pub(super) fn report(&self, block: u64, most: usize, bits: u32) -> Result<(u64, Vec<Zone>)> {
        let (completion, bytes) = self.receive(block, 64 * (most + 1), bits)?;
        assert_code(completion, status::SUCCESS, "a report of zones");
        let count = number(&bytes, 0, 8);
        let zones = bytes[64..].chunks_exact(64).take(most.min(count as usize)).map(|zone| Zone {
            kind: zone[0],
            state: zone[1] >> 4,
            capacity: number(zone, 8, 8),
            start: number(zone, 16, 8),
            pointer: number(zone, 24, 8),
        });
        Ok((count, zones.collect()))
    }

    /// Asserts the state of zone `zone`, and how many of its blocks are written.
    #[track_caller]
    pub(super) fn assert_zone(
        &self,
        zone: u64,
        state: State,
        written: u64,
        what: &str,
    ) -> Result<()> {
        let start = zone * ZONE;
        let (_, zones) = self.report(start, 1, 0)?;
        let mut found = zones[0];
        let mut expected = Zone {
            kind: 2,
            state: state as u8,
            capacity: CAPACITY,
            start,
            pointer: start + written,
        };
        if state == State::Full {
            (found.pointer, expected.pointer) = (0, 0);
        }
        assert_eq!(found, expected, "{what}: zone {zone}, which should be {state:?}");
        Ok(())
    }

    /// Writes `blocks` at `first`, each filled with `fill`.
    pub(super) fn write(&self, first: u64, blocks: usize, fill: u8) -> Result<Completion> {
        self.transfer(Command::transfer(io::WRITE, NAMESPACE, first, blocks), blocks, fill)
    }

    /// Appends `blocks` to the zone that begins at `first`.
    pub(super) fn append(&self, first: u64, blocks: usize, fill: u8) -> Result<Completion> {
        self.transfer(Command::transfer(io::ZONE_APPEND, NAMESPACE, first, blocks), blocks, fill)
    }

    pub(super) fn transfer(&self, command: Command, blocks: usize, fill: u8) -> Result<Completion> {
        self.memory.write(0, &vec![fill; 512 * blocks])?;
        let piece = Piece::of(&self.memory, 0, 512 * blocks);
        let pages = Pages::new(self.controller.vm().ram(), &[piece], ENTRIES)?;
        let what = format!("command {:#x} of {blocks} blocks", command.opcode);
        self.queue.run(&command.pages(&pages), &what)
    }

    /// A read of `blocks` at `first`: how it ends, and what each block is filled with.
    pub(super) fn read(&self, first: u64, blocks: usize) -> Result<(Completion, Vec<u8>)> {
        let completion =
            self.transfer(Command::transfer(io::READ, NAMESPACE, first, blocks), blocks, 0xa5)?;
        let bytes = self.memory.to_vec()?;
        let fill = bytes.chunks_exact(512).take(blocks).map(|block| {
            let same = block.iter().all(|byte| *byte == block[0]);
            if same { block[0] } else { 0xee }
        });
        Ok((completion, fill.collect()))
    }

    /// Asserts what each block at `first` is filled with.
    #[track_caller]
    pub(super) fn assert_blocks(&self, first: u64, expected: &[u8], what: &str) -> Result<()> {
        let (completion, found) = self.read(first, expected.len())?;
        assert_code(completion, status::SUCCESS, what);
        assert_eq!(found, expected, "{what}: blocks from {first} on");
        Ok(())
    }
}

/// Would catch a namespace that does not say what zones it has, and zones that begin elsewhere, are
/// of another size, or are not empty at first (4.1.5.1, 3.4.2.2).
fn told(nvme: &Nvme, vm: &Rc<Vm>) -> Result<()> {
    let zones = Zones::start(nvme, vm)?;
    let page = zones.controller.page()?;
    // Identify of a command set: its number, 2, is in dword 11.
    let command = identify(5, NAMESPACE).at(page.address().0);
    let command = Command { dwords: [command.dwords[0], 2 << 24, 0, 0, 0, 0], ..command };
    zones.controller.admin().succeed(&command, "Identify of the zoned command set")?;
    let about = page.to_vec()?;
    assert_eq!((number(&about, 4, 4), number(&about, 8, 4)), (2, 1), "MAR, MOR");
    let format = usize::from(zones.controller.identify(0, NAMESPACE)?[26] & 0xf);
    assert_eq!(number(&about, 2816 + 16 * format, 8), ZONE, "LBAFE: ZSZE");
    assert_eq!(number(&zones.controller.identify(0, NAMESPACE)?, 0, 8), ZONES * ZONE, "NSZE");
    // Two pages hold the header and 127 descriptors.
    for first in [0, 127, 254] {
        let (count, found) = zones.report(first * ZONE, 127, 0)?;
        assert_eq!(count, ZONES - first, "zones from number {first} on");
        for (at, zone) in found.iter().enumerate() {
            let start = (first + at as u64) * ZONE;
            let state = State::Empty as u8;
            let expected = Zone { kind: 2, state, capacity: CAPACITY, start, pointer: start };
            assert_eq!(*zone, expected, "zone {}", first + at as u64);
        }
    }
    Ok(())
}

/// Would catch a write elsewhere than at the write pointer that is done, a pointer that does not move
/// or moves for another zone, and data that go elsewhere (2.1.1.2.1).
fn in_order(nvme: &Nvme, vm: &Rc<Vm>) -> Result<()> {
    let zones = Zones::start(nvme, vm)?;
    for first in [1, 5, CAPACITY - 1] {
        let completion = zones.write(ZONE + first, 1, 0x11)?;
        assert_code(completion, status::ZONE_INVALID_WRITE, "a write behind the pointer");
    }
    zones.assert_zone(1, State::Empty, 0, "after what was refused")?;
    for (first, blocks, fill) in [(0, 1, 0x21), (1, 8, 0x22), (9, 20, 0x23)] {
        let what = format!("{blocks} blocks at {first}");
        assert_code(zones.write(ZONE + first, blocks, fill)?, status::SUCCESS, &what);
        zones.assert_zone(1, State::ImplicitlyOpen, first + blocks as u64, &what)?;
        for wrong in [first, first + blocks as u64 + 1] {
            let completion = zones.write(ZONE + wrong, 1, 0x99)?;
            assert_code(completion, status::ZONE_INVALID_WRITE, &format!("a write at {wrong}"));
        }
    }
    let mut expected = vec![0x21; 1];
    expected.extend([0x22; 8]);
    expected.extend([0x23; 20]);
    // What is not written yet reads as zeroes (DLFEAT).
    expected.extend([0; 3]);
    zones.assert_blocks(ZONE, &expected, "what was written")?;
    zones.assert_zone(0, State::Empty, 0, "the zone before")?;
    zones.assert_zone(2, State::Empty, 0, "the zone behind")?;
    // A reset forgets the data.
    zones.done(ZONE, action::RESET, "a reset of the zone")?;
    zones.assert_zone(1, State::Empty, 0, "after a reset")?;
    zones.assert_blocks(ZONE, &[0; 32], "after a reset")
}

/// Would catch a zone that takes more than its capacity, is not full at its end, or takes a write when
/// it is.
fn full(nvme: &Nvme, vm: &Rc<Vm>) -> Result<()> {
    let zones = Zones::start(nvme, vm)?;
    let start = 3 * ZONE;
    assert_code(zones.write(start, 90, 1)?, status::SUCCESS, "90 blocks");
    let completion = zones.write(start + 90, 7, 2)?;
    assert_code(completion, status::ZONE_BOUNDARY, "one block more than the capacity");
    zones.assert_zone(3, State::ImplicitlyOpen, 90, "after what was refused")?;
    assert_code(zones.write(start + 90, 6, 3)?, status::SUCCESS, "the last six blocks");
    zones.assert_zone(3, State::Full, CAPACITY, "with all of its capacity written")?;
    for at in [0, 95, 96, 127] {
        let completion = zones.write(start + at, 1, 4)?;
        assert_code(completion, status::ZONE_FULL, &format!("block {at} of a full zone"));
    }
    let mut expected = vec![1; 90];
    expected.extend([3; 6]);
    zones.assert_blocks(start, &expected, "what was written")
}

/// Would catch a write or a read over the end of a zone, which is in two of them (2.1.1.2.1, 2.1.1.4).
fn boundary(nvme: &Nvme, vm: &Rc<Vm>) -> Result<()> {
    let zones = Zones::start(nvme, vm)?;
    let completion = zones.write(0, CAPACITY as usize + 1, 1)?;
    assert_code(completion, status::ZONE_BOUNDARY, "a write of more than the capacity");
    zones.assert_zone(0, State::Empty, 0, "after what was refused")?;
    zones.assert_zone(1, State::Empty, 0, "after what was refused")?;
    // OZCS: reads may not cross zones.
    let (completion, _) = zones.read(ZONE - 1, 2)?;
    assert_code(completion, status::ZONE_BOUNDARY, "a read of two zones");
    zones.assert_blocks(ZONE - 32, &[0; 32], "the end of a zone")?;
    zones.assert_blocks(ZONE, &[0; 32], "the start of a zone")?;
    let (completion, _) = zones.read(ZONES * ZONE - 1, 2)?;
    assert_code(completion, status::LBA_RANGE, "a read past the last zone");
    Ok(())
}

/// Would catch an append that goes elsewhere than to the write pointer, or tells another place (3.4.1).
fn append(nvme: &Nvme, vm: &Rc<Vm>) -> Result<()> {
    let zones = Zones::start(nvme, vm)?;
    let start = 5 * ZONE;
    let mut at = 0;
    for (blocks, fill) in [(1, 0x31), (7, 0x32), (60, 0x33), (28, 0x34)] {
        let completion = zones.append(start, blocks, fill)?;
        let found = (completion.status, u64::from(completion.result));
        assert_eq!(found, (status::SUCCESS, start + at), "{blocks} blocks appended behind {at}");
        zones.assert_blocks(start + at, &vec![fill; blocks], "what was appended")?;
        at += blocks as u64;
        let state = if at == CAPACITY { State::Full } else { State::ImplicitlyOpen };
        zones.assert_zone(5, state, at, &format!("{at} blocks appended"))?;
    }
    Ok(())
}

/// Would catch an append to something that is no start of a zone, to a full zone, or over its end.
fn append_refused(nvme: &Nvme, vm: &Rc<Vm>) -> Result<()> {
    let zones = Zones::start(nvme, vm)?;
    let start = 6 * ZONE;
    assert_code(zones.append(start + 1, 1, 1)?, status::INVALID_FIELD, "inside a zone");
    assert_code(zones.append(ZONES * ZONE, 1, 1)?, status::LBA_RANGE, "behind the last zone");
    zones.assert_zone(6, State::Empty, 0, "after what was refused")?;
    assert_code(zones.write(start, 95, 1)?, status::SUCCESS, "95 blocks");
    assert_code(zones.append(start, 2, 1)?, status::ZONE_BOUNDARY, "over the end");
    zones.assert_zone(6, State::ImplicitlyOpen, 95, "after what was refused")?;
    assert_code(zones.append(start, 1, 1)?, status::SUCCESS, "the last block");
    assert_code(zones.append(start, 1, 1)?, status::ZONE_FULL, "to a full zone");
    zones.assert_zone(6, State::Full, CAPACITY, "after what was refused")
}

/// Would catch an action that does not exist, or for something that is no start of a zone, which is
/// done or ends QEMU.
fn refused(nvme: &Nvme, vm: &Rc<Vm>) -> Result<()> {
    let zones = Zones::start(nvme, vm)?;
    assert_code(zones.write(0, 4, 1)?, status::SUCCESS, "a write");
    let end = ZONES * ZONE;
    for (block, action, expected) in [
        (1, action::RESET, status::INVALID_FIELD),
        (ZONE - 1, action::FINISH, status::INVALID_FIELD),
        (end, action::RESET, status::LBA_RANGE),
        (u64::MAX, action::RESET, status::LBA_RANGE),
        (0, 0, status::INVALID_FIELD),
        (0, 6, status::INVALID_FIELD),
        (0, 0xff, status::INVALID_FIELD),
        // Extensions of descriptors, which this namespace does not have.
        (0, 0x10, status::INVALID_FIELD),
    ] {
        let what = format!("action {action:#x} of block {block:#x}");
        assert_code(zones.send(block, action, &what)?, expected, &what);
        zones.assert_zone(0, State::ImplicitlyOpen, 4, &what)?;
    }
    for (block, length, bits, expected) in [
        (end, 64, 0, status::LBA_RANGE),
        (0, 64, 2, status::INVALID_FIELD),
        (0, 64, 0xff, status::INVALID_FIELD),
        (0, 64, 9 << 8, status::INVALID_FIELD),
    ] {
        let what = format!("a report of block {block:#x}, dword 13 {bits:#x}");
        let (completion, memory) = zones.receive(block, length, bits)?;
        assert_code(completion, expected, &what);
        assert!(memory.iter().all(|byte| *byte == 0xa5), "{what}: memory was written to");
    }
    Ok(())
}

/// Would catch a reset of the controller after which zones have lost what was written, or are open
/// still (2.1.1.5).
fn after_reset(nvme: &Nvme, vm: &Rc<Vm>) -> Result<()> {
    let zones = Zones::start(nvme, vm)?;
    assert_code(zones.write(10 * ZONE, 4, 1)?, status::SUCCESS, "a write");
    zones.done(20 * ZONE, action::FINISH, "a finish")?;
    assert_code(zones.write(30 * ZONE, 5, 2)?, status::SUCCESS, "a write");
    zones.done(30 * ZONE, action::OPEN, "an open")?;
    drop(zones);
    let zones = Zones::enable(nvme, vm)?;
    zones.assert_zone(20, State::Full, CAPACITY, "after a reset")?;
    zones.assert_blocks(10 * ZONE, &[1, 1, 1, 1, 0], "after a reset")?;
    for (zone, written) in [(10, 4), (30, 5)] {
        let (_, found) = zones.report(zone * ZONE, 1, 0)?;
        assert_eq!(found[0].pointer, zone * ZONE + written, "the pointer of zone {zone}");
        let completion = zones.write(zone * ZONE + written, 1, 3)?;
        assert_code(completion, status::SUCCESS, &format!("a write to zone {zone}"));
    }
    Ok(())
}
