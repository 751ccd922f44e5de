//! The registers of SMSC's LAN9118 (LAN9118 data sheet, revision 1.5, whose sections are cited).

use crate::qos::registers::{AnyRegister, Fault, Register, Rule};

/// The port of the receive data FIFO.
pub const RX_DATA: Register<u32> =
    Register::new("RX_DATA_FIFO", 0x00).section("5.1").read_effect().side_effect();
/// The port of the transmit data FIFO.
pub const TX_DATA: Register<u32> =
    Register::new("TX_DATA_FIFO", 0x20).section("5.1").write_only().side_effect();
/// The port of the receive status FIFO.
pub const RX_STATUS: Register<u32> =
    Register::new("RX_STATUS_FIFO", 0x40).section("5.1").read_effect().side_effect();
/// The next receive status, without taking it.
pub const RX_STATUS_PEEK: Register<u32> =
    Register::new("RX_STATUS_PEEK", 0x44).section("5.1").volatile(0xffff_ffff).side_effect();
/// The port of the transmit status FIFO.
pub const TX_STATUS: Register<u32> =
    Register::new("TX_STATUS_FIFO", 0x48).section("5.1").read_effect().side_effect();
/// The next transmit status, without taking it.
pub const TX_STATUS_PEEK: Register<u32> =
    Register::new("TX_STATUS_PEEK", 0x4c).section("5.1").volatile(0xffff_ffff).side_effect();
/// Chip and revision.
pub const ID_REV: Register<u32> =
    Register::new("ID_REV", 0x50).section("5.3.1").reset(0x0118_0001).read_only();
/// How it interrupts. A reset by software leaves the type and polarity of the pin.
pub const IRQ_CFG: Register<u32> = Register::new("IRQ_CFG", 0x54)
    .section("5.3.2")
    .reset(0)
    .kept(0xff00_0100)
    .acts(0x11)
    .volatile(0x1000)
    .reserved(0x6000);
/// Interrupt status.
pub const INT_STS: Register<u32> =
    Register::new("INT_STS", 0x58).section("5.3.3").volatile(0xffff_ffff).side_effect();
/// Interrupt enable. The bit of the software interrupt raises it.
pub const INT_EN: Register<u32> = Register::new("INT_EN", 0x5c)
    .section("5.3.4")
    .reset(0)
    .kept(0x03bf_e7df)
    .acts(1 << 31)
    .reserved(0x7c40_1820);
/// A constant that shows the byte order.
pub const BYTE_TEST: Register<u32> =
    Register::new("BYTE_TEST", 0x64).section("5.3.5").reset(0x8765_4321).read_only();
/// The levels of FIFOs at which it interrupts.
pub const FIFO_INT: Register<u32> = Register::new("FIFO_INT", 0x68)
    .section("5.3.6")
    .reset(0x4800_0000)
    .kept(0xffff_00ff)
    .reserved(0xff00);
/// Receive configuration.
pub const RX_CFG: Register<u32> = Register::new("RX_CFG", 0x6c)
    .section("5.3.7")
    .reset(0)
    .kept(0xcfff_1f00)
    .acts(0x8000)
    .reserved(0x3000_60ff);
/// Transmit configuration.
pub const TX_CFG: Register<u32> =
    Register::new("TX_CFG", 0x70).section("5.3.8").reset(0).kept(4).acts(0xc003);
/// Hardware configuration; bit 2 tells the width of the bus.
pub const HW_CFG: Register<u32> =
    Register::new("HW_CFG", 0x74).section("5.3.9").reset(0x0005_0000).reserved(4).side_effect();
/// Receive datapath control: skips the rest of a frame.
pub const RX_DP_CTRL: Register<u32> =
    Register::new("RX_DP_CTRL", 0x78).section("5.3.10").reset(0).side_effect();
/// What is in the receive FIFOs.
pub const RX_FIFO_INF: Register<u32> =
    Register::new("RX_FIFO_INF", 0x7c).section("5.3.11").reset(0).read_only();
/// What is in the transmit FIFOs.
pub const TX_FIFO_INF: Register<u32> =
    Register::new("TX_FIFO_INF", 0x80).section("5.3.12").reset(0x1200).read_only();
/// Power management.
pub const PMT_CTRL: Register<u32> =
    Register::new("PMT_CTRL", 0x84).section("5.3.13").volatile(0xffff_ffff).side_effect();
/// General-purpose pins.
pub const GPIO_CFG: Register<u32> =
    Register::new("GPIO_CFG", 0x88).section("5.3.14").reset(0).kept(0x7777_0718).volatile(7);
/// The timer's first count, in units of 100 µs.
pub const GPT_CFG: Register<u32> =
    Register::new("GPT_CFG", 0x8c).section("5.3.15").reset(0xffff).kept(0xffff).acts(1 << 29);
/// The timer's count.
pub const GPT_CNT: Register<u32> =
    Register::new("GPT_CNT", 0x90).section("5.3.16").reset(0xffff).volatile(0xffff).side_effect();
/// Swaps the halves of words.
pub const WORD_SWAP: Register<u32> =
    Register::new("WORD_SWAP", 0x98).section("5.3.17").reset(0).kept(0xffff_ffff);
/// A count at 25 MHz.
pub const FREE_RUN: Register<u32> =
    Register::new("FREE_RUN", 0x9c).section("5.3.18").volatile(0xffff_ffff).side_effect();
