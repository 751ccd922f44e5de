//! What the suites of IOMMUs begin with: two devices, each in a domain of its own with memory
//! through which a test sees their data, and memory for tests to map.

use std::rc::Rc;

use crate::qemu::Buffer;
use crate::qos::iommu::{Access, Copier, Engine, Fault, Iommu, PAGE, Reason, Translation};
use crate::{Error, Result};

/// Where each engine reaches its window.
pub const WINDOW: u64 = 0x3000_0000;
/// Where tests map what they look at.
pub const HERE: u64 = 0x4000_0000;
/// How many pages of memory there are.
pub const PAGES: u64 = 16;
/// What memory is filled with.
pub const FILL: u8 = 0xa5;
/// The domains of the two engines.
pub const DOMAINS: [u16; 2] = [5, 9];

/// An IOMMU that translates.
pub struct Bench {
    /// The IOMMU.
    pub live: Box<dyn Translation>,
    /// The devices, which see their windows at [`WINDOW`].
    pub engines: [Copier; 2],
    /// The windows.
    pub windows: [Rc<Buffer>; 2],
    /// Memory to map.
    pub memory: Rc<Buffer>,
}

/// Memory of so many pages, filled.
pub fn filled(iommu: &dyn Iommu, pages: u64) -> Result<Buffer> {
    let memory = iommu.vm().ram().alloc((pages * PAGE) as usize, PAGE)?;
    memory.write(0, &vec![FILL; memory.len()])?;
    Ok(memory)
}

/// The engines as they are without any translation, with their windows.
pub fn plain(iommu: &dyn Iommu) -> Result<[Copier; 2]> {
    let engines = Engine::two(iommu.vm(), iommu.bus())?;
    let window = || iommu.vm().ram().alloc(PAGE as usize, PAGE).map(Rc::new);
    let windows = [window()?, window()?];
    let copier = |number: usize| {
        Copier::new(&engines[number], &windows[number], windows[number].address().0)
    };
    Ok([copier(0), copier(1)])
}

/// Asserts that without any translation `engine` reaches all memory at its own addresses.
#[track_caller]
pub fn assert_identity(iommu: &dyn Iommu, engine: &Copier, what: &str) -> Result<()> {
    let memory = filled(iommu, 2)?;
    let data: Vec<u8> = (1..=200).collect();
    let at = memory.address().0 + PAGE - 100;
    engine.write(at, &data)?;
    assert_eq!(engine.read(at, data.len())?, data, "{what}: read at its own address");
    let mut expected = vec![FILL; memory.len()];
    expected[PAGE as usize - 100..PAGE as usize + 100].copy_from_slice(&data);
    assert!(memory.to_vec()? == expected, "{what}: memory is not as it was written");
    Ok(())
}

/// Asserts that `engine` reaches all memory, or none, as the IOMMU has it when it is not set up.
#[track_caller]
pub fn assert_off(iommu: &dyn Iommu, engine: &Copier, what: &str) -> Result<()> {
    if !iommu.limits()?.blocks_when_off {
        return assert_identity(iommu, engine, what);
    }
    let memory = filled(iommu, 1)?;
    engine.engine().store(memory.address().0, 64)?;
    assert_eq!(memory.to_vec()?, vec![FILL; memory.len()], "{what}: memory was written");
    Ok(())
}

impl Bench {
    /// With each engine in its domain, and its window mapped there.
    ///
    /// # Errors
    /// The IOMMU does not do as it must.
    pub fn new(iommu: &dyn Iommu) -> Result<Self> {
        let bench = Self::blocked(iommu)?;
        for (number, domain) in DOMAINS.into_iter().enumerate() {
            bench.attach(number, domain)?;
            bench.map_window(number, domain)?;
        }
        Ok(bench)
    }

    /// With no domain.
    ///
    /// # Errors
    /// The IOMMU does not do as it must.
    pub fn blocked(iommu: &dyn Iommu) -> Result<Self> {
        let engines = Engine::two(iommu.vm(), iommu.bus())?;
        let window = || iommu.vm().ram().alloc(PAGE as usize, PAGE).map(Rc::new);
        let windows = [window()?, window()?];
        let memory = Rc::new(filled(iommu, PAGES)?);
        let engines = [
            Copier::new(&engines[0], &windows[0], WINDOW),
            Copier::new(&engines[1], &windows[1], WINDOW),
        ];
        Ok(Self { live: iommu.start()?, engines, windows, memory })
    }

    /// The requester ID of an engine.
    pub fn requester(&self, number: usize) -> u16 {
        self.engines[number].engine().requester()
    }

    /// Gives an engine a domain.
    ///
    /// # Errors
    /// The IOMMU does not do as it must.
    pub fn attach(&self, number: usize, domain: u16) -> Result<()> {
        self.live.attach(self.requester(number), domain)
    }

    /// Maps the window of an engine in a domain.
    ///
    /// # Errors
    /// The IOMMU does not do as it must.
    pub fn map_window(&self, number: usize, domain: u16) -> Result<()> {
        self.live.map(domain, WINDOW, self.windows[number].address().0, 12, Access::BOTH)
    }

