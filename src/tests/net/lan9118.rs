//! SMSC's LAN9118: what its FIFOs, its filter, its timer, its EEPROM and its PHY do besides moving
//! frames.

use std::rc::Rc;
use std::time::Duration;

use crate::drivers::net::lan9118::{self as chip, Eeprom, Lan9118, registers as reg};
use crate::qemu::Vm;
use crate::qos::interrupt::InterruptLine;
use crate::qos::net::{self, BROADCAST, MAC, PEER, Wire, assert_frame, frame, group_hash};
use crate::qos::nic::Nic;
use crate::qos::registers::RegistersExt;
use crate::{Result, tests};

tests!(Lan9118, "lan9118-tests":
    segments,
    transmit_status = "transmit-status",
    receive_status = "receive-status",
    receive_offset = "receive-offset",
    fast_forward = "fast-forward",
    dump,
    underrun,
    too_long = "too-long",
    levels,
    filters,
    receive_all = "receive-all",
    software_interrupt = "software-interrupt",
    timer,
    free_run = "free-run",
    mac_registers = "mac-registers",
    eeprom,
    phy;
    with net::BOARD
);

/// Starts the controller; returns the other end of its cable.
fn start(nic: &Lan9118, vm: &Rc<Vm>) -> Result<Wire> {
    let wire = Wire::on(vm, nic.cable()?)?;
    nic.start(vm)?;
    Ok(wire)
}

/// Waits until the receive status FIFO holds `count` frames.
fn wait_for(nic: &Lan9118, vm: &Vm, count: usize) -> Result<()> {
    net::wait_received(vm, "frames in the status FIFO", || Ok(nic.arrived()? >= count))?;
    assert_eq!(nic.arrived()?, count, "frames in the status FIFO");
    Ok(())
}

/// Would catch segments that are mixed up, cut or sent as frames, and start offsets that are not
/// left out.
fn segments(nic: &Lan9118, vm: &Rc<Vm>) -> Result<()> {
    let wire = start(nic, vm)?;
    for offset in [0, 1, 2, 3, 5, 16, 31] {
        let whole = frame(PEER, MAC, 200 + offset, offset as u8);
        let of = (7, whole.len());
        nic.put(chip::FIRST | chip::LAST, of, &whole, offset)?;
        let what = format!("a frame with a start offset of {offset}");
        assert_frame(&wire.receive(&what)?, &whole, &what);
    }
    for cuts in [vec![14], vec![4, 100, 101, 700], vec![60, 61, 62, 63]] {
        let whole = frame(PEER, MAC, 1000, cuts.len() as u8);
        let ends: Vec<_> = cuts.iter().copied().chain([whole.len()]).collect();
        let mut begin = 0;
        for (number, end) in ends.iter().enumerate() {
            let first = if begin == 0 { chip::FIRST } else { 0 };
            let last = if *end == whole.len() { chip::LAST } else { 0 };
            nic.put(first | last, (9, whole.len()), &whole[begin..*end], number % 4)?;
            begin = *end;
        }
        let what = format!("a frame in {} segments", ends.len());
        assert_frame(&wire.receive(&what)?, &whole, &what);
        wire.assert_silent(&what)?;
    }
    Ok(())
}

/// Would catch a status without the frame's tag, statuses out of order, and a peek that takes one.
fn transmit_status(nic: &Lan9118, vm: &Rc<Vm>) -> Result<()> {
    let wire = start(nic, vm)?;
    let tags = [0x1234, 0xffff, 0x0001, 0x8000];
    for tag in tags {
        let whole = frame(PEER, MAC, 60, tag as u8);
        nic.put(chip::FIRST | chip::LAST, (tag, 60), &whole, 0)?;
        assert_frame(&wire.receive("a frame")?, &whole, "a frame");
    }
    for (number, tag) in tags.into_iter().enumerate() {
        let left = nic.registers().get(reg::TX_FIFO_INF)? >> 16 & 0xff;
        assert_eq!(left as usize, tags.len() - number, "statuses in TX_FIFO_INF");
        let expected = u32::from(tag) << 16;
        assert_eq!(nic.registers().get(reg::TX_STATUS_PEEK)?, expected, "the next TX status");
        assert_eq!(nic.registers().get(reg::TX_STATUS)?, expected, "the TX status taken");
    }
    assert_eq!(nic.registers().get(reg::TX_FIFO_INF)?, 0x1200, "TX_FIFO_INF, all taken");
    nic.send_one(&frame(PEER, MAC, 60, 1))?;
    nic.registers().set(reg::TX_CFG, reg::TX_ON | 0x8000)?;
    assert_eq!(nic.registers().get(reg::TX_FIFO_INF)?, 0x1200, "TX_FIFO_INF, statuses dumped");
    Ok(())
}

