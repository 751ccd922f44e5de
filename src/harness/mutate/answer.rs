//! What requests ask and answers say: the lines on the sockets, taken apart as far as is needed
//! to change an answer and to put it together again.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::protocol::answer::{Edge, edge, number as register};

/// Where an answer comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Source {
    /// An answer on the qtest socket.
    Qtest,
    /// An interrupt line that is intercepted.
    Interrupt,
    /// The reply to a QMP command.
    Reply,
    /// A QMP event.
    Event,
    /// Mapped guest memory.
    Memory,
    /// An image.
    Image,
}

/// What an answer says.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Content {
    /// A register of so many bits.
    Number { value: u64, bits: u32 },
    /// Memory, or a piece of an image.
    Bytes(Vec<u8>),
    /// A QMP message, without its number and time.
    Message(Value),
    /// A change of an interrupt line.
    Edge { line: u32, raised: bool },
}

impl Content {
    /// As bytes, for looking at which bits differ.
    pub fn bytes(&self) -> Option<Vec<u8>> {
        match self {
            Self::Number { value, .. } => Some(value.to_le_bytes().to_vec()),
            Self::Bytes(bytes) => Some(bytes.clone()),
            Self::Message(_) | Self::Edge { .. } => None,
        }
    }
}

impl std::fmt::Display for Content {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        match self {
            Self::Number { value, bits } => {
                write!(f, "{value:#0width$x}", width = 2 + *bits as usize / 4)
            }
            Self::Bytes(bytes) => {
                const MOST: usize = 16;
                f.write_str(&hex::encode(&bytes[..bytes.len().min(MOST)]))?;
                if bytes.len() > MOST { write!(f, "… ({} bytes)", bytes.len()) } else { Ok(()) }
            }
            Self::Message(message) => {
                let text = message.to_string();
                let head: String = text.chars().take(120).collect();
                write!(f, "{head}{}", if head.len() < text.len() { "…" } else { "" })
            }
            Self::Edge { line, raised: true } => write!(f, "line {line} raised"),
            Self::Edge { line, raised: false } => write!(f, "line {line} lowered"),
        }
    }
}

/// What a request is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Access {
    /// A read of what is at `place`.
    Read { place: String, expects: Expects },
    /// A write to `place`.
    Write { place: String, content: Content },
    /// Changes nothing that is tested: it steps the clock to the next timer, or selects what
    /// the next access is about.
    Aside,
    /// Anything else.
    Other,
}

/// What the answer to a request looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Expects {
    Number { bits: u32 },
    Hex,
    Base64,
    Message,
}

/// A request on either socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Request {
    /// What was asked, the same in every run.
    pub text: String,
    pub access: Access,
}

/// Takes requests apart. Remembers what PCI configuration mechanism #1 (PCI 3.0, 3.2.2.3.2) has
/// selected, without which an access to its data port says nothing.
#[derive(Default)]
pub(super) struct Requests {
    config_address: String,
}

/// Bits of an access, by the last letter of its command.
fn bits(command: &str) -> Option<u32> {
    Some(match command.as_bytes().last()? {
        b'b' => 8,
        b'w' => 16,
        b'l' => 32,
        b'q' => 64,
        _ => return None,
    })
}

fn number(word: &str) -> Option<u64> {
    match word.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => word.parse().ok(),
    }
}

/// How memory is called as a place, mapped or not.
pub(super) fn memory_place(address: u64, length: usize) -> String {
    format!("memory {address:#x} {length:#x}")
}

