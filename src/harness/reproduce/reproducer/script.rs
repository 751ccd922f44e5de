//! The text of a reproducer: a script for any POSIX shell that needs nothing but QEMU. It
//! holds only the parts that its requests need.

use std::fmt::Write;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::{Action, END, MARK, Reproducer};
use crate::qemu::command_line::quote;
use crate::shown::shown;

/// Bytes as `printf %b` takes them.
pub(crate) fn escaped(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for &byte in bytes {
        match byte {
            b'!'..=b'~' if byte != b'\\' => text.push(byte.into()),
            _ => {
                let _ = write!(text, "\\0{byte:03o}");
            }
        }
    }
    text
}

/// The bytes that [`escaped`] wrote.
pub(crate) fn unescaped(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, more @ ..] = rest {
        rest = more;
        if *first != b'\\' {
            bytes.push(*first);
            continue;
        }
        let (digits, more) = rest.strip_prefix(b"0")?.split_at_checked(3)?;
        bytes.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok()?);
        rest = more;
    }
    Some(bytes)
}

const USAGE: &str = "\
# Usage:  sh FILE [SECONDS]       SECONDS: how long an answer may take, 10 if not said
#         QEMU=PROGRAM sh FILE    on another emulator
#
# QEMU's answers go to standard output, what it writes itself to standard error.
# Exit status: 0 it answered all requests; 1 it ended; 2 it hung, a request had no answer;
# 3 it did not start, and the failure is another one.
#
# `qgraph replay FILE` says whether it still fails; with --minimize it leaves out requests
# that are not needed. It reads the next line and the requests.
";

const BETWEEN: &str = r#"
# Among the requests is a reset of the machine, or its move to another QEMU: too much for a shell.
if command -v qgraph >/dev/null; then exec qgraph replay "$0"; fi
echo "for this file qgraph itself is needed: qgraph replay $0" >&2
exit 3
"#;

const BEGINNING: &str = r#"
seconds=${1:-10}
case $seconds in
'' | *[!0-9]*)
    echo "usage: sh $0 [SECONDS]" >&2
    exit 3
    ;;
esac
dir=${TMPDIR:-/tmp}/qgraph-replay.$$
(umask 077 && mkdir "$dir") || exit 3
qemu=
watch=
end_qemu() {
    # QEMU itself too, where $QEMU is a script that starts it.
    for process in $qemu $(cat "$dir/pid"); do kill -s KILL "$process"; done
}
# shellcheck disable=SC2317 # the traps call it
finish() {
    status=$?
    trap '' INT TERM HUP
    end_qemu
    kill "$watch"
    wait
    rm -rf "$dir"
    exit "$status"
} 2>/dev/null
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
trap 'exit 129' HUP
sed -n 's/^#[<!] //p' "$0" >"$dir/recorded"
sed -n 's/^#[<?] //p' "$0" >"$dir/expected"
cd "$dir" || exit 3
"#;

const WATCH: &str = r#"
# Ends a QEMU that says nothing for too long.
(
    nap=
    trap 'kill "$nap"; exit' TERM
    idle=0
    before=
    while [ "$idle" -le "$seconds" ]; do
        sleep 1 &
        nap=$!
        wait "$nap"
        now=$(wc -c <answers)
        if [ "$now" = "$before" ]; then idle=$((idle + 1)); else idle=0; fi
        before=$now
    done
    : >hung
    end_qemu
) >/dev/null 2>&1 &
watch=$!

# An answer, or what comes with it.
say() {
    printf '%s\n' "$1"
    printf '%s\n' "$1" >&5
}

# Waits for QEMU's answer; interrupts come before it. What QEMU and its libraries write
# there as well, such as `Bail out!` before an abort, is no answer.
on_interrupt=say
answer() {
    while IFS= read -r line <&4; do
        case $line in
        'IRQ '*) "$on_interrupt" "$line" ;;
        OK | 'OK '* | FAIL | 'FAIL '* | ERR | 'ERR '*) return 0 ;;
        *) printf 'QEMU wrote: %s\n' "$line" >&2 ;;
        esac
    done
    return 1
}

# Makes sure that QEMU is there: every QEMU answers this, and it changes nothing.
is_there() {
    request=$1
    on_interrupt=:
    printf 'endianness\n' >&3
    answer || ended
    on_interrupt=say
}

# Requests that QEMU refused do not do what the failure needs.
refused=0
count_refused() {
    case $line in
    FAIL* | ERR*)
        refused=$((refused + 1))
        [ "$refused" -gt 1 ] || first="$request: $line"
        ;;
    esac
}
tell_refused() {
    [ "$refused" = 0 ] ||
        printf 'Requests answered FAIL or ERR: %s, the first %.200s\n' "$refused" "$first" >&2
}

