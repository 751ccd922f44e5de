//! The SPI controllers of the Zynq-7000 for any chip: FIFOs, their thresholds, when what is in them is
//! sent, and interrupts (Zynq-7000 Technical Reference Manual, UG585, chapter 17 and appendix B.30).

use std::rc::Rc;

use crate::drivers::spi::zynq_spi::{
    CONFIG, DEPTH, DISABLE, ENABLE, FULL, MANUAL_SELECT, MANUAL_START, MASK, MASTER, ON, OVERFLOW,
    RECEIVE, RECEIVED, RECEIVED_FULL, ROOM, RX_THRESHOLD, START, STATUS, TRANSMIT, TX_THRESHOLD,
    ZynqSpi,
};
use crate::qemu::Vm;
use crate::qos::registers::RegistersExt;
use crate::qos::{reset, wait_until};
use crate::{Result, tests};

tests!(ZynqSpi, "zynq-spi-tests":
    fifos,
    overflow,
    overflow_stays = "overflow-stays",
    receive_threshold = "receive-threshold",
    transmit_threshold = "transmit-threshold",
    off,
    interrupts,
    overflow_interrupt = "overflow-interrupt",
    machine_reset = "machine-reset",
    reset_status = "reset-status",
);

/// Config_reg0 with no chip selected, so that all that comes is ones or zeroes.
const ALONE: u32 = MASTER | MANUAL_SELECT | 0xf << 10;
/// The bits of Intr_status_reg0 that tell of FIFOs.
const FIFOS: u32 = ROOM | FULL | RECEIVED | RECEIVED_FULL | OVERFLOW;

/// A controller that is on, and sends when it is told to.
fn ready(spi: &ZynqSpi, config: u32) -> Result<()> {
    spi.need_bytes()?;
    let registers = spi.registers();
    registers.set(ON, 0)?;
    registers.set(CONFIG, config)?;
    registers.set(TX_THRESHOLD, 1)?;
    registers.set(RX_THRESHOLD, 1)?;
    registers.set(ON, 1)?;
    registers.set(STATUS, OVERFLOW)?;
    assert_status(spi, ROOM, "as it is ready")
}

#[track_caller]
fn assert_status(spi: &ZynqSpi, expected: u32, what: &str) -> Result<()> {
    let found = spi.registers().get(STATUS)? & FIFOS;
    assert_eq!(found, expected, "{what}: Intr_status_reg0 is {found:#x}, and not {expected:#x}");
    Ok(())
}

/// Writes so many bytes.
fn put(spi: &ZynqSpi, count: usize) -> Result<()> {
    (0..count).try_for_each(|number| spi.registers().set(TRANSMIT, number as u32))
}

/// Has them sent, and waits for the last.
fn start(spi: &ZynqSpi, vm: &Vm) -> Result<()> {
    spi.registers().set(CONFIG, ALONE | MANUAL_START | START)?;
    wait_until(vm, "what was written to be sent", || Ok(spi.registers().get(STATUS)? & ROOM != 0))
}

/// Takes all that was received, and says how many bytes they were.
fn take(spi: &ZynqSpi) -> Result<usize> {
    for count in 0..=2 * DEPTH {
        if spi.registers().get(STATUS)? & RECEIVED == 0 {
            return Ok(count);
        }
        spi.registers().get(RECEIVE)?;
    }
    Ok(usize::MAX)
}

/// Would catch FIFOs of another size, bytes that are sent before it is asked for, and one that comes
/// back too often or not at all.
fn fifos(spi: &ZynqSpi, vm: &Rc<Vm>) -> Result<()> {
    ready(spi, ALONE | MANUAL_START)?;
    for count in [1, 2, 7, DEPTH - 1, DEPTH] {
        put(spi, count)?;
        let expected = if count == DEPTH { FULL } else { ROOM };
        let found = spi.registers().get(STATUS)? & (FIFOS & !ROOM);
        assert_eq!(found, expected & !ROOM, "{count} bytes: FIFOs before they are sent");
        start(spi, vm)?;
        let full = if count == DEPTH { RECEIVED_FULL } else { 0 };
        assert_status(spi, ROOM | RECEIVED | full, &format!("{count} bytes were sent"))?;
        assert_eq!(take(spi)?, count, "bytes that came for {count}");
        assert_status(spi, ROOM, &format!("{count} bytes were taken"))?;
    }
    Ok(())
}

