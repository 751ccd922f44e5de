//! Which emulators are used, and what is kept of them in the cache.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;

use crate::fake::{Finished, Sandbox};
use crate::{PATHS, REGISTERS, list, qgraph, runner, with_emulator};

/// Would catch a user left without a word about what to do.
pub fn no_emulator() {
    let sandbox = Sandbox::new();
    for command in ["run", "list", "probe"] {
        let finished = qgraph(&sandbox, &[command]).expect(2).silent();
        let words = ["no usable QEMU", "qemu-system-* on PATH", "install", "--qemu"];
        finished.says(&words).says(&["QTEST_QEMU_BINARY"]);
        let mut without_path = sandbox.qgraph([command]);
        sandbox.run(without_path.env_remove("PATH")).expect(2).silent().says(&words);
    }
}

/// Would catch an emulator on `PATH` that is overlooked, and one beside it that cannot be
/// used and spoils the run although nobody asked for it.
pub fn emulators_that_are_found() {
    let sandbox = with_emulator();
    let bad = sandbox.fake_at(Path::new("probe-exit/qemu-system-arm"));
    let path = std::env::join_paths([sandbox.at("bin"), sandbox.at("probe-exit")]).expect("PATH");
    let finished = sandbox.run(sandbox.qgraph(["run", PATHS]).env("PATH", &path)).expect(0);
    finished.says(&["warning: ", &bad.to_string_lossy(), "fake: cannot set up guest memory"]);
    let finished = sandbox.run(sandbox.qgraph(["probe"]).env("PATH", &path)).expect(0);
    for word in ["cannot be used", "QEMU 7.2.0 fake, x86_64: 5 machines, 1 devices"] {
        assert!(finished.stdout.contains(word), "{word:?} is not said: {finished}");
    }
}

/// Would catch a probe that says all is well of an emulator whose machines do not start, as where
/// the distribution has its firmware in a package of its own.
pub fn firmware_that_is_missing() {
    let sandbox = Sandbox::new();
    let probe = |role: &str, status: i32| {
        let mut command = sandbox.qgraph(["probe", "--qemu"]);
        sandbox.run(command.arg(sandbox.fake(role))).expect(status).stdout
    };
    let said = probe("start-exit", 1);
    let why = "    its machine pc does not start: fake: cannot set up guest memory (it exited";
    assert!(said.contains("qtest accelerator: ") && said.contains(why), "{said}");
    assert!(!probe("healthy", 0).contains("does not start"));
}

/// Would catch an emulator that is named and not used, or used twice.
pub fn emulators_that_are_named() {
    let sandbox = with_emulator();
    let (one, two) = (sandbox.fake("one"), sandbox.fake("two"));
    let folder = one.parent().expect("a folder");
    let run = ["run", "--format", "json", "--exact", REGISTERS];
    let used = |finished: Finished| -> Vec<String> {
        finished.expect(0).outcomes().into_keys().map(|(emulator, _)| emulator).collect()
    };
    let text = |path: &Path| path.to_string_lossy().into_owned();
    let named = sandbox.run(sandbox.qgraph(run).arg("--qemu").arg(folder).arg("--qemu").arg(&one));
    assert_eq!(used(named), [text(&one)]);
    let both = std::env::join_paths([&one, &two]).expect("a list");
    let variable = sandbox.run(sandbox.qgraph(run).env("QTEST_QEMU_BINARY", &both));
    assert_eq!(used(variable), [text(&one), text(&two)]);
    let mut stronger = sandbox.qgraph(run);
    stronger.arg("--qemu").arg(&two).env("QTEST_QEMU_BINARY", &one);
    assert_eq!(used(sandbox.run(&mut stronger)), [text(&two)]);
    let bare = sandbox.run(sandbox.qgraph(run).args(["--qemu", "qemu-system-x86_64"]));
    assert_eq!(used(bare), [text(&sandbox.at("bin/qemu-system-x86_64"))]);
}

/// Would catch a name that is taken apart at its blanks, not quoted for a shell, or that
/// ends the program because it is not UTF-8.
pub fn odd_names() {
    let sandbox = Sandbox::new();
    let quoted = sandbox.fake_at(Path::new("it's a \"q\"/request-fail/qemu-system-x86_64"));
    let not_utf8 = OsString::from_vec(b"caf\xe9\n/request-fail/qemu-system-x86_64".into());
    let not_utf8 = sandbox.fake_at(Path::new(&not_utf8));
    for fake in [&quoted, &not_utf8] {
        let named = |arguments: &[&str]| {
            let finished = sandbox.run(sandbox.qgraph(arguments).arg("--qemu").arg(fake));
            assert!(!finished.stderr.contains("cannot write the cache"), "{finished}");
            finished
        };
        named(&["probe"]).expect(0);
        named(&["list"]).expect(0);
        named(&["list", "--json"]).expect(0);
        named(&["why", "sdhci-pci"]).expect(0);
        named(&["run", "--exact", REGISTERS]).expect(1);
        let finished = named(&["run", "--format", "json", "--exact", REGISTERS]).expect(1);
        let outcomes = finished.outcomes();
        let (_, outcome) = outcomes.iter().next().expect("an outcome");
        let line = outcome["command_line"].as_str().expect("a line");
        let shown = fake.to_string_lossy().replace('\'', r"'\''");
        assert!(line.starts_with(&format!("'{shown}' -machine pc ")), "{line}");
        let probes = sandbox.launches(fake).iter().filter(|machine| *machine == "none").count();
        assert_eq!(probes, 1, "the cache knows it");
    }
}

