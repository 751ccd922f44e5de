//! The AHCI controller of Intel's ICH9, as a card and as a part of the Q35 chipset (Serial ATA
//! AHCI Specification 1.3.1, whose sections are cited; ICH9 datasheet, 14 and 15).

use std::rc::Rc;

use crate::drivers::pci::pci_bus_pc::{Chipset, PciBusPc};
use crate::drivers::pci::q35_pcihost::Q35Pcihost;
use crate::graph::{Addition, Consumes, Contains, Produces, QemuArgs, Site};
use crate::qemu::Vm;
use crate::qos::ahci::{self, AhciHba, GHC, IS, MEDIUM, PORT, PORT_STRIDE, Unit, VS};
use crate::qos::block::DISK;
use crate::qos::pci::{
    self, ExpectedBar, PciAddress, PciBus, PciDevice, PciFunction, PciPlug, Space,
};
use crate::qos::registers::{AnyRegister, Register, RegisterBlock};
use crate::{Result, driver, edge};

/// Host capabilities: six ports, 32 slots for commands, 64-bit addresses, queued commands, the
/// first generation's speed, AHCI only.
const CAP: Register<u32> =
    Register::new("CAP", ahci::CAP.offset()).section("3.1.1").reset(0xc014_1f05).read_only();
/// Which ports there are.
const PI: Register<u32> =
    Register::new("PI", ahci::PI.offset()).section("3.1.4").reset(0x3f).read_only();
/// The registers of the controller.
const HOST: &[&dyn AnyRegister] = &[&CAP, &GHC, &IS, &PI, &VS];
/// How many ports there are.
const PORTS: u64 = 6;

/// What its configuration space says: message-signalled interrupts (5), SATA (0x12).
const IDENTITY: pci::Identity = pci::Identity {
    vendor: 0x8086,
    device: 0x2922,
    revision: 0x02,
    class: 0x01_06_01,
    subsystem: (0x1af4, 0x1100),
    pin: 1,
    bars: &[
        ExpectedBar { number: 4, space: Space::Io, size: 0x20, witness: None },
        ExpectedBar { number: 5, space: Space::Memory, size: 0x1000, witness: Some(VS.offset()) },
    ],
    capabilities: &[0x05, 0x12],
};

/// The controller as an interface.
fn hba(vm: &Rc<Vm>, plug: &PciPlug) -> AhciHba {
    let (machine, place) = (vm.clone(), plug.clone());
    AhciHba {
        vm: vm.clone(),
        registers: plug.registers.clone(),
        units: &Unit::ALL,
        function: Some(plug.device.clone()),
        pin: None,
        again: Rc::new(move || Ok(Rc::new(hba(&machine, &place.again()?)))),
    }
}

/// QEMU's `ich9-ahci` as a card.
pub struct Ahci {
    vm: Rc<Vm>,
    plug: PciPlug,
}

impl Consumes<dyn PciBus> for Ahci {
    const ARGS: QemuArgs = QemuArgs::device("bus={bus},addr={addr},id=ahci")
        .add(Addition::NONE.before(ahci::BACKENDS).after(
            "-device ide-hd,bus=ahci.0,drive=drive0,serial=qgraph-disk \
                 -device ide-cd,bus=ahci.1,drive=medium,id=cd \
                 -device ide-hd,bus=ahci.2,drive=broken,rerror=report,werror=report \
                 -device ide-hd,bus=ahci.3,drive=stopping,rerror=stop,werror=stop \
                 -device ide-hd,bus=ahci.4,drive=slow",
        ))
        .images(&[DISK, MEDIUM]);

    fn attach(bus: Rc<dyn PciBus>, site: &Site) -> Result<Self> {
        Ok(Self { vm: site.vm.clone(), plug: PciPlug::attach(&bus, site, 5)? })
    }
}

impl Produces<PciFunction> for Ahci {
    fn produced(self: Rc<Self>) -> Rc<PciFunction> {
        self.plug.function(IDENTITY)
    }
}

impl Produces<RegisterBlock> for Ahci {
    fn produced(self: Rc<Self>) -> Rc<RegisterBlock> {
        let mut block = self.plug.block("Serial ATA AHCI Specification 1.3.1", HOST);
        for register in PORT {
            block = block.with_array(*register, PORTS, PORT_STRIDE);
        }
        Rc::new(block)
    }
}

impl Produces<AhciHba> for Ahci {
    fn produced(self: Rc<Self>) -> Rc<AhciHba> {
        Rc::new(hba(&self.vm, &self.plug))
    }
}

driver!(Ahci = "ich9-ahci"; consumes dyn PciBus; produces PciFunction, RegisterBlock, AhciHba);

/// The controller that is a part of the Q35 chipset.
pub struct Q35Ahci {
    vm: Rc<Vm>,
    plug: PciPlug,
}

impl Contains<Q35Ahci> for Q35Pcihost {
    fn contained(&self) -> Result<Q35Ahci> {
        let bus: Rc<dyn PciBus> = Rc::new(PciBusPc::new(self.vm(), Chipset::Q35));
        let device = PciDevice::find(&bus, PciAddress::new(0x1f, 2))?;
        Ok(Q35Ahci { vm: self.vm().clone(), plug: PciPlug::of(device, 5)? })
    }
}

impl Produces<PciFunction> for Q35Ahci {
    fn produced(self: Rc<Self>) -> Rc<PciFunction> {
        self.plug.function(IDENTITY)
    }
}

impl Produces<AhciHba> for Q35Ahci {
    const ARGS: QemuArgs = QemuArgs::NONE
        .before(ahci::BACKENDS)
        .after(
            "-device ide-hd,bus=ide.0,drive=drive0,serial=qgraph-disk \
             -device ide-cd,bus=ide.1,drive=medium,id=cd \
             -device ide-hd,bus=ide.2,drive=broken,rerror=report,werror=report \
             -device ide-hd,bus=ide.3,drive=stopping,rerror=stop,werror=stop \
             -device ide-hd,bus=ide.4,drive=slow",
        )
        .images(&[DISK, MEDIUM]);

    fn produced(self: Rc<Self>) -> Rc<AhciHba> {
        Rc::new(hba(&self.vm, &self.plug))
    }
}

driver!(Q35Ahci = "q35-ahci"; produces PciFunction, AhciHba);
edge!(Q35Pcihost; contains Q35Ahci);
