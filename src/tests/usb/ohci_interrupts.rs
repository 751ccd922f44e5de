//! OHCI: every kind of interrupt, the done queue with its delays, and the order in which periodic lists
//! are served (OpenHCI 1.0a, 4.4, 6.4.4, 7.1.4 to 7.1.6 and 7.2.7).

use std::rc::Rc;
use std::time::Duration;

use crate::drivers::usb::ohci::bench::*;
use crate::drivers::usb::ohci::*;
use crate::qemu::{Buffer, Vm};
use crate::qos::pci::regs::{STATUS, STATUS_ERRORS};
use crate::qos::registers::RegistersExt;
use crate::qos::usb::models::{Plugged, TABLET, plug};
use crate::{Result, tests};

tests!(dyn Ohci, "ohci-interrupts-tests":
    frame_start = "frame-start",
    frame_overflow = "frame-overflow",
    masks,
    unrecoverable,
    unrecoverable_interrupt = "unrecoverable-interrupt",
    done_queue = "done-queue",
    delays,
    never,
    error_at_once = "error-at-once",
    not_overwritten = "not-overwritten",
    lowest_bit = "lowest-bit",
    periodic_lists = "periodic-lists",
);

/// The address of the device.
const ADDRESS: u32 = 3;
/// The word of its default endpoint, with packets of eight bytes.
const DEFAULT: u32 = ADDRESS | 8 << 16;

/// Starts the controller with a device, and gives it lists without transfers.
fn started(ohci: &dyn Ohci) -> Result<(Bench<'_>, Plugged)> {
    ohci.reaches_ram()?;
    ohci.start()?;
    let plugged = plug(ohci, 0, TABLET)?;
    plugged.connect(ohci, ADDRESS as u8)?;
    let bench = Bench::new(ohci)?;
    // What was done before is told first.
    bench.run()?;
    bench.frames(8)?;
    bench.registers.set(INTERRUPT_STATUS, u32::MAX)?;
    bench.area.write_le32(AREA_DONE, 0)?;
    Ok((bench, plugged))
}

/// Has SETUP packets with these delays done by one endpoint; returns them.
fn submit(bench: &Bench, delays: &[u32]) -> Result<Vec<Rc<Buffer>>> {
    let tail = bench.transfer(0, 0, 0, 0)?;
    let transfers: Vec<_> =
        delays.iter().map(|it| bench.setup(delay(*it), at(&tail))).collect::<Result<_>>()?;
    for pair in transfers.windows(2) {
        pair[0].write_le32(TD_NEXT, at(&pair[1]))?;
    }
    let endpoint = bench.endpoint(DEFAULT, at(&transfers[0]), at(&tail), 0)?;
    bench.set_list(List::Control, at(&endpoint))?;
    bench.registers.set(COMMAND, COMMAND_LISTS)?;
    Ok(transfers)
}

/// Whether this bit of the status is set.
fn is_set(bench: &Bench, bit: u32) -> Result<bool> {
    Ok(bench.registers.get(INTERRUPT_STATUS)? & bit != 0)
}

/// Would catch the begin of a frame that is not told, or is told without a frame; a number of the frame in
/// the communications area that is not that of the register, and a word behind it that is not cleared.
fn frame_start(ohci: &dyn Ohci, _: &Rc<Vm>) -> Result<()> {
    let (bench, _plugged) = started(ohci)?;
    for round in 0..4 {
        bench.area.write_le32(AREA_FRAME, 0xa5a5_a5a5)?;
        bench.frames(1)?;
        let frame = bench.registers.get(FRAME)?;
        assert_eq!(bench.area.read_le32(AREA_FRAME)?, frame, "HccaFrameNumber, round {round}");
        assert!(is_set(&bench, INTERRUPT_FRAME)?, "a frame has begun, round {round}");
        bench.registers.set(INTERRUPT_STATUS, INTERRUPT_FRAME)?;
        assert!(!is_set(&bench, INTERRUPT_FRAME)?, "acknowledged, round {round}");
    }
    ohci.set_running(false)?;
    bench.registers.set(INTERRUPT_STATUS, INTERRUPT_FRAME)?;
    bench.frames(3)?;
    assert!(!is_set(&bench, INTERRUPT_FRAME)?, "a frame while the controller is stopped");
    Ok(())
}

