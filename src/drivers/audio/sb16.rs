//! Creative's Sound Blaster 16 on an ISA bus (Sound Blaster Series Hardware Programming Guide, 1996,
//! "HPG", whose chapters are cited), with the channels of the 8237 that it plays from. The variant
//! `wav` plays into a file.

use std::rc::Rc;

use vm_memory::GuestAddress;

use crate::graph::{Addition, Consumes, QemuArgs, Site, Variant};
use crate::qemu::Vm;
use crate::qos::interrupt::InterruptLine;
use crate::qos::isa::IsaBus;
use crate::qos::registers::{Ports, Register, RegistersExt};
use crate::qos::sound::WAV;
use crate::qos::wait_until;
use crate::{Error, Result, driver};

/// Mixer address (HPG, 4).
pub const MIXER_ADDRESS: Register<u8> = Register::new("Mixer Address", 0x04);
/// Mixer data.
pub const MIXER_DATA: Register<u8> = Register::new("Mixer Data", 0x05);
/// DSP reset (HPG, 2).
pub const RESET: Register<u8> = Register::new("DSP Reset", 0x06);
/// DSP read data.
pub const READ: Register<u8> = Register::new("DSP Read Data", 0x0a);
/// DSP write command or data; read, bit 7 is clear when it takes a byte.
pub const WRITE: Register<u8> = Register::new("DSP Write", 0x0c);
/// Bit 7: there is a byte to be read. A read acknowledges the interrupt of 8 bits.
pub const READ_STATUS: Register<u8> = Register::new("DSP Read Status", 0x0e);
/// A read acknowledges the interrupt of 16 bits.
pub const ACKNOWLEDGE_16: Register<u8> = Register::new("DSP 16-bit Acknowledge", 0x0f);
/// The interrupt status register of the mixer: 8 bits, 16 bits.
pub const INTERRUPT_STATUS: u8 = 0x82;

/// Where its ports are, and its interrupt.
const BASE: u16 = 0x220;
const INTERRUPT: u32 = 5;

/// Where sound is in guest memory: below 16 MiB, which is all that the 8237 reaches, and across no
/// 64 KiB. Nothing else is there, as no CPU runs.
pub const SOUND: GuestAddress = GuestAddress(0x2_0000);

/// QEMU's `sb16`.
pub struct Sb16 {
    vm: Rc<Vm>,
    /// Its registers.
    pub registers: Ports,
}

impl Sb16 {
    /// Resets the DSP (HPG, 2).
    ///
    /// # Errors
    /// It does not say that it is ready.
    pub fn reset(&self) -> Result<()> {
        self.registers.set(RESET, 1)?;
        self.registers.set(RESET, 0)?;
        match self.receive()? {
            0xaa => Ok(()),
            other => Err(Error::failed(format!("a DSP that was reset says {other:#x}"))),
        }
    }

    /// Sends bytes to the DSP.
    ///
    /// # Errors
    /// It does not take one.
    pub fn send(&self, bytes: &[u8]) -> Result<()> {
        for byte in bytes {
            wait_until(&self.vm, "the DSP to take a byte", || {
                Ok(self.registers.get(WRITE)? & 0x80 == 0)
            })?;
            self.registers.set(WRITE, *byte)?;
        }
        Ok(())
    }

    /// Whether the DSP has a byte to be read.
    ///
    /// # Errors
    /// QEMU does not answer.
    pub fn has_data(&self) -> Result<bool> {
        Ok(self.registers.get(READ_STATUS)? & 0x80 != 0)
    }

    /// The next byte from the DSP.
    ///
    /// # Errors
    /// There is none.
    pub fn receive(&self) -> Result<u8> {
        wait_until(&self.vm, "a byte from the DSP", || self.has_data())?;
        self.registers.get(READ)
    }

    /// Has a command done whose answer is `count` bytes long.
    ///
    /// # Errors
    /// It is shorter or longer.
    pub fn ask(&self, bytes: &[u8], count: usize) -> Result<Vec<u8>> {
        self.send(bytes)?;
        let answer = (0..count).map(|_| self.receive()).collect::<Result<Vec<_>>>()?;
        match self.has_data()? {
            false => Ok(answer),
            true => Err(Error::failed(format!("command {bytes:02x?}: more than {answer:02x?}"))),
        }
    }

    /// A register of the mixer.
    ///
    /// # Errors
    /// QEMU does not answer.
    pub fn mixer(&self, register: u8) -> Result<u8> {
        self.registers.set(MIXER_ADDRESS, register)?;
        self.registers.get(MIXER_DATA)
    }

    /// Sets a register of the mixer.
    ///
    /// # Errors
    /// QEMU does not answer.
    pub fn set_mixer(&self, register: u8, value: u8) -> Result<()> {
        self.registers.set(MIXER_ADDRESS, register)?;
        self.registers.set(MIXER_DATA, value)
    }

    /// Its interrupt line, watched from now on.
    ///
    /// # Errors
    /// The lines of another device are watched.
    pub fn line(&self) -> Result<InterruptLine> {
        InterruptLine::watch(&self.vm, "ioapic", INTERRUPT)
    }

    /// Gives channel 1, or channel 5 if the samples have 16 bits, a buffer at [`SOUND`] that it reads
    /// again and again (Intel 8237A data sheet, "Mode Register").
    ///
    /// # Errors
    /// QEMU does not answer.
    pub fn set_dma(&self, is_wide: bool, bytes: &[u8]) -> Result<()> {
        self.vm.ram().write(SOUND, bytes)?;
        let ports = Ports::new(&self.vm, 0);
        let out = |port: u64, value: u8| ports.set(Register::<u8>::new("DMA", port), value);
        // Mask, byte pointer, mode, address, count, page; channel 5 counts words.
        let (mask, pointer, mode, address, count, page, unit) = match is_wide {
            false => (0x0a, 0x0c, 0x0b, 0x02, 0x03, 0x83, 1),
            true => (0xd4, 0xd8, 0xd6, 0xc4, 0xc6, 0x8b, 2),
        };
        let start = (SOUND.0 / unit) as u16;
        let last = (bytes.len() as u64 / unit - 1) as u16;
        out(mask, 4 | 1)?;
        out(pointer, 0)?;
        out(mode, 0x58 | 1)?;
        for (port, value) in [(address, start), (count, last)] {
            let [low, high] = value.to_le_bytes();
            out(port, low)?;
            out(port, high)?;
        }
        out(page, (SOUND.0 >> 16) as u8)?;
        out(mask, 1)
    }
}

impl Consumes<IsaBus> for Sb16 {
    const ARGS: QemuArgs = QemuArgs::device("iobase=0x220,irq=5,dma=1,dma16=5")
        .images(&[WAV])
        .add(Addition::properties(&["audiodev=snd0"]).before("-audiodev none,id=snd0"));
    const VARIANTS: &'static [Variant] = &[Variant {
        name: "wav",
        add: Addition::properties(&["audiodev=snd1"])
            .before("-audiodev wav,id=snd1,path={wav},out.frequency=44100"),
    }];

    fn attach(bus: Rc<IsaBus>, _: &Site) -> Result<Self> {
        Ok(Self { vm: bus.0.clone(), registers: Ports::new(&bus.0, BASE) })
    }
}

driver!(Sb16 = "sb16"; consumes IsaBus);
