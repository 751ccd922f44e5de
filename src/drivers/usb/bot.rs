//! QEMU's `usb-bot` with SCSI units behind it, as an adapter: USB Mass Storage Class, Bulk-Only Transport
//! 1.0 ("BOT", whose sections are cited).

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use crate::graph::{Consumes, Produces, QemuArgs, Site};
use crate::qemu::{Buffer, Vm};
use crate::qos::scsi::{self, Answer, CHECK_CONDITION, GOOD, Profile, Reply, ScsiHba, Unit};
use crate::qos::usb::function::Function;
use crate::qos::usb::storage::{Data, Storage};
use crate::qos::usb::{Endpoint, FullSpeed, HighSpeed, Speed};
use crate::{Error, Result, driver};

/// The speeds that it knows.
const SPEEDS: &[Speed] = &[Speed::Full, Speed::High, Speed::Super];
/// INQUIRY, and the first byte of its data where there is no unit.
const INQUIRY: u8 = 0x12;
const NOTHING: u8 = 0x7f;
/// The sense data of a unit that is not there: key, code, qualifier.
const NO_UNIT: (u8, u8, u8) = (5, 0x25, 0);
/// Status of a command: done; failed; the device and the host disagree (5.2, table 5.3).
const PASSED: u8 = 0;
const FAILED: u8 = 1;
const PHASE_ERROR: u8 = 2;

/// QEMU's `usb-bot`.
pub struct UsbBot {
    /// The device.
    pub function: Function,
}

impl UsbBot {
    /// Starts the controller and configures the device.
    ///
    /// # Errors
    /// It is not there, or refuses.
    pub fn start(&self) -> Result<Storage<'_>> {
        Storage::new(self.function.connect()?)
    }
}

const ARGS: QemuArgs = QemuArgs::device("bus={bus},port={addr},id=scsi0")
    .before(scsi::BACKEND)
    .after(scsi::BEHIND_TARGET)
    .images(&[scsi::IMAGE]);

impl Consumes<FullSpeed> for UsbBot {
    const ARGS: QemuArgs = ARGS;

    fn attach(ports: Rc<FullSpeed>, _: &Site) -> Result<Self> {
        Ok(Self { function: Function::new(ports.0.clone(), SPEEDS) })
    }
}

impl Consumes<HighSpeed> for UsbBot {
    const ARGS: QemuArgs = ARGS;

    fn attach(ports: Rc<HighSpeed>, _: &Site) -> Result<Self> {
        Ok(Self { function: Function::new(ports.0.clone(), SPEEDS) })
    }
}

impl Produces<dyn ScsiHba> for UsbBot {
    fn produced(self: Rc<Self>) -> Rc<dyn ScsiHba> {
        let (endpoints, tag, under_way) = (Cell::default(), Cell::new(0), RefCell::default());
        Rc::new(BotHba { device: self, endpoints, tag, under_way })
    }
}

driver!(UsbBot = "usb-bot"; consumes FullSpeed, HighSpeed; produces dyn ScsiHba);

/// A command under way.
struct UnderWay {
    unit: Unit,
    tag: u32,
    is_inquiry: bool,
    is_out: bool,
    memory: Option<Buffer>,
    room: usize,
}

/// The device as an adapter.
struct BotHba {
    device: Rc<UsbBot>,
    endpoints: Cell<Option<[Endpoint; 2]>>,
    tag: Cell<u32>,
    under_way: RefCell<Option<UnderWay>>,
}

