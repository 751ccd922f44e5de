//! Where QEMU's fw_cfg is: in memory on boards (`fw_cfg_mem`), at I/O ports on PCs (`fw_cfg_io`).

use std::rc::Rc;

use crate::graph::{Discovered, FoundDevice, Produces};
use crate::protocol::Endian;
use crate::qemu::Vm;
use crate::qos::fw_cfg::FwCfg;
use crate::qos::registers::{Mmio, Ports};
use crate::{Error, Result, discovered, driver};

/// A `fw_cfg_mem`: the selector and the DMA address are big-endian whatever the CPU is.
pub struct FwCfgMem(FwCfg);

impl Discovered for FwCfgMem {
    const QOM_TYPES: &'static [&'static str] = &["fw_cfg_mem"];

    fn found(device: &FoundDevice, vm: &Rc<Vm>) -> Result<Self> {
        let region = |name: &str| {
            let base = device.registers().find(|region| *region.name == *name)?.base;
            Some((Rc::new(Mmio::new(vm, base, Endian::Big)) as Rc<_>, 0))
        };
        let need = |name: &str| {
            region(name).ok_or_else(|| Error::failed(format!("fw_cfg has no region {name}")))
        };
        Ok(Self(FwCfg {
            vm: vm.clone(),
            selector: need("fwcfg.ctl")?,
            data: need("fwcfg.data")?,
            dma: region("fwcfg.dma"),
            swaps_dma: false,
        }))
    }
}

impl Produces<FwCfg> for FwCfgMem {
    fn produced(self: Rc<Self>) -> Rc<FwCfg> {
        Rc::new(self.0.clone())
    }
}

driver!(FwCfgMem = "fw_cfg_mem"; produces FwCfg);
discovered!(FwCfgMem);

/// A `fw_cfg_io`: the selector at port 0x510, data at 0x511, and the DMA address, which is
/// big-endian, at 0x514.
pub struct FwCfgIo(FwCfg);

impl FwCfgIo {
    /// That of a PC.
    pub fn of_pc(vm: &Rc<Vm>) -> Self {
        let ports = Rc::new(Ports::new(vm, 0x510));
        Self(FwCfg {
            vm: vm.clone(),
            selector: (ports.clone(), 0),
            data: (ports.clone(), 1),
            dma: Some((ports, 4)),
            swaps_dma: true,
        })
    }
}

impl Produces<FwCfg> for FwCfgIo {
    fn produced(self: Rc<Self>) -> Rc<FwCfg> {
        Rc::new(self.0.clone())
    }
}

driver!(FwCfgIo = "fw_cfg_io"; produces FwCfg);
