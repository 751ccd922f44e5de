//! PCI: the bus as an interface, and a device on it: configuration space, BARs,
//! capabilities. How a bus reaches its spaces is its driver's affair.

mod bar;
pub mod bridge;
pub mod config;
mod device;
#[cfg(test)]
mod fake;
mod function;
pub mod hotplug;
pub mod intx;
pub mod msix;
mod plug;
pub mod regs;
pub mod slot;

use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;

pub use bar::{Bar, BarSize};
pub use device::{Capability, PciDevice};
pub use function::{ExpectedBar, Identity, PciFunction};
pub use plug::PciPlug;

use super::interrupt::InterruptLine;
use super::registers::{Registers, Width};
use crate::graph::{Plug, Site};
use crate::qemu::Heap;
use crate::{Error, Result, interface};

/// Bus, device and function number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PciAddress {
    /// 0 to 255.
    pub bus: u8,
    /// 0 to 31.
    pub device: u8,
    /// 0 to 7.
    pub function: u8,
}

impl PciAddress {
    /// A function of a device on the root bus, as `addr=DD.F` names it.
    pub const fn new(device: u8, function: u8) -> Self {
        Self { bus: 0, device, function }
    }

    /// Where on `bus` this path plugs its device in.
    ///
    /// # Errors
    /// Returns an error if the address of the edge is not of the form `DD.F`, in hexadecimal.
    pub fn plugged(bus: &Rc<dyn PciBus>, site: &Site) -> Result<Self> {
        let parse = |text: &str| u8::from_str_radix(text, 16).ok();
        let address = site.plug.address;
        let (device, function) = address.split_once('.').unwrap_or((address, "0"));
        match (parse(device), parse(function)) {
            (Some(device @ 0..32), Some(function @ 0..8)) => {
                Ok(Self { bus: bus.number(), device, function })
            }
            _ => Err(Error::failed(format!("{}: {address:?} is no PCI address", site.node))),
        }
    }

    /// Device and function in one byte.
    pub const fn devfn(self) -> u8 {
        self.device << 3 | self.function
    }
}

impl fmt::Display for PciAddress {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{:02x}:{:02x}.{}", self.bus, self.device, self.function)
    }
}

/// The slot of a root bus into which paths plug their device. No machine has one of its own
/// there.
pub const SLOT: Plug = Plug::new("", "04.0");

/// The two address spaces that BARs map into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Space {
    /// I/O ports.
    Io,
    /// Memory.
    Memory,
}

/// What of a host bridge's address spaces is free for BARs, in bus addresses.
pub struct Windows {
    has_ports: bool,
    io: RefCell<Heap>,
    memory: RefCell<Heap>,
}

impl Windows {
    /// Windows of start and length, in bytes.
    pub fn new(io: (u64, u64), memory: (u64, u64)) -> Self {
        Self {
            has_ports: io.1 > 0,
            io: Heap::new(io.0, io.1).into(),
            memory: Heap::new(memory.0, memory.1).into(),
        }
    }

    /// Whether there is a window to I/O ports.
    pub fn has_ports(&self) -> bool {
        self.has_ports
    }

    fn take(&self, space: Space, size: u64) -> Result<u64> {
        let heap = match space {
            Space::Io => &self.io,
            Space::Memory => &self.memory,
        };
        let taken = heap.borrow_mut().take(size, size);
        taken.ok_or_else(|| {
            Error::failed(format!("no room for a BAR of {size:#x} bytes in the {space:?} window"))
        })
    }

    fn give(&self, space: Space, address: u64) {
        let heap = match space {
            Space::Io => &self.io,
            Space::Memory => &self.memory,
        };
        heap.borrow_mut().give(address);
    }
}

/// A PCI bus: its configuration space and the two spaces behind it. Values are those of
/// the PCI specification, little-endian numbers read as numbers.
pub trait PciBus {
    /// The number of the bus: 0 of a root bus; behind a bridge, what the bridge was given.
    fn number(&self) -> u8 {
        0
    }

    /// Reads `width` (at most 32 bits) at byte `register` of a function's configuration
    /// space. A function that is not there reads as all ones.
    ///
    /// # Errors
    /// QEMU does not answer.
    fn config_read(&self, at: PciAddress, register: u16, width: Width) -> Result<u32>;

    /// Writes a function's configuration space.
    ///
    /// # Errors
    /// QEMU does not answer.
    fn config_write(&self, at: PciAddress, register: u16, width: Width, value: u32) -> Result<()>;

