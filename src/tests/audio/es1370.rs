//! The ES1370: what it plays in every format, heard as it was played; its rings, counts, pauses and
//! interrupts; silence that it records; and rings that break the rules.

use std::rc::Rc;
use std::time::Duration;

use crate::drivers::audio::es1370::{
    ADC, ANY_INTERRUPT, CONTROL, Channel, DAC1, DAC2, Es1370, RATE_44100, SERIAL, STATUS,
};
use crate::qemu::{Buffer, Vm};
use crate::qos::registers::{Registers, RegistersExt};
use crate::qos::sound::{Format, assert_heard_within, plays_into_file};
use crate::qos::{reset, wait_until};
use crate::{Error, Result, attacks, tests};

tests!(Es1370, "ES1370-tests":
    playback,
    playback_of_bytes = "playback-of-bytes",
    record,
    record_of_bytes = "record-of-bytes",
    ring,
    interrupts,
    pause,
    sample_counts = "sample-counts",
    machine_reset = "machine-reset",
    bad_rings = "bad-rings",
);
attacks!(Es1370, "ES1370-attacks": playback, record);

const STEREO: Format = Format { is_wide: true, is_stereo: true };

/// The length of a ring in bytes.
const RING: usize = 65_536;

/// The bits of SERIAL for a format of a channel.
fn format_bits(channel: Channel, format: Format) -> u32 {
    (u32::from(format.is_wide) << 1 | u32::from(format.is_stereo)) << channel.format
}

/// A channel with a ring, which does not run yet.
struct Bench<'a> {
    vm: &'a Rc<Vm>,
    registers: Rc<dyn Registers>,
    channel: Channel,
    ring: Buffer,
}

impl<'a> Bench<'a> {
    fn new(card: &Es1370, vm: &'a Rc<Vm>, channel: Channel, data: &[u8]) -> Result<Self> {
        card.plug.device.bus().reaches_ram()?;
        let (registers, ring) = (card.registers(), vm.ram().alloc(data.len(), 4)?);
        ring.write(0, data)?;
        registers.set(SERIAL, 0)?;
        registers.set(CONTROL, RATE_44100)?;
        registers.set(channel.address, ring.address().0 as u32)?;
        registers.set(channel.size, (data.len() / 4 - 1) as u32)?;
        Ok(Self { vm, registers, channel, ring })
    }

    /// Begins to run: `count` samples between two interrupts, and these bits of SERIAL.
    fn run(&self, format: Format, count: usize, bits: u32) -> Result<()> {
        self.registers.set(self.channel.count, count as u32 - 1)?;
        self.registers.set(SERIAL, format_bits(self.channel, format) | bits)?;
        self.registers.set(CONTROL, RATE_44100 | self.channel.enable)
    }

    fn stop(&self) -> Result<()> {
        self.registers.set(CONTROL, RATE_44100)?;
        self.registers.set(SERIAL, 0)
    }

    /// Which doubleword of the ring is next.
    fn position(&self) -> Result<u32> {
        Ok(self.registers.get(self.channel.size)? >> 16)
    }

    fn status(&self) -> Result<u32> {
        self.registers.get(STATUS)
    }

    fn step(&self, milliseconds: u64) -> Result<()> {
        self.vm.qtest().clock_step(Some(Duration::from_millis(milliseconds))).map(drop)?;
        Ok(())
    }
}

/// The formats of samples of 16 bits, or of 8.
fn formats(is_wide: bool) -> impl Iterator<Item = Format> {
    Format::ALL.into_iter().filter(move |format| format.is_wide == is_wide)
}

/// Would catch samples that are lost, repeated, swapped or changed between guest memory and what is
/// heard, and a format of one converter that is another's.
fn playback(card: &Es1370, vm: &Rc<Vm>) -> Result<()> {
    check_playback(card, vm, true)
}

/// Would catch the same of samples of 8 bits.
fn playback_of_bytes(card: &Es1370, vm: &Rc<Vm>) -> Result<()> {
    check_playback(card, vm, false)
}

fn check_playback(card: &Es1370, vm: &Rc<Vm>, is_wide: bool) -> Result<()> {
    if !plays_into_file(vm) {
        return Err(Error::skipped("nobody hears what is played; the variant `wav` does"));
    }
    for channel in [DAC1, DAC2] {
        for format in formats(is_wide) {
            // The other converters have another format.
            let other = Format { is_wide: !format.is_wide, ..format };
            let others = [DAC1, DAC2, ADC].map(|it| format_bits(it, other));
            let own = format_bits(channel, STEREO);
            let others = others.iter().fold(0, |all, it| all | it) & !own;
            let tone = format.tone(RING);
            let bench = Bench::new(card, vm, channel, &tone)?;
            bench.run(format, RING / format.bytes(), others)?;
            wait_until(vm, "most of the ring to be played", || {
                Ok(bench.position()? as usize * 4 >= RING * 3 / 4)
            })?;
            bench.stop()?;
            bench.step(200)?;
            assert_eq!(bench.ring.to_vec()?, tone, "guest memory that was played");
            // The file holds what all of them played.
            let what = format!("{}, {format:?}", channel.name);
            assert_heard_within(vm, &format.samples(&tone), &what)?;
        }
    }
    Ok(())
}

