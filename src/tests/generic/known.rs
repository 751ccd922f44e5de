//! What is known of single devices: registers that rightly have another value each time they
//! are read, although no virtual time passes, and what rightly keeps over a reset of the machine
//! what was written to it. The one table of each.

use crate::qemu::discovery::{Description, Found};
use crate::qos::sweep::{Location, Sweep};

/// Registers of a device.
struct Part {
    /// The QOM type of the device, which those derived from it share.
    of: &'static str,
    /// QEMU's name for their region; empty for any.
    region: &'static str,
    /// The offsets of their first and last bytes in the region.
    offsets: (u64, u64),
}

impl Part {
    const fn new(of: &'static str, first: u64, last: u64) -> Self {
        Self { of, region: "", offsets: (first, last) }
    }

    const fn whole(of: &'static str) -> Self {
        Self::new(of, 0, u64::MAX)
    }

    /// The same in one region only.
    const fn region(self, region: &'static str) -> Self {
        Self { region, ..self }
    }

    fn holds(&self, (region, first): (&str, u64), bytes: u64) -> bool {
        let last = first + (bytes - 1);
        let is_in = self.offsets.0 <= last && first <= self.offsets.1;
        is_in && (self.region.is_empty() || self.region == region)
    }
}

/// Registers that change each time they are read.
const CHANGING: &[Part] = &[
    // Conversion results.
    Part::new("aspeed.adc.engine", 0x10, 0x2f),
    // Random numbers.
    Part::new("aspeed.scu-ast2400", 0x78, 0x7b),
    Part::new("aspeed.scu-ast2500", 0x78, 0x7b),
    Part::new("aspeed.scu-ast2600", 0x540, 0x543),
    Part::new("aspeed.scu-ast1030", 0x540, 0x543),
    Part::new("bcm2835-rng", 0x8, 0xb),
    Part::new("exynos4210.rng", 0x160, 0x173),
    Part::new("imx.rngc", 0x14, 0x17),
    Part::new("npcm7xx-rng", 0x4, 0x7),
    Part::new("nrf51_soc.rng", 0x508, 0x50b),
    // The bytes of an item, one after the other.
    Part::whole("fw_cfg_mem").region("fwcfg.data"),
    Part::whole("fw_cfg_io"),
    // The steps of a training, one after the other.
    Part::new("mchp.pfsoc.ddr_sgmii_phy", 0x814, 0x817),
    // The bit of port 0x61 that shows the refresh of memory.
    Part::whole("isa-pcspk"),
    Part::new("raven-pcihost", 0x61, 0x61).region("pci-io-non-contiguous"),
    // Input Status 1 shows whether a picture is being drawn.
    Part::whole("VGA").region("vga"),
    // The bytes of a sensor, one after the other.
    Part::new("microbit.i2c", 0x518, 0x51b),
    // How many bytes of the NAND flash were read.
    Part::new("sl-nand", 0xc, 0xf),
    // What a training of the delay lines observes.
    Part::new("xlnx.versal-ospi", 0xbc, 0xc3),
];

/// What keeps over a reset what was written.
const KEEPING: &[Part] = &[
    // Real-time clocks, which a battery keeps.
    Part::whole("allwinner-rtc-sun4i"),
    Part::whole("allwinner-rtc-sun6i"),
    Part::whole("allwinner-rtc-sun7i"),
    Part::whole("aspeed.rtc"),
    Part::whole("exynos4210.rtc"),
    Part::whole("goldfish_rtc"),
    Part::whole("mc146818rtc"),
    Part::whole("pl031"),
    Part::whole("pxa2xx_rtc"),
    Part::whole("strongarm-rtc"),
    Part::whole("sun4v_rtc"),
    Part::whole("sysbus-m48t08"),
    Part::whole("xlnx-zynmp.rtc"),
    // Addresses and counts of DMA channels, which the data sheet has undefined after a reset, and the
    // pages beside the chip, which are memory.
    Part::whole("i8257").region("dma-chan"),
    Part::whole("i8257").region("dma-page"),
    // Counters, of which the data sheet says that they are undefined at first.
    Part::whole("isa-pit"),
    // Memory that keeps its content without power.
    Part::whole("macio-nvram"),
    Part::whole("npcm7xx-fuse-array"),
    Part::whole("riscv.sifive.u.otp"),
    Part::whole("xlnx,bbram-ctrl"),
    Part::whole("xlnx,versal-efuse"),
    Part::whole("xlnx,zynqmp-efuse"),
    // Windows onto RAM, and RAM that is a part of the device.
    Part::whole("ARM-bitband-memory"),
    Part::whole("tz-mpc").region("tz-mpc-upstream"),
    Part::whole("aspeed.i2c-ast2400").region("aspeed.i2c-pool"),
    Part::whole("aspeed.i2c-ast2500").region("aspeed.i2c-pool"),
    Part::whole("aspeed.i2c-ast2600").region("aspeed.i2c-pool"),
    Part::whole("aspeed.i2c-ast1030").region("aspeed.i2c-pool"),
    // Both buffers for sending, and both for receiving.
    Part::new("xlnx.xps-ethernetlite", 0x0, 0x7e3),
    Part::new("xlnx.xps-ethernetlite", 0x800, 0xfe3),
    Part::new("xlnx.xps-ethernetlite", 0x1000, 0x17e3),
    Part::new("xlnx.xps-ethernetlite", 0x1800, 0x1fe3),
];

