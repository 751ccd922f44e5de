//! QEMU's `cfi.pflash01` on boards: the bank's geometry is told by its properties.

use std::rc::Rc;

use crate::graph::{Discovered, FoundDevice, Produces};
use crate::qemu::Vm;
use crate::qos::flash::IntelFlash;
use crate::qos::registers::{Mmio, Width};
use crate::{Error, Result, discovered, driver};

/// A bank.
pub struct PflashCfi01(IntelFlash);

impl Discovered for PflashCfi01 {
    const QOM_TYPES: &'static [&'static str] = &["cfi.pflash01"];

    fn found(device: &FoundDevice, vm: &Rc<Vm>) -> Result<Self> {
        let number = |name: &str| {
            let none = || Error::failed(format!("{} has no {name}", device.path));
            device.number(name).ok_or_else(none)
        };
        let region = device.regions.first();
        let base = region.ok_or_else(|| Error::skipped("the bank is not visible"))?.base;
        let width = match number("width")? {
            1 => Width::Byte,
            2 => Width::Word,
            4 => Width::Long,
            other => return Err(Error::failed(format!("a bank of {other} bytes"))),
        };
        let (device_width, most) = (number("device-width")?, number("max-device-width")?);
        // A device whose width is less than it could be has more bits in its addresses.
        let wider = most.max(device_width).checked_div(device_width).unwrap_or(1);
        let shift = (width.bytes() as u64 * wider).trailing_zeros();
        Ok(Self(IntelFlash {
            vm: vm.clone(),
            bank: Rc::new(Mmio::new(vm, base, vm.endian()?)),
            width,
            shift,
            devices: (device_width != 0).then(|| width.bytes() as u32 / device_width as u32),
            block: number("sector-length")?,
            blocks: number("num-blocks")?,
            ids: [number("id0")?, number("id1")?, number("id2")?, number("id3")?],
        }))
    }
}

impl Produces<IntelFlash> for PflashCfi01 {
    fn produced(self: Rc<Self>) -> Rc<IntelFlash> {
        Rc::new(self.0.clone())
    }
}

driver!(PflashCfi01 = "cfi.pflash01"; produces IntelFlash);
discovered!(PflashCfi01);
