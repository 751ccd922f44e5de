//! Receiving in every mode: buffers of every size, frames over several, the frame check sequence,
//! addresses and hashes (3.2, 13.4.22).

use std::rc::Rc;

use super::bench::{Bench, COUNT, RECEIVE};
use crate::drivers::net::e1000::nic::GigabitNic;
use crate::drivers::net::e1000::ring::STA_EOP;
use crate::drivers::net::e1000::{self, ICR, MTA, RAH0, RAL0, RCTL};
use crate::qemu::Vm;
use crate::qos::net::{Address, BROADCAST, LONGEST, MAC, PEER, frame};
use crate::{Error, Result, tests};

tests!(GigabitNic, "gigabit-tests":
    buffers = "buffer-sizes",
    check_sequence = "check-sequence",
    long_frames = "long-frames",
    addresses = "receive-addresses",
    hashes = "multicast-offsets",
    modes = "filter-modes",
    threshold = "descriptor-threshold",
);

/// RCTL.BSEX: sizes are sixteen times as large.
const BSEX: u32 = 1 << 25;
/// RCTL: where BSIZE, MO and RDMTS begin.
const BSIZE: u32 = 16;
const MO: u32 = 12;
const RDMTS: u32 = 8;

/// Would catch a frame that is split elsewhere than at the end of a buffer, or whose parts are
/// marked as its end.
fn buffers(nic: &GigabitNic, vm: &Rc<Vm>) -> Result<()> {
    for (bits, size) in [
        (0, 2048),
        (1 << BSIZE, 1024),
        (2 << BSIZE, 512),
        (3 << BSIZE, 256),
        (BSEX | 2 << BSIZE, 8192),
        (BSEX | 3 << BSIZE, 4096),
    ] {
        if nic.is_82576() && bits & BSEX != 0 {
            // Its SRRCTL has these.
            continue;
        }
        let bench = Bench::new(nic, vm, size)?;
        bench.set(RCTL, RECEIVE | bits)?;
        for length in [60, 255, 256, 257, 511, 512, 513, 1024, 1025, LONGEST] {
            let what = format!("{length} bytes in buffers of {size}");
            let sent = frame(MAC, PEER, length, 3);
            // What stands in a descriptor before is not the device's to report.
            (0..COUNT).try_for_each(|at| bench.receive.set_status(at, STA_EOP))?;
            let parts = bench.through(&sent, &what)?;
            assert_eq!(parts.len(), length.div_ceil(size), "{what}: descriptors");
            let full = parts.iter().rev().skip(1).all(|part| part.data.len() == size);
            assert!(full, "{what}: all but the last are full");
            let whole: Vec<u8> = parts.into_iter().flat_map(|part| part.data).collect();
            assert!(whole == sent, "{what}: the data");
        }
    }
    Ok(())
}

/// Would catch a frame check sequence that is not there when it is not to be stripped.
fn check_sequence(nic: &GigabitNic, vm: &Rc<Vm>) -> Result<()> {
    let bench = Bench::new(nic, vm, 2048)?;
    bench.set(RCTL, RECEIVE & !e1000::RCTL_SECRC)?;
    for length in [60, 61, LONGEST] {
        let sent = frame(MAC, PEER, length, 3);
        let got = bench.through(&sent, "a frame with its check sequence")?.remove(0);
        if nic.is_82574() && got.data == sent {
            return Err(Error::skipped(
                "e1000e: QEMU does not count the check sequence in a descriptor's length",
            ));
        }
        assert_eq!(got.data.len(), length + 4, "the length with the check sequence");
        assert!(got.data[..length] == sent, "the data");
    }
    Ok(())
}

/// Would catch a long frame that comes in without leave, or not with it (13.4.22, LPE).
fn long_frames(nic: &GigabitNic, vm: &Rc<Vm>) -> Result<()> {
    let bench = Bench::new(nic, vm, 2048)?;
    let marker = frame(MAC, PEER, 99, 0x55);
    for length in [1523, 4000, 9000] {
        let sent = frame(MAC, PEER, length, 3);
        bench.set(RCTL, RECEIVE)?;
        assert!(!bench.comes(&sent, &marker, "a long frame")?, "{length} bytes without leave");
        bench.set(RCTL, RECEIVE | e1000::RCTL_LPE)?;
        let parts = bench.through(&sent, "a long frame with leave")?;
        let whole: Vec<u8> = parts.into_iter().flat_map(|part| part.data).collect();
        assert!(whole == sent, "{length} bytes with leave: {} came", whole.len());
    }
    Ok(())
}

