//! A driver that errs: some of what it writes to registers and memory becomes something else on
//! its way, as a seed chooses. When that is so, and what is made of it, is decided elsewhere.

use fastrand::Rng;

/// How many values and places are remembered.
const REMEMBERED: usize = 32;
/// The part of a block of memory that is changed most, in bytes: descriptors and headers.
const HEAD: usize = 64;

/// What changes requests. Equal seeds change equal requests alike.
pub(crate) struct Spoiler {
    rng: Rng,
    /// One of so many writes is changed.
    rate: u32,
    /// Values that were written lately.
    values: Vec<u64>,
    /// Where registers were written lately: the request's first word, and the address.
    places: Vec<(Vec<u8>, u64)>,
}

impl Spoiler {
    /// Changes that `seed` chooses, and how many there are.
    pub fn new(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let rate = 1 << rng.u32(1..=6);
        Self { rng, rate, values: Vec::new(), places: Vec::new() }
    }

    /// The requests of the qtest protocol, each with its line end, that are sent in place of
    /// these: as many, and in this order.
    pub fn requests(&mut self, lines: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(lines.len() + 64);
        for line in lines.split_inclusive(|byte| *byte == b'\n') {
            match Write::read(line).and_then(|write| self.write(write)) {
                Some(changed) => changed.put(&mut out),
                None => out.extend_from_slice(line),
            }
        }
        out
    }

    /// The bytes that are written to memory in place of these, if others are.
    pub fn memory(&mut self, bytes: &[u8]) -> Option<Vec<u8>> {
        let width = 1 << self.rng.usize(..=bytes.len().checked_ilog2()?.min(3) as usize);
        let room = if self.rng.u8(..4) == 0 { bytes.len() } else { bytes.len().min(HEAD) };
        let at = self.rng.usize(..=room.saturating_sub(width)) / width * width;
        let mut field = [0; 8];
        field[..width].copy_from_slice(&bytes[at..at + width]);
        let (value, is_changed) = (u64::from_le_bytes(field), self.is_next());
        remember(&mut self.values, &mut self.rng, value);
        if !is_changed {
            return None;
        }
        let other = self.other(value, 8 * width as u32).to_le_bytes();
        let mut changed = bytes.to_vec();
        changed[at..at + width].copy_from_slice(&other[..width]);
        Some(changed)
    }

    /// Another write in place of this one.
    fn write<'a>(&mut self, write: Write<'a>) -> Option<Write<'a>> {
        let is_changed = self.is_next();
        remember(&mut self.values, &mut self.rng, write.value);
        remember(&mut self.places, &mut self.rng, (write.word.to_vec(), write.at));
        if !is_changed {
            return None;
        }
        if self.rng.u8(..6) == 0 {
            // Where another register of its width is.
            let same: Vec<u64> =
                self.places.iter().filter(|(word, _)| word == write.word).map(|it| it.1).collect();
            let at = self.rng.choice(same).unwrap_or(write.at);
            return Some(Write { at, ..write });
        }
        Some(Write { value: self.other(write.value, write.bits()), ..write })
    }

    fn is_next(&mut self) -> bool {
        self.rng.u32(..self.rate) == 0
    }

    /// A value of so many bits that a driver could have written by mistake.
    fn other(&mut self, value: u64, bits: u32) -> u64 {
        let ones = u64::MAX >> (64 - bits);
        let other = match self.rng.u8(..16) {
            0..5 => value ^ 1 << self.rng.u32(..bits),
            5 => 0,
            6 => ones,
            7 => value.wrapping_add(self.rng.u64(1..=16)),
            8 => value.wrapping_sub(self.rng.u64(1..=16)),
            9 => value << 1,
            10 => 1 << self.rng.u32(..bits),
            11 => ones >> self.rng.u32(..bits),
            12..15 => self.rng.choice(&self.values).copied().unwrap_or(value),
            _ => self.rng.u64(..),
        };
        other & ones
    }
}

