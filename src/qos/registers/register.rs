//! The declaration of a register: what its data sheet says of it, once.
//!
//! A bit that nothing is declared of is *read-only*: it has its reset value, whatever is
//! written. Other kinds of bits are masks, and no bit is of two kinds.

use std::fmt;
use std::marker::PhantomData;

use super::Width;

/// The type of a register's value: `u8`, `u16`, `u32` or `u64`.
pub trait Value: Copy + Into<u64> + 'static {
    /// How wide it is.
    const WIDTH: Width;

    /// The lower bits of `value`.
    fn truncate(value: u64) -> Self;
}

/// What is declared of a register, its type erased. Masks and values are those of
/// [`Register`], widened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Declaration {
    /// The name in the data sheet.
    pub name: &'static str,
    /// Which one of several that have the same name.
    pub index: Option<u64>,
    /// The section of the data sheet; empty if unknown.
    pub section: &'static str,
    /// Where it is, in bytes.
    pub offset: u64,
    /// How wide it is.
    pub width: Width,
    /// The value after a reset, but for [`Declaration::undefined`]; `None` if it is not known.
    pub reset: Option<u64>,
    /// Bits that no reset gives a value.
    pub undefined: u64,
    /// Bits that keep what is written.
    pub kept: u64,
    /// Bits that start something when they are set; they are left as a reset leaves them.
    pub acts: u64,
    /// Bits that are cleared by writing ones, and keep their value when zeroes are written.
    pub w1c: u64,
    /// Bits that are set by writing ones, and keep their value when zeroes are written.
    pub w1s: u64,
    /// The offset of the register whose ones clear this one's bits.
    pub cleared_through: Option<u64>,
    /// Bits that change by themselves.
    pub volatile: u64,
    /// Bits of which the data sheet promises nothing; they are written as they are read.
    pub reserved: u64,
    /// Whether reading clears it.
    pub clears_on_read: bool,
    /// Whether a read tells its value.
    pub readable: bool,
    /// Whether a read has an effect, so that a generic suite must not read it.
    pub read_effect: bool,
    /// Whether a write has an effect, so that a generic suite must not write it.
    pub side_effect: bool,
    /// The values that it accepts; empty for all.
    pub values: &'static [u64],
    /// Widths in which its bytes can be accessed, besides its own; `None`: as its block says.
    pub widths: Option<&'static [Width]>,
    /// Whether a reset by software leaves it as it is.
    pub survives_software_reset: bool,
    /// Whether every reset leaves it as it is: a battery or fuses keep it.
    pub lasting: bool,
}

impl Declaration {
    const fn new(name: &'static str, offset: u64, width: Width) -> Self {
        Self {
            name,
            index: None,
            section: "",
            offset,
            width,
            reset: None,
            undefined: 0,
            kept: 0,
            acts: 0,
            w1c: 0,
            w1s: 0,
            cleared_through: None,
            volatile: 0,
            reserved: 0,
            clears_on_read: false,
            readable: true,
            read_effect: false,
            side_effect: false,
            values: &[],
            widths: None,
            survives_software_reset: false,
            lasting: false,
        }
    }

    /// Ends compilation if a bit is of two kinds, or outside the register.
    const fn checked(self) -> Self {
        let kinds = [self.kept, self.acts, self.w1c, self.w1s, self.volatile, self.reserved];
        let (mut all, mut at) = (0, 0);
        while at < kinds.len() {
            assert!(all & kinds[at] == 0, "a bit of a register is of two kinds");
            all |= kinds[at];
            at += 1;
        }
        assert!(all & !self.width.ones() == 0, "a register has no such bits");
        self
    }

    /// The byte behind its last.
    pub const fn end(&self) -> u64 {
        self.offset + self.width.bytes() as u64
    }

    /// All its bits.
    pub const fn ones(&self) -> u64 {
        self.width.ones()
    }

    /// Bits that keep their value unless they are written: kept and acting ones, those that
    /// ones clear or set, and read-only ones.
    pub const fn stable(&self) -> u64 {
        self.ones() & !self.volatile & !self.reserved
    }

    /// Bits that no write changes.
    pub const fn read_only(&self) -> u64 {
        self.stable() & !self.kept & !self.acts & !self.w1c & !self.w1s
    }

    /// Whether a generic suite may read it, and learns something by that.
    pub const fn is_shown(&self) -> bool {
        self.readable && !self.read_effect
    }
}

impl fmt::Display for Declaration {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(self.name)?;
        if let Some(index) = self.index {
            write!(f, "[{index}]")?;
        }
        write!(f, " (offset {:#x}", self.offset)?;
        if !self.section.is_empty() {
            write!(f, ", section {}", self.section)?;
        }
        f.write_str(")")
    }
}

