//! The I2C multiplexers PCA9546A and PCA9548A with four and eight channels (NXP, data sheets of these
//! names). A channel is selected by its bit in the control register, any number of them at once.

use std::collections::BTreeSet;
use std::rc::Rc;

use crate::graph::{Consumes, Node, Plug, Produces, QemuArgs, Site};
use crate::protocol::Endian;
use crate::qemu::Vm;
use crate::qos::i2c::{I2cBus, I2cChannel, I2cDevice, OnBus};
use crate::qos::interrupt::InterruptLine;
use crate::{Error, Result, driver};

/// Its id on the command line.
const ID: &str = "mux0";

/// A multiplexer with this number of channels.
pub struct Pca954x<const CHANNELS: u8> {
    device: I2cDevice,
    bus: Rc<dyn I2cBus>,
    vm: Rc<Vm>,
}

/// QEMU's `pca9546`.
pub type Pca9546 = Pca954x<4>;
/// QEMU's `pca9548`.
pub type Pca9548 = Pca954x<8>;

impl<const CHANNELS: u8> Consumes<dyn I2cBus> for Pca954x<CHANNELS>
where
    Self: Node,
{
    const ARGS: QemuArgs = QemuArgs::device("bus={bus},address={addr},id=mux0").at("0x74");

    fn attach(bus: Rc<dyn I2cBus>, site: &Site) -> Result<Self> {
        let device = I2cDevice::plugged(bus.clone(), site, Endian::Big)?;
        Ok(Self { device, bus, vm: site.vm.clone() })
    }
}

driver!(Pca9546 = "pca9546"; consumes dyn I2cBus; produces I2cChannel);
driver!(Pca9548 = "pca9548"; consumes dyn I2cBus; produces I2cChannel);

impl<const CHANNELS: u8> Pca954x<CHANNELS> {
    /// How many channels it has.
    pub const CHANNELS: u8 = CHANNELS;
    /// The bits of the control register that select a channel.
    pub const ALL: u8 = u8::MAX >> (8 - CHANNELS);
    /// The last channel, into which the path plugs its device.
    const LAST: u8 = CHANNELS - 1;

    /// The multiplexer as a device.
    pub fn device(&self) -> &I2cDevice {
        &self.device
    }

    /// Which channels are selected, a bit each: what the control register has.
    ///
    /// # Errors
    /// Returns an error if the multiplexer does not acknowledge.
    pub fn selected(&self) -> Result<u8> {
        let [control] = self.device.recv()?;
        Ok(control)
    }

    /// Writes the control register.
    ///
    /// # Errors
    /// Returns an error if the multiplexer does not acknowledge.
    pub fn select(&self, channels: u8) -> Result<()> {
        self.device.send(&[channels])
    }

    /// The bus of a channel in QEMU's object model.
    pub fn on_bus(&self, channel: u8) -> OnBus {
        OnBus::at(&self.vm, format!("/machine/peripheral/{ID}/i2c.{channel}"))
    }
}

impl<const CHANNELS: u8> Produces<I2cChannel> for Pca954x<CHANNELS>
where
    Self: Node,
{
    const PLUG: Plug = Plug::new(if CHANNELS == 4 { "i2c.3" } else { "i2c.7" }, "");

    fn produced(self: Rc<Self>) -> Rc<I2cChannel> {
        let on_bus = self.on_bus(Self::LAST);
        Rc::new(I2cChannel(Rc::new(Channel { mux: self, on_bus })))
    }
}

/// The last channel as a bus. Each transfer selects it before.
struct Channel<const CHANNELS: u8> {
    mux: Rc<Pca954x<CHANNELS>>,
    on_bus: OnBus,
}

impl<const CHANNELS: u8> Channel<CHANNELS> {
    /// The bus before the multiplexer, with the channel selected and no other.
    fn selected(&self) -> Result<&dyn I2cBus> {
        let own = 1 << Pca954x::<CHANNELS>::LAST;
        self.mux.select(own)?;
        match self.mux.selected()? {
            control if control == own => Ok(&*self.mux.bus),
            other => Err(Error::failed(format!(
                "the control register of the multiplexer is {other:#04x} instead of {own:#04x}"
            ))),
        }
    }
}

impl<const CHANNELS: u8> I2cBus for Channel<CHANNELS> {
    fn send(&self, address: u8, data: &[u8]) -> Result<()> {
        self.selected()?.send(address, data)
    }

    fn recv(&self, address: u8, into: &mut [u8]) -> Result<()> {
        self.selected()?.recv(address, into)
    }

    fn send_recv(&self, address: u8, data: &[u8], into: &mut [u8]) -> Result<()> {
        self.selected()?.send_recv(address, data, into)
    }

    fn probe(&self, address: u8) -> Result<bool> {
        self.selected()?.probe(address)
    }

    fn on_bus(&self) -> Option<&OnBus> {
        Some(&self.on_bus)
    }

    /// Devices before the multiplexer, and itself, are seen from behind it.
    fn taken(&self) -> Result<BTreeSet<u8>> {
        Ok(&self.on_bus.addresses()? | &self.mux.bus.taken()?)
    }

    fn interrupt(&self) -> Result<Option<InterruptLine>> {
        self.mux.bus.interrupt()
    }
}
