//! What can be changed in an answer: pure functions from what it says to what it might say.

use fastrand::Rng;
use serde_json::{Value, json};

use super::answer::{Content, Source};
use super::record::Answer;

/// One change of one answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Change {
    /// In words.
    pub name: String,
    pub what: What,
}

/// What becomes of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum What {
    /// It says something else.
    Becomes(Content),
    /// It does not come.
    Lost,
    /// It comes twice.
    Doubled,
    /// It comes an answer too early.
    Early,
}

/// All changes of `answer` that are worth a try, none twice. Which bit, byte or member is
/// changed is up to `rng`; `every_bit` of a register is, if wanted.
pub(super) fn changes(answer: &Answer, rng: &mut Rng, every_bit: bool) -> Vec<Change> {
    let mut changes = Changes { original: &answer.content, changes: Vec::new() };
    match &answer.content {
        Content::Number { value, bits } => changes.number(*value, *bits, rng, every_bit),
        Content::Bytes(bytes) => changes.bytes(bytes, rng),
        Content::Message(message) => changes.message(message, rng),
        Content::Edge { .. } => {}
    }
    if let Some(before) = &answer.before
        && matches!(answer.source, Source::Qtest | Source::Reply | Source::Memory | Source::Image)
    {
        changes.add("the value read before", before.clone());
    }
    let mut changes = changes.changes;
    if matches!(answer.source, Source::Interrupt | Source::Event) {
        changes.push(Change { name: "lost".to_owned(), what: What::Lost });
        changes.push(Change { name: "doubled".to_owned(), what: What::Doubled });
        if answer.previous.is_some() {
            changes.push(Change { name: "early".to_owned(), what: What::Early });
        }
    }
    changes
}

struct Changes<'a> {
    original: &'a Content,
    changes: Vec<Change>,
}

impl Changes<'_> {
    fn add(&mut self, name: impl Into<String>, content: Content) {
        let what = What::Becomes(content);
        let is_new = self.changes.iter().all(|change| change.what != what);
        if is_new && what != What::Becomes(self.original.clone()) {
            self.changes.push(Change { name: name.into(), what });
        }
    }

    fn number(&mut self, value: u64, bits: u32, rng: &mut Rng, every_bit: bool) {
        let mask = u64::MAX >> (64 - bits.clamp(1, 64));
        let number = |value: u64| Content::Number { value: value & mask, bits };
        let one = rng.u32(..bits);
        let up = rng.bool();
        for bit in if every_bit { 0..bits } else { one..one + 1 } {
            self.add(format!("bit {bit} flipped"), number(value ^ 1 << bit));
        }
        self.add("zero", number(0));
        self.add("all ones", number(mask));
        let (name, off) = if up {
            ("one more", value.wrapping_add(1))
        } else {
            ("one less", value.wrapping_sub(1))
        };
        self.add(name, number(off));
    }

    fn bytes(&mut self, bytes: &[u8], rng: &mut Rng) {
        if bytes.is_empty() {
            return;
        }
        let bit = rng.u32(..8);
        let up = if rng.bool() { 1 } else { u8::MAX };
        let kinds: [(&str, &dyn Fn(u8) -> u8); 4] = [
            ("a bit flipped", &|byte| byte ^ 1 << bit),
            ("zero", &|_| 0),
            ("all ones", &|_| u8::MAX),
            ("off by one", &|byte| byte.wrapping_add(up)),
        ];
        for (name, kind) in kinds {
            let start = rng.usize(..bytes.len());
            // Where it makes a difference: the next such byte.
            let at = (start..bytes.len()).chain(0..start).find(|&at| kind(bytes[at]) != bytes[at]);
            if let Some(at) = at {
                let mut new = bytes.to_vec();
                new[at] = kind(new[at]);
                self.add(format!("byte {at}: {name}"), Content::Bytes(new));
            }
        }
    }

    fn message(&mut self, message: &Value, rng: &mut Rng) {
        if message.get("error").is_some() {
            let accepted = json!({"return": {}});
            self.add("success instead of an error", Content::Message(accepted));
            return;
        }
        let root = if message.get("event").is_some() { "/data" } else { "/return" };
        let mut leaves = Vec::new();
        if let Some(value) = message.pointer(root) {
            collect(value, root.to_owned(), &mut leaves);
        }
        if leaves.is_empty() {
            return;
        }
        for kind in 0..4 {
            let leaf = &leaves[rng.usize(..leaves.len())];
            let Some(old) = message.pointer(leaf) else { continue };
            let Some((name, new)) = other_value(old, kind, rng) else { continue };
            let mut changed = message.clone();
            if let Some(place) = changed.pointer_mut(leaf) {
                *place = new;
            }
            let leaf = leaf.trim_start_matches(root).trim_start_matches('/');
            let name = if leaf.is_empty() { name } else { format!("{leaf}: {name}") };
            self.add(name, Content::Message(changed));
        }
    }
}

/// The pointers (RFC 6901) to all numbers, texts and truths in `value`.
fn collect(value: &Value, pointer: String, leaves: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                let name = name.replace('~', "~0").replace('/', "~1");
                collect(member, format!("{pointer}/{name}"), leaves);
            }
        }
        Value::Array(items) => {
            for (number, item) in items.iter().enumerate() {
                collect(item, format!("{pointer}/{number}"), leaves);
            }
        }
        Value::Null => {}
        Value::Bool(_) | Value::Number(_) | Value::String(_) => leaves.push(pointer),
    }
}

/// What stands in a message in the place of `old`, and how that is called.
fn other_value(old: &Value, kind: u32, rng: &mut Rng) -> Option<(String, Value)> {
    let (name, new) = match old {
        Value::Bool(truth) => ((!truth).to_string(), json!(!truth)),
        Value::String(text) if kind == 0 => {
            ("a character changed".to_owned(), json!(with_other_character(text, rng)))
        }
        Value::String(_) => ("empty".to_owned(), json!("")),
        Value::Number(number) => match (number.as_i64(), kind) {
            (Some(number), 0) => {
                let bit = rng.u32(..32);
                (format!("bit {bit} flipped"), json!(number ^ 1 << bit))
            }
            (Some(_), 1) => ("zero".to_owned(), json!(0)),
            (Some(number), 2) => ("one more".to_owned(), json!(number.wrapping_add(1))),
            (Some(number), _) => ("one less".to_owned(), json!(number.wrapping_sub(1))),
            (None, 0) => ("zero".to_owned(), json!(0)),
            (None, _) => return None,
        },
        _ => return None,
    };
    (new != *old).then_some((name, new))
}

fn with_other_character(text: &str, rng: &mut Rng) -> String {
    let mut characters: Vec<char> = text.chars().collect();
    if characters.is_empty() {
        return "x".to_owned();
    }
    let at = rng.usize(..characters.len());
    characters[at] = if characters[at] == 'x' { 'y' } else { 'x' };
    characters.into_iter().collect()
}
