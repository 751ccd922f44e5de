//! Bochs's VBE extensions: modes of 8 to 32 bits a pixel compared with the monitor's `screendump`,
//! lines longer than the screen, offsets, banks, and sizes that do not fit.

use std::rc::Rc;

use fastrand::Rng;

use crate::qemu::Vm;
use crate::qos::display::dispi::{self, Dispi};
use crate::qos::display::{Colour, screen};
use crate::qos::registers::{Access, RegistersExt, Width};
use crate::qos::reset;
use crate::{Error, Result, tests};

tests!(Dispi, "bochs-dispi-tests":
    registers,
    modes,
    palette,
    offsets,
    virtual_height = "virtual-height",
    odd_lines = "odd-lines",
    clears,
    banks,
    sizes,
    capabilities,
    machine_reset = "machine-reset",
    attacks,
);

/// The screen of these tests, which is all that they look at.
const SIZE: (usize, usize) = (72, 66);

/// Writes bytes of video memory, 32 bits at a time.
fn fill(card: &Dispi, from: u64, bytes: &[u8]) -> Result<()> {
    let longs = bytes.chunks_exact(4).zip((from..).step_by(4));
    let writes = longs.map(|(it, at)| {
        Access::Write(at, Width::Long, u32::from_le_bytes([it[0], it[1], it[2], it[3]]).into())
    });
    card.memory().sequence(&writes.collect::<Vec<_>>()).map(drop)
}

fn chosen(count: usize, seed: u64) -> Vec<u8> {
    let mut rng = Rng::with_seed(seed);
    (0..count).map(|_| rng.u8(..)).collect()
}

/// How many bytes a pixel has.
fn bytes_of(bits: u16) -> usize {
    usize::from(bits.div_ceil(8))
}

/// The colour of the pixel with these bytes, little-endian, and the bits of it that are its own.
fn colour(bits: u16, pixel: &[u8], palette: &[Colour]) -> Colour {
    let word = u16::from_le_bytes([pixel[0], pixel.get(1).copied().unwrap_or(0)]);
    match bits {
        8 => palette[usize::from(pixel[0])].map(|part| part << 2),
        15 => [word >> 7 & 0xf8, word >> 2 & 0xf8, word << 3 & 0xf8].map(|part| part as u8),
        16 => [word >> 8 & 0xf8, word >> 3 & 0xfc, word << 3 & 0xf8].map(|part| part as u8),
        _ => [pixel[2], pixel[1], pixel[0]],
    }
}

fn mask(bits: u16) -> Colour {
    match bits {
        8 => [0xfc; 3],
        15 => [0xf8; 3],
        16 => [0xf8, 0xfc, 0xf8],
        _ => [0xff; 3],
    }
}

/// 256 colours of which none is another's.
fn colours() -> Vec<Colour> {
    let colour = |number: u8| [number & 0x3f, (number >> 2) ^ 0x2a, number.wrapping_mul(3) & 0x3f];
    (0..=255).map(colour).collect()
}

fn set_colours(card: &Dispi) -> Result<Vec<Colour>> {
    let all = colours();
    if let Some(vga) = &card.extra.vga {
        vga.set_colours(0, &all)?;
    }
    Ok(all)
}

/// Would catch registers that do not keep what is written, an identification that a guest can make
/// another, and video memory of another size than the card has.
fn registers(card: &Dispi, _: &Rc<Vm>) -> Result<()> {
    let registers = card.registers();
    let id = registers.get(dispi::ID)?;
    assert!((0xb0c0..=0xb0c5).contains(&id), "ID is {id:#x}");
    registers.set(dispi::ID, 0x1234)?;
    assert_eq!(registers.get(dispi::ID)?, id, "ID is no version that was written");
    let memory = u64::from(registers.get(dispi::MEMORY_64K)?) << 16;
    assert!(memory > 0 && memory <= card.memory_size(), "{memory:#x} bytes of video memory");
    registers.set(dispi::MEMORY_64K, 1)?;
    assert_eq!(u64::from(registers.get(dispi::MEMORY_64K)?) << 16, memory, "the size is its own");
    for (register, value) in
        [(dispi::XRES, 808), (dispi::YRES, 606), (dispi::BPP, 16), (dispi::VIRT_WIDTH, 1000)]
    {
        registers.set(register, value)?;
        assert_eq!(registers.get(register)?, value, "{register}, with no mode set");
    }
    Ok(())
}

