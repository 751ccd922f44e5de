//! The PCI bus of a PC, reached by configuration mechanism #1 (PCI 3.0, 3.2.2.3.2).

use std::rc::Rc;

use crate::graph::{Plug, Produces};
use crate::protocol::Endian;
use crate::qemu::Vm;
use crate::qos::interrupt::InterruptLine;
use crate::qos::pci::{PciAddress, PciBus, RootBus, SLOT, Space, Windows};
use crate::qos::registers::{Mmio, Ports, Registers, Width};
use crate::{Error, Result, driver};

/// CONFIG_ADDRESS.
const CONFIG_ADDRESS: u16 = 0xcf8;
/// CONFIG_DATA.
const CONFIG_DATA: u16 = 0xcfc;
/// Ports that neither chipset nor firmware uses.
const IO: (u64, u64) = (0xc000, 0x4000);
/// Between the RAM and the interrupt controllers, on i440FX and Q35 alike.
const MEMORY: (u64, u64) = (0xe000_0000, 0x1d00_0000);

/// The registers of QEMU's ACPI PCI hotplug on the i440FX, 32 bits each, with one bit a slot
/// (QEMU's specification "ACPI BIOS PCI hotplug interface"): slots with a new device.
const HOTPLUG_UP: u16 = 0xae00;
/// Slots whose device is to go.
const HOTPLUG_DOWN: u16 = 0xae04;
/// Slots whose device the guest lets go.
const HOTPLUG_EJECT: u16 = 0xae08;
/// Which bus these registers are about; 0 is the root bus.
const HOTPLUG_BUS: u16 = 0xae10;

/// Which chipset the bus belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Chipset {
    /// Its bus takes devices while the machine runs. Its interrupts are routed by the PIIX3
    /// (82371SB data sheet, 2.2.10).
    I440Fx,
    /// Its interrupts E to H go to inputs 20 to 23 of the I/O APIC (ICH9 data sheet, 5.10).
    Q35,
}

/// The routing of PIRQA# to PIRQD# in the PIIX3, at function 1.0.
const PIRQ_ROUTES: (PciAddress, u16) = (PciAddress::new(1, 0), 0x60);
/// The interrupt that all are routed to, which nothing else on a bare machine uses.
const ROUTED_TO: u8 = 10;

/// The root bus of an i440FX or Q35.
pub struct PciBusPc {
    vm: Rc<Vm>,
    ports: Ports,
    memory: Mmio,
    windows: Windows,
    chipset: Chipset,
}

impl PciBusPc {
    /// The bus of this machine, which has that chipset.
    pub fn new(vm: &Rc<Vm>, chipset: Chipset) -> Self {
        let (ports, memory) = (Ports::new(vm, 0), Mmio::new(vm, 0, Endian::Little));
        Self { vm: vm.clone(), ports, memory, windows: Windows::new(IO, MEMORY), chipset }
    }

    /// Selects a register; returns the port at which it then is.
    fn select(&self, at: PciAddress, register: u16) -> Result<u64> {
        if register > 0xff {
            return Err(Error::failed(format!(
                "register {register:#x} of {at}: configuration mechanism #1 reaches 0xff and no \
                 further"
            )));
        }
        let function = u32::from(at.bus) << 16 | u32::from(at.devfn()) << 8;
        let address = 1 << 31 | function | u32::from(register & 0xfc);
        self.vm.qtest().outl(CONFIG_ADDRESS, address)?;
        Ok(u64::from(CONFIG_DATA + (register & 3)))
    }

    /// Makes sure that the ACPI register `port` tells the guest of the slot; returns its bit.
    fn hotplug_bit(&self, port: u16, at: PciAddress) -> Result<u32> {
        let (qtest, bit) = (self.vm.qtest(), 1 << at.device);
        qtest.outl(HOTPLUG_BUS, 0)?;
        match qtest.inl(port)? {
            slots if slots == bit => Ok(bit),
            slots => Err(Error::failed(format!(
                "the ACPI hotplug register at {port:#x} should be {bit:#x}, for {at}, but it is \
                 {slots:#x}"
            ))),
        }
    }
}

impl PciBus for PciBusPc {
    fn config_read(&self, at: PciAddress, register: u16, width: Width) -> Result<u32> {
        let port = self.select(at, register)?;
        Ok(self.ports.read(port, width)? as u32)
    }

    fn config_write(&self, at: PciAddress, register: u16, width: Width, value: u32) -> Result<()> {
        let port = self.select(at, register)?;
        self.ports.write(port, width, value.into())
    }

    fn space(&self, space: Space) -> &dyn Registers {
        match space {
            Space::Io => &self.ports,
            Space::Memory => &self.memory,
        }
    }

    fn windows(&self) -> &Windows {
        &self.windows
    }

    fn watch_pin(&self, at: PciAddress, pin: u8) -> Result<Option<InterruptLine>> {
        let input = match self.chipset {
            Chipset::I440Fx => {
                let (bridge, first) = PIRQ_ROUTES;
                for route in 0..4 {
                    self.config_write(bridge, first + route, Width::Byte, ROUTED_TO.into())?;
                }
                ROUTED_TO.into()
            }
            // What is in the chipset itself has routes of its own (ICH9, 10.1.53: D31IR).
            Chipset::Q35 if at.device >= 25 => 16 + u32::from(pin),
            Chipset::Q35 => 20 + u32::from((at.device + pin) % 4),
        };
        InterruptLine::watch(&self.vm, "ioapic", input).map(Some)
    }

    fn lowers_lines_in_reset(&self) -> bool {
        // QEMU's PIIX3 forgets its routes in a reset, before the devices lower their pins.
        self.chipset != Chipset::I440Fx
    }

    fn takes_devices(&self) -> bool {
        self.chipset == Chipset::I440Fx
    }

    fn plugged(&self, at: PciAddress) -> Result<()> {
        self.hotplug_bit(HOTPLUG_UP, at).map(|_| ())
    }

    fn unplugging(&self, at: PciAddress) -> Result<()> {
        let bit = self.hotplug_bit(HOTPLUG_DOWN, at)?;
        Ok(self.vm.qtest().outl(HOTPLUG_EJECT, bit)?)
    }
}

impl Produces<dyn PciBus> for PciBusPc {
    const PLUG: Plug = SLOT;

    fn produced(self: Rc<Self>) -> Rc<dyn PciBus> {
        self
    }
}

impl Produces<RootBus> for PciBusPc {
    const PLUG: Plug = SLOT;

    fn produced(self: Rc<Self>) -> Rc<RootBus> {
        Rc::new(RootBus(self))
    }
}

driver!(PciBusPc = "pci-bus-pc"; produces dyn PciBus, RootBus);
