//! What an SD host controller reports, and how it interrupts: every status bit, its enables, its
//! signal, the pin; and errors of cards and commands (SD Host Controller Simplified Specification
//! 3.00, 2.2.17 to 2.2.22; SD Physical Layer Simplified Specification 3.01, 4.10).

use std::rc::Rc;

use serde_json::{Value, json};

use crate::drivers::sd::sd_card::{IMAGE, SdCard};
use crate::qemu::{Version, Vm};
use crate::qos::pci::intx;
use crate::qos::registers::RegistersExt;
use crate::qos::sd::{BLOCK, Card, Identity, Response, Transfer};
use crate::qos::sdhci::{self, Sdhci, Vendor};
use crate::{Error, Result, tests};

tests!(SdCard, "sd-signal-tests":
    signals,
    pin,
    command_errors = "command-errors",
    address_errors = "address-errors",
    states,
    registers_of_the_card = "card-registers",
    erase,
    write_protection = "write-protection",
    removal,
    machine_reset = "machine-reset",
);

/// Whether the slot asks for an interrupt: Slot Interrupt Status, and the pin where there is one.
fn interrupts(host: &dyn Sdhci, when: &str) -> Result<bool> {
    let slot = host.registers().get(sdhci::SLOT_INTERRUPT_STATUS)?;
    assert!(slot <= 1, "{when}: Slot Interrupt Status {slot:#x}");
    if let Some(function) = host.function() {
        assert_eq!(function.asserts_interrupt()?, slot == 1, "{when}: the pin and the slot");
    }
    Ok(slot == 1)
}

/// Would catch a status bit that is not set or is set although it is not enabled, an interrupt
/// that no signal enable lets out, that stays when its status is cleared, disabled or masked, or
/// that comes for another bit's.
fn signals(sd: &SdCard, _: &Rc<Vm>) -> Result<()> {
    let card = sd.card()?;
    let identity = card.initialise()?;
    let (host, registers) = (sd.host()?, sd.host()?.registers());
    let address = u32::from(identity.rca) << 16;
    let status_command = || card.start_command(13, address, Response::R1);
    let normal_signal = sdhci::NORMAL_INTERRUPT_SIGNAL_ENABLE;
    registers.set(normal_signal, 0)?;
    registers.set(sdhci::ERROR_INTERRUPT_SIGNAL_ENABLE, 0)?;
    for round in 0..2 {
        let what = |text: &str| format!("round {round}, {text}");
        status_command()?;
        card.wait_status(sdhci::COMMAND_COMPLETE, "a command")?;
        assert!(!interrupts(host, &what("no signal enabled"))?);
        registers.set(normal_signal, !sdhci::COMMAND_COMPLETE & 0x1ff)?;
        assert!(!interrupts(host, &what("other signals enabled"))?, "other signals");
        registers.set(normal_signal, sdhci::COMMAND_COMPLETE)?;
        assert!(interrupts(host, &what("its signal enabled"))?, "its signal enabled");
        registers.set(normal_signal, 0)?;
        assert!(!interrupts(host, &what("its signal disabled"))?, "its signal disabled");
        registers.set(normal_signal, sdhci::COMMAND_COMPLETE)?;
        registers.set(sdhci::NORMAL_INTERRUPT_STATUS, sdhci::TRANSFER_COMPLETE)?;
        assert!(interrupts(host, &what("another bit cleared"))?, "another bit cleared");
        registers.set(sdhci::NORMAL_INTERRUPT_STATUS, sdhci::COMMAND_COMPLETE)?;
        assert!(!interrupts(host, &what("its bit cleared"))?, "its bit cleared");

        status_command()?;
        assert!(interrupts(host, &what("a command, its signal enabled before"))?, "before");
        let enables = registers.get(sdhci::NORMAL_INTERRUPT_STATUS_ENABLE)?;
        registers.set(sdhci::NORMAL_INTERRUPT_STATUS_ENABLE, enables & !sdhci::COMMAND_COMPLETE)?;
        let status = card.interrupt_status()?;
        assert_eq!(status.normal & sdhci::COMMAND_COMPLETE, 0, "the status, disabled");
        assert!(!interrupts(host, &what("the status disabled"))?, "the status disabled");
        card.write_command(13, address, Response::R1, 0)?;
        let status = card.interrupt_status()?;
        assert_eq!(status.normal & sdhci::COMMAND_COMPLETE, 0, "a status that is not enabled");
        assert!(!interrupts(host, &what("a status that is not enabled"))?, "not enabled");
        registers.set(sdhci::NORMAL_INTERRUPT_STATUS_ENABLE, enables)?;
        registers.set(normal_signal, 0)?;
    }
    let every = [sdhci::TRANSFER_COMPLETE, sdhci::BUFFER_READ_READY];
    registers.set(normal_signal, every[0] | every[1])?;
    card.start(&read_of(&identity, 0)?)?;
    card.wait_status(sdhci::BUFFER_READ_READY, "a block")?;
    assert!(interrupts(host, "the buffer is ready")?, "the buffer is ready");
    registers.set(sdhci::NORMAL_INTERRUPT_STATUS, sdhci::BUFFER_READ_READY)?;
    assert!(!interrupts(host, "the buffer's bit cleared")?, "the buffer's bit cleared");
    card.take_block(BLOCK)?;
    card.wait_status(sdhci::TRANSFER_COMPLETE, "the end of a block")?;
    assert!(interrupts(host, "the transfer is over")?, "the transfer is over");
    registers.set(sdhci::SOFTWARE_RESET, sdhci::RESET_FOR_ALL)?;
    assert!(!interrupts(host, "after a reset for all")?, "after a reset for all");
    errors_signal(host)
}