/// Would catch a status that does not tell length and kind of a frame, a peek that takes one, and
/// a fill level that is wrong.
fn receive_status(nic: &Lan9118, vm: &Rc<Vm>) -> Result<()> {
    let wire = start(nic, vm)?;
    let group = [0x01, 0x00, 0x5e, 1, 2, 3];
    nic.set_mac(reg::MAC_CR, reg::RECEIVE | reg::ALL_GROUPS)?;
    for (to, kind) in [(MAC, 0), (BROADCAST, 1 << 13), (group, 1 << 10)] {
        for length in [60, 61, 62, 63, 64, 1514] {
            let whole = frame(to, PEER, length, length as u8);
            wire.send(&whole)?;
            wait_for(nic, vm, 1)?;
            let words = (length + 4).div_ceil(4);
            let level = nic.registers().get(reg::RX_FIFO_INF)?;
            assert_eq!(level, (1 << 16) | (4 * words as u32), "RX_FIFO_INF with {length} bytes");
            let expected = (length as u32 + 4) << 16 | kind;
            assert_eq!(nic.registers().get(reg::RX_STATUS_PEEK)?, expected, "the next RX status");
            assert_eq!(nic.status()?, expected, "the RX status of {length} bytes");
            let data = nic.data(words)?;
            assert_frame(&data[..length], &whole, "a frame received");
            assert_eq!(nic.registers().get(reg::RX_FIFO_INF)?, 0, "RX_FIFO_INF, all taken");
        }
    }
    Ok(())
}

/// Would catch data that do not begin where RX_CFG says, or an end that is not padded as it says.
fn receive_offset(nic: &Lan9118, vm: &Rc<Vm>) -> Result<()> {
    let wire = start(nic, vm)?;
    // The end is aligned to 4, 16 and 32 bytes.
    for (align, unit) in [(0_u32, 4_usize), (1, 16), (2, 32)] {
        for (offset, length) in [(0_usize, 60), (4, 61), (8, 64), (12, 100)] {
            nic.registers().set(reg::RX_CFG, align << 30 | (offset as u32) << 8)?;
            let frames = [frame(MAC, PEER, length, 1), frame(MAC, PEER, length + 3, 2)];
            for (number, whole) in frames.iter().enumerate() {
                wire.send(whole)?;
                wait_for(nic, vm, number + 1)?;
            }
            for whole in &frames {
                let what = format!("{} bytes at {offset}, aligned to {unit}", whole.len());
                let status = nic.status()?;
                assert_eq!(status >> 16 & 0x3fff, whole.len() as u32 + 4, "{what}: the status");
                let bytes = (offset + whole.len() + 4).div_ceil(unit) * unit;
                let data = nic.data(bytes / 4)?;
                assert_frame(&data[offset..offset + whole.len()], whole, &what);
            }
            assert_eq!(nic.registers().get(reg::RX_FIFO_INF)?, 0, "RX_FIFO_INF, all taken");
        }
    }
    Ok(())
}

/// Would catch a frame that is skipped in part, or with it the next one.
fn fast_forward(nic: &Lan9118, vm: &Rc<Vm>) -> Result<()> {
    let wire = start(nic, vm)?;
    for taken in [0, 1, 4, 10] {
        let frames = [frame(MAC, PEER, 600, 1), frame(MAC, PEER, 200, 2)];
        frames.iter().try_for_each(|frame| wire.send(frame))?;
        wait_for(nic, vm, 2)?;
        nic.status()?;
        nic.data(taken)?;
        nic.registers().set(reg::RX_DP_CTRL, 1 << 31)?;
        assert_eq!(nic.registers().get(reg::RX_DP_CTRL)? >> 31, 0, "RX_FFWD ends");
        let what = format!("the frame after one that was skipped, {taken} words taken");
        assert_frame(&nic.take()?, &frames[1], &what);
        assert_eq!(nic.registers().get(reg::RX_FIFO_INF)?, 0, "RX_FIFO_INF, all taken");
    }
    Ok(())
}

