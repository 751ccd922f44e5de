//! The educational device (QEMU's specification "EDU device"): liveness, factorials, interrupts and
//! DMA.

use std::rc::Rc;
use std::time::Duration;

use crate::drivers::misc::edu::{
    COMPUTING, Edu, FACTORIAL, ID, IDENTIFICATION, INTERRUPT_ACKNOWLEDGE, INTERRUPT_RAISE,
    INTERRUPT_STATUS, INTERRUPTS, LIVENESS, RUN, STATUS, TO_MEMORY, WITH_INTERRUPT,
};
use crate::qemu::Vm;
use crate::qos::wait_until;
use crate::{Result, attacks, tests};

tests!(Edu, "edu-tests":
    liveness,
    factorial,
    factorial_interrupt = "factorial-interrupt",
    interrupts,
    dma,
    dma_interrupt = "dma-interrupt",
    dma_whole = "dma-whole",
    reset,
);
attacks!(Edu, "edu-attacks": factorial, interrupts);

/// Where the buffer is, as the device sees it, and how long it is.
const BUFFER: u64 = 0x4_0000;
const LENGTH: u64 = 4096;
/// The interrupt status of the end of a factorial and of DMA.
const BY_FACTORIAL: u32 = 0x001;
const BY_DMA: u32 = 0x100;
/// More virtual time than DMA takes.
const TIME: Duration = Duration::from_millis(110);

fn computed(edu: &Edu, vm: &Vm) -> Result<u32> {
    wait_until(vm, "a factorial", || Ok(edu.get(STATUS)? & COMPUTING == 0))?;
    edu.get(FACTORIAL)
}

/// Would catch an identification that a write changes, and a register of liveness that shows
/// something else than the inverse.
fn liveness(edu: &Edu, _: &Rc<Vm>) -> Result<()> {
    for value in [0, 1, 0x1234_5678, 0x8000_0000, 0xffff_ffff] {
        edu.set(LIVENESS, value)?;
        assert_eq!(edu.get(LIVENESS)?, !value, "the inverse of {value:#x}");
        edu.set(ID, value)?;
        assert_eq!(edu.get(ID)?, IDENTIFICATION, "the identification");
    }
    Ok(())
}

/// Would catch a factorial that is wrong, and one that is not computed modulo 2^32.
fn factorial(edu: &Edu, vm: &Rc<Vm>) -> Result<()> {
    for number in [0u32, 1, 2, 5, 10, 12, 13, 20, 33, 34, 1000] {
        edu.set(FACTORIAL, number)?;
        let expected = (1..=number).fold(1u32, u32::wrapping_mul);
        assert_eq!(computed(edu, vm)?, expected, "the factorial of {number}");
        assert_eq!(edu.get(INTERRUPT_STATUS)?, 0, "no interrupt was asked for");
    }
    Ok(())
}

/// Would catch an interrupt of a factorial that does not come, stays, or comes unasked.
fn factorial_interrupt(edu: &Edu, vm: &Rc<Vm>) -> Result<()> {
    let asserted = || edu.plug.device.asserts_interrupt();
    edu.set(STATUS, INTERRUPTS)?;
    assert_eq!(edu.get(STATUS)?, INTERRUPTS, "the bit is kept");
    edu.set(FACTORIAL, 7)?;
    wait_until(vm, "the interrupt of a factorial", || Ok(edu.get(INTERRUPT_STATUS)? != 0))?;
    assert_eq!(edu.get(INTERRUPT_STATUS)?, BY_FACTORIAL, "the interrupt status");
    assert!(asserted()?, "INTx# with a factorial");
    assert_eq!(computed(edu, vm)?, 5040, "the factorial of 7");
    edu.set(INTERRUPT_ACKNOWLEDGE, BY_FACTORIAL)?;
    assert_eq!((edu.get(INTERRUPT_STATUS)?, asserted()?), (0, false), "acknowledged");
    edu.set(STATUS, COMPUTING)?;
    assert_eq!(edu.get(STATUS)?, 0, "a driver does not make it compute, and clears the other bit");
    edu.set(FACTORIAL, 3)?;
    assert_eq!(computed(edu, vm)?, 6, "the factorial of 3");
    assert_eq!((edu.get(INTERRUPT_STATUS)?, asserted()?), (0, false), "no interrupt is asked for");
    Ok(())
}

/// Would catch reasons of interrupts that replace each other, an acknowledgement that takes more
/// or less than it says, and a pin that does not follow.
fn interrupts(edu: &Edu, _: &Rc<Vm>) -> Result<()> {
    let is = |reasons: u32, when: &str| -> Result<()> {
        assert_eq!(edu.get(INTERRUPT_STATUS)?, reasons, "the reasons {when}");
        assert_eq!(edu.plug.device.asserts_interrupt()?, reasons != 0, "INTx# {when}");
        Ok(())
    };
    is(0, "at first")?;
    edu.set(INTERRUPT_RAISE, 0x8000_0001)?;
    is(0x8000_0001, "after the first")?;
    edu.set(INTERRUPT_RAISE, 0x0001_0000)?;
    is(0x8001_0001, "after the second")?;
    edu.set(INTERRUPT_STATUS, 0xffff_ffff)?;
    is(0x8001_0001, "after a write of what is read only")?;
    edu.set(INTERRUPT_ACKNOWLEDGE, 0x8000_0002)?;
    is(0x0001_0001, "after an acknowledgement")?;
    edu.set(INTERRUPT_ACKNOWLEDGE, 0)?;
    is(0x0001_0001, "after an acknowledgement of none")?;
    edu.set(INTERRUPT_ACKNOWLEDGE, 0xffff_ffff)?;
    is(0, "after an acknowledgement of all")
}