/// Every error, forced (2.2.28): its status enable, its signal enable, and the summary bit.
fn errors_signal(host: &dyn Sdhci) -> Result<()> {
    let registers = host.registers();
    if host.profile().vendor != Vendor::Standard {
        return Ok(());
    }
    for bit in (0..10).map(|bit| 1u16 << bit) {
        let what = |text: &str| format!("error {bit:#x}, {text}");
        registers.set(sdhci::ERROR_INTERRUPT_STATUS_ENABLE, 0x3ff & !bit)?;
        registers.set(sdhci::ERROR_INTERRUPT_SIGNAL_ENABLE, bit)?;
        registers.set(sdhci::FORCE_EVENT_ERROR, bit)?;
        assert_eq!(registers.get(sdhci::ERROR_INTERRUPT_STATUS)?, 0, "{}", what("not enabled"));
        assert!(!interrupts(host, &what("not enabled"))?, "{}", what("not enabled"));
        registers.set(sdhci::ERROR_INTERRUPT_STATUS_ENABLE, 0x3ff)?;
        registers.set(sdhci::FORCE_EVENT_ERROR, bit)?;
        assert_eq!(registers.get(sdhci::ERROR_INTERRUPT_STATUS)?, bit, "{}", what("forced"));
        let normal = registers.get(sdhci::NORMAL_INTERRUPT_STATUS)?;
        assert_eq!(normal & sdhci::ERROR_INTERRUPT, sdhci::ERROR_INTERRUPT, "{}", what("summary"));
        assert!(interrupts(host, &what("forced"))?, "{}", what("forced"));
        registers.set(sdhci::ERROR_INTERRUPT_SIGNAL_ENABLE, 0x3ff & !bit)?;
        assert!(!interrupts(host, &what("its signal disabled"))?, "{}", what("disabled"));
        registers.set(sdhci::ERROR_INTERRUPT_SIGNAL_ENABLE, bit)?;
        assert!(interrupts(host, &what("its signal enabled"))?, "{}", what("enabled"));
        // The summary is not cleared by itself (2.2.17).
        registers.set(sdhci::NORMAL_INTERRUPT_STATUS, sdhci::ERROR_INTERRUPT)?;
        let normal = registers.get(sdhci::NORMAL_INTERRUPT_STATUS)?;
        assert_eq!(normal & sdhci::ERROR_INTERRUPT, sdhci::ERROR_INTERRUPT, "{}", what("written"));
        registers.set(sdhci::ERROR_INTERRUPT_STATUS_ENABLE, 0x3ff & !bit)?;
        let status = registers.get(sdhci::ERROR_INTERRUPT_STATUS)?;
        assert_eq!(status, 0, "{}", what("the status disabled"));
        assert!(!interrupts(host, &what("the status disabled"))?, "{}", what("status disabled"));
        registers.set(sdhci::ERROR_INTERRUPT_STATUS_ENABLE, 0x3ff)?;
        assert!(!interrupts(host, &what("enabled again"))?, "{}", what("enabled again"));
        registers.set(sdhci::FORCE_EVENT_ERROR, bit)?;
        registers.set(sdhci::ERROR_INTERRUPT_STATUS, 0x3ff & !bit)?;
        assert!(interrupts(host, &what("others cleared"))?, "{}", what("others cleared"));
        registers.set(sdhci::ERROR_INTERRUPT_STATUS, bit)?;
        assert!(!interrupts(host, &what("cleared"))?, "{}", what("cleared"));
        let normal = registers.get(sdhci::NORMAL_INTERRUPT_STATUS)?;
        assert_eq!(normal & sdhci::ERROR_INTERRUPT, 0, "{}", what("summary, cleared"));
    }
    Ok(())
}

