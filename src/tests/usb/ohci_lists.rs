//! OHCI: lists and descriptors that a driver must not build, above all those without an end: the
//! controller goes on with its frames or says that it cannot, and works after a reset (OpenHCI 1.0a,
//! chapter 4; 7.1.4, UnrecoverableError).

use std::rc::Rc;

use super::hcd::frames;
use crate::drivers::usb::ohci::bench::*;
use crate::drivers::usb::ohci::{
    COMMAND, COMMAND_LISTS, DONE_HEAD, INTERRUPT_ERROR, INTERRUPT_STATUS,
};
use crate::qemu::{Buffer, Vm};
use crate::qos::registers::RegistersExt;
use crate::qos::usb::models::{STORAGE, TABLET, plug};
use crate::{Result, tests};

tests!(dyn Ohci, "ohci-lists-tests":
    endpoint_loops = "endpoint-loops",
    transfer_loops = "transfer-loops",
    done_loops = "done-loops",
    no_packets = "no-packets",
    isochronous_loops = "isochronous-loops",
    isochronous_wrong = "isochronous-wrong",
    isochronous_direction = "isochronous-direction",
    isochronous_bulk = "isochronous-bulk",
    nowhere,
);

/// The address of the device.
const ADDRESS: u8 = 3;
/// The word of its default endpoint, with packets of eight bytes.
const DEFAULT: u32 = ADDRESS as u32 | 8 << 16;

/// Runs `build`, which gives the first endpoint of a list, on every list; looks at the frames that pass
/// with it.
fn on_lists(
    ohci: &dyn Ohci,
    vm: &Rc<Vm>,
    lists: &[List],
    what: &str,
    build: impl Fn(&Bench) -> Result<u32>,
) -> Result<()> {
    vm.hurry();
    ohci.reaches_ram()?;
    let modulus = ohci.profile().frames;
    for list in lists {
        let what = format!("{what}, {list:?}");
        ohci.start()?;
        let plugged = plug(ohci, 0, TABLET)?;
        plugged.connect(ohci, ADDRESS)?.configure()?;
        let bench = Bench::new(ohci)?;
        bench.set_list(*list, build(&bench)?)?;
        bench.run()?;
        bench.frames(1)?;
        let before = ohci.frame()?;
        for _ in 0..10 {
            bench.registers.set(COMMAND, COMMAND_LISTS)?;
            bench.frames(1)?;
        }
        let passed = (ohci.frame()? + modulus - before) % modulus;
        let failed = bench.registers.get(INTERRUPT_STATUS)? & INTERRUPT_ERROR != 0;
        assert!(failed || (9..=11).contains(&passed), "{what}: {passed} frames in 10 ms");
        bench.idle()?;
        ohci.start()?;
        let usb = plugged.connect(ohci, ADDRESS)?;
        assert_eq!(usb.text(1)?, "QEMU", "{what}: the device's first text afterwards");
        plugged.unplug(vm)?;
        ohci.acknowledge_port(plugged_port(ohci))?;
    }
    Ok(())
}

/// The port of the root hub that QEMU's first is.
fn plugged_port(ohci: &dyn Ohci) -> usize {
    ohci.port_of(0, crate::qos::usb::Speed::Full)
}

/// Would catch a list of endpoints that comes back to itself and keeps the controller, or QEMU, busy for
/// ever: endpoints that have halted, are skipped, or have nothing to do.
fn endpoint_loops(ohci: &dyn Ohci, vm: &Rc<Vm>) -> Result<()> {
    for (word, head, what) in [
        (DEFAULT | ED_SKIP, 0, "endpoints that are skipped"),
        (DEFAULT, ED_HALTED, "endpoints that have halted"),
        (DEFAULT, 0, "endpoints without transfers"),
        (DEFAULT | ED_ISOCHRONOUS | ED_IN, 0, "isochronous endpoints without transfers"),
    ] {
        for length in [1, 2, 40] {
            on_lists(ohci, vm, &LISTS, &format!("{length} {what}"), |bench| {
                let last = bench.endpoint(word, 0x10 | head, 0x10, 0)?;
                let mut first = at(&last);
                for _ in 1..length {
                    first = at(&*bench.endpoint(word, 0x10 | head, 0x10, first)?);
                }
                last.write_le32(ED_NEXT, first)?;
                Ok(first)
            })?;
        }
    }
    Ok(())
}

/// A chain of transfers, and the request before it in which a device takes all of them.
struct Chain {
    before: Vec<Rc<Buffer>>,
    loops: Vec<Rc<Buffer>>,
}

/// What makes a chain of so many transfers that wait for no interrupt.
type Build = fn(&Bench, usize) -> Result<Chain>;

/// Kinds of chains.
const CHAINS: [(Build, &str); 3] =
    [(setups, "SETUP packets"), (outputs, "no data to the device"), (inputs, "no data from it")];

