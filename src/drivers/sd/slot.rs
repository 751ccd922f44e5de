//! Which of a board's slots is whose: `-drive if=sd,index=N` is the card of the host controller
//! number N, in the order of their addresses.

use crate::graph::{FoundDevice, Plug};

/// The numbers of slots.
const NUMBERS: [&str; 8] = ["0", "1", "2", "3", "4", "5", "6", "7"];

/// Boards that give no card to their host controllers.
const WITHOUT: [&str; 4] = ["fby35", "mori-bmc", "npcm750-evb", "quanta-gsj"];

/// Where the card of the host controller `device` is plugged in.
pub fn of(device: &FoundDevice) -> Plug {
    if WITHOUT.iter().any(|machine| **machine == *device.machine().machine) {
        return Plug::CLOSED;
    }
    let own = device.base().unwrap_or(0);
    let is_before = |other: u64| other < own;
    let alike = device.machine().devices.iter().filter(|other| other.ty == device.ty);
    let bases = alike.filter_map(|other| other.registers().next().map(|region| region.base));
    let number = bases.filter(|base| is_before(*base)).count();
    NUMBERS.get(number).map_or(Plug::CLOSED, |number| Plug::new("", number))
}
