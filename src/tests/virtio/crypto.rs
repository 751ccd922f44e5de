//! The virtio crypto device: sessions, known results of AES in both directions, and requests that
//! are refused without harm to the next.

use std::rc::Rc;

use crate::qemu::Vm;
use crate::qos::settle;
use crate::qos::virtio::crypto::{
    AES_CBC, AES_CTR, AES_ECB, CIPHER_ALGO_L, CIPHER_CREATE_SESSION, CRYPTO_SERVICES, DECRYPT,
    ENCRYPT, ERR, HASH_ALGO, HASH_CREATE_SESSION, INVSESS, Live, MAC_ALGO_L, MAC_CREATE_SESSION,
    MAX_CIPHER_KEY_LEN, MAX_DATAQUEUES, MAX_SIZE, NOTSUPP, OK, Operation, SERVICE_HASH,
    SERVICE_MAC, STATUS, SYM_OP_CIPHER, Session, VirtioCrypto,
};
use crate::qos::virtio::{self, features};
use crate::{Result, attacks, tests};

tests!(VirtioCrypto, "virtio-crypto-tests":
    config,
    services,
    known_results = "known-results",
    pieces,
    sizes,
    sessions,
    session_numbers = "session-numbers",
    most_sessions = "most-sessions",
    refused_sessions = "refused-sessions",
    refused_data = "refused-data",
    vectors = "initial-vectors",
    in_flight = "in-flight",
    interrupts,
    written_of_refused = "written-of-refused",
    forgets = "forgets-at-reset",
);
attacks!(VirtioCrypto, "virtio-crypto-attacks": known_results = "known-results", sessions);

/// The bytes of a number in hexadecimal digits.
fn hex(digits: &str) -> Vec<u8> {
    let value = |digit: u8| (digit as char).to_digit(16).unwrap_or_default() as u8;
    digits.as_bytes().chunks(2).map(|pair| value(pair[0]) << 4 | value(pair[1])).collect()
}

/// What is enciphered in the examples of NIST SP 800-38A, appendix F.
const PLAIN: &str = "6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51\
                     30c81c46a35ce411e5fbc1191a0a52eff69f2445df4f9b17ad2b417be66c3710";
/// Their keys of 128, 192 and 256 bits.
const KEYS: [&str; 3] = [
    "2b7e151628aed2a6abf7158809cf4f3c",
    "8e73b0f7da0e6452c810f32b809079e562f8ead2522c6b7b",
    "603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4",
];
/// The initial vector of all with one.
const IV: &str = "000102030405060708090a0b0c0d0e0f";

