//! A QEMU process: started, watched, and gone when we are, however we end.
//!
//! All children are started by one thread that lives as long as the program, because the
//! kernel's death signal follows the *thread* that made the child. A child leads a
//! process group of its own, so that a Ctrl-C at the terminal reaches us alone and what
//! it starts itself ends with it; should we be killed, `guard` sees to that.

use std::collections::{HashMap, HashSet, VecDeque};
use std::ffi::OsString;
use std::fmt;
use std::io::{self, PipeReader, Read};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::libc;
use nix::poll::PollFlags;
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::{Pid, getpid, getppid};
use once_cell::sync::OnceCell;

use self::guard::Guard;
use self::strays::Mark;
use self::terminal::Terminal;
use super::lost_time::LostTime;
use super::proc_stat;
use crate::protocol::{Timer, note_waiting, poll};

/// What to start.
#[derive(Default)]
pub struct Launch {
    /// The program.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<OsString>,
    /// Environment variables to set.
    pub environment: Vec<(&'static str, OsString)>,
    /// Files that the child inherits under the numbers they have here; closed here once
    /// it has them.
    pub inherit: Vec<OwnedFd>,
    /// What becomes its standard input and output; nothing by default.
    pub stdio: Option<OwnedFd>,
    /// Whether it has this program's terminal until it ends: standard input, output and error.
    pub has_terminal: bool,
    /// Whether it may start others and leave them behind.
    pub may_fork: bool,
    /// Whether it may be [released](Process::release): the kernel does not end it with us, only
    /// the guard does.
    pub may_stay: bool,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ending(ExitStatus);

impl Ending {
    /// Whether it exited by itself, with status 0.
    pub fn is_success(self) -> bool {
        self.0.success()
    }

    /// Whether it exited by itself, as a program does that refuses its command line. A shell
    /// that saw its child killed exits with 128 and the signal: that is no such exit.
    pub fn is_own_exit(self) -> bool {
        self.0.code().is_some_and(|code| code < 128)
    }

    /// The status with which it exited; `None` if a signal killed it.
    pub fn status(self) -> Option<i32> {
        self.0.code()
    }

    /// Whether it exited with status 1, as QEMU does when it has said why it cannot start.
    pub fn is_refusal(self) -> bool {
        self.0.code() == Some(1)
    }

    /// Whether somebody killed it, or the kernel for want of memory.
    pub(super) fn is_killed(self) -> bool {
        self.0.signal() == Some(Signal::SIGKILL as i32)
    }

    /// In words, without whether a core was dumped, which may differ from time to time.
    pub(crate) fn without_core(self) -> String {
        self.to_string().trim_end_matches(CORE).to_owned()
    }
}

/// How often a process is looked at whose end is awaited.
const TICK: Duration = Duration::from_millis(50);

const CORE: &str = "; a core was dumped";

impl From<ExitStatus> for Ending {
    fn from(status: ExitStatus) -> Self {
        Self(status)
    }
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let Some(signal) = self.0.signal() else {
            return write!(f, "exited with status {}", self.0.code().unwrap_or(-1));
        };
        let name = signal_hook::low_level::signal_name(signal).unwrap_or("an unnamed signal");
        let words = match name {
            "SIGSEGV" => ", an access to memory that is not there",
            "SIGABRT" => ", usually a failed assertion",
            "SIGBUS" => ", an access to memory that cannot be had",
            "SIGILL" => ", an illegal instruction",
            "SIGFPE" => ", an arithmetic error",
            "SIGKILL" => ", by somebody else or for want of memory",
            _ => "",
        };
        let core = if self.0.core_dumped() { CORE } else { "" };
        write!(f, "was killed by signal {signal} ({name}{words}){core}")
    }
}

/// What a process wrote to its standard error and output: the beginning and the end of
/// it, so that a chatty one cannot fill our memory.
#[derive(Default)]
struct Output {
    head: Vec<u8>,
    tail: VecDeque<u8>,
    left_out: usize,
    finished: bool,
}

/// Bytes kept of either end of the output.
const KEPT: usize = 64 * 1024;

impl Output {
    fn push(&mut self, mut bytes: &[u8]) {
        let room = KEPT - self.head.len().min(KEPT);
        let (first, rest) = bytes.split_at(room.min(bytes.len()));
        self.head.extend_from_slice(first);
        bytes = rest;
        self.tail.extend(bytes);
        let excess = self.tail.len().saturating_sub(KEPT);
        self.tail.drain(..excess);
        self.left_out += excess;
    }

