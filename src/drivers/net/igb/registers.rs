//! The registers of Intel's 82576 (82576EB Gigabit Ethernet Controller Datasheet, chapter 8, whose
//! sections are cited). Queues, pools of virtual functions and vectors have one each of some.

use crate::drivers::net::e1000;
use crate::qos::registers::{AnyRegister, Fault, Register, Rule};

/// How many queues there are in each direction.
pub const QUEUES: u64 = 16;
/// How far the registers of a queue are from those of the next, in bytes.
pub const QUEUE_STRIDE: u64 = 0x40;
/// How many pools, or virtual functions, there are.
pub const POOLS: u64 = 8;
/// How many vectors of MSI-X the physical function has; virtual ones have fifteen more.
pub const VECTORS: u16 = 10;

/// A register of which every bit is kept or reserved.
const fn whole(name: &'static str, offset: u64, section: &'static str, kept: u64) -> Register<u32> {
    let reserved = !kept & 0xffff_ffff;
    Register::new(name, offset).section(section).reset(0).kept(kept).reserved(reserved)
}

/// Device Control: speed and duplex mode, forced or not, flow control, tags; resets.
pub const CTRL: Register<u32> = Register::new("CTRL", 0x0000)
    .section("8.2.1")
    .kept(CTRL_KEPT)
    .acts(CTRL_ACTS)
    .volatile(0b11 << 27)
    .reserved(!(CTRL_KEPT | CTRL_ACTS | 0b11 << 27) & 0xffff_ffff);
const CTRL_KEPT: u64 = 1 << 6 | 0b11 << 8 | 0b11 << 11 | 1 << 20 | 1 << 30;
const CTRL_ACTS: u64 = 1 << 26 | 1 << 29 | 1 << 31;
/// Device Status: full duplex at 1000 Mb/s, the PHY was reset, requests are enabled. Whether the
/// link is up depends on when that is asked.
pub const STATUS: Register<u32> = Register::new("STATUS", 0x0008)
    .section("8.2.2")
    .reset(0x8008_0481)
    .acts(1 << 10)
    .volatile(1 << 1);
/// VLAN Ether Type, of the inner and of the outer tag.
pub const VET: Register<u32> =
    Register::new("VET", 0x0038).section("8.2.7").reset(0x8100_8100).kept(0xffff_ffff);
/// LED Control.
pub const LEDCTL: Register<u32> = e1000::LEDCTL.section("8.2.9");
/// Flow Control Transmit Timer Value.
pub const FCTTV: Register<u32> = e1000::FCTTV.section("8.5").reset(0);
/// Flow Control Receive Threshold Low.
pub const FCRTL: Register<u32> = whole("FCRTL0", 0x2160, "8.5", 0x8000_fff0);
/// Flow Control Receive Threshold High.
pub const FCRTH: Register<u32> = whole("FCRTH0", 0x2168, "8.5", 0xfff0);
/// Receive Packet Buffer Size in KiB.
pub const RXPBS: Register<u32> = Register::new("RXPBS", 0x2404)
    .section("8.3")
    .reset(0x40)
    .kept(0x7f)
    .reserved(0xffff_ff80)
    .survives_software_reset();
/// Transmit Packet Buffer Size in KiB.
pub const TXPBS: Register<u32> = Register::new("TXPBS", 0x3404)
    .section("8.3")
    .reset(0x28)
    .kept(0x3f)
    .reserved(0xffff_ffc0)
    .survives_software_reset();

/// Extended Interrupt Cause: a bit for each vector of MSI-X, or for each queue without.
pub const EICR: Register<u32> = Register::new("EICR", 0x1580)
    .section("8.8.1")
    .reset(0)
    .w1c(0x4000_ffff)
    .reserved(0xbfff_0000)
    .clears_on_read();
/// Extended Interrupt Cause Set.
pub const EICS: Register<u32> =
    Register::new("EICS", 0x1520).section("8.8.2").write_only().side_effect();
