//! The TMP105 temperature sensor: registers, conversion, alert, shutdown.

use std::rc::Rc;

use crate::drivers::tmp105::{self, Tmp105};
use crate::qemu::Vm;
use crate::{Result, tests};

tests!(Tmp105, "tmp105-tests":
    tx_rx = "tx-rx",
);

/// Would catch a register that has another reset value than the data sheet's (tables 7 to
/// 12), that does not keep what is written or takes its neighbour's, and a temperature
/// that the guest can write.
fn tx_rx(tmp105: &Tmp105, _: &Rc<Vm>) -> Result<()> {
    let registers = tmp105.registers();
    assert_eq!(registers.read16(tmp105::TEMPERATURE)?, 0);
    assert_eq!(registers.read8(tmp105::CONFIGURATION)?, 0);
    assert_eq!(registers.read16(tmp105::T_LOW)?, 75 << 8);
    assert_eq!(registers.read16(tmp105::T_HIGH)?, 80 << 8);

    tmp105.set_temperature(20_000)?;
    assert_eq!(tmp105.temperature()?, 20_000);
    registers.write16(tmp105::TEMPERATURE, 0x5550)?;
    registers.write8(tmp105::CONFIGURATION, 3 << tmp105::RESOLUTION_SHIFT)?;
    registers.write16(tmp105::T_LOW, 0xe120)?;
    registers.write16(tmp105::T_HIGH, 0x4230)?;
    assert_eq!(registers.read16(tmp105::TEMPERATURE)?, 20 << 8, "the temperature is read-only");
    assert_eq!(registers.read8(tmp105::CONFIGURATION)?, 3 << tmp105::RESOLUTION_SHIFT);
    assert_eq!(registers.read16(tmp105::T_LOW)?, 0xe120);
    assert_eq!(registers.read16(tmp105::T_HIGH)?, 0x4230);
    // The pointer stays where it is until it is written.
    assert_eq!(tmp105.device().recv()?, [0x42, 0x30]);
    assert_eq!(tmp105.device().recv()?, [0x42]);
    Ok(())
}
