//! QEMU's way to write an option's value: `a=b,c=d`, a first part without a name, doubled
//! commas, or JSON.

/// The parts of a value: names, and what each is set to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Parts {
    parts: Vec<(String, String)>,
    is_json: bool,
}

impl Parts {
    /// Reads `value`, whose first part is called `implied` if it has no name. A part further
    /// on without a name is switched on.
    pub(super) fn read(value: &str, implied: &str) -> Self {
        if value.trim_start().starts_with('{')
            && let Ok(json) = serde_json::from_str::<serde_json::Value>(value)
        {
            let mut parts = Vec::new();
            flatten("", &json, &mut parts);
            return Self { parts, is_json: true };
        }
        let mut parts = Vec::new();
        for (at, part) in split(value).into_iter().enumerate() {
            match part.split_once('=') {
                Some((name, value)) => parts.push((name.to_owned(), value.to_owned())),
                None if at == 0 => parts.push((implied.to_owned(), part)),
                None if part.is_empty() => {}
                None => parts.push((part, "on".to_owned())),
            }
        }
        Self { parts, is_json: false }
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        let found = self.parts.iter().rev().find(|(own, _)| own == name);
        found.map(|(_, value)| value.as_str())
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.parts.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Takes all parts called `name` away.
    pub(super) fn remove(&mut self, name: &str) {
        self.parts.retain(|(own, _)| own != name);
    }

    pub(super) fn set(&mut self, name: &str, value: &str) {
        self.remove(name);
        self.parts.push((name.to_owned(), value.to_owned()));
    }

    /// The value, with every part named.
    pub(super) fn text(&self) -> String {
        if self.is_json {
            return self.json().to_string();
        }
        let parts =
            self.parts.iter().map(|(name, value)| format!("{name}={}", value.replace(',', ",,")));
        parts.collect::<Vec<_>>().join(",")
    }

    fn json(&self) -> serde_json::Value {
        let mut root = serde_json::Value::Null;
        for (name, value) in &self.parts {
            let mut place = &mut root;
            for step in name.split('.') {
                place = &mut place[step];
            }
            *place = match value.as_str() {
                "on" => true.into(),
                "off" => false.into(),
                text => match text.parse::<i64>() {
                    Ok(number) => number.into(),
                    Err(_) => text.into(),
                },
            };
        }
        root
    }
}

/// Splits at commas that are not doubled.
fn split(value: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut chars = value.chars().peekable();
    while let Some(c) = chars.next() {
        let last = parts.len() - 1;
        match c {
            ',' if chars.peek() == Some(&',') => {
                chars.next();
                parts[last].push(',');
            }
            ',' => parts.push(String::new()),
            _ => parts[last].push(c),
        }
    }
    parts
}

fn flatten(name: &str, json: &serde_json::Value, parts: &mut Vec<(String, String)>) {
    use serde_json::Value;
    let inner = |step: &str| match name {
        "" => step.to_owned(),
        name => format!("{name}.{step}"),
    };
    match json {
        Value::Object(object) => {
            object.iter().for_each(|(step, value)| flatten(&inner(step), value, parts));
        }
        Value::Array(values) => {
            let values = values.iter().enumerate();
            values.for_each(|(at, value)| flatten(&inner(&at.to_string()), value, parts));
        }
        Value::String(text) => parts.push((name.to_owned(), text.clone())),
        Value::Bool(on) => {
            parts.push((name.to_owned(), if *on { "on" } else { "off" }.to_owned()));
        }
        other => parts.push((name.to_owned(), other.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Would catch a part that is split at a comma which belongs to it, and one that is
    /// lost when the value is written again.
    #[test]
    fn values() {
        let parts = Parts::read("null-co,id=a,,b,read-zeroes,size=1", "driver");
        assert_eq!(parts.get("driver"), Some("null-co"));
        assert_eq!(parts.get("id"), Some("a,b"));
        assert_eq!(parts.get("read-zeroes"), Some("on"));
        assert_eq!(parts.text(), "driver=null-co,id=a,,b,read-zeroes=on,size=1");
        let json = Parts::read(r#"{"driver": "x", "file": {"a": "/b"}, "on": true}"#, "driver");
        assert_eq!(json.get("file.a"), Some("/b"));
        assert_eq!(json.get("on"), Some("on"));
    }
}
