//! Guest memory as a vhost-user back end is given it: regions of files, mapped here, and the log
//! of pages that it has written.

use std::fs::File;
use std::sync::atomic::{AtomicU16, Ordering};

use vhost::vhost_user::message::VhostUserMemoryRegion;
use vm_memory::{Bytes, FileOffset, MmapRegion, VolatileMemory};

use crate::protocol::Endian;

/// How many bytes of guest memory a bit of the log stands for.
const LOG_PAGE: u64 = 4096;

/// A piece of guest memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Region {
    /// The guest-physical address of its first byte.
    pub guest: u64,
    /// The address of its first byte in QEMU.
    pub user: u64,
    /// Its length in bytes.
    pub length: u64,
    /// Where in its file it begins, in bytes.
    pub offset: u64,
}

impl Region {
    pub(super) fn of(message: &VhostUserMemoryRegion) -> Self {
        Self {
            guest: message.guest_phys_addr,
            user: message.user_addr,
            length: message.memory_size,
            offset: message.mmap_offset,
        }
    }

    /// How far `address` is behind `start`, if `length` bytes from there on are in the region.
    fn offset_of(&self, start: u64, address: u64, length: u64) -> Option<u64> {
        let offset = address.checked_sub(start)?;
        (offset.checked_add(length)? <= self.length).then_some(offset)
    }
}

/// All of it.
#[derive(Default)]
pub(super) struct Memory {
    regions: Vec<(Region, MmapRegion<()>)>,
    log: Option<MmapRegion<()>>,
}

impl Memory {
    /// No memory, with the log of this one.
    pub fn with_same_log(self) -> Self {
        Self { regions: Vec::new(), log: self.log }
    }

    /// Maps one more region.
    pub fn add(&mut self, region: Region, file: File) -> Result<(), String> {
        let at = FileOffset::new(file, region.offset);
        let length = usize::try_from(region.length).map_err(|e| e.to_string())?;
        let mapped = MmapRegion::from_file(at, length);
        let mapped = mapped.map_err(|e| format!("mapping {region:x?}: {e}"))?;
        self.regions.push((region, mapped));
        Ok(())
    }

    /// Unmaps the region that begins at the guest-physical address `guest`.
    pub fn remove(&mut self, guest: u64) -> Result<(), String> {
        let place = self.regions.iter().position(|(region, _)| region.guest == guest);
        let place = place.ok_or_else(|| format!("no region at {guest:#x}"))?;
        self.regions.remove(place);
        Ok(())
    }

    pub fn regions(&self) -> Vec<Region> {
        self.regions.iter().map(|(region, _)| *region).collect()
    }

    /// The log of pages written, from now on.
    pub fn set_log(&mut self, offset: u64, length: u64, file: File) -> Result<(), String> {
        let length = usize::try_from(length).map_err(|e| e.to_string())?;
        let mapped = MmapRegion::from_file(FileOffset::new(file, offset), length);
        self.log = Some(mapped.map_err(|e| format!("mapping the log: {e}"))?);
        Ok(())
    }

    /// How many bytes the log has.
    pub fn log_length(&self) -> Option<usize> {
        self.log.as_ref().map(MmapRegion::size)
    }

    /// The guest-physical address of what is at `user` in QEMU.
    pub fn guest(&self, user: u64) -> Option<u64> {
        self.regions.iter().find_map(|(region, _)| {
            region.offset_of(region.user, user, 1).map(|offset| region.guest + offset)
        })
    }

    fn find(&self, address: u64, length: usize) -> Result<(&MmapRegion<()>, usize), String> {
        let found = self.regions.iter().find_map(|(region, mapped)| {
            let offset = region.offset_of(region.guest, address, length as u64)?;
            Some((mapped, offset as usize))
        });
        found.ok_or_else(|| format!("{length} bytes at {address:#x} are in no region"))
    }

    pub fn read(&self, address: u64, into: &mut [u8]) -> Result<(), String> {
        let (mapped, offset) = self.find(address, into.len())?;
        mapped.as_volatile_slice().read_slice(into, offset).map_err(|e| e.to_string())
    }

    pub fn write(&self, address: u64, from: &[u8], is_logged: bool) -> Result<(), String> {
        let (mapped, offset) = self.find(address, from.len())?;
        let written = mapped.as_volatile_slice().write_slice(from, offset);
        written.map_err(|e| e.to_string())?;
        if is_logged && !from.is_empty() {
            self.note_written(address, from.len() as u64)?;
        }
        Ok(())
    }

    /// Sets the bits of the pages of `length` bytes at `address` in the log.
    pub fn note_written(&self, address: u64, length: u64) -> Result<(), String> {
        let log = self.log.as_ref().ok_or("pages are to be logged, and there is no log")?;
        for page in address / LOG_PAGE..=(address + length - 1) / LOG_PAGE {
            let at = (page / 16 * 2) as usize;
            let word = log.as_volatile_slice();
            let word = word.get_atomic_ref::<AtomicU16>(at);
            let word = word.map_err(|e| format!("the log has no page {page:#x}: {e}"))?;
            word.fetch_or(1 << (page % 16), Ordering::SeqCst);
        }
        Ok(())
    }

    /// How many pages are written by the log.
    ///
    /// # Errors
    /// There is no log.
    pub fn logged(&self) -> Result<u64, String> {
        let log = self.log.as_ref().ok_or("there is no log")?;
        let mut bits = vec![0; log.size()];
        log.as_volatile_slice().copy_to(&mut bits[..]);
        Ok(bits.iter().map(|byte: &u8| u64::from(byte.count_ones())).sum())
    }

    /// Reads 16 bits at an even address, at once and before all that follows.
    pub fn load16(&self, order: Endian, address: u64) -> Result<u16, String> {
        let (mapped, offset) = self.find(address, 2)?;
        let loaded = mapped.as_volatile_slice().load::<u16>(offset, Ordering::Acquire);
        let loaded = loaded.map_err(|e| e.to_string())?;
        Ok(match order {
            Endian::Little => u16::from_le(loaded),
            Endian::Big => u16::from_be(loaded),
        })
    }

    /// Writes 16 bits at an even address, at once and after all that was written before.
    pub fn store16(
        &self,
        order: Endian,
        address: u64,
        value: u16,
        is_logged: bool,
    ) -> Result<(), String> {
        let (mapped, offset) = self.find(address, 2)?;
        let value = match order {
            Endian::Little => value.to_le(),
            Endian::Big => value.to_be(),
        };
        let stored = mapped.as_volatile_slice().store(value, offset, Ordering::Release);
        stored.map_err(|e| e.to_string())?;
        if is_logged { self.note_written(address, 2) } else { Ok(()) }
    }
}