/// Would catch a byte too many that is not told to be lost, and one that cannot be acknowledged.
fn overflow(spi: &ZynqSpi, vm: &Rc<Vm>) -> Result<()> {
    ready(spi, ALONE | MANUAL_START)?;
    put(spi, DEPTH)?;
    start(spi, vm)?;
    assert_status(spi, ROOM | RECEIVED | RECEIVED_FULL, "a full FIFO")?;
    put(spi, 1)?;
    lose(spi, vm)?;
    assert_eq!(take(spi)?, DEPTH, "bytes that came");
    spi.registers().set(STATUS, OVERFLOW)?;
    assert_status(spi, ROOM, "acknowledged")
}

/// Has the byte sent for whose answer there is no room, and waits until that is told.
fn lose(spi: &ZynqSpi, vm: &Vm) -> Result<()> {
    spi.registers().set(CONFIG, ALONE | MANUAL_START | START)?;
    wait_until(
        vm,
        "a byte too many to be told",
        || Ok(spi.registers().get(STATUS)? & OVERFLOW != 0),
    )
}

/// Would catch a byte too many that is told once, and not until it is acknowledged.
fn overflow_stays(spi: &ZynqSpi, vm: &Rc<Vm>) -> Result<()> {
    ready(spi, ALONE | MANUAL_START)?;
    put(spi, DEPTH)?;
    start(spi, vm)?;
    put(spi, 1)?;
    lose(spi, vm)?;
    assert_status(spi, ROOM | RECEIVED | RECEIVED_FULL | OVERFLOW, "looked at again")?;
    take(spi)?;
    assert_status(spi, ROOM | OVERFLOW, "after all was taken")?;
    spi.registers().set(STATUS, OVERFLOW)?;
    assert_status(spi, ROOM, "acknowledged")
}

/// Would catch bytes that are told before there are as many as the threshold says.
fn receive_threshold(spi: &ZynqSpi, vm: &Rc<Vm>) -> Result<()> {
    ready(spi, ALONE | MANUAL_START)?;
    for threshold in [1, 2, 10, 100] {
        spi.registers().set(RX_THRESHOLD, threshold)?;
        put(spi, threshold as usize - 1)?;
        start(spi, vm)?;
        assert_status(spi, ROOM, &format!("one less than {threshold}"))?;
        put(spi, 1)?;
        start(spi, vm)?;
        assert_status(spi, ROOM | RECEIVED, &format!("{threshold}"))?;
        spi.registers().set(RX_THRESHOLD, 1)?;
        assert_eq!(take(spi)?, threshold as usize, "bytes that came for {threshold}");
    }
    Ok(())
}

/// Would catch room that is told though as many bytes wait as the threshold says, and none though fewer
/// do.
fn transmit_threshold(spi: &ZynqSpi, vm: &Rc<Vm>) -> Result<()> {
    ready(spi, ALONE | MANUAL_START)?;
    for threshold in [1, 2, 10, 100] {
        spi.registers().set(TX_THRESHOLD, threshold)?;
        put(spi, threshold as usize - 1)?;
        assert_status(spi, ROOM, &format!("one less than {threshold}"))?;
        put(spi, 1)?;
        assert_status(spi, 0, &format!("{threshold}"))?;
        start(spi, vm)?;
        assert_eq!(take(spi)?, threshold as usize, "bytes that came for {threshold}");
    }
    Ok(())
}

/// Would catch a block that sends while it is off.
fn off(spi: &ZynqSpi, vm: &Rc<Vm>) -> Result<()> {
    ready(spi, ALONE | MANUAL_START)?;
    spi.registers().set(ON, 0)?;
    spi.registers().set(CONFIG, ALONE | MANUAL_START | START)?;
    assert_eq!(take(spi)?, 0, "bytes that came while it is off and nothing was written");
    spi.registers().set(ON, 1)?;
    put(spi, 3)?;
    start(spi, vm)?;
    assert_eq!(take(spi)?, 3, "bytes that came when it is on again");
    Ok(())
}

