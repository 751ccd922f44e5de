//! Intel's fast Ethernet controllers 8255x: EEPROM, PHY, reset, self-test, interrupts (8255x
//! Open Source Software Developer Manual).

use std::rc::Rc;

use crate::drivers::net::i8255x::{self, I8255x};
use crate::qemu::Vm;
use crate::qos::net::MAC;
use crate::qos::pci::regs::CAPABILITY_POWER_MANAGEMENT;
use crate::qos::registers::RegistersExt;
use crate::qos::wait_until;
use crate::{Result, tests};

tests!(I8255x, "i8255x-tests":
    eeprom,
    phy,
    reset,
    self_test = "self-test",
    interrupts,
    power,
);

/// Would catch an EEPROM that takes its serial clock otherwise, whose words are swapped or
/// shifted, and one that drivers refuse because its sum (chapter 5) is wrong.
fn eeprom(nic: &I8255x, _: &Rc<Vm>) -> Result<()> {
    let words = (0..64).map(|word| nic.eeprom(word)).collect::<Result<Vec<u16>>>()?;
    let mac: Vec<u8> = words[..3].iter().flat_map(|word| word.to_le_bytes()).collect();
    assert_eq!(mac, MAC, "the Ethernet address in words 0 to 2");
    let sum = words.iter().fold(0u16, |sum, word| sum.wrapping_add(*word));
    assert_eq!(sum, 0xbaba, "the sum of all words: {sum:#x}");
    Ok(())
}

/// Would catch MDI transfers to the wrong register, in the wrong direction or never done,
/// and another PHY than the 82555's, whose identifier is 02a8 0154.
fn phy(nic: &I8255x, vm: &Rc<Vm>) -> Result<()> {
    let id = [nic.phy_read(vm, 2, 0)?, nic.phy_read(vm, 3, 0)?];
    assert_eq!(id, [0x02a8, 0x0154], "PHY identifier: {id:#x?}");
    let advertised = nic.phy_read(vm, 4, 0)?;
    assert_eq!(advertised & 0x1f, 1, "it advertises IEEE 802.3: {advertised:#x}");
    nic.phy_write(vm, 4, 0x0021)?;
    assert_eq!(nic.phy_read(vm, 4, 0)?, 0x0021, "Auto-Negotiation Advertisement, written");
    assert_eq!([nic.phy_read(vm, 2, 0)?, nic.phy_read(vm, 3, 0)?], id, "its neighbours");
    // Status, identifier, link partner's ability and expansion cannot be written.
    for register in [1, 2, 3, 5, 6] {
        let first = nic.phy_read(vm, register, 0)?;
        for written in [0, !0] {
            nic.phy_write(vm, register, written)?;
            let read = nic.phy_read(vm, register, 0)?;
            assert_eq!(read, first, "MDI register {register}, {written:#x} written");
        }
    }
    // There is one PHY.
    for address in [0, 2, 31] {
        let read = nic.other_phy_read(vm, address, 2)?;
        assert_ne!(read, id[0], "MDI register 2 of a PHY at {address}");
    }
    nic.phy_write(vm, 0, 1 << 15)?;
    wait_until(vm, "the PHY's reset", || Ok(nic.phy_read(vm, 0, 0)? & 1 << 15 == 0))?;
    assert_eq!(nic.phy_read(vm, 0, 0)?, 0x3000, "MDI Control after a reset of the PHY");
    // A reset of the controller resets the PHY.
    nic.registers().set(i8255x::PORT, i8255x::PORT_SOFTWARE_RESET)?;
    let reset = nic.phy_read(vm, 4, 0)?;
    assert_eq!(reset, advertised, "Auto-Negotiation Advertisement after a software reset");
    Ok(())
}

fn assert_idle(nic: &I8255x) -> Result<()> {
    let registers = nic.registers();
    let status = registers.read16(i8255x::SCB_STATUS.offset())?;
    assert_eq!(status, 0, "SCB Status: both units idle, no cause: {status:#06x}");
    let command = registers.read16(i8255x::SCB_COMMAND.offset())?;
    assert_eq!(command, 0, "SCB Command: accepted, nothing masked: {command:#06x}");
    let pointer = registers.get(i8255x::SCB_POINTER)?;
    assert_eq!(pointer, 0, "SCB General Pointer: {pointer:#x}");
    Ok(())
}

