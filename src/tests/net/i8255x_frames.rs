//! Intel's fast Ethernet controllers 8255x: frames out of command blocks and into receive
//! frame descriptors, address filter, statistics (8255x Open Source Software Developer
//! Manual, chapter 6).

use std::rc::Rc;

use crate::drivers::net::i8255x::blocks::{self as block, Block, DONE};
use crate::drivers::net::i8255x::{self as nic, I8255x};
use crate::qemu::{Buffer, Vm};
use crate::qos::net::{
    self, Address, BROADCAST, MAC, PEER, Wire, assert_frame, assert_short_frame, frame,
    wait_received,
};
use crate::qos::registers::RegistersExt;
use crate::qos::wait_until;
use crate::{Error, Result, tests};

tests!(I8255x, "i8255x-frames-tests":
    transmit,
    transmit_flexible = "transmit-flexible",
    transmit_extended = "transmit-extended",
    transmit_list = "transmit-list",
    receive,
    receive_list = "receive-list",
    filter,
    multicast,
    lengths,
    no_resources = "no-resources",
    commands,
);

/// The room for a frame in a receive frame descriptor: an even number (6.4.3.1.2).
const SIZE: u16 = 1518;

/// What the configure command (6.4.2.3) sets up: its defaults, and that short frames are padded.
const CONFIGURATION: [u8; 22] = [
    22, 0x08, 0, 0, 0, 0, 0x32, 0x03, 0x01, 0, 0x2e, 0, 0x60, 0, 0xf2, 0xc8, 0, 0x40, 0xf2, 0x80,
    0x3f, 0x05,
];
/// Byte 6: standard transmit command blocks, not extended ones.
const STANDARD_TCB: u8 = 1 << 4;
/// Byte 15: promiscuous.
const PROMISCUOUS: u8 = 1 << 0;
/// Byte 18: long frames are received.
const LONG_RECEIVE_OK: u8 = 1 << 3;
/// Byte 21: all multicast frames are received.
const MULTICAST_ALL: u8 = 1 << 3;

/// Status of a received frame: the address is not the individual address.
const NOT_IA: u16 = 1 << 1;
/// Status of a received frame: no address matches.
const NO_MATCH: u16 = 1 << 2;

/// Has the command unit work on a list of blocks, which is done when this returns.
fn start(nic: &I8255x, vm: &Vm, list: &[&Block]) -> Result<()> {
    for pair in list.windows(2) {
        pair[0].link(pair[1])?;
    }
    nic.command(vm, nic::CU_START, list[0].offset())?;
    for (number, block) in list.iter().enumerate() {
        let what = format!("the end of command block {number}");
        wait_until(vm, &what, || block.is_complete(DONE))?;
    }
    Ok(())
}

fn configure(nic: &I8255x, vm: &Vm, byte: usize, value: u8) -> Result<()> {
    let mut bytes = CONFIGURATION;
    bytes[byte] = value;
    start(nic, vm, &[&Block::new(vm, block::CONFIGURE, &bytes)?])
}

/// Both units with their bases, configured, with the address of its own, no cause left,
/// nothing in the statistics. QEMU keeps address and statistics over a reset of the machine.
fn set_up(nic: &I8255x, vm: &Rc<Vm>) -> Result<Wire> {
    nic.device().bus().reaches_ram()?;
    nic.command(vm, nic::CU_LOAD_BASE, block::BASE)?;
    nic.command(vm, nic::RU_LOAD_BASE, block::BASE)?;
    configure(nic, vm, 0, 22)?;
    set_address(nic, vm, MAC)?;
    dump_statistics(nic, vm)?;
    nic.acknowledge()?;
    Wire::new(vm)
}

/// Individual address setup (6.4.2.2).
fn set_address(nic: &I8255x, vm: &Vm, address: Address) -> Result<()> {
    let body = [&address[..], &[0; 2]].concat();
    start(nic, vm, &[&Block::new(vm, block::IA_SETUP, &body)?])
}