/// Would catch pixels that are shown in other colours, at other places, or not at all, in any mode,
/// and changes in video memory that are not shown.
fn modes(card: &Dispi, _: &Rc<Vm>) -> Result<()> {
    let all = set_colours(card)?;
    for &bits in card.depths() {
        card.set_mode(SIZE.0 as u16, SIZE.1 as u16, bits, dispi::NO_CLEAR)?;
        let size = bytes_of(bits);
        let mut bytes = chosen(SIZE.0 * SIZE.1 * size, bits.into());
        fill(card, 0, &bytes)?;
        let what = format!("{bits} bits a pixel");
        let there =
            |bytes: &[u8], x, y| colour(bits, &bytes[(y * SIZE.0 + x) * size..][..size], &all);
        card.picture()?.assert_shows(&what, SIZE, mask(bits), |x, y| there(&bytes, x, y));
        for at in [0, (bytes.len() / 2) & !3, bytes.len() - 4] {
            bytes[at] ^= 0xff;
            bytes[at + 3] ^= 0xff;
            fill(card, at as u64, &bytes[at..at + 4])?;
            let what = format!("{what}, changed at byte {at:#x}");
            card.picture()?.assert_shows(&what, SIZE, mask(bits), |x, y| there(&bytes, x, y));
        }
    }
    Ok(())
}

/// Would catch a palette of 8 bits a part that is taken for one of 6, or the reverse.
fn palette(card: &Dispi, _: &Rc<Vm>) -> Result<()> {
    let Some(vga) = &card.extra.vga else {
        return Err(Error::skipped("this card has no palette"));
    };
    let colours: Vec<Colour> = (0..=255).map(|number| [number, !number, number ^ 0x5a]).collect();
    vga.set_colours(0, &colours)?;
    let bytes: Vec<u8> = (0..SIZE.0 * SIZE.1).map(|at| at as u8).collect();
    for (flags, is_wide) in [(dispi::DAC_8_BITS, true), (0, false)] {
        card.set_mode(SIZE.0 as u16, SIZE.1 as u16, 8, flags)?;
        // The flag holds from the second time on that the register is written.
        card.registers().set(dispi::ENABLE, dispi::ENABLED | dispi::LINEAR | flags)?;
        fill(card, 0, &bytes)?;
        let pixel = |x: usize, y: usize| {
            let colour = colours[usize::from(bytes[y * SIZE.0 + x])];
            if is_wide { colour } else { colour.map(|part| part << 2) }
        };
        let mask = if is_wide { [0xff; 3] } else { [0xfc; 3] };
        card.picture()?.assert_shows(&format!("flags {flags:#x}"), SIZE, mask, pixel);
    }
    Ok(())
}

/// Would catch lines that are shorter or longer than the virtual width, and a screen that begins
/// elsewhere than the offsets say.
fn offsets(card: &Dispi, _: &Rc<Vm>) -> Result<()> {
    let all = set_colours(card)?;
    let (width, lines) = (SIZE.0 + 32, SIZE.1 + 10);
    for &bits in card.depths() {
        let size = bytes_of(bits);
        card.set_mode(SIZE.0 as u16, SIZE.1 as u16, bits, 0)?;
        let registers = card.registers();
        registers.set(dispi::VIRT_WIDTH, width as u16)?;
        assert_eq!(registers.get(dispi::VIRT_WIDTH)?, width as u16, "VIRT_WIDTH");
        let bytes = chosen(width * lines * size, u64::from(bits) + 100);
        fill(card, 0, &bytes)?;
        // With 24 bits, four pixels are a whole number of doublewords.
        for (x_offset, y_offset) in [(0, 0), (8, 0), (0, 7), (32, 10)] {
            registers.set(dispi::X_OFFSET, x_offset as u16)?;
            registers.set(dispi::Y_OFFSET, y_offset as u16)?;
            let pixel = |x: usize, y: usize| {
                let at = ((y + y_offset) * width + x + x_offset) * size;
                colour(bits, &bytes[at..at + size], &all)
            };
            let what = format!("{bits} bits a pixel, from {x_offset}, {y_offset} on");
            card.picture()?.assert_shows(&what, SIZE, mask(bits), pixel);
        }
    }
    Ok(())
}

/// Would catch a number of lines that is not what video memory has room for, above all one that
/// the register cannot hold and that is told without its upper bits.
fn virtual_height(card: &Dispi, _: &Rc<Vm>) -> Result<()> {
    if card.extra.vga.is_none() {
        return Err(Error::skipped("this card does not tell how many lines there are"));
    }
    let registers = card.registers();
    let memory = u64::from(registers.get(dispi::MEMORY_64K)?) << 16;
    for &bits in card.depths() {
        card.set_mode(64, 64, bits, 0)?;
        registers.set(dispi::VIRT_WIDTH, 2048)?;
        let lines = memory / (2048 * bytes_of(bits) as u64);
        let told = registers.get(dispi::VIRT_HEIGHT)?;
        assert_eq!(u64::from(told), lines, "VIRT_HEIGHT, 2048 pixels of {bits} bits");
    }
    card.set_mode(64, 64, 8, 0)?;
    let told = registers.get(dispi::VIRT_HEIGHT)?;
    assert_eq!(told, 0xffff, "VIRT_HEIGHT with 262,144 lines");
    Ok(())
}

