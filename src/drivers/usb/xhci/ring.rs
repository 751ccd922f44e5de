//! Rings of an extensible host controller (xHCI 1.1, 4.9): of commands and transfers, which software
//! fills, and of events, which the controller fills.

use std::rc::Rc;

use crate::Result;
use crate::qemu::{Buffer, Vm};

/// The size of an entry in bytes.
pub(super) const ENTRY: usize = 16;
/// How many entries a ring has, a link to the first included.
const ENTRIES: usize = 64;
/// How many entries the ring of events has.
pub(super) const EVENTS: usize = 128;
/// Entry: the type of a link; at a link, the cycle bit toggles.
const LINK: u32 = 6 << 10;
const TOGGLE: u32 = 1 << 1;
/// Entry: one transfer with the next.
const CHAIN: u32 = 1 << 4;

/// A ring that software fills.
pub(super) struct Ring {
    memory: Buffer,
    next: usize,
    cycle: bool,
}

impl Ring {
    /// An empty ring.
    pub fn new(vm: &Rc<Vm>) -> Result<Self> {
        Ok(Self { memory: vm.ram().alloc(ENTRY * ENTRIES, 1024)?, next: 0, cycle: true })
    }

    /// Where the next entry goes, and the cycle bit that makes it valid.
    pub fn position(&self) -> (u64, bool) {
        (self.memory.address().0 + (ENTRY * self.next) as u64, self.cycle)
    }

    /// Both in one word, as contexts and commands have it.
    pub fn dequeue(&self) -> u64 {
        let (position, cycle) = self.position();
        position | u64::from(cycle)
    }

    /// Adds an entry, whose address it returns.
    pub fn push(&mut self, parameter: u64, status: u32, control: u32) -> Result<u64> {
        let at = self.position().0;
        self.put(parameter, status, control)?;
        self.next += 1;
        if self.next == ENTRIES - 1 {
            let first = self.memory.address().0;
            self.put(first, 0, LINK | TOGGLE | control & CHAIN)?;
            (self.next, self.cycle) = (0, !self.cycle);
        }
        Ok(at)
    }

    fn put(&self, parameter: u64, status: u32, control: u32) -> Result<()> {
        let offset = ENTRY * self.next;
        self.memory.write_le64(offset, parameter)?;
        self.memory.write_le32(offset + 8, status)?;
        self.memory.write_le32(offset + 12, control | u32::from(self.cycle))
    }
}

/// An event.
#[derive(Debug, Clone, Copy)]
pub(super) struct Event {
    /// The address of what it is about.
    pub pointer: u64,
    /// How it has ended.
    pub code: u32,
    /// How many bytes were not moved.
    pub left: usize,
    /// What kind of event it is.
    pub kind: u32,
    /// The slot.
    pub slot: u32,
}

/// The ring of events, of one segment.
pub(super) struct Events {
    memory: Buffer,
    table: Buffer,
    next: usize,
    cycle: bool,
}

impl Events {
    /// An empty ring.
    pub fn new(vm: &Rc<Vm>) -> Result<Self> {
        let memory = vm.ram().alloc(ENTRY * EVENTS, 2048)?;
        let table = vm.ram().alloc(16, 64)?;
        table.write_le64(0, memory.address().0)?;
        table.write_le32(8, EVENTS as u32)?;
        Ok(Self { memory, table, next: 0, cycle: true })
    }

    /// The address of the table of segments.
    pub fn table(&self) -> u64 {
        self.table.address().0
    }

    /// Where the next event will be.
    pub fn position(&self) -> u64 {
        self.memory.address().0 + (ENTRY * self.next) as u64
    }

    /// The next event, if there is one.
    pub fn pop(&mut self) -> Result<Option<Event>> {
        let offset = ENTRY * self.next;
        let control = self.memory.read_le32(offset + 12)?;
        if (control & 1 != 0) != self.cycle {
            return Ok(None);
        }
        let status = self.memory.read_le32(offset + 8)?;
        let event = Event {
            pointer: self.memory.read_le64(offset)?,
            code: status >> 24,
            left: (status & 0xff_ffff) as usize,
            kind: control >> 10 & 0x3f,
            slot: control >> 24,
        };
        self.next += 1;
        if self.next == EVENTS {
            (self.next, self.cycle) = (0, !self.cycle);
        }
        Ok(Some(event))
    }
}