/// Would catch a receive FIFO that is not empty when it is dumped, or does not work afterwards.
fn dump(nic: &Lan9118, vm: &Rc<Vm>) -> Result<()> {
    let wire = start(nic, vm)?;
    for count in [1, 3] {
        for number in 0..count {
            wire.send(&frame(MAC, PEER, 300, number as u8))?;
        }
        wait_for(nic, vm, count)?;
        let control = nic.mac(reg::MAC_CR)?;
        nic.set_mac(reg::MAC_CR, control & !reg::RECEIVE)?;
        nic.registers().set(reg::RX_CFG, 0x8000)?;
        assert_eq!(nic.registers().get(reg::RX_CFG)?, 0, "RX_CFG: a dump ends");
        assert_eq!(nic.registers().get(reg::RX_FIFO_INF)?, 0, "RX_FIFO_INF, dumped");
        nic.set_mac(reg::MAC_CR, control)?;
        let whole = frame(MAC, PEER, 500, 0x77);
        wire.send(&whole)?;
        wait_for(nic, vm, 1)?;
        assert_frame(&nic.take()?, &whole, "a frame after a dump");
    }
    Ok(())
}

/// Would catch reading of an empty FIFO that is not reported.
fn underrun(nic: &Lan9118, vm: &Rc<Vm>) -> Result<()> {
    start(nic, vm)?;
    let status = |nic: &Lan9118| nic.registers().get(reg::INT_STS);
    assert_eq!(status(nic)? & reg::RX_ERROR, 0, "INT_STS before");
    nic.data(1)?;
    nic.registers().set(reg::INT_EN, reg::SOFTWARE)?;
    assert_ne!(status(nic)? & reg::RX_ERROR, 0, "INT_STS after an empty FIFO was read");
    nic.registers().set(reg::INT_STS, reg::RX_ERROR)?;
    assert_eq!(status(nic)? & reg::RX_ERROR, 0, "INT_STS, acknowledged");
    assert_ne!(status(nic)? & reg::SOFTWARE, 0, "INT_STS, the other one not acknowledged");
    Ok(())
}

/// Would catch a frame whose segments are longer than the memory for a frame, and that are written
/// behind its end or not reported.
fn too_long(nic: &Lan9118, vm: &Rc<Vm>) -> Result<()> {
    let wire = start(nic, vm)?;
    let whole = frame(PEER, MAC, 2047, 3);
    let of = (1, 0x7ff);
    nic.put(chip::FIRST, of, &whole, 0)?;
    nic.put(0, of, &whole, 0)?;
    nic.put(chip::LAST, of, &whole, 0)?;
    let status = nic.registers().get(reg::INT_STS)?;
    assert_ne!(status & reg::TX_ERROR, 0, "INT_STS after a frame of 6,141 bytes: {status:#x}");
    nic.start(vm)?;
    let good = frame(PEER, MAC, 100, 4);
    nic.send_one(&good)?;
    for _ in 0..2 {
        let got = wire.receive("a frame after one that was too long")?;
        if got.len() == good.len() {
            assert_frame(&got, &good, "a frame after one that was too long");
            break;
        }
    }
    Ok(())
}

/// Would catch levels of FIFOs that are not looked at.
fn levels(nic: &Lan9118, vm: &Rc<Vm>) -> Result<()> {
    let wire = start(nic, vm)?;
    nic.registers().set(reg::FIFO_INT, 0x4802_0002)?;
    for number in 1..=4_u8 {
        nic.registers().set(reg::INT_STS, !0)?;
        wire.send(&frame(MAC, PEER, 60, number))?;
        wait_for(nic, vm, number.into())?;
        nic.send_one(&frame(PEER, MAC, 60, number))?;
        wire.receive("a frame")?;
        let status = nic.registers().get(reg::INT_STS)?;
        let (received, sent) = (status & reg::RX_LEVEL != 0, status & reg::TX_LEVEL != 0);
        let above = number > 2;
        assert_eq!((received, sent), (above, above), "levels with {number} statuses");
    }
    Ok(())
}

