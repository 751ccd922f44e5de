//! The results that a guest prints, a line each: `PASS: what`, `FAIL: what` and so on, as guests
//! of kvm-unit-tests print them.

use serde::{Deserialize, Serialize};

/// How one of a guest's own checks went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum PartKind {
    /// It did not hold.
    Fail,
    /// It held although it was known not to.
    Xpass,
    /// It did not hold, as is known of the hypervisor.
    Kfail,
    /// It did not hold, as the guest expects.
    Xfail,
    /// It does not apply.
    Skip,
    /// It held.
    Pass,
}

impl PartKind {
    /// All kinds, the worst first.
    pub const ALL: [Self; 6] =
        [Self::Fail, Self::Xpass, Self::Kfail, Self::Xfail, Self::Skip, Self::Pass];

    /// The word that a guest prints for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Fail => "FAIL",
            Self::Xpass => "XPASS",
            Self::Kfail => "KFAIL",
            Self::Xfail => "XFAIL",
            Self::Skip => "SKIP",
            Self::Pass => "PASS",
        }
    }

    /// Whether it fails the guest.
    pub fn is_failure(self) -> bool {
        matches!(self, Self::Fail | Self::Xpass)
    }
}

/// One of a guest's own checks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// How it went.
    pub result: PartKind,
    /// What was checked, in the guest's words.
    pub text: String,
    /// The line of the guest's log in which it says so, from 1 on.
    pub line: u64,
}

impl Part {
    /// The check whose result this line of the log is, if it is one.
    fn of(line: &str, number: u64) -> Option<Self> {
        let (word, text) = line.split_once(": ")?;
        let result = PartKind::ALL.into_iter().find(|kind| kind.word() == word)?;
        let text = text.trim_end().chars().take(MOST_TEXT).collect();
        Some(Self { result, text, line: number })
    }

    /// What the check is called where it is compared with that of another run: without numbers,
    /// which differ from run to run.
    pub fn key(&self) -> String {
        let mut key = String::new();
        let mut words = self.text.split(' ').peekable();
        while let Some(word) = words.next() {
            let digits = word.trim_start_matches("0x").chars();
            let is_number = word.contains(|c: char| c.is_ascii_digit())
                && digits.into_iter().all(|c| c.is_ascii_hexdigit() || ",.:()%-".contains(c));
            key.push_str(if is_number { "#" } else { word });
            if words.peek().is_some() {
                key.push(' ');
            }
        }
        key
    }
}

impl std::fmt::Display for Part {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        write!(f, "{}: {} (line {} of its log)", self.result.word(), self.text, self.line)
    }
}

/// The longest text of a check that is kept, in characters.
const MOST_TEXT: usize = 400;
/// How many checks are kept; of more only the numbers are.
const MOST: usize = 5000;
/// How many of these are kept for checks that fail.
const MOST_FAILURES: usize = 500;

/// All checks of one guest, as far as they are kept.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Parts {
    kept: Vec<Part>,
    counts: [u64; PartKind::ALL.len()],
    /// What a line `ABORT: …` said.
    pub abort: Option<String>,
    /// What the first line `EXIT: STATUS=…` said.
    pub exit: Option<i64>,
    /// What the last line `SUMMARY: …` said.
    pub summary: Option<String>,
}

impl Parts {
    /// Takes in a line of the log.
    pub fn line(&mut self, line: &str, number: u64) {
        let short = |text: &str| text.trim_end().chars().take(MOST_TEXT).collect::<String>();
        if let Some(part) = Part::of(line, number) {
            let count = &mut self.counts[part.result as usize];
            *count += 1;
            let is_failure = part.result.is_failure();
            let most = if is_failure { MOST } else { MOST - MOST_FAILURES };
            if self.kept.len() < most {
                self.kept.push(part);
            }
        } else if let Some(text) = line.strip_prefix("ABORT: ") {
            self.abort.get_or_insert_with(|| short(text));
        } else if let Some(text) = line.strip_prefix("SUMMARY: ") {
            self.summary = Some(short(text));
        } else if let Some(text) = line.strip_prefix("EXIT: STATUS=") {
            let digits: String = text.chars().take_while(char::is_ascii_digit).take(18).collect();
            if self.exit.is_none() {
                self.exit = digits.parse().ok();
            }
        }
    }