fn setups(bench: &Bench, length: usize) -> Result<Chain> {
    let loops: Result<_> = (0..length).map(|_| bench.setup(delay(NEVER), 0)).collect();
    Ok(Chain { before: Vec::new(), loops: loops? })
}

fn empty(bench: &Bench, word: u32, length: usize) -> Result<Vec<Rc<Buffer>>> {
    (0..length).map(|_| bench.transfer(word | delay(NEVER), 0, 0, 0)).collect()
}

fn outputs(bench: &Bench, length: usize) -> Result<Chain> {
    let before = vec![bench.set_report(delay(NEVER), 0)?];
    Ok(Chain { before, loops: empty(bench, TD_OUT, length)? })
}

fn inputs(bench: &Bench, length: usize) -> Result<Chain> {
    let data = bench.transfer(0, 0, 0, 0)?;
    let answer = bench.transfer(TD_IN | delay(NEVER), at(&data), 8, 0)?;
    let before = vec![bench.setup(delay(NEVER), 0)?, answer];
    Ok(Chain { before, loops: empty(bench, TD_IN, length)? })
}

/// Links transfers one to the next, and the last to `end`.
fn link(transfers: &[Rc<Buffer>], end: u32) -> Result<()> {
    let next = transfers.iter().skip(1).map(|next| at(next)).chain([end]);
    transfers.iter().zip(next).try_for_each(|(it, next)| it.write_le32(TD_NEXT, next))
}

/// Closes a chain of transfers and gives it to an endpoint, which comes to `first` before.
fn closed(bench: &Bench, word: u32, first: &[Rc<Buffer>], chain: &[Rc<Buffer>]) -> Result<u32> {
    link(first, at(&chain[0]))?;
    link(chain, at(&chain[0]))?;
    let tail = bench.transfer(0, 0, 0, 0)?;
    let head = first.first().unwrap_or(&chain[0]);
    Ok(at(&*bench.endpoint(word, at(head), at(&tail), 0)?))
}

/// Would catch transfers that link to themselves, are done again and again within a frame, and keep the
/// controller, or QEMU, busy for ever.
fn transfer_loops(ohci: &dyn Ohci, vm: &Rc<Vm>) -> Result<()> {
    for (build, kind) in CHAINS {
        for length in [1, 2, 40] {
            on_lists(ohci, vm, &LISTS, &format!("a loop of {length}: {kind}"), |bench| {
                let Chain { before, loops } = build(bench, length)?;
                closed(bench, DEFAULT, &before, &loops)
            })?;
        }
    }
    Ok(())
}

/// Would catch the same of transfers that were done already, wait for an interrupt, and are linked anew:
/// NextTD is the link of the done queue, too (4.5.3 and 7.2.7), and nothing says where that ends.
fn done_loops(ohci: &dyn Ohci, vm: &Rc<Vm>) -> Result<()> {
    for (build, kind) in CHAINS {
        for length in [1, 2, 3, 20] {
            on_lists(ohci, vm, &LISTS, &format!("a loop of {length} done: {kind}"), |bench| {
                // What was done before is told first.
                bench.run()?;
                bench.frames(2)?;
                let Chain { before, loops } = build(bench, length)?;
                let tail = bench.transfer(0, 0, 0, 0)?;
                let all: Vec<_> = before.iter().chain(&loops).cloned().collect();
                link(&all, at(&tail))?;
                let endpoint = bench.endpoint(DEFAULT, at(&all[0]), at(&tail), 0)?;
                bench.set_list(List::Control, at(&endpoint))?;
                bench.run()?;
                bench.frames(8)?;
                let last = loops.last().map(|last| at(last));
                assert_eq!(Some(bench.registers.get(DONE_HEAD)?), last, "{DONE_HEAD}, {kind}");
                bench.idle()?;
                closed(bench, DEFAULT, &[], &loops)
            })?;
        }
    }
    Ok(())
}

/// Would catch an endpoint whose packets have no bytes (MaximumPacketSize, 4.2.2), and with which data are
/// never sent: the controller, or QEMU, is busy with them for ever.
fn no_packets(ohci: &dyn Ohci, vm: &Rc<Vm>) -> Result<()> {
    const NONE: u32 = ADDRESS as u32;
    for (word, flags, what) in [
        (NONE, TD_SETUP, "a SETUP packet"),
        (NONE, TD_OUT, "data to the default endpoint"),
        (NONE | 1 << 7 | ED_OUT, TD_OUT, "data to an endpoint"),
        (NONE, TD_IN, "data from the default endpoint"),
        (NONE | 1 << 7 | ED_IN, TD_IN, "data from an endpoint"),
    ] {
        for length in [1, 8, 64, 5000] {
            on_lists(ohci, vm, &LISTS, &format!("{what}, {length} bytes"), |bench| {
                let tail = bench.transfer(0, 0, 0, 0)?;
                let page = (at(&tail) & !0xfff) + 0x1000 - length.min(64);
                let transfer = bench.transfer(flags, page, length, at(&tail))?;
                let second = bench.endpoint(word, at(&transfer), at(&tail), 0)?;
                // The request comes before, by an endpoint with packets: data to or from the device.
                let request =
                    if flags == TD_OUT { bench.set_report(0, 0)? } else { bench.setup(0, 0)? };
                request.write_le32(TD_NEXT, at(&tail))?;
                Ok(at(&*bench.endpoint(DEFAULT, at(&request), at(&tail), at(&second))?))
            })?;
        }
    }
    Ok(())
}

