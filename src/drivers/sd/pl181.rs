//! The PL181 multimedia card interface (Arm, PrimeCell Multimedia Card Interface technical
//! reference manual, DDI 0205B, chapter 3).

use std::rc::Rc;

use crate::drivers::sd::slot;
use crate::graph::{Discovered, FoundDevice, Plug, Produces};
use crate::qemu::Vm;
use crate::qos::registers::{
    AnyRegister, Fault, Mmio, Register, RegisterBlock, Registers, RegistersExt, Rule,
};
use crate::qos::sd::{BLOCK, Response, SdHost, SdSlot};
use crate::qos::wait_until;
use crate::{Error, Result, discovered, driver};

/// Power: bits 1:0 are all set when the card is powered.
const POWER: Register<u32> = Register::new("MCIPower", 0x00).section("3.3.1").reset(0).kept(0xff);
/// Clock: divider, enable, power saving, bypass.
const CLOCK: Register<u32> = Register::new("MCIClock", 0x04).section("3.3.2").reset(0).kept(0x7ff);
/// Argument of a command.
const ARGUMENT: Register<u32> =
    Register::new("MCIArgument", 0x08).section("3.3.3").reset(0).kept(0xffff_ffff);
/// Command; bit 10 starts it.
const COMMAND: Register<u32> = Register::new("MCICommand", 0x0c)
    .section("3.3.4")
    .reset(0)
    .kept(0x3ff)
    .acts(ENABLE as u64)
    .reserved(0xffff_f800);
/// Number of the command that was answered.
const RESPONSE_COMMAND: Register<u32> =
    Register::new("MCIRespCmd", 0x10).section("3.3.5").reset(0).read_only();
/// Response; the first of four registers has bits 127:96 of a long one, or all of a short one.
const RESPONSE: Register<u32> =
    Register::new("MCIResponse", 0x14).section("3.3.6").reset(0).read_only();
/// How long data may take, in card clocks.
const DATA_TIMER: Register<u32> =
    Register::new("MCIDataTimer", 0x24).section("3.3.7").reset(0).kept(0xffff_ffff);
/// How many bytes are transferred.
const DATA_LENGTH: Register<u32> =
    Register::new("MCIDataLength", 0x28).section("3.3.8").reset(0).kept(0xffff);
/// Data control; bit 0 starts a transfer.
const DATA_CONTROL: Register<u32> = Register::new("MCIDataCtrl", 0x2c)
    .section("3.3.9")
    .reset(0)
    .kept(0xfe)
    .acts(DATA_ENABLE as u64);
/// How many bytes are left.
const DATA_COUNT: Register<u32> =
    Register::new("MCIDataCnt", 0x30).section("3.3.10").reset(0).read_only();
/// Status: flags that Clear clears, and the state of the FIFO.
const STATUS: Register<u32> =
    Register::new("MCIStatus", 0x34).section("3.3.11").reset(0).volatile(0x003f_ffff);
/// Ones clear flags of Status.
const CLEAR: Register<u32> =
    Register::new("MCIClear", 0x38).section("3.3.12").write_only().side_effect();
/// Interrupt masks, one for each of the two lines.
const MASK_0: Register<u32> = Register::new("MCIMask0", 0x3c)
    .section("3.3.13")
    .reset(0)
    .kept(0x3f_ffff)
    .reserved(0xffc0_0000);
const MASK_1: Register<u32> = Register::new("MCIMask1", 0x40)
    .section("3.3.13")
    .reset(0)
    .kept(0x3f_ffff)
    .reserved(0xffc0_0000);
/// How many words are left.
const FIFO_COUNT: Register<u32> =
    Register::new("MCIFifoCnt", 0x48).section("3.3.14").reset(0).read_only();
/// The FIFO.
const FIFO: Register<u32> =
    Register::new("MCIFIFO", 0x80).section("3.3.15").read_effect().side_effect();

/// A byte of the identification.
const fn id(name: &'static str, offset: u64, value: u64) -> Register<u32> {
    Register::new(name, offset).section("3.3.16").reset(value).read_only()
}

/// All registers.
const TABLE: &[&dyn AnyRegister] = &[
    &POWER,
    &CLOCK,
    &ARGUMENT,
    &COMMAND,
    &RESPONSE_COMMAND,
    &DATA_TIMER,
    &DATA_LENGTH,
    &DATA_CONTROL,
    &DATA_COUNT,
    &STATUS,
    &CLEAR,
    &MASK_0,
    &MASK_1,
    &FIFO_COUNT,
    &FIFO,
    &id("MCIPeriphID0", 0xfe0, 0x81),
    &id("MCIPeriphID1", 0xfe4, 0x11),
    &id("MCIPeriphID2", 0xfe8, 0x04),
    &id("MCIPeriphID3", 0xfec, 0x00),
    &id("MCIPCellID0", 0xff0, 0x0d),
    &id("MCIPCellID1", 0xff4, 0xf0),
    &id("MCIPCellID2", 0xff8, 0x05),
    &id("MCIPCellID3", 0xffc, 0xb1),
];

