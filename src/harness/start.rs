//! Why a QEMU did not start, in one line: whether it refused its command line, crashed or
//! hung, and whether two starts failed for the same cause.

use std::sync::Arc;

use crate::harness::diagnose::{diagnose, without_registers};
use crate::harness::outcome::Verdict;
use crate::protocol;
use crate::qemu::discovery::bare_machine;
use crate::qemu::{Emulator, LaunchError, Limits, RamSpec, Vm};

/// A start that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NoStart {
    /// What becomes of a path whose QEMU it was.
    pub verdict: Verdict,
    /// The same text for the same cause.
    pub cause: String,
    /// The last lines on the sockets.
    pub transcript: String,
    /// What QEMU wrote to standard error and output.
    pub output: String,
}

/// The longest cause, in characters.
const MOST_CHARACTERS: usize = 300;

impl From<LaunchError> for NoStart {
    fn from(error: LaunchError) -> Self {
        let message = error.to_string();
        let LaunchError::NoGreeting { ending, protocol, transcript, output, .. } = error else {
            let transcript = String::new();
            let (verdict, output) = match error {
                LaunchError::Backend { output, .. } => (Verdict::Failed(message.clone()), output),
                LaunchError::Unavailable { .. } => {
                    (Verdict::Skipped(message.clone()), String::new())
                }
                _ => (Verdict::Failed(message.clone()), String::new()),
            };
            return Self { verdict, cause: message, transcript, output };
        };
        let fault = diagnose(&output);
        let (verdict, cause) = match (ending, *protocol) {
            (Some(ending), _) if ending.is_own_exit() && fault.is_none() => {
                let said = said(&output);
                let what = match said {
                    Some(said) => format!("{said} (it {ending})"),
                    None => format!("it {ending} without a word"),
                };
                let why = format!("QEMU did not start, it refused its command line: {what}");
                (Verdict::Failed(why), without_numbers_of_files(&what))
            }
            (Some(ending), _) => {
                let fault = fault.map_or(String::new(), |fault| format!(": {}", fault.summary));
                (Verdict::Crashed(message), format!("it {}{fault}", ending.without_core()))
            }
            (None, protocol::Error::Closed { .. }) => {
                (Verdict::Crashed(message), "it closed its connections".to_owned())
            }
            (None, protocol::Error::Deadline { .. }) => {
                (Verdict::Hung(message), "it gave no answer".to_owned())
            }
            (None, error) => (Verdict::Failed(message), error.to_string()),
        };
        let cause = cause.chars().take(MOST_CHARACTERS).collect();
        Self { verdict, cause, transcript, output: without_registers(&output) }
    }
}

/// Why `machine` does not start on `emulator`, in one line; `None` if it does. A file may be
/// missing that it needs, such as its firmware.
pub(crate) fn trouble(emulator: &Arc<Emulator>, machine: &str) -> Option<String> {
    let version = emulator.capabilities.version;
    let config = bare_machine(machine, version, RamSpec::new(0, 0));
    let started = Vm::launch(emulator, config, Limits::default());
    started.err().map(|e| NoStart::from(e).cause)
}

/// The line in which an emulator says why it does not start: the first that is no warning,
/// without the name of the program in front.
pub(super) fn said(output: &str) -> Option<&str> {
    let is_mark = |c: char| c == '=' || c.is_ascii_digit();
    // A warning goes on in lines that are indented.
    let lines = output.lines().filter(|line| !line.starts_with(' ')).map(str::trim);
    // A sanitizer's begins with `==` and the number of the process.
    let is_warning = |line: &&str| {
        line.contains(": warning: ") || line.trim_start_matches(is_mark).starts_with("WARNING: ")
    };
    let mut lines = lines.filter(|line| !line.is_empty() && !is_warning(line));
    let line = lines.next()?;
    let said = line.split_once(": ").filter(|(program, said)| {
        let is_program = program.contains("qemu-system-") || *program == "qemu";
        is_program && !program.contains(' ') && !said.is_empty()
    });
    Some(said.map_or(line, |(_, said)| said))
}

/// The text without the numbers of inherited files, which differ from start to start.
fn without_numbers_of_files(text: &str) -> String {
    let mut parts = text.split("fd=");
    let mut same = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        same.push_str("fd=…");
        same.push_str(part.trim_start_matches(|c: char| c.is_ascii_digit()));
    }
    same
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Would catch a warning, or the name of the program, told as the cause; and one cause
    /// taken for two because a file had another number.
    #[test]
    fn the_cause_in_one_line() {
        let output = "qemu-system-arm: warning: nic x has no peer\n\
                      /opt/q/qemu-system-arm: -device foo: 'foo' is not a valid device model name\n\
                      Try -help.\n";
        assert_eq!(said(output), Some("-device foo: 'foo' is not a valid device model name"));
        assert_eq!(said("cannot find the firmware: x\n"), Some("cannot find the firmware: x"));
        assert_eq!(said("qemu: could not load PC BIOS 'x'\n"), Some("could not load PC BIOS 'x'"));
        let output = "==17789==WARNING: ASan doesn't fully support makecontext/swapcontext\n\
                      qemu: could not load PC BIOS 'x'\n";
        assert_eq!(said(output), Some("could not load PC BIOS 'x'"));
        assert_eq!(said("\n"), None);
        assert_eq!(
            without_numbers_of_files("-chardev socket,id=a,fd=12: fd=7 is no socket"),
            "-chardev socket,id=a,fd=…: fd=… is no socket"
        );
    }
}
