//! Which of a board's flash chips is whose, and which drive each takes: boards give the drives
//! `-drive if=mtd` to their chips in the order of the controllers and chip selects.

use crate::graph::{FoundDevice, Plug};
use crate::qemu::discovery::{Found, Region};
use crate::qos::spi::{Chip, Part};

/// Numbers of drives.
const UNITS: [&str; 12] = [
    "bus=0,unit=0",
    "bus=0,unit=1",
    "bus=0,unit=2",
    "bus=0,unit=3",
    "bus=0,unit=4",
    "bus=0,unit=5",
    "bus=0,unit=6",
    "bus=0,unit=7",
    "bus=0,unit=8",
    "bus=0,unit=9",
    "bus=0,unit=10",
    "bus=0,unit=11",
];

/// The chips of known types on a bus of the device at `path`.
fn chips<'a>(
    device: &'a FoundDevice,
    path: &'a str,
) -> impl Iterator<Item = (&'a Found, &'static Part)> {
    device.machine().devices.iter().filter_map(move |chip| {
        let (controller, _) = chip.bus.as_ref()?.rsplit_once('/')?;
        if controller != path {
            return None;
        }
        Part::called(&chip.ty).map(|part| (chip, part))
    })
}

/// The number of a chip's select: its property, or, in a QEMU that has none, the number of the
/// controller's output that leads to it, which need not begin at 0.
fn select(device: &FoundDevice, chip: &Found) -> u32 {
    let property = chip.properties.iter().find(|property| &*property.name == "cs");
    let number = property.and_then(|property| property.value.as_ref()?.parse().ok());
    let input = format!("{}/ssi-gpio-cs[0]", chip.path);
    let mut ends = device.outputs.iter().flat_map(|output| &output.connected);
    let output = || ends.find(|(_, end)| **end == *input).map(|(number, _)| *number);
    number.or_else(output).unwrap_or(u32::MAX)
}

/// The chip that a path is about: that of the controller's first chip select.
fn first(device: &FoundDevice) -> Option<(&Found, &'static Part)> {
    chips(device, &device.path).min_by_key(|(chip, _)| select(device, chip))
}

/// Where the drive of the first chip behind the controller `device` is plugged in: the numbers of
/// the drive stand for the bus, its size for the address.
pub fn of(device: &FoundDevice) -> Plug {
    let Some((_, part)) = first(device) else { return Plug::CLOSED };
    // The window of a controller of Xilinx comes before its registers.
    let is_own = |region: &&Region| &*region.name != "lqspi";
    let place = |found: &Found| found.regions.iter().find(is_own).map(|region| region.base);
    let Some(own) = place(device) else { return Plug::CLOSED };
    let is_before = |other: &&Found| place(other).is_some_and(|other| other < own);
    let before = device.machine().devices.iter().filter(is_before);
    let unit = before.map(|other| chips(device, &other.path).count()).sum::<usize>();
    UNITS.get(unit).map_or(Plug::CLOSED, |unit| Plug::new(unit, part.size_option))
}

/// The first chip behind the controller `device`, if it has one.
pub fn chip(device: &FoundDevice) -> Option<Chip> {
    let (chip, part) = first(device)?;
    Some(Chip { select: 0, part, path: chip.path.to_string() })
}
