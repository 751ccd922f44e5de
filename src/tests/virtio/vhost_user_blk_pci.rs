//! The virtio block device with a vhost-user back end as a PCI function: its interrupts, its queues
//! and those that are not there, as the back end sees them.

use std::os::unix::net::UnixStream;
use std::rc::Rc;

use serde_json::json;

use super::blk_pci::{check_idx, check_nxvirtq};
use crate::drivers::virtio::pci::OverPci;
use crate::drivers::virtio::vhost_user_blk::VhostUserBlk;
use crate::qemu::Vm;
use crate::qos::pci::hotplug as pci_hotplug;
use crate::qos::vhost::VhostUser;
use crate::qos::vhost::blk::Disk;
use crate::qos::virtio::blk::{self, SECTOR};
use crate::qos::virtio::{Virtio, VirtioPci, features};
use crate::qos::wait_until;
use crate::{Error, Result, tests};

tests!(OverPci<VhostUserBlk>, "vhost-user-blk-pci-tests": hotplug, idx, multiqueue, nxvirtq);

/// Would catch a device that was plugged in while the machine runs and reaches no back end or that
/// of another, whose back end is not left when it goes, and harm to the device beside it.
fn hotplug(device: &OverPci<VhostUserBlk>, vm: &Rc<Vm>) -> Result<()> {
    let Some(slot) = device.bus().free_slot() else {
        return Err(Error::skipped("this bus has no slot left for another device"));
    };
    let failed = |e: std::io::Error| Error::failed(format!("a second back end: {e}"));
    for (id, sectors) in [("hot0", 2048_u64), ("hot1", 4096)] {
        let image = tempfile::tempfile().map_err(failed)?;
        image.set_len(sectors * SECTOR as u64).map_err(failed)?;
        let (ours, theirs) = UnixStream::pair().map_err(failed)?;
        let served = VhostUser::serve(ours, Disk::new(image).map_err(failed)?).map_err(failed)?;
        let backend = served.downcast_ref::<VhostUser>();
        let backend = backend.ok_or_else(|| Error::failed("the back end is another"))?;
        let (chardev, file) = (format!("{id}-chardev"), format!("{id}-file"));
        vm.qmp().send_file(&file, &theirs)?;
        drop(theirs);
        let address = json!({ "type": "fd", "data": { "str": file } });
        let data = json!({ "addr": address, "server": false });
        let socket = json!({ "type": "socket", "data": data });
        vm.qmp().execute("chardev-add", json!({ "id": chardev, "backend": socket }))?;
        let (plug, properties) = ((id, "vhost-user-blk-pci"), json!({ "chardev": chardev }));
        let plugged = pci_hotplug::plug(device.bus(), vm, slot, plug, properties)?;
        let Some(function) = plugged else {
            // The root bus of PCI Express.
            break;
        };
        let pci = VirtioPci::new(function, vm)?;
        assert_eq!(pci.capabilities(), device.pci().capabilities(), "as of the old device");
        let virtio = Virtio::of_kind::<VhostUserBlk>(vm, pci.transport().clone())?;
        let new = crate::qos::vhost::VhostUserBlk(virtio).blk();
        let queue = new.start_with_everything()?;
        assert_eq!(new.capacity()?, sectors, "capacity in sectors");
        new.write(&queue, 1, &[0x33; SECTOR])?;
        assert_eq!(new.read(&queue, 1, SECTOR)?, [0x33; SECTOR], "what was written");
        assert_eq!(backend.take_requests().len(), 2, "what the second back end was asked");
        pci_hotplug::unplug(vm, pci.device(), id, &[VirtioPci::PART])?;
        vm.qmp().execute("chardev-remove", json!({ "id": chardev }))?;
        wait_until(vm, "the second back end to be left", || Ok(!backend.connections().1))?;
        assert_eq!(backend.faults(), Vec::<String>::new(), "faults against the protocol");
    }
    let blk = device.interface().blk();
    let old = blk.start_with_everything()?;
    blk.write(&old, 0, &[0x77; SECTOR])?;
    assert_eq!(blk.read(&old, 0, SECTOR)?, [0x77; SECTOR]);
    let mine = VhostUser::of(vm)?;
    assert_eq!(mine.faults(), Vec::<String>::new(), "faults against the protocol");
    Ok(())
}

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