/// Would catch an interrupt that does not get from the controller to the interrupt controller,
/// or that INTx Disable does not hold back (PCI 3.0, 6.2.2).
fn pin(sd: &SdCard, vm: &Rc<Vm>) -> Result<()> {
    let Some(function) = sd.host()?.function() else {
        return Err(Error::skipped("this controller is no PCI function"));
    };
    let registers = sd.host()?.registers();
    registers.set(sdhci::ERROR_INTERRUPT_STATUS_ENABLE, 1)?;
    registers.set(sdhci::ERROR_INTERRUPT_SIGNAL_ENABLE, 1)?;
    intx::check(
        function,
        vm,
        || registers.set(sdhci::FORCE_EVENT_ERROR, 1),
        || registers.set(sdhci::ERROR_INTERRUPT_STATUS, 1),
    )
}

/// A read of one block through the port.
fn read_of(identity: &Identity, block: u32) -> Result<Transfer> {
    let argument = Card::address_of(identity, block)?;
    let (size, mode) = (BLOCK as u16, sdhci::TRANSFER_READ);
    Ok(Transfer { command: 17, argument, size, count: 1, mode })
}

/// Card status: errors.
const OUT_OF_RANGE: u32 = 1 << 31;
const ADDRESS_ERROR: u32 = 1 << 30;
const BLOCK_LEN_ERROR: u32 = 1 << 29;
const ERASE_SEQ_ERROR: u32 = 1 << 28;
const WP_VIOLATION: u32 = 1 << 26;
const ILLEGAL_COMMAND: u32 = 1 << 22;
/// Card status in transfer state, ready for data.
const READY: u32 = 4 << 9 | 1 << 8;
const STAND_BY: u32 = 3 << 9 | 1 << 8;

/// Asserts that a command gets no answer, and that the controller says so and nothing else.
fn assert_no_answer(card: &Card, sd: &SdCard, command: (u8, u32), what: &str) -> Result<()> {
    let registers = sd.host()?.registers();
    card.start_command(command.0, command.1, Response::R1)?;
    let status = card.wait_status(sdhci::ERROR_INTERRUPT, &format!("a timeout of {what}"))?;
    assert_eq!(status.error, sdhci::COMMAND_TIMEOUT, "{what}: Error Interrupt Status");
    let others = status.normal & !(sdhci::COMMAND_COMPLETE | sdhci::ERROR_INTERRUPT);
    assert_eq!(others, 0, "{what}: Normal Interrupt Status {:#x}", status.normal);
    registers.set(sdhci::ERROR_INTERRUPT_STATUS, sdhci::COMMAND_TIMEOUT)?;
    registers.set(sdhci::NORMAL_INTERRUPT_STATUS, !0)?;
    let status = card.interrupt_status()?;
    assert_eq!((status.normal, status.error), (0, 0), "{what}: the status, cleared");
    Ok(())
}

