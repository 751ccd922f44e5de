//! A suite: functions that get the device, attached and ready, and the running QEMU.
//!
//! They return errors with `?`: a register that cannot be read because QEMU died is told
//! as a crash of QEMU, with its last words. What the test itself finds is asserted. Each
//! test gets a QEMU of its own.

use std::rc::Rc;

use qgraph::graph::QemuArgs;
use qgraph::qemu::Vm;
use qgraph::qos::registers::{RegistersExt, Width};
use qgraph::qos::wait_until;
use qgraph::{Error, GuestAddress, Result};

use crate::edu::{self, Edu};

// Tests of a node, here of a driver; `tests!(dyn PciBus, …)` would be tests of all buses.
// On a PC a path to the first of them is called
// /x86_64/pc/i440FX-pcihost/pci-bus-pc/pci-bus/edu/edu-tests/identification.
qgraph::tests!(Edu, "edu-tests":
    identification,
    liveness,
    factorial,
    factorial_interrupt = "factorial-interrupt",
    interrupt,
);

// What these cases alone need on the command line stands at the end.
qgraph::tests!(Edu, "edu-dma-tests": mask; with QemuArgs::NONE.after("-global edu.dma_mask=0x2ffffff"));

/// Would catch another device at the address, a BAR of another size, and an identification
/// that a guest can overwrite.
fn identification(edu: &Edu, _: &Rc<Vm>) -> Result<()> {
    assert_eq!(edu.device().vendor_id()?, edu::VENDOR);
    assert_eq!(edu.device().device_id()?, edu::DEVICE);
    assert_eq!(edu.bar().size(), 1 << 20);
    for _ in 0..2 {
        let identification = edu.registers().read32(edu::IDENTIFICATION)?;
        assert_eq!(identification, 0x0100_00ed, "version 1.0: {identification:#010x}");
        edu.registers().write32(edu::IDENTIFICATION, !identification)?;
    }
    Ok(())
}

/// Would catch a device that is not there any more, and bytes in the wrong order.
fn liveness(edu: &Edu, _: &Rc<Vm>) -> Result<()> {
    for value in [0, !0, 0x1234_5678, 0x8000_0001] {
        edu.registers().write32(edu::LIVENESS, value)?;
        let inverse = edu.registers().read32(edu::LIVENESS)?;
        assert_eq!(inverse, !value, "{value:#x} inverted is not {inverse:#x}");
    }
    Ok(())
}

/// What is computed takes its time, in a thread of QEMU's. Whatever a device takes its
/// time for, `wait_until` waits for it, and steps the guest's clock as far as needed.
fn compute(edu: &Edu, vm: &Vm, number: u32) -> Result<u32> {
    edu.registers().write32(edu::FACTORIAL, number)?;
    wait_until(vm, "the factorial", || {
        Ok(edu.registers().read32(edu::STATUS)? & edu::COMPUTING == 0)
    })?;
    edu.registers().read32(edu::FACTORIAL)
}

/// Would catch a wrong result, and an interrupt that nobody asked for.
fn factorial(edu: &Edu, vm: &Rc<Vm>) -> Result<()> {
    for (number, factorial) in [(0, 1), (1, 1), (5, 120), (12, 479_001_600)] {
        assert_eq!(compute(edu, vm, number)?, factorial, "{number}!");
    }
    assert_eq!(edu.registers().read32(edu::INTERRUPT_STATUS)?, 0);
    Ok(())
}

/// Would catch an interrupt that does not come, or not as the factorial's.
fn factorial_interrupt(edu: &Edu, vm: &Rc<Vm>) -> Result<()> {
    edu.registers().write32(edu::STATUS, edu::RAISE_WHEN_COMPUTED)?;
    assert_eq!(compute(edu, vm, 3)?, 6);
    wait_until(vm, "the factorial's interrupt", || edu.asserts_interrupt())?;
    let status = edu.registers().read32(edu::INTERRUPT_STATUS)?;
    assert_eq!(status, edu::FACTORIAL_INTERRUPT);
    Ok(())
}

/// Would catch bits that are lost or come by themselves, and an interrupt line that does
/// not follow them.
fn interrupt(edu: &Edu, _: &Rc<Vm>) -> Result<()> {
    let is_raised = |bits: u32| -> Result<()> {
        assert_eq!(edu.registers().read32(edu::INTERRUPT_STATUS)?, bits);
        assert_eq!(edu.asserts_interrupt()?, bits != 0, "the line, with {bits:#x} raised");
        Ok(())
    };
    is_raised(0)?;
    edu.registers().write32(edu::INTERRUPT_RAISE, 0x0000_0100)?;
    is_raised(0x0000_0100)?;
    edu.registers().write32(edu::INTERRUPT_RAISE, 0x8000_0002)?;
    is_raised(0x8000_0102)?;
    edu.registers().write32(edu::INTERRUPT_ACKNOWLEDGE, 0x0000_0102)?;
    is_raised(0x8000_0000)?;
    edu.registers().write32(edu::INTERRUPT_ACKNOWLEDGE, 0x8000_0000)?;
    is_raised(0)
}

/// Would catch address bits that the device was told not to have and uses all the same: what is
/// sent to an address with such a bit arrives at the one without.
fn mask(edu: &Edu, vm: &Rc<Vm>) -> Result<()> {
    let ram = vm.ram();
    if vm.emulator().capabilities.arch != "x86_64" {
        return Err(Error::skipped("the mask is one for the RAM of PCs"));
    }
    let (at, beyond) = (GuestAddress(0x0200_1000), 0x0300_1000);
    ram.write(at, b"before")?;
    for (name, value) in [
        (edu::DMA_SOURCE, edu::DMA_BUFFER),
        (edu::DMA_DESTINATION, beyond),
        (edu::DMA_COUNT, 6),
        (edu::DMA_COMMAND, edu::DMA_START | edu::DMA_TO_RAM),
    ] {
        edu.registers().write(name, Width::Quad, value)?;
    }
    wait_until(vm, "the end of the transfer", || {
        Ok(edu.registers().read(edu::DMA_COMMAND, Width::Quad)? & edu::DMA_START == 0)
    })?;
    let mut there = [0; 6];
    ram.read(at, &mut there)?;
    assert_eq!(there, [0; 6], "the device's buffer is all zeroes");
    Ok(())
}