/// What QEMU does otherwise.
const FAULTS: &[Fault] = &[
    Fault::new(
        &["MCIClock"],
        &[Rule::Kept, Rule::MachineReset],
        "MCIClock of QEMU's pl181 has eight bits, and is not reset with the machine",
    ),
    Fault::new(
        &["MCIClock"],
        &[Rule::ReadOnly],
        "MCIClock of QEMU's pl181 has eight bits, and is not reset with the machine",
    ),
];

/// COMMAND: wait for a response.
const WITH_RESPONSE: u32 = 1 << 6;
/// COMMAND: the response is 136 bits long.
const LONG: u32 = 1 << 7;
/// COMMAND: start.
const ENABLE: u32 = 1 << 10;

/// DATA_CONTROL: start.
const DATA_ENABLE: u32 = 1 << 0;
/// DATA_CONTROL: from the card.
const FROM_CARD: u32 = 1 << 1;
/// DATA_CONTROL: the size of a block is two to this power.
const BLOCK_512: u32 = 9 << 4;

/// STATUS: the CRC of a response was wrong; a response of type R3 has none.
const COMMAND_CRC: u32 = 1 << 0;
/// STATUS: no response came.
const COMMAND_TIMEOUT: u32 = 1 << 2;
/// STATUS: a response has come.
const RESPONDED: u32 = 1 << 6;
/// STATUS: a command without response was sent.
const SENT: u32 = 1 << 7;
/// STATUS: all data are through.
const DATA_END: u32 = 1 << 8;
/// STATUS: a block is through.
const BLOCK_END: u32 = 1 << 10;
/// STATUS: flags that stay until they are cleared.
const FLAGS: u32 = 0x7ff;
/// Half of the FIFO, in bytes.
const HALF: usize = 32;

/// STATUS: what it says of the FIFO in one direction.
#[derive(Clone, Copy)]
struct Fifo {
    /// Half of it can be read, or written.
    half: u32,
    /// It is full.
    full: u32,
    /// It is empty.
    empty: u32,
    /// There are data in it.
    available: u32,
    /// All bits of this direction, that of a transfer under way included.
    all: u32,
}

/// From the card.
const RECEIVE: Fifo =
    Fifo { half: 1 << 15, full: 1 << 17, empty: 1 << 19, available: 1 << 21, all: 0x002a_a000 };
/// To the card.
const TRANSMIT: Fifo =
    Fifo { half: 1 << 14, full: 1 << 16, empty: 1 << 18, available: 1 << 20, all: 0x0015_5000 };

/// QEMU's `pl181`.
pub struct Pl181 {
    registers: Rc<Mmio>,
}

impl Pl181 {
    fn registers(&self) -> &dyn Registers {
        &*self.registers
    }

    /// Waits until flags of STATUS are set, sees that no others than `either` are beside them,
    /// and clears them.
    fn await_flags(&self, flags: u32, either: u32, what: &str) -> Result<()> {
        let mut status = 0;
        wait_until(self.registers.vm(), what, || {
            status = self.registers().get(STATUS)? & FLAGS;
            // Any other flag is an error, which would be awaited in vain.
            Ok(status & !either != 0)
        })?;
        if status & !either != flags {
            return Err(Error::failed(format!(
                "the flags of MCIStatus are {status:#x}, not {flags:#x}, waiting for {what}"
            )));
        }
        self.registers().set(CLEAR, FLAGS)?;
        match self.registers().get(STATUS)? & FLAGS {
            0 => Ok(()),
            left => Err(Error::failed(format!("the flags {left:#x} of MCIStatus were cleared"))),
        }
    }

    fn issue(&self, index: u8, argument: u32, response: Response) -> Result<()> {
        let registers = self.registers();
        registers.set(CLEAR, FLAGS)?;
        registers.set(ARGUMENT, argument)?;
        let (kind, flag, either) = match response {
            Response::None => (0, SENT, 0),
            Response::R1 | Response::R1b => (WITH_RESPONSE, RESPONDED, 0),
            Response::R3 => (WITH_RESPONSE, RESPONDED, COMMAND_CRC),
            Response::R2 => (WITH_RESPONSE | LONG, RESPONDED, 0),
        };
        registers.set(COMMAND, u32::from(index) | kind | ENABLE)?;
        // QEMU says after each command that all data are through if there are none.
        let either = either | DATA_END | BLOCK_END;
        self.await_flags(flag, either, &format!("CMD{index} to complete"))
    }

    fn set_up_block(&self) -> Result<()> {
        self.registers().set(DATA_TIMER, !0)?;
        self.registers().set(DATA_LENGTH, BLOCK as u32)
    }

