//! Files of the user's that the programs write: what is no regular file is never replaced.

use std::fs::{self, FileType};
use std::os::unix::fs::{FileTypeExt, symlink};
use std::path::{Path, PathBuf};

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use crate::fake::{Finished, Sandbox};
use crate::{REGISTERS, qgraph};

type Writer<'a> = Box<dyn Fn(&Path) -> Finished + 'a>;

/// Every way to write a file of a name that the user chooses; each gets `file`.
fn writers(sandbox: &Sandbox) -> Vec<(&'static str, Writer<'_>)> {
    let fake = sandbox.fake("request-fail").to_string_lossy().into_owned();
    let run = ["run", "--exact", REGISTERS, "--journal", "j.jsonl", "--qemu", &fake];
    let first = qgraph(sandbox, &[&run[..], &["--reproducers", "mine"]].concat()).expect(1);
    assert_eq!(first.stderr, "", "{first}");
    let reproducer = sandbox.files("mine").remove(0).to_string_lossy().into_owned();
    let run: Vec<String> = run.iter().map(|&word| word.to_owned()).collect();
    let with = |option: &'static str, words: Vec<String>| {
        (
            option,
            Box::new(move |file: &Path| {
                let name = file.to_string_lossy();
                let words: Vec<&str> = words.iter().map(String::as_str).collect();
                qgraph(sandbox, &[&words[..], &[option, &name]].concat())
            }) as Writer,
        )
    };
    let words = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect();
    vec![
        with("--html", run.clone()),
        with("--junit", run),
        with("-o", words(&["replay", &reproducer, "--minimize"])),
        with("-o", words(&["merge", "j.jsonl"])),
        with("-o", words(&["graph", "--format", "dot"])),
    ]
}

fn kind(file: &Path) -> FileType {
    fs::symlink_metadata(file).expect("it is there").file_type()
}

/// Would catch a writer that replaces a pipe that nobody reads, or a folder, by a file, waits
/// for ever, or says nothing.
pub fn what_is_no_file_is_not_replaced() {
    let sandbox = Sandbox::new();
    let pipe = sandbox.at("pipe");
    mkfifo(&pipe, Mode::S_IRWXU).expect("a pipe");
    for (writer, write) in writers(&sandbox) {
        write(&pipe).says(&["nobody reads from this pipe"]);
        assert!(kind(&pipe).is_fifo(), "{writer}");
        write(&sandbox.at("mine")).says(&["is a directory"]);
    }
    // Of the pages of the manual one is a pipe already.
    fs::create_dir(sandbox.at("man")).expect("a folder");
    mkfifo(&sandbox.at("man/qgraph.1"), Mode::S_IRWXU).expect("a pipe");
    qgraph(&sandbox, &["man", "-o", "man"]).expect(2).says(&["qgraph.1: nobody reads"]);
    assert!(kind(&sandbox.at("man/qgraph.1")).is_fifo());

    // Under the name that a reproducer has, which nobody has chosen.
    let fake = sandbox.fake("request-fail").to_string_lossy().into_owned();
    let reproducer = sandbox.files("mine").remove(0);
    let run = ["run", "--exact", REGISTERS, "--reproducers", "mine", "--qemu", &fake];
    for make in [pipe_at, dangling_link_at] {
        fs::remove_file(&reproducer).expect("removed");
        make(&reproducer);
        let before = kind(&reproducer);
        let finished = qgraph(&sandbox, &run).expect(1);
        finished.says(&["warning: no reproducers can be kept in mine: ", "is left alone"]);
        assert_eq!(kind(&reproducer), before);
    }
    assert!(!sandbox.at("elsewhere").exists());
}

fn pipe_at(file: &Path) {
    mkfifo(file, Mode::S_IRWXU).expect("a pipe");
}

fn dangling_link_at(file: &Path) {
    let elsewhere: PathBuf = file.ancestors().nth(2).expect("a root").join("elsewhere");
    symlink(elsewhere, file).expect("a link");
}

/// Would catch a link of the user's that is replaced by a file, and a device that is.
pub fn links_are_followed() {
    let sandbox = Sandbox::new();
    for (number, (writer, write)) in writers(&sandbox).into_iter().enumerate() {
        let (link, file) = (sandbox.at(format!("link{number}")), format!("file{number}"));
        symlink(&file, &link).expect("a link");
        for _ in 0..2 {
            let finished = write(&link);
            assert!(!finished.stderr.contains("cannot"), "{finished}");
            assert!(kind(&link).is_symlink(), "{writer}");
            assert!(fs::metadata(sandbox.at(&file)).expect("it is there").len() > 0, "{writer}");
        }
        write(Path::new("/dev/full")).says(&["space"]);
        assert!(kind(Path::new("/dev/full")).is_char_device(), "{writer}");
    }
}

/// Would catch a file of a stranger, or one without end, that ends the program, fills the
/// memory or is waited for for ever, instead of a message that names it.
pub fn absurd_files() {
    let sandbox = Sandbox::new();
    let fake = sandbox.fake("request-fail").to_string_lossy().into_owned();
    let run = ["run", "--exact", REGISTERS, "--reproducers", "mine", "--qemu", &fake];
    qgraph(&sandbox, &run).expect(1);
    let file = sandbox.files("mine").remove(0);
    let text = fs::read_to_string(&file).expect("text");
    let absurd = text.replacen(
        "<<'END_OF_REQUESTS'\n",
        "<<'END_OF_REQUESTS'\n# read-image sd 0 99999999999999\n",
        1,
    );
    assert_ne!(absurd, text);
    fs::write(&file, absurd).expect("written");
    let name = file.to_string_lossy().into_owned();
    let cases: [(&[&str], &str); 6] = [
        (&["replay", &name], "`# read-image sd 0 99999999999999`"),
        (&["replay", "/dev/zero"], "cannot read /dev/zero: it has more than 256 MiB"),
        (&["merge", "/dev/zero"], "/dev/zero:1: cannot be read: it has more than 64 MiB"),
        (&["run", "--expectations", "/dev/zero", "--qemu", &fake], "more than 16 MiB"),
        (&["run", "--resume", "--journal", "/dev/zero", "--qemu", &fake], "no regular file"),
        (&["mutate", "--compare", "/dev/zero", "--qemu", &fake], "more than 256 MiB"),
    ];
    for (words, said) in cases {
        qgraph(&sandbox, words).expect(2).says(&[said]);
    }
}
