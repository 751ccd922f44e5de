//! AMD's PCnet-PCI II (Am79C970A data sheet 19436, whose registers are cited by their names) with
//! the software structures of PCnet-PCI (BCR20.SWSTYLE 2): rings of descriptors of 16 bytes.

mod registers;

use std::cell::Cell;
use std::rc::Rc;

pub use self::registers::*;
use crate::graph::{Consumes, Produces, QemuArgs, Site};
use crate::qemu::{Buffer, Vm};
use crate::qos::net::{self, Address, check_sequence};
use crate::qos::nic::{
    EventBits, Events, Filter, Groups, Limits, Nic, Overrun, Promise, Started, contents,
};
use crate::qos::pci::{Bar, ExpectedBar, Identity, PciBus, PciDevice, PciFunction, PciPlug, Space};
use crate::qos::registers::{Register, RegisterBlock, RegistersExt};
use crate::qos::wait_until;
use crate::{Error, Result, driver, nic};

/// The descriptors of a ring: RLEN and TLEN 4.
pub const COUNT: usize = 16;
/// The bytes of a descriptor, and of the buffer behind each.
const DESCRIPTOR: usize = 16;
const SIZE: usize = 2048;
/// RMD1 and TMD1: the controller's; an error; the first and the last buffer of a frame.
const OWN: u32 = 1 << 31;
const WHOLE: u32 = 1 << 25 | 1 << 24;
/// RMD1: which filter the frame has passed: PAM, LAFM, BAM.
const MATCHES: u32 = 1 << 22 | 1 << 21 | 1 << 20;
/// CSR0: TINT, RINT, MISS; besides ERR, INTR, IENA and what the controller is doing.
const EVENTS: EventBits =
    EventBits { sent: 1 << 9, received: 1 << 10, overrun: 1 << 12, link: 0, besides: 0x80ff };

/// A ring of descriptors, each with a buffer.
struct Ring {
    descriptors: Buffer,
    buffers: Vec<Buffer>,
    /// How many descriptors the driver has given to the controller, and has got back.
    given: Cell<usize>,
    back: Cell<usize>,
}

impl Ring {
    fn new(vm: &Vm) -> Result<Self> {
        let descriptors = vm.ram().alloc(COUNT * DESCRIPTOR, 16)?;
        let buffers = (0..COUNT).map(|_| vm.ram().alloc(SIZE, 4)).collect::<Result<Vec<_>>>()?;
        for (index, buffer) in buffers.iter().enumerate() {
            descriptors.write_le32(index * DESCRIPTOR, buffer.address().0 as u32)?;
        }
        Ok(Self { descriptors, buffers, given: Cell::default(), back: Cell::default() })
    }

    /// Reads a word of the descriptor of this number.
    fn word(&self, number: usize, word: usize) -> Result<u32> {
        self.descriptors.read_le32(number % COUNT * DESCRIPTOR + 4 * word)
    }

    /// Gives the controller the next descriptor, with a buffer of `length` bytes.
    fn give(&self, length: usize, bits: u32) -> Result<()> {
        let number = self.given.replace(self.given.get() + 1);
        let at = number % COUNT * DESCRIPTOR;
        self.descriptors.write_le32(at + 8, 0)?;
        // The count is negative, and the four bits above it are ones.
        let count = (length as u32).wrapping_neg() & 0xffff;
        self.descriptors.write_le32(at + 4, OWN | bits | count)
    }

    /// Whether the controller has given back the descriptor of this number.
    fn is_back(&self, number: usize) -> Result<bool> {
        Ok(number < self.given.get() && self.word(number, 1)? & OWN == 0)
    }

    fn buffer(&self, number: usize) -> &Buffer {
        &self.buffers[number % COUNT]
    }
}

/// What a started controller works on.
struct Rings {
    _init: Buffer,
    transmit: Ring,
    receive: Ring,
}

/// QEMU's `pcnet`.
pub struct Pcnet {
    /// Where it is plugged in.
    plug: PciPlug,
    /// Its registers, behind their address and data ports.
    registers: Rc<Indexed>,
    rings: Started<Rings>,
    /// CSR0.IENA, which every write to CSR0 repeats.
    enabled: Cell<u16>,
}

impl Pcnet {
    fn new(plug: PciPlug) -> Self {
        let registers = Rc::new(Indexed(plug.registers.clone()));
        Self { plug, registers, rings: Started::default(), enabled: Cell::default() }
    }

