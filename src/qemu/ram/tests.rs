//! Guest memory without a QEMU: mapped, with nobody at the other end of the socket, and
//! over the protocol, with a peer that has memory and nothing else.

use std::cell::Cell;
use std::io::{BufRead, BufReader, Write};
use std::mem::forget;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use vm_memory::{Bytes, FileOffset, MmapRegion, VolatileMemory};

use super::*;
use crate::protocol::{Deadline, Transcript};

const BASE: u64 = 0x4000_0000;
const SIZE: u64 = 0x1_0000;
const SPEC: RamSpec = RamSpec { base: BASE, size: SIZE, usable: (0x2000, 0xa000) };

/// RAM full of a byte that no allocation writes, so that what was written can be told.
const OLD: u8 = 0xee;

fn qtest(near: UnixStream) -> Rc<Qtest> {
    let (deadline, transcript) = (Rc::new(Deadline::new()), Rc::new(Transcript::default()));
    Rc::new(Qtest::new(near, deadline, transcript).unwrap())
}

/// RAM that is mapped, of a QEMU that is gone.
fn mapped(spec: RamSpec) -> Rc<Ram> {
    let (near, _) = UnixStream::pair().unwrap();
    Ram::new(spec, Some(Mapping::new(spec.size).unwrap()), qtest(near))
}

/// Has `SIZE` bytes of memory at `BASE` and answers as QEMU does, until nobody asks.
fn serve(far: UnixStream) {
    let mut memory = vec![0; SIZE as usize];
    let hex = |word: &str| u64::from_str_radix(&word[2..], 16).unwrap();
    let mut lines = BufReader::new(far);
    let mut line = String::new();
    while lines.read_line(&mut line).unwrap() > 0 {
        let words: Vec<&str> = line.split_whitespace().collect();
        let at = (hex(words[1]) - BASE) as usize;
        let place = &mut memory[at..at + hex(words[2]) as usize];
        let answer = match words[0] {
            "b64write" => {
                place.copy_from_slice(&STANDARD.decode(words[3]).unwrap());
                "OK\n".to_owned()
            }
            "b64read" => format!("OK {}\n", STANDARD.encode(place)),
            other => panic!("{other} is not asked of memory"),
        };
        lines.get_mut().write_all(answer.as_bytes()).unwrap();
        line.clear();
    }
}

/// Runs `test` on RAM that is mapped, and on RAM that is reached over the protocol.
fn both(test: impl Fn(&Rc<Ram>)) {
    let ram = mapped(SPEC);
    assert!(ram.is_mapped());
    test(&ram);

    let (near, far) = UnixStream::pair().unwrap();
    let peer = std::thread::spawn(|| serve(far));
    let ram = Ram::new(SPEC, None, qtest(near));
    assert!(!ram.is_mapped());
    test(&ram);
    assert_eq!(Rc::strong_count(&ram), 1, "the test kept the RAM");
    drop(ram);
    peer.join().unwrap();
}

fn fill(ram: &Ram) {
    ram.write(GuestAddress(BASE), &[OLD; SIZE as usize]).unwrap();
}

fn all(ram: &Ram) -> Vec<u8> {
    let mut bytes = vec![0; SIZE as usize];
    ram.read(GuestAddress(BASE), &mut bytes).unwrap();
    bytes
}

fn message<T>(result: Result<T>) -> String {
    match result {
        Err(Error::Failed(message)) => message,
        Err(other) => panic!("another error: {other}"),
        Ok(_) => panic!("no error"),
    }
}

/// Would catch a buffer that shows what was in memory before, one that is not aligned, or
/// one whose guards are outside what tests may use.
#[test]
fn a_buffer_is_zeroed_aligned_and_inside_what_is_usable() {
    both(|ram| {
        fill(ram);
        for align in [1, 2, 4, 16, 32, 512, 0x1000, 0x4000] {
            for length in [0, 1, 13, 0x1000] {
                let buffer = ram.alloc(length, align).unwrap();
                let at = buffer.address().0;
                assert_eq!(at % align, 0, "{align}");
                assert_eq!((buffer.len(), buffer.is_empty()), (length, length == 0));
                assert_eq!(buffer.to_vec().unwrap(), vec![0; length]);
                assert!(at >= BASE + 0x2010 && at + length as u64 + 16 <= BASE + 0xa000);
            }
        }
        let memory = all(ram);
        assert!(memory[..0x2000].iter().all(|&byte| byte == OLD));
        assert!(memory[0xa000..].iter().all(|&byte| byte == OLD));
        assert!(ram.findings().is_empty(), "{:?}", ram.findings());
    });
}

