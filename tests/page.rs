//! The page that `--html` writes, as its reader meets it: in a browser. What is in it as data
//! is for the unit tests of the report.
//!
//! Without a browser these tests are ignored, unless `QGRAPH_REQUIRE_BROWSER` is set.

mod browser;
mod fake;

use std::fs;
use std::process::ExitCode;

use browser::Browser;
use fake::Sandbox;
use serde_json::{Value, json};

fn main() -> ExitCode {
    let required = std::env::var_os("QGRAPH_REQUIRE_BROWSER").is_some_and(|it| !it.is_empty());
    let ignored = !required && browser::found().is_none();
    if ignored && fake::called().starts_with("page") {
        eprintln!("note: {NO_BROWSER}; the tests of the page are ignored");
    }
    let trials = trials![
        the_reader_sees_what_came_of_it,
        the_filter_leaves_what_matches,
        a_chip_hides_an_outcome,
        a_failure_opens,
        commands_are_copied,
        the_keyboard_is_enough,
        text_of_others_stays_text,
        it_can_be_read_at_any_width_by_day_and_night,
    ];
    fake::main(trials.into_iter().map(|trial| trial.with_ignored_flag(ignored)).collect())
}

const NO_BROWSER: &str =
    "no chromium, chromium-browser or google-chrome on PATH, and CHROME names none";

/// What would end or begin an element, an attribute or a comment, and what no screen shows.
const NASTY: &str = "</script><script>window.pwned = 1</script>\n\
    <img src=\"http://127.0.0.1:9/\" onerror=\"window.pwned = 2\"> & &amp; {{script}} <!-- ]]>\n\
    'a' \\u003cb \u{1b}[31mred\u{1b}[0m \0\u{7}\u{202e}\t|";
/// How it is shown.
const SHOWN: &str = "</script><script>window.pwned = 1</script>\n\
    <img src=\"http://127.0.0.1:9/\" onerror=\"window.pwned = 2\"> & &amp; {{script}} <!-- ]]>\n\
    'a' \\u003cb \u{fffd}[31mred\u{fffd}[0m \u{fffd}\u{fffd}\u{fffd}\t|";
const COMMAND: &str = "qemu-system-arm -M virt -name '<b>it & that</b>'";
const RUN_FAILED: &str = "qgraph run --qemu '/opt/it'\\''s here/qemu-system-arm' \
    --exact /arm/virt/bus/dev/dev-tests/failed";
const SUITE: &str = "/arm/virt/bus/dev/dev-tests";
/// A path whose name is markup.
const MARKUP: &str = "/arm/raspi2b/<img src=x onerror=pwned=3>/\"'&-tests/<script>pwned=4<b>";

/// A journal with an outcome of every kind.
fn journal() -> String {
    let line = |name: &str, outcome: &str, seconds: f64| {
        let name = if name.starts_with('/') { name.to_owned() } else { format!("{SUITE}/{name}") };
        let mut line = json!({
            "name": name, "outcome": outcome, "seconds": seconds,
            "emulator": "/opt/it's here/qemu-system-arm",
            "phases": { "launch": 0.25, "attach": 0.0, "test": 1.0, "leave": 0.25 },
        });
        if !["passed", "stopped"].contains(&outcome) {
            line["message"] = format!("{outcome}: left 1, right 2\n{NASTY}").into();
        }
        line
    };
    let with = |mut line: Value| {
        for key in ["diagnosis", "transcript", "output"] {
            line[key] = format!("{key} {NASTY}").into();
        }
        line["command_line"] = COMMAND.into();
        line["file"] = "src/tests/<b>.rs".into();
        line
    };
    let attempt = || {
        let mut line = with(line("", "failed", 0.5));
        line["after"] = json!([MARKUP, format!("{SUITE}/passed")]);
        line
    };
    let tried = |mut line: Value| {
        line["attempts"] = json!([attempt()]);
        line
    };
    let mut crashed = with(line("crashed", "crashed", 2.0));
    crashed["reproducer"] = "/tmp/<b>replay it.sh".into();
    let registers = "/arm/raspi2b/generic-sdhci/sdhci/sdhci-tests/registers";
    let lines = [
        line("passed", "passed", 0.1),
        line(registers, "passed", 0.2),
        with(line("failed", "failed", 1.5)),
        with(line(MARKUP, "failed", 3.0)),
        crashed,
        tried(with(line("hung", "hung", 60.0))),
        line("skipped", "skipped", 0.0),
        tried(line("dependent", "dependent", 0.3)),
        tried(line("flaky", "flaky", 0.4)),
        with(line("known", "expected-failure", 0.5)),
        line("surprise", "unexpected-pass", 0.6),
        line("stopped", "stopped", 0.7),
    ];
    lines.iter().map(|line| format!("{line}\n")).collect()
}