/// An isochronous descriptor that begins in `frame`, with this count of packets less one.
fn packets(bench: &Bench, frame: u32, count: u32, offsets: [u16; 8]) -> Result<Rc<Buffer>> {
    let page = bench.area.address().0 as u32 & !0xfff;
    let word = TD_NOT_ACCESSED | count << 24 | frame & 0xffff;
    bench.isochronous([word, page, 0, page + 0x1fff], offsets)
}

/// An endpoint for packets of this direction at the device's endpoint 1.
const fn isochronous(direction: u32) -> u32 {
    ADDRESS as u32 | 1 << 7 | direction | ED_ISOCHRONOUS | 192 << 16
}

/// Would catch isochronous transfers that link to themselves, those whose frames are over among them, and
/// that keep the controller, or QEMU, busy for ever.
fn isochronous_loops(ohci: &dyn Ohci, vm: &Rc<Vm>) -> Result<()> {
    for (after, when) in
        [(0u32.wrapping_sub(100), "over"), (0, "now"), (3, "soon"), (0x8000, "far")]
    {
        for length in [1, 2, 3] {
            on_lists(ohci, vm, &LISTS, &format!("{length} descriptors, {when}"), |bench| {
                let frame = ohci.frame()?.wrapping_add(after);
                let one = |_| packets(bench, frame, 7, [0xe000; 8]);
                let chain: Result<Vec<_>> = (0..length).map(one).collect();
                closed(bench, isochronous(ED_IN), &[], &chain?)
            })?;
        }
    }
    Ok(())
}

/// Would catch offsets of packets that run backwards, leave the two pages, or make a packet larger than
/// both, and by which QEMU reads or writes what is not theirs (4.3.2.2 and 4.3.2.3).
fn isochronous_wrong(ohci: &dyn Ohci, vm: &Rc<Vm>) -> Result<()> {
    for (offsets, what) in [
        ([0xefff, 0xe000, 0xefff, 0xe000, 0xefff, 0xe000, 0xefff, 0xe000], "backwards"),
        ([0xffff; 8], "at the end of the second page"),
        ([0xe000, 0xffff, 0xe000, 0xffff, 0xe000, 0xffff, 0xe000, 0xffff], "of both pages"),
        ([0; 8], "that were looked at"),
        ([0xf000; 8], "at the beginning of the second page"),
    ] {
        for direction in [ED_IN, ED_OUT, ED_IN | ED_OUT] {
            for count in [0, 1, 7] {
                let what = format!("packets {what}, {direction:#x}, {count}");
                on_lists(ohci, vm, &[List::Periodic], &what, |bench| {
                    let first = packets(bench, ohci.frame()? + 2, count, offsets)?;
                    let tail = packets(bench, 0, 0, offsets)?;
                    first.write_le32(TD_NEXT, at(&tail))?;
                    let endpoint = isochronous(direction);
                    Ok(at(&*bench.endpoint(endpoint, at(&first), at(&tail), 0)?))
                })?;
            }
        }
    }
    Ok(())
}

/// Would catch an isochronous endpoint without a direction of its own, though its transfers have none
/// either (4.2.2 and 4.3.2), and that ends QEMU.
fn isochronous_direction(ohci: &dyn Ohci, vm: &Rc<Vm>) -> Result<()> {
    for number in [0, 1] {
        for direction in [ED_FROM_TD, ED_IN | ED_OUT] {
            let what = format!("packets of endpoint {number}, {direction:#x}");
            on_lists(ohci, vm, &LISTS, &what, |bench| {
                let first = packets(bench, ohci.frame()? + 2, 0, [0xe000; 8])?;
                let tail = packets(bench, 0, 0, [0; 8])?;
                first.write_le32(TD_NEXT, at(&tail))?;
                let word = u32::from(ADDRESS) | number << 7 | direction | ED_ISOCHRONOUS | 8 << 16;
                Ok(at(&*bench.endpoint(word, at(&first), at(&tail), 0)?))
            })?;
        }
    }
    Ok(())
}

