//! A function's configuration space as declared registers: the header of a device (PCI Local Bus
//! Specification 3.0, 6.2) or a bridge (PCI-to-PCI Bridge Architecture Specification 1.2, 3.2),
//! and the capabilities behind it. What the function itself says of sizes and abilities is taken
//! from it; whether that is right is the affair of what is known of it by name.

use std::rc::Rc;

use super::{BarSize, Capability, PciDevice, Space, bridge, msix, regs};
use crate::qos::registers::{
    AnyRegister, Declaration, Fault, Register, RegisterBlock, Registers, RegistersExt, Rule, Value,
    Width,
};
use crate::{Error, Result};

/// A function's configuration space.
pub struct ConfigSpace(
    /// The function.
    pub PciDevice,
);

impl Registers for ConfigSpace {
    fn read(&self, offset: u64, width: Width) -> Result<u64> {
        let (bus, at) = (self.0.bus(), self.0.address());
        let part = |offset: u64, width| -> Result<u64> {
            Ok(bus.config_read(at, register(offset)?, width)?.into())
        };
        match width {
            Width::Quad => Ok(part(offset, Width::Long)? | part(offset + 4, Width::Long)? << 32),
            width => part(offset, width),
        }
    }

    fn write(&self, offset: u64, width: Width, value: u64) -> Result<()> {
        let (bus, at) = (self.0.bus(), self.0.address());
        match width {
            Width::Quad => {
                self.write(offset, Width::Long, value & 0xffff_ffff)?;
                self.write(offset + 4, Width::Long, value >> 32)
            }
            width => bus.config_write(at, register(offset)?, width, value as u32),
        }
    }
}

fn register(offset: u64) -> Result<u16> {
    u16::try_from(offset)
        .map_err(|_| Error::failed(format!("configuration space has no register {offset:#x}")))
}

/// Command: addresses and bus mastering stay off while registers are written.
const COMMAND: Register<u16> = Register::new("Command", 0x04)
    .section("6.2.2")
    .reset(0)
    .kept(1 << 8 | 1 << 10)
    .acts(0x0007)
    .reserved(1 << 6);
/// Status. Whether an interrupt is pending is the device's affair.
const STATUS: Register<u16> =
    Register::new("Status", 0x06).section("6.2.3").w1c(regs::STATUS_ERRORS as u64).volatile(1 << 3);
/// Cache Line Size.
const CACHE_LINE: Register<u8> =
    Register::new("Cache Line Size", 0x0c).section("6.2.4").reset(0).kept(0xff);
/// Interrupt Line.
const INTERRUPT_LINE: Register<u8> =
    Register::new("Interrupt Line", 0x3c).section("6.2.4").reset(0).kept(0xff);

/// Registers of both headers that are all read-only.
const FIXED: &[&dyn AnyRegister] = &[
    &Register::<u16>::new("Vendor ID", 0x00).section("6.2.1"),
    &Register::<u16>::new("Device ID", 0x02).section("6.2.1"),
    &Register::<u8>::new("Revision ID", 0x08).section("6.2.1"),
    &Register::<u8>::new("Programming Interface", 0x09).section("6.2.1"),
    &Register::<u16>::new("Class Code", 0x0a).section("6.2.1"),
    &Register::<u8>::new("Latency Timer", 0x0d).section("6.2.4"),
    &Register::<u8>::new("Header Type", 0x0e).section("6.2.1"),
    &Register::<u8>::new("BIST", 0x0f).section("6.2.4"),
    &Register::<u8>::new("Capabilities Pointer", 0x34).section("6.7"),
    &Register::<u8>::new("Interrupt Pin", 0x3d).section("6.2.4"),
];

/// Those of a device's header.
const FIXED_DEVICE: &[&dyn AnyRegister] = &[
    &Register::<u32>::new("Cardbus CIS Pointer", 0x28).section("6.2.4"),
    &Register::<u16>::new("Subsystem Vendor ID", 0x2c).section("6.2.4"),
    &Register::<u16>::new("Subsystem ID", 0x2e).section("6.2.4"),
    &Register::<u32>::new("Reserved", 0x38).section("6.1"),
    &Register::<u8>::new("Min_Gnt", 0x3e).section("6.2.4"),
    &Register::<u8>::new("Max_Lat", 0x3f).section("6.2.4"),
];

/// The bus numbers of a bridge, which some platforms set at a reset.
const BUS_NUMBERS_FIRST: u64 = 0x18;
const BUS_NUMBERS_LAST: u64 = 0x1a;

