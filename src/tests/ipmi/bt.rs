//! The block transfer interface to a management controller: its control bits and buffers, and a
//! system that leaves the order of a transfer (IPMI v2.0, chapter 11).

use std::rc::Rc;

use crate::qemu::Vm;
use crate::qos::ipmi::bt::{
    B_BUSY, B2H_ATN, BUFFER, CLR_RD_PTR, CLR_WR_PTR, CONTROL, H_BUSY, H2B_ATN, MASK,
};
use crate::qos::ipmi::netfn::APP;
use crate::qos::ipmi::{Bt, Ipmi, code};
use crate::qos::registers::RegistersExt;
use crate::{Result, attacks, tests};

tests!(Bt, "ipmi-bt-tests":
    control,
    sequence,
    read_again = "read-again",
    read_on = "read-on",
    wrong_lengths = "wrong-lengths",
    busy_for_ever = "busy-for-ever",
    too_long = "too-long",
    capabilities,
    mask,
);
attacks!(Bt, "ipmi-bt-attacks": sequence, read_on = "read-on", too_long = "too-long");

/// Get Device ID, with a sequence number of `sequence`, as it is sent.
fn request(sequence: u8) -> [u8; 4] {
    [3, APP << 2, sequence, 0x01]
}

/// The interface works: a request is answered.
fn works(bt: &Bt) -> Result<()> {
    let response = bt.exchange(&[APP << 2, 0x01])?;
    assert_eq!(response[..3], [(APP | 1) << 2, 0x01, code::OK], "a request afterwards");
    Ok(())
}

/// Would catch a bit of the control register that is set, kept or cleared otherwise than 11.6.1
/// says.
fn control(bt: &Bt, _: &Rc<Vm>) -> Result<()> {
    let registers = &bt.registers;
    let is = |bits: u8, when: &str| -> Result<()> {
        let found = registers.get(CONTROL)?;
        assert_eq!(found & (H_BUSY | B_BUSY | B2H_ATN | H2B_ATN), bits, "BT_CTRL {when}");
        Ok(())
    };
    is(0, "at first")?;
    registers.set(CONTROL, H_BUSY)?;
    is(H_BUSY, "when the host is busy")?;
    registers.set(CONTROL, 0)?;
    is(H_BUSY, "after zeros")?;
    registers.set(CONTROL, H_BUSY)?;
    is(0, "when it is no longer")?;
    registers.set(CONTROL, CLR_WR_PTR | CLR_RD_PTR | B_BUSY)?;
    let found = registers.get(CONTROL)?;
    assert_eq!(found & (CLR_WR_PTR | CLR_RD_PTR), 0, "the bits that clear pointers are read as 0");
    bt.send(&request(1))?;
    is(B2H_ATN, "with a response")?;
    registers.set(CONTROL, 0)?;
    is(B2H_ATN, "with a response, after zeros")?;
    registers.set(CONTROL, B2H_ATN)?;
    is(0, "when the response was taken")?;
    works(bt)
}

/// Would catch a response to another request than that which was made (11.3).
fn sequence(bt: &Bt, _: &Rc<Vm>) -> Result<()> {
    for sequence in [0u8, 1, 0x7f, 0xff, 0x55] {
        bt.send(&request(sequence))?;
        let response = bt.receive()?;
        let expected = [(APP | 1) << 2, sequence, 0x01, code::OK];
        assert_eq!(response[..4], expected, "the response to sequence {sequence:#x}");
    }
    Ok(())
}

/// Would catch a response that cannot be read again from its start (11.6.1, CLR_RD_PTR).
fn read_again(bt: &Bt, _: &Rc<Vm>) -> Result<()> {
    let registers = &bt.registers;
    bt.send(&request(7))?;
    let read = || -> Result<Vec<u8>> {
        registers.set(CONTROL, CLR_RD_PTR)?;
        (0..8).map(|_| registers.get(BUFFER)).collect()
    };
    let first = read()?;
    assert_eq!(first[1..5], [(APP | 1) << 2, 7, 0x01, code::OK], "the response");
    assert_eq!(read()?, first, "the response, read again");
    registers.set(CONTROL, B2H_ATN)?;
    works(bt)
}

