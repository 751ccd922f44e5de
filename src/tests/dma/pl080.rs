//! What the PL080 and the PL081 alone have (Arm, PrimeCell DMA Controller technical reference
//! manual, DDI 0196G): widths that differ, lists in words, and flow control.

use std::rc::Rc;

use crate::drivers::dma::pl080::{Pl080, Raw, control};
use crate::qemu::{Buffer, Vm};
use crate::qos::dma::DmaEngine;
use crate::qos::settle;
use crate::{Error, Result, tests};

tests!(Pl080, "pl080-tests":
    widths,
    addresses_after = "addresses-after",
    reserved_widths = "reserved-widths",
    list_bits = "list-bits",
    enabled_last = "enabled-last",
    flow_control = "flow-control",
);

/// How much memory there is on both sides, in bytes.
const ROOM: usize = 256;
/// What the destination has before.
const FILL: u8 = 0x5e;

/// Memory on both sides of an engine that is on.
struct Bench<'e> {
    engine: &'e Pl080,
    source: Buffer,
    destination: Buffer,
    data: Vec<u8>,
}

impl<'e> Bench<'e> {
    fn new(engine: &'e Pl080, vm: &Rc<Vm>) -> Result<Self> {
        let (source, destination) = (vm.ram().alloc(ROOM, 64)?, vm.ram().alloc(ROOM, 64)?);
        let data: Vec<u8> = (0..ROOM).map(|at| (at * 7 + 3) as u8).collect();
        source.write(0, &data)?;
        let bench = Self { engine, source, destination, data };
        bench.refill()?;
        engine.enable(true)?;
        Ok(bench)
    }

    fn refill(&self) -> Result<()> {
        self.destination.write(0, &[FILL; ROOM])
    }

    /// What copies from the beginning of the source to byte 64 of the destination.
    fn raw(&self, control: u32) -> Result<Raw> {
        let narrow = |buffer: &Buffer| {
            let address = u32::try_from(buffer.address().0);
            address.map_err(|_| Error::skipped("this memory is beyond the engine's addresses"))
        };
        let (source, destination) = (narrow(&self.source)?, narrow(&self.destination)? + 64);
        Ok(Raw { source, destination, list: 0, control })
    }

    /// Has a channel do this, whose end interrupts; the registers then.
    fn run(&self, channel: usize, raw: &Raw) -> Result<Raw> {
        self.engine.prepare_raw(channel, raw)?;
        self.engine.start(channel)?;
        assert!(!self.engine.is_active(channel)?, "the channel should be done: {raw:x?}");
        assert!(self.engine.is_done(channel)?, "the end should be told: {raw:x?}");
        self.engine.clear(channel)?;
        self.engine.raw(channel)
    }

    /// Asserts that the first `length` bytes of the source were copied, and nothing else.
    #[track_caller]
    fn assert_copied(&self, length: usize, what: &str) -> Result<()> {
        let mut expected = vec![FILL; ROOM];
        expected[64..64 + length].copy_from_slice(&self.data[..length]);
        let found = self.destination.to_vec()?;
        let differs = found.iter().zip(&expected).position(|(is, expected)| is != expected);
        assert_eq!(differs, None, "{what}: the first byte of the destination that is wrong");
        self.refill()
    }
}

/// The codes of widths, and how many bytes these are.
const WIDTHS: [(u32, usize); 3] = [(0, 1), (1, 2), (2, 4)];

/// Would catch a transfer size that counts anything but units of the source, and data that is lost,
/// repeated or moved where the units of the destination are of another width (3.4.18).
fn widths(engine: &Pl080, vm: &Rc<Vm>) -> Result<()> {
    let bench = Bench::new(engine, vm)?;
    for (source, bytes) in WIDTHS {
        for (destination, other) in WIDTHS {
            for length in [bytes.max(other), 64] {
                let count = (length / bytes) as u32;
                bench.run(0, &bench.raw(control(count, source, destination))?)?;
                bench.assert_copied(length, &format!("{count} of {bytes} bytes to {other}"))?;
            }
        }
    }
    Ok(())
}

