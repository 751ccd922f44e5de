//! Sizing and mapping BARs of functions that are nothing but configuration space.

use super::super::fake::{FakeBus, Function};
use super::*;

/// The memory BAR's prefetchable bit (PCI 3.0, 6.2.5.1).
const PREFETCHABLE: u32 = 1 << 3;
const MEM_64: u32 = regs::BASE_ADDRESS_MEM_TYPE_64;
const IO: u32 = regs::BASE_ADDRESS_SPACE_IO;

fn bar(number: u16) -> u16 {
    regs::BASE_ADDRESS_0 + 4 * number
}

/// What mapping BAR `number` fails with, and that it leaves everything as it was.
#[track_caller]
fn refused(function: &mut Function, number: u8) -> String {
    let (bus, device) = FakeBus::with(function);
    fails_and_leaves_no_trace(&bus, &device, number)
}

#[track_caller]
fn fails_and_leaves_no_trace(bus: &FakeBus, device: &PciDevice, number: u8) -> String {
    let all = || (0..64).map(|n| bus.raw(4 * n)).collect::<Vec<_>>();
    let before = all();
    let error = device.map_bar(number).map(drop).unwrap_err();
    assert_eq!(all(), before, "configuration space has changed");
    error.to_string()
}

/// Would catch a wrong size, space or address, flags taken for address, a BAR that is told
/// one address and used at another, and decoding left off or switched on for the other
/// space.
#[test]
fn bars_are_sized_and_mapped() {
    const GIB: u64 = 1 << 30;
    for (flags, mask, space, size) in [
        (IO, 0xffff_ffe0, Space::Io, 0x20),
        (IO, 0xffff_fffc, Space::Io, 4),
        (IO, 0x0000_ff00, Space::Io, 0x100),
        (IO | 2, 0x0000_8000, Space::Io, 0x8000),
        (0, 0xffff_f000, Space::Memory, 0x1000),
        (0, 0xffff_fff0, Space::Memory, 16),
        (PREFETCHABLE, 0xf000_0000, Space::Memory, GIB / 4),
    ] {
        let (bus, device) = FakeBus::with(Function::new().bar(2, flags, mask).set(4, 4));
        let mapped = device.map_bar(2).unwrap();
        assert_eq!((mapped.space(), mapped.size()), (space, size));
        let (enable, start) = match space {
            Space::Io => (1, 0x1000u64.next_multiple_of(size)),
            Space::Memory => (2, 0xe000_0000),
        };
        assert_eq!(mapped.address(), start, "the first aligned address of the window");
        assert_eq!(bus.raw(bar(2)), start as u32 | flags);
        assert_eq!(bus.raw(regs::COMMAND), 4 | enable);
    }
}

/// Would catch a 64-bit BAR of which one half is not sized, not written, or stays from
/// before.
#[test]
fn bars_of_64_bits_use_both_registers() {
    for (low, upper, size) in [
        (0xffff_c000, !0, 0x4000),
        (0x8000_0000, !0, 1 << 31),
        (0, !0, 1 << 32),
        (0, 0xffff_fff0, 1 << 36),
    ] {
        for (start, length) in [(0x1000_0000, 1 << 40), (0x80_0000_0000, 0x100_0000_0000)] {
            let mut function = Function::new();
            function.bar(0, MEM_64 | PREFETCHABLE, low).bar(1, 0, upper);
            let (bus, device) = FakeBus::windowed((0, 0), (start, length), &mut function);
            bus.change(|function| _ = function.set(bar(1), upper & 0x10));
            let mapped = device.map_bar(0).unwrap();
            assert_eq!((mapped.size(), mapped.space()), (size, Space::Memory));
            let address = start.next_multiple_of(size);
            assert_eq!(mapped.address(), address);
            assert_eq!(bus.raw(bar(0)), address as u32 | MEM_64 | PREFETCHABLE);
            assert_eq!(bus.raw(bar(1)), (address >> 32) as u32);
        }
    }
}

/// Would catch a BAR that is none taken for one, a broken one that goes unnoticed, and a
/// failure that leaves all ones in the BAR, or the function deaf.
#[test]
fn what_is_no_bar_is_refused_and_left_as_it_was() {
    let none = "it is not implemented: no bit of it can be set";
    assert_eq!(refused(Function::new().set(4, 7), 0), format!("00:03.0: BAR 0: {none}"));
    assert!(refused(Function::new().bar(1, IO, 0), 1).contains(none));
    assert!(refused(Function::new().bar(1, MEM_64, 0), 1).contains(none));
    for (flags, mask) in [(0, 0xff0f_f000), (0, 0x0fff_f000), (IO, 0x0000_fe10)] {
        let said = refused(Function::new().set(4, 3).bar(5, flags, mask), 5);
        assert!(said.contains("no power of two: all ones written, mask 0x"), "{said}");
    }
    // 64 bits, of which the upper half is hardwired to zero, or has a gap.
    for upper in [0, 0x0000_ffff] {
        let said = refused(Function::new().bar(0, MEM_64, 0xffff_0000).bar(1, 0, upper), 0);
        assert!(said.contains("no power of two"), "{said}");
    }
    let said = refused(Function::new().bar(5, MEM_64, 0xffff_0000), 5);
    assert!(said.contains("64 bits wide, but no register is left"), "{said}");
    for number in [6, 255] {
        let said = refused(&mut Function::new(), number);
        assert_eq!(said, format!("00:03.0: BAR {number}: functions have BARs 0 to 5"));
    }
}

