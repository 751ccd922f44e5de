//! The NE2000: its receive ring and what it says of frames, the pages that it sends from, remote
//! DMA, and modes in which it sends or keeps nothing (DP8390D, chapters 7, 10 and 12).

use std::rc::Rc;

use crate::drivers::net::ne2000::chip::{self, Pages};
use crate::drivers::net::ne2000::{Ne2000, RING};
use crate::qemu::Vm;
use crate::qos::interrupt::InterruptLine;
use crate::qos::net::{BROADCAST, MAC, PEER, Wire, assert_frame, frame, wait_received};
use crate::qos::nic::{Filter, Groups, Nic};
use crate::qos::registers::{RegistersExt, Width};
use crate::qos::settle;
use crate::{Result, tests};

tests!(Ne2000, "ne2000-tests":
    headers,
    other_ring = "other-ring",
    long_frame = "long-frame",
    sent_pages = "sent-pages",
    sent_too_long = "sent-too-long",
    stopped,
    monitor,
    loop_modes = "loop-modes",
    acknowledge,
    remote_dma = "remote-dma",
    prom,
);

/// Starts the card; returns its registers and the far end of its cable.
fn start(nic: &Ne2000, vm: &Rc<Vm>) -> Result<(Pages, Wire)> {
    let wire = Wire::on(vm, nic.cable()?)?;
    nic.start(vm)?;
    Ok((nic.pages(), wire))
}

/// Lets QEMU take from the cable what is on it.
fn let_arrive(vm: &Rc<Vm>) -> Result<()> {
    (0..20).try_for_each(|_| settle(vm))
}

/// Waits until the next frame is written to a page other than `page`.
fn wait_for_frame(pages: &Pages, vm: &Rc<Vm>, page: u8) -> Result<u8> {
    let mut current = page;
    wait_received(vm, "a frame in the ring", || {
        current = pages.get(chip::CURR)?;
        Ok(current != page)
    })?;
    Ok(current)
}

/// Has the chip send `length` bytes from `page` on.
fn transmit(pages: &Pages, page: u8, length: u16) -> Result<()> {
    let [low, high] = length.to_le_bytes();
    pages.set(chip::TPSR, page)?;
    pages.set(chip::TBCR, low)?;
    pages.set(chip::TBCR.above(1), high)?;
    pages.set(chip::CR, chip::ABORT | chip::TRANSMIT | chip::START)
}

/// Would catch a header whose status, next page or length is another's, and a status register that
/// does not say the same (10.3, RSR; 7.0, packet header).
fn headers(nic: &Ne2000, vm: &Rc<Vm>) -> Result<()> {
    let (pages, wire) = start(nic, vm)?;
    nic.set_filter(&Filter { groups: Groups::All, ..Filter::PLAIN })?;
    let mut page = pages.get(chip::CURR)?;
    for (number, (to, length)) in [
        (MAC, 60),
        (BROADCAST, 248),
        (MAC, 249),
        ([0x03, 0, 0, 0, 0, 1], 504),
        (MAC, 505),
        (BROADCAST, 1514),
        (MAC, 61),
    ]
    .into_iter()
    .enumerate()
    {
        wire.send(&frame(to, PEER, length, number as u8))?;
        let current = wait_for_frame(&pages, vm, page)?;
        let header = pages.read_memory(u16::from(page) << 8, 4)?;
        let what = format!("{length} bytes to {}", hex::encode(to));
        let status = 1 | if to[0] & 1 != 0 { 1 << 5 } else { 0 };
        assert_eq!(header[0], status, "{what}: the status");
        assert_eq!(pages.get(chip::RSR)?, status, "{what}: RSR");
        // Header and check sequence take four bytes each.
        let taken = (length + 8).div_ceil(256) as u8;
        assert_eq!((header[1], current), (page + taken, page + taken), "{what}: the next page");
        let stored = u16::from_le_bytes([header[2], header[3]]);
        assert_eq!(usize::from(stored), length + 4, "{what}: the length");
        page = current;
    }
    Ok(())
}

