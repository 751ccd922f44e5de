//! A device with a back end of one's own: a serial port whose other end is a thread of this
//! program, there before QEMU starts.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use qgraph::Result;
use qgraph::graph::{Addition, Consumes, QemuArgs, Site, When};
use qgraph::qemu::{Backend, Socket, Version, Vm};
use qgraph::qos::pci::{Bar, PciBus, PciDevice};
use qgraph::qos::registers::RegistersExt;
use qgraph::qos::wait_until;

/// Sends every byte back in upper case, until the socket is closed, and counts them.
struct Shout(Arc<AtomicUsize>);

const SHOUT: Backend = Backend::new(|mut stream: UnixStream| {
    let count = Arc::new(AtomicUsize::new(0));
    let counted = count.clone();
    std::thread::spawn(move || {
        let mut byte = [0];
        while matches!(stream.read(&mut byte), Ok(1)) {
            counted.fetch_add(1, Ordering::SeqCst);
            if stream.write_all(&byte.map(|it| it.to_ascii_uppercase())).is_err() {
                break;
            }
        }
    });
    Ok(Box::new(Shout(count)))
});

/// The socket. A reproducer, which has no such thread, has the null device instead.
const SOCKET: Socket = Socket::new("line", "null,id=line").served_by(SHOUT);

/// Receiver Buffer and Transmitter Holding Register.
const DATA: u64 = 0;
/// Line Status Register, whose bit 0 says that there is data.
const LINE_STATUS: u64 = 5;

/// A 16550A behind PCI.
pub struct Serial {
    bar: Rc<Bar>,
}

impl Consumes<dyn PciBus> for Serial {
    // The node is not called like the device: qgraph may have that some day. The last line shows
    // what only some versions are told.
    const ARGS: QemuArgs = QemuArgs::named("pci-serial", "bus={bus},addr={addr},chardev=line")
        .before("-chardev socket,id=line,fd={line}")
        .sockets(&[SOCKET])
        .when(&[When::since(Version::new(5, 0, 0), Addition::properties(&["prog_if=2"]))]);

    fn attach(bus: Rc<dyn PciBus>, site: &Site) -> Result<Self> {
        let device = PciDevice::plugged(&bus, site)?;
        let bar = device.map_bar(0)?;
        device.enable()?;
        Ok(Self { bar })
    }
}

qgraph::driver!(Serial = "shouted-serial"; consumes dyn PciBus);

/// Would catch bytes that are lost, doubled or changed on their way out or in.
fn both_ways(serial: &Serial, vm: &Rc<Vm>) -> Result<()> {
    let backend = vm.backend::<Shout>("line")?;
    for (number, byte) in (1..).zip(*b"qemu") {
        serial.bar.write8(DATA, byte)?;
        wait_until(vm, "an answer", || Ok(serial.bar.read8(LINE_STATUS)? & 1 != 0))?;
        assert_eq!(serial.bar.read8(DATA)?, byte.to_ascii_uppercase());
        assert_eq!(backend.0.load(Ordering::SeqCst), number);
    }
    Ok(())
}

qgraph::tests!(Serial, "shouted-serial-tests": both_ways = "both-ways");
