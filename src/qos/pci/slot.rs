//! The slot of a port of PCI Express: its registers, and the guest's part in hot-plug (PCI
//! Express Base Specification 3.0, 6.7 and 7.8.9 to 7.8.11).

use std::rc::Rc;

use super::bridge::Bridge;
use super::config::EXPRESS;
use super::{PciAddress, PciBus, PciDevice};
use crate::{Error, Result};

/// Where the registers are in the capability: Link Status, Slot Capabilities, Control, Status.
const LINK_STATUS: u16 = 0x12;
const CAPABILITIES: u16 = 0x14;
const CONTROL: u16 = 0x18;
const STATUS: u16 = 0x1a;

/// Slot Capabilities: the bits of what the slot has, and the slot's number above them.
pub const HAS_ATTENTION_BUTTON: u32 = 1 << 0;
/// As [`HAS_ATTENTION_BUTTON`].
pub const HAS_POWER_CONTROLLER: u32 = 1 << 1;
/// As [`HAS_ATTENTION_BUTTON`].
pub const HAS_ATTENTION_INDICATOR: u32 = 1 << 3;
/// As [`HAS_ATTENTION_BUTTON`].
pub const HAS_POWER_INDICATOR: u32 = 1 << 4;
/// As [`HAS_ATTENTION_BUTTON`].
pub const IS_HOT_PLUG_CAPABLE: u32 = 1 << 6;
/// Slot Capabilities: where the slot's number begins.
pub const NUMBER_SHIFT: u32 = 19;

/// Slot Control: interrupt for an attention button pressed.
pub const ENABLE_ATTENTION: u16 = 1 << 0;
/// Slot Control: interrupt for a change of presence.
pub const ENABLE_PRESENCE: u16 = 1 << 3;
/// Slot Control: interrupt for a command that is completed.
pub const ENABLE_COMMAND: u16 = 1 << 4;
/// Slot Control: interrupt at all.
pub const ENABLE_INTERRUPT: u16 = 1 << 5;
/// Slot Control: Attention Indicator Control, of which all ones is off.
pub const ATTENTION_INDICATOR: u16 = 3 << 6;
/// Slot Control: Power Indicator Control, and in it on, blinking and off.
pub const POWER_INDICATOR: u16 = 3 << 8;
/// As [`POWER_INDICATOR`].
pub const POWER_INDICATOR_ON: u16 = 1 << 8;
/// As [`POWER_INDICATOR`].
pub const POWER_INDICATOR_BLINK: u16 = 2 << 8;
/// As [`POWER_INDICATOR`].
pub const POWER_INDICATOR_OFF: u16 = 3 << 8;
/// Slot Control: the power is off.
pub const POWER_OFF: u16 = 1 << 10;
/// Slot Control: toggles the interlock.
pub const INTERLOCK: u16 = 1 << 11;

/// Slot Status: the attention button was pressed.
pub const ATTENTION: u16 = 1 << 0;
/// Slot Status: the presence has changed.
pub const PRESENCE_CHANGED: u16 = 1 << 3;
/// Slot Status: a command is completed.
pub const COMMAND_COMPLETED: u16 = 1 << 4;
/// Slot Status: a device is there.
pub const PRESENT: u16 = 1 << 6;
/// Slot Status: the interlock is engaged.
pub const LOCKED: u16 = 1 << 7;
/// Slot Status: the events, cleared by ones.
pub const EVENTS: u16 = 0x011f;

/// A port and the slot behind it.
pub struct Slot {
    bridge: Rc<Bridge>,
    bus: Rc<dyn PciBus>,
    /// Where its PCI Express capability is.
    at: u16,
}

impl Slot {
    /// The slot of a port.
    ///
    /// # Errors
    /// Returns an error if the port has no capability of PCI Express.
    pub fn new(bridge: Rc<Bridge>) -> Result<Self> {
        let list = bridge.device().capabilities()?;
        let found = list.iter().find(|it| it.id == EXPRESS);
        let at = found.ok_or_else(|| Error::failed("the port is not one of PCI Express"))?.offset;
        Ok(Self { bus: bridge.clone(), bridge, at })
    }

    /// The port as a function of its primary bus.
    pub fn port(&self) -> &PciDevice {
        self.bridge.device()
    }

    /// The bus behind it.
    pub fn bus(&self) -> &Rc<dyn PciBus> {
        &self.bus
    }

    /// Where a device in the slot is.
    pub fn address(&self) -> PciAddress {
        PciAddress { bus: self.bus.number(), device: 0, function: 0 }
    }

    /// Slot Capabilities.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer; so for all of these.
    pub fn capabilities(&self) -> Result<u32> {
        self.port().config_read32(self.at + CAPABILITIES)
    }

    /// Which message the port sends, of PCI Express Capabilities.
    ///
    /// # Errors
    /// As for [`Slot::capabilities`].
    pub fn message(&self) -> Result<u16> {
        Ok(self.port().config_read16(self.at + 2)? >> 9 & 0x1f)
    }

    /// Slot Control.
    ///
    /// # Errors
    /// As for [`Slot::capabilities`].
    pub fn control(&self) -> Result<u16> {
        self.port().config_read16(self.at + CONTROL)
    }

    /// Writes Slot Control.
    ///
    /// # Errors
    /// As for [`Slot::capabilities`].
    pub fn set_control(&self, control: u16) -> Result<()> {
        self.port().config_write16(self.at + CONTROL, control)
    }

    /// Slot Status.
    ///
    /// # Errors
    /// As for [`Slot::capabilities`].
    pub fn status(&self) -> Result<u16> {
        self.port().config_read16(self.at + STATUS)
    }

    /// Clears events in Slot Status.
    ///
    /// # Errors
    /// As for [`Slot::capabilities`].
    pub fn clear(&self, events: u16) -> Result<()> {
        self.port().config_write16(self.at + STATUS, events)
    }

    /// Whether the link behind the port is active.
    ///
    /// # Errors
    /// As for [`Slot::capabilities`].
    pub fn link_is_active(&self) -> Result<bool> {
        Ok(self.port().config_read16(self.at + LINK_STATUS)? & 1 << 13 != 0)
    }

    /// Sets power and power indicator, and leaves the rest of Slot Control as it is.
    ///
    /// # Errors
    /// As for [`Slot::capabilities`].
    pub fn set_power(&self, indicator: u16, on: bool) -> Result<()> {
        let rest = self.control()? & !(POWER_INDICATOR | POWER_OFF);
        self.set_control(rest | indicator | if on { 0 } else { POWER_OFF })
    }
}
