//! USB host controllers of OHCI on a PCI bus and on boards (OpenHCI Specification 1.0a, whose
//! sections are cited).

pub mod bench;
mod hcd;
mod packets;
mod schedule;

use std::rc::Rc;

use self::bench::Ohci;
use self::hcd::Hcd;
use crate::graph::{Consumes, Discovered, FoundDevice, Plug, Produces, QemuArgs, Site};
use crate::protocol::Endian;
use crate::qemu::Vm;
use crate::qos::interrupt::{InterruptLine, Pin};
use crate::qos::pci::{ExpectedBar, Identity, PciBus, PciDevice, PciFunction, PciPlug, Space};
use crate::qos::registers::{
    AnyRegister, Fault, Mmio, Register, RegisterBlock, Registers, RegistersExt, Rule,
};
use crate::qos::usb::{
    Completion, FullSpeed, MEDIUM, MEDIUM_BACKEND, Packets, Port, Profile, Request, Speed, Ticket,
    UsbHcd,
};
use crate::{Error, Result, discovered, driver, usb_ports};

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
/// HcInterruptEnable.
pub const INTERRUPT_ENABLE: Register<u32> =
    Register::new("HcInterruptEnable", 0x10).section("7.1.5").reset(0).side_effect();
/// HcInterruptDisable.
pub const INTERRUPT_DISABLE: Register<u32> =
    Register::new("HcInterruptDisable", 0x14).section("7.1.6").reset(0).side_effect();
/// HcFmInterval.
pub const FRAME_INTERVAL: Register<u32> =
    Register::new("HcFmInterval", 0x34).section("7.3.1").side_effect();
/// HcFmNumber.
pub const FRAME: Register<u32> =
    Register::new("HcFmNumber", 0x3c).section("7.3.3").volatile(0xffff);
/// HcRhStatus.
pub const HUB_STATUS: Register<u32> =
    Register::new("HcRhStatus", 0x50).section("7.4.3").side_effect();
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

/// HcControl: all lists; four control transfers for a bulk one.
pub const CONTROL_LISTS: u32 = 0x3f;
/// HcControl: the state.
pub const CONTROL_STATE: u32 = 3 << 6;
/// HcControl: it works.
pub const CONTROL_OPERATIONAL: u32 = 2 << 6;
/// HcControl: it is suspended.
pub const CONTROL_SUSPENDED: u32 = 3 << 6;
/// HcCommandStatus: resets the controller.
pub const COMMAND_RESET: u32 = 1 << 0;
/// HcCommandStatus: the lists of control and bulk transfers have something.
pub const COMMAND_LISTS: u32 = 3 << 1;
/// HcRhStatus: all ports get power.
pub const HUB_POWER: u32 = 1 << 16;
/// HcInterruptStatus: a frame has begun.
pub const INTERRUPT_FRAME: u32 = 1 << 2;
/// HcInterruptStatus: bit 15 of the number of the frame has changed.
pub const INTERRUPT_OVERFLOW: u32 = 1 << 5;
/// HcInterruptStatus: descriptors were done.
pub const INTERRUPT_DONE: u32 = 1 << 1;
/// HcInterruptStatus: an error of the host.
pub const INTERRUPT_ERROR: u32 = 1 << 4;
/// HcInterruptEnable: interrupts at all.
pub const INTERRUPT_MASTER: u32 = 1 << 31;
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
/// HcRhPortStatus: all changes.
pub const PORT_CHANGES: u32 = 0x1f << 16;
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

/// The part of the interface that does not depend on where the controller is.
macro_rules! common {
    () => {
        fn profile(&self) -> Profile {
            Profile {
                bus: self.hcd.bus.clone(),
                ports: self.hcd.ports().unwrap_or(0),
                speeds: &[Speed::Low, Speed::Full],
                frames: 0x1_0000,
                lag: 1,
                ends_transfers: false,
                disables_ports: true,
                stops_frames: true,
                resets_devices: true,
                addresses: true,
                streams: 0,
            }
        }

        fn vm(&self) -> &Vm {
            &self.hcd.vm
        }

        fn start(&self) -> Result<()> {
            self.hcd.start()
        }

        fn set_running(&self, is_on: bool) -> Result<()> {
            self.hcd.set_running(is_on)
        }

        fn is_halted(&self) -> Result<bool> {
            self.hcd.is_halted()
        }

        fn frame(&self) -> Result<u32> {
            match self.hcd.registers().get(FRAME)? {
                frame @ 0..0x1_0000 => Ok(frame),
                frame => Err(Error::failed(format!("{FRAME} is {frame:#x}"))),
            }
        }

        fn port(&self, port: usize) -> Result<Port> {
            self.hcd.port(port)
        }

        fn speed(&self, port: usize) -> Result<Speed> {
            self.hcd.speed(port)
        }

        fn acknowledge_port(&self, port: usize) -> Result<()> {
            self.hcd.acknowledge_port(port)
        }

        fn reset_port(&self, port: usize) -> Result<()> {
            self.hcd.reset_port(port)
        }

        fn disable_port(&self, port: usize) -> Result<()> {
            // Clear Port Enable (7.4.4, bit 0 written).
            self.hcd.registers().set(PORT.nth(port as u64, 4), PORT_CONNECTED)
        }

        fn submit(&self, request: &Request) -> Result<Ticket> {
            self.hcd.submit(request)
        }

        fn completion(&self, ticket: Ticket) -> Result<Option<Completion>> {
            self.hcd.completion(ticket)
        }

        fn submit_packets(&self, packets: &Packets) -> Result<Ticket> {
            self.hcd.with(|schedule| schedule.submit_packets(packets))
        }

        fn packets(&self, ticket: Ticket) -> Result<Option<Vec<Completion>>> {
            self.hcd.packets(ticket)
        }

        fn cancel(&self, ticket: Ticket) -> Result<()> {
            self.hcd.cancel(ticket)
        }

        fn enable_interrupts(&self, is_on: bool) -> Result<()> {
            let at = if is_on { INTERRUPT_ENABLE } else { INTERRUPT_DISABLE };
            self.hcd.registers().set(at, INTERRUPT_MASTER | INTERRUPT_DONE)
        }

        fn interrupts(&self) -> Result<bool> {
            Ok(self.hcd.registers().get(INTERRUPT_STATUS)? & INTERRUPT_DONE != 0)
        }

        fn acknowledge(&self) -> Result<()> {
            self.hcd.registers().set(INTERRUPT_STATUS, INTERRUPT_DONE)
        }
    };
}

