//! The i8042, the keyboard controller of a PC, which has a second port for a mouse (IBM, "Personal
//! System/2 Hardware Interface Technical Reference", S68X-2330, section "Keyboard and Auxiliary
//! Device Controller").

use std::rc::Rc;

use crate::graph::{Discovered, FoundDevice, Produces};
use crate::protocol::Endian;
use crate::qemu::Vm;
use crate::qemu::discovery::Space;
use crate::qos::interrupt::{InterruptLine, Pin};
use crate::qos::ps2::{Keyboard, Mouse, Port};
use crate::qos::registers::{Mmio, Ports, Register, Registers, RegistersExt};
use crate::{Error, Result, discovered, driver};

/// The only register at each of its two addresses.
const ONLY: Register<u8> = Register::new("byte", 0);

/// Status: a byte is there; it is the mouse's.
pub const FULL: u8 = 1 << 0;
/// Status: the byte that is there is the mouse's.
pub const OF_MOUSE: u8 = 1 << 5;
/// Status: the self-test has passed.
pub const SYSTEM: u8 = 1 << 2;

/// Commands: read and write the controller command byte.
pub const READ_COMMAND_BYTE: u8 = 0x20;
/// The next byte of data is the controller command byte.
pub const WRITE_COMMAND_BYTE: u8 = 0x60;
/// The next byte of data is sent to the mouse.
pub const WRITE_MOUSE: u8 = 0xd4;

/// Controller command byte: interrupt for bytes of the keyboard, and for those of the mouse.
pub const KEYBOARD_INTERRUPT: u8 = 1 << 0;
/// Controller command byte: interrupt for bytes of the mouse.
pub const MOUSE_INTERRUPT: u8 = 1 << 1;
/// Controller command byte: the keyboard is not let speak.
pub const KEYBOARD_OFF: u8 = 1 << 4;
/// Controller command byte: the mouse is not let speak.
pub const MOUSE_OFF: u8 = 1 << 5;
/// Controller command byte: what the keyboard sends is translated into its first set of codes.
pub const TRANSLATE: u8 = 1 << 6;

/// The controller.
pub struct Controller {
    vm: Rc<Vm>,
    data: Box<dyn Registers>,
    command: Box<dyn Registers>,
    pins: [Option<Pin>; 2],
}

impl Controller {
    /// Writes a command.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    pub fn command(&self, command: u8) -> Result<()> {
        self.command.set(ONLY, command)
    }

    /// Writes a command and the byte of data that belongs to it.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    pub fn command_with(&self, command: u8, byte: u8) -> Result<()> {
        self.command(command)?;
        self.write(byte)
    }

    /// Writes a byte of data.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    pub fn write(&self, byte: u8) -> Result<()> {
        self.data.set(ONLY, byte)
    }

    /// The status.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    pub fn status(&self) -> Result<u8> {
        self.command.get(ONLY)
    }

    /// The byte that is there, or was there last.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    pub fn data(&self) -> Result<u8> {
        self.data.get(ONLY)
    }

    /// The next byte, and whether it is the mouse's, if there is one.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    pub fn next(&self) -> Result<Option<(u8, bool)>> {
        let status = self.status()?;
        let is_mouse = status & OF_MOUSE != 0;
        (status & FULL != 0).then(|| Ok((self.data()?, is_mouse))).transpose()
    }

    /// What a command answers, which is one byte and not the mouse's.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer, or the answer is missing, or has another before
    /// or behind it.
    pub fn answer(&self, command: u8) -> Result<u8> {
        if let Some(byte) = self.next()? {
            return Err(Error::failed(format!("{byte:x?} is there before command {command:#x}")));
        }
        self.command(command)?;
        match [self.next()?, self.next()?] {
            [Some((byte, false)), None] => Ok(byte),
            other => Err(Error::failed(format!("{other:x?} is answered to command {command:#x}"))),
        }
    }

    /// Its interrupt line of the keyboard, or of the mouse, as [`Port::interrupt`] says.
    ///
    /// # Errors
    /// As [`Port::interrupt`] does.
    pub fn interrupt(&self, of_mouse: bool) -> Result<Option<InterruptLine>> {
        self.pins[usize::from(of_mouse)].as_ref().map(|pin| pin.watch(&self.vm)).transpose()
    }

    /// Whether both interrupt lines end at the same interrupt controller, so that both can be
    /// watched at a time.
    pub fn share_a_target(&self) -> bool {
        let [keyboard, mouse] = self.pins.each_ref().map(|pin| pin.as_ref().map(|pin| &pin.path));
        keyboard == mouse
    }
}