/// Would catch lines of an odd number of pixels at which QEMU ends when it draws the screen.
fn odd_lines(card: &Dispi, vm: &Rc<Vm>) -> Result<()> {
    for &bits in card.depths() {
        for width in [65, 71, 72] {
            card.set_mode(width, 64, bits, 0)?;
            screen::dump_size(vm)?;
            card.set_mode(64, 64, bits, 0)?;
            card.registers().set(dispi::VIRT_WIDTH, width)?;
            screen::dump_size(vm)?;
        }
    }
    Ok(())
}

/// Would catch video memory that is cleared although it should stay, or not although it should.
fn clears(card: &Dispi, _: &Rc<Vm>) -> Result<()> {
    if card.extra.vga.is_none() {
        return Err(Error::skipped("this card does not clear the screen"));
    }
    let end = (SIZE.0 * SIZE.1 * 4) as u64;
    let read = |at: u64| card.memory().read32(at);
    for at in [0, end / 2, end - 4, end] {
        card.memory().write32(at, 0x1357_9bdf)?;
    }
    card.set_mode(SIZE.0 as u16, SIZE.1 as u16, 32, dispi::NO_CLEAR)?;
    assert_eq!([read(0)?, read(end / 2)?, read(end - 4)?], [0x1357_9bdf; 3], "not to be cleared");
    card.set_mode(SIZE.0 as u16, SIZE.1 as u16, 32, 0)?;
    assert_eq!([read(0)?, read(end / 2)?, read(end - 4)?], [0; 3], "to be cleared");
    assert_eq!(read(end)?, 0x1357_9bdf, "what is behind the screen");
    Ok(())
}

/// Would catch a bank that shows another part of video memory in the window than its number says,
/// and one behind the end.
fn banks(card: &Dispi, _: &Rc<Vm>) -> Result<()> {
    let Some(vga) = &card.extra.vga else {
        return Err(Error::skipped("this card has no banks"));
    };
    let window = vga.window()?;
    card.set_mode(640, 480, 32, dispi::NO_CLEAR)?;
    let registers = card.registers();
    let count = registers.get(dispi::MEMORY_64K)?;
    for bank in [0, 1, 7, count / 2, count - 1] {
        let start = u64::from(bank) << 16;
        registers.set(dispi::BANK, bank)?;
        assert_eq!(registers.get(dispi::BANK)?, bank, "BANK");
        for at in [0, 0x1234, 0xfffc] {
            let value = (start ^ at << 8 ^ 0x9e37_79b9) as u32;
            window.write32(at, value)?;
            assert_eq!(card.memory().read32(start + at)?, value, "bank {bank}, {at:#x}, written");
            card.memory().write32(start + at, !value)?;
            assert_eq!(window.read32(at)?, !value, "bank {bank}, {at:#x}, read");
        }
    }
    for bank in [count, count + 1, 0x7fff, 0xffff] {
        registers.set(dispi::BANK, bank)?;
        let bank = registers.get(dispi::BANK)?;
        let all = card.memory_size() >> 16;
        assert!(u64::from(bank) < all, "BANK is {bank:#x}, of {all:#x}");
        window.write32(0xfffc, 0x600d_cafe)?;
        let start = u64::from(bank) << 16;
        assert_eq!(card.memory().read32(start + 0xfffc)?, 0x600d_cafe, "bank {bank:#x}");
    }
    Ok(())
}

