//! An interrupt from a function's pin over its bus to the interrupt controller, and the bits of
//! Command and Status that are about it (PCI Local Bus Specification 3.0, 6.2.2, 6.2.3).

use std::rc::Rc;

use super::{PciDevice, regs};
use crate::Result;
use crate::qemu::Vm;
use crate::qos::interrupt::InterruptLine;
use crate::qos::{reset, wait_until};

/// A function whose interrupt is watched on its way.
struct Pin<'a> {
    device: &'a PciDevice,
    vm: &'a Vm,
    /// The input of the interrupt controller, where it is known.
    line: Option<InterruptLine>,
}

impl Pin<'_> {
    /// Asserts that Interrupt Status is `pending`, and that the input is high or low.
    #[track_caller]
    fn assert(&self, pending: bool, high: bool, when: &str) -> Result<()> {
        // Devices that moderate interrupts may take a moment.
        wait_until(self.vm, &format!("Interrupt Status {pending}, {when}"), || {
            Ok(self.device.asserts_interrupt()? == pending)
        })?;
        if let Some(line) = &self.line {
            assert_eq!(line.is_high()?, high, "the input of the interrupt controller, {when}");
        }
        Ok(())
    }

    fn disable(&self, on: bool) -> Result<()> {
        let command = self.device.config_read16(regs::COMMAND)?;
        let bit = regs::COMMAND_INTX_DISABLE;
        let command = if on { command | bit } else { command & !bit };
        self.device.config_write16(regs::COMMAND, command)
    }
}

/// Checks the interrupt of `device`, which `raise` has it assert and `lower` take back: that it
/// gets to the interrupt controller, that Interrupt Disable holds it back there and nowhere else,
/// and that a reset of the machine takes it back. The device is as after that reset.
///
/// # Errors
/// Returns an error if the device does not do it, or as for [`PciDevice::watch_pin`].
pub fn check(
    device: &PciDevice,
    vm: &Rc<Vm>,
    raise: impl Fn() -> Result<()>,
    lower: impl Fn() -> Result<()>,
) -> Result<()> {
    let pin = Pin { device, vm, line: device.watch_pin()? };
    pin.assert(false, false, "at first")?;
    for round in 0..2 {
        let when = |text: &str| format!("{text}, round {round}");
        raise()?;
        pin.assert(true, true, &when("raised"))?;
        pin.disable(true)?;
        pin.assert(true, false, &when("raised, then disabled"))?;
        pin.disable(false)?;
        pin.assert(true, true, &when("enabled again"))?;
        lower()?;
        pin.assert(false, false, &when("lowered"))?;
        pin.disable(true)?;
        pin.assert(false, false, &when("lowered and disabled"))?;
        raise()?;
        pin.assert(true, false, &when("raised while it was disabled"))?;
        lower()?;
        pin.assert(false, false, &when("lowered while it was disabled"))?;
        raise()?;
        pin.assert(true, false, &when("raised again while it was disabled"))?;
        pin.disable(false)?;
        pin.assert(true, true, &when("enabled while it was raised"))?;
        lower()?;
        pin.assert(false, false, &when("lowered at last"))?;
    }
    raise()?;
    pin.assert(true, true, "before a reset")?;
    reset(vm)?;
    device.bus().reopen()?;
    let line = pin.line.filter(|_| device.bus().lowers_lines_in_reset());
    Pin { line, ..pin }.assert(false, false, "after a reset")
}
