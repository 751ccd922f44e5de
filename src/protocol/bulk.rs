//! Blocks of guest memory over the qtest socket, for where the guest's memory is not mapped:
//! cut into chunks, several of them on their way at a time.

use std::io::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use vm_memory::GuestAddress;

use super::Result;
use super::answer::{self, Wrong};
use super::qtest::{Qtest, bad_argument, put_access};

/// The most that one request moves, in bytes: a line of base64 stays below 100 KiB.
const CHUNK: usize = 64 << 10;

/// How many chunks are on their way together.
const WINDOW: usize = 16;

impl Qtest {
    /// Reads `data.len()` bytes of guest memory, as hexadecimal. The oldest QEMUs have nothing
    /// else; [`b64read`](Self::b64read) is far faster. After an error `data` may be half filled.
    pub fn read(&self, address: GuestAddress, data: &mut [u8]) -> Result<()> {
        self.read_chunks("read", address, data, answer::hex_bytes)
    }

    /// Reads `data.len()` bytes of guest memory. After an error `data` may be half filled.
    pub fn b64read(&self, address: GuestAddress, data: &mut [u8]) -> Result<()> {
        self.read_chunks("b64read", address, data, answer::base64_bytes)
    }

    fn read_chunks(
        &self,
        command: &str,
        mut address: GuestAddress,
        data: &mut [u8],
        parse: impl Fn(&[u8], &mut [u8]) -> Result<(), Wrong>,
    ) -> Result<()> {
        check_range(command, address, data.len())?;
        let inner = &mut *self.inner.borrow_mut();
        for window in data.chunks_mut(CHUNK * WINDOW) {
            let out = inner.begin();
            for chunk in window.chunks(CHUNK) {
                put_access(out, command, &[address.0, chunk.len() as u64]);
                address.0 = address.0.wrapping_add(chunk.len() as u64);
            }
            let count = window.len().div_ceil(CHUNK);
            let mut chunks = window.chunks_mut(CHUNK);
            inner.run(count, |_, line| chunks.next().map_or(Ok(()), |chunk| parse(line, chunk)))?;
        }
        Ok(())
    }

    /// Writes `data` to guest memory, as hexadecimal. The oldest QEMUs have nothing else;
    /// [`b64write`](Self::b64write) is far faster. After an error a part may be written.
    pub fn write(&self, address: GuestAddress, data: &[u8]) -> Result<()> {
        self.write_chunks("write", address, data, put_hex)
    }

    /// Writes `data` to guest memory. After an error a part may be written.
    pub fn b64write(&self, address: GuestAddress, data: &[u8]) -> Result<()> {
        self.write_chunks("b64write", address, data, put_base64)
    }

    fn write_chunks(
        &self,
        command: &str,
        mut address: GuestAddress,
        data: &[u8],
        encode: impl Fn(&mut Vec<u8>, &[u8]),
    ) -> Result<()> {
        check_range(command, address, data.len())?;
        let inner = &mut *self.inner.borrow_mut();
        for window in data.chunks(CHUNK * WINDOW) {
            let out = inner.begin();
            for chunk in window.chunks(CHUNK) {
                // Writing to memory does not fail.
                let _ = write!(out, "{command} {:#x} {:#x} ", address.0, chunk.len());
                encode(out, chunk);
                out.push(b'\n');
                address.0 = address.0.wrapping_add(chunk.len() as u64);
            }
            let count = window.len().div_ceil(CHUNK);
            inner.run(count, |_, line| answer::nothing(line))?;
        }
        Ok(())
    }

    /// Fills `len` bytes of guest memory with `byte`. QEMU does it in one go, with as much
    /// memory of its own.
    pub fn memset(&self, address: GuestAddress, len: usize, byte: u8) -> Result<()> {
        check_range("memset", address, len)?;
        let numbers = [address.0, len as u64, byte.into()];
        self.ask(|out| put_access(out, "memset", &numbers), answer::nothing)
    }
}

/// Appends `data` as base64.
pub(super) fn put_base64(out: &mut Vec<u8>, data: &[u8]) {
    let start = out.len();
    out.resize(start + data.len().div_ceil(3) * 4, 0);
    // The room is exact, so that this does not fail.
    let _ = STANDARD.encode_slice(data, &mut out[start..]);
}

fn put_hex(out: &mut Vec<u8>, data: &[u8]) {
    out.extend_from_slice(b"0x");
    let start = out.len();
    out.resize(start + data.len() * 2, 0);
    // The room is exact, so that this does not fail.
    let _ = hex::encode_to_slice(data, &mut out[start..]);
}

