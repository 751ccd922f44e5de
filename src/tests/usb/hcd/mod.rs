//! USB host controllers of every kind: ports, transfers of every type, devices that come and go,
//! interrupts, stop and reset (USB 2.0, whose sections are cited). What is one controller's alone
//! is in the suite of that.

mod control;
mod hid;
mod hostile;
mod hub;
mod ports;
mod schedule;
mod storage;

use std::rc::Rc;
use std::time::Duration;

use crate::Result;
use crate::qemu::Vm;
use crate::qos::usb::models::{Model, Plugged, plug};
use crate::qos::usb::{Completion, Ticket, UsbHcd};
use crate::qos::wait_until;

/// Starts the controller, and plugs a device in.
fn with_device(hcd: &dyn UsbHcd, number: usize, model: Model) -> Result<Plugged> {
    hcd.reaches_ram()?;
    hcd.start()?;
    // A machine into which something was plugged cannot move.
    hcd.vm().set_up_ends()?;
    plug(hcd, number, model)
}

/// Lets so many frames of a millisecond pass (USB 2.0, 7.1.12).
pub(super) fn frames(hcd: &dyn UsbHcd, count: usize) -> Result<()> {
    for _ in 0..count {
        hcd.vm().qtest().clock_step(Some(Duration::from_millis(1)))?;
    }
    Ok(())
}

/// Waits for the end of a transfer that was submitted.
pub(super) fn ended(hcd: &dyn UsbHcd, ticket: Ticket, what: &str) -> Result<Completion> {
    let mut completion = None;
    wait_until(hcd.vm(), what, || {
        completion = hcd.completion(ticket)?;
        Ok(completion.is_some())
    })?;
    Ok(completion.expect("the wait has ended with one"))
}

/// Takes a device away, and the state of its port.
fn gone(hcd: &dyn UsbHcd, vm: &Rc<Vm>, plugged: Plugged) -> Result<()> {
    let port = plugged.port(hcd);
    plugged.unplug(vm)?;
    hcd.acknowledge_port(port)
}
