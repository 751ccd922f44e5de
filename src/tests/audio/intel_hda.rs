//! High Definition Audio: codecs and their commands, by rings and past them; streams that are heard
//! as they were played, their positions and interrupts; and lists that break the rules (High
//! Definition Audio Specification 1.0a).

use std::rc::Rc;
use std::time::Duration;

use crate::drivers::audio::intel_hda::{
    CORBCTL, CORBLBASE, CORBRP, CORBSIZE, CORBUBASE, CORBWP, DPLBASE, GCTL, INPUT, INTCTL,
    INTERRUPT, INTSTS, IntelHda, OUTPUT, RESET, RINTCNT, RIRBCTL, RIRBLBASE, RIRBSTS, RIRBUBASE,
    RIRBWP, RUN, STATESTS, Stream, WALCLK,
};
use crate::qemu::{Buffer, Vm};
use crate::qos::registers::RegistersExt;
use crate::qos::sound::{Format, assert_heard_within, plays_into_file};
use crate::qos::wait_until;
use crate::{Error, Result, attacks, tests};

tests!(IntelHda, "intel-hda-tests":
    codecs,
    status_zeroes = "status-zeroes",
    nodes,
    rings,
    rings_without_interrupts = "rings-without-interrupts",
    ring_interrupts = "ring-interrupts",
    wall_clock = "wall-clock",
    playback,
    positions,
    stream_interrupts = "stream-interrupts",
    record,
    stream_reset = "stream-reset",
    bad_lists = "bad-lists",
    own_registers = "own-registers",
    bad_rings = "bad-rings",
    controller_reset = "controller-reset",
    codec_reset = "codec-reset",
);
attacks!(IntelHda, "intel-hda-attacks": rings);

/// 48,000 times a second two samples of 16 bits (3.7.1).
const FORMAT: u16 = 0x0011;
/// The samples of [`FORMAT`] as QEMU's codecs keep them in memory.
const STEREO: Format = Format { is_wide: true, is_stereo: true };
/// The number of a stream by which codecs know it.
const TAG: u32 = 5;

/// The codecs that this path has.
fn addresses(vm: &Vm) -> Vec<u32> {
    let has = |cad: &str| vm.config().options.iter().any(|it| it.contains(cad));
    (0..3).filter(|cad| has(&format!("cad={cad}"))).collect()
}

/// Would catch a codec that does not tell of itself after a reset, or one that is not there and
/// does.
fn codecs(hda: &IntelHda, vm: &Rc<Vm>) -> Result<()> {
    let registers = hda.registers();
    let expected = addresses(vm).iter().fold(0, |all, cad| all | 1 << cad);
    for _ in 0..2 {
        hda.reset()?;
        assert_eq!(registers.get(STATESTS)?, expected, "STATESTS after a reset");
        registers.set(STATESTS, expected)?;
        assert_eq!(registers.get(STATESTS)?, 0, "STATESTS, cleared");
    }
    Ok(())
}

/// Would catch a status that zeroes clear.
fn status_zeroes(hda: &IntelHda, vm: &Rc<Vm>) -> Result<()> {
    let expected = addresses(vm).iter().fold(0, |all, cad| all | 1 << cad);
    hda.reset()?;
    hda.registers().set(STATESTS, 0)?;
    assert_eq!(hda.registers().get(STATESTS)?, expected, "STATESTS, zeroes written");
    Ok(())
}

