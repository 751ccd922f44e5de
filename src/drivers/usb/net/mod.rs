//! QEMU's `usb-net`: a network adapter with two configurations, Remote NDIS ("MS-RNDIS", Remote Network
//! Driver Interface Specification, with its mapping to USB) and the Ethernet model of CDC (USB Class
//! Definitions for Communications Devices 1.2, "CDC"; its subclass for Ethernet control models,
//! "ECM120").

mod adapter;

use std::rc::Rc;

pub use self::adapter::{Adapter, Listening};

use crate::graph::{Addition, Consumes, QemuArgs, Site};
use crate::qemu::Vm;
use crate::qos::net::{Address, BACKEND, SOCKET, Wire};
use crate::qos::usb::device::UsbDevice;
use crate::qos::usb::function::Function;
use crate::qos::usb::{Endpoint, FullSpeed, Kind, Speed};
use crate::{Error, Result, driver};

/// Requests of the class (CDC, 6.2; ECM120, table 6).
pub mod request {
    /// SEND_ENCAPSULATED_COMMAND.
    pub const SEND_COMMAND: u8 = 0x00;
    /// GET_ENCAPSULATED_RESPONSE.
    pub const GET_RESPONSE: u8 = 0x01;
    /// SET_ETHERNET_PACKET_FILTER.
    pub const SET_FILTER: u8 = 0x43;
}

/// Types of messages; what answers one has the highest bit besides (MS-RNDIS, 2.2).
pub mod message {
    /// REMOTE_NDIS_PACKET_MSG.
    pub const PACKET: u32 = 1;
    /// REMOTE_NDIS_INITIALIZE_MSG.
    pub const INITIALIZE: u32 = 2;
    /// REMOTE_NDIS_HALT_MSG.
    pub const HALT: u32 = 3;
    /// REMOTE_NDIS_QUERY_MSG.
    pub const QUERY: u32 = 4;
    /// REMOTE_NDIS_SET_MSG.
    pub const SET: u32 = 5;
    /// REMOTE_NDIS_RESET_MSG.
    pub const RESET: u32 = 6;
    /// REMOTE_NDIS_KEEPALIVE_MSG.
    pub const KEEPALIVE: u32 = 8;
    /// What the type of an answer has besides.
    pub const COMPLETE: u32 = 1 << 31;
}

/// Objects that can be asked for (NDIS, "General Operational OIDs", "Ethernet OIDs").
pub mod oid {
    /// OID_GEN_SUPPORTED_LIST.
    pub const SUPPORTED_LIST: u32 = 0x0001_0101;
    /// OID_GEN_HARDWARE_STATUS.
    pub const HARDWARE_STATUS: u32 = 0x0001_0102;
    /// OID_GEN_MEDIA_SUPPORTED.
    pub const MEDIA_SUPPORTED: u32 = 0x0001_0103;
    /// OID_GEN_MEDIA_IN_USE.
    pub const MEDIA_IN_USE: u32 = 0x0001_0104;
    /// OID_GEN_MAXIMUM_FRAME_SIZE.
    pub const MAXIMUM_FRAME_SIZE: u32 = 0x0001_0106;
    /// OID_GEN_LINK_SPEED.
    pub const LINK_SPEED: u32 = 0x0001_0107;
    /// OID_GEN_CURRENT_PACKET_FILTER.
    pub const PACKET_FILTER: u32 = 0x0001_010e;
    /// OID_GEN_MEDIA_CONNECT_STATUS.
    pub const CONNECT_STATUS: u32 = 0x0001_0114;
    /// OID_GEN_XMIT_OK.
    pub const XMIT_OK: u32 = 0x0002_0101;
    /// OID_GEN_RCV_OK.
    pub const RCV_OK: u32 = 0x0002_0102;
    /// OID_802_3_PERMANENT_ADDRESS.
    pub const PERMANENT_ADDRESS: u32 = 0x0101_0101;
    /// OID_802_3_CURRENT_ADDRESS.
    pub const CURRENT_ADDRESS: u32 = 0x0101_0102;
    /// OID_802_3_MULTICAST_LIST.
    pub const MULTICAST_LIST: u32 = 0x0101_0103;
}

