//! Block devices of every kind: capacity, identity, and data, compared with the image byte for
//! byte in both directions.

use std::rc::Rc;

use crate::qemu::{Buffer, Vm};
use crate::qos::block::{BlockDevice, DISK, Identity, Outcome, PAGE, Piece, SERIAL};
use crate::qos::reset;
use crate::{Result, attacks, tests};

tests!(dyn BlockDevice, "block-tests":
    identity,
    data,
    ends,
    past_the_end = "past-the-end",
    sizes,
    unaligned,
    scattered,
    flush,
    trim,
    write_zeroes = "write-zeroes",
    device_reset = "device-reset",
    machine_reset = "machine-reset",
);
attacks!(dyn BlockDevice, "block-attacks": data, trim, scattered);

/// Bytes of which no two blocks are equal, from a block and a seed on.
fn pattern(seed: u64, block: u64, length: usize) -> Vec<u8> {
    let word = |at: u64| (at + seed).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ seed << 56;
    let words = (block * 64..).map(word).flat_map(u64::to_le_bytes);
    words.take(length).collect()
}

/// What an image has where nobody has written.
const NOTHING: u8 = 0;
/// What memory has where nobody has written.
const UNTOUCHED: u8 = 0xa5;

/// A disk, started, and what it says of itself.
struct Started<'a> {
    disk: &'a dyn BlockDevice,
    vm: &'a Rc<Vm>,
    blocks: u64,
    block: usize,
}

impl<'a> Started<'a> {
    fn new(disk: &'a dyn BlockDevice, vm: &'a Rc<Vm>) -> Result<Self> {
        disk.start(vm)?;
        vm.set_up_ends()?;
        let Identity { blocks, block_size, .. } = disk.identify()?;
        Ok(Self { disk, vm, blocks, block: block_size })
    }

    fn image(&self, first: u64, length: usize) -> Result<Vec<u8>> {
        let mut bytes = vec![0; length];
        self.vm.read_image(DISK.name, first * self.block as u64, &mut bytes)?;
        Ok(bytes)
    }

    fn set_image(&self, first: u64, bytes: &[u8]) -> Result<()> {
        self.vm.write_image(DISK.name, first * self.block as u64, bytes)
    }

    /// Guest memory of `length` bytes, `offset` behind the start of a page, in a page of its own
    /// that is filled with [`UNTOUCHED`].
    fn memory(&self, offset: usize, length: usize) -> Result<Memory> {
        let whole = (offset + length).next_multiple_of(PAGE);
        let buffer = self.vm.ram().alloc(whole, PAGE as u64)?;
        buffer.write(0, &vec![UNTOUCHED; whole])?;
        Ok(Memory { buffer, offset, length })
    }

    /// Reads `count` blocks, which must succeed, and nothing around the memory may change.
    fn read(&self, first: u64, count: usize, offset: usize) -> Result<Vec<u8>> {
        let memory = self.memory(offset, count * self.block)?;
        let what = format!("{count} blocks read at {first:#x}");
        self.disk.read(first, &[memory.piece()])?.done(&what)?;
        memory.content(&what)
    }

    /// Writes `data`, which must succeed and leave the memory as it is.
    fn write(&self, first: u64, data: &[u8], offset: usize) -> Result<()> {
        let memory = self.memory(offset, data.len())?;
        memory.buffer.write(offset, data)?;
        let what = format!("{} bytes written at {first:#x}", data.len());
        self.disk.write(first, &[memory.piece()])?.done(&what)?;
        assert_same(&memory.content(&what)?, data, &format!("{what}, the memory"));
        Ok(())
    }

    /// Reads what is in the image, writes something else, and reads that back.
    fn exchange(&self, seed: u64, first: u64, count: usize, offset: usize) -> Result<()> {
        let what = |text: &str| format!("{count} blocks at {first:#x}, {text}");
        let (there, new) = (
            pattern(seed, first, count * self.block),
            pattern(seed + 1000, first, count * self.block),
        );
        self.set_image(first, &there)?;
        let beside = self.beside(first, count)?;
        assert_same(&self.read(first, count, offset)?, &there, &what("read"));
        self.write(first, &new, offset)?;
        assert_same(&self.image(first, new.len())?, &new, &what("in the image"));
        assert_eq!(self.beside(first, count)?, beside, "{}", what("the blocks beside"));
        assert_same(&self.read(first, count, offset)?, &new, &what("read back"));
        Ok(())
    }

