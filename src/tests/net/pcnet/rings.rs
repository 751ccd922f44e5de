//! Rings of AMD's PCnet-PCI II in every software style and of several lengths, and frames in more
//! than one buffer (Am79C970A data sheet 19436, Software Access, Descriptor Rings).

use std::cell::Cell;
use std::rc::Rc;

use super::modes::let_arrive;
use crate::drivers::net::pcnet::*;
use crate::qemu::{Buffer, Vm};
use crate::qos::net::{LONGEST, MAC, PEER, Wire, frame, wait_received};
use crate::qos::nic::Nic;
use crate::qos::wait_until;
use crate::{Result, tests};

tests!(Pcnet, "pcnet-tests":
    styles = "software-styles",
    chains = "buffer-chains",
    torn = "buffer-errors",
    halves,
);

/// The status byte of a descriptor: the controller's; an error; first and last of a frame.
const OWN: u32 = 1 << 7;
const ERR: u32 = 1 << 6;
const STP: u32 = 1 << 1;
const ENP: u32 = 1 << 0;
/// RMD1: no buffer was left.
const RX_BUFF: u32 = 1 << 2;
/// TMD2, its upper half: no buffer was left; the FIFO ran empty.
const TX_BUFF: u32 = 1 << 15;
const TX_UFLO: u32 = 1 << 14;

/// CSR15: no receiver; no transmitter.
const DRX: u16 = 1 << 0;
const DTX: u16 = 1 << 1;

/// A ring of descriptors of a software style (BCR20).
struct Ring {
    style: u16,
    descriptors: Buffer,
    buffers: Buffer,
    count: usize,
    size: usize,
    next: Cell<usize>,
}

impl Ring {
    fn new(vm: &Vm, style: u16, count: usize, size: usize) -> Result<Self> {
        let descriptors = vm.ram().alloc(count * 16, 16)?;
        let buffers = vm.ram().alloc(count * size, 16)?;
        Ok(Self { style, descriptors, buffers, count, size, next: Cell::new(0) })
    }

    fn bytes(&self) -> usize {
        if self.style == 0 { 8 } else { 16 }
    }

    /// Gives the controller descriptor `at` with a buffer of `length` bytes.
    fn give(&self, at: usize, status: u32, length: usize) -> Result<()> {
        let buffer = self.buffers.address().0 as u32 + (at * self.size) as u32;
        let count = (length as u32).wrapping_neg() & 0xffff;
        let status = (status | OWN) << 24;
        let words = match self.style {
            0 => vec![buffer & 0xff_ffff | status, count],
            3 => vec![0, status | count, buffer, 0],
            _ => vec![buffer, status | count, 0, 0],
        };
        // The word with OWN comes last.
        let own = usize::from(self.style != 0);
        for word in (0..words.len()).filter(|word| *word != own).chain([own]) {
            self.descriptors.write_le32(at * self.bytes() + 4 * word, words[word])?;
        }
        Ok(())
    }

    /// Status byte and, behind it, what a received frame has of length or a sent one of errors.
    fn status(&self, at: usize) -> Result<(u32, u32)> {
        let word = |word: usize| self.descriptors.read_le32(at * self.bytes() + 4 * word);
        Ok(match self.style {
            0 => (word(0)? >> 24, word(1)? >> 16),
            3 => (word(1)? >> 24, word(0)?),
            _ => (word(1)? >> 24, word(2)?),
        })
    }

    fn advance(&self) -> usize {
        self.next.replace((self.next.get() + 1) % self.count)
    }
}

/// A started controller.
struct Bench<'a> {
    nic: &'a Pcnet,
    vm: &'a Rc<Vm>,
    wire: Wire,
    transmit: Ring,
    receive: Ring,
}

impl<'a> Bench<'a> {
    /// Rings of `1 << log` descriptors each, with buffers of `size` bytes to receive into.
    fn new(nic: &'a Pcnet, vm: &'a Rc<Vm>, style: u16, log: u32, size: usize) -> Result<Self> {
        Self::with_mode(nic, vm, style, log, size, 0)
    }

