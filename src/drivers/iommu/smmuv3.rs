//! Arm's System MMU (Arm IHI 0070, "System Memory Management Unit Architecture Specification,
//! version 3"): a stream table, linear or of two levels, context descriptors and tables of stage 1
//! or tables of stage 2, queues of commands and events. Granules are of 4 KiB.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::rc::Rc;

use crate::graph::{Node, Produces, QemuArgs};
use crate::protocol::Endian;
use crate::qemu::{Buffer, Vm};
use crate::qos::iommu::{
    Access, Fault, Format, Iommu, Limits, NO_ENGINES, Reason, Scope, Tables, Translation,
};
use crate::qos::pci::PciBus;
use crate::qos::registers::{Mmio, Registers, RegistersExt};
use crate::{Error, Result, driver};

/// The size of its registers in bytes: two pages of 64 KiB.
const SIZE: u64 = 0x2_0000;

/// Registers of 32 bits (6.3): what it is able to.
const IDR0: u64 = 0x00;
const IDR1: u64 = 0x04;
const IDR3: u64 = 0x0c;
/// What is on, and what of it has been acknowledged.
const CR0: u64 = 0x20;
const CR0ACK: u64 = 0x24;
/// Errors that concern all, and those that the driver has seen.
const GERROR: u64 = 0x60;
const GERRORN: u64 = 0x64;
/// Where the stream table is, of 64 bits, and what it is like.
const STRTAB_BASE: u64 = 0x80;
const STRTAB_BASE_CFG: u64 = 0x88;
/// The queue of commands: where it is, of 64 bits, and how far it was written and read.
const CMDQ_BASE: u64 = 0x90;
const CMDQ_PROD: u64 = 0x98;
const CMDQ_CONS: u64 = 0x9c;
/// The queue of events, likewise. The latter two are in the second page.
const EVENTQ_BASE: u64 = 0xa0;
const EVENTQ_PROD: u64 = 0x1_00a8;
const EVENTQ_CONS: u64 = 0x1_00ac;

/// CR0: it translates; events are recorded; commands are taken.
const SMMUEN: u32 = 1 << 0;
const EVENTQEN: u32 = 1 << 2;
const CMDQEN: u32 = 1 << 3;
/// GERROR: a command is wrong.
const CMDQ_ERR: u32 = 1 << 0;
/// IDR0: there is stage 2, stage 1; the stream table can have two levels.
const S2P: u32 = 1 << 0;
const S1P: u32 = 1 << 1;
const STLEVEL: u32 = 1 << 27;
/// IDR3: ranges can be invalidated.
const RIL: u32 = 1 << 10;

/// Sizes of the queues, as powers of two of entries: a page each.
const COMMANDS: u32 = 8;
const EVENTS: u32 = 7;
/// Bits of a stream ID: a bus and a function.
const STREAM_BITS: u32 = 16;
/// How many of them the second level of a stream table decodes.
const SPLIT: u32 = 8;

/// Commands (4.1): forget a stream table entry, a range of them; all translations of stage 1 for
/// an address space, for an address in one; of stage 2 for a machine, an address of one; all; wait.
const CFGI_STE: u64 = 0x03;
const CFGI_STE_RANGE: u64 = 0x04;
const TLBI_NH_ASID: u64 = 0x11;
const TLBI_NH_VA: u64 = 0x12;
const TLBI_S12_VMALL: u64 = 0x28;
const TLBI_S2_IPA: u64 = 0x2a;
const TLBI_NSNH_ALL: u64 = 0x30;
const SYNC: u64 = 0x46;

/// How entries of stage 1 look (D8.3 of Arm DDI 0487): bit 0 valid, bit 1 a table or the last
/// level, AP[2:1] in bits 7 and 6, accessed in bit 10.
const STAGE_1: Format = Format {
    table: |_, table| table | 3,
    page: |level, page, access| {
        let kind = if level == 0 { 3 } else { 1 };
        page | kind | 1 << 6 | u64::from(!access.write) << 7 | 3 << 8 | 1 << 10
    },
};
/// How those of stage 2 look: S2AP in bits 7 and 6.
const STAGE_2: Format = Format {
    table: |_, table| table | 3,
    page: |level, page, access| {
        let kind = if level == 0 { 3 } else { 1 };
        let may = u64::from(access.read) | u64::from(access.write) << 1;
        page | kind | 0xf << 2 | may << 6 | 3 << 8 | 1 << 10
    },
};

