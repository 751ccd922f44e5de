//! SCSI host adapters of every kind, when something happens: a reset or an abort in the middle of
//! a command, a unit that comes or goes, a medium that does.

use std::rc::Rc;

use serde_json::json;

use super::hba::{Started, assert_same, sense};
use crate::qemu::Vm;
use crate::qos::scsi::cdb::{self, BLOCK};
use crate::qos::scsi::{Answer, CDROM, CHECK_CONDITION, DISK, Data, Reach, SLOW, ScsiHba};
use crate::qos::wait_event;
use crate::{Result, attacks, tests};

tests!(dyn ScsiHba, "scsi-hba-events":
    reset_in_flight = "reset-in-flight",
    abort_in_flight = "abort-in-flight",
    restart_in_flight = "restart-in-flight",
    hotplug,
    medium,
);
attacks!(dyn ScsiHba, "scsi-hba-attacks": reset_in_flight = "reset-in-flight", abort_in_flight = "abort-in-flight");

/// What a unit tells of its reset.
const WAS_RESET: (u8, u8, u8) = (6, 0x29, 0);
/// There is no medium.
const NO_MEDIUM: (u8, u8, u8) = (2, 0x3a, 0);
/// The medium has gone.
const MEDIUM_GONE: (u8, u8, u8) = (6, 0x3a, 0);
/// A medium has come.
const NEW_MEDIUM: (u8, u8, u8) = (6, 0x28, 0);

/// Would catch a reset that leaves a command under way, that comes back or writes to memory later,
/// resets other units as well, or after which the unit is of no use.
fn reset_in_flight(hba: &dyn ScsiHba, vm: &Rc<Vm>) -> Result<()> {
    let started = Started::new(hba, vm)?;
    for seed in 0..3 {
        hba.begin(SLOW, &cdb::transfer(10, false, 0, 4), Data::In(4 * BLOCK))?;
        hba.reset(SLOW)?;
        started.refused(SLOW, &cdb::TEST_UNIT_READY, Data::None, WAS_RESET)?;
        started.good(SLOW, &cdb::TEST_UNIT_READY, Data::None)?;
        if started.profile.reset == Some(Reach::Bus) {
            started.refused(DISK, &cdb::TEST_UNIT_READY, Data::None, WAS_RESET)?;
        }
        started.works(seed)?;
        let read = started.good(SLOW, &cdb::transfer(10, false, 9, 1), Data::In(BLOCK))?;
        assert_same(&read, &[0; BLOCK], "the disk after its reset");
    }
    Ok(())
}

/// Would catch an abort that does not give the command back, or gives it back twice, so that later
/// ones are taken for it.
fn abort_in_flight(hba: &dyn ScsiHba, vm: &Rc<Vm>) -> Result<()> {
    let started = Started::new(hba, vm)?;
    for seed in 0..3 {
        hba.begin(SLOW, &cdb::transfer(10, false, 0, 4), Data::In(4 * BLOCK))?;
        match hba.abort()? {
            // It was done before the abort came.
            Answer::Aborted | Answer::Replied(_) => {}
            other => panic!("an aborted command: {other:?}"),
        }
        started.settle(SLOW)?;
        started.works(seed)?;
        let read = started.good(SLOW, &cdb::transfer(10, false, 9, 1), Data::In(BLOCK))?;
        assert_same(&read, &[0; BLOCK], "the disk after the abort");
    }
    Ok(())
}

/// Would catch an adapter that is reset while a command is under way and does not forget it.
fn restart_in_flight(hba: &dyn ScsiHba, vm: &Rc<Vm>) -> Result<()> {
    for seed in 0..3 {
        Started::new(hba, vm)?;
        hba.begin(SLOW, &cdb::transfer(10, false, 0, 4), Data::In(4 * BLOCK))?;
        let again = Started::new(hba, vm)?;
        again.works(seed)?;
        let read = again.good(SLOW, &cdb::transfer(10, false, 9, 1), Data::In(BLOCK))?;
        assert_same(&read, &[0; BLOCK], "the disk after the adapter's reset");
    }
    Ok(())
}

