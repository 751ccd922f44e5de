//! The VGA as a guest has it: files of registers behind index and data ports, the palette, four
//! planes of memory, and the window in which the CPU reaches them.

use std::cell::Cell;
use std::rc::Rc;

use super::registers::{
    ATTRIBUTE, CRTC, DIRECT, GRAPHICS, GRAPHICS_MISC, GRAPHICS_MODE, MAP_MASK, MEMORY_MODE, MISC,
    READ_MAP, SEQUENCER,
};
use super::{Picture, dump};
use crate::qemu::Vm;
use crate::qos::registers::{Access, Registers, RegistersExt, Width};
use crate::{Error, Result, interface};

/// Red, green and blue.
pub type Colour = [u8; 3];

/// The ports that the VGA has.
mod port {
    pub const ATTRIBUTE: u64 = 0x3c0;
    pub const ATTRIBUTE_DATA: u64 = 0x3c1;
    pub const MISC_WRITE: u64 = 0x3c2;
    pub const SEQUENCER: u64 = 0x3c4;
    pub const DAC_READ_INDEX: u64 = 0x3c7;
    pub const DAC_WRITE_INDEX: u64 = 0x3c8;
    pub const DAC_DATA: u64 = 0x3c9;
    pub const MISC_READ: u64 = 0x3cc;
    pub const GRAPHICS: u64 = 0x3ce;
    pub const CRTC: u64 = 0x3d4;
    pub const STATUS_1: u64 = 0x3da;
}

/// The files of registers, at the offsets of [`super::registers`].
struct Files {
    ports: Rc<dyn Registers>,
    /// Bit 5 of the index of the attribute controller, which lets the screen show something.
    shows: Cell<u8>,
}

impl Files {
    /// The port of index and the index of the register at `offset`.
    fn indexed(&self, offset: u64, width: Width) -> Result<(u64, u64)> {
        let none = || Error::failed(format!("the VGA has no {width:?} register {offset:#x}"));
        let port = match offset & 0xf00 {
            SEQUENCER => port::SEQUENCER,
            GRAPHICS => port::GRAPHICS,
            CRTC => port::CRTC,
            ATTRIBUTE => port::ATTRIBUTE,
            _ => return Err(none()),
        };
        if width == Width::Byte { Ok((port, offset & 0xff)) } else { Err(none()) }
    }

    /// Has the attribute controller take an index next, and gives it.
    fn select_attribute(&self, index: u64) -> Result<()> {
        self.ports.read(port::STATUS_1, Width::Byte)?;
        self.ports.write(port::ATTRIBUTE, Width::Byte, index | u64::from(self.shows.get()))
    }
}

impl Registers for Files {
    fn read(&self, offset: u64, width: Width) -> Result<u64> {
        if offset == DIRECT {
            return self.ports.read(port::MISC_READ, width);
        }
        let (port, index) = self.indexed(offset, width)?;
        if port != port::ATTRIBUTE {
            self.ports.write(port, Width::Byte, index)?;
            return self.ports.read(port + 1, Width::Byte);
        }
        self.select_attribute(index)?;
        let value = self.ports.read(port::ATTRIBUTE_DATA, Width::Byte)?;
        self.ports.read(port::STATUS_1, Width::Byte)?;
        Ok(value)
    }

    fn write(&self, offset: u64, width: Width, value: u64) -> Result<()> {
        if offset == DIRECT {
            return self.ports.write(port::MISC_WRITE, width, value);
        }
        let (port, index) = self.indexed(offset, width)?;
        if port == port::ATTRIBUTE {
            self.select_attribute(index)?;
            return self.ports.write(port, Width::Byte, value);
        }
        self.ports.write(port, Width::Byte, index)?;
        self.ports.write(port + 1, Width::Byte, value)
    }
}

/// The window at 0xa0000 in which the CPU of a PC reaches the planes.
#[derive(Clone)]
pub struct Window(
    /// 128 KiB from 0xa0000 on.
    pub Rc<dyn Registers>,
);

/// The VGA of a card.
pub struct Vga {
    vm: Rc<Vm>,
    /// The ports, by their numbers.
    ports: Rc<dyn Registers>,
    files: Rc<Files>,
    /// Video memory as the CPU reaches it whatever the mode: a byte of each plane after another,
    /// as QEMU lays them out.
    memory: Rc<dyn Registers>,
    memory_size: u64,
    window: Option<Window>,
}

interface!(Vga = "vga");

