//! UHCI's own: status and masks of interrupts, errors of the schedule, reset of the bus (UHCI Design
//! Guide 1.1).

use std::rc::Rc;
use std::time::Duration;

use crate::drivers::usb::uhci::{self as uhci, Uhci};
use crate::qemu::Vm;
use crate::qos::registers::RegistersExt;
use crate::qos::usb::UsbHcd;
use crate::qos::usb::device::setup;
use crate::qos::usb::models::{TABLET, plug};
use crate::qos::wait_until;
use crate::{Result, tests};

tests!(Uhci, "uhci-tests":
    wrong_pid = "wrong-pid",
    loops,
    nowhere,
    status,
    masks,
    inactive,
    global_reset = "global-reset",
);

/// A transfer descriptor with this control word and token, behind which there is nothing.
fn descriptor(vm: &Rc<Vm>, control: u32, token: u32) -> Result<crate::qemu::Buffer> {
    let memory = vm.ram().alloc(32, 16)?;
    memory.write_le32(0, 1)?;
    memory.write_le32(4, control)?;
    memory.write_le32(8, token)?;
    Ok(memory)
}

fn steps(vm: &Vm, count: usize) -> Result<()> {
    for _ in 0..count {
        vm.qtest().clock_step(Some(Duration::from_millis(1)))?;
    }
    Ok(())
}

/// Makes sure that the controller works, anew.
fn works(hcd: &Uhci, vm: &Rc<Vm>, when: &str) -> Result<()> {
    hcd.start()?;
    let plugged = plug(hcd, 0, TABLET)?;
    let usb = plugged.connect(hcd, 3)?;
    assert_eq!(usb.text(1)?, "QEMU", "{when}: a device's first text");
    plugged.unplug(vm)
}

/// Would catch a packet identification that nobody knows and that does not stop the controller
/// (2.1.2, bit 4).
fn wrong_pid(hcd: &Uhci, vm: &Rc<Vm>) -> Result<()> {
    UsbHcd::reaches_ram(hcd)?;
    for pid in [0x00, 0x5a, 0xff] {
        hcd.start()?;
        let memory = descriptor(vm, 1 << 23, 7 << 21 | pid)?;
        hcd.set_first(Some(memory.address().0 as u32))?;
        let registers = hcd.registers();
        let error = uhci::STATUS_PROCESS_ERROR;
        wait_until(vm, "an error of the schedule", || {
            Ok(registers.get(uhci::STATUS)? & error != 0)
        })?;
        assert!(hcd.device.asserts_interrupt()?, "PID {pid:#x}: an interrupt that has no mask");
        steps(vm, 2)?;
        let command = registers.get(uhci::COMMAND)? & uhci::COMMAND_RUN;
        assert_eq!(command, 0, "PID {pid:#x}: USBCMD");
        assert!(hcd.is_halted()?, "PID {pid:#x}: halted");
        registers.set(uhci::STATUS, error)?;
        assert!(!hcd.device.asserts_interrupt()?, "PID {pid:#x}: acknowledged");
        works(hcd, vm, "after a packet identification that is unknown")?;
    }
    Ok(())
}

/// Would catch a queue that links to itself and keeps the controller, or QEMU, busy for ever.
fn loops(hcd: &Uhci, vm: &Rc<Vm>) -> Result<()> {
    UsbHcd::reaches_ram(hcd)?;
    hcd.start()?;
    let memory = vm.ram().alloc(32, 16)?;
    let this = memory.address().0 as u32 | 2;
    for element in [1, this] {
        memory.write_le32(0, this)?;
        memory.write_le32(4, element)?;
        hcd.set_first(Some(this))?;
        let before = hcd.frame()?;
        steps(vm, 20)?;
        let passed = (hcd.frame()? + 0x800 - before) % 0x800;
        assert!((19..=21).contains(&passed), "{passed} frames in 20 ms with a loop");
    }
    works(hcd, vm, "after a loop")
}

/// Would catch a list of frames that is not in memory and takes QEMU with it.
fn nowhere(hcd: &Uhci, vm: &Rc<Vm>) -> Result<()> {
    UsbHcd::reaches_ram(hcd)?;
    for link in [0xffff_fff0u32, 0xffff_fff2, 0xfee0_0000, 0xfee0_0002] {
        hcd.start()?;
        hcd.set_first(Some(link))?;
        steps(vm, 4)?;
    }
    hcd.start()?;
    hcd.registers().set(uhci::BASE, 0xffff_f000)?;
    steps(vm, 4)?;
    works(hcd, vm, "after a list that is nowhere")
}

