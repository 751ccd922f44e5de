//! A reader of smart cards: its descriptor, its slot, power, parameters, blocks to a card and back
//! (Device Class: Smart Card CCID 1.1, "CCID", whose sections are cited).

use std::rc::Rc;

use super::hcd::ended;
use crate::drivers::usb::ccid::{
    ABSENT, ACTIVE, Card, FAILED, INACTIVE, MUTE, Message, Reader, UsbCcid, answer, card, message,
};
use crate::qemu::Vm;
use crate::qos::usb::Status;
use crate::{Error, Result, attacks, tests};

tests!(UsbCcid, "usb-ccid-tests":
    descriptor,
    slot_status = "slot-status",
    power,
    parameters,
    parameters_length = "parameters-length",
    unknown,
    wrong_slot = "wrong-slot",
    without_card = "without-card",
    long_message = "long-message",
    wrong_length = "wrong-length",
    many,
    abort,
    card_comes = "card-comes",
    card_blocks = "card-blocks",
    card_goes = "card-goes",
);
attacks!(UsbCcid, "usb-ccid-attacks": power, parameters, wrong_length = "wrong-length", many, card_blocks = "card-blocks");

/// The answer to reset of a card that knows T=0, with no historical bytes.
const ATR: [u8; 4] = [0x3b, 0x02, 0x14, 0x50];
/// No parameter.
const NONE: [u8; 3] = [0; 3];

fn started(device: &UsbCcid) -> Result<(Reader<'_>, Option<Card>)> {
    Ok((device.start()?, device.card().ok()))
}

/// A reader with a card in it, if the path has one.
fn with_card(device: &UsbCcid) -> Result<(Reader<'_>, Card)> {
    let reader = device.start()?;
    let card = match device.card() {
        Ok(card) => card,
        Err(_) => return Err(Error::skipped("there is no card")),
    };
    card.send(card::ADD, &[])?;
    // QEMU says first who it is.
    let first = card.receive("the reader")?.0;
    let kind = if first == card::INIT { card.receive("the reader")?.0 } else { first };
    assert_eq!(kind, card::RESULT, "the reader, added");
    card.send(card::ATR, &ATR)?;
    assert_eq!(card.receive("the card")?, (card::RESULT, vec![0; 4]), "the card, inserted");
    Ok((reader, card))
}

/// Sees that the slot is empty.
fn empty(reader: &Reader) -> Result<()> {
    let status = reader.ask(message::SLOT_STATUS, 0, NONE, &[])?;
    let found = (status.kind, status.status, status.error, &status.data[..]);
    assert_eq!(found, (answer::SLOT_STATUS, ABSENT, 0, &[][..]), "the status of an empty slot");
    Ok(())
}

/// Would catch a descriptor of another length or class, one slot too many, and a longest message that
/// cannot be (CCID, 5.1).
fn descriptor(device: &UsbCcid, _: &Rc<Vm>) -> Result<()> {
    let (reader, _) = started(device)?;
    let all = reader.usb.configuration()?;
    assert_eq!(all[9..17], [9, 4, 0, 0, 3, 0x0b, 0, 0], "the interface");
    assert_eq!(all[18..23], [0x36, 0x21, 0x10, 0x01, 0], "length, type, release, slots");
    let word = |at: usize| u32::from_le_bytes([0, 1, 2, 3].map(|byte| all[18 + at + byte]));
    assert_ne!(word(6) & 3, 0, "protocols");
    assert!(word(44) >= 64, "the longest message is {}", word(44));
    assert!(reader.interrupt.is_in() && reader.input.is_in() && !reader.output.is_in());
    Ok(())
}

/// Would catch a slot that is told to have a card and has none, a sequence number that is another
/// message's, and a clock that runs without a card (6.2.2).
fn slot_status(device: &UsbCcid, vm: &Rc<Vm>) -> Result<()> {
    let (reader, _) = started(device)?;
    vm.set_up_ends()?;
    (0..300).try_for_each(|_| empty(&reader))
}