/// Descriptors to receive into, linked to a ring.
fn ring(vm: &Vm, count: usize) -> Result<Vec<Block>> {
    let ring = (0..count).map(|_| Block::receive(vm, SIZE)).collect::<Result<Vec<_>>>()?;
    for (number, block) in ring.iter().enumerate() {
        block.link(&ring[(number + 1) % count])?;
    }
    Ok(ring)
}

/// Asserts that `expected` comes in whole, with these bits of the status besides.
fn assert_received(vm: &Vm, at: &Block, expected: &[u8], bits: u16, what: &str) -> Result<()> {
    wait_received(vm, what, || at.is_complete(DONE | bits))?;
    assert_frame(&at.received()?, expected, what);
    Ok(())
}

/// Asserts causes and states of both units, and that the pin tells of the causes; clears
/// them.
#[track_caller]
fn assert_status(nic: &I8255x, units: u8, causes: u8, when: &str) -> Result<()> {
    let status = nic.registers().get(nic::SCB_STATUS)?;
    assert_eq!(status, units, "SCB Status {when}: {status:#x}");
    assert_eq!(nic.device().asserts_interrupt()?, causes != 0, "the pin {when}");
    let told = nic.acknowledge()?;
    assert_eq!(told, causes, "STAT/ACK {when}: {told:#x}");
    assert!(!nic.device().asserts_interrupt()?, "the pin after the causes {when} are cleared");
    Ok(())
}

/// Where the statistics have their numbers, and what follows them (6.3.2.2).
const TX_GOOD: usize = 0;
const RX_GOOD: usize = 36;
const RX_RESOURCE_ERRORS: usize = 48;
const COMPLETION: usize = 64;

/// What the standard statistics have counted; they begin anew.
fn dump_statistics(nic: &I8255x, vm: &Vm) -> Result<Buffer> {
    let dump = vm.ram().alloc(COMPLETION + 4, 16)?;
    nic.command(vm, nic::CU_LOAD_DUMP_ADDRESS, dump.address().0 as u32)?;
    nic.command(vm, nic::CU_DUMP_AND_RESET, 0)?;
    let mut completion = 0;
    wait_until(vm, "the statistics", || {
        completion = dump.read_le32(COMPLETION)?;
        Ok(completion != 0)
    })?;
    assert_eq!(completion, 0xa007, "what follows the statistics");
    Ok(dump)
}

/// Asserts what the standard statistics have counted; they begin anew.
fn assert_counted(nic: &I8255x, vm: &Vm, counted: &[(usize, u32)]) -> Result<()> {
    let dump = dump_statistics(nic, vm)?;
    for offset in (0..COMPLETION).step_by(4) {
        let expected = counted.iter().find(|(at, _)| *at == offset).map_or(0, |(_, count)| *count);
        assert_eq!(dump.read_le32(offset)?, expected, "the statistic at byte {offset}");
    }
    Ok(())
}

/// Would catch a frame that is lost, cut, doubled or changed on its way out, a block that is
/// not written back, and a cause that does not come, or comes without I.
fn transmit(nic: &I8255x, vm: &Rc<Vm>) -> Result<()> {
    let wire = set_up(nic, vm)?;
    let sent = frame(PEER, MAC, net::SHORTEST, 1);
    let block = Block::transmit(vm, &sent)?;
    block.set_command(block::TRANSMIT | block::EL | block::I)?;
    wire.assert_silent("before the command unit is started")?;
    start(nic, vm, &[&block])?;
    assert_frame(&wire.receive("the shortest")?, &sent, "the shortest frame");
    assert_status(nic, 0, nic::ACK_CX | nic::ACK_CNA, "after a frame")?;

    let sent = frame(BROADCAST, MAC, net::LONGEST, 2);
    start(nic, vm, &[&Block::transmit(vm, &sent)?])?;
    assert_frame(&wire.receive("the longest")?, &sent, "the longest frame");
    assert_status(nic, 0, nic::ACK_CNA, "after a frame without I")?;
    assert_counted(nic, vm, &[(TX_GOOD, 2)])?;
    assert_counted(nic, vm, &[])?;
    wire.assert_silent("after both frames")
}