/// Extended Interrupt Mask Set/Read, without MSI-X: queues, timer, other causes.
pub const EIMS: Register<u32> = Register::new("EIMS", 0x1524)
    .section("8.8.3")
    .reset(0)
    .w1s(0xc000_ffff)
    .reserved(0x3fff_0000)
    .cleared_through(EIMC);
/// Extended Interrupt Mask Clear.
pub const EIMC: Register<u32> =
    Register::new("EIMC", 0x1528).section("8.8.4").write_only().side_effect();
/// Extended Interrupt Automatic Clear, with MSI-X.
pub const EIAC: Register<u32> =
    Register::new("EIAC", 0x152c).section("8.8.5").reset(0).side_effect();
/// Extended Interrupt Automatic Mask.
pub const EIAM: Register<u32> = whole("EIAM", 0x1530, "8.8.6", 0xc000_ffff);
/// Interrupt Acknowledge Automatic Mask: causes that are masked when ICR is read or written.
pub const IAM: Register<u32> = Register::new("IAM", 0x00e0)
    .section("8.8.11")
    .reset(0)
    .kept(CAUSES)
    .reserved(!CAUSES & 0xffff_ffff);
/// General Purpose Interrupt Enable.
pub const GPIE: Register<u32> = whole("GPIE", 0x1514, "8.8.15", 0xc000_0f90);
/// Interrupt Throttling of vector 0; the next of 25 is four bytes further. In units of 1 µs from
/// bit 2 on.
pub const EITR: Register<u32> = Register::new("EITR", 0x1680)
    .section("8.8.12")
    .reset(0)
    .kept(0x7ffc)
    .volatile(0x7fff_0000)
    .acts(1 << 31)
    .reserved(0x8003)
    .survives_software_reset();
/// Interrupt Vector Allocation: in each byte a vector, valid or not, of queue N to receive, of N
/// to send, of N + 8 to receive and of N + 8 to send.
pub const IVAR: Register<u32> = whole("IVAR", 0x1700, "8.8.13", 0x9f9f_9f9f).undefined(0x1f1f_1f1f);
/// The vectors of the TCP timer and of other causes.
pub const IVAR_MISC: Register<u32> = whole("IVAR_MISC", 0x1740, "8.8.14", 0x9f9f).undefined(0x1f1f);

/// Receive Control.
pub const RCTL: Register<u32> = Register::new("RCTL", 0x0100)
    .section("8.10.1")
    .reset(0)
    .kept(0x04df_b0fc)
    .acts(e1000::RCTL_EN as u64)
    .reserved(0xfb20_4f01);
/// Receive Checksum Control: checks are on after a reset.
pub const RXCSUM: Register<u32> =
    Register::new("RXCSUM", 0x5000).section("8.10").reset(0x300).kept(0x3bff).reserved(0xffff_c400);
/// Receive Long Packet Maximum Length, in bytes.
pub const RLPML: Register<u32> =
    Register::new("RLPML", 0x5004).section("8.10").reset(0x2600).kept(0x3fff).reserved(0xffff_c000);
/// Receive Filter Control.
pub const RFCTL: Register<u32> = whole("RFCTL", 0x5008, "8.10", 0x4_4fc0);
/// Split and Replication Receive Control of queue 0: sizes of buffers, kind of descriptors.
pub const SRRCTL: Register<u32> = Register::new("SRRCTL", 0xc00c)
    .section("8.10.2")
    .reset(0)
    .undefined(0x3f00)
    .kept(0x8ff0_3f7f)
    .reserved(0x700f_c080);
/// Receive Descriptor Base Address Low of queue 0.
pub const RDBAL: Register<u32> =
    Register::new("RDBAL", 0xc000).section("8.10.5").kept(0xffff_ff80).reserved(0x7f);
/// Receive Descriptor Base Address High of queue 0.
pub const RDBAH: Register<u32> = Register::new("RDBAH", 0xc004).section("8.10.6").kept(0xffff_ffff);
/// Receive Descriptor Length of queue 0, in bytes, a multiple of 128.
pub const RDLEN: Register<u32> = whole("RDLEN", 0xc008, "8.10.7", 0xf_ff80);
/// Receive Descriptor Head of queue 0.
pub const RDH: Register<u32> =
    Register::new("RDH", 0xc010).section("8.10.8").reset(0).volatile(0xffff);