/// Would catch power for a card that is not there, or a failure that is told of the next command
/// as well (6.1.1, 6.1.2).
fn power(device: &UsbCcid, vm: &Rc<Vm>) -> Result<()> {
    let (reader, _) = started(device)?;
    vm.set_up_ends()?;
    for voltage in [0, 1, 2, 3] {
        let on = reader.ask(message::POWER_ON, 0, [voltage, 0, 0], &[])?;
        let found = (on.kind, on.status, on.error, &on.data[..]);
        assert_eq!(found, (answer::DATA, FAILED | ABSENT, MUTE, &[][..]), "power {voltage}");
        empty(&reader)?;
        let off = reader.ask(message::POWER_OFF, 0, NONE, &[])?;
        let found = (off.kind, off.status & 3, &off.data[..]);
        assert_eq!(found, (answer::SLOT_STATUS, ABSENT, &[][..]), "no power");
    }
    empty(&reader)
}

/// Parameters, whatever length they claim.
fn raw_parameters(reader: &Reader, kind: u8, parameter: [u8; 3], data: &[u8]) -> Result<Vec<u8>> {
    let sequence = reader.tell(kind, 0, parameter, data)?;
    let memory = reader.usb.hcd.vm().ram().alloc(64, 64)?;
    let what = "parameters";
    let moved = reader.usb.transfer(reader.input, &memory, (0, 64), what)?.done(what)?;
    let mut bytes = memory.to_vec()?;
    bytes.truncate(moved);
    assert_eq!((bytes[0], bytes[6]), (answer::PARAMETERS, sequence), "parameters: {bytes:02x?}");
    Ok(bytes)
}

/// Would catch parameters that are not those that were set, and a reset that leaves them.
fn parameters(device: &UsbCcid, vm: &Rc<Vm>) -> Result<()> {
    let (reader, _) = started(device)?;
    vm.set_up_ends()?;
    let first = raw_parameters(&reader, message::RESET_PARAMETERS, NONE, &[])?;
    for (protocol, data) in [
        (0, &[0x18, 0, 1, 2, 0][..]),
        (1, &[0x18, 0x10, 3, 4, 0, 0x20, 0]),
        (0, &[0x13, 2, 5, 6, 1]),
    ] {
        let what = format!("the protocol T={protocol}");
        raw_parameters(&reader, message::SET_PARAMETERS, [protocol, 0, 0], data)?;
        let set = raw_parameters(&reader, message::GET_PARAMETERS, NONE, &[])?;
        assert_eq!(set[9], protocol, "{what}");
        assert_eq!(set[10..10 + data.len()], *data, "{what}: parameters");
    }
    let last = raw_parameters(&reader, message::RESET_PARAMETERS, NONE, &[])?;
    assert_eq!(last[7..], first[7..], "parameters after a reset");
    Ok(())
}

/// Would catch parameters that are not as long as the message says (6.2.3: 5 bytes for T=0, 7 for
/// T=1).
fn parameters_length(device: &UsbCcid, _: &Rc<Vm>) -> Result<()> {
    let (reader, _) = started(device)?;
    for (protocol, data) in [(0, &[0x18, 0, 1, 2, 0][..]), (1, &[0x18, 0x10, 3, 4, 0, 0x20, 0])] {
        let set = reader.ask(message::SET_PARAMETERS, 0, [protocol, 0, 0], data)?;
        assert_eq!((set.last, &set.data[..]), (protocol, data), "T={protocol}");
    }
    Ok(())
}

/// Would catch a message that the reader does not know and that is done, is not answered, or told of
/// without an error (6.2.6: bError is 0, command not supported).
fn unknown(device: &UsbCcid, _: &Rc<Vm>) -> Result<()> {
    let (reader, _) = started(device)?;
    for kind in [0, 0x50, 0x60, 0x64, 0x70, 0x7f, 0x80, 0xff, message::ESCAPE] {
        let refused = reader.ask(kind, 0, NONE, &[])?;
        let found = (refused.status, refused.error);
        assert_eq!(found, (FAILED | ABSENT, 0), "message {kind:#x}");
        empty(&reader)?;
    }
    Ok(())
}

