//! TEWS's carrier TPCI200 for four IndustryPack modules (TPCI200 User Manual; ANSI/VITA 4-1995).

use std::rc::Rc;

use crate::graph::{Consumes, Plug, Produces, QemuArgs, Site};
use crate::qos::pci::{Bar, ExpectedBar, Identity, PciBus, PciFunction, PciPlug, Space};
use crate::qos::registers::RegistersExt;
use crate::{Result, driver, interface};

/// What its configuration space says.
const IDENTITY: Identity = Identity {
    vendor: 0x1498,
    device: 0x30c8,
    revision: 0,
    class: 0x06_80_00,
    subsystem: (0x1498, 0x300a),
    pin: 1,
    bars: &[
        ExpectedBar { number: 0, space: Space::Memory, size: 0x80, witness: None },
        ExpectedBar { number: 1, space: Space::Io, size: 0x80, witness: None },
        ExpectedBar { number: 2, space: Space::Memory, size: 0x100, witness: None },
        ExpectedBar { number: 3, space: Space::Memory, size: 0x400, witness: None },
        ExpectedBar { number: 4, space: Space::Memory, size: 0x200_0000, witness: None },
        ExpectedBar { number: 5, space: Space::Memory, size: 0x100_0000, witness: None },
    ],
    capabilities: &[],
};

/// A space of a module: its registers, its identification, its interrupts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ModuleSpace {
    /// I/O.
    Io,
    /// The identification PROM.
    Id,
}

/// The four slots for modules: 256 bytes each, in which the spaces of a module are.
pub struct IndustryPack {
    modules: Rc<Bar>,
    control: Rc<Bar>,
}

interface!(IndustryPack = "ipack");

impl IndustryPack {
    fn at(slot: u64, space: ModuleSpace, offset: u64) -> u64 {
        // Modules are big-endian; the carrier, little-endian after a reset, swaps bytes.
        slot << 8 | if space == ModuleSpace::Id { 0x80 } else { 0 } | (offset ^ 1)
    }

    /// Reads the byte at an odd address.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    pub fn read(&self, slot: u64, space: ModuleSpace, offset: u64) -> Result<u8> {
        self.modules.read8(Self::at(slot, space, offset))
    }

    /// Writes the byte at an odd address.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    pub fn write(&self, slot: u64, space: ModuleSpace, offset: u64, value: u8) -> Result<()> {
        self.modules.write8(Self::at(slot, space, offset), value)
    }

    /// The registers of the carrier: control of each slot, status.
    pub fn control(&self) -> &Rc<Bar> {
        &self.control
    }
}

/// QEMU's `tpci200`.
pub struct Tpci200 {
    plug: PciPlug,
    modules: Rc<Bar>,
}

impl Consumes<dyn PciBus> for Tpci200 {
    const ARGS: QemuArgs = QemuArgs::device("bus={bus},addr={addr},id=ipack0");

    fn attach(bus: Rc<dyn PciBus>, site: &Site) -> Result<Self> {
        let plug = PciPlug::attach(&bus, site, 2)?;
        let modules = plug.device.map_bar(3)?;
        Ok(Self { plug, modules })
    }
}

impl Produces<PciFunction> for Tpci200 {
    fn produced(self: Rc<Self>) -> Rc<PciFunction> {
        let mapped = vec![self.plug.registers.clone(), self.modules.clone()];
        let device = self.plug.device.clone();
        Rc::new(PciFunction { device, identity: Some(IDENTITY), mapped })
    }
}

impl Produces<IndustryPack> for Tpci200 {
    const PLUG: Plug = Plug::new("ipack0.0", "");

    fn produced(self: Rc<Self>) -> Rc<IndustryPack> {
        let (modules, control) = (self.modules.clone(), self.plug.registers.clone());
        Rc::new(IndustryPack { modules, control })
    }
}

driver!(Tpci200 = "tpci200"; consumes dyn PciBus; produces PciFunction, IndustryPack);
