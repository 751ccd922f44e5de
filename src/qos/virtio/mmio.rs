//! virtio over MMIO (4.2), version 2 and, with version 1 of the registers, legacy (4.2.4).

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use super::transport::{Area, MEMORY_WIDTHS, RingAddresses, Transport, flag, interrupts};
use crate::protocol::Endian;
use crate::qemu::Vm;
use crate::qos::interrupt::InterruptLine;
use crate::qos::registers::{Mmio, RegisterBlock, Registers, RegistersExt, Width};
use crate::{Error, Result, interface};

const MAGIC_VALUE: u64 = 0x000;
const VERSION: u64 = 0x004;
const DEVICE_ID: u64 = 0x008;
const DEVICE_FEATURES: u64 = 0x010;
const DEVICE_FEATURES_SEL: u64 = 0x014;
const DRIVER_FEATURES: u64 = 0x020;
const DRIVER_FEATURES_SEL: u64 = 0x024;
const GUEST_PAGE_SIZE: u64 = 0x028;
const QUEUE_SEL: u64 = 0x030;
const QUEUE_NUM_MAX: u64 = 0x034;
const QUEUE_NUM: u64 = 0x038;
const QUEUE_ALIGN: u64 = 0x03c;
const QUEUE_PFN: u64 = 0x040;
const QUEUE_READY: u64 = 0x044;
const QUEUE_NOTIFY: u64 = 0x050;
const INTERRUPT_STATUS: u64 = 0x060;
const INTERRUPT_ACK: u64 = 0x064;
const STATUS: u64 = 0x070;
const QUEUE_DESC_LOW: u64 = 0x080;
const QUEUE_DRIVER_LOW: u64 = 0x090;
const QUEUE_DEVICE_LOW: u64 = 0x0a0;
const QUEUE_RESET: u64 = 0x0c0;
const CONFIG_GENERATION: u64 = 0x0fc;
const CONFIG: u64 = 0x100;
/// How many bytes of registers a slot of QEMU has.
const SIZE: u64 = 0x200;

/// MagicValue: "virt".
const MAGIC: u32 = 0x7472_6976;
/// Version of a legacy device.
const LEGACY: u32 = 1;
/// Version of any other.
const MODERN: u32 = 2;
/// What a legacy queue's address is told in.
const PAGE: u64 = 4096;

/// Where a machine has its slots for virtio devices.
#[derive(Debug, Clone, Copy)]
pub struct Slots {
    /// The address of the first.
    pub base: u64,
    /// How far apart they are, in bytes.
    pub step: u64,
    /// How many there are at the most; what is no slot ends them.
    pub count: u32,
    /// Where the interrupt line of a slot, counted from 0, ends: the path of the interrupt
    /// controller in QEMU's object model, and the number of its input.
    pub line: fn(&Vm, u32) -> Result<(String, u32)>,
}

/// A machine's slots: into one of them `-device virtio-…-device` puts a device.
pub struct VirtioBus {
    vm: Rc<Vm>,
    slots: Slots,
}

interface!(VirtioBus = "virtio-bus");

impl VirtioBus {
    /// The slots of this machine.
    pub fn new(vm: &Rc<Vm>, slots: Slots) -> Self {
        Self { vm: vm.clone(), slots }
    }

    /// The one device of this type (chapter 5) that is in a slot.
    ///
    /// # Errors
    /// There is none, or more than one, or no slot at all.
    pub fn find(&self, device_type: u32) -> Result<Rc<Slot>> {
        let mut found = Vec::new();
        for number in 0..self.slots.count {
            let base = self.slots.base + u64::from(number) * self.slots.step;
            // Legacy registers are in the byte order of the CPU, others little-endian; the
            // magic number tells.
            let registers = Mmio::new(&self.vm, base, Endian::Little);
            let magic = (&registers as &dyn Registers).read32(MAGIC_VALUE)?;
            let order = match magic {
                MAGIC => Endian::Little,
                _ if magic.swap_bytes() == MAGIC => Endian::Big,
                _ if number > 0 => break,
                _ => {
                    return Err(Error::failed(format!(
                        "no virtio slot at {base:#x}: MagicValue {magic:#x}"
                    )));
                }
            };
            let slot = Slot::new(&self.vm, base, order, (self.slots.line, number))?;
            if slot.device_type()? == device_type {
                found.push(slot);
            }
        }
        let count = found.len();
        match found.pop() {
            Some(slot) if count == 1 => Ok(Rc::new(slot)),
            _ => Err(Error::failed(format!(
                "{count} virtio devices of type {device_type} in {:?}, wanted one",
                self.slots
            ))),
        }
    }
}

