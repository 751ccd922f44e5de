//! The qtest client against a peer that says what QEMU says, and what QEMU never should.

use std::io::Read;

use super::*;
use crate::protocol::peer::{Peer, Talk};

/// A client whose peer is in the hands of `script`.
pub(in crate::protocol) fn qtest(script: impl FnOnce(Peer) + Send + 'static) -> (Qtest, Talk) {
    let (stream, talk) = Talk::start(script);
    let qtest = Qtest::new(stream, talk.deadline.clone(), talk.transcript.clone());
    (qtest.expect("a client"), talk)
}

/// A client whose peer takes exactly these requests, and gives these answers.
pub(in crate::protocol) fn dialogue(lines: &'static [(&str, &str)]) -> (Qtest, Talk) {
    qtest(move |mut peer| {
        for (request, answer) in lines {
            peer.expect(request);
            peer.say(format!("{answer}\n"));
        }
        peer.expect("");
    })
}

const ADDRESS: GuestAddress = GuestAddress(0xfee0_0000);

/// Catches a wrong command word, a wrong number format, and an answer cut to the wrong width.
#[test]
fn ports_and_registers() {
    let (qtest, talk) = dialogue(&[
        ("inb 0x70", "OK 0x00ff"),
        ("inw 0xffff", "OK 0xffff"),
        ("inl 0x0", "OK 0xfedcba98"),
        ("outb 0x70 0x8f", "OK"),
        ("outw 0x1f0 0x1234", "OK"),
        ("outl 0xcf8 0x80000000", "OK"),
        ("readb 0xfee00000", "OK 0x00000000000000ff"),
        ("readw 0xfee00000", "OK 0x000000000000ffff"),
        ("readl 0xfee00000", "OK 0x00000000ffffffff"),
        ("readq 0xffffffffffffffff", "OK 0xffffffffffffffff"),
        ("writeb 0x0 0x0", "OK"),
        ("writew 0xfee00000 0x102", "OK"),
        ("writel 0xfee00000 0x1020304", "OK"),
        ("writeq 0xfee00000 0x102030405060708", "OK"),
    ]);
    assert_eq!(qtest.inb(0x70).unwrap(), 0xff);
    assert_eq!(qtest.inw(0xffff).unwrap(), 0xffff);
    assert_eq!(qtest.inl(0).unwrap(), 0xfedc_ba98);
    qtest.outb(0x70, 0x8f).unwrap();
    qtest.outw(0x1f0, 0x1234).unwrap();
    qtest.outl(0xcf8, 0x8000_0000).unwrap();
    assert_eq!(qtest.readb(ADDRESS).unwrap(), 0xff);
    assert_eq!(qtest.readw(ADDRESS).unwrap(), 0xffff);
    assert_eq!(qtest.readl(ADDRESS).unwrap(), 0xffff_ffff);
    assert_eq!(qtest.readq(GuestAddress(u64::MAX)).unwrap(), u64::MAX);
    qtest.writeb(GuestAddress(0), 0).unwrap();
    qtest.writew(ADDRESS, 0x102).unwrap();
    qtest.writel(ADDRESS, 0x102_0304).unwrap();
    qtest.writeq(ADDRESS, 0x102_0304_0506_0708).unwrap();
    talk.finish(qtest);
}

