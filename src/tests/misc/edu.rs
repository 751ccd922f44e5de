//! QEMU's `edu`: identity, liveness, factorials, DMA in both directions, interrupts (docs/specs/edu in
//! QEMU's documentation).

use std::rc::Rc;
use std::time::Duration;

use crate::drivers::misc::edu::{self as edu, Edu};
use crate::qemu::Vm;
use crate::qos::pci::{Bar, intx};
use crate::qos::registers::RegistersExt;
use crate::qos::{wait_until, wait_with_clock_still};
use crate::{Result, tests};

tests!(Edu, "edu-tests":
    liveness,
    factorial,
    factorial_interrupt = "factorial-interrupt",
    dma,
    dma_busy = "dma-busy",
    interrupts,
    interrupt_line = "interrupt-line",
);

/// Would catch an identity of another device, and an answer that is not the inverse.
fn liveness(card: &Edu, _: &Rc<Vm>) -> Result<()> {
    let registers = &card.plug.registers;
    assert_eq!(registers.get(edu::IDENTITY)?, 0x0100_00ed, "the identity");
    for value in [0, 1, 0x1234_5678, 0xffff_ffff, 0x8000_0000, 0xa5a5_5a5a] {
        registers.set(edu::LIVENESS, value)?;
        assert_eq!(registers.get(edu::LIVENESS)?, !value, "the inverse of {value:#x}");
    }
    Ok(())
}

/// Has the device compute a factorial.
fn compute(registers: &Bar, vm: &Vm, of: u32) -> Result<u32> {
    registers.set(edu::FACTORIAL, of)?;
    wait_with_clock_still(vm, "a factorial", || {
        Ok(registers.get(edu::STATUS)? & edu::STATUS_COMPUTING == 0)
    })?;
    registers.get(edu::FACTORIAL)
}

/// Would catch a wrong product, one that is not cut off at 32 bits, and an interrupt that was not
/// asked for.
fn factorial(card: &Edu, vm: &Rc<Vm>) -> Result<()> {
    let registers = &card.plug.registers;
    registers.set(edu::STATUS, 0)?;
    for of in [0u32, 1, 2, 3, 5, 10, 12, 13, 20, 33, 34, 50] {
        let expected = (1..=of).fold(1u32, u32::wrapping_mul);
        assert_eq!(compute(registers, vm, of)?, expected, "{of}!");
        assert_eq!(registers.get(edu::STATUS)?, 0, "the status after {of}!");
        assert_eq!(registers.get(edu::INTERRUPTS)?, 0, "interrupts after {of}!");
    }
    Ok(())
}

/// Would catch an interrupt that does not come when a factorial was computed, or cannot be taken
/// back.
fn factorial_interrupt(card: &Edu, vm: &Rc<Vm>) -> Result<()> {
    let registers = &card.plug.registers;
    for round in 0..3 {
        registers.set(edu::STATUS, edu::STATUS_INTERRUPTS)?;
        assert_eq!(registers.get(edu::STATUS)?, edu::STATUS_INTERRUPTS, "status, round {round}");
        assert_eq!(compute(registers, vm, 6)?, 720, "6!, round {round}");
        wait_with_clock_still(vm, "the interrupt of a factorial", || {
            Ok(registers.get(edu::INTERRUPTS)? != 0)
        })?;
        let pending = registers.get(edu::INTERRUPTS)?;
        assert_eq!(pending, edu::INTERRUPT_FACTORIAL, "interrupts, round {round}");
        assert!(card.plug.device.asserts_interrupt()?, "the pin, round {round}");
        registers.set(edu::ACKNOWLEDGE, edu::INTERRUPT_FACTORIAL)?;
        assert_eq!(registers.get(edu::INTERRUPTS)?, 0, "acknowledged, round {round}");
        assert!(!card.plug.device.asserts_interrupt()?, "the pin, acknowledged, round {round}");
        registers.set(edu::STATUS, 0)?;
        assert_eq!(registers.get(edu::STATUS)?, 0, "status at last, round {round}");
    }
    Ok(())
}

/// Starts a transfer.
fn start(registers: &Bar, from: u64, to: u64, count: usize, flags: u64) -> Result<()> {
    registers.set(edu::DMA_SOURCE, from)?;
    registers.set(edu::DMA_TARGET, to)?;
    registers.set(edu::DMA_COUNT, count as u64)?;
    registers.set(edu::DMA_COMMAND, edu::DMA_START | flags)
}

/// Waits for its end.
fn wait(registers: &Bar, vm: &Vm) -> Result<()> {
    wait_until(vm, "a transfer", || Ok(registers.get(edu::DMA_COMMAND)? & edu::DMA_START == 0))
}

