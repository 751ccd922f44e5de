//! The enhanced host controllers of USB 2.0 (Enhanced Host Controller Interface Specification 1.0,
//! whose sections are cited), on a PCI bus or on a board.

pub mod registers;
mod schedule;

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

pub use self::registers::*;
use self::schedule::{Removed, Schedule};
use crate::graph::{Consumes, Discovered, FoundDevice, Member, Plug, Produces, QemuArgs, Site};
use crate::protocol::Endian;
use crate::qemu::Vm;
use crate::qos::interrupt::{InterruptLine, Pin};
use crate::qos::pci::{ExpectedBar, Identity, PciBus, PciDevice, PciFunction, PciPlug, Space};
use crate::qos::registers::{Mmio, RegisterBlock, Registers, RegistersExt, Width};
use crate::qos::usb::{
    Completion, HighSpeed, MEDIUM, MEDIUM_BACKEND, Port, Profile, Request, Speed, Ticket, UsbHcd,
};
use crate::qos::wait_until;
use crate::{Error, Result, discovered, driver, usb_ports};

/// HCSPARAMS, behind the capability registers' start: the number of ports in its lowest bits.
const PARAMETERS: u64 = 4;

/// Device ID and revision ID.
type Ids = (u16, u8);

/// Those on PCI.
const MEMBERS: [Member<Ids>; 2] =
    [Member::new("usb-ehci", (0x24cd, 0x10)), Member::new("ich9-usb-ehci1", (0x293a, 3))];

/// Registers that begin at an offset of others.
struct Behind {
    to: Rc<dyn Registers>,
    offset: u64,
}

impl Registers for Behind {
    fn read(&self, offset: u64, width: Width) -> Result<u64> {
        self.to.read(self.offset + offset, width)
    }

    fn write(&self, offset: u64, width: Width, value: u64) -> Result<()> {
        self.to.write(self.offset + offset, width, value)
    }
}

/// An enhanced host controller, wherever it is.
struct Core {
    vm: Rc<Vm>,
    bus: String,
    ports: usize,
    registers: RefCell<Rc<dyn Registers>>,
    schedule: RefCell<Option<Schedule>>,
}

impl Core {
    /// The controller whose capability registers are the first of `all`.
    fn new(vm: &Rc<Vm>, bus: String, all: &Rc<dyn Registers>) -> Result<Self> {
        let ports = (all.read32(PARAMETERS)? & 0xf) as usize;
        let core = Self {
            vm: vm.clone(),
            bus,
            ports,
            registers: RefCell::new(all.clone()),
            schedule: RefCell::default(),
        };
        core.place(all)?;
        Ok(core)
    }

    /// Notes where the operational registers are.
    fn place(&self, all: &Rc<dyn Registers>) -> Result<()> {
        let offset = u64::from(all.read32(0)? & 0xff);
        *self.registers.borrow_mut() = Rc::new(Behind { to: all.clone(), offset });
        Ok(())
    }

    fn registers(&self) -> Rc<dyn Registers> {
        self.registers.borrow().clone()
    }

    fn with<T>(&self, what: impl FnOnce(&mut Schedule) -> Result<T>) -> Result<T> {
        match self.schedule.borrow_mut().as_mut() {
            Some(schedule) => what(schedule),
            None => Err(Error::failed("the controller was not started")),
        }
    }

    fn is_halted(&self) -> Result<bool> {
        Ok(self.registers().get(STATUS)? & STATUS_HALTED != 0)
    }

    fn wait(&self, what: &str, mask: u32, value: u32) -> Result<()> {
        let registers = self.registers();
        wait_until(&self.vm, what, || Ok(registers.get(STATUS)? & mask == value))
    }

    fn reset(&self) -> Result<()> {
        let registers = self.registers();
        registers.set(COMMAND, 0)?;
        self.wait("the controller to stop", STATUS_HALTED, STATUS_HALTED)?;
        registers.set(COMMAND, COMMAND_RESET)?;
        wait_until(&self.vm, "the reset of the controller", || {
            Ok(registers.get(COMMAND)? & COMMAND_RESET == 0)
        })
    }

