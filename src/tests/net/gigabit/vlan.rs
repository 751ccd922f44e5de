//! Tags of IEEE 802.1Q: inserted, stripped and filtered (chapter 9).

use std::rc::Rc;

use super::advanced;
use super::bench::{Bench, RECEIVE, WHOLE};
use crate::drivers::net::e1000::nic::GigabitNic;
use crate::drivers::net::e1000::{self, CTRL, RCTL, VFTA};
use crate::qemu::{Version, Vm};
use crate::qos::net::{LONGEST, MAC, PEER, frame};
use crate::qos::packets::tagged;
use crate::{Error, Result, tests};

tests!(GigabitNic, "gigabit-tests":
    strip = "vlan-strip",
    insert = "vlan-insert",
    filter = "vlan-filter",
);

/// CTRL: tags are inserted and stripped.
const VME: u32 = 1 << 30;
/// RCTL: tags are filtered.
const VFE: u32 = 1 << 18;
/// Descriptor command: insert the tag.
const VLE: u8 = 1 << 6;
/// Receive descriptor status: the frame had a tag.
const VP: u8 = 1 << 3;

/// A bench that knows the tag's type, which is written whether a reset sets it or not.
fn bench<'a>(nic: &'a GigabitNic, vm: &'a Rc<Vm>) -> Result<Bench<'a>> {
    let bench = Bench::new(nic, vm, 2048)?;
    bench.set(e1000::VET, 0x8100)?;
    Ok(bench)
}

fn set_mode(bench: &Bench, on: bool) -> Result<()> {
    let control = bench.get(CTRL)?;
    bench.set(CTRL, if on { control | VME } else { control & !VME })
}

/// Would catch a tag that is stripped without leave or not with it, is lost or not reported, and
/// a frame that is changed by that.
fn strip(nic: &GigabitNic, vm: &Rc<Vm>) -> Result<()> {
    if nic.is_82574() && vm.emulator().capabilities.version < Version::new(6, 0, 0) {
        return Err(Error::skipped("e1000e: QEMU 5.2 loses the tag that it strips"));
    }
    let bench = bench(nic, vm)?;
    for on in [false, true, false] {
        set_mode(&bench, on)?;
        for (length, tag) in [(60, 0x0123), (61, 0xe001), (LONGEST, 0xffff), (300, 0x6fed)] {
            let what = format!("tag {tag:#x}, {length} bytes, stripping {on}");
            let plain = frame(MAC, PEER, length, 7);
            let sent = tagged(&plain, tag);
            let got = bench.through(&sent, &what)?.remove(0);
            let expected = if on { &plain } else { &sent };
            assert!(got.data == *expected, "{what}: {} bytes", got.data.len());
            assert_eq!(got.status & VP != 0, on, "{what}: the status {:#x}", got.status);
            if on {
                assert_eq!(got.special, tag, "{what}: the tag");
            }
            let got = bench.through(&plain, &what)?.remove(0);
            assert!(got.data == plain, "{what}: a frame without a tag");
            assert_eq!(got.status & VP, 0, "{what}: a frame without a tag");
        }
    }
    Ok(())
}

/// Would catch a tag that is inserted without leave, at another place or with other bits, or not
/// although it should be.
fn insert(nic: &GigabitNic, vm: &Rc<Vm>) -> Result<()> {
    let bench = bench(nic, vm)?;
    // The 82576 inserts what a descriptor asks for, whatever its mode (7.4.2).
    for on in [nic.is_82576(), true] {
        set_mode(&bench, on)?;
        for (length, tag) in [(60, 0x0123u16), (61, 0xe001), (LONGEST, 0xffff), (300, 0x6fed)] {
            for asked in [false, true] {
                let what = format!("tag {tag:#x}, {length} bytes, inserting {on}, asked {asked}");
                let plain = frame(PEER, MAC, length, 7);
                let command = u64::from(WHOLE | if asked { VLE } else { 0 }) << 24;
                let bits = match nic.is_82576() {
                    false => command | u64::from(tag) << 48,
                    true => {
                        bench.transmit.put_raw(advanced::places(tag), advanced::kind(None, 0))?;
                        command
                    }
                };
                let at = bench.queue(&plain, bits)?;
                bench.tell(at)?;
                let got = bench.wire.receive(&what)?;
                let expected = if on && asked { tagged(&plain, tag) } else { plain };
                assert!(got == expected, "{what}: {}", hex::encode(&got[..20]));
            }
        }
    }
    Ok(())
}

/// Would catch a tag that passes although its bit in the table is clear or does not although it
/// is set, and frames without a tag that the filter holds back (9.3).
fn filter(nic: &GigabitNic, vm: &Rc<Vm>) -> Result<()> {
    let bench = bench(nic, vm)?;
    set_mode(&bench, false)?;
    let marker = frame(MAC, PEER, 99, 0x55);
    let ids = [0u16, 1, 31, 32, 0x7a5, 0xfff];
    for index in 0..128 {
        bench.set(VFTA.nth(index, 4), 0)?;
    }
    let passes = |id: u16, what: &str| -> Result<bool> {
        // Priority bits are not looked at.
        let sent = tagged(&frame(MAC, PEER, 70, 1), id | 0xa000);
        bench.comes(&sent, &marker, what)
    };
    for id in ids {
        assert!(passes(id, "without the filter")?, "id {id:#x} without the filter");
    }
    bench.set(RCTL, RECEIVE | VFE)?;
    for id in ids {
        assert!(!passes(id, "an empty table")?, "id {id:#x} with an empty table");
    }
    for own in ids {
        let register = VFTA.nth(u64::from(own >> 5), 4);
        bench.set(register, 1 << (own & 31))?;
        for id in ids {
            let what = format!("id {id:#x}, {own:#x} in the table");
            assert_eq!(passes(id, &what)?, id == own, "{what}");
        }
        bench.set(register, 0)?;
    }
    bench.set(RCTL, RECEIVE)?;
    assert!(passes(5, "the filter off again")?, "with the filter off again");
    Ok(())
}
