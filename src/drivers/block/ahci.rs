//! The AHCI controller of Intel's ICH9 with one disk at its first port (Serial ATA AHCI
//! Specification 1.3.1, whose sections are cited; ATA8-ACS for commands).

use std::cell::RefCell;
use std::rc::Rc;

use crate::graph::{Addition, Consumes, Produces, QemuArgs, Site};
use crate::qemu::{Buffer, Vm};
use crate::qos::block::{BlockDevice, DISK, Identity, Limits, Outcome, Piece};
use crate::qos::pci::{self, Bar, ExpectedBar, PciBus, PciFunction, PciPlug, Space};
use crate::qos::registers::{AnyRegister, Register, RegisterBlock, RegistersExt};
use crate::qos::wait_until;
use crate::{Error, Result, driver};

/// Host capabilities: six ports, 32 slots for commands, 64-bit addresses, queued commands, the
/// first generation's speed, AHCI only.
pub const CAP: Register<u32> =
    Register::new("CAP", 0x00).section("3.1.1").reset(0xc014_1f05).read_only();
/// Global host control: reset, interrupts.
pub const GHC: Register<u32> =
    Register::new("GHC", 0x04).section("3.1.2").reset(1 << 31).kept(GHC_IE as u64).acts(1);
/// Which ports have an interrupt pending.
pub const IS: Register<u32> = Register::new("IS", 0x08).section("3.1.3").reset(0).w1c(0x3f);
/// Which ports there are.
pub const PI: Register<u32> = Register::new("PI", 0x0c).section("3.1.4").reset(0x3f).read_only();
/// The version.
pub const VS: Register<u32> =
    Register::new("VS", 0x10).section("3.1.5").reset(0x1_0000).read_only();

/// Where the list of commands of a port is.
pub const PX_CLB: Register<u32> =
    Register::new("PxCLB", 0x100).section("3.3.1").kept(0xffff_fc00).reserved(0x3ff);
/// Its upper half.
pub const PX_CLBU: Register<u32> =
    Register::new("PxCLBU", 0x104).section("3.3.2").kept(0xffff_ffff);
/// Where what a port receives is put.
pub const PX_FB: Register<u32> =
    Register::new("PxFB", 0x108).section("3.3.3").kept(0xffff_ff00).reserved(0xff);
/// Its upper half.
pub const PX_FBU: Register<u32> = Register::new("PxFBU", 0x10c).section("3.3.4").kept(0xffff_ffff);
/// What of a port is pending.
pub const PX_IS: Register<u32> =
    Register::new("PxIS", 0x110).section("3.3.5").reset(0).w1c(0xfd80_00af).volatile(0x50);
/// What of it interrupts.
pub const PX_IE: Register<u32> =
    Register::new("PxIE", 0x114).section("3.3.6").reset(0).kept(0xfdc0_00ff);
/// What a port does.
pub const PX_CMD: Register<u32> = Register::new("PxCMD", 0x118).section("3.3.7").side_effect();
/// Status and error of the port's device.
pub const PX_TFD: Register<u32> = Register::new("PxTFD", 0x120).section("3.3.8").volatile(0xffff);
/// What kind of device that is.
pub const PX_SIG: Register<u32> = Register::new("PxSIG", 0x124).section("3.3.9").read_only();
/// Whether it is there.
pub const PX_SSTS: Register<u32> = Register::new("PxSSTS", 0x128).section("3.3.10").read_only();
/// Resets the port's link.
pub const PX_SCTL: Register<u32> = Register::new("PxSCTL", 0x12c).section("3.3.11").side_effect();
/// Errors of the link.
pub const PX_SERR: Register<u32> = Register::new("PxSERR", 0x130).section("3.3.12").side_effect();
/// Which queued commands are not done.
pub const PX_SACT: Register<u32> = Register::new("PxSACT", 0x134).section("3.3.13").side_effect();
/// Which commands the controller shall take.
pub const PX_CI: Register<u32> = Register::new("PxCI", 0x138).section("3.3.14").side_effect();
/// From a port's registers to the next one's.
pub const PORT_STRIDE: u64 = 0x80;
/// How many ports there are.
pub const PORTS: u64 = 6;

