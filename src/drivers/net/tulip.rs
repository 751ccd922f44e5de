//! Digital's 21143 (21143 PCI/CardBus LAN Controller Hardware Reference Manual, whose sections are
//! cited), which QEMU calls `tulip`.

use std::rc::Rc;

use crate::graph::{Consumes, Produces, QemuArgs, Site};
use crate::qos::net;
use crate::qos::pci::{ExpectedBar, Identity, PciBus, PciFunction, PciPlug, Space};
use crate::qos::registers::{AnyRegister, Register, RegisterBlock};
use crate::{Result, driver};

/// CSR0: bus mode; bit 0 resets the card.
pub const CSR0: Register<u32> =
    Register::new("CSR0", 0x00).section("3.2.2.1").reset(0xfe00_0000).side_effect();
/// CSR1: the list of frames to send is to be looked at.
pub const CSR1: Register<u32> = Register::new("CSR1", 0x08).section("3.2.2.2").side_effect();
/// CSR3: where the list of receive descriptors is.
pub const CSR3: Register<u32> =
    Register::new("CSR3", 0x18).section("3.2.2.4").kept(0xffff_fffc).reserved(3);
/// CSR4: where the list of transmit descriptors is.
pub const CSR4: Register<u32> =
    Register::new("CSR4", 0x20).section("3.2.2.4").kept(0xffff_fffc).reserved(3);
/// CSR5: status.
pub const CSR5: Register<u32> =
    Register::new("CSR5", 0x28).section("3.2.2.5").reset(0xf000_0000).side_effect();
/// CSR6: what it does.
pub const CSR6: Register<u32> =
    Register::new("CSR6", 0x30).section("3.2.2.6").reset(0x3200_0040).side_effect();
/// CSR7: which interrupts are enabled.
pub const CSR7: Register<u32> =
    Register::new("CSR7", 0x38).section("3.2.2.7").reset(0xf3fe_0000).side_effect();

/// CSR0: resets the card.
pub const CSR0_RESET: u32 = 1;
/// CSR6: frames are sent.
pub const CSR6_SEND: u32 = 1 << 13;
/// CSR5: a frame was sent.
pub const CSR5_SENT: u32 = 1;
/// CSR5: there is no frame to send.
pub const CSR5_NOTHING_TO_SEND: u32 = 1 << 2;
/// A descriptor's status: it is the card's.
pub const OWN: u32 = 1 << 31;
/// A descriptor's control: the last segment of a frame, and the first.
pub const LAST: u32 = 1 << 30;
/// The first segment of a frame.
pub const FIRST: u32 = 1 << 29;
/// The list begins anew behind this descriptor.
pub const END_OF_RING: u32 = 1 << 25;

/// All registers that generic tests look at.
const TABLE: &[&dyn AnyRegister] = &[&CSR0, &CSR3, &CSR4, &CSR5, &CSR6, &CSR7];

/// What its configuration space says.
const IDENTITY: Identity = Identity {
    vendor: 0x1011,
    device: 0x0019,
    revision: 0,
    class: 0x02_00_00,
    subsystem: (0x103c, 0x104f),
    pin: 1,
    bars: &[
        ExpectedBar { number: 0, space: Space::Io, size: 0x80, witness: Some(CSR6.offset()) },
        ExpectedBar { number: 1, space: Space::Memory, size: 0x80, witness: Some(CSR6.offset()) },
    ],
    capabilities: &[],
};

/// QEMU's `tulip`.
pub struct Tulip {
    /// Where it is plugged in, and its registers.
    pub plug: PciPlug,
}

impl Consumes<dyn PciBus> for Tulip {
    const ARGS: QemuArgs = net::PCI_DEVICE;

    fn attach(bus: Rc<dyn PciBus>, site: &Site) -> Result<Self> {
        Ok(Self { plug: PciPlug::attach(&bus, site, 1)? })
    }
}

impl Produces<PciFunction> for Tulip {
    fn produced(self: Rc<Self>) -> Rc<PciFunction> {
        self.plug.function(IDENTITY)
    }
}

impl Produces<RegisterBlock> for Tulip {
    fn produced(self: Rc<Self>) -> Rc<RegisterBlock> {
        Rc::new(self.plug.block("21143 Hardware Reference Manual", TABLE))
    }
}

driver!(Tulip = "tulip"; consumes dyn PciBus; produces PciFunction, RegisterBlock);
