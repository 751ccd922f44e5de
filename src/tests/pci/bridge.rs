//! What a bridge lets through, seen at a test device behind it (PCI-to-PCI Bridge Architecture
//! Specification 1.2, "the specification").

use std::rc::Rc;

use crate::drivers::pci::pci_testdev::{IO_BAR, MEMORY_BAR, PciTestdev};
use crate::qemu::Vm;
use crate::qos::pci::bridge::{self, Bridge};
use crate::qos::pci::{Bar, PciAddress, PciDevice, Space, regs};
use crate::qos::registers::RegistersExt;
use crate::qos::reset;
use crate::{Error, Result, tests};

tests!(PciTestdev, "bridge-tests":
    header, bus_numbers = "bus-numbers", memory_window = "memory-window",
    io_window = "io-window", prefetchable_window = "prefetchable-window",
    window_ends = "window-ends", vga, command, secondary_bus_reset = "secondary-bus-reset", machine_reset = "machine-reset");

/// PCI bridge, conventional or of PCI Express (PCI Code and ID Assignment 1.11, 1.7).
const CLASS: u16 = 0x0604;

/// The bridge that the device is behind.
fn bridge_of(device: &PciTestdev) -> Result<&Bridge> {
    device.device().bus().bridge().ok_or_else(|| Error::skipped("not behind a bridge"))
}

/// Would catch a bridge with another header, or one that forgets its bus numbers.
fn header(device: &PciTestdev, _: &Rc<Vm>) -> Result<()> {
    let bridge = bridge_of(device)?.device();
    let layout = bridge.config_read8(regs::HEADER_TYPE)? & regs::HEADER_LAYOUT;
    assert_eq!(layout, bridge::HEADER_BRIDGE, "header layout");
    assert_eq!(bridge.config_read16(regs::CLASS_DEVICE)?, CLASS, "class code");
    let secondary = device.device().address().bus;
    assert_eq!(bridge.config_read8(bridge::PRIMARY_BUS)?, bridge.address().bus, "primary");
    assert_eq!(bridge.config_read8(bridge::SECONDARY_BUS)?, secondary, "secondary");
    assert_eq!(bridge.config_read8(bridge::SUBORDINATE_BUS)?, secondary, "subordinate");
    Ok(())
}

/// Would catch configuration accesses that are forwarded to the wrong bus, or to a bus that the
/// bridge no longer has (3.1.2.1).
fn bus_numbers(device: &PciTestdev, _: &Rc<Vm>) -> Result<()> {
    let (bridge, function) = (bridge_of(device)?, device.device());
    if bridge.device().address().bus != 0 {
        return Err(Error::skipped("the numbers of a switch's ports lie within others"));
    }
    let (bus, old) = (function.bus(), function.address());
    let new = PciAddress { bus: old.bus + 9, ..old };
    bridge.set_numbers(new.bus, new.bus)?;
    assert_eq!(PciDevice::find(bus, new)?.ids(), function.ids(), "at the new number");
    assert!(PciDevice::find(bus, old).is_err(), "nothing is at the old number");
    bridge.set_numbers(old.bus, old.bus)?;
    assert_eq!(PciDevice::find(bus, old)?.ids(), function.ids(), "at the old number again");
    assert!(PciDevice::find(bus, new).is_err(), "nothing is at the new number any more");
    Ok(())
}

/// Maps a BAR and makes sure that the device answers there; returns the letters.
fn mapped(device: &PciTestdev, number: u8) -> Result<(Rc<Bar>, [u8; 4])> {
    let bar = device.device().map_bar(number)?;
    device.device().enable()?;
    let letters = device.letters(&bar)?;
    assert!(letters.iter().all(u8::is_ascii_graphic), "a name: {letters:x?}");
    Ok((bar, letters))
}

/// Makes sure that nothing answers where the device would: all bits read as the same.
fn assert_no_answer(device: &PciTestdev, bar: &Bar, when: &str) -> Result<()> {
    let letters = device.letters(bar)?;
    assert!([[0; 4], [0xff; 4]].contains(&letters), "{when}, {letters:x?} is read");
    Ok(())
}

/// Would catch a memory window that is open although its base is above its limit, or that stays
/// closed (3.2.5.8).
fn memory_window(device: &PciTestdev, _: &Rc<Vm>) -> Result<()> {
    let bridge = bridge_of(device)?;
    let (bar, letters) = mapped(device, MEMORY_BAR)?;
    bridge.set_memory_window(bridge::MEMORY_BASE, (0, 0))?;
    assert_no_answer(device, &bar, "through a closed window")?;
    bridge.open_windows()?;
    assert_eq!(device.letters(&bar)?, letters, "through the window that is open again");
    // A window beside the BAR lets nothing through that is not in it.
    let (start, length) = bridge.memory();
    bridge.set_memory_window(bridge::MEMORY_BASE, (start + length, length))?;
    assert_no_answer(device, &bar, "through a window beside it")?;
    bridge.open_windows()
}

