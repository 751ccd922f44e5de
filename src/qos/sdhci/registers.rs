//! What the SD Host Controller Simplified Specification 3.00 declares of its registers, whose
//! sections are cited, and the block of them that the generic suite takes.

use std::rc::Rc;

use super::{Profile, Sdhci, Vendor};
use crate::Result;
use crate::graph::Produces;
use crate::qos::registers::{
    AnyRegister, Fault, Register, RegisterBlock, Registers, RegistersExt, Rule, Width,
};

/// SDMA System Address / Argument 2.
pub const SDMA_SYSTEM_ADDRESS: Register<u32> =
    Register::new("SDMA System Address", 0x00).section("2.2.1").reset(0).kept(0xffff_ffff);
/// Block Size: Transfer Block Size in bits 11:0, which takes no more than the controller's
/// buffer has, and Host SDMA Buffer Boundary in bits 14:12.
pub const BLOCK_SIZE: Register<u16> =
    Register::new("Block Size", 0x04).section("2.2.2").reset(0).kept(0x7fff).values(&[
        0, 1, 2, 4, 8, 0x10, 0x20, 0x40, 0x80, 0x100, 0x200, 0x1ff, 0x71ff, 0x1200, 0x2001,
    ]);
/// Block Count.
pub const BLOCK_COUNT: Register<u16> =
    Register::new("Block Count", 0x06).section("2.2.3").reset(0).kept(0xffff);
/// Argument 1.
pub const ARGUMENT: Register<u32> =
    Register::new("Argument", 0x08).section("2.2.4").reset(0).kept(0xffff_ffff);
/// Transfer Mode. DMA is left out, which not all controllers have, and what came with 3.00.
pub const TRANSFER_MODE: Register<u16> =
    Register::new("Transfer Mode", 0x0c).section("2.2.5").reset(0).kept(0x36).reserved(0x09);
/// Command.
pub const COMMAND: Register<u16> =
    Register::new("Command", 0x0e).section("2.2.6").reset(0).side_effect();
/// Response, four registers.
pub const RESPONSE: Register<u32> =
    Register::new("Response", 0x10).section("2.2.7").reset(0).read_only();
/// Buffer Data Port.
pub const BUFFER_DATA_PORT: Register<u32> =
    Register::new("Buffer Data Port", 0x20).section("2.2.8").read_effect().side_effect();
/// Present State. What is known after a reset is that nothing is under way.
pub const PRESENT_STATE: Register<u32> =
    Register::new("Present State", 0x24).section("2.2.9").reset(0).undefined(0xffff_f0f0);
/// Host Control 1. The bits of the card detect test change what the controller sees.
pub const HOST_CONTROL_1: Register<u8> =
    Register::new("Host Control 1", 0x28).section("2.2.10").reset(0).kept(0x1f).reserved(0xe0);
/// Power Control. Without a card the power stays off.
pub const POWER_CONTROL: Register<u8> =
    Register::new("Power Control", 0x29).section("2.2.11").reset(0).kept(0x0e).acts(0x01);
/// Block Gap Control.
pub const BLOCK_GAP_CONTROL: Register<u8> =
    Register::new("Block Gap Control", 0x2a).section("2.2.12").reset(0).kept(0x0c).acts(0x03);
/// Wakeup Control.
pub const WAKEUP_CONTROL: Register<u8> =
    Register::new("Wakeup Control", 0x2b).section("2.2.13").reset(0).kept(0x07);
/// Clock Control. Bits 7:3 came with 3.00.
pub const CLOCK_CONTROL: Register<u16> = Register::new("Clock Control", 0x2c)
    .section("2.2.14")
    .reset(0)
    .kept(0xff00)
    .acts(0x0005)
    .volatile(0x0002)
    .reserved(0x00f8);
/// Timeout Control.
pub const TIMEOUT_CONTROL: Register<u8> =
    Register::new("Timeout Control", 0x2e).section("2.2.15").reset(0).kept(0x0f);
/// Software Reset.
pub const SOFTWARE_RESET: Register<u8> =
    Register::new("Software Reset", 0x2f).section("2.2.16").reset(0).side_effect();
