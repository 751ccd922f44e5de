//! Probing what is no QEMU. What misbehaving emulators are told apart by is for the tests
//! of the whole program.

use std::fs;
use std::process::Command;
use std::sync::Mutex;

use tempfile::TempDir;

use super::*;

/// A folder, and a prober whose cache is in it.
fn prober() -> (TempDir, Prober) {
    let folder = tempfile::tempdir().expect("a folder");
    let cache = folder.path().join("cache");
    (folder, Prober { cache, ..Prober::new() })
}

/// Writes a script. Somebody else does it: a child that another test starts meanwhile
/// would inherit the file, open for writing, and a file that is cannot be executed.
fn script(file: &Path, text: &str) -> PathBuf {
    let write = r#"printf '#!/bin/sh\n%s\n' "$1" >"$2" && chmod 755 "$2""#;
    let status = Command::new("sh").args(["-c", write, "sh", text]).arg(file).status();
    assert!(status.is_ok_and(|status| status.success()), "cannot write {}", file.display());
    file.to_owned()
}

fn no_warning(warning: String) {
    panic!("{warning}");
}

/// Would catch a file that cannot be an emulator started all the same, or called something
/// that does not help.
#[test]
fn what_cannot_be_an_emulator_is_named() {
    let (folder, prober) = prober();
    let text = folder.path().join("text");
    fs::write(&text, "text").unwrap();
    let why = |path: &Path| prober.probe(path, no_warning).expect_err("no emulator").to_string();
    assert_eq!(why(Path::new("/no/such/qemu")), "/no/such/qemu: no such file");
    assert_eq!(why(&text), format!("{}: not executable; is it a program?", text.display()));
    let inside = folder.path();
    let expected = format!("{}: a folder without any qemu-system-* in it", inside.display());
    assert_eq!(why(inside), expected);
    assert!(!prober.cache.exists(), "there is nothing to remember of them");
}

/// Would catch a program that ends, says something else, or is not looked at again after
/// it has changed; and a failure that is forgotten at once, or never.
#[test]
fn a_program_that_is_no_emulator() {
    let (folder, prober) = prober();
    let log = folder.path().join("log");
    let text = format!("echo started >>{}; echo 'what is this?' >&2; exit 3", log.display());
    let program = script(&folder.path().join("qemu-system-none"), &text);
    let launches = || fs::read_to_string(&log).unwrap_or_default().lines().count();
    let retrying = Prober { retry: true, ..prober.clone() };

    let first = prober.probe(&program, no_warning).expect_err("no emulator");
    assert_eq!(first.path, program);
    assert!(!first.why.is_empty());
    let once = launches();
    assert_eq!(prober.probe(&program, no_warning), Err(first.clone()));
    assert_eq!(launches(), once, "a failure is remembered");
    assert_eq!(retrying.probe(&program, no_warning), Err(first));
    assert_eq!(launches(), 2 * once, "unless somebody wants to know again");
    script(&program, &format!("{text} # changed"));
    assert!(prober.probe(&program, no_warning).is_err());
    assert_eq!(launches(), 3 * once, "or it has changed");
}

/// Would catch results that are given to the wrong emulator, or lost.
#[test]
fn results_are_in_the_order_of_the_question() {
    let (folder, prober) = prober();
    let programs: Vec<_> = (0..20)
        .map(|number| match number % 2 {
            0 => PathBuf::from(format!("/no/such/{number}")),
            _ => script(&folder.path().join(number.to_string()), "exit 1"),
        })
        .collect();
    let results = prober.probe_all(&programs, no_warning);
    let failed = results.into_iter().map(|result| result.expect_err("no emulator").path);
    assert_eq!(failed.collect::<Vec<_>>(), programs);
    assert_eq!(prober.probe_all(&[], no_warning), []);
}

/// Would catch a cache that cannot be written and nobody is told of.
#[test]
fn an_unwritable_cache_is_a_warning() {
    let (folder, mut prober) = prober();
    prober.cache = folder.path().join("file");
    fs::write(&prober.cache, "").unwrap();
    let program = script(&folder.path().join("program"), "exit 1");
    let warnings = Mutex::new(Vec::new());
    let warn = |warning| warnings.lock().expect("no panic").push(warning);
    assert!(prober.probe(&program, warn).is_err());
    let warnings = warnings.into_inner().expect("no panic");
    assert_eq!(warnings.len(), 1);
    assert!(warnings[0].contains("QGRAPH_CACHE"), "{warnings:?}");
}

/// Would catch emulators that are started although everything about them is known: a list
/// of all paths would take seconds instead of milliseconds.
#[test]
fn a_known_emulator_is_not_started() {
    let (folder, prober) = prober();
    let prober = Prober { retry: true, ..prober };
    let started = folder.path().join("started");
    let path = script(&folder.path().join("qemu"), &format!(": > '{}'", started.display()));
    let capabilities = Capabilities { arch: "m68k".to_owned(), ..Capabilities::default() };
    let emulator = Emulator::new(path.clone(), accel::Source::BuiltIn, capabilities);
    let found = Found { emulator: emulator.clone(), way: Candidate::BuiltIn, runs: None };
    let known = Remembered::Ok(Known::of(&found));
    PROBES.store(&prober.cache, &Stamp::of(&path).unwrap(), "", &known).unwrap();
    let all = prober.probe_all(&[path.clone(), path], |warning| panic!("{warning}"));
    assert_eq!(all, [Ok(emulator.clone()), Ok(emulator)]);
    assert!(!started.exists());
}
