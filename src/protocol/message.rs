//! What a line on the QMP socket says (QEMU's `docs/interop/qmp-spec`). A pure function over
//! bytes, which takes what it needs and overlooks what it does not know: QEMUs differ.

use std::fmt;
use std::time::Duration;

use serde_json::{Map, Value};

/// Which QEMU it is, as it says when connected to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Greeting {
    /// The first number of the version.
    pub major: u32,
    /// The second number of the version.
    pub minor: u32,
    /// The third number of the version.
    pub micro: u32,
    /// What the packager added, such as `Debian 1:7.2+dfsg-7`; often empty.
    pub package: String,
}

impl Greeting {
    /// Whether this QEMU is `major.minor` or later.
    pub fn at_least(&self, major: u32, minor: u32) -> bool {
        (self.major, self.minor) >= (major, minor)
    }
}

impl fmt::Display for Greeting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.micro)?;
        if !self.package.is_empty() {
            write!(f, " ({})", self.package)?;
        }
        Ok(())
    }
}

/// Something that QEMU tells without being asked.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// Its name, such as `DEVICE_DELETED`.
    pub name: String,
    /// What it says about itself; `Value::Null` if nothing.
    pub data: Value,
    /// When it happened, since 1970; `None` if QEMU could not tell.
    pub timestamp: Option<Duration>,
}

/// Any message of QEMU.
#[derive(Debug, Clone, PartialEq)]
pub enum Message {
    /// The first message of a connection.
    Greeting(Greeting),
    /// An event.
    Event(Event),
    /// A command's reply.
    Reply {
        /// Which command's; `None` if QEMU could not read so far.
        id: Option<u64>,
        /// What it returned, or why it failed.
        result: Result<Value, Failure>,
    },
}

/// Why a command failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The error class, such as `GenericError`.
    pub class: String,
    /// The description, for people.
    pub desc: String,
}

impl Message {
    /// Reads a message; `None` if it is not one.
    pub fn parse(line: &[u8]) -> Option<Self> {
        let mut object: Map<String, Value> = serde_json::from_slice(line).ok()?;
        let id = object.get("id").and_then(Value::as_u64);
        if let Some(value) = object.remove("return") {
            let result = Ok(value);
            return Some(Message::Reply { id, result });
        }
        if let Some(error) = object.get("error") {
            let text = |key| error.get(key).and_then(Value::as_str);
            let failure =
                Failure { class: text("class")?.to_string(), desc: text("desc")?.to_string() };
            let result = Err(failure);
            return Some(Message::Reply { id, result });
        }
        if let Some(Value::String(name)) = object.remove("event") {
            return Some(Message::Event(Event {
                name,
                data: object.remove("data").unwrap_or(Value::Null),
                timestamp: object.get("timestamp").and_then(timestamp),
            }));
        }
        let version = object.get("QMP")?.get("version")?;
        let number = |key| {
            let number = version.get("qemu")?.get(key)?.as_u64()?;
            u32::try_from(number).ok()
        };
        let package = version.get("package").and_then(Value::as_str);
        Some(Message::Greeting(Greeting {
            major: number("major")?,
            minor: number("minor")?,
            micro: number("micro")?,
            package: package.unwrap_or_default().trim().to_string(),
        }))
    }
}

/// Both numbers are -1 when QEMU could not tell the time.
fn timestamp(value: &Value) -> Option<Duration> {
    let seconds = value.get("seconds")?.as_u64()?;
    let microseconds = value.get("microseconds")?.as_u64()?;
    Duration::from_secs(seconds).checked_add(Duration::from_micros(microseconds))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    /// Catches a version read wrongly, and a strict reader that fails on what it does not know.
    #[test]
    fn greetings_old_and_new() {
        let old = br#"{"QMP": {"version": {"qemu": {"micro": 0, "minor": 2, "major": 5}, "package": ""}, "capabilities": ["oob"]}}"#;
        let new = br#"{"new": [], "QMP": {"version": {"package": " (Debian 1:7.2+dfsg-7)", "qemu": {"micro": 22, "minor": 2, "major": 7, "nano": 1}}}}"#;
        let Some(Message::Greeting(old)) = Message::parse(old) else {
            panic!("no greeting");
        };
        assert_eq!(old.to_string(), "5.2.0");
        assert!(old.at_least(5, 2) && old.at_least(4, 9) && !old.at_least(5, 3));
        let Some(Message::Greeting(new)) = Message::parse(new) else {
            panic!("no greeting");
        };
        assert_eq!((new.major, new.minor, new.micro), (7, 2, 22));
        assert_eq!(new.package, "(Debian 1:7.2+dfsg-7)");
    }

    /// Catches replies whose number, value or failure is lost.
    #[test]
    fn replies() {
        let reply = |id, result| Some(Message::Reply { id, result });
        assert_eq!(Message::parse(br#"{"return": {}, "id": 7}"#), reply(Some(7), Ok(json!({}))));
        assert_eq!(Message::parse(br#"{"return": null}"#), reply(None, Ok(Value::Null)));
        let failure = Failure {
            class: "CommandNotFound".into(),
            desc: "The command x has not been found".into(),
        };
        assert_eq!(
            Message::parse(br#"{"id": 8, "error": {"class": "CommandNotFound", "desc": "The command x has not been found"}}"#),
            reply(Some(8), Err(failure))
        );
    }

    /// Catches events whose data or time is lost, or invented.
    #[test]
    fn events() {
        let event = |name: &str, data, timestamp| {
            let name = name.to_string();
            Some(Message::Event(Event { name, data, timestamp }))
        };
        assert_eq!(
            Message::parse(br#"{"timestamp": {"seconds": 2, "microseconds": 500000}, "event": "RESET", "data": {"guest": false}}"#),
            event("RESET", json!({"guest": false}), Some(Duration::from_millis(2500)))
        );
        assert_eq!(
            Message::parse(
                br#"{"event": "STOP", "timestamp": {"seconds": -1, "microseconds": -1}}"#
            ),
            event("STOP", Value::Null, None)
        );
    }

    proptest! {
        /// Catches a panic on any line, be it JSON or not.
        #[test]
        fn no_line_panics(line: Vec<u8>) {
            let _ = Message::parse(&line);
        }

        /// Catches a panic on members of unexpected types.
        #[test]
        fn no_json_panics(
            key in "(QMP|event|return|error|id|timestamp)", inner in "(version|class|seconds)",
            value in "(1|-1|\"a\"|null|\\[\\]|\\{\\}|1e99|18446744073709551615)",
        ) {
            for line in [
                format!("{{\"{key}\": {value}, \"event\": \"X\"}}"),
                format!("{{\"{key}\": {{\"{inner}\": {value}}}}}"),
            ] {
                let _ = Message::parse(line.as_bytes());
            }
        }
    }
}