impl Requests {
    /// A line on the qtest socket.
    pub fn qtest(&mut self, line: &[u8]) -> Request {
        let mut text = String::from_utf8_lossy(line).into_owned();
        let words: Vec<&str> = text.split(' ').collect();
        let command = words[0];
        let at = words.get(1).copied().unwrap_or_default();
        let is_config = matches!(number(at), Some(0xcfc..=0xcff));
        let access = match command {
            "outl" if at == "0xcf8" => {
                self.config_address = words.get(2).copied().unwrap_or_default().to_owned();
                Access::Aside
            }
            "inb" | "inw" | "inl" | "outb" | "outw" | "outl" | "readb" | "readw" | "readl"
            | "readq" | "writeb" | "writew" | "writel" | "writeq" => {
                let bits = bits(command).unwrap_or(64);
                let is_port = command.starts_with(['i', 'o']);
                let space = if is_port { "port" } else { "address" };
                let mut place = format!("{space} {at} of {bits} bits");
                if is_port && is_config {
                    place.push_str(&format!(", configuration {}", self.config_address));
                }
                match words.get(2).and_then(|word| number(word)) {
                    Some(value) => {
                        Access::Write { place, content: Content::Number { value, bits } }
                    }
                    None => Access::Read { place, expects: Expects::Number { bits } },
                }
            }
            "read" | "b64read" | "write" | "b64write" => {
                let length = words.get(2).and_then(|word| number(word)).unwrap_or(0) as usize;
                let place = memory_place(number(at).unwrap_or(0), length);
                let data = words.get(3).copied().unwrap_or_default();
                match command {
                    "read" => Access::Read { place, expects: Expects::Hex },
                    "b64read" => Access::Read { place, expects: Expects::Base64 },
                    "write" => {
                        let data = hex::decode(data.trim_start_matches("0x")).unwrap_or_default();
                        Access::Write { place, content: Content::Bytes(data) }
                    }
                    _ => {
                        let data = STANDARD.decode(data).unwrap_or_default();
                        Access::Write { place, content: Content::Bytes(data) }
                    }
                }
            }
            // The status of a hypercall.
            "rtas" => Access::Read { place: text.clone(), expects: Expects::Number { bits: 32 } },
            "clock_step" if words.len() == 1 => Access::Aside,
            "endianness" => Access::Aside,
            _ => Access::Other,
        };
        if is_config && command.starts_with(['i', 'o']) {
            text.push_str(&format!(", configuration {}", self.config_address));
        }
        Request { text, access }
    }

    /// A line on the QMP socket, and the number of the command.
    pub fn qmp(&mut self, line: &[u8]) -> Option<(u64, Request)> {
        let mut message: Value = serde_json::from_slice(line).ok()?;
        let id = message.as_object_mut()?.remove("id")?.as_u64()?;
        let command = message["execute"].as_str().unwrap_or_default().to_owned();
        let arguments = &message["arguments"];
        let text = if arguments.is_null() { command } else { format!("{command} {arguments}") };
        let access = Access::Read { place: text.clone(), expects: Expects::Message };
        Some((id, Request { text, access }))
    }
}

/// Whether a QMP command only asks.
pub(super) fn only_asks(text: &str) -> bool {
    ["query-", "qom-get", "qom-list"].iter().any(|prefix| text.starts_with(prefix))
}

/// What an answer on the qtest socket says, if there is something to change in it.
pub(super) fn answer(expects: Expects, line: &[u8]) -> Option<Content> {
    let text = std::str::from_utf8(line).ok()?.strip_prefix("OK ")?;
    match expects {
        Expects::Number { bits } => {
            Some(Content::Number { value: register(line, u64::MAX).ok()?, bits })
        }
        Expects::Hex => hex::decode(text.strip_prefix("0x")?).ok().map(Content::Bytes),
        Expects::Base64 => STANDARD.decode(text).ok().map(Content::Bytes),
        Expects::Message => None,
    }
}

/// What a line about an interrupt says.
pub(super) fn interrupt(line: &[u8]) -> Option<Content> {
    edge(line).map(|Edge { line, raised }| Content::Edge { line, raised })
}

/// A line on the qtest socket that says `content`, as an answer to what `expects` it.
pub(super) fn qtest_line(content: &Content, expects: Option<Expects>) -> Vec<u8> {
    let text = match (content, expects) {
        (Content::Bytes(bytes), Some(Expects::Hex)) => format!("OK 0x{}", hex::encode(bytes)),
        (Content::Bytes(bytes), _) => format!("OK {}", STANDARD.encode(bytes)),
        (Content::Edge { line, raised }, _) => {
            format!("IRQ {} {line}", if *raised { "raise" } else { "lower" })
        }
        (Content::Number { value, .. }, _) => format!("OK {value:#018x}"),
        // No answer of qtest is one.
        (Content::Message(_), _) => "OK".to_owned(),
    };
    text.into_bytes()
}

/// A message on the QMP socket: what it says, its number, and its time.
pub(super) struct QmpLine {
    pub content: Value,
    pub id: Option<u64>,
    pub timestamp: Option<Value>,
}