/// Which of its parts a driver uses.
pub trait Use: 'static {
    /// Whether translations are of stage 2.
    const IS_STAGE_2: bool;
    /// Whether the stream table has two levels.
    const HAS_LEVELS: bool;
    /// The options that bring it, and two engines.
    const ARGS: QemuArgs;
}

/// Tables of stage 1, a linear stream table.
pub struct Linear;

impl Use for Linear {
    const IS_STAGE_2: bool = false;
    const HAS_LEVELS: bool = false;
    const ARGS: QemuArgs = QemuArgs::NONE
        .after(
            "-machine iommu=smmuv3 -device edu,addr=05.0,dma_mask=0xffffffffffffffff \
             -device edu,addr=07.0,dma_mask=0xffffffffffffffff",
        )
        .may_refuse(&[NO_ENGINES]);
}

/// Tables of stage 1, a stream table of two levels.
pub struct TwoLevels;

impl Use for TwoLevels {
    const IS_STAGE_2: bool = false;
    const HAS_LEVELS: bool = true;
    const ARGS: QemuArgs = Linear::ARGS;
}

/// Tables of stage 2, which QEMU has since 8.1.
pub struct Stage2;

impl Use for Stage2 {
    const IS_STAGE_2: bool = true;
    const HAS_LEVELS: bool = true;
    const ARGS: QemuArgs = QemuArgs::NONE
        .after(
            "-machine iommu=smmuv3 -global arm-smmuv3.stage=2 \
             -device edu,addr=05.0,dma_mask=0xffffffffffffffff \
             -device edu,addr=07.0,dma_mask=0xffffffffffffffff",
        )
        .may_refuse(&[NO_ENGINES, "'arm-smmuv3.stage' not found", "arm-smmuv3.stage"]);
}

/// The System MMU of a machine.
pub struct Smmuv3<U> {
    vm: Rc<Vm>,
    bus: Rc<dyn PciBus>,
    base: u64,
    registers: Rc<Mmio>,
    uses: PhantomData<U>,
}

impl<U: Use> Smmuv3<U> {
    /// The one with its registers at `base`, for the functions of `bus`.
    pub fn new(vm: &Rc<Vm>, bus: Rc<dyn PciBus>, base: u64) -> Self {
        let registers = Rc::new(Mmio::new(vm, base, Endian::Little));
        Self { vm: vm.clone(), bus, base, registers, uses: PhantomData }
    }

    /// Bits of addresses, and the levels of tables for that.
    const WIDTH: (u32, u8) = if U::IS_STAGE_2 { (39, 3) } else { (48, 4) };
}

impl<U: Use> Produces<dyn Iommu> for Smmuv3<U>
where
    Self: Node,
{
    const ARGS: QemuArgs = U::ARGS;

    fn produced(self: Rc<Self>) -> Rc<dyn Iommu> {
        self
    }
}

driver!(Smmuv3<Linear> = "smmuv3"; produces dyn Iommu);
driver!(Smmuv3<TwoLevels> = "smmuv3-two-levels"; produces dyn Iommu);
driver!(Smmuv3<Stage2> = "smmuv3-stage-2"; produces dyn Iommu);

impl<U: Use> Iommu for Smmuv3<U> {
    fn vm(&self) -> &Rc<Vm> {
        &self.vm
    }

    fn bus(&self) -> &Rc<dyn PciBus> {
        &self.bus
    }

    fn limits(&self) -> Result<Limits> {
        let last = (1 << Self::WIDTH.0) - 1;
        let write_only = U::IS_STAGE_2;
        Ok(Limits { last, larger: &[21, 30], write_only, has_bound: true, blocks_when_off: false })
    }

