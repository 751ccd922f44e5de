//! Files of all shapes, from the text to the requests and the command line.

use proptest::prelude::*;

use super::*;

fn one(text: &str) -> Foreign {
    let mut all = read(text, Path::new("/nowhere")).unwrap_or_else(|why| panic!("{why}: {text}"));
    assert_eq!(all.len(), 1, "{all:?}");
    all.remove(0)
}

fn line(found: &Foreign) -> String {
    let program = found.program.as_deref().unwrap_or("?");
    format!("{program} {}", found.arguments.clone().unwrap_or_default().join(" "))
}

/// Would catch a shape that is not found, is taken for another one, or loses its command
/// line or requests.
#[test]
fn shapes() {
    let requests = "outl 0xcf8 0x80001010\n  outw 0xcfc 0x7\n";
    let shapes = [
        (Shape::Script, format!("Hello,\n\ncat << EOF | ./qemu-system-i386 -M q35 -qtest stdio\n{requests}EOF\n\nBye")),
        (Shape::Script, "> echo 'outl 0xcf8 0x80001010\\noutw 0xcfc 0x7' | qemu-system-i386 -M q35 -qtest stdio\n".to_owned()),
        (Shape::List, format!("Run it:\n\n  $ qemu-system-i386 -M q35 -qtest stdio\n  {requests}\nBye\n")),
        (Shape::List, format!("$ qemu-system-i386 \\\n  -M q35 \\\n -qtest stdio < file\n\nThe file has:\n```\n{requests}```\n")),
        (Shape::Log, "$ qemu-system-i386 -M q35 -qtest stdio\n[R +0.01] outl 0xcf8 0x80001010\n[S +0.01] OK\nOK\n[R +0.02] outw 0xcfc 0x7\n".to_owned()),
        (Shape::Trace, "Starting i386 with Arguments: -M q35 -qtest stdio\n[R +0.01] outw 0xcfc 0x7\n[DMA] [R +0.02] outl 0xcf8 0x80001010\n".to_owned()),
    ];
    for (shape, text) in shapes {
        let found = one(&text);
        assert_eq!(
            (found.shape, &*line(&found)),
            (shape, "qemu-system-i386 -M q35 -qtest stdio"),
            "{text}"
        );
        assert_eq!(found.requests, ["outl 0xcf8 0x80001010", "outw 0xcfc 0x7"], "{text}");
    }
    let test = "static void t(void)\n{\n    QTestState *s = qtest_init(\"-M q35 \"\n        \"-nodefaults\");\n\
                qtest_outw(s, 0xcfc, 0x7);\n    qtest_quit(s);\n}\n";
    let found = one(test);
    assert_eq!((found.shape, line(&found)), (Shape::C, "? -M q35 -nodefaults".to_owned()));
    let bare = one(requests);
    assert_eq!((bare.shape, bare.arguments), (Shape::List, None));
    let argued = one("export QEMU_ARGS=\"-M q35\"\n\nReproducer:\noutw 0xcfc 0x7\ninb 1\n");
    assert_eq!(line(&argued), "? -M q35");
}

/// Would catch a report that has the same thing in several shapes and of which only one is
/// found, in another order than it stands there; and the output of a script that is taken
/// for another reproducer.
#[test]
fn several_in_one_text() {
    let text = "cat << EOF | qemu-system-arm -M x\ninb 1\ninb 2\nEOF\n\n[R +0.1] inb 1\n[R +0.2] inb 2\n\n\
                static void t(void)\n{\n    QTestState *s = qtest_init(\"-M x\");\n    qtest_inb(s, 1);\n}\n\
                And also:\ninb 3\n";
    let all = read(text, Path::new("/nowhere")).unwrap();
    let shapes: Vec<_> = all.iter().map(|one| one.shape).collect();
    assert_eq!(shapes, [Shape::Script, Shape::C, Shape::List]);
}

/// Would catch a text without any reproducer, or with one that QEMU would abort at, that
/// ends otherwise than with a message which says so.
#[test]
fn what_cannot_be_read() {
    let why = |text: &str| read(text, Path::new("/nowhere")).unwrap_err();
    assert!(why("Hello").contains("no script that pipes"));
    assert!(
        why("qemu-system-arm -M x < attachment\n").contains("attachment, which is not beside it")
    );
    assert!(why("cat << E | qemu-system-arm\ninb 1\noutb 1\nE\n").contains("abort"));
    let loops = "static void t(void)\n{\n  QTestState *s = qtest_init(\"\");\n  while (qtest_inb(s, 1)) ;\n}\n";
    assert!(why(loops).contains("line 4: a loop depends on what QEMU answers"), "{}", why(loops));
}

