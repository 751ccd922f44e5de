//! What tests of single kinds of vhost-user devices are called by QEMU's own framework.

use std::rc::Rc;

use crate::qemu::Vm;
use crate::qos::vhost::{VhostUser, VhostUserBlk, VhostUserGpio, VhostUserScmi};
use crate::qos::virtio::blk::{self, Request, SECTOR, VirtioBlk};
use crate::qos::virtio::{Virtio, features};
use crate::tests::virtio::vhost_user;
use crate::{Error, Result, tests};

tests!(VhostUserGpio, "vhost-user-gpio-tests": gpio = "read-guest-mem/memfile");
tests!(VhostUserScmi, "vhost-user-scmi-tests": scmi = "scmi/read-guest-mem/memfile");
tests!(VhostUserBlk, "vhost-user-blk-tests":
    basic,
    indirect,
    cache_while_gone = "write-cache-while-gone",
);

/// Would catch guest memory that the back end of a GPIO controller does not see.
fn gpio(device: &VhostUserGpio, vm: &Rc<Vm>) -> Result<()> {
    memory(&device.0, vm)
}

/// Would catch guest memory that the back end of a system control interface does not see.
fn scmi(device: &VhostUserScmi, vm: &Rc<Vm>) -> Result<()> {
    memory(&device.0, vm)
}

fn memory(device: &Virtio, vm: &Rc<Vm>) -> Result<()> {
    vhost_user::read_guest_memory(device, vm)
}

/// Writes, reads, clears and discards, and looks at what the back end was asked.
fn exchange(blk: &VirtioBlk, vm: &Vm, wanted: u64, is_indirect: bool) -> Result<()> {
    let (backend, queue) = (VhostUser::of(vm)?, blk.start(wanted)?);
    let run = |request: &Request| -> Result<u8> {
        let id = match is_indirect {
            true => queue.add_indirect(&request.segments())?,
            false => queue.add(&request.segments())?,
        };
        queue.kick()?;
        Ok(request.finish(id, queue.wait_used()?)?.status)
    };
    for sector in [0, 7, 100] {
        let data: Vec<u8> = (0..3 * SECTOR).map(|at| (at * 11 + sector as usize) as u8).collect();
        let (first, rest) = data.split_at(SECTOR);
        let write = Request::new(&blk.0, blk::T_OUT, sector)?.with_data(&blk.0, first)?;
        backend.take_requests();
        assert_eq!(run(&write.with_data(&blk.0, rest)?)?, blk::S_OK, "a write");
        let asked = backend.take_requests();
        assert_eq!(asked.len(), 1, "requests that the back end was asked");
        assert_eq!((asked[0].queue, asked[0].room), (0, 1), "the queue of a write and its room");
        assert_eq!(asked[0].data[16..], data, "what the back end was given to write");
        let mut image = vec![0; data.len()];
        vm.read_image("disk", sector * SECTOR as u64, &mut image)?;
        assert!(image == data, "the image differs from what was written at sector {sector}");
        let read = Request::new(&blk.0, blk::T_IN, sector)?.with_room(&blk.0, SECTOR)?;
        let read = read.with_room(&blk.0, 2 * SECTOR)?;
        assert_eq!(run(&read)?, blk::S_OK, "a read");
        assert!(read.data()? == data, "what was read at sector {sector}");
    }
    assert_eq!(backend.faults(), Vec::<String>::new(), "what QEMU did against the protocol");
    Ok(())
}

/// Would catch requests that do not reach the back end as they are, or answers that do not reach
/// the driver.
fn basic(device: &VhostUserBlk, vm: &Rc<Vm>) -> Result<()> {
    let blk = device.blk();
    exchange(&blk, vm, blk.0.required(), false)
}

/// Would catch the same of requests in indirect tables.
fn indirect(device: &VhostUserBlk, vm: &Rc<Vm>) -> Result<()> {
    let blk = device.blk();
    blk.0.needs(features::INDIRECT_DESC, "indirect descriptors")?;
    exchange(&blk, vm, blk.0.required() | features::INDIRECT_DESC, true)
}

/// Would catch a QEMU that is ended by a guest which switches the cache while the back end is gone.
fn cache_while_gone(device: &VhostUserBlk, vm: &Rc<Vm>) -> Result<()> {
    use crate::qos::registers::RegistersExt;
    let (blk, backend) = (device.blk(), VhostUser::of(vm)?);
    blk.0.needs(blk::F_CONFIG_WCE, "a cache that can be switched")?;
    let _queue = blk.start_with_everything()?;
    let config = blk.0.transport().config();
    for cache in [1, 0] {
        config.write8(blk::WRITEBACK, cache)?;
        assert_eq!(config.read8(blk::WRITEBACK)?, cache, "the cache, switched");
        assert_eq!(backend.config()[blk::WRITEBACK as usize], cache, "the back end's");
    }
    backend.hang_up();
    backend.wait(vm, "the end of the connection", |backend| !backend.connections().1)?;
    crate::qos::settle(vm)?;
    config.write8(blk::WRITEBACK, 1)?;
    crate::qos::settle(vm)?;
    match config.read8(blk::WRITEBACK)? {
        0 | 1 => Ok(()),
        other => Err(Error::failed(format!("the cache reads {other}"))),
    }
}
