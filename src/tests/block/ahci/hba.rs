//! AHCI controllers: what they say of themselves, resets of each kind, ports and what is at them,
//! interrupts (Serial ATA AHCI Specification 1.3.1, whose sections are cited).

use std::rc::Rc;

use crate::qemu::Vm;
use crate::qos::ahci::command::Command;
use crate::qos::ahci::port::{Fis, Port};
use crate::qos::ahci::{self as ahci, AhciHba, Unit};
use crate::qos::ide::command;
use crate::qos::pci::intx;
use crate::qos::registers::{RegistersExt, Width};
use crate::{Result, tests};

tests!(AhciHba, "ahci":
    hba_spec,
    hba_enable,
    widths,
    index_data = "index-data",
    ports,
    absent,
    silent = "absent/silent",
    reset = "reset/simple",
    reset_port = "reset/port",
    reset_device = "reset/device",
    reset_status = "reset/status",
    restart,
    masks = "interrupt/masks",
    line = "interrupt/line",
    reserved_fis = "reserved-fis",
);

/// Would catch capabilities that contradict each other or the specification (3.1.1 to 3.1.5), and
/// ones that a guest can write.
fn hba_spec(hba: &AhciHba, _: &Rc<Vm>) -> Result<()> {
    hba.reset()?;
    let registers = &hba.registers;
    let (cap, ports) = (registers.get(ahci::CAP)?, registers.get(ahci::PI)?);
    let most = (cap & 0x1f) + 1;
    assert_eq!(ports, ((1u64 << most) - 1) as u32, "PI, with {most} ports");
    assert!(most as usize >= hba.units.len(), "{most} ports");
    // 64-bit addresses, queued commands, AHCI alone, the first generation; 32 slots.
    assert_eq!(cap & !0x1f, 0xc014_1f00, "CAP {cap:#x}");
    assert_eq!(registers.get(ahci::VS)?, 0x1_0000, "VS");
    assert_eq!(registers.get(ahci::IS)?, 0, "IS");
    for register in [ahci::CAP, ahci::PI, ahci::VS] {
        let before = registers.get(register)?;
        registers.set(register, !before)?;
        assert_eq!(registers.get(register)?, before, "{register}, written");
    }
    // What no register is at reads as zero: CCC_CTL to BOHC, which CAP does not promise.
    for at in (0x14..0x100).step_by(4).filter(|at| !(0xa0..0x100).contains(at)) {
        assert_eq!(registers.read32(at)?, 0, "reserved, at {at:#x}");
    }
    Ok(())
}

/// Would catch a port whose registers are not as a reset should leave them, or that does not tell
/// of its device when it is started.
fn hba_enable(hba: &AhciHba, vm: &Rc<Vm>) -> Result<()> {
    hba.reaches_ram()?;
    for (number, unit) in hba.units.iter().enumerate() {
        hba.reset()?;
        let port = Port::prepare(hba, number as u64)?;
        let what = format!("after a reset, with {unit:?}");
        for register in [ahci::PX_IS, ahci::PX_IE, ahci::PX_SCTL, ahci::PX_SERR] {
            port.expect(register, 0, &what)?;
        }
        for register in [ahci::PX_SACT, ahci::PX_CI] {
            port.expect(register, 0, &what)?;
        }
        port.expect(ahci::PX_CMD, ahci::CMD_ON, &what)?;
        let (link, signature) = unit.told();
        port.expect(ahci::PX_SSTS, link, &what)?;
        port.expect(ahci::PX_SIG, ahci::SIG_NONE, &what)?;
        assert_eq!(port.get(ahci::PX_TFD)? & 0xff, ahci::TFD_RESET, "PxTFD, {what}");
        port.set(ahci::PX_CMD, ahci::CMD_ON | ahci::CMD_FRE)?;
        let receiving = ahci::CMD_ON | ahci::CMD_FRE | ahci::CMD_FR;
        port.expect(ahci::PX_CMD, receiving, "receiving")?;
        if *unit == Unit::Empty {
            continue;
        }
        port.expect(ahci::PX_SIG, signature, "received")?;
        port.expect(ahci::PX_IS, ahci::IS_DHRS, "received")?;
        let task = port.get(ahci::PX_TFD)?;
        assert_eq!(task & (ahci::TFD_BUSY | ahci::TFD_ERR), 0, "PxTFD {task:#x}");
        assert_eq!(task >> 8, 1, "PxTFD {task:#x}: the device has passed its diagnostics");
        let fis = port.fis(Fis::Registers)?.expect("the device's registers are received");
        let [count, low, middle, high] = signature.to_le_bytes();
        let status = task as u8;
        assert_eq!(fis[..7], [0x34, 0x40, status, 1, low, middle, high], "the first FIS");
        assert_eq!(fis[8..], [0, 0, 0, 0, count, 0, 0, 0, 0, 0, 0, 0], "the first FIS");
        port.received_only(&[Fis::Registers], "the first FIS")?;
        port.set(ahci::PX_IS, ahci::IS_DHRS)?;
        port.expect(ahci::PX_IS, 0, "cleared")?;
        port.stop()?;
    }
    vm.set_up_ends()
}