    /// One of its spaces, where registers are at bus addresses.
    fn space(&self, space: Space) -> &dyn Registers;

    /// Whether a bus master's addresses are those of the CPU, so that a device reaches RAM
    /// where [`Ram::alloc`](crate::qemu::Ram::alloc) says it is. A test that lets a device
    /// do so asks first, with `?`.
    ///
    /// # Errors
    /// [`Error::Skipped`] with the reason: they are not, and this bus cannot translate them.
    fn reaches_ram(&self) -> Result<()> {
        Ok(())
    }

    /// What is free for BARs.
    fn windows(&self) -> &Windows;

    /// Whether a message-signalled interrupt whose address is that of RAM is a write to
    /// RAM. Not so where an IOMMU, which nobody has set up, is in between.
    fn messages_reach_memory(&self) -> bool {
        true
    }

    /// Watches the input of the machine's interrupt controller that interrupt pin `pin`, 0 for
    /// INTA#, of the device at `at` reaches. `None` where that is not known.
    ///
    /// # Errors
    /// There is no such interrupt controller, or another's lines are watched already.
    fn watch_pin(&self, _at: PciAddress, _pin: u8) -> Result<Option<InterruptLine>> {
        Ok(None)
    }

    /// Whether a reset of the machine takes back an interrupt at the interrupt controller too.
    fn lowers_lines_in_reset(&self) -> bool {
        true
    }

    /// Makes the bus reachable again after a reset of the machine, which closes every bridge.
    ///
    /// # Errors
    /// Returns an error if a bridge does not keep its numbers or windows.
    fn reopen(&self) -> Result<()> {
        Ok(())
    }

    /// Whether the platform gives bridges their bus numbers at a reset.
    fn numbers_bridges(&self) -> bool {
        false
    }

    /// The bridge that this bus is behind; `None` of a root bus.
    fn bridge(&self) -> Option<&bridge::Bridge> {
        None
    }

    /// A slot for a device that is plugged in while the machine runs; `None` where a test has
    /// no room for one.
    fn free_slot(&self) -> Option<PciAddress> {
        Some(PciAddress::new(6, 0))
    }

    /// Whether the bus takes devices while the machine runs. The root bus of PCI Express
    /// does not.
    fn takes_devices(&self) -> bool {
        false
    }

    /// The guest's part when a device was plugged in at `at` while the machine ran: it hears
    /// of that, and takes the device over.
    ///
    /// # Errors
    /// The guest does not hear of it. [`Error::Skipped`]: this bus has no way to tell it.
    fn plugged(&self, at: PciAddress) -> Result<()> {
        Err(Error::skipped(format!("{at}: this bus does not tell the guest of new devices")))
    }

    /// The guest's part when the device at `at` is to be unplugged: it hears of that, and
    /// lets the device go.
    ///
    /// # Errors
    /// As for [`PciBus::plugged`].
    fn unplugging(&self, at: PciAddress) -> Result<()> {
        Err(Error::skipped(format!("{at}: on this bus the guest cannot let a device go")))
    }
}

interface!(dyn PciBus = "pci-bus");

/// A PCI Express root bus, which also takes root ports and other devices of PCI Express.
pub struct PcieBus(
    /// The bus.
    pub Rc<dyn PciBus>,
);

interface!(PcieBus = "pcie-bus"; counts as dyn PciBus);

/// A root bus as the place for any device type that a user can plug in. It is no `pci-bus`, for
/// behind each bridge all these devices would be once more.
pub struct RootBus(
    /// The bus.
    pub Rc<dyn PciBus>,
);

interface!(RootBus = "pci-root-bus");

/// The root complex of a chipset as the place for an IOMMU that is no PCI function: its root bus.
pub struct RootComplex {
    /// The machine.
    pub vm: Rc<crate::qemu::Vm>,
    /// The bus whose functions such an IOMMU translates.
    pub bus: Rc<dyn PciBus>,
}

interface!(RootComplex = "root-complex");

#[cfg(test)]
mod tests {
    use super::*;

    /// Would catch an address that is shown or encoded as another.
    #[test]
    fn addresses_in_words_and_bits() {
        let at = PciAddress::new(0x1f, 7);
        assert_eq!((at.devfn(), at.to_string()), (0xff, "00:1f.7".to_owned()));
        let at = PciAddress { bus: 0xa5, device: 2, function: 1 };
        assert_eq!((at.devfn(), at.to_string()), (0x11, "a5:02.1".to_owned()));
    }
}