/// A frame cut into pieces of different lengths.
fn pieces(vm: &Vm, frame: &[u8]) -> Result<Vec<Buffer>> {
    let (one, rest) = frame.split_at(14);
    let (two, three) = rest.split_at(rest.len() / 2);
    let piece = |bytes: &[u8]| -> Result<Buffer> {
        let buffer = vm.ram().alloc(bytes.len(), 1)?;
        buffer.write(0, bytes)?;
        Ok(buffer)
    };
    [one, two, three].into_iter().map(piece).collect()
}

/// Would catch buffer descriptors (6.4.2.5) that are read otherwise or not all.
fn transmit_flexible(nic: &I8255x, vm: &Rc<Vm>) -> Result<()> {
    let wire = set_up(nic, vm)?;
    let sent = frame(PEER, MAC, 777, 1);
    let pieces = pieces(vm, &sent)?;
    start(nic, vm, &[&Block::transmit_flexible(vm, &pieces, false)?])?;
    assert_frame(&wire.receive("in three pieces")?, &sent, "a frame in three pieces");
    start(nic, vm, &[&Block::transmit_ended(vm, &pieces)?])?;
    let got = wire.receive("that a descriptor ends")?;
    wire.assert_silent("after it")?;
    assert_frame(&got, &sent, "a frame that a descriptor ends");
    Ok(())
}

/// Would catch an extended block (6.4.2.5) whose own two buffer descriptors are left out, or
/// are read after those of the array.
fn transmit_extended(nic: &I8255x, vm: &Rc<Vm>) -> Result<()> {
    if nic.is_82557() {
        return Err(Error::skipped("the 82557 has no extended transmit command blocks"));
    }
    let wire = set_up(nic, vm)?;
    configure(nic, vm, 6, CONFIGURATION[6] & !STANDARD_TCB)?;
    let sent = frame(PEER, MAC, 777, 1);
    let pieces = pieces(vm, &sent)?;
    start(nic, vm, &[&Block::transmit_flexible(vm, &pieces, true)?])?;
    assert_frame(&wire.receive("of an extended block")?, &sent, "a frame of an extended block");
    wire.assert_silent("after it")
}

/// Would catch frames out of order, a list that stops too early or goes on too far, and a
/// ring that a suspended command unit does not resume where it was.
fn transmit_list(nic: &I8255x, vm: &Rc<Vm>) -> Result<()> {
    let wire = set_up(nic, vm)?;
    let sent: Vec<_> = (0..4).map(|at| frame(PEER, MAC, 60 + 97 * usize::from(at), at)).collect();
    let blocks = sent.iter().map(|sent| Block::transmit(vm, sent)).collect::<Result<Vec<_>>>()?;
    start(nic, vm, &blocks.iter().collect::<Vec<_>>())?;
    for (number, sent) in sent.iter().enumerate() {
        let what = format!("frame {number} of a list");
        assert_frame(&wire.receive(&what)?, sent, &what);
    }
    assert_status(nic, 0, nic::ACK_CNA, "after a list")?;
    wire.assert_silent("after the list")?;

    blocks[3].link(&blocks[0])?;
    for suspended in [1, 3] {
        blocks[suspended].set_command(block::TRANSMIT | block::S | block::I)?;
    }
    // Round and round, two frames at a time.
    for round in 0..5 {
        let two = [round * 2 % 4, round * 2 % 4 + 1];
        two.iter().try_for_each(|&number| blocks[number].clear_status())?;
        let how = if round == 0 { nic::CU_START } else { nic::CU_RESUME };
        nic.command(vm, how, blocks[0].offset())?;
        for number in two {
            let what = format!("frame {number} in round {round}");
            assert_frame(&wire.receive(&what)?, &sent[number], &what);
            assert_eq!(blocks[number].status()?, DONE, "{what}: status");
        }
        let causes = nic::ACK_CX | nic::ACK_CNA;
        assert_status(nic, nic::CU_SUSPENDED, causes, "after a round")?;
        wire.assert_silent("while suspended")?;
    }
    assert_counted(nic, vm, &[(TX_GOOD, 14)])
}