/// A bridge's registers besides base addresses (Bridge Architecture Specification 1.2).
const BRIDGE: &[&dyn AnyRegister] = &[
    &Register::<u8>::new("Primary Bus Number", 0x18).section("3.2.5.2").reset(0).kept(0xff),
    &Register::<u8>::new("Secondary Bus Number", 0x19).section("3.2.5.3").reset(0).kept(0xff),
    &Register::<u8>::new("Subordinate Bus Number", 0x1a).section("3.2.5.4").reset(0).kept(0xff),
    &Register::<u16>::new("Memory Base", 0x20).section("3.2.5.8").kept(0xfff0),
    &Register::<u16>::new("Memory Limit", 0x22).section("3.2.5.8").kept(0xfff0),
    &Register::<u16>::new("Prefetchable Memory Base", 0x24).section("3.2.5.9").kept(0xfff0),
    &Register::<u16>::new("Prefetchable Memory Limit", 0x26).section("3.2.5.9").kept(0xfff0),
    &Register::<u32>::new("Prefetchable Base Upper 32 Bits", 0x28)
        .section("3.2.5.10")
        .kept(0xffff_ffff),
    &Register::<u32>::new("Prefetchable Limit Upper 32 Bits", 0x2c)
        .section("3.2.5.10")
        .kept(0xffff_ffff),
];
/// Secondary Latency Timer, which PCI Express has not.
const SECONDARY_LATENCY: Register<u8> =
    Register::new("Secondary Latency Timer", 0x1b).section("3.2.5.5").reset(0);
/// I/O Base; the limit follows. Some bridges have no I/O window.
const IO_BASE: Register<u8> = Register::new("I/O Base", 0x1c).section("3.2.5.6");
/// Secondary Status: errors of the secondary bus.
const SECONDARY_STATUS: Register<u16> =
    Register::new("Secondary Status", 0x1e).section("3.2.5.7").w1c(0xf900);
/// Bridge Control. Bit 6 resets the secondary bus; the rest has a meaning on conventional buses.
const BRIDGE_CONTROL: Register<u16> = Register::new("Bridge Control", 0x3e)
    .section("3.2.5.18")
    .reset(0)
    .kept(BRIDGE_CONTROL_EXPRESS | CONVENTIONAL)
    .acts(bridge::SECONDARY_BUS_RESET as u64)
    .w1c(1 << 10);
/// Bridge Control: parity response, SERR#, ISA, VGA, VGA 16-bit decode.
const BRIDGE_CONTROL_EXPRESS: u64 = 0x1f;
/// Bridge Control: what a port of PCI Express has hardwired to 0: master abort, fast
/// back-to-back, discard timers.
const CONVENTIONAL: u64 = 1 << 5 | 1 << 7 | 1 << 8 | 1 << 9 | 1 << 11;

/// What QEMU does otherwise, whatever the function.
const FAULTS: &[Fault] = &[Fault::new(
    &["Secondary Latency Timer"],
    &[Rule::ReadOnly],
    "QEMU lets the Secondary Latency Timer of PCI Express be written",
)
.before(9, 0)];

/// The registers of the function, of which its header and its capabilities tell.
///
/// # Errors
/// Returns an error if a BAR or the capability list is not as it must be.
pub fn registers(device: &PciDevice) -> Result<RegisterBlock> {
    let space = Rc::new(ConfigSpace(device.clone()));
    let layout = device.config_read8(regs::HEADER_TYPE)? & regs::HEADER_LAYOUT;
    let is_bridge = layout == bridge::HEADER_BRIDGE;
    let again = (device.bus().clone(), space.clone());
    let sheet = "PCI Local Bus Specification 3.0 and its successors";
    let mut block = RegisterBlock::new(sheet, space, FIXED)
        .with(&[&COMMAND, &INTERRUPT_LINE, &CACHE_LINE])
        .with(&[&as_found(device, STATUS, 0x08)?])
        .widths(&[Width::Byte, Width::Word, Width::Long])
        .touched(&[&COMMAND])
        .prepare(|registers| registers.set(COMMAND, 0))
        .attach_untouched(move || -> Result<Rc<dyn Registers>> {
            again.0.reopen()?;
            Ok(again.1.clone())
        })
        .faults(FAULTS);
    let capabilities = device.capabilities()?;
    let express = match find(&capabilities, EXPRESS) {
        // A bridge to conventional PCI has a header as of that (7.8.2).
        Some(at) => device.config_read16(at as u16 + 2)? >> 4 & 0xf != BRIDGE_TO_PCI,
        None => false,
    };
    if is_bridge {
        block = block.with(BRIDGE).touched(BRIDGE);
        if device.bus().numbers_bridges() {
            block = block.map(|register| match register.offset {
                BUS_NUMBERS_FIRST..=BUS_NUMBERS_LAST => Declaration { reset: None, ..register },
                _ => register,
            });
        }
        block = type_1(device, block, express)?;
    } else {
        block = block.with(FIXED_DEVICE);
        block = rom(device, block)?;
    }
    block = bars(device, block, if is_bridge { 2 } else { 6 })?;
    for capability in &capabilities {
        block = self::capability(device, block, *capability, is_bridge)?;
    }
    fixed_as_found(device, block)
}

