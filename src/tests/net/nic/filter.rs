//! Which frames every network interface controller receives.

use std::rc::Rc;

use super::bench::{Bench, assert_equal};
use crate::qemu::Vm;
use crate::qos::net::{Address, BROADCAST, MAC, PEER, frame};
use crate::qos::nic::{Filter, Groups, Nic, Promise};
use crate::{Result, tests};

tests!(dyn Nic, "nic-tests":
    filter,
    promiscuous,
    multicast,
    own_address = "own-address",
);

/// A group, and others whose addresses differ from it and have other hashes.
const GROUP: Address = [0x01, 0x00, 0x5e, 0x11, 0x22, 0x33];
const OTHER_GROUPS: [Address; 2] =
    [[0x01, 0x00, 0x5e, 0x44, 0x55, 0x66], [0x33, 0x33, 0x00, 0x00, 0x00, 0x01]];
/// A group whose address looks like a broadcast but for a bit.
const NEARLY_BROADCAST: Address = [0xff, 0xff, 0xff, 0xff, 0xff, 0x7f];

/// The addresses that a bit in every byte tells from the own one, and others of its bytes in
/// another order. All are those of stations.
fn foreign(own: Address) -> Vec<Address> {
    let mut all: Vec<Address> = (0..6)
        .map(|at| {
            let mut address = own;
            address[at] ^= 2;
            address
        })
        .collect();
    let mut swapped = own;
    swapped.swap(4, 5);
    all.extend([swapped, PEER]);
    all
}

/// Sends a frame to each of `to`, then one to `own`, and asserts that of those to `expected`
/// all are received, and no others.
fn assert_filtered(
    bench: &Bench,
    own: Address,
    to: &[Address],
    expected: &[Address],
    what: &str,
) -> Result<()> {
    let marker = frame(own, PEER, 100, 0xff);
    let mut due = Vec::new();
    // One at a time, so that no device runs out of descriptors.
    for (number, to) in to.iter().enumerate() {
        let sent = frame(*to, PEER, 70 + number, number as u8);
        bench.wire.send(&sent)?;
        due.extend(expected.contains(to).then_some(sent));
        let got = bench.received_before(&marker, what)?;
        let what = format!("{what}: a frame to {}", hex::encode(to));
        assert_eq!(got.len(), due.len(), "{what}: how many are received");
        due.drain(..).zip(&got).for_each(|(sent, got)| assert_equal(got, &sent, &what));
    }
    Ok(())
}

/// Would catch a filter that lets in the frames of other stations or groups, one that compares
/// a part of the address only, and broadcasts that come in without leave or not with it.
fn filter(nic: &dyn Nic, vm: &Rc<Vm>) -> Result<()> {
    let bench = Bench::new(nic, vm)?;
    let mut others = foreign(MAC);
    others.extend([GROUP, NEARLY_BROADCAST]);
    assert_filtered(&bench, MAC, &others, &[], "as it starts")?;
    assert_filtered(&bench, MAC, &[BROADCAST, MAC], &[BROADCAST, MAC], "as it starts")?;
    nic.set_filter(&Filter::OWN)?;
    assert_filtered(&bench, MAC, &others, &[], "own frames only")?;
    bench.wire.send(&frame(BROADCAST, PEER, 80, 1))?;
    let came = bench.received_before(&frame(MAC, PEER, 81, 2), "a broadcast")?;
    nic.set_filter(&Filter::PLAIN)?;
    assert_filtered(&bench, MAC, &others, &[], "broadcasts again")?;
    assert_filtered(&bench, MAC, &[BROADCAST], &[BROADCAST], "broadcasts again")?;
    match came.len() {
        0 => Ok(()),
        _ => Err(bench.broken(Promise::NoBroadcast, "an unwanted broadcast was received".into())),
    }
}

/// Would catch frames that are not received although all are wanted, and a promiscuous mode
/// that does not end.
fn promiscuous(nic: &dyn Nic, vm: &Rc<Vm>) -> Result<()> {
    let bench = Bench::new(nic, vm)?;
    let stations = foreign(MAC);
    let mut all = stations.clone();
    all.extend([GROUP, NEARLY_BROADCAST, BROADCAST, MAC]);
    nic.set_filter(&Filter::PROMISCUOUS)?;
    assert_filtered(&bench, MAC, &all, &all, "promiscuous")?;
    nic.set_filter(&Filter::PLAIN)?;
    assert_filtered(&bench, MAC, &all, &[BROADCAST, MAC], "no longer promiscuous")
}

/// Would catch groups that are received without being asked for or not although they are, by
/// the hash of their address or all.
fn multicast(nic: &dyn Nic, vm: &Rc<Vm>) -> Result<()> {
    let bench = Bench::new(nic, vm)?;
    let mut all = foreign(MAC);
    all.extend(OTHER_GROUPS);
    let stations = all.len() - OTHER_GROUPS.len();
    all.extend([GROUP, BROADCAST]);
    for group in [GROUP, OTHER_GROUPS[0], OTHER_GROUPS[1]] {
        nic.set_filter(&Filter { groups: Groups::One(group), ..Filter::PLAIN })?;
        assert_filtered(&bench, MAC, &all, &[group, BROADCAST], "one group")?;
    }
    nic.set_filter(&Filter { groups: Groups::All, ..Filter::PLAIN })?;
    assert_filtered(&bench, MAC, &all, &all[stations..], "all groups")?;
    nic.set_filter(&Filter::PLAIN)?;
    assert_filtered(&bench, MAC, &all, &[BROADCAST], "no group any more")
}

/// Would catch an address that is not the one given on the command line, or that the filter
/// does not follow when it is changed.
fn own_address(nic: &dyn Nic, vm: &Rc<Vm>) -> Result<()> {
    let bench = Bench::new(nic, vm)?;
    assert_eq!(nic.station_address()?, MAC, "the address that the device starts with");
    let new = [0x06, 0x99, 0x88, 0x77, 0x66, 0x55];
    nic.set_filter(&Filter { own: new, ..Filter::PLAIN })?;
    let mut others = foreign(new);
    others.push(MAC);
    assert_filtered(&bench, new, &others, &[], "another address")?;
    assert_filtered(&bench, new, &[BROADCAST], &[BROADCAST], "another address")?;
    nic.set_filter(&Filter::PLAIN)?;
    assert_filtered(&bench, MAC, &[new, BROADCAST], &[BROADCAST], "the first address again")
}