/// Would catch what is recorded at another place than in the ring, outside of it, or not at all:
/// silence, as there is no microphone.
fn record(card: &Es1370, vm: &Rc<Vm>) -> Result<()> {
    check_record(card, vm, true)
}

/// Would catch the same of samples of 8 bits.
fn record_of_bytes(card: &Es1370, vm: &Rc<Vm>) -> Result<()> {
    check_record(card, vm, false)
}

fn check_record(card: &Es1370, vm: &Rc<Vm>, is_wide: bool) -> Result<()> {
    if plays_into_file(vm) {
        return Err(Error::skipped("a file cannot be recorded from"));
    }
    for format in formats(is_wide) {
        let bench = Bench::new(card, vm, ADC, &vec![0xa5; RING])?;
        // The ring is a part of it only.
        let (start, words) = (1024, 700);
        bench.registers.set(ADC.address, bench.ring.address().0 as u32 + start)?;
        bench.registers.set(ADC.size, words - 1)?;
        bench.run(format, 100, 0)?;
        bench.step(500)?;
        bench.stop()?;
        let silence = if format.is_wide { 0 } else { 0x80 };
        let data = bench.ring.to_vec()?;
        let (start, end) = (start as usize, start as usize + words as usize * 4);
        let wrong = data[start..end].iter().position(|&byte| byte != silence);
        let wrong = wrong.map(|at| (at, data[start + at]));
        assert_eq!(wrong, None, "{format:?}: where the ring is not silent, and what is there");
        let outside = data[..start].iter().chain(&data[end..]);
        assert!(outside.into_iter().all(|&byte| byte == 0xa5), "{format:?}: outside of the ring");
    }
    Ok(())
}

/// Would catch a ring that does not begin anew at its end, or whose length is another.
fn ring(card: &Es1370, vm: &Rc<Vm>) -> Result<()> {
    for channel in [DAC1, DAC2, ADC] {
        if channel.name == "ADC" && plays_into_file(vm) {
            continue;
        }
        let bench = Bench::new(card, vm, channel, &STEREO.tone(4096))?;
        bench.run(STEREO, 1024, 0)?;
        let (mut seen, mut wraps, mut last) = (0, 0, 0);
        for _ in 0..200 {
            bench.step(5)?;
            let (size, position) = (bench.registers.get(channel.size)?, bench.position()?);
            assert_eq!(size & 0xffff, 1023, "{}: the length of the ring", channel.name);
            assert!(position <= 1023, "{}: at {position} of 1024", channel.name);
            wraps += u32::from(position < last);
            seen += u32::from(position != last);
            last = position;
        }
        bench.stop()?;
        // 44,100 samples, 1024 a ring, are played in a second.
        assert!((20..=50).contains(&wraps), "{}: {wraps} times round in 1 s", channel.name);
        assert!(seen >= 20, "{}: the position changed {seen} times", channel.name);
    }
    Ok(())
}

/// Would catch an interrupt that does not come when the samples are over, gets out while it is not
/// enabled, is not told in the status, or stays when it is taken back.
fn interrupts(card: &Es1370, vm: &Rc<Vm>) -> Result<()> {
    for channel in [DAC1, DAC2, ADC] {
        if channel.name == "ADC" && plays_into_file(vm) {
            continue;
        }
        let name = channel.name;
        let bench = Bench::new(card, vm, channel, &STEREO.tone(RING))?;
        let device = &card.plug.device;
        bench.run(STEREO, 500, 0)?;
        bench.step(300)?;
        assert_eq!(bench.status()? & (ANY_INTERRUPT | 7), 0, "{name}: not enabled");
        assert!(!device.asserts_interrupt()?, "{name}: the pin, not enabled");
        bench.stop()?;
        bench.run(STEREO, 500, channel.enable_interrupt)?;
        for round in 0..3 {
            wait_until(vm, "an interrupt", || Ok(bench.status()? & channel.interrupt != 0))?;
            let told = bench.status()? & (ANY_INTERRUPT | 7);
            assert_eq!(told, ANY_INTERRUPT | channel.interrupt, "{name}: status {round}");
            assert!(device.asserts_interrupt()?, "{name}: the pin, {round}");
            // It is taken back by the bit that enables it.
            bench.registers.set(SERIAL, format_bits(channel, STEREO))?;
            assert_eq!(bench.status()? & (ANY_INTERRUPT | 7), 0, "{name}: taken back, {round}");
            assert!(!device.asserts_interrupt()?, "{name}: the pin, taken back, {round}");
            let bits = format_bits(channel, STEREO) | channel.enable_interrupt;
            bench.registers.set(SERIAL, bits)?;
            assert!(!device.asserts_interrupt()?, "{name}: the pin, enabled again, {round}");
        }
        bench.stop()?;
    }
    Ok(())
}