/// Would catch an isochronous packet to an endpoint that has no such packets and that answers later: QEMU
/// has forgotten the packet by then.
fn isochronous_bulk(ohci: &dyn Ohci, vm: &Rc<Vm>) -> Result<()> {
    ohci.reaches_ram()?;
    vm.hurry();
    for (rounds, count) in [(1, 0), (1, 7), (4, 0)] {
        ohci.start()?;
        let plugged = plug(ohci, 0, STORAGE)?;
        let usb = plugged.connect(ohci, ADDRESS)?;
        let ends = usb.configure()?;
        let input = ends.iter().find(|it| it.is_in()).map_or(0, |it| it.number());
        let output = ends.iter().find(|it| !it.is_in()).map_or(0, |it| it.number());
        // READ(10) of 64 blocks, wrapped (Bulk-Only Transport 1.0, 5.1).
        let mut wrapped = [0; 31];
        wrapped[..15].copy_from_slice(b"USBCqgra\0\x80\0\0\x80\0\x0a");
        (wrapped[15], wrapped[23]) = (0x28, 64);
        let data = vm.ram().alloc(4096, 4096)?;
        let wrapper = vm.ram().alloc(32, 32)?;
        wrapper.write(0, &wrapped)?;
        let bench = Bench::new(ohci)?;
        let tail = packets(&bench, 0, 0, [0; 8])?;
        let word = u32::from(ADDRESS) | 64 << 16;
        let mut next = 0;
        // The command and the packets are of one frame, and the medium is slower than that.
        for _ in 0..rounds {
            let frame = ohci.frame()?;
            let offsets = [0, 1, 2, 3, 4, 5, 6, 7].map(|number| 0xe000 + 64 * number);
            let first = packets(&bench, frame, count, offsets)?;
            for (offset, value) in [(4, at(&data)), (TD_NEXT, at(&tail)), (12, at(&data) + 511)] {
                first.write_le32(offset, value)?;
            }
            let ending = u32::from(input) << 7 | ED_IN | ED_ISOCHRONOUS;
            next = at(&*bench.endpoint(word | ending, at(&first), at(&tail), next)?);
        }
        let command = bench.transfer(TD_OUT, at(&wrapper), 31, at(&tail))?;
        let ending = u32::from(output) << 7 | ED_OUT;
        let first = bench.endpoint(word | ending, at(&command), at(&tail), next)?;
        bench.set_list(List::Periodic, at(&first))?;
        bench.run()?;
        bench.frames(20)?;
        bench.idle()?;
        ohci.start()?;
        frames(ohci, 4)?;
        let usb = plugged.connect(ohci, ADDRESS)?;
        assert_eq!(
            usb.text(1)?,
            "QEMU",
            "{rounds} descriptors: the device's first text afterwards"
        );
        plugged.unplug(vm)?;
        ohci.acknowledge_port(plugged_port(ohci))?;
    }
    Ok(())
}

/// Would catch lists, descriptors and data that are not in memory, and that take QEMU with them.
fn nowhere(ohci: &dyn Ohci, vm: &Rc<Vm>) -> Result<()> {
    on_lists(ohci, vm, &LISTS, "a list that is nowhere", |_| Ok(NOWHERE))?;
    on_lists(ohci, vm, &LISTS, "a next endpoint that is nowhere", |bench| {
        Ok(at(&*bench.endpoint(DEFAULT | ED_SKIP, 0, 0, NOWHERE)?))
    })?;
    for head in [0, NOWHERE] {
        on_lists(ohci, vm, &LISTS, &format!("a transfer at {head:#x}"), |bench| {
            Ok(at(&*bench.endpoint(DEFAULT, head, 0x20, 0)?))
        })?;
        on_lists(ohci, vm, &LISTS, &format!("packets at {head:#x}"), |bench| {
            Ok(at(&*bench.endpoint(isochronous(ED_IN), head, 0x20, 0)?))
        })?;
    }
    on_lists(ohci, vm, &LISTS, "data that are nowhere", |bench| {
        let tail = bench.transfer(0, 0, 0, 0)?;
        let data = bench.transfer(TD_IN, NOWHERE, 8, at(&tail))?;
        let first = bench.setup(0, at(&data))?;
        Ok(at(&*bench.endpoint(DEFAULT, at(&first), at(&tail), 0)?))
    })?;
    on_lists(ohci, vm, &[List::Periodic], "packets whose data are nowhere", |bench| {
        let first = packets(bench, ohci.frame()? + 2, 0, [0xe000; 8])?;
        first.write_le32(4, NOWHERE)?;
        first.write_le32(12, NOWHERE + 191)?;
        let tail = packets(bench, 0, 0, [0; 8])?;
        first.write_le32(TD_NEXT, at(&tail))?;
        Ok(at(&*bench.endpoint(isochronous(ED_OUT), at(&first), at(&tail), 0)?))
    })
}
