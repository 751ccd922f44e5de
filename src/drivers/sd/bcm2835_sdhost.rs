//! The SDHOST controller of the BCM2835 family, the second one beside its SDHCI (the register
//! names are those of Broadcom's driver; no data sheet is public).

use std::rc::Rc;

use crate::drivers::sd::slot;
use crate::graph::{Discovered, FoundDevice, Plug, Produces};
use crate::protocol::Endian;
use crate::qemu::Vm;
use crate::qos::registers::{
    AnyRegister, Fault, Mmio, Register, RegisterBlock, Registers, RegistersExt, Rule,
};
use crate::qos::sd::{BLOCK, Response, SdHost, SdSlot};
use crate::qos::wait_until;
use crate::{Error, Result, discovered, driver};

/// Command; bit 15 starts it.
const CMD: Register<u32> =
    Register::new("SDCMD", 0x00).reset(0).kept(0x0eff).acts(NEW as u64).reserved(0xffff_7100);
/// Argument.
const ARG: Register<u32> = Register::new("SDARG", 0x04).reset(0).kept(0xffff_ffff);
/// Timeout.
const TOUT: Register<u32> = Register::new("SDTOUT", 0x08).kept(0xffff_ffff);
/// Clock divider.
const CDIV: Register<u32> = Register::new("SDCDIV", 0x0c).kept(0x7ff).reserved(0xffff_f800);
/// Response, the lowest of four words first.
const RSP: Register<u32> = Register::new("SDRSP", 0x10).reset(0).read_only();
/// Status.
const HSTS: Register<u32> =
    Register::new("SDHSTS", 0x20).reset(0).w1c(0x7f8).volatile(DATA_FLAG as u64);
/// Power.
const VDD: Register<u32> = Register::new("SDVDD", 0x30).kept(1).reserved(0xffff_fffe);
/// State of the controller, and thresholds.
const EDM: Register<u32> = Register::new("SDEDM", 0x34)
    .reset(0xc60f)
    .volatile(0x1ff)
    .undefined(0xf)
    .kept(0x0007_fe00)
    .reserved(0xfff8_0000);
/// Configuration.
const HCFG: Register<u32> =
    Register::new("SDHCFG", 0x38).reset(0).kept(0x53f).reserved(0xffff_fac0);
/// Bytes of a block.
const HBCT: Register<u32> = Register::new("SDHBCT", 0x3c).reset(0).kept(0xffff_ffff);
/// Data.
const DATA: Register<u32> = Register::new("SDDATA", 0x40).read_effect().side_effect();
/// Number of blocks.
const HBLC: Register<u32> =
    Register::new("SDHBLC", 0x50).reset(0).volatile(0x1ff).reserved(0xffff_fe00).side_effect();

/// All registers.
const TABLE: &[&dyn AnyRegister] =
    &[&CMD, &ARG, &TOUT, &CDIV, &HSTS, &VDD, &EDM, &HCFG, &HBCT, &DATA, &HBLC];

/// What QEMU does otherwise.
const FAULTS: &[Fault] = &[Fault::new(
    &["SDARG", "SDTOUT", "SDCDIV", "SDHCFG"],
    &[Rule::Kept],
    "QEMU's bcm2835-sdhost does not show SDARG, SDTOUT, SDCDIV and SDHCFG",
)];

/// CMD: start.
const NEW: u32 = 1 << 15;
/// CMD: it failed.
const FAIL: u32 = 1 << 14;
/// CMD: the card may be busy afterwards.
const BUSY: u32 = 1 << 11;
/// CMD: no response.
const NO_RESPONSE: u32 = 1 << 10;
/// CMD: 136 bits of response.
const LONG: u32 = 1 << 9;
/// CMD: data to the card.
const WRITE: u32 = 1 << 7;
/// CMD: data from the card.
const READ: u32 = 1 << 6;

