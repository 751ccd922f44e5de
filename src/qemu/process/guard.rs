//! Somebody who ends what we have started when we cannot: killed, nothing of ours runs any
//! more. The kernel's death signal reaches our own children only, and a QEMU that a script has
//! started is none of them. So a shell waits until nobody holds the other end of its standard
//! input, and kills the process groups that were named there.

use std::io::{self, Write};
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use nix::unistd::{Pid, getpid, write};

/// Each line is `+GROUP` for one that is there from now on, or `-GROUP`; or `=FOLDER` and
/// `!FOLDER` for a folder of sockets among the temporary files. The end comes when we are gone,
/// however that came.
const SCRIPT: &str = r#"trap '' HUP INT TERM
groups=' ' folders=' '
while read -r line; do
    name=${line#?}
    case $line in
    +*) groups="$groups$name " ;;
    -*) groups="${groups%% "$name" *} ${groups#* "$name" }" ;;
    =*) folders="$folders$name " ;;
    !*) folders="${folders%% "$name" *} ${folders#* "$name" }" ;;
    esac
done
for group in $groups; do kill -KILL "-$group" 2>/dev/null; done
for folder in $folders; do rm -rf "$1/$folder"; done"#;

/// The shell.
pub(super) struct Guard(Option<Child>);

impl Guard {
    /// Starts it; without a shell there is no guard.
    pub fn start() -> Self {
        let mut command = Command::new("/bin/sh");
        command
            .args(["-c", SCRIPT, "guard"])
            .arg(std::path::absolute(std::env::temp_dir()).unwrap_or_default())
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // What ends our group is not for it.
            .process_group(0);
        Self(command.spawn().ok())
    }

    /// Where groups are named; nowhere without a guard.
    pub fn input(&self) -> Option<RawFd> {
        self.0.as_ref()?.stdin.as_ref().map(AsRawFd::as_raw_fd)
    }

    /// This process group is there.
    pub fn add(&mut self, group: Pid) {
        self.tell(&format!("+{group}\n"));
    }

    /// It is gone, or about to be: its number may soon be another's.
    pub fn remove(&mut self, group: Pid) {
        self.tell(&format!("-{group}\n"));
    }

    /// This folder among the temporary files goes with us from now on, or no longer.
    pub fn note_folder(&mut self, name: &str, goes: bool) {
        self.tell(&format!("{}{name}\n", if goes { '=' } else { '!' }));
    }

    fn tell(&mut self, line: &str) {
        let input = self.0.as_mut().and_then(|child| child.stdin.as_mut());
        let told = input.is_none_or(|input| input.write_all(line.as_bytes()).is_ok());
        if !told && let Some(mut gone) = self.0.take() {
            let _ = gone.wait();
        }
    }
}

/// Names the group that this process leads, by the [input](Guard::input) of the guard: for a child
/// that has not become its program yet. It neither allocates nor takes a lock.
///
/// # Errors
/// Returns the error of the kernel.
pub(super) fn name_own_group(input: RawFd) -> io::Result<()> {
    let mut line = [0; 16];
    let room = line.len();
    let mut rest = &mut line[..];
    writeln!(rest, "+{}", getpid())?;
    let length = room - rest.len();
    // SAFETY: the parent keeps the file open until the child has become its program.
    let input = unsafe { BorrowedFd::borrow_raw(input) };
    write(input, &line[..length])?;
    Ok(())
}
