//! The Sound Blaster 16: its DSP and mixer, interrupts, and what it plays by DMA, heard as it was
//! played (Sound Blaster Series Hardware Programming Guide, "HPG", whose chapters are cited).

use std::rc::Rc;
use std::time::Duration;

use crate::drivers::audio::sb16::{ACKNOWLEDGE_16, INTERRUPT_STATUS, READ_STATUS, Sb16};
use crate::qemu::Vm;
use crate::qos::registers::RegistersExt;
use crate::qos::sound::{Format, assert_heard_within, plays_into_file};
use crate::qos::wait_until;
use crate::{Error, Result, attacks, tests};

tests!(Sb16, "sb16-tests":
    reset,
    version,
    identification,
    test_register = "test-register",
    mixer,
    settings,
    interrupts,
    silence,
    playback,
    single,
    auto_init = "auto-init",
    pause,
    last_block = "last-block",
    rates,
    unknown,
);
attacks!(Sb16, "sb16-attacks": mixer, interrupts, playback, auto_init = "auto-init", unknown);

/// Commands of the DSP (HPG, 6).
const SINGLE: u8 = 0x14;
const AUTO: u8 = 0x1c;
const TIME_CONSTANT: u8 = 0x40;
const RATE: u8 = 0x41;
const BLOCK: u8 = 0x48;
const SILENCE: u8 = 0x80;
const PAUSE: u8 = 0xd0;
const PAUSE_16: u8 = 0xd5;
const CONTINUE: u8 = 0xd4;
const EXIT_AUTO: u8 = 0xda;
const IDENTIFY: u8 = 0xe0;
const VERSION: u8 = 0xe1;
const COPYRIGHT: u8 = 0xe3;
const WRITE_TEST: u8 = 0xe4;
const READ_TEST: u8 = 0xe8;
const INTERRUPT_8: u8 = 0xf2;
const INTERRUPT_16: u8 = 0xf3;

/// The length of a buffer in bytes.
const SIZE: usize = 32_768;

fn step(vm: &Vm, milliseconds: u64) -> Result<()> {
    vm.qtest().clock_step(Some(Duration::from_millis(milliseconds)))?;
    Ok(())
}

/// Would catch a DSP that is not ready after its reset, or that keeps what it had to say.
fn reset(card: &Sb16, _: &Rc<Vm>) -> Result<()> {
    for _ in 0..3 {
        card.reset()?;
        assert!(!card.has_data()?, "more than one byte after a reset");
        card.send(&[VERSION])?;
        card.reset()?;
        assert!(!card.has_data()?, "a version that outlives a reset");
    }
    Ok(())
}

/// Would catch a version that is none of an SB16, its halves exchanged, or another copyright (HPG, 6).
fn version(card: &Sb16, vm: &Rc<Vm>) -> Result<()> {
    card.reset()?;
    vm.set_up_ends()?;
    assert_eq!(card.ask(&[VERSION], 2)?, [4, 5], "the version");
    let expected = b"COPYRIGHT (C) CREATIVE TECHNOLOGY LTD, 1992.\0";
    assert_eq!(card.ask(&[COPYRIGHT], expected.len())?, expected, "the copyright");
    Ok(())
}

/// Would catch an identification that is not the complement of what was sent.
fn identification(card: &Sb16, _: &Rc<Vm>) -> Result<()> {
    card.reset()?;
    for byte in [0x00, 0xff, 0xaa, 0x55, 0x12] {
        assert_eq!(card.ask(&[IDENTIFY, byte], 1)?, [!byte], "the complement of {byte:#x}");
    }
    Ok(())
}

/// Would catch a test register that does not keep a byte.
fn test_register(card: &Sb16, vm: &Rc<Vm>) -> Result<()> {
    card.reset()?;
    vm.set_up_ends()?;
    for byte in [0x00, 0xff, 0x3c] {
        card.send(&[WRITE_TEST, byte])?;
        assert_eq!(card.ask(&[READ_TEST], 1)?, [byte], "the test register");
    }
    Ok(())
}

/// Would catch a volume that is not kept or is another's, and one that a reset of the mixer leaves
/// (HPG, 4).
fn mixer(card: &Sb16, vm: &Rc<Vm>) -> Result<()> {
    card.set_mixer(0, 0)?;
    let volumes = 0x30..=0x39u8;
    let first: Vec<u8> = volumes.clone().map(|at| card.mixer(at)).collect::<Result<_>>()?;
    for register in volumes.clone() {
        card.set_mixer(register, register << 3)?;
    }
    vm.set_up_ends()?;
    for register in volumes.clone() {
        assert_eq!(card.mixer(register)?, register << 3, "register {register:#x}");
    }
    card.set_mixer(0, 0)?;
    let last: Vec<u8> = volumes.map(|at| card.mixer(at)).collect::<Result<_>>()?;
    assert_eq!(last, first, "volumes after a reset of the mixer");
    Ok(())
}