/// Finds the line of a slot by its number, see [`Slots::line`].
type Line = (fn(&Vm, u32) -> Result<(String, u32)>, u32);

/// One slot.
pub struct Slot {
    vm: Rc<Vm>,
    base: u64,
    line: Line,
    registers: Mmio,
    config: Config,
    version: u32,
    order: Endian,
    /// Where each queue was made live through the legacy registers.
    pages: RefCell<BTreeMap<u16, u32>>,
}

impl Slot {
    fn new(vm: &Rc<Vm>, base: u64, order: Endian, line: Line) -> Result<Self> {
        let registers = Mmio::new(vm, base, order);
        let version = (&registers as &dyn Registers).read32(VERSION)?;
        if version != LEGACY && version != MODERN {
            return Err(Error::failed(format!("virtio slot at {base:#x}: Version {version}")));
        }
        let config = Config(Mmio::new(vm, base + CONFIG, order));
        let pages = RefCell::default();
        Ok(Self { vm: vm.clone(), base, line, registers, config, version, order, pages })
    }

    /// Watches its interrupt line at the interrupt controller.
    ///
    /// # Errors
    /// There is no such controller.
    pub fn watch_line(&self) -> Result<InterruptLine> {
        let (path, input) = self.line.0(&self.vm, self.line.1)?;
        InterruptLine::watch(&self.vm, &path, input)
    }

    /// Reads InterruptStatus, which acknowledges nothing.
    ///
    /// # Errors
    /// QEMU does not answer.
    pub fn interrupt_status(&self) -> Result<u8> {
        interrupts(self.registers().read32(INTERRUPT_STATUS)?)
    }

    /// Writes InterruptACK.
    ///
    /// # Errors
    /// QEMU does not answer.
    pub fn acknowledge(&self, interrupts: u8) -> Result<()> {
        self.registers().write32(INTERRUPT_ACK, interrupts.into())
    }

    /// Its registers as the generic suite takes them, with the first queue selected.
    ///
    /// # Errors
    /// QEMU does not answer.
    pub fn block(&self) -> Result<RegisterBlock> {
        let registers = Rc::new(Mmio::new(&self.vm, self.base, self.order));
        super::registers::mmio(registers, self.version, self.device_type()?, self.order)
    }

    /// Writes where the rings of the queue that is selected are.
    fn write_areas(&self, at: RingAddresses) -> Result<()> {
        for (register, address) in [
            (QUEUE_DESC_LOW, at.descriptors),
            (QUEUE_DRIVER_LOW, at.driver),
            (QUEUE_DEVICE_LOW, at.device),
        ] {
            self.registers().write32(register, address as u32)?;
            self.registers().write32(register + 4, (address >> 32) as u32)?;
        }
        Ok(())
    }

    fn registers(&self) -> &dyn Registers {
        &self.registers
    }

    fn select(&self, queue: u16) -> Result<&dyn Registers> {
        self.registers().write32(QUEUE_SEL, queue.into())?;
        Ok(self.registers())
    }
}

/// The value of a register whose upper bits are never set.
fn narrow<T: TryFrom<u32>>(what: &str, value: u32) -> Result<T> {
    T::try_from(value).map_err(|_| Error::failed(format!("{what} reads {value:#x}")))
}

/// The device configuration. No access is wider than 32 bits.
struct Config(Mmio);

impl Registers for Config {
    fn read(&self, offset: u64, width: Width) -> Result<u64> {
        if width != Width::Quad {
            return self.0.read(offset, width);
        }
        let low = self.0.read(offset, Width::Long)?;
        Ok(low | self.0.read(offset + 4, Width::Long)? << 32)
    }

    fn write(&self, offset: u64, width: Width, value: u64) -> Result<()> {
        self.0.write(offset, width, value)
    }
}

impl Transport for Slot {
    fn is_modern(&self) -> bool {
        self.version == MODERN
    }

    fn byte_order(&self) -> Endian {
        self.order
    }

    fn device_type(&self) -> Result<u32> {
        self.registers().read32(DEVICE_ID)
    }

    fn device_features(&self) -> Result<u64> {
        let mut features = 0;
        for half in 0..if self.is_modern() { 2 } else { 1 } {
            self.registers().write32(DEVICE_FEATURES_SEL, half)?;
            features |= u64::from(self.registers().read32(DEVICE_FEATURES)?) << (32 * half);
        }
        Ok(features)
    }

