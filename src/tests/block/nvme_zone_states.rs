//! States of NVMe's zones: transitions, limits of open and active ones, reports of those in a state
//! (Zoned Namespace Command Set 1.1, whose sections are cited).

use std::rc::Rc;

use super::nvme_data::assert_code;
use super::nvme_zones::{State, ZONE, ZONED, ZONES, Zones, action};
use crate::drivers::block::nvme::Nvme;
use crate::drivers::block::nvme::command::status;
use crate::qemu::Vm;
use crate::{Result, tests};

tests!(Nvme, "nvme-zones-tests":
    transitions,
    all_zones = "all-zones",
    open_limit = "open-limit",
    active_limit = "active-limit",
    report_parts = "report-parts";
    with ZONED);

/// Would catch a transition between states of a zone that does not happen, or to another state, and
/// one that is not allowed and does (2.1.1.3).
fn transitions(nvme: &Nvme, vm: &Rc<Vm>) -> Result<()> {
    use State::{Closed, Empty, ExplicitlyOpen, Full, ImplicitlyOpen};
    use action::{CLOSE, FINISH, OFFLINE, OPEN, RESET};
    let zones = Zones::start(nvme, vm)?;
    let start = 7 * ZONE;
    // From each state, what each action leads to; none, where it is not allowed.
    for (from, to) in [
        (
            Empty,
            [
                (CLOSE, None),
                (FINISH, Some(Full)),
                (OPEN, Some(ExplicitlyOpen)),
                (RESET, Some(Empty)),
                (OFFLINE, None),
            ],
        ),
        (
            ImplicitlyOpen,
            [
                (CLOSE, Some(Closed)),
                (FINISH, Some(Full)),
                (OPEN, Some(ExplicitlyOpen)),
                (RESET, Some(Empty)),
                (OFFLINE, None),
            ],
        ),
        (
            ExplicitlyOpen,
            [
                (CLOSE, Some(Closed)),
                (FINISH, Some(Full)),
                (OPEN, Some(ExplicitlyOpen)),
                (RESET, Some(Empty)),
                (OFFLINE, None),
            ],
        ),
        (
            Closed,
            [
                (CLOSE, Some(Closed)),
                (FINISH, Some(Full)),
                (OPEN, Some(ExplicitlyOpen)),
                (RESET, Some(Empty)),
                (OFFLINE, None),
            ],
        ),
        (
            Full,
            [
                (CLOSE, None),
                (FINISH, Some(Full)),
                (OPEN, None),
                (RESET, Some(Empty)),
                (OFFLINE, None),
            ],
        ),
    ] {
        for (action, to) in to {
            let what = format!("{from:?}, action {action}");
            zones.done(start, RESET, &what)?;
            let written = if from == Empty { 0 } else { 4 };
            if from != Empty {
                assert_code(zones.write(start, 4, 0x44)?, status::SUCCESS, &what);
            }
            match from {
                Empty | ImplicitlyOpen => {}
                ExplicitlyOpen => zones.done(start, OPEN, &what)?,
                Closed => zones.done(start, CLOSE, &what)?,
                Full => zones.done(start, FINISH, &what)?,
            }
            zones.assert_zone(7, from, written, &what)?;
            let expected = if to.is_some() { status::SUCCESS } else { status::ZONE_TRANSITION };
            assert_code(zones.send(start, action, &what)?, expected, &what);
            let written = if to == Some(Empty) { 0 } else { written };
            zones.assert_zone(7, to.unwrap_or(from), written, &what)?;
            let data = if written == 0 { 0 } else { 0x44 };
            zones.assert_blocks(start, &[data; 4], &what)?;
        }
    }
    // Once it is closed, a write opens it again.
    zones.done(start, RESET, "a reset")?;
    assert_code(zones.write(start, 4, 1)?, status::SUCCESS, "a write");
    zones.done(start, CLOSE, "a close")?;
    assert_code(zones.write(start + 4, 4, 1)?, status::SUCCESS, "a write to a closed zone");
    zones.assert_zone(7, ImplicitlyOpen, 8, "after a write to a closed zone")
}

