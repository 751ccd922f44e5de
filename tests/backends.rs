//! vhost-user back ends of the user's on a real QEMU: one that serves well, and those that end. This
//! program plays them itself.

use std::env;
use std::fs::File;
use std::os::unix::net::UnixListener;
use std::process::{Command, ExitCode, exit};
use std::thread;

use libtest_mimic::{Arguments, Failed, Trial};
use qgraph::qos::vhost::blk::Disk;
use qgraph::qos::vhost::{SimpleDevice, VhostUser};

/// The word with which this program plays a back end.
const SERVE: &str = "serve";
/// The paths of a PCI function of a PC.
const FUNCTIONS: &str = "/x86_64/q35/q35-pcihost/pci-bus-pc/pci-bus";

fn main() -> ExitCode {
    let words: Vec<String> = env::args().skip(1).collect();
    if words.first().is_some_and(|word| word == SERVE) {
        let words: Vec<&str> = words[1..].iter().map(String::as_str).collect();
        serve(&words);
    }
    let trials = vec![
        Trial::test("a_disk_is_served", a_disk_is_served),
        Trial::test("one_that_dies", one_that_dies),
        Trial::test("one_that_turns_qemu_away", one_that_turns_qemu_away),
        Trial::test("what_is_no_backend", what_is_no_backend),
    ];
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

/// Plays the back end that these words say.
fn serve(words: &[&str]) -> ! {
    let listen = |socket: &str| UnixListener::bind(socket).expect("a socket");
    let _served = match *words {
        ["disk", socket, image] => {
            let image = File::options().read(true).write(true).open(image).expect("an image");
            let disk = Disk::new(image).expect("a disk");
            VhostUser::listen(listen(socket), disk, false).expect("a back end")
        }
        ["dies", socket] => {
            let answer = |_: u16, _: &[u8], _: usize| -> Vec<u8> {
                eprintln!("no more entropy");
                exit(7)
            };
            let device = SimpleDevice { answer, ..SimpleDevice::inverting(1) };
            VhostUser::listen(listen(socket), device, false).expect("a back end")
        }
        ["leaves", socket] => {
            drop(listen(socket).accept());
            eprintln!("not you");
            exit(7)
        }
        _ => panic!("{words:?}"),
    };
    loop {
        thread::park();
    }
}

/// Runs a path of a PCI function with an option, in whose value `SELF` is this program as a back
/// end. The exit status, and what was said.
fn run(path: &str, option: &str, backend: &str) -> (Option<i32>, String) {
    let own = env::current_exe().expect("an executable");
    let backend = backend.replace("SELF", &format!("{} {SERVE}", own.display()));
    let mut qgraph = Command::new(env!("CARGO_BIN_EXE_qgraph"));
    let path = format!("{FUNCTIONS}/{path}");
    let finished = qgraph.args(["run", "--exact", &path, option, &backend]).output();
    let finished = finished.expect("qgraph runs");
    let said = [finished.stdout, finished.stderr].concat();
    (finished.status.code(), String::from_utf8_lossy(&said).into_owned())
}

/// Would catch a back end that is not started or not reached, and an image that is not the one
/// that the suite looks into.
fn a_disk_is_served() -> Result<(), Failed> {
    let path = "vhost-user-blk-pci:modern/vhost-user-blk/virtio-blk/virtio-blk-tests/basic";
    let (status, said) = run(path, "--vhost-user-blk", "SELF disk {socket} {image}");
    assert_eq!(status, Some(0), "{said}");
    assert!(said.contains("1 passed"), "{said}");
    let path = "vhost-user-blk-pci:modern/vhost-user-blk/vhost-user/vhost-user-tests/negotiated";
    let (_, said) = run(path, "--vhost-user-blk", "SELF disk {socket} {image}");
    assert!(said.contains("what a back end is asked is known of"), "{said}");
    Ok(())
}

/// Would catch a back end that ends during a test and is not blamed, and whose words are lost.
fn one_that_dies() -> Result<(), Failed> {
    let path = "vhost-user-rng-pci/virtio/virtio-rules-tests/reset-in-flight";
    let (status, said) = run(path, "--vhost-user-rng", "SELF dies {socket}");
    assert_eq!(status, Some(1), "{said}");
    for words in ["failed", "exited with status 7 while QEMU used it", "no more entropy"] {
        assert!(said.contains(words), "{words:?} is not said: {said}");
    }
    Ok(())
}

/// Would catch a back end that ends while QEMU starts, for which QEMU is blamed.
fn one_that_turns_qemu_away() -> Result<(), Failed> {
    let path = "vhost-user-rng-pci/virtio/virtio-tests/nop";
    let (status, said) = run(path, "--vhost-user-rng", "SELF leaves {socket}");
    assert_eq!(status, Some(1), "{said}");
    for words in ["exited with status 7 while QEMU started", "not you"] {
        assert!(said.contains(words), "{words:?} is not said: {said}");
    }
    Ok(())
}

/// Would catch a mistake in the option that only paths tell of, and a run of paths that the back
/// end has nothing to do with.
fn what_is_no_backend() -> Result<(), Failed> {
    let path = "virtio-rng-pci/virtio-rng/virtio-rng-tests/basic";
    let (status, said) = run(path, "--vhost-user-blk", "SELF disk");
    assert_eq!(status, Some(2), "{said}");
    assert!(said.contains("--vhost-user-blk: `") && said.contains("{socket}"), "{said}");
    let (status, said) = run(path, "--vhost-user-blk", "SELF disk {socket} {image}");
    assert_eq!(status, Some(2), "{said}");
    Ok(())
}