    fn start(&self) -> Result<()> {
        self.reset()?;
        let schedule = Schedule::new(&self.vm)?;
        let registers = self.registers();
        registers.set(INTERRUPTS, 0)?;
        registers.set(FRAME, 0)?;
        registers.set(PERIODIC, schedule.list() as u32)?;
        registers.set(ASYNC, schedule.head() as u32)?;
        *self.schedule.borrow_mut() = Some(schedule);
        self.set_running(true)?;
        registers.set(CONFIGURED, 1)?;
        for port in 0..self.ports {
            registers.set(PORT.nth(port as u64, 4), PORT_POWER)?;
        }
        registers.set(STATUS, STATUS_ALL)
    }

    fn set_running(&self, is_on: bool) -> Result<()> {
        let run = if is_on { COMMAND_RUN | COMMAND_SCHEDULES } else { 0 };
        self.registers().set(COMMAND, run)?;
        match is_on {
            true => self.wait("the controller to run", STATUS_HALTED, 0),
            false => self.wait("the controller to stop", STATUS_HALTED, STATUS_HALTED),
        }
    }

    fn port_status(&self, port: usize) -> Result<u32> {
        let at = PORT.nth(port as u64, 4);
        let status = self.registers().get(at)?;
        match status & (PORT_POWER | PORT_OWNER) {
            PORT_POWER => Ok(status),
            _ => Err(Error::failed(format!("{at} is {status:#x}: no power, or a companion's"))),
        }
    }

    fn reset_port(&self, port: usize) -> Result<()> {
        let at = PORT.nth(port as u64, 4);
        let registers = self.registers();
        registers.set(at, PORT_POWER | PORT_RESET)?;
        let during = registers.get(at)?;
        if during & (PORT_RESET | PORT_ENABLED) != PORT_RESET {
            return Err(Error::failed(format!("{at} is {during:#x} in a reset")));
        }
        self.vm.qtest().clock_step(Some(Duration::from_millis(50)))?;
        registers.set(at, PORT_POWER)?;
        wait_until(&self.vm, "the reset of the port", || Ok(registers.get(at)? & PORT_RESET == 0))?;
        self.acknowledge_port(port)
    }

    fn acknowledge_port(&self, port: usize) -> Result<()> {
        let status = self.port_status(port)?;
        let registers = self.registers();
        registers
            .set(PORT.nth(port as u64, 4), status & PORT_ENABLED | PORT_POWER | PORT_CHANGES)?;
        registers.set(STATUS, STATUS_PORT)
    }

    fn completion(&self, ticket: Ticket) -> Result<Option<Completion>> {
        let status = self.registers().get(STATUS)?;
        if status & STATUS_HOST_ERROR != 0 {
            return Err(Error::failed(format!("{STATUS} is {status:#x}: the controller fails")));
        }
        match self.with(|schedule| schedule.completion(ticket))? {
            None => Ok(None),
            Some((completion, removed)) => {
                self.passed(removed)?;
                Ok(Some(completion))
            }
        }
    }

    /// Waits until the controller has left what was taken out of its schedules (4.8.2).
    fn passed(&self, removed: Removed) -> Result<()> {
        if !self.is_halted()? {
            if removed.is_periodic {
                self.vm.qtest().clock_step(Some(Duration::from_millis(2)))?;
            } else {
                let registers = self.registers();
                let command = registers.get(COMMAND)?;
                registers.set(COMMAND, command | COMMAND_DOORBELL)?;
                self.wait("the list to be passed", STATUS_ADVANCE, STATUS_ADVANCE)?;
                registers.set(STATUS, STATUS_ADVANCE)?;
            }
        }
        drop(removed);
        Ok(())
    }
}

