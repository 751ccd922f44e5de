//! Registers at I/O ports.

use std::rc::Rc;

use super::{Registers, Width};
use crate::qemu::Vm;
use crate::{Error, Result};

/// Registers at the I/O ports of a PC. A port is at most 32 bits wide; 64 bits are two
/// accesses, the lower half first.
///
/// ```no_run
/// use qgraph::qos::registers::{Ports, Register, RegistersExt};
///
/// /// Index of the real-time clock's memory.
/// const INDEX: Register<u8> = Register::new("INDEX", 0).kept(0x7f).write_only();
///
/// # fn f(vm: &std::rc::Rc<qgraph::qemu::Vm>) -> qgraph::Result<()> {
/// let rtc = Ports::new(vm, 0x70);
/// rtc.set(INDEX, 0x0d)?;
/// # Ok(()) }
/// ```
pub struct Ports {
    vm: Rc<Vm>,
    base: u16,
}

impl Ports {
    /// The ports from `base` on.
    pub fn new(vm: &Rc<Vm>, base: u16) -> Self {
        Self { vm: vm.clone(), base }
    }

    /// The machine that they are in.
    pub fn vm(&self) -> &Rc<Vm> {
        &self.vm
    }

    fn port(&self, offset: u64) -> Result<u16> {
        let port = u64::from(self.base).checked_add(offset);
        port.and_then(|port| u16::try_from(port).ok()).ok_or_else(|| {
            Error::failed(format!("no I/O port is {offset:#x} above {:#x}", self.base))
        })
    }
}

impl Registers for Ports {
    fn read(&self, offset: u64, width: Width) -> Result<u64> {
        Ok(self.vm.qtest().read_port(self.port(offset)?, width)?)
    }

    fn write(&self, offset: u64, width: Width, value: u64) -> Result<()> {
        Ok(self.vm.qtest().write_port(self.port(offset)?, width, value)?)
    }
}
