//! The IP-Octal 232: what it says of itself, its eight ports, what they send.

use std::rc::Rc;

use serde_json::json;

use crate::drivers::ipack::ipoctal232::{self as ip, IpOctal232};
use crate::drivers::ipack::tpci200::ModuleSpace;
use crate::protocol::Endian;
use crate::qemu::Vm;
use crate::qos::registers::RegistersExt;
use crate::{Error, Result, tests};

tests!(IpOctal232, "ipoctal232-tests": nop, modes, transmitter, sends, carrier);

/// Would catch a module that is another, or whose bytes are at other places; and a slot without a
/// module that answers. It is called as the peers' test is, which asks nothing.
fn nop(module: &IpOctal232, _: &Rc<Vm>) -> Result<()> {
    let bytes = (0..12).map(|number| module.identification(number));
    let bytes = bytes.collect::<Result<Vec<u8>>>()?;
    // "IPAC", SBS, IP-Octal 232, its revision, its length and check sum.
    let expected = [0x49, 0x50, 0x41, 0x43, 0xf0, 0x22, 0xa1, 0x00, 0x00, 0x00, 0x0c, 0xcc];
    assert_eq!(bytes, expected, "what the module says of itself");
    for slot in 1..4 {
        for number in 0..12 {
            let byte = module.bus().read(slot, ModuleSpace::Id, 2 * number + 1)?;
            assert_eq!(byte, 0, "byte {number} of slot {slot}, which is empty");
        }
    }
    for port in 0..8 {
        assert_eq!(module.read(port, ip::STATUS)?, 0, "the status of port {port} at first");
    }
    Ok(())
}

/// Would catch ports that share a mode, and a mode whose two registers are mixed up.
fn modes(module: &IpOctal232, _: &Rc<Vm>) -> Result<()> {
    for port in 0..8 {
        module.write(port, ip::COMMAND, ip::COMMAND_FIRST_MODE)?;
        module.write(port, ip::MODE, 0x10 + port as u8)?;
        module.write(port, ip::MODE, 0x80 + port as u8)?;
    }
    for port in 0..8 {
        module.write(port, ip::COMMAND, ip::COMMAND_FIRST_MODE)?;
        assert_eq!(module.read(port, ip::MODE)?, 0x10 + port as u8, "MR1 of port {port}");
        assert_eq!(module.read(port, ip::MODE)?, 0x80 + port as u8, "MR2 of port {port}");
        assert_eq!(module.read(port, ip::MODE)?, 0x80 + port as u8, "MR2 of port {port}, again");
    }
    Ok(())
}

/// Would catch a transmitter that is not turned on or off, or another port's; and an interrupt
/// that does not tell of it.
fn transmitter(module: &IpOctal232, _: &Rc<Vm>) -> Result<()> {
    let ready = ip::STATUS_TX_READY | ip::STATUS_TX_EMPTY;
    for port in 0..8 {
        module.write(port, ip::COMMAND, ip::COMMAND_TX_ON)?;
        for other in 0..8 {
            let expected = if other == port { ready } else { 0 };
            let status = module.read(other, ip::STATUS)?;
            assert_eq!(status, expected, "the status of port {other} with {port} on");
        }
        // The first port of a pair has bit 0, the second bit 4.
        let told = module.read(port & !1, ip::INTERRUPT_STATUS)?;
        assert_eq!(told, 1 << (4 * (port & 1)), "the interrupts of the pair of port {port}");
        module.write(port, ip::COMMAND, ip::COMMAND_TX_OFF)?;
        assert_eq!(module.read(port, ip::STATUS)?, 0, "the status of port {port}, off");
        let told = module.read(port & !1, ip::INTERRUPT_STATUS)?;
        assert_eq!(told, 0, "the interrupts of the pair of port {port}, off");
    }
    Ok(())
}

/// Would catch bytes that are lost, changed, sent by a transmitter that is off, or by another
/// port.
fn sends(module: &IpOctal232, vm: &Rc<Vm>) -> Result<()> {
    let sent = || -> Result<String> {
        let arguments = json!({ "device": IpOctal232::RING, "size": 4096 });
        let text = vm.qmp().execute("ringbuf-read", arguments)?;
        Ok(text.as_str().unwrap_or_default().to_owned())
    };
    sent()?;
    module.write(0, ip::DATA, b'x')?;
    assert_eq!(sent()?, "", "sent while the transmitter is off");
    module.write(0, ip::COMMAND, ip::COMMAND_TX_ON)?;
    module.write(1, ip::COMMAND, ip::COMMAND_TX_ON)?;
    let text = "The quick brown fox, 0123456789.";
    for (at, byte) in text.bytes().enumerate() {
        module.write(0, ip::DATA, byte)?;
        module.write(1, ip::DATA, b'#')?;
        assert_ne!(module.read(0, ip::STATUS)? & ip::STATUS_TX_READY, 0, "ready after byte {at}");
    }
    assert_eq!(sent()?, text, "what the first port has sent");
    module.write(0, ip::COMMAND, ip::COMMAND_TX_OFF)?;
    module.write(1, ip::COMMAND, ip::COMMAND_TX_OFF)?;
    module.write(0, ip::DATA, b'y')?;
    assert_eq!(sent()?, "", "sent while the transmitter is off again");
    Ok(())
}

/// Would catch the control of a slot that is another's, or loses what is written (TPCI200, 4.2).
fn carrier(module: &IpOctal232, vm: &Rc<Vm>) -> Result<()> {
    let control = module.bus().control();
    control.write16(2, 0x0a00)?;
    let swapped = control.read16(2)? == 0x0a00;
    control.write16(2, 0)?;
    if swapped && vm.endian()? == Endian::Big {
        let why = "tpci200: QEMU's registers have the byte order of the CPU, not that of the bus";
        return Err(Error::skipped(why));
    }
    for slot in 0..4u64 {
        control.write16(2 + 2 * slot, 0x0a + slot as u16)?;
    }
    for slot in 0..4u64 {
        let value = control.read16(2 + 2 * slot)?;
        assert_eq!(value, 0x0a + slot as u16, "the control of slot {slot}");
        control.write16(2 + 2 * slot, 0)?;
        assert_eq!(control.read16(2 + 2 * slot)?, 0, "the control of slot {slot}, cleared");
    }
    Ok(())
}
