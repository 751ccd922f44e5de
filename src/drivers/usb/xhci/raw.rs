//! An extensible host controller whose entries and contexts a test writes itself, the wrong ones too
//! (xHCI 1.1, chapter 6).

use std::rc::Rc;

use super::core::Core;
use crate::interface;
use crate::qemu::Buffer;
use crate::qos::registers::Registers;
use crate::qos::usb::{Device, Endpoint, UsbHcd};
use crate::{Error, Result};

/// An entry of a ring without its cycle bit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// Where the data are, or the data.
    pub parameter: u64,
    /// Length and interrupter.
    pub status: u32,
    /// Kind and flags.
    pub control: u32,
}

/// A controller whose rings a test may use.
pub trait RawXhci: UsbHcd {
    /// Its registers.
    fn registers(&self) -> Rc<dyn Registers>;

    /// The guest-physical address of its registers; `None` where that is not known.
    fn base(&self) -> Option<u64>;

    /// What the controller was given at its start.
    ///
    /// # Errors
    /// It was not started.
    fn with_core(&self, what: &mut dyn FnMut(&mut Raw) -> Result<()>) -> Result<()>;
}

interface!(dyn RawXhci = "xhci");

/// The rings and contexts of a controller that was started.
pub struct Raw<'a>(pub(super) &'a mut Core);

impl Raw<'_> {
    /// Adds entries to the ring of an endpoint.
    ///
    /// # Errors
    /// It is not configured.
    pub fn push(
        &mut self,
        device: &Device,
        dci: u32,
        stream: u16,
        entries: &[Entry],
    ) -> Result<()> {
        entries.iter().try_for_each(|it| {
            self.0.push(device.slot, (dci, stream), it.parameter, it.status, it.control).map(drop)
        })
    }

    /// Rings a doorbell.
    ///
    /// # Errors
    /// QEMU does not answer.
    pub fn ring(&mut self, slot: u32, value: u32) -> Result<()> {
        self.0.ring(slot, value)
    }

    /// Has a command done; returns its completion code.
    ///
    /// # Errors
    /// It does not end.
    pub fn command(&mut self, parameter: u64, status: u32, kind: u32, control: u32) -> Result<u32> {
        Ok(self.0.command_of(parameter, status, kind, control)?.0)
    }

    /// Has endpoints configured that were configured already, after `change` has changed the input;
    /// returns the completion code.
    ///
    /// # Errors
    /// The command does not end.
    pub fn configure(
        &mut self,
        device: &Device,
        endpoints: &[Endpoint],
        change: &mut dyn FnMut(&Buffer) -> Result<()>,
    ) -> Result<u32> {
        let flags = endpoints.iter().fold(0, |all, it| all | 1u32 << super::core::index(it));
        let input = self.0.input(device, 1 | flags, flags, 31)?;
        change(&input)?;
        self.command(input.address().0, 0, CONFIGURE_ENDPOINT, device.slot << 24)
    }
}

/// The command that configures endpoints (6.4.3.5).
const CONFIGURE_ENDPOINT: u32 = 12;

/// The index of an endpoint's context (4.5.1).
pub fn index(endpoint: &Endpoint) -> u32 {
    super::core::index(endpoint)
}

/// An endpoint of a device by its direction.
///
/// # Errors
/// There is none.
pub fn endpoint(endpoints: &[Endpoint], is_in: bool) -> Result<Endpoint> {
    let found = endpoints.iter().find(|it| it.is_in() == is_in).copied();
    found.ok_or_else(|| Error::failed(format!("no endpoint of {endpoints:?} is the one")))
}
