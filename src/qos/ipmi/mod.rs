//! IPMI: what a management controller does, whatever interface a system reaches it by ("IPMI",
//! Intelligent Platform Management Interface Specification, second generation, v2.0, revision 1.1,
//! whose sections are cited).

pub mod bt;
mod kcs;

pub use bt::Bt;
pub use kcs::{KCS_ABORT, KCS_READ, KCS_STATUS, KCS_WRITE_END, KCS_WRITE_START, Kcs, KcsState};

use crate::graph::QemuArgs;
use crate::{Error, Result, interface};

/// A management controller of which nothing is as it is without options.
pub const BMC: QemuArgs = QemuArgs::device("bmc=bmc0").before(
    "-device ipmi-bmc-sim,id=bmc0,device_id=0x42,device_rev=3,fwrev1=5,fwrev2=0x12,\
     mfg_id=0x123456,product_id=0x89ab,guid=00112233-4455-6677-8899-aabbccddeeff",
);

/// The network functions of requests (IPMI, table 5-1).
pub mod netfn {
    /// Chassis.
    pub const CHASSIS: u8 = 0x00;
    /// Sensor and event.
    pub const SENSOR: u8 = 0x04;
    /// Application.
    pub const APP: u8 = 0x06;
    /// Storage.
    pub const STORAGE: u8 = 0x0a;
}

/// Completion codes (IPMI, table 5-2).
pub mod code {
    /// Command completed normally.
    pub const OK: u8 = 0x00;
    /// Attempt to start an un-initialized watchdog (27.5).
    pub const NOT_INITIALIZED: u8 = 0x80;
    /// Data not available, of Get Message and Read Event Message Buffer (22.6, 22.8).
    pub const NOT_AVAILABLE: u8 = 0x80;
    /// Invalid command.
    pub const INVALID_COMMAND: u8 = 0xc1;
    /// Command invalid for given LUN.
    pub const INVALID_FOR_LUN: u8 = 0xc2;
    /// Out of space.
    pub const OUT_OF_SPACE: u8 = 0xc4;
    /// Reservation canceled, or invalid reservation ID.
    pub const RESERVATION: u8 = 0xc5;
    /// Request data truncated.
    pub const TRUNCATED: u8 = 0xc6;
    /// Request data length invalid.
    pub const LENGTH: u8 = 0xc7;
    /// Request data field length limit exceeded.
    pub const TOO_LONG: u8 = 0xc8;
    /// Parameter out of range.
    pub const RANGE: u8 = 0xc9;
    /// Requested sensor, data, or record not present.
    pub const NOT_PRESENT: u8 = 0xcb;
    /// Invalid data field in request.
    pub const DATA: u8 = 0xcc;
}

/// The interface by which a system reaches its management controller.
pub trait Ipmi {
    /// Sends the bytes of a request, network function and command first, and returns those of the
    /// response.
    ///
    /// # Errors
    /// Returns an error if the interface does not take it, or no response comes.
    fn exchange(&self, request: &[u8]) -> Result<Vec<u8>>;

    /// Whether the controller has the system's attention: a message or an event waits.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    fn has_attention(&self) -> Result<bool>;
}

interface!(dyn Ipmi = "ipmi");

impl dyn Ipmi + '_ {
    /// Makes a request of the network function `netfn` and returns the completion code with the
    /// data behind it.
    ///
    /// # Errors
    /// Returns an error if the response is of another request.
    pub fn ask(&self, netfn: u8, command: u8, data: &[u8]) -> Result<(u8, Vec<u8>)> {
        let mut request = vec![netfn << 2, command];
        request.extend(data);
        let response = self.exchange(&request)?;
        match &response[..] {
            [to, number, code, data @ ..] if *to == (netfn | 1) << 2 && *number == command => {
                Ok((*code, data.to_vec()))
            }
            _ => Err(Error::failed(format!(
                "the response to the request {request:02x?} is {response:02x?}"
            ))),
        }
    }

    /// The data of the answer to a request that must succeed.
    ///
    /// # Errors
    /// Returns an error if it does not.
    pub fn get(&self, netfn: u8, command: u8, data: &[u8]) -> Result<Vec<u8>> {
        match self.ask(netfn, command, data)? {
            (code::OK, data) => Ok(data),
            (code, _) => Err(Error::failed(format!(
                "command {command:#x} of network function {netfn:#x} ends with code {code:#x}, \
                 data {data:02x?}"
            ))),
        }
    }
}