/// GHC: interrupts are enabled.
pub const GHC_IE: u32 = 1 << 1;
/// PxCMD: commands are taken; the port is powered and spun up; what comes is received.
pub const CMD_ST: u32 = 1 << 0;
/// PxCMD: spun up and powered.
pub const CMD_ON: u32 = 3 << 1;
/// PxCMD: what comes is received.
pub const CMD_FRE: u32 = 1 << 4;
/// PxCMD: it receives; it takes commands.
pub const CMD_RUNNING: u32 = 3 << 14;
/// PxIS: the device has sent its registers.
pub const IS_DHRS: u32 = 1 << 0;
/// PxIS: a queued command has ended.
pub const IS_SDBS: u32 = 1 << 3;
/// PxIS: a command has ended with an error.
pub const IS_TFES: u32 = 1 << 30;
/// PxTFD: an error.
pub const TFD_ERR: u32 = 1 << 0;
/// PxTFD: the device is busy, or wants data.
pub const TFD_BUSY: u32 = 0x88;

/// Commands of ATA.
pub mod ata {
    /// DATA SET MANAGEMENT; trim.
    pub const DATA_SET_MANAGEMENT: u8 = 0x06;
    /// READ DMA EXT.
    pub const READ_DMA_EXT: u8 = 0x25;
    /// WRITE DMA EXT.
    pub const WRITE_DMA_EXT: u8 = 0x35;
    /// READ FPDMA QUEUED.
    pub const READ_QUEUED: u8 = 0x60;
    /// WRITE FPDMA QUEUED.
    pub const WRITE_QUEUED: u8 = 0x61;
    /// READ SECTORS, by PIO.
    pub const READ_SECTORS: u8 = 0x20;
    /// READ SECTORS EXT, by PIO.
    pub const READ_SECTORS_EXT: u8 = 0x24;
    /// WRITE SECTORS EXT, by PIO.
    pub const WRITE_SECTORS_EXT: u8 = 0x34;
    /// READ DMA, 28 bits.
    pub const READ_DMA: u8 = 0xc8;
    /// WRITE DMA, 28 bits.
    pub const WRITE_DMA: u8 = 0xca;
    /// FLUSH CACHE EXT.
    pub const FLUSH_EXT: u8 = 0xea;
    /// IDENTIFY DEVICE.
    pub const IDENTIFY: u8 = 0xec;
    /// Error: the command was aborted.
    pub const ERROR_ABORT: u8 = 1 << 2;
    /// Error: there is no such sector.
    pub const ERROR_NOT_FOUND: u8 = 1 << 4;
}

/// The size of a sector in bytes.
pub const SECTOR: usize = 512;
/// The most sectors that the suite of disks asks for; a command could have more than the disk has.
const MOST_SECTORS: usize = 1024;
/// The slots for commands.
pub const SLOTS: usize = 32;
/// The entries of a command's table of memory.
const PIECES: usize = 64;
/// The length of a command's table in bytes.
const TABLE_BYTES: usize = 0x80 + 16 * PIECES;

/// The registers of the controller, and of its first port.
const HOST: &[&dyn AnyRegister] = &[&CAP, &GHC, &IS, &PI, &VS];
/// The registers of every port.
const PORT: &[&dyn AnyRegister] =
    &[&PX_CLB, &PX_CLBU, &PX_FB, &PX_FBU, &PX_IS, &PX_IE, &PX_TFD, &PX_SIG, &PX_SSTS];

/// What its configuration space says: message-signalled interrupts (5), SATA (0x12).
const IDENTITY: pci::Identity = pci::Identity {
    vendor: 0x8086,
    device: 0x2922,
    revision: 0x02,
    class: 0x01_06_01,
    subsystem: (0x1af4, 0x1100),
    pin: 1,
    bars: &[
        ExpectedBar { number: 4, space: Space::Io, size: 0x20, witness: None },
        ExpectedBar { number: 5, space: Space::Memory, size: 0x1000, witness: Some(VS.offset()) },
    ],
    capabilities: &[0x05, 0x12],
};

/// QEMU's `ich9-ahci`.
pub struct Ahci {
    /// Where it is plugged in, and its registers.
    pub plug: PciPlug,
}