/// Would catch registers whose bytes and words are not those of the whole (3: accesses of 8, 16,
/// 32 and 64 bits).
fn widths(hba: &AhciHba, _: &Rc<Vm>) -> Result<()> {
    hba.reset()?;
    let registers = &hba.registers;
    registers.set(ahci::PX_CLB, 0x1234_5400)?;
    registers.set(ahci::PX_CLBU, 0x89ab_cdef)?;
    for at in [0, 4, 0xc, 0x10, 0x100, 0x104, 0x118, 0x120, 0x128] {
        let whole = registers.read32(at)?.to_le_bytes();
        for byte in 0..4 {
            let found = registers.read8(at + byte)?;
            assert_eq!(found, whole[byte as usize], "byte {byte} at {at:#x}");
        }
        for word in [0, 2] {
            let expected = u16::from_le_bytes([whole[word], whole[word + 1]]);
            assert_eq!(registers.read16(at + word as u64)?, expected, "word {word} at {at:#x}");
        }
    }
    for at in [0, 8, 0x100, 0x118, 0x120] {
        let (low, high) = (registers.read32(at)?, registers.read32(at + 4)?);
        let both = u64::from(high) << 32 | u64::from(low);
        assert_eq!(registers.read(at, Width::Quad)?, both, "64 bits at {at:#x}");
    }
    assert_eq!(registers.get(ahci::PX_CLBU)?, 0x89ab_cdef, "PxCLBU");
    Ok(())
}

/// Would catch an index that chooses another register than meant, or data that are not that
/// register (2.4.1, and SATA's capability on PCI).
fn index_data(hba: &AhciHba, _: &Rc<Vm>) -> Result<()> {
    let Some(function) = &hba.function else {
        return Err(crate::Error::skipped("the controller is not on PCI"));
    };
    hba.reset()?;
    let capabilities = function.capabilities()?;
    let at = capabilities.iter().find(|it| it.id == 0x12).expect("a SATA capability").offset;
    // Its revision, and where the pair is: BAR 4, in words of 32 bits from the fourth on.
    assert_eq!(function.config_read16(at + 2)?, 0x10, "SATACR0");
    let place = function.config_read32(at + 4)?;
    assert_eq!(place & 0xf, 4 + 4, "SATACR1 {place:#x}: BAR 4");
    let offset = u64::from(place >> 4) * 4;
    let pair = function.map_bar(4)?;
    for register in [ahci::CAP, ahci::GHC, ahci::PI, ahci::VS, ahci::PX_CMD, ahci::PX_SSTS] {
        pair.write32(offset, register.offset() as u32)?;
        assert_eq!(pair.read32(offset)?, register.offset() as u32, "the index");
        assert_eq!(pair.read32(offset + 4)?, hba.registers.get(register)?, "{register}");
    }
    pair.write32(offset, ahci::PX_FBU.offset() as u32)?;
    pair.write32(offset + 4, 0x1357_9bdf)?;
    assert_eq!(hba.registers.get(ahci::PX_FBU)?, 0x1357_9bdf, "PxFBU by its index");
    // Only bits that number a register stay.
    pair.write32(offset, u32::MAX)?;
    assert_eq!(pair.read32(offset)? & 3, 0, "the index's lower bits");
    for other in (0..0x20).step_by(4).filter(|it| ![offset, offset + 4].contains(it)) {
        assert_eq!(pair.read32(other)?, 0, "offset {other:#x} of BAR 4");
    }
    Ok(())
}

