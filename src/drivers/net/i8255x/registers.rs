//! The control and status registers of Intel's fast Ethernet controllers 8255x: chapter 6 of
//! the 8255x Open Source Software Developer Manual, whose sections are cited.

use std::rc::Rc;

use super::{ACK_SWI, I8255x, MASK_ALL, PORT_SOFTWARE_RESET, SOFTWARE_INTERRUPT};
use crate::graph::Produces;
use crate::qos::registers::{
    AnyRegister, Fault, Register, RegisterBlock, RegistersExt, Rule, Width,
};

/// SCB Status: the states of the command unit (bits 7:6) and the receive unit (5:2).
pub const SCB_STATUS: Register<u8> = Register::new("SCB Status", 0x00).section("6.3.1").reset(0);
/// SCB STAT/ACK: interrupt causes, cleared by writing ones.
pub const SCB_ACK: Register<u8> =
    Register::new("SCB STAT/ACK", 0x01).section("6.3.1").reset(0).w1c(0xfd);
/// SCB Command: the command unit's command in bits 7:4, the receive unit's in 2:0; zero once
/// it is accepted.
pub const SCB_COMMAND: Register<u8> =
    Register::new("SCB Command", 0x02).section("6.3.2").reset(0).side_effect();
/// The command word's upper byte: interrupt masks. Bit 1 raises a software interrupt, and
/// reads as zero.
pub const SCB_MASK: Register<u8> = Register::new("SCB interrupt masks", 0x03)
    .section("6.3.2")
    .reset(0)
    .kept(0xfd)
    .acts(SOFTWARE_INTERRUPT as u64);
/// SCB General Pointer.
pub const SCB_POINTER: Register<u32> =
    Register::new("SCB General Pointer", 0x04).section("6.3.3").reset(0).kept(0xffff_ffff);
/// PORT: resets, self-test, dump; bits 31:4 are an address.
pub const PORT: Register<u32> =
    Register::new("PORT", 0x08).section("6.3.4").write_only().side_effect();
/// EEPROM Control: the pins of the EEPROM, of which bit 3 is its output.
pub const EEPROM_CONTROL: Register<u8> =
    Register::new("EEPROM Control", 0x0e).section("6.3.6").kept(0x07).volatile(0x08).reserved(0xf0);
/// MDI Control. Its Ready bit, which is never cleared by reading, is set unless a transfer
/// is under way.
pub const MDI_CONTROL: Register<u32> =
    Register::new("MDI Control", 0x10).section("6.3.7").side_effect().volatile(0xffff_ffff);

/// General Status: link up, 100 Mb/s, full duplex. It came with the 82558.
pub const GENERAL_STATUS: Register<u8> =
    Register::new("General Status", 0x1d).section("6.3.11").reset(0x07);

/// All registers that all members have.
const TABLE: &[&dyn AnyRegister] = &[
    &SCB_STATUS,
    &SCB_ACK,
    &SCB_COMMAND,
    &SCB_MASK,
    &SCB_POINTER,
    &PORT,
    &EEPROM_CONTROL,
    &MDI_CONTROL,
];

/// What QEMU does otherwise.
const FAULTS: &[Fault] = &[
    Fault::new(
        &["SCB STAT/ACK"],
        &[Rule::SoftwareReset, Rule::MachineReset],
        "causes of QEMU's 8255x outlive a reset, and show at the next write to STAT/ACK",
    ),
    Fault::new(
        &["EEPROM Control"],
        &[Rule::Widths],
        "QEMU's 8255x has EEPROM Control in the wrong byte of a read of 32 bits",
    ),
];

/// What QEMU does otherwise besides, of registers that the 82557 does not have.
const LATER_FAULTS: &[Fault] = &[
    FAULTS[0],
    FAULTS[1],
    Fault::new(
        &["General Status"],
        &[Rule::Widths],
        "QEMU's 8255x has General Status in reads of one byte only",
    ),
];

impl Produces<RegisterBlock> for I8255x {
    fn produced(self: Rc<Self>) -> Rc<RegisterBlock> {
        let sheet = "8255x Open Source Software Developer Manual";
        let block = self
            .plug
            .block(sheet, TABLE)
            .widths(&[Width::Byte, Width::Word, Width::Long])
            .raise(&SCB_ACK, ACK_SWI.into(), |registers| {
                registers.set(SCB_MASK, MASK_ALL | SOFTWARE_INTERRUPT)
            })
            .software_reset(|registers| registers.set(PORT, PORT_SOFTWARE_RESET));
        Rc::new(match self.is_82557() {
            true => block.faults(FAULTS),
            false => block.with(&[&GENERAL_STATUS]).faults(LATER_FAULTS),
        })
    }
}
