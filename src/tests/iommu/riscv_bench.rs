//! What the suites of the two stages of RISC-V's IOMMU begin with: one device whose context they
//! write word by word, tables of both stages, memory, and the records of faults as they are.

use std::cell::Cell;
use std::rc::Rc;

use crate::drivers::iommu::riscv::{BARE, FORMAT, Live, ONE_LEVEL, RiscvStages, page_number};
use crate::qemu::{Buffer, Vm};
use crate::qos::iommu::{Access, Engine, PAGE, Scope, Tables, Translation};
use crate::{Error, Result};

/// Capabilities (6.3).
pub mod capability {
    /// Bits 59 and 60 of entries are software's.
    pub const SVRSW60T59B: u64 = 1 << 14;
    /// Types of memory in entries.
    pub const SVPBMT: u64 = 1 << 15;
    /// Four levels of the second stage.
    pub const SV48X4: u64 = 1 << 18;
    /// Contexts have what translates messages.
    pub const MSI_FLAT: u64 = 1 << 22;
    /// Accessed and dirty bits are updated.
    pub const AMO_HWAD: u64 = 1 << 24;
    /// Requests of PCI for translations.
    pub const ATS: u64 = 1 << 25;
    /// These are of guest physical addresses.
    pub const T2GPA: u64 = 1 << 26;
    /// Both byte orders.
    pub const END: u64 = 1 << 27;
    /// Processes have contexts, of three sizes.
    pub const PD8: u64 = 1 << 38;
}

/// Translation control of a context (3.1.3.1).
pub mod control {
    /// The context is valid.
    pub const V: u64 = 1 << 0;
    /// The device may ask for translations.
    pub const EN_ATS: u64 = 1 << 1;
    /// It may ask for pages.
    pub const EN_PRI: u64 = 1 << 2;
    /// Translations are of guest physical addresses.
    pub const T2GPA: u64 = 1 << 3;
    /// Faults are not recorded.
    pub const DTF: u64 = 1 << 4;
    /// Processes have contexts.
    pub const PDTV: u64 = 1 << 5;
    /// Answers to requests for pages have a process.
    pub const PRPR: u64 = 1 << 6;
    /// Accessed and dirty bits of the second stage are updated.
    pub const GADE: u64 = 1 << 7;
    /// Those of the first stage are.
    pub const SADE: u64 = 1 << 8;
    /// What has no process is of process 0.
    pub const DPE: u64 = 1 << 9;
    /// Tables of the first stage are of big-endian.
    pub const SBE: u64 = 1 << 10;
}

/// Bits of an entry of a table ("The RISC-V Instruction Set Manual", volume II, 12.4).
pub mod entry {
    /// Valid.
    pub const V: u64 = 1 << 0;
    /// It may be read.
    pub const R: u64 = 1 << 1;
    /// It may be written.
    pub const W: u64 = 1 << 2;
    /// It may be executed.
    pub const X: u64 = 1 << 3;
    /// For users.
    pub const U: u64 = 1 << 4;
    /// Accessed.
    pub const A: u64 = 1 << 6;
    /// Dirty.
    pub const D: u64 = 1 << 7;
    /// What a page has with which everything may be done.
    pub const ALL: u64 = V | R | W | U | A | D;
}

/// Causes of faults (4.2).
pub mod cause {
    /// A read of a page that may not be, and a write.
    pub const PAGE: [u64; 2] = [13, 15];
    /// A read that the second stage refuses, and a write.
    pub const GUEST_PAGE: [u64; 2] = [21, 23];
    /// A table that is in no memory, by a read and by a write.
    pub const ACCESS: [u64; 2] = [5, 7];
    /// All are refused.
    pub const ALL: u64 = 256;
    /// An entry of the directory is in no memory.
    pub const DIRECTORY_ACCESS: u64 = 257;
    /// It is not valid.
    pub const DIRECTORY_INVALID: u64 = 258;
    /// There is something wrong in it.
    pub const DIRECTORY_WRONG: u64 = 259;
    /// This kind of access is refused.
    pub const KIND: u64 = 260;
    /// An entry for messages is in no memory.
    pub const MESSAGE_ACCESS: u64 = 261;
    /// It is not valid.
    pub const MESSAGE_INVALID: u64 = 262;
    /// There is something wrong in it.
    pub const MESSAGE_WRONG: u64 = 263;
}

/// Modes of both stages (3.1.3.2 and 3.1.3.5): Sv48, or Sv48x4.
pub const FOUR_LEVELS: u64 = 9 << 60;
/// The address space, and the guest, of the device.
const SPACE: u64 = 0x123;
const GUEST: u64 = 0x234;
/// Where tests map what they look at.
pub const HERE: u64 = 0x40_1234_5000;
/// Where the guest has it, when both stages translate.
pub const THERE: u64 = 0x55_0000_3000;
/// What the device writes.
pub const DATA: [u8; 4] = [0xd1, 0xd2, 0xd3, 0xd4];
/// What memory has before.
pub const FILL: u8 = 0x3c;

