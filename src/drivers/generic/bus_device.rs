//! Any device that a user plugs into a bus other than PCI, of which nothing is known but what the
//! emulator says. A machine without such a bus gets a device that has one.

use std::rc::Rc;

use crate::drivers::pci::pci_card::{DISK, ID, Words, back_end};
use crate::graph::{BusKind, DeviceType, PlugArgs, PluggedAnywhere, Site};
use crate::qemu::{Image, MIB, Vm};
use crate::{Result, driver, plugged_anywhere};

/// A device on a bus of any kind.
pub struct BusDevice {
    vm: Rc<Vm>,
}

impl BusDevice {
    /// The machine that it is in.
    pub fn vm(&self) -> &Rc<Vm> {
        &self.vm
    }

    /// Its path in QEMU's object model.
    pub fn path(&self) -> String {
        format!("/machine/peripheral/{ID}")
    }
}

const fn kind(word: &'static str, carrier: &'static str, on: &'static str) -> BusKind {
    BusKind { word, carrier: (carrier, on) }
}

/// The ISA bus.
pub(super) const ISA: BusKind = kind("ISA", "", "");

/// What devices of some types or buses do not start without: the bus or type, and properties.
const NEEDED: &[(&str, &str)] = &[("i2c-bus", "address=0x50"), ("virtserialport", "nr=1")];

/// The content of a flash chip: as large as the largest.
const FLASH: Image = Image { name: DISK.name, size: 256 * MIB };

impl PluggedAnywhere for BusDevice {
    const MACHINES: &'static [&'static str] = &[
        "pc",
        "virt",
        "pseries",
        "malta",
        "g3beige",
        "r2d",
        "clipper",
        "hppa",
        "sun4u",
        "SS-5",
        "microvm",
        "ast2600-evb",
        "s390-ccw-virtio",
        "q800",
    ];
    const BUSES: &'static [BusKind] = &[
        ISA,
        kind("i2c-bus", "", ""),
        kind("SSI", "", ""),
        kind("virtio-bus", "", ""),
        kind("virtual-css-bus", "", ""),
        kind("spapr-vio-bus", "", ""),
        kind("floppy-bus", "isa-fdc", "ISA"),
        kind("IDE", "ich9-ahci", "PCI"),
        kind("usb-bus", "qemu-xhci", "PCI"),
        kind("ccid-bus", "usb-ccid", "usb-bus"),
        kind("SCSI", "virtio-scsi-pci", "PCI"),
        kind("HDA", "intel-hda", "PCI"),
        kind("sd-bus", "sdhci-pci", "PCI"),
        kind("virtio-serial-bus", "virtio-serial-pci", "PCI"),
        kind("nvme-bus", "nvme,serial=qgraph", "PCI"),
        kind("IndustryPack", "tpci200", "PCI"),
    ];

    fn args(device: &DeviceType, carrier: Option<&str>) -> Result<PlugArgs, &'static str> {
        let mut before = Words::default();
        before.add("-no-shutdown");
        if let Some(carrier) = carrier {
            before.add(format!("-device {carrier}"));
        }
        let mut properties = format!("id={ID}");
        for takes in &device.takes {
            if let Some((options, value)) = back_end(device, &takes.property, &takes.kind) {
                before.add(options);
                properties.push_str(&format!(",{}={value}", takes.property));
            }
        }
        for (of, needed) in NEEDED {
            if device.bus == **of || device.ty == **of {
                properties.push_str(&format!(",{needed}"));
            }
        }
        let before = before.0.join(" ");
        let images: &[Image] = match before.contains("{card-disk}") {
            true if device.bus == *"SSI" => &[FLASH],
            true => &[DISK],
            false => &[],
        };
        Ok(PlugArgs { before, properties, images, ..PlugArgs::default() })
    }

    fn attach(site: &Site, _: &DeviceType) -> Result<Self> {
        Ok(Self { vm: site.vm.clone() })
    }
}

driver!(BusDevice = "bus-device");
plugged_anywhere!(BusDevice);
