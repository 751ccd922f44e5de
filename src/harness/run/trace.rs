//! What each worker did when, for Chrome's trace viewers (`chrome://tracing`, Perfetto): waiting
//! for QEMU's start, resets, attaching, tests, QEMU's end. The format is that of the "Trace
//! Event Format" document of the Chromium project.
//!
//! A worker's thread says once to which trace it belongs; [`note`] and [`span`] then note what
//! it does, and cost next to nothing where nobody wants a trace.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use serde_json::{Value, json};

use crate::shown::shown;

/// How many events are kept, so that a run of days does not fill the memory.
const MOST_EVENTS: usize = 1 << 20;

/// What was done when.
#[derive(Debug)]
pub struct Trace {
    begun: Instant,
    events: Mutex<Vec<Event>>,
}

/// One thing that was done.
#[derive(Debug)]
struct Event {
    worker: usize,
    kind: &'static str,
    name: String,
    begun: Instant,
    ended: Instant,
    outcome: Option<&'static str>,
}

thread_local! {
    /// The trace of the worker that this thread is, and its number.
    static CURRENT: RefCell<Option<(Arc<Trace>, usize)>> = const { RefCell::new(None) };
}

impl Default for Trace {
    /// A trace that begins now.
    fn default() -> Self {
        Self { begun: Instant::now(), events: Mutex::default() }
    }
}

/// From now on, what this thread does is noted in `trace` as done by worker `worker`.
pub(crate) fn enter(trace: Option<Arc<Trace>>, worker: usize) {
    CURRENT.set(trace.map(|trace| (trace, worker)));
}

/// Notes something of this kind that this thread has done; `name` says what, if anybody wants
/// to know.
pub(crate) fn note(
    kind: &'static str,
    name: impl FnOnce() -> String,
    (begun, ended): (Instant, Instant),
    outcome: Option<&'static str>,
) {
    CURRENT.with_borrow(|current| {
        let Some((trace, worker)) = current else { return };
        let event = Event { worker: *worker, kind, name: name(), begun, ended, outcome };
        let mut events = trace.events.lock().unwrap_or_else(PoisonError::into_inner);
        if events.len() < MOST_EVENTS {
            events.push(event);
        }
    });
}

/// Does `what`, and notes it as something of this kind.
pub(crate) fn span<T>(
    kind: &'static str,
    name: impl FnOnce() -> String,
    what: impl FnOnce() -> T,
) -> T {
    let begun = Instant::now();
    let result = what();
    note(kind, name, (begun, Instant::now()), None);
    result
}

impl Trace {
    /// The trace as a file of JSON.
    pub fn json(&self) -> Value {
        let events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        let name = |what: &str, worker: usize, name: &str| json!({"ph": "M", "name": what, "pid": 1, "tid": worker, "args": {"name": name}});
        let mut all = vec![name("process_name", 0, "qgraph")];
        let workers: BTreeSet<usize> = events.iter().map(|event| event.worker).collect();
        let workers = workers.into_iter();
        all.extend(workers.map(|worker| name("thread_name", worker, &format!("worker {worker}"))));
        // In microseconds.
        let at = |time: Instant| time.saturating_duration_since(self.begun).as_secs_f64() * 1e6;
        all.extend(events.iter().map(|event| {
            let (begun, ended) = (at(event.begun), at(event.ended));
            let mut value = json!({
                "ph": "X", "cat": event.kind, "name": shown(&event.name), "pid": 1,
                "tid": event.worker, "ts": begun, "dur": (ended - begun).max(0.0),
            });
            if let Some(word) = event.outcome {
                value["args"] = json!({"outcome": word});
            }
            value
        }));
        json!({"traceEvents": all, "displayTimeUnit": "ms"})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Would catch an event that is lost, of another worker or without its outcome, and one
    /// that is noted although nobody wants it.
    #[test]
    fn what_is_noted() {
        let trace = Arc::new(Trace::default());
        let unwanted = || panic!("nobody wants to know");
        span("test", unwanted, || ());
        enter(Some(trace.clone()), 3);
        assert_eq!(span("start", || "pc".to_owned(), || 7), 7);
        note("test", || "a\u{1b}".to_owned(), (trace.begun, Instant::now()), Some("passed"));
        enter(None, 0);
        span("test", unwanted, || ());
        let json = trace.json();
        let events = json["traceEvents"].as_array().unwrap();
        assert_eq!(events.len(), 4);
        assert_eq!(events[1]["args"]["name"], "worker 3");
        assert_eq!((&events[2]["cat"], &events[2]["name"]), (&json!("start"), &json!("pc")));
        assert_eq!((&events[2]["tid"], &events[2]["args"]), (&json!(3), &Value::Null));
        assert_eq!((&events[3]["name"], &events[3]["ts"]), (&json!("a\u{fffd}"), &json!(0.0)));
        assert_eq!(events[3]["args"]["outcome"], "passed");
        assert!(events[3]["dur"].as_f64().unwrap() >= 0.0);
    }
}
