//! The PHY behind MDI Control (13.4.7, 13.8; IEEE 802.3, 22.2.4).

use std::rc::Rc;
use std::time::Duration;

use super::bench::Bench;
use crate::drivers::net::e1000::nic::GigabitNic;
use crate::drivers::net::e1000::{self, ICR, MDIC, STATUS};
use crate::qemu::Vm;
use crate::qos::net::{MAC, PEER, frame};
use crate::qos::wait_until;
use crate::{Error, Result, tests};

tests!(GigabitNic, "gigabit-tests":
    registers = "phy-registers",
    autonegotiation,
    loopback,
);

const WRITE: u32 = 1 << 26;
const READ: u32 = 2 << 26;
/// The access is over; interrupt then; it failed.
const READY: u32 = 1 << 28;
const INTERRUPT: u32 = 1 << 29;
const ERROR: u32 = 1 << 30;
/// The cause of that interrupt.
const ICR_MDAC: u32 = 1 << 9;
/// STATUS: the link is up.
const STATUS_LU: u32 = 1 << 1;

/// Registers of every PHY.
const CONTROL: u32 = 0;
const BASIC_STATUS: u32 = 1;
const ID1: u32 = 2;
const ADVERTISEMENT: u32 = 4;
/// Control: loopback, auto-negotiation on, and started anew.
const LOOPBACK: u16 = 1 << 14;
const AUTO: u16 = 1 << 12;
const RESTART: u16 = 1 << 9;
/// Basic status: the link is up, auto-negotiation is done.
const LINK: u16 = 1 << 2;
const DONE: u16 = 1 << 5;

/// Accesses a register of the PHY at `address`; returns what MDIC then is.
fn access(bench: &Bench, operation: u32, address: u32, register: u32, data: u32) -> Result<u32> {
    let request = operation | address << 21 | register << 16 | data;
    bench.set(MDIC, request)?;
    let mut value = 0;
    wait_until(bench.vm, "the end of an MDI access", || {
        value = bench.get(MDIC)?;
        Ok(value & READY != 0)
    })?;
    let kept = 0x0fff_0000;
    assert_eq!(value & kept, request & kept, "MDIC after {request:#x}: {value:#x}");
    Ok(value)
}

fn read(bench: &Bench, register: u32) -> Result<u16> {
    let value = access(bench, READ, 1, register, 0)?;
    match value & ERROR {
        0 => Ok(value as u16),
        _ => Err(Error::failed(format!("PHY register {register}: MDIC {value:#x}"))),
    }
}

fn write(bench: &Bench, register: u32, value: u16) -> Result<()> {
    access(bench, WRITE, 1, register, value.into()).map(drop)
}

/// Would catch an identification that is another's, a register that is not kept or written
/// although it is read-only, an interrupt that comes without being asked for or not although it
/// is, and an answer for a PHY that is not there.
fn registers(nic: &GigabitNic, vm: &Rc<Vm>) -> Result<()> {
    let bench = Bench::new(nic, vm, 2048)?;
    // Marvell's, or that of the 82576 itself (8.24).
    let maker = if nic.is_82576() { 0x02a8 } else { 0x0141 };
    assert_eq!(read(&bench, ID1)?, maker, "the PHY's maker");
    let advertised = read(&bench, ADVERTISEMENT)?;
    assert_eq!(advertised & 0x1f, 1, "the selector of IEEE 802.3: {advertised:#x}");
    for value in [advertised ^ 0x0400, advertised] {
        write(&bench, ADVERTISEMENT, value)?;
        assert_eq!(read(&bench, ADVERTISEMENT)?, value, "the advertisement, written");
    }
    let status = read(&bench, BASIC_STATUS)?;
    write(&bench, ID1, !maker)?;
    write(&bench, BASIC_STATUS, !status)?;
    assert_eq!(read(&bench, ID1)?, maker, "the identification, written");
    assert_eq!(read(&bench, BASIC_STATUS)?, status, "the status, written");
    assert_eq!(status & LINK, LINK, "the link in the status {status:#x}");
    bench.get(ICR)?;
    read(&bench, ID1)?;
    assert_eq!(bench.get(ICR)? & ICR_MDAC, 0, "a cause that was not asked for");
    access(&bench, READ | INTERRUPT, 1, ID1, 0)?;
    assert_eq!(bench.get(ICR)? & ICR_MDAC, ICR_MDAC, "the cause of an access");
    bench.set(MDIC, READ | 3 << 21 | ID1 << 16)?;
    let other = bench.get(MDIC)?;
    assert_eq!(other & ERROR, ERROR, "MDIC of a PHY that is not there: {other:#x}");
    Ok(())
}

/// Would catch a link that does not go down and up when it is negotiated anew, or a change of it
/// that is not reported.
fn autonegotiation(nic: &GigabitNic, vm: &Rc<Vm>) -> Result<()> {
    let bench = Bench::new(nic, vm, 2048)?;
    assert_eq!(bench.get(STATUS)? & STATUS_LU, STATUS_LU, "the link at first");
    bench.get(ICR)?;
    write(&bench, CONTROL, AUTO | RESTART)?;
    let control = read(&bench, CONTROL)?;
    assert_eq!(control & RESTART, 0, "the restart bit clears itself: {control:#x}");
    assert_eq!(bench.get(STATUS)? & STATUS_LU, 0, "the link while it is negotiated");
    assert_eq!(read(&bench, BASIC_STATUS)? & (LINK | DONE), 0, "the PHY meanwhile");
    bench.get(ICR)?;
    bench.step(Duration::from_millis(499))?;
    assert_eq!(bench.get(STATUS)? & STATUS_LU, 0, "the link before that is over");
    bench.step(Duration::from_millis(100))?;
    assert_eq!(bench.get(STATUS)? & STATUS_LU, STATUS_LU, "the link after that");
    assert_eq!(read(&bench, BASIC_STATUS)? & (LINK | DONE), LINK | DONE, "the PHY after that");
    assert_eq!(bench.get(ICR)? & e1000::ICR_LSC, e1000::ICR_LSC, "the cause of the link");
    bench.through(&frame(MAC, PEER, 60, 1), "a frame after that").map(drop)
}

/// Would catch a frame that goes out although the PHY loops it back, or that does not come back.
fn loopback(nic: &GigabitNic, vm: &Rc<Vm>) -> Result<()> {
    let bench = Bench::new(nic, vm, 2048)?;
    let control = read(&bench, CONTROL)?;
    write(&bench, CONTROL, control & !AUTO | LOOPBACK)?;
    let own = frame(MAC, PEER, 100, 1);
    bench.send(&own)?;
    assert!(bench.take("a frame that is looped back")?.data == own, "what came back");
    bench.wire.assert_silent("while frames are looped back")?;
    write(&bench, CONTROL, control)?;
    bench.send(&own)?;
    assert!(bench.wire.receive("a frame after that")? == own, "a frame after that");
    Ok(())
}
