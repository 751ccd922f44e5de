//! USB host controllers as a class: [`UsbHcd`] shows what a test of devices on a bus needs of any
//! of them: ports, transfers, frames, interrupts. Registers and schedules are known to the drivers
//! alone (Universal Serial Bus Specification 2.0, whose sections are cited as "USB 2.0").
//!
//! | file | holds |
//! |---|---|
//! | `mod` | the interface of a controller, and of a device that it has addressed |
//! | `device` | what every device answers: standard requests |
//! | `models` | QEMU's devices: how they are plugged in, their descriptors |
//! | `function` | a device that was plugged in on QEMU's command line |
//! | `storage` | mass storage by the bulk-only transport |
//! | `uas` | mass storage by the pipes of USB Attached SCSI |

pub mod device;
pub mod function;
pub mod models;
pub mod storage;
pub mod uas;

use std::cell::Cell;
use std::rc::Rc;

use super::interrupt::InterruptLine;
use super::pci::PciDevice;
use crate::qemu::{Image, Vm};
use crate::{Error, Result, interface};

/// The medium of the mass storage device that tests plug in.
pub const MEDIUM: Image = Image { name: "medium", size: 1 << 20 };
/// The option that gives QEMU the medium, as [`models::STORAGE`] names it.
pub const MEDIUM_BACKEND: &str =
    "-blockdev driver=raw,node-name=stick,file.driver=file,file.filename={medium}";

/// How fast a device is (USB 2.0, 4.2.1; USB 3.2, 3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Speed {
    /// 1.5 Mbit/s.
    Low,
    /// 12 Mbit/s.
    Full,
    /// 480 Mbit/s.
    High,
    /// 5 Gbit/s.
    Super,
}

/// What a port of the root hub says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Port {
    /// There is a device.
    pub connected: bool,
    /// The device takes part in traffic.
    pub enabled: bool,
    /// A device has come or gone since the last acknowledgement.
    pub changed: bool,
}

/// What a controller can.
#[derive(Debug, Clone)]
pub struct Profile {
    /// QEMU's name of its bus.
    pub bus: String,
    /// How many devices can be plugged into it.
    pub ports: usize,
    /// The speeds of the devices that its ports take.
    pub speeds: &'static [Speed],
    /// How many frames there are until their number is zero again.
    pub frames: u32,
    /// By how many frames their number may be late, as that of a controller that has nothing to do.
    pub lag: u32,
    /// Whether a transfer to a device that is not there, or is gone, ends with an error. Otherwise
    /// it ends when it is cancelled.
    pub ends_transfers: bool,
    /// Whether it can shut a port off from traffic. QEMU's xHCI cannot.
    pub disables_ports: bool,
    /// Whether the number of frames stands while it is stopped. That of QEMU's xHCI does not.
    pub stops_frames: bool,
    /// Whether a reset of the machine resets the devices. That of QEMU's xHCI does not.
    pub resets_devices: bool,
    /// Whether software chooses the addresses of devices, and may talk to any address.
    pub addresses: bool,
    /// How many streams an endpoint may have, to the power of two; zero for none.
    pub streams: u8,
}

impl Profile {
    /// The speed at which a device that knows `speeds` runs here; `None` if it does not.
    pub fn speed(&self, speeds: &[Speed]) -> Option<Speed> {
        speeds.iter().copied().filter(|speed| self.speeds.contains(speed)).max()
    }
}

/// How an endpoint transfers data (USB 2.0, 5.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Requests and their answers.
    Control,
    /// Much data, some time.
    Bulk,
    /// A little, in time.
    Interrupt,
    /// A packet in every frame, without acknowledgement: [`UsbHcd::submit_packets`].
    Isochronous,
}

/// An endpoint of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Endpoint {
    /// Its number; bit 7 is set if it sends to the host.
    pub address: u8,
    /// How it transfers data.
    pub kind: Kind,
    /// The most bytes of a packet.
    pub packet: usize,
    /// bInterval of its descriptor.
    pub interval: u8,
    /// How many streams it has at super speed, to the power of two; zero for none (USB 3.2, 9.6.7).
    pub streams: u8,
}

impl Endpoint {
    /// The default endpoint of a device, with packets of so many bytes.
    pub const fn control(packet: usize) -> Self {
        Self { address: 0, kind: Kind::Control, packet, interval: 0, streams: 0 }
    }

    /// Its number without the direction.
    pub fn number(&self) -> u8 {
        self.address & 0xf
    }

    /// Whether it sends to the host.
    pub fn is_in(&self) -> bool {
        self.address & 0x80 != 0
    }
}

