//! Compiles the accelerator's module (`module.c`) into the cache, once for each build of
//! QEMU. Which emulator needs it is not decided here, and whether what lies there is whole is
//! for `kept`.

use std::env;
use std::ffi::OsString;
use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::facts::machine_of;
use super::work::WorkFolder;
use super::{AccelError, Facts, kept};
use crate::files::prune::{self, DAY};
use crate::files::sum::fnv1a;
use crate::files::{atomic, trust};
use crate::qemu::process::{Launch, Process};

const SOURCE: &str = include_str!("module.c");
/// For how long the modules of a build stay that nobody uses.
const KEPT: Duration = DAY.saturating_mul(60);

/// How long a compiler may take for its page of C, not counting the time that it could not use.
const PATIENCE: Duration = Duration::from_secs(60);

/// Compiles the emulator's module, if the cache has it not yet, and returns the folder for
/// `QEMU_MODULE_DIR`. Writes below `cache` and nowhere else; several processes may do this at
/// once.
///
/// # Errors
/// [`AccelError::NoModule`] for an emulator that takes none, [`AccelError::Cache`] when `cache`
/// cannot be written, [`AccelError::Compile`] when no compiler is there or all failed.
pub fn bring(facts: &Facts, cache: &Path) -> Result<PathBuf, AccelError> {
    let chosen = env::var("CC").ok().filter(|cc| !cc.trim().is_empty());
    let usual = ["cc", "gcc", "clang"].map(str::to_owned);
    bring_with(facts, cache, &Vec::from_iter(chosen.into_iter().chain(usual)))
}

fn bring_with(facts: &Facts, cache: &Path, compilers: &[String]) -> Result<PathBuf, AccelError> {
    let lacks = |missing| AccelError::NoModule { path: facts.binary.clone(), missing };
    let stamp = facts.stamp.as_deref().ok_or(lacks("no qemu_stamp_…"))?;
    let mut names = facts.modules.iter();
    let first = names.next().ok_or(lacks("no module accel-qtest"))?;

    let root = std::path::absolute(cache).unwrap_or_else(|_| cache.to_owned()).join("modules");
    let failed = |error| AccelError::Cache { path: root.clone(), error };
    atomic::make_folder(&root).map_err(failed)?;
    trust::tighten(&root);
    // Without links, so that nobody can lead them elsewhere.
    let root = trust::folder(&root).map_err(failed)?;
    let failed = |error| AccelError::Cache { path: root.clone(), error };
    let home = root.join(format!("{stamp}-{:016x}", fnv1a(SOURCE.as_bytes())));
    if kept::is_whole(&home, &facts.modules) {
        return Ok(kept::modules(&home));
    }

    let work = WorkFolder::new(&root).map_err(failed)?;
    let new = work.path().join("home");
    let lib = kept::modules(&new);
    atomic::make_folder(&lib).map_err(failed)?;
    let source = work.path().join("accel-qtest.c");
    fs::write(&source, SOURCE).map_err(failed)?;
    let module = lib.join(format!("{first}.so"));
    compile(facts, stamp, compilers, work.path(), &source, &module)?;
    // A compiler leaves what the umask does.
    fs::set_permissions(&module, Permissions::from_mode(0o644)).map_err(failed)?;

    // One file, under the name of every target of the build.
    for name in names {
        let other = lib.join(format!("{name}.so"));
        if fs::hard_link(&module, &other).is_err() {
            fs::copy(&module, &other).map_err(failed)?;
        }
    }
    File::open(&module).and_then(|file| file.sync_all()).map_err(failed)?;
    let content = fs::read(&module).map_err(failed)?;
    kept::seal(&new, &facts.modules, &content).map_err(failed)?;

    // In one step, so that nobody sees half of it; what is damaged makes room first. Whoever
    // comes second finds the place taken by the same.
    if fs::rename(&new, &home).is_err() && !kept::is_whole(&home, &facts.modules) {
        let _ = fs::rename(&home, work.path().join("damaged"));
        if let Err(error) = fs::rename(&new, &home)
            && !kept::is_whole(&home, &facts.modules)
        {
            return Err(failed(error));
        }
    }
    if !kept::is_whole(&home, &facts.modules) {
        return Err(failed(io::Error::other("what was compiled did not stay as it was")));
    }
    prune::prune(&root, KEPT, |_| true);
    Ok(kept::modules(&home))
}

