//! Cirrus Logic's GD5446 (Cirrus Logic, "CL-GD5446 Technical Reference Manual", second edition): a
//! VGA with modes of 8 to 32 bits a pixel, a pointer, and an engine that copies blocks of bits.

use std::rc::Rc;

use super::vga_card::{Card, Model};
use crate::graph::{Consumes, Produces, QemuArgs, Site};
use crate::qemu::Vm;
use crate::qos::display::registers::{GRAPHICS, SEQUENCER};
use crate::qos::display::{SCREEN, Vga};
use crate::qos::pci::{ExpectedBar, Identity, PciFunction, RootBus, Space};
use crate::qos::registers::{Access, Register, Registers, RegistersExt, Width};
use crate::{Error, Result, driver};

/// What its configuration space says.
const IDENTITY: Identity = Identity {
    vendor: 0x1013,
    device: 0x00b8,
    revision: 0,
    class: 0x03_00_00,
    subsystem: (0x1af4, 0x1100),
    pin: 0,
    bars: &[
        ExpectedBar { number: 0, space: Space::Memory, size: 0x0200_0000, witness: None },
        ExpectedBar { number: 1, space: Space::Memory, size: 0x1000, witness: None },
    ],
    capabilities: &[],
};

const MODEL: Model = Model { memory: 0, mmio: Some(1), identity: Some(IDENTITY) };

/// A register of the sequencer that a VGA does not have.
pub const fn sequencer(name: &'static str, index: u64) -> Register<u8> {
    Register::new(name, SEQUENCER + index)
}

/// SR6: what unlocks all of them.
pub const UNLOCK: Register<u8> = sequencer("Unlock All Extensions", 0x06);
/// SR7: the width of a pixel; bit 0 for other modes than those of a VGA.
pub const EXTENDED: Register<u8> = sequencer("Extended Sequencer Mode", 0x07);
/// SR12: bit 0 shows the pointer, bit 1 gives access to its colours, bit 2 makes it large.
pub const POINTER: Register<u8> = sequencer("Graphics Cursor Attributes", 0x12);
/// SR13: which of the pointers in memory it is.
pub const POINTER_PATTERN: Register<u8> = sequencer("Graphics Cursor Pattern Address", 0x13);

/// Modes of a block (GR30): from the last byte to the first.
pub const BACKWARDS: u8 = 0x01;
/// From the CPU to the screen.
pub const FROM_CPU: u8 = 0x04;
/// What has the transparent colour is left out.
pub const TRANSPARENT: u8 = 0x08;
/// The source is a pattern of 8 by 8 pixels.
pub const PATTERN: u8 = 0x40;
/// A bit of the source stands for a pixel.
pub const EXPAND: u8 = 0x80;
/// Mode extensions (GR33): with [`PATTERN`] and [`EXPAND`], one colour.
pub const SOLID: u8 = 0x04;
/// Zeroes of the source are drawn where transparent, not ones.
pub const INVERT: u8 = 0x02;
/// Lines of the source begin with a doubleword.
pub const DOUBLEWORDS: u8 = 0x01;

/// One block of bits for the engine. Lengths and addresses are bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Block {
    /// The length of a line.
    pub width: u16,
    /// The number of lines.
    pub height: u16,
    /// From one line of the destination to the next.
    pub to_pitch: u16,
    /// From one line of the source to the next.
    pub from_pitch: u16,
    /// Where the first byte is written.
    pub to: u32,
    /// Where the source begins.
    pub from: u32,
    /// See [`BACKWARDS`] and others; the width of a pixel in bits 4 and 5.
    pub mode: u8,
    /// The raster operation.
    pub operation: u8,
    /// See [`SOLID`] and others.
    pub extension: u8,
    /// The colour of ones.
    pub foreground: u32,
    /// The colour of zeroes.
    pub background: u32,
    /// The transparent colour.
    pub transparent: u16,
    /// How many pixels at the left are not written (GR2F), with pixels of 24 bits how many bytes.
    pub skip: u8,
}

/// QEMU's `cirrus-vga`.
pub struct CirrusVga {
    vm: Rc<Vm>,
    card: Card,
    vga: Rc<Vga>,
}

