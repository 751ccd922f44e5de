//! Ensoniq's AudioPCI ES1370 (data sheet "AudioPCI ES1370", revision of 1997): two converters that
//! play, one that records, each with a ring in memory. The variant `wav` plays into a file.

use std::rc::Rc;

use crate::graph::{Addition, Consumes, Produces, QemuArgs, Site, Variant};
use crate::qos::pci::{Bar, ExpectedBar, Identity, PciBus, PciFunction, PciPlug, Space};
use crate::qos::registers::{AnyRegister, Register, RegisterBlock, Registers, RegistersExt, Width};
use crate::qos::sound::WAV;
use crate::{Result, driver};

/// What its configuration space says.
const IDENTITY: Identity = Identity {
    vendor: 0x1274,
    device: 0x5000,
    revision: 0,
    class: 0x04_01_00,
    subsystem: (0x4942, 0x4c4c),
    pin: 1,
    bars: &[ExpectedBar { number: 0, space: Space::Io, size: 0x100, witness: None }],
    capabilities: &[],
};

/// Interrupt and chip select control.
pub const CONTROL: Register<u32> = Register::new("Interrupt/Chip Select Control", 0x00)
    .reset(1)
    .kept(!((ENABLE_DAC1 | ENABLE_DAC2 | ENABLE_ADC) as u64 | CLOCKS as u64 | 0x8c) & 0xffff_ffff)
    .reserved(0x8c | CLOCKS as u64)
    .acts((ENABLE_DAC1 | ENABLE_DAC2 | ENABLE_ADC) as u64);
/// Interrupt and chip select status.
pub const STATUS: Register<u32> =
    Register::new("Interrupt/Chip Select Status", 0x04).reset(0x60).read_only();
/// Which page of memory is at 0x30 to 0x3f.
pub const PAGE: Register<u32> = Register::new("Memory Page", 0x0c).reset(0).kept(0xf);
/// Serial interface control: formats, pauses, interrupts.
pub const SERIAL: Register<u32> = Register::new("Serial Interface Control", 0x20)
    .reset(0)
    .kept(0x003f_e740)
    .reserved(0xffc0_18bf);

/// CONTROL: the converters run.
pub const ENABLE_DAC1: u32 = 1 << 6;
/// CONTROL: the second one that plays.
pub const ENABLE_DAC2: u32 = 1 << 5;
/// CONTROL: the one that records.
pub const ENABLE_ADC: u32 = 1 << 4;
/// CONTROL: the rates, of which that of DAC1 is 5512 << this.
const CLOCKS: u32 = 0x1fff_0000 | 3 << 12;
/// CONTROL: 44,100 samples a second everywhere.
pub const RATE_44100: u32 = 30 << 16 | 3 << 12;
/// STATUS: an interrupt of any converter.
pub const ANY_INTERRUPT: u32 = 1 << 31;

/// One of the three converters.
#[derive(Debug, Clone, Copy)]
pub struct Channel {
    /// What it is called.
    pub name: &'static str,
    /// Its bit of CONTROL.
    pub enable: u32,
    /// Its bit of STATUS.
    pub interrupt: u32,
    /// Its bit of SERIAL that lets the interrupt out.
    pub enable_interrupt: u32,
    /// Its bit of SERIAL that has it pause, if it has one.
    pub pause: u32,
    /// Where its format is in SERIAL.
    pub format: u32,
    /// How many samples there are between two interrupts, less one; in the upper half, how many are
    /// left.
    pub count: Register<u32>,
    /// Where the ring is.
    pub address: Register<u32>,
    /// The length of the ring in doublewords less one; in the upper half, which of them is next.
    pub size: Register<u32>,
}

/// A register on a page of memory, whose number is in bits 8 to 11.
const fn paged(name: &'static str, offset: u64) -> Register<u32> {
    Register::new(name, offset).kept(0xffff_ffff)
}