impl QmpLine {
    /// Takes a line apart.
    pub fn parse(line: &[u8]) -> Option<Self> {
        let mut content: Value = serde_json::from_slice(line).ok()?;
        let members = content.as_object_mut()?;
        let id = members.remove("id").and_then(|id| id.as_u64());
        let timestamp = members.remove("timestamp");
        Some(Self { content, id, timestamp })
    }

    /// The same line saying something else.
    pub fn saying(&self, content: &Value) -> Vec<u8> {
        let mut message = content.clone();
        if let Some(id) = self.id {
            message["id"] = json!(id);
        }
        if let Some(timestamp) = &self.timestamp {
            message["timestamp"] = timestamp.clone();
        }
        message.to_string().into_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Would catch an answer that is not understood, or that changes when it is only written
    /// down again.
    #[test]
    fn an_answer_survives_being_taken_apart() {
        let mut requests = Requests::default();
        for (request, line, shown) in [
            ("readw 0x10", "OK 0x000000000000beef", "0xbeef"),
            ("inb 0x3f8", "OK 0x0000000000000001", "0x01"),
            ("read 0x10 0x2", "OK 0x01fe", "01fe"),
            ("b64read 0x10 0x4", "OK AP4D/w==", "00fe03ff"),
        ] {
            let Access::Read { expects, .. } = requests.qtest(request.as_bytes()).access else {
                panic!("{request} reads")
            };
            let content = answer(expects, line.as_bytes()).expect(line);
            assert_eq!(content.to_string(), shown);
            assert_eq!(qtest_line(&content, Some(expects)), line.as_bytes());
        }
        let raised = interrupt(b"IRQ raise 7").expect("an interrupt");
        assert_eq!(qtest_line(&raised, None), b"IRQ raise 7");
    }

    /// Would catch changes to what only keeps the streams in step.
    #[test]
    fn what_only_keeps_step_is_no_answer() {
        let mut requests = Requests::default();
        for request in ["endianness", "clock_step", "outl 0xcf8 0x80000000"] {
            assert_eq!(requests.qtest(request.as_bytes()).access, Access::Aside, "{request}");
        }
        for request in ["clock_step 100", "clock_set 5", "irq_intercept_in /machine"] {
            assert_eq!(requests.qtest(request.as_bytes()).access, Access::Other, "{request}");
        }
        let expects = Expects::Number { bits: 8 };
        for line in ["OK", "FAIL Unknown command", "ERR 0x1"] {
            assert_eq!(answer(expects, line.as_bytes()), None);
        }
    }

    /// Would catch a read-modify-write that is taken for two registers, and two registers
    /// behind one port taken for one.
    #[test]
    fn places() {
        let mut requests = Requests::default();
        let mut place = |line: &str| match requests.qtest(line.as_bytes()).access {
            Access::Read { place, .. } | Access::Write { place, .. } => place,
            other => format!("{other:?}"),
        };
        assert_eq!(place("readl 0x10"), place("writel 0x10 0x5"));
        assert_ne!(place("readl 0x10"), place("writew 0x10 0x5"));
        assert_ne!(place("inl 0x10"), place("readl 0x10"));
        assert_eq!(place("b64read 0x10 0x3"), memory_place(0x10, 3));
        place("outl 0xcf8 0x80000004");
        let command = place("inw 0xcfc");
        assert_eq!(command, place("outw 0xcfc 0x7"));
        place("outl 0xcf8 0x80000010");
        assert_ne!(command, place("inw 0xcfc"));
    }

    /// Would catch a changed reply that belongs to no command, and requests that are taken
    /// for different ones because of their numbers.
    #[test]
    fn qmp_lines_keep_number_and_time() {
        let mut requests = Requests::default();
        let sent = |id| format!(r#"{{"execute": "qom-get", "arguments": {{"a": 1}}, "id": {id}}}"#);
        let (first, one) = requests.qmp(sent(3).as_bytes()).expect("a command");
        let (second, other) = requests.qmp(sent(4).as_bytes()).expect("a command");
        assert_eq!((first, second), (3, 4));
        assert_eq!(one, other);
        let line = QmpLine::parse(br#"{"return": 5, "id": 3}"#).expect("a reply");
        assert_eq!(line.content, json!({"return": 5}));
        assert_eq!(line.saying(&json!({"return": 6})), br#"{"id":3,"return":6}"#);
    }
}