/// The part of the interface that does not depend on where the controller is.
macro_rules! common {
    () => {
        fn profile(&self) -> Profile {
            Profile {
                bus: self.core.bus.clone(),
                ports: self.core.ports,
                speeds: &[Speed::High],
                frames: 0x800,
                lag: 64,
                ends_transfers: false,
                addresses: true,
                streams: 0,
                disables_ports: true,
                stops_frames: true,
                resets_devices: true,
            }
        }

        fn vm(&self) -> &Vm {
            &self.core.vm
        }

        fn start(&self) -> Result<()> {
            self.core.start()
        }

        fn set_running(&self, is_on: bool) -> Result<()> {
            self.core.set_running(is_on)
        }

        fn is_halted(&self) -> Result<bool> {
            self.core.is_halted()
        }

        fn frame(&self) -> Result<u32> {
            match self.core.registers().get(FRAME)? {
                index @ 0..0x4000 => Ok(index >> 3),
                index => Err(Error::failed(format!("{FRAME} is {index:#x}"))),
            }
        }

        fn port(&self, port: usize) -> Result<Port> {
            let status = self.core.port_status(port)?;
            Ok(Port {
                connected: status & PORT_CONNECTED != 0,
                enabled: status & PORT_ENABLED != 0,
                changed: status & PORT_CHANGED != 0,
            })
        }

        fn speed(&self, port: usize) -> Result<Speed> {
            match self.core.port_status(port)? & PORT_ENABLED {
                0 => Err(Error::failed(format!("port {port} is not enabled: its device is slow"))),
                _ => Ok(Speed::High),
            }
        }

        fn acknowledge_port(&self, port: usize) -> Result<()> {
            self.core.acknowledge_port(port)
        }

        fn reset_port(&self, port: usize) -> Result<()> {
            self.core.reset_port(port)
        }

        fn disable_port(&self, port: usize) -> Result<()> {
            self.core.registers().set(PORT.nth(port as u64, 4), PORT_POWER)
        }

        fn submit(&self, request: &Request) -> Result<Ticket> {
            self.core.with(|schedule| schedule.submit(request))
        }

        fn completion(&self, ticket: Ticket) -> Result<Option<Completion>> {
            self.core.completion(ticket)
        }

        fn cancel(&self, ticket: Ticket) -> Result<()> {
            let removed = self.core.with(|schedule| schedule.remove(ticket))?;
            self.core.passed(removed)
        }

        fn enable_interrupts(&self, is_on: bool) -> Result<()> {
            let all = STATUS_INTERRUPT | STATUS_ERROR;
            self.core.registers().set(INTERRUPTS, if is_on { all } else { 0 })
        }

        fn interrupts(&self) -> Result<bool> {
            Ok(self.core.registers().get(STATUS)? & STATUS_INTERRUPT != 0)
        }

        fn reports_errors(&self) -> Result<bool> {
            Ok(self.core.registers().get(STATUS)? & STATUS_ERROR != 0)
        }

        fn acknowledge(&self) -> Result<()> {
            self.core.registers().set(STATUS, STATUS_ALL)
        }
    };
}

/// One of Intel's enhanced host controllers on PCI.
pub struct Ehci {
    ids: Ids,
    /// The function.
    pub device: PciDevice,
    plug: RefCell<PciPlug>,
    core: Core,
}

impl Ehci {
    /// The operational registers.
    pub fn registers(&self) -> Rc<dyn Registers> {
        self.core.registers()
    }
}

impl UsbHcd for Ehci {
    common!();

    fn function(&self) -> Option<&PciDevice> {
        Some(&self.device)
    }

    fn again(&self) -> Result<()> {
        let again = self.plug.borrow().again()?;
        let registers: Rc<dyn Registers> = again.registers.clone();
        *self.plug.borrow_mut() = again;
        self.core.place(&registers)
    }
}

impl Consumes<dyn PciBus> for Ehci {
    const ARGS: QemuArgs =
        QemuArgs::device("bus={bus},addr={addr},id=usb").before(MEDIUM_BACKEND).images(&[MEDIUM]);