    /// Waits until the FIFO is ready for half of it, in the direction that `bits` are of, and
    /// sees that no other bit of STATUS contradicts that.
    fn await_fifo(&self, bits: Fifo, what: &str) -> Result<()> {
        let mut status = 0;
        wait_until(self.registers.vm(), what, || {
            status = self.registers().get(STATUS)?;
            Ok(status & bits.half != 0)
        })?;
        let state = status & !(DATA_END | BLOCK_END);
        let is_empty = state & bits.empty != 0;
        let is_consistent = state & !bits.all == 0
            && is_empty != (state & bits.available != 0)
            && (state & bits.full == 0 || !is_empty);
        if is_consistent {
            return Ok(());
        }
        Err(Error::failed(format!("MCIStatus is {status:#x}, waiting for {what}")))
    }

    /// Sees that nothing is left to transfer.
    fn end(&self, what: &str) -> Result<()> {
        self.await_flags(DATA_END | BLOCK_END, 0, what)?;
        let (bytes, words) = (self.registers().get(DATA_COUNT)?, self.registers().get(FIFO_COUNT)?);
        if (bytes, words) != (0, 0) {
            return Err(Error::failed(format!("{bytes} bytes and {words} words are left")));
        }
        Ok(())
    }
}

impl SdHost for Pl181 {
    fn power_up(&self) -> Result<()> {
        let registers = self.registers();
        registers.set(DATA_CONTROL, 0)?;
        registers.set(MASK_0, 0)?;
        registers.set(MASK_1, 0)?;
        registers.set(POWER, 0b11)?;
        // Enabled, at a sixteenth of its clock.
        registers.set(CLOCK, 1 << 8 | 7)
    }

    fn command(&self, index: u8, argument: u32, response: Response) -> Result<[u32; 4]> {
        self.issue(index, argument, response)?;
        let mut words = [0; 4];
        for (number, word) in words.iter_mut().enumerate().take(response.words()) {
            *word = self.registers().get(RESPONSE.nth(number as u64, 4))?;
        }
        match response {
            Response::None => Ok([0; 4]),
            Response::R1 | Response::R1b | Response::R3 => Ok([words[0], 0, 0, 0]),
            // Bits 127:0, of which the lowest eight, a CRC, are not shown.
            Response::R2 => {
                let [a, b, c, d] = words;
                Ok([c << 24 | d >> 8, b << 24 | c >> 8, a << 24 | b >> 8, a >> 8])
            }
        }
    }

    fn unanswered(&self, index: u8, argument: u32) -> Result<()> {
        let registers = self.registers();
        registers.set(CLEAR, FLAGS)?;
        registers.set(ARGUMENT, argument)?;
        registers.set(COMMAND, u32::from(index) | WITH_RESPONSE | ENABLE)?;
        let what = "the end of a command that nobody answers";
        self.await_flags(COMMAND_TIMEOUT, DATA_END | BLOCK_END, what)
    }

    fn read(&self, argument: u32, into: &mut [u8; BLOCK]) -> Result<()> {
        self.set_up_block()?;
        self.issue(17, argument, Response::R1)?;
        let registers = self.registers();
        registers.set(DATA_CONTROL, DATA_ENABLE | FROM_CARD | BLOCK_512)?;
        for half in into.chunks_exact_mut(HALF) {
            self.await_fifo(RECEIVE, "data in the FIFO")?;
            for word in half.chunks_exact_mut(4) {
                word.copy_from_slice(&registers.get(FIFO)?.to_le_bytes());
            }
        }
        self.end("the read to complete")
    }

    fn write(&self, argument: u32, data: &[u8; BLOCK]) -> Result<()> {
        self.set_up_block()?;
        self.issue(24, argument, Response::R1)?;
        let registers = self.registers();
        registers.set(DATA_CONTROL, DATA_ENABLE | BLOCK_512)?;
        for half in data.as_chunks::<HALF>().0 {
            self.await_fifo(TRANSMIT, "room in the FIFO")?;
            for word in half.as_chunks::<4>().0 {
                registers.set(FIFO, u32::from_le_bytes(*word))?;
            }
        }
        self.end("the write to complete")
    }
}

impl Produces<SdSlot> for Pl181 {
    fn produced(self: Rc<Self>) -> Rc<SdSlot> {
        Rc::new(SdSlot(self))
    }
}

impl Produces<RegisterBlock> for Pl181 {
    fn produced(self: Rc<Self>) -> Rc<RegisterBlock> {
        let block = RegisterBlock::new("DDI 0205B", self.registers.clone(), TABLE)
            .with_array(&RESPONSE, 4, 4)
            .faults(FAULTS);
        Rc::new(block)
    }
}

impl Discovered for Pl181 {
    const QOM_TYPES: &'static [&'static str] = &["pl181"];

    fn plug(device: &FoundDevice) -> Plug {
        slot::of(device)
    }

    fn found(device: &FoundDevice, vm: &Rc<Vm>) -> Result<Self> {
        Ok(Self { registers: Rc::new(Mmio::new(vm, device.base()?, vm.endian()?)) })
    }
}

driver!(Pl181 = "pl181"; produces SdSlot, RegisterBlock);
discovered!(Pl181);
