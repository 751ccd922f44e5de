//! Messages of MSI-X: which vector which cause has, masks, automatic clearing and throttling (7.3,
//! 8.8).

use std::rc::Rc;
use std::time::Duration;

use super::bench::{Bench, COUNT, RECEIVE};
use crate::drivers::net::e1000::{self, ICR_LSC};
use crate::drivers::net::igb::{self, Igb, MULTIPLE_MSIX, QUEUES, VALID, VECTORS};
use crate::qemu::{Buffer, Vm};
use crate::qos::net::{MAC, PEER, frame};
use crate::qos::pci::msix::{Control, Msix};
use crate::qos::registers::RegistersExt;
use crate::qos::settle;
use crate::tests::pci::messages;
use crate::{Error, Result, tests};

tests!(Igb, "igb-tests":
    every_vector = "every-vector",
    vectors_of_queues = "vectors-of-queues",
    other_causes = "other-causes",
    automatic_clear = "automatic-clear",
    throttled,
    throttled_once = "throttled-once",
    check = "messages",
    msi,
);

/// No message.
const NONE: &[u16] = &[];

/// An 82576 that sends messages, and where each of its vectors writes.
struct Messages<'a> {
    bench: Bench<'a>,
    msix: Msix,
    memory: Buffer,
}

impl<'a> Messages<'a> {
    fn new(nic: &'a Igb, vm: &'a Rc<Vm>) -> Result<Self> {
        let device = &nic.plug.device;
        if !device.bus().messages_reach_memory() {
            return Err(Error::skipped("on this bus a message to RAM does not get there"));
        }
        let bench = Bench::new(nic, vm)?;
        let control = Control::find(device, &device.capabilities()?)?;
        let control = control.ok_or_else(|| Error::failed("the device has no MSI-X"))?;
        let memory = vm.ram().alloc(4 * usize::from(VECTORS), 4)?;
        let msix = Msix::enable(&control)?;
        for vector in 0..VECTORS {
            let at = memory.address().0 + 4 * u64::from(vector);
            msix.set_message(vector, at, 0x5500 + u32::from(vector))?;
            msix.mask(vector, false)?;
        }
        bench.set(igb::GPIE, MULTIPLE_MSIX)?;
        bench.set(e1000::IMC, !0)?;
        let messages = Self { bench, msix, memory };
        messages.clear()?;
        Ok(messages)
    }

    /// Masks every vector in the device, and clears every cause.
    fn clear(&self) -> Result<()> {
        self.bench.set(igb::EIMC, !0)?;
        self.bench.get(igb::EICR)?;
        self.bench.get(e1000::ICR).map(drop)
    }

    /// The vectors whose messages came since this was asked.
    fn sent(&self) -> Result<Vec<u16>> {
        settle(self.bench.vm)?;
        let mut sent = Vec::new();
        for vector in 0..VECTORS {
            let at = 4 * usize::from(vector);
            let value = self.memory.read_le32(at)?;
            let expected = 0x5500 + u32::from(vector);
            assert!([0, expected].contains(&value), "message {vector}: {value:#x}");
            if value != 0 {
                self.memory.write_le32(at, 0)?;
                sent.push(vector);
            }
        }
        Ok(sent)
    }
}

/// Would catch a vector that is another's, comes although it is masked in the device, is lost
/// while it is, or does not come.
fn every_vector(nic: &Igb, vm: &Rc<Vm>) -> Result<()> {
    let messages = Messages::new(nic, vm)?;
    let bench = &messages.bench;
    assert_eq!(messages.msix.size(), VECTORS, "the number of vectors (7.3.1)");
    for vector in 0..VECTORS {
        let what = |text: &str| format!("vector {vector}, {text}");
        let bit = 1 << vector;
        messages.clear()?;
        bench.set(igb::EIMS, 0x1ff_ffff & !bit)?;
        bench.set(igb::EICS, bit)?;
        assert_eq!(messages.sent()?, NONE, "{}", what("masked in the device"));
        bench.set(igb::EIMS, bit)?;
        assert_eq!(messages.sent()?, [vector], "{}", what("unmasked"));
        assert!(!nic.plug.device.asserts_interrupt()?, "{}", what("the pin"));
        assert_eq!(bench.get(igb::EICR)?, bit, "{}", what("EICR"));
        assert_eq!(bench.get(igb::EICR)?, 0, "{}", what("EICR, read twice"));
        bench.set(igb::EICS, bit)?;
        assert_eq!(messages.sent()?, [vector], "{}", what("once more"));
        bench.set(igb::EICR, bit)?;
        assert_eq!(bench.get(igb::EICR)?, 0, "{}", what("EICR, cleared by a one"));
        bench.set(igb::EIMC, bit)?;
        assert_eq!(bench.get(igb::EIMS)? & bit, 0, "{}", what("EIMS, cleared"));
        bench.set(igb::EICS, bit)?;
        assert_eq!(messages.sent()?, NONE, "{}", what("masked again"));
    }
    Ok(())
}