    fn attach(bus: Rc<dyn PciBus>, site: &Site) -> Result<Self> {
        let plug = PciPlug::attach(&bus, site, 0)?;
        let registers: Rc<dyn Registers> = plug.registers.clone();
        let core = Core::new(site.vm, "usb.0".to_owned(), &registers)?;
        Ok(Self {
            ids: *site.member(&MEMBERS)?,
            device: plug.device.clone(),
            plug: RefCell::new(plug),
            core,
        })
    }
}

impl Produces<dyn UsbHcd> for Ehci {
    fn produced(self: Rc<Self>) -> Rc<dyn UsbHcd> {
        self
    }
}

usb_ports!(Ehci: HighSpeed; card);

impl Produces<PciFunction> for Ehci {
    fn produced(self: Rc<Self>) -> Rc<PciFunction> {
        let (device, revision) = self.ids;
        self.plug.borrow().function(Identity {
            vendor: 0x8086,
            device,
            revision,
            class: 0x0c_03_20,
            subsystem: (0x1af4, 0x1100),
            pin: 4,
            bars: &[ExpectedBar {
                number: 0,
                space: Space::Memory,
                size: 0x1000,
                witness: Some(PARAMETERS),
            }],
            capabilities: &[],
        })
    }
}

impl Produces<RegisterBlock> for Ehci {
    fn produced(self: Rc<Self>) -> Rc<RegisterBlock> {
        let ports = self.core.ports as u64;
        Rc::new(
            RegisterBlock::new("EHCI 1.0", self.core.registers(), TABLE)
                .with_array(&PORT, ports, 4)
                .faults(FAULTS)
                .software_reset(|registers| registers.set(COMMAND, COMMAND_RESET))
                .attach(move || {
                    UsbHcd::again(&*self)?;
                    Ok(self.core.registers())
                }),
        )
    }
}

driver!(
    Ehci as MEMBERS;
    consumes dyn PciBus;
    produces dyn UsbHcd, HighSpeed, PciFunction, RegisterBlock
);

/// An enhanced host controller in the memory of a board.
pub struct BoardEhci {
    found: FoundDevice,
    core: Core,
}

impl UsbHcd for BoardEhci {
    common!();

    fn line(&self) -> Result<Option<InterruptLine>> {
        Pin::of(&self.found, 0).map(|pin| pin.watch(&self.core.vm)).transpose()
    }

    fn again(&self) -> Result<()> {
        Ok(())
    }
}

impl Produces<dyn UsbHcd> for BoardEhci {
    const ARGS: QemuArgs = QemuArgs::NONE.before(MEDIUM_BACKEND).images(&[MEDIUM]);

    fn produced(self: Rc<Self>) -> Rc<dyn UsbHcd> {
        self
    }
}

usb_ports!(BoardEhci: HighSpeed; board);

impl Discovered for BoardEhci {
    const QOM_TYPES: &'static [&'static str] = &[
        "platform-ehci-usb",
        "exynos4210-ehci-usb",
        "aw-h3-ehci-usb",
        "npcm7xx-ehci-usb",
        "ppc4xx-ehci-usb",
        "fsl-ehci-usb",
    ];

    fn plug(device: &FoundDevice) -> Plug {
        device.first_bus()
    }

    fn found(device: &FoundDevice, vm: &Rc<Vm>) -> Result<Self> {
        let bus = device.first_bus().bus;
        if bus.is_empty() {
            return Err(Error::skipped("QEMU does not tell its bus from those of others"));
        }
        let registers: Rc<dyn Registers> = Rc::new(Mmio::new(vm, device.base()?, Endian::Little));
        let core = Core::new(vm, bus.to_owned(), &registers)?;
        Ok(Self { found: device.clone(), core })
    }
}

driver!(BoardEhci = "ehci-usb"; produces dyn UsbHcd, HighSpeed);
discovered!(BoardEhci);
