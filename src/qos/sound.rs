//! What a sound card plays, as the file of the back end `wav` has it.

use crate::qemu::{Image, MIB, Vm};
use crate::{Error, Result};

/// The file that is played into: `-audiodev wav,id=…,path={wav},out.frequency=…`. Its samples are
/// two of 16 bits, for left and right.
pub const WAV: Image = Image { name: "wav", size: 4 * MIB };

/// The length of a file's header in bytes.
const HEADER: usize = 44;

/// Whether what is played is in [`WAV`].
pub fn plays_into_file(vm: &Vm) -> bool {
    vm.config().options.iter().any(|it| it.starts_with("wav,"))
}

/// The samples of 16 bits that were heard, left and right in turn, without the silence before.
///
/// # Errors
/// Returns [`Error::Failed`] if nothing was heard.
pub fn heard(vm: &Vm) -> Result<Vec<i16>> {
    let (mut file, mut block) = (Vec::new(), vec![0; 4096]);
    while file.len() < WAV.size as usize
        && vm.read_image(WAV.name, file.len() as u64, &mut block).is_ok()
    {
        file.extend_from_slice(&block);
    }
    let samples = file.get(HEADER..).unwrap_or_default().chunks_exact(2);
    let samples: Vec<i16> = samples.map(|it| i16::from_le_bytes([it[0], it[1]])).collect();
    // A pair of samples is played at once.
    let start = samples.chunks_exact(2).position(|pair| pair != [0, 0]);
    let start = start.ok_or_else(|| Error::failed("nothing was heard"))?;
    Ok(samples[2 * start..].to_vec())
}

/// Sees that what was played was heard, sample by sample, but for what QEMU still has in its
/// buffers; at least half of it.
///
/// # Errors
/// Returns [`Error::Failed`] if nothing was heard.
///
/// # Panics
/// Panics if something else was heard, or less.
#[track_caller]
pub fn assert_heard(vm: &Vm, played: &[i16], what: &str) -> Result<()> {
    let heard = heard(vm)?;
    let length = heard.len().min(played.len());
    assert!(length >= played.len() / 2, "{what}: {length} samples heard of {}", played.len());
    if let Some(at) = heard.iter().zip(played).position(|(heard, played)| heard != played) {
        let some = |samples: &[i16]| format!("{:x?}", &samples[at..length.min(at + 8)]);
        let (heard, played) = (some(&heard), some(played));
        panic!("{what}: from sample {at} on {heard} was heard, not {played}");
    }
    Ok(())
}

/// Sees that the first half of what was played is somewhere in all that was heard, without a gap.
///
/// # Errors
/// Returns [`Error::Failed`] if nothing was heard.
///
/// # Panics
/// Panics if it is not there, with how much of it is.
#[track_caller]
pub fn assert_heard_within(vm: &Vm, played: &[i16], what: &str) -> Result<()> {
    let (heard, half) = (heard(vm)?, &played[..played.len() / 2]);
    let same = |start: usize| {
        heard[start..].iter().zip(half).take_while(|(heard, played)| heard == played).count()
    };
    let most = (0..heard.len()).map(|start| (same(start), start)).max().unwrap_or_default();
    let (length, start) = most;
    let all = half.len();
    let next = &heard[(start + length).min(heard.len())..(start + length + 8).min(heard.len())];
    assert_eq!(
        length,
        all,
        "{what}: samples heard, from {start} of {}; then {next:x?}",
        heard.len()
    );
    Ok(())
}

/// Sees that the first half of what was played is somewhere in all that was heard, without a gap, at one
/// volume; returns by what factor it is louder.
///
/// # Errors
/// Returns [`Error::Failed`] if nothing was heard.
///
/// # Panics
/// Panics if it is not there, with how much of it is.
#[track_caller]
pub fn assert_heard_at_a_volume(vm: &Vm, played: &[i16], what: &str) -> Result<f64> {
    let (heard, half) = (heard(vm)?, &played[..played.len() / 2]);
    let (length, start, factor) = best(&heard, half);
    let next = &heard[(start + length).min(heard.len())..(start + length + 8).min(heard.len())];
    assert_eq!(
        length,
        half.len(),
        "{what}: samples heard at {factor:.4}, from {start} of {}; then {next:x?}",
        heard.len()
    );
    Ok(factor)
}

