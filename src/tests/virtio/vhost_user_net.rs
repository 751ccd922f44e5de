//! The virtio network device with a vhost-user back end instead of a cable: what the back end is
//! told, frames both ways, more than one pair of queues, and a back end that goes, comes again, or
//! is another.

use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::time::{Duration, Instant};

use serde_json::json;
use vm_memory::GuestAddress;

use crate::graph::{Addition, QemuArgs, When};
use crate::qemu::{Backend, Socket, Version, Vm};
use crate::qos::net::{MAC, PEER, frame};
use crate::qos::vhost::{self, F_LOG_ALL, F_PROTOCOL, SimpleDevice, VhostUser};
use crate::qos::virtio::net::{self, CTRL_MQ, CTRL_OK, Live, VirtioNet};
use crate::qos::virtio::{self, Queue, features};
use crate::qos::{settle, wait_until};
use crate::{Error, Result, tests};

/// The NIC's back end instead of a cable. QEMU passes it files only on a socket that has an address.
const NETDEV: &str = "-chardev socket,id=vhost,path={vhost},abstract=on \
     -netdev vhost-user,id=far,chardev=vhost,vhostforce=on -set device.nic0.netdev=far";
const SOCKET: Socket = vhost::SOCKET
    .served_by(Backend::listening(|it| VhostUser::listen(it, SimpleDevice::net(1), false)));
const ARGS: QemuArgs = QemuArgs::NONE.before(NETDEV).sockets(&[SOCKET]);

tests!(VirtioNet, "virtio-net-tests":
    memfile = "vhost-user/read-guest-mem/memfile",
    frames = "vhost-user/frames",
    resets = "vhost-user/reset",
    migrate = "vhost-user/migrate",
    link_down = "vhost-user/link";
    with ARGS);

tests!(VirtioNet, "virtio-net-tests": memfd = "vhost-user/read-guest-mem/memfd"; with
    ARGS.after("-object memory-backend-memfd,id=own,size={ram},share=on -machine memory-backend=own"));

/// The version since which RAM can be shared memory of POSIX.
const HAS_SHM: Version = Version::new(9, 1, 0);

tests!(VirtioNet, "virtio-net-tests": shm = "vhost-user/read-guest-mem/shm"; with
ARGS.when(&[
    When::since(HAS_SHM, Addition::NONE.after(
        "-object memory-backend-shm,id=own,size={ram},share=on -machine memory-backend=own")),
]));

tests!(VirtioNet, "virtio-net-tests": multiqueue = "vhost-user/multiqueue"; with QemuArgs::NONE
.before("-chardev socket,id=vhost,path={vhost},abstract=on \
     -netdev vhost-user,id=far,chardev=vhost,vhostforce=on,queues=2 \
     -set device.nic0.netdev=far -set device.nic0.mq=on")
.sockets(&[vhost::SOCKET.served_by(Backend::listening(|it| {
    VhostUser::listen(it, SimpleDevice::net(2), false)
}))]));

/// The version since which the time to the next attempt can be less than a second.
const RECONNECTS_SOON: Version = Version::new(9, 2, 0);

/// A back end to which QEMU connects, again and again.
const AGAIN: QemuArgs = QemuArgs::NONE
    .after("-netdev vhost-user,id=far,chardev=vhost,vhostforce=on -set device.nic0.netdev=far")
    .when(&[
        When::before(
            RECONNECTS_SOON,
            Addition::NONE.before("-chardev socket,id=vhost,path={vhost},abstract=on,reconnect=1"),
        ),
        When::since(
            RECONNECTS_SOON,
            Addition::NONE
                .before("-chardev socket,id=vhost,path={vhost},abstract=on,reconnect-ms=100"),
        ),
    ]);

tests!(VirtioNet, "virtio-net-tests":
    reconnect = "vhost-user/reconnect",
    flags_mismatch = "vhost-user/flags-mismatch";
    with AGAIN.sockets(&[SOCKET]));

