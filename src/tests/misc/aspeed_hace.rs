//! Hashes of Aspeed's hash and crypto engine: digests, lists, what goes on from command to command,
//! and commands that no driver gives.

use std::rc::Rc;

use sha2::{Digest, Sha224, Sha256, Sha384, Sha512};

use crate::drivers::misc::aspeed_hace::{
    ACCUMULATE, Algorithm, AspeedHace, HASH_DONE, INTERRUPT, LAST, LIST,
};
use crate::qemu::{Buffer, Vm};
use crate::qos::{settle, wait_until};
use crate::{Error, Result, tests};

tests!(AspeedHace, "aspeed-hace-tests":
    vectors,
    lengths,
    lists,
    long_list = "long-list",
    interrupt,
    status_zero = "status-zero",
    accumulated,
    hostile_lengths = "hostile/lengths",
    hostile_lists = "hostile/lists",
    hostile_padding = "hostile/padding",
);

/// How much memory there is, in bytes.
const ROOM: usize = 8192;
/// What is where a digest goes.
const FILL: u8 = 0x77;

/// An engine, its data, and where its digest goes.
struct Bench<'e> {
    hace: &'e AspeedHace,
    vm: Rc<Vm>,
    source: Buffer,
    digest: Buffer,
}

/// Bytes that differ.
fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at * 31 + at / 251) as u8).collect()
}

/// The digest of a hash of the family SHA-2; `None` for another.
fn sha2(algorithm: &Algorithm, data: &[u8]) -> Option<Vec<u8>> {
    Some(match algorithm.name {
        "SHA-224" => Sha224::digest(data).to_vec(),
        "SHA-256" => Sha256::digest(data).to_vec(),
        "SHA-384" => Sha384::digest(data).to_vec(),
        "SHA-512" => Sha512::digest(data).to_vec(),
        _ => return None,
    })
}

impl<'e> Bench<'e> {
    fn new(hace: &'e AspeedHace, vm: &Rc<Vm>) -> Result<Self> {
        let (source, digest) = (vm.ram().alloc(ROOM, 64)?, vm.ram().alloc(128, 64)?);
        source.write(0, &pattern(ROOM))?;
        Ok(Self { hace, vm: vm.clone(), source, digest })
    }

    /// Has this done, and waits for its end; the memory of the digest then.
    fn run(&self, source: u64, length: u32, command: u32, what: &str) -> Result<Vec<u8>> {
        self.hace.clear(HASH_DONE)?;
        self.digest.write(0, &[FILL; 128])?;
        self.hace.start(source, self.digest.address().0, length, command)?;
        wait_until(&self.vm, &format!("the end of {what}"), || {
            Ok(self.hace.status()? & HASH_DONE != 0)
        })?;
        self.digest.to_vec()
    }

    /// Asserts that the memory of the digest has this one, and nothing else was written.
    #[track_caller]
    fn assert_digest(found: &[u8], digest: &[u8], what: &str) {
        let mut expected = vec![FILL; found.len()];
        expected[..digest.len()].copy_from_slice(digest);
        assert_eq!(found, expected, "{what}: the digest, and what is behind it");
    }

    /// Asserts that a hash is right still.
    #[track_caller]
    fn assert_works(&self, what: &str) -> Result<()> {
        let sha256 = &self.hace.algorithms()[3];
        let data = pattern(ROOM);
        self.source.write(0, &data)?;
        let found = self.run(self.source.address().0, 100, sha256.command, what)?;
        Self::assert_digest(&found, &Sha256::digest(&data[..100]), what);
        Ok(())
    }

    /// A list of these pieces of the source, each a place and a length.
    fn list(&self, pieces: &[(usize, u32)]) -> Result<Buffer> {
        let list = self.vm.ram().alloc(8 * pieces.len().max(1), 64)?;
        for (number, &(at, length)) in pieces.iter().enumerate() {
            let last = if number + 1 == pieces.len() { LAST } else { 0 };
            list.write_le32(8 * number, length | last)?;
            list.write_le32(8 * number + 4, self.source.address().0 as u32 + at as u32)?;
        }
        Ok(list)
    }

