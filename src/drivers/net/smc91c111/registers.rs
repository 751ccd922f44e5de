//! The registers of SMSC's LAN91C111 (data sheet, revision 1.92, whose sections are cited) in four
//! banks. Register `n` of bank `b` is at offset `16 * b + n` here.

use std::rc::Rc;

use crate::Result;
use crate::qos::registers::{
    Access, AnyRegister, Fault, Mmio, Register, Registers, RegistersExt, Rule, Width,
};

/// Bank select, in every bank.
pub const BANK: u64 = 0x0e;

/// Transmit control.
pub const TCR: Register<u16> =
    Register::new("TCR", 0x00).section("8.5").reset(0).kept(0xbd82).acts(0x05).reserved(0x4278);
/// What became of the last frame sent; bit 14 is the link.
pub const EPHSR: Register<u16> =
    Register::new("EPHSR", 0x02).section("8.6").reset(0).undefined(1 << 14);
/// Receive control.
pub const RCR: Register<u16> =
    Register::new("RCR", 0x04).section("8.7").reset(0).kept(0x6206).acts(0x8101).reserved(0x1cf8);
/// Counters of collisions and deferrals; reading clears them.
pub const ECR: Register<u16> = Register::new("ECR", 0x06).section("8.8").reset(0).clears_on_read();
/// The pages of memory, and above them how many of them are free.
pub const MIR: Register<u16> = Register::new("MIR", 0x08).section("8.9").reset(0x0404).read_only();
/// Speed, duplex and lights of the PHY.
pub const RPCR: Register<u16> =
    Register::new("RPCR", 0x0a).section("8.10").reset(0).kept(0x38fc).reserved(0xc703);
/// Configuration; bit 15 turns power on.
pub const CONFIG: Register<u16> = Register::new("CONFIG", 0x10)
    .section("8.11")
    .reset(0xa0b1)
    .kept(0x1600)
    .acts(0x8000)
    .reserved(0x69ff);
/// The address on an ISA bus.
pub const BASE: Register<u16> =
    Register::new("BASE", 0x12).section("8.12").reset(0x1801).side_effect();
/// The station's address, three registers.
pub const IAR: Register<u16> = Register::new("IAR", 0x14).section("8.13").kept(0xffff);
/// General purpose.
pub const GPR: Register<u16> = Register::new("GPR", 0x1a).section("8.14").reset(0).kept(0xffff);
/// Control: bit 11 releases the memory of what was sent.
pub const CTR: Register<u16> = Register::new("CTR", 0x1c)
    .section("8.15")
    .reset(0x1210)
    .kept(0x48e4)
    .acts(0x03)
    .reserved(0xb718);
/// Commands to the MMU.
pub const MMUCR: Register<u16> = Register::new("MMUCR", 0x20).section("8.16").side_effect();
/// The packet that data and commands are about.
pub const PNR: Register<u8> =
    Register::new("PNR", 0x22).section("8.17").reset(0).kept(0x3f).reserved(0xc0);
/// The packet that was allocated, or [`NONE`].
pub const ARR: Register<u8> = Register::new("ARR", 0x23).section("8.17").reset(0x80).read_only();
/// The packet whose transmission ended first, or [`NONE`].
pub const TX_FIFO: Register<u8> =
    Register::new("TX_FIFO", 0x24).section("8.18").reset(0x80).read_only();
/// The packet that was received first, or [`NONE`].
pub const RX_FIFO: Register<u8> =
    Register::new("RX_FIFO", 0x25).section("8.18").reset(0x80).read_only();
/// Where in the packet data is.
pub const PTR: Register<u16> = Register::new("PTR", 0x26)
    .section("8.19")
    .reset(0)
    .kept(0xe7ff)
    .volatile(0x0800)
    .reserved(0x1000);
/// A window into the packet.
pub const DATA: Register<u32> =
    Register::new("DATA", 0x28).section("8.20").read_effect().side_effect();
/// Interrupt status; ones that are written acknowledge.
pub const IST: Register<u8> = Register::new("IST", 0x2c).section("8.21").reset(0x04).side_effect();
/// Interrupt mask.
pub const MSK: Register<u8> = Register::new("MSK", 0x2d).section("8.21").reset(0).kept(0xff);
/// The table of groups by their hash, eight registers.
pub const MT: Register<u8> = Register::new("MT", 0x30).section("8.22").kept(0xff);
/// The pins of the PHY's serial interface.
pub const MGMT: Register<u16> = Register::new("MGMT", 0x38)
    .section("8.23")
    .reset(0x3330)
    .kept(0x4008)
    .acts(0x05)
    .volatile(0x02)
    .reserved(0xbff0);
/// Chip and revision.
pub const REV: Register<u16> =
    Register::new("REV", 0x3a).section("8.24").reset(0x3390).read_only().reserved(0x0f);
/// Early receive: its threshold; bit 7 discards what is being received.
pub const ERCV: Register<u16> = Register::new("ERCV", 0x3c)
    .section("8.25")
    .reset(0x001f)
    .kept(0x1f)
    .acts(0x80)
    .reserved(0xff60);