/// Would catch a codec without the nodes that it tells of, with a format that it cannot play, or
/// whose settings are not those that were set.
fn nodes(hda: &IntelHda, vm: &Rc<Vm>) -> Result<()> {
    for codec in addresses(vm) {
        let vendor = hda.parameter(codec, 0, 0x00)?;
        assert_eq!(vendor >> 16, 0x1af4, "codec {codec}: its vendor");
        let groups = hda.parameter(codec, 0, 0x04)?;
        assert_eq!(groups, 0x0001_0001, "codec {codec}: one function group, node 1");
        assert_eq!(hda.parameter(codec, 1, 0x05)? & 0xff, 1, "codec {codec}: for audio");
        let all = hda.parameter(codec, 1, 0x04)?;
        let (first, count) = (all >> 16 & 0xff, all & 0xff);
        assert!(first == 2 && (2..=4).contains(&count), "codec {codec}: nodes {all:#x}");
        let kinds: Vec<u32> = (first..first + count)
            .map(|node| Ok(hda.parameter(codec, node, 0x09)? >> 20 & 0xf))
            .collect::<Result<_>>()?;
        let (converters, pins): (Vec<u32>, Vec<u32>) = kinds.iter().partition(|&&kind| kind < 2);
        assert_eq!(converters.len(), pins.len(), "codec {codec}: kinds of nodes {kinds:?}");
        assert!(pins.iter().all(|&kind| kind == 4), "codec {codec}: kinds of nodes {kinds:?}");
        for node in first..first + count {
            // A converter's stream and format, a pin's control (7.3.3).
            if kinds[(node - first) as usize] < 2 {
                let rates = hda.parameter(codec, node, 0x0a)?;
                assert_eq!(rates & 0x2_0040, 0x2_0040, "node {node}: 48 kHz and 16 bits");
                hda.command(codec, node, 0x70600 | TAG << 4 | 2)?;
                assert_eq!(hda.command(codec, node, 0xf0600)?, TAG << 4 | 2, "node {node}: stream");
                hda.command(codec, node, 0x20000 | u32::from(FORMAT))?;
                assert_eq!(
                    hda.command(codec, node, 0xa0000)?,
                    u32::from(FORMAT),
                    "node {node}: format"
                );
                hda.command(codec, node, 0x70600)?;
            } else {
                // A pin can be an input or an output.
                let value = if hda.parameter(codec, node, 0x0c)? & 0x20 != 0 { 0x20 } else { 0x40 };
                hda.command(codec, node, 0x70700 | value)?;
                let control = hda.command(codec, node, 0xf0700)?;
                assert_eq!(control, value, "node {node}: pin control");
            }
        }
        assert_eq!(hda.parameter(codec, 0x7f, 0x09)?, 0, "codec {codec}: a node it does not have");
    }
    Ok(())
}

/// Both rings, and the number of the last command.
struct Rings {
    commands: Buffer,
    responses: Buffer,
    last: u16,
}

impl Rings {
    fn new(hda: &IntelHda, vm: &Rc<Vm>) -> Result<Self> {
        hda.plug.device.bus().reaches_ram()?;
        let registers = hda.registers();
        let (commands, responses) = (vm.ram().alloc(1024, 128)?, vm.ram().alloc(2048, 128)?);
        registers.set(CORBCTL, 0)?;
        registers.set(RIRBCTL, 0)?;
        for (lower, upper, buffer) in
            [(CORBLBASE, CORBUBASE, &commands), (RIRBLBASE, RIRBUBASE, &responses)]
        {
            registers.set(lower, buffer.address().0 as u32)?;
            registers.set(upper, (buffer.address().0 >> 32) as u32)?;
        }
        registers.set(CORBRP, 0x8000)?;
        registers.set(CORBRP, 0)?;
        registers.set(CORBWP, 0)?;
        registers.set(RIRBWP, 0x8000)?;
        registers.set(RINTCNT, 0xff)?;
        assert_eq!(registers.get(CORBSIZE)? & 3, 2, "the ring has 256 commands");
        Ok(Self { commands, responses, last: 0 })
    }

    /// Puts commands into the ring, and has them sent.
    fn send(&mut self, hda: &IntelHda, commands: &[u32]) -> Result<()> {
        for command in commands {
            self.last = (self.last + 1) & 0xff;
            self.commands.write_le32(4 * usize::from(self.last), *command)?;
        }
        hda.registers().set(CORBWP, self.last)
    }
}