/// Would catch a status bit that is cleared by a one written to another, or by a zero.
fn status(hcd: &Uhci, vm: &Rc<Vm>) -> Result<()> {
    UsbHcd::reaches_ram(hcd)?;
    hcd.start()?;
    let registers = hcd.registers();
    let (end, error) = (uhci::STATUS_INTERRUPT, uhci::STATUS_ERROR);
    for first in [end, error] {
        // To an address where nobody is, with an interrupt.
        let memory = descriptor(vm, 3 << 27 | 1 << 24 | 1 << 23, 7 << 21 | 0x55 << 8 | 0x69)?;
        hcd.set_first(Some(memory.address().0 as u32))?;
        wait_until(vm, "both bits of the status", || {
            Ok(registers.get(uhci::STATUS)? & (end | error) == end | error)
        })?;
        hcd.set_first(None)?;
        // Inactive, timeout, stalled or not (3.2.2).
        let control = memory.read_le32(4)?;
        assert_eq!(control & (1 << 23 | 1 << 18), 1 << 18, "the descriptor's status {control:#x}");
        steps(vm, 2)?;
        registers.set(uhci::STATUS, 0)?;
        assert_eq!(registers.get(uhci::STATUS)?, end | error, "zeroes written");
        registers.set(uhci::STATUS, first)?;
        assert_eq!(registers.get(uhci::STATUS)?, (end | error) & !first, "{first:#x} written");
        registers.set(uhci::STATUS, end | error)?;
        assert_eq!(registers.get(uhci::STATUS)?, 0, "both written");
    }
    Ok(())
}

/// Would catch an interrupt that comes although it is masked, or does not although it is not.
fn masks(hcd: &Uhci, vm: &Rc<Vm>) -> Result<()> {
    UsbHcd::reaches_ram(hcd)?;
    hcd.start()?;
    let plugged = plug(hcd, 0, TABLET)?;
    let usb = plugged.connect(hcd, 3)?;
    let registers = hcd.registers();
    let mut cases = 0;
    for mask in 0..16u16 {
        registers.set(uhci::INTERRUPTS, mask)?;
        hcd.acknowledge()?;
        // 18 bytes in packets of eight: one is short; the end has an interrupt.
        usb.descriptor(1, 0, 0, 64)?;
        steps(vm, 2)?;
        let expected = mask & (uhci::INTERRUPT_END | uhci::INTERRUPT_SHORT) != 0;
        let asserted = hcd.device.asserts_interrupt()?;
        assert_eq!(asserted, expected, "a short packet and an end, mask {mask:#x}");
        hcd.acknowledge()?;
        assert!(!hcd.device.asserts_interrupt()?, "acknowledged, mask {mask:#x}");
        let _ = usb.ask(setup(0xc0, 0x77, 0, 0, 8), "a request that is unknown")?;
        steps(vm, 2)?;
        let expected = mask & uhci::INTERRUPT_ERROR != 0;
        let asserted = hcd.device.asserts_interrupt()?;
        assert_eq!(asserted, expected, "a stall, mask {mask:#x}");
        hcd.acknowledge()?;
        cases += 1;
    }
    assert_eq!(cases, 16, "all masks");
    registers.set(uhci::INTERRUPTS, 0)?;
    plugged.unplug(vm)
}

/// Would catch a descriptor that is not active and is done all the same, or that is changed.
fn inactive(hcd: &Uhci, vm: &Rc<Vm>) -> Result<()> {
    UsbHcd::reaches_ram(hcd)?;
    hcd.start()?;
    let memory = descriptor(vm, 3 << 27, 7 << 21 | 0x55 << 8 | 0x69)?;
    let before = memory.to_vec()?;
    hcd.set_first(Some(memory.address().0 as u32))?;
    steps(vm, 10)?;
    assert_eq!(memory.to_vec()?, before, "a descriptor that is not active");
    assert_eq!(hcd.registers().get(uhci::STATUS)?, 0, "USBSTS");
    hcd.set_first(None)
}

/// Would catch a reset of the bus that leaves a device its address, and one of the controller that
/// keeps the schedule running.
fn global_reset(hcd: &Uhci, vm: &Rc<Vm>) -> Result<()> {
    UsbHcd::reaches_ram(hcd)?;
    hcd.start()?;
    let plugged = plug(hcd, 1, TABLET)?;
    let usb = plugged.connect(hcd, 3)?;
    assert_eq!(usb.text(1)?, "QEMU", "its first text");
    let registers = hcd.registers();
    registers.set(uhci::COMMAND, uhci::COMMAND_GLOBAL_RESET)?;
    vm.qtest().clock_step(Some(Duration::from_millis(10)))?;
    registers.set(uhci::COMMAND, 0)?;
    assert!(hcd.is_halted()?, "halted after a reset of the bus");
    assert_eq!(registers.get(uhci::INTERRUPTS)?, 0, "USBINTR after a reset of the bus");
    let port = hcd.port(1)?;
    assert!(port.connected && !port.enabled, "the port after a reset of the bus: {port:?}");
    hcd.start()?;
    let usb = plugged.open(hcd)?;
    assert_eq!(usb.text(1)?, "QEMU", "its first text at address 0");
    plugged.unplug(vm)
}