    fn need_lists(&self) -> Result<()> {
        match self.hace.has_lists() {
            true => Ok(()),
            false => Err(Error::skipped("this engine takes no lists")),
        }
    }
}

/// The digests of "abc" (RFC 1321, A.5, and FIPS 180-4's examples).
const ABC: [&str; 6] = [
    "900150983cd24fb0d6963f7d28e17f72",
    "a9993e364706816aba3e25717850c26c9cd0d89d",
    "23097d223405d8228642a477bda255b32aadbce4bda0b3f7e36c9da7",
    "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
    "cb00753f45a35e8bb5a03d699ac65007272c32ab0eded1631a8b605a43ff5bed\
     8086072ba1e7cc2358baeca134c825a7",
    "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a\
     2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f",
];

/// Messages of two blocks and their digests by MD5 (RFC 1321, A.5) and SHA-1 (FIPS 180-4's example),
/// which `lengths` leaves out.
const TWO_BLOCKS: [(&str, &str); 2] = [
    (
        "12345678901234567890123456789012345678901234567890123456789012345678901234567890",
        "57edf4a22be3c955ac49da2e2107b67a",
    ),
    (
        "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
        "84983e441c3bd26ebaae4aa1f95129e5e54670f1",
    ),
];

/// Would catch a hash that is taken for another, a digest of the wrong length or byte order.
fn vectors(hace: &AspeedHace, vm: &Rc<Vm>) -> Result<()> {
    let bench = Bench::new(hace, vm)?;
    bench.source.write(0, b"abcd")?;
    for (algorithm, digest) in hace.algorithms().iter().zip(ABC) {
        let name = algorithm.name;
        let found = bench.run(bench.source.address().0, 3, algorithm.command, name)?;
        assert_eq!(hex::encode(&found[..algorithm.length]), digest, "{name} of \"abc\"");
        assert_eq!(found[algorithm.length..], vec![FILL; 128 - algorithm.length], "{name}: behind");
    }
    for (algorithm, (text, digest)) in hace.algorithms().iter().zip(TWO_BLOCKS) {
        bench.source.write(0, text.as_bytes())?;
        let (source, length) = (bench.source.address().0, text.len() as u32);
        let found = bench.run(source, length, algorithm.command, algorithm.name)?;
        let found = hex::encode(&found[..algorithm.length]);
        assert_eq!(found, digest, "{} of two blocks", algorithm.name);
    }
    Ok(())
}

/// Would catch lengths about the blocks of a hash at which padding goes wrong, and data that is
/// begun at the wrong byte.
fn lengths(hace: &AspeedHace, vm: &Rc<Vm>) -> Result<()> {
    let bench = Bench::new(hace, vm)?;
    let data = pattern(ROOM);
    for algorithm in hace.algorithms() {
        for length in [1, 55, 56, 63, 64, 65, 111, 112, 127, 128, 129, 1000, 4096, 8192_usize] {
            let Some(digest) = sha2(algorithm, &data[..length]) else { continue };
            let what = format!("{} of {length} bytes", algorithm.name);
            let source = bench.source.address().0;
            let found = bench.run(source, length as u32, algorithm.command, &what)?;
            Bench::assert_digest(&found, &digest, &what);
        }
    }
    Ok(())
}