/// Would catch a queue that has another's vector, or one although that is not valid (8.8.13).
fn vectors_of_queues(nic: &Igb, vm: &Rc<Vm>) -> Result<()> {
    let messages = Messages::new(nic, vm)?;
    let bench = &messages.bench;
    (0..8).try_for_each(|index| bench.set(igb::IVAR.nth(index, 4), 0))?;
    bench.set(igb::EIMS, 0x1ff_ffff)?;
    bench.set(igb::MRQC, 0)?;
    let transmitters =
        (0..QUEUES).map(|queue| bench.transmitter(queue)).collect::<Result<Vec<_>>>()?;
    // Of the queues to receive into the first gets everything.
    let receiver = bench.receiver(0, COUNT, 2048)?;
    bench.set(igb::RCTL, RECEIVE)?;
    let allocate = |queue: u64, sends: bool, entry: u32| {
        let at = 8 * (queue / 8 * 2 + u64::from(sends));
        bench.set(igb::IVAR.nth(queue % 8, 4), entry << at)
    };
    for queue in 0..QUEUES {
        let ring = &transmitters[queue as usize];
        for vector in [queue as u16 % VECTORS, 9 - queue as u16 % VECTORS] {
            for valid in [false, true] {
                let what = format!("queue {queue} to send, vector {vector}, valid {valid}");
                let entry = u32::from(vector) | if valid { VALID } else { 0 };
                allocate(queue, true, entry)?;
                bench.send(ring, &frame(PEER, MAC, 60, 1))?;
                bench.wire.receive(&what)?;
                let expected = if valid { &[vector][..] } else { &[] };
                assert_eq!(messages.sent()?, expected, "{what}");
                bench.get(igb::EICR)?;
                allocate(queue, true, 0)?;
            }
        }
    }
    for vector in [0, 7, 9] {
        for valid in [false, true] {
            let what = format!("the first queue to receive, vector {vector}, valid {valid}");
            allocate(0, false, u32::from(vector) | if valid { VALID } else { 0 })?;
            bench.wire.send(&frame(MAC, PEER, 60, 1))?;
            receiver.take(&what)?;
            let expected = if valid { &[vector][..] } else { &[] };
            assert_eq!(messages.sent()?, expected, "{what}");
            bench.get(igb::EICR)?;
            allocate(0, false, 0)?;
        }
    }
    Ok(())
}

/// Would catch a cause of no queue that is sent as another's message, although it is masked, or
/// although its vector is not valid (8.8.14).
fn other_causes(nic: &Igb, vm: &Rc<Vm>) -> Result<()> {
    let messages = Messages::new(nic, vm)?;
    let bench = &messages.bench;
    bench.set(igb::EIMS, 0x1ff_ffff)?;
    for vector in [0u16, 3, 8, 9] {
        for valid in [VALID, 0] {
            bench.set(igb::IVAR_MISC, (u32::from(vector) | valid) << 8)?;
            for unmasked in [true, false] {
                let what = format!("vector {vector}, valid {valid:#x}, unmasked {unmasked}");
                bench.set(e1000::IMC, !0)?;
                bench.get(e1000::ICR)?;
                bench.get(igb::EICR)?;
                bench.set(
                    igb::IMS,
                    if unmasked { ICR_LSC } else { !ICR_LSC & igb::CAUSES as u32 },
                )?;
                bench.set(e1000::ICS, ICR_LSC)?;
                let expected = if unmasked && valid != 0 { &[vector][..] } else { &[] };
                assert_eq!(messages.sent()?, expected, "{what}");
                assert_eq!(bench.get(e1000::ICR)? & ICR_LSC, ICR_LSC, "{what}: ICR");
            }
        }
    }
    Ok(())
}

/// Would catch a cause that a message does not clear by itself although EIAC says so, or does
/// although it does not (8.8.5).
fn automatic_clear(nic: &Igb, vm: &Rc<Vm>) -> Result<()> {
    let messages = Messages::new(nic, vm)?;
    let bench = &messages.bench;
    bench.set(igb::EIMS, 0x1ff_ffff)?;
    for vector in [0u16, 5, 9] {
        let bit = 1 << vector;
        for automatic in [false, true] {
            if automatic {
                bench.set(igb::EIAC, bit)?;
            }
            bench.get(igb::EICR)?;
            bench.set(igb::EICS, bit)?;
            let what = format!("vector {vector}, automatic {automatic}");
            assert_eq!(messages.sent()?, [vector], "{what}");
            let left = if automatic { 0 } else { bit };
            assert_eq!(bench.get(igb::EICR)?, left, "{what}: EICR after the message");
        }
    }
    bench.set(igb::EIAC, 0)?;
    match bench.get(igb::EIAC)? {
        0 => Ok(()),
        0x221 => Err(Error::skipped("igb: what is once set in EIAC is never cleared")),
        other => Err(Error::failed(format!("EIAC, cleared, is {other:#x}"))),
    }
}

