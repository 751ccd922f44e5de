//! Accesses whose width is known only when the program runs. The clients' other methods have
//! the width in their names; this file is the one place that chooses among them.

use vm_memory::GuestAddress;

use super::{Batch, Qtest, Result, Slot};

/// How many bits one access has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
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
    /// All widths, the narrowest first.
    pub const ALL: [Self; 4] = [Self::Byte, Self::Word, Self::Long, Self::Quad];

    /// The width in bytes.
    pub const fn bytes(self) -> usize {
        match self {
            Self::Byte => 1,
            Self::Word => 2,
            Self::Long => 4,
            Self::Quad => 8,
        }
    }

    /// The value of this width whose bits are all ones.
    pub const fn ones(self) -> u64 {
        u64::MAX >> (64 - 8 * self.bytes())
    }

    /// `value`, which is this wide, with its bytes in the other order.
    pub const fn swap(self, value: u64) -> u64 {
        value.swap_bytes() >> (64 - 8 * self.bytes())
    }
}

/// Accesses of any width. Values are numbers as the guest's CPU loads and stores them.
impl Qtest {
    /// Reads the register at a guest address.
    pub fn read_register(&self, at: GuestAddress, width: Width) -> Result<u64> {
        Ok(match width {
            Width::Byte => self.readb(at)?.into(),
            Width::Word => self.readw(at)?.into(),
            Width::Long => self.readl(at)?.into(),
            Width::Quad => self.readq(at)?,
        })
    }

    /// Writes the register at a guest address. Bits of `value` above `width` are dropped.
    pub fn write_register(&self, at: GuestAddress, width: Width, value: u64) -> Result<()> {
        match width {
            Width::Byte => self.writeb(at, value as u8),
            Width::Word => self.writew(at, value as u16),
            Width::Long => self.writel(at, value as u32),
            Width::Quad => self.writeq(at, value),
        }
    }

    /// Reads a port. 64 bits are two accesses of 32, the lower one first: a port is no wider.
    pub fn read_port(&self, port: u16, width: Width) -> Result<u64> {
        Ok(match width {
            Width::Byte => self.inb(port)?.into(),
            Width::Word => self.inw(port)?.into(),
            Width::Long => self.inl(port)?.into(),
            Width::Quad => {
                let low = u64::from(self.inl(port)?);
                low | u64::from(self.inl(port.wrapping_add(4))?) << 32
            }
        })
    }

    /// Writes a port. 64 bits are two accesses of 32, the lower one first. Bits of `value`
    /// above `width` are dropped.
    pub fn write_port(&self, port: u16, width: Width, value: u64) -> Result<()> {
        match width {
            Width::Byte => self.outb(port, value as u8),
            Width::Word => self.outw(port, value as u16),
            Width::Long => self.outl(port, value as u32),
            Width::Quad => {
                self.outl(port, value as u32)?;
                self.outl(port.wrapping_add(4), (value >> 32) as u32)
            }
        }
    }
}

/// Accesses of any width.
impl Batch<'_> {
    /// Reads the register at a guest address.
    pub fn read_register(&mut self, at: GuestAddress, width: Width) -> Slot<u64> {
        match width {
            Width::Byte => self.readb(at).widen(),
            Width::Word => self.readw(at).widen(),
            Width::Long => self.readl(at).widen(),
            Width::Quad => self.readq(at),
        }
    }

    /// Writes the register at a guest address. Bits of `value` above `width` are dropped.
    pub fn write_register(&mut self, at: GuestAddress, width: Width, value: u64) {
        match width {
            Width::Byte => self.writeb(at, value as u8),
            Width::Word => self.writew(at, value as u16),
            Width::Long => self.writel(at, value as u32),
            Width::Quad => self.writeq(at, value),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::qtest::tests::qtest;

    /// Would catch values swapped as if they were wider or narrower than they are, and masks
    /// of another width.
    #[test]
    fn swapping_keeps_to_the_width() {
        assert_eq!(Width::Byte.swap(0x12), 0x12);
        assert_eq!(Width::Word.swap(0x1234), 0x3412);
        assert_eq!(Width::Long.swap(0x1234_5678), 0x7856_3412);
        assert_eq!(Width::Quad.swap(0x0102_0304_0506_0708), 0x0807_0605_0403_0201);
        assert_eq!(Width::ALL.map(Width::ones), [0xff, 0xffff, 0xffff_ffff, u64::MAX]);
    }

    /// Would catch an access of another width than was asked for, a value that is not cut to
    /// it, and halves of 64 bits of ports that change places.
    #[test]
    fn every_width_is_its_own_request() {
        let (qtest, talk) = qtest(|mut peer| {
            for (request, answer) in [
                ("readb 0x10", "OK 0x1\n"),
                ("readw 0x10", "OK 0x2\n"),
                ("readl 0x10", "OK 0x3\n"),
                ("readq 0x10", "OK 0x4\n"),
                ("writeb 0x10 0x88", "OK\n"),
                ("writew 0x10 0x7788", "OK\n"),
                ("writel 0x10 0x55667788", "OK\n"),
                ("writeq 0x10 0x1122334455667788", "OK\n"),
                ("inb 0x20", "OK 0x5\n"),
                ("inw 0x20", "OK 0x6\n"),
                ("inl 0x20", "OK 0x7\n"),
                ("inl 0x20", "OK 0x8\n"),
                ("inl 0x24", "OK 0x9\n"),
                ("outb 0x20 0x88", "OK\n"),
                ("outw 0x20 0x7788", "OK\n"),
                ("outl 0x20 0x55667788", "OK\n"),
                ("outl 0x20 0x55667788", "OK\n"),
                ("outl 0x24 0x11223344", "OK\n"),
            ] {
                peer.expect(request);
                peer.say(answer);
            }
        });
        let (at, value) = (GuestAddress(0x10), 0x1122_3344_5566_7788);
        let read = Width::ALL.map(|width| qtest.read_register(at, width).unwrap());
        assert_eq!(read, [1, 2, 3, 4]);
        for width in Width::ALL {
            qtest.write_register(at, width, value).unwrap();
        }
        let read = Width::ALL.map(|width| qtest.read_port(0x20, width).unwrap());
        assert_eq!(read, [5, 6, 7, 0x9_0000_0008]);
        for width in Width::ALL {
            qtest.write_port(0x20, width, value).unwrap();
        }
        talk.finish(qtest);
    }
}
