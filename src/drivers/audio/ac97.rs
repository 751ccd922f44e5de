//! The AC'97 controller of Intel's 82801AA with a codec (Intel 82801AA I/O Controller Hub data
//! sheet, chapter 13; AC '97 Component Specification 2.3). As it is, it plays into nothing and
//! records silence; the variant `wav` plays into a file.

use std::rc::Rc;

use crate::graph::{Addition, Consumes, Produces, QemuArgs, Site, Variant};
use crate::qos::pci::{Bar, ExpectedBar, Identity, PciBus, PciDevice, PciFunction, Space};
use crate::qos::registers::Register;
use crate::qos::sound::{WAV, plays_into_file};
use crate::{Result, driver};

/// The codec's registers, behind BAR 0: reset, and what it is able to do.
pub const RESET: Register<u16> = Register::new("RESET", 0x00);
/// Master volume, and in bit 15 its mute.
pub const MASTER_VOLUME: Register<u16> = Register::new("MASTER_VOLUME", 0x02);
/// Volume of what is played.
pub const PCM_OUT_VOLUME: Register<u16> = Register::new("PCM_OUT_VOLUME", 0x18);
/// Extended audio status and control: bit 0 lets rates be set.
pub const EXTENDED: Register<u16> = Register::new("EXTENDED", 0x2a);
/// The rate of what is played, in samples a second.
pub const FRONT_RATE: Register<u16> = Register::new("PCM_FRONT_DAC_RATE", 0x2c);
/// The rate of what is recorded.
pub const RECORD_RATE: Register<u16> = Register::new("PCM_LR_ADC_RATE", 0x32);
/// Who made the codec, in two halves.
pub const VENDOR: [Register<u16>; 2] =
    [Register::new("VENDOR_ID1", 0x7c), Register::new("VENDOR_ID2", 0x7e)];

/// A channel of the bus master, behind BAR 1: what is recorded at 0, what is played at 0x10.
#[derive(Debug, Clone, Copy)]
pub struct Channel(
    /// Where its registers begin.
    pub u64,
);

/// What is recorded.
pub const RECORD: Channel = Channel(0x00);
/// What is played.
pub const PLAY: Channel = Channel(0x10);

impl Channel {
    /// Where the list of 32 buffers is.
    pub const fn list(self) -> Register<u32> {
        Register::new("BDBAR", 0x00).above(self.0)
    }
    /// The buffer that is in use.
    pub const fn current(self) -> Register<u8> {
        Register::new("CIV", 0x04).above(self.0)
    }
    /// The last buffer that may be used.
    pub const fn last(self) -> Register<u8> {
        Register::new("LVI", 0x05).above(self.0)
    }
    /// Its status.
    pub const fn status(self) -> Register<u16> {
        Register::new("SR", 0x06).above(self.0)
    }
    /// How many samples are left of the buffer in use.
    pub const fn left(self) -> Register<u16> {
        Register::new("PICB", 0x08).above(self.0)
    }
    /// Its control.
    pub const fn control(self) -> Register<u8> {
        Register::new("CR", 0x0b).above(self.0)
    }
}

/// Status: it is halted.
pub const STATUS_HALTED: u16 = 1 << 0;
/// Status: the last buffer is in use, and through.
pub const STATUS_CURRENT_IS_LAST: u16 = 1 << 1;
/// Status: the last buffer is through.
pub const STATUS_LAST: u16 = 1 << 2;
/// Status: a buffer is through that was to tell it.
pub const STATUS_BUFFER: u16 = 1 << 3;
/// Control: it runs.
pub const CONTROL_RUN: u8 = 1 << 0;
/// Control: reset of the channel.
pub const CONTROL_RESET: u8 = 1 << 1;
/// An entry of the list: an interrupt when it is through.
pub const ENTRY_INTERRUPT: u32 = 1 << 31;

/// What its configuration space says.
const IDENTITY: Identity = Identity {
    vendor: 0x8086,
    device: 0x2415,
    revision: 0x01,
    class: 0x04_01_00,
    subsystem: (0x1af4, 0x1100),
    pin: 1,
    bars: &[
        ExpectedBar { number: 0, space: Space::Io, size: 0x400, witness: None },
        ExpectedBar { number: 1, space: Space::Io, size: 0x100, witness: None },
    ],
    capabilities: &[],
};

/// QEMU's `AC97`.
pub struct Ac97 {
    /// The function.
    pub device: PciDevice,
    /// The codec's registers.
    pub codec: Rc<Bar>,
    /// The bus master's registers.
    pub master: Rc<Bar>,
    /// Whether what is played is in [`WAV`].
    pub plays_into_file: bool,
}

impl Consumes<dyn PciBus> for Ac97 {
    const ARGS: QemuArgs = QemuArgs::device("bus={bus},addr={addr}")
        .images(&[WAV])
        .add(Addition::properties(&["audiodev=snd0"]).before("-audiodev none,id=snd0"));
    const VARIANTS: &'static [Variant] = &[Variant {
        name: "wav",
        add: Addition::properties(&["audiodev=snd1"])
            .before("-audiodev wav,id=snd1,path={wav},out.frequency=48000"),
    }];

    fn attach(bus: Rc<dyn PciBus>, site: &Site) -> Result<Self> {
        let device = PciDevice::plugged(&bus, site)?;
        let (codec, master) = (device.map_bar(0)?, device.map_bar(1)?);
        device.enable()?;
        let plays_into_file = plays_into_file(site.vm);
        Ok(Self { device, codec, master, plays_into_file })
    }
}

impl Produces<PciFunction> for Ac97 {
    fn produced(self: Rc<Self>) -> Rc<PciFunction> {
        let mapped = vec![self.codec.clone(), self.master.clone()];
        let device = self.device.clone();
        Rc::new(PciFunction { device, identity: Some(IDENTITY), mapped })
    }
}

driver!(Ac97 = "AC97"; consumes dyn PciBus; produces PciFunction);