/// HSTS: there are data.
const DATA_FLAG: u32 = 1 << 0;
/// HSTS: no response came.
const COMMAND_TIMEOUT: u32 = 1 << 6;

/// EDM: how many words are in the FIFO.
fn level(edm: u32) -> u32 {
    edm >> 4 & 0x1f
}
/// EDM: the state in which data are awaited and none is under way.
const DATA_MODE: u32 = 1;
/// EDM: at how many words in the FIFO data are asked for, to read and to write.
const THRESHOLDS: u32 = 4 << 14 | 4 << 9;
/// How many words the FIFO has.
const FIFO: u32 = 16;

/// The pins of the board's card, and the function of them that is this controller (BCM2835 ARM
/// Peripherals, section 6.2, table 6-31: SD0, ALT0).
const PINS: std::ops::RangeInclusive<u64> = 48..=53;
const ALT0: u32 = 0b100;

/// QEMU's `bcm2835-sdhost`.
pub struct Bcm2835Sdhost {
    registers: Rc<Mmio>,
    /// The pins' controller, if there is one.
    pins: Option<Mmio>,
}

impl Bcm2835Sdhost {
    fn registers(&self) -> &dyn Registers {
        &*self.registers
    }

    /// Connects the card to this controller, where it is connected to the other one before.
    fn connect(&self) -> Result<()> {
        let Some(pins) = &self.pins else { return Ok(()) };
        for pin in PINS {
            let (offset, shift) = (pin / 10 * 4, pin % 10 * 3);
            let functions = pins.read32(offset)?;
            pins.write32(offset, functions & !(0b111 << shift) | ALT0 << shift)?;
        }
        Ok(())
    }

    /// Runs a command; returns what SDCMD and SDHSTS say of it.
    fn run(&self, index: u8, argument: u32, kind: u32) -> Result<(u32, u32)> {
        let registers = self.registers();
        registers.set(HSTS, 0x7f8 | DATA_FLAG)?;
        registers.set(ARG, argument)?;
        registers.set(CMD, u32::from(index) | kind | NEW)?;
        let what = format!("CMD{index} to complete");
        let mut command = 0;
        wait_until(self.registers.vm(), &what, || {
            command = registers.get(CMD)?;
            Ok(command & NEW == 0)
        })?;
        Ok((command, registers.get(HSTS)?))
    }

    fn issue(&self, index: u8, argument: u32, kind: u32) -> Result<()> {
        let (command, status) = self.run(index, argument, kind)?;
        if command != u32::from(index) | kind || status & !DATA_FLAG != 0 {
            return Err(Error::failed(format!(
                "CMD{index}: SDCMD is {command:#x}, SDHSTS {status:#x}"
            )));
        }
        Ok(())
    }

    fn set_up_block(&self) -> Result<()> {
        self.registers().set(HBCT, BLOCK as u32)?;
        self.registers().set(HBLC, 1)
    }

    /// Waits until so many words can be read or written as `count` makes of how many are in the
    /// FIFO, and returns that. Its thresholds stay as they were set.
    fn await_level(&self, what: &str, count: impl Fn(u32) -> u32) -> Result<usize> {
        let mut words = 0;
        wait_until(self.registers.vm(), what, || {
            let state = self.registers().get(EDM)?;
            if state & !0x1ff != THRESHOLDS || level(state) > FIFO {
                return Err(Error::failed(format!("SDEDM is {state:#x}, waiting for {what}")));
            }
            words = count(level(state));
            Ok(words != 0)
        })?;
        Ok(words as usize)
    }

    /// Sees that all data are through.
    fn end(&self, what: &str) -> Result<()> {
        wait_until(self.registers.vm(), what, || {
            Ok(self.registers().get(EDM)? == THRESHOLDS | DATA_MODE)
        })?;
        match self.registers().get(HSTS)? & !DATA_FLAG {
            0 => Ok(()),
            other => Err(Error::failed(format!("SDHSTS is {other:#x}, waiting for {what}"))),
        }
    }
}