tests!(VirtioNet, "virtio-net-tests": connect_fail = "vhost-user/connect-fail"; with
AGAIN.sockets(&[vhost::SOCKET.served_by(Backend::listening(|it| {
    VhostUser::listen(it, SimpleDevice::net(1), true)
}))]));

/// How long QEMU has to connect again: ten times as long as it may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Starts the device, and waits until the back end has its rings.
fn start(device: &VirtioNet, wanted: u64) -> Result<Live> {
    let live = device.start(wanted)?;
    wait_live(device, 2)?;
    Ok(live)
}

/// Waits until the back end has so many rings.
fn wait_live(device: &VirtioNet, count: u16) -> Result<()> {
    let (vm, backend) = (device.0.vm(), VhostUser::of(device.0.vm())?);
    for index in 0..count {
        backend.wait(vm, &format!("queue {index} to be live"), |backend| {
            backend.queue(index).is_ok_and(|seen| seen.has_kick && seen.is_enabled)
        })?;
    }
    Ok(())
}

/// Sends a frame through a queue, which the back end must get as it is, and has the back end
/// send one.
fn exchange(device: &VirtioNet, live: &Live, number: u8) -> Result<()> {
    let (vm, backend) = (device.0.vm(), VhostUser::of(device.0.vm())?);
    backend.take_requests();
    let out = frame(PEER, MAC, 60 + usize::from(number), number);
    live.send(&out, &[14])?;
    let sent = backend.take_requests();
    assert_eq!(sent.len(), 1, "frames that the back end got");
    assert_eq!((sent[0].queue, sent[0].room), (1, 0), "the queue of a frame and its room");
    let (header, data) = sent[0].data.split_at(live.header());
    assert!(header.iter().all(|byte| *byte == 0), "the header of a frame: {header:x?}");
    assert_eq!(data, out, "the frame that the back end got");
    let back = frame(MAC, PEER, 64 + usize::from(number), !number);
    live.offer(2000, 1)?;
    let mut header = vec![0; live.header()];
    if header.len() == 12 {
        header[10..].copy_from_slice(&live.bytes16(1));
    }
    backend.fill(vm, 0, &[&header[..], &back].concat())?;
    assert_eq!(live.receive("a frame of the back end")?, back, "the frame that the guest got");
    Ok(())
}

/// Asserts that QEMU has done nothing against the protocol.
fn assert_faultless(backend: &VhostUser) {
    assert_eq!(backend.faults(), Vec::<String>::new(), "what QEMU did against the protocol");
}

/// Looks at guest memory from both sides.
fn read_guest_memory(device: &VirtioNet, vm: &Rc<Vm>) -> Result<()> {
    let backend = VhostUser::of(vm)?;
    let live = start(device, device.0.acceptable()?)?;
    let spec = vm.ram().spec();
    let covered: u64 = backend.regions().iter().map(|region| region.length).sum();
    assert!(covered <= spec.size, "{covered:#x} bytes of {:#x}", spec.size);
    let middle = spec.base + (spec.usable.0 + spec.usable.1) / 2;
    for at in [middle, middle + 4096, spec.base + spec.usable.1 - 8] {
        let (mine, mut seen) = (at.wrapping_mul(0x9e37_79b9_7f4a_7c15), [0; 8]);
        vm.qtest().write(GuestAddress(at), &mine.to_le_bytes())?;
        settle(vm)?;
        backend.read(at, &mut seen)?;
        assert_eq!(u64::from_le_bytes(seen), mine, "written by the guest at {at:#x}");
        backend.write(at, &(!mine).to_le_bytes())?;
        vm.qtest().read(GuestAddress(at), &mut seen)?;
        assert_eq!(u64::from_le_bytes(seen), !mine, "written by the back end at {at:#x}");
    }
    exchange(device, &live, 1)?;
    assert_faultless(backend);
    Ok(())
}

/// Would catch RAM in a file that the back end cannot map, or maps elsewhere.
fn memfile(device: &VirtioNet, vm: &Rc<Vm>) -> Result<()> {
    read_guest_memory(device, vm)
}