/// A register as its data sheet declares it, whose value is a `T`. It is a constant, made by
/// [`Register::new`] and the methods after it:
///
/// ```
/// use qgraph::qos::registers::{AnyRegister, Register};
///
/// /// Interrupt Cause Read.
/// pub const ICR: Register<u32> = Register::new("ICR", 0xc0).section("13.4.17").reset(0)
///     .w1c(0x1_ffff).clears_on_read();
/// /// Receive Control.
/// pub const RCTL: Register<u32> = Register::new("RCTL", 0x100).section("13.4.22").reset(0)
///     .kept(0x8000).acts(0x2);
/// /// Multicast Table Array, 128 registers.
/// pub const MTA: Register<u32> = Register::new("MTA", 0x5200).section("13.5.1");
///
/// /// What the generic suite checks.
/// pub const TABLE: &[&dyn AnyRegister] = &[&ICR, &RCTL, &MTA.nth(0, 4), &MTA.nth(1, 4)];
/// assert_eq!(MTA.nth(1, 4).offset(), 0x5204);
/// ```
///
/// A bit of two kinds does not compile:
///
/// ```compile_fail
/// use qgraph::qos::registers::Register;
/// const WRONG: Register<u8> = Register::new("WRONG", 0).kept(0x0f).w1c(0x08);
/// println!("{WRONG:?}");
/// ```
#[derive(Debug)]
pub struct Register<T> {
    declaration: Declaration,
    value: PhantomData<fn() -> T>,
}

impl<T> Clone for Register<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Register<T> {}

impl<T> fmt::Display for Register<T> {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        self.declaration.fmt(f)
    }
}

impl<T: Value> Register<T> {
    /// The register `name` at `offset` in bytes. Until something else is declared, all its
    /// bits are read-only, and its reset value is unknown.
    pub const fn new(name: &'static str, offset: u64) -> Self {
        Self::of(Declaration::new(name, offset, T::WIDTH))
    }

    const fn of(declaration: Declaration) -> Self {
        Self { declaration: declaration.checked(), value: PhantomData }
    }

    /// Where it is, in bytes.
    pub const fn offset(&self) -> u64 {
        self.declaration.offset
    }

    /// The name in the data sheet.
    pub const fn name(&self) -> &'static str {
        self.declaration.name
    }

    /// The section of the data sheet that describes it.
    pub const fn section(self, section: &'static str) -> Self {
        Self::of(Declaration { section, ..self.declaration })
    }

    /// The register of the same kind, and of number `index`, `index * stride` bytes behind.
    pub const fn nth(self, index: u64, stride: u64) -> Self {
        let offset = self.declaration.offset + index * stride;
        Self::of(Declaration { index: Some(index), offset, ..self.declaration })
    }

    /// The same register in a block that begins `offset` bytes higher, such as that of the
    /// second of two rings.
    pub const fn above(self, offset: u64) -> Self {
        Self::of(Declaration { offset: self.declaration.offset + offset, ..self.declaration })
    }

    /// The same register under another name.
    pub const fn named(self, name: &'static str) -> Self {
        Self::of(Declaration { name, ..self.declaration })
    }

    /// No bit can be written. That is so of bits of which nothing is declared; this says it,
    /// and takes back what was declared of writable bits.
    pub const fn read_only(self) -> Self {
        Self::of(Declaration { kept: 0, acts: 0, w1c: 0, w1s: 0, ..self.declaration })
    }

    /// Reading clears all bits that are not read-only by declaration of others: the second of
    /// two reads gives the reset value.
    pub const fn clears_on_read(self) -> Self {
        Self::of(Declaration { clears_on_read: true, ..self.declaration })
    }

    /// What is read is not what was written.
    pub const fn write_only(self) -> Self {
        Self::of(Declaration { readable: false, ..self.declaration })
    }

    /// A write starts something: generic suites do not write it.
    pub const fn side_effect(self) -> Self {
        Self::of(Declaration { side_effect: true, ..self.declaration })
    }

    /// A read has an effect, as that of a port of data has: generic suites do not read it.
    pub const fn read_effect(self) -> Self {
        Self::of(Declaration { read_effect: true, ..self.declaration })
    }

    /// Ones written to `other` clear the bits of this register that [`Register::w1s`] names.
    pub const fn cleared_through(self, other: Self) -> Self {
        let cleared_through = Some(other.declaration.offset);
        Self::of(Declaration { cleared_through, ..self.declaration })
    }

    /// It accepts no values but these.
    pub const fn values(self, values: &'static [u64]) -> Self {
        Self::of(Declaration { values, ..self.declaration })
    }

    /// Widths in which its bytes can be accessed besides its own, other than its block says.
    pub const fn widths(self, widths: &'static [Width]) -> Self {
        Self::of(Declaration { widths: Some(widths), ..self.declaration })
    }

    /// A reset of the device by software leaves it as it is.
    pub const fn survives_software_reset(self) -> Self {
        Self::of(Declaration { survives_software_reset: true, ..self.declaration })
    }

    /// Every reset leaves it as it is: a battery keeps it.
    pub const fn lasting(self) -> Self {
        Self::of(Declaration { survives_software_reset: true, lasting: true, ..self.declaration })
    }
}