    /// How many checks went so.
    pub fn count(&self, kind: PartKind) -> u64 {
        self.counts[kind as usize]
    }

    /// How many checks failed the guest.
    pub fn failures(&self) -> u64 {
        PartKind::ALL.into_iter().filter(|kind| kind.is_failure()).map(|it| self.count(it)).sum()
    }

    /// How many there are.
    pub fn total(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// The checks that are kept, in the order of the log.
    pub fn kept(&self) -> &[Part] {
        &self.kept
    }

    /// The checks that are kept, in the order of the log.
    pub fn into_kept(self) -> Vec<Part> {
        self.kept
    }

    /// The numbers in words, the worst first; empty if there are no checks.
    pub fn in_words(&self) -> String {
        let counted = PartKind::ALL.into_iter().filter(|kind| self.count(*kind) > 0);
        let counted = counted.map(|kind| format!("{} {}", self.count(kind), kind.word()));
        counted.collect::<Vec<_>>().join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(lines: &[&str]) -> Parts {
        let mut parts = Parts::default();
        lines.iter().zip(1..).for_each(|(line, number)| parts.line(line, number));
        parts
    }

    /// Would catch a kind of line that is lost, as XPASS and KFAIL are elsewhere, and a line
    /// that only looks like a result.
    #[test]
    fn every_kind_is_a_result() {
        let parts = parts(&[
            "PASS: msr: efer",
            "FAIL: a: b",
            "SKIP: c",
            "XFAIL: d",
            "XPASS: e",
            "KFAIL: f",
            "INFO: FAIL: no",
            " FAIL: indented",
            "FAILURE: no",
            "SUMMARY: 6 tests, 2 unexpected failures",
        ]);
        assert_eq!(parts.in_words(), "1 FAIL, 1 XPASS, 1 KFAIL, 1 XFAIL, 1 SKIP, 1 PASS");
        assert_eq!((parts.failures(), parts.total()), (2, 6));
        let first = &parts.kept()[1];
        assert_eq!(first.to_string(), "FAIL: a: b (line 2 of its log)");
        assert_eq!(parts.summary.as_deref(), Some("6 tests, 2 unexpected failures"));
    }

    /// Would catch an exit status that a later line overrules, and one that overflows.
    #[test]
    fn the_first_exit_status_counts() {
        let told = |lines: &[&str]| parts(lines).exit;
        assert_eq!(told(&["EXIT: STATUS=3", "EXIT: STATUS=1"]), Some(3));
        assert_eq!(told(&["EXIT: STATUS=99999999999999999999999"]), Some(999_999_999_999_999_999));
        assert_eq!(told(&["EXIT: STATUS=x"]), None);
    }

    /// Would catch a guest that prints results without end and fills the memory, and a failure
    /// among them that is not kept.
    #[test]
    fn what_is_kept_is_bounded() {
        let mut parts = Parts::default();
        let long = format!("PASS: {}", "x".repeat(10_000));
        (0..20_000).for_each(|number| parts.line(&long, number));
        parts.line("FAIL: at last", 20_000);
        assert_eq!(parts.count(PartKind::Pass), 20_000);
        assert!(parts.kept().len() <= MOST);
        assert!(parts.kept().iter().all(|part| part.text.len() <= MOST_TEXT));
        assert_eq!(parts.kept().last().map(|part| part.result), Some(PartKind::Fail));
    }

    /// Would catch a check that is taken for another one because a measured number differs.
    #[test]
    fn numbers_do_not_name_a_check() {
        let key = |text: &str| parts(&[&format!("PASS: {text}")]).kept()[0].key();
        assert_eq!(key("tsc: 1234 cycles at 0xffe0"), "tsc: # cycles at #");
        assert_eq!(key("cr4.pae x2apic"), "cr4.pae x2apic");
    }
}
