//! A device that QEMU's command line has plugged into the first port of a controller, for drivers
//! that consume [`UsbHcd`].

use std::cell::RefCell;
use std::rc::Rc;

use super::device::UsbDevice;
use super::models::{give_address, open};
use super::{Device, Speed, UsbHcd};
use crate::{Error, Result};

/// The address that the device is given.
const ADDRESS: u8 = 5;

/// A device at the first port.
pub struct Function {
    /// The controller.
    pub hcd: Rc<dyn UsbHcd>,
    speeds: &'static [Speed],
    device: RefCell<Option<Rc<Device>>>,
}

impl Function {
    /// A device that knows these speeds, which is not talked to yet.
    pub fn new(hcd: Rc<dyn UsbHcd>, speeds: &'static [Speed]) -> Self {
        Self { hcd, speeds, device: RefCell::default() }
    }

    /// Starts the controller and gives the device an address.
    ///
    /// # Errors
    /// The device is not there, or refuses. Skipped if the controller does not reach RAM.
    pub fn connect(&self) -> Result<UsbDevice<'_>> {
        self.hcd.reaches_ram()?;
        let Some(speed) = self.hcd.profile().speed(self.speeds) else {
            return Err(Error::skipped("the controller has none of its speeds"));
        };
        self.device.take();
        self.hcd.start()?;
        let usb = open(&*self.hcd, self.hcd.port_of(0, speed), speed, "the device")?;
        let usb = give_address(usb, ADDRESS)?;
        self.device.replace(Some(usb.device.clone()));
        Ok(usb)
    }

    /// The device, to which an address was given.
    ///
    /// # Errors
    /// None was.
    pub fn usb(&self) -> Result<UsbDevice<'_>> {
        match self.device.borrow().clone() {
            Some(device) => Ok(UsbDevice { hcd: &*self.hcd, device }),
            None => Err(Error::failed("the device was not given an address")),
        }
    }
}
