//! RISC-V's IOMMU as a PCI function ("RISC-V IOMMU Architecture Specification", version 1.0): a
//! directory of devices of one level, tables of the first stage (Sv48), queues of commands and
//! faults.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use crate::graph::{Consumes, Produces, QemuArgs, Site};
use crate::qemu::{Buffer, Vm};
use crate::qos::iommu::{
    Access, Fault, Format, Iommu, Limits, NO_ENGINES, Reason, Scope, TWO_ENGINES, Tables,
    Translation,
};
use crate::qos::pci::{Bar, PciBus, PciDevice, PciFunction, PciPlug};
use crate::qos::registers::{Registers, RegistersExt};
use crate::{Error, Result, driver, interface};

/// The size of its registers in bytes.
const SIZE: u64 = 0x1000;

/// Registers (6): what it is able to, 64 bits.
pub const CAPABILITIES: u64 = 0x00;
/// What is chosen of that, 32 bits.
pub const FCTL: u64 = 0x08;
/// Where the directory is, and its kind: 64 bits.
pub const DDTP: u64 = 0x10;
/// The queue of commands: where it is, of 64 bits, how far it was read and written, and its state.
pub const CQB: u64 = 0x18;
/// Its head.
pub const CQH: u64 = 0x20;
/// Its tail.
pub const CQT: u64 = 0x24;
/// Its control and status.
pub const CQCSR: u64 = 0x48;
/// The queue of faults, likewise.
pub const FQB: u64 = 0x28;
/// Its head.
pub const FQH: u64 = 0x30;
/// Its tail.
pub const FQT: u64 = 0x34;
/// Its control and status.
pub const FQCSR: u64 = 0x4c;
/// The queue of page requests, likewise.
pub const PQB: u64 = 0x38;
/// Its control and status.
pub const PQCSR: u64 = 0x50;
/// Which interrupts are pending.
pub const IPSR: u64 = 0x54;

/// Capabilities: Sv48 of the first stage; device contexts of 64 bytes.
const SV48: u64 = 1 << 10;
const MSI_FLAT: u64 = 1 << 22;
/// Queues: enabled; a fault of memory, an overflow (or a command that timed out), a command that is
/// illegal; in use; busy.
pub const ENABLE: u32 = 1 << 0;
const MEMORY_FAULT: u32 = 1 << 8;
const OVERFLOW: u32 = 1 << 9;
const ILLEGAL: u32 = 1 << 10;
/// The queue is in use.
pub const ON: u32 = 1 << 16;
const BUSY: u32 = 1 << 17;
/// Kinds of directories: none, and all addresses are let through.
pub const BARE: u64 = 1;
/// A directory of one level; one of two levels has the next number.
pub const ONE_LEVEL: u64 = 2;

/// Sizes of the queues, as powers of two of entries: a page each.
const COMMANDS: u32 = 8;
const FAULTS: u32 = 7;

/// Commands (4.1): forget translations; a fence; forget a device.
const IOTINVAL_VMA: u64 = 1;
const IOFENCE: u64 = 2;
const IODIR_DDT: u64 = 3;
/// What a fence writes.
const DONE: u64 = 0x600d_d0e5;

/// A page number where most entries have it.
pub const fn page_number(address: u64) -> u64 {
    address >> 12 << 10
}

/// How entries look: valid, read, write, for users, accessed and dirty in bits 0, 1, 2, 4, 6, 7.
pub const FORMAT: Format = Format {
    table: |_, table| page_number(table) | 1,
    page: |_, page, access| {
        let may = u64::from(access.read) << 1 | u64::from(access.write) << 2;
        page_number(page) | 1 | may | 1 << 4 | 1 << 6 | 1 << 7
    },
};

/// QEMU's `riscv-iommu-pci`.
pub struct RiscvIommuPci {
    vm: Rc<Vm>,
    bus: Rc<dyn PciBus>,
    plug: PciPlug,
}

interface!(RiscvFunction = "riscv-iommu-pci-function");

/// The function as the suite of this device alone takes it.
pub struct RiscvFunction {
    /// The function.
    pub device: PciDevice,
    /// Its registers.
    pub registers: Rc<Bar>,
}

interface!(RiscvStages = "riscv-iommu");

/// The IOMMU, two engines behind it, and all of its contexts and records: for the suites of its
/// two stages.
pub struct RiscvStages {
    iommu: Rc<RiscvIommuPci>,
}

impl RiscvStages {
    /// The bus of the engines.
    pub fn bus(&self) -> &Rc<dyn PciBus> {
        &self.iommu.bus
    }

