//! UARTs: what a serial port does, whichever chip it is, and the line behind it.

use std::cell::RefCell;
use std::rc::Rc;

use serde_json::{Value, json};

use super::qom::find_at;
use super::stream::{Stream, answered};
use super::wait_until;
use crate::graph::{FoundDevice, QemuArgs};
use crate::qemu::{Socket, Vm};
use crate::qos::interrupt::InterruptLine;
use crate::{Error, Result, interface};

/// The first of the lines, for a port that the path plugs in itself.
pub const LINE: Socket = LINES[0];
/// The option of QEMU that connects it to a device with the property `chardev=line0`.
pub const LINE_BACKEND: &str = "-chardev socket,id=line0,fd={line0}";

/// What gives a machine's first serial ports lines. Which port has which, [`Line::of`] finds out:
/// boards count as they like.
pub const ARGS: QemuArgs = QemuArgs::NONE
    .before(
        "-chardev socket,id=line0,fd={line0} -serial chardev:line0 \
         -chardev socket,id=line1,fd={line1} -serial chardev:line1 \
         -chardev socket,id=line2,fd={line2} -serial chardev:line2 \
         -chardev socket,id=line3,fd={line3} -serial chardev:line3",
    )
    .sockets(&LINES);

/// The sockets that are the lines; each is called as its character device.
const LINES: [Socket; 4] = [
    Socket::new("line0", "null,id=line0"),
    Socket::new("line1", "null,id=line1"),
    Socket::new("line2", "null,id=line2"),
    Socket::new("line3", "null,id=line3"),
];

/// What is told by an interrupt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// There is a byte to be read.
    Received,
    /// A byte that was written has gone; there is room for the next.
    Sent,
}

/// Where bytes go while the output is connected to the input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loopback {
    /// To the input alone, which receives nothing else.
    Closed,
    /// To the input and out.
    Open,
}

/// What a UART can, of which the generic suite checks every word.
#[derive(Debug, Clone, Copy)]
pub struct Profile {
    /// How many bytes it holds until they are read.
    pub depth: usize,
    /// The fault of this QEMU by which it holds fewer, and how many it holds, if it has that fault.
    pub shallow: Option<(usize, &'static str)>,
    /// How it can send to itself, if it can.
    pub loopback: Option<Loopback>,
    /// With how many bytes that it holds it can interrupt, besides with the first one.
    pub levels: &'static [usize],
    /// Whether it interrupts for fewer bytes too when nobody has read them for a time.
    pub has_timeout: bool,
    /// Whether it says of a byte that there was no room for it, and that it is lost.
    pub reports_overrun: bool,
    /// Whether it tells a break from a byte that is zero.
    pub reports_break: bool,
    /// Whether the interrupt for a byte that was sent is there as long as there is room for
    /// another, so that it comes at once when it is enabled, and nothing but a mask takes it back.
    pub sent_is_level: bool,
    /// Whether an interrupt that came out stays until it is acknowledged, though it is masked
    /// then.
    pub latches: bool,
    /// The fault of this QEMU by which bytes are reported that were received before the UART was
    /// made ready, if it has that fault.
    pub keeps_data: Option<&'static str>,
    /// The fault of this QEMU by which a reset of the machine does nothing, if it has that fault.
    pub survives_reset: Option<&'static str>,
    /// The fault of this QEMU by which an interrupt stays asserted after a reset of the machine, if
    /// it has that fault.
    pub asserts_after_reset: Option<&'static str>,
}

impl Profile {
    /// That of a UART that holds `depth` bytes until they are read, and can nothing else.
    pub const fn of(depth: usize) -> Self {
        Self {
            depth,
            shallow: None,
            loopback: None,
            levels: &[],
            has_timeout: false,
            reports_overrun: false,
            reports_break: false,
            sent_is_level: false,
            latches: false,
            keeps_data: None,
            survives_reset: None,
            asserts_after_reset: None,
        }
    }

