//! AC'97: a tone that is played, silence that is recorded, rates, lists of buffers.

use std::rc::Rc;

use crate::drivers::audio::ac97::{self as ac97, Ac97, Channel, PLAY, RECORD};
use crate::qemu::{Buffer, Vm};
use crate::qos::registers::RegistersExt;
use crate::qos::sound::{Format, assert_heard};
use crate::qos::wait_until;
use crate::{Error, Result, attacks, tests};

tests!(Ac97, "AC97-tests":
    playback_upsample,
    record_downsample,
    codec,
    channel_reset = "channel-reset",
);
attacks!(Ac97, "AC97-attacks": playback_upsample, record_downsample);

/// The samples of a buffer, two bytes each.
const SAMPLES: usize = 4000;
/// How many buffers are played or recorded.
const BUFFERS: usize = 3;

/// A list of buffers behind each other, and the buffers.
struct List {
    list: Buffer,
    data: Buffer,
}

impl List {
    fn new(vm: &Rc<Vm>, data: &[u8]) -> Result<Self> {
        let (list, buffer) = (vm.ram().alloc(32 * 8, 8)?, vm.ram().alloc(data.len(), 4096)?);
        buffer.write(0, data)?;
        for at in 0..BUFFERS {
            let address = buffer.address().0 + (at * SAMPLES * 2) as u64;
            list.write_le32(8 * at, address as u32)?;
            list.write_le32(8 * at + 4, SAMPLES as u32 | ac97::ENTRY_INTERRUPT)?;
        }
        Ok(Self { list, data: buffer })
    }

    /// Lets a channel run through the list.
    fn run(&self, card: &Ac97, vm: &Vm, channel: Channel) -> Result<()> {
        let master = &card.master;
        master.set(channel.control(), ac97::CONTROL_RESET)?;
        master.set(channel.list(), self.list.address().0 as u32)?;
        master.set(channel.last(), BUFFERS as u8 - 1)?;
        assert_eq!(master.get(channel.list())?, self.list.address().0 as u32, "BDBAR");
        assert_eq!(master.get(channel.last())?, BUFFERS as u8 - 1, "LVI");
        master.set(channel.control(), ac97::CONTROL_RUN)?;
        wait_until(vm, "the last buffer to be through", || {
            Ok(master.get(channel.status())? & ac97::STATUS_LAST != 0)
        })?;
        let all = ac97::STATUS_HALTED
            | ac97::STATUS_CURRENT_IS_LAST
            | ac97::STATUS_LAST
            | ac97::STATUS_BUFFER;
        assert_eq!(master.get(channel.status())?, all, "SR after the last buffer");
        assert_eq!(master.get(channel.left())?, 0, "PICB after the last buffer");
        assert_eq!(master.get(channel.current())?, BUFFERS as u8 - 1, "CIV after the last buffer");
        // Ones clear what tells of buffers, but not that it is halted.
        master.set(channel.status(), ac97::STATUS_LAST | ac97::STATUS_BUFFER)?;
        let left = ac97::STATUS_HALTED | ac97::STATUS_CURRENT_IS_LAST;
        assert_eq!(master.get(channel.status())?, left, "SR when it was cleared");
        master.set(channel.control(), 0)
    }
}

/// Full volume, and every rate can be set.
fn prepare(card: &Ac97) -> Result<()> {
    card.codec.set(ac97::RESET, 0)?;
    card.codec.set(ac97::MASTER_VOLUME, 0)?;
    // By the specification that is 12 dB more than what is played, to QEMU it is as much.
    card.codec.set(ac97::PCM_OUT_VOLUME, 0)?;
    card.codec.set(ac97::EXTENDED, 1)
}

/// What it plays.
const STEREO: Format = Format { is_wide: true, is_stereo: true };