/// Would catch sizes that a guest asks for and that do not fit into video memory, which is what
/// a guest would read or write outside of.
fn sizes(card: &Dispi, _: &Rc<Vm>) -> Result<()> {
    if card.extra.vga.is_none() {
        return Err(Error::skipped(
            "this card keeps sizes that do not fit, and shows nothing then",
        ));
    }
    let registers = card.registers();
    let memory = u64::from(registers.get(dispi::MEMORY_64K)?) << 16;
    let mut rng = Rng::with_seed(0xb0c5);
    let extremes = [0, 1, 7, 8, 9, 1023, 1024, 16000, 16001, 32767, 32768, 65535];
    for round in 0..200 {
        let mut any =
            || if rng.bool() { *rng.choice(&extremes).unwrap_or(&0) } else { rng.u16(..) };
        let (width, height, bits) = (any(), any(), [4, 8, 15, 16, 24, 32][usize::from(any() % 6)]);
        let flags = dispi::NO_CLEAR;
        card.set_mode(width, height, bits, flags)?;
        for register in [dispi::VIRT_WIDTH, dispi::X_OFFSET, dispi::Y_OFFSET] {
            registers.set(register, any())?;
        }
        let get = |register| registers.get(register).map(u64::from);
        let (width, height) = (get(dispi::XRES)?, get(dispi::YRES)?);
        let (line, bits) = (get(dispi::VIRT_WIDTH)?, get(dispi::BPP)?.next_multiple_of(4));
        let bits = if bits == 4 { 4 } else { bits.next_multiple_of(8) };
        let what = format!("round {round}: {width} × {height}, lines of {line}, {bits} bits");
        assert!(width > 0 && height > 0 && width <= line, "{what}");
        let start = get(dispi::Y_OFFSET)? * line * bits / 8 + get(dispi::X_OFFSET)? * bits / 8;
        let end = start + height * line * bits / 8;
        assert!(end <= memory, "{what}: from {start:#x} to {end:#x} of {memory:#x} bytes");
    }
    Ok(())
}

/// Would catch capabilities that are not told, or are told as the mode that is set.
fn capabilities(card: &Dispi, _: &Rc<Vm>) -> Result<()> {
    if card.extra.vga.is_none() {
        return Err(Error::skipped("this card tells no capabilities"));
    }
    let registers = card.registers();
    card.set_mode(640, 480, 16, 0)?;
    registers.set(dispi::ENABLE, dispi::ENABLED | dispi::GET_CAPABILITIES)?;
    let most =
        [registers.get(dispi::XRES)?, registers.get(dispi::YRES)?, registers.get(dispi::BPP)?];
    assert!(most[0] >= 1600 && most[1] >= 1200 && most[2] == 32, "the most: {most:?}");
    registers.set(dispi::ENABLE, dispi::ENABLED)?;
    let mode =
        [registers.get(dispi::XRES)?, registers.get(dispi::YRES)?, registers.get(dispi::BPP)?];
    assert_eq!(mode, [640, 480, 16], "the mode");
    Ok(())
}

/// Would catch a mode that a reset of the machine leaves set.
fn machine_reset(card: &Dispi, vm: &Rc<Vm>) -> Result<()> {
    if card.extra.byte_order.is_some() {
        return Err(Error::skipped("its registers go with the BAR in a reset"));
    }
    card.set_mode(640, 480, 32, 0)?;
    card.registers().set(dispi::Y_OFFSET, 16)?;
    card.registers().set(dispi::BANK, 3)?;
    card.picture()?;
    reset(vm)?;
    for register in [
        dispi::XRES,
        dispi::YRES,
        dispi::BPP,
        dispi::ENABLE,
        dispi::BANK,
        dispi::VIRT_WIDTH,
        dispi::X_OFFSET,
        dispi::Y_OFFSET,
    ] {
        assert_eq!(card.registers().get(register)?, 0, "{register} after a reset");
    }
    Ok(())
}

/// Would catch a combination of values at which QEMU leaves video memory when it draws the screen,
/// or ends: sizes change under a screen that is shown, registers of the VGA under a mode of the
/// extensions.
fn attacks(card: &Dispi, vm: &Rc<Vm>) -> Result<()> {
    let registers = card.registers();
    let mut rng = Rng::with_seed(0xb0c4);
    for _ in 0..30 {
        let (width, height) = (rng.u16(..2048) & !1, rng.u16(..1024));
        let bits = [0, 1, 4, 8, 15, 16, 24, 32, 0xffff][rng.usize(..9)];
        card.set_mode(width, height, bits, dispi::NO_CLEAR)?;
        for _ in 0..6 {
            if let (Some(vga), true) = (&card.extra.vga, rng.bool()) {
                let file = rng.u64(1..5) << 8;
                vga.registers().write(file | rng.u64(..0x20), Width::Byte, rng.u64(..0x100))?;
            } else {
                // Not the sizes, which make pictures of hundreds of megabytes.
                let index = [0, 3, 4, 5, 6, 8, 9, 11, 0x7fff][rng.usize(..9)];
                // Odd lines have a case of their own.
                let value = if rng.bool() { rng.u64(..0x100) } else { rng.u64(..0x1_0000) } & !1;
                if index < 11 {
                    registers.write(index * 2, Width::Word, value)?;
                }
            }
            if let Some(vga) = &card.extra.vga {
                vga.show(true)?;
            }
            screen::dump_size(vm)?;
        }
    }
    Ok(())
}
