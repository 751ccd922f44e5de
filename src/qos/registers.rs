//! A stretch of device registers, wherever they are: a BAR, or the machine's memory.

use std::rc::Rc;

use vm_memory::GuestAddress;

use crate::protocol::Endian;
use crate::qemu::Vm;
use crate::{Error, Result};

/// How many bits one access has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Width {
    /// 8 bits.
    Byte,
    /// 16 bits.
    Word,
    /// 32 bits.
    Long,
    /// 64 bits.
    Quad,
}

impl Width {
    /// The width in bytes.
    pub const fn bytes(self) -> usize {
        match self {
            Self::Byte => 1,
            Self::Word => 2,
            Self::Long => 4,
            Self::Quad => 8,
        }
    }

    /// `value`, which is this wide, with its bytes in the other order.
    pub const fn swap(self, value: u64) -> u64 {
        value.swap_bytes() >> (64 - 8 * self.bytes())
    }
}

/// One access of a sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Reads the register at an offset.
    Read(u64, Width),
    /// Writes it.
    Write(u64, Width, u64),
}

/// Registers at byte offsets. Values are what the data sheet says; the byte orders of bus
/// and CPU are the implementation's affair.
pub trait Registers {
    /// Reads one register.
    ///
    /// # Errors
    /// QEMU does not answer.
    fn read(&self, offset: u64, width: Width) -> Result<u64>;

    /// Writes one register.
    ///
    /// # Errors
    /// QEMU does not answer.
    fn write(&self, offset: u64, width: Width, value: u64) -> Result<()>;

    /// Makes accesses of which none depends on the answer to another, in this order; returns
    /// what was read. That is faster than one by one where they can be sent together.
    ///
    /// # Errors
    /// QEMU does not answer. Others of the accesses may have been made.
    fn sequence(&self, accesses: &[Access]) -> Result<Vec<u64>> {
        let mut values = Vec::new();
        for access in accesses {
            match *access {
                Access::Read(offset, width) => values.push(self.read(offset, width)?),
                Access::Write(offset, width, value) => self.write(offset, width, value)?,
            }
        }
        Ok(values)
    }
}

macro_rules! typed {
    ($($ty:ty, $width:ident: $read:ident $write:ident)*) => {
        impl dyn Registers + '_ {$(
            #[doc = concat!("Reads the `", stringify!($ty), "` at `offset`.")]
            pub fn $read(&self, offset: u64) -> Result<$ty> {
                // The protocol checks that an answer is no wider than was asked for.
                self.read(offset, Width::$width).map(|value| value as $ty)
            }

            #[doc = concat!("Writes the `", stringify!($ty), "` at `offset`.")]
            pub fn $write(&self, offset: u64, value: $ty) -> Result<()> {
                self.write(offset, Width::$width, value.into())
            }
        )*}
    };
}

typed! {
    u8, Byte: read8 write8
    u16, Word: read16 write16
    u32, Long: read32 write32
    u64, Quad: read64 write64
}

/// Registers in the machine's physical memory.
pub struct Mmio {
    vm: Rc<Vm>,
    base: GuestAddress,
    order: Endian,
}

impl Mmio {
    /// The registers from `base` on, of a device with this byte order.
    pub fn new(vm: &Rc<Vm>, base: u64, order: Endian) -> Self {
        Self { vm: vm.clone(), base: GuestAddress(base), order }
    }

    /// The machine that they are in.
    pub fn vm(&self) -> &Rc<Vm> {
        &self.vm
    }

    fn ordered(&self, width: Width, value: u64) -> Result<u64> {
        // qtest's numbers are those that the target's CPU would load and store.
        let same = width == Width::Byte || self.vm.endian()? == self.order;
        Ok(if same { value } else { width.swap(value) })
    }
}

impl Registers for Mmio {
    fn read(&self, offset: u64, width: Width) -> Result<u64> {
        let (qtest, at) = (self.vm.qtest(), GuestAddress(self.base.0 + offset));
        let value = match width {
            Width::Byte => qtest.readb(at)?.into(),
            Width::Word => qtest.readw(at)?.into(),
            Width::Long => qtest.readl(at)?.into(),
            Width::Quad => qtest.readq(at)?,
        };
        self.ordered(width, value)
    }

    fn write(&self, offset: u64, width: Width, value: u64) -> Result<()> {
        let (qtest, at) = (self.vm.qtest(), GuestAddress(self.base.0 + offset));
        let value = self.ordered(width, value)?;
        match width {
            Width::Byte => qtest.writeb(at, value as u8),
            Width::Word => qtest.writew(at, value as u16),
            Width::Long => qtest.writel(at, value as u32),
            Width::Quad => qtest.writeq(at, value),
        }
        .map_err(Error::from)
    }

    fn sequence(&self, accesses: &[Access]) -> Result<Vec<u64>> {
        let mut batch = self.vm.qtest().batch();
        let mut slots = Vec::new();
        for access in accesses {
            match *access {
                Access::Read(offset, width) => {
                    let at = GuestAddress(self.base.0 + offset);
                    let slot = match width {
                        Width::Byte => batch.readb(at).widen(),
                        Width::Word => batch.readw(at).widen(),
                        Width::Long => batch.readl(at).widen(),
                        Width::Quad => batch.readq(at),
                    };
                    slots.push((slot, width));
                }
                Access::Write(offset, width, value) => {
                    let at = GuestAddress(self.base.0 + offset);
                    let value = self.ordered(width, value)?;
                    match width {
                        Width::Byte => batch.writeb(at, value as u8),
                        Width::Word => batch.writew(at, value as u16),
                        Width::Long => batch.writel(at, value as u32),
                        Width::Quad => batch.writeq(at, value),
                    }
                }
            }
        }
        let answers = batch.send()?;
        slots.into_iter().map(|(slot, width)| self.ordered(width, answers.get(slot))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Would catch values swapped as if they were wider or narrower than they are.
    #[test]
    fn swapping_keeps_to_the_width() {
        assert_eq!(Width::Byte.swap(0x12), 0x12);
        assert_eq!(Width::Word.swap(0x1234), 0x3412);
        assert_eq!(Width::Long.swap(0x1234_5678), 0x7856_3412);
        assert_eq!(Width::Quad.swap(0x0102_0304_0506_0708), 0x0807_0605_0403_0201);
    }
}
