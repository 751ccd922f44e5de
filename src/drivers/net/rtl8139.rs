//! Realtek's RTL8139C+ on PCI (RTL8139C(L) data sheet 1.4, whose sections are cited): four
//! transmit buffers, and one ring of bytes to receive into.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use crate::graph::{Consumes, Produces, QemuArgs, Site};
use crate::qemu::{Buffer, Vm};
use crate::qos::net::{self, Address, MAC, check_sequence, without_check_sequence};
use crate::qos::nic::{EventBits, Events, Filter, Groups, Limits, Nic, Promise, Started, contents};
use crate::qos::pci::{ExpectedBar, Identity, PciBus, PciDevice, PciFunction, PciPlug, Space};
use crate::qos::registers::{
    AnyRegister, Fault, Register, RegisterBlock, RegistersExt, Rule, Value,
};
use crate::{Error, Result, driver, nic};

const fn word(name: &'static str, offset: u64, section: &'static str) -> Register<u16> {
    Register::new(name, offset).section(section)
}

const fn long(name: &'static str, offset: u64, section: &'static str) -> Register<u32> {
    Register::new(name, offset).section(section)
}

/// Station address, the first four bytes and the last two: a reset by software keeps them.
pub const IDR0: Register<u32> = long("IDR0", 0x00, "6").kept(0xffff_ffff).survives_software_reset();
/// As [`IDR0`].
pub const IDR4: Register<u16> = word("IDR4", 0x04, "6").kept(0xffff).survives_software_reset();
/// Multicast filter, a bit for each hash.
pub const MAR0: Register<u32> = long("MAR0", 0x08, "6").kept(0xffff_ffff).survives_software_reset();
/// Transmit Status of Descriptor 0: OWN is set until a size is written, which sends.
pub const TSD0: Register<u32> = long("TSD", 0x10, "6.2").reset(0x2000).side_effect();
/// Transmit Start Address of Descriptor 0.
pub const TSAD0: Register<u32> = long("TSAD", 0x20, "6").kept(0xffff_ffff);
/// Receive Buffer Start Address.
pub const RBSTART: Register<u32> = long("RBSTART", 0x30, "6").kept(0xffff_ffff);
/// Command: 3 receiver, 2 transmitter enable; 4 reset; 0 receive buffer empty.
pub const CR: Register<u8> = Register::new("CR", 0x37).section("6.4").reset(1).acts(0x1c);
/// Current Address of Packet Read, less 16.
pub const CAPR: Register<u16> = word("CAPR", 0x38, "6").reset(0xfff0).side_effect();
/// Current Buffer Address: where the next frame is written.
pub const CBR: Register<u16> = word("CBR", 0x3a, "6").reset(0);
/// Interrupt Mask.
pub const IMR: Register<u16> = word("IMR", 0x3c, "6.5").reset(0).kept(0xe07f).reserved(0x1f80);
/// Interrupt Status.
pub const ISR: Register<u16> = word("ISR", 0x3e, "6.6").reset(0).w1c(0xe07f).reserved(0x1f80);
/// Transmit Configuration: it is written while the transmitter is enabled.
pub const TCR: Register<u32> = long("TCR", 0x40, "6.7").reset(0x7480_0000).side_effect();
/// Receive Configuration.
pub const RCR: Register<u32> = long("RCR", 0x44, "6.8").reset(0).kept(0x0f03_ffbf);
/// Timer Count, in cycles of the PCI clock.
pub const TCTR: Register<u32> = long("TCTR", 0x48, "6").volatile(0xffff_ffff).side_effect();
/// Missed Packet Counter, which writing clears.
pub const MPC: Register<u32> = long("MPC", 0x4c, "6").reset(0).side_effect();
/// 93C46 Command: mode in bits 7:6, and the pins of the EEPROM.
pub const EECR: Register<u8> = Register::new("9346CR", 0x50).section("6.9").side_effect();
/// Configuration 1, which is written in mode 3 of [`EECR`] only.
pub const CONFIG1: Register<u8> =
    Register::new("CONFIG1", 0x52).section("6.11").reset(0x0c).side_effect();
/// Configuration 3 and 4, which are written as [`CONFIG1`] is.
pub const CONFIG3: Register<u8> =
    Register::new("CONFIG3", 0x59).section("6.13").reset(0x01).side_effect();
/// As [`CONFIG3`].
pub const CONFIG4: Register<u8> = Register::new("CONFIG4", 0x5a).section("6.14").side_effect();
/// Configuration 5, which no mode locks.
pub const CONFIG5: Register<u8> =
    Register::new("CONFIG5", 0xd8).section("6.29").reset(0).kept(0x7f).reserved(0x80);
