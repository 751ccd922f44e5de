//! Many qtest requests for one round trip, with typed places for their answers.

use std::marker::PhantomData;
use std::time::Duration;

use vm_memory::GuestAddress;

use super::answer;
use super::bulk::{check_range, put_base64};
use super::qtest::{
    Qtest, Raw, bad_argument, for_each_access, put_access, put_clock_set, put_clock_step,
};
use super::{Error, Result};

/// The most that one request of a batch moves, in bytes.
const BLOCK_LIMIT: usize = 512 << 10;

/// Requests that are collected, and then sent together.
///
/// ```no_run
/// # fn f(qtest: &qgraph::protocol::Qtest) -> qgraph::protocol::Result<()> {
/// let mut batch = qtest.batch();
/// batch.outl(0xcf8, 0x8000_0000);
/// let id = batch.inl(0xcfc);
/// let answers = batch.send()?;
/// assert_eq!(answers.get(id), 0x1237_8086);
/// # Ok(()) }
/// ```
#[must_use = "a batch does nothing until it is sent"]
pub struct Batch<'q> {
    qtest: &'q Qtest,
    out: Vec<u8>,
    kinds: Vec<Kind>,
    /// What is wrong with a request, told when the batch is sent.
    bad: Option<Error>,
}

/// What is expected of an answer.
#[derive(Clone, Copy)]
enum Kind {
    Nothing,
    Number { max: u64 },
    Clock,
    Bytes { len: usize },
}

enum Value {
    Number(u64),
    Bytes(Vec<u8>),
}

/// Where in a batch's [`Answers`] an answer is.
pub struct Slot<T> {
    index: usize,
    kind: PhantomData<fn() -> T>,
}

impl<T> Clone for Slot<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Slot<T> {}

impl<T: Into<u64> + Answer> Slot<T> {
    /// The same answer as a number of 64 bits.
    pub fn widen(self) -> Slot<u64> {
        Slot { index: self.index, kind: PhantomData }
    }
}

macro_rules! define_accesses {
    ($($where:ty, $value:ty, $read:ident, $write:ident, $what:literal;)*) => {
        /// Ports (x86) and registers in memory, one access each.
        impl Batch<'_> {
            $(
                #[doc = concat!("Reads the `", stringify!($value), "` at a ", $what, ".")]
                pub fn $read(&mut self, at: $where) -> Slot<$value> {
                    put_access(&mut self.out, stringify!($read), &[at.raw()]);
                    self.slot(Kind::Number { max: <$value>::MAX.into() })
                }

                #[doc = concat!("Writes a `", stringify!($value), "` to a ", $what, ".")]
                pub fn $write(&mut self, at: $where, value: $value) {
                    put_access(&mut self.out, stringify!($write), &[at.raw(), value.into()]);
                    self.kinds.push(Kind::Nothing);
                }
            )*
        }
    };
}
for_each_access!(define_accesses);

impl<'q> Batch<'q> {
    pub(super) fn new(qtest: &'q Qtest) -> Self {
        Self { qtest, out: Vec::new(), kinds: Vec::new(), bad: None }
    }

    /// How many requests it has.
    pub fn len(&self) -> usize {
        self.kinds.len()
    }

    /// Whether it has no requests.
    pub fn is_empty(&self) -> bool {
        self.kinds.is_empty()
    }

    /// Reads `len` bytes of guest memory, at most 512 KiB.
    pub fn read(&mut self, address: GuestAddress, len: usize) -> Slot<Vec<u8>> {
        if len == 0 {
            // Old QEMUs stumble over blocks of nothing; this does nothing, and has an answer.
            put_access(&mut self.out, "memset", &[address.0, 0, 0]);
            return self.slot(Kind::Bytes { len });
        }
        self.check_block("b64read", address, len);
        put_access(&mut self.out, "b64read", &[address.0, len as u64]);
        self.slot(Kind::Bytes { len })
    }

    /// Writes `data` to guest memory, at most 512 KiB.
    pub fn write(&mut self, address: GuestAddress, data: &[u8]) {
        if data.is_empty() {
            return;
        }
        self.check_block("b64write", address, data.len());
        let head = format!("b64write {:#x} {:#x} ", address.0, data.len());
        self.out.extend_from_slice(head.as_bytes());
        put_base64(&mut self.out, data);
        self.out.push(b'\n');
        self.kinds.push(Kind::Nothing);
    }

    /// Fills `len` bytes of guest memory with `byte`.
    pub fn memset(&mut self, address: GuestAddress, len: usize, byte: u8) {
        if let Err(error) = check_range("memset", address, len) {
            self.bad.get_or_insert(error);
        }
        let numbers = [address.0, len as u64, byte.into()];
        put_access(&mut self.out, "memset", &numbers);
        self.kinds.push(Kind::Nothing);
    }

    /// As [`Qtest::clock_step`].
    pub fn clock_step(&mut self, step: Option<Duration>) -> Slot<Duration> {
        put_clock_step(&mut self.out, step);
        self.slot(Kind::Clock)
    }

