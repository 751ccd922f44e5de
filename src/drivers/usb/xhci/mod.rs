//! The extensible host controllers of USB 3 (eXtensible Host Controller Interface 1.1, whose sections
//! are cited), on a PCI bus or on a board.

mod core;
mod packets;
pub mod raw;
pub mod registers;
mod ring;

use std::cell::RefCell;
use std::rc::Rc;

use self::core::Core;
use self::raw::{Raw, RawXhci};
pub use self::registers::*;
use crate::graph::{Consumes, Discovered, FoundDevice, Plug, Produces, QemuArgs, Site};
use crate::protocol::Endian;
use crate::qemu::Vm;
use crate::qos::interrupt::{InterruptLine, Pin};
use crate::qos::pci::{PciBus, PciDevice, PciFunction, PciPlug};
use crate::qos::registers::{Mmio, RegisterBlock, Registers, RegistersExt};
use crate::qos::usb::{
    Completion, Device, Endpoint, FullSpeed, HighSpeed, MEDIUM, MEDIUM_BACKEND, Packets, Port,
    Profile, Request, Speed, Ticket, UsbHcd,
};
use crate::qos::wait_until;
use crate::{Error, Result, discovered, driver, usb_ports};

/// An extended capability: a protocol that some ports speak (7.2).
const PROTOCOL: u32 = 2;

/// The ports of a protocol: its major version, the first port from 0, how many.
type Protocol = (u32, usize, usize);

/// A controller, wherever it is.
struct Hcd {
    vm: Rc<Vm>,
    bus: String,
    registers: RefCell<Rc<dyn Registers>>,
    protocols: Vec<Protocol>,
    core: RefCell<Option<Core>>,
}

/// The protocols that a controller's ports speak (7.2).
fn protocols(registers: &dyn Registers) -> Result<Vec<Protocol>> {
    let mut list = Vec::new();
    let mut at = u64::from(registers.get(CAPABILITIES)? >> 16) * 4;
    while at != 0 && list.len() < 16 {
        let head = registers.read32(at)?;
        if head & 0xff == PROTOCOL {
            let ports = registers.read32(at + 8)?;
            let first = (ports & 0xff) as usize;
            match (registers.read32(at + 4)?, first) {
                // "USB ".
                (0x2042_5355, 1..) => {
                    list.push((head >> 24, first - 1, (ports >> 8 & 0xff) as usize));
                }
                (name, _) => {
                    let why = format!("a protocol {name:#x} of the ports {ports:#x}");
                    return Err(Error::failed(why));
                }
            }
        }
        let next = u64::from(head >> 8 & 0xff) * 4;
        at = if next == 0 { 0 } else { at + next };
    }
    Ok(list)
}

impl Hcd {
    fn new(vm: &Rc<Vm>, bus: String, registers: Rc<dyn Registers>) -> Result<Self> {
        let protocols = protocols(&*registers)?;
        let core = RefCell::default();
        Ok(Self { vm: vm.clone(), bus, registers: RefCell::new(registers), protocols, core })
    }

    fn registers(&self) -> Rc<dyn Registers> {
        self.registers.borrow().clone()
    }

    fn with<T>(&self, what: impl FnOnce(&mut Core) -> Result<T>) -> Result<T> {
        match self.core.borrow_mut().as_mut() {
            Some(core) => what(core),
            None => Err(Error::failed("the controller was not started")),
        }
    }

    /// How many streams an endpoint may have, to the power of two, stream 0 being none (5.3.6).
    fn streams(&self) -> u8 {
        let capabilities = self.registers().get(CAPABILITIES).unwrap_or_default();
        (capabilities >> 12 & 0xf) as u8
    }

    fn ports(&self) -> usize {
        self.protocols.iter().map(|protocol| protocol.2).max().unwrap_or(0)
    }

    fn protocol_of(&self, port: usize) -> u32 {
        let of = |it: &&Protocol| (it.1..it.1 + it.2).contains(&port);
        self.protocols.iter().find(of).map_or(0, |protocol| protocol.0)
    }

    fn is_halted(&self) -> Result<bool> {
        Ok(self.registers().get(STATUS)? & STATUS_HALTED != 0)
    }

    fn set_running(&self, is_on: bool) -> Result<()> {
        let registers = self.registers();
        let command = registers.get(COMMAND)? & !COMMAND_RUN;
        registers.set(COMMAND, command | if is_on { COMMAND_RUN } else { 0 })?;
        let what = if is_on { "the controller to run" } else { "the controller to stop" };
        wait_until(&self.vm, what, || Ok(self.is_halted()? != is_on))?;
        match self.core.borrow().as_ref() {
            // Doorbells are of no effect while it is stopped (4.2).
            Some(core) if is_on => core.ring_pending(),
            _ => Ok(()),
        }
    }