/// Halt Clock: `R` lets the chip run, `H` halts it.
pub const HLTCLK: Register<u8> =
    Register::new("HLTCLK", 0x5b).section("6").write_only().side_effect();
/// Basic Mode Control of the PHY: 15 resets it.
pub const BMCR: Register<u16> = word("BMCR", 0x62, "6.18").reset(0x1000).side_effect();
/// Auto-Negotiation Advertisement of the PHY.
pub const ANAR: Register<u16> = word("ANAR", 0x66, "6.20").reset(0x05e1).side_effect();
/// Timer Interrupt: [`ISR`] bit 14 is set when [`TCTR`] comes here, unless it is zero.
pub const TIMER_INT: Register<u32> = long("TimerInt", 0x54, "6").reset(0).kept(0xffff_ffff);
/// Media Status: bit 2 is set while the link is down.
pub const MSR: Register<u8> = Register::new("MSR", 0x58).section("6.12").undefined(0xff);
/// Transmit Status of All Descriptors: TOK, TUN, TABT and OWN, four bits each.
pub const TSAD: Register<u16> = word("TSAD", 0x60, "6.17").reset(0x000f);
/// Transmit Priority Polling, of the C+ mode: bit 6 lets the chip look at the normal ring.
pub const TPPOLL: Register<u8> =
    Register::new("TPPoll", 0xd9).section("TPPoll").write_only().side_effect();
/// C+ Command: 0 and 1 use the rings of descriptors, 6 strips tags; the others are the bus's.
pub const CPCR: Register<u16> = word("CPCR", 0xe0, "C+CR").reset(0).kept(0x007b).reserved(0xff84);
/// Receive Descriptor Start Address, of the C+ mode, in two registers.
pub const RDSAR: Register<u32> = long("RDSAR", 0xe4, "RDSAR").reset(0).kept(0xffff_ffff);
/// All of them that are not arrays, the PHY's among them.
const TABLE: &[&dyn AnyRegister] = &[
    &RBSTART,
    &CR,
    &CAPR,
    &CBR,
    &IMR,
    &ISR,
    &TCR,
    &RCR,
    &TCTR,
    &MPC,
    &EECR,
    &CONFIG1,
    &CONFIG3,
    &CONFIG4,
    &CONFIG5,
    &TIMER_INT,
    &MSR,
    &TSAD,
    &TPPOLL,
    &CPCR,
    &word("MULINT", 0x5c, "6.15").reset(0).kept(0x0fff).reserved(0xf000),
    &Register::<u8>::new("RERID", 0x5e).section("6.16").reset(0x20),
    &BMCR,
    &word("BMSR", 0x64, "6.19").reset(0x782d),
    &ANAR,
    &word("ANLPAR", 0x68, "6.21").reset(0x05e1),
    &word("ANER", 0x6a, "6.22").reset(1).side_effect(),
];

/// What QEMU does otherwise.
const FAULTS: &[Fault] = &[
    Fault::new(
        &["IDR0", "IDR4"],
        &[Rule::SoftwareReset],
        "QEMU's rtl8139 loses a changed address in a reset by software",
    ),
    Fault::new(
        &["RCR", "MULINT", "MPC"],
        &[Rule::SoftwareReset, Rule::MachineReset],
        "QEMU's rtl8139 does not reset RCR, MULINT and MPC",
    ),
    Fault::new(
        &["CR"],
        &[Rule::ResetValue, Rule::MachineReset],
        "QEMU's rtl8139 shows CR.RST set after a reset, until CR is written",
    )
    .bits(CR_RST as u64),
    Fault::new(&["BMSR"], &[Rule::ReadOnly], "QEMU's rtl8139 lets two bits of BMSR be written")
        .bits(0xc0),
];

/// CR: reset.
pub const CR_RST: u8 = 1 << 4;
/// CR: receiver and transmitter on.
pub const CR_ON: u8 = 0b11 << 2;
/// TSD of what was sent is its size and these: the driver's again, without error.
pub const TSD_SENT: u32 = 1 << 13 | 1 << 15;
/// ISR: the timer has come to [`TIMER_INT`].
pub const TIME_OUT: u16 = 1 << 14;
/// ISR: TOK, ROK, RXOVW, and link change.
const EVENTS: EventBits =
    EventBits { sent: 1 << 2, received: 1 << 0, overrun: 1 << 4, link: 1 << 5, besides: 0 };
/// The bytes of the receive ring: RCR.RBLEN 1, and no frame goes on behind its end.
const RING: usize = 0x4000;
/// RCR for it: bursts of any length, runts accepted.
const RCR_RING: u32 = 1 << 11 | 0b111 << 8 | 1 << 4;