/// The page of that journal, and a browser that has it open.
struct Reader {
    browser: Browser,
    address: String,
    _sandbox: Sandbox,
}

impl Reader {
    fn new() -> Self {
        let sandbox = Sandbox::new();
        fs::write(sandbox.at("journal"), journal()).expect("written");
        let merge = ["merge", "journal", "--html", "page.html"];
        sandbox.run(&mut sandbox.qgraph(merge)).expect(1);
        let program = browser::found().unwrap_or_else(|| panic!("{NO_BROWSER}"));
        let mut browser = Browser::start(&program);
        let address = format!("file://{}", sandbox.at("page.html").display());
        browser.look(1400, "light");
        browser.open(&address);
        Self { browser, address, _sandbox: sandbox }
    }

    /// Goes to another view of the page.
    #[track_caller]
    fn view(&mut self, view: &str) {
        self.browser.click(&format!("document.querySelector('[data-view={view}]')"));
    }

    /// The paths that are to be seen, in any order.
    #[track_caller]
    fn paths(&mut self) -> Vec<String> {
        let names = self.browser.value(
            "[...document.querySelectorAll('#list .path')].filter(it => it.checkVisibility())
              .map(it => {
                const names = [];
                for (; it && !it.matches('.problem'); it = it.parentElement.closest('details')) {
                  names.unshift(it.querySelector('.name').firstChild.data);
                }
                return names.join('/').replace(/^\\/?/, '/');
              }).sort()",
        );
        serde_json::from_value(names).expect("a list of names")
    }

    /// The text of the first element of the page that this selector has.
    #[track_caller]
    fn text(&mut self, selector: &str) -> String {
        let text = self.browser.value(&format!("document.querySelector({selector:?}).textContent"));
        text.as_str().expect("a text").to_owned()
    }

    /// Opens the path of this case in the list of problems, with the mouse.
    #[track_caller]
    fn open(&mut self, case: &str) {
        self.browser.click(&format!("{}.querySelector('summary')", problem(case)));
        self.browser.until(&format!("{}.querySelector('.body')", problem(case)));
    }

    /// Opens everything that can be opened.
    #[track_caller]
    fn open_all(&mut self) {
        self.browser.value(
            "(async () => {
              for (let closed; (closed = document.querySelectorAll('details:not([open])')).length;) {
                closed.forEach(it => { it.open = true; });
                await new Promise(done => setTimeout(done));
              }
            })()",
        );
    }
}

/// The names of these cases of the suite.
fn cases(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| format!("{SUITE}/{name}")).collect()
}

/// A path in the problems' list, as an expression.
fn problem(case: &str) -> String {
    format!(
        "[...document.querySelectorAll('#list .path')]\
         .find(it => it.querySelector('.name').textContent.endsWith('/{case}'))"
    )
}