/// Catches a wrong unit of time, and the three ways to say "no timer" not being one.
#[test]
fn clock() {
    let (qtest, talk) = dialogue(&[
        ("clock_step 1000000", "OK 1000000"),
        ("clock_step", "OK 1500000"),
        ("clock_step", "OK 2000000"),
        ("clock_step", "OK 2000000"),
        (
            "clock_step",
            "FAIL cannot advance clock to the next deadline because there is no pending deadline",
        ),
        ("clock_step", "FAIL Unknown command 'clock_step'"),
        ("clock_set 3000000000", "OK 3000000000"),
        ("clock_set 1", "FAIL 3000000000"),
        ("clock_step 0", "FAIL could not advance time"),
        ("clock_step 9223372036854775807", "OK 9223372036854775807"),
    ]);
    let ms = Duration::from_millis;
    assert_eq!(qtest.clock_last_seen(), Duration::ZERO);
    assert_eq!(qtest.clock_step(Some(ms(1))).unwrap(), ms(1));
    assert_eq!(qtest.clock_step(None).unwrap(), Duration::from_micros(1500));
    assert_eq!(qtest.clock_step_next().unwrap(), Some(ms(2)));
    assert_eq!(qtest.clock_step_next().unwrap(), None);
    assert_eq!(qtest.clock_step_next().unwrap(), None);
    assert!(matches!(qtest.clock_step_next(), Err(Error::Refused { .. })));
    assert_eq!(qtest.clock_set(ms(3000)).unwrap(), ms(3000));
    assert_eq!(qtest.clock_set(Duration::from_nanos(1)).unwrap(), ms(3000));
    assert!(matches!(qtest.clock_step(Some(Duration::ZERO)), Err(Error::Refused { .. })));
    assert_eq!(qtest.clock_last_seen(), ms(3000));
    qtest.clock_step(Some(Duration::MAX)).unwrap();
    talk.finish(qtest);
}

/// Catches the remaining commands' words and answers.
#[test]
fn other_commands() {
    let (qtest, talk) = dialogue(&[
        ("endianness", "OK little"),
        ("endianness", "OK big"),
        ("rtas get-time-of-day 0 0x8000 8 0x8010", "OK 0"),
        ("rtas nonsense 1 0x0 1 0x4", "OK 18446744073709551612"),
        ("module_load hw-display- qxl", "OK"),
        ("csr get_csr 0 0x300 0x0", "OK 0 a00000000"),
        ("frobnicate", "FAIL Unknown command 'frobnicate'"),
    ]);
    assert_eq!(qtest.endianness().unwrap(), Endian::Little);
    assert_eq!(qtest.endianness().unwrap(), Endian::Big);
    let (args, ret) = (GuestAddress(0x8000), GuestAddress(0x8010));
    assert_eq!(qtest.rtas("get-time-of-day", 0, args, 8, ret).unwrap(), 0);
    let (args, ret) = (GuestAddress(0), GuestAddress(4));
    let status = qtest.rtas("nonsense", 1, args, 1, ret).unwrap();
    assert_eq!(status, -4i64 as u64);
    qtest.module_load("hw-display-", "qxl").unwrap();
    let csr = qtest.command("csr get_csr 0 0x300 0x0").unwrap();
    assert_eq!(csr, "0 a00000000");
    assert_eq!(
        qtest.command("frobnicate").unwrap_err().to_string(),
        "QEMU refused `frobnicate`: FAIL Unknown command 'frobnicate'"
    );
    talk.finish(qtest);
}

/// Catches words that would become several, or several requests.
#[test]
fn arguments_that_change_the_request_are_not_sent() {
    let (qtest, talk) = dialogue(&[]);
    let at = GuestAddress(0);
    for result in [
        qtest.command("").map(drop),
        qtest.command("inl 0\ninl 4").map(drop),
        qtest.command(" ").map(drop),
        qtest.command("# inl 0").map(drop),
        qtest.rtas("a b", 0, at, 0, at).map(drop),
        qtest.module_load("", "x"),
        qtest.module_load("x", "y\n"),
        qtest.irq_intercept_in(""),
        qtest.irq_intercept_out("/machine/with space"),
        qtest.irq_intercept_out_named("/machine", ""),
        qtest.set_irq_in("/machine", "a\0b", 0, 1),
    ] {
        assert!(matches!(result, Err(Error::Argument { .. })), "{result:?}");
    }
    talk.finish(qtest);
}