/// Would catch a slot that is not there and that answers as if it were (6.2.6: bError is 5, the offset
/// of bSlot).
fn wrong_slot(device: &UsbCcid, _: &Rc<Vm>) -> Result<()> {
    let (reader, _) = started(device)?;
    for slot in [1, 2, 0xff] {
        let refused = reader.ask(message::SLOT_STATUS, slot, NONE, &[])?;
        assert_eq!((refused.status, refused.error), (FAILED | ABSENT, 5), "slot {slot}");
    }
    empty(&reader)
}

/// Would catch a block for a card that is not there and that is taken for delivered (6.2.6).
fn without_card(device: &UsbCcid, _: &Rc<Vm>) -> Result<()> {
    let (reader, _) = started(device)?;
    let refused = reader.ask(message::TRANSFER, 0, NONE, &[0, 0xa4, 4, 0, 0])?;
    let found = (refused.kind, refused.status, refused.error, &refused.data[..]);
    assert_eq!(found, (answer::DATA, FAILED | ABSENT, MUTE, &[][..]), "a block");
    empty(&reader)
}

/// Would catch a message of several packets that is put together wrongly, up to the longest.
fn long_message(device: &UsbCcid, _: &Rc<Vm>) -> Result<()> {
    let (reader, _) = started(device)?;
    for length in [53, 54, 55, 117, 118, 119, 261, 4096, 65_000] {
        let refused = reader.ask(message::ESCAPE, 0, NONE, &vec![0x5a; length])?;
        assert_eq!((refused.status, refused.error), (FAILED | ABSENT, 0), "{length} bytes");
        empty(&reader)?;
    }
    Ok(())
}

/// Would catch a message that is longer or shorter than it says, after which the reader is of no use.
fn wrong_length(device: &UsbCcid, vm: &Rc<Vm>) -> Result<()> {
    let (reader, _) = started(device)?;
    vm.set_up_ends()?;
    for (claimed, length) in
        [(1u32, 10), (0, 11), (50, 20), (u32::MAX, 10), (0xffff_fff6, 30), (0, 9), (0, 1), (0, 0)]
    {
        let mut bytes = vec![message::TRANSFER];
        bytes.extend(claimed.to_le_bytes());
        bytes.resize(length.max(5), 0);
        bytes.truncate(length);
        let what = format!("{length} bytes that claim {claimed:#x} of data");
        let refused = reader.send(&bytes)?;
        if refused.status == Status::Stall {
            let _ = reader.usb.tell(2, 1, 0, reader.output.address.into())?;
            reader.usb.hcd.clear_halt(&reader.usb.device, &reader.output)?;
            empty(&reader)?;
        } else {
            panic!("{what}: {refused:?}");
        }
    }
    Ok(())
}

/// Would catch a reader that fails when more commands are sent than answers are read.
fn many(device: &UsbCcid, vm: &Rc<Vm>) -> Result<()> {
    let (reader, _) = started(device)?;
    vm.set_up_ends()?;
    for _ in 0..3 {
        // One that holds fewer may lose the later ones.
        let first = reader.tell(message::SLOT_STATUS, 0, NONE, &[])?;
        for _ in 0..20 {
            let _ = reader.tell(message::SLOT_STATUS, 0, NONE, &[]);
        }
        assert_eq!(reader.hear()?.sequence, first, "the first answer");
        let mut last = 0;
        while let Ok(Message { sequence, .. }) = heard_at_once(&reader) {
            last = sequence;
        }
        assert_ne!(last, first, "further answers");
        empty(&reader)?;
    }
    Ok(())
}

/// What the reader has to say, without waiting for more.
fn heard_at_once(reader: &Reader) -> Result<Message> {
    let memory = reader.usb.hcd.vm().ram().alloc(64, 64)?;
    let request = reader.usb.request(reader.input, &memory, (0, 64));
    let ticket = reader.usb.hcd.submit(&request)?;
    super::hcd::frames(reader.usb.hcd, 4)?;
    match reader.usb.hcd.completion(ticket)? {
        Some(completion) => {
            completion.done("an answer")?;
            let b = memory.to_vec()?;
            let (kind, slot, sequence, status, error, last) = (b[0], b[5], b[6], b[7], b[8], b[9]);
            Ok(Message { kind, slot, sequence, status, error, last, data: Vec::new() })
        }
        None => {
            reader.usb.hcd.cancel(ticket)?;
            Err(Error::failed("no answer"))
        }
    }
}