    fn start(&self) -> Result<()> {
        self.set_running(false)?;
        *self.core.borrow_mut() = None;
        let registers = self.registers();
        registers.set(COMMAND, COMMAND_RESET)?;
        wait_until(&self.vm, "the reset of the controller", || {
            let is_over = registers.get(COMMAND)? & COMMAND_RESET == 0;
            Ok(is_over && registers.get(STATUS)? & STATUS_NOT_READY == 0)
        })?;
        *self.core.borrow_mut() = Some(Core::new(&self.vm, registers.clone())?);
        self.set_running(true)?;
        for &(_, first, count) in &self.protocols {
            for port in first..first + count {
                registers.set(PORT.nth(port as u64, 0x10), PORT_POWER | PORT_CHANGES)?;
            }
        }
        Ok(())
    }

    fn port_status(&self, port: usize) -> Result<u32> {
        let at = PORT.nth(port as u64, 0x10);
        let status = self.registers().get(at)?;
        match status & PORT_POWER {
            0 => Err(Error::failed(format!("{at} is {status:#x}: it has no power"))),
            _ => Ok(status),
        }
    }

    fn reset_port(&self, port: usize) -> Result<()> {
        let at = PORT.nth(port as u64, 0x10);
        let registers = self.registers();
        registers.set(at, PORT_POWER | PORT_CHANGES)?;
        if self.port_status(port)? & PORT_CONNECTED == 0 {
            return Ok(());
        }
        registers.set(at, PORT_POWER | PORT_RESET)?;
        wait_until(&self.vm, "the reset of the port", || {
            Ok(registers.get(at)? & (PORT_RESET | PORT_RESET_CHANGED) == PORT_RESET_CHANGED)
        })?;
        registers.set(at, PORT_POWER | PORT_CHANGES)
    }

    fn speed(&self, port: usize) -> Result<Speed> {
        match self.port_status(port)? >> 10 & 0xf {
            1 => Ok(Speed::Full),
            2 => Ok(Speed::Low),
            3 => Ok(Speed::High),
            4 => Ok(Speed::Super),
            id => Err(Error::failed(format!("port {port} has the speed {id}"))),
        }
    }

    fn acknowledge(&self) -> Result<()> {
        self.with(Core::take_events)?;
        let registers = self.registers();
        registers.set(STATUS, STATUS_EVENT | STATUS_PORT)?;
        let enabled = registers.get(MANAGEMENT)? & MANAGEMENT_ENABLED;
        registers.set(MANAGEMENT, enabled | MANAGEMENT_PENDING)
    }

    fn enable_interrupts(&self, is_on: bool) -> Result<()> {
        let registers = self.registers();
        let command = registers.get(COMMAND)? & !COMMAND_INTERRUPTS;
        registers.set(COMMAND, command | if is_on { COMMAND_INTERRUPTS } else { 0 })?;
        registers.set(MANAGEMENT, if is_on { MANAGEMENT_ENABLED } else { 0 })
    }

    fn completion(&self, ticket: Ticket) -> Result<Option<Completion>> {
        self.works()?;
        self.with(|core| core.completion(ticket))
    }

    fn packets(&self, ticket: Ticket) -> Result<Option<Vec<Completion>>> {
        self.works()?;
        self.with(|core| core.packets(ticket))
    }

    fn works(&self) -> Result<()> {
        match self.registers().get(STATUS)? {
            status if status & (STATUS_HOST_ERROR | STATUS_CONTROLLER_ERROR) != 0 => {
                Err(Error::failed(format!("{STATUS} is {status:#x}: the controller fails")))
            }
            _ => Ok(()),
        }
    }
}