/// Would catch ports without a device that tell of one, or the reverse.
fn ports(hba: &AhciHba, _: &Rc<Vm>) -> Result<()> {
    let _port = Port::start(hba, Unit::Disk)?;
    let count = u64::from(hba.registers.get(ahci::CAP)? & 0x1f) + 1;
    for number in 0..count {
        let unit = hba.units.get(number as usize).unwrap_or(&Unit::Empty);
        let status = hba.registers.get(ahci::PX_SSTS.nth(number, ahci::PORT_STRIDE))?;
        assert_eq!(status, unit.told().0, "PxSSTS of port {number}");
        let signature = hba.registers.get(ahci::PX_SIG.nth(number, ahci::PORT_STRIDE))?;
        let expected = if number == 0 { ahci::SIG_DISK } else { ahci::SIG_NONE };
        assert_eq!(signature, expected, "PxSIG of port {number}");
    }
    Ok(())
}

/// Would catch a command to no device that is done, moves data, or has an effect on another port.
fn absent(hba: &AhciHba, _: &Rc<Vm>) -> Result<()> {
    let disk = Port::start(hba, Unit::Disk)?;
    let port = Port::prepare(hba, hba.port_of(Unit::Empty)?)?;
    port.set(ahci::PX_CMD, ahci::CMD_ON | ahci::CMD_FRE)?;
    port.set(ahci::PX_CMD, ahci::CMD_ON | ahci::CMD_FRE | ahci::CMD_ST)?;
    port.put(3, &Command::new(command::FLUSH_EXT))?;
    port.set(ahci::PX_CI, 1 << 3)?;
    port.expect(ahci::PX_CI, 1 << 3, "with no device")?;
    port.expect(ahci::PX_SSTS, 0, "with no device")?;
    disk.identify(command::IDENTIFY)?;
    port.expect(ahci::PX_CI, 1 << 3, "with no device")?;
    port.stop()?;
    port.expect(ahci::PX_CI, 0, "stopped")
}

/// Would catch a port without a device that receives one's registers (3.3.9).
fn silent(hba: &AhciHba, _: &Rc<Vm>) -> Result<()> {
    hba.reaches_ram()?;
    hba.reset()?;
    let port = Port::prepare(hba, hba.port_of(Unit::Empty)?)?;
    port.set(ahci::PX_CMD, ahci::CMD_ON | ahci::CMD_FRE)?;
    port.expect(ahci::PX_SIG, ahci::SIG_NONE, "with no device")?;
    port.expect(ahci::PX_IS, 0, "with no device")?;
    port.received_only(&[], "with no device")
}

