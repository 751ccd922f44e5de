//! The registers of Digital's 21143 (21143 PCI/CardBus LAN Controller Hardware Reference Manual,
//! chapter 3).

use crate::qos::registers::{AnyRegister, Register};

/// CSR0: bus mode; bit 0 resets the card, bits 31:25 are ones.
pub const CSR0: Register<u32> = Register::new("CSR0", 0x00)
    .section("3.2.2.1")
    .reset(0xfe00_0000)
    .kept(0x01be_fffe)
    .acts(0x0000_0001)
    .reserved(0xfe41_0000);
/// CSR1: the list of frames to send is to be looked at.
pub const CSR1: Register<u32> =
    Register::new("CSR1", 0x08).section("3.2.2.2").reset(0xffff_ffff).side_effect();
/// CSR2: the list of receive descriptors is to be looked at.
pub const CSR2: Register<u32> =
    Register::new("CSR2", 0x10).section("3.2.2.3").reset(0xffff_ffff).side_effect();
/// CSR3: where the list of receive descriptors is.
pub const CSR3: Register<u32> =
    Register::new("CSR3", 0x18).section("3.2.2.4").kept(0xffff_fffc).reserved(3);
/// CSR4: where the list of transmit descriptors is.
pub const CSR4: Register<u32> =
    Register::new("CSR4", 0x20).section("3.2.2.4").kept(0xffff_fffc).reserved(3);
/// CSR5: status.
pub const CSR5: Register<u32> =
    Register::new("CSR5", 0x28).section("3.2.2.5").reset(0xf000_0000).side_effect();
/// CSR6: what it does.
pub const CSR6: Register<u32> = Register::new("CSR6", 0x30)
    .section("3.2.2.6")
    .reset(0x3200_0040)
    .kept(0xc1fe_dee8 & !0x0010_0000)
    .acts(0x0000_2002)
    .reserved(0x0c11_0115)
    .side_effect();
/// CSR7: which interrupts are enabled.
pub const CSR7: Register<u32> = Register::new("CSR7", 0x38)
    .section("3.2.2.7")
    .reset(0xf3fe_0000)
    .kept(0x0c01_ffff)
    .reserved(0xf3fe_0000);
/// CSR8: frames that were missed, which reading clears.
pub const CSR8: Register<u32> =
    Register::new("CSR8", 0x40).section("3.2.2.8").reset(0xe000_0000).clears_on_read();
/// CSR9: the pins of the EEPROM and of the PHY.
pub const CSR9: Register<u32> =
    Register::new("CSR9", 0x48).section("3.2.2.9").reset(0xfff4_83ff).side_effect();
/// CSR11: the timer.
pub const CSR11: Register<u32> = Register::new("CSR11", 0x58)
    .section("3.2.2.11")
    .reset(0xfffe_0000)
    .kept(0x0001_0000)
    .acts(0xffff)
    .reserved(0xfffe_0000);
/// CSR13, CSR14, CSR15: the serial interface.
pub const CSR13: Register<u32> = Register::new("CSR13", 0x68)
    .section("3.2.2.13")
    .reset(0xffff_0000)
    .kept(0x000d)
    .reserved(0xffff_fff2);
/// As [`CSR13`].
pub const CSR14: Register<u32> = Register::new("CSR14", 0x70)
    .section("3.2.2.14")
    .reset(0xffff_ffff)
    .kept(0xffff)
    .reserved(0xffff_0000);
/// As [`CSR13`].
pub const CSR15: Register<u32> = Register::new("CSR15", 0x78)
    .section("3.2.2.15")
    .reset(0x8ff0_0000)
    .kept(0x3f3f)
    .reserved(0xffff_c0c0);

/// CSR0: resets the card.
pub const CSR0_RESET: u32 = 1;
/// CSR0: longwords between two descriptors, from bit 2 on.
pub const CSR0_SKIP: u32 = 1 << 2;
/// CSR0: descriptors have their highest byte first.
pub const CSR0_BIG_ENDIAN: u32 = 1 << 20;
/// CSR6: frames are received.
pub const CSR6_RECEIVE: u32 = 1 << 1;
/// CSR6: all frames are received.
pub const CSR6_PROMISCUOUS: u32 = 1 << 6;
/// CSR6: all frames to groups are received.
pub const CSR6_ALL_GROUPS: u32 = 1 << 7;
/// CSR6: what is sent comes back, inside the chip.
pub const CSR6_LOOP: u32 = 1 << 10;
/// CSR6: frames are sent.
pub const CSR6_SEND: u32 = 1 << 13;
/// CSR5: a frame was sent.
pub const CSR5_SENT: u32 = 1;
/// CSR5: there is no frame to send.
pub const CSR5_NOTHING_TO_SEND: u32 = 1 << 2;
/// CSR5: a frame was received.
pub const CSR5_RECEIVED: u32 = 1 << 6;
/// CSR5: there was no descriptor for a frame.
pub const CSR5_NO_BUFFER: u32 = 1 << 7;
/// CSR5: the summary of what is abnormal, of what is normal.
pub const CSR5_ABNORMAL: u32 = 1 << 15;
/// As [`CSR5_ABNORMAL`].
pub const CSR5_NORMAL: u32 = 1 << 16;
/// CSR5: the state of the receiver, of the transmitter, and why memory could not be reached.
pub const CSR5_STATES: u32 = 0x1ff << 17;
/// CSR5: bits that are ones.
pub const CSR5_ONES: u32 = 0xf << 28;

/// A descriptor's status: it is the card's.
pub const OWN: u32 = 1 << 31;
/// A descriptor's control: the last segment of a frame, and the first.
pub const LAST: u32 = 1 << 30;
/// The first segment of a frame.
pub const FIRST: u32 = 1 << 29;
/// A descriptor's control: its completion is reported.
pub const REPORT: u32 = 1 << 31;
/// A descriptor's control: its buffer is a setup frame.
pub const SETUP: u32 = 1 << 27;
/// The list begins anew behind this descriptor.
pub const END_OF_RING: u32 = 1 << 25;
/// The second address is that of the next descriptor.
pub const CHAINED: u32 = 1 << 24;
/// A setup frame's control: groups are found by their hash.
pub const HASHED: u32 = 1 << 22;
/// A received frame's status: the address did not match; the address is a group's; it is of a
/// type, not of a length.
pub const FILTER_FAILED: u32 = 1 << 30;
/// As [`FILTER_FAILED`].
pub const TO_GROUP: u32 = 1 << 10;
/// As [`FILTER_FAILED`].
pub const OF_TYPE: u32 = 1 << 5;
/// A received frame's status: the last segment of a frame, and the first.
pub const RECEIVED_LAST: u32 = 1 << 8;
/// As [`RECEIVED_LAST`].
pub const RECEIVED_FIRST: u32 = 1 << 9;
/// A received frame's status: longer than 1,518 bytes.
pub const RECEIVED_LONG: u32 = 1 << 7;

/// All registers that generic tests look at.
pub const TABLE: &[&dyn AnyRegister] = &[
    &CSR0, &CSR1, &CSR2, &CSR3, &CSR4, &CSR5, &CSR6, &CSR7, &CSR8, &CSR9, &CSR11, &CSR13, &CSR14,
    &CSR15,
];