    fn text(&self) -> String {
        let mut bytes = self.head.clone();
        if self.left_out > 0 {
            bytes.extend(format!("\n[{} bytes left out]\n", self.left_out).bytes());
        }
        bytes.extend(&self.tail);
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

type Shared = Arc<(Mutex<Output>, Condvar)>;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A running child. Dropping it kills it and waits for it.
pub struct Process {
    child: Child,
    pid: Pid,
    pidfd: OwnedFd,
    output: Shared,
    ending: Option<Ending>,
    /// What it and all that comes from it is known by, if it may leave something behind.
    mark: Option<Mark>,
    /// Process groups, beside its own, that came from it.
    groups: Vec<Pid>,
    /// The terminal, as long as it has it.
    terminal: Option<Terminal>,
    /// Whether it stays when this is dropped.
    is_released: bool,
}

/// Set once the run is to stop; nothing is started any more.
static STOPPING: AtomicBool = AtomicBool::new(false);
/// The children that are alive.
static ALIVE: Mutex<Option<Alive>> = Mutex::new(None);

struct Alive {
    children: HashMap<i32, Option<Mark>>,
    guard: Guard,
}

impl Alive {
    fn new() -> Self {
        Self { children: HashMap::new(), guard: Guard::start() }
    }
}

/// Notes that this folder among the temporary files, with sockets of a child, goes with us from
/// now on, or no longer.
pub(super) fn note_folder(name: &str, goes: bool) {
    let alive = &mut *lock(&ALIVE);
    alive.get_or_insert_with(Alive::new).guard.note_folder(name, goes);
}

/// Kills every child and lets none be started any more: the run is to stop.
pub fn stop_all() {
    let alive = lock(&ALIVE);
    STOPPING.store(true, Ordering::SeqCst);
    for (&pid, mark) in alive.iter().flat_map(|alive| &alive.children) {
        kill_all_of(Pid::from_raw(pid), mark.as_ref());
    }
}

/// How often it is looked for what a child has started before it is killed.
const MOST_LOOKS: usize = 200;

/// Kills a child, what it has started, and what of that has left its process group since. All
/// of it is stopped first: what runs could start something, or leave the group, between the
/// look and the signal.
fn kill_all_of(child: Pid, mark: Option<&Mark>) {
    let mut tree = HashSet::new();
    for _ in 0..MOST_LOOKS {
        let found = proc_stat::tree(child.as_raw() as u32);
        let new: Vec<u32> = found.into_iter().filter(|&id| tree.insert(id)).collect();
        for id in &new {
            let _ = kill(Pid::from_raw(*id as i32), Signal::SIGSTOP);
        }
        if new.is_empty() && !tree.iter().any(|&id| proc_stat::is_running(id)) {
            break;
        }
        std::thread::yield_now();
    }
    for id in tree {
        let _ = kill(Pid::from_raw(id as i32), Signal::SIGKILL);
    }
    let _ = killpg(child, Signal::SIGKILL);
    kill_strays(mark);
}

/// Kills what came from a child and is there still.
fn kill_strays(mark: Option<&Mark>) {
    for stray in mark.into_iter().flat_map(Mark::processes) {
        let _ = kill(stray, Signal::SIGKILL);
    }
}

/// Whether [`stop_all`] was called.
pub fn is_stopping() -> bool {
    STOPPING.load(Ordering::SeqCst)
}

type Job = Box<dyn FnOnce() + Send>;

/// Runs `job` on the thread that starts all children, and returns what it returns.
pub(super) fn on_spawner<T: Send + 'static>(
    job: impl FnOnce() -> T + Send + 'static,
) -> io::Result<T> {
    // Tried again by the next who asks, should there be no threads left now.
    static SPAWNER: OnceCell<Sender<Job>> = OnceCell::new();
    let spawner = SPAWNER.get_or_try_init(|| {
        let (sender, jobs) = channel::<Job>();
        let run = move || jobs.into_iter().for_each(|job| job());
        let thread = std::thread::Builder::new().name("spawner".to_owned()).spawn(run);
        thread.map(|_| sender).map_err(|e| {
            io::Error::new(e.kind(), format!("the thread that starts QEMU cannot be started: {e}"))
        })
    })?;
    let gone = || io::Error::other("the thread that starts QEMU has ended");
    let (answer, result) = channel();
    spawner.send(Box::new(move || drop(answer.send(job())))).map_err(|_| gone())?;
    result.recv().map_err(|_| gone())
}

impl Process {
    /// Starts it.
    ///
    /// # Errors
    /// Those of the kernel: no such file, not executable, no processes left.
    pub fn start(launch: Launch) -> io::Result<Self> {
        on_spawner(move || Self::start_here(launch))?
    }