/// Makes `module` from `source` with the first of `compilers` that can.
fn compile(
    facts: &Facts,
    stamp: &str,
    compilers: &[String],
    work: &Path,
    source: &Path,
    module: &Path,
) -> Result<(), AccelError> {
    let mut attempts = Vec::new();
    for compiler in compilers {
        // CC may carry arguments ("ccache gcc").
        let mut words = compiler.split_whitespace();
        let program = words.next().unwrap_or("cc").into();
        // An emulator whose version is hidden is taken for a recent one.
        let version = facts.version.map_or(9999, |v| v.major * 100 + v.minor);
        let stamp = format!("-DSTAMP=qemu_stamp_{stamp}");
        let version = format!("-DVERSION={version}");
        let words = words.chain(["-shared", "-fPIC", "-O2", &stamp, &version, "-o"]);
        let mut arguments: Vec<OsString> = words.map(Into::into).collect();
        arguments.extend([module, source].map(OsString::from));
        let environment = vec![("TMPDIR", work.into()), ("LC_ALL", "C".into())];
        // As a process of ours it ends with the run.
        let launch = Launch { program, arguments, environment, ..Launch::default() };
        let (ending, said) = match Process::start(launch) {
            Ok(mut process) => (process.wait_for(PATIENCE), process.output()),
            Err(error) => {
                attempts.push(format!("{compiler}: {error}"));
                continue;
            }
        };
        match ending {
            None => attempts.push(format!("{compiler}: not done within {PATIENCE:?}")),
            Some(ending) if !ending.is_success() => {
                attempts.push(format!("{compiler}: it {ending}\n{}", said.trim_end()));
            }
            Some(_) => match made_for(module) {
                Ok(machine) if machine == facts.machine => return Ok(()),
                Ok(_) => attempts.push(format!("{compiler}: compiles for another machine")),
                Err(error) => attempts.push(format!("{compiler}: made no module: {error}")),
            },
        }
    }
    Err(AccelError::Compile { attempts: attempts.join("\n") })
}

