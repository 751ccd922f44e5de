//! The cases that QEMU's own graph has of its later gigabit controllers: set up, a frame out, a frame
//! in, many in turn, plugged in while the machine runs.

use std::rc::Rc;

use serde_json::json;

use crate::drivers::net::e1000;
use crate::drivers::net::e1000::nic::GigabitNic;
use crate::qemu::Vm;
use crate::qos::net::{self, BROADCAST, MAC, PEER, Wire, assert_frame};
use crate::qos::nic::{Events, Nic};
use crate::qos::pci::hotplug;
use crate::qos::registers::RegistersExt;
use crate::qos::wait_until;
use crate::{Error, Result};

/// The far end of the cable of the NIC, which is started.
fn started(nic: &GigabitNic, vm: &Rc<Vm>) -> Result<Wire> {
    nic.device().bus().reaches_ram()?;
    let wire = Wire::new(vm)?;
    nic.start(vm)?;
    Ok(wire)
}

/// Sends a frame, which must come out of the cable whole.
fn send(vm: &Vm, nic: &GigabitNic, wire: &Wire, number: u8) -> Result<()> {
    let out = net::frame(BROADCAST, MAC, 60 + 11 * usize::from(number), number);
    nic.queue(&out)?;
    nic.send()?;
    let what = format!("frame {number} out");
    assert_frame(&wire.receive(&what)?, &out, &what);
    wait_until(vm, &format!("{what}, reported"), || Ok(nic.sent()? == 1))
}

/// Receives a frame, which must come in whole.
fn receive(vm: &Vm, nic: &GigabitNic, wire: &Wire, number: u8) -> Result<()> {
    let incoming = net::frame(MAC, PEER, 60 + 13 * usize::from(number), number);
    wire.send(&incoming)?;
    let what = format!("frame {number} in");
    net::wait_received(vm, &what, || Ok(nic.arrived()? == 1))?;
    assert_frame(&nic.take()?, &incoming, &what);
    nic.recycle()
}

/// Would catch a card that cannot be set up, and one whose address or link are wrong when it is.
pub(in crate::tests::net) fn init(nic: &GigabitNic, vm: &Rc<Vm>) -> Result<()> {
    let wire = started(nic, vm)?;
    assert_eq!(nic.station_address()?, MAC, "the station's address");
    assert_eq!(nic.link_is_up()?, Some(true), "the link");
    assert_eq!(nic.events()?, Events::NONE, "events");
    wire.assert_silent("after the card was set up")
}

/// Would catch a frame that is not sent, or sent otherwise than it is in memory.
pub(in crate::tests::net) fn tx(nic: &GigabitNic, vm: &Rc<Vm>) -> Result<()> {
    let wire = started(nic, vm)?;
    send(vm, nic, &wire, 1)
}

/// Would catch a frame that is not received, or changed on the way.
pub(in crate::tests::net) fn rx(nic: &GigabitNic, vm: &Rc<Vm>) -> Result<()> {
    let wire = started(nic, vm)?;
    receive(vm, nic, &wire, 2)
}

/// Would catch rings that wrap at another place than their end, in turns of both directions.
pub(in crate::tests::net) fn multiple_transfers(nic: &GigabitNic, vm: &Rc<Vm>) -> Result<()> {
    let wire = started(nic, vm)?;
    for number in 0..64 {
        send(vm, nic, &wire, number)?;
        receive(vm, nic, &wire, number)?;
    }
    Ok(())
}

/// Would catch a card that cannot be plugged in while the machine runs, is another then, or cannot
/// be unplugged.
pub(in crate::tests::net) fn hotplug(nic: &GigabitNic, vm: &Rc<Vm>, driver: &str) -> Result<()> {
    let bus = nic.device().bus();
    let Some(slot) = bus.free_slot() else {
        return Err(Error::skipped("this bus has no slot left for another device"));
    };
    for id in ["hot0", "hot1"] {
        let mac = json!({ "mac": "02:99:88:77:66:55", "romfile": "" });
        let Some(function) = hotplug::plug(bus, vm, slot, (id, driver), mac)? else {
            // The root bus of PCI Express takes none.
            return Ok(());
        };
        assert_eq!(function.ids(), nic.device().ids(), "vendor and device");
        let registers = function.map_bar(0)?;
        function.enable()?;
        let address = (registers.get(e1000::RAL0)?, registers.get(e1000::RAH0)? & 0xffff);
        assert_eq!(address, (0x7788_9902, 0x5566), "the new card's address");
        hotplug::unplug(vm, &function, id, &[])?;
    }
    Ok(())
}
