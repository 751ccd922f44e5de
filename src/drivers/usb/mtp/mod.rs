//! QEMU's `usb-mtp`: a folder of the host as the storage of a media player (Media Transfer Protocol 1.1,
//! "MTP", over PIMA 15740; its USB binding is the Still Image Capture Device Definition 1.0, "SICD").

mod dataset;

use std::cell::Cell;
use std::rc::Rc;

pub use self::dataset::{Dataset, ObjectInfo, text};
use crate::graph::{Consumes, QemuArgs, Site};
use crate::qemu::{Folder, Vm};
use crate::qos::usb::device::UsbDevice;
use crate::qos::usb::function::Function;
use crate::qos::usb::{Completion, Endpoint, FullSpeed, HighSpeed, Speed};
use crate::{Error, Result, driver};

/// Types of containers (MTP, H.2).
pub mod container {
    /// A command.
    pub const COMMAND: u16 = 1;
    /// Data, in either direction.
    pub const DATA: u16 = 2;
    /// The response to a command.
    pub const RESPONSE: u16 = 3;
    /// An event.
    pub const EVENT: u16 = 4;
    /// The bytes before what a container holds: length, type, code, transaction.
    pub const HEAD: usize = 12;
}

/// Operations (MTP, appendix D).
pub mod operation {
    /// GetDeviceInfo.
    pub const GET_DEVICE_INFO: u16 = 0x1001;
    /// OpenSession.
    pub const OPEN_SESSION: u16 = 0x1002;
    /// CloseSession.
    pub const CLOSE_SESSION: u16 = 0x1003;
    /// GetStorageIDs.
    pub const GET_STORAGE_IDS: u16 = 0x1004;
    /// GetStorageInfo.
    pub const GET_STORAGE_INFO: u16 = 0x1005;
    /// GetNumObjects.
    pub const GET_NUM_OBJECTS: u16 = 0x1006;
    /// GetObjectHandles.
    pub const GET_OBJECT_HANDLES: u16 = 0x1007;
    /// GetObjectInfo.
    pub const GET_OBJECT_INFO: u16 = 0x1008;
    /// GetObject.
    pub const GET_OBJECT: u16 = 0x1009;
    /// DeleteObject.
    pub const DELETE_OBJECT: u16 = 0x100b;
    /// SendObjectInfo.
    pub const SEND_OBJECT_INFO: u16 = 0x100c;
    /// SendObject.
    pub const SEND_OBJECT: u16 = 0x100d;
    /// GetPartialObject.
    pub const GET_PARTIAL_OBJECT: u16 = 0x101b;
    /// GetObjectPropsSupported.
    pub const GET_PROPS_SUPPORTED: u16 = 0x9801;
    /// GetObjectPropDesc.
    pub const GET_PROP_DESC: u16 = 0x9802;
    /// GetObjectPropValue.
    pub const GET_PROP_VALUE: u16 = 0x9803;
}

/// Codes of responses (MTP, appendix F).
pub mod response {
    /// OK.
    pub const OK: u16 = 0x2001;
    /// Session_Not_Open.
    pub const SESSION_NOT_OPEN: u16 = 0x2003;
    /// Operation_Not_Supported.
    pub const OPERATION_NOT_SUPPORTED: u16 = 0x2005;
    /// Incomplete_Transfer.
    pub const INCOMPLETE_TRANSFER: u16 = 0x2007;
    /// Invalid_StorageID.
    pub const INVALID_STORAGE: u16 = 0x2008;
    /// Invalid_ObjectHandle.
    pub const INVALID_OBJECT: u16 = 0x2009;
    /// Store_Read_Only.
    pub const STORE_READ_ONLY: u16 = 0x200e;
    /// No_Valid_ObjectInfo.
    pub const NO_OBJECT_INFO: u16 = 0x2015;
    /// Invalid_ParentObject.
    pub const INVALID_PARENT: u16 = 0x201a;
    /// Invalid_Parameter.
    pub const INVALID_PARAMETER: u16 = 0x201d;
    /// Session_Already_Open.
    pub const SESSION_ALREADY_OPEN: u16 = 0x201e;
    /// Invalid_ObjectPropCode.
    pub const INVALID_PROPERTY: u16 = 0xa801;
}

/// Codes of events (MTP, appendix G).
pub mod event {
    /// ObjectAdded.
    pub const OBJECT_ADDED: u16 = 0x4002;
    /// ObjectRemoved.
    pub const OBJECT_REMOVED: u16 = 0x4003;
    /// ObjectInfoChanged.
    pub const OBJECT_INFO_CHANGED: u16 = 0x4007;
}

/// Formats of objects (MTP, appendix A).
pub mod format {
    /// An object of an undefined format.
    pub const UNDEFINED: u16 = 0x3000;
    /// An association: a folder.
    pub const ASSOCIATION: u16 = 0x3001;
}