/// The capability of this ID, if it is in the list.
fn find(list: &[Capability], id: u8) -> Option<u64> {
    list.iter().find(|capability| capability.id == id).map(|found| found.offset.into())
}

/// `register` with the reset value that it has now, but for the bits of `not`.
fn as_found<T: Value>(device: &PciDevice, register: Register<T>, not: u64) -> Result<Register<T>> {
    let read = ConfigSpace(device.clone()).read(register.offset(), T::WIDTH)?;
    Ok(register.reset(read & !not))
}

/// Gives every register that is read-only as a whole the value it has as its reset value.
fn fixed_as_found(device: &PciDevice, block: RegisterBlock) -> Result<RegisterBlock> {
    let space = ConfigSpace(device.clone());
    let mut values = Vec::new();
    for register in block.declared() {
        if register.reset.is_none() && register.read_only() == register.ones() {
            values.push((register.offset, space.read(register.offset, register.width)?));
        }
    }
    Ok(block.map(|register| {
        let found = values.iter().find(|(offset, _)| *offset == register.offset);
        let is_open = register.reset.is_none();
        match found.filter(|_| is_open) {
            Some((_, value)) => Declaration { reset: Some(*value), ..register },
            None => register,
        }
    }))
}

/// The base address registers.
fn bars(device: &PciDevice, mut block: RegisterBlock, count: u8) -> Result<RegisterBlock> {
    let mut number = 0;
    while number < count {
        let offset = u64::from(regs::BASE_ADDRESS_0) + 4 * u64::from(number);
        let low = Register::<u32>::new("Base Address", offset).section("6.2.5.1");
        let Some(BarSize { space, is_64, size }) = device.bar_size(number)? else {
            // It is not implemented, and all zero.
            block = block.with(&[&low.reset(0)]);
            number += 1;
            continue;
        };
        let flags = match space {
            Space::Io => regs::BASE_ADDRESS_IO_FLAGS,
            Space::Memory => regs::BASE_ADDRESS_MEM_FLAGS,
        };
        let now = device.config_read32(offset as u16)?;
        let mask = size.wrapping_neg() & 0xffff_ffff & !u64::from(flags);
        let low = low.kept(mask).reset((now & flags).into());
        block = block.with(&[&low]).touched(&[&low]);
        if is_64 {
            let high = Register::<u32>::new("Base Address, upper half", offset + 4);
            let high = high.section("6.2.5.1").reset(0).kept(size.wrapping_neg() >> 32);
            block = block.with(&[&high]).touched(&[&high]);
        }
        number += if is_64 { 2 } else { 1 };
    }
    Ok(block)
}

/// Expansion ROM Base Address, whose lowest bit lets the ROM answer.
fn rom(device: &PciDevice, block: RegisterBlock) -> Result<RegisterBlock> {
    const AT: u16 = 0x30;
    device.config_write32(AT, 0xffff_fffe)?;
    let mask = u64::from(device.config_read32(AT)?);
    device.config_write32(AT, 0)?;
    let rom = Register::<u32>::new("Expansion ROM Base Address", AT.into()).section("6.2.5.2");
    let rom = rom.reset(0);
    Ok(match mask {
        0 => block.with(&[&rom]),
        _ => block.with(&[&rom.kept(mask & !1).acts(1)]),
    })
}

/// What of a bridge's header depends on what the bridge is.
fn type_1(device: &PciDevice, block: RegisterBlock, express: bool) -> Result<RegisterBlock> {
    let mut block = block;
    let io = device.config_read8(IO_BASE.offset() as u16)?;
    device.config_write8(IO_BASE.offset() as u16, !io & 0xf0)?;
    let has_io = device.config_read8(IO_BASE.offset() as u16)? != io;
    device.config_write8(IO_BASE.offset() as u16, io)?;
    let kept = if has_io { 0xf0 } else { 0 };
    let io = [IO_BASE.kept(kept), IO_BASE.named("I/O Limit").above(1).kept(kept)];
    block = block.with(&[&io[0], &io[1]]).touched(&[&io[0], &io[1]]);
    block = match express {
        // Some write-ups keep it; the base specification hardwires it to 0.
        true => block.with(&[&SECONDARY_LATENCY, &express_control()]),
        false => block.with(&[&SECONDARY_LATENCY.kept(0xff), &BRIDGE_CONTROL]),
    };
    let status = as_found(device, SECONDARY_STATUS, 0)?;
    Ok(block.with(&[&status]))
}

