//! The platform bus of a board, on which QEMU chooses the addresses of devices that a user plugs in.

use std::rc::Rc;

use crate::interface;
use crate::qemu::Vm;

/// The platform bus, which gives its first device the first address.
pub struct PlatformBus {
    /// The machine.
    pub vm: Rc<Vm>,
    /// Its first address.
    pub base: u64,
}

interface!(PlatformBus = "platform-bus");
