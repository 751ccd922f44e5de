//! The virtio input devices: a keyboard, a mouse and a tablet.

use crate::Result;
use crate::drivers::virtio::pci::virtio_kind;
use crate::qos::virtio::input::{self, EV_LED, EV_SYN, Event, Model, VirtioInput};
use crate::qos::virtio::{Features, Kind, Plain, Virtio};

/// The keyboard.
pub struct Keyboard;
/// The mouse.
pub struct Mouse;
/// The tablet.
pub struct Tablet;

macro_rules! input_kind {
    ($kind:ident, told $told:expr; pci $pci:literal, mmio $mmio:literal) => {
        impl Kind for $kind {
            const DEVICE_TYPE: u32 = input::DEVICE_TYPE;
            const FEATURES: Features = Features::NONE;
            const PROPERTIES: &str = "serial=qgraph-42";
            const IS_TRANSITIONAL: bool = false;
            type Interface = VirtioInput;

            fn interface(device: Virtio) -> VirtioInput {
                VirtioInput { device, model: Model::$kind }
            }

            fn plain(virtio: &Virtio) -> Result<Option<Plain>> {
                input::plain(virtio, $told).map(Some)
            }
        }

        virtio_kind!($kind as VirtioInput: pci $pci, mmio $mmio);
    };
}

/// A light that goes on, for a device that has lights.
const LIGHT: Event = (EV_LED, 1, 1);
/// The end of a report, which concerns no part of a device.
const NOTHING: Event = (EV_SYN, 0, 0);

input_kind!(Keyboard, told LIGHT; pci "virtio-keyboard-pci", mmio "virtio-keyboard-device");
input_kind!(Mouse, told NOTHING; pci "virtio-mouse-pci", mmio "virtio-mouse-device");
input_kind!(Tablet, told NOTHING; pci "virtio-tablet-pci", mmio "virtio-tablet-device");
