//! Device registers: where they are (memory, I/O ports, a BAR, a bus of sensors) is one
//! matter, [`Registers`]; what they are is another, [`Register`], which declares a register's
//! name, offset, width, access and reset value once. A [`RegisterBlock`] joins both for the
//! generic suite.
//!
//! | file | holds |
//! |---|---|
//! | `mod` | the access to registers, wherever they are |
//! | `mmio`, `ports` | registers in memory and at I/O ports |
//! | `register` | the declaration of one register |
//! | `block` | a device's registers, as the generic suite takes them |

mod block;
mod mmio;
mod ports;
mod register;

pub use block::{Fault, Raise, RegisterBlock, Rule};
pub use mmio::Mmio;
pub use ports::Ports;
pub use register::{AnyRegister, Declaration, Register, Value};

use crate::Result;
pub use crate::protocol::Width;

/// One access of a sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Reads the register at an offset.
    Read(u64, Width),
    /// Writes a value to it.
    Write(u64, Width, u64),
}

/// Registers at byte offsets. Values are those of the data sheet; an implementation knows the
/// byte orders of bus and CPU. [`RegistersExt`] adds the typed accesses.
pub trait Registers {
    /// Reads `width` at byte `offset`.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer, or if `offset` is outside.
    fn read(&self, offset: u64, width: Width) -> Result<u64>;

    /// Writes `width` at byte `offset`.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer, or if `offset` is outside.
    fn write(&self, offset: u64, width: Width, value: u64) -> Result<()>;

    /// Makes accesses of which none depends on the answer to another, in this order; returns
    /// what was read. That is faster than one by one where they can be sent together.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer. Others of the accesses may have been made.
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

macro_rules! sized {
    ($($ty:ty, $width:ident: $read:ident $write:ident)*) => {
        /// Typed accesses to all [`Registers`], concrete types and `dyn Registers` alike.
        pub trait RegistersExt: Registers {
            /// Reads a declared register.
            ///
            /// # Errors
            /// As for [`Registers::read`].
            fn get<T: Value>(&self, register: Register<T>) -> Result<T> {
                self.read(register.offset(), T::WIDTH).map(T::truncate)
            }

            /// Writes a declared register.
            ///
            /// # Errors
            /// As for [`Registers::write`].
            fn set<T: Value>(&self, register: Register<T>, value: T) -> Result<()> {
                self.write(register.offset(), T::WIDTH, value.into())
            }

            $(
                #[doc = concat!("Reads the `", stringify!($ty), "` at `offset`.")]
                ///
                /// # Errors
                /// As for [`Registers::read`].
                fn $read(&self, offset: u64) -> Result<$ty> {
                    self.read(offset, Width::$width).map(<$ty>::truncate)
                }

                #[doc = concat!("Writes the `", stringify!($ty), "` at `offset`.")]
                ///
                /// # Errors
                /// As for [`Registers::write`].
                fn $write(&self, offset: u64, value: $ty) -> Result<()> {
                    self.write(offset, Width::$width, value.into())
                }
            )*
        }
    };
}

sized! {
    u8, Byte: read8 write8
    u16, Word: read16 write16
    u32, Long: read32 write32
    u64, Quad: read64 write64
}

impl<R: Registers + ?Sized> RegistersExt for R {}
