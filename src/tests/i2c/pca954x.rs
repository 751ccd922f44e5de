//! Multiplexers: which channels of an I2C bus are reached, by the control register.

use std::rc::Rc;

use crate::drivers::i2c::pca954x::{Pca954x, Pca9546, Pca9548};
use crate::graph::QemuArgs;
use crate::qemu::Vm;
use crate::qos::reset;
use crate::{Error, Result, tests};

/// EEPROMs: two at one address in the first two channels, one at another in the fourth.
const EEPROMS: QemuArgs = QemuArgs::NONE.after(
    "-device at24c-eeprom,bus=i2c.0,address=0x51,rom-size=4096 \
     -device at24c-eeprom,bus=i2c.1,address=0x51,rom-size=4096 \
     -device at24c-eeprom,bus=i2c.3,address=0x52,rom-size=4096",
);
/// The address of the first two.
const FIRST: u8 = 0x51;
/// The address of the third.
const OTHER: u8 = 0x52;

macro_rules! suite {
    ($device:ty, $name:literal) => {
        tests!($device, $name:
            none_selected = "none-selected",
            control,
            one_channel = "one-channel",
            two_channels = "two-channels",
            both_written = "both-written",
            last_byte = "last-byte",
            stays_selected = "stays-selected",
            machine_reset = "machine-reset";
            with EEPROMS
        );
    };
}

suite!(Pca9546, "pca9546-tests");
suite!(Pca9548, "pca9548-tests");

/// Sees that the EEPROMs are behind this multiplexer, and that no other device has their addresses.
fn set_up<const N: u8>(mux: &Pca954x<N>) -> Result<()> {
    for (channel, address) in [(0, FIRST), (1, FIRST), (3, OTHER)] {
        if !mux.on_bus(channel).has_plugged(address)? {
            let why = "another multiplexer's buses have these names, and QEMU plugs devices there";
            return Err(Error::skipped(why));
        }
    }
    let taken = mux.device().bus().taken()?;
    if taken.contains(&FIRST) || taken.contains(&OTHER) {
        return Err(Error::skipped("the machine has devices of its own at these addresses"));
    }
    Ok(())
}

/// Whether the two addresses are acknowledged.
fn seen<const N: u8>(mux: &Pca954x<N>) -> Result<[bool; 2]> {
    let bus = mux.device().bus();
    Ok([bus.probe(FIRST)?, bus.probe(OTHER)?])
}

/// Writes a byte into the EEPROM that answers.
fn write<const N: u8>(mux: &Pca954x<N>, address: u8, value: u8) -> Result<()> {
    mux.device().bus().send(address, &[0, 0x20, value])
}

/// What the EEPROM that answers has there.
fn read<const N: u8>(mux: &Pca954x<N>, address: u8) -> Result<u8> {
    let mut byte = [0];
    mux.device().bus().send(address, &[0, 0x20])?;
    mux.device().bus().recv(address, &mut byte)?;
    Ok(byte[0])
}

/// Would catch a channel that is selected from the start on: after a reset no channel is ("Power-on
/// reset").
fn none_selected<const N: u8>(mux: &Pca954x<N>, _: &Rc<Vm>) -> Result<()> {
    set_up(mux)?;
    assert_eq!(mux.selected()?, 0);
    assert_eq!(seen(mux)?, [false, false]);
    assert!(mux.device().bus().send(FIRST, &[0, 0]).is_err(), "a write behind the multiplexer");
    assert!(mux.device().bus().recv(FIRST, &mut [0]).is_err(), "a read behind the multiplexer");
    assert!(mux.device().bus().probe(mux.device().address())?, "the multiplexer itself");
    Ok(())
}

/// Would catch a control register that loses a bit of a channel or has that of another, and a read
/// that changes it.
fn control<const N: u8>(mux: &Pca954x<N>, _: &Rc<Vm>) -> Result<()> {
    for channels in (0..=Pca954x::<N>::ALL).chain([0]) {
        mux.select(channels)?;
        for _ in 0..2 {
            let selected = mux.selected()? & Pca954x::<N>::ALL;
            assert_eq!(selected, channels, "{selected:#010b} is not {channels:#010b}");
        }
    }
    Ok(())
}

