//! Errors behind an AHCI controller: of the disk, reported or stopping the machine; of the memory,
//! which is not there or is the controller itself; resets with commands under way (Serial ATA
//! AHCI Specification 1.3.1, 6).

use std::rc::Rc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::qemu::Vm;
use crate::qos::ahci::ata::{READ_QUEUED, WRITE_QUEUED};
use crate::qos::ahci::command::Command;
use crate::qos::ahci::port::{Fis, Port};
use crate::qos::ahci::{self as ahci, AhciHba, SECTOR, STOPPING_SECTOR, Unit};
use crate::qos::block::Piece;
use crate::qos::ide::{ERROR_ABORT, command};
use crate::qos::{wait_event, wait_until};
use crate::{Result, tests};

tests!(AhciHba, "ahci":
    reported = "error/reported",
    behind = "error/commands-behind",
    dma_retry = "io/dma/lba28/retry",
    pio_retry = "io/pio/lba28/retry",
    ncq_retry = "io/ncq/retry",
    flush_retry = "flush/retry",
    reset_stopped = "reset/stopped",
    reset_pending = "reset/pending_callback",
    stop_pending = "reset/port-with-a-write",
    restart_pending = "reset/port-started-again",
    no_list = "memory/no-list",
    no_received = "memory/no-received",
    no_table = "memory/no-table",
    nowhere = "memory/nowhere",
    itself = "memory/itself",
);

/// An address at which no machine has anything.
const NOWHERE: u64 = 0x7fff_ff00_0000;

/// Would catch an error of the disk that is not told, or is told with other bits.
fn reported(hba: &AhciHba, vm: &Rc<Vm>) -> Result<()> {
    let port = Port::start(hba, Unit::Broken)?;
    let memory = vm.ram().alloc(4 * SECTOR, 2)?;
    let pieces = [Piece::whole(&memory)];
    for (code, writes) in [
        (command::READ_DMA, false),
        (command::READ, false),
        (command::WRITE_DMA, true),
        (command::WRITE, true),
    ] {
        // The third of four sectors.
        let command = Command::short(code, ahci::BROKEN_BOTH - 2, 4);
        let command = if writes { command.from(&pieces) } else { command.into(&pieces) };
        for _ in 0..2 {
            let error = port.run(&command, &format!("command {code:#x} at a broken sector"))?;
            assert_eq!(error, Some(ERROR_ABORT), "command {code:#x} at a broken sector");
            port.identify(command::IDENTIFY)?;
        }
    }
    Ok(())
}

/// Would catch commands behind one that fails which are taken before the port is recovered
/// (6.2.2: nothing is taken while PxTFD shows an error).
fn behind(hba: &AhciHba, vm: &Rc<Vm>) -> Result<()> {
    let port = Port::start(hba, Unit::Broken)?;
    let memory = vm.ram().alloc(3 * SECTOR, 2)?;
    let piece = |at: usize| [Piece::of(&memory, at * SECTOR, SECTOR)];
    let read = |first: u64| Command::short(command::READ_DMA, first, 1);
    memory.write(0, &[0xa5; 3 * SECTOR])?;
    port.put(0, &read(1).into(&piece(0)))?;
    port.put(1, &read(ahci::BROKEN_BOTH).into(&piece(1)))?;
    port.put(2, &read(2).into(&piece(2)))?;
    port.set(ahci::PX_CI, 7)?;
    wait_until(vm, "a command to fail", || Ok(port.get(ahci::PX_IS)? & ahci::IS_TFES != 0))?;
    port.expect(ahci::PX_CI, 6, "one has failed")?;
    let expected = [vec![0; SECTOR], vec![0xa5; 2 * SECTOR]].concat();
    assert!(memory.to_vec()? == expected, "memory of three commands, the second failed");
    port.resume()?;
    port.put(2, &read(2).into(&piece(2)))?;
    port.set(ahci::PX_CI, 4)?;
    wait_until(vm, "the third command", || Ok(port.get(ahci::PX_CI)? == 0))?;
    port.expect(ahci::PX_TFD, ahci::TFD_READY, "the third command")?;
    port.resume()
}

