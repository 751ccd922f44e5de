//! The virtual machine of the RISC-V emulators.

use crate::drivers::pci::generic_pcihost::{GenericPcihost, Layout};
use crate::drivers::virtio::mmio::VirtioMmio;
use crate::graph::{Boots, Contains, Setup};
use crate::guests::Way;
use crate::qemu::{MIB, RamSpec};
use crate::qos::qom::find_one;
use crate::qos::virtio::Slots;
use crate::{Result, boots, machine};

machine! {
    /// QEMU's `virt`.
    pub struct RiscvVirt = "riscv32/virt", "riscv64/virt";
    setup Setup::bare(RamSpec::new(0x8000_0000, 128 * MIB));
    contains GenericPcihost, VirtioMmio
}

boots!(RiscvVirt, Boots::with_serial(Way::Kernel));

/// Where it has its PCI host bridge.
const LAYOUT: Layout = Layout {
    ecam: 0x3000_0000,
    io: 0x0300_0000,
    ports: (0x1000, 0xf000),
    memory: (0x4000_0000, 0x4000_0000),
    line: Some(|vm, pin| Ok((find_one(vm, "riscv.sifive.plic")?, 0x20 + pin))),
};

impl Contains<GenericPcihost> for RiscvVirt {
    fn contained(&self) -> Result<GenericPcihost> {
        Ok(GenericPcihost::new(&self.vm, LAYOUT))
    }
}

/// Where it has its slots for virtio devices.
const SLOTS: Slots = Slots {
    base: 0x1000_1000,
    step: 0x1000,
    count: 8,
    line: |vm, slot| Ok((find_one(vm, "riscv.sifive.plic")?, 1 + slot)),
};

impl Contains<VirtioMmio> for RiscvVirt {
    fn contained(&self) -> Result<VirtioMmio> {
        Ok(VirtioMmio::new(&self.vm, SLOTS))
    }
}
