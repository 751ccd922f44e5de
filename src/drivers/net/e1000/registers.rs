//! The registers of Intel's gigabit controllers 8254x: chapter 13 of the PCI/PCI-X Family of
//! Gigabit Ethernet Controllers Software Developer's Manual, whose sections are cited.

use std::rc::Rc;

use super::E1000;
use crate::Error;
use crate::graph::Produces;
use crate::qos::registers::{AnyRegister, Fault, Register, RegisterBlock, RegistersExt, Rule};

/// Device Control.
pub const CTRL: Register<u32> = Register::new("CTRL", 0x0000)
    .section("13.4.1")
    .kept(CTRL_KEPT)
    .acts(CTRL_RST as u64 | 1 << 31)
    .reserved(!(CTRL_KEPT | CTRL_RST as u64 | 1 << 31) & 0xffff_ffff);
/// Flow control, speed and duplex, which move nothing while there is no link partner.
const CTRL_KEPT: u64 = 1 << 5 | 0b11 << 8 | 0b11 << 11 | 0b11 << 27 | 1 << 30;
/// Device Status, never zero: QEMU's link is up from the start, with full duplex at 1000 Mb/s.
pub const STATUS: Register<u32> =
    Register::new("STATUS", 0x0008).section("13.4.2").reset(0x83).undefined(0xffff_ff3c);
/// EEPROM/Flash Control & Data: the pins of the EEPROM. The grant follows the request.
pub const EECD: Register<u32> = Register::new("EECD", 0x0010)
    .section("13.4.3")
    .reset(1 << 8)
    .undefined(0x2b8)
    .kept(0b111)
    .acts(0b111 << 4)
    .volatile(1 << 3 | 1 << 7)
    .reserved(0xffff_fc00);
/// EEPROM Read.
pub const EERD: Register<u32> = Register::new("EERD", 0x0014).section("13.4.4").side_effect();
/// MDI Control: reaches the PHY's registers.
pub const MDIC: Register<u32> = Register::new("MDIC", 0x0020).section("13.4.7").side_effect();
/// Flow Control Address Low.
pub const FCAL: Register<u32> = plain("FCAL", 0x0028, "13.4.8", u32::MAX);
/// Flow Control Address High.
pub const FCAH: Register<u32> = plain("FCAH", 0x002c, "13.4.9", 0xffff);
/// Flow Control Type.
pub const FCT: Register<u32> = plain("FCT", 0x0030, "13.4.10", 0xffff);
/// VLAN Ether Type.
pub const VET: Register<u32> = plain("VET", 0x0038, "13.4.11", 0xffff);
/// Interrupt Cause Read: reading clears it, and writing ones clears those.
pub const ICR: Register<u32> = Register::new("ICR", 0x00c0)
    .section("13.4.17")
    .reset(0)
    .w1c(CAUSES)
    .reserved(!CAUSES & 0xffff_ffff)
    .clears_on_read();
/// Interrupt Throttling.
pub const ITR: Register<u32> = plain("ITR", 0x00c4, "13.4.18", 0xffff).reset(0);
/// Interrupt Cause Set.
pub const ICS: Register<u32> =
    Register::new("ICS", 0x00c8).section("13.4.19").write_only().side_effect();
/// Interrupt Mask Set/Read.
pub const IMS: Register<u32> = Register::new("IMS", 0x00d0)
    .section("13.4.20")
    .reset(0)
    .w1s(CAUSES)
    .reserved(!CAUSES & 0xffff_ffff)
    .cleared_through(IMC);
/// Interrupt Mask Clear.
pub const IMC: Register<u32> =
    Register::new("IMC", 0x00d8).section("13.4.21").write_only().side_effect();
/// Receive Control.
pub const RCTL: Register<u32> = Register::new("RCTL", 0x0100)
    .section("13.4.22")
    .reset(0)
    .kept(0x06df_b3fc)
    .acts(RCTL_EN as u64)
    .reserved(0xf920_4c01);