    /// As [`Bench::new`], in this mode (CSR15).
    fn with_mode(
        nic: &'a Pcnet,
        vm: &'a Rc<Vm>,
        style: u16,
        log: u32,
        size: usize,
        mode: u16,
    ) -> Result<Self> {
        nic.device().bus().reaches_ram()?;
        nic.reset(vm)?;
        let transmit = Ring::new(vm, style, 1 << log, if log > 5 { 128 } else { 2048 })?;
        let receive = Ring::new(vm, style, 1 << log, size)?;
        for at in 0..receive.count {
            receive.give(at, 0, size)?;
        }
        let [a, b, c, d, e, f] = MAC;
        let low = u32::from_le_bytes([a, b, c, d]);
        let high = u32::from_le_bytes([e, f, 0, 0]);
        let rdra = receive.descriptors.address().0 as u32;
        let tdra = transmit.descriptors.address().0 as u32;
        let block = match style {
            0 => vec![
                low << 16 | u32::from(mode),
                low >> 16 | high << 16,
                0,
                0,
                rdra & 0xff_ffff | log << 29,
                tdra & 0xff_ffff | log << 29,
            ],
            _ => vec![log << 28 | log << 20 | u32::from(mode), low, high, 0, 0, rdra, tdra],
        };
        let init = vm.ram().alloc(28, 4)?;
        for (word, value) in block.into_iter().enumerate() {
            init.write_le32(4 * word, value)?;
        }
        nic.set(BCR20, style)?;
        nic.set(CSR1, init.address().0 as u16)?;
        nic.set(CSR2, (init.address().0 >> 16) as u16)?;
        nic.set(CSR3, CSR3_MASKS)?;
        nic.set(CSR0, CSR0_INIT)?;
        wait_until(vm, "the end of initialization", || Ok(nic.get(CSR0)? & CSR0_IDON != 0))?;
        nic.set(CSR0, CSR0_IDON | CSR0_STRT)?;
        Ok(Self { nic, vm, wire: Wire::new(vm)?, transmit, receive })
    }

    /// Sends a frame in pieces.
    fn send(&self, pieces: &[&[u8]], what: &str) -> Result<Vec<u8>> {
        let used: Vec<usize> = pieces.iter().map(|_| self.transmit.advance()).collect();
        for (number, (&at, piece)) in used.iter().zip(pieces).enumerate().rev() {
            self.transmit.buffers.write(at * self.transmit.size, piece)?;
            let first = if number == 0 { STP } else { 0 };
            let last = if number + 1 == pieces.len() { ENP } else { 0 };
            self.transmit.give(at, first | last, piece.len())?;
        }
        self.nic.set(CSR0, CSR0_TDMD)?;
        for &at in &used {
            wait_received(self.vm, what, || Ok(self.transmit.status(at)?.0 & OWN == 0))?;
            let (status, errors) = self.transmit.status(at)?;
            assert_eq!((status & ERR, errors), (0, 0), "{what}: its descriptor");
        }
        self.wire.receive(what)
    }

    /// The next frame, from as many descriptors as it comes into, with its check sequence.
    fn take(&self, what: &str) -> Result<(Vec<u8>, usize)> {
        let (mut frame, mut used) = (Vec::new(), 0);
        loop {
            let at = self.receive.advance();
            wait_received(self.vm, what, || Ok(self.receive.status(at)?.0 & OWN == 0))?;
            let (status, length) = self.receive.status(at)?;
            assert_eq!(status & STP != 0, used == 0, "{what}: STP of buffer {used}");
            assert_eq!(status & ERR, 0, "{what}: an error in buffer {used}: {status:#x}");
            used += 1;
            let mut part = vec![0; self.receive.size];
            self.receive.buffers.read(at * self.receive.size, &mut part)?;
            frame.extend(part);
            self.receive.give(at, 0, self.receive.size)?;
            if status & ENP != 0 {
                frame.truncate((length & 0xfff) as usize);
                return Ok((frame, used));
            }
        }
    }
}

/// Would catch descriptors or an initialization block that are read or written in another
/// style, and a ring of another length than was given.
fn styles(nic: &Pcnet, vm: &Rc<Vm>) -> Result<()> {
    for (style, told) in [(0, 0x0200), (1, 0x0101), (2, 0x0302), (3, 0x0303)] {
        nic.reset(vm)?;
        nic.set(BCR20, style)?;
        assert_eq!(nic.get(BCR20)?, told, "BCR20, {style} written");
        assert_eq!(nic.get(CSR58)?, told, "CSR58, {style} written to BCR20");
    }
    for (style, log) in [0, 2, 3].into_iter().flat_map(|style| [1, 2, 5, 7].map(|log| (style, log)))
    {
        let bench = Bench::new(nic, vm, style, log, 256)?;
        // Around both rings, and a little farther.
        let frames = if vm.ram().is_mapped() { (1usize << log) + 3 } else { 9.min(3 << log) };
        for number in 0..frames {
            let what = format!("style {style}, {} descriptors, frame {number}", 1 << log);
            let length = 60 + number % 50;
            let sent = frame(PEER, MAC, length, number as u8);
            assert!(bench.send(&[&sent], &what)? == sent, "{what}, out");
            let sent = frame(MAC, PEER, length, number as u8);
            bench.wire.send(&sent)?;
            let (got, used) = bench.take(&what)?;
            assert_eq!((got.len(), used), (length + 4, 1), "{what}, in: length and buffers");
            assert!(got[..length] == sent, "{what}, in");
        }
    }
    Ok(())
}