/// Would catch commands that are lost, repeated or sent to another codec, responses at another
/// place, and rings that do not begin anew behind their last entry.
fn rings(hda: &IntelHda, vm: &Rc<Vm>) -> Result<()> {
    let (registers, codec) = (hda.registers(), hda.codec());
    let mut rings = Rings::new(hda, vm)?;
    registers.set(RIRBCTL, 0x03)?;
    registers.set(CORBCTL, 0x02)?;
    let parameters = [0x00, 0x04, 0x02];
    let expected: Vec<u32> =
        parameters.iter().map(|&it| hda.parameter(codec, 0, it)).collect::<Result<_>>()?;
    let mut sent = 0_usize;
    for count in [1, 3, 100, 100, 100, 100, 7] {
        let number = |at: usize| parameters[(sent + at) % 3];
        let commands: Vec<u32> = (0..count).map(|at| codec << 28 | 0xf0000 | number(at)).collect();
        let last = (sent + count) & 0xff;
        rings.send(hda, &commands)?;
        // A codec answers 255 times before the ring must be looked at.
        registers.set(RIRBSTS, 0x05)?;
        wait_until(vm, "all commands to be sent", || {
            registers.set(RIRBSTS, 0x05)?;
            Ok(usize::from(registers.get(CORBRP)?) == last)
        })?;
        assert_eq!(usize::from(registers.get(RIRBWP)?), last, "the last response");
        for at in 0..count {
            let place = 8 * ((sent + at + 1) & 0xff);
            let response = rings.responses.read_le32(place)?;
            let extra = rings.responses.read_le32(place + 4)?;
            let number = sent + at;
            assert_eq!(response, expected[number % 3], "response {number}");
            assert_eq!(extra, codec, "whose response {number} is");
        }
        sent += count;
    }
    registers.set(CORBCTL, 0)?;
    let before = registers.get(CORBRP)?;
    rings.send(hda, &[codec << 28 | 0xf0000])?;
    assert_eq!(registers.get(CORBRP)?, before, "commands while the ring stands");
    Ok(())
}

/// Would catch commands that are not sent any more once there were as many responses as an interrupt
/// would take, although none is enabled.
fn rings_without_interrupts(hda: &IntelHda, vm: &Rc<Vm>) -> Result<()> {
    let (registers, codec) = (hda.registers(), hda.codec());
    let mut rings = Rings::new(hda, vm)?;
    registers.set(RINTCNT, 2)?;
    registers.set(RIRBCTL, 0x02)?;
    registers.set(CORBCTL, 0x02)?;
    rings.send(hda, &[codec << 28 | 0xf0000; 5])?;
    wait_until(vm, "five commands to be sent", || Ok(registers.get(CORBRP)? == 5))
}

/// Would catch an interrupt of responses that does not come after as many as it should, does not get
/// out, or is not taken back.
fn ring_interrupts(hda: &IntelHda, vm: &Rc<Vm>) -> Result<()> {
    let (registers, codec, device) = (hda.registers(), hda.codec(), &hda.plug.device);
    let mut rings = Rings::new(hda, vm)?;
    registers.set(STATESTS, 0x7fff)?;
    registers.set(INTCTL, 0xc000_0000)?;
    registers.set(RINTCNT, 3)?;
    registers.set(RIRBCTL, 0x03)?;
    registers.set(CORBCTL, 0x02)?;
    assert!(!device.asserts_interrupt()?, "the pin at first");
    for _ in 0..2 {
        rings.send(hda, &[codec << 28 | 0xf0000; 3])?;
        assert_eq!(registers.get(RIRBSTS)? & 1, 1, "RIRBSTS after three responses");
        assert_eq!(registers.get(INTSTS)? & 0xc000_0000, 0xc000_0000, "INTSTS");
        assert!(device.asserts_interrupt()?, "the pin after three responses");
        registers.set(INTCTL, 0x4000_0000)?;
        assert!(!device.asserts_interrupt()?, "the pin, masked");
        registers.set(INTCTL, 0xc000_0000)?;
        assert!(device.asserts_interrupt()?, "the pin, not masked any more");
        registers.set(RIRBSTS, 1)?;
        assert_eq!(registers.get(RIRBSTS)? & 1, 0, "RIRBSTS, cleared");
        assert_eq!(registers.get(INTSTS)?, 0, "INTSTS, cleared");
        assert!(!device.asserts_interrupt()?, "the pin, cleared");
    }
    Ok(())
}

