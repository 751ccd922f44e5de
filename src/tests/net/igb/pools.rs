//! Pools of virtual machines (7.10.3): to which of eight a frame comes, and the mailboxes of their
//! functions.

use std::rc::Rc;

use super::bench::{Bench, COUNT, RECEIVE, Receiver};
use crate::drivers::net::e1000::{self, ICR, MTA, RCTL_LPE};
use crate::drivers::net::igb::{self, Igb, POOLS};
use crate::qemu::Vm;
use crate::qos::net::{Address, BROADCAST, MAC, PEER, frame};
use crate::qos::packets::tagged;
use crate::qos::settle;
use crate::{Result, tests};

tests!(Igb, "igb-tests":
    addresses = "pool-addresses",
    modes = "pool-modes",
    default_pool = "default-pool",
    tags = "pool-tags",
    lengths = "pool-lengths",
    mailboxes,
);

/// MRQC: pools are chosen by addresses and tags.
const BY_POOL: u32 = 3;
/// VMOLR: long packets, frames without a tag, multicast by its hash, broadcasts.
const LPE: u32 = 1 << 16;
const AUPE: u32 = 1 << 24;
const ROMPE: u32 = 1 << 25;
const BAM: u32 = 1 << 27;
/// VT_CTL: there is no default pool.
const NO_DEFAULT: u32 = 1 << 29;
/// RCTL: tags are filtered.
const VFE: u32 = 1 << 18;
/// Where a RAH has its pools.
const RAH_POOLS: u32 = 18;
/// A multicast address.
const GROUP: Address = [0x01, 0x00, 0x5e, 0x11, 0x27, 0x93];

/// A controller whose queues to receive into are one for each pool.
struct Pools<'a> {
    bench: &'a Bench<'a>,
    queues: Vec<Receiver<'a>>,
}

impl<'a> Pools<'a> {
    /// No pool has an address, or receives what has none; there is no default pool.
    fn new(bench: &'a Bench<'a>) -> Result<Self> {
        let queues = (0..POOLS).map(|pool| bench.receiver(pool, COUNT, 2048));
        let queues = queues.collect::<Result<Vec<_>>>()?;
        bench.set(igb::MRQC, BY_POOL)?;
        bench.set(igb::VT_CTL, NO_DEFAULT)?;
        bench.set(igb::RAH, 0)?;
        (0..POOLS).try_for_each(|pool| bench.set(igb::VMOLR.nth(pool, 4), 0))?;
        bench.set(igb::RCTL, RECEIVE)?;
        Ok(Self { bench, queues })
    }

    /// Sends a frame and asserts that these pools get it, as a mask, and no others.
    fn assert_reaches(&self, sent: &[u8], pools: u32, what: &str) -> Result<()> {
        self.bench.wire.send(sent)?;
        for (pool, queue) in self.queues.iter().enumerate() {
            if pools >> pool & 1 != 0 {
                let got = queue.take(what)?;
                assert!(got.data == sent, "{what}: the frame of pool {pool}");
            }
        }
        if pools == 0 {
            (0..10).try_for_each(|_| settle(self.bench.vm))?;
        }
        for (pool, queue) in self.queues.iter().enumerate() {
            assert!(queue.is_empty()?, "{what}: pool {pool} got it too");
        }
        Ok(())
    }

    /// Gives `pools` an address, entry `number` of 24.
    fn set_address(&self, number: u64, address: Address, pools: u32) -> Result<()> {
        let [a, b, c, d, e, f] = address;
        let (low, high) = match number {
            0..16 => (e1000::RAL0.nth(number, 8), igb::RAH.nth(number, 8)),
            _ => (igb::RAL16.nth(number - 16, 8), igb::RAH16.nth(number - 16, 8)),
        };
        self.bench.set(low, u32::from_le_bytes([a, b, c, d]))?;
        let valid = if pools == 0 { 0 } else { e1000::RAH_AV };
        self.bench.set(high, u32::from_le_bytes([e, f, 0, 0]) | valid | pools << RAH_POOLS)
    }
}