fn adapted(line: &str) -> Adapted {
    adapt(&shell::split(line).unwrap(), Path::new("/nowhere"), false)
}

/// Would catch an option that conflicts with the accelerator or with the connection and
/// stays, and one that is needed and does not.
#[test]
fn command_lines() {
    let options = |line: &str| {
        let adapted = adapted(line);
        assert_eq!(adapted.refused, Vec::<String>::new(), "{line}");
        adapted.config.options.join(" ")
    };
    let begin = "-accel qtest -display none -monitor none";
    assert_eq!(
        options(
            "-machine accel=qtest, -m 512M -machine q35,accel=kvm:tcg -nodefaults -qtest stdio"
        ),
        format!("{begin} -m 512M -machine q35 -nodefaults")
    );
    assert_eq!(
        options(
            "-M pc,vmport=off -accel qtest -nographic -serial mon:stdio -qtest-log none -trace x -d y"
        ),
        format!("{begin} -parallel null -M pc,vmport=off -serial null")
    );
    assert_eq!(
        options(
            "-M x --display sdl -enable-kvm -vnc :1 -netdev user,id=n -device e1000,netdev=n -cpu host"
        ),
        format!(
            "{begin} -serial null -parallel null -M x -netdev user,id=n,restrict=on -device e1000,netdev=n"
        )
    );
    let images =
        adapted("-M x -nodefaults -drive file=/no/such.qcow2,format=qcow2,if=none,id=d -fda no");
    assert_eq!(
        images.config.options[9..].join(" "),
        "-drive if=none,id=d,format=raw,file={stand-in-0} -fda {stand-in-1}"
    );
    assert_eq!(images.config.images.len(), 2);
    assert!(images.notes[0].contains("/no/such.qcow2 is missing"));
    assert_eq!(images.config.machine, "x");
}

/// Would catch an option by which a stranger's file runs a program, or reads or writes what
/// is not its own.
#[test]
fn what_is_not_allowed() {
    let refused = [
        "-netdev tap,id=n,script=/tmp/x",
        "-netdev user,id=n,smb=/",
        "-netdev user,id=n,hostfwd=tcp::1-:1",
        "-netdev user,id=n,guestfwd=tcp:1.1.1.1:1-cmd:sh",
        "-nic tap",
        "-netdev bridge,id=b",
        "-netdev vhost-user,id=a,chardev=b",
        "-chardev file,id=c,path=x",
        "-chardev pipe,id=c,path=x",
        "-chardev socket,id=c,path=x",
        "-serial file:x",
        "-serial tcp::1",
        "-drive file=/etc/passwd",
        "-drive file=nbd://x",
        "-drive file=fat:rw:/",
        "-hda /etc/passwd",
        "-drive file.driver=vvfat,file.dir=/",
        "-blockdev nbd,server.type=unix,server.path=/x",
        "/etc/passwd",
        "-blockdev '{\"driver\": \"file\", \"filename\": \"/etc/passwd\", \"node-name\": \"a\"}'",
        "-object rng-random,id=r,filename=/etc/passwd",
        "-object secret,id=s,file=/etc/passwd",
        "-object filter-dump,id=f,file=x",
        "-object tls-creds-x509,id=t,dir=/",
        "-device loader,file=/etc/passwd",
        "-device vfio-pci,host=1",
        "-device usb-host",
        "-device x,romfile=/etc/passwd",
        "-device usb-mtp,rootdir=/",
        "-device '{\"driver\": \"e1000\", \"romfile\": \"/etc/passwd\"}'",
        "-global x.romfile=/etc/passwd",
        "-M x,dumpdtb=y",
        "-M x,firmware=/etc/passwd",
        "-incoming exec:sh",
        "-incoming tcp:1",
        "-fsdev local,id=a,path=/",
        "-fsdev local,id=a,path={share}",
        "-fsdev proxy,id=a,socket=/x",
        "-set fsdev.a.path=/",
        "-set device.x.romfile=y",
        "-set device.x.name=/etc/passwd",
        "-virtfs local,path=/",
        "-plugin x.so",
        "-readconfig x",
        "-writeconfig x",
        "-tpmdev passthrough,id=t",
        "-add-fd fd=3,set=1",
        "-dump-vmstate x",
        "-fw_cfg name=a,file=/etc/passwd",
        "-acpitable file=/etc/passwd",
        "-mem-path /dev/hugepages",
        "-nosuch x",
    ];
    for line in refused {
        assert_eq!(adapted(line).refused.len(), 1, "{line}");
        let trusting = adapt(&shell::split(line).unwrap(), Path::new("/nowhere"), true);
        assert_eq!(trusting.refused, Vec::<String>::new(), "{line}");
    }
}

