//! Intel's 82574L: extended and split receive descriptors, receive side scaling and the causes
//! of small packets (82574 GbE Controller Family Datasheet 3.4, 7.1).

use std::cell::Cell;
use std::rc::Rc;

use crate::drivers::net::e1000::{self, ICR, RCTL, RCTL_BAM, RCTL_EN, RCTL_SECRC};
use crate::drivers::net::e1000e::E1000e;
use crate::qemu::{Buffer, Vm};
use crate::qos::net::{MAC, PEER, Wire, frame, wait_received};
use crate::qos::nic::Nic;
use crate::qos::nic::scaling;
use crate::qos::packets::{self, TCP, UDP};
use crate::qos::registers::{Register, RegistersExt};
use crate::{Result, tests};

tests!(E1000e, "e1000e-tests":
    extended = "extended-descriptors",
    split = "split-packets",
    scaled = "receive-side-scaling",
    small = "small-packets",
);

const RFCTL: Register<u32> = Register::new("RFCTL", 0x5008);
const PSRCTL: Register<u32> = Register::new("PSRCTL", 0x2170);
const MRQC: Register<u32> = Register::new("MRQC", 0x5818);
const RETA: Register<u32> = Register::new("RETA", 0x5c00);
const RSSRK: Register<u32> = Register::new("RSSRK", 0x5c80);
const RSRPD: Register<u32> = Register::new("RSRPD", 0x2c00);
/// RFCTL: descriptors are extended ones.
const EXSTEN: u32 = 1 << 15;
/// RXCSUM: checksums of IP and behind it are checked; a hash takes the place of the IP ID.
const CHECKS: u32 = 0x300;
const PCSD: u32 = 1 << 13;
/// RCTL: packets are split.
const SPLIT: u32 = 1 << 10;
/// Extended status (7.1.5.2): done, end of packet, which checksums were looked at, IP ID.
const DD: u32 = 1 << 0;
const EOP: u32 = 1 << 1;
const UDPCS: u32 = 1 << 4;
const TCPCS: u32 = 1 << 5;
const IPCS: u32 = 1 << 6;
const IPIDV: u32 = 1 << 9;
/// ICR: small packet; acknowledgement.
const SRPD: u32 = 1 << 16;
const ACK: u32 = 1 << 17;

const COUNT: usize = 8;
/// The room of each of the four buffers of a descriptor.
const ROOM: usize = 2048;

/// A receive ring whose descriptors have `bytes` bytes, and as many buffers as fit.
struct Ring {
    descriptors: Buffer,
    buffers: Buffer,
    bytes: usize,
    next: Cell<usize>,
}

impl Ring {
    fn new(nic: &E1000e, vm: &Vm, queue: u64, bytes: usize) -> Result<Self> {
        let descriptors = vm.ram().alloc(COUNT * bytes, 128)?;
        let buffers = vm.ram().alloc(COUNT * 4 * ROOM, 16)?;
        let registers = &nic.plug.registers;
        let at = |register: Register<u32>| register.above(0x100 * queue);
        registers.set(at(e1000::RDBAL), descriptors.address().0 as u32)?;
        registers.set(at(e1000::RDBAH), (descriptors.address().0 >> 32) as u32)?;
        registers.set(at(e1000::RDLEN), (COUNT * bytes) as u32)?;
        registers.set(at(e1000::RDH), 0)?;
        registers.set(at(e1000::RDT), 0)?;
        let ring = Self { descriptors, buffers, bytes, next: Cell::new(0) };
        (0..COUNT).try_for_each(|number| ring.give(number))?;
        // A split descriptor counts as two.
        registers.set(at(e1000::RDT), ((COUNT - 1) * bytes / 16) as u32)?;
        Ok(ring)
    }

    fn give(&self, number: usize) -> Result<()> {
        for part in 0..(self.bytes / 8).min(4) {
            let address = self.buffers.address().0 + ((4 * number + part) * ROOM) as u64;
            let address = if self.bytes == 16 && part == 1 { 0 } else { address };
            self.descriptors.write(number * self.bytes + 8 * part, &address.to_le_bytes())?;
        }
        Ok(())
    }

