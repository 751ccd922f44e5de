//! The sixteen queues of the 82576 in each direction: how they are turned on and off, how a packet
//! finds its own, and how heads are told (7.1.2, 7.2).

use std::rc::Rc;

use super::bench::{Bench, COUNT, RECEIVE, WHOLE, of_queue};
use crate::drivers::net::e1000::ring::STA_DD;
use crate::drivers::net::igb::{self, Igb, QUEUE_ENABLE, QUEUES};
use crate::qemu::Vm;
use crate::qos::net::{MAC, PEER, frame};
use crate::qos::nic::scaling;
use crate::qos::packets::{TCP, UDP};
use crate::qos::{settle, wait_until};
use crate::{Result, tests};

tests!(Igb, "igb-tests":
    transmit = "transmit-queues",
    transmit_disabled = "transmit-queue-disabled",
    head_write_back = "head-write-back",
    scaled = "receive-side-scaling",
    receive_disabled = "receive-queue-disabled",
);

/// RXCSUM: a hash takes the place of the IP identification.
const PCSD: u32 = 1 << 13;
/// MRQC: queues are chosen by the hash, of TCP over IPv4, of IPv4.
const BY_HASH: u32 = 2;
const OF_TCP: u32 = 1 << 16;
const OF_IPV4: u32 = 1 << 17;

/// Would catch a queue that does not send, sends what another should, wraps at another place than
/// its end, or moves another's head.
fn transmit(nic: &Igb, vm: &Rc<Vm>) -> Result<()> {
    let bench = Bench::new(nic, vm)?;
    let rings = (0..QUEUES).map(|queue| bench.transmitter(queue)).collect::<Result<Vec<_>>>()?;
    let mut heads = vec![0; rings.len()];
    for number in 0..rings.len() * (COUNT + 2) {
        let queue = number * 7 % rings.len();
        let what = format!("frame {number} of queue {queue}");
        let sent = frame(PEER, MAC, 60 + number, queue as u8);
        bench.send(&rings[queue], &sent)?;
        assert!(bench.wire.receive(&what)? == sent, "{what}");
        heads[queue] = (heads[queue] + 1) % COUNT;
        let read = rings.iter().map(crate::drivers::net::e1000::ring::Ring::head);
        assert_eq!(read.collect::<Result<Vec<_>>>()?, heads, "the heads after {what}");
    }
    bench.wire.assert_silent("at the end")
}

/// Would catch a queue that sends although it or the transmitter is off, or forgets what waits.
fn transmit_disabled(nic: &Igb, vm: &Rc<Vm>) -> Result<()> {
    let bench = Bench::new(nic, vm)?;
    for queue in [0, 1, 5, 15] {
        let ring = bench.transmitter(queue)?;
        bench.set(of_queue(igb::TXDCTL, queue), 0)?;
        let sent = frame(PEER, MAC, 100, queue as u8);
        let at = ring.put(&sent, WHOLE)?;
        ring.ring()?;
        settle(vm)?;
        bench.wire.assert_silent(&format!("with queue {queue} off"))?;
        assert_eq!(ring.status(at)? & STA_DD, 0, "the status with queue {queue} off");
        bench.set(of_queue(igb::TXDCTL, queue), QUEUE_ENABLE)?;
        ring.ring()?;
        assert!(bench.wire.receive("what waited")? == sent, "what waited in queue {queue}");
        bench.set(of_queue(igb::TXDCTL, queue), 0)?;
    }
    Ok(())
}

/// Would catch a head that is not written where it should be, is written without being asked for,
/// or is told in descriptors as well (7.2.3).
fn head_write_back(nic: &Igb, vm: &Rc<Vm>) -> Result<()> {
    const ENABLE: u32 = 1;
    let bench = Bench::new(nic, vm)?;
    let memory = vm.ram().alloc(0x40, 0x40)?;
    for queue in [0, 3, 9] {
        let ring = bench.transmitter(queue)?;
        bench.set(of_queue(igb::TDWBAH, queue), (memory.address().0 >> 32) as u32)?;
        let low = memory.address().0 as u32 + 4 * queue as u32;
        for enabled in [true, false] {
            let bit = if enabled { ENABLE } else { 0 };
            bench.set(of_queue(igb::TDWBAL, queue), low | bit)?;
            for round in 0..COUNT {
                let what = format!("round {round}, queue {queue}, written back {enabled}");
                memory.write(0, &[0xaa; 0x40])?;
                let sent = frame(PEER, MAC, 60 + round, queue as u8);
                let at = ring.put(&sent, WHOLE)?;
                ring.ring()?;
                assert!(bench.wire.receive(&what)? == sent, "{what}");
                settle(vm)?;
                let done = ring.status(at)? & STA_DD != 0;
                assert_eq!(done, !enabled, "{what}: whether the descriptor is done");
                let head = memory.read_le32(4 * queue as usize)?;
                let expected = if enabled { ring.tail() as u32 } else { 0xaaaa_aaaa };
                assert_eq!(head, expected, "{what}: the head");
                let mut rest = memory.to_vec()?;
                rest.drain(4 * queue as usize..4 * queue as usize + 4);
                assert!(rest.iter().all(|byte| *byte == 0xaa), "{what}: memory around the head");
            }
        }
        bench.set(of_queue(igb::TXDCTL, queue), 0)?;
    }
    Ok(())
}