/// The first converter that plays.
pub const DAC1: Channel = Channel {
    name: "DAC1",
    enable: ENABLE_DAC1,
    interrupt: 1 << 2,
    enable_interrupt: 1 << 8,
    pause: 1 << 11,
    format: 0,
    count: Register::new("DAC1 Sample Count", 0x24),
    address: paged("DAC1 Frame Address", 0xc30),
    size: paged("DAC1 Frame Size", 0xc34),
};
/// The second converter that plays.
pub const DAC2: Channel = Channel {
    name: "DAC2",
    enable: ENABLE_DAC2,
    interrupt: 1 << 1,
    enable_interrupt: 1 << 9,
    pause: 1 << 12,
    format: 2,
    count: Register::new("DAC2 Sample Count", 0x28),
    address: paged("DAC2 Frame Address", 0xc38),
    size: paged("DAC2 Frame Size", 0xc3c),
};
/// The converter that records.
pub const ADC: Channel = Channel {
    name: "ADC",
    enable: ENABLE_ADC,
    interrupt: 1 << 0,
    enable_interrupt: 1 << 10,
    pause: 0,
    format: 4,
    count: Register::new("ADC Sample Count", 0x2c),
    address: paged("ADC Frame Address", 0xd30),
    size: paged("ADC Frame Size", 0xd34),
};

/// All registers. A count that is written is in both halves.
const TABLE: &[&dyn AnyRegister] = &[
    &CONTROL,
    &STATUS,
    &SERIAL,
    &DAC1.address,
    &DAC1.size,
    &DAC2.address,
    &DAC2.size,
    &ADC.address,
    &ADC.size,
];

/// The registers, those of memory behind their pages.
struct Paged(Rc<Bar>);

impl Paged {
    fn there(&self, offset: u64) -> Result<u64> {
        if offset >= 0x100 {
            self.0.write32(PAGE.offset(), (offset >> 8) as u32)?;
        }
        Ok(offset & 0xff)
    }
}

impl Registers for Paged {
    fn read(&self, offset: u64, width: Width) -> Result<u64> {
        self.0.read(self.there(offset)?, width)
    }

    fn write(&self, offset: u64, width: Width, value: u64) -> Result<()> {
        self.0.write(self.there(offset)?, width, value)
    }
}

/// QEMU's `ES1370`.
pub struct Es1370 {
    /// Where it is plugged in, and its registers.
    pub plug: PciPlug,
}

impl Es1370 {
    /// The registers, with those of its memory at their page and offset.
    pub fn registers(&self) -> Rc<dyn Registers> {
        Rc::new(Paged(self.plug.registers.clone()))
    }
}

impl Consumes<dyn PciBus> for Es1370 {
    const ARGS: QemuArgs = QemuArgs::device("bus={bus},addr={addr}")
        .images(&[WAV])
        .add(Addition::properties(&["audiodev=snd0"]).before("-audiodev none,id=snd0"));
    const VARIANTS: &'static [Variant] = &[Variant {
        name: "wav",
        add: Addition::properties(&["audiodev=snd1"])
            .before("-audiodev wav,id=snd1,path={wav},out.frequency=44100"),
    }];

    fn attach(bus: Rc<dyn PciBus>, site: &Site) -> Result<Self> {
        Ok(Self { plug: PciPlug::attach(&bus, site, 0)? })
    }
}

impl Produces<PciFunction> for Es1370 {
    fn produced(self: Rc<Self>) -> Rc<PciFunction> {
        self.plug.function(IDENTITY)
    }
}

impl Produces<RegisterBlock> for Es1370 {
    fn produced(self: Rc<Self>) -> Rc<RegisterBlock> {
        let plug = self.plug.clone();
        let block = RegisterBlock::new("ES1370", self.registers(), TABLE)
            .attach(move || Ok(Rc::new(Paged(plug.again()?.registers.clone()))));
        Rc::new(block)
    }
}

driver!(Es1370 = "ES1370"; consumes dyn PciBus; produces PciFunction, RegisterBlock);