impl CirrusVga {
    /// The VGA that it is.
    pub fn vga(&self) -> &Vga {
        &self.vga
    }

    /// The machine that it is in.
    pub fn vm(&self) -> &Rc<Vm> {
        &self.vm
    }

    /// Video memory.
    pub fn memory(&self) -> &dyn Registers {
        self.vga.memory()
    }

    /// Writes the register `index` of the graphics controller.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    pub fn set_graphics(&self, index: u64, value: u8) -> Result<()> {
        self.vga.registers().write8(GRAPHICS + index, value)
    }

    /// Reads the register `index` of the graphics controller.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    pub fn graphics(&self, index: u64) -> Result<u8> {
        self.vga.registers().read8(GRAPHICS + index)
    }

    /// Has the engine begin with a block. It is done once it is not busy any more, or, with
    /// [`FROM_CPU`], takes data.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    pub fn begin(&self, block: &Block) -> Result<()> {
        let (foreground, background) =
            (block.foreground.to_le_bytes(), block.background.to_le_bytes());
        for (at, index) in [0, 0x10, 0x12, 0x14].into_iter().enumerate() {
            self.set_graphics(index, background[at])?;
            self.set_graphics(index + 1, foreground[at])?;
        }
        let (to, from) = (block.to.to_le_bytes(), block.from.to_le_bytes());
        let words = [
            (0x20, block.width.wrapping_sub(1)),
            (0x22, block.height.wrapping_sub(1)),
            (0x24, block.to_pitch),
            (0x26, block.from_pitch),
            (0x34, block.transparent),
        ];
        for (index, word) in words {
            self.set_graphics(index, word as u8)?;
            self.set_graphics(index + 1, (word >> 8) as u8)?;
        }
        for at in 0..3 {
            self.set_graphics(0x28 + at as u64, to[at])?;
            self.set_graphics(0x2c + at as u64, from[at])?;
        }
        for (index, byte) in [
            (0x2f, block.skip),
            (0x30, block.mode),
            (0x32, block.operation),
            (0x33, block.extension),
            (0x31, 0x02),
        ] {
            self.set_graphics(index, byte)?;
        }
        Ok(())
    }

    /// Whether the engine is busy.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    pub fn is_busy(&self) -> Result<bool> {
        Ok(self.graphics(0x31)? & 0x01 != 0)
    }

    /// Stops the engine.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    pub fn stop(&self) -> Result<()> {
        self.set_graphics(0x31, 0x04)?;
        self.set_graphics(0x31, 0x00)
    }

    /// Gives the engine data of the CPU, a whole number of doublewords.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    pub fn send(&self, data: &[u8]) -> Result<()> {
        let longs = data.chunks_exact(4).map(|it| u32::from_le_bytes([it[0], it[1], it[2], it[3]]));
        let writes = longs.map(|long| Access::Write(0, Width::Long, long.into()));
        self.memory().sequence(&writes.collect::<Vec<_>>()).map(drop)
    }

    /// Has the engine do a block of video memory, and waits until it is done.
    ///
    /// # Errors
    /// Returns [`Error::Failed`] if it stays busy.
    pub fn draw(&self, block: &Block) -> Result<()> {
        self.begin(block)?;
        if self.is_busy()? {
            return Err(Error::failed(format!("the engine stays busy with {block:x?}")));
        }
        Ok(())
    }
}

impl Consumes<RootBus> for CirrusVga {
    const ARGS: QemuArgs = QemuArgs::device("bus={bus},addr={addr}").images(&[SCREEN]);

    fn attach(bus: Rc<RootBus>, site: &Site) -> Result<Self> {
        let card = Card::attach(&bus.0, site, MODEL, false)?;
        let vga = Rc::new(card.vga()?);
        vga.registers().set(UNLOCK, 0x12)?;
        Ok(Self { vm: site.vm.clone(), vga, card })
    }
}

impl Produces<Vga> for CirrusVga {
    fn produced(self: Rc<Self>) -> Rc<Vga> {
        self.vga.clone()
    }
}

impl Produces<PciFunction> for CirrusVga {
    fn produced(self: Rc<Self>) -> Rc<PciFunction> {
        self.card.function()
    }
}

driver!(CirrusVga = "cirrus-vga"; consumes RootBus; produces Vga, PciFunction);