/// Would catch a change of the highest bit of the number of the frame that is not told, either way, or
/// is told at another frame (7.1.4, FrameNumberOverflow).
fn frame_overflow(ohci: &dyn Ohci, vm: &Rc<Vm>) -> Result<()> {
    let (bench, _plugged) = started(ohci)?;
    for round in 0..2 {
        let frame = bench.registers.get(FRAME)?;
        let left = 0x8000 - frame % 0x8000;
        vm.qtest().clock_step(Some(Duration::from_millis(u64::from(left) - 4)))?;
        assert!(!is_set(&bench, INTERRUPT_OVERFLOW)?, "before the bit changes, round {round}");
        bench.frames(8)?;
        let now = bench.registers.get(FRAME)?;
        assert_eq!((now ^ frame) & 0x8000, 0x8000, "{frame:#x} before, {now:#x} now");
        assert!(is_set(&bench, INTERRUPT_OVERFLOW)?, "the bit has changed, round {round}");
        bench.registers.set(INTERRUPT_STATUS, INTERRUPT_OVERFLOW)?;
        assert!(!is_set(&bench, INTERRUPT_OVERFLOW)?, "acknowledged, round {round}");
    }
    Ok(())
}

/// Would catch an interrupt that comes although its bit or all are disabled, or does not although both are
/// enabled; a bit that is not set or cleared alone, and one that a read of HcInterruptDisable does not show.
fn masks(ohci: &dyn Ohci, _: &Rc<Vm>) -> Result<()> {
    let (bench, _plugged) = started(ohci)?;
    let registers = &bench.registers;
    let line = ohci.line()?;
    let line = line.as_ref();
    submit(&bench, &[0])?;
    bench.frames(3)?;
    ohci.set_running(false)?;
    registers.set(HUB_STATUS, 1 << 15)?;
    let pending = registers.get(INTERRUPT_STATUS)?;
    for (bit, what) in [(INTERRUPT_DONE, "the done queue"), (INTERRUPT_HUB, "the root hub")] {
        assert_eq!(pending & bit, bit, "{what} is pending: {pending:#x}");
        registers.set(INTERRUPT_DISABLE, u32::MAX)?;
        assert!(!bench.asserts_interrupt(line)?, "{what}: nothing is enabled");
        registers.set(INTERRUPT_ENABLE, bit)?;
        assert_eq!(registers.get(INTERRUPT_ENABLE)?, bit, "{what}: {INTERRUPT_ENABLE}");
        assert_eq!(registers.get(INTERRUPT_DISABLE)?, bit, "{what}: {INTERRUPT_DISABLE}");
        assert!(!bench.asserts_interrupt(line)?, "{what}: its bit alone");
        registers.set(INTERRUPT_ENABLE, INTERRUPT_MASTER)?;
        assert!(bench.asserts_interrupt(line)?, "{what}: its bit and all");
        registers.set(INTERRUPT_DISABLE, bit)?;
        assert_eq!(registers.get(INTERRUPT_ENABLE)?, INTERRUPT_MASTER, "{what}: disabled");
        assert!(!bench.asserts_interrupt(line)?, "{what}: all without its bit");
        registers.set(INTERRUPT_ENABLE, bit)?;
        registers.set(INTERRUPT_STATUS, !bit)?;
        assert!(bench.asserts_interrupt(line)?, "{what}: all others acknowledged");
        // What the others are, is pending again.
        registers.set(INTERRUPT_STATUS, bit)?;
        assert!(!bench.asserts_interrupt(line)?, "{what}: acknowledged");
        submit(&bench, &[0])?;
        ohci.set_running(true)?;
        bench.frames(3)?;
        ohci.set_running(false)?;
        registers.set(HUB_STATUS, 1 << 31)?;
    }
    registers.set(INTERRUPT_DISABLE, u32::MAX)
}