/// Would catch a BAR of a full window that stays sized, with what was in it lost.
#[test]
fn a_bar_without_room_is_refused_and_left_as_it_was() {
    let mut function = Function::new();
    function.bar(0, MEM_64, 0xf000_0000).bar(1, 0, !0).bar(2, 0, 0xe000_0000).set(4, 6);
    let (bus, device) = FakeBus::with(&mut function);
    bus.change(|function| {
        function.set(bar(0), 0x4000_0000 | MEM_64).set(bar(1), 0x12).set(bar(2), 0x2000_0000);
    });
    assert_eq!(
        fails_and_leaves_no_trace(&bus, &device, 2),
        "00:03.0: BAR 2: no room for a BAR of 0x20000000 bytes in the Memory window"
    );
    let whole = device.map_bar(0).unwrap();
    bus.change(|function| _ = function.bar(3, 0, 0xffff_f000));
    assert!(fails_and_leaves_no_trace(&bus, &device, 3).contains("no room for a BAR of 0x1000"));
    drop(whole);
    assert_eq!(device.map_bar(3).unwrap().address(), 0xe000_0000);
}

/// Would catch a register that forgets what it was told, in either half: QEMU would map
/// the BAR elsewhere. Its place in the window must be free again.
#[test]
fn a_bar_that_does_not_keep_its_address_is_refused() {
    // No window of this kind suits a BAR with 16 bits of ports.
    let (bus, device) = FakeBus::windowed(
        (0x1_0000, 0x1_0000),
        (0x40_0000_0000, 0x40_0000_0000),
        Function::new().set(4, 3).bar(0, IO, 0xff00).bar(1, 0, 0xffff_0000).bar(2, IO, !3),
    );
    assert_eq!(
        fails_and_leaves_no_trace(&bus, &device, 0),
        "00:03.0: BAR 0: wrote 0x10000, read back 0x0"
    );
    // A memory BAR of 32 bits cannot be at an address of 39.
    assert_eq!(
        fails_and_leaves_no_trace(&bus, &device, 1),
        "00:03.0: BAR 1: wrote 0x4000000000, read back 0x0"
    );
    assert_eq!(device.map_bar(2).unwrap().address(), 0x1_0000, "room was lost");
}

/// Would catch two BARs at one address, one that is not aligned to its size, a mapping that
/// switches off the one before, and space that is lost.
#[test]
fn several_bars_have_places_of_their_own() {
    let mut function = Function::new();
    function.bar(0, 0, 0xffff_f000).bar(1, IO, 0xffc0).bar(2, 0, 0xfff0_0000);
    function.bar(3, MEM_64, 0xffff_ff00).bar(4, 0, !0).bar(5, IO, 0xfffc);
    let (bus, device) = FakeBus::with(&mut function);
    let mapped = [0, 1, 2, 3, 5].map(|number| device.map_bar(number).unwrap());
    let places = mapped.each_ref().map(|bar| bar.address());
    assert_eq!(places, [0xe000_0000, 0x1000, 0xe010_0000, 0xe000_1000, 0x1040]);
    assert_eq!(bus.raw(regs::COMMAND), 3);
    assert_eq!(bus.raw(bar(0)), 0xe000_0000);
    assert_eq!(bus.raw(bar(1)), 0x1001);
    let [first, ..] = mapped;
    let copy = first.clone();
    drop(first);
    let again = || device.map_bar(0).unwrap().address();
    assert_eq!(again(), 0xe000_0000 + 0x2000, "a copy still holds the place");
    drop(copy);
    assert_eq!(again(), 0xe000_0000);
}

/// Would catch an access that goes to another offset, width or space, and one beyond the
/// BAR, where another device may be.
#[test]
fn accesses_stay_inside_the_bar() {
    let mut function = Function::new();
    let (bus, device) = FakeBus::with(function.bar(0, IO, 0xfff0).bar(1, 0, 0xffff_fff0));
    let (ports, memory) = (device.map_bar(0).unwrap(), device.map_bar(1).unwrap());
    assert_eq!(ports.read(2, Width::Word).unwrap(), 0x5a);
    assert_eq!(bus.last.take(), Some((Space::Io, 0x1002, Width::Word, None)));
    memory.write(8, Width::Quad, !1).unwrap();
    assert_eq!(bus.last.take(), Some((Space::Memory, 0xe000_0008, Width::Quad, Some(!1))));
    for (offset, width) in [(16, Width::Byte), (13, Width::Long), (u64::MAX, Width::Byte)] {
        let expected =
            format!("{} bytes at offset {offset:#x} are not in a BAR of 0x10 bytes", width.bytes());
        assert_eq!(memory.read(offset, width).unwrap_err().to_string(), expected);
        assert_eq!(ports.write(offset, width, 0).unwrap_err().to_string(), expected);
    }
    assert_eq!(bus.last.take(), None);
}

/// Would catch an error of QEMU that is hidden by one of tidying up, and room that is lost
/// by it.
#[test]
fn an_error_of_the_bus_comes_through_at_every_step() {
    let (bus, device) = FakeBus::with(Function::new().bar(0, MEM_64, !0xf).bar(1, 0, !0));
    let mut steps = 0;
    let mapped = loop {
        bus.left.set(steps);
        match device.map_bar(0) {
            Ok(bar) => break bar,
            Err(e) => assert_eq!(e.to_string(), "the bus broke"),
        }
        bus.left.set(usize::MAX);
        bus.change(|function| _ = function.set(regs::COMMAND, 0));
        steps += 1;
    };
    assert!(steps > 8, "{steps}");
    assert_eq!(mapped.address(), 0xe000_0000);
}
