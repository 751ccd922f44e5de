//! What receiving can be made to do: buffers of every size, headers apart from what is behind them,
//! frames by their Ethernet type, thresholds of descriptors (7.1).

use std::rc::Rc;

use super::bench::{Bench, COUNT, RECEIVE, Receiver, of_queue};
use crate::drivers::net::e1000::ring::{STA_DD, STA_EOP};
use crate::drivers::net::e1000::{self, ICR_RXDMT0, RCTL_LPE};
use crate::drivers::net::igb::{self, Igb};
use crate::qemu::{Buffer, Vm};
use crate::qos::net::{MAC, PEER, frame, wait_received};
use crate::qos::packets::{self, TCP, UDP};
use crate::{Result, tests};

tests!(Igb, "igb-tests":
    buffers = "buffer-sizes",
    split = "split-packets",
    split_always = "split-always",
    types = "ethernet-types",
    threshold = "descriptor-threshold",
    longest = "long-packet-maximum",
);

/// Would catch a frame that is split elsewhere than at the end of a buffer, or a buffer of another
/// size than its queue's.
fn buffers(nic: &Igb, vm: &Rc<Vm>) -> Result<()> {
    for size in [1024, 2048, 3072, 8192] {
        let bench = Bench::new(nic, vm)?;
        let queue = bench.receiver(0, COUNT, size)?;
        bench.set(igb::RCTL, RECEIVE | RCTL_LPE)?;
        for length in [60, 1023, 1024, 1025, 2048, 2049, 5000, 9000] {
            let what = format!("{length} bytes in buffers of {size}");
            let sent = frame(MAC, PEER, length, 3);
            bench.wire.send(&sent)?;
            let mut whole: Vec<u8> = Vec::new();
            let mut parts = 0;
            loop {
                let part = queue.take(&what)?;
                whole.extend(&part.data);
                parts += 1;
                if part.status & STA_EOP != 0 {
                    break;
                }
                assert_eq!(part.data.len(), size, "{what}: all but the last are full");
            }
            assert_eq!(parts, length.div_ceil(size), "{what}: descriptors");
            assert!(whole == sent, "{what}: the data");
        }
    }
    Ok(())
}

/// A queue whose buffers for headers have 128 bytes.
struct Split<'a> {
    queue: Receiver<'a>,
    headers: Buffer,
}

/// The room for a header.
const ROOM: usize = 128;

impl<'a> Split<'a> {
    fn new(bench: &'a Bench<'a>, kind: u32) -> Result<Self> {
        let queue = bench.receiver(0, COUNT, 2048)?;
        let headers = bench.vm.ram().alloc(COUNT * ROOM, 16)?;
        let control = kind | 2 | (ROOM as u32 / 64) << 8;
        bench.set(of_queue(igb::SRRCTL, 0), control)?;
        bench.set(igb::RCTL, RECEIVE)?;
        Ok(Self { queue, headers })
    }

    /// What `sent` came as: the header, what is behind it, and what is told of the header.
    fn through(&self, bench: &Bench, sent: &[u8], what: &str) -> Result<(Vec<u8>, Vec<u8>, u64)> {
        // The next descriptor is the one behind the tail's.
        let ring = &self.queue.ring;
        let at = ring.wrap(ring.tail(), 1);
        let room = self.headers.address().0 + (at * ROOM) as u64;
        ring.set_second_half(at, room)?;
        self.headers.write(0, &[0; COUNT * ROOM])?;
        bench.wire.send(sent)?;
        let done = || Ok(ring.status(at)? & (STA_DD | STA_EOP) == STA_DD | STA_EOP);
        wait_received(bench.vm, what, done)?;
        let mut header = vec![0; ROOM];
        self.headers.read(at * ROOM, &mut header)?;
        let got = self.queue.take(what)?;
        let told = got.first >> 16 & 0xffff;
        header.truncate(((told >> 5 & 0x3ff) as usize).min(ROOM));
        Ok((header, got.data, told))
    }
}

/// RDESC (7.1.5.2): a header was found.
const HEADER_FOUND: u64 = 1 << 15;

/// Would catch a packet that is split elsewhere than behind its headers, or although it has none,
/// and lengths that do not tell.
fn split(nic: &Igb, vm: &Rc<Vm>) -> Result<()> {
    let bench = Bench::new(nic, vm)?;
    let split = Split::new(&bench, igb::SPLIT)?;
    for (protocol, length) in [(TCP, 100), (UDP, 100), (TCP, 1400), (UDP, 30)] {
        let what = format!("protocol {protocol}, {length} bytes");
        let sent = packets::packet(MAC, PEER, protocol, &packets::payload(length));
        let headers = packets::headers(protocol);
        let (header, rest, told) = split.through(&bench, &sent, &what)?;
        assert_eq!(told & HEADER_FOUND, HEADER_FOUND, "{what}: a header was found, {told:#x}");
        assert!(header == sent[..headers], "{what}: the headers");
        assert!(rest == sent[headers..], "{what}: the data");
    }
    let plain = frame(MAC, PEER, 500, 1);
    let (_, rest, told) = split.through(&bench, &plain, "a frame without headers")?;
    assert_eq!(told & HEADER_FOUND, 0, "a frame without headers: {told:#x}");
    assert!(rest == plain, "a frame without headers");
    Ok(())
}

