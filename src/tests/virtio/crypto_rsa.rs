//! RSA of the virtio crypto device: known results by both keys, signatures, and keys, lengths and
//! sessions that are refused.

use std::rc::Rc;

use crate::qemu::Vm;
use crate::qos::virtio::crypto::{
    CIPHER_DESTROY_SESSION, CRYPTO_SERVICES, ERR, INVSESS, Live, NOTSUPP, OK, Operation,
    SERVICE_AKCIPHER, SYM_OP_CIPHER, VirtioCrypto,
};
use crate::qos::virtio::crypto_rsa::{
    DECRYPT, ENCRYPT, KEY_REJECTED, NO_HASH, PKCS1, PRIVATE, PUBLIC, RAW, RSA, RsaSession, SHA256,
    SIGN,
};
use crate::{Error, Result, attacks, tests};

tests!(VirtioCrypto, "virtio-crypto-rsa-tests":
    known_results = "known-results",
    padding,
    begins_with_zero = "begins-with-zero",
    signatures,
    wrong_signatures = "wrong-signatures",
    refused_keys = "refused-keys",
    key_tags = "key-tags",
    lengths,
    sessions,
    ends,
);
tests!(VirtioCrypto, "virtio-crypto-tests": another_service = "session-of-another-service");
attacks!(VirtioCrypto, "virtio-crypto-rsa-attacks": known_results = "known-results", signatures);

/// The length of the modulus in bytes.
const LENGTH: usize = 64;

/// A public key of 512 bits in DER (RFC 8017, A.1.1), whose exponent is 65,537.
const PUBLIC_KEY: &str = "3048024100be22b0657ba443b60324b5f6145d0ef0108d823718b1f924ec1ea671ab749d\
                          d3a130cf541dbd81464bc4991bed751012ba3de35c0f6274ca645071b64bf71b450203010001";

/// The private key with it (RFC 8017, A.1.2).
const PRIVATE_KEY: &str = "3082013b020100024100be22b0657ba443b60324b5f6145d0ef0108d823718b1f924ec1e\
a671ab749dd3a130cf541dbd81464bc4991bed751012ba3de35c0f6274ca645071b64bf71b45020301000102407f748982\
bdeb5368839aec4f553f3c7038e8634dc3c42a1b521d09be510d0f6e4fd46a2b72328223d2a773b9f041f6c58b27304b8e\
063b1ea8fd61bd25917881022100fbc3a963e4603db19f4f72d3cc3e08f60055aeb3f2c492308b4c65d6fa1fa1dd022100\
c155983ecbb56474b07e8772a51ea709527563d746720edbed6924d23f5dac89022100a542934f41dab6c480697b5b71c7\
0ac4c805764f22bd4ba4d7db47422d1f54750221008dabc35c80b9f35aeeda4936e1788cbe7006459b42abe1e797192d3a\
43e4c8c1022039004b50dff1177b00c883e11463fc3b857b93e072e4aab129d4fc70c67b70df";

/// A number below the modulus.
const NUMBER: &str = "00080f161d242b323940474e555c636a71787f868d949ba2a9b0b7bec5ccd3dae1e8eff6fd04\
                      0b121920272e353c434a51585f666d747b828990979ea5acb3ba";
/// What it is to the power of the public exponent.
const POWER: &str = "8ec474df60921f2188ed2e6351b11792e065a73186fc40557f42e9a938c9e59b5ab20ba9f64019\
                     6ff2111979153dd9fca865545811d6853d88c7532a3c181fc7";
/// A digest of SHA-256, that of "qgraph".
const DIGEST: &str = "741c172ac85bda863ee65ef7462089610a4fc3c7906967148fd675ac2dd40f04";
/// Its signature by PKCS #1, version 1.5 (RFC 8017, 8.2).
const SIGNATURE: &str = "6dd05c493e8d5a0599c4d6b39ca894492c1c60032c73c99768c408d323a18667af349164a6\
                         5bdba0cbbdf8fd65cd5beb6e61993e5e53bec50e83eb4afcfa2bed";

fn bytes(digits: &str) -> Result<Vec<u8>> {
    hex::decode(digits).map_err(|e| Error::failed(format!("digits of a number: {e}")))
}