impl Vga {
    /// The VGA with these ports, by their numbers, and `memory_size` bytes of video memory, the
    /// ports of the CRT controller where colour screens have them.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    pub fn new(
        vm: &Rc<Vm>,
        ports: Rc<dyn Registers>,
        memory: Rc<dyn Registers>,
        memory_size: u64,
        window: Option<Window>,
    ) -> Result<Self> {
        let files = Rc::new(Files { ports: ports.clone(), shows: Cell::new(0x20) });
        files.set(MISC, 0x01)?;
        Ok(Self { vm: vm.clone(), ports, files, memory, memory_size, window })
    }

    /// The machine that it is in.
    pub fn vm(&self) -> &Rc<Vm> {
        &self.vm
    }

    /// The ports, by their numbers.
    pub fn ports(&self) -> &dyn Registers {
        &*self.ports
    }

    /// The files of registers, at the offsets of [`super::registers`].
    pub fn registers(&self) -> Rc<dyn Registers> {
        self.files.clone()
    }

    /// Video memory whatever the mode.
    pub fn memory(&self) -> &dyn Registers {
        &*self.memory
    }

    /// In bytes.
    pub fn memory_size(&self) -> u64 {
        self.memory_size
    }

    /// The window of the CPU.
    ///
    /// # Errors
    /// Returns [`Error::Skipped`] where there is none.
    pub fn window(&self) -> Result<&dyn Registers> {
        let none = || Error::skipped("the CPU of this machine has no window at 0xa0000");
        self.window.as_ref().map(|window| &*window.0).ok_or_else(none)
    }

    /// Lets the screen show something, or not.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    pub fn show(&self, shows: bool) -> Result<()> {
        self.files.shows.set(if shows { 0x20 } else { 0 });
        self.files.select_attribute(0x11)?;
        self.ports.read(port::STATUS_1, Width::Byte).map(drop)
    }

    /// What the screen shows.
    ///
    /// # Errors
    /// As [`dump`].
    pub fn picture(&self) -> Result<Picture> {
        dump(&self.vm)
    }

    /// Sets colours of the palette, 6 bits each, from number `first` on.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    pub fn set_colours(&self, first: u8, colours: &[Colour]) -> Result<()> {
        self.ports.write(port::DAC_WRITE_INDEX, Width::Byte, first.into())?;
        let values = colours.as_flattened().iter();
        let writes = values.map(|&value| Access::Write(port::DAC_DATA, Width::Byte, value.into()));
        self.ports.sequence(&writes.collect::<Vec<_>>()).map(drop)
    }

    /// Reads `count` colours of the palette from number `first` on.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    pub fn colours(&self, first: u8, count: usize) -> Result<Vec<Colour>> {
        self.ports.write(port::DAC_READ_INDEX, Width::Byte, first.into())?;
        let reads = vec![Access::Read(port::DAC_DATA, Width::Byte); count * 3];
        let values = self.ports.sequence(&reads)?;
        Ok(values.chunks(3).map(|it| [it[0] as u8, it[1] as u8, it[2] as u8]).collect())
    }

    /// Writes bytes of plane `plane`, from byte `at` on: through the window, where there is one.
    /// The registers that this takes are then as before.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    pub fn write_plane(&self, plane: u8, at: u64, data: &[u8]) -> Result<()> {
        let bytes = data.iter().zip(at..);
        let Some(Window(window)) = &self.window else {
            let there = |at: u64| at * 4 + u64::from(plane);
            let writes =
                bytes.map(|(&byte, at)| Access::Write(there(at), Width::Byte, byte.into()));
            return self.memory.sequence(&writes.collect::<Vec<_>>()).map(drop);
        };
        self.plainly(|| {
            self.files.set(MAP_MASK, 1 << plane)?;
            let writes = bytes.map(|(&byte, at)| Access::Write(at, Width::Byte, byte.into()));
            window.sequence(&writes.collect::<Vec<_>>()).map(drop)
        })
    }

    /// Reads bytes of plane `plane`, from byte `at` on: through the window, where there is one.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    pub fn read_plane(&self, plane: u8, at: u64, count: u64) -> Result<Vec<u8>> {
        let Some(Window(window)) = &self.window else {
            return self.laid_out(plane, at, count);
        };
        self.plainly(|| {
            self.files.set(READ_MAP, plane)?;
            let reads = (at..at + count).map(|at| Access::Read(at, Width::Byte));
            let values = window.sequence(&reads.collect::<Vec<_>>())?;
            Ok(values.into_iter().map(|value| value as u8).collect())
        })
    }

    /// The same bytes where QEMU lays them out in video memory.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    pub fn laid_out(&self, plane: u8, at: u64, count: u64) -> Result<Vec<u8>> {
        let there = |at: u64| Access::Read(at * 4 + u64::from(plane), Width::Byte);
        let values = self.memory.sequence(&(at..at + count).map(there).collect::<Vec<_>>())?;
        Ok(values.into_iter().map(|value| value as u8).collect())
    }

    /// Does something while the window shows planes as they are, 64 KiB each: bytes are written as
    /// they are, and read as they are.
    fn plainly<T>(&self, act: impl FnOnce() -> Result<T>) -> Result<T> {
        use super::registers::{BIT_MASK, CRTC_MODE, ENABLE_SET_RESET, ROTATE, UNDERLINE};
        let plain = [
            (MAP_MASK, 0x0f),
            (READ_MAP, 0),
            (MEMORY_MODE, 0x06),
            (GRAPHICS_MODE, 0),
            (GRAPHICS_MISC, 0x05),
            (ENABLE_SET_RESET, 0),
            (ROTATE, 0),
            (BIT_MASK, 0xff),
            (UNDERLINE, 0),
            (CRTC_MODE, 0xe3),
        ];
        let mut before = Vec::new();
        for (register, value) in plain {
            before.push((register, self.files.get(register)?));
            self.files.set(register, value)?;
        }
        let done = act()?;
        self.program(&before)?;
        Ok(done)
    }

    /// Writes these registers in this order.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    pub fn program(&self, values: &[(crate::qos::registers::Register<u8>, u8)]) -> Result<()> {
        values.iter().try_for_each(|&(register, value)| self.files.set(register, value))
    }
}