impl BotHba {
    fn storage(&self) -> Result<Storage<'_>> {
        let not = || Error::failed("the adapter was not started");
        Storage::of(self.device.function.usb()?, self.endpoints.get().ok_or_else(not)?)
    }

    fn next(&self) -> u32 {
        self.tag.set(self.tag.get().wrapping_add(0x0101_0101));
        self.tag.get()
    }

    /// Why a unit has refused a command.
    fn sense(&self, storage: &Storage, unit: Unit) -> Result<Vec<u8>> {
        self.read(storage, unit, 3, scsi::SENSE)
    }

    /// Whether there is a unit.
    fn is_there(&self, storage: &Storage, unit: Unit) -> Result<bool> {
        Ok(self.read(storage, unit, INQUIRY, 36)?.first() != Some(&NOTHING))
    }

    /// What a unit answers to a command of six bytes, whose fifth is the length.
    fn read(&self, storage: &Storage, unit: Unit, code: u8, length: usize) -> Result<Vec<u8>> {
        let memory = self.device.function.hcd.vm().ram().alloc(length, 16)?;
        let (tag, what) = (self.next(), format!("command {code:#x}"));
        let data = Data::In(&memory, length);
        let command = [code, 0, 0, 0, length as u8, 0];
        storage.command_to(unit.of_target(), tag, &command, data)?.done(&what)?;
        let moved = storage.data(data, &what)?.done(&what)?;
        match storage.status(tag)? {
            (residue, PASSED) if residue as usize == length - moved => {
                let mut bytes = memory.to_vec()?;
                bytes.truncate(moved);
                Ok(bytes)
            }
            other => Err(Error::failed(format!("{what} of {moved} bytes ends with {other:?}"))),
        }
    }
}

impl ScsiHba for BotHba {
    fn profile(&self) -> Profile {
        Profile {
            units: scsi::UNITS_OF_TARGET,
            tells_residual: true,
            refuses_overrun: true,
            reset: None,
            aborts: false,
            most: 1 << 16,
            moves_all: None,
        }
    }

    fn start(&self, _: &Rc<Vm>) -> Result<()> {
        self.under_way.take();
        let storage = self.device.start()?;
        self.endpoints.set(Some([storage.input, storage.output]));
        storage.recover()
    }

    fn begin(&self, unit: Unit, cdb: &[u8], data: scsi::Data) -> Result<()> {
        let storage = self.storage()?;
        let (memory, tag) = (data.memory(self.device.function.hcd.vm())?, self.next());
        let (is_inquiry, is_out, room) = (cdb[0] == INQUIRY, data.is_out(), data.len());
        let way = UnderWay { unit, tag, is_inquiry, is_out, memory, room };
        storage.command_to(unit.of_target(), tag, cdb, way.data())?.done("a command")?;
        self.under_way.replace(Some(way));
        Ok(())
    }

    fn end(&self) -> Result<Answer> {
        let none = || Error::failed("no command is under way");
        let way = self.under_way.take().ok_or_else(none)?;
        let storage = self.storage()?;
        let moved = storage.data(way.data(), "the data of a command")?;
        let (residue, status) = storage.status(way.tag)?;
        let (status, sense) = match status {
            PASSED => (GOOD, Vec::new()),
            FAILED => (CHECK_CONDITION, self.sense(&storage, way.unit)?),
            PHASE_ERROR => {
                storage.recover()?;
                return Ok(Answer::Overrun);
            }
            other => return Err(Error::failed(format!("a command ends with status {other}"))),
        };
        let residual = residue as usize;
        if residual > way.room || moved.moved > way.room {
            let why = format!("{moved:?} and a residue of {residual}, of {}", way.room);
            return Err(Error::failed(why));
        }
        // QEMU says so of units that are there, too: INQUIRY tells (SPC-4, 6.6.2).
        if let [_, _, key, _, _, _, _, _, _, _, _, _, code, qualifier, ..] = sense[..]
            && (key, code, qualifier) == NO_UNIT
            && !self.is_there(&storage, way.unit)?
        {
            return Ok(Answer::Absent);
        }
        let data = match &way.memory {
            Some(memory) if !way.is_out => memory.to_vec()?,
            _ => Vec::new(),
        };
        // An INQUIRY is answered all the same (SPC-4, 6.6.2).
        if way.is_inquiry && data.first() == Some(&NOTHING) {
            return Ok(Answer::Absent);
        }
        Ok(Answer::Replied(Reply { status, sense, residual: Some(residual), data }))
    }
}

impl UnderWay {
    /// Its data, as the transport has them.
    fn data(&self) -> Data<'_> {
        match &self.memory {
            None => Data::None,
            Some(memory) if self.is_out => Data::Out(memory, self.room),
            Some(memory) => Data::In(memory, self.room),
        }
    }
}
