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