# Makes the request. Memory is read again until it is as it was: tests wait so for devices.
# But not for ever.
patience=20000
ask() {
    tries=0
    while :; do
        printf '%s\n' "$request" >&3
        answer || ended
        case $request:$expected in
        *:"$line" | *:) return ;;
        'read '* | 'b64read '*) ;;
        *) return ;;
        esac
        tries=$((tries + 1))
        patience=$((patience - 1))
        [ "$tries" -lt 2000 ] && [ "$patience" -gt 0 ] || return
    done
}

# There is no answer any more.
quitting=
starting=yes
ended() {
    wait "$qemu" 2>/dev/null
    code=$?
    tell_refused
    if [ -n "$starting" ] && [ -z "$about_start" ]; then
        if [ -e hung ]; then code='no answer'; else code="status $code"; fi
        printf 'QEMU did not start: %s\n' "$code" >&2
        exit 3
    fi
    if [ -e hung ]; then
        printf 'QEMU hung: no answer to %.200s\n' "$request" >&2
        exit 2
    fi
    qemu=
    rm -f pid
    if [ -n "$quitting" ] && [ "$code" = 0 ]; then return; fi
    [ "$code" -le 128 ] || code="$code (signal $((code - 128)))"
    printf 'QEMU ended with status %s at %.200s\n' "$code" "$request" >&2
    exit 1
}
"#;

const QMP: &str = r#"
# Reads a line of the monitor.
monitor() {
    IFS= read -r line <&8 || ended
    line=${line%"$cr"}
}

# Waits for the reply of the monitor; events come in between.
events=
reply() {
    while monitor; do
        case $line in
        *'"timestamp":'*'"event":'* | *'"event":'*'"timestamp":'*) events=$events$line ;;
        *) break ;;
        esac
    done
}
cr=$(printf '\r')
request='(the greeting)'
reply
echo '{"execute": "qmp_capabilities"}' >&7
reply
"#;

const QMP_CASES: &str = r#"    '{'*)
        printf '%s\n' "$request" >&7
        reply
        case $request in *'"quit"'*) ;; *) say "$line" ;; esac
        ;;
    '# wait-event '*)
        until case $events in *"\"${request#'# wait-event '}\""*) ;; *) false ;; esac; do
            monitor
            events=$events$line
        done
        events=
        ;;
"#;