/// Would catch an interrupt that is not what is pending and enabled: enabled by a one in one register,
/// disabled by a one in another, and shown in a third.
fn interrupts(spi: &ZynqSpi, vm: &Rc<Vm>) -> Result<()> {
    ready(spi, ALONE | MANUAL_START)?;
    let registers = spi.registers();
    let line = spi.interrupt()?;
    registers.set(DISABLE, 0x7f)?;
    assert_eq!(registers.get(MASK)? & 0x7f, 0, "all are disabled: Intrpt_mask_reg0");
    assert!(!line.is_high()?, "all are disabled: the line");
    registers.set(ENABLE, ROOM)?;
    assert_eq!(registers.get(MASK)? & 0x7f, ROOM, "room enabled: Intrpt_mask_reg0");
    assert!(line.is_high()?, "there is room: the line");
    registers.set(ENABLE, RECEIVED | OVERFLOW)?;
    registers.set(DISABLE, ROOM)?;
    assert_eq!(registers.get(MASK)? & 0x7f, RECEIVED | OVERFLOW, "others: Intrpt_mask_reg0");
    assert!(!line.is_high()?, "nothing was received: the line");
    put(spi, 2)?;
    assert!(!line.is_high()?, "nothing was sent: the line");
    start(spi, vm)?;
    assert!(line.is_high()?, "two bytes were received: the line");
    registers.get(RECEIVE)?;
    assert!(line.is_high()?, "one is left: the line");
    registers.get(RECEIVE)?;
    assert!(!line.is_high()?, "none is left: the line");
    registers.set(DISABLE, 0x7f)
}

/// Would catch a byte that is lost and does not interrupt.
fn overflow_interrupt(spi: &ZynqSpi, vm: &Rc<Vm>) -> Result<()> {
    ready(spi, ALONE | MANUAL_START)?;
    let registers = spi.registers();
    let line = spi.interrupt()?;
    registers.set(DISABLE, 0x7f)?;
    registers.set(ENABLE, OVERFLOW)?;
    put(spi, DEPTH)?;
    start(spi, vm)?;
    assert!(!line.is_high()?, "none was lost: the line");
    put(spi, 1)?;
    spi.registers().set(CONFIG, ALONE | MANUAL_START | START)?;
    wait_until(vm, "an interrupt for the byte that was lost", || line.is_high())?;
    registers.set(STATUS, OVERFLOW)?;
    assert!(!line.is_high()?, "acknowledged: the line");
    take(spi)?;
    registers.set(DISABLE, 0x7f)
}

/// Would catch bytes that outlive a reset of the machine and are sent after it, what was received before
/// it, and an interrupt that stays.
fn machine_reset(spi: &ZynqSpi, vm: &Rc<Vm>) -> Result<()> {
    ready(spi, ALONE | MANUAL_START)?;
    let registers = spi.registers();
    let line = spi.interrupt()?;
    registers.set(ENABLE, RECEIVED)?;
    put(spi, 5)?;
    start(spi, vm)?;
    put(spi, 9)?;
    assert!(line.is_high()?, "bytes were received: the line");
    reset(vm)?;
    assert!(!line.is_high()?, "after a reset: the line");
    assert_eq!(registers.get(MASK)? & 0x7f, 0, "after a reset: Intrpt_mask_reg0");
    registers.set(CONFIG, ALONE | MANUAL_START)?;
    registers.set(ON, 1)?;
    start(spi, vm)?;
    assert_eq!(take(spi)?, 0, "bytes that came though none was written after a reset");
    put(spi, 2)?;
    start(spi, vm)?;
    assert_eq!(take(spi)?, 2, "bytes that came after a reset");
    Ok(())
}

/// Would catch a reset of the machine after which there is no room, or something to take.
fn reset_status(spi: &ZynqSpi, vm: &Rc<Vm>) -> Result<()> {
    ready(spi, ALONE | MANUAL_START)?;
    put(spi, DEPTH)?;
    start(spi, vm)?;
    put(spi, DEPTH)?;
    reset(vm)?;
    assert_status(spi, ROOM, "after a reset")
}