/// Would catch the same of RAM in a file without a name that QEMU makes itself.
fn memfd(device: &VirtioNet, vm: &Rc<Vm>) -> Result<()> {
    assert!(!vm.ram().is_mapped(), "QEMU makes the RAM itself");
    read_guest_memory(device, vm)
}

/// Would catch the same of shared memory of POSIX.
fn shm(device: &VirtioNet, vm: &Rc<Vm>) -> Result<()> {
    if vm.emulator().capabilities.version < HAS_SHM {
        return Err(Error::skipped("QEMU has memory-backend-shm from 9.1 on"));
    }
    assert!(!vm.ram().is_mapped(), "QEMU makes the RAM itself");
    read_guest_memory(device, vm)
}

/// Would catch a frame that is lost or changed on either way, features or rings that are not the
/// driver's, and a back end that is asked for what QEMU does itself: the control queue.
fn frames(device: &VirtioNet, vm: &Rc<Vm>) -> Result<()> {
    let backend = VhostUser::of(vm)?;
    let required = device.0.required();
    for wanted in [required, required | net::F_MRG_RXBUF, device.0.acceptable()?] {
        let live = start(device, wanted)?;
        let seen = backend.accepted().unwrap_or_default();
        assert_ne!(seen & F_PROTOCOL, 0, "the features of the protocol, of {seen:#x}");
        let legacy = features::NOTIFY_ON_EMPTY | features::ANY_LAYOUT;
        let expected = live.accepted & backend.offered() & !legacy;
        assert_eq!(seen & !F_PROTOCOL & !legacy, expected, "the features that were accepted");
        for (index, queue) in [&live.receive, &live.transmit].into_iter().enumerate() {
            let seen = backend.queue(index as u16)?;
            assert_eq!(seen.at, Some(queue.addresses()), "queue {index}: where it is");
            assert_eq!(seen.size, u32::from(queue.size()), "queue {index}: its size");
            assert_eq!((seen.base, seen.log), (Some(0), None), "queue {index}");
        }
        for number in 0..10 {
            exchange(device, &live, number)?;
        }
        if live.accepted & net::F_CTRL_RX != 0 {
            assert_eq!(live.command(net::CTRL_RX, 0, &[1])?, CTRL_OK, "a command");
            assert_eq!(backend.take_requests(), [], "what the back end was asked besides");
        }
    }
    assert_faultless(backend);
    Ok(())
}

/// Would catch a back end that keeps a ring over a reset of the device, a stop of the machine or
/// a reset of that, and a ring that goes on elsewhere.
fn resets(device: &VirtioNet, vm: &Rc<Vm>) -> Result<()> {
    let backend = VhostUser::of(vm)?;
    let stopped = |what: &str| {
        (0..2).try_for_each(|index| {
            backend.wait(vm, &format!("queue {index} to stop, {what}"), |backend| {
                backend.queue(index).is_ok_and(|seen| !seen.has_kick)
            })
        })
    };
    for number in 0..3 {
        let live = start(device, device.0.acceptable()?)?;
        exchange(device, &live, number)?;
        exchange(device, &live, number)?;
        vm.qmp().execute("stop", json!(null))?;
        stopped("while the machine is stopped")?;
        vm.qmp().execute("cont", json!(null))?;
        wait_live(device, 2)?;
        assert_eq!(backend.queue(1)?.base, Some(2), "where the transmit queue goes on");
        assert_eq!(backend.queue(0)?.base, Some(2), "where the receive queue goes on");
        exchange(device, &live, number)?;
        device.0.reset()?;
        stopped("after a reset")?;
    }
    let _live = start(device, device.0.acceptable()?)?;
    crate::qos::reset(vm)?;
    stopped("after a reset of the machine")?;
    assert_faultless(backend);
    Ok(())
}