/// An access of the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dma {
    /// From memory to the device.
    Read,
    /// From the device to memory.
    Write,
}

/// Both.
pub const BOTH: [Dma; 2] = [Dma::Read, Dma::Write];

/// The IOMMU as it translates, and one device.
pub struct Bench {
    /// The IOMMU.
    pub live: Live,
    engine: Engine,
    /// Through which is seen what the device has.
    window: Buffer,
    /// One page to map.
    pub memory: Buffer,
    /// What the IOMMU is able to.
    pub capabilities: u64,
    /// The directory with which accesses are made, if it is not the usual one.
    pub directory: Cell<Option<u64>>,
}

impl Bench {
    /// With a device that has [`DATA`].
    ///
    /// # Errors
    /// The IOMMU does not do as it must.
    pub fn new(stages: &RiscvStages, vm: &Rc<Vm>) -> Result<Self> {
        let [engine, _] = Engine::two(vm, stages.bus())?;
        let page = || vm.ram().alloc(PAGE as usize, PAGE);
        let (window, memory) = (page()?, page()?);
        let capabilities = stages.capabilities()?;
        let (live, directory) = (stages.start()?, Cell::default());
        Ok(Self { live, engine, window, memory, capabilities, directory })
    }

    /// The device.
    pub fn requester(&self) -> u16 {
        self.engine.requester()
    }

    /// Skips a test that the IOMMU is not able to.
    ///
    /// # Errors
    /// Returns [`Error::Skipped`].
    pub fn needs(&self, capability: u64, what: &str) -> Result<()> {
        match self.capabilities & capability {
            0 => Err(Error::skipped(format!("this IOMMU has no {what}"))),
            _ => Ok(()),
        }
    }

    /// Has the device get [`DATA`] by an access that nothing translates.
    fn fill_device(&self) -> Result<()> {
        self.set(&[control::V, 0, 0, 0])?;
        self.window.write(0, &DATA)?;
        self.engine.load(self.window.address().0, DATA.len())
    }

    /// Writes the device's context.
    ///
    /// # Errors
    /// The IOMMU does not do as it must.
    pub fn set(&self, words: &[u64]) -> Result<()> {
        let mut all = [0; 8];
        all[..words.len()].copy_from_slice(words);
        let kept = if self.capabilities & capability::MSI_FLAT != 0 { 8 } else { 4 };
        self.live.set_context(self.requester(), &all[..kept])?;
        self.live.invalidate(Scope::All)
    }

    /// What the access comes to with this context: whether it was done, and the records of it.
    ///
    /// # Errors
    /// QEMU does not answer.
    pub fn access(&self, context: &[u64], at: u64, dma: Dma) -> Result<(bool, Vec<[u64; 4]>)> {
        self.fill_device()?;
        self.memory.write(0, &[FILL; PAGE as usize])?;
        let offset = (at % PAGE) as usize;
        let there: Vec<u8> = DATA.iter().map(|byte| byte ^ 0xff).collect();
        if dma == Dma::Read {
            self.memory.write(offset, &there)?;
        }
        self.set(context)?;
        let records = || -> Result<Vec<[u64; 4]>> {
            let mut all = Vec::new();
            while let Some(record) = self.live.record()? {
                all.push(record);
            }
            Ok(all)
        };
        assert!(records()?.is_empty(), "there are records of faults before an access");
        let set_directory = |ddtp: u64| -> Result<()> {
            // From one number of levels there is no way to another but over none (6.6).
            self.live.set_directory(BARE)?;
            self.live.set_directory(ddtp)?;
            self.live.invalidate(Scope::All)
        };
        self.directory.get().map_or(Ok(()), set_directory)?;
        match dma {
            Dma::Read => self.engine.load(at, DATA.len())?,
            Dma::Write => self.engine.store(at, DATA.len())?,
        }
        let records = records()?;
        set_directory(page_number(self.live.directory()) | ONE_LEVEL)?;
        let mut expected = vec![FILL; PAGE as usize];
        let done = match dma {
            Dma::Read => {
                expected[offset..offset + DATA.len()].copy_from_slice(&there);
                self.set(&[control::V, 0, 0, 0])?;
                self.engine.store(self.window.address().0, DATA.len())?;
                let mut found = [0; DATA.len()];
                self.window.read(0, &mut found)?;
                found[..] == there
            }
            Dma::Write => {
                let done = self.memory.to_vec()?[offset..offset + DATA.len()] == DATA;
                if done {
                    expected[offset..offset + DATA.len()].copy_from_slice(&DATA);
                }
                done
            }
        };
        assert!(self.memory.to_vec()? == expected, "{dma:?} at {at:#x}: the memory");
        Ok((done, records))
    }

