//! The registers of the transports as the generic suite takes them: the common configuration of
//! PCI (4.1.4.3), the legacy interface (4.1.4.10), and MMIO (4.2.2, 4.2.4).

use std::rc::Rc;

use crate::protocol::Endian;
use crate::qos::registers::{
    AnyRegister, Fault, Register, RegisterBlock, Registers, RegistersExt, Rule,
};
use crate::{Error, Result};

/// device_status, whose zero resets the device.
const DEVICE_STATUS: Register<u8> =
    Register::new("device_status", 20).section("4.1.4.3").reset(0).side_effect();
/// driver_feature_select.
const DRIVER_FEATURE_SELECT: Register<u32> =
    Register::new("driver_feature_select", 8).section("4.1.4.3").kept(0xffff_ffff);
/// driver_feature: what the driver has accepted.
const DRIVER_FEATURE: Register<u32> =
    Register::new("driver_feature", 12).section("4.1.4.3").reset(0).side_effect();
/// queue_select, by which all of the queue's registers are another queue's.
const QUEUE_SELECT: Register<u16> =
    Register::new("queue_select", 22).section("4.1.4.3").reset(0).side_effect();
/// queue_size, up to what the smallest of QEMU's queues can have.
const QUEUE_SIZE: Register<u16> =
    Register::new("queue_size", 24).section("4.1.4.3").kept(0xffff).values(&[2, 4, 8]);
/// config_msix_vector; queue_msix_vector is behind the queue's size.
const VECTOR: Register<u16> =
    Register::new("config_msix_vector", 16).section("4.1.4.3").reset(0xffff);

/// The common configuration but for what depends on the device.
const COMMON: &[&dyn AnyRegister] = &[
    &Register::<u32>::new("device_feature_select", 0).section("4.1.4.3").kept(0xffff_ffff),
    &Register::<u32>::new("device_feature", 4).section("4.1.4.3").volatile(0xffff_ffff),
    &DRIVER_FEATURE_SELECT,
    &DRIVER_FEATURE,
    &DEVICE_STATUS,
    &Register::<u8>::new("config_generation", 21).section("4.1.4.3"),
    &QUEUE_SELECT,
    &Register::<u16>::new("queue_enable", 28).section("4.1.4.3").reset(0).side_effect(),
    &Register::<u16>::new("queue_notify_off", 30).section("4.1.4.3").reset(0),
    &area("queue_desc", 32),
    &area("queue_desc, upper half", 36),
    &area("queue_driver", 40),
    &area("queue_driver, upper half", 44),
    &area("queue_device", 48),
    &area("queue_device, upper half", 52),
];

/// Half of an address of the queue's.
const fn area(name: &'static str, offset: u64) -> Register<u32> {
    Register::new(name, offset).section("4.1.4.3").reset(0).kept(0xffff_ffff)
}

/// What QEMU does otherwise.
const FAULTS: &[Fault] = &[Fault::new(
    &["driver_feature"],
    &[Rule::SoftwareReset, Rule::MachineReset, Rule::ResetValue],
    "QEMU's virtio-pci leaves driver_feature in every reset",
)
.before(10, 1)];

/// The common configuration of a device with so many queues, whose vectors can be set or not.
/// `attach` finds it again after a reset of the machine.
///
/// # Errors
/// QEMU does not answer.
pub(super) fn common(
    registers: Rc<dyn Registers>,
    length: u64,
    vectors: bool,
    attach: impl Fn() -> Result<Rc<dyn Registers>> + 'static,
) -> Result<RegisterBlock> {
    let count = registers.read16(18)?;
    for (queue, is_there) in [(count, false), (count.saturating_sub(1), true)] {
        registers.set(QUEUE_SELECT, queue)?;
        let size = registers.get(QUEUE_SIZE)?;
        if (size != 0) != is_there {
            return Err(Error::failed(format!(
                "num_queues is {count}, and queue {queue} has {size} descriptors"
            )));
        }
    }
    registers.set(DEVICE_STATUS, 0)?;
    registers.set(QUEUE_SELECT, 0)?;
    let (queues, size) = (registers.read16(18)?, registers.get(QUEUE_SIZE)?);
    let num_queues = Register::<u16>::new("num_queues", 18).section("4.1.4.3");
    let values = if vectors { VECTOR.kept(0xffff).values(&[0, 1, 0xffff]) } else { VECTOR };
    let mut block = RegisterBlock::new("virtio specification 1.2", registers, COMMON)
        .with(&[
            &num_queues.reset(queues.into()),
            &QUEUE_SIZE.reset(size.into()),
            &values,
            &values.named("queue_msix_vector").above(10),
        ])
        .software_reset(|registers| {
            // Features are accepted and another queue is selected before.
            registers.set(DRIVER_FEATURE_SELECT, 0)?;
            registers.set(DRIVER_FEATURE, 1 << 28)?;
            registers.set(QUEUE_SELECT, 1)?;
            registers.set(DEVICE_STATUS, 0)
        })
        .attach(attach)
        .faults(FAULTS);
    if length >= 60 {
        let reset = Register::<u16>::new("queue_reset", 58).section("4.1.4.3").reset(0);
        block = block.with(&[&reset.side_effect()]);
    }
    Ok(block)
}

