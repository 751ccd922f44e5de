//! Transfers by ADMA2.

use std::rc::Rc;

use super::bench::{
    Bench, GUARD, MANY, READ_MULTIPLE, WRITE_MULTIPLE, assert_guarded, guarded, pattern,
};
use crate::drivers::sd::sd_card::SdCard;
use crate::qemu::{Buffer, Vm};
use crate::qos::registers::RegistersExt;
use crate::qos::sd::BLOCK;
use crate::qos::sdhci::{self, Vendor, capabilities};
use crate::{Error, Result};

/// A descriptor of ADMA2 (1.13.4): attributes, length, address.
type Descriptor = (u16, usize, u64);
/// Attribute: the descriptor is valid.
const VALID: u16 = 1 << 0;
/// Attribute: it is the last.
const END: u16 = 1 << 1;
/// Attribute: it interrupts when it is done.
const INTERRUPT: u16 = 1 << 2;
/// Attribute: it moves data, or names the next descriptor; neither is no operation.
const MOVES: u16 = 2 << 4;
const LINK: u16 = 3 << 4;

fn table(vm: &Vm, descriptors: &[Descriptor]) -> Result<Buffer> {
    let bytes = descriptors.iter().flat_map(|&(attributes, length, address)| {
        let low = u64::from(attributes) | (length as u64 & 0xffff) << 16 | address << 32;
        low.to_le_bytes()
    });
    let bytes: Vec<u8> = bytes.collect();
    let table = vm.ram().alloc(bytes.len(), 8)?;
    table.write(0, &bytes)?;
    Ok(table)
}

/// Lets the controller take descriptors from `table`.
fn select_adma2(sd: &SdCard, table: &Buffer) -> Result<()> {
    let registers = sd.host()?.registers();
    let control = registers.get(sdhci::HOST_CONTROL_1)? & !sdhci::DMA_SELECT;
    registers.set(sdhci::HOST_CONTROL_1, control | sdhci::DMA_ADMA2)?;
    registers.set(sdhci::ADMA_SYSTEM_ADDRESS, table.address().0)
}

fn adma2_bench<'a>(sd: &'a SdCard, vm: &'a Vm) -> Result<Bench<'a>> {
    let bench = Bench::with_dma(sd, vm, capabilities::ADMA2, "ADMA2")?;
    match sd.host()?.profile().vendor {
        Vendor::Standard => Ok(bench),
        Vendor::Usdhc => Err(Error::skipped("this controller selects ADMA2 elsewhere")),
    }
}

/// Would catch data that ADMA2 moves to or from another place, a descriptor that is skipped,
/// done twice or not ended, an interrupt that a descriptor asks for and does not get, one that
/// nobody asks for, and an ADMA System Address or Block Count that does not go on (1.13, 2.2.30).
pub(super) fn adma2(sd: &SdCard, vm: &Rc<Vm>) -> Result<()> {
    let bench = adma2_bench(sd, vm)?;
    let registers = sd.host()?.registers();
    let lengths = [1000, 536, 1536, 600, 424, 4, 508, 512];
    let count = (lengths.iter().sum::<usize>() / BLOCK) as u16;
    for (block, asks) in [(64, true), (200, false)] {
        let buffers =
            lengths.iter().map(|length| guarded(vm, *length, 4)).collect::<Result<Vec<_>>>()?;
        let moves = |number: usize, more: u16| {
            (VALID | MOVES | more, lengths[number], buffers[number].address().0)
        };
        let interrupts = if asks { INTERRUPT } else { 0 };
        let tail: Vec<Descriptor> = (2..8)
            .map(|number| match number {
                4 => moves(4, interrupts),
                7 => moves(7, END),
                number => moves(number, 0),
            })
            .collect();
        let tail = table(vm, &tail)?;
        let nop = (VALID, 77, 0);
        let head =
            table(vm, &[moves(0, 0), nop, moves(1, 0), (VALID | LINK, 0, tail.address().0)])?;
        for reads in [true, false] {
            let what = format!("{} of block {block}", if reads { "read" } else { "write" });
            let data = if reads {
                bench.image(block, count.into(), 9)?
            } else {
                let data = pattern(count.into(), 123);
                let mut rest = &data[..];
                for (buffer, length) in buffers.iter().zip(lengths) {
                    buffer.write(0, &rest[..length])?;
                    rest = &rest[length..];
                }
                data
            };
            select_adma2(sd, &head)?;
            let mode = MANY | sdhci::TRANSFER_DMA | if reads { sdhci::TRANSFER_READ } else { 0 };
            let command = if reads { READ_MULTIPLE } else { WRITE_MULTIPLE };
            bench.card.start(&bench.transfer(command, block, count, mode)?)?;
            let status = bench.wait_end(&what)?;
            let told = status & sdhci::DMA_INTERRUPT != 0;
            assert_eq!(told, asks, "{what}: DMA Interrupt");
            let at = registers.get(sdhci::ADMA_SYSTEM_ADDRESS)?;
            let end = tail.address().0 + tail.len() as u64;
            assert_eq!(at, end, "{what}: ADMA System Address at the end");
            assert_eq!(registers.get(sdhci::ADMA_ERROR_STATUS)?, 0, "{what}: ADMA Error Status");
            bench.assert_over(0, &what)?;
            let mut rest = &data[..];
            for (buffer, length) in buffers.iter().zip(lengths) {
                assert_guarded(buffer, &rest[..length], &what)?;
                rest = &rest[length..];
            }
            if !reads {
                bench.assert_image(block, &data, &what)?;
            }
        }
    }
    Ok(())
}