/// Bridge Control of a port of PCI Express (Base Specification 3.0, 7.5.3.6).
fn express_control() -> Register<u16> {
    BRIDGE_CONTROL.read_only().kept(BRIDGE_CONTROL_EXPRESS).acts(bridge::SECONDARY_BUS_RESET.into())
}

/// PCI Express Capabilities: the port's type, a bridge to conventional PCI.
const BRIDGE_TO_PCI: u16 = 7;

/// What of PCI Express QEMU does otherwise, by vendor and device.
fn express_faults((vendor, device): (u16, u16)) -> &'static [Fault] {
    const E1000E: &[Fault] = &[Fault::new(
        &["Device Control"],
        &[Rule::Kept],
        "QEMU's e1000e keeps no enable of errors in Device Control",
    )];
    const IGB: &[Fault] = &[Fault::new(
        &["Device Control"],
        &[Rule::Kept],
        "QEMU's igb keeps no enable of errors in Device Control",
    )];
    const BRIDGE: &[Fault] = &[Fault::new(
        &["Device Control"],
        &[Rule::MachineReset],
        "QEMU's pcie-pci-bridge does not reset Device Control",
    )];
    // The versions between 7.2 and 10.0 were not seen.
    const NVME: &[Fault] = &[
        Fault::new(
            &["Device Control"],
            &[Rule::Kept],
            "QEMU's nvme keeps no enable of errors in Device Control",
        )
        .before(10, 0),
        Fault::new(
            &["Device Control"],
            &[Rule::MachineReset],
            "QEMU's nvme does not reset Device Control",
        )
        .since(8, 0),
    ];
    const VMXNET3: &[Fault] = &[Fault::new(
        &["Device Control"],
        &[Rule::Kept],
        "QEMU's vmxnet3 keeps no enable of errors in Device Control",
    )];
    match (vendor, device) {
        (0x8086, 0x10d3) => E1000E,
        (0x8086, 0x10c9) => IGB,
        (0x15ad, 0x07b0) => VMXNET3,
        (0x1b36, 0x0010) => NVME,
        (0x1b36, 0x000e) => BRIDGE,
        _ => &[],
    }
}

/// The IDs of capabilities.
const MSI: u8 = 0x05;
const VENDOR: u8 = 0x09;
/// PCI Express.
pub const EXPRESS: u8 = 0x10;

/// The registers of one capability, as far as they are known.
fn capability(
    device: &PciDevice,
    block: RegisterBlock,
    capability: Capability,
    is_bridge: bool,
) -> Result<RegisterBlock> {
    let at = u64::from(capability.offset);
    let header = Register::<u16>::new("Capability", at).section("6.7");
    let block = block.with(&[&header]);
    match capability.id {
        regs::CAPABILITY_POWER_MANAGEMENT => power_management(device, block, at),
        MSI => msi(device, block, at),
        msix::CAPABILITY => Ok(block.with(&[
            &as_found(device, MSIX_CONTROL.above(at), 0)?,
            &Register::<u32>::new("MSI-X Table Offset", at + 4).section("6.8.2.4"),
            &Register::<u32>::new("MSI-X PBA Offset", at + 8).section("6.8.2.5"),
        ])),
        EXPRESS => self::express(device, block, at, is_bridge),
        VENDOR => {
            let length = u64::from(device.config_read8(capability.offset + 2)?);
            // One of virtio's is a window with registers of its own (virtio 1.2, 4.1.4.9).
            match device.config_read8(capability.offset + 3)? {
                5 => Ok(block),
                _ => Ok((1..length / 4).fold(block, |block, word| {
                    let name = "vendor-specific capability";
                    block.with(&[&Register::<u32>::new(name, at + 4 * word).section("appendix H")])
                })),
            }
        }
        _ => Ok(block),
    }
}

/// MSI-X Message Control: the function's mask; enabling it changes what interrupts do.
const MSIX_CONTROL: Register<u16> =
    Register::new("MSI-X Message Control", 2).section("6.8.2.3").kept(1 << 14).acts(1 << 15);

