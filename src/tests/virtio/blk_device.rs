//! The virtio block device in a slot of a board: its interrupt line, up to the machine's
//! interrupt controller.

use std::rc::Rc;

use serde_json::json;

use crate::drivers::virtio::blk::{Blk, IMAGE};
use crate::drivers::virtio::mmio::InSlot;
use crate::qemu::Vm;
use crate::qos::virtio::blk::SECTOR;
use crate::qos::virtio::{ISR_CONFIG, ISR_QUEUE};
use crate::qos::{settle, wait_until};
use crate::{Result, tests};

tests!(InSlot<Blk>, "virtio-blk-device-tests": interrupt_line = "interrupt-line");

/// Would catch a line that is not raised for a used buffer or a configuration change, or is
/// another slot's; one that falls before all is acknowledged (4.2.2.1), if only for a moment,
/// or stays when it is, or after a reset.
fn interrupt_line(device: &InSlot<Blk>, vm: &Rc<Vm>) -> Result<()> {
    let (blk, slot) = (device.interface(), device.slot());
    let line = slot.watch_line()?;
    let queue = blk.start(blk.0.required())?;
    let use_buffer = || blk.write(&queue, 5, &[0x3c; SECTOR]);
    let mut size = IMAGE.size;
    let mut change = || {
        size *= 2;
        vm.qmp().execute("block_resize", json!({ "device": "drive0", "size": size }))
    };
    let wait = |expected| -> Result<()> {
        let what = format!("InterruptStatus {expected}");
        // With a configuration change QEMU tells of a used buffer as well, whether there is
        // one or not.
        wait_until(vm, &what, || Ok(slot.interrupt_status()? & expected == expected))?;
        wait_until(vm, &format!("the interrupt line with {what}"), || line.is_high())?;
        // It may raise it once more, but not after it has answered QMP.
        settle(vm)
    };
    // It is high after the n-th time it was raised, or has been lowered since.
    let assert_high = |n: u64, what: &str| -> Result<()> {
        assert_eq!(line.edges()?, (n, n - 1), "raised and lowered: {what}");
        Ok(())
    };
    let assert_low = |n: u64, what: &str| -> Result<()> {
        assert_eq!(line.edges()?, (n, n), "raised and lowered: {what}");
        Ok(())
    };
    assert_low(0, "before any request")?;
    for n in [1, 3, 5] {
        use_buffer()?;
        wait(ISR_QUEUE)?;
        slot.acknowledge(ISR_CONFIG)?;
        assert_high(n, "another interrupt than the used buffer's was acknowledged")?;
        slot.acknowledge(ISR_QUEUE)?;
        assert_low(n, "the used buffer was acknowledged")?;

        change()?;
        wait(ISR_CONFIG)?;
        slot.acknowledge(ISR_QUEUE)?;
        assert_high(n + 1, "another interrupt than the configuration's was acknowledged")?;
        slot.acknowledge(ISR_CONFIG)?;
        assert_low(n + 1, "the configuration change was acknowledged")?;
        assert_eq!(slot.interrupt_status()?, 0);
    }
    use_buffer()?;
    change()?;
    wait(ISR_QUEUE | ISR_CONFIG)?;
    slot.acknowledge(ISR_QUEUE)?;
    assert_high(7, "one of two was acknowledged")?;
    blk.0.reset()?;
    assert_low(7, "the device was reset")
}
