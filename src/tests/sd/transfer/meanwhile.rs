//! What happens while a transfer is under way: a stop at a block gap, writes to registers,
//! commands, and a controller that is no bus master.

use std::rc::Rc;

use super::bench::{
    Bench, GUARD, MANY, READ_MULTIPLE, STOPPED_SENDING, WRITE_MULTIPLE, assert_guarded, guarded,
    pattern,
};
use crate::drivers::sd::sd_card::{IMAGE, SdCard};
use crate::qemu::{Version, Vm};
use crate::qos::pci::regs;
use crate::qos::registers::RegistersExt;
use crate::qos::sd::{BLOCK, Response};
use crate::qos::sdhci::{self, Vendor, capabilities};
use crate::qos::settle;
use crate::{Error, Result};

/// Would catch a transfer that does not stop at a block gap when it is asked to, does not tell,
/// or keeps the controller from the next one (2.2.12, 1.12).
pub(super) fn block_gap(sd: &SdCard, vm: &Rc<Vm>) -> Result<()> {
    const STOP: u8 = 1 << 0;
    const GAP: u16 = 1 << 2;
    let mut bench = Bench::new(sd, vm)?;
    let registers = sd.host()?.registers();
    if sd.host()?.profile().vendor != Vendor::Standard {
        return Err(Error::skipped("this controller stops at gaps elsewhere"));
    }
    for reads in [true, false] {
        let what = if reads { "a read that stops" } else { "a write that stops" };
        let data = bench.image(64, 6, 3)?;
        let mode = sdhci::TRANSFER_MULTI | sdhci::TRANSFER_COUNT;
        let mode = mode | if reads { sdhci::TRANSFER_READ } else { 0 };
        let command = if reads { READ_MULTIPLE } else { WRITE_MULTIPLE };
        bench.card.start(&bench.transfer(command, 64, 6, mode)?)?;
        let ready = sdhci::BUFFER_READ_READY | sdhci::BUFFER_WRITE_READY;
        let mut moved = 0;
        for block in data.chunks(BLOCK).take(3) {
            bench.card.wait_status(ready, what)?;
            registers.set(sdhci::NORMAL_INTERRUPT_STATUS, ready)?;
            if moved == 1 {
                registers.set(sdhci::BLOCK_GAP_CONTROL, STOP)?;
            }
            match reads {
                true => assert!(bench.card.take_block(BLOCK)? == block, "{what}: {moved}"),
                false => bench.card.put_block(block)?,
            }
            moved += 1;
            let status = bench.card.interrupt_status()?;
            if status.normal & sdhci::TRANSFER_COMPLETE != 0 {
                break;
            }
            assert!(moved < 3, "{what}: it goes on");
        }
        assert!(moved > 1, "{what}: it stops before it is asked to");
        let status = bench.card.interrupt_status()?;
        let both = GAP | sdhci::TRANSFER_COMPLETE;
        assert_eq!(status.normal & both, both, "{what}: the status {:#x}", status.normal);
        assert_eq!(bench.count()?, 6 - moved, "{what}: Block Count");
        // Nothing of that is left after a reset.
        bench = Bench::new(sd, vm)?;
        let block = bench.card.read_block(&bench.identity, 65)?;
        assert!(block[..] == data[BLOCK..2 * BLOCK], "{what}: a block after a reset");
    }
    Ok(())
}

/// Would catch a controller that moves data although it is no bus master (PCI 3.0, 6.2.2).
pub(super) fn bus_master(sd: &SdCard, vm: &Rc<Vm>) -> Result<()> {
    let Some(function) = sd.host()?.function() else {
        return Err(Error::skipped("this controller is no PCI function"));
    };
    let bench = Bench::with_dma(sd, vm, capabilities::SDMA, "SDMA")?;
    let registers = sd.host()?.registers();
    bench.image(64, 3, 2)?;
    let buffer = guarded(vm, 3 * BLOCK, 4096)?;
    let command = function.config_read16(regs::COMMAND)?;
    for count in [1, 3] {
        registers.set(sdhci::SDMA_SYSTEM_ADDRESS, buffer.address().0 as u32)?;
        function.config_write16(regs::COMMAND, command & !regs::COMMAND_MASTER)?;
        let mode = MANY | sdhci::TRANSFER_DMA | sdhci::TRANSFER_READ;
        bench.card.start(&bench.transfer(READ_MULTIPLE, 64, count, mode)?)?;
        settle(vm)?;
        assert_guarded(&buffer, &[], "without bus master")?;
        let secret = pattern(count.into(), 200);
        buffer.write(0, &secret)?;
        let again = Bench::new(sd, vm)?;
        registers.set(sdhci::BLOCK_COUNT, 0)?;
        registers.set(sdhci::SDMA_SYSTEM_ADDRESS, buffer.address().0 as u32)?;
        let mode = MANY | sdhci::TRANSFER_DMA;
        again.card.start(&again.transfer(WRITE_MULTIPLE, 300, count, mode)?)?;
        settle(vm)?;
        let mut image = vec![0; secret.len()];
        vm.read_image(IMAGE.name, 300 * BLOCK as u64, &mut image)?;
        assert!(image != secret, "memory was read without bus master");
        function.config_write16(regs::COMMAND, command)?;
        buffer.write(0, &vec![GUARD; 3 * BLOCK + 64])?;
        Bench::new(sd, vm)?;
    }
    Ok(())
}

