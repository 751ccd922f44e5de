//! The universal host controllers of USB 1.1 on a PCI bus (Universal Host Controller Interface
//! Design Guide 1.1, whose sections are cited).

mod packets;
mod schedule;

use std::cell::RefCell;
use std::rc::Rc;

use self::schedule::Schedule;
use crate::graph::{Consumes, Member, Produces, QemuArgs, Site};
use crate::qemu::Vm;
use crate::qos::pci::{Bar, ExpectedBar, Identity, PciBus, PciDevice, PciFunction, PciPlug, Space};
use crate::qos::registers::{AnyRegister, Fault, Register, RegisterBlock, RegistersExt, Rule};
use crate::qos::usb::{
    Completion, FullSpeed, MEDIUM, MEDIUM_BACKEND, Packets, Port, Profile, Request, Speed, Ticket,
    UsbHcd,
};
use crate::qos::wait_until;
use crate::{Error, Result, driver, usb_ports};

/// USBCMD.
pub const COMMAND: Register<u16> =
    Register::new("USBCMD", 0x00).section("2.1.1").reset(0).kept(0x00c0).acts(0x003f);
/// USBSTS.
pub const STATUS: Register<u16> =
    Register::new("USBSTS", 0x02).section("2.1.2").reset(0x20).w1c(0x3f);
/// USBINTR.
pub const INTERRUPTS: Register<u16> =
    Register::new("USBINTR", 0x04).section("2.1.3").reset(0).kept(0x0f);
/// FRNUM.
pub const FRAME: Register<u16> =
    Register::new("FRNUM", 0x06).section("2.1.4").reset(0).kept(0x07ff);
/// FRBASEADD.
pub const BASE: Register<u32> =
    Register::new("FRBASEADD", 0x08).section("2.1.5").undefined(0xffff_ffff).kept(0xffff_f000);
/// SOFMOD.
pub const SOF: Register<u8> = Register::new("SOFMOD", 0x0c).section("2.1.6").reset(0x40).kept(0x7f);
/// PORTSC1; PORTSC2 follows.
pub const PORT: Register<u16> = Register::new("PORTSC", 0x10)
    .section("2.1.7")
    .reset(0x0080)
    .kept(0x1000)
    .acts(0x0240)
    .w1c(0x000a);

/// USBCMD: the schedule runs.
pub const COMMAND_RUN: u16 = 1 << 0;
/// USBCMD: resets the controller.
pub const COMMAND_RESET: u16 = 1 << 1;
/// USBCMD: resets the bus.
pub const COMMAND_GLOBAL_RESET: u16 = 1 << 2;
/// USBCMD: configured; packets of 64 bytes may end a frame.
pub const COMMAND_READY: u16 = 0xc0;
/// USBSTS: a transfer with an interrupt has ended, or was short.
pub const STATUS_INTERRUPT: u16 = 1 << 0;
/// USBSTS: a transfer has ended with an error.
pub const STATUS_ERROR: u16 = 1 << 1;
/// USBSTS: a device has resumed.
pub const STATUS_RESUME: u16 = 1 << 2;
/// USBSTS: an error of the host's bus.
pub const STATUS_HOST_ERROR: u16 = 1 << 3;
/// USBSTS: an error of the schedule.
pub const STATUS_PROCESS_ERROR: u16 = 1 << 4;
/// USBSTS: stopped.
pub const STATUS_HALTED: u16 = 1 << 5;
/// USBINTR: errors; resume; ends; short packets.
pub const INTERRUPT_ERROR: u16 = 1 << 0;
/// USBINTR: a transfer has ended.
pub const INTERRUPT_END: u16 = 1 << 2;
/// USBINTR: a packet was short.
pub const INTERRUPT_SHORT: u16 = 1 << 3;
/// PORTSC: there is a device.
pub const PORT_CONNECTED: u16 = 1 << 0;
/// PORTSC: a device has come or gone.
pub const PORT_CHANGED: u16 = 1 << 1;
/// PORTSC: enabled.
pub const PORT_ENABLED: u16 = 1 << 2;
/// PORTSC: enabled or disabled by the hardware.
pub const PORT_ENABLE_CHANGED: u16 = 1 << 3;
/// PORTSC: a bit that is always set.
pub const PORT_ONE: u16 = 1 << 7;
/// PORTSC: a device of low speed.
pub const PORT_LOW_SPEED: u16 = 1 << 8;
/// PORTSC: in reset.
pub const PORT_RESET: u16 = 1 << 9;
/// PORTSC: suspended.
pub const PORT_SUSPEND: u16 = 1 << 12;
/// How many ports there are.
pub const PORTS: u64 = 2;