/// The part of the interface that does not depend on where the controller is.
macro_rules! common {
    () => {
        fn profile(&self) -> Profile {
            Profile {
                bus: self.hcd.bus.clone(),
                ports: self.hcd.ports(),
                speeds: &[Speed::Low, Speed::Full, Speed::High, Speed::Super],
                frames: 0x800,
                lag: 1,
                ends_transfers: false,
                addresses: false,
                streams: self.hcd.streams(),
                disables_ports: false,
                stops_frames: false,
                resets_devices: false,
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
            Ok(self.hcd.registers().get(FRAME)? >> 3 & 0x7ff)
        }

        fn port_of(&self, number: usize, speed: Speed) -> usize {
            let major = if speed == Speed::Super { 3 } else { 2 };
            let of = |it: &&Protocol| it.0 == major;
            self.hcd.protocols.iter().find(of).map_or(number, |protocol| protocol.1 + number)
        }

        fn port(&self, port: usize) -> Result<Port> {
            let status = self.hcd.port_status(port)?;
            Ok(Port {
                connected: status & PORT_CONNECTED != 0,
                enabled: status & PORT_ENABLED != 0,
                changed: status & PORT_CHANGED != 0,
            })
        }

        fn enables_itself(&self, port: usize) -> bool {
            self.hcd.protocol_of(port) == 3
        }

        fn speed(&self, port: usize) -> Result<Speed> {
            self.hcd.speed(port)
        }

        fn acknowledge_port(&self, port: usize) -> Result<()> {
            let at = PORT.nth(port as u64, 0x10);
            self.hcd.registers().set(at, PORT_POWER | PORT_CHANGES)
        }

        fn reset_port(&self, port: usize) -> Result<()> {
            self.hcd.reset_port(port)
        }

        fn disable_port(&self, port: usize) -> Result<()> {
            self.hcd.registers().set(PORT.nth(port as u64, 0x10), PORT_POWER | PORT_ENABLED)
        }

        fn open(&self, port: usize, speed: Speed, route: u32) -> Result<Device> {
            self.hcd.with(|core| core.open(port, speed, route))
        }

        fn close(&self, device: &Device) -> Result<()> {
            self.hcd.with(|core| core.close(device))
        }

        fn set_address(&self, device: &Device, _address: u8) -> Result<()> {
            self.hcd.with(|core| core.set_address(device))
        }

        fn set_packet(&self, device: &Device, packet: usize) -> Result<()> {
            self.hcd.with(|core| core.set_packet(device, packet))
        }

        fn configure(&self, device: &Device, endpoints: &[Endpoint]) -> Result<()> {
            self.hcd.with(|core| core.configure(device, endpoints))
        }

        fn clear_halt(&self, device: &Device, endpoint: &Endpoint) -> Result<()> {
            self.hcd.with(|core| core.clear_halt_of(device, endpoint))
        }

        fn submit(&self, request: &Request) -> Result<Ticket> {
            self.hcd.with(|core| core.submit(request))
        }

        fn completion(&self, ticket: Ticket) -> Result<Option<Completion>> {
            self.hcd.completion(ticket)
        }

        fn submit_packets(&self, packets: &Packets) -> Result<Ticket> {
            self.hcd.with(|core| core.submit_packets(packets))
        }

        fn packets(&self, ticket: Ticket) -> Result<Option<Vec<Completion>>> {
            self.hcd.packets(ticket)
        }

        fn cancel(&self, ticket: Ticket) -> Result<()> {
            self.hcd.with(|core| core.cancel(ticket))
        }

        fn enable_interrupts(&self, is_on: bool) -> Result<()> {
            self.hcd.enable_interrupts(is_on)
        }

        fn interrupts(&self) -> Result<bool> {
            Ok(self.hcd.registers().get(STATUS)? & STATUS_EVENT != 0)
        }

        fn acknowledge(&self) -> Result<()> {
            self.hcd.acknowledge()
        }
    };
}

/// QEMU's extensible host controllers on PCI.
pub struct Xhci {
    /// The function.
    pub device: PciDevice,
    plug: RefCell<PciPlug>,
    hcd: Hcd,
}

impl Xhci {
    /// The registers.
    pub fn registers(&self) -> Rc<dyn Registers> {
        self.hcd.registers()
    }
}

impl UsbHcd for Xhci {
    common!();

    fn function(&self) -> Option<&PciDevice> {
        Some(&self.device)
    }

    fn again(&self) -> Result<()> {
        let again = self.plug.borrow().again()?;
        *self.hcd.registers.borrow_mut() = again.registers.clone();
        *self.plug.borrow_mut() = again;
        Ok(())
    }
}

impl Consumes<dyn PciBus> for Xhci {
    const ARGS: QemuArgs =
        QemuArgs::device("bus={bus},addr={addr},id=usb").before(MEDIUM_BACKEND).images(&[MEDIUM]);

    fn attach(bus: Rc<dyn PciBus>, site: &Site) -> Result<Self> {
        let plug = PciPlug::attach(&bus, site, 0)?;
        let hcd = Hcd::new(site.vm, "usb.0".to_owned(), plug.registers.clone())?;
        Ok(Self { device: plug.device.clone(), plug: RefCell::new(plug), hcd })
    }
}

impl Produces<dyn UsbHcd> for Xhci {
    fn produced(self: Rc<Self>) -> Rc<dyn UsbHcd> {
        self
    }
}

impl RawXhci for Xhci {
    fn registers(&self) -> Rc<dyn Registers> {
        self.hcd.registers()
    }

    fn base(&self) -> Option<u64> {
        // A BAR of 64 bits.
        let [low, high] = [0x10, 0x14].map(|at| self.device.config_read32(at).ok());
        Some(u64::from(low? & !0xf) | u64::from(high?) << 32)
    }

    fn with_core(&self, what: &mut dyn FnMut(&mut Raw) -> Result<()>) -> Result<()> {
        self.hcd.with(|core| what(&mut Raw(core)))
    }
}

impl Produces<dyn RawXhci> for Xhci {
    fn produced(self: Rc<Self>) -> Rc<dyn RawXhci> {
        self
    }
}

usb_ports!(Xhci: FullSpeed, HighSpeed; card);

impl Produces<PciFunction> for Xhci {
    fn produced(self: Rc<Self>) -> Rc<PciFunction> {
        let mapped = vec![self.plug.borrow().registers.clone()];
        Rc::new(PciFunction { device: self.device.clone(), identity: None, mapped })
    }
}

impl Produces<RegisterBlock> for Xhci {
    fn produced(self: Rc<Self>) -> Rc<RegisterBlock> {
        let ports = u64::try_from(2 * self.hcd.ports()).unwrap_or_default();
        Rc::new(
            RegisterBlock::new("xHCI 1.1", self.hcd.registers(), TABLE)
                .with_array(&PORT, ports, 0x10)
                .faults(FAULTS)
                .software_reset(|registers| registers.set(COMMAND, COMMAND_RESET))
                .attach(move || {
                    UsbHcd::again(&*self)?;
                    Ok(self.hcd.registers())
                }),
        )
    }
}

driver!(
    Xhci = "qemu-xhci", "nec-usb-xhci";
    consumes dyn PciBus;
    produces dyn UsbHcd, dyn RawXhci, FullSpeed, HighSpeed, PciFunction, RegisterBlock
);

/// An extensible host controller in the memory of a board.
pub struct BoardXhci {
    found: FoundDevice,
    hcd: Hcd,
}

impl UsbHcd for BoardXhci {
    common!();

    fn line(&self) -> Result<Option<InterruptLine>> {
        Pin::of(&self.found, 0).map(|pin| pin.watch(&self.hcd.vm)).transpose()
    }

    fn again(&self) -> Result<()> {
        Ok(())
    }
}

impl Produces<dyn UsbHcd> for BoardXhci {
    const ARGS: QemuArgs = QemuArgs::NONE.before(MEDIUM_BACKEND).images(&[MEDIUM]);

    fn produced(self: Rc<Self>) -> Rc<dyn UsbHcd> {
        self
    }
}

/// The bus of a controller, which belongs to a part of it.
fn bus(device: &FoundDevice) -> Plug {
    let inside = format!("{}/", device.path);
    let mut all = device.machine().devices.iter();
    let part = all.find(|it| it.path.starts_with(&inside) && !it.buses.is_empty());
    let bus = part.and_then(|part| part.buses.first());
    bus.map_or_else(|| device.first_bus(), |bus| device.plug_into(bus))
}

impl RawXhci for BoardXhci {
    fn registers(&self) -> Rc<dyn Registers> {
        self.hcd.registers()
    }

    fn base(&self) -> Option<u64> {
        self.found.base().ok()
    }

    fn with_core(&self, what: &mut dyn FnMut(&mut Raw) -> Result<()>) -> Result<()> {
        self.hcd.with(|core| what(&mut Raw(core)))
    }
}

impl Produces<dyn RawXhci> for BoardXhci {
    const ARGS: QemuArgs = QemuArgs::NONE.before(MEDIUM_BACKEND).images(&[MEDIUM]);

    fn produced(self: Rc<Self>) -> Rc<dyn RawXhci> {
        self
    }
}

usb_ports!(BoardXhci: FullSpeed, HighSpeed; board);

impl Discovered for BoardXhci {
    const QOM_TYPES: &'static [&'static str] = &["sysbus-xhci"];

    fn plug(device: &FoundDevice) -> Plug {
        bus(device)
    }

    fn found(device: &FoundDevice, vm: &Rc<Vm>) -> Result<Self> {
        let registers: Rc<dyn Registers> = Rc::new(Mmio::new(vm, device.base()?, Endian::Little));
        let bus = bus(device).bus.to_owned();
        Ok(Self { found: device.clone(), hcd: Hcd::new(vm, bus, registers)? })
    }
}

driver!(BoardXhci = "xhci-usb"; produces dyn UsbHcd, dyn RawXhci, FullSpeed, HighSpeed);
discovered!(BoardXhci);
