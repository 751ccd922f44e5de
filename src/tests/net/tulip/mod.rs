//! Digital's 21143: frames that are sent from one buffer or several, and ones that are too long.

mod lists;

use std::rc::Rc;

use crate::drivers::net::tulip::{self as tulip, Tulip};
use crate::qemu::{Buffer, Vm};
use crate::qos::net::{BROADCAST, MAC, Wire, assert_frame, frame};
use crate::qos::registers::RegistersExt;
use crate::qos::wait_until;
use crate::{Result, tests};

tests!(Tulip, "tulip-tests": tulip_large_tx, transmit, segments, stopped);

/// The length of a descriptor in bytes.
const DESCRIPTOR: usize = 16;
/// How many descriptors the list has; the last has nothing to send.
const COUNT: usize = 8;

/// A list of descriptors and memory for frames, and the far end of the cable.
struct Bench<'a> {
    nic: &'a Tulip,
    vm: &'a Rc<Vm>,
    list: Buffer,
    data: Buffer,
    wire: Wire,
}

impl<'a> Bench<'a> {
    fn new(nic: &'a Tulip, vm: &'a Rc<Vm>) -> Result<Self> {
        nic.plug.device.bus().reaches_ram()?;
        let list = vm.ram().alloc(COUNT * DESCRIPTOR, 16)?;
        let data = vm.ram().alloc(4096, 16)?;
        nic.plug.registers.set(tulip::CSR0, tulip::CSR0_RESET)?;
        nic.plug.registers.set(tulip::CSR4, list.address().0 as u32)?;
        Ok(Self { nic, vm, list, data, wire: Wire::new(vm)? })
    }

    /// Descriptor `at` becomes the card's, with two buffers of `lengths` bytes at `offsets` of the
    /// data.
    fn put(&self, at: usize, flags: u32, offsets: [usize; 2], lengths: [u32; 2]) -> Result<()> {
        let address = |offset: usize| self.data.address().0 as u32 + offset as u32;
        let words = [
            tulip::OWN,
            flags | lengths[0] | lengths[1] << 11,
            address(offsets[0]),
            address(offsets[1]),
        ];
        for (word, value) in words.into_iter().enumerate() {
            self.list.write_le32(at * DESCRIPTOR + 4 * word, value)?;
        }
        Ok(())
    }

    /// Has the card send from the start of the list on, and waits until `count` descriptors are
    /// done.
    fn send(&self, count: usize) -> Result<()> {
        let registers = &self.nic.plug.registers;
        registers.set(tulip::CSR6, 0)?;
        registers.set(tulip::CSR4, self.list.address().0 as u32)?;
        registers.set(tulip::CSR6, tulip::CSR6_SEND)?;
        registers.set(tulip::CSR1, 1)?;
        wait_until(self.vm, "the last descriptor to be done", || {
            let last = self.list.read_le32((count - 1) * DESCRIPTOR)?;
            Ok(last & tulip::OWN == 0)
        })
    }
}

/// A frame of `length` bytes.
fn outgoing(length: usize, number: u8) -> Vec<u8> {
    frame(BROADCAST, MAC, length, number)
}

/// Would catch a frame whose buffers are longer than the card's memory for it and that is written
/// past its end, or sent; and a card that sends nothing afterwards.
fn tulip_large_tx(nic: &Tulip, vm: &Rc<Vm>) -> Result<()> {
    let bench = Bench::new(nic, vm)?;
    bench.data.write(0, &[b'A'; 4096])?;
    for (number, flags) in [0, tulip::FIRST, tulip::FIRST | tulip::LAST].into_iter().enumerate() {
        bench.list.write(0, &[0; COUNT * DESCRIPTOR])?;
        bench.put(0, flags, [0, 0], [0x7ff, 0x7ff])?;
        nic.plug.registers.set(tulip::CSR6, 0)?;
        nic.plug.registers.set(tulip::CSR4, bench.list.address().0 as u32)?;
        nic.plug.registers.set(tulip::CSR6, tulip::CSR6_SEND)?;
        nic.plug.registers.set(tulip::CSR1, 1)?;
        nic.plug.registers.get(tulip::CSR5)?;
        bench.wire.assert_silent("after a frame that is too long")?;

        nic.plug.registers.set(tulip::CSR0, tulip::CSR0_RESET)?;
        bench.list.write(0, &[0; COUNT * DESCRIPTOR])?;
        let good = outgoing(100 + number, number as u8);
        bench.data.write(0, &good)?;
        bench.put(0, tulip::FIRST | tulip::LAST, [0, 0], [good.len() as u32, 0])?;
        bench.send(1)?;
        assert_frame(&bench.wire.receive("a frame after that")?, &good, "a frame after that");
        bench.data.write(0, &[b'A'; 4096])?;
    }
    Ok(())
}

