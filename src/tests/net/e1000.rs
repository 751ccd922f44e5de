//! Intel's gigabit controllers 8254x: EEPROM, Ethernet address, reset, interrupts
//! (PCI/PCI-X Family of Gigabit Ethernet Controllers Software Developer's Manual).

use std::rc::Rc;

use crate::drivers::net::e1000::{self, E1000};
use crate::qemu::Vm;
use crate::qos::net::MAC;
use crate::qos::registers::RegistersExt;
use crate::qos::{reset, wait_until};
use crate::{Result, tests};

tests!(E1000, "e1000-tests":
    eeprom,
    reset_values = "reset-values",
    interrupts,
);

/// Would catch an EEPROM whose words are swapped, shifted or another device's, and one
/// that drivers refuse because its sum (5.6.35) is wrong.
fn eeprom(nic: &E1000, vm: &Rc<Vm>) -> Result<()> {
    let words = (0..64).map(|word| nic.eeprom(vm, word)).collect::<Result<Vec<u16>>>()?;
    let mac: Vec<u8> = words[..3].iter().flat_map(|word| word.to_le_bytes()).collect();
    assert_eq!(mac, MAC, "the Ethernet address in words 0 to 2");
    assert_eq!(words[0x0d], nic.device_id(), "the device ID: {:#x}", words[0x0d]);
    assert_eq!(words[0x0e], 0x8086, "the vendor ID: {:#x}", words[0x0e]);
    let sum = words.iter().fold(0u16, |sum, word| sum.wrapping_add(*word));
    assert_eq!(sum, 0xbaba, "the sum of all words: {sum:#x}");
    Ok(())
}

/// What a reset loads from the EEPROM, and what it leaves of interrupts.
fn assert_reset(nic: &E1000) -> Result<()> {
    let registers = nic.registers();
    let cause = registers.get(e1000::ICR)? & e1000::ICR_CAUSES;
    assert_eq!(cause, 0, "ICR after a reset: {cause:#x}");
    let (low, high) = (registers.get(e1000::RAL0)?, registers.get(e1000::RAH0)?);
    let address = [low.to_le_bytes(), high.to_le_bytes()].concat();
    assert_eq!(address[..6], MAC, "Receive Address 0 is that of the EEPROM");
    assert_eq!(high & !0xffff, e1000::RAH_AV, "Receive Address 0 is valid: {high:#x}");
    Ok(())
}

/// Would catch an address that is not loaded from the EEPROM again, and an interrupt that
/// outlives a reset of the machine. What every register is then is the generic suite's matter.
fn reset_values(nic: &E1000, vm: &Rc<Vm>) -> Result<()> {
    assert_reset(nic)?;
    let registers = nic.registers();
    registers.set(e1000::RAL0, 0x1234_5678)?;
    registers.set(e1000::RAH0, 0x9abc)?;
    assert_eq!(registers.get(e1000::RAL0)?, 0x1234_5678, "RAL0");
    assert_eq!(registers.get(e1000::RAH0)?, 0x9abc, "RAH0");
    registers.set(e1000::IMS, e1000::ICR_LSC)?;
    registers.set(e1000::ICS, e1000::ICR_LSC)?;
    wait_until(vm, "the interrupt pin", || nic.device().asserts_interrupt())?;

    reset(vm)?;
    nic.device().bus().reopen()?;
    assert!(!nic.device().asserts_interrupt()?, "the interrupt pin after a reset");
    let nic = nic.remap()?;
    assert_reset(&nic)
}

/// Would catch a cause that is lost, comes by itself or is cleared with another, a mask
/// that hides what it must show or the reverse, and a pin that does not follow both.
fn interrupts(nic: &E1000, vm: &Rc<Vm>) -> Result<()> {
    let registers = nic.registers();
    let (set, other) = (e1000::ICR_TXDW | e1000::ICR_RXT0, e1000::ICR_LSC);
    let causes = || Ok::<_, crate::Error>(registers.get(e1000::ICR)? & e1000::ICR_CAUSES);
    registers.set(e1000::IMC, !0)?;
    assert_eq!(registers.get(e1000::IMS)?, 0, "IMS, all masked");
    causes()?;
    assert_eq!(causes()?, 0, "ICR, read once");

    registers.set(e1000::IMS, other)?;
    registers.set(e1000::ICS, set)?;
    assert!(!nic.device().asserts_interrupt()?, "the pin, with other causes unmasked");
    registers.set(e1000::IMS, e1000::ICR_RXT0)?;
    assert_eq!(registers.get(e1000::IMS)?, other | e1000::ICR_RXT0, "IMS, set twice");
    // Devices that moderate interrupts may take a moment.
    wait_until(vm, "the interrupt pin", || nic.device().asserts_interrupt())?;
    registers.set(e1000::IMC, e1000::ICR_RXT0)?;
    assert_eq!(registers.get(e1000::IMS)?, other, "IMS, one cleared");
    assert!(!nic.device().asserts_interrupt()?, "the pin, with the cause masked");
    registers.set(e1000::IMS, set)?;
    wait_until(vm, "the interrupt pin again", || nic.device().asserts_interrupt())?;

    registers.set(e1000::ICR, e1000::ICR_TXDW)?;
    assert!(nic.device().asserts_interrupt()?, "the pin, with one of two causes cleared");
    assert_eq!(causes()?, e1000::ICR_RXT0, "ICR: the cause that was not cleared");
    assert!(!nic.device().asserts_interrupt()?, "the pin, after reading ICR");
    assert_eq!(causes()?, 0, "ICR, after reading it");
    Ok(())
}