    fn start_here(launch: Launch) -> io::Result<Self> {
        let (read, write) = io::pipe()?;
        let mark = launch.may_fork.then(Mark::new);
        let mut command = Command::new(&launch.program);
        command
            .args(&launch.arguments)
            .envs(launch.environment.iter().map(|(name, value)| (name, value)))
            .envs(mark.as_ref().map(Mark::variable))
            .process_group(0);
        match (launch.stdio, launch.has_terminal) {
            (_, true) => &mut command,
            (Some(stdio), _) => command.stdin(stdio.try_clone()?).stdout(stdio).stderr(write),
            (None, _) => command.stdin(Stdio::null()).stdout(write.try_clone()?).stderr(write),
        };
        let terminal = if launch.has_terminal { Terminal::ours() } else { None };
        let takes_terminal = terminal.is_some();
        let parent = getpid();
        let numbers: Vec<_> = launch.inherit.iter().map(AsRawFd::as_raw_fd).collect();
        let dies_with_us = !launch.may_stay;
        let mut alive = lock(&ALIVE);
        if is_stopping() {
            return Err(io::Error::new(io::ErrorKind::Interrupted, "the run is being stopped"));
        }
        let alive = alive.get_or_insert_with(Alive::new);
        // It names itself where its own death does not end all that comes from it: we may be
        // killed before we could.
        let names_itself = !dies_with_us || mark.is_some();
        let guard = alive.guard.input().filter(|_| names_itself);
        let prepare = move || {
            if dies_with_us {
                set_pdeathsig(Signal::SIGKILL)?;
            }
            if let Some(guard) = guard {
                guard::name_own_group(guard)?;
            }
            // We may have died before the line above took effect.
            if getppid() != parent {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            for &number in &numbers {
                // SAFETY: `launch.inherit` keeps these files open until the child has them.
                let file = unsafe { std::os::fd::BorrowedFd::borrow_raw(number) };
                fcntl(file, FcntlArg::F_SETFD(FdFlag::empty()))?;
            }
            if takes_terminal {
                Terminal::take()?;
            }
            Ok(())
        };
        // SAFETY: between fork and exec `prepare` makes a few kinds of system calls and
        // neither allocates nor takes a lock.
        unsafe { command.pre_exec(prepare) };

        let mut child = command.spawn()?;
        drop(command); // and with it our copies of what the child writes to
        let pid = Pid::from_raw(child.id() as i32);
        let watched = pidfd_open(pid).and_then(|pidfd| Ok((pidfd, follow_output(read)?)));
        let (pidfd, output) = match watched {
            Ok(watched) => watched,
            Err(e) => {
                let _ = killpg(pid, Signal::SIGKILL);
                let _ = child.wait();
                return Err(e);
            }
        };
        alive.children.insert(pid.as_raw(), mark.clone());
        if guard.is_none() {
            alive.guard.add(pid);
        }
        let (ending, groups, is_released) = (None, Vec::new(), false);
        Ok(Self { child, pid, pidfd, output, ending, mark, groups, terminal, is_released })
    }

    /// Looks which process groups have come from it, so that they end with it and with us: to
    /// be called once all that it starts is there.
    pub fn note_groups(&mut self) {
        let Some(mark) = &self.mark else { return };
        self.groups = mark.other_groups(self.pid);
        if let Some(alive) = &mut *lock(&ALIVE) {
            self.groups.iter().for_each(|&group| alive.guard.add(group));
        }
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The file of the program it runs, which is not the one that was started when that
    /// was a script.
    pub fn executable(&self) -> Option<PathBuf> {
        std::fs::read_link(Path::new("/proc").join(self.id().to_string()).join("exe")).ok()
    }

    /// Waits until it has ended, at most for `limit`, not counting the time that it could not
    /// use. `None` if it still runs.
    pub fn wait_for(&mut self, limit: Duration) -> Option<Ending> {
        self.wait_unless(limit, || false)
    }

    /// As [`wait_for`](Self::wait_for), but only until `is_enough`, which is asked some times a
    /// second.
    pub fn wait_unless(&mut self, limit: Duration, is_enough: impl Fn() -> bool) -> Option<Ending> {
        let begun = Instant::now();
        let mut timer = Timer::new(begun, limit, Some(Rc::new(LostTime::of_process(self.id()))));
        let mut left = limit;
        while self.ending.is_none() {
            match poll(&self.pidfd, PollFlags::POLLIN, left.min(TICK)) {
                Err(Errno::EINTR) => {}
                Ok(happened) if happened.is_empty() && (left.is_zero() || is_enough()) => {
                    return None;
                }
                Ok(happened) if happened.is_empty() => {}
                _ => {
                    self.reap();
                    break;
                }
            }
            note_waiting();
            let now = Instant::now();
            timer.look(now);
            left = timer.left(now);
        }
        self.ending
    }

    /// How it ended, if it has.
    pub fn ending(&mut self) -> Option<Ending> {
        self.wait_for(Duration::ZERO)
    }

    fn reap(&mut self) {
        // Held while the number is given back, so that `stop_all` kills no stranger.
        let mut alive = lock(&ALIVE);
        // What it started and did not end would otherwise stay behind. Its number is ours
        // until the wait.
        let _ = killpg(self.pid, Signal::SIGKILL);
        kill_strays(self.mark.as_ref());
        if let Some(alive) = &mut *alive {
            alive.children.remove(&self.pid.as_raw());
            let groups = self.groups.drain(..).chain([self.pid]);
            groups.for_each(|group| alive.guard.remove(group));
        }
        self.ending = Some(Ending(self.child.wait().unwrap_or_default()));
        self.terminal = None;
    }

    /// Lets it stay, with all it has started, when this is dropped and when we end. It must
    /// have been started so that it may.
    pub fn release(&mut self) {
        self.is_released = true;
        if let Some(alive) = &mut *lock(&ALIVE) {
            alive.children.remove(&self.pid.as_raw());
            let groups = self.groups.drain(..).chain([self.pid]);
            groups.for_each(|group| alive.guard.remove(group));
        }
    }

    /// Kills it, with all it has started, and waits for its end; unless it was released.
    pub fn kill(&mut self) -> Ending {
        if !self.is_released && self.ending().is_none() {
            kill_all_of(self.pid, self.mark.as_ref());
            self.reap();
        }
        self.ending.unwrap_or(Ending(ExitStatus::default()))
    }

    /// Forgets what it has written so far.
    pub fn forget_output(&self) {
        let output = &mut *lock(&self.output.0);
        *output = Output { finished: output.finished, ..Output::default() };
    }

    /// Everything it has written to its standard error and output; all of it once it has
    /// ended.
    pub fn output(&self) -> String {
        let (output, changed) = &*self.output;
        let mut output = lock(output);
        if self.ending.is_some() {
            // A moment for the last bytes; no longer, should somebody else hold the pipe.
            let wait = Duration::from_millis(500);
            let waited = changed.wait_timeout_while(output, wait, |output| !output.finished);
            output = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        output.text()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A file that can be read from once the process with this number has ended. `nix` has no
/// function for it.
fn pidfd_open(pid: Pid) -> io::Result<OwnedFd> {
    // SAFETY: it takes two numbers and touches no memory of ours.
    let file = Errno::result(unsafe { libc::syscall(libc::SYS_pidfd_open, pid.as_raw(), 0) })?;
    // SAFETY: the kernel has just opened it for us, close-on-exec, and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(file as RawFd) })
}

/// Collects what comes out of a pipe until nobody writes to it any more.
fn follow_output(mut pipe: PipeReader) -> io::Result<Shared> {
    let shared = Shared::default();
    let output = shared.clone();
    let collect = move || {
        let mut buffer = [0; 4096];
        loop {
            match pipe.read(&mut buffer) {
                Ok(0) => break,
                Ok(length) => lock(&output.0).push(&buffer[..length]),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
        lock(&output.0).finished = true;
        output.1.notify_all();
    };
    std::thread::Builder::new().name("output".to_owned()).stack_size(64 << 10).spawn(collect)?;
    Ok(shared)
}

mod guard;
mod strays;
mod terminal;
#[cfg(test)]
mod tests;
