//! A Chromium without a window, asked over its debugging pipe (Chrome DevTools Protocol: JSON,
//! a NUL behind each message). It ends when the pipe is closed, whatever becomes of the test,
//! and whatever it writes goes into a folder of its own, which is removed.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use serde_json::{Value, json};
use tempfile::TempDir;

/// The programs that are looked for on `PATH`.
pub const NAMES: [&str; 3] = ["chromium", "chromium-browser", "google-chrome"];
/// How long an answer may take, far more than it needs.
const PATIENCE: Duration = Duration::from_secs(60);

/// The browser to use: `CHROME`, else the first of [`NAMES`] that is on `PATH`.
pub fn found() -> Option<PathBuf> {
    if let Some(file) = std::env::var_os("CHROME").filter(|it| !it.is_empty()) {
        return Some(file.into());
    }
    let folders: Vec<PathBuf> = std::env::split_paths(&std::env::var_os("PATH")?).collect();
    let files = NAMES.iter().flat_map(|name| folders.iter().map(move |it| it.join(name)));
    files.into_iter().find(|file| file.is_file())
}

/// A browser with one page.
pub struct Browser {
    child: Child,
    to: ChildStdin,
    from: Receiver<Value>,
    last: u64,
    /// The page's session, once it is there.
    session: Option<String>,
    /// What the browser told since it was last asked for: method and parameters.
    events: Vec<Value>,
    folder: TempDir,
}

impl Browser {
    /// Starts `program`, with an empty page.
    pub fn start(program: &Path) -> Self {
        let folder = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
        let own = |name: &str| folder.path().join(name);
        let mut child = Command::new("sh")
            // The pipe is expected at 3 (to the browser) and 4 (from it).
            .args(["-c", "exec \"$@\" 3<&0 4>&1 </dev/null >&2", "sh"])
            .arg(program)
            .args(["--headless", "--remote-debugging-pipe", "--no-sandbox", "--disable-gpu"])
            .args(["--no-first-run", "--disable-background-networking", "--disable-sync"])
            .args(["--disable-component-update", "--disable-breakpad", "--disable-dev-shm-usage"])
            .args(["--lang=en-US", "--hide-scrollbars", "about:blank"])
            .arg(format!("--user-data-dir={}", own("profile").display()))
            .envs([("HOME", folder.path()), ("TMPDIR", folder.path())])
            .envs([("XDG_CONFIG_HOME", own("config")), ("XDG_CACHE_HOME", own("cache"))])
            // Nobody's desktop is asked.
            .env_remove("DISPLAY")
            .env_remove("WAYLAND_DISPLAY")
            .env_remove("DBUS_SESSION_BUS_ADDRESS")
            // All of its processes can be found again.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(File::create(own("stderr")).expect("a file"))
            .spawn()
            .expect("sh can be started");
        let to = child.stdin.take().expect("a pipe");
        let mut lines = BufReader::new(child.stdout.take().expect("a pipe"));
        let (sender, from) = channel();
        std::thread::spawn(move || {
            let mut message = Vec::new();
            while lines.read_until(0, &mut message).is_ok_and(|count| count > 0) {
                let value = serde_json::from_slice(message.strip_suffix(b"\0").unwrap_or(&message));
                if sender.send(value.expect("the browser speaks JSON")).is_err() {
                    break;
                }
                message.clear();
            }
        });
        let (session, events) = (None, Vec::new());
        let mut browser = Self { child, to, from, last: 0, session, events, folder };
        let targets = browser.call("Target.getTargets", json!({}));
        let pages = targets["targetInfos"].as_array().expect("targets");
        let page =
            pages.iter().find(|it| it["type"] == "page").expect("a page")["targetId"].clone();
        let attached =
            browser.call("Target.attachToTarget", json!({ "targetId": page, "flatten": true }));
        browser.session = attached["sessionId"].as_str().map(str::to_owned);
        for domain in ["Page", "Runtime", "Log", "Network"] {
            browser.call(&format!("{domain}.enable"), json!({}));
        }
        browser
    }

    /// Asks the browser, and waits for the answer.
    #[track_caller]
    pub fn call(&mut self, method: &str, parameters: Value) -> Value {
        self.last += 1;
        let mut message = json!({ "id": self.last, "method": method, "params": parameters });
        if let Some(session) = &self.session {
            message["sessionId"] = json!(session);
        }
        let sent = self.to.write_all(format!("{message}\0").as_bytes());
        assert!(sent.is_ok(), "{method}: the browser ended; it wrote: {}", self.said());
        let until = Instant::now() + PATIENCE;
        loop {
            let mut answer = self.receive(until, method);
            if answer["id"] == self.last {
                assert!(answer["error"].is_null(), "{message}: {}", answer["error"]);
                return answer["result"].take();
            }
            self.events.push(answer);
        }
    }