impl Consumes<dyn PciBus> for Ahci {
    const ARGS: QemuArgs = QemuArgs::device("bus={bus},addr={addr},id=ahci")
        .add(
            Addition::NONE
                .before(
                    "-drive if=none,id=drive0,format=raw,discard=unmap,auto-read-only=off,\
                     file={disk}",
                )
                .after("-device ide-hd,bus=ahci.0,drive=drive0,serial=qgraph-disk"),
        )
        .images(&[DISK]);

    fn attach(bus: Rc<dyn PciBus>, site: &Site) -> Result<Self> {
        Ok(Self { plug: PciPlug::attach(&bus, site, 5)? })
    }
}

impl Produces<PciFunction> for Ahci {
    fn produced(self: Rc<Self>) -> Rc<PciFunction> {
        self.plug.function(IDENTITY)
    }
}

impl Produces<RegisterBlock> for Ahci {
    fn produced(self: Rc<Self>) -> Rc<RegisterBlock> {
        let mut block = self.plug.block("Serial ATA AHCI Specification 1.3.1", HOST);
        for register in PORT {
            block = block.with_array(*register, PORTS, PORT_STRIDE);
        }
        Rc::new(block)
    }
}

driver!(Ahci = "ich9-ahci"; consumes dyn PciBus; produces PciFunction, RegisterBlock, dyn BlockDevice);

/// A command: what a host sends to a device (SATA 3.2, 10.5.5), and its memory.
#[derive(Debug, Clone, Copy)]
pub struct Command<'a> {
    /// The command.
    pub command: u8,
    /// Its features; of queued commands, how many sectors.
    pub features: u16,
    /// The first sector.
    pub first: u64,
    /// How many sectors; of queued commands, their tag.
    pub count: u16,
    /// Whether memory is read by the device.
    pub writes: bool,
    /// Its memory.
    pub memory: &'a [Piece],
}

/// The first port, started.
pub struct Port {
    vm: Rc<Vm>,
    registers: Rc<Bar>,
    list: Buffer,
    /// What comes from the device.
    pub received: Buffer,
    tables: Vec<Buffer>,
}

impl Port {
    /// Resets the controller and starts the port (10.1.2).
    ///
    /// # Errors
    /// Returns an error if the port does not start or stays busy, or no guest memory is left.
    pub fn start(registers: &Rc<Bar>, vm: &Rc<Vm>) -> Result<Self> {
        registers.set(GHC, 1)?;
        wait_until(vm, "the controller's reset", || Ok(registers.get(GHC)? & 1 == 0))?;
        match registers.get(GHC)? {
            0x8000_0000 => {}
            control => return Err(Error::failed(format!("{GHC}: {control:#x} after a reset"))),
        }
        let ram = vm.ram();
        let port = Self {
            vm: vm.clone(),
            registers: registers.clone(),
            list: ram.alloc(32 * SLOTS, 1024)?,
            received: ram.alloc(256, 256)?,
            tables: (0..SLOTS).map(|_| ram.alloc(TABLE_BYTES, 128)).collect::<Result<_>>()?,
        };
        for (at, buffer) in [(PX_CLB, &port.list), (PX_FB, &port.received)] {
            registers.set(at, buffer.address().0 as u32)?;
            registers.set(at.above(4), (buffer.address().0 >> 32) as u32)?;
        }
        port.resume()?;
        Ok(port)
    }

    /// Clears errors, and starts the port.
    ///
    /// # Errors
    /// Returns an error if it does not start, or stays busy.
    pub fn resume(&self) -> Result<()> {
        let registers = &self.registers;
        registers.set(PX_CMD, CMD_ON)?;
        wait_until(&self.vm, "the port to stop", || Ok(registers.get(PX_CMD)? & CMD_RUNNING == 0))?;
        registers.set(PX_SERR, !0)?;
        registers.set(PX_IS, !0)?;
        registers.set(PX_CMD, CMD_ON | CMD_FRE)?;
        registers.set(PX_CMD, CMD_ON | CMD_FRE | CMD_ST)?;
        wait_until(&self.vm, "the port to start", || {
            let running = registers.get(PX_CMD)? & CMD_RUNNING == CMD_RUNNING;
            Ok(running && registers.get(PX_TFD)? & TFD_BUSY == 0)
        })?;
        let all = CMD_ON | CMD_FRE | CMD_ST | CMD_RUNNING;
        match registers.get(PX_CMD)? {
            command if command == all => registers.set(PX_IS, !0),
            command => Err(Error::failed(format!("{PX_CMD}: {command:#x}, not {all:#x}"))),
        }
    }

