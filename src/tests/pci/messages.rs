//! MSI-X of any function (PCI Local Bus Specification 3.0, 6.8.2): its table, its masks, what is
//! pending, and what a reset leaves. How a function is made to send is its own suite's affair.

use std::rc::Rc;

use crate::qemu::Vm;
use crate::qos::pci::msix::{Control, Msix};
use crate::qos::pci::{PciDevice, regs};
use crate::qos::{reset, settle, wait_until};
use crate::{Error, Result};

/// Vector Control: masked.
const MASKED: u32 = 1;

/// Checks the MSI-X of `device`, which `send` makes send the message of `vector`, each time anew.
/// The device is as after a reset of the machine.
///
/// # Errors
/// Returns an error if a message does not come or comes although it is masked.
pub(in crate::tests) fn check(
    device: &PciDevice,
    vm: &Rc<Vm>,
    vector: u16,
    send: impl Fn() -> Result<()>,
) -> Result<()> {
    let control = Control::find(device, &device.capabilities()?)?;
    let control = control.ok_or_else(|| Error::skipped("the function has no MSI-X here"))?;
    check_control(device, vm, &control, vector, send)
}

/// Checks the messages of a function through `control`, its MSI-X.
///
/// # Errors
/// Returns an error if a message does not come or comes although it is masked.
pub(in crate::tests) fn check_control(
    device: &PciDevice,
    vm: &Rc<Vm>,
    control: &Control,
    vector: u16,
    send: impl Fn() -> Result<()>,
) -> Result<()> {
    let msix = Msix::enable(control)?;
    table(&msix)?;
    let memory = vm.ram().alloc(8, 8)?;
    msix.set_message(vector, memory.address().0, 0x1234_5678)?;
    let reaches = device.bus().messages_reach_memory();
    let assert_sent = |expected: bool, when: &str| -> Result<()> {
        settle(vm)?;
        let value = memory.read_le32(0)?;
        memory.write_le32(0, 0)?;
        let expected = if expected && reaches { 0x1234_5678 } else { 0 };
        assert_eq!(value, expected, "the message {when}");
        assert!(!device.asserts_interrupt()?, "the pin {when}");
        Ok(())
    };
    let assert_pending = |expected: &[u16], when: &str| {
        wait_until(vm, &format!("{expected:?} pending {when}"), || Ok(msix.pending()? == expected))
    };
    for round in 0..2 {
        let when = |text: &str| format!("{text}, round {round}");
        msix.mask(vector, false)?;
        assert_sent(false, &when("before anything"))?;
        send()?;
        assert_pending(&[], &when("sent"))?;
        assert_sent(true, &when("sent"))?;

        msix.mask(vector, true)?;
        send()?;
        assert_pending(&[vector], &when("masked"))?;
        assert_sent(false, &when("masked"))?;
        msix.write_pending(0)?;
        assert_pending(&[vector], &when("masked, written"))?;
        msix.mask_function(true)?;
        msix.mask(vector, false)?;
        assert_pending(&[vector], &when("the function masked"))?;
        assert_sent(false, &when("the function masked"))?;
        msix.mask_function(false)?;
        assert_pending(&[], &when("the function unmasked"))?;
        assert_sent(true, &when("the function unmasked"))?;
        assert_sent(false, &when("once more"))?;

        msix.mask_function(true)?;
        send()?;
        assert_pending(&[vector], &when("with the function masked"))?;
        assert_sent(false, &when("with the function masked"))?;
        msix.mask(vector, true)?;
        msix.mask_function(false)?;
        assert_pending(&[vector], &when("the vector masked instead"))?;
        msix.mask(vector, false)?;
        assert_sent(true, &when("the vector unmasked"))?;
        assert_pending(&[], &when("the vector unmasked"))?;
    }
    // A message is a write of the function's, as a bus master.
    let command = device.config_read16(regs::COMMAND)?;
    msix.mask(vector, true)?;
    send()?;
    assert_pending(&[vector], "before it is no bus master")?;
    device.config_write16(regs::COMMAND, command & !regs::COMMAND_MASTER)?;
    msix.mask(vector, false)?;
    assert_sent(false, "without bus master")?;
    device.config_write16(regs::COMMAND, command)?;
    msix.mask(vector, true)?;
    send()?;
    assert_pending(&[vector], "before a reset")?;
    after_reset(device, vm, control, msix)
}