/// Would catch a link that is not taken down for the guest, frames that pass while it is down,
/// and rings that do not come back.
fn link_down(device: &VirtioNet, vm: &Rc<Vm>) -> Result<()> {
    let backend = VhostUser::of(vm)?;
    let live = start(device, device.0.acceptable()?)?;
    exchange(device, &live, 1)?;
    device.0.transport().take_interrupts()?;
    for number in 2..4 {
        vm.qmp().execute("set_link", json!({"name": "nic0", "up": false}))?;
        assert_eq!(device.status()? & net::S_LINK_UP, 0, "the status, down");
        let told = device.0.transport().take_interrupts()?;
        assert_ne!(told & virtio::ISR_CONFIG, 0, "the interrupt for the link");
        backend.wait(vm, "the rings to stop", |backend| {
            backend.queue(1).is_ok_and(|seen| !seen.has_kick)
        })?;
        vm.qmp().execute("set_link", json!({"name": "nic0", "up": true}))?;
        assert_eq!(device.status()? & net::S_LINK_UP, net::S_LINK_UP, "the status, up");
        wait_live(device, 2)?;
        exchange(device, &live, number)?;
        device.0.transport().take_interrupts()?;
    }
    assert_faultless(backend);
    Ok(())
}

/// Would catch a second pair of queues that the back end does not get, gets although the driver
/// has not asked for it (5.1.6.5.5), or that is another.
fn multiqueue(device: &VirtioNet, vm: &Rc<Vm>) -> Result<()> {
    let backend = VhostUser::of(vm)?;
    device.0.needs(net::F_MQ, "several pairs of queues")?;
    assert_eq!(backend.queue_count(), 4, "queues of the back end");
    assert!(backend.asked().contains(&"GET_QUEUE_NUM"), "asked how many queues there are");
    let accepted = device.0.negotiate(device.0.acceptable()?)?;
    // Two pairs, then the control queue (5.1.2).
    let several = device.0.with_queues_of_now()?;
    assert_eq!(several.queue_count(), 5, "queues");
    let queues = (0..5).map(|index| Queue::new(&several, index, accepted, 64 << (index % 3)));
    let queues = queues.collect::<Result<Vec<_>>>()?;
    device.0.driver_ok()?;
    wait_live(device, 2)?;
    assert!(!backend.queue(2)?.is_enabled && !backend.queue(3)?.is_enabled, "the second pair");
    let control = |pairs: u16| -> Result<u8> {
        let ram = vm.ram();
        let (request, answer) = (ram.alloc(4, 1)?, ram.alloc(1, 1)?);
        let count = match device.0.transport().byte_order() {
            crate::protocol::Endian::Little => pairs.to_le_bytes(),
            crate::protocol::Endian::Big => pairs.to_be_bytes(),
        };
        request.write(0, &[CTRL_MQ, 0, count[0], count[1]])?;
        answer.write(0, &[0xee])?;
        let segments = [virtio::Segment::readable(&request), virtio::Segment::writable(&answer)];
        queues[4].add(&segments)?;
        queues[4].kick()?;
        queues[4].wait_used()?;
        Ok(answer.to_vec()?[0])
    };
    for refused in [0, 3, 0xffff] {
        assert_ne!(control(refused)?, CTRL_OK, "{refused} pairs");
    }
    for round in 0..2 {
        assert_eq!(control(2)?, CTRL_OK, "two pairs, round {round}");
        wait_live(device, 4)?;
        for (index, queue) in queues[..4].iter().enumerate() {
            let seen = backend.queue(index as u16)?;
            assert_eq!(seen.at, Some(queue.addresses()), "queue {index}: where it is");
            assert_eq!(seen.size, u32::from(queue.size()), "queue {index}: its size");
        }
        for index in [1, 3] {
            backend.take_requests();
            let bytes = [&[0; 12][..], &frame(PEER, MAC, 64, index)].concat();
            let buffer = vm.ram().alloc(bytes.len(), 1)?;
            buffer.write(0, &bytes)?;
            let queue = &queues[usize::from(index)];
            queue.add(&[virtio::Segment::readable(&buffer)])?;
            queue.kick()?;
            queue.wait_used()?;
            let sent = backend.take_requests();
            assert_eq!(sent.len(), 1, "frames of queue {index}");
            assert_eq!((sent[0].queue, &sent[0].data), (index.into(), &bytes), "a frame");
        }
        assert_eq!(control(1)?, CTRL_OK, "one pair, round {round}");
        for index in [2, 3] {
            backend.wait(vm, &format!("queue {index} to be given up"), |backend| {
                backend.queue(index).is_ok_and(|seen| !seen.is_enabled || !seen.has_kick)
            })?;
        }
    }
    assert_faultless(backend);
    Ok(())
}

