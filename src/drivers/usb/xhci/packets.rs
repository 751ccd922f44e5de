//! Isochronous packets of an extensible host controller (xHCI 1.1, 3.2.11, 4.11.2.5 and 6.4.1.3): an
//! entry of the endpoint's ring for each.

use super::core::{BABBLE, INTERRUPT, ON_SHORT, SHORT, STALL, SUCCESS, TRANSACTION};
use super::ring::{Event, Ring};
use crate::qos::usb::{Completion, Packets, Status, Ticket};
use crate::{Error, Result};

/// Entry: an isochronous transfer.
const ISOCHRONOUS: u32 = 5 << 10;
/// The completion code of a packet whose frame was over (table 6-90).
const MISSED: u32 = 23;

/// Packets in a ring.
pub(super) struct Stream {
    pub ticket: Ticket,
    pub slot: u32,
    pub dci: u32,
    /// The address of each packet's entry, its length, and what became of it.
    packets: Vec<(u64, usize, Option<Completion>)>,
}

impl Stream {
    /// Adds packets to the ring of an endpoint.
    pub fn new(
        ring: &mut Ring,
        ticket: Ticket,
        (slot, dci): (u32, u32),
        packets: &Packets,
    ) -> Result<Self> {
        let (mut address, mut entries) = (packets.address, Vec::new());
        for (number, &length) in packets.lengths.iter().enumerate() {
            let frame = (packets.first + number as u32) & 0x7ff;
            let control = ISOCHRONOUS | frame << 20 | INTERRUPT | ON_SHORT;
            entries.push((ring.push(address, length as u32, control)?, length, None));
            address = address.wrapping_add(length as u64);
        }
        Ok(Self { ticket, slot, dci, packets: entries })
    }

    /// Whether an entry is one of these packets, and not over.
    pub fn has(&self, entry: u64) -> bool {
        self.packets.iter().any(|packet| packet.0 == entry && packet.2.is_none())
    }

    /// Notes what an event says of a packet.
    pub fn event(&mut self, event: Event) -> Result<()> {
        let is_of = |it: &&mut (u64, usize, Option<Completion>)| it.0 == event.pointer;
        let Some(packet) = self.packets.iter_mut().find(is_of) else { return Ok(()) };
        let status = match event.code {
            SUCCESS | SHORT => Status::Done,
            STALL => Status::Stall,
            BABBLE => Status::Babble,
            TRANSACTION => Status::NoAnswer,
            MISSED => Status::Missed,
            code => {
                return Err(Error::failed(format!("a packet ends with completion code {code}")));
            }
        };
        let moved = match status {
            Status::Done => packet.1.checked_sub(event.left),
            _ => Some(0),
        };
        let moved = moved.ok_or_else(|| {
            Error::failed(format!("{} bytes left of a packet of {}", event.left, packet.1))
        })?;
        packet.2 = Some(Completion { status, moved });
        Ok(())
    }

    /// What became of each packet, if all are over.
    pub fn completions(&self) -> Option<Vec<Completion>> {
        self.packets.iter().map(|packet| packet.2).collect()
    }
}
