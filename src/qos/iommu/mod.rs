//! IOMMUs: the interface `iommu`, and devices whose DMA they translate.
//!
//! | file | holds |
//! |---|---|
//! | `mod` | the interface, which every IOMMU implements |
//! | `engine` | the devices with DMA |
//! | `tables` | page tables in guest memory |

mod engine;
mod tables;

use std::rc::Rc;

pub use engine::{Copier, Engine, LONGEST, NO_ENGINES, PLACES, TWO_ENGINES};
pub use tables::{ENTRIES, Format, Tables};

use super::pci::PciBus;
use super::registers::Registers;
use crate::qemu::Vm;
use crate::{Error, Result, interface};

/// The size of the smallest page that all IOMMUs have, in bytes.
pub const PAGE: u64 = 0x1000;

/// What a device may do with a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Access {
    /// It may read.
    pub read: bool,
    /// It may write.
    pub write: bool,
}

impl Access {
    /// Reads and writes.
    pub const BOTH: Self = Self { read: true, write: true };
    /// Reads only.
    pub const READ: Self = Self { read: true, write: false };
    /// Writes only.
    pub const WRITE: Self = Self { read: false, write: true };
}

/// Which translations an IOMMU is told to forget.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// All.
    All,
    /// Those of a domain.
    Domain(u16),
    /// Those of a domain for `1 << order` pages from an address on.
    Pages(u16, u64, u8),
}

/// Why an access was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// The device has no domain.
    NoDomain,
    /// The address is not mapped.
    Unmapped,
    /// It is mapped, and not for this.
    Permission,
    /// It is above all that can be translated.
    TooHigh,
    /// A table cannot be read or has something wrong in it.
    Table,
}

/// The record of an access that was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Whose access it was: bus, device and function.
    pub requester: u16,
    /// The page at which it was, where the record tells.
    pub page: Option<u64>,
    /// Whether it was a write, where the record tells.
    pub write: Option<bool>,
    /// The reasons of which it can be.
    pub reasons: Vec<Reason>,
    /// The record as it is, for messages.
    pub raw: String,
}

/// What an IOMMU is able to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The last address that it translates.
    pub last: u64,
    /// Page sizes above the smallest, as powers of two in bytes.
    pub larger: &'static [u32],
    /// Whether a page can be for writes alone.
    pub write_only: bool,
    /// Whether what is beyond the last address can be told from what is not mapped.
    pub has_bound: bool,
    /// Whether no device reaches memory before it is set up; elsewhere all do.
    pub blocks_when_off: bool,
}

/// An IOMMU that has not been set up, and two [`Engine`]s behind it.
pub trait Iommu {
    /// The machine that it is in.
    fn vm(&self) -> &Rc<Vm>;

    /// The bus of the engines.
    fn bus(&self) -> &Rc<dyn PciBus>;

    /// What it is able to.
    ///
    /// # Errors
    /// QEMU does not answer, or it says something impossible.
    fn limits(&self) -> Result<Limits>;

    /// Sets it up, so that it translates. No device has a domain then, and none reaches memory.
    ///
    /// # Errors
    /// It does not do as it must.
    fn start(&self) -> Result<Box<dyn Translation>>;

    /// Its registers and their size in bytes, if they are in memory.
    fn registers(&self) -> Option<(Rc<dyn Registers>, u64)> {
        None
    }

    /// Where these are in memory.
    fn place(&self) -> Option<u64> {
        None
    }
}

interface!(dyn Iommu = "iommu");

/// An IOMMU that translates. Each function tells it what the specification wants it to be told,
/// but for [`Translation::unmap`] and [`Translation::remap`].
pub trait Translation {
    /// Gives a device a domain, which is empty if it is a new one.
    ///
    /// # Errors
    /// The IOMMU does not do as it must, or no memory is left; so for all of these.
    fn attach(&self, requester: u16, domain: u16) -> Result<()>;

    /// Takes a device's domain away: it reaches nothing.
    ///
    /// # Errors
    /// Returns an error if the IOMMU does not do as it must, or no memory is left.
    fn detach(&self, requester: u16) -> Result<()>;

    /// Lets a device reach all memory at its own addresses.
    ///
    /// # Errors
    /// Returns an error if the IOMMU does not do as it must, or no memory is left.
    fn pass(&self, requester: u16) -> Result<()>;

    /// Maps a page of `1 << order` bytes that is not mapped.
    ///
    /// # Errors
    /// Returns an error if the IOMMU does not do as it must, or no memory is left.
    fn map(&self, domain: u16, at: u64, to: u64, order: u32, access: Access) -> Result<()>;

    /// Takes a page of `1 << order` bytes out of the tables. It may be reached until that is
    /// told by [`Translation::invalidate`].
    ///
    /// # Errors
    /// Returns an error if the IOMMU does not do as it must, or no memory is left.
    fn unmap(&self, domain: u16, at: u64, order: u32) -> Result<()>;

    /// Has the tables lead elsewhere for a page that is mapped, which has to be told likewise.
    ///
    /// # Errors
    /// Returns an error if the IOMMU does not do as it must, or no memory is left.
    fn remap(&self, domain: u16, at: u64, to: u64, access: Access) -> Result<()>;

    /// Has it forget translations, and waits until it has.
    ///
    /// # Errors
    /// Returns an error if the IOMMU does not do as it must, or no memory is left.
    fn invalidate(&self, scope: Scope) -> Result<()>;

    /// Takes the next record of a refused access.
    ///
    /// # Errors
    /// Returns an error if the IOMMU does not do as it must, or no memory is left.
    fn fault(&self) -> Result<Option<Fault>>;

    /// Stops translating: all devices reach all memory.
    ///
    /// # Errors
    /// Returns an error if the IOMMU does not do as it must, or no memory is left.
    fn stop(&self) -> Result<()>;

    /// The page tables of a domain, for tests that break them; `None` if it has none in memory.
    fn tables(&self, _domain: u16) -> Option<Rc<Tables>> {
        None
    }

    /// Has the table of devices itself lead to `address` instead of to tables of domains: the
    /// entry of a device, or what is before that.
    ///
    /// # Errors
    /// Returns an error if the IOMMU does not do as it must, or no memory is left. Returns
    /// [`Error::Skipped`] if there is no such table.
    fn lead_astray(&self, _requester: u16, _address: u64) -> Result<()> {
        Err(Error::skipped("this IOMMU has no tables of devices in memory"))
    }

    /// Gives it a command of these 128 bits, which may be none, and brings the queue back in order
    /// if it stopped there.
    ///
    /// # Errors
    /// Returns an error if the IOMMU does not do as it must, or no memory is left. Returns
    /// [`Error::Skipped`] if there is no queue of such commands.
    fn command(&self, _words: [u64; 2]) -> Result<()> {
        Err(Error::skipped("this IOMMU has no queue of commands in memory"))
    }
}
