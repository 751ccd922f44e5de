//! The 8237A controllers of PCs as software programs them (Intel, 231466-005). What they move is
//! seen by the suites of the devices that have them move it.

use std::rc::Rc;

use crate::drivers::dma::i8257::{CHANNELS, Control, I8257};
use crate::qemu::Vm;
use crate::qos::registers::RegistersExt;
use crate::qos::{reset, settle};
use crate::{Result, tests};

tests!(I8257, "i8257-tests":
    reset_state = "reset-state",
    words,
    flip_flop = "flip-flop",
    flip_flops_apart = "flip-flops-apart",
    pages,
    single_mask = "single-mask",
    all_masks = "all-masks",
    masks_read = "masks-read",
    master_clear = "master-clear",
    machine_reset = "machine-reset",
    requests,
);

/// The channels that devices can use.
fn channels() -> impl Iterator<Item = usize> {
    (0..CHANNELS).filter(|channel| *channel != 4)
}

/// Would catch channels that are not masked at first, and ends of work before there was any.
fn reset_state(dma: &I8257, _: &Rc<Vm>) -> Result<()> {
    // What firmware does is not done yet. The channel that connects both is no exception.
    for controller in [0, 1] {
        assert_eq!(dma.masks(controller)?, 0xf, "the masks of controller {controller}");
        assert_eq!(dma.get(controller, Control::Command)? & 0xf, 0, "ends of work");
    }
    Ok(())
}

/// Would catch an address or a count that is another channel's, that has lost a bit, or that a
/// read changes.
fn words(dma: &I8257, vm: &Rc<Vm>) -> Result<()> {
    let value = |channel: usize, is_count: bool, round: u16| {
        let odd = (channel as u16 * 2 + u16::from(is_count) + 1).wrapping_mul(0x1357);
        if round == 0 { odd } else { !odd }
    };
    for round in 0..2 {
        for channel in channels() {
            for is_count in [false, true] {
                dma.set_word(channel, is_count, value(channel, is_count, round))?;
            }
        }
        if round == 0 {
            vm.set_up_ends()?;
        }
        for channel in channels().chain(channels()) {
            for is_count in [false, true] {
                let word = dma.word(channel, is_count)?;
                let what = if is_count { "count" } else { "address" };
                let expected = value(channel, is_count, round);
                assert_eq!(word, expected, "channel {channel}, round {round}: {what}");
            }
        }
    }
    Ok(())
}

/// Would catch a flip-flop that is not cleared, or not changed by each access.
fn flip_flop(dma: &I8257, _: &Rc<Vm>) -> Result<()> {
    for channel in channels() {
        let controller = channel / 4;
        dma.set_word(channel, false, 0x1234)?;
        // A byte alone, after which the lower byte is next again.
        dma.set(controller, Control::ClearFlipFlop, 0)?;
        assert_eq!(dma.byte(channel, false)?, 0x34, "channel {channel}: the lower byte");
        dma.set(controller, Control::ClearFlipFlop, 0xff)?;
        for byte in [0x34, 0x12, 0x34, 0x12, 0x34] {
            assert_eq!(dma.byte(channel, false)?, byte, "channel {channel}: bytes in turn");
        }
        // The upper byte is next: a write goes there.
        dma.set_byte(channel, false, 0x56)?;
        assert_eq!(dma.word(channel, false)?, 0x5634, "channel {channel}: the upper byte alone");
        dma.set(controller, Control::ClearFlipFlop, 0)?;
        // Other registers leave it as it is.
        dma.byte(channel, false)?;
        dma.masks(controller)?;
        dma.set(controller, Control::Mode, channel as u8 & 3)?;
        dma.get(controller, Control::Command)?;
        assert_eq!(dma.byte(channel, false)?, 0x56, "channel {channel}: after other registers");
    }
    Ok(())
}

/// Would catch one flip-flop for both controllers.
fn flip_flops_apart(dma: &I8257, _: &Rc<Vm>) -> Result<()> {
    for (channel, other) in [(0, 5), (7, 3)] {
        dma.set_word(channel, false, 0x1234)?;
        dma.set_word(other, false, 0x5678)?;
        dma.byte(channel, false)?;
        assert_eq!(dma.byte(other, false)?, 0x78, "channel {other}");
        dma.set(other / 4, Control::ClearFlipFlop, 0)?;
        assert_eq!(dma.byte(channel, false)?, 0x12, "channel {channel}");
    }
    Ok(())
}

/// Would catch a page register that is another channel's, or that an address changes.
fn pages(dma: &I8257, _: &Rc<Vm>) -> Result<()> {
    for value in [0x5a, 0xa5] {
        for channel in channels() {
            dma.ports().set(I8257::page(channel), value ^ channel as u8)?;
        }
        for channel in channels() {
            dma.set_word(channel, false, 0xffff)?;
        }
        for channel in channels() {
            let page = dma.ports().get(I8257::page(channel))?;
            assert_eq!(page, value ^ channel as u8, "the page of channel {channel}");
        }
    }
    Ok(())
}