    /// As [`Qtest::clock_set`].
    pub fn clock_set(&mut self, time: Duration) -> Slot<Duration> {
        put_clock_set(&mut self.out, time);
        self.slot(Kind::Clock)
    }

    /// Sends all requests and reads all answers. The limit of a request runs anew from every
    /// answer.
    ///
    /// # Errors
    /// If QEMU refuses some of the requests, the error names the first of them; all have been
    /// carried out or refused by then. [`Error::Argument`] if a block is too long, before
    /// anything is sent.
    pub fn send(self) -> Result<Answers> {
        if let Some(bad) = self.bad {
            return Err(bad);
        }
        let inner = &mut *self.qtest.inner.borrow_mut();
        inner.begin().extend_from_slice(&self.out);
        let count = self.kinds.len();
        let mut values = Vec::with_capacity(count);
        inner.run(count, |index, line| {
            let value = self.kinds[index].parse(line)?;
            if let (Kind::Clock, Value::Number(time)) = (self.kinds[index], &value) {
                self.qtest.note_clock(*time);
            }
            values.push(value);
            Ok(())
        })?;
        Ok(Answers { values })
    }

    fn slot<T>(&mut self, kind: Kind) -> Slot<T> {
        self.kinds.push(kind);
        Slot { index: self.kinds.len() - 1, kind: PhantomData }
    }

    fn check_block(&mut self, command: &str, address: GuestAddress, len: usize) {
        let result = if len > BLOCK_LIMIT {
            let request = format!("{command} {:#x} {len:#x}", address.0);
            let why = format!("a block in a batch has at most {BLOCK_LIMIT} bytes");
            Err(bad_argument(&request, why))
        } else {
            check_range(command, address, len)
        };
        if let Err(error) = result {
            self.bad.get_or_insert(error);
        }
    }
}

impl Kind {
    fn parse(self, line: &[u8]) -> Result<Value, answer::Wrong> {
        match self {
            Kind::Nothing => answer::nothing(line).map(|()| Value::Number(0)),
            Kind::Number { max } => answer::number(line, max).map(Value::Number),
            Kind::Clock => answer::clock(line).map(Value::Number),
            Kind::Bytes { len: 0 } => answer::nothing(line).map(|()| Value::Bytes(Vec::new())),
            Kind::Bytes { len } => {
                let mut data = vec![0; len];
                answer::base64_bytes(line, &mut data).map(|()| Value::Bytes(data))
            }
        }
    }
}

/// The answers to a batch.
pub struct Answers {
    values: Vec<Value>,
}

impl Answers {
    /// The answer to the request that gave `slot`.
    ///
    /// # Panics
    /// If the slot is of another batch, and this one has no such answer.
    pub fn get<T: Answer>(&self, slot: Slot<T>) -> T::View<'_> {
        let value = self.values.get(slot.index);
        match value.and_then(T::view) {
            Some(view) => view,
            None => panic!("the slot of answer {} is of another batch", slot.index),
        }
    }
}

/// A type that an answer in a batch can have.
pub trait Answer: sealed::Sealed {
    /// What [`Answers::get`] gives.
    type View<'a>;

    #[doc(hidden)]
    #[allow(private_interfaces)]
    fn view(value: &Value) -> Option<Self::View<'_>>;
}

mod sealed {
    pub trait Sealed {}
}

macro_rules! define_answers {
    ($($type:ty, $number:ident => $view:expr;)*) => {
        $(
            impl sealed::Sealed for $type {}
            impl Answer for $type {
                type View<'a> = $type;

                #[allow(private_interfaces)]
                fn view(value: &Value) -> Option<$type> {
                    match value {
                        Value::Number($number) => $view,
                        Value::Bytes(_) => None,
                    }
                }
            }
        )*
    };
}
define_answers! {
    u8, number => u8::try_from(*number).ok();
    u16, number => u16::try_from(*number).ok();
    u32, number => u32::try_from(*number).ok();
    u64, number => Some(*number);
    Duration, number => Some(Duration::from_nanos(*number));
}

impl sealed::Sealed for Vec<u8> {}
impl Answer for Vec<u8> {
    type View<'a> = &'a [u8];