/// Would catch an abort that is not known, which every reader must know (5.3.1, 6.1.13).
fn abort(device: &UsbCcid, _: &Rc<Vm>) -> Result<()> {
    let (reader, _) = started(device)?;
    // ABORT for slot 0 and the sequence number that the message has.
    reader.usb.set(0x21, 1, 0, 0)?;
    let aborted = reader.ask(message::ABORT, 0, NONE, &[])?;
    assert_eq!((aborted.kind, aborted.status), (answer::SLOT_STATUS, ABSENT), "an abort");
    empty(&reader)
}

/// Would catch a card that comes and is not notified of, or is not powered when it should be (6.3.1).
fn card_comes(device: &UsbCcid, vm: &Rc<Vm>) -> Result<()> {
    let (reader, card) = with_card(device)?;
    let memory = vm.ram().alloc(8, 16)?;
    let request = reader.usb.request(reader.interrupt, &memory, (0, 2));
    let ticket = reader.usb.hcd.submit(&request)?;
    assert_eq!(ended(reader.usb.hcd, ticket, "a notification")?.done("a notification")?, 2);
    assert_eq!(memory.to_vec()?[..2], [0x50, 3], "a card is there, and was not before");
    let on = reader.ask(message::POWER_ON, 0, [1, 0, 0], &[])?;
    let found = (on.kind, on.status, on.error, &on.data[..]);
    assert_eq!(found, (answer::DATA, ACTIVE, 0, &ATR[..]), "the answer to reset");
    let off = reader.ask(message::POWER_OFF, 0, NONE, &[])?;
    assert_eq!((off.kind, off.status), (answer::SLOT_STATUS, INACTIVE), "without power");
    drop(card);
    Ok(())
}

/// Would catch a block that does not reach the card as it is, and an answer of another length.
fn card_blocks(device: &UsbCcid, vm: &Rc<Vm>) -> Result<()> {
    let (reader, card) = with_card(device)?;
    vm.set_up_ends()?;
    reader.ask(message::POWER_ON, 0, [1, 0, 0], &[])?;
    for (seed, length) in [5, 53, 54, 55, 118, 200, 260].into_iter().enumerate() {
        let sent: Vec<u8> = (0..length).map(|at| (at * 7 + seed) as u8).collect();
        let sequence = reader.tell(message::TRANSFER, 0, NONE, &sent)?;
        let what = format!("a block of {length} bytes");
        assert_eq!(card.receive(&what)?, (card::APDU, sent.clone()), "{what}");
        let back: Vec<u8> = sent.iter().rev().copied().collect();
        card.send(card::APDU, &back)?;
        let heard = reader.hear()?;
        let expected = Message {
            kind: answer::DATA,
            slot: 0,
            sequence,
            status: ACTIVE,
            error: 0,
            last: 0,
            data: back,
        };
        assert_eq!(heard, expected, "{what}: the answer");
    }
    Ok(())
}

/// Would catch a card that is still told to be there when it is gone, or whose command has no end.
fn card_goes(device: &UsbCcid, _: &Rc<Vm>) -> Result<()> {
    let (reader, card) = with_card(device)?;
    reader.ask(message::POWER_ON, 0, [1, 0, 0], &[])?;
    let sequence = reader.tell(message::TRANSFER, 0, NONE, &[0, 0xa4, 4, 0, 0])?;
    card.receive("a block")?;
    card.send(card::REMOVE, &[])?;
    assert_eq!(card.receive("the removal")?.0, card::RESULT, "the card, removed");
    let ended = reader.hear()?;
    assert_eq!((ended.kind, ended.sequence), (answer::DATA, sequence), "the command");
    assert_eq!(ended.status, FAILED | ABSENT, "the command: status");
    empty(&reader)
}