/// A known result: cipher, key, initial vector and what comes out.
type Known = (u32, &'static str, &'static str, &'static str);

/// Known results (F.2.1, F.2.3, F.2.5, F.1.1 and F.5.1).
const KNOWN: [Known; 5] = [
    (
        AES_CBC,
        KEYS[0],
        IV,
        "7649abac8119b246cee98e9b12e9197d5086cb9b507219ee95db113a917678b2\
         73bed6b8e3c1743b7116e69e222295163ff1caa1681fac09120eca307586e1a7",
    ),
    (
        AES_CBC,
        KEYS[1],
        IV,
        "4f021db243bc633d7178183a9fa071e8b4d9ada9ad7dedf4e5e738763f69145a\
         571b242012fb7ae07fa9baac3df102e008b0e27988598881d920a9e64f5615cd",
    ),
    (
        AES_CBC,
        KEYS[2],
        IV,
        "f58c4c04d6e5f1ba779eabfb5f7bfbd69cfc4e967edb808d679f777bc6702c7d\
         39f23369a9d9bacfa530e26304231461b2eb05e2c39be9fcda6c19078c6a9d1b",
    ),
    (
        AES_ECB,
        KEYS[0],
        "",
        "3ad77bb40d7a3660a89ecaf32466ef97f5d3d58503b9699de785895a96fdbaaf\
         43b1cd7f598ece23881b00e3ed0306887b0c785e27e8ad3f8223207104725dd4",
    ),
    (
        AES_CTR,
        KEYS[0],
        "f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff",
        "874d6191b620e3261bef6864990db6ce9806f66b7970fdff8617187bb9fffdff\
         5ae4df3edbd5d35e5b4f09020db03eab1e031dda2fbe03d1792170a0f3009cee",
    ),
];

/// What says that a session is there and works: a known result.
fn assert_works(live: &Live, session: u64, what: &str) -> Result<()> {
    let (_, _, iv, cipher) = KNOWN[0];
    let result = live.cipher(session, 0, &hex(iv), &hex(PLAIN))?;
    assert_eq!(result, hex(cipher), "a known result, {what}");
    Ok(())
}

/// A session to encipher by the first of the known results.
fn session(live: &Live) -> Result<u64> {
    live.session(AES_CBC, &hex(KEYS[0]), ENCRYPT)
}

/// A session that begins all tests, and everything that is left at their end.
fn start(device: &VirtioCrypto) -> Result<Live> {
    device.0.vm().note_lasting("sessions that outlive a reset");
    device.start(device.0.acceptable()?)
}

/// Would catch a device that says it is not ready (5.9.5), or another number of queues, and that
/// has fewer services, ciphers, or room than QEMU's own algorithms.
fn config(device: &VirtioCrypto, _: &Rc<Vm>) -> Result<()> {
    for _ in 0..2 {
        assert_eq!(device.field(STATUS)?, 1, "ready");
        assert_eq!(device.field(MAX_DATAQUEUES)?, 1, "queues for data");
        assert_eq!(device.0.queue_count(), 2, "queues");
        let services = device.field(CRYPTO_SERVICES)?;
        assert_eq!(services & !0x1f, 0, "services that are not defined: {services:#x}");
        assert_eq!(services & 1, 1, "ciphers are a service: {services:#x}");
        assert_eq!(device.field(CIPHER_ALGO_L)?, 1 << AES_CBC, "ciphers");
        assert_eq!(device.field(MAX_CIPHER_KEY_LEN)?, 64, "the longest key");
        let most = [device.field(MAX_SIZE)?, device.field(MAX_SIZE + 4)?];
        assert!(most[0] >= 1 << 20 || most[1] > 0, "the longest request: {most:x?}");
        assert_eq!(most[1] >> 31, 0, "the longest request, as a number with a sign: {most:x?}");
        device.0.reset()?;
    }
    Ok(())
}

/// Would catch a service of the configuration (5.9.4) that the device does not have: sessions for the
/// first of the hashes and codes of authentication that it offers are refused.
fn services(device: &VirtioCrypto, _: &Rc<Vm>) -> Result<()> {
    let live = start(device)?;
    let offered = device.field(CRYPTO_SERVICES)?;
    let kinds = [
        (SERVICE_HASH, HASH_ALGO, HASH_CREATE_SESSION, 20),
        (SERVICE_MAC, MAC_ALGO_L, MAC_CREATE_SESSION, 20),
    ];
    for (service, algorithms, operation, length) in kinds {
        if offered & service == 0 {
            continue;
        }
        let algorithm = device.field(algorithms)?.trailing_zeros();
        assert!(algorithm < 32, "service {service:#x} of no algorithm");
        let mut request = vec![0; 72];
        for (at, number) in [(0, operation), (4, algorithm), (16, algorithm), (20, length)] {
            request[at..at + 4].copy_from_slice(&number.to_le_bytes());
        }
        let (status, _) = live.create_by(&[&request])?;
        assert_eq!(status, OK, "a session of service {service:#x}, algorithm {algorithm}");
    }
    Ok(())
}

/// Would catch a result that is not that of the standard, in either direction, a key or vector
/// that is cut off, and a used length that is not that of result and status.
fn known_results(device: &VirtioCrypto, vm: &Rc<Vm>) -> Result<()> {
    vm.note_lasting("sessions that outlive a reset");
    for wanted in [device.0.required(), device.0.acceptable()?] {
        let live = device.start(wanted)?;
        for (algorithm, key, iv, cipher) in KNOWN {
            let (there, back) = (
                live.session(algorithm, &hex(key), ENCRYPT)?,
                live.session(algorithm, &hex(key), DECRYPT)?,
            );
            for length in [64, 16, 32, 48] {
                let (plain, cipher) = (&hex(PLAIN)[..length], &hex(cipher)[..length]);
                let result = live.cipher(there, 0, &hex(iv), plain)?;
                assert_eq!(result, cipher, "{length} bytes enciphered by {algorithm}");
                let result = live.cipher(back, 1, &hex(iv), cipher)?;
                assert_eq!(result, plain, "{length} bytes deciphered by {algorithm}");
            }
            for session in [there, back] {
                assert_eq!(live.destroy(session)?, OK, "the end of session {session}");
            }
        }
    }
    Ok(())
}

/// An operation on all of this length.
fn operation(session: u64, length: usize) -> Operation {
    let length = length as u32;
    let kind = SYM_OP_CIPHER;
    Operation { operation: 0, session, iv_length: 16, length, result_length: length, kind }
}

/// Would catch data or results that are not put together from their pieces, or a status that is
/// not in the last byte.
fn pieces(device: &VirtioCrypto, _: &Rc<Vm>) -> Result<()> {
    let live = start(device)?;
    let session = session(&live)?;
    let (plain, cipher) = (hex(PLAIN), hex(KNOWN[0].3));
    for data in [&[64][..], &[1, 63], &[15, 17, 32], &[16; 4], &[60, 1, 1, 1, 1]] {
        for results in [&[64][..], &[63, 1], &[1, 2, 3, 58], &[16; 4]] {
            let (mut parts, mut rest) = (Vec::new(), &plain[..]);
            for &length in data {
                let (part, others) = rest.split_at(length);
                parts.push(part);
                rest = others;
            }
            let (status, result) = live.run(operation(session, 64), &hex(IV), &parts, results)?;
            assert_eq!(status, OK, "pieces {data:?}, {results:?}");
            assert_eq!(result, cipher, "pieces {data:?}, {results:?}");
        }
    }
    assert_eq!(live.destroy(session)?, OK, "its end");
    Ok(())
}

/// Would catch an end of data that is lost, or read past, at any size up to the longest, and a
/// length that the cipher cannot have and that is not refused.
fn sizes(device: &VirtioCrypto, _: &Rc<Vm>) -> Result<()> {
    let live = start(device)?;
    let key = hex(KEYS[0]);
    let (there, back) =
        (live.session(AES_CBC, &key, ENCRYPT)?, live.session(AES_CBC, &key, DECRYPT)?);
    for length in [16, 4080, 4096, 65_536, 524_272] {
        let data: Vec<u8> = (0..length).map(|at: usize| (at * 7 + at / 251) as u8).collect();
        let cipher = live.cipher(there, 0, &hex(IV), &data)?;
        assert!(cipher != data, "{length} bytes are enciphered");
        let again = live.cipher(back, 1, &hex(IV), &cipher)?;
        assert!(again == data, "{length} bytes there and back");
    }
    for length in [1, 15, 17, 31, 4097] {
        let data = vec![1; length];
        let (status, result) = live.run(operation(there, length), &hex(IV), &[&data], &[length])?;
        assert_eq!(status, ERR, "{length} bytes, no blocks");
        assert!(result.iter().all(|&byte| byte == 0xee), "a result of {length} bytes");
        assert_works(&live, there, &format!("after {length} bytes"))?;
    }
    for session in [there, back] {
        assert_eq!(live.destroy(session)?, OK, "the end of session {session}");
    }
    Ok(())
}

/// Would catch sessions that are mixed up, that live on when they were ended, or end others, and
/// numbers of which two are alike.
fn sessions(device: &VirtioCrypto, _: &Rc<Vm>) -> Result<()> {
    let live = start(device)?;
    let open = || KNOWN.map(|(cipher, key, _, _)| live.session(cipher, &hex(key), ENCRYPT));
    let all = open().into_iter().collect::<Result<Vec<_>>>()?;
    let mut numbers = all.clone();
    numbers.sort_unstable();
    numbers.dedup();
    assert_eq!(numbers.len(), KNOWN.len(), "numbers of sessions: {all:?}");
    let mut left: Vec<_> = all.iter().copied().zip(KNOWN).collect();
    while !left.is_empty() {
        for (session, (_, _, iv, cipher)) in &left {
            let result = live.cipher(*session, 0, &hex(iv), &hex(PLAIN))?;
            assert_eq!(result, hex(cipher), "session {session} of {}", left.len());
        }
        let (ended, _) = left.remove(left.len() / 2);
        assert_eq!(live.destroy(ended)?, OK, "the end of session {ended}");
        let (status, result) = live.run(operation(ended, 64), &hex(IV), &[&hex(PLAIN)], &[64])?;
        assert_eq!(status, INVSESS, "data for session {ended}, which has ended");
        assert!(result.iter().all(|&byte| byte == 0xee), "a result of no session");
        assert_eq!(live.destroy(ended)?, ERR, "session {ended} is ended again");
    }
    Ok(())
}

/// Would catch a number that is cut off, and is another session's then.
fn session_numbers(device: &VirtioCrypto, _: &Rc<Vm>) -> Result<()> {
    let live = start(device)?;
    let good = session(&live)?;
    for wrong in [good + 1, good + 256, good + (1 << 32), good + (1 << 63), 255, 256, u64::MAX] {
        if wrong == good {
            continue;
        }
        let (status, _) = live.run(operation(wrong, 64), &hex(IV), &[&hex(PLAIN)], &[64])?;
        assert_eq!(status, INVSESS, "data for session {wrong:#x}");
        assert_eq!(live.destroy(wrong)?, ERR, "the end of session {wrong:#x}");
        assert_works(&live, good, &format!("after session {wrong:#x}"))?;
    }
    assert_eq!(live.destroy(good)?, OK, "its end");
    Ok(())
}

/// Would catch a session beyond the last that the device has room for, one too few, and room that
/// is not free again.
fn most_sessions(device: &VirtioCrypto, _: &Rc<Vm>) -> Result<()> {
    const MOST: usize = 256;
    let live = start(device)?;
    for round in 0..2 {
        let mut all = Vec::new();
        for _ in 0..MOST {
            all.push(session(&live)?);
        }
        let one_more = Session {
            operation: CIPHER_CREATE_SESSION,
            cipher: AES_CBC,
            key_length: 16,
            direction: ENCRYPT,
            kind: SYM_OP_CIPHER,
        };
        let (status, _) = live.create(one_more, &hex(KEYS[0]))?;
        assert_eq!(status, ERR, "round {round}: a session more than {MOST}");
        assert_works(&live, all[MOST - 1], "the last session")?;
        for session in all {
            assert_eq!(live.destroy(session)?, OK, "the end of session {session}");
        }
    }
    Ok(())
}

/// Would catch a session that is given for what the device does not have, for a key of no length
/// that the cipher has, or of more than the device takes, and one that ends with the refusal.
fn refused_sessions(device: &VirtioCrypto, _: &Rc<Vm>) -> Result<()> {
    let live = start(device)?;
    let kept = session(&live)?;
    let good = Session {
        operation: CIPHER_CREATE_SESSION,
        cipher: AES_CBC,
        key_length: 16,
        direction: ENCRYPT,
        kind: SYM_OP_CIPHER,
    };
    let key = [7; 65];
    for length in [0, 1, 15, 17, 23, 33, 64, 65] {
        let asked = Session { key_length: length as u32, ..good };
        let (status, _) = live.create(asked, &key[..length])?;
        assert_eq!(status, ERR, "a key of {length} bytes");
        assert_works(&live, kept, &format!("after a key of {length} bytes"))?;
    }
    for cipher in [0, 1, 10, 11, 12, 14, 31, 0x1_0003, u32::MAX] {
        let (status, _) = live.create(Session { cipher, ..good }, &key[..16])?;
        assert_eq!(status, ERR, "cipher {cipher:#x}");
    }
    for kind in [0, 3, u32::MAX] {
        let (status, _) = live.create(Session { kind, ..good }, &key[..16])?;
        assert_eq!(status, NOTSUPP, "a request of kind {kind}");
    }
    // A hash, a code of authentication, and operations that nothing has.
    for operation in [0x102, 0x202, 0x302, 0x902, 4, 0xff, u32::MAX] {
        let (status, _) = live.create(Session { operation, ..good }, &key[..16])?;
        assert_eq!(status, NOTSUPP, "operation {operation:#x}");
        assert_works(&live, kept, &format!("after operation {operation:#x}"))?;
    }
    assert_eq!(live.destroy(kept)?, OK, "the end of the session that was kept");
    Ok(())
}

/// Would catch data that is taken for an operation that the device does not have.
fn refused_data(device: &VirtioCrypto, _: &Rc<Vm>) -> Result<()> {
    let live = start(device)?;
    let session = session(&live)?;
    let plain = hex(PLAIN);
    let good = operation(session, 64);
    for operation in [0x100, 0x200, 0x300, 0x301, 2, 0x10000, u32::MAX] {
        let asked = Operation { operation, ..good };
        let (status, result) = live.run(asked, &hex(IV), &[&plain], &[64])?;
        assert_eq!(status, NOTSUPP, "operation {operation:#x}");
        assert!(result.iter().all(|&byte| byte == 0xee), "a result of {operation:#x}");
        assert_works(&live, session, &format!("after operation {operation:#x}"))?;
    }
    for kind in [0, 3, u32::MAX] {
        let (status, _) = live.run(Operation { kind, ..good }, &hex(IV), &[&plain], &[64])?;
        assert_eq!(status, NOTSUPP, "a request of kind {kind}");
        assert_works(&live, session, &format!("after a request of kind {kind}"))?;
    }
    assert_eq!(live.destroy(session)?, OK, "its end");
    Ok(())
}

/// Would catch an initial vector that is that of the request before, or of a length that the
/// cipher does not have and that is taken all the same.
fn vectors(device: &VirtioCrypto, _: &Rc<Vm>) -> Result<()> {
    let live = start(device)?;
    let session = session(&live)?;
    let plain = hex(PLAIN);
    let first = live.cipher(session, 0, &hex(IV), &plain)?;
    for start in [0x55, 0, 0xff, 0xa0] {
        let other: Vec<u8> = (0_u8..16).map(|at| start ^ at.wrapping_mul(0x1d)).collect();
        // The vector is added to the first block before that is enciphered (SP 800-38A, 6.2).
        let mut same = plain.clone();
        for (byte, (ours, theirs)) in same.iter_mut().zip(hex(IV).iter().zip(&other)) {
            *byte ^= ours ^ theirs;
        }
        let result = live.cipher(session, 0, &other, &same)?;
        assert_eq!(result, first, "with the vector {other:x?}");
        assert_works(&live, session, "with the first vector again")?;
    }
    for length in [1, 8, 15, 17, 32] {
        let asked = Operation { iv_length: length as u32, ..operation(session, 64) };
        let (status, _) = live.run(asked, &vec![1; length], &[&plain], &[64])?;
        assert_eq!(status, ERR, "a vector of {length} bytes");
        assert_works(&live, session, &format!("after a vector of {length} bytes"))?;
    }
    assert_eq!(live.destroy(session)?, OK, "its end");
    Ok(())
}

/// Would catch requests that get each other's results, or come back out of turn or not at all,
/// when many are waiting.
fn in_flight(device: &VirtioCrypto, vm: &Rc<Vm>) -> Result<()> {
    use virtio::Segment;
    let live = start(device)?;
    let session = session(&live)?;
    let expected: Vec<_> = (0..40u8)
        .map(|number| live.cipher(session, 0, &hex(IV), &[number; 32]))
        .collect::<Result<_>>()?;
    let mut waiting = Vec::new();
    for number in 0..40u8 {
        let request = live.request(operation(session, 32), &hex(IV), &[number; 32])?;
        let answer = vm.ram().alloc(33, 1)?;
        let segments = [Segment::readable(&request), Segment::writable(&answer)];
        waiting.push((live.data.add(&segments)?, answer, request));
    }
    live.data.kick()?;
    for ((id, answer, _), expected) in waiting.iter().zip(expected) {
        let used = live.data.wait_used()?;
        assert_eq!((used.id, used.written), (*id, 33), "requests in turn");
        let answer = answer.to_vec()?;
        assert_eq!((&answer[..32], answer[32]), (&expected[..], OK), "request {id}");
    }
    assert_eq!(live.destroy(session)?, OK, "its end");
    Ok(())
}

/// Would catch a request, of either queue, whose interrupt is missing, that has several, or
/// whose interrupt is the other queue's; the same of data that are refused.
fn interrupts(device: &VirtioCrypto, vm: &Rc<Vm>) -> Result<()> {
    vm.note_lasting("sessions that outlive a reset");
    let live = device.start(device.0.acceptable()? & !features::EVENT_IDX)?;
    let transport = device.0.transport();
    let taken = || -> Result<u8> {
        settle(vm)?;
        transport.take_interrupts()
    };
    for _ in 0..3 {
        taken()?;
        let session = session(&live)?;
        assert_eq!(taken()?, virtio::ISR_QUEUE, "of a session");
        assert_works(&live, session, "with interrupts")?;
        assert_eq!(taken()?, virtio::ISR_QUEUE, "of data");
        // Only the queue that has something to tell may interrupt.
        live.control.want_interrupts(false)?;
        let refused = live.run(operation(session, 15), &hex(IV), &[&[0; 15]], &[15])?;
        assert_eq!(refused.0, ERR, "15 bytes, no blocks");
        assert_eq!(taken()?, virtio::ISR_QUEUE, "of data that are refused");
        live.control.want_interrupts(true)?;
        live.data.want_interrupts(false)?;
        let wrong = Session {
            operation: 4,
            cipher: AES_CBC,
            key_length: 16,
            direction: ENCRYPT,
            kind: SYM_OP_CIPHER,
        };
        assert_eq!(live.create(wrong, &hex(KEYS[0]))?.0, NOTSUPP, "an operation that is not there");
        assert_eq!(taken()?, virtio::ISR_QUEUE, "of a session that is refused");
        live.data.want_interrupts(true)?;
        assert_eq!(live.destroy(session)?, OK, "its end");
        assert_eq!(taken()?, virtio::ISR_QUEUE, "of the end of a session");
        assert_eq!(taken()?, 0, "of nothing");
    }
    Ok(())
}

/// Would catch a used length of more than the device has written: of data that is refused there
/// is no result (2.7.8.2).
fn written_of_refused(device: &VirtioCrypto, vm: &Rc<Vm>) -> Result<()> {
    use virtio::Segment;
    let live = start(device)?;
    let request = live.request(operation(0xffff_0000, 32), &hex(IV), &[1; 32])?;
    let (result, status) = (vm.ram().alloc(32, 1)?, vm.ram().alloc(1, 1)?);
    let segments =
        [Segment::readable(&request), Segment::writable(&result), Segment::writable(&status)];
    let written = live.data.carry_out(&segments)?;
    assert_eq!(status.to_vec()?, [INVSESS], "the status");
    // The first byte that is written is behind all the room for the result.
    assert_eq!(written, 0, "bytes written, from the first on");
    Ok(())
}

/// Would catch a session that outlives a reset of the device (2.4).
fn forgets(device: &VirtioCrypto, _: &Rc<Vm>) -> Result<()> {
    let live = start(device)?;
    let session = session(&live)?;
    let live = start(device)?;
    let (status, _) = live.run(operation(session, 64), &hex(IV), &[&hex(PLAIN)], &[64])?;
    assert_eq!(status, INVSESS, "data for a session of before the reset");
    Ok(())
}