/// A device that a controller talks to.
#[derive(Debug)]
pub struct Device {
    /// The port of the root hub that it is behind, from 0.
    pub port: usize,
    /// How fast it is.
    pub speed: Speed,
    /// Its address; zero until it has one.
    pub address: Cell<u8>,
    /// What the controller knows it by, if not by its address.
    pub slot: u32,
    /// The ports of hubs on the way to it, four bits each, the first one lowest.
    pub route: u32,
    /// The most bytes of a packet of its default endpoint.
    pub packet: Cell<usize>,
    /// The data toggle of the next packet of each endpoint, one bit each.
    toggles: Rc<Cell<u32>>,
}

impl Device {
    /// The device behind `port`, which has no address yet.
    pub fn new(port: usize, speed: Speed, slot: u32, route: u32) -> Self {
        let packet = match speed {
            Speed::Low | Speed::Full => 8,
            Speed::High => 64,
            Speed::Super => 512,
        };
        Self {
            port,
            speed,
            address: Cell::new(0),
            slot,
            route,
            packet: Cell::new(packet),
            toggles: Rc::default(),
        }
    }

    fn bit(endpoint: &Endpoint) -> u32 {
        1 << (endpoint.number() | u8::from(endpoint.is_in()) << 4)
    }

    /// The data toggle of the next packet.
    pub fn toggle(&self, endpoint: &Endpoint) -> bool {
        self.toggles.get() & Self::bit(endpoint) != 0
    }

    /// Sets that.
    pub fn set_toggle(&self, endpoint: &Endpoint, toggle: bool) {
        let others = self.toggles.get() & !Self::bit(endpoint);
        self.toggles.set(if toggle { others | Self::bit(endpoint) } else { others });
    }

    /// What notes that so many packets of an endpoint were acknowledged, for the driver of a
    /// controller to call at the end of a transfer.
    pub fn follow(&self, endpoint: &Endpoint) -> Box<dyn Fn(usize)> {
        let (toggles, bit) = (self.toggles.clone(), Self::bit(endpoint));
        let is_control = endpoint.kind == Kind::Control;
        Box::new(move |packets| {
            if !is_control && packets % 2 == 1 {
                toggles.set(toggles.get() ^ bit);
            }
        })
    }

    /// Starts all toggles anew, as a configuration does (USB 2.0, 9.1.1.5).
    pub fn clear_toggles(&self) {
        self.toggles.set(0);
    }

    /// Its default endpoint.
    pub fn control(&self) -> Endpoint {
        Endpoint::control(self.packet.get())
    }
}

/// A transfer.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The device.
    pub device: &'a Device,
    /// Its endpoint.
    pub endpoint: Endpoint,
    /// What is asked of a control endpoint (USB 2.0, 9.3).
    pub setup: Option<[u8; 8]>,
    /// The guest-physical address of the data.
    pub address: u64,
    /// Their length in bytes.
    pub length: usize,
    /// The stream of the endpoint, from 1; zero if it has none.
    pub stream: u16,
}

impl Request<'_> {
    /// Whether the data come from the device.
    pub fn is_in(&self) -> bool {
        self.setup.map_or(self.endpoint.is_in(), |setup| setup[0] & 0x80 != 0)
    }
}

/// Packets of an isochronous endpoint, each in a frame of its own (USB 2.0, 5.6.3).
#[derive(Debug, Clone, Copy)]
pub struct Packets<'a> {
    /// The device.
    pub device: &'a Device,
    /// Its endpoint.
    pub endpoint: Endpoint,
    /// The guest-physical address of the data of all, one behind the other.
    pub address: u64,
    /// The length of each in bytes.
    pub lengths: &'a [usize],
    /// The number of the frame of the first, as [`UsbHcd::frame`] counts.
    pub first: u32,
}

/// How a transfer has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// The device has done it, with fewer data perhaps.
    Done,
    /// The device refuses it.
    Stall,
    /// The device does not answer.
    NoAnswer,
    /// The device sends more than it was asked for.
    Babble,
    /// The frame of the packet was over before the controller came to it.
    Missed,
}

/// What became of a transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub struct Completion {
    /// How it has ended.
    pub status: Status,
    /// How many bytes of data were moved.
    pub moved: usize,
}

impl Completion {
    /// The number of bytes moved, if it was done.
    ///
    /// # Errors
    /// Returns an error if it was not, with `what` it was.
    pub fn done(self, what: &str) -> Result<usize> {
        match self.status {
            Status::Done => Ok(self.moved),
            status => Err(Error::failed(format!("{what}: {status:?} after {} bytes", self.moved))),
        }
    }
}

/// A transfer that was submitted, as its controller counts them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Ticket(pub u64);

/// A USB host controller. Ports of its root hub count from 0.
pub trait UsbHcd {
    /// What it can.
    fn profile(&self) -> Profile;

