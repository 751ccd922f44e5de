//! I2C buses by themselves: who is on them, and what a controller says of an address that nobody
//! has.

use std::collections::BTreeSet;
use std::rc::Rc;

use crate::qemu::Vm;
use crate::qos::i2c::I2cBus;
use crate::qos::reset;
use crate::{Error, Result, tests};

tests!(dyn I2cBus, "i2c-bus-tests":
    addresses,
    nobody,
    after_nobody = "after-nobody",
    machine_reset = "machine-reset",
);

/// The addresses of devices: others are reserved (UM10204, section 3.1.12).
const ADDRESSES: std::ops::RangeInclusive<u8> = 0x08..=0x77;

/// Who acknowledges its address.
fn answering(bus: &dyn I2cBus) -> Result<BTreeSet<u8>> {
    let mut found = BTreeSet::new();
    for address in ADDRESSES {
        if bus.probe(address)? {
            found.insert(address);
        }
    }
    Ok(found)
}

/// Who is on the bus, as the machine says, as far as that is in the range of devices.
fn said(bus: &dyn I2cBus) -> Result<BTreeSet<u8>> {
    let on_bus = bus.on_bus();
    let on_bus = on_bus.ok_or_else(|| {
        Error::skipped("which bus of the machine this is is known where it is discovered only")
    })?;
    Ok(on_bus.addresses()?.into_iter().filter(|address| ADDRESSES.contains(address)).collect())
}

/// Would catch a device that is soldered to another bus or address than the board says, and a
/// controller that sends another address than it is given, or does not see acknowledgements.
fn addresses(bus: &dyn I2cBus, _: &Rc<Vm>) -> Result<()> {
    let expected = said(bus)?;
    assert_eq!(answering(bus)?, expected, "who acknowledges, and who is there");
    Ok(())
}

/// Addresses at which nobody is.
fn free(bus: &dyn I2cBus) -> Result<Vec<u8>> {
    let taken = match said(bus) {
        Err(Error::Skipped(_)) => answering(bus)?,
        other => other?,
    };
    let wanted = [0x08, 0x2a, 0x35, 0x0f, 0x10, 0x3f, 0x40, 0x77];
    Ok(wanted.into_iter().filter(|address| !taken.contains(address)).collect())
}

/// Would catch a controller that takes a missing acknowledgement for one, in a write, a read or
/// both together, or has another status then than that (the drivers look at it whole).
fn nobody(bus: &dyn I2cBus, _: &Rc<Vm>) -> Result<()> {
    let free = free(bus)?;
    assert!(free.len() > 3, "free addresses: {free:02x?}");
    for address in free {
        let expected = format!("the I2C device at {address:#04x} does not acknowledge");
        for result in [
            bus.send(address, &[0x00]),
            bus.send(address, &[0xff, 0x5a, 0xa5]),
            bus.recv(address, &mut [0; 1]),
            bus.recv(address, &mut [0; 5]),
            bus.send_recv(address, &[0x00], &mut [0; 2]),
        ] {
            // A controller of SMBus alone makes no transfer of some lengths.
            if matches!(result, Err(Error::Skipped(_))) {
                continue;
            }
            let error = result.expect_err("nobody is there").to_string();
            assert!(error.starts_with(&expected), "{error}");
        }
        assert!(!bus.probe(address)?, "nobody is at {address:#04x}");
    }
    Ok(())
}

/// Would catch a bus that stays busy, or a status that stays, after nobody acknowledged: all who
/// were there before are there afterwards.
fn after_nobody(bus: &dyn I2cBus, _: &Rc<Vm>) -> Result<()> {
    let before = answering(bus)?;
    for address in free(bus)? {
        assert!(bus.send(address, &[0x12]).is_err(), "{address:#04x} is nobody's");
        assert!(bus.recv(address, &mut [0; 3]).is_err(), "{address:#04x} is nobody's");
        for &present in &before {
            assert!(bus.probe(present)?, "{present:#04x} after {address:#04x}");
        }
    }
    assert_eq!(answering(bus)?, before);
    Ok(())
}

/// Would catch devices that a reset of the machine takes from the bus, moves, or adds.
fn machine_reset(bus: &dyn I2cBus, vm: &Rc<Vm>) -> Result<()> {
    let before = answering(bus)?;
    reset(vm)?;
    assert_eq!(answering(bus)?, before, "before and after a reset");
    Ok(())
}
