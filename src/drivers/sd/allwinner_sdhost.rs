//! The SD/MMC host controller of the Allwinner chips (Allwinner H3 data sheet, section 5.3
//! "SD/MMC").

use std::rc::Rc;

use crate::drivers::sd::slot;
use crate::graph::{Discovered, FoundDevice, Plug, Produces};
use crate::protocol::Endian;
use crate::qemu::Vm;
use crate::qos::registers::{AnyRegister, Mmio, Register, RegisterBlock, Registers, RegistersExt};
use crate::qos::sd::{BLOCK, Response, SdHost, SdSlot};
use crate::qos::wait_until;
use crate::{Error, Result, discovered, driver};

/// Global control; bits 2:0 reset parts of the controller.
const GCTL: Register<u32> = Register::new("SD_GCTL", 0x00)
    .section("5.3.5.1")
    .reset(0x300)
    .kept(0x8000_0530)
    .acts(RESETS as u64)
    .reserved(0x7fff_fac8);
/// Clock control.
const CKCR: Register<u32> =
    Register::new("SD_CKCR", 0x04).section("5.3.5.2").reset(0).kept(0x3_00ff).reserved(0xfffc_ff00);
/// Timeout.
const TMOR: Register<u32> =
    Register::new("SD_TMOR", 0x08).section("5.3.5.3").reset(0xffff_ff40).kept(0xffff_ffff);
/// Bus width.
const BWDR: Register<u32> =
    Register::new("SD_BWDR", 0x0c).section("5.3.5.4").reset(0).kept(0b11).reserved(0xffff_fffc);
/// Block size.
const BKSR: Register<u32> = Register::new("SD_BKSR", 0x10)
    .section("5.3.5.5")
    .reset(0x200)
    .kept(0xffff)
    .reserved(0xffff_0000);
/// Byte count.
const BYCR: Register<u32> =
    Register::new("SD_BYCR", 0x14).section("5.3.5.6").reset(0x200).kept(0xffff_ffff);
/// Command; bit 31 starts it.
const CMDR: Register<u32> = Register::new("SD_CMDR", 0x18)
    .section("5.3.5.7")
    .reset(0)
    .kept(0x0020_ffff)
    .acts(LOAD as u64)
    .reserved(0x7fdf_0000);
/// Argument.
const CAGR: Register<u32> =
    Register::new("SD_CAGR", 0x1c).section("5.3.5.8").reset(0).kept(0xffff_ffff);
/// Response, the lowest of four words first.
const RESP: Register<u32> =
    Register::new("SD_RESP", 0x20).section("5.3.5.9").reset(0).volatile(0xffff_ffff).side_effect();
/// Interrupt mask.
const IMKR: Register<u32> = Register::new("SD_IMKR", 0x30)
    .section("5.3.5.13")
    .reset(0)
    .kept(0xc001_fffe)
    .reserved(0x3ffe_0001);
/// Masked interrupt status.
const MISR: Register<u32> =
    Register::new("SD_MISR", 0x34).section("5.3.5.14").volatile(0xffff_ffff).side_effect();
/// Raw interrupt status. Whether a card is in shows here.
const RISR: Register<u32> = Register::new("SD_RISR", 0x38)
    .section("5.3.5.15")
    .reset(0)
    .w1c(0x1_fffe)
    .volatile(0xc000_0000)
    .undefined(0xc000_0000);
/// Status.
const STAR: Register<u32> =
    Register::new("SD_STAR", 0x3c).section("5.3.5.16").volatile(0xffff_ffff).side_effect();
/// FIFO water level.
const FWLR: Register<u32> = Register::new("SD_FWLR", 0x40)
    .section("5.3.5.17")
    .reset(0x000f_0000)
    .kept(0x701f_001f)
    .reserved(0x8fe0_ffe0);
/// The FIFO, on the first chips at another place.
const FIFO: Register<u32> =
    Register::new("SD_FIFO", 0x200).section("5.3.5.31").read_effect().side_effect();
/// The offset of the FIFO on the A10.
const FIFO_OF_A10: u64 = 0x100;

