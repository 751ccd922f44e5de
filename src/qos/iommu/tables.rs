//! Page tables as most IOMMUs have them: trees of tables of 512 entries of 64 bits each, which
//! decode nine bits of the address a level. What the bits of an entry mean is the IOMMU's affair.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use super::Access;
use crate::qemu::{Buffer, Vm};
use crate::{Error, Result};

/// How many entries a table has.
pub const ENTRIES: u64 = 512;

/// How entries look.
#[derive(Clone, Copy)]
pub struct Format {
    /// An entry of a level that leads to a table. Level 0 is that of the smallest pages.
    pub table: fn(level: u8, table: u64) -> u64,
    /// An entry of a level that is a page.
    pub page: fn(level: u8, page: u64, access: Access) -> u64,
}

/// A tree of tables in guest memory.
pub struct Tables {
    vm: Rc<Vm>,
    levels: u8,
    format: Format,
    root: Buffer,
    /// All others, by the level of their entries and the address of their first page.
    others: RefCell<BTreeMap<(u8, u64), Buffer>>,
}

/// How many bits of an address are below those that a level decodes.
fn shift(level: u8) -> u32 {
    12 + 9 * u32::from(level)
}

impl Tables {
    /// An empty tree of so many levels, at most 6.
    ///
    /// # Errors
    /// No guest memory is left.
    pub fn new(vm: &Rc<Vm>, levels: u8, format: Format) -> Result<Self> {
        let root = vm.ram().alloc(8 * ENTRIES as usize, 8 * ENTRIES)?;
        Ok(Self { vm: vm.clone(), levels, format, root, others: RefCell::default() })
    }

    /// Where the first table is.
    pub fn root(&self) -> u64 {
        self.root.address().0
    }

    /// How many levels there are.
    pub fn levels(&self) -> u8 {
        self.levels
    }

    /// Writes the entry for `at` of a level as it is, making the tables that lead there.
    ///
    /// # Errors
    /// No guest memory is left, or there is no such level.
    pub fn set(&self, at: u64, level: u8, entry: u64) -> Result<()> {
        let mut others = self.others.borrow_mut();
        let top = self.levels - 1;
        if level > top {
            return Err(Error::failed(format!("there is no level {level} of {}", self.levels)));
        }
        let index = |level| (at >> shift(level)) as usize % ENTRIES as usize * 8;
        for below in (level..top).rev() {
            let key = (below, at >> shift(below + 1));
            if others.contains_key(&key) {
                continue;
            }
            let table = self.vm.ram().alloc(8 * ENTRIES as usize, 8 * ENTRIES)?;
            let leads = (self.format.table)(below + 1, table.address().0);
            let above = match below + 1 == top {
                true => &self.root,
                false => others
                    .get(&(below + 1, at >> shift(below + 2)))
                    .ok_or_else(|| Error::failed("a table has no table above it"))?,
            };
            above.write_le64(index(below + 1), leads)?;
            others.insert(key, table);
        }
        let table = match level == top {
            true => &self.root,
            false => &others[&(level, at >> shift(level + 1))],
        };
        table.write_le64(index(level), entry)?;
        // What this entry led to is not reached any more.
        others.retain(|&(below, number), _| {
            below >= level || number >> (shift(level) - shift(below + 1)) != at >> shift(level)
        });
        Ok(())
    }

    /// Changes the entry for `at` of a level, to which tables lead already.
    ///
    /// # Errors
    /// There is no such table, or QEMU does not answer.
    pub fn change(&self, at: u64, level: u8, how: impl FnOnce(u64) -> u64) -> Result<()> {
        let others = self.others.borrow();
        let table = match level + 1 == self.levels {
            true => Some(&self.root),
            false => others.get(&(level, at >> shift(level + 1))),
        };
        let table = table
            .ok_or_else(|| Error::failed(format!("no table of level {level} leads to {at:#x}")))?;
        let index = (at >> shift(level)) as usize % ENTRIES as usize * 8;
        table.write_le64(index, how(table.read_le64(index)?))
    }

    /// The level whose entries are pages of `1 << order` bytes.
    ///
    /// # Errors
    /// There is none.
    pub fn level_of(&self, order: u32) -> Result<u8> {
        let level = (0..self.levels).find(|&level| shift(level) == order);
        level.ok_or_else(|| Error::failed(format!("there are no pages of 2^{order} bytes")))
    }

    /// Maps a page of `1 << order` bytes.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer, or no memory is left for a table.
    pub fn map(&self, at: u64, to: u64, order: u32, access: Access) -> Result<()> {
        let level = self.level_of(order)?;
        self.set(at, level, (self.format.page)(level, to, access))
    }

    /// Has the entry for `at` of a level lead to a table at any address.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer, or no memory is left for a table.
    pub fn lead(&self, at: u64, level: u8, table: u64) -> Result<()> {
        self.set(at, level, (self.format.table)(level, table))
    }

    /// Takes the page of `1 << order` bytes at `at` out.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer, or no memory is left for a table.
    pub fn unmap(&self, at: u64, order: u32) -> Result<()> {
        self.set(at, self.level_of(order)?, 0)
    }
}
