//! The QMP client against a peer that says what QEMU says, and what QEMU never should.

use super::*;
use crate::protocol::peer::{Peer, Talk};

const GREETING: &str = r#"{"QMP": {"version": {"qemu": {"micro": 22, "minor": 2, "major": 7}, "package": "Debian"}, "capabilities": ["oob"]}}"#;

/// A connected client whose peer is in the hands of `script`.
fn qmp(script: impl FnOnce(Peer) + Send + 'static) -> (Qmp, Talk) {
    let (stream, talk) = Talk::start(|mut peer| {
        peer.say(format!("{GREETING}\r\n"));
        expect(&mut peer, r#"{"execute": "qmp_capabilities", "id": 1}"#);
        peer.say("{\"return\": {}, \"id\": 1}\r\n");
        script(peer);
    });
    let qmp = Qmp::connect(stream, talk.deadline.clone(), talk.transcript.clone());
    (qmp.expect("a client"), talk)
}

/// Takes a command, which must be this one, in whichever order its members are.
fn expect(peer: &mut Peer, command: &str) {
    let parse = |text: &str| serde_json::from_str::<Value>(text).expect("JSON");
    assert_eq!(parse(&peer.request()), parse(command));
}

/// Catches a version that is not told, and a wrong connecting.
#[test]
fn connecting() {
    let (qmp, talk) = qmp(|mut peer| peer.expect(""));
    assert_eq!(qmp.greeting().to_string(), "7.2.22 (Debian)");
    assert!(talk.transcript.to_string().starts_with("qmp< {\"QMP\": {\"version\""));
    talk.finish(qmp);
}

/// Catches a peer that is not QMP, or is gone, taken for one.
#[test]
fn connecting_to_something_else() {
    let connect = |script: fn(Peer)| {
        let (stream, talk) = Talk::start(script);
        let result = Qmp::connect(stream, talk.deadline.clone(), talk.transcript.clone());
        talk.finish(());
        result.err().expect("an error")
    };
    let garbled = connect(|mut peer| peer.say("220 mail ESMTP\r\n"));
    assert!(matches!(garbled, Error::Garbled { answer, .. } if answer == "220 mail ESMTP"));
    let event = connect(|mut peer| peer.say("{\"event\": \"STOP\"}\r\n"));
    assert!(matches!(event, Error::Garbled { .. }));
    let closed = connect(|mut peer| peer.say("{\"QMP\""));
    assert!(matches!(closed, Error::Closed { partial, .. } if partial == "{\"QMP\""));
    let refused = connect(|mut peer| {
        peer.say(format!("{GREETING}\n"));
        peer.request();
        peer.say("{\"error\": {\"class\": \"GenericError\", \"desc\": \"no\"}}\n");
    });
    assert!(matches!(refused, Error::Qmp { command, .. } if command == "qmp_capabilities"));
}

/// Catches arguments, return values and failures that are lost on the way.
#[test]
fn commands() {
    let (qmp, talk) = qmp(|mut peer| {
        expect(&mut peer, r#"{"execute": "query-status", "id": 2}"#);
        peer.say("{\"return\": {\"running\": true}, \"id\": 2}\r\n");
        expect(&mut peer, r#"{"execute": "device_del", "arguments": {"id": "é\n"}, "id": 3}"#);
        peer.say("{\"id\": 3, \"error\": {\"class\": \"DeviceNotFound\", \"desc\": \"gone\"}}\r\n");
        // QEMU leaves the number out when it cannot read it.
        peer.request();
        peer.say("{\"error\": {\"class\": \"GenericError\", \"desc\": \"Expected 'object'\"}}\r\n");
    });
    let status = qmp.execute("query-status", Value::Null).unwrap();
    assert_eq!(status, json!({"running": true}));
    let error = qmp.execute("device_del", json!({"id": "é\n"})).unwrap_err();
    assert_eq!(error.to_string(), "the QMP command `device_del` failed: gone (DeviceNotFound)");
    let error = qmp.execute("x", json!([1])).unwrap_err();
    assert!(matches!(error, Error::Qmp { desc, .. } if desc == "Expected 'object'"));
    talk.finish(qmp);
}

/// Catches replies given to the wrong command, and one failure that hides the others.
#[test]
fn commands_written_together() {
    let (qmp, talk) = qmp(|mut peer| {
        for id in 2..5 {
            expect(&mut peer, &format!(r#"{{"execute": "c{id}", "id": {id}}}"#));
        }
        peer.say("{\"return\": 4, \"id\": 4}\r\n{\"event\": \"STOP\"}\r\n");
        peer.say("{\"return\": 2, \"id\": 2}\r\n");
        peer.say("{\"error\": {\"class\": \"GenericError\", \"desc\": \"x\"}, \"id\": 3}\r\n");
    });
    let commands = ["c2", "c3", "c4"].map(|name| (name, Value::Null));
    let replies = qmp.execute_all(&commands).unwrap();
    assert_eq!(replies[0].as_ref().unwrap(), &json!(2));
    assert!(matches!(&replies[1], Err(Error::Qmp { command, .. }) if command == "c3"));
    assert_eq!(replies[2].as_ref().unwrap(), &json!(4));
    assert!(qmp.execute_all(&[]).unwrap().is_empty());
    assert_eq!(qmp.events().len(), 1);
    talk.finish(qmp);
}

/// Catches a late reply, whole, in halves or without a number, taken for a later command's.
#[test]
fn late_replies_are_dropped() {
    let (qmp, talk) = qmp(|mut peer| {
        peer.request();
        peer.say("{\"return\": \"la");
        peer.wait_for_go();
        peer.say("te\", \"id\": 2}\r\n");
        peer.request();
        peer.request();
        peer.say("{\"error\": {\"class\": \"GenericError\", \"desc\": \"the second's\"}}\r\n");
        peer.say("{\"return\": \"third\", \"id\": 4}\r\n");
    });
    assert_eq!(talk.too_late(|| qmp.execute("a", Value::Null)), "a");
    assert_eq!(talk.too_late(|| qmp.execute("b", Value::Null)), "b");
    talk.go();
    assert_eq!(qmp.execute("c", Value::Null).unwrap(), json!("third"));
    talk.finish(qmp);
}

/// Catches events that are lost, out of order, or given to the wrong waiter.
#[test]
fn events() {
    let (qmp, talk) = qmp(|mut peer| {
        let event =
            |name: &str, n| format!("{{\"event\": \"{name}\", \"data\": {{\"n\": {n}}}}}\r\n");
        peer.request();
        peer.say([event("A", 1), event("B", 2)].concat());
        peer.say("{\"return\": {}, \"id\": 2}\r\n");
        peer.say([event("A", 3), event("C", 4), event("B", 5)].concat());
        peer.wait_for_go();
        peer.say(event("D", 6));
        peer.expect("");
    });
    qmp.execute("x", Value::Null).unwrap();
    assert_eq!(qmp.wait_event("B").unwrap().data, json!({"n": 2}));
    assert_eq!(qmp.wait_event("C").unwrap().data, json!({"n": 4}));
    assert_eq!(qmp.wait_event("B").unwrap().data, json!({"n": 5}));
    assert_eq!(talk.too_late(|| qmp.wait_event("D")), "waiting for event D");
    talk.go();
    let d = qmp.wait_event("D").unwrap();
    assert_eq!((d.name.as_str(), d.timestamp), ("D", None));
    qmp.poll().unwrap();
    let rest: Vec<_> = qmp.events().into_iter().map(|event| event.data["n"].clone()).collect();
    assert_eq!(rest, [json!(1), json!(3)]);
    assert!(qmp.events().is_empty());
    talk.finish(qmp);
}

/// Catches garbage that panics or is overlooked, and a client that does not go on after it.
#[test]
fn garbage_is_an_error() {
    let (qmp, talk) = qmp(|mut peer| {
        peer.request();
        peer.say(b"\xff{]\n{\"return\": 1, \"id\": 2}\r\n");
        peer.request();
        peer.say("{\"return\": 2, \"id\": 3}\r\n[1]\n");
        peer.wait_for_go();
    });
    let error = qmp.execute("x", Value::Null).unwrap_err();
    assert_eq!(
        error.to_string(),
        "`x` was answered with `\\xff{]`, where a QMP message was expected"
    );
    assert_eq!(qmp.execute("y", Value::Null).unwrap(), json!(2));
    assert!(matches!(qmp.poll(), Err(Error::Garbled { .. })));
    qmp.poll().unwrap();
    talk.finish(qmp);
}

/// Catches a reply without end held in memory, or hiding the next one.
#[test]
fn an_endless_reply_is_refused() {
    let (qmp, talk) = qmp(|mut peer| {
        peer.request();
        for _ in 0..20 {
            peer.say(vec![b'x'; 1_000_000]);
        }
        peer.say("\n");
        peer.request();
        peer.say("{\"return\": 2, \"id\": 3}\r\n");
    });
    let error = qmp.execute("x", Value::Null).unwrap_err();
    assert!(matches!(error, Error::LineTooLong { .. }));
    assert_eq!(qmp.execute("y", Value::Null).unwrap(), json!(2));
    talk.finish(qmp);
}

/// Catches a shutdown that waits for a reply, or ends before the connection does.
#[test]
fn quitting() {
    let (qmp, talk) = qmp(|mut peer| {
        expect(&mut peer, r#"{"execute": "quit", "id": 2}"#);
        peer.wait_for_go();
        peer.say("{\"return\": {}, \"id\": 2}\r\n{\"event\": \"SHUTDOWN\"}\r\n");
    });
    qmp.send_only("quit").unwrap();
    assert_eq!(talk.too_late(|| qmp.wait_closed()), "waiting for the end");
    talk.go();
    qmp.wait_closed().unwrap();
    assert_eq!(qmp.events()[0].name, "SHUTDOWN");
    let error = qmp.execute("query-status", Value::Null).unwrap_err();
    assert!(matches!(error, Error::Closed { what, .. } if what == "query-status"));
    talk.finish(qmp);
}

/// Catches a deadlock when replies fill one socket while commands fill the other.
#[test]
fn many_commands_over_small_buffers() {
    let (stream, talk) = Talk::start_narrow(|mut peer| {
        peer.say(format!("{GREETING}\r\n"));
        for id in 1..3000 {
            peer.request();
            let filler = "x".repeat(300);
            peer.say(format!("{{\"return\": \"{id}{filler}\", \"id\": {id}}}\r\n"));
        }
    });
    let qmp = Qmp::connect(stream, talk.deadline.clone(), talk.transcript.clone()).unwrap();
    let commands = vec![("c", json!({"filler": "x".repeat(300)})); 2998];
    let replies = qmp.execute_all(&commands).unwrap();
    for (index, reply) in replies.iter().enumerate() {
        let reply = reply.as_ref().unwrap().as_str().unwrap().to_string();
        assert!(reply.starts_with(&format!("{}x", index + 2)));
    }
    talk.finish(qmp);
}

/// Would catch a file that does not arrive with its command, arrives with another one, or is
/// not the one that was given.
#[test]
fn a_file_goes_with_its_command() {
    use std::fs::File;
    use std::io::{IoSliceMut, Read, Seek, Write};
    use std::os::fd::{AsRawFd, FromRawFd};

    use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};

    let (near, mut far) = UnixStream::pair().unwrap();
    far.write_all(GREETING.as_bytes()).unwrap();
    far.write_all(b"\n{\"return\": {}, \"id\": 1}\n").unwrap();
    let qmp = Qmp::connect(near, Rc::new(Deadline::new()), Rc::default()).unwrap();
    // What was received, and the files that came with it.
    let receive = |far: &UnixStream| {
        let (mut bytes, mut room) = ([0; 4096], nix::cmsg_space!([std::os::fd::RawFd; 4]));
        let mut parts = [IoSliceMut::new(&mut bytes)];
        let flags = MsgFlags::MSG_CMSG_CLOEXEC;
        let message = recvmsg::<()>(far.as_raw_fd(), &mut parts, Some(&mut room), flags).unwrap();
        let mut files = Vec::new();
        for part in message.cmsgs().unwrap() {
            if let ControlMessageOwned::ScmRights(numbers) = part {
                // SAFETY: these files were just received, and nobody else has their numbers.
                files.extend(numbers.iter().map(|&number| unsafe { File::from_raw_fd(number) }));
            }
        }
        let length = message.bytes;
        (String::from_utf8_lossy(&bytes[..length]).into_owned(), files)
    };
    assert!(receive(&far).1.is_empty());

    let mut given = tempfile::tempfile().unwrap();
    given.write_all(b"given").unwrap();
    far.write_all(b"{\"return\": {}, \"id\": 2}\n").unwrap();
    qmp.send_file("mine", &given).unwrap();
    let (command, mut files) = receive(&far);
    assert!(
        command.contains("\"getfd\"") && command.contains("{\"fdname\":\"mine\"}"),
        "{command}"
    );
    assert_eq!(files.len(), 1);
    let mut text = String::new();
    files[0].rewind().unwrap();
    files[0].read_to_string(&mut text).unwrap();
    assert_eq!(text, "given");

    far.write_all(b"{\"return\": {}, \"id\": 3}\n").unwrap();
    qmp.execute("query-status", Value::Null).unwrap();
    assert!(receive(&far).1.is_empty());
}
