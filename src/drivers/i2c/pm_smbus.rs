//! The SMBus host controllers of Intel's PIIX4 (82371AB data sheet 290562, section 7.3) and ICH9
//! (316972-004, section 20.2) at ports: they make transactions of SMBus and no others (System
//! Management Bus Specification 2.0, section 5.5).

use std::rc::Rc;

use crate::graph::{Plug, Produces};
use crate::qemu::Vm;
use crate::qos::i2c::{I2cBus, OnBus, not_acknowledged};
use crate::qos::qom;
use crate::qos::registers::{
    AnyRegister, Fault, Ports, Register, RegisterBlock, Registers, RegistersExt, Rule,
};
use crate::qos::wait_until;
use crate::{Error, Result, driver};

/// Host Status.
pub const STATUS: Register<u8> =
    Register::new("SMBHSTSTS", 0x00).section("20.2.1").reset(0).w1c(0x1e).volatile(0xe1);
/// Host Control.
pub const CONTROL: Register<u8> = Register::new("SMBHSTCNT", 0x02)
    .section("20.2.2")
    .reset(0)
    .kept(0x1d)
    .acts((START | KILL) as u64)
    .reserved(0xa0);
/// Host Command.
pub const COMMAND: Register<u8> =
    Register::new("SMBHSTCMD", 0x03).section("20.2.3").reset(0).kept(0xff);
/// Address of the device, and whether it is read.
pub const ADDRESS: Register<u8> =
    Register::new("SMBHSTADD", 0x04).section("20.2.4").reset(0).kept(0xff);
/// The first byte of data, and the count of a block.
pub const DATA0: Register<u8> =
    Register::new("SMBHSTDAT0", 0x05).section("20.2.5").reset(0).kept(0xff);
/// The second byte of data.
pub const DATA1: Register<u8> =
    Register::new("SMBHSTDAT1", 0x06).section("20.2.6").reset(0).kept(0xff);
/// Bytes of a block.
pub const BLOCK: Register<u8> =
    Register::new("SMBBLKDAT", 0x07).section("20.2.7").read_effect().side_effect();
/// Auxiliary Control of the ICH9: a buffer for blocks, and checksums.
pub const AUXILIARY: Register<u8> =
    Register::new("AUX_CTL", 0x0d).section("20.2.12").reset(0).kept(BUFFER as u64).acts(0x01);

/// The registers that both have.
const TABLE: &[&dyn AnyRegister] = &[&STATUS, &CONTROL, &COMMAND, &ADDRESS, &DATA0, &DATA1, &BLOCK];

/// What QEMU does otherwise.
const FAULTS: &[Fault] = &[Fault::new(
    &["SMBHSTCNT", "SMBHSTCMD", "SMBHSTADD", "SMBHSTDAT0", "SMBHSTDAT1", "AUX_CTL"],
    &[Rule::MachineReset],
    "a reset of the machine leaves the registers of QEMU's SMBus host controllers",
)];

/// STATUS: a transaction is under way.
pub const BUSY: u8 = 1 << 0;
/// STATUS: a transaction is over.
pub const DONE: u8 = 1 << 1;
/// STATUS: a transaction went wrong, such as an address that nobody acknowledges.
pub const DEVICE_ERROR: u8 = 1 << 2;
/// STATUS: a transaction was stopped.
pub const FAILED: u8 = 1 << 4;
/// STATUS of the ICH9: a byte of a block was sent or received.
pub const BYTE_DONE: u8 = 1 << 7;

/// CONTROL: interrupts are enabled.
pub const INTERRUPTS: u8 = 1 << 0;
/// CONTROL: stop the transaction.
pub const KILL: u8 = 1 << 1;
/// CONTROL of the ICH9: the next byte of a block that is read is the last.
pub const LAST_BYTE: u8 = 1 << 5;
/// CONTROL: begin a transaction.
pub const START: u8 = 1 << 6;
/// AUXILIARY: blocks are buffered.
pub const BUFFER: u8 = 1 << 1;

/// A protocol of SMBus, as CONTROL says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// An address and nothing else.
    Quick = 0,
    /// A byte, which is in COMMAND where it is sent.
    Byte = 1,
    /// A command and a byte.
    ByteData = 2,
    /// A command and two bytes, the low one first.
    WordData = 3,
    /// A command, a count and as many bytes.
    Block = 5,
    /// Bytes without a count, in the ICH9.
    I2cRead = 6,
}

/// Which controller it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Piix4,
    Ich9,
}