/// Would catch a wall clock of another rate, or one that a reset does not set to zero.
fn wall_clock(hda: &IntelHda, vm: &Rc<Vm>) -> Result<()> {
    let registers = hda.registers();
    let before = registers.get(WALCLK)?;
    vm.qtest().clock_step(Some(Duration::from_millis(10)))?;
    let gone = registers.get(WALCLK)?.wrapping_sub(before);
    assert!((239_999..=240_001).contains(&gone), "{gone} ticks of 24 MHz in 10 ms");
    hda.reset()?;
    let now = registers.get(WALCLK)?;
    assert!(now < 240, "the wall clock is {now} after a reset");
    Ok(())
}

/// A stream with a list of buffers.
struct Bench<'a> {
    hda: &'a IntelHda,
    vm: &'a Rc<Vm>,
    stream: Stream,
    data: Buffer,
    list: Buffer,
    /// The converter of the codec.
    node: u32,
}

impl<'a> Bench<'a> {
    /// The data in as many buffers, the last of which interrupts.
    fn new(
        hda: &'a IntelHda,
        vm: &'a Rc<Vm>,
        stream: Stream,
        data: &[u8],
        buffers: usize,
    ) -> Result<Self> {
        hda.plug.device.bus().reaches_ram()?;
        let (list, buffer) = (vm.ram().alloc(16 * 256, 128)?, vm.ram().alloc(data.len(), 128)?);
        buffer.write(0, data)?;
        let length = data.len() / buffers;
        for at in 0..buffers {
            list.write_le64(16 * at, buffer.address().0 + (at * length) as u64)?;
            list.write_le32(16 * at + 8, length as u32)?;
            list.write_le32(16 * at + 12, u32::from(at == buffers - 1))?;
        }
        let registers = hda.registers();
        registers.set(stream.control(), 0)?;
        registers.set(stream.status(), 0x1c)?;
        registers.set(stream.list(), list.address().0 as u32)?;
        registers.set(stream.list_upper(), (list.address().0 >> 32) as u32)?;
        registers.set(stream.length(), data.len() as u32)?;
        registers.set(stream.last(), buffers as u16 - 1)?;
        registers.set(stream.format(), FORMAT)?;
        // The codecs of QEMU have what plays at node 2, and what records at node 4, or 2 without.
        let node = if stream.0 == INPUT.0 { 4 } else { 2 };
        Ok(Self { hda, vm, stream, data: buffer, list, node })
    }

    /// Begins: the codec listens first.
    fn run(&self, bits: u32) -> Result<()> {
        let (hda, codec) = (self.hda, self.hda.codec());
        hda.command(codec, self.node, 0x20000 | u32::from(FORMAT))?;
        hda.command(codec, self.node, 0x70600 | TAG << 4)?;
        hda.registers().set(self.stream.control(), TAG << 20 | bits | RUN)
    }

    fn stop(&self) -> Result<()> {
        self.hda.registers().set(self.stream.control(), 0)?;
        self.hda.command(self.hda.codec(), self.node, 0x70600).map(drop)
    }

    fn position(&self) -> Result<u32> {
        self.hda.registers().get(self.stream.position())
    }

    fn step(&self, milliseconds: u64) -> Result<()> {
        self.vm.qtest().clock_step(Some(Duration::from_millis(milliseconds)))?;
        Ok(())
    }
}

/// Would catch samples that are lost, repeated, swapped or changed between guest memory and what is
/// heard, above all between two buffers.
fn playback(hda: &IntelHda, vm: &Rc<Vm>) -> Result<()> {
    if !plays_into_file(vm) {
        return Err(Error::skipped("nobody hears what is played; the variant `wav` does"));
    }
    let tone = STEREO.tone(96_000);
    let bench = Bench::new(hda, vm, OUTPUT, &tone, 5)?;
    bench.run(0)?;
    wait_until(vm, "most of the tone to be played", || Ok(bench.position()? > 72_000))?;
    bench.stop()?;
    bench.step(300)?;
    assert_eq!(bench.data.to_vec()?, tone, "guest memory that was played");
    assert_heard_within(vm, &STEREO.samples(&tone), "the tone")
}

