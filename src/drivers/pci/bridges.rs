//! Bridges from one PCI bus to another: each consumes a bus and produces one.

use std::marker::PhantomData;
use std::rc::Rc;

use crate::graph::{Consumes, Node, Plug, Produces, QemuArgs, Site};
use crate::qos::pci::bridge::Bridge;
use crate::qos::pci::{PciAddress, PciBus, PciDevice, PcieBus};
use crate::{Result, driver};

/// The bus behind the bridge on QEMU's command line.
const ID: &str = "bridge0";

/// A kind of bridge.
pub trait Make: 'static {
    /// What it adds to the command line; the device has the id `bridge0`.
    const ARGS: QemuArgs;
    /// A free address on its secondary bus.
    const SLOT: &str;
    /// How many bridges are before it on this path that the same edge brings.
    const BEFORE: u8 = 0;
}

/// A bridge of the make `M`.
pub struct BridgeDriver<M> {
    bridge: Rc<Bridge>,
    make: PhantomData<M>,
}

impl<M: Make> BridgeDriver<M> {
    /// The bridge, and the bus behind it.
    pub fn bridge(&self) -> &Rc<Bridge> {
        &self.bridge
    }

    fn open(bus: &Rc<dyn PciBus>, site: &Site) -> Result<Self> {
        let mut parent = bus.clone();
        let mut at = PciAddress::plugged(bus, site)?;
        let last = bus.number() + M::BEFORE + 1;
        for number in bus.number() + 1..last {
            let bridge = Bridge::open(PciDevice::find(&parent, at)?, number, last)?;
            parent = Rc::new(bridge);
            at = PciAddress { bus: number, device: 0, function: 0 };
        }
        let bridge = Bridge::open(PciDevice::find(&parent, at)?, last, last)?;
        Ok(Self { bridge: Rc::new(bridge), make: PhantomData })
    }
}

impl<M: Make> Consumes<dyn PciBus> for BridgeDriver<M>
where
    Self: Node,
{
    const ARGS: QemuArgs = M::ARGS;

    fn attach(bus: Rc<dyn PciBus>, site: &Site) -> Result<Self> {
        Self::open(&bus, site)
    }
}

impl<M: Make> Consumes<PcieBus> for BridgeDriver<M>
where
    Self: Node,
{
    const ARGS: QemuArgs = M::ARGS;

    fn attach(bus: Rc<PcieBus>, site: &Site) -> Result<Self> {
        Self::open(&bus.0, site)
    }
}

impl<M: Make> Produces<dyn PciBus> for BridgeDriver<M>
where
    Self: Node,
{
    const PLUG: Plug = Plug::new(ID, M::SLOT);

    fn produced(self: Rc<Self>) -> Rc<dyn PciBus> {
        self.bridge.clone()
    }
}

/// The conventional bridge of a PCI bus.
pub struct PciBridge;

impl Make for PciBridge {
    const ARGS: QemuArgs = QemuArgs::device("id=bridge0,chassis_nr=1,bus={bus},addr={addr}");
    // Slot 0 is the hot-plug controller's (SHPC 1.0, 3.2.1).
    const SLOT: &str = "01.0";
}

driver!(BridgeDriver<PciBridge> = "pci-bridge"; consumes dyn PciBus; produces dyn PciBus);

/// A root port of PCI Express, behind which is one slot.
pub struct RootPort;

impl Make for RootPort {
    const ARGS: QemuArgs = QemuArgs::device("id=bridge0,chassis=1,slot=1,bus={bus},addr={addr}");
    const SLOT: &str = "00.0";
}

driver!(BridgeDriver<RootPort> = "pcie-root-port"; consumes PcieBus; produces dyn PciBus);

/// A downstream port of a switch: the edge brings a root port and the upstream port as well.
pub struct SwitchPort;

impl Make for SwitchPort {
    const ARGS: QemuArgs = QemuArgs::device("id=bridge0,chassis=9,slot=9,bus=upstream0").before(
        "-device pcie-root-port,id=root0,chassis=8,slot=8,bus={bus},addr={addr} \
         -device x3130-upstream,id=upstream0,bus=root0",
    );
    const SLOT: &str = "00.0";
    const BEFORE: u8 = 2;
}

driver!(BridgeDriver<SwitchPort> = "xio3130-downstream"; consumes PcieBus; produces dyn PciBus);

/// The bridge of Intel's 82801 from DMI to conventional PCI.
pub struct DmiBridge;

impl Make for DmiBridge {
    const ARGS: QemuArgs = QemuArgs::device("id=bridge0,bus={bus},addr={addr}");
    const SLOT: &str = "01.0";
}

driver!(BridgeDriver<DmiBridge> = "i82801b11-bridge"; consumes PcieBus; produces dyn PciBus);

/// The bridge from PCI Express to conventional PCI.
pub struct ExpressBridge;

impl Make for ExpressBridge {
    const ARGS: QemuArgs = QemuArgs::device("id=bridge0,bus={bus},addr={addr}");
    const SLOT: &str = "01.0";
}

driver!(BridgeDriver<ExpressBridge> = "pcie-pci-bridge"; consumes PcieBus; produces dyn PciBus);