/// Would catch a QMP command or a request by which a stranger's file reaches the host.
#[test]
fn requests_that_are_not_allowed() {
    let refused =
        |text: &str| !refused_requests(&[text.to_owned()], Path::new("/nowhere")).is_empty();
    for text in [
        r#"{"execute": "migrate", "arguments": {"uri": "exec:sh"}}"#,
        r#"{"execute": "pmemsave"}"#,
        r#"{"execute": "human-monitor-command"}"#,
        r#"{"execute": "screendump"}"#,
        r#"{"execute": "nbd-server-start"}"#,
        r#"{"execute": "netdev_add", "arguments": {"type": "tap", "id": "a", "script": "x"}}"#,
        r#"{"execute": "chardev-add", "arguments": {"id": "a", "backend": {"type": "file", "data": {"out": "x"}}}}"#,
        r#"{"execute": "blockdev-add", "arguments": {"driver": "file", "filename": "x", "node-name": "a"}}"#,
        r#"{"execute": "object-add", "arguments": {"qom-type": "memory-backend-file", "id": "a", "mem-path": "x"}}"#,
        r#"{"execute": "dump-guest-memory"}"#,
        "{broken",
        "module_load ../x y",
    ] {
        assert!(refused(text), "{text}");
    }
    for text in [
        "outl 0xcf8 0",
        r#"{"execute": "query-status"}"#,
        r#"{"execute": "system_reset"}"#,
        r#"{"execute": "device_add", "arguments": {"driver": "e1000", "id": "a", "bus": "/x"}}"#,
        r#"{"execute": "blockdev-add", "arguments": {"driver": "null-co", "node-name": "a"}}"#,
    ] {
        assert!(!refused(text), "{text}");
    }
}

/// Would catch a file of the own folder that is refused, and a link out of it that is not.
#[test]
fn the_own_folder() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("disk.img"), "x").unwrap();
    std::os::unix::fs::symlink("/etc/passwd", folder.path().join("link.img")).unwrap();
    let adapted = |file: &str| adapt(&["-hda".to_owned(), file.to_owned()], folder.path(), false);
    assert_eq!(adapted("disk.img").refused, Vec::<String>::new());
    assert!(adapted("disk.img").config.options.last().unwrap().ends_with("/disk.img"));
    assert_eq!(adapted("link.img").refused.len(), 1);
    assert_eq!(
        adapted("../../etc/passwd").refused.len() + adapted("../../etc/passwd").config.images.len(),
        1
    );
}

proptest! {
    /// Would catch a panic, or a loop without end, at any text.
    #[test]
    fn no_text_panics(text in any::<String>()) {
        let _ = read(&text, Path::new("/nowhere"));
    }

    /// The same with texts that look like reproducers.
    #[test]
    fn no_likely_text_panics(words in proptest::collection::vec(prop_oneof![
        "(cat|echo|printf|while|for|do|done|in|true|EOF|<<|<|>|\\||;|&|\\(|\\)|\\{|\\}|'|\"|\\$\\(|\\$\\{|\\\\)".boxed(),
        "(qemu-system-arm|-M|x|\\$QEMU|-qtest|stdio|X=1|\\$X|\\$\\(\\(1\\+1\\)\\))".boxed(),
        "(outl 0xcf8 1|inb 1|write 0 2 0x|\\[R \\+0.1\\]|\\[DMA\\]|\\[S|OK)".boxed(),
        "(static void t\\(void\\)|qtest_init\\(|s|,|0x10|if|else|while|return|sizeof|uint8_t|\\[|\\]|=|\\+\\+|#define A\\(x\\) x|/\\*|\\*/|//|\\?|:)".boxed(),
        "\n".boxed(), " ".boxed(), "[ -~é]{0,5}".boxed(),
    ], 0..60), gap in "( |\n|)") {
        let _ = read(&words.join(&gap), Path::new("/nowhere"));
    }

    /// Would catch a panic at any command line, and a request that makes one.
    #[test]
    fn no_command_line_panics(words in proptest::collection::vec("(-(M|drive|device|object|netdev|chardev|blockdev|audiodev|global)|[ -~]{0,12}|\\{\"a\": *[0-9\\]\\}]*)", 0..8)) {
        let _ = adapt(&words, Path::new("/nowhere"), false);
        let _ = refused_requests(&words, Path::new("/nowhere"));
        words.iter().for_each(|word| { request::tidy(word).map(|line| request::mistake(&line)); });
    }
}