    /// Where page `page` of the memory is.
    pub fn at(&self, page: u64) -> u64 {
        self.memory.address().0 + page * PAGE
    }

    /// Maps one page of an engine's domain to page `page` of the memory.
    ///
    /// # Errors
    /// The IOMMU does not do as it must.
    pub fn map(&self, number: usize, at: u64, page: u64, access: Access) -> Result<()> {
        self.live.map(DOMAINS[number], at, self.at(page), 12, access)
    }

    /// Asserts that of the memory exactly these pieces were written, and fills it anew.
    ///
    /// # Errors
    /// QEMU does not answer.
    #[track_caller]
    pub fn assert_written(&self, pieces: &[(u64, &[u8])], what: &str) -> Result<()> {
        let mut expected = vec![FILL; self.memory.len()];
        for &(at, data) in pieces {
            expected[at as usize..at as usize + data.len()].copy_from_slice(data);
        }
        let found = self.memory.to_vec()?;
        let differs = found.iter().zip(&expected).position(|(is, expected)| is != expected);
        assert_eq!(differs, None, "{what}: the first byte of memory that is not as expected");
        self.memory.write(0, &vec![FILL; expected.len()])
    }

    /// Asserts that no access was refused since the last record was taken.
    ///
    /// # Errors
    /// As for [`Translation::fault`].
    #[track_caller]
    pub fn assert_no_fault(&self, what: &str) -> Result<()> {
        let fault = self.live.fault()?;
        assert_eq!(fault, None, "{what}: a record of a fault");
        Ok(())
    }

    /// Takes all records.
    ///
    /// # Errors
    /// As for [`Translation::fault`].
    pub fn forget_faults(&self) -> Result<()> {
        for _ in 0..10_000 {
            if self.live.fault()?.is_none() {
                return Ok(());
            }
        }
        Err(Error::failed("there are 10000 records of faults, and more"))
    }

    /// Asserts that engine `number` reads and writes page `page` of the memory at `at`.
    ///
    /// # Errors
    /// A copy does not end.
    #[track_caller]
    pub fn assert_reaches(&self, number: usize, at: u64, page: u64, what: &str) -> Result<()> {
        let data: Vec<u8> = (0..64).map(|byte| byte ^ number as u8 ^ page as u8).collect();
        let engine = &self.engines[number];
        engine.write(at + 32, &data)?;
        assert_eq!(engine.read(at + 32, data.len())?, data, "{what}: read at {at:#x}");
        self.assert_written(&[(page * PAGE + 32, &data)], what)?;
        self.assert_no_fault(what)
    }

    /// Asserts that engine `number` neither reads nor writes at `at`, and that each is recorded
    /// with this reason.
    ///
    /// # Errors
    /// A copy does not end.
    #[track_caller]
    pub fn assert_refused(&self, number: usize, at: u64, reason: Reason, what: &str) -> Result<()> {
        self.assert_write_refused(number, at, reason, what)?;
        self.assert_read_refused(number, at, reason, what)
    }

    /// Asserts that engine `number` does not write at `at`.
    ///
    /// # Errors
    /// A copy does not end.
    #[track_caller]
    pub fn assert_write_refused(
        &self,
        number: usize,
        at: u64,
        reason: Reason,
        what: &str,
    ) -> Result<()> {
        self.engines[number].engine().store(at, 4)?;
        self.assert_written(&[], &format!("{what}: a write at {at:#x}"))?;
        self.assert_recorded(number, at, true, reason, &format!("{what}: a write at {at:#x}"))
    }

    /// Asserts that engine `number` does not read at `at`.
    ///
    /// # Errors
    /// A copy does not end.
    #[track_caller]
    pub fn assert_read_refused(
        &self,
        number: usize,
        at: u64,
        reason: Reason,
        what: &str,
    ) -> Result<()> {
        self.engines[number].engine().load(at, 4)?;
        self.assert_recorded(number, at, false, reason, &format!("{what}: a read at {at:#x}"))
    }

    /// Asserts that the next record, and the only one, tells of this access.
    ///
    /// # Errors
    /// As for [`Translation::fault`].
    #[track_caller]
    pub fn assert_recorded(
        &self,
        number: usize,
        at: u64,
        write: bool,
        reason: Reason,
        what: &str,
    ) -> Result<()> {
        let fault = self.live.fault()?;
        let Some(Fault { requester, page, write: is_write, reasons, raw }) = fault else {
            panic!("{what}: no record of that");
        };
        assert_eq!(requester, self.requester(number), "{what}: the requester in {raw}");
        // What has no domain has no pages either.
        if let (true, Some(page)) = (reason != Reason::NoDomain, page) {
            assert_eq!(page, at & !(PAGE - 1), "{what}: the page in {raw}");
        }
        assert!(reasons.contains(&reason), "{what}: the reason should be {reason:?} in {raw}");
        assert!(is_write.is_none_or(|it| it == write), "{what}: read or write in {raw}");
        self.assert_no_fault(&format!("{what}: after {raw}"))
    }
}