/// The registers that are used here.
const TABLE: &[&dyn AnyRegister] = &[
    &GCTL, &CKCR, &TMOR, &BWDR, &BKSR, &BYCR, &CMDR, &CAGR, &IMKR, &MISR, &RISR, &STAR, &FWLR,
    &FIFO,
];

/// GCTL: resets of DMA, FIFO and the whole, over when they read as zero.
const RESETS: u32 = 0b111;
/// GCTL: data go through the FIFO by the CPU.
const BY_CPU: u32 = 1 << 31;

/// CMDR: start.
const LOAD: u32 = 1 << 31;
/// CMDR: to the card.
const WRITE: u32 = 1 << 10;
/// CMDR: data follow.
const WITH_DATA: u32 = 1 << 9;
/// CMDR: check the CRC of the response.
const CHECK_CRC: u32 = 1 << 8;
/// CMDR: the response is long.
const LONG: u32 = 1 << 7;
/// CMDR: there is a response.
const WITH_RESPONSE: u32 = 1 << 6;

/// RISR: no response came.
const NO_RESPONSE: u32 = 1 << 1;
/// RISR: the command is complete.
const COMPLETE: u32 = 1 << 2;
/// RISR: the data are through.
const DATA_COMPLETE: u32 = 1 << 3;
/// RISR: a card was put in or taken out.
const CARD: u32 = 0b11 << 30;

/// STAR: how many words are in the FIFO.
fn level(status: u32) -> u32 {
    status >> 17 & 0x1ff
}
/// STAR: a card is in.
const PRESENT: u32 = 1 << 8;
/// STAR: the FIFO is full.
const FULL: u32 = 1 << 3;
/// STAR: the FIFO is empty.
const EMPTY: u32 = 1 << 2;

/// QEMU's `allwinner-sdhost-sun4i` and its successors.
pub struct AllwinnerSdhost {
    registers: Rc<Mmio>,
    fifo: u64,
}

impl AllwinnerSdhost {
    fn registers(&self) -> &dyn Registers {
        &*self.registers
    }

    /// Waits for a bit of RISR, sees that none but those of `either` is set beside it, and
    /// clears it.
    fn await_interrupt(&self, bit: u32, either: u32, what: &str) -> Result<()> {
        let mut status = 0;
        wait_until(self.registers.vm(), what, || {
            status = self.registers().get(RISR)? & !CARD;
            Ok(status & !either != 0)
        })?;
        if status & !either != bit {
            return Err(Error::failed(format!(
                "waiting for {what}: the raw interrupt status is {status:#x}, not {bit:#x}"
            )));
        }
        self.registers().set(RISR, bit)?;
        match self.registers().get(RISR)? & bit {
            0 => Ok(()),
            _ => Err(Error::failed(format!("{bit:#x} of SD_RISR was cleared, and is set"))),
        }
    }

    fn issue(&self, index: u8, argument: u32, kind: u32) -> Result<()> {
        let registers = self.registers();
        registers.set(RISR, !0)?;
        registers.set(CAGR, argument)?;
        registers.set(CMDR, u32::from(index) | kind | LOAD)?;
        let what = format!("CMD{index} to complete");
        self.await_interrupt(COMPLETE, 0, &what)?;
        match registers.get(CMDR)? & LOAD {
            0 => Ok(()),
            _ => Err(Error::failed(format!("SD_CMDR still has a command after {what}"))),
        }
    }

    fn set_up_block(&self) -> Result<()> {
        self.registers().set(BKSR, BLOCK as u32)?;
        self.registers().set(BYCR, BLOCK as u32)
    }

    /// Waits until a bit of STAR is clear, and sees that what it says of card and FIFO holds
    /// together.
    fn await_fifo(&self, bit: u32, what: &str) -> Result<()> {
        let mut status = 0;
        wait_until(self.registers.vm(), what, || {
            status = self.registers().get(STAR)?;
            Ok(status & bit == 0)
        })?;
        let is_empty = status & EMPTY != 0;
        if status & PRESENT == 0
            || is_empty != (level(status) == 0)
            || is_empty && status & FULL != 0
        {
            return Err(Error::failed(format!("SD_STAR is {status:#x}, waiting for {what}")));
        }
        Ok(())
    }
}