/// Receive Descriptor Tail of queue 0.
pub const RDT: Register<u32> = whole("RDT", 0xc018, "8.10.9", 0xffff);
/// Receive Descriptor Control of queue 0, which is enabled after a reset; the others are not.
pub const RXDCTL: Register<u32> = queue_control("RXDCTL", 0xc028, "8.10.10").reset(0x1_0000);
/// Multiple Receive Queues Command: whether and by what queues are chosen.
pub const MRQC: Register<u32> = whole("MRQC", 0x5818, "8.10", 0x01ff_0007);
/// Redirection Table, four entries of four bits in each of 32.
pub const RETA: Register<u32> =
    Register::new("RETA", 0x5c00).section("8.10").kept(0x0f0f_0f0f).reserved(0xf0f0_f0f0);
/// Random Key of the hash, ten words.
pub const RSSRK: Register<u32> = Register::new("RSSRK", 0x5c80).section("8.10").kept(0xffff_ffff);
/// Receive Address High: of the 8254x, with the pools that take the frame.
pub const RAH: Register<u32> = Register::new("RAH", 0x5404)
    .section("8.10")
    .reset(0)
    .undefined(0x3_ffff)
    .kept(0x83ff_ffff)
    .reserved(0x7c00_0000);
/// The address low and high of entry 16 and of those behind it.
pub const RAL16: Register<u32> = Register::new("RAL16", 0x54e0).section("8.10").kept(0xffff_ffff);
/// As [`RAL16`].
pub const RAH16: Register<u32> = Register::new("RAH16", 0x54e4)
    .section("8.10")
    .reset(0)
    .undefined(0x3_ffff)
    .kept(0x83ff_ffff)
    .reserved(0x7c00_0000);
/// Ethertype Queue Filter, eight of them.
pub const ETQF: Register<u32> = whole("ETQF", 0x5cb0, "8.11", 0xe407_ffff);

/// Transmit Control: pads, with 15 collisions and a back-off of 64 bytes.
pub const TCTL: Register<u32> = Register::new("TCTL", 0x0400)
    .section("8.12.1")
    .reset(0xf8)
    .undefined(0xfffc_0000)
    .kept(0x1_0ff8 | 0x3e_f000)
    .acts(e1000::TCTL_EN as u64 | 1 << 22)
    .reserved(0xff80_0005);
/// Transmit Inter Packet Gap.
pub const TIPG: Register<u32> = Register::new("TIPG", 0x0410)
    .section("8.12.3")
    .reset(0x0060_1008)
    .kept(0x3fff_ffff)
    .reserved(0xc000_0000);
/// Transmit Descriptor Base Address Low of queue 0.
pub const TDBAL: Register<u32> =
    Register::new("TDBAL", 0xe000).section("8.12").kept(0xffff_ff80).reserved(0x7f);
/// Transmit Descriptor Base Address High of queue 0.
pub const TDBAH: Register<u32> = Register::new("TDBAH", 0xe004).section("8.12").kept(0xffff_ffff);
/// Transmit Descriptor Length of queue 0, in bytes, a multiple of 128.
pub const TDLEN: Register<u32> = whole("TDLEN", 0xe008, "8.12", 0xf_ff80);
/// Transmit Descriptor Head of queue 0.
pub const TDH: Register<u32> =
    Register::new("TDH", 0xe010).section("8.12").reset(0).volatile(0xffff);
/// Transmit Descriptor Tail of queue 0.
pub const TDT: Register<u32> = whole("TDT", 0xe018, "8.12", 0xffff);
/// Transmit Descriptor Control of queue 0, which is enabled after a reset; the others are not.
pub const TXDCTL: Register<u32> = queue_control("TXDCTL", 0xe028, "8.12").reset(0);
/// Transmit Descriptor Write-Back Address Low of queue 0; bit 0 has the head written there instead
/// of descriptors.
pub const TDWBAL: Register<u32> = whole("TDWBAL", 0xe038, "8.12", 0xffff_fffd);
/// Transmit Descriptor Write-Back Address High of queue 0.
pub const TDWBAH: Register<u32> = whole("TDWBAH", 0xe03c, "8.12", 0xffff_ffff);

