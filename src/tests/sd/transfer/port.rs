//! Transfers through the Buffer Data Port.

use std::rc::Rc;

use super::bench::{
    BUSY, Bench, MANY, READ_MULTIPLE, READY, STOPPED_RECEIVING, STOPPED_SENDING, WRITE_MULTIPLE,
    pattern,
};
use crate::Result;
use crate::drivers::sd::sd_card::SdCard;
use crate::qemu::Vm;
use crate::qos::registers::RegistersExt;
use crate::qos::sd::{BLOCK, Response};
use crate::qos::sdhci;

/// Would catch blocks out of order, lost or given twice, a Block Count that does not go down or
/// ends the transfer too early or late, a buffer that is not announced for every block, an end
/// that is told before the last block or not at all, and a stop that is not sent or whose answer
/// is not in the upper response register (2.2.7, 3.7.2.2).
pub(super) fn port_read(sd: &SdCard, vm: &Rc<Vm>) -> Result<()> {
    let bench = Bench::new(sd, vm)?;
    let registers = sd.host()?.registers();
    for (block, count) in [(64, 4), (100, 1), (200, 9)] {
        let what = format!("{count} blocks from {block} on");
        let data = bench.image(block, count.into(), count.into())?;
        let mode = MANY | sdhci::TRANSFER_READ;
        bench.card.start(&bench.transfer(READ_MULTIPLE, block, count, mode)?)?;
        bench.card.wait_status(sdhci::BUFFER_READ_READY, &what)?;
        assert_eq!(bench.card.response(0)?, READY, "{what}: the response");
        registers.set(sdhci::NORMAL_INTERRUPT_STATUS, sdhci::COMMAND_COMPLETE)?;
        for (number, expected) in (0..count).zip(data.chunks(BLOCK)) {
            let what = format!("{what}, number {number}");
            let ready = bench.card.wait_status(sdhci::BUFFER_READ_READY, &what)?;
            assert_eq!(ready.normal, sdhci::BUFFER_READ_READY, "{what}: the status");
            let state = bench.get32(sdhci::PRESENT_STATE)?;
            let expected_state = sdhci::COMMAND_INHIBIT_DAT
                | sdhci::READ_TRANSFER_ACTIVE
                | sdhci::BUFFER_READ_ENABLE;
            let line = if number + 1 < count { sdhci::DAT_LINE_ACTIVE } else { 0 };
            assert_eq!(state & BUSY, expected_state | line, "{what}: Present State {state:#x}");
            assert_eq!(bench.count()?, count - number, "{what}: Block Count");
            registers.set(sdhci::NORMAL_INTERRUPT_STATUS, sdhci::BUFFER_READ_READY)?;
            assert!(bench.card.take_block(BLOCK)? == expected, "{what}: the data");
        }
        let status = bench.card.wait_status(sdhci::TRANSFER_COMPLETE, &what)?;
        assert_eq!(status.normal, sdhci::TRANSFER_COMPLETE, "{what}: the status at the end");
        let stopped = bench.card.response(3)?;
        assert_eq!(stopped, STOPPED_SENDING, "{what}: the response to CMD12: {stopped:#x}");
        assert_eq!(registers.get(sdhci::BUFFER_DATA_PORT)?, 0, "{what}: the empty buffer");
        bench.assert_over(0, &what)?;
    }
    Ok(())
}

