//! Configuration space register by register: header, base addresses, capabilities, of functions
//! and of bridges; and power states (PCI Power Management 1.2).

use std::rc::Rc;

use crate::drivers::pci::pci_testdev::PciTestdev;
use crate::qemu::Vm;
use crate::qos::pci::{PciDevice, PciFunction, config, regs};
use crate::tests::registers::check_all;
use crate::{Error, Result, tests};

tests!(PciFunction, "pci-device-tests": configuration, power_state = "power-state");
tests!(PciTestdev, "bridge-tests": bridge_configuration = "configuration");

/// Would catch a register of the header or of a capability with another reset value, a bit that
/// is not kept, can be written although it must not or changes with another's, an access of
/// another width that misses, a status bit that ones do not clear, and what a reset of the
/// machine forgets: Command, addresses, MSI, MSI-X, power management, PCI Express.
fn configuration(function: &PciFunction, vm: &Rc<Vm>) -> Result<()> {
    check_all(&config::registers(&function.device)?, vm)
}

/// Would catch what [`configuration`] would in the bridge that the device is behind: bus numbers,
/// windows, secondary status, Bridge Control.
fn bridge_configuration(device: &PciTestdev, vm: &Rc<Vm>) -> Result<()> {
    let bus = device.device().bus();
    let bridge = bus.bridge().ok_or_else(|| Error::skipped("not behind a bridge"))?;
    check_all(&config::registers(bridge.device())?, vm)
}

/// Would catch a function that cannot be put to sleep, that answers in memory while it sleeps,
/// that takes a state which it does not have, or that a reset does not wake (3.2.4, 5.4.1).
fn power_state(function: &PciFunction, vm: &Rc<Vm>) -> Result<()> {
    let device = &function.device;
    let list = device.capabilities()?;
    let found = list.iter().find(|it| it.id == regs::CAPABILITY_POWER_MANAGEMENT);
    let Some(at) = found.map(|capability| capability.offset) else {
        return Err(Error::skipped("the function has no power management"));
    };
    let abilities = device.config_read16(at + 2)?;
    assert!((1..=3).contains(&(abilities & 7)), "PMC: version {}", abilities & 7);
    let state = |device: &PciDevice| Ok::<_, Error>(device.config_read16(at + 4)? & 0b11);
    assert_eq!(state(device)?, 0, "the state at first");
    let rest = device.config_read16(at + 4)? & !0b11;
    device.config_write16(at + 4, rest | 3)?;
    if state(device)? != 3 {
        // Function and fault are listed beside the registers.
        return Err(Error::skipped("this QEMU does not let the power state be set"));
    }
    let header = device.ids();
    assert_eq!(PciDevice::find(device.bus(), device.address())?.ids(), header, "in D3");
    device.config_write16(at + 4, rest)?;
    assert_eq!(state(device)?, 0, "D0 again");
    device.config_write16(at + 4, rest | 3)?;
    crate::qos::reset(vm)?;
    device.bus().reopen()?;
    assert_eq!(state(device)?, 0, "the state after a reset");
    Ok(())
}
