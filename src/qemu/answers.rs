//! What the registers of a device answer, as data by which two runs can be compared. What is
//! looked at, and how, is decided elsewhere.

use std::fmt;

use serde::{Deserialize, Serialize};

/// One register, as it is accessed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AnsweringRegister {
    /// The name of its region.
    pub region: String,
    /// How many bytes wide the access is.
    pub bytes: u8,
    /// Where it is in the region.
    pub offset: u64,
}

/// Registers one behind the other that answer alike.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answers<T = String> {
    /// The first one.
    #[serde(flatten)]
    pub first: AnsweringRegister,
    /// How many there are.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub count: u32,
    /// What they answer.
    pub text: T,
}

/// The most registers that are told apart in one run of them.
const MOST: u32 = 1 << 16;

fn one() -> u32 {
    1
}

fn is_one(count: &u32) -> bool {
    *count == 1
}

impl fmt::Display for AnsweringRegister {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{}+{:#x}", self.region, self.offset)?;
        match self.bytes {
            4 => Ok(()),
            bytes => write!(f, " ({} bits)", 8 * u32::from(bytes)),
        }
    }
}

impl<T> Answers<T> {
    /// The names of the registers.
    pub fn name(&self) -> String {
        match self.count {
            0 | 1 => self.first.to_string(),
            count => format!("{} and {} behind it", self.first, count - 1),
        }
    }

    /// Each register by itself, up to so many as a device has.
    pub fn registers(&self) -> impl Iterator<Item = (AnsweringRegister, &T)> {
        let (first, text) = (&self.first, &self.text);
        (0..self.count.min(MOST)).map_while(move |number| {
            let offset = u64::from(number).checked_mul(first.bytes.into())?;
            let offset = first.offset.checked_add(offset)?;
            Some((AnsweringRegister { offset, ..first.clone() }, text))
        })
    }
}

impl<T: PartialEq> Answers<T> {
    /// Puts registers together that are one behind the other and answer alike.
    pub fn together(all: impl IntoIterator<Item = (AnsweringRegister, T)>) -> Vec<Self> {
        let mut runs: Vec<Self> = Vec::new();
        for (register, text) in all {
            let is_next = |run: &&mut Self| {
                let AnsweringRegister { region, bytes, offset } = &run.first;
                let length = u64::from(run.count) * u64::from(*bytes);
                run.text == text
                    && (region, bytes) == (&register.region, &register.bytes)
                    && offset.checked_add(length) == Some(register.offset)
                    && run.count < MOST
            };
            match runs.last_mut().filter(is_next) {
                Some(run) => run.count += 1,
                None => runs.push(Self { first: register, count: 1, text }),
            }
        }
        runs
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(bytes: u8, offset: u64) -> AnsweringRegister {
        AnsweringRegister { region: "r".to_owned(), bytes, offset }
    }

    /// Would catch registers that are put together although they answer otherwise, are of another
    /// width or are not one behind the other, and any that is lost on the way.
    #[test]
    fn registers_that_answer_alike_are_put_together() {
        let all: Vec<_> = [(4, 0, "a"), (4, 4, "a"), (4, 8, "b"), (4, 16, "b"), (2, 20, "b")]
            .into_iter()
            .chain([(2, 22, "b"), (2, u64::MAX - 1, "b")])
            .map(|(bytes, offset, text)| (at(bytes, offset), text))
            .collect();
        let runs = Answers::together(all.clone());
        let names: Vec<String> = runs.iter().map(Answers::name).collect();
        let expected =
            ["r+0x0 and 1 behind it", "r+0x8", "r+0x10", "r+0x14 (16 bits) and 1 behind it"];
        assert_eq!(names[..4], expected);
        let apart: Vec<_> = runs.iter().flat_map(Answers::registers).collect();
        assert_eq!(apart, all.iter().map(|(at, text)| (at.clone(), text)).collect::<Vec<_>>());
    }

    /// Would catch a count in a damaged journal by which a comparison takes all memory, or overflows.
    #[test]
    fn no_run_is_endless() {
        let all = Answers { first: at(4, u64::MAX - 8), count: u32::MAX, text: () };
        assert_eq!(all.registers().count(), 3);
        let all = Answers { first: at(0, 0), count: u32::MAX, text: () };
        assert_eq!(all.registers().count(), MOST as usize);
    }
}
