//! virtio over PCI, legacy interface: registers in I/O BAR 0 (4.1.4.10).

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use super::pci::Vectors;
use super::transport::{Area, PORT_WIDTHS, RingAddresses, Transport, Window, flag, interrupts};
use crate::protocol::Endian;
use crate::qos::pci::{Bar, PciDevice, msix};
use crate::qos::registers::{Registers, RegistersExt, Width};
use crate::{Error, Result};

const DEVICE_FEATURES: u64 = 0x00;
const DRIVER_FEATURES: u64 = 0x04;
const QUEUE_ADDRESS: u64 = 0x08;
const QUEUE_SIZE: u64 = 0x0c;
const QUEUE_SELECT: u64 = 0x0e;
const QUEUE_NOTIFY: u64 = 0x10;
const DEVICE_STATUS: u64 = 0x12;
const ISR_STATUS: u64 = 0x13;
/// These two are there only while MSI-X is enabled.
const CONFIG_MSIX_VECTOR: u64 = 0x14;
const QUEUE_MSIX_VECTOR: u64 = 0x16;

/// What [`QUEUE_ADDRESS`] counts in.
const PAGE: u64 = 4096;

/// The legacy interface of a function.
pub struct LegacyPci {
    device_type: u32,
    registers: Rc<Bar>,
    config: Config,
    /// Where each queue was made live.
    pages: RefCell<BTreeMap<u16, u32>>,
    window: Option<Window>,
}

impl LegacyPci {
    /// Maps that of a device of this type; `msix` is the function's MSI-X, `order` is the byte
    /// order of the guest's CPU, and `window` the one in its configuration space.
    pub(super) fn new(
        device: &PciDevice,
        device_type: u32,
        msix: Option<msix::Control>,
        order: Endian,
        window: Option<Window>,
    ) -> Result<Self> {
        let registers = device.map_bar(0)?;
        let config = Config { msix, registers: registers.clone(), order };
        Ok(Self { device_type, registers, config, pages: RefCell::default(), window })
    }

    /// The BAR that the registers are in.
    pub(super) fn bar(&self) -> &Rc<Bar> {
        &self.registers
    }

    fn registers(&self) -> &dyn Registers {
        &*self.registers
    }

    fn select(&self, queue: u16) -> Result<&dyn Registers> {
        self.registers().write16(QUEUE_SELECT, queue)?;
        Ok(self.registers())
    }
}

/// The device configuration, which follows the registers.
struct Config {
    msix: Option<msix::Control>,
    registers: Rc<Bar>,
    order: Endian,
}

impl Config {
    fn start(&self) -> Result<u64> {
        let enabled = match &self.msix {
            Some(control) => control.is_enabled()?,
            None => false,
        };
        Ok(if enabled { 0x18 } else { 0x14 })
    }

    fn ordered(&self, width: Width, value: u64) -> u64 {
        if self.order == Endian::Big { width.swap(value) } else { value }
    }
}

impl Registers for Config {
    fn read(&self, offset: u64, width: Width) -> Result<u64> {
        let at = self.start()? + offset;
        let value = match width {
            // A port is no wider than 32 bits.
            Width::Quad => {
                let low = self.registers.read(at, Width::Long)?;
                low | self.registers.read(at + 4, Width::Long)? << 32
            }
            _ => self.registers.read(at, width)?,
        };
        Ok(self.ordered(width, value))
    }

    fn write(&self, offset: u64, width: Width, value: u64) -> Result<()> {
        self.registers.write(self.start()? + offset, width, self.ordered(width, value))
    }
}

impl Transport for LegacyPci {
    fn is_modern(&self) -> bool {
        false
    }

    fn byte_order(&self) -> Endian {
        self.config.order
    }

    fn device_type(&self) -> Result<u32> {
        Ok(self.device_type)
    }

    fn device_features(&self) -> Result<u64> {
        Ok(self.registers().read32(DEVICE_FEATURES)?.into())
    }

    fn set_driver_features(&self, features: u64) -> Result<()> {
        self.registers().write32(DRIVER_FEATURES, features as u32)
    }

    fn status(&self) -> Result<u8> {
        self.registers().read8(DEVICE_STATUS)
    }

    fn set_status(&self, status: u8) -> Result<()> {
        self.registers().write8(DEVICE_STATUS, status)
    }

    fn config_generation(&self) -> Result<Option<u32>> {
        Ok(None)
    }

    fn config(&self) -> &dyn Registers {
        &self.config
    }

    fn take_interrupts(&self) -> Result<u8> {
        interrupts(self.registers().read8(ISR_STATUS)?.into())
    }

    fn max_queue_size(&self, queue: u16) -> Result<u16> {
        self.select(queue)?.read16(QUEUE_SIZE)
    }

    fn can_size_queues(&self) -> bool {
        false
    }

    fn enable_queue(&self, queue: u16, _: u16, at: RingAddresses) -> Result<()> {
        let page = u32::try_from(at.descriptors / PAGE).ok();
        let page = page.filter(|_| at.descriptors.is_multiple_of(PAGE)).ok_or_else(|| {
            Error::failed(format!("no page of a legacy queue: {:#x}", at.descriptors))
        })?;
        self.pages.borrow_mut().insert(queue, page);
        self.select(queue)?.write32(QUEUE_ADDRESS, page)
    }

    fn is_queue_enabled(&self, queue: u16) -> Result<bool> {
        let page = self.pages.borrow().get(&queue).copied().unwrap_or_default();
        flag("Queue Address", self.select(queue)?.read32(QUEUE_ADDRESS)?, page)
    }

    fn reset_queue(&self, queue: u16) -> Result<()> {
        Err(Error::failed(format!("queue {queue}: a legacy interface resets no single queue")))
    }

    fn is_queue_resetting(&self, _: u16) -> Result<bool> {
        Ok(false)
    }

    fn notify(&self, queue: u16) -> Result<()> {
        self.registers().write16(QUEUE_NOTIFY, queue)
    }

    fn select_queue(&self, queue: u16) -> Result<()> {
        self.select(queue).map(|_| ())
    }

    fn write_queue_size(&self, size: u16) -> Result<()> {
        self.registers().write16(QUEUE_SIZE, size)
    }

    fn write_queue_addresses(&self, at: RingAddresses) -> Result<()> {
        self.registers().write32(QUEUE_ADDRESS, (at.descriptors / PAGE) as u32)
    }

    fn write_queue_enable(&self, _: u16) -> Result<()> {
        Ok(())
    }

    fn notify_any(&self, queue: u16) -> Result<()> {
        self.notify(queue)
    }

    fn areas(&self) -> Vec<Area> {
        let (registers, length) = (self.registers.clone(), self.registers.size());
        vec![Area { name: "legacy interface", registers, length, widths: PORT_WIDTHS }]
    }

    fn own_memory(&self) -> Option<u64> {
        None
    }

    fn window(&self) -> Option<&Window> {
        self.window.as_ref()
    }
}

impl Vectors for LegacyPci {
    fn set_config_vector(&self, vector: u16) -> Result<u16> {
        self.registers().write16(CONFIG_MSIX_VECTOR, vector)?;
        self.registers().read16(CONFIG_MSIX_VECTOR)
    }

    fn set_queue_vector(&self, queue: u16, vector: u16) -> Result<u16> {
        self.select(queue)?.write16(QUEUE_MSIX_VECTOR, vector)?;
        self.registers().read16(QUEUE_MSIX_VECTOR)
    }
}
