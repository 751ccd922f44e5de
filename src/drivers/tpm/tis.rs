//! A TPM with the FIFO interface (TCG PC Client Platform TPM Profile Specification 1.05, 6.5): on
//! the ISA bus of a PC, and on the platform bus of a board.

use std::rc::Rc;

use crate::graph::{Consumes, Produces, QemuArgs, Site};
use crate::protocol::Endian;
use crate::qemu::Vm;
use crate::qos::interrupt::InterruptLine;
use crate::qos::isa::IsaBus;
use crate::qos::platform_bus::PlatformBus;
use crate::qos::registers::{Mmio, Register, RegistersExt};
use crate::qos::tpm::{HEADER, OPTIONS, SOCKET, Tpm};
use crate::qos::wait_until;
use crate::{Error, Result, driver};

/// Who has the TPM, and who wants it.
pub const ACCESS: Register<u8> = Register::new("TPM_ACCESS", 0x00).section("6.5.2.4");
/// Which interrupts are enabled.
pub const INT_ENABLE: Register<u32> = Register::new("TPM_INT_ENABLE", 0x08).section("6.5.2.9.1");
/// Which interrupts are pending; a one clears.
pub const INT_STATUS: Register<u32> = Register::new("TPM_INT_STATUS", 0x10).section("6.5.2.9.2");
/// What the interface can do.
pub const CAPABILITY: Register<u32> = Register::new("TPM_INTF_CAPABILITY", 0x14).section("6.5.2.7");
/// The state of a command.
pub const STS: Register<u32> = Register::new("TPM_STS", 0x18).section("6.5.2.5");
/// Bytes of commands and responses.
pub const FIFO: Register<u8> = Register::new("TPM_DATA_FIFO", 0x24).section("6.5.2.6");
/// The interface that the TPM has.
pub const INTERFACE_ID: Register<u32> = Register::new("TPM_INTERFACE_ID", 0x30).section("6.4.2");
/// The FIFO of commands and responses, four bytes at a time.
pub const XFIFO: Register<u32> = Register::new("TPM_XDATA_FIFO", 0x80).section("6.5.2.6");
/// Who has made it.
pub const DID_VID: Register<u32> = Register::new("TPM_DID_VID", 0xf00).section("6.5.2.1");
/// Its revision.
pub const RID: Register<u8> = Register::new("TPM_RID", 0xf04).section("6.5.2.2");

/// ACCESS: the other bits are valid.
pub const VALID: u8 = 1 << 7;
/// ACCESS: this locality has the TPM; a one gives it up.
pub const ACTIVE: u8 = 1 << 5;
/// ACCESS: a higher locality has taken it; a one clears.
pub const SEIZED: u8 = 1 << 4;
/// ACCESS: a one takes it from a lower locality.
pub const SEIZE: u8 = 1 << 3;
/// ACCESS: another locality wants it.
pub const PENDING: u8 = 1 << 2;
/// ACCESS: this locality wants it.
pub const REQUEST: u8 = 1 << 1;
/// ACCESS: no dynamic root of trust was established.
pub const NOT_ESTABLISHED: u8 = 1 << 0;

/// STS: cancel the command.
pub const CANCEL: u32 = 1 << 24;
/// STS: data available and expect are valid.
pub const STS_VALID: u32 = 1 << 7;
/// STS: it is ready for a command; a one makes it so.
pub const READY: u32 = 1 << 6;
/// STS: a one has the command carried out.
pub const GO: u32 = 1 << 5;
/// STS: there are bytes of a response.
pub const AVAILABLE: u32 = 1 << 4;
/// STS: there are bytes of the command to come.
pub const EXPECT: u32 = 1 << 3;
/// STS: a one makes the response be read again.
pub const RETRY: u32 = 1 << 1;
/// STS: what tells the kinds of TPM apart: 2.0.
pub const FAMILY_2: u32 = 1 << 26;

/// How far the registers of one locality are from those of the next.
const LOCALITY: u64 = 0x1000;
/// Where they begin on a PC.
const PC: u64 = 0xfed4_0000;

/// One with the FIFO interface.
pub struct TpmTis {
    localities: Vec<Mmio>,
    /// The input of the I/O APIC that its interrupt is, on a PC.
    input: Option<u32>,
}

impl TpmTis {
    fn at(vm: &Rc<Vm>, base: u64, input: Option<u32>) -> Self {
        let one = |number| Mmio::new(vm, base + number * LOCALITY, Endian::Little);
        Self { localities: (0..5).map(one).collect(), input }
    }

    /// The registers of a locality, 0 to 4.
    pub fn locality(&self, number: usize) -> &Mmio {
        &self.localities[number]
    }

    /// Its interrupt line, watched from now on, where that can be.
    ///
    /// # Errors
    /// Returns an error if another's lines are watched already.
    pub fn interrupt(&self) -> Result<Option<InterruptLine>> {
        let watch = |input| InterruptLine::watch(self.vm(), "ioapic", input);
        self.input.map(watch).transpose()
    }