/// Would catch an outcome that is missing, counted wrongly, or in no view.
fn the_reader_sees_what_came_of_it() {
    let mut reader = Reader::new();
    assert_eq!(reader.text("h1"), "4 of 12 paths did not pass");
    assert!(reader.text("#meta").contains(" · 1 did not run · 2 machines · 1 emulator · "));
    let chips = reader.browser.value(
        "[...document.querySelectorAll('#chips button')].map(it => it.innerText.trim().split(/\\s+/))",
    );
    let expected = json!([
        ["1", "crashed"],
        ["1", "hung"],
        ["2", "failed"],
        ["1", "unexpected-pass"],
        ["1", "dependent"],
        ["1", "flaky"],
        ["1", "expected-failure"],
        ["1", "skipped"],
        ["2", "passed"],
        ["1", "stopped"],
    ]);
    assert_eq!(chips, expected);
    assert_eq!(reader.text("#shown"), "8 paths to look at");
    let bad = ["crashed", "dependent", "failed", "flaky", "hung", "known", "surprise"];
    let mut problems = cases(&bad);
    problems.insert(0, MARKUP.to_owned());
    assert_eq!(reader.paths(), problems);
    for view in ["machines", "slowest"] {
        reader.view(view);
        let paths = reader.paths();
        assert_eq!(paths.len(), 12, "{view}: {paths:#?}");
        let more = cases(&["passed", "skipped", "stopped"]);
        assert!(problems.iter().chain(&more).all(|it| paths.contains(it)), "{view}: {paths:#?}");
    }
    let slowest = reader.text("#list .path .name");
    assert_eq!(slowest, format!("{SUITE}/hung"));
    reader.view("suites");
    assert_eq!(reader.paths().len(), 12);
    reader.view("graph");
    let machines =
        "document.querySelector('#canvas > div').shadowRoot.querySelectorAll('.machine')";
    assert!(reader.browser.value(&format!("{machines}.length")).as_u64() >= Some(1));
}

/// Would catch a filter that leaves too much or too little, or does not come back.
fn the_filter_leaves_what_matches() {
    let mut reader = Reader::new();
    let query = "document.querySelector('#query')";
    let typed = |reader: &mut Reader, text: &str| {
        reader.browser.click(query);
        reader.browser.press("Escape");
        reader.browser.write(text);
        reader.paths()
    };
    // By name, in any case, and by message; in the list of problems and among all.
    assert_eq!(typed(&mut reader, "TESTS/f"), cases(&["failed", "flaky"]));
    assert_eq!(reader.text("#shown"), "2 of 8 paths to look at show all");
    assert_eq!(typed(&mut reader, "crashed: left"), cases(&["crashed"]));
    assert_eq!(typed(&mut reader, "<script>pwned"), [MARKUP]);
    assert_eq!(typed(&mut reader, "registers"), [""; 0]);
    assert_eq!(reader.text("#list button"), "1 path without a problem");
    reader.browser.click("document.querySelector('#list button')");
    assert_eq!(reader.paths(), ["/arm/raspi2b/generic-sdhci/sdhci/sdhci-tests/registers"]);
    assert_eq!(
        typed(&mut reader, "virt s"),
        cases(&[
            "crashed",
            "dependent",
            "failed",
            "flaky",
            "hung",
            "known",
            "passed",
            "skipped",
            "stopped",
            "surprise",
        ])
    );
    assert_eq!(typed(&mut reader, "virt passed"), cases(&["passed"]));
    reader.view("slowest");
    assert_eq!(reader.paths(), cases(&["passed"]));
    // The address has it all, so that it can be passed on.
    let address = reader.browser.value("location.href");
    let address = address.as_str().expect("an address");
    assert!(address.ends_with("#view=slowest&q=virt+passed"), "{address}");
    reader.browser.open(address);
    assert_eq!(reader.paths(), cases(&["passed"]));
    reader.browser.click("document.querySelector('#shown button')");
    assert_eq!(reader.paths().len(), 12);
    assert_eq!(typed(&mut reader, "no such path"), [""; 0]);
    assert_eq!(reader.text("#list"), "No path matches.");
}

/// Would catch a chip that hides nothing, or another outcome than its own.
fn a_chip_hides_an_outcome() {
    let mut reader = Reader::new();
    let click = |reader: &mut Reader, word: &str| {
        reader.browser.click(&format!("document.querySelector('#chips [data-word={word}]')"));
    };
    reader.view("machines");
    click(&mut reader, "failed");
    let paths = reader.paths();
    assert_eq!(paths.len(), 10);
    assert!(!paths.contains(&MARKUP.to_owned()) && !paths.contains(&cases(&["failed"])[0]));
    click(&mut reader, "failed");
    assert_eq!(reader.paths().len(), 12);
    for word in ["passed", "skipped", "stopped", "crashed", "hung", "failed", "dependent"] {
        click(&mut reader, word);
    }
    assert_eq!(reader.paths(), cases(&["flaky", "known", "surprise"]));
    let pressed =
        "[...document.querySelectorAll('#chips [aria-pressed=true]')].map(it => it.dataset.word)";
    let pressed = reader.browser.value(pressed);
    assert_eq!(pressed, json!(["unexpected-pass", "flaky", "expected-failure"]));
}