/// Sends a frame to each of `to` and asserts that those of `expected` are received.
fn assert_filter(
    nic: &Lan9118,
    vm: &Vm,
    wire: &Wire,
    to: &[(net::Address, bool)],
    what: &str,
) -> Result<()> {
    for (number, (address, _)) in to.iter().enumerate() {
        wire.send(&frame(*address, PEER, 60 + number, 1))?;
    }
    let expected: Vec<_> =
        to.iter().enumerate().filter(|(_, (_, due))| *due).map(|(number, _)| 60 + number).collect();
    net::wait_received(vm, what, || Ok(nic.arrived()? >= expected.len()))?;
    let mut got = Vec::new();
    while nic.arrived()? > 0 {
        got.push(nic.take()?.len());
    }
    assert_eq!(got, expected, "{what}: lengths of the frames received");
    Ok(())
}

/// Would catch inverse filtering and hash filtering of stations that let in other frames.
fn filters(nic: &Lan9118, vm: &Rc<Vm>) -> Result<()> {
    let wire = start(nic, vm)?;
    let other = [0x02, 1, 2, 3, 4, 5];
    nic.set_mac(reg::MAC_CR, reg::RECEIVE | reg::INVERSE)?;
    let last = (BROADCAST, true);
    assert_filter(nic, vm, &wire, &[(MAC, false), (other, true), last], "inverse filtering")?;
    let hash = 1_u64 << group_hash(&other);
    nic.set_mac(reg::HASHL, hash as u32)?;
    nic.set_mac(reg::HASHH, (hash >> 32) as u32)?;
    nic.set_mac(reg::MAC_CR, reg::RECEIVE | reg::HASH_ONLY | reg::GROUPS_BY_HASH)?;
    let to = [(MAC, false), (other, true), (PEER, false), last];
    assert_filter(nic, vm, &wire, &to, "stations by hash")?;
    nic.set_mac(reg::MAC_CR, reg::RECEIVE | reg::HASH_ONLY | reg::NO_BROADCASTS)?;
    let to = [(BROADCAST, false), (MAC, false), (other, true)];
    assert_filter(nic, vm, &wire, &to, "no broadcasts")
}

/// Would catch frames that are not received although all are, or not marked as filtered.
fn receive_all(nic: &Lan9118, vm: &Rc<Vm>) -> Result<()> {
    let wire = start(nic, vm)?;
    nic.set_mac(reg::MAC_CR, reg::RECEIVE | reg::RECEIVE_ALL | reg::GROUPS_BY_HASH)?;
    for (to, filtered) in
        [(MAC, 0), (PEER, chip::FILTERED), ([1, 0, 0x5e, 9, 9, 9], chip::FILTERED)]
    {
        wire.send(&frame(to, PEER, 60, 1))?;
        wait_for(nic, vm, 1)?;
        let status = nic.status()?;
        assert_eq!(status & chip::FILTERED, filtered, "the status of a frame to {to:x?}");
        nic.data(16)?;
    }
    Ok(())
}

/// Would catch an interrupt by software that does not come, and IRQ_CFG without its bit.
fn software_interrupt(nic: &Lan9118, vm: &Rc<Vm>) -> Result<()> {
    let lines = nic.lines()?;
    nic.start(vm)?;
    let is_high = || lines.first().map(InterruptLine::is_high).transpose();
    for _ in 0..2 {
        assert_ne!(is_high()?, Some(true), "the line before");
        nic.registers().set(reg::INT_EN, reg::SOFTWARE)?;
        assert_ne!(nic.registers().get(reg::INT_STS)? & reg::SOFTWARE, 0, "INT_STS");
        assert_ne!(is_high()?, Some(false), "the line, with an interrupt by software");
        assert_ne!(nic.registers().get(reg::IRQ_CFG)? & 1 << 12, 0, "IRQ_CFG.IRQ_INT");
        nic.registers().set(reg::IRQ_CFG, reg::IRQ_ON & !0x100)?;
        assert_ne!(is_high()?, Some(true), "the line with IRQ_CFG.IRQ_EN off");
        nic.registers().set(reg::IRQ_CFG, reg::IRQ_ON)?;
        assert_ne!(is_high()?, Some(false), "the line, on again");
        nic.registers().set(reg::INT_EN, 0)?;
        assert_ne!(is_high()?, Some(true), "the line, masked");
        nic.registers().set(reg::INT_STS, reg::SOFTWARE)?;
        assert_eq!(nic.registers().get(reg::INT_STS)? & reg::SOFTWARE, 0, "INT_STS, acknowledged");
        assert_eq!(nic.registers().get(reg::IRQ_CFG)? & 1 << 12, 0, "IRQ_CFG.IRQ_INT");
    }
    Ok(())
}

