//! The ISA bus, on which devices have ports and addresses of their own choice.

use std::rc::Rc;

use crate::interface;
use crate::qemu::Vm;

/// The ISA bus of a PC, whose interrupts are inputs of the I/O APIC as well.
pub struct IsaBus(
    /// The machine.
    pub Rc<Vm>,
);

interface!(IsaBus = "isa-bus");