    /// The blocks before and behind, where there are any.
    fn beside(&self, first: u64, count: usize) -> Result<[Vec<u8>; 2]> {
        let after = first + count as u64;
        let before = if first > 0 { self.image(first - 1, self.block)? } else { Vec::new() };
        let behind = if after < self.blocks { self.image(after, self.block)? } else { Vec::new() };
        Ok([before, behind])
    }
}

/// Guest memory for a request, and the rest of its pages.
struct Memory {
    buffer: Buffer,
    offset: usize,
    length: usize,
}

impl Memory {
    fn piece(&self) -> Piece {
        Piece::of(&self.buffer, self.offset, self.length)
    }

    /// What is in it, when all around it is untouched.
    fn content(&self, what: &str) -> Result<Vec<u8>> {
        let mut all = self.buffer.to_vec()?;
        let after = all.split_off(self.offset + self.length);
        let content = all.split_off(self.offset);
        let is_untouched = |bytes: &[u8]| bytes.iter().all(|byte| *byte == UNTOUCHED);
        assert!(is_untouched(&all), "{what}: memory before the data has changed");
        assert!(is_untouched(&after), "{what}: memory behind the data has changed");
        Ok(content)
    }
}

#[track_caller]
fn assert_same(found: &[u8], expected: &[u8], what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}: its length in bytes");
    if let Some(at) = found.iter().zip(expected).position(|(a, b)| a != b) {
        let some = |bytes: &[u8]| hex::encode(&bytes[at..bytes.len().min(at + 16)]);
        panic!("{what}: from byte {at} on it is {}, not {}", some(found), some(expected));
    }
}

/// Would catch a capacity that is not the image's, blocks of another size than is told, and
/// another serial number or model than the device was given.
fn identity(disk: &dyn BlockDevice, vm: &Rc<Vm>) -> Result<()> {
    disk.start(vm)?;
    let found = disk.identify()?;
    let model = disk.limits()?.model.map(str::to_owned);
    let expected = Identity {
        blocks: DISK.size / found.block_size as u64,
        block_size: found.block_size,
        // A back end of the user's chooses it.
        serial: match vm.has_user_backend() {
            true => found.serial.clone(),
            false => SERIAL.to_owned(),
        },
        model,
    };
    assert_eq!(found, expected);
    assert!([512, 4096].contains(&found.block_size), "blocks of {} bytes", found.block_size);
    Ok(())
}

/// Would catch blocks that are shifted, swapped, repeated or left out on their way in either
/// direction, and ones that are written beside those that were meant.
fn data(disk: &dyn BlockDevice, vm: &Rc<Vm>) -> Result<()> {
    let started = Started::new(disk, vm)?;
    let end = started.blocks;
    // Every bit of a block's number is set in one of these, and clear in another.
    let firsts = (0..64).map(|bit| 1 << bit).take_while(|first| *first < end / 2);
    for (seed, first) in firsts.enumerate() {
        started.set_image(first, &pattern(seed as u64, first, 3 * started.block))?;
        started.exchange(100 + seed as u64, first + 1, 1, 0)?;
    }
    Ok(())
}

/// Would catch a first or last block that cannot be reached, or is another.
fn ends(disk: &dyn BlockDevice, vm: &Rc<Vm>) -> Result<()> {
    let started = Started::new(disk, vm)?;
    let end = started.blocks;
    for (seed, first, count) in [(1, 0, 1), (2, 0, 5), (3, end - 1, 1), (4, end - 7, 7)] {
        started.exchange(seed, first, count, 0)?;
    }
    Ok(())
}

/// Would catch a request that reaches past the end and is done, or half done, one that wraps
/// round to the first blocks, and a device that is of no use afterwards.
fn past_the_end(disk: &dyn BlockDevice, vm: &Rc<Vm>) -> Result<()> {
    let started = Started::new(disk, vm)?;
    let end = started.blocks;
    let (first, last) = (pattern(1, 0, 8 * started.block), pattern(2, end - 8, 8 * started.block));
    started.set_image(0, &first)?;
    started.set_image(end - 8, &last)?;
    for (at, count) in [(end, 1), (end - 1, 2), (end - 7, 8), (end + 1, 1), (2 * end, 3)] {
        let memory = started.memory(0, count * started.block)?;
        let what = format!("{count} blocks at {at:#x} of {end:#x}");
        assert_eq!(disk.read(at, &[memory.piece()])?, Outcome::PastTheEnd, "{what}, read");
        let untouched = vec![UNTOUCHED; memory.length];
        assert_same(&memory.content(&what)?, &untouched, &format!("{what}, read"));
        assert_eq!(disk.write(at, &[memory.piece()])?, Outcome::PastTheEnd, "{what}, written");
        assert_same(&started.image(0, first.len())?, &first, &format!("{what}, first blocks"));
        assert_same(&started.image(end - 8, last.len())?, &last, &format!("{what}, last blocks"));
    }
    started.exchange(3, end - 1, 1, 0)
}

