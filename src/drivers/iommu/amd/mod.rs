//! AMD's IOMMU ("AMD I/O Virtualization Technology (IOMMU) Specification", 48882, revision 3.00):
//! a device table of one bus, I/O page tables of four levels, the command buffer and the event log.

pub mod words;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use self::words::{
    ALL_PAGES, COMMAND_BASE, COMMAND_HEAD, COMMAND_TAIL, CONTROL, DEVICE_TABLE, DIRECTORIES, DONE,
    EVENT_BASE, EVENT_HEAD, EVENT_TAIL, FAULTS, FEATURES, FORGET_ALL, FORGET_DEVICE, FORGET_PAGES,
    FORGETS_ALL, LEVELS, PAGES, SEVERAL, STATUS, STORE, TABLE, WAIT, control, device, event,
    status,
};
use crate::graph::{Addition, Consumes, Produces, QemuArgs, Site, When};
use crate::protocol::Endian;
use crate::qemu::{Buffer, Version, Vm};
use crate::qos::iommu::{
    Access, Fault, Format, Iommu, Limits, NO_ENGINES, Reason, Scope, TWO_ENGINES, Tables,
    Translation,
};
use crate::qos::pci::{PciBus, RootComplex};
use crate::qos::registers::{Mmio, RegisterBlock, Registers, RegistersExt};
use crate::{Error, Result, driver, interface};

/// Where QEMU has its registers.
const BASE: u64 = 0xfed8_0000;
/// The size of the block in bytes.
const SIZE: u64 = 0x4000;

/// The size of an entry of the device table in bytes.
pub const ENTRY: usize = 32;
/// How many devices a table of one bus has.
const DEVICES: usize = 256;
/// How many entries rings have, as a power of two; 8 is the least.
pub const RING: u64 = 8;
/// The size of such a ring in bytes: entries have 16.
pub const RING_SIZE: u64 = 16 << RING;

/// How entries of page tables look (2.2.3): PR in bit 0, the level of the table to which they lead
/// from bit 9 on, which is 0 for a page, IR in bit 61, IW in bit 62.
pub const FORMAT: Format = Format {
    table: |level, table| table | 1 | u64::from(level) << 9 | device::IR | device::IW,
    page: |_, page, access| page | 1 | u64::from(access.read) << 61 | u64::from(access.write) << 62,
};

/// QEMU's `amd-iommu`.
pub struct AmdIommu {
    vm: Rc<Vm>,
    bus: Rc<dyn PciBus>,
    registers: Rc<Mmio>,
}

interface!(AmdLevels = "amd-iommu-levels");

/// The IOMMU with all entries of its tables, commands and events, for the suite of this one alone.
pub struct AmdLevels {
    iommu: Rc<AmdIommu>,
}

impl AmdLevels {
    /// The machine.
    pub fn vm(&self) -> &Rc<Vm> {
        &self.iommu.vm
    }

    /// The bus of the engines.
    pub fn bus(&self) -> &Rc<dyn PciBus> {
        &self.iommu.bus
    }

    /// The IOMMU as the suite of all takes it.
    pub fn iommu(&self) -> &dyn Iommu {
        &*self.iommu
    }

    /// Sets it up, so that it translates. All devices are blocked.
    ///
    /// # Errors
    /// It does not do as it must.
    pub fn start(&self) -> Result<Live> {
        self.iommu.live()
    }
}

impl Consumes<RootComplex> for AmdIommu {
    // QEMU 10.2 and later translate only where they are told to.
    const ARGS: QemuArgs = QemuArgs {
        when: &[When::since(Version::new(10, 2, 0), Addition::properties(&["dma-remap=on"]))],
        ..QemuArgs::DEVICE
    };

    fn attach(to: Rc<RootComplex>, _: &Site) -> Result<Self> {
        let registers = Rc::new(Mmio::new(&to.vm, BASE, Endian::Little));
        Ok(Self { vm: to.vm.clone(), bus: to.bus.clone(), registers })
    }
}

impl Produces<dyn Iommu> for AmdIommu {
    const ARGS: QemuArgs = QemuArgs::NONE.after(TWO_ENGINES).may_refuse(&[NO_ENGINES]);

    fn produced(self: Rc<Self>) -> Rc<dyn Iommu> {
        self
    }
}

impl Produces<AmdLevels> for AmdIommu {
    const ARGS: QemuArgs = QemuArgs::NONE.after(TWO_ENGINES).may_refuse(&[NO_ENGINES]);

