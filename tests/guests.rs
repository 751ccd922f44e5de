//! Guests on a real QEMU: a dozen tiny ones, assembled from `guests/images` by the system's
//! compiler, of which each ends in its own way, or does not end.
//!
//! Without `as` and `ld` for x86, or without `qemu-system-x86_64`, these tests say so and pass.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

/// The folder of the sources.
const SOURCES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/guests/images");

/// Whether a program runs.
fn runs(program: &str, argument: &str) -> bool {
    let mut command = Command::new(program);
    let command = command.arg(argument).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// Runs an assembler or linker; why it could not do its work.
fn done(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|e| format!("{command:?}: {e}"))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr))),
    }
}

/// Assembles all guests into `folder`; `None`, said on standard error, where they cannot be, or
/// cannot be run.
fn assembled(folder: &Path) -> Option<()> {
    let x86 = cfg!(any(target_arch = "x86", target_arch = "x86_64"));
    let missing = match () {
        () if !x86 || !runs("as", "--version") || !runs("ld", "--version") => "as and ld for x86",
        () if !runs("qemu-system-x86_64", "--version") => "qemu-system-x86_64",
        () => {
            let sources = fs::read_dir(SOURCES).expect("the sources");
            for source in sources.map(|entry| entry.expect("an entry").path()) {
                if source.extension().is_some_and(|it| it == "s") {
                    let image = folder.join(source.file_stem().expect("a name"));
                    let object = folder.join("object");
                    let mut assembler = Command::new("as");
                    assembler.args(["--32", "-I", SOURCES, "-o"]).arg(&object).arg(&source);
                    done(&mut assembler).expect("it assembles");
                    let mut linker = Command::new("ld");
                    linker.args(["-m", "elf_i386", "-T"]).arg(Path::new(SOURCES).join("link.ld"));
                    linker.arg("-o").arg(image).arg(&object);
                    done(&mut linker).expect("it links");
                    fs::remove_file(object).expect("removed");
                }
            }
            fs::copy(Path::new(SOURCES).join("guests.toml"), folder.join("guests.toml"))
                .expect("copied");
            return Some(());
        }
    };
    eprintln!("note: there is no {missing}; guests are not tested");
    None
}

fn qgraph(root: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_qgraph"));
    command.args(arguments).current_dir(root).env("QGRAPH_CACHE", root.join("cache"));
    command.output().expect("qgraph")
}

