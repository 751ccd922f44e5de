//! The virtio sound device, with four streams: two that play and two that record. The variant
//! `wav` plays into a file.

use crate::Result;
use crate::drivers::virtio::pci::virtio_kind;
use crate::graph::{Addition, Variant};
use crate::qemu::Image;
use crate::qos::sound::WAV;
use crate::qos::virtio::sound::{self, VirtioSound};
use crate::qos::virtio::{Features, Kind, Plain, Virtio};

/// How many jacks the device says it has.
pub const JACKS: u32 = 2;
/// How many streams it has.
pub const STREAMS: u32 = 4;
/// How many channel maps it says it has.
pub const CHMAPS: u32 = 3;

/// The sound device.
pub struct Sound;

impl Kind for Sound {
    const DEVICE_TYPE: u32 = sound::DEVICE_TYPE;
    const FEATURES: Features = sound::FEATURES;
    const BACKEND: &str = "-audiodev none,id=snd0";
    const IMAGES: &[Image] = &[WAV];
    const PROPERTIES: &str = "audiodev=snd0,jacks=2,streams=4,chmaps=3";
    const IS_TRANSITIONAL: bool = false;
    const OWN: Option<Variant> = Some(Variant {
        name: "wav",
        add: Addition::properties(&["audiodev=snd1"])
            .before("-audiodev wav,id=snd1,path={wav},out.frequency=44100"),
    });
    type Interface = VirtioSound;

    fn interface(virtio: Virtio) -> VirtioSound {
        VirtioSound(virtio)
    }

    fn plain(virtio: &Virtio) -> Result<Option<Plain>> {
        sound::plain(virtio).map(Some)
    }
}

virtio_kind!(Sound as VirtioSound: pci "virtio-sound-pci", mmio "virtio-sound-device");
