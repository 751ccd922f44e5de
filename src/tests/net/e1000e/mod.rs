//! Intel's 82574L: interrupts as messages, by queue (82574 GbE Controller Family Datasheet 3.4).

mod control;
mod receive;

use std::rc::Rc;
use std::time::Duration;

use crate::drivers::net::e1000::{self, ICR, ICS, IMC, IMS};
use crate::drivers::net::e1000e::{E1000e, IVAR, OTHER, RXQ0, TXQ0};
use crate::qemu::Vm;
use crate::qos::pci::msix::{Control, Msix};
use crate::qos::registers::RegistersExt;
use crate::qos::{settle, wait_until};
use crate::tests::net::gigabit::basics;
use crate::tests::pci::messages;
use crate::{Error, Result, tests};

tests!(E1000e, "e1000e-tests":
    init,
    tx,
    rx,
    multiple_transfers,
    hotplug,
    msix,
    messages,
    throttled,
    msi,
);

/// Would catch a card that cannot be set up, and one whose address or link are wrong when it is.
fn init(nic: &E1000e, vm: &Rc<Vm>) -> Result<()> {
    basics::init(&nic.nic(), vm)
}

/// Would catch a frame that is not sent, or sent otherwise than it is in memory.
fn tx(nic: &E1000e, vm: &Rc<Vm>) -> Result<()> {
    basics::tx(&nic.nic(), vm)
}

/// Would catch a frame that is not received, or changed on the way.
fn rx(nic: &E1000e, vm: &Rc<Vm>) -> Result<()> {
    basics::rx(&nic.nic(), vm)
}

/// Would catch rings that wrap at another place than their end, in turns of both directions.
fn multiple_transfers(nic: &E1000e, vm: &Rc<Vm>) -> Result<()> {
    basics::multiple_transfers(&nic.nic(), vm)
}

/// Would catch a card that cannot be plugged in while the machine runs, is another then, or cannot
/// be unplugged.
fn hotplug(nic: &E1000e, vm: &Rc<Vm>) -> Result<()> {
    basics::hotplug(&nic.nic(), vm, "e1000e")
}

/// Would catch a cause that is sent as another's message or not at all, one that is sent although
/// it or its vector is masked, and a message that is lost while its vector is masked.
fn msix(nic: &E1000e, vm: &Rc<Vm>) -> Result<()> {
    let (device, registers) = (&nic.plug.device, &nic.plug.registers);
    if !device.bus().messages_reach_memory() {
        return Err(Error::skipped("on this bus a message to RAM does not get there"));
    }
    device.bus().reaches_ram()?;
    let control = Control::find(device, &device.capabilities()?)?;
    let control = control.ok_or_else(|| Error::failed("the device has no MSI-X"))?;
    assert_eq!(control.size(), 5, "the number of vectors (7.1.2.2)");
    let messages = vm.ram().alloc(12, 4)?;
    let msix = Msix::enable(&control)?;
    for vector in 0..3u16 {
        let at = messages.address().0 + 4 * u64::from(vector);
        msix.set_message(vector, at, 0x5500 + u32::from(vector))?;
    }
    // Each cause has a vector of another number than its own.
    let causes = [(RXQ0, 2), (TXQ0, 0), (OTHER, 1)];
    registers.set(IVAR, 0xa | 0x8 << 8 | 0x9 << 16)?;
    let sent = |vector: usize| -> Result<bool> {
        settle(vm)?;
        let value = messages.read_le32(4 * vector)?;
        messages.write_le32(4 * vector, 0)?;
        assert!([0, 0x5500 + vector as u32].contains(&value), "message {vector}: {value:#x}");
        Ok(value != 0)
    };
    let silent = |when: &str| -> Result<()> {
        for vector in 0..3 {
            assert!(!sent(vector)?, "message {vector} {when}");
        }
        Ok(())
    };
    registers.set(IMC, !0)?;
    for (cause, vector) in causes {
        let what = format!("for cause {cause:#x}");
        msix.mask(vector, false)?;
        registers.set(ICS, cause)?;
        silent(&format!("{what}, the cause masked"))?;
        registers.set(IMC, !0)?;
        registers.set(ICR, !0)?;

        registers.set(IMS, cause)?;
        registers.set(ICS, cause)?;
        assert!(sent(vector.into())?, "message {vector} {what}");
        silent(&format!("{what}, another"))?;
        assert!(!device.asserts_interrupt()?, "the pin {what}, with messages enabled");
        registers.set(ICR, !0)?;

        msix.mask(vector, true)?;
        registers.set(IMC, !0)?;
        registers.set(ICR, !0)?;
        registers.set(IMS, cause)?;
        registers.set(ICS, cause)?;
        // Interrupts are throttled (EITR, 10.2.4.8).
        let pending = || Ok(msix.pending()? == [vector]);
        wait_until(vm, &format!("message {vector} to be pending {what}"), pending)?;
        silent(&format!("{what}, the vector masked"))?;
        msix.mask(vector, false)?;
        assert!(sent(vector.into())?, "message {vector} {what}, unmasked");
        assert!(msix.pending()?.is_empty(), "pending {what}, unmasked");
        registers.set(IMC, !0)?;
        registers.set(ICR, !0)?;
        msix.mask(vector, true)?;
    }
    Ok(())
}

