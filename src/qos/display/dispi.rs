//! Bochs's VBE extensions (Bochs developer documentation, "VBE Display Interface"): ten registers
//! of 16 bits for modes of 8 to 32 bits a pixel, of any size, in linear video memory.

use std::rc::Rc;

use super::{Picture, Vga, dump};
use crate::qemu::Vm;
use crate::qos::registers::{Register, Registers, RegistersExt, Width};
use crate::{Error, Result, interface};

/// A register of the interface.
const fn register(name: &'static str, index: u64) -> Register<u16> {
    Register::new(name, index * 2).section("VBE Display Interface")
}

/// The version, 0xb0c0 to 0xb0c5.
pub const ID: Register<u16> = register("ID", 0);
/// In pixels.
pub const XRES: Register<u16> = register("XRES", 1);
/// In lines.
pub const YRES: Register<u16> = register("YRES", 2);
/// Bits of a pixel.
pub const BPP: Register<u16> = register("BPP", 3);
/// See [`ENABLED`] and others.
pub const ENABLE: Register<u16> = register("ENABLE", 4);
/// The 64 KiB of video memory in the window.
pub const BANK: Register<u16> = register("BANK", 5);
/// The length of a line, in pixels.
pub const VIRT_WIDTH: Register<u16> = register("VIRT_WIDTH", 6);
/// How many such lines there are in video memory.
pub const VIRT_HEIGHT: Register<u16> = register("VIRT_HEIGHT", 7);
/// The column that the screen begins with.
pub const X_OFFSET: Register<u16> = register("X_OFFSET", 8);
/// The line that the screen begins with.
pub const Y_OFFSET: Register<u16> = register("Y_OFFSET", 9);
/// Video memory in units of 64 KiB.
pub const MEMORY_64K: Register<u16> = register("VIDEO_MEMORY_64K", 10);

/// ENABLE: a mode is set.
pub const ENABLED: u16 = 0x01;
/// ENABLE: sizes are read as the largest.
pub const GET_CAPABILITIES: u16 = 0x02;
/// ENABLE: colours of the palette have 8 bits.
pub const DAC_8_BITS: u16 = 0x20;
/// ENABLE: video memory is reached in one piece.
pub const LINEAR: u16 = 0x40;
/// ENABLE: video memory stays as it is.
pub const NO_CLEAR: u16 = 0x80;

/// The registers behind the ports of index and data, two bytes an index.
pub struct DispiPorts(
    /// The ports, by their numbers.
    pub Rc<dyn Registers>,
);

/// The ports of index and data. The latter is at 0x1cf, too, where a word need not be aligned.
const PORTS: (u64, u64) = (0x1ce, 0x1d0);

impl DispiPorts {
    fn select(&self, offset: u64, width: Width) -> Result<()> {
        if !offset.is_multiple_of(2) || width != Width::Word {
            return Err(Error::failed(format!("no {width:?} is at {offset:#x}")));
        }
        self.0.write(PORTS.0, Width::Word, offset / 2)
    }
}

impl Registers for DispiPorts {
    fn read(&self, offset: u64, width: Width) -> Result<u64> {
        self.select(offset, width)?;
        self.0.read(PORTS.1, width)
    }

    fn write(&self, offset: u64, width: Width, value: u64) -> Result<()> {
        self.select(offset, width)?;
        self.0.write(PORTS.1, width, value)
    }
}

/// What a card has besides pixels of 16 and 32 bits.
pub struct Extra {
    /// The VGA to which the interface belongs: with the palette for 8 bits a pixel, 15 and 24 bits
    /// a pixel, banks, a screen that is cleared, and sizes that are put right when they are
    /// written.
    pub vga: Option<Rc<Vga>>,
    /// The register that says in which order the bytes of a pixel are, where there is one.
    pub byte_order: Option<Rc<dyn Registers>>,
}

/// The interface of a card, and its video memory.
pub struct Dispi {
    vm: Rc<Vm>,
    registers: Rc<dyn Registers>,
    memory: Rc<dyn Registers>,
    memory_size: u64,
    /// What else it has.
    pub extra: Extra,
}

interface!(Dispi = "bochs-dispi");

/// The byte order of QEMU's register for it.
const LITTLE_ENDIAN: u64 = 0x1e1e_1e1e;

impl Dispi {
    /// The interface with its registers two bytes an index.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    pub fn new(
        vm: &Rc<Vm>,
        registers: Rc<dyn Registers>,
        memory: Rc<dyn Registers>,
        memory_size: u64,
        extra: Extra,
    ) -> Result<Self> {
        if let Some(order) = &extra.byte_order {
            order.write(0, Width::Long, LITTLE_ENDIAN)?;
        }
        Ok(Self { vm: vm.clone(), registers, memory, memory_size, extra })
    }

    /// The machine that it is in.
    pub fn vm(&self) -> &Rc<Vm> {
        &self.vm
    }

    /// The registers.
    pub fn registers(&self) -> Rc<dyn Registers> {
        self.registers.clone()
    }

    /// Video memory.
    pub fn memory(&self) -> &dyn Registers {
        &*self.memory
    }

    /// In bytes.
    pub fn memory_size(&self) -> u64 {
        self.memory_size
    }

    /// The widths of pixels that it shows.
    pub fn depths(&self) -> &'static [u16] {
        if self.extra.vga.is_some() { &[8, 15, 16, 24, 32] } else { &[16, 32] }
    }

    /// Sets a mode, with lines as long as the screen, which begins with the first of them.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    pub fn set_mode(&self, width: u16, height: u16, bits: u16, flags: u16) -> Result<()> {
        self.registers.set(ENABLE, 0)?;
        for (register, value) in [(XRES, width), (YRES, height), (BPP, bits)] {
            self.registers.set(register, value)?;
        }
        self.registers.set(ENABLE, ENABLED | LINEAR | flags)?;
        for (register, value) in [(VIRT_WIDTH, width), (X_OFFSET, 0), (Y_OFFSET, 0)] {
            self.registers.set(register, value)?;
        }
        match &self.extra.vga {
            Some(vga) => vga.show(true),
            None => Ok(()),
        }
    }

    /// What the screen shows.
    ///
    /// # Errors
    /// As [`dump`].
    pub fn picture(&self) -> Result<Picture> {
        dump(&self.vm)
    }
}
