//! An NE2000 as a [`Nic`] (DP8390D, chapters 7, 8 and 12): one frame to send, and a ring of pages to
//! receive into, all in the memory of the card.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use super::chip::*;
use super::{Ne2000, Place};
use crate::qemu::Vm;
use crate::qos::interrupt::InterruptLine;
use crate::qos::net::{Address, group_hash};
use crate::qos::nic::{EventBits, Events, Filter, Groups, Limits, Nic, Overrun, Promise};
use crate::qos::pci::PciDevice;
use crate::qos::registers::RegistersExt;
use crate::qos::wait_until;
use crate::{Error, Result};

/// Interrupt Status.
const EVENTS: EventBits = EventBits {
    sent: 1 << 1,
    received: 1 << 0,
    overrun: 1 << 4,
    link: 0,
    besides: ISR_REMOTE_DONE as u32,
};

/// The pages of the two frames to send, and those of the receive ring.
pub const TRANSMIT_PAGES: [u8; 2] = [0x40, 0x46];
/// As [`TRANSMIT_PAGES`].
pub const RING: std::ops::Range<u8> = 0x4c..0x80;
/// The bytes of a page.
const PAGE: usize = 256;
/// The bytes of what is before a frame: status, next page, length.
const HEADER: usize = 4;
/// The bytes of a check sequence.
const SEQUENCE: usize = 4;
/// How many frames of 1,514 bytes, of six pages each, the ring holds: a page is always free.
const COUNT: usize = (RING.end - RING.start - 1) as usize / 6;

/// Where the driver is.
#[derive(Default)]
pub struct Places {
    /// The machine.
    vm: Option<Rc<Vm>>,
    /// The lengths of the frames that are queued; how many were queued before, and how many of
    /// those were sent and not yet reported.
    queued: RefCell<Vec<u16>>,
    number: Cell<usize>,
    sent: Cell<usize>,
    /// The page of the next frame to take.
    next: Cell<u8>,
    sequence: Cell<Option<[u8; 4]>>,
}

/// The page before `page` in the ring.
fn before(page: u8) -> u8 {
    if page == RING.start { RING.end - 1 } else { page - 1 }
}

impl Ne2000 {
    /// The registers of all pages.
    pub fn pages(&self) -> Pages {
        Pages(self.registers.clone())
    }

    /// `length` bytes of the ring, `offset` bytes behind the begin of `page`.
    pub(super) fn ring_bytes(&self, page: u8, offset: usize, length: usize) -> Result<Vec<u8>> {
        let ring = usize::from(RING.end - RING.start) * PAGE;
        let begin = (usize::from(page - RING.start) * PAGE + offset) % ring;
        let first = length.min(ring - begin);
        let address = |at: usize| (usize::from(RING.start) * PAGE + at) as u16;
        let pages = self.pages();
        let mut bytes = pages.read_memory(address(begin), first)?;
        bytes.extend(pages.read_memory(address(0), length - first)?);
        Ok(bytes)
    }

    /// The page behind the frame at `page`, and the frame's length with its check sequence.
    fn header(&self, page: u8) -> Result<(u8, usize)> {
        let bytes = self.ring_bytes(page, 0, HEADER)?;
        let (status, next) = (bytes[0], bytes[1]);
        let length = usize::from(u16::from_le_bytes([bytes[2], bytes[3]]));
        // Received intact; bit 5 says that it is to a group.
        if status & !(1 << 5) != 1 || !RING.contains(&next) || length < SEQUENCE {
            let seen = hex::encode(bytes);
            return Err(Error::failed(format!("a frame at page {page:#x} with the header {seen}")));
        }
        Ok((next, length))
    }
}

impl Nic for Ne2000 {
    fn function(&self) -> Option<&PciDevice> {
        match &self.place {
            Place::Card(card) => Some(&card.device),
            Place::Isa(..) => None,
        }
    }

    fn lines(&self) -> Result<Vec<InterruptLine>> {
        Ok(self.line()?.into_iter().collect())
    }

    fn limits(&self) -> Limits {
        Limits {
            transmit: TRANSMIT_PAGES.len(),
            receive: COUNT,
            overrun: Overrun::Discards,
            link_event: false,
            masters: false,
            fifo: true,
            ..Limits::PLAIN
        }
    }