/// The outcomes that a run of the guests in `folder` writes, by the names of the guests.
fn outcomes(root: &Path, folder: &Path, more: &[&str]) -> BTreeMap<String, Value> {
    let guests = folder.to_str().expect("a name");
    let arguments = ["run", "--format", "json", "--guests", guests, "--machine", "x86_64/pc"];
    let output = qgraph(root, &[&arguments, more].concat());
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let values = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    let named = values.map(|value| {
        let name = value["name"].as_str().expect("a name").to_owned();
        (name.rsplit('/').next().unwrap_or_default().to_owned(), value)
    });
    let outcomes: BTreeMap<_, _> = named.collect();
    assert!(!outcomes.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    outcomes
}

/// Would catch any end of a guest that is told as another one, a check that is lost, a guest that
/// writes without end and is waited for or kept, and text that is no UTF-8 and ends a run.
#[test]
fn every_end_is_told_as_what_it_is() {
    let root = tempfile::tempdir().expect("a folder");
    let folder = root.path().join("tiny");
    fs::create_dir(&folder).expect("a folder");
    let Some(()) = assembled(&folder) else { return };
    let outcomes = outcomes(root.path(), &folder, &[]);
    let expected = [
        ("abort", "crashed", "the guest aborted: assert failed: x86/abort.c:1: false"),
        ("arguments", "passed", ""),
        ("fail", "failed", "1 FAIL, 2 PASS\nFAIL: arithmetic: subtracts (line 2 of its log)"),
        ("flood", "hung", "PASS: again"),
        ("halt", "hung", "halted"),
        ("hidden", "failed", "it ended as after a pass, with 1 FAIL, 1 PASS\nFAIL: divides"),
        ("loop", "hung", "the guest did not end within 3s; CPU 0 is at 0x10"),
        ("noise", "passed", ""),
        ("pass", "passed", ""),
        ("power-off", "passed", ""),
        ("prompt", "passed", ""),
        ("silent", "failed", "nothing shows that the guest started"),
        ("skip", "skipped", "no such CPU"),
        ("triple-fault", "crashed", "triple fault"),
        ("turned-off", "crashed", "turned the machine off"),
        ("two-cpus", "passed", ""),
        ("xfail", "passed", ""),
        ("xpass", "failed", "XPASS: erratum 1 (line 1 of its log)"),
    ];
    for (name, outcome, message) in expected {
        let is = &outcomes[name];
        assert_eq!(is["outcome"], outcome, "{name}: {is}");
        assert!(is["message"].as_str().unwrap_or_default().contains(message), "{name}: {is}");
    }
    assert_eq!(outcomes.len(), expected.len());
    let parts = |name: &str| {
        let parts = outcomes[name]["parts"].as_array().cloned().unwrap_or_default();
        let part = |part: &Value| format!("{} {} {}", part["line"], part["result"], part["text"]);
        parts.iter().map(part).collect::<Vec<_>>().join(", ").replace('"', "")
    };
    assert_eq!(parts("fail"), "1 PASS adds, 2 FAIL arithmetic: subtracts, 3 PASS multiplies");
    assert_eq!(parts("xfail"), "1 XFAIL erratum 1, 2 KFAIL erratum 2, 3 PASS adds");
    assert!(parts("arguments").ends_with("one 'two three'"), "{}", parts("arguments"));
    assert!(outcomes["flood"].to_string().len() < 2 << 20, "a bounded outcome");
    let reproducer = outcomes["fail"]["reproducer"].as_str().expect("a file");
    let again = Command::new("sh").arg(reproducer).stdin(Stdio::null()).output().expect("sh");
    assert_eq!(again.status.code(), Some(3), "{again:?}");
    assert!(String::from_utf8_lossy(&again.stdout).contains("FAIL: arithmetic"), "{again:?}");
}

/// A folder that looks like a build of kvm-unit-tests, with the tiny guests as images.
fn build(root: &Path, list: &str) -> Option<PathBuf> {
    let folder = root.join("build/x86");
    fs::create_dir_all(&folder).expect("folders");
    assembled(&folder)?;
    fs::remove_file(folder.join("guests.toml")).expect("removed");
    fs::write(root.join("build/config.mak"), "ARCH=x86_64\nTEST_DIR=x86\n").expect("written");
    fs::write(folder.join("unittests.cfg"), list).expect("written");
    Some(root.join("build"))
}

/// Would catch an entry of a list that runs although it must not, a construct of it that reaches
/// a shell, a refusal of QEMU taken for a pass or a failure of the guest, a known failure that
/// fails the run, and retries that are not made.
#[test]
fn a_list_is_data() {
    let root = tempfile::tempdir().expect("a folder");
    let list = "[good]\nfile = pass\ntimeout = 60s\ngroups = quick\n\
                [shell]\nfile = pass\ntest_args = $(touch ran)\n\
                [cpu]\nfile = pass\nqemu_params = -cpu nonesuch\n\
                [kvm]\nfile = pass\naccel = kvm\n\
                [q35]\nfile = pass\nqemu_params = -M q35\n\
                [absent]\nfile = absent.flat\n\
                [manual]\nfile = pass\ngroups = nodefault\n\
                [known]\nfile = fail\n\
                [bad]\nfile = xpass\n\
                [value]\nfile = pass\ncheck = /proc/sys/kernel/ostype=Other\n";
    let Some(build) = build(root.path(), list) else { return };
    let expectations = root.path().join("expectations.toml");
    let known = "[[expected]]\npath = \"*/kvm-unit-tests/known\"\nreason = \"it does\"\n";
    fs::write(expectations, known).expect("written");
    let all = outcomes(root.path(), &build, &["--retries", "1"]);
    let expected = [
        ("absent", "skipped", "is not there"),
        ("bad", "failed", "XPASS"),
        ("cpu", "skipped", "QEMU refuses its command line"),
        ("good", "passed", ""),
        ("known", "expected-failure", "it does"),
        ("kvm", "skipped", "kvm alone"),
        ("manual", "skipped", "--group"),
        ("shell", "skipped", "command substitution"),
        ("value", "skipped", "must be Other"),
    ];
    for (name, outcome, message) in expected {
        assert_eq!(all[name]["outcome"], outcome, "{name}: {}", all[name]);
        let said = all[name]["message"].as_str().unwrap_or_default();
        assert!(said.contains(message), "{name}: {said}");
    }
    assert_eq!(all.len(), expected.len(), "that of q35 is not there");
    assert_eq!(all["bad"]["attempts"].as_array().map(Vec::len), Some(1));
    assert!(!root.path().join("ran").exists() && !build.join("ran").exists());
    let manual = outcomes(root.path(), &build, &["--group", "nodefault"]);
    assert_eq!(manual["manual"]["outcome"], "passed");
    assert_eq!(manual.len(), 1);

    let guests = build.to_str().expect("a name");
    let why = qgraph(
        root.path(),
        &["why", "--guests", guests, "/x86_64/pc/multiboot/kvm-unit-tests/q35"],
    );
    let text = String::from_utf8_lossy(&why.stdout).into_owned();
    assert!(text.contains("runs on the machine q35 alone"), "{text}");
    let why = qgraph(
        root.path(),
        &["why", "--guests", guests, "/x86_64/pc/multiboot/kvm-unit-tests/kvm"],
    );
    let text = String::from_utf8_lossy(&why.stdout).into_owned();
    assert!(text.contains("kvm alone"), "{text}");
}

/// Would catch a list that is damaged, or not there, and is taken for one without failures.
#[test]
fn what_is_no_list_has_a_message() {
    let root = tempfile::tempdir().expect("a folder");
    let refused = |arguments: &[&str], message: &str| {
        let output = qgraph(root.path(), arguments);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(2) && said.contains(message), "{said}");
    };
    if !runs("qemu-system-x86_64", "--version") {
        eprintln!("note: there is no qemu-system-x86_64; lists of guests are not tested");
        return;
    }
    refused(&["list", "--guests", "absent"], "cannot read");
    refused(&["list", "--guests", "."], "no guest is in");
    fs::write(root.path().join("config.mak"), "ARCH=x86_64\nTEST_DIR=.\n").expect("written");
    refused(&["list", "--guests", "."], "cannot read");
    fs::write(root.path().join("unittests.cfg"), "[a\nfile = b\n").expect("written");
    refused(&["list", "--guests", "."], "unittests.cfg");
    fs::write(root.path().join("unittests.cfg"), [0xff, b'[', 0, b']', b'\n']).expect("written");
    let odd = qgraph(root.path(), &["list", "--guests", "."]);
    assert!(odd.status.code().is_some_and(|code| code <= 2), "{odd:?}");
    fs::write(root.path().join("guests.toml"), "[[guest]]\n").expect("written");
    refused(&["list", "--guests", "."], "file");
    refused(&["list", "--group", "x"], "--guests");
}

