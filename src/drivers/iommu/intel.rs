//! The IOMMU of Intel's chipsets (Intel, "Virtualization Technology for Directed I/O", revision
//! 3.3, abbreviated VT-d), in legacy mode: a root table, tables of contexts, page tables of the
//! second level, queued invalidation.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::rc::Rc;

use crate::graph::{Addition, Consumes, Produces, QemuArgs, Site, Variant};
use crate::protocol::Endian;
use crate::qemu::{Buffer, Vm};
use crate::qos::iommu::{
    Access, Fault, Format, Iommu, Limits, NO_ENGINES, Reason, Scope, TWO_ENGINES, Tables,
    Translation,
};
use crate::qos::pci::{PciBus, RootComplex};
use crate::qos::registers::{
    self, AnyRegister, Mmio, Register, RegisterBlock, Registers, RegistersExt, Rule,
};
use crate::{Error, Result, driver};

/// Where QEMU's Q35 has its registers.
const BASE: u64 = 0xfed9_0000;
/// The size of the block in bytes: up to the one fault recording register.
const SIZE: u64 = 0x230;

/// Version 1.0.
const VERSION: Register<u32> =
    Register::new("Version", 0x00).section("11.4.1").reset(0x10).read_only();
/// What it is able to, and which registers are where.
const CAPABILITY: Register<u64> = Register::new("Capability", 0x08).section("11.4.2").read_only();
/// More of that.
const EXTENDED: Register<u64> =
    Register::new("Extended Capability", 0x10).section("11.4.3").read_only();
/// Commands to the whole.
const COMMAND: Register<u32> =
    Register::new("Global Command", 0x18).section("11.4.4.1").write_only().side_effect();
/// What they have led to.
const STATUS: Register<u32> =
    Register::new("Global Status", 0x1c).section("11.4.4.2").reset(0).read_only();
/// Where the root table is.
const ROOT: Register<u64> = Register::new("Root Table Address", 0x20)
    .section("11.4.5")
    .reset(0)
    .kept(0x7f_ffff_f000)
    // How wide addresses are depends on the width of the host's, and modes on capabilities.
    .reserved(!0x7f_ffff_ffff | 0xfff);
/// Invalidates contexts.
const CONTEXT_COMMAND: Register<u64> =
    Register::new("Context Command", 0x28).section("11.4.6.1").side_effect();
/// Which faults are pending.
const FAULT_STATUS: Register<u32> =
    Register::new("Fault Status", 0x34).section("11.4.7.1").reset(0).w1c(0x11).volatile(0xff6e);
/// Whether faults interrupt: not after a reset.
const FAULT_CONTROL: Register<u32> =
    Register::new("Fault Event Control", 0x38).section("11.4.7.2").reset(1 << 31).kept(1 << 31);
/// The message by which they do.
const FAULT_DATA: Register<u32> =
    Register::new("Fault Event Data", 0x3c).section("11.4.7.3").reset(0).kept(0xffff);
/// Where to.
const FAULT_ADDRESS: Register<u32> =
    Register::new("Fault Event Address", 0x40).section("11.4.7.4").reset(0).kept(0xffff_fffc);
/// The upper half of that.
const FAULT_UPPER: Register<u32> = Register::new("Fault Event Upper Address", 0x44)
    .section("11.4.7.5")
    .reset(0)
    .reserved(0xffff_ffff);
/// No memory is protected.
const PROTECTED: Register<u32> =
    Register::new("Protected Memory Enable", 0x64).section("11.4.8.1").reset(0).read_only();
/// How far the queue was read.
const QUEUE_HEAD: Register<u64> =
    Register::new("Invalidation Queue Head", 0x80).section("11.4.9.1").reset(0).read_only();
/// How far it was written.
const QUEUE_TAIL: Register<u64> =
    Register::new("Invalidation Queue Tail", 0x88).section("11.4.9.2").reset(0).acts(0x7_fff0);
/// Where it is.
const QUEUE: Register<u64> = Register::new("Invalidation Queue Address", 0x90)
    .section("11.4.9.3")
    .reset(0)
    .kept(0x7f_ffff_f007)
    .reserved(!0x7f_ffff_ffff | 0xff8);
/// Whether a wait that wanted an interrupt is done.
const COMPLETION: Register<u32> =
    Register::new("Invalidation Completion Status", 0x9c).section("11.4.9.4").reset(0).w1c(1);