    /// What it is able to.
    ///
    /// # Errors
    /// QEMU does not answer.
    pub fn capabilities(&self) -> Result<u64> {
        self.iommu.plug.registers.read64(CAPABILITIES)
    }

    /// Sets it up, so that it translates. No device has a context.
    ///
    /// # Errors
    /// It does not do as it must.
    pub fn start(&self) -> Result<Live> {
        self.iommu.live()
    }
}

impl Consumes<dyn PciBus> for RiscvIommuPci {
    const ARGS: QemuArgs =
        QemuArgs::device("bus={bus},addr={addr}").may_refuse(&[NO_ENGINES]).on_root_only(true);

    fn attach(bus: Rc<dyn PciBus>, site: &Site) -> Result<Self> {
        let plug = PciPlug::attach(&bus, site, 0)?;
        Ok(Self { vm: site.vm.clone(), bus, plug })
    }
}

impl Produces<dyn Iommu> for RiscvIommuPci {
    const ARGS: QemuArgs = QemuArgs::NONE.after(TWO_ENGINES);

    fn produced(self: Rc<Self>) -> Rc<dyn Iommu> {
        self
    }
}

impl Produces<RiscvStages> for RiscvIommuPci {
    const ARGS: QemuArgs = QemuArgs::NONE.after(TWO_ENGINES);

    fn produced(self: Rc<Self>) -> Rc<RiscvStages> {
        Rc::new(RiscvStages { iommu: self })
    }
}

impl Produces<PciFunction> for RiscvIommuPci {
    fn produced(self: Rc<Self>) -> Rc<PciFunction> {
        let (device, mapped) = (self.plug.device.clone(), vec![self.plug.registers.clone()]);
        Rc::new(PciFunction { device, identity: None, mapped })
    }
}

impl Produces<RiscvFunction> for RiscvIommuPci {
    fn produced(self: Rc<Self>) -> Rc<RiscvFunction> {
        let PciPlug { device, registers, .. } = self.plug.clone();
        Rc::new(RiscvFunction { device, registers })
    }
}

driver!(
    RiscvIommuPci = "riscv-iommu-pci";
    consumes dyn PciBus;
    produces dyn Iommu, RiscvStages, RiscvFunction, PciFunction
);

impl RiscvIommuPci {
    /// Sets it up, so that it translates.
    fn live(&self) -> Result<Live> {
        // A reset of the machine has taken the registers away.
        let plug = self.plug.again()?;
        let registers = plug.registers.clone();
        let capabilities = registers.read64(CAPABILITIES)?;
        if capabilities & SV48 == 0 {
            return Err(Error::skipped("this IOMMU has no Sv48"));
        }
        let table = || self.vm.ram().alloc(4096, 4096);
        let live = Live {
            vm: self.vm.clone(),
            registers,
            context: if capabilities & MSI_FLAT != 0 { 64 } else { 32 },
            directory: table()?,
            commands: table()?,
            written: Cell::new(0),
            faults: table()?,
            status: self.vm.ram().alloc(4, 4)?,
            domains: RefCell::default(),
        };
        live.set_up()?;
        Ok(live)
    }
}

impl Iommu for RiscvIommuPci {
    fn vm(&self) -> &Rc<Vm> {
        &self.vm
    }

    fn bus(&self) -> &Rc<dyn PciBus> {
        &self.bus
    }

    fn limits(&self) -> Result<Limits> {
        // The lower half of what 48 bits are: above it addresses have all upper bits set.
        let last = (1 << 47) - 1;
        let larger = &[21, 30];
        Ok(Limits { last, larger, write_only: false, has_bound: true, blocks_when_off: true })
    }

    fn start(&self) -> Result<Box<dyn Translation>> {
        Ok(Box::new(self.live()?))
    }

    fn registers(&self) -> Option<(Rc<dyn Registers>, u64)> {
        Some((self.plug.registers.clone(), SIZE))
    }

    fn place(&self) -> Option<u64> {
        Some(self.plug.registers.address())
    }
}

/// The IOMMU as it translates.
pub struct Live {
    vm: Rc<Vm>,
    registers: Rc<Bar>,
    /// The size of a device's context in bytes.
    context: usize,
    directory: Buffer,
    commands: Buffer,
    /// Where the next command goes.
    written: Cell<u32>,
    faults: Buffer,
    status: Buffer,
    domains: RefCell<BTreeMap<u16, Rc<Tables>>>,
}

