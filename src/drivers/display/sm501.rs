//! Silicon Motion's SM501 (Silicon Motion, "SM501 MMCC Databook"), on PCI and in the memory of boards.

use std::rc::Rc;

use crate::graph::{Consumes, Discovered, FoundDevice, Produces, QemuArgs, Site};
use crate::protocol::Endian;
use crate::qemu::{MIB, Vm};
use crate::qos::display::SCREEN;
use crate::qos::display::sm501::{REGISTERS, Sm501, TABLE};
use crate::qos::pci::{Bar, ExpectedBar, Identity, PciBus, PciDevice, PciFunction, Space};
use crate::qos::registers::{Mmio, RegisterBlock, Registers, Width};
use crate::{Result, discovered, driver};

/// What its configuration space says.
const IDENTITY: Identity = Identity {
    vendor: 0x126f,
    device: 0x0501,
    revision: 0,
    class: 0x03_80_00,
    subsystem: (0x1af4, 0x1100),
    pin: 0,
    bars: &[
        ExpectedBar { number: 0, space: Space::Memory, size: 0x0080_0000, witness: None },
        ExpectedBar { number: 1, space: Space::Memory, size: 0x0020_0000, witness: None },
    ],
    capabilities: &[],
};

/// The registers as the generic suite takes them.
fn block(registers: Rc<dyn Registers>) -> RegisterBlock {
    RegisterBlock::new("SM501 MMCC Databook", registers, TABLE).widths(&[Width::Long])
}

/// QEMU's `sm501`, with 8 MiB of local memory.
pub struct PciSm501 {
    vm: Rc<Vm>,
    device: PciDevice,
    memory: Rc<Bar>,
    registers: Rc<Bar>,
}

impl PciSm501 {
    fn map(vm: &Rc<Vm>, device: PciDevice) -> Result<Self> {
        let (memory, registers) = (device.map_bar(0)?, device.map_bar(1)?);
        device.enable()?;
        Ok(Self { vm: vm.clone(), device, memory, registers })
    }
}

impl Consumes<dyn PciBus> for PciSm501 {
    const ARGS: QemuArgs =
        QemuArgs::device("bus={bus},addr={addr},vram-size=8388608").images(&[SCREEN]);

    fn attach(bus: Rc<dyn PciBus>, site: &Site) -> Result<Self> {
        Self::map(site.vm, PciDevice::plugged(&bus, site)?)
    }
}

impl Produces<Sm501> for PciSm501 {
    fn produced(self: Rc<Self>) -> Rc<Sm501> {
        Rc::new(Sm501 {
            vm: self.vm.clone(),
            registers: self.registers.clone(),
            memory: self.memory.clone(),
            memory_size: self.memory.size(),
        })
    }
}

impl Produces<PciFunction> for PciSm501 {
    fn produced(self: Rc<Self>) -> Rc<PciFunction> {
        let mapped = vec![self.memory.clone(), self.registers.clone()];
        Rc::new(PciFunction { device: self.device.clone(), identity: Some(IDENTITY), mapped })
    }
}

impl Produces<RegisterBlock> for PciSm501 {
    fn produced(self: Rc<Self>) -> Rc<RegisterBlock> {
        let (vm, device) = (self.vm.clone(), self.device.clone());
        let again = move || {
            let card = Self::map(&vm, device.clone())?;
            Ok(card.registers as Rc<dyn Registers>)
        };
        Rc::new(block(self.registers.clone()).attach(again))
    }
}

/// QEMU's `sysbus-sm501`, of which all boards have 8 MiB of local memory.
pub struct SysbusSm501 {
    vm: Rc<Vm>,
    registers: Rc<Mmio>,
    memory: Rc<Mmio>,
}

impl Discovered for SysbusSm501 {
    const QOM_TYPES: &'static [&'static str] = &["sysbus-sm501"];

    fn found(device: &FoundDevice, vm: &Rc<Vm>) -> Result<Self> {
        let base = device.base()?;
        let mmio = |base: u64| Rc::new(Mmio::new(vm, base, Endian::Little));
        Ok(Self { vm: vm.clone(), registers: mmio(base), memory: mmio(base - REGISTERS) })
    }
}

impl Produces<Sm501> for SysbusSm501 {
    const ARGS: QemuArgs = QemuArgs::NONE.images(&[SCREEN]);

    fn produced(self: Rc<Self>) -> Rc<Sm501> {
        Rc::new(Sm501 {
            vm: self.vm.clone(),
            registers: self.registers.clone(),
            memory: self.memory.clone(),
            memory_size: 8 * MIB,
        })
    }
}

impl Produces<RegisterBlock> for SysbusSm501 {
    fn produced(self: Rc<Self>) -> Rc<RegisterBlock> {
        Rc::new(block(self.registers.clone()))
    }
}

driver!(PciSm501 = "sm501"; consumes dyn PciBus; produces Sm501, PciFunction, RegisterBlock);
driver!(SysbusSm501 = "sysbus-sm501"; produces Sm501, RegisterBlock);
discovered!(SysbusSm501);