/// Would catch a frame that is lost, cut or changed on its way in, a descriptor without
/// length or status, and a cause that does not come.
fn receive(nic: &I8255x, vm: &Rc<Vm>) -> Result<()> {
    let wire = set_up(nic, vm)?;
    let ring = ring(vm, 2)?;
    nic.command(vm, nic::RU_START, ring[0].offset())?;
    assert_status(nic, nic::RU_READY, 0, "before the first frame")?;
    for (number, length) in [net::SHORTEST, net::LONGEST].into_iter().enumerate() {
        let sent = frame(MAC, PEER, length, number as u8);
        wire.send(&sent)?;
        let what = format!("a frame of {length} bytes");
        assert_received(vm, &ring[number], &sent, 0, &what)?;
        assert_status(nic, nic::RU_READY, nic::ACK_FR, &format!("after {what}"))?;
    }
    assert_counted(nic, vm, &[(RX_GOOD, 2)])?;
    assert_counted(nic, vm, &[])
}

/// Would catch frames out of order or lost when several come at once, a ring that does not
/// wrap, and a suspended receive unit that does not resume where it was.
fn receive_list(nic: &I8255x, vm: &Rc<Vm>) -> Result<()> {
    let wire = set_up(nic, vm)?;
    let ring = ring(vm, 4)?;
    nic.command(vm, nic::RU_START, ring[0].offset())?;
    let mut number = 0;
    for round in 0..5 {
        let frames: Vec<_> = (0..3)
            .map(|at| frame(MAC, PEER, 60 + 97 * usize::from(round * 3 + at), round * 3 + at))
            .collect();
        frames.iter().try_for_each(|sent| wire.send(sent))?;
        for sent in &frames {
            let at = &ring[number % 4];
            assert_received(vm, at, sent, 0, &format!("frame {number}"))?;
            at.recycle()?;
            number += 1;
        }
        assert_status(nic, nic::RU_READY, nic::ACK_FR, "after a round")?;
    }
    ring[number % 4].set_command(block::S)?;
    let sent = [frame(MAC, PEER, 100, 0xfe), frame(MAC, PEER, 100, 0xff)];
    wire.send(&sent[0])?;
    assert_received(vm, &ring[number % 4], &sent[0], 0, "the frame that suspends")?;
    let status = nic.registers().get(nic::SCB_STATUS)?;
    assert_eq!(status, nic::RU_SUSPENDED, "SCB Status, suspended: {status:#x}");
    nic.command(vm, nic::RU_RESUME, ring[0].offset())?;
    wire.send(&sent[1])?;
    assert_received(vm, &ring[(number + 1) % 4], &sent[1], 0, "the frame after resuming")
}

/// Would catch a filter that lets the wrong frames in or keeps the right ones out, and a
/// status that does not tell why it did. What is not to come is followed by a frame that
/// must be next.
fn filter(nic: &I8255x, vm: &Rc<Vm>) -> Result<()> {
    let foreign: Address = [MAC[0], MAC[1], MAC[2], MAC[3], MAC[4], MAC[5] ^ 1];
    let wire = set_up(nic, vm)?;
    let ring = ring(vm, 4)?;
    nic.command(vm, nic::RU_START, ring[0].offset())?;
    let mut number = 0;
    let mut next = |sent: &[u8], bits, what: &str| {
        let at = &ring[number % 4];
        number += 1;
        assert_received(vm, at, sent, bits, what)?;
        at.recycle()
    };
    let to = |to: Address, number: u8| -> Result<Vec<u8>> {
        let frame = frame(to, PEER, 100, number);
        wire.send(&frame)?;
        Ok(frame)
    };
    to(foreign, 1)?;
    next(&to(BROADCAST, 2)?, NOT_IA, "a broadcast")?;
    to(foreign, 3)?;
    next(&to(MAC, 4)?, 0, "a frame to the individual address")?;

    configure(nic, vm, 15, CONFIGURATION[15] | PROMISCUOUS)?;
    next(&to(foreign, 5)?, NO_MATCH, "a foreign frame, promiscuous")?;
    next(&to(MAC, 6)?, 0, "an own frame, promiscuous")?;
    configure(nic, vm, 15, CONFIGURATION[15])?;
    to(foreign, 7)?;
    next(&to(MAC, 8)?, 0, "a frame after promiscuous mode")?;

    set_address(nic, vm, foreign)?;
    to(MAC, 9)?;
    next(&to(foreign, 10)?, 0, "a frame to the new individual address")?;
    assert_counted(nic, vm, &[(RX_GOOD, 6)])
}