/// The port of the disk whose errors stop the machine.
fn stopping(hba: &AhciHba, vm: &Rc<Vm>) -> Result<Port> {
    let port = Port::start(hba, Unit::Stopping)?;
    vm.note_lasting("an error that comes once");
    Ok(port)
}

/// Waits until the machine stops for an error of the disk.
fn stopped(vm: &Vm, operation: &str) -> Result<()> {
    let event = wait_event(vm, "BLOCK_IO_ERROR")?;
    assert_eq!(event.data["action"], "stop", "{:?}", event.data);
    assert_eq!(event.data["operation"], operation, "{:?}", event.data);
    wait_event(vm, "STOP")?;
    let status = vm.qmp().execute("query-status", Value::Null)?;
    assert_eq!(status["status"], "io-error", "{status}");
    Ok(())
}

/// Lets the machine go on.
fn go_on(vm: &Vm) -> Result<()> {
    vm.qmp().execute("cont", json!({}))?;
    wait_event(vm, "RESUME").map(drop)
}

/// Has a command stop the machine, and then done when that goes on.
fn retry(hba: &AhciHba, vm: &Rc<Vm>, code: u8, writes: bool) -> Result<()> {
    let port = stopping(hba, vm)?;
    let memory = vm.ram().alloc(2 * SECTOR, 2)?;
    memory.write(0, &[0xa5; 2 * SECTOR])?;
    let pieces = [Piece::whole(&memory)];
    let command = Command::short(code, STOPPING_SECTOR, 2);
    let command = if writes { command.from(&pieces) } else { command.into(&pieces) };
    port.put(3, &command)?;
    port.forget()?;
    port.set(ahci::PX_CI, 1 << 3)?;
    stopped(vm, if writes { "write" } else { "read" })?;
    port.expect(ahci::PX_CI, 1 << 3, "stopped")?;
    assert_eq!(port.fis(Fis::Registers)?, None, "registers while stopped");
    go_on(vm)?;
    wait_until(vm, "the command, done again", || Ok(port.get(ahci::PX_CI)? == 0))?;
    port.expect(ahci::PX_TFD, ahci::TFD_READY, "done again")?;
    let pending = port.get(ahci::PX_IS)?;
    assert_eq!(pending & !ahci::IS_PSS, ahci::IS_DHRS, "PxIS, done again");
    assert_eq!(port.moved(3)?, 2 * SECTOR, "bytes moved");
    let expected = if writes { 0xa5 } else { 0 };
    assert!(memory.to_vec()? == [expected; 2 * SECTOR], "memory");
    port.resume()?;
    port.identify(command::IDENTIFY).map(drop)
}

/// Would catch DMA that is not done again, or twice, when the machine goes on after an error.
fn dma_retry(hba: &AhciHba, vm: &Rc<Vm>) -> Result<()> {
    retry(hba, vm, command::READ_DMA, false)?;
    retry(hba, vm, command::WRITE_DMA, true)
}

/// Would catch PIO that is not done again, or twice, when the machine goes on after an error.
fn pio_retry(hba: &AhciHba, vm: &Rc<Vm>) -> Result<()> {
    retry(hba, vm, command::READ, false)?;
    retry(hba, vm, command::WRITE, true)
}

