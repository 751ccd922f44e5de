//! Isochronous packets of an open host controller (OpenHCI 1.0a, 4.2.1 and 4.3.2): an endpoint at the
//! end of every periodic list, and transfer descriptors of up to eight packets.

use std::rc::Rc;

use super::schedule::{HALTED, HEAD, NEXT, TAIL};
use crate::qemu::{Buffer, Vm};
use crate::qos::usb::{Completion, Packets, Status, Ticket};
use crate::{Error, Result};

/// The size of a descriptor of packets, and the most packets of one.
const SIZE: usize = 32;
const MOST: usize = 8;
/// How many bytes the two pages of a descriptor have.
const PAGE: u64 = 0x1000;
/// ED: its transfer descriptors are isochronous; directions.
const FORMAT: u32 = 1 << 15;
const OUT: u32 = 1 << 11;
const IN: u32 = 2 << 11;
/// TD: no interrupt.
const SILENT: u32 = 7 << 21;
/// The condition code of what was not looked at (4.3.3), that or one more.
const NOT_ACCESSED: u32 = 0xe;

/// The packets of one descriptor: the first, how many, and where their data begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Part {
    first: usize,
    count: usize,
    address: u64,
    length: u64,
}

/// Packets in the periodic lists.
pub(super) struct Stream {
    pub ticket: Ticket,
    memory: Buffer,
    parts: Vec<Part>,
    lengths: Vec<usize>,
    is_in: bool,
}

/// Shares packets out among descriptors, whose data are on two pages each.
fn parts(address: u64, lengths: &[usize]) -> Vec<Part> {
    let mut parts: Vec<Part> = Vec::new();
    let mut at = address;
    for (number, &length) in lengths.iter().enumerate() {
        let end = at + length as u64;
        match parts.last_mut() {
            Some(part) if part.count < MOST && end <= (part.address & !(PAGE - 1)) + 2 * PAGE => {
                part.count += 1;
                part.length += length as u64;
            }
            _ => parts.push(Part { first: number, count: 1, address: at, length: length as u64 }),
        }
        at = end;
    }
    parts
}

impl Stream {
    /// The descriptors of packets, which are not linked.
    pub fn new(vm: &Rc<Vm>, ticket: Ticket, packets: &Packets) -> Result<Self> {
        let parts = parts(packets.address, packets.lengths);
        // The endpoint, the descriptors, and an empty one that ends them.
        let memory = vm.ram().alloc(SIZE * (parts.len() + 2), 32)?;
        let base = memory.address().0 as u32;
        let is_in = packets.endpoint.is_in();
        for (number, part) in parts.iter().enumerate() {
            let offset = SIZE * (number + 1);
            let silent = if number + 1 == parts.len() { 0 } else { SILENT };
            let frame = (packets.first + part.first as u32) & 0xffff;
            let word = NOT_ACCESSED << 28 | (part.count as u32 - 1) << 24 | silent | frame;
            let page = part.address & !(PAGE - 1);
            memory.write_le32(offset, word)?;
            memory.write_le32(offset + 4, page as u32)?;
            memory.write_le32(offset + 8, base + (offset + SIZE) as u32)?;
            memory.write_le32(offset + 12, (part.address + part.length).wrapping_sub(1) as u32)?;
            let mut at = part.address - page;
            for packet in 0..part.count {
                let code = (NOT_ACCESSED << 12) as u16;
                memory.write(offset + 16 + 2 * packet, &(code | at as u16).to_le_bytes())?;
                at += packets.lengths[part.first + packet] as u64;
            }
        }
        let endpoint = u32::from(packets.device.address.get())
            | u32::from(packets.endpoint.number()) << 7
            | FORMAT
            | if is_in { IN } else { OUT }
            | (packets.endpoint.packet as u32) << 16;
        memory.write_le32(0, endpoint)?;
        memory.write_le32(TAIL, base + (SIZE * (parts.len() + 1)) as u32)?;
        memory.write_le32(HEAD, base + SIZE as u32)?;
        Ok(Self { ticket, memory, parts, lengths: packets.lengths.to_vec(), is_in })
    }

    /// Puts the endpoint before `next`; returns what is first then.
    pub fn link(&self, next: u32) -> Result<u32> {
        self.memory.write_le32(NEXT, next)?;
        Ok(self.memory.address().0 as u32)
    }

    /// What became of each packet, if all are over.
    pub fn completions(&self) -> Result<Option<Vec<Completion>>> {
        if self.memory.read_le32(HEAD)? & HALTED != 0 {
            return Err(Error::failed("an isochronous endpoint has halted"));
        }
        let mut completions = Vec::new();
        for (number, part) in self.parts.iter().enumerate() {
            let offset = SIZE * (number + 1);
            if self.memory.read_le32(offset)? >> 28 >= NOT_ACCESSED {
                return Ok(None);
            }
            for packet in 0..part.count {
                let mut word = [0; 2];
                self.memory.read(offset + 16 + 2 * packet, &mut word)?;
                let word = u16::from_le_bytes(word);
                let length = self.lengths[part.first + packet];
                let size = usize::from(word & 0x7ff);
                // Condition codes (table 4-7). What was sent is not counted (4.3.2.4).
                let (status, moved) = match u32::from(word >> 12) {
                    0 if !self.is_in && size == 0 => (Status::Done, length),
                    9 if !self.is_in => (Status::Done, 0),
                    0 | 9 => (Status::Done, size),
                    4 => (Status::Stall, 0),
                    5 => (Status::NoAnswer, 0),
                    8 => (Status::Babble, size),
                    NOT_ACCESSED.. => (Status::Missed, 0),
                    code => return Err(Error::failed(format!("the condition code {code}"))),
                };
                if moved > length {
                    return Err(Error::failed(format!("{moved} bytes in a packet of {length}")));
                }
                completions.push(Completion { status, moved });
            }
        }
        Ok(Some(completions))
    }

    /// Its memory.
    pub fn into_memory(self) -> Buffer {
        self.memory
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Would catch a descriptor of more packets or pages than there can be.
    #[test]
    fn parts_of_packets() {
        let part = |first, count, address, length| Part { first, count, address, length };
        let ten = parts(0x1000, &[192; 10]);
        assert_eq!(ten, [part(0, 8, 0x1000, 1536), part(8, 2, 0x1600, 384)]);
        let wide = parts(0x1f00, &[1000; 8]);
        assert_eq!(wide, [part(0, 4, 0x1f00, 4000), part(4, 4, 0x2ea0, 4000)]);
    }
}