/// Would catch a frame that comes to a pool which does not have its address, to one of several that
/// have only, or to one that is off.
fn addresses(nic: &Igb, vm: &Rc<Vm>) -> Result<()> {
    let bench = Bench::new(nic, vm)?;
    let pools = Pools::new(&bench)?;
    for number in 0..24 {
        let address: Address = [0x02, 0x77, 0x66, 0x55, 0x44, number as u8];
        let sent = frame(address, PEER, 70, number as u8);
        for mask in [1 << (number % 8), 1 << (7 - number % 8), 0xff, 0x5a] {
            let what = format!("address {number}, pools {mask:#x}");
            pools.assert_reaches(&sent, 0, &format!("{what}, not valid"))?;
            pools.set_address(number, address, mask)?;
            pools.assert_reaches(&sent, mask, &what)?;
            for off in [1, 0xf0, 0x5a] {
                bench.set(igb::VFRE, 0xff & !off)?;
                pools.assert_reaches(&sent, mask & !off, &format!("{what}, {off:#x} off"))?;
            }
            bench.set(igb::VFRE, 0xff)?;
            pools.set_address(number, address, 0)?;
        }
    }
    Ok(())
}

/// Would catch a broadcast or a multicast frame that comes to a pool which does not want it, or not
/// to one that does.
fn modes(nic: &Igb, vm: &Rc<Vm>) -> Result<()> {
    let bench = Bench::new(nic, vm)?;
    let pools = Pools::new(&bench)?;
    let hash = (u32::from(GROUP[5]) << 4 | u32::from(GROUP[4]) >> 4) & 0xfff;
    let (everybody, group) = (frame(BROADCAST, PEER, 70, 1), frame(GROUP, PEER, 71, 2));
    for pool in 0..POOLS {
        let bit = 1 << pool;
        let mode = igb::VMOLR.nth(pool, 4);
        for (bits, of_everybody, of_group) in [(BAM, bit, 0), (ROMPE, 0, bit), (0, 0, 0)] {
            bench.set(mode, bits)?;
            let table = MTA.nth(u64::from(hash >> 5), 4);
            bench.set(table, 1 << (hash & 31))?;
            let what = format!("pool {pool}, VMOLR {bits:#x}");
            pools.assert_reaches(&everybody, of_everybody, &format!("{what}, a broadcast"))?;
            pools.assert_reaches(&group, of_group, &format!("{what}, a group's"))?;
            bench.set(table, 0)?;
            pools.assert_reaches(&group, 0, &format!("{what}, a group's of another hash"))?;
        }
    }
    Ok(())
}

/// Would catch a frame of nobody's that does not come to the default pool, comes to another, or to
/// one although there is none (8.14, VT_CTL).
fn default_pool(nic: &Igb, vm: &Rc<Vm>) -> Result<()> {
    let bench = Bench::new(nic, vm)?;
    let pools = Pools::new(&bench)?;
    let foreign = frame([0x02, 0x99, 0x99, 0x99, 0x99, 0x99], PEER, 70, 1);
    let own = frame(MAC, PEER, 71, 1);
    pools.set_address(1, MAC, 1 << 3)?;
    for pool in 0..POOLS as u32 {
        bench.set(igb::VT_CTL, pool << 7)?;
        pools.assert_reaches(&foreign, 1 << pool, &format!("default pool {pool}"))?;
        pools.assert_reaches(&own, 1 << 3, &format!("a frame of pool 3's, default {pool}"))?;
        bench.set(igb::VT_CTL, NO_DEFAULT | pool << 7)?;
        pools.assert_reaches(&foreign, 0, &format!("no default, pool {pool}"))?;
    }
    Ok(())
}