    #[allow(private_interfaces)]
    fn view(value: &Value) -> Option<&[u8]> {
        match value {
            Value::Bytes(bytes) => Some(bytes),
            Value::Number(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::peer::Talk;
    use super::super::qtest::tests::{dialogue, qtest};
    use super::*;

    const ADDRESS: GuestAddress = GuestAddress(0x1000);

    /// Catches wrong requests, and answers given to the wrong slots.
    #[test]
    fn every_answer_comes_to_its_slot() {
        let (qtest, talk) = dialogue(&[
            ("outl 0xcf8 0x80000000", "OK"),
            ("inb 0x1", "OK 0x01"),
            ("inw 0x2", "OK 0x0202"),
            ("inl 0x3", "OK 0x03030303"),
            ("readq 0x1000", "OK 0x0404040404040404"),
            ("b64read 0x1000 0x2", "OK BQY="),
            ("memset 0x1000 0x0 0x0", "OK"),
            ("b64write 0x1000 0x2 BQY=", "OK"),
            ("memset 0x1000 0x4 0xff", "OK"),
            ("clock_step 7", "OK 7"),
            ("clock_set 9", "OK 9"),
            ("clock_step", "OK 9"),
        ]);
        let mut batch = qtest.batch();
        assert!(batch.is_empty());
        batch.outl(0xcf8, 0x8000_0000);
        let b = batch.inb(1);
        let w = batch.inw(2);
        let l = batch.inl(3);
        let q = batch.readq(ADDRESS);
        let bytes = batch.read(ADDRESS, 2);
        let none = batch.read(ADDRESS, 0);
        batch.write(ADDRESS, &[5, 6]);
        batch.write(ADDRESS, &[]);
        batch.memset(ADDRESS, 4, 0xff);
        let step = batch.clock_step(Some(Duration::from_nanos(7)));
        let set = batch.clock_set(Duration::from_nanos(9));
        assert_eq!(batch.len(), 11);
        let answers = batch.send().unwrap();
        assert_eq!(answers.get(q), 0x0404_0404_0404_0404);
        assert_eq!(answers.get(l), 0x0303_0303);
        assert_eq!((answers.get(b), answers.get(w)), (1, 0x202));
        assert_eq!((answers.get(bytes), answers.get(none)), (&[5, 6][..], &[][..]));
        assert_eq!(answers.get(step), Duration::from_nanos(7));
        assert_eq!(answers.get(set), Duration::from_nanos(9));
        // The clock is where the batch left it, so that no timer is pending.
        assert_eq!(qtest.clock_step_next().unwrap(), None);
        assert!(qtest.batch().send().is_ok());
        talk.finish(qtest);
    }

    /// Catches a failing request that is not named, or that puts the stream out of step.
    #[test]
    fn the_first_failing_request_is_named() {
        let (qtest, talk) = dialogue(&[
            ("inb 0x1", "OK 0x01"),
            ("inb 0x2", "FAIL why"),
            ("inb 0x3", "nonsense"),
            ("inb 0x4", "OK 0x04"),
            ("inb 0x5", "OK 0x05"),
        ]);
        let mut batch = qtest.batch();
        for port in 1..=4 {
            batch.inb(port);
        }
        let error = batch.send().err().unwrap();
        assert_eq!(error.to_string(), "QEMU refused `inb 0x2 (request 2 of 4)`: FAIL why");
        assert_eq!(qtest.inb(5).unwrap(), 5);
        talk.finish(qtest);
    }

    /// Catches a deadlock when both sockets are full, and answers that change places.
    #[test]
    fn a_huge_batch_over_small_buffers() {
        let (stream, talk) = Talk::start_narrow(|mut peer| {
            loop {
                let request = peer.request();
                let Some(port) = request.strip_prefix("inl ") else {
                    break assert_eq!(request, "");
                };
                peer.say(format!("IRQ raise 1\nIRQ lower 1\nOK {port}\n"));
            }
        });
        let qtest = Qtest::new(stream, talk.deadline.clone(), talk.transcript.clone()).unwrap();
        let mut batch = qtest.batch();
        let slots: Vec<_> = (0..30_000).map(|port| batch.inl(port)).collect();
        let answers = batch.send().unwrap();
        for (port, slot) in slots.into_iter().enumerate() {
            assert_eq!(answers.get(slot), port as u32);
        }
        assert_eq!(qtest.irq_raised(1), 30_000);
        talk.finish(qtest);
    }

    /// Catches answers to a batch that was given up being taken for later ones.
    #[test]
    fn a_late_rest_of_a_batch_is_dropped() {
        let (qtest, talk) = qtest(|mut peer| {
            peer.expect("inb 0x1");
            peer.say("OK 0x1\n");
            peer.wait_for_go();
            peer.expect("inb 0x2");
            peer.expect("inb 0x3");
            peer.say("OK 0x2\nOK 0x3\n");
            peer.expect("inb 0x4");
            peer.say("OK 0x4\n");
        });
        let mut batch = qtest.batch();
        for port in 1..=3 {
            batch.inb(port);
        }
        let what = talk.too_late(|| batch.send());
        assert_eq!(what, "inb 0x2 (request 2 of 3)");
        talk.go();
        assert_eq!(qtest.inb(4).unwrap(), 4);
        talk.finish(qtest);
    }

    /// Catches a block that no line could hold being sent.
    #[test]
    fn a_block_that_is_too_long_is_not_sent() {
        let (qtest, talk) = dialogue(&[]);
        let mut batch = qtest.batch();
        batch.inb(1);
        batch.read(ADDRESS, BLOCK_LIMIT + 1);
        assert!(matches!(batch.send(), Err(Error::Argument { .. })));
        let mut batch = qtest.batch();
        batch.write(GuestAddress(u64::MAX), &[1, 2]);
        assert!(matches!(batch.send(), Err(Error::Argument { .. })));
        talk.finish(qtest);
    }
}