/// Would catch a frame that is cut, repeated or mixed with another, and a card that does not tell
/// what it has sent.
fn transmit(nic: &Tulip, vm: &Rc<Vm>) -> Result<()> {
    let bench = Bench::new(nic, vm)?;
    let lengths = [60, 61, 64, 1000, 1514];
    let frames: Vec<Vec<u8>> =
        lengths.into_iter().zip(0..).map(|(length, number)| outgoing(length, number)).collect();
    let mut offset = 0;
    for (at, frame) in frames.iter().enumerate() {
        bench.data.write(offset, frame)?;
        bench.put(at, tulip::FIRST | tulip::LAST, [offset, 0], [frame.len() as u32, 0])?;
        offset += frame.len();
    }
    bench.send(frames.len())?;
    for (number, frame) in frames.iter().enumerate() {
        let what = format!("frame {number}");
        assert_frame(&bench.wire.receive(&what)?, frame, &what);
        let status = bench.list.read_le32(number * DESCRIPTOR)?;
        assert_eq!(status, 0, "the status of descriptor {number}");
    }
    let status = nic.plug.registers.get(tulip::CSR5)?;
    assert_ne!(status & tulip::CSR5_NOTHING_TO_SEND, 0, "CSR5 at the end of the list: {status:#x}");
    bench.wire.assert_silent("behind the last frame")
}

/// Would catch the pieces of a frame, in several buffers and descriptors, that are mixed up or left
/// out.
fn segments(nic: &Tulip, vm: &Rc<Vm>) -> Result<()> {
    let bench = Bench::new(nic, vm)?;
    let whole = outgoing(900, 9);
    // The pieces are in memory in another order than in the frame.
    let pieces = [(0, 100), (100, 1), (101, 299), (400, 200), (600, 300)];
    let places = [2000, 1500, 1000, 500, 0];
    for ((from, length), place) in pieces.into_iter().zip(places) {
        bench.data.write(place, &whole[from..from + length])?;
    }
    let length = |piece: usize| pieces[piece].1 as u32;
    bench.put(0, tulip::FIRST, [places[0], places[1]], [length(0), length(1)])?;
    bench.put(1, 0, [places[2], 0], [length(2), 0])?;
    bench.put(2, tulip::LAST, [places[3], places[4]], [length(3), length(4)])?;
    bench.send(3)?;
    assert_frame(&bench.wire.receive("a frame in pieces")?, &whole, "a frame in pieces");
    bench.wire.assert_silent("behind it")
}

/// Would catch a card that sends although it is stopped.
fn stopped(nic: &Tulip, vm: &Rc<Vm>) -> Result<()> {
    let bench = Bench::new(nic, vm)?;
    let frame = outgoing(70, 3);
    bench.data.write(0, &frame)?;
    bench.put(0, tulip::FIRST | tulip::LAST, [0, 0], [frame.len() as u32, 0])?;
    nic.plug.registers.set(tulip::CSR6, 0)?;
    nic.plug.registers.set(tulip::CSR1, 1)?;
    bench.wire.assert_silent("while it is stopped")?;
    assert_eq!(bench.list.read_le32(0)?, tulip::OWN, "the descriptor is still the card's");
    bench.send(1)?;
    assert_frame(&bench.wire.receive("started")?, &frame, "started");
    Ok(())
}
