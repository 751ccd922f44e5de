//! What the cache keeps.

use super::super::description::{Access, Found, Piece, Region, Space};
use std::fs;
use std::path::PathBuf;

use super::super::pluggable::Takes;
use super::*;
use crate::protocol::Endian;

fn description(machine: &str) -> Described {
    let region = Region {
        name: "regs".into(),
        space: Space::Memory,
        access: Access::Registers,
        base: u64::MAX,
        pieces: vec![Piece { offset: 1, last: u64::MAX }],
    };
    let path = format!("/machine/{machine}");
    let device = Found {
        path: (&*path).into(),
        ty: "pl011".into(),
        regions: vec![region],
        ..Found::default()
    };
    let parents = [("pl011", "device"), ("unused", "device")];
    let types = Types::new(parents.map(|(ty, parent)| (ty.into(), parent.into())));
    Ok(Arc::new(Description {
        machine: machine.into(),
        endian: Endian::Big,
        ram: None,
        devices: vec![device],
        others: Vec::new(),
        types: Arc::new(types),
        pluggable: Arc::new(vec![pluggable()]),
    }))
}

fn pluggable() -> Pluggable {
    let takes = vec![Takes { property: "netdev".into(), kind: "netdev".into() }];
    Pluggable { ty: "e1000".into(), bus: "PCI".into(), takes }
}

fn refusal(machine: &str, passing: bool) -> Described {
    Err(Arc::new(Refusal { machine: machine.into(), why: "no\nfirmware".to_owned(), passing }))
}

/// A folder with a file, its stamp, and a cache.
fn folder() -> (tempfile::TempDir, Vec<Stamp>, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let (emulator, cache) = (folder.path().join("qemu"), folder.path().join("cache"));
    fs::write(&emulator, "one").unwrap();
    let stamps = vec![Stamp::of(&emulator).unwrap()];
    (folder, stamps, cache)
}

/// Would catch something that is lost or mixed up on its way through the file, and machines
/// found earlier that are lost when others are added.
#[test]
fn what_was_found_is_known_later() {
    let (_folder, stamps, cache) = folder();
    assert!(Store::open(&cache, &stamps).get("a").is_none());
    Store::add(&cache, &stamps, &[description("a"), refusal("b", false)]).unwrap();
    Store::add(&cache, &stamps, &[description("c"), refusal("d", true)]).unwrap();
    let store = Store::open(&cache, &stamps);
    for machine in ["a", "c"] {
        let known = store.get(machine).unwrap().unwrap();
        let new = description(machine).unwrap();
        assert_eq!(serde_json::to_value(&*known).unwrap(), serde_json::to_value(&*new).unwrap());
        assert!(known.types.is_a("pl011", "device"));
        assert_eq!(known.devices_of("device").count(), 1);
    }
    for machine in ["b", "d"] {
        assert_eq!(store.get(machine).unwrap().unwrap_err().why, "no\nfirmware");
    }
    assert!(store.get("e").is_none());
}

/// Would catch what was said by another emulator under the same name.
#[test]
fn another_emulator_is_not_known() {
    let (folder, stamps, cache) = folder();
    Store::add(&cache, &stamps, &[description("a")]).unwrap();
    fs::write(folder.path().join("qemu"), "longer").unwrap();
    let changed = vec![Stamp::of(&folder.path().join("qemu")).unwrap()];
    assert!(Store::open(&cache, &changed).get("a").is_none());
    let behind = vec![stamps[0].clone(), changed[0].clone()];
    assert!(Store::open(&cache, &behind).get("a").is_none(), "a script with another behind it");
    assert!(Store::open(&cache, &stamps).get("a").is_some());
}

/// Would catch a reason that may pass, and is taken for lasting.
#[test]
fn what_may_pass_is_tried_again() {
    let (_folder, stamps, cache) = folder();
    let all = [("hung", true), ("refused", false)].map(|(machine, passing)| {
        (machine.to_owned(), (now() - REMEMBER_PASSING, refusal(machine, passing)))
    });
    let bytes = encode(&stamps, &BTreeMap::from(all)).unwrap();
    MACHINES.write(&cache, &stamps[0], "", &bytes).unwrap();
    let store = Store::open(&cache, &stamps);
    assert!(store.get("hung").is_none());
    assert!(store.get("refused").is_some());
}

/// Would catch a damaged file that is believed, or on which the reading panics.
#[test]
fn a_damaged_file_is_as_good_as_none() {
    let (_folder, stamps, cache) = folder();
    let all = [("a", description("a")), ("b", refusal("b", false))];
    let all = all.map(|(machine, described)| (machine.to_owned(), (now(), described)));
    let whole = encode(&stamps, &BTreeMap::from(all)).unwrap();
    let known = |bytes: Vec<u8>| {
        let store = Store::read(bytes, &stamps);
        ["a", "b"].map(|machine| store.as_ref().is_some_and(|store| store.get(machine).is_some()))
    };
    assert_eq!(known(whole.clone()), [true, true]);
    for at in 0..whole.len() {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x10;
        assert_ne!(known(damaged), [true, true], "byte {at} is wrong");
        assert_ne!(known(whole[..at].to_vec()), [true, true], "only {at} bytes");
    }
    let mut long = whole.clone();
    let length = WRITER.len() + 8;
    long[length..length + 8].fill(0xff);
    assert_eq!(known(long), [false, false]);

    // It is made anew.
    MACHINES.write(&cache, &stamps[0], "", b"damage").unwrap();
    Store::add(&cache, &stamps, &[description("a")]).unwrap();
    assert!(Store::open(&cache, &stamps).get("a").is_some());
}

/// Would catch a cache that cannot be written and is not told of.
#[test]
fn an_unwritable_cache_is_an_error() {
    let (folder, stamps, _) = folder();
    assert!(Store::add(&folder.path().join("qemu"), &stamps, &[description("a")]).is_err());
}
