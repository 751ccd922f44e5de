//! The virtual machine of the LoongArch emulator.

use crate::drivers::pci::generic_pcihost::{GenericPcihost, Layout};
use crate::graph::{Boots, Contains, Setup};
use crate::guests::Way;
use crate::qemu::{MIB, RamSpec};
use crate::{Result, boots, machine};

machine! {
    /// QEMU's `virt`.
    pub struct Loongarch64Virt = "loongarch64/virt";
    setup Setup::bare(RAM);
    contains GenericPcihost
}

boots!(Loongarch64Virt, Boots::with_serial(Way::Kernel));

/// It takes no less than 1 GiB. The first 256 MiB of that are at address 0 in every
/// version; where the rest is differs.
const RAM: RamSpec = RamSpec { base: 0, size: 1024 * MIB, usable: (64 * MIB, 192 * MIB) };

/// Where it has its PCI host bridge. The first 0x4000 ports belong to its ISA bus.
const LAYOUT: Layout = Layout {
    ecam: 0x2000_0000,
    io: 0x1800_0000,
    ports: (0x8000, 0x8000),
    memory: (0x4000_0000, 0x4000_0000),
    line: None,
};

impl Contains<GenericPcihost> for Loongarch64Virt {
    fn contained(&self) -> Result<GenericPcihost> {
        Ok(GenericPcihost::new(&self.vm, LAYOUT))
    }
}