impl SdHost for Bcm2835Sdhost {
    fn power_up(&self) -> Result<()> {
        self.connect()?;
        let registers = self.registers();
        registers.set(VDD, 1)?;
        registers.set(HCFG, 0)?;
        registers.set(HBCT, 0)?;
        registers.set(HBLC, 0)?;
        registers.set(EDM, THRESHOLDS | DATA_MODE)
    }

    fn command(&self, index: u8, argument: u32, response: Response) -> Result<[u32; 4]> {
        let kind = match response {
            Response::None => NO_RESPONSE,
            Response::R1 | Response::R3 => 0,
            Response::R1b => BUSY,
            Response::R2 => LONG,
        };
        self.issue(index, argument, kind)?;
        let mut words = [0; 4];
        for (number, word) in words.iter_mut().enumerate().take(response.words()) {
            *word = self.registers().get(RSP.nth(number as u64, 4))?;
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
        let (command, status) = self.run(index, argument, 0)?;
        if command != FAIL | u32::from(index) || status & !DATA_FLAG != COMMAND_TIMEOUT {
            return Err(Error::failed(format!(
                "nobody answered CMD{index}: SDCMD is {command:#x}, SDHSTS {status:#x}"
            )));
        }
        self.registers().set(HSTS, COMMAND_TIMEOUT)?;
        match self.registers().get(HSTS)? & !DATA_FLAG {
            0 => Ok(()),
            left => Err(Error::failed(format!("SDHSTS is {left:#x}, cleared"))),
        }
    }

    fn read(&self, argument: u32, into: &mut [u8; BLOCK]) -> Result<()> {
        self.set_up_block()?;
        self.issue(17, argument, READ)?;
        let mut words = into.chunks_exact_mut(4);
        while words.len() > 0 {
            let ready = self.await_level("data in the FIFO", |level| level)?;
            for word in words.by_ref().take(ready) {
                word.copy_from_slice(&self.registers().get(DATA)?.to_le_bytes());
            }
        }
        self.end("the read to complete")
    }

    fn write(&self, argument: u32, data: &[u8; BLOCK]) -> Result<()> {
        self.set_up_block()?;
        self.issue(24, argument, WRITE)?;
        let mut words = data.as_chunks::<4>().0.iter();
        while words.len() > 0 {
            let ready = self.await_level("room in the FIFO", |level| FIFO - level)?;
            for word in words.by_ref().take(ready) {
                self.registers().set(DATA, u32::from_le_bytes(*word))?;
            }
        }
        self.end("the write to complete")
    }
}

impl Produces<SdSlot> for Bcm2835Sdhost {
    fn produced(self: Rc<Self>) -> Rc<SdSlot> {
        Rc::new(SdSlot(self))
    }
}

impl Produces<RegisterBlock> for Bcm2835Sdhost {
    fn produced(self: Rc<Self>) -> Rc<RegisterBlock> {
        let block = RegisterBlock::new("BCM2835 SDHOST", self.registers.clone(), TABLE)
            .with_array(&RSP, 4, 4)
            .faults(FAULTS);
        Rc::new(block)
    }
}

impl Discovered for Bcm2835Sdhost {
    const QOM_TYPES: &'static [&'static str] = &["bcm2835-sdhost"];

    fn plug(device: &FoundDevice) -> Plug {
        slot::of(device)
    }

    fn found(device: &FoundDevice, vm: &Rc<Vm>) -> Result<Self> {
        let mmio = |base| Mmio::new(vm, base, Endian::Little);
        let mut pins = device.machine().devices_of("bcm2835_gpio");
        let pins = pins.next().and_then(|pins| pins.registers().next().map(|it| mmio(it.base)));
        Ok(Self { registers: Rc::new(mmio(device.base()?)), pins })
    }
}

driver!(Bcm2835Sdhost = "bcm2835-sdhost"; produces SdSlot, RegisterBlock);
discovered!(Bcm2835Sdhost);