    /// How many bytes it holds in this QEMU.
    pub fn held(&self) -> usize {
        self.shallow.map_or(self.depth, |(held, _)| held)
    }

    /// What a case ends with that has checked a FIFO which may be less deep than it should be.
    ///
    /// # Errors
    /// Returns [`Error::Skipped`] if it is.
    pub fn end_of_fifo(&self) -> Result<()> {
        self.shallow.map_or(Ok(()), |(_, why)| Err(Error::skipped(why)))
    }
}

/// A UART, without and with interrupts. Bytes are eight bits, without parity.
pub trait Uart {
    /// What it can.
    fn profile(&self) -> Profile;

    /// Makes it ready: receiver, transmitter and FIFOs on, FIFOs empty, all interrupts off.
    ///
    /// # Errors
    /// QEMU does not answer.
    fn enable(&self) -> Result<()>;

    /// Whether a byte can be written.
    ///
    /// # Errors
    /// QEMU does not answer.
    fn has_room(&self) -> Result<bool>;

    /// Whether there is a byte to be read.
    ///
    /// # Errors
    /// QEMU does not answer.
    fn has_data(&self) -> Result<bool>;

    /// Writes the byte to be sent.
    ///
    /// # Errors
    /// QEMU does not answer.
    fn write(&self, byte: u8) -> Result<()>;

    /// Reads the oldest byte that was received. That there is one is the caller's concern.
    ///
    /// # Errors
    /// QEMU does not answer, or the device reports an error of reception.
    fn read(&self) -> Result<u8>;

    /// Lets this interrupt out, or not; all others are off.
    ///
    /// # Errors
    /// QEMU does not answer.
    fn enable_interrupt(&self, event: Option<Event>) -> Result<()>;

    /// Whether the device says that it interrupts for this event, which is the one enabled.
    ///
    /// # Errors
    /// QEMU does not answer.
    fn interrupts(&self, event: Event) -> Result<bool>;

    /// Takes back the interrupt for a byte that was sent, where the device does not do that by
    /// itself.
    ///
    /// # Errors
    /// QEMU does not answer.
    fn acknowledge_sent(&self) -> Result<()> {
        Ok(())
    }

    /// Connects its output to its input as [`Profile::loopback`] says, or takes that back.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer, or if the UART has no loopback.
    fn set_loopback(&self, _: bool) -> Result<()> {
        Err(Error::failed("this UART has no loopback"))
    }

    /// Has it interrupt for a byte that was received only when it holds `level` of them, one of
    /// [`Profile::levels`], or when the timeout is over, if it has one.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer, or if the UART has no such levels.
    fn set_level(&self, level: usize) -> Result<()> {
        Err(Error::failed(format!("this UART has no trigger level of {level} bytes")))
    }

    /// Whether it says that it can hold no more bytes; `None` if it does not say so.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    fn is_full(&self) -> Result<Option<bool>> {
        Ok(None)
    }

    /// Whether it says that a byte was lost since this was asked last.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer, or if the UART does not report it.
    fn take_overrun(&self) -> Result<bool> {
        Err(Error::failed("this UART does not report an overrun"))
    }

    /// Takes out of it what it received first, and says whether that is a break; `None` if it has
    /// received nothing.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer, or if the UART does not report it.
    fn take_break(&self) -> Result<Option<bool>> {
        Err(Error::failed("this UART does not report a break"))
    }

    /// Its interrupt line for this event, watched from now on; `None` if QEMU cannot watch it.
    ///
    /// # Errors
    /// QEMU does not answer, or the lines of another interrupt controller are watched already.
    fn interrupt(&self, event: Event) -> Result<Option<InterruptLine>>;

    /// The UART after a reset of the machine, where that takes its registers away; `None` where
    /// this one goes on.
    ///
    /// # Errors
    /// The registers cannot be mapped again.
    fn after_reset(&self) -> Result<Option<Rc<dyn Uart>>> {
        Ok(None)
    }

