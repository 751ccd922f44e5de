//! Intel's 82576 (82576EB Gigabit Ethernet Controller Datasheet 2.63): what QEMU's own graph tests
//! of it; sixteen queues are in `queues`, what receiving can be made to do in `receive`, messages in
//! `messages`, pools of virtual machines in `pools`. What it shares with its forerunners is in the
//! suite of these.

mod bench;
mod messages;
mod pools;
mod queues;
mod receive;

use std::rc::Rc;

use crate::drivers::net::igb::Igb;
use crate::qemu::Vm;
use crate::tests::net::gigabit::basics;
use crate::{Result, tests};

tests!(Igb, "igb-tests":
    init,
    tx,
    rx,
    multiple_transfers,
    hotplug,
);

/// Would catch a card that cannot be set up, and one whose address or link are wrong when it is.
fn init(nic: &Igb, vm: &Rc<Vm>) -> Result<()> {
    basics::init(&nic.nic(), vm)
}

/// Would catch a frame that is not sent, or sent otherwise than it is in memory.
fn tx(nic: &Igb, vm: &Rc<Vm>) -> Result<()> {
    basics::tx(&nic.nic(), vm)
}

/// Would catch a frame that is not received, or changed on the way.
fn rx(nic: &Igb, vm: &Rc<Vm>) -> Result<()> {
    basics::rx(&nic.nic(), vm)
}

/// Would catch rings that wrap at another place than their end, in turns of both directions.
fn multiple_transfers(nic: &Igb, vm: &Rc<Vm>) -> Result<()> {
    basics::multiple_transfers(&nic.nic(), vm)
}

/// Would catch a card that cannot be plugged in while the machine runs, is another then, or cannot
/// be unplugged.
fn hotplug(nic: &Igb, vm: &Rc<Vm>) -> Result<()> {
    basics::hotplug(&nic.nic(), vm, "igb")
}
