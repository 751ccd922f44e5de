//! What the help and the man page say beside the arguments: exit statuses, environment,
//! files. Each is written down here once.

/// What is explained, and the explanation.
pub(super) type Row = (&'static str, &'static str);

/// The exit statuses of all subcommands.
pub(super) const EXIT_STATUS: [Row; 5] = [
    ("0", "all that was to run ran and passed, or what was asked is so"),
    (
        "1",
        "something did not pass, an emulator that was named could not be used, a line of a \
         journal is damaged, or what was asked is not so",
    ),
    ("2", "wrong usage, no usable QEMU, nothing to run, or a file that cannot be read or written"),
    (
        "3",
        "the results of a run or merge are not all kept: a journal or a report could not be \
         written, whatever came of the paths",
    ),
    ("129, 130, 143", "stopped by SIGHUP, SIGINT, SIGTERM"),
];

/// The variables that are looked at.
pub(super) const ENVIRONMENT: [Row; 10] = [
    (
        "QTEST_QEMU_BINARY",
        "Emulators, separated by ':', or one behind a command as of --wrapper. Used where there is \
         no --qemu.",
    ),
    ("PATH", "Where every qemu-system-* is used if no emulator is named."),
    ("QGRAPH_CACHE", "The folder of the cache."),
    ("QGRAPH_SHARD", "K/N: run and list do the K-th of N shares, as by --shard; so do tests."),
    ("QGRAPH_COVER", "nodes, edges, cases or tests: what --cover says to run, this says to tests."),
    (
        "CI_NODE_INDEX, CI_NODE_TOTAL",
        "The share, counted from 1, as GitLab CI sets them in a job with 'parallel:'. Used where \
         neither --shard nor QGRAPH_SHARD is given.",
    ),
    (
        "JOB_COMPLETION_INDEX, JOB_COMPLETIONS",
        "The share, counted from 0. Kubernetes sets the first in an indexed Job; set the second \
         to the Job's completions. Used where none of the above is given.",
    ),
    ("CC", "The C compiler for a missing qtest accelerator [default: cc, gcc or clang]."),
    ("QEMU_MODULE_DIR", "Where QEMU looks for its modules first."),
    ("NO_COLOR, CLICOLOR_FORCE", "No colours, or colours even where there is no terminal."),
];

/// The files that are there because of qgraph.
pub(super) const FILES: [Row; 2] = [
    (
        "~/.cache/qgraph",
        "The cache: what is known about emulators, the accelerators that were compiled for them, the \
     journals of the last runs, and files that replay failures. It may be removed at any time. \
     XDG_CACHE_HOME and QGRAPH_CACHE move it.",
    ),
    ("expectations.toml", "In the current folder: failures that are known, see qgraph-run(1)."),
];

/// Commands, and what they do.
pub(super) const EXAMPLES: [Row; 7] = [
    ("qgraph list sdhci", "the paths whose name holds sdhci"),
    ("qgraph run --machine 'arm/*'", "all paths of the Arm machines"),
    ("qgraph run --qemu ~/qemu/build", "on the emulators of one build"),
    ("qgraph run --resume", "what a run that was killed has not done"),
    ("qgraph run --shard 2/4", "the second quarter, for one of four machines"),
    ("qgraph why sdhci-pci", "where it is available, and why not elsewhere"),
    ("qgraph graph -o graph.svg", "a picture of the graph"),
];

const EMULATORS: &str = "\
Emulators are those of --qemu, else of QTEST_QEMU_BINARY (several separated by ':'), else
every qemu-system-* on PATH. What is found out about them is kept in ~/.cache/qgraph, or
the folder that QGRAPH_CACHE names.";

/// The end of the program's help.
pub(super) fn end() -> String {
    let statuses = EXIT_STATUS.map(|(status, means)| format!("{status} {means}")).join("; ");
    let examples = EXAMPLES.map(|(command, does)| format!("\n  {command:32}  {does}")).concat();
    format!("Examples:{examples}\n\n{EMULATORS}\n\nExit status: {statuses}.")
}