    /// Puts a command into a slot. The controller is not told.
    ///
    /// # Errors
    /// Returns an error if it has more pieces than there is room for.
    pub fn put(&self, slot: usize, command: &Command) -> Result<()> {
        if command.memory.len() > PIECES {
            return Err(Error::failed(format!("{} pieces of memory", command.memory.len())));
        }
        let table = &self.tables[slot];
        let Command { command: code, features, first, count, .. } = *command;
        let [a, b, c, d, e, f, ..] = first.to_le_bytes();
        let ([f0, f1], [n0, n1]) = (features.to_le_bytes(), count.to_le_bytes());
        // Commands with 28 bits have bits 27:24 of the sector here; it is zero with others.
        let device = 0x40 | if is_28(code) { d & 0xf } else { 0 };
        table.write(0, &[0x27, 0x80, code, f0, a, b, c, device, d, e, f, f1, n0, n1])?;
        for (at, piece) in command.memory.iter().enumerate() {
            let entry = 0x80 + 16 * at;
            table.write_le64(entry, piece.address)?;
            table.write_le32(entry + 12, piece.length as u32 - 1)?;
        }
        let header = 5 | u32::from(command.writes) << 6 | (command.memory.len() as u32) << 16;
        self.list.write_le32(32 * slot, header)?;
        self.list.write_le32(32 * slot + 4, 0)?;
        self.list.write_le64(32 * slot + 8, table.address().0)
    }

    /// How many bytes the controller says that it has moved for the command of a slot.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    pub fn moved(&self, slot: usize) -> Result<usize> {
        Ok(self.list.read_le32(32 * slot + 4)? as usize)
    }

    /// Has the command done, in the first slot: its error register if it ends with an error, which
    /// the port is recovered from then (6.2.2.1).
    ///
    /// # Errors
    /// Returns an error if it does not end, or moves another number of bytes than it should.
    pub fn run(&self, command: &Command, what: &str) -> Result<Option<u8>> {
        let registers = &self.registers;
        self.put(0, command)?;
        registers.set(PX_CI, 1)?;
        wait_until(&self.vm, what, || {
            let failed = registers.get(PX_IS)? & IS_TFES != 0;
            Ok(failed || registers.get(PX_CI)? & 1 == 0)
        })?;
        let task = registers.get(PX_TFD)?;
        let pending = registers.get(PX_IS)?;
        if task & TFD_ERR != 0 || pending & IS_TFES != 0 {
            self.resume()?;
            return Ok(Some((task >> 8) as u8));
        }
        registers.set(PX_IS, pending)?;
        registers.set(IS, 1)?;
        let left = (registers.get(PX_CI)?, registers.get(PX_SACT)?, registers.get(PX_IS)?);
        if left != (0, 0, 0) {
            let why = format!("{what}: PxCI, PxSACT and PxIS are {left:#x?} at its end");
            return Err(Error::failed(why));
        }
        let length: usize = command.memory.iter().map(|piece| piece.length).sum();
        match self.moved(0)? {
            moved if moved == length && task & TFD_BUSY == 0 => Ok(None),
            moved => Err(Error::failed(format!(
                "{what}: {moved} bytes moved of {length}, PxTFD {task:#x}"
            ))),
        }
    }

    /// What IDENTIFY DEVICE tells.
    ///
    /// # Errors
    /// Returns an error if the command does not succeed.
    pub fn identify(&self) -> Result<Vec<u16>> {
        let data = self.vm.ram().alloc(SECTOR, 2)?;
        let memory = [Piece::whole(&data)];
        let command = Command {
            command: ata::IDENTIFY,
            features: 0,
            first: 0,
            count: 0,
            writes: false,
            memory: &memory,
        };
        match self.run(&command, "IDENTIFY DEVICE")? {
            None => {}
            Some(error) => return Err(Error::failed(format!("IDENTIFY DEVICE: error {error:#x}"))),
        }
        let bytes = data.to_vec()?;
        Ok(bytes.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]])).collect())
    }
}

