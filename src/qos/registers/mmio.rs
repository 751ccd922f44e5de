//! Registers in the machine's physical memory.

use std::rc::Rc;

use vm_memory::GuestAddress;

use super::{Access, Registers, Width};
use crate::Result;
use crate::protocol::Endian;
use crate::qemu::Vm;

/// Registers in the machine's physical memory.
pub struct Mmio {
    vm: Rc<Vm>,
    base: GuestAddress,
    order: Endian,
}

impl Mmio {
    /// The registers from guest address `base` on, of a device with this byte order.
    pub fn new(vm: &Rc<Vm>, base: u64, order: Endian) -> Self {
        Self { vm: vm.clone(), base: GuestAddress(base), order }
    }

    /// The guest-physical address of the first register.
    pub fn base(&self) -> u64 {
        self.base.0
    }

    /// The machine that they are in.
    pub fn vm(&self) -> &Rc<Vm> {
        &self.vm
    }

    fn at(&self, offset: u64) -> GuestAddress {
        GuestAddress(self.base.0.wrapping_add(offset))
    }

    fn ordered(&self, width: Width, value: u64) -> Result<u64> {
        // qtest's numbers are those that the target's CPU would load and store.
        let same = width == Width::Byte || self.vm.endian()? == self.order;
        Ok(if same { value } else { width.swap(value) })
    }
}

impl Registers for Mmio {
    fn read(&self, offset: u64, width: Width) -> Result<u64> {
        let value = self.vm.qtest().read_register(self.at(offset), width)?;
        self.ordered(width, value)
    }

    fn write(&self, offset: u64, width: Width, value: u64) -> Result<()> {
        let value = self.ordered(width, value)?;
        Ok(self.vm.qtest().write_register(self.at(offset), width, value)?)
    }

    fn sequence(&self, accesses: &[Access]) -> Result<Vec<u64>> {
        let mut batch = self.vm.qtest().batch();
        let mut slots = Vec::new();
        for access in accesses {
            match *access {
                Access::Read(offset, width) => {
                    slots.push((batch.read_register(self.at(offset), width), width));
                }
                Access::Write(offset, width, value) => {
                    batch.write_register(self.at(offset), width, self.ordered(width, value)?);
                }
            }
        }
        let answers = batch.send()?;
        slots.into_iter().map(|(slot, width)| self.ordered(width, answers.get(slot))).collect()
    }
}
