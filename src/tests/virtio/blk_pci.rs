//! The virtio block device as a PCI function: interrupts, hotplug, queues that are not there.

use std::rc::Rc;

use serde_json::json;

use crate::drivers::virtio::blk::{Blk, IMAGE, resize};
use crate::drivers::virtio::pci::OverPci;
use crate::qemu::{Buffer, Vm};
use crate::qos::pci::hotplug;
use crate::qos::pci::msix::Msix;
use crate::qos::virtio::blk::{self, Request, SECTOR, VirtioBlk};
use crate::qos::virtio::{self, Kind, Queue, RingAddresses, Virtio, VirtioPci, features};
use crate::qos::wait_until;
use crate::{Error, Result, tests};

tests!(OverPci<Blk>, "virtio-blk-pci-tests":
    hotplug,
    idx,
    intx,
    msix,
    queue_vectors = "queue-vectors",
    nxvirtq,
);

/// The vector of configuration changes.
const CONFIG: u16 = 0;
/// The vector of the first queue; those of the others follow.
const QUEUE: u16 = 1;

/// MSI-X with a vector for the configuration and one for each queue, whose messages are
/// words of guest memory.
struct Messages<'a> {
    msix: Msix,
    memory: Buffer,
    pci: &'a VirtioPci,
    reach_memory: bool,
}

/// What a vector's message writes.
fn data_of(vector: u16) -> u32 {
    0x1234_0001 + 0x0101_0010 * u32::from(vector)
}

impl<'a> Messages<'a> {
    /// All vectors masked.
    fn set_up<K: Kind>(device: &'a OverPci<K>, vm: &Vm) -> Result<Self> {
        let pci = device.pci();
        let control = pci
            .msix()
            .ok_or_else(|| Error::skipped("no MSI-X on this machine's interrupt controller"))?;
        let msix = Msix::enable(control)?;
        let memory = vm.ram().alloc(4 * usize::from(msix.size()), 8)?;
        for vector in 0..msix.size() {
            let address = memory.address().0 + 4 * u64::from(vector);
            msix.set_message(vector, address, data_of(vector))?;
        }
        Ok(Self { msix, memory, pci, reach_memory: device.bus().messages_reach_memory() })
    }

    /// Has the device use them for `queues` queues. A reset makes it forget that (4.1.5.1.2).
    fn assign(&self, queues: u16) -> Result<()> {
        let vectors = self.pci.vectors();
        assert_eq!(vectors.set_config_vector(CONFIG)?, CONFIG, "the configuration's vector");
        for queue in 0..queues {
            let vector = QUEUE + queue;
            assert_eq!(vectors.set_queue_vector(queue, vector)?, vector, "queue {queue}'s vector");
        }
        Ok(())
    }

    /// Waits until messages of these vectors are pending, and of no others.
    fn wait_pending(&self, vm: &Vm, vectors: &[u16], what: &str) -> Result<()> {
        wait_until(vm, what, || Ok(self.msix.pending()? == vectors))
    }

    /// Whether the vector's message is pending; it is not afterwards. Unmasking sends it:
    /// where messages reach memory, it must come, and only if it was pending.
    fn take(&self, vector: u16) -> Result<bool> {
        let before = self.msix.pending()?;
        let (own, others): (Vec<u16>, _) = before.iter().partition(|&&other| other == vector);
        let pending = !own.is_empty();
        self.msix.mask(vector, false)?;
        let now = self.msix.pending()?;
        assert_eq!(now, others, "pending when vector {vector} is unmasked; before: {before:?}");
        self.msix.mask(vector, true)?;
        if self.reach_memory {
            let at = 4 * usize::from(vector);
            let expected = if pending { data_of(vector) } else { 0 };
            assert_eq!(self.memory.read_le32(at)?, expected, "the message of vector {vector}");
            self.memory.write_le32(at, 0)?;
        }
        Ok(pending)
    }
}

/// Starts the device with `wanted` and its vectors assigned.
fn start(blk: &VirtioBlk, messages: &Messages, wanted: u64) -> Result<Queue> {
    let accepted = blk.0.negotiate(wanted)?;
    let queue = blk.0.queue(0, accepted)?;
    messages.assign(1)?;
    blk.0.driver_ok()?;
    Ok(queue)
}

