//! Intel's gigabit controllers 8254x as [`Nic`]s (PCI/PCI-X Family of Gigabit Ethernet
//! Controllers Software Developer's Manual).

use std::cell::{Cell, Ref, RefCell};
use std::rc::Rc;

use super::ring::{CMD_EOP, CMD_IFCS, CMD_RS, Ring, STA_DD, STA_RECEIVED};
use super::{self as e1000, E1000};
use crate::graph::Produces;
use crate::qemu::Vm;
use crate::qos::net::Address;
use crate::qos::nic::{Events, Filter, Groups, Limits, Nic, Overrun, Promise};
use crate::qos::pci::PciDevice;
use crate::qos::registers::{Register, RegistersExt};
use crate::{Error, Result};

/// The descriptors of a ring; the device may own all but one.
const COUNT: usize = 16;
/// The bytes of a buffer, those of RCTL.BSIZE 0.
const SIZE: usize = 2048;
/// STATUS: the link is up.
const STATUS_LU: u32 = 1 << 1;

/// The causes of what a [`Nic`] reports, and those that come with them.
const SENT: u32 = e1000::ICR_TXDW | e1000::ICR_TXQE;
const RECEIVED: u32 = e1000::ICR_RXT0 | e1000::ICR_RXDMT0;

/// Both rings, and where the driver is in them.
struct Rings {
    transmit: Ring,
    receive: Ring,
    /// The first transmit descriptor that was not yet reported as sent.
    unsent: Cell<usize>,
    /// The receive descriptor that the next frame comes into.
    next: Cell<usize>,
    /// How many frames were taken since descriptors were recycled.
    taken: Cell<usize>,
}

/// A controller with a ring in each direction.
pub struct E1000Nic {
    e1000: Rc<E1000>,
    rings: RefCell<Option<Rings>>,
}

impl E1000Nic {
    fn rings(&self) -> Result<Ref<'_, Rings>> {
        let rings = Ref::filter_map(self.rings.borrow(), Option::as_ref);
        rings.map_err(|_| Error::failed("the network device was not started"))
    }

    fn write(&self, register: Register<u32>, value: u32) -> Result<()> {
        self.e1000.registers().set(register, value)
    }

    fn read(&self, register: Register<u32>) -> Result<u32> {
        self.e1000.registers().get(register)
    }
}

impl Nic for E1000Nic {
    fn device(&self) -> &PciDevice {
        self.e1000.device()
    }

    fn limits(&self) -> Limits {
        Limits {
            transmit: COUNT - 1,
            receive: COUNT - 1,
            longest_sent: 1518,
            // With a tag (3.2.2): 1522 bytes, the frame check sequence among them. QEMU before 8.1
            // takes four more.
            longest_received: 1518,
            too_long: Some(1523),
            pads: true,
            overrun: Overrun::Waits,
            single_masks: true,
        }
    }