impl Live {
    /// Switches a queue on or off.
    fn switch(&self, control: u64, on: bool) -> Result<()> {
        self.registers.write32(control, u32::from(on))?;
        match self.registers.read32(control)? {
            now if now & BUSY == 0 && (now & ON != 0) == on => Ok(()),
            now => Err(Error::failed(format!("a queue was switched, its status is {now:#x}"))),
        }
    }

    /// Where the directory of one level is.
    pub fn directory(&self) -> u64 {
        self.directory.address().0
    }

    /// Sets where the directory is, and its kind.
    ///
    /// # Errors
    /// Returns an error if the register does not have it then.
    pub fn set_directory(&self, ddtp: u64) -> Result<()> {
        self.registers.write64(DDTP, ddtp)?;
        match self.registers.read64(DDTP)? {
            now if now == ddtp => Ok(()),
            now => Err(Error::failed(format!("ddtp was set to {ddtp:#x} and is {now:#x}"))),
        }
    }

    fn set_up(&self) -> Result<()> {
        let queue =
            |buffer: &Buffer, order: u32| page_number(buffer.address().0) | u64::from(order - 1);
        self.switch(CQCSR, false)?;
        self.switch(FQCSR, false)?;
        self.registers.write64(CQB, queue(&self.commands, COMMANDS))?;
        self.registers.write32(CQT, 0)?;
        self.switch(CQCSR, true)?;
        self.registers.write64(FQB, queue(&self.faults, FAULTS))?;
        self.registers.write32(FQH, 0)?;
        self.switch(FQCSR, true)?;
        self.set_directory(page_number(self.directory.address().0) | ONE_LEVEL)?;
        self.invalidate(Scope::All)
    }

    /// Takes the next record of a fault, as its four words (4.2).
    ///
    /// # Errors
    /// QEMU does not answer.
    pub fn record(&self) -> Result<Option<[u64; 4]>> {
        let (head, tail) = (self.registers.read32(FQH)?, self.registers.read32(FQT)?);
        if head == tail {
            // Faults for which there was no room: they are recorded again once that is known.
            let status = self.registers.read32(FQCSR)?;
            if status & OVERFLOW != 0 {
                self.registers.write32(FQCSR, ENABLE | OVERFLOW)?;
            }
            return Ok(None);
        }
        let mut words = [0; 4];
        for (number, word) in words.iter_mut().enumerate() {
            *word = self.faults.read_le64(32 * head as usize + 8 * number)?;
        }
        self.registers.write32(FQH, (head + 1) % (1 << FAULTS))?;
        Ok(Some(words))
    }

    /// Puts a command into the queue, and says so; returns where it is.
    fn put(&self, words: [u64; 2]) -> Result<usize> {
        let index = self.written.get();
        let at = 16 * index as usize;
        self.commands.write_le64(at, words[0])?;
        self.commands.write_le64(at + 8, words[1])?;
        self.written.set((index + 1) % (1 << COMMANDS));
        self.registers.write32(CQT, self.written.get())?;
        Ok(at)
    }

    fn expect_done(&self) -> Result<()> {
        let (written, read) = (self.written.get(), self.registers.read32(CQH)?);
        let status = self.registers.read32(CQCSR)?;
        match read == written && status & (MEMORY_FAULT | OVERFLOW | ILLEGAL) == 0 {
            true => Ok(()),
            false => Err(Error::failed(format!(
                "commands were written up to {written:#x} and read up to {read:#x}: cqcsr is \
                 {status:#x}"
            ))),
        }
    }

    fn carry_out(&self, commands: &[[u64; 2]]) -> Result<()> {
        for &command in commands {
            self.put(command)?;
        }
        self.status.write_le32(0, 0)?;
        let fence = IOFENCE | 1 << 10 | 1 << 12 | 1 << 13 | DONE << 32;
        self.put([fence, self.status.address().0 >> 2])?;
        self.expect_done()?;
        match self.status.read_le32(0)? {
            done if u64::from(done) == DONE => Ok(()),
            other => Err(Error::failed(format!("a fence wrote {other:#x}, not {DONE:#x}"))),
        }
    }

    /// Writes the context of a device (3.1.3), and has the old one forgotten.
    ///
    /// # Errors
    /// Returns an error if there is no room for it, or the IOMMU does not do as it must.
    pub fn set_context(&self, requester: u16, words: &[u64]) -> Result<()> {
        let at = self.context * usize::from(requester);
        if at + self.context > self.directory.len() {
            return Err(Error::failed(format!(
                "{requester:#x} is beyond a directory of one level"
            )));
        }
        for (number, word) in words.iter().enumerate().rev() {
            self.directory.write_le64(at + 8 * number, *word)?;
        }
        self.carry_out(&[[IODIR_DDT | 1 << 33 | u64::from(requester) << 40, 0]])
    }

