//! A reproducer as a test of qgraph: a file in Rust for `src/tests`.

use std::fmt::Write;

use super::request::number;
use crate::graph::Declarations;
use crate::harness::{Reproducer, Verdict};
use crate::qemu::command_line::quote;

/// How many bytes of an array stand on a line.
const BYTES_A_LINE: usize = 12;

/// The test, as a file. `arch` is the target of the emulator.
///
/// # Errors
/// The command line has a word that a test cannot have.
pub fn as_test(reproducer: &Reproducer, arch: &str) -> Result<String, String> {
    let config = &reproducer.about.config;
    let words = own_words(&config.options);
    if let Some(word) = words.iter().find(|word| word.contains(char::is_whitespace)) {
        return Err(format!("a test cannot have an option with a blank in it: {}", quote(word)));
    }
    let machine = if config.machine.is_empty() { "none" } else { &config.machine };
    let node = format!("{arch}/{machine}");
    let declared = Declarations::registered()
        .machines
        .into_iter()
        .find(|declared| declared.names.contains(&&*node))
        .map(|declared| (declared.type_name)().replacen("qgraph::", "crate::", 1));
    let name = name_of(&reproducer.about.path);
    let steps = steps(reproducer);
    let mut text = head(reproducer, &name);
    text.push_str("use std::rc::Rc;\n");
    for (word, line) in
        [("Duration", "use std::time::Duration;\n"), ("json!", "\nuse serde_json::json;\n")]
    {
        if steps.contains(word) {
            text.push_str(line);
        }
    }
    text.push('\n');
    let images = !config.images.is_empty();
    let vm = if images { "{Image, Vm}" } else { "Vm" };
    let address = if steps.contains("GuestAddress") { "GuestAddress, " } else { "" };
    match &declared {
        Some(path) => {
            let ty = path.rsplit("::").next().unwrap_or(path);
            let _ = write!(
                text,
                "use crate::graph::{{Consumes, QemuArgs, Site}};\n\
                 use {path};\n\
                 use crate::qemu::{vm};\n\
                 use crate::{{{address}Result, driver, tests}};\n\n\
                 /// What the report plugs into the machine.\n\
                 pub struct Report;\n\n\
                 impl Consumes<{ty}> for Report {{\n    \
                 const ARGS: QemuArgs = QemuArgs::NONE{};\n\n    \
                 fn attach(_: Rc<{ty}>, _: &Site) -> Result<Self> {{\n        \
                 Ok(Self)\n    }}\n}}\n\n\
                 driver!(Report = \"{name}\"; consumes {ty});\n",
                arguments(&words, config.images.iter().map(|image| (image.name, image.size))),
            );
        }
        None => {
            let defaults =
                if has(&config.options, "-nodefaults") { "" } else { ".with_defaults()" };
            if images {
                return Err(format!(
                    "qgraph has no machine {node} yet, and only devices can have images"
                ));
            }
            let _ = write!(
                text,
                "use crate::graph::{{Machine, Setup, Site}};\n\
                 use crate::qemu::{{RamSpec, Vm}};\n\
                 use crate::{{{address}Result, machine, tests}};\n\n\
                 /// The machine of the report.\n\
                 pub struct Report;\n\n\
                 impl Machine for Report {{\n    \
                 const SETUP: Setup = Setup::bare(RamSpec::new(0, 0)){defaults}{};\n\n    \
                 fn boot(_: &Site) -> Result<Self> {{\n        Ok(Self)\n    }}\n}}\n\n\
                 machine!(Report = \"{node}\");\n",
                options(&words, ".options"),
            );
        }
    }
    let _ = write!(
        text,
        "tests!(Report, \"{name}-tests\": replay);\n\n\
         /// Would catch that QEMU does again what the report says.\n\
         fn replay(_: &Report, vm: &Rc<Vm>) -> Result<()> {{\n{steps}    \
         vm.qtest().endianness()?;\n    Ok(())\n}}\n"
    );
    Ok(text)
}

/// What the file says about itself.
fn head(reproducer: &Reproducer, name: &str) -> String {
    let about = &reproducer.about;
    let mut text = format!("//! Replays the report `{name}` ({}).\n//!\n", about.path);
    let said = match &about.verdict {
        Verdict::Passed => "answers all of it".to_owned(),
        verdict => format!("{}: {}", verdict.word(), verdict.message()),
    };
    let line = format!("QEMU {} {said}", about.version.trim());
    let mut row = String::from("//!");
    for word in line.split_whitespace() {
        if row.len() + word.len() > 98 {
            let _ = writeln!(text, "{row}");
            row = String::from("//!");
        }
        row.push(' ');
        row.push_str(word);
    }
    let _ = writeln!(text, "{row}\n");
    text
}

/// A name for the suite, made of the name of the file.
fn name_of(path: &str) -> String {
    let file = path.split(", line ").next().unwrap_or(path);
    let stem = file.rsplit_once('.').map_or(file, |(stem, _)| stem);
    let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    let name: String = stem.chars().map(plain).collect();
    let name = name.trim_matches('-');
    if name.is_empty() { "report".to_owned() } else { name.to_owned() }
}