/// Would catch a reset of the controller that leaves a port running, an interrupt, or a mask, or
/// loses where the port's memory is (10.4.3).
fn reset(hba: &AhciHba, vm: &Rc<Vm>) -> Result<()> {
    let port = Port::start(hba, Unit::Disk)?;
    vm.set_up_ends()?;
    for round in 0..2 {
        hba.registers.set(ahci::GHC, ahci::GHC_IE | ahci::GHC_AE)?;
        assert_eq!(hba.registers.get(ahci::GHC)?, ahci::GHC_IE | ahci::GHC_AE, "GHC");
        port.set(ahci::PX_IE, ahci::IS_DHRS)?;
        let end = port.issue(2, &Command::new(command::FLUSH_EXT))?;
        assert_eq!((end.task, end.pending), (ahci::TFD_READY, ahci::IS_DHRS), "a flush");
        assert_eq!(hba.registers.get(ahci::IS)?, 1, "IS, round {round}");
        let places = [ahci::PX_CLB, ahci::PX_CLBU, ahci::PX_FB, ahci::PX_FBU];
        let before = places.map(|it| port.get(it).unwrap_or(!0));
        hba.reset()?;
        assert_eq!(hba.registers.get(ahci::IS)?, 0, "IS after a reset");
        for register in [ahci::PX_IS, ahci::PX_IE, ahci::PX_SERR, ahci::PX_SACT, ahci::PX_CI] {
            port.expect(register, 0, "after a reset")?;
        }
        port.expect(ahci::PX_CMD, ahci::CMD_ON, "after a reset")?;
        port.expect(ahci::PX_SIG, ahci::SIG_NONE, "after a reset")?;
        assert_eq!(places.map(|it| port.get(it).unwrap_or(!0)), before, "the port's memory");
        port.resume()?;
        port.expect(ahci::PX_SIG, ahci::SIG_DISK, "started again")?;
        port.identify(command::IDENTIFY)?;
    }
    Ok(())
}

/// Would catch a reset of the link (10.4.2: PxSCTL.DET to 1 and back) after which the device does
/// not tell its signature, or commands stay.
fn reset_port(hba: &AhciHba, _: &Rc<Vm>) -> Result<()> {
    for unit in hba.units.iter().filter(|unit| **unit != Unit::Empty) {
        let port = Port::start(hba, *unit)?;
        let what = format!("the link of {unit:?} is reset");
        port.set(ahci::PX_CMD, ahci::CMD_ON | ahci::CMD_FRE)?;
        port.set(ahci::PX_IS, !0)?;
        port.forget()?;
        port.set(ahci::PX_SCTL, 1)?;
        port.expect(ahci::PX_SCTL, 1, &what)?;
        port.expect(ahci::PX_IS, 0, &what)?;
        port.set(ahci::PX_SCTL, 0)?;
        port.expect(ahci::PX_SCTL, 0, &what)?;
        port.expect(ahci::PX_SSTS, ahci::SSTS_DEVICE, &what)?;
        port.expect(ahci::PX_SIG, unit.told().1, &what)?;
        port.expect(ahci::PX_CI, 0, &what)?;
        port.expect(ahci::PX_SACT, 0, &what)?;
        let task = port.get(ahci::PX_TFD)?;
        assert_eq!(task & (ahci::TFD_BUSY | ahci::TFD_ERR), 0, "PxTFD {task:#x}, {what}");
        assert_eq!(task >> 8, 1, "PxTFD {task:#x}, {what}");
        let fis = port.fis(Fis::Registers)?.expect("the device's registers are received");
        assert_eq!(fis[..4], [0x34, 0x40, task as u8, 1], "the first FIS, {what}");
        port.resume()?;
    }
    Port::start(hba, Unit::Disk)?.identify(command::IDENTIFY).map(drop)
}