/// Would catch pieces of a list that are left out, taken in another order, or cut off.
fn lists(hace: &AspeedHace, vm: &Rc<Vm>) -> Result<()> {
    let bench = Bench::new(hace, vm)?;
    bench.need_lists()?;
    let data = pattern(ROOM);
    let cases: [&[(usize, u32)]; 4] = [
        &[(0, 64)],
        &[(128, 3), (0, 1), (1024, 64), (512, 500), (4096, 63)],
        &[(4000, 2000), (8, 2000)],
        &[(0, 128), (0, 128), (256, 16)],
    ];
    for pieces in cases {
        let list = bench.list(pieces)?;
        let mut all = Vec::new();
        for &(at, length) in pieces {
            all.extend_from_slice(&data[at..at + length as usize]);
        }
        for algorithm in &hace.algorithms()[2..] {
            let what = format!("{} of the pieces {pieces:?}", algorithm.name);
            let (at, command) = (list.address().0, algorithm.command | LIST);
            let found = bench.run(at, all.len() as u32, command, &what)?;
            Bench::assert_digest(&found, &sha2(algorithm, &all).unwrap_or_default(), &what);
        }
    }
    Ok(())
}

/// Would catch a list of many pieces of which only the first ones are taken.
fn long_list(hace: &AspeedHace, vm: &Rc<Vm>) -> Result<()> {
    let bench = Bench::new(hace, vm)?;
    bench.need_lists()?;
    let data = pattern(ROOM);
    let pieces: Vec<_> = (0..200).map(|number| (32 * (199 - number), 32)).collect();
    let all: Vec<u8> = pieces.iter().flat_map(|&(at, _)| data[at..at + 32].to_vec()).collect();
    let (list, sha256) = (bench.list(&pieces)?, &hace.algorithms()[3]);
    let command = sha256.command | LIST;
    let found = bench.run(list.address().0, all.len() as u32, command, "200 pieces")?;
    Bench::assert_digest(&found, &Sha256::digest(&all), "200 pieces");
    Ok(())
}

/// Would catch an end that is not told on the line, or is told without being asked for.
fn interrupt(hace: &AspeedHace, vm: &Rc<Vm>) -> Result<()> {
    let bench = Bench::new(hace, vm)?;
    let line = hace.interrupt()?.ok_or_else(|| Error::skipped("nobody sees the engine's line"))?;
    let sha1 = hace.algorithms()[1].command;
    let source = bench.source.address().0;
    for is_enabled in [true, false, true] {
        let command = if is_enabled { sha1 | INTERRUPT } else { sha1 };
        bench.run(source, 64, command, "a hash")?;
        let when = format!("the interrupt enabled: {is_enabled}");
        assert_eq!(line.is_high()?, is_enabled, "{when}: the line");
        hace.clear(HASH_DONE)?;
        assert!(!line.is_high()?, "{when}: the line, cleared");
        assert_eq!(hace.status()? & HASH_DONE, 0, "{when}: the status, cleared");
    }
    Ok(())
}

/// Would catch a status that is cleared by a zero.
fn status_zero(hace: &AspeedHace, vm: &Rc<Vm>) -> Result<()> {
    let bench = Bench::new(hace, vm)?;
    let sha1 = hace.algorithms()[1].command;
    bench.run(bench.source.address().0, 64, sha1, "a hash")?;
    hace.clear(0)?;
    assert_eq!(hace.status()? & HASH_DONE, HASH_DONE, "the status, after a zero");
    Ok(())
}

/// `data` as SHA-256 pads it (FIPS 180-4, 5.1.1).
fn padded(data: &[u8]) -> Vec<u8> {
    let mut all = data.to_vec();
    all.push(0x80);
    all.resize((data.len() + 9).next_multiple_of(64) - 8, 0);
    all.extend_from_slice(&(8 * data.len() as u64).to_be_bytes());
    all
}

/// Would catch a message in several commands whose beginning is forgotten, and what is left of it
/// in the next message.
fn accumulated(hace: &AspeedHace, vm: &Rc<Vm>) -> Result<()> {
    let bench = Bench::new(hace, vm)?;
    bench.need_lists()?;
    let command = hace.algorithms()[3].command | LIST | ACCUMULATE;
    for (length, cut) in [(100, 64), (1000, 512), (256, 128), (64, 64)] {
        let data = &pattern(ROOM)[..length];
        let all = padded(data);
        bench.source.write(0, &all)?;
        let what = format!("{length} bytes, cut at {cut}");
        let mut found = Vec::new();
        for (at, end) in [(0, cut), (cut, all.len())] {
            let list = bench.list(&[(at, (end - at) as u32)])?;
            found = bench.run(list.address().0, (end - at) as u32, command, &what)?;
        }
        assert_eq!(found[..32], Sha256::digest(data)[..], "{what}: the digest");
    }
    bench.assert_works("what is of one command, after that")
}

