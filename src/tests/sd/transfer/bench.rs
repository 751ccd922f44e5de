//! A card in transfer state, the bytes that go to and fro, and what holds when a transfer is over.

use crate::drivers::sd::sd_card::{IMAGE, SdCard};
use crate::qemu::{Buffer, Vm};
use crate::qos::registers::{Register, RegistersExt};
use crate::qos::sd::{BLOCK, Card, Identity, Transfer};
use crate::qos::sdhci::{self, capabilities};
use crate::{Error, Result};

/// A transfer of several blocks that Block Count ends, and CMD12 after it.
pub(super) const MANY: u16 =
    sdhci::TRANSFER_MULTI | sdhci::TRANSFER_COUNT | sdhci::TRANSFER_AUTO_CMD12;
/// Read and write several blocks (Physical Layer 4.7.4).
pub(super) const READ_MULTIPLE: u8 = 18;
pub(super) const WRITE_MULTIPLE: u8 = 25;
/// Card status: in transfer state and ready for data.
pub(super) const READY: u32 = 4 << 9 | 1 << 8;
/// The card status that CMD12 answers with: it was sending, or receiving.
pub(super) const STOPPED_SENDING: u32 = 5 << 9 | 1 << 8;
pub(super) const STOPPED_RECEIVING: u32 = 6 << 9 | 1 << 8;
/// What stands in memory beside a buffer.
pub(super) const GUARD: u8 = 0xa5;
/// Present State: a transfer is under way, in any way.
pub(super) const BUSY: u32 = sdhci::COMMAND_INHIBIT_DAT
    | sdhci::DAT_LINE_ACTIVE
    | sdhci::READ_TRANSFER_ACTIVE
    | sdhci::WRITE_TRANSFER_ACTIVE
    | sdhci::BUFFER_READ_ENABLE
    | sdhci::BUFFER_WRITE_ENABLE;

/// A card in transfer state.
pub(super) struct Bench<'a> {
    pub(super) card: Card<'a>,
    pub(super) sd: &'a SdCard,
    pub(super) vm: &'a Vm,
    pub(super) identity: Identity,
}

impl<'a> Bench<'a> {
    pub(super) fn new(sd: &'a SdCard, vm: &'a Vm) -> Result<Self> {
        let card = sd.card()?;
        let identity = card.initialise()?;
        vm.set_up_ends()?;
        Ok(Self { card, sd, vm, identity })
    }

    /// The same with DMA, which needs a bus on which the controller reaches RAM.
    pub(super) fn with_dma(
        sd: &'a SdCard,
        vm: &'a Vm,
        support: (u32, u32),
        what: &str,
    ) -> Result<Self> {
        let host = sd.host()?;
        if capabilities::field(host.profile().capabilities, support) == 0 {
            return Err(Error::skipped(format!("this controller has no {what}")));
        }
        if let Some(function) = host.function() {
            function.bus().reaches_ram()?;
        }
        Self::new(sd, vm)
    }

    pub(super) fn get32(&self, register: Register<u32>) -> Result<u32> {
        self.sd.host()?.registers().get(register)
    }

    pub(super) fn count(&self) -> Result<u16> {
        self.sd.host()?.registers().get(sdhci::BLOCK_COUNT)
    }

    /// Bytes of which no block is like another, written into the image from `block` on.
    pub(super) fn image(&self, block: u32, blocks: usize, seed: usize) -> Result<Vec<u8>> {
        let bytes = pattern(blocks, seed);
        self.vm.write_image(IMAGE.name, u64::from(block) * BLOCK as u64, &bytes)?;
        Ok(bytes)
    }

    /// Asserts what is in the image from `block` on, and that the blocks around are zero.
    pub(super) fn assert_image(&self, block: u32, expected: &[u8], what: &str) -> Result<()> {
        let mut image = vec![0; expected.len() + 2 * BLOCK];
        self.vm.read_image(IMAGE.name, u64::from(block - 1) * BLOCK as u64, &mut image)?;
        let around = vec![0; BLOCK];
        assert!(image[BLOCK..BLOCK + expected.len()] == *expected, "{what}: the image");
        assert_eq!(image[..BLOCK], around, "{what}: the block before");
        assert_eq!(image[BLOCK + expected.len()..], around, "{what}: the block after");
        Ok(())
    }

    pub(super) fn transfer(
        &self,
        command: u8,
        block: u32,
        count: u16,
        mode: u16,
    ) -> Result<Transfer> {
        let argument = Card::address_of(&self.identity, block)?;
        Ok(Transfer { command, argument, size: BLOCK as u16, count, mode })
    }

    /// Asserts that nothing is under way, that the card is ready for the next transfer, and that
    /// Block Count is `count`.
    pub(super) fn assert_over(&self, count: u16, what: &str) -> Result<()> {
        assert_eq!(self.count()?, count, "{what}: Block Count when it is over");
        let state = self.get32(sdhci::PRESENT_STATE)?;
        assert_eq!(state & BUSY, 0, "{what}: Present State when it is over: {state:#x}");
        let status = self.card.card_status(&self.identity)?;
        assert_eq!(status, READY, "{what}: the card status when it is over: {status:#x}");
        Ok(())
    }

    /// Waits for the end of a transfer by DMA; returns the interrupt status without the bits
    /// that come with every one.
    pub(super) fn wait_end(&self, what: &str) -> Result<u16> {
        let status =
            self.card.wait_status(sdhci::TRANSFER_COMPLETE | sdhci::ERROR_INTERRUPT, what)?;
        assert_eq!(status.error, 0, "{what}: Error Interrupt Status {:#x}", status.error);
        let expected = sdhci::COMMAND_COMPLETE | sdhci::TRANSFER_COMPLETE;
        let rest = status.normal & !sdhci::DMA_INTERRUPT;
        assert_eq!(rest, expected, "{what}: Normal Interrupt Status {:#x}", status.normal);
        Ok(status.normal)
    }
}

/// Bytes of which no block is like another.
pub(super) fn pattern(blocks: usize, seed: usize) -> Vec<u8> {
    (0..blocks * BLOCK).map(|at| (at * 7 + at / 256 * 3 + at / BLOCK * 5 + seed) as u8).collect()
}

/// A buffer of `length` bytes at a multiple of `align`, with a guard of 64 bytes behind it.
pub(super) fn guarded(vm: &Vm, length: usize, align: u64) -> Result<Buffer> {
    let buffer = vm.ram().alloc(length + 64, align)?;
    buffer.write(0, &vec![GUARD; length + 64])?;
    Ok(buffer)
}

/// Asserts that a guarded buffer holds `expected` and nothing was written behind it.
pub(super) fn assert_guarded(buffer: &Buffer, expected: &[u8], what: &str) -> Result<()> {
    let got = buffer.to_vec()?;
    let length = got.len() - 64;
    assert!(got[..expected.len()] == *expected, "{what}: the data in memory");
    let rest = &got[expected.len()..];
    assert!(rest.iter().all(|byte| *byte == GUARD), "{what}: memory behind the data, {length}");
    Ok(())
}
