//! The virtio block device with a vhost-user back end as a PCI function: its interrupts, its queues
//! and those that are not there, as the back end sees them.

use std::rc::Rc;

use super::blk_pci::{check_idx, check_nxvirtq};
use crate::drivers::virtio::pci::OverPci;
use crate::drivers::virtio::vhost_user_blk::VhostUserBlk;
use crate::qemu::Vm;
use crate::qos::registers::RegistersExt;
use crate::qos::vhost::VhostUser;
use crate::qos::virtio::blk::{self, SECTOR};
use crate::qos::virtio::features;
use crate::{Result, tests};

tests!(OverPci<VhostUserBlk>, "vhost-user-blk-pci-tests": idx, multiqueue, nxvirtq);

/// Where the number of queues is in the device's configuration (5.2.4).
const NUM_QUEUES: u64 = 34;

/// Would catch an interrupt for a buffer that was not asked for, or none for the one that was:
/// the back end is told of the driver's wish by nobody but the ring.
fn idx(device: &OverPci<VhostUserBlk>, vm: &Rc<Vm>) -> Result<()> {
    let blk = device.interface().blk();
    blk.0.needs(features::EVENT_IDX, "event indices")?;
    check_idx(device, &blk, vm)?;
    assert_eq!(VhostUser::of(vm)?.faults(), Vec::<String>::new(), "faults against the protocol");
    Ok(())
}

/// Would catch a queue that reaches the back end as another, or not at all, and a number of queues
/// that is not the back end's.
fn multiqueue(device: &OverPci<VhostUserBlk>, vm: &Rc<Vm>) -> Result<()> {
    let (blk, backend) = (device.interface().blk(), VhostUser::of(vm)?);
    let accepted = blk.0.negotiate(blk.0.required() | blk::F_MQ | features::RING_PACKED)?;
    let queues = blk.queues(accepted)?;
    let count = queues.len();
    if accepted & blk::F_MQ != 0 {
        let told = blk.0.transport().config().read16(NUM_QUEUES)?;
        assert_eq!(usize::from(told), count, "num_queues");
    }
    blk.0.driver_ok()?;
    backend.take_requests();
    for round in 0..2 {
        for (number, queue) in queues.iter().enumerate() {
            let data = [(round * 16 + number) as u8; SECTOR];
            blk.write(queue, number as u64, &data)?;
            let asked = backend.take_requests();
            let seen: Vec<_> =
                asked.iter().map(|it| (usize::from(it.queue), &it.data[16..])).collect();
            assert_eq!(seen, [(number, &data[..])], "what the back end was asked, of {count}");
        }
    }
    for (number, queue) in queues.iter().enumerate().rev() {
        assert_eq!(blk.read(queue, number as u64, SECTOR)?, [(16 + number) as u8; SECTOR]);
    }
    for number in 0..count as u16 {
        let seen = backend.queue(number)?;
        assert_eq!((seen.is_enabled, seen.done), (true, 3), "queue {number} of {count}");
    }
    assert_eq!(backend.faults(), Vec::<String>::new(), "faults against the protocol");
    Ok(())
}

/// Would catch a queue that is not there and is made live, or does harm.
fn nxvirtq(device: &OverPci<VhostUserBlk>, vm: &Rc<Vm>) -> Result<()> {
    let blk = device.interface().blk();
    check_nxvirtq(device.pci(), &blk)?;
    assert_eq!(VhostUser::of(vm)?.faults(), Vec::<String>::new(), "faults against the protocol");
    Ok(())
}
