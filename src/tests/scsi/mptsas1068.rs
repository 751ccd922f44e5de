//! The messages of the SAS1068's firmware (Fusion-MPT Message Passing Interface Specification 1.5)
//! that are not commands for units.

use std::rc::Rc;

use crate::drivers::scsi::mptsas1068::{self as mpt, Mptsas1068, function};
use crate::qemu::Vm;
use crate::qos::registers::RegistersExt;
use crate::{Result, tests};

tests!(Mptsas1068, "mptsas1068-tests":
    states,
    facts,
    unknown,
    reset_in_message = "reset-in-message",
    reset_in_reply = "reset-in-reply",
    unit_reset_in_reply = "unit-reset-in-reply",
);

/// State: the firmware has come across a fault.
const STATE_FAULT: u32 = 4;

fn message(function: u8, context: u32, length: usize) -> Vec<u8> {
    let mut message = vec![0; length];
    message[3] = function;
    message[8..12].copy_from_slice(&context.to_le_bytes());
    message
}

fn init(context: u32) -> Vec<u8> {
    let mut init = message(function::IOC_INIT, context, 44);
    (init[0], init[5], init[6], init[12]) = (4, 8, 1, 128);
    init
}

/// Would catch firmware that is not ready after a reset, or operational without its first message.
fn states(card: &Mptsas1068, vm: &Rc<Vm>) -> Result<()> {
    for context in [1, 0x7fff_ffff] {
        card.reset(vm)?;
        assert_eq!(card.state()?, mpt::STATE_READY, "the state after a reset");
        let reply = card.handshake(vm, &init(context))?;
        assert_eq!(reply.len(), 20, "the length of the reply to IOC_INIT");
        let expected = [4, 0, 5, function::IOC_INIT, 0, 8, 1, 0];
        assert_eq!(reply[..8], expected, "the reply to IOC_INIT");
        assert_eq!(reply[8..12], context.to_le_bytes(), "the context of the reply");
        assert_eq!(reply[12..], [0; 8], "the status in the reply");
        assert_eq!(card.state()?, mpt::STATE_OPERATIONAL, "the state after IOC_INIT");
        // Bits 26:24: who has sent it.
        let who = card.plug.registers.get(mpt::DOORBELL)? >> 24 & 7;
        assert_eq!(who, 4, "who has sent IOC_INIT");
    }
    Ok(())
}

/// Would catch firmware that tells of other ports or limits than it has.
fn facts(card: &Mptsas1068, vm: &Rc<Vm>) -> Result<()> {
    card.reset(vm)?;
    let facts = card.handshake(vm, &message(function::IOC_FACTS, 77, 12))?;
    assert_eq!((facts.len(), facts[2], facts[3]), (80, 20, function::IOC_FACTS), "IOC_FACTS");
    assert_eq!(facts[0..2], [5, 1], "the version of messages, minor first");
    assert_eq!(facts[8..12], 77u32.to_le_bytes(), "the context of IOC_FACTS");
    assert_eq!(facts[14..16], [0, 0], "the status of IOC_FACTS");
    let ports = facts[0x26];
    assert!(ports >= 1, "{ports} ports");
    for number in 0..ports {
        let mut ask = message(function::PORT_FACTS, 78, 12);
        ask[6] = number;
        let port = card.handshake(vm, &ask)?;
        assert_eq!((port[3], port[6]), (function::PORT_FACTS, number), "PORT_FACTS");
        assert_eq!(port[8..12], 78u32.to_le_bytes(), "the context of PORT_FACTS");
        assert_eq!(port[14..16], [0, 0], "the status of PORT_FACTS");
        assert_eq!(port[21], 0x30, "the type of the port: SAS");
    }
    Ok(())
}