/// Queue Drop Enable.
pub const QDE: Register<u32> = whole("QDE", 0x2408, "8.14", 0xffff);
/// DMA Transmit Switch Control: anti-spoofing, and whether pools reach each other.
pub const DTXSWC: Register<u32> = whole("DTXSWC", 0x3500, "8.14", 0x80ff_ffff);
/// VMDq Control: the default pool.
pub const VT_CTL: Register<u32> = whole("VT_CTL", 0x581c, "8.14", 0x7000_0380);
/// Virtual functions that receive.
pub const VFRE: Register<u32> = whole("VFRE", 0x0c8c, "8.14", 0xff).reset(0xff);
/// Virtual functions that send.
pub const VFTE: Register<u32> = whole("VFTE", 0x0c90, "8.14", 0xff).reset(0xff);
/// Which virtual functions' messages are a cause.
pub const MBVFIMR: Register<u32> = whole("MBVFIMR", 0x0c84, "8.14", 0xff).reset(0xff);
/// Which virtual functions wrote a message, and which acknowledged one.
pub const MBVFICR: Register<u32> =
    Register::new("MBVFICR", 0x0c80).section("8.14").reset(0).w1c(0xff_00ff).reserved(0xff00_ff00);
/// Which virtual functions were reset.
pub const VFLRE: Register<u32> =
    Register::new("VFLRE", 0x0c88).section("8.14").reset(0).w1c(0xff).reserved(0xffff_ff00);
/// The mailbox of virtual function 0 as the physical one sees it.
pub const P2VMAILBOX: Register<u32> =
    Register::new("P2VMAILBOX", 0x0c00).section("8.14").reset(0).volatile(0x1f).side_effect();
/// The memory of mailboxes, sixteen words for each of eight.
pub const VMBMEM: Register<u32> = Register::new("VMBMEM", 0x0800).section("8.14").kept(0xffff_ffff);
/// Offloads of pool 0.
pub const VMOLR: Register<u32> = Register::new("VMOLR", 0x5ad0)
    .section("8.14")
    .reset(0x8000_2600)
    .kept(0xdf03_3fff)
    .reserved(0x20fc_c000);
/// The pools of a VLAN, 32 of them.
pub const VLVF: Register<u32> = Register::new("VLVF", 0x5d00)
    .section("8.14")
    .reset(0)
    .undefined(0x1f_ffff)
    .kept(0x801f_ffff)
    .reserved(0x7fe0_0000);
/// The tag that pool 0 always has, never or as its descriptors say.
pub const VMVIR: Register<u32> = whole("VMVIR", 0x3700, "8.14", 0xc000_ffff);

/// The control register of a queue: thresholds, and whether it is enabled.
const fn queue_control(name: &'static str, offset: u64, section: &'static str) -> Register<u32> {
    Register::new(name, offset)
        .section(section)
        .kept(0x1f_1f1f)
        .acts(QUEUE_ENABLE as u64 | 1 << 26)
        .reserved(0xf9e0_e0e0)
}

/// RXDCTL, TXDCTL: the queue is enabled.
pub const QUEUE_ENABLE: u32 = 1 << 25;
/// SRRCTL: advanced descriptors with one buffer, or with one for the header too, always or if it
/// is known.
pub const ONE_BUFFER: u32 = 1 << 25;
/// As [`ONE_BUFFER`].
pub const SPLIT: u32 = 2 << 25;
/// As [`ONE_BUFFER`].
pub const SPLIT_ALWAYS: u32 = 5 << 25;
/// IVAR: the vector is valid.
pub const VALID: u32 = 1 << 7;
/// GPIE: causes are vectors' of MSI-X.
pub const MULTIPLE_MSIX: u32 = 1 << 4;