/// Would catch a mask of another channel, or of the other controller.
fn single_mask(dma: &I8257, _: &Rc<Vm>) -> Result<()> {
    for controller in [0, 1] {
        let mut expected = [0xf, 0xf];
        [0, 1].into_iter().try_for_each(|it| dma.set(it, Control::AllMasks, 0xf))?;
        for set in [0, 4, 0] {
            for channel in [2, 0, 3, 1] {
                dma.set(controller, Control::SingleMask, channel | set)?;
                let bit = 1 << channel;
                let masks = &mut expected[controller];
                *masks = if set == 0 { *masks & !bit } else { *masks | bit };
                let both = [dma.masks(0)?, dma.masks(1)?];
                assert_eq!(both, expected, "controller {controller}, channel {channel}, {set}");
            }
        }
        dma.set(controller, Control::AllMasks, 0xf)?;
    }
    Ok(())
}

/// Would catch a write of all masks that leaves one, and a clearing that does not clear all.
fn all_masks(dma: &I8257, _: &Rc<Vm>) -> Result<()> {
    for controller in [0, 1] {
        for masks in (0..16).chain([0xf]) {
            dma.set(controller, Control::AllMasks, masks)?;
            assert_eq!(dma.masks(controller)?, masks, "controller {controller}");
        }
        dma.set(controller, Control::ClearMask, 0xff)?;
        assert_eq!(dma.masks(controller)?, 0, "controller {controller}, cleared");
        dma.set(controller, Control::AllMasks, 0xf)?;
    }
    Ok(())
}

/// Would catch masks that are not read where they are written (82371SB, 2.5.1, "DMA Write All Mask
/// Register").
fn masks_read(dma: &I8257, _: &Rc<Vm>) -> Result<()> {
    for controller in [0, 1] {
        for masks in [5, 10, 0xf] {
            dma.set(controller, Control::AllMasks, masks)?;
            let read = dma.get(controller, Control::AllMasks)? & 0xf;
            assert_eq!(read, masks, "controller {controller}");
        }
    }
    Ok(())
}

/// Would catch a master clear that leaves a mask or the flip-flop, that clears addresses, counts
/// or pages, or that acts on the other controller.
fn master_clear(dma: &I8257, _: &Rc<Vm>) -> Result<()> {
    for controller in [0, 1] {
        let other = 1 - controller;
        let (channel, of_other) = (controller * 4 + 1, other * 4 + 2);
        for it in [channel, of_other] {
            dma.set_word(it, false, 0x1234)?;
            dma.set_word(it, true, 0x5678)?;
            dma.ports().set(I8257::page(it), 0x9a)?;
            dma.set(it / 4, Control::AllMasks, 0)?;
            dma.set(it / 4, Control::ClearFlipFlop, 0)?;
            dma.byte(it, false)?;
        }
        dma.set(controller, Control::MasterClear, 0)?;
        assert_eq!(dma.masks(controller)?, 0xf, "controller {controller}, cleared");
        assert_eq!(dma.masks(other)?, 0, "controller {other}");
        assert_eq!(dma.byte(channel, false)?, 0x34, "the lower byte is next");
        assert_eq!(dma.byte(of_other, false)?, 0x12, "the other's upper byte is next");
        assert_eq!(dma.word(channel, true)?, 0x5678, "the count");
        assert_eq!(dma.ports().get(I8257::page(channel))?, 0x9a, "the page");
        dma.set(other, Control::AllMasks, 0xf)?;
    }
    Ok(())
}

/// Would catch a reset of the machine after which channels are not masked, or the upper byte is
/// next.
fn machine_reset(dma: &I8257, vm: &Rc<Vm>) -> Result<()> {
    for controller in [0, 1] {
        let channel = controller * 4 + 3;
        dma.set(controller, Control::AllMasks, 0)?;
        dma.set_word(channel, false, 0x1234)?;
        dma.byte(channel, false)?;
    }
    reset(vm)?;
    for controller in [0, 1] {
        let channel = controller * 4 + 3;
        assert_eq!(dma.masks(controller)?, 0xf, "controller {controller}, after a reset");
        // The lower byte is first, without a clearing of the flip-flop.
        dma.set_byte(channel, false, 0x21)?;
        dma.set_byte(channel, false, 0x43)?;
        assert_eq!(dma.word(channel, false)?, 0x4321, "an address, after a reset");
    }
    Ok(())
}

/// Would catch a request for a channel that no device is at which ends QEMU, changes an address, or
/// is told as the end of work.
fn requests(dma: &I8257, vm: &Rc<Vm>) -> Result<()> {
    for channel in channels() {
        let (controller, number) = (channel / 4, channel as u8 % 4);
        dma.set_word(channel, false, 0x2000)?;
        dma.set_word(channel, true, 0xf)?;
        for operation in 0..3 {
            // Block mode, in which requests of software are allowed; masked, then not.
            dma.set(controller, Control::Mode, 0x80 | operation << 2 | number)?;
            dma.set(controller, Control::Request, 4 | number)?;
            settle(vm)?;
            assert_eq!(dma.get(controller, Control::Command)? & 0xf, 0, "channel {channel}");
            dma.set(controller, Control::SingleMask, 4 | number)?;
            dma.set(controller, Control::Request, number)?;
        }
        assert_eq!(dma.word(channel, false)?, 0x2000, "channel {channel}: the address");
        assert_eq!(dma.word(channel, true)?, 0xf, "channel {channel}: the count");
    }
    Ok(())
}
