//! What is known of one emulator's machines, as a file of the cache: beside the probe, and
//! for as long as the emulator's file stays the same.
//!
//! The file is a line that says who wrote it; a head with the stamps of the emulator, the
//! names, the types, what can be plugged in, and the places of what follows; and a part for each machine, which is
//! only read when somebody asks for that machine. Head and parts have checksums; what is
//! damaged is as good as not there.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::Described;
use super::description::{Description, Refusal};
use super::name::{Name, Table};
use super::pluggable::Pluggable;
use super::types::Types;
use crate::files::sum::fnv1a;
use crate::qemu::cache::{Shelf, Stamp};

const WRITER: &[u8] = concat!("qgraph ", env!("CARGO_PKG_VERSION"), " discovery 4\n").as_bytes();
/// For how many seconds a machine is not started again that did not start for a reason which
/// may pass.
const REMEMBER_PASSING: u64 = 60;

/// Where one machine is in the file.
#[derive(Serialize, Deserialize)]
struct Part {
    machine: String,
    /// Seconds since 1970.
    written: u64,
    length: usize,
    sum: u64,
}

/// What is known of one emulator's machines.
pub(super) struct Store {
    bytes: Vec<u8>,
    table: Mutex<Table>,
    types: Arc<Types>,
    pluggable: Arc<Vec<Pluggable>>,
    machines: BTreeMap<String, Kept>,
}

/// One machine in the file.
struct Kept {
    place: Range<usize>,
    sum: u64,
    written: u64,
    read: OnceLock<Option<Described>>,
}

/// A file for each emulator, in a form of its own.
const MACHINES: Shelf = Shelf { folder: "machines", ending: "", version: 1 };

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

impl Store {
    /// Reads what the cache knows about the emulator with these stamps; nothing if it knows
    /// nothing.
    pub(super) fn open(cache: &Path, stamps: &[Stamp]) -> Self {
        let stamp = stamps.first();
        let bytes = stamp.and_then(|stamp| MACHINES.read(cache, stamp, "")).unwrap_or_default();
        Self::read(bytes, stamps).unwrap_or_else(|| Self {
            bytes: Vec::new(),
            table: Mutex::default(),
            types: Arc::default(),
            pluggable: Arc::default(),
            machines: BTreeMap::new(),
        })
    }

    fn read(bytes: Vec<u8>, stamps: &[Stamp]) -> Option<Self> {
        let rest = bytes.strip_prefix(WRITER)?;
        let (sum, rest) = rest.split_first_chunk()?;
        let (length, rest) = rest.split_first_chunk()?;
        let head = rest.get(..usize::try_from(u64::from_le_bytes(*length)).ok()?)?;
        if fnv1a(head) != u64::from_le_bytes(*sum) {
            return None;
        }
        let mut place = bytes.len() - rest.len() + head.len();
        // The names come before what is made of them.
        let (says, after): (Vec<Stamp>, _) = postcard::take_from_bytes(head).ok()?;
        if says != stamps {
            return None;
        }
        let (names, after): (Vec<&str>, _) = postcard::take_from_bytes(after).ok()?;
        let mut table = Table::of(names.into_iter().map(Name::new).collect());
        let (types, pluggable, parts) = table.scope(|| {
            let (types, after) = postcard::take_from_bytes::<Types>(after).ok()?;
            let (pluggable, after) = postcard::take_from_bytes::<Vec<Pluggable>>(after).ok()?;
            Some((types, pluggable, postcard::from_bytes::<Vec<Part>>(after).ok()?))
        })?;
        let mut machines = BTreeMap::new();
        for part in parts {
            let end = place.checked_add(part.length)?;
            let (place, read) = (std::mem::replace(&mut place, end)..end, OnceLock::new());
            let kept = Kept { place, sum: part.sum, written: part.written, read };
            machines.insert(part.machine, kept);
        }
        let (table, types) = (Mutex::new(table), Arc::new(types));
        Some(Self { bytes, table, types, pluggable: Arc::new(pluggable), machines })
    }