/// Would catch a ring that wraps elsewhere than it is told to, or begins elsewhere.
fn other_ring(nic: &Ne2000, vm: &Rc<Vm>) -> Result<()> {
    let (pages, wire) = start(nic, vm)?;
    for (first, end) in [(0x60, 0x70), (0x46, 0x53), (0x71, 0x80)] {
        pages.set(chip::CR, chip::ABORT | chip::STOP)?;
        pages.set(chip::PSTART, first)?;
        pages.set(chip::PSTOP, end)?;
        pages.set(chip::BNRY, first)?;
        pages.set(chip::CURR, first + 1)?;
        pages.set(chip::CR, chip::ABORT | chip::START)?;
        let mut page = first + 1;
        for number in 0..12 {
            let sent = frame(MAC, PEER, 60 + 131 * number, number as u8);
            wire.send(&sent)?;
            let current = wait_for_frame(&pages, vm, page)?;
            let ring = usize::from(end - first) * 256;
            let begin = usize::from(page - first) * 256 + 4;
            let address = |at: usize| (usize::from(first) * 256 + at) as u16;
            let before = sent.len().min(ring.saturating_sub(begin));
            let mut got = pages.read_memory(address(begin), before)?;
            got.extend(pages.read_memory(address(0), sent.len() - before)?);
            let what = format!("a frame at page {page:#x} of {first:#x} to {end:#x}");
            assert_frame(&got, &sent, &what);
            let taken = (sent.len() + 8).div_ceil(256) as u8;
            let next = page + taken;
            let next = if next >= end { next - (end - first) } else { next };
            assert_eq!(current, next, "{what}: the next page");
            page = current;
            pages.set(chip::BNRY, if page == first { end - 1 } else { page - 1 })?;
        }
    }
    Ok(())
}

/// Would catch a frame that is longer than what is left of the ring, and written over frames that
/// were not read yet.
fn long_frame(nic: &Ne2000, vm: &Rc<Vm>) -> Result<()> {
    let (pages, wire) = start(nic, vm)?;
    let first = RING.start + 1;
    let mut page = first;
    // Six frames of seven pages: nine pages are left of 52, one of which stays free.
    for number in 0..6 {
        wire.send(&frame(MAC, PEER, 1700, number))?;
        page = wait_for_frame(&pages, vm, page)?;
    }
    wire.send(&frame(MAC, PEER, 3000, 0x77))?;
    let_arrive(vm)?;
    let got = pages.read_memory((u16::from(first) << 8) + 4, 1700)?;
    assert_frame(&got, &frame(MAC, PEER, 1700, 0), "the first frame, after one too long");
    Ok(())
}

/// Would catch a frame that is sent from another page than it is told to, or of another length.
fn sent_pages(nic: &Ne2000, vm: &Rc<Vm>) -> Result<()> {
    let (pages, wire) = start(nic, vm)?;
    for (number, (page, length)) in
        [(0x40, 60), (0x41, 255), (0x50, 256), (0x61, 257), (0xba, 1514), (0xbf, 256)]
            .into_iter()
            .enumerate()
    {
        let sent = frame(PEER, MAC, length, number as u8);
        pages.write_memory(u16::from(page) << 8, &sent)?;
        transmit(&pages, page, length as u16)?;
        let what = format!("a frame of {length} bytes at page {page:#x}");
        assert_frame(&wire.receive(&what)?, &sent, &what);
        assert_eq!(pages.get(chip::CR)? & chip::TRANSMIT, 0, "{what}: TXP is clear");
        assert_eq!(pages.get(chip::TSR)? & 1, 1, "{what}: TSR.PTX");
    }
    wire.assert_silent("behind them")
}

