//! One line of the qtest protocol as other people write it: with blanks, comments and line
//! ends of all kinds. Says whether a line is a request, brings it into the form that QEMU
//! reads, and finds the mistakes at which QEMU itself would abort.

/// Requests with the fewest and the most words after their name, and which of these words
/// are numbers (a bit each).
const VERBS: &[(&str, usize, usize, u32)] = &[
    ("outb", 2, 2, 0b11),
    ("outw", 2, 2, 0b11),
    ("outl", 2, 2, 0b11),
    ("inb", 1, 1, 0b1),
    ("inw", 1, 1, 0b1),
    ("inl", 1, 1, 0b1),
    ("writeb", 2, 2, 0b11),
    ("writew", 2, 2, 0b11),
    ("writel", 2, 2, 0b11),
    ("writeq", 2, 2, 0b11),
    ("readb", 1, 1, 0b1),
    ("readw", 1, 1, 0b1),
    ("readl", 1, 1, 0b1),
    ("readq", 1, 1, 0b1),
    ("read", 2, 2, 0b11),
    ("b64read", 2, 2, 0b11),
    ("write", 3, 3, 0b11),
    ("b64write", 3, 3, 0b11),
    ("memset", 3, 3, 0b111),
    ("clock_step", 0, 1, 0b1),
    ("clock_set", 1, 1, 0b1),
    ("irq_intercept_in", 1, 1, 0),
    ("irq_intercept_out", 1, 2, 0),
    ("set_irq_in", 4, 4, 0b1100),
    ("endianness", 0, 0, 0),
    ("rtas", 5, 5, 0b11110),
    ("csr", 4, 4, 0),
    ("module_load", 2, 2, 0),
];

/// The highest port of an x86 machine.
const LAST_PORT: u64 = 0xffff;

/// The name under which QEMU knows `word`, if it is that of a request.
fn verb(word: &str) -> Option<&'static (&'static str, usize, usize, u32)> {
    VERBS.iter().find(|(name, ..)| *name == word)
}

/// The line as QEMU reads it: single blanks, without a comment at its end; `None` if
/// nothing is left.
pub(super) fn tidy(line: &str) -> Option<String> {
    let mut text = line;
    for mark in ["/*", "//", "<!--"] {
        text = text.split_once(mark).map_or(text, |(before, _)| before);
    }
    if text.trim_start().starts_with('#') {
        return None;
    }
    let text = text.split_once(" #").map_or(text, |(before, _)| before);
    let words: Vec<&str> = text.split_whitespace().collect();
    (!words.is_empty()).then(|| words.join(" "))
}

/// Whether the line is a request: its first word is the name of one, and what follows has
/// the form of its arguments.
pub(super) fn is_request(line: &str) -> bool {
    tidy(line).is_some_and(|line| {
        let mut words = line.split(' ');
        let most = words.next().and_then(verb).map(|&(_, _, most, _)| most);
        most.is_some_and(|most| words.count() <= most) && mistake(&line).is_none()
    })
}

/// Whether the line begins with the name of a request.
pub(super) fn begins_request(line: &str) -> bool {
    line.split_whitespace().next().and_then(verb).is_some()
}

/// What is wrong with a tidy line, if QEMU would not answer it but abort: words that are
/// missing, numbers that are none, ports that do not exist. Requests that QEMU does not
/// know it answers with `FAIL`.
pub(super) fn mistake(line: &str) -> Option<String> {
    let mut words = line.split(' ');
    let &(name, fewest, _, numbers) = words.next().and_then(verb)?;
    let words: Vec<&str> = words.collect();
    if words.len() < fewest {
        return Some(format!("`{name}` takes {fewest} arguments"));
    }
    let is_number = |at: usize| at < 32 && numbers & (1 << at) != 0;
    for (at, word) in words.iter().enumerate().filter(|(at, _)| is_number(*at)) {
        let Some(value) = number(word) else {
            return Some(format!("`{word}` is no number of at most 64 bits"));
        };
        let is_port = at == 0 && (name.starts_with("in") || name.starts_with("out"));
        if is_port && value > LAST_PORT {
            return Some(format!("there is no port {word}"));
        }
        if at == 1 && value == 0 && matches!(name, "read" | "b64read") {
            return Some("it reads no byte at all".to_owned());
        }
    }
    None
}

