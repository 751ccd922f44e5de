//! Intel's fast Ethernet controllers 8255x as [`Nic`]s (8255x Open Source Software Developer
//! Manual, chapter 6).

use std::cell::{Cell, Ref, RefCell, RefMut};
use std::collections::VecDeque;
use std::rc::Rc;

use super::blocks::{self as block, BASE, Block, DONE};
use super::{self as i8255x, I8255x};
use crate::graph::Produces;
use crate::qemu::Vm;
use crate::qos::net::Address;
use crate::qos::nic::{Events, Filter, Groups, Limits, Nic, Overrun, Promise};
use crate::qos::pci::PciDevice;
use crate::qos::registers::RegistersExt;
use crate::qos::wait_until;
use crate::{Error, Result};

/// How many receive frame descriptors there are, and transmit commands in a list.
const COUNT: usize = 16;
/// The room for a frame in a receive frame descriptor: an even number (6.4.3.1.2).
const SIZE: u16 = 1600;
/// What the configure command (6.4.2.3) sets up: its defaults, and that short frames are
/// received, and padded when they are sent.
const CONFIGURATION: [u8; 22] = [
    22, 0x08, 0, 0, 0, 0, 0x32, 0x02, 0x01, 0, 0x2e, 0, 0x60, 0, 0xf2, 0xc8, 0, 0x40, 0xf2, 0x80,
    0x3f, 0x05,
];
/// Byte 15: promiscuous.
const PROMISCUOUS: u8 = 1 << 0;
/// Byte 15: broadcast disable.
const BROADCAST_DISABLE: u8 = 1 << 1;
/// Byte 21: all multicast frames are received.
const MULTICAST_ALL: u8 = 1 << 3;
/// Status of a received frame: the address is not the individual address; no address matches.
const ADDRESS_BITS: u16 = 1 << 1 | 1 << 2;
/// SCB Status: the state of the command unit, and of the receive unit.
const CU_STATE: u8 = 0b11 << 6;
const RU_STATE: u8 = 0xf << 2;

/// What a controller works on.
struct Lists {
    vm: Rc<Vm>,
    /// Transmit commands that were not yet reported as sent, and those that the device does not
    /// know of yet.
    sending: RefCell<VecDeque<Block>>,
    queued: RefCell<Vec<Block>>,
    /// Receive frame descriptors, linked to a ring.
    receive: Vec<Block>,
    /// The one that the next frame comes into.
    next: Cell<usize>,
    /// How many frames were taken since descriptors were recycled.
    taken: Cell<usize>,
}

/// A controller with a list of commands and a ring to receive into.
pub struct I8255xNic {
    chip: Rc<I8255x>,
    lists: RefCell<Option<Lists>>,
}

impl I8255xNic {
    fn lists(&self) -> Result<Ref<'_, Lists>> {
        let lists = Ref::filter_map(self.lists.borrow(), Option::as_ref);
        lists.map_err(|_| Error::failed("the network device was not started"))
    }

    fn state(&self, unit: u8) -> Result<u8> {
        Ok(self.chip.registers().get(i8255x::SCB_STATUS)? & unit)
    }

    /// Has the command unit do `command`, which is done when this returns.
    fn run(&self, vm: &Vm, command: u16, body: &[u8]) -> Result<()> {
        let block = Block::new(vm, command, body)?;
        wait_until(vm, "an idle command unit", || Ok(self.state(CU_STATE)? == 0))?;
        self.chip.command(vm, i8255x::CU_START, block.offset())?;
        wait_until(vm, "the end of a command block", || block.is_complete(DONE))
    }
}

impl Nic for I8255xNic {
    fn function(&self) -> Option<&PciDevice> {
        Some(self.chip.device())
    }

    fn limits(&self) -> Limits {
        Limits {
            transmit: COUNT,
            receive: COUNT,
            // With a tag: 1522 bytes, the frame check sequence among them.
            longest_received: 1514,
            too_long: Some(1519),
            pads: true,
            overrun: Overrun::Discards,
            // The 82557 has one mask for all (6.3.2.1).
            single_masks: !self.chip.is_82557(),
            link_event: false,
            ..Limits::PLAIN
        }
    }

