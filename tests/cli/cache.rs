//! The cache: what is damaged in it is made anew, and what others can have put there is not
//! believed.

use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::fake::Sandbox;
use crate::{REGISTERS, qgraph};

/// Lets a shell do it: what this process writes, a child that another test starts meanwhile
/// would hold open, and then it cannot be executed.
fn shell(script: &str, words: &[&OsStr]) {
    let status = Command::new("/bin/sh").args(["-c", script, "sh"]).args(words).status();
    assert!(status.is_ok_and(|status| status.success()), "{script}");
}

/// `qgraph` with a compiler that makes something of which the fakes take it for a module.
fn with_compiler(sandbox: &Sandbox, arguments: &[&str], fake: &Path) -> Command {
    let compiler = sandbox.at("copy-cc");
    let own = std::env::current_exe().expect("an executable");
    // Its arguments end in "-o MODULE SOURCE".
    let script = format!(
        "while [ \"$1\" != -o ]; do shift; done\nhead -c 4096 '{}' >\"$2\"\n",
        own.display()
    );
    fs::write(&compiler, script).expect("a script");
    let mut command = sandbox.qgraph(arguments);
    command.env("CC", format!("/bin/sh {}", compiler.display())).env("PATH", "/usr/bin:/bin");
    command.arg("--qemu").arg(fake);
    command
}

fn module(sandbox: &Sandbox) -> PathBuf {
    let files = sandbox.files("cache/modules");
    let module = files.into_iter().find(|file| file.extension() == Some("so".as_ref()));
    module.expect("a module")
}

/// Would catch a module that was cut, deleted or replaced since the last run and is handed to
/// QEMU, which says only that it knows no such accelerator.
pub fn modules_heal() {
    let sandbox = Sandbox::new();
    let fake = sandbox.modular("modular");
    let run = || {
        let run = ["run", "--exact", REGISTERS];
        let finished = sandbox.run(&mut with_compiler(&sandbox, &run, &fake)).expect(0);
        assert_eq!(finished.stderr, "", "{finished}");
    };
    run();
    let module = module(&sandbox);
    let whole = fs::read(&module).expect("a module");
    let damages: [&dyn Fn(); 5] = [
        &|| fs::write(&module, &whole[..100]).expect("cut"),
        &|| fs::write(&module, vec![0x7f; whole.len()]).expect("replaced"),
        &|| fs::remove_file(&module).expect("deleted"),
        &|| fs::remove_dir_all(module.ancestors().nth(3).expect("modules")).expect("deleted"),
        &|| fs::set_permissions(&module, Permissions::from_mode(0o666)).expect("opened"),
    ];
    for damage in damages {
        damage();
        run();
        assert!(fs::read(&module).expect("a module") == whole);
        run();
    }
}

/// Would catch a cache in which another user could have put a module, used all the same, given
/// up without a word, or replaced by one that does not last.
pub fn a_cache_that_others_can_write_to() {
    let sandbox = Sandbox::new();
    let fake = sandbox.modular("modular");
    let open = sandbox.at("open");
    fs::create_dir(&open).expect("a folder");
    fs::set_permissions(&open, Permissions::from_mode(0o777)).expect("opened");
    for _ in 0..2 {
        let mut command = with_compiler(&sandbox, &["run", "--exact", REGISTERS], &fake);
        command.env("QGRAPH_CACHE", open.join("cache"));
        let finished = sandbox.start(&mut command).wait().expect(0);
        let words = ["the cache ", "open/cache is not used: ", "open can be written to by others"];
        let finished = finished.says(&words).says(&["warning: ", "QGRAPH_CACHE"]);
        assert_eq!(finished.stderr.matches("warning").count(), 1, "{finished}");
    }
    assert!(sandbox.files("open").is_empty(), "{:?}", sandbox.files("open"));
    assert!(sandbox.files("cache").is_empty());
    let private = sandbox.files("tmp");
    assert!(private.iter().any(|file| file.extension() == Some("so".as_ref())), "{private:?}");
    let probes = sandbox.launches(&fake).iter().filter(|machine| *machine == "none").count();
    assert_eq!(probes, 1, "what was found out is kept");

    // As everybody writes there, so does the umask of 0: one's own folder stays one's own.
    let script = r#"umask 0; exec "$@""#;
    let command = with_compiler(&sandbox, &["run", "--exact", REGISTERS], &fake);
    let program = command.get_program().to_owned();
    let arguments: Vec<_> = command.get_args().map(OsStr::to_owned).collect();
    let mut umasked = sandbox.command("/bin/sh");
    umasked.args(["-c", script, "sh"]).arg(program).args(arguments);
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => umasked.env(name, value),
            None => umasked.env_remove(name),
        };
    }
    umasked.env("QGRAPH_CACHE", sandbox.at("umasked"));
    for _ in 0..2 {
        let finished = sandbox.start(&mut umasked).wait().expect(0);
        assert_eq!(finished.stderr, "", "{finished}");
    }
    for loaded in ["umasked/modules", "umasked/probes"] {
        let (root, files) = (sandbox.at("umasked"), sandbox.files(loaded));
        assert!(!files.is_empty(), "{loaded}");
        for file in files.iter().flat_map(|file| file.ancestors()) {
            let mode = fs::metadata(file).expect("it is there").permissions().mode();
            assert!(mode & 0o022 == 0 || !file.starts_with(&root), "{mode:o} {}", file.display());
        }
    }
}

