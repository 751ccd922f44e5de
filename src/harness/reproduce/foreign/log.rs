//! Logs of the protocol: what QEMU writes with `-qtest-log`, and what its fuzzer prints,
//! with marks of the memory that a device fetched.

use super::request;
use super::text::Line;

/// How a request begins in a log.
const REQUEST: &str = "[R +";
/// How the line begins in which the fuzzer says how it started QEMU.
const STARTING: &str = "Starting ";

/// The requests of a log.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Log {
    /// The rows it takes, from 0.
    pub rows: (usize, usize),
    /// The requests, in the order in which they are to be made.
    pub requests: Vec<String>,
    /// The arguments of the QEMU that the fuzzer started, and its target.
    pub started: Option<(String, String)>,
    /// Whether it is the trace of a fuzzer.
    pub is_trace: bool,
    /// What a reader should know.
    pub notes: Vec<String>,
}

/// Reads the log in these lines, if there is one.
pub(super) fn read(lines: &[Line]) -> Option<Log> {
    let rows: Vec<usize> = lines
        .iter()
        .enumerate()
        .filter(|(_, line)| line.text.contains(REQUEST) || line.text.contains("[DMA]"))
        .map(|(row, _)| row)
        .collect();
    let (&first, &last) = (rows.first()?, rows.last()?);
    let mut log = Log { rows: (first, last + 1), ..Log::default() };
    for line in &lines[..=first] {
        let Some(rest) = line.text.trim().strip_prefix(STARTING) else { continue };
        if let Some((target, arguments)) = rest.split_once(" with Arguments: ") {
            log.started = Some((target.trim().to_owned(), arguments.trim().to_owned()));
        }
    }
    let mut dma = 0;
    let mut fetched_twice = 0;
    let mut cut = 0;
    let mut marked = false;
    for line in &lines[first..=last] {
        let pieces = pieces(&line.text);
        for (mark, text) in pieces {
            marked |= mark;
            fetched_twice += usize::from(text.contains("[DOUBLE-FETCH]"));
            let text = text.replace("[DOUBLE-FETCH]", "");
            let Some(request) = request::tidy(&text) else { continue };
            if !request::begins_request(&request) {
                continue;
            }
            if request::mistake(&request).is_some() {
                cut += 1;
                continue;
            }
            // The device fetched this while the request before was made: it must be there
            // earlier.
            if std::mem::take(&mut marked) {
                let trigger = log.requests.len().saturating_sub(1);
                log.requests.insert(trigger, request);
                dma += 1;
            } else {
                log.requests.push(request);
            }
        }
    }
    if log.requests.is_empty() {
        return None;
    }
    log.is_trace = dma > 0;
    if dma > 0 {
        log.notes.push(format!(
            "{dma} pieces of memory that a device fetched are written before the request that \
             made it fetch them"
        ));
    }
    if fetched_twice > 0 {
        log.notes.push(format!(
            "{fetched_twice} pieces were fetched twice with other content: no list of requests \
             can show that"
        ));
    }
    if cut > 0 {
        log.notes.push(format!("{cut} requests of the log are not whole and are left out"));
    }
    Some(log)
}

/// The pieces of a line that may be requests, and whether the mark of a fetch is before
/// each.
fn pieces(line: &str) -> Vec<(bool, &str)> {
    let mut pieces = Vec::new();
    let mut rest = line;
    let mut mark = false;
    loop {
        let request = rest.find(REQUEST);
        let dma = rest.find("[DMA]");
        match (request, dma) {
            (Some(at), dma) if dma.is_none_or(|dma| at < dma) => {
                let Some((_, text)) = rest[at..].split_once(']') else { return pieces };
                let end = text.find(['[']).unwrap_or(text.len());
                pieces.push((std::mem::take(&mut mark), &text[..end]));
                rest = &text[end..];
            }
            (_, Some(at)) => {
                rest = &rest[at + "[DMA]".len()..];
                mark = true;
                let end = rest.find('[').unwrap_or(rest.len());
                if request::is_request(&rest[..end]) {
                    pieces.push((std::mem::take(&mut mark), &rest[..end]));
                    rest = &rest[end..];
                }
            }
            _ => {
                if mark {
                    pieces.push((true, ""));
                }
                return pieces;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::harness::reproduce::foreign::text;

    fn read(text: &str) -> Log {
        super::read(&text::lines(text)).expect("a log")
    }

    /// Would catch answers that are taken for requests, and requests that are lost because
    /// several stand on a line.
    #[test]
    fn a_log_of_qemu() {
        let log = read(
            "noise\n[I 0.1] OPENED\n[R +0.01] outl 0xcf8 0x80\n[S +0.01] OK\nOK\n\
             [R +0.02] inb 0x60\n[S +0.03] OK 0x12\n[S +0.04] [R +0.05] clock_step\n",
        );
        assert_eq!(log.requests, ["outl 0xcf8 0x80", "inb 0x60", "clock_step"]);
        assert!(!log.is_trace && log.notes.is_empty());
    }

    /// Would catch memory that is written after the device has fetched it, or in another
    /// order.
    #[test]
    fn a_trace_of_the_fuzzer() {
        let log = read(
            "Starting i386 with Arguments: -M q35 -nodefaults\n[R +0.1] outb 0xc0 0x1\n\
             [DMA] [R +0.2] write 0x10 0x1 0xaa\n[DMA] noise\n[R +0.3] write 0x20 0x1 0xbb\n\
             [R +0.4] outb 0xc0 0x2\n",
        );
        let expected =
            ["write 0x10 0x1 0xaa", "write 0x20 0x1 0xbb", "outb 0xc0 0x1", "outb 0xc0 0x2"];
        assert_eq!(log.requests, expected);
        assert!(log.is_trace && log.notes[0].contains("2 pieces"));
        assert_eq!(log.started, Some(("i386".to_owned(), "-M q35 -nodefaults".to_owned())));
    }

    /// Would catch a last request that was cut and makes QEMU abort.
    #[test]
    fn a_log_that_was_cut() {
        let log = read("[R +0.1] outb 0xc0 0x1\n[R +0.2] outb 0xc\n");
        assert_eq!(log.requests, ["outb 0xc0 0x1"]);
        assert!(log.notes[0].contains("1 requests"));
    }
}
