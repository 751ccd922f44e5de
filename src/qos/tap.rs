//! A TAP device of Linux (Documentation/networking/tuntap.rst) in a network of its own, as the back
//! end of a network device: unlike a socket, it passes the header of virtio on, and with it checksums
//! and segments that are left to the other side. QEMU has the device's file, the test a packet socket
//! (packet(7)) on the interface.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::ifaddrs::getifaddrs;
use nix::libc;
use nix::sched::{CloneFlags, unshare};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, bind, recv, send, socket,
};

use super::net::MAC;
use super::wait_until;
use crate::qemu::{Backend, Served, Socket, Vm};
use crate::{Error, Result};

/// The name of the back end, and what options say where the numbers of the device's files belong.
const NAME: &str = "tap";
/// The device with one file: `-netdev tap,id=far,fd={tap}`.
pub const SOCKET: Socket = Socket::new(NAME, "hubport,id=far,hubid=7")
    .served_by(Backend::making("a TAP device in a network of its own", || make(1)));
/// The device with two files, each a pair of queues: `-netdev tap,id=far,fds={tap}`.
pub const TWO_QUEUES: Socket = Socket::new(NAME, "hubport,id=far,hubid=7")
    .served_by(Backend::making("a TAP device in a network of its own", || make(2)));

/// The interface's name, which is known in its own network only.
const INTERFACE: &[u8] = b"qgraph0";
/// The length in bytes of the header before each packet of the packet socket (packet(7)).
pub const HEADER: usize = 10;

nix::ioctl_write_ptr_bad!(
    /// Makes an open `/dev/net/tun` a file of the interface that the request names.
    set_interface,
    libc::TUNSETIFF,
    libc::ifreq
);
nix::ioctl_write_ptr_bad!(
    /// Sets the flags of an interface.
    set_flags,
    libc::SIOCSIFFLAGS,
    libc::ifreq
);

/// The test's end of a TAP device: a packet socket with headers.
pub struct Tap(OwnedFd);

impl Tap {
    /// The TAP device of a machine.
    ///
    /// # Errors
    /// Returns an error if the machine has none.
    pub fn of(vm: &Vm) -> Result<&Self> {
        vm.backend(NAME)
    }

    /// Sends `frame` to QEMU, with `header` in the host's byte order before it.
    ///
    /// # Errors
    /// Returns an error if the kernel does not take it.
    pub fn send(&self, header: [u8; HEADER], frame: &[u8]) -> Result<()> {
        let bytes = [&header[..], frame].concat();
        match send(self.0.as_raw_fd(), &bytes, MsgFlags::MSG_DONTWAIT) {
            Ok(count) if count == bytes.len() => Ok(()),
            Ok(count) => {
                Err(Error::failed(format!("the TAP device took {count} of {} bytes", bytes.len())))
            }
            Err(errno) => Err(Error::failed(format!("the TAP device takes no frame: {errno}"))),
        }
    }

    /// Waits for the next frame from [`MAC`], and returns its header and the frame. `what` says
    /// which frame is awaited, for the error.
    ///
    /// # Errors
    /// Returns an error if none comes, as for [`wait_until`].
    pub fn receive(&self, vm: &Vm, what: &str) -> Result<([u8; HEADER], Vec<u8>)> {
        let mut packet = None;
        wait_until(vm, &format!("a frame on the TAP device, {what}"), || {
            packet = self.take()?;
            Ok(packet.is_some())
        })?;
        packet.ok_or_else(|| Error::failed("a frame came and went"))
    }

    /// The next frame from [`MAC`], if one has come. A packet socket also receives what is sent
    /// to QEMU.
    ///
    /// # Errors
    /// Returns an error if the kernel does.
    pub fn take(&self) -> Result<Option<([u8; HEADER], Vec<u8>)>> {
        let mut room = vec![0; 1 << 17];
        loop {
            match recv(self.0.as_raw_fd(), &mut room, MsgFlags::MSG_DONTWAIT) {
                Ok(count) => {
                    if let Some((header, frame)) = room[..count].split_first_chunk()
                        && frame.get(6..12) == Some(&MAC)
                    {
                        return Ok(Some((*header, frame.to_vec())));
                    }
                }
                Err(Errno::EAGAIN) => return Ok(None),
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(Error::failed(format!("the TAP device: {errno}"))),
            }
        }
    }

