//! What a running machine tells of itself: its RAM, its devices, and of each device its
//! registers, interrupt lines, buses and properties.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::name::Name;
use super::needs;
use super::pluggable::Pluggable;
use super::types::Types;
use crate::protocol::Endian;
use crate::qemu::capabilities::Version;
use crate::qemu::command_line::{Config, RamSpec};

/// What a machine type of one emulator has, as it is when started without any option but
/// those it needs to start.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Description {
    /// The machine type, under the name that was asked for.
    pub machine: Name,
    /// The byte order of its first CPU, in which qtest reads and writes numbers.
    #[serde(with = "endian_in_words")]
    pub endian: Endian,
    /// Its RAM, if a part of the first CPU's memory is found to be that.
    pub ram: Option<FoundRam>,
    /// Its devices, ordered by QOM path.
    pub devices: Vec<Found>,
    /// The regions that belong to no device, with whom they do belong to.
    pub others: Vec<(Name, Region)>,
    /// The types of the emulator's objects.
    #[serde(skip)]
    pub types: Arc<Types>,
    /// The device types of the emulator that a user can plug in, ordered by their names.
    #[serde(skip)]
    pub pluggable: Arc<Vec<Pluggable>>,
}

mod endian_in_words {
    use serde::{Deserialize, Deserializer, Serializer};

    use crate::protocol::Endian;

    pub(super) fn serialize<S: Serializer>(endian: &Endian, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(match endian {
            Endian::Little => "little",
            Endian::Big => "big",
        })
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Endian, D::Error> {
        let word = String::deserialize(from)?;
        Ok(if word == "big" { Endian::Big } else { Endian::Little })
    }
}

/// The RAM of a machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FoundRam {
    /// The name under which the machine takes a memory backend for it, with which guest
    /// memory can be mapped; `None` if it takes none.
    pub id: Option<Name>,
    /// Its size in bytes, as the machine has it by default.
    pub size: u64,
    /// Where the first CPU sees it, ordered by address. Together they may be less than the
    /// whole, or more where a part is seen twice.
    pub pieces: Vec<RamPiece>,
}

/// A part of a machine's RAM that the first CPU sees in one piece.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RamPiece {
    /// The guest-physical address of its first byte.
    pub address: u64,
    /// Where that byte is in the RAM, in bytes from its start.
    pub offset: u64,
    /// Its size in bytes.
    pub size: u64,
}

/// A device of a machine.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// Its canonical QOM path, such as `/machine/soc/spi[0]`.
    pub path: Name,
    /// Its QOM type, such as `aspeed.spi1-ast2500`.
    #[serde(rename = "type")]
    pub ty: Name,
    /// The QOM path of the bus it is on; `None` if on none or on the system bus.
    pub bus: Option<Name>,
    /// Its memory and ports, as the first CPU sees them at start, ordered by space and base.
    pub regions: Vec<Region>,
    /// Its outputs: interrupt lines and other signals.
    pub outputs: Vec<Outputs>,
    /// Its inputs for signals.
    pub inputs: Vec<Inputs>,
    /// The buses that it offers.
    pub buses: Vec<FoundBus>,
    /// Its properties with their values, but those that every device has.
    pub properties: Vec<Property>,
}

/// How a region is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Space {
    /// As memory of the first CPU, at guest-physical addresses.
    Memory,
    /// As ports.
    Ports,
}

/// What an access to a region does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Access {
    /// It calls the device model: registers.
    Registers,
    /// It reads and writes memory.
    Ram,
    /// It reads memory; what a write does is for the device.
    Rom,
}

/// A region of memory or ports: a block of registers, for instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Region {
    /// QEMU's name for it, which need not be unique.
    pub name: Name,
    /// How it is reached.
    pub space: Space,
    /// What an access does.
    pub access: Access,
    /// The address of its byte 0, which need not be visible itself. Where a later part of
    /// a region is visible near address 0, the addition wraps.
    pub base: u64,
    /// The parts of it that are visible, ordered; others are covered by other regions.
    pub pieces: Vec<Piece>,
}

/// A part of a region.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Piece {
    /// Its first byte, from the region's byte 0 on.
    pub offset: u64,
    /// Its last byte, so that a piece may be all of a 64-bit space.
    pub last: u64,
}

/// The outputs of a device that have one name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outputs {
    /// Their name: `sysbus-irq` for the interrupt lines of a device on the system bus,
    /// `unnamed-gpio-out` for those without a name.
    pub name: Name,
    /// How many there are.
    pub count: u32,
    /// Those that are connected, by number, with the QOM path of the input at the other
    /// end, such as `/machine/soc/vic/unnamed-gpio-in[22]`.
    pub connected: Vec<(u32, Name)>,
}

/// The inputs of a device that have one name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inputs {
    /// Their name; `unnamed-gpio-in` for those without one.
    pub name: Name,
    /// How many there are.
    pub count: u32,
}

/// A bus that a device offers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FoundBus {
    /// Its name, as `-device …,bus=` takes it. See [`Description::bus_is_unique`].
    pub name: Name,
    /// Its QOM type, such as `i2c-bus`.
    #[serde(rename = "type")]
    pub ty: Name,
}

/// A property of a device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Property {
    /// Its name.
    pub name: Name,
    /// Its type in QEMU's words, such as `uint64`, `bool` or `str`.
    #[serde(rename = "type")]
    pub ty: Name,
    /// Its value as JSON; `None` if QEMU does not tell.
    pub value: Option<Name>,
}

/// A machine that does not start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{why}")]
pub struct Refusal {
    /// The machine type.
    pub machine: Name,
    /// QEMU's own words, or how it ended.
    pub why: String,
    /// Whether it may be otherwise the next time: it gave no answer, or somebody ended it.
    pub passing: bool,
}