/// What makes registers writable.
struct Key {
    /// The QOM type of the device, which those derived from it share.
    of: &'static str,
    /// The offset of the lock in its first region, and what opens it.
    offset: u64,
    value: u64,
}

/// Locks on registers, and what opens them.
const KEYS: &[Key] = &[
    // The protection keys SCU000, SCU010 and MCR00.
    Key { of: "aspeed.scu", offset: 0x00, value: 0x1688_a8a8 },
    Key { of: "aspeed.scu-ast2600", offset: 0x10, value: 0x1688_a8a8 },
    Key { of: "aspeed.sdmc", offset: 0x00, value: 0xfc60_0309 },
    // SYS_LOCK.
    Key { of: "realview_sysctl", offset: 0x20, value: 0xa05f },
    // SLCR_UNLOCK (Zynq-7000 TRM, UG585, appendix B).
    Key { of: "xilinx-zynq_slcr", offset: 0x08, value: 0xdf0d },
];

/// As [`CHANGING`], of devices that a user plugs in: `of` is their type, of which a `*` at the end
/// stands for any text.
const CARDS_CHANGING: &[Part] = &[
    // The bytes of a packet, one after the other, and where the next one is.
    Part::new("ne2k_pci", 0x8, 0x9),
    Part::new("ne2k_pci", 0x10, 0x17),
    Part::new("ne2k_isa", 0x8, 0x9),
    Part::new("ne2k_isa", 0x10, 0x17),
    // Input Status 1 shows whether a picture is being drawn.
    Part::whole("isa-vga").region("vga"),
    Part::new("isa-cirrus-vga", 0xa, 0xa).region("cirrus-io"),
];

/// As [`KEEPING`], of devices that a user plugs in.
const CARDS_KEEPING: &[Part] = &[
    // Memory: of pictures, of programs, shared with others.
    Part::whole("VGA").region("bar0"),
    Part::whole("secondary-vga").region("bar0"),
    Part::whole("bochs-display").region("bar0"),
    Part::whole("ati-vga").region("bar0"),
    Part::whole("cirrus-vga").region("bar0"),
    Part::whole("virtio-vga*").region("bar0"),
    Part::whole("qxl*").region("bar0"),
    Part::whole("qxl*").region("bar1"),
    Part::whole("vmware-svga").region("bar1"),
    Part::whole("vmware-svga").region("bar2"),
    Part::whole("lsi53c8*").region("bar2"),
    Part::whole("ivshmem*").region("bar2"),
    Part::whole("acpi-erst").region("bar1"),
    // A real-time clock, which a battery keeps.
    Part::whole("mc146818rtc"),
];

/// Whether `bytes` at `register`, a BAR or a region and an offset, of a plugged-in device of type `ty` rightly
/// change each time they are read.
pub(crate) fn card_changes(ty: &str, register: (&str, u64), bytes: u64) -> bool {
    is_in_cards(CARDS_CHANGING, ty, register, bytes)
}

/// Whether `bytes` at `register` of such a device rightly keep over a reset what was written.
pub(crate) fn card_keeps(ty: &str, register: (&str, u64), bytes: u64) -> bool {
    is_in_cards(CARDS_KEEPING, ty, register, bytes)
}

fn is_in_cards(table: &[Part], ty: &str, register: (&str, u64), bytes: u64) -> bool {
    let is_of = |part: &Part| match part.of.strip_suffix('*') {
        Some(start) => ty.starts_with(start),
        None => ty == part.of,
    };
    table.iter().any(|part| is_of(part) && part.holds(register, bytes))
}

/// A device, its machine, and its registers.
pub(crate) struct Device<'d> {
    /// The machine.
    pub(crate) machine: &'d Description,
    /// The device.
    pub(crate) found: &'d Found,
    /// Its registers.
    pub(crate) sweep: &'d Sweep,
}

impl Device<'_> {
    /// Whether what is at `location` rightly changes each time it is read.
    pub(crate) fn changes(&self, location: Location) -> bool {
        self.is_in(CHANGING, location)
    }

    /// Whether what is at `location` rightly keeps over a reset what was written.
    pub(crate) fn keeps(&self, location: Location) -> bool {
        self.is_in(KEEPING, location)
    }

    /// The addresses of its locks, and what opens them.
    pub(crate) fn keys(&self) -> Vec<(u64, u64)> {
        let types = &self.machine.types;
        let Some(base) = self.found.registers().next().map(|region| region.base) else {
            return Vec::new();
        };
        let of = KEYS.iter().filter(|key| types.is_a(&self.found.ty, key.of));
        of.map(|key| (base + key.offset, key.value)).collect()
    }

    fn is_in(&self, table: &[Part], location: Location) -> bool {
        let Some(register) = self.sweep.register(location.address) else { return false };
        let bytes = location.width.bytes() as u64;
        let types = &self.machine.types;
        table.iter().any(|it| it.holds(register, bytes) && types.is_a(&self.found.ty, it.of))
    }
}
