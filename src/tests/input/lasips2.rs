//! LASI's PS/2 ports: what is sent to the port itself, and whose byte is in its status.

use std::rc::Rc;

use crate::drivers::input::lasips2::{
    CONTROL, DATA, ENABLE, INTERRUPT, LOOPBACK, LasiPort, NOT_EMPTY, STATUS,
};
use crate::qemu::Vm;
use crate::qos::ps2::Port;
use crate::qos::registers::RegistersExt;
use crate::{Result, tests};

tests!(LasiPort, "lasips2-tests": loopback, control, machine_reset = "machine-reset");

/// Would catch a port in loopback that alters what is sent, sends it to the device, or does not
/// interrupt, and one whose bytes stay behind when loopback ends.
fn loopback(port: &LasiPort, vm: &Rc<Vm>) -> Result<()> {
    let registers = port.registers();
    registers.set(CONTROL, ENABLE | LOOPBACK)?;
    vm.set_up_ends()?;
    for byte in [0x00, 0x55, 0xaa, 0xff, 0xee, 0xf2] {
        assert_eq!(registers.get(STATUS)? & (NOT_EMPTY | INTERRUPT), 0, "before {byte:#x}");
        port.send(byte)?;
        assert_eq!(port.receive()?, Some(byte));
        assert_eq!(port.receive()?, None, "after {byte:#x}");
        assert_eq!(registers.get(STATUS)? & INTERRUPT, 0, "after {byte:#x}");
    }
    port.make_ready()?;
    assert_eq!(port.receive()?, None, "what the device has received");
    registers.set(DATA, 0xf2)?;
    assert_eq!(port.receive()?, Some(0xfa), "the device's answer");
    Ok(())
}

/// Would catch control bits that are not kept.
fn control(port: &LasiPort, vm: &Rc<Vm>) -> Result<()> {
    vm.set_up_ends()?;
    for value in [0, ENABLE, LOOPBACK, ENABLE | LOOPBACK, 0] {
        port.registers().set(CONTROL, value)?;
        assert_eq!(port.registers().get(CONTROL)? & (ENABLE | LOOPBACK), value);
    }
    Ok(())
}

/// Would catch a reset of the machine that leaves the control register, or a byte in loopback.
fn machine_reset(port: &LasiPort, vm: &Rc<Vm>) -> Result<()> {
    let registers = port.registers();
    let before = [registers.get(CONTROL)?, registers.get(STATUS)?];
    registers.set(CONTROL, ENABLE | LOOPBACK)?;
    port.send(0x77)?;
    crate::qos::reset(vm)?;
    assert_eq!([registers.get(CONTROL)?, registers.get(STATUS)?], before, "control and status");
    Ok(())
}
