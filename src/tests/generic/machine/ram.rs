//! Memory that a machine says is RAM: every piece of it, at both ends.

use vm_memory::GuestAddress;

use crate::protocol::{Endian, Width};
use crate::qemu::Vm;
use crate::qemu::discovery::{Access, Description, Region, Space};
use crate::{Error, Result};

/// How many bytes at each end of a piece are tried.
const END: u64 = 4 << 10;

/// Tries both ends of every piece of RAM that the first CPU sees, that of devices included.
pub(super) fn check(machine: &Description, vm: &Vm) -> Result<()> {
    let own = machine.devices.iter().flat_map(|device| &device.regions);
    let regions = own.chain(machine.others.iter().map(|(_, region)| region));
    let is_ram = |region: &&Region| (region.space, region.access) == (Space::Memory, Access::Ram);
    let mut count = 0;
    for region in regions.filter(is_ram) {
        for piece in &region.pieces {
            let (first, last) = (region.address(piece.offset), region.address(piece.last));
            let length = (last - first).saturating_add(1).min(END);
            // Both ends before either is read: they must not be the same memory.
            let ends = [(first, 0x5a), (last - (length - 1), 0xa5)];
            let ends = if last - first < 2 * END { &ends[..1] } else { &ends[..] };
            for &(at, seed) in ends {
                vm.qtest().b64write(GuestAddress(at), &pattern(at, length, seed))?;
            }
            for &(at, seed) in ends {
                compare(vm, region, at, &pattern(at, length, seed))?;
            }
            widths(vm, region, (first, last))?;
            count += 1;
        }
    }
    if count == 0 {
        return Err(Error::skipped("the machine has no RAM that its first CPU sees"));
    }
    Ok(())
}

/// Bytes that differ from those of other addresses nearby.
fn pattern(at: u64, length: u64, seed: u8) -> Vec<u8> {
    let byte =
        |offset: u64| (at.wrapping_add(offset)).wrapping_mul(0x9d) as u8 ^ (offset >> 8) as u8;
    (0..length).map(|offset| byte(offset) ^ seed).collect()
}

fn compare(vm: &Vm, region: &Region, at: u64, wanted: &[u8]) -> Result<()> {
    let mut read = vec![0; wanted.len()];
    vm.qtest().b64read(GuestAddress(at), &mut read)?;
    let wrong = read.iter().zip(wanted).position(|(read, wanted)| read != wanted);
    match wrong {
        None => Ok(()),
        Some(offset) => Err(Error::failed(format!(
            "RAM {} at {:#x}: wrote {:#04x}, read {:#04x}",
            region.name,
            at + offset as u64,
            wanted[offset],
            read[offset]
        ))),
    }
}

/// Writes the last bytes of a piece in every width and reads them in every width.
fn widths(vm: &Vm, region: &Region, (first, last): (u64, u64)) -> Result<()> {
    let order = vm.endian()?;
    for (number, width) in Width::ALL.into_iter().enumerate() {
        let bytes = width.bytes();
        let at = last.checked_sub(bytes as u64 - 1).filter(|at| *at >= first);
        let Some(at) = at else { continue };
        let value = 0x0123_4567_89ab_cdef_u64.rotate_left(8 * number as u32) & width.ones();
        vm.qtest().write_register(GuestAddress(at), width, value)?;
        let read = vm.qtest().read_register(GuestAddress(at), width)?;
        let mut memory = [0; 8];
        vm.qtest().b64read(GuestAddress(at), &mut memory[..bytes])?;
        let mut wanted = value.to_le_bytes();
        if order == Endian::Big {
            wanted[..bytes].reverse();
        }
        if read != value || memory[..bytes] != wanted[..bytes] {
            let memory = &memory[..bytes];
            return Err(Error::failed(format!(
                "RAM {} at {at:#x}: wrote {value:#x} with {} bits, read {read:#x}, as bytes {memory:x?}",
                region.name,
                8 * bytes
            )));
        }
    }
    Ok(())
}