/// Would catch multicast frames that are received without being asked for, or not although
/// they are: by address (6.4.2.4), or all.
fn multicast(nic: &I8255x, vm: &Rc<Vm>) -> Result<()> {
    const GROUP: Address = [0x01, 0x00, 0x5e, 0x11, 0x22, 0x33];
    const OTHER: Address = [0x01, 0x00, 0x5e, 0x44, 0x55, 0x66];
    let wire = set_up(nic, vm)?;
    let ring = ring(vm, 8)?;
    nic.command(vm, nic::RU_START, ring[0].offset())?;
    let own = frame(MAC, PEER, 100, 1);
    let (group, other) = (frame(GROUP, PEER, 100, 2), frame(OTHER, PEER, 100, 3));
    let all = || [&group, &other, &own].into_iter().try_for_each(|sent| wire.send(sent));
    all()?;
    assert_received(vm, &ring[0], &own, 0, "an own frame after foreign groups")?;
    let setup = [&[6, 0][..], &GROUP].concat();
    start(nic, vm, &[&Block::new(vm, block::MULTICAST_SETUP, &setup)?])?;
    all()?;
    assert_received(vm, &ring[1], &group, NOT_IA, "a frame to a group that was set up")?;
    assert_received(vm, &ring[2], &own, 0, "an own frame after a foreign group")?;
    configure(nic, vm, 21, CONFIGURATION[21] | MULTICAST_ALL)?;
    all()?;
    assert_received(vm, &ring[3], &group, NOT_IA, "a group's frame, multicast all")?;
    assert_received(vm, &ring[4], &other, NOT_IA, "another group's frame, multicast all")?;
    assert_received(vm, &ring[5], &own, 0, "an own frame, multicast all")
}

/// Would catch a short frame that is lost or padded with what was there before, a long one
/// that is received without leave, and one too long for its descriptor that is written past
/// it.
fn lengths(nic: &I8255x, vm: &Rc<Vm>) -> Result<()> {
    let wire = set_up(nic, vm)?;
    let ring = ring(vm, 4)?;
    nic.command(vm, nic::RU_START, ring[0].offset())?;
    let short = frame(MAC, PEER, 42, 1);
    wire.send(&short)?;
    wait_received(vm, "a short frame", || ring[0].is_complete(DONE))?;
    assert_short_frame(&ring[0].received()?, &short, "a short frame, received");
    let short = frame(PEER, MAC, 42, 2);
    start(nic, vm, &[&Block::transmit(vm, &short)?])?;
    // The device is configured to pad it; no QEMU does.
    assert_short_frame(&wire.receive("a short one")?, &short, "a short frame, sent");

    let (long, marker) = (frame(MAC, PEER, 1600, 3), frame(MAC, PEER, 61, 4));
    wire.send(&long)?;
    wire.send(&marker)?;
    assert_received(vm, &ring[1], &marker, 0, "the frame after one too long")?;
    configure(nic, vm, 18, CONFIGURATION[18] | LONG_RECEIVE_OK)?;
    wire.send(&long)?;
    // Status bit 9 would tell that the frame is cut; no QEMU sets it.
    let cut = &long[..SIZE.into()];
    assert_received(vm, &ring[2], cut, 0, "the beginning of a long frame")?;
    // One byte or a few too many.
    for (number, over) in [0, 1, 2, 4, 5, 64].into_iter().enumerate() {
        let small = Block::receive(vm, 100)?;
        let behind = vm.ram().alloc(256, 1)?;
        nic.command(vm, nic::RU_ABORT, 0)?;
        nic.command(vm, nic::RU_START, small.offset())?;
        let sent = frame(MAC, PEER, 100 + over, number as u8);
        wire.send(&sent)?;
        let what = format!("{over} bytes more than there is room for");
        assert_received(vm, &small, &sent[..100], 0, &what)?;
        assert_eq!(behind.to_vec()?, [0; 256], "the memory behind it, {what}");
    }
    Ok(())
}

