//! Isochronous packets of a universal host controller (UHCI Design Guide 1.1, 3.2 and 3.4.2): a
//! transfer descriptor in the list of frames for each.

use std::rc::Rc;

use super::schedule::{ACTIVE, BABBLE, FAILED, FRAMES, IN, INTERRUPT, OUT, STALLED, encoded};
use crate::qemu::{Buffer, Vm};
use crate::qos::usb::{Completion, Packets, Status, Ticket};
use crate::{Error, Result};

/// How far one descriptor is from the next.
const STRIDE: usize = 16;
/// TD: isochronous.
const ISOCHRONOUS: u32 = 1 << 25;
/// After so many frames the number of frames begins anew.
const NUMBERS: u32 = 0x800;

/// Packets in the list of frames.
pub(super) struct Stream {
    pub ticket: Ticket,
    memory: Buffer,
    first: u32,
    lengths: Vec<usize>,
}

impl Stream {
    /// The descriptors of packets, which are not linked.
    pub fn new(vm: &Rc<Vm>, ticket: Ticket, packets: &Packets) -> Result<Self> {
        let memory = vm.ram().alloc(STRIDE * packets.lengths.len().max(1), 16)?;
        let mut address = packets.address as u32;
        for (at, &length) in packets.lengths.iter().enumerate() {
            let is_last = at + 1 == packets.lengths.len();
            let pid = if packets.endpoint.is_in() { IN } else { OUT };
            let token = pid
                | u32::from(packets.device.address.get()) << 8
                | u32::from(packets.endpoint.number()) << 15
                | encoded(length) << 21;
            let interrupt = if is_last { INTERRUPT } else { 0 };
            memory.write_le32(STRIDE * at + 4, ACTIVE | ISOCHRONOUS | interrupt)?;
            memory.write_le32(STRIDE * at + 8, token)?;
            memory.write_le32(STRIDE * at + 12, address)?;
            address = address.wrapping_add(length as u32);
        }
        Ok(Self { ticket, memory, first: packets.first, lengths: packets.lengths.to_vec() })
    }

    /// The entries of the list that have a packet.
    pub fn frames(&self) -> Vec<usize> {
        (0..self.lengths.len()).map(|at| (self.first as usize + at) % FRAMES).collect()
    }

    /// Puts the packet of an entry, if there is one, before `next`; returns what is first then.
    pub fn link(&self, frame: usize, next: u32) -> Result<u32> {
        let Some(at) = self.frames().iter().position(|it| *it == frame) else { return Ok(next) };
        self.memory.write_le32(STRIDE * at, next)?;
        Ok(self.memory.address().0 as u32 + (STRIDE * at) as u32)
    }

    /// What became of each packet, if frame `now` is the current one and the last is over.
    pub fn completions(&self, now: u32) -> Result<Option<Vec<Completion>>> {
        let count = self.lengths.len() as u32;
        let since = now.wrapping_sub(self.first) % NUMBERS;
        // The controller is at a frame until its number is the next one, and numbers are read before.
        let is_over = (count + 1..NUMBERS / 2 + count).contains(&since);
        let mut completions = Vec::new();
        for (at, &length) in self.lengths.iter().enumerate() {
            let word = self.memory.read_le32(STRIDE * at + 4)?;
            if word & ACTIVE != 0 {
                if !is_over {
                    return Ok(None);
                }
                completions.push(Completion { status: Status::Missed, moved: 0 });
                continue;
            }
            let moved = (word.wrapping_add(1) & 0x7ff) as usize;
            let status = match word {
                _ if word & BABBLE != 0 => Status::Babble,
                _ if word & STALLED != 0 => Status::Stall,
                _ if word & FAILED != 0 => Status::NoAnswer,
                _ => Status::Done,
            };
            if moved > length {
                return Err(Error::failed(format!("{moved} bytes in a packet of {length}")));
            }
            completions.push(Completion { status, moved });
        }
        Ok(Some(completions))
    }

    /// Its memory.
    pub fn into_memory(self) -> Buffer {
        self.memory
    }
}
