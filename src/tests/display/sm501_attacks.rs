//! Guests that break the rules of the SM501: drawings that leave local memory at either end, more
//! memory than there is, and screens and cursors behind its end.

use std::rc::Rc;

use fastrand::Rng;

use super::sm501::Model;
use crate::qemu::Vm;
use crate::qos::display::screen;
use crate::qos::display::sm501::{
    BACKWARDS, CRT_CONTROL, DRAM_CONTROL, Drawing, FILL, Head, PANEL_CONTROL, ROP2, Sm501,
};
use crate::qos::registers::RegistersExt;
use crate::{Result, tests};

tests!(Sm501, "sm501-attack-tests":
    behind_the_end = "behind-the-end",
    sums_too_large = "sums-too-large",
    backwards_from_the_start = "backwards-from-the-start",
    more_memory = "more-memory",
    any_drawings = "any-drawings",
    screens_behind_the_end = "screens-behind-the-end",
    cursors_behind_the_end = "cursors-behind-the-end",
    any_screens = "any-screens",
);

/// Would fail if the engine does not draw as before, in 16 and 32 bits.
fn assert_works(chip: &Sm501, seed: u64) -> Result<()> {
    let mut model = Model::new(chip, seed)?;
    for format in [1, 2] {
        for control in [FILL, 0] {
            let drawing = model.drawing(format, control | ROP2 | 0xc);
            chip.draw(&drawing)?;
            model.draw(&drawing, |_, _| true, |source, _| source);
            model.assert_same(chip, &drawing)?;
        }
    }
    Ok(())
}

/// A drawing of 16 by 16 pixels, of a pitch of 64.
fn drawing(format: u32, control: u32) -> Drawing {
    Drawing {
        control: control | ROP2 | 0xc,
        format,
        size: (16, 16),
        from_pitch: 64,
        to_pitch: 64,
        foreground: 0x1122_3344,
        ..Drawing::default()
    }
}

/// Would catch a drawing whose last rows are behind local memory and that QEMU draws there, in its own
/// memory.
fn behind_the_end(chip: &Sm501, _: &Rc<Vm>) -> Result<()> {
    let end = chip.memory_size as u32;
    for format in [0, 1, 2] {
        for control in [FILL, 0, BACKWARDS, FILL | BACKWARDS] {
            for base in [end - 16, end - 0x200, end, end + 0x1000, 0x03ff_fff0] {
                let mut it = Drawing { to_base: base, ..drawing(format, control) };
                (it.from, it.to) = ((15, 15), (15, 15));
                chip.begin(&it)?;
                (it.to_base, it.from_base) = (0, base);
                chip.begin(&it)?;
            }
        }
    }
    assert_works(chip, 50)
}

/// Would catch an address behind local memory whose computation overflows to one inside: the largest
/// coordinates, sizes and pitches.
fn sums_too_large(chip: &Sm501, _: &Rc<Vm>) -> Result<()> {
    for control in [FILL, 0] {
        for format in [0, 1, 2] {
            for base in [0x9_0000, 0xa_0000, 0x10_0000, 0x40_0000, 0x7f_0000] {
                let far = Drawing {
                    to: (0x1fff, 0xffff),
                    from: (0x1fff, 0xffff),
                    size: (0x1fff, 0xffff),
                    to_pitch: 0x1fff,
                    from_pitch: 0x1fff,
                    to_base: base,
                    from_base: base,
                    ..drawing(format, control)
                };
                chip.begin(&far)?;
                chip.begin(&Drawing { from: (0, 0), from_base: 0, ..far })?;
                let near = Drawing { to: (0, 0), size: (4, 4), to_base: 0, ..far };
                chip.begin(&near)?;
            }
        }
    }
    assert_works(chip, 51)
}

/// Would catch a drawing from its last pixel to its first that has more columns or rows than there are
/// before that pixel.
fn backwards_from_the_start(chip: &Sm501, _: &Rc<Vm>) -> Result<()> {
    for format in [0, 1, 2] {
        for control in [FILL | BACKWARDS, BACKWARDS] {
            for (x, y) in [(0, 0), (15, 0), (0, 15), (3, 3), (14, 15)] {
                for base in [0, 0x1000, 0x40_0000] {
                    let there = Drawing {
                        to: (x, y),
                        from: (40, 40),
                        to_base: base,
                        ..drawing(format, control)
                    };
                    chip.begin(&there)?;
                    chip.begin(&Drawing { to: (40, 40), from: (x, y), from_base: base, ..there })?;
                }
            }
        }
    }
    assert_works(chip, 52)
}