/// Would catch bytes in the wrong order or at the wrong offset, and one way to reach
/// memory that differs from the other.
#[test]
fn typed_values_are_the_bytes_they_should_be() {
    both(|ram| {
        let buffer = ram.alloc(28, 4).unwrap();
        buffer.write_le16(0, 0x0102).unwrap();
        buffer.write_be16(2, 0x0304).unwrap();
        buffer.write_le32(4, 0x0506_0708).unwrap();
        buffer.write_be32(8, 0x090a_0b0c).unwrap();
        buffer.write_le64(12, 0x0d0e_0f10_1112_1314).unwrap();
        buffer.write_be64(20, 0x1516_1718_191a_1b1c).unwrap();
        let expected = [
            2, 1, 3, 4, 8, 7, 6, 5, 9, 10, 11, 12, 0x14, 0x13, 0x12, 0x11, 0x10, 15, 14, 13, 0x15,
            0x16, 0x17, 0x18, 0x19, 0x1a, 0x1b, 0x1c,
        ];
        assert_eq!(buffer.to_vec().unwrap(), expected);
        assert_eq!(buffer.read_le16(0).unwrap(), 0x0102);
        assert_eq!(buffer.read_be16(0).unwrap(), 0x0201);
        assert_eq!(buffer.read_le32(8).unwrap(), 0x0c0b_0a09);
        assert_eq!(buffer.read_be32(8).unwrap(), 0x090a_0b0c);
        assert_eq!(buffer.read_le64(20).unwrap(), 0x1c1b_1a19_1817_1615);
        assert_eq!(buffer.read_be64(20).unwrap(), 0x1516_1718_191a_1b1c);
        let mut straight = [0; 28];
        ram.read(buffer.address(), &mut straight).unwrap();
        assert_eq!(straight, expected);
    });
}

/// Would catch a device or test that writes beside its buffer and is not found out, is
/// blamed on the wrong buffer, or is told twice.
#[test]
fn overwritten_guards_are_found_once() {
    both(|ram| {
        for align in [1, 0x1000] {
            let before = ram.findings().len();
            let [low, high, good] = [ram.alloc(8, align), ram.alloc(5, align), ram.alloc(8, 1)];
            let (low, high, good) = (low.unwrap(), high.unwrap(), good.unwrap());
            ram.write(GuestAddress(low.address().0 - 1), &[7]).unwrap();
            ram.write(GuestAddress(high.address().0 + 5), &[7]).unwrap();
            let expected = [
                format!("of 8 bytes at {:#x}: the 16 bytes before it were", low.address().0),
                format!("of 5 bytes at {:#x}: the 16 bytes after it were", high.address().0),
            ];
            drop((low, high, good));
            for _ in 0..2 {
                let findings = &ram.findings()[before..];
                assert_eq!(findings.len(), 2, "{findings:?}");
                assert!(findings[0].contains(&expected[0]), "{findings:?}");
                assert!(findings[1].contains(&expected[1]), "{findings:?}");
            }
        }
        // The last byte of a guard counts as well.
        let (count, from) = (ram.findings().len(), ram.alloc(5, 1).unwrap());
        ram.write(GuestAddress(from.address().0 + 5 + 15), &[7]).unwrap();
        drop(from);
        assert_eq!(ram.findings().len(), count + 1);
    });
}

/// Would catch a buffer that nobody frees and nobody tells, or told with the address and
/// length of something else.
#[test]
fn a_leak_is_told_with_address_and_length() {
    for (length, align) in [(100, 1), (100, 0x1000), (0x1000, 0x1000), (0, 0x40)] {
        let ram = mapped(SPEC);
        let held = ram.alloc(32, 1).unwrap();
        let leaked = ram.alloc(length, align).unwrap();
        let at = leaked.address().0;
        forget(leaked);
        drop(held);
        let expected = format!("the buffer of {length} bytes at {at:#x} was never freed");
        assert_eq!(ram.findings(), [expected]);
    }
}

/// Would catch space that is lost, space given out twice, and a request that cannot be
/// met ending in a panic.
#[test]
fn space_is_used_again_and_runs_out_with_an_error() {
    both(|ram| {
        let most = 0x8000 - 32;
        let address = Cell::new(None);
        for _ in 0..3 {
            let buffer = ram.alloc(most, 1).unwrap();
            let at = buffer.address().0;
            assert_eq!(address.replace(Some(at)).unwrap_or(at), at);
            assert_eq!(
                message(ram.alloc(1, 1)),
                "no 1 bytes of guest memory, aligned to 1, are left"
            );
        }
        for length in [most + 1, SIZE as usize, usize::MAX - 20, usize::MAX] {
            let expected = format!("no {length} bytes of guest memory, aligned to 8192, are left");
            assert_eq!(message(ram.alloc(length, 0x2000)), expected);
        }
        message(ram.alloc(1, 1 << 63));
        for align in [0, 3, 24, u64::MAX] {
            let expected =
                format!("guest memory cannot be aligned to {align}, which is no power of two");
            assert_eq!(message(ram.alloc(1, align)), expected);
        }
        assert!(ram.findings().is_empty(), "{:?}", ram.findings());
    });
}

