//! The keyboard controller style interface (IPMI, chapter 9).

use std::rc::Rc;

use super::Ipmi;
use crate::qemu::Vm;
use crate::qos::registers::{Register, Registers, RegistersExt};
use crate::qos::wait_until;
use crate::{Error, Result, interface};

/// Data_In and Data_Out.
const DATA: Register<u8> = Register::new("Data", 0).side_effect();
/// Command and Status (9.6).
const STATUS: Register<u8> = Register::new("Command/Status", 1).side_effect();

/// Status: there is a byte to be read; one that was written was not taken yet; attention.
const OBF: u8 = 1 << 0;
const IBF: u8 = 1 << 1;
const SMS_ATN: u8 = 1 << 2;

/// Control codes (9.10): get status or abort, start and end of a write, read.
pub const KCS_ABORT: u8 = 0x60;
/// Begin of a write.
pub const KCS_WRITE_START: u8 = 0x61;
/// The last byte of a write follows.
pub const KCS_WRITE_END: u8 = 0x62;
/// The next byte is wanted; written to Data_In.
pub const KCS_READ: u8 = 0x68;
/// Where the state is in Status.
pub const KCS_STATUS: u8 = 0xc0;
/// The longest response that is read.
const LONGEST: usize = 1024;

/// The state of the interface (9.7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KcsState {
    /// Nothing is under way.
    Idle,
    /// A response is read.
    Read,
    /// A request is written.
    Write,
    /// Something went wrong.
    Error,
}

/// The interface.
pub struct Kcs {
    /// The machine.
    pub vm: Rc<Vm>,
    /// Its two registers.
    pub registers: Rc<dyn Registers>,
}

interface!(Kcs = "ipmi-kcs");

impl Kcs {
    /// Its state, once it has taken what was written.
    ///
    /// # Errors
    /// Returns an error if it does not take it.
    pub fn state(&self) -> Result<KcsState> {
        wait_until(&self.vm, "the interface to take a byte", || {
            Ok(self.registers.get(STATUS)? & IBF == 0)
        })?;
        Ok(match self.registers.get(STATUS)? >> 6 {
            0 => KcsState::Idle,
            1 => KcsState::Read,
            2 => KcsState::Write,
            _ => KcsState::Error,
        })
    }

    /// Writes a control code and returns the state after it. A byte that waits is dropped.
    ///
    /// # Errors
    /// Returns an error if the interface does not take it.
    pub fn control(&self, code: u8) -> Result<KcsState> {
        self.registers.set(STATUS, code)?;
        let state = self.state()?;
        self.registers.get(DATA)?;
        Ok(state)
    }

    /// Writes a byte of data and returns the state after it.
    ///
    /// # Errors
    /// Returns an error if the interface does not take it.
    pub fn put(&self, byte: u8) -> Result<KcsState> {
        self.registers.set(DATA, byte)?;
        self.state()
    }

    /// The byte that waits to be read, if there is one.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    pub fn take(&self) -> Result<Option<u8>> {
        let has_byte = self.registers.get(STATUS)? & OBF != 0;
        has_byte.then(|| self.registers.get(DATA)).transpose()
    }

    /// Reads a response to its end, from the state in which its first byte waits.
    ///
    /// # Errors
    /// Returns an error if it has no end, or the interface gets into another state.
    pub fn read(&self) -> Result<Vec<u8>> {
        let mut response = Vec::new();
        loop {
            wait_until(&self.vm, "a byte of the response", || {
                Ok(self.registers.get(STATUS)? & OBF != 0)
            })?;
            match self.state()? {
                KcsState::Read if response.len() < LONGEST => {
                    response.push(self.registers.get(DATA)?);
                    self.registers.set(DATA, KCS_READ)?;
                    self.state()?;
                }
                KcsState::Idle => {
                    self.registers.get(DATA)?;
                    return Ok(response);
                }
                state => {
                    return Err(Error::failed(format!(
                        "the interface is in the state {state:?} after {response:02x?}"
                    )));
                }
            }
        }
    }

    /// Aborts what is under way and returns the status code of the error (9.12).
    ///
    /// # Errors
    /// Returns an error if the interface does not get idle.
    pub fn abort(&self) -> Result<u8> {
        self.control(KCS_ABORT)?;
        match self.put(0)? {
            KcsState::Read => {}
            state => return Err(Error::failed(format!("the state of an abort is {state:?}"))),
        }
        match self.read()?[..] {
            [code] => Ok(code),
            ref other => Err(Error::failed(format!("an abort is answered with {other:02x?}"))),
        }
    }
}

impl Ipmi for Kcs {
    fn exchange(&self, request: &[u8]) -> Result<Vec<u8>> {
        let (last, first) = request.split_last().ok_or_else(|| Error::failed("empty request"))?;
        let expect = |state: KcsState, when: &str| match state {
            KcsState::Write => Ok(()),
            state => Err(Error::failed(format!("the interface is in the state {state:?} {when}"))),
        };
        expect(self.control(KCS_WRITE_START)?, "at the start of a write")?;
        for byte in first {
            expect(self.put(*byte)?, "in a write")?;
            self.registers.get(DATA)?;
        }
        expect(self.control(KCS_WRITE_END)?, "before the last byte of a write")?;
        match self.put(*last)? {
            KcsState::Read => self.read(),
            state => {
                Err(Error::failed(format!("the interface is in the state {state:?} after a write")))
            }
        }
    }

    fn has_attention(&self) -> Result<bool> {
        Ok(self.registers.get(STATUS)? & SMS_ATN != 0)
    }
}