/// Would catch DRAM Control with a size that local memory does not have, by which the engine draws
/// behind it, and sizes that do not exist.
fn more_memory(chip: &Sm501, vm: &Rc<Vm>) -> Result<()> {
    for size in [0, 2, 3, 4, 5, 6, 7, 1] {
        chip.registers.set(DRAM_CONTROL, size << 13)?;
        chip.registers.get(DRAM_CONTROL)?;
        for base in [0x80_0000, 0x100_0000, 0x1ff_0000, 0x3f0_0000, 0x7f_ff00] {
            for control in [FILL, 0, BACKWARDS | FILL] {
                let there =
                    Drawing { to_base: base, to: (20, 20), from: (20, 20), ..drawing(2, control) };
                chip.begin(&there)?;
                chip.begin(&Drawing { to_base: 0, from_base: base, ..there })?;
            }
        }
        screen::dump_size(vm)?;
    }
    assert_works(chip, 53)
}

/// Would catch values of the engine's registers that are harmless alone, but together bring QEMU to its
/// end.
fn any_drawings(chip: &Sm501, _: &Rc<Vm>) -> Result<()> {
    let mut rng = Rng::with_seed(54);
    let any = |rng: &mut Rng, most: u32| match rng.u8(..3) {
        0 => [0, 1, most - 1, most, most / 2][rng.usize(..5)],
        1 => rng.u32(..64),
        _ => rng.u32(..=most),
    };
    for _ in 0..300 {
        let commands = [FILL, 0, rng.u32(..32) << 16];
        let it = Drawing {
            control: commands[rng.usize(..3)] | rng.u32(..2) << 27 | rng.u32(..0x1_0000),
            format: rng.u32(..4),
            from: (any(&mut rng, 0x3fff), any(&mut rng, 0xffff)),
            to: (any(&mut rng, 0x3fff), any(&mut rng, 0xffff)),
            // No more than QEMU draws at once.
            size: (any(&mut rng, 0x1fff), any(&mut rng, 0x400)),
            from_pitch: any(&mut rng, 0x1fff),
            to_pitch: any(&mut rng, 0x1fff),
            from_base: any(&mut rng, 0x0bff_ffff),
            to_base: any(&mut rng, 0x0bff_ffff),
            foreground: rng.u32(..),
        };
        chip.begin(&it)?;
    }
    assert_works(chip, 55)
}

/// Would catch a screen whose lines are behind local memory.
fn screens_behind_the_end(chip: &Sm501, vm: &Rc<Vm>) -> Result<()> {
    let end = chip.memory_size as u32;
    for head in [Head::Panel, Head::Crt] {
        for format in [0, 1, 2] {
            for address in [end - 16, end, end + 0x1_0000, 0x03ff_fff0, 0x0fff_fff0] {
                chip.show(head, format, (96, 40), address)?;
                screen::dump_size(vm)?;
                // All of it is drawn once, and then what has changed.
                chip.write(0, &[0xff; 4])?;
                screen::dump_size(vm)?;
            }
        }
    }
    chip.show(Head::Crt, 0, (96, 40), 0)?;
    assert_eq!(screen::dump_size(vm)?, (96, 40), "a screen that is in local memory");
    Ok(())
}

/// Would catch a cursor whose shape is behind local memory, or that is moved where no line is.
fn cursors_behind_the_end(chip: &Sm501, vm: &Rc<Vm>) -> Result<()> {
    let end = chip.memory_size as u32;
    for head in [Head::Panel, Head::Crt] {
        let at = head.registers().cursor;
        for screen in [0, end - 96 * 40 * 4] {
            chip.show(head, 2, (96, 40), screen)?;
            for address in [end - 16, end, 0x03ff_fff0, 0x0800_0000] {
                for place in [0, 0x07ff_07ff, 0x0fff_0fff, 0x0027_005f] {
                    chip.registers.write32(at + 4, place)?;
                    chip.registers.write32(at, 1 << 31 | address)?;
                    screen::dump_size(vm)?;
                }
            }
            chip.registers.write32(at, 0)?;
            chip.registers.write32(at + 4, 0)?;
        }
    }
    Ok(())
}

/// Would catch values of the registers of the screens that are harmless alone, but together bring QEMU
/// to its end.
fn any_screens(chip: &Sm501, vm: &Rc<Vm>) -> Result<()> {
    let mut rng = Rng::with_seed(56);
    for round in 0..150 {
        let head = if rng.bool() { Head::Panel } else { Head::Crt };
        if round % 10 == 0 {
            chip.show(head, rng.u32(..3), (64, 32), rng.u32(..0x80_0000) & !0xf)?;
        }
        for _ in 0..6 {
            let value = if rng.bool() { rng.u32(..) } else { 1 << rng.u32(..32) };
            chip.registers.write32(0x8_0000 + rng.u64(..0x100) * 4, value)?;
        }
        // A screen of a moderate size.
        for head in [Head::Panel, Head::Crt] {
            let at = head.registers();
            chip.registers.write32(at.horizontal, rng.u32(..200))?;
            chip.registers.write32(at.vertical, rng.u32(..100))?;
        }
        chip.registers.set(PANEL_CONTROL, 4 | rng.u32(..4))?;
        chip.registers.set(CRT_CONTROL, 4 | rng.u32(..4) | rng.u32(..2) << 9)?;
        screen::dump_size(vm)?;
    }
    assert_works(chip, 57)
}
