//! The IOMMU of RISC-V as a PCI function: what it is, what its registers have after a reset, and
//! how its queues are set up.

use std::rc::Rc;

use crate::drivers::iommu::riscv::{
    CAPABILITIES, CQB, CQCSR, DDTP, ENABLE, FCTL, FQB, FQCSR, IPSR, ON, PQB, PQCSR, RiscvFunction,
};
use crate::qemu::Vm;
use crate::qos::pci::regs;
use crate::qos::registers::RegistersExt;
use crate::{Result, tests};

tests!(RiscvFunction, "riscv-iommu-pci-tests":
    pci_config,
    reg_reset,
    iommu_init_queues,
);

/// Would catch another vendor, device or class, by which no driver finds it.
fn pci_config(iommu: &RiscvFunction, _: &Rc<Vm>) -> Result<()> {
    let device = &iommu.device;
    assert_eq!(device.vendor_id()?, 0x1b36, "vendor");
    assert_eq!(device.device_id()?, 0x0014, "device");
    assert_eq!(device.config_read16(regs::REVISION_ID + 2)?, 0x0806, "class: an IOMMU");
    let capabilities = device.capabilities()?;
    assert!(capabilities.iter().any(|it| it.id == 0x11), "no MSI-X: {capabilities:x?}");
    Ok(())
}

/// Would catch a register that a reset gives another value (6.2, 6.3): queues that are on, a directory,
/// an interrupt that is pending.
fn reg_reset(iommu: &RiscvFunction, _: &Rc<Vm>) -> Result<()> {
    let registers = &iommu.registers;
    let capabilities = registers.read64(CAPABILITIES)?;
    assert_eq!(capabilities & 0xff, 0x10, "capabilities {capabilities:#x}: version 1.0");
    assert_eq!(capabilities >> 28 & 3, 0, "capabilities {capabilities:#x}: interrupts by messages");
    assert_eq!(registers.read32(FCTL)?, 0, "fctl");
    assert_eq!(registers.read64(DDTP)?, 0, "ddtp: off");
    for (name, at) in [("cqcsr", CQCSR), ("fqcsr", FQCSR), ("pqcsr", PQCSR), ("ipsr", IPSR)] {
        assert_eq!(registers.read32(at)?, 0, "{name}");
    }
    Ok(())
}

/// Would catch a queue that is not on after it was enabled, or on although it was not, and a base
/// that is not kept.
fn iommu_init_queues(iommu: &RiscvFunction, vm: &Rc<Vm>) -> Result<()> {
    let registers = &iommu.registers;
    let memory = vm.ram().alloc(4096, 4096)?;
    for (name, base, control) in [("cq", CQB, CQCSR), ("fq", FQB, FQCSR), ("pq", PQB, PQCSR)] {
        for order in [3, 6, 3] {
            let wanted = memory.address().0 >> 12 << 10 | order;
            registers.write64(base, wanted)?;
            assert_eq!(registers.read64(base)?, wanted, "{name}b");
            registers.write32(control, ENABLE)?;
            assert_eq!(registers.read32(control)?, ENABLE | ON, "{name}csr, enabled");
            registers.write32(control, 0)?;
            assert_eq!(registers.read32(control)?, 0, "{name}csr, disabled");
        }
    }
    Ok(())
}
