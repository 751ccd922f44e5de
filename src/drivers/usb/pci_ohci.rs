//! A USB host controller of OHCI on a PCI bus (OpenHCI Specification 1.0a, whose sections are
//! cited).

use std::rc::Rc;

use crate::graph::{Consumes, Produces, QemuArgs, Site};
use crate::qos::pci::{ExpectedBar, Identity, PciBus, PciFunction, PciPlug, Space};
use crate::qos::registers::{AnyRegister, Fault, Register, RegisterBlock, Rule};
use crate::{Result, driver};

/// HcRevision.
pub const REVISION: Register<u32> =
    Register::new("HcRevision", 0x00).section("7.1.1").reset(0x10).read_only();
/// HcControl.
pub const CONTROL: Register<u32> = Register::new("HcControl", 0x04).section("7.1.2").side_effect();
/// HcCommandStatus; bit 0 resets the controller.
pub const COMMAND: Register<u32> =
    Register::new("HcCommandStatus", 0x08).section("7.1.3").reset(0).side_effect();
/// HcInterruptStatus.
pub const INTERRUPT_STATUS: Register<u32> =
    Register::new("HcInterruptStatus", 0x0c).section("7.1.4").side_effect();
/// HcHCCA: where the communications area is.
pub const HCCA: Register<u32> =
    Register::new("HcHCCA", 0x18).section("7.2.1").reset(0).kept(0xffff_ff00);
/// HcControlHeadED.
pub const CONTROL_HEAD: Register<u32> =
    Register::new("HcControlHeadED", 0x20).section("7.2.3").reset(0).kept(0xffff_fff0);
/// HcControlCurrentED.
pub const CONTROL_CURRENT: Register<u32> =
    Register::new("HcControlCurrentED", 0x24).section("7.2.4").reset(0).kept(0xffff_fff0);
/// HcBulkHeadED.
pub const BULK_HEAD: Register<u32> =
    Register::new("HcBulkHeadED", 0x28).section("7.2.5").reset(0).kept(0xffff_fff0);
/// HcBulkCurrentED.
pub const BULK_CURRENT: Register<u32> =
    Register::new("HcBulkCurrentED", 0x2c).section("7.2.6").reset(0).kept(0xffff_fff0);
/// HcDoneHead.
pub const DONE_HEAD: Register<u32> =
    Register::new("HcDoneHead", 0x30).section("7.2.7").reset(0).read_only();
/// HcPeriodicStart.
pub const PERIODIC_START: Register<u32> =
    Register::new("HcPeriodicStart", 0x40).section("7.3.4").reset(0).kept(0x3fff);
/// HcLSThreshold.
pub const LS_THRESHOLD: Register<u32> =
    Register::new("HcLSThreshold", 0x44).section("7.3.5").reset(0x628).side_effect();
/// HcRhDescriptorA: the number of ports in its lowest byte.
pub const DESCRIPTOR_A: Register<u32> =
    Register::new("HcRhDescriptorA", 0x48).section("7.4.1").side_effect();
/// HcRhPortStatus of the first port; those of the others follow.
pub const PORT: Register<u32> =
    Register::new("HcRhPortStatus", 0x54).section("7.4.4").side_effect();

/// HcInterruptStatus: the root hub has changed.
pub const INTERRUPT_HUB: u32 = 1 << 6;
/// HcRhPortStatus: there is a device.
pub const PORT_CONNECTED: u32 = 1 << 0;
/// HcRhPortStatus: the port is enabled.
pub const PORT_ENABLED: u32 = 1 << 1;
/// HcRhPortStatus: the port is in reset; written, it resets the device.
pub const PORT_RESET: u32 = 1 << 4;
/// HcRhPortStatus: the port has power; written, it gets power.
pub const PORT_POWER: u32 = 1 << 8;
/// HcRhPortStatus: it is a device of low speed.
pub const PORT_LOW_SPEED: u32 = 1 << 9;
/// HcRhPortStatus: a device has come or gone.
pub const PORT_CONNECT_CHANGED: u32 = 1 << 16;
/// HcRhPortStatus: a reset is over.
pub const PORT_RESET_CHANGED: u32 = 1 << 20;

/// All registers that generic tests look at.
const TABLE: &[&dyn AnyRegister] = &[
    &REVISION,
    &COMMAND,
    &HCCA,
    &CONTROL_HEAD,
    &CONTROL_CURRENT,
    &BULK_HEAD,
    &BULK_CURRENT,
    &DONE_HEAD,
    &PERIODIC_START,
    &LS_THRESHOLD,
];

/// What QEMU does otherwise.
const FAULTS: &[Fault] = &[Fault::new(
    &["HcPeriodicStart"],
    &[Rule::ReadOnly, Rule::Kept],
    "QEMU's OHCI keeps the reserved bits 15:14 of HcPeriodicStart",
)
.bits(0xc000)];

/// What its configuration space says: Apple's KeyLargo.
const IDENTITY: Identity = Identity {
    vendor: 0x106b,
    device: 0x003f,
    revision: 0,
    class: 0x0c_03_10,
    subsystem: (0x1af4, 0x1100),
    pin: 1,
    bars: &[ExpectedBar {
        number: 0,
        space: Space::Memory,
        size: 0x100,
        witness: Some(REVISION.offset()),
    }],
    capabilities: &[],
};

/// QEMU's `pci-ohci`.
pub struct PciOhci {
    /// Where it is plugged in, and its registers.
    pub plug: PciPlug,
}

impl PciOhci {
    /// QEMU's name of its bus.
    pub const BUS: &str = "ohci.0";
}

impl Consumes<dyn PciBus> for PciOhci {
    const ARGS: QemuArgs = QemuArgs::device("bus={bus},addr={addr},id=ohci");

    fn attach(bus: Rc<dyn PciBus>, site: &Site) -> Result<Self> {
        Ok(Self { plug: PciPlug::attach(&bus, site, 0)? })
    }
}

impl Produces<PciFunction> for PciOhci {
    fn produced(self: Rc<Self>) -> Rc<PciFunction> {
        self.plug.function(IDENTITY)
    }
}

impl Produces<RegisterBlock> for PciOhci {
    fn produced(self: Rc<Self>) -> Rc<RegisterBlock> {
        Rc::new(self.plug.block("OpenHCI Specification 1.0a", TABLE).faults(FAULTS))
    }
}

driver!(PciOhci = "pci-ohci"; consumes dyn PciBus; produces PciFunction, RegisterBlock);