/// Catches an answer that is not one being taken for a value, and a stream that does not go on.
#[test]
fn garbage_is_an_error_that_shows_it() {
    let (qtest, talk) = qtest(|mut peer| {
        for garbage in [&b"\xff\xfe\x1b[2J\0"[..], b"", b"OK", b"OK 0x100", b"IRQ maybe 1"] {
            peer.expect("inb 0x1");
            peer.say(garbage);
            peer.say("\n");
        }
        peer.expect("inb 0x2");
        peer.say("OK 0x2\n");
    });
    let error = qtest.inb(1).unwrap_err();
    assert_eq!(
        error.to_string(),
        "`inb 0x1` was answered with `\\xff\\xfe\\u{1b}[2J\\u{0}`, \
         where `OK`, `FAIL` or `ERR` was expected"
    );
    for _ in 0..4 {
        assert!(matches!(qtest.inb(1), Err(Error::Garbled { .. })));
    }
    assert_eq!(qtest.inb(2).unwrap(), 2);
    talk.finish(qtest);
}

/// Catches an answer nobody asked for being taken for that of the next request.
#[test]
fn a_stray_line_is_an_error() {
    let (qtest, talk) = qtest(|mut peer| {
        peer.expect("inb 0x1");
        peer.say("OK 0x1\nOK 0x66\n");
        peer.expect("inb 0x2");
        peer.say("OK 0x2\n");
    });
    assert_eq!(qtest.inb(1).unwrap(), 1);
    let error = qtest.inb(2).unwrap_err();
    assert_eq!(
        error.to_string(),
        "`(no request)` was answered with `OK 0x66`, where nothing but interrupts was expected"
    );
    assert_eq!(qtest.inb(2).unwrap(), 2);
    talk.finish(qtest);
}

/// Catches a late answer taken for the next request's, and half a line lost at a deadline.
#[test]
fn late_answers_are_dropped_even_in_halves() {
    let (qtest, talk) = qtest(|mut peer| {
        peer.expect("inl 0x1");
        peer.say("OK 0x1");
        peer.wait_for_go();
        peer.say("1\nIRQ raise 5\n");
        peer.expect("inl 0x2");
        peer.expect("inl 0x3");
        peer.say("OK 0x22\n");
        peer.say("OK 0x33\n");
        peer.expect("inl 0x4");
        peer.say("OK 0x44\n");
    });
    assert_eq!(talk.too_late(|| qtest.inl(1)), "inl 0x1");
    // One that sends nothing is none that could lose the rest.
    qtest.batch().send().unwrap();
    assert_eq!(talk.too_late(|| qtest.inl(2)), "inl 0x2");
    talk.go();
    assert_eq!(qtest.inl(3).unwrap(), 0x33);
    assert!(qtest.irq_level(5));
    assert_eq!(qtest.inl(4).unwrap(), 0x44);
    assert_eq!(
        talk.transcript.to_string(),
        "qtest> inl 0x1\nqtest> inl 0x2\nqtest> inl 0x3\nqtest< OK 0x11\nqtest< IRQ raise 5\n\
         qtest< OK 0x22\nqtest< OK 0x33\nqtest> inl 0x4\nqtest< OK 0x44\n"
    );
    talk.finish(qtest);
}

/// Catches an overall end that does not end a request, though the request's own limit is far.
#[test]
fn the_overall_end_counts() {
    let (qtest, talk) = qtest(|mut peer| {
        peer.expect("inl 0x1");
        peer.wait_for_go();
    });
    let end = std::time::Instant::now() + Duration::from_millis(70);
    talk.deadline.set_end(Some(end));
    assert!(matches!(qtest.inl(1), Err(Error::Deadline { .. })));
    assert!(std::time::Instant::now() >= end);
    talk.finish(qtest);
}