    fn domain(&self, number: u16) -> Result<Rc<Tables>> {
        let mut domains = self.domains.borrow_mut();
        if let Some(tables) = domains.get(&number) {
            return Ok(tables.clone());
        }
        let tables = Rc::new(Tables::new(&self.vm, 4, FORMAT)?);
        domains.insert(number, tables.clone());
        Ok(tables)
    }
}

impl Translation for Live {
    fn attach(&self, requester: u16, domain: u16) -> Result<()> {
        let root = self.domain(domain)?.root();
        // Valid; no second stage; the address space; Sv48.
        self.set_context(requester, &[1, 0, u64::from(domain) << 12, 9 << 60 | root >> 12])
    }

    fn detach(&self, requester: u16) -> Result<()> {
        self.set_context(requester, &[0; 4])
    }

    fn pass(&self, requester: u16) -> Result<()> {
        self.set_context(requester, &[1, 0, 0, 0])
    }

    fn map(&self, domain: u16, at: u64, to: u64, order: u32, access: Access) -> Result<()> {
        // What was not valid may be in a cache too (2.8).
        self.domain(domain)?.map(at, to, order, access)?;
        self.invalidate(Scope::Pages(domain, at, 0))
    }

    fn unmap(&self, domain: u16, at: u64, order: u32) -> Result<()> {
        self.domain(domain)?.unmap(at, order)
    }

    fn remap(&self, domain: u16, at: u64, to: u64, access: Access) -> Result<()> {
        self.domain(domain)?.map(at, to, 12, access)
    }

    fn invalidate(&self, scope: Scope) -> Result<()> {
        let of = |domain: u16| IOTINVAL_VMA | 1 << 32 | u64::from(domain) << 12;
        match scope {
            Scope::All => self.carry_out(&[[IODIR_DDT, 0], [IOTINVAL_VMA, 0]]),
            Scope::Domain(domain) => self.carry_out(&[[of(domain), 0]]),
            Scope::Pages(domain, at, order @ 0..=6) => {
                let pages = (0..1_u64 << order).map(|page| at + (page << 12));
                let commands = pages.map(|at| [of(domain) | 1 << 10, page_number(at)]);
                self.carry_out(&commands.collect::<Vec<_>>())
            }
            // There is no command for more pages than one.
            Scope::Pages(domain, ..) => self.invalidate(Scope::Domain(domain)),
        }
    }

    fn fault(&self) -> Result<Option<Fault>> {
        let Some(words) = self.record()? else { return Ok(None) };
        let reasons = match words[0] & 0xfff {
            258 => vec![Reason::NoDomain],
            13 | 15 => vec![Reason::Unmapped, Reason::Permission, Reason::TooHigh],
            5 | 7 | 257 | 259 | 268 | 270 => vec![Reason::Table],
            _ => vec![],
        };
        let write = match words[0] >> 34 & 0x3f {
            2 => Some(false),
            3 => Some(true),
            _ => None,
        };
        Ok(Some(Fault {
            requester: (words[0] >> 40) as u16,
            page: Some(words[2] & !0xfff),
            write,
            reasons,
            raw: format!("a fault {words:#x?}").replace('\n', " "),
        }))
    }

    fn stop(&self) -> Result<()> {
        self.set_directory(BARE)?;
        self.invalidate(Scope::All)?;
        self.switch(CQCSR, false)?;
        self.switch(FQCSR, false)
    }

    fn tables(&self, domain: u16) -> Option<Rc<Tables>> {
        self.domains.borrow().get(&domain).cloned()
    }

    fn lead_astray(&self, _: u16, address: u64) -> Result<()> {
        self.registers.write64(DDTP, page_number(address & 0xff_ffff_ffff_ffff) | ONE_LEVEL)?;
        self.invalidate(Scope::All)
    }

    fn command(&self, words: [u64; 2]) -> Result<()> {
        let at = self.put(words)?;
        if self.registers.read32(CQCSR)? & (MEMORY_FAULT | OVERFLOW | ILLEGAL) != 0 {
            // The head stays at the command; with a good one in its place it goes on (4).
            self.commands.write_le64(at, IOTINVAL_VMA)?;
            self.commands.write_le64(at + 8, 0)?;
            self.registers.write32(CQCSR, ENABLE | MEMORY_FAULT | OVERFLOW | ILLEGAL)?;
        }
        self.expect_done()
    }
}