/// Would catch a timer that does not count at 10 kHz, or does not interrupt at its end.
fn timer(nic: &Lan9118, vm: &Rc<Vm>) -> Result<()> {
    start(nic, vm)?;
    let registers = nic.registers();
    let tick = Duration::from_micros(100);
    registers.set(reg::INT_EN, reg::TIMER)?;
    for count in [10_u32, 200] {
        registers.set(reg::INT_STS, reg::TIMER)?;
        registers.set(reg::GPT_CFG, 1 << 29 | count)?;
        vm.qtest().clock_step(Some(tick * count / 2))?;
        let half = registers.get(reg::GPT_CNT)?;
        assert!(half.abs_diff(count / 2) <= 1, "GPT_CNT is {half} after half of {count}");
        assert_eq!(registers.get(reg::INT_STS)? & reg::TIMER, 0, "INT_STS in the middle");
        vm.qtest().clock_step(Some(tick * count / 2 + 2 * tick))?;
        assert_ne!(registers.get(reg::INT_STS)? & reg::TIMER, 0, "INT_STS at the end");
        registers.set(reg::GPT_CFG, 0xffff)?;
        registers.set(reg::INT_STS, reg::TIMER)?;
        vm.qtest().clock_step(Some(1000 * tick))?;
        assert_eq!(registers.get(reg::INT_STS)? & reg::TIMER, 0, "INT_STS, the timer off");
        assert_eq!(registers.get(reg::GPT_CNT)?, 0xffff, "GPT_CNT, the timer off");
    }
    Ok(())
}

/// Would catch a count that does not run at 25 MHz.
fn free_run(nic: &Lan9118, vm: &Rc<Vm>) -> Result<()> {
    start(nic, vm)?;
    let before = nic.registers().get(reg::FREE_RUN)?;
    vm.qtest().clock_step(Some(Duration::from_millis(1)))?;
    let after = nic.registers().get(reg::FREE_RUN)?;
    assert_eq!(after.wrapping_sub(before), 25_000, "FREE_RUN after a millisecond");
    Ok(())
}

/// Would catch registers of the MAC that are mixed up or keep other bits, and a reset that leaves
/// them.
fn mac_registers(nic: &Lan9118, vm: &Rc<Vm>) -> Result<()> {
    start(nic, vm)?;
    // The number, the bits that keep what is written, and the value after a reset.
    let table = [
        (reg::MAC_CR, 0x8096_bdec & !0xc, 0x0004_0000),
        (reg::ADDRH, 0xffff, 0x5544),
        (reg::ADDRL, 0xffff_ffff, 0x3322_1102),
        (reg::HASHH, 0xffff_ffff, 0),
        (reg::HASHL, 0xffff_ffff, 0),
        (reg::MII_DATA, 0xffff, 0),
        (reg::FLOW, 0xffff_0000, 0),
    ];
    nic.reset(vm)?;
    for (number, _, reset) in table {
        assert_eq!(nic.mac(number)?, reset, "register {number} of the MAC after a reset");
    }
    for pattern in [0xaaaa_aaaa_u32, 0x5555_5555, 0x1234_5678, !0] {
        for (number, kept, _) in table {
            nic.set_mac(number, (pattern ^ number) & kept)?;
        }
        for (number, kept, _) in table {
            let expected = (pattern ^ number) & kept;
            assert_eq!(nic.mac(number)? & kept, expected, "register {number} of the MAC");
        }
    }
    nic.reset(vm)?;
    for (number, _, reset) in table {
        assert_eq!(nic.mac(number)?, reset, "register {number} of the MAC, reset again");
    }
    Ok(())
}