/// Would catch samples that are lost, repeated, swapped or changed between guest memory and what
/// is heard, a list of buffers that does not end where it should, and a rate of one sample a
/// second, which brings the resampler to its end (CVE of an emulator of 2018: it did not return).
fn playback_upsample(card: &Ac97, vm: &Rc<Vm>) -> Result<()> {
    card.device.bus().reaches_ram()?;
    prepare(card)?;
    card.codec.set(ac97::FRONT_RATE, 48_000)?;
    assert_eq!(card.codec.get(ac97::FRONT_RATE)?, 48_000, "the rate");
    let tone = STEREO.tone(2 * SAMPLES * BUFFERS);
    let list = List::new(vm, &tone)?;
    list.run(card, vm, PLAY)?;
    assert_eq!(list.data.to_vec()?, tone, "guest memory that was played");
    if card.plays_into_file {
        assert_heard(vm, &STEREO.samples(&tone), "the tone")?;
    }
    // The rate of the peers' test.
    card.codec.set(ac97::FRONT_RATE, 1)?;
    card.master.set(PLAY.control(), ac97::CONTROL_RESET)?;
    card.master.set(PLAY.list(), list.list.address().0 as u32)?;
    card.master.set(PLAY.last(), 1)?;
    card.master.set(PLAY.control(), ac97::CONTROL_RUN)?;
    vm.qtest().clock_step(Some(std::time::Duration::from_millis(100)))?;
    card.master.set(PLAY.control(), 0)?;
    card.codec.set(ac97::RESET, 0)
}

/// Would catch what is recorded at another place than in its buffers, or not at all: silence, as
/// there is no microphone; and a rate at which it does not end.
fn record_downsample(card: &Ac97, vm: &Rc<Vm>) -> Result<()> {
    card.device.bus().reaches_ram()?;
    if card.plays_into_file {
        return Err(Error::skipped("a file cannot be recorded from"));
    }
    prepare(card)?;
    card.codec.set(ac97::RECORD_RATE, 48_000)?;
    let filled = vec![0xa5; SAMPLES * BUFFERS * 2];
    let list = List::new(vm, &filled)?;
    list.run(card, vm, RECORD)?;
    assert_eq!(list.data.to_vec()?, vec![0; filled.len()], "what was recorded: silence");
    card.codec.set(ac97::RECORD_RATE, 1)?;
    card.master.set(RECORD.control(), ac97::CONTROL_RESET)?;
    card.master.set(RECORD.list(), list.list.address().0 as u32)?;
    card.master.set(RECORD.last(), 1)?;
    card.master.set(RECORD.control(), ac97::CONTROL_RUN)?;
    vm.qtest().clock_step(Some(std::time::Duration::from_millis(100)))?;
    card.master.set(RECORD.control(), 0)?;
    card.codec.set(ac97::RESET, 0)
}

/// Would catch registers of the codec that do not keep what is written, are not reset, or are
/// another codec's: QEMU's is a SigmaTel STAC9700.
fn codec(card: &Ac97, _: &Rc<Vm>) -> Result<()> {
    let codec = &card.codec;
    let vendor = [codec.get(ac97::VENDOR[0])?, codec.get(ac97::VENDOR[1])?];
    assert_eq!(vendor, [0x8384, 0x7600], "who made the codec");
    for (register, value, reset) in [
        (ac97::MASTER_VOLUME, 0x0a05, 0x8000),
        (ac97::PCM_OUT_VOLUME, 0x0703, 0x8808),
        (ac97::FRONT_RATE, 22_050, 48_000),
        (ac97::RECORD_RATE, 11_025, 48_000),
    ] {
        codec.set(ac97::EXTENDED, 1)?;
        codec.set(register, value)?;
        assert_eq!(codec.get(register)?, value, "{register}");
        codec.set(ac97::RESET, 0)?;
        assert_eq!(codec.get(register)?, reset, "{register} after a reset");
    }
    Ok(())
}

/// Would catch a channel that keeps a list or a status over its reset.
fn channel_reset(card: &Ac97, _: &Rc<Vm>) -> Result<()> {
    for channel in [RECORD, PLAY] {
        let master = &card.master;
        master.set(channel.list(), 0x0012_3458)?;
        master.set(channel.last(), 7)?;
        assert_eq!(master.get(channel.last())?, 7, "LVI");
        master.set(channel.control(), ac97::CONTROL_RESET)?;
        assert_eq!(master.get(channel.list())?, 0, "BDBAR after a reset");
        assert_eq!(master.get(channel.last())?, 0, "LVI after a reset");
        assert_eq!(master.get(channel.current())?, 0, "CIV after a reset");
        assert_eq!(master.get(channel.status())?, ac97::STATUS_HALTED, "SR after a reset");
        assert_eq!(master.get(channel.control())?, 0, "CR after a reset");
    }
    Ok(())
}