/// Would catch a queued command that is not done again, or another that is lost, when the machine
/// goes on after an error.
fn ncq_retry(hba: &AhciHba, vm: &Rc<Vm>) -> Result<()> {
    let port = stopping(hba, vm)?;
    port.good(&Command::new(command::CHECK_POWER), "a command without data")?;
    let memory = vm.ram().alloc(2 * SECTOR, 2)?;
    let pieces = [Piece::of(&memory, 0, SECTOR)];
    for (code, operation) in [(READ_QUEUED, "read"), (WRITE_QUEUED, "write")] {
        memory.write(0, &[0xa5; 2 * SECTOR])?;
        let command = Command::queued(code, 17, STOPPING_SECTOR, 1);
        let is_write = code == WRITE_QUEUED;
        port.put(17, &if is_write { command.from(&pieces) } else { command.into(&pieces) })?;
        port.set(ahci::PX_SACT, 1 << 17)?;
        port.set(ahci::PX_CI, 1 << 17)?;
        stopped(vm, operation)?;
        port.expect(ahci::PX_SACT, 1 << 17, "stopped")?;
        port.expect(ahci::PX_IS, 0, "stopped")?;
        go_on(vm)?;
        wait_until(vm, "the command, done again", || Ok(port.get(ahci::PX_SACT)? == 0))?;
        port.expect(ahci::PX_IS, ahci::IS_SDBS, "done again")?;
        port.expect(ahci::PX_TFD, ahci::TFD_READY, "done again")?;
        let expected = if is_write { 0xa5 } else { 0 };
        let found = memory.to_vec()?;
        assert!(found[..SECTOR] == [expected; SECTOR], "memory of {operation}");
        assert!(found[SECTOR..] == [0xa5; SECTOR], "memory behind that of {operation}");
        port.set(ahci::PX_IS, !0)?;
    }
    Ok(())
}

/// Would catch a flush that fails and is reported as done, or is not done again.
fn flush_retry(hba: &AhciHba, vm: &Rc<Vm>) -> Result<()> {
    let port = stopping(hba, vm)?;
    let memory = vm.ram().alloc(SECTOR, 2)?;
    let pieces = [Piece::whole(&memory)];
    port.good(&Command::short(command::WRITE_DMA, 1, 1).from(&pieces), "a write to be kept")?;
    port.put(0, &Command::new(command::FLUSH_EXT))?;
    port.set(ahci::PX_CI, 1)?;
    stopped(vm, "write")?;
    port.expect(ahci::PX_CI, 1, "stopped")?;
    port.expect(ahci::PX_IS, 0, "stopped")?;
    go_on(vm)?;
    wait_until(vm, "the flush, done again", || Ok(port.get(ahci::PX_CI)? == 0))?;
    port.expect(ahci::PX_TFD, ahci::TFD_READY, "done again")?;
    port.expect(ahci::PX_IS, ahci::IS_DHRS, "done again")
}

/// Would catch a command that is done again although the machine was reset while it stood.
fn reset_stopped(hba: &AhciHba, vm: &Rc<Vm>) -> Result<()> {
    let port = stopping(hba, vm)?;
    let memory = vm.ram().alloc(SECTOR, 2)?;
    memory.write(0, &[0xa5; SECTOR])?;
    let pieces = [Piece::whole(&memory)];
    let command = Command::short(command::READ_DMA, STOPPING_SECTOR, 1);
    port.put(0, &command.into(&pieces))?;
    port.set(ahci::PX_CI, 1)?;
    stopped(vm, "read")?;
    vm.qmp().execute("system_reset", json!({}))?;
    wait_event(vm, "RESET")?;
    go_on(vm)?;
    assert!(memory.to_vec()? == [0xa5; SECTOR], "memory of a command before a reset");
    let hba = (hba.again)()?;
    let port = Port::start(&hba, Unit::Stopping)?;
    port.good(&command.into(&pieces), "the command after a reset")?;
    assert!(memory.to_vec()? == [0; SECTOR], "memory of the command after a reset");
    Ok(())
}

/// Would catch a reset of the controller or of a port with a write under way that ends the
/// emulator, or leaves the port busy.
fn reset_pending(hba: &AhciHba, vm: &Rc<Vm>) -> Result<()> {
    let port = Port::start(hba, Unit::Slow)?;
    let memory = vm.ram().alloc(SECTOR, 2)?;
    let pieces = [Piece::whole(&memory)];
    for (round, code) in
        [command::WRITE_DMA, command::WRITE, command::WRITE_DMA, command::WRITE].iter().enumerate()
    {
        let command = Command::short(*code, 5, 1).from(&pieces);
        port.good(&command, "a write that is done at once, or waited for")?;
        port.put(0, &command)?;
        port.set(ahci::PX_CI, 1)?;
        port.expect(ahci::PX_CI, 1, "a write under way")?;
        port.expect(ahci::PX_IS, 0, "a write under way")?;
        if round < 2 {
            hba.reset()?;
        } else {
            port.stop()?;
            port.set(ahci::PX_SCTL, 1)?;
            port.set(ahci::PX_SCTL, 0)?;
        }
        port.expect(ahci::PX_CI, 0, "after a reset")?;
        port.resume()?;
        port.identify(command::IDENTIFY)?;
        vm.qtest().clock_step(Some(Duration::from_secs(5)))?;
        port.expect(ahci::PX_IS, 0, "what was under way does not end")?;
    }
    Ok(())
}