    fn known_fault(&self, _: &Vm, promise: Promise) -> Option<&'static str> {
        match promise {
            Promise::OverrunEvent => Some("ne2k: OVW is never set"),
            Promise::CheckSequence => {
                Some("ne2k: behind a frame is what was there before, not its check sequence")
            }
            Promise::PinAfterReset if self.function().is_none() => {
                Some("ne2k_isa: a reset of the machine resets nothing of it")
            }
            Promise::SoftwareReset => Some("ne2k: a reset neither stops it nor masks interrupts"),
            _ => None,
        }
    }

    fn start(&self, vm: &Rc<Vm>) -> Result<()> {
        self.reset(vm)?;
        let pages = self.pages();
        pages.set(CR, ABORT | STOP)?;
        pages.set(DCR, DCR_WORDS)?;
        pages.set(RBCR, 0)?;
        pages.set(RBCR.above(1), 0)?;
        pages.set(TCR, 0)?;
        pages.set(PSTART, RING.start)?;
        pages.set(PSTOP, RING.end)?;
        pages.set(BNRY, RING.start)?;
        pages.set(CURR, RING.start + 1)?;
        pages.set(IMR, 0)?;
        let places = Places { vm: Some(vm.clone()), ..Places::default() };
        places.next.set(RING.start + 1);
        self.places.set(places);
        self.set_filter(&Filter::PLAIN)?;
        pages.set(ISR, 0x7f)?;
        pages.set(CR, ABORT | START)
    }

    fn reset(&self, _: &Rc<Vm>) -> Result<()> {
        let pages = self.pages();
        pages.get(RESET)?;
        match pages.get(ISR)? & ISR_RESET {
            0 => Err(Error::failed("ISR.RST is clear after a reset")),
            _ => Ok(()),
        }
    }

    fn remapped(&self) -> Result<Rc<dyn Nic>> {
        Ok(Rc::new(self.again()?))
    }

    fn station_address(&self) -> Result<Address> {
        // The address is in the PROM, each byte twice.
        let bytes = self.pages().read_memory(0, 12)?;
        Ok(std::array::from_fn(|at| bytes[2 * at]))
    }

    fn set_filter(&self, filter: &Filter) -> Result<()> {
        let pages = self.pages();
        for (at, byte) in (0..).zip(filter.own) {
            pages.set(PAR.above(at), byte)?;
        }
        let groups = match filter.groups {
            Groups::None => 0_u64,
            Groups::One(group) => 1 << group_hash(&group),
            Groups::All => !0,
        };
        for (at, byte) in (0..).zip(groups.to_le_bytes()) {
            pages.set(MAR.above(at), byte)?;
        }
        let bit = |on: bool, bit: u8| if on { bit } else { 0 };
        let accepted = RCR_RUNTS
            | bit(filter.broadcast, RCR_BROADCASTS)
            | bit(groups != 0, RCR_GROUPS)
            | bit(filter.foreign, RCR_ALL);
        pages.set(RCR, accepted)
    }

    fn queue(&self, frame: &[u8]) -> Result<()> {
        let places = self.places.get()?;
        let mut queued = places.queued.borrow_mut();
        if queued.len() == TRANSMIT_PAGES.len() || frame.len() > 6 * PAGE {
            return Err(Error::failed("there is room for two frames of six pages"));
        }
        let page = TRANSMIT_PAGES[(places.number.get() + queued.len()) % 2];
        self.pages().write_memory(u16::from(page) << 8, frame)?;
        queued.push(frame.len() as u16);
        Ok(())
    }

    fn send(&self) -> Result<()> {
        let (places, pages) = (self.places.get()?, self.pages());
        let Some(vm) = &places.vm else {
            return Ok(());
        };
        for length in places.queued.take() {
            let [low, high] = length.to_le_bytes();
            pages.set(TPSR, TRANSMIT_PAGES[places.number.get() % 2])?;
            pages.set(TBCR, low)?;
            pages.set(TBCR.above(1), high)?;
            pages.set(CR, ABORT | TRANSMIT | START)?;
            places.number.set(places.number.get() + 1);
            // One at a time: the next is given when this one is sent.
            wait_until(vm, "the end of a transmission", || Ok(pages.get(CR)? & TRANSMIT == 0))?;
            let status = pages.get(TSR)?;
            // Sent; it may have been deferred, or the heartbeat be missing.
            if status & 0xbd != 1 {
                return Err(Error::failed(format!("TSR is {status:#04x} after a frame")));
            }
            places.sent.set(places.sent.get() + 1);
        }
        Ok(())
    }

    fn sent(&self) -> Result<usize> {
        Ok(self.places.get()?.sent.take())
    }

    fn arrived(&self) -> Result<usize> {
        let (mut page, end) = (self.places.get()?.next.get(), self.pages().get(CURR)?);
        let mut count = 0;
        while page != end {
            page = self.header(page)?.0;
            count += 1;
            if count > usize::from(RING.end) {
                return Err(Error::failed("the ring has no end"));
            }
        }
        Ok(count)
    }

    fn take(&self) -> Result<Vec<u8>> {
        let (places, pages) = (self.places.get()?, self.pages());
        let page = places.next.get();
        if page == pages.get(CURR)? {
            return Err(Error::failed("no frame has arrived"));
        }
        let (next, length) = self.header(page)?;
        let mut frame = self.ring_bytes(page, HEADER, length)?;
        let sequence = frame.split_off(length - SEQUENCE).try_into().ok();
        places.sequence.set(sequence);
        places.next.set(next);
        pages.set(BNRY, before(next))?;
        Ok(frame)
    }

    fn check_sequence(&self) -> Result<Option<[u8; 4]>> {
        Ok(self.places.get()?.sequence.get())
    }

    fn recycle(&self) -> Result<()> {
        // Taking a frame gives its pages back.
        Ok(())
    }

    fn unmask(&self, events: Events) -> Result<()> {
        self.pages().set(IMR, EVENTS.of(events) as u8)
    }

    fn events(&self) -> Result<Events> {
        let pages = self.pages();
        let status = pages.get(ISR)?;
        pages.set(ISR, status)?;
        EVENTS.events(status.into())
    }

    fn link_is_up(&self) -> Result<Option<bool>> {
        Ok(None)
    }

    fn memory(&self) -> Result<Vec<u8>> {
        let length = usize::from(RING.end - RING.start) * PAGE;
        self.pages().read_memory(u16::from(RING.start) << 8, length)
    }
}
