//! The IOMMU device as any IOMMU: [`Iommu`] and [`Translation`] by its requests.

use std::rc::Rc;

use super::iommu::{
    ATTACH_BYPASS, BYPASS, FAULT_ADDRESS, FAULT_READ, FAULT_WRITE, INPUT_END, Live, OK, R_DOMAIN,
    R_MAPPING, R_UNKNOWN, READ, VirtioIommu, WRITE,
};
use super::transport::Transport;
use crate::qemu::Vm;
use crate::qos::iommu::{Access, Fault, Iommu, Limits, Reason, Scope, Translation};
use crate::qos::pci::PciBus;
use crate::qos::registers::RegistersExt;
use crate::qos::settle;
use crate::{Error, Result};

/// For how many reports there is room.
const ROOM: usize = 32;
/// A domain of bypass.
const PASSING: u32 = 0xfffe;

impl Iommu for VirtioIommu {
    fn vm(&self) -> &Rc<Vm> {
        self.device.vm()
    }

    fn bus(&self) -> &Rc<dyn PciBus> {
        &self.bus
    }

    fn limits(&self) -> Result<Limits> {
        // It refuses to map what it does not translate, so there is no bound to be seen.
        let last = self.field64(INPUT_END)?;
        Ok(Limits {
            last,
            larger: &[21, 30],
            write_only: true,
            has_bound: false,
            blocks_when_off: false,
        })
    }

    fn start(&self) -> Result<Box<dyn Translation>> {
        let live = self.start_whole()?;
        live.take_reports(ROOM)?;
        let transport = self.device.transport().clone();
        transport.config().write8(BYPASS, 0)?;
        Ok(Box::new(Translating { live, vm: self.device.vm().clone(), transport }))
    }
}

struct Translating {
    live: Live,
    vm: Rc<Vm>,
    transport: Rc<dyn Transport>,
}

/// What a request came to that must have been carried out.
fn done(what: &str, status: u8) -> Result<()> {
    match status {
        OK => Ok(()),
        status => Err(Error::failed(format!("{what}: status {status}"))),
    }
}

impl Translating {
    fn end_of(at: u64, order: u32) -> u64 {
        at + ((1 << order) - 1)
    }
}

impl Translation for Translating {
    fn attach(&self, requester: u16, domain: u16) -> Result<()> {
        done("ATTACH", self.live.attach(domain.into(), requester.into(), 0)?)
    }

    fn detach(&self, requester: u16) -> Result<()> {
        // A domain of its own, to have it in none whichever it was in.
        done("ATTACH", self.live.attach(PASSING + 1, requester.into(), 0)?)?;
        done("DETACH", self.live.detach(PASSING + 1, requester.into())?)
    }

    fn pass(&self, requester: u16) -> Result<()> {
        done("ATTACH", self.live.attach(PASSING, requester.into(), ATTACH_BYPASS)?)
    }

    fn map(&self, domain: u16, at: u64, to: u64, order: u32, access: Access) -> Result<()> {
        let (read, write) =
            (if access.read { READ } else { 0 }, if access.write { WRITE } else { 0 });
        let flags = read | write;
        done("MAP", self.live.map(domain.into(), at, Self::end_of(at, order), to, flags)?)
    }

    fn unmap(&self, domain: u16, at: u64, order: u32) -> Result<()> {
        done("UNMAP", self.live.unmap(domain.into(), at, Self::end_of(at, order))?)
    }

    fn remap(&self, domain: u16, at: u64, to: u64, access: Access) -> Result<()> {
        self.unmap(domain, at, 12)?;
        self.map(domain, at, to, 12, access)
    }

    fn invalidate(&self, _: Scope) -> Result<()> {
        // UNMAP itself ends when nothing is translated by what it took away (5.13.6.6).
        Ok(())
    }

    fn fault(&self) -> Result<Option<Fault>> {
        settle(&self.vm)?;
        let Some(report) = self.live.report()? else { return Ok(None) };
        self.live.take_reports(1)?;
        if report.flags & FAULT_ADDRESS == 0 {
            return Err(Error::failed(format!("a report without address: {report:x?}")));
        }
        let write = match report.flags & (FAULT_READ | FAULT_WRITE) {
            FAULT_WRITE => Some(true),
            FAULT_READ => Some(false),
            _ => None,
        };
        let reasons = match report.reason {
            R_UNKNOWN | R_DOMAIN => vec![Reason::NoDomain],
            R_MAPPING => vec![Reason::Unmapped, Reason::Permission, Reason::TooHigh],
            _ => vec![],
        };
        Ok(Some(Fault {
            requester: report.endpoint as u16,
            page: Some(report.address & !0xfff),
            write,
            reasons,
            raw: format!("{report:x?}"),
        }))
    }

    fn stop(&self) -> Result<()> {
        self.transport.config().write8(BYPASS, 1)?;
        self.transport.set_status(0)
    }
}