    fn start(&self) -> Result<Box<dyn Translation>> {
        let (idr0, idr1) = (self.registers.read32(IDR0)?, self.registers.read32(IDR1)?);
        let wanted = if U::IS_STAGE_2 { S2P } else { S1P };
        if idr0 & wanted == 0 || U::HAS_LEVELS && idr0 & STLEVEL == 0 {
            return Err(Error::failed(format!("IDR0 is {idr0:#x}: what is wanted is not there")));
        }
        if idr1 & 0x3f < STREAM_BITS {
            return Err(Error::failed(format!("IDR1 is {idr1:#x}: stream IDs are too short")));
        }
        let table = |length: usize| self.vm.ram().alloc(length, length as u64);
        let live = Live::<U> {
            vm: self.vm.clone(),
            registers: self.registers.clone(),
            has_ranges: self.registers.read32(IDR3)? & RIL != 0,
            streams: table(if U::HAS_LEVELS { 8 << (STREAM_BITS - SPLIT) } else { 64 << SPLIT })?,
            second: table(64 << SPLIT)?,
            commands: table(16 << COMMANDS)?,
            written: Cell::new(0),
            events: table(32 << EVENTS)?,
            domains: RefCell::default(),
            uses: PhantomData,
        };
        live.set_up()?;
        Ok(Box::new(live))
    }

    fn registers(&self) -> Option<(Rc<dyn Registers>, u64)> {
        Some((self.registers.clone(), SIZE))
    }

    fn place(&self) -> Option<u64> {
        Some(self.base)
    }
}

/// A domain: its context descriptor, if it has one, and its tables.
struct Domain {
    context: Buffer,
    tables: Rc<Tables>,
}

/// The SMMU as it translates.
struct Live<U> {
    vm: Rc<Vm>,
    registers: Rc<Mmio>,
    has_ranges: bool,
    /// The stream table, or its first level.
    streams: Buffer,
    /// The entries of the first bus.
    second: Buffer,
    commands: Buffer,
    /// How many commands were put into the queue, as far as its index counts.
    written: Cell<u32>,
    events: Buffer,
    domains: RefCell<BTreeMap<u16, Rc<Domain>>>,
    uses: PhantomData<U>,
}

impl<U: Use> Live<U> {
    /// Switches on what is in `on`, and nothing else (6.3.9).
    fn switch(&self, on: u32) -> Result<()> {
        self.registers.write32(CR0, on)?;
        match self.registers.read32(CR0ACK)? {
            now if now == on => Ok(()),
            now => Err(Error::failed(format!("CR0 is {on:#x}, and CR0ACK {now:#x}"))),
        }
    }

    fn set_up(&self) -> Result<()> {
        let registers = &self.registers;
        self.switch(0)?;
        let streams = self.streams.address().0;
        registers.write64(STRTAB_BASE, streams)?;
        if U::HAS_LEVELS {
            let leads = self.second.address().0 | u64::from(SPLIT + 1);
            self.streams.write_le64(0, leads)?;
            registers.write32(STRTAB_BASE_CFG, 1 << 16 | SPLIT << 6 | STREAM_BITS)?;
        } else {
            registers.write32(STRTAB_BASE_CFG, SPLIT)?;
        }
        registers.write64(CMDQ_BASE, self.commands.address().0 | u64::from(COMMANDS))?;
        registers.write32(CMDQ_PROD, 0)?;
        registers.write32(CMDQ_CONS, 0)?;
        registers.write64(EVENTQ_BASE, self.events.address().0 | u64::from(EVENTS))?;
        registers.write32(EVENTQ_PROD, 0)?;
        registers.write32(EVENTQ_CONS, 0)?;
        registers.write32(GERRORN, registers.read32(GERROR)?)?;
        self.switch(CMDQEN)?;
        self.invalidate(Scope::All)?;
        self.switch(CMDQEN | EVENTQEN)?;
        self.switch(CMDQEN | EVENTQEN | SMMUEN)
    }

    /// Puts a command into the queue, and says so; returns where it is.
    fn put(&self, words: [u64; 2]) -> Result<usize> {
        let index = self.written.get();
        let at = 16 * (index as usize % (1 << COMMANDS));
        self.commands.write_le64(at, words[0])?;
        self.commands.write_le64(at + 8, words[1])?;
        self.written.set((index + 1) % (2 << COMMANDS));
        self.registers.write32(CMDQ_PROD, self.written.get())?;
        Ok(at)
    }