/// Would catch an EEPROM that takes writes while it is protected, mixes up bytes, or whose address
/// the MAC does not load.
fn eeprom(nic: &Lan9118, vm: &Rc<Vm>) -> Result<()> {
    start(nic, vm)?;
    let read = |at| nic.eeprom(Eeprom::Read, at);
    let write = |at, value| -> Result<()> {
        nic.eeprom(Eeprom::Erase, at)?;
        nic.registers().set(reg::E2P_DATA, value)?;
        nic.eeprom(Eeprom::Write, at).map(drop)
    };
    assert_eq!(read(0)?, 0xa5, "the mark of an EEPROM with an address");
    for (at, byte) in (1..).zip(MAC) {
        assert_eq!(read(at)?, u32::from(byte), "byte {at} of the EEPROM");
    }
    let before = read(100)?;
    write(100, before ^ 0x3c)?;
    assert_eq!(read(100)?, before, "a byte written while the EEPROM is protected");
    nic.eeprom(Eeprom::WriteEnable, 0)?;
    for at in 64..128 {
        write(at, at ^ 0x35)?;
    }
    for at in 64..128 {
        assert_eq!(read(at)?, at ^ 0x35, "byte {at} of the EEPROM, written");
    }
    nic.eeprom(Eeprom::Erase, 70)?;
    assert_eq!((read(69)?, read(70)?, read(71)?), (0x70, 0xff, 0x72), "byte 70 erased");
    write(6, 0x66)?;
    nic.eeprom(Eeprom::Reload, 0)?;
    assert_ne!(nic.registers().get(reg::E2P_CMD)? & 1 << 8, 0, "E2P_CMD: an address was loaded");
    assert_eq!(nic.station_address()?[5], 0x66, "the address, loaded again");
    write(6, MAC[5].into())?;
    write(0, 0)?;
    nic.eeprom(Eeprom::Reload, 0)?;
    assert_eq!(nic.registers().get(reg::E2P_CMD)? & 1 << 8, 0, "E2P_CMD: no address is there");
    nic.eeprom(Eeprom::EraseAll, 0)?;
    assert_eq!((read(0)?, read(127)?), (0xff, 0xff), "the EEPROM, erased");
    nic.registers().set(reg::E2P_DATA, 0x5a)?;
    nic.eeprom(Eeprom::WriteAll, 0)?;
    assert_eq!((read(0)?, read(127)?), (0x5a, 0x5a), "the EEPROM, all bytes written");
    nic.eeprom(Eeprom::EraseAll, 0)?;
    write(0, 0xa5)?;
    for (at, byte) in (1..).zip(MAC) {
        write(at, byte.into())?;
    }
    nic.eeprom(Eeprom::WriteDisable, 0)?;
    nic.eeprom(Eeprom::Erase, 0)?;
    assert_eq!(read(0)?, 0xa5, "a byte erased while the EEPROM is protected");
    nic.eeprom(Eeprom::Reload, 0)?;
    assert_eq!(nic.station_address()?, MAC, "the address that the EEPROM had first");
    Ok(())
}

/// Would catch a PHY that is another, and registers of it that are mixed up.
fn phy(nic: &Lan9118, vm: &Rc<Vm>) -> Result<()> {
    start(nic, vm)?;
    // 5.5.3 and 5.5.4: organisation 00-80-0f.
    assert_eq!((nic.phy(2)?, nic.phy(3)? & 0xfc00), (0x0007, 0xc000), "PHY identifiers");
    assert_eq!(nic.phy(chip::PHY_STATUS)? & 0x24, 0x24, "PHY status: link, negotiated");
    for value in [0x01e1, 0x00a1, 0x05e1] {
        nic.set_phy(4, value)?;
        assert_eq!(nic.phy(4)? & 0x0de0, value & 0x0de0, "the advertisement");
    }
    for value in [0, chip::PHY_LINK] {
        nic.set_phy(chip::PHY_MASK, value)?;
        assert_eq!(nic.phy(chip::PHY_MASK)?, value, "the PHY's interrupt mask");
    }
    nic.set_phy(chip::PHY_CONTROL, 1 << 15)?;
    assert_eq!(nic.phy(chip::PHY_CONTROL)? & 0xb000, 0x3000, "PHY control after a reset");
    Ok(())
}