/// Flow Control Transmit Timer Value.
pub const FCTTV: Register<u32> = plain("FCTTV", 0x0170, "13.4.12", 0xffff);
/// Transmit Control. SWXOFF sends a frame.
pub const TCTL: Register<u32> = Register::new("TCTL", 0x0400)
    .section("13.4.33")
    .reset(0)
    .kept(0x013f_fff8)
    .acts(TCTL_EN as u64 | 1 << 22)
    .reserved(0xfe80_0005);
/// Transmit Inter Packet Gap.
pub const TIPG: Register<u32> = plain("TIPG", 0x0410, "13.4.34", 0x3fff_ffff);
/// LED Control: link, activity and so on, and which way they blink.
pub const LEDCTL: Register<u32> = Register::new("LEDCTL", 0x0e00)
    .section("13.4.15")
    .reset(0x0706_8302)
    .kept(0xcfcf_cfcf)
    .reserved(0x3030_3030);
/// Packet Buffer Allocation: KiB for receiving; the rest of 64 KiB is for transmitting.
pub const PBA: Register<u32> = Register::new("PBA", 0x1000)
    .section("13.4.16")
    .reset(0x0010_0030)
    .acts(0x7f)
    .volatile(0x7f << 16)
    .reserved(0xff80_ff80);
/// Flow Control Receive Threshold Low.
pub const FCRTL: Register<u32> = Register::new("FCRTL", 0x2160)
    .section("13.4.23")
    .reset(0)
    .kept(0x8000_fff8)
    .reserved(0x7fff_0000);
/// Flow Control Receive Threshold High.
pub const FCRTH: Register<u32> =
    Register::new("FCRTH", 0x2168).section("13.4.24").reset(0).kept(0xfff8).reserved(0xffff_0000);
/// Receive Descriptor Base Address Low.
pub const RDBAL: Register<u32> =
    Register::new("RDBAL", 0x2800).section("13.4.25").undefined(!0xf).kept(0xffff_fff0);
/// Receive Descriptor Base Address High.
pub const RDBAH: Register<u32> = plain("RDBAH", 0x2804, "13.4.26", u32::MAX);
/// Receive Descriptor Length, in bytes, a multiple of 128.
pub const RDLEN: Register<u32> =
    Register::new("RDLEN", 0x2808).section("13.4.27").reset(0).kept(0xf_ff80).reserved(0xfff0_0000);
/// Receive Descriptor Head.
pub const RDH: Register<u32> = plain("RDH", 0x2810, "13.4.28", 0xffff).reset(0);
/// Receive Descriptor Tail.
pub const RDT: Register<u32> = plain("RDT", 0x2818, "13.4.29", 0xffff).reset(0);
/// Receive Delay Timer. Bit 31 flushes what waits.
pub const RDTR: Register<u32> = Register::new("RDTR", 0x2820)
    .section("13.4.30")
    .reset(0)
    .kept(0xffff)
    .acts(1 << 31)
    .reserved(0x7fff_0000);
/// Receive Interrupt Absolute Delay Timer.
pub const RADV: Register<u32> = plain("RADV", 0x282c, "13.4.31", 0xffff).reset(0);
/// Transmit Descriptor Base Address Low.
pub const TDBAL: Register<u32> =
    Register::new("TDBAL", 0x3800).section("13.4.35").undefined(!0xf).kept(0xffff_fff0);
/// Transmit Descriptor Base Address High.
pub const TDBAH: Register<u32> = plain("TDBAH", 0x3804, "13.4.36", u32::MAX);
/// Transmit Descriptor Length, in bytes, a multiple of 128.
pub const TDLEN: Register<u32> =
    Register::new("TDLEN", 0x3808).section("13.4.37").reset(0).kept(0xf_ff80).reserved(0xfff0_0000);