/// Would catch a unit that is not there when it was plugged in, or still is when it is gone.
fn hotplug(hba: &dyn ScsiHba, vm: &Rc<Vm>) -> Result<()> {
    let started = Started::new(hba, vm)?;
    let spare = started.profile.units.spare;
    let disk = json!({ "driver": "null-co", "node-name": "hot-node", "read-zeroes": true,
        "size": 1 << 20 });
    vm.qmp().execute("blockdev-add", disk)?;
    for seed in 0..2 {
        let absent = hba.send(spare, &cdb::inquiry(36), Data::In(36))?;
        assert_eq!(absent, Answer::Absent, "before it comes");
        let new = json!({ "driver": "scsi-hd", "id": "hot", "bus": "scsi0.0",
            "drive": "hot-node", "scsi-id": spare.target, "lun": spare.lun });
        vm.qmp().execute("device_add", new)?;
        started.settle(spare)?;
        let last = (1u32 << 20) / BLOCK as u32 - 1;
        let capacity = started.good(spare, &cdb::READ_CAPACITY_10, Data::In(8))?;
        assert_eq!(capacity[..4], last.to_be_bytes(), "the new unit's last block");
        let read = started.good(spare, &cdb::transfer(10, false, 2, 1), Data::In(BLOCK))?;
        assert_same(&read, &[0; BLOCK], "the new unit");
        vm.qmp().execute("device_del", json!({ "id": "hot" }))?;
        wait_event(vm, "DEVICE_DELETED")?;
        let absent = hba.send(spare, &cdb::inquiry(36), Data::In(36))?;
        assert_eq!(absent, Answer::Absent, "when it is gone");
        started.settle(DISK)?;
        started.works(seed)?;
    }
    Ok(())
}

/// Would catch a tray that opens or closes without the driver being told, a medium that can be
/// read when it is out, and one that was locked in and comes out (MMC-5, 6.42; SPC-4, 6.18).
fn medium(hba: &dyn ScsiHba, vm: &Rc<Vm>) -> Result<()> {
    let started = Started::new(hba, vm)?;
    let start_stop = |how: u8| [0x1b, 0, 0, 0, how, 0];
    let tray = |is_open: bool| -> Result<()> {
        let event = wait_event(vm, "DEVICE_TRAY_MOVED")?;
        assert_eq!(event.data["tray-open"], is_open, "DEVICE_TRAY_MOVED");
        Ok(())
    };
    // Locked, the guest cannot open it.
    started.good(CDROM, &[0x1e, 0, 0, 0, 1, 0], Data::None)?;
    started.refused(CDROM, &start_stop(2), Data::None, (5, 0x53, 2))?;
    started.good(CDROM, &[0x1e, 0, 0, 0, 0, 0], Data::None)?;
    for _ in 0..2 {
        started.good(CDROM, &start_stop(2), Data::None)?;
        tray(true)?;
        started.refused(CDROM, &cdb::TEST_UNIT_READY, Data::None, NO_MEDIUM)?;
        let cdb = cdb::transfer(10, false, 0, 1);
        started.refused(CDROM, &cdb, Data::In(2048), NO_MEDIUM)?;
        started.good(CDROM, &start_stop(3), Data::None)?;
        tray(false)?;
        started.settle(CDROM)?;
        let read = started.good(CDROM, &cdb, Data::In(2048))?;
        assert_same(&read, &[0; 2048], "the medium");
    }
    // The user takes it out, and puts it in again.
    vm.qmp().execute("blockdev-open-tray", json!({ "id": "cd", "force": true }))?;
    tray(true)?;
    started.refused(CDROM, &cdb::TEST_UNIT_READY, Data::None, MEDIUM_GONE)?;
    started.refused(CDROM, &cdb::READ_CAPACITY_10, Data::In(8), NO_MEDIUM)?;
    vm.qmp().execute("blockdev-close-tray", json!({ "id": "cd" }))?;
    tray(false)?;
    // That it was gone is told again where nobody has asked meanwhile.
    let mut told = Vec::new();
    loop {
        let reply = started.reply(CDROM, &cdb::TEST_UNIT_READY, Data::None)?;
        if reply.status != CHECK_CONDITION || told.len() > 2 {
            break;
        }
        told.push(reply.sense);
    }
    let (new, gone) = (sense(NEW_MEDIUM), sense(MEDIUM_GONE));
    assert!(told == [new.clone()] || told == [gone, new], "unit attentions: {told:x?}");
    started.good(CDROM, &cdb::TEST_UNIT_READY, Data::None)?;
    started.works(1)
}