    /// What a message of `data` to `at` comes to with this context: the memory's first bytes, and
    /// the records of it.
    ///
    /// # Errors
    /// QEMU does not answer.
    pub fn message(&self, context: &[u64], at: u64, data: u16) -> Result<(Vec<u8>, Vec<[u64; 4]>)> {
        self.memory.write(0, &[FILL; PAGE as usize])?;
        self.set(context)?;
        self.engine.send_message(at, data)?;
        let mut records = Vec::new();
        while let Some(record) = self.live.record()? {
            records.push(record);
        }
        Ok((self.memory.to_vec()?, records))
    }

    /// Asserts that the access is done, and not recorded.
    ///
    /// # Errors
    /// QEMU does not answer.
    #[track_caller]
    pub fn assert_done(&self, context: &[u64], at: u64, dma: Dma, what: &str) -> Result<()> {
        let (done, records) = self.access(context, at, dma)?;
        assert_eq!(records, Vec::<[u64; 4]>::new(), "{what}: {dma:?}: records of faults");
        assert!(done, "{what}: {dma:?} should be done");
        Ok(())
    }

    /// Asserts that the access is refused, and recorded so: the cause, the device, the kind of the
    /// access, its address, and what the second stage adds to that. An address in a record need not
    /// have its lower twelve bits.
    ///
    /// # Errors
    /// QEMU does not answer.
    #[track_caller]
    pub fn assert_refused(
        &self,
        context: &[u64],
        (at, dma): (u64, Dma),
        (cause, more): (u64, u64),
        what: &str,
    ) -> Result<()> {
        let (done, records) = self.access(context, at, dma)?;
        assert!(!done, "{what}: {dma:?} should be refused");
        self.assert_recorded(&records, (at, dma), (cause, more), what);
        Ok(())
    }

    /// Asserts that there is one record, of this access.
    #[track_caller]
    pub fn assert_recorded(
        &self,
        records: &[[u64; 4]],
        (at, dma): (u64, Dma),
        (cause, more): (u64, u64),
        what: &str,
    ) {
        assert_eq!(records.len(), 1, "{what}: {dma:?}: records of faults: {records:x?}");
        let [first, _, iotval, iotval2] = records[0];
        let kind = match dma {
            Dma::Read => 2,
            Dma::Write => 3,
        };
        let assert_is = |name: &str, found: u64, expected: u64, may_lack: u64| {
            assert!(
                found == expected || found == expected & !may_lack,
                "{what}: {dma:?}: {name} should be {expected:#x}, and is {found:#x} in {:x?}",
                records[0]
            );
        };
        assert_is("CAUSE", first & 0xfff, cause, 0);
        assert_is("TTYP", first >> 34 & 0x3f, kind, 0);
        assert_is("DID", first >> 40, self.requester().into(), 0);
        assert_is("iotval", iotval, at, PAGE - 1);
        if cause::GUEST_PAGE.contains(&cause) {
            assert_is("iotval2", iotval2, more, PAGE - 4);
        }
    }
}

/// Tables of the first stage: a context's word for them.
pub fn first(tables: &Tables) -> u64 {
    FOUR_LEVELS | tables.root() >> 12
}

/// A context of the first stage alone.
pub fn context_of_first(tables: &Tables) -> [u64; 4] {
    [control::V, 0, SPACE << 12, first(tables)]
}

/// Tables of the first stage that map [`HERE`] with this entry.
///
/// # Errors
/// No guest memory is left.
pub fn tables_of(vm: &Rc<Vm>, entry: u64) -> Result<Tables> {
    let tables = Tables::new(vm, 4, FORMAT)?;
    tables.set(HERE, 0, entry)?;
    Ok(tables)
}

/// Tables of the second stage, which have all memory at its own addresses.
pub struct Second {
    /// The first one is four times as large as others are (3.1.3.2).
    root: Buffer,
    /// Those of the first of its entries.
    pub below: Tables,
}

impl Second {
    /// Those of 512 GiB.
    ///
    /// # Errors
    /// No guest memory is left.
    pub fn new(vm: &Rc<Vm>) -> Result<Self> {
        let root = vm.ram().alloc(4 * PAGE as usize, 4 * PAGE)?;
        let below = Tables::new(vm, 3, FORMAT)?;
        root.write_le64(0, page_number(below.root()) | entry::V)?;
        for gigabyte in 0..512_u64 {
            below.map(gigabyte << 30, gigabyte << 30, 30, Access::BOTH)?;
        }
        Ok(Self { root, below })
    }

    /// A context's word for them.
    pub fn word(&self) -> u64 {
        FOUR_LEVELS | GUEST << 44 | self.root.address().0 >> 12
    }

    /// A context of the second stage alone.
    pub fn context(&self) -> [u64; 4] {
        [control::V, self.word(), 0, 0]
    }

    /// A context of both stages.
    pub fn context_with(&self, tables: &Tables) -> [u64; 4] {
        [control::V, self.word(), SPACE << 12, first(tables)]
    }
}