/// All registers.
const TABLE: &[&dyn AnyRegister] = &[&COMMAND, &STATUS, &INTERRUPTS, &FRAME, &BASE, &SOF];

/// What QEMU does otherwise.
const FAULTS: &[Fault] = &[
    Fault::new(
        &["USBCMD"],
        &[Rule::ReadOnly, Rule::Kept],
        "QEMU's UHCI keeps the reserved bits 15:8 of USBCMD",
    )
    .bits(0xff00),
    Fault::new(
        &["USBINTR"],
        &[Rule::ReadOnly, Rule::Kept],
        "QEMU's UHCI keeps the reserved bits 15:4 of USBINTR",
    )
    .bits(0xfff0),
    Fault::new(
        &["SOFMOD"],
        &[Rule::ReadOnly, Rule::Kept],
        "QEMU's UHCI keeps the reserved bit 7 of SOFMOD",
    )
    .bits(0x80),
    Fault::new(
        &["PORTSC"],
        &[Rule::ReadOnly, Rule::Kept],
        "QEMU's UHCI keeps the reserved bits 15:13, 11 and 10 of PORTSC",
    )
    .bits(0xec00),
    Fault::new(
        &["FRNUM"],
        &[Rule::SoftwareReset, Rule::MachineReset],
        "QEMU's UHCI does not reset FRNUM",
    ),
];

/// Device ID, revision ID, and interrupt pin.
type Ids = (u16, u8, u8);

/// The family.
const MEMBERS: [Member<Ids>; 2] =
    [Member::new("piix3-usb-uhci", (0x7020, 1, 4)), Member::new("ich9-usb-uhci1", (0x2934, 3, 1))];

/// Members that differ from those in nothing but what their configuration space says.
const OTHERS: [Member<Ids>; 6] = [
    Member::new("piix4-usb-uhci", (0x7112, 1, 4)),
    Member::new("ich9-usb-uhci2", (0x2935, 3, 2)),
    Member::new("ich9-usb-uhci3", (0x2936, 3, 3)),
    Member::new("ich9-usb-uhci4", (0x2937, 3, 1)),
    Member::new("ich9-usb-uhci5", (0x2938, 3, 2)),
    Member::new("ich9-usb-uhci6", (0x2939, 3, 3)),
];

/// One of Intel's universal host controllers, with two ports.
pub struct Uhci {
    vm: Rc<Vm>,
    ids: Ids,
    /// The function.
    pub device: PciDevice,
    plug: RefCell<PciPlug>,
    schedule: RefCell<Option<Schedule>>,
}

impl Uhci {
    /// The registers.
    pub fn registers(&self) -> Rc<Bar> {
        self.plug.borrow().registers.clone()
    }

    /// Resets the controller.
    ///
    /// # Errors
    /// The reset does not end.
    pub fn reset(&self) -> Result<()> {
        let registers = self.registers();
        registers.set(COMMAND, COMMAND_RESET)?;
        wait_until(&self.vm, "the reset of the controller", || {
            Ok(registers.get(COMMAND)? & COMMAND_RESET == 0)
        })
    }

    /// The guest-physical address of the list of frames.
    ///
    /// # Errors
    /// Returns an error if the controller was not started.
    pub fn list(&self) -> Result<u64> {
        self.with(|schedule| Ok(schedule.list()))
    }

    /// Puts what has the guest-physical address `link`, with its type, before all transfers.
    ///
    /// # Errors
    /// Returns an error if the controller was not started.
    pub fn set_first(&self, link: Option<u32>) -> Result<()> {
        self.with(|schedule| schedule.set_first(link))
    }

    fn with<T>(&self, what: impl FnOnce(&mut Schedule) -> Result<T>) -> Result<T> {
        let mut schedule = self.schedule.borrow_mut();
        match schedule.as_mut() {
            Some(schedule) => what(schedule),
            None => Err(Error::failed("the controller was not started")),
        }
    }

    fn port_status(&self, port: usize) -> Result<u16> {
        let at = PORT.nth(port as u64, 2);
        let status = self.registers().get(at)?;
        match status & PORT_ONE {
            0 => Err(Error::failed(format!("{at} is {status:#06x}: bit 7 is not set"))),
            _ => Ok(status),
        }
    }

