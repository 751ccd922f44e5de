//! The registers of Freescale's FEC and ENET (i.MX25 Reference Manual, chapter 29; i.MX 6 Reference
//! Manual, chapter 23). Sections are those of the former.

use crate::qos::registers::{AnyRegister, Fault, Register, Rule};

const fn long(name: &'static str, offset: u64) -> Register<u32> {
    Register::new(name, offset).section("29.5")
}

/// Events.
pub const EIR: Register<u32> = long("EIR", 0x004).reset(0).side_effect();
/// Which events interrupt.
pub const EIMR: Register<u32> =
    long("EIMR", 0x008).reset(0).kept(0x7ff8_0000).reserved(0x8007_ffff);
/// There are empty receive descriptors.
pub const RDAR: Register<u32> = long("RDAR", 0x010).reset(0).side_effect();
/// There are ready transmit descriptors.
pub const TDAR: Register<u32> = long("TDAR", 0x014).reset(0).side_effect();
/// Control: 0 resets it, 1 turns it on.
pub const ECR: Register<u32> = long("ECR", 0x024).reset(0xf000_0000).side_effect();
/// A frame to the PHY.
pub const MMFR: Register<u32> = long("MMFR", 0x040).side_effect();
/// The speed of the PHY's clock.
pub const MSCR: Register<u32> = long("MSCR", 0x044).reset(0).kept(0xfe).reserved(0xffff_ff01);
/// Control of the counters: bit 31 turns them off, bit 30 says that they are idle.
pub const MIBC: Register<u32> = long("MIBC", 0x064).reset(0xc000_0000).side_effect();
/// Receive control.
pub const RCR: Register<u32> =
    long("RCR", 0x084).reset(0x05ee_0001).kept(0x07ff_003f).reserved(0xf800_ffc0);
/// Transmit control: bit 0 stops it gracefully.
pub const TCR: Register<u32> =
    long("TCR", 0x0c4).reset(0).kept(0x04).acts(0x01).reserved(0xffff_fffa);
/// The address's first four bytes.
pub const PALR: Register<u32> = long("PALR", 0x0e4).kept(0xffff_ffff);
/// The address's last two bytes, and the type of a pause frame.
pub const PAUR: Register<u32> = long("PAUR", 0x0e8).kept(0xffff_0000);
/// The opcode and duration of a pause frame.
pub const OPD: Register<u32> = long("OPD", 0x0ec).reset(0x0001_0000).kept(0xffff);
/// The hash table of stations, and of groups, in two halves each.
pub const IAUR: Register<u32> = long("IAUR", 0x118).kept(0xffff_ffff);
/// As [`IAUR`].
pub const IALR: Register<u32> = long("IALR", 0x11c).kept(0xffff_ffff);
/// As [`IAUR`].
pub const GAUR: Register<u32> = long("GAUR", 0x120).kept(0xffff_ffff);
/// As [`IAUR`].
pub const GALR: Register<u32> = long("GALR", 0x124).kept(0xffff_ffff);
/// When transmission begins.
pub const TFWR: Register<u32> = long("TFWR", 0x144).reset(0).kept(0x3).reserved(0xffff_fffc);
/// Where the receive ring is.
pub const RDSR: Register<u32> = long("ERDSR", 0x180).kept(0xffff_fff8).reserved(7);
/// Where the transmit ring is.
pub const TDSR: Register<u32> = long("ETDSR", 0x184).kept(0xffff_fff8).reserved(7);
/// The size of a receive buffer.
pub const MRBR: Register<u32> = long("EMRBR", 0x188).kept(0x7f0).reserved(0xffff_f80f);
/// ENET: what is done to what is received; bit 7 shifts it by two bytes.
pub const RACC: Register<u32> = long("RACC", 0x1c4).reset(0).kept(0xc7).reserved(0xffff_ff38);

/// Those of both.
pub const TABLE: &[&dyn AnyRegister] = &[
    &EIR, &EIMR, &RDAR, &TDAR, &ECR, &MSCR, &MIBC, &RCR, &TCR, &PALR, &PAUR, &OPD, &IAUR, &IALR,
    &GAUR, &GALR, &TFWR, &RDSR, &TDSR, &MRBR,
];

/// Those of the FEC alone: the end of its FIFO, and where reception begins in it.
pub const FEC_TABLE: &[&dyn AnyRegister] = &[
    &long("FRBR", 0x14c).reset(0x600),
    &long("FRSR", 0x150).reset(0x500).kept(0x3fc).reserved(0xffff_f803),
];

const fn threshold(name: &'static str, offset: u64, reset: u64) -> Register<u32> {
    long(name, offset).reset(reset).kept(0xff).reserved(0xffff_ff00)
}