/// The device, if it has ciphers with two keys.
fn start(device: &VirtioCrypto) -> Result<Live> {
    if device.field(CRYPTO_SERVICES)? & SERVICE_AKCIPHER == 0 {
        return Err(Error::skipped("the device has no ciphers with two keys"));
    }
    device.0.vm().note_lasting("sessions that outlive a reset");
    let live = device.start(device.0.acceptable()?)?;
    let key = bytes(PUBLIC_KEY)?;
    let refuses = |(padding, hash)| -> Result<bool> {
        let key_length = key.len() as u32;
        let asked = RsaSession { algorithm: RSA, key_type: PUBLIC, key_length, padding, hash };
        Ok(live.create_rsa(asked, &key)?.0 == ERR)
    };
    if refuses((RAW, NO_HASH))? && refuses((PKCS1, SHA256))? {
        return Err(Error::skipped(
            "this QEMU refuses every key, as one that is built without a library for them does",
        ));
    }
    device.start(device.0.acceptable()?)
}

/// The public key's session and the private one's.
fn both(live: &Live, how: (u32, u32)) -> Result<[u64; 2]> {
    Ok([
        live.rsa_session(PUBLIC, &bytes(PUBLIC_KEY)?, how)?,
        live.rsa_session(PRIVATE, &bytes(PRIVATE_KEY)?, how)?,
    ])
}

/// Ends sessions.
fn end(live: &Live, sessions: &[u64]) -> Result<()> {
    for &session in sessions {
        assert_eq!(live.destroy_rsa(session)?, OK, "the end of session {session}");
    }
    Ok(())
}

/// Asserts that the public key works.
fn assert_works(live: &Live, public: u64, what: &str) -> Result<()> {
    let status = live.rsa_verify(public, &bytes(SIGNATURE)?, &bytes(DIGEST)?)?;
    assert_eq!(status, OK, "a signature that is right, {what}");
    Ok(())
}

/// Would catch a result that is not that of the arithmetic by either key, or one that is cut off,
/// shifted or of the request before.
fn known_results(device: &VirtioCrypto, _: &Rc<Vm>) -> Result<()> {
    let live = start(device)?;
    let [public, private] = both(&live, (RAW, NO_HASH))?;
    let (number, power) = (bytes(NUMBER)?, bytes(POWER)?);
    if live.rsa(ENCRYPT, public, &number, LENGTH)?.0 == ERR {
        end(&live, &[public, private])?;
        return Err(Error::skipped("this QEMU is built with a library that pads always"));
    }
    for round in 0..2 {
        let there = live.rsa(ENCRYPT, public, &number, LENGTH)?;
        assert_eq!(there, (OK, power.clone()), "round {round}: by the public key");
        let back = live.rsa(DECRYPT, private, &power, LENGTH)?;
        assert_eq!(back, (OK, number.clone()), "round {round}: by the private key");
        // 1 to any power, with all zeroes before it.
        let mut one = vec![0; LENGTH];
        one[LENGTH - 1] = 1;
        let there = live.rsa(ENCRYPT, public, &one, LENGTH)?;
        assert_eq!(there, (OK, one), "round {round}: 1 by the public key");
    }
    end(&live, &[public, private])
}

/// Would catch padding that is no chance's, of the wrong length, or is not taken away.
fn padding(device: &VirtioCrypto, _: &Rc<Vm>) -> Result<()> {
    let live = start(device)?;
    let [public, private] = both(&live, (PKCS1, SHA256))?;
    // Eleven bytes are the least padding (RFC 8017, 7.2.1).
    for length in [1, 16, 32, LENGTH - 11] {
        let message: Vec<u8> = (0..length).map(|at| (at * 7 + 1) as u8).collect();
        let (status, first) = live.rsa(ENCRYPT, public, &message, LENGTH)?;
        let (_, second) = live.rsa(ENCRYPT, public, &message, LENGTH)?;
        assert_eq!(status, OK, "{length} bytes");
        assert!(first != second, "{length} bytes are padded alike twice");
        // Those that begin with a zero are a case of their own.
        for cipher in [first, second].iter().filter(|cipher| cipher[0] != 0) {
            let (status, result) = live.rsa(DECRYPT, private, cipher, LENGTH)?;
            let back = (status, &result[..length]);
            assert_eq!(back, (OK, &message[..]), "{length} bytes, back from {cipher:02x?}");
        }
    }
    let (status, _) = live.rsa(ENCRYPT, public, &[1; LENGTH - 10], LENGTH)?;
    assert_ne!(status, OK, "a byte too many to be padded");
    end(&live, &[public, private])
}

