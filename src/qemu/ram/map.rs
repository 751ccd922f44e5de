//! A shared memfd, mapped here, that QEMU uses as the guest's RAM.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use nix::fcntl::{FallocateFlags, fallocate};
use nix::libc::off_t;
use nix::sys::memfd::{MFdFlags, memfd_create};
use vm_memory::{Bytes, FileOffset, MmapRegion, VolatileMemory};

use crate::{Error, Result};

/// Memory that two processes share.
pub struct Mapping {
    region: MmapRegion,
}

/// A file that exists in memory only, `size` bytes of zeroes. It is closed in children
/// that do not ask for it.
pub(in crate::qemu) fn memory_file(name: &str, size: u64) -> io::Result<File> {
    let file = File::from(memfd_create(name, MFdFlags::MFD_CLOEXEC)?);
    file.set_len(size)?;
    Ok(file)
}

/// Makes the first `size` bytes of such a file zeroes again, for all who have it.
pub(in crate::qemu) fn zero(file: impl AsFd, size: u64) -> io::Result<()> {
    let hole = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
    let size = off_t::try_from(size).map_err(io::Error::other)?;
    Ok(fallocate(file, hole, 0, size)?)
}

impl Mapping {
    /// `size` bytes of zeroes.
    ///
    /// # Errors
    /// Those of the kernel: no memory, no files left.
    pub fn new(size: u64) -> io::Result<Self> {
        let file = memory_file("qgraph-ram", size)?;
        let length = usize::try_from(size).map_err(io::Error::other)?;
        let region = MmapRegion::from_file(FileOffset::new(file, 0), length);
        Ok(Self { region: region.map_err(io::Error::other)? })
    }

    /// The file, for QEMU to inherit.
    pub fn file(&self) -> Option<BorrowedFd<'_>> {
        self.region.file_offset().map(|file| file.file().as_fd())
    }

    pub(super) fn read(&self, offset: usize, into: &mut [u8]) -> Result<()> {
        let slice = self.region.as_volatile_slice();
        slice.read_slice(into, offset).map_err(|e| Error::failed(e.to_string()))
    }

    pub(super) fn write(&self, offset: usize, from: &[u8]) -> Result<()> {
        let slice = self.region.as_volatile_slice();
        slice.write_slice(from, offset).map_err(|e| Error::failed(e.to_string()))
    }
}