/// Would catch a reset of the device by two FISes (10.4.1) after which it does not tell its
/// signature, or whose first one is not done.
fn reset_device(hba: &AhciHba, _: &Rc<Vm>) -> Result<()> {
    for unit in [Unit::Disk, Unit::CdRom].into_iter().filter(|unit| hba.port_of(*unit).is_ok()) {
        let port = Port::start(hba, unit)?;
        let what = format!("the device {unit:?} is reset");
        let mut fis = [0; 20];
        (fis[0], fis[15]) = (0x27, 4);
        // Reset, and clear what is busy once it is received, for no answer comes.
        port.put_raw(0, &fis, 1 << 8 | 1 << 10, &[])?;
        fis[15] = 0;
        port.put_raw(1, &fis, 0, &[])?;
        port.forget()?;
        port.set(ahci::PX_CI, 1)?;
        port.expect(ahci::PX_CI, 0, &what)?;
        port.received_only(&[], &what)?;
        port.set(ahci::PX_CI, 2)?;
        port.expect(ahci::PX_CI, 0, &what)?;
        port.expect(ahci::PX_SIG, unit.told().1, &what)?;
        port.expect(ahci::PX_IS, ahci::IS_DHRS, &what)?;
        let fis = port.fis(Fis::Registers)?.expect("the device's registers are received");
        assert_eq!((fis[0], fis[3]), (0x34, 1), "the first FIS, {what}: {fis:02x?}");
        port.resume()?;
        if unit == Unit::Disk {
            port.identify(command::IDENTIFY)?;
        }
    }
    Ok(())
}

/// Would catch a disk that says after a reset that it is not ready, or at fault (ATA8-ACS,
/// 6.3: the status after a reset that went well).
fn reset_status(hba: &AhciHba, _: &Rc<Vm>) -> Result<()> {
    let port = Port::start(hba, Unit::Disk)?;
    // The bit of a seek is obsolete.
    let task = port.get(ahci::PX_TFD)? & !0x10;
    assert_eq!(task, 0x0140, "PxTFD: ready, diagnostics passed");
    Ok(())
}

/// Would catch commands that stay in a port that is stopped, are taken by one that is, or are not
/// taken by one that is started again (3.3.14, 10.3).
fn restart(hba: &AhciHba, vm: &Rc<Vm>) -> Result<()> {
    let port = Port::start(hba, Unit::Disk)?;
    vm.set_up_ends()?;
    for round in 0..2 {
        port.stop()?;
        port.put(5, &Command::new(command::FLUSH_EXT))?;
        port.forget()?;
        port.set(ahci::PX_CMD, ahci::CMD_ON | ahci::CMD_FRE)?;
        port.expect(ahci::PX_IS, 0, "receiving again")?;
        port.received_only(&[], "receiving again")?;
        port.set(ahci::PX_CMD, ahci::CMD_ON | ahci::CMD_FRE | ahci::CMD_ST)?;
        let all = ahci::CMD_ON | ahci::CMD_FRE | ahci::CMD_ST | ahci::CMD_RUNNING;
        port.expect(ahci::PX_CMD, all, "started")?;
        let end = port.issue(5, &Command::new(command::FLUSH_EXT))?;
        assert_eq!(end.task, ahci::TFD_READY, "round {round}");
        port.resume()?;
        let status = port.get(ahci::PX_TFD)?;
        assert_eq!(status, ahci::TFD_READY, "PxTFD of a port that was stopped");
    }
    Ok(())
}

/// Would catch an interrupt of a port that its mask does not hold back, one whose bit is not
/// cleared by a one, or is by a zero (3.3.5, 3.3.6, 10.7).
fn masks(hba: &AhciHba, vm: &Rc<Vm>) -> Result<()> {
    let unit = if hba.units.len() > 2 { Unit::Broken } else { Unit::Disk };
    let port = Port::start(hba, unit)?;
    vm.set_up_ends()?;
    let bit = 1 << port.number;
    let raise = || -> Result<()> {
        let end = port.issue(0, &Command::new(command::FLUSH_EXT))?;
        assert_eq!(end.pending, ahci::IS_DHRS, "PxIS after a flush");
        Ok(())
    };
    hba.registers.set(ahci::IS, !0)?;
    for mask in [0, !ahci::IS_DHRS, ahci::IS_DHRS, !0] {
        port.set(ahci::PX_IE, mask)?;
        port.expect(ahci::PX_IE, mask & 0xfdc0_00ff, "written")?;
        raise()?;
        let expected = if mask & ahci::IS_DHRS == 0 { 0 } else { bit };
        assert_eq!(hba.registers.get(ahci::IS)?, expected, "IS with PxIE {mask:#x}");
        // With the interrupt still pending in the port, it is so in the controller.
        port.set(ahci::PX_IS, 0)?;
        port.set(ahci::PX_IS, !ahci::IS_DHRS)?;
        port.expect(ahci::PX_IS, ahci::IS_DHRS, "cleared by nothing")?;
        assert_eq!(hba.registers.get(ahci::IS)?, expected, "IS with PxIE {mask:#x}");
        port.set(ahci::PX_IS, ahci::IS_DHRS)?;
        port.expect(ahci::PX_IS, 0, "cleared")?;
        hba.registers.set(ahci::IS, bit)?;
        assert_eq!(hba.registers.get(ahci::IS)?, 0, "IS, cleared");
    }
    // A mask that is opened lets through what is pending.
    port.set(ahci::PX_IE, 0)?;
    raise()?;
    assert_eq!(hba.registers.get(ahci::IS)?, 0, "IS, masked");
    port.set(ahci::PX_IE, ahci::IS_DHRS)?;
    assert_eq!(hba.registers.get(ahci::IS)?, bit, "IS, the mask opened");
    Ok(())
}

