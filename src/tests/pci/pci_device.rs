//! What holds of every PCI function: identity, header, BARs, capabilities, reset (PCI Local
//! Bus Specification 3.0, chapter 6), and what its data sheet says of them.

use std::rc::Rc;

use crate::qemu::Vm;
use crate::qos::pci::bridge;
use crate::qos::pci::regs::{self, COMMAND, COMMAND_IO, COMMAND_MEMORY};
use crate::qos::pci::{Bar, ExpectedBar, Identity, PciAddress, PciDevice, PciFunction, Space};
use crate::qos::registers::{Registers, RegistersExt};
use crate::qos::reset;
use crate::{Error, Result, tests};

tests!(PciFunction, "pci-device-tests": nop);

/// Would catch another device than was asked for, a header that a guest can overwrite, a
/// BAR of another size or one that answers where or when it must not, a capability list
/// that does not end, and a reset that leaves the device on the bus. It is called `nop`
/// since it asks nothing of what the device is for.
fn nop(function: &PciFunction, vm: &Rc<Vm>) -> Result<()> {
    let device = &function.device;
    let layout = device.config_read8(regs::HEADER_TYPE)? & regs::HEADER_LAYOUT;
    if function.identity.is_none() && layout == bridge::HEADER_BRIDGE {
        return Err(Error::skipped("the header of a bridge is the matter of bridge-tests"));
    }
    let before = header(device)?;
    check_header(device, &before)?;
    if let Some(known) = &function.identity {
        check_identity(&before, known);
    }
    check_read_only(device, &before)?;
    check_bars(device, function.identity.as_ref())?;
    check_capabilities(device, function.identity.as_ref())?;
    check_reset(device, &before, vm)
}

/// What of the header never changes.
#[derive(Debug, PartialEq, Eq)]
struct Header {
    vendor: u16,
    device: u16,
    revision: u8,
    class: u32,
    subsystem: (u16, u16),
    header_type: u8,
    pin: u8,
    status: u16,
    capabilities: u8,
}

fn header(device: &PciDevice) -> Result<Header> {
    let class = device.config_read32(regs::REVISION_ID)?;
    let header = Header {
        vendor: device.vendor_id()?,
        device: device.device_id()?,
        revision: device.config_read8(regs::REVISION_ID)?,
        class: class >> 8,
        subsystem: (
            device.config_read16(regs::SUBSYSTEM_VENDOR_ID)?,
            device.config_read16(regs::SUBSYSTEM_ID)?,
        ),
        header_type: device.config_read8(regs::HEADER_TYPE)?,
        pin: device.config_read8(regs::INTERRUPT_PIN)?,
        // Whether an interrupt is pending is no matter of the header.
        status: device.config_read16(regs::STATUS)? & !regs::STATUS_INTERRUPT,
        capabilities: device.config_read8(regs::CAPABILITY_LIST)?,
    };
    assert_eq!(class as u8, header.revision, "Revision ID, as a byte and in its dword");
    Ok(header)
}

/// Header type (6.2.1) and interrupt pin (6.2.4).
fn check_header(device: &PciDevice, header: &Header) -> Result<()> {
    let kind = header.header_type;
    assert_eq!(kind & regs::HEADER_LAYOUT, 0, "the header's layout is that of a device");
    assert!(header.pin <= 4, "interrupt pin {}: there are four", header.pin);
    if kind & regs::HEADER_MULTI_FUNCTION == 0 && device.address().function == 0 {
        for function in 1..8 {
            let at = PciAddress { function, ..device.address() };
            let there = PciDevice::find(device.bus(), at).is_ok();
            assert!(!there, "a function at {at} of a device with one function");
        }
    }
    Ok(())
}

fn check_identity(header: &Header, known: &Identity) {
    let ids = (header.vendor, header.device, header.revision);
    let (vendor, device, revision) = ids;
    assert_eq!(
        ids,
        (known.vendor, known.device, known.revision),
        "vendor, device, revision: {vendor:#06x}, {device:#06x}, {revision:#x}"
    );
    assert_eq!(header.class, known.class, "class code {:#08x}", header.class);
    assert_eq!(header.subsystem, known.subsystem, "subsystem {:#x?}", header.subsystem);
    assert_eq!(header.pin, known.pin, "interrupt pin");
}

/// The header's read-only bits (6.1, 6.2), and Interrupt Line, which is all the system's.
fn check_read_only(device: &PciDevice, header_before: &Header) -> Result<()> {
    let interrupt_line = device.config_read8(regs::INTERRUPT_LINE)?;
    for register in [regs::VENDOR_ID, regs::REVISION_ID, regs::SUBSYSTEM_VENDOR_ID] {
        let before = device.config_read32(register)?;
        for written in [!before, 0, !0] {
            device.config_write32(register, written)?;
            let after = device.config_read32(register)?;
            assert_eq!(after, before, "register {register:#x} must stay {before:#x}");
        }
    }
    for register in [regs::HEADER_TYPE, regs::INTERRUPT_PIN, regs::CAPABILITY_LIST] {
        let before = device.config_read8(register)?;
        device.config_write8(register, !before)?;
        let after = device.config_read8(register)?;
        assert_eq!(after, before, "register {register:#x} must stay {before:#x}");
    }
    if header_before.pin != 0 {
        for written in [0x5a, 0xa5, interrupt_line] {
            device.config_write8(regs::INTERRUPT_LINE, written)?;
            assert_eq!(device.config_read8(regs::INTERRUPT_LINE)?, written, "Interrupt Line");
        }
    }
    let status = device.config_read16(regs::STATUS)?;
    device.config_write16(regs::STATUS, !regs::STATUS_ERRORS)?;
    let after = device.config_read16(regs::STATUS)?;
    assert_eq!(after, status, "Status, of which no bit can be set: {after:#06x}");

    let command = device.config_read16(COMMAND)?;
    device.config_write16(COMMAND, command | regs::COMMAND_RESERVED)?;
    let after = device.config_read16(COMMAND)?;
    assert_eq!(after, command, "Command, of which reserved bits were written: {after:#06x}");
    device.config_write16(COMMAND, command)?;
    assert_eq!(&header(device)?, header_before, "the header after it was written");
    Ok(())
}

