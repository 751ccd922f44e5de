//! Intel's PCI gigabit controllers 8254x (PCI/PCI-X Family of Gigabit Ethernet Controllers
//! Software Developer's Manual).

use std::rc::Rc;

use crate::graph::{Consumes, Place, Produces, QemuArgs};
use crate::qos::pci::{Bar, ExpectedBar, Identity, PciAddress, PciBus};
use crate::qos::pci::{PciDevice, PciFunction, Space};
use crate::{Error, Result, driver};

/// The members of the family by name, with their device IDs (5.2). `e1000` is what QEMU
/// calls the 82540EM.
const MEMBERS: &[(&str, u16)] = &[
    ("e1000", 0x100e),
    ("e1000-82540em", 0x100e),
    ("e1000-82544gc", 0x100c),
    ("e1000-82545em", 0x100f),
];

/// Device Status, which is never zero while the link is up (13.4.2).
const STATUS: u64 = 0x0008;

/// What all members have in common; QEMU's subsystem is its own.
const FAMILY: Identity = Identity {
    vendor: 0x8086,
    device: 0,
    revision: 0x03,
    class: 0x02_00_00,
    subsystem: (0x1af4, 0x1100),
    pin: 1,
    bars: &[
        ExpectedBar { number: 0, space: Space::Memory, size: 0x2_0000, witness: Some(STATUS) },
        ExpectedBar { number: 1, space: Space::Io, size: 0x40, witness: None },
    ],
    capabilities: &[],
};

/// QEMU's `e1000` and its relatives.
pub struct E1000 {
    device: PciDevice,
    registers: Rc<Bar>,
    identity: Identity,
}

impl Consumes<dyn PciBus> for E1000 {
    const ARGS: QemuArgs =
        QemuArgs::device("addr=04.0,romfile=").aliases(&[("e1000-82540em", "e1000")]);

    fn attach(bus: Rc<dyn PciBus>, place: &Place) -> Result<Self> {
        let member = MEMBERS.iter().find(|(name, _)| *name == place.node);
        let (_, device_id) = member.ok_or_else(|| {
            Error::failed(format!("{} is not in the table of the family", place.node))
        })?;
        let device = PciDevice::find(&bus, PciAddress::new(4, 0))?;
        let registers = device.map_bar(0)?;
        device.enable()?;
        Ok(Self { device, registers, identity: Identity { device: *device_id, ..FAMILY } })
    }
}

impl Produces<PciFunction> for E1000 {
    fn produced(self: Rc<Self>) -> Rc<PciFunction> {
        Rc::new(PciFunction {
            device: self.device.clone(),
            identity: Some(self.identity),
            mapped: vec![self.registers.clone()],
        })
    }
}

driver!(
    E1000 = "e1000", "e1000-82540em", "e1000-82544gc", "e1000-82545em";
    consumes dyn PciBus; produces PciFunction
);