/// The only storage.
pub const STORAGE: u32 = 0x0001_0001;
/// What stands for the root where a parent is named, and for all storages or objects elsewhere.
pub const ROOT: u32 = 0xffff_ffff;
/// The folder that the device shares.
pub const SHARE: Folder = Folder { name: "share" };
const SPEEDS: &[Speed] = &[Speed::Full, Speed::High];
const ARGS: QemuArgs =
    QemuArgs::device("bus={bus},port={addr},id=function,rootdir={share},desc=qgraph,readonly=off")
        .folders(&[SHARE]);

/// A media player.
pub struct UsbMtp {
    /// The device.
    pub function: Function,
    /// The machine.
    pub vm: Rc<Vm>,
}

/// A media player that is configured: what MTP calls a responder.
pub struct Responder<'a> {
    /// The device.
    pub usb: UsbDevice<'a>,
    /// Its endpoint that sends to the host.
    pub input: Endpoint,
    /// Its endpoint that receives.
    pub output: Endpoint,
    /// Its endpoint of events.
    pub interrupt: Endpoint,
    transaction: Cell<u32>,
}

/// A container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Container {
    /// Its type.
    pub kind: u16,
    /// The operation, response or event.
    pub code: u16,
    /// The transaction that it belongs to.
    pub transaction: u32,
    /// What it holds.
    pub payload: Vec<u8>,
}

/// A response: its code, and its parameters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response(pub u16, pub Vec<u32>);

impl UsbMtp {
    fn new(function: Function, site: &Site) -> Self {
        Self { function, vm: site.vm.clone() }
    }

    /// Starts the controller, which resets the device, and configures it.
    ///
    /// # Errors
    /// It is not there, refuses, or has other endpoints.
    pub fn configured(&self) -> Result<Responder<'_>> {
        let usb = self.function.connect()?;
        let [input, output, interrupt] = usb.configure()?[..] else {
            return Err(Error::failed("a media player has three endpoints"));
        };
        Ok(Responder { usb, input, output, interrupt, transaction: Cell::new(0) })
    }
}

/// The words of a payload.
fn words(bytes: &[u8]) -> Vec<u32> {
    bytes.chunks_exact(4).map(|it| u32::from_le_bytes([it[0], it[1], it[2], it[3]])).collect()
}

/// A container as bytes, with this length in its head.
pub fn bytes(length: u32, kind: u16, code: u16, transaction: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = length.to_le_bytes().to_vec();
    bytes.extend([kind.to_le_bytes(), code.to_le_bytes()].concat());
    bytes.extend(transaction.to_le_bytes());
    bytes.extend(payload);
    bytes
}

