//! Watchdogs: what a counter does that resets the machine unless software restarts it in time,
//! whichever chip it is.

use std::rc::Rc;

use super::interrupt::InterruptLine;
use super::reset_from_any_state;
use super::timer::Tick;
use crate::graph::QemuArgs;
use crate::qemu::Vm;
use crate::{Result, interface};

/// What has a watchdog stop the machine where it would reset it, so that the moment is seen.
pub const ARGS: QemuArgs = QemuArgs::NONE.before("-watchdog-action pause");

/// How the registers of a watchdog can be locked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lock {
    /// Not at all.
    None,
    /// Until the lock is opened.
    Opens,
    /// Until the machine is reset.
    ForEver,
}

/// What a watchdog is known to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Profile {
    /// A tick.
    pub tick: Tick,
    /// Ticks for which it can be started.
    pub periods: &'static [u64],
    /// Whether software can stop it.
    pub stops: bool,
    /// How its registers can be locked.
    pub lock: Lock,
}

/// How many ticks after a start or a restart something happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moments {
    /// The interrupt that warns software, if there is one.
    pub warning: Option<u64>,
    /// The reset of the machine.
    pub bite: u64,
}

/// A watchdog.
pub trait Watchdog {
    /// What it is known to be.
    fn profile(&self) -> Profile;

    /// When it does what, started with `period`, one of [`Profile::periods`].
    fn moments(&self, period: u64) -> Moments;

    /// Starts it, after a reset of the machine, or after [`Watchdog::stop`].
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    fn start(&self, period: u64) -> Result<()>;

    /// Writes what stops it, or would, were it not locked or for ever.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    fn stop(&self) -> Result<()>;

    /// Restarts it.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    fn kick(&self) -> Result<()>;

    /// Writes to the register that restarts it what must not restart it.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer, or [`Error::Skipped`](crate::Error::Skipped) if
    /// anything restarts it.
    fn kick_wrongly(&self) -> Result<()>;

    /// Locks its registers, or unlocks them.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    fn set_lock(&self, is_locked: bool) -> Result<()>;

    /// Whether the interrupt that warns is pending; `None` if the chip does not tell.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    fn warns(&self) -> Result<Option<bool>>;

    /// Whether it has reset the machine, by what the chip says after that; `None` if it does not
    /// tell.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    fn has_bitten(&self) -> Result<Option<bool>>;

    /// The line of the interrupt that warns, watched from now on; `None` if there is none or QEMU
    /// cannot watch it.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer, or the lines of another interrupt controller are
    /// watched already.
    fn interrupt(&self) -> Result<Option<InterruptLine>>;

    /// The watchdog after a reset of the machine, where that takes its registers away; `None`
    /// where this one goes on.
    ///
    /// # Errors
    /// The registers cannot be mapped again.
    fn after_reset(&self) -> Result<Option<Rc<dyn Watchdog>>> {
        Ok(None)
    }
}

interface!(dyn Watchdog = "watchdog");

/// Whether a watchdog has stopped the machine, as [`ARGS`] has it do.
///
/// # Errors
/// Returns an error if QEMU does not answer.
pub fn has_stopped(vm: &Vm) -> Result<bool> {
    // What a timer asks for is done before the second answer at the latest.
    vm.qmp().execute("query-status", serde_json::Value::Null)?;
    let state = vm.qmp().execute("query-status", serde_json::Value::Null)?;
    Ok(state["status"] == "watchdog" && state["running"] == false)
}

/// Resets a machine, whether a watchdog has stopped it or not, so that it runs.
///
/// # Errors
/// Returns an error as [`reset_from_any_state`] does.
pub fn begin_anew(vm: &Vm) -> Result<()> {
    reset_from_any_state(vm)
}
