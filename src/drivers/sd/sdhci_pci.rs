//! An SD host controller on a PCI bus.

use std::rc::Rc;

use crate::graph::{Consumes, Produces, QemuArgs, Site};
use crate::qemu::Vm;
use crate::qos::pci::{Bar, PciBus, PciDevice};
use crate::qos::registers::Registers;
use crate::qos::sd::{SdBus, SdhciHost};
use crate::qos::sdhci::{Profile, Sdhci, VERSION_2_00, Vendor};
use crate::{Result, driver};

/// QEMU's `sdhci-pci`, a controller of specification version 2.00.
pub struct SdhciPci {
    vm: Rc<Vm>,
    device: PciDevice,
    registers: Rc<Bar>,
}

impl Consumes<dyn PciBus> for SdhciPci {
    const ARGS: QemuArgs = QemuArgs::device("bus={bus},addr={addr}");

    fn attach(bus: Rc<dyn PciBus>, site: &Site) -> Result<Self> {
        let device = PciDevice::plugged(&bus, site)?;
        let registers = device.map_bar(0)?;
        device.enable()?;
        Ok(Self { vm: site.vm.clone(), device, registers })
    }
}

impl Sdhci for SdhciPci {
    fn registers(&self) -> &dyn Registers {
        &*self.registers
    }

    fn profile(&self) -> Profile {
        Profile {
            versions: &[VERSION_2_00],
            capabilities: 0x0578_34b4,
            base_clock_mhz: 52,
            sdma: true,
            max_block: 512,
            vendor: Vendor::Standard,
        }
    }

    fn function(&self) -> Option<&PciDevice> {
        Some(&self.device)
    }

    fn found_again(&self) -> Option<Result<Rc<dyn Registers>>> {
        let again = || -> Result<Rc<dyn Registers>> {
            let registers = self.device.map_bar(0)?;
            self.device.enable()?;
            Ok(registers)
        };
        Some(again())
    }
}

impl Produces<dyn Sdhci> for SdhciPci {
    fn produced(self: Rc<Self>) -> Rc<dyn Sdhci> {
        self
    }
}

impl Produces<SdBus> for SdhciPci {
    fn produced(self: Rc<Self>) -> Rc<SdBus> {
        let vm = self.vm.clone();
        Rc::new(SdBus(SdhciHost::shared(&vm, self)))
    }
}

driver!(SdhciPci = "sdhci-pci"; consumes dyn PciBus; produces dyn Sdhci, SdBus);
