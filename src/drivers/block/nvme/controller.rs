//! An NVMe controller that is enabled (NVM Express 1.4, 7.6.1): its admin queues, what it says of
//! itself, and the queues that are created through it.

use std::rc::Rc;

use super::command::{Command, admin};
use super::queue::QueuePair;
use super::registers::{
    self as regs, ACQ, AQA, ASQ, CC, CC_EN, CC_ENTRIES, CSTS, CSTS_CFS, CSTS_RDY,
};
use crate::qemu::{Buffer, Vm};
use crate::qos::block::PAGE;
use crate::qos::pci::Bar;
use crate::qos::registers::RegistersExt;
use crate::qos::wait_until;
use crate::{Error, Result};

/// The entries of the admin queues.
const ADMIN: (u16, u16) = (16, 16);

/// Create I/O Completion Queue and Create I/O Submission Queue, dword 11: the memory of the queue
/// is contiguous.
pub const CONTIGUOUS: u32 = 1;
/// Create I/O Completion Queue, dword 11: completions interrupt.
pub const INTERRUPTS: u32 = 2;

/// The controller, as long as it is enabled.
pub struct Controller {
    vm: Rc<Vm>,
    registers: Rc<Bar>,
    admin: QueuePair,
}

impl Controller {
    /// Disables the controller and enables it anew.
    ///
    /// # Errors
    /// Returns an error if it does not get ready or says that it failed, or no guest memory is
    /// left.
    pub fn enable(registers: &Rc<Bar>, vm: &Rc<Vm>) -> Result<Self> {
        Self::enable_with(registers, vm, 0)
    }

    /// Disables the controller and enables it anew, with further bits of CC.
    ///
    /// # Errors
    /// Returns an error if the controller does not get ready or says that it failed, or no guest
    /// memory is left.
    pub fn enable_with(registers: &Rc<Bar>, vm: &Rc<Vm>, bits: u32) -> Result<Self> {
        Self::disable(registers, vm)?;
        let admin = QueuePair::new(registers, vm, 0, ADMIN)?;
        registers.set(AQA, u32::from(ADMIN.0 - 1) | u32::from(ADMIN.1 - 1) << 16)?;
        registers.set(ASQ, admin.submission().address().0)?;
        registers.set(ACQ, admin.completion().address().0)?;
        registers.set(CC, CC_ENTRIES | CC_EN | bits)?;
        wait_until(vm, "the controller to be ready", || Ok(status(registers)? != 0))?;
        match registers.get(CSTS)? {
            CSTS_RDY => Ok(Self { vm: vm.clone(), registers: registers.clone(), admin }),
            status => Err(Error::failed(format!("{}: {status:#x}, when enabled", regs::CSTS))),
        }
    }

    /// Disables it, which is a reset (7.3.2).
    ///
    /// # Errors
    /// Returns an error if it stays ready.
    pub fn disable(registers: &Rc<Bar>, vm: &Rc<Vm>) -> Result<()> {
        registers.set(CC, 0)?;
        wait_until(vm, "the controller to be disabled", || Ok(status(registers)? & CSTS_RDY == 0))?;
        match registers.get(CSTS)? {
            0 => Ok(()),
            other => Err(Error::failed(format!("{}: {other:#x}, when disabled", regs::CSTS))),
        }
    }

    /// The machine that it is in.
    pub fn vm(&self) -> &Rc<Vm> {
        &self.vm
    }

    /// Its registers.
    pub fn registers(&self) -> &Rc<Bar> {
        &self.registers
    }

    /// Its admin queues.
    pub fn admin(&self) -> &QueuePair {
        &self.admin
    }

    /// A page of guest memory.
    ///
    /// # Errors
    /// Returns an error if none is left.
    pub fn page(&self) -> Result<Buffer> {
        self.vm.ram().alloc(PAGE, PAGE as u64)
    }

    /// Reads a data structure of 4096 bytes with the Identify command: that of number `structure`
    /// (CNS, 5.15), for `namespace`.
    ///
    /// # Errors
    /// Returns an error if the command does not succeed.
    pub fn identify(&self, structure: u32, namespace: u32) -> Result<Vec<u8>> {
        let page = self.page()?;
        let command = identify(structure, namespace).at(page.address().0);
        self.admin.succeed(&command, &format!("Identify {structure} of {namespace}"))?;
        page.to_vec()
    }

    /// Creates a pair of I/O queues of number `number` whose completions interrupt by `vector`.
    ///
    /// # Errors
    /// Returns an error if the controller refuses it.
    pub fn create(&self, number: u16, entries: (u16, u16), vector: u16) -> Result<QueuePair> {
        let pair = QueuePair::new(&self.registers, &self.vm, number, entries)?;
        self.admin.succeed(&create_cq(&pair, vector), &format!("completion queue {number}"))?;
        self.admin.succeed(&create_sq(&pair, number), &format!("submission queue {number}"))?;
        Ok(pair)
    }

    /// Deletes a pair of I/O queues.
    ///
    /// # Errors
    /// Returns an error if the controller refuses it.
    pub fn delete(&self, pair: QueuePair) -> Result<()> {
        let number = u32::from(pair.number());
        for (opcode, what) in [(admin::DELETE_SQ, "submission"), (admin::DELETE_CQ, "completion")] {
            let command = Command::new(opcode, 0).with(10, &[number]);
            self.admin.succeed(&command, &format!("delete {what} queue {number}"))?;
        }
        Ok(())
    }
}

impl Drop for Controller {
    fn drop(&mut self) {
        // Its queues are freed next. A QEMU that no longer answers writes to none.
        let _ = self.registers.set(CC, 0);
    }
}

/// Controller Status, which may be on its way from one state to another.
///
/// # Errors
/// Returns an error if a bit is set that QEMU does not have.
fn status(registers: &Bar) -> Result<u32> {
    let status = registers.get(CSTS)?;
    match status & !(CSTS_RDY | CSTS_CFS | regs::CSTS_SHST) {
        0 => Ok(status),
        _ => Err(Error::failed(format!("{}: {status:#x}", regs::CSTS))),
    }
}

/// Identify without its data.
pub fn identify(structure: u32, namespace: u32) -> Command {
    Command::new(admin::IDENTIFY, namespace).with(10, &[structure])
}

/// The command that creates the completion queue of `pair`.
pub fn create_cq(pair: &QueuePair, vector: u16) -> Command {
    let number = u32::from(pair.number()) | u32::from(pair.completions() - 1) << 16;
    let how = CONTIGUOUS | INTERRUPTS | u32::from(vector) << 16;
    Command::new(admin::CREATE_CQ, 0).with(10, &[number, how]).at(pair.completion().address().0)
}

/// The command that creates the submission queue of `pair`, whose completions go to `to`.
pub fn create_sq(pair: &QueuePair, to: u16) -> Command {
    let number = u32::from(pair.number()) | u32::from(pair.submissions() - 1) << 16;
    let how = CONTIGUOUS | u32::from(to) << 16;
    Command::new(admin::CREATE_SQ, 0).with(10, &[number, how]).at(pair.submission().address().0)
}