/// Would catch a command without an answer that is not reported as a timeout, one for another
/// card that is answered, and an illegal command that the card does or does not report, once
/// (Physical Layer 4.10.1).
fn command_errors(sd: &SdCard, _: &Rc<Vm>) -> Result<()> {
    let card = sd.card()?;
    let identity = card.initialise()?;
    let registers = sd.host()?.registers();
    let (own, other) = (u32::from(identity.rca) << 16, u32::from(identity.rca ^ 0x55) << 16);
    for (command, what) in [
        ((2, 0), "CMD2 in transfer state"),
        ((3, 0), "CMD3 in transfer state"),
        ((9, own), "CMD9 in transfer state"),
        ((10, own), "CMD10 in transfer state"),
        ((8, 0x1aa), "CMD8 in transfer state"),
    ] {
        assert_no_answer(&card, sd, command, what)?;
        let status = card.card_status(&identity)?;
        assert_eq!(status, READY | ILLEGAL_COMMAND, "{what}: the card status {status:#x}");
        let status = card.card_status(&identity)?;
        assert_eq!(status, READY, "{what}: the next card status {status:#x}");
    }
    assert_no_answer(&card, sd, (13, other), "CMD13 to another card")?;
    assert_no_answer(&card, sd, (55, other), "CMD55 to another card")?;
    let status = card.card_status(&identity)?;
    assert_eq!(status, READY, "after commands to another card: {status:#x}");
    // A timeout that is not enabled is not seen, and the data of such a command do not come.
    registers.set(sdhci::ERROR_INTERRUPT_STATUS_ENABLE, 0)?;
    card.start_command(2, 0, Response::R1)?;
    let status = card.interrupt_status()?;
    assert_eq!((status.normal & sdhci::ERROR_INTERRUPT, status.error), (0, 0), "not enabled");
    registers.set(sdhci::ERROR_INTERRUPT_STATUS_ENABLE, 0x3ff)?;
    assert_eq!(card.card_status(&identity)? & ILLEGAL_COMMAND, ILLEGAL_COMMAND, "CMD2");
    let transfer = Transfer { command: 2, ..read_of(&identity, 0)? };
    card.start(&transfer)?;
    let status = card.wait_status(sdhci::ERROR_INTERRUPT, "a timeout of a command with data")?;
    assert_eq!(status.normal & sdhci::BUFFER_READ_READY, 0, "data of a command without answer");
    let state = registers.get(sdhci::PRESENT_STATE)?;
    let busy = sdhci::COMMAND_INHIBIT_DAT | sdhci::BUFFER_READ_ENABLE;
    assert_eq!(state & busy, 0, "Present State after a command without answer: {state:#x}");
    Ok(())
}

/// Would catch a block past the end of the card that is read or written, or is not reported
/// (Physical Layer 4.3.3, 4.3.4), and a block length that the card cannot have and takes.
fn address_errors(sd: &SdCard, vm: &Rc<Vm>) -> Result<()> {
    let card = sd.card()?;
    let identity = card.initialise()?;
    let registers = sd.host()?.registers();
    let last = (IMAGE.size / BLOCK as u64 - 1) as u32;
    let wrong = OUT_OF_RANGE | ADDRESS_ERROR;
    let [status, ..] = card.command(16, 1024, Response::R1)?;
    assert_eq!(status, READY | BLOCK_LEN_ERROR, "a block length of 1024: {status:#x}");
    let status = card.card_status(&identity)?;
    assert_eq!(status, READY, "the next status: {status:#x}");
    let secret = [0x5a; BLOCK];
    vm.write_image(IMAGE.name, u64::from(last) * BLOCK as u64, &secret)?;
    for command in [17u8, 18, 24, 25] {
        let what = format!("CMD{command} past the end");
        let reads = command < 20;
        let beyond = read_of(&identity, last + 1)?;
        let mode = if reads { sdhci::TRANSFER_READ } else { 0 };
        card.start(&Transfer { command, mode, ..beyond })?;
        card.wait_status(sdhci::COMMAND_COMPLETE, &what)?;
        let status = card.response(0)?;
        assert_ne!(status & wrong, 0, "{what}: the response {status:#x}");
        if !reads {
            card.put_block(&[0xee; BLOCK])?;
        }
        registers.set(sdhci::SOFTWARE_RESET, sdhci::RESET_FOR_ALL)?;
        let mut image = [0; BLOCK];
        vm.read_image(IMAGE.name, u64::from(last) * BLOCK as u64, &mut image)?;
        assert_eq!(image, secret, "{what}: the last block");
        card.initialise()?;
    }
    // A transfer of two blocks, of which the second is past the end.
    let identity = card.initialise()?;
    for command in [18u8, 25] {
        let what = format!("CMD{command} of two blocks, one past the end");
        let reads = command < 20;
        let first = read_of(&identity, last)?;
        let mode = sdhci::TRANSFER_MULTI
            | sdhci::TRANSFER_COUNT
            | sdhci::TRANSFER_AUTO_CMD12
            | if reads { sdhci::TRANSFER_READ } else { 0 };
        let (count, argument) = (2, first.argument);
        card.start(&Transfer { command, argument, mode, count, ..first })?;
        for number in 0..2 {
            let ready = sdhci::BUFFER_READ_READY | sdhci::BUFFER_WRITE_READY;
            card.wait_status(ready, &what)?;
            match reads {
                true => {
                    let got = card.take_block(BLOCK)?;
                    assert_eq!(got == secret, number == 0, "{what}: block {number}");
                }
                false => card.put_block(&[0x77 + number; BLOCK])?,
            }
        }
        card.wait_status(sdhci::TRANSFER_COMPLETE, &what)?;
        let status = card.response(3)?;
        assert_ne!(status & wrong, 0, "{what}: the response to CMD12 {status:#x}");
        let mut image = [0; BLOCK];
        vm.read_image(IMAGE.name, u64::from(last) * BLOCK as u64, &mut image)?;
        let expected = if reads { secret } else { [0x77; BLOCK] };
        assert_eq!(image, expected, "{what}: the last block");
    }
    Ok(())
}

