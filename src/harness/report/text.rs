//! What there is to tell of an outcome, as lines for people.

use crate::harness::outcome::{Attempt, Outcome, Verdict, abridged, reproduce};
use crate::shown::shown;

/// How many of the paths before are named.
const MOST_BEFORE: usize = 3;

/// The first line of what there is to say of it.
pub(super) fn first_line(verdict: &Verdict) -> String {
    abridged(verdict.message()).into_iter().next().unwrap_or_default()
}

/// All there is to tell of it, below the line with its name: what went wrong, and, unless
/// that is known already, what led to it.
pub(super) fn told(outcome: &Outcome) -> Vec<String> {
    let mut lines = abridged(outcome.verdict.message());
    if !outcome.verdict.is_failure() && !outcome.verdict.is_notable() {
        return lines;
    }
    lines.extend(attempts(outcome));
    if let Some(file) = &outcome.reproducer {
        lines.push(shown(&reproduce(file)));
    }
    if let Some(evidence) = &outcome.evidence {
        lines.extend(evidence.to_string().lines().map(str::to_owned));
    }
    lines
}

/// What there is to tell of the attempts before the last one.
pub(super) fn attempts(outcome: &Outcome) -> Vec<String> {
    let mut lines = Vec::new();
    for (number, attempt) in outcome.attempts.iter().enumerate() {
        lines.push(heading(number, attempt));
        let mut of_it = abridged(attempt.verdict.message());
        if let Some(evidence) = &attempt.evidence {
            of_it.extend(evidence.to_string().lines().map(str::to_owned));
        }
        lines.extend(of_it.into_iter().map(|line| format!("    {line}")));
    }
    lines
}

/// What happened, and after what.
fn heading(number: usize, attempt: &Attempt) -> String {
    let (word, millis) = (attempt.verdict.word(), attempt.took.as_millis());
    let before = attempt.after.len();
    let last = &attempt.after[before.saturating_sub(MOST_BEFORE)..];
    let after = match before {
        0 => " on a fresh QEMU".to_owned(),
        _ if before == last.len() => format!(" after {}", last.join(", ")),
        _ => format!(" after {before} paths, the last of them {}", last.join(", ")),
    };
    shown(&format!("attempt {}: {word} in {millis} ms{after}", number + 1))
}