    /// Drops all frames that have come.
    ///
    /// # Errors
    /// Returns an error if the kernel does.
    pub fn drain(&self) -> Result<()> {
        while self.take()?.is_some() {}
        Ok(())
    }
}

/// Makes the device, in a thread that leaves the network of the others. The network lasts as long as
/// the files do.
fn make(queues: usize) -> io::Result<(Served, Vec<OwnedFd>)> {
    let made = std::thread::spawn(move || make_here(queues)).join();
    let (tap, files) = made.map_err(|_| io::Error::other("a thread panicked"))??;
    Ok((Box::new(tap), files))
}

/// An error of the step that `what` describes.
fn step<E: Into<io::Error>>(what: &'static str) -> impl Fn(E) -> io::Error {
    move |e| {
        let e = e.into();
        io::Error::new(e.kind(), format!("{what}: {e}"))
    }
}

/// Makes the device in a network that this thread enters.
fn make_here(queues: usize) -> io::Result<(Tap, Vec<OwnedFd>)> {
    unshare(CloneFlags::CLONE_NEWNET).map_err(step("entering a network of its own"))?;
    // The kernel is to send no frames of its own. Without IPv6 there is no such file, and none.
    match std::fs::write("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1") {
        Err(e) if e.kind() != io::ErrorKind::NotFound => {
            return Err(step("switching IPv6 off")(e));
        }
        _ => {}
    }
    let files = (0..queues).map(|_| open(queues > 1)).collect::<io::Result<Vec<_>>>()?;
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let far = socket(AddressFamily::Packet, SockType::Raw, flags, SockProtocol::EthAll)
        .map_err(step("opening a packet socket"))?;
    let up = request(libc::IFF_UP | libc::IFF_RUNNING | libc::IFF_NOARP);
    // SAFETY: SIOCSIFFLAGS reads an `ifreq`, which lives until the call returns.
    unsafe { set_flags(far.as_raw_fd(), &up) }.map_err(step("taking the interface up"))?;
    let interfaces = getifaddrs().map_err(step("listing interfaces"))?;
    let named = interfaces.filter(|one| one.interface_name.as_bytes() == INTERFACE);
    let address = named.filter_map(|one| one.address?.as_link_addr().copied()).next();
    let address = address.ok_or_else(|| io::Error::other("the interface has no address"))?;
    bind(far.as_raw_fd(), &address).map_err(step("binding the packet socket"))?;
    let on: libc::c_int = 1;
    // SAFETY: the option is a `c_int`, which lives until the call returns.
    let set = unsafe {
        libc::setsockopt(
            far.as_raw_fd(),
            libc::SOL_PACKET,
            libc::PACKET_VNET_HDR,
            (&raw const on).cast(),
            size_of_val(&on) as libc::socklen_t,
        )
    };
    Errno::result(set).map_err(step("asking for headers on the packet socket"))?;
    Ok((Tap(far), files))
}

/// Opens a file of the device.
fn open(is_one_of_several: bool) -> io::Result<OwnedFd> {
    let file: File = OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/net/tun")
        .map_err(step("opening /dev/net/tun"))?;
    let several = if is_one_of_several { libc::IFF_MULTI_QUEUE } else { 0 };
    let tap = request(libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR | several);
    // SAFETY: TUNSETIFF reads an `ifreq`, which lives until the call returns.
    unsafe { set_interface(file.as_raw_fd(), &tap) }.map_err(step("TUNSETIFF"))?;
    Ok(file.into())
}

/// A request to give the interface these flags.
fn request(flags: libc::c_int) -> libc::ifreq {
    let mut name = [0; libc::IFNAMSIZ];
    for (to, from) in name.iter_mut().zip(INTERFACE) {
        *to = *from as libc::c_char;
    }
    let flags = libc::__c_anonymous_ifr_ifru { ifru_flags: flags as libc::c_short };
    libc::ifreq { ifr_name: name, ifr_ifru: flags }
}