/// Has the controller fail by an area that is not in memory.
fn fail(ohci: &dyn Ohci, bench: &Bench) -> Result<()> {
    bench.registers.set(HCCA, NOWHERE)?;
    bench.frames(3)?;
    assert!(is_set(bench, INTERRUPT_ERROR)?, "an area that is not in memory");
    match ohci.function() {
        // The bus has an error, too.
        Some(function) => function.config_write16(STATUS, STATUS_ERRORS),
        None => Ok(()),
    }
}

/// Would catch an error of the host that is not told, that leaves frames running, or that a reset of the
/// controller does not end (7.1.4, UnrecoverableError).
fn unrecoverable(ohci: &dyn Ohci, _: &Rc<Vm>) -> Result<()> {
    let (bench, plugged) = started(ohci)?;
    fail(ohci, &bench)?;
    let frame = bench.registers.get(FRAME)?;
    bench.frames(5)?;
    assert_eq!(bench.registers.get(FRAME)?, frame, "the frame after the error");
    ohci.start()?;
    assert!(!is_set(&bench, INTERRUPT_ERROR)?, "the error after a reset");
    let usb = plugged.connect(ohci, ADDRESS as u8)?;
    assert_eq!(usb.text(1)?, "QEMU", "the device's first text after a reset");
    Ok(())
}

/// Would catch an error of the host that has no interrupt, though it is enabled, or one that Status of a
/// PCI device does not show any more (PCI 3.0, 6.2.3).
fn unrecoverable_interrupt(ohci: &dyn Ohci, _: &Rc<Vm>) -> Result<()> {
    let (bench, _plugged) = started(ohci)?;
    let line = ohci.line()?;
    bench.registers.set(INTERRUPT_ENABLE, INTERRUPT_MASTER | INTERRUPT_ERROR)?;
    assert!(!bench.asserts_interrupt(line.as_ref())?, "before the error");
    fail(ohci, &bench)?;
    assert!(bench.asserts_interrupt(line.as_ref())?, "the interrupt of the error");
    Ok(())
}

/// Would catch a done queue whose order is not that of the transfers, the latest first, or that does not
/// end; transfers that are not marked, and a queue that stays in its register (4.5.3 and 7.2.7).
fn done_queue(ohci: &dyn Ohci, _: &Rc<Vm>) -> Result<()> {
    let (bench, _plugged) = started(ohci)?;
    for count in [1, 2, 5, 20] {
        let transfers = submit(&bench, &vec![0; count])?;
        bench.frames(4)?;
        assert!(is_set(&bench, INTERRUPT_DONE)?, "{count} transfers: WritebackDoneHead");
        assert_eq!(bench.registers.get(DONE_HEAD)?, 0, "{count} transfers: {DONE_HEAD}");
        let mut here = bench.area.read_le32(AREA_DONE)?;
        assert_eq!(here & 1, 0, "{count} transfers: no other interrupt: {here:#x}");
        for (number, expected) in transfers.iter().enumerate().rev() {
            assert_eq!(here, at(expected), "{count} transfers: number {number} of the queue");
            let word = expected.read_le32(0)?;
            assert_eq!(word >> 26, 0, "transfer {number}: its codes and errors");
            assert_eq!(expected.read_le32(4)?, 0, "transfer {number}: CurrentBufferPointer");
            here = expected.read_le32(TD_NEXT)?;
        }
        assert_eq!(here, 0, "{count} transfers: the end of the queue");
        bench.registers.set(INTERRUPT_STATUS, INTERRUPT_DONE)?;
    }
    Ok(())
}