    /// The number of bytes that can be moved at once.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    pub fn burst(&self, locality: usize) -> Result<usize> {
        Ok((self.locality(locality).get(STS)? >> 8 & 0xffff) as usize)
    }

    /// Makes a locality have the TPM, which nobody has, and the TPM ready.
    ///
    /// # Errors
    /// Returns an error if it does not become so.
    pub fn prepare_at(&self, locality: usize) -> Result<()> {
        let registers = self.locality(locality);
        registers.set(ACCESS, REQUEST)?;
        wait_until(self.vm(), "a locality of the TPM", || {
            Ok(registers.get(ACCESS)? & (VALID | ACTIVE) == VALID | ACTIVE)
        })?;
        registers.set(STS, READY)?;
        wait_until(self.vm(), "the TPM to be ready", || Ok(registers.get(STS)? & READY != 0))
    }

    /// Hands in a command by a locality.
    ///
    /// # Errors
    /// Returns an error if the TPM expects more or fewer bytes.
    pub fn hand_in_at(&self, locality: usize, command: &[u8]) -> Result<()> {
        let registers = self.locality(locality);
        for (number, byte) in command.iter().enumerate() {
            registers.set(FIFO, *byte)?;
            let is_last = number + 1 == command.len();
            // Looked at where it may change, and from time to time.
            if number < HEADER || number % 64 == 0 || number + 2 >= command.len() {
                let status = registers.get(STS)?;
                if (status & EXPECT == 0) != is_last {
                    let what = format!("byte {number} of {}: STS {status:#x}", command.len());
                    return Err(Error::failed(what));
                }
            }
        }
        Ok(())
    }

    /// Takes the response by a locality.
    ///
    /// # Errors
    /// Returns an error if there is none.
    pub fn take_at(&self, locality: usize) -> Result<Vec<u8>> {
        let registers = self.locality(locality);
        let mut all = Vec::new();
        while registers.get(STS)? & AVAILABLE != 0 {
            // No more than is there at once.
            let burst = self.burst(locality)?.clamp(1, 64);
            for _ in 0..burst {
                all.push(registers.get(FIFO)?);
            }
            if all.len() > 0x1_0000 {
                return Err(Error::failed("a response without end"));
            }
        }
        registers.set(STS, READY)?;
        Ok(all)
    }
}

impl Tpm for TpmTis {
    fn vm(&self) -> &Rc<Vm> {
        self.localities[0].vm()
    }

    fn largest(&self) -> Result<usize> {
        Ok(4096)
    }

    fn prepare(&self) -> Result<()> {
        self.prepare_at(0)
    }

    fn hand_in(&self, command: &[u8]) -> Result<()> {
        self.hand_in_at(0, command)
    }

    fn go(&self) -> Result<()> {
        self.locality(0).set(STS, GO)
    }

    fn is_done(&self) -> Result<bool> {
        Ok(self.locality(0).get(STS)? & (STS_VALID | AVAILABLE) == STS_VALID | AVAILABLE)
    }

    fn take(&self) -> Result<Vec<u8>> {
        self.take_at(0)
    }

    fn cancel(&self) -> Result<()> {
        self.locality(0).set(STS, CANCEL)
    }
}

impl Consumes<IsaBus> for TpmTis {
    const ARGS: QemuArgs =
        QemuArgs::named("tpm-tis", "tpmdev=tpm0").before(OPTIONS).sockets(&[SOCKET]);

    fn attach(bus: Rc<IsaBus>, _: &Site) -> Result<Self> {
        Ok(Self::at(&bus.0, PC, Some(5)))
    }
}

impl Produces<dyn Tpm> for TpmTis {
    fn produced(self: Rc<Self>) -> Rc<dyn Tpm> {
        self
    }
}

driver!(TpmTis = "tpm-tis"; consumes IsaBus; produces dyn Tpm, TisRegisters);

/// The one on a platform bus.
pub struct TpmTisDevice(Rc<TpmTis>);

impl Consumes<PlatformBus> for TpmTisDevice {
    const ARGS: QemuArgs = QemuArgs::device("tpmdev=tpm0").before(OPTIONS).sockets(&[SOCKET]);

    fn attach(bus: Rc<PlatformBus>, _: &Site) -> Result<Self> {
        Ok(Self(Rc::new(TpmTis::at(&bus.vm, bus.base, None))))
    }
}

impl Produces<dyn Tpm> for TpmTisDevice {
    fn produced(self: Rc<Self>) -> Rc<dyn Tpm> {
        self.0.clone()
    }
}

/// What all of these have: the registers of the interface.
pub struct TisRegisters(
    /// The TPM.
    pub Rc<TpmTis>,
);

crate::interface!(TisRegisters = "tis");

impl Produces<TisRegisters> for TpmTis {
    fn produced(self: Rc<Self>) -> Rc<TisRegisters> {
        Rc::new(TisRegisters(self))
    }
}

impl Produces<TisRegisters> for TpmTisDevice {
    fn produced(self: Rc<Self>) -> Rc<TisRegisters> {
        Rc::new(TisRegisters(self.0.clone()))
    }
}

driver!(TpmTisDevice = "tpm-tis-device"; consumes PlatformBus; produces dyn Tpm, TisRegisters);