/// Would catch a tag that lets a frame into a pool which does not have it, or keeps it from one that
/// has, and a frame without a tag that comes to a pool which wants none (8.14, VLVF).
fn tags(nic: &Igb, vm: &Rc<Vm>) -> Result<()> {
    const ENABLE: u32 = 1 << 31;
    let bench = Bench::new(nic, vm)?;
    let pools = Pools::new(&bench)?;
    bench.set(e1000::CTRL, bench.get(e1000::CTRL)? & !(1 << 30))?;
    let plain = frame(MAC, PEER, 80, 1);
    pools.set_address(1, MAC, 0xff)?;
    (0..128).try_for_each(|index| bench.set(e1000::VFTA.nth(index, 4), !0))?;
    pools.assert_reaches(&tagged(&plain, 5), 0xff, "no filter")?;
    bench.set(igb::RCTL, RECEIVE | VFE)?;
    for entry in [0, 1, 17, 31] {
        let register = igb::VLVF.nth(entry, 4);
        for (tag, mask) in [(5u16, 1), (0xfff, 0x80), (0x7a5, 0x3c)] {
            let what = format!("tag {tag:#x}, pools {mask:#x}, entry {entry}");
            let sent = tagged(&plain, tag | 0xa000);
            bench.set(register, u32::from(tag) | mask << 12)?;
            pools.assert_reaches(&sent, 0, &format!("{what}, off"))?;
            bench.set(register, ENABLE | u32::from(tag) | mask << 12)?;
            pools.assert_reaches(&sent, mask, &what)?;
            let other = tagged(&plain, tag ^ 1);
            pools.assert_reaches(&other, 0, &format!("{what}, another tag"))?;
        }
        bench.set(register, 0)?;
    }
    for pool in 0..POOLS {
        bench.set(igb::VMOLR.nth(pool, 4), AUPE)?;
        pools.assert_reaches(&plain, 1 << pool, &format!("no tag, pool {pool}"))?;
        bench.set(igb::VMOLR.nth(pool, 4), 0)?;
    }
    Ok(())
}

/// Would catch a long packet that comes to a pool for which it is too long, or not to one for which
/// it is not (8.14, VMOLR), and one that is too long for all and not counted.
fn lengths(nic: &Igb, vm: &Rc<Vm>) -> Result<()> {
    let bench = Bench::new(nic, vm)?;
    let pools = Pools::new(&bench)?;
    pools.set_address(1, MAC, 0xff)?;
    bench.set(igb::RCTL, RECEIVE | RCTL_LPE)?;
    for pool in 0..POOLS {
        let most = 1540 + 10 * pool as u32;
        bench.set(igb::VMOLR.nth(pool, 4), LPE | most)?;
    }
    bench.get(e1000::ROC)?;
    for number in 0..=POOLS as u32 {
        for more in [0, 1] {
            let length = 1540 - 4 + 10 * number + more;
            // Those whose maximum is at least that, its frame check sequence counted.
            let mask = 0xff << (number + more) & 0xff;
            let sent = frame(MAC, PEER, length as usize, number as u8);
            let what = format!("{length} bytes");
            pools.assert_reaches(&sent, mask, &what)?;
            let counted = bench.get(e1000::ROC)?;
            assert_eq!(counted, u32::from(mask == 0), "{what}: ROC");
        }
    }
    Ok(())
}

/// Would catch a mailbox that both can own, memory of it that is another's, and the physical
/// function's request that does not stay with the function it is for (7.10.2.9).
fn mailboxes(nic: &Igb, vm: &Rc<Vm>) -> Result<()> {
    /// The physical function owns the memory.
    const PFU: u32 = 1 << 3;
    /// A message is there for the virtual function.
    const STS: u32 = 1 << 0;
    let bench = Bench::new(nic, vm)?;
    for pool in 0..POOLS {
        for word in 0..16 {
            bench.set(igb::VMBMEM.nth(16 * pool + word, 4), (0x100 * pool + word) as u32)?;
        }
    }
    for pool in 0..POOLS {
        for word in 0..16 {
            let read = bench.get(igb::VMBMEM.nth(16 * pool + word, 4))?;
            assert_eq!(read, (0x100 * pool + word) as u32, "word {word} of mailbox {pool}");
        }
    }
    bench.get(ICR)?;
    for pool in 0..POOLS {
        let own = igb::P2VMAILBOX.nth(pool, 4);
        bench.set(own, PFU)?;
        for other in 0..POOLS {
            let read = bench.get(igb::P2VMAILBOX.nth(other, 4))? & PFU;
            assert_eq!(read != 0, other == pool, "mailbox {other}, {pool} is taken: {read:#x}");
        }
        bench.set(own, PFU | STS)?;
        assert_eq!(bench.get(own)? & STS, 0, "the request of mailbox {pool} clears itself");
        bench.set(own, 0)?;
        assert_eq!(bench.get(own)? & PFU, 0, "mailbox {pool}, given back");
        assert_eq!(bench.get(igb::MBVFICR)?, 0, "virtual functions' causes");
    }
    let causes = bench.get(ICR)? & 1 << 8;
    assert_eq!(causes, 0, "the cause of a mailbox, of which no virtual function wrote");
    Ok(())
}
