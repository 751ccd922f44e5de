//! DMA engines: what one does that copies memory to memory, whichever chip it is.

use super::interrupt::InterruptLine;
use crate::qemu::discovery::Description;
use crate::{Result, interface};

/// What becomes of an address from one unit of a transfer to the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// It is the next one.
    Increment,
    /// It stays.
    Fixed,
}

/// A piece of work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transfer {
    /// The guest-physical address from which is read.
    pub source: u64,
    /// The one to which is written.
    pub destination: u64,
    /// Bytes, a multiple of the unit.
    pub length: u64,
    /// Bytes that are read and written at once.
    pub unit: u64,
    /// What becomes of the first address.
    pub source_step: Step,
    /// What becomes of the second address.
    pub destination_step: Step,
    /// Whether its end is told, by status and interrupt.
    pub tells: bool,
}

impl Transfer {
    /// A copy that is told.
    pub const fn copy(source: u64, destination: u64, length: u64, unit: u64) -> Self {
        let (source_step, destination_step) = (Step::Increment, Step::Increment);
        Self { source, destination, length, unit, source_step, destination_step, tells: true }
    }
}

/// What follows on the last piece of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Nothing.
    End,
    /// The second piece.
    Second,
    /// What is described at this address.
    At(u64),
}

/// What an engine is known to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Profile {
    /// How many channels it has.
    pub channels: usize,
    /// The units that it has, in bytes, for copies. Addresses are multiples of them.
    pub units: &'static [u64],
    /// The units that it has where an address stays.
    pub fixed_units: &'static [u64],
    /// The pairs of what becomes of source and destination that it has, but for that of copies.
    pub steps: &'static [(Step, Step)],
    /// The unit with which it writes a register of 32 bits in one access.
    pub register_unit: u64,
    /// The most units of a transfer that are tried.
    pub most: u64,
    /// Whether a transfer of no bytes is one, which ends at once.
    pub has_empty: bool,
    /// Whether it goes through lists in memory.
    pub has_lists: bool,
    /// The fault of this QEMU by which a list without end keeps it from answering for ever, if it
    /// has that fault.
    pub hangs_on_loops: Option<&'static str>,
    /// Why QEMU may not answer for long while a single piece of work goes on, if that can be large.
    pub takes_long: Option<&'static str>,
    /// Whether the end of work is always told, by the status.
    pub always_tells: bool,
    /// Whether an interrupt that is masked when the work ends gets out when it is unmasked.
    pub latches: bool,
    /// Whether all channels have one interrupt line.
    pub shares_line: bool,
}

/// An address of 32 bits behind which the machine has nothing.
pub fn nowhere(machine: &Description) -> Option<u64> {
    const SIZE: u64 = 1 << 20;
    let devices = machine.devices.iter().flat_map(|device| &device.regions);
    let regions = devices.chain(machine.others.iter().map(|(_, region)| region));
    let mut taken: Vec<(u64, u64)> = regions
        .flat_map(|region| {
            let at = |offset: u64| region.base.wrapping_add(offset);
            region.pieces.iter().map(move |piece| (at(piece.offset), at(piece.last)))
        })
        .collect();
    let ram = machine.ram.iter().flat_map(|ram| &ram.pieces);
    taken.extend(ram.map(|piece| (piece.address, piece.address + (piece.size - 1))));
    let is_free = |at: u64| taken.iter().all(|(first, last)| at + SIZE <= *first || at > *last);
    (1..0x1000).rev().map(|number| number * SIZE).find(|&at| is_free(at))
}

/// An engine. A channel is a number from zero on.
pub trait DmaEngine {
    /// What it is known to be.
    fn profile(&self) -> Profile;

    /// An address behind which the machine has nothing, if one is known.
    fn nowhere(&self) -> Option<u64>;

    /// Turns on all of it, or off; `None` if it has no such switch. It is on at first.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    fn enable(&self, is_enabled: bool) -> Result<Option<()>>;

    /// Gives a channel this work, without starting it. [`Profile::has_lists`] allows several
    /// pieces, and that something follows on them.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer, or if the channel cannot do that.
    fn prepare(&self, channel: usize, work: &[Transfer], next: Next) -> Result<()>;

    /// Starts a channel.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    fn start(&self, channel: usize) -> Result<()>;

    /// Holds a channel, or lets it go on; `None` if the engine has nothing for that. A channel
    /// that is held can be started.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    fn hold(&self, channel: usize, is_held: bool) -> Result<Option<()>>;

    /// Whether a channel has work that it was started for.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    fn is_active(&self, channel: usize) -> Result<bool>;

    /// Lets the interrupts of a channel out, or not.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    fn enable_interrupt(&self, channel: usize, is_enabled: bool) -> Result<()>;

    /// Whether the end of work was told since that was cleared, before the mask.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    fn is_done(&self, channel: usize) -> Result<bool>;

    /// Whether an error was recorded since that was cleared.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    fn has_failed(&self, channel: usize) -> Result<bool>;

    /// Clears both.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    fn clear(&self, channel: usize) -> Result<()>;

    /// The interrupt line of a channel, watched from now on; `None` if QEMU cannot watch it.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer, or the lines of another interrupt controller are
    /// watched already.
    fn interrupt(&self, channel: usize) -> Result<Option<InterruptLine>>;

    /// Where its registers are: address and size.
    fn registers(&self) -> (u64, u64);

    /// Writes of 32 bits, address and value, that start a channel that is prepared.
    fn starting_writes(&self, channel: usize) -> Vec<(u64, u32)>;
}

interface!(dyn DmaEngine = "dma-engine");
