//! Scripts of all forms, and what they would give to an emulator.

use super::super::text;
use super::*;

fn read(text: &str) -> Vec<evaluate::Script> {
    super::read(&text::lines(text), &|name| (name == "beside").then(|| "inb 9\n".to_owned()))
        .scripts
}

/// The only script of a text: its program, arguments and input.
fn one(text: &str) -> (String, String, Vec<String>) {
    let scripts = read(text);
    assert_eq!(scripts.len(), 1, "{scripts:?}");
    let script = scripts[0].clone();
    let input = script.input.unwrap_or_default();
    (script.program.unwrap_or_default(), script.arguments.join(" "), input)
}

/// Would catch a form of here-document that is not read: quoted, with tabs cut, arguments
/// before or behind, over several lines, the emulator after the text.
#[test]
fn here_documents() {
    let forms = [
        "cat << EOF | qemu-system-arm -M x\ninb 1\nEOF\n",
        "cat <<'EOF' | ./build/qemu-system-arm \\\n  -M x\ninb 1\nEOF\n",
        "cat <<-\"EOF\" | sudo qemu-system-arm -M \\\nx\n\t inb 1\n\tEOF\n",
        "qemu-system-arm -M x << \\EOF\ninb 1\nEOF\n",
        "qemu-system-arm << E -M x\ninb 1\nE\n",
        "cat << EOF |\ninb 1\nEOF\nqemu-system-arm -M x\n",
        "$ cat << EOF | qemu-system-arm -M x 2>&1 | tee log\ninb 1\nEOF\n",
        "cat > cmds << EOF\ninb 1\nEOF\nqemu-system-arm -M x < cmds\n",
        "qemu-system-arm -M x < EOF\ninb 1\nEOF\n",
        "(cat << A; echo no > /dev/null) | qemu-system-arm -M x\ninb 1\nA\n",
        "qemu-system-arm -M x <<< 'inb 1'\n",
        "cat << EOF \\\nqemu-system-arm \\\n-M x\ninb 1\nEOF\n",
        "cat << EOF | qemu-system-arm -M x\ninb 1\n\nThe end was cut off.\n",
    ];
    for form in forms {
        let (program, arguments, input) = one(form);
        assert_eq!(
            (program.rsplit('/').next(), &*arguments),
            (Some("qemu-system-arm"), "-M x"),
            "{form}"
        );
        let input: Vec<&str> = input.iter().map(|line| line.trim()).collect();
        assert_eq!(input.iter().filter(|line| !line.is_empty()).count(), 1, "{form}");
        assert_eq!(input[0], "inb 1", "{form}");
    }
}

/// Would catch the texts of several here-documents that are mixed up or lost.
#[test]
fn several_here_documents() {
    let both = "{\ncat << A\ninb 1\nA\ncat << B\ninb 2\nB\n} | qemu-system-arm -M x\n";
    assert_eq!(one(both).2, ["inb 1", "inb 2"]);
    let two = "cat << A | qemu-system-arm\ninb 1\nA\ncat << B | qemu-system-ppc\ninb 2\nB\n";
    let scripts = read(two);
    let inputs: Vec<_> = scripts.iter().filter_map(|script| script.input.clone()).collect();
    assert_eq!(inputs, [["inb 1"], ["inb 2"]]);
    assert_eq!(scripts[1].program.as_deref(), Some("qemu-system-ppc"));
    // Of one command, the last counts.
    assert_eq!(one("qemu-system-arm << A << B\ninb 1\nA\ninb 2\nB\n").2, ["inb 2"]);
}

/// Would catch variables that are not replaced, or where a shell would not replace them.
#[test]
fn variables() {
    let text = "export QEMU=/opt/x/qemu-system-arm\nARGS='-M x  -m 1'\nBASE=0x10\n\
                cat << EOF | $QEMU ${ARGS} -name \"$ARGS\" ${NOT:-y}\ninb $BASE\n\
                inb $((BASE + 2 * 3))\nEOF\n";
    let (program, arguments, input) = one(text);
    assert_eq!(program, "/opt/x/qemu-system-arm");
    assert_eq!(arguments, "-M x -m 1 -name -M x  -m 1 y");
    assert_eq!(input, ["inb 0x10", "inb 22"]);
    let quoted = "B=1\ncat << 'EOF' | qemu-system-arm\ninb $B\nEOF\n";
    assert_eq!(one(quoted).2, ["inb $B"]);
    let unknown = read("cat << EOF | $QEMU -M x\ninb 1\nEOF\n");
    assert_eq!((unknown[0].program.as_deref(), unknown[0].arguments.len()), (None, 2));
}

/// Would catch lists of `echo` and `printf` that are not what these print.
#[test]
fn printed_lists() {
    let forms = [
        "echo 'inb 1\\ninb 2' | qemu-system-arm -M x",
        "printf 'inb %d\\n' 1 2 | qemu-system-arm -M x",
        "printf \"inb 1\\ninb 2\\n\" | qemu-system-arm -M x",
        "(echo inb 1; sleep 1; echo inb 2) | qemu-system-arm -M x",
        "{ echo inb 1 && echo inb 2; } | qemu-system-arm -M x",
        "for i in 1 2; do echo inb $i; done | qemu-system-arm -M x",
        "X=$(printf 'inb 1\\ninb 2')\necho \"$X\" | qemu-system-arm -M x",
        "echo -e 'inb 1\\x0ainb 2' | timeout 5 qemu-system-arm -M x",
    ];
    for form in forms {
        assert_eq!(one(form).2, ["inb 1", "inb 2"], "{form}");
    }
    let forever = one("while true; do cat << E; done | qemu-system-arm -M x\ninb 1\nE\n").2;
    assert!(forever.len() > 10 && forever.iter().all(|line| line == "inb 1"));
}

/// Would catch a file that a script reads and that is not found, or one elsewhere that is.
#[test]
fn files() {
    assert_eq!(one("qemu-system-arm < beside").2, ["inb 9"]);
    assert_eq!(one("cat beside | qemu-system-arm").2, ["inb 9"]);
    assert_eq!(one("qemu-system-arm -M x < attachment").2, [format!("{MISSING}attachment")]);
}

/// Would catch an apostrophe in prose that hides the script behind it, and a word in prose
/// that is taken for a script.
#[test]
fn prose() {
    let text = "It doesn't work (don't ask.\nfor a while, cat people said:\n\
                echo 'inb 1' | qemu-system-arm -M x\nqemu-system-arm: ../hw/x.c:1: it failed\n";
    assert_eq!(one(text).2, ["inb 1"]);
}

/// Would catch words of a command line that are split otherwise than by a shell.
#[test]
fn words() {
    let split = |line| super::split(line).unwrap();
    assert_eq!(split("-a 'b c' \"d e\"f -g=1"), ["-a", "b c", "d ef", "-g=1"]);
    assert_eq!(split(" , -m 1"), [",", "-m", "1"]);
    assert_eq!(super::split("-a 'b"), None);
    // A backslash that is one too many.
    let (_, arguments, input) = one("cat << E | qemu-system-arm -M x \\\n\ninb 1\nE\n");
    assert_eq!((&*arguments, input), ("-M x", vec!["inb 1".to_owned()]));
    // A blank that got lost before an option.
    assert_eq!(
        one("cat << E | qemu-system-arm -display none\\\n-M x\ninb 1\nE\n").1,
        "-display none -M x"
    );
    assert_eq!(one("cat << E | qemu-system-arm -name a\\\nb\ninb 1\nE\n").1, "-name ab");
}