impl SdHost for AllwinnerSdhost {
    fn power_up(&self) -> Result<()> {
        let registers = self.registers();
        registers.set(GCTL, RESETS)?;
        wait_until(self.registers.vm(), "the controller's reset", || {
            Ok(registers.get(GCTL)? & RESETS == 0)
        })?;
        if registers.get(STAR)? & PRESENT == 0 {
            return Err(Error::failed("SD_STAR says that no card is present"));
        }
        registers.set(GCTL, BY_CPU)?;
        registers.set(CKCR, 1 << 16)?;
        registers.set(IMKR, 0)
    }

    fn command(&self, index: u8, argument: u32, response: Response) -> Result<[u32; 4]> {
        let kind = match response {
            Response::None => 0,
            Response::R1 | Response::R1b => WITH_RESPONSE | CHECK_CRC,
            Response::R2 => WITH_RESPONSE | LONG | CHECK_CRC,
            Response::R3 => WITH_RESPONSE,
        };
        self.issue(index, argument, kind)?;
        let mut words = [0; 4];
        for (number, word) in words.iter_mut().enumerate().take(response.words()) {
            *word = self.registers().get(RESP.nth(number as u64, 4))?;
        }
        match response {
            // Bits 127:0, the lowest eight of them a CRC.
            Response::R2 => {
                let [a, b, c, d] = words;
                Ok([a >> 8 | b << 24, b >> 8 | c << 24, c >> 8 | d << 24, d >> 8])
            }
            _ => Ok(words),
        }
    }

    fn unanswered(&self, index: u8, argument: u32) -> Result<()> {
        let registers = self.registers();
        registers.set(RISR, !0)?;
        registers.set(CAGR, argument)?;
        registers.set(CMDR, u32::from(index) | WITH_RESPONSE | CHECK_CRC | LOAD)?;
        self.await_interrupt(NO_RESPONSE, 0, "the end of a command that nobody answers")
    }

    fn read(&self, argument: u32, into: &mut [u8; BLOCK]) -> Result<()> {
        self.set_up_block()?;
        self.issue(17, argument, WITH_RESPONSE | CHECK_CRC | WITH_DATA)?;
        for word in into.chunks_exact_mut(4) {
            self.await_fifo(EMPTY, "data in the FIFO")?;
            word.copy_from_slice(&self.registers().read32(self.fifo)?.to_le_bytes());
        }
        self.await_interrupt(DATA_COMPLETE, 0, "the read to complete")
    }

    fn write(&self, argument: u32, data: &[u8; BLOCK]) -> Result<()> {
        self.set_up_block()?;
        self.issue(24, argument, WITH_RESPONSE | CHECK_CRC | WITH_DATA | WRITE)?;
        for word in data.as_chunks::<4>().0 {
            self.await_fifo(FULL, "room in the FIFO")?;
            self.registers().write32(self.fifo, u32::from_le_bytes(*word))?;
        }
        self.await_interrupt(DATA_COMPLETE, 0, "the write to complete")
    }
}

impl Produces<SdSlot> for AllwinnerSdhost {
    fn produced(self: Rc<Self>) -> Rc<SdSlot> {
        Rc::new(SdSlot(self))
    }
}

impl Produces<RegisterBlock> for AllwinnerSdhost {
    fn produced(self: Rc<Self>) -> Rc<RegisterBlock> {
        let block = RegisterBlock::new("Allwinner H3 data sheet", self.registers.clone(), TABLE);
        Rc::new(block.with_array(&RESP, 4, 4))
    }
}

impl Discovered for AllwinnerSdhost {
    const QOM_TYPES: &'static [&'static str] = &["allwinner-sdhost"];

    fn plug(device: &FoundDevice) -> Plug {
        slot::of(device)
    }

    fn found(device: &FoundDevice, vm: &Rc<Vm>) -> Result<Self> {
        let registers = Rc::new(Mmio::new(vm, device.base()?, Endian::Little));
        let is_a10 = device.is_a("allwinner-sdhost-sun4i");
        Ok(Self { registers, fifo: if is_a10 { FIFO_OF_A10 } else { FIFO.offset() } })
    }
}

driver!(AllwinnerSdhost = "allwinner-sdhost"; produces SdSlot, RegisterBlock);
discovered!(AllwinnerSdhost);