/// Whether it interrupts.
const COMPLETION_CONTROL: Register<u32> = Register::new("Invalidation Event Control", 0xa0)
    .section("11.4.9.5")
    .reset(1 << 31)
    .kept(1 << 31);
/// The message by which it does.
const COMPLETION_DATA: Register<u32> = Register::new("Invalidation Event Data", 0xa4)
    .section("11.4.9.6")
    .reset(0)
    .kept(0xffff)
    .reserved(0xffff << 16);
/// Where to.
const COMPLETION_ADDRESS: Register<u32> = Register::new("Invalidation Event Address", 0xa8)
    .section("11.4.9.7")
    .reset(0)
    .kept(0xffff_fffc);
/// The table of interrupts.
const INTERRUPTS: Register<u64> = Register::new("Interrupt Remapping Table Address", 0xb8)
    .section("11.4.11")
    .reset(0)
    .kept(0x7f_ffff_f00f)
    .reserved(!0x7f_ffff_ffff | 0xff0);
/// An address to invalidate.
const INVALIDATE: Register<u64> =
    Register::new("Invalidate Address", 0xf0).section("11.4.6.3").write_only().side_effect();
/// Invalidates translations.
const IOTLB: Register<u64> =
    Register::new("IOTLB Invalidate", 0xf8).section("11.4.6.2").side_effect();
/// The lower half of the fault recording register: the page.
const RECORD_LOW: Register<u64> =
    Register::new("Fault Recording, lower half", 0x220).section("11.4.7.7").reset(0).read_only();
/// Its upper half: who, why, and whether it is valid.
const RECORD_HIGH: Register<u64> =
    Register::new("Fault Recording, upper half", 0x228).section("11.4.7.7").reset(0).w1c(1 << 63);

/// All of them.
const TABLE: &[&dyn AnyRegister] = &[
    &VERSION,
    &CAPABILITY,
    &EXTENDED,
    &COMMAND,
    &STATUS,
    &ROOT,
    &CONTEXT_COMMAND,
    &FAULT_STATUS,
    &FAULT_CONTROL,
    &FAULT_DATA,
    &FAULT_ADDRESS,
    &FAULT_UPPER,
    &PROTECTED,
    &QUEUE_HEAD,
    &QUEUE_TAIL,
    &QUEUE,
    &COMPLETION,
    &COMPLETION_CONTROL,
    &COMPLETION_DATA,
    &COMPLETION_ADDRESS,
    &INTERRUPTS,
    &INVALIDATE,
    &IOTLB,
    &RECORD_LOW,
    &RECORD_HIGH,
];

/// What QEMU does otherwise.
const FAULTS: &[registers::Fault] = &[registers::Fault::new(
    &["Invalidation Queue Address"],
    &[Rule::Kept],
    "intel-iommu: the address of a queue that is off does not read as it was written",
)
.bits(0x7f_ffff_f000)];

/// Global Command and Status: it translates.
const TRANSLATE: u32 = 1 << 31;
/// The root table is set.
const SET_ROOT: u32 = 1 << 30;
/// The queue is on.
const QUEUED: u32 = 1 << 26;
/// Capability: caches hold what is not present as well.
const CACHING_MODE: u64 = 1 << 7;
/// Extended Capability: contexts can let everything through.
const PASS_THROUGH: u64 = 1 << 6;
/// Fault Status: the queue has an error.
const QUEUE_ERROR: u32 = 1 << 4;
/// Fault Status: a record is valid.
const PENDING: u32 = 1 << 1;
/// Fault Status: a record was lost.
const OVERFLOW: u32 = 1 << 0;

/// How many commands the queue has room for: a page of them.
const COMMANDS: u64 = 256;
/// Types of commands (6.5.2): contexts, translations, and a wait.
const FORGET_CONTEXTS: u64 = 1;
const FORGET_PAGES: u64 = 2;
const WAIT: u64 = 5;
/// A wait writes its data to memory.
const WRITE_STATUS: u64 = 1 << 5;
/// What it writes.
const DONE: u64 = 0x600d_d0e5;

/// How entries of the second level look (9.8): bits 0 and 1 for reads and writes, bit 7 for a page
/// of a level above the lowest.
const FORMAT: Format = Format {
    table: |_, table| table | 3,
    page: |level, page, access| {
        let large = if level > 0 { 1 << 7 } else { 0 };
        page | large | u64::from(access.read) | u64::from(access.write) << 1
    },
};

