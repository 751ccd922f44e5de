//! What PCI cards with a VGA or with Bochs's VBE extensions have in common: where video memory is,
//! and where the registers are, at ports that every PC has for them, or in memory.

use std::rc::Rc;

use crate::Error;
use crate::Result;
use crate::graph::Site;
use crate::qemu::Vm;
use crate::qos::display::registers::TABLE;
use crate::qos::display::{Dispi, DispiPorts, Edid, Extra, Vga, Window};
use crate::qos::pci::{Bar, ExpectedBar, Identity, PciBus, PciDevice, PciFunction, Space};
use crate::qos::registers::{Access, AnyRegister, RegisterBlock, Registers, Width};

/// What a card has.
#[derive(Clone, Copy)]
pub struct Model {
    /// The BAR that video memory is behind.
    pub memory: u8,
    /// The BAR with the VGA's ports, the VBE extensions and the rest of QEMU's own registers.
    pub mmio: Option<u8>,
    /// What its configuration space says.
    pub identity: Option<Identity>,
}

/// Of QEMU's own cards (QEMU, "QEMU Standard VGA").
pub const fn standard(class: u32) -> Identity {
    Identity {
        vendor: 0x1234,
        device: 0x1111,
        revision: 2,
        class,
        subsystem: (0x1af4, 0x1100),
        pin: 0,
        bars: &[
            ExpectedBar { number: 0, space: Space::Memory, size: 0x0100_0000, witness: None },
            ExpectedBar { number: 2, space: Space::Memory, size: 0x1000, witness: Some(0x600) },
        ],
        capabilities: &[],
    }
}

/// Ports and memory of PCI that do not move, from `base` on.
struct Fixed {
    bus: Rc<dyn PciBus>,
    space: Space,
    base: u64,
}

impl Registers for Fixed {
    fn read(&self, offset: u64, width: Width) -> Result<u64> {
        self.bus.space(self.space).read(self.base + offset, width)
    }

    fn write(&self, offset: u64, width: Width, value: u64) -> Result<()> {
        self.bus.space(self.space).write(self.base + offset, width, value)
    }

    fn sequence(&self, accesses: &[Access]) -> Result<Vec<u64>> {
        let accesses = accesses.iter().map(|access| match *access {
            Access::Read(offset, width) => Access::Read(self.base + offset, width),
            Access::Write(offset, width, value) => Access::Write(self.base + offset, width, value),
        });
        self.bus.space(self.space).sequence(&accesses.collect::<Vec<_>>())
    }
}

/// A part of a BAR: what has the offset `first` in it is at offset `start` of the BAR.
struct Part {
    bar: Rc<Bar>,
    first: u64,
    start: u64,
}

impl Part {
    fn there(&self, offset: u64) -> Result<u64> {
        let none = || Error::failed(format!("{offset:#x} is not in the memory of this card"));
        offset.checked_sub(self.first).map(|offset| self.start + offset).ok_or_else(none)
    }
}

impl Registers for Part {
    fn read(&self, offset: u64, width: Width) -> Result<u64> {
        self.bar.read(self.there(offset)?, width)
    }

    fn write(&self, offset: u64, width: Width, value: u64) -> Result<()> {
        self.bar.write(self.there(offset)?, width, value)
    }
}

/// Where the parts of QEMU's own registers are in their BAR (QEMU, "QEMU Standard VGA"): the ports
/// from 0x3c0 on, the VBE extensions, and the order of bytes.
const PORTS_IN_MEMORY: u64 = 0x400;
const DISPI_IN_MEMORY: u64 = 0x500;
const BYTE_ORDER_IN_MEMORY: u64 = 0x604;

/// What is behind the BARs of a card, mapped.
pub struct Card {
    vm: Rc<Vm>,
    device: PciDevice,
    model: Model,
    /// Whether its ports are used where they are in memory.
    in_memory: bool,
    memory: Rc<Bar>,
    mmio: Option<Rc<Bar>>,
}

impl Card {
    /// The card that this path has plugged into `bus`, its ports used where they are in memory if
    /// `in_memory` says so.
    ///
    /// # Errors
    /// Returns an error if no such card is there, or its BARs cannot be mapped.
    pub fn attach(
        bus: &Rc<dyn PciBus>,
        site: &Site,
        model: Model,
        in_memory: bool,
    ) -> Result<Self> {
        Self::map(site.vm, PciDevice::plugged(bus, site)?, model, in_memory)
    }

