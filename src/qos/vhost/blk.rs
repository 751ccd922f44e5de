//! A block device (5.2) behind a vhost-user back end, over an image of the machine.

use std::fs::File;
use std::os::unix::fs::FileExt;

use super::device::{Answer, Device};
use super::ring::number;
use crate::protocol::Endian;
use crate::qos::block::SERIAL;
use crate::qos::virtio::blk::{self, ID_BYTES, SECTOR};

/// The length of the configuration in bytes.
const CONFIG: usize = 57;
/// The most queues.
const QUEUES: u16 = 4;
/// The most segments of a request's data.
const SEGMENTS: u32 = 254;
/// The length of a request's header in bytes.
const HEADER: usize = 16;
/// The flag of a range that may be unmapped.
const UNMAP: u32 = 1;

/// The device.
pub struct Disk {
    image: File,
    config: [u8; CONFIG],
}

impl Disk {
    /// A disk over `image`.
    ///
    /// # Errors
    /// Its length cannot be told.
    pub fn new(image: File) -> std::io::Result<Self> {
        let sectors = image.metadata()?.len() / SECTOR as u64;
        let mut disk = Self { image, config: [0; CONFIG] };
        disk.put(blk::CAPACITY, &sectors.to_le_bytes());
        disk.put(blk::SEG_MAX, &SEGMENTS.to_le_bytes());
        disk.put(blk::CYLINDERS, &((sectors / (16 * 63)) as u16).to_le_bytes());
        disk.put(blk::HEADS, &[16, 63]);
        disk.put(blk::BLK_SIZE, &(SECTOR as u32).to_le_bytes());
        disk.put(blk::NUM_QUEUES, &QUEUES.to_le_bytes());
        disk.put(blk::MAX_DISCARD_SECTORS, &0x3f_ffff_u32.to_le_bytes());
        disk.put(blk::MAX_DISCARD_SECTORS + 4, &1_u32.to_le_bytes());
        disk.put(blk::MAX_DISCARD_SECTORS + 8, &1_u32.to_le_bytes());
        disk.put(blk::MAX_WRITE_ZEROES_SECTORS, &0x3f_ffff_u32.to_le_bytes());
        disk.put(blk::MAX_WRITE_ZEROES_SECTORS + 4, &1_u32.to_le_bytes());
        disk.put(blk::MAX_WRITE_ZEROES_SECTORS + 8, &[1]);
        Ok(disk)
    }

    fn put(&mut self, at: u64, bytes: &[u8]) {
        let at = at as usize;
        self.config[at..at + bytes.len()].copy_from_slice(bytes);
    }

    fn sectors(&self) -> u64 {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&self.config[..8]);
        u64::from_le_bytes(bytes)
    }

    /// Whether `length` bytes from `sector` on are whole sectors of the disk.
    fn has(&self, sector: u64, length: usize) -> bool {
        let count = (length / SECTOR) as u64;
        let end = sector.checked_add(count);
        length.is_multiple_of(SECTOR) && end.is_some_and(|end| end <= self.sectors())
    }

    fn clear(&self, kind: u32, data: &[u8], order: Endian) -> u8 {
        if data.len() != 16 {
            return blk::S_IOERR;
        }
        let (sector, count) = (number(order, &data[..8]), number(order, &data[8..12]));
        let flags = number(order, &data[12..]) as u32;
        let known = if kind == blk::T_WRITE_ZEROES { UNMAP } else { 0 };
        if flags & !known != 0 {
            return blk::S_UNSUPP;
        }
        let length = count as usize * SECTOR;
        if !self.has(sector, length) {
            return blk::S_IOERR;
        }
        status(self.image.write_all_at(&vec![0; length], sector * SECTOR as u64))
    }
}

fn status<T>(done: std::io::Result<T>) -> u8 {
    if done.is_ok() { blk::S_OK } else { blk::S_IOERR }
}

impl Device for Disk {
    fn features(&self) -> u64 {
        blk::FEATURES.must | blk::F_MQ
    }

    fn queues(&self) -> u16 {
        QUEUES
    }

    fn config(&self) -> &[u8] {
        &self.config
    }

    fn set_config(&mut self, offset: usize, data: &[u8]) {
        if let Some(place) = self.config.get_mut(offset..offset + data.len()) {
            place.copy_from_slice(data);
        }
    }

    fn answer(&mut self, _: u16, request: &[u8], room: usize, order: Endian) -> Answer {
        let Some(room) = room.checked_sub(1) else { return Answer::default() };
        let Some((header, data)) = request.split_at_checked(HEADER) else {
            return Answer { skip: room, data: vec![blk::S_IOERR] };
        };
        let (kind, sector) = (number(order, &header[..4]) as u32, number(order, &header[8..]));
        let byte = sector.wrapping_mul(SECTOR as u64);
        let mut answer = Vec::new();
        let status = match kind {
            blk::T_IN if self.has(sector, room) => {
                answer.resize(room, 0);
                status(self.image.read_exact_at(&mut answer, byte))
            }
            blk::T_OUT if self.has(sector, data.len()) => {
                status(self.image.write_all_at(data, byte))
            }
            blk::T_IN | blk::T_OUT => blk::S_IOERR,
            blk::T_FLUSH => blk::S_OK,
            blk::T_GET_ID => {
                answer.extend_from_slice(SERIAL.as_bytes());
                answer.resize(ID_BYTES.min(room), 0);
                blk::S_OK
            }
            blk::T_DISCARD | blk::T_WRITE_ZEROES => self.clear(kind, data, order),
            _ => blk::S_UNSUPP,
        };
        // The status is the last byte, whatever is before it.
        match answer.len() == room {
            true => {
                answer.push(status);
                answer.into()
            }
            false => Answer { skip: room, data: vec![status] },
        }
    }
}