    /// The virtual machine that it is in.
    fn vm(&self) -> &Vm;

    /// Resets it, gives it a schedule in which nothing is to be done, powers the ports, and lets it
    /// run. No interrupt is enabled.
    ///
    /// # Errors
    /// Returns an error if it does not end its reset or does not run, or no guest memory is left.
    fn start(&self) -> Result<()>;

    /// Lets it run or stop, and waits until it does.
    ///
    /// # Errors
    /// Returns an error if it does not.
    fn set_running(&self, is_on: bool) -> Result<()>;

    /// Whether it says that it has stopped.
    ///
    /// # Errors
    /// QEMU does not answer.
    fn is_halted(&self) -> Result<bool>;

    /// The number of the current frame of a millisecond.
    ///
    /// # Errors
    /// QEMU does not answer.
    fn frame(&self) -> Result<u32>;

    /// The port of the root hub at which a device of this speed is that QEMU has plugged into its
    /// port `number`, from 0.
    fn port_of(&self, number: usize, _speed: Speed) -> usize {
        number
    }

    /// What a port says.
    ///
    /// # Errors
    /// QEMU does not answer, or the port says what cannot be.
    fn port(&self, port: usize) -> Result<Port>;

    /// Whether a port enables itself when a device comes.
    fn enables_itself(&self, _port: usize) -> bool {
        false
    }

    /// The speed of the device at an enabled port.
    ///
    /// # Errors
    /// QEMU does not answer, or the port says what cannot be.
    fn speed(&self, port: usize) -> Result<Speed>;

    /// Takes back what a port says of devices that have come or gone.
    ///
    /// # Errors
    /// QEMU does not answer.
    fn acknowledge_port(&self, port: usize) -> Result<()>;

    /// Resets the device at a port and waits until that is over; acknowledges all changes.
    ///
    /// # Errors
    /// The reset does not end.
    fn reset_port(&self, port: usize) -> Result<()>;

    /// Shuts a port off from traffic.
    ///
    /// # Errors
    /// QEMU does not answer.
    fn disable_port(&self, port: usize) -> Result<()>;

    /// Begins to talk to the device that was just reset: it has no address. `route` is that of
    /// [`Device`].
    ///
    /// # Errors
    /// The controller has no room for it.
    fn open(&self, port: usize, speed: Speed, route: u32) -> Result<Device> {
        Ok(Device::new(port, speed, 0, route))
    }

    /// Forgets a device.
    ///
    /// # Errors
    /// The controller refuses.
    fn close(&self, _device: &Device) -> Result<()> {
        Ok(())
    }

    /// Gives the device an address, which may be another where the controller chooses it.
    ///
    /// # Errors
    /// The device refuses.
    fn set_address(&self, device: &Device, address: u8) -> Result<()> {
        // SET_ADDRESS (USB 2.0, 9.4.6).
        let what = format!("SET_ADDRESS {address}");
        device::control(self, device, [0, 5, address, 0, 0, 0, 0, 0], None, &what)?.done(&what)?;
        device.address.set(address);
        Ok(())
    }

    /// Learns how large the packets of the device's default endpoint are.
    ///
    /// # Errors
    /// The controller refuses.
    fn set_packet(&self, device: &Device, packet: usize) -> Result<()> {
        device.packet.set(packet);
        Ok(())
    }

    /// Learns the endpoints of a configuration, before the device is given it.
    ///
    /// # Errors
    /// The controller refuses.
    fn configure(&self, device: &Device, _endpoints: &[Endpoint]) -> Result<()> {
        device.clear_toggles();
        Ok(())
    }

    /// Begins with an endpoint anew whose halt the device has been told to clear.
    ///
    /// # Errors
    /// The controller refuses.
    fn clear_halt(&self, device: &Device, endpoint: &Endpoint) -> Result<()> {
        device.set_toggle(endpoint, false);
        Ok(())
    }

    /// Has a transfer done, with an interrupt at its end. Several may be submitted at a time, one
    /// for an endpoint.
    ///
    /// # Errors
    /// The controller has no room for it, or no guest memory is left.
    fn submit(&self, request: &Request) -> Result<Ticket>;

    /// What became of a transfer; `None` while it is not over. When it has told, the transfer is
    /// forgotten.
    ///
    /// # Errors
    /// The controller says what cannot be, or has stopped by itself.
    fn completion(&self, ticket: Ticket) -> Result<Option<Completion>>;

