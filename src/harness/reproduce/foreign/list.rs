//! Bare lists of requests: in a file of their own, or in prose below the line that starts
//! the emulator, with or without QEMU's answers between.

use super::request;
use super::text::Line;

/// A list of requests.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct List {
    /// The rows it takes, from 0.
    pub rows: (usize, usize),
    pub requests: Vec<String>,
}

/// The lists in `lines`, without the rows that `taken` says are part of something else.
pub(super) fn read(lines: &[Line], taken: &dyn Fn(usize) -> bool) -> Vec<List> {
    let mut lists = Vec::new();
    let mut row = 0;
    while row < lines.len() {
        if taken(row) || !request::is_request(&lines[row].text) {
            row += 1;
            continue;
        }
        let begin = row;
        let mut end = row;
        while row < lines.len() && !taken(row) {
            let text = lines[row].text.as_str();
            if request::is_request(text) {
                end = row;
            } else if !may_stand_between(text, end == row.wrapping_sub(1)) {
                break;
            }
            row += 1;
        }
        let rows = begin..=end;
        let texts = rows.map(|row| lines[row].text.as_str()).filter(|text| !is_answer(text));
        lists.push(List { rows: (begin, end + 1), requests: request::tidy_all(texts) });
        row = end + 1;
    }
    lists
}

/// Whether a line between requests does not end the list: nothing, a comment, an answer, or
/// the rest of data behind a request.
fn may_stand_between(line: &str, behind_request: bool) -> bool {
    let line = line.trim();
    let is_data = line.len() > 1 && line.bytes().all(|byte| byte.is_ascii_hexdigit());
    request::tidy(line).is_none() || is_answer(line) || behind_request && is_data
}

fn is_answer(line: &str) -> bool {
    let line = line.trim();
    let first = line.split(' ').next().unwrap_or_default();
    matches!(first, "OK" | "FAIL" | "ERR" | "IRQ" | "[S" | "[I" | "[R")
}

#[cfg(test)]
mod tests {
    use crate::harness::reproduce::foreign::text;

    fn read(text: &str) -> Vec<Vec<String>> {
        let lists = super::read(&text::lines(text), &|_| false);
        lists.into_iter().map(|list| list.requests).collect()
    }

    /// Would catch a list that ends at an answer, at a comment or an empty line, and prose
    /// that becomes a part of it.
    #[test]
    fn lists_in_prose() {
        let text = "The device dies:\n\n  outl 0xcf8 0x1\n  OK\n\n  # now\n  inb 0x60\n  OK 0x1\n\
                    That is all.\nread the log\nwrite 0x0 0x2 0xaa\nbb\nclock_step\n";
        assert_eq!(
            read(text),
            [vec!["outl 0xcf8 0x1", "inb 0x60"], vec!["write 0x0 0x2 0xaabb", "clock_step"]]
        );
    }
}