    /// Waits until the controller has left every structure that was taken out of its schedule.
    fn passed(&self) -> Result<()> {
        if self.is_halted()? {
            return Ok(());
        }
        for _ in 0..40 {
            let before = self.frame()?;
            wait_until(&self.vm, "the next frame", || Ok(self.frame()? != before))?;
        }
        Ok(())
    }
}

impl UsbHcd for Uhci {
    fn profile(&self) -> Profile {
        Profile {
            bus: "usb.0".to_owned(),
            ports: PORTS as usize,
            speeds: &[Speed::Low, Speed::Full],
            frames: 0x800,
            lag: 1,
            ends_transfers: true,
            addresses: true,
            streams: 0,
            disables_ports: true,
            stops_frames: true,
            resets_devices: true,
        }
    }

    fn vm(&self) -> &Vm {
        &self.vm
    }

    fn start(&self) -> Result<()> {
        self.reset()?;
        let schedule = Schedule::new(&self.vm)?;
        let registers = self.registers();
        registers.set(INTERRUPTS, 0)?;
        registers.set(FRAME, 0)?;
        registers.set(BASE, schedule.list() as u32)?;
        registers.set(STATUS, 0xffff)?;
        *self.schedule.borrow_mut() = Some(schedule);
        self.set_running(true)
    }

    fn set_running(&self, is_on: bool) -> Result<()> {
        let run = if is_on { COMMAND_RUN } else { 0 };
        self.registers().set(COMMAND, COMMAND_READY | run)?;
        let what = if is_on { "the controller to run" } else { "the controller to stop" };
        wait_until(&self.vm, what, || Ok(self.is_halted()? != is_on))
    }

    fn is_halted(&self) -> Result<bool> {
        Ok(self.registers().get(STATUS)? & STATUS_HALTED != 0)
    }

    fn frame(&self) -> Result<u32> {
        match self.registers().get(FRAME)? {
            frame @ 0..0x800 => Ok(frame.into()),
            frame => Err(Error::failed(format!("{FRAME} is {frame:#x}"))),
        }
    }

    fn port(&self, port: usize) -> Result<Port> {
        let status = self.port_status(port)?;
        Ok(Port {
            connected: status & PORT_CONNECTED != 0,
            enabled: status & PORT_ENABLED != 0,
            changed: status & PORT_CHANGED != 0,
        })
    }

    fn speed(&self, port: usize) -> Result<Speed> {
        let is_low = self.port_status(port)? & PORT_LOW_SPEED != 0;
        Ok(if is_low { Speed::Low } else { Speed::Full })
    }

    fn acknowledge_port(&self, port: usize) -> Result<()> {
        let status = self.port_status(port)?;
        self.registers().set(PORT.nth(port as u64, 2), status | PORT_CHANGED | PORT_ENABLE_CHANGED)
    }

    fn reset_port(&self, port: usize) -> Result<()> {
        let at = PORT.nth(port as u64, 2);
        let registers = self.registers();
        registers.set(at, PORT_RESET)?;
        let during = registers.get(at)?;
        if during & PORT_RESET == 0 {
            return Err(Error::failed(format!("{at} is {during:#06x} in a reset")));
        }
        registers.set(at, 0)?;
        registers.set(at, PORT_ENABLED | PORT_CHANGED | PORT_ENABLE_CHANGED)
    }

    fn disable_port(&self, port: usize) -> Result<()> {
        self.registers().set(PORT.nth(port as u64, 2), 0)
    }

    fn submit(&self, request: &Request) -> Result<Ticket> {
        self.with(|schedule| schedule.submit(request))
    }

    fn completion(&self, ticket: Ticket) -> Result<Option<Completion>> {
        let status = self.registers().get(STATUS)?;
        if status & (STATUS_HOST_ERROR | STATUS_PROCESS_ERROR) != 0 {
            return Err(Error::failed(format!("{STATUS} is {status:#x}: the controller fails")));
        }
        self.with(|schedule| schedule.completion(ticket))
    }

    fn submit_packets(&self, packets: &Packets) -> Result<Ticket> {
        self.with(|schedule| schedule.submit_packets(packets))
    }

    fn packets(&self, ticket: Ticket) -> Result<Option<Vec<Completion>>> {
        let now = self.frame()?;
        self.with(|schedule| schedule.packets(ticket, now))
    }