/// Would catch messages of the wrong vector, none, or some too many, for a used buffer and
/// for a changed configuration; a vector that does not exist and is accepted; and data
/// that differs with MSI-X, which moves the legacy configuration.
fn msix(device: &OverPci<Blk>, vm: &Rc<Vm>) -> Result<()> {
    let blk = device.interface();
    let messages = Messages::set_up(device, vm)?;
    assert!(messages.msix.size() >= 2, "{} vectors", messages.msix.size());
    let queue = start(&blk, &messages, blk.0.required())?;
    let beyond = device.pci().vectors().set_queue_vector(0, messages.msix.size())?;
    assert_eq!(beyond, VirtioPci::NO_VECTOR, "a vector that is not there");
    messages.assign(1)?;
    assert_eq!(blk.capacity()?, IMAGE.size / SECTOR as u64, "capacity in sectors");
    assert!(!messages.take(QUEUE)? && !messages.take(CONFIG)?, "before any request");

    for sector in 0..3 {
        blk.write(&queue, sector, &[0x5a; SECTOR])?;
        messages.wait_pending(vm, &[QUEUE], "the queue's message")?;
        assert!(messages.take(QUEUE)?);
    }
    assert!(!messages.take(CONFIG)?, "no configuration change");
    let size = 2 * IMAGE.size;
    vm.qmp().execute("block_resize", json!({ "device": "drive0", "size": size }))?;
    messages.wait_pending(vm, &[CONFIG], "the configuration's message")?;
    assert!(messages.take(CONFIG)? && !messages.take(QUEUE)?, "a configuration change only");
    assert_eq!(blk.capacity()?, size / SECTOR as u64, "capacity in sectors");
    assert!(!device.pci().asserts_intx()?, "INTx with MSI-X enabled");
    Ok(())
}

/// Would catch a queue that notifies by another's vector, by none, or by several.
fn queue_vectors(device: &OverPci<Blk>, vm: &Rc<Vm>) -> Result<()> {
    let blk = device.interface();
    let messages = Messages::set_up(device, vm)?;
    let accepted = blk.0.negotiate(blk.0.required() | blk::F_MQ | features::RING_PACKED)?;
    let queues = blk.queues(accepted)?;
    let count = queues.len() as u16;
    assert_eq!(messages.msix.size(), 1 + count, "a vector for each queue and one more");
    messages.assign(count)?;
    blk.0.driver_ok()?;
    let assert_taken = |expected: &[u16], what: &str| -> Result<()> {
        for vector in 0..messages.msix.size() {
            let taken = messages.take(vector)?;
            assert_eq!(taken, expected.contains(&vector), "{what}: vector {vector}");
        }
        Ok(())
    };
    for (vector, queue) in (QUEUE..).zip(&queues) {
        blk.write(queue, vector.into(), &[0x5a; SECTOR])?;
        messages.wait_pending(vm, &[vector], "the queue's message")?;
        assert_taken(&[vector], "a request of one queue")?;
    }
    let request = || Request::new(&blk.0, blk::T_OUT, 1)?.with_data(&blk.0, &[0xa5; SECTOR]);
    let requests = queues.iter().map(|_| request()).collect::<Result<Vec<_>>>()?;
    for (queue, request) in queues.iter().zip(&requests) {
        queue.add(&request.segments())?;
        queue.kick()?;
    }
    let all: Vec<u16> = (QUEUE..).take(queues.len()).collect();
    messages.wait_pending(vm, &all, "every queue's message")?;
    assert_taken(&all, "a request of every queue")
}

/// Would catch a device that notifies before the buffer that was asked for is used, or
/// not when it is, and one whose wish to be notified is wrong (2.7.7, 2.8.10).
fn idx(device: &OverPci<Blk>, vm: &Rc<Vm>) -> Result<()> {
    check_idx(device, &device.interface(), vm)
}

/// What [`idx`] does, of a block device over PCI with any back end.
pub(super) fn check_idx<K: Kind>(device: &OverPci<K>, blk: &VirtioBlk, vm: &Vm) -> Result<()> {
    let messages = Messages::set_up(device, vm)?;
    let wanted = blk.0.required() | features::EVENT_IDX | features::RING_PACKED;
    let queue = start(blk, &messages, wanted)?;
    let request = || Request::new(&blk.0, blk::T_OUT, 1)?.with_data(&blk.0, &[0xa5; SECTOR]);
    let mut descriptors = 0;
    let mut run = |interrupt: bool, what: &str| -> Result<()> {
        let outcome = request()?.run(&queue)?;
        assert_eq!(outcome.status, blk::S_OK, "{what}");
        if interrupt {
            messages.wait_pending(vm, &[QUEUE], what)?;
        }
        // QEMU serves us only after it is done with the request.
        let came = messages.take(QUEUE)?;
        descriptors += 3;
        // At the end of a packed ring QEMU forgets what it has told the driver, and tells it
        // once too often, which it may.
        if !queue.is_packed() || descriptors % queue.size() >= 3 {
            assert_eq!(came, interrupt, "{what}");
        }
        Ok(())
    };
    queue.want_interrupt_after(1, 3)?;
    run(true, "the interrupt of the first")?;
    // Until the ring has begun anew.
    for round in 0..queue.size() / 9 + 2 {
        queue.want_interrupt_after(3, 3)?;
        run(false, &format!("the first of three, round {round}"))?;
        run(false, &format!("the second of three, round {round}"))?;
        run(true, &format!("the third of three, round {round}"))?;
    }
    Ok(())
}