/// Would catch a position that does not go on at the rate of the format, leaves the buffer, is not
/// written to memory, or goes on when the stream is stopped.
fn positions(hda: &IntelHda, vm: &Rc<Vm>) -> Result<()> {
    let bench = Bench::new(hda, vm, OUTPUT, &STEREO.tone(19_200), 4)?;
    let told = vm.ram().alloc(8 * 8, 128)?;
    hda.registers().set(DPLBASE, told.address().0 as u32 | 1)?;
    bench.run(0)?;
    let (mut last, mut bytes) = (0, 0);
    for _ in 0..100 {
        bench.step(10)?;
        let position = bench.position()?;
        assert!(position <= 19_200, "the position {position} of 19200");
        bytes += (position + 19_200 - last) % 19_200;
        last = position;
        let written = told.read_le32(8 * OUTPUT.0 as usize)?;
        assert_eq!(written, position, "the position in memory");
    }
    // A second of four bytes 48,000 times, but for what is in buffers.
    assert!((172_800..=211_200).contains(&bytes), "{bytes} bytes in a second");
    bench.stop()?;
    let before = bench.position()?;
    bench.step(100)?;
    assert_eq!(bench.position()?, before, "the position when it is stopped");
    hda.registers().set(DPLBASE, 0)
}

/// Would catch a buffer that is through and does not interrupt, or does although it should not.
fn stream_interrupts(hda: &IntelHda, vm: &Rc<Vm>) -> Result<()> {
    let (registers, device) = (hda.registers(), &hda.plug.device);
    registers.set(STATESTS, 0x7fff)?;
    let own = 1 << OUTPUT.0;
    let bench = Bench::new(hda, vm, OUTPUT, &STEREO.tone(9600), 4)?;
    registers.set(INTCTL, 1 << 31 | own)?;
    bench.run(INTERRUPT)?;
    for round in 0..3 {
        wait_until(vm, "a buffer to be through", || {
            Ok(registers.get(OUTPUT.status())? & 0x04 != 0)
        })?;
        let status = registers.get(INTSTS)?;
        assert_eq!(status, 1 << 31 | own, "INTSTS {round}");
        assert!(device.asserts_interrupt()?, "the pin {round}");
        registers.set(OUTPUT.status(), 0x04)?;
        assert_eq!(registers.get(OUTPUT.status())? & 0x04, 0, "the status, cleared, {round}");
        assert!(!device.asserts_interrupt()?, "the pin, cleared, {round}");
    }
    bench.stop()?;
    // Without an entry that says so, none comes.
    for at in 0..4 {
        bench.list.write_le32(16 * at + 12, 0)?;
    }
    registers.set(OUTPUT.status(), 0x1c)?;
    bench.run(INTERRUPT)?;
    bench.step(400)?;
    assert_eq!(registers.get(OUTPUT.status())? & 0x04, 0, "no entry interrupts");
    assert!(!device.asserts_interrupt()?, "the pin, no entry interrupts");
    bench.stop()?;
    registers.set(INTCTL, 0)
}

/// Would catch what is recorded at another place than in the buffers, or not at all: silence, as
/// there is no microphone.
fn record(hda: &IntelHda, vm: &Rc<Vm>) -> Result<()> {
    if plays_into_file(vm) {
        return Err(Error::skipped("this codec does not record"));
    }
    let bench = Bench::new(hda, vm, INPUT, &vec![0xa5; 8192], 4)?;
    // Between the buffers are bytes of nobody's.
    for at in 0..4 {
        bench.list.write_le32(16 * at + 8, 2000)?;
    }
    hda.registers().set(INPUT.length(), 8000)?;
    bench.run(0)?;
    bench.step(500)?;
    bench.stop()?;
    let data = bench.data.to_vec()?;
    for at in 0..4 {
        let part = &data[at * 2048..(at + 1) * 2048];
        let wrong = part[..2000].iter().position(|&byte| byte != 0);
        assert_eq!(wrong, None, "where buffer {at} is not silent");
        assert!(part[2000..].iter().all(|&byte| byte == 0xa5), "behind buffer {at}");
    }
    Ok(())
}