/// What a started device works on, and where the driver is in it.
struct Rings {
    transmit: [Buffer; 4],
    /// The sizes of the frames in them.
    sizes: RefCell<[u32; 4]>,
    /// How many frames were queued, told to the device, and reported as sent.
    queued: Cell<usize>,
    told: Cell<usize>,
    sent: Cell<usize>,
    receive: Buffer,
    /// Where the next frame comes to.
    next: Cell<usize>,
}

/// QEMU's `rtl8139`.
pub struct Rtl8139 {
    /// Where it is plugged in, and its registers.
    pub plug: PciPlug,
    rings: Started<Rings>,
}

impl Rtl8139 {
    fn set<T: Value>(&self, register: Register<T>, value: T) -> Result<()> {
        self.plug.registers.set(register, value)
    }

    fn get<T: Value>(&self, register: Register<T>) -> Result<T> {
        self.plug.registers.get(register)
    }

    /// Its function on the PCI bus.
    pub fn device(&self) -> &PciDevice {
        &self.plug.device
    }
}

impl Nic for Rtl8139 {
    fn function(&self) -> Option<&PciDevice> {
        Some(&self.plug.device)
    }

    fn limits(&self) -> Limits {
        // Received frames of 1514 bytes have header, FCS and padding besides. TSD may say 1792 at
        // the most (6.2).
        let (receive, longest) = (RING / 1524, 1792);
        let (longest_sent, longest_received) = (longest, longest);
        Limits { transmit: 4, receive, longest_sent, longest_received, ..Limits::PLAIN }
    }

    fn known_fault(&self, _: &Vm, promise: Promise) -> Option<&'static str> {
        (promise == Promise::SilentWithoutMaster)
            .then_some("rtl8139: QEMU sends what it did not read while it is no bus master")
    }

    fn start(&self, vm: &Rc<Vm>) -> Result<()> {
        self.reset(vm)?;
        let buffer = |length: usize| vm.ram().alloc(length, 4);
        let rings = Rings {
            transmit: [buffer(2048)?, buffer(2048)?, buffer(2048)?, buffer(2048)?],
            sizes: RefCell::default(),
            queued: Cell::default(),
            told: Cell::default(),
            sent: Cell::default(),
            receive: buffer(RING + 16)?,
            next: Cell::default(),
        };
        for (index, buffer) in (0..).zip(&rings.transmit) {
            self.set(TSAD0.nth(index, 4), buffer.address().0 as u32)?;
        }
        self.set(RBSTART, rings.receive.address().0 as u32)?;
        self.rings.set(rings);
        self.set(CR, CR_ON)?;
        self.set_filter(&Filter::PLAIN)?;
        self.set(ISR, !0)
    }

    fn reset(&self, _: &Rc<Vm>) -> Result<()> {
        self.set(CR, CR_RST)?;
        match self.get(CR)? & CR_RST {
            0 => Ok(()),
            _ => Err(Error::failed("CR.RST is still set after a reset")),
        }
    }

    fn remapped(&self) -> Result<Rc<dyn Nic>> {
        Ok(Rc::new(Self { plug: self.plug.again()?, rings: Started::default() }))
    }

    fn station_address(&self) -> Result<Address> {
        let ([a, b, c, d], [e, f]) = (self.get(IDR0)?.to_le_bytes(), self.get(IDR4)?.to_le_bytes());
        Ok([a, b, c, d, e, f])
    }

    fn set_filter(&self, filter: &Filter) -> Result<()> {
        let [a, b, c, d, e, f] = filter.own;
        self.set(IDR0, u32::from_le_bytes([a, b, c, d]))?;
        self.set(IDR4, u16::from_le_bytes([e, f]))?;
        let hashes = match filter.groups {
            Groups::None => 0u64,
            // The upper bits of the check sequence, before it is inverted.
            Groups::One(group) => 1 << ((!check_sequence(&group)).reverse_bits() >> 26),
            Groups::All => !0,
        };
        self.set(MAR0, hashes as u32)?;
        self.set(MAR0.nth(1, 4), (hashes >> 32) as u32)?;
        let bit = |on: bool, bit: u32| u32::from(on) << bit;
        let accept = bit(filter.broadcast, 3) | bit(hashes != 0, 2) | 1 << 1;
        self.set(RCR, RCR_RING | accept | bit(filter.foreign, 0))?;
        // RCR may move the device's pointers.
        self.rings.get()?.next.set(self.get(CBR)?.into());
        self.recycle()
    }

    fn queue(&self, frame: &[u8]) -> Result<()> {
        let rings = self.rings.get()?;
        let number = rings.queued.replace(rings.queued.get() + 1);
        rings.sizes.borrow_mut()[number % 4] = frame.len() as u32;
        rings.transmit[number % 4].write(0, frame)
    }

    fn send(&self) -> Result<()> {
        let rings = self.rings.get()?;
        for number in rings.told.replace(rings.queued.get())..rings.queued.get() {
            self.set(TSD0.nth(number as u64 % 4, 4), rings.sizes.borrow()[number % 4])?;
        }
        Ok(())
    }

    fn sent(&self) -> Result<usize> {
        let rings = self.rings.get()?;
        let before = rings.sent.get();
        for number in before..rings.told.get() {
            let status = self.get(TSD0.nth(number as u64 % 4, 4))?;
            match status ^ rings.sizes.borrow()[number % 4] {
                0 => break,
                TSD_SENT => rings.sent.set(number + 1),
                _ => return Err(Error::failed(format!("TSD{} is {status:#x}", number % 4))),
            }
        }
        Ok(rings.sent.get() - before)
    }

    fn arrived(&self) -> Result<usize> {
        let rings = self.rings.get()?;
        let (mut at, end) = (rings.next.get(), usize::from(self.get(CBR)?));
        let mut count = 0;
        while at != end {
            let header = rings.receive.read_le32(at)?;
            // ROK (6.1), and one of MAR, PAM and BAR, or none in promiscuous mode.
            if header & 0x1fff != 1 || header >> 16 < 4 || count == RING / 16 {
                return Err(Error::failed(format!("a frame with the header {header:#010x}")));
            }
            at = (at + 4 + (header >> 16) as usize).next_multiple_of(4) % RING;
            count += 1;
        }
        Ok(count)
    }

    fn take(&self) -> Result<Vec<u8>> {
        let rings = self.rings.get()?;
        let at = rings.next.get();
        let length = usize::from(rings.receive.read_le16(at + 2)?);
        let mut frame = vec![0; length];
        let (first, wrapped) = frame.split_at_mut(length.min(RING - at - 4));
        rings.receive.read(at + 4, first)?;
        rings.receive.read(0, wrapped)?;
        rings.next.set((at + 4 + length).next_multiple_of(4) % RING);
        without_check_sequence(frame)
    }

    fn recycle(&self) -> Result<()> {
        self.set(CAPR, (self.rings.get()?.next.get() as u16).wrapping_sub(16))
    }

    fn unmask(&self, events: Events) -> Result<()> {
        self.set(IMR, EVENTS.of(events) as u16)
    }

    fn events(&self) -> Result<Events> {
        let status = self.get(ISR)?;
        self.set(ISR, status)?;
        EVENTS.events(status.into())
    }

    fn link_is_up(&self) -> Result<Option<bool>> {
        Ok(Some(self.get(MSR)? & 1 << 2 == 0))
    }

    fn memory(&self) -> Result<Vec<u8>> {
        let rings = self.rings.get()?;
        contents(rings.transmit.iter().chain([&rings.receive]))
    }
}