/// Waits until QEMU has connected so often and the connection is as far as `is_so` says.
fn wait_connected(
    vm: &Vm,
    times: u64,
    what: &str,
    is_so: impl Fn(&VhostUser) -> bool,
) -> Result<()> {
    let (backend, begun) = (VhostUser::of(vm)?, Instant::now());
    while backend.connections().0 < times || !is_so(backend) {
        // Its timer runs in real time.
        settle(vm)?;
        if begun.elapsed() > vm.at_its_pace(PATIENCE) {
            let (now, asked) = (backend.connections(), backend.asked());
            let why = format!("{what} did not come about: connections {now:?}, asked {asked:?}");
            return Err(Error::failed(why));
        }
        std::thread::yield_now();
    }
    Ok(())
}

/// Whether the first pair of queues is served.
fn is_live(backend: &VhostUser) -> bool {
    (0..2).all(|at| backend.queue(at).is_ok_and(|seen| seen.has_kick && seen.is_enabled))
}

/// Would catch a QEMU that does not connect again when its back end has gone, or does not tell the
/// new one what the old one knew; and one that does not take the link down meanwhile.
fn reconnect(device: &VirtioNet, vm: &Rc<Vm>) -> Result<()> {
    let backend = VhostUser::of(vm)?;
    let live = start(device, device.0.acceptable()?)?;
    exchange(device, &live, 1)?;
    let before = (backend.accepted(), backend.protocol(), backend.queue(1)?.at);
    for times in 2..4 {
        backend.hang_up();
        wait_connected(vm, times, "a connection with rings", is_live)?;
        settle(vm)?;
        let now = (backend.accepted(), backend.protocol(), backend.queue(1)?.at);
        assert_eq!(now, before, "what the back end was told, connected {times} times");
        assert_eq!(device.status()? & net::S_LINK_UP, net::S_LINK_UP, "the link is up again");
        let frame = frame(PEER, MAC, 64, times as u8);
        backend.take_requests();
        live.send(&frame, &[])?;
        assert_eq!(backend.take_requests()[0].data[live.header()..], frame, "a frame");
    }
    assert_faultless(backend);
    Ok(())
}

/// Would catch a QEMU that gives up, or does not start, when the first connection ends before
/// anything was said.
fn connect_fail(device: &VirtioNet, vm: &Rc<Vm>) -> Result<()> {
    let backend = VhostUser::of(vm)?;
    wait_connected(vm, 2, "a second connection", |backend| backend.connections().1)?;
    let live = start(device, device.0.acceptable()?)?;
    exchange(device, &live, 1)?;
    assert_faultless(backend);
    Ok(())
}

/// Would catch a QEMU that goes on with a back end which lacks what the driver has accepted.
fn flags_mismatch(device: &VirtioNet, vm: &Rc<Vm>) -> Result<()> {
    let backend = VhostUser::of(vm)?;
    let live = start(device, device.0.acceptable()?)?;
    exchange(device, &live, 1)?;
    device.0.needs(net::F_MRG_RXBUF, "merged buffers")?;
    backend.hide(net::F_MRG_RXBUF);
    backend.hang_up();
    wait_connected(vm, 3, "a third connection, after one without merged buffers", |_| true)?;
    assert!(!is_live(backend), "a back end without merged buffers has rings");
    backend.hide(0);
    let connected = backend.connections().0;
    wait_connected(vm, connected, "a connection with rings", is_live)?;
    let frame = frame(PEER, MAC, 64, 9);
    backend.take_requests();
    live.send(&frame, &[])?;
    assert_eq!(backend.take_requests()[0].data[live.header()..], frame, "a frame");
    Ok(())
}