/// Would catch a failure without what led to it, or with something else than was written.
fn a_failure_opens() {
    let mut reader = Reader::new();
    let opened = |reader: &mut Reader, case: &str| {
        reader.open(case);
        let texts = "querySelectorAll(':scope > .body > .message, :scope > .body > pre')";
        let texts = format!(
            "[...{}.{texts}].filter(it => it.checkVisibility()).map(it => it.textContent)",
            problem(case)
        );
        reader.browser.value(&texts)
    };
    let message = |word: &str| format!("{word}: left 1, right 2\n{SHOWN}");
    let [diagnosis, transcript, output] =
        ["diagnosis", "transcript", "output"].map(|key| format!("{key} {SHOWN}"));
    for (case, word) in
        [("failed", "failed"), ("crashed", "crashed"), ("known", "expected-failure")]
    {
        let expected = json!([message(word), diagnosis, transcript, output]);
        assert_eq!(opened(&mut reader, case), expected, "{case}");
    }
    assert_eq!(opened(&mut reader, "flaky"), json!([message("flaky")]));
    let terms = format!(
        "[...{}.querySelectorAll('dd')].map(it => it.firstChild.textContent)",
        problem("crashed")
    );
    let terms = reader.browser.value(&terms).to_string();
    assert!(
        terms.contains("/tmp/<b>replay it.sh") && terms.contains("src/tests/<b>.rs"),
        "{terms}"
    );
    // What an earlier attempt left is with it.
    let attempt = format!("{}.querySelector('.attempt')", problem("flaky"));
    let expected = format!("{MARKUP}\n{SUITE}/passed");
    let after =
        reader.browser.value(&format!("{attempt}.querySelector('details pre').textContent"));
    assert_eq!(after, expected);
    let text = reader.browser.value(&format!("{attempt}.textContent"));
    let text = text.as_str().expect("a text");
    assert!(text.starts_with("Attempt 1: failed 500 ms"), "{text}");
    assert!([message("failed"), transcript, output].iter().all(|it| text.contains(it)), "{text}");
    // A second click closes it.
    reader.browser.click(&format!("{}.querySelector('summary')", problem("failed")));
    assert_eq!(reader.browser.value(&format!("{}.open", problem("failed"))), false);
}

/// Would catch a command that is copied with something missing, quoted so that a shell takes
/// it for something else, or not at all where the browser has no clipboard for pages.
fn commands_are_copied() {
    let mut reader = Reader::new();
    for without in ["", "delete Navigator.prototype.clipboard"] {
        // Read by another way than it is written.
        let paste = |reader: &mut Reader| {
            reader.browser.value(
                "document.body.append(Object.assign(document.createElement('textarea'), { id: 'paste' }))",
            );
            reader.browser.value("document.querySelector('#paste').focus()");
            let paste = json!({
                "type": "keyDown", "key": "v", "modifiers": 2, "windowsVirtualKeyCode": 86,
                "commands": ["paste"],
            });
            reader.browser.call("Input.dispatchKeyEvent", paste);
            reader.browser.value(
                "(() => { const it = document.querySelector('#paste'); it.remove(); return it.value; })()",
            )
        };
        reader.browser.open(&reader.address);
        reader.browser.value(without);
        reader.open("failed");
        for (number, command) in [RUN_FAILED, COMMAND].iter().enumerate() {
            let command_at =
                format!("{}.querySelectorAll('.command')[{number}]", problem("failed"));
            let text =
                reader.browser.value(&format!("{command_at}.querySelector('code').textContent"));
            assert_eq!(text, *command);
            reader.browser.click(&format!("{command_at}.querySelector('button')"));
            let said = format!("{command_at}.querySelector('button').textContent");
            let said = reader.browser.until(&format!("{said} !== 'Copy' && {said}"));
            assert_eq!(said, "Copied", "{without}");
            assert_eq!(paste(&mut reader), *command, "{without}");
        }
    }
}