/// Would catch requests of one block, an odd number, or as many as there can be, that are cut
/// short or wrong, and one of more blocks than that which is done.
fn sizes(disk: &dyn BlockDevice, vm: &Rc<Vm>) -> Result<()> {
    let started = Started::new(disk, vm)?;
    let limits = disk.limits()?;
    let most = limits.most_blocks;
    let per_page = PAGE / started.block;
    let counts =
        [1, 2, 3, 5, per_page, per_page + 1, 2 * per_page + 1, 17, 127, 128, 129, 255, 256];
    let counts = counts.into_iter().filter(|count| *count < most).chain([most - 1, most]);
    for (seed, count) in counts.enumerate() {
        started.exchange(seed as u64, 16 + seed as u64, count, 0)?;
    }
    if let Some(count) = limits.too_many {
        let memory = started.memory(0, count * started.block)?;
        let before = started.image(0, (count + 1) * started.block)?;
        let outcome = disk.read(0, &[memory.piece()])?;
        assert_eq!(outcome, Outcome::TooMany, "{count} blocks, read");
        memory.content("too many blocks")?;
        let outcome = disk.write(0, &[memory.piece()])?;
        assert_eq!(outcome, Outcome::TooMany, "{count} blocks, written");
        assert_same(&started.image(0, before.len())?, &before, "too many blocks");
    }
    Ok(())
}

/// Would catch memory whose address is no multiple of a page or of a block being rounded, or
/// going on in another page than the next.
fn unaligned(disk: &dyn BlockDevice, vm: &Rc<Vm>) -> Result<()> {
    let started = Started::new(disk, vm)?;
    let alignment = disk.limits()?.alignment;
    let offsets = [alignment, 512, 512 + alignment, PAGE - 512, PAGE - alignment];
    for (seed, offset) in offsets.into_iter().enumerate() {
        for count in [1, 2, PAGE / started.block, 40] {
            started.exchange((8 * seed + count) as u64, 32 + 64 * seed as u64, count, offset)?;
        }
    }
    Ok(())
}

/// Would catch pieces of one request that are mixed up, or taken for one piece.
fn scattered(disk: &dyn BlockDevice, vm: &Rc<Vm>) -> Result<()> {
    let started = Started::new(disk, vm)?;
    const PAGES: usize = 12;
    let memory = started.memory(0, 2 * PAGES * PAGE)?;
    // Backwards, every other page; and the first and last of less than a page.
    let mut order: Vec<usize> = (0..PAGES).map(|page| 2 * (PAGES - 1 - page)).collect();
    order.swap(3, 7);
    let mut pieces: Vec<(usize, usize)> = order.iter().map(|page| (page * PAGE, PAGE)).collect();
    pieces[0] = (pieces[0].0 + PAGE - 512, 512);
    pieces[PAGES - 1].1 = PAGE - 512;
    let list: Vec<Piece> =
        pieces.iter().map(|&(at, length)| Piece::of(&memory.buffer, at, length)).collect();
    let length: usize = pieces.iter().map(|piece| piece.1).sum();
    let there = pattern(7, 40, length);
    started.set_image(40, &there)?;
    disk.read(40, &list)?.done("scattered, read")?;
    let mut expected = vec![UNTOUCHED; memory.length];
    let mut from = &there[..];
    for &(at, length) in &pieces {
        let (part, rest) = from.split_at(length);
        expected[at..at + length].copy_from_slice(part);
        from = rest;
    }
    assert_same(&memory.buffer.to_vec()?, &expected, "scattered, read");
    let beside = started.beside(400, length / started.block)?;
    disk.write(400, &list)?.done("scattered, written")?;
    assert_same(&started.image(400, length)?, &there, "scattered, written");
    assert_eq!(started.beside(400, length / started.block)?, beside, "the blocks beside");
    Ok(())
}

