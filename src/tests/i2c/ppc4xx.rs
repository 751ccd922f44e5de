//! What of the IIC interfaces of PowerPC no transfer of single bytes shows: the buffer of four bytes.

use std::rc::Rc;

use crate::drivers::i2c::ppc4xx_i2c::Ppc4xxI2c;
use crate::graph::QemuArgs;
use crate::qemu::Vm;
use crate::qos::i2c::I2cBus;
use crate::{Error, Result, tests};

tests!(Ppc4xxI2c, "ppc4xx-i2c-tests":
    four_bytes = "four-bytes",
    buffer_empties = "buffer-empties";
    with QemuArgs::NONE.after("-device at24c-eeprom,bus=/ppc4xx-i2c/i2c,address=0x51,rom-size=4096"));

/// Where the EEPROM is.
const ADDRESS: u8 = 0x51;

/// Sees that the EEPROM is on this bus: where several have a name, QEMU chooses one of them.
fn set_up(bus: &Ppc4xxI2c) -> Result<()> {
    match bus.probe(ADDRESS)? {
        true => Ok(()),
        false => Err(Error::skipped("QEMU plugs the EEPROM into another bus of this name")),
    }
}

/// What the EEPROM has there.
fn read<const N: usize>(bus: &Ppc4xxI2c, at: u8) -> Result<[u8; N]> {
    let mut bytes = [0; N];
    bus.send(ADDRESS, &[0, at])?;
    bus.recv(ADDRESS, &mut bytes)?;
    Ok(bytes)
}

/// Would catch a transfer of four bytes that has an address before each, or loses bytes.
fn four_bytes(bus: &Ppc4xxI2c, _: &Rc<Vm>) -> Result<()> {
    set_up(bus)?;
    bus.send(ADDRESS, &[0, 0x40, 0xff, 0xff, 0xff])?;
    bus.send_chained(ADDRESS, &[0, 0x40, 0xa5, 0x3c], 4)?;
    assert_eq!(read(bus, 0x40)?, [0xa5, 0x3c, 0xff]);
    Ok(())
}

/// Would catch a buffer that keeps the byte of a transfer that is over, in front of that of the next.
fn buffer_empties(bus: &Ppc4xxI2c, _: &Rc<Vm>) -> Result<()> {
    set_up(bus)?;
    bus.send(ADDRESS, &[0, 0x40, 0xff, 0xff, 0xff])?;
    bus.send_chained(ADDRESS, &[0, 0x40, 0xa5, 0x3c], 1)?;
    assert_eq!(read(bus, 0x40)?, [0xa5, 0x3c, 0xff]);
    Ok(())
}