/// Would catch a receive unit that goes on after the last descriptor, does not tell that it
/// cannot (6.4.3.1.2), does not count what it discards, or does not start again.
fn no_resources(nic: &I8255x, vm: &Rc<Vm>) -> Result<()> {
    let wire = set_up(nic, vm)?;
    let (first, last) = (Block::receive(vm, SIZE)?, Block::receive(vm, SIZE)?);
    first.link(&last)?;
    nic.command(vm, nic::RU_START, first.offset())?;
    let sent: Vec<_> = (0..4).map(|number| frame(MAC, PEER, 100, number)).collect();
    wire.send(&sent[0])?;
    wire.send(&sent[1])?;
    assert_received(vm, &first, &sent[0], 0, "the first frame")?;
    assert_received(vm, &last, &sent[1], 0, "the last frame")?;
    let causes = nic::ACK_FR | nic::ACK_RNR;
    assert_status(nic, nic::RU_NO_RESOURCES, causes, "after the last descriptor")?;
    wire.send(&sent[2])?;
    let told = || nic.registers().get(nic::SCB_ACK);
    wait_until(vm, "a cause after a discarded frame", || Ok(told()? != 0))?;
    assert_status(nic, nic::RU_NO_RESOURCES, nic::ACK_RNR, "after a discarded frame")?;
    assert_counted(nic, vm, &[(RX_GOOD, 2), (RX_RESOURCE_ERRORS, 1)])?;
    first.recycle()?;
    nic.command(vm, nic::RU_START, first.offset())?;
    wire.send(&sent[3])?;
    assert_received(vm, &first, &sent[3], 0, "the frame after the start")?;
    assert_status(nic, nic::RU_READY, nic::ACK_FR, "after the start")?;

    nic.command(vm, nic::RU_ABORT, 0)?;
    let status = nic.registers().get(nic::SCB_STATUS)?;
    assert_eq!(status, 0, "SCB Status after an abort: {status:#x}");
    assert_status(nic, 0, nic::ACK_RNR, "after an abort")
}

/// Would catch a command without data that is not done, or fails; and a software reset that
/// leaves groups set up, or units that go on.
fn commands(nic: &I8255x, vm: &Rc<Vm>) -> Result<()> {
    const GROUP: Address = [0x01, 0x00, 0x5e, 0x11, 0x22, 0x33];
    let wire = set_up(nic, vm)?;
    for command in [block::NO_OPERATION, block::DIAGNOSE] {
        start(nic, vm, &[&Block::new(vm, command, &[])?])?;
        assert_status(nic, 0, nic::ACK_CNA, "after a command")?;
    }
    let setup = [&[6, 0][..], &GROUP].concat();
    start(nic, vm, &[&Block::new(vm, block::MULTICAST_SETUP, &setup)?])?;
    let before = ring(vm, 2)?;
    nic.command(vm, nic::RU_START, before[0].offset())?;
    nic.registers().set(nic::PORT, nic::PORT_SOFTWARE_RESET)?;
    wire.send(&frame(MAC, PEER, 100, 1))?;

    let wire = set_up(nic, vm)?;
    let after = ring(vm, 2)?;
    nic.command(vm, nic::RU_START, after[0].offset())?;
    let own = frame(MAC, PEER, 101, 2);
    wire.send(&frame(GROUP, PEER, 100, 3))?;
    wire.send(&own)?;
    assert_received(vm, &after[0], &own, 0, "an own frame after a group of before the reset")?;
    assert_eq!(before[0].status()?, 0, "a descriptor of before the reset");
    Ok(())
}
