//! SD cards behind host controllers of every kind: the card's states, commands that nobody
//! answers, blocks all over the card.

use std::rc::Rc;

use crate::drivers::sd::sd_card::{IMAGE, SdCard};
use crate::qemu::Vm;
use crate::qos::sd::{BLOCK, Response};
use crate::{Result, tests};

tests!(SdCard, "sd-card-tests":
    states,
    unanswered,
    blocks,
    again,
);

/// Card status in stand-by state, ready for data (Physical Layer 4.10.1).
const STAND_BY: u32 = 3 << 9 | 1 << 8;
/// Card status in transfer state, ready for data.
const TRANSFER: u32 = 4 << 9 | 1 << 8;

/// Would catch a card that is not in the state that commands have brought it to, and one that
/// sends data although it is not selected.
fn states(card: &SdCard, vm: &Rc<Vm>) -> Result<()> {
    vm.write_image(IMAGE.name, 0, &pattern(0x5a96))?;
    let card = card.plain();
    let identity = card.initialise()?;
    vm.set_up_ends()?;
    assert_eq!(card.status(identity.rca)?, TRANSFER, "after the initialisation");
    for _ in 0..2 {
        card.host().command(7, 0, Response::None)?;
        assert_eq!(card.status(identity.rca)?, STAND_BY, "deselected");
        card.host().unanswered(17, 0)?;
        card.host().command(7, u32::from(identity.rca) << 16, Response::R1b)?;
        let status = card.status(identity.rca)?;
        assert_eq!(status & !ILLEGAL_COMMAND, TRANSFER, "selected again: {status:#x}");
    }
    assert_eq!(card.read_block(&identity, 0)?, pattern(0x5a96));
    assert_eq!(card.status(identity.rca)?, TRANSFER, "after a block was read");
    Ok(())
}

/// Card status: the command before was not legal in that state; reading clears it.
const ILLEGAL_COMMAND: u32 = 1 << 22;

/// Would catch a controller that takes silence for a response, reports another error than a
/// timeout, or does not get over it: the next command must be answered, and a block read.
fn unanswered(card: &SdCard, vm: &Rc<Vm>) -> Result<()> {
    let card = card.plain();
    let identity = card.initialise()?;
    vm.set_up_ends()?;
    let data = [0x3c; BLOCK];
    vm.write_image(IMAGE.name, 0, &data)?;
    for bit in 0..16 {
        // Another card's address.
        card.host().unanswered(13, u32::from(identity.rca ^ 1 << bit) << 16)?;
        assert_eq!(card.status(identity.rca)?, TRANSFER, "after the wrong address, bit {bit}");
    }
    assert_eq!(card.read_block(&identity, 0)?, data);
    Ok(())
}

/// Bytes of which no two blocks have the same.
fn pattern(block: u32) -> [u8; BLOCK] {
    let mut bytes = std::array::from_fn(|at| (at.wrapping_mul(0x0005_0105) >> 8) as u8);
    bytes[..4].copy_from_slice(&block.to_le_bytes());
    bytes
}

/// Would catch an address of a block that loses a bit: blocks whose numbers differ in one bit are
/// written, all of them are read after that, through the card and in its image.
fn blocks(card: &SdCard, vm: &Rc<Vm>) -> Result<()> {
    let card = card.plain();
    let identity = card.initialise()?;
    vm.set_up_ends()?;
    let count = (IMAGE.size / BLOCK as u64) as u32;
    let blocks: Vec<u32> = std::iter::once(0)
        .chain((0..count.ilog2()).map(|bit| 1 << bit))
        .chain([count - 1])
        .collect();
    for &block in &blocks {
        card.write_block(&identity, block, &pattern(block))?;
    }
    for &block in &blocks {
        assert_eq!(card.read_block(&identity, block)?, pattern(block), "block {block}");
        let mut image = [0; BLOCK];
        vm.read_image(IMAGE.name, u64::from(block) * BLOCK as u64, &mut image)?;
        assert_eq!(image, pattern(block), "block {block} of the image");
    }
    Ok(())
}

/// Would catch a controller or card that does not get through the initialisation a second time,
/// or forgets what was written before it.
fn again(card: &SdCard, vm: &Rc<Vm>) -> Result<()> {
    let card = card.plain();
    let first = card.initialise()?;
    card.write_block(&first, 9, &pattern(9))?;
    vm.set_up_ends()?;
    let second = card.initialise()?;
    assert_eq!((second.ocr, second.cid, second.csd), (first.ocr, first.cid, first.csd));
    assert_eq!(card.read_block(&second, 9)?, pattern(9));
    Ok(())
}
