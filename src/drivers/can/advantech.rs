//! Advantech's cards with two SJA1000 on PCI: PCM-3680I, whose registers are one byte apart, and
//! MIOe-3680, where they are four.

use std::rc::Rc;

use crate::graph::{Consumes, Member, Produces, QemuArgs, Site};
use crate::qos::can::CanPair;
use crate::qos::pci::{ExpectedBar, Identity, PciBus, PciDevice, PciFunction, Space};
use crate::{Result, driver};

/// What the members differ in.
struct Card {
    device: u16,
    stride: u64,
    bars: &'static [ExpectedBar],
}

const fn bar(number: u8, size: u64) -> ExpectedBar {
    ExpectedBar { number, space: Space::Io, size, witness: None }
}

const MEMBERS: [Member<Card>; 2] = [
    Member::new(
        "pcm3680_pci",
        Card { device: 0xc002, stride: 1, bars: &[bar(0, 0x100), bar(1, 0x100)] },
    ),
    Member::new(
        "mioe3680_pci",
        Card { device: 0xc302, stride: 4, bars: &[bar(0, 0x400), bar(1, 0x400)] },
    ),
];

/// QEMU's `pcm3680_pci` and `mioe3680_pci`, both controllers on one bus.
pub struct Advantech {
    pair: Rc<CanPair>,
    card: &'static Card,
}

impl Consumes<dyn PciBus> for Advantech {
    const ARGS: QemuArgs = QemuArgs::device("bus={bus},addr={addr},canbus0=can0,canbus1=can0")
        .before("-object can-bus,id=can0");

    fn attach(bus: Rc<dyn PciBus>, site: &Site) -> Result<Self> {
        let card = site.member(&MEMBERS)?;
        let device = PciDevice::plugged(&bus, site)?;
        Ok(Self { pair: Rc::new(CanPair::on(&device, card.stride)?), card })
    }
}

impl Produces<CanPair> for Advantech {
    fn produced(self: Rc<Self>) -> Rc<CanPair> {
        self.pair.clone()
    }
}

impl Produces<PciFunction> for Advantech {
    fn produced(self: Rc<Self>) -> Rc<PciFunction> {
        let identity = Identity {
            vendor: 0x13fe,
            device: self.card.device,
            revision: 0,
            class: 0x0c_09_00,
            subsystem: (0x13fe, self.card.device),
            pin: 1,
            bars: self.card.bars,
            capabilities: &[],
        };
        let device = self.pair.device.clone();
        Rc::new(PciFunction { device, identity: Some(identity), mapped: Vec::new() })
    }
}

driver!(Advantech as MEMBERS; consumes dyn PciBus; produces CanPair, PciFunction);