/// RNDIS_STATUS_SUCCESS and RNDIS_STATUS_NOT_SUPPORTED (MS-RNDIS, 2.2.1.2).
pub const SUCCESS: u32 = 0;
/// The status of an object that is not known.
pub const NOT_SUPPORTED: u32 = 0xc000_00bb;
/// NDIS_PACKET_TYPE_DIRECTED, MULTICAST and BROADCAST.
pub const PLAIN: u32 = 1 << 0 | 1 << 1 | 1 << 3;
/// Where the data of a packet are: behind its eleven words.
pub const PACKET_HEAD: usize = 44;
/// The address that the adapter is given.
pub const ADDRESS: Address = [0x02, 0xab, 0xcd, 0xef, 0x44, 0x55];
/// The indices of the configurations.
pub const RNDIS: u8 = 0;
/// The configuration of CDC.
pub const ECM: u8 = 1;
/// The interface of CDC with the frames, and the setting in which it has its endpoints.
pub const DATA: u8 = 1;

/// A network adapter.
pub struct UsbNet {
    vm: Rc<Vm>,
    /// The device.
    pub function: Function,
}

impl UsbNet {
    /// Starts the controller, which resets the device, and configures it for Remote NDIS.
    ///
    /// # Errors
    /// It is not there, refuses, or has other endpoints.
    pub fn configured(&self) -> Result<Adapter<'_>> {
        let usb = self.function.connect()?;
        let endpoints = usb.configure_at(RNDIS)?;
        self.adapter(usb, &endpoints)
    }

    /// Starts the controller, and configures the device for Remote NDIS. It is not initialized, and
    /// keeps nothing of what was before.
    ///
    /// # Errors
    /// It is not there, or refuses.
    pub fn rndis(&self) -> Result<Adapter<'_>> {
        let adapter = self.configured()?;
        adapter.command(&bytes(&[message::RESET, 12, 0]))?.done("a reset")?;
        adapter.response()?;
        adapter.command(&bytes(&[message::HALT, 12, 0]))?.done("a halt")?;
        Ok(adapter)
    }

    /// Starts the controller, and configures the device for Remote NDIS; it moves frames.
    ///
    /// # Errors
    /// It is not there, or refuses.
    pub fn initialized(&self) -> Result<Adapter<'_>> {
        let adapter = self.rndis()?;
        adapter.initialize()?;
        adapter.set_filter(PLAIN)?;
        Ok(adapter)
    }

    /// Starts the controller, and configures the device for Ethernet of CDC; it moves frames.
    ///
    /// # Errors
    /// It is not there, refuses, or has other endpoints.
    pub fn ecm(&self) -> Result<Adapter<'_>> {
        let usb = self.function.connect()?;
        match usb.configure_at(ECM)?[..] {
            [only] if only.kind == Kind::Interrupt => {}
            ref other => return Err(Error::failed(format!("an adapter that is off: {other:?}"))),
        }
        let endpoints = usb.set_interface_at(ECM, DATA, 1)?;
        self.adapter(usb, &endpoints)
    }

    fn adapter<'a>(&self, usb: UsbDevice<'a>, endpoints: &[Endpoint]) -> Result<Adapter<'a>> {
        let [interrupt, input, output] = *endpoints else {
            return Err(Error::failed(format!("an adapter has three endpoints: {endpoints:?}")));
        };
        Ok(Adapter::new(usb, [interrupt, input, output], Wire::new(&self.vm)?))
    }
}

/// Words as bytes, the lowest first.
pub fn bytes(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

/// Bytes as words.
pub fn words(bytes: &[u8]) -> Vec<u32> {
    bytes.chunks_exact(4).map(|it| u32::from_le_bytes([it[0], it[1], it[2], it[3]])).collect()
}

/// A frame as a message.
pub fn packet(frame: &[u8]) -> Vec<u8> {
    let (head, length) = (PACKET_HEAD as u32, frame.len() as u32);
    let mut message =
        bytes(&[message::PACKET, head + length, head - 8, length, 0, 0, 0, 0, 0, 0, 0]);
    message.extend(frame);
    message
}

impl Consumes<FullSpeed> for UsbNet {
    const ARGS: QemuArgs =
        QemuArgs::device("bus={bus},port={addr},id=function,mac=02:ab:cd:ef:44:55,netdev=net")
            .add(Addition::NONE.before(BACKEND))
            .sockets(&[SOCKET]);

    fn attach(ports: Rc<FullSpeed>, site: &Site) -> Result<Self> {
        let function = Function::new(ports.0.clone(), &[Speed::Full]);
        Ok(Self { vm: site.vm.clone(), function })
    }
}

driver!(UsbNet = "usb-net"; consumes FullSpeed);
