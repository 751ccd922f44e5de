//! A TPM with the FIFO interface on an I2C bus (TCG PC Client Platform TPM Profile Specification
//! 1.05, section 7, "I2C interface"): one locality at a time, behind registers of a byte's address.

use std::rc::Rc;

use crate::graph::{Consumes, Produces, QemuArgs, Site};
use crate::protocol::Endian;
use crate::qemu::Vm;
use crate::qos::i2c::{I2cBus, I2cDevice};
use crate::qos::registers::{Register, Registers, RegistersExt};
use crate::qos::tpm::{HEADER, OPTIONS, SOCKET, Tpm};
use crate::qos::wait_until;
use crate::{Error, Result, driver};

use super::tis::{ACTIVE, AVAILABLE, CANCEL, EXPECT, GO, READY, REQUEST, STS_VALID, VALID};

/// The locality whose registers the others are.
pub const LOC_SEL: Register<u8> = Register::new("TPM_LOC_SEL", 0x00).section("table 51");
/// Who has the TPM, and who wants it.
pub const ACCESS: Register<u8> = Register::new("TPM_ACCESS", 0x04).section("table 51");
/// Which interrupts are enabled.
pub const INT_ENABLE: Register<u32> = Register::new("TPM_INT_ENABLE", 0x08).section("table 51");
/// Which interrupts there are.
pub const INT_CAPABILITY: Register<u32> =
    Register::new("TPM_INT_CAPABILITY", 0x14).section("table 51");
/// The state of a command.
pub const STS: Register<u32> = Register::new("TPM_STS", 0x18).section("table 51");
/// Bytes of commands and responses.
pub const FIFO: u8 = 0x24;
/// What the interface can do.
pub const INTERFACE_CAPABILITY: Register<u32> =
    Register::new("TPM_I2C_INTERFACE_CAPABILITY", 0x30).section("7.1.7");
/// Whether checksums are made.
pub const CHECKSUM_ENABLE: Register<u8> =
    Register::new("TPM_DATA_CSUM_ENABLE", 0x40).section("7.1.9");
/// The checksum of the command or response.
pub const CHECKSUM: u8 = 0x44;
/// Who has made it.
pub const DID_VID: Register<u32> = Register::new("TPM_DID_VID", 0x48).section("table 51");
/// Its revision.
pub const RID: Register<u8> = Register::new("TPM_RID", 0x4c).section("table 51");

/// The most bytes that are written or read at once.
const BURST: usize = 64;

/// QEMU's `tpm-tis-i2c`.
pub struct TpmTisI2c {
    device: I2cDevice,
    vm: Rc<Vm>,
}

impl TpmTisI2c {
    /// Its registers, which are those of the selected locality.
    pub fn registers(&self) -> &dyn Registers {
        self.device.registers()
    }

    /// The device on its bus.
    pub fn device(&self) -> &I2cDevice {
        &self.device
    }

    /// Selects a locality, gives it the TPM, which nobody has, and makes the TPM ready.
    ///
    /// # Errors
    /// Returns an error if it does not become so.
    pub fn prepare_at(&self, locality: u8) -> Result<()> {
        let registers = self.registers();
        registers.set(LOC_SEL, locality)?;
        registers.set(ACCESS, REQUEST)?;
        wait_until(&self.vm, "a locality of the TPM", || {
            Ok(registers.get(ACCESS)? & (VALID | ACTIVE) == VALID | ACTIVE)
        })?;
        registers.set(STS, READY)?;
        wait_until(&self.vm, "the TPM to be ready", || Ok(registers.get(STS)? & READY != 0))
    }

    /// How many bytes the FIFO takes or gives at once, at least one.
    fn burst(&self) -> Result<usize> {
        let count = (self.registers().get(STS)? >> 8 & 0xffff) as usize;
        Ok(count.clamp(1, BURST))
    }

    /// The checksum of what is in the FIFO.
    ///
    /// # Errors
    /// Returns an error if the TPM does not acknowledge.
    pub fn checksum(&self) -> Result<[u8; 2]> {
        self.device.read_from(CHECKSUM)
    }
}

impl Tpm for TpmTisI2c {
    fn vm(&self) -> &Rc<Vm> {
        &self.vm
    }

    fn largest(&self) -> Result<usize> {
        Ok(4096)
    }

    fn prepare(&self) -> Result<()> {
        self.prepare_at(0)
    }

    fn hand_in(&self, command: &[u8]) -> Result<()> {
        let mut sent = 0;
        while sent < command.len() {
            // The header alone at first, and the last byte, so that Expect is seen to go.
            let end = match sent {
                0 => HEADER.min(command.len() - 1),
                _ if sent == command.len() - 1 => command.len(),
                _ => (sent + self.burst()?).min(command.len() - 1),
            };
            self.device.write_from(FIFO, &command[sent..end.max(sent + 1)])?;
            sent = end.max(sent + 1);
            let (status, is_last) = (self.registers().get(STS)?, sent == command.len());
            if (status & EXPECT == 0) != is_last {
                let what = format!("{sent} bytes of {}: TPM_STS {status:#x}", command.len());
                return Err(Error::failed(what));
            }
        }
        Ok(())
    }

    fn go(&self) -> Result<()> {
        self.registers().set(STS, GO)
    }

    fn is_done(&self) -> Result<bool> {
        Ok(self.registers().get(STS)? & (STS_VALID | AVAILABLE) == STS_VALID | AVAILABLE)
    }

    fn take(&self) -> Result<Vec<u8>> {
        let mut all = Vec::new();
        while self.registers().get(STS)? & AVAILABLE != 0 {
            let mut bytes = vec![0; self.burst()?];
            self.device.send(&[FIFO])?;
            self.device.bus().recv(self.device.address(), &mut bytes)?;
            all.extend(bytes);
            if all.len() > 0x1_0000 {
                return Err(Error::failed("a response without end"));
            }
        }
        self.registers().set(STS, READY)?;
        Ok(all)
    }

    fn cancel(&self) -> Result<()> {
        self.registers().set(STS, CANCEL)
    }
}

impl Consumes<dyn I2cBus> for TpmTisI2c {
    const ARGS: QemuArgs = QemuArgs::device("tpmdev=tpm0,bus={bus},address={addr}")
        .at("0x2e")
        .before(OPTIONS)
        .sockets(&[SOCKET]);

    fn attach(bus: Rc<dyn I2cBus>, site: &Site) -> Result<Self> {
        let device = I2cDevice::plugged(bus, site, Endian::Little)?;
        Ok(Self { device, vm: site.vm.clone() })
    }
}

impl Produces<dyn Tpm> for TpmTisI2c {
    fn produced(self: Rc<Self>) -> Rc<dyn Tpm> {
        self
    }
}

driver!(TpmTisI2c = "tpm-tis-i2c"; consumes dyn I2cBus; produces dyn Tpm);
