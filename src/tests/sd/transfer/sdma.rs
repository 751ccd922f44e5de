//! Transfers by SDMA.

use std::rc::Rc;

use super::bench::{
    Bench, GUARD, MANY, READ_MULTIPLE, STOPPED_SENDING, WRITE_MULTIPLE, assert_guarded, guarded,
    pattern,
};
use crate::drivers::sd::sd_card::SdCard;
use crate::qemu::{Version, Vm};
use crate::qos::registers::RegistersExt;
use crate::qos::sd::BLOCK;
use crate::qos::sdhci::{self, Vendor, capabilities};
use crate::{Error, Result};

/// Would catch data that SDMA moves to or from another place, more or less of them, a System
/// Address or a Block Count that does not go on (2.2.1, 2.2.3), and an end that is not told.
pub(super) fn sdma(sd: &SdCard, vm: &Rc<Vm>) -> Result<()> {
    let bench = Bench::with_dma(sd, vm, capabilities::SDMA, "SDMA")?;
    let registers = sd.host()?.registers();
    registers.set(sdhci::NORMAL_INTERRUPT_STATUS_ENABLE, !0)?;
    for (block, count) in [(64, 3), (100, 1), (200, 7)] {
        let length = usize::from(count) * BLOCK;
        let what = format!("{count} blocks from {block} on");
        // No boundary within.
        let buffer = guarded(vm, length, 4096)?;
        let address = buffer.address().0 as u32;
        let data = bench.image(block, count.into(), 7)?;
        let dma = MANY | sdhci::TRANSFER_DMA;
        // Without a block count, writing the address does not begin a transfer.
        registers.set(sdhci::BLOCK_COUNT, 0)?;
        registers.set(sdhci::SDMA_SYSTEM_ADDRESS, address)?;
        let mode = dma | sdhci::TRANSFER_READ;
        bench.card.start(&bench.transfer(READ_MULTIPLE, block, count, mode)?)?;
        bench.wait_end(&what)?;
        assert_guarded(&buffer, &data, &what)?;
        if count > 1 {
            let end = registers.get(sdhci::SDMA_SYSTEM_ADDRESS)?;
            assert_eq!(end, address + length as u32, "{what}: the system address at the end");
        }
        assert_eq!(bench.card.response(3)?, STOPPED_SENDING, "{what}: the response to CMD12");
        bench.assert_over(0, &what)?;

        let what = format!("{count} blocks to {block}");
        let data = pattern(count.into(), 99);
        buffer.write(0, &data)?;
        registers.set(sdhci::SDMA_SYSTEM_ADDRESS, address)?;
        bench.card.start(&bench.transfer(WRITE_MULTIPLE, block, count, dma)?)?;
        bench.wait_end(&what)?;
        if count > 1 {
            let end = registers.get(sdhci::SDMA_SYSTEM_ADDRESS)?;
            assert_eq!(end, address + length as u32, "{what}: the system address at the end");
        }
        bench.assert_over(0, &what)?;
        bench.assert_image(block, &data, &what)?;
        assert_guarded(&buffer, &data, &what)?;
    }
    Ok(())
}