    /// Reads a control and status register or a bus configuration register.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    pub fn get(&self, register: Register<u16>) -> Result<u16> {
        self.registers.get(register)
    }

    /// Writes a register.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    pub fn set(&self, register: Register<u16>, value: u16) -> Result<()> {
        self.registers.set(register, value)
    }

    /// Its function on the PCI bus.
    pub fn device(&self) -> &PciDevice {
        &self.plug.device
    }

    /// Its ports: address PROM, registers, reset.
    pub fn ports(&self) -> &Bar {
        &self.plug.registers
    }

    /// Reads the address PROM: station address, and the letters WW at its end.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    pub fn prom(&self) -> Result<Vec<u8>> {
        (0..16).map(|at| self.plug.registers.read8(at)).collect()
    }

    /// TMD1 and TMD2 of the frame that was queued last, without its byte count.
    ///
    /// # Errors
    /// Returns an error if the controller was not started.
    pub fn last_transmit_status(&self) -> Result<(u32, u32)> {
        let ring = &self.rings.get()?.transmit;
        let last = ring.given.get().wrapping_sub(1);
        Ok((ring.word(last, 1)? & !0xffff, ring.word(last, 2)?))
    }

    /// RMD1 without its byte count of the frame that comes next, and its bytes with the FCS.
    ///
    /// # Errors
    /// Returns an error if the controller was not started.
    pub fn next_received(&self) -> Result<(u32, Vec<u8>)> {
        let ring = &self.rings.get()?.receive;
        let number = ring.back.get();
        let mut frame = vec![0; (ring.word(number, 2)? & 0xfff) as usize];
        ring.buffer(number).read(0, &mut frame)?;
        Ok((ring.word(number, 1)? & !0xffff, frame))
    }
}

impl Nic for Pcnet {
    fn function(&self) -> Option<&PciDevice> {
        Some(&self.plug.device)
    }

    fn limits(&self) -> Limits {
        Limits {
            transmit: COUNT,
            receive: COUNT,
            pads: true,
            overrun: Overrun::Discards,
            link_event: false,
            ..Limits::PLAIN
        }
    }

