//! virtio over PCI, version 1: structures in BARs, found by capabilities (4.1.4).

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use super::pci::Vectors;
use super::transport::{Area, MEMORY_WIDTHS, RingAddresses, Transport, Window, flag, interrupts};
use crate::protocol::Endian;
use crate::qos::pci::{Bar, Capability, PciDevice, Space};
use crate::qos::registers::{Access, Registers, RegistersExt, Width};
use crate::{Error, Result};

/// The id of vendor-specific capabilities (PCI 3.0, appendix H).
const CAP_VENDOR: u8 = 0x09;
/// `cfg_type` of the four structures.
const COMMON_CFG: u8 = 1;
const NOTIFY_CFG: u8 = 2;
const ISR_CFG: u8 = 3;
const DEVICE_CFG: u8 = 4;
/// `cfg_type` of the window to the BARs (4.1.4.9).
const PCI_CFG: u8 = 5;

/// Fields of the common configuration (4.1.4.3).
const DEVICE_FEATURE_SELECT: u64 = 0;
const DEVICE_FEATURE: u64 = 4;
const DRIVER_FEATURE_SELECT: u64 = 8;
const DRIVER_FEATURE: u64 = 12;
const CONFIG_MSIX_VECTOR: u64 = 16;
const NUM_QUEUES: u64 = 18;
const DEVICE_STATUS: u64 = 20;
const CONFIG_GENERATION: u64 = 21;
const QUEUE_SELECT: u64 = 22;
const QUEUE_SIZE: u64 = 24;
const QUEUE_MSIX_VECTOR: u64 = 26;
const QUEUE_ENABLE: u64 = 28;
const QUEUE_NOTIFY_OFF: u64 = 30;
const QUEUE_DESC: u64 = 32;
const QUEUE_DRIVER: u64 = 40;
const QUEUE_DEVICE: u64 = 48;
const QUEUE_RESET: u64 = 58;

/// A structure in a BAR.
#[derive(Clone)]
struct Part {
    bar: Rc<Bar>,
    offset: u64,
    length: u64,
}

impl Part {
    fn check(&self, offset: u64, width: Width) -> Result<u64> {
        if offset + width.bytes() as u64 > self.length {
            return Err(Error::failed(format!(
                "{width:?} at {offset:#x} is not in a structure of {:#x} bytes",
                self.length
            )));
        }
        Ok(self.offset + offset)
    }
}

impl Registers for Part {
    fn read(&self, offset: u64, width: Width) -> Result<u64> {
        let at = self.check(offset, width)?;
        match width {
            // 64-bit fields are read and written as two of 32 bits (4.1.3.1).
            Width::Quad => {
                let low = self.bar.read(at, Width::Long)?;
                Ok(low | self.bar.read(at + 4, Width::Long)? << 32)
            }
            _ => self.bar.read(at, width),
        }
    }

    fn write(&self, offset: u64, width: Width, value: u64) -> Result<()> {
        let at = self.check(offset, width)?;
        match width {
            Width::Quad => {
                self.bar.write(at, Width::Long, value & 0xffff_ffff)?;
                self.bar.write(at + 4, Width::Long, value >> 32)
            }
            _ => self.bar.write(at, width, value),
        }
    }
}

/// The window of a function whose capabilities are `list`, if it has one.
pub(super) fn window(device: &PciDevice, list: &[Capability]) -> Result<Option<Window>> {
    let (mut window, mut common) = (None, None);
    for capability in list.iter().filter(|it| it.id == CAP_VENDOR) {
        let at = capability.offset;
        match device.config_read8(at + 3)? {
            PCI_CFG => window = Some(at),
            COMMON_CFG => {
                common = Some((device.config_read8(at + 4)?, device.config_read32(at + 8)?));
            }
            _ => {}
        }
    }
    Ok(window.zip(common).map(|(at, common)| Window::new(device, at, common)))
}

/// A BAR from an offset on, where accesses may cross the end of a structure.
struct From {
    bar: Rc<Bar>,
    offset: u64,
}

impl Registers for From {
    fn read(&self, offset: u64, width: Width) -> Result<u64> {
        self.bar.read(self.offset + offset, width)
    }

    fn write(&self, offset: u64, width: Width, value: u64) -> Result<()> {
        self.bar.write(self.offset + offset, width, value)
    }

    fn sequence(&self, accesses: &[Access]) -> Result<Vec<u64>> {
        let there = |access: &Access| match *access {
            Access::Read(offset, width) => Access::Read(self.offset + offset, width),
            Access::Write(offset, width, value) => {
                Access::Write(self.offset + offset, width, value)
            }
        };
        self.bar.sequence(&accesses.iter().map(there).collect::<Vec<_>>())
    }
}

