//! A TPM with the command response buffer interface (TCG PC Client Platform TPM Profile
//! Specification 1.05, 6.5.3), on a PC.

use std::rc::Rc;

use crate::graph::{Consumes, Produces, QemuArgs, Site};
use crate::protocol::Endian;
use crate::qemu::Vm;
use crate::qos::isa::IsaBus;
use crate::qos::registers::{Mmio, Register, RegistersExt};
use crate::qos::tpm::{HEADER, OPTIONS, SOCKET, Tpm};
use crate::qos::wait_until;
use crate::{Error, Result, driver};

/// Who has the TPM.
pub const LOC_STATE: Register<u32> = Register::new("TPM_LOC_STATE", 0x00).section("6.5.3.3");
/// What the locality wants.
pub const LOC_CTRL: Register<u32> = Register::new("TPM_LOC_CTRL", 0x08).section("6.5.3.4");
/// What it has.
pub const LOC_STS: Register<u32> = Register::new("TPM_LOC_STS", 0x0c).section("6.5.3.5");
/// The interface that the TPM has.
pub const INTF_ID: Register<u32> = Register::new("TPM_CRB_INTF_ID", 0x30).section("6.4.2");
/// Who has made it.
pub const INTF_ID_HIGH: Register<u32> = Register::new("TPM_CRB_INTF_ID", 0x34).section("6.4.2");
/// Makes it ready for a command, or idle.
pub const CTRL_REQ: Register<u32> = Register::new("TPM_CRB_CTRL_REQ", 0x40).section("6.5.3.7");
/// Whether it is idle.
pub const CTRL_STS: Register<u32> = Register::new("TPM_CRB_CTRL_STS", 0x44).section("6.5.3.8");
/// Cancels a command.
pub const CTRL_CANCEL: Register<u32> =
    Register::new("TPM_CRB_CTRL_CANCEL", 0x48).section("6.5.3.9");
/// Has a command carried out, and says whether it is.
pub const CTRL_START: Register<u32> = Register::new("TPM_CRB_CTRL_START", 0x4c).section("6.5.3.10");
/// How large a command may be.
pub const COMMAND_SIZE: Register<u32> =
    Register::new("TPM_CRB_CTRL_CMD_SIZE", 0x58).section("6.5.3.13");
/// Where it stands; the upper half follows.
pub const COMMAND_ADDRESS: Register<u32> =
    Register::new("TPM_CRB_CTRL_CMD_LADDR", 0x5c).section("6.5.3.14");
/// The upper half.
pub const COMMAND_ADDRESS_HIGH: Register<u32> =
    Register::new("TPM_CRB_CTRL_CMD_HADDR", 0x60).section("6.5.3.14");
/// How large a response may be.
pub const RESPONSE_SIZE: Register<u32> =
    Register::new("TPM_CRB_CTRL_RSP_SIZE", 0x64).section("6.5.3.15");
/// Where it stands.
pub const RESPONSE_ADDRESS: Register<u32> =
    Register::new("TPM_CRB_CTRL_RSP_ADDR", 0x68).section("6.5.3.16");

/// LOC_CTRL: take the TPM; give it up.
pub const TAKE: u32 = 1 << 0;
/// LOC_CTRL: give it up.
pub const GIVE_UP: u32 = 1 << 1;
/// LOC_STS: it has the TPM.
pub const GRANTED: u32 = 1 << 0;
/// CTRL_REQ: be ready for a command.
pub const BE_READY: u32 = 1 << 0;
/// CTRL_REQ: be idle.
pub const BE_IDLE: u32 = 1 << 1;
/// CTRL_STS: a fatal error.
pub const ERROR: u32 = 1 << 0;
/// CTRL_STS: it is idle.
pub const IDLE: u32 = 1 << 1;

/// Where the registers begin.
const BASE: u64 = 0xfed4_0000;

/// One with that interface.
pub struct TpmCrb {
    registers: Mmio,
}

impl TpmCrb {
    /// Its registers.
    pub fn registers(&self) -> &Mmio {
        &self.registers
    }

    /// The buffer of commands, as its registers say.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    pub fn command_buffer(&self) -> Result<Mmio> {
        let at = u64::from(self.registers.get(COMMAND_ADDRESS)?);
        Ok(Mmio::new(self.vm(), at, Endian::Little))
    }

    /// The buffer of responses, as its registers say.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    pub fn response_buffer(&self) -> Result<Mmio> {
        let at = u64::from(self.registers.get(RESPONSE_ADDRESS)?);
        Ok(Mmio::new(self.vm(), at, Endian::Little))
    }
}

impl Tpm for TpmCrb {
    fn vm(&self) -> &Rc<Vm> {
        self.registers.vm()
    }

    fn largest(&self) -> Result<usize> {
        Ok(self.registers.get(COMMAND_SIZE)? as usize)
    }

    fn prepare(&self) -> Result<()> {
        self.registers.set(LOC_CTRL, TAKE)?;
        wait_until(self.vm(), "the locality", || Ok(self.registers.get(LOC_STS)? & GRANTED != 0))?;
        self.registers.set(CTRL_REQ, BE_READY)?;
        wait_until(self.vm(), "the TPM to be ready", || {
            Ok(self.registers.get(CTRL_REQ)? & BE_READY == 0
                && self.registers.get(CTRL_STS)? & IDLE == 0)
        })
    }

    fn hand_in(&self, command: &[u8]) -> Result<()> {
        let buffer = self.command_buffer()?;
        command.iter().enumerate().try_for_each(|(at, byte)| buffer.write8(at as u64, *byte))
    }

    fn go(&self) -> Result<()> {
        self.registers.set(CTRL_START, 1)
    }

    fn is_done(&self) -> Result<bool> {
        Ok(self.registers.get(CTRL_START)? == 0)
    }

    fn take(&self) -> Result<Vec<u8>> {
        let buffer = self.response_buffer()?;
        let read = |length: usize| -> Result<Vec<u8>> {
            (0..length as u64).map(|at| buffer.read8(at)).collect()
        };
        let head = read(HEADER)?;
        let length = u32::from_be_bytes([head[2], head[3], head[4], head[5]]) as usize;
        let most = self.registers.get(RESPONSE_SIZE)? as usize;
        if !(HEADER..=most).contains(&length) {
            return Err(Error::failed(format!("a response of {length} bytes")));
        }
        let all = read(length);
        self.registers.set(CTRL_REQ, BE_IDLE)?;
        all
    }

    fn has_failed(&self) -> Result<bool> {
        Ok(self.registers.get(CTRL_STS)? & ERROR != 0)
    }

    fn cancel(&self) -> Result<()> {
        self.registers.set(CTRL_CANCEL, 1)
    }
}

impl Consumes<IsaBus> for TpmCrb {
    const ARGS: QemuArgs = QemuArgs::device("tpmdev=tpm0").before(OPTIONS).sockets(&[SOCKET]);

    fn attach(bus: Rc<IsaBus>, _: &Site) -> Result<Self> {
        Ok(Self { registers: Mmio::new(&bus.0, BASE, Endian::Little) })
    }
}

impl Produces<dyn Tpm> for TpmCrb {
    fn produced(self: Rc<Self>) -> Rc<dyn Tpm> {
        self
    }
}

driver!(TpmCrb = "tpm-crb"; consumes IsaBus; produces dyn Tpm);