/// Would catch reads behind the end of a response that get what is behind the buffer, or end
/// QEMU.
fn read_on(bt: &Bt, _: &Rc<Vm>) -> Result<()> {
    let registers = &bt.registers;
    bt.send(&request(8))?;
    registers.set(CONTROL, CLR_RD_PTR)?;
    let length = usize::from(registers.get(BUFFER)?);
    for _ in 0..length {
        registers.get(BUFFER)?;
    }
    let behind: Vec<u8> = (0..4096).map(|_| registers.get(BUFFER)).collect::<Result<_>>()?;
    let is_empty = |byte: &u8| matches!(byte, 0x00 | 0xff);
    assert!(behind.iter().all(is_empty), "what is behind the response: {:02x?}", &behind[..64]);
    registers.set(CONTROL, B2H_ATN)?;
    works(bt)
}

/// Would catch a controller that stays busy after a request whose length is wrong: a driver waits
/// for ever before its next one (11.3).
fn busy_for_ever(bt: &Bt, _: &Rc<Vm>) -> Result<()> {
    let mut bytes = request(0x34);
    bytes[0] = 0x40;
    bt.send(&bytes)?;
    works(bt)
}

/// Would catch a length that is not that of what was written and is believed (11.4).
fn wrong_lengths(bt: &Bt, _: &Rc<Vm>) -> Result<()> {
    for length in [0u8, 1, 2, 4, 0x40, 0xfe, 0xff] {
        let mut bytes = request(0x33);
        bytes[0] = length;
        let registers = &bt.registers;
        registers.set(CONTROL, CLR_WR_PTR)?;
        bytes.iter().try_for_each(|byte| registers.set(BUFFER, *byte))?;
        registers.set(CONTROL, H2B_ATN)?;
        if registers.get(CONTROL)? & B2H_ATN != 0 {
            let response = bt.receive()?;
            let code = response.get(3).copied();
            let is_error = code.is_none_or(|it| it != code::OK);
            assert!(is_error, "{length:#x} bytes of 3: {response:02x?}");
        }
        works(bt)?;
    }
    Ok(())
}

/// Would catch a request of more bytes than the buffer has that is written behind it.
fn too_long(bt: &Bt, _: &Rc<Vm>) -> Result<()> {
    let registers = &bt.registers;
    registers.set(CONTROL, CLR_WR_PTR)?;
    for byte in 0..4096u32 {
        registers.set(BUFFER, if byte == 0 { 0xff } else { byte as u8 })?;
    }
    registers.set(CONTROL, H2B_ATN)?;
    if registers.get(CONTROL)? & B2H_ATN != 0 {
        bt.receive()?;
    }
    works(bt)
}

/// Would catch capabilities that are not those of an interface (22.10): it takes at least one
/// request, of some bytes.
fn capabilities(bt: &Bt, _: &Rc<Vm>) -> Result<()> {
    let said = (bt as &dyn Ipmi).get(APP, 0x36, &[])?;
    assert_eq!(said.len(), 5, "Get BT Interface Capabilities: {said:02x?}");
    assert!(said[0] >= 1, "requests at once: {said:02x?}");
    assert!(said[1] >= 0x20 && said[2] >= 0x20, "room for requests and responses: {said:02x?}");
    assert!(said[3] >= 1, "seconds until a response: {said:02x?}");
    Ok(())
}

/// Would catch an interrupt enable that is not kept, or a status that a zero clears (11.6.3).
fn mask(bt: &Bt, _: &Rc<Vm>) -> Result<()> {
    const ENABLE: u8 = 1 << 0;
    const PENDING: u8 = 1 << 1;
    let registers = &bt.registers;
    registers.set(MASK, 0)?;
    assert_eq!(registers.get(MASK)? & (ENABLE | PENDING), 0, "disabled");
    registers.set(MASK, ENABLE)?;
    assert_eq!(registers.get(MASK)? & (ENABLE | PENDING), ENABLE, "enabled");
    bt.send(&request(9))?;
    assert_eq!(registers.get(MASK)? & (ENABLE | PENDING), ENABLE | PENDING, "with a response");
    registers.set(MASK, ENABLE)?;
    assert_eq!(registers.get(MASK)? & (ENABLE | PENDING), ENABLE | PENDING, "after zeros");
    registers.set(MASK, ENABLE | PENDING)?;
    assert_eq!(registers.get(MASK)? & (ENABLE | PENDING), ENABLE, "cleared by a one");
    bt.receive()?;
    registers.set(MASK, 0)?;
    works(bt)
}