/// Would catch an I/O window that is open although its base is above its limit, or that stays
/// closed (3.2.5.6).
fn io_window(device: &PciTestdev, _: &Rc<Vm>) -> Result<()> {
    let bridge = bridge_of(device)?;
    if bridge.io().1 == 0 {
        return Err(Error::skipped("this machine has no window to I/O ports"));
    }
    let (bar, letters) = mapped(device, IO_BAR)?;
    bridge.set_io_window((0, 0))?;
    assert_no_answer(device, &bar, "through a closed window")?;
    bridge.open_windows()?;
    assert_eq!(device.letters(&bar)?, letters, "through the window that is open again");
    Ok(())
}

/// Would catch a window for prefetchable memory that forwards nothing, or what is outside it
/// (3.2.5.9).
fn prefetchable_window(device: &PciTestdev, _: &Rc<Vm>) -> Result<()> {
    let bridge = bridge_of(device)?;
    let (bar, letters) = mapped(device, MEMORY_BAR)?;
    bridge.set_memory_window(bridge::MEMORY_BASE, (0, 0))?;
    bridge.set_memory_window(bridge::PREFETCHABLE_BASE, bridge.memory())?;
    assert_eq!(device.letters(&bar)?, letters, "through the prefetchable window");
    bridge.set_memory_window(bridge::PREFETCHABLE_BASE, (0, 0))?;
    assert_no_answer(device, &bar, "through no window")?;
    bridge.open_windows()
}

/// Would catch a bridge that forwards the addresses of a VGA without being told to, or not when it
/// is (3.2.5.18, VGA Enable).
fn vga(device: &PciTestdev, vm: &Rc<Vm>) -> Result<()> {
    const VGA_MEMORY: u64 = 0xa_0000;
    const VGA_ENABLE: u16 = 1 << 3;
    let bridge = bridge_of(device)?;
    // Elsewhere these addresses of the bus are not those of the CPU.
    if !["x86_64", "i386"].contains(&&*vm.emulator().capabilities.arch) {
        return Err(Error::skipped("a PC's addresses"));
    }
    if bridge.device().address().bus != 0 {
        return Err(Error::skipped("the ports above this one would have to forward them as well"));
    }
    let (bar, letters) = mapped(device, MEMORY_BAR)?;
    let register = regs::BASE_ADDRESS_0 + 4 * u16::from(MEMORY_BAR);
    let space = device.device().bus().space(Space::Memory);
    device.device().config_write32(register, VGA_MEMORY as u32)?;
    let port = bridge.device();
    let control = port.config_read16(bridge::BRIDGE_CONTROL)?;
    for on in [false, true, false] {
        let value = if on { control | VGA_ENABLE } else { control & !VGA_ENABLE };
        port.config_write16(bridge::BRIDGE_CONTROL, value)?;
        space.write8(VGA_MEMORY, 0)?;
        let seen = space.read8(VGA_MEMORY + 0x10)? == letters[0];
        assert_eq!(seen, on, "the device at {VGA_MEMORY:#x}, VGA Enable {on}");
    }
    device.device().config_write32(register, bar.address() as u32)
}

/// Would catch a bridge that forwards although its Command does not let it (3.2.4.3).
fn command(device: &PciTestdev, _: &Rc<Vm>) -> Result<()> {
    let bridge = bridge_of(device)?.device();
    let (bar, letters) = mapped(device, MEMORY_BAR)?;
    let enabled = bridge.config_read16(regs::COMMAND)?;
    bridge.config_write16(regs::COMMAND, enabled & !regs::COMMAND_MEMORY)?;
    assert_no_answer(device, &bar, "without Memory Space")?;
    bridge.config_write16(regs::COMMAND, enabled)?;
    assert_eq!(device.letters(&bar)?, letters, "with Memory Space again");
    let whole = bridge_of(device)?;
    whole.set_memory_window(bridge::MEMORY_BASE, (0, 0))?;
    whole.set_memory_window(bridge::PREFETCHABLE_BASE, whole.memory())?;
    bridge.config_write16(regs::COMMAND, enabled & !regs::COMMAND_MEMORY)?;
    assert_no_answer(device, &bar, "without Memory Space, through the prefetchable window")?;
    bridge.config_write16(regs::COMMAND, enabled)?;
    whole.open_windows()?;
    if whole.io().1 == 0 {
        return Ok(());
    }
    let (bar, letters) = mapped(device, IO_BAR)?;
    bridge.config_write16(regs::COMMAND, enabled & !regs::COMMAND_IO)?;
    assert_no_answer(device, &bar, "without I/O Space")?;
    bridge.config_write16(regs::COMMAND, enabled)?;
    assert_eq!(device.letters(&bar)?, letters, "with I/O Space again");
    Ok(())
}