/// Makes sure that a block ends within the address space.
pub(super) fn check_range(command: &str, address: GuestAddress, len: usize) -> Result<()> {
    let last = (len as u64).saturating_sub(1);
    if address.0.checked_add(last).is_none() {
        let request = format!("{command} {:#x} {len:#x}", address.0);
        return Err(bad_argument(&request, "the block ends beyond 64 bits of address"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::Error;
    use super::super::qtest::tests::{dialogue, qtest};
    use super::*;

    const ADDRESS: GuestAddress = GuestAddress(0x1000);

    /// Catches wrong words, digits or padding, and blocks of nothing being sent: QEMU aborts on
    /// some of them.
    #[test]
    fn short_blocks() {
        let (qtest, talk) = dialogue(&[
            ("read 0x1000 0x3", "OK 0x01fe03"),
            ("write 0x1000 0x3 0x01fe03", "OK"),
            ("b64read 0x1000 0x4", "OK AP4D/w=="),
            ("b64write 0x1000 0x4 AP4D/w==", "OK"),
            ("memset 0x1000 0x10 0xa5", "OK"),
            ("memset 0x1000 0x0 0x0", "OK"),
        ]);
        let mut data = [0; 3];
        qtest.read(ADDRESS, &mut data).unwrap();
        assert_eq!(data, [1, 0xfe, 3]);
        qtest.write(ADDRESS, &data).unwrap();
        let mut data = [0; 4];
        qtest.b64read(ADDRESS, &mut data).unwrap();
        assert_eq!(data, [0, 0xfe, 3, 0xff]);
        qtest.b64write(ADDRESS, &data).unwrap();
        qtest.memset(ADDRESS, 16, 0xa5).unwrap();
        qtest.memset(ADDRESS, 0, 0).unwrap();
        qtest.read(ADDRESS, &mut []).unwrap();
        qtest.write(ADDRESS, &[]).unwrap();
        qtest.b64read(ADDRESS, &mut []).unwrap();
        qtest.b64write(ADDRESS, &[]).unwrap();
        talk.finish(qtest);
    }

    /// A peer with memory from 0x1000 on, as QEMU has, that answers in base64.
    fn memory(mut peer: super::super::peer::Peer) {
        let mut memory = vec![0; 4 << 20];
        let hex = |word: &str| usize::from_str_radix(&word[2..], 16).expect("a number");
        loop {
            let request = peer.request();
            let words: Vec<&str> = request.split(' ').collect();
            match words[..] {
                ["b64write", address, len, data] => {
                    let data = STANDARD.decode(data).expect("base64");
                    assert_eq!(data.len(), hex(len));
                    let at = hex(address) - 0x1000;
                    memory[at..at + data.len()].copy_from_slice(&data);
                    peer.say("OK\n");
                }
                ["b64read", address, len] => {
                    let at = hex(address) - 0x1000;
                    let data = STANDARD.encode(&memory[at..at + hex(len)]);
                    assert!(data.len() < 1 << 20);
                    peer.say(format!("OK {data}\n"));
                }
                _ => break assert_eq!(request, ""),
            }
        }
    }

    /// Catches chunks that overlap, leave gaps or change places, and a block that ends in the
    /// middle of one.
    #[test]
    fn long_blocks() {
        let (qtest, talk) = qtest(memory);
        for len in [1, CHUNK - 1, CHUNK, CHUNK + 1, CHUNK * WINDOW + 5, 3_000_001] {
            let data: Vec<u8> = (0..len).map(|i| (i ^ (i >> 8) ^ (i >> 16)) as u8).collect();
            qtest.b64write(ADDRESS, &data).unwrap();
            let mut back = vec![0; len];
            qtest.b64read(ADDRESS, &mut back).unwrap();
            assert!(back == data, "{len} bytes came back changed");
        }
        talk.finish(qtest);
    }

    /// Catches a bad answer in the middle that puts the stream out of step, or goes unnoticed.
    #[test]
    fn a_bad_chunk_is_named_and_the_stream_goes_on() {
        let (qtest, talk) = qtest(|mut peer| {
            for answer in ["OK AAAA", "ERR invalid argument size", "OK AAAA"] {
                peer.request();
                peer.say(format!("{answer}\n"));
            }
            peer.expect("inb 0x1");
            peer.say("OK 0x1\n");
        });
        let mut data = vec![0; CHUNK * 2 + 3];
        assert_eq!(
            qtest.b64read(ADDRESS, &mut data).unwrap_err().to_string(),
            "`b64read 0x1000 0x10000 (request 1 of 3)` was answered with `OK AAAA`, \
             where `OK` and 65536 bytes in base64 was expected"
        );
        assert_eq!(data[CHUNK * 2..], [0, 0, 0]);
        assert_eq!(qtest.inb(1).unwrap(), 1);
        talk.finish(qtest);
    }

    /// Catches an address that wraps around.
    #[test]
    fn a_block_beyond_the_last_address_is_not_sent() {
        let (qtest, talk) = dialogue(&[("b64read 0xfffffffffffffffe 0x2", "OK AQI=")]);
        let at = GuestAddress(u64::MAX - 1);
        let mut data = [0; 3];
        for result in [
            qtest.read(at, &mut data),
            qtest.b64read(at, &mut data),
            qtest.write(at, &data),
            qtest.b64write(at, &data),
            qtest.memset(at, 3, 0),
        ] {
            assert!(matches!(result, Err(Error::Argument { .. })));
        }
        qtest.b64read(at, &mut data[..2]).unwrap();
        assert_eq!(data, [1, 2, 0]);
        talk.finish(qtest);
    }
}
