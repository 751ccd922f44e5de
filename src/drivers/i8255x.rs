//! Intel's PCI fast Ethernet controllers 82550 to 82562 (8255x 10/100 Mbps Ethernet
//! Controller Family Open Source Software Developer Manual).

use std::rc::Rc;

use crate::graph::{Consumes, Place, Produces, QemuArgs};
use crate::qos::pci::regs::CAPABILITY_POWER_MANAGEMENT;
use crate::qos::pci::{Bar, ExpectedBar, Identity, PciAddress, PciBus};
use crate::qos::pci::{PciDevice, PciFunction, Space};
use crate::{Error, Result, driver};

/// What a device has that its maker did not put there: QEMU's subsystem.
const QEMU: (u16, u16) = (0x1af4, 0x1100);
/// An 82559 of Intel's own on an adapter: a PRO/100+.
const PRO_100: (u16, u16) = (0x8086, 0x0040);

/// A member of the family: name, device ID, revision ID (4.1.5), and subsystem.
type Member = (&'static str, u16, u8, (u16, u16));

/// The family.
const MEMBERS: &[Member] = &[
    ("i82550", 0x1209, 0x0e, QEMU),
    ("i82551", 0x1209, 0x0f, QEMU),
    ("i82557a", 0x1229, 0x01, QEMU),
    ("i82557b", 0x1229, 0x02, QEMU),
    ("i82557c", 0x1229, 0x03, QEMU),
    ("i82558a", 0x1229, 0x04, QEMU),
    ("i82558b", 0x1229, 0x05, QEMU),
    ("i82559a", 0x1229, 0x06, QEMU),
    ("i82559b", 0x1229, 0x07, QEMU),
    ("i82559c", 0x1229, 0x0c, PRO_100),
    ("i82559er", 0x1209, 0x09, QEMU),
    ("i82562", 0x1209, 0x0e, QEMU),
    ("i82801", 0x2449, 0x03, QEMU),
];

/// The MDI control register, whose Ready bit is set unless it is at work.
const MDI_CONTROL: u64 = 0x10;

/// What all members have in common.
const FAMILY: Identity = Identity {
    vendor: 0x8086,
    device: 0,
    revision: 0,
    class: 0x02_00_00,
    subsystem: QEMU,
    pin: 1,
    bars: &[
        ExpectedBar { number: 0, space: Space::Memory, size: 0x1000, witness: Some(MDI_CONTROL) },
        ExpectedBar { number: 1, space: Space::Io, size: 0x40, witness: Some(MDI_CONTROL) },
        ExpectedBar { number: 2, space: Space::Memory, size: 0x2_0000, witness: None },
    ],
    capabilities: &[CAPABILITY_POWER_MANAGEMENT],
};

/// QEMU's `i82550` and its relatives.
pub struct I8255x {
    device: PciDevice,
    registers: Rc<Bar>,
    identity: Identity,
}

impl Consumes<dyn PciBus> for I8255x {
    const ARGS: QemuArgs = QemuArgs::device("addr=04.0,romfile=");

    fn attach(bus: Rc<dyn PciBus>, place: &Place) -> Result<Self> {
        let member = MEMBERS.iter().find(|member| member.0 == place.node);
        let &(_, id, revision, subsystem) = member.ok_or_else(|| {
            Error::failed(format!("{} is not in the table of the family", place.node))
        })?;
        // Power management came with the 82558 (4.2).
        let capabilities = if id == 0x1229 && revision < 4 { &[] } else { FAMILY.capabilities };
        let identity = Identity { device: id, revision, subsystem, capabilities, ..FAMILY };
        let device = PciDevice::find(&bus, PciAddress::new(4, 0))?;
        let registers = device.map_bar(0)?;
        device.enable()?;
        Ok(Self { device, registers, identity })
    }
}

impl Produces<PciFunction> for I8255x {
    fn produced(self: Rc<Self>) -> Rc<PciFunction> {
        Rc::new(PciFunction {
            device: self.device.clone(),
            identity: Some(self.identity),
            mapped: vec![self.registers.clone()],
        })
    }
}

driver!(
    I8255x = "i82550", "i82551", "i82557a", "i82557b", "i82557c", "i82558a", "i82558b",
    "i82559a", "i82559b", "i82559c", "i82559er", "i82562", "i82801";
    consumes dyn PciBus; produces PciFunction
);