/// Transmit Descriptor Head.
pub const TDH: Register<u32> = plain("TDH", 0x3810, "13.4.38", 0xffff).reset(0);
/// Transmit Descriptor Tail.
pub const TDT: Register<u32> = plain("TDT", 0x3818, "13.4.39", 0xffff).reset(0);
/// Transmit Interrupt Delay Value.
pub const TIDV: Register<u32> = plain("TIDV", 0x3820, "13.4.40", 0xffff);
/// Transmit Absolute Interrupt Delay Value.
pub const TADV: Register<u32> = plain("TADV", 0x382c, "13.4", 0xffff);
/// Receive Checksum Control.
pub const RXCSUM: Register<u32> =
    Register::new("RXCSUM", 0x5000).section("13.4").reset(0).kept(0x3ff).reserved(0xffff_fc00);
/// Multicast Table Array, 128 registers.
pub const MTA: Register<u32> = plain("MTA", 0x5200, "13.5.1", u32::MAX);
/// Receive Address Low 0; the next of 16 is eight bytes further.
pub const RAL0: Register<u32> = plain("RAL", 0x5400, "13.5.2", u32::MAX);
/// Receive Address High 0, as for [`RAL0`]. None but the first is valid after a reset.
pub const RAH0: Register<u32> = Register::new("RAH", 0x5404)
    .section("13.5.3")
    .reset(0)
    .undefined(0x3_ffff)
    .kept(0x8003_ffff)
    .reserved(0x7ffc_0000);
/// VLAN Filter Table Array, 128 registers.
pub const VFTA: Register<u32> = plain("VFTA", 0x5600, "13.5.4", u32::MAX);
/// Wakeup Filter Control.
pub const WUFC: Register<u32> =
    Register::new("WUFC", 0x5808).section("13.6.2").reset(0).kept(0xf_00ff).reserved(0xfff0_ff00);

/// Device Control: resets the device.
pub const CTRL_RST: u32 = 1 << 26;

/// RAH: the address is valid.
pub const RAH_AV: u32 = 1 << 31;

/// Interrupt cause: transmit descriptor written back.
pub const ICR_TXDW: u32 = 1 << 0;
/// Interrupt cause: transmit queue empty.
pub const ICR_TXQE: u32 = 1 << 1;
/// Interrupt cause: link status change.
pub const ICR_LSC: u32 = 1 << 2;
/// Interrupt cause: receive descriptors become few.
pub const ICR_RXDMT0: u32 = 1 << 4;
/// Interrupt cause: receiver overrun.
pub const ICR_RXO: u32 = 1 << 6;
/// Interrupt cause: receiver timer, that is a frame received.
pub const ICR_RXT0: u32 = 1 << 7;
/// The causes that all members know; above them is what only later ones have.
pub const ICR_CAUSES: u32 = 0x1_ffff;
/// The causes that have a meaning.
const CAUSES: u64 = 0x1_f6df;

/// RCTL: the receiver is on.
pub const RCTL_EN: u32 = 1 << 1;
/// RCTL: unicast promiscuous, every station's frames are received.
pub const RCTL_UPE: u32 = 1 << 3;
/// RCTL: multicast promiscuous.
pub const RCTL_MPE: u32 = 1 << 4;
/// RCTL: long packets, over 1522 bytes, are received.
pub const RCTL_LPE: u32 = 1 << 5;
/// RCTL: broadcast accept.
pub const RCTL_BAM: u32 = 1 << 15;
/// RCTL: buffers are of 256 bytes; of 2048 without.
pub const RCTL_BSIZE_256: u32 = 3 << 16;
/// RCTL: strip the frame check sequence from what is received.
pub const RCTL_SECRC: u32 = 1 << 26;
/// TCTL: the transmitter is on.
pub const TCTL_EN: u32 = 1 << 1;
/// TCTL: pad short packets.
pub const TCTL_PSP: u32 = 1 << 3;

/// EEPROM Read: start the read.
pub const EERD_START: u32 = 1 << 0;
/// EEPROM Read: it is done.
pub const EERD_DONE: u32 = 1 << 4;

