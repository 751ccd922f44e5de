//! How qgraph is called: wrong usage, help, the manual, and what is written of options.

use std::fs;
use std::path::Path;

use crate::fake::Sandbox;
use crate::{qgraph, with_emulator};

/// Would catch wrong usage that is taken for something else.
pub fn wrong_usage() {
    let sandbox = with_emulator();
    let cases: [(&[&str], &[&str]); 24] = [
        (&[], &["Usage: qgraph"]),
        (&["--no-such-option"], &["unexpected argument '--no-such-option'", "Usage: qgraph"]),
        (&["run", "--no-such-option"], &["unexpected argument '--no-such-option'", "qgraph run"]),
        (&["no-such-command"], &["no-such-command"]),
        (&["runn"], &["a similar subcommand exists: 'run'"]),
        (&["run", "--jobs", "0"], &["--jobs", "'0'"]),
        (&["run", "--timeout", "0"], &["must be more than 0 seconds"]),
        (&["run", "--timeout", "1e19"], &["at most 1000000000"]),
        (&["run", "--timeout", "NaN"], &["must be more than 0 seconds"]),
        (&["run", "--timeout", "soon"], &["not a number of seconds"]),
        (&["run", "--format", "xml"], &["possible values: pretty, tap, json, github"]),
        (&["mutate", "--sample", "0"], &["--sample", "'0'"]),
        (&["mutate", "--at-least", "101"], &["not a number from 0 to 100"]),
        (&["mutate", "--thorough", "--sample", "5"], &["cannot be used with"]),
        (&["mutate", "--compare", "/nowhere"], &["cannot read /nowhere", "--format json"]),
        (&["run", "[z-a]"], &["the pattern \"[z-a]\" is no glob"]),
        (&["graph", "-o", "/nowhere/graph.pdf"], &["graph.pdf: no format", ".svg", "--format"]),
        (&["run", "--shard", "0/3"], &["--shard <K/N>", "not a shard K/N"]),
        (&["list", "--shard", "4/3"], &["--shard <K/N>", "K at most N"]),
        (&["run", "--shard", "1"], &["'1'", "not a shard K/N"]),
        (&["run", "--migrate-to", "/nowhere"], &["--migrate-to /nowhere: no usable QEMU"]),
        (
            &["run", "--migrate-to", "/nowhere", "--form", "reset"],
            &["--migrate-to is about paths of the form migrate, which --form leaves out"],
        ),
        (&["run", "--durations", "/no/journal"], &["cannot read /no/journal: No such file"]),
        (&["list", "--machine", "{a"], &["the pattern \"{a\" is no glob"]),
    ];
    for (arguments, words) in cases {
        qgraph(&sandbox, arguments).expect(2).silent().says(words);
    }
    // Deeper than the compiler of globs can go.
    let deep = format!("{}b{}", "{a,".repeat(200), "}".repeat(200));
    for arguments in
        [&["list", &*deep][..], &["run", "--skip", &deep], &["graph", "--machine", &deep]]
    {
        let words = ["is no glob: it nests 200 braces, and may nest 50"];
        qgraph(&sandbox, arguments).expect(2).silent().says(&words);
    }
    fs::write(
        sandbox.at("expectations.toml"),
        format!("[[expected]]\npath = \"{deep}\"\nreason = \"x\"\n"),
    )
    .expect("written");
    let words = ["expectations.toml: path of the 1. [[expected]]: no glob: it nests"];
    qgraph(&sandbox, &["run"]).expect(2).silent().says(&words);
    qgraph(&sandbox, &["why", "no-such-node"]).expect(2).silent().says(&["no-such-node"]);
    qgraph(&sandbox, &["why", "sdhci-pcj"]).expect(2).says(&["did you mean ", "sdhci-pci,"]);
}

/// Would catch help that cannot be piped, and a program without a version.
pub fn help_goes_to_standard_output() {
    let sandbox = Sandbox::new();
    for arguments in [&["--help"][..], &["run", "--help"], &["--version"], &["check"]] {
        let finished = qgraph(&sandbox, arguments).expect(0);
        assert!(finished.stderr.is_empty() && !finished.stdout.is_empty(), "{finished}");
    }
    let help = qgraph(&sandbox, &["--help"]).stdout;
    for word in ["QTEST_QEMU_BINARY", "QGRAPH_CACHE", "Exit status: 0 all", "; 129, 130, 143 "] {
        assert!(help.contains(word), "{word:?} is not in {help}");
    }
}

/// The options in a help.
fn options(help: &str) -> impl Iterator<Item = &str> {
    let words = help.split([' ', '\n', ',', '=', '[', '.', ';', ')']);
    words.filter(|word| word.starts_with("--") && word.len() > 2)
}

