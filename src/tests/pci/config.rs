//! Configuration space register by register: header, base addresses, capabilities, of functions
//! and of bridges; and power states (PCI Power Management 1.2).

use std::rc::Rc;

use crate::drivers::pci::pci_testdev::PciTestdev;
use crate::qemu::{Version, Vm};
use crate::qos::pci::{PciDevice, PciFunction, config, regs};
use crate::qos::registers::{Registers, RegistersExt};
use crate::tests::registers::check_all;
use crate::{Error, Result, tests};

tests!(PciFunction, "pci-device-tests": configuration);
tests!(PciTestdev, "bridge-tests": bridge_configuration = "configuration");

/// Would catch a register of the header or of a capability with another reset value, a bit that
/// is not kept, can be written although it must not or changes with another's, an access of
/// another width that misses, a status bit that ones do not clear, and what a reset of the
/// machine forgets: Command, addresses, MSI, MSI-X, power management, PCI Express; and a function
/// that cannot be put to sleep, answers while it sleeps, or is not woken.
fn configuration(function: &PciFunction, vm: &Rc<Vm>) -> Result<()> {
    check_all(&config::registers(&function.device)?, vm)?;
    power_state(function, vm)
}

/// Would catch what [`configuration`] would in the bridge that the device is behind: bus numbers,
/// windows, secondary status, Bridge Control.
fn bridge_configuration(device: &PciTestdev, vm: &Rc<Vm>) -> Result<()> {
    let bus = device.device().bus();
    let bridge = bus.bridge().ok_or_else(|| Error::skipped("not behind a bridge"))?;
    check_all(&config::registers(bridge.device())?, vm)
}

/// Power states (3.2.4, 5.4.1). A function without them, or one that QEMU does not let be set, as
/// is listed beside the registers, is left out.
fn power_state(function: &PciFunction, vm: &Rc<Vm>) -> Result<()> {
    let device = &function.device;
    let list = device.capabilities()?;
    let found = list.iter().find(|it| it.id == regs::CAPABILITY_POWER_MANAGEMENT);
    let Some(at) = found.map(|capability| capability.offset) else {
        return Ok(());
    };
    let abilities = device.config_read16(at + 2)?;
    assert!((1..=3).contains(&(abilities & 7)), "PMC: version {}", abilities & 7);
    let state = |device: &PciDevice| Ok::<_, Error>(device.config_read16(at + 4)? & 0b11);
    assert_eq!(state(device)?, 0, "the state at first");
    let rest = device.config_read16(at + 4)? & !0b11;
    device.config_write16(at + 4, rest | 3)?;
    if state(device)? != 3 {
        return Ok(());
    }
    assert_eq!(PciDevice::find(device.bus(), device.address())?.ids(), device.ids(), "in D3");
    device.config_write16(at + 4, rest)?;
    assert_eq!(state(device)?, 0, "D0 again");
    sleeps(function, vm, at)?;
    device.config_write16(at + 4, rest | 3)?;
    crate::qos::reset(vm)?;
    device.bus().reopen()?;
    // QEMU before 10.0 leaves a function asleep.
    match vm.emulator().capabilities.version < Version::new(10, 0, 0) {
        true => device.config_write16(at + 4, rest),
        false => {
            assert_eq!(state(device)?, 0, "the state after a reset");
            Ok(())
        }
    }
}

/// In D3 a function answers to configuration accesses only (5.4.1); QEMU does so from 10.0 on.
fn sleeps(function: &PciFunction, vm: &Vm, at: u16) -> Result<()> {
    let device = &function.device;
    let bars = function.identity.map_or(&[][..], |identity| identity.bars);
    let witness = bars.iter().find_map(|bar| Some((bar.number, bar.witness?)));
    let Some((number, witness)) = witness else {
        return Ok(());
    };
    if vm.emulator().capabilities.version < Version::new(10, 0, 0) {
        return Ok(());
    }
    let bar = device.map_bar(number)?;
    device.enable()?;
    let read = || (&*bar as &dyn Registers).read32(witness);
    let value = read()?;
    let control = device.config_read16(at + 4)?;
    device.config_write16(at + 4, control | 3)?;
    assert_ne!(read()?, value, "BAR {number} answers in D3");
    device.config_write16(at + 4, control)?;
    // A function may forget its addresses when it wakes (3.2.4, No_Soft_Reset).
    let bar = device.map_bar(number)?;
    device.enable()?;
    let now = (&*bar as &dyn Registers).read32(witness)?;
    assert!(![0, !0].contains(&now), "BAR {number} in D0 again: {now:#x}");
    Ok(())
}