/// Would catch a frame without headers that does not fill the room for a header first, or is not
/// all in there if it fits.
fn split_always(nic: &Igb, vm: &Rc<Vm>) -> Result<()> {
    let bench = Bench::new(nic, vm)?;
    let split = Split::new(&bench, igb::SPLIT_ALWAYS)?;
    for length in [60, ROOM, ROOM + 1, 500] {
        let what = format!("{length} bytes without headers");
        let plain = frame(MAC, PEER, length, 1);
        let (header, rest, _) = split.through(&bench, &plain, &what)?;
        let near = length.min(ROOM);
        assert!(header == plain[..near], "{what}: {} bytes for the header", header.len());
        assert!(rest == plain[near..], "{what}: {} bytes behind it", rest.len());
    }
    let sent = packets::packet(MAC, PEER, TCP, &packets::payload(300));
    let (header, rest, _) = split.through(&bench, &sent, "a packet")?;
    let headers = packets::headers(TCP);
    assert!(header == sent[..headers] && rest == sent[headers..], "a packet, split");
    Ok(())
}

/// Would catch a frame that is told to be of another kind than it is (7.1.5.2), and a filter of
/// Ethernet types (8.11) that tells without being enabled or of another type.
fn types(nic: &Igb, vm: &Rc<Vm>) -> Result<()> {
    const ENABLE: u32 = 1 << 26;
    const FILTERED: u64 = 1 << 11;
    const IPV4: u64 = 1 << 0;
    const IS_TCP: u64 = 1 << 4;
    const IS_UDP: u64 = 1 << 5;
    let bench = Bench::new(nic, vm)?;
    let queue = bench.receiver(0, COUNT, 2048)?;
    bench.set(igb::RCTL, RECEIVE)?;
    let kind = |sent: &[u8], what: &str| -> Result<u64> {
        bench.wire.send(sent)?;
        let got = queue.take(what)?;
        assert!(got.data == sent, "{what}: the data");
        Ok(got.first >> 4 & 0x1fff)
    };
    let tcp = packets::packet(MAC, PEER, TCP, &packets::payload(50));
    let udp = packets::packet(MAC, PEER, UDP, &packets::payload(50));
    let mut other = frame(MAC, PEER, 80, 1);
    other[12..14].copy_from_slice(&0x88f7_u16.to_be_bytes());
    assert_eq!(kind(&tcp, "TCP")?, IPV4 | IS_TCP, "TCP");
    assert_eq!(kind(&udp, "UDP")?, IPV4 | IS_UDP, "UDP");
    assert_eq!(kind(&other, "neither")?, 0, "neither");
    for number in 0..8 {
        let filter = igb::ETQF.nth(number, 4);
        bench.set(filter, 0x88f7)?;
        assert_eq!(kind(&other, "a filter that is off")?, 0, "filter {number}, off");
        bench.set(filter, ENABLE | 0x88f8)?;
        assert_eq!(kind(&other, "another type's filter")?, 0, "filter {number}, another type's");
        bench.set(filter, ENABLE | 0x88f7)?;
        assert_eq!(kind(&other, "its own filter")?, FILTERED | number, "filter {number}");
        assert_eq!(kind(&tcp, "TCP again")?, IPV4 | IS_TCP, "TCP, filter {number}");
        bench.set(filter, 0)?;
    }
    Ok(())
}

/// Would catch a cause of few descriptors (RXDMT0) that comes at another number than the queue's
/// threshold says, in units of sixteen, or not at all.
fn threshold(nic: &Igb, vm: &Rc<Vm>) -> Result<()> {
    for setting in [1usize, 2, 3] {
        let bench = Bench::new(nic, vm)?;
        let count = 64;
        let queue = bench.receiver(0, count, 2048)?;
        let control = igb::ONE_BUFFER | 2 | (setting as u32) << 20;
        bench.set(of_queue(igb::SRRCTL, 0), control)?;
        bench.set(igb::RCTL, RECEIVE)?;
        let mut seen = Vec::new();
        for number in 1..count {
            bench.wire.send(&frame(MAC, PEER, 60, number as u8))?;
            wait_received(vm, "a frame", || Ok(queue.ring.head()? == number))?;
            if bench.get(e1000::ICR)? & ICR_RXDMT0 != 0 {
                seen.push(count - 1 - number);
            }
        }
        assert_eq!(seen, [16 * setting], "descriptors left at the cause, threshold {setting}");
    }
    Ok(())
}

/// Would catch a long packet that comes in although it has more bytes than RLPML says, its frame
/// check sequence among them, or does not although it has as many.
fn longest(nic: &Igb, vm: &Rc<Vm>) -> Result<()> {
    let bench = Bench::new(nic, vm)?;
    let queue = bench.receiver(0, COUNT, 8192)?;
    let marker = frame(MAC, PEER, 99, 0x55);
    for most in [1518, 2000, 4096, 8000] {
        bench.set(igb::RLPML, most)?;
        bench.set(igb::RCTL, RECEIVE | RCTL_LPE)?;
        let most = most as usize - 4;
        for (length, comes) in [(most - 1, true), (most, true), (most + 1, false)] {
            let sent = frame(MAC, PEER, length, 3);
            bench.wire.send(&sent)?;
            bench.wire.send(&marker)?;
            let what = format!("{length} bytes, RLPML {}", most + 4);
            let first = queue.take(&what)?.data;
            assert_eq!(first == sent, comes, "{what}: {} bytes came", first.len());
            if comes {
                assert!(queue.take(&what)?.data == marker, "{what}: the frame behind it");
            }
        }
    }
    Ok(())
}