/// Would catch what only a mouse can reach.
fn the_keyboard_is_enough() {
    let mut reader = Reader::new();
    let browser = &mut reader.browser;
    let focus = "document.activeElement.id || document.activeElement.textContent";
    browser.press("/");
    assert_eq!(browser.value(focus), "query");
    browser.write("a/b failed");
    assert_eq!(browser.value("document.querySelector('#query').value"), "a/b failed");
    browser.press("/");
    assert_eq!(browser.value("document.querySelector('#query').value"), "a/b failed/");
    browser.press("Escape");
    assert_eq!(browser.value("document.querySelector('#query').value"), "");
    browser.write("tests/failed");
    for view in ["Problems", "Machines", "Suites", "Slowest", "Graph"] {
        browser.press("Tab");
        assert_eq!(browser.value(focus), view);
    }
    // Then "show all", the problem, which is open, and its path, which is not.
    for _ in 0..3 {
        browser.press("Tab");
    }
    let name = browser.value("document.activeElement.querySelector('.name').textContent");
    assert_eq!(name, cases(&["failed"])[0]);
    assert_eq!(browser.value("document.activeElement.parentElement.open"), false);
    browser.press("Enter");
    browser.until("document.activeElement.parentElement.querySelector('.body')");
    browser.press("Tab");
    assert_eq!(browser.value(focus), "Copy");
    // One can see where one is.
    let outline = "getComputedStyle(document.activeElement).outlineStyle";
    assert_eq!(browser.value(outline), "solid");
    browser.press("Enter");
    let said = "document.activeElement.textContent";
    let said = browser.until(&format!("{said} !== 'Copy' && {said}"));
    assert_eq!(said, "Copied");
}

/// Would catch text of QEMU or of a path's name that becomes an element or a program, and a
/// page that asks for anything from elsewhere or complains.
fn text_of_others_stays_text() {
    let mut reader = Reader::new();
    for view in ["problems", "machines", "suites", "slowest", "graph"] {
        reader.view(view);
        if view != "graph" {
            reader.open_all();
            assert!(reader.text("#list").contains(SHOWN), "{view}");
        }
        let injected = "document.querySelectorAll('img, #list script, #list b b, body > script:not(:nth-last-child(-n + 2))').length";
        assert_eq!(reader.browser.value(injected), 0, "{view}");
    }
    assert_eq!(reader.browser.value("typeof pwned"), "undefined");
    assert_eq!(reader.browser.value("document.scripts.length"), 2);
    for event in reader.browser.events() {
        let method = event["method"].as_str().unwrap_or_default();
        let complaints = ["Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded"];
        assert!(!complaints.contains(&method), "{event:#}");
        if method == "Network.requestWillBeSent" {
            let address = event["params"]["request"]["url"].as_str().unwrap_or_default();
            assert!([&*reader.address, "about:blank"].contains(&address), "{event:#}");
        }
    }
    // If one came in all the same, it would not be run.
    let script = "(() => { const it = document.createElement('script');
                  it.textContent = 'window.pwned = 5'; document.body.append(it);
                  return typeof pwned; })()";
    assert_eq!(reader.browser.value(script), "undefined");
}

/// Finds text with little contrast.
const FAINT: &str = include_str!("page/faint.js");

/// Would catch a page that has to be scrolled sideways on a telephone, text that can hardly be
/// told from what is behind it, and a page that is white at night.
fn it_can_be_read_at_any_width_by_day_and_night() {
    let mut reader = Reader::new();
    // A chip that is off is to be read as well.
    reader.browser.click("document.querySelector('#chips [data-word=skipped]')");
    for (scheme, is_light) in [("light", true), ("dark", false)] {
        for width in [400, 1400] {
            reader.browser.look(width, scheme);
            for view in ["problems", "machines", "suites", "slowest", "graph"] {
                let at = format!("{view}, {width}, {scheme}");
                reader.view(view);
                reader.open_all();
                let seen = reader.browser.value(FAINT);
                assert_eq!(seen["faint"], json!([]), "{at}");
                assert!(seen["count"].as_u64() > Some(15), "{at}: {seen}");
                let wide =
                    reader.browser.value("[document.documentElement.scrollWidth, innerWidth]");
                assert_eq!(wide[1], width, "{at}");
                assert!(wide[0].as_u64() <= wide[1].as_u64(), "{at}: {wide}");
            }
            let paper =
                "getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)";
            let paper: Vec<u8> = serde_json::from_value(reader.browser.value(paper)).expect("rgb");
            assert!(paper.iter().all(|&it| (it > 127) == is_light), "{scheme}: {paper:?}");
        }
    }
}