/// Would catch registers that change while a transfer is under way (2.2.1, 2.2.2, 2.2.5), a
/// command with data that is sent then, and one without data that is not.
pub(super) fn busy_registers(sd: &SdCard, vm: &Rc<Vm>) -> Result<()> {
    let bench = Bench::new(sd, vm)?;
    let registers = sd.host()?.registers();
    let data = bench.image(64, 3, 2)?;
    registers.set(sdhci::SDMA_SYSTEM_ADDRESS, 0x1234_5000)?;
    let mode = MANY | sdhci::TRANSFER_READ;
    bench.card.start(&bench.transfer(READ_MULTIPLE, 64, 3, mode)?)?;
    bench.card.wait_status(sdhci::BUFFER_READ_READY, "the first block")?;
    registers.set(sdhci::NORMAL_INTERRUPT_STATUS, sdhci::COMMAND_COMPLETE)?;
    let before = (bench.get32(sdhci::SDMA_SYSTEM_ADDRESS)?, registers.get(sdhci::BLOCK_SIZE)?);
    registers.set(sdhci::SDMA_SYSTEM_ADDRESS, 0)?;
    registers.set(sdhci::BLOCK_SIZE, 0x80)?;
    registers.set(sdhci::BLOCK_COUNT, 77)?;
    let after = (bench.get32(sdhci::SDMA_SYSTEM_ADDRESS)?, registers.get(sdhci::BLOCK_SIZE)?);
    assert_eq!(after, before, "SDMA System Address and Block Size, written during a transfer");
    assert_eq!(bench.count()?, 3, "Block Count, written during a transfer");
    // QEMU before 6.0 takes a new mode at any time.
    let is_old = vm.emulator().capabilities.version < Version::new(6, 0, 0);
    if sd.host()?.profile().vendor == Vendor::Standard && !is_old {
        registers.set(sdhci::TRANSFER_MODE, 0)?;
        let now = registers.get(sdhci::TRANSFER_MODE)?;
        assert_eq!(now, mode, "Transfer Mode, written during a transfer");
    }
    let (response, address) = (Response::R1, u32::from(bench.identity.rca) << 16);
    bench.card.write_command(17, 0, response, sdhci::DATA_PRESENT)?;
    let status = bench.card.interrupt_status()?;
    assert_eq!(status.normal & sdhci::COMMAND_COMPLETE, 0, "a second command with data");
    for expected in data.chunks(BLOCK) {
        bench.card.wait_status(sdhci::BUFFER_READ_READY, "a block")?;
        assert!(bench.card.take_block(BLOCK)? == expected, "the data");
    }
    bench.card.wait_status(sdhci::TRANSFER_COMPLETE, "the end")?;
    registers.set(sdhci::CLOCK_CONTROL, sdhci::INTERNAL_CLOCK_ENABLE)?;
    registers.set(sdhci::NORMAL_INTERRUPT_STATUS, !0)?;
    bench.card.write_command(13, address, response, 0)?;
    let status = bench.card.interrupt_status()?;
    assert_eq!(status.normal & sdhci::COMMAND_COMPLETE, 0, "a command without a clock");
    Ok(())
}

/// Would catch a command without data that is not sent while data come, and data that are lost by
/// it (Physical Layer 4.1, 4.3.3: CMD13 is allowed in every state of a transfer).
pub(super) fn status_meanwhile(sd: &SdCard, vm: &Rc<Vm>) -> Result<()> {
    let bench = Bench::new(sd, vm)?;
    let data = bench.image(64, 3, 2)?;
    let mode = MANY | sdhci::TRANSFER_READ;
    bench.card.start(&bench.transfer(READ_MULTIPLE, 64, 3, mode)?)?;
    bench.card.wait_status(sdhci::BUFFER_READ_READY, "the first block")?;
    sd.host()?.registers().set(sdhci::NORMAL_INTERRUPT_STATUS, sdhci::COMMAND_COMPLETE)?;
    let address = u32::from(bench.identity.rca) << 16;
    bench.card.write_command(13, address, Response::R1, 0)?;
    bench.card.wait_status(sdhci::COMMAND_COMPLETE, "a command without data")?;
    assert_eq!(bench.card.response(0)?, STOPPED_SENDING, "the status of a card that sends");
    let mut got = Vec::new();
    for _ in 0..3 {
        bench.card.wait_status(sdhci::BUFFER_READ_READY, "a block")?;
        got.extend(bench.card.take_block(BLOCK)?);
    }
    assert!(got[..BLOCK] == data[..BLOCK], "the block that was there before the command");
    match got == data {
        true => Ok(()),
        false => Err(Error::skipped("sd-card: QEMU loses a transfer when the card gets CMD13")),
    }
}