/// The interface of version 1 of a function.
pub struct ModernPci {
    device_type: u32,
    common: Part,
    notify: Part,
    notify_off_multiplier: u32,
    isr: Part,
    config: Part,
    /// How many queues the device says it has.
    queues: u16,
    /// Where to notify each queue that was made live, in multiples.
    notify_offs: RefCell<BTreeMap<u16, u16>>,
    window: Option<Window>,
}

impl ModernPci {
    /// Maps what the capabilities in `list` point to, for a device of this type.
    pub(super) fn new(device: &PciDevice, device_type: u32, list: &[Capability]) -> Result<Self> {
        let mut structures = Vec::new();
        for capability in list.iter().filter(|it| it.id == CAP_VENDOR) {
            structures.push((device.config_read8(capability.offset + 3)?, capability.offset));
        }
        let mut bars: Vec<(u8, Rc<Bar>)> = Vec::new();
        let mut part = |cfg_type: u8| -> Result<(Part, u16)> {
            let found = structures.iter().find(|structure| structure.0 == cfg_type);
            let &(_, at) = found.ok_or_else(|| {
                Error::failed(format!(
                    "{}: no virtio capability of cfg_type {cfg_type}",
                    device.address()
                ))
            })?;
            let number = device.config_read8(at + 4)?;
            let bar = match bars.iter().find(|(known, _)| *known == number) {
                Some((_, bar)) => bar.clone(),
                None => {
                    let bar = device.map_bar(number)?;
                    bars.push((number, bar.clone()));
                    bar
                }
            };
            let offset = device.config_read32(at + 8)?.into();
            let length = device.config_read32(at + 12)?.into();
            if offset + length > bar.size() {
                return Err(Error::failed(format!(
                    "{}: cfg_type {cfg_type}: {length:#x} bytes at {offset:#x} are not in BAR \
                     {number}, which has {:#x}",
                    device.address(),
                    bar.size()
                )));
            }
            Ok((Part { bar, offset, length }, at))
        };
        let (common, _) = part(COMMON_CFG)?;
        let (notify, at) = part(NOTIFY_CFG)?;
        let (isr, _) = part(ISR_CFG)?;
        let (config, _) = part(DEVICE_CFG)?;
        let notify_off_multiplier = device.config_read32(at + 16)?;
        let queues = (&common as &dyn Registers).read16(NUM_QUEUES)?;
        let notify_offs = RefCell::default();
        Ok(Self {
            device_type,
            common,
            notify,
            notify_off_multiplier,
            isr,
            config,
            queues,
            notify_offs,
            window: window(device, list)?,
        })
    }

    /// The common configuration, and its length in bytes.
    pub(super) fn common_part(&self) -> (Rc<dyn Registers>, u64) {
        (Rc::new(self.common.clone()), self.common.length)
    }

    fn common(&self) -> &dyn Registers {
        &self.common
    }

    fn select(&self, queue: u16) -> Result<&dyn Registers> {
        self.common().write16(QUEUE_SELECT, queue)?;
        Ok(self.common())
    }
}

impl Transport for ModernPci {
    fn is_modern(&self) -> bool {
        true
    }

    fn byte_order(&self) -> Endian {
        Endian::Little
    }

    fn device_type(&self) -> Result<u32> {
        Ok(self.device_type)
    }

    fn device_features(&self) -> Result<u64> {
        let mut features = 0;
        for half in 0..2 {
            self.common().write32(DEVICE_FEATURE_SELECT, half)?;
            features |= u64::from(self.common().read32(DEVICE_FEATURE)?) << (32 * half);
        }
        Ok(features)
    }

    fn set_driver_features(&self, features: u64) -> Result<()> {
        for half in 0..2 {
            self.common().write32(DRIVER_FEATURE_SELECT, half)?;
            self.common().write32(DRIVER_FEATURE, (features >> (32 * half)) as u32)?;
        }
        Ok(())
    }

    fn status(&self) -> Result<u8> {
        self.common().read8(DEVICE_STATUS)
    }

    fn set_status(&self, status: u8) -> Result<()> {
        self.common().write8(DEVICE_STATUS, status)
    }

    fn config_generation(&self) -> Result<Option<u32>> {
        Ok(Some(self.common().read8(CONFIG_GENERATION)?.into()))
    }

    fn config(&self) -> &dyn Registers {
        &self.config
    }