/// Missed packets.
pub const MPC: Register<u32> = counter("MPC", 0x4010);
/// Good packets received.
pub const GPRC: Register<u32> = counter("GPRC", 0x4074);
/// Good broadcast packets received.
pub const BPRC: Register<u32> = counter("BPRC", 0x4078);
/// Good multicast packets received.
pub const MPRC: Register<u32> = counter("MPRC", 0x407c);
/// Good packets transmitted.
pub const GPTC: Register<u32> = counter("GPTC", 0x4080);
/// Oversize packets received.
pub const ROC: Register<u32> = counter("ROC", 0x40ac);

/// A register that keeps the bits of `kept`, is reserved above, and has no reset value.
const fn plain(name: &'static str, offset: u64, section: &'static str, kept: u32) -> Register<u32> {
    let kept = kept as u64;
    Register::new(name, offset).section(section).kept(kept).reserved(!kept & 0xffff_ffff)
}

/// A statistic, cleared by reading.
const fn counter(name: &'static str, offset: u64) -> Register<u32> {
    Register::new(name, offset).section("13.7").reset(0).clears_on_read()
}

/// All registers but the arrays.
const TABLE: &[&dyn AnyRegister] = &[
    &CTRL, &STATUS, &EECD, &EERD, &MDIC, &FCAL, &FCAH, &FCT, &VET, &ICR, &ITR, &ICS, &IMS, &IMC,
    &RCTL, &FCTTV, &TCTL, &TIPG, &LEDCTL, &PBA, &FCRTL, &FCRTH, &RDBAL, &RDBAH, &RDLEN, &RDH, &RDT,
    &RDTR, &RADV, &TDBAL, &TDBAH, &TDLEN, &TDH, &TDT, &TIDV, &TADV, &RXCSUM, &WUFC, &MPC, &GPRC,
    &BPRC, &MPRC, &GPTC, &ROC,
];

/// What QEMU does otherwise.
const FAULTS: &[Fault] = &[
    Fault::new(
        &["FCAL", "FCAH", "FCT", "FCTTV", "FCRTL", "FCRTH", "TIPG", "RXCSUM", "TIDV"],
        &[Rule::Kept],
        "QEMU's e1000 has no flow control, gap, receive checksum and TIDV registers to be read",
    ),
    Fault::new(
        &["RDBAL", "TDBAL"],
        &[Rule::Kept, Rule::ReadOnly],
        "QEMU's e1000 keeps the low bits of a ring's base",
    )
    .bits(0xf),
    Fault::new(
        &["LEDCTL"],
        &[Rule::ResetValue, Rule::MachineReset],
        "QEMU's e1000 resets LEDCTL to 0x602",
    ),
    Fault::new(&["EECD"], &[Rule::MachineReset], "QEMU's e1000 does not reset EECD").bits(0b111),
    Fault::new(&[], &[Rule::SoftwareReset], "CTRL.RST resets no register of QEMU's e1000"),
];

impl Produces<RegisterBlock> for E1000 {
    fn produced(self: Rc<Self>) -> Rc<RegisterBlock> {
        let mac = crate::qos::net::MAC;
        let low = u32::from_le_bytes([mac[0], mac[1], mac[2], mac[3]]).into();
        let high = u64::from(u16::from_le_bytes([mac[4], mac[5]])) | u64::from(RAH_AV);
        let sheet = "PCI/PCI-X Family of Gigabit Ethernet Controllers Software Developer's Manual";
        let block = self
            .plug
            .block(sheet, TABLE)
            .with_array(&MTA, 128, 4)
            .with_array(&VFTA, 128, 4)
            .with_array(&RAL0, 16, 8)
            .with_array(&RAH0, 16, 8)
            .replace(&RAL0.reset(low))
            .replace(&RAH0.reset(high).undefined(0))
            .raise(&ICR, CAUSES, |registers| registers.set(ICS, CAUSES as u32))
            .software_reset(|registers| {
                registers.set(CTRL, CTRL_RST)?;
                match registers.get(CTRL)? & CTRL_RST {
                    0 => Ok(()),
                    _ => Err(Error::failed("CTRL.RST is still set after a reset")),
                }
            })
            .faults(FAULTS);
        Rc::new(block)
    }
}
