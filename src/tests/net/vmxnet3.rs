//! VMware's `vmxnet3`: revisions, the station's address, the link.

use std::rc::Rc;

use crate::drivers::net::vmxnet3::Vmxnet3;
use crate::qemu::Vm;
use crate::qos::net::MAC;
use crate::qos::registers::RegistersExt;
use crate::{Result, tests};

tests!(Vmxnet3, "vmxnet3-tests": registers);

/// Registers of BAR 1: revision of the device, of its UPT, command, the address's halves.
const REVISION: u64 = 0x00;
const UPT_REVISION: u64 = 0x08;
const COMMAND: u64 = 0x20;
const ADDRESS_LOW: u64 = 0x28;
const ADDRESS_HIGH: u64 = 0x30;
/// Commands: the permanent address's low half and high half, the link.
const GET_LINK: u32 = 0xf00d_0002;
const GET_ADDRESS_LOW: u32 = 0xf00d_0003;
const GET_ADDRESS_HIGH: u32 = 0xf00d_0004;

/// Would catch an address that is another than the card was given, or that a guest cannot change;
/// a permanent address that it can; a link that is down, and revisions that no driver takes.
fn registers(nic: &Vmxnet3, _: &Rc<Vm>) -> Result<()> {
    let registers = &nic.plug.registers;
    assert_eq!(registers.read32(REVISION)? & 1, 1, "the revision of the device");
    assert_eq!(registers.read32(UPT_REVISION)? & 1, 1, "the revision of UPT");
    let [a, b, c, d, e, f] = MAC;
    let (low, high) = (u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, 0, 0]));
    let ask = |command: u32| -> Result<u32> {
        registers.write32(COMMAND, command)?;
        registers.read32(COMMAND)
    };
    let address =
        || Ok::<_, crate::Error>((registers.read32(ADDRESS_LOW)?, registers.read32(ADDRESS_HIGH)?));
    assert_eq!(address()?, (low, high), "the station's address");
    registers.write32(ADDRESS_LOW, 0x4433_2202)?;
    registers.write32(ADDRESS_HIGH, 0x0000_6655)?;
    assert_eq!(address()?, (0x4433_2202, 0x6655), "the station's address, written");
    let permanent = (ask(GET_ADDRESS_LOW)?, ask(GET_ADDRESS_HIGH)?);
    assert_eq!(permanent, (low, high), "the permanent address");
    assert_eq!(ask(GET_LINK)? & 1, 1, "the link is up");
    registers.write32(ADDRESS_LOW, low)?;
    registers.write32(ADDRESS_HIGH, high)
}
