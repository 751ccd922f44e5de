//! What a line on the qtest socket says. Pure functions over bytes, for any bytes: nothing here
//! reads a socket, and nothing panics.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// The byte order of the guest's CPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Endian {
    /// Least significant byte first.
    Little,
    /// Most significant byte first.
    Big,
}

/// What is wrong with an answer.
#[derive(Debug, PartialEq, Eq)]
pub enum Wrong {
    /// It says `FAIL` or `ERR`.
    Refused,
    /// It is not an answer, or not one to that request; this would have been.
    Garbled(String),
}

/// A change of an interrupt line that is intercepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Edge {
    /// The number of the line.
    pub line: u32,
    /// Raised, not lowered.
    pub raised: bool,
}

/// More than any machine has: QEMU itself keeps the levels of 256.
pub(super) const MAX_IRQS: u32 = 4096;

/// Reads `IRQ raise N` and `IRQ lower N`, which come between answers; `None` for all else.
pub fn edge(line: &[u8]) -> Option<Edge> {
    let rest = line.strip_prefix(b"IRQ ")?;
    let (raised, number) = match rest.strip_prefix(b"raise ") {
        Some(number) => (true, number),
        None => (false, rest.strip_prefix(b"lower ")?),
    };
    let line = u32::try_from(parse_number(number)?).ok()?;
    (line < MAX_IRQS).then_some(Edge { line, raised })
}

/// Reads `OK`, the answer to a request that asks for nothing.
pub fn nothing(line: &[u8]) -> Result<(), Wrong> {
    match payload(line) {
        Ok(b"") => Ok(()),
        Err(Wrong::Refused) => Err(Wrong::Refused),
        _ => Err(Wrong::Garbled("`OK`".into())),
    }
}

/// Reads `OK NUMBER`, the number hexadecimal after `0x` or else decimal, and at most `max`.
pub fn number(line: &[u8], max: u64) -> Result<u64, Wrong> {
    let read = |text| parse_number(text).filter(|number| *number <= max);
    payload(line).and_then(|text| {
        read(text).ok_or_else(|| Wrong::Garbled(format!("`OK` and a number up to {max:#x}")))
    })
}

/// Reads the clock after `OK`, in nanoseconds; after `FAIL` too if it is there: so newer QEMUs
/// say that the clock is not where it was to be set.
pub fn clock(line: &[u8]) -> Result<u64, Wrong> {
    match line.strip_prefix(b"FAIL ").and_then(parse_number) {
        Some(time) => Ok(time),
        None => number(line, i64::MAX as u64),
    }
}

/// Reads `OK little` and `OK big`.
pub fn endian(line: &[u8]) -> Result<Endian, Wrong> {
    match payload(line)? {
        b"little" => Ok(Endian::Little),
        b"big" => Ok(Endian::Big),
        _ => Err(Wrong::Garbled("`OK little` or `OK big`".into())),
    }
}

/// Reads `OK 0xDIGITS`, two digits for every byte of `data`, into `data`.
pub fn hex_bytes(line: &[u8], data: &mut [u8]) -> Result<(), Wrong> {
    let digits = payload(line)?.strip_prefix(b"0x");
    digits
        .and_then(|digits| hex::decode_to_slice(digits, data).ok())
        .ok_or_else(|| Wrong::Garbled(format!("`OK` and {} bytes in hexadecimal", data.len())))
}

/// Reads `OK BASE64`, exactly as many bytes as `data` has, into `data`.
pub fn base64_bytes(line: &[u8], data: &mut [u8]) -> Result<(), Wrong> {
    match STANDARD.decode_slice(payload(line)?, data) {
        Ok(count) if count == data.len() => Ok(()),
        _ => Err(Wrong::Garbled(format!("`OK` and {} bytes in base64", data.len()))),
    }
}

/// Whether the line is an answer at all: it begins with the word `OK`, `FAIL` or `ERR`.
pub fn is_answer(line: &[u8]) -> bool {
    !matches!(payload(line), Err(Wrong::Garbled(_)))
}

/// What stands behind `OK `.
pub fn payload(line: &[u8]) -> Result<&[u8], Wrong> {
    let behind = |word: &[u8]| match line.strip_prefix(word) {
        Some(b"") => Some(&b""[..]),
        Some([b' ', rest @ ..]) => Some(rest),
        _ => None,
    };
    if let Some(rest) = behind(b"OK") {
        Ok(rest)
    } else if behind(b"FAIL").is_some() || behind(b"ERR").is_some() {
        Err(Wrong::Refused)
    } else {
        Err(Wrong::Garbled("`OK`, `FAIL` or `ERR`".into()))
    }
}