/// Would catch a card that is in another state than it should be, or that does in it what it
/// must not (Physical Layer 4.1, 4.8).
fn states(sd: &SdCard, _: &Rc<Vm>) -> Result<()> {
    let card = sd.card()?;
    let identity = card.initialise()?;
    let own = u32::from(identity.rca) << 16;
    assert_eq!(card.card_status(&identity)?, READY, "selected");
    // Another address deselects it.
    let [status, ..] = card.command(7, 0, Response::R1b)?;
    assert_eq!(status, READY, "CMD7 that deselects: the state before");
    assert_eq!(card.card_status(&identity)?, STAND_BY, "deselected");
    assert_eq!(card.command(10, own, Response::R2)?, identity.cid, "CID");
    assert_eq!(card.command(9, own, Response::R2)?, identity.csd, "CSD");
    for (command, argument, what) in
        [(17u8, 0, "a read in stand-by"), (24, 0, "a write in stand-by"), (16, 512, "CMD16")]
    {
        assert_no_answer(&card, sd, (command, argument), what)?;
        let status = card.card_status(&identity)?;
        assert_eq!(status, STAND_BY | ILLEGAL_COMMAND, "{what}: {status:#x}");
    }
    assert_no_answer(&card, sd, (7, own ^ 0x55 << 16), "CMD7 to another card")?;
    assert_eq!(card.card_status(&identity)?, STAND_BY, "after CMD7 to another card");
    let [status, ..] = card.command(7, own, Response::R1b)?;
    assert_eq!(status, STAND_BY, "CMD7 that selects: the state before");
    assert_eq!(card.card_status(&identity)?, READY, "selected again");
    // CMD0 makes it forget its address.
    card.command(0, 0, Response::None)?;
    assert_no_answer(&card, sd, (13, own), "CMD13 in idle state")?;
    card.initialise().map(drop)
}