/// How many frames were dropped; reading clears it.
pub const RX_DROP: Register<u32> =
    Register::new("RX_DROP", 0xa0).section("5.3.19").reset(0).read_only();
/// Reads or writes a register of the MAC.
pub const MAC_CMD: Register<u32> =
    Register::new("MAC_CSR_CMD", 0xa4).section("5.3.20").reset(0).side_effect();
/// What is written to or was read from a register of the MAC.
pub const MAC_DATA: Register<u32> =
    Register::new("MAC_CSR_DATA", 0xa8).section("5.3.21").reset(0).kept(0xffff_ffff);
/// Automatic flow control.
pub const AFC_CFG: Register<u32> =
    Register::new("AFC_CFG", 0xac).section("5.3.22").reset(0).kept(0x00ff_ffff);
/// Has the EEPROM do something.
pub const E2P_CMD: Register<u32> =
    Register::new("E2P_CMD", 0xb0).section("5.3.23").volatile(0xffff_ffff).side_effect();
/// What is written to or was read from the EEPROM.
pub const E2P_DATA: Register<u32> = Register::new("E2P_DATA", 0xb4).section("5.3.24").kept(0xff);

/// All registers.
pub const TABLE: &[&dyn AnyRegister] = &[
    &RX_DATA,
    &TX_DATA,
    &RX_STATUS,
    &TX_STATUS,
    &ID_REV,
    &IRQ_CFG,
    &INT_STS,
    &INT_EN,
    &BYTE_TEST,
    &FIFO_INT,
    &RX_CFG,
    &TX_CFG,
    &HW_CFG,
    &RX_DP_CTRL,
    &RX_FIFO_INF,
    &TX_FIFO_INF,
    &PMT_CTRL,
    &GPIO_CFG,
    &GPT_CFG,
    &GPT_CNT,
    &WORD_SWAP,
    &FREE_RUN,
    &RX_DROP,
    &MAC_CMD,
    &MAC_DATA,
    &AFC_CFG,
    &E2P_CMD,
    &E2P_DATA,
];

/// What QEMU does otherwise.
pub const FAULTS: &[Fault] = &[
    Fault::new(
        &["IRQ_CFG"],
        &[Rule::Kept],
        "lan9118: QEMU has no interval in which the interrupt stays deasserted (IRQ_CFG.INT_DEAS)",
    )
    .bits(0xff00_0000),
    Fault::new(
        &["WORD_SWAP"],
        &[Rule::MachineReset, Rule::SoftwareReset],
        "lan9118: no reset clears WORD_SWAP",
    ),
];

/// INT_STS and INT_EN: raised by software.
pub const SOFTWARE: u32 = 1 << 31;
/// The receiver has stopped.
pub const RX_STOPPED: u32 = 1 << 24;
/// A frame with "interrupt on completion" was sent.
pub const TX_COMPLETE: u32 = 1 << 21;
/// The timer has wrapped.
pub const TIMER: u32 = 1 << 19;
/// The PHY.
pub const PHY: u32 = 1 << 18;
/// An error of the receiver, as reading what is not there.
pub const RX_ERROR: u32 = 1 << 14;
/// An error of the transmitter.
pub const TX_ERROR: u32 = 1 << 13;
/// The transmit status FIFO is above its level.
pub const TX_LEVEL: u32 = 1 << 7;
/// A frame was dropped for want of room.
pub const RX_DROPPED: u32 = 1 << 6;
/// The receive status FIFO is above its level.
pub const RX_LEVEL: u32 = 1 << 3;

/// IRQ_CFG: interrupts; active high; push-pull.
pub const IRQ_ON: u32 = 0x111;
/// HW_CFG: a reset by software.
pub const RESET: u32 = 1;
/// TX_CFG: the transmitter is on.
pub const TX_ON: u32 = 2;

/// Registers of the MAC, by number (5.4).
pub const MAC_CR: u32 = 1;
/// The upper two bytes of the address.
pub const ADDRH: u32 = 2;
/// The lower four bytes.
pub const ADDRL: u32 = 3;
/// The upper half of the table of groups.
pub const HASHH: u32 = 4;
/// Its lower half.
pub const HASHL: u32 = 5;
/// The access to the PHY.
pub const MII_ACC: u32 = 6;
/// The data of that access.
pub const MII_DATA: u32 = 7;
/// Flow control.
pub const FLOW: u32 = 8;

/// MAC_CR: all frames are received, those marked that no filter lets in.
pub const RECEIVE_ALL: u32 = 1 << 31;
/// MAC_CR: full duplex.
pub const FULL_DUPLEX: u32 = 1 << 20;
/// MAC_CR: all groups.
pub const ALL_GROUPS: u32 = 1 << 19;
/// MAC_CR: promiscuous.
pub const PROMISCUOUS: u32 = 1 << 18;
/// MAC_CR: addresses other than the own one.
pub const INVERSE: u32 = 1 << 17;
/// MAC_CR: stations by their hash as well.
pub const HASH_ONLY: u32 = 1 << 15;
/// MAC_CR: groups by their hash.
pub const GROUPS_BY_HASH: u32 = 1 << 13;
/// MAC_CR: no broadcasts.
pub const NO_BROADCASTS: u32 = 1 << 11;
/// MAC_CR: the transmitter, the receiver.
pub const SEND: u32 = 1 << 3;
/// MAC_CR: the receiver.
pub const RECEIVE: u32 = 1 << 2;
