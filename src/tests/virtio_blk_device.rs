//! The virtio block device in a slot of a board: its interrupt line, up to the machine's
//! interrupt controller.

use std::rc::Rc;

use serde_json::{Value, json};

use crate::drivers::virtio_blk_device::VirtioBlkDevice;
use crate::drivers::virtio_blk_pci::IMAGE;
use crate::qemu::Vm;
use crate::qos::virtio::blk::SECTOR;
use crate::qos::virtio::{ISR_CONFIG, ISR_QUEUE};
use crate::qos::wait_until;
use crate::{Result, tests};

tests!(VirtioBlkDevice, "virtio-blk-device-tests": interrupt_line = "interrupt-line");

/// Would catch a line that is not raised for a used buffer or a configuration change, or is
/// another slot's; one that falls before all is acknowledged (4.2.2.1), or stays when it is,
/// or after a reset.
fn interrupt_line(device: &VirtioBlkDevice, vm: &Rc<Vm>) -> Result<()> {
    let (blk, slot) = (device.blk(), device.slot());
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
        vm.qmp().execute("query-status", Value::Null)?;
        assert!(line.is_high()?, "the line stays while nothing is acknowledged");
        Ok(())
    };
    assert!(!line.is_high()?, "before any request");
    for _ in 0..3 {
        use_buffer()?;
        wait(ISR_QUEUE)?;
        slot.acknowledge(ISR_CONFIG)?;
        assert!(line.is_high()?, "another interrupt was acknowledged");
        slot.acknowledge(ISR_QUEUE)?;
        assert!(!line.is_high()?, "the used buffer was acknowledged");

        change()?;
        wait(ISR_CONFIG)?;
        slot.acknowledge(ISR_QUEUE)?;
        assert!(line.is_high()?, "another interrupt was acknowledged");
        slot.acknowledge(ISR_CONFIG)?;
        assert!(!line.is_high()?, "the configuration change was acknowledged");
        assert_eq!(slot.interrupt_status()?, 0);
    }
    use_buffer()?;
    change()?;
    wait(ISR_QUEUE | ISR_CONFIG)?;
    slot.acknowledge(ISR_QUEUE)?;
    assert!(line.is_high()?, "one of two was acknowledged");
    blk.0.reset()?;
    assert!(!line.is_high()?, "the device was reset");
    Ok(())
}