fn made_for(module: &Path) -> io::Result<Option<[u8; 4]>> {
    fs::read(module).map(|bytes| machine_of(&bytes))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::super::{Candidate, Source, candidates, read_facts};
    use super::*;

    const STAMP: &str = "0123456789abcdef0123456789abcdef01234567";

    /// An emulator for the machine the tests run on, whatever that is.
    fn facts() -> Facts {
        let own = fs::read(env::current_exe().unwrap()).unwrap();
        Facts {
            binary: "/usr/bin/qemu-system-arm".into(),
            stamp: Some(STAMP.into()),
            modules: ["accel-qtest-arm", "accel-qtest-ppc"].map(String::from).into(),
            machine: machine_of(&own),
            ..Facts::default()
        }
    }

    fn compilers(name: &str) -> Vec<String> {
        vec![name.to_owned()]
    }

    fn files(folder: &Path) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    /// A compiler for tests that "compiles" by copying a file of this machine.
    fn copying_compiler(folder: &Path) -> String {
        let path = folder.join("copy-cc");
        let own = env::current_exe().unwrap();
        // Its arguments end in "-o MODULE SOURCE".
        let script = format!(
            "#!/bin/sh\nwhile [ \"$1\" != -o ]; do shift; done\nhead -c 4096 '{}' >\"$2\"\n",
            own.display()
        );
        fs::write(&path, script).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        format!("/bin/sh {}", path.display())
    }

    /// Catches a folder with more or less in it than the modules, and litter in the cache.
    #[test]
    fn the_folder_holds_the_modules_and_nothing_else() {
        let cache = tempfile::tempdir().unwrap();
        let tools = tempfile::tempdir().unwrap();
        let cc = compilers(&copying_compiler(tools.path()));
        let folder = bring_with(&facts(), cache.path(), &cc).unwrap();
        assert_eq!(files(&folder), ["accel-qtest-arm.so", "accel-qtest-ppc.so"]);
        assert_eq!(files(&cache.path().join("modules")).len(), 1);
        // Found again without a compiler.
        let again = bring_with(&facts(), cache.path(), &compilers("/nowhere/cc")).unwrap();
        assert_eq!(again, folder);
    }

    /// Catches a module cut short by a crash, or replaced, or put there by another user, being
    /// handed to QEMU; and one that is missing or too many.
    #[test]
    fn a_damaged_module_is_made_anew() {
        let cache = tempfile::tempdir().unwrap();
        let tools = tempfile::tempdir().unwrap();
        let cc = compilers(&copying_compiler(tools.path()));
        let folder = bring_with(&facts(), cache.path(), &cc).unwrap();
        let (module, list) = (folder.join("accel-qtest-ppc.so"), folder.join("../sum"));
        let whole = fs::read(&module).unwrap();
        let mode = |path: &Path, mode| {
            fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
        };
        let damages: [&dyn Fn(); 11] = [
            &|| fs::write(&module, &whole[..100]).unwrap(),
            &|| fs::write(&module, vec![0; whole.len()]).unwrap(),
            &|| fs::remove_file(&module).unwrap(),
            &|| fs::write(folder.join("ui-gtk.so"), &whole).unwrap(),
            &|| fs::remove_file(&list).unwrap(),
            &|| fs::write(&list, "").unwrap(),
            &|| fs::remove_dir_all(&folder).unwrap(),
            &|| mode(&module, 0o666),
            &|| mode(&folder, 0o777),
            &|| mode(folder.parent().unwrap(), 0o777),
            &|| {
                let elsewhere = tools.path().join("module");
                fs::rename(&module, &elsewhere).unwrap();
                std::os::unix::fs::symlink(elsewhere, &module).unwrap();
            },
        ];
        for (number, damage) in damages.into_iter().enumerate() {
            damage();
            assert_eq!(bring_with(&facts(), cache.path(), &cc).unwrap(), folder, "{number}");
            assert_eq!(fs::read(&module).unwrap(), whole, "{number}");
            assert!(fs::symlink_metadata(&module).unwrap().is_file(), "{number}");
            let modes = [&module, &folder].map(|it| fs::metadata(it).unwrap().mode() & 0o022);
            assert_eq!(modes, [0, 0], "{number}");
            assert_eq!(files(&folder).len(), 2, "{number}");
            assert_eq!(files(&cache.path().join("modules")).len(), 1, "{number}");
        }
    }

    /// Catches a module that another user can replace being handed to QEMU, and a umask that
    /// makes one.
    #[test]
    fn a_cache_that_others_can_write_to_is_refused() {
        let root = tempfile::tempdir().unwrap();
        let tools = tempfile::tempdir().unwrap();
        let cc = compilers(&copying_compiler(tools.path()));
        let cache = root.path().join("cache");
        fs::create_dir(&cache).unwrap();
        fs::set_permissions(&cache, Permissions::from_mode(0o777)).unwrap();
        let e = bring_with(&facts(), &cache, &cc).unwrap_err().to_string();
        assert!(e.contains("can be written to by others") && e.contains("QGRAPH_CACHE"), "{e}");
    }

    /// Catches a module that is not looked at again once it was found to be whole.
    #[test]
    fn what_changes_during_a_run_is_noticed() {
        let cache = tempfile::tempdir().unwrap();
        let tools = tempfile::tempdir().unwrap();
        let cc = compilers(&copying_compiler(tools.path()));
        let folder = bring_with(&facts(), cache.path(), &cc).unwrap();
        let source = Source::Brought { folder: folder.clone() };
        // No emulator is there, so it cannot be made anew; nor need it be.
        let ensure = || kept::ensure(&source, Path::new("/nowhere/qemu"));
        ensure().unwrap();
        let module = folder.join("accel-qtest-arm.so");
        let whole = fs::read(&module).unwrap();
        fs::write(&module, &whole).unwrap();
        ensure().expect("written to, and the same");
        for damage in [&whole[..100], &vec![0; whole.len()]] {
            fs::write(&module, damage).unwrap();
            // The kernel's clock may not have moved on since.
            let past = std::time::SystemTime::now() - DAY;
            File::open(&module).unwrap().set_modified(past).unwrap();
            assert!(ensure().is_err());
            fs::write(&module, &whole).unwrap();
            ensure().unwrap();
        }
        fs::remove_file(&module).unwrap();
        assert!(ensure().is_err());
    }

    /// Catches modules of builds that are long gone and stay for ever.
    #[test]
    fn old_modules_go() {
        let cache = tempfile::tempdir().unwrap();
        let tools = tempfile::tempdir().unwrap();
        let cc = compilers(&copying_compiler(tools.path()));
        let [old, used] = [STAMP, &STAMP.replace('0', "f")].map(|stamp| {
            let facts = Facts { stamp: Some(stamp.to_owned()), ..facts() };
            let folder = bring_with(&facts, cache.path(), &cc).unwrap();
            let past = std::time::SystemTime::now() - 2 * KEPT;
            File::open(folder.parent().unwrap()).unwrap().set_modified(past).unwrap();
            (facts, folder)
        });
        bring_with(&used.0, cache.path(), &[]).unwrap();
        let newest = Facts { stamp: Some(STAMP.replace('1', "e")), ..facts() };
        bring_with(&newest, cache.path(), &cc).unwrap();
        assert!(!old.1.exists() && used.1.exists());
    }

    /// Catches an error that hides what was tried or what to do, and litter left by a failure.
    #[test]
    fn without_a_compiler_the_way_out_is_told() {
        let cache = tempfile::tempdir().unwrap();
        let error = bring_with(&facts(), cache.path(), &compilers("/nowhere/cc")).unwrap_err();
        let text = error.to_string();
        for part in ["/nowhere/cc", "No such file", "C compiler", "qemu-tests"] {
            assert!(text.contains(part), "{part} is not in: {text}");
        }
        assert!(files(&cache.path().join("modules")).is_empty());
    }

    /// Catches a compiler's own words being lost, and a module for another machine being used.
    #[test]
    fn a_failing_compiler_is_quoted() {
        let cache = tempfile::tempdir().unwrap();
        let tools = tempfile::tempdir().unwrap();
        let script = tools.path().join("cc");
        fs::write(&script, "echo no stddef.h here >&2; exit 3").unwrap();
        let failing = format!("/bin/sh {}", script.display());
        let text =
            bring_with(&facts(), cache.path(), &compilers(&failing)).unwrap_err().to_string();
        assert!(text.contains("no stddef.h here"), "{text}");

        let cross = Facts { machine: Some([2, 1, 0, 0]), ..facts() };
        let cc = compilers(&copying_compiler(tools.path()));
        let text = bring_with(&cross, cache.path(), &cc).unwrap_err().to_string();
        assert!(text.contains("another machine"), "{text}");
    }

    /// Catches an unwritable cache blamed on something else.
    #[test]
    fn an_unwritable_cache_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let cache = folder.path().join("file");
        fs::write(&cache, "").unwrap();
        let text = bring_with(&facts(), &cache, &compilers("cc")).unwrap_err().to_string();
        assert!(text.contains("QGRAPH_CACHE"), "{text}");
        assert!(text.contains(&*cache.to_string_lossy()), "{text}");
    }

    /// Catches an emulator without a stamp getting a module that it cannot take.
    #[test]
    fn without_a_stamp_there_is_no_module() {
        let bare = Facts { stamp: None, ..facts() };
        let error = bring_with(&bare, Path::new("/nowhere"), &[]).unwrap_err();
        assert!(matches!(error, AccelError::NoModule { .. }), "{error}");
    }

    /// Catches a source that no longer compiles, with an emulator installed here.
    #[test]
    fn an_installed_emulator_gets_its_module() {
        let facts = fs::read_dir("/usr/bin")
            .into_iter()
            .flatten()
            .flatten()
            .filter(|program| program.file_name().to_string_lossy().starts_with("qemu-system-"))
            .map(|program| read_facts(&program.path()).unwrap())
            .find(|facts| candidates(facts).contains(&Candidate::Brought));
        let Some(facts) = facts else {
            eprintln!("skipped: no QEMU with modules in /usr/bin");
            return;
        };
        let cache = tempfile::tempdir().unwrap();
        let folder = bring(&facts, cache.path()).unwrap();
        assert_eq!(files(&folder).len(), facts.modules.len());
    }
}
