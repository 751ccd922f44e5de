//! What `libqtest` does: which request each of its functions makes.

use std::fmt::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::value::Value;

/// The longest data that is written as digits.
const READABLE: usize = 1024;

/// What a call comes to.
pub(super) enum Effect {
    /// A request, and what it returns.
    Request(String, Value),
    /// It starts QEMU with these arguments.
    Start(String),
    /// QEMU is to quit.
    Quit,
    /// Nothing that QEMU sees.
    Nothing(Value),
    /// It is none of the library's.
    Unknown,
}

/// What the function `name` does with these arguments.
///
/// # Errors
/// An argument that is not known, or of another kind.
pub(super) fn call(name: &str, arguments: &[Value]) -> Result<Effect, String> {
    let plain = name.strip_prefix("qtest_").unwrap_or(name);
    // Older functions have no first argument that says which QEMU.
    let arguments = match arguments {
        [Value::State, rest @ ..] => rest,
        all => all,
    };
    let number = |at: usize| match arguments.get(at) {
        Some(Value::Number(value)) => Ok(*value),
        Some(Value::Unknown) => {
            Err(format!("an argument of `{name}` depends on what QEMU answered"))
        }
        _ => Err(format!("argument {} of `{name}` is no number", at + 1)),
    };
    let bytes = |at: usize| match arguments.get(at) {
        Some(Value::Bytes(bytes)) => Ok(bytes.clone()),
        Some(Value::Unknown) => {
            Err(format!("an argument of `{name}` depends on what QEMU answered"))
        }
        _ => Err(format!("argument {} of `{name}` is no text or array", at + 1)),
    };
    let text = |at: usize| bytes(at).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    let request = |text: String| Ok(Effect::Request(text, Value::Void));
    let asked = |text: String| Ok(Effect::Request(text, Value::Unknown));
    match plain {
        "init"
        | "start"
        | "init_with_serial"
        | "init_without_qmp_handshake"
        | "vstart"
        | "init_with_env" => {
            // `qtest_init_with_env(variable, arguments)`
            let last = if plain == "init_with_env" { 1 } else { 0 };
            Ok(Effect::Start(text(last)?))
        }
        "initf" | "startf" => Ok(Effect::Start(format_c(&text(0)?, &arguments[1..])?)),
        "quit" | "end" => Ok(Effect::Quit),
        "outb" | "outw" | "outl" | "writeb" | "writew" | "writel" | "writeq" => {
            request(format!("{plain} {:#x} {:#x}", number(0)?, number(1)?))
        }
        "inb" | "inw" | "inl" | "readb" | "readw" | "readl" | "readq" => {
            asked(format!("{plain} {:#x}", number(0)?))
        }
        "bufwrite" | "memwrite" => {
            let (at, length) = (number(0)?, number(2)? as usize);
            let data = bytes(1)?;
            // A text has a byte more, which ends it.
            let missing = length.saturating_sub(data.len());
            if missing > 1 {
                return Err(format!("`{name}` writes {missing} bytes more than are given"));
            }
            let mut data = data[..length.min(data.len())].to_vec();
            data.resize(length, 0);
            request(write(at, &data))
        }
        "bufread" | "memread" => asked(format!("read {:#x} {:#x}", number(0)?, number(2)?)),
        "memset" | "qmemset" if name.starts_with('q') => {
            request(format!("memset {:#x} {:#x} {:#x}", number(0)?, number(2)?, number(1)?))
        }
        "clock_step" => asked(format!("clock_step {}", number(0)?)),
        "clock_step_next" => asked("clock_step".to_owned()),
        "clock_set" => asked(format!("clock_set {}", number(0)?)),
        "irq_intercept_in" | "irq_intercept_out" => request(format!("{plain} {}", text(0)?)),
        "irq_intercept_out_named" => {
            request(format!("irq_intercept_out {} {}", text(0)?, text(1)?))
        }
        "set_irq_in" => {
            let (path, line) = (text(0)?, text(1).unwrap_or_else(|_| "unnamed-gpio-in".to_owned()));
            request(format!("set_irq_in {path} {line} {} {}", number(2)?, number(3)?))
        }
        "qmp"
        | "qmp_send"
        | "qmp_assert_success"
        | "qmp_discard_response"
        | "qmp_assert_success_ref" => {
            let text = format_c(&text(0)?, &arguments[1..])?;
            asked(qmp(&text)?)
        }
        "system_reset" | "system_reset_nowait" => {
            asked(r#"{"execute": "system_reset"}"#.to_owned())
        }
        "hmp" => Err("it gives the human monitor a command".to_owned()),
        "big_endian" | "get_irq" | "has_machine" | "has_device" | "has_accel" | "probe_child"
        | "pid" => Ok(Effect::Nothing(Value::Unknown)),
        "add_func" | "add_data_func" => Ok(Effect::Nothing(Value::Void)),
        "g_free" | "g_test_message" | "g_test_init" | "g_test_run" | "g_test_skip" | "printf"
        | "qobject_unref" | "usleep" | "sleep" | "g_usleep" | "fprintf" | "puts" | "free" => {
            Ok(Effect::Nothing(Value::Void))
        }
        "qmp_eventwait" | "qmp_eventwait_ref" => Ok(Effect::Nothing(Value::Unknown)),
        "g_strdup_printf" => {
            let text = format_c(&text(0)?, &arguments[1..])?;
            Ok(Effect::Nothing(Value::Bytes(text.into_bytes())))
        }
        "g_strdup" => Ok(Effect::Nothing(Value::Bytes(bytes(0)?))),
        "g_strconcat" => {
            let parts = arguments.iter().map_while(|argument| match argument {
                Value::Bytes(bytes) => Some(bytes.clone()),
                _ => None,
            });
            Ok(Effect::Nothing(Value::Bytes(parts.flatten().collect())))
        }
        "strlen" => Ok(Effect::Nothing(Value::Number(bytes(0)?.len() as u64))),
        "cpu_to_le16" | "cpu_to_le32" | "cpu_to_le64" | "le16_to_cpu" | "le32_to_cpu"
        | "le64_to_cpu" => {
            Ok(Effect::Nothing(arguments[..].first().cloned().unwrap_or(Value::Void)))
        }
        "cpu_to_be16" | "bswap16" => {
            Ok(Effect::Nothing(Value::Number(u64::from((number(0)? as u16).swap_bytes()))))
        }
        "cpu_to_be32" | "bswap32" => {
            Ok(Effect::Nothing(Value::Number(u64::from((number(0)? as u32).swap_bytes()))))
        }
        "cpu_to_be64" | "bswap64" => Ok(Effect::Nothing(Value::Number(number(0)?.swap_bytes()))),
        _ if name.starts_with("g_assert") => Ok(Effect::Nothing(Value::Void)),
        _ => Ok(Effect::Unknown),
    }
}

/// The request that writes these bytes.
fn write(at: u64, bytes: &[u8]) -> String {
    let length = bytes.len();
    if length <= READABLE {
        format!("write {at:#x} {length:#x} 0x{}", hex::encode(bytes))
    } else {
        format!("b64write {at:#x} {length:#x} {}", STANDARD.encode(bytes))
    }
}

/// A QMP command, which C has in single quotes.
fn qmp(text: &str) -> Result<String, String> {
    let quoted = text.replace('\'', "\"");
    let value: serde_json::Value =
        serde_json::from_str(&quoted).map_err(|e| format!("`{text}` is no QMP command: {e}"))?;
    Ok(value.to_string())
}

/// A text as `printf` makes it.
fn format_c(format: &str, values: &[Value]) -> Result<String, String> {
    let mut values = values.iter();
    let mut text = String::new();
    let mut chars = format.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '%' {
            text.push(c);
            continue;
        }
        let mut flags = String::new();
        while let Some(c) = chars.peek().filter(|c| "#0123456789lhz-".contains(**c)) {
            flags.push(*c);
            chars.next();
        }
        match chars.next() {
            Some('%') => text.push('%'),
            Some(kind) => match values.next() {
                Some(Value::Number(value)) => {
                    text.push_str(&formatted(&flags, kind, &value.to_string()));
                }
                Some(Value::Bytes(bytes)) if kind == 's' => {
                    text.push_str(&String::from_utf8_lossy(bytes));
                }
                _ => return Err(format!("a value for `{format}` is not known")),
            },
            None => {}
        }
    }
    Ok(text)
}