/// Would catch a command or an option without manual, and pages that are not installed.
pub fn the_manual() {
    let sandbox = Sandbox::new();
    qgraph(&sandbox, &["man", "--output", "man/man1"]).expect(0).silent();
    // As the roff has it: a hyphen is \- there.
    let page = |name: &str| {
        let page = fs::read_to_string(sandbox.at("man/man1").join(name)).expect("a page");
        page.replace("\\-", "-").replace("\\fB", "").replace("\\fR", "").replace("\\fI", "")
    };
    let main = page("qgraph.1");
    assert_eq!(qgraph(&sandbox, &["man"]).expect(0).stdout.lines().next(), main.lines().next());
    let help = qgraph(&sandbox, &["--help"]).expect(0).stdout;
    let (_, commands) = help.split_once("Commands:\n").expect("commands");
    let commands = commands.split("\n\n").next().unwrap_or_default().lines();
    // A line that is indented more goes on with what the one before says.
    let commands = commands.filter_map(|line| line.strip_prefix("  "));
    let commands = commands.filter(|line| !line.starts_with(' '));
    let commands: Vec<&str> = commands.filter_map(|line| line.split_whitespace().next()).collect();
    assert!(commands.contains(&"run") && commands.contains(&"man"), "{commands:?}");
    for command in commands.iter().filter(|command| **command != "help") {
        assert!(main.contains(&format!("qgraph-{command}(1)")), "{command} is not in {main}");
        let (own, help) = (page(&format!("qgraph-{command}.1")), [*command, "--help"]);
        assert_eq!(
            qgraph(&sandbox, &["man", command]).expect(0).stdout.lines().next(),
            own.lines().next()
        );
        let help = qgraph(&sandbox, &help).expect(0).stdout;
        assert!(options(&help).next().is_some());
        for option in options(&help) {
            assert!(own.contains(option), "{option} is not in the page of {command}: {own}");
        }
        assert!(own.contains(".SH \"EXIT STATUS\"") && own.contains(".SH \"SEE ALSO\""), "{own}");
    }
    for word in [
        ".SH \"EXIT STATUS\"",
        "129, 130, 143",
        ".SH ENVIRONMENT",
        "QGRAPH_SHARD",
        ".SH FILES",
        "~/.cache/qgraph",
        ".SH EXAMPLES",
    ] {
        assert!(main.contains(word), "{word:?} is not in {main}");
    }
    qgraph(&sandbox, &["man", "no-such"]).expect(2).silent().says(&["no command no-such", "run"]);
    let words = ["cannot write /proc/no/such/qgraph-"];
    qgraph(&sandbox, &["man", "-o", "/proc/no/such"]).expect(2).silent().says(&words);
}

/// Would catch a page or a ready file that names an option which is not there.
pub fn what_is_written_about_options() {
    let sandbox = Sandbox::new();
    let mut wrong = Vec::new();
    let mut check = |file: &str, command: &str, text: &str| {
        let help = qgraph(&sandbox, &[command, "--help"]).expect(0).stdout;
        let there: Vec<&str> = options(&help).collect();
        let absent = options(text).filter(|option| !there.contains(option));
        wrong.extend(absent.map(|option| format!("{file}: qgraph {command} {option}")));
    };
    let read = |file: &str| {
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).expect(file)
    };
    for file in [
        "README.md",
        "contrib/qemu/README.md",
        "contrib/ci/README.md",
        "contrib/ci/github.yml",
        "contrib/ci/gitlab.yml",
        "contrib/ci/kubernetes.yaml",
    ] {
        // A command goes on where a line begins with an option.
        let text = read(file).replace("\\\n", "\n");
        let lines = text.lines().map(|line| match line.trim_start() {
            line if line.starts_with('-') && !line.starts_with("- ") => format!(" {line}"),
            line => format!("\n{line}"),
        });
        for line in lines.collect::<String>().lines() {
            for part in line.split("qgraph ").skip(1) {
                let part = part.split(['`', '|']).next().unwrap_or_default();
                if let Some(command @ ("run" | "list" | "merge" | "graph" | "man")) =
                    part.split_whitespace().next()
                {
                    check(file, command, part);
                }
            }
        }
    }
    let meson = read("contrib/qemu/meson.build").replace('\'', " ");
    let (_, test) = meson.split_once("args: [ run ,").expect("arguments");
    check("contrib/qemu/meson.build", "run", test.split(']').next().unwrap_or_default());
    assert!(wrong.is_empty(), "{wrong:#?}");
}