    /// Has packets of an isochronous endpoint moved, at most 32 of them, with an interrupt after the
    /// last. Frames that are over already are those of packets that are missed.
    ///
    /// # Errors
    /// The controller has no room for them, or no guest memory is left. Skipped if the driver of the
    /// controller does not move such packets.
    fn submit_packets(&self, _packets: &Packets) -> Result<Ticket> {
        Err(Error::skipped("the driver of the controller moves no isochronous packets"))
    }

    /// What became of each packet; `None` while not all are over. When it has told, the packets are
    /// forgotten.
    ///
    /// # Errors
    /// The controller says what cannot be, or has stopped by itself.
    fn packets(&self, ticket: Ticket) -> Result<Option<Vec<Completion>>> {
        Err(Error::failed(format!("there are no packets {ticket:?}")))
    }

    /// Takes a transfer back that is not over, or packets.
    ///
    /// # Errors
    /// The controller does not let it go.
    fn cancel(&self, ticket: Ticket) -> Result<()>;

    /// Lets interrupts for transfers that end out, or none.
    ///
    /// # Errors
    /// QEMU does not answer.
    fn enable_interrupts(&self, is_on: bool) -> Result<()>;

    /// Whether the controller says that a transfer has ended since that was acknowledged.
    ///
    /// # Errors
    /// QEMU does not answer.
    fn interrupts(&self) -> Result<bool>;

    /// Whether the controller says, apart from that, that a transfer has ended with an error.
    ///
    /// # Errors
    /// QEMU does not answer.
    fn reports_errors(&self) -> Result<bool> {
        Ok(false)
    }

    /// Takes both back.
    ///
    /// # Errors
    /// QEMU does not answer.
    fn acknowledge(&self) -> Result<()>;

    /// The function that it is on a PCI bus; `None` if it is on a board.
    fn function(&self) -> Option<&PciDevice> {
        None
    }

    /// Its interrupt line, watched from now on, where it is on a board; `None` if QEMU cannot
    /// watch it.
    ///
    /// # Errors
    /// QEMU does not answer, or the lines of another interrupt controller are watched already.
    fn line(&self) -> Result<Option<InterruptLine>> {
        Ok(None)
    }

    /// Checks that the controller reaches guest memory.
    ///
    /// # Errors
    /// Skipped if it does not.
    fn reaches_ram(&self) -> Result<()> {
        self.function().map_or(Ok(()), |function| function.bus().reaches_ram())
    }

    /// Finds the registers again after a reset of the machine.
    ///
    /// # Errors
    /// They cannot be mapped.
    fn again(&self) -> Result<()>;
}

interface!(dyn UsbHcd = "usb-hcd");

/// A controller whose ports take devices of full speed.
pub struct FullSpeed(
    /// The controller.
    pub Rc<dyn UsbHcd>,
);

interface!(FullSpeed = "usb-full-speed");

/// A controller whose ports take devices of high speed, and of super speed perhaps.
pub struct HighSpeed(
    /// The controller.
    pub Rc<dyn UsbHcd>,
);

interface!(HighSpeed = "usb-high-speed");

/// Has the driver of a controller produce what its ports take, with what QEMU calls the bus of a
/// card; that of a board has a name of its own. The port is named, as QEMU plugs a hub into the last port
/// that is free if none is.
#[macro_export]
macro_rules! usb_ports {
    ($hcd:ty: $($speed:ident),+; card) => {
        $crate::usb_ports!($hcd: $($speed),+; $crate::graph::Plug::new("usb.0", "1"));
    };
    ($hcd:ty: $($speed:ident),+; board) => {
        $crate::usb_ports!($hcd: $($speed),+; $crate::graph::Plug::new("", "1"));
    };
    ($hcd:ty: $($speed:ident),+; $plug:expr) => {$(
        impl $crate::graph::Produces<$crate::qos::usb::$speed> for $hcd {
            const PLUG: $crate::graph::Plug = $plug;

            fn produced(self: std::rc::Rc<Self>) -> std::rc::Rc<$crate::qos::usb::$speed> {
                std::rc::Rc::new($crate::qos::usb::$speed(self))
            }
        }
    )+};
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Would catch an endpoint whose toggle is another's, that of the other direction included.
    #[test]
    fn toggles_are_apart() {
        let device = Device::new(0, Speed::Full, 0, 0);
        let endpoint = |address| Endpoint { address, ..Endpoint::control(8) };
        device.set_toggle(&endpoint(0x81), true);
        device.set_toggle(&endpoint(0x02), true);
        let on = |address| device.toggle(&endpoint(address));
        assert_eq!([0x81, 0x01, 0x02, 0x82].map(on), [true, false, true, false]);
        device.set_toggle(&endpoint(0x81), false);
        assert_eq!([0x81, 0x02].map(on), [false, true]);
        device.clear_toggles();
        assert!(!on(0x02));
    }
}