/// Catches a request cut short by a deadline that runs into the next one.
#[test]
fn a_request_that_was_sent_in_part_is_finished() {
    let (stream, talk) = Talk::start_narrow(|mut peer| {
        peer.wait_for_go();
        loop {
            let request = peer.request();
            match request.split_once(' ') {
                Some(("b64write", rest)) => {
                    let data = rest.split(' ').nth(2).expect("data");
                    assert_eq!(data.len(), (64usize << 10).div_ceil(3) * 4);
                    peer.say("OK\n");
                }
                Some(("inl", _)) => peer.say("OK 0x77\n"),
                _ => break assert_eq!(request, ""),
            }
        }
    });
    let qtest = Qtest::new(stream, talk.deadline.clone(), talk.transcript.clone()).unwrap();
    let data = vec![0x5a; 1 << 20];
    // The second and third find the socket still full.
    assert!(
        talk.too_late(|| qtest.b64write(ADDRESS, &data))
            .starts_with("b64write 0xfee00000 0x10000 ")
    );
    assert_eq!(talk.too_late(|| qtest.inl(1)), "inl 0x1");
    // One that sends nothing is none that could lose the rest.
    qtest.batch().send().unwrap();
    assert_eq!(talk.too_late(|| qtest.inl(2)), "inl 0x2");
    talk.go();
    assert_eq!(qtest.inl(3).unwrap(), 0x77);
    talk.finish(qtest);
}

/// Catches a closed connection told as something else, and what had come being lost.
#[test]
fn closed_in_the_middle() {
    let (qtest, talk) = qtest(|mut peer| {
        peer.expect("inl 0x1");
        peer.say("IRQ raise 1\nOK 0x");
    });
    for _ in 0..2 {
        assert_eq!(
            qtest.inl(1).unwrap_err().to_string(),
            "QEMU closed the connection before `inl 0x1` was answered, in the middle of `OK 0x`"
        );
    }
    assert!(qtest.irq_level(1));
    assert!(matches!(qtest.poll_irqs(), Err(Error::Closed { .. })));
    talk.finish(qtest);
}

/// Catches a crash with requests unread (the socket is then reset) told as something else.
#[test]
fn closed_with_a_request_unread() {
    let (near, mut far) = UnixStream::pair().unwrap();
    let talk = Talk::start(|_| ()).1;
    let qtest = Qtest::new(near, talk.deadline.clone(), talk.transcript.clone()).unwrap();
    talk.too_late(|| qtest.inl(1));
    far.read_exact(&mut [0; 3]).unwrap();
    drop(far);
    assert!(matches!(qtest.inl(2), Err(Error::Closed { .. })));
    talk.finish(qtest);
}

/// Catches an endless answer that is held in memory, or that hides the next one.
#[test]
fn an_endless_answer_is_refused() {
    let (qtest, talk) = qtest(|mut peer| {
        peer.expect("inl 0x1");
        for _ in 0..100 {
            peer.say(vec![b'x'; 1_000_000]);
        }
        peer.say("\n");
        peer.expect("inl 0x2");
        peer.say("OK 0x22\n");
    });
    let error = qtest.inl(1).unwrap_err();
    assert!(matches!(&error, Error::LineTooLong { what, limit: 16_777_216 } if what == "inl 0x1"));
    assert_eq!(qtest.inl(2).unwrap(), 0x22);
    talk.finish(qtest);
}

