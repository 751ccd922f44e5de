//! The PCI bus behind a generic host bridge.

use std::rc::Rc;

use crate::drivers::pci::generic_pcihost::{Layout, Line};
use crate::graph::{Plug, Produces};
use crate::protocol::Endian;
use crate::qemu::Vm;
use crate::qos::interrupt::InterruptLine;
use crate::qos::pci::{PciAddress, PciBus, RootBus, SLOT, Space, Windows};
use crate::qos::registers::{Mmio, Registers, Width};
use crate::{Result, driver};

/// The root bus of a generic host bridge.
pub struct PciBusGeneric {
    vm: Rc<Vm>,
    line: Option<Line>,
    config: Mmio,
    io: Mmio,
    memory: Mmio,
    windows: Windows,
}

impl PciBusGeneric {
    /// The bus of the bridge with this layout.
    pub fn new(vm: &Rc<Vm>, layout: Layout) -> Self {
        let at = |base| Mmio::new(vm, base, Endian::Little);
        Self {
            vm: vm.clone(),
            line: layout.line,
            config: at(layout.ecam),
            io: at(layout.io),
            memory: at(0),
            windows: Windows::new(layout.ports, layout.memory),
        }
    }
}

/// Where a function's register is from the start of the configuration space on.
fn ecam_offset(at: PciAddress, register: u16) -> u64 {
    u64::from(at.bus) << 20 | u64::from(at.devfn()) << 12 | u64::from(register)
}

impl PciBus for PciBusGeneric {
    fn config_read(&self, at: PciAddress, register: u16, width: Width) -> Result<u32> {
        Ok(self.config.read(ecam_offset(at, register), width)? as u32)
    }

    fn config_write(&self, at: PciAddress, register: u16, width: Width, value: u32) -> Result<()> {
        self.config.write(ecam_offset(at, register), width, value.into())
    }

    fn space(&self, space: Space) -> &dyn Registers {
        match space {
            Space::Io => &self.io,
            Space::Memory => &self.memory,
        }
    }

    fn windows(&self) -> &Windows {
        &self.windows
    }

    fn watch_pin(&self, at: PciAddress, pin: u8) -> Result<Option<InterruptLine>> {
        let Some(line) = self.line else {
            return Ok(None);
        };
        let (path, input) = line(&self.vm, u32::from((at.device + pin) % 4))?;
        InterruptLine::watch(&self.vm, &path, input).map(Some)
    }
}

impl Produces<dyn PciBus> for PciBusGeneric {
    const PLUG: Plug = SLOT;

    fn produced(self: Rc<Self>) -> Rc<dyn PciBus> {
        self
    }
}

impl Produces<RootBus> for PciBusGeneric {
    const PLUG: Plug = SLOT;

    fn produced(self: Rc<Self>) -> Rc<RootBus> {
        Rc::new(RootBus(self))
    }
}

driver!(PciBusGeneric = "pci-bus-generic"; produces dyn PciBus, RootBus);

#[cfg(test)]
mod tests {
    use super::*;

    /// Would catch bus, device or function at the wrong place (PCI Express 3.0, 7.2.2).
    #[test]
    fn every_function_has_four_kibibytes() {
        assert_eq!(ecam_offset(PciAddress::new(0, 0), 0x10), 0x10);
        assert_eq!(ecam_offset(PciAddress::new(4, 1), 0xffc), 0x2_1ffc);
        let last = PciAddress { bus: 0xff, device: 0x1f, function: 7 };
        assert_eq!(ecam_offset(last, 0xfff), 0xfff_ffff);
    }
}