/// Would catch a flush that is not answered or loses what was written.
fn flush(disk: &dyn BlockDevice, vm: &Rc<Vm>) -> Result<()> {
    let started = Started::new(disk, vm)?;
    let data = pattern(9, 77, 9 * started.block);
    disk.flush()?.done("a flush with nothing written")?;
    started.write(77, &data, 0)?;
    disk.flush()?.done("a flush")?;
    assert_same(&started.image(77, data.len())?, &data, "flushed, in the image");
    assert_same(&started.read(77, 9, 0)?, &data, "flushed, read");
    Ok(())
}

/// Clears blocks in the middle of others by `clear`, and asks it for some past the end.
fn cleared(
    started: &Started,
    what: &str,
    past_the_end: Outcome,
    clear: impl Fn(u64, usize) -> Result<Outcome>,
) -> Result<()> {
    let block = started.block;
    let end = started.blocks;
    for (seed, first, count) in [(1, 64, 24), (2, 1000, 8), (3, end - 16, 16)] {
        let around = pattern(seed, first - 16, (count + 16) * block);
        started.set_image(first - 16, &around)?;
        clear(first, count)?.done(&format!("{what} of {count} blocks at {first:#x}"))?;
        let mut expected = around;
        expected[16 * block..].fill(NOTHING);
        let found = started.image(first - 16, expected.len())?;
        assert_same(&found, &expected, &format!("{what} at {first:#x}, in the image"));
        let read = started.read(first - 16, count + 16, 0)?;
        assert_same(&read, &expected, &format!("{what} at {first:#x}, read"));
    }
    let last = pattern(4, end - 16, 16 * block);
    started.set_image(end - 16, &last)?;
    for (first, count) in [(end, 8), (end - 8, 16)] {
        let outcome = clear(first, count)?;
        assert_eq!(outcome, past_the_end, "{what} of {count} blocks at {first:#x}");
        assert_same(&started.image(end - 16, last.len())?, &last, &format!("{what} past the end"));
    }
    Ok(())
}

/// Would catch a trim of other blocks than those that were meant, one that does not reach the
/// image, and one past the end that is done.
fn trim(disk: &dyn BlockDevice, vm: &Rc<Vm>) -> Result<()> {
    let started = Started::new(disk, vm)?;
    let limits = disk.limits()?;
    if !limits.trims {
        return disk.trim(0, 1).map(drop);
    }
    let past_the_end = if limits.trim_is_hint { Outcome::Done } else { Outcome::PastTheEnd };
    cleared(&started, "trim", past_the_end, |first, count| disk.trim(first, count))
}

/// Would catch zeroes in other blocks than those that were meant, or none.
fn write_zeroes(disk: &dyn BlockDevice, vm: &Rc<Vm>) -> Result<()> {
    let started = Started::new(disk, vm)?;
    if !disk.limits()?.writes_zeroes {
        return disk.write_zeroes(0, 1).map(drop);
    }
    cleared(&started, "zeroes", Outcome::PastTheEnd, |first, count| disk.write_zeroes(first, count))
}

/// Would catch a reset by software that loses data, or a device that takes no request after it.
fn device_reset(disk: &dyn BlockDevice, vm: &Rc<Vm>) -> Result<()> {
    for round in 0..3 {
        let started = Started::new(disk, vm)?;
        if round > 0 {
            let kept = pattern(round - 1, 200, 11 * started.block);
            assert_same(&started.read(200, 11, 0)?, &kept, "read after a reset");
        }
        started.write(200, &pattern(round, 200, 11 * started.block), 0)?;
    }
    Ok(())
}

/// Would catch a reset of the machine that loses data, or a device that takes no request or
/// says something else of itself after it.
fn machine_reset(disk: &dyn BlockDevice, vm: &Rc<Vm>) -> Result<()> {
    let started = Started::new(disk, vm)?;
    let (before, kept) = (disk.identify()?, pattern(5, 300, 13 * started.block));
    started.write(300, &kept, 0)?;
    reset(vm)?;
    assert_same(&started.image(300, kept.len())?, &kept, "in the image after a reset");
    let again = disk.remapped()?;
    let started = Started::new(&*again, vm)?;
    assert_eq!(again.identify()?, before, "what it says after a reset");
    assert_same(&started.read(300, 13, 0)?, &kept, "read after a reset");
    started.exchange(6, 300, 13, 0)
}