/// Would catch a channel that is reached although another is selected, is not when it is, or is
/// another one: devices with one address in two channels keep different bytes.
fn one_channel<const N: u8>(mux: &Pca954x<N>, _: &Rc<Vm>) -> Result<()> {
    set_up(mux)?;
    for channel in 0..Pca954x::<N>::CHANNELS {
        mux.select(1 << channel)?;
        let expected = [channel < 2, channel == 3];
        assert_eq!(seen(mux)?, expected, "channel {channel} is selected");
    }
    let places = [(0, FIRST, 0xa1), (1, FIRST, 0xb2), (3, OTHER, 0xc3)];
    for (channel, address, value) in places {
        mux.select(1 << channel)?;
        write(mux, address, value)?;
    }
    for (channel, address, value) in places.into_iter().chain(places.into_iter().rev()) {
        mux.select(1 << channel)?;
        assert_eq!(read(mux, address)?, value, "in channel {channel}");
    }
    mux.select(0)?;
    assert_eq!(seen(mux)?, [false, false], "no channel is selected any more");
    Ok(())
}

/// Would catch a second channel that is not selected beside the first, or stays when it is no more.
fn two_channels<const N: u8>(mux: &Pca954x<N>, _: &Rc<Vm>) -> Result<()> {
    set_up(mux)?;
    mux.select(1 << 1 | 1 << 3)?;
    assert_eq!(seen(mux)?, [true, true], "channels 1 and 3");
    write(mux, FIRST, 0x17)?;
    write(mux, OTHER, 0x28)?;
    assert_eq!([read(mux, FIRST)?, read(mux, OTHER)?], [0x17, 0x28]);
    for (channels, expected) in [
        (1 << 1, [true, false]),
        (1 << 3, [false, true]),
        (1 << 0 | 1 << 3, [true, true]),
        (1 << 2, [false, false]),
        (Pca954x::<N>::ALL, [true, true]),
    ] {
        mux.select(channels)?;
        assert_eq!(seen(mux)?, expected, "channels {channels:#06b}");
    }
    mux.select(1 << 1)?;
    assert_eq!(read(mux, FIRST)?, 0x17, "what was written through two channels");
    Ok(())
}

/// Would catch a write that reaches one of two devices at one address only: with both channels
/// selected, both are connected to the bus ("more than one channel").
fn both_written<const N: u8>(mux: &Pca954x<N>, _: &Rc<Vm>) -> Result<()> {
    set_up(mux)?;
    for (channel, value) in [(0, 0x11), (1, 0x22)] {
        mux.select(1 << channel)?;
        write(mux, FIRST, value)?;
    }
    mux.select(1 << 0 | 1 << 1)?;
    write(mux, FIRST, 0x5d)?;
    for channel in [0, 1] {
        mux.select(1 << channel)?;
        assert_eq!(read(mux, FIRST)?, 0x5d, "in channel {channel}");
    }
    Ok(())
}

/// Would catch a write of several bytes of which the first is taken, or none: "it saves the last byte
/// received" ("Control register").
fn last_byte<const N: u8>(mux: &Pca954x<N>, _: &Rc<Vm>) -> Result<()> {
    mux.select(0b0001)?;
    mux.device().send(&[0b0100, 0b0010])?;
    assert_eq!(mux.selected()?, 0b0010);
    Ok(())
}

/// Would catch a channel that is selected for one transfer only, or by an address without data.
fn stays_selected<const N: u8>(mux: &Pca954x<N>, _: &Rc<Vm>) -> Result<()> {
    set_up(mux)?;
    mux.select(1 << 3)?;
    for value in 0..16 {
        write(mux, OTHER, value)?;
        assert_eq!(read(mux, OTHER)?, value);
        assert!(mux.device().bus().probe(mux.device().address())?);
    }
    assert_eq!(mux.selected()?, 1 << 3);
    Ok(())
}

/// Would catch a channel that a reset leaves selected.
fn machine_reset<const N: u8>(mux: &Pca954x<N>, vm: &Rc<Vm>) -> Result<()> {
    set_up(mux)?;
    mux.select(Pca954x::<N>::ALL)?;
    assert_eq!(seen(mux)?, [true, true]);
    reset(vm)?;
    // The controller is used anew: a reset of the machine has it forget what it was doing.
    assert_eq!(seen(mux)?, [false, false]);
    assert_eq!(mux.selected()?, 0);
    Ok(())
}
