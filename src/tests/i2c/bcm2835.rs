//! What of the BSC controllers no transfer of a device shows: ends without acknowledgement, and a
//! controller that is enabled and not started.

use std::rc::Rc;

use crate::drivers::i2c::bcm2835_i2c::Bcm2835I2c;
use crate::qemu::Vm;
use crate::{Result, tests};

tests!(Bcm2835I2c, "bcm2835-i2c-tests":
    nobody,
    nobody_is_over = "nobody-is-over",
    enabled,
);

/// Would catch an address that nobody has and that ends without ERR, or with an ERR that writing a
/// one does not clear.
fn nobody(bus: &Bcm2835I2c, _: &Rc<Vm>) -> Result<()> {
    for reads in [false, true, false] {
        let status = bus.status_of_nobody(reads)?;
        assert_eq!(status & Bcm2835I2c::ERROR, Bcm2835I2c::ERROR, "S is {status:#05x}");
        bus.clear()?;
        let status = bus.status()?;
        assert_eq!(status & (Bcm2835I2c::ERROR | Bcm2835I2c::DONE), 0, "S is {status:#05x}");
    }
    Ok(())
}

/// Would catch a transfer that stays active, or shows data, after nobody acknowledged its address:
/// drivers wait for the controller to be idle before the next.
fn nobody_is_over(bus: &Bcm2835I2c, _: &Rc<Vm>) -> Result<()> {
    for reads in [false, true] {
        bus.status_of_nobody(reads)?;
        bus.clear()?;
        let status = bus.status()?;
        assert_eq!(status, Bcm2835I2c::IDLE, "S is {status:#05x}, a read: {reads}");
    }
    Ok(())
}

/// Would catch a transfer that begins because the controller is enabled, without ST.
fn enabled(bus: &Bcm2835I2c, _: &Rc<Vm>) -> Result<()> {
    bus.control(0)?;
    assert_eq!(bus.status()?, Bcm2835I2c::IDLE, "disabled");
    bus.control(Bcm2835I2c::ENABLE)?;
    let status = bus.status()?;
    assert_eq!(status, Bcm2835I2c::IDLE, "enabled, and no transfer started: S is {status:#05x}");
    Ok(())
}
