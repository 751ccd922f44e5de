//! The interrupt part of the qtest client: intercepting lines, what they did since, and setting
//! them. QEMU reports every change at once, between answers, so no pulse is lost.

use super::Result;
use super::answer::{self, Edge};
use super::qtest::{Qtest, check_words, put};

/// What is known of every intercepted line.
#[derive(Default)]
pub(super) struct Irqs {
    lines: Vec<Irq>,
    /// The requests by which lines were intercepted, in order.
    intercepts: Vec<String>,
}

#[derive(Default, Clone, Copy)]
struct Irq {
    level: bool,
    raised: u64,
    lowered: u64,
}

impl Irqs {
    pub(super) fn note(&mut self, edge: Edge) {
        // `answer::edge` bounds the number.
        let index = edge.line as usize;
        if index >= self.lines.len() {
            self.lines.resize(index + 1, Irq::default());
        }
        let irq = &mut self.lines[index];
        if edge.raised && !irq.level {
            irq.raised += 1;
        } else if !edge.raised && irq.level {
            irq.lowered += 1;
        }
        irq.level = edge.raised;
    }

    fn get(&self, line: u32) -> Irq {
        let irq = self.lines.get(line as usize);
        irq.copied().unwrap_or_default()
    }
}

/// Interrupts. QEMU intercepts the lines of one device in its life, inputs or outputs: a second
/// device is refused, and so nothing else of the same device can be intercepted, although QEMU
/// answers `OK` to that. It aborts if a QOM path is that of something other than a device.
///
/// Inputs that are intercepted still reach the device. Outputs that are intercepted reach their
/// destination up to QEMU 11.0; from 11.1 on they are reported and nothing else. A suite that
/// needs both, the report and what the line brings about, intercepts the inputs of the device
/// at the line's other end.
impl Qtest {
    /// Has QEMU report the unnamed interrupt inputs of the device at `qom_path`.
    ///
    /// # Errors
    /// [`Error::Refused`](super::Error::Refused) if there is no such device, it has no such
    /// lines, or another's are intercepted; [`Error::Argument`](super::Error::Argument) if the
    /// path has a space in it.
    pub fn irq_intercept_in(&self, qom_path: &str) -> Result<()> {
        self.intercept("irq_intercept_in", &[qom_path])
    }

    /// Has QEMU report the unnamed interrupt outputs of the device at `qom_path`, which from
    /// QEMU 11.1 on lead nowhere any more.
    ///
    /// # Errors
    /// As for [`irq_intercept_in`](Self::irq_intercept_in).
    pub fn irq_intercept_out(&self, qom_path: &str) -> Result<()> {
        self.intercept("irq_intercept_out", &[qom_path])
    }

    /// Has QEMU report the outputs called `gpio_name` of the device at `qom_path`, such as
    /// `sysbus-irq`.
    ///
    /// QEMUs before 8.2 overlook the name and intercept the unnamed outputs: ask the version
    /// before.
    ///
    /// # Errors
    /// As for [`irq_intercept_in`](Self::irq_intercept_in).
    pub fn irq_intercept_out_named(&self, qom_path: &str, gpio_name: &str) -> Result<()> {
        self.intercept("irq_intercept_out", &[qom_path, gpio_name])
    }

    fn intercept(&self, command: &str, words: &[&str]) -> Result<()> {
        let text = format!("{command} {}", words.join(" "));
        check_words(&text, words)?;
        self.note_lasting("irq_intercept");
        self.ask(|out| put(out, format_args!("{text}")), answer::nothing)?;
        self.inner.borrow_mut().irqs.intercepts.push(text);
        Ok(())
    }

    /// Sets the input `number` of the lines called `gpio_name` (`unnamed-gpio-in` for those
    /// without a name) of the device at `qom_path` to `level`: 0 is low, 1 high.
    ///
    /// # Errors
    /// [`Error::Refused`](super::Error::Refused) if there is no such device. QEMU aborts if the
    /// device has no such line.
    pub fn set_irq_in(
        &self,
        qom_path: &str,
        gpio_name: &str,
        number: u32,
        level: i32,
    ) -> Result<()> {
        let text = format!("set_irq_in {qom_path} {gpio_name} {number} {level}");
        check_words(&text, &[qom_path, gpio_name])?;
        self.note_lasting("set_irq_in");
        self.ask(|out| put(out, format_args!("{text}")), answer::nothing)
    }

    /// The level of an intercepted line, as far as reports have been read: those of a request's
    /// own doing come before its answer; for others see [`poll_irqs`](Self::poll_irqs).
    pub fn irq_level(&self, line: u32) -> bool {
        self.flush_quietly();
        self.inner.borrow().irqs.get(line).level
    }

    /// How often an intercepted line was raised since the intercept, as far as reports have
    /// been read.
    pub fn irq_raised(&self, line: u32) -> u64 {
        self.flush_quietly();
        self.inner.borrow().irqs.get(line).raised
    }

    /// How often an intercepted line was lowered since the intercept, as far as reports have
    /// been read.
    pub fn irq_lowered(&self, line: u32) -> u64 {
        self.flush_quietly();
        self.inner.borrow().irqs.get(line).lowered
    }

    /// Sets the counts of all lines back to zero, and keeps their levels.
    pub fn reset_irq_counts(&self) {
        self.flush_quietly();
        for irq in &mut self.inner.borrow_mut().irqs.lines {
            (irq.raised, irq.lowered) = (0, 0);
        }
    }

    /// Reads the reports that have come, without waiting for more.
    ///
    /// # Errors
    /// [`Error::Closed`](super::Error::Closed) if QEMU has closed the connection,
    /// [`Error::Garbled`](super::Error::Garbled) if it sent something else.
    pub fn poll_irqs(&self) -> Result<()> {
        self.flush()?;
        self.inner.borrow_mut().take_arrived()
    }

    /// The device whose inputs are intercepted, if a device's are.
    fn inputs_of(&self) -> Option<String> {
        let first = self.inner.borrow().irqs.intercepts.first().cloned()?;
        first.strip_prefix("irq_intercept_in ").map(str::to_owned)
    }

    fn high_lines(&self) -> Vec<u32> {
        let lines = &self.inner.borrow().irqs.lines;
        (0..).zip(lines).filter(|(_, irq)| irq.level).map(|(line, _)| line).collect()
    }

    /// Whether an intercepted output is high. No other QEMU can be told so.
    pub(crate) fn has_high_output(&self) -> bool {
        self.inputs_of().is_none() && !self.high_lines().is_empty()
    }

    /// Makes what reports lines in another QEMU, to which the machine of this one is about to
    /// move, report them as this one does: a QEMU tells changes only, and takes for granted that
    /// all lines are low at its start.
    ///
    /// # Errors
    /// As for [`irq_intercept_in`](Self::irq_intercept_in).
    pub(super) fn hand_lines_to(&self, other: &Self) -> Result<()> {
        let intercepts = self.inner.borrow().irqs.intercepts.clone();
        for text in &intercepts {
            other.ask(|out| put(out, format_args!("{text}")), answer::nothing)?;
        }
        for (device, line) in self
            .inputs_of()
            .iter()
            .flat_map(|device| self.high_lines().into_iter().map(move |line| (device, line)))
        {
            other.set_irq_in(device, "unnamed-gpio-in", line, 1)?;
        }
        Ok(())
    }
}