/// After how many frames transfers of these delays are told; `None` if not after 20.
fn told_after(bench: &Bench, delays: &[u32]) -> Result<Option<usize>> {
    bench.registers.set(INTERRUPT_STATUS, u32::MAX)?;
    submit(bench, delays)?;
    for number in 0..20 {
        bench.frames(1)?;
        if is_set(bench, INTERRUPT_DONE)? {
            return Ok(Some(number));
        }
    }
    Ok(None)
}

/// Would catch a delay of an interrupt that is not as many frames as it says, and one of several transfers
/// that is not the shortest (6.4.4).
fn delays(ohci: &dyn Ohci, _: &Rc<Vm>) -> Result<()> {
    let (bench, _plugged) = started(ohci)?;
    let base = told_after(&bench, &[0])?.expect("a transfer without a delay is told");
    for (delays, expected) in [
        (&[1][..], 1),
        (&[2], 2),
        (&[6], 6),
        (&[3, 5], 3),
        (&[5, 3], 3),
        (&[NEVER, 4, NEVER], 4),
        (&[6, 0], 0),
    ] {
        let told = told_after(&bench, delays)?.map(|told| told - base.min(told));
        assert_eq!(told, Some(expected), "delays of {delays:?}");
    }
    Ok(())
}

/// Would catch a transfer that is told although it is not to be, or is told wrong when another is.
fn never(ohci: &dyn Ohci, _: &Rc<Vm>) -> Result<()> {
    let (bench, _plugged) = started(ohci)?;
    let quiet = submit(&bench, &[NEVER, NEVER])?;
    bench.frames(20)?;
    assert!(!is_set(&bench, INTERRUPT_DONE)?, "transfers without an interrupt");
    assert_eq!(bench.registers.get(DONE_HEAD)?, at(&quiet[1]), "{DONE_HEAD}");
    let told = submit(&bench, &[0])?;
    bench.frames(4)?;
    let queue = [bench.area.read_le32(AREA_DONE)?, told[0].read_le32(TD_NEXT)?];
    assert_eq!(queue, [at(&told[0]), at(&quiet[1])], "the queue of all");
    Ok(())
}

/// Would catch an error that waits for the interrupt of its transfer, or has none (6.4.4), and an endpoint
/// that goes on after it (4.2.2, Halted).
fn error_at_once(ohci: &dyn Ohci, _: &Rc<Vm>) -> Result<()> {
    let (bench, _plugged) = started(ohci)?;
    for wait in [3, 6, NEVER] {
        bench.registers.set(INTERRUPT_STATUS, u32::MAX)?;
        let tail = bench.transfer(0, 0, 0, 0)?;
        // A packet for an endpoint that the device does not have.
        let refused = bench.transfer(TD_IN | delay(wait), at(&tail), 8, at(&tail))?;
        let word = DEFAULT | 9 << 7;
        let endpoint = bench.endpoint(word, at(&refused), at(&tail), 0)?;
        bench.set_list(List::Bulk, at(&endpoint))?;
        bench.registers.set(COMMAND, COMMAND_LISTS)?;
        bench.frames(3)?;
        assert!(is_set(&bench, INTERRUPT_DONE)?, "an error, delay {wait}");
        assert_eq!(bench.area.read_le32(AREA_DONE)?, at(&refused), "the queue, delay {wait}");
        let code = refused.read_le32(0)? >> 28;
        assert_eq!(code, 4, "the condition code, delay {wait}: STALL");
        assert_eq!(endpoint.read_le32(ED_HEAD)?, at(&tail) | ED_HALTED, "HeadP, delay {wait}");
        bench.set_list(List::Bulk, 0)?;
    }
    Ok(())
}