/// Would catch an access beyond a buffer or the RAM that is carried out, or that panics.
#[test]
fn accesses_out_of_range_are_errors() {
    both(|ram| {
        let buffer = ram.alloc(8, 1).unwrap();
        fill(ram);
        for (offset, length) in [(8, 1), (1, 8), (9, 0), (usize::MAX, 1), (usize::MAX, 0)] {
            let expected =
                format!("{length} bytes at offset {offset} are not in a buffer of 8 bytes");
            assert_eq!(message(buffer.read(offset, &mut vec![0; length])), expected);
            assert_eq!(message(buffer.write(offset, &vec![1; length])), expected);
        }
        message(buffer.read_le64(1));
        message(buffer.write_be16(7, 1));
        buffer.read(8, &mut []).unwrap();
        for (address, length) in
            [(BASE - 1, 1), (BASE + SIZE, 1), (BASE + SIZE - 1, 2), (0, 1), (u64::MAX, 2)]
        {
            let expected = format!(
                "{length} bytes at {address:#x} are not in the RAM, which is 0x10000 bytes at \
                 0x40000000"
            );
            let at = GuestAddress(address);
            assert_eq!(message(ram.read(at, &mut vec![0; length])), expected);
            assert_eq!(message(ram.write(at, &vec![1; length])), expected);
        }
        assert!(all(ram).iter().all(|&byte| byte == OLD), "something was written");
        // Nothing at the very end is a place like any other.
        ram.read(GuestAddress(BASE + SIZE), &mut []).unwrap();
        ram.write(GuestAddress(BASE + SIZE), &[]).unwrap();
        // The guards are gone, of course.
        drop(buffer);
        assert_eq!(ram.findings().len(), 1);
    });
}

/// Would catch a bad specification of a machine that panics, or gives out what is no RAM.
#[test]
fn nothing_is_usable_that_is_not_there() {
    for usable in [(0, 0), (5, 3), (SIZE, SIZE + 0x1000), (u64::MAX - 1, u64::MAX)] {
        message(mapped(RamSpec { usable, ..SPEC }).alloc(0, 1));
    }
    let ram = mapped(RamSpec { usable: (0, u64::MAX), ..SPEC });
    message(ram.alloc(SIZE as usize - 31, 1));
    ram.alloc(SIZE as usize - 32, 1).unwrap();
    let ram = mapped(RamSpec { base: u64::MAX - 0xffff, usable: (0, SIZE), ..SPEC });
    ram.alloc(0x8000, 0x1000).unwrap();
    let ram = mapped(RamSpec { base: u64::MAX, usable: (0x1000, SIZE), ..SPEC });
    message(ram.alloc(0x8000, 1));
}

/// Would catch memory that is mapped but a copy of its own: QEMU would see nothing of it.
#[test]
fn whoever_maps_the_file_sees_the_same_memory() {
    let (near, _) = UnixStream::pair().unwrap();
    let mapping = Mapping::new(SIZE).unwrap();
    let file = std::fs::File::from(mapping.file().unwrap().try_clone_to_owned().unwrap());
    let there = MmapRegion::<()>::from_file(FileOffset::new(file, 0), SIZE as usize).unwrap();
    let there = there.as_volatile_slice();
    let ram = Ram::new(SPEC, Some(mapping), qtest(near));

    let buffer = ram.alloc(4, 1).unwrap();
    let at = (buffer.address().0 - BASE) as usize;
    buffer.write_be32(0, 0x0102_0304).unwrap();
    let mut seen = [0; 4];
    there.read_slice(&mut seen, at).unwrap();
    assert_eq!(seen, [1, 2, 3, 4]);
    there.write_slice(&[5, 6, 7, 8, 9], at).unwrap();
    assert_eq!(buffer.to_vec().unwrap(), [5, 6, 7, 8]);
    drop(buffer);
    assert_eq!(ram.findings().len(), 1, "a guard that is written from there is found");
}

/// Would catch a QEMU that is gone blamed on the test, as a damaged guard.
#[test]
fn a_qemu_that_is_gone_is_an_error_and_no_finding() {
    let (near, far) = UnixStream::pair().unwrap();
    let line = near.try_clone().unwrap();
    let peer = std::thread::spawn(|| serve(far));
    let ram = Ram::new(SPEC, None, qtest(near));
    let buffer = ram.alloc(8, 1).unwrap();
    line.shutdown(Shutdown::Both).unwrap();
    peer.join().unwrap();
    assert!(matches!(buffer.to_vec(), Err(Error::Protocol(_))));
    drop(buffer);
    assert!(ram.findings().is_empty(), "{:?}", ram.findings());
    assert!(matches!(ram.alloc(8, 1), Err(Error::Protocol(_))));
    assert!(ram.findings().is_empty(), "{:?}", ram.findings());
}
