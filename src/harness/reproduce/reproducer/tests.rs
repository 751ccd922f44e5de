//! Files that are written and read back. That the script does what it says is tested with
//! the fake emulator, in `tests/bad_emulators.rs`.

use super::*;
use crate::qemu::{Image, RamSpec};

fn reproducer() -> Reproducer {
    let mut config = Config::new("pc", "", RamSpec::new(0, 1 << 20));
    config.options =
        ["-drive", "file={sd},if=sd", "-device", "x,name=it's"].map(str::to_owned).into();
    config.images = vec![Image { name: "sd", size: 4096 }];
    let about = About {
        path: "/x86_64/pc/x/t".to_owned(),
        verdict: Verdict::Failed("left: 1\nright: 2".to_owned()),
        emulator: "/opt/my qemu/q".into(),
        version: "7.2.0 ".to_owned(),
        module_dir: Some("/modules".into()),
        migrate_to: None,
        config,
        no_start: None,
        is_whole: true,
        minimized_from: None,
    };
    let answered = |text: &str, answer: &str| Step {
        answer: Some(answer.to_owned()),
        ..Step::new(text.to_owned())
    };
    let steps = vec![
        Step::new(Step::write_image("sd", 512, b"a \\\0'\xff\n")),
        Step { interrupts: vec!["IRQ raise 1".to_owned()], ..answered("outb 0x1 0x2", "OK") },
        answered(r#"{"execute":"system_reset","id":2}"#, r#"{"return": {}, "id": 2}"#),
        Step::new(Step::wait_event("RESET")),
        answered(&Step::read_image("sd", 0, 2), "OK 0x0000"),
        Step::new("readl 0x10".to_owned()),
        answered("readl 0x14", "OK 0x1"),
    ];
    Reproducer { about, steps }
}

/// Catches what is lost or changed on the way to a file and back.
#[test]
fn a_file_is_read_as_it_was_written() {
    let text = reproducer().script().unwrap();
    assert_eq!(Reproducer::parse(&text).unwrap(), reproducer());
}

/// Catches words that a shell takes apart, and a part of the script that is missing though
/// a request needs it, or there though none does.
#[test]
fn the_script_has_what_it_needs() {
    let text = reproducer().script().unwrap();
    for line in [
        "QEMU=${QEMU:-/opt/my\\ qemu/q}",
        "QEMU_MODULE_DIR=${QEMU_MODULE_DIR-/modules}",
        "dd if=/dev/null of=sd.img bs=1 seek=4096 2>/dev/null",
        "    -drive file=sd.img,if=sd \\",
        r"    -device 'x,name=it'\''s' \",
        "# write-image sd 512 a\\0040\\0134\\0000'\\0377\\0012",
        "#! IRQ raise 1",
        "#< OK 0x0000",
        "#? none",
    ] {
        assert!(text.lines().any(|found| found == line), "{line:?} is not in {text}");
    }
    let mut plain = reproducer();
    plain.steps = vec![Step::new("readl 0x14".to_owned())];
    let text = plain.script().unwrap();
    assert!(!text.contains("qmp.in"), "{text}");
}

/// Catches answers that are given to the wrong requests after somebody has left some out.
#[test]
fn changed_requests_have_no_answers() {
    let text = reproducer().script().unwrap().replace("readl 0x10\n", "");
    let parsed = Reproducer::parse(&text).unwrap();
    assert_eq!(parsed.steps.len(), reproducer().steps.len() - 1);
    assert!(parsed.steps.iter().all(|step| step.answer.is_none()));
}

/// Catches a file that is something else and is taken for a reproducer, or ends the program.
#[test]
fn other_files_are_refused() {
    let text = reproducer().script().unwrap();
    for (damaged, word) in [
        (String::new(), "no line begins with"),
        ("#!/bin/sh\nexit 0\n".to_owned(), "no line begins with"),
        (text.replace("\"path\"", "\"pth\""), "cannot be read"),
        (text.replace(MARK, "#qgraph-reproducer 2 "), "no line begins with"),
        (text.split("<<'END").next().unwrap().to_owned(), "no requests"),
        (text.split("\nEND_OF").next().unwrap().to_owned(), "do not end"),
    ] {
        let why = Reproducer::parse(&damaged).unwrap_err();
        assert!(why.contains(word), "{why}");
    }
    // A remark of somebody's behind the requests, in letters of their own.
    Reproducer::parse(&format!("{text}\n#\u{e9}tat\n#\u{e9}\n")).unwrap();
}

/// Catches a file that makes the program take memory without end, or stop: sizes, offsets and
/// words of a stranger.
#[test]
fn absurd_wishes_are_refused() {
    let text = reproducer().script().unwrap();
    let image = "\"size\":4096";
    assert!(text.contains(image) && text.contains("\"size\":1048576"), "{text}");
    let many = format!("\"options\":[{}", "\"-s\",".repeat(20_000));
    let long = format!("\"options\":[\"{}\",", "x".repeat(200_000));
    let deep = format!("{{\"deep\":{},\"path\"", "[".repeat(100_000));
    for (damaged, word) in [
        (text.replace("read-image sd 0 2", "read-image sd 0 99999999999999"), "up to 33554432"),
        (text.replace("read-image sd 0 2", "read-image none 0 99999999"), "has 0 bytes"),
        (text.replace("read-image sd 0", "read-image sd 18446744073709551615"), "moved at once"),
        (text.replace("write-image sd 512", "write-image sd 9223372036854775807"), "moved at once"),
        (text.replace(image, "\"size\":18446744073709551615"), "bytes of memory"),
        (text.replace("\"size\":1048576", "\"size\":9223372036854775808"), "bytes of memory"),
        (text.replace("\"base\":0", "\"base\":18446744073709551615"), "no end of it"),
        (text.replace("\"options\":[", &many), "2000"),
        (text.replace("\"options\":[", &long), "200000 bytes"),
        (text.replacen("{\"path\"", &deep, 1), "recursion limit"),
        (text.replace(image, "\"size\":1e400"), "number out of range"),
        (text.replace(image, "\"size\":-1"), "invalid value"),
    ] {
        assert_ne!(damaged, text, "{word}");
        let why = Reproducer::parse(&damaged).expect_err(word);
        assert!(why.contains(word), "{why}");
    }
    let e = Reproducer::read(Path::new("/dev/zero")).unwrap_err().to_string();
    assert!(e.contains("it has more than 256 MiB"), "{e}");
}

/// Catches a path that is no UTF-8 and is another one in the file, or in the shell.
#[test]
fn odd_paths() {
    use std::os::unix::ffi::{OsStrExt, OsStringExt};
    let odd = |bytes: &[u8]| PathBuf::from(std::ffi::OsString::from_vec(bytes.to_vec()));
    let mut it = reproducer();
    it.about.emulator = odd(b"/caf\xe9/it's a\n\\q");
    it.about.module_dir = Some(odd(b"/\xff}$(x)"));
    let text = it.script().unwrap();
    assert_eq!(Reproducer::parse(&text).unwrap(), it);
    let lines = text.lines().filter(|line| line.starts_with("QEMU"));
    let script: String = lines.map(|line| format!("{line}\n")).collect();
    let script = format!("{script}printf '%s|%s' \"$QEMU\" \"$QEMU_MODULE_DIR\"");
    let said = std::process::Command::new("sh").args(["-c", &script]).output().unwrap().stdout;
    let expected = [Some(it.about.emulator), it.about.module_dir].map(Option::unwrap);
    let expected = expected.each_ref().map(|it| it.as_os_str());
    assert_eq!(said, expected.map(OsStrExt::as_bytes).join(&b'|'));
}

proptest::proptest! {
    /// Catches a panic on a file that somebody has changed, or on any other text.
    #[test]
    fn any_text_is_read_or_refused(
        at in 0usize..10_000, length in 0usize..40, put in "[ -~\\n\u{e9}]{0,20}", other in ".*",
    ) {
        let text = reproducer().script().unwrap();
        // What is changed is what is read.
        let from = text.find(MARK).unwrap();
        let mut changed: Vec<char> = text[from..].chars().collect();
        let at = at % changed.len();
        let end = (at + length).min(changed.len());
        changed.splice(at..end, put.chars());
        let changed: String = changed.into_iter().collect();
        if let Ok(read) = Reproducer::parse(&changed) {
            let _ = read.script();
        }
        let _ = Reproducer::parse(&other);
        let _ = Reproducer::parse(&format!("{MARK}{other}"));
    }
}

/// Catches bytes that do not come back, and garbage that is taken for bytes.
#[test]
fn bytes_for_printf() {
    let all: Vec<u8> = (0..=255).collect();
    assert_eq!(script::unescaped(&script::escaped(&all)), Some(all));
    for garbage in ["\\", "\\x41", "\\01", "\\0999", "\\0777"] {
        assert_eq!(script::unescaped(garbage), None, "{garbage}");
    }
}

/// Catches two failures that share a file, one that has two, and names that no file can
/// have.
#[test]
fn file_names() {
    let name = |path: &str, program: &str| file_name(path, Path::new(program));
    assert!(name("/x86_64/pc/a:b/t", "/bin/q").starts_with("x86_64_pc_a_b_t-"));
    assert_eq!(name("/a/b", "/bin/q"), name("/a/b", "/bin/q"));
    assert_ne!(name("/a/b", "/bin/q"), name("/a/b", "/usr/bin/q"));
    assert_ne!(name("/a/b", "/bin/q"), name("/a_b", "/bin/q"));
    assert!(name(&"/x".repeat(500), "/bin/q").len() < 255);
}
