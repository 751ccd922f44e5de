//! The values that a test in C calculates with, as far as they are known.

/// What an expression comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    Number(u64),
    /// A text or an array of bytes.
    Bytes(Vec<u8>),
    /// An array of numbers, each of so many bytes.
    Numbers(Vec<u64>, usize),
    /// A running QEMU.
    State,
    /// What QEMU answers.
    Unknown,
    Void,
}

/// What is a type, as far as tests use them.
pub(super) fn is_type(name: &str) -> bool {
    let types = [
        "void",
        "int",
        "char",
        "long",
        "short",
        "unsigned",
        "signed",
        "bool",
        "size_t",
        "hwaddr",
        "const",
        "static",
        "QTestState",
        "gchar",
        "guint",
        "gint",
        "gsize",
        "QDict",
        "struct",
        "g_autofree",
        "uintptr_t",
        "register",
        "inline",
        "QObject",
        "g_autoptr",
    ];
    types.contains(&name) || name.ends_with("_t") && name.contains("int")
}

/// An array as the bytes it has in memory.
pub(super) fn as_bytes(value: Value) -> Value {
    match value {
        Value::Numbers(numbers, size) => {
            let bytes = numbers
                .iter()
                .flat_map(|number| number.to_le_bytes().into_iter().take(size).collect::<Vec<_>>());
            Value::Bytes(bytes.collect())
        }
        other => other,
    }
}

pub(super) fn element(value: &Value, index: &Value) -> Value {
    let Value::Number(index) = index else { return Value::Unknown };
    let index = usize::try_from(*index).unwrap_or(usize::MAX);
    match value {
        Value::Bytes(bytes) => bytes.get(index).map(|byte| Value::Number((*byte).into())),
        Value::Numbers(numbers, _) => numbers.get(index).map(|number| Value::Number(*number)),
        _ => None,
    }
    .unwrap_or(Value::Unknown)
}

pub(super) fn truth(value: &Value) -> Option<bool> {
    match value {
        Value::Number(value) => Some(*value != 0),
        Value::Bytes(_) | Value::Numbers(..) | Value::State => Some(true),
        Value::Unknown | Value::Void => None,
    }
}

/// The size of a type in bytes.
pub(super) fn type_size(name: &str) -> Option<usize> {
    Some(match name {
        "char" | "bool" | "uint8_t" | "int8_t" | "gchar" => 1,
        "short" | "uint16_t" | "int16_t" => 2,
        "int" | "uint32_t" | "int32_t" | "unsigned" | "guint" | "gint" => 4,
        "long" | "uint64_t" | "int64_t" | "size_t" | "hwaddr" | "uintptr_t" | "gsize" => 8,
        _ => return None,
    })
}

/// The value of `left operator right`.
pub(super) fn binary(operator: &str, left: &Value, right: &Value) -> Result<Value, String> {
    if operator == "&&" || operator == "||" {
        let (left, right) = (truth(left), truth(right));
        return Ok(match (operator, left, right) {
            ("&&", Some(false), _) | ("&&", _, Some(false)) => Value::Number(0),
            ("||", Some(true), _) | ("||", _, Some(true)) => Value::Number(1),
            ("&&", Some(true), Some(true)) => Value::Number(1),
            ("||", Some(false), Some(false)) => Value::Number(0),
            _ => Value::Unknown,
        });
    }
    if let (Value::Bytes(bytes), "+", Value::Number(offset)) = (left, operator, right) {
        let offset = usize::try_from(*offset).unwrap_or(usize::MAX);
        return Ok(Value::Bytes(bytes.get(offset..).unwrap_or_default().to_vec()));
    }
    let (Value::Number(left), Value::Number(right)) = (left, right) else {
        return Ok(Value::Unknown);
    };
    let (left, right) = (*left, *right);
    let flag = |holds: bool| u64::from(holds);
    let shift = u32::try_from(right).unwrap_or(u32::MAX);
    Ok(Value::Number(match operator {
        "|" => left | right,
        "^" => left ^ right,
        "&" => left & right,
        "==" => flag(left == right),
        "!=" => flag(left != right),
        "<" => flag(left < right),
        ">" => flag(left > right),
        "<=" => flag(left <= right),
        ">=" => flag(left >= right),
        "<<" => left.checked_shl(shift).unwrap_or(0),
        ">>" => left.checked_shr(shift).unwrap_or(0),
        "+" => left.wrapping_add(right),
        "-" => left.wrapping_sub(right),
        "*" => left.wrapping_mul(right),
        "/" => left.checked_div(right).ok_or("it divides by zero")?,
        "%" => left.checked_rem(right).ok_or("it divides by zero")?,
        _ => return Err(format!("`{operator}` is not understood")),
    }))
}