/// Would catch a result that is written without the zero with which it begins, and from the left
/// (RFC 8017, 4.1): one of 190 begins so, by the padding.
fn begins_with_zero(device: &VirtioCrypto, _: &Rc<Vm>) -> Result<()> {
    const MOST: usize = 4000;
    let live = start(device)?;
    let [public, private] = both(&live, (PKCS1, SHA256))?;
    let message: Vec<u8> = (0..16).map(|at| at * 7 + 1).collect();
    for _ in 0..MOST {
        let (status, cipher) = live.rsa(ENCRYPT, public, &message, LENGTH)?;
        assert_eq!(status, OK);
        if cipher[0] == 0 {
            let (status, result) = live.rsa(DECRYPT, private, &cipher, LENGTH)?;
            let back = (status, &result[..message.len()]);
            assert_eq!(back, (OK, &message[..]), "back from {cipher:02x?}");
            return end(&live, &[public, private]);
        }
    }
    Err(Error::failed(format!("none of {MOST} results begins with a zero")))
}

/// Would catch a signature that is another's, or a right one that is not found to be.
fn signatures(device: &VirtioCrypto, _: &Rc<Vm>) -> Result<()> {
    let live = start(device)?;
    let [public, private] = both(&live, (PKCS1, SHA256))?;
    let (digest, signature) = (bytes(DIGEST)?, bytes(SIGNATURE)?);
    for round in 0..2 {
        let signed = live.rsa(SIGN, private, &digest, LENGTH)?;
        assert_eq!(signed, (OK, signature.clone()), "round {round}: the signature");
        let status = live.rsa_verify(public, &signature, &digest)?;
        assert_eq!(status, OK, "round {round}: the signature is right");
    }
    end(&live, &[public, private])
}

/// Would catch a signature of another digest, or one that was changed, that is found to be right.
fn wrong_signatures(device: &VirtioCrypto, _: &Rc<Vm>) -> Result<()> {
    let live = start(device)?;
    let [public, private] = both(&live, (PKCS1, SHA256))?;
    let (digest, signature) = (bytes(DIGEST)?, bytes(SIGNATURE)?);
    for at in [0, 1, 15, 31] {
        let mut other = digest.clone();
        other[at] ^= 0x10;
        let status = live.rsa_verify(public, &signature, &other)?;
        assert_eq!(status, KEY_REJECTED, "another digest from byte {at} on");
    }
    for at in [1, 32, 63] {
        let mut other = signature.clone();
        other[at] ^= 1;
        let status = live.rsa_verify(public, &other, &digest)?;
        assert_eq!(status, KEY_REJECTED, "another signature from byte {at} on");
    }
    assert_eq!(live.rsa_verify(public, &signature, &digest)?, OK, "the right one");
    end(&live, &[public, private])
}

/// Would catch a key that is none and for which a session is given, and an algorithm, type or padding
/// that is not there.
fn refused_keys(device: &VirtioCrypto, _: &Rc<Vm>) -> Result<()> {
    let live = start(device)?;
    let key = bytes(PUBLIC_KEY)?;
    let kept = live.rsa_session(PUBLIC, &key, (PKCS1, SHA256))?;
    let good = RsaSession {
        algorithm: RSA,
        key_type: PUBLIC,
        key_length: key.len() as u32,
        padding: PKCS1,
        hash: SHA256,
    };
    let refused = |asked: RsaSession, key: &[u8], what: &str| {
        let (status, _) = live.create_rsa(asked, key)?;
        assert_ne!(status, OK, "{what}");
        assert_works(&live, kept, &format!("after {what}"))
    };
    for length in [0, 1, 2, 10, key.len() - 1] {
        let asked = RsaSession { key_length: length as u32, ..good };
        refused(asked, &key[..length], &format!("{length} bytes of a key"))?;
    }
    for (at, value) in [(0, 0x31), (1, 0x49), (3, 0x81), (70, 0)] {
        let mut other = key.clone();
        other[at] = value;
        refused(good, &other, &format!("a key whose byte {at} is {value:#x}"))?;
    }
    for algorithm in [0, 3, 0x101, u32::MAX] {
        refused(RsaSession { algorithm, ..good }, &key, &format!("algorithm {algorithm:#x}"))?;
    }
    for key_type in [0, 3, u32::MAX] {
        refused(RsaSession { key_type, ..good }, &key, &format!("a key of type {key_type:#x}"))?;
    }
    refused(RsaSession { key_type: PRIVATE, ..good }, &key, "a public key as a private one")?;
    for padding in [2, u32::MAX] {
        refused(RsaSession { padding, ..good }, &key, &format!("padding {padding:#x}"))?;
    }
    end(&live, &[kept])
}

