//! The hash and crypto engine of Aspeed's BMCs, its hashes. Aspeed's data sheets are not public:
//! registers and bits are those of Linux's driver, `drivers/crypto/aspeed/aspeed-hace.h`, which
//! Aspeed wrote.

use std::rc::Rc;

use crate::graph::{Discovered, FoundDevice, Produces};
use crate::qemu::Vm;
use crate::qos::interrupt::{InterruptLine, Pin};
use crate::qos::registers::{AnyRegister, Mmio, Register, RegisterBlock, RegistersExt};
use crate::{Result, discovered, driver};

/// The source of these registers.
const SHEET: &str = "Linux, aspeed-hace.h";
/// What has ended: hashes, and what is ciphered.
const STATUS: Register<u32> =
    Register::new("HACE1C", 0x1c).section(SHEET).reset(0).acts(0xffff_ffff);
/// The data, or a list of pieces of it.
const SOURCE: Register<u32> =
    Register::new("HACE20", 0x20).section(SHEET).reset(0).kept(0x0fff_fff8).acts(0xf000_0007);
/// Where the digest goes.
const DIGEST: Register<u32> =
    Register::new("HACE24", 0x24).section(SHEET).reset(0).kept(0x0fff_fff8).acts(0xf000_0007);
/// How many bytes the data has.
const LENGTH: Register<u32> =
    Register::new("HACE2C", 0x2c).section(SHEET).reset(0).kept(0x0fff_ffff).acts(0xf000_0000);
/// What is to be done, which starts it.
const COMMAND: Register<u32> = Register::new("HACE30", 0x30).section(SHEET).reset(0).side_effect();
/// The upper halves of addresses, of the AST2700.
const SOURCE_HIGH: Register<u32> = Register::new("HACE90", 0x90);
const DIGEST_HIGH: Register<u32> = Register::new("HACE94", 0x94);
const TABLE: &[&dyn AnyRegister] = &[&STATUS, &SOURCE, &DIGEST, &LENGTH, &COMMAND];

/// HASH_ISR: a hash has ended; a one clears.
pub const HASH_DONE: u32 = 1 << 9;
/// HASH_CMD_INT_ENABLE: its end interrupts.
pub const INTERRUPT: u32 = 1 << 9;
/// HASH_CMD_ACC_MODE: the hash goes on from where the last one was; software pads the data.
pub const ACCUMULATE: u32 = 2 << 7;
/// HASH_CMD_HASH_SRC_SG_CTRL: the source is a list of pieces.
pub const LIST: u32 = 1 << 18;
/// HASH_SG_LAST_LIST: the last piece of a list.
pub const LAST: u32 = 1 << 31;

/// A hash: its name, its bits in a command, and how many bytes its digest has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Algorithm {
    /// As it is usually called.
    pub name: &'static str,
    /// Its bits in a command.
    pub command: u32,
    /// The length of its digest in bytes.
    pub length: usize,
}

const fn algorithm(name: &'static str, command: u32, length: usize) -> Algorithm {
    Algorithm { name, command, length }
}

/// Those that all engines have, and two that only newer ones have.
pub const ALGORITHMS: [Algorithm; 6] = [
    algorithm("MD5", 0, 16),
    algorithm("SHA-1", 2 << 4, 20),
    algorithm("SHA-224", 4 << 4, 28),
    algorithm("SHA-256", 5 << 4, 32),
    algorithm("SHA-384", 6 << 4 | 1 << 10, 48),
    algorithm("SHA-512", 6 << 4, 64),
];

/// QEMU's `aspeed.hace`.
pub struct AspeedHace {
    vm: Rc<Vm>,
    registers: Rc<Mmio>,
    pin: Option<Pin>,
    /// Whether it is of an AST2600 or later, which have lists and all hashes.
    is_newer: bool,
    /// Whether addresses have upper halves.
    is_wide: bool,
}

impl AspeedHace {
    /// The hashes that it has.
    pub fn algorithms(&self) -> &'static [Algorithm] {
        if self.is_newer { &ALGORITHMS } else { &ALGORITHMS[..4] }
    }

    /// Whether it takes lists of pieces.
    pub fn has_lists(&self) -> bool {
        self.is_newer
    }

    /// Has it hash, and write the digest.
    ///
    /// # Errors
    /// QEMU does not answer.
    pub fn start(&self, source: u64, digest: u64, length: u32, command: u32) -> Result<()> {
        let registers = &*self.registers;
        if self.is_wide {
            registers.set(SOURCE_HIGH, (source >> 32) as u32)?;
            registers.set(DIGEST_HIGH, (digest >> 32) as u32)?;
        }
        registers.set(SOURCE, source as u32)?;
        registers.set(DIGEST, digest as u32)?;
        registers.set(LENGTH, length)?;
        registers.set(COMMAND, command)
    }

    /// What has ended.
    ///
    /// # Errors
    /// QEMU does not answer.
    pub fn status(&self) -> Result<u32> {
        self.registers.get(STATUS)
    }

    /// Clears what has ended.
    ///
    /// # Errors
    /// QEMU does not answer.
    pub fn clear(&self, bits: u32) -> Result<()> {
        self.registers.set(STATUS, bits)
    }

    /// The interrupt line, watched from now on; `None` if QEMU cannot watch it.
    ///
    /// # Errors
    /// QEMU does not answer.
    pub fn interrupt(&self) -> Result<Option<InterruptLine>> {
        self.pin.as_ref().map(|pin| pin.watch(&self.vm)).transpose()
    }
}

impl Produces<RegisterBlock> for AspeedHace {
    fn produced(self: Rc<Self>) -> Rc<RegisterBlock> {
        Rc::new(RegisterBlock::new("Linux's aspeed-hace.h", self.registers.clone(), TABLE))
    }
}

impl Discovered for AspeedHace {
    const QOM_TYPES: &'static [&'static str] = &["aspeed.hace"];

    fn drives(device: &FoundDevice) -> bool {
        device.is_mapped_one_of(Self::QOM_TYPES)
    }

    fn found(device: &FoundDevice, vm: &Rc<Vm>) -> Result<Self> {
        let registers = Rc::new(Mmio::new(vm, device.base()?, vm.endian()?));
        let is_older = ["ast2400", "ast2500"].iter().any(|it| device.ty.ends_with(it));
        let (is_newer, is_wide) = (!is_older, device.ty.ends_with("ast2700"));
        let pin = Pin::of(device, 0);
        Ok(Self { vm: vm.clone(), registers, pin, is_newer, is_wide })
    }
}

driver!(AspeedHace = "aspeed.hace"; produces RegisterBlock);
discovered!(AspeedHace);