/// Would catch a done queue that is written over one that was not acknowledged, and one that is lost by
/// that (4.4.1, HccaDoneHead).
fn not_overwritten(ohci: &dyn Ohci, _: &Rc<Vm>) -> Result<()> {
    let (bench, _plugged) = started(ohci)?;
    let first = submit(&bench, &[0])?;
    bench.frames(4)?;
    assert_eq!(bench.area.read_le32(AREA_DONE)?, at(&first[0]), "the first transfer");
    let second = submit(&bench, &[0, 0])?;
    bench.frames(10)?;
    assert_eq!(bench.area.read_le32(AREA_DONE)?, at(&first[0]), "the first, not acknowledged");
    assert_eq!(bench.registers.get(DONE_HEAD)?, at(&second[1]), "{DONE_HEAD}");
    bench.registers.set(INTERRUPT_STATUS, INTERRUPT_DONE)?;
    bench.frames(2)?;
    assert!(is_set(&bench, INTERRUPT_DONE)?, "the others");
    assert_eq!(bench.area.read_le32(AREA_DONE)?, at(&second[1]), "the others");
    Ok(())
}

/// Would catch a bit of HccaDoneHead, which says whether another interrupt is pending and enabled, that
/// is clear though one is, or set though none is (4.4.1).
fn lowest_bit(ohci: &dyn Ohci, _: &Rc<Vm>) -> Result<()> {
    let (bench, _plugged) = started(ohci)?;
    for (enabled, is_pending, expected) in [
        (0, true, 0),
        (INTERRUPT_MASTER | INTERRUPT_DONE, true, 0),
        (INTERRUPT_MASTER | INTERRUPT_HUB, true, 1),
        (INTERRUPT_MASTER | INTERRUPT_HUB, false, 0),
    ] {
        bench.registers.set(INTERRUPT_DISABLE, u32::MAX)?;
        bench.registers.set(INTERRUPT_STATUS, u32::MAX)?;
        if is_pending {
            // Either of them changes HcRhStatus.
            bench.registers.set(HUB_STATUS, 1 << 15)?;
            bench.registers.set(HUB_STATUS, 1 << 31)?;
        }
        bench.registers.set(INTERRUPT_ENABLE, enabled)?;
        let transfer = submit(&bench, &[0])?;
        bench.frames(4)?;
        let queue = bench.area.read_le32(AREA_DONE)?;
        assert_eq!(
            queue,
            at(&transfer[0]) | expected,
            "{enabled:#x} enabled, pending: {is_pending}"
        );
    }
    bench.registers.set(INTERRUPT_DISABLE, u32::MAX)
}

/// Would catch a periodic list that is served in another frame than its own, or not at all (4.4.2).
fn periodic_lists(ohci: &dyn Ohci, _: &Rc<Vm>) -> Result<()> {
    let (bench, _plugged) = started(ohci)?;
    ohci.set_running(false)?;
    let tail = bench.transfer(0, 0, 0, 0)?;
    let mut endpoints = Vec::new();
    for number in 0..32 {
        let transfer = bench.setup(delay(NEVER), at(&tail))?;
        let endpoint = bench.endpoint(DEFAULT, at(&transfer), at(&tail), 0)?;
        bench.area.write_le32(AREA_TABLE + 4 * number, at(&endpoint))?;
        endpoints.push(endpoint);
    }
    ohci.set_running(true)?;
    let mut served = [false; 32];
    for _ in 0..40 {
        let before = bench.registers.get(FRAME)?;
        bench.frames(1)?;
        let after = bench.registers.get(FRAME)?;
        for (number, endpoint) in endpoints.iter().enumerate() {
            let is_served = endpoint.read_le32(ED_HEAD)? & !0xf == at(&tail);
            if is_served && !served[number] {
                let frames = [before % 32, after % 32];
                let is_its_own = frames.contains(&(number as u32));
                assert!(is_its_own, "list {number} in the frames {frames:?}");
            }
            served[number] = is_served;
        }
    }
    assert_eq!(served, [true; 32], "which lists were served");
    Ok(())
}