/// QEMU's `pci-ohci`.
pub struct PciOhci {
    /// Where it is plugged in, and its registers.
    pub plug: PciPlug,
    hcd: Hcd,
}

impl UsbHcd for PciOhci {
    common!();

    fn function(&self) -> Option<&PciDevice> {
        Some(&self.plug.device)
    }

    fn again(&self) -> Result<()> {
        let again = self.plug.again()?;
        *self.hcd.registers.borrow_mut() = again.registers;
        Ok(())
    }
}

impl Produces<dyn UsbHcd> for PciOhci {
    fn produced(self: Rc<Self>) -> Rc<dyn UsbHcd> {
        self
    }
}

impl Ohci for PciOhci {
    fn registers(&self) -> Rc<dyn Registers> {
        self.hcd.registers()
    }
}

impl Produces<dyn Ohci> for PciOhci {
    fn produced(self: Rc<Self>) -> Rc<dyn Ohci> {
        self
    }
}

impl PciOhci {
    /// QEMU's name of its bus.
    pub const BUS: &str = "ohci.0";
}

impl Consumes<dyn PciBus> for PciOhci {
    const ARGS: QemuArgs =
        QemuArgs::device("bus={bus},addr={addr},id=ohci").before(MEDIUM_BACKEND).images(&[MEDIUM]);

    fn attach(bus: Rc<dyn PciBus>, site: &Site) -> Result<Self> {
        let plug = PciPlug::attach(&bus, site, 0)?;
        let hcd = Hcd::new(site.vm, Self::BUS.to_owned(), plug.registers.clone());
        Ok(Self { plug, hcd })
    }
}

usb_ports!(PciOhci: FullSpeed; Plug::new(PciOhci::BUS, "1"));

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

driver!(
    PciOhci = "pci-ohci";
    consumes dyn PciBus;
    produces dyn UsbHcd, dyn Ohci, FullSpeed, PciFunction, RegisterBlock
);

/// An open host controller in the memory of a board.
pub struct BoardOhci {
    found: FoundDevice,
    hcd: Hcd,
}

impl UsbHcd for BoardOhci {
    common!();

    fn line(&self) -> Result<Option<InterruptLine>> {
        Pin::of(&self.found, 0).map(|pin| pin.watch(&self.hcd.vm)).transpose()
    }

    fn again(&self) -> Result<()> {
        Ok(())
    }
}

impl Produces<dyn UsbHcd> for BoardOhci {
    const ARGS: QemuArgs = QemuArgs::NONE.before(MEDIUM_BACKEND).images(&[MEDIUM]);

    fn produced(self: Rc<Self>) -> Rc<dyn UsbHcd> {
        self
    }
}

impl Ohci for BoardOhci {
    fn registers(&self) -> Rc<dyn Registers> {
        self.hcd.registers()
    }
}

impl Produces<dyn Ohci> for BoardOhci {
    const ARGS: QemuArgs = QemuArgs::NONE.before(MEDIUM_BACKEND).images(&[MEDIUM]);

    fn produced(self: Rc<Self>) -> Rc<dyn Ohci> {
        self
    }
}

impl Produces<RegisterBlock> for BoardOhci {
    fn produced(self: Rc<Self>) -> Rc<RegisterBlock> {
        let registers = self.hcd.registers();
        Rc::new(RegisterBlock::new("OpenHCI Specification 1.0a", registers, TABLE).faults(FAULTS))
    }
}

usb_ports!(BoardOhci: FullSpeed; board);

impl Discovered for BoardOhci {
    const QOM_TYPES: &'static [&'static str] = &["sysbus-ohci"];

    fn plug(device: &FoundDevice) -> Plug {
        device.first_bus()
    }

    fn found(device: &FoundDevice, vm: &Rc<Vm>) -> Result<Self> {
        let bus = device.first_bus().bus;
        if bus.is_empty() {
            return Err(Error::skipped("its ports are those of another controller"));
        }
        let registers: Rc<dyn Registers> = Rc::new(Mmio::new(vm, device.base()?, Endian::Little));
        let hcd = Hcd::new(vm, bus.to_owned(), registers);
        Ok(Self { found: device.clone(), hcd })
    }
}

driver!(BoardOhci = "ohci-usb"; produces dyn UsbHcd, dyn Ohci, FullSpeed, RegisterBlock);
discovered!(BoardOhci);