/// Would catch a reset of a stream that leaves registers of it as they were, or never ends.
fn stream_reset(hda: &IntelHda, vm: &Rc<Vm>) -> Result<()> {
    let registers = hda.registers();
    let bench = Bench::new(hda, vm, OUTPUT, &STEREO.tone(9600), 4)?;
    bench.run(0)?;
    bench.step(30)?;
    registers.set(OUTPUT.control(), 0)?;
    registers.set(OUTPUT.control(), RESET)?;
    assert_eq!(registers.get(OUTPUT.control())? & RESET, RESET, "the reset has begun");
    registers.set(OUTPUT.control(), 0)?;
    assert_eq!(registers.get(OUTPUT.control())? & (RESET | RUN), 0, "the reset is over");
    bench.run(0)?;
    bench.step(30)?;
    assert!(bench.position()? > 0, "it plays again");
    bench.stop()
}

/// Would catch lists at which QEMU ends, never returns, or writes where no buffer is: no length, the
/// longest, more entries than there are, a cyclic length that is not that of all buffers.
fn bad_lists(hda: &IntelHda, vm: &Rc<Vm>) -> Result<()> {
    let registers = hda.registers();
    let mut rng = fastrand::Rng::with_seed(0x0da1);
    let lengths = [0, 1, 2, 3, 0x100, 0xffff_ffff, 0x8000_0000];
    for round in 0..40 {
        let stream = if round % 2 == 0 { OUTPUT } else { INPUT };
        if stream.0 == INPUT.0 && plays_into_file(vm) {
            continue;
        }
        let bench = Bench::new(hda, vm, stream, &STEREO.tone(4096), 4)?;
        for at in 0..8 {
            // What is recorded goes where no memory is.
            let there = [0xffff_ffff_ffff_fff0, 0xc000_0000, 0xffff_f000][rng.usize(..3)];
            bench.list.write_le64(16 * at, there)?;
            bench.list.write_le32(16 * at + 8, lengths[rng.usize(..7)])?;
            bench.list.write_le32(16 * at + 12, rng.u32(..))?;
        }
        registers.set(stream.last(), [0, 1, 7, 255][rng.usize(..4)])?;
        registers.set(stream.length(), [0, 1, 0xffff_ffff, 0x1000][rng.usize(..4)])?;
        bench.run(INTERRUPT)?;
        bench.step(20)?;
        registers.set(stream.last(), 0)?;
        registers.set(stream.length(), 0)?;
        bench.step(20)?;
        bench.stop()?;
        registers.set(stream.status(), 0x1c)?;
    }
    // It still plays.
    let bench = Bench::new(hda, vm, OUTPUT, &STEREO.tone(9600), 4)?;
    bench.run(0)?;
    bench.step(30)?;
    assert!(bench.position()? > 0, "a stream that is set anew");
    bench.stop()
}