    /// Words of 32 bits of the descriptor that is filled next, and the bytes behind it.
    fn take(&self, vm: &Vm, what: &str) -> Result<([u32; 8], [Vec<u8>; 4])> {
        let number = self.next.replace(self.next.get() + 1);
        let at = number * self.bytes;
        wait_received(vm, what, || Ok(self.descriptors.read_le32(at + 8)? & DD != 0))?;
        let mut words = [0; 8];
        for (word, value) in words.iter_mut().enumerate().take(self.bytes / 4) {
            *value = self.descriptors.read_le32(at + 4 * word)?;
        }
        let part = |part: usize| -> Result<Vec<u8>> {
            let mut data = vec![0; ROOM];
            self.buffers.read((4 * number + part) * ROOM, &mut data)?;
            Ok(data)
        };
        Ok((words, [part(0)?, part(1)?, part(2)?, part(3)?]))
    }
}

/// A started controller that receives by extended descriptors.
fn start(nic: &E1000e, vm: &Rc<Vm>, checks: u32) -> Result<Wire> {
    nic.plug.device.bus().reaches_ram()?;
    nic.nic().start(vm)?;
    let registers = &nic.plug.registers;
    registers.set(RCTL, 0)?;
    registers.set(RFCTL, EXSTEN)?;
    registers.set(e1000::RXCSUM, checks)?;
    registers.set(MRQC, 0)?;
    Wire::new(vm)
}

const RECEIVE: u32 = RCTL_EN | RCTL_BAM | RCTL_SECRC;

/// Would catch an extended descriptor whose status, length or IP identification is another's or
/// at another place.
fn extended(nic: &E1000e, vm: &Rc<Vm>) -> Result<()> {
    let wire = start(nic, vm, CHECKS)?;
    let ring = Ring::new(nic, vm, 0, 16)?;
    nic.plug.registers.set(RCTL, RECEIVE)?;
    let tcp = packets::packet(MAC, PEER, TCP, &packets::payload(100));
    let udp = packets::packet(MAC, PEER, UDP, &packets::payload(333));
    let plain = frame(MAC, PEER, 77, 1);
    let checked = IPCS | TCPCS | IPIDV;
    for (sent, status) in [(&tcp, checked), (&udp, checked | UDPCS), (&plain, 0)] {
        let what = format!("{} bytes", sent.len());
        wire.send(sent)?;
        let (words, [data, ..]) = ring.take(vm, &what)?;
        assert!(data[..sent.len()] == sent[..], "{what}: the frame");
        assert_eq!(words[3] & 0xffff, sent.len() as u32, "{what}: the length");
        let seen = words[2] & (DD | EOP | IPCS | TCPCS | UDPCS | IPIDV);
        assert_eq!(seen, DD | EOP | status, "{what}: the status {:#x}", words[2]);
        assert_eq!(words[2] >> 24, 0, "{what}: the errors {:#x}", words[2]);
        if status & IPIDV != 0 {
            assert_eq!(words[1] & 0xffff, 0x1234, "{what}: the IP identification");
        }
    }
    Ok(())
}

/// Would catch a packet that is split elsewhere than behind its headers, or although it has
/// none, buffers of other sizes than they are set to, and lengths that do not tell.
fn split(nic: &E1000e, vm: &Rc<Vm>) -> Result<()> {
    let wire = start(nic, vm, CHECKS)?;
    let registers = &nic.plug.registers;
    let ring = Ring::new(nic, vm, 0, 32)?;
    // A buffer of 128 bytes, three of 1 KiB.
    registers.set(RCTL, SPLIT)?;
    registers.set(PSRCTL, 1 | 1 << 8 | 1 << 16 | 1 << 24)?;
    registers.set(RCTL, RECEIVE | SPLIT)?;
    let packets = [(TCP, 100), (UDP, 100), (TCP, 1400), (UDP, 1)];
    for (protocol, length) in packets {
        let what = format!("protocol {protocol}, {length} bytes");
        let sent = packets::packet(MAC, PEER, protocol, &packets::payload(length));
        let sent = if sent.len() < 60 { [&sent[..], &[0; 17]].concat() } else { sent };
        let headers = packets::headers(protocol);
        wire.send(&sent)?;
        let (words, [first, second, third, _]) = ring.take(vm, &what)?;
        assert!(first[..headers] == sent[..headers], "{what}: the headers");
        let rest = &sent[headers..];
        let (near, far) = rest.split_at(rest.len().min(1024));
        assert!(second[..near.len()] == *near && third[..far.len()] == *far, "{what}: the data");
        assert_eq!(words[3] & 0xffff, headers as u32, "{what}: length 0");
        let told = [words[4] & 0xffff, words[4] >> 16, words[5] & 0xffff, words[5] >> 16];
        let header = 1 << 15 | headers as u32;
        assert_eq!(told, [header, near.len() as u32, far.len() as u32, 0], "{what}: lengths");
        assert_eq!(words[2] & (DD | EOP), DD | EOP, "{what}: the status");
    }
    let sent = frame(MAC, PEER, 500, 1);
    wire.send(&sent)?;
    let (words, [first, second, ..]) = ring.take(vm, "a frame without headers")?;
    assert_eq!(words[3] & 0xffff, 128, "length 0 of a frame without headers");
    let told = [words[4] & 0xffff, words[4] >> 16];
    assert_eq!(told, [0, 372], "header status and length 1 of a frame without headers");
    assert!(first[..128] == sent[..128] && second[..372] == sent[128..], "a frame without headers");
    Ok(())
}