/// Those of the ENET alone: thresholds of its FIFOs, offloads, and its timer.
pub const ENET_TABLE: &[&dyn AnyRegister] = &[
    &threshold("RSFL", 0x190, 0),
    &threshold("RSEM", 0x194, 0),
    &threshold("RAEM", 0x198, 4),
    &threshold("RAFL", 0x19c, 4),
    &threshold("TSEM", 0x1a0, 0),
    &threshold("TAEM", 0x1a4, 4),
    &threshold("TAFL", 0x1a8, 8),
    &long("TIPG", 0x1ac).reset(12).kept(0x1f).values(&[8, 12, 19, 26]),
    &long("FTRL", 0x1b0).reset(0x7ff).kept(0x3fff),
    &long("TACC", 0x1c0).reset(0).kept(0x19).reserved(0xffff_ffe6),
    &RACC,
    &long("ATOFF", 0x408).reset(0).kept(0xffff_ffff),
    &long("ATPER", 0x40c).reset(1_000_000_000).kept(0xffff_ffff),
    &long("ATCOR", 0x410).reset(0).kept(0x7fff_ffff).reserved(1 << 31),
    &long("ATINC", 0x414).reset(0).kept(0x7f7f).reserved(0xffff_8080),
];

/// What QEMU does otherwise.
pub const FAULTS: &[Fault] = &[Fault::new(
    &["IAUR", "IALR", "GAUR", "GALR"],
    &[Rule::Kept],
    "imx.fec: QEMU has no hash tables",
)];

/// What QEMU does otherwise on a ColdFire.
pub const COLDFIRE_FAULTS: &[Fault] = &[
    Fault::new(
        &["ECR", "MIBC"],
        &[Rule::ResetValue, Rule::MachineReset, Rule::SoftwareReset],
        "mcf-fec: ECR and MIBC are zero after a reset",
    ),
    Fault::new(&["EMRBR"], &[Rule::Kept], "mcf-fec: a size of nothing is taken for the largest")
        .bits(0x7f0),
    Fault::new(&["OPD"], &[Rule::Kept], "mcf-fec: the duration of a pause cannot be set"),
];

/// EIR: graceful stop; a frame and a buffer sent; a frame and a buffer received; a PHY's answer.
pub const EIR_STOPPED: u32 = 1 << 28;
/// As [`EIR_STOPPED`].
pub const EIR_SENT: u32 = 1 << 27;
/// As [`EIR_STOPPED`].
pub const EIR_BUFFER_SENT: u32 = 1 << 26;
/// As [`EIR_STOPPED`].
pub const EIR_RECEIVED: u32 = 1 << 25;
/// As [`EIR_STOPPED`].
pub const EIR_BUFFER_RECEIVED: u32 = 1 << 24;
/// As [`EIR_STOPPED`].
pub const EIR_PHY: u32 = 1 << 23;
/// ECR: a reset by software, which clears itself; it is on; descriptors of 32 bytes.
pub const ECR_RESET: u32 = 1 << 0;
/// As [`ECR_RESET`].
pub const ECR_ON: u32 = 1 << 1;
/// As [`ECR_RESET`].
pub const ECR_ENHANCED: u32 = 1 << 4;
/// RDAR and TDAR.
pub const ACTIVE: u32 = 1 << 24;
/// RCR: all stations; no broadcasts; MII; the longest frame, from bit 16 on.
pub const RCR_ALL: u32 = 1 << 3;
/// As [`RCR_ALL`].
pub const RCR_NO_BROADCASTS: u32 = 1 << 4;
/// As [`RCR_ALL`].
pub const RCR_MII: u32 = 1 << 2;
/// TCR: full duplex.
pub const TCR_FULL_DUPLEX: u32 = 1 << 2;

/// Descriptors: ready to be sent, empty to be received into.
pub const OWN: u32 = 1 << 31;
/// Descriptors: the last of a ring.
pub const WRAP: u32 = 1 << 29;
/// Descriptors: the last of a frame.
pub const LAST: u32 = 1 << 27;
/// Transmit descriptor: a check sequence is appended.
pub const APPEND: u32 = 1 << 26;
/// Receive descriptor: not to the own address, a broadcast, a group.
pub const KINDS: u32 = 1 << 24 | 1 << 23 | 1 << 22;
/// Receive descriptor: longer than it may be; cut.
pub const LONG: u32 = 1 << 21;
/// As [`LONG`].
pub const CUT: u32 = 1 << 16;
/// Receive descriptor: every error.
pub const ERRORS: u32 = 0x37 << 16;
/// Descriptors of 32 bytes, third word: checksums are put in, of the IP header and of what it
/// carries; its end is an event, sent, received.
pub const IP_SUM: u32 = 1 << 27;
/// As [`IP_SUM`].
pub const TRANSPORT_SUM: u32 = 1 << 28;
/// As [`IP_SUM`].
pub const SENT_EVENT: u32 = 1 << 30;
/// As [`IP_SUM`].
pub const RECEIVED_EVENT: u32 = 1 << 23;
/// Descriptors of 32 bytes, fifth word: the device is through with it.
pub const UPDATED: u32 = 1 << 31;