/// Digits only: `u64::from_str_radix` alone would also take a sign.
fn parse_number(text: &[u8]) -> Option<u64> {
    let (digits, radix) = match text.strip_prefix(b"0x") {
        Some(digits) => (digits, 16),
        None => (text, 10),
    };
    if digits.first() == Some(&b'+') {
        return None;
    }
    u64::from_str_radix(std::str::from_utf8(digits).ok()?, radix).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Catches numbers read in the wrong base, and answers that do not fit taken for good.
    #[test]
    fn numbers() {
        assert_eq!(number(b"OK 0x00ff", 0xff), Ok(0xff));
        assert_eq!(number(b"OK 0xffffffffffffffff", u64::MAX), Ok(u64::MAX));
        assert_eq!(number(b"OK 10", 0xff), Ok(10));
        for line in [
            &b"OK 0x0100"[..],
            b"OK",
            b"OK ",
            b"OK 0x",
            b"OK 0x+1",
            b"OK -1",
            b"OK 0x1 ",
            b"OK 0x10000000000000000",
            b"OKAY 0x1",
            b"ok 0x1",
            b"",
            b"\xff\xfe",
        ] {
            assert!(matches!(number(line, 0xff), Err(Wrong::Garbled(_))));
        }
        assert_eq!(number(b"FAIL", 0xff), Err(Wrong::Refused));
        assert_eq!(number(b"ERR why", 0xff), Err(Wrong::Refused));
        assert!(matches!(number(b"FAILURE", 0xff), Err(Wrong::Garbled(_))));
    }

    /// Would catch what QEMU writes beside its answers taken for one of them.
    #[test]
    fn answers() {
        for line in [&b"OK"[..], b"OK 0x1", b"FAIL", b"FAIL 7", b"ERR why"] {
            assert!(is_answer(line));
        }
        for line in
            [&b"Bail out! ERROR:x.c:5:f: assertion failed"[..], b"OKAY", b"", b"IRQ raise 1"]
        {
            assert!(!is_answer(line));
        }
    }

    /// Catches an answer to another request taken for a plain `OK`.
    #[test]
    fn nothing_is_nothing() {
        assert_eq!(nothing(b"OK"), Ok(()));
        assert_eq!(nothing(b"FAIL no"), Err(Wrong::Refused));
        assert_eq!(nothing(b"OK 0x1"), Err(Wrong::Garbled("`OK`".into())));
        assert_eq!(nothing(b""), Err(Wrong::Garbled("`OK`".into())));
    }

    /// Catches the clock of a `FAIL` with a time (newer QEMUs) taken for a refusal.
    #[test]
    fn clocks() {
        assert_eq!(clock(b"OK 1000000000"), Ok(1_000_000_000));
        assert_eq!(clock(b"FAIL 7"), Ok(7));
        assert_eq!(clock(b"FAIL could not advance time"), Err(Wrong::Refused));
        assert!(matches!(clock(b"OK -1"), Err(Wrong::Garbled(_))));
    }

    /// Catches the two byte orders mixed up.
    #[test]
    fn byte_orders() {
        assert_eq!(endian(b"OK little"), Ok(Endian::Little));
        assert_eq!(endian(b"OK big"), Ok(Endian::Big));
        assert!(matches!(endian(b"OK middle"), Err(Wrong::Garbled(_))));
    }

    /// Catches data of the wrong length or with wrong digits taken for good.
    #[test]
    fn bytes() {
        let mut data = [0; 3];
        assert_eq!(hex_bytes(b"OK 0x0aFf10", &mut data), Ok(()));
        assert_eq!(data, [0x0a, 0xff, 0x10]);
        assert_eq!(base64_bytes(b"OK AQID", &mut data), Ok(()));
        assert_eq!(data, [1, 2, 3]);
        for line in [&b"OK 0x0aff"[..], b"OK 0x0aff1020", b"OK 0x0aff1g", b"OK 0aff10"] {
            let expected = "`OK` and 3 bytes in hexadecimal".to_string();
            assert_eq!(hex_bytes(line, &mut data), Err(Wrong::Garbled(expected)));
        }
        for line in [&b"OK AQI="[..], b"OK AQIDBA==", b"OK A-ID", b"OK AQ", b"OK"] {
            let expected = "`OK` and 3 bytes in base64".to_string();
            assert_eq!(base64_bytes(line, &mut data), Err(Wrong::Garbled(expected)));
        }
        assert_eq!(hex_bytes(b"FAIL", &mut data), Err(Wrong::Refused));
        assert_eq!(base64_bytes(b"FAIL", &mut data), Err(Wrong::Refused));
    }

    /// Catches interrupts taken for answers, answers for interrupts, and numbers without bound.
    #[test]
    fn interrupts() {
        let raised = Some(Edge { line: 11, raised: true });
        let lowered = Some(Edge { line: 0, raised: false });
        assert_eq!(edge(b"IRQ raise 11"), raised);
        assert_eq!(edge(b"IRQ lower 0"), lowered);
        for line in [
            &b"OK"[..],
            b"IRQ",
            b"IRQ toggle 1",
            b"IRQ raise",
            b"IRQ raise -1",
            b"IRQ raise 4096",
            b"IRQ lower 99999999999999999999",
        ] {
            assert_eq!(edge(line), None);
        }
    }

    proptest! {
        /// Catches a panic on any line.
        #[test]
        fn no_line_panics(head in "(OK |FAIL |IRQ raise |ERR)?", tail: Vec<u8>, len in 0..50usize) {
            let line = [head.as_bytes(), &tail].concat();
            let mut data = vec![0; len];
            let _ = (edge(&line), nothing(&line), number(&line, 255), clock(&line));
            let _ = (endian(&line), hex_bytes(&line, &mut data), base64_bytes(&line, &mut data));
        }
    }
}
