//! IDE controllers on PCI: the PIIX's of a PC, whose channels are at the ports of old, and cards
//! in native mode, whose channels are behind their BARs (PCI IDE Controller Specification 1.0).

use std::rc::Rc;

use crate::drivers::pci::i440fx_pcihost::I440FxPcihost;
use crate::drivers::pci::pci_bus_pc::{Chipset, PciBusPc};
use crate::graph::{Consumes, Contains, Member, Produces, QemuArgs, Site};
use crate::qemu::Vm;
use crate::qos::block::DISK;
use crate::qos::ide::{IdeChannel, IdeController};
use crate::qos::pci::{Bar, PciAddress, PciBus, PciDevice, regs};
use crate::qos::registers::{Ports, Registers};
use crate::{Result, driver, edge};

/// The back ends of what is behind every controller.
const BACKEND: &str = "-drive if=none,id=drive0,format=raw,auto-read-only=off,discard=unmap,file={disk} \
     -blockdev null-co,node-name=zeroes,read-zeroes=on,size=2097152 \
     -drive if=none,id=medium,driver=null-co,read-zeroes=on,size=2097152,read-only=on";

/// Lets a function be a bus master or not.
fn master_switch(device: PciDevice) -> Rc<dyn Fn(bool) -> Result<()>> {
    Rc::new(move |is_on| {
        let command = device.config_read16(regs::COMMAND)?;
        let rest = command & !regs::COMMAND_MASTER;
        let command = if is_on { rest | regs::COMMAND_MASTER } else { rest };
        device.config_write16(regs::COMMAND, command)
    })
}

/// The PIIX3's on the i440FX.
pub struct PiixIde {
    vm: Rc<Vm>,
    device: PciDevice,
    master: Rc<Bar>,
}

impl Contains<PiixIde> for I440FxPcihost {
    fn contained(&self) -> Result<PiixIde> {
        let bus: Rc<dyn PciBus> = Rc::new(PciBusPc::new(self.vm(), Chipset::I440Fx));
        let device = PciDevice::find(&bus, PciAddress::new(1, 1))?;
        let master = device.map_bar(4)?;
        device.enable()?;
        // Both channels decode their ports (82371SB data sheet, 2.3.9: IDETIM).
        device.config_write32(0x40, 0x8000_8000)?;
        Ok(PiixIde { vm: self.vm().clone(), device, master })
    }
}

impl Produces<IdeController> for PiixIde {
    const ARGS: QemuArgs = QemuArgs::NONE
        .before(BACKEND)
        .after(
            "-device ide-hd,bus=ide.0,unit=0,drive=drive0,serial=qgraph-disk \
             -device ide-hd,bus=ide.0,unit=1,drive=zeroes,serial=second \
             -device ide-cd,bus=ide.1,unit=0,drive=medium,id=cd",
        )
        .images(&[DISK]);

    fn produced(self: Rc<Self>) -> Rc<IdeController> {
        let channel = |command: u16, control: u16, master: u64| IdeChannel {
            vm: self.vm.clone(),
            command: (Rc::new(Ports::new(&self.vm, command)), 0),
            control: (Rc::new(Ports::new(&self.vm, control)), 0),
            master: Some((self.master.clone() as Rc<dyn Registers>, master)),
        };
        Rc::new(IdeController {
            channels: [channel(0x1f0, 0x3f6, 0), channel(0x170, 0x376, 8)],
            set_master: Some(master_switch(self.device.clone())),
        })
    }
}

driver!(PiixIde = "piix3-ide"; produces IdeController);
edge!(I440FxPcihost; contains PiixIde);

/// The cards, with what their properties must say.
const MEMBERS: [Member<()>; 1] = [Member::new("cmd646-ide", ())];

/// A card with channels of its own.
pub struct NativeIde {
    vm: Rc<Vm>,
    device: PciDevice,
    bars: Vec<Rc<Bar>>,
}

impl Consumes<dyn PciBus> for NativeIde {
    const ARGS: QemuArgs = QemuArgs::device("bus={bus},addr={addr},id=idec")
        .before(BACKEND)
        .after(
            "-device ide-hd,bus=idec.0,unit=0,drive=drive0,serial=qgraph-disk \
             -device ide-hd,bus=idec.0,unit=1,drive=zeroes,serial=second \
             -device ide-cd,bus=idec.1,unit=0,drive=medium,id=cd",
        )
        .images(&[DISK]);

    fn attach(bus: Rc<dyn PciBus>, site: &Site) -> Result<Self> {
        let device = PciDevice::plugged(&bus, site)?;
        let bars = (0..5).map(|number| device.map_bar(number)).collect::<Result<_>>()?;
        device.enable()?;
        Ok(Self { vm: site.vm.clone(), device, bars })
    }
}

impl Produces<IdeController> for NativeIde {
    fn produced(self: Rc<Self>) -> Rc<IdeController> {
        let bar = |number: usize| self.bars[number].clone() as Rc<dyn Registers>;
        // The control block has one register, its third.
        let channel = |first: usize, master: u64| IdeChannel {
            vm: self.vm.clone(),
            command: (bar(first), 0),
            control: (bar(first + 1), 2),
            master: Some((bar(4), master)),
        };
        Rc::new(IdeController {
            channels: [channel(0, 0), channel(2, 8)],
            set_master: Some(master_switch(self.device.clone())),
        })
    }
}

driver!(NativeIde as MEMBERS; consumes dyn PciBus; produces IdeController);
