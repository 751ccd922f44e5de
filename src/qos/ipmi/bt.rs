//! The block transfer interface (IPMI, chapter 11).

use std::cell::Cell;
use std::rc::Rc;

use super::Ipmi;
use crate::qemu::Vm;
use crate::qos::registers::{Register, Registers, RegistersExt};
use crate::qos::wait_until;
use crate::{Error, Result, interface};

/// Control (11.6.1).
pub const CONTROL: Register<u8> = Register::new("BT_CTRL", 0).side_effect();
/// Host to BMC, and BMC to host.
pub const BUFFER: Register<u8> = Register::new("HOST2BMC/BMC2HOST", 1).side_effect();
/// Interrupt mask (11.6.3).
pub const MASK: Register<u8> = Register::new("INTMASK", 2).side_effect();

/// BT_CTRL: the pointers of writes and reads go to the start.
pub const CLR_WR_PTR: u8 = 1 << 0;
/// The read pointer goes to the start.
pub const CLR_RD_PTR: u8 = 1 << 1;
/// A request is there.
pub const H2B_ATN: u8 = 1 << 2;
/// A response is there; a one clears.
pub const B2H_ATN: u8 = 1 << 3;
/// A message or an event waits.
pub const SMS_ATN: u8 = 1 << 4;
/// The host is busy; a one toggles.
pub const H_BUSY: u8 = 1 << 6;
/// The controller is busy.
pub const B_BUSY: u8 = 1 << 7;

/// The interface.
pub struct Bt {
    vm: Rc<Vm>,
    /// Its three registers.
    pub registers: Rc<dyn Registers>,
    sequence: Cell<u8>,
}

interface!(Bt = "ipmi-bt");

impl Bt {
    /// The interface with these registers.
    pub fn new(vm: &Rc<Vm>, registers: Rc<dyn Registers>) -> Self {
        Self { vm: vm.clone(), registers, sequence: Cell::new(0) }
    }

    /// Gives the controller bytes as they are, the length first, and waits until it has taken them.
    ///
    /// # Errors
    /// Returns an error if it does not take them.
    pub fn send(&self, bytes: &[u8]) -> Result<()> {
        self.registers.set(CONTROL, CLR_WR_PTR)?;
        bytes.iter().try_for_each(|byte| self.registers.set(BUFFER, *byte))?;
        self.registers.set(CONTROL, H2B_ATN)?;
        wait_until(&self.vm, "the controller to take a request", || {
            Ok(self.registers.get(CONTROL)? & (H2B_ATN | B_BUSY) == 0)
        })
    }

    /// Takes a response, without its length.
    ///
    /// # Errors
    /// Returns an error if none comes.
    pub fn receive(&self) -> Result<Vec<u8>> {
        wait_until(&self.vm, "a response", || Ok(self.registers.get(CONTROL)? & B2H_ATN != 0))?;
        self.registers.set(CONTROL, H_BUSY)?;
        self.registers.set(CONTROL, B2H_ATN)?;
        self.registers.set(CONTROL, CLR_RD_PTR)?;
        let length = self.registers.get(BUFFER)?;
        let response = (0..length).map(|_| self.registers.get(BUFFER)).collect();
        self.registers.set(CONTROL, H_BUSY)?;
        response
    }
}

impl Ipmi for Bt {
    fn exchange(&self, request: &[u8]) -> Result<Vec<u8>> {
        let sequence = self.sequence.get().wrapping_add(1);
        self.sequence.set(sequence);
        let [netfn, rest @ ..] = request else { return Err(Error::failed("empty request")) };
        // The length counts what is behind it.
        let mut bytes = vec![request.len() as u8 + 1, *netfn, sequence];
        bytes.extend(rest);
        self.send(&bytes)?;
        let mut response = self.receive()?;
        if response.len() < 4 || response[1] != sequence {
            return Err(Error::failed(format!("the response to {bytes:02x?} is {response:02x?}")));
        }
        response.remove(1);
        Ok(response)
    }

    fn has_attention(&self) -> Result<bool> {
        Ok(self.registers.get(CONTROL)? & SMS_ATN != 0)
    }
}