/// Would catch a key whose modulus is told to be no integer (X.690, 8.1.2) and that is taken.
fn key_tags(device: &VirtioCrypto, _: &Rc<Vm>) -> Result<()> {
    let live = start(device)?;
    let mut key = bytes(PUBLIC_KEY)?;
    key[2] = 3;
    let asked = RsaSession {
        algorithm: RSA,
        key_type: PUBLIC,
        key_length: key.len() as u32,
        padding: PKCS1,
        hash: SHA256,
    };
    let (status, _) = live.create_rsa(asked, &key)?;
    assert_ne!(status, OK, "a modulus that is a string of bits");
    Ok(())
}

/// Would catch more read or written than there is, or a number that is longer than the modulus and is
/// taken.
fn lengths(device: &VirtioCrypto, _: &Rc<Vm>) -> Result<()> {
    let live = start(device)?;
    let [public, private] = both(&live, (PKCS1, SHA256))?;
    let number = [7; 32];
    // The modulus and more; too little room for the result.
    for length in [LENGTH, LENGTH + 1, 4096] {
        let (status, _) = live.rsa(ENCRYPT, public, &vec![1; length], LENGTH)?;
        assert_ne!(status, OK, "{length} bytes, no less than the modulus");
    }
    for room in [1, 32, LENGTH - 1] {
        let (status, _) = live.rsa(ENCRYPT, public, &number, room)?;
        assert_ne!(status, OK, "room for {room} bytes");
        assert_works(&live, public, &format!("after room for {room} bytes"))?;
    }
    end(&live, &[public, private])
}

/// Would catch sessions that are mixed up, or an operation that is done in one that is not there.
fn sessions(device: &VirtioCrypto, _: &Rc<Vm>) -> Result<()> {
    let live = start(device)?;
    let [public, private] = both(&live, (PKCS1, SHA256))?;
    let [other, signer] = both(&live, (PKCS1, SHA256))?;
    let all = [public, private, other, signer];
    for (at, session) in all.iter().enumerate() {
        assert!(!all[..at].contains(session), "sessions {all:?}");
    }
    for wrong in [signer + 1, 255, 256, public + (1 << 32), u64::MAX] {
        let (status, _) = live.rsa(ENCRYPT, wrong, &bytes(NUMBER)?, LENGTH)?;
        assert_eq!(status, INVSESS, "session {wrong:#x}");
        assert_works(&live, public, &format!("after session {wrong:#x}"))?;
    }
    // The private key cannot be got by the public one's session.
    let (status, _) = live.rsa(DECRYPT, public, &bytes(POWER)?, LENGTH)?;
    assert_ne!(status, OK, "an operation of the private key by the public one");
    assert_works(&live, other, "in another session")?;
    for operation in [4 << 8 | 6, 4 << 8 | 0xff] {
        let (status, _) = live.rsa(operation, public, &bytes(NUMBER)?, LENGTH)?;
        assert_eq!(status, NOTSUPP, "operation {operation:#x}");
    }
    end(&live, &all)
}

/// Would catch a session that lives on when it was ended, or one that ends with another.
fn ends(device: &VirtioCrypto, _: &Rc<Vm>) -> Result<()> {
    let live = start(device)?;
    let [public, private] = both(&live, (PKCS1, SHA256))?;
    end(&live, &[private])?;
    let (status, _) = live.rsa(DECRYPT, private, &bytes(POWER)?, LENGTH)?;
    assert_eq!(status, INVSESS, "an operation in a session that has ended");
    assert_ne!(live.destroy_rsa(private)?, OK, "the end again");
    assert_works(&live, public, "after the end of another")?;
    // Either operation ends a session by its number.
    let ended = live.destroy_by(CIPHER_DESTROY_SESSION, public)?;
    let (status, _) = live.rsa(ENCRYPT, public, &bytes(NUMBER)?, LENGTH)?;
    assert_eq!(status == INVSESS, ended == OK, "ended: {ended}, and then {status}");
    if ended != OK {
        end(&live, &[public])?;
    }
    Ok(())
}

/// Would catch a session for keys of two parts that data of a cipher with one key is given to,
/// which ends QEMU.
fn another_service(device: &VirtioCrypto, _: &Rc<Vm>) -> Result<()> {
    let live = start(device)?;
    let [public, private] = both(&live, (PKCS1, SHA256))?;
    for session in [public, private] {
        let (length, result_length) = (64, 64);
        let asked = Operation {
            operation: 0,
            session,
            iv_length: 16,
            length,
            result_length,
            kind: SYM_OP_CIPHER,
        };
        let (status, _) = live.run(asked, &[0; 16], &[&[1; 64]], &[64])?;
        assert_ne!(status, OK, "data of a cipher for a session of RSA");
        assert_works(&live, public, "afterwards")?;
    }
    end(&live, &[public, private])
}