/// All that are not arrays.
pub const TABLE: &[&dyn AnyRegister] = &[
    &TCR, &EPHSR, &RCR, &ECR, &MIR, &RPCR, &CONFIG, &BASE, &GPR, &CTR, &MMUCR, &PNR, &ARR,
    &TX_FIFO, &RX_FIFO, &PTR, &DATA, &IST, &MSK, &MGMT, &REV, &ERCV,
];

const RESETS: &[Rule] = &[Rule::ResetValue, Rule::MachineReset, Rule::SoftwareReset];

/// What QEMU does otherwise.
pub const FAULTS: &[Fault] = &[
    Fault::new(&["MIR"], RESETS, "smc91c111: MIR tells how many pages are used, not free")
        .bits(0xff00),
    Fault::new(&["ARR"], RESETS, "smc91c111: ARR tells of an allocation that nobody asked for"),
    Fault::new(&["BASE"], RESETS, "smc91c111: there is no base address"),
    Fault::new(
        &["RPCR", "IAR", "MT", "MGMT"],
        &[Rule::Kept],
        "smc91c111: speed and lights, the address, the table of groups and the PHY are not there",
    ),
    Fault::new(
        &["GPR"],
        &[Rule::MachineReset, Rule::SoftwareReset],
        "smc91c111: no reset clears GPR",
    ),
];

/// TCR: full duplex; loops in the PHY's interface; pads short frames; loops; is on.
pub const TCR_FULL_DUPLEX: u16 = 1 << 15;
/// As [`TCR_FULL_DUPLEX`].
pub const TCR_LOOP: u16 = 1 << 13;
/// As [`TCR_FULL_DUPLEX`].
pub const TCR_PADS: u16 = 1 << 7;
/// As [`TCR_FULL_DUPLEX`].
pub const TCR_ON: u16 = 1 << 0;
/// EPHSR: the link is up.
pub const LINK_UP: u16 = 1 << 14;
/// RCR: resets the device; leaves out check sequences; is on; all groups; everything.
pub const RCR_RESET: u16 = 1 << 15;
/// As [`RCR_RESET`].
pub const RCR_STRIPS: u16 = 1 << 9;
/// As [`RCR_RESET`].
pub const RCR_ON: u16 = 1 << 8;
/// As [`RCR_RESET`].
pub const RCR_GROUPS: u16 = 1 << 2;
/// As [`RCR_RESET`].
pub const RCR_ALL: u16 = 1 << 1;
/// CTR: what was sent is released.
pub const CTR_RELEASES: u16 = 1 << 11;
/// ARR and both FIFOs: there is none.
pub const NONE: u8 = 1 << 7;
/// PTR: in the packet received first; it counts up; it is for reading.
pub const PTR_RECEIVED: u16 = 1 << 15;
/// As [`PTR_RECEIVED`].
pub const PTR_COUNTS: u16 = 1 << 14;
/// As [`PTR_RECEIVED`].
pub const PTR_READS: u16 = 1 << 13;
/// IST and MSK: no memory for what came; memory was allocated; all is sent; a frame was sent; a
/// frame is there.
pub const OVERRUN: u8 = 1 << 4;
/// As [`OVERRUN`].
pub const ALLOCATED: u8 = 1 << 3;
/// As [`OVERRUN`].
pub const EMPTY: u8 = 1 << 2;
/// As [`OVERRUN`].
pub const SENT: u8 = 1 << 1;
/// As [`OVERRUN`].
pub const RECEIVED: u8 = 1 << 0;

/// Commands to the MMU (8.16).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mmu {
    /// Allocates a packet.
    Allocate = 1,
    /// Frees all memory and empties all FIFOs.
    Reset = 2,
    /// Takes the first packet from the receive FIFO.
    Remove = 3,
    /// As [`Mmu::Remove`], and frees it.
    RemoveAndRelease = 4,
    /// Frees the packet of PNR.
    Release = 5,
    /// Sends the packet of PNR.
    Enqueue = 6,
    /// Empties both transmit FIFOs.
    ResetTransmit = 7,
}

/// The registers of all banks.
pub struct Banks(pub Rc<Mmio>);

impl Banks {
    fn select(offset: u64) -> Access {
        Access::Write(BANK, Width::Byte, offset >> 4)
    }
}

impl Registers for Banks {
    fn read(&self, offset: u64, width: Width) -> Result<u64> {
        Ok(self.sequence(&[Access::Read(offset, width)])?[0])
    }

    fn write(&self, offset: u64, width: Width, value: u64) -> Result<()> {
        self.sequence(&[Access::Write(offset, width, value)]).map(drop)
    }

    fn sequence(&self, accesses: &[Access]) -> Result<Vec<u64>> {
        let mut bank = None;
        let all: Vec<_> = accesses
            .iter()
            .flat_map(|access| {
                let (offset, access) = match *access {
                    Access::Read(offset, width) => (offset, Access::Read(offset & 0xf, width)),
                    Access::Write(offset, width, value) => {
                        (offset, Access::Write(offset & 0xf, width, value))
                    }
                };
                let changes = bank.replace(offset >> 4) != Some(offset >> 4);
                changes.then(|| Self::select(offset)).into_iter().chain([access])
            })
            .collect();
        self.0.sequence(&all)
    }
}

impl Banks {
    /// Has the MMU do `command`.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    pub fn mmu(&self, command: Mmu) -> Result<()> {
        self.set(MMUCR, (command as u16) << 5)
    }
}