/// Would catch data that are moved to or from another place, too many or too few, and an interrupt
/// that is missing or was not asked for.
fn dma(card: &Edu, vm: &Rc<Vm>) -> Result<()> {
    card.plug.device.bus().reaches_ram()?;
    let registers = &card.plug.registers;
    let (inside, size) = edu::BUFFER;
    // QEMU 7.2 ends itself when the last byte of the buffer is moved.
    let size = size - 1;
    let (from, to) = (vm.ram().alloc(size, 64)?, vm.ram().alloc(size, 64)?);
    // Clears the buffer inside.
    start(registers, from.address().0, inside, size, 0)?;
    wait(registers, vm)?;
    let mut expected = vec![0; size];
    for (round, (offset, count)) in
        [(0, size), (0, 1), (size - 1, 1), (100, 300), (2047, 2048)].into_iter().enumerate()
    {
        let what = format!("{count} bytes at {offset}");
        let data: Vec<u8> = (0..count).map(|at| (at * 3 + round * 41 + at / 256) as u8).collect();
        from.write(offset, &data)?;
        expected[offset..offset + count].copy_from_slice(&data);
        let flags = if round % 2 == 0 { 0 } else { edu::DMA_INTERRUPT };
        let source = from.address().0 + offset as u64;
        start(registers, source, inside + offset as u64, count, flags)?;
        wait(registers, vm)?;
        let interrupts = if flags == 0 { 0 } else { edu::INTERRUPT_DMA };
        assert_eq!(registers.get(edu::INTERRUPTS)?, interrupts, "{what}: interrupts");
        registers.set(edu::ACKNOWLEDGE, interrupts)?;
        assert_eq!(registers.get(edu::INTERRUPTS)?, 0, "{what}: interrupts, acknowledged");
        to.write(0, &vec![0xa5; size])?;
        start(registers, inside, to.address().0, size, edu::DMA_TO_MEMORY)?;
        wait(registers, vm)?;
        assert!(to.to_vec()? == expected, "{what}: all that is inside");
        to.write(0, &vec![0xa5; size])?;
        let target = to.address().0 + offset as u64;
        start(registers, inside + offset as u64, target, count, edu::DMA_TO_MEMORY)?;
        wait(registers, vm)?;
        let mut part = vec![0xa5; size];
        part[offset..offset + count].copy_from_slice(&data);
        assert!(to.to_vec()? == part, "{what}: back in memory");
    }
    Ok(())
}

/// Would catch a transfer that is over at once, or whose registers can be written meanwhile.
fn dma_busy(card: &Edu, vm: &Rc<Vm>) -> Result<()> {
    card.plug.device.bus().reaches_ram()?;
    let registers = &card.plug.registers;
    let data = vm.ram().alloc(64, 64)?;
    data.write(0, &[0x3c; 64])?;
    let (inside, _) = edu::BUFFER;
    start(registers, data.address().0, inside, 64, 0)?;
    registers.set(edu::DMA_COUNT, 7)?;
    assert_eq!(registers.get(edu::DMA_COUNT)?, 64, "the count while a transfer runs");
    assert_eq!(registers.get(edu::DMA_COMMAND)?, edu::DMA_START, "the command while it runs");
    vm.qtest().clock_step(Some(Duration::from_millis(99)))?;
    assert_eq!(registers.get(edu::DMA_COMMAND)?, edu::DMA_START, "the command after 99 ms");
    vm.qtest().clock_step(Some(Duration::from_millis(2)))?;
    assert_eq!(registers.get(edu::DMA_COMMAND)?, 0, "the command after 101 ms");
    registers.set(edu::DMA_COMMAND, edu::DMA_TO_MEMORY)?;
    assert_eq!(registers.get(edu::DMA_COMMAND)?, 0, "a command that does not start");
    registers.set(edu::DMA_COUNT, 7)?;
    assert_eq!(registers.get(edu::DMA_COUNT)?, 7, "the count when it is over");
    Ok(())
}

/// Would catch an interrupt bit that is not set or cleared alone.
fn interrupts(card: &Edu, _: &Rc<Vm>) -> Result<()> {
    let registers = &card.plug.registers;
    for bit in [0, 1, 8, 15, 30, 31] {
        registers.set(edu::RAISE, 1 << bit)?;
        registers.set(edu::RAISE, 1 << 4)?;
        assert_eq!(registers.get(edu::INTERRUPTS)?, 1 << bit | 1 << 4, "bits 4 and {bit}");
        registers.set(edu::ACKNOWLEDGE, 1 << 4)?;
        assert_eq!(registers.get(edu::INTERRUPTS)?, 1 << bit, "bit {bit} alone");
        assert!(card.plug.device.asserts_interrupt()?, "the pin with bit {bit}");
        registers.set(edu::ACKNOWLEDGE, 1 << bit)?;
        assert_eq!(registers.get(edu::INTERRUPTS)?, 0, "no bit");
        assert!(!card.plug.device.asserts_interrupt()?, "the pin without a bit");
    }
    Ok(())
}

/// Would catch an interrupt that does not reach the machine's interrupt controller, or stays there.
fn interrupt_line(card: &Edu, vm: &Rc<Vm>) -> Result<()> {
    let registers = &card.plug.registers;
    let raise = || registers.set(edu::RAISE, 2);
    let lower = || registers.set(edu::ACKNOWLEDGE, 2);
    intx::check(&card.plug.device, vm, raise, lower)?;
    card.plug.again()?.registers.set(edu::ACKNOWLEDGE, u32::MAX)
}
