//! What only a 16550A has: trigger levels and the timeout of its FIFO, the mode without FIFOs, an
//! overrun, and the divisor in the place of other registers (PC16550D, sections 8.2 to 8.6).

use std::rc::Rc;

use crate::drivers::serial::ns16550::{
    Chip16550, DATA, DLAB, EIGHT_BITS, FIFOS, HAS_DATA, IER, IIR, LCR, LSR, OVERRUN, SCR,
};
use crate::qemu::Vm;
use crate::qos::registers::RegistersExt;
use crate::qos::uart::Event;
use crate::qos::wait_until;
use crate::{Result, tests};

tests!(dyn Chip16550, "16550-tests":
    divisor,
    triggers,
    without_fifos = "without-fifos",
    overrun,
);

/// IIR: received data are as many as the trigger level says.
const RECEIVED: u8 = 0x04;
/// IIR: there are data, fewer than that, and nobody has read them for a time.
const TIMEOUT: u8 = 0x0c;
/// IIR: what is pending; the FIFOs are on.
const PENDING: u8 = 0x0f;
const FIFOS_ON: u8 = 0xc0;

/// Would catch a divisor that is not kept, either half of it in the place of the other, and
/// registers that DLAB does not bring back.
fn divisor(chip: &dyn Chip16550, _: &Rc<Vm>) -> Result<()> {
    let registers = chip.registers();
    chip.enable()?;
    registers.set(IER, 0x05)?;
    registers.set(SCR, 0x5a)?;
    for (low, high) in [(0x34, 0x12), (0x01, 0x00), (0xff, 0xfe)] {
        registers.set(LCR, EIGHT_BITS | DLAB)?;
        registers.set(DATA, low)?;
        registers.set(IER, high)?;
        assert_eq!((registers.get(DATA)?, registers.get(IER)?), (low, high), "DLL and DLM");
        assert_eq!(registers.get(SCR)?, 0x5a, "SCR while DLAB is set");
        registers.set(LCR, EIGHT_BITS)?;
        assert_eq!(registers.get(LCR)?, EIGHT_BITS, "LCR without DLAB");
        assert_eq!(registers.get(IER)?, 0x05, "IER behind DLM");
        registers.set(LCR, EIGHT_BITS | DLAB)?;
        assert_eq!((registers.get(DATA)?, registers.get(IER)?), (low, high), "read again");
        registers.set(LCR, EIGHT_BITS)?;
    }
    Ok(())
}

/// Would catch a trigger level that is another, an interrupt for a byte less, data that nobody
/// reads and of which no timeout reminds, and a timeout that a read does not end (8.6).
fn triggers(chip: &dyn Chip16550, vm: &Rc<Vm>) -> Result<()> {
    let registers = chip.registers();
    let line = chip.line()?;
    for (number, level) in [1u8, 4, 8, 14].into_iter().enumerate() {
        chip.enable()?;
        registers.set(IIR, FIFOS | (number as u8) << 6)?;
        chip.enable_interrupt(Some(Event::Received))?;
        // Loopback takes no time that the harness cannot see: each byte is there at once.
        chip.set_loopback(true)?;
        for count in 1..=level {
            assert_eq!(registers.get(IIR)? & PENDING, 0x01, "level {level}, {count} bytes to come");
            chip.write(count)?;
            wait_until(vm, "the byte on its way", || {
                Ok(chip.has_room()? && (count > 1 || chip.has_data()?))
            })?;
        }
        let pending = registers.get(IIR)?;
        assert_eq!(pending, FIFOS_ON | RECEIVED, "level {level}, as many bytes");
        assert_eq!(chip.read()?, 1, "level {level}: the first byte");
        if level > 1 {
            let pending = registers.get(IIR)? & PENDING;
            assert_eq!(pending, 0x01, "level {level}, a byte less");
            wait_until(vm, "the timeout of the FIFO", || {
                Ok(registers.get(IIR)? & PENDING == TIMEOUT)
            })?;
            assert_eq!(chip.read()?, 2, "level {level}: the second byte");
            assert_eq!(registers.get(IIR)? & PENDING, 0x01, "level {level}, after a timeout");
        }
        for expected in 3..=level {
            assert_eq!(chip.read()?, expected, "level {level}: the bytes that are left");
        }
        assert!(!chip.has_data()?, "level {level}: data after the last byte");
        chip.set_loopback(false)?;
    }
    line.assert_silent("after loopback")
}

/// Would catch a chip that works with FIFOs alone: bytes changed or lost, data that are told still
/// when they were read, and FIFOs that IIR says are on (8.5).
fn without_fifos(chip: &dyn Chip16550, vm: &Rc<Vm>) -> Result<()> {
    let registers = chip.registers();
    let line = chip.line()?;
    chip.enable()?;
    registers.set(IIR, 0)?;
    assert_eq!(registers.get(IIR)?, 0x01, "IIR without FIFOs");
    chip.enable_interrupt(Some(Event::Received))?;
    for byte in [0x00, 0xff, 0x5a, 0xa5] {
        line.send(&[byte])?;
        wait_until(vm, "a byte", || Ok(registers.get(LSR)? & HAS_DATA != 0))?;
        assert_eq!(registers.get(IIR)?, RECEIVED, "IIR with a byte, without FIFOs");
        assert_eq!(registers.get(DATA)?, byte);
        assert_eq!(registers.get(IIR)?, 0x01, "IIR when it was read");
        assert_eq!(registers.get(LSR)? & (HAS_DATA | OVERRUN), 0, "LSR when it was read");
        chip.write(!byte)?;
        assert_eq!(line.receive(1, "a byte without FIFOs")?, [!byte]);
    }
    Ok(())
}

/// Would catch a byte that is lost and not reported, an overrun that a read of LSR does not end,
/// and the wrong byte of two that is lost (8.4).
fn overrun(chip: &dyn Chip16550, vm: &Rc<Vm>) -> Result<()> {
    let registers = chip.registers();
    chip.enable()?;
    registers.set(IIR, 0)?;
    chip.set_loopback(true)?;
    for byte in [0x31, 0x32] {
        chip.write(byte)?;
        vm.qtest().clock_step_next()?;
    }
    let status = registers.get(LSR)?;
    assert_eq!(status & (HAS_DATA | OVERRUN), HAS_DATA | OVERRUN, "LSR after two bytes");
    assert_eq!(registers.get(LSR)? & (HAS_DATA | OVERRUN), HAS_DATA, "LSR, read again");
    assert_eq!(registers.get(DATA)?, 0x32, "the byte that is left");
    assert_eq!(registers.get(LSR)? & (HAS_DATA | OVERRUN), 0, "LSR when it was read");
    chip.set_loopback(false)
}