impl Kind {
    /// Its configuration space, by way of configuration mechanism 1.
    fn function(self) -> u32 {
        match self {
            Self::Piix4 => 0x8000_0000 | 1 << 11 | 3 << 8,
            Self::Ich9 => 0x8000_0000 | 31 << 11 | 3 << 8,
        }
    }

    /// Where its configuration has the base of the ports.
    fn base(self) -> u32 {
        match self {
            Self::Piix4 => 0x90,
            Self::Ich9 => 0x20,
        }
    }

    /// Where its configuration has bit 0 to enable it, as a byte.
    fn enable(self) -> u32 {
        match self {
            Self::Piix4 => 0xd2,
            Self::Ich9 => 0x40,
        }
    }
}

/// Where this driver puts the ports.
const BASE: u16 = 0x0740;

/// QEMU's `PIIX4_PM` and `ICH9-SMB`, as far as they are hosts of SMBus.
pub struct PmSmbus {
    kind: Kind,
    vm: Rc<Vm>,
    ports: Rc<Ports>,
    on_bus: OnBus,
}

/// Has the ports where this driver wants them, if they are not.
fn open(vm: &Rc<Vm>, kind: Kind) -> Result<()> {
    let configuration = Ports::new(vm, 0xcf8);
    configuration.write32(0, kind.function() | kind.base())?;
    if configuration.read32(4)? & 0xfff0 == u32::from(BASE) {
        return Ok(());
    }
    configuration.write32(4, u32::from(BASE) | 1)?;
    configuration.write32(0, kind.function() | (kind.enable() & !3))?;
    configuration.write8(4 + u64::from(kind.enable() & 3), 1)?;
    // Command: ports.
    configuration.write32(0, kind.function() | 0x04)?;
    configuration.write16(4, 1)
}

impl PmSmbus {
    fn new(vm: &Rc<Vm>, kind: Kind, path: &str) -> Result<Self> {
        open(vm, kind)?;
        let on_bus = OnBus::at(vm, format!("{path}/i2c"));
        Ok(Self { kind, vm: vm.clone(), ports: Rc::new(Ports::new(vm, BASE)), on_bus })
    }

    /// That of a `pc`.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    pub fn of_pc(vm: &Rc<Vm>) -> Result<Self> {
        // From QEMU 8.2 on it is a part of the PIIX3.
        let path = match &qom::find(vm, "PIIX4_PM")?[..] {
            [path] => path.clone(),
            _ => format!("{}/pm", qom::find_one(vm, "PIIX3")?),
        };
        Self::new(vm, Kind::Piix4, &path)
    }

    /// That of a `q35`.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    pub fn of_q35(vm: &Rc<Vm>) -> Result<Self> {
        Self::new(vm, Kind::Ich9, &qom::find_one(vm, "ICH9-SMB")?)
    }

    /// Whether it is that of the ICH9, which has blocks byte by byte.
    pub fn is_ich9(&self) -> bool {
        self.kind == Kind::Ich9
    }

    /// Its registers.
    pub fn registers(&self) -> &dyn Registers {
        &*self.ports
    }

    /// Clears the status, and begins a transaction. What it sends is in the registers before.
    ///
    /// # Errors
    /// Returns an error if the status cannot be cleared.
    pub fn begin(&self, address: u8, reads: bool, protocol: Protocol, control: u8) -> Result<()> {
        let registers = self.registers();
        registers.set(STATUS, !BUSY)?;
        match registers.get(STATUS)? {
            0 => {}
            left => return Err(Error::failed(format!("SMBHSTSTS is {left:#04x}, cleared"))),
        }
        registers.set(ADDRESS, address << 1 | u8::from(reads))?;
        registers.set(CONTROL, START | (protocol as u8) << 2 | control)
    }

    /// Waits for the end of a transaction. Returns whether it was acknowledged, with the status
    /// cleared.
    ///
    /// # Errors
    /// Returns an error if the status is neither that of success nor that of no acknowledgement.
    pub fn end(&self) -> Result<bool> {
        let registers = self.registers();
        let mut status = 0;
        wait_until(&self.vm, "a transaction on the SMBus", || {
            status = registers.get(STATUS)?;
            Ok(status & BUSY == 0 && status != 0)
        })?;
        registers.set(STATUS, status)?;
        match status {
            DONE => Ok(true),
            DEVICE_ERROR => Ok(false),
            other => Err(Error::failed(format!("SMBHSTSTS after a transaction is {other:#04x}"))),
        }
    }

    /// Makes a transaction of this protocol; sees that it is acknowledged.
    fn transact(&self, address: u8, reads: bool, protocol: Protocol) -> Result<()> {
        open(&self.vm, self.kind)?;
        self.begin(address, reads, protocol, 0)?;
        match self.end()? {
            true => Ok(()),
            false => Err(not_acknowledged(address, "its address or a byte")),
        }
    }

    /// Writes a block of up to 32 bytes behind a command.
    ///
    /// # Errors
    /// Returns an error if it is not acknowledged.
    pub fn write_block(&self, address: u8, command: u8, data: &[u8]) -> Result<()> {
        let registers = self.registers();
        if self.is_ich9() {
            registers.set(AUXILIARY, BUFFER)?;
        }
        registers.set(COMMAND, command)?;
        registers.set(DATA0, data.len() as u8)?;
        // Reading CONTROL has the buffer begin anew.
        registers.get(CONTROL)?;
        for &byte in data {
            registers.set(BLOCK, byte)?;
        }
        self.transact(address, false, Protocol::Block)
    }

    /// Reads a block behind a command.
    ///
    /// # Errors
    /// Returns an error if it is not acknowledged, or has more than 32 bytes.
    pub fn read_block(&self, address: u8, command: u8) -> Result<Vec<u8>> {
        let registers = self.registers();
        if self.is_ich9() {
            registers.set(AUXILIARY, BUFFER)?;
        }
        registers.set(COMMAND, command)?;
        self.transact(address, true, Protocol::Block)?;
        registers.get(CONTROL)?;
        match registers.get(DATA0)? {
            count @ 1..=32 => (0..count).map(|_| registers.get(BLOCK)).collect(),
            count => Err(Error::failed(format!("a block of {count} bytes"))),
        }
    }
}