/// Would catch a pause that does not hold, or loses where it was.
fn pause(card: &Es1370, vm: &Rc<Vm>) -> Result<()> {
    for channel in [DAC1, DAC2] {
        let name = channel.name;
        let bench = Bench::new(card, vm, channel, &STEREO.tone(0x3_0000))?;
        let format = format_bits(channel, STEREO);
        bench.run(STEREO, 0x8000, 0)?;
        bench.step(200)?;
        bench.registers.set(SERIAL, format | channel.pause)?;
        bench.step(50)?;
        let before = bench.position()?;
        assert!(before > 0, "{name}: nothing was played");
        bench.step(500)?;
        assert_eq!(bench.position()?, before, "{name}: the position while it pauses");
        bench.registers.set(SERIAL, format)?;
        bench.step(200)?;
        assert!(bench.position()? > before, "{name}: the position after it went on");
        bench.stop()?;
        bench.step(50)?;
        let before = bench.position()?;
        bench.step(200)?;
        assert_eq!(bench.position()?, before, "{name}: the position when it is stopped");
    }
    Ok(())
}

/// Would catch a count of samples that is not taken over when it is written, or counts bytes.
fn sample_counts(card: &Es1370, vm: &Rc<Vm>) -> Result<()> {
    for channel in [DAC1, DAC2, ADC] {
        let registers = card.registers();
        registers.set(channel.count, 0x5a_1234)?;
        let count = registers.get(channel.count)?;
        assert_eq!(count, 0x1234_1234, "{}: the count in both halves", channel.name);
        if channel.name == "ADC" && plays_into_file(vm) {
            continue;
        }
        for format in Format::ALL {
            let bench = Bench::new(card, vm, channel, &STEREO.tone(0x3_0000))?;
            bench.run(format, 0x1_0000, 0)?;
            bench.step(100)?;
            bench.stop()?;
            let gone = 0xffff - (registers.get(channel.count)? >> 16) as usize;
            let doublewords = bench.position()? as usize;
            let rest = (gone * format.bytes()).abs_diff(doublewords * 4);
            let what = format!("{}, {format:?}: {gone} samples", channel.name);
            assert!(gone > 0 && rest < 4, "{what} are {doublewords} doublewords");
        }
    }
    Ok(())
}

/// Would catch a converter that a reset of the machine leaves running, or an interrupt that it
/// leaves pending.
fn machine_reset(card: &Es1370, vm: &Rc<Vm>) -> Result<()> {
    let bench = Bench::new(card, vm, DAC2, &STEREO.tone(RING))?;
    bench.run(STEREO, 500, DAC2.enable_interrupt)?;
    wait_until(vm, "an interrupt", || Ok(bench.status()? & DAC2.interrupt != 0))?;
    reset(vm)?;
    card.plug.device.bus().reopen()?;
    let plug = card.plug.again()?;
    assert!(!plug.device.asserts_interrupt()?, "the pin after a reset");
    let registers = Es1370 { plug }.registers();
    assert_eq!(registers.get(STATUS)?, 0x60, "STATUS after a reset");
    assert_eq!(registers.get(CONTROL)?, 1, "CONTROL after a reset");
    let before = registers.get(DAC2.size)?;
    bench.step(300)?;
    assert_eq!(registers.get(DAC2.size)?, before, "the position long after a reset");
    Ok(())
}

/// Would catch rings at which QEMU ends or leaves the ring: a position behind the end, no length,
/// the longest, at the end of 32 bits, where no memory is, with every format and count, changed
/// while they are played.
fn bad_rings(card: &Es1370, vm: &Rc<Vm>) -> Result<()> {
    let everywhere = RATE_44100 | DAC1.enable | DAC2.enable | ADC.enable;
    let bench = Bench::new(card, vm, DAC1, &STEREO.tone(RING))?;
    let registers = &bench.registers;
    let guard = vm.ram().alloc(RING, 4096)?;
    guard.write(0, &vec![0x5a; RING])?;
    let addresses =
        [0xffff_fffc, 0, 0xfee0_0000, guard.address().0 as u32 + RING as u32, 0x8000_0000];
    let sizes = [0x0000_0000, 0xffff_0000, 0x0010_0001, 0xffff_ffff, 0x0000_ffff, 0xfffe_ffff];
    let mut rng = fastrand::Rng::with_seed(0x1370);
    for address in addresses {
        for size in sizes {
            registers.set(CONTROL, RATE_44100)?;
            for channel in [DAC1, DAC2, ADC] {
                // What is recorded must not hit what the test knows of.
                let address = if channel.name == "ADC" { 0xffff_f000 } else { address };
                registers.set(channel.address, address)?;
                registers.set(channel.size, size)?;
                registers.set(channel.count, [0, 1, 0xffff][rng.usize(..3)])?;
            }
            registers.set(SERIAL, rng.u32(..) & 0x003f_c73f | 0x700)?;
            registers.set(CONTROL, everywhere)?;
            bench.step(30)?;
            registers.set(DAC1.size, sizes[rng.usize(..6)])?;
            registers.set(CONTROL, everywhere ^ (rng.u32(..) & 0x1fff_3000))?;
            bench.step(30)?;
            bench.status()?;
        }
    }
    bench.stop()?;
    assert_eq!(guard.to_vec()?, vec![0x5a; RING], "memory that no ring is in");
    Ok(())
}