/// What its configuration space says; QEMU's subsystem is its own.
const IDENTITY: Identity = Identity {
    vendor: 0x10ec,
    device: 0x8139,
    revision: 0x20,
    class: 0x02_00_00,
    subsystem: (0x1af4, 0x1100),
    pin: 1,
    bars: &[
        ExpectedBar { number: 0, space: Space::Io, size: 0x100, witness: Some(TCR.offset()) },
        ExpectedBar { number: 1, space: Space::Memory, size: 0x100, witness: Some(TCR.offset()) },
    ],
    capabilities: &[],
};

impl Consumes<dyn PciBus> for Rtl8139 {
    const ARGS: QemuArgs = net::PCI_DEVICE;

    fn attach(bus: Rc<dyn PciBus>, site: &Site) -> Result<Self> {
        Ok(Self { plug: PciPlug::attach(&bus, site, 1)?, rings: Started::default() })
    }
}

impl Produces<PciFunction> for Rtl8139 {
    fn produced(self: Rc<Self>) -> Rc<PciFunction> {
        self.plug.function(IDENTITY)
    }
}

impl Produces<RegisterBlock> for Rtl8139 {
    fn produced(self: Rc<Self>) -> Rc<RegisterBlock> {
        let [a, b, c, d, e, f] = MAC.map(u64::from);
        let block = self.plug.block("RTL8139C(L) data sheet", TABLE).faults(FAULTS);
        let block = block
            .with(&[&IDR0.reset(a | b << 8 | c << 16 | d << 24), &IDR4.reset(e | f << 8)])
            .with_array(&MAR0, 2, 4)
            .with_array(&TSD0, 4, 4)
            .with_array(&TSAD0, 4, 4)
            .with_array(&RDSAR, 2, 4)
            .software_reset(|registers| registers.set(CR, CR_RST));
        Rc::new(block)
    }
}

nic!(Rtl8139: Nic);
driver!(Rtl8139 = "rtl8139"; consumes dyn PciBus; produces PciFunction, RegisterBlock, dyn Nic);