    fn set_driver_features(&self, features: u64) -> Result<()> {
        for half in 0..if self.is_modern() { 2 } else { 1 } {
            self.registers().write32(DRIVER_FEATURES_SEL, half)?;
            self.registers().write32(DRIVER_FEATURES, (features >> (32 * half)) as u32)?;
        }
        Ok(())
    }

    fn status(&self) -> Result<u8> {
        narrow("Status", self.registers().read32(STATUS)?)
    }

    fn set_status(&self, status: u8) -> Result<()> {
        self.registers().write32(STATUS, status.into())
    }

    fn config_generation(&self) -> Result<Option<u32>> {
        match self.is_modern() {
            true => Ok(Some(self.registers().read32(CONFIG_GENERATION)?)),
            false => Ok(None),
        }
    }

    fn config(&self) -> &dyn Registers {
        &self.config
    }

    fn take_interrupts(&self) -> Result<u8> {
        let status = self.interrupt_status()?;
        self.acknowledge(status)?;
        Ok(status)
    }

    fn max_queue_size(&self, queue: u16) -> Result<u16> {
        narrow("QueueNumMax", self.select(queue)?.read32(QUEUE_NUM_MAX)?)
    }

    fn can_size_queues(&self) -> bool {
        true
    }

    fn enable_queue(&self, queue: u16, size: u16, at: RingAddresses) -> Result<()> {
        let registers = self.select(queue)?;
        if !self.is_modern() {
            let page = u32::try_from(at.descriptors / PAGE).map_err(|_| {
                Error::failed(format!("no page of a legacy queue: {:#x}", at.descriptors))
            })?;
            registers.write32(GUEST_PAGE_SIZE, PAGE as u32)?;
            registers.write32(QUEUE_NUM, size.into())?;
            registers.write32(QUEUE_ALIGN, PAGE as u32)?;
            self.pages.borrow_mut().insert(queue, page);
            return registers.write32(QUEUE_PFN, page);
        }
        registers.write32(QUEUE_NUM, size.into())?;
        self.write_areas(at)?;
        registers.write32(QUEUE_READY, 1)
    }

    fn is_queue_enabled(&self, queue: u16) -> Result<bool> {
        let registers = self.select(queue)?;
        if self.is_modern() {
            return flag("QueueReady", registers.read32(QUEUE_READY)?, 1);
        }
        let page = self.pages.borrow().get(&queue).copied().unwrap_or_default();
        flag("QueuePFN", registers.read32(QUEUE_PFN)?, page)
    }

    fn reset_queue(&self, queue: u16) -> Result<()> {
        self.select(queue)?.write32(QUEUE_RESET, 1)?;
        // It goes on, or it is done: anything else is a device without the register.
        if !self.is_queue_resetting(queue)? && self.is_queue_enabled(queue)? {
            return Err(Error::skipped(
                "QEMU offers RING_RESET over MMIO as well, but has no QueueReset there",
            ));
        }
        Ok(())
    }

    fn is_queue_resetting(&self, queue: u16) -> Result<bool> {
        Ok(self.select(queue)?.read32(QUEUE_RESET)? != 0)
    }

    fn notify(&self, queue: u16) -> Result<()> {
        self.registers().write32(QUEUE_NOTIFY, queue.into())
    }

    fn select_queue(&self, queue: u16) -> Result<()> {
        self.select(queue).map(|_| ())
    }

    fn write_queue_size(&self, size: u16) -> Result<()> {
        self.registers().write32(QUEUE_NUM, size.into())
    }

    fn write_queue_addresses(&self, at: RingAddresses) -> Result<()> {
        if !self.is_modern() {
            return self.registers().write32(QUEUE_PFN, (at.descriptors / PAGE) as u32);
        }
        self.write_areas(at)
    }

    fn write_queue_enable(&self, value: u16) -> Result<()> {
        match self.is_modern() {
            true => self.registers().write32(QUEUE_READY, value.into()),
            false => Ok(()),
        }
    }

    fn notify_any(&self, queue: u16) -> Result<()> {
        self.notify(queue)
    }

    fn areas(&self) -> Vec<Area> {
        let registers = Rc::new(Mmio::new(&self.vm, self.base, self.order));
        vec![Area { name: "registers", registers, length: SIZE, widths: MEMORY_WIDTHS }]
    }

    fn own_memory(&self) -> Option<u64> {
        Some(self.base)
    }
}
