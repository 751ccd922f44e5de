//! EHCI's own: what its status tells, the doorbell, the schedules' status (EHCI 1.0).

use std::rc::Rc;
use std::time::Duration;

use crate::drivers::usb::ehci::{self as ehci, Ehci};
use crate::qemu::Vm;
use crate::qos::registers::RegistersExt;
use crate::qos::usb::UsbHcd;
use crate::qos::usb::models::{TABLET, plug};
use crate::qos::wait_until;
use crate::{Result, tests};

tests!(Ehci, "ehci-tests":
    port_change = "port-change",
    doorbell,
    rollover,
    schedules,
    unconfigured,
);

/// Would catch a device that comes or goes without the controller telling it, and an interrupt for
/// that which is masked and comes, or is not and does not.
fn port_change(hcd: &Ehci, vm: &Rc<Vm>) -> Result<()> {
    UsbHcd::reaches_ram(hcd)?;
    hcd.start()?;
    let registers = hcd.registers();
    let change = ehci::STATUS_PORT;
    for mask in [0, change, 0x3f & !change, 0x3f] {
        registers.set(ehci::INTERRUPTS, mask)?;
        registers.set(ehci::STATUS, ehci::STATUS_ALL)?;
        let told = |what: &str| -> Result<()> {
            wait_until(vm, what, || Ok(registers.get(ehci::STATUS)? & change != 0))?;
            let asserted = hcd.device.asserts_interrupt()?;
            assert_eq!(asserted, mask & change != 0, "{what}, mask {mask:#x}");
            registers.set(ehci::STATUS, change)?;
            assert_eq!(registers.get(ehci::STATUS)? & change, 0, "{what}, acknowledged");
            assert!(!hcd.device.asserts_interrupt()?, "{what}, acknowledged, mask {mask:#x}");
            Ok(())
        };
        let plugged = plug(hcd, 2, TABLET)?;
        told("a device that has come")?;
        plugged.unplug(vm)?;
        told("a device that has gone")?;
        hcd.acknowledge_port(2)?;
    }
    registers.set(ehci::INTERRUPTS, 0)
}

/// Would catch a doorbell that is not answered, or is answered without being rung (4.8.2).
fn doorbell(hcd: &Ehci, vm: &Rc<Vm>) -> Result<()> {
    UsbHcd::reaches_ram(hcd)?;
    hcd.start()?;
    let registers = hcd.registers();
    let advance = ehci::STATUS_ADVANCE;
    registers.set(ehci::INTERRUPTS, advance)?;
    for round in 0..3 {
        vm.qtest().clock_step(Some(Duration::from_millis(10)))?;
        assert_eq!(registers.get(ehci::STATUS)? & advance, 0, "not rung, round {round}");
        let command = registers.get(ehci::COMMAND)?;
        registers.set(ehci::COMMAND, command | ehci::COMMAND_DOORBELL)?;
        wait_until(
            vm,
            "the doorbell's answer",
            || Ok(registers.get(ehci::STATUS)? & advance != 0),
        )?;
        assert_eq!(registers.get(ehci::COMMAND)?, command, "USBCMD after that, round {round}");
        assert!(hcd.device.asserts_interrupt()?, "the interrupt, round {round}");
        registers.set(ehci::STATUS, advance)?;
        assert_eq!(registers.get(ehci::STATUS)? & advance, 0, "acknowledged, round {round}");
        assert!(!hcd.device.asserts_interrupt()?, "acknowledged, round {round}");
    }
    registers.set(ehci::INTERRUPTS, 0)
}

/// Would catch a number of frames that begins anew without being told, or is told before (2.3.2).
fn rollover(hcd: &Ehci, vm: &Rc<Vm>) -> Result<()> {
    UsbHcd::reaches_ram(hcd)?;
    hcd.start()?;
    let registers = hcd.registers();
    registers.set(ehci::INTERRUPTS, ehci::STATUS_ROLLOVER)?;
    let told = || -> Result<bool> {
        vm.qtest().clock_step(Some(Duration::from_millis(2)))?;
        Ok(registers.get(ehci::STATUS)? & ehci::STATUS_ROLLOVER != 0)
    };
    for round in 0..2 {
        registers.set(ehci::STATUS, ehci::STATUS_ROLLOVER)?;
        let first = hcd.frame()? % 1024;
        let mut steps = 0;
        while !told()? {
            steps += 1;
            assert!(steps < 1200, "no rollover, round {round}");
        }
        let passed = 2 * steps + first;
        assert!((950..1100).contains(&passed), "told after frame {passed}, round {round}");
        assert!(hcd.device.asserts_interrupt()?, "the interrupt, round {round}");
    }
    registers.set(ehci::INTERRUPTS, 0)?;
    registers.set(ehci::STATUS, ehci::STATUS_ALL)
}

/// Would catch a schedule that runs though it is switched off, or does not say what it does (2.3.2).
fn schedules(hcd: &Ehci, vm: &Rc<Vm>) -> Result<()> {
    UsbHcd::reaches_ram(hcd)?;
    hcd.start()?;
    let registers = hcd.registers();
    let run = ehci::COMMAND_RUN | 1 << 16;
    // Periodic and asynchronous: enabled by bits 4 and 5, told by bits 14 and 15.
    for enabled in [0u32, 1, 2, 3, 0] {
        registers.set(ehci::COMMAND, run | enabled << 4)?;
        wait_until(vm, "the schedules' status", || {
            Ok((registers.get(ehci::STATUS)? & ehci::STATUS_SCHEDULES) >> 14 == enabled)
        })?;
        assert!(!hcd.is_halted()?, "halted with the schedules {enabled:#x}");
    }
    registers.set(ehci::COMMAND, 0)?;
    wait_until(vm, "the controller to stop", || hcd.is_halted())?;
    let status = registers.get(ehci::STATUS)? & ehci::STATUS_SCHEDULES;
    assert_eq!(status, 0, "the schedules of a controller that has stopped");
    Ok(())
}

/// Would catch a reset that leaves the controller configured, or a port enabled (2.3.1, bit 1).
fn unconfigured(hcd: &Ehci, vm: &Rc<Vm>) -> Result<()> {
    UsbHcd::reaches_ram(hcd)?;
    hcd.start()?;
    let plugged = plug(hcd, 0, TABLET)?;
    plugged.connect(hcd, 2)?;
    let registers = hcd.registers();
    assert_eq!(registers.get(ehci::CONFIGURED)?, 1, "CONFIGFLAG of a controller that runs");
    registers.set(ehci::COMMAND, 0)?;
    wait_until(vm, "the controller to stop", || hcd.is_halted())?;
    registers.set(ehci::COMMAND, ehci::COMMAND_RESET)?;
    wait_until(vm, "its reset", || Ok(registers.get(ehci::COMMAND)? & ehci::COMMAND_RESET == 0))?;
    assert_eq!(registers.get(ehci::CONFIGURED)?, 0, "CONFIGFLAG after a reset");
    assert_eq!(registers.get(ehci::ASYNC)?, 0, "ASYNCLISTADDR after a reset");
    let port = registers.get(ehci::PORT)?;
    let expected = ehci::PORT_POWER | ehci::PORT_CONNECTED | ehci::PORT_CHANGED;
    assert_eq!(port, expected, "the port after a reset");
    plugged.unplug(vm)
}
