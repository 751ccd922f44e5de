//! Memory shared between machines: every byte of it is where it is in the file, both ways; the
//! registers of a device without interrupts; what a reset leaves.

use std::rc::Rc;

use crate::drivers::misc::ivshmem_plain::{
    DOORBELL, INTERRUPT_MASK, INTERRUPT_STATUS, IV_POSITION, IvshmemPlain, SHARED,
};
use crate::qemu::Vm;
use crate::qos::registers::RegistersExt;
use crate::qos::reset;
use crate::{Result, tests};

tests!(IvshmemPlain, "ivshmem-plain-tests":
    inward,
    outward,
    widths,
    registers,
    machine_reset = "machine-reset",
);

/// Where the memory is looked at: its ends, both sides of pages, and the middle.
const PLACES: [u64; 7] = [0, 0xffc, 0x1000, 0x7_fffc, 0x8_0000, SHARED.size - 8, SHARED.size - 4];

/// A word of which no two places have the same.
fn word(at: u64) -> u32 {
    (at as u32).wrapping_mul(0x9e37_79b9) ^ 0x5a00_00a5
}

/// Would catch what another machine has written and that is elsewhere, in another order of bytes,
/// or not there.
fn inward(device: &IvshmemPlain, vm: &Rc<Vm>) -> Result<()> {
    for at in PLACES {
        vm.write_image(SHARED.name, at, &word(at).to_le_bytes())?;
    }
    vm.set_up_ends()?;
    for at in PLACES {
        assert_eq!(device.memory.read32(at)?, word(at), "at {at:#x}");
    }
    Ok(())
}

/// Would catch what this machine writes and that another one does not see, sees elsewhere, or sees
/// beside it.
fn outward(device: &IvshmemPlain, vm: &Rc<Vm>) -> Result<()> {
    let mut expected = vec![0; SHARED.size as usize];
    for at in PLACES {
        device.memory.write32(at, word(at))?;
        expected[at as usize..][..4].copy_from_slice(&word(at).to_le_bytes());
    }
    vm.set_up_ends()?;
    let mut seen = vec![0; SHARED.size as usize];
    vm.read_image(SHARED.name, 0, &mut seen)?;
    let wrong = seen.iter().zip(&expected).position(|(seen, expected)| seen != expected);
    assert_eq!(wrong, None, "the first byte that differs");
    Ok(())
}

/// Would catch memory that cannot be accessed in every width, at every address.
fn widths(device: &IvshmemPlain, vm: &Rc<Vm>) -> Result<()> {
    let memory = &device.memory;
    memory.write64(0x100, 0x1122_3344_5566_7788)?;
    memory.write16(0x108, 0x99aa)?;
    memory.write8(0x10b, 0xbb)?;
    memory.write32(0x111, 0xccdd_eeff)?;
    let mut seen = [0; 21];
    vm.read_image(SHARED.name, 0x100, &mut seen)?;
    let expected = [
        0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11, 0xaa, 0x99, 0, 0xbb, 0, 0, 0, 0, 0, 0xff,
        0xee, 0xdd, 0xcc,
    ];
    assert_eq!(seen, expected, "as the file has it");
    assert_eq!(memory.read8(0x107)?, 0x11, "8 bits");
    assert_eq!(memory.read16(0x107)?, 0xaa11, "16 bits");
    assert_eq!(memory.read32(0x106)?, 0x99aa_1122, "32 bits");
    assert_eq!(memory.read64(0x101)?, 0xaa11_2233_4455_6677, "64 bits");
    Ok(())
}

/// Would catch registers that do something without interrupts: a number that is not 0, a doorbell
/// that can be read, or writes behind the registers that end QEMU.
fn registers(device: &IvshmemPlain, vm: &Rc<Vm>) -> Result<()> {
    let registers = &device.plug.registers;
    for value in [0, 1, 0xffff_0000, u32::MAX] {
        registers.write32(DOORBELL, value)?;
        registers.write32(IV_POSITION, value)?;
        assert_eq!(registers.read32(IV_POSITION)?, 0, "IVPosition, {value:#x} written");
        assert_eq!(registers.read32(DOORBELL)?, 0, "Doorbell, {value:#x} written");
    }
    for at in (0x10..0x100).step_by(4) {
        registers.write32(at, u32::MAX)?;
        assert_eq!(registers.read32(at)?, 0, "{at:#x}, which is reserved");
    }
    assert_eq!(registers.read32(INTERRUPT_STATUS)?, 0, "Interrupt Status");
    let mut seen = vec![0; SHARED.size as usize];
    vm.read_image(SHARED.name, 0, &mut seen)?;
    assert!(seen.iter().all(|byte| *byte == 0), "registers are not in the memory");
    Ok(())
}

/// Would catch memory that is gone, empty or moved after a reset of the machine, for another
/// machine still uses it; and a mask that outlives the reset.
fn machine_reset(device: &IvshmemPlain, vm: &Rc<Vm>) -> Result<()> {
    device.plug.registers.write32(INTERRUPT_MASK, u32::MAX)?;
    for at in PLACES {
        device.memory.write32(at, word(at))?;
    }
    reset(vm)?;
    let device = device.again()?;
    for at in PLACES {
        assert_eq!(device.memory.read32(at)?, word(at), "at {at:#x}, after a reset");
    }
    assert_eq!(device.plug.registers.read32(INTERRUPT_MASK)?, 0, "Interrupt Mask after a reset");
    Ok(())
}