/// Would catch a window that ends before its last byte, or after it (3.2.5.8, 3.2.5.9): the
/// device answers at the end of the last mebibyte, and not at the beginning of the next one.
fn window_ends(device: &PciTestdev, _: &Rc<Vm>) -> Result<()> {
    const STEP: u64 = 0x10_0000;
    let bridge = bridge_of(device)?;
    let (bar, letters) = mapped(device, MEMORY_BAR)?;
    let register = regs::BASE_ADDRESS_0 + 4 * u16::from(MEMORY_BAR);
    let space = device.device().bus().space(Space::Memory);
    let first = |at: u64| -> Result<u8> {
        device.device().config_write32(register, at as u32)?;
        space.write8(at, 0)?;
        space.read8(at + 0x10)
    };
    let (start, _) = bridge.memory();
    for window in [bridge::MEMORY_BASE, bridge::PREFETCHABLE_BASE] {
        bridge.set_memory_window(bridge::MEMORY_BASE, (0, 0))?;
        bridge.set_memory_window(window, (start + STEP, 2 * STEP))?;
        for (at, inside) in [
            (start + STEP - bar.size(), false),
            (start + STEP, true),
            (start + 3 * STEP - bar.size(), true),
            (start + 3 * STEP, false),
        ] {
            let seen = first(at)? == letters[0];
            assert_eq!(seen, inside, "window {window:#x}, the device at {at:#x}");
        }
        bridge.set_memory_window(window, (0, 0))?;
    }
    device.device().config_write32(register, bar.address() as u32)?;
    bridge.open_windows()
}

/// Would catch a reset of the secondary bus that does not reach the device, or that changes the
/// bridge itself (3.2.5.18).
fn secondary_bus_reset(device: &PciTestdev, _: &Rc<Vm>) -> Result<()> {
    let (bridge, function) = (bridge_of(device)?.device(), device.device());
    let _mapped = mapped(device, MEMORY_BAR)?;
    function.config_write8(regs::INTERRUPT_LINE, 0x5a)?;
    let numbers = bridge.config_read32(bridge::PRIMARY_BUS)?;
    let window = bridge.config_read32(bridge::MEMORY_BASE)?;
    let control = bridge.config_read16(bridge::BRIDGE_CONTROL)?;
    bridge.config_write16(bridge::BRIDGE_CONTROL, control | bridge::SECONDARY_BUS_RESET)?;
    let command = function.config_read16(regs::COMMAND)?;
    assert!([0, 0xffff].contains(&command), "the device's Command in reset: {command:#x}");
    bridge.config_write16(bridge::BRIDGE_CONTROL, control)?;
    let bar = regs::BASE_ADDRESS_0 + 4 * u16::from(MEMORY_BAR);
    assert_eq!(function.config_read32(bar)? & !0xf, 0, "the device's BAR");
    assert_eq!(function.config_read16(regs::COMMAND)?, 0, "the device's Command");
    assert_eq!(function.config_read8(regs::INTERRUPT_LINE)?, 0, "its Interrupt Line");
    assert_eq!(bridge.config_read32(bridge::PRIMARY_BUS)?, numbers, "the bridge's numbers");
    assert_eq!(bridge.config_read32(bridge::MEMORY_BASE)?, window, "the bridge's window");
    Ok(())
}

/// Would catch bus numbers that survive a reset of the machine (3.2.5.2 to 3.2.5.4).
fn machine_reset(device: &PciTestdev, vm: &Rc<Vm>) -> Result<()> {
    let bridge = bridge_of(device)?.device();
    if bridge.address().bus != 0 {
        return Err(Error::skipped("after a reset a switch's ports have no number"));
    }
    reset(vm)?;
    if !bridge.bus().numbers_bridges() {
        assert_eq!(bridge.config_read32(bridge::PRIMARY_BUS)? & 0x00ff_ffff, 0, "bus numbers");
    }
    let enables = regs::COMMAND_IO | regs::COMMAND_MEMORY | regs::COMMAND_MASTER;
    assert_eq!(bridge.config_read16(regs::COMMAND)? & enables, 0, "Command");
    Ok(())
}
