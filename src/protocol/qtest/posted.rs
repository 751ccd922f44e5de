//! Posted writes: writes of ports and registers that wait for the next request that wants an
//! answer, and cost no round trip of their own.

use super::{Inner, Qtest};
use crate::protocol::{Error, Result, answer};

/// How many writes wait at most.
pub(crate) const MOST_POSTED: usize = 64;

/// The writes that wait.
#[derive(Default)]
pub(super) struct Posted {
    /// Whether any shall wait.
    is_on: bool,
    /// Their requests, and how many they are.
    requests: Vec<u8>,
    count: usize,
    /// What went wrong with some where nobody could be told.
    late: Option<Error>,
}

impl Posted {
    /// Moves them to the end of `out`. Returns how many they were.
    pub(super) fn move_to(&mut self, out: &mut Vec<u8>) -> usize {
        out.append(&mut self.requests);
        std::mem::take(&mut self.count)
    }

    /// What nobody was told yet.
    pub(super) fn take_error(&mut self) -> Option<Error> {
        self.late.take()
    }
}

impl Qtest {
    /// From now on, has the writes of ports and registers wait for the next request that wants
    /// an answer, and be sent together with it: for one round trip. Whoever looks at anything
    /// that they may have changed, past this client, calls [`flush`](Self::flush) before. A
    /// refused write is told by the request that took it along, or by `flush`.
    pub fn post_writes(&self) {
        self.inner.borrow_mut().posted.is_on = true;
    }

    /// Sends the writes that wait, and waits until they are done.
    pub fn flush(&self) -> Result<()> {
        let inner = &mut *self.inner.borrow_mut();
        if inner.posted.count == 0 && inner.posted.late.is_none() {
            return Ok(());
        }
        inner.send_posted()
    }

    /// The same where no error can be told; the next request tells it.
    pub(crate) fn flush_quietly(&self) {
        if let Err(error) = self.flush() {
            self.inner.borrow_mut().posted.late = Some(error);
        }
    }

    /// One write.
    pub(super) fn post(&self, request: impl FnOnce(&mut Vec<u8>)) -> Result<()> {
        if !self.inner.borrow().posted.is_on {
            return self.ask(request, answer::nothing);
        }
        let inner = &mut *self.inner.borrow_mut();
        request(&mut inner.posted.requests);
        inner.posted.count += 1;
        if inner.posted.count < MOST_POSTED { Ok(()) } else { inner.send_posted() }
    }
}

impl Inner {
    fn send_posted(&mut self) -> Result<()> {
        self.begin();
        self.run(0, |_, _| Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use crate::protocol::qtest::tests::qtest;

    /// Catches writes that wait for ever, overtake a read, or whose refusal is told of another
    /// request or of none.
    #[test]
    fn posted_writes_go_with_the_next_question() {
        let (qtest, talk) = qtest(|mut peer| {
            peer.expect("outb 0x1 0x2");
            peer.expect("outb 0x3 0x4");
            peer.expect("inb 0x5");
            peer.say("OK\nOK\nOK 0x6\n");
            peer.expect("outb 0x7 0x8");
            peer.say("OK\n");
            peer.expect("outb 0x9 0xa");
            peer.expect("inb 0xb");
            peer.say("FAIL no\nOK 0x0\n");
            peer.expect("inb 0xc");
            peer.say("OK 0xd\n");
        });
        qtest.post_writes();
        qtest.outb(1, 2).unwrap();
        qtest.outb(3, 4).unwrap();
        assert_eq!(qtest.inb(5).unwrap(), 6);
        qtest.outb(7, 8).unwrap();
        qtest.flush().unwrap();
        qtest.outb(9, 10).unwrap();
        let error = qtest.inb(11).unwrap_err();
        assert_eq!(error.to_string(), "QEMU refused `outb 0x9 0xa`: FAIL no");
        assert_eq!(qtest.inb(12).unwrap(), 13);
        qtest.flush().unwrap();
        talk.finish(qtest);
    }
}
