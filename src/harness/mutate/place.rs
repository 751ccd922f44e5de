//! Where in the sources a request was made. A run notes return addresses only; files and lines
//! are looked up for the few that somebody is told of.

use std::path::Path;

use crate::harness::outcome::here;

/// The calls that led to a request: return addresses, the innermost first.
#[derive(Default)]
pub(super) struct Trace(Vec<usize>);

/// Where a request was made.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    /// Lines of the test's file, `FILE:LINE`, the innermost first.
    pub test: Vec<String>,
    /// The innermost line of a driver or of what drivers share.
    pub driver: Option<String>,
}

/// Files of drivers, and of what they share, that only pass on what was asked for.
const PASS_ON: [&str; 5] = [
    "src/qos/registers.rs",
    "src/qos/wait.rs",
    "src/qos/pci/bar.rs",
    "src/qos/pci/function.rs",
    "src/drivers/pci_bus_",
];

impl Trace {
    /// The calls that are going on.
    pub fn here() -> Self {
        let mut addresses = Vec::new();
        backtrace::trace(|frame| {
            addresses.push(frame.ip() as usize);
            true
        });
        Self(addresses)
    }

    /// The lines, `test_file` being the file of the test.
    pub fn place(&self, test_file: Option<&str>) -> Place {
        let mut place = Place::default();
        for &address in &self.0 {
            backtrace::resolve(address as *mut _, |symbol| {
                if let (Some(file), Some(line)) = (symbol.filename(), symbol.lineno()) {
                    place.add(file, line, test_file);
                }
            });
        }
        // The outermost is that where the test is declared.
        if place.test.len() > 1 {
            place.test.pop();
        }
        place
    }
}

impl Place {
    fn add(&mut self, file: &Path, line: u32, test_file: Option<&str>) {
        let text = file.to_string_lossy();
        let own = text.find("/src/").map_or(&*text, |at| &text[at + 1..]);
        if test_file.is_some_and(|test| file.ends_with(test) || Path::new(test).ends_with(file)) {
            let line = format!("{}:{line}", here(&text));
            if self.test.last() != Some(&line) {
                self.test.push(line);
            }
        } else if self.test.is_empty()
            && self.driver.is_none()
            && ["src/qos/", "src/drivers/", "src/machines/"].iter().any(|it| own.starts_with(it))
            && !PASS_ON.iter().any(|it| own.starts_with(it))
        {
            self.driver = Some(format!("{own}:{line}"));
        }
    }
}