/// A value as one conversion of `printf` shows it.
pub(in super::super) fn formatted(flags: &str, kind: char, value: &str) -> String {
    let number = super::super::request::number(value).unwrap_or(0);
    let zero = flags.trim_start_matches(['#', '-']).starts_with('0');
    let width: String = flags.chars().filter(char::is_ascii_digit).collect();
    let width = width.parse::<usize>().unwrap_or(0).min(64);
    let mut text = String::new();
    let alternate = flags.contains('#');
    let _ = match kind {
        'x' if alternate => write!(text, "{number:#x}"),
        'x' => write!(text, "{number:x}"),
        'X' => write!(text, "{number:X}"),
        'o' => write!(text, "{number:o}"),
        'd' | 'i' => write!(text, "{}", number as i64),
        'u' => write!(text, "{number}"),
        'b' => write!(text, "{value}"),
        _ => write!(text, "{value}"),
    };
    let missing = width.saturating_sub(text.chars().count());
    if "xXoudi".contains(kind) && zero {
        let at = if text.starts_with("0x") { 2 } else { 0 };
        text.insert_str(at, &"0".repeat(missing));
    } else if flags.contains('-') {
        text.push_str(&" ".repeat(missing));
    } else {
        text.insert_str(0, &" ".repeat(missing));
    }
    text
}