/// All registers but arrays and those of queue 0 that differ.
pub(super) const TABLE: &[&dyn AnyRegister] = &[
    &CTRL,
    &STATUS,
    &e1000::EERD,
    &e1000::MDIC,
    &VET,
    &LEDCTL,
    &FCTTV,
    &FCRTL,
    &FCRTH,
    &RXPBS,
    &TXPBS,
    &ICR,
    &e1000::ICS,
    &IMS,
    &e1000::IMC,
    &EICR,
    &EICS,
    &EIMS,
    &EIMC,
    &EIAC,
    &EIAM,
    &IAM,
    &GPIE,
    &IVAR_MISC,
    &RCTL,
    &RXCSUM,
    &RLPML,
    &RFCTL,
    &MRQC,
    &TCTL,
    &TIPG,
    &QDE,
    &DTXSWC,
    &VT_CTL,
    &VFRE,
    &VFTE,
    &MBVFIMR,
    &MBVFICR,
    &VFLRE,
    &e1000::MPC,
    &e1000::GPRC,
    &e1000::BPRC,
    &e1000::MPRC,
    &e1000::GPTC,
    &e1000::ROC,
    &WUFC,
];

/// Wakeup Filter Control.
const WUFC: Register<u32> = whole("WUFC", 0x5808, "8.20", 0xf_00ff);

/// Interrupt Cause Read: reading clears it, and writing ones clears those.
pub const ICR: Register<u32> = Register::new("ICR", 0x00c0)
    .section("8.8.7")
    .reset(0)
    .w1c(CAUSES)
    .volatile(1 << 31)
    .reserved(!(CAUSES | 1 << 31) & 0xffff_ffff)
    .clears_on_read();
/// The causes that have a meaning, but for that the interrupt is asserted.
pub const CAUSES: u64 = 0x57d4_79f5;
/// Interrupt Mask Set/Read.
pub const IMS: Register<u32> = Register::new("IMS", 0x00d0)
    .section("8.8.9")
    .reset(0)
    .w1s(CAUSES)
    .reserved(!CAUSES & 0xffff_ffff)
    .cleared_through(e1000::IMC);

/// The registers of which there is one for each queue.
pub(super) const OF_QUEUES: &[&dyn AnyRegister] = &[
    &SRRCTL, &RDBAL, &RDBAH, &RDLEN, &RDH, &RDT, &RXDCTL, &TDBAL, &TDBAH, &TDLEN, &TDH, &TDT,
    &TXDCTL, &TDWBAL, &TDWBAH,
];

/// Other arrays: the first, how many, and how far the next is, in bytes.
pub(super) const ARRAYS: &[(&dyn AnyRegister, u64, u64)] = &[
    (&e1000::MTA, 128, 4),
    (&e1000::VFTA, 128, 4),
    (&e1000::RAL0, 16, 8),
    (&RAH, 16, 8),
    (&RAL16, 8, 8),
    (&RAH16, 8, 8),
    (&RETA, 32, 4),
    (&RSSRK, 10, 4),
    (&ETQF, 8, 4),
    (&EITR, 25, 4),
    (&IVAR, 8, 4),
    (&P2VMAILBOX, POOLS, 4),
    (&VMBMEM, 128, 4),
    (&VMOLR, POOLS, 4),
    (&VLVF, 32, 4),
    (&VMVIR, POOLS, 4),
];

/// What QEMU does otherwise.
pub(super) const FAULTS: &[Fault] = &[
    Fault::new(
        &["EIAM"],
        &[Rule::Kept, Rule::ReadOnly, Rule::Neighbours],
        "igb: EIAM keeps the complement of what is written, and bits once set",
    ),
    Fault::new(
        &["EITR"],
        &[Rule::ResetValue, Rule::MachineReset],
        "igb: a reset leaves EITR as it reads",
    ),
    Fault::new(&["EIMS"], &[Rule::WriteOneToSet], "igb: EIMS does not take bit 31, other causes")
        .bits(1 << 31),
];