/// Would catch a hash of other fields or with another key than it should be, one that is told
/// without being asked for, and a packet that comes into another queue than the redirection table
/// says. The hashes are those that are published with the key.
fn scaled(nic: &Igb, vm: &Rc<Vm>) -> Result<()> {
    let bench = Bench::new(nic, vm)?;
    for (index, word) in (0..).zip(scaling::key_words()) {
        bench.set(igb::RSSRK.nth(index, 4), word)?;
    }
    let queues = (0..QUEUES).map(|queue| bench.receiver(queue, COUNT, 2048));
    let queues = queues.collect::<Result<Vec<_>>>()?;
    // The checksums of those packets are not right.
    bench.set(igb::RXCSUM, PCSD)?;
    bench.set(igb::MRQC, BY_HASH | OF_TCP | OF_IPV4)?;
    bench.set(igb::RCTL, RECEIVE)?;
    let mut queue = 0;
    for (number, vector) in scaling::VECTORS.iter().enumerate() {
        for (protocol, hash, kind) in [(TCP, vector.of_tcp, 1), (UDP, vector.of_ip, 2)] {
            for _ in 0..3 {
                queue = (queue + 5) % queues.len();
                // Only the hash's own entry says this queue.
                let own = u64::from(hash & 0x7f);
                for index in 0..32 {
                    let other = (queue as u32 ^ 0xf) * 0x0101_0101;
                    let at = own % 4 * 8;
                    let entry = other & !(0xff << at) | (queue as u32) << at;
                    let word = if own / 4 == index { entry } else { other };
                    bench.set(igb::RETA.nth(index, 4), word)?;
                }
                let what = format!("protocol {protocol}, vector {number}, queue {queue}");
                let sent = vector.packet(protocol);
                bench.wire.send(&sent)?;
                let got = queues[queue].take(&what)?;
                assert!(got.data == sent, "{what}: the packet");
                assert_eq!((got.first >> 32) as u32, hash, "{what}: the hash");
                assert_eq!(got.first & 0xf, kind, "{what}: the type of the hash");
                for other in &queues {
                    assert!(other.is_empty()?, "{what}: also in queue {}", other.number);
                }
            }
        }
    }
    // What has no hash comes into queue 0, and so does all with one queue.
    let plain = frame(MAC, PEER, 77, 1);
    bench.wire.send(&plain)?;
    let got = queues[0].take("a frame that is no packet of IP")?;
    assert!(got.data == plain, "a frame that is no packet of IP");
    assert_eq!((got.first >> 32, got.first & 0xf), (0, 0), "the hash of no packet of IP");
    bench.set(igb::MRQC, 0)?;
    let packet = scaling::VECTORS[0].packet(TCP);
    bench.wire.send(&packet)?;
    let got = queues[0].take("a packet, scaling switched off")?;
    assert!(got.data == packet, "a packet, scaling switched off");
    assert_eq!(got.first & 0xf, 0, "the type of the hash, scaling switched off");
    Ok(())
}

/// Would catch a queue that receives although it is off, or does not again when it is on.
fn receive_disabled(nic: &Igb, vm: &Rc<Vm>) -> Result<()> {
    let bench = Bench::new(nic, vm)?;
    let first = bench.receiver(0, COUNT, 2048)?;
    // Another queue keeps the device receiving.
    let _other = bench.receiver(2, COUNT, 2048)?;
    bench.set(igb::RCTL, RECEIVE)?;
    let control = of_queue(igb::RXDCTL, 0);
    for round in 0..3 {
        let lost = frame(MAC, PEER, 60, round);
        bench.set(control, 0)?;
        bench.wire.send(&lost)?;
        (0..20).try_for_each(|_| settle(vm))?;
        assert!(first.is_empty()?, "a frame into a queue that is off, round {round}");
        bench.set(control, QUEUE_ENABLE)?;
        let kept = frame(MAC, PEER, 61, round);
        bench.wire.send(&kept)?;
        wait_until(vm, "a frame into a queue that is on", || Ok(!first.is_empty()?))?;
        assert!(first.take("a queue that is on")?.data == kept, "a queue that is on, {round}");
    }
    Ok(())
}
