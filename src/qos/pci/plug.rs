//! A function on a bus with the registers behind one of its BARs: what the driver of a PCI
//! device holds.

use std::rc::Rc;

use super::{Bar, Identity, PciBus, PciDevice, PciFunction};
use crate::Result;
use crate::graph::Site;
use crate::qos::registers::{AnyRegister, RegisterBlock, Registers};

/// A function that is enabled, and one of its BARs, mapped.
#[derive(Clone)]
pub struct PciPlug {
    /// The function.
    pub device: PciDevice,
    /// Its registers.
    pub registers: Rc<Bar>,
    /// Which BAR they are behind.
    bar: u8,
}

impl PciPlug {
    /// The function that this path has plugged into `bus`, its BAR of number `bar` mapped.
    ///
    /// # Errors
    /// Returns an error if no function is there, or the BAR cannot be mapped.
    pub fn attach(bus: &Rc<dyn PciBus>, site: &Site, bar: u8) -> Result<Self> {
        Self::of(PciDevice::plugged(bus, site)?, bar)
    }

    /// The function `device`, its BAR of number `bar` mapped.
    ///
    /// # Errors
    /// Returns an error if the BAR cannot be mapped.
    pub fn of(device: PciDevice, bar: u8) -> Result<Self> {
        let registers = device.map_bar(bar)?;
        device.enable()?;
        Ok(Self { device, registers, bar })
    }

    /// Maps the BAR again after a reset of the machine.
    ///
    /// # Errors
    /// Returns an error if the BAR cannot be mapped.
    pub fn again(&self) -> Result<Self> {
        Self::of(self.device.clone(), self.bar)
    }

    /// The function as the suite of all PCI functions takes it.
    pub fn function(&self, identity: Identity) -> Rc<PciFunction> {
        let (device, mapped) = (self.device.clone(), vec![self.registers.clone()]);
        Rc::new(PciFunction { device, identity: Some(identity), mapped })
    }

    /// Its registers as the generic suite takes them: `table` says what the data sheet `sheet`
    /// says of them.
    pub fn block(&self, sheet: &'static str, table: &[&dyn AnyRegister]) -> RegisterBlock {
        let (device, bar) = (self.device.clone(), self.bar);
        RegisterBlock::new(sheet, self.registers.clone(), table).attach(
            move || -> Result<Rc<dyn Registers>> { Ok(Self::of(device.clone(), bar)?.registers) },
        )
    }
}