/// Would catch a frame that is longer than the card's memory and is sent with what is behind.
fn sent_too_long(nic: &Ne2000, vm: &Rc<Vm>) -> Result<()> {
    let (pages, wire) = start(nic, vm)?;
    for (page, length) in [(0xbf, 257), (0x40, 0xffff), (0xb8, 2100), (0xff, 0xffff)] {
        transmit(&pages, page, length)?;
        let_arrive(vm)?;
        wire.assert_silent(&format!("{length} bytes at page {page:#x}"))?;
    }
    let sent = frame(PEER, MAC, 99, 1);
    nic.queue(&sent)?;
    nic.send()?;
    assert_frame(&wire.receive("a frame after that")?, &sent, "a frame after that");
    Ok(())
}

/// Would catch a chip that is stopped and receives or sends all the same (10.3, CR).
fn stopped(nic: &Ne2000, vm: &Rc<Vm>) -> Result<()> {
    let (pages, wire) = start(nic, vm)?;
    for round in 0..2 {
        pages.set(chip::CR, chip::ABORT | chip::STOP)?;
        let before = (pages.get(chip::CURR)?, nic.memory()?);
        wire.send(&frame(MAC, PEER, 60, round))?;
        let_arrive(vm)?;
        let after = (pages.get(chip::CURR)?, nic.memory()?);
        assert!(after == before, "a frame is received while it is stopped");
        pages.write_memory(0x4000, &frame(PEER, MAC, 60, round))?;
        pages.set(chip::TPSR, 0x40)?;
        pages.set(chip::TBCR, 60)?;
        pages.set(chip::TBCR.above(1), 0)?;
        pages.set(chip::CR, chip::ABORT | chip::TRANSMIT | chip::STOP)?;
        wire.assert_silent("while it is stopped")?;
        nic.start(vm)?;
        let sent = frame(MAC, PEER, 61, round);
        wire.send(&sent)?;
        let mut got = Vec::new();
        while got != sent {
            wait_received(vm, "a frame, started again", || Ok(nic.arrived()? > 0))?;
            got = nic.take()?;
        }
    }
    Ok(())
}

/// Would catch a frame that is kept although frames are only to be looked at (10.3, RCR.MON).
fn monitor(nic: &Ne2000, vm: &Rc<Vm>) -> Result<()> {
    let (pages, wire) = start(nic, vm)?;
    let mode = pages.get(chip::RCR)? & 0x3f | chip::RCR_RUNTS | chip::RCR_BROADCASTS;
    pages.set(chip::RCR, mode | chip::RCR_MONITOR)?;
    let before = pages.get(chip::CURR)?;
    wire.send(&frame(MAC, PEER, 60, 1))?;
    let_arrive(vm)?;
    assert_eq!(pages.get(chip::CURR)?, before, "CURR after a frame in monitor mode");
    pages.set(chip::RCR, mode)?;
    wire.send(&frame(MAC, PEER, 61, 2))?;
    wait_for_frame(&pages, vm, before).map(drop)
}

/// Would catch a frame that leaves by the cable although it is to loop back (10.3, TCR).
fn loop_modes(nic: &Ne2000, vm: &Rc<Vm>) -> Result<()> {
    let (pages, wire) = start(nic, vm)?;
    let sent = frame(PEER, MAC, 60, 1);
    for mode in [0b01, 0b10] {
        pages.set(chip::TCR, mode << 1)?;
        nic.queue(&sent)?;
        nic.send()?;
        let_arrive(vm)?;
        wire.assert_silent(&format!("in loopback mode {mode}"))?;
    }
    Ok(())
}