/// Would catch an action for all zones that leaves some out, or changes those it is not for.
fn all_zones(nvme: &Nvme, vm: &Rc<Vm>) -> Result<()> {
    let zones = Zones::start(nvme, vm)?;
    let fill = || -> Result<()> {
        zones.done(0, action::RESET | action::ALL, "a reset of all")?;
        assert_code(zones.write(10 * ZONE, 4, 1)?, status::SUCCESS, "a write");
        zones.done(10 * ZONE, action::CLOSE, "a close")?;
        assert_code(zones.write(20 * ZONE, 5, 1)?, status::SUCCESS, "a write");
        zones.done(30 * ZONE, action::OPEN, "an open")?;
        zones.done(40 * ZONE, action::FINISH, "a finish")
    };
    use State::{Closed, Empty, ExplicitlyOpen, Full, ImplicitlyOpen};
    // Closed, implicitly open, explicitly open and empty, full.
    for (action, expected) in [
        (action::CLOSE, [(Closed, 4), (Closed, 5), (Closed, 0), (Full, 0)]),
        (action::FINISH, [(Full, 4), (Full, 5), (Full, 0), (Full, 0)]),
        (action::RESET, [(Empty, 0), (Empty, 0), (Empty, 0), (Empty, 0)]),
    ] {
        fill()?;
        let what = format!("action {action} for all zones");
        zones.done(0, action | action::ALL, &what)?;
        for (zone, (state, written)) in [10, 20, 30, 40].into_iter().zip(expected) {
            zones.assert_zone(zone, state, written, &what)?;
        }
        zones.assert_zone(0, Empty, 0, &what)?;
        zones.assert_zone(ZONES - 1, Empty, 0, &what)?;
    }
    // Open for all is for those that are closed.
    zones.done(0, action::RESET | action::ALL, "a reset of all")?;
    for zone in [10, 11] {
        assert_code(zones.write(zone * ZONE, 1, 1)?, status::SUCCESS, "a write");
        zones.done(zone * ZONE, action::CLOSE, "a close")?;
    }
    zones.done(0, action::OPEN | action::ALL, "an open of all")?;
    zones.assert_zone(10, ExplicitlyOpen, 1, "an open of all")?;
    zones.assert_zone(11, ExplicitlyOpen, 1, "an open of all")?;
    zones.assert_zone(12, Empty, 0, "an open of all")?;
    zones.done(10 * ZONE, action::CLOSE, "a close")?;
    assert_code(zones.write(20 * ZONE, 1, 1)?, status::SUCCESS, "a write");
    zones.assert_zone(20, ImplicitlyOpen, 1, "a write")
}

/// Would catch more open zones than the namespace says (MOR), and one that is opened implicitly and
/// not closed again for another (2.1.1.4.1).
fn open_limit(nvme: &Nvme, vm: &Rc<Vm>) -> Result<()> {
    use State::{Closed, Empty, ExplicitlyOpen, ImplicitlyOpen};
    let zones = Zones::start(nvme, vm)?;
    zones.done(0, action::OPEN, "the first zone")?;
    zones.done(ZONE, action::OPEN, "the second zone")?;
    let completion = zones.send(2 * ZONE, action::OPEN, "the third zone")?;
    assert_code(completion, status::TOO_MANY_OPEN, "the third zone opened");
    assert_code(zones.write(2 * ZONE, 1, 1)?, status::TOO_MANY_OPEN, "the third zone written");
    zones.assert_zone(2, Empty, 0, "after what was refused")?;
    zones.assert_zone(0, ExplicitlyOpen, 0, "after what was refused")?;
    // Of zones that a write has opened, the controller closes one itself.
    zones.done(0, action::RESET | action::ALL, "a reset of all")?;
    assert_code(zones.write(0, 1, 1)?, status::SUCCESS, "a write");
    zones.done(ZONE, action::OPEN, "the second zone")?;
    assert_code(zones.write(2 * ZONE, 1, 1)?, status::SUCCESS, "the third zone written");
    zones.assert_zone(0, Closed, 1, "a write to a third zone")?;
    zones.assert_zone(1, ExplicitlyOpen, 0, "a write to a third zone")?;
    zones.assert_zone(2, ImplicitlyOpen, 1, "a write to a third zone")
}