/// Would catch a length of zero that is not 64 KiB (1.13.4).
pub(super) fn adma2_whole(sd: &SdCard, vm: &Rc<Vm>) -> Result<()> {
    let bench = adma2_bench(sd, vm)?;
    let (blocks, length) = (0x1_0000 / BLOCK, 0x1_0000);
    let data = bench.image(64, blocks + 1, 3)?;
    let (first, last) = (guarded(vm, length, 4)?, guarded(vm, BLOCK, 4)?);
    let table = table(
        vm,
        &[(VALID | MOVES, 0, first.address().0), (VALID | MOVES | END, BLOCK, last.address().0)],
    )?;
    select_adma2(sd, &table)?;
    let mode = MANY | sdhci::TRANSFER_DMA | sdhci::TRANSFER_READ;
    bench.card.start(&bench.transfer(READ_MULTIPLE, 64, blocks as u16 + 1, mode)?)?;
    bench.wait_end("64 KiB and a block")?;
    assert_guarded(&first, &data[..length], "the descriptor of length zero")?;
    assert_guarded(&last, &data[length..], "the descriptor behind it")?;
    bench.assert_over(0, "64 KiB and a block")
}

/// Would catch a descriptor that is used although it is not valid, a length that does not match
/// Block Count without being told (2.2.18, 2.2.29), and a controller that does not recover.
pub(super) fn adma2_errors(sd: &SdCard, vm: &Rc<Vm>) -> Result<()> {
    let bench = adma2_bench(sd, vm)?;
    let registers = sd.host()?.registers();
    let data = bench.image(64, 4, 1)?;
    let buffer = guarded(vm, 4 * BLOCK, 4)?;
    let at = buffer.address().0;
    // Fetch state, and no length is compared.
    let invalid = [(VALID | MOVES, BLOCK, at), (MOVES | END, BLOCK, at + 512)];
    // Transfer state, and a descriptor that ends with blocks left, or with more than there are.
    let short = [(VALID | MOVES | END, 2 * BLOCK, at)];
    let long = [(VALID | MOVES | END, 4 * BLOCK + 4, at)];
    for (descriptors, moved, error, what) in [
        (&invalid[..], BLOCK, 0b001, "a descriptor that is not valid"),
        (&short[..], 2 * BLOCK, 0b110, "too few bytes"),
        (&long[..], 4 * BLOCK, 0b110, "too many bytes"),
    ] {
        buffer.write(0, &vec![GUARD; 4 * BLOCK + 64])?;
        let table = table(vm, descriptors)?;
        select_adma2(sd, &table)?;
        let mode = MANY | sdhci::TRANSFER_DMA | sdhci::TRANSFER_READ;
        bench.card.start(&bench.transfer(READ_MULTIPLE, 64, 4, mode)?)?;
        let status = bench.card.wait_status(sdhci::ERROR_INTERRUPT, what)?;
        assert_eq!(status.error, sdhci::ADMA_ERROR, "{what}: Error Interrupt Status");
        let now = registers.get(sdhci::ADMA_ERROR_STATUS)?;
        // In the state of a transfer both bits may be set, by the specification as well as 11b.
        let state = now & 0b11;
        assert_eq!(now & 0b100, error & 0b100, "{what}: the length in ADMA Error Status {now:#x}");
        match error & 0b100 {
            0 => assert_eq!(state, 0b01, "{what}: the state in ADMA Error Status {now:#x}"),
            _ => assert!(state > 1, "{what}: the state in ADMA Error Status {now:#x}"),
        }
        if error & 0b100 == 0 {
            let told = registers.get(sdhci::ADMA_SYSTEM_ADDRESS)?;
            assert_eq!(told, table.address().0 + 8, "{what}: ADMA System Address");
        }
        assert_guarded(&buffer, &data[..moved], what)?;
        registers.set(sdhci::ERROR_INTERRUPT_STATUS, sdhci::ADMA_ERROR)?;
        let cleared = bench.card.interrupt_status()?;
        assert_eq!(cleared.error, 0, "{what}: Error Interrupt Status, cleared");
        assert_eq!(cleared.normal & sdhci::ERROR_INTERRUPT, 0, "{what}: Error Interrupt");
        let again = Bench::new(sd, vm)?;
        assert_eq!(registers.get(sdhci::ADMA_ERROR_STATUS)?, 0, "{what}: after a reset");
        let block = again.card.read_block(&again.identity, 65)?;
        assert!(block[..] == data[BLOCK..2 * BLOCK], "{what}: a block after a reset");
    }
    Ok(())
}