/// Would catch registers of the card that are another's, have another length or do not follow
/// what is set (Physical Layer chapter 5, 4.3.10, 4.10.2).
fn registers_of_the_card(sd: &SdCard, _: &Rc<Vm>) -> Result<()> {
    let card = sd.card()?;
    let identity = card.initialise()?;
    card.application(&identity)?;
    let scr = card.read_register(51, 0, 8)?;
    // Structure 1.0, specification 2.00 or later; erased bits are zero, buses of 1 and 4 bits.
    assert_eq!((scr[0], scr[1] & 0x8f), (2, 0x05), "SCR: {scr:02x?}");
    assert_eq!(scr[4..], [0; 4], "the maker's part of SCR");
    for (width, expected) in [(0, 0), (2, 0x80), (0, 0)] {
        card.application(&identity)?;
        let [status, ..] = card.command(6, width, Response::R1)?;
        assert_eq!(status & !(1 << 5), READY, "ACMD6: {status:#x}");
        card.application(&identity)?;
        let status = card.read_register(13, 0, 64)?;
        assert_eq!(status[0], expected, "SD Status with a bus width of {width}");
        assert_eq!(status[1..8], [0; 7], "SD Status {status:02x?}");
    }
    for count in [1u16, 3] {
        let argument = Card::address_of(&identity, 64)?;
        let mode = sdhci::TRANSFER_MULTI | sdhci::TRANSFER_COUNT | sdhci::TRANSFER_AUTO_CMD12;
        card.start(&Transfer { command: 25, argument, size: BLOCK as u16, count, mode })?;
        for number in 0..count {
            card.wait_status(sdhci::BUFFER_WRITE_READY, "room for a block")?;
            card.put_block(&[number as u8; BLOCK])?;
        }
        card.wait_status(sdhci::TRANSFER_COMPLETE, "the end of a write")?;
        card.application(&identity)?;
        let written = card.read_register(22, 0, 4)?;
        let number = u32::from_le_bytes([written[0], written[1], written[2], written[3]]);
        // The specification has the highest byte first; QEMU's is the host's order.
        let seen = [number, number.swap_bytes()];
        assert!(seen.contains(&count.into()), "ACMD22 after {count} blocks: {written:02x?}");
    }
    // Function groups: what is asked for is in the answer, four bits each (4.3.10.4).
    let switch = card.read_register(6, 0x00ff_fff1, 64)?;
    assert_eq!(switch[16] & 0xf, 1, "the function of group 1: {switch:02x?}");
    assert_eq!(switch[17..], [0; 47], "the rest of the switch status");
    let status = card.card_status(&identity)?;
    assert_eq!(status, READY, "at the end: {status:#x}");
    Ok(())
}

/// Would catch an erase of other blocks, of none, or without its sequence (Physical Layer 4.3.5).
fn erase(sd: &SdCard, vm: &Rc<Vm>) -> Result<()> {
    let card = sd.card()?;
    let identity = card.initialise()?;
    let bytes = [0x3c; 6 * BLOCK];
    vm.write_image(IMAGE.name, 64 * BLOCK as u64, &bytes)?;
    let image = || -> Result<Vec<u8>> {
        let mut image = vec![0; bytes.len()];
        vm.read_image(IMAGE.name, 64 * BLOCK as u64, &mut image)?;
        Ok(image)
    };
    let [status, ..] = card.command(38, 0, Response::R1b)?;
    let later = card.card_status(&identity)?;
    assert_ne!((status | later) & ERASE_SEQ_ERROR, 0, "CMD38 alone: {status:#x}, {later:#x}");
    assert!(image()? == bytes, "an erase without blocks");
    card.command(32, Card::address_of(&identity, 65)?, Response::R1)?;
    card.command(33, Card::address_of(&identity, 67)?, Response::R1)?;
    let [status, ..] = card.command(38, 0, Response::R1b)?;
    assert_eq!(status, READY, "CMD38: {status:#x}");
    let erased = image()?;
    assert_eq!(erased[..BLOCK], bytes[..BLOCK], "the block before");
    assert_eq!(erased[4 * BLOCK..], bytes[4 * BLOCK..], "the blocks after");
    let inside = &erased[BLOCK..4 * BLOCK];
    let uniform = inside.iter().all(|byte| *byte == inside[0]);
    // Zeroes or ones (SCR, DATA_STAT_AFTER_ERASE); QEMU before 6.2 leaves what was there.
    if uniform && inside[0] == 0x3c {
        return Err(Error::skipped("sd-card: this QEMU erases nothing"));
    }
    assert!(uniform && [0, 0xff].contains(&inside[0]), "the erased blocks");
    card.command(38, 0, Response::R1b)?;
    assert!(image()? == erased, "an erase with the blocks of the one before");
    card.card_status(&identity).map(drop)
}

