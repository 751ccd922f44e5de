//! What holds of the registers of every virtio device's transport, and of its interrupts and bus
//! mastering as a PCI function.

use std::rc::Rc;

use serde_json::json;

use crate::drivers::virtio::blk::{Blk, IMAGE};
use crate::drivers::virtio::mmio::InSlot;
use crate::drivers::virtio::pci::OverPci;
use crate::drivers::virtio::rng::Rng;
use crate::qemu::Vm;
use crate::qos::pci::{intx, regs};
use crate::qos::registers::RegistersExt;
use crate::qos::virtio::blk::{self, Request, S_NONE, SECTOR};
use crate::qos::virtio::{self, Kind, RingAddresses, Virtio, VirtioPci};
use crate::qos::{settle, wait_until};
use crate::tests::pci::messages;
use crate::tests::registers::check_all;
use crate::{Error, Result, tests};

tests!(OverPci<Blk>, "virtio-blk-pci-tests":
    pci_registers = "registers",
    interrupt_line = "interrupt-line",
    messages_of_the_queue = "messages",
    bus_master = "bus-master",
);
tests!(OverPci<Rng>, "virtio-rng-pci-tests": pci_registers = "registers");
tests!(InSlot<Blk>, "virtio-blk-device-tests": slot_registers = "registers");
tests!(InSlot<Rng>, "virtio-rng-device-tests": slot_registers = "registers");
tests!(Virtio, "virtio-tests":
    queues = "queue-registers",
    driver_features = "driver-features",
    configuration,
);

/// Would catch a register of the common configuration, or of the legacy interface, with another
/// value after a reset, one that does not keep what is written, or that another's write changes.
fn pci_registers<K: Kind>(device: &OverPci<K>, vm: &Rc<Vm>) -> Result<()> {
    check_all(&device.pci().block(vm)?, vm)
}

/// Would catch what [`pci_registers`] would in a slot of a board.
fn slot_registers<K: Kind>(device: &InSlot<K>, vm: &Rc<Vm>) -> Result<()> {
    check_all(&device.slot().block()?, vm)
}

/// Would catch an interrupt that does not get to the interrupt controller, that Interrupt Disable
/// does not hold back, that stays when ISR is read (4.1.4.5), or after a reset.
fn interrupt_line(device: &OverPci<Blk>, vm: &Rc<Vm>) -> Result<()> {
    let (disk, pci) = (device.interface(), device.pci());
    let queue = disk.start(disk.0.required())?;
    disk.write(&queue, 5, &[0x3c; SECTOR])?;
    wait_until(vm, "INTx", || pci.asserts_intx())?;
    disk.0.reset()?;
    assert!(!pci.asserts_intx()?, "INTx after a reset by the driver");
    assert_eq!(pci.transport().take_interrupts()?, 0, "ISR after a reset by the driver");
    // A change before the driver is ready is nobody's interrupt (2.5.3).
    disk.0.negotiate(disk.0.required())?;
    let size = 2 * IMAGE.size;
    vm.qmp().execute("block_resize", json!({ "device": "drive0", "size": size }))?;
    settle(vm)?;
    let early = pci.transport().take_interrupts()?;
    assert_eq!(early & virtio::ISR_CONFIG, 0, "ISR before the driver is ready");
    let queue = disk.start(disk.0.required())?;
    intx::check(
        pci.device(),
        vm,
        || disk.write(&queue, 5, &[0x3c; SECTOR]),
        || match pci.transport().take_interrupts()? {
            virtio::ISR_QUEUE => Ok(()),
            status => Err(Error::failed(format!("ISR is {status:#x}"))),
        },
    )
}

/// Would catch what the checks of every function's MSI-X would (6.8.2).
fn messages_of_the_queue(device: &OverPci<Blk>, vm: &Rc<Vm>) -> Result<()> {
    let (disk, pci) = (device.interface(), device.pci());
    let started = std::cell::RefCell::new(None);
    messages::check(pci.device(), vm, 1, || {
        if started.borrow().is_none() {
            let accepted = disk.0.negotiate(disk.0.required())?;
            let queue = disk.0.queue(0, accepted)?;
            let vectors = pci.vectors();
            let most = pci.msix().map_or(0, |msix| msix.size());
            for beyond in [most, most + 1, 0x7ff] {
                let queue = vectors.set_queue_vector(0, beyond)?;
                assert_eq!(queue, VirtioPci::NO_VECTOR, "the queue's vector {beyond}");
                let config = vectors.set_config_vector(beyond)?;
                assert_eq!(config, VirtioPci::NO_VECTOR, "the configuration's vector {beyond}");
            }
            assert_eq!(vectors.set_queue_vector(0, 1)?, 1, "the queue's vector");
            disk.0.driver_ok()?;
            started.replace(Some(queue));
        }
        match &*started.borrow() {
            Some(queue) => disk.write(queue, 5, &[0x3c; SECTOR]),
            None => Ok(()),
        }
    })
}