/// Would catch what [`port_read`] would, in the other direction, and blocks that are written to
/// another place.
pub(super) fn port_write(sd: &SdCard, vm: &Rc<Vm>) -> Result<()> {
    let bench = Bench::new(sd, vm)?;
    let registers = sd.host()?.registers();
    for (block, count) in [(64, 4), (100, 1), (200, 9)] {
        let what = format!("{count} blocks to {block}");
        let data = pattern(count.into(), 50 + usize::from(count));
        bench.card.start(&bench.transfer(WRITE_MULTIPLE, block, count, MANY)?)?;
        bench.card.wait_status(sdhci::BUFFER_WRITE_READY, &what)?;
        assert_eq!(bench.card.response(0)?, READY, "{what}: the response");
        registers.set(sdhci::NORMAL_INTERRUPT_STATUS, sdhci::COMMAND_COMPLETE)?;
        for (number, bytes) in (0..count).zip(data.chunks(BLOCK)) {
            let what = format!("{what}, number {number}");
            let ready = bench.card.wait_status(sdhci::BUFFER_WRITE_READY, &what)?;
            assert_eq!(ready.normal, sdhci::BUFFER_WRITE_READY, "{what}: the status");
            let state = bench.get32(sdhci::PRESENT_STATE)?;
            let expected = sdhci::COMMAND_INHIBIT_DAT
                | sdhci::DAT_LINE_ACTIVE
                | sdhci::WRITE_TRANSFER_ACTIVE
                | sdhci::BUFFER_WRITE_ENABLE;
            assert_eq!(state & BUSY, expected, "{what}: Present State {state:#x}");
            assert_eq!(bench.count()?, count - number, "{what}: Block Count");
            registers.set(sdhci::NORMAL_INTERRUPT_STATUS, sdhci::BUFFER_WRITE_READY)?;
            bench.card.put_block(bytes)?;
        }
        let status = bench.card.wait_status(sdhci::TRANSFER_COMPLETE, &what)?;
        assert_eq!(status.normal, sdhci::TRANSFER_COMPLETE, "{what}: the status at the end");
        let stopped = bench.card.response(3)?;
        assert_eq!(stopped, STOPPED_RECEIVING, "{what}: the response to CMD12: {stopped:#x}");
        bench.assert_over(0, &what)?;
        bench.assert_image(block, &data, &what)?;
    }
    Ok(())
}

/// Would catch a transfer without Block Count that ends by itself, one that CMD12 does not end
/// since it is busy, and a Software Reset For DAT (2.2.16) that leaves data, states or status
/// bits, or changes what is not its.
pub(super) fn open_ended(sd: &SdCard, vm: &Rc<Vm>) -> Result<()> {
    let bench = Bench::new(sd, vm)?;
    let registers = sd.host()?.registers();
    let data = bench.image(300, 6, 3)?;
    let mode = sdhci::TRANSFER_MULTI | sdhci::TRANSFER_READ;
    bench.card.start(&bench.transfer(READ_MULTIPLE, 300, 2, mode)?)?;
    for (number, expected) in data.chunks(BLOCK).take(5).enumerate() {
        bench.card.wait_status(sdhci::BUFFER_READ_READY, "a block without end")?;
        assert!(bench.card.take_block(BLOCK)? == expected, "block {number}: the data");
        let status = bench.card.interrupt_status()?;
        assert_eq!(status.normal & sdhci::TRANSFER_COMPLETE, 0, "block {number}: the status");
    }
    registers.set(sdhci::NORMAL_INTERRUPT_STATUS, sdhci::COMMAND_COMPLETE)?;
    bench.card.write_command(12, 0, Response::R1b, sdhci::ABORT)?;
    bench.card.wait_status(sdhci::COMMAND_COMPLETE, "CMD12 to complete")?;
    assert_eq!(bench.card.response(0)?, STOPPED_SENDING, "the response to CMD12");
    let before = bench.card.interrupt_status()?;
    let count = bench.count()?;
    registers.set(sdhci::SOFTWARE_RESET, sdhci::RESET_FOR_DAT)?;
    assert_eq!(registers.get(sdhci::SOFTWARE_RESET)?, 0, "Software Reset");
    let state = bench.get32(sdhci::PRESENT_STATE)?;
    assert_eq!(state & BUSY, 0, "Present State after a reset for DAT: {state:#x}");
    let status = bench.card.interrupt_status()?;
    let cleared = sdhci::BUFFER_READ_READY
        | sdhci::BUFFER_WRITE_READY
        | sdhci::TRANSFER_COMPLETE
        | sdhci::DMA_INTERRUPT
        | 1 << 2;
    assert_eq!(status.normal, before.normal & !cleared, "the status after a reset for DAT");
    assert_eq!(registers.get(sdhci::ARGUMENT)?, 0, "the argument after a reset for DAT");
    assert_eq!(bench.count()?, count, "Block Count after a reset for DAT");
    registers.set(sdhci::SOFTWARE_RESET, sdhci::RESET_FOR_CMD)?;
    let status = bench.card.interrupt_status()?;
    assert_eq!(status.normal & sdhci::COMMAND_COMPLETE, 0, "the status after a reset for CMD");
    bench.assert_over(count, "after both resets")?;
    let block = bench.card.read_block(&bench.identity, 301)?;
    assert!(block[..] == data[BLOCK..2 * BLOCK], "a block after the resets");
    Ok(())
}