/// Would catch a protected group that is written, one that is not reported, and protection that
/// stays when it is taken back (Physical Layer 4.3.6).
fn write_protection(sd: &SdCard, vm: &Rc<Vm>) -> Result<()> {
    if vm.emulator().capabilities.version < Version::new(6, 0, 0) {
        return Err(Error::skipped("sd-card: QEMU 5.2 aborts on CMD30 near the end of the card"));
    }
    let card = sd.card()?;
    let identity = card.initialise()?;
    let address = Card::address_of(&identity, 64)?;
    let group = |card: &Card| -> Result<u8> {
        let bits = card.read_register(30, address, 4)?;
        let set = bits.iter().filter(|byte| **byte != 0).count();
        assert!(set <= 1, "CMD30: {bits:?}");
        Ok(bits.iter().fold(0, |all, byte| all | byte))
    };
    let write = |command: u8| -> Result<u32> {
        let (size, count, mode) = (BLOCK as u16, 1, 0);
        card.start(&Transfer { command, argument: address, size, count, mode })?;
        card.wait_status(sdhci::COMMAND_COMPLETE, "a write")?;
        let status = card.response(0)?;
        card.put_block(&[0x99; BLOCK])?;
        Ok(status)
    };
    let block = || -> Result<[u8; BLOCK]> {
        let mut image = [0; BLOCK];
        vm.read_image(IMAGE.name, 64 * BLOCK as u64, &mut image)?;
        Ok(image)
    };
    assert_eq!(group(&card)?, 0, "protected groups at first");
    card.command(28, address, Response::R1b)?;
    assert_eq!(group(&card)?, 1, "protected groups");
    // Several blocks: each is looked at when it comes.
    let mode = sdhci::TRANSFER_MULTI | sdhci::TRANSFER_COUNT | sdhci::TRANSFER_AUTO_CMD12;
    let many = Transfer { command: 25, argument: address, size: BLOCK as u16, count: 1, mode };
    card.start(&many)?;
    card.wait_status(sdhci::BUFFER_WRITE_READY, "room for a block")?;
    card.put_block(&[0x55; BLOCK])?;
    card.wait_status(sdhci::TRANSFER_COMPLETE, "the end of a write")?;
    let status = card.response(3)?;
    assert_ne!(status & WP_VIOLATION, 0, "CMD25 to a protected group: {status:#x}");
    assert!(block()? == [0; BLOCK], "a block protected from CMD25");
    card.command(29, address, Response::R1b)?;
    assert_eq!(group(&card)?, 0, "protected groups, taken back");
    assert_eq!(write(24)?, READY, "a write to a group that is no longer protected");
    card.wait_status(sdhci::TRANSFER_COMPLETE, "the end of a write")?;
    assert!(block()? == [0x99; BLOCK], "a block that is no longer protected");
    vm.write_image(IMAGE.name, 64 * BLOCK as u64, &[0; BLOCK])?;
    card.command(28, address, Response::R1b)?;
    let status = write(24)?;
    assert_ne!(status & WP_VIOLATION, 0, "a write to a protected group: {status:#x}");
    let written = block()?;
    card.initialise()?;
    match written == [0; BLOCK] {
        true => Ok(()),
        false => Err(Error::skipped(
            "sd-card: QEMU reports a write to a protected group, and does it (CMD24)",
        )),
    }
}