/// Would catch a port that is stopped with a write under way and ends the emulator, or shows its
/// command when it is started again.
fn stop_pending(hba: &AhciHba, vm: &Rc<Vm>) -> Result<()> {
    let port = Port::start(hba, Unit::Slow)?;
    let memory = vm.ram().alloc(SECTOR, 2)?;
    let pieces = [Piece::whole(&memory)];
    let command = Command::short(command::WRITE_DMA, 5, 1).from(&pieces);
    port.good(&command, "a write that is done at once")?;
    port.put(0, &command)?;
    port.set(ahci::PX_CI, 1)?;
    port.expect(ahci::PX_CI, 1, "a write under way")?;
    port.stop()?;
    port.expect(ahci::PX_CI, 0, "stopped")?;
    vm.qtest().clock_step(Some(Duration::from_secs(5)))?;
    hba.reset()?;
    port.resume()?;
    port.identify(command::IDENTIFY).map(drop)
}

/// Would catch a port that is stopped and started again with a command under way, whose end ends
/// the emulator.
fn restart_pending(hba: &AhciHba, vm: &Rc<Vm>) -> Result<()> {
    let port = Port::start(hba, Unit::Slow)?;
    let memory = vm.ram().alloc(2 * SECTOR, 2)?;
    let pieces = [Piece::whole(&memory)];
    let command = Command::short(command::WRITE_DMA, 5, 2).from(&pieces);
    port.good(&command, "a write that is done at once")?;
    port.put(0, &command)?;
    port.set(ahci::PX_CI, 1)?;
    port.expect(ahci::PX_CI, 1, "a write under way")?;
    port.stop()?;
    port.set(ahci::PX_CMD, ahci::CMD_ON | ahci::CMD_FRE)?;
    port.set(ahci::PX_CMD, ahci::CMD_ON | ahci::CMD_FRE | ahci::CMD_ST)?;
    vm.qtest().clock_step(Some(Duration::from_secs(5)))?;
    hba.reset()?;
    port.resume()?;
    port.identify(command::IDENTIFY).map(drop)
}

/// Places the port's memory somewhere odd, and has a command issued; whatever comes of that, the
/// port is of use afterwards.
fn odd(hba: &AhciHba, what: &str, list: Option<u64>, received: Option<u64>) -> Result<Port> {
    hba.reset()?;
    let port = Port::prepare(hba, 0)?;
    port.put(0, &Command::new(command::FLUSH_EXT))?;
    let places = [ahci::PX_CLB, ahci::PX_FB].map(|it| port.get(it));
    let [own_list, own_received] = places;
    port.place(list.unwrap_or(own_list?.into()), received.unwrap_or(own_received?.into()))?;
    port.set(ahci::PX_CMD, ahci::CMD_ON | ahci::CMD_FRE)?;
    port.set(ahci::PX_CMD, ahci::CMD_ON | ahci::CMD_FRE | ahci::CMD_ST)?;
    port.set(ahci::PX_CI, 1)?;
    let state = port.get(ahci::PX_CMD)?;
    assert_eq!(state & ahci::CMD_ON, ahci::CMD_ON, "PxCMD {state:#x}, {what}");
    Ok(port)
}

/// Puts the port's memory where it belongs, and has a command done.
fn recovered(hba: &AhciHba, port: &Port) -> Result<()> {
    port.set(ahci::PX_CMD, ahci::CMD_ON)?;
    hba.reset()?;
    port.place_own()?;
    port.resume()?;
    port.identify(command::IDENTIFY).map(drop)
}