/// The name under which QEMU gets the socket for the state.
const STATE: &str = "state";

/// Has QEMU begin to send the machine's state, so slowly that it does not end; what it sends is
/// dropped.
fn begin_migration(vm: &Vm) -> Result<()> {
    let qmp = vm.qmp();
    let events = json!({ "capabilities": [{ "capability": "events", "state": true }] });
    qmp.execute("migrate-set-capabilities", events)?;
    qmp.execute("migrate-set-parameters", json!({ "max-bandwidth": 10_000 }))?;
    let failed = |e| Error::failed(format!("a socket for the machine's state: {e}"));
    let (mut ours, theirs) = UnixStream::pair().map_err(failed)?;
    qmp.send_file(STATE, &theirs)?;
    std::thread::spawn(move || std::io::copy(&mut ours, &mut std::io::sink()));
    qmp.execute("migrate", json!({ "uri": format!("fd:{STATE}") }))?;
    Ok(())
}

/// Waits until QEMU says that of the migration.
fn wait_migration(vm: &Vm, wanted: &str) -> Result<()> {
    loop {
        let event = vm.qmp().wait_event("MIGRATION")?;
        match event.data["status"].as_str() {
            Some(status) if status == wanted => return Ok(()),
            Some("failed") => return Err(Error::failed("the migration failed")),
            _ => {}
        }
    }
}

/// Whether writes to guest memory and to both rings are to be logged.
fn logs(backend: &VhostUser) -> bool {
    let is_asked = backend.accepted().is_some_and(|it| it & F_LOG_ALL != 0);
    let ring = |at| backend.queue(at).is_ok_and(|seen| seen.log.is_some());
    is_asked && backend.log_length().is_some() && ring(0) && ring(1)
}

/// Would catch a migration during which what the back end writes is not logged, or the log too
/// short or not looked at; one that, cancelled, leaves the log on; and one after which the rings
/// begin anew, or do not go on when the machine does.
fn migrate(device: &VirtioNet, vm: &Rc<Vm>) -> Result<()> {
    let backend = VhostUser::of(vm)?;
    let live = start(device, device.0.acceptable()?)?;
    exchange(device, &live, 1)?;
    assert!(!logs(backend), "a log before any migration");
    let accepted = backend.accepted();
    for round in 0..2 {
        begin_migration(vm)?;
        backend.wait(vm, "writes to be logged", logs)?;
        let end = backend.regions().iter().map(|it| it.guest + it.length).max().unwrap_or(0);
        let covered = backend.log_length().unwrap_or(0) as u64 * 8 * 4096;
        assert!(covered >= end, "the log covers {covered:#x} bytes of {end:#x}");
        exchange(device, &live, 2)?;
        // The frame and the used ring.
        assert!(backend.logged_pages()? > 0, "the back end's log while the state is sent");
        if round == 0 {
            vm.qmp().execute("migrate_cancel", serde_json::Value::Null)?;
            wait_migration(vm, "cancelled")?;
        } else {
            let fast = json!({ "max-bandwidth": 1_u64 << 40 });
            vm.qmp().execute("migrate-set-parameters", fast)?;
            wait_migration(vm, "completed")?;
            assert_eq!(backend.logged_pages()?, 0, "pages that QEMU has not looked at");
            assert!(!is_live(backend), "the rings are served while the machine stands still");
            let stopped = backend.asked().iter().filter(|it| **it == "GET_VRING_BASE").count();
            assert_eq!(stopped, 2, "how often a ring was given up");
            // That it has completed is told before it is over.
            let go_on = || Ok(vm.qmp().execute("cont", serde_json::Value::Null).is_ok());
            wait_until(vm, "the machine to go on", go_on)?;
            wait_live(device, 2)?;
        }
        backend.wait(vm, "no more writes to be logged", |it| {
            let ring = |at| it.queue(at).is_ok_and(|seen| seen.log.is_none());
            it.accepted() == accepted && ring(0) && ring(1)
        })?;
        exchange(device, &live, 3 + round)?;
    }
    assert_faultless(backend);
    Ok(())
}