/// The legacy interface (4.1.4.10). Every device of QEMU offers the two features of rings.
const LEGACY: &[&dyn AnyRegister] = &[
    &Register::<u32>::new("Device Features", 0x00).section("4.1.4.10"),
    &Register::<u32>::new("Driver Features", 0x04)
        .section("4.1.4.10")
        .reset(0)
        .kept(1 << 28 | 1 << 29)
        .reserved(!(1 << 28 | 1 << 29) & 0xffff_ffff),
    &Register::<u32>::new("Queue Address", 0x08).section("4.1.4.10").reset(0).side_effect(),
    &Register::<u16>::new("Queue Size", 0x0c).section("4.1.4.10"),
    &LEGACY_SELECT,
    &LEGACY_STATUS,
    &Register::<u8>::new("ISR Status", 0x13).section("4.1.4.10").reset(0).clears_on_read(),
];
const LEGACY_SELECT: Register<u16> =
    Register::new("Queue Select", 0x0e).section("4.1.4.10").reset(0).side_effect();
const LEGACY_STATUS: Register<u8> =
    Register::new("Device Status", 0x12).section("4.1.4.10").reset(0).side_effect();

/// The legacy interface of a function.
///
/// # Errors
/// QEMU does not answer.
pub(super) fn legacy(
    registers: Rc<dyn Registers>,
    attach: impl Fn() -> Result<Rc<dyn Registers>> + 'static,
) -> Result<RegisterBlock> {
    registers.set(LEGACY_SELECT, 0)?;
    let block = RegisterBlock::new("virtio specification 1.2", registers.clone(), LEGACY);
    let mut found = Vec::new();
    for name in ["Device Features", "Queue Size"] {
        let declared = block.declared().iter().find(|register| register.name == name);
        if let Some(register) = declared {
            found.push((register.offset, registers.read(register.offset, register.width)?));
        }
    }
    let block = block.map(|register| {
        let value = found.iter().find(|(offset, _)| *offset == register.offset);
        let reset = value.map_or(register.reset, |(_, value)| Some(*value));
        crate::qos::registers::Declaration { reset, ..register }
    });
    Ok(block.software_reset(|registers| registers.set(LEGACY_STATUS, 0)).attach(attach))
}

/// MMIO: what is the same in both versions.
const MMIO: &[&dyn AnyRegister] = &[
    &Register::<u32>::new("MagicValue", 0x000).section("4.2.2").reset(0x7472_6976),
    // "QEMU".
    &Register::<u32>::new("VendorID", 0x00c).section("4.2.2").reset(0x554d_4551),
    &Register::<u32>::new("DeviceFeatures", 0x010).section("4.2.2").volatile(0xffff_ffff),
    &Register::<u32>::new("InterruptStatus", 0x060).section("4.2.2").reset(0),
    &MMIO_STATUS,
];
const MMIO_STATUS: Register<u32> =
    Register::new("Status", 0x070).section("4.2.2").reset(0).side_effect();
const MMIO_SELECT: u64 = 0x030;
const QUEUE_NUM_MAX: u64 = 0x034;
/// QueueReady of version 2, and QueuePFN of version 1.
const READY: Register<u32> =
    Register::new("QueueReady", 0x044).section("4.2.2").reset(0).side_effect();
const PFN: Register<u32> = Register::new("QueuePFN", 0x040).section("4.2.4").reset(0).side_effect();

/// The registers of a slot with a device of this type.
///
/// # Errors
/// QEMU does not answer.
pub(super) fn mmio(
    registers: Rc<dyn Registers>,
    version: u32,
    device_type: u32,
    order: Endian,
) -> Result<RegisterBlock> {
    registers.write32(MMIO_SELECT, 0)?;
    let most = registers.read32(QUEUE_NUM_MAX)?;
    let fixed = |name, offset, value: u32| {
        Register::<u32>::new(name, offset).section("4.2.2").reset(value.into())
    };
    let block = RegisterBlock::new("virtio specification 1.2", registers, MMIO)
        .with(&[&fixed("Version", 0x004, version), &fixed("DeviceID", 0x008, device_type)])
        .with(&[&fixed("QueueNumMax", QUEUE_NUM_MAX, most)])
        .order(order)
        .software_reset(|registers| registers.set(MMIO_STATUS, 0));
    Ok(match version {
        1 => block.with(&[&PFN]),
        _ => {
            block.with(&[&READY, &Register::<u32>::new("ConfigGeneration", 0x0fc).section("4.2.2")])
        }
    })
}