/// Power management (PCI Power Management 1.2, 3.2).
fn power_management(device: &PciDevice, block: RegisterBlock, at: u64) -> Result<RegisterBlock> {
    let abilities = device.config_read16(at as u16 + 2)?;
    // PME# can be asserted from some state.
    let pme = if abilities >> 11 == 0 { 0 } else { 1 << 8 };
    let status = if pme == 0 { 0 } else { 1 << 15 };
    let control = Register::<u16>::new("PMCSR", at + 4)
        .section("3.2.4")
        .kept(pme)
        .acts(0b11)
        .w1c(status)
        .reserved(0x1e00);
    let control = as_found(device, control, 0b11)?;
    let block = block.with(&[
        &Register::<u16>::new("PMC", at + 2).section("3.2.3"),
        &control,
        &Register::<u8>::new("PMCSR_BSE", at + 6).section("3.2.5"),
    ]);
    let (vendor, _) = device.ids();
    Ok(match (vendor, abilities) {
        (0x8086, 0x7e21) => block.faults(&[Fault::new(
            &["PMCSR"],
            &[Rule::Kept],
            "QEMU's 8255x keeps no bit of PMCSR",
        )]),
        (0x8086, _) => block.faults(&[Fault::new(
            &["PMCSR"],
            &[Rule::ReadOnly],
            "QEMU's e1000e and igb say that they assert PME# in no state, and let PME_En be set",
        )
        .bits(1 << 8)]),
        _ => block,
    })
}

/// Message Control of MSI, with the numbers of messages that can be allocated.
fn msi_control(capable: u16) -> Register<u16> {
    const NUMBERS: [&[u64]; 6] = [
        &[0],
        &[0, 0x10],
        &[0, 0x10, 0x20],
        &[0, 0x10, 0x20, 0x30],
        &[0, 0x10, 0x20, 0x30, 0x40],
        &[0, 0x10, 0x20, 0x30, 0x40, 0x50],
    ];
    let control = Register::new("MSI Message Control", 2).section("6.8.1.3").acts(1);
    match capable {
        0 => control.reserved(0x70),
        _ => control.kept(0x70).values(NUMBERS[usize::from(capable.min(5))]),
    }
}

/// MSI (6.8.1).
fn msi(device: &PciDevice, block: RegisterBlock, at: u64) -> Result<RegisterBlock> {
    let control = device.config_read16(at as u16 + 2)?;
    let (is_64, masks) = (control & 1 << 7 != 0, control & 1 << 8 != 0);
    let register = msi_control(control >> 1 & 7).above(at);
    let register = register.reset(u64::from(control & 0x018e));
    let long = |name, offset: u64| Register::<u32>::new(name, at + offset).section("6.8.1");
    let data = if is_64 { 12 } else { 8 };
    let mut block = block.with(&[
        &register,
        &long("MSI Message Address", 4).reset(0).kept(0xffff_fffc),
        &Register::<u16>::new("MSI Message Data", at + data)
            .section("6.8.1.6")
            .reset(0)
            .kept(0xffff),
    ]);
    if is_64 {
        block = block.with(&[&long("MSI Message Upper Address", 8).reset(0).kept(0xffff_ffff)]);
    }
    if masks {
        let vectors = (1u64 << (1 << (control >> 1 & 7))) - 1;
        block = block.with(&[
            &long("MSI Mask Bits", data + 4).reset(0).kept(vectors),
            &long("MSI Pending Bits", data + 8).reset(0),
        ]);
    }
    Ok(block)
}

/// PCI Express (Base Specification 3.0, 7.8).
fn express(
    device: &PciDevice,
    block: RegisterBlock,
    at: u64,
    is_bridge: bool,
) -> Result<RegisterBlock> {
    let word = |name, offset: u64| Register::<u16>::new(name, at + offset);
    let long = |name, offset: u64| Register::<u32>::new(name, at + offset);
    let flags = device.config_read16(at as u16 + 2)?;
    let control = word("Device Control", 8).section("7.8.4").kept(0x000f).acts(1 << 15);
    let control = as_found(device, control.reserved(0x7ff0), 0)?;
    let status = word("Device Status", 10).section("7.8.5").w1c(0x000f);
    let mut block = block.with(&[
        &word("PCI Express Capabilities", 2).section("7.8.2"),
        &long("Device Capabilities", 4).section("7.8.3"),
        &control,
        &as_found(device, status, 0)?,
        &long("Link Capabilities", 12).section("7.8.6"),
    ]);
    block = block.faults(express_faults(device.ids()));
    // A slot is there (7.8.2), with what tells of it.
    if is_bridge && flags & 1 << 8 != 0 {
        block = block.with(&[&long("Slot Capabilities", 20).section("7.8.9")]);
    }
    Ok(block)
}
