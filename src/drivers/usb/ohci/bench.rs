//! An open host controller whose lists a test builds itself, descriptor by descriptor (OpenHCI 1.0a,
//! chapter 4), the wrong ones too.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use super::*;
use crate::interface;
use crate::qemu::Buffer;

/// A controller whose registers and lists a test may use.
pub trait Ohci: UsbHcd {
    /// Its registers.
    fn registers(&self) -> Rc<dyn Registers>;
}

interface!(dyn Ohci = "ohci");

/// A list of endpoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum List {
    /// Control transfers.
    Control,
    /// Bulk transfers.
    Bulk,
    /// All 32 periodic lists.
    Periodic,
}

/// All lists.
pub const LISTS: [List; 3] = [List::Control, List::Bulk, List::Periodic];

/// ED: the direction is that of the transfer descriptors (4.2.1).
pub const ED_FROM_TD: u32 = 0;
/// ED: to the device.
pub const ED_OUT: u32 = 1 << 11;
/// ED: from the device.
pub const ED_IN: u32 = 2 << 11;
/// ED: it is skipped.
pub const ED_SKIP: u32 = 1 << 14;
/// ED: its transfer descriptors are isochronous.
pub const ED_ISOCHRONOUS: u32 = 1 << 15;
/// ED, HeadP: it has halted.
pub const ED_HALTED: u32 = 1;
/// TD: a SETUP packet, with DATA0 (4.3.1).
pub const TD_SETUP: u32 = 2 << 24;
/// TD: data to the device, with DATA1.
pub const TD_OUT: u32 = 1 << 19 | 3 << 24;
/// TD: data from the device, with DATA1; a short packet is no error.
pub const TD_IN: u32 = 2 << 19 | 3 << 24 | 1 << 18;
/// TD: the condition code of one that was not looked at (4.3.3).
pub const TD_NOT_ACCESSED: u32 = 0xf << 28;
/// Offset of an endpoint's TailP.
pub const ED_TAIL: usize = 4;
/// Offset of HeadP.
pub const ED_HEAD: usize = 8;
/// Offset of NextED.
pub const ED_NEXT: usize = 12;
/// Offset of a transfer descriptor's NextTD.
pub const TD_NEXT: usize = 8;

/// HccaInterruptTable (4.4.1).
pub const AREA_TABLE: usize = 0;
/// HccaFrameNumber, and HccaPad1 above it.
pub const AREA_FRAME: usize = 0x80;
/// HccaDoneHead.
pub const AREA_DONE: usize = 0x84;

/// DelayInterrupt: no interrupt.
pub const NEVER: u32 = 7;

/// Where no machine with an OHCI has memory.
pub const NOWHERE: u32 = 0xdf00_0000;

/// What a transfer descriptor says of DelayInterrupt (4.3.1.2).
pub const fn delay(frames: u32) -> u32 {
    frames << 21
}

/// The lists of a test.
pub struct Bench<'a> {
    /// The controller.
    pub ohci: &'a dyn Ohci,
    /// Its registers.
    pub registers: Rc<dyn Registers>,
    /// The communications area.
    pub area: Buffer,
    /// Requests: a device descriptor of eight bytes, and eight bytes of a report to the device.
    setup: Buffer,
    kept: RefCell<Vec<Rc<Buffer>>>,
}

impl<'a> Bench<'a> {
    /// Stops the controller, which was started, and gives it an area of the test's own without lists.
    ///
    /// # Errors
    /// QEMU does not answer, or no guest memory is left.
    pub fn new(ohci: &'a dyn Ohci) -> Result<Self> {
        let (ram, registers) = (ohci.vm().ram(), ohci.registers());
        let (area, setup) = (ram.alloc(256, 256)?, ram.alloc(16, 16)?);
        setup.write(0, &[0x80, 6, 0, 1, 0, 0, 8, 0, 0x21, 9, 0, 2, 0, 0, 8, 0])?;
        let bench = Self { ohci, registers, area, setup, kept: RefCell::default() };
        bench.idle()?;
        Ok(bench)
    }

    /// Stops the controller and takes all lists from it.
    ///
    /// # Errors
    /// QEMU does not answer.
    pub fn idle(&self) -> Result<()> {
        self.registers.set(CONTROL, CONTROL_SUSPENDED)?;
        self.area.write(0, &[0; 256])?;
        for (at, value) in [
            (HCCA, self.area.address().0 as u32),
            (CONTROL_HEAD, 0),
            (CONTROL_CURRENT, 0),
            (BULK_HEAD, 0),
            (BULK_CURRENT, 0),
            (INTERRUPT_DISABLE, u32::MAX),
            (INTERRUPT_STATUS, u32::MAX),
        ] {
            self.registers.set(at, value)?;
        }
        Ok(())
    }