/// Would catch buffers, lists and rings in the controller's own registers at which QEMU ends.
fn own_registers(hda: &IntelHda, vm: &Rc<Vm>) -> Result<()> {
    hda.plug.device.bus().reaches_ram()?;
    let (registers, base) = (hda.registers(), hda.plug.registers.address());
    let streams: &[Stream] = if plays_into_file(vm) { &[OUTPUT] } else { &[OUTPUT, INPUT] };
    for &stream in streams {
        let bench = Bench::new(hda, vm, stream, &STEREO.tone(4096), 4)?;
        for at in 0..4 {
            bench.list.write_le64(16 * at, base + 0x80 * at as u64)?;
        }
        bench.run(INTERRUPT)?;
        bench.step(50)?;
        bench.stop()?;
        hda.reset()?;
        registers.set(stream.list(), base as u32)?;
        registers.set(stream.last(), 255)?;
        registers.set(stream.length(), 0x1000)?;
        bench.run(0)?;
        bench.step(50)?;
        bench.stop()?;
        hda.reset()?;
    }
    for target in [0x00, 0x40, 0x80, 0x100] {
        let mut rings = Rings::new(hda, vm)?;
        registers.set(RIRBLBASE, (base + target) as u32)?;
        registers.set(INTCTL, 0xc000_00ff)?;
        registers.set(RIRBCTL, 0x07)?;
        registers.set(CORBCTL, 0x02)?;
        rings.send(hda, &[hda.codec() << 28 | 0xf0000; 200])?;
        registers.set(RIRBSTS, 0x05)?;
        hda.reset()?;
        registers.set(CORBLBASE, (base + target) as u32)?;
        registers.set(CORBCTL, 0x02)?;
        registers.set(CORBWP, 0xff)?;
        hda.reset()?;
    }
    assert_eq!(hda.parameter(hda.codec(), 0, 0)? >> 16, 0x1af4, "the codec answers");
    Ok(())
}

/// Would catch rings that are changed while they run, in size or place, and take QEMU with them.
fn bad_rings(hda: &IntelHda, vm: &Rc<Vm>) -> Result<()> {
    let registers = hda.registers();
    let mut rng = fastrand::Rng::with_seed(0x0da2);
    let mut rings = Rings::new(hda, vm)?;
    for _ in 0..60 {
        registers.set(RIRBCTL, 0x07)?;
        registers.set(CORBCTL, 0x02)?;
        let any: Vec<u32> = (0..20).map(|_| rng.u32(..) & 0x0fff_ffff).collect();
        rings.send(hda, &any)?;
        match rng.u8(..6) {
            0 => registers.set(CORBSIZE, rng.u8(..))?,
            1 => registers.set(CORBLBASE, rng.u32(..))?,
            2 => registers.set(RIRBWP, rng.u16(..))?,
            3 => registers.set(CORBRP, rng.u16(..))?,
            4 => registers.set(RINTCNT, rng.u16(..))?,
            _ => registers.set(CORBWP, rng.u16(..))?,
        }
        registers.set(RIRBSTS, 0xff)?;
        if rng.u8(..4) == 0 {
            hda.reset()?;
            rings = Rings::new(hda, vm)?;
        }
    }
    hda.reset()?;
    assert_eq!(hda.parameter(hda.codec(), 0, 0)? >> 16, 0x1af4, "the codec answers");
    Ok(())
}

/// Would catch a reset of the controller that leaves the settings of a codec (5.3.2).
fn codec_reset(hda: &IntelHda, _: &Rc<Vm>) -> Result<()> {
    let codec = hda.codec();
    hda.command(codec, 2, 0x70600 | TAG << 4)?;
    hda.reset()?;
    assert_eq!(hda.command(codec, 2, 0xf0600)? >> 4, 0, "the stream of the codec");
    Ok(())
}

/// Would catch a reset of the controller that leaves a stream running or an interrupt asserted.
fn controller_reset(hda: &IntelHda, vm: &Rc<Vm>) -> Result<()> {
    let registers = hda.registers();
    registers.set(INTCTL, 1 << 31 | 1 << OUTPUT.0)?;
    let bench = Bench::new(hda, vm, OUTPUT, &STEREO.tone(9600), 4)?;
    bench.run(INTERRUPT)?;
    wait_until(vm, "a buffer to be through", || Ok(registers.get(OUTPUT.status())? & 0x04 != 0))?;
    registers.set(GCTL, 0)?;
    assert!(!hda.plug.device.asserts_interrupt()?, "the pin in reset");
    hda.reset()?;
    assert_eq!(registers.get(INTCTL)?, 0, "INTCTL after a reset");
    assert_eq!(registers.get(OUTPUT.control())? & (RUN | 0x00f0_0000), 0, "the stream");
    let before = bench.position()?;
    bench.step(100)?;
    assert_eq!(bench.position()?, before, "the position after a reset");
    Ok(())
}
