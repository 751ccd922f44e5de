//! A program that starts the emulator and stays around it: valgrind, strace, a debugger. What
//! its words are and what it asks for; `vm::start` starts it.

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use super::binary;
use super::command_line::quote;

/// Names of debuggers, whole or as a part of a name such as `gdb-multiarch` and `lldb-14`.
const DEBUGGERS: [&str; 5] = ["gdb", "gdbtui", "gdbserver", "cgdb", "lldb"];

/// What a debugger must be told, so that it takes the words behind the emulator for the
/// emulator's arguments.
const TAKES_ARGUMENTS: [(&str, &[&str]); 2] = [("gdb", &["--args", "-args"]), ("lldb", &["--"])];

/// A program with arguments, to which the emulator and its arguments are added.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wrapper {
    /// Its file.
    program: PathBuf,
    /// All its words; the first is the program as it was named.
    words: Vec<String>,
}

/// Why a text is no wrapper.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadWrapper {
    /// It cannot be split into words.
    #[error("`{0}` cannot be split into words: a quote or a backslash has no end")]
    Unbalanced(String),
    /// It has no words.
    #[error("a wrapper is a program and its arguments, such as 'valgrind -q'")]
    Empty,
    /// Its program cannot be run.
    #[error("the wrapper `{0}` cannot be run: {1}")]
    NoProgram(String, &'static str),
    /// It would take QEMU's arguments for its own.
    #[error("`{0}` would take QEMU's arguments for its own: say `{0} {1}`")]
    NoArguments(String, &'static str),
}

impl Wrapper {
    /// The wrapper that a user writes like a command for a shell, up to where the emulator
    /// follows. No shell runs.
    ///
    /// # Errors
    /// Returns [`BadWrapper`] if it cannot be split, or its program cannot be run.
    pub fn parse(text: &str) -> Result<Self, BadWrapper> {
        let words = shlex::split(text);
        Self::of(words.ok_or_else(|| BadWrapper::Unbalanced(text.to_owned()))?)
    }

    /// The wrapper of these words.
    ///
    /// # Errors
    /// Returns [`BadWrapper`] if there are none, or the first is no program.
    pub fn of(words: Vec<String>) -> Result<Self, BadWrapper> {
        let first = words.first().ok_or(BadWrapper::Empty)?;
        let no_program = |why| BadWrapper::NoProgram(first.clone(), why);
        let program = binary::program(first).map_err(no_program)?;
        for (name, options) in TAKES_ARGUMENTS {
            if is_called(first, &[name]) && !words.iter().any(|it| options.contains(&&**it)) {
                return Err(BadWrapper::NoArguments(words.join(" "), options[0]));
            }
        }
        Ok(Self { program, words })
    }

    /// Its file.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// The arguments of its program with which it starts `emulator` with these arguments.
    pub(super) fn arguments(&self, emulator: &Path, arguments: Vec<OsString>) -> Vec<OsString> {
        let own = self.words.iter().skip(1).map(OsString::from);
        own.chain([emulator.into()]).chain(arguments).collect()
    }

    /// Whether it is a debugger, by the name of its program or of one that this starts: it has
    /// the terminal, QEMU one at a time, and no limits of time.
    pub fn is_debugger(&self) -> bool {
        let is_word = |word: &&String| !word.starts_with('-') && !word.contains('=');
        let replays =
            |word: &String| is_called(word, &["rr"]) && self.words.contains(&"replay".to_owned());
        self.words.iter().filter(is_word).any(|word| is_called(word, &DEBUGGERS) || replays(word))
    }
}

/// Whether a program's file is called so, perhaps with something added: `lldb-14` is `lldb`.
fn is_called(program: &str, names: &[&str]) -> bool {
    let file = program.rsplit('/').next().unwrap_or(program);
    file.split('-').any(|part| names.contains(&part))
}

impl fmt::Display for Wrapper {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let words: Vec<_> = self.words.iter().map(|word| quote(word)).collect();
        f.write_str(&words.join(" "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Would catch words that are split at blanks within quotes, and a wrapper that is lost or
    /// stands behind the emulator.
    #[test]
    fn words_are_those_of_a_shell() {
        let wrapper = Wrapper::parse(r#"/bin/sh -c 'exec "$@"' "a b""#).unwrap();
        let line = wrapper.arguments(Path::new("/q"), vec!["-M".into(), "pc".into()]);
        assert_eq!(line, [r"-c", r#"exec "$@""#, "a b", "/q", "-M", "pc"]);
        assert_eq!(wrapper.program(), Path::new("/bin/sh"));
        assert_eq!(wrapper.to_string(), r#"/bin/sh -c 'exec "$@"' 'a b'"#);
        let sh = Wrapper::parse("sh").unwrap();
        assert!(sh.program().is_absolute(), "{}", sh.program().display());
    }

    /// Would catch a wrapper that cannot be run and is found out path by path.
    #[test]
    fn what_is_no_wrapper() {
        let why = |text: &str| Wrapper::parse(text).unwrap_err().to_string();
        assert!(why("sh -c 'x").contains("a quote or a backslash has no end"));
        assert!(why(" ").contains("a program and its arguments"));
        assert!(why("no-such-program -x").contains("no such program is on PATH"));
        assert!(why("/no/such/program").contains("no such file"));
        assert!(why("/etc/passwd").contains("not executable"));
    }

    fn of(words: &[&str]) -> Wrapper {
        let words = words.iter().map(|&word| word.to_owned()).collect();
        Wrapper { program: PathBuf::new(), words }
    }

    /// Would catch a debugger without its terminal, or limits that are off for what is none.
    #[test]
    fn debuggers_are_known_by_name() {
        for words in [
            &["gdb", "--args"][..],
            &["/opt/gdb-14/bin/x86_64-linux-gnu-gdb", "--args"],
            &["lldb-14", "--"],
            &["env", "A=b", "gdb-multiarch", "--args"],
            &["rr", "replay"],
        ] {
            assert!(of(words).is_debugger(), "{words:?}");
        }
        let others = [
            &["valgrind", "--db-command=gdb"][..],
            &["strace", "-f", "-o", "trace"],
            &["rr", "record"],
            &["timeout", "100"],
        ];
        for words in others {
            assert!(!of(words).is_debugger(), "{words:?}");
        }
    }

    /// Would catch a debugger that takes QEMU's first argument for a core file.
    #[test]
    fn debuggers_take_arguments() {
        let of = |words: &[&str]| Wrapper::of(words.iter().map(|&word| word.to_owned()).collect());
        let folder = tempfile::tempdir().unwrap();
        let gdb = folder.path().join("gdb");
        std::os::unix::fs::symlink("/bin/sh", &gdb).unwrap();
        let gdb = gdb.to_str().unwrap();
        let why = of(&[gdb]).unwrap_err().to_string();
        assert!(why.ends_with(&format!("say `{gdb} --args`")), "{why}");
        assert!(of(&[gdb, "-q", "--args"]).is_ok());
    }
}
