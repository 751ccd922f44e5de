//! Transfers over an I2C bus, with an EEPROM at the other end: every length, repeated starts,
//! writes without data, the end of a bus's interrupts.

use std::rc::Rc;

use crate::drivers::eeprom::at24c::{At24c, SIZE};
use crate::qemu::Vm;
use crate::qos::reset;
use crate::{Error, Result, tests};

tests!(At24c, "at24c-tests":
    lengths,
    whole,
    repeated_start = "repeated-start",
    current_address = "current-address",
    no_data = "no-data",
    other_addresses = "other-addresses",
    interrupt,
    machine_reset = "machine-reset",
);

/// Bytes of which none is like its neighbours, nor like those of another `seed`.
fn bytes(len: usize, seed: u8) -> Vec<u8> {
    (0..len).map(|at| (at as u8).wrapping_mul(73) ^ (at >> 8) as u8 ^ seed).collect()
}

/// Would catch a transfer that loses, doubles or swaps bytes, or ends too early or late: writes
/// of a length, then reads of it, from one byte up to beyond the FIFOs of controllers.
fn lengths(memory: &At24c, _: &Rc<Vm>) -> Result<()> {
    let lens = [1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 255, 256, 257];
    let mut at = 0;
    for (number, len) in lens.into_iter().enumerate() {
        let data = bytes(len, number as u8 ^ 0x5a);
        // A byte more on either side shows what is written too far.
        let (before, after) = ([0xb5], [0xc6]);
        memory.write(at, &before)?;
        memory.write(at + 1 + len as u16, &after)?;
        memory.write(at + 1, &data)?;
        let mut read = vec![0; len + 2];
        memory.read(at, &mut read)?;
        assert_eq!(read, [&before[..], &data, &after].concat(), "{len} bytes written at {at}");
        let mut read = vec![0; len];
        memory.read(at + 1, &mut read)?;
        assert_eq!(read, data, "{len} bytes read");
        at += len as u16 + 2;
    }
    Ok(())
}

/// Would catch a transfer of thousands of bytes that a counter of eight bits ends, and a memory
/// that does not begin again after its last byte.
fn whole(memory: &At24c, _: &Rc<Vm>) -> Result<()> {
    let data = bytes(SIZE, 0x33);
    memory.write(0, &data)?;
    let mut read = vec![0; SIZE + 16];
    memory.read(0, &mut read)?;
    assert!(read[..SIZE] == data, "all {SIZE} bytes");
    assert_eq!(read[SIZE..], data[..16], "after the last byte");
    Ok(())
}

/// Would catch a repeated start that is none, loses the address that was written, or a byte.
fn repeated_start(memory: &At24c, _: &Rc<Vm>) -> Result<()> {
    let data = bytes(64, 0x77);
    memory.write(0x123, &data)?;
    for len in [1, 2, 3, 4, 5, 32, 64] {
        for at in [0, 1, 17].into_iter().filter(|at| at + len <= data.len()) {
            let mut read = vec![0; len];
            memory.read_at_once(0x123 + at as u16, &mut read)?;
            assert_eq!(read, data[at..at + len], "{len} bytes from {at} on");
        }
    }
    Ok(())
}

/// Would catch a controller that reads a byte more than it was asked for, or one less: the next
/// read goes on where the last one ended ("Current Address Read").
fn current_address(memory: &At24c, _: &Rc<Vm>) -> Result<()> {
    let data = bytes(128, 0x19);
    memory.write(0x800, &data)?;
    memory.read(0x800, &mut [0; 3])?;
    let mut at = 3;
    for len in [1, 1, 2, 3, 4, 1, 5, 17, 32, 1] {
        let mut read = vec![0; len];
        memory.device().bus().recv(memory.device().address(), &mut read)?;
        assert_eq!(read, data[at..at + len], "{len} bytes from {at} on");
        at += len;
    }
    let mut read = [0; 2];
    memory.read_at_once(0x800, &mut read)?;
    let mut next = [0; 2];
    memory.device().bus().recv(memory.device().address(), &mut next)?;
    assert_eq!([read, next].concat(), data[..4], "after a repeated start");
    Ok(())
}

/// Would catch an address without data, which controllers and drivers use to look who is there,
/// that is not acknowledged, or changes the device.
fn no_data(memory: &At24c, _: &Rc<Vm>) -> Result<()> {
    let (bus, address) = (memory.device().bus(), memory.device().address());
    let data = bytes(16, 0x42);
    memory.write(0x10, &data)?;
    for _ in 0..3 {
        assert!(bus.probe(address)?, "the EEPROM is there");
    }
    let mut read = [0; 16];
    memory.read(0x10, &mut read)?;
    assert_eq!(read, *data);
    // An address only, and nothing to write to it.
    memory.write(0x10, &[])?;
    memory.read(0x10, &mut read)?;
    assert_eq!(read, *data, "an address was written, and no data");
    Ok(())
}

/// Would catch a controller that sends another address than it is given, or takes a missing
/// acknowledgement for one: an address of which one bit differs is nobody's, unless the machine
/// says so.
fn other_addresses(memory: &At24c, _: &Rc<Vm>) -> Result<()> {
    let (bus, address) = (memory.device().bus(), memory.device().address());
    let taken = bus.taken()?;
    let data = bytes(8, 0x91);
    memory.write(0, &data)?;
    for other in (0..7).map(|bit| address ^ 1 << bit) {
        if taken.contains(&other) {
            continue;
        }
        assert!(!bus.probe(other)?, "{other:#04x} is nobody's");
        assert!(bus.send(other, &[0, 0, 0xff]).is_err(), "a write to {other:#04x}");
        assert!(bus.recv(other, &mut [0; 2]).is_err(), "a read from {other:#04x}");
        assert!(bus.probe(address)?, "the EEPROM, after {other:#04x}");
    }
    let mut read = [0; 8];
    memory.read(0, &mut read)?;
    assert_eq!(read, *data, "nothing of that reached the EEPROM");
    Ok(())
}

/// Would catch an interrupt that a transfer does not raise, or that stays when its status was
/// cleared.
fn interrupt(memory: &At24c, _: &Rc<Vm>) -> Result<()> {
    let Some(line) = memory.device().bus().interrupt()? else {
        return Err(Error::skipped("the controller has no interrupt line that can be watched"));
    };
    assert_eq!(line.edges()?, (0, 0), "before any transfer");
    let mut last = 0;
    for len in [1, 4, 16] {
        memory.write(0, &bytes(len, 0x28))?;
        let mut read = vec![0; len];
        memory.read(0, &mut read)?;
        assert_eq!(read, bytes(len, 0x28));
        let (raised, lowered) = line.edges()?;
        assert!(raised > last, "no interrupt in transfers of {len} bytes");
        assert_eq!(raised, lowered, "raised and lowered, after {len} bytes");
        assert!(!line.is_high()?, "after a stop");
        last = raised;
    }
    Ok(())
}

/// Would catch a bus that does not work after a reset of the machine.
fn machine_reset(memory: &At24c, vm: &Rc<Vm>) -> Result<()> {
    memory.write(0x40, &bytes(8, 1))?;
    reset(vm)?;
    let data = bytes(24, 0x66);
    memory.write(0x40, &data)?;
    let mut read = [0; 24];
    memory.read_at_once(0x40, &mut read)?;
    assert_eq!(read, *data);
    Ok(())
}
