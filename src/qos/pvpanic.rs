//! The device by which a guest says that it has panicked (QEMU's specification "PVPANIC DEVICE"):
//! one byte, wherever it is.

use std::rc::Rc;

use crate::graph::QemuArgs;
use crate::interface;
use crate::qos::registers::{Register, Registers};

/// The byte. What is read are the events that the device knows; what is written happens.
pub const EVENTS: Register<u8> = Register::new("events", 0).side_effect();

/// The guest has panicked, and the host shall do something about that.
pub const PANICKED: u8 = 1 << 0;
/// The guest has panicked, and goes on with it by itself.
pub const CRASHLOADED: u8 = 1 << 1;
/// The guest has shut down as it should, and the host shall do something about that.
pub const SHUTDOWN: u8 = 1 << 2;

/// The machine stops where a guest panics or shuts down.
pub const ARGS: QemuArgs = QemuArgs::NONE.before("-action panic=pause,shutdown=pause");

/// The device.
pub struct Pvpanic {
    /// Its byte.
    pub registers: Rc<dyn Registers>,
}

interface!(Pvpanic = "guest-panic");