    fn known_fault(&self, _: &Vm, promise: Promise) -> Option<&'static str> {
        match promise {
            Promise::Pads => Some("e1000: QEMU does not pad short packets (TCTL.PSP)"),
            Promise::SoftwareReset => Some("e1000: QEMU ignores CTRL.RST"),
            _ => None,
        }
    }

    fn start(&self, vm: &Rc<Vm>) -> Result<()> {
        self.reset(vm)?;
        self.write(e1000::RCTL, 0)?;
        self.write(e1000::TCTL, 0)?;
        self.write(e1000::IMC, !0)?;
        // The registers of a ring are written before the last one is freed.
        let rings = Rings {
            transmit: Ring::new(&self.e1000, vm, e1000::TDBAL, COUNT, SIZE)?,
            receive: Ring::new(&self.e1000, vm, e1000::RDBAL, COUNT, SIZE)?,
            unsent: Cell::new(0),
            next: Cell::new(0),
            taken: Cell::new(0),
        };
        self.rings.replace(Some(rings));
        self.write(e1000::TCTL, e1000::TCTL_EN | e1000::TCTL_PSP)?;
        self.set_filter(&Filter::PLAIN)?;
        self.rings()?.receive.give(COUNT - 1)?;
        self.read(e1000::ICR).map(drop)
    }

    fn reset(&self, _: &Rc<Vm>) -> Result<()> {
        let control = self.read(e1000::CTRL)?;
        self.write(e1000::CTRL, control | e1000::CTRL_RST)
    }

    fn remapped(&self) -> Result<Rc<dyn Nic>> {
        Ok(Rc::new(Self { e1000: Rc::new(self.e1000.remap()?), rings: RefCell::default() }))
    }

    fn station_address(&self) -> Result<Address> {
        let (low, high) = (self.read(e1000::RAL0)?, self.read(e1000::RAH0)?);
        let [a, b, c, d] = low.to_le_bytes();
        let [e, f, ..] = high.to_le_bytes();
        Ok([a, b, c, d, e, f])
    }

    fn set_filter(&self, filter: &Filter) -> Result<()> {
        let [a, b, c, d, e, f] = filter.own;
        self.write(e1000::RAH0, 0)?;
        self.write(e1000::RAL0, u32::from_le_bytes([a, b, c, d]))?;
        self.write(e1000::RAH0, u32::from_le_bytes([e, f, 0, 0]) | e1000::RAH_AV)?;
        let hash = match filter.groups {
            // RCTL.MO 0: bits 47:36 of the address.
            Groups::One(group) => Some(u64::from(group[5]) << 4 | u64::from(group[4]) >> 4),
            _ => None,
        };
        for index in 0..128 {
            let here = hash.filter(|hash| hash >> 5 == index);
            self.write(e1000::MTA.nth(index, 4), here.map_or(0, |hash| 1 << (hash & 31)))?;
        }
        let broadcast = if filter.broadcast { e1000::RCTL_BAM } else { 0 };
        let groups = if filter.groups == Groups::All { e1000::RCTL_MPE } else { 0 };
        let foreign = if filter.foreign { e1000::RCTL_UPE } else { 0 };
        let on = e1000::RCTL_EN | e1000::RCTL_SECRC;
        self.write(e1000::RCTL, on | broadcast | groups | foreign)
    }

    fn queue(&self, frame: &[u8]) -> Result<()> {
        self.rings()?.transmit.put(frame, CMD_EOP | CMD_IFCS | CMD_RS).map(drop)
    }

    fn send(&self) -> Result<()> {
        self.rings()?.transmit.ring()
    }

    fn sent(&self) -> Result<usize> {
        let rings = self.rings()?;
        let mut count = 0;
        loop {
            let at = rings.unsent.get();
            if at == rings.transmit.tail() || !rings.transmit.is_done(at, STA_DD)? {
                return Ok(count);
            }
            rings.unsent.set(rings.transmit.wrap(at, 1));
            count += 1;
        }
    }

    fn arrived(&self) -> Result<usize> {
        let rings = self.rings()?;
        let mut at = rings.next.get();
        let mut count = 0;
        while at != rings.receive.tail() && rings.receive.is_done(at, STA_RECEIVED)? {
            at = rings.receive.wrap(at, 1);
            count += 1;
        }
        Ok(count)
    }

    fn take(&self) -> Result<Vec<u8>> {
        if self.arrived()? == 0 {
            return Err(Error::failed("no frame has arrived"));
        }
        let rings = self.rings()?;
        let (ring, at) = (&rings.receive, rings.next.get());
        match ring.errors(at)? {
            0 => {}
            errors => return Err(Error::failed(format!("a frame with the errors {errors:#x}"))),
        }
        rings.next.set(ring.wrap(at, 1));
        rings.taken.set(rings.taken.get() + 1);
        ring.received(at)
    }

    fn recycle(&self) -> Result<()> {
        let rings = self.rings()?;
        rings.receive.give(rings.taken.take())
    }

    fn unmask(&self, events: Events) -> Result<()> {
        self.write(e1000::IMC, !0)?;
        let bits = [
            (events.sent, SENT),
            (events.received, e1000::ICR_RXT0),
            (events.overrun, e1000::ICR_RXO),
            (events.link, e1000::ICR_LSC),
        ];
        let mask = bits.iter().filter(|(on, _)| *on).fold(0, |mask, (_, bits)| mask | bits);
        self.write(e1000::IMS, mask)
    }

    fn events(&self) -> Result<Events> {
        let causes = self.read(e1000::ICR)?;
        let has = |bits: u32| causes & bits != 0;
        let known = SENT | RECEIVED | e1000::ICR_RXO | e1000::ICR_LSC;
        if has(!known) {
            return Err(Error::failed(format!("ICR has other causes: {causes:#x}")));
        }
        Ok(Events {
            sent: has(e1000::ICR_TXDW),
            received: has(e1000::ICR_RXT0),
            overrun: has(e1000::ICR_RXO),
            link: has(e1000::ICR_LSC),
        })
    }

    fn link_is_up(&self) -> Result<Option<bool>> {
        Ok(Some(self.read(e1000::STATUS)? & STATUS_LU != 0))
    }

    fn memory(&self) -> Result<Vec<u8>> {
        let rings = self.rings()?;
        Ok([rings.transmit.memory()?, rings.receive.memory()?].concat())
    }
}

impl Produces<dyn Nic> for E1000 {
    fn produced(self: Rc<Self>) -> Rc<dyn Nic> {
        Rc::new(E1000Nic { e1000: self, rings: RefCell::default() })
    }
}
