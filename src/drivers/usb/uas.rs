//! QEMU's `usb-uas` with SCSI units behind it, as an adapter: USB Attached SCSI (T10/2095-D).

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use crate::graph::{Consumes, Produces, QemuArgs, Site};
use crate::qemu::{Buffer, Vm};
use crate::qos::scsi::{self, Answer, CHECK_CONDITION, Data, Profile, Reach, Reply, ScsiHba, Unit};
use crate::qos::usb::function::Function;
use crate::qos::usb::uas::{self, Pending, Pipes, function, response};
use crate::qos::usb::{HighSpeed, Speed, Ticket};
use crate::qos::wait_until;
use crate::{Error, Result, driver};

/// How often and how long is looked for the status of a command whose memory is full, until it is
/// taken to have more data than there is memory for.
const LOOKS: usize = 300;
const LONG: Duration = Duration::from_millis(500);
/// The highest tag of a command here; that of a function is the next.
const TAGS: u16 = 12;

/// INQUIRY, and the first byte of its data where there is no unit.
const INQUIRY: u8 = 0x12;
const NOTHING: u8 = 0x7f;
/// The sense data of a unit that is not there: key, code, qualifier.
const NO_UNIT: (u8, u8, u8) = (5, 0x25, 0);

/// QEMU's `usb-uas`.
pub struct UsbUas {
    /// The device.
    pub function: Function,
}

impl UsbUas {
    /// Starts the controller and configures the device.
    ///
    /// # Errors
    /// It is not there, or refuses.
    pub fn start(&self) -> Result<uas::Uas<'_>> {
        uas::Uas::new(self.function.connect()?)
    }
}

impl Consumes<HighSpeed> for UsbUas {
    const ARGS: QemuArgs = QemuArgs::device("bus={bus},port={addr},id=scsi0")
        .before(scsi::BACKEND)
        .after(scsi::BEHIND_TARGET)
        .images(&[scsi::IMAGE]);

    fn attach(ports: Rc<HighSpeed>, _: &Site) -> Result<Self> {
        let function = Function::new(ports.0.clone(), &[Speed::High, Speed::Super]);
        Ok(Self { function })
    }
}

impl Produces<dyn ScsiHba> for UsbUas {
    fn produced(self: Rc<Self>) -> Rc<dyn ScsiHba> {
        let (pipes, tag, under_way) = (Cell::default(), Cell::new(0), RefCell::default());
        Rc::new(UasHba { device: self, pipes, tag, under_way })
    }
}

driver!(UsbUas = "usb-uas"; consumes HighSpeed; produces dyn ScsiHba);

/// A command under way.
struct UnderWay {
    unit: Unit,
    tag: u16,
    is_inquiry: bool,
    is_out: bool,
    room: usize,
    memory: Option<Buffer>,
    status: Pending,
    data: Option<Ticket>,
    moved: usize,
}

/// The device as an adapter.
struct UasHba {
    device: Rc<UsbUas>,
    pipes: Cell<Option<Pipes>>,
    tag: Cell<u16>,
    under_way: RefCell<Option<UnderWay>>,
}

impl UasHba {
    fn uas(&self) -> Result<uas::Uas<'_>> {
        let not = || Error::failed("the adapter was not started");
        Ok(uas::Uas { usb: self.device.function.usb()?, pipes: self.pipes.get().ok_or_else(not)? })
    }

    fn take(&self) -> Result<UnderWay> {
        self.under_way.take().ok_or_else(|| Error::failed("no command is under way"))
    }

    /// Has a task management function done. Nothing else comes then.
    fn task(&self, function: u8, way: &UnderWay) -> Result<()> {
        let uas = self.uas()?;
        let tag = TAGS + 1;
        let iu = uas::task(tag, function, way.tag, way.unit.of_target());
        // Without streams, what comes for the command comes the same way, before the response.
        let pending = uas.pipes.have_streams().then(|| uas.listen(tag)).transpose()?;
        uas.send(&iu)?.done("a task management function")?;
        let answer = match &pending {
            Some(pending) => uas.hear(pending)?,
            None => self.last(&uas, way)?,
        };
        match answer {
            uas::Answer::Response(of, response::COMPLETE) if of == tag => Ok(()),
            other => Err(Error::failed(format!("function {function}, tag {tag}: {other:?}"))),
        }
    }

    /// The first response, whatever comes before it.
    fn last(&self, uas: &uas::Uas, way: &UnderWay) -> Result<uas::Answer> {
        let mut answer = uas.hear(&way.status)?;
        for _ in 0..4 {
            if matches!(answer, uas::Answer::Response(..)) {
                break;
            }
            answer = uas.hear(&uas.listen(0)?)?;
        }
        Ok(answer)
    }

    /// Gives up a command.
    fn give_up(&self, way: UnderWay, function: u8) -> Result<()> {
        self.task(function, &way)?;
        let hcd = &self.device.function.hcd;
        if self.uas()?.pipes.have_streams() {
            hcd.cancel(way.status.ticket)?;
        }
        way.data.map_or(Ok(()), |data| hcd.cancel(data))
    }

    /// What the command ends with; `None` if its unit has more data than there is memory for.
    fn answer(&self, way: &mut UnderWay) -> Result<Option<(u8, Vec<u8>)>> {
        let uas = self.uas()?;
        let hcd = uas.usb.hcd;
        let (mut looks, mut since) = (0, Instant::now());
        let mut heard = None;
        wait_until(hcd.vm(), "the status of a command", || {
            if let Some(data) = way.data
                && let Some(completion) = hcd.completion(data)?
            {
                way.moved += completion.done("the data of a command")?;
                way.data = None;
            }
            let answer = match heard {
                None => uas.heard(&way.status)?,
                Some(_) => None,
            };
            match answer {
                Some(uas::Answer::Sense(tag, status, sense)) if tag == way.tag => {
                    heard = Some((status, sense));
                }
                Some(uas::Answer::ReadReady(tag)) if tag == way.tag && !way.is_out => {
                    way.status = uas.listen(tag)?;
                    way.begin_data(&uas)?;
                }
                Some(uas::Answer::WriteReady(tag)) if tag == way.tag && way.is_out => {
                    way.status = uas.listen(tag)?;
                    way.begin_data(&uas)?;
                }
                Some(other) => {
                    return Err(Error::failed(format!("command {}: {other:?}", way.tag)));
                }
                None => {}
            }
            if way.data.is_none() && way.moved == way.room {
                looks += 1;
            } else {
                (looks, since) = (0, Instant::now());
            }
            let is_over = heard.is_some() && way.data.is_none();
            Ok(is_over || looks > LOOKS && since.elapsed() > LONG && heard.is_none())
        })?;
        Ok(heard)
    }
}

