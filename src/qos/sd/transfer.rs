//! Data between a card and the host in every way that a controller has: through its port,
//! several blocks at a time, by DMA (SD Host Controller Simplified Specification 3.00, 3.7.2).
//! What is checked on the way is the tests' affair.

use super::{Card, Identity, Response};
use crate::Result;
use crate::qos::registers::RegistersExt;
use crate::qos::sdhci::{self, USDHC_MIX_CTRL, Vendor};
use crate::qos::wait_until;

/// A command with data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transfer {
    /// The command's number.
    pub command: u8,
    /// Its argument.
    pub argument: u32,
    /// The bytes of a block.
    pub size: u16,
    /// How many blocks, as Block Count takes it.
    pub count: u16,
    /// Transfer Mode.
    pub mode: u16,
}

/// The bits of the interrupt status, normal and error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Status {
    /// Normal Interrupt Status.
    pub normal: u16,
    /// Error Interrupt Status.
    pub error: u16,
}

impl Card<'_> {
    /// The argument of a command that names a block.
    ///
    /// # Errors
    /// Returns an error if the card counts bytes and the block is beyond what 32 bits count.
    pub fn address_of(identity: &Identity, block: u32) -> Result<u32> {
        Self::block_address(identity, block)
    }

    /// Sets the transfer up and sends its command. Waits for nothing that comes of it.
    ///
    /// # Errors
    /// Returns an error if the controller does not come to rest before.
    pub fn start(&self, transfer: &Transfer) -> Result<()> {
        let registers = self.host.registers();
        // Boundary bits are those of the block size's register.
        registers.set(sdhci::BLOCK_SIZE, transfer.size)?;
        registers.set(sdhci::BLOCK_COUNT, transfer.count)?;
        match self.host.profile().vendor {
            Vendor::Standard => registers.set(sdhci::TRANSFER_MODE, transfer.mode)?,
            Vendor::Usdhc => registers.set(USDHC_MIX_CTRL, transfer.mode.into())?,
        }
        let flags = Response::R1.bits() | sdhci::DATA_PRESENT;
        self.begin(transfer.command, transfer.argument, flags)
    }

    /// Sends a command without data, and waits for nothing that comes of it.
    ///
    /// # Errors
    /// Returns an error if the controller does not come to rest before.
    pub fn start_command(&self, index: u8, argument: u32, response: Response) -> Result<()> {
        self.begin(index, argument, response.bits())
    }

    /// Writes a command into the register, whatever the controller is doing, and waits for
    /// nothing.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    pub fn write_command(
        &self,
        index: u8,
        argument: u32,
        response: Response,
        more: u16,
    ) -> Result<()> {
        let registers = self.host.registers();
        registers.set(sdhci::ARGUMENT, argument)?;
        registers.set(sdhci::COMMAND, u16::from(index) << 8 | response.bits() | more)
    }

    /// The interrupt status now.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    pub fn interrupt_status(&self) -> Result<Status> {
        let registers = self.host.registers();
        Ok(Status {
            normal: registers.get(sdhci::NORMAL_INTERRUPT_STATUS)?,
            error: registers.get(sdhci::ERROR_INTERRUPT_STATUS)?,
        })
    }

    /// Waits until one of `bits` of the normal interrupt status is set; returns the whole status.
    /// Nothing is cleared.
    ///
    /// # Errors
    /// Returns an error if none is set in time.
    pub fn wait_status(&self, bits: u16, what: &str) -> Result<Status> {
        let mut status = Status { normal: 0, error: 0 };
        wait_until(self.vm, what, || {
            status = self.interrupt_status()?;
            Ok(status.normal & bits != 0)
        })?;
        Ok(status)
    }

    /// Response register `number`.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    pub fn response(&self, number: u64) -> Result<u32> {
        self.host.registers().get(sdhci::RESPONSE.nth(number, 4))
    }

    /// Reads a block of `length` bytes from the Buffer Data Port; it must be there.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    pub fn take_block(&self, length: usize) -> Result<Vec<u8>> {
        let registers = self.host.registers();
        let words = (0..length.div_ceil(4)).map(|_| registers.get(sdhci::BUFFER_DATA_PORT));
        let words = words.collect::<Result<Vec<u32>>>()?;
        Ok(words.into_iter().flat_map(u32::to_le_bytes).collect())
    }

    /// Writes a block to the Buffer Data Port; there must be room.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    pub fn put_block(&self, data: &[u8]) -> Result<()> {
        data.as_chunks::<4>().0.iter().try_for_each(|word| {
            self.host.registers().set(sdhci::BUFFER_DATA_PORT, u32::from_le_bytes(*word))
        })
    }

    /// Reads `length` bytes that a command without a block address gives, such as a status.
    ///
    /// # Errors
    /// Returns an error if the controller reports one or does not complete the transfer.
    pub fn read_register(&self, command: u8, argument: u32, length: u16) -> Result<Vec<u8>> {
        let (size, count, mode) = (length, 1, sdhci::TRANSFER_READ);
        self.start(&Transfer { command, argument, size, count, mode })?;
        let what = format!("data of CMD{command}");
        self.wait_status(sdhci::BUFFER_READ_READY, &what)?;
        let data = self.take_block(length.into())?;
        self.wait_status(sdhci::TRANSFER_COMPLETE, &format!("the end of {what}"))?;
        Ok(data)
    }

    /// Says that the next command is an application's.
    ///
    /// # Errors
    /// As for [`Card::command`].
    pub fn application(&self, identity: &Identity) -> Result<()> {
        self.command(55, u32::from(identity.rca) << 16, Response::R1).map(drop)
    }

    /// The card status, by CMD13.
    ///
    /// # Errors
    /// As for [`Card::command`].
    pub fn card_status(&self, identity: &Identity) -> Result<u32> {
        Ok(self.command(13, u32::from(identity.rca) << 16, Response::R1)?[0])
    }
}