const IMAGE_CASES: &str = r#"    '# read-image '* | '# write-image '*)
        rest=${request#'# '*' '}
        image=${rest%% *}.img
        rest=${rest#* }
        offset=${rest%% *}
        rest=${rest#* }
        case $request in
        '# read'*)
            bytes=$(dd if="$image" bs=1 skip="$offset" count="$rest" 2>/dev/null |
                od -An -v -tx1 | tr -d ' \n')
            say "OK 0x$bytes"
            ;;
        *)
            printf %b "$rest" | dd of="$image" bs=1 seek="$offset" conv=notrunc 2>/dev/null
            ;;
        esac
        ;;
"#;

const LOOP: &str = r#"
while IFS= read -r request; do
    case $request in
    '# read-image '* | [!#]*) IFS= read -r expected <&6 ;;
    esac
    case $request in
"#;

const LAST_CASES: &str = r#"    '#'*) ;;
    *)
        ask
        say "$line"
        count_refused
        ;;
    esac
"#;

const QUITTING: &str = r#"
# It was told to quit.
while answer; do :; done
quitting=yes
ended
"#;

const STILL_THERE: &str = r#"
# It may have answered and be about to end.
is_there 'the end, after all answers'
"#;

const ENDING: &str = r#"
tell_refused
if [ ! -s recorded ]; then
    echo "QEMU answered all requests." >&2
elif cmp -s recorded answers; then
    echo "QEMU answered all requests as recorded." >&2
else
    echo "QEMU answered all requests, but not as recorded (<):" >&2
    diff recorded answers >&2
fi
exit 0

# The answers that were recorded: #< an answer, #! an interrupt before it, #? no answer.
"#;

impl Reproducer {
    /// The file's content.
    pub(crate) fn script(&self) -> io::Result<String> {
        let about = &self.about;
        let has =
            |wanted: fn(&Action) -> bool| self.steps.iter().any(|step| wanted(&step.action()));
        let has_qmp = has(|action| matches!(action, Action::Qmp | Action::WaitEvent(_)));
        let has_image =
            has(|action| matches!(action, Action::ReadImage(..) | Action::WriteImage(..)));

        let mut text = String::from("#!/bin/sh\n");
        self.say_what_it_is(&mut text);
        text.push_str(&format!("{MARK}{}\n\nset -u\n", serde_json::to_string(about)?));
        text.push_str(&format!("QEMU=${{QEMU:-{}}}\n", path_in_default(&about.emulator)));
        if let Some(folder) = &about.module_dir {
            text.push_str(&format!(
                "# The accelerator that this emulator lacks; `qgraph probe` makes it anew.\n\
                 QEMU_MODULE_DIR=${{QEMU_MODULE_DIR-{}}}\nexport QEMU_MODULE_DIR\n",
                path_in_default(folder)
            ));
        }
        if has(|action| matches!(action, Action::Between(_))) {
            text.push_str(BETWEEN);
        }
        text.push_str(BEGINNING);
        text.push_str(if has_qmp { "mkfifo in out qmp.in qmp.out" } else { "mkfifo in out" });
        text.push_str(" || exit 3\n");
        for image in &about.config.images {
            let (name, size) = (quote(&format!("{}.img", image.name)), image.size);
            text.push_str(&format!("dd if=/dev/null of={name} bs=1 seek={size} 2>/dev/null\n"));
        }
        for folder in &about.config.folders {
            text.push_str(&format!("mkdir {}\n", quote(&format!("{}.dir", folder.name))));
        }
        text.push_str("\n\"$QEMU\"");
        for word in about.config.words_on_stdio() {
            let separator = if word.starts_with('-') { " \\\n    " } else { " " };
            text.push_str(separator);
            text.push_str(&quote(&word));
        }
        text.push_str(" \\\n    -qtest-log none -pidfile pid");
        text.push_str(if has_qmp {
            " -qmp pipe:qmp <in >out 9>qmp.out 8<qmp.in &\n"
        } else {
            " <in >out &\n"
        });
        text.push_str("qemu=$!\ntrap '' PIPE\nexec 3>in 4<out 5>answers 6<expected\n");
        if has_qmp {
            text.push_str("exec 8<qmp.out 7>qmp.in\n");
        }
        let is_about_start = self.about.no_start.is_some();
        let about_start = if is_about_start { "yes" } else { "" };
        text.push_str("# Whether the failure is that QEMU does not start.\n");
        text.push_str(&format!("about_start={about_start}\n"));
        text.push_str(WATCH);
        text.push_str(if has_qmp { QMP } else { "" });
        text.push_str("\nis_there 'its start'\nstarting=\n");

        text.push_str(LOOP);
        text.push_str(if has_qmp { QMP_CASES } else { "" });
        text.push_str(if has_image { IMAGE_CASES } else { "" });
        text.push_str(LAST_CASES);
        text.push_str(&format!("done <<'{END}'\n"));
        for step in &self.steps {
            text.push_str(&format!("{}\n", step.text));
        }
        text.push_str(&format!("{END}\n"));
        let quits = self.steps.last().is_some_and(|step| step.is_quit());
        text.push_str(if quits { QUITTING } else { STILL_THERE });
        text.push_str(ENDING);
        for step in self.steps.iter().filter(|step| step.is_answered()) {
            for interrupt in &step.interrupts {
                text.push_str(&format!("#! {interrupt}\n"));
            }
            match &step.answer {
                Some(answer) => text.push_str(&format!("#< {answer}\n")),
                None => text.push_str("#? none\n"),
            }
        }
        Ok(text)
    }

    /// For whoever opens the file.
    fn say_what_it_is(&self, text: &mut String) {
        let about = &self.about;
        text.push_str(
            "# Replays a failure that qgraph found: starts QEMU and gives it the requests at the\n\
             # end of this file one by one, each after the answer to the one before.\n#\n",
        );
        let (word, message) = (about.verdict.word(), about.verdict.message());
        let emulator = format!("{}, {}", about.version.trim_end(), about.emulator.display());
        for (title, words) in [("path", &*about.path), ("QEMU", &emulator), (word, message)] {
            let title = format!("{title}:");
            for (number, line) in words.lines().enumerate() {
                let title = if number == 0 { &*title } else { "" };
                text.push_str(&format!("# {title:9} {}\n", shown(line)));
            }
        }
        if !about.is_whole {
            text.push_str(
                "#\n# The test made more requests than are kept, 32 MiB: the last ones are missing\n\
                 # here, and perhaps the failure with them.\n",
            );
        }
        if let Some(count) = about.minimized_from {
            let left = self.request_count();
            text.push_str(&format!("#\n# These {left} requests are what was needed of {count}.\n"));
        }
        text.push_str("#\n");
        text.push_str(USAGE);
    }
}

/// A path as the default in `${NAME:-…}`. What is no UTF-8, and what ends a line, is made by
/// `printf`.
fn path_in_default(path: &Path) -> String {
    match path.to_str().filter(|text| !text.contains(char::is_control)) {
        Some(text) => in_default(text),
        None => format!(
            "$(printf %b '{}')",
            escaped(path.as_os_str().as_bytes()).replace('\'', r"\0047")
        ),
    }
}

/// A word as the default in `${NAME:-…}`, where quotes stand for themselves in places.
fn in_default(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_=,./:+@%".contains(c);
    word.chars().fold(String::new(), |mut text, c| {
        if !plain(c) && !c.is_control() {
            text.push('\\');
        }
        text.push(c);
        text
    })
}