/// Whether a command has sectors of 28 bits.
fn is_28(command: u8) -> bool {
    [ata::READ_SECTORS, ata::READ_DMA, ata::WRITE_DMA].contains(&command)
}

/// The text in words, in each of which the first character is the upper byte.
fn text(words: &[u16]) -> String {
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
    String::from_utf8_lossy(&bytes).trim_end_matches(' ').to_owned()
}

/// The disk.
struct AhciDisk {
    ahci: Rc<Ahci>,
    port: RefCell<Option<Rc<Port>>>,
}

impl AhciDisk {
    fn port(&self) -> Result<Rc<Port>> {
        self.port.borrow().clone().ok_or_else(|| Error::failed("the disk was not started"))
    }

    fn run(&self, command: &Command) -> Result<Outcome> {
        let what = format!("command {:#x} at {:#x}", command.command, command.first);
        match self.port()?.run(command, &what)? {
            None => Ok(Outcome::Done),
            // The disk does not tell one from the other.
            Some(ata::ERROR_ABORT | ata::ERROR_NOT_FOUND) => Ok(Outcome::PastTheEnd),
            Some(error) => Err(Error::failed(format!("{what}: error {error:#x}"))),
        }
    }

    fn transfer(&self, command: u8, first: u64, memory: &[Piece]) -> Result<Outcome> {
        let length: usize = memory.iter().map(|piece| piece.length).sum();
        self.run(&Command {
            command,
            features: 0,
            first,
            count: (length / SECTOR) as u16,
            writes: command == ata::WRITE_DMA_EXT,
            memory,
        })
    }
}

impl BlockDevice for AhciDisk {
    fn start(&self, vm: &Rc<Vm>) -> Result<()> {
        self.ahci.plug.device.bus().reaches_ram()?;
        self.port.replace(None);
        let port = Port::start(&self.ahci.plug.registers, vm)?;
        self.port.replace(Some(Rc::new(port)));
        Ok(())
    }

    fn identify(&self) -> Result<Identity> {
        let words = self.port()?.identify()?;
        let blocks = (100..104).rev().fold(0, |all, at| all << 16 | u64::from(words[at]));
        Ok(Identity {
            blocks,
            block_size: SECTOR,
            serial: text(&words[10..20]),
            model: Some(text(&words[27..47])),
        })
    }

    fn limits(&self) -> Result<Limits> {
        Ok(Limits {
            most_blocks: MOST_SECTORS,
            too_many: None,
            alignment: 2,
            model: Some("QEMU HARDDISK"),
            trims: true,
            trim_is_hint: false,
            writes_zeroes: false,
        })
    }

    fn read(&self, first: u64, memory: &[Piece]) -> Result<Outcome> {
        self.transfer(ata::READ_DMA_EXT, first, memory)
    }

    fn write(&self, first: u64, memory: &[Piece]) -> Result<Outcome> {
        self.transfer(ata::WRITE_DMA_EXT, first, memory)
    }

    fn flush(&self) -> Result<Outcome> {
        self.run(&Command {
            command: ata::FLUSH_EXT,
            features: 0,
            first: 0,
            count: 0,
            writes: false,
            memory: &[],
        })
    }

    fn trim(&self, first: u64, count: usize) -> Result<Outcome> {
        let ranges = self.port()?.vm.ram().alloc(SECTOR, 2)?;
        ranges.write_le64(0, first | (count as u64) << 48)?;
        self.run(&Command {
            command: ata::DATA_SET_MANAGEMENT,
            features: 1,
            first: 0,
            count: 1,
            writes: true,
            memory: &[Piece::whole(&ranges)],
        })
    }

    fn remapped(&self) -> Result<Rc<dyn BlockDevice>> {
        let ahci = Rc::new(Ahci { plug: self.ahci.plug.again()? });
        Ok(Rc::new(Self { ahci, port: RefCell::default() }))
    }
}

impl Produces<dyn BlockDevice> for Ahci {
    fn produced(self: Rc<Self>) -> Rc<dyn BlockDevice> {
        Rc::new(AhciDisk { ahci: self, port: RefCell::default() })
    }
}