    /// Begins a list with this endpoint.
    ///
    /// # Errors
    /// QEMU does not answer.
    pub fn set_list(&self, list: List, endpoint: u32) -> Result<()> {
        match list {
            List::Control => self.registers.set(CONTROL_HEAD, endpoint),
            List::Bulk => self.registers.set(BULK_HEAD, endpoint),
            List::Periodic => self.area.write(AREA_TABLE, &endpoint.to_le_bytes().repeat(32)),
        }
    }

    /// Lets the controller work at all lists.
    ///
    /// # Errors
    /// QEMU does not answer.
    pub fn run(&self) -> Result<()> {
        self.registers.set(CONTROL, CONTROL_LISTS | CONTROL_OPERATIONAL)?;
        self.registers.set(COMMAND, COMMAND_LISTS)
    }

    /// Lets so many frames pass.
    ///
    /// # Errors
    /// QEMU does not answer.
    pub fn frames(&self, count: usize) -> Result<()> {
        for _ in 0..count {
            self.ohci.vm().qtest().clock_step(Some(Duration::from_millis(1)))?;
        }
        Ok(())
    }

    fn keep(&self, size: usize, words: &[u32]) -> Result<Rc<Buffer>> {
        let memory = Rc::new(self.ohci.vm().ram().alloc(size, 32)?);
        for (number, word) in words.iter().enumerate() {
            memory.write_le32(4 * number, *word)?;
        }
        self.kept.borrow_mut().push(memory.clone());
        Ok(memory)
    }

    /// An endpoint descriptor.
    ///
    /// # Errors
    /// No guest memory is left.
    pub fn endpoint(&self, word: u32, head: u32, tail: u32, next: u32) -> Result<Rc<Buffer>> {
        self.keep(16, &[word, tail, head, next])
    }

    /// A transfer descriptor for `length` bytes at `address`, which was not looked at.
    ///
    /// # Errors
    /// No guest memory is left.
    pub fn transfer(&self, word: u32, address: u32, length: u32, next: u32) -> Result<Rc<Buffer>> {
        let (first, last) = if length == 0 { (0, 0) } else { (address, address + length - 1) };
        self.keep(16, &[TD_NOT_ACCESSED | word, first, next, last])
    }

    /// A SETUP packet, which every device takes, with more bits of its word.
    ///
    /// # Errors
    /// No guest memory is left.
    pub fn setup(&self, word: u32, next: u32) -> Result<Rc<Buffer>> {
        self.transfer(TD_SETUP | word, self.setup.address().0 as u32, 8, next)
    }

    /// A SETUP packet of SET_REPORT (HID 1.11, 7.2.2), with more bits of its word. Eight bytes of data
    /// follow it.
    ///
    /// # Errors
    /// No guest memory is left.
    pub fn set_report(&self, word: u32, next: u32) -> Result<Rc<Buffer>> {
        self.transfer(TD_SETUP | word, self.setup.address().0 as u32 + 8, 8, next)
    }

    /// An isochronous transfer descriptor of eight packet offsets, and how many of them count (4.3.2).
    ///
    /// # Errors
    /// No guest memory is left.
    pub fn isochronous(&self, head: [u32; 4], offsets: [u16; 8]) -> Result<Rc<Buffer>> {
        let memory = self.keep(32, &head)?;
        for (number, offset) in offsets.iter().enumerate() {
            memory.write(16 + 2 * number, &offset.to_le_bytes())?;
        }
        Ok(memory)
    }

    /// Whether its interrupt is asserted; `line` is that of a controller on a board.
    ///
    /// # Errors
    /// QEMU does not answer. Skipped if it cannot watch the line.
    pub fn asserts_interrupt(&self, line: Option<&InterruptLine>) -> Result<bool> {
        match (self.ohci.function(), line) {
            (Some(function), _) => function.asserts_interrupt(),
            (None, Some(line)) => line.is_high(),
            (None, None) => Err(Error::skipped("QEMU cannot watch its interrupt line")),
        }
    }
}

/// Where a descriptor is.
pub fn at(descriptor: &Buffer) -> u32 {
    descriptor.address().0 as u32
}
