//! A split ring (2.7) from the device's side, as a vhost-user back end has it: in either byte
//! order, with indirect tables and suppressed notifications.

use std::fs::File;
use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};

use super::device::Answer;
use super::memory::Memory;
use crate::protocol::Endian;
use crate::qos::virtio::{DESC_F_INDIRECT, DESC_F_NEXT, DESC_F_WRITE, RingAddresses, features};

/// Available and used flag (2.7.6, 2.7.8): no notification, please.
const NO_NOTIFICATION: u16 = 1;
/// The longest request that is taken, in bytes: more is a broken ring.
const LONGEST: u64 = 64 << 20;

/// What was negotiated, as far as rings go.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rules {
    pub accepted: u64,
    /// Whether writes are logged.
    pub is_logged: bool,
}

impl Rules {
    fn has(self, feature: u64) -> bool {
        self.accepted & feature != 0
    }
}

/// A request that was taken from a ring.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Chain {
    head: u16,
    /// What the driver wrote.
    pub readable: Vec<u8>,
    writable: Vec<(u64, u32)>,
}

impl Chain {
    /// How many bytes the driver has room for.
    pub fn room(&self) -> usize {
        self.writable.iter().map(|(_, length)| *length as usize).sum()
    }
}

/// A ring, and what QEMU has told of it.
pub(super) struct Ring {
    pub size: u32,
    /// Where it is in QEMU.
    pub user: Option<RingAddresses>,
    /// The guest-physical address of the used ring, if writes to it are logged.
    pub log: Option<u64>,
    pub base: Option<u32>,
    pub kick: Option<Arc<File>>,
    pub call: Option<File>,
    pub is_enabled: bool,
    pub order: Endian,
    pub kicks: u64,
    pub calls: u64,
    /// How many requests were given back.
    pub done: u64,
    /// Why nothing more is taken, if the ring breaks the rules.
    pub broken: Option<String>,
    next: u16,
    used: Option<u16>,
}

impl Default for Ring {
    fn default() -> Self {
        Self {
            size: 0,
            user: None,
            log: None,
            base: None,
            kick: None,
            call: None,
            is_enabled: false,
            order: if cfg!(target_endian = "big") { Endian::Big } else { Endian::Little },
            kicks: 0,
            calls: 0,
            done: 0,
            broken: None,
            next: 0,
            used: None,
        }
    }
}

impl Ring {
    /// Begins at `base`.
    pub fn set_base(&mut self, base: u32) {
        (self.base, self.next, self.used, self.broken) = (Some(base), base as u16, None, None);
    }

    /// Stops; returns where it would have gone on.
    pub fn stop(&mut self) -> u16 {
        (self.kick, self.used) = (None, None);
        self.next
    }

    /// Whether it is to be served.
    pub fn is_live(&self) -> bool {
        self.is_enabled && self.kick.is_some() && self.broken.is_none()
    }

    /// Takes what QEMU has signalled.
    pub fn take_kick(&mut self) -> std::io::Result<()> {
        let Some(kick) = &self.kick else { return Ok(()) };
        let mut count = [0; 8];
        (&**kick).read_exact(&mut count)?;
        self.kicks += u64::from_ne_bytes(count);
        Ok(())
    }

    /// Where it is, as guest-physical addresses.
    pub fn addresses(&self, memory: &Memory) -> Result<RingAddresses, String> {
        let user = self.user.ok_or("the ring has no addresses")?;
        let guest = |user: u64| {
            memory.guest(user).ok_or_else(|| format!("{user:#x} of QEMU is in no region"))
        };
        Ok(RingAddresses {
            descriptors: guest(user.descriptors)?,
            driver: guest(user.driver)?,
            device: guest(user.device)?,
        })
    }

    /// The byte order of what the driver writes.
    pub fn order(&self, rules: Rules) -> Endian {
        if rules.has(features::VERSION_1) { Endian::Little } else { self.order }
    }

    /// The index up to which requests are available.
    fn available(&self, memory: &Memory, rules: Rules) -> Result<u16, String> {
        memory.load16(self.order(rules), self.addresses(memory)?.driver + 2)
    }

    /// Takes the next request, if there is one.
    pub fn take(&mut self, memory: &Memory, rules: Rules) -> Result<Option<Chain>, String> {
        let (at, order) = (self.addresses(memory)?, self.order(rules));
        let mut available = self.available(memory, rules)?;
        if available == self.next && rules.has(features::EVENT_IDX) {
            // Tell from where on the driver is to kick, and look again.
            let event = at.device + 4 + 8 * u64::from(self.size);
            memory.store16(order, event, self.next, rules.is_logged)?;
            fence(Ordering::SeqCst);
            available = self.available(memory, rules)?;
        }
        let waiting = available.wrapping_sub(self.next);
        if waiting == 0 {
            return Ok(None);
        }
        if u32::from(waiting) > self.size {
            return Err(format!("{waiting} requests in a ring of {}", self.size));
        }
        let slot = u64::from(self.next) % u64::from(self.size);
        let head = memory.load16(order, at.driver + 4 + 2 * slot)?;
        let chain = self.follow(memory, order, at.descriptors, head)?;
        self.next = self.next.wrapping_add(1);
        Ok(Some(chain))
    }