/// Catches pulses that are lost between two looks, and reports taken for answers.
#[test]
fn interrupts() {
    let (qtest, talk) = qtest(|mut peer| {
        peer.expect("irq_intercept_in ioapic");
        peer.say("OK\n");
        peer.expect("irq_intercept_out /machine/unattached/device[3]");
        peer.say("FAIL IRQ intercept already enabled\n");
        peer.expect("irq_intercept_out /machine/pci sysbus-irq");
        peer.say("OK\n");
        peer.expect("set_irq_in ioapic unnamed-gpio-in 4 -1");
        peer.say("IRQ raise 4\nIRQ lower 4\nIRQ raise 4\nIRQ lower 0\nOK\n");
        peer.expect("inb 0x1");
        peer.say("OK 0x1\nIRQ lower 4\nIRQ ra");
        peer.wait_for_go();
        peer.say("ise 11\n");
        peer.expect("inb 0x2");
        peer.say("OK 0x2\n");
    });
    qtest.irq_intercept_in("ioapic").unwrap();
    let refused = qtest.irq_intercept_out("/machine/unattached/device[3]");
    assert!(matches!(refused, Err(Error::Refused { .. })));
    let named = qtest.irq_intercept_out_named("/machine/pci", "sysbus-irq");
    named.unwrap();
    qtest.set_irq_in("ioapic", "unnamed-gpio-in", 4, -1).unwrap();
    assert_eq!((qtest.irq_raised(4), qtest.irq_lowered(4)), (2, 1));
    assert!(qtest.irq_level(4));
    assert_eq!((qtest.irq_raised(0), qtest.irq_lowered(0)), (0, 0));
    assert_eq!((qtest.irq_raised(999), qtest.irq_level(999)), (0, false));
    qtest.inb(1).unwrap();
    qtest.poll_irqs().unwrap();
    assert_eq!((qtest.irq_lowered(4), qtest.irq_level(4)), (2, false));
    assert!(!qtest.irq_level(11));
    talk.go();
    qtest.inb(2).unwrap();
    assert_eq!((qtest.irq_raised(11), qtest.irq_level(11)), (1, true));
    qtest.reset_irq_counts();
    assert_eq!((qtest.irq_raised(11), qtest.irq_level(11)), (0, true));
    talk.finish(qtest);
}

/// A client with no time at all, whose peer is this end of its socket.
fn at_once() -> (Qtest, UnixStream, Rc<Deadline>) {
    let (near, far) = UnixStream::pair().unwrap();
    let deadline = Rc::new(Deadline::new());
    deadline.set_limit(Duration::ZERO);
    let qtest = Qtest::new(near, deadline.clone(), Rc::new(Transcript::default()));
    (qtest.unwrap(), far, deadline)
}

/// Catches an answer that came in time called late because this process was not awake to take
/// it then, as on a busy machine.
#[test]
fn what_has_come_is_taken_whatever_the_time() {
    let (qtest, mut far, _) = at_once();
    far.write_all(b"IRQ raise 1\nOK 0x11\n").unwrap();
    assert_eq!(qtest.inl(1).unwrap(), 0x11);
    assert!(matches!(qtest.inl(2), Err(Error::Deadline { .. })));
    far.write_all(b"OK 0x22\nOK 0x33\n").unwrap();
    assert_eq!(qtest.inl(3).unwrap(), 0x33);
}

/// Catches a deadline that is only looked at when nothing comes: this request would end after
/// minutes, if at all.
#[test]
fn a_qemu_that_never_falls_silent_does_not_stop_the_clock() {
    let (qtest, mut far, deadline) = at_once();
    let flood = std::thread::spawn(move || while far.write_all(b"IRQ raise 1\n").is_ok() {});
    for limit in [0, 20, 120].map(Duration::from_millis) {
        deadline.set_limit(limit);
        let Err(Error::Deadline { waited, .. }) = qtest.inl(1) else { panic!("no deadline") };
        assert!((limit..limit + Duration::from_secs(10)).contains(&waited), "{waited:?}");
    }
    drop(qtest);
    flood.join().unwrap();
}

/// Would catch what a library of QEMU writes to its standard output taken for the answer of
/// the request, where that is the socket, so that a crash looks like a wrong answer.
#[test]
fn words_on_standard_output() {
    let (qtest, talk) = qtest(|mut peer| {
        peer.expect("inb 0x70");
        peer.say("a word of a device\nOK 0x12\n");
        peer.expect("inb 0x71");
        peer.say("Bail out! ERROR:../hw/x.c:5:f: assertion failed: (a < b)\n");
    });
    qtest.note_stdio();
    assert_eq!(qtest.inb(0x70).unwrap(), 0x12);
    let error = qtest.inb(0x71).unwrap_err();
    assert!(matches!(error, Error::Closed { .. }), "{error}");
    let transcript = talk.transcript.to_string();
    assert!(transcript.contains("qtest< Bail out! ERROR:../hw/x.c:5"), "{transcript}");
    talk.finish(qtest);
}