/// QEMU's `intel-iommu`.
pub struct IntelIommu {
    vm: Rc<Vm>,
    bus: Rc<dyn PciBus>,
    registers: Rc<Mmio>,
}

impl Consumes<RootComplex> for IntelIommu {
    const ARGS: QemuArgs = QemuArgs::DEVICE;
    const VARIANTS: &'static [Variant] = &[
        Variant { name: "48-bits", add: Addition::properties(&["aw-bits=48"]) },
        Variant { name: "caching-mode", add: Addition::properties(&["caching-mode=on"]) },
    ];

    fn attach(to: Rc<RootComplex>, _: &Site) -> Result<Self> {
        let registers = Rc::new(Mmio::new(&to.vm, BASE, Endian::Little));
        Ok(Self { vm: to.vm.clone(), bus: to.bus.clone(), registers })
    }
}

impl Produces<dyn Iommu> for IntelIommu {
    const ARGS: QemuArgs = QemuArgs::NONE.after(TWO_ENGINES).may_refuse(&[NO_ENGINES]);

    fn produced(self: Rc<Self>) -> Rc<dyn Iommu> {
        self
    }
}

impl Produces<RegisterBlock> for IntelIommu {
    fn produced(self: Rc<Self>) -> Rc<RegisterBlock> {
        Rc::new(RegisterBlock::new("VT-d", self.registers.clone(), TABLE).faults(FAULTS))
    }
}

driver!(IntelIommu = "intel-iommu"; consumes RootComplex; produces dyn Iommu, RegisterBlock);

impl IntelIommu {
    /// How many bits it translates, and the levels of tables for that.
    fn width(&self) -> Result<(u32, u8)> {
        let capability = self.registers.get(CAPABILITY)?;
        let bits = (capability >> 16) as u32 % 64 + 1;
        match (bits, capability >> 8 & 0x1f) {
            (39, 2) => Ok((39, 3)),
            (48, widths) if widths & 4 != 0 => Ok((48, 4)),
            _ => Err(Error::failed(format!("Capability is {capability:#x}: {bits} bits"))),
        }
    }
}

impl Iommu for IntelIommu {
    fn vm(&self) -> &Rc<Vm> {
        &self.vm
    }

    fn bus(&self) -> &Rc<dyn PciBus> {
        &self.bus
    }

    fn limits(&self) -> Result<Limits> {
        let (bits, _) = self.width()?;
        let larger: &[u32] = match self.registers.get(CAPABILITY)? >> 34 & 3 {
            0 => &[],
            1 => &[21],
            _ => &[21, 30],
        };
        Ok(Limits {
            last: (1 << bits) - 1,
            larger,
            write_only: true,
            has_bound: true,
            blocks_when_off: false,
        })
    }

    fn start(&self) -> Result<Box<dyn Translation>> {
        let (_, levels) = self.width()?;
        let table = || self.vm.ram().alloc(4096, 4096);
        let live = Live {
            vm: self.vm.clone(),
            registers: self.registers.clone(),
            levels,
            root: table()?,
            contexts: RefCell::default(),
            queue: table()?,
            tail: Cell::new(0),
            status: self.vm.ram().alloc(4, 4)?,
            domains: RefCell::default(),
        };
        self.registers.set(ROOT, live.root.address().0)?;
        live.order(SET_ROOT, true)?;
        self.registers.set(QUEUE_TAIL, 0)?;
        self.registers.set(QUEUE, live.queue.address().0)?;
        live.order(QUEUED, true)?;
        live.invalidate(Scope::All)?;
        live.order(TRANSLATE, true)?;
        Ok(Box::new(live))
    }

    fn registers(&self) -> Option<(Rc<dyn Registers>, u64)> {
        Some((self.registers.clone(), SIZE))
    }

    fn place(&self) -> Option<u64> {
        Some(BASE)
    }
}

/// The IOMMU as it translates.
struct Live {
    vm: Rc<Vm>,
    registers: Rc<Mmio>,
    levels: u8,
    root: Buffer,
    /// Tables of contexts, by bus.
    contexts: RefCell<BTreeMap<u8, Buffer>>,
    queue: Buffer,
    /// Where the next command goes.
    tail: Cell<u64>,
    /// What waits write.
    status: Buffer,
    domains: RefCell<BTreeMap<u16, Rc<Tables>>>,
}

