//! PS/2 ports: what a keyboard or a mouse sends and is sent, whichever controller it is plugged
//! into. What they say to each other is that of IBM's "Personal System/2 Hardware Interface
//! Technical Reference" (S68X-2330), sections "Keyboards" and "Mouse".

use std::rc::Rc;

use serde_json::{Value, json};

use super::interrupt::InterruptLine;
use crate::qemu::Vm;
use crate::{Error, Result, interface};

/// Every command is answered so, but those that are answered otherwise.
pub const ACK: u8 = 0xfa;
/// The answer to what is no command.
pub const RESEND: u8 = 0xfe;
/// The self-test has passed.
pub const PASSED: u8 = 0xaa;

/// Commands that both have: reset, set defaults, disable, enable, tell the type.
pub const RESET: u8 = 0xff;
/// All settings as after a reset; a keyboard goes on scanning, a mouse is disabled.
pub const SET_DEFAULTS: u8 = 0xf6;
/// Send nothing that was not asked for.
pub const DISABLE: u8 = 0xf5;
/// Send what a user does.
pub const ENABLE: u8 = 0xf4;
/// Tell the type.
pub const READ_ID: u8 = 0xf2;

/// More bytes than a device ever keeps; a device that sends more never ends.
const MOST: usize = 300;

/// A PS/2 port, with the device that is plugged into it.
pub trait Port {
    /// Makes the port pass on all bytes as they are, and interrupt for each.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    fn make_ready(&self) -> Result<()>;

    /// Sends the device a byte.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    fn send(&self, byte: u8) -> Result<()>;

    /// The next byte of the device, if there is one.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer, or the byte is another device's.
    fn receive(&self) -> Result<Option<u8>>;

    /// The port's interrupt line, watched from now on; `None` if QEMU cannot watch it.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer, or the lines of another interrupt controller are
    /// watched already.
    fn interrupt(&self) -> Result<Option<InterruptLine>>;
}

/// A PS/2 keyboard.
pub struct Keyboard(pub Rc<dyn Port>);

interface!(Keyboard = "ps2-keyboard");

/// A PS/2 mouse.
pub struct Mouse(pub Rc<dyn Port>);

interface!(Mouse = "ps2-mouse");

/// All bytes that the device has for the guest.
///
/// # Errors
/// Returns an error as [`Port::receive`] does, or if there is no end of them.
pub fn received(port: &dyn Port) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    while let Some(byte) = port.receive()? {
        bytes.push(byte);
        if bytes.len() > MOST {
            return Err(Error::failed(format!("a device sends more than {MOST} bytes")));
        }
    }
    Ok(bytes)
}

/// Sends the device bytes, one after another, and takes what it answers to all of them.
///
/// # Errors
/// Returns an error as [`Port::send`] and [`received`] do.
pub fn exchange(port: &dyn Port, bytes: &[u8]) -> Result<Vec<u8>> {
    let mut answer = Vec::new();
    for byte in bytes {
        port.send(*byte)?;
        answer.extend(received(port)?);
    }
    Ok(answer)
}

/// Has a user do all of this in one moment.
///
/// # Errors
/// Returns an error if QEMU refuses it.
pub fn act(vm: &Vm, gestures: &[Value]) -> Result<()> {
    vm.qmp().execute("input-send-event", json!({ "events": gestures }))?;
    Ok(())
}

/// A key, as QMP's `QKeyCode` names it, pressed or released.
pub fn key(name: &str, is_down: bool) -> Value {
    let key = json!({ "type": "qcode", "data": name });
    json!({ "type": "key", "data": { "down": is_down, "key": key } })
}

/// A button of a mouse, as QMP's `InputButton` names it, pressed or released.
pub fn button(name: &str, is_down: bool) -> Value {
    json!({ "type": "btn", "data": { "down": is_down, "button": name } })
}

/// A move of a mouse along an axis, `x` to the right or `y` down.
pub fn moved(axis: &str, by: i32) -> Value {
    json!({ "type": "rel", "data": { "axis": axis, "value": by } })
}