/// Would catch an emulator behind a script that leads to another one than before, told by what
/// the first one was.
pub fn a_wrapper_that_leads_elsewhere() {
    let sandbox = Sandbox::new();
    let (old, new) = (sandbox.fake("healthy"), sandbox.fake("newer"));
    let wrapper = sandbox.at("wrapped/qemu-system-x86_64");
    fs::create_dir_all(sandbox.at("wrapped")).expect("a folder");
    // Its text does not say which.
    let script = r#"printf '#!/bin/sh\nexec "$TARGET" "$@"\n' >"$1" && chmod 755 "$1""#;
    shell(script, &[wrapper.as_os_str()]);
    let run = |target: &Path| {
        let mut command = sandbox.qgraph(["run", "--exact", REGISTERS, "--qemu"]);
        command.arg(&wrapper).env("TARGET", target);
        sandbox.run(&mut command).expect(0)
    };
    let version = |target: &Path| {
        let mut command = sandbox.qgraph(["probe", "--qemu"]);
        sandbox.run(command.arg(&wrapper).env("TARGET", target)).expect(0).stdout
    };
    run(&old);
    run(&old);
    assert!(version(&old).contains("QEMU 7.2.0 fake"));
    run(&new);
    assert!(version(&new).contains("QEMU 7.2.1 fake"));
    assert_eq!(sandbox.launches(&new)[..2], ["none", "none"], "looked at, and probed");

    // Where what it leads to is another file of the same version.
    let link = sandbox.at("linked/qemu-system-x86_64");
    fs::create_dir_all(sandbox.at("linked")).expect("a folder");
    let looks = || sandbox.launches(&link).iter().filter(|machine| *machine == "none").count();
    symlink(&old, &link).expect("a link");
    run(&link);
    let before = looks();
    run(&link);
    assert_eq!(looks(), before + 1, "a look");
    fs::remove_file(&link).expect("removed");
    symlink(&new, &link).expect("a link");
    run(&link);
    assert!(looks() > before + 2, "a look, and a probe");
}

/// Would catch results of an emulator that is not the one that was probed.
pub fn an_emulator_that_becomes_another() {
    let sandbox = Sandbox::new();
    // Its version is another one with a machine than without.
    let fake = sandbox.fake("grown").to_string_lossy().into_owned();
    let finished = qgraph(&sandbox, &["run", "--exact", REGISTERS, "--qemu", &fake]).expect(1);
    let said = "is QEMU 7.2.1 fake now, and was QEMU 7.2.0 fake when it was probed";
    assert!(finished.stdout.contains(said), "{finished}");
}

/// Would catch a failure that is believed for ever because the clock was wrong when it was
/// remembered.
pub fn a_failure_of_tomorrow() {
    let sandbox = Sandbox::new();
    let fake = sandbox.fake("probe-exit").to_string_lossy().into_owned();
    let list = || qgraph(&sandbox, &["list", "--qemu", &fake]).expect(2);
    list();
    let launches = sandbox.launches(Path::new(&fake)).len();
    list();
    assert_eq!(sandbox.launches(Path::new(&fake)).len(), launches, "it is remembered");
    for file in sandbox.files("cache/probes") {
        let text = fs::read_to_string(&file).expect("text");
        let (before, rest) = text.split_once("\"written\":").expect("a time");
        let (seconds, rest) = rest.split_once(',').expect("more");
        let tomorrow = seconds.parse::<u64>().expect("a number") + 86_400;
        fs::write(&file, format!("{before}\"written\":{tomorrow},{rest}")).expect("written");
    }
    list();
    assert_eq!(sandbox.launches(Path::new(&fake)).len(), 2 * launches);
}