    fn produced(self: Rc<Self>) -> Rc<AmdLevels> {
        Rc::new(AmdLevels { iommu: self })
    }
}

impl Produces<RegisterBlock> for AmdIommu {
    fn produced(self: Rc<Self>) -> Rc<RegisterBlock> {
        Rc::new(RegisterBlock::new("48882", self.registers.clone(), TABLE).faults(FAULTS))
    }
}

driver!(
    AmdIommu = "amd-iommu";
    consumes RootComplex;
    produces dyn Iommu, AmdLevels, RegisterBlock
);

impl AmdIommu {
    fn live(&self) -> Result<Live> {
        let ring = || self.vm.ram().alloc(RING_SIZE as usize, 4096);
        let live = Live {
            vm: self.vm.clone(),
            registers: self.registers.clone(),
            devices: self.vm.ram().alloc(ENTRY * DEVICES, 4096)?,
            commands: ring()?,
            tail: Cell::new(0),
            events: ring()?,
            empty: ring()?,
            status: self.vm.ram().alloc(8, 8)?,
            domains: RefCell::default(),
        };
        live.set_up()?;
        Ok(live)
    }
}

impl Iommu for AmdIommu {
    fn vm(&self) -> &Rc<Vm> {
        &self.vm
    }

    fn bus(&self) -> &Rc<dyn PciBus> {
        &self.bus
    }

    fn limits(&self) -> Result<Limits> {
        if self.registers.get(FEATURES)? & LEVELS == LEVELS {
            return Err(Error::failed("Extended Feature has a HATS of 3, which is none"));
        }
        Ok(Limits {
            last: (1 << 48) - 1,
            larger: &[21, 30],
            write_only: true,
            has_bound: false,
            blocks_when_off: false,
        })
    }

    fn start(&self) -> Result<Box<dyn Translation>> {
        Ok(Box::new(self.live()?))
    }

    fn registers(&self) -> Option<(Rc<dyn Registers>, u64)> {
        Some((self.registers.clone(), SIZE))
    }

    fn place(&self) -> Option<u64> {
        Some(BASE)
    }
}

/// The IOMMU as it translates.
pub struct Live {
    vm: Rc<Vm>,
    registers: Rc<Mmio>,
    devices: Buffer,
    commands: Buffer,
    /// Where the next command goes.
    tail: Cell<u64>,
    events: Buffer,
    /// A table in which nothing is.
    empty: Buffer,
    /// What waits store.
    status: Buffer,
    domains: RefCell<BTreeMap<u16, Rc<Tables>>>,
}

/// What is on while it translates.
pub const RUNNING: u64 = control::IOMMU | control::LOG | control::COMMANDS;

impl Live {
    /// The entry of a device that reaches nothing: tables in which nothing is.
    fn nothing(&self) -> [u64; 2] {
        let may = device::V | device::TV | device::IR | device::IW;
        [may | 1 << device::MODE | self.empty.address().0, 0]
    }

    /// With every device blocked.
    fn set_up(&self) -> Result<()> {
        let [word, _] = self.nothing();
        for number in 0..DEVICES {
            self.devices.write_le64(ENTRY * number, word)?;
        }
        self.registers.set(CONTROL, 0)?;
        let pages = (ENTRY * DEVICES / 4096) as u64;
        self.registers.set(DEVICE_TABLE, self.devices.address().0 | (pages - 1))?;
        self.registers.set(COMMAND_BASE, self.commands.address().0 | RING << 56)?;
        self.registers.set(EVENT_BASE, self.events.address().0 | RING << 56)?;
        for pointer in [COMMAND_HEAD, COMMAND_TAIL, EVENT_HEAD, EVENT_TAIL] {
            self.registers.set(pointer, 0)?;
        }
        self.registers.set(STATUS, status::OVERFLOW)?;
        self.registers.set(CONTROL, RUNNING)?;
        let status = self.registers.get(STATUS)?;
        let runs = status::LOG | status::COMMANDS;
        if status & (runs | status::OVERFLOW) != runs {
            return Err(Error::failed(format!(
                "IOMMU Control is {RUNNING:#x}, and IOMMU Status {status:#x}"
            )));
        }
        self.invalidate(Scope::All)
    }

    /// Its registers.
    pub fn registers(&self) -> &Rc<Mmio> {
        &self.registers
    }

    /// Its command buffer, in memory.
    pub fn commands(&self) -> &Buffer {
        &self.commands
    }