/// Would catch a device that reads or writes memory although it is no bus master (PCI 3.0, 6.2.2),
/// or does not work when it is one again and was reset.
fn bus_master(device: &OverPci<Blk>, vm: &Rc<Vm>) -> Result<()> {
    let (disk, function) = (device.interface(), device.pci().device());
    let queue = disk.start(disk.0.required())?;
    disk.write(&queue, 5, &[0x3c; SECTOR])?;
    let command = function.config_read16(regs::COMMAND)?;
    let read = Request::new(&disk.0, blk::T_IN, 5)?.with_room(&disk.0, SECTOR)?;
    queue.add(&read.segments())?;
    function.config_write16(regs::COMMAND, command & !regs::COMMAND_MASTER)?;
    queue.notify()?;
    (0..20).try_for_each(|_| settle(vm))?;
    assert_eq!(read.status()?, S_NONE, "the status of a request without bus master");
    assert!(read.data()? == [0; SECTOR], "the data of a request without bus master");
    assert_eq!(queue.take_used()?, None, "a used buffer without bus master");
    function.config_write16(regs::COMMAND, command)?;
    let queue = disk.start(disk.0.required())?;
    let data = disk.read(&queue, 5, SECTOR)?;
    assert!(data == [0x3c; SECTOR], "the data as a bus master again");
    assert_eq!(read.status()?, S_NONE, "the request from before the reset");
    Ok(())
}

/// Would catch a queue whose size or addresses are another queue's, and one that is live before
/// it is made so, or after a reset (4.1.4.3, 4.2.2).
fn queues(device: &Virtio, vm: &Rc<Vm>) -> Result<()> {
    let transport = device.transport();
    device.negotiate(device.required())?;
    let count = device.queue_count();
    let memory = vm.ram().alloc(4096 * usize::from(count), 4096)?;
    let sizes = (0..count).map(|queue| device.max_queue_size(queue)).collect::<Result<Vec<_>>>()?;
    for live in 0..count {
        for queue in 0..count {
            let expected = queue < live;
            let is_live = transport.is_queue_enabled(queue)?;
            assert_eq!(is_live, expected, "queue {queue}, {live} are live");
        }
        let descriptors = memory.address().0 + 4096 * u64::from(live);
        let at =
            RingAddresses { descriptors, driver: descriptors + 2048, device: descriptors + 3072 };
        transport.enable_queue(live, 8, at)?;
    }
    device.reset()?;
    for (queue, size) in (0..).zip(&sizes) {
        assert!(!transport.is_queue_enabled(queue)?, "queue {queue} after a reset");
        assert_eq!(device.max_queue_size(queue)?, *size, "the size of queue {queue} after a reset");
    }
    assert_eq!(transport.max_queue_size(count)?, 0, "the size of a queue that is not there");
    Ok(())
}

/// Would catch an offer that changes with what the driver accepts, and a status that a reset does
/// not clear (2.1, 2.2).
fn driver_features(device: &Virtio, _: &Rc<Vm>) -> Result<()> {
    let offered = device.offered()?;
    for bit in (0..64)
        .map(|bit| 1u64 << bit)
        .filter(|bit| device.acceptable().is_ok_and(|all| all & bit != 0))
    {
        device.negotiate(device.required() | bit)?;
        assert_eq!(device.offered()?, offered, "the offer with {bit:#x} accepted");
        device.reset()?;
        assert_eq!(device.transport().status()?, 0, "the status after a reset");
    }
    Ok(())
}

/// Would catch a change of the configuration without leave: a driver that writes to what is the
/// device's (2.5.2), byte by byte.
fn configuration(device: &Virtio, vm: &Rc<Vm>) -> Result<()> {
    device.negotiate(device.required())?;
    let config = device.transport().config();
    // Other kinds have none, or one of which more may be written; the cache mode here may be.
    if device.transport().device_type()? != blk::DEVICE_TYPE {
        return Err(Error::skipped("the suite of this kind looks at its configuration, if any"));
    }
    let bytes = || (0..blk::WRITEBACK).map(|at| config.read8(at)).collect::<Result<Vec<u8>>>();
    let before = bytes()?;
    for at in 0..blk::WRITEBACK {
        config.write8(at, !before[at as usize])?;
    }
    settle(vm)?;
    assert_eq!(bytes()?, before, "the configuration, written");
    let capacity = config.read32(0)?;
    let words = [config.read16(0)?, config.read16(2)?];
    let by_words = u32::from(words[0]) | u32::from(words[1]) << 16;
    let swapped = u32::from(words[1]) | u32::from(words[0]) << 16;
    assert!([by_words, swapped].contains(&capacity), "the capacity by words: {words:x?}");
    wait_until(vm, "no change of the configuration", || {
        Ok(device.transport().take_interrupts()? == 0)
    })
}