impl Live {
    /// Switches one thing on or off, and expects the status to say so (11.4.4.1).
    fn order(&self, bit: u32, on: bool) -> Result<()> {
        let lasting = self.registers.get(STATUS)? & (TRANSLATE | QUEUED);
        let wanted = if on { lasting | bit } else { lasting & !bit };
        self.registers.set(COMMAND, wanted)?;
        let status = self.registers.get(STATUS)?;
        match (status & bit != 0) == on {
            true => Ok(()),
            false => Err(Error::failed(format!(
                "{wanted:#x} was written to Global Command, Global Status is {status:#x}"
            ))),
        }
    }

    /// Puts a command into the queue.
    fn put(&self, words: [u64; 2]) -> Result<()> {
        let at = self.tail.get();
        for (half, word) in words.into_iter().enumerate() {
            self.queue.write_le64(16 * at as usize + 8 * half, word)?;
        }
        self.tail.set((at + 1) % COMMANDS);
        Ok(())
    }

    /// Has all commands carried out.
    fn run(&self) -> Result<()> {
        let tail = self.tail.get() << 4;
        self.registers.set(QUEUE_TAIL, tail)?;
        let (head, status) = (self.registers.get(QUEUE_HEAD)?, self.registers.get(FAULT_STATUS)?);
        match head == tail && status & QUEUE_ERROR == 0 {
            true => Ok(()),
            false => Err(Error::failed(format!(
                "the queue was written up to {tail:#x} and read up to {head:#x}: Fault Status is \
                 {status:#x}"
            ))),
        }
    }

    /// Has these commands carried out, and waits for them as it should be done (6.5.2.8).
    fn carry_out(&self, commands: &[[u64; 2]]) -> Result<()> {
        for &command in commands {
            self.put(command)?;
        }
        self.status.write_le32(0, 0)?;
        self.put([WAIT | WRITE_STATUS | DONE << 32, self.status.address().0])?;
        self.run()?;
        match self.status.read_le32(0)? {
            done if u64::from(done) == DONE => Ok(()),
            other => Err(Error::failed(format!("a wait wrote {other:#x}, not {DONE:#x}"))),
        }
    }

    /// Writes the context of a device, and has the old one forgotten (6.5.2.1, 6.2.2.1).
    fn set_context(&self, requester: u16, low: u64, high: u64) -> Result<()> {
        let [devfn, bus] = requester.to_le_bytes();
        let mut contexts = self.contexts.borrow_mut();
        let table = match contexts.entry(bus) {
            Entry::Occupied(table) => table.into_mut(),
            Entry::Vacant(none) => {
                let table = self.vm.ram().alloc(4096, 4096)?;
                self.root.write_le64(16 * usize::from(bus), table.address().0 | 1)?;
                none.insert(table)
            }
        };
        let at = 16 * usize::from(devfn);
        let domain_before = table.read_le64(at + 8)? >> 8 & 0xffff;
        table.write_le64(at, 0)?;
        table.write_le64(at + 8, high)?;
        table.write_le64(at, low)?;
        let of = u64::from(requester) << 32 | domain_before << 16;
        self.carry_out(&[
            [FORGET_CONTEXTS | 3 << 4 | of, 0],
            [FORGET_PAGES | 2 << 4 | domain_before << 16, 0],
        ])
    }

    /// The tables of a domain.
    fn domain(&self, number: u16) -> Result<Rc<Tables>> {
        let mut domains = self.domains.borrow_mut();
        if let Some(tables) = domains.get(&number) {
            return Ok(tables.clone());
        }
        let tables = Rc::new(Tables::new(&self.vm, self.levels, FORMAT)?);
        domains.insert(number, tables.clone());
        Ok(tables)
    }

    /// The upper half of a context: the width of addresses, and the domain.
    fn width_and(&self, domain: u16) -> u64 {
        u64::from(self.levels - 2) | u64::from(domain) << 8
    }
}

/// A domain number for devices that pass.
const PASSING: u16 = 0xfffe;

impl Translation for Live {
    fn attach(&self, requester: u16, domain: u16) -> Result<()> {
        let root = self.domain(domain)?.root();
        self.set_context(requester, root | 1, self.width_and(domain))
    }

    fn detach(&self, requester: u16) -> Result<()> {
        self.set_context(requester, 0, 0)
    }

    fn pass(&self, requester: u16) -> Result<()> {
        if self.registers.get(EXTENDED)? & PASS_THROUGH == 0 {
            return Err(Error::skipped("this IOMMU lets no device pass"));
        }
        self.set_context(requester, 2 << 2 | 1, self.width_and(PASSING))
    }