/// Would catch addresses that increment by the width of the other side, or a transfer size that
/// does not end at 0.
fn addresses_after(engine: &Pl080, vm: &Rc<Vm>) -> Result<()> {
    let bench = Bench::new(engine, vm)?;
    for (source, bytes) in WIDTHS {
        for (destination, other) in WIDTHS {
            let raw = bench.raw(control((32 / bytes) as u32, source, destination))?;
            let after = bench.run(1, &raw)?;
            let found = (after.source, after.destination, after.control & 0xfff);
            let expected = (raw.source + 32, raw.destination + 32, 0);
            assert_eq!(found, expected, "units of {bytes} bytes to {other}: the registers then");
        }
    }
    Ok(())
}

/// Would catch a width that means nothing and for which QEMU moves more than it has room for.
fn reserved_widths(engine: &Pl080, vm: &Rc<Vm>) -> Result<()> {
    let bench = Bench::new(engine, vm)?;
    for code in 3..8 {
        for (source, destination) in [(code, 2), (2, code), (code, code)] {
            engine.prepare_raw(0, &bench.raw(control(2, source, destination))?)?;
            engine.start(0)?;
            settle(vm)?;
            engine.hold(0, true)?;
            engine.clear(0)?;
            engine.hold(0, false)?;
        }
    }
    bench.refill()?;
    bench.source.write(0, &bench.data)?;
    bench.run(1, &bench.raw(control(16, 2, 2))?)?;
    bench.assert_copied(64, "another channel, after that")
}

/// Would catch the bits of a list's address that choose a bus master taken for address bits
/// (3.4.17).
fn list_bits(engine: &Pl080, vm: &Rc<Vm>) -> Result<()> {
    let bench = Bench::new(engine, vm)?;
    for bits in 1..4 {
        let list = vm.ram().alloc(64, 64)?;
        let first = Raw { list: list.address().0 as u32 | bits, ..bench.raw(control(4, 2, 2))? };
        // The second piece leads to the third, with the same bits.
        for piece in [0, 1_u32] {
            let at = 16 * (piece + 1);
            let next = if piece == 0 { (list.address().0 as u32 + 16) | bits } else { 0 };
            let words = [first.source + at, first.destination + at, next, control(4, 2, 2)];
            for (number, word) in words.into_iter().enumerate() {
                list.write_le32(16 * piece as usize + 4 * number, word)?;
            }
        }
        bench.run(0, &first)?;
        bench.assert_copied(48, &format!("lists with bits {bits:#b}"))?;
    }
    Ok(())
}

/// Would catch an end that is not told on the line when all of the engine is enabled after its
/// channel.
fn enabled_last(engine: &Pl080, vm: &Rc<Vm>) -> Result<()> {
    let bench = Bench::new(engine, vm)?;
    let none = || Error::skipped("nobody sees the engine's line");
    let line = engine.interrupt(0)?.ok_or_else(none)?;
    engine.enable(false)?;
    engine.prepare_raw(0, &bench.raw(control(16, 2, 2))?)?;
    engine.start(0)?;
    assert!(!line.is_high()?, "the line, with the engine off");
    engine.enable(true)?;
    assert!(line.is_high()?, "the line, with the engine on");
    bench.assert_copied(64, "the engine enabled last")?;
    engine.clear(0)?;
    assert!(!line.is_high()?, "the line, cleared");
    Ok(())
}

/// Would catch a flow that a peripheral is to control, which nobody asks for, and which ends QEMU
/// (3.4.19).
fn flow_control(engine: &Pl080, vm: &Rc<Vm>) -> Result<()> {
    let bench = Bench::new(engine, vm)?;
    for flow in 1..8 {
        engine.prepare_raw(0, &bench.raw(control(16, 2, 2))?)?;
        engine.start_with_flow(0, flow)?;
        settle(vm)?;
        bench.assert_copied(0, &format!("flow control {flow}, nobody asks"))?;
        engine.clear(0)?;
    }
    engine.prepare_raw(0, &bench.raw(control(16, 2, 2))?)?;
    engine.start_with_flow(0, 0)?;
    bench.assert_copied(64, "memory to memory")
}