/// What a transfer is that SMBus has no protocol for.
fn no_protocol(written: usize, read: usize) -> Error {
    Error::skipped(format!("SMBus has no protocol to write {written} bytes and read {read}"))
}

impl I2cBus for PmSmbus {
    fn send(&self, address: u8, data: &[u8]) -> Result<()> {
        let registers = self.registers();
        let protocol = match *data {
            [] => Protocol::Quick,
            [_] => Protocol::Byte,
            [_, _] => Protocol::ByteData,
            [_, _, _] => Protocol::WordData,
            _ => return Err(no_protocol(data.len(), 0)),
        };
        open(&self.vm, self.kind)?;
        for (register, &byte) in [COMMAND, DATA0, DATA1].into_iter().zip(data) {
            registers.set(register, byte)?;
        }
        self.transact(address, false, protocol)
    }

    fn recv(&self, address: u8, into: &mut [u8]) -> Result<()> {
        let [byte] = into else { return Err(no_protocol(0, into.len())) };
        self.transact(address, true, Protocol::Byte)?;
        *byte = self.registers().get(DATA0)?;
        Ok(())
    }

    fn send_recv(&self, address: u8, data: &[u8], into: &mut [u8]) -> Result<()> {
        let registers = self.registers();
        let protocol = match (data, into.len()) {
            ([_], 1) => Protocol::ByteData,
            ([_], 2) => Protocol::WordData,
            _ => return Err(no_protocol(data.len(), into.len())),
        };
        open(&self.vm, self.kind)?;
        registers.set(COMMAND, data[0])?;
        self.transact(address, true, protocol)?;
        for (byte, register) in into.iter_mut().zip([DATA0, DATA1]) {
            *byte = registers.get(register)?;
        }
        Ok(())
    }

    fn probe(&self, address: u8) -> Result<bool> {
        open(&self.vm, self.kind)?;
        self.begin(address, false, Protocol::Quick, 0)?;
        self.end()
    }

    fn on_bus(&self) -> Option<&OnBus> {
        Some(&self.on_bus)
    }
}

impl Produces<dyn I2cBus> for PmSmbus {
    const PLUG: Plug = Plug::new("i2c", "");

    fn produced(self: Rc<Self>) -> Rc<dyn I2cBus> {
        self
    }
}

impl Produces<RegisterBlock> for PmSmbus {
    fn produced(self: Rc<Self>) -> Rc<RegisterBlock> {
        let (vm, kind) = (self.vm.clone(), self.kind);
        let find = move || {
            open(&vm, kind)?;
            Ok(Rc::new(Ports::new(&vm, BASE)) as Rc<dyn Registers>)
        };
        let own: &[&dyn AnyRegister] = if self.is_ich9() { &[&AUXILIARY] } else { &[] };
        let block = RegisterBlock::new("ICH9 316972", self.ports.clone(), TABLE).with(own);
        Rc::new(block.attach(find).faults(FAULTS))
    }
}

driver!(PmSmbus = "pm-smbus"; produces dyn I2cBus, RegisterBlock);