/// Keeps `new` among the last, in the place of any of them.
fn remember<T>(kept: &mut Vec<T>, rng: &mut Rng, new: T) {
    if kept.len() < REMEMBERED {
        kept.push(new);
    } else {
        let at = rng.usize(..REMEMBERED);
        kept[at] = new;
    }
}

/// A request that writes a register.
struct Write<'a> {
    word: &'a [u8],
    at: u64,
    value: u64,
}

impl<'a> Write<'a> {
    /// What `line` is, if it is one.
    fn read(line: &'a [u8]) -> Option<Self> {
        let line = line.strip_suffix(b"\n")?;
        let mut words = line.split(|byte| *byte == b' ');
        let (word, at, value) = (words.next()?, words.next()?, words.next()?);
        let is_write = matches!(
            word,
            b"outb" | b"outw" | b"outl" | b"writeb" | b"writew" | b"writel" | b"writeq"
        );
        (is_write && words.next().is_none())
            .then(|| Some(Self { word, at: number(at)?, value: number(value)? }))
            .flatten()
    }

    fn bits(&self) -> u32 {
        match self.word.last() {
            Some(b'b') => 8,
            Some(b'w') => 16,
            Some(b'l') => 32,
            _ => 64,
        }
    }

    fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.word);
        out.extend_from_slice(format!(" {:#x} {:#x}\n", self.at, self.value).as_bytes());
    }
}

/// A number as our requests have it, in hexadecimal.
fn number(word: &[u8]) -> Option<u64> {
    let digits = std::str::from_utf8(word.strip_prefix(b"0x")?).ok()?;
    u64::from_str_radix(digits, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINES: &[u8] = b"writel 0x1000 0x1234\nreadl 0x1000\noutb 0x70 0xff\n\
        clock_step 7\nmemset 0x0 0x10 0x0\nwriteq 0x2008 0x8000000000000000\n";

    fn spoiled(seed: u64) -> String {
        let mut spoiler = Spoiler::new(seed);
        let rounds = (0..100).map(|_| spoiler.requests(LINES));
        rounds.map(|lines| String::from_utf8(lines).unwrap()).collect()
    }

    /// Would catch changes that another run does not make again, and a seed that changes nothing,
    /// or what every other does.
    #[test]
    fn a_seed_changes_the_same_again() {
        assert_eq!(spoiled(1), spoiled(1));
        assert_ne!(spoiled(1), spoiled(2));
        let whole = std::str::from_utf8(LINES).unwrap().repeat(100);
        assert!((0..20).all(|seed| spoiled(seed) != whole));
    }

    /// Would catch a request too many, too few or in another place, one that is changed although
    /// it writes no register, and a value that is wider than its register.
    #[test]
    fn what_is_changed_stays_a_write_of_its_width() {
        for seed in 0..50 {
            for (number, line) in spoiled(seed).lines().enumerate() {
                let words: Vec<&str> = line.split(' ').collect();
                let (first, most) = [
                    ("writel", u64::from(u32::MAX)),
                    ("readl", 0),
                    ("outb", 0xff),
                    ("clock_step", 0),
                    ("memset", 0),
                    ("writeq", u64::MAX),
                ][number % 6];
                assert_eq!(words[0], first);
                match first {
                    "writel" | "outb" | "writeq" => {
                        let value = super::number(words[2].as_bytes()).unwrap();
                        assert!(words.len() == 3 && value <= most, "{line}");
                    }
                    _ => assert!(LINES.split(|it| *it == b'\n').any(|it| it == line.as_bytes())),
                }
            }
        }
    }

    /// Would catch memory whose length changes, that is never changed, or always.
    #[test]
    fn memory_keeps_its_length() {
        for length in [0, 1, 3, 16, 4096] {
            let (mut spoiler, bytes) = (Spoiler::new(3), vec![0x5a; length]);
            let all: Vec<_> = (0..500).map(|_| spoiler.memory(&bytes)).collect();
            let changed = all.iter().flatten().filter(|it| **it != bytes).count();
            assert!(all.iter().flatten().all(|it| it.len() == length));
            assert!((length == 0) == (changed == 0) && changed < 500, "{length}: {changed}");
        }
    }
}