/// Would catch an interrupt that does not reach the machine's interrupt controller, stays there,
/// or does although GHC.IE holds it back.
fn line(hba: &AhciHba, vm: &Rc<Vm>) -> Result<()> {
    let port = Port::start(hba, Unit::Disk)?;
    let registers = &hba.registers;
    registers.set(ahci::IS, !0)?;
    port.set(ahci::PX_IE, ahci::IS_DHRS)?;
    let enable = |is_on: bool| {
        let bit = if is_on { ahci::GHC_IE } else { 0 };
        registers.set(ahci::GHC, bit | ahci::GHC_AE)
    };
    let raise = || port.issue(0, &Command::new(command::FLUSH_EXT)).map(drop);
    let lower = || -> Result<()> {
        port.set(ahci::PX_IS, !0)?;
        registers.set(ahci::IS, !0)
    };
    if let Some(function) = &hba.function {
        raise()?;
        assert!(!function.asserts_interrupt()?, "Interrupt Status with GHC.IE clear");
        enable(true)?;
        assert!(function.asserts_interrupt()?, "Interrupt Status with GHC.IE set");
        enable(false)?;
        assert!(!function.asserts_interrupt()?, "Interrupt Status with GHC.IE clear again");
        lower()?;
        enable(true)?;
        return intx::check(function, vm, raise, lower);
    }
    let Some(pin) = &hba.pin else {
        return Err(crate::Error::skipped("nobody can watch where the interrupt line ends"));
    };
    let line = pin.watch(vm)?;
    for round in 0..2 {
        raise()?;
        assert!(!line.is_high()?, "the line with GHC.IE clear, round {round}");
        enable(true)?;
        assert!(line.is_high()?, "the line with GHC.IE set, round {round}");
        lower()?;
        assert!(!line.is_high()?, "the line, lowered, round {round}");
        enable(false)?;
    }
    Ok(())
}

/// Would catch a FIS of another kind, for a port multiplier, or with reserved bits, that is taken
/// for a command.
fn reserved_fis(hba: &AhciHba, _: &Rc<Vm>) -> Result<()> {
    let port = Port::start(hba, Unit::Disk)?;
    let good = Command::new(command::IDENTIFY).fis();
    for (at, value) in [(0, 0x34), (0, 0), (1, 0x81), (1, 0x8f), (1, 0x90), (1, 0xc0)] {
        let mut fis = good;
        fis[at] = value;
        let what = format!("byte {at} of the FIS {value:#x}");
        port.put_raw(4, &fis, 0, &[])?;
        port.forget()?;
        port.set(ahci::PX_CI, 1 << 4)?;
        port.expect(ahci::PX_SACT, 0, &what)?;
        port.received_only(&[], &what)?;
        port.expect(ahci::PX_IS, 0, &what)?;
        port.resume()?;
        port.identify(command::IDENTIFY)?;
    }
    Ok(())
}