    /// Expects all commands to be carried out, without an error.
    fn expect_done(&self) -> Result<()> {
        let (written, read) = (self.written.get(), self.registers.read32(CMDQ_CONS)?);
        let errors = self.registers.read32(GERROR)? ^ self.registers.read32(GERRORN)?;
        let index = read & ((2 << COMMANDS) - 1);
        match index == written && errors & CMDQ_ERR == 0 {
            true => Ok(()),
            false => Err(Error::failed(format!(
                "commands were written up to {written:#x}, CMDQ_CONS is {read:#x}, and GERROR \
                 and GERRORN differ in {errors:#x}"
            ))),
        }
    }

    fn carry_out(&self, commands: &[[u64; 2]]) -> Result<()> {
        for &command in commands {
            self.put(command)?;
        }
        self.put([SYNC, 0])?;
        self.expect_done()
    }

    /// The entries of the first bus.
    fn entries(&self) -> &Buffer {
        if U::HAS_LEVELS { &self.second } else { &self.streams }
    }

    /// Writes the stream table entry of a device, and has the old one forgotten.
    fn set_stream(&self, requester: u16, words: [u64; 4]) -> Result<()> {
        if requester >> SPLIT != 0 {
            return Err(Error::failed(format!("{requester:#x} is not on the first bus")));
        }
        let (entries, at) = (self.entries(), 64 * usize::from(requester));
        let forget = [CFGI_STE | u64::from(requester) << 32, 1];
        entries.write_le64(at, 0)?;
        self.carry_out(&[forget])?;
        for half in (0..4).rev() {
            entries.write_le64(at + 8 * half, words[half])?;
        }
        self.carry_out(&[forget])
    }

    fn domain(&self, number: u16) -> Result<Rc<Domain>> {
        let mut domains = self.domains.borrow_mut();
        if let Some(domain) = domains.get(&number) {
            return Ok(domain.clone());
        }
        let (_, levels) = Smmuv3::<U>::WIDTH;
        let format = if U::IS_STAGE_2 { STAGE_2 } else { STAGE_1 };
        let tables = Rc::new(Tables::new(&self.vm, levels, format)?);
        let context = self.vm.ram().alloc(64, 64)?;
        // A context descriptor (5.4): T0SZ for 48 bits, no second table, valid, addresses of 44
        // bits, AArch64, faults recorded and aborted, the address space.
        let first = 16 | 1 << 30 | 1 << 31 | 4 << 32 | 1 << 41 | 1 << 45 | 1 << 46;
        context.write_le64(0, first | u64::from(number) << 48)?;
        context.write_le64(8, tables.root())?;
        context.write_le64(24, 0xff)?;
        let domain = Rc::new(Domain { context, tables });
        domains.insert(number, domain.clone());
        Ok(domain)
    }
}

impl<U: Use> Translation for Live<U> {
    fn attach(&self, requester: u16, domain: u16) -> Result<()> {
        let it = self.domain(domain)?;
        // A stream table entry (5.2).
        let words = if U::IS_STAGE_2 {
            // S2T0SZ for 39 bits from level 1 on, addresses of 44 bits, AArch64, faults recorded.
            let size = 25 | 1 << 6 | 4 << 16 | 1 << 19 | 1 << 26;
            [1 | 6 << 1, 1 << 44, u64::from(domain) | size << 32, it.tables.root()]
        } else {
            [1 | 5 << 1 | it.context.address().0, 1 << 44, 0, 0]
        };
        self.set_stream(requester, words)
    }

    fn detach(&self, requester: u16) -> Result<()> {
        self.set_stream(requester, [0; 4])
    }

    fn pass(&self, requester: u16) -> Result<()> {
        self.set_stream(requester, [1 | 4 << 1, 1 << 44, 0, 0])
    }

    fn map(&self, domain: u16, at: u64, to: u64, order: u32, access: Access) -> Result<()> {
        self.domain(domain)?.tables.map(at, to, order, access)
    }

    fn unmap(&self, domain: u16, at: u64, order: u32) -> Result<()> {
        self.domain(domain)?.tables.unmap(at, order)
    }

    fn remap(&self, domain: u16, at: u64, to: u64, access: Access) -> Result<()> {
        // Another address needs the old one to be gone first (break before make).
        self.unmap(domain, at, 12)?;
        self.invalidate(Scope::Pages(domain, at, 0))?;
        self.map(domain, at, to, 12, access)
    }