    /// Its event log, in memory.
    pub fn events(&self) -> &Buffer {
        &self.events
    }

    /// Its device table, in memory.
    pub fn devices(&self) -> &Buffer {
        &self.devices
    }

    /// Puts a command into the buffer, and tells nobody.
    ///
    /// # Errors
    /// QEMU does not answer.
    pub fn put(&self, words: [u64; 2]) -> Result<()> {
        let at = self.tail.get();
        for (half, word) in words.into_iter().enumerate() {
            self.commands.write_le64(at as usize + 8 * half, word)?;
        }
        self.tail.set((at + 16) % RING_SIZE);
        Ok(())
    }

    /// Has what was put carried out.
    ///
    /// # Errors
    /// QEMU does not answer.
    pub fn run(&self) -> Result<()> {
        self.registers.set(COMMAND_TAIL, self.tail.get())
    }

    /// Where the next command goes, in bytes.
    pub fn tail(&self) -> u64 {
        self.tail.get()
    }

    /// Has these commands carried out, and waits for them (2.4.1).
    ///
    /// # Errors
    /// The wait stores nothing.
    pub fn carry_out(&self, commands: &[[u64; 2]]) -> Result<()> {
        for &command in commands {
            self.put(command)?;
        }
        self.status.write_le64(0, 0)?;
        self.put([WAIT | STORE | self.status.address().0, DONE])?;
        self.run()?;
        match self.status.read_le64(0)? {
            DONE => Ok(()),
            other => Err(Error::failed(format!("a wait stored {other:#x}, not {DONE:#x}"))),
        }
    }

    /// Writes the entry of a device, in 64-bit words, and has the old one forgotten (2.4.2).
    ///
    /// # Errors
    /// The IOMMU does not do as it must.
    pub fn set_device(&self, requester: u16, words: [u64; 2]) -> Result<()> {
        let at = ENTRY * usize::from(requester);
        if at + ENTRY > self.devices.len() {
            return Err(Error::failed(format!("{requester:#x} is on another bus than the first")));
        }
        let domain_before = self.devices.read_le64(at + 8)? & 0xffff;
        self.devices.write_le64(at, 0)?;
        self.devices.write_le64(at + 8, words[1])?;
        self.devices.write_le64(at, words[0])?;
        self.carry_out(&[
            [FORGET_DEVICE | u64::from(requester), 0],
            [FORGET_PAGES | domain_before << 32, ALL_PAGES | SEVERAL | DIRECTORIES],
        ])
    }

    /// The tables of a domain.
    fn domain(&self, number: u16) -> Result<Rc<Tables>> {
        let mut domains = self.domains.borrow_mut();
        if let Some(tables) = domains.get(&number) {
            return Ok(tables.clone());
        }
        let tables = Rc::new(Tables::new(&self.vm, 4, FORMAT)?);
        domains.insert(number, tables.clone());
        Ok(tables)
    }

    /// Takes the next event of the log, as it is.
    ///
    /// # Errors
    /// QEMU does not answer.
    pub fn event(&self) -> Result<Option<[u64; 2]>> {
        let (head, tail) = (self.registers.get(EVENT_HEAD)?, self.registers.get(EVENT_TAIL)?);
        if head == tail {
            let status = self.registers.get(STATUS)?;
            if status & status::OVERFLOW != 0 {
                self.log_again()?;
            }
            return Ok(None);
        }
        if head >= RING_SIZE || tail >= RING_SIZE {
            return Err(Error::failed(format!(
                "the event log was written up to {tail:#x} and read up to {head:#x}, and has \
                 {RING_SIZE:#x} bytes"
            )));
        }
        let words =
            [self.events.read_le64(head as usize)?, self.events.read_le64(head as usize + 8)?];
        self.registers.set(EVENT_HEAD, (head + 16) % RING_SIZE)?;
        Ok(Some(words))
    }

    /// Has events logged again after one was lost (2.5.1): off, cleared, on.
    fn log_again(&self) -> Result<()> {
        let on = self.registers.get(CONTROL)?;
        self.registers.set(CONTROL, on & !control::LOG)?;
        self.registers.set(STATUS, status::OVERFLOW)?;
        self.registers.set(CONTROL, on)
    }
}