/// Would catch a card whose going or coming is not told, a clock or a power that stays on without
/// one (2.2.9, 2.2.11, 2.2.14), and a card that does not work when it is back.
fn removal(sd: &SdCard, vm: &Rc<Vm>) -> Result<()> {
    const INSERTION: u16 = 1 << 6;
    const REMOVAL: u16 = 1 << 7;
    let host = sd.host()?;
    if host.function().is_none() {
        return Err(Error::skipped("the card of a board has no name to eject it by"));
    }
    let registers = host.registers();
    let card = sd.card()?;
    let identity = card.initialise()?;
    let medium = vm.qmp().execute("query-block", Value::Null)?;
    let medium = medium.as_array().into_iter().flatten().find(|it| it["device"] == "sd");
    let file = medium.map(|it| it["inserted"]["file"].clone()).unwrap_or_default();
    registers.set(sdhci::NORMAL_INTERRUPT_STATUS, !0)?;
    registers.set(sdhci::NORMAL_INTERRUPT_SIGNAL_ENABLE, REMOVAL | INSERTION)?;
    assert!(!interrupts(host, "with the card in")?, "with the card in");
    vm.qmp().execute("eject", json!({ "device": "sd", "force": true }))?;
    let status = card.wait_status(REMOVAL, "the card's going")?;
    assert_eq!(status.normal, REMOVAL, "the status: {:#x}", status.normal);
    assert!(interrupts(host, "with the card gone")?, "with the card gone");
    let state = registers.get(sdhci::PRESENT_STATE)?;
    assert_eq!(state & sdhci::CARD_INSERTED, 0, "Present State without a card: {state:#x}");
    let (power, clock) =
        (registers.get(sdhci::POWER_CONTROL)?, registers.get(sdhci::CLOCK_CONTROL)?);
    assert_eq!(power & 1, 0, "Power Control without a card: {power:#x}");
    assert_eq!(clock & sdhci::SD_CLOCK_ENABLE, 0, "Clock Control without a card: {clock:#x}");
    registers.set(sdhci::POWER_CONTROL, sdhci::POWER_ON_3V3)?;
    assert_eq!(registers.get(sdhci::POWER_CONTROL)? & 1, 0, "power without a card");
    registers.set(sdhci::NORMAL_INTERRUPT_STATUS, REMOVAL)?;
    assert!(!interrupts(host, "the removal cleared")?, "the removal cleared");
    registers.set(sdhci::CLOCK_CONTROL, clock | sdhci::SD_CLOCK_ENABLE)?;
    let own = u32::from(identity.rca) << 16;
    card.write_command(13, own, Response::R1, 0)?;
    let status = card.interrupt_status()?;
    assert_eq!(status.error, sdhci::COMMAND_TIMEOUT, "a command without a card");
    registers.set(sdhci::ERROR_INTERRUPT_STATUS, !0)?;
    registers.set(sdhci::NORMAL_INTERRUPT_STATUS, !0)?;
    let back = json!({ "device": "sd", "filename": file, "format": "raw" });
    if vm.qmp().execute("blockdev-change-medium", back).is_err() {
        return Ok(());
    }
    let status = card.wait_status(INSERTION, "the card's coming")?;
    assert_eq!(status.normal, INSERTION, "the status: {:#x}", status.normal);
    assert!(interrupts(host, "with the card back")?, "with the card back");
    let identity = sd.card()?.initialise()?;
    sd.card()?.card_status(&identity).map(drop)
}

/// Would catch a card or a controller that a reset of the machine leaves at work: in the middle
/// of a transfer, with interrupts pending.
fn machine_reset(sd: &SdCard, vm: &Rc<Vm>) -> Result<()> {
    let host = sd.host()?;
    let card = sd.card()?;
    let identity = card.initialise()?;
    host.registers().set(sdhci::NORMAL_INTERRUPT_SIGNAL_ENABLE, 0xff)?;
    card.start(&Transfer { command: 18, ..read_of(&identity, 3)? })?;
    card.wait_status(sdhci::BUFFER_READ_READY, "a block")?;
    assert!(interrupts(host, "before the reset")?, "before the reset");
    crate::qos::reset(vm)?;
    let registers = host.found_again().unwrap_or_else(|| Err(Error::skipped("")));
    match registers {
        Ok(registers) => {
            let state = registers.get(sdhci::PRESENT_STATE)?;
            let busy = sdhci::COMMAND_INHIBIT_CMD
                | sdhci::COMMAND_INHIBIT_DAT
                | sdhci::READ_TRANSFER_ACTIVE
                | sdhci::BUFFER_READ_ENABLE;
            assert_eq!(state & busy, 0, "Present State after a reset: {state:#x}");
            assert_eq!(registers.get(sdhci::SLOT_INTERRUPT_STATUS)?, 0, "the slot's interrupt");
            let function = host.function();
            assert!(!function.map_or(Ok(false), |it| it.asserts_interrupt())?, "the pin");
            Ok(())
        }
        Err(_) => {
            assert!(!interrupts(host, "after the reset")?, "after the reset");
            let card = sd.card()?;
            let identity = card.initialise()?;
            card.read_block(&identity, 3).map(drop)
        }
    }
}