/// Runs DMA to its end.
fn copy(edu: &Edu, vm: &Vm, [from, to, length]: [u64; 3], command: u64) -> Result<()> {
    edu.start([from, to, length, RUN | command])?;
    assert_eq!(edu.dma(3)? & RUN, RUN, "DMA is under way");
    vm.qtest().clock_step(Some(TIME))?;
    assert_eq!(edu.dma(3)? & RUN, 0, "DMA is done");
    Ok(())
}

/// Would catch DMA of other bytes, to another place, of another length, or the other way round.
fn dma(edu: &Edu, vm: &Rc<Vm>) -> Result<()> {
    edu.plug.device.bus().reaches_ram()?;
    let memory = vm.ram().alloc(3 * 64, 64)?;
    let base = memory.address().0;
    let bytes: Vec<u8> = (0..64).map(|at| 0x40 ^ at).collect();
    memory.write(0, &[bytes.clone(), vec![0x11; 128]].concat())?;
    for (place, length) in [(0u64, 64usize), (0x123, 33), (LENGTH - 64, 63), (7, 1)] {
        memory.write(64, &[0x11; 128])?;
        copy(edu, vm, [base, BUFFER + place, length as u64], 0)?;
        copy(edu, vm, [BUFFER + place, base + 65, length as u64], TO_MEMORY)?;
        let mut expected = vec![0x11; 128];
        expected[1..=length].copy_from_slice(&bytes[..length]);
        assert_eq!(memory.to_vec()?[64..], expected, "{length} bytes at {place:#x}");
        assert_eq!(edu.get(INTERRUPT_STATUS)?, 0, "no interrupt was asked for");
    }
    Ok(())
}

/// Would catch an interrupt of DMA that does not come, comes too early or unasked, and registers
/// that change under DMA.
fn dma_interrupt(edu: &Edu, vm: &Rc<Vm>) -> Result<()> {
    edu.plug.device.bus().reaches_ram()?;
    let memory = vm.ram().alloc(16, 16)?;
    let base = memory.address().0;
    edu.start([base, BUFFER, 16, RUN | WITH_INTERRUPT])?;
    assert_eq!(edu.get(INTERRUPT_STATUS)?, 0, "while DMA is under way");
    // What is written meanwhile is ignored.
    edu.start([base + 4, BUFFER + 4, 4, 0])?;
    let said: Vec<u64> = (0..3).map(|number| edu.dma(number)).collect::<Result<_>>()?;
    assert_eq!(said, [base, BUFFER, 16], "source, destination and count under DMA");
    vm.qtest().clock_step(Some(TIME))?;
    assert_eq!(edu.get(INTERRUPT_STATUS)?, BY_DMA, "the interrupt status");
    assert!(edu.plug.device.asserts_interrupt()?, "INTx# after DMA");
    edu.set(INTERRUPT_ACKNOWLEDGE, BY_DMA)?;
    assert!(!edu.plug.device.asserts_interrupt()?, "INTx# acknowledged");
    Ok(())
}

/// Would catch a copy of the whole buffer that is taken for one beyond it.
fn dma_whole(edu: &Edu, vm: &Rc<Vm>) -> Result<()> {
    edu.plug.device.bus().reaches_ram()?;
    let memory = vm.ram().alloc(2 * LENGTH as usize, 16)?;
    let bytes: Vec<u8> = (0..LENGTH).map(|at| (at ^ at >> 8) as u8).collect();
    memory.write(0, &bytes)?;
    let base = memory.address().0;
    copy(edu, vm, [base, BUFFER, LENGTH], 0)?;
    copy(edu, vm, [BUFFER, base + LENGTH, LENGTH], TO_MEMORY)?;
    assert!(memory.to_vec()?[LENGTH as usize..] == bytes, "the whole buffer, there and back");
    Ok(())
}

/// Would catch a reset of the machine that leaves interrupts, their enable or liveness as they
/// were.
fn reset(edu: &Edu, vm: &Rc<Vm>) -> Result<()> {
    edu.set(INTERRUPT_RAISE, 0x5)?;
    edu.set(STATUS, INTERRUPTS)?;
    crate::qos::reset(vm)?;
    let edu = edu.again()?;
    assert_eq!(edu.get(ID)?, IDENTIFICATION, "the identification");
    assert_eq!((edu.get(INTERRUPT_STATUS)?, edu.get(STATUS)?), (0, 0), "after a reset");
    assert!(!edu.plug.device.asserts_interrupt()?, "INTx# after a reset");
    Ok(())
}