/// Would catch an event that is acknowledged with another, or by a zero, and a mask that is
/// another's (10.3, ISR and IMR).
fn acknowledge(nic: &Ne2000, vm: &Rc<Vm>) -> Result<()> {
    let lines = nic.lines()?;
    let (pages, wire) = start(nic, vm)?;
    let pin = || -> Result<Option<bool>> {
        match (nic.function(), lines.first()) {
            (Some(function), _) => function.asserts_interrupt().map(Some),
            (_, line) => line.map(InterruptLine::is_high).transpose(),
        }
    };
    assert_eq!(pages.get(chip::ISR)?, 0, "ISR of a chip that is started");
    nic.queue(&frame(PEER, MAC, 60, 1))?;
    nic.send()?;
    wire.receive("a frame")?;
    let page = pages.get(chip::CURR)?;
    wire.send(&frame(MAC, PEER, 60, 2))?;
    wait_for_frame(&pages, vm, page)?;
    let mut left = 1 << 6 | 1 << 1 | 1 << 0;
    assert_eq!(pages.get(chip::ISR)?, left, "ISR: received, sent, remote DMA done");
    for bit in (0..7).map(|bit| 1 << bit) {
        pages.set(chip::IMR, bit)?;
        let expected = left & bit != 0;
        assert_eq!(
            pin()?.unwrap_or(expected),
            expected,
            "the pin with IMR {bit:#x} and ISR {left:#x}"
        );
        pages.set(chip::ISR, 0)?;
        assert_eq!(pages.get(chip::ISR)?, left, "ISR, zeros written");
        pages.set(chip::ISR, bit)?;
        left &= !bit;
        assert_eq!(pages.get(chip::ISR)?, left, "ISR, {bit:#x} acknowledged");
        assert_ne!(pin()?, Some(true), "the pin, {bit:#x} acknowledged");
    }
    // That it was reset cannot be acknowledged.
    nic.reset(vm)?;
    pages.set(chip::ISR, 0xff)?;
    assert_eq!(pages.get(chip::ISR)?, chip::ISR_RESET, "ISR.RST, a one written");
    pages.set(chip::CR, chip::ABORT | chip::START)?;
    assert_eq!(pages.get(chip::ISR)?, 0, "ISR.RST when it is started");
    Ok(())
}

/// Would catch a transfer that ends too early or too late, does not say so, or goes on from another
/// address; words and longwords that are not the bytes (7.0, remote DMA).
fn remote_dma(nic: &Ne2000, vm: &Rc<Vm>) -> Result<()> {
    let (pages, _) = start(nic, vm)?;
    let bytes: Vec<u8> = (0..64_u16).map(|at| (at * 5 + 3) as u8).collect();
    pages.write_memory(0x4100, &bytes)?;
    for (width, size) in [(Width::Byte, 1_u64), (Width::Word, 2), (Width::Long, 4)] {
        pages.set(chip::CR, chip::ABORT | chip::START)?;
        pages.set(chip::DCR, if size == 1 { chip::DCR_BYTES } else { chip::DCR_WORDS })?;
        pages.set(chip::RSAR, 0)?;
        pages.set(chip::RSAR.above(1), 0x41)?;
        pages.set(chip::RBCR, 16)?;
        pages.set(chip::RBCR.above(1), 0)?;
        pages.set(chip::ISR, 0x7f)?;
        pages.set(chip::CR, chip::READ | chip::START)?;
        for at in (0..16).step_by(size as usize) {
            assert_eq!(pages.get(chip::ISR)?, 0, "ISR before byte {at}");
            let address = (pages.get(chip::RSAR)?, pages.get(chip::RSAR.above(1))?);
            assert_eq!(address, (at as u8, 0x41), "CRDA before byte {at}");
            let value = nic.registers.read(0x10, width)?;
            let expected = &bytes[at..at + size as usize];
            assert_eq!(value.to_le_bytes()[..size as usize], *expected, "{size} bytes at {at}");
        }
        assert_eq!(pages.get(chip::ISR)?, 1 << 6, "ISR.RDC at the end");
    }
    // What is written behind the end goes nowhere.
    pages.set(chip::DCR, chip::DCR_WORDS)?;
    nic.registers.write(0x10, Width::Word, 0xffff)?;
    assert_eq!(pages.read_memory(0x4100, 64)?, bytes, "memory, written behind a transfer's end");
    Ok(())
}

/// Would catch a PROM with the station's address that can be written.
fn prom(nic: &Ne2000, vm: &Rc<Vm>) -> Result<()> {
    let (pages, _) = start(nic, vm)?;
    pages.write_memory(0, &[0x5a; 12])?;
    let address = nic.station_address()?;
    nic.reset(vm)?;
    assert_eq!(address, MAC, "the address in the PROM, written");
    Ok(())
}