/// Would catch an interrupt line that is not raised, or stays when the status was read,
/// or one for a driver that does not want it.
fn intx(device: &OverPci<Blk>, vm: &Rc<Vm>) -> Result<()> {
    let (blk, pci) = (device.interface(), device.pci());
    let queue = blk.start(blk.0.required())?;
    let interrupts = || pci.transport().take_interrupts();
    assert_eq!(interrupts()?, 0, "before any request");
    for _ in 0..3 {
        assert!(!pci.asserts_intx()?, "before a request");
        blk.write(&queue, 5, &[0x3c; SECTOR])?;
        wait_until(vm, "INTx", || pci.asserts_intx())?;
        assert_eq!(interrupts()?, virtio::ISR_QUEUE);
        assert!(!pci.asserts_intx()?, "INTx after ISR was read");
        assert_eq!(interrupts()?, 0, "ISR is cleared by reading");
    }
    queue.want_interrupts(false)?;
    blk.write(&queue, 5, &[0xc3; SECTOR])?;
    assert!(!pci.asserts_intx()?, "a used buffer of which nobody wants to hear");
    queue.want_interrupts(true)?;
    blk.write(&queue, 5, &[0x3c; SECTOR])?;
    wait_until(vm, "INTx", || pci.asserts_intx())
}

/// Would catch a queue that is not there but has a size, or does harm when a driver makes
/// it live and notifies it all the same.
fn nxvirtq(device: &OverPci<Blk>, _: &Rc<Vm>) -> Result<()> {
    check_nxvirtq(device.pci(), &device.interface())
}

/// What [`nxvirtq`] does, of a block device over PCI with any back end.
pub(super) fn check_nxvirtq(pci: &VirtioPci, blk: &VirtioBlk) -> Result<()> {
    let transport = pci.transport();
    let queue = blk.start(blk.0.required())?;
    let memory = blk.0.vm().ram().alloc(4096, 4096)?;
    let at = memory.address().0;
    let page = RingAddresses { descriptors: at, driver: at + 2048, device: at + 3072 };
    for missing in [64, 1023, 1024, u16::MAX] {
        assert_eq!(blk.0.max_queue_size(missing)?, 0, "the size of queue {missing}");
        transport.enable_queue(missing, 16, page)?;
        transport.notify(missing)?;
        assert_eq!(blk.0.max_queue_size(missing)?, 0, "the size of queue {missing}, made live");
    }
    blk.write(&queue, 0, &[0x77; SECTOR])?;
    assert_eq!(blk.read(&queue, 0, SECTOR)?, [0x77; SECTOR]);
    assert_eq!(memory.to_vec()?, [0; 4096], "the memory of queues that are not there");
    Ok(())
}

/// Would catch a device that was plugged in while the machine runs and cannot be found or
/// used, one that goes before the guest lets it go or never, a slot that takes no other
/// after that, and harm to the device beside it.
fn hotplug(device: &OverPci<Blk>, vm: &Rc<Vm>) -> Result<()> {
    let Some(slot) = device.bus().free_slot() else {
        return Err(Error::skipped("this bus has no slot left for another device"));
    };
    for (id, sectors) in [("hot0", 2048), ("hot1", 4096)] {
        let node = format!("{id}-node");
        let disk = json!({ "driver": "null-co", "node-name": node, "read-zeroes": true,
            "size": sectors * SECTOR as u64 });
        vm.qmp().execute("blockdev-add", disk)?;
        let plug = (id, "virtio-blk-pci");
        let properties = json!({ "drive": node });
        let Some(function) = hotplug::plug(device.bus(), vm, slot, plug, properties)? else {
            // The root bus of PCI Express.
            break;
        };
        let pci = VirtioPci::new(function, vm)?;
        assert_eq!(pci.capabilities(), device.pci().capabilities(), "as of the old device");
        let vectors = pci.msix().map(|msix| msix.size());
        assert_eq!(vectors, device.pci().msix().map(|_| 2), "of the configuration, of the queue");
        let new = VirtioBlk(Virtio::of_kind::<Blk>(vm, pci.transport().clone())?, resize);
        assert_eq!(new.0.queue_count(), 1, "queues");
        let queue = new.start_with_everything()?;
        assert_eq!(new.capacity()?, sectors, "capacity in sectors");
        assert_eq!(new.read(&queue, 1, SECTOR)?, [0; SECTOR], "zeroes of the null device");
        hotplug::unplug(vm, pci.device(), id, &[VirtioPci::PART])?;
    }
    let blk = device.interface();
    let old = blk.start_with_everything()?;
    blk.write(&old, 0, &[0x77; SECTOR])?;
    assert_eq!(blk.read(&old, 0, SECTOR)?, [0x77; SECTOR]);
    Ok(())
}
