//! Compiles the accelerator's module (`module.c`) into the cache, once for each build of
//! QEMU, and vouches that what lies there is whole. Which emulator needs it is not decided
//! here.

use std::env;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::facts::machine_of;
use super::work::WorkFolder;
use super::{AccelError, Facts};
use crate::qemu::process::{Launch, Process};

const SOURCE: &str = include_str!("module.c");

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
    let home = root.join(format!("{stamp}-{:016x}", fnv1a(SOURCE.as_bytes())));
    let folder = home.join("lib");
    if is_whole(&home, facts) {
        return Ok(folder);
    }

    let failed = |error| AccelError::Cache { path: root.clone(), error };
    fs::create_dir_all(&root).map_err(failed)?;
    let work = WorkFolder::new(&root).map_err(failed)?;
    let new = work.path().join("home");
    let lib = new.join("lib");
    fs::create_dir_all(&lib).map_err(failed)?;
    let source = work.path().join("accel-qtest.c");
    fs::write(&source, SOURCE).map_err(failed)?;
    let module = lib.join(format!("{first}.so"));
    compile(facts, stamp, compilers, work.path(), &source, &module)?;

    // One file, under the name of every target of the build.
    for name in names {
        let other = lib.join(format!("{name}.so"));
        if fs::hard_link(&module, &other).is_err() {
            fs::copy(&module, &other).map_err(failed)?;
        }
    }
    let sum = fnv1a(&fs::read(&module).map_err(failed)?);
    File::open(&module).and_then(|file| file.sync_all()).map_err(failed)?;
    let mut file = File::create(new.join("sum")).map_err(failed)?;
    file.write_all(format!("{sum:016x}").as_bytes())
        .and_then(|()| file.sync_all())
        .map_err(failed)?;

    // In one step, so that nobody sees half of it; what is damaged makes room first. Whoever
    // comes second finds the place taken by the same.
    if fs::rename(&new, &home).is_err() && !is_whole(&home, facts) {
        let _ = fs::rename(&home, work.path().join("damaged"));
        if let Err(error) = fs::rename(&new, &home)
            && !is_whole(&home, facts)
        {
            return Err(failed(error));
        }
    }
    Ok(folder)
}

/// Whether every module is there, with the bytes that were compiled.
fn is_whole(home: &Path, facts: &Facts) -> bool {
    let Ok(sum) = fs::read_to_string(home.join("sum")) else {
        return false;
    };
    facts.modules.iter().all(|name| {
        fs::read(home.join("lib").join(format!("{name}.so")))
            .is_ok_and(|bytes| format!("{:016x}", fnv1a(&bytes)) == sum)
    })
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
        let launch = Launch { program, arguments, environment, inherit: Vec::new(), stdio: None };
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

/// FNV-1a of 64 bits: stable over releases and enough against accidents.
pub(crate) fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::super::{Candidate, candidates, read_facts};
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
        use std::os::unix::fs::PermissionsExt;
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

    /// Catches a module cut short by a crash being handed to QEMU.
    #[test]
    fn a_damaged_module_is_made_anew() {
        let cache = tempfile::tempdir().unwrap();
        let tools = tempfile::tempdir().unwrap();
        let cc = compilers(&copying_compiler(tools.path()));
        let folder = bring_with(&facts(), cache.path(), &cc).unwrap();
        let module = folder.join("accel-qtest-ppc.so");
        let whole = fs::read(&module).unwrap();
        fs::write(&module, &whole[..100]).unwrap();
        assert_eq!(bring_with(&facts(), cache.path(), &cc).unwrap(), folder);
        assert_eq!(fs::read(&module).unwrap(), whole);
        assert_eq!(files(&cache.path().join("modules")).len(), 1);
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