/// Normal Interrupt Status. Bit 8 is the card's to clear, bit 15 that of the errors.
pub const NORMAL_INTERRUPT_STATUS: Register<u16> = Register::new("Normal Interrupt Status", 0x30)
    .section("2.2.17")
    .reset(0)
    .w1c(0x00ff)
    .volatile(0x8100)
    .reserved(0x7e00);
/// Error Interrupt Status.
pub const ERROR_INTERRUPT_STATUS: Register<u16> = Register::new("Error Interrupt Status", 0x32)
    .section("2.2.18")
    .reset(0)
    .w1c(ERRORS)
    .reserved(0xfc00);
/// Normal Interrupt Status Enable.
pub const NORMAL_INTERRUPT_STATUS_ENABLE: Register<u16> =
    enable("Normal Interrupt Status Enable", 0x34, "2.2.19", 0x01ff, 0x7e00);
/// Error Interrupt Status Enable.
pub const ERROR_INTERRUPT_STATUS_ENABLE: Register<u16> =
    enable("Error Interrupt Status Enable", 0x36, "2.2.20", ERRORS, 0xfc00);
/// Normal Interrupt Signal Enable.
pub const NORMAL_INTERRUPT_SIGNAL_ENABLE: Register<u16> =
    enable("Normal Interrupt Signal Enable", 0x38, "2.2.21", 0x01ff, 0x7e00);
/// Error Interrupt Signal Enable.
pub const ERROR_INTERRUPT_SIGNAL_ENABLE: Register<u16> =
    enable("Error Interrupt Signal Enable", 0x3a, "2.2.22", ERRORS, 0xfc00);
/// Auto CMD Error Status.
pub const AUTO_CMD_ERROR_STATUS: Register<u16> =
    Register::new("Auto CMD Error Status", 0x3c).section("2.2.23").reset(0);
/// Capabilities.
pub const CAPABILITIES: Register<u64> =
    Register::new("Capabilities", 0x40).section("2.2.25").read_only();
/// Force Event Register for Error Interrupt Status.
pub const FORCE_EVENT_ERROR: Register<u16> = Register::new("Force Event for Error Status", 0x52)
    .section("2.2.28")
    .write_only()
    .side_effect();
/// ADMA Error Status: the state in bits 1:0, a length that does not match in bit 2.
pub const ADMA_ERROR_STATUS: Register<u8> =
    Register::new("ADMA Error Status", 0x54).section("2.2.29").reset(0);
/// ADMA System Address.
pub const ADMA_SYSTEM_ADDRESS: Register<u64> =
    Register::new("ADMA System Address", 0x58).section("2.2.30").reset(0).kept(!0);
/// Slot Interrupt Status.
pub const SLOT_INTERRUPT_STATUS: Register<u16> =
    Register::new("Slot Interrupt Status", 0xfc).section("2.2.33").reset(0).volatile(0x00ff);
/// Host Controller Version: the specification's in the low byte, the vendor's above.
pub const HOST_CONTROLLER_VERSION: Register<u16> =
    Register::new("Host Controller Version", 0xfe).section("2.2.34").read_only();

/// The uSDHC's Mixer Control (i.MX 6 reference manual, chapter 67): it holds the transfer mode.
pub const USDHC_MIX_CTRL: Register<u32> = Register::new("Mixer Control", 0x48).side_effect();

/// The errors that specification 2.00 has.
const ERRORS: u64 = 0x03ff;

/// A register of enable bits, some of which came with later specifications.
const fn enable(
    name: &'static str,
    offset: u64,
    section: &'static str,
    kept: u64,
    later: u64,
) -> Register<u16> {
    Register::new(name, offset).section(section).reset(0).kept(kept).reserved(later)
}

/// Registers that are the same in all controllers.
const TABLE: &[&dyn AnyRegister] = &[
    &SDMA_SYSTEM_ADDRESS,
    &BLOCK_COUNT,
    &ARGUMENT,
    &COMMAND,
    &BUFFER_DATA_PORT,
    &PRESENT_STATE,
    &CLOCK_CONTROL,
    &TIMEOUT_CONTROL,
    &SOFTWARE_RESET,
    &NORMAL_INTERRUPT_STATUS,
    &ERROR_INTERRUPT_STATUS,
    &NORMAL_INTERRUPT_STATUS_ENABLE,
    &ERROR_INTERRUPT_STATUS_ENABLE,
    &NORMAL_INTERRUPT_SIGNAL_ENABLE,
    &ERROR_INTERRUPT_SIGNAL_ENABLE,
    &AUTO_CMD_ERROR_STATUS,
    &ADMA_ERROR_STATUS,
    &ADMA_SYSTEM_ADDRESS,
    &SLOT_INTERRUPT_STATUS,
];