    /// What is known about this machine type.
    pub(super) fn get(&self, machine: &str) -> Option<Described> {
        let kept = self.machines.get(machine)?;
        let described = kept.read.get_or_init(|| self.decode(kept)).clone()?;
        // What is from the future says that a clock was wrong.
        let age = now().checked_sub(kept.written);
        let old = age.is_none_or(|age| age >= REMEMBER_PASSING);
        let forgotten = matches!(&described, Err(refusal) if refusal.passing && old);
        (!forgotten).then_some(described)
    }

    fn decode(&self, kept: &Kept) -> Option<Described> {
        let bytes = self.bytes.get(kept.place.clone()).filter(|bytes| fnv1a(bytes) == kept.sum)?;
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        let read = table.scope(|| postcard::from_bytes::<Result<Description, Refusal>>(bytes));
        Some(match read.ok()? {
            Ok(description) => {
                let (types, pluggable) = (self.types.clone(), self.pluggable.clone());
                Ok(Arc::new(Description { types, pluggable, ..description }))
            }
            Err(refusal) => Err(Arc::new(refusal)),
        })
    }

    /// Adds what was found out about machine types of the emulator with these stamps to what
    /// the cache knows.
    ///
    /// # Errors
    /// The cache cannot be written.
    pub(super) fn add(cache: &Path, stamps: &[Stamp], found: &[Described]) -> io::Result<()> {
        // What another program has added meanwhile stays.
        let before = Self::open(cache, stamps);
        let new =
            found.iter().map(|described| (name(described).to_string(), now(), described.clone()));
        let old = before.machines.iter().filter_map(|(machine, kept)| {
            Some((machine.clone(), kept.written, before.get(machine)?))
        });
        let all =
            old.chain(new).map(|(machine, written, described)| (machine, (written, described)));
        let all: BTreeMap<_, _> = all.collect();
        let stamp = stamps.first().ok_or(io::ErrorKind::NotFound)?;
        MACHINES.write(cache, stamp, "", &encode(stamps, &all)?)
    }
}

/// Which machine type was described.
fn name(described: &Described) -> &Name {
    match described {
        Ok(description) => &description.machine,
        Err(refusal) => &refusal.machine,
    }
}

/// The types that a description speaks of.
fn types_of(description: &Description) -> impl Iterator<Item = &str> {
    let devices = description.devices.iter();
    let buses = devices.clone().flat_map(|device| &device.buses).map(|bus| &bus.ty);
    devices.map(|device| &device.ty).chain(buses).map(Name::as_str)
}

fn encode(stamps: &[Stamp], machines: &BTreeMap<String, (u64, Described)>) -> io::Result<Vec<u8>> {
    let mut table = Table::default();
    let (mut types, mut pluggable) = (Types::default(), &Vec::new());
    let (mut parts, mut bodies) = (Vec::new(), Vec::new());
    for (machine, (written, described)) in machines {
        if let Ok(description) = described {
            types.extend(description.types.only(types_of(description)));
            if pluggable.is_empty() {
                pluggable = &*description.pluggable;
            }
        }
        let described = described.as_deref().map_err(|refusal| &**refusal);
        let body = table.scope(|| postcard::to_stdvec(&described)).map_err(io::Error::other)?;
        let (length, sum) = (body.len(), fnv1a(&body));
        parts.push(Part { machine: machine.clone(), written: *written, length, sum });
        bodies.extend(body);
    }
    let types =
        table.scope(|| postcard::to_stdvec(&(types, pluggable))).map_err(io::Error::other)?;
    let names: Vec<&str> = table.names().iter().map(Name::as_str).collect();
    let mut head = postcard::to_stdvec(&(stamps, names)).map_err(io::Error::other)?;
    head.extend(types);
    head.extend(postcard::to_stdvec(&parts).map_err(io::Error::other)?);
    let mut bytes = WRITER.to_vec();
    bytes.extend(fnv1a(&head).to_le_bytes());
    bytes.extend((head.len() as u64).to_le_bytes());
    bytes.extend(head);
    bytes.extend(bodies);
    Ok(bytes)
}

#[cfg(test)]
mod tests;