impl Translation for Live {
    fn attach(&self, requester: u16, domain: u16) -> Result<()> {
        let tables = self.domain(domain)?;
        let mode = u64::from(tables.levels()) << device::MODE;
        let may = device::IR | device::IW;
        self.set_device(
            requester,
            [device::V | device::TV | mode | tables.root() | may, u64::from(domain)],
        )
    }

    fn detach(&self, requester: u16) -> Result<()> {
        self.set_device(requester, self.nothing())
    }

    fn pass(&self, requester: u16) -> Result<()> {
        self.set_device(requester, [device::V | device::TV | device::IR | device::IW, 0])
    }

    fn map(&self, domain: u16, at: u64, to: u64, order: u32, access: Access) -> Result<()> {
        self.domain(domain)?.map(at, to, order, access)?;
        // The capability's NpCache, which QEMU has set, wants what was not present forgotten.
        self.invalidate(Scope::Pages(domain, at, (order - 12) as u8))
    }

    fn unmap(&self, domain: u16, at: u64, order: u32) -> Result<()> {
        self.domain(domain)?.unmap(at, order)
    }

    fn remap(&self, domain: u16, at: u64, to: u64, access: Access) -> Result<()> {
        self.domain(domain)?.map(at, to, 12, access)
    }

    fn invalidate(&self, scope: Scope) -> Result<()> {
        let all_of = |domain: u16| {
            [FORGET_PAGES | u64::from(domain) << 32, ALL_PAGES | SEVERAL | DIRECTORIES]
        };
        match scope {
            Scope::All if self.registers.get(FEATURES)? & FORGETS_ALL != 0 => {
                self.carry_out(&[[FORGET_ALL, 0]])
            }
            Scope::All => {
                let devices = (0..DEVICES as u64).map(|it| [FORGET_DEVICE | it, 0]);
                let domains =
                    self.domains.borrow().keys().map(|&it| all_of(it)).collect::<Vec<_>>();
                // Half a buffer at a time.
                let commands: Vec<_> = devices.chain(domains).collect();
                commands.chunks(128).try_for_each(|part| self.carry_out(part))
            }
            Scope::Domain(domain) => self.carry_out(&[all_of(domain)]),
            Scope::Pages(domain, at, order) => {
                // The first bit from 12 on that is clear says how many they are (2.2.3).
                let several = match order {
                    0 => 0,
                    _ => ((1 << (order - 1)) - 1) << 12 | SEVERAL,
                };
                let pages = at & !(((1 << order) - 1) << 12);
                self.carry_out(&[[
                    FORGET_PAGES | u64::from(domain) << 32,
                    pages | several | DIRECTORIES,
                ]])
            }
        }
    }

    fn fault(&self) -> Result<Option<Fault>> {
        let Some([who, address]) = self.event()? else { return Ok(None) };
        let reasons = match who >> 60 {
            event::DEVICE => vec![Reason::NoDomain, Reason::Table],
            // Which of them it is that suite looks at likewise.
            event::PAGE => {
                vec![Reason::Permission, Reason::Unmapped, Reason::NoDomain, Reason::TooHigh]
            }
            event::DEVICE_MEMORY | event::PAGE_MEMORY => vec![Reason::Table],
            _ => vec![],
        };
        Ok(Some(Fault {
            requester: who as u16,
            // QEMU leaves it out, which the suite of this IOMMU alone looks at.
            page: (address != 0).then_some(address & !0xfff),
            write: None,
            reasons,
            raw: format!("event {who:#018x} {address:#x}"),
        }))
    }

    fn stop(&self) -> Result<()> {
        self.invalidate(Scope::All)?;
        self.registers.set(CONTROL, 0)
    }

    fn tables(&self, domain: u16) -> Option<Rc<Tables>> {
        self.domains.borrow().get(&domain).cloned()
    }

    fn lead_astray(&self, requester: u16, address: u64) -> Result<()> {
        let may = device::V | device::TV | device::IR | device::IW;
        let root = address & PAGES;
        self.set_device(requester, [may | 4 << device::MODE | root, 1])
    }

    fn command(&self, words: [u64; 2]) -> Result<()> {
        self.put(words)?;
        self.run()?;
        if self.registers.get(STATUS)? & status::COMMANDS == 0 {
            // It has stopped at the command, and begins again with the next (2.4).
            let on = self.registers.get(CONTROL)?;
            self.registers.set(CONTROL, on & !control::COMMANDS)?;
            self.registers.set(COMMAND_HEAD, self.tail.get())?;
            self.registers.set(CONTROL, on)?;
        }
        Ok(())
    }
}
