//! QEMU's `usb-serial` and `usb-braille`: an FT8U232AM of FTDI, whose requests of the vendor are those
//! that Linux has in `drivers/usb/serial/ftdi_sio.h` ("ftdi_sio.h").

use std::rc::Rc;

use crate::graph::{Consumes, Member, QemuArgs, Site};
use crate::qemu::Vm;
use crate::qos::uart::{LINE, LINE_BACKEND, Line};
use crate::qos::usb::device::UsbDevice;
use crate::qos::usb::function::Function;
use crate::qos::usb::{Endpoint, FullSpeed, Speed};
use crate::{Error, Result, driver};

/// Requests of the vendor.
pub mod request {
    /// FTDI_SIO_RESET.
    pub const RESET: u8 = 0;
    /// FTDI_SIO_SET_MODEM_CTRL.
    pub const MODEM_CONTROL: u8 = 1;
    /// FTDI_SIO_SET_FLOW_CTRL.
    pub const FLOW_CONTROL: u8 = 2;
    /// FTDI_SIO_SET_BAUD_RATE.
    pub const BAUD_RATE: u8 = 3;
    /// FTDI_SIO_SET_DATA.
    pub const DATA: u8 = 4;
    /// FTDI_SIO_GET_MODEM_STATUS.
    pub const MODEM_STATUS: u8 = 5;
    /// FTDI_SIO_SET_EVENT_CHAR.
    pub const EVENT_CHARACTER: u8 = 6;
    /// FTDI_SIO_SET_ERROR_CHAR.
    pub const ERROR_CHARACTER: u8 = 7;
    /// FTDI_SIO_SET_LATENCY_TIMER.
    pub const SET_LATENCY: u8 = 9;
    /// FTDI_SIO_GET_LATENCY_TIMER.
    pub const GET_LATENCY: u8 = 10;
}

/// The first byte of the status: a bit that is always set.
pub const ONE: u8 = 1 << 0;
/// The first byte: clear to send, data set ready, carrier.
pub const MODEM: u8 = 1 << 4 | 1 << 5 | 1 << 7;
/// The second byte: overrun, parity, framing.
pub const ERRORS: u8 = 7 << 1;
/// The second byte: break.
pub const BREAK: u8 = 1 << 4;
/// The second byte: nothing is to be sent.
pub const EMPTY: u8 = 3 << 5;

/// The members, and their products.
const MEMBERS: [Member<u16>; 2] =
    [Member::new("usb-serial", 0x6001), Member::new("usb-braille", 0xfe72)];

/// A serial port.
pub struct UsbSerial {
    vm: Rc<Vm>,
    /// Its product.
    pub product: u16,
    /// The device.
    pub function: Function,
}

/// A serial port that is configured.
pub struct Port<'a> {
    /// The device.
    pub usb: UsbDevice<'a>,
    /// Its endpoint that sends to the host.
    pub input: Endpoint,
    /// Its endpoint that receives.
    pub output: Endpoint,
    /// The other end.
    pub line: Line,
}

impl UsbSerial {
    /// Starts the controller and configures the device.
    ///
    /// # Errors
    /// It is not there, refuses, or has other endpoints.
    pub fn start(&self) -> Result<Port<'_>> {
        let usb = self.function.connect()?;
        let [input, output] = usb.configure()?[..] else {
            return Err(Error::failed("a serial port has two endpoints"));
        };
        let line = Line::of(&self.vm, "/machine/peripheral/function")?;
        Ok(Port { usb, input, output, line })
    }
}

impl Port<'_> {
    /// Has a request of the vendor done.
    ///
    /// # Errors
    /// It is refused.
    pub fn set(&self, request: u8, value: u16, index: u16) -> Result<()> {
        self.usb.set(0x40, request, value, index)
    }
}

impl Consumes<FullSpeed> for UsbSerial {
    const ARGS: QemuArgs = QemuArgs::device("bus={bus},port={addr},id=function,chardev=line0")
        .before(LINE_BACKEND)
        .sockets(&[LINE]);

    fn attach(ports: Rc<FullSpeed>, site: &Site) -> Result<Self> {
        let function = Function::new(ports.0.clone(), &[Speed::Full]);
        Ok(Self { vm: site.vm.clone(), product: *site.member(&MEMBERS)?, function })
    }
}

driver!(UsbSerial as MEMBERS; consumes FullSpeed);