    /// The next message. A dialog, which would keep the page from going on, is a mistake.
    #[track_caller]
    fn receive(&self, until: Instant, what: &str) -> Value {
        let left = until.saturating_duration_since(Instant::now());
        let message = self.from.recv_timeout(left);
        let message = message.unwrap_or_else(|e| {
            let how = match e {
                RecvTimeoutError::Timeout => "does not answer",
                RecvTimeoutError::Disconnected => "ended",
            };
            panic!("{what}: the browser {how}; it wrote: {}", self.said())
        });
        assert_ne!(message["method"], "Page.javascriptDialogOpening", "{message}");
        message
    }

    /// What it wrote to standard error.
    fn said(&self) -> String {
        fs::read_to_string(self.folder.path().join("stderr")).unwrap_or_default()
    }

    /// What the browser told since this was last asked for: method and parameters.
    pub fn events(&mut self) -> Vec<Value> {
        std::mem::take(&mut self.events)
    }

    /// Goes to `address`, and waits until it is loaded.
    #[track_caller]
    pub fn open(&mut self, address: &str) {
        // The same file with something else behind the # would not be loaded again.
        for address in ["about:blank", address] {
            let seen = self.events.len();
            self.call("Page.navigate", json!({ "url": address }));
            let until = Instant::now() + PATIENCE;
            while !self.events[seen..].iter().any(|it| it["method"] == "Page.loadEventFired") {
                let event = self.receive(until, address);
                self.events.push(event);
            }
        }
    }

    /// The value of a JavaScript expression in the page; a promise is waited for.
    #[track_caller]
    pub fn value(&mut self, expression: &str) -> Value {
        let how = json!({ "expression": expression, "returnByValue": true, "awaitPromise": true });
        let mut answer = self.call("Runtime.evaluate", how);
        assert!(answer["exceptionDetails"].is_null(), "{expression}: {answer:#}");
        answer["result"]["value"].take()
    }

    /// Waits until a JavaScript expression in the page is something, and returns that.
    #[track_caller]
    pub fn until(&mut self, expression: &str) -> Value {
        self.value(&format!(
            "new Promise((done, failed) => {{
               const look = () => {{
                 try {{ const it = {expression}; if (it) done(it); else setTimeout(look); }}
                 catch (e) {{ failed(e); }}
               }};
               look();
             }})"
        ))
    }

    /// Clicks in the middle of the element that `expression` is.
    #[track_caller]
    pub fn click(&mut self, expression: &str) {
        let middle = self.value(&format!(
            "(() => {{ const it = {expression}; it.scrollIntoView({{ block: 'center' }});
               const {{ x, y, width, height }} = it.getBoundingClientRect();
               const [left, top] = [x + width / 2, y + height / 2];
               if (!it.contains(document.elementFromPoint(left, top))) throw Error('it is covered');
               return [left, top]; }})()"
        ));
        for kind in ["mousePressed", "mouseReleased"] {
            let at = json!({
                "type": kind, "x": middle[0], "y": middle[1], "button": "left", "clickCount": 1,
            });
            self.call("Input.dispatchMouseEvent", at);
        }
    }

    /// Presses and releases a key: a character, or one of those with a name.
    #[track_caller]
    pub fn press(&mut self, key: &str) {
        let (code, text) = match key {
            "Tab" => (9, ""),
            "Enter" => (13, "\r"),
            "Escape" => (27, ""),
            character => (0, character),
        };
        for kind in ["keyDown", "keyUp"] {
            let text = if kind == "keyUp" { "" } else { text };
            let press = json!({
                "type": kind, "key": key, "text": text, "windowsVirtualKeyCode": code,
            });
            self.call("Input.dispatchKeyEvent", press);
        }
    }

    /// Types a text.
    #[track_caller]
    pub fn write(&mut self, text: &str) {
        text.chars().for_each(|key| self.press(&key.to_string()));
    }

    /// How the page is looked at: so many pixels wide, `light` or `dark`.
    #[track_caller]
    pub fn look(&mut self, width: u32, scheme: &str) {
        let size = json!({
            "width": width, "height": 900, "deviceScaleFactor": 1, "mobile": false,
        });
        self.call("Emulation.setDeviceMetricsOverride", size);
        let feature = json!({ "name": "prefers-color-scheme", "value": scheme });
        self.call("Emulation.setEmulatedMedia", json!({ "features": [feature] }));
    }

    /// The processes of the browser that still run, by what `/proc` says.
    fn processes(&self) -> usize {
        let group = self.child.id().to_string();
        let entries = fs::read_dir("/proc").expect("/proc").flatten();
        let runs = |stat: String| {
            // Behind the name in brackets: state, parent, process group.
            let (_, rest) = stat.rsplit_once(") ")?;
            let mut fields = rest.split(' ');
            let state = fields.next()?;
            (state != "Z" && fields.nth(1)? == group).then_some(())
        };
        entries
            .filter_map(|entry| fs::read_to_string(entry.path().join("stat")).ok())
            .filter_map(runs)
            .count()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = killpg(Pid::from_raw(self.child.id() as i32), Signal::SIGKILL);
        let _ = self.child.wait();
        let until = Instant::now() + PATIENCE;
        while self.processes() > 0 && Instant::now() < until {
            std::thread::yield_now();
        }
        // The folder goes last: nobody is left who writes there.
    }
}
