//! Guests that break the rules of the VGA: every register swept under a screen that is shown, and
//! values that together make a screen outside of video memory. QEMU draws each of them.

use std::rc::Rc;

use fastrand::Rng;

use crate::qemu::Vm;
use crate::qos::display::registers as vga;
use crate::qos::display::{Graphics, Text, Vga, screen};
use crate::qos::fuzz::{Block, Fuzz};
use crate::qos::registers::{Access, Registers, RegistersExt, Width};
use crate::{Result, tests};

tests!(Vga, "vga-attack-tests":
    sweep,
    far_away = "far-away",
    any_values = "any-values",
    any_accesses = "any-accesses",
);

/// The files of registers, with how many indices each is given, and of how many the rest are
/// names of others.
const FILES: [(u64, u64); 4] =
    [(vga::SEQUENCER, 0x20), (vga::GRAPHICS, 0x40), (vga::CRTC, 0x40), (vga::ATTRIBUTE, 0x20)];

/// Sets one of the modes.
fn set_mode(card: &Vga, number: usize) -> Result<()> {
    match number % 4 {
        0 => Graphics { width: 160, height: 40, is_chained: false }.set(card),
        1 => Graphics { width: 160, height: 40, is_chained: true }.set(card),
        2 => Text { columns: 20, rows: 4, is_nine_wide: false }.set(card),
        _ => Text { columns: 20, rows: 4, is_nine_wide: true }.set(card),
    }
}

/// Would catch a register at one of whose values QEMU ends when the screen is drawn.
fn sweep(card: &Vga, vm: &Rc<Vm>) -> Result<()> {
    for mode in 0..3 {
        for (file, count) in FILES {
            set_mode(card, mode)?;
            for index in 0..count {
                let registers = card.registers();
                let before = registers.read(file | index, Width::Byte)?;
                for value in [0xff, 0x55, 0x00] {
                    registers.write(file | index, Width::Byte, value)?;
                    screen::dump_size(vm)?;
                }
                registers.write(file | index, Width::Byte, before)?;
            }
        }
    }
    Ok(())
}

/// Would catch a screen that is drawn from behind the end of video memory: the largest start
/// addresses, lines and fonts, with the screen split and panned.
fn far_away(card: &Vga, vm: &Rc<Vm>) -> Result<()> {
    for mode in 0..4 {
        set_mode(card, mode)?;
        for (high, low) in [(0xff, 0xff), (0xff, 0x00), (0x80, 0x01)] {
            for (offset, compare) in [(0xff, 0x05), (0x00, 0xff), (0x01, 0x00)] {
                card.program(&[
                    (vga::START_HIGH, high),
                    (vga::START_LOW, low),
                    (vga::CURSOR_HIGH, !high),
                    (vga::CURSOR_LOW, !low),
                    (vga::CURSOR_START, 0),
                    (vga::CURSOR_END, 0x1f),
                    (vga::OFFSET, offset),
                    (vga::LINE_COMPARE, compare),
                    (vga::OVERFLOW, 0x42),
                    (vga::MAX_SCAN, 0x0f),
                    (vga::CHARACTER_MAP, 0x3f),
                    (vga::PANNING, 0x0f),
                    (vga::H_DISPLAY_END, 0xff),
                    (vga::V_DISPLAY_END, 0xff),
                ])?;
                screen::dump_size(vm)?;
                if let Ok(window) = card.window() {
                    for at in [0, 0xffff, 0x1_ffff] {
                        window.write8(at, 0xaa)?;
                        window.read8(at)?;
                    }
                }
            }
        }
    }
    Ok(())
}

/// Would catch values that are harmless alone, but together bring QEMU to its end.
fn any_values(card: &Vga, vm: &Rc<Vm>) -> Result<()> {
    let mut rng = Rng::with_seed(0x03c0);
    for round in 0..120 {
        if round % 8 == 0 {
            set_mode(card, rng.usize(..4))?;
        }
        for _ in 0..rng.usize(1..8) {
            let (file, count) = FILES[rng.usize(..4)];
            let value = if rng.bool() { rng.u64(..0x100) } else { 1 << rng.u64(..8) };
            card.registers().write(file | rng.u64(..count), Width::Byte, value)?;
        }
        card.show(true)?;
        screen::dump_size(vm)?;
        if let Ok(window) = card.window() {
            let any = |rng: &mut Rng| rng.u64(..0x2_0000 - 4) & !3;
            let accesses: Vec<Access> = (0..16)
                .map(|_| match rng.bool() {
                    true => Access::Write(any(&mut rng), Width::Long, rng.u32(..).into()),
                    false => Access::Read(any(&mut rng), Width::Long),
                })
                .collect();
            window.sequence(&accesses)?;
        }
    }
    Ok(())
}

/// The ports from 0x3c0 on, which every card has.
struct FromC0<'a>(&'a Vga);

impl Registers for FromC0<'_> {
    fn read(&self, offset: u64, width: Width) -> Result<u64> {
        self.0.ports().read(0x3c0 + offset, width)
    }

    fn write(&self, offset: u64, width: Width, value: u64) -> Result<()> {
        self.0.ports().write(0x3c0 + offset, width, value)
    }
}

/// Would catch accesses of any width to any port, in any order, at which QEMU ends.
fn any_accesses(card: &Vga, vm: &Rc<Vm>) -> Result<()> {
    let ports = FromC0(card);
    for seed in 0..4 {
        set_mode(card, seed)?;
        let block = Block { space: &ports, base: 0, size: 0x20, widest: Width::Word };
        let mut fuzz = Fuzz::new(seed as u64, Vec::new());
        for _ in 0..30 {
            fuzz.run(std::slice::from_ref(&block), 40)?;
            card.registers().set(vga::MISC, 0x01)?;
            card.show(true)?;
            screen::dump_size(vm)?;
        }
    }
    Ok(())
}
