//! The commands of VMware's paravirtual SCSI adapter.

use std::rc::Rc;

use crate::drivers::scsi::pvscsi::{self as pv, Pvscsi, command};
use crate::qemu::Vm;
use crate::qos::registers::RegistersExt;
use crate::{Result, tests};

tests!(Pvscsi, "pvscsi-tests": commands, rings, mask);

/// What a command has come to: it failed; parameters are missing.
const FAILED: u32 = u32::MAX;
const MISSING: u32 = u32::MAX - 1;

/// Would catch a command that nobody knows and that succeeds, and one that does not wait for its
/// parameters.
fn commands(card: &Pvscsi, _: &Rc<Vm>) -> Result<()> {
    assert_eq!(card.command(command::RESET, &[])?, 0, "RESET");
    for unknown in [0, 10, 77] {
        assert_eq!(card.command(unknown, &[])?, FAILED, "the command {unknown}");
    }
    assert_eq!(card.command(command::RESET_BUS, &[])?, 0, "RESET BUS");
    // A unit that is there, one that is not, and too few parameters.
    assert_eq!(card.command(command::RESET_UNIT, &[1, 0])?, MISSING, "RESET UNIT of two words");
    assert_eq!(card.command(command::RESET_UNIT, &[1, 0, 0])?, 0, "RESET UNIT");
    assert_eq!(card.command(command::RESET_UNIT, &[5, 0, 0])?, FAILED, "RESET UNIT of nobody");
    // Nothing is under way that could be aborted.
    assert_eq!(card.command(command::ABORT, &[1, 0, 1, 0])?, 0, "ABORT of nothing");
    Ok(())
}

/// Would catch rings of no page, or of more than there can be, that are taken.
fn rings(card: &Pvscsi, vm: &Rc<Vm>) -> Result<()> {
    card.plug.device.bus().reaches_ram()?;
    assert_eq!(card.command(command::RESET, &[])?, 0, "RESET");
    let pages = vm.ram().alloc(3 * 4096, 4096)?;
    let page = (pages.address().0 / 4096) as u32;
    for (requests, completions, expected) in
        [(0, 1, FAILED), (1, 0, FAILED), (33, 1, FAILED), (1, 33, FAILED), (1, 1, 0)]
    {
        let mut words = vec![0; 132];
        (words[0], words[1], words[2], words[4], words[68]) =
            (requests, completions, page, page + 1, page + 2);
        pages.write(0, &[0x5a; 32])?;
        let status = card.command(command::SETUP_RINGS, &words)?;
        assert_eq!(status, expected, "rings of {requests} and {completions} pages");
        let log2 = [pages.read_le32(8)?, pages.read_le32(20)?];
        let sizes = if expected == 0 { [5, 7] } else { [0x5a5a_5a5a; 2] };
        assert_eq!(log2, sizes, "their sizes in the state of the rings");
    }
    Ok(())
}

/// Would catch an interrupt mask that is not kept, or that a reset does not clear.
fn mask(card: &Pvscsi, _: &Rc<Vm>) -> Result<()> {
    let registers = &card.plug.registers;
    for mask in [pv::INTERRUPT_COMPLETION, pv::INTERRUPT_MESSAGE, 0xf, 0] {
        registers.set(pv::INTERRUPT_MASK, mask)?;
        assert_eq!(registers.get(pv::INTERRUPT_MASK)?, mask, "the interrupt mask");
        assert!(!card.plug.device.asserts_interrupt()?, "INTA#");
    }
    registers.set(pv::INTERRUPT_STATUS, !0)?;
    assert_eq!(registers.get(pv::INTERRUPT_STATUS)?, 0, "the interrupt status");
    Ok(())
}