/// One of its ports.
struct I8042Port {
    controller: Rc<Controller>,
    is_mouse: bool,
}

impl Port for I8042Port {
    fn make_ready(&self) -> Result<()> {
        let ready = KEYBOARD_INTERRUPT | MOUSE_INTERRUPT;
        self.controller.command_with(WRITE_COMMAND_BYTE, ready)
    }

    fn send(&self, byte: u8) -> Result<()> {
        if self.is_mouse {
            self.controller.command_with(WRITE_MOUSE, byte)
        } else {
            self.controller.write(byte)
        }
    }

    fn receive(&self) -> Result<Option<u8>> {
        match self.controller.next()? {
            Some((byte, is_mouse)) if is_mouse == self.is_mouse => Ok(Some(byte)),
            Some((byte, is_mouse)) => Err(Error::failed(format!(
                "{byte:#x} is said to be of the {}",
                if is_mouse { "mouse" } else { "keyboard" }
            ))),
            None => Ok(None),
        }
    }

    fn interrupt(&self) -> Result<Option<InterruptLine>> {
        self.controller.interrupt(self.is_mouse)
    }
}

/// QEMU's `i8042` on the ISA bus.
pub struct I8042 {
    controller: Rc<Controller>,
}

impl I8042 {
    /// That of a PC, at ports 0x60 and 0x64 and at inputs 1 and 12 of the I/O APIC.
    pub fn of_pc(vm: &Rc<Vm>) -> Self {
        let pins = [1, 12].map(|input| Some(Pin { path: "ioapic".to_owned(), input }));
        let at = |port| Box::new(Ports::new(vm, port));
        Self::new(Controller { vm: vm.clone(), data: at(0x60), command: at(0x64), pins })
    }

    fn new(controller: Controller) -> Self {
        Self { controller: Rc::new(controller) }
    }

    /// The controller.
    pub fn controller(&self) -> &Controller {
        &self.controller
    }

    fn port(&self, is_mouse: bool) -> Rc<dyn Port> {
        Rc::new(I8042Port { controller: self.controller.clone(), is_mouse })
    }
}

impl Produces<Keyboard> for I8042 {
    fn produced(self: Rc<Self>) -> Rc<Keyboard> {
        Rc::new(Keyboard(self.port(false)))
    }
}

impl Produces<Mouse> for I8042 {
    fn produced(self: Rc<Self>) -> Rc<Mouse> {
        Rc::new(Mouse(self.port(true)))
    }
}

/// The byte at the region called `name`.
fn register(device: &FoundDevice, vm: &Rc<Vm>, name: &str) -> Result<Box<dyn Registers>> {
    let none = || Error::failed(format!("{} has no region called {name}", device.path));
    let region = device.region(name).ok_or_else(none)?;
    Ok(match region.space {
        Space::Ports => Box::new(Ports::new(vm, region.base as u16)),
        Space::Memory => Box::new(Mmio::new(vm, region.base, Endian::Little)),
    })
}

/// Where the interrupt of the keyboard, number 0, or of the mouse, number 1, ends.
fn pin(device: &FoundDevice, number: u32) -> Option<Pin> {
    // That of a PC goes to two controllers, neither of which QEMU names.
    if let Some(apic) = device.machine().devices_of("ioapic").next() {
        let property = if number == 0 { "kbd-irq" } else { "mouse-irq" };
        let isa = if number == 0 { 1 } else { 12 };
        let input = device.number(property).map_or(isa, |irq| irq as u32);
        return Some(Pin { path: apic.path.to_string(), input });
    }
    let end = device.output("unnamed-gpio-out", number)?;
    let (to, name, input) = device.machine().input(end)?;
    (name == "unnamed-gpio-in").then(|| Pin { path: to.path.to_string(), input })
}

impl Discovered for I8042 {
    const QOM_TYPES: &'static [&'static str] = &["i8042"];

    fn found(device: &FoundDevice, vm: &Rc<Vm>) -> Result<Self> {
        let controller = Controller {
            vm: vm.clone(),
            data: register(device, vm, "i8042-data")?,
            command: register(device, vm, "i8042-cmd")?,
            pins: [0, 1].map(|number| pin(device, number)),
        };
        Ok(Self::new(controller))
    }
}

driver!(I8042 = "i8042"; produces Keyboard, Mouse);
discovered!(I8042);