/// Every entry starts masked, and keeps its words; no other changes with it.
fn table(msix: &Msix) -> Result<()> {
    for vector in 0..msix.size() {
        assert_eq!(msix.words(vector)?[3], MASKED, "the control of vector {vector} at first");
    }
    let message = |vector: u16| {
        let number = u64::from(vector) + 1;
        (number << 40 | number << 12 | 0xf8c, 0xa5a5_0000 | u32::from(vector))
    };
    for vector in 0..msix.size() {
        let (address, data) = message(vector);
        msix.set_message(vector, address, data)?;
    }
    for vector in 0..msix.size() {
        let (address, data) = message(vector);
        let expected = [address as u32, (address >> 32) as u32, data, MASKED];
        assert_eq!(msix.words(vector)?, expected, "the entry of vector {vector}");
    }
    Ok(())
}

/// A reset of the machine disables MSI-X, masks every vector and forgets what was pending.
fn after_reset(device: &PciDevice, vm: &Rc<Vm>, control: &Control, msix: Msix) -> Result<()> {
    reset(vm)?;
    device.bus().reopen()?;
    assert!(!control.is_enabled()?, "MSI-X after a reset");
    drop(msix);
    let again = Control::find(device, &device.capabilities()?)?;
    let again = again.ok_or_else(|| Error::failed("MSI-X is gone after a reset"))?;
    device.enable()?;
    let msix = Msix::enable_as_found(&again)?;
    for vector in 0..msix.size() {
        let words = msix.words(vector)?;
        assert_eq!(words, [0, 0, 0, MASKED], "the entry of vector {vector} after a reset");
    }
    assert_eq!(msix.pending()?, [0; 0], "what is pending after a reset");
    Ok(())
}

/// The ID of MSI (6.8.1), and its registers behind it: control, address, its upper half, data of
/// a capability with addresses of 64 bits.
const MSI: u8 = 0x05;
const MSI_CONTROL: u16 = 2;
const MSI_ADDRESS: u16 = 4;
const MSI_DATA_64: u16 = 12;

/// Checks the MSI of `device`, which `send` makes send its first message, each time anew. The
/// device is as after a reset of the machine.
///
/// # Errors
/// Returns an error if the message does not come, comes while MSI is disabled, or the pin is
/// asserted besides.
pub(in crate::tests) fn check_msi(
    device: &PciDevice,
    vm: &Rc<Vm>,
    send: impl Fn() -> Result<()>,
) -> Result<()> {
    if !device.bus().messages_reach_memory() {
        return Err(Error::skipped("on this bus a message to RAM does not get there"));
    }
    let list = device.capabilities()?;
    let at = list.iter().find(|capability| capability.id == MSI).map(|found| found.offset);
    let at = at.ok_or_else(|| Error::skipped("the function has no MSI here"))?;
    let control = device.config_read16(at + MSI_CONTROL)?;
    assert_eq!(control & 1 << 7, 1 << 7, "Message Control: addresses of 64 bits {control:#x}");
    let memory = vm.ram().alloc(8, 8)?;
    device.config_write32(at + MSI_ADDRESS, memory.address().0 as u32)?;
    device.config_write32(at + MSI_ADDRESS + 4, (memory.address().0 >> 32) as u32)?;
    device.config_write16(at + MSI_DATA_64, 0x5a5a)?;
    let assert_sent = |expected: bool, when: &str| -> Result<()> {
        settle(vm)?;
        let value = memory.read_le32(0)?;
        memory.write_le32(0, 0)?;
        assert_eq!(value, if expected { 0x5a5a } else { 0 }, "the message {when}");
        Ok(())
    };
    for round in 0..2 {
        send()?;
        assert_sent(false, &format!("with MSI disabled, round {round}"))?;
        assert!(device.asserts_interrupt()?, "the pin with MSI disabled");
        device.config_write16(at + MSI_CONTROL, control | 1)?;
        assert!(!device.asserts_interrupt()?, "the pin when MSI is enabled");
        send()?;
        assert_sent(true, &format!("with MSI enabled, round {round}"))?;
        assert!(!device.asserts_interrupt()?, "the pin with MSI enabled");
        device.config_write16(at + MSI_CONTROL, control)?;
    }
    device.config_write16(at + MSI_CONTROL, control | 1)?;
    reset(vm)?;
    device.bus().reopen()?;
    assert_eq!(device.config_read16(at + MSI_CONTROL)?, control, "Message Control after a reset");
    Ok(())
}