/// Beyond the memory of boards with lists, or its last bytes where that is 2 GiB.
const NOWHERE: u32 = 0x7fff_fff0;

/// Would catch a length that goes beyond memory, or is nothing, and that ends QEMU or keeps it.
fn hostile_lengths(hace: &AspeedHace, vm: &Rc<Vm>) -> Result<()> {
    let bench = Bench::new(hace, vm)?;
    let (source, digest) = (bench.source.address().0, bench.digest.address().0);
    for algorithm in hace.algorithms() {
        hace.start(source, digest, 0, algorithm.command)?;
        for length in [0, 1, 16, 17, 0x0fff_ffff, 0x1000_0000, u32::MAX] {
            hace.start(NOWHERE.into(), digest, length, algorithm.command)?;
        }
        // Elsewhere that address may be in memory.
        if hace.has_lists() {
            hace.start(source, NOWHERE.into(), 64, algorithm.command)?;
        }
        settle(vm)?;
    }
    bench.assert_works("a hash after lengths that are none")
}

/// Would catch a list without an end, with pieces of no length or beyond memory, or whose length
/// is not the command's.
fn hostile_lists(hace: &AspeedHace, vm: &Rc<Vm>) -> Result<()> {
    let bench = Bench::new(hace, vm)?;
    bench.need_lists()?;
    let list = vm.ram().alloc(8 * 600, 64)?;
    let digest = bench.digest.address().0;
    let source = bench.source.address().0 as u32;
    for mode in [LIST, LIST | ACCUMULATE] {
        let command = hace.algorithms()[3].command | mode;
        for (length, place) in [
            (0, source),
            (1, source),
            (64, source),
            (64, NOWHERE),
            (0x0fff_ffff, NOWHERE),
            (0x7fff_ffff, NOWHERE),
        ] {
            for last in [1, 2, 255, 256, 257, 600] {
                for number in 0..600 {
                    let end = if number + 1 == last { LAST } else { 0 };
                    list.write_le32(8 * number, length | end)?;
                    list.write_le32(8 * number + 4, place)?;
                }
                for told in [0, 64, u32::MAX] {
                    hace.start(list.address().0, digest, told, command)?;
                }
                settle(vm)?;
            }
        }
    }
    bench.assert_works("a hash after lists that are none")
}

/// Would catch padding in a message's last piece that says that it is longer than it is, or begins
/// before the piece.
fn hostile_padding(hace: &AspeedHace, vm: &Rc<Vm>) -> Result<()> {
    let bench = Bench::new(hace, vm)?;
    bench.need_lists()?;
    let digest = bench.digest.address().0;
    for algorithm in &hace.algorithms()[2..] {
        for length in [1, 7, 8, 9, 16, 64, 128_usize] {
            for bits in [0, 8, 64 * 8, 1 << 20, 1 << 35, u64::MAX, u64::MAX - 7] {
                for mark in [0, length / 2, length.saturating_sub(9)] {
                    let mut data = vec![0; length];
                    data[mark] = 0x80;
                    let tail = bits.to_be_bytes();
                    let room = length.min(8);
                    data[length - room..].copy_from_slice(&tail[8 - room..]);
                    bench.source.write(0, &data)?;
                    let list = bench.list(&[(0, length as u32)])?;
                    let command = algorithm.command | LIST | ACCUMULATE;
                    hace.start(list.address().0, digest, length as u32, command)?;
                }
            }
            settle(vm)?;
        }
    }
    bench.assert_works("a hash after padding that is none")
}