    fn known_fault(&self, _: &Vm, promise: Promise) -> Option<&'static str> {
        match promise {
            Promise::Pads => {
                Some("i8255x: QEMU does not pad short frames (configuration, byte 18)")
            }
            Promise::NoBroadcast => {
                Some("i8255x: QEMU ignores Broadcast Disable (configuration, byte 15)")
            }
            Promise::SoftwareReset => {
                Some("i8255x: a reset by PORT leaves the interrupt pin as it is")
            }
            Promise::AddressAfterReset => {
                Some("i8255x: a reset leaves the address that was set up, in the EEPROM too")
            }
            _ => None,
        }
    }

    fn start(&self, vm: &Rc<Vm>) -> Result<()> {
        self.reset(vm)?;
        self.chip.registers().set(i8255x::SCB_MASK, i8255x::MASK_ALL)?;
        let receive = (0..COUNT).map(|_| Block::receive(vm, SIZE)).collect::<Result<Vec<_>>>()?;
        for (number, block) in receive.iter().enumerate() {
            block.link(&receive[(number + 1) % COUNT])?;
        }
        receive[COUNT - 1].set_command(block::EL)?;
        let first = receive[0].offset();
        self.lists.replace(Some(Lists {
            vm: vm.clone(),
            sending: RefCell::default(),
            queued: RefCell::default(),
            receive,
            next: Cell::default(),
            taken: Cell::default(),
        }));
        self.chip.command(vm, i8255x::CU_LOAD_BASE, BASE)?;
        self.chip.command(vm, i8255x::RU_LOAD_BASE, BASE)?;
        self.set_filter(&Filter::PLAIN)?;
        self.chip.command(vm, i8255x::RU_START, first)?;
        self.chip.acknowledge().map(drop)
    }

    fn reset(&self, _: &Rc<Vm>) -> Result<()> {
        self.chip.registers().set(i8255x::PORT, i8255x::PORT_SOFTWARE_RESET)
    }

    fn remapped(&self) -> Result<Rc<dyn Nic>> {
        Ok(Rc::new(Self { chip: Rc::new(self.chip.remap()?), lists: RefCell::default() }))
    }

    fn station_address(&self) -> Result<Address> {
        let mut address = Address::default();
        for (word, bytes) in (0..).zip(address.chunks_mut(2)) {
            bytes.copy_from_slice(&self.chip.eeprom(word)?.to_le_bytes());
        }
        Ok(address)
    }

    fn set_filter(&self, filter: &Filter) -> Result<()> {
        let vm = self.lists()?.vm.clone();
        let mut bytes = CONFIGURATION;
        bytes[15] |= if filter.foreign { PROMISCUOUS } else { 0 };
        bytes[15] |= if filter.broadcast { 0 } else { BROADCAST_DISABLE };
        bytes[21] |= if filter.groups == Groups::All { MULTICAST_ALL } else { 0 };
        self.run(&vm, block::CONFIGURE, &bytes)?;
        self.run(&vm, block::IA_SETUP, &[&filter.own[..], &[0; 2]].concat())?;
        let groups = match filter.groups {
            Groups::One(group) => [&[6, 0][..], &group].concat(),
            _ => vec![0; 2],
        };
        self.run(&vm, block::MULTICAST_SETUP, &groups)?;
        self.chip.acknowledge().map(drop)
    }

    fn queue(&self, frame: &[u8]) -> Result<()> {
        let lists = self.lists()?;
        let block = Block::transmit(&lists.vm, frame)?;
        block.set_command(block::TRANSMIT | block::EL | block::I)?;
        lists.queued.borrow_mut().push(block);
        Ok(())
    }

    fn send(&self) -> Result<()> {
        let lists = self.lists()?;
        let list = lists.queued.take();
        let Some(first) = list.first() else {
            return Ok(());
        };
        list.windows(2).try_for_each(|pair| pair[0].link(&pair[1]))?;
        wait_until(&lists.vm, "an idle command unit", || Ok(self.state(CU_STATE)? == 0))?;
        self.chip.command(&lists.vm, i8255x::CU_START, first.offset())?;
        lists.sending.borrow_mut().extend(list);
        Ok(())
    }

    fn sent(&self) -> Result<usize> {
        let lists = self.lists()?;
        let mut sending: RefMut<VecDeque<Block>> = lists.sending.borrow_mut();
        let mut count = 0;
        while sending.front().map_or(Ok(false), |block| block.is_complete(DONE))? {
            sending.pop_front();
            count += 1;
        }
        Ok(count)
    }

    fn arrived(&self) -> Result<usize> {
        let lists = self.lists()?;
        let owned = COUNT - lists.taken.get();
        for count in 0..owned {
            let at = (lists.next.get() + count) % COUNT;
            match lists.receive[at].status()? {
                0 => return Ok(count),
                status if status & !ADDRESS_BITS == DONE => {}
                status => {
                    return Err(Error::failed(format!("a frame with the status {status:#06x}")));
                }
            }
        }
        Ok(owned)
    }

    fn take(&self) -> Result<Vec<u8>> {
        if self.arrived()? == 0 {
            return Err(Error::failed("no frame has arrived"));
        }
        let lists = self.lists()?;
        let at = lists.next.get();
        lists.next.set((at + 1) % COUNT);
        lists.taken.set(lists.taken.get() + 1);
        lists.receive[at].received()
    }

    fn recycle(&self) -> Result<()> {
        let lists = self.lists()?;
        for before in (1..=lists.taken.take()).rev() {
            let at = (lists.next.get() + COUNT - before) % COUNT;
            lists.receive[at].recycle()?;
            lists.receive[at].set_command(block::EL)?;
            lists.receive[(at + COUNT - 1) % COUNT].set_command(0)?;
        }
        if self.state(RU_STATE)? == i8255x::RU_NO_RESOURCES {
            let next = lists.receive[lists.next.get()].offset();
            self.chip.command(&lists.vm, i8255x::RU_START, next)?;
        }
        Ok(())
    }

    fn unmask(&self, events: Events) -> Result<()> {
        let mut mask = !(i8255x::SOFTWARE_INTERRUPT | i8255x::MASK_ALL);
        for (on, cause) in [
            (events.sent, i8255x::ACK_CX),
            (events.received, i8255x::ACK_FR),
            (events.overrun, i8255x::ACK_RNR),
        ] {
            mask &= if on { !cause } else { !0 };
        }
        let none = !(events.sent | events.received | events.overrun);
        mask = match (none, self.limits().single_masks) {
            (true, _) => i8255x::MASK_ALL,
            (false, true) => mask,
            (false, false) => 0,
        };
        self.chip.registers().set(i8255x::SCB_MASK, mask)
    }

    fn events(&self) -> Result<Events> {
        let causes = self.chip.acknowledge()?;
        let has = |cause: u8| causes & cause != 0;
        let known = i8255x::ACK_CX | i8255x::ACK_CNA | i8255x::ACK_FR | i8255x::ACK_RNR;
        if has(!known) {
            return Err(Error::failed(format!("STAT/ACK has other causes: {causes:#x}")));
        }
        Ok(Events {
            sent: has(i8255x::ACK_CX),
            received: has(i8255x::ACK_FR),
            overrun: has(i8255x::ACK_RNR),
            link: false,
        })
    }

    fn link_is_up(&self) -> Result<Option<bool>> {
        Ok(None)
    }

    fn memory(&self) -> Result<Vec<u8>> {
        let lists = self.lists()?;
        let (sending, queued) = (lists.sending.borrow(), lists.queued.borrow());
        let all = lists.receive.iter().chain(sending.iter()).chain(queued.iter());
        all.map(Block::contents).collect::<Result<Vec<_>>>().map(|all| all.concat())
    }
}

impl Produces<dyn Nic> for I8255x {
    fn produced(self: Rc<Self>) -> Rc<dyn Nic> {
        Rc::new(I8255xNic { chip: self, lists: RefCell::default() })
    }
}