    fn cancel(&self, ticket: Ticket) -> Result<()> {
        let memory = self.with(|schedule| schedule.remove(ticket))?;
        self.passed()?;
        drop(memory);
        Ok(())
    }

    fn enable_interrupts(&self, is_on: bool) -> Result<()> {
        let all = INTERRUPT_ERROR | INTERRUPT_END | INTERRUPT_SHORT;
        self.registers().set(INTERRUPTS, if is_on { all } else { 0 })
    }

    fn interrupts(&self) -> Result<bool> {
        Ok(self.registers().get(STATUS)? & STATUS_INTERRUPT != 0)
    }

    fn reports_errors(&self) -> Result<bool> {
        Ok(self.registers().get(STATUS)? & STATUS_ERROR != 0)
    }

    fn acknowledge(&self) -> Result<()> {
        self.registers().set(STATUS, STATUS_INTERRUPT | STATUS_ERROR)
    }

    fn function(&self) -> Option<&PciDevice> {
        Some(&self.device)
    }

    fn again(&self) -> Result<()> {
        let again = self.plug.borrow().again()?;
        *self.plug.borrow_mut() = again;
        Ok(())
    }
}

impl Consumes<dyn PciBus> for Uhci {
    const ARGS: QemuArgs =
        QemuArgs::device("bus={bus},addr={addr},id=usb").before(MEDIUM_BACKEND).images(&[MEDIUM]);

    fn attach(bus: Rc<dyn PciBus>, site: &Site) -> Result<Self> {
        let plug = PciPlug::attach(&bus, site, 4)?;
        Ok(Self {
            vm: site.vm.clone(),
            ids: *site.member(&MEMBERS)?,
            device: plug.device.clone(),
            plug: RefCell::new(plug),
            schedule: RefCell::default(),
        })
    }
}

impl Produces<dyn UsbHcd> for Uhci {
    fn produced(self: Rc<Self>) -> Rc<dyn UsbHcd> {
        self
    }
}

usb_ports!(Uhci: FullSpeed; card);

impl Produces<PciFunction> for Uhci {
    fn produced(self: Rc<Self>) -> Rc<PciFunction> {
        self.plug.borrow().function(identity(self.ids))
    }
}

/// What the configuration space of a member says.
const fn identity((device, revision, pin): Ids) -> Identity {
    Identity {
        vendor: 0x8086,
        device,
        revision,
        class: 0x0c_03_00,
        subsystem: (0x1af4, 0x1100),
        pin,
        bars: &[ExpectedBar { number: 4, space: Space::Io, size: 0x20, witness: None }],
        capabilities: &[],
    }
}

/// The registers of a member.
fn block(plug: &PciPlug) -> RegisterBlock {
    plug.block("UHCI Design Guide 1.1", TABLE)
        .with_array(&PORT, PORTS, 2)
        .faults(FAULTS)
        .software_reset(|registers| registers.set(COMMAND, COMMAND_RESET))
}

impl Produces<RegisterBlock> for Uhci {
    fn produced(self: Rc<Self>) -> Rc<RegisterBlock> {
        Rc::new(block(&self.plug.borrow()))
    }
}

driver!(
    Uhci as MEMBERS;
    consumes dyn PciBus;
    produces dyn UsbHcd, FullSpeed, PciFunction, RegisterBlock
);

/// A member that differs from [`Uhci`] in nothing but its configuration space.
pub struct OtherUhci {
    ids: Ids,
    plug: PciPlug,
}

impl Consumes<dyn PciBus> for OtherUhci {
    const ARGS: QemuArgs = QemuArgs::device("bus={bus},addr={addr}");

    fn attach(bus: Rc<dyn PciBus>, site: &Site) -> Result<Self> {
        Ok(Self { ids: *site.member(&OTHERS)?, plug: PciPlug::attach(&bus, site, 4)? })
    }
}

impl Produces<PciFunction> for OtherUhci {
    fn produced(self: Rc<Self>) -> Rc<PciFunction> {
        self.plug.function(identity(self.ids))
    }
}

impl Produces<RegisterBlock> for OtherUhci {
    fn produced(self: Rc<Self>) -> Rc<RegisterBlock> {
        Rc::new(block(&self.plug))
    }
}

driver!(OtherUhci as OTHERS; consumes dyn PciBus; produces PciFunction, RegisterBlock);
