//! What the NICs of boards have in common: which cable of the machine is theirs, and where their
//! interrupt line ends. Registers and descriptors are known to the drivers alone.

use std::rc::Rc;

use serde_json::json;

use crate::graph::FoundDevice;
use crate::qemu::Vm;
use crate::qos::interrupt::{InterruptLine, Pin};
use crate::qos::net::BOARD_SOCKETS;
use crate::{Error, Result};

/// How a NIC that was found on a machine is wired.
#[derive(Clone)]
pub struct Wiring {
    vm: Rc<Vm>,
    path: String,
    pins: Vec<Pin>,
}

impl Wiring {
    /// The wiring of `device`, whose interrupt line is its first.
    pub fn of(device: &FoundDevice, vm: &Rc<Vm>) -> Self {
        Self::with_lines(device, vm, 1)
    }

    /// The wiring of `device`, whose first `lines` interrupt lines matter.
    pub fn with_lines(device: &FoundDevice, vm: &Rc<Vm>, lines: u32) -> Self {
        let pins = (0..lines).filter_map(|number| Pin::of(device, number)).collect();
        Self { vm: vm.clone(), path: device.path.to_string(), pins }
    }

    /// The machine that it is on.
    pub fn vm(&self) -> &Rc<Vm> {
        &self.vm
    }

    /// The socket that is its cable, as its property `netdev` says.
    ///
    /// # Errors
    /// Returns [`Error::Skipped`] if it has none, or an error if QEMU does not answer.
    pub fn cable(&self) -> Result<&'static str> {
        let property = json!({ "path": self.path, "property": "netdev" });
        let peer = self.vm.qmp().execute("qom-get", property)?;
        let socket = BOARD_SOCKETS.iter().find(|socket| peer == socket.name);
        let none = || Error::skipped("the machine gives this NIC none of the cables it is given");
        socket.map(|socket| socket.name).ok_or_else(none)
    }

    /// Those of its interrupt lines that QEMU can watch, watched from now on.
    ///
    /// # Errors
    /// Returns an error if another device's lines are watched.
    pub fn lines(&self) -> Result<Vec<InterruptLine>> {
        self.pins.iter().map(|pin| pin.watch(&self.vm)).collect()
    }
}
