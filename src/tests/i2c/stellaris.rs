//! What of the I2C controller of the Stellaris no transfer of a device shows: its status without
//! acknowledgement, and a master that is disabled.

use std::rc::Rc;

use crate::drivers::i2c::stellaris_i2c::StellarisI2c;
use crate::qemu::Vm;
use crate::qos::i2c::I2cBus;
use crate::{Result, tests};

tests!(StellarisI2c, "stellaris-i2c-tests":
    nobody,
    disabled,
);

/// An address that is reserved: nobody has it.
const NOBODY: u8 = 0x01;

/// Would catch a missing acknowledgement that is taken for lost arbitration, and an error that stays.
fn nobody(bus: &StellarisI2c, _: &Rc<Vm>) -> Result<()> {
    for _ in 0..2 {
        let status = bus.status_of_read(NOBODY)?;
        let errors = status & StellarisI2c::ERRORS;
        assert_eq!(errors, StellarisI2c::NOBODY, "I2CMCS is {status:#04x}");
    }
    Ok(())
}

/// Would catch a master that starts a transfer while it is disabled.
fn disabled(bus: &StellarisI2c, _: &Rc<Vm>) -> Result<()> {
    assert!(!bus.probe(NOBODY)?);
    let before = bus.status_of_read(NOBODY)?;
    assert_eq!(bus.status_disabled(NOBODY)?, before, "no operation changes the status");
    assert!(!bus.probe(NOBODY)?, "enabled again");
    Ok(())
}