/// Masks and values. They are `u64` for every width; what does not fit does not compile.
impl<T: Value> Register<T> {
    /// The value after a reset, but for undefined and reserved bits.
    pub const fn reset(self, value: u64) -> Self {
        assert!(value & !T::WIDTH.ones() == 0, "a reset value is wider than its register");
        Self::of(Declaration { reset: Some(value), ..self.declaration })
    }

    /// Bits whose value after a reset is not defined.
    pub const fn undefined(self, undefined: u64) -> Self {
        Self::of(Declaration { undefined, ..self.declaration })
    }

    /// Bits that keep what is written.
    pub const fn kept(self, kept: u64) -> Self {
        Self::of(Declaration { kept, ..self.declaration })
    }

    /// Bits that keep what is written, but start something when they are set: generic suites
    /// leave them as a reset leaves them.
    pub const fn acts(self, acts: u64) -> Self {
        Self::of(Declaration { acts, ..self.declaration })
    }

    /// Bits that are cleared by writing ones.
    pub const fn w1c(self, w1c: u64) -> Self {
        Self::of(Declaration { w1c, ..self.declaration })
    }

    /// Bits that are set by writing ones.
    pub const fn w1s(self, w1s: u64) -> Self {
        Self::of(Declaration { w1s, ..self.declaration })
    }

    /// Bits that change by themselves.
    pub const fn volatile(self, volatile: u64) -> Self {
        Self::of(Declaration { volatile, ..self.declaration })
    }

    /// Bits of which the data sheet promises nothing, not even that they are zero: they are
    /// not compared, and written as a reset leaves them.
    pub const fn reserved(self, reserved: u64) -> Self {
        Self::of(Declaration { reserved, ..self.declaration })
    }
}

macro_rules! values {
    ($($ty:ty: $width:ident)*) => {$(
        impl Value for $ty {
            const WIDTH: Width = Width::$width;

            fn truncate(value: u64) -> Self {
                value as $ty
            }
        }
    )*};
}

values! {
    u8: Byte
    u16: Word
    u32: Long
    u64: Quad
}

/// A [`Register`] of any width, as tables hold it.
pub trait AnyRegister: Sync {
    /// What is declared of it.
    fn declaration(&self) -> Declaration;
}

impl<T: Value> AnyRegister for Register<T> {
    fn declaration(&self) -> Declaration {
        self.declaration
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONTROL: Register<u16> = Register::new("CONTROL", 0x10)
        .section("2.1")
        .reset(0x0100)
        .kept(0x00f0)
        .acts(0x0001)
        .w1c(0x0002)
        .w1s(0x0004)
        .volatile(0x8000)
        .reserved(0x4000);

    /// Would catch a bit taken for one of another kind, above all a read-only bit that is
    /// written by none of the checks.
    #[test]
    fn what_is_not_declared_is_read_only() {
        let declared = CONTROL.declaration();
        assert_eq!(declared.read_only(), 0x3f08);
        assert_eq!(declared.stable(), 0x3fff);
        assert_eq!(declared.reset, Some(0x0100));
        assert_eq!((declared.offset, declared.end(), declared.ones()), (0x10, 0x12, 0xffff));
        assert_eq!(CONTROL.read_only().declaration().read_only(), 0x3fff);
    }

    /// Would catch an element of an array at another's offset, and a failure that does not say
    /// which one it is about.
    #[test]
    fn names_and_offsets_of_several() {
        let third = CONTROL.nth(3, 8);
        assert_eq!(third.offset(), 0x28);
        assert_eq!(third.declaration().to_string(), "CONTROL[3] (offset 0x28, section 2.1)");
        let other = Register::<u8>::new("DATA", 4).above(0x100);
        assert_eq!(other.declaration().to_string(), "DATA (offset 0x104)");
    }
}
