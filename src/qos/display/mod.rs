//! Displays: what a card shows, and the register interfaces by which it is told: that of the VGA,
//! Bochs's VBE extensions, the SM501, and VMware's SVGA II. It does not know which card has them, or
//! on which bus.
//!
//! | file | holds |
//! |---|---|
//! | `screen` | what is shown, as the monitor's `screendump` has it |
//! | `registers` | the declarations of the VGA's registers |
//! | `vga` | the VGA: its register files, its planes and its window |
//! | `modes` | modes of the VGA as the values of its registers |
//! | `sm501` | the SM501, of any bus |
//! | `svga` | VMware's SVGA II |
//! | `dispi` | Bochs's VBE extensions |

pub mod dispi;
mod modes;
pub mod registers;
pub mod screen;
pub mod sm501;
pub mod svga;
mod vga;

pub use dispi::{Dispi, DispiPorts, Extra};
pub use modes::{Graphics, Text};
pub use screen::{Edid, Picture, SCREEN, dump, dump_of};
pub use vga::{Colour, Vga, Window};