/// Registers that the uSDHC has otherwise, or not at all.
const STANDARD: &[&dyn AnyRegister] = &[
    &BLOCK_SIZE,
    &TRANSFER_MODE,
    &HOST_CONTROL_1,
    &POWER_CONTROL,
    &BLOCK_GAP_CONTROL,
    &WAKEUP_CONTROL,
    &FORCE_EVENT_ERROR,
];

/// What QEMU does otherwise.
const FAULTS: &[Fault] = &[
    Fault::new(
        &["Block Size"],
        &[Rule::Kept, Rule::Widths],
        "QEMU's SDHCI loses the SDMA buffer boundary",
    )
    .bits(0x7000)
    .before(7, 2),
    Fault::new(
        &["Timeout Control", "Power Control", "Wakeup Control"],
        &[Rule::ReadOnly],
        "QEMU's SDHCI keeps reserved bits of Timeout, Power and Wakeup Control",
    )
    .bits(0xf8),
    Fault::new(
        &["Normal Interrupt Status Enable", "Normal Interrupt Signal Enable"],
        &[Rule::ReadOnly],
        "QEMU's SDHCI keeps bit 15 of the normal interrupt enables, which is fixed to 0",
    )
    .bits(0x8000),
    Fault::new(
        &["Block Gap Control"],
        &[Rule::Kept],
        "QEMU's SDHCI keeps no bit of Block Gap Control",
    ),
    Fault::new(
        &["Auto CMD Error Status", "ADMA Error Status"],
        &[Rule::ReadOnly],
        "QEMU's SDHCI lets the guest write Auto CMD Error Status and ADMA Error Status",
    ),
];

/// The registers of a controller, which may be behind anything.
struct Through(Rc<dyn Sdhci>);

impl Registers for Through {
    fn read(&self, offset: u64, width: Width) -> Result<u64> {
        self.0.registers().read(offset, width)
    }

    fn write(&self, offset: u64, width: Width, value: u64) -> Result<()> {
        self.0.registers().write(offset, width, value)
    }

    fn sequence(&self, accesses: &[crate::qos::registers::Access]) -> Result<Vec<u64>> {
        self.0.registers().sequence(accesses)
    }
}

/// The registers whose values depend on the controller.
fn own(block: RegisterBlock, known: &Profile) -> RegisterBlock {
    let version = match known.versions {
        [one] => HOST_CONTROLLER_VERSION.reset((*one).into()).undefined(0xff00),
        _ => HOST_CONTROLLER_VERSION,
    };
    block.with(&[&CAPABILITIES.reset(known.capabilities), &version])
}

impl Produces<RegisterBlock> for dyn Sdhci {
    fn produced(self: Rc<Self>) -> Rc<RegisterBlock> {
        let known = self.profile();
        let sheet = "SD Host Controller Simplified Specification 3.00";
        let through = Rc::new(Through(self.clone()));
        let mut block = RegisterBlock::new(sheet, through.clone(), TABLE)
            .with_array(&RESPONSE, 4, 4)
            .widths(&[Width::Byte, Width::Word, Width::Long])
            .software_reset(|registers| {
                registers.set(SOFTWARE_RESET, super::RESET_FOR_ALL)?;
                match registers.get(SOFTWARE_RESET)? {
                    0 => Ok(()),
                    value => Err(crate::Error::failed(format!(
                        "Software Reset is still {value:#x} after a reset for all"
                    ))),
                }
            })
            .faults(FAULTS);
        block = own(block, &known);
        if known.vendor == Vendor::Standard {
            block = block.with(STANDARD).raise(&ERROR_INTERRUPT_STATUS, ERRORS, |registers| {
                registers.set(ERROR_INTERRUPT_STATUS_ENABLE, ERRORS as u16)?;
                registers.set(FORCE_EVENT_ERROR, ERRORS as u16)
            });
        }
        block = block.attach(move || self.found_again().unwrap_or(Ok(through.clone())));
        Rc::new(block)
    }
}