/// Would catch an environment that changes nothing, one whose outcomes are taken for another's, a
/// difference that the table lacks, and a name that is not there and is passed over.
#[test]
fn environments_side_by_side() {
    let root = tempfile::tempdir().expect("a folder");
    let list = "[good]\nfile = pass\n[pair]\nfile = two-cpus\ntimeout = 3s\n";
    let Some(build) = build(root.path(), list) else { return };
    let environments = "[[environment]]\nname = \"one\"\naccel = \"tcg,thread=single\"\n\
                        [[environment]]\nname = \"two\"\nsmp = 2\ncpu = \"qemu64,-sse3\"\n\
                        [[environment]]\nname = \"q35\"\nmachines = [\"q35\"]\n";
    fs::write(root.path().join("qgraph.toml"), environments).expect("written");
    let guests = build.to_str().expect("a name");
    let run =
        ["run", "--guests", guests, "--machine", "x86_64/pc", "--journal", "j", "--table", "t"];
    let output = qgraph(root.path(), &[&run[..], &["--matrix"]].concat());
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("1 of 2 paths differ between environments"), "{text}");
    assert!(text.contains("(1) hung: the guest did not end within 3s"), "{text}");
    assert!(text.contains("(2) passed"), "{text}");
    let table = fs::read(root.path().join("t")).expect("a table");
    let table: Value = serde_json::from_slice(&table).expect("JSON");
    let names: Vec<&str> =
        table["environments"].as_array().expect("names").iter().filter_map(Value::as_str).collect();
    assert_eq!(names, ["one", "two", "q35"]);
    assert_eq!(table["differing"][0]["outcomes"][1], "passed", "{table}");
    assert_eq!(table["paths"].as_array().map(Vec::len), Some(2), "{table}");
    let journal = fs::read_to_string(root.path().join("j")).expect("a journal");
    assert!(journal.contains("qemu-system-x86_64 [two]"), "{journal}");
    assert!(journal.contains("-cpu qemu64,-sse3") || !journal.contains("\"failed\""), "{journal}");

    let diff = qgraph(root.path(), &["diff", "j@one", "j@two"]);
    let text = String::from_utf8_lossy(&diff.stdout).into_owned();
    assert!(text.contains("now-passing: 1"), "{text}");
    for (arguments, message) in [
        (&["run", "--env", "nonesuch"][..], "no environment is called nonesuch"),
        (&["run", "--matrix", "--config", "absent.toml"][..], "cannot read absent.toml"),
        (&["diff", "j@one", "j@nonesuch"][..], "is in the environment nonesuch"),
    ] {
        let output = qgraph(root.path(), arguments);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(2) && said.contains(message), "{said}");
    }
}