/// Would catch an interrupt or channels that are not told as they were set up: interrupt 5, channels 1
/// and 5 (HPG, 4: Interrupt Setup, DMA Setup).
fn settings(card: &Sb16, _: &Rc<Vm>) -> Result<()> {
    assert_eq!(card.mixer(0x80)? & 0xf, 2, "Interrupt Setup");
    assert_eq!(card.mixer(0x81)?, 0x22, "DMA Setup");
    card.set_mixer(0, 0)?;
    assert_eq!((card.mixer(0x80)? & 0xf, card.mixer(0x81)?), (2, 0x22), "after a reset");
    Ok(())
}

/// Would catch an interrupt that is not asserted, of the wrong kind, or acknowledged at the wrong port
/// (HPG, 3: Interrupt Status Register).
fn interrupts(card: &Sb16, vm: &Rc<Vm>) -> Result<()> {
    card.reset()?;
    vm.set_up_ends()?;
    let line = card.line()?;
    for (command, bit) in [(INTERRUPT_8, 1), (INTERRUPT_16, 2), (INTERRUPT_8, 1)] {
        assert!(!line.is_high()?, "before command {command:#x}");
        card.send(&[command])?;
        assert!(line.is_high()?, "command {command:#x}");
        assert_eq!(card.mixer(INTERRUPT_STATUS)? & 3, bit, "command {command:#x}: its status");
        let (wrong, right) = match bit {
            1 => (ACKNOWLEDGE_16, READ_STATUS),
            _ => (READ_STATUS, ACKNOWLEDGE_16),
        };
        card.registers.get(wrong)?;
        assert!(line.is_high()?, "command {command:#x}, the other acknowledged");
        card.registers.get(right)?;
        assert!(!line.is_high()?, "command {command:#x}, acknowledged");
        assert_eq!(card.mixer(INTERRUPT_STATUS)? & 3, 0, "command {command:#x}: no status");
        card.reset()?;
    }
    Ok(())
}

/// Would catch silence of a length of its own that does not end with an interrupt, or at once (HPG, 6:
/// 80h).
fn silence(card: &Sb16, vm: &Rc<Vm>) -> Result<()> {
    card.reset()?;
    let line = card.line()?;
    card.send(&[RATE, 0x2b, 0x11])?;
    // 2205 samples of 11025 a second.
    card.send(&[SILENCE, 0x9c, 0x08])?;
    step(vm, 150)?;
    assert!(!line.is_high()?, "after 150 ms of 200");
    step(vm, 100)?;
    assert!(line.is_high()?, "after 250 ms of 200");
    Ok(())
}

/// A tone in memory, at 44100 samples a second, and the DSP with nothing to do.
fn ready(card: &Sb16, format: Format) -> Result<Vec<u8>> {
    card.reset()?;
    let tone = format.tone(SIZE);
    card.set_dma(format.is_wide, &tone)?;
    card.send(&[RATE, 0xac, 0x44])?;
    Ok(tone)
}

/// Begins to play so many samples over and over (HPG, 6: Bxh and Cxh).
fn play(card: &Sb16, format: Format, samples: usize) -> Result<()> {
    let [low, high] = (samples as u16 - 1).to_le_bytes();
    let command = if format.is_wide { 0xb6 } else { 0xc6 };
    let signed = u8::from(format.is_wide) << 4;
    card.send(&[command, u8::from(format.is_stereo) << 5 | signed, low, high])
}

/// Would catch samples of 16 bits that are lost, repeated, swapped or changed.
fn playback(card: &Sb16, vm: &Rc<Vm>) -> Result<()> {
    if !plays_into_file(vm) {
        return Err(Error::skipped("nobody hears what is played; the variant `wav` does"));
    }
    for is_stereo in [false, true] {
        let format = Format { is_wide: true, is_stereo };
        let tone = ready(card, format)?;
        play(card, format, SIZE / 2)?;
        // In steps, as a timer of QEMU's moves the sound.
        let milliseconds = 1000 * SIZE / format.bytes() / 44_100 + 200;
        (0..milliseconds / 5).try_for_each(|_| step(vm, 5))?;
        card.send(&[PAUSE_16])?;
        step(vm, 200)?;
        assert_heard_within(vm, &format.samples(&tone), &format!("{format:?}"))?;
    }
    Ok(())
}