impl Description {
    /// The device with this QOM path.
    pub fn device(&self, path: &str) -> Option<&Found> {
        let at = self.devices.binary_search_by(|device| device.path.as_str().cmp(path));
        Some(&self.devices[at.ok()?])
    }

    /// The devices whose type is `ty` or derived from it.
    pub fn devices_of(&self, ty: &str) -> impl Iterator<Item = &Found> {
        self.devices.iter().filter(move |device| self.types.is_a(&device.ty, ty))
    }

    /// The input at this QOM path, such as `/machine/soc/vic/unnamed-gpio-in[22]`: its
    /// device, its name, its number. `None` if it is no device's.
    pub fn input<'p>(&self, path: &'p str) -> Option<(&Found, &'p str, u32)> {
        let (device, input) = path.rsplit_once('/')?;
        let (name, number) = numbered(input)?;
        Some((self.device(device)?, name, number))
    }

    /// Where the interrupt line `number` of a device on the system bus is seen: past the
    /// gates that join lines or split them, of which the first way is taken.
    pub fn interrupt(&self, device: &Found, number: u32) -> Option<Name> {
        let mut end = device.output("sysbus-irq", number)?.clone();
        // No board has as many in a row; a circle would.
        for _ in 0..16 {
            let Some((gate, _, _)) = self.input(&end) else { break };
            if !["or-irq", "split-irq"].iter().any(|ty| self.types.is_a(&gate.ty, ty)) {
                break;
            }
            let Some(next) = gate.output("unnamed-gpio-out", 0) else { break };
            end = next.clone();
        }
        Some(end)
    }

    /// Whether a bus of this name is the only one, so that `-device …,bus=NAME` means it.
    pub fn bus_is_unique(&self, name: &str) -> bool {
        let buses = self.devices.iter().flat_map(|device| &device.buses);
        buses.filter(|bus| bus.name == *name).count() == 1
    }

    /// The devices on the bus with this QOM path.
    pub fn on_bus<'d>(&'d self, path: &str) -> impl Iterator<Item = &'d Found> {
        self.devices.iter().filter(move |device| device.bus.as_deref() == Some(path))
    }

    /// What starts the machine on a QEMU of this version as it is described, with its RAM
    /// mapped where it can be.
    pub fn config(&self, version: Version) -> Config {
        let ram = self.ram.as_ref().and_then(FoundRam::spec);
        let mut config = needs::config(&self.machine, version, ram.unwrap_or(RamSpec::new(0, 0)));
        config.ram_is_given = self.ram.as_ref().is_some_and(|ram| ram.id.is_none());
        config
    }
}

impl FoundRam {
    /// Its first part, for tests to use: the whole of its RAM as [`Config`] wants it, of
    /// which the largest part that lies in one piece may be used.
    pub fn spec(&self) -> Option<RamSpec> {
        let in_order = |piece: &&RamPiece| piece.address.checked_sub(piece.offset).is_some();
        let largest = self.pieces.iter().filter(in_order).max_by_key(|piece| piece.size)?;
        let quarter = largest.size / 4;
        let usable = (largest.offset + quarter, largest.offset + largest.size - quarter);
        Some(RamSpec { base: largest.address - largest.offset, size: self.size, usable })
    }
}

impl Found {
    /// The last part of its QOM path, which tells it from others of its type.
    pub fn last_part(&self) -> &str {
        self.path.rsplit_once('/').map_or(&*self.path, |(_, last)| last)
    }

    /// The other end of the output `number` called `name`: the QOM path of an input. `None`
    /// if there is no such output, or it is not connected.
    pub fn output(&self, name: &str, number: u32) -> Option<&Name> {
        let outputs = self.outputs.iter().find(|outputs| outputs.name == *name)?;
        outputs.connected.iter().find(|(other, _)| *other == number).map(|(_, to)| to)
    }

    /// The property `name` as JSON.
    pub fn property(&self, name: &str) -> Option<&str> {
        let property = self.properties.iter().find(|property| property.name == *name)?;
        property.value.as_deref()
    }

    /// The number that the property `name` is.
    pub fn number(&self, name: &str) -> Option<u64> {
        self.property(name)?.parse().ok()
    }

    /// The QOM path of a bus that it offers.
    pub fn bus_path(&self, bus: &FoundBus) -> String {
        format!("{}/{}", self.path, bus.name)
    }

    /// The first region called `name`.
    pub fn region(&self, name: &str) -> Option<&Region> {
        self.regions.iter().find(|region| region.name == *name)
    }

    /// Its blocks of registers in memory.
    pub fn registers(&self) -> impl Iterator<Item = &Region> {
        self.registers_in(Space::Memory)
    }

    /// Its blocks of registers in memory, or behind ports.
    pub fn registers_in(&self, space: Space) -> impl Iterator<Item = &Region> {
        let wanted = (space, Access::Registers);
        self.regions.iter().filter(move |region| (region.space, region.access) == wanted)
    }
}

impl Region {
    /// Its size as far as it is visible: the end of its last part.
    pub fn size(&self) -> u64 {
        self.pieces.last().map_or(0, |piece| piece.last.saturating_add(1))
    }

    /// The address of the byte at `offset`.
    pub fn address(&self, offset: u64) -> u64 {
        self.base.wrapping_add(offset)
    }
}

/// `name[7]` as `name` and 7.
pub(super) fn numbered(text: &str) -> Option<(&str, u32)> {
    let (name, number) = text.strip_suffix(']')?.rsplit_once('[')?;
    let digits = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    Some((name, number.parse().ok().filter(|_| digits)?))
}