/// Vendor, device and BAR of a codec's ports, which QEMU makes larger than a BAR may be.
const AC97_CODEC: ((u16, u16), u8) = ((0x8086, 0x2415), 0);

/// Every BAR: its size twice, its limits (6.2.5.1), and where the device answers.
fn check_bars(device: &PciDevice, known: Option<&Identity>) -> Result<()> {
    let mut number = 0;
    while number < 6 {
        let size = device.bar_size(number)?;
        let again = device.bar_size(number)?;
        assert_eq!(size, again, "BAR {number}, asked twice");
        if let Some(known) = known {
            let expected = known.bars.iter().find(|bar| bar.number == number);
            assert_eq!(
                size.map(|bar| (bar.space, bar.size)),
                expected.map(|bar| (bar.space, bar.size)),
                "BAR {number}: space and size in bytes"
            );
            if let Some(ExpectedBar { witness: Some(witness), .. }) = expected {
                check_decoding(device, number, *witness)?;
            }
        }
        if let Some(bar) = size {
            let allowed = match bar.space {
                // QEMU's AC97 has four times the ports that the chip has.
                Space::Io if (device.ids(), number) == AC97_CODEC => 1024..=1024,
                Space::Io => 4..=256,
                Space::Memory => 16..=1 << 40,
            };
            assert!(allowed.contains(&bar.size), "BAR {number} of {:#x} bytes", bar.size);
        }
        number += if size.is_some_and(|bar| bar.is_64) { 2 } else { 1 };
    }
    Ok(())
}

/// The device answers where its BAR says, nowhere else, and only while Command lets it.
fn check_decoding(device: &PciDevice, number: u8, witness: u64) -> Result<()> {
    let read = |bar: &Bar| (bar as &dyn Registers).read32(witness);
    let first = device.map_bar(number)?;
    let value = read(&first)?;
    assert!(![0, !0].contains(&value), "BAR {number}, {witness:#x}: nobody is there: {value:#x}");
    let (mine, other) = match first.space() {
        Space::Io => (COMMAND_IO, COMMAND_MEMORY),
        Space::Memory => (COMMAND_MEMORY, COMMAND_IO),
    };
    let command = device.config_read16(COMMAND)?;
    device.config_write16(COMMAND, command & !mine | other)?;
    let off = read(&first)?;
    assert_ne!(off, value, "BAR {number}, {witness:#x}: it answers although Command forbids it");
    device.config_write16(COMMAND, command & !other | mine)?;
    let on = read(&first)?;
    assert_eq!(on, value, "BAR {number}, {witness:#x}: Command lets it answer again");
    device.config_write16(COMMAND, command)?;

    let second = device.map_bar(number)?;
    assert_eq!(read(&second)?, value, "BAR {number}, {witness:#x}: at its next address");
    assert_ne!(read(&first)?, value, "BAR {number}, {witness:#x}: still at the address before");
    Ok(())
}

/// The list (6.7): within the device-specific part, ending, and as known.
fn check_capabilities(device: &PciDevice, known: Option<&Identity>) -> Result<()> {
    let list = device.capabilities()?;
    for capability in &list {
        assert!(capability.offset <= 0xfc, "the capability {capability:x?} leaves the space");
        assert!(![0, 0xff].contains(&capability.id), "the capability {capability:x?} has no id");
    }
    if let Some(known) = known {
        let ids: Vec<u8> = list.iter().map(|capability| capability.id).collect();
        assert_eq!(ids, known.capabilities, "the ids of the capabilities");
    }
    Ok(())
}

/// After a reset a function answers to nothing but configuration accesses (6.2.2), and has
/// forgotten its addresses.
fn check_reset(device: &PciDevice, before: &Header, vm: &Vm) -> Result<()> {
    device.enable()?;
    device.config_write8(regs::INTERRUPT_LINE, 0x5a)?;
    let bar = |number: u16| -> Result<(u32, u32)> {
        let value = device.config_read32(regs::BASE_ADDRESS_0 + 4 * number)?;
        let is_io = value & regs::BASE_ADDRESS_SPACE_IO != 0;
        let flags = if is_io { regs::BASE_ADDRESS_IO_FLAGS } else { regs::BASE_ADDRESS_MEM_FLAGS };
        Ok((value & !flags, value & flags))
    };
    let kinds = (0..6).map(|number| Ok(bar(number)?.1)).collect::<Result<Vec<u32>>>()?;
    reset(vm)?;
    device.bus().reopen()?;
    assert_eq!(&header(device)?, before, "the header after a reset");
    let command = device.config_read16(COMMAND)?;
    assert_eq!(command, 0, "Command after a reset: {command:#06x}");
    assert!(!device.asserts_interrupt()?, "the interrupt pin is asserted after a reset");
    for (number, kind) in (0..).zip(kinds) {
        assert_eq!(bar(number)?, (0, kind), "address and kind of BAR {number} after a reset");
    }
    Ok(())
}