/// The interval of EITR in the test of throttling: its register, and the time (8.8.12).
const THROTTLE: (u32, Duration) = (5000 << 2, Duration::from_micros(5000));

/// Would catch messages that come more often than EITR lets them, never again, or throttle those of
/// other vectors.
fn throttled(nic: &Igb, vm: &Rc<Vm>) -> Result<()> {
    let messages = Messages::new(nic, vm)?;
    let bench = &messages.bench;
    bench.set(igb::EIMS, 0x1ff_ffff)?;
    let mut is_longer = false;
    for vector in [0u16, 4, 9] {
        let other = (vector + 1) % VECTORS;
        bench.set(igb::EITR.nth(vector.into(), 4), THROTTLE.0)?;
        let cause = |vector: u16| -> Result<()> {
            bench.get(igb::EICR)?;
            bench.set(igb::EICS, 1 << vector)
        };
        cause(vector)?;
        assert_eq!(messages.sent()?, [vector], "the first message");
        for round in 0..3 {
            cause(vector)?;
            assert_eq!(messages.sent()?, NONE, "within the interval, round {round}");
            cause(other)?;
            assert_eq!(messages.sent()?, [other], "another vector within it, round {round}");
        }
        let (_, interval) = THROTTLE;
        // What is pending when the interval is over is sent.
        bench.set(igb::EICS, 1 << vector)?;
        vm.qtest().clock_step(Some(interval / 10 * 9))?;
        assert_eq!(messages.sent()?, NONE, "after nine tenths of the interval");
        vm.qtest().clock_step(Some(interval))?;
        let mut sent = messages.sent()?;
        if sent.is_empty() {
            is_longer = true;
            vm.qtest().clock_step(Some(2 * interval))?;
            assert_eq!(messages.sent()?, NONE, "after three times the interval");
            vm.qtest().clock_step(Some(interval))?;
            sent = messages.sent()?;
        }
        assert_eq!(sent, [vector], "after the interval");
        bench.set(igb::EITR.nth(vector.into(), 4), 0)?;
        vm.qtest().clock_step(Some(5 * interval))?;
        messages.sent()?;
        for round in 0..3 {
            cause(vector)?;
            assert_eq!(messages.sent()?, [vector], "not throttled, round {round}");
        }
    }
    match is_longer {
        false => Ok(()),
        true => Err(Error::skipped("igb: an interval is four times as long as EITR says")),
    }
}

/// Would catch a message that comes at the end of an interval although nothing happened in it.
fn throttled_once(nic: &Igb, vm: &Rc<Vm>) -> Result<()> {
    let messages = Messages::new(nic, vm)?;
    let bench = &messages.bench;
    bench.set(igb::EIMS, 0x1ff_ffff)?;
    bench.set(igb::EITR.nth(2, 4), THROTTLE.0)?;
    bench.set(igb::EICS, 1 << 2)?;
    assert_eq!(messages.sent()?, [2], "the first message");
    bench.get(igb::EICR)?;
    vm.qtest().clock_step(Some(5 * THROTTLE.1))?;
    match messages.sent()?.as_slice() {
        [] => Ok(()),
        [2] => Err(Error::skipped("igb: the end of an interval sends a message without a cause")),
        other => Err(Error::failed(format!("messages after the interval: {other:?}"))),
    }
}

/// Would catch what the checks of every function's MSI-X would.
fn check(nic: &Igb, vm: &Rc<Vm>) -> Result<()> {
    const VECTOR: u16 = 7;
    let registers = &nic.plug.registers;
    messages::check(&nic.plug.device, vm, VECTOR, || {
        registers.set(igb::GPIE, MULTIPLE_MSIX)?;
        registers.set(igb::EIMS, 1 << VECTOR)?;
        registers.get(igb::EICR)?;
        registers.set(igb::EICS, 1 << VECTOR)
    })
}

/// Would catch what the checks of every function's MSI would.
fn msi(nic: &Igb, vm: &Rc<Vm>) -> Result<()> {
    let registers = &nic.plug.registers;
    messages::check_msi(&nic.plug.device, vm, || {
        registers.set(e1000::IMC, !0)?;
        registers.get(e1000::ICR)?;
        registers.set(igb::IMS, ICR_LSC)?;
        registers.set(e1000::ICS, ICR_LSC)
    })
}