    fn take_interrupts(&self) -> Result<u8> {
        let isr: &dyn Registers = &self.isr;
        interrupts(isr.read8(0)?.into())
    }

    fn max_queue_size(&self, queue: u16) -> Result<u16> {
        self.select(queue)?.read16(QUEUE_SIZE)
    }

    fn can_size_queues(&self) -> bool {
        true
    }

    fn enable_queue(&self, queue: u16, size: u16, at: RingAddresses) -> Result<()> {
        let common = self.select(queue)?;
        let notify_off = common.read16(QUEUE_NOTIFY_OFF)?;
        // A queue that is not there may have any.
        if queue < self.queues && notify_off != queue {
            return Err(Error::failed(format!(
                "queue_notify_off of queue {queue} is {notify_off}: QEMU's are the queues' numbers"
            )));
        }
        self.notify_offs.borrow_mut().insert(queue, notify_off);
        common.write16(QUEUE_SIZE, size)?;
        common.write64(QUEUE_DESC, at.descriptors)?;
        common.write64(QUEUE_DRIVER, at.driver)?;
        common.write64(QUEUE_DEVICE, at.device)?;
        common.write16(QUEUE_ENABLE, 1)
    }

    fn is_queue_enabled(&self, queue: u16) -> Result<bool> {
        flag("queue_enable", self.select(queue)?.read16(QUEUE_ENABLE)?.into(), 1)
    }

    fn reset_queue(&self, queue: u16) -> Result<()> {
        self.select(queue)?.write16(QUEUE_RESET, 1)
    }

    fn is_queue_resetting(&self, queue: u16) -> Result<bool> {
        flag("queue_reset", self.select(queue)?.read16(QUEUE_RESET)?.into(), 1)
    }

    fn notify(&self, queue: u16) -> Result<()> {
        let offset = self.notify_offs.borrow().get(&queue).copied().ok_or_else(|| {
            Error::failed(format!("queue {queue} was never made live, and cannot be notified"))
        })?;
        let notify: &dyn Registers = &self.notify;
        notify.write16(u64::from(offset) * u64::from(self.notify_off_multiplier), queue)
    }

    fn select_queue(&self, queue: u16) -> Result<()> {
        self.select(queue).map(|_| ())
    }

    fn write_queue_size(&self, size: u16) -> Result<()> {
        self.common().write16(QUEUE_SIZE, size)
    }

    fn write_queue_addresses(&self, at: RingAddresses) -> Result<()> {
        self.common().write64(QUEUE_DESC, at.descriptors)?;
        self.common().write64(QUEUE_DRIVER, at.driver)?;
        self.common().write64(QUEUE_DEVICE, at.device)
    }

    fn write_queue_enable(&self, value: u16) -> Result<()> {
        self.common().write16(QUEUE_ENABLE, value)
    }

    fn notify_any(&self, queue: u16) -> Result<()> {
        // What is behind the last notification address is a queue's that is not there.
        let most = self.notify.length.saturating_sub(2);
        let at = u64::from(queue) * u64::from(self.notify_off_multiplier);
        let notify: &dyn Registers = &self.notify;
        notify.write16(at.min(most) & !1, queue)
    }

    fn areas(&self) -> Vec<Area> {
        let parts = [
            ("common configuration", &self.common),
            ("notifications", &self.notify),
            ("ISR", &self.isr),
            ("device configuration", &self.config),
        ];
        let area = |(name, part): (&'static str, &Part)| {
            let (bar, offset) = (part.bar.clone(), part.offset);
            // As many bytes behind it as one access may cross.
            let length = (part.length + 8).min(bar.size() - offset);
            let registers = Rc::new(From { bar, offset });
            Area { name, registers, length, widths: MEMORY_WIDTHS }
        };
        parts.into_iter().map(area).collect()
    }

    fn own_memory(&self) -> Option<u64> {
        let at = self.common.bar.address() + self.common.offset;
        (self.common.bar.space() == Space::Memory).then_some(at)
    }

    fn window(&self) -> Option<&Window> {
        self.window.as_ref()
    }
}

impl Vectors for ModernPci {
    fn set_config_vector(&self, vector: u16) -> Result<u16> {
        self.common().write16(CONFIG_MSIX_VECTOR, vector)?;
        self.common().read16(CONFIG_MSIX_VECTOR)
    }

    fn set_queue_vector(&self, queue: u16, vector: u16) -> Result<u16> {
        self.select(queue)?.write16(QUEUE_MSIX_VECTOR, vector)?;
        self.common().read16(QUEUE_MSIX_VECTOR)
    }
}