/// Would catch a frame in several buffers that is torn, joined with another, or leaves the
/// ring where it should not.
fn chains(nic: &Pcnet, vm: &Rc<Vm>) -> Result<()> {
    for style in [0, 2, 3] {
        let bench = Bench::new(nic, vm, style, 3, 512)?;
        for number in 0..9u8 {
            let what = format!("style {style}, frame {number}");
            let sent = frame(PEER, MAC, 1000, number);
            let (first, rest) = sent.split_at(100 + usize::from(number));
            let (second, third) = rest.split_at(1 + 50 * usize::from(number));
            assert!(bench.send(&[first, second, third], &what)? == sent, "{what}, three pieces");
            assert!(bench.send(&[first, rest], &what)? == sent, "{what}, two pieces");
            assert!(bench.send(&[&sent], &what)? == sent, "{what}, whole");
            for (length, buffers) in [(508, 1), (509, 2), (1020, 2), (1021, 3), (1514, 3), (60, 1)]
            {
                let what = format!("{what}, {length} bytes");
                let sent = frame(MAC, PEER, length, number);
                bench.wire.send(&sent)?;
                let (got, used) = bench.take(&what)?;
                assert_eq!((got.len(), used), (length + 4, buffers), "{what}: length, buffers");
                assert!(got[..length] == sent, "{what}, in");
            }
        }
    }
    Ok(())
}

/// Would catch a frame for which buffers end that is reported as whole (RMD1.BUFF, TMD2.BUFF,
/// TMD2.UFLO), and a transmitter that goes on after that (CSR3.DXSUFLO).
fn torn(nic: &Pcnet, vm: &Rc<Vm>) -> Result<()> {
    let bench = Bench::new(nic, vm, 2, 3, 512)?;
    // Two buffers, and the third is the driver's.
    bench.receive.descriptors.write_le32(2 * 16 + 4, 0xf000)?;
    let sent = frame(MAC, PEER, LONGEST, 1);
    bench.wire.send(&sent)?;
    wait_received(vm, "a torn frame", || Ok(bench.receive.status(1)?.0 & OWN == 0))?;
    let status = [bench.receive.status(0)?.0, bench.receive.status(1)?.0];
    assert_eq!(status[0], STP, "RMD1 of the first buffer: {status:#x?}");
    let wanted = ERR | RX_BUFF;
    assert_eq!(status[1] & (wanted | STP | ENP), wanted, "RMD1 of the last buffer: {status:#x?}");

    let bench = Bench::new(nic, vm, 2, 3, 512)?;
    assert_eq!(nic.get(CSR0)? & CSR0_TXON, CSR0_TXON, "CSR0.TXON before");
    bench.transmit.give(0, STP, 100)?;
    nic.set(CSR0, CSR0_TDMD)?;
    wait_received(vm, "a torn frame out", || Ok(bench.transmit.status(0)?.0 & OWN == 0))?;
    let (status, errors) = bench.transmit.status(0)?;
    assert_eq!(status & ERR, ERR, "TMD1 of a torn frame: {status:#x}");
    let wanted = TX_BUFF | TX_UFLO;
    assert_eq!(errors >> 16 & wanted, wanted, "TMD2 of a torn frame: {errors:#x}");
    assert_eq!(nic.get(CSR0)? & CSR0_TXON, 0, "CSR0.TXON after a torn frame");
    bench.wire.assert_silent("after a torn frame")
}

/// Would catch a receiver or a transmitter that is on although the mode says off, or off
/// although it says on, and a CSR0 that tells otherwise.
fn halves(nic: &Pcnet, vm: &Rc<Vm>) -> Result<()> {
    for mode in [0, DRX, DTX, DRX | DTX] {
        let what = format!("mode {mode:#x}");
        let bench = Bench::with_mode(nic, vm, 2, 2, 2048, mode)?;
        let (receives, sends) = (mode & DRX == 0, mode & DTX == 0);
        let told = nic.get(CSR0)?;
        assert_eq!(told & CSR0_RXON != 0, receives, "{what}: CSR0.RXON");
        assert_eq!(told & CSR0_TXON != 0, sends, "{what}: CSR0.TXON");
        let sent = frame(MAC, PEER, 100, 1);
        bench.wire.send(&sent)?;
        if receives {
            assert!(bench.take(&what)?.0[..100] == sent, "{what}: the frame in");
        } else {
            let_arrive(vm)?;
            assert_eq!(bench.receive.status(0)?.0, OWN, "{what}: a descriptor to receive into");
        }
        let sent = frame(PEER, MAC, 100, 2);
        if sends {
            assert!(bench.send(&[&sent], &what)? == sent, "{what}: the frame out");
            continue;
        }
        bench.transmit.give(0, STP | ENP, 100)?;
        nic.set(CSR0, CSR0_TDMD)?;
        bench.wire.assert_silent(&what)?;
        assert_eq!(bench.transmit.status(0)?.0 & OWN, OWN, "{what}: a descriptor to send");
    }
    Ok(())
}