/// Would catch an SDMA that does not stop at the boundary (2.2.1, 2.2.2), stops elsewhere or
/// does not tell, and one that does not go on from the address that is written then.
pub(super) fn sdma_boundary(sd: &SdCard, vm: &Rc<Vm>) -> Result<()> {
    let mut stays = false;
    let mut bench = Bench::with_dma(sd, vm, capabilities::SDMA, "SDMA")?;
    if sd.host()?.profile().vendor != Vendor::Standard {
        return Err(Error::skipped("the boundary of this controller cannot be set"));
    }
    if vm.emulator().capabilities.version < Version::new(7, 2, 0) {
        return Err(Error::skipped("QEMU before 7.2 loses the boundary in every controller"));
    }
    let registers = sd.host()?.registers();
    for (field, boundary) in [(0, 0x1000), (1, 0x2000)] {
        let blocks = 2 * boundary / BLOCK + 3;
        let (first, second) =
            (guarded(vm, boundary, boundary as u64)?, guarded(vm, 2 * boundary, boundary as u64)?);
        for reads in [true, false] {
            let what = format!("boundary {boundary:#x}, {}", if reads { "read" } else { "write" });
            let data = if reads {
                bench.image(64, blocks, field + 5)?
            } else {
                let data = pattern(blocks, field + 77);
                first.write(0, &data[..boundary])?;
                second.write(0, &data[boundary..])?;
                data
            };
            let mode = MANY | sdhci::TRANSFER_DMA | if reads { sdhci::TRANSFER_READ } else { 0 };
            let command = if reads { READ_MULTIPLE } else { WRITE_MULTIPLE };
            let mut transfer = bench.transfer(command, 64, blocks as u16, mode)?;
            transfer.size |= (field as u16) << 12;
            registers.set(sdhci::BLOCK_COUNT, 0)?;
            registers.set(sdhci::SDMA_SYSTEM_ADDRESS, first.address().0 as u32)?;
            registers.set(sdhci::NORMAL_INTERRUPT_SIGNAL_ENABLE, sdhci::DMA_INTERRUPT)?;
            bench.card.start(&transfer)?;
            let status = bench.card.wait_status(sdhci::DMA_INTERRUPT, &what)?;
            if let Some(function) = sd.host()?.function() {
                assert!(function.asserts_interrupt()?, "{what}: the pin at the first boundary");
            }
            registers.set(sdhci::NORMAL_INTERRUPT_SIGNAL_ENABLE, 0)?;
            let both = sdhci::COMMAND_COMPLETE | sdhci::DMA_INTERRUPT;
            assert_eq!(status.normal, both, "{what}: the status at the first boundary");
            let at = registers.get(sdhci::SDMA_SYSTEM_ADDRESS)?;
            let end = first.address().0 as u32 + boundary as u32;
            assert_eq!(at, end, "{what}: the system address at the first boundary");
            let left = (blocks - boundary / BLOCK) as u16;
            assert_eq!(bench.count()?, left, "{what}: Block Count at the first boundary");
            if reads {
                assert_guarded(&first, &data[..boundary], &what)?;
            }
            registers.set(sdhci::NORMAL_INTERRUPT_STATUS, both)?;
            // It goes on at another place, to the next boundary there, and then to the end.
            let next = second.address().0 as u32;
            registers.set(sdhci::SDMA_SYSTEM_ADDRESS, next)?;
            if registers.get(sdhci::SDMA_SYSTEM_ADDRESS)? == end {
                stays = true;
                bench = Bench::with_dma(sd, vm, capabilities::SDMA, "SDMA")?;
                first.write(0, &vec![GUARD; boundary + 64])?;
                continue;
            }
            let status = bench.card.wait_status(sdhci::DMA_INTERRUPT, &what)?;
            assert_eq!(status.normal, sdhci::DMA_INTERRUPT, "{what}: at the second boundary");
            assert_eq!(bench.count()?, 3, "{what}: Block Count at the second boundary");
            registers.set(sdhci::NORMAL_INTERRUPT_STATUS, sdhci::DMA_INTERRUPT)?;
            registers
                .set(sdhci::SDMA_SYSTEM_ADDRESS, second.address().0 as u32 + boundary as u32)?;
            let status = bench.card.wait_status(sdhci::TRANSFER_COMPLETE, &what)?;
            let rest = status.normal & !sdhci::DMA_INTERRUPT;
            assert_eq!(rest, sdhci::TRANSFER_COMPLETE, "{what}: the status at the end");
            bench.assert_over(0, &what)?;
            if reads {
                assert_guarded(&second, &data[boundary..], &what)?;
                first.write(0, &vec![GUARD; boundary + 64])?;
                second.write(0, &vec![GUARD; 2 * boundary + 64])?;
            } else {
                bench.assert_image(64, &data, &what)?;
            }
        }
    }
    match stays {
        false => Ok(()),
        true => Err(Error::skipped(
            "sdhci: from 6.0 on QEMU ignores the address that is written at a boundary, and the \
             transfer does not go on",
        )),
    }
}