/// Waits for the interrupt of 8 bits, and acknowledges it.
fn block_ends(card: &Sb16, vm: &Vm) -> Result<()> {
    wait_until(vm, "the interrupt of a block", || Ok(card.mixer(INTERRUPT_STATUS)? & 1 != 0))?;
    card.registers.get(READ_STATUS)?;
    assert_eq!(card.mixer(INTERRUPT_STATUS)? & 1, 0, "the interrupt, acknowledged");
    Ok(())
}

/// Asserts that no block ends within half a second.
fn no_block_ends(card: &Sb16, vm: &Vm, when: &str) -> Result<()> {
    for _ in 0..50 {
        step(vm, 10)?;
        assert_eq!(card.mixer(INTERRUPT_STATUS)? & 3, 0, "{when}: an interrupt");
    }
    Ok(())
}

const BYTES: Format = Format { is_wide: false, is_stereo: false };

/// Would catch a single block without an interrupt at its end, or with one of the other size, or that
/// goes on (HPG, 6: 14h).
fn single(card: &Sb16, vm: &Rc<Vm>) -> Result<()> {
    ready(card, BYTES)?;
    let line = card.line()?;
    for _ in 0..2 {
        card.send(&[TIME_CONSTANT, 0xd2])?;
        card.send(&[SINGLE, 0xff, 0x0f])?;
        assert!(!line.is_high()?, "at once");
        wait_until(vm, "the interrupt of a block", || line.is_high())?;
        assert_eq!(card.mixer(INTERRUPT_STATUS)? & 3, 1, "the interrupt of 8 bits");
        card.registers.get(READ_STATUS)?;
        assert!(!line.is_high()?, "acknowledged");
        no_block_ends(card, vm, "after a single block")?;
    }
    Ok(())
}

/// Would catch blocks that end once where they should go on, or whose end is told with another's (HPG,
/// 6: 1Ch and 48h).
fn auto_init(card: &Sb16, vm: &Rc<Vm>) -> Result<()> {
    ready(card, BYTES)?;
    vm.set_up_ends()?;
    card.send(&[BLOCK, 0xff, 0x07, AUTO])?;
    (0..12).try_for_each(|_| block_ends(card, vm))?;
    card.reset()?;
    no_block_ends(card, vm, "after a reset")
}

/// Would catch a pause that does not stop, or from which nothing goes on (HPG, 6: D0h and D4h).
fn pause(card: &Sb16, vm: &Rc<Vm>) -> Result<()> {
    ready(card, BYTES)?;
    card.send(&[BLOCK, 0xff, 0x07, AUTO])?;
    block_ends(card, vm)?;
    for _ in 0..2 {
        card.send(&[PAUSE])?;
        card.registers.get(READ_STATUS)?;
        no_block_ends(card, vm, "in a pause")?;
        card.send(&[CONTINUE])?;
        block_ends(card, vm)?;
        block_ends(card, vm)?;
    }
    Ok(())
}

/// Would catch blocks that go on after they were to end with the one that is played, or that end at
/// once (HPG, 6: DAh).
fn last_block(card: &Sb16, vm: &Rc<Vm>) -> Result<()> {
    ready(card, BYTES)?;
    card.send(&[BLOCK, 0xff, 0x07, AUTO])?;
    block_ends(card, vm)?;
    card.send(&[EXIT_AUTO])?;
    block_ends(card, vm)?;
    no_block_ends(card, vm, "after the last block")
}

/// Would catch a rate by which QEMU fails, and a block that never ends at it (HPG, 6: 40h and 41h).
fn rates(card: &Sb16, vm: &Rc<Vm>) -> Result<()> {
    for rate in [[0x13, 0x88], [0x1f, 0x40], [0xac, 0x44], [0, 0], [0, 1], [0xff, 0xff]] {
        ready(card, BYTES)?;
        card.send(&[RATE, rate[0], rate[1], BLOCK, 0xff, 0x01, AUTO])?;
        block_ends(card, vm)?;
    }
    for constant in [0, 0x80, 0xd2, 0xff] {
        ready(card, BYTES)?;
        card.send(&[TIME_CONSTANT, constant, BLOCK, 0xff, 0x01, AUTO])?;
        block_ends(card, vm)?;
    }
    Ok(())
}

/// Would catch a command that nobody knows, or of whose bytes some are missing, by which a DSP is of
/// no use after its reset.
fn unknown(card: &Sb16, vm: &Rc<Vm>) -> Result<()> {
    card.reset()?;
    vm.set_up_ends()?;
    for command in 0..=0xff {
        for data in [&[][..], &[0xff], &[0xff, 0xff, 0xff], &[0; 12]] {
            card.send(&[command])?;
            card.send(data)?;
            step(vm, 1)?;
            card.reset()?;
        }
    }
    assert_eq!(card.ask(&[VERSION], 2)?, [4, 5], "the version at last");
    Ok(())
}
