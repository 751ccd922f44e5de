//! The guest's RAM: mapped where the machine allows it, over the qtest protocol elsewhere.
//! Whoever uses it cannot tell which.

mod buffer;
mod map;
#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::os::fd::BorrowedFd;
use std::rc::Rc;

use super::heap::Heap;
pub use buffer::Buffer;
pub(crate) use buffer::GUARD_PATTERN;
pub(super) use map::{Mapping, memory_file, zero};
use vm_memory::GuestAddress;

use super::command_line::RamSpec;
use crate::protocol::{Qtest, Transcript};
use crate::{Error, Result};

/// What tests may use of it.
fn heap(spec: RamSpec) -> Heap {
    let (from, to) = (spec.usable.0, spec.usable.1.min(spec.size));
    Heap::new(spec.base.saturating_add(from), to.saturating_sub(from))
}

/// The RAM of one machine.
pub struct Ram {
    spec: RamSpec,
    mapping: Option<Mapping>,
    qtest: Rc<Qtest>,
    transcript: Rc<Transcript>,
    heap: RefCell<Heap>,
    /// What was found wrong with buffers when they were dropped.
    faults: RefCell<Vec<String>>,
}

impl Ram {
    /// The RAM that `spec` describes, through `mapping` if there is one.
    pub(super) fn new(spec: RamSpec, mapping: Option<Mapping>, qtest: Rc<Qtest>) -> Rc<Self> {
        let (transcript, heap) = (qtest.transcript(), heap(spec).into());
        Rc::new(Self { spec, mapping, qtest, transcript, heap, faults: RefCell::default() })
    }

    /// Makes it as it was at the start, for the next test: all zeroes, nothing allocated.
    ///
    /// # Errors
    /// The kernel does not give the memory back.
    pub(super) fn renew(&self) -> std::io::Result<()> {
        if let Some(file) = self.file() {
            zero(file, self.spec.size)?;
        }
        *self.heap.borrow_mut() = heap(self.spec);
        self.faults.borrow_mut().clear();
        Ok(())
    }

    /// Where it is and how large.
    pub fn spec(&self) -> RamSpec {
        self.spec
    }

    /// The file that is mapped here, if one is.
    pub(super) fn file(&self) -> Option<BorrowedFd<'_>> {
        self.mapping.as_ref().and_then(Mapping::file)
    }

    /// Whether it is mapped here.
    pub fn is_mapped(&self) -> bool {
        self.mapping.is_some()
    }

    /// The same RAM, but reached over the protocol, for comparison.
    pub fn unmapped(&self) -> Rc<Self> {
        Self::new(RamSpec { usable: (0, 0), ..self.spec }, None, self.qtest.clone())
    }

    /// The offset of `length` bytes at `address` in the mapping.
    fn offset(&self, address: GuestAddress, length: usize) -> Result<usize> {
        let offset = address.0.checked_sub(self.spec.base);
        let fits = |&offset: &u64| {
            offset.checked_add(length as u64).is_some_and(|end| end <= self.spec.size)
        };
        offset.filter(fits).and_then(|offset| usize::try_from(offset).ok()).ok_or_else(|| {
            Error::failed(format!(
                "{length} bytes at {:#x} are not in the RAM, which is {:#x} bytes at {:#x}",
                address.0, self.spec.size, self.spec.base
            ))
        })
    }

    /// Reads guest memory.
    ///
    /// # Errors
    /// The range is not in RAM, or QEMU does not answer.
    pub fn read(&self, address: GuestAddress, into: &mut [u8]) -> Result<()> {
        let offset = self.offset(address, into.len())?;
        match &self.mapping {
            Some(mapping) => {
                self.qtest.flush()?;
                mapping.read(offset, into)?;
                self.transcript.tap().with(|tap| tap.memory_read(address, into));
                Ok(())
            }
            None => Ok(self.qtest.b64read(address, into)?),
        }
    }

    /// Writes guest memory.
    ///
    /// # Errors
    /// As for [`Ram::read`].
    pub fn write(&self, address: GuestAddress, from: &[u8]) -> Result<()> {
        let offset = self.offset(address, from.len())?;
        match &self.mapping {
            Some(mapping) => {
                self.qtest.flush()?;
                let spoiled = self.transcript.tap().spoiled(|it| it.memory(from)).flatten();
                let from = spoiled.as_deref().unwrap_or(from);
                self.transcript.tap().with(|tap| tap.memory_written(address, from));
                mapping.write(offset, from)
            }
            None => Ok(self.qtest.b64write(address, from)?),
        }
    }

    /// A buffer of `length` bytes whose address is a multiple of `align`, a power of two.
    /// It is all zeroes and freed when dropped.
    ///
    /// # Errors
    /// `align` is no power of two, no such space is left, or QEMU does not answer.
    pub fn alloc(self: &Rc<Self>, length: usize, align: u64) -> Result<Buffer> {
        Buffer::new(self.clone(), length, align)
    }

    /// What is wrong at the end of a test: buffers written past their ends, buffers never
    /// freed.
    pub fn findings(&self) -> Vec<String> {
        let mut findings = self.faults.borrow().clone();
        findings.extend(self.heap.borrow().taken().map(|(start, length)| {
            let (start, length) = Buffer::inside(start, length);
            format!("the buffer of {length} bytes at {start:#x} was never freed")
        }));
        findings
    }
}
