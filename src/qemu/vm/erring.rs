//! A driver that errs: some of what it writes is something else, and what it reads it takes for
//! what it expected or gives up. QEMU must survive that. Which tests err, and what is said of it,
//! is decided elsewhere.

use std::time::Duration;

use serde_json::Value;

use super::Vm;
use crate::protocol::{self, Spoiler};
use crate::{Error, Result};

/// How long a driver that errs waits for an answer, and for what does not come.
const PATIENCE: Duration = Duration::from_millis(100);
/// How long QEMU may take to answer, or to reset the machine, after that.
const SURVIVAL: Duration = Duration::from_secs(4);

impl Vm {
    /// From now on, some of what is written to registers and guest memory is something else, as
    /// `seed` chooses. Requests may take less long than usual: who errs waits in vain often.
    pub fn err(&self, seed: u64) {
        self.note_lasting("a driver that errs");
        let patience = self.at_its_pace(PATIENCE).min(self.deadline.limit());
        self.deadline.set_limit(patience);
        self.transcript.tap().spoil(Some(Spoiler::new(seed)));
    }

    /// Whether a driver errs now.
    pub fn errs(&self) -> bool {
        self.transcript.tap().spoiled(|_| ()).is_some()
    }

    /// Ends that, looks whether QEMU has survived it, and makes the machine as it was at its
    /// start.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer any more or does not survive the reset.
    pub fn survives(&self) -> Result<()> {
        self.transcript.tap().spoil(None);
        let limit = SURVIVAL.min(self.limits.get().request);
        self.deadline.set_limit(self.at_its_pace(limit));
        // That a write was refused is an error of the driver.
        self.qtest.flush_quietly();
        let context = |e: protocol::Error| Error::from(e).context("after a driver that errs");
        let ask = || self.qmp.execute("query-status", Value::Null);
        if let Err(e) = ask() {
            // A QEMU that was long at something answers when it is asked again.
            let is_late = matches!(e, protocol::Error::Deadline { .. }) && ask().is_ok();
            if !is_late {
                return Err(context(e));
            }
        }
        match self.reset_between() {
            Err(e) if matches!(e.root(), Error::Skipped(_)) => return Ok(()),
            other => other?,
        }
        let state = self.qmp.execute("query-status", Value::Null).map_err(context)?;
        if state["running"] != true {
            self.qmp.execute("cont", Value::Null).map_err(context)?;
        }
        Ok(())
    }
}