    fn map(vm: &Rc<Vm>, device: PciDevice, model: Model, in_memory: bool) -> Result<Self> {
        let memory = device.map_bar(model.memory)?;
        let mmio = model.mmio.map(|number| device.map_bar(number)).transpose()?;
        device.enable()?;
        Ok(Self { vm: vm.clone(), device, model, in_memory, memory, mmio })
    }

    /// Video memory.
    pub fn memory(&self) -> &Rc<Bar> {
        &self.memory
    }

    /// Another of its BARs, mapped.
    ///
    /// # Errors
    /// Returns an error if it has no such BAR, or there is no room for it.
    pub fn bar(&self, number: u8) -> Result<Rc<Bar>> {
        self.device.map_bar(number)
    }

    fn part(&self, first: u64, start: u64) -> Result<Rc<dyn Registers>> {
        let none = || Error::failed("this card has no registers in memory");
        let bar = self.mmio.clone().ok_or_else(none)?;
        Ok(Rc::new(Part { bar, first, start }))
    }

    fn fixed(&self, space: Space, base: u64) -> Rc<dyn Registers> {
        Rc::new(Fixed { bus: self.device.bus().clone(), space, base })
    }

    fn ports(&self) -> Result<Rc<dyn Registers>> {
        if self.in_memory {
            self.part(0x3c0, PORTS_IN_MEMORY)
        } else {
            Ok(self.fixed(Space::Io, 0))
        }
    }

    /// Its VGA.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    pub fn vga(&self) -> Result<Vga> {
        let is_pc = matches!(&*self.vm.emulator().capabilities.arch, "x86_64" | "i386");
        let window =
            (is_pc && !self.in_memory).then(|| Window(self.fixed(Space::Memory, 0xa_0000)));
        Vga::new(&self.vm, self.ports()?, self.memory.clone(), self.memory.size(), window)
    }

    /// Its VBE extensions; `vga` is what they belong to.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    pub fn dispi(&self, vga: Option<Rc<Vga>>) -> Result<Dispi> {
        let registers: Rc<dyn Registers> = if self.in_memory {
            self.part(0, DISPI_IN_MEMORY)?
        } else {
            Rc::new(DispiPorts(self.ports()?))
        };
        let order = self.mmio.is_some().then(|| self.part(0, BYTE_ORDER_IN_MEMORY)).transpose()?;
        let extra = Extra { vga, byte_order: order };
        Dispi::new(&self.vm, registers, self.memory.clone(), self.memory.size(), extra)
    }

    /// The identification of its monitor.
    ///
    /// # Errors
    /// Returns an error if the card has no registers in memory.
    pub fn edid(&self) -> Result<Rc<Edid>> {
        Ok(Rc::new(Edid(self.part(0, 0)?)))
    }

    /// The registers of its VGA as the generic suite takes them.
    pub fn block(&self, vga: &Vga) -> RegisterBlock {
        let (vm, device) = (self.vm.clone(), self.device.clone());
        let (model, in_memory) = (self.model, self.in_memory);
        RegisterBlock::new("VGA", vga.registers(), TABLE).attach(move || {
            let card = Self::map(&vm, device.clone(), model, in_memory)?;
            Ok(card.vga()?.registers())
        })
    }

    /// The registers of its VBE extensions as the generic suite takes them.
    pub fn dispi_block(&self, dispi: &Dispi, table: &[&dyn AnyRegister]) -> RegisterBlock {
        let (vm, device) = (self.vm.clone(), self.device.clone());
        let (model, in_memory) = (self.model, self.in_memory);
        let registers = dispi.registers();
        RegisterBlock::new("VBE Display Interface", registers, table).attach(move || {
            let card = Self::map(&vm, device.clone(), model, in_memory)?;
            Ok(card.dispi(None)?.registers())
        })
    }

    /// The card as the suite of all PCI functions takes it.
    pub fn function(&self) -> Rc<PciFunction> {
        let mut mapped = vec![self.memory.clone()];
        mapped.extend(self.mmio.clone());
        let (device, identity) = (self.device.clone(), self.model.identity);
        Rc::new(PciFunction { device, identity, mapped })
    }
}