/// Has the device send for cause `cause`, and waits until it may send again (EITR, 10.2.4.8).
fn cause(nic: &E1000e, vm: &Vm, cause: u32) -> Result<()> {
    let registers = &nic.plug.registers;
    registers.set(IMC, !0)?;
    registers.set(ICR, !0)?;
    registers.set(IVAR, 0x8 | 0x9 << 8 | 0xa << 16)?;
    registers.set(IMS, cause)?;
    registers.set(ICS, cause)?;
    vm.qtest().clock_step(Some(Duration::from_millis(1)))?;
    Ok(())
}

/// Would catch what the checks of every function's MSI-X would.
fn messages(nic: &E1000e, vm: &Rc<Vm>) -> Result<()> {
    let device = &nic.plug.device;
    let control = Control::find(device, &device.capabilities()?)?;
    let control = control.ok_or_else(|| Error::skipped("the function has no MSI-X here"))?;
    cause(nic, vm, LSC)?;
    wait_until(vm, "the pin", || device.asserts_interrupt())?;
    let msix = Msix::enable(&control)?;
    assert!(!device.asserts_interrupt()?, "the pin when MSI-X is enabled");
    drop(msix);
    nic.plug.registers.set(ICR, !0)?;
    messages::check(device, vm, 1, || cause(nic, vm, TXQ0))
}

/// Would catch a throttling timer (ITR, 10.2.4.3) that the pin has started, and that takes itself
/// for one of a message when MSI-X is enabled before it is over: then no interrupt must come, nor
/// QEMU end, and messages come as always.
fn throttled(nic: &E1000e, vm: &Rc<Vm>) -> Result<()> {
    let (device, registers) = (&nic.plug.device, &nic.plug.registers);
    let control = Control::find(device, &device.capabilities()?)?;
    let control = control.ok_or_else(|| Error::skipped("the function has no MSI-X here"))?;
    registers.set(e1000::ITR, 1000)?;
    registers.set(IMS, LSC)?;
    for _ in 0..2 {
        registers.set(ICS, LSC)?;
        registers.get(ICR)?;
    }
    let msix = Msix::enable(&control)?;
    vm.qtest().clock_step(Some(Duration::from_millis(1)))?;
    assert!(!device.asserts_interrupt()?, "the pin, when the throttling is over");
    drop(msix);
    registers.set(ICR, !0)?;
    messages::check(device, vm, 1, || cause(nic, vm, TXQ0))
}

/// Would catch what the checks of every function's MSI would.
fn msi(nic: &E1000e, vm: &Rc<Vm>) -> Result<()> {
    messages::check_msi(&nic.plug.device, vm, || cause(nic, vm, LSC))
}

/// ICR, IMS, ICS: the link has changed.
const LSC: u32 = 1 << 2;