    /// The far end of its line.
    ///
    /// # Errors
    /// Skipped if this port was given none.
    fn line(&self) -> Result<Line>;
}

interface!(dyn Uart = "uart");

/// The far end of a serial line: the harness is all that is there.
pub struct Line {
    vm: Rc<Vm>,
    name: &'static str,
    stream: Stream,
    arrived: RefCell<Vec<u8>>,
}

impl Line {
    /// The line of a device that was found on a board without lines.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer, or [`Error::Skipped`] if the machine gave its
    /// lines to other ports.
    pub fn of_found(vm: &Rc<Vm>, device: &FoundDevice) -> Result<Self> {
        let moved = match device.base() {
            Ok(base) => find_at(vm, &device.ty, base)?,
            Err(_) => None,
        };
        Self::of(vm, moved.as_deref().unwrap_or(&device.path))
    }

    /// The line of the device with the QOM path `path`. The character device may be that of a part
    /// of it.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer, or [`Error::Skipped`] if the machine gave its
    /// lines to other ports.
    pub fn of(vm: &Rc<Vm>, path: &str) -> Result<Self> {
        for path in [path.to_owned(), format!("{path}/serial")] {
            let arguments = json!({ "path": path, "property": "chardev" });
            let Ok(Value::String(label)) = vm.qmp().execute("qom-get", arguments) else { continue };
            if let Some(line) = LINES.iter().find(|line| line.name == label) {
                let stream = Stream::new(vm, line.name)?;
                let arrived = RefCell::default();
                return Ok(Self { vm: vm.clone(), name: line.name, stream, arrived });
            }
        }
        let count = LINES.len();
        Err(Error::skipped(format!("this port has none of the first {count} serial lines")))
    }

    /// Sends bytes to the port. QEMU may still have to take them.
    ///
    /// # Errors
    /// QEMU takes nothing more, within the limits of [`Vm::deadline`].
    pub fn send(&self, bytes: &[u8]) -> Result<()> {
        self.stream.send(bytes, || format!("{} bytes to the serial port", bytes.len()))
    }

    /// Sends a break to the port.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    pub fn send_break(&self) -> Result<()> {
        answered(&self.vm)?;
        self.vm.qmp().execute("chardev-send-break", json!({ "id": self.name }))?;
        Ok(())
    }

    /// Sends bytes to the port, and has QEMU give it those that it has room for, without a step of
    /// the clock.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer or takes nothing more.
    pub fn send_through(&self, bytes: &[u8]) -> Result<()> {
        self.send(bytes)?;
        // Its main loop sees the bytes with the first request at the latest, and some ports take
        // one at a time.
        (0..bytes.len() + 3).try_for_each(|_| answered(&self.vm))
    }

    /// Waits for the next `count` bytes that the port sends.
    ///
    /// # Errors
    /// They do not come, as for [`wait_until`], or QEMU has closed the socket.
    pub fn receive(&self, count: usize, what: &str) -> Result<Vec<u8>> {
        wait_until(&self.vm, &format!("{count} bytes on the serial line, {what}"), || {
            while self.stream.take(&mut self.arrived.borrow_mut(), what)? {}
            Ok(self.arrived.borrow().len() >= count)
        })?;
        Ok(self.arrived.borrow_mut().drain(..count).collect())
    }

    /// Asserts that the port has sent nothing but what was received. It does not wait.
    ///
    /// # Errors
    /// QEMU does not answer, or has closed the socket.
    #[track_caller]
    pub fn assert_silent(&self, when: &str) -> Result<()> {
        answered(&self.vm)?;
        while self.stream.take(&mut self.arrived.borrow_mut(), when)? {}
        let arrived = self.arrived.borrow();
        assert!(arrived.is_empty(), "{when}: unexpected bytes {}", hex::encode(&*arrived));
        Ok(())
    }
}