/// Would catch more active zones than the namespace says (MAR): open and closed ones.
fn active_limit(nvme: &Nvme, vm: &Rc<Vm>) -> Result<()> {
    let zones = Zones::start(nvme, vm)?;
    for zone in 0..3 {
        assert_code(zones.write(zone * ZONE, 1, 1)?, status::SUCCESS, "a write");
        zones.done(zone * ZONE, action::CLOSE, "a close")?;
    }
    let what = "a fourth active zone";
    assert_code(zones.write(3 * ZONE, 1, 1)?, status::TOO_MANY_ACTIVE, what);
    assert_code(zones.append(3 * ZONE, 1, 1)?, status::TOO_MANY_ACTIVE, what);
    assert_code(zones.send(3 * ZONE, action::OPEN, what)?, status::TOO_MANY_ACTIVE, what);
    zones.assert_zone(3, State::Empty, 0, what)?;
    // One that is full is not active any more.
    zones.done(ZONE, action::FINISH, "a finish")?;
    assert_code(zones.write(3 * ZONE, 1, 1)?, status::SUCCESS, "a write after a finish");
    assert_code(zones.write(4 * ZONE, 1, 1)?, status::TOO_MANY_ACTIVE, what);
    zones.done(0, action::RESET, "a reset")?;
    assert_code(zones.write(4 * ZONE, 1, 1)?, status::SUCCESS, "a write after a reset");
    Ok(())
}

/// Would catch a report that counts zones which were not asked for, begins at another, or writes more
/// than it was given room for (3.4.2.2).
fn report_parts(nvme: &Nvme, vm: &Rc<Vm>) -> Result<()> {
    /// Zone Receive Action Specific: a state of which zones are; and Partial Report.
    const fn only(state: u32) -> u32 {
        state << 8
    }
    const PARTIAL: u32 = 1 << 16;
    let zones = Zones::start(nvme, vm)?;
    assert_code(zones.write(10 * ZONE, 4, 1)?, status::SUCCESS, "a write");
    zones.done(20 * ZONE, action::OPEN, "an open")?;
    for zone in [30, 31, 200] {
        zones.done(zone * ZONE, action::FINISH, "a finish")?;
    }
    for (first, most, bits, count, expected) in [
        (0, 8, only(2), 1, &[10][..]),
        (0, 8, only(3), 1, &[20]),
        (0, 8, only(4), 0, &[]),
        (0, 8, only(5), 3, &[30, 31, 200]),
        (31, 8, only(5), 2, &[31, 200]),
        (32, 8, only(5), 1, &[200]),
        (0, 2, only(5), 3, &[30, 31]),
        (0, 2, only(5) | PARTIAL, 2, &[30, 31]),
        (0, 3, 0, ZONES, &[0, 1, 2]),
        (100, 3, PARTIAL, 3, &[100, 101, 102]),
        (0, 2, only(1), ZONES - 5, &[0, 1]),
    ] {
        let what = format!("from {first} on, room for {most}, dword 13 {bits:#x}");
        let (found, list) = zones.report(first * ZONE, most, bits)?;
        let list: Vec<u64> = list.iter().map(|zone| zone.start / ZONE).collect();
        assert_eq!((found, &*list), (count, expected), "{what}");
    }
    // The room that there is, and not a byte more.
    for length in [64, 128, 192] {
        let (completion, bytes) = zones.receive(0, length, 0)?;
        assert_code(completion, status::SUCCESS, "a short report");
        assert!(bytes[length..].iter().all(|byte| *byte == 0xa5), "behind {length} bytes");
    }
    Ok(())
}