    fn invalidate(&self, scope: Scope) -> Result<()> {
        let number = |domain: u16| u64::from(domain) << if U::IS_STAGE_2 { 32 } else { 48 };
        match scope {
            Scope::All => self.carry_out(&[[CFGI_STE_RANGE, 31], [TLBI_NSNH_ALL, 0]]),
            Scope::Domain(domain) => {
                let command = if U::IS_STAGE_2 { TLBI_S12_VMALL } else { TLBI_NH_ASID };
                self.carry_out(&[[command | number(domain), 0]])
            }
            Scope::Pages(domain, at, order) => {
                let kind = if U::IS_STAGE_2 { TLBI_S2_IPA } else { TLBI_NH_VA };
                let command = kind | number(domain);
                if order == 0 {
                    self.carry_out(&[[command, at]])
                } else if self.has_ranges {
                    // NUM + 1 times two to the power of SCALE (4.4.1.1).
                    let (pages, scale) = match order {
                        0..=4 => ((1 << order) - 1, 0),
                        _ => (0, u64::from(order)),
                    };
                    self.carry_out(&[[command | pages << 12 | scale << 20, at | 1 << 10]])
                } else {
                    let pages = (0..1_u64 << order.min(6)).map(|page| [command, at + (page << 12)]);
                    self.carry_out(&pages.collect::<Vec<_>>())
                }
            }
        }
    }

    fn fault(&self) -> Result<Option<Fault>> {
        let (written, read) =
            (self.registers.read32(EVENTQ_PROD)?, self.registers.read32(EVENTQ_CONS)?);
        let mask = (2 << EVENTS) - 1;
        if (written ^ read) & mask == 0 {
            return Ok(None);
        }
        let at = 32 * (read as usize % (1 << EVENTS));
        let words: Vec<u64> =
            (0..4).map(|half| self.events.read_le64(at + 8 * half)).collect::<Result<_>>()?;
        // What was lost before is acknowledged with that (7.4).
        let next = (read & mask).wrapping_add(1) & mask | written & 1 << 31;
        self.registers.write32(EVENTQ_CONS, next)?;
        let kind = words[0] & 0xff;
        let reasons = match kind {
            2 | 4 => vec![Reason::NoDomain],
            0x10 => vec![Reason::Unmapped, Reason::TooHigh],
            0x11 => vec![Reason::TooHigh, Reason::Table],
            0x13 => vec![Reason::Permission],
            3 | 9 | 0xa | 0xb => vec![Reason::Table],
            _ => vec![],
        };
        Ok(Some(Fault {
            requester: (words[0] >> 32) as u16,
            page: Some(words[2] & !0xfff),
            write: (kind >= 0x10).then_some(words[1] >> 35 & 1 == 0),
            reasons,
            raw: format!("an event {words:#x?}").replace('\n', " "),
        }))
    }

    fn stop(&self) -> Result<()> {
        self.switch(CMDQEN)?;
        self.invalidate(Scope::All)?;
        self.switch(0)
    }

    fn tables(&self, domain: u16) -> Option<Rc<Tables>> {
        self.domains.borrow().get(&domain).map(|it| it.tables.clone())
    }

    fn lead_astray(&self, requester: u16, address: u64) -> Result<()> {
        let at = 64 * usize::from(requester);
        if U::HAS_LEVELS {
            self.streams.write_le64(0, address & !0x3f | u64::from(SPLIT + 1))?;
        } else {
            self.entries().write_le64(at, address & 0xf_ffff_ffff_ffc0 | 1 | 5 << 1)?;
        }
        self.invalidate(Scope::All)
    }

    fn command(&self, words: [u64; 2]) -> Result<()> {
        let at = self.put(words)?;
        let errors = self.registers.read32(GERROR)? ^ self.registers.read32(GERRORN)?;
        if errors & CMDQ_ERR != 0 {
            // The queue stays at the command; with a good one in its place it goes on (7.1).
            self.commands.write_le64(at, SYNC)?;
            self.commands.write_le64(at + 8, 0)?;
            self.registers.write32(GERRORN, self.registers.read32(GERROR)?)?;
        }
        self.expect_done()
    }
}