/// Would catch a message that nobody knows and that is answered, and a fault that a reset does not
/// end.
fn unknown(card: &Mptsas1068, vm: &Rc<Vm>) -> Result<()> {
    card.plug.device.bus().reaches_ram()?;
    for code in [0x0cu8, 0x1f, 0x7f] {
        card.reset(vm)?;
        card.handshake(vm, &init(9))?;
        let buffer = vm.ram().alloc(64, 64)?;
        buffer.write(0, &message(code, 9, 12))?;
        let address = crate::qos::scsi::address32(&buffer)?;
        card.plug.registers.set(mpt::REQUESTS, address)?;
        crate::qos::settle(vm)?;
        let doorbell = card.plug.registers.get(mpt::DOORBELL)?;
        assert_eq!(doorbell >> 28, STATE_FAULT, "the state after {code:#x}");
        // The fault's code: a function that is not valid.
        assert_eq!(doorbell & 0xffff, 1, "the fault after {code:#x}");
    }
    card.reset(vm)?;
    card.handshake(vm, &init(10))?;
    assert_eq!(card.state()?, mpt::STATE_OPERATIONAL, "the state at the end");
    Ok(())
}

/// Makes sure that no handshake is under way, and that the next one is answered as a whole.
fn begins_anew(card: &Mptsas1068, vm: &Rc<Vm>, when: &str) -> Result<()> {
    let doorbell = card.plug.registers.get(mpt::DOORBELL)?;
    let both = (doorbell >> 28, doorbell & mpt::DOORBELL_ACTIVE);
    assert_eq!(both, (mpt::STATE_READY, 0), "the state and a handshake {when}");
    let interrupts = card.plug.registers.get(mpt::INTERRUPT_STATUS)?;
    assert_eq!(interrupts & mpt::INTERRUPT_DOORBELL, 0, "the doorbell's interrupt {when}");
    let facts = card.handshake(vm, &message(function::IOC_FACTS, 99, 12))?;
    assert_eq!((facts.len(), facts[3]), (80, function::IOC_FACTS), "IOC_FACTS {when}");
    assert_eq!(facts[8..12], 99u32.to_le_bytes(), "the context of IOC_FACTS {when}");
    Ok(())
}

/// Would catch a handshake that outlives a reset of the adapter, whose message the first words after
/// the reset are taken for.
fn reset_in_message(card: &Mptsas1068, vm: &Rc<Vm>) -> Result<()> {
    let message = init(5);
    for words in [0, 1, 10] {
        card.reset_adapter(vm)?;
        card.begin_handshake(vm, message.len(), &message[..4 * words])?;
        let doorbell = card.plug.registers.get(mpt::DOORBELL)?;
        assert_ne!(doorbell & mpt::DOORBELL_ACTIVE, 0, "a handshake after {words} words");
        card.reset_adapter(vm)?;
        begins_anew(card, vm, &format!("after {words} words and a reset"))?;
    }
    Ok(())
}

/// Has a part of a reply read before a reset, and makes sure that nothing of it is left.
fn reset_before_end(card: &Mptsas1068, vm: &Rc<Vm>, reset: impl Fn() -> Result<()>) -> Result<()> {
    let message = message(function::IOC_FACTS, 6, 12);
    for halves in [0, 1, 39] {
        reset()?;
        card.begin_handshake(vm, message.len(), &message)?;
        for _ in 0..halves {
            card.half_of_reply(vm)?;
            card.plug.registers.set(mpt::INTERRUPT_STATUS, 0)?;
        }
        reset()?;
        begins_anew(card, vm, &format!("after {halves} half words of a reply and a reset"))?;
    }
    Ok(())
}

/// Would catch a reply that outlives a reset of the adapter.
fn reset_in_reply(card: &Mptsas1068, vm: &Rc<Vm>) -> Result<()> {
    reset_before_end(card, vm, || card.reset_adapter(vm))
}

/// Would catch a reply that outlives a reset of the message unit, which the doorbell itself takes.
fn unit_reset_in_reply(card: &Mptsas1068, vm: &Rc<Vm>) -> Result<()> {
    reset_before_end(card, vm, || card.reset(vm))
}
