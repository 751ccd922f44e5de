//! Listening in on what goes between a test and its QEMU, and changing what comes back. What
//! is done with it, such as recording, is decided elsewhere.

use std::cell::RefCell;
use std::rc::Rc;

use vm_memory::GuestAddress;

use super::Spoiler;

/// Which of the two sockets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Wire {
    /// Ports, memory, clock, interrupts.
    Qtest,
    /// The monitor.
    Qmp,
}

/// What becomes of a line that came.
#[must_use]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Passage {
    /// The client gets it as it is.
    Through,
    /// The client gets what was handed on in its place, which may be nothing.
    Replaced,
}

/// Somebody who listens in. Lines are without their ends. All does nothing by default.
pub trait Tap {
    /// A request is sent.
    fn sent(&self, _wire: Wire, _line: &[u8]) {}

    /// A line came: an answer, an interrupt, an event. Lines given to `hand_on` reach the
    /// client in that order when this returns [`Passage::Replaced`].
    fn received(&self, _wire: Wire, _line: &[u8], _hand_on: &mut dyn FnMut(Vec<u8>)) -> Passage {
        Passage::Through
    }

    /// Mapped guest memory was read. (Memory that is not mapped goes over the qtest socket.)
    fn memory_read(&self, _address: GuestAddress, _bytes: &mut [u8]) {}

    /// Mapped guest memory is written.
    fn memory_written(&self, _address: GuestAddress, _bytes: &[u8]) {}

    /// A piece of the image `name` was read.
    fn image_read(&self, _name: &str, _offset: u64, _bytes: &mut [u8]) {}

    /// A piece of the image `name` is written.
    fn image_written(&self, _name: &str, _offset: u64, _bytes: &[u8]) {}

    /// The machine was reset in the middle of a path, all memory and images made zeroes.
    fn machine_reset(&self) {}

    /// The machine was saved and restored in another QEMU.
    fn machine_moved(&self) {}
}

/// The place for a tap, shared by all that goes to one QEMU.
#[derive(Default)]
pub(crate) struct TapSlot {
    tap: RefCell<Option<Rc<dyn Tap>>>,
    spoiler: RefCell<Option<Spoiler>>,
}

impl TapSlot {
    /// Puts a tap in, or takes it out.
    pub fn set(&self, tap: Option<Rc<dyn Tap>>) {
        *self.tap.borrow_mut() = tap;
    }

    /// From now on, what a driver writes is changed as `spoiler` has it, before anybody listens
    /// in; or nothing is.
    pub fn spoil(&self, spoiler: Option<Spoiler>) {
        *self.spoiler.borrow_mut() = spoiler;
    }

    /// Calls `with` if what a driver writes is changed.
    pub fn spoiled<T>(&self, with: impl FnOnce(&mut Spoiler) -> T) -> Option<T> {
        self.spoiler.borrow_mut().as_mut().map(with)
    }

    /// Takes the tap out while `body` runs.
    pub fn without<T>(&self, body: impl FnOnce() -> T) -> T {
        let tap = self.tap.take();
        let result = body();
        self.set(tap);
        result
    }

    /// Calls `with` if there is a tap.
    pub fn with<T>(&self, with: impl FnOnce(&dyn Tap) -> T) -> Option<T> {
        self.tap.borrow().as_deref().map(with)
    }
}
