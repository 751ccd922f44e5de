//! Values of `unittests.cfg` as words. The constructs of shells that are in use there are
//! understood; any other is refused, by its name.

use std::num::NonZeroUsize;

use chrono::{NaiveDate, NaiveTime};

/// Stands in a guest's words for the seconds since 1970, which its start fills in.
const NOW: &str = "$(date +%s)";

/// A word with the seconds since 1970 filled in.
pub fn with_time(word: &str, seconds: u64) -> String {
    word.replace(NOW, &seconds.to_string())
}

/// The words of a value, as a shell splits them: at blanks, with quotes and backslashes.
///
/// # Errors
/// Returns what in it only a shell could make something of.
pub(super) fn words(value: &str) -> Result<Vec<String>, String> {
    let value = value.replace("$MAX_SMP", &most_cpus().to_string());
    let value = with_dates(&value)?;
    refuse(&value)?;
    shlex::split(&value).ok_or_else(|| format!("`{value}` has a quote without its other one"))
}

/// How many CPUs an entry asks for, as `-smp` takes it.
///
/// # Errors
/// Returns what in it is not understood.
pub(super) fn smp(value: &str) -> Result<String, String> {
    let value = value.trim();
    let value = least(value).unwrap_or_else(|| match value {
        "" => "1".to_owned(),
        _ => value.replace("$MAX_SMP", &most_cpus().to_string()),
    });
    refuse(&value)?;
    let is_word = |c: char| c.is_ascii_alphanumeric() || "=,-".contains(c);
    match value.chars().all(is_word) {
        true => Ok(value),
        false => Err(format!("`{value}` is no number of CPUs")),
    }
}

/// `$((($MAX_SMP < N)?$MAX_SMP:N))`, the one form of arithmetic in use: the least of both.
fn least(value: &str) -> Option<String> {
    let plain: String = value.chars().filter(|c| !c.is_whitespace()).collect();
    let rest = plain.strip_prefix("$((($MAX_SMP<")?.strip_suffix("))")?;
    let (most, rest) = rest.split_once(")?$MAX_SMP:")?;
    let most: usize = most.parse().ok().filter(|_| most == rest)?;
    Some(most.min(most_cpus()).to_string())
}

/// How many CPUs this computer has.
fn most_cpus() -> usize {
    std::thread::available_parallelism().map_or(1, NonZeroUsize::get)
}

/// The value with the seconds of `$(date --date="YYYY-MM-DD UTC" +%s)` in its place. That of
/// `$(date +%s)` is filled in at the start of the guest.
fn with_dates(value: &str) -> Result<String, String> {
    const BEGIN: &str = "$(date --date=\"";
    const END: &str = " UTC\" +%s)";
    let mut rest = value;
    let mut out = String::new();
    while let Some((before, after)) = rest.split_once(BEGIN) {
        let seconds = after.split_once(END).and_then(|(day, after)| {
            let day: NaiveDate = day.parse().ok()?;
            Some((day.and_time(NaiveTime::MIN).and_utc().timestamp(), after))
        });
        let unknown = || format!("the date of `{value}` is not understood");
        let (seconds, after) = seconds.ok_or_else(unknown)?;
        out.push_str(&format!("{before}{seconds}"));
        rest = after;
    }
    Ok(out + rest)
}

/// Refuses what a shell would make something of.
fn refuse(value: &str) -> Result<(), String> {
    let text = value.replace(NOW, "");
    let mut quote = None;
    let mut characters = text.char_indices().peekable();
    while let Some((at, c)) = characters.next() {
        let name = match (c, quote) {
            ('\\', None | Some('"')) => {
                characters.next();
                continue;
            }
            ('\'' | '"', None) => {
                quote = Some(c);
                continue;
            }
            (c, Some(q)) if c == q => {
                quote = None;
                continue;
            }
            (_, Some('\'')) => continue,
            ('$', _) if text[at..].starts_with("$((") => "an arithmetic expansion",
            ('$', _) if text[at..].starts_with("$(") => "a command substitution",
            ('$', _) => "a variable",
            ('`', _) => "a command substitution",
            (_, Some(_)) => continue,
            ('|', None) => "a pipe",
            ('&' | ';', None) => "a second command",
            ('<' | '>', None) => "a redirection",
            ('(' | ')', None) => "a subshell",
            _ => continue,
        };
        let rest: String = text[at..].chars().take(40).collect();
        return Err(format!("`{rest}` is {name}, which needs a shell; none is run"));
    }
    Ok(())
}

/// Whether an entry is disabled. The one condition in use asks for another hypervisor than
/// QEMU.
///
/// # Errors
/// Returns what is not understood.
pub(super) fn is_disabled(condition: &str) -> Result<bool, String> {
    let plain: Vec<&str> = condition.split_whitespace().collect();
    match &plain[..] {
        [] | ["[[", "\"$TARGET\"" | "$TARGET", "!=", "qemu", "]]"] => Ok(false),
        ["[[", "\"$TARGET\"" | "$TARGET", "==" | "=", "qemu", "]]"] => Ok(true),
        _ => Err(format!("the condition `{condition}` needs a shell; none is run")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Would catch a construct in use that is refused, and quotes that become part of a word.
    #[test]
    fn what_is_in_use_is_understood() {
        let of = |value: &str| words(value).unwrap().join("|");
        assert_eq!(of("-cpu max,+vmx  -append 'a b'"), "-cpu|max,+vmx|-append|a b");
        assert_eq!(of(r#""cr0.wp=0 \"x\"" y"#), r#"cr0.wp=0 "x"|y"#);
        let day = "\"get-time-of-day date=$(date --date=\"2006-06-17 UTC\" +%s)\"";
        assert_eq!(of(day), "get-time-of-day date=1150502400");
        assert_eq!(of("\"date=$(date +%s)\""), format!("date={NOW}"));
        let cpus = most_cpus();
        assert_eq!(smp("$MAX_SMP").unwrap(), cpus.to_string());
        assert_eq!(smp("$((($MAX_SMP < 3)?$MAX_SMP:3))").unwrap(), cpus.min(3).to_string());
        assert_eq!((smp("").unwrap(), smp("4").unwrap()), ("1".to_owned(), "4".to_owned()));
        assert_eq!(is_disabled("[[ \"$TARGET\" != qemu ]]"), Ok(false));
        assert_eq!(is_disabled(""), Ok(false));
    }

    /// Would catch a shell construct that is handed on as text, or run.
    #[test]
    fn everything_else_is_refused_by_name() {
        let refused = |value: &str, name: &str| {
            let why = words(value).unwrap_err();
            assert!(why.contains(name), "{value}: {why}");
        };
        refused("-append $(touch /tmp/x)", "command substitution");
        refused("-append \"`id`\"", "command substitution");
        refused("-m $HOME", "variable");
        refused("-m $((1 + 2))", "arithmetic");
        refused("a; rm x", "second command");
        refused("a | b", "pipe");
        refused("a > b", "redirection");
        refused("(a)", "subshell");
        refused("'open", "quote");
        assert!(words("'$HOME | ;'").is_ok(), "in single quotes it is text");
        assert!(smp("$(nproc)").unwrap_err().contains("substitution"));
        assert!(smp("1 -m 2").is_err());
        assert!(is_disabled("[ -e /x ]").is_err());
    }
}
