//! The virtio SCSI host adapter as a [`ScsiHba`], with its first queue of requests.

use std::cell::RefCell;
use std::rc::Rc;

use super::scsi::{self, Live, Request, VirtioScsi};
use crate::graph::Produces;
use crate::qemu::Vm;
use crate::qos::scsi::{Answer, Data, Profile, Reach, Reply, ScsiHba, UNITS_WITH_LUNS, Unit};
use crate::{Error, Result};

/// Task management (5.6.6.2): abort a task, reset a unit.
const ABORT_TASK: u32 = 0;
const RESET_UNIT: u32 = 5;

/// The adapter.
pub struct VirtioHba {
    scsi: Rc<VirtioScsi>,
    live: RefCell<Option<Rc<Live>>>,
    request: RefCell<Option<(Request, u16)>>,
}

impl VirtioHba {
    fn live(&self) -> Result<Rc<Live>> {
        let live = self.live.borrow().clone();
        live.ok_or_else(|| Error::failed("the adapter was not started"))
    }

    fn manage(&self, unit: Unit, function: u32) -> Result<()> {
        match self.live()?.manage(of(unit), function, scsi::TAG)? {
            0 => Ok(()),
            other => Err(Error::failed(format!("task management {function}: response {other}"))),
        }
    }
}

fn of(unit: Unit) -> scsi::Unit {
    (unit.target, unit.lun.into())
}

impl ScsiHba for VirtioHba {
    fn profile(&self) -> Profile {
        Profile {
            units: UNITS_WITH_LUNS,
            tells_residual: true,
            refuses_overrun: true,
            reset: Some(Reach::Unit),
            aborts: true,
            most: 1 << 20,
            moves_all: Some("QEMU's scsi-disk moves as much as the list of memory holds"),
        }
    }

    fn start(&self, _: &Rc<Vm>) -> Result<()> {
        self.request.replace(None);
        self.live.replace(None);
        self.scsi.0.reset()?;
        self.live.replace(Some(Rc::new(self.scsi.start()?)));
        Ok(())
    }

    fn begin(&self, unit: Unit, cdb: &[u8], data: Data) -> Result<()> {
        let (out, room): (&[u8], usize) = match data {
            Data::None => (&[], 0),
            Data::In(room) => (&[], room),
            Data::Out(bytes) => (bytes, 0),
        };
        let begun = self.live()?.begin(0, of(unit), cdb, out, room)?;
        self.request.replace(Some(begun));
        Ok(())
    }

    fn end(&self) -> Result<Answer> {
        let request = self.request.take();
        let (request, id) = request.ok_or_else(|| Error::failed("no command is under way"))?;
        let reply = self.live()?.end(0, &request, id)?;
        match reply.response {
            scsi::S_OK => Ok(Answer::Replied(Reply {
                status: reply.status,
                sense: reply.sense,
                residual: Some(reply.residual as usize),
                data: reply.data,
            })),
            scsi::S_OVERRUN => Ok(Answer::Overrun),
            scsi::S_BAD_TARGET => Ok(Answer::Absent),
            scsi::S_ABORTED | scsi::S_RESET => Ok(Answer::Aborted),
            other => Err(Error::failed(format!("response {other}"))),
        }
    }

    fn abort(&self) -> Result<Answer> {
        let unit = self.request.borrow().as_ref().map(|(request, _)| request.unit());
        let (target, lun) = unit.ok_or_else(|| Error::failed("no command is under way"))?;
        self.manage(Unit::new(target, lun as u8), ABORT_TASK)?;
        self.end()
    }

    fn reset(&self, unit: Unit) -> Result<()> {
        self.manage(unit, RESET_UNIT)?;
        if self.request.borrow().is_some() {
            self.end()?;
        }
        Ok(())
    }
}

impl Produces<dyn ScsiHba> for VirtioScsi {
    fn produced(self: Rc<Self>) -> Rc<dyn ScsiHba> {
        let (live, request) = (RefCell::default(), RefCell::default());
        Rc::new(VirtioHba { scsi: self, live, request })
    }
}