/// How many samples, from the first on, of what was played are somewhere in all that was heard, at one
/// volume.
pub fn heard_of(vm: &Vm, played: &[i16]) -> usize {
    best(&heard(vm).unwrap_or_default(), played).0
}

/// How many of the samples of `played` are in `heard` from the best place on, that place, and by what
/// factor they are louder.
fn best(heard: &[i16], played: &[i16]) -> (usize, usize, f64) {
    let mut best = (0, 0, 1.0);
    for start in 0..heard.len() {
        // A sample is rounded to a whole number: it tells the factor within limits.
        let (mut least, mut most, mut length) = (0.001, f64::INFINITY, 0);
        for (&heard, &played) in heard[start..].iter().zip(played) {
            let (heard, played) = (f64::from(heard), f64::from(played));
            let (one, other) = ((heard - 1.0) / played, (heard + 1.0) / played);
            let (lower, upper) = (f64::max(least, one.min(other)), f64::min(most, one.max(other)));
            if lower > upper {
                break;
            }
            (least, most, length) = (lower, upper, length + 1);
        }
        if length > best.0 {
            best = (length, start, least.midpoint(most));
        }
    }
    best
}

/// A format of samples in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Format {
    /// Whether a sample has 16 bits, signed, the lower byte first; else 8 bits, unsigned.
    pub is_wide: bool,
    /// Whether there are two, for left and right.
    pub is_stereo: bool,
}

impl Format {
    /// All four of them.
    pub const ALL: [Self; 4] = [
        Self { is_wide: false, is_stereo: false },
        Self { is_wide: false, is_stereo: true },
        Self { is_wide: true, is_stereo: false },
        Self { is_wide: true, is_stereo: true },
    ];

    /// How many bytes are played at once.
    pub const fn bytes(self) -> usize {
        (1 << self.is_wide as usize) << self.is_stereo as usize
    }

    /// `length` bytes of a tone none of whose samples is silent.
    pub fn tone(self, length: usize) -> Vec<u8> {
        if !self.is_wide {
            return (0..length).map(|at| 1 + (at * 7 % 120) as u8 + at as u8 % 2 * 0x80).collect();
        }
        let sample = |at: usize| (at as i16).wrapping_mul(37).wrapping_add(1001) | 1;
        (0..length / 2).flat_map(|at| sample(at).to_le_bytes()).collect()
    }

    /// What is heard when these bytes are played, left and right in turn.
    pub fn samples(self, bytes: &[u8]) -> Vec<i16> {
        let samples: Vec<i16> = if self.is_wide {
            bytes.chunks_exact(2).map(|it| i16::from_le_bytes([it[0], it[1]])).collect()
        } else {
            bytes.iter().map(|&byte| (i16::from(byte) - 0x80) << 8).collect()
        };
        if self.is_stereo { samples } else { samples.iter().flat_map(|&it| [it, it]).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Would catch a volume that hides samples, or a gap that is overlooked.
    #[test]
    fn samples_at_a_volume_are_found() {
        let format = Format { is_wide: true, is_stereo: true };
        let played = format.samples(&format.tone(4000));
        let mut heard = vec![77; 10];
        heard.extend(played.iter().map(|it| it / 2));
        let (length, start, factor) = best(&heard, &played);
        assert_eq!((length, start), (2000, 10));
        assert!((factor - 0.5).abs() < 0.001, "{factor}");
        heard.remove(510);
        assert_eq!(best(&heard, &played).0, 500);
        assert!(best(&[0; 100], &played).0 < 10);
    }

    /// Would catch formats that are mistaken for each other, and a tone with silence in it.
    #[test]
    fn a_tone_of_every_format_is_heard() {
        for format in Format::ALL {
            let samples = format.samples(&format.tone(2000));
            assert!(samples.iter().all(|&it| it != 0), "{format:?}");
            assert_eq!(samples.len(), 2000 / format.bytes() * 2, "{format:?}");
        }
        let mono = Format { is_wide: false, is_stereo: false };
        assert_eq!(mono.samples(&[0x81, 0x7f]), [0x100, 0x100, -0x100, -0x100]);
    }
}
