//! A virtio device of any kind, through any transport: its initialisation (3.1).

use std::rc::Rc;

use super::queue::Queue;
use super::transport::Transport;
use super::{ACKNOWLEDGE, DRIVER, DRIVER_OK, FEATURES_OK, features};
use crate::qemu::Vm;
use crate::qos::registers::Registers;
use crate::qos::wait_until;
use crate::{Error, Result};

/// How often the configuration may change while it is read.
const CONFIG_READS: usize = 10;

/// A device, and the machine it is in.
#[derive(Clone)]
pub struct Virtio {
    vm: Rc<Vm>,
    transport: Rc<dyn Transport>,
}

impl Virtio {
    /// The device behind `transport`.
    pub fn new(vm: &Rc<Vm>, transport: Rc<dyn Transport>) -> Self {
        Self { vm: vm.clone(), transport }
    }

    /// The machine that it is in.
    pub fn vm(&self) -> &Rc<Vm> {
        &self.vm
    }

    /// Its registers.
    pub fn transport(&self) -> &Rc<dyn Transport> {
        &self.transport
    }

    /// Resets the device and waits until that is done (2.4).
    ///
    /// # Errors
    /// It is never done.
    pub fn reset(&self) -> Result<()> {
        self.transport.set_status(0)?;
        wait_until(&self.vm, "the device's reset", || Ok(self.transport.status()? == 0))
    }

    /// The features without which the device does not work with a driver.
    pub fn required(&self) -> u64 {
        if self.transport.is_modern() { features::VERSION_1 } else { 0 }
    }

    /// All that the device offers and a driver may accept.
    ///
    /// # Errors
    /// QEMU does not answer.
    pub fn acceptable(&self) -> Result<u64> {
        Ok(self.transport.device_features()? & !features::UNUSED_30)
    }

    /// Skips a test of `feature`, which is `what`, where the device does not offer it.
    ///
    /// # Errors
    /// [`Error::Skipped`]: it does not.
    pub fn needs(&self, feature: u64, what: &str) -> Result<()> {
        match self.transport.device_features()? & feature {
            0 => Err(Error::skipped(format!("the device does not offer {what}"))),
            _ => Ok(()),
        }
    }

    /// Reads from the configuration what takes several reads, again if it changed in
    /// between (2.5.1): its generation tells, or, where it has none, a second reading.
    ///
    /// # Errors
    /// It changes all the time, or `read` fails.
    pub fn read_config<T: PartialEq>(
        &self,
        mut read: impl FnMut(&dyn Registers) -> Result<T>,
    ) -> Result<T> {
        let (config, generation) = (self.transport.config(), || self.transport.config_generation());
        for _ in 0..CONFIG_READS {
            let before = generation()?;
            let value = read(config)?;
            let same = match before {
                Some(_) => generation()? == before,
                None => read(config)? == value,
            };
            if same {
                return Ok(value);
            }
        }
        Err(Error::failed(format!("the configuration changed during {CONFIG_READS} reads of it")))
    }

    /// Resets the device and accepts what it offers of `wanted`; returns that.
    ///
    /// # Errors
    /// The device does not agree.
    pub fn negotiate(&self, wanted: u64) -> Result<u64> {
        let transport = &self.transport;
        self.reset()?;
        transport.set_status(ACKNOWLEDGE)?;
        transport.set_status(ACKNOWLEDGE | DRIVER)?;
        let offered = transport.device_features()?;
        let accepted = offered & wanted;
        transport.set_driver_features(accepted)?;
        if transport.is_modern() {
            transport.set_status(ACKNOWLEDGE | DRIVER | FEATURES_OK)?;
            let status = transport.status()?;
            if status & FEATURES_OK == 0 {
                return Err(Error::failed(format!(
                    "the device offers the features {offered:#x}, but refuses {accepted:#x}: \
                     status {status:#x}"
                )));
            }
        }
        Ok(accepted)
    }

    /// Makes queue `index` live, as large as it can be.
    ///
    /// # Errors
    /// There is no such queue.
    pub fn queue(&self, index: u16, accepted: u64) -> Result<Queue> {
        Queue::new(self, index, accepted, u16::MAX)
    }

    /// Tells the device that the driver is ready.
    ///
    /// # Errors
    /// The status does not stay.
    pub fn driver_ok(&self) -> Result<()> {
        let status = self.transport.status()? | DRIVER_OK;
        self.transport.set_status(status)?;
        match self.transport.status()? {
            now if now == status => Ok(()),
            now => Err(Error::failed(format!("status: wrote {status:#x}, read {now:#x}"))),
        }
    }
}