/// Would catch a controller that is not idle at first, a pointer that loses bits, and a
/// software reset by PORT that forgets a register or an interrupt.
fn reset(nic: &I8255x, _: &Rc<Vm>) -> Result<()> {
    assert_idle(nic)?;
    let registers = nic.registers();
    for written in [!0, 0x1234_5678] {
        registers.set(i8255x::SCB_POINTER, written)?;
        let value = registers.get(i8255x::SCB_POINTER)?;
        assert_eq!(value, written, "SCB General Pointer: wrote {written:#x}, read {value:#x}");
    }
    let masked = i8255x::MASK_ALL | i8255x::SOFTWARE_INTERRUPT;
    registers.set(i8255x::SCB_MASK, masked)?;
    assert_eq!(registers.get(i8255x::SCB_ACK)?, i8255x::ACK_SWI, "a cause before the reset");
    registers.set(i8255x::PORT, i8255x::PORT_SOFTWARE_RESET)?;
    assert_idle(nic)?;
    registers.set(i8255x::SCB_POINTER, 0x1234_5678)?;
    registers.set(i8255x::SCB_MASK, masked)?;
    registers.set(i8255x::PORT, i8255x::PORT_SELECTIVE_RESET)?;
    assert_idle(nic)
}

/// Would catch a self-test that fails, does not end, or writes its results elsewhere: a
/// signature that is not zero, then a word of failures.
fn self_test(nic: &I8255x, vm: &Rc<Vm>) -> Result<()> {
    nic.device().bus().reaches_ram()?;
    let results = vm.ram().alloc(8, 16)?;
    results.write_le32(4, !0)?;
    let at = results.address().0 as u32;
    nic.registers().set(i8255x::PORT, at | i8255x::PORT_SELF_TEST)?;
    wait_until(vm, "the self-test", || Ok(results.read_le32(0)? != 0))?;
    let failures = results.read_le32(4)?;
    assert_eq!(failures, 0, "failures of the self-test: {failures:#x}");
    Ok(())
}

/// Would catch a cause that is lost, comes by itself or is cleared with another, and a pin
/// that does not follow causes and mask.
fn interrupts(nic: &I8255x, vm: &Rc<Vm>) -> Result<()> {
    let (registers, device) = (nic.registers(), nic.device());
    let assert_causes = |causes: u8, pin: bool| -> Result<()> {
        let value = registers.get(i8255x::SCB_ACK)?;
        assert_eq!(value, causes, "STAT/ACK: {value:#x}");
        assert_eq!(device.asserts_interrupt()?, pin, "the pin, with causes {causes:#x}");
        Ok(())
    };
    let software = i8255x::SOFTWARE_INTERRUPT;
    assert_causes(0, false)?;
    registers.set(i8255x::SCB_MASK, i8255x::MASK_ALL | software)?;
    assert_causes(i8255x::ACK_SWI, false)?;
    registers.set(i8255x::SCB_MASK, 0)?;
    assert_causes(i8255x::ACK_SWI, true)?;
    registers.set(i8255x::SCB_ACK, i8255x::ACK_SWI)?;
    assert_causes(0, false)?;
    registers.set(i8255x::SCB_MASK, software)?;
    assert_causes(i8255x::ACK_SWI, true)?;
    nic.phy_read(vm, 2, i8255x::MDI_INTERRUPT)?;
    assert_causes(i8255x::ACK_SWI | i8255x::ACK_MDI, true)?;
    registers.set(i8255x::SCB_ACK, i8255x::ACK_SWI)?;
    assert_causes(i8255x::ACK_MDI, true)?;
    registers.set(i8255x::SCB_ACK, i8255x::ACK_MDI)?;
    assert_causes(0, false)?;
    // Both bytes of SCB Status are written at once.
    registers.set(i8255x::SCB_MASK, software)?;
    nic.phy_read(vm, 2, i8255x::MDI_INTERRUPT)?;
    registers.write16(i8255x::SCB_STATUS.offset(), u16::from(i8255x::ACK_SWI) << 8)?;
    assert_causes(i8255x::ACK_MDI, true)?;
    registers.write16(i8255x::SCB_STATUS.offset(), u16::from(i8255x::ACK_MDI) << 8)?;
    assert_causes(0, false)
}

/// Would catch other abilities of power management than those of the family: version 1 of the
/// interface, D1 and D2, and events from each state (82559 data sheet, Power Management
/// Capabilities).
fn power(nic: &I8255x, _: &Rc<Vm>) -> Result<()> {
    let capabilities = nic.device().capabilities()?;
    let power = capabilities.iter().find(|one| one.id == CAPABILITY_POWER_MANAGEMENT);
    let Some(power) = power else {
        assert!(nic.is_82557(), "no power management");
        return Ok(());
    };
    let abilities = nic.device().config_read16(power.offset + 2)?;
    assert_eq!(abilities, 0x7e21, "Power Management Capabilities: {abilities:#06x}");
    Ok(())
}