fn has(options: &[String], name: &str) -> bool {
    options.iter().any(|word| word == name)
}

/// The options without those that every test's QEMU has.
fn own_words(options: &[String]) -> Vec<String> {
    let usual = ["-accel", "-display", "-monitor", "-serial", "-parallel"];
    let mut words = Vec::new();
    let mut rest = options.iter();
    while let Some(word) = rest.next() {
        if usual.contains(&word.as_str()) || word == "-m" {
            rest.next();
        } else if word == "-M" || word == "-machine" {
            // The machine's name is the node's.
            let value = rest.next().map_or("", String::as_str);
            let parts = value.split(',').filter(|part| part.contains('='));
            let parts: Vec<&str> = parts.collect();
            if !parts.is_empty() {
                words.extend(["-machine".to_owned(), parts.join(",")]);
            }
        } else if word != "-nodefaults" {
            words.push(word.clone());
        }
    }
    words
}

/// `.before("…").images(&[…])`
fn arguments<'a>(words: &[String], images: impl Iterator<Item = (&'a str, u64)>) -> String {
    let mut text = options(words, ".before");
    let images: Vec<String> =
        images.map(|(name, size)| format!("Image {{ name: \"{name}\", size: {size} }}")).collect();
    if !images.is_empty() {
        let _ = write!(text, "\n        .images(&[{}])", images.join(", "));
    }
    text
}

/// Options in a call, an option a line.
fn options(words: &[String], call: &str) -> String {
    if words.is_empty() {
        return String::new();
    }
    let mut lines = String::new();
    for (at, word) in words.iter().enumerate() {
        let is_option = word.starts_with('-');
        if at > 0 {
            lines.push_str(if is_option { " \\\n         " } else { " " });
        }
        lines.push_str(&word.escape_debug().to_string());
    }
    format!("{call}(\n        \"{lines}\",\n    )")
}

/// The body of the test.
fn steps(reproducer: &Reproducer) -> String {
    let mut text = String::new();
    for step in &reproducer.steps {
        let line = call(&step.text);
        let _ = writeln!(text, "    {line}");
    }
    text
}

/// The call that makes a request.
fn call(request: &str) -> String {
    typed(request).unwrap_or_else(|| format!("vm.qtest().command({request:?})?;"))
}

/// The call of the method that is there for this request.
fn typed(request: &str) -> Option<String> {
    if request.starts_with('{') {
        let command: serde_json::Value = serde_json::from_str(request).ok()?;
        let name = command["execute"].as_str()?;
        let arguments = command.get("arguments").cloned().unwrap_or(serde_json::json!({}));
        return Some(format!("vm.qmp().execute({name:?}, json!({arguments}))?;"));
    }
    let words: Vec<&str> = request.split(' ').collect();
    let at = |number: usize| words.get(number).and_then(|word| self::number(word));
    let width = |verb: &str| match verb.chars().last() {
        Some('b') => 0xff,
        Some('w') => 0xffff,
        Some('l') => 0xffff_ffff,
        _ => u64::MAX,
    };
    let verb = words[0];
    Some(match (verb, &words[1..]) {
        ("outb" | "outw" | "outl", [_, _]) => {
            format!("vm.qtest().{verb}({:#x}, {:#x})?;", at(1)?, at(2)? & width(verb))
        }
        ("inb" | "inw" | "inl", [_]) => format!("vm.qtest().{verb}({:#x})?;", at(1)?),
        ("writeb" | "writew" | "writel" | "writeq", [_, _]) => {
            format!("vm.qtest().{verb}(GuestAddress({:#x}), {:#x})?;", at(1)?, at(2)? & width(verb))
        }
        ("readb" | "readw" | "readl" | "readq", [_]) => {
            format!("vm.qtest().{verb}(GuestAddress({:#x}))?;", at(1)?)
        }
        ("clock_step", []) => "vm.qtest().clock_step_next()?;".to_owned(),
        ("clock_step", [_]) => {
            format!("vm.qtest().clock_step(Some(Duration::from_nanos({})))?;", at(1)?)
        }
        ("write", [_, _, data]) => {
            let bytes = hex::decode(data.strip_prefix("0x")?).ok()?;
            let length = usize::try_from(at(2)?).ok()?;
            if bytes.len() != length {
                return None;
            }
            format!("vm.qtest().write(GuestAddress({:#x}), &{})?;", at(1)?, array(&bytes))
        }
        _ => return None,
    })
}

fn array(bytes: &[u8]) -> String {
    let shown: Vec<String> = bytes.iter().map(|byte| format!("{byte:#04x}")).collect();
    if shown.len() <= BYTES_A_LINE {
        return format!("[{}]", shown.join(", "));
    }
    let rows = shown.chunks(BYTES_A_LINE).map(|row| format!("        {},\n", row.join(", ")));
    format!("[\n{}    ]", rows.collect::<String>())
}