impl UnderWay {
    /// Begins to move what there is memory for and was not moved.
    fn begin_data(&mut self, uas: &uas::Uas) -> Result<()> {
        match &self.memory {
            Some(memory) if self.moved == 0 && self.data.is_none() => {
                self.data = Some(uas.data(self.tag, self.is_out, memory, self.room)?);
            }
            _ => {}
        }
        Ok(())
    }
}

impl ScsiHba for UasHba {
    fn profile(&self) -> Profile {
        Profile {
            units: scsi::UNITS_OF_TARGET,
            tells_residual: true,
            refuses_overrun: true,
            reset: Some(Reach::Unit),
            aborts: true,
            most: 1 << 18,
            moves_all: None,
        }
    }

    fn start(&self, _: &Rc<Vm>) -> Result<()> {
        self.under_way.take();
        self.pipes.set(Some(self.device.start()?.pipes));
        Ok(())
    }

    fn begin(&self, unit: Unit, cdb: &[u8], data: Data) -> Result<()> {
        let uas = self.uas()?;
        let tag = self.tag.get() % TAGS + 1;
        self.tag.set(tag);
        let (memory, status) = (data.memory(uas.usb.hcd.vm())?, uas.listen(tag)?);
        let (is_inquiry, is_out, room) = (cdb[0] == INQUIRY, data.is_out(), data.len());
        let mut way =
            UnderWay { unit, tag, is_inquiry, is_out, room, memory, status, data: None, moved: 0 };
        if uas.pipes.have_streams() {
            way.begin_data(&uas)?;
        }
        uas.send(&uas::command(tag, unit.of_target(), cdb))?.done("a command")?;
        self.under_way.replace(Some(way));
        Ok(())
    }

    fn end(&self) -> Result<Answer> {
        let mut way = self.take()?;
        let Some((status, sense)) = self.answer(&mut way)? else {
            self.give_up(way, function::ABORT_TASK)?;
            return Ok(Answer::Overrun);
        };
        let refused = (status == CHECK_CONDITION).then_some(&sense[..]);
        if let Some(&[_, _, key, _, _, _, _, _, _, _, _, _, code, qualifier, ..]) = refused
            && (key, code, qualifier) == NO_UNIT
        {
            return Ok(Answer::Absent);
        }
        let data = match &way.memory {
            Some(memory) if !way.is_out => memory.to_vec()?,
            _ => vec![0; if way.is_out { 0 } else { way.room }],
        };
        // An INQUIRY is answered all the same (SPC-4, 6.6.2).
        if way.is_inquiry && data.first() == Some(&NOTHING) {
            return Ok(Answer::Absent);
        }
        Ok(Answer::Replied(Reply { status, sense, residual: Some(way.room - way.moved), data }))
    }

    fn abort(&self) -> Result<Answer> {
        self.give_up(self.take()?, function::ABORT_TASK)?;
        Ok(Answer::Aborted)
    }

    fn reset(&self, unit: Unit) -> Result<()> {
        if let Some(way) = self.under_way.take() {
            return self.give_up(way, function::LOGICAL_UNIT_RESET);
        }
        let uas = self.uas()?;
        let tag = TAGS + 1;
        let iu = uas::task(tag, function::LOGICAL_UNIT_RESET, 0, unit.of_target());
        match uas.ask(tag, &iu)? {
            uas::Answer::Response(of, response::COMPLETE) if of == tag => Ok(()),
            other => Err(Error::failed(format!("a reset of {unit:?}: {other:?}"))),
        }
    }
}