/// Where the controller's own registers are in memory, if they are.
fn own_registers(hba: &AhciHba) -> Option<u64> {
    let function = hba.function.as_ref()?;
    Some(u64::from(function.config_read32(0x24).ok()? & !0xf))
}

/// Would catch a list of commands that is not in RAM and is used all the same, or ends the
/// emulator.
fn no_list(hba: &AhciHba, _: &Rc<Vm>) -> Result<()> {
    hba.reaches_ram()?;
    for list in [NOWHERE].into_iter().chain(own_registers(hba)) {
        let port = odd(hba, "no list", Some(list), None)?;
        port.expect(ahci::PX_IS, ahci::IS_DHRS, "no list: the first FIS alone")?;
        recovered(hba, &port)?;
    }
    Ok(())
}

/// Would catch what is received that is written where there is no RAM, or ends the emulator.
fn no_received(hba: &AhciHba, _: &Rc<Vm>) -> Result<()> {
    hba.reaches_ram()?;
    for received in [NOWHERE].into_iter().chain(own_registers(hba)) {
        let port = odd(hba, "nothing to receive into", None, Some(received))?;
        port.received_only(&[], "what is received elsewhere")?;
        recovered(hba, &port)?;
    }
    Ok(())
}

/// Would catch a command whose table is not in RAM that is done all the same, or ends the
/// emulator.
fn no_table(hba: &AhciHba, _: &Rc<Vm>) -> Result<()> {
    for table in [NOWHERE].into_iter().chain(own_registers(hba)) {
        let port = Port::start(hba, Unit::Disk)?;
        port.forget()?;
        port.header(0, 5, table)?;
        port.set(ahci::PX_CI, 1)?;
        port.get(ahci::PX_CI)?;
        port.received_only(&[], "no table")?;
        recovered(hba, &port)?;
    }
    Ok(())
}

/// Would catch data to where nothing is that end the emulator, or after which the port is of no
/// use.
fn nowhere(hba: &AhciHba, _: &Rc<Vm>) -> Result<()> {
    for code in [command::READ_DMA, command::READ, command::WRITE_DMA, command::WRITE] {
        let port = Port::start(hba, Unit::Disk)?;
        let pieces = [Piece { address: NOWHERE, length: 4 * SECTOR }];
        let command = Command::short(code, 12, 4);
        let writes = [command::WRITE_DMA, command::WRITE].contains(&code);
        port.put(0, &if writes { command.from(&pieces) } else { command.into(&pieces) })?;
        port.set(ahci::PX_CI, 1)?;
        wait_until(&port.vm, "a command with memory that is not there", || {
            Ok(port.get(ahci::PX_CI)? == 0 || port.get(ahci::PX_IS)? & ahci::IS_TFES != 0)
        })?;
        recovered(hba, &port)?;
    }
    Ok(())
}

/// Would catch data that go into the controller's own registers and end the emulator: PxCI of the
/// port at work, and global host control with its reset.
fn itself(hba: &AhciHba, vm: &Rc<Vm>) -> Result<()> {
    let Some(own) = own_registers(hba) else {
        return Err(crate::Error::skipped("the controller is not on PCI"));
    };
    let ones = vec![0xff; 4 * SECTOR];
    vm.write_image(crate::qos::block::DISK.name, 0, &ones)?;
    vm.hurry();
    for at in [0, 0x100, 0x118, 0x138] {
        for code in [command::READ_DMA, command::READ] {
            let port = Port::start(hba, Unit::Disk)?;
            let pieces = [Piece { address: own + at, length: SECTOR }];
            port.put(0, &Command::short(code, 0, 1).into(&pieces))?;
            port.set(ahci::PX_CI, 1)?;
            port.get(ahci::PX_CI)?;
            recovered(hba, &port)?;
        }
        let port = Port::start(hba, Unit::Disk)?;
        let pieces = [Piece { address: own + at, length: SECTOR }];
        port.put(0, &Command::queued(READ_QUEUED, 0, 0, 1).into(&pieces))?;
        port.set(ahci::PX_SACT, 1)?;
        port.set(ahci::PX_CI, 1)?;
        port.get(ahci::PX_CI)?;
        recovered(hba, &port)?;
    }
    Ok(())
}