    /// Follows the chain that begins at `head`.
    fn follow(
        &self,
        memory: &Memory,
        order: Endian,
        table: u64,
        head: u16,
    ) -> Result<Chain, String> {
        let mut chain = Chain { head, readable: Vec::new(), writable: Vec::new() };
        let (mut table, mut size, mut at) = (table, self.size, head);
        let (mut is_indirect, mut steps, mut total) = (false, 0, 0);
        loop {
            if u32::from(at) >= size {
                return Err(format!("descriptor {at} of {size}"));
            }
            steps += 1;
            if steps > size {
                return Err("a chain that loops".to_owned());
            }
            let mut bytes = [0; 16];
            memory.read(table + 16 * u64::from(at), &mut bytes)?;
            let (address, length) = (number(order, &bytes[..8]), number(order, &bytes[8..12]));
            let (flags, next) = (number(order, &bytes[12..14]), number(order, &bytes[14..]));
            let (flags, next) = (flags as u16, next as u16);
            if flags & DESC_F_INDIRECT != 0 {
                if is_indirect || flags & DESC_F_NEXT != 0 || length == 0 || length % 16 != 0 {
                    return Err(format!("an indirect table of {length} bytes, flags {flags:#x}"));
                }
                (table, size, at) = (address, (length / 16) as u32, 0);
                (is_indirect, steps) = (true, 0);
                continue;
            }
            total += length;
            if total > LONGEST {
                return Err(format!("a request of {total} bytes"));
            }
            if flags & DESC_F_WRITE != 0 {
                chain.writable.push((address, length as u32));
            } else if !chain.writable.is_empty() {
                return Err("a readable descriptor behind a writable one".to_owned());
            } else {
                let from = chain.readable.len();
                chain.readable.resize(from + length as usize, 0);
                memory.read(address, &mut chain.readable[from..])?;
            }
            if flags & DESC_F_NEXT == 0 {
                return Ok(chain);
            }
            at = next;
        }
    }

    /// Gives a request back with this answer, as much of it as there is room for.
    pub fn give(
        &mut self,
        memory: &Memory,
        rules: Rules,
        chain: &Chain,
        answer: &Answer,
    ) -> Result<(), String> {
        let (at, order) = (self.addresses(memory)?, self.order(rules));
        let (mut skip, mut rest) = (answer.skip, &answer.data[..]);
        for &(address, length) in &chain.writable {
            let skipped = skip.min(length as usize);
            let (piece, behind) = rest.split_at(rest.len().min(length as usize - skipped));
            let to = address.checked_add(skipped as u64).ok_or("a buffer beyond all addresses")?;
            memory.write(to, piece, rules.is_logged)?;
            (skip, rest) = (skip - skipped, behind);
        }
        let written = answer.skip - skip + answer.data.len() - rest.len();
        let used = match self.used {
            Some(used) => used,
            None => memory.load16(order, at.device + 2)?,
        };
        let slot = at.device + 4 + 8 * (u64::from(used) % u64::from(self.size));
        let element = [u32::from(chain.head), written as u32];
        let bytes = match order {
            Endian::Little => element.map(u32::to_le_bytes).concat(),
            Endian::Big => element.map(u32::to_be_bytes).concat(),
        };
        memory.write(slot, &bytes, rules.is_logged)?;
        memory.store16(order, at.device + 2, used.wrapping_add(1), rules.is_logged)?;
        (self.used, self.done) = (Some(used.wrapping_add(1)), self.done + 1);
        Ok(())
    }

    /// Calls the driver, if it wants to know that `given` requests more were given back.
    pub fn notify(&mut self, memory: &Memory, rules: Rules, given: u16) -> Result<(), String> {
        fence(Ordering::SeqCst);
        let (at, order) = (self.addresses(memory)?, self.order(rules));
        let is_empty = self.available(memory, rules)? == self.next;
        let wanted = if rules.has(features::NOTIFY_ON_EMPTY) && is_empty {
            true
        } else if rules.has(features::EVENT_IDX) {
            let event = memory.load16(order, at.driver + 4 + 2 * u64::from(self.size))?;
            let now = self.used.unwrap_or_default();
            now.wrapping_sub(event).wrapping_sub(1) < given
        } else {
            memory.load16(order, at.driver)? & NO_NOTIFICATION == 0
        };
        if given > 0 && wanted {
            self.signal()?;
        }
        Ok(())
    }

    /// Calls the driver.
    fn signal(&mut self) -> Result<(), String> {
        if let Some(call) = &mut self.call {
            call.write_all(&1_u64.to_ne_bytes()).map_err(|e| format!("calling: {e}"))?;
            self.calls += 1;
        }
        Ok(())
    }
}

/// A number of up to eight bytes.
pub(super) fn number(order: Endian, bytes: &[u8]) -> u64 {
    let next = |number: u64, byte: &u8| number << 8 | u64::from(*byte);
    match order {
        Endian::Little => bytes.iter().rev().fold(0, next),
        Endian::Big => bytes.iter().fold(0, next),
    }
}
