//! What the suites of AMD's IOMMU begin with: one device whose entry of the device table they write
//! word by word, a page of memory, and the events as they are.

use std::rc::Rc;

use super::riscv_bench::{DATA, Dma, FILL};
use crate::drivers::iommu::amd::words::{device, event};
use crate::drivers::iommu::amd::{AmdLevels, FORMAT, Live};
use crate::qemu::{Buffer, Vm};
use crate::qos::iommu::{Access, Engine, PAGE, Tables};
use crate::{Error, Result};

/// The domain of the device.
pub const DOMAIN: u64 = 0x1234;
/// Where tests map what they look at.
pub const HERE: u64 = 0x40_1234_5000;
/// Where in a page an access is.
pub const OFFSET: u64 = 0x124;

/// An entry that lets a device use tables in full.
pub const MAY: u64 = device::V | device::TV | device::IR | device::IW;

/// The IOMMU as it translates, and one device.
pub struct Bench {
    /// The IOMMU.
    pub live: Live,
    /// The device.
    pub engine: Engine,
    /// Through which is seen what the device has.
    window: Buffer,
    /// One page to map.
    pub memory: Buffer,
}

/// Tables of so many levels.
///
/// # Errors
/// No memory is left.
pub fn tables(vm: &Rc<Vm>, levels: u8) -> Result<Tables> {
    Tables::new(vm, levels, FORMAT)
}

/// The entry of a device that has these tables.
pub fn with_tables(tables: &Tables) -> u64 {
    MAY | u64::from(tables.levels()) << device::MODE | tables.root()
}

impl Bench {
    /// With a device that has [`DATA`].
    ///
    /// # Errors
    /// The IOMMU does not do as it must.
    pub fn new(iommu: &AmdLevels, vm: &Rc<Vm>) -> Result<Self> {
        let [engine, _] = Engine::two(vm, iommu.bus())?;
        let page = || vm.ram().alloc(PAGE as usize, PAGE);
        let (window, memory) = (page()?, page()?);
        Ok(Self { live: iommu.start()?, engine, window, memory })
    }

    /// The entry of a device that has [`HERE`] mapped to the memory, with an entry of the lowest
    /// level that has these bits beside its address.
    ///
    /// # Errors
    /// No memory is left.
    pub fn mapped(&self, vm: &Rc<Vm>, bits: u64) -> Result<u64> {
        let tables = tables(vm, 4)?;
        tables.set(HERE, 0, self.memory.address().0 | bits)?;
        Ok(with_tables(&tables))
    }

    /// The memory as a page that may be used so.
    pub fn page(&self, access: Access) -> u64 {
        (FORMAT.page)(0, self.memory.address().0, access)
    }

    /// Writes the device's entry. Its domain is [`DOMAIN`].
    ///
    /// # Errors
    /// The IOMMU does not do as it must.
    pub fn set(&self, entry: u64) -> Result<()> {
        self.live.set_device(self.engine.requester(), [entry, DOMAIN])
    }

    /// All events that there are.
    ///
    /// # Errors
    /// QEMU does not answer.
    pub fn events(&self) -> Result<Vec<[u64; 2]>> {
        let mut all = Vec::new();
        while let Some(event) = self.live.event()? {
            all.push(event);
        }
        Ok(all)
    }

    /// What the access comes to with this entry: whether it was done, and the events of it.
    ///
    /// # Errors
    /// QEMU does not answer.
    pub fn access(&self, entry: u64, at: u64, dma: Dma) -> Result<(bool, Vec<[u64; 2]>)> {
        self.set(0)?;
        self.window.write(0, &DATA)?;
        self.engine.load(self.window.address().0, DATA.len())?;
        self.memory.write(0, &[FILL; PAGE as usize])?;
        let offset = (at % PAGE) as usize;
        let there: Vec<u8> = DATA.iter().map(|byte| byte ^ 0xff).collect();
        if dma == Dma::Read {
            self.memory.write(offset, &there)?;
        }
        self.set(entry)?;
        // An entry that is wrong can be found out as soon as it is to be forgotten.
        self.events()?;
        match dma {
            Dma::Read => self.engine.load(at, DATA.len())?,
            Dma::Write => self.engine.store(at, DATA.len())?,
        }
        let events = self.events()?;
        let mut expected = vec![FILL; PAGE as usize];
        let done = match dma {
            Dma::Read => {
                expected[offset..offset + DATA.len()].copy_from_slice(&there);
                self.set(0)?;
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
        Ok((done, events))
    }

    /// Asserts that the access is done, and no event.
    ///
    /// # Errors
    /// QEMU does not answer.
    #[track_caller]
    pub fn assert_done(&self, entry: u64, at: u64, dma: Dma, what: &str) -> Result<()> {
        let (done, events) = self.access(entry, at, dma)?;
        assert!(done, "{what}: {dma:?} should be done");
        assert_eq!(events, Vec::<[u64; 2]>::new(), "{what}: {dma:?}: events");
        Ok(())
    }

    /// Asserts that the access is refused.
    ///
    /// # Errors
    /// QEMU does not answer.
    #[track_caller]
    pub fn assert_refused(&self, entry: u64, at: u64, dma: Dma, what: &str) -> Result<()> {
        let (done, _) = self.access(entry, at, dma)?;
        assert!(!done, "{what}: {dma:?} should be refused");
        Ok(())
    }

    /// The one event of an access with this entry, which must be refused.
    ///
    /// # Errors
    /// QEMU does not answer, or there are more events, or none.
    #[track_caller]
    pub fn event_of(&self, entry: u64, at: u64, dma: Dma, what: &str) -> Result<[u64; 2]> {
        let (done, events) = self.access(entry, at, dma)?;
        assert!(!done, "{what}: {dma:?} should be refused");
        match events[..] {
            [event] => Ok(event),
            _ => Err(Error::failed(format!("{what}: {dma:?} at {at:#x}: the events {events:x?}"))),
        }
    }

    /// The event of a page that may not be used so (2.5.3): PR says whether it is there, RW whether
    /// it was to be written.
    pub fn page_fault(&self, is_present: bool, at: u64, dma: Dma) -> [u64; 2] {
        let flags = u64::from(is_present) << 52 | u64::from(dma == Dma::Write) << 53;
        [self.from_device(event::PAGE) | DOMAIN << 32 | flags, at]
    }

    /// An event of this code and of the device.
    pub fn from_device(&self, code: u64) -> u64 {
        code << 60 | u64::from(self.engine.requester())
    }
}