/// Would catch a hash of other fields or with another key than it should be, and a packet that
/// comes into another queue than the redirection table says. The hashes are those that are
/// published with the key (7.1.11).
fn scaled(nic: &E1000e, vm: &Rc<Vm>) -> Result<()> {
    let wire = start(nic, vm, CHECKS | PCSD)?;
    let registers = &nic.plug.registers;
    for (index, word) in (0..).zip(scaling::key_words()) {
        registers.set(RSSRK.nth(index, 4), word)?;
    }
    let queues = [Ring::new(nic, vm, 0, 16)?, Ring::new(nic, vm, 1, 16)?];
    // RSS, for TCP over IPv4 and for IPv4.
    registers.set(MRQC, 1 | 1 << 16 | 1 << 17)?;
    registers.set(RCTL, RECEIVE)?;
    for (number, vector) in scaling::VECTORS.iter().enumerate() {
        for (protocol, hash, kind) in [(TCP, vector.of_tcp, 1), (UDP, vector.of_ip, 2)] {
            let queue = (number + usize::from(kind == 2)) % 2;
            // Only the hash's own entry says this queue.
            let own = u64::from(hash & 0x7f);
            for index in 0..32 {
                let other = if queue == 0 { 0x8080_8080u32 } else { 0 };
                let bit = if own / 4 == index { 0x80 << (own % 4 * 8) } else { 0 };
                registers.set(RETA.nth(index, 4), other ^ bit)?;
            }
            let what = format!("protocol {protocol}, vector {number}");
            let sent = vector.packet(protocol);
            wire.send(&sent)?;
            let (words, [data, ..]) = queues[queue].take(vm, &what)?;
            assert!(data[..sent.len()] == sent[..], "{what}: the packet");
            assert_eq!(words[1], hash, "{what}: the hash {:#x}", words[1]);
            assert_eq!(words[0] & 0xf, kind, "{what}: the type of the hash");
            assert_eq!(words[0] >> 8 & 0x1f, queue as u32, "{what}: the queue");
            if number == 2 && queue == 1 {
                // Each queue has a tail of its own.
                registers.set(e1000::RDT, registers.get(e1000::RDH)?)?;
                wire.send(&sent)?;
                queues[1].take(vm, "a packet, no descriptor being left in queue 0")?;
            }
        }
    }
    Ok(())
}

/// Would catch a cause of a small packet (RSRPD) that comes at another length, and one of an
/// acknowledgement that does not come, or comes of other packets.
fn small(nic: &E1000e, vm: &Rc<Vm>) -> Result<()> {
    let wire = start(nic, vm, CHECKS)?;
    let registers = &nic.plug.registers;
    let ring = Ring::new(nic, vm, 0, 16)?;
    registers.set(RSRPD, 100)?;
    registers.set(RCTL, RECEIVE)?;
    registers.get(ICR)?;
    for (length, expected) in [(99, SRPD), (100, 0), (101, 0), (60, SRPD)] {
        wire.send(&frame(MAC, PEER, length, 1))?;
        ring.take(vm, "a frame")?;
        let seen = registers.get(ICR)? & (SRPD | ACK);
        assert_eq!(seen, expected, "causes after {length} bytes, RSRPD 100: {seen:#x}");
    }
    for (protocol, expected) in [(TCP, ACK), (UDP, 0)] {
        wire.send(&packets::packet(MAC, PEER, protocol, &packets::payload(100)))?;
        ring.take(vm, "a packet")?;
        let seen = registers.get(ICR)? & (SRPD | ACK);
        assert_eq!(seen, expected, "causes after a packet of protocol {protocol}: {seen:#x}");
    }
    Ok(())
}
