//! A submission queue and its completion queue in guest memory (NVM Express 1.4, 4.1), with their
//! doorbells. What the commands are is not known here.

use std::cell::Cell;
use std::rc::Rc;

use super::command::{COMMAND_BYTES, COMPLETION_BYTES, Command, Completion};
use super::registers::DOORBELLS;
use crate::qemu::{Buffer, Vm};
use crate::qos::block::PAGE;
use crate::qos::pci::Bar;
use crate::qos::registers::RegistersExt;
use crate::qos::wait_until;
use crate::{Error, Result};

/// A pair of queues with the same number.
pub struct QueuePair {
    number: u16,
    registers: Rc<Bar>,
    vm: Rc<Vm>,
    submission: Buffer,
    completion: Buffer,
    tail: Cell<u16>,
    head: Cell<u16>,
    /// The phase tag of new completions.
    phase: Cell<bool>,
    next_id: Cell<u16>,
}

impl QueuePair {
    /// Queues of `submissions` and `completions` entries, which the controller does not know yet.
    ///
    /// # Errors
    /// Returns an error if no guest memory is left.
    pub fn new(
        registers: &Rc<Bar>,
        vm: &Rc<Vm>,
        number: u16,
        (submissions, completions): (u16, u16),
    ) -> Result<Self> {
        let alloc =
            |entries: u16, bytes: usize| vm.ram().alloc(usize::from(entries) * bytes, PAGE as u64);
        Ok(Self {
            number,
            registers: registers.clone(),
            vm: vm.clone(),
            submission: alloc(submissions, COMMAND_BYTES)?,
            completion: alloc(completions, COMPLETION_BYTES)?,
            tail: Cell::new(0),
            head: Cell::new(0),
            phase: Cell::new(true),
            next_id: Cell::new(0x100 * (number + 1)),
        })
    }

    /// Its number; that of the admin queues is 0.
    pub fn number(&self) -> u16 {
        self.number
    }

    /// The submission queue.
    pub fn submission(&self) -> &Buffer {
        &self.submission
    }

    /// The completion queue.
    pub fn completion(&self) -> &Buffer {
        &self.completion
    }

    /// How many commands the submission queue has room for, and one.
    pub fn submissions(&self) -> u16 {
        (self.submission.len() / COMMAND_BYTES) as u16
    }

    /// How many completions the completion queue has room for, and one.
    pub fn completions(&self) -> u16 {
        (self.completion.len() / COMPLETION_BYTES) as u16
    }

    /// The tail of the submission queue.
    pub fn tail(&self) -> u16 {
        self.tail.get()
    }

    /// The head of the completion queue.
    pub fn head(&self) -> u16 {
        self.head.get()
    }

    /// Puts a command into the queue, and returns its identifier. The controller is not told.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    pub fn put(&self, command: &Command) -> Result<u16> {
        let id = self.next_id.get();
        self.next_id.set(id.wrapping_add(1));
        let at = self.tail.get();
        self.submission.write(usize::from(at) * COMMAND_BYTES, &command.bytes(id))?;
        self.tail.set((at + 1) % self.submissions());
        Ok(id)
    }

    /// Tells the controller of what was put into the queue.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    pub fn ring(&self) -> Result<()> {
        self.ring_tail(self.tail.get().into())
    }

    /// Writes any value to the doorbell of the submission queue.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    pub fn ring_tail(&self, value: u32) -> Result<()> {
        self.registers.write32(DOORBELLS + 8 * u64::from(self.number), value)
    }

    /// Writes any value to the doorbell of the completion queue.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    pub fn ring_head(&self, value: u32) -> Result<()> {
        self.registers.write32(DOORBELLS + 8 * u64::from(self.number) + 4, value)
    }

    /// Whether there is a completion to take.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    pub fn has_completion(&self) -> Result<bool> {
        let at = usize::from(self.head.get()) * COMPLETION_BYTES;
        Ok(self.completion.read_le16(at + 14)? & 1 == u16::from(self.phase.get()))
    }

    /// Takes the next completion, if there is one. The controller is not told.
    ///
    /// # Errors
    /// Returns an error if it is none of this queue's, or has reserved bits set.
    pub fn take(&self) -> Result<Option<Completion>> {
        if !self.has_completion()? {
            return Ok(None);
        }
        let at = self.head.get();
        let mut bytes = [0; COMPLETION_BYTES];
        self.completion.read(usize::from(at) * COMPLETION_BYTES, &mut bytes)?;
        let (completion, _) = Completion::parse(bytes)?;
        if completion.queue != self.number || completion.head >= self.submissions() {
            return Err(Error::failed(format!("in queue {}: {completion:x?}", self.number)));
        }
        self.head.set((at + 1) % self.completions());
        if self.head.get() == 0 {
            self.phase.set(!self.phase.get());
        }
        Ok(Some(completion))
    }

    /// Tells the controller which completions were taken.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    pub fn release(&self) -> Result<()> {
        self.ring_head(self.head.get().into())
    }

    /// Waits for the next completion, and takes it. The controller is not told.
    ///
    /// # Errors
    /// Returns an error if none comes, or as for [`QueuePair::take`].
    pub fn wait(&self, what: &str) -> Result<Completion> {
        wait_until(&self.vm, &format!("{what} to be completed"), || self.has_completion())?;
        // The rest of the completion is there when QEMU answers.
        self.vm.qtest().endianness()?;
        self.take()?.ok_or_else(|| Error::failed(format!("{what}: its completion is gone")))
    }

    /// Has one command done, the only one there is.
    ///
    /// # Errors
    /// Returns an error if it is not completed, or another command is.
    pub fn run(&self, command: &Command, what: &str) -> Result<Completion> {
        let id = self.put(command)?;
        self.ring()?;
        let completion = self.wait(what)?;
        self.release()?;
        if (completion.id, completion.head) != (id, self.tail.get()) {
            return Err(Error::failed(format!(
                "{what}: {completion:x?} should be of command {id:#x}, and the submission queue \
                 read up to {}",
                self.tail.get()
            )));
        }
        Ok(completion)
    }

    /// Has one command done that must succeed, and returns its result.
    ///
    /// # Errors
    /// Returns an error if it does not.
    pub fn succeed(&self, command: &Command, what: &str) -> Result<u32> {
        match self.run(command, what)? {
            Completion { status: 0, result, .. } => Ok(result),
            other => Err(Error::failed(format!("{what}: status {:#x}", other.status))),
        }
    }
}