    fn map(&self, domain: u16, at: u64, to: u64, order: u32, access: Access) -> Result<()> {
        self.domain(domain)?.map(at, to, order, access)?;
        // With caching mode on, what was not present must be forgotten too (6.1).
        match self.registers.get(CAPABILITY)? & CACHING_MODE {
            0 => Ok(()),
            _ => self.invalidate(Scope::Pages(domain, at, (order - 12) as u8)),
        }
    }

    fn unmap(&self, domain: u16, at: u64, order: u32) -> Result<()> {
        self.domain(domain)?.unmap(at, order)
    }

    fn remap(&self, domain: u16, at: u64, to: u64, access: Access) -> Result<()> {
        self.domain(domain)?.map(at, to, 12, access)
    }

    fn invalidate(&self, scope: Scope) -> Result<()> {
        let of = |domain: u16| u64::from(domain) << 16;
        match scope {
            Scope::All => {
                self.carry_out(&[[FORGET_CONTEXTS | 1 << 4, 0], [FORGET_PAGES | 1 << 4, 0]])
            }
            Scope::Domain(domain) => self.carry_out(&[[FORGET_PAGES | 2 << 4 | of(domain), 0]]),
            Scope::Pages(domain, at, order) => {
                let pages = at | u64::from(order);
                self.carry_out(&[[FORGET_PAGES | 3 << 4 | of(domain), pages]])
            }
        }
    }

    fn fault(&self) -> Result<Option<Fault>> {
        let (low, high) = (self.registers.get(RECORD_LOW)?, self.registers.get(RECORD_HIGH)?);
        let status = self.registers.get(FAULT_STATUS)?;
        let is_valid = high >> 63 != 0;
        if is_valid != (status & PENDING != 0) {
            return Err(Error::failed(format!(
                "Fault Recording is {high:#x}, and Fault Status {status:#x}"
            )));
        }
        if status & OVERFLOW != 0 {
            self.registers.set(FAULT_STATUS, OVERFLOW)?;
        }
        if !is_valid {
            return Ok(None);
        }
        self.registers.set(RECORD_HIGH, 1 << 63)?;
        let (after, status) = (self.registers.get(RECORD_HIGH)?, self.registers.get(FAULT_STATUS)?);
        if after >> 63 != 0 || status & (PENDING | OVERFLOW) != 0 {
            return Err(Error::failed(format!(
                "a record was taken: Fault Recording is {after:#x}, Fault Status {status:#x}"
            )));
        }
        // Appendix A.1: LRT.1 to LSL.2 and others.
        let reasons = match high >> 32 & 0xff {
            1 | 2 => vec![Reason::NoDomain],
            4 => vec![Reason::TooHigh],
            5 | 6 => vec![Reason::Unmapped, Reason::Permission],
            3 | 7..=0xd => vec![Reason::Table],
            _ => vec![],
        };
        // T2, bit 28 of the upper half's upper word, and the type: a set one is a read (11.4.7.7).
        Ok(Some(Fault {
            requester: high as u16,
            page: Some(low & !0xfff),
            write: Some(high >> 62 & 1 == 0),
            reasons,
            raw: format!("Fault Recording {high:#x} {low:#x}"),
        }))
    }

    fn stop(&self) -> Result<()> {
        self.order(TRANSLATE, false)?;
        self.invalidate(Scope::All)?;
        self.order(QUEUED, false)
    }

    fn tables(&self, domain: u16) -> Option<Rc<Tables>> {
        self.domains.borrow().get(&domain).cloned()
    }

    fn lead_astray(&self, requester: u16, address: u64) -> Result<()> {
        let [_, bus] = requester.to_le_bytes();
        self.root.write_le64(16 * usize::from(bus), address & !0xfff | 1)?;
        self.invalidate(Scope::All)
    }

    fn command(&self, words: [u64; 2]) -> Result<()> {
        let at = self.tail.get();
        self.put(words)?;
        self.registers.set(QUEUE_TAIL, self.tail.get() << 4)?;
        let status = self.registers.get(FAULT_STATUS)?;
        if status & QUEUE_ERROR != 0 {
            // The head stays at the command; once it is a good one the queue goes on (6.5.2.11).
            self.queue.write_le64(16 * at as usize, FORGET_PAGES | 1 << 4)?;
            self.queue.write_le64(16 * at as usize + 8, 0)?;
            self.registers.set(FAULT_STATUS, QUEUE_ERROR)?;
        }
        self.run()
    }
}