/// Would catch a run that goes on without its journal because of a name that is not UTF-8, two
/// emulators taken for one because their names are not, and a run that cannot be resumed.
pub fn odd_names_in_journals() {
    let sandbox = Sandbox::new();
    let name = |bytes: &[u8]| OsString::from_vec(bytes.to_vec());
    let fakes = [&b"caf\xe9"[..], b"caf\xe8", b"caf\\xe9"].map(|folder| {
        let folder = name(folder).into_string().map_or_else(|odd| odd, OsString::from);
        sandbox.fake_at(&Path::new(&folder).join("request-fail/qemu-system-x86_64"))
    });
    let (journal, reproducers) = (sandbox.at(name(b"j\xff")), sandbox.at(name(b"r\xff")));
    let mut command = sandbox.qgraph(["run", "--format", "json", "--exact", REGISTERS]);
    command.arg("--journal").arg(&journal).arg("--reproducers").arg(&reproducers);
    command.args(fakes.iter().flat_map(|fake| [OsStr::new("--qemu"), fake.as_os_str()]));
    let finished = sandbox.run(&mut command).expect(1);
    assert_eq!(finished.stderr, "", "{finished}");
    assert_eq!(finished.outcomes().len(), 3, "each has an outcome of its own: {finished}");
    let files: Vec<_> = fs::read_dir(&reproducers).expect("a folder").flatten().collect();
    assert_eq!(files.len(), 3);
    for file in files {
        // The emulator is found by what the file says.
        sandbox.run(sandbox.qgraph(["replay"]).arg(file.path())).expect(1);
    }
    let launches = || fakes.iter().map(|fake| sandbox.launches(fake).len()).sum::<usize>();
    let before = launches();
    let mut command = sandbox.qgraph(["run", "--format", "json", "--resume", "--journal"]);
    let finished = sandbox.run(command.arg(&journal)).expect(1);
    assert!(!finished.stderr.contains("warning"), "{finished}");
    let finished = finished.says(&["3 outcomes are in the journal"]);
    assert_eq!(launches(), before, "nothing is left to do: {finished}");
}

/// Would catch a cache without which nothing works, or that fails in silence.
pub fn an_unwritable_cache() {
    let sandbox = with_emulator();
    let file = sandbox.at("file");
    fs::write(&file, "").expect("a file");
    for cache in [file.join("below"), file, "/proc/no-such-folder".into()] {
        let mut command = sandbox.qgraph(["run", "--exact", REGISTERS]);
        let finished = sandbox.run(command.env("QGRAPH_CACHE", &cache)).expect(0);
        let words = ["warning: cannot write the cache ", &cache.to_string_lossy(), "QGRAPH_CACHE"];
        finished.says(&words);
    }
}

/// Would catch a damaged cache that is believed, stays damaged, or ends the program.
pub fn a_damaged_cache() {
    let sandbox = with_emulator();
    let fake = sandbox.at("bin/qemu-system-x86_64");
    let names = list(&sandbox, &[PATHS]);
    let mut launches = 1;
    for damage in [&b""[..], b"{", b"\0\xff\xfe", b"null", b"{\"writer\":\"qgraph\"}"] {
        for file in sandbox.files("cache") {
            fs::write(file, damage).expect("damaged");
        }
        launches += 1;
        for _ in 0..2 {
            assert_eq!(list(&sandbox, &[PATHS]), names);
            assert_eq!(sandbox.launches(&fake).len(), launches);
        }
    }
}

/// Would catch programs that disturb each other while they fill the cache.
pub fn a_cold_cache_shared() {
    let sandbox = with_emulator();
    let mut commands: Vec<_> = (0..6).map(|_| sandbox.qgraph(["run", PATHS])).collect();
    let running: Vec<_> = commands.iter_mut().map(|command| sandbox.start(command)).collect();
    for run in running {
        let finished = run.wait().expect(0);
        assert_eq!(finished.stderr, "", "{finished}");
    }
    sandbox.assert_nothing_left();
    let fake = sandbox.at("bin/qemu-system-x86_64");
    let before = sandbox.launches(&fake).len();
    list(&sandbox, &[PATHS]);
    assert_eq!((sandbox.launches(&fake).len(), sandbox.files("cache/probes").len()), (before, 1));
}

/// Would catch a listing that starts QEMUs, as nextest asks for one again and again.
pub fn a_warm_cache_costs_no_launch() {
    let sandbox = with_emulator();
    let fake = sandbox.at("bin/qemu-system-x86_64");
    for _ in 0..3 {
        list(&sandbox, &[]);
        qgraph(&sandbox, &["why", "sdhci-pci"]).expect(0);
        runner(&sandbox, &["--list"]).expect(0);
        assert_eq!(sandbox.launches(&fake), ["none"]);
    }
    // Another file under the same name is another emulator.
    fs::remove_file(&fake).expect("removed");
    let own = std::env::current_exe().expect("an executable");
    fs::copy(own, &fake).expect("a copy");
    list(&sandbox, &[]);
    assert_eq!(sandbox.launches(&fake), ["none"; 2]);
}