impl Responder<'_> {
    /// Sends bytes in one transfer.
    ///
    /// # Errors
    /// It does not end.
    pub fn send(&self, bytes: &[u8]) -> Result<Completion> {
        let memory = self.usb.hcd.vm().ram().alloc(bytes.len().max(1), 64)?;
        memory.write(0, bytes)?;
        self.usb.transfer(self.output, &memory, (0, bytes.len()), "a container out")
    }

    fn send_container(&self, kind: u16, code: u16, payload: &[u8]) -> Result<()> {
        let length = (container::HEAD + payload.len()) as u32;
        let all = bytes(length, kind, code, self.transaction.get(), payload);
        self.send(&all)?.done("a container out")?;
        // A short packet ends it (SICD, 7).
        if all.len().is_multiple_of(self.output.packet) {
            self.send(&[])?.done("the end of a container")?;
        }
        Ok(())
    }

    /// Sends the command of a new transaction.
    ///
    /// # Errors
    /// The device refuses.
    pub fn command(&self, code: u16, parameters: &[u32]) -> Result<()> {
        self.transaction.set(self.transaction.get() + 1);
        let payload: Vec<u8> = parameters.iter().flat_map(|it| it.to_le_bytes()).collect();
        self.send_container(container::COMMAND, code, &payload)
    }

    /// Sends the data of the transaction.
    ///
    /// # Errors
    /// The device refuses.
    pub fn data(&self, code: u16, data: &[u8]) -> Result<()> {
        self.send_container(container::DATA, code, data)
    }

    /// The next packet.
    ///
    /// # Errors
    /// None comes.
    pub fn packet(&self) -> Result<Vec<u8>> {
        let packet = self.input.packet;
        let memory = self.usb.hcd.vm().ram().alloc(packet, 64)?;
        let moved = self.usb.transfer(self.input, &memory, (0, packet), "a packet in")?;
        let mut bytes = memory.to_vec()?;
        bytes.truncate(moved.done("a packet in")?);
        Ok(bytes)
    }

    /// The next container, packet by packet up to the length that it says. An empty packet before it is
    /// the end of the container before.
    ///
    /// # Errors
    /// None comes, or it is longer or shorter than it says.
    pub fn container(&self) -> Result<Container> {
        let mut all = self.packet()?;
        if all.is_empty() {
            all = self.packet()?;
        }
        loop {
            let length = words(&all).first().copied().unwrap_or(0) as usize;
            if all.len() == length && length >= container::HEAD {
                let half = |at: usize| u16::from_le_bytes([all[at], all[at + 1]]);
                let (kind, code, transaction) = (half(4), half(6), words(&all)[2]);
                let payload = all.split_off(container::HEAD);
                return Ok(Container { kind, code, transaction, payload });
            }
            if all.len() > length || !all.len().is_multiple_of(self.input.packet) {
                let head = &all[..all.len().min(32)];
                let why = format!("{} bytes are a container that begins {head:02x?}", all.len());
                return Err(Error::failed(why));
            }
            all.extend(self.packet()?);
        }
    }

    /// The response of the transaction.
    ///
    /// # Errors
    /// None comes, or that of another.
    pub fn response(&self) -> Result<Response> {
        self.response_of(self.container()?)
    }

    fn response_of(&self, of: Container) -> Result<Response> {
        match of {
            Container { kind: container::RESPONSE, code, transaction, payload }
                if transaction == self.transaction.get() && payload.len() % 4 == 0 =>
            {
                Ok(Response(code, words(&payload)))
            }
            other => Err(Error::failed(format!("what is no response: {other:x?}"))),
        }
    }

    /// Has an operation done that has no data, or data to the host, which are empty if there are none.
    ///
    /// # Errors
    /// The device refuses, or what it says belongs to something else.
    pub fn run(&self, code: u16, parameters: &[u32]) -> Result<(Response, Vec<u8>)> {
        self.command(code, parameters)?;
        let first = self.container()?;
        if first.kind != container::DATA {
            return Ok((self.response_of(first)?, Vec::new()));
        }
        if (first.code, first.transaction) != (code, self.transaction.get()) {
            return Err(Error::failed(format!("operation {code:#x} has the data {first:x?}")));
        }
        Ok((self.response()?, first.payload))
    }

    /// Has an operation done that has data to the device.
    ///
    /// # Errors
    /// The device refuses, or what it says belongs to something else.
    pub fn run_out(&self, code: u16, parameters: &[u32], data: &[u8]) -> Result<Response> {
        self.command(code, parameters)?;
        self.data(code, data)?;
        self.response()
    }

    /// The data of an operation that must succeed without parameters of the response.
    ///
    /// # Errors
    /// It does not.
    pub fn get(&self, code: u16, parameters: &[u32]) -> Result<Vec<u8>> {
        match self.run(code, parameters)? {
            (Response(response::OK, of), data) if of.is_empty() => Ok(data),
            (other, _) => Err(Error::failed(format!("operation {code:#x}: {other:x?}"))),
        }
    }

    /// Opens a session, in which the handles begin anew.
    ///
    /// # Errors
    /// The device refuses.
    pub fn open(&self) -> Result<()> {
        self.get(operation::OPEN_SESSION, &[1])?;
        self.get(operation::CLOSE_SESSION, &[])?;
        self.get(operation::OPEN_SESSION, &[1]).map(drop)
    }

    /// The handles of the objects in a folder.
    ///
    /// # Errors
    /// The device refuses.
    pub fn handles(&self, parent: u32) -> Result<Vec<u32>> {
        let data = self.get(operation::GET_OBJECT_HANDLES, &[STORAGE, 0, parent])?;
        let mut dataset = Dataset(&data);
        let handles = dataset.words()?;
        dataset.end()?;
        Ok(handles)
    }

    /// What an object is.
    ///
    /// # Errors
    /// The device refuses.
    pub fn info(&self, handle: u32) -> Result<ObjectInfo> {
        ObjectInfo::of(&self.get(operation::GET_OBJECT_INFO, &[handle])?)
    }

    /// The handle of the object of this name in a folder, if there is one.
    ///
    /// # Errors
    /// The device refuses.
    pub fn find(&self, parent: u32, name: &str) -> Result<Option<u32>> {
        for handle in self.handles(parent)? {
            if self.info(handle)?.name == name {
                return Ok(Some(handle));
            }
        }
        Ok(None)
    }
}

impl Consumes<FullSpeed> for UsbMtp {
    const ARGS: QemuArgs = ARGS;

    fn attach(ports: Rc<FullSpeed>, site: &Site) -> Result<Self> {
        Ok(Self::new(Function::new(ports.0.clone(), SPEEDS), site))
    }
}

impl Consumes<HighSpeed> for UsbMtp {
    const ARGS: QemuArgs = ARGS;

    fn attach(ports: Rc<HighSpeed>, site: &Site) -> Result<Self> {
        Ok(Self::new(Function::new(ports.0.clone(), SPEEDS), site))
    }
}

driver!(UsbMtp = "usb-mtp"; consumes FullSpeed, HighSpeed);