/// A number as C's `strtoull` with base 0 reads it.
pub(super) fn number(word: &str) -> Option<u64> {
    let (negative, digits) = match word.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, word.strip_prefix('+').unwrap_or(word)),
    };
    let (digits, radix) = match digits.strip_prefix("0x").or(digits.strip_prefix("0X")) {
        Some(digits) => (digits, 16),
        None if digits.len() > 1 && digits.starts_with('0') => (&digits[1..], 8),
        None => (digits, 10),
    };
    if !digits.starts_with(|c: char| c.is_ascii_hexdigit()) {
        return None;
    }
    let value = u64::from_str_radix(digits, radix).ok()?;
    Some(if negative { value.wrapping_neg() } else { value })
}

/// Tidies lines, and joins the data of a `write` that a mail program broke.
pub(super) fn tidy_all<'a>(lines: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut requests: Vec<String> = Vec::new();
    for line in lines.filter_map(tidy) {
        match requests.last_mut().filter(|last| lacks_data(last) && is_hex(&line)) {
            Some(last) => last.push_str(&line),
            None => requests.push(line),
        }
    }
    requests
}

fn is_hex(line: &str) -> bool {
    !line.is_empty() && line.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Whether it writes fewer bytes than it says.
fn lacks_data(request: &str) -> bool {
    let words: Vec<&str> = request.split(' ').collect();
    let ["write", _, length, data] = words[..] else { return false };
    number(length)
        .is_some_and(|length| (data.len() as u64) < length.saturating_mul(2).saturating_add(2))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Would catch a request that is not recognised, prose that is taken for one, and a
    /// comment that becomes an argument.
    #[test]
    fn what_is_a_request() {
        for line in ["outl 0xcf8 0x80001010", "  clock_step", "write 0x0 2 0xabcd", "inb 96\r"] {
            assert!(is_request(line), "{line}");
        }
        for line in
            ["", "read the manual", "write a test", "out 1 2", "outl 0xcf8", "# inb 1", "inb 1 2"]
        {
            assert!(!is_request(line), "{line}");
        }
        assert!(!is_request(&"inb 1 ".repeat(20)));
        assert_eq!(tidy("outl  0xcf8\t0x1 /* BAR0 */").as_deref(), Some("outl 0xcf8 0x1"));
        assert_eq!(tidy("outl 0xcf8 0x1 # BAR0").as_deref(), Some("outl 0xcf8 0x1"));
        assert_eq!(tidy("// nothing"), None);
    }

    /// Would catch a mistake of the file that makes QEMU abort, and is then told as a fault
    /// of a device.
    #[test]
    fn mistakes_that_end_qemu() {
        for line in ["outl 0xcf8", "outl 0x10cf8 1", "writel 0x1g 2", "read 0x0 0", "outb 1 "] {
            assert!(mistake(line.trim()).is_some(), "{line}");
        }
        for line in ["outb 0x3f5 0x1ff", "memset 0 0x10 0", "what is this", "writeq 0 -1"] {
            assert_eq!(mistake(line), None, "{line}");
        }
    }

    /// Would catch numbers that are read in another base than QEMU reads them.
    #[test]
    fn numbers_are_those_of_c() {
        let cases = [("0x1F", 0x1f), ("017", 0o17), ("17", 17), ("0", 0), ("-1", u64::MAX)];
        for (word, value) in cases {
            assert_eq!(number(word), Some(value), "{word}");
        }
        for word in ["", "x", "0x", "08", "1h", "--1", "0x10000000000000000"] {
            assert_eq!(number(word), None, "{word}");
        }
    }

    /// Would catch data that a mail program broke over lines and that is then lost.
    #[test]
    fn broken_data_is_joined() {
        let lines = ["write 0x0 0x4 0xaabb", "ccdd", "", "inb 0x60"];
        assert_eq!(tidy_all(lines.into_iter()), ["write 0x0 0x4 0xaabbccdd", "inb 0x60"]);
    }
}