/// Would catch an address that is not compared, or is although it is not valid (13.5.2, 13.5.3).
fn addresses(nic: &GigabitNic, vm: &Rc<Vm>) -> Result<()> {
    let bench = Bench::new(nic, vm, 2048)?;
    let marker = frame(MAC, PEER, 99, 0x55);
    for index in 1..15u8 {
        let other: Address = [0x02, 0x77, 0x66, 0x55, 0x44, index];
        let [a, b, c, d, e, f] = other;
        let sent = frame(other, PEER, 70, index);
        let comes = |what: &str| bench.comes(&sent, &marker, what);
        assert!(!comes("an address nobody has")?, "address {index} before it is set");
        let number = u64::from(index);
        bench.set(RAL0.nth(number, 8), u32::from_le_bytes([a, b, c, d]))?;
        bench.set(RAH0.nth(number, 8), u32::from_le_bytes([e, f, 0, 0]))?;
        assert!(!comes("an address that is not valid")?, "address {index}, not valid");
        let valid = u32::from_le_bytes([e, f, 0, 0]) | e1000::RAH_AV;
        bench.set(RAH0.nth(number, 8), valid)?;
        assert!(comes("an address that is valid")?, "address {index}, valid");
        bench.set(RAH0.nth(number, 8), 0)?;
    }
    Ok(())
}

/// Would catch a multicast address that is hashed with other bits than RCTL.MO says (13.5.1).
fn hashes(nic: &GigabitNic, vm: &Rc<Vm>) -> Result<()> {
    let bench = Bench::new(nic, vm, 2048)?;
    let marker = frame(MAC, PEER, 99, 0x55);
    let group: Address = [0x01, 0x00, 0x5e, 0x11, 0x27, 0x93];
    let bits = u64::from(group[5]) << 8 | u64::from(group[4]);
    // Bits 47:36, 46:35, 45:34 and 43:32 of the address.
    for (offset, hash) in [(0, bits >> 4), (1, bits >> 3), (2, bits >> 2), (3, bits)] {
        let hash = hash & 0xfff;
        let (register, bit) = (MTA.nth(hash >> 5, 4), 1 << (hash & 31));
        bench.set(register, bit)?;
        for other in 0..4 {
            bench.set(RCTL, RECEIVE | other << MO)?;
            let sent = frame(group, PEER, 70, other as u8);
            let what = format!("offset {other}, the hash of {offset}");
            assert_eq!(bench.comes(&sent, &marker, &what)?, other == offset, "{what}");
        }
        bench.set(register, 0)?;
    }
    Ok(())
}

/// Would catch a promiscuous mode that lets in what it should not: stations' frames and groups
/// have one each, broadcasts a third.
fn modes(nic: &GigabitNic, vm: &Rc<Vm>) -> Result<()> {
    let bench = Bench::new(nic, vm, 2048)?;
    let marker = frame(MAC, PEER, 99, 0x55);
    let group: Address = [0x01, 0x00, 0x5e, 0x11, 0x27, 0x93];
    let foreign: Address = [0x02, 0x99, 0x99, 0x99, 0x99, 0x99];
    let rest = RECEIVE & !e1000::RCTL_BAM;
    for mode in 0..8 {
        let bit = |number: u32, bit: u32| if mode & 1 << number != 0 { bit } else { 0 };
        let modes = bit(0, e1000::RCTL_UPE) | bit(1, e1000::RCTL_MPE) | bit(2, e1000::RCTL_BAM);
        bench.set(RCTL, rest | modes)?;
        for (to, expected, what) in [
            (foreign, mode & 1 != 0, "a station"),
            (group, mode & 2 != 0, "a group"),
            (BROADCAST, mode & 4 != 0, "everybody"),
        ] {
            // A broadcast is a group's frame as well: QEMU takes it so before 8.1.
            if to == BROADCAST && mode & 6 == 2 {
                continue;
            }
            let what = format!("a frame to {what}, RCTL {modes:#x}");
            let sent = frame(to, PEER, 70, mode as u8);
            assert_eq!(bench.comes(&sent, &marker, &what)?, expected, "{what}");
        }
    }
    bench.set(RCTL, RECEIVE & !e1000::RCTL_EN)?;
    let head = bench.receive.head()?;
    bench.wire.send(&marker)?;
    (0..20).try_for_each(|_| crate::qos::settle(vm))?;
    assert_eq!(bench.receive.head()?, head, "the head with the receiver off");
    Ok(())
}

/// Would catch a cause of few descriptors (RXDMT0) that comes at another number than RCTL.RDMTS
/// says, or not at all.
fn threshold(nic: &GigabitNic, vm: &Rc<Vm>) -> Result<()> {
    if nic.is_82576() {
        return Err(Error::skipped("the 82576 has a threshold for each queue instead"));
    }
    for (setting, left) in [(0, COUNT / 2), (1, COUNT / 4), (2, COUNT / 8)] {
        let bench = Bench::new(nic, vm, 2048)?;
        bench.set(RCTL, RECEIVE | setting << RDMTS)?;
        let mut first = None;
        for number in 1..COUNT {
            bench.wire.send(&frame(MAC, PEER, 60, number as u8))?;
            let taken = || Ok(bench.receive.head()? == number);
            crate::qos::net::wait_received(vm, "a frame", taken)?;
            let causes = bench.get(ICR)?;
            if causes & e1000::ICR_RXDMT0 != 0 {
                first.get_or_insert(COUNT - 1 - number);
            }
        }
        assert_eq!(first, Some(left), "descriptors left at the cause, RDMTS {setting}");
    }
    Ok(())
}