    fn known_fault(&self, _: &Vm, promise: Promise) -> Option<&'static str> {
        match promise {
            Promise::Pads => Some("pcnet: QEMU does not pad short frames (CSR4.APAD_XMT)"),
            _ => None,
        }
    }

    fn start(&self, vm: &Rc<Vm>) -> Result<()> {
        self.reset(vm)?;
        let (transmit, receive) = (Ring::new(vm)?, Ring::new(vm)?);
        (0..COUNT).try_for_each(|_| receive.give(SIZE, 0))?;
        let [a, b, c, d, e, f] = net::MAC;
        let (rdra, tdra) = (receive.descriptors.address().0, transmit.descriptors.address().0);
        let block = [
            4 << 28 | 4 << 20,
            u32::from_le_bytes([a, b, c, d]),
            u32::from_le_bytes([e, f, 0, 0]),
            0,
            0,
            rdra as u32,
            tdra as u32,
        ];
        let init = vm.ram().alloc(28, 4)?;
        init.write(0, &block.map(u32::to_le_bytes).concat())?;
        self.set(BCR20, 2)?;
        self.set(CSR1, init.address().0 as u16)?;
        self.set(CSR2, (init.address().0 >> 16) as u16)?;
        self.set(CSR3, CSR3_MASKS)?;
        self.set(CSR4, CSR4_MASKS | CSR4_APAD_XMT)?;
        self.rings.set(Rings { _init: init, transmit, receive });
        self.enabled.set(0);
        self.set(CSR0, CSR0_INIT)?;
        wait_until(vm, "the end of initialization", || Ok(self.get(CSR0)? & CSR0_IDON != 0))?;
        self.set(CSR0, CSR0_IDON | CSR0_STRT)
    }

    fn reset(&self, _: &Rc<Vm>) -> Result<()> {
        self.plug.registers.read16(RESET).map(drop)
    }

    fn remapped(&self) -> Result<Rc<dyn Nic>> {
        Ok(Rc::new(Self::new(self.plug.again()?)))
    }

    fn station_address(&self) -> Result<Address> {
        let words = [self.get(PADR)?, self.get(PADR.nth(1, 2))?, self.get(PADR.nth(2, 2))?];
        let [[a, b], [c, d], [e, f]] = words.map(u16::to_le_bytes);
        Ok([a, b, c, d, e, f])
    }

    fn set_filter(&self, filter: &Filter) -> Result<()> {
        let hashes = match filter.groups {
            Groups::None => 0u64,
            // The upper bits of the check sequence, before it is inverted.
            Groups::One(group) => 1 << (!check_sequence(&group) >> 26),
            Groups::All => !0,
        };
        let bit = |on: bool, bit: u16| u16::from(on) << bit;
        self.set(CSR0, CSR0_STOP)?;
        for index in 0..4 {
            self.set(LADRF.nth(index, 2), (hashes >> (16 * index)) as u16)?;
        }
        for (index, bytes) in (0..).zip(filter.own.chunks(2)) {
            self.set(PADR.nth(index, 2), u16::from_le_bytes([bytes[0], bytes[1]]))?;
        }
        // PROM, and DRCVBC.
        self.set(CSR15, bit(filter.foreign, 15) | bit(!filter.broadcast, 14))?;
        self.set(CSR0, CSR0_STRT | self.enabled.get())
    }

    fn queue(&self, frame: &[u8]) -> Result<()> {
        let rings = self.rings.get()?;
        rings.transmit.buffer(rings.transmit.given.get()).write(0, frame)?;
        rings.transmit.give(frame.len(), WHOLE)
    }

    fn send(&self) -> Result<()> {
        self.set(CSR0, CSR0_TDMD | self.enabled.get())
    }

    fn sent(&self) -> Result<usize> {
        let ring = &self.rings.get()?.transmit;
        let before = ring.back.get();
        while ring.is_back(ring.back.get())? {
            let (status, errors) = (ring.word(ring.back.get(), 1)?, ring.word(ring.back.get(), 2)?);
            if status >> 16 != WHOLE >> 16 || errors != 0 {
                let why = format!("a frame was sent with TMD1 {status:#x} and TMD2 {errors:#x}");
                return Err(Error::failed(why));
            }
            ring.back.set(ring.back.get() + 1);
        }
        Ok(ring.back.get() - before)
    }

    fn arrived(&self) -> Result<usize> {
        let ring = &self.rings.get()?.receive;
        let mut number = ring.back.get();
        while ring.is_back(number)? {
            let status = ring.word(number, 1)?;
            if (status & !MATCHES) >> 16 != WHOLE >> 16 {
                return Err(Error::failed(format!("a frame was received with RMD1 {status:#x}")));
            }
            number += 1;
        }
        Ok(number - ring.back.get())
    }

    fn take(&self) -> Result<Vec<u8>> {
        let (_, mut frame) = self.next_received()?;
        let ring = &self.rings.get()?.receive;
        ring.back.set(ring.back.get() + 1);
        frame.truncate(frame.len().saturating_sub(4));
        Ok(frame)
    }

    fn recycle(&self) -> Result<()> {
        let ring = &self.rings.get()?.receive;
        while ring.given.get() - ring.back.get() < COUNT {
            ring.give(SIZE, 0)?;
        }
        Ok(())
    }

    fn unmask(&self, events: Events) -> Result<()> {
        self.enabled.set(if events == Events::NONE { 0 } else { CSR0_IENA });
        self.set(CSR3, CSR3_MASKS & !(EVENTS.of(events) as u16))?;
        self.set(CSR0, self.enabled.get())
    }

    fn events(&self) -> Result<Events> {
        let status = self.get(CSR0)?;
        self.set(CSR0, status & CSR0_CAUSES | self.enabled.get())?;
        EVENTS.events(status.into())
    }

    fn link_is_up(&self) -> Result<Option<bool>> {
        // LEDOUT.
        Ok(Some(self.get(BCR4)? & 1 << 15 != 0))
    }

    fn memory(&self) -> Result<Vec<u8>> {
        let rings = self.rings.get()?;
        let both = [&rings.transmit, &rings.receive];
        contents(both.into_iter().flat_map(|ring| ring.buffers.iter().chain([&ring.descriptors])))
    }
}

/// What its configuration space says.
const IDENTITY: Identity = Identity {
    vendor: 0x1022,
    device: 0x2000,
    revision: 0x10,
    class: 0x02_00_00,
    subsystem: (0, 0),
    pin: 1,
    bars: &[
        ExpectedBar { number: 0, space: Space::Io, size: 0x20, witness: None },
        ExpectedBar { number: 1, space: Space::Memory, size: 0x20, witness: None },
    ],
    capabilities: &[],
};

impl Consumes<dyn PciBus> for Pcnet {
    const ARGS: QemuArgs = net::PCI_DEVICE;

    fn attach(bus: Rc<dyn PciBus>, site: &Site) -> Result<Self> {
        Ok(Self::new(PciPlug::attach(&bus, site, 1)?))
    }
}

impl Produces<PciFunction> for Pcnet {
    fn produced(self: Rc<Self>) -> Rc<PciFunction> {
        self.plug.function(IDENTITY)
    }
}

nic!(Pcnet: Nic);
driver!(Pcnet = "pcnet"; consumes dyn PciBus; produces PciFunction, RegisterBlock, dyn Nic);
